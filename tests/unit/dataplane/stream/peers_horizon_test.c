/* SPDX-License-Identifier: Apache-2.0
 *
 * A peer behind what our log still has: told where that begins, begins anew there by order, and never skips.
 */
#include "dataplane/stream/horizon.h"
#include "dataplane/stream/seal.h"
#include "dataplane/stream/streams_internal.h"
#include "orphan_directory.h"

#define ENTRY 500000u

static uint32_t slot;

/* Appends at a until its log has forgotten everything up to what b has, though b may not hold it. */
static void outlive(uint64_t lsn)
{
    stream(a, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_streams_lsn_oldest(a->node.streams, slot) <= lsn; i++) {
        append(a, slot, 1, ENTRY);
        stream_node_settle(&a->node);
        hg_streams_retain(a->node.streams, a->node.now_ns);
        stream_node_settle(&a->node);
    }
    CU_ASSERT_FATAL(hg_streams_lsn_oldest(a->node.streams, slot) > lsn);
}

/* b has the first entries; then it is cut off, and may not hold a's log for more than a little. */
static void behind(uint32_t entries)
{
    slot = sites_joined();
    hg_streams_configure_begin(a->node.streams);
    configure(a, "one", 11, KV, 1);
    hg_streams_configure_end(a->node.streams);
    if (entries > 0) {
        append(a, slot, entries, 100);
        run(50 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, entries + 1);
    }
    struct hg_retention_limit limit = {.bytes = 1};
    hg_streams_peer_limit(a->node.streams, 0, "b", &limit);
    a->cut = b->cut = true;
    outlive(entries + 1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_holder_let_go], 1);
    a->cut = b->cut = false;
    run(8 * HG_NS_PER_S);
}

static int begin_anew(void)
{
    uint64_t sequence;
    int rc = hg_streams_anew_begin(b->node.streams, slot, &sequence);
    if (rc != 0)
        return rc;
    hg_log_close_write(b->node.log);
    while (hg_log_durable_sequence(b->node.log) < sequence)
        stream_node_turn(&b->node);
    hg_peers_stream_anew(b->peers, slot);
    return 0;
}

static void test_told(void)
{
    behind(3);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 1); /* once, however often it is tried */
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_closed], 1);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_behind], 1);
    CU_ASSERT_EQUAL(b->node.event_last[HG_EVENT_stream_behind].a, 4);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 4); /* nothing was skipped */
    CU_ASSERT(stream(b, slot)->horizon.lsn > 4);
    CU_ASSERT(stream(b, slot)->horizon.lsn >= hg_streams_lsn_oldest(a->node.streams, slot));
    sites_free();
}

/* All of what the origin still has is here, byte for byte and with its chain. */
static void same_from(uint64_t lsn)
{
    const struct hg_stream_state *here = stream(b, slot), *there = stream(a, slot);
    CU_ASSERT_EQUAL(here->lsn_durable, there->lsn_durable);
    CU_ASSERT_EQUAL(memcmp(here->chain_durable, there->chain_durable, sizeof(here->chain_durable)), 0);
    CU_ASSERT_EQUAL(here->lsn_begin, there->lsn_begin);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(b->node.streams, slot), lsn);
}

static void test_begins_anew(void)
{
    behind(3);
    uint64_t lsn = stream(b, slot)->horizon.lsn;
    CU_ASSERT_EQUAL(begin_anew(), 0);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_anew], 1);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, lsn);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_floor, lsn); /* what is below is nobody's to cut off */
    run(100 * HG_NS_PER_MS);                          /* its origin does not wait until it asks again */
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    same_from(lsn);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    same_from(lsn);
    CU_ASSERT_EQUAL(begin_anew(), -ENODATA); /* there is nothing more to it */
    sites_free();
}

static void word_of_horizon(struct hg_wire_stream_horizon *told)
{
    memset(told, 0, sizeof(*told));
    told->control.type = HG_WIRE_STREAM_HORIZON;
    told->control.bytes = sizeof(*told);
    told->control.alias = slot;
    told->control.opening = sending(a, slot)->opening;
    told->stream = stream(a, slot)->stream;
    told->incarnation = stream(a, slot)->incarnation;
    told->lsn_begin = 1;
    told->lsn = stream(b, slot)->lsn_durable + 1000;
    told->epoch = 1;
}

static void horizon_say(const struct hg_wire_stream_horizon *told)
{
    CU_ASSERT_EQUAL(hg_lane_control_send(peer_of(a)->sessions[peer_of(a)->current].lane, &told->control), 0);
    run(50 * HG_NS_PER_MS);
}

/* An order that follows such a word would skip what is on its way. */
static void test_told_late(void)
{
    struct hg_wire_stream_horizon told;
    behind(3);
    CU_ASSERT_EQUAL(begin_anew(), 0);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    struct hg_lane *lane = peer_of(b)->sessions[peer_of(b)->current].lane;
    uint64_t refused = hg_lane_stats(lane)->drop_control_state;
    for (uint8_t before = 0; before < 2; before++) {
        word_of_horizon(&told);
        told.control.opening = (uint8_t)(told.control.opening - before);
        horizon_say(&told);
        CU_ASSERT_EQUAL(begin_anew(), -ENODATA);
    }
    told.control.alias = HG_WIRE_ALIASES_MAX;
    horizon_say(&told);
    CU_ASSERT_EQUAL(hg_lane_stats(lane)->drop_control_state, refused + 3);
    word_of_horizon(&told);
    told.control.opening++; /* of the next one */
    horizon_say(&told);
    CU_ASSERT_EQUAL(stream(b, slot)->horizon.lsn, told.lsn);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_behind], 2);
    sites_free();
}

/* Its origin had what comes next after all. */
static void test_withdrawn(void)
{
    struct hg_wire_stream_horizon told;
    behind(3);
    CU_ASSERT_EQUAL(begin_anew(), 0);
    run(100 * HG_NS_PER_MS);
    word_of_horizon(&told);
    hg_streams_horizon_told(b->node.streams, slot, 0, 0, &told);
    CU_ASSERT_EQUAL(stream(b, slot)->horizon.lsn, told.lsn);
    append(a, slot, 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, stream(a, slot)->lsn_durable);
    CU_ASSERT_EQUAL(begin_anew(), -ENODATA);
    sites_free();
}

static void grow_of(uint32_t which, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++) {
        append(a, which, 1, ENTRY);
        stream_node_settle(&a->node);
        hg_streams_retain(a->node.streams, a->node.now_ns);
        stream_node_settle(&a->node);
    }
}

static void grow(uint32_t entries)
{
    grow_of(slot, entries);
}

/* What is told is kept: an operator has the time that the peer's limit gives. */
static void test_kept(void)
{
    behind(3);
    struct hg_retention_limit limit = {.bytes = 4 * NODE_SEGMENT_BYTES};
    hg_streams_peer_limit(a->node.streams, 0, "b", &limit);
    run(6 * HG_NS_PER_S);
    uint64_t lsn = stream(b, slot)->horizon.lsn, oldest = hg_streams_lsn_oldest(a->node.streams, slot);
    CU_ASSERT(lsn > oldest); /* there is more in the log that the limit lets go of */
    grow(NODE_SEGMENT_BYTES / ENTRY * 2);
    CU_ASSERT(hg_streams_lsn_oldest(a->node.streams, slot) > oldest);
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    same_from(lsn);
    sites_free();
}

/* Also far beyond what the peer may hold, while nobody needs the room: the order that comes then is given
 * once. */
static void test_kept_beyond_the_limit(void)
{
    behind(3);
    uint64_t lsn = stream(b, slot)->horizon.lsn;
    for (uint32_t i = 0; i < 6; i++) {
        grow(NODE_SEGMENT_BYTES / ENTRY);
        run(6 * HG_NS_PER_S); /* it is told again */
        CU_ASSERT_EQUAL(stream(b, slot)->horizon.lsn, lsn);
    }
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    grow(NODE_SEGMENT_BYTES / ENTRY);
    run(2 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    same_from(lsn);
    hg_streams_retain(a->node.streams, a->node.now_ns);
    CU_ASSERT_EQUAL(hg_streams_retention(a->node.streams)->peers[0].offered,
                    0); /* it has what was kept for it */
    sites_free();
}

/* Nobody is pushed back for it: where the room is needed it goes, and what is told then is another one. */
static void test_kept_while_there_is_room(void)
{
    behind(3);
    uint64_t lsn = stream(b, slot)->horizon.lsn;
    grow(NODE_SEGMENTS * NODE_SEGMENT_BYTES / ENTRY); /* each append is taken */
    CU_ASSERT(hg_streams_lsn_oldest(a->node.streams, slot) > lsn);
    run(6 * HG_NS_PER_S);
    CU_ASSERT(stream(b, slot)->horizon.lsn > lsn);
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    run(2 * HG_NS_PER_S);
    same_from(hg_streams_lsn_oldest(b->node.streams, slot));
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    sites_free();
}

/* A client whose tries may lie in what is missing is refused rather than taken for new. */
static void test_clients_forgotten(void)
{
    behind(3);
    struct hg_sessions *sessions = b->node.streams->sessions;
    uint64_t at;
    (void)hg_sessions_add(sessions, 11, 77, 5, 2, 1);
    CU_ASSERT_EQUAL(hg_sessions_ask(sessions, 11, 77, 5, true, false, &at), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    bool forgets = stream(b, slot)->sessions_evicted;
    CU_ASSERT_EQUAL(hg_sessions_ask(sessions, 11, 77, 5, true, forgets, &at), HG_SESSION_EVICTED);
    CU_ASSERT_EQUAL(hg_sessions_ask(sessions, 11, 77, 6, true, forgets, &at), HG_SESSION_EVICTED);
    sites_free();
}

/* What waits for a quorum that the peer is part of: no limit lets go of it. */
static void test_uncommitted(void)
{
    one_region = true;
    sites_make();
    keys();
    slot = 0;
    for (struct site *site = a; site != NULL; site = site == a ? b : NULL) {
        struct hg_config_stream config = config_of_one(site, site == a);
        hg_streams_configure_begin(site->node.streams);
        CU_ASSERT_EQUAL(hg_streams_configure(site->node.streams, &config), 0);
        hg_streams_configure_end(site->node.streams);
    }
    hg_streams_quorum_set(a->node.streams, 1, 2);
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(a, slot)->lsn_committed, 4);
    struct hg_retention_limit limit = {.bytes = 1};
    hg_streams_peer_limit(a->node.streams, 0, "b", &limit);
    a->cut = b->cut = true;
    stream(a, slot)->codec = HG_CODEC_NONE;
    grow(NODE_SEGMENT_BYTES / ENTRY * 6);
    CU_ASSERT(hg_log_sequence_behind(a->node.log, 1) > hg_streams_sequence_of(a->node.streams, slot, 4));
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_holder_let_go], 0);
    hg_streams_quorum_set(a->node.streams, 1, 1);
    grow(1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_holder_let_go], 1);
    one_region = false;
    sites_free();
}

/* A replaced disk: nothing was there. */
static void test_blank(void)
{
    sites_make();
    keys();
    slot = stream_node_configure(&a->node, "one", 11, KV, 1, 0);
    configure(b, "one", 11, KV, 1);
    outlive(1);
    configure(a, "one", 11, KV, 1);
    hg_streams_retain(a->node.streams, a->node.now_ns); /* from now on the peer holds what is left */
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_GAP);
    uint64_t lsn = stream(b, slot)->horizon.lsn;
    grow(NODE_SEGMENT_BYTES / ENTRY); /* it is waited for, as for who was away */
    CU_ASSERT(hg_streams_lsn_oldest(a->node.streams, slot) <= lsn);
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    same_from(lsn);
    sites_free();
}

/* Power goes at b: its log, opened again, without peers. */
static struct stream_node b_power_cut(void)
{
    struct stream_node node = b->node;
    hg_disk_sim_crash(node.disk);
    stream_node_close(&node);
    stream_node_open(&node);
    b->node.streams = node.streams; /* to be freed with the site */
    b->node.log = node.log;
    return node;
}

/* Consumers that had not passed what was here are told of the gap, also by the next process; and a crash on
 * the way leaves the stream as it was or begun anew. */
static void test_crash(void)
{
    for (uint32_t done = 0; done < 2; done++) {
        behind(3);
        uint64_t lsn = stream(b, slot)->horizon.lsn, sequence;
        uint32_t out = (uint32_t)hg_streams_consumer_add(b->node.streams, "out", slot);
        stream_node_settle(&b->node);
        hg_streams_consumer_advance(b->node.streams, out, 2);
        hg_streams_retain(b->node.streams, b->node.now_ns + 2 * HG_STREAMS_CONSUMER_SAVE_NS);
        stream_node_settle(&b->node);
        CU_ASSERT_EQUAL_FATAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), 0);
        CU_ASSERT_EQUAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), -EBUSY);
        if (done == 1)
            stream_node_settle(&b->node);
        struct stream_node node = b_power_cut();
        const struct hg_stream_state *s = hg_streams_at(node.streams, 0);
        CU_ASSERT_EQUAL(s->lsn_durable, done == 1 ? lsn : 4);
        CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 0), done == 1 ? lsn : 1);
        const struct hg_consumer_state *consumer = hg_streams_consumer_at(node.streams, out);
        CU_ASSERT_EQUAL(consumer->lsn, 2);
        CU_ASSERT_EQUAL(consumer->let_go, done == 1);
        sites_free();
    }
}

/* `filler` goes on until the site's log has a segment that begins, with a table, behind `sequence`. */
static void roll(struct site *site, uint32_t filler, uint64_t sequence, uint64_t step_ns)
{
    struct hg_log *log = site->node.log;
    stream(site, filler)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 100 && hg_log_segment_last(log, sequence) >= hg_log_durable_sequence(log); i++) {
        append(site, filler, 1, ENTRY);
        stream_node_settle(&site->node);
        hg_streams_retain(site->node.streams, site->node.now_ns += step_ns);
    }
    stream_node_settle(&site->node);
    CU_ASSERT_FATAL(hg_log_segment_last(log, sequence) < hg_log_durable_sequence(log));
}

/* The log goes on while it is on its way: a segment begins, with a table, positions of consumers are put
 * down. Recovery must be able to follow. */
static void test_crash_behind_a_table(void)
{
    behind(3);
    hg_streams_configure_begin(b->node.streams);
    configure(b, "one", 11, KV, 1);
    uint32_t other = configure(b, "two", 12, KV, 2);
    hg_streams_configure_end(b->node.streams);
    uint64_t lsn = stream(b, slot)->horizon.lsn, sequence, at;
    uint32_t out = (uint32_t)hg_streams_consumer_add(b->node.streams, "out", slot);
    (void)hg_sessions_add(b->node.streams->sessions, 11, 77, 5, 2, 1);
    stream_node_settle(&b->node);
    hg_streams_consumer_advance(b->node.streams, out, 4); /* all that is here */
    CU_ASSERT_EQUAL_FATAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), 0);
    roll(b, other, sequence, 2 * HG_STREAMS_CONSUMER_SAVE_NS);
    struct stream_node node = b_power_cut();
    const struct hg_stream_state *s =
        hg_streams_at(node.streams, (uint32_t)hg_streams_find(node.streams, 11));
    CU_ASSERT_FALSE(hg_streams_recovery_broken(node.streams));
    CU_ASSERT_EQUAL(s->lsn_durable, lsn);
    CU_ASSERT_EQUAL(hg_sessions_ask(node.streams->sessions, 11, 77, 6, true, s->sessions_evicted, &at),
                    HG_SESSION_EVICTED);
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, out)->lsn, 4);
    CU_ASSERT(hg_streams_consumer_at(node.streams, out)->let_go);
    sites_free();
}

static uint32_t filler; /* of another group */

static void joined_beside_another(void)
{
    struct hg_config_stream config = {
        .name = "two", .stream = 12, .kind = KV, .region = 1, .group = 1, .epoch = 1};
    /* The tail's next segment is within it when the tail first moves: four are kept free of producers. */
    struct hg_retention_limit limit = {.bytes = (NODE_SEGMENTS - 6) * NODE_SEGMENT_BYTES};
    slot = sites_joined();
    hg_streams_configure_begin(a->node.streams);
    configure(a, "one", 11, KV, 1);
    CU_ASSERT_EQUAL(hg_streams_configure(a->node.streams, &config), 0);
    hg_streams_configure_end(a->node.streams);
    filler = (uint32_t)hg_streams_find(a->node.streams, 12);
    hg_streams_peer_limit(a->node.streams, 0, "b", &limit);
}

/* b has one entry of two, which are committed; then it is cut off. */
static void cut_off_with_one_of_two(void)
{
    append(a, slot, 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, 2);
    a->cut = b->cut = true;
    append(a, slot, 1, 100);
    stream_node_settle(&a->node);
    CU_ASSERT_EQUAL_FATAL(stream(a, slot)->lsn_committed, 3);
}

static void cut_off_beside_another(void)
{
    joined_beside_another();
    cut_off_with_one_of_two();
}

static void epoch_begins(uint64_t epoch)
{
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&a->node);
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_begin(a->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&a->node);
}

/* Another node is to write what follows on the point, and a is cut to it. */
static void cut_to(const struct hg_cut_point *point)
{
    struct orphan_directory directory = {0};
    enum hg_group_reason reason = HG_GROUP_WOULD_BLOCK;
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, point->epoch), HG_GROUP_OK);
    stream_node_settle(&a->node);
    for (int i = 0; i < 100 && reason == HG_GROUP_WOULD_BLOCK; i++) {
        reason = hg_streams_cut(a->node.streams, slot, point, a->node.now_ns);
        orphan_directory_turn(&directory, a);
        stream_node_turn(&a->node);
    }
    CU_ASSERT_EQUAL_FATAL(reason, HG_GROUP_OK);
    stream_node_settle(&a->node);
    orphan_directory_empty(&directory);
}

/* a writes again, under `epoch`, until its log begins with the table that was written before the cut: what b
 * is told comes of a later one. */
static void told_of_a_later_table(uint64_t epoch, uint64_t table)
{
    epoch_begins(epoch);
    CU_ASSERT_EQUAL(hg_streams_group_release(a->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&a->node);
    hg_peers_stream_epoch(a->peers, slot);
    stream(a, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_log_tail_sequence(a->node.log) < table; i++)
        grow(1);
    CU_ASSERT_EQUAL_FATAL(hg_log_tail_sequence(a->node.log), table);
    CU_ASSERT_EQUAL_FATAL(hg_streams_peer_kept_from(a->node.streams, 0, a->node.now_ns), table);
    CU_ASSERT(hg_streams_lsn_oldest(a->node.streams, slot) < 3); /* nobody has read from there yet */
    a->cut = b->cut = false;
    run(8 * HG_NS_PER_S);
    CU_ASSERT(stream(b, slot)->horizon.lsn > 5);
    CU_ASSERT_EQUAL(stream(b, slot)->horizon.epoch, epoch);
    uint64_t lsn = stream(b, slot)->horizon.lsn;
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_not_cut], 0);
    same_from(lsn);
    sites_free();
}

/* What was cut off stands in a table of before; the history that took its place went on beyond it. */
static void test_table_of_what_was_cut_off(void)
{
    cut_off_beside_another();
    struct hg_cut_point point = {.epoch = 3, .lsn = 3, .epoch_common = HG_EPOCH_FIRST};
    memcpy(point.chain, stream(a, slot)->chain_durable, sizeof(point.chain));
    hg_streams_quorum_set(a->node.streams, 1, 2);
    append(a, slot, 2, 100);
    stream_node_settle(&a->node);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_durable, 5);
    uint64_t sequence = hg_log_durable_sequence(a->node.log);
    roll(a, filler, sequence, 0);
    cut_to(&point);
    hg_streams_quorum_set(a->node.streams, 1, 1);
    told_of_a_later_table(4, hg_log_segment_last(a->node.log, sequence) + 1);
}

/* An epoch that was begun here, that nobody else has, and that was taken back. */
static void test_table_of_an_epoch_taken_back(void)
{
    cut_off_beside_another();
    struct hg_cut_point point = {.epoch = 3, .lsn = 3, .epoch_common = HG_EPOCH_FIRST};
    memcpy(point.chain, stream(a, slot)->chain_durable, sizeof(point.chain));
    epoch_begins(2);
    uint64_t sequence = hg_log_durable_sequence(a->node.log);
    roll(a, filler, sequence, 0);
    cut_to(&point);
    CU_ASSERT_EQUAL(hg_history_last(&stream(a, slot)->history).epoch, HG_EPOCH_FIRST);
    told_of_a_later_table(4, hg_log_segment_last(a->node.log, sequence) + 1);
}

/* a begins `epoch` for all of the group, and b is there again. */
static void joined_anew(uint64_t epoch, uint32_t above)
{
    epoch_begins(epoch);
    CU_ASSERT_EQUAL(hg_streams_group_release(a->node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&a->node);
    hg_peers_stream_epoch(a->peers, slot);
    hg_peers_stream_epoch(a->peers, above);
    a->cut = b->cut = false;
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 1);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(sending(a, above)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_TRUE(stream(b, slot)->horizon.told);
}

/* The stream rests, and the log has nothing of it any more: a join that looks for a place in it comes to an
 * end, and those of other streams are not kept waiting. */
static void test_nothing_left(void)
{
    joined_beside_another();
    uint32_t above = configure(a, "three", 13, KV, 1);
    (void)configure(b, "three", 13, KV, 1);
    append(a, above, 1, 100);
    cut_off_with_one_of_two();
    stream(a, filler)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_streams_lsn_oldest(a->node.streams, slot) < 3; i++)
        grow_of(filler, 1);
    CU_ASSERT_EQUAL_FATAL(hg_streams_lsn_oldest(a->node.streams, slot), 3);
    joined_anew(2, above);
    CU_ASSERT_EQUAL(stream(b, slot)->horizon.lsn, 3);
    CU_ASSERT_EQUAL_FATAL(begin_anew(), 0);
    run(8 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    same_from(3);
    sites_free();
}

/* What was cut off is all that the log still has of it, and the index begins in what is gone. */
static void test_only_what_was_cut_off_left(void)
{
    joined_beside_another();
    uint32_t above = configure(a, "three", 13, KV, 1);
    (void)configure(b, "three", 13, KV, 1);
    append(a, above, 1, 100);
    cut_off_with_one_of_two();
    struct hg_cut_point point = {.epoch = 3, .lsn = 3, .epoch_common = HG_EPOCH_FIRST};
    memcpy(point.chain, stream(a, slot)->chain_durable, sizeof(point.chain));
    uint64_t sequence = hg_streams_sequence_of(a->node.streams, slot, 2);
    stream(a, filler)->codec = HG_CODEC_NONE;
    grow_of(filler, 4 * NODE_SEGMENT_BYTES / ENTRY);
    hg_streams_quorum_set(a->node.streams, 1, 2);
    append(a, slot, 2, 100);
    stream_node_settle(&a->node);
    uint64_t dead = stream(a, slot)->sequence_last;
    cut_to(&point);
    hg_streams_quorum_set(a->node.streams, 1, 1);
    for (int i = 0; i < 400 && hg_log_tail_sequence(a->node.log) <= sequence; i++)
        grow_of(filler, 1);
    CU_ASSERT_FATAL(hg_log_tail_sequence(a->node.log) > sequence);
    CU_ASSERT_FATAL(hg_log_tail_sequence(a->node.log) <= dead);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(a->node.streams, slot), 2); /* nobody has read from there yet */
    joined_anew(4, above);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(a->node.streams, slot), 3);
    CU_ASSERT_EQUAL(stream(b, slot)->horizon.lsn, 3);
    sites_free();
}

/* Where an epoch begins in the stream is not settled until then. */
static void test_epoch_waits(void)
{
    slot = sites_joined();
    CU_ASSERT_EQUAL(hg_streams_group_seal(a->node.streams, 0, 2), HG_GROUP_OK);
    stream_node_settle(&a->node);
    stream(a, slot)->anew_pending = true;
    CU_ASSERT_EQUAL(hg_streams_group_begin(a->node.streams, 0, 2), HG_GROUP_WOULD_BLOCK);
    stream(a, slot)->anew_pending = false;
    CU_ASSERT_EQUAL(hg_streams_group_begin(a->node.streams, 0, 2), HG_GROUP_OK);
    sites_free();
}

/* The last entry of a segment is sent, lost on its way, and forgotten before it is sent again: where the log
 * begins is told behind it, though the index knows that only to a write. */
static void test_forgotten_on_its_way(void)
{
    struct hg_retention_limit limit = {.bytes = 1};
    struct hg_log *log;
    uint64_t lsn = 0, sequence = 0;
    slot = sites_joined();
    hg_streams_peer_limit(a->node.streams, 0, "b", &limit);
    stream(a, slot)->codec = HG_CODEC_NONE;
    log = a->node.log;
    for (int i = 0; i < 100 && sequence == 0; i++) {
        a->cut = b->cut = false;
        run(200 * HG_NS_PER_MS);
        lsn = stream(a, slot)->lsn_durable;
        CU_ASSERT_EQUAL_FATAL(stream(b, slot)->lsn_durable, lsn);
        a->cut = b->cut = true;
        append(a, slot, 1, ENTRY);
        run(5 * HG_NS_PER_MS);
        append(a, slot, 1, ENTRY);
        run(5 * HG_NS_PER_MS);
        sequence = hg_streams_sequence_of(a->node.streams, slot, lsn);
        if (sequence != hg_log_segment_last(log, sequence))
            sequence = 0;
    }
    CU_ASSERT_FATAL(sequence != 0);
    for (int i = 0; i < 400 && hg_log_tail_sequence(log) <= sequence; i++)
        grow(1);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_gap], 1);
    CU_ASSERT_EQUAL(a->node.event_last[HG_EVENT_stream_gap].a, lsn);
    CU_ASSERT(a->node.event_last[HG_EVENT_stream_gap].b > lsn);
    sites_free();
}

static void test_refusals(void)
{
    uint64_t sequence;
    slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_streams_anew_begin(a->node.streams, slot, &sequence), -EPERM);
    CU_ASSERT_EQUAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), -ENODATA);
    struct hg_wire_stream_horizon old = {.stream = 11, .lsn = 3};
    hg_streams_horizon_told(b->node.streams, slot, 0, 0, &old); /* it is here */
    CU_ASSERT_EQUAL(hg_streams_anew_begin(b->node.streams, slot, &sequence), -ENODATA);
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_horizon", NULL, NULL);
    CU_add_test(suite, "a peer behind is told where the log begins", test_told);
    CU_add_test(suite, "and begins anew there", test_begins_anew);
    CU_add_test(suite, "told late", test_told_late);
    CU_add_test(suite, "withdrawn by what comes", test_withdrawn);
    CU_add_test(suite, "what is told is kept", test_kept);
    CU_add_test(suite, "beyond the peer's limit too", test_kept_beyond_the_limit);
    CU_add_test(suite, "while there is room", test_kept_while_there_is_room);
    CU_add_test(suite, "clients of what is missing are forgotten", test_clients_forgotten);
    CU_add_test(suite, "what is not committed is not let go of", test_uncommitted);
    CU_add_test(suite, "a replaced disk", test_blank);
    CU_add_test(suite, "a crash on the way, and consumers", test_crash);
    CU_add_test(suite, "a crash behind a table that came meanwhile", test_crash_behind_a_table);
    CU_add_test(suite, "a table of what was cut off since", test_table_of_what_was_cut_off);
    CU_add_test(suite, "a table of an epoch that was taken back since", test_table_of_an_epoch_taken_back);
    CU_add_test(suite, "nothing of the stream is left", test_nothing_left);
    CU_add_test(suite, "only what was cut off is left", test_only_what_was_cut_off_left);
    CU_add_test(suite, "an epoch waits for it", test_epoch_waits);
    CU_add_test(suite, "forgotten on its way", test_forgotten_on_its_way);
    CU_add_test(suite, "refusals", test_refusals);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
