/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated line of a benchmark, equal in both directions, and whether it was the line that was measured:
 * a frame that the emulator itself dropped or delivered late says that it, or the CPU under it, was the
 * bottleneck, and so does work of other processes on the same CPUs.
 */
#ifndef HG_PERF_LINE_H
#define HG_PERF_LINE_H

#include "perf/emulated.h"

#define HG_PERF_LINE_RING_BITS     10u          /* of a memif port's rings: 1024 frames */
#define HG_PERF_LINE_BURST_PACKETS 8u           /* mean, where losses come in bursts */
#define HG_PERF_LINE_QUEUE_MIN     (256u << 10) /* bytes; else the product of rate and round trip */
#define HG_PERF_LINE_DROPPED_MAX   1e-4 /* share of the frames: more, and a measurement does not count */
#define HG_PERF_LINE_OVERDUE_MAX   0.02 /* the same, of frames delivered more than 1 ms late */
#define HG_PERF_LINE_OTHERS_MAX    0.15 /* the same, of CPU time that others used; the kernel's threads too */

struct hg_perf_line {
    uint64_t rate_bits; /* of Ethernet frames, a second */
    uint32_t rtt_ms;
    double loss_pct;
    bool bursts;
    uint32_t mtu_bytes;
};

/* Sets the links between two ports. False after a sentence. */
bool hg_perf_line_set(const struct hg_perf_line *line, const struct hg_perf_emulated *wan, const char *a,
                      const char *b);

/* What helio-wan wants for such a line: for data on the way one way and its full queue, and for an ack of
 * every second frame on the way back. */
uint32_t hg_perf_line_memory_mb(const struct hg_perf_line *line);

/* What a memif port's buffers must hold for such an MTU. */
uint32_t hg_perf_line_buffer_bytes(uint32_t mtu_bytes);

/* The arguments of a memif port that is a client of that helio-wan, its rings of 2^ring_bits frames. */
void hg_perf_line_devargs(const struct hg_perf_emulated *wan, uint32_t id, uint32_t ring_bits,
                          uint32_t mtu_bytes, char *devargs, size_t devargs_bytes);

/* What a measurement is looked at by: one before, one after. Counters of the data's direction, but for the
 * first two of the emulator's, which are of both. */
struct hg_perf_line_look {
    uint64_t now_ns;
    uint64_t counted_ns; /* when helio-wan was asked: a process must start for that, which takes a while */
    uint64_t emulator_dropped, overdue, delivered;
    uint64_t lost, queue_full, frames, delivered_bytes;
    uint64_t stolen_ticks, busy_ticks, own_ticks, ticks;
    uint64_t emulator_ticks, watcher_ticks, emulator_busy_ns;
};

/* The time is taken first: read what else is to be of this moment right before. `processes`: those that use
 * the line; with the emulator, all the work that belongs here. False when the emulator does not answer. */
bool hg_perf_line_look(const struct hg_perf_emulated *wan, const char *a, const char *b,
                       const pid_t processes[], uint32_t count, struct hg_perf_line_look *look);

struct hg_perf_line_found {
    double seconds;
    double used_bits_per_s;              /* what the data's direction delivered, whole frames */
    double lost_share, queue_full_share; /* of the frames that the data's direction was offered */
    double dropped_share, overdue_share; /* by the emulator, of all frames */
    double stolen_share;                 /* of the CPUs' time, by the machine's other guests */
    double others_share;                 /* of the CPUs' time, by processes that do not belong here */
    double emulator_cpu_share;           /* of one CPU: it polls, so near 1 whatever it does */
    double emulator_busy_share;          /* of the time: it moved frames */
    double watcher_cpu_share;            /* of one CPU: this process, which starts and looks */
    bool counts;
};
void hg_perf_line_between(const struct hg_perf_line_look looks[2], struct hg_perf_line_found *found);

#endif
