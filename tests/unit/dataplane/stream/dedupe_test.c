/* SPDX-License-Identifier: Apache-2.0
 *
 * Retries of entries: answered with the LSN of the first try from the open batch on, after a restart, after
 * every segment that had it was reused, and on a copy that took the batches of another node.
 */
#include "dataplane/stream/streams_internal.h"
#include "stream_node.h"

static struct stream_node node, copy;

static enum hg_append_reason append(uint64_t client, uint64_t sequence, bool again, uint64_t *lsn)
{
    struct hg_frame frame = {.span = 1,
                             .op = HG_OP_INSERT,
                             .data = "entry",
                             .data_bytes = 5,
                             .client_id = client,
                             .client_sequence = sequence,
                             .again = again};
    enum hg_append_reason reason = hg_streams_append(node.streams, 0, &frame, node.now_ns);
    *lsn = frame.lsn;
    return reason;
}

static void expect(enum hg_append_reason reason, uint64_t client, uint64_t sequence, uint64_t lsn)
{
    uint64_t at;
    CU_ASSERT_EQUAL(append(client, sequence, true, &at), reason);
    CU_ASSERT(reason == HG_APPEND_SESSION_OLD || at == lsn);
}

static void settle(void)
{
    hg_streams_seal(node.streams, true, node.now_ns);
    stream_node_settle(&node);
}

static void restart(void)
{
    stream_node_close(&node);
    stream_node_open(&node);
    CU_ASSERT_EQUAL(stream_node_configure(&node, "s", 5, HG_STREAM_KEY_VALUE, 1, 0), 0);
}

static void begin(void)
{
    stream_node_make(&node, 1);
    CU_ASSERT_EQUAL(stream_node_configure(&node, "s", 5, HG_STREAM_KEY_VALUE, 1, 0), 0);
}

static void test_restart(void)
{
    begin();
    expect(HG_APPEND_OK, 7, 1, 1);
    expect(HG_APPEND_DUPLICATE, 7, 1, 1); /* in the open batch */
    expect(HG_APPEND_OK, 7, 2, 2);
    settle();
    expect(HG_APPEND_DUPLICATE, 7, 1, 1);
    expect(HG_APPEND_OK, 7, 3, 3); /* never sealed: lost with the process */
    restart();
    expect(HG_APPEND_DUPLICATE, 7, 1, 1);
    expect(HG_APPEND_DUPLICATE, 7, 2, 2);
    expect(HG_APPEND_OK, 7, 3, 3); /* so it is new */
    CU_ASSERT_EQUAL(hg_streams_append_counts(node.streams)[HG_APPEND_DUPLICATE], 2);
    stream_node_free(&node);
}

/* Only tables of segments have what was appended until now. */
static void reuse_segments(void)
{
    settle();
    hg_streams_at(node.streams, 0)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_log_tail_sequence(node.log) <= 3; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, 0, 500000), HG_APPEND_OK);
        stream_node_settle(&node);
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT_TRUE_FATAL(hg_log_tail_sequence(node.log) > 3);
    restart();
}

/* Its segments are forgotten; the table at the beginning of each that follows still has it. */
static void test_segments_reused(void)
{
    begin();
    for (uint64_t i = 1; i <= 20; i++)
        expect(HG_APPEND_OK, 7, 2 * i, i);
    reuse_segments();
    expect(HG_APPEND_DUPLICATE, 7, 40, 20);
    expect(HG_APPEND_DUPLICATE, 7, 2 * (21 - HG_SESSION_RUNS_MAX), 21 - HG_SESSION_RUNS_MAX);
    expect(HG_APPEND_SESSION_OLD, 7, 2, 0);
    stream_node_free(&node);
}

/* Whatever sequence a client chose, the log can be opened. */
static void test_highest_sequence(void)
{
    begin();
    expect(HG_APPEND_OK, 7, 3, 1);
    expect(HG_APPEND_OK, 7, UINT64_MAX, 2);
    expect(HG_APPEND_OK, 8, UINT64_MAX - 1, 3);
    expect(HG_APPEND_OK, 8, UINT64_MAX, 4);
    reuse_segments();
    expect(HG_APPEND_DUPLICATE, 7, UINT64_MAX, 2);
    expect(HG_APPEND_DUPLICATE, 8, UINT64_MAX - 1, 3);
    expect(HG_APPEND_DUPLICATE, 8, UINT64_MAX, 4);
    expect(HG_APPEND_SESSION_OLD, 7, 3, 0);
    stream_node_free(&node);
}

/* A segment begins while the entry is in an open batch, and then the process dies: its table must not have
 * it. */
static void test_table_before_its_batch(void)
{
    uint64_t lsn;
    begin();
    hg_streams_at(node.streams, 0)->codec = HG_CODEC_NONE;
    CU_ASSERT_EQUAL(stream_node_configure(&node, "other", 6, HG_STREAM_KEY_VALUE, 1, 0), 1);
    hg_streams_at(node.streams, 1)->codec = HG_CODEC_NONE;
    CU_ASSERT_EQUAL(append(7, 1, false, &lsn), HG_APPEND_OK);
    static uint8_t data[500000];
    for (int i = 0; i < 12; i++) { /* more than a segment of another stream, sealed by itself */
        struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .data_bytes = sizeof(data), .data = data};
        CU_ASSERT_EQUAL(hg_streams_append(node.streams, 1, &frame, node.now_ns), HG_APPEND_OK);
        stream_node_settle(&node);
    }
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_sealed, 0);
    restart();
    expect(HG_APPEND_OK, 7, 1, 1);
    stream_node_free(&node);
}

static void test_copy(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    uint64_t lsn;
    begin();
    stream_node_make(&copy, 2);
    CU_ASSERT_EQUAL(stream_node_configure(&copy, "s", 5, HG_STREAM_KEY_VALUE, 1, 0), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        CU_ASSERT_EQUAL(append(7 + i % 3, i, false, &lsn), HG_APPEND_OK);
        if (i % 10 == 0)
            settle();
    }
    for (int rc = 1; rc >= 0 && cursor.sequence <= hg_log_durable_sequence(node.log);) {
        rc = hg_cursor_peek(&cursor, node.log, &header);
        if (rc != 1)
            break;
        if ((header->flags & HG_BATCH_LOCAL) == 0) {
            CU_ASSERT_EQUAL(header->flags, HG_BATCH_CLIENTS);
            CU_ASSERT_EQUAL(hg_streams_append_sealed(copy.streams, 0, 1, (const uint8_t *)header,
                                                     hg_batch_bytes(header), copy.now_ns),
                            HG_SEALED_OK);
        }
        hg_cursor_advance(&cursor, header);
    }
    stream_node_settle(&copy);
    for (int life = 0; life < 2; life++) {
        CU_ASSERT_EQUAL(hg_streams_at(copy.streams, 0)->lsn_durable, 51);
        for (uint64_t i = 45; i <= 50; i++) {
            CU_ASSERT_EQUAL(hg_sessions_ask(copy.streams->sessions, 5, 7 + i % 3, i, true, false, &lsn),
                            HG_SESSION_DUPLICATE);
            CU_ASSERT_EQUAL(lsn, i);
        }
        stream_node_close(&copy);
        stream_node_open(&copy);
    }
    stream_node_free(&copy);
    stream_node_free(&node);
}

static void test_sealed(void)
{
    begin();
    expect(HG_APPEND_OK, 7, 1, 1);
    settle();
    expect(HG_APPEND_OK, 7, 2, 2);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK); /* the open batch is dropped */
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    settle();
    expect(HG_APPEND_DUPLICATE, 7, 1, 1);
    expect(HG_APPEND_OK, 7, 2, 2);
    stream_node_free(&node);
}

static void test_evicted(void)
{
    uint64_t lsn;
    begin();
    for (uint64_t i = 1; i <= HG_SESSIONS_MAX; i++)
        expect(HG_APPEND_OK, i, 1, i); /* a retry of nobody: nothing was forgotten yet */
    CU_ASSERT_EQUAL(append(1000, 1, false, &lsn), HG_APPEND_OK);
    settle();
    for (int life = 0; life < 2; life++) {
        CU_ASSERT_EQUAL(append(1, 1, true, &lsn),
                        HG_APPEND_SESSION_EVICTED); /* never appended again in silence */
        expect(HG_APPEND_DUPLICATE, 2, 1, 2);
        restart();
    }
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("dedupe", NULL, NULL);
    CU_add_test(suite, "restart", test_restart);
    CU_add_test(suite, "segments reused", test_segments_reused);
    CU_add_test(suite, "the highest sequence", test_highest_sequence);
    CU_add_test(suite, "a table before its batch", test_table_before_its_batch);
    CU_add_test(suite, "copy", test_copy);
    CU_add_test(suite, "sealed", test_sealed);
    CU_add_test(suite, "evicted", test_evicted);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 7;
}
