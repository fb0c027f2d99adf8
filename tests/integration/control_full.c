/* SPDX-License-Identifier: Apache-2.0
 *
 * control_full DATAPLANE: a control plane that asks a real dataplane for more than the control ring holds and
 * reads no answer until nothing more is taken. Each order is answered once, in turn, however late it reads.
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

static void attach(void)
{
    char text[HG_CONTROL_TEXT_BYTES];
    int fds[HG_CONTROL_RING_FDS], socket = -1;
    for (uint64_t end_ms = now_ms() + PATIENCE_MS; socket < 0 && now_ms() < end_ms; poll(NULL, 0, 10))
        socket = hg_control_socket_connect(path);
    must(socket >= 0, "the dataplane does not listen");
    struct pollfd welcome = {.fd = socket, .events = POLLIN};
    must(poll(&welcome, 1, PATIENCE_MS) == 1 && hg_control_socket_receive(socket, fds, text) == 1,
         "the dataplane does not welcome us");
    must(hg_control_ring_attach(&ring, fds) == 0, "its ring can't be used");
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
    must(hg_control_ring_send(
             &ring, hg_control_ring_request(&ring),
             &(struct hg_control_message){.type = HG_CONTROL_COMMAND, .command = HG_COMMAND_STOP}) == 0,
         "it can't be stopped");
    hg_control_ring_doorbell(&ring);
    waitpid(dataplane, &status, 0);
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it did not stop");
    snprintf(path, sizeof(path), "rm -r %s", run);
    hg_assert(system(path) == 0);
    printf("%u orders, %u answers\n", sent, answered);
    return 0;
}
