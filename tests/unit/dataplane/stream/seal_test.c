/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealing and opening a group over a real log: what is refused, what is on the device when it is answered,
 * and that all of it holds after a crash at every step.
 */
#include "dataplane/stream/seal.h"
#include "dataplane/wal/log_internal.h"
#include "stream_node.h"

#define KV HG_STREAM_KEY_VALUE

static struct stream_node node;

/* As after a power cut, and a start with its configuration. */
static void crash(void)
{
    hg_disk_sim_crash(node.disk);
    stream_node_close(&node);
    stream_node_open(&node);
    (void)stream_node_configure(&node, "own", 1, KV, 1, 0);
}

static void turns_until_sealed(uint64_t epoch)
{
    hg_log_close_write(node.log);
    for (int i = 0; i < 100 && !hg_streams_group_sealed(node.streams, 0, epoch); i++)
        stream_node_turn(&node);
    CU_ASSERT_TRUE_FATAL(hg_streams_group_sealed(node.streams, 0, epoch));
}

static void turns_until_open(uint64_t epoch)
{
    hg_log_close_write(node.log);
    for (int i = 0; i < 100 && !hg_streams_group_opened(node.streams, 0, epoch); i++)
        stream_node_turn(&node);
    CU_ASSERT_TRUE_FATAL(hg_streams_group_opened(node.streams, 0, epoch));
}

static enum hg_append_reason append_open(uint32_t slot)
{
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT};
    return hg_streams_append(node.streams, slot, &frame, node.now_ns);
}

static void test_seal(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
    const struct hg_stream_state *s = hg_streams_at(node.streams, slot);
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK); /* in the log, not yet durable */
    CU_ASSERT_EQUAL(append_open(slot), HG_APPEND_OK);                    /* in an open batch */
    CU_ASSERT_EQUAL(s->lsn_taken, 3);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    CU_ASSERT_EQUAL(append_open(slot), HG_APPEND_SEALED); /* at once */
    CU_ASSERT_EQUAL(s->lsn_taken, 2);                     /* what was open is dropped */
    CU_ASSERT_FALSE(hg_streams_group_sealed(node.streams, 0, 5));
    CU_ASSERT_EQUAL(hg_streams_seal(node.streams, true, node.now_ns), 0);
    turns_until_sealed(5);
    CU_ASSERT_EQUAL(s->lsn_durable, 2); /* the tail is whole when it is told */
    CU_ASSERT_EQUAL(hg_log_epoch_promised(node.log, 0), 5);
    CU_ASSERT_EQUAL(hg_streams_append_counts(node.streams)[HG_APPEND_SEALED], 1);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK); /* again */
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 4), HG_GROUP_seal_epoch);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, HG_GROUPS_MAX, 9), HG_GROUP_seal_limit);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 4), HG_GROUP_open_epoch);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 6), HG_GROUP_open_unpromised);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_seal_epoch], 1);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_open_unpromised], 1);
    crash();
    s = hg_streams_at(node.streams, slot);
    CU_ASSERT_EQUAL(s->lsn_durable, 2);
    CU_ASSERT_EQUAL(append_open(slot), HG_APPEND_SEALED);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 4), HG_GROUP_seal_epoch);
    stream_node_free(&node);
}

static void test_open(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
    (void)stream_node_configure(&node, "empty", 2, KV, 1, 0);
    (void)stream_node_append(&node, slot, 100);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5),
                    HG_GROUP_open_unpromised); /* not yet flushed */
    turns_until_sealed(5);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    CU_ASSERT_EQUAL(append_open(slot), HG_APPEND_SEALED); /* its beginning is not on the device */
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_seal_open);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_seal_open], 1);
    CU_ASSERT_EQUAL(hg_streams_group_release(node.streams, 0, 6), HG_GROUP_release_unbegun);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_release_unbegun], 1);
    turns_until_open(5);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK); /* again */
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
    stream_node_settle(&node);
    for (int life = 0; life < 3; life++) {
        const struct hg_stream_state *s = hg_streams_at(node.streams, slot);
        const struct hg_stream_state *empty = hg_streams_at(node.streams, 1);
        CU_ASSERT_EQUAL(s->lsn_durable, 3);
        CU_ASSERT_EQUAL(s->epoch, 5);
        CU_ASSERT_EQUAL(s->history.count, 2);
        CU_ASSERT_EQUAL(s->history.starts[0].epoch, 1);
        CU_ASSERT_EQUAL(s->history.starts[1].epoch, 5);
        CU_ASSERT_EQUAL(s->history.starts[1].lsn, 2);
        CU_ASSERT_EQUAL(empty->epoch, 5);
        CU_ASSERT_EQUAL(hg_history_last(&empty->history).epoch, 5);
        CU_ASSERT_EQUAL(hg_history_last(&empty->history).lsn, 0);
        CU_ASSERT_FALSE(hg_group_is_sealed(hg_streams_group(node.streams, 0)));
        crash();
    }
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
    /* A stream that comes later is of the epoch that is open. */
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, stream_node_configure(&node, "late", 3, KV, 1, 0))->epoch, 5);
    /* Another group would be another promise. */
    struct hg_config_stream config = {
        .name = "own", .stream = 1, .kind = KV, .region = 1, .epoch = 1, .group = 1};
    CU_ASSERT_EQUAL(hg_streams_configure(node.streams, &config), -EEXIST);
    config.stream = 77;
    config.group = HG_GROUPS_MAX;
    CU_ASSERT_EQUAL(hg_streams_configure(node.streams, &config), -EINVAL);
    stream_node_free(&node);
}

/* A stream that comes between an epoch's beginning and its release has no beginning under it, and nobody
 * chose its tail: the epoch does not begin once more, a higher one begins in all of them. */
static void test_stream_after_beginning(void)
{
    stream_node_make(&node, 1);
    (void)stream_node_configure(&node, "own", 1, KV, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_sealed(5);
    CU_ASSERT_EQUAL(hg_streams_group_begin(node.streams, 0, 5), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_streams_group_begin(node.streams, 0, 5), HG_GROUP_OK); /* again */
    uint32_t late = stream_node_configure(&node, "late", 2, KV, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_group_begin(node.streams, 0, 5), HG_GROUP_open_epoch);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_open_epoch], 1);
    stream_node_settle(&node);
    CU_ASSERT_EQUAL(hg_streams_group_begin(node.streams, 0, 5), HG_GROUP_open_epoch);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 6), HG_GROUP_OK);
    turns_until_sealed(6);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 6), HG_GROUP_OK);
    turns_until_open(6);
    CU_ASSERT_EQUAL(hg_history_last(&hg_streams_at(node.streams, late)->history).epoch, 6);
    (void)stream_node_configure(&node, "later", 3, KV, 1, 0); /* of the epoch that is open */
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 6), HG_GROUP_OK);
    stream_node_free(&node);
}

/* Power goes after each turn: an answered promise, and an epoch that was open, are there again. */
static void test_crash_at_every_step(void)
{
    uint32_t sealed_again = 0, open_again = 0, lost = 0;
    for (int steps = 0; steps < 60; steps++) {
        bool answered = false, opened = false;
        stream_node_make(&node, 1);
        uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
        (void)stream_node_append(&node, slot, 100);
        CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
        for (int i = 0; i < steps; i++) {
            hg_log_close_write(node.log);
            stream_node_turn(&node);
            if (!answered && hg_streams_group_sealed(node.streams, 0, 5)) {
                answered = true;
                CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
            }
            opened = hg_streams_group_opened(node.streams, 0, 5);
        }
        crash();
        const struct hg_group *group = hg_streams_group(node.streams, 0);
        CU_ASSERT(!answered || group->epoch_promised == 5);
        CU_ASSERT(!answered || hg_streams_at(node.streams, slot)->lsn_durable == 2);
        CU_ASSERT(!opened || group->epoch_open == 5);
        CU_ASSERT(group->epoch_open == 1 || group->epoch_promised == 5);
        lost += group->epoch_promised == 0;
        sealed_again += answered && hg_group_is_sealed(group);
        open_again += opened;
        stream_node_free(&node);
    }
    CU_ASSERT(lost > 0 && sealed_again > 0 && open_again > 0); /* every window was hit */
}

/* One of two copies that agreed rots: the promise that was answered still stands. */
static void test_rotten_copy(void)
{
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        stream_node_make(&node, 1);
        (void)stream_node_configure(&node, "own", 1, KV, 1, 0);
        CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
        turns_until_sealed(5);
        hg_disk_sim_crash(node.disk);
        hg_disk_sim_flip_bit(node.disk, (uint64_t)copy * HG_DISK_BLOCK_BYTES + 300, 3);
        hg_disk_sim_settle(node.disk);
        stream_node_close(&node);
        stream_node_open(&node);
        CU_ASSERT_EQUAL(hg_streams_group(node.streams, 0)->epoch_promised, 5);
        stream_node_free(&node);
    }
}

/* The history outlives the segments in which it was written. */
static void test_history_after_reuse(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
    (void)stream_node_append(&node, slot, 100);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_sealed(5);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_open(5);
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 60; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 900000), HG_APPEND_OK);
        stream_node_settle(&node);
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(node.log) > 10);
    crash();
    CU_ASSERT_EQUAL(hg_streams_group(node.streams, 0)->epoch_open, 5);
    CU_ASSERT_EQUAL(hg_history_last(&hg_streams_at(node.streams, slot)->history).epoch, 5);
    CU_ASSERT_EQUAL(hg_history_last(&hg_streams_at(node.streams, slot)->history).lsn, 2);
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
    stream_node_free(&node);
}

/* The newest write, whose header the ring has not yet got, is torn when the process dies. */
static void tear_the_tail(uint32_t slot)
{
    stream_node_end_torn(&node, slot);
    (void)stream_node_configure(&node, "own", 1, KV, 1, 0);
    CU_ASSERT_TRUE_FATAL(hg_log_tail_is_torn(node.log));
}

/* A copy that may have lost something says so until an epoch begins there, whatever is written over the torn
 * place and however often it starts. */
static void test_torn_tail_is_remembered(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
    (void)stream_node_append(&node, slot, 100);
    stream_node_settle(&node);
    CU_ASSERT_FALSE(hg_streams_at(node.streams, slot)->tail_unknown);
    tear_the_tail(slot);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->lsn_durable, 2);
    for (int life = 0; life < 4; life++) {
        CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown);
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 100), HG_APPEND_OK);
        stream_node_settle(&node);
        crash();
        CU_ASSERT_FALSE(hg_log_tail_is_torn(node.log));
    }
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 60; i++) { /* the log lets go of the torn place */
        CU_ASSERT_EQUAL(stream_node_append(&node, slot, 900000), HG_APPEND_OK);
        stream_node_settle(&node);
        hg_streams_retain(node.streams, node.now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(node.log) > 10);
    crash();
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_sealed(5);
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown); /* a seal decides nothing */
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_open(5);
    CU_ASSERT_FALSE(hg_streams_at(node.streams, slot)->tail_unknown);
    for (int life = 0; life < 2; life++) {
        crash();
        CU_ASSERT_FALSE(hg_streams_at(node.streams, slot)->tail_unknown);
    }
    tear_the_tail(slot); /* another one */
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown);
    crash();
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown);
    stream_node_free(&node);
}

/* A segment begins between an epoch's start in a stream and its flush: its table must not say again that more
 * may have been there. */
static void test_torn_tail_and_a_table(void)
{
    stream_node_make(&node, 1);
    uint32_t slot = stream_node_configure(&node, "own", 1, KV, 1, 0);
    (void)stream_node_append(&node, slot, 100);
    stream_node_settle(&node);
    tear_the_tail(slot);
    uint32_t other = stream_node_configure(&node, "other", 2, KV, 1, 0);
    hg_streams_at(node.streams, other)->group = 1;
    hg_streams_at(node.streams, other)->codec = HG_CODEC_NONE;
    hg_streams_at(node.streams, other)->tail_unknown = false;
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_sealed(5);
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown);
    uint64_t head = node.log->head_segment;
    for (int i = 0; i < 60 && node.log->next_offset < NODE_SEGMENT_BYTES / 2; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&node, other, 900000), HG_APPEND_OK);
        stream_node_settle(&node);
    }
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    for (int i = 0; i < 60 && node.log->head_segment == head; i++)
        if (stream_node_append(&node, other, 900000) != HG_APPEND_OK)
            break;
    CU_ASSERT_FATAL(node.log->head_segment > head);
    CU_ASSERT_TRUE(hg_streams_at(node.streams, slot)->tail_unknown); /* nothing of it is durable yet */
    stream_node_settle(&node);
    turns_until_open(5);
    CU_ASSERT_FALSE(hg_streams_at(node.streams, slot)->tail_unknown);
    crash();
    CU_ASSERT_FALSE(hg_streams_at(node.streams, slot)->tail_unknown);
    stream_node_free(&node);
}

/* A group that another region writes is sealed here, and opened there. */
static void test_foreign(void)
{
    stream_node_make(&node, 1);
    (void)stream_node_configure(&node, "taken", 9, KV, 2, 0);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    turns_until_sealed(5);
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_open_foreign);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_open_foreign], 1);
    (void)stream_node_configure(&node, "own", 1, KV, 1, 0); /* and ours beside it */
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 6), HG_GROUP_seal_mixed);
    CU_ASSERT_EQUAL(hg_streams_group_counts(node.streams)[HG_GROUP_seal_mixed], 1);
    CU_ASSERT_EQUAL(hg_streams_group(node.streams, 0)->epoch_wanted, 5);
    stream_node_free(&node);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("seal", NULL, NULL);
    CU_add_test(suite, "a stream that comes after the beginning", test_stream_after_beginning);
    CU_add_test(suite, "seal", test_seal);
    CU_add_test(suite, "open", test_open);
    CU_add_test(suite, "crash at every step", test_crash_at_every_step);
    CU_add_test(suite, "a rotten superblock copy", test_rotten_copy);
    CU_add_test(suite, "history after reuse", test_history_after_reuse);
    CU_add_test(suite, "another region's group", test_foreign);
    CU_add_test(suite, "a torn tail is remembered", test_torn_tail_is_remembered);
    CU_add_test(suite, "and ends with the epoch", test_torn_tail_and_a_table);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 9;
}
