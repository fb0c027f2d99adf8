/* SPDX-License-Identifier: Apache-2.0
 *
 * One lcore's thread: opens the logs of its workers on housekeeping's word, then runs these workers in turns.
 * A shell; what is shared with housekeeping is in dataplane/node.h.
 */
#ifndef HG_LCORE_H
#define HG_LCORE_H

#include "dataplane/node.h"

/* Runs lcore `index` of the node until node->stop. Returns enum hg_exit. The calling thread stays pinned
 * where it is. */
int hg_lcore_run(struct hg_node *node, uint32_t index);

#endif
