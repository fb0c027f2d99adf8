/* SPDX-License-Identifier: Apache-2.0
 *
 * A line on stderr while zeros are written, when that takes its time.
 */
#ifndef HG_TOOLS_LOG_PROGRESS_H
#define HG_TOOLS_LOG_PROGRESS_H

#include "drivers/platform/platform.h"

struct progress {
    uint64_t bytes;
    uint64_t begin_ns;
    uint64_t shown_ns;
};

void progress_begin(struct progress *progress, uint64_t bytes);
/* arg: the struct progress. */
void progress_show(void *arg, uint64_t bytes_done);

#endif
