/* SPDX-License-Identifier: Apache-2.0
 *
 * Which logs count.
 */
#include "drivers/ipc/group_copies.h"

#include <CUnit/Basic.h>

static void test_nothing_named(void)
{
    static const uint64_t logs[] = {5};
    struct hg_copies copies = {0};
    CU_ASSERT_TRUE(hg_copies_counts(&copies, 1, 5));
    CU_ASSERT_TRUE(hg_copies_are_there(&copies, 1, logs, 0));
    CU_ASSERT_PTR_NULL(hg_copies_of(&copies, 1));
    CU_ASSERT_FALSE(hg_copies_put(&copies, 1, logs, 0)); /* a node without logs is not named */
    CU_ASSERT_EQUAL(copies.count, 0);
}

static void test_named(void)
{
    static const uint64_t two[] = {5, 6}, turned[] = {6, 5}, more[] = {6, 7, 5}, other[] = {5, 7};
    struct hg_copies copies = {0};
    CU_ASSERT_TRUE(hg_copies_put(&copies, 1, two, 2));
    CU_ASSERT_FALSE(hg_copies_put(&copies, 1, turned, 2)); /* the same */
    CU_ASSERT_TRUE(hg_copies_counts(&copies, 1, 6));
    CU_ASSERT_FALSE(hg_copies_counts(&copies, 1, 7));
    CU_ASSERT_FALSE(hg_copies_counts(&copies, 2, 5)); /* a node that is not named, once one is */
    CU_ASSERT_TRUE(hg_copies_are_there(&copies, 1, more, 3));
    CU_ASSERT_FALSE(hg_copies_are_there(&copies, 1, other, 2)); /* one of two is gone */
    CU_ASSERT_FALSE(hg_copies_are_there(&copies, 2, two, 2));
    CU_ASSERT_TRUE(hg_copies_put(&copies, 1, other, 2));
    CU_ASSERT_FALSE(hg_copies_counts(&copies, 1, 6));
    CU_ASSERT_TRUE(hg_copies_check(&copies));
}

static void test_many(void)
{
    uint64_t logs[HG_COPIES_LOGS_MAX + 1], nodes[] = {3, 1, 99};
    struct hg_copies copies = {0};
    for (uint32_t i = 0; i < HG_COUNT(logs); i++)
        logs[i] = i + 1;
    CU_ASSERT_FALSE(hg_copies_put(&copies, 1, logs, HG_COPIES_LOGS_MAX + 1));
    for (uint64_t node = 1; node <= HG_COPIES_NODES_MAX; node++)
        CU_ASSERT_TRUE(hg_copies_put(&copies, node, logs, HG_COPIES_LOGS_MAX));
    CU_ASSERT_FALSE(hg_copies_put(&copies, HG_COPIES_NODES_MAX + 1, logs, 1));
    CU_ASSERT_TRUE(hg_copies_check(&copies));
    hg_copies_keep(&copies, nodes, 3);
    CU_ASSERT_EQUAL(copies.count, 2);
    CU_ASSERT_TRUE(hg_copies_counts(&copies, 3, 1) && hg_copies_counts(&copies, 1, 1));
    CU_ASSERT_FALSE(hg_copies_counts(&copies, 2, 1));
    copies.nodes[1].node = copies.nodes[0].node;
    CU_ASSERT_FALSE(hg_copies_check(&copies));
}

static void test_id(void)
{
    uint8_t uuid[16] = {0};
    CU_ASSERT_NOT_EQUAL(hg_copies_id(uuid), 0);
    uint64_t none = hg_copies_id(uuid);
    uuid[9] = 3;
    CU_ASSERT_NOT_EQUAL(hg_copies_id(uuid), none);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("group_copies", NULL, NULL);
    CU_add_test(suite, "nothing is named", test_nothing_named);
    CU_add_test(suite, "named", test_named);
    CU_add_test(suite, "as many as there may be", test_many);
    CU_add_test(suite, "a log's number", test_id);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 4;
}
