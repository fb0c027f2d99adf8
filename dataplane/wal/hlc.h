/* SPDX-License-Identifier: Apache-2.0
 *
 * Hybrid logical clock: 48 bits of milliseconds since 1970, 16 bits that count within one. Stamps are
 * strictly monotone across restarts: none is ever given above the ceiling, the ceiling is on disk no later
 * than the stamps (hg_log_hlc_ceiling_set puts it into the header of the very write that carries them), and a
 * restart starts at the ceiling found. When the 16 bits overflow, the count carries into the milliseconds.
 * Pure; owning worker only.
 *
 * Each millisecond of the worker's turn, and whenever hg_hlc_now returned 0:
 *     uint64_t ceiling = hg_hlc_ceiling_next(&hlc, realtime_ns);
 *     if (ceiling != 0) { hg_log_hlc_ceiling_set(log, ceiling); hg_hlc_ceiling_raise(&hlc, ceiling); }
 */
#ifndef HG_WAL_HLC_H
#define HG_WAL_HLC_H

#include "drivers/platform/platform.h"

#define HG_HLC_LOGICAL_BITS    16
#define HG_HLC_CEILING_STEP_MS 5000u

struct hg_hlc {
    uint64_t last;    /* newest stamp given or merged */
    uint64_t ceiling; /* no stamp above it is given */
};

static inline uint64_t hg_hlc_from_ns(uint64_t realtime_ns)
{
    return (realtime_ns / HG_NS_PER_MS) << HG_HLC_LOGICAL_BITS;
}

static inline uint64_t hg_hlc_ms(uint64_t stamp)
{
    return stamp >> HG_HLC_LOGICAL_BITS;
}

/* `ceiling`: what the log recovered; 0 for a new log. */
void hg_hlc_init(struct hg_hlc *hlc, uint64_t ceiling);

/* The next stamp, above all before. 0 = it would exceed the ceiling: raise that, then ask again. */
uint64_t hg_hlc_now(struct hg_hlc *hlc, uint64_t realtime_ns);

/* Makes later stamps exceed `remote`. -ERANGE, and nothing changes, when it is more than bound_ns ahead of
 * realtime_ns: one bad clock must not drag all the others along. */
int hg_hlc_merge(struct hg_hlc *hlc, uint64_t remote, uint64_t realtime_ns, uint64_t bound_ns);

/* The ceiling that the caller should put in the log now; 0 while there is at least half a step of room. */
uint64_t hg_hlc_ceiling_next(const struct hg_hlc *hlc, uint64_t realtime_ns);
void hg_hlc_ceiling_raise(struct hg_hlc *hlc, uint64_t ceiling);

#endif
