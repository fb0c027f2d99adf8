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

#define HG_PERF_EMULATED_MEMORY_MB 256u /* enough for 400 Mbit/s over 200 ms */

struct hg_perf_emulated {
    char program[PATH_MAX];
    char run[PATH_MAX]; /* its directory: sockets of memif ports lie there */
    pid_t child;
};

/* Makes a directory in `directory`, starts helio-wan with these commands, on this CPU and with so much
 * memory, and waits until it answers. With naps (0: none) it leaves the CPU to others whenever no frame is
 * due, and comes before them when one is. 0, or -errno after a sentence on standard error. */
int hg_perf_emulated_start(struct hg_perf_emulated *wan, const char *directory, const char *config, int cpu,
                           uint32_t memory_mb, uint32_t nap_us);
/* One command, checked. False when it is refused. */
bool hg_perf_emulated_command(const struct hg_perf_emulated *wan, const char *command);
/* Counters of the link from one port to another, or of helio-wan itself, by their names in `show links`, read
 * in one moment. False when one of them is not there. */
bool hg_perf_emulated_counters(const struct hg_perf_emulated *wan, const char *from, const char *to,
                               const char *const names[], uint64_t values[], uint32_t count);
/* Ends it and removes its directory. */
void hg_perf_emulated_stop(struct hg_perf_emulated *wan);

#endif
