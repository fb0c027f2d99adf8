/* SPDX-License-Identifier: Apache-2.0
 *
 * What a fail-over asks of other nodes: seals that are answered by tails when the promise is on the device,
 * refusals, lost and repeated frames, strangers, and a copy that is filled by one that is not its writer.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/peers_internal.h"
#include "peers_pair.h"

#define EPOCH 5

static uint32_t members_joined(void)
{
    uint32_t slot = sites_joined();
    hg_streams_quorum_set(a->node.streams, 1, 1); /* of one: they are of two regions */
    hg_streams_quorum_set(b->node.streams, 1, 1);
    run(30 * HG_NS_PER_MS);
    return slot;
}

static const struct hg_group *group_of(const struct site *site)
{
    return hg_streams_group(site->node.streams, 0);
}

/* Turns until an answer is there. */
static bool answered(struct site *site, struct hg_control_tail *tail)
{
    for (int i = 0; i < 2000; i++) {
        site_turn(a);
        site_turn(b);
        hg_peers_groups_turn(a->peers);
        hg_peers_groups_turn(b->peers);
        if (hg_peers_group_answer(site->peers, tail))
            return true;
    }
    return false;
}

static void test_seal_and_tail(void)
{
    struct hg_control_tail tail;
    uint32_t slot = members_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(a, &tail));
    CU_ASSERT_EQUAL(hg_log_epoch_promised(b->node.log, 0), EPOCH); /* on the device before it is said */
    CU_ASSERT_EQUAL(tail.node, 2);
    CU_ASSERT_EQUAL(tail.epoch, EPOCH);
    CU_ASSERT_EQUAL(tail.epoch_promised, EPOCH);
    CU_ASSERT_EQUAL(tail.stream, 11);
    CU_ASSERT_EQUAL(tail.streams, 1);
    CU_ASSERT_EQUAL(tail.logs, 1);
    CU_ASSERT_EQUAL(tail.lsn_end, 4);
    CU_ASSERT_EQUAL(memcmp(tail.chain, stream(a, slot)->chain_durable, sizeof(tail.chain)), 0);
    CU_ASSERT_EQUAL(memcmp(tail.log_uuid, hg_log_uuid(b->node.log), sizeof(tail.log_uuid)), 0);
    CU_ASSERT_EQUAL(tail.epoch_count, 1);
    CU_ASSERT_EQUAL(tail.epochs[0].epoch, 1);
    /* The old writer's batches are taken no more, so the tail stays what it was said to be. */
    append(a, slot, 2, 100);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 4);
    /* Asked again, it says the same; and this node's own log is asked in the same way. */
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(a, &tail));
    CU_ASSERT_EQUAL(tail.lsn_end, 4);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 0, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(a, &tail));
    CU_ASSERT_EQUAL(tail.node, 0);
    CU_ASSERT_EQUAL(tail.lsn_end, 6);
    CU_ASSERT_EQUAL(hg_log_epoch_promised(a->node.log, 0), EPOCH);
    sites_free();
}

static void test_refuses_older(void)
{
    struct hg_control_tail tail;
    (void)members_joined();
    CU_ASSERT_EQUAL(hg_peers_group_ask(b->peers, 0, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(b, &tail));
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH - 1), 0);
    CU_ASSERT_TRUE_FATAL(answered(a, &tail));
    CU_ASSERT_EQUAL(tail.epoch, EPOCH - 1);
    CU_ASSERT_EQUAL(tail.epoch_promised, EPOCH);
    CU_ASSERT_EQUAL(tail.stream, 0);
    CU_ASSERT_EQUAL(hg_streams_group_counts(b->node.streams)[HG_GROUP_seal_epoch], 1);
    /* Groups that can't be, epochs that can't be, nodes that are nobody. */
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, HG_GROUPS_MAX, EPOCH), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, 0), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, (uint64_t)HG_EPOCH_MAX + 1), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 9, 0, EPOCH), -ENOENT);
    sites_free();
}

static void test_strangers(void)
{
    struct hg_control_tail tail;
    (void)members_joined();
    hg_streams_quorum_set(b->node.streams, 0, 1);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    CU_ASSERT_FALSE(answered(a, &tail));
    CU_ASSERT_EQUAL(group_of(b)->epoch_wanted, 0);
    CU_ASSERT(hg_streams_group_counts(b->node.streams)[HG_GROUP_seal_stranger] > 0);
    sites_free();
}

static void test_lost(void)
{
    struct hg_control_tail tail;
    uint32_t slot = members_joined(), count = 0;
    append(a, slot, 1, 100);
    run(50 * HG_NS_PER_MS);
    b->cut = true; /* what it answers is lost, until the lane sends it again */
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    CU_ASSERT_FALSE(answered(a, &tail));
    CU_ASSERT_EQUAL(group_of(b)->epoch_promised, EPOCH);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    b->cut = false;
    while (answered(a, &tail))
        count += tail.stream == 11 && tail.lsn_end == 2;
    CU_ASSERT(count >= 1); /* once or twice: the same */
    /* More answers than anybody takes: the rest is dropped, and asked for again. */
    for (uint32_t i = 0; i < HG_PEERS_ANSWERS_MAX + 9; i++) {
        CU_ASSERT_EQUAL(hg_peers_group_ask(b->peers, 0, 0, EPOCH), 0);
        hg_peers_groups_turn(b->peers);
    }
    for (count = 0; hg_peers_group_answer(b->peers, &tail); count++)
        CU_ASSERT_EQUAL(tail.stream, 11);
    CU_ASSERT_EQUAL(count, HG_PEERS_ANSWERS_MAX);
    sites_free();
}

/* b has less than a. Both promise; b is to write and asks a for what it lacks. */
static void test_fill(void)
{
    struct hg_control_tail tail;
    uint32_t slot = members_joined();
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = true;
    append(a, slot, 40, 1000);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_peers_group_ask(b->peers, 0, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(b, &tail));
    CU_ASSERT_EQUAL(hg_peers_fill_ask(b->peers, 1, 11, EPOCH), 0); /* before a has promised: refused there */
    a->cut = false;
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 3);
    CU_ASSERT(hg_streams_group_counts(a->node.streams)[HG_GROUP_read_unfenced] > 0);
    CU_ASSERT_EQUAL(hg_peers_group_ask(b->peers, 1, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(b, &tail));
    CU_ASSERT_EQUAL(tail.lsn_end, 43);
    CU_ASSERT_EQUAL(hg_peers_fill_ask(b->peers, 1, 11, EPOCH), 0);
    run(6000 * HG_NS_PER_MS); /* a was refused under the old epoch, and tries again by itself */
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 43);
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, slot)->history).epoch, 1); /* the new epoch has not begun */
    CU_ASSERT_EQUAL(group_of(b)->epoch_begun, 1);
    CU_ASSERT_TRUE(hg_peers_is_fill(b->peers, slot, 1, EPOCH));
    CU_ASSERT_FALSE(hg_peers_is_fill(b->peers, slot, 1, EPOCH + 1));
    CU_ASSERT_FALSE(hg_peers_is_fill(b->peers, slot, 3, EPOCH));
    hg_history_add(&stream(b, slot)->history, EPOCH, 43); /* once it has, nothing late moves its beginning */
    CU_ASSERT_FALSE(hg_peers_is_fill(b->peers, slot, 1, EPOCH));
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_group", NULL, NULL);
    CU_add_test(suite, "a seal is answered by tails", test_seal_and_tail);
    CU_add_test(suite, "older epochs are refused", test_refuses_older);
    CU_add_test(suite, "strangers seal nothing", test_strangers);
    CU_add_test(suite, "lost, repeated and too many answers", test_lost);
    CU_add_test(suite, "a copy is filled", test_fill);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 5;
}
