/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps EAL's interrupt thread away from a port while its worker is inside a burst.
 *
 * Why: memif's control channel is served by EAL's interrupt thread. When the peer dies, that thread unmaps
 * the rings, whatever the worker does at that moment; a worker in rte_eth_rx_burst() then reads unmapped
 * memory and the process dies of its neighbour's death. DPDK has no lock between the two. So while a gated
 * port is in use the interrupt thread is held inside an alarm callback, and is let out only in short windows
 * during which bursts on those ports return 0:
 *
 *     held (HOLD) -> block all ports, wait until no worker is in a burst -> window: handle what is pending ->
 * held ...
 *
 * A burst costs the worker one exchange more. A worker that sleeps is not in a burst, so nobody waits for it.
 * With no port under the gate the interrupt thread runs free: connecting is as fast as ever.
 */
#ifndef HG_NET_INTERRUPT_GATE_H
#define HG_NET_INTERRUPT_GATE_H

#include "drivers/platform/platform.h"

#include <stdatomic.h>

#define HG_INTERRUPT_HOLD_NS (20 * HG_NS_PER_MS) /* between two windows; a window lasts 0.1 ms */
#define HG_INTERRUPT_HOLD_FAST_NS                                                                            \
    (2 * HG_NS_PER_MS) /* the same for a second after hg_interrupt_gate_hurry() */
#define HG_INTERRUPT_HURRY_NS  HG_NS_PER_S
#define HG_INTERRUPT_GATES_MAX 64

/* Why bursts of a port are refused; bits. */
#define HG_BURST_BLOCK_PARKED    1u /* the link is down, or housekeeping stops or starts the device */
#define HG_BURST_BLOCK_INTERRUPT 2u /* a window of the interrupt thread */

/* One a port. `in_burst` is written by the worker only, `blocked` by everyone else. Zero is a working start.
 */
struct hg_burst_gate {
    HG_CACHE_ALIGNED _Atomic uint32_t in_burst;
    HG_CACHE_ALIGNED _Atomic uint32_t blocked;
};

/* The worker's side: true = go on and call leave() after the burst; false = the port may not be touched now.
 */
static inline bool hg_burst_gate_enter(struct hg_burst_gate *gate)
{
    /* Store before load: this is one half of Dekker's exclusion, block() is the other. */
    atomic_store_explicit(&gate->in_burst, 1, memory_order_seq_cst);
    if (__builtin_expect(atomic_load_explicit(&gate->blocked, memory_order_seq_cst) == 0, 1))
        return true;
    atomic_store_explicit(&gate->in_burst, 0, memory_order_release);
    return false;
}

static inline void hg_burst_gate_leave(struct hg_burst_gate *gate)
{
    atomic_store_explicit(&gate->in_burst, 0, memory_order_release);
}

/* Any thread but the worker inside a burst. Returns when no burst is running and none can begin. */
void hg_burst_gate_block(struct hg_burst_gate *gate, uint32_t reason);
void hg_burst_gate_unblock(struct hg_burst_gate *gate, uint32_t reason);

/* Puts a port under the gate, before its bursts are allowed; they begin when the interrupt thread is held.
 * Any thread but EAL's; EAL must run. Returns 0, -ENOSPC when all places are taken, or -ENOMEM when the alarm
 * can't be set. */
int hg_interrupt_gate_add(struct hg_burst_gate *gate);
/* Takes it out again. The caller has blocked its bursts for a reason of its own. */
void hg_interrupt_gate_remove(struct hg_burst_gate *gate);

/* Between these two the interrupt thread handles nothing: for stopping and closing a device. Not recursive.
 * Waits for what that thread is doing. */
void hg_interrupt_gate_lock(void);
void hg_interrupt_gate_unlock(void);

/* A connection is being made or was lost: shorter holds for a while, so that its handshake isn't slow. */
void hg_interrupt_gate_hurry(void);

#endif
