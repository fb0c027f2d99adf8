/* SPDX-License-Identifier: Apache-2.0
 *
 * What a fail-over asks of other nodes: seals that are answered by tails when the promise is on the device,
 * refusals, lost and repeated frames, strangers, and a copy that is filled by one that is not its writer.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/writer.h"
#include "orphan_directory.h"
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
    CU_ASSERT_EQUAL(tail.lsn_floor, 4); /* nothing leaves its region before it is committed */
    CU_ASSERT_EQUAL(memcmp(tail.chain, stream(a, slot)->chain_durable, sizeof(tail.chain)), 0);
    CU_ASSERT_EQUAL(memcmp(tail.log_uuid, hg_log_uuid(b->node.log), sizeof(tail.log_uuid)), 0);
    CU_ASSERT_EQUAL(tail.epoch_count, 1);
    CU_ASSERT_EQUAL(tail.epochs[0].epoch, 1);
    /* The old writer's batches are taken no more, so the tail stays what it was said to be. */
    append(a, slot, 2, 100);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 4);
    /* Asked again, it says the same, and what it was told of meanwhile beyond its end; and this node's own
     * log is asked in the same way. */
    hg_streams_committed_told(b->node.streams, 0, 6);
    CU_ASSERT_EQUAL(hg_peers_group_ask(a->peers, 2, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(a, &tail));
    CU_ASSERT_EQUAL(tail.lsn_end, 4);
    CU_ASSERT_EQUAL(tail.lsn_floor, 6);
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
    CU_ASSERT_EQUAL(tail.lsn_floor, 0);
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

/* Both are asked for their tails and promise; `to` asks the other one for what it lacks. */
static void fill_begin(struct site *to, uint64_t from)
{
    struct hg_control_tail tail;
    CU_ASSERT_EQUAL(hg_peers_group_ask(to->peers, 0, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(to, &tail));
    CU_ASSERT_EQUAL(hg_peers_group_ask(to->peers, from, 0, EPOCH), 0);
    CU_ASSERT_TRUE_FATAL(answered(to, &tail));
    CU_ASSERT_EQUAL(hg_peers_fill_ask(to->peers, from, 11, EPOCH), 0);
}

/* What fills b is another node from now on: a, which did, is let go of, told of nothing more and not taken
 * again. It is neither a stranger to the stream nor has it another history, and nobody is told so. */
static void test_fill_by_another(void)
{
    uint32_t slot = members_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    fill_begin(b, 1);
    run(6000 * HG_NS_PER_MS);
    CU_ASSERT_TRUE(peer_of(b)->aliases[slot].slot >= 0);
    b->peers->fills[slot].node = 3;
    hg_peers_fill_only(b->peers, slot, 3);
    CU_ASSERT_TRUE(peer_of(b)->aliases[slot].slot < 0);
    for (int i = 0; i < 3; i++) { /* as it is refused, and when it comes again */
        run(6000 * HG_NS_PER_MS);
        CU_ASSERT_TRUE(peer_of(b)->aliases[slot].slot < 0);
        CU_ASSERT(sending(a, slot)->state == HG_PEER_STREAM_REFUSED ||
                  sending(a, slot)->state == HG_PEER_STREAM_OPENING);
    }
    CU_ASSERT_EQUAL(hg_peers_opens_refused(b->peers)[HG_WIRE_REFUSED_UNKNOWN], 0);
    CU_ASSERT(hg_peers_opens_refused(b->peers)[HG_WIRE_REFUSED_EPOCH] > 0);
    sites_free();
}

/* Under the epoch that this node began nobody else writes, also who was taken for its writer before. */
static void test_fill_is_late(void)
{
    uint32_t slot = members_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    fill_begin(a, 2);
    run(100 * HG_NS_PER_MS);
    a->peers->fills[slot] = (struct hg_peers_fill){0}; /* it was started again meanwhile */
    hg_streams_writer_set(a->node.streams, slot, 2, EPOCH);
    CU_ASSERT_TRUE(hg_streams_writer_may(stream(a, slot), 2, EPOCH));
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_begin(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    stream_node_settle(&a->node);
    CU_ASSERT_TRUE_FATAL(stream(a, slot)->origin_local);
    CU_ASSERT_FALSE(hg_streams_writer_may(stream(a, slot), 2, EPOCH));
    CU_ASSERT_TRUE(hg_streams_writer_may(stream(a, slot), 2, EPOCH + 1));
    sites_free();
}

static void region_joined(void)
{
    one_region = true;
    sites_make();
    keys();
    for (struct site *site = a; site != NULL; site = site == a ? b : NULL) {
        struct hg_config_stream config = config_of_one(site, site == a);
        CU_ASSERT_EQUAL(hg_streams_configure(site->node.streams, &config), 0);
        hg_streams_quorum_set(site->node.streams, 1, 2);
    }
    run(30 * HG_NS_PER_MS);
}

/* The tail is the end of a copy that has nothing: what the other one has was never committed. */
static void test_fill_of_nothing(void)
{
    static struct orphan_directory directory;
    uint32_t slot = 0;
    region_joined();
    a->cut = b->cut = true;
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    hg_history_add(&stream(b, slot)->history, EPOCH - 1, 0); /* it began an epoch with nothing */
    stream(b, slot)->epoch_recorded = EPOCH - 1;
    CU_ASSERT_EQUAL(hg_streams_group_seal(b->node.streams, 0, EPOCH), HG_GROUP_OK);
    a->cut = b->cut = false;
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 0);
    fill_begin(a, 2);
    for (uint64_t end_ns = a->node.now_ns + 7 * HG_NS_PER_S;
         a->node.now_ns < end_ns && stream(a, slot)->lsn_durable != 0;) {
        site_turn(a);
        site_turn(b);
        orphan_directory_turn(&directory, a);
    }
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_durable, 0);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_begin, 0);
    CU_ASSERT_EQUAL(directory.count, 1);
    orphan_directory_empty(&directory);
    sites_free();
    one_region = false;
}

/* What a fill compared is over where the epoch begins: the word to cut, late, would cut off what is written.
 */
static void test_cut_is_late(void)
{
    static struct orphan_directory directory;
    uint32_t slot = 0;
    region_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 4);
    fill_begin(a, 2);
    const struct hg_peer_alias *alias = &peer_of(a)->aliases[slot]; /* the first stream's alias is its slot */
    for (int i = 0; i < 5000 && alias->join.state != HG_PEER_JOIN_COMPARING; i++) {
        site_turn(b);
        if (alias->join.state != HG_PEER_JOIN_COMPARING)
            site_turn(a);
    }
    CU_ASSERT_EQUAL_FATAL(alias->join.state, HG_PEER_JOIN_COMPARING);
    b->cut = true;
    run(20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(alias->join.state, HG_PEER_JOIN_COMPARING);
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_begin(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_streams_group_release(a->node.streams, 0, EPOCH), HG_GROUP_OK);
    stream_node_settle(&a->node);
    hg_peers_stream_begun(a->peers, slot);
    CU_ASSERT_EQUAL(alias->join.state, HG_PEER_JOIN_NONE);
    append(a, slot, 3, 100);
    stream_node_settle(&a->node);
    const struct hg_lane_stats *stats = hg_lane_stats(peer_of(a)->sessions[peer_of(a)->current].lane);
    uint64_t refused = stats->drop_control_state;
    b->cut = false;
    for (uint64_t end_ns = a->node.now_ns + HG_NS_PER_S; a->node.now_ns < end_ns;) {
        a->cut = alias->join.state == HG_PEER_JOIN_CUTTING; /* the filler hears of no epoch in time */
        site_turn(a);
        site_turn(b);
        orphan_directory_turn(&directory, a);
    }
    CU_ASSERT(stats->drop_control_state > refused);
    CU_ASSERT_EQUAL(directory.count, 0);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_durable, 7);
    CU_ASSERT_EQUAL(stream(a, slot)->epoch, EPOCH);
    CU_ASSERT_EQUAL(hg_history_last(&stream(a, slot)->history).epoch, EPOCH);
    CU_ASSERT_EQUAL(hg_history_last(&stream(a, slot)->history).lsn, 4);
    orphan_directory_empty(&directory);
    sites_free();
    one_region = false;
}

/* Who asks has got further than the one that is to fill it, which leaves it as it is. */
static void test_fill_of_more(void)
{
    uint32_t slot = 0;
    region_joined();
    const uint64_t *counts = hg_streams_group_counts(b->node.streams);
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = b->cut = true;
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_streams_group_seal(b->node.streams, 0, EPOCH), HG_GROUP_OK);
    a->cut = b->cut = false;
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 3);
    CU_ASSERT_EQUAL(counts[HG_GROUP_fill_behind], 0);
    fill_begin(a, 2);
    run(7 * HG_NS_PER_S);
    CU_ASSERT(counts[HG_GROUP_fill_behind] > 0);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_durable, 6);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 3);
    sites_free();
    one_region = false;
}

/* ---- members ---- */

/* The group has one member. */
static void member_set(struct site *site, uint64_t generation, uint64_t member)
{
    struct hg_streams_voters voters = {
        .members = {.generation = generation, .set = {.count = 1, .w = 1, .nodes = {member}}},
        .region = 1,
        .self = site == a ? 1 : 2,
        .nodes = {site == a ? 2 : 1}};
    voters.counted = voters.nodes[0] == member;
    bool is_new;
    CU_ASSERT_TRUE(hg_streams_members_set(site->node.streams, 0, &voters, &is_new));
    CU_ASSERT_TRUE(is_new);
    run(10 * HG_NS_PER_MS);
    hg_peers_members_new(site->peers, 0);
    run(30 * HG_NS_PER_MS);
}

static void member_refused(uint32_t slot, enum hg_group_reason reason)
{
    const uint64_t *counts = hg_streams_group_counts(b->node.streams);
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_REFUSED);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_refused].a, HG_WIRE_REFUSED_MEMBERS);
    CU_ASSERT(counts[reason] > 0);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 2);
}

/* A writer whose members are older, or that is none, is told so over the wire, also in the middle of its
 * stream, and goes on when it counts. */
static void test_writer_is_no_member(void)
{
    one_region = true;
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    struct hg_config_stream taken = config_of_one(b, false);
    CU_ASSERT_EQUAL(hg_streams_configure(b->node.streams, &taken), 0);
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 2);
    member_set(b, 2, 2);
    member_refused(slot, HG_GROUP_writer_generation);
    CU_ASSERT_EQUAL(hg_streams_group_counts(b->node.streams)[HG_GROUP_writer_stranger], 0);
    member_set(a, 2, 2);
    member_refused(slot, HG_GROUP_writer_stranger);
    member_set(a, 3, 1);
    member_set(b, 3, 1);
    idle(2 * HG_PEER_REFUSED_RETRY_NS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    sites_free();
    one_region = false;
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
    CU_add_test(suite, "another one fills it", test_fill_by_another);
    CU_add_test(suite, "a fill that comes too late", test_fill_is_late);
    CU_add_test(suite, "a fill's cut that comes too late", test_cut_is_late);
    CU_add_test(suite, "a fill of nothing", test_fill_of_nothing);
    CU_add_test(suite, "a fill of a copy that has more", test_fill_of_more);
    CU_add_test(suite, "a writer that is no member", test_writer_is_no_member);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 11;
}
