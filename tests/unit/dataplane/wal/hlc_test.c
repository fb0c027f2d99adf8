/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/hlc.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <errno.h>

#define NOW_NS (UINT64_C(1700000000) * HG_NS_PER_S)

static uint64_t stamp_get(struct hg_hlc *hlc, uint64_t realtime_ns)
{
    uint64_t ceiling = hg_hlc_ceiling_next(hlc, realtime_ns);
    if (ceiling != 0)
        hg_hlc_ceiling_raise(hlc, ceiling);
    uint64_t stamp = hg_hlc_now(hlc, realtime_ns);
    CU_ASSERT(stamp != 0 && stamp <= hlc->ceiling);
    return stamp;
}

static void test_monotone(void)
{
    struct hg_hlc hlc;
    struct hg_random random;
    uint64_t last = 0, realtime_ns = NOW_NS;
    hg_hlc_init(&hlc, 0);
    hg_random_init(&random, 3);
    for (int i = 0; i < 300000; i++) {
        realtime_ns += hg_random_below(&random, 50000);
        if (hg_random_chance(&random, 1, 1000)) /* the clock steps either way */
            realtime_ns = realtime_ns + hg_random_below(&random, 4 * HG_NS_PER_S) - 2 * HG_NS_PER_S;
        uint64_t stamp = stamp_get(&hlc, realtime_ns);
        CU_ASSERT_FATAL(stamp > last);
        last = stamp;
    }
}

static void test_ceiling(void)
{
    struct hg_hlc hlc;
    hg_hlc_init(&hlc, 0);
    CU_ASSERT_EQUAL(hg_hlc_now(&hlc, NOW_NS), 0); /* no ceiling yet */
    uint64_t ceiling = hg_hlc_ceiling_next(&hlc, NOW_NS);
    CU_ASSERT_EQUAL(hg_hlc_ms(ceiling), NOW_NS / HG_NS_PER_MS + 5000);
    hg_hlc_ceiling_raise(&hlc, ceiling);
    CU_ASSERT_EQUAL(hg_hlc_now(&hlc, NOW_NS), hg_hlc_from_ns(NOW_NS));
    CU_ASSERT_EQUAL(hg_hlc_ceiling_next(&hlc, NOW_NS + 2 * HG_NS_PER_S), 0);
    CU_ASSERT_NOT_EQUAL(hg_hlc_ceiling_next(&hlc, NOW_NS + 3 * HG_NS_PER_S), 0);
    CU_ASSERT_EQUAL(hg_hlc_now(&hlc, NOW_NS + 6 * HG_NS_PER_S), 0);
    hg_hlc_ceiling_raise(&hlc, 5);
    CU_ASSERT_EQUAL(hlc.ceiling, ceiling); /* never falls */

    struct hg_hlc after;
    hg_hlc_init(&after, hlc.ceiling);
    CU_ASSERT(stamp_get(&after, NOW_NS - HG_NS_PER_S) > ceiling); /* restart, clock behind */
}

static void test_logical_overflow(void)
{
    struct hg_hlc hlc;
    hg_hlc_init(&hlc, 0);
    uint64_t first = stamp_get(&hlc, NOW_NS), stamp = 0;
    for (int i = 0; i < 70000; i++)
        stamp = stamp_get(&hlc, NOW_NS);
    CU_ASSERT_EQUAL(stamp, first + 70000);
    CU_ASSERT_EQUAL(hg_hlc_ms(stamp), hg_hlc_ms(first) + 1); /* carried into the next millisecond */
}

static void test_merge(void)
{
    struct hg_hlc hlc;
    hg_hlc_init(&hlc, 0);
    stamp_get(&hlc, NOW_NS);
    uint64_t near = hg_hlc_from_ns(NOW_NS + 400 * HG_NS_PER_MS) + 7;
    uint64_t far = hg_hlc_from_ns(NOW_NS + 501 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_hlc_merge(&hlc, far, NOW_NS, 500 * HG_NS_PER_MS), -ERANGE);
    CU_ASSERT(stamp_get(&hlc, NOW_NS) < near);
    CU_ASSERT_EQUAL(hg_hlc_merge(&hlc, near, NOW_NS, 500 * HG_NS_PER_MS), 0);
    CU_ASSERT_EQUAL(stamp_get(&hlc, NOW_NS), near + 1);
    CU_ASSERT_EQUAL(hg_hlc_merge(&hlc, 5, NOW_NS, 0), 0);
    CU_ASSERT_EQUAL(stamp_get(&hlc, NOW_NS), near + 2);
    CU_ASSERT_EQUAL(hg_hlc_merge(&hlc, UINT64_MAX, NOW_NS, 500 * HG_NS_PER_MS), -ERANGE);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("hlc", NULL, NULL);
    CU_add_test(suite, "monotone", test_monotone);
    CU_add_test(suite, "ceiling", test_ceiling);
    CU_add_test(suite, "logical overflow", test_logical_overflow);
    CU_add_test(suite, "merge", test_merge);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
