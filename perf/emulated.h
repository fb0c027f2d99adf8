/* SPDX-License-Identifier: Apache-2.0
 *
 * A helio-wan for the length of a benchmark: a process of its own on a core of its own.
 */
#ifndef HG_PERF_EMULATED_H
#define HG_PERF_EMULATED_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct hg_perf_emulated {
    char program[PATH_MAX];
    char run[PATH_MAX]; /* its directory: sockets of memif ports lie there */
    pid_t child;
};

/* Makes a directory in `directory`, starts helio-wan with these commands on this CPU and waits until it
 * answers. 0, or -errno after a sentence on standard error. */
int hg_perf_emulated_start(struct hg_perf_emulated *wan, const char *directory, const char *config, int cpu);
/* One command, checked. False when it is refused. */
bool hg_perf_emulated_command(const struct hg_perf_emulated *wan, const char *command);
/* A counter of the link from one port to another, as `show links` has it; UINT64_MAX when there is none. */
uint64_t hg_perf_emulated_counter(const struct hg_perf_emulated *wan, const char *from, const char *to,
                                  const char *counter);
/* Ends it and removes its directory. */
void hg_perf_emulated_stop(struct hg_perf_emulated *wan);

#endif
