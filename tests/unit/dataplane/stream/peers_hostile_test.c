/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of peers that find no place, contradict each other, or say anything.
 */
#include "dataplane/stream/seal.h"
#include "peers_pair.h"

/* ---- frames that find no place ---- */

/* Fills the table of control frames of a lane; its frames are lost on the way. */
static void control_table_fill(struct site *site)
{
    struct hg_lane *lane = peer_of(site)->sessions[peer_of(site)->current].lane;
    struct hg_wire_stream_close close = {.control = {.type = HG_WIRE_STREAM_CLOSE, .bytes = sizeof(close)}};
    site->cut = true;
    do
        close.control.alias++;
    while (hg_lane_control_send(lane, &close.control) == 0);
}

static void test_durable_waits_for_a_place(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    control_table_fill(b);
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 3);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 2);
    b->cut = false; /* nothing more is appended */
    for (int i = 0; i < 20; i++) {
        b->node.now_ns += 20 * HG_NS_PER_MS;
        a->node.now_ns += 20 * HG_NS_PER_MS;
        stream_node_turn(&a->node);
        stream_node_turn(&b->node);
        hg_peers_tick(a->peers, a->node.now_ns);
        hg_peers_tick(b->peers, b->node.now_ns);
        packets_pass(a);
        packets_pass(b);
    }
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 3);
    sites_free();
}

static void test_refuse_waits_for_a_place(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    control_table_fill(b);
    stream(b, 0)->chain_sealed[0] ^= 1;
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_refused_batch], 1);
    b->cut = false;
    idle(HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_DIVERGED);
    sites_free();
}

/* The REFUSE found no place, and meanwhile the origin opened the stream anew: it says nothing of that. */
static void test_refuse_of_an_opening_that_is_over(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    control_table_fill(b);
    hg_peers_stream_leave(b->peers, 0);
    CU_ASSERT_TRUE(peer_of(b)->aliases[slot].refuse_unsent);
    stream_node_configure(&a->node, "one", 11, KV, 1, 0);
    run(150 * HG_NS_PER_MS);
    configure(a, "one", 11, KV, 1);
    run(150 * HG_NS_PER_MS);
    uint8_t opening = sending(a, slot)->opening;
    b->cut = false;
    idle(2 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    CU_ASSERT_EQUAL(sending(a, slot)->opening, opening);
    CU_ASSERT_FALSE(peer_of(b)->aliases[slot].refuse_unsent);
    append(a, slot, 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 3);
    sites_free();
}

static void test_close_waits_for_a_place(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    CU_ASSERT(peer_of(b)->aliases[slot].slot >= 0);
    control_table_fill(a);
    stream_node_configure(&a->node, "one", 11, KV, 1, 0);
    run(30 * HG_NS_PER_MS);
    a->cut = false;
    idle(HG_NS_PER_S);
    CU_ASSERT_EQUAL(peer_of(b)->aliases[slot].slot, -1);
    sites_free();
}

/* ---- peers that say anything ---- */

static int32_t say(struct site *site, const struct hg_wire_control *control)
{
    int rc = hg_lane_control_send(peer_of(site)->sessions[peer_of(site)->current].lane, control);
    run(20 * HG_NS_PER_MS);
    return rc;
}

/* The origin has more streams than we have places: its aliases go up to the wire's limit all the same. */
static void test_alias_beyond_our_streams(void)
{
    char error[128];
    CU_ASSERT_EQUAL_FATAL(hg_esp_start(error, sizeof(error)), 0);
    site_make(a, b, 1, NODE_STREAMS_MAX);
    site_make(b, a, 2, 2);
    keys();
    for (uint64_t id = 1; id <= 5; id++)
        configure(a, "other", id, KV, 1);
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 4);
    sites_free();
}

/* The OPEN by which a peer of `region` offers the stream of this id. */
static struct hg_wire_stream_open open_of(uint32_t alias, uint64_t id, uint16_t kind, uint16_t region)
{
    return (struct hg_wire_stream_open){.control = {.type = HG_WIRE_STREAM_OPEN,
                                                    .bytes = hg_wire_control_bytes(HG_WIRE_STREAM_OPEN),
                                                    .alias = alias},
                                        .stream = id,
                                        .incarnation = 1,
                                        .epoch = 1,
                                        .lsn_begin = 1,
                                        .kind = kind,
                                        .region = region};
}

/* Only a peer of the stream's region of origin may send it. */
static void test_open_from_another_region(void)
{
    sites_make();
    keys();
    configure(a, "one", 11, KV, 1);
    configure(b, "third", 31, KV, 3);
    run(30 * HG_NS_PER_MS);
    struct hg_wire_stream_open open = open_of(3, 31, KV, 3);
    memset(open.name, 'x', sizeof(open.name)); /* not terminated */
    CU_ASSERT_EQUAL(say(a, &open.control), 0);
    CU_ASSERT_EQUAL(peer_of(b)->aliases[3].slot, -1);
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_not_here], 1);
    CU_ASSERT_EQUAL(strlen(b->node.event_last[HG_EVENT_stream_not_here].subject), HG_NAME_BYTES - 1);
    sites_free();
}

/* An alias that is opened for another stream is that stream's from then on. */
static void test_alias_opened_twice(void)
{
    (void)sites_joined();
    configure(b, "two", 12, KV, 1);
    run(30 * HG_NS_PER_MS);
    struct hg_wire_stream_open open = open_of(9, 11, KV, 1);
    CU_ASSERT_EQUAL(say(a, &open.control), 0);
    CU_ASSERT_EQUAL(peer_of(b)->aliases[9].slot, 0);
    open.stream = 12;
    CU_ASSERT_EQUAL(say(a, &open.control), 0);
    CU_ASSERT_EQUAL(peer_of(b)->aliases[9].slot, 1);
    sites_free();
}

/* A peer that says it has what it was never sent is wrong about its history or about the truth. */
static void test_durable_beyond_what_there_is(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 1, 100);
    run(30 * HG_NS_PER_MS);
    struct hg_wire_stream_durable durable = {
        .control = {.type = HG_WIRE_STREAM_DURABLE, .bytes = sizeof(durable), .alias = slot},
        .lsn_durable = UINT64_MAX};
    CU_ASSERT_EQUAL(say(b, &durable.control), 0);
    append(a, slot, 1, 100);
    a->cut = true;
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 2);
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_DIVERGED);
    a->cut = false;
    run(500 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(b->node.event_last[HG_EVENT_stream_closed].a, HG_WIRE_CLOSED_DIVERGED);
    sites_free();
}

/* Frames of streams that are not open are dropped, and each is counted. */
static void test_frames_of_nothing(void)
{
    (void)sites_joined();
    run(30 * HG_NS_PER_MS);
    struct hg_lane *lane = peer_of(b)->sessions[peer_of(b)->current].lane;
    uint64_t before = hg_lane_stats(lane)->drop_control_state, count = 0;
    for (uint8_t type = HG_WIRE_STREAM_ANSWER; hg_wire_control_bytes(type) != 0; type++) {
        union {
            struct hg_wire_control control;
            uint8_t bytes[HG_WIRE_CONTROL_BYTES_MAX];
        } frame = {.control = {.type = type, .bytes = hg_wire_control_bytes(type), .alias = 9}};
        CU_ASSERT_EQUAL(say(a, &frame.control), 0);
        CU_ASSERT_EQUAL(hg_lane_stats(lane)->drop_control_state, before + ++count);
    }
    CU_ASSERT_EQUAL(count, 12);
    sites_free();
}

/* A member that says it promised what is no epoch: whoever fails over would look for a higher one. */
static void test_tail_with_no_epoch(void)
{
    struct hg_control_tail tail;
    (void)sites_joined();
    hg_streams_quorum_set(a->node.streams, 1, 1); /* of one: they are of two regions */
    hg_streams_quorum_set(b->node.streams, 1, 1);
    run(30 * HG_NS_PER_MS);
    const uint64_t *refusals = hg_streams_group_counts(b->node.streams);
    struct hg_wire_group_tail frame = {.control = {.type = HG_WIRE_GROUP_TAIL,
                                                   .bytes = hg_wire_control_bytes(HG_WIRE_GROUP_TAIL),
                                                   .alias = HG_WIRE_ALIASES_MAX},
                                       .epoch = 5,
                                       .logs = 1};
    for (uint32_t i = 1; i < 3; i++) {
        frame.epoch_promised = i == 1 ? (uint64_t)HG_EPOCH_MAX + 1 : UINT64_MAX;
        CU_ASSERT_EQUAL(say(a, &frame.control), 0);
        CU_ASSERT_FALSE(hg_peers_group_answer(b->peers, &tail));
        CU_ASSERT_EQUAL(refusals[HG_GROUP_seal_limit], i);
    }
    frame.epoch_promised = HG_EPOCH_MAX;
    CU_ASSERT_EQUAL(say(a, &frame.control), 0);
    CU_ASSERT_TRUE(hg_peers_group_answer(b->peers, &tail));
    CU_ASSERT_EQUAL(tail.epoch_promised, HG_EPOCH_MAX);
    sites_free();
}

/* Any field, any alias, in any state: nothing but names. */
static void test_hostile_frames(void)
{
    static const uint32_t aliases[] = {0,         1, 15, 16, HG_WIRE_ALIASES_MAX - 1, HG_WIRE_ALIASES_MAX,
                                       UINT32_MAX};
    (void)sites_joined();
    configure(b, "pg", 13, PHYSICAL, 1);
    append(a, 0, 1, 100);
    run(30 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < 12 * HG_COUNT(aliases); i++) {
        uint8_t type = (uint8_t)(HG_WIRE_CONTROL_FIRST + i % 12);
        union {
            struct hg_wire_control control;
            struct hg_wire_stream_open open;
            uint8_t bytes[HG_WIRE_CONTROL_BYTES_MAX];
        } frame;
        for (int fill = 0; fill < 3; fill++) {
            memset(&frame, fill == 0 ? 0 : fill == 1 ? 0xff : 0x55, sizeof(frame));
            frame.control = (struct hg_wire_control){
                .type = type, .bytes = hg_wire_control_bytes(type), .alias = aliases[i / 12]};
            (void)say(a, &frame.control);
            (void)say(b, &frame.control);
            if (type != HG_WIRE_STREAM_OPEN)
                continue;
            frame.open.stream = i % 2 == 0 ? 11 : 13;
            frame.open.kind = i % 2 == 0 ? KV : PHYSICAL;
            frame.open.region = 1;
            (void)say(a, &frame.control);
        }
    }
    CU_ASSERT_EQUAL(stream(a, 0)->lsn_durable, 2);
    CU_ASSERT(hg_peers_opens_refused(b->peers)[HG_WIRE_REFUSED_LIMIT] > 0);
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_hostile", NULL, NULL);
    CU_add_test(suite, "DURABLE waits for a place", test_durable_waits_for_a_place);
    CU_add_test(suite, "REFUSE waits for a place", test_refuse_waits_for_a_place);
    CU_add_test(suite, "a REFUSE that is too late", test_refuse_of_an_opening_that_is_over);
    CU_add_test(suite, "CLOSE waits for a place", test_close_waits_for_a_place);
    CU_add_test(suite, "an alias beyond our streams", test_alias_beyond_our_streams);
    CU_add_test(suite, "an open from another region", test_open_from_another_region);
    CU_add_test(suite, "an alias opened twice", test_alias_opened_twice);
    CU_add_test(suite, "durable beyond what there is", test_durable_beyond_what_there_is);
    CU_add_test(suite, "frames of nothing", test_frames_of_nothing);
    CU_add_test(suite, "a tail with no epoch", test_tail_with_no_epoch);
    CU_add_test(suite, "hostile frames", test_hostile_frames);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
