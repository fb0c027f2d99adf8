/* SPDX-License-Identifier: Apache-2.0
 *
 * The change of a group's members, driven from any point of it.
 */
#include "controlplane/members.h"

#include <CUnit/Basic.h>
#include <string.h>

static const struct hg_members three = {.generation = 3, .set = {.count = 3, .w = 2, .nodes = {1, 2, 3}}};

static struct hg_members ordered(const struct hg_members *from, enum hg_members_order order, uint64_t node,
                                 uint64_t node_new)
{
    struct hg_members next;
    CU_ASSERT_EQUAL(hg_members_order(from, order, node, node_new, &next), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(hg_members_change(from, &next), HG_MEMBERS_OK);
    return next;
}

/* Each step only when its turn has come, and each one allowed. Returns what it ends with. */
static struct hg_members drive(struct hg_members now, uint64_t comes)
{
    struct hg_members next;
    struct hg_members_facts facts = {
        .node = now.other.nodes[0], .generation = now.generation - 1, .is_synced = true};
    facts.caught_up_count = 1;
    facts.caught_up[0] = comes;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_APPLYING);
    facts.generation = now.generation;
    facts.caught_up[0] = 99;
    if (comes != 0)
        CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_CATCHES_UP);
    facts.caught_up[0] = comes;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_STEP);
    CU_ASSERT_EQUAL(hg_members_change(&now, &next), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(next.phase, HG_MEMBERS_JOINT);
    now = next;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_APPLYING);
    facts.generation = now.generation;
    facts.is_synced = false;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_SYNCING);
    facts.is_synced = true;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_STEP);
    CU_ASSERT_EQUAL(hg_members_change(&now, &next), HG_MEMBERS_OK);
    now = next;
    facts.generation = now.generation;
    CU_ASSERT_EQUAL(hg_members_next(&now, &facts, &next), HG_MEMBERS_DONE);
    return now;
}

static void check(const struct hg_members *members, uint32_t count, uint32_t w, uint64_t absent,
                  uint64_t present)
{
    CU_ASSERT_EQUAL(members->phase, HG_MEMBERS_STABLE);
    CU_ASSERT_EQUAL(members->set.count, count);
    CU_ASSERT_EQUAL(members->set.w, w);
    CU_ASSERT_FALSE(hg_members_has(members, absent));
    CU_ASSERT_TRUE(hg_members_is_voter(members, present));
    CU_ASSERT_EQUAL(members->other.count, 0);
    CU_ASSERT_EQUAL(members->learner_count, 0);
}

static void test_replace(void)
{
    struct hg_members end = drive(ordered(&three, HG_MEMBERS_REPLACE, 3, 4), 4);
    check(&end, 3, 2, 3, 4);
    CU_ASSERT_EQUAL(end.generation, 6);
}

static void test_add_and_remove(void)
{
    struct hg_members end = drive(ordered(&three, HG_MEMBERS_ADD, 4, 0), 4);
    check(&end, 4, 3, 9, 4);
    end = drive(ordered(&end, HG_MEMBERS_ADD, 5, 0), 5);
    check(&end, 5, 3, 9, 5);
    end = drive(ordered(&end, HG_MEMBERS_REMOVE, 2, 0), 0);
    check(&end, 4, 3, 2, 5);
}

/* More than the majority acknowledges: so it stays. */
static void test_w(void)
{
    struct hg_members all = three, end;
    all.set.w = 3;
    end = drive(ordered(&all, HG_MEMBERS_REPLACE, 1, 7), 7);
    check(&end, 3, 3, 1, 7);
}

static void test_learner(void)
{
    struct hg_members next = ordered(&three, HG_MEMBERS_LEARNER, 4, 0), end;
    struct hg_members_facts facts = {.generation = next.generation};
    CU_ASSERT_TRUE(hg_members_is_learner(&next, 4));
    CU_ASSERT_EQUAL(hg_members_next(&next, &facts, &end), HG_MEMBERS_DONE);
    end = ordered(&next, HG_MEMBERS_REMOVE, 4, 0);
    check(&end, 3, 2, 4, 1);
    end = drive(ordered(&next, HG_MEMBERS_ADD, 4, 0), 4); /* it was one already */
    check(&end, 4, 3, 9, 4);
}

/* More members than learners can be have everything, and are told of before the one that is asked for. */
static void test_learner_behind_members(void)
{
    static const struct hg_members five = {.generation = 3,
                                           .set = {.count = 5, .w = 3, .nodes = {1, 2, 3, 4, 5}}};
    struct hg_members catching = ordered(&five, HG_MEMBERS_ADD, 6, 0), next;
    struct hg_members_facts facts = {.node = 1, .generation = catching.generation};
    for (uint64_t node = 2; node <= 5; node++)
        hg_members_caught_up(&facts, &catching, node);
    CU_ASSERT_EQUAL(hg_members_next(&catching, &facts, &next), HG_MEMBERS_CATCHES_UP);
    hg_members_caught_up(&facts, &catching, 0); /* a peer that no command file names any more */
    hg_members_caught_up(&facts, &catching, 6);
    CU_ASSERT_EQUAL(hg_members_next(&catching, &facts, &next), HG_MEMBERS_STEP);
    CU_ASSERT_EQUAL(next.phase, HG_MEMBERS_JOINT);
    for (uint32_t i = 0; i < HG_LEARNERS_MAX; i++) /* told again and again: no more than there is room for */
        hg_members_caught_up(&facts, &catching, 6);
    CU_ASSERT_EQUAL(facts.caught_up_count, HG_LEARNERS_MAX);
}

/* A fail-over made it the writer after it was ordered to go. */
static void test_writer_goes(void)
{
    struct hg_members catching = ordered(&three, HG_MEMBERS_REPLACE, 3, 4), next;
    struct hg_members_facts facts = {
        .node = 3, .generation = catching.generation, .caught_up_count = 1, .caught_up = {4}};
    CU_ASSERT_EQUAL(hg_members_next(&catching, &facts, &next), HG_MEMBERS_WRITER_GOES);
    facts.node = 2;
    CU_ASSERT_EQUAL(hg_members_next(&catching, &facts, &next), HG_MEMBERS_STEP);
    catching = ordered(&three, HG_MEMBERS_REMOVE, 3, 0);
    facts.node = 3;
    facts.generation = catching.generation;
    CU_ASSERT_EQUAL(hg_members_next(&catching, &facts, &next), HG_MEMBERS_WRITER_GOES);
}

static void test_cancel(void)
{
    struct hg_members catching = ordered(&three, HG_MEMBERS_REPLACE, 3, 4), next;
    struct hg_members back = ordered(&catching, HG_MEMBERS_CANCEL, 0, 0);
    CU_ASSERT_EQUAL(back.phase, HG_MEMBERS_STABLE);
    CU_ASSERT_TRUE(hg_members_is_voter(&back, 3));
    CU_ASSERT_TRUE(hg_members_is_learner(&back, 4));
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_CANCEL, 0, 0, &next), HG_MEMBERS_PHASE);
}

static void test_refused(void)
{
    struct hg_members catching = ordered(&three, HG_MEMBERS_REPLACE, 3, 4), next;
    CU_ASSERT_EQUAL(hg_members_order(&catching, HG_MEMBERS_ADD, 5, 0, &next), HG_MEMBERS_PHASE);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_REMOVE, 9, 0, &next), HG_MEMBERS_ABSENT);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_REPLACE, 9, 4, &next), HG_MEMBERS_ABSENT);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_REPLACE, 1, 2, &next), HG_MEMBERS_PRESENT);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_ADD, 1, 0, &next), HG_MEMBERS_PRESENT);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_LEARNER, 1, 0, &next), HG_MEMBERS_PRESENT);
    CU_ASSERT_EQUAL(hg_members_order(&three, HG_MEMBERS_ADD, 0, 0, &next), HG_MEMBERS_NODE);
    struct hg_members one = {.generation = 1, .set = {.count = 1, .w = 1, .nodes = {1}}};
    CU_ASSERT_EQUAL(hg_members_order(&one, HG_MEMBERS_REMOVE, 1, 0, &next), HG_MEMBERS_COUNT);
    struct hg_members full = {.generation = 1, .set = {.count = 7, .w = 4, .nodes = {1, 2, 3, 4, 5, 6, 7}}};
    CU_ASSERT_EQUAL(hg_members_order(&full, HG_MEMBERS_ADD, 8, 0, &next), HG_MEMBERS_COUNT);
    struct hg_members crowd = {.generation = 1,
                               .set = {.count = 1, .w = 1, .nodes = {1}},
                               .learner_count = HG_LEARNERS_MAX,
                               .learners = {2, 3, 4, 5}};
    CU_ASSERT_EQUAL(hg_members_order(&crowd, HG_MEMBERS_LEARNER, 6, 0, &next), HG_MEMBERS_LEARNERS);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("members", NULL, NULL);
    CU_add_test(suite, "replace", test_replace);
    CU_add_test(suite, "add and remove", test_add_and_remove);
    CU_add_test(suite, "w stays as far above the majority", test_w);
    CU_add_test(suite, "a learner", test_learner);
    CU_add_test(suite, "a learner behind more members", test_learner_behind_members);
    CU_add_test(suite, "the writer is to go", test_writer_goes);
    CU_add_test(suite, "cancel", test_cancel);
    CU_add_test(suite, "refused", test_refused);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
