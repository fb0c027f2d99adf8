/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/tcp.h"
#include "drivers/clock/clock.h"
#include "perf/perf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT         5001
#define BLOCK_BYTES  (256u << 10)
#define START_NS     (20 * HG_NS_PER_S)
#define LOOK_NS      (5 * HG_NS_PER_MS)
#define SEND_WAIT_US 100000 /* how soon a blocked sender or sink sees that it shall stop */
/* Twice the largest product of rate and round trip that is measured, so that buffers never limit. */
#define BUFFER_BYTES "268435456"

static const char *const addresses[2] = {"10.213.0.1", "10.213.0.2"};

bool hg_perf_tcp_has(const char *congestion)
{
    char line[512] = "";
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_available_congestion_control", "re");
    if (file != NULL && fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    if (file != NULL)
        fclose(file);
    for (char *rest = line, *word; (word = strtok_r(rest, " \n", &rest)) != NULL;)
        if (strcmp(word, congestion) == 0)
            return true;
    return false;
}

void hg_perf_tcp_config(const struct hg_perf_tcp *tcp, char *config, size_t config_bytes)
{
    snprintf(config, config_bytes,
             "port add a tap iface %s mac 02:00:00:00:00:0a\nport add b tap iface %s mac 02:00:00:00:00:0b\n",
             tcp->interfaces[0], tcp->interfaces[1]);
}

/* ---- a child ---- */

static bool setting_write(const char *path, const char *value)
{
    FILE *file = fopen(path, "we");
    bool done = file != NULL && fputs(value, file) >= 0;
    return (file == NULL || fclose(file) == 0) && done;
}

static bool ip_run(const char *const arguments[])
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        execvp("ip", (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* A namespace of its own, large buffers, and the interface once the parent has moved it here. */
static bool namespace_enter(struct hg_perf_tcp *tcp, int index)
{
    struct hg_perf_tcp_side *side = &tcp->shared->sides[index];
    struct timespec wait = {.tv_nsec = (long)LOOK_NS};
    char address[32];
    if (unshare(CLONE_NEWNET) != 0 ||
        !setting_write("/proc/sys/net/ipv4/tcp_rmem", "4096 1048576 " BUFFER_BYTES) ||
        !setting_write("/proc/sys/net/ipv4/tcp_wmem", "4096 1048576 " BUFFER_BYTES))
        return false;
    (void)setting_write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1");
    side->in_namespace = true;
    while (!side->has_interface && !tcp->shared->stop)
        nanosleep(&wait, NULL);
    snprintf(address, sizeof(address), "%s/24", addresses[index]);
    const char *const add[] = {"ip", "address", "add", address, "dev", tcp->interfaces[index], NULL};
    const char *const up[] = {"ip", "link", "set", tcp->interfaces[index], "up", NULL};
    return ip_run(add) && ip_run(up);
}

static int socket_make(const char *congestion)
{
    struct timeval wait = {.tv_usec = SEND_WAIT_US};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)) != 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    return fd;
}

static struct sockaddr_in address_of_sink(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    inet_pton(AF_INET, addresses[1], &address.sin_addr);
    return address;
}

static bool is_short_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == EINPROGRESS;
}

static bool sink_run(struct hg_perf_tcp *tcp, uint8_t *block)
{
    struct sockaddr_in address = address_of_sink();
    int connection = -1, fd = socket_make(tcp->congestion);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 1) != 0)
        return false;
    tcp->shared->sides[1].ready = true;
    while (connection < 0 && !tcp->shared->stop) {
        connection = accept(fd, NULL, NULL);
        if (connection < 0 && !is_short_wait())
            return false;
    }
    while (!tcp->shared->stop) {
        ssize_t n = recv(connection, block, BLOCK_BYTES, 0);
        if (n == 0 || (n < 0 && !is_short_wait()))
            return false;
        tcp->shared->received_bytes += n > 0 ? (uint64_t)n : 0;
    }
    return true;
}

static int sink_connect(struct hg_perf_tcp *tcp)
{
    struct sockaddr_in address = address_of_sink();
    struct timespec wait = {.tv_nsec = (long)LOOK_NS};
    while (!tcp->shared->stop) {
        int fd = socket_make(tcp->congestion);
        if (fd < 0)
            return -1;
        struct timeval long_wait = {.tv_sec = 10};
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &long_wait, sizeof(long_wait));
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            struct timeval short_wait = {.tv_usec = SEND_WAIT_US};
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &short_wait, sizeof(short_wait));
            return fd;
        }
        close(fd);
        nanosleep(&wait, NULL);
    }
    return -1;
}

static bool sender_run(struct hg_perf_tcp *tcp, const uint8_t *block)
{
    struct tcp_info info;
    int fd = sink_connect(tcp);
    tcp->shared->sides[0].ready = true;
    while (fd >= 0 && !tcp->shared->stop) {
        socklen_t bytes = sizeof(info);
        if (send(fd, block, BLOCK_BYTES, MSG_NOSIGNAL) < 0 && !is_short_wait())
            return false;
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0) {
            tcp->shared->resent_segments = info.tcpi_total_retrans;
            tcp->shared->rtt_us = info.tcpi_rtt;
        }
    }
    return fd >= 0 || tcp->shared->stop;
}

static int child_run(struct hg_perf_tcp *tcp, int index)
{
    uint8_t *block = calloc(1, BLOCK_BYTES);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool good = block != NULL && hg_perf_pin(tcp->cpu) && namespace_enter(tcp, index) &&
                (index == 0 ? sender_run(tcp, block) : sink_run(tcp, block));
    if (!good && !tcp->shared->stop) {
        fprintf(stderr, "helio-perf: TCP %s: %s\n", index == 0 ? "sender" : "sink", strerror(errno));
        tcp->shared->sides[index].failed = true;
    }
    free(block);
    return good ? 0 : 1;
}

/* ---- the parent ---- */

bool hg_perf_tcp_failed(const struct hg_perf_tcp *tcp)
{
    return tcp->shared->sides[0].failed || tcp->shared->sides[1].failed;
}

static bool flag_wait(const struct hg_perf_tcp *tcp, const _Atomic bool *flag)
{
    struct hg_clock *clock = hg_clock_tsc();
    struct timespec wait = {.tv_nsec = (long)LOOK_NS};
    uint64_t until_ns = clock->now_ns(clock) + START_NS;
    while (!*flag && !hg_perf_tcp_failed(tcp) && clock->now_ns(clock) < until_ns)
        nanosleep(&wait, NULL);
    return *flag;
}

static bool interface_move(struct hg_perf_tcp *tcp, int index)
{
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)tcp->children[index]);
    const char *const move[] = {"ip", "link", "set", tcp->interfaces[index], "netns", pid, NULL};
    return ip_run(move);
}

int hg_perf_tcp_start(struct hg_perf_tcp *tcp)
{
    tcp->shared = mmap(NULL, sizeof(*tcp->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    hg_assert(tcp->shared != MAP_FAILED);
    for (int index = 1; index >= 0; index--) { /* the sink first */
        struct hg_perf_tcp_side *side = &tcp->shared->sides[index];
        tcp->children[index] = fork();
        if (tcp->children[index] == 0)
            _exit(child_run(tcp, index));
        if (tcp->children[index] < 0 || !flag_wait(tcp, &side->in_namespace) || !interface_move(tcp, index)) {
            fprintf(stderr, "helio-perf: no network namespace for TCP: this needs root\n");
            return -EPERM;
        }
        side->has_interface = true;
        if (index == 1 && !flag_wait(tcp, &side->ready))
            return -ETIMEDOUT;
    }
    return 0;
}

void hg_perf_tcp_stop(struct hg_perf_tcp *tcp)
{
    if (tcp->shared == NULL)
        return;
    tcp->shared->stop = true;
    for (int i = 0; i < 2; i++)
        if (tcp->children[i] > 0)
            (void)waitpid(tcp->children[i], NULL, 0);
    munmap(tcp->shared, sizeof(*tcp->shared));
    tcp->shared = NULL;
}
