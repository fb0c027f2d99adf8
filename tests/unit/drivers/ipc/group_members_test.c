/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules of a group's members, over every set of a few nodes.
 */
#include "drivers/ipc/group_members.h"

#include <CUnit/Basic.h>

#define NODES 5u /* of the exhaustive tests: 1..NODES, a bit each */
#define SETS  (1u << NODES)

static struct hg_members_set set_of(uint32_t bits, uint32_t w)
{
    struct hg_members_set set = {.w = w};
    for (uint32_t i = 0; i < NODES; i++)
        if (bits & 1u << i)
            set.nodes[set.count++] = i + 1;
    return set;
}

static struct hg_members stable(uint32_t bits, uint32_t w)
{
    return (struct hg_members){.generation = 1, .set = set_of(bits, w)};
}

static struct hg_members changing(uint32_t phase, uint32_t bits, uint32_t w, uint32_t other, uint32_t other_w)
{
    struct hg_members members = {
        .generation = 2, .phase = phase, .set = set_of(bits, w), .other = set_of(other, other_w)};
    for (uint32_t i = 0; i < NODES; i++)
        if (phase == HG_MEMBERS_CATCHING && (other & ~bits & 1u << i))
            members.learners[members.learner_count++] = i + 1;
    return members;
}

/* Whether these nodes alone, all at 10, commit up to 10. */
static bool commits(const struct hg_members *members, uint32_t bits)
{
    struct hg_members_end ends[NODES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODES; i++)
        if (bits & 1u << i)
            ends[count++] = (struct hg_members_end){.node = i + 1, .end = 10};
    return hg_members_committed(members, ends, count) == 10;
}

static bool seals(const struct hg_members *members, uint32_t bits)
{
    struct hg_members_set set = set_of(bits, 0);
    return hg_members_sealed_by(members, set.nodes, set.count);
}

/* Whatever commits by the one and whatever seals by the other have a node in common. */
static bool meet(const struct hg_members *writer, const struct hg_members *sealer)
{
    for (uint32_t commit = 0; commit < SETS; commit++)
        for (uint32_t seal = 0; seal < SETS; seal++)
            if ((commit & seal) == 0 && commits(writer, commit) && seals(sealer, seal))
                return false;
    return true;
}

static void test_commits_and_seals_meet(void)
{
    uint32_t steps = 0;
    for (uint32_t old = 1; old < SETS; old++)
        for (uint32_t wanted = 1; wanted < SETS; wanted++) {
            uint32_t n = (uint32_t)__builtin_popcount(old), m = (uint32_t)__builtin_popcount(wanted);
            uint32_t gone = (uint32_t)__builtin_popcount(old & ~wanted),
                     come = (uint32_t)__builtin_popcount(wanted & ~old);
            if (gone > 1 || come > 1)
                continue;
            struct hg_members before = stable(old, n / 2 + 1), after = stable(wanted, m / 2 + 1);
            struct hg_members joint = changing(HG_MEMBERS_JOINT, wanted, m / 2 + 1, old, n / 2 + 1);
            CU_ASSERT_TRUE(meet(&before, &before));
            CU_ASSERT_TRUE(meet(&before, &joint) && meet(&joint, &before));
            CU_ASSERT_TRUE(meet(&joint, &joint));
            CU_ASSERT_TRUE(meet(&joint, &after) && meet(&after, &joint));
            steps++;
        }
    CU_ASSERT(steps > 100);
    /* The reason for the joint set: two steps apart they need not. */
    struct hg_members one = stable(0x7, 2), two = stable(0x1c, 2);
    CU_ASSERT_FALSE(meet(&one, &two));
}

static void test_any_w(void)
{
    for (uint32_t bits = 1; bits < SETS; bits++)
        for (uint32_t n = (uint32_t)__builtin_popcount(bits), w = n / 2 + 1; w <= n; w++) {
            struct hg_members members = stable(bits, w);
            CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_OK);
            CU_ASSERT_TRUE(meet(&members, &members));
            for (uint32_t some = 0; some < SETS; some++) {
                uint32_t of = (uint32_t)__builtin_popcount(some & bits);
                CU_ASSERT_EQUAL(commits(&members, some), of >= w);
                CU_ASSERT_EQUAL(seals(&members, some), of >= n - w + 1);
            }
        }
}

static void test_ends(void)
{
    struct hg_members members = stable(0x7, 2);
    const struct hg_members_end ends[] = {{1, 9}, {2, 5}, {4, 20}, {5, 20}, {3, 3}, {1, 7}};
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 1), 0);
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 2), 5);
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 4), 5); /* strangers */
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 6), 5);
    members.set.w = 1; /* node 1 spoke twice */
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 6), 7);
    members = changing(HG_MEMBERS_JOINT, 0x19, 2, 0x7, 2);
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 5), 5);
    members.other = set_of(0x7, 3);
    CU_ASSERT_EQUAL(hg_members_committed(&members, ends, 5), 3);
}

/* A learner is no voter, whatever it says and wherever it is to go. */
static void test_learners(void)
{
    struct hg_members members = changing(HG_MEMBERS_CATCHING, 0x7, 2, 0xe, 2);
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_OK);
    CU_ASSERT_TRUE(hg_members_is_learner(&members, 4) && hg_members_has(&members, 4));
    CU_ASSERT_FALSE(hg_members_is_voter(&members, 4));
    CU_ASSERT_FALSE(commits(&members, 0x9));
    CU_ASSERT_FALSE(seals(&members, 0x9));
    CU_ASSERT_FALSE(hg_members_has(&members, 5));
}

static void test_check(void)
{
    struct hg_members members = stable(0x7, 2);
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_OK);
    for (uint32_t w = 0; w < 6; w++) {
        members.set.w = w;
        CU_ASSERT_EQUAL(hg_members_check(&members), w == 2 || w == 3 ? HG_MEMBERS_OK : HG_MEMBERS_W);
    }
    members = stable(0x7, 2);
    members.generation = 0;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_GENERATION);
    members.generation = HG_MEMBERS_GENERATION_MAX + UINT64_C(1);
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_GENERATION);
    members = stable(0x7, 2);
    members.set.nodes[2] = 1;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_TWICE);
    members.set.nodes[2] = 0;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_NODE);
    members = stable(0, 1);
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_COUNT);
    members.set.count = HG_MEMBERS_MAX + 1;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_COUNT);
    members = stable(0x7, 2);
    members.learner_count = HG_LEARNERS_MAX + 1;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_LEARNERS);
    members.learner_count = 1;
    members.learners[0] = 2;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_LEARNER_IS_MEMBER);
    members.learners[0] = 4;
    members.phase = HG_MEMBERS_JOINT + 1;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_PHASE);
    members.phase = HG_MEMBERS_STABLE;
    members.other = set_of(0x7, 2);
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_PHASE);
    members.phase = HG_MEMBERS_JOINT;
    members.other.w = 1;
    CU_ASSERT_EQUAL(hg_members_check(&members), HG_MEMBERS_W);
}

static enum hg_members_reason change(struct hg_members from, struct hg_members to)
{
    from.generation = 8;
    to.generation = 9;
    return hg_members_change(&from, &to);
}

static void test_change(void)
{
    struct hg_members three = stable(0x7, 2), catching = changing(HG_MEMBERS_CATCHING, 0x7, 2, 0xe, 2),
                      joint = changing(HG_MEMBERS_JOINT, 0xe, 2, 0x7, 2), after = stable(0xe, 2);
    CU_ASSERT_EQUAL(change(three, catching), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(change(catching, joint), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(change(joint, after), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(change(catching, three), HG_MEMBERS_OK);
    CU_ASSERT_EQUAL(change(three, after), HG_MEMBERS_SET_CHANGED);
    CU_ASSERT_EQUAL(change(three, joint), HG_MEMBERS_PHASE);
    CU_ASSERT_EQUAL(change(catching, after), HG_MEMBERS_SET_CHANGED);
    CU_ASSERT_EQUAL(change(joint, three), HG_MEMBERS_SET_CHANGED);
    CU_ASSERT_EQUAL(change(joint, catching), HG_MEMBERS_PHASE);
    CU_ASSERT_EQUAL(change(three, changing(HG_MEMBERS_CATCHING, 0x7, 2, 0x19, 2)), HG_MEMBERS_MANY);
    catching.learner_count = 0;
    CU_ASSERT_EQUAL(change(three, catching), HG_MEMBERS_NOT_COPIED);
    CU_ASSERT_EQUAL(change(catching, joint), HG_MEMBERS_NOT_COPIED);
    three.generation = after.generation = 5;
    CU_ASSERT_EQUAL(hg_members_change(&three, &after), HG_MEMBERS_GENERATION);
    three.generation = 0; /* what the command file says */
    after.generation = 1;
    CU_ASSERT_EQUAL(hg_members_change(&three, &after), HG_MEMBERS_OK);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("group_members", NULL, NULL);
    CU_add_test(suite, "commits and seals meet, across each step", test_commits_and_seals_meet);
    CU_add_test(suite, "any w of any set", test_any_w);
    CU_add_test(suite, "what is committed", test_ends);
    CU_add_test(suite, "learners", test_learners);
    CU_add_test(suite, "what can't be", test_check);
    CU_add_test(suite, "steps", test_change);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
