/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of a log with an accepted loss: who had something in the lost write begins anew behind it and is
 * not served across it, who had nothing goes on as if nothing was, and no consumer is moved.
 */
#include "dataplane/stream/cursor.h"
#include "dataplane/stream/streams_internal.h"
#include "dataplane/wal/log_loss.h"
#include "stream_node.h"

static struct stream_node node;
static uint32_t one, two;
static struct hg_log_finding damage;

static int device_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    (void)ctx;
    memcpy(data, hg_disk_sim_bytes(node.disk) + offset, bytes);
    return 0;
}

static int device_write(void *ctx, const void *data, uint32_t bytes, uint64_t offset)
{
    (void)ctx;
    memcpy(hg_disk_sim_bytes(node.disk) + offset, data, bytes);
    return 0;
}

static int device_flush(void *ctx)
{
    (void)ctx;
    hg_disk_sim_settle(node.disk);
    return 0;
}

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    (void)ctx;
    if (finding->kind == HG_LOG_FINDING_CORRUPT)
        damage = *finding;
}

/* One frame in a write of its own. Returns the write. */
static uint64_t put(uint32_t slot)
{
    uint64_t sequence = hg_log_append_sequence(node.log);
    CU_ASSERT_EQUAL_FATAL(stream_node_append(&node, slot, 500), HG_APPEND_OK);
    stream_node_settle(&node);
    return sequence;
}

/* Flips a bit of the write and accepts its loss. */
static void lose(uint64_t sequence)
{
    static const struct hg_log_audit_ops audit_ops = {.read = device_read, .finding = finding_take};
    static const struct hg_log_loss_ops ops = {
        .read = device_read, .write = device_write, .flush = device_flush};
    struct hg_log_audit_config audit = {.ops = &audit_ops, .size_bytes = node.disk->size_bytes};
    struct hg_log_audit_result result;
    struct hg_log_hole hole;
    uint8_t *at = hg_disk_sim_bytes(node.disk) + HG_LOG_SEGMENTS_OFFSET;
    while (((const struct hg_log_write_header *)at)->sequence != sequence)
        at += HG_LOG_BLOCK_BYTES;
    at[HG_LOG_BLOCK_BYTES + 40] ^= 4;
    hg_disk_sim_settle(node.disk);
    hg_log_audit(&audit, &result);
    CU_ASSERT_EQUAL_FATAL(result.outcome, HG_LOG_OUTCOME_CORRUPT);
    CU_ASSERT_EQUAL_FATAL(damage.sequence, sequence);
    CU_ASSERT_PTR_NULL_FATAL(hg_log_loss_of(&damage, &hole));
    CU_ASSERT_EQUAL_FATAL(hg_log_loss_accept(&ops, NULL, &hole), 0);
}

static void begin(void)
{
    stream_node_make(&node, 1);
    one = stream_node_configure(&node, "one", 11, HG_STREAM_KEY_VALUE, 1, 0);
    two = stream_node_configure(&node, "two", 12, HG_STREAM_KEY_VALUE, 1, 0);
}

static const struct hg_stream_state *state(uint32_t slot)
{
    return hg_streams_at(node.streams, slot);
}

/* Batches of the stream from `lsn` on, as a reader meets them; stops where they don't follow. */
static uint64_t read_from(uint32_t slot, uint64_t lsn)
{
    struct hg_cursor cursor = {.sequence = hg_streams_sequence_of(node.streams, slot, lsn)};
    const struct hg_batch_header *header;
    for (int i = 0; i < 200; i++) {
        int rc = hg_cursor_peek(&cursor, node.log, &header);
        CU_ASSERT_FATAL(rc >= 0);
        if (rc == 0) {
            stream_node_turn(&node);
            continue;
        }
        if ((header->flags & HG_BATCH_LOCAL) == 0 && header->stream == state(slot)->stream &&
            header->lsn_first == lsn)
            lsn = header->lsn_end;
        hg_cursor_advance(&cursor, header);
    }
    return lsn;
}

static void test_middle(void)
{
    begin();
    put(one);
    put(two);
    CU_ASSERT_FATAL(hg_streams_consumer_add(node.streams, "early", one) >= 0);
    CU_ASSERT_FATAL(hg_streams_consumer_add(node.streams, "other", two) >= 0);
    stream_node_settle(&node); /* a write of their own */
    uint64_t begin_lsn = state(one)->lsn_begin;
    uint64_t consumer_lsn =
        hg_streams_consumer_at(node.streams, (uint32_t)hg_streams_consumer_find(node.streams, "early"))->lsn;
    uint64_t lost_first = state(one)->lsn_durable;
    uint64_t lost = put(one);
    uint64_t lost_end = state(one)->lsn_durable;
    put(one);
    put(two);
    stream_node_close(&node);
    lose(lost);
    for (int start = 0; start < 2; start++) {
        stream_node_open(&node);
        one = (uint32_t)hg_streams_find(node.streams, 11);
        two = (uint32_t)hg_streams_find(node.streams, 12);
        CU_ASSERT_EQUAL(state(one)->lost_first, lost_first);
        CU_ASSERT_EQUAL(state(one)->lost_end, lost_end);
        CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, one), lost_end);
        CU_ASSERT_EQUAL(read_from(one, lost_end), state(one)->lsn_durable);
        CU_ASSERT_EQUAL(state(two)->lost_end, 0);
        CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, two), state(two)->lsn_begin);
        CU_ASSERT_EQUAL(read_from(two, state(two)->lsn_begin), state(two)->lsn_durable);
        CU_ASSERT_EQUAL(node.events[HG_EVENT_stream_lost], start + 1);
        CU_ASSERT_EQUAL(node.event_last[HG_EVENT_stream_lost].a, lost_first);
        int32_t consumer = hg_streams_consumer_find(node.streams, "early");
        CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, (uint32_t)consumer)->lsn, consumer_lsn);
        CU_ASSERT(consumer_lsn < lost_end && begin_lsn < lost_first);
        CU_ASSERT_EQUAL(node.events[HG_EVENT_consumer_lost], start + 1);
        stream_node_configure(&node, "one", 11, HG_STREAM_KEY_VALUE, 1, 0);
        put(one);
        CU_ASSERT_EQUAL(read_from(one, lost_end), state(one)->lsn_durable);
        stream_node_close(&node);
    }
    stream_node_open(&node);
    stream_node_free(&node);
}

/* The write with the table of streams: what comes behind tells of them, and the next table has their names.
 */
static void test_first(void)
{
    begin();
    uint64_t lost = put(one);
    CU_ASSERT_EQUAL(lost, 1);
    uint64_t lsn = state(one)->lsn_durable;
    put(one);
    stream_node_close(&node);
    lose(lost);
    stream_node_open(&node);
    int32_t found = hg_streams_find(node.streams, 11);
    CU_ASSERT_FATAL(found >= 0);
    one = (uint32_t)found;
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, one), lsn);
    CU_ASSERT_EQUAL(state(one)->incarnation, 1);
    stream_node_configure(&node, "one", 11, HG_STREAM_KEY_VALUE, 1, 0);
    put(one);
    CU_ASSERT_EQUAL(read_from(one, lsn), state(one)->lsn_durable);
    stream_node_free(&node);
}

/* Nothing of the stream comes behind it: what was lost is not known, and so is said. */
static void test_last(void)
{
    begin();
    put(one);
    uint64_t lsn = state(one)->lsn_durable;
    uint64_t lost = put(one);
    put(two);
    stream_node_close(&node);
    lose(lost);
    stream_node_open(&node);
    one = (uint32_t)hg_streams_find(node.streams, 11);
    CU_ASSERT_EQUAL(state(one)->lsn_durable, lsn);
    CU_ASSERT_TRUE(state(one)->tail_unknown);
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("loss", NULL, NULL);
    CU_add_test(suite, "in the middle of two streams", test_middle);
    CU_add_test(suite, "the table of streams", test_first);
    CU_add_test(suite, "the last of a stream", test_last);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
