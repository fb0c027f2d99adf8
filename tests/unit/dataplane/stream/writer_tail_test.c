/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer whose log ends in a torn write goes on under its epoch where enough members have said that they
 * have no more, and not where one of them has.
 */
#include "dataplane/stream/peers_internal.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "dataplane/stream/tail.h"
#include "peers_pair.h"

#define ID    11u
#define PEERS 0xfu /* that get the stream; a quorum has the first of them */
#define END   4u   /* of what is whole */

static struct stream_node node;
static uint32_t slot;

static struct hg_stream_state *state(void)
{
    return hg_streams_at(node.streams, slot);
}

/* The writer starts again, behind a write of the stream that was torn, in a quorum of n with w. */
static void begin(uint32_t n, uint32_t w)
{
    stream_node_make(&node, 1);
    slot = stream_node_configure(&node, "one", ID, KV, 1, PEERS);
    for (uint32_t lsn = 1; lsn < END; lsn++)
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
    stream_node_settle(&node);
    stream_node_end_torn(&node, slot);
    hg_streams_quorum_set(node.streams, (UINT64_C(1) << (n - 1)) - 1, w);
    slot = stream_node_configure(&node, "one", ID, KV, 1, PEERS);
    CU_ASSERT_EQUAL(state()->lsn_durable, END);
}

static void said(uint32_t peer, uint64_t lsn, bool is_unknown)
{
    hg_streams_tail_said(node.streams, slot, peer, lsn, is_unknown);
}

static void expect(enum hg_streams_tail tail)
{
    enum hg_append_reason reason = stream_node_append(&node, slot, 100);
    CU_ASSERT_EQUAL(hg_streams_tail(node.streams, state()), tail);
    CU_ASSERT_EQUAL(reason, tail == HG_STREAMS_TAIL_KNOWN ? HG_APPEND_OK : HG_APPEND_WOULD_BLOCK);
}

static void restart(void)
{
    stream_node_settle(&node);
    hg_disk_sim_crash(node.disk);
    stream_node_close(&node);
    stream_node_open(&node);
    slot = stream_node_configure(&node, "one", ID, KV, 1, PEERS);
}

static void test_alone(void)
{
    begin(1, 1);
    CU_ASSERT_TRUE(state()->tail_unknown); /* nobody can say */
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);
}

/* Two of three: what was acknowledged is on one of the two others, and either may be the one. */
static void test_three(void)
{
    begin(3, 2);
    expect(HG_STREAMS_TAIL_WAITS);
    said(0, END, false);
    expect(HG_STREAMS_TAIL_WAITS);
    said(0, END - 1, false); /* one is one, however often */
    said(2, END, false);     /* another region's */
    expect(HG_STREAMS_TAIL_WAITS);
    said(1, 0, false);
    expect(HG_STREAMS_TAIL_KNOWN);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_tail_known], 1);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_tail_unknown], 0);
    restart(); /* it is on record */
    CU_ASSERT_FALSE(state()->tail_unknown);
    CU_ASSERT_EQUAL(state()->lsn_durable, END + 1);
    stream_node_free(&node);
}

/* Three of five: three others that know are enough. One whose own end is torn is no proof, but where nobody
 * is left to be asked, nobody has it. */
static void test_five(void)
{
    begin(5, 3);
    said(0, END, false);
    said(1, END, true);
    said(2, END, false);
    expect(HG_STREAMS_TAIL_WAITS);
    said(1, END, false); /* an epoch began there, or it was a repeated word */
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);

    begin(5, 3);
    for (uint32_t peer = 0; peer < 3; peer++)
        said(peer, END, true);
    expect(HG_STREAMS_TAIL_WAITS);
    said(3, END, true);
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);
}

/* Who has more ends it: no word of others does, only another epoch. */
static void test_lost(void)
{
    begin(3, 2);
    said(2, END + 1, false); /* no member */
    expect(HG_STREAMS_TAIL_WAITS);
    said(0, END + 1, false);
    expect(HG_STREAMS_TAIL_LOST);
    said(0, END, false);
    said(1, END, false);
    expect(HG_STREAMS_TAIL_LOST);
    for (uint32_t i = 0; i < 3; i++)
        hg_streams_tails_watch(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_tail_lost], 1);
    CU_ASSERT_EQUAL(node.event_last[HG_EVENT_stream_tail_lost].a, END + 1);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    stream_node_settle(&node);
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);
}

static void test_long(void)
{
    begin(3, 2);
    hg_streams_tails_watch(node.streams, node.now_ns);
    hg_streams_tails_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS - 1);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_tail_unknown], 0);
    for (uint32_t i = 0; i < 3; i++)
        hg_streams_tails_watch(node.streams, node.now_ns + HG_STREAMS_QUORUM_QUIET_NS);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_tail_unknown], 1);
    restart();
    hg_streams_quorum_set(node.streams, 3, 2);
    expect(HG_STREAMS_TAIL_WAITS); /* it is remembered */
    stream_node_free(&node);
}

/* A log that was made anew knows nothing; nor do those that count until somebody has said which they are. */
static void test_copies(void)
{
    static const uint64_t nodes[HG_STREAMS_PEERS_MAX] = {2, 3};
    struct hg_copies copies = {0}, none = {0};
    begin(3, 2);
    uint64_t own = hg_copies_id(hg_log_uuid(node.log)), second = 77, third = 78;
    hg_streams_nodes_set(node.streams, 1, nodes);
    CU_ASSERT_TRUE(hg_copies_put(&copies, 1, &own, 1) && hg_copies_put(&copies, 2, &second, 1) &&
                   hg_copies_put(&copies, 3, &third, 1));
    hg_streams_copies_set(node.streams, 0, &none, true);
    hg_streams_peer_restated(node.streams, slot, 0, END, second, false);
    hg_streams_peer_restated(node.streams, slot, 1, 0, third + 1, false);
    said(0, END, false);
    said(1, 0, false);
    expect(HG_STREAMS_TAIL_WAITS);
    hg_streams_copies_set(node.streams, 0, &copies, false);
    expect(HG_STREAMS_TAIL_WAITS);
    hg_streams_peer_restated(node.streams, slot, 1, END, third, false);
    hg_streams_tails_watch(node.streams, node.now_ns);
    expect(HG_STREAMS_TAIL_WAITS); /* it was another log that spoke */
    said(1, END, false);
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);
}

/* While both sets count, both must have said so. */
static void test_joint(void)
{
    struct hg_streams_voters voters = {
        .members = {.generation = 3,
                    .phase = HG_MEMBERS_JOINT,
                    .set = {.count = 3, .w = 2, .nodes = {1, 2, 4}},
                    .other = {.count = 3, .w = 2, .nodes = {1, 2, 3}}},
        .region = 1,
        .self = 1,
        .nodes = {2, 3, 4},
        .counted = 7,
    };
    bool is_new;
    begin(1, 1);
    CU_ASSERT_TRUE(hg_streams_members_set(node.streams, 0, &voters, &is_new));
    expect(HG_STREAMS_TAIL_WAITS);
    said(0, END, false);
    said(1, END, false);
    expect(HG_STREAMS_TAIL_WAITS);
    said(2, END, true); /* of the set all others have said so; the other set needs no more */
    expect(HG_STREAMS_TAIL_KNOWN);
    stream_node_free(&node);
}

/* ---- two nodes ---- */

static void a_starts_again(uint64_t torn)
{
    hg_peers_free(a->peers);
    stream_node_tear(&a->node, torn);
    stream_node_close(&a->node);
    stream_node_open(&a->node);
    CU_ASSERT_TRUE_FATAL(hg_log_tail_is_torn(a->node.log));
    hg_streams_quorum_set(a->node.streams, 1, 2);
    site_peers_make(a, NODE_STREAMS_MAX);
    (void)configure(a, "one", ID, KV, 1);
}

/* a writes, b takes, both must have an entry; so many are there. */
static void sites_of_one_region(uint32_t entries)
{
    one_region = true;
    sites_make();
    keys();
    slot = configure(a, "one", ID, KV, 1);
    struct hg_config_stream taken = config_of_one(b, false);
    CU_ASSERT_EQUAL(hg_streams_configure(b->node.streams, &taken), 0);
    hg_streams_quorum_set(a->node.streams, 1, 2);
    append(a, slot, entries, 100);
    run(50 * HG_NS_PER_MS);
}

/* Nobody had it: the two find that out, for a stream without any entry too. */
static void test_goes_on(void)
{
    for (uint32_t whole = 0; whole < 2; whole++) {
        sites_of_one_region(3 * whole);
        a->cut = b->cut = true;
        uint64_t sequence = hg_log_append_sequence(a->node.log);
        append(a, slot, 1, 100);
        hg_log_close_write(a->node.log);
        for (int i = 0; i < 3; i++)
            stream_node_turn(&a->node);
        a_starts_again(sequence);
        CU_ASSERT_EQUAL(stream_node_append(&a->node, slot, 100), HG_APPEND_WOULD_BLOCK);
        a->cut = b->cut = false;
        b->node.now_ns = a->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
        keys();
        run(100 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(hg_streams_tail(a->node.streams, stream(a, slot)), HG_STREAMS_TAIL_KNOWN);
        append(a, slot, 1, 100);
        run(100 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(stream(a, slot)->lsn_committed, 3 * whole + 2);
        sites_free();
        one_region = false;
    }
}

/* The other one has the write that was torn: it was acknowledged, and a must not write on. */
static void test_other_has_it(void)
{
    sites_of_one_region(3);
    uint64_t sequence = hg_log_append_sequence(a->node.log);
    append(a, slot, 1, 100);
    for (int i = 0; i < 1000 && stream(a, slot)->lsn_committed < 5; i++) {
        site_turn(a);
        site_turn(b);
    }
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_committed, 5);
    a_starts_again(sequence);
    b->node.now_ns = a->node.now_ns = hg_max_u64(a->node.now_ns, b->node.now_ns);
    keys();
    run(200 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_streams_tail(a->node.streams, stream(a, slot)), HG_STREAMS_TAIL_LOST);
    CU_ASSERT_EQUAL(stream_node_append(&a->node, slot, 100), HG_APPEND_WOULD_BLOCK);
    hg_streams_tails_watch(a->node.streams, a->node.now_ns);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_tail_lost].a, 5);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_tail_lost].b, 4);
    sites_free();
    one_region = false;
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("writer_tail", NULL, NULL);
    CU_add_test(suite, "alone", test_alone);
    CU_add_test(suite, "two of three", test_three);
    CU_add_test(suite, "three of five", test_five);
    CU_add_test(suite, "a member has more", test_lost);
    CU_add_test(suite, "waits for long", test_long);
    CU_add_test(suite, "logs that count", test_copies);
    CU_add_test(suite, "joint members", test_joint);
    CU_add_test(suite, "two nodes, nobody has more", test_goes_on);
    CU_add_test(suite, "two nodes, the other one has more", test_other_has_it);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 9;
}
