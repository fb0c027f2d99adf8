/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/latency.h"

#include <CUnit/Basic.h>

static struct hg_latency latency;

/* Every time lies in its class, whose end is at most a quarter more; ends rise. */
static void test_classes(void)
{
    uint64_t before_ns = 0;
    for (uint64_t took_ns = HG_NS_PER_US; took_ns < 3000 * (uint64_t)HG_NS_PER_S;
         took_ns += took_ns / 9 + 1) {
        hg_latency_init(&latency, 0);
        hg_latency_add(&latency, took_ns, 0);
        uint64_t found_ns = hg_latency_quantile_ns(&latency, 990);
        CU_ASSERT(found_ns > took_ns && found_ns <= took_ns + took_ns / 4 + HG_NS_PER_US);
        CU_ASSERT(found_ns >= before_ns);
        before_ns = found_ns;
    }
    hg_latency_init(&latency, 0);
    CU_ASSERT_EQUAL(hg_latency_quantile_ns(&latency, 990), 0);
    hg_latency_add(&latency, 0, 0);
    CU_ASSERT_EQUAL(hg_latency_quantile_ns(&latency, 990), HG_NS_PER_US);
    hg_latency_add(&latency, UINT64_MAX, 0);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 1000) > 3600 * (uint64_t)HG_NS_PER_S);
}

static void add(uint32_t count, uint64_t took_ns, uint64_t now_ns)
{
    for (uint32_t i = 0; i < count; i++)
        hg_latency_add(&latency, took_ns, now_ns);
}

/* One in a hundred does not show at 99 %, two do. */
static void test_quantile(void)
{
    hg_latency_init(&latency, 0);
    add(990, HG_NS_PER_MS, 1);
    add(10, 100 * HG_NS_PER_MS, 1);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 990) < 2 * HG_NS_PER_MS);
    add(10, 100 * HG_NS_PER_MS, 1);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 990) >= 100 * HG_NS_PER_MS);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 500) < 2 * HG_NS_PER_MS);
}

/* What is longer ago than two windows is forgotten, what is not is not. */
static void test_of_late(void)
{
    hg_latency_init(&latency, 0);
    add(100, HG_NS_PER_S, 1);
    add(1, HG_NS_PER_MS, HG_LATENCY_WINDOW_NS + 1);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 990) >= HG_NS_PER_S);
    add(1, HG_NS_PER_MS, 2 * HG_LATENCY_WINDOW_NS + 1);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 990) < 2 * HG_NS_PER_MS);
    add(100, HG_NS_PER_S, 2 * HG_LATENCY_WINDOW_NS + 2);
    add(1, HG_NS_PER_MS, 5 * HG_LATENCY_WINDOW_NS);
    CU_ASSERT(hg_latency_quantile_ns(&latency, 990) < 2 * HG_NS_PER_MS);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("latency", NULL, NULL);
    CU_ADD_TEST(suite, test_classes);
    CU_ADD_TEST(suite, test_quantile);
    CU_ADD_TEST(suite, test_of_late);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
