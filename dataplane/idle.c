/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/idle.h"

#include <poll.h>
#include <sys/eventfd.h>

#define SLEEP_NS_LEAST    (5 * HG_NS_PER_US) /* shorter ones cost more than they save */
#define SLEEP_NS_ACTIVE   (50 * HG_NS_PER_US)
#define SLEEP_NS_MAX      HG_NS_PER_MS
#define SLEEP_PAUSE_SHIFT 5 /* a 32nd of the pause; workers do something each 100 ms: tell their state */

/* True when all may sleep; else those that were asked are woken again. */
static bool all_sleep(struct hg_idle *idle)
{
    for (uint32_t i = 0; i < idle->count; i++) {
        if (hg_worker_sleep(idle->workers[i]))
            continue;
        while (i-- > 0)
            hg_worker_woken(idle->workers[i]);
        return false;
    }
    return true;
}

void hg_idle_wait(struct hg_idle *idle, uint64_t deadline_ns, uint64_t active_ns)
{
    struct hg_clock *clock = idle->workers[0]->config.clock;
    struct pollfd fds[HG_IDLE_WORKERS_MAX + 1];
    hg_assert(idle->count >= 1 && idle->count <= HG_IDLE_WORKERS_MAX);
    uint64_t now_ns = clock->now_ns(clock);
    uint64_t sleep_ns = hg_max_u64((now_ns - active_ns) >> SLEEP_PAUSE_SHIFT, SLEEP_NS_ACTIVE);
    sleep_ns = hg_min_u64(sleep_ns, SLEEP_NS_MAX);
    sleep_ns = hg_min_u64(sleep_ns, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
    if (sleep_ns < SLEEP_NS_LEAST || !all_sleep(idle))
        return;
    fds[0] = (struct pollfd){.fd = idle->eventfd, .events = POLLIN};
    for (uint32_t i = 0; i < idle->count; i++)
        fds[i + 1] = (struct pollfd){.fd = idle->disk_fds[i], .events = POLLIN};
    struct timespec wait = {.tv_nsec = (long)sleep_ns};
    eventfd_t drained;
    if (ppoll(fds, idle->count + 1, &wait, NULL) > 0 && fds[0].revents)
        (void)eventfd_read(idle->eventfd, &drained);
    for (uint32_t i = 0; i < idle->count; i++)
        hg_worker_woken(idle->workers[i]);
}
