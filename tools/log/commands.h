/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of helio-log. Each returns the exit code and has written its messages.
 */
#ifndef HG_TOOLS_LOG_COMMANDS_H
#define HG_TOOLS_LOG_COMMANDS_H

#include "drivers/platform/platform.h"

struct create_options {
    const char *path;
    uint64_t size_bytes;
    uint64_t cluster;
    uint64_t segment_bytes; /* 0 = chosen from the size */
    bool is_json;
    bool is_dry_run;
};

int create_run(const struct create_options *options);

/* Reads only; works on a log in use, whose newest writes it may not see. */
int dump_run(const char *path, bool is_json);

#endif
