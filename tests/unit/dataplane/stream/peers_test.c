/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams between two nodes: opened, answered, sent, made durable; and what may stand in the way of it.
 */
#include "dataplane/stream/seal.h"
#include "peers_pair.h"

/* ---- opening, sending, durable ---- */

static void test_open_answer_durable(void)
{
    sites_make();
    keys();
    uint32_t one_a = configure(a, "one", 11, KV, 1), two_a = configure(a, "two", 12, KV, 2);
    uint32_t two_b = configure(b, "two", 12, KV, 2), one_b = configure(b, "one", 11, KV, 1);
    CU_ASSERT(one_a != one_b && two_a != two_b); /* the alias is the origin's slot */
    append(a, one_a, 30, 5000);
    append(b, two_b, 3, 200000);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_UP);
    CU_ASSERT_EQUAL(stream(b, one_b)->lsn_durable, 31);
    CU_ASSERT_EQUAL(stream(a, one_a)->lsn_peer[0], 31);
    CU_ASSERT_EQUAL(memcmp(stream(b, one_b)->chain_durable, stream(a, one_a)->chain_durable, 16), 0);
    CU_ASSERT_EQUAL(stream(a, two_a)->lsn_durable, 4);
    CU_ASSERT_EQUAL(stream(b, two_b)->lsn_peer[0], 4);
    CU_ASSERT_EQUAL(sending(a, one_a)->state, HG_PEER_STREAM_STREAMING);
    sites_free();
}

/* Nothing counts as durable there before its device has it. */
static void test_received_is_not_durable(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 2);
    append(a, slot, 1, 100);
    for (int i = 0; i < 100; i++) { /* b takes packets, its log does not turn */
        site_turn(a);
        packets_pass(b);
    }
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_sealed, 3);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 2);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 3);
    sites_free();
}

/* The answer to the OPEN is lost and repeated; a DURABLE that comes before it is not forgotten. */
static void test_durable_before_answer(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    append(a, slot, 1, 100);
    for (int i = 0; i < 20; i++) {
        site_turn(a);
        packets_pass(b);
    }
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_sealed, 3);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 2);
    keys();
    packets_pass(b);
    packets_pass(a);
    b->cut = true;
    packets_pass(b); /* the answer: durable up to 2 */
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_OPENING);
    hg_log_close_write(b->node.log);
    for (int i = 0; i < 20 && stream(b, 0)->lsn_durable < 3; i++)
        stream_node_turn(&b->node);
    hg_peers_log_moved(b->peers, b->node.now_ns);
    b->cut = false;
    packets_pass(b);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_OPENING);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 3);
    sites_free();
}

/* The taker is sealed: batches of the old epoch are refused by that name, and what was under way is not
 * there. When the origin began the promised epoch, it goes on from where it stopped, old batches and new
 * ones. */
static void test_sealed_taker(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    CU_ASSERT_EQUAL(hg_streams_group_seal(b->node.streams, 0, 7), HG_GROUP_OK);
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_TRUE(hg_streams_group_sealed(b->node.streams, 0, 7));
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_sealed, 4);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_REFUSED);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    CU_ASSERT_EQUAL(hg_streams_sealed_counts(b->node.streams)[HG_SEALED_EPOCH], 1);
    run(12 * HG_NS_PER_S); /* offered again and again, and refused */
    CU_ASSERT(hg_peers_opens_refused(b->peers)[HG_WIRE_REFUSED_EPOCH] > 0);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_sealed, 4);
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, 7), HG_GROUP_OK);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_streams_group_open(a->node.streams, 0, 7), HG_GROUP_OK);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_TRUE(hg_streams_group_opened(a->node.streams, 0, 7));
    hg_peers_stream_epoch(a->peers, slot);
    append(a, slot, 2, 100);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 8);
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, 0)->history).epoch, 7);
    CU_ASSERT_EQUAL(hg_history_last(&stream(b, 0)->history).lsn, 6);
    CU_ASSERT_EQUAL(memcmp(&stream(b, 0)->history, &stream(a, slot)->history, sizeof(struct hg_history)), 0);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 8);
    sites_free();
}

/* ---- sessions ---- */

static void test_resume(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 10, 3000);
    run(30 * HG_NS_PER_MS);
    a->cut = b->cut = true;
    append(a, slot, 20, 3000);
    idle(4 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_DOWN);
    CU_ASSERT(a->rekeys > 0);
    uint32_t rekeys = a->rekeys; /* an ask may be lost: it is said again while the silence lasts */
    idle(3 * HG_NS_PER_S);
    CU_ASSERT(a->rekeys > rekeys && a->rekeys <= rekeys + 4);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 11);
    a->cut = b->cut = false;
    keys();
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_UP);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 31);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 31);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_streaming], 2);
    sites_free();
}

/* Newer keys for the lanes in use: nothing is opened again, sent again or forgotten. */
static void test_keys_renewed(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 5, 1000);
    run(30 * HG_NS_PER_MS);
    int32_t before = peer_of(a)->current;
    uint32_t streaming = a->node.events[HG_EVENT_stream_streaming];
    struct hg_lane_stats stats;
    for (uint32_t i = 0; i < 20; i++) {
        append(a, slot, 20, 1000);
        run(HG_NS_PER_MS);
        keys_renew();
        append(a, slot, 20, 1000);
        run(30 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(hg_keyring_generation(&peer_of(a)->sessions[before].keyring), key_generation);
        CU_ASSERT_EQUAL(hg_keyring_generation(&peer_of(b)->sessions[peer_of(b)->current].keyring),
                        key_generation);
        CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 6 + 40 * (i + 1));
    }
    CU_ASSERT_EQUAL(peer_of(a)->current, before);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_streaming], streaming);
    hg_peers_totals(peer_of(a), &stats);
    CU_ASSERT_EQUAL(stats.packets_lost + stats.data_bytes_resent + stats.probes_sent, 0);
    hg_peers_totals(peer_of(b), &stats);
    CU_ASSERT_EQUAL(stats.drop_duplicate + stats.data_bytes_duplicate, 0);
    sites_free();
}

/* Keys for a lane that is not here can only be followed by new lanes. Those of another process are such. */
static void test_keys_of_no_lane(void)
{
    (void)sites_joined();
    run(30 * HG_NS_PER_MS);
    uint32_t place;
    CU_ASSERT_EQUAL(a->rekeys, 0);
    lane_generation += 100;
    key_generation += 101;
    keys_one(a, 7000, 7001);
    CU_ASSERT_EQUAL(a->rekeys, 1);
    CU_ASSERT_EQUAL(a->rekey_why, HG_REKEY_NEW_LANES);
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(a->peers, 7001, &place));
    lane_generation -= 100;
    keys_one(a, 7000, 7001);
    CU_ASSERT_EQUAL(a->rekeys, 1);
    CU_ASSERT_PTR_NOT_NULL(hg_peers_session_of_spi(a->peers, 7001, &place));
    CU_ASSERT(place < HG_KEYRING_PLACES);
    sites_free();
}

/* A used up key asks for another once, then each second. */
static void test_keys_used(void)
{
    uint32_t slot = sites_joined();
    struct hg_config_peer config = peer_config(2);
    config.rekey_packets = 1; /* as few as may be */
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, a->node.now_ns), 0);
    run(30 * HG_NS_PER_MS);
    append(a, slot, 200, 1000);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(a->rekeys, 0);
    append(a, slot, 300, 1000);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(a->rekeys, 1);
    CU_ASSERT_EQUAL(a->rekey_why, HG_REKEY_USED);
    CU_ASSERT_EQUAL(b->rekeys, 0);
    idle(2 * HG_PEER_REKEY_NS);
    CU_ASSERT(a->rekeys >= 2 && a->rekeys <= 4);
    uint32_t asked = a->rekeys;
    keys_renew();
    idle(2 * HG_PEER_REKEY_NS);
    CU_ASSERT_EQUAL(a->rekeys, asked);
    append(a, slot, 300, 1000);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(a->rekeys, asked + 1);
    sites_free();
}

/* The old session carries everything until a packet opens under the new keys; nothing is lost between. */
static void test_make_before_break(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 5, 1000);
    run(30 * HG_NS_PER_MS);
    int32_t before = peer_of(a)->current;
    lane_generation = ++key_generation;
    keys_one(a, 5000, 5001); /* b's come late: what a sends under them is lost */
    append(a, slot, 5, 1000);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer_of(a)->current, before);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 11);
    keys_one(b, 5001, 5000);
    append(a, slot, 5, 1000);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT(peer_of(a)->current >= 0 && peer_of(a)->current != before);
    CU_ASSERT_FALSE(peer_of(a)->sessions[before].live);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 16);
    for (int i = 0; i < 5; i++) {
        keys();
        append(a, slot, 5, 1000);
        run(20 * HG_NS_PER_MS);
    }
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 41);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 41);
    sites_free();
}

/* ---- refusals ---- */

static void test_refused_unknown_then_configured(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    append(a, slot, 3, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_REFUSED);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_refused].a, HG_WIRE_REFUSED_UNKNOWN);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_not_here], 1);
    CU_ASSERT_STRING_EQUAL(b->node.event_last[HG_EVENT_stream_not_here].subject, "one");
    configure(b, "one", 11, KV, 1);
    idle(2 * HG_PEER_REFUSED_RETRY_NS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    sites_free();
}

static void refused_identity(uint64_t system, uint32_t incarnation, uint16_t status)
{
    struct hg_frame frame = {.lsn = 1000, .span = 1, .op = HG_OP_OPAQUE};
    sites_make();
    keys();
    uint32_t slot = configure(a, "pg", 11, PHYSICAL, 1);
    configure(b, "pg", 11, PHYSICAL, 1);
    CU_ASSERT_EQUAL(hg_streams_adopt(a->node.streams, slot, 77, 3, 16u << 20), 0);
    CU_ASSERT_EQUAL(hg_streams_adopt(b->node.streams, 0, system, incarnation, 16u << 20), 0);
    CU_ASSERT_EQUAL(hg_streams_append(a->node.streams, slot, &frame, a->node.now_ns), HG_APPEND_OK);
    hg_streams_seal(a->node.streams, true, a->node.now_ns);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state,
                    status == HG_WIRE_OK ? HG_PEER_STREAM_STREAMING : HG_PEER_STREAM_REFUSED);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_refused].a, status);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, status == HG_WIRE_OK ? 1001 : 0);
    sites_free();
}

static void test_refused_system_and_incarnation(void)
{
    refused_identity(78, 3, HG_WIRE_REFUSED_SYSTEM);
    refused_identity(77, 4, HG_WIRE_REFUSED_INCARNATION);
    refused_identity(77, 3, HG_WIRE_OK);
}

/* ---- histories that differ, and holes ---- */

/* Another node takes a's place, with other bytes under the same stream. */
static void a_replaced(uint32_t count)
{
    site_free(a);
    site_make(a, b, 1, NODE_STREAMS_MAX);
    a->node.now_ns = b->node.now_ns;
    configure(a, "one", 11, KV, 1);
    a->node.now_ns += HG_NS_PER_S; /* other stamps */
    append(a, 0, count, 333);
    stream_node_settle(&a->node);
    keys();
    run(50 * HG_NS_PER_MS);
}

static void test_diverged(void)
{
    static const uint32_t counts[] = {5, 8, 3}; /* same end, longer, shorter than b */
    for (uint32_t i = 0; i < HG_COUNT(counts); i++) {
        (void)sites_joined();
        append(a, 0, 5, 100);
        run(30 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 6);
        a_replaced(counts[i]);
        CU_ASSERT_EQUAL(sending(a, 0)->state, HG_PEER_STREAM_DIVERGED);
        CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 1);
        CU_ASSERT_EQUAL(stream(a, 0)->lsn_peer[0], 0);
        CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 6);
        sites_free();
    }
}

/* Forgets the beginning of a stream that no peer takes yet. */
static void forget_beginning(struct site *site, uint32_t slot)
{
    stream(site, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_log_tail_sequence(site->node.log) <= 1; i++) {
        append(site, slot, 1, 500000);
        stream_node_settle(&site->node);
        hg_streams_retain(site->node.streams, site->node.now_ns);
    }
    CU_ASSERT_FATAL(hg_streams_lsn_oldest(site->node.streams, slot) > 1);
}

static void test_gap(void)
{
    sites_make();
    keys();
    uint32_t slot = stream_node_configure(&a->node, "one", 11, KV, 1, 0);
    configure(b, "one", 11, KV, 1);
    forget_beginning(a, slot);
    configure(a, "one", 11, KV, 1);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 1);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_gap].a, 1);
    sites_free();
}

/* A stream of which nothing is left in the log has a gap too, though no batch shows it. */
static void test_gap_of_an_idle_stream(void)
{
    sites_make();
    keys();
    uint32_t slot = stream_node_configure(&a->node, "idle", 11, KV, 1, 0);
    uint32_t busy = stream_node_configure(&a->node, "busy", 12, KV, 1, 0);
    configure(b, "idle", 11, KV, 1);
    append(a, slot, 1, 100);
    forget_beginning(a, busy);
    configure(a, "idle", 11, KV, 1);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 1);
    sites_free();
}

/* ---- places in the log ---- */

/* Two streams in one write: the one opened later begins before the cursor, in the same write. */
static void test_cursor_goes_back_within_a_write(void)
{
    sites_make();
    keys();
    uint32_t late = configure(a, "late", 11, KV, 1), early = configure(a, "early", 12, KV, 1);
    configure(b, "late", 11, KV, 1);
    configure(b, "early", 12, KV, 1);
    append(a, early, 1, 100);
    run(30 * HG_NS_PER_MS);
    append(a, late, 1, 100);
    append(a, early, 1, 100);
    stream_node_settle(&a->node);
    struct hg_cursor cursor = peer_of(a)->cursor;
    const struct hg_batch_header *header;
    do {
        CU_ASSERT_EQUAL_FATAL(hg_cursor_peek(&cursor, a->node.log, &header), 1);
        hg_cursor_advance(&cursor, header);
    } while (header->stream != 11);
    hg_peers_tick(a->peers, a->node.now_ns);
    packets_pass(a);
    /* The lane took nothing since (no credit, say): the cursor stands behind late's batch. */
    peer_of(a)->cursor = cursor;
    CU_ASSERT_EQUAL(sending(a, late)->state, HG_PEER_STREAM_OPENING);
    packets_pass(b);
    CU_ASSERT_EQUAL(sending(a, late)->state, HG_PEER_STREAM_STREAMING);
    run(50 * HG_NS_PER_MS);
    append(a, late, 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, late)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(stream(a, late)->lsn_peer[0], 3);
    CU_ASSERT_EQUAL(stream(a, early)->lsn_peer[0], 3);
    sites_free();
}

/* ---- a stream that lacks its quorum ---- */

#define MEMBER 1u /* a peer of a's region; b is of another */

static uint32_t quorum_stream(const char *name, uint64_t id)
{
    uint32_t slot = stream_node_configure(&a->node, name, id, KV, 1, 1u | 1u << MEMBER);
    CU_ASSERT_EQUAL(configure(b, name, id, KV, 1), slot);
    return slot;
}

static void member_has(uint32_t slot, uint64_t lsn)
{
    hg_streams_peer_durable(a->node.streams, slot, MEMBER, lsn);
    hg_peers_committed_moved(a->peers);
    hg_streams_changed_clear(a->node.streams);
}

/* Streams "held" and "free" with 20 entries each, in turns, of which none is committed. */
static void quorum_sites(uint32_t *held, uint32_t *free)
{
    sites_make();
    hg_streams_quorum_set(a->node.streams, 1u << MEMBER, 2);
    keys();
    *held = quorum_stream("held", 11);
    *free = quorum_stream("free", 12);
    for (uint32_t i = 0; i < 20; i++) {
        append(a, *held, 1, 3000);
        append(a, *free, 1, 3000);
        run(2 * HG_NS_PER_MS);
    }
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, *held)->lsn_durable + stream(b, *free)->lsn_durable, 0);
}

/* It holds up no other, and comes when it may, up to where it may. */
static void test_held_stream(void)
{
    uint32_t held, free;
    quorum_sites(&held, &free);
    member_has(free, 21);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, free)->lsn_durable, 21);
    append(a, free, 3, 3000);
    run(10 * HG_NS_PER_MS);
    member_has(free, 24);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, free)->lsn_durable, 24);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 0);
    member_has(held, 9);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 9);
    member_has(held, 21);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 21);
    CU_ASSERT_EQUAL(peer_of(a)->held_count + peer_of(a)->returning_count, 0);
    append(a, held, 1, 3000);
    run(10 * HG_NS_PER_MS);
    member_has(held, 22);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 22);
    CU_ASSERT_EQUAL(stream(a, held)->lsn_peer[0], 22);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap] + a->node.events[HG_EVENT_stream_diverged], 0);
    sites_free();
}

/* Both are held back, and each may leave by and by, a stream that joins late among them. */
static void test_held_in_turns(void)
{
    uint32_t held, free;
    quorum_sites(&held, &free);
    for (uint64_t lsn = 2; lsn <= 21; lsn++) {
        member_has(lsn % 3 == 0 ? held : free, lsn);
        run(HG_NS_PER_MS);
        if (lsn == 10) { /* opened anew in the middle of it */
            hg_peers_stream_gone(a->peers, held);
            run(30 * HG_NS_PER_MS);
        }
    }
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, stream(a, held)->lsn_committed);
    CU_ASSERT_EQUAL(stream(b, free)->lsn_durable, stream(a, free)->lsn_committed);
    member_has(held, 21);
    member_has(free, 21);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 21);
    CU_ASSERT_EQUAL(stream(b, free)->lsn_durable, 21);
    CU_ASSERT_EQUAL(peer_of(a)->held_count + peer_of(a)->returning_count, 0);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap] + a->node.events[HG_EVENT_stream_diverged], 0);
    sites_free();
}

/* What it lacks stays in the log, though the lane's cursor is far beyond. */
static void test_held_keeps_the_log(void)
{
    uint32_t held, free;
    quorum_sites(&held, &free);
    member_has(free, 21);
    member_has(held, 3);
    run(50 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < 20; i++) {
        hg_peers_tick(a->peers, a->node.now_ns);
        hg_streams_retain(a->node.streams, a->node.now_ns);
    }
    CU_ASSERT(hg_streams_peer_needs(a->node.streams, held, 0) <= sending(a, held)->held_at.sequence);
    CU_ASSERT(peer_of(a)->cursor.sequence > sending(a, held)->held_at.sequence);
    member_has(held, 21);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, held)->lsn_durable, 21);
    sites_free();
}

/* The receiver's log is full: its sender waits, nothing is dropped, and all comes when there is room. */
static void test_back_pressure(void)
{
    uint32_t slot = sites_joined();
    stream(a, slot)->codec = HG_CODEC_NONE;
    int32_t consumer = hg_streams_consumer_add(b->node.streams, "slow", 0);
    CU_ASSERT_FATAL(consumer >= 0);
    uint64_t taken = 0;
    for (int i = 0; i < 60; i++) {
        if (stream_node_append(&a->node, slot, 500000) == HG_APPEND_OK)
            taken++;
        run(3 * HG_NS_PER_MS);
        hg_streams_retain(a->node.streams, a->node.now_ns);
        hg_streams_retain(b->node.streams, b->node.now_ns);
    }
    uint64_t there = stream(b, 0)->lsn_durable;
    CU_ASSERT(there > 1 && there < taken + 1);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, there);
    for (int i = 0; i < 200; i++) {
        hg_streams_consumer_advance(b->node.streams, (uint32_t)consumer, stream(b, 0)->lsn_durable);
        hg_streams_retain(a->node.streams, a->node.now_ns);
        hg_streams_retain(b->node.streams, b->node.now_ns);
        run(5 * HG_NS_PER_MS);
    }
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, taken + 1);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], taken + 1);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    sites_free();
}

/* b's log is made anew while a runs: what its former one had is kept for it again until this one has it,
 * though producers would fill a's log with newer entries meanwhile. */
static void test_log_anew(void)
{
    uint32_t slot = sites_joined(), filled = 0;
    stream(a, slot)->codec = HG_CODEC_NONE;
    append(a, slot, 9, 500000);
    run(100 * HG_NS_PER_MS);
    uint64_t first = hg_streams_sequence_of(a->node.streams, slot, 1);
    CU_ASSERT_EQUAL_FATAL(stream(a, slot)->lsn_peer[0], 10);
    CU_ASSERT_EQUAL(hg_streams_peer_needs(a->node.streams, slot, 0), hg_log_append_sequence(a->node.log));
    site_free(b);
    site_make(b, a, 2, NODE_STREAMS_MAX);
    b->node.now_ns = a->node.now_ns;
    CU_ASSERT_EQUAL(configure(b, "one", 11, KV, 1), 0);
    keys();
    for (int i = 0; i < 1000 && a->node.events[HG_EVENT_stream_streaming] < 2; i++) {
        site_turn(a);
        site_turn(b);
    }
    CU_ASSERT_EQUAL_FATAL(a->node.events[HG_EVENT_stream_streaming], 2);
    a->cut = b->cut = true;
    hg_streams_retain(a->node.streams, a->node.now_ns);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 0);
    CU_ASSERT_EQUAL(hg_streams_peer_needs(a->node.streams, slot, 0), first);
    CU_ASSERT_EQUAL(hg_streams_retention(a->node.streams)->holder_count, 1);
    CU_ASSERT_EQUAL(hg_streams_retention(a->node.streams)->holders[0].sequence, first);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer_told[0], 10); /* clients are told no less than before */
    while (filled < 100 && stream_node_append(&a->node, slot, 500000) == HG_APPEND_OK) {
        filled++;
        stream_node_settle(&a->node);
        hg_streams_retain(a->node.streams, a->node.now_ns);
    }
    CU_ASSERT(filled > 0 && filled < 100); /* then producers wait */
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(a->node.streams, slot), 1);
    a->cut = b->cut = false;
    for (int i = 0; i < 400 && stream(a, slot)->lsn_peer[0] < filled + 10; i++) {
        hg_streams_retain(a->node.streams, a->node.now_ns);
        hg_streams_retain(b->node.streams, b->node.now_ns);
        run(10 * HG_NS_PER_MS);
    }
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, filled + 10);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_begin, 1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 0);
    CU_ASSERT_EQUAL(hg_streams_peer_needs(a->node.streams, slot, 0), hg_log_append_sequence(a->node.log));
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers", NULL, NULL);
    CU_add_test(suite, "open, answer, durable", test_open_answer_durable);
    CU_add_test(suite, "received is not durable", test_received_is_not_durable);
    CU_add_test(suite, "a DURABLE that overtakes the answer", test_durable_before_answer);
    CU_add_test(suite, "a sealed taker", test_sealed_taker);
    CU_add_test(suite, "resume after an outage", test_resume);
    CU_add_test(suite, "a log that is made anew", test_log_anew);
    CU_add_test(suite, "make before break", test_make_before_break);
    CU_add_test(suite, "keys renewed", test_keys_renewed);
    CU_add_test(suite, "keys of no lane", test_keys_of_no_lane);
    CU_add_test(suite, "keys used", test_keys_used);
    CU_add_test(suite, "refused as unknown, then configured", test_refused_unknown_then_configured);
    CU_add_test(suite, "refused: system and incarnation", test_refused_system_and_incarnation);
    CU_add_test(suite, "diverged", test_diverged);
    CU_add_test(suite, "gap", test_gap);
    CU_add_test(suite, "gap of an idle stream", test_gap_of_an_idle_stream);
    CU_add_test(suite, "the cursor goes back within a write", test_cursor_goes_back_within_a_write);
    CU_add_test(suite, "a stream that lacks its quorum", test_held_stream);
    CU_add_test(suite, "streams that are committed in turns", test_held_in_turns);
    CU_add_test(suite, "a held stream keeps what it lacks", test_held_keeps_the_log);
    CU_add_test(suite, "back-pressure at the receiver", test_back_pressure);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
