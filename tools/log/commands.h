/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of helio-log. Each returns the exit code and has written its messages.
 */
#ifndef HG_TOOLS_LOG_COMMANDS_H
#define HG_TOOLS_LOG_COMMANDS_H

#include "drivers/platform/platform.h"

enum log_exit {
    LOG_EXIT_FINE = 0,
    LOG_EXIT_DAMAGED = 1, /* create, grow, accept-loss, repair: refused */
    LOG_EXIT_USAGE = 2,
    LOG_EXIT_UNREADABLE = 3,
    LOG_EXIT_WORN = 4, /* verify: only what the next start mends by itself */
};

struct create_options {
    const char *path;
    uint64_t size_bytes;
    uint64_t cluster;
    uint64_t segment_bytes; /* 0 = chosen from the size */
    bool is_json;
    bool is_dry_run;
};

int create_run(const struct create_options *options);

struct grow_options {
    const char *path;
    uint64_t size_bytes;
    bool is_json;
    bool is_dry_run;
};

/* Only while nobody has the log open. */
int grow_run(const struct grow_options *options);

struct accept_options {
    const char *path;
    uint64_t sequence; /* of a write, or */
    uint64_t stream;   /* 0 = none */
    uint64_t lsn;
    bool is_json;
    bool is_dry_run;
};

struct repair_options {
    const char *path;
    const char *from[8];
    uint32_t from_count;
    uint64_t sequence; /* 0 = all that are damaged */
    bool is_json;
    bool is_dry_run;
};

/* Only while nobody has the log open. */
int repair_run(const struct repair_options *options);
int accept_run(const struct accept_options *options);

/* These only read, and take no lock: a running dataplane may have the log open. */
int dump_run(const char *path, bool is_json);
int verify_run(const char *path, bool is_json);
int stat_run(const char *path, bool is_json);

#endif
