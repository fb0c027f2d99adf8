/* SPDX-License-Identifier: Apache-2.0
 *
 * How long something took of late: a histogram of the last 10 to 20 seconds, in classes a quarter as wide as
 * the power of two they lie in, from 1 us to more than an hour. Memory is fixed, no time is ever too large.
 */
#ifndef HG_WAL_LATENCY_H
#define HG_WAL_LATENCY_H

#include "drivers/platform/platform.h"

#define HG_LATENCY_WINDOW_NS (10 * HG_NS_PER_S)
#define HG_LATENCY_CLASSES   128u

struct hg_latency {
    uint32_t counts[2][HG_LATENCY_CLASSES]; /* of this window and of the one before, in turns */
    uint32_t current;
    uint64_t window_ns; /* when the present one began */
};

void hg_latency_init(struct hg_latency *latency, uint64_t now_ns);
void hg_latency_add(struct hg_latency *latency, uint64_t took_ns, uint64_t now_ns);
/* The least time, rounded up to its class, that this share of what was added since the window before began
 * did not exceed; 0 when nothing was. */
uint64_t hg_latency_quantile_ns(const struct hg_latency *latency, uint32_t permille);

#endif
