/* SPDX-License-Identifier: Apache-2.0
 *
 * The stream table over a real log on a simulated disk: what is appended, refused, recovered, retained.
 */
#include "dataplane/stream/streams.h"
#include "drivers/clock/clock.h"
#include "drivers/disk/disk_sim.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define PAYLOAD_BYTES_MAX (1u << 20)
#define SEGMENT_BYTES     (4u << 20)
#define SEGMENTS          6u

struct node {
    struct hg_disk *disk;
    void *arena;
    uint64_t now_ns;
    struct hg_log *log;
    struct hg_streams *streams;
    uint32_t events[HG_EVENT_COUNT];
    struct hg_event_sink sink;
};

static struct node node;

static void event_put(struct hg_event_sink *sink, const struct hg_event *event)
{
    (void)sink;
    node.events[event->type]++;
}

static uint64_t clock_now_ns(struct hg_clock *clock)
{
    (void)clock;
    return node.now_ns;
}

static uint64_t clock_realtime_ns(struct hg_clock *clock)
{
    (void)clock;
    return UINT64_C(1700000000) * HG_NS_PER_S + node.now_ns;
}

static uint64_t clock_random(struct hg_clock *clock)
{
    (void)clock;
    return 4;
}

static struct hg_clock test_clock = {clock_now_ns, clock_realtime_ns, clock_random, clock_now_ns};

static void turn(void)
{
    uint64_t deadline_ns;
    node.now_ns += 100 * HG_NS_PER_US;
    hg_disk_sim_time_set(node.disk, node.now_ns);
    hg_log_turn(node.log, node.now_ns, &deadline_ns);
    if (hg_log_state(node.log) == HG_LOG_READY)
        hg_streams_commit(node.streams, node.now_ns);
}

static void node_open(void)
{
    node.sink.put = event_put;
    struct hg_streams_config streams = {
        .cluster = 7, .region = 1, .streams_max = 8, .clock = &test_clock, .events = &node.sink};
    node.streams = hg_streams_init(&streams);
    struct hg_log_config log = {.disk = node.disk,
                                .arena = node.arena,
                                .arena_bytes = hg_log_arena_bytes_min(PAYLOAD_BYTES_MAX),
                                .cluster = 7,
                                .ops = &hg_streams_log_ops,
                                .ctx = node.streams};
    node.log = hg_log_open(&log);
    CU_ASSERT_PTR_NOT_NULL_FATAL(node.log);
    hg_streams_log_set(node.streams, node.log);
    for (int i = 0; i < 10000 && hg_log_state(node.log) == HG_LOG_RECOVERING; i++)
        turn();
    CU_ASSERT_EQUAL_FATAL(hg_log_state(node.log), HG_LOG_READY);
    hg_streams_recovered(node.streams);
    CU_ASSERT_FALSE(hg_streams_recovery_broken(node.streams));
}

static void node_close(void)
{
    hg_log_close(node.log);
    hg_streams_free(node.streams);
}

static void node_make(void)
{
    struct hg_log_geometry geometry = {.cluster = 7,
                                       .log_uuid = {1, 2, 3},
                                       .node_uuid = {4},
                                       .segment_bytes = SEGMENT_BYTES,
                                       .segment_count = SEGMENTS,
                                       .write_payload_bytes_max = PAYLOAD_BYTES_MAX};
    struct hg_disk_sim_config disk = {.size_bytes = hg_log_file_bytes(&geometry), .depth = 128, .seed = 1};
    memset(&node, 0, sizeof(node));
    node.disk = hg_disk_sim_create(&disk);
    CU_ASSERT_EQUAL_FATAL(hg_log_format(node.disk, &geometry), 0);
    node.arena = aligned_alloc(HG_LOG_BLOCK_BYTES, hg_log_arena_bytes_min(PAYLOAD_BYTES_MAX));
    node_open();
}

static void node_free(void)
{
    node_close();
    node.disk->close(node.disk);
    free(node.arena);
}

static void node_crash(void)
{
    hg_disk_sim_crash(node.disk);
    node_close();
    node_open();
}

static void configure(const char *name, uint64_t id, uint16_t kind, uint16_t region, uint64_t peers_mask)
{
    struct hg_config_stream config = {
        .stream = id, .kind = kind, .region = region, .epoch = 1, .peers_mask = peers_mask, .compression = 1};
    memcpy(config.name, name, strlen(name));
    CU_ASSERT_EQUAL(hg_streams_configure(node.streams, &config), 0);
}

static enum hg_append_reason append(uint32_t slot, uint64_t lsn, uint32_t span)
{
    static const uint8_t data[70000];
    struct hg_frame frame = {.lsn = lsn, .span = span, .op = HG_OP_OPAQUE, .data_bytes = span, .data = data};
    return hg_streams_append(node.streams, slot, &frame, node.now_ns);
}

static void settle(void)
{
    hg_streams_seal(node.streams, true, node.now_ns);
    if (hg_log_wants_close(node.log))
        hg_log_close_write(node.log);
    for (int i = 0; i < 100; i++)
        turn();
}

static void test_append_refusals(void)
{
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    configure("counted", 2, HG_STREAM_KEY_VALUE, 1, 0);
    configure("foreign", 3, HG_STREAM_KEY_VALUE, 2, 0);
    CU_ASSERT_EQUAL(append(0, 5000, 100), HG_APPEND_OK);
    CU_ASSERT_EQUAL(append(0, 5101, 10), HG_APPEND_GAP);
    CU_ASSERT_EQUAL(append(0, 5099, 10), HG_APPEND_OVERLAP);
    CU_ASSERT_EQUAL(append(0, 5100, 0), HG_APPEND_LIMITS);
    CU_ASSERT_EQUAL(append(0, UINT64_MAX, 10), HG_APPEND_LIMITS);
    CU_ASSERT_EQUAL(append(0, 5100, 10), HG_APPEND_OK);
    CU_ASSERT_EQUAL(append(1, 0, 1), HG_APPEND_OK);
    CU_ASSERT_EQUAL(append(1, 2, 1), HG_APPEND_OK);
    CU_ASSERT_EQUAL(append(1, 3, 2), HG_APPEND_LIMITS);
    CU_ASSERT_EQUAL(append(2, 0, 1), HG_APPEND_NOT_ORIGIN);
    settle();
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_durable, 5110);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_begin, 5000);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 1)->lsn_durable, 3);
    CU_ASSERT_EQUAL(hg_streams_append_counts(node.streams)[HG_APPEND_GAP], 1);
    node_free();
}

/* A stamp too far ahead is refused, and a refused first frame leaves no empty batch behind. */
static void test_stamp(void)
{
    node_make();
    configure("counted", 2, HG_STREAM_KEY_VALUE, 1, 0);
    uint64_t far_ns = clock_realtime_ns(NULL) + 10 * HG_STREAMS_DRIFT_NS;
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .hlc = hg_hlc_from_ns(far_ns)};
    CU_ASSERT_EQUAL(hg_streams_append(node.streams, 0, &frame, node.now_ns), HG_APPEND_STAMP);
    CU_ASSERT_FALSE(hg_streams_has_open(node.streams));
    frame.hlc = 0;
    CU_ASSERT_EQUAL(hg_streams_append(node.streams, 0, &frame, node.now_ns), HG_APPEND_OK);
    node_free();
}

static void test_recovery(void)
{
    uint8_t chain[16];
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_adopt(node.streams, 0, 77, 3, 16u << 20), 0);
    for (uint64_t i = 0; i < 50; i++)
        CU_ASSERT_EQUAL(append(0, 1000 + i * 60000, 60000), HG_APPEND_OK);
    settle();
    CU_ASSERT(hg_streams_consumer_add(node.streams, "out", 0) >= 0);
    settle();
    memcpy(chain, hg_streams_at(node.streams, 0)->chain_durable, 16);
    /* Not durable yet: gone with the crash, and nothing was told of it. */
    CU_ASSERT_EQUAL(append(0, 1000 + 50 * 60000, 60000), HG_APPEND_OK);
    node_crash();
    int32_t slot = hg_streams_find(node.streams, 1);
    CU_ASSERT_EQUAL_FATAL(slot, 0);
    const struct hg_stream_state *s = hg_streams_at(node.streams, 0);
    CU_ASSERT_EQUAL(s->lsn_durable, 1000 + 50 * 60000);
    CU_ASSERT_EQUAL(s->lsn_begin, 1000);
    CU_ASSERT_EQUAL(s->incarnation, 3);
    CU_ASSERT_EQUAL(s->system_identifier, 77);
    CU_ASSERT_EQUAL(s->lsn_unit_bytes, 16u << 20);
    CU_ASSERT_EQUAL(memcmp(s->chain_durable, chain, 16), 0);
    CU_ASSERT(hg_streams_consumer_find(node.streams, "out") >= 0);
    CU_ASSERT_FALSE(s->configured);
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_adopt(node.streams, 0, 78, 3, 0), -EXDEV);
    CU_ASSERT_EQUAL(hg_streams_adopt(node.streams, 0, 77, 4, 0), -ESTALE);
    CU_ASSERT_EQUAL(hg_streams_adopt(node.streams, 0, 77, 3, 0), 0);
    CU_ASSERT_EQUAL(append(0, 1000 + 50 * 60000, 10), HG_APPEND_OK);
    node_free();
}

static void test_configuration_may_only_agree(void)
{
    struct hg_config_stream other = {.stream = 1, .name = "x", .kind = HG_STREAM_KEY_VALUE, .region = 1};
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_configure(node.streams, &other), -EEXIST);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_refused_config], 1);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->kind, HG_STREAM_POSTGRES_PHYSICAL);
    node_free();
}

/* Appends until the log pushes back. Returns the end. */
static uint64_t fill(uint64_t lsn)
{
    for (int i = 0; i < 10000; i++) {
        if (append(0, lsn, 60000) != HG_APPEND_OK) {
            settle();
            if (append(0, lsn, 60000) != HG_APPEND_OK)
                return lsn;
        }
        lsn += 60000;
        if (i % 8 == 7)
            settle();
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_FAIL("the log never pushed back");
    return lsn;
}

/* A peer that is away holds the segments: back-pressure, nothing dropped; its progress frees them. */
static void test_retention(void)
{
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 1);
    struct hg_stream_state *s = hg_streams_at(node.streams, 0);
    s->codec = HG_CODEC_NONE;
    uint64_t end = fill(1000);
    CU_ASSERT(end - 1000 >= (uint64_t)(SEGMENTS - 3) * (SEGMENT_BYTES - 2 * PAYLOAD_BYTES_MAX));
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 0), 1000);
    hg_streams_peer_durable(node.streams, 0, 0, end + 1); /* more than there is: not believed */
    CU_ASSERT_EQUAL(s->lsn_peer[0], 0);
    hg_streams_peer_durable(node.streams, 0, 0, s->lsn_durable);
    hg_streams_retain(node.streams, node.now_ns);
    settle();
    CU_ASSERT_EQUAL(append(0, s->lsn_taken, 60000), HG_APPEND_OK);
    /* Round and round: every lap waits for the peer, and recovery finds the stream by the segments' tables.
     */
    for (int lap = 0; lap < 3; lap++) {
        end = fill(s->lsn_taken);
        hg_streams_peer_durable(node.streams, 0, 0, s->lsn_durable);
        hg_streams_retain(node.streams, node.now_ns);
        settle();
    }
    CU_ASSERT(hg_streams_lsn_oldest(node.streams, 0) > 1000);
    uint64_t durable = s->lsn_durable;
    node_crash();
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_durable, durable);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_begin, 1000);
    node_free();
}

/* What nobody has configured yet is kept: somebody may want it. */
static void test_unconfigured_is_kept(void)
{
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(append(0, 1000, 60000), HG_APPEND_OK);
    settle();
    node_crash();
    configure("other", 2, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    hg_streams_retain(node.streams, node.now_ns);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 0), 1000);
    node_free();
}

/* What a whole configuration does not name is nobody's: it must not hold the log for ever. */
static void test_no_longer_configured(void)
{
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 1);
    CU_ASSERT_EQUAL(append(0, 1000, 60000), HG_APPEND_OK);
    settle();
    node_crash();
    hg_streams_configure_begin(node.streams);
    configure("other", 2, HG_STREAM_POSTGRES_PHYSICAL, 1, 1);
    hg_streams_configure_end(node.streams);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_gone], 0); /* it was not, in this process */
    CU_ASSERT_EQUAL(append(0, 61000, 60000), HG_APPEND_NOT_ORIGIN);
    hg_streams_at(node.streams, 1)->codec = HG_CODEC_NONE;
    uint64_t lsn = 1000;
    for (int i = 0; i < 2000 && hg_log_tail_sequence(node.log) <= 1; i++, lsn += 60000) {
        CU_ASSERT_EQUAL_FATAL(append(1, lsn, 60000), HG_APPEND_OK);
        settle();
        hg_streams_peer_durable(node.streams, 1, 0, lsn + 60000);
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(node.log) > 1);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 0), 61000);
    hg_streams_configure_begin(node.streams);
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 1);
    hg_streams_configure_end(node.streams);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_gone], 1);
    CU_ASSERT_EQUAL(append(1, lsn, 60000), HG_APPEND_NOT_ORIGIN);
    CU_ASSERT_EQUAL(append(0, 61000, 60000), HG_APPEND_OK);
    node_free();
}

/* A name that was used again: it means the stream that is configured, wherever the log has the other one. */
static void test_name_used_again(void)
{
    node_make();
    configure("wal", 5, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(append(0, 1000, 60000), HG_APPEND_OK);
    settle();
    node_crash();
    CU_ASSERT_EQUAL(hg_streams_find_name(node.streams, "wal"), 0); /* nobody has said anything yet */
    for (int life = 0; life < 2; life++) {
        hg_streams_configure_begin(node.streams);
        configure("wal", 6, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
        hg_streams_configure_end(node.streams);
        CU_ASSERT_EQUAL(hg_streams_find(node.streams, 6), 1);
        CU_ASSERT_EQUAL(hg_streams_find_name(node.streams, "wal"), 1);
        CU_ASSERT_EQUAL(append(1, 1000 + (uint64_t)life * 60000, 60000), HG_APPEND_OK);
        settle();
        node_crash();
    }
    hg_streams_configure_begin(node.streams);
    configure("wal", 5, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    hg_streams_configure_end(node.streams);
    CU_ASSERT_EQUAL(hg_streams_find_name(node.streams, "wal"), 0);
    node_free();
}

/* What moved since the last look, each stream once, and nothing of the others. */
static void test_changed(void)
{
    uint32_t count;
    node_make();
    configure("a", 1, HG_STREAM_KEY_VALUE, 1, 0);
    configure("b", 2, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    configure("c", 3, HG_STREAM_KEY_VALUE, 1, 0);
    (void)hg_streams_changed(node.streams, &count);
    CU_ASSERT_EQUAL(count, 3);
    hg_streams_changed_clear(node.streams);
    (void)hg_streams_changed(node.streams, &count);
    CU_ASSERT_EQUAL(count, 0);
    for (uint64_t lsn = 1000; lsn < 1500; lsn += 100)
        CU_ASSERT_EQUAL(append(1, lsn, 100), HG_APPEND_OK);
    const uint32_t *changed = hg_streams_changed(node.streams, &count);
    CU_ASSERT_EQUAL_FATAL(count, 1);
    CU_ASSERT_EQUAL(changed[0], 1);
    hg_streams_changed_clear(node.streams);
    settle(); /* durable now */
    changed = hg_streams_changed(node.streams, &count);
    CU_ASSERT_EQUAL_FATAL(count, 1);
    CU_ASSERT_EQUAL(changed[0], 1);
    node_free();
}

static void test_consumer(void)
{
    uint64_t sequence;
    node_make();
    configure("physical", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    CU_ASSERT_EQUAL(append(0, 1000, 100), HG_APPEND_OK);
    settle();
    int32_t out = hg_streams_consumer_add(node.streams, "out", 0);
    CU_ASSERT_FATAL(out >= 0);
    hg_streams_consumer_advance(node.streams, (uint32_t)out, 5000); /* beyond what is durable */
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, (uint32_t)out)->lsn, 0);
    hg_streams_consumer_advance(node.streams, (uint32_t)out, 1100);
    node.now_ns += 2 * HG_STREAMS_CONSUMER_SAVE_NS;
    hg_streams_retain(node.streams, node.now_ns);
    settle();
    node_crash();
    out = hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_FATAL(out >= 0);
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, (uint32_t)out)->lsn, 1100);
    hg_streams_consumer_at(node.streams, (uint32_t)out)->attached_count = 1;
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(node.streams, "out", &sequence), -EBUSY);
    hg_streams_consumer_at(node.streams, (uint32_t)out)->attached_count = 0;
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(node.streams, "out", &sequence), 0);
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(node.streams, "out", &sequence), -ENOENT);
    settle();
    node_crash();
    CU_ASSERT_EQUAL(hg_streams_consumer_find(node.streams, "out"), -1);
    node_free();
}

/* The log let go by a position that was not saved yet when the process died: what the consumer is then known
 * to have passed is all that is gone. */
static void test_consumer_behind_the_tail(void)
{
    node_make();
    configure("busy", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    configure("idle", 2, HG_STREAM_KEY_VALUE, 1, 0);
    hg_streams_at(node.streams, 0)->codec = HG_CODEC_NONE;
    for (uint64_t lsn = 1; lsn <= 3; lsn++)
        CU_ASSERT_EQUAL(append(1, lsn, 1), HG_APPEND_OK);
    settle();
    uint32_t out = (uint32_t)hg_streams_consumer_add(node.streams, "out", 1);
    hg_streams_consumer_advance(node.streams, out, 2);
    node.now_ns += 2 * HG_STREAMS_CONSUMER_SAVE_NS;
    hg_streams_retain(node.streams, node.now_ns);
    (void)fill(1000);
    CU_ASSERT_EQUAL(hg_log_tail_sequence(node.log), 1);
    hg_streams_consumer_advance(node.streams, out, 4);
    hg_streams_consumer_at(node.streams, out)->saved_ns = node.now_ns; /* a moment ago: not saved again yet */
    hg_streams_retain(node.streams, node.now_ns);
    settle();
    CU_ASSERT(hg_log_tail_sequence(node.log) > 1);
    node_crash();
    out = (uint32_t)hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, out)->lsn, 4);
    configure("busy", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    configure("idle", 2, HG_STREAM_KEY_VALUE, 1, 0);
    uint64_t sequence = hg_log_tail_sequence(node.log);
    uint64_t end = hg_streams_at(node.streams, 0)->lsn_taken; /* what was not durable is gone */
    for (int i = 0; i < 2000 && hg_log_tail_sequence(node.log) == sequence; i++, end += 60000) {
        CU_ASSERT_EQUAL_FATAL(append(0, end, 60000), HG_APPEND_OK);
        settle();
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(node.log) > sequence);
    node_free();
}

/* Batches sealed elsewhere: taken in order, each reason to refuse reached. */
static void test_sealed(void)
{
    static uint8_t raw[HG_FRAME_BYTES_MAX + 4096];
    static uint8_t batch[4096] __attribute__((aligned(16)));
    static uint64_t lz4[4096];
    struct hg_batch_builder builder;
    struct hg_batch_origin origin = {
        .cluster = 7, .stream = 9, .incarnation = 1, .region = 2, .kind = HG_STREAM_KEY_VALUE, .epoch = 1};
    struct hg_frame frame = {.lsn = 1, .span = 1, .op = HG_OP_INSERT, .hlc = 1};
    node_make();
    configure("taken", 9, HG_STREAM_KEY_VALUE, 2, 0);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    uint32_t bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), lz4);
    batch[200] ^= 1;
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_VERIFY);
    batch[200] ^= 1;
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes + 16, 0), HG_SEALED_VERIFY);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_OK);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_POSITION);
    frame.lsn = 2;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch),
                          lz4); /* previous chain zero: a fork */
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_CHAIN);
    origin.cluster = 8;
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), lz4);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_CLUSTER);
    origin.cluster = 7;
    hg_streams_at(node.streams, 0)->epoch = 2;
    memcpy(origin.chain_previous, hg_streams_at(node.streams, 0)->chain_sealed, 16);
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), lz4);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_EPOCH);
    settle();
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_durable, 2);
    node_free();
}

/* Whole batches, in their place, that say they are of another stream than the one they come for. */
static void test_sealed_of_another(void)
{
    static const struct {
        enum hg_sealed_reason reason;
        uint64_t stream;
        uint32_t incarnation;
        uint32_t group;
        uint64_t epoch;
        uint16_t region;
        uint8_t kind;
    } rows[] = {
        {HG_SEALED_STREAM, 8, 1, 0, 1, 2, HG_STREAM_KEY_VALUE},
        {HG_SEALED_STREAM, 9, 1, 0, 1, 3, HG_STREAM_KEY_VALUE},
        {HG_SEALED_STREAM, 9, 1, 0, 1, 2, HG_STREAM_POSTGRES_LOGICAL},
        {HG_SEALED_INCARNATION, 9, 2, 0, 1, 2, HG_STREAM_KEY_VALUE},
        {HG_SEALED_GROUP, 9, 1, 1, 1, 2, HG_STREAM_KEY_VALUE},
        {HG_SEALED_ORDER, 9, 1, 0, 2, 2, HG_STREAM_KEY_VALUE}, /* newer than its writer */
        {HG_SEALED_OK, 9, 1, 0, 1, 2, HG_STREAM_KEY_VALUE},    /* as it must be */
    };
    static uint8_t raw[HG_FRAME_BYTES_MAX + 4096];
    static uint8_t batch[4096] __attribute__((aligned(16)));
    static uint64_t lz4[4096];
    struct hg_frame frame = {.lsn = 1, .span = 1, .op = HG_OP_INSERT, .hlc = 1};
    struct hg_batch_builder builder;
    node_make();
    configure("taken", 9, HG_STREAM_KEY_VALUE, 2, 0);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct hg_batch_origin origin = {.cluster = 7,
                                         .stream = rows[i].stream,
                                         .incarnation = rows[i].incarnation,
                                         .group = rows[i].group,
                                         .region = rows[i].region,
                                         .kind = rows[i].kind,
                                         .epoch = rows[i].epoch};
        uint64_t before = hg_streams_sealed_counts(node.streams)[rows[i].reason];
        CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
        uint32_t bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), lz4);
        CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), rows[i].reason);
        CU_ASSERT_EQUAL(hg_streams_sealed_counts(node.streams)[rows[i].reason], before + 1);
    }
    node_free();
}

/* Seals one frame of stream 9. */
static uint32_t sealed_make(uint8_t *batch, uint32_t batch_bytes, uint64_t lsn, uint32_t span)
{
    static uint8_t raw[HG_FRAME_BYTES_MAX + 4096];
    static uint64_t lz4[4096];
    struct hg_batch_builder builder;
    struct hg_batch_origin origin = {
        .cluster = 7, .stream = 9, .region = 2, .kind = HG_STREAM_POSTGRES_PHYSICAL, .epoch = 1};
    struct hg_frame frame = {.lsn = lsn, .span = span, .op = HG_OP_OPAQUE, .hlc = 1};
    memcpy(origin.chain_previous, hg_streams_at(node.streams, 0)->chain_sealed, 16);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    return hg_batch_seal(&builder, &origin, NULL, 0, batch, batch_bytes, lz4);
}

/* Half a megabyte each, of which nothing compresses. */
static void append_noise(uint32_t slot, int times)
{
    static uint8_t data[500000];
    for (uint32_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 2654435761u >> 24);
    for (int i = 0; i < times; i++) {
        struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .data_bytes = sizeof(data), .data = data};
        (void)hg_streams_append(node.streams, slot, &frame, node.now_ns);
        hg_streams_seal(node.streams, true, node.now_ns);
        settle();
        hg_streams_retain(node.streams, node.now_ns);
    }
}

/* What a full log keeps is for what its origin's log waits for, and for nothing else. */
static void test_sealed_into_a_full_log(void)
{
    static uint8_t batch[4096] __attribute__((aligned(16)));
    node_make();
    configure("taken", 9, HG_STREAM_POSTGRES_PHYSICAL, 2, 0);
    configure("own", 10, HG_STREAM_KEY_VALUE, 1, 1);
    append_noise(1, 200); /* held for a peer that takes nothing */
    CU_ASSERT(hg_log_is_scarce(node.log));
    uint32_t bytes = sealed_make(batch, sizeof(batch), 1000, 50);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_WOULD_BLOCK);
    hg_streams_at(node.streams, 0)->lsn_needed = 1000;
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_WOULD_BLOCK);
    hg_streams_at(node.streams, 0)->lsn_needed = 1001;
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_OK);
    node_free();
}

/* Nor for positions of consumers, which are only put down now and then. */
static void test_consumer_of_a_full_log(void)
{
    node_make();
    configure("own", 10, HG_STREAM_KEY_VALUE, 1, 1);
    uint32_t out = (uint32_t)hg_streams_consumer_add(node.streams, "out", 0);
    for (int full = 0; full < 2; full++) {
        append_noise(0, full ? 200 : 1);
        CU_ASSERT_EQUAL(hg_log_is_scarce(node.log), full == 1);
        node.now_ns += 2 * HG_STREAMS_CONSUMER_SAVE_NS;
        hg_streams_consumer_advance(node.streams, out, hg_streams_at(node.streams, 0)->lsn_durable);
        hg_streams_retain(node.streams, node.now_ns);
        CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, out)->dirty, full == 1);
    }
    node_free();
}

/* A batch from a peer that begins at position 0 would leave the stream without a beginning. */
static void test_sealed_at_zero(void)
{
    static uint8_t batch[4096] __attribute__((aligned(16)));
    node_make();
    configure("taken", 9, HG_STREAM_POSTGRES_PHYSICAL, 2, 0);
    uint32_t bytes = sealed_make(batch, sizeof(batch), 0, 100);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_POSITION);
    bytes = sealed_make(batch, sizeof(batch), 0, 50);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_POSITION);
    bytes = sealed_make(batch, sizeof(batch), 1000, 50);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_OK);
    bytes = sealed_make(batch, sizeof(batch), 1020, 50);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_POSITION);
    node_free();
}

/* A reader at the end sees the batch that comes next, though its write is open already. */
static void test_sequence_at_the_end(void)
{
    node_make();
    configure("one", 1, HG_STREAM_KEY_VALUE, 1, 0);
    configure("two", 2, HG_STREAM_KEY_VALUE, 1, 0);
    CU_ASSERT_EQUAL(append(0, 1, 1), HG_APPEND_OK);
    settle();
    CU_ASSERT_EQUAL(append(1, 1, 1), HG_APPEND_OK);
    hg_streams_seal(node.streams, true, node.now_ns); /* opens a write */
    uint64_t from = hg_streams_sequence_of(node.streams, 0, 2);
    CU_ASSERT_EQUAL(append(0, 2, 1), HG_APPEND_OK);
    hg_streams_seal(node.streams, true, node.now_ns);
    CU_ASSERT(from <= hg_streams_at(node.streams, 0)->sequence_last);
    node_free();
}

/* When the last batch of an idle stream is gone, nothing of it can be read, and it says so. */
static void test_oldest_of_an_idle_stream(void)
{
    node_make();
    configure("busy", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    configure("idle", 2, HG_STREAM_KEY_VALUE, 1, 0);
    hg_streams_at(node.streams, 0)->codec = HG_CODEC_NONE;
    CU_ASSERT_EQUAL(append(1, 1, 1), HG_APPEND_OK);
    settle();
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 1), 1);
    uint64_t lsn = 1000;
    for (int i = 0; i < 2000 && hg_log_tail_sequence(node.log) <= 1; i++, lsn += 60000) {
        CU_ASSERT_EQUAL(append(0, lsn, 60000), HG_APPEND_OK);
        hg_streams_at(node.streams, 1)->positions_changed = false;
        settle();
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(node.log) > 1);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 1), 2);
    CU_ASSERT_TRUE(hg_streams_at(node.streams, 1)->positions_changed);
    CU_ASSERT_EQUAL(append(1, 2, 1), HG_APPEND_OK);
    settle();
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, 1), 2);
    CU_ASSERT(hg_streams_sequence_of(node.streams, 1, 2) <= hg_streams_at(node.streams, 1)->sequence_last);
    node_free();
}

/* A peer's log may be formatted with larger writes than ours: its batch is refused, not believed to fit. */
static void test_sealed_too_large(void)
{
    static uint8_t raw[HG_FRAME_BYTES_MAX + 4096], data[HG_FRAME_DATA_BYTES_MAX];
    static uint8_t batch[HG_BATCH_BYTES_MAX + 4096] __attribute__((aligned(16)));
    static uint64_t lz4[4096];
    struct hg_batch_builder builder;
    struct hg_batch_origin origin = {
        .cluster = 7, .stream = 9, .incarnation = 1, .region = 2, .kind = HG_STREAM_KEY_VALUE, .epoch = 1};
    struct hg_frame frame = {
        .lsn = 1, .span = 1, .op = HG_OP_INSERT, .hlc = 1, .data = data, .data_bytes = sizeof(data)};
    node_make();
    configure("taken", 9, HG_STREAM_KEY_VALUE, 2, 0);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    uint32_t bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), lz4);
    CU_ASSERT(bytes > PAYLOAD_BYTES_MAX);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(node.streams, 0, 1, batch, bytes, 0), HG_SEALED_SIZE);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_sealed, 0);
    node_free();
}

/* Appends one batch, of what compresses or of what does not; true when it was stored compressed. */
static bool stored_compressed(bool compresses, uint32_t bytes)
{
    static uint8_t data[65536];
    const struct hg_stream_state *s = hg_streams_at(node.streams, 0);
    uint64_t raw = s->raw_bytes, stored = s->stored_bytes, random = 1;
    for (uint32_t i = 0; i < bytes; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        data[i] = compresses ? 7 : (uint8_t)(random >> 56);
    }
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .data_bytes = bytes, .data = data};
    CU_ASSERT_EQUAL(hg_streams_append(node.streams, 0, &frame, node.now_ns), HG_APPEND_OK);
    settle();
    CU_ASSERT(s->raw_bytes > raw);
    return s->stored_bytes - stored < s->raw_bytes - raw;
}

static void test_codec_is_spared(void)
{
    node_make();
    configure("stream", 1, HG_STREAM_KEY_VALUE, 1, 0);
    const uint32_t large = HG_STREAMS_CODEC_BYTES_MIN, small = 4000;
    CU_ASSERT(stored_compressed(true, large));
    CU_ASSERT_FALSE(stored_compressed(false, large));
    CU_ASSERT(stored_compressed(true, small)); /* neither spared nor counted */
    CU_ASSERT_FALSE(stored_compressed(true, large));
    CU_ASSERT(stored_compressed(true, large));
    CU_ASSERT_FALSE(stored_compressed(false, small)); /* teaches nothing */
    CU_ASSERT(stored_compressed(true, large));
    /* Attempts that fail come 1, 3, 7 and then always 15 batches apart. */
    static const uint32_t gaps[] = {1, 3, 7, 15, 15};
    for (size_t i = 0; i < HG_COUNT(gaps); i++) {
        CU_ASSERT_FALSE(stored_compressed(false, large));
        for (uint32_t j = 0; j < gaps[i]; j++)
            CU_ASSERT_FALSE(stored_compressed(true, large));
    }
    CU_ASSERT(stored_compressed(true, large));
    CU_ASSERT(stored_compressed(true, large));
    node_free();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("streams", NULL, NULL);
    CU_add_test(suite, "appends are refused by name", test_append_refusals);
    CU_add_test(suite, "a stamp too far ahead", test_stamp);
    CU_add_test(suite, "recovery brings back what was durable", test_recovery);
    CU_add_test(suite, "configuration may only agree", test_configuration_may_only_agree);
    CU_add_test(suite, "a peer that is away holds the log", test_retention);
    CU_add_test(suite, "unconfigured streams are kept", test_unconfigured_is_kept);
    CU_add_test(suite, "a stream that is configured no more", test_no_longer_configured);
    CU_add_test(suite, "a name that is used again", test_name_used_again);
    CU_add_test(suite, "consumers are remembered and removed", test_consumer);
    CU_add_test(suite, "a consumer is never behind what is left of its stream",
                test_consumer_behind_the_tail);
    CU_add_test(suite, "streams whose positions moved", test_changed);
    CU_add_test(suite, "sealed batches are taken or refused by name", test_sealed);
    CU_add_test(suite, "sealed batches of another stream", test_sealed_of_another);
    CU_add_test(suite, "a sealed batch at position 0", test_sealed_at_zero);
    CU_add_test(suite, "a sealed batch into a full log", test_sealed_into_a_full_log);
    CU_add_test(suite, "a consumer of a full log", test_consumer_of_a_full_log);
    CU_add_test(suite, "a reader at the end", test_sequence_at_the_end);
    CU_add_test(suite, "the oldest position of an idle stream", test_oldest_of_an_idle_stream);
    CU_add_test(suite, "a sealed batch larger than a write of this log", test_sealed_too_large);
    CU_add_test(suite, "what does not compress is not tried each time", test_codec_is_spared);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
