/* SPDX-License-Identifier: Apache-2.0
 *
 * How a worker's thread waits when a turn did nothing. A shell: the thread's side of the duty cycle.
 */
#ifndef HG_IDLE_H
#define HG_IDLE_H

#include "dataplane/worker.h"

/* Waits for a doorbell (`eventfd`, drained here), a completion of the log's disk (`disk_fd`) or the deadline,
 * at most 50 us while anything happened in the last 100 ms (`active_ns` = when a turn last did something),
 * else at most 1 ms: a port may have no descriptor to wait on. Returns at once when there is news or waiting
 * is not worth its price. */
void hg_idle_wait(struct hg_worker *worker, int eventfd, int disk_fd, uint64_t deadline_ns,
                  uint64_t active_ns);

#endif
