/* SPDX-License-Identifier: Apache-2.0
 *
 * A grant as the dataplane has it: which are taken, when it is over, and that nothing makes it longer than it
 * was given.
 */
#include "dataplane/group/grant.h"
#include "drivers/ipc/control_state.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>

#define SECOND HG_NS_PER_S

static void test_taken(void)
{
    struct hg_grant grant = {0};
    CU_ASSERT_FALSE(hg_grant_may_append(&grant, 1, 0));
    CU_ASSERT_FALSE(hg_grant_may_append(&grant, 0, 0)); /* none was had, whatever is asked */
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 0, SECOND, 0), HG_GRANT_LIMIT);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 5, HG_CONTROL_GRANT_MS_MAX * HG_NS_PER_MS + 1, 0), HG_GRANT_LIMIT);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 5, 2 * SECOND, SECOND), HG_GRANT_OK);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 4, 9 * SECOND, SECOND), HG_GRANT_OLDER);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 5, 2 * SECOND - 1, SECOND), HG_GRANT_OLDER);
    CU_ASSERT_EQUAL(hg_grant_left_ns(&grant, 5, SECOND), SECOND);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 5, 3 * SECOND, SECOND), HG_GRANT_OK);
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 6, 2 * SECOND, SECOND),
                    HG_GRANT_OK); /* another epoch, another grant */
    CU_ASSERT_FALSE(hg_grant_may_append(&grant, 5, SECOND));
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 6, 1, SECOND), HG_GRANT_OLDER);
    CU_ASSERT_STRING_EQUAL(hg_grant_reason_name(HG_GRANT_OLDER), "grant_OLDER");
}

static void test_over(void)
{
    struct hg_grant grant = {0};
    CU_ASSERT_EQUAL(hg_grant_take(&grant, 5, 2 * SECOND, SECOND), HG_GRANT_OK);
    for (uint64_t epoch = 4; epoch <= 6; epoch++) {
        CU_ASSERT_EQUAL(hg_grant_may_append(&grant, epoch, SECOND), epoch == 5);
        CU_ASSERT_EQUAL(hg_grant_may_tell(&grant, epoch, SECOND), epoch == 5);
    }
    CU_ASSERT_TRUE(hg_grant_may_append(&grant, 5, 2 * SECOND - 1));
    CU_ASSERT_TRUE(hg_grant_may_tell(&grant, 5, 2 * SECOND - 1));
    CU_ASSERT_FALSE(hg_grant_may_append(&grant, 5, 2 * SECOND)); /* its end is no part of it */
    CU_ASSERT_FALSE(hg_grant_may_tell(&grant, 5, 2 * SECOND));
    CU_ASSERT_EQUAL(hg_grant_left_ns(&grant, 5, UINT64_MAX), 0);
}

static void test_turns(void)
{
    struct hg_grant grant = {0};
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 0, 0), HG_GRANT_SAME);
    (void)hg_grant_take(&grant, 5, 2 * SECOND, SECOND);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, SECOND, SECOND), HG_GRANT_FIRST);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, SECOND, SECOND), HG_GRANT_SAME);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 2 * SECOND, 2 * SECOND), HG_GRANT_LAPSED);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 2 * SECOND, 2 * SECOND), HG_GRANT_SAME);
    (void)hg_grant_take(&grant, 5, 4 * SECOND, 3 * SECOND);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 3 * SECOND, 3 * SECOND), HG_GRANT_BACK);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 7, 3 * SECOND, 3 * SECOND),
                    HG_GRANT_LAPSED); /* the group has another epoch now */
    (void)hg_grant_take(&grant, 7, 5 * SECOND, 3 * SECOND);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 7, 3 * SECOND, 3 * SECOND), HG_GRANT_BACK);
}

/* The process stood still between taking a grant and its next look. */
static void test_over_between_looks(void)
{
    struct hg_grant grant = {0};
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 0, SECOND), HG_GRANT_SAME);
    (void)hg_grant_take(&grant, 5, 2 * SECOND, SECOND);
    CU_ASSERT_TRUE(hg_grant_may_append(&grant, 5, SECOND)); /* shown to producers, who must hear of its end */
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, SECOND, 3 * SECOND), HG_GRANT_LAPSED);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 3 * SECOND, 3 * SECOND), HG_GRANT_SAME);
    (void)hg_grant_take(&grant, 5, 4 * SECOND, 3 * SECOND);
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 3 * SECOND, 5 * SECOND), HG_GRANT_LAPSED);
    (void)hg_grant_take(&grant, 5, 6 * SECOND, 7 * SECOND); /* it was over when it came */
    CU_ASSERT_EQUAL(hg_grant_turn(&grant, 5, 7 * SECOND, 8 * SECOND), HG_GRANT_SAME);
}

/* Whatever comes in whatever order: it is never held past the latest deadline that was given for its epoch.
 */
static void test_any_order(void)
{
    struct hg_random random;
    hg_random_init(&random, 20);
    for (uint32_t run = 0; run < 2000; run++) {
        struct hg_grant grant = {0};
        uint64_t latest[4] = {0}, now = SECOND;
        for (uint32_t step = 0; step < 40; step++) {
            uint64_t epoch = hg_random_between(&random, 1, 3);
            uint64_t deadline = now + hg_random_below(&random, 70 * SECOND) - hg_min_u64(now, SECOND);
            if (hg_grant_take(&grant, epoch, deadline, now) == HG_GRANT_OK) {
                CU_ASSERT_TRUE(deadline <= now + HG_CONTROL_GRANT_MS_MAX * HG_NS_PER_MS);
                latest[epoch] = hg_max_u64(latest[epoch], deadline);
            }
            now += hg_random_below(&random, 10 * SECOND);
            for (uint64_t asked = 1; asked <= 3; asked++)
                if (hg_grant_may_tell(&grant, asked, now) && now >= latest[asked])
                    CU_FAIL_FATAL("held past what was given");
        }
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("grant", NULL, NULL);
    CU_add_test(suite, "taken", test_taken);
    CU_add_test(suite, "over", test_over);
    CU_add_test(suite, "turns", test_turns);
    CU_add_test(suite, "over between looks", test_over_between_looks);
    CU_add_test(suite, "any order", test_any_order);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 5;
}
