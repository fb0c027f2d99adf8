/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/clock/clock.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    hg_assert(rc == 0);
    return (uint64_t)ts.tv_sec * HG_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The vDSO reads the TSC and scales it with the kernel's own calibration: 20 ns, once a turn, and no drift of
 * ours. */
static uint64_t clock_tsc_now_ns(struct hg_clock *clock)
{
    (void)clock;
    return clock_read_ns(CLOCK_MONOTONIC);
}

static uint64_t clock_tsc_realtime_ns(struct hg_clock *clock)
{
    (void)clock;
    return clock_read_ns(CLOCK_REALTIME);
}

static uint64_t clock_tsc_random_u64(struct hg_clock *clock)
{
    uint64_t value;
    (void)clock;
    hg_assert(getrandom(&value, sizeof(value), 0) == sizeof(value));
    return value;
}

static uint64_t clock_tsc_boottime_ns(struct hg_clock *clock)
{
    (void)clock;
    return clock_read_ns(CLOCK_BOOTTIME);
}

struct hg_clock *hg_clock_tsc(void)
{
    static struct hg_clock clock = {clock_tsc_now_ns, clock_tsc_realtime_ns, clock_tsc_random_u64,
                                    clock_tsc_boottime_ns};
    return &clock;
}
