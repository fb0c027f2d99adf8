/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/pmtu.h"
#include <CUnit/Basic.h>

/* A path that carries `bytes` and no more. */
struct path {
    struct hg_pmtu pmtu;
    uint32_t bytes;
    uint64_t now_ns;
    uint64_t number;
    uint32_t probes;
};

static void path_make(struct path *path, uint32_t bytes_max, uint32_t bytes)
{
    memset(path, 0, sizeof(*path));
    path->bytes = bytes;
    path->now_ns = HG_NS_PER_S;
    hg_pmtu_init(&path->pmtu, bytes_max, 0, path->now_ns);
}

/* A packet of that size and what becomes of it. */
static bool path_send(struct path *path, uint64_t number, uint32_t bytes)
{
    if (bytes <= path->bytes)
        return hg_pmtu_arrived(&path->pmtu, number, bytes, path->now_ns);
    return hg_pmtu_lost(&path->pmtu, number, bytes, path->now_ns);
}

/* Data as large as it may be, and probes when they are due, until it rests. */
static void path_settle(struct path *path)
{
    for (int i = 0; i < 100; i++) {
        uint32_t bytes = hg_pmtu_probe_due(&path->pmtu, path->now_ns);
        path->number++;
        if (bytes > 0) {
            path->probes++;
            hg_pmtu_probe_sent(&path->pmtu, path->number);
            CU_ASSERT_EQUAL(hg_pmtu_probe_due(&path->pmtu, path->now_ns), 0); /* one at a time */
            CU_ASSERT_TRUE(path_send(path, path->number, bytes));
        } else {
            CU_ASSERT_FALSE(path_send(path, path->number, hg_pmtu_bytes(&path->pmtu)));
        }
        CU_ASSERT(hg_pmtu_bytes(&path->pmtu) <= path->pmtu.bytes_max);
    }
    CU_ASSERT_EQUAL(path->pmtu.state, HG_PMTU_SETTLED);
}

static void test_whole_link(void)
{
    struct path path;
    path_make(&path, 1500, 1500);
    path_settle(&path);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
    CU_ASSERT_EQUAL(path.probes, 0); /* a link that is what it says costs nothing */
    CU_ASSERT_EQUAL(hg_pmtu_deadline_ns(&path.pmtu), HG_TIME_NEVER);
}

static void test_narrow_path(void)
{
    static const struct {
        uint32_t link, path, found;
    } table[] = {
        {1500, 1500, 1500}, {1500, 1499, 1492}, {1500, 1492, 1492}, {1500, 1450, 1440}, {1500, 1400, 1400},
        {1500, 1399, 1280}, {1500, 1279, 1200}, {1500, 1200, 1200}, {9000, 9000, 9000}, {9000, 8999, 8900},
        {9000, 1500, 1500}, {9000, 1300, 1280}, {9000, 1200, 1200}, {9216, 9100, 9000}, {1350, 1300, 1280},
        {1350, 1350, 1350}, {1280, 1200, 1200}, {1200, 1200, 1200}, {576, 576, 576},
    };
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct path path;
        path_make(&path, table[i].link, table[i].path);
        path_settle(&path);
        CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), table[i].found);
        CU_ASSERT(path.probes <= 5 * HG_PMTU_PROBES_MAX); /* one verified, four halvings */
    }
}

/* While a size is in doubt data goes out at the base size, so it arrives in any case. */
static void test_suspicion(void)
{
    struct path path;
    path_make(&path, 1500, 1500);
    for (uint64_t number = 1; number <= HG_PMTU_LARGE_LOST; number++) {
        CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number, 1500, path.now_ns));
    }
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_VERIFYING);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), HG_PMTU_BASE_BYTES);
    CU_ASSERT(hg_pmtu_deadline_ns(&path.pmtu) <= path.now_ns);
    CU_ASSERT_EQUAL(hg_pmtu_probe_due(&path.pmtu, path.now_ns), 1500);
    hg_pmtu_probe_sent(&path.pmtu, 10);
    CU_ASSERT_EQUAL(hg_pmtu_deadline_ns(&path.pmtu), HG_TIME_NEVER);
    CU_ASSERT_TRUE(hg_pmtu_lost(&path.pmtu, 10, 1500, path.now_ns)); /* lost by chance: sent again */
    CU_ASSERT_EQUAL(hg_pmtu_probe_due(&path.pmtu, path.now_ns), 1500);
    hg_pmtu_probe_sent(&path.pmtu, 11);
    CU_ASSERT_TRUE(hg_pmtu_arrived(&path.pmtu, 11, 1500, path.now_ns));
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_SETTLED);
}

/* Loss that takes any size is no black hole: of a hundred in a row some were sent before one that arrived. */
static void test_loss_is_no_black_hole(void)
{
    struct path path;
    path_make(&path, 1500, 1500);
    CU_ASSERT_FALSE(hg_pmtu_arrived(&path.pmtu, 200, 1500, path.now_ns));
    for (uint64_t number = 100; number < 200; number++)
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number, 1500, path.now_ns));
    for (uint64_t number = 201; number < 1000; number += 3) { /* two lost, one arrives */
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number, 1500, path.now_ns));
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number + 1, 1500, path.now_ns));
        CU_ASSERT_FALSE(hg_pmtu_arrived(&path.pmtu, number + 2, 1100, path.now_ns)); /* small: says nothing */
        CU_ASSERT_FALSE(hg_pmtu_arrived(&path.pmtu, number + 2, 1500, path.now_ns));
    }
    for (uint64_t number = 1000; number < 1100; number++) /* small ones lost say nothing of full ones */
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number, 1200, path.now_ns));
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_SETTLED);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
}

/* Short batches: no packet is full, those in between vanish, and small ones arrive all the time. */
static void test_black_hole_in_between(void)
{
    struct path path;
    path_make(&path, 6564, 2531);
    CU_ASSERT_FALSE(path_send(&path, 1, 3100));
    CU_ASSERT_FALSE(path_send(&path, 2, 2400));
    CU_ASSERT_FALSE(path_send(&path, 3, 4700));
    CU_ASSERT_FALSE(path_send(&path, 4, 1100));
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_SETTLED);
    CU_ASSERT_FALSE(path_send(&path, 5, 2600));
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_VERIFYING);
    path_settle(&path);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
    /* Lost by chance: one as large that arrives clears it. */
    path_make(&path, 6564, 6564);
    for (uint64_t number = 1; number < 1000; number += 3) {
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number, 3100, path.now_ns));
        CU_ASSERT_FALSE(hg_pmtu_lost(&path.pmtu, number + 1, 2000, path.now_ns));
        CU_ASSERT_FALSE(hg_pmtu_arrived(&path.pmtu, number + 2, 2000, path.now_ns));
    }
    CU_ASSERT_EQUAL(path.pmtu.state, HG_PMTU_SETTLED);
}

/* Only full packets are sent, so nothing is acknowledged and nothing is declared lost. */
static void test_silence(void)
{
    struct hg_pmtu pmtu;
    hg_pmtu_init(&pmtu, 1500, 0, 0);
    hg_pmtu_timeout(&pmtu, 5, 1100); /* small ones don't pass either: that is no question of size */
    hg_pmtu_timeout(&pmtu, 1, 1500);
    CU_ASSERT_EQUAL(pmtu.state, HG_PMTU_SETTLED);
    hg_pmtu_timeout(&pmtu, HG_PMTU_TIMEOUTS, 1500);
    CU_ASSERT_EQUAL(pmtu.state, HG_PMTU_VERIFYING);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&pmtu), HG_PMTU_BASE_BYTES);
    CU_ASSERT_EQUAL(hg_pmtu_probe_due(&pmtu, 1), 1500);
    hg_pmtu_probe_sent(&pmtu, 7);
    hg_pmtu_timeout(&pmtu, 9, 1500); /* the probe goes on */
    CU_ASSERT_TRUE(hg_pmtu_arrived(&pmtu, 7, 1500, 1));
    CU_ASSERT_EQUAL(pmtu.state, HG_PMTU_SETTLED);
}

static void test_raise(void)
{
    struct path path;
    path_make(&path, 9000, 1500);
    path_settle(&path);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
    for (uint64_t wait_ns = HG_PMTU_RAISE_NS_MIN; wait_ns < 10 * HG_PMTU_RAISE_NS_MAX; wait_ns *= 2) {
        uint64_t due_ns = path.now_ns + hg_min_u64(wait_ns, HG_PMTU_RAISE_NS_MAX);
        CU_ASSERT_EQUAL(hg_pmtu_deadline_ns(&path.pmtu), due_ns);
        path.now_ns = due_ns - 1;
        CU_ASSERT_EQUAL(hg_pmtu_probe_due(&path.pmtu, path.now_ns), 0);
        path.now_ns = due_ns;
        path_settle(&path); /* nothing better yet */
        CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1500);
    }
    path.now_ns += HG_PMTU_RAISE_NS_MAX;
    path.bytes = 9000;
    path_settle(&path);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 9000);
    path.bytes = 1400; /* and narrower again */
    path_settle(&path);
    CU_ASSERT_EQUAL(hg_pmtu_bytes(&path.pmtu), 1400);
}

/* New keys are a new lane over the same path. */
static void test_known(void)
{
    static const struct {
        uint32_t known, begins;
    } table[] = {{0, 1500}, {1400, 1400}, {1200, 1200}, {1199, 1500}, {1500, 1500}, {9000, 1500}};
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        struct hg_pmtu pmtu;
        hg_pmtu_init(&pmtu, 1500, table[i].known, 5);
        CU_ASSERT_EQUAL(hg_pmtu_bytes(&pmtu), table[i].begins);
        CU_ASSERT_EQUAL(hg_pmtu_deadline_ns(&pmtu),
                        table[i].begins < 1500 ? 5 + HG_PMTU_RAISE_NS_MIN : HG_TIME_NEVER);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("pmtu", NULL, NULL);
    CU_add_test(suite, "a path as wide as its link", test_whole_link);
    CU_add_test(suite, "a narrower path", test_narrow_path);
    CU_add_test(suite, "a suspicion that was wrong", test_suspicion);
    CU_add_test(suite, "loss is no black hole", test_loss_is_no_black_hole);
    CU_add_test(suite, "black hole in between", test_black_hole_in_between);
    CU_add_test(suite, "silence", test_silence);
    CU_add_test(suite, "a path that widens", test_raise);
    CU_add_test(suite, "a path that is known", test_known);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
