/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking the durable log: batch by batch, in order, from memory or from disk, never past what is durable.
 */
#include "stream_node.h"

static struct stream_node node;

/* LSN of the next batch of a global stream, 0 = none yet. Turns while it is being read. */
static uint64_t next_lsn(struct hg_cursor *cursor)
{
    const struct hg_batch_header *header;
    for (int turns = 0; turns < 200;) {
        int rc = hg_cursor_peek(cursor, node.log, &header);
        CU_ASSERT_FATAL(rc >= 0);
        if (rc == 0) {
            turns++;
            stream_node_turn(&node);
            continue;
        }
        uint64_t lsn = header->flags & HG_BATCH_LOCAL ? 0 : header->lsn_first;
        hg_cursor_advance(cursor, header);
        if (lsn != 0)
            return lsn;
    }
    return 0;
}

static void test_walk(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "kv", 1, HG_STREAM_KEY_VALUE, 1, 0);
    for (int i = 0; i < 40; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
        if (i % 3 == 2)
            stream_node_settle(&node);
    }
    /* The last one is not durable: the walk ends before it, and goes on when it is. */
    for (uint64_t lsn = 1; lsn <= 39; lsn++)
        CU_ASSERT_EQUAL(next_lsn(&cursor), lsn);
    const struct hg_batch_header *header;
    CU_ASSERT_EQUAL(hg_cursor_peek(&cursor, node.log, &header), 0);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(next_lsn(&cursor), 40);
    CU_ASSERT_EQUAL(next_lsn(&cursor), 0);
    stream_node_free(&node);
}

/* What left the arena long ago comes from the disk, the same bytes. */
static void test_walk_from_disk(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "kv", 1, HG_STREAM_KEY_VALUE, 1, 1);
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 28; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 200000), HG_APPEND_OK);
        stream_node_settle(&node);
    }
    struct hg_log_stats before, after;
    hg_log_stats_get(node.log, &before);
    for (uint64_t lsn = 1; lsn <= 28; lsn++)
        CU_ASSERT_EQUAL(next_lsn(&cursor), lsn);
    hg_log_stats_get(node.log, &after);
    CU_ASSERT(after.reads > before.reads);
    stream_node_free(&node);
}

/* Below the tail there is nothing: it says so rather than skip. */
static void test_trimmed(void)
{
    struct hg_cursor cursor = {.sequence = 1};
    const struct hg_batch_header *header;
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "kv", 1, HG_STREAM_KEY_VALUE, 1, 0);
    stream_node_forget_beginning(&node, slot);
    CU_ASSERT_EQUAL(hg_cursor_peek(&cursor, node.log, &header), -ENOENT);
    cursor.sequence = hg_log_tail_sequence(node.log);
    CU_ASSERT_EQUAL(next_lsn(&cursor), hg_streams_lsn_oldest(node.streams, slot));
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cursor", NULL, NULL);
    CU_add_test(suite, "every durable batch, in order", test_walk);
    CU_add_test(suite, "from disk", test_walk_from_disk);
    CU_add_test(suite, "below the tail", test_trimmed);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
