/* SPDX-License-Identifier: Apache-2.0
 *
 * When a dataplane stays down for a device that errs again and again, and that it starts again once it was
 * looked at.
 */
#include "dataplane/disk_failures.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MINUTE (60 * HG_NS_PER_S)
#define BEGIN  (UINT64_C(1700000000) * HG_NS_PER_S)

static char run[] = "/tmp/helio-disk-failures-XXXXXX";
static char path[64];

static int ends(uint64_t minutes)
{
    return hg_disk_failures_add(run, BEGIN + minutes * MINUTE, "flush after write 7: Input/output error");
}

static bool may_start(void)
{
    char why[512] = "";
    bool may = hg_disk_failures_allow(run, why, sizeof(why));
    CU_ASSERT_EQUAL(may, why[0] == '\0');
    CU_ASSERT(may || (strstr(why, path) != NULL && strstr(why, "flush after write 7") != NULL));
    return may;
}

/* Three within ten minutes, and then for good: time alone makes no device whole. */
static void test_stays_down(void)
{
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ends(0), 1);
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ends(9), 2);
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ends(11), 2); /* the first is too long ago */
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ends(19), 3);
    CU_ASSERT_FALSE(may_start());
    CU_ASSERT_FALSE(may_start());
    CU_ASSERT_EQUAL(unlink(path), 0);
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ends(20), 1);
    CU_ASSERT_EQUAL(unlink(path), 0);
}

/* The clock was set back by hours, or by minutes. */
static void test_clock_set(void)
{
    CU_ASSERT_EQUAL(ends(600), 1);
    CU_ASSERT_EQUAL(ends(1), 1);
    CU_ASSERT_EQUAL(ends(9), 2);
    CU_ASSERT_EQUAL(ends(4), 3);
    CU_ASSERT_FALSE(may_start());
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static void test_damaged(void)
{
    for (uint64_t i = 0; i < HG_DISK_FAILURES_MAX; i++)
        CU_ASSERT_EQUAL(ends(i), (int)i + 1);
    CU_ASSERT_FALSE(may_start());
    int fd = open(path, O_RDWR);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(pwrite(fd, "x", 1, 40), 1);
    CU_ASSERT_TRUE(may_start());
    CU_ASSERT_EQUAL(ftruncate(fd, 9), 0);
    CU_ASSERT_TRUE(may_start());
    close(fd);
    CU_ASSERT_EQUAL(ends(5), 1); /* and begins anew */
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static void test_no_place(void)
{
    CU_ASSERT_EQUAL(hg_disk_failures_add("/proc/no-such-place", BEGIN, "x"), -ENOENT);
}

int main(void)
{
    if (mkdtemp(run) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/disk.failures", run);
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("disk_failures", NULL, NULL);
    CU_add_test(suite, "three within ten minutes", test_stays_down);
    CU_add_test(suite, "a clock that is set", test_clock_set);
    CU_add_test(suite, "a damaged file", test_damaged);
    CU_add_test(suite, "nowhere to put it", test_no_place);
    CU_basic_run_tests();
    return rmdir(run) != 0 || CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 4;
}
