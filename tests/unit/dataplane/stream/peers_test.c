/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes' peers over two real logs, joined by passing inner packets from lane to lane: streams are opened,
 * answered, sent, made durable; and everything that may stand in the way.
 */
#include "dataplane/stream/peers.h"
#include "stream_node.h"

#define KV       HG_STREAM_KEY_VALUE
#define PHYSICAL HG_STREAM_POSTGRES_PHYSICAL

struct site {
    struct stream_node node; /* first: see rekey */
    struct hg_peers *peers;
    struct site *other;
    uint64_t packet_number[HG_PEER_SESSIONS];
    uint64_t tick_ns;
    uint32_t rekeys;
    bool cut; /* what it sends is lost */
};

static struct site sites[2];
static struct site *const a = &sites[0], *const b = &sites[1];
static uint32_t generation;

static void rekey(void *ctx, uint32_t peer)
{
    CU_ASSERT_EQUAL(peer, 0);
    ((struct site *)ctx)->rekeys++;
}

static struct hg_config_peer peer_config(uint16_t region)
{
    struct hg_config_peer config = {
        .name = "other", .node = region, .region = region, .receive_bytes_max = 8u << 20};
    return config;
}

static void site_make(struct site *site, struct site *other, uint16_t region, uint32_t streams_max)
{
    memset(site, 0, sizeof(*site));
    stream_node_make(&site->node, region);
    site->other = other;
    struct hg_peers_config config = {.streams = site->node.streams,
                                     .log = site->node.log,
                                     .events = &site->node.sink,
                                     .streams_max = streams_max,
                                     .peers_max = 2,
                                     .packets_in_flight_max = 1024,
                                     .rekey = rekey,
                                     .ctx = site};
    site->peers = hg_peers_init(&config);
    struct hg_config_peer peer = peer_config(region == 1 ? 2 : 1);
    CU_ASSERT_EQUAL(hg_peers_configure(site->peers, &peer, 1500, site->node.now_ns), 0);
}

static void site_free(struct site *site)
{
    hg_peers_free(site->peers);
    stream_node_free(&site->node);
}

static void sites_make(void)
{
    char error[128];
    CU_ASSERT_EQUAL_FATAL(hg_esp_start(error, sizeof(error)), 0);
    generation = 0;
    site_make(a, b, 1, NODE_STREAMS_MAX);
    site_make(b, a, 2, NODE_STREAMS_MAX);
}

static void sites_free(void)
{
    site_free(a);
    site_free(b);
}

static struct hg_peer *peer_of(const struct site *site)
{
    return hg_peers_at(site->peers, 0);
}

static struct hg_stream_state *stream(const struct site *site, uint32_t slot)
{
    return hg_streams_at(site->node.streams, slot);
}

static const struct hg_peer_stream *sending(const struct site *site, uint32_t slot)
{
    return &peer_of(site)->streams[slot];
}

/* Both sides agreed on new keys. */
static void keys_one(struct site *site, uint32_t spi_tx, uint32_t spi_rx)
{
    struct hg_handshake_keys keys = {
        .boot_remote = 1, .generation = generation, .spi_tx = spi_tx, .spi_rx = spi_rx};
    hg_peers_keys(site->peers, 0, &keys, site->node.now_ns);
    site->packet_number[peer_of(site)->next] = 0;
}

static void keys(void)
{
    generation++;
    keys_one(a, 1000 + 2 * generation, 1001 + 2 * generation);
    keys_one(b, 1001 + 2 * generation, 1000 + 2 * generation);
}

static void packets_pass(struct site *site)
{
    static uint8_t inner[16384];
    struct hg_lane_packet packet;
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        struct hg_peer_session *session = &peer_of(site)->sessions[i];
        while (session->live &&
               hg_lane_build(session->lane, site->packet_number[i] + 1, site->node.now_ns, &packet) > 0) {
            uint32_t bytes = 0;
            site->packet_number[i]++;
            for (uint32_t j = 0; j < packet.piece_count; j++) {
                memcpy(inner + bytes, packet.pieces[j].iov_base, packet.pieces[j].iov_len);
                bytes += (uint32_t)packet.pieces[j].iov_len;
            }
            struct hg_peer_session *to =
                hg_peers_session_of_spi(site->other->peers, hg_esp_sa_spi(session->sa_tx));
            if (!site->cut && to != NULL)
                hg_peers_receive(to, inner, bytes, site->packet_number[i], site->other->node.now_ns);
        }
    }
}

static void site_turn(struct site *site)
{
    hg_streams_seal(site->node.streams, true, site->node.now_ns);
    hg_log_close_write(site->node.log);
    if (stream_node_turn(&site->node))
        hg_peers_log_moved(site->peers, site->node.now_ns);
    if (site->node.now_ns - site->tick_ns >= 10 * HG_NS_PER_MS) {
        site->tick_ns = site->node.now_ns;
        hg_peers_log_moved(site->peers, site->node.now_ns);
        hg_peers_tick(site->peers, site->node.now_ns);
    }
    packets_pass(site);
}

static void run(uint64_t ns)
{
    for (uint64_t end_ns = a->node.now_ns + ns; a->node.now_ns < end_ns;) {
        site_turn(a);
        site_turn(b);
    }
}

/* Time passes with nothing under way but timers. */
static void idle(uint64_t ns)
{
    for (uint64_t passed_ns = 0; passed_ns < ns; passed_ns += 100 * HG_NS_PER_MS) {
        a->node.now_ns += 100 * HG_NS_PER_MS;
        b->node.now_ns += 100 * HG_NS_PER_MS;
        run(HG_NS_PER_MS);
    }
}

static void append(struct site *site, uint32_t slot, uint32_t count, uint32_t bytes)
{
    for (uint32_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(stream_node_append(&site->node, slot, bytes), HG_APPEND_OK);
}

static uint32_t configure(struct site *site, const char *name, uint64_t id, uint16_t kind, uint16_t origin)
{
    return stream_node_configure(&site->node, name, id, kind, origin, origin == site->node.region);
}

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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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

/* ---- sessions ---- */

static void test_resume(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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

/* The old session carries everything until a packet opens under the new keys; nothing is lost between. */
static void test_make_before_break(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
    append(a, slot, 5, 1000);
    run(30 * HG_NS_PER_MS);
    int32_t before = peer_of(a)->current;
    generation++;
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
        sites_make();
        keys();
        configure(a, "one", 11, KV, 1);
        configure(b, "one", 11, KV, 1);
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

/* The receiver's log is full: its sender waits, nothing is dropped, and all comes when there is room. */
static void test_back_pressure(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    /* Given back, it opens under new keys, where it has a gap too: the log has forgotten. */
    uint32_t rekeys = a->rekeys;
    configure(a, "gone", 11, KV, 1);
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(a->rekeys, rekeys + 1);
    CU_ASSERT_EQUAL(sending(a, gone)->state, HG_PEER_STREAM_CLOSED);
    keys();
    run(100 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(sending(a, gone)->state, HG_PEER_STREAM_GAP);
    CU_ASSERT_EQUAL(hg_lane_stats(peer_of(a)->sessions[peer_of(a)->current].lane)->bytes_in_flight, 0);
    sites_free();
}

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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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

static void test_close_waits_for_a_place(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    sites_make();
    keys();
    configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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

/* Any field, any alias, in any state: nothing but names. */
static void test_hostile_frames(void)
{
    static const uint32_t aliases[] = {0,         1, 15, 16, HG_WIRE_ALIASES_MAX - 1, HG_WIRE_ALIASES_MAX,
                                       UINT32_MAX};
    sites_make();
    keys();
    configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
    configure(b, "pg", 13, PHYSICAL, 1);
    append(a, 0, 1, 100);
    run(30 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < 6 * HG_COUNT(aliases); i++) {
        uint8_t type = (uint8_t)(HG_WIRE_CONTROL_FIRST + i % 6);
        union {
            struct hg_wire_control control;
            struct hg_wire_stream_open open;
            uint8_t bytes[HG_WIRE_CONTROL_BYTES_MAX];
        } frame;
        for (int fill = 0; fill < 3; fill++) {
            memset(&frame, fill == 0 ? 0 : fill == 1 ? 0xff : 0x55, sizeof(frame));
            frame.control = (struct hg_wire_control){
                .type = type, .bytes = hg_wire_control_bytes(type), .alias = aliases[i / 6]};
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
    sites_free();
}

/* ---- configuration ---- */

/* Removed and named again: its memory comes and goes, its number stays, and data flows as from a new peer. */
static void test_peer_removed(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(a->peers, 2001));
    struct hg_handshake_keys late = {.generation = 9, .spi_tx = 2002, .spi_rx = 2003};
    hg_peers_keys(a->peers, 0, &late, a->node.now_ns); /* were on their way */
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(a->peers, 2003));
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
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    configure(b, "one", 11, KV, 1);
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
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(a->peers, 2001));
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

static void test_peers_that_can_not_be(void)
{
    sites_make();
    struct hg_config_peer config = peer_config(2);
    config.node = 50;
    config.receive_bytes_max = UINT64_C(1) << 50;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), -EINVAL);
    /* It keeps its number, which the key exchange counts too, but has no sessions. */
    struct hg_handshake_keys keys_none = {.generation = 1, .spi_tx = 9000, .spi_rx = 9001};
    hg_peers_keys(a->peers, 1, &keys_none, 0);
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(a->peers, 9001));
    config.node = 51;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), -ENOSPC);
    config.node = 50;
    config.receive_bytes_max = 0;
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 60000, 0), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 68, 0), -EINVAL);
    CU_ASSERT_EQUAL(hg_peers_configure(a->peers, &config, 1500, 0), 1);
    hg_peers_keys(a->peers, 1, &keys_none, 0);
    CU_ASSERT_PTR_NOT_NULL(hg_peers_session_of_spi(a->peers, 9001));
    sites_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("peers", NULL, NULL);
    CU_add_test(suite, "open, answer, durable", test_open_answer_durable);
    CU_add_test(suite, "received is not durable", test_received_is_not_durable);
    CU_add_test(suite, "a DURABLE that overtakes the answer", test_durable_before_answer);
    CU_add_test(suite, "resume after an outage", test_resume);
    CU_add_test(suite, "make before break", test_make_before_break);
    CU_add_test(suite, "refused as unknown, then configured", test_refused_unknown_then_configured);
    CU_add_test(suite, "refused: system and incarnation", test_refused_system_and_incarnation);
    CU_add_test(suite, "diverged", test_diverged);
    CU_add_test(suite, "gap", test_gap);
    CU_add_test(suite, "gap of an idle stream", test_gap_of_an_idle_stream);
    CU_add_test(suite, "the cursor goes back within a write", test_cursor_goes_back_within_a_write);
    CU_add_test(suite, "back-pressure at the receiver", test_back_pressure);
    CU_add_test(suite, "a stream is taken away from a peer", test_no_longer_wanted);
    CU_add_test(suite, "DURABLE waits for a place", test_durable_waits_for_a_place);
    CU_add_test(suite, "REFUSE waits for a place", test_refuse_waits_for_a_place);
    CU_add_test(suite, "CLOSE waits for a place", test_close_waits_for_a_place);
    CU_add_test(suite, "an alias beyond our streams", test_alias_beyond_our_streams);
    CU_add_test(suite, "an open from another region", test_open_from_another_region);
    CU_add_test(suite, "an alias opened twice", test_alias_opened_twice);
    CU_add_test(suite, "durable beyond what there is", test_durable_beyond_what_there_is);
    CU_add_test(suite, "hostile frames", test_hostile_frames);
    CU_add_test(suite, "peers that can not be", test_peers_that_can_not_be);
    CU_add_test(suite, "a peer that was removed", test_peer_removed);
    CU_add_test(suite, "totals over sessions", test_totals);
    CU_add_test(suite, "another pre-shared key", test_pre_shared_key_changed);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
