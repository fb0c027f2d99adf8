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

/* The length of a window, at least. EAL calls an alarm that is due already again without looking at anything
 * else, so this must be longer than what is left of the callback; when it wasn't, the next window makes up
 * for it. */
#define ALARM_US      50
#define SPINS_MAX     2000
#define SPIN_SLEEP_NS 20000

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct hg_burst_gate *gates[HG_INTERRUPT_GATES_MAX];
    uint32_t count;
    uint32_t lockers; /* threads between lock() and unlock(), or waiting to be */
    bool holding;     /* the interrupt thread is held: it handles nothing */
    bool armed;       /* the alarm is set or running */
    uint64_t hurry_until_ns;
} gate_state = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t condition_once = PTHREAD_ONCE_INIT;

static void condition_init(void)
{
    pthread_condattr_t attributes;
    hg_assert(pthread_condattr_init(&attributes) == 0);
    hg_assert(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    hg_assert(pthread_cond_init(&gate_state.changed, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

static void state_lock(void)
{
    pthread_once(&condition_once, condition_init);
    hg_assert(pthread_mutex_lock(&gate_state.mutex) == 0);
}

static void state_unlock(void)
{
    hg_assert(pthread_mutex_unlock(&gate_state.mutex) == 0);
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

/* Held until the time is up and nobody wants it longer. Called with the mutex, which the waiting lets go. */
static void hold(void)
{
    uint64_t begin_ns = now_ns();
    for (;;) {
        uint64_t current_ns = now_ns();
        bool hurry = current_ns < gate_state.hurry_until_ns;
        uint64_t end_ns = begin_ns + (hurry ? HG_INTERRUPT_HOLD_FAST_NS : HG_INTERRUPT_HOLD_NS);
        if (gate_state.lockers == 0 && (gate_state.count == 0 || current_ns >= end_ns))
            return;
        if (gate_state.lockers != 0) {
            pthread_cond_wait(&gate_state.changed, &gate_state.mutex);
            continue;
        }
        struct timespec end = {.tv_sec = (time_t)(end_ns / HG_NS_PER_S),
                               .tv_nsec = (long)(end_ns % HG_NS_PER_S)};
        pthread_cond_timedwait(&gate_state.changed, &gate_state.mutex, &end);
    }
}

/* Bursts wait while the interrupt thread waits for a CPU in its window. A kernel lets a worker that polls on
 * that CPU finish its slice first, so 4 ms of each 20 were lost there; in the real-time class it comes at
 * once. Where that right is missing (CAP_SYS_NICE or an rtprio limit) windows are as long as the kernel makes
 * them. */
static void thread_prepare(void)
{
    const struct sched_param first = {.sched_priority = 1};
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    (void)sched_setscheduler(0, SCHED_FIFO, &first);
}

/* Runs in the interrupt thread. Between its return and its next call that thread handles all events that are
 * ready; the alarm comes back in a later round of its epoll, so a window always covers one whole round. */
static void alarm_callback(void *argument)
{
    (void)argument;
    static bool prepared;
    if (!prepared) {
        thread_prepare();
        prepared = true;
    }
    state_lock();
    gate_state.holding = true;
    for (uint32_t i = 0; i < gate_state.count; i++)
        hg_burst_gate_unblock(gate_state.gates[i], HG_BURST_BLOCK_INTERRUPT);
    pthread_cond_broadcast(&gate_state.changed);
    hold();
    gate_state.holding = false;
    gate_state.armed = gate_state.count != 0;
    /* Blocks everyone first and waits afterwards, so that the waits overlap. */
    for (uint32_t i = 0; i < gate_state.count; i++)
        atomic_fetch_or_explicit(&gate_state.gates[i]->blocked, HG_BURST_BLOCK_INTERRUPT,
                                 memory_order_seq_cst);
    for (uint32_t i = 0; i < gate_state.count; i++)
        burst_wait(gate_state.gates[i]);
    /* Fails only when a few bytes can't be had; going on without would leave the ports blocked for ever. */
    if (gate_state.armed)
        hg_assert(rte_eal_alarm_set(ALARM_US, alarm_callback, NULL) == 0);
    state_unlock();
}

static int arm(void)
{
    if (gate_state.armed)
        return 0;
    if (rte_eal_alarm_set(ALARM_US, alarm_callback, NULL) != 0)
        return -ENOMEM;
    gate_state.armed = true;
    return 0;
}

int hg_interrupt_gate_add(struct hg_burst_gate *gate)
{
    int rc = -ENOSPC;
    state_lock();
    if (gate_state.count < HG_INTERRUPT_GATES_MAX)
        rc = arm();
    if (rc == 0) {
        if (!gate_state.holding)
            hg_burst_gate_block(gate, HG_BURST_BLOCK_INTERRUPT);
        gate_state.gates[gate_state.count++] = gate;
        pthread_cond_broadcast(&gate_state.changed);
    }
    state_unlock();
    return rc;
}

void hg_interrupt_gate_remove(struct hg_burst_gate *gate)
{
    state_lock();
    for (uint32_t i = 0; i < gate_state.count; i++) {
        if (gate_state.gates[i] == gate)
            gate_state.gates[i] = gate_state.gates[--gate_state.count];
    }
    hg_burst_gate_unblock(gate, HG_BURST_BLOCK_INTERRUPT);
    pthread_cond_broadcast(&gate_state.changed);
    state_unlock();
}

void hg_interrupt_gate_lock(void)
{
    state_lock();
    gate_state.lockers++;
    hg_assert(arm() == 0);
    while (!gate_state.holding)
        pthread_cond_wait(&gate_state.changed, &gate_state.mutex);
    state_unlock();
}

void hg_interrupt_gate_unlock(void)
{
    state_lock();
    hg_assert(gate_state.lockers > 0);
    gate_state.lockers--;
    pthread_cond_broadcast(&gate_state.changed);
    state_unlock();
}

void hg_interrupt_gate_hurry(void)
{
    state_lock();
    gate_state.hurry_until_ns = now_ns() + HG_INTERRUPT_HURRY_NS;
    pthread_cond_broadcast(&gate_state.changed);
    state_unlock();
}
