/* SPDX-License-Identifier: Apache-2.0
 *
 * What is committed: counted at the origin, told to its region, given elsewhere.
 */
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "stream_node.h"

#define ID      11u
#define KV      HG_STREAM_KEY_VALUE
#define MEMBERS 0x3u /* peers 0 and 1 are of this region, 2 and 3 are not */

static struct stream_node node;
static uint32_t slot;

static struct hg_stream_state *state(void)
{
    return hg_streams_at(node.streams, slot);
}

static void append(uint32_t frames)
{
    for (uint32_t i = 0; i < frames; i++)
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
    stream_node_settle(&node);
}

static void begin(uint64_t members, uint32_t w)
{
    stream_node_make(&node, 1);
    hg_streams_quorum_set(node.streams, members, w);
    slot = stream_node_configure(&node, "one", ID, KV, 1, 0xf);
    append(9);
    CU_ASSERT_EQUAL(state()->lsn_durable, 10);
}

static void peer_has(uint32_t peer, uint64_t lsn, uint64_t committed)
{
    hg_streams_peer_durable(node.streams, slot, peer, lsn);
    CU_ASSERT_EQUAL(state()->lsn_committed, committed);
}

static void test_alone(void)
{
    begin(0, 1);
    CU_ASSERT_EQUAL(state()->lsn_committed, 10);
    append(1);
    CU_ASSERT_EQUAL(state()->lsn_committed, 11);
    stream_node_free(&node);
}

static void test_two_of_three(void)
{
    begin(MEMBERS, 2);
    CU_ASSERT_EQUAL(state()->lsn_committed, 0);
    peer_has(2, 10, 0); /* another region's */
    peer_has(0, 4, 4);
    peer_has(1, 3, 4);
    peer_has(1, 7, 7);
    peer_has(0, 11, 7); /* what is not durable here can't be there */
    peer_has(0, 10, 10);
    append(1);
    CU_ASSERT_EQUAL(state()->lsn_committed, 10);
    peer_has(1, 11, 11);
    stream_node_free(&node);
}

static void test_all_of_three(void)
{
    begin(MEMBERS, 3);
    peer_has(0, 10, 0);
    peer_has(1, 6, 6);
    peer_has(1, 10, 10);
    stream_node_free(&node);
}

/* A member whose disk is gone counts for nothing that it does not have anew. */
static void test_blank_member(void)
{
    begin(MEMBERS, 3);
    peer_has(0, 10, 0);
    hg_streams_peer_restated(node.streams, slot, 0, 0, 0, false);
    peer_has(1, 10, 0);
    peer_has(0, 5, 5);
    CU_ASSERT_EQUAL(state()->lsn_peer[0], 10); /* what the log may forget is another matter */
    peer_has(0, 10, 10);
    hg_streams_peer_restated(node.streams, slot, 0, 0, 0, false);
    CU_ASSERT_EQUAL(state()->lsn_committed, 10); /* it stays */
    stream_node_free(&node);
}

static void test_removed_member(void)
{
    begin(MEMBERS, 3);
    peer_has(0, 10, 0);
    hg_streams_peer_gone(node.streams, 0);
    peer_has(1, 10, 0);
    hg_streams_quorum_set(node.streams, 0x2, HG_STREAMS_QUORUM_NEVER);
    CU_ASSERT_EQUAL(state()->lsn_committed, 0);
    hg_streams_quorum_set(node.streams, 0x2, 2);
    CU_ASSERT_EQUAL(state()->lsn_committed, 10);
    stream_node_free(&node);
}

/* A peer of the region that does not get the stream can't have it. */
static void test_member_without_stream(void)
{
    begin(MEMBERS, 2);
    peer_has(0, 10, 10);
    append(1);
    stream_node_configure(&node, "one", ID, KV, 1, 0xe);
    peer_has(0, 11, 10);
    peer_has(1, 11, 11);
    stream_node_free(&node);
}

/* A log made anew is another copy: what the former one said counts no more, also where this one has more. */
static void test_another_copy(void)
{
    begin(MEMBERS, 3);
    hg_streams_peer_restated(node.streams, slot, 0, 6, 77, false);
    peer_has(0, 6, 0);
    hg_streams_peer_restated(node.streams, slot, 0, 9, 77, false); /* the same one, opened anew */
    peer_has(1, 10, 6);
    append(1);
    CU_ASSERT_EQUAL(state()->lsn_committed, 6);
    hg_streams_peer_restated(node.streams, slot, 0, 9, 78, false);
    CU_ASSERT_EQUAL(state()->lsn_counted[0], 0);
    peer_has(0, 8, 8); /* its own word, compared */
    stream_node_free(&node);
}

/* Where logs are named, no other ones count: neither a member's that was made anew nor this node's own. */
static void test_named_copies(void)
{
    static const uint64_t nodes[HG_STREAMS_PEERS_MAX] = {1, 2};
    static const uint64_t first[] = {77}, second[] = {76};
    struct hg_copies copies = {0}, none = {0};
    begin(MEMBERS, 2);
    uint64_t own = hg_copies_id(hg_log_uuid(node.log));
    hg_streams_nodes_set(node.streams, 100, nodes);
    hg_streams_copies_set(node.streams, 0, &none, true);
    hg_streams_peer_restated(node.streams, slot, 0, 0, 77, false);
    hg_streams_peer_restated(node.streams, slot, 1, 0, 78, false);
    peer_has(0, 4, 0); /* nobody knows yet who counts */
    hg_streams_copies_set(node.streams, 0, &none, false);
    CU_ASSERT_EQUAL(state()->lsn_committed, 4);
    CU_ASSERT_TRUE(hg_copies_put(&copies, 1, first, 1) && hg_copies_put(&copies, 2, second, 1));
    hg_streams_copies_set(node.streams, 0, &copies, false);
    peer_has(0, 6, 4); /* this node's own log is not named */
    CU_ASSERT_TRUE(hg_copies_put(&copies, 100, &own, 1));
    hg_streams_copies_set(node.streams, 0, &copies, false);
    CU_ASSERT_EQUAL(state()->lsn_committed, 6);
    peer_has(1, 9, 6); /* another log than the one that is */
    CU_ASSERT_FALSE(hg_streams_members_caught_up(node.streams, 0, 1));
    peer_has(1, 10, 6);
    CU_ASSERT_TRUE(hg_streams_members_caught_up(node.streams, 0, 1));
    append(1); /* while it is being named */
    CU_ASSERT_TRUE(hg_streams_members_caught_up(node.streams, 0, 1));
    hg_streams_peer_restated(node.streams, slot, 1, 9, 79, false); /* and again */
    CU_ASSERT_FALSE(hg_streams_members_caught_up(node.streams, 0, 1));
    stream_node_free(&node);
}

static void new_log_refuses(enum hg_append_reason reason)
{
    CU_ASSERT_EQUAL(hg_streams_is_unnamed(node.streams, 0), reason == HG_APPEND_UNNAMED);
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), reason);
    stream_node_settle(&node);
}

static void new_log(void)
{
    static const uint64_t nodes[HG_STREAMS_PEERS_MAX] = {1, 2};
    stream_node_make(&node, 1);
    hg_streams_quorum_set(node.streams, MEMBERS, 2);
    hg_streams_nodes_set(node.streams, 100, nodes);
    slot = stream_node_configure(&node, "one", ID, KV, 1, 0xf);
}

/* The writer of the command file lost its disk: its empty log is not the one that the metastore has. */
static void test_new_log_of_the_writer(void)
{
    const uint64_t former = 75;
    struct hg_copies copies = {0}, none = {0};
    CU_ASSERT_TRUE(hg_copies_put(&copies, 100, &former, 1));
    new_log(); /* of a new region: nobody has said anything */
    new_log_refuses(HG_APPEND_OK);
    stream_node_free(&node);

    new_log();
    hg_streams_copies_set(node.streams, 0, &none, true);
    new_log_refuses(HG_APPEND_UNNAMED); /* the metastore could not be read */
    hg_streams_copies_set(node.streams, 0, &copies, false);
    new_log_refuses(HG_APPEND_UNNAMED); /* it names the former log */
    hg_streams_quorum_watch(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_group_unnamed], 0);
    hg_streams_quorum_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS);
    hg_streams_quorum_watch(node.streams, node.now_ns + 2 * HG_STREAMS_QUORUM_QUIET_NS);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_group_unnamed], 1);
    CU_ASSERT_EQUAL(hg_streams_append_counts(node.streams)[HG_APPEND_UNNAMED], 2);
    const uint64_t own = hg_copies_id(hg_log_uuid(node.log));
    CU_ASSERT_TRUE(hg_copies_put(&copies, 100, &own, 1));
    hg_streams_copies_set(node.streams, 0, &copies, false);
    new_log_refuses(HG_APPEND_OK);
    hg_streams_copies_set(node.streams, 0, &none, true);
    new_log_refuses(HG_APPEND_OK); /* a control plane that can't read says nothing to a log that has it */
    stream_node_free(&node);

    new_log();
    hg_streams_epoch_given(node.streams, 0, 2); /* nothing named, but another epoch given */
    new_log_refuses(HG_APPEND_UNNAMED);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    new_log_refuses(HG_APPEND_SEALED);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    new_log_refuses(HG_APPEND_OK);
    stream_node_free(&node);
}

/* Under a new epoch nobody counts who has not got where it begins. */
static void test_new_epoch(void)
{
    begin(MEMBERS, 2);
    peer_has(0, 10, 10);
    append(3);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    append(2);
    CU_ASSERT_EQUAL(state()->lsn_durable, 15);
    CU_ASSERT_EQUAL(state()->lsn_counted[0], 0); /* said under the old one */
    peer_has(0, 12, 10);
    peer_has(1, 12, 10);
    peer_has(1, 13, 13);
    stream_node_free(&node);
}

/* The metastore gave a newer epoch, which may be another node's: the logs that are named now count for that
 * one. */
static void test_epoch_given_elsewhere(void)
{
    begin(MEMBERS, 2);
    peer_has(0, 4, 4);
    hg_streams_epoch_given(node.streams, 0, 5);
    hg_streams_epoch_given(node.streams, 0, 2); /* an older record */
    peer_has(0, 10, 4);
    peer_has(1, 10, 4);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    append(2);
    peer_has(1, 12, 12); /* it was ours */
    stream_node_free(&node);
}

/* ---- members of a group's own ---- */

#define SELF 100u /* peers 0 to 3 are the nodes 1 to 4 */

static struct hg_streams_voters voters_of(uint64_t generation, uint32_t phase, struct hg_members_set set,
                                          struct hg_members_set other)
{
    struct hg_streams_voters voters = {.self = SELF, .nodes = {1, 2, 3, 4}};
    voters.members =
        (struct hg_members){.generation = generation, .phase = phase, .set = set, .other = other};
    if (phase == HG_MEMBERS_CATCHING || (phase == HG_MEMBERS_STABLE && !hg_members_set_has(&set, 3))) {
        voters.members.learners[0] = 3;
        voters.members.learner_count = 1;
    }
    for (uint32_t peer = 0; peer < 4; peer++) {
        voters.counted |= (uint64_t)hg_members_is_voter(&voters.members, peer + 1) << peer;
    }
    return voters;
}

static const struct hg_members_set old_set = {.count = 3, .w = 2, .nodes = {SELF, 1, 2}},
                                   new_set = {.count = 3, .w = 2, .nodes = {SELF, 2, 3}}, no_set;

static bool members(uint64_t generation, uint32_t phase, struct hg_members_set set,
                    struct hg_members_set other)
{
    struct hg_streams_voters voters = voters_of(generation, phase, set, other);
    bool is_new;
    return hg_streams_members_set(node.streams, 0, &voters, &is_new);
}

static void voters_speak(uint32_t count)
{
    for (uint32_t peer = 0; peer < count; peer++)
        hg_streams_peer_restated(node.streams, slot, peer, 0, 1, true);
}

static uint64_t refusals(enum hg_group_reason reason)
{
    return hg_streams_group_counts(node.streams)[reason];
}

static void test_members(void)
{
    begin(MEMBERS, 3);
    CU_ASSERT_TRUE(members(1, HG_MEMBERS_STABLE, old_set, no_set));
    peer_has(0, 4, 0); /* it does not know yet that it counts */
    voters_speak(4);
    peer_has(2, 10, 0); /* a learner */
    peer_has(3, 10, 0); /* nobody */
    CU_ASSERT_FALSE(hg_streams_members_caught_up(node.streams, 0, 0));
    peer_has(0, 5, 5);
    CU_ASSERT_TRUE(hg_streams_members_caught_up(node.streams, 0, 2));
    CU_ASSERT_TRUE(hg_streams_is_told(node.streams, slot, 2) && hg_streams_is_told(node.streams, slot, 3));
    hg_streams_peer_restated(node.streams, slot, 1, 9, 1, false); /* by its own members it is none */
    peer_has(1, 9, 5);
    stream_node_free(&node);
}

/* While both sets count, both must have it; then the new one alone. */
static void test_joint(void)
{
    begin(MEMBERS, 3);
    CU_ASSERT_TRUE(members(1, HG_MEMBERS_STABLE, old_set, no_set));
    voters_speak(4);
    peer_has(0, 6, 6);
    CU_ASSERT_TRUE(members(2, HG_MEMBERS_CATCHING, old_set, new_set));
    CU_ASSERT_TRUE(members(3, HG_MEMBERS_JOINT, new_set, old_set));
    CU_ASSERT_FALSE(hg_streams_members_synced(node.streams, 0)); /* 2 and 3 have nothing of it */
    peer_has(0, 9, 6);
    peer_has(2, 5, 6);
    CU_ASSERT_FALSE(hg_streams_members_synced(node.streams, 0));
    peer_has(2, 8, 8); /* 9 in the former set, 8 in the new one */
    CU_ASSERT_FALSE(
        hg_streams_members_synced(node.streams, 0)); /* what else is here may have been committed */
    peer_has(0, 10, 8);
    peer_has(2, 10, 10);
    CU_ASSERT_TRUE(hg_streams_members_synced(node.streams, 0));
    CU_ASSERT_TRUE(members(4, HG_MEMBERS_STABLE, new_set, no_set));
    append(2);
    peer_has(0, 12, 10); /* of the former set */
    peer_has(2, 12, 12);
    stream_node_free(&node);
}

/* Generations only rise, over restarts too: who forgot what they were counts nothing. */
static void test_generations(void)
{
    begin(MEMBERS, 3);
    CU_ASSERT_TRUE(members(4, HG_MEMBERS_STABLE, new_set, no_set));
    CU_ASSERT_EQUAL(hg_streams_members_durable(node.streams, 0), 0);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_members_durable(node.streams, 0), 4);
    CU_ASSERT_FALSE(members(3, HG_MEMBERS_STABLE, old_set, no_set));
    CU_ASSERT_EQUAL(refusals(HG_GROUP_config_generation), 1);
    CU_ASSERT_FALSE(members(4, HG_MEMBERS_STABLE, old_set, no_set)); /* others of the same one */
    CU_ASSERT_FALSE(members(5, HG_MEMBERS_STABLE, no_set, no_set));
    CU_ASSERT_EQUAL(refusals(HG_GROUP_config_members), 2);
    CU_ASSERT_EQUAL(hg_streams_members_generation(node.streams, 0), 4);
    stream_node_close(&node);
    stream_node_open(&node);
    slot = (uint32_t)hg_streams_find(node.streams, ID);
    hg_streams_quorum_set(node.streams, 0, 1); /* as a command file without a quorum has it */
    stream_node_configure(&node, "one", ID, KV, 1, 0xf);
    append(1);
    CU_ASSERT_EQUAL(state()->lsn_committed, 0);
    CU_ASSERT_FALSE(members(3, HG_MEMBERS_STABLE, old_set, no_set));
    CU_ASSERT_TRUE(members(4, HG_MEMBERS_STABLE, new_set, no_set));
    voters_speak(4);
    peer_has(2, 11, 11);
    stream_node_free(&node);
}

/* Who may send a group: a member, by members that are not older. */
static void test_writers(void)
{
    begin(MEMBERS, 3);
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 1, 0, 9), HG_GROUP_OK); /* as configured */
    CU_ASSERT_TRUE(members(4, HG_MEMBERS_JOINT, new_set, old_set));
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 1, 3, 1), HG_GROUP_writer_generation);
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 1, 4, 1), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 1, 4, 4), HG_GROUP_writer_stranger);
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 1, 5, 4), HG_GROUP_OK); /* it may be one since */
    CU_ASSERT_EQUAL(hg_streams_writer_check(node.streams, 0, 2, 0, 9), HG_GROUP_OK); /* another region's */
    CU_ASSERT_EQUAL(refusals(HG_GROUP_writer_generation), 1);
    CU_ASSERT_EQUAL(refusals(HG_GROUP_writer_stranger), 1);
    stream_node_free(&node);
}

/* The next process counts anew, and nobody knows before it is configured. */
static void test_restart(void)
{
    begin(MEMBERS, 2);
    peer_has(0, 10, 10);
    stream_node_close(&node);
    stream_node_open(&node);
    slot = (uint32_t)hg_streams_find(node.streams, ID);
    CU_ASSERT_EQUAL(state()->lsn_durable, 10);
    CU_ASSERT_EQUAL(state()->lsn_committed, 0);
    hg_streams_quorum_set(node.streams, MEMBERS, 2);
    stream_node_configure(&node, "one", ID, KV, 1, 0xf);
    peer_has(1, 8, 8);
    stream_node_free(&node);
}

static void configure_elsewhere(uint16_t region, uint64_t origin_node)
{
    struct hg_config_stream config = {
        .name = "one", .stream = ID, .kind = KV, .region = region, .epoch = 1, .node = origin_node};
    CU_ASSERT_EQUAL(hg_streams_configure(node.streams, &config), 0);
    slot = (uint32_t)hg_streams_find(node.streams, ID);
}

/* Batches as their origin seals them, taken here. */
static void take_from(struct stream_node *origin, uint64_t frames)
{
    uint32_t there = stream_node_configure(origin, "one", ID, KV, origin->region, 1);
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    for (uint64_t i = 0; i < frames; i++)
        CU_ASSERT_EQUAL(stream_node_append(origin, there, 100), HG_APPEND_OK);
    stream_node_settle(origin);
    while (hg_cursor_peek(&cursor, origin->log, &header) == 1) {
        if ((header->flags & HG_BATCH_LOCAL) == 0)
            CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, slot, header->epoch,
                                                     (const uint8_t *)header, hg_batch_bytes(header),
                                                     node.now_ns),
                            HG_SEALED_OK);
        hg_cursor_advance(&cursor, header);
    }
    stream_node_settle(&node);
}

static void test_told(void)
{
    static struct stream_node origin;
    stream_node_make(&origin, 1);
    stream_node_make(&node, 1);
    configure_elsewhere(1, 77);
    CU_ASSERT_FALSE(state()->origin_local);
    hg_streams_committed_told(node.streams, slot, 8);
    CU_ASSERT_EQUAL(state()->lsn_committed, 0);
    take_from(&origin, 5);
    CU_ASSERT_EQUAL(state()->lsn_durable, 6);
    CU_ASSERT_EQUAL(state()->lsn_committed, 6); /* of what is here */
    hg_streams_committed_told(node.streams, slot, 3);
    CU_ASSERT_EQUAL(state()->lsn_committed, 6);
    stream_node_free(&node);
    stream_node_free(&origin);
}

static void test_other_region(void)
{
    static struct stream_node origin;
    stream_node_make(&origin, 2);
    stream_node_make(&node, 1);
    configure_elsewhere(2, 0);
    take_from(&origin, 5);
    CU_ASSERT_EQUAL(state()->lsn_committed, 6);
    stream_node_free(&node);
    stream_node_free(&origin);
}

static void test_watch(void)
{
    begin(MEMBERS, 2);
    hg_streams_quorum_watch(node.streams, node.now_ns);
    hg_streams_quorum_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS - 1);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_quorum_lost], 0);
    for (int i = 0; i < 3; i++)
        hg_streams_quorum_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_quorum_lost], 1);
    CU_ASSERT_EQUAL(node.event_last[HG_EVENT_stream_quorum_lost].b, 10);
    peer_has(1, 5, 5);
    hg_streams_quorum_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS + 1);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_quorum_back], 1);
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("quorum", NULL, NULL);
    CU_add_test(suite, "a region of one node", test_alone);
    CU_add_test(suite, "two of three", test_two_of_three);
    CU_add_test(suite, "all of three", test_all_of_three);
    CU_add_test(suite, "a member lost its disk", test_blank_member);
    CU_add_test(suite, "a member's log is made anew", test_another_copy);
    CU_add_test(suite, "logs that are named", test_named_copies);
    CU_add_test(suite, "the writer's log is made anew", test_new_log_of_the_writer);
    CU_add_test(suite, "a new epoch", test_new_epoch);
    CU_add_test(suite, "a group with members of its own", test_members);
    CU_add_test(suite, "both sets count while they change", test_joint);
    CU_add_test(suite, "generations only rise", test_generations);
    CU_add_test(suite, "who may send a group", test_writers);
    CU_add_test(suite, "a member is removed", test_removed_member);
    CU_add_test(suite, "a member does not get the stream", test_member_without_stream);
    CU_add_test(suite, "a restart counts anew", test_restart);
    CU_add_test(suite, "an epoch given elsewhere", test_epoch_given_elsewhere);
    CU_add_test(suite, "told by the origin", test_told);
    CU_add_test(suite, "another region", test_other_region);
    CU_add_test(suite, "the watch", test_watch);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
