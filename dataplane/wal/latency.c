/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/latency.h"

#define UNIT_NS HG_NS_PER_US

/* 0 to 3 units have classes of their own; then four for each power of two. */
static uint32_t class_of(uint64_t took_ns)
{
    uint64_t units = took_ns / UNIT_NS;
    if (units < 4)
        return (uint32_t)units;
    uint32_t bits = 63u - (uint32_t)__builtin_clzll(units);
    uint32_t place = (bits - 1) * 4 + (uint32_t)(units >> (bits - 2) & 3);
    return place < HG_LATENCY_CLASSES ? place : HG_LATENCY_CLASSES - 1;
}

static uint64_t class_end_ns(uint32_t place)
{
    if (place < 4)
        return (place + 1) * (uint64_t)UNIT_NS;
    return ((uint64_t)(place % 4 + 5) << (place / 4 - 1)) * UNIT_NS;
}

void hg_latency_init(struct hg_latency *latency, uint64_t now_ns)
{
    memset(latency, 0, sizeof(*latency));
    latency->window_ns = now_ns;
}

void hg_latency_add(struct hg_latency *latency, uint64_t took_ns, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - latency->window_ns;
    if (passed_ns >= HG_LATENCY_WINDOW_NS) {
        latency->current ^= 1;
        memset(latency->counts[latency->current], 0, sizeof(latency->counts[0]));
        if (passed_ns >= 2 * HG_LATENCY_WINDOW_NS)
            memset(latency->counts[latency->current ^ 1], 0, sizeof(latency->counts[0]));
        latency->window_ns = now_ns;
    }
    latency->counts[latency->current][class_of(took_ns)]++;
}

uint64_t hg_latency_quantile_ns(const struct hg_latency *latency, uint32_t permille)
{
    uint64_t all = 0, seen = 0;
    for (uint32_t i = 0; i < HG_LATENCY_CLASSES; i++)
        all += (uint64_t)latency->counts[0][i] + latency->counts[1][i];
    if (all == 0)
        return 0;
    uint64_t wanted = (all * permille + 999) / 1000;
    uint32_t place = 0;
    for (; place < HG_LATENCY_CLASSES - 1; place++) {
        seen += (uint64_t)latency->counts[0][place] + latency->counts[1][place];
        if (seen >= wanted)
            break;
    }
    return class_end_ns(place);
}
