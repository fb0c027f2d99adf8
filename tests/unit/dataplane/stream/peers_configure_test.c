/* SPDX-License-Identifier: Apache-2.0
 *
 * What a configuration changes while peers are at work: streams taken away, peers removed, keys replaced.
 */
#include "dataplane/stream/peers_internal.h"
#include "peers_pair.h"

/* ---- a stream is taken away from a peer ---- */

static void test_no_longer_wanted(void)
{
    sites_make();
    keys();
    uint32_t gone = configure(a, "gone", 11, KV, 1), kept = configure(a, "kept", 12, KV, 1);
    configure(b, "gone", 11, KV, 1);
    configure(b, "kept", 12, KV, 1);
    stream(a, gone)->codec = HG_CODEC_NONE;
    append(a, gone, 3, 100);
    append(a, kept, 3, 100);
    run(50 * HG_NS_PER_MS);
    a->cut = true; /* some of it is on its way when the configuration changes */
    append(a, gone, 3, 200000);
    run(20 * HG_NS_PER_MS);
    stream_node_configure(&a->node, "gone", 11, KV, 1, 0);
    for (int i = 0; i < 40; i++) { /* ... and the log forgets it */
        append(a, gone, 1, 500000);
        run(3 * HG_NS_PER_MS);
        hg_streams_retain(a->node.streams, a->node.now_ns);
        append(a, kept, 1, 100);
        hg_streams_peer_durable(a->node.streams, kept, 0, stream(a, kept)->lsn_durable); /* lets it go */
    }
    CU_ASSERT(hg_log_tail_sequence(a->node.log) > 1);
    CU_ASSERT_EQUAL(sending(a, gone)->state, HG_PEER_STREAM_CLOSED);
    a->cut = false;
    run(500 * HG_NS_PER_MS);
    uint64_t there = stream(b, 0)->lsn_durable;
    CU_ASSERT(there <= 7);
    append(a, gone, 3, 1000);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, there);
    CU_ASSERT_EQUAL(sending(a, kept)->state, HG_PEER_STREAM_GAP); /* what was under way can't be read again */
    CU_ASSERT_EQUAL(b->node.events[HG_EVENT_stream_closed], 2);   /* each with its reason */
    const struct hg_event *closed = &b->node.event_last[HG_EVENT_stream_closed];
    CU_ASSERT_EQUAL(closed->a,
                    strcmp(closed->subject, "gone") == 0 ? HG_WIRE_CLOSED_WITHDRAWN : HG_WIRE_CLOSED_GAP);
    /* Given back, it opens again, and has a gap too: the log has forgotten. */
    configure(a, "gone", 11, KV, 1);
    run(200 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, gone)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(hg_lane_stats(peer_of(a)->sessions[peer_of(a)->current].lane)->bytes_in_flight, 0);
    sites_free();
}

/* A frame of an opening that is over, however late it comes. */
static void say_late(struct site *from, uint8_t type, uint32_t alias, uint8_t opening)
{
    struct hg_wire_stream_close frame = {
        .control = {.type = type, .bytes = hg_wire_control_bytes(type), .alias = alias, .opening = opening},
        .reason = type == HG_WIRE_STREAM_CLOSE ? HG_WIRE_CLOSED_WITHDRAWN : HG_WIRE_REFUSED_BATCH};
    struct hg_lane *lane = peer_of(from)->sessions[peer_of(from)->current].lane;
    CU_ASSERT_EQUAL(hg_lane_control_send(lane, &frame.control), 0);
    run(50 * HG_NS_PER_MS);
}

static void test_opened_again(void)
{
    uint32_t slot = sites_joined();
    uint32_t rekeys = a->rekeys;
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    for (uint64_t times = 1; times <= 300; times++) { /* the number of openings overflows */
        stream_node_configure(&a->node, "one", 11, KV, 1, 0);
        run(110 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(peer_of(b)->aliases[slot].slot, -1);
        configure(a, "one", 11, KV, 1);
        run(150 * HG_NS_PER_MS);
        append(a, slot, 1, 100);
        run(50 * HG_NS_PER_MS);
        CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4 + times);
    }
    uint8_t now = sending(a, slot)->opening;
    CU_ASSERT_EQUAL(now, 300 & 255);
    say_late(a, HG_WIRE_STREAM_CLOSE, slot, (uint8_t)(now - 1));
    say_late(b, HG_WIRE_STREAM_REFUSE, slot, (uint8_t)(now - 1));
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    append(a, slot, 1, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_peer[0], 305);
    CU_ASSERT_EQUAL(a->rekeys, rekeys);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 0);
    say_late(b, HG_WIRE_STREAM_REFUSE, slot, now);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_stream_diverged], 1);
    sites_free();
}

/* ---- configuration ---- */

static const struct hg_peer_session *session_of(uint32_t spi)
{
    uint32_t place;
    return hg_peers_session_of_spi(a->peers, spi, &place);
}

/* Removed and named again: its memory comes and goes, its number stays, and data flows as from a new peer. */
static void test_peer_removed(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    keys_one(a, 2000, 2001); /* and others wait */
    hg_peers_configure_begin(a->peers);
    hg_peers_configure_end(a->peers, a->node.now_ns);
    struct hg_peer *peer = peer_of(a);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_peer_removed], 1);
    CU_ASSERT_EQUAL(peer->state, HG_PEER_REMOVED);
    CU_ASSERT_EQUAL(peer->current, -1);
    CU_ASSERT_EQUAL(peer->next, -1);
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        CU_ASSERT_FALSE(peer->sessions[i].live);
        CU_ASSERT_PTR_NULL(peer->sessions[i].memory);
    }
    CU_ASSERT_PTR_NULL(session_of(2001));
    struct hg_handshake_keys late = {
        .generation = 9, .lane_generation = 9, .workers_remote = 1, .spi_tx = 2002, .spi_rx = 2003};
    hg_peers_keys(a->peers, 0, &late, a->node.now_ns); /* were on their way */
    CU_ASSERT_PTR_NULL(session_of(2003));
    append(a, slot, 2, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    hg_peers_configure_begin(a->peers);
    hg_peers_configure_end(a->peers, a->node.now_ns);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_peer_removed], 1); /* said once */
    struct hg_config_peer config = peer_config(2);
    hg_peers_configure_begin(a->peers);
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, a->node.now_ns), 0);
    hg_peers_configure_end(a->peers, a->node.now_ns);
    keys();
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer->state, HG_PEER_UP);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 6);
    sites_free();
}

/* What a peer was sent counts over all its sessions, the drops of them too. */
static void test_totals(void)
{
    struct hg_lane_stats before, after;
    uint32_t slot = sites_joined();
    append(a, slot, 3, 5000);
    run(50 * HG_NS_PER_MS);
    hg_peers_totals(peer_of(a), &before);
    CU_ASSERT(before.data_bytes_sent > 0 && before.packets_sent > 0 && before.srtt_ns > 0);
    struct hg_lane_stats *lane =
        (struct hg_lane_stats *)(uintptr_t)hg_lane_stats(peer_of(a)->sessions[peer_of(a)->current].lane);
    lane->data_bytes_resent = 640;
    lane->drop_duplicate = 3;
    keys();
    run(50 * HG_NS_PER_MS);
    append(a, slot, 1, 5000);
    run(50 * HG_NS_PER_MS);
    hg_peers_totals(peer_of(a), &after);
    CU_ASSERT_EQUAL(after.data_bytes_resent, 640);
    CU_ASSERT_EQUAL(after.drop_duplicate, 3);
    CU_ASSERT(after.data_bytes_sent > before.data_bytes_sent);
    CU_ASSERT(after.packets_sent > before.packets_sent);
    hg_peers_configure_begin(a->peers);
    hg_peers_configure_end(a->peers, a->node.now_ns); /* without a session too */
    hg_peers_totals(peer_of(a), &before);
    CU_ASSERT_EQUAL(before.data_bytes_sent, after.data_bytes_sent);
    CU_ASSERT_EQUAL(before.bytes_in_flight + before.srtt_ns, 0);
    sites_free();
}

/* Another pre-shared key: the session goes on until new keys take over, or its time is up. */
static void test_pre_shared_key_changed(void)
{
    sites_make();
    keys();
    run(30 * HG_NS_PER_MS);
    keys_one(a, 2000, 2001); /* of the former key: never to be used */
    hg_peers_key_changed(a->peers, 0, a->node.now_ns);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_peer_key_changed], 1);
    CU_ASSERT_PTR_NULL(session_of(2001));
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_UP);
    keys();
    run(30 * HG_NS_PER_MS);
    CU_ASSERT(peer_of(a)->current >= 0 && peer_of(a)->sessions[peer_of(a)->current].end_ns == 0);
    hg_peers_key_changed(a->peers, 0, a->node.now_ns);
    hg_peers_tick(a->peers, a->node.now_ns + HG_PEER_KEY_GRACE_NS - 1);
    CU_ASSERT(peer_of(a)->current >= 0);
    hg_peers_tick(a->peers, a->node.now_ns + HG_PEER_KEY_GRACE_NS);
    CU_ASSERT_EQUAL(peer_of(a)->current, -1);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_HANDSHAKE);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_peer_key_over], 1);
    keys();
    run(30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_UP);
    sites_free();
}

/* All lanes share what the node has for receiving: one too many is refused by name, and has room later. */
static void test_receive_memory(void)
{
    sites_make();
    struct hg_config_peer config = peer_config(2);
    config.node = 60;
    a->peers->config.receive_bytes_total = 24u << 20; /* twice 8 MB of it are taken */
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), -ENOMEM);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_lane_refused], 1);
    config.receive_bytes_max = 4u << 20;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
    CU_ASSERT_EQUAL(a->peers->receive_bytes_taken, 24u << 20);
    hg_peers_configure_begin(a->peers);
    hg_peers_configure_end(a->peers, 0);
    CU_ASSERT_EQUAL(a->peers->receive_bytes_taken, 0);
    a->peers->config.receive_bytes_total = UINT64_C(1) << 30; /* an eighth of it for two sessions */
    config.receive_bytes_max = 0;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
    CU_ASSERT_EQUAL(a->peers->receive_bytes_taken, 128u << 20);
    sites_free();
}

/* Places for what the rate puts on the way; a later change of the rate changes nothing about them. */
static void test_packets_in_flight(void)
{
    static const struct {
        uint64_t rate_bytes_per_s;
        uint32_t packets;
    } cases[] = {{0, HG_PEER_PACKETS_IN_FLIGHT_ANY},
                 {1000000, HG_PEER_PACKETS_IN_FLIGHT_MIN},
                 {125000000, 1u << 15},
                 {500000000, 1u << 17},
                 {UINT64_C(1) << 40, HG_PEER_PACKETS_IN_FLIGHT_MAX}};
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        sites_make();
        struct hg_config_peer config = peer_config(2);
        config.node = 60;
        a->peers->config.packets_in_flight_max = 0;
        config.rate_bytes_per_s = cases[i].rate_bytes_per_s;
        CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
        CU_ASSERT_EQUAL(hg_peers_at(a->peers, 1)->packets_in_flight_max, cases[i].packets);
        config.rate_bytes_per_s = 1;
        CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
        CU_ASSERT_EQUAL(hg_peers_at(a->peers, 1)->packets_in_flight_max, cases[i].packets);
        struct hg_handshake_keys first = {
            .generation = 1, .lane_generation = 1, .workers_remote = 1, .spi_tx = 9000, .spi_rx = 9001};
        hg_peers_keys(a->peers, 1, &first, 0);
        sites_free();
    }
}

static void test_peers_that_can_not_be(void)
{
    sites_make();
    struct hg_config_peer config = peer_config(2);
    config.node = 50;
    config.receive_bytes_max = UINT64_C(1) << 50;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), -EINVAL);
    /* It keeps its number, which the key exchange counts too, but has no sessions. */
    struct hg_handshake_keys keys_none = {
        .generation = 1, .lane_generation = 1, .workers_remote = 1, .spi_tx = 9000, .spi_rx = 9001};
    hg_peers_keys(a->peers, 1, &keys_none, 0);
    CU_ASSERT_PTR_NULL(session_of(9001));
    config.node = 51;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), -ENOSPC);
    config.node = 50;
    config.receive_bytes_max = 0;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 60000, 0), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 68, 0), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
    hg_peers_keys(a->peers, 1, &keys_none, 0);
    CU_ASSERT_PTR_NOT_NULL(session_of(9001));
    sites_free();
}

static uint64_t paced_bytes_per_s(const struct site *site)
{
    return hg_lane_stats(peer_of(site)->sessions[peer_of(site)->current].lane)->pacing_bytes_per_s;
}

static struct hg_peers_census census[3];

/* Site a with worker 0 of three, whose other two are what the tests write into the census. */
static void worker_make(uint32_t congestion, uint64_t rate_bytes_per_s)
{
    sites_make();
    memset(census, 0, sizeof(census));
    hg_peers_free(a->peers);
    struct hg_peers_config config = {.streams = a->node.streams,
                                     .log = a->node.log,
                                     .events = &a->node.sink,
                                     .streams_max = NODE_STREAMS_MAX,
                                     .peers_max = 2,
                                     .packets_in_flight_max = 1024,
                                     .worker = 0,
                                     .workers = 3,
                                     .census = census,
                                     .ctx = a};
    a->peers = hg_peers_init(&config);
    struct hg_config_peer peer = peer_config(2);
    peer.congestion = congestion;
    peer.rate_bytes_per_s = rate_bytes_per_s;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &peer, 1500, a->node.now_ns), 0);
    keys();
    run(HG_NS_PER_S);
    CU_ASSERT_FATAL(peer_of(a)->current >= 0);
}

static void worker_sends(void)
{
    uint32_t slot = configure(a, "one", 11, KV, 1);
    hg_streams_at(a->node.streams, slot)->peers_mask = 1;
    configure(b, "one", 11, KV, 1);
    append(a, slot, 20, 20000);
    run(100 * HG_NS_PER_MS);
}

/* A rate is the peer's, not each lane's: lanes that send share it, those that don't may begin with what they
 * would have. */
static void test_rate_is_shared(void)
{
    worker_make(HG_CONFIG_CONGESTION_FIXED, 60000000);
    CU_ASSERT_EQUAL(paced_bytes_per_s(a), 60000000);
    CU_ASSERT_EQUAL(census[0].lanes[0], 0);
    census[1].lanes[0] = 1; /* another worker sends to it */
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(paced_bytes_per_s(a), 30000000);
    worker_sends();
    CU_ASSERT_EQUAL(census[0].lanes[0], 1); /* and so do we */
    CU_ASSERT_EQUAL(paced_bytes_per_s(a), 30000000);
    census[2].lanes[0] = 1;
    run(20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(paced_bytes_per_s(a), 20000000);
    census[1].lanes[0] = census[2].lanes[0] = 0;
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(census[0].lanes[0], 0);
    CU_ASSERT_EQUAL(paced_bytes_per_s(a), 60000000);
    sites_free();
}

static void census_write(uint32_t worker, const struct hg_cc_share_part *part)
{
    uint64_t words[HG_CC_SHARE_WORDS];
    hg_cc_share_pack(part, words);
    for (uint32_t i = 0; i < HG_CC_SHARE_WORDS; i++)
        census[worker].parts[0][i] = words[i];
}

static uint32_t share_per_mille(const struct site *site)
{
    return hg_lane_stats(peer_of(site)->sessions[peer_of(site)->current].lane)->share_per_mille;
}

/* What a controller finds is shared as well: between the lanes of all workers, and only of one controller. */
static void test_found_is_shared(void)
{
    worker_make(HG_CONFIG_CONGESTION_CUBIC, 0);
    CU_ASSERT_EQUAL(share_per_mille(a), 1000);
    struct hg_cc_share_part part = {.estimate = 40000, .weight = 2048, .busy_count = 1, .kind = HG_CC_CUBIC};
    census_write(1, &part);
    run(20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(share_per_mille(a), 500);
    census_write(2, &part);
    worker_sends();
    CU_ASSERT_EQUAL(share_per_mille(a), 333);
    /* Begun by what the others know, its window ends near its part of theirs. */
    CU_ASSERT(hg_lane_stats(peer_of(a)->sessions[peer_of(a)->current].lane)->cwnd_bytes < 40000);
    const uint64_t words[HG_CC_SHARE_WORDS] = {census[0].parts[0][0], census[0].parts[0][1],
                                               census[0].parts[0][2]};
    struct hg_cc_share_part told = hg_cc_share_unpack(words);
    CU_ASSERT(told.busy_count + told.limited_count == 1 && told.kind == HG_CC_CUBIC);
    part.kind = HG_CC_BBR;
    census_write(1, &part);
    census_write(2, &part);
    run(20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(share_per_mille(a), 1000);
    sites_free();
}

/* A session ends and no other one takes over: nothing is left of its streams that a change of members, a new
 * epoch or a move could ask for. */
static void test_session_over(void)
{
    uint32_t slot = sites_joined();
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_TRUE(hg_peers_is_taking(b->peers, slot));
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_STREAMING);
    for (struct site *site = a; site != NULL; site = site == a ? b : NULL) {
        hg_peers_key_changed(site->peers, 0, site->node.now_ns);
        hg_peers_tick(site->peers, site->node.now_ns + HG_PEER_KEY_GRACE_NS);
        CU_ASSERT_EQUAL(peer_of(site)->current, -1);
        hg_peers_members_new(site->peers, stream(site, slot)->group);
        hg_peers_stream_epoch(site->peers, slot);
        hg_peers_stream_leave(site->peers, slot);
        hg_peers_committed_moved(site->peers);
        hg_peers_log_moved(site->peers, site->node.now_ns);
    }
    CU_ASSERT_FALSE(hg_peers_is_taking(b->peers, slot));
    CU_ASSERT_EQUAL(sending(a, slot)->state, HG_PEER_STREAM_CLOSED);
    keys();
    append(a, slot, 2, 100);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(b, slot)->lsn_durable, 6);
    sites_free();
}

/* Two processes live under the identity of b: what it said counts no more for the quorum, nothing of it is
 * heard, and what the one that stays says under new keys counts from there. */
static void test_cloned(void)
{
    const uint32_t slot = 0;
    one_region = true;
    sites_make();
    keys();
    for (struct site *site = a; site != NULL; site = site == a ? b : NULL) {
        struct hg_config_stream config = config_of_one(site, site == a);
        CU_ASSERT_EQUAL(hg_streams_configure(site->node.streams, &config), 0);
    }
    hg_streams_quorum_set(a->node.streams, 1, 2);
    append(a, slot, 3, 100);
    run(50 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_committed, 4);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 4);
    keys_one(a, 2000, 2001); /* and others wait */
    hg_peers_cloned(a->peers, 0, a->node.now_ns);
    CU_ASSERT_EQUAL(a->node.events[HG_EVENT_peer_cloned], 1);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_CLONED);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_counted[0], 0);
    CU_ASSERT_EQUAL(stream(a, slot)->copy_peer[0], 0);
    CU_ASSERT(peer_of(a)->current == -1 && peer_of(a)->next == -1);
    CU_ASSERT_PTR_NULL(session_of(2001));
    append(a, slot, 2, 100);
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_durable, 6);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_committed, 4);
    CU_ASSERT_EQUAL(stream(b, 0)->lsn_durable, 4);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_CLONED);
    keys();
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(peer_of(a)->state, HG_PEER_UP);
    CU_ASSERT_EQUAL(stream(a, slot)->lsn_committed, 6);
    sites_free();
    one_region = false;
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers_configure", NULL, NULL);
    CU_add_test(suite, "a rate is shared", test_rate_is_shared);
    CU_add_test(suite, "what is found is shared", test_found_is_shared);
    CU_add_test(suite, "a stream is taken away from a peer", test_no_longer_wanted);
    CU_add_test(suite, "openings have numbers", test_opened_again);
    CU_add_test(suite, "a peer that was removed", test_peer_removed);
    CU_add_test(suite, "totals over sessions", test_totals);
    CU_add_test(suite, "another pre-shared key", test_pre_shared_key_changed);
    CU_add_test(suite, "a session is over", test_session_over);
    CU_add_test(suite, "two of one identity", test_cloned);
    CU_add_test(suite, "receive memory", test_receive_memory);
    CU_add_test(suite, "packets in flight", test_packets_in_flight);
    CU_add_test(suite, "peers that can not be", test_peers_that_can_not_be);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
