/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring as descriptors: create, attach, doorbells, and descriptors that are not what they should
 * be.
 */
#include "drivers/ipc/control_ring.h"

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
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

int main(void)
{
    CU_TestInfo tests[] = {{"create and attach", test_create_attach},
                           {"hostile descriptors", test_hostile_descriptors},
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
