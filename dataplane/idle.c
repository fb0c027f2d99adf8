/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/idle.h"

#include <poll.h>
#include <sys/eventfd.h>

#define SLEEP_ACTIVE_NS_MAX (50 * HG_NS_PER_US)
#define SLEEP_IDLE_NS_MAX   HG_NS_PER_MS
#define ACTIVE_NS           (100 * HG_NS_PER_MS)

void hg_idle_wait(struct hg_worker *worker, int eventfd, int disk_fd, uint64_t deadline_ns,
                  uint64_t active_ns)
{
    struct hg_clock *clock = worker->config.clock;
    struct pollfd fds[2] = {{.fd = eventfd, .events = POLLIN}, {.fd = disk_fd, .events = POLLIN}};
    uint64_t now_ns = clock->now_ns(clock);
    uint64_t sleep_ns = now_ns - active_ns < ACTIVE_NS ? SLEEP_ACTIVE_NS_MAX : SLEEP_IDLE_NS_MAX;
    sleep_ns = hg_min_u64(sleep_ns, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
    if (sleep_ns < 5 * HG_NS_PER_US || !hg_worker_sleep(worker))
        return;
    struct timespec wait = {.tv_nsec = (long)sleep_ns};
    eventfd_t drained;
    if (ppoll(fds, 2, &wait, NULL) > 0 && fds[0].revents)
        (void)eventfd_read(eventfd, &drained);
    hg_worker_woken(worker);
}
