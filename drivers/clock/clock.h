/* SPDX-License-Identifier: Apache-2.0
 *
 * The clock driver interface: what a core may know of time and chance. Cores take `now_ns` as an argument;
 * only a worker's duty cycle reads the clock, once a turn (write grants are looked at again, later in it).
 * Shells: clock_tsc.c (production), the simulator (virtual).
 */
#ifndef HG_CLOCK_H
#define HG_CLOCK_H

#include "drivers/platform/platform.h"

struct hg_clock {
    /* Monotonic nanoseconds from an arbitrary origin; never goes back within a process. */
    uint64_t (*now_ns)(struct hg_clock *clock);
    /* CLOCK_REALTIME nanoseconds since 1970; may jump either way. Costs a call: at most once a millisecond.
     */
    uint64_t (*realtime_ns)(struct hg_clock *clock);
    /* 64 unpredictable bits in production (getrandom), seeded in simulation. Never on the hot path. */
    uint64_t (*random_u64)(struct hg_clock *clock);
    /* CLOCK_BOOTTIME nanoseconds: never goes back while the machine runs, and goes on while it is suspended.
     * The same for all processes of the machine. */
    uint64_t (*boottime_ns)(struct hg_clock *clock);
};

/* The production clock: CLOCK_MONOTONIC through the vDSO, which is the TSC scaled by the kernel. Static
 * storage; any thread may read it. */
struct hg_clock *hg_clock_tsc(void);

#endif
