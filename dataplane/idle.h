/* SPDX-License-Identifier: Apache-2.0
 *
 * How a thread waits when a turn of all its workers did nothing. A shell: the thread's side of the duty
 * cycle.
 */
#ifndef HG_IDLE_H
#define HG_IDLE_H

#include "dataplane/worker.h"

#define HG_IDLE_WORKERS_MAX 16u

/* What one thread runs. */
struct hg_idle {
    int eventfd; /* the doorbell of its workers; drained here */
    uint32_t count;
    struct hg_worker *workers[HG_IDLE_WORKERS_MAX];
    int disk_fds[HG_IDLE_WORKERS_MAX]; /* of their logs' completions */
};

/* Waits for a doorbell, a completion or the deadline, at most the 32nd part of the time since a turn last did
 * something (`active_ns`), from 50 us to 1 ms: a port may have no descriptor to wait on, so what comes in
 * after a pause waits for a 32nd of that pause at most. Returns at once when there is news for one of the
 * workers or waiting is not worth its price. */
void hg_idle_wait(struct hg_idle *idle, uint64_t deadline_ns, uint64_t active_ns);

#endif
