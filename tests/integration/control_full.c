/* SPDX-License-Identifier: Apache-2.0
 *
 * control_full DATAPLANE: a control plane that asks a real dataplane for more than the control ring holds and
 * reads no answer until nothing more is taken. Each order is answered once, in turn, however late it reads;
 * and where it goes without having read any, the next one gets through.
 */
#include "drivers/ipc/control_socket.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ORDERS      (3 * HG_CONTROL_RING_CELLS)
#define PATIENCE_MS 20000
#define ORDERS_MIN  (HG_CONTROL_RING_CELLS + HG_CONTROL_RING_CELLS / 2) /* some of its cells hold events */
#define NO_COMMAND  4000 /* which the dataplane does not know */

static struct hg_control_ring ring;
static int connection;
static uint64_t requests[ORDERS];
static uint32_t sent, answered;
static char run[64], path[96];
static pid_t dataplane;

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void must(bool good, const char *what)
{
    if (good)
        return;
    printf("FAILED: %s; %u orders given, %u answered\n", what, sent, answered);
    kill(dataplane, SIGKILL);
    exit(1);
}

/* False: the one before is not known to be gone. */
static bool attach_once(void)
{
    char text[HG_CONTROL_TEXT_BYTES];
    int fds[HG_CONTROL_RING_FDS];
    connection = hg_control_socket_connect(path);
    if (connection < 0)
        return false;
    struct pollfd welcome = {.fd = connection, .events = POLLIN};
    must(poll(&welcome, 1, PATIENCE_MS) == 1, "the dataplane says nothing");
    if (hg_control_socket_receive(connection, fds, text) != 1) {
        close(connection);
        return false;
    }
    must(hg_control_ring_attach(&ring, fds) == 0, "its ring can't be used");
    return true;
}

static void attach(void)
{
    uint64_t end_ms = now_ms() + PATIENCE_MS;
    while (!attach_once()) {
        must(now_ms() < end_ms, "the dataplane does not welcome us");
        poll(NULL, 0, 10);
    }
}

static void detach(void)
{
    hg_control_ring_close(&ring);
    close(connection);
}

static bool order(void)
{
    const struct hg_control_message message = {.type = HG_CONTROL_COMMAND, .command = NO_COMMAND};
    requests[sent] = hg_control_ring_request(&ring);
    int rc = hg_control_ring_send(&ring, requests[sent], &message);
    must(rc == 0 || rc == -EAGAIN, "the ring is damaged");
    hg_control_ring_doorbell(&ring);
    sent += rc == 0;
    return rc == 0;
}

/* Until the dataplane has not taken anything for a second: its own ring is full. */
static void orders_give(void)
{
    uint64_t taken_ms = now_ms(), end_ms = taken_ms + PATIENCE_MS;
    while (sent < ORDERS && now_ms() < end_ms && (sent < ORDERS_MIN || now_ms() - taken_ms < 1000)) {
        if (order())
            taken_ms = now_ms();
        else
            poll(NULL, 0, 10);
    }
}

static void answers_take(void)
{
    struct hg_control_received received;
    for (uint64_t end_ms = now_ms() + PATIENCE_MS; answered < sent && now_ms() < end_ms;) {
        int rc = hg_control_ring_receive(&ring, &received);
        must(rc >= 0, "the ring is damaged");
        if (rc == 0) {
            poll(NULL, 0, 1);
            continue;
        }
        if (received.message.type == HG_CONTROL_RESULT) {
            must(received.request == requests[answered], "an answer is missing, or out of turn");
            must(received.message.code == -EOPNOTSUPP, "an order that nobody knows was taken");
            answered++;
        }
        hg_control_ring_done(&ring);
    }
    must(answered == sent, "answers are missing at the end");
}

/* By one that gives its order before it reads, as the control plane does, and comes again when it can't. */
static void stop(void)
{
    const struct hg_control_message message = {.type = HG_CONTROL_COMMAND, .command = HG_COMMAND_STOP};
    int rc = -EAGAIN;
    for (uint64_t end_ms = now_ms() + PATIENCE_MS; rc != 0 && now_ms() < end_ms; poll(NULL, 0, 20)) {
        attach();
        rc = hg_control_ring_send(&ring, hg_control_ring_request(&ring), &message);
        if (rc != 0)
            detach();
    }
    must(rc == 0, "its ring stays full");
    hg_control_ring_doorbell(&ring);
}

int main(int argc, char **argv)
{
    int status = 0;
    hg_assert(argc == 2);
    setvbuf(stdout, NULL, _IONBF, 0);
    snprintf(run, sizeof(run), "/tmp/heliograph-control-full-XXXXXX");
    hg_assert(mkdtemp(run) != NULL);
    snprintf(path, sizeof(path), "%s/dataplane.sock", run);
    dataplane = fork();
    hg_assert(dataplane >= 0);
    if (dataplane == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(argv[1], argv[1], "--run", run, NULL);
        _exit(127);
    }
    attach();
    orders_give();
    must(sent >= ORDERS_MIN, "it takes no orders");
    answers_take();
    printf("%u orders, %u answers\n", sent, answered);
    sent = 0;
    orders_give();
    detach();
    stop();
    waitpid(dataplane, &status, 0);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it did not stop");
    snprintf(path, sizeof(path), "rm -r %s", run);
    hg_assert(system(path) == 0);
    return 0;
}
