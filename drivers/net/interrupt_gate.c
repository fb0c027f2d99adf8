/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/interrupt_gate.h"
#include "drivers/clock/clock.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

#include <rte_alarm.h>
#include <rte_pause.h>

#define ALARM_US      1
#define SPINS_MAX     2000
#define SPIN_SLEEP_NS 20000

/* `registry` guards the list and the flags; `processing` is held by the interrupt thread during a window
 * (taken in one call of the alarm, given back in the next, by the same thread) and by whoever must keep it
 * out. Order: processing, then registry. */
static struct {
    pthread_mutex_t registry;
    pthread_mutex_t processing;
    pthread_cond_t changed;
    struct hg_burst_gate *gates[HG_INTERRUPT_GATES_MAX];
    uint32_t count;
    bool armed;
    bool window_open; /* interrupt thread only */
    bool slack_set;   /* interrupt thread only */
    _Atomic uint64_t hurry_until_ns;
} gate_state = {.registry = PTHREAD_MUTEX_INITIALIZER, .processing = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t condition_once = PTHREAD_ONCE_INIT;

static void mutex_lock(pthread_mutex_t *mutex)
{
    hg_assert(pthread_mutex_lock(mutex) == 0);
}

static void mutex_unlock(pthread_mutex_t *mutex)
{
    hg_assert(pthread_mutex_unlock(mutex) == 0);
}

static void condition_init(void)
{
    pthread_condattr_t attributes;
    hg_assert(pthread_condattr_init(&attributes) == 0);
    hg_assert(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    hg_assert(pthread_cond_init(&gate_state.changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

static uint64_t now_ns(void)
{
    struct hg_clock *clock = hg_clock_tsc();
    return clock->now_ns(clock);
}

/* A worker stays in a burst for microseconds, unless it was descheduled in it; then its CPU may be ours. */
static void burst_wait(struct hg_burst_gate *gate)
{
    for (uint32_t i = 0; atomic_load_explicit(&gate->in_burst, memory_order_seq_cst) != 0; i++) {
        if (i < SPINS_MAX) {
            rte_pause();
            continue;
        }
        struct timespec pause = {.tv_nsec = SPIN_SLEEP_NS};
        nanosleep(&pause, NULL);
    }
}

void hg_burst_gate_block(struct hg_burst_gate *gate, uint32_t reason)
{
    atomic_fetch_or_explicit(&gate->blocked, reason, memory_order_seq_cst);
    burst_wait(gate);
}

void hg_burst_gate_unblock(struct hg_burst_gate *gate, uint32_t reason)
{
    atomic_fetch_and_explicit(&gate->blocked, ~reason, memory_order_seq_cst);
}

static void window_close(void)
{
    if (!gate_state.window_open)
        return;
    gate_state.window_open = false;
    for (uint32_t i = 0; i < gate_state.count; i++)
        hg_burst_gate_unblock(gate_state.gates[i], HG_BURST_BLOCK_INTERRUPT);
    mutex_unlock(&gate_state.processing);
}

/* Blocks everyone first and waits afterwards, so that the waits overlap. */
static void window_open(void)
{
    mutex_lock(&gate_state.processing);
    for (uint32_t i = 0; i < gate_state.count; i++)
        atomic_fetch_or_explicit(&gate_state.gates[i]->blocked, HG_BURST_BLOCK_INTERRUPT,
                                 memory_order_seq_cst);
    for (uint32_t i = 0; i < gate_state.count; i++)
        burst_wait(gate_state.gates[i]);
    gate_state.window_open = true;
}

static bool hold(void)
{
    mutex_lock(&gate_state.registry);
    uint64_t begin_ns = now_ns();
    while (gate_state.count > 0) {
        uint64_t current_ns = now_ns();
        bool hurry = current_ns < atomic_load_explicit(&gate_state.hurry_until_ns, memory_order_relaxed);
        uint64_t end_ns = begin_ns + (hurry ? HG_INTERRUPT_HOLD_FAST_NS : HG_INTERRUPT_HOLD_NS);
        if (current_ns >= end_ns)
            break;
        struct timespec end = {.tv_sec = (time_t)(end_ns / HG_NS_PER_S),
                               .tv_nsec = (long)(end_ns % HG_NS_PER_S)};
        pthread_cond_timedwait(&gate_state.changed, &gate_state.registry, &end);
    }
    bool goes_on = gate_state.count > 0;
    if (!goes_on)
        gate_state.armed = false;
    mutex_unlock(&gate_state.registry);
    return goes_on;
}

/* Runs in the interrupt thread. Between its return and its next call that thread handles all events that are
 * ready; the alarm comes back in a later round of its epoll, so a window always covers one whole round. */
static void alarm_callback(void *argument)
{
    (void)argument;
    window_close();
    if (!gate_state.slack_set) {
        prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
        gate_state.slack_set = true;
    }
    if (!hold())
        return;
    window_open();
    /* Fails only when a few bytes can't be had; going on without would leave the ports blocked for ever. */
    hg_assert(rte_eal_alarm_set(ALARM_US, alarm_callback, NULL) == 0);
}

int hg_interrupt_gate_add(struct hg_burst_gate *gate)
{
    int rc = 0;
    pthread_once(&condition_once, condition_init);
    mutex_lock(&gate_state.processing);
    mutex_lock(&gate_state.registry);
    if (gate_state.count == HG_INTERRUPT_GATES_MAX) {
        rc = -ENOSPC;
    } else if (!gate_state.armed && rte_eal_alarm_set(ALARM_US, alarm_callback, NULL) != 0) {
        rc = -ENOMEM;
    } else {
        gate_state.armed = true;
        gate_state.gates[gate_state.count++] = gate;
    }
    mutex_unlock(&gate_state.registry);
    mutex_unlock(&gate_state.processing);
    return rc;
}

void hg_interrupt_gate_remove(struct hg_burst_gate *gate)
{
    mutex_lock(&gate_state.processing);
    mutex_lock(&gate_state.registry);
    for (uint32_t i = 0; i < gate_state.count; i++) {
        if (gate_state.gates[i] == gate)
            gate_state.gates[i] = gate_state.gates[--gate_state.count];
    }
    pthread_cond_signal(&gate_state.changed);
    mutex_unlock(&gate_state.registry);
    mutex_unlock(&gate_state.processing);
}

void hg_interrupt_gate_lock(void)
{
    mutex_lock(&gate_state.processing);
}

void hg_interrupt_gate_unlock(void)
{
    mutex_unlock(&gate_state.processing);
}

void hg_interrupt_gate_hurry(void)
{
    pthread_once(&condition_once, condition_init);
    atomic_store_explicit(&gate_state.hurry_until_ns, now_ns() + HG_INTERRUPT_HURRY_NS, memory_order_relaxed);
    mutex_lock(&gate_state.registry);
    pthread_cond_signal(&gate_state.changed);
    mutex_unlock(&gate_state.registry);
}
