/* SPDX-License-Identifier: Apache-2.0
 *
 * What the worker's files share with each other and with nobody else.
 */
#ifndef HG_WORKER_INTERNAL_H
#define HG_WORKER_INTERNAL_H

#include "dataplane/worker.h"

/* Handles letters from housekeeping. Returns true when there were any. */
bool hg_worker_letters(struct hg_worker *worker);

#endif
