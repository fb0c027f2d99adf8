/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is named, and when.
 */
#include "controlplane/copies.h"

#include <CUnit/Basic.h>

static struct hg_copies_seen seen;
static struct hg_copies now, next;

static void begin(void)
{
    memset(&now, 0, sizeof(now));
    memset(&seen, 0, sizeof(seen));
    seen.own.node = 1;
    CU_ASSERT_TRUE(hg_copies_seen_add(&seen.own, 11));
    seen.count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        seen.nodes[i].node = i + 2;
        seen.nodes[i].is_voter = true;
        CU_ASSERT_TRUE(hg_copies_seen_add(&seen.nodes[i], 12 + i));
        CU_ASSERT_TRUE(hg_copies_seen_add(&seen.nodes[i], 12 + i)); /* of another stream */
    }
}

static bool take(void)
{
    bool changed = hg_copies_next(&now, &seen, &next);
    now = next;
    return changed;
}

/* All members at once, learners when they have everything. */
static void test_first(void)
{
    begin();
    seen.nodes[2] = (struct hg_copies_seen_node){.node = 9, .log_count = 1, .logs = {19}};
    seen.count = 3;
    seen.nodes[1].caught_up = true;
    CU_ASSERT_FALSE(take());
    seen.nodes[0].caught_up = true;
    CU_ASSERT_TRUE(take());
    CU_ASSERT_EQUAL(now.count, 3);
    CU_ASSERT_TRUE(hg_copies_counts(&now, 1, 11) && hg_copies_counts(&now, 2, 12));
    CU_ASSERT_TRUE(hg_copies_counts(&now, 3, 13) && !hg_copies_counts(&now, 9, 19));
    CU_ASSERT_FALSE(take());
    seen.nodes[2].caught_up = true;
    CU_ASSERT_TRUE(take());
    CU_ASSERT_TRUE(hg_copies_counts(&now, 9, 19));
}

static void test_replaced(void)
{
    begin();
    seen.nodes[0].caught_up = seen.nodes[1].caught_up = true;
    CU_ASSERT_TRUE(take());
    seen.nodes[0].logs[0] = 99;
    seen.nodes[0].caught_up = false;
    CU_ASSERT_FALSE(take()); /* it does not count, and nobody counts in its place */
    seen.nodes[0].caught_up = true;
    CU_ASSERT_TRUE(take());
    CU_ASSERT_TRUE(hg_copies_counts(&now, 2, 99) && !hg_copies_counts(&now, 2, 12));
    seen.nodes[0].log_count = 0; /* it is away */
    CU_ASSERT_FALSE(take());
    CU_ASSERT_TRUE(hg_copies_counts(&now, 2, 99));
}

/* A writer whose own log was made anew has nothing to say; one with another log besides has. */
static void test_own(void)
{
    begin();
    seen.nodes[0].caught_up = seen.nodes[1].caught_up = true;
    CU_ASSERT_TRUE(take());
    seen.nodes[1].logs[0] = 97;
    seen.own.logs[0] = 98;
    CU_ASSERT_FALSE(take());
    CU_ASSERT_TRUE(hg_copies_seen_add(&seen.own, 11));
    CU_ASSERT_TRUE(take());
    CU_ASSERT_TRUE(hg_copies_counts(&now, 1, 98) && hg_copies_counts(&now, 3, 97));
    seen.own.log_count = 0;
    CU_ASSERT_FALSE(take());
}

/* A node that is no peer any more. */
static void test_gone(void)
{
    begin();
    seen.nodes[0].caught_up = seen.nodes[1].caught_up = true;
    CU_ASSERT_TRUE(take());
    seen.count = 1;
    CU_ASSERT_TRUE(take());
    CU_ASSERT_EQUAL(now.count, 2);
    CU_ASSERT_FALSE(hg_copies_counts(&now, 3, 13));
}

/* A stream leaves its log only where nobody has named any. */
static void test_move(void)
{
    static const struct hg_copies none;

    begin();
    CU_ASSERT_PTR_NULL(hg_copies_move_problem(&none, false));
    CU_ASSERT_PTR_NULL(hg_copies_move_problem(&none, true));
    seen.nodes[0].caught_up = seen.nodes[1].caught_up = true;
    CU_ASSERT_TRUE(take());
    CU_ASSERT_PTR_NOT_NULL(hg_copies_move_problem(&now, true));
    CU_ASSERT_PTR_NOT_NULL(hg_copies_move_problem(&now, false));
    CU_ASSERT_PTR_NOT_NULL(hg_copies_move_problem(NULL, true));
    CU_ASSERT_PTR_NULL(hg_copies_move_problem(NULL, false));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("copies", NULL, NULL);
    CU_add_test(suite, "the first ones", test_first);
    CU_add_test(suite, "a log made anew", test_replaced);
    CU_add_test(suite, "this node's own", test_own);
    CU_add_test(suite, "a node that is gone", test_gone);
    CU_add_test(suite, "a stream that is to move", test_move);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 5;
}
