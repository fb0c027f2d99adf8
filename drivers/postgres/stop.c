/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/stop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "drivers/platform/platform.h"

static volatile sig_atomic_t requested;
static int stop_fd = -1;

static void on_signal(int number)
{
    int saved = errno;
    uint64_t one = 1;
    requested = 1;
    /* The descriptor closes the race between looking at the flag and going to sleep. */
    ssize_t rc = write(stop_fd, &one, sizeof(one));
    (void)rc;
    errno = saved;
}

int hg_stop_init(void)
{
    hg_assert(stop_fd == -1);
    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0) {
        return -errno;
    }
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    if (sigaction(SIGTERM, &action, NULL) < 0 || sigaction(SIGINT, &action, NULL) < 0) {
        return -errno;
    }
    action.sa_handler = SIG_IGN;
    return sigaction(SIGPIPE, &action, NULL) < 0 ? -errno : 0;
}

bool hg_stop_requested(void)
{
    return requested != 0;
}

uint64_t hg_stop_now_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    hg_assert(rc == 0);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

int hg_stop_poll(struct pollfd *fds, unsigned count, uint64_t wake_ns)
{
    uint64_t now_ns = hg_stop_now_ns();
    uint64_t wait_ns = wake_ns > now_ns ? wake_ns - now_ns : 0;
    struct timespec timeout = {(time_t)(wait_ns / HG_NS_PER_S), (long)(wait_ns % HG_NS_PER_S)};
    fds[count].fd = stop_fd;
    fds[count].events = POLLIN;
    for (unsigned i = 0; i <= count; i++) {
        fds[i].revents = 0;
    }
    int ready = ppoll(fds, count + 1, &timeout, NULL);
    if (ready <= 0 || requested) {
        hg_assert(ready >= 0 || errno == EINTR);
        return 0;
    }
    return ready;
}

void hg_stop_pause(uint64_t duration_ns)
{
    struct pollfd fds[1];
    uint64_t wake_ns = hg_stop_now_ns() + duration_ns;
    while (!requested && hg_stop_now_ns() < wake_ns) {
        hg_stop_poll(fds, 0, wake_ns);
    }
}
