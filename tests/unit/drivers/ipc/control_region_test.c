/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring as descriptors: create, attach, doorbells, and descriptors that are not what they should
 * be.
 */
#include "drivers/ipc/control_socket.h"

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void duplicate(const struct hg_control_ring *ring, int fds[HG_CONTROL_RING_FDS])
{
    for (int i = 0; i < HG_CONTROL_RING_FDS; i++)
        fds[i] = dup(ring->fds[i]);
}

static bool rung(const struct hg_control_ring *ring)
{
    struct pollfd poll_fd = {.fd = hg_control_ring_doorbell_fd(ring), .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

static void test_create_attach(void)
{
    struct hg_control_ring dataplane, control;
    struct hg_control_message message = {.type = HG_CONTROL_COMMAND, .command = HG_COMMAND_STOP};
    struct hg_control_received received;
    int fds[HG_CONTROL_RING_FDS];

    CU_ASSERT_EQUAL_FATAL(hg_control_ring_create(&dataplane, HG_CONTROL_RING_CELLS, 42), 0);
    duplicate(&dataplane, fds);
    CU_ASSERT_EQUAL_FATAL(hg_control_ring_attach(&control, fds), 0);
    CU_ASSERT_EQUAL(control.boot, 42);
    CU_ASSERT_EQUAL(hg_control_ring_send(&control, hg_control_ring_request(&control), &message), 0);
    CU_ASSERT_FALSE(rung(&dataplane));
    hg_control_ring_doorbell(&control);
    CU_ASSERT(rung(&dataplane));
    CU_ASSERT_FALSE(rung(&control));
    hg_control_ring_doorbell_clear(&dataplane);
    hg_control_ring_doorbell_clear(&dataplane);
    CU_ASSERT_FALSE(rung(&dataplane));
    CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), 1);
    CU_ASSERT_EQUAL(received.message.command, HG_COMMAND_STOP);
    hg_control_ring_close(&dataplane);
    CU_ASSERT_EQUAL(hg_control_ring_doorbell_fd(&dataplane), -1);
    CU_ASSERT(hg_control_ring_send(&control, hg_control_ring_request(&control), &message) == 0);
    hg_control_ring_close(&control);
    hg_control_ring_close(&control);
}

static void test_hostile_descriptors(void)
{
    struct hg_control_ring control;
    int fds[HG_CONTROL_RING_FDS] = {-1, -1, -1};

    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), -EBADF);
    fds[0] = eventfd(0, EFD_CLOEXEC);
    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), -EINVAL); /* has no seals */
    CU_ASSERT_EQUAL(fcntl(fds[0], F_GETFD), -1);                     /* and was closed */
    fds[0] = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_EQUAL(ftruncate(fds[0], (off_t)hg_control_region_bytes(4)), 0);
    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), -EPROTO);
    fds[0] = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_EQUAL(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), -EPROTO);
    fds[0] = memfd_create("zeros", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CU_ASSERT_EQUAL(ftruncate(fds[0], (off_t)hg_control_region_bytes(4)), 0);
    CU_ASSERT_EQUAL(fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), -EPROTO);
}

/* Both ends of the hand-over, over a socket pair as an accepted connection would be. */
static void test_socket(void)
{
    struct hg_control_ring dataplane, control;
    struct hg_control_socket_message hello = {.magic = HG_CONTROL_SOCKET_MAGIC,
                                              .type = HG_CONTROL_SOCKET_HELLO,
                                              .bytes = sizeof(hello),
                                              .abi = HG_CONTROL_ABI};
    int pair[2], fds[HG_CONTROL_RING_FDS];
    char text[HG_CONTROL_TEXT_BYTES];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    CU_ASSERT_EQUAL_FATAL(hg_control_ring_create(&dataplane, 8, 43), 0);
    CU_ASSERT_EQUAL(hg_control_socket_peek(pair[1]), -EAGAIN);
    CU_ASSERT_EQUAL(write(pair[0], "clientHELLO", 11), 11);
    CU_ASSERT_EQUAL(hg_control_socket_peek(pair[1]), 0);
    CU_ASSERT_EQUAL(hg_control_socket_answer(pair[1], &dataplane, ""), -EPROTO);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), 0);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), -EAGAIN);
    CU_ASSERT_EQUAL(write(pair[0], &hello, sizeof(hello)), sizeof(hello));
    CU_ASSERT_EQUAL(hg_control_socket_peek(pair[1]), 1);
    CU_ASSERT_EQUAL(hg_control_socket_answer(pair[1], NULL, "taken"), -EBUSY);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), 0);
    CU_ASSERT_STRING_EQUAL(text, "taken");
    CU_ASSERT_EQUAL(write(pair[0], &hello, sizeof(hello)), sizeof(hello));
    CU_ASSERT_EQUAL(hg_control_socket_answer(pair[1], &dataplane, ""), 0);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), 1);
    CU_ASSERT_EQUAL(hg_control_ring_attach(&control, fds), 0);
    CU_ASSERT_EQUAL(control.boot, 43);
    hello.abi++;
    CU_ASSERT_EQUAL(write(pair[0], &hello, sizeof(hello)), sizeof(hello));
    CU_ASSERT_EQUAL(hg_control_socket_answer(pair[1], &dataplane, ""), -EPROTO);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), 0);
    CU_ASSERT_EQUAL(write(pair[1], "x", 1), 1);
    CU_ASSERT_EQUAL(hg_control_socket_receive(pair[0], fds, text), -EPROTO);
    close(pair[0]);
    CU_ASSERT_EQUAL(hg_control_socket_peek(pair[1]), -ECONNRESET);
    close(pair[1]);
    CU_ASSERT_EQUAL(hg_control_socket_connect("/nowhere/dataplane.sock"), -ENOENT);
    hg_control_ring_close(&control);
    hg_control_ring_close(&dataplane);
}

int main(void)
{
    CU_TestInfo tests[] = {{"create and attach", test_create_attach},
                           {"hostile descriptors", test_hostile_descriptors},
                           {"socket", test_socket},
                           CU_TEST_INFO_NULL};
    CU_SuiteInfo suites[] = {{"control_region", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    unsigned failures;

    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
