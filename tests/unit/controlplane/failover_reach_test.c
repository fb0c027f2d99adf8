/* SPDX-License-Identifier: Apache-2.0
 *
 * Node 2 is told to take a group over that node 1 writes: whom it hears says whether it may.
 */
#include "controlplane/failover_reach.h"

#include <CUnit/Basic.h>

#define OWN 2u

static struct hg_failover_config config;
static struct hg_metastore_record record;
static struct hg_failover_reach reach;

static void begin(uint32_t n, uint32_t w)
{
    config = (struct hg_failover_config){.key = {.cluster = 7, .region = 1, .group = 3},
                                         .node = OWN,
                                         .n = n,
                                         .w = w,
                                         .member_count = n,
                                         .members = {1, OWN, 3, 4, 5}};
    memset(&record, 0, sizeof(record));
    record.revision = record.epoch = record.node = 1;
    record.state = HG_METASTORE_OPEN;
}

/* These of the nodes are heard, 0 ends them. */
static bool suffices(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t up[] = {a, b, c};
    uint32_t count = c != 0 ? 3 : b != 0 ? 2 : a != 0;
    CU_ASSERT_PTR_NULL_FATAL(hg_failover_reach(&config, &record, up, count, &reach));
    return hg_failover_reach_suffices(&reach);
}

static void test_alone(void)
{
    begin(3, 2);
    CU_ASSERT_FALSE(suffices(0, 0, 0));
    CU_ASSERT(reach.up == 1 && reach.seals == 2 && reach.n == 3 && reach.w == 2 && !reach.is_former);
    CU_ASSERT(reach.down_count == 2 && reach.down[0] == 1 && reach.down[1] == 3);
    CU_ASSERT_TRUE(suffices(3, 0, 0));
    CU_ASSERT(reach.down_count == 1 && reach.down[0] == 1);
    CU_ASSERT_FALSE(suffices(OWN, OWN, OWN)); /* itself, once */
    CU_ASSERT_FALSE(suffices(9, 10, 11));     /* no members */
    record = (struct hg_metastore_record){0}; /* never sealed: a writer there may be all the same */
    CU_ASSERT_FALSE(suffices(0, 0, 0));
}

/* As many as a seal needs, not as many as acknowledge. */
static void test_other_quorums(void)
{
    begin(5, 4);
    CU_ASSERT_TRUE(suffices(5, 0, 0));
    begin(5, 3);
    CU_ASSERT_FALSE(suffices(5, 0, 0));
    CU_ASSERT_TRUE(suffices(5, 4, 0));
    begin(1, 1);
    config.members[0] = OWN;
    CU_ASSERT_TRUE(suffices(0, 0, 0));
    begin(3, 2);
    config.member_count = 2; /* the third one is not known here: it is not heard */
    CU_ASSERT_FALSE(suffices(3, 0, 0));
    CU_ASSERT(reach.n == 3 && reach.down_count == 1);
}

static void test_epoch_is_own(void)
{
    begin(3, 2);
    record.node = OWN;
    CU_ASSERT_FALSE(suffices(0, 0, 0)); /* the first epoch is nobody's: another one is taken */
    record.epoch = 5;
    CU_ASSERT_TRUE(suffices(0, 0, 0)); /* open: it is let in */
    CU_ASSERT(!reach.takes && reach.up == 1);
    record.state = HG_METASTORE_SEALING;
    CU_ASSERT_FALSE(suffices(0, 0, 0)); /* by `group seal`: a fail-over takes another one */
    CU_ASSERT(reach.takes && reach.up == 1);
    record.failover = 1;
    CU_ASSERT_TRUE(suffices(0, 0, 0)); /* taken: it goes on */
    CU_ASSERT_FALSE(reach.takes);
    record.node = 3;
    CU_ASSERT_FALSE(suffices(0, 0, 0)); /* by another one, which may be at work */
}

/* The record's members go before those of the command file; both sets while they change. */
static void test_members(void)
{
    uint64_t nobody = 0;
    begin(3, 2);
    record.members = (struct hg_members){.generation = 3, .set = {.count = 3, .w = 2, .nodes = {OWN, 5, 6}}};
    CU_ASSERT_FALSE(suffices(1, 3, 0));
    CU_ASSERT(reach.down_count == 2 && reach.down[0] == 5 && reach.down[1] == 6);
    CU_ASSERT_TRUE(suffices(6, 0, 0));
    record.members = (struct hg_members){.generation = 4,
                                         .phase = HG_MEMBERS_JOINT,
                                         .set = {.count = 3, .w = 2, .nodes = {5, OWN, 3}},
                                         .other = {.count = 3, .w = 2, .nodes = {1, OWN, 3}}};
    CU_ASSERT_FALSE(suffices(5, 0, 0));
    CU_ASSERT(reach.is_former && reach.down_count == 2 && reach.down[0] + reach.down[1] == 1 + 3);
    CU_ASSERT_FALSE(suffices(1, 0, 0));
    CU_ASSERT(!reach.is_former && reach.down_count == 2 && reach.down[0] + reach.down[1] == 5 + 3);
    CU_ASSERT_TRUE(suffices(1, 5, 0));
    CU_ASSERT_TRUE(suffices(3, 0, 0)); /* of both */
    record.members = (struct hg_members){.generation = 3, .set = {.count = 2, .w = 2, .nodes = {5, 6}}};
    CU_ASSERT_PTR_NOT_NULL(hg_failover_reach(&config, &record, &nobody, 0, &reach)); /* it is no member */
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("failover_reach", NULL, NULL);
    CU_add_test(suite, "a node that hears nobody, or one", test_alone);
    CU_add_test(suite, "other quorums", test_other_quorums);
    CU_add_test(suite, "the epoch is its own already", test_epoch_is_own);
    CU_add_test(suite, "members of the record", test_members);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 4;
}
