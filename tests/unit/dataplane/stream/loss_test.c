/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of a log with an accepted loss: who had something in the lost write begins anew behind it and is
 * not served across it, who had nothing goes on as if nothing was, and no consumer is moved.
 */
#include "dataplane/stream/cursor.h"
#include "dataplane/stream/cut.h"
#include "dataplane/stream/streams_internal.h"
#include "dataplane/wal/log_loss.h"
#include "stream_node.h"

static struct stream_node node;
static uint32_t one, two;
static struct hg_log_finding damage;
static uint32_t findings[HG_LOG_FINDING_COUNT]; /* of the last audit */

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
    findings[finding->kind]++;
    if (finding->kind == HG_LOG_FINDING_CORRUPT)
        damage = *finding;
}

static enum hg_log_outcome audit_outcome(void)
{
    static const struct hg_log_audit_ops ops = {.read = device_read, .finding = finding_take};
    struct hg_log_audit_config audit = {.ops = &ops, .size_bytes = node.disk->size_bytes};
    struct hg_log_audit_result result;
    memset(findings, 0, sizeof(findings));
    hg_log_audit(&audit, &result);
    return result.outcome;
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
    static const struct hg_log_loss_ops ops = {
        .read = device_read, .write = device_write, .flush = device_flush};
    struct hg_log_hole hole;
    uint8_t *at = hg_disk_sim_bytes(node.disk) + HG_LOG_SEGMENTS_OFFSET;
    while (((const struct hg_log_write_header *)at)->sequence != sequence)
        at += HG_LOG_BLOCK_BYTES;
    at[HG_LOG_BLOCK_BYTES + 40] ^= 4;
    hg_disk_sim_settle(node.disk);
    CU_ASSERT_EQUAL_FATAL(audit_outcome(), HG_LOG_OUTCOME_CORRUPT);
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

/* One write of two batches. Returns it; *lsn: where the second begins. */
static uint64_t put_two(uint32_t slot, uint64_t *lsn, uint8_t chain[16])
{
    uint64_t sequence = hg_log_append_sequence(node.log);
    CU_ASSERT_EQUAL_FATAL(stream_node_append(&node, slot, 500), HG_APPEND_OK);
    *lsn = state(slot)->lsn_sealed;
    memcpy(chain, state(slot)->chain_sealed, 16);
    CU_ASSERT_EQUAL_FATAL(stream_node_append(&node, slot, 500), HG_APPEND_OK);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL_FATAL(hg_log_durable_sequence(node.log), sequence);
    return sequence;
}

/* Another epoch of the group, whose writer has only what lies before `lsn`. */
static void cut(uint32_t slot, uint64_t epoch, uint64_t lsn, const uint8_t chain[16])
{
    struct hg_cut_point point = {.epoch = epoch, .lsn = lsn, .epoch_common = 1};
    enum hg_group_reason reason = HG_GROUP_WOULD_BLOCK;
    memcpy(point.chain, chain, sizeof(point.chain));
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_seal(node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&node);
    for (int i = 0; i < 200 && reason == HG_GROUP_WOULD_BLOCK; i++) {
        reason = hg_streams_cut(node.streams, slot, &point, node.now_ns);
        if (hg_streams_orphan_due(node.streams, node.now_ns) != NULL)
            hg_streams_orphan_written(node.streams, 0, node.now_ns);
        stream_node_turn(&node);
    }
    CU_ASSERT_EQUAL_FATAL(reason, HG_GROUP_OK);
    stream_node_settle(&node);
    CU_ASSERT_FALSE_FATAL(hg_streams_is_cutting(node.streams, slot));
}

static void begin_epoch(uint64_t epoch)
{
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_begin(node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL_FATAL(hg_streams_group_release(node.streams, 0, epoch), HG_GROUP_OK);
    stream_node_settle(&node);
}

/* Both batches of a write are lost, and what the log says of their stream next is that it ends between them:
 * it begins anew there. `before`: batches of it before that; `first`: the write has the table, too. */
static void lost_before_cut(uint32_t before, bool first)
{
    uint64_t lsn;
    uint8_t chain[16];
    stream_node_make(&node, 1);
    one = stream_node_configure(&node, "one", 11, HG_STREAM_KEY_VALUE, 1, 1); /* peer 0 has nothing yet */
    two = stream_node_configure(&node, "two", 12, HG_STREAM_KEY_VALUE, 1, 1);
    hg_streams_quorum_set(node.streams, 1, 2);
    if (!first)
        put(two);
    for (uint32_t i = 0; i < before; i++)
        put(one);
    uint64_t lost_first = state(one)->lsn_durable;
    uint64_t lost = put_two(one, &lsn, chain);
    cut(one, 5, lsn, chain);
    CU_ASSERT_EQUAL_FATAL(state(one)->lsn_durable, lsn);
    stream_node_close(&node);
    lose(lost);
    CU_ASSERT_EQUAL(findings[HG_LOG_FINDING_HOLE], before > 0);
    CU_ASSERT_EQUAL(findings[HG_LOG_FINDING_TABLE], 0);
    CU_ASSERT_EQUAL(audit_outcome(), HG_LOG_OUTCOME_OPENS);
    CU_ASSERT_EQUAL(findings[HG_LOG_FINDING_BEGINS_ANEW], before > 0);
    for (int start = 0; start < 2; start++) {
        stream_node_open(&node);
        int32_t found = hg_streams_find(node.streams, 11);
        CU_ASSERT_FATAL(found >= 0);
        one = (uint32_t)found;
        CU_ASSERT_EQUAL(state(one)->lsn_durable - (uint64_t)start, lsn);
        CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, one), lsn);
        CU_ASSERT_EQUAL(state(one)->lost_first, before > 0 ? lost_first : 0);
        CU_ASSERT_EQUAL(state(one)->lost_end, before > 0 ? lsn : 0);
        CU_ASSERT_EQUAL(state(one)->epoch, start == 0 ? 1 : 5);
        CU_ASSERT_EQUAL(hg_history_last(&state(one)->history).epoch, state(one)->epoch);
        CU_ASSERT_FALSE(state(one)->tail_unknown);
        CU_ASSERT_NOT_EQUAL(state(one)->lsn_begin, 0);
        CU_ASSERT_EQUAL(memcmp(state(one)->chain_durable, chain, sizeof(chain)) == 0, start == 0);
        one = stream_node_configure(&node, "one", 11, HG_STREAM_KEY_VALUE, 1, 1);
        two = stream_node_configure(&node, "two", 12, HG_STREAM_KEY_VALUE, 1, 1);
        hg_streams_quorum_set(node.streams, 1, 2);
        if (start == 0) {
            begin_epoch(5);
            put(one);
        }
        CU_ASSERT_EQUAL(read_from(one, lsn), lsn + 1);
        stream_node_close(&node);
        CU_ASSERT_EQUAL(audit_outcome(), HG_LOG_OUTCOME_OPENS);
    }
    stream_node_open(&node);
    stream_node_free(&node);
}

static void test_cut(void)
{
    lost_before_cut(2, false);
}

static void test_cut_of_new(void)
{
    lost_before_cut(0, false);
}

static void test_cut_of_unknown(void)
{
    lost_before_cut(0, true);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("loss", NULL, NULL);
    CU_add_test(suite, "in the middle of two streams", test_middle);
    CU_add_test(suite, "the table of streams", test_first);
    CU_add_test(suite, "the last of a stream", test_last);
    CU_add_test(suite, "a cut behind it", test_cut);
    CU_add_test(suite, "a cut of a stream that had nothing before it", test_cut_of_new);
    CU_add_test(suite, "a cut of a stream whose table is lost", test_cut_of_unknown);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
