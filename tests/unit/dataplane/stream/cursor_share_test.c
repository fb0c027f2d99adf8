/* SPDX-License-Identifier: Apache-2.0
 *
 * Readers that are behind share what is read from the disk for one of them.
 */
#define NODE_SEGMENTS 16u
#include "stream_node.h"

static struct stream_node node;

/* Bytes that `count` readers, so many writes one behind the other, had from the disk for a log of 40 MB; each
 * takes a batch a turn. */
#define READERS_MAX 8u
static uint64_t bytes_read(uint32_t count, uint64_t gap, uint64_t *walked_bytes)
{
    struct hg_cursor cursors[READERS_MAX] = {{0}};
    const struct hg_batch_header *header;
    struct hg_log_stats stats;
    stream_node_close(&node);
    memset(node.arena, 0, hg_log_arena_bytes_min(NODE_PAYLOAD_BYTES_MAX));
    stream_node_open(&node); /* nothing is in memory any more */
    uint64_t end = hg_log_durable_sequence(node.log);
    for (uint32_t i = 0; i < count; i++)
        cursors[i].sequence = 1 + i * gap;
    uint32_t done = 0;
    for (uint32_t turns = 0; done < count && turns < 20000; turns++) {
        done = 0;
        for (uint32_t i = 0; i < count; i++) {
            int rc = hg_cursor_peek(&cursors[i], node.log, &header);
            CU_ASSERT_FATAL(rc >= 0);
            if (rc == 1)
                hg_cursor_advance(&cursors[i], header);
            done += cursors[i].sequence > end;
        }
        stream_node_turn(&node);
    }
    CU_ASSERT_EQUAL(done, count);
    hg_log_stats_get(node.log, &stats);
    *walked_bytes = stats.walked_bytes;
    return stats.read_bytes;
}

/* Eight who are behind and near one another cost the disk what one does. */
static void test_share(void)
{
    uint64_t walked_one, walked_eight, walked_spread, walked_apart;
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "kv", 1, HG_STREAM_KEY_VALUE, 1, 1);
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 330; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, i % 3 == 0 ? 200000 : 50000), HG_APPEND_OK);
        stream_node_settle(&node);
    }
    uint64_t one = bytes_read(1, 1, &walked_one), eight = bytes_read(8, 1, &walked_eight);
    uint64_t spread = bytes_read(8, 6, &walked_spread), apart = bytes_read(8, 40, &walked_apart);
    printf("\n    read/delivered: one %.3f, eight near one another %.3f, eight far apart %.3f\n    ",
           (double)one / (double)walked_one, (double)eight / (double)walked_eight,
           (double)apart / (double)walked_apart);
    CU_ASSERT(one <= walked_one + NODE_SEGMENT_BYTES / 4);
    CU_ASSERT(walked_eight > 7 * walked_one);
    CU_ASSERT(eight < one + one / 10);
    CU_ASSERT(spread < one + one / 10); /* over half of what the slots hold */
    /* Who is far from all others reads for itself, once. */
    CU_ASSERT(apart <= walked_apart + walked_apart / 10);
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cursor_share", NULL, NULL);
    CU_add_test(suite, "readers near one another share reads", test_share);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
