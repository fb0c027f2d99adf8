/* SPDX-License-Identifier: Apache-2.0
 *
 * Received packets on their way from the worker whose queue they came in on to the worker they are for: a
 * bounded SPSC queue for each ordered pair of workers. Where the port steers packets by their UDP port,
 * nothing ever is in it.
 */
#ifndef HG_HANDOVER_H
#define HG_HANDOVER_H

#include "drivers/net/port.h"

#include <stdatomic.h>

#define HG_HANDOVER_PACKETS 512u /* power of two */
static_assert((HG_HANDOVER_PACKETS & (HG_HANDOVER_PACKETS - 1)) == 0, "places are found by a mask");

struct hg_handover {
    _Atomic uint64_t head HG_CACHE_ALIGNED; /* written by the reader */
    _Atomic uint64_t tail HG_CACHE_ALIGNED; /* written by the writer */
    struct hg_packet packets[HG_HANDOVER_PACKETS];
};

/* Writer. True: the packet is the reader's. False: full, it is still the caller's. */
static inline bool hg_handover_put(struct hg_handover *ring, const struct hg_packet *packet)
{
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) == HG_HANDOVER_PACKETS)
        return false;
    ring->packets[tail & (HG_HANDOVER_PACKETS - 1)] = *packet;
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

/* Reader. Takes up to n packets. Returns how many. */
static inline uint32_t hg_handover_take(struct hg_handover *ring, struct hg_packet *packets, uint32_t n)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t count = atomic_load_explicit(&ring->tail, memory_order_acquire) - head;
    uint32_t taken = (uint32_t)hg_min_u64(n, count);
    for (uint32_t i = 0; i < taken; i++)
        packets[i] = ring->packets[(head + i) & (HG_HANDOVER_PACKETS - 1)];
    if (taken > 0)
        atomic_store_explicit(&ring->head, head + taken, memory_order_release);
    return taken;
}

static inline bool hg_handover_empty(struct hg_handover *ring)
{
    return atomic_load_explicit(&ring->head, memory_order_relaxed) ==
           atomic_load_explicit(&ring->tail, memory_order_acquire);
}

#endif
