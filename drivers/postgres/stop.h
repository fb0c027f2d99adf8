/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGTERM and SIGINT as a condition and a descriptor, and monotonic time: what both modes of helio-postgres
 * wait with. One per process. One thread.
 */
#ifndef HG_POSTGRES_STOP_H
#define HG_POSTGRES_STOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/* Installs the handlers (and ignores SIGPIPE). 0 or -errno. */
int hg_stop_init(void);
bool hg_stop_requested(void);
/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t hg_stop_now_ns(void);
/* poll() until `wake_ns` at the latest, woken by a stop too. Returns the number of ready descriptors (0: time
 * is over or stop). `fds` has room for one more than `count`. Descriptors of -1 are passed over. */
int hg_stop_poll(struct pollfd *fds, unsigned count, uint64_t wake_ns);
/* Waits for the time or the stop. */
void hg_stop_pause(uint64_t duration_ns);

#endif
