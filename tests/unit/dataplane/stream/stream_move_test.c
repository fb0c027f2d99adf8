/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream moves between two logs of a node: whom it waits for, what goes over, and whose it is after a crash
 * at each step.
 */
#include "dataplane/stream/move.h"
#include "dataplane/stream/quorum.h"
#include "stream_node.h"

#define ID 11u
#define KV HG_STREAM_KEY_VALUE

static struct stream_node logs[2];
static struct hg_stream_transfer transfer;
static uint32_t slot; /* of the stream in logs[0] */

static struct hg_stream_state *state_of(uint32_t log)
{
    int32_t found = hg_streams_find(logs[log].streams, ID);
    return found < 0 ? NULL : hg_streams_at(logs[log].streams, (uint32_t)found);
}

static uint32_t begin(uint64_t peers_mask)
{
    stream_node_make(&logs[0], 1);
    stream_node_make(&logs[1], 1);
    slot = stream_node_configure(&logs[0], "one", ID, KV, 1, peers_mask);
    CU_ASSERT(hg_streams_consumer_add(logs[0].streams, "archive", slot) >= 0);
    for (int i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(stream_node_append(&logs[0], slot, 100), HG_APPEND_OK);
    stream_node_settle(&logs[0]);
    return slot;
}

static void end(void)
{
    stream_node_free(&logs[0]);
    stream_node_free(&logs[1]);
}

static void consumer_reads_all(void)
{
    int32_t consumer = hg_streams_consumer_find(logs[0].streams, "archive");
    hg_streams_consumer_advance(logs[0].streams, (uint32_t)consumer, state_of(0)->lsn_durable);
}

/* Power goes; what was not flushed is lost. */
static void crash(uint32_t log)
{
    hg_disk_sim_crash(logs[log].disk);
    stream_node_close(&logs[log]);
    stream_node_open(&logs[log]);
}

static void test_waits(void)
{
    uint32_t who = 99;
    begin(1);
    CU_ASSERT_EQUAL(stream_node_append(&logs[0], slot, 100), HG_APPEND_OK);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    CU_ASSERT_EQUAL(stream_node_append(&logs[0], slot, 100), HG_APPEND_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_DISK);
    stream_node_settle(&logs[0]);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_CONSUMER);
    CU_ASSERT_EQUAL(who, (uint32_t)hg_streams_consumer_find(logs[0].streams, "archive"));
    consumer_reads_all();
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_PEER);
    CU_ASSERT_EQUAL(who, 0);
    hg_streams_peer_durable(logs[0].streams, slot, 0, 6);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_PEER);
    hg_streams_peer_durable(logs[0].streams, slot, 0, 7);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_NOBODY);
    hg_streams_peer_restated(logs[0].streams, slot, 0, 0, 77, false); /* it has another disk, and nothing */
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_PEER);
    hg_streams_peer_durable(logs[0].streams, slot, 0, 7);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_NOBODY);
    hg_streams_move_cancel(logs[0].streams, slot);
    CU_ASSERT_EQUAL(stream_node_append(&logs[0], slot, 100), HG_APPEND_OK);
    CU_ASSERT_EQUAL(state_of(0)->lsn_taken, 8);
    end();
}

/* The writer's own copy would count no more. */
static void test_logs_that_are_named(void)
{
    struct hg_copies copies = {.count = 1, .nodes[0] = {.node = 1, .log_count = 1, .logs = {42}}};
    begin(0);
    hg_streams_copies_set(logs[0].streams, 0, &copies, false);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), -EACCES);
    CU_ASSERT_EQUAL(stream_node_append(&logs[0], slot, 100), HG_APPEND_OK);
    memset(&copies, 0, sizeof(copies)); /* the metastore can't be read */
    hg_streams_copies_set(logs[0].streams, 0, &copies, true);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), -ENODATA);
    hg_streams_copies_set(logs[0].streams, 0, &copies, false);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    end();
}

/* What a member's copy has, its log has: the other one would only say so. */
static void test_member(void)
{
    begin(0);
    state_of(0)->origin_local = false;
    hg_streams_quorum_set(logs[0].streams, 1, 2);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), -EXDEV);
    state_of(0)->region++; /* a stream of another region: no quorum counts this copy */
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    hg_streams_move_cancel(logs[0].streams, slot);
    state_of(0)->region--;
    hg_streams_quorum_set(logs[0].streams, 1, 1);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    end();
}

static void leaves(void)
{
    uint32_t who;
    consumer_reads_all();
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    CU_ASSERT_EQUAL(hg_streams_move_waits(logs[0].streams, slot, &who), HG_MOVE_WAITS_FOR_NOBODY);
    hg_streams_move_out(logs[0].streams, slot, &transfer);
    CU_ASSERT_EQUAL(transfer.record_count, 2);
    CU_ASSERT_EQUAL(transfer.records[0].move, 1);
    CU_ASSERT_EQUAL(transfer.records[0].lsn, 6);
}

static void enters(uint32_t log)
{
    uint64_t sequence = 0;
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[log].streams, &transfer, &sequence), 0);
    CU_ASSERT(sequence > hg_log_durable_sequence(logs[log].log));
}

static void goes_on(uint32_t log, uint32_t move, uint64_t lsn, uint64_t lsn_consumer)
{
    struct hg_stream_state *s = state_of(log);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_FALSE(s->ended);
    CU_ASSERT_EQUAL(s->move, move);
    CU_ASSERT_EQUAL(s->lsn_durable, lsn);
    CU_ASSERT_EQUAL(s->lsn_begin, 1);
    CU_ASSERT_EQUAL(memcmp(s->chain_durable, transfer.records[0].chain, sizeof(s->chain_durable)), 0);
    int32_t consumer = hg_streams_consumer_find(logs[log].streams, "archive");
    CU_ASSERT_FATAL(consumer >= 0);
    CU_ASSERT_EQUAL(hg_streams_consumer_at(logs[log].streams, (uint32_t)consumer)->lsn, lsn_consumer);
    uint32_t at = stream_node_configure(&logs[log], "one", ID, KV, 1, 0);
    CU_ASSERT_EQUAL(stream_node_append(&logs[log], at, 100), HG_APPEND_OK);
    CU_ASSERT_EQUAL(state_of(log)->lsn_taken, lsn + 1);
    stream_node_settle(&logs[log]);
    CU_ASSERT_EQUAL(state_of(log)->lsn_durable, lsn + 1);
}

static void is_gone(uint32_t log)
{
    CU_ASSERT(state_of(log) == NULL || state_of(log)->ended);
    CU_ASSERT_EQUAL(hg_streams_consumer_find(logs[log].streams, "archive"), -1);
}

static void test_moves(void)
{
    begin(0);
    leaves();
    enters(1);
    stream_node_settle(&logs[1]);
    hg_streams_move_end(logs[0].streams, ID);
    is_gone(0);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), -EBUSY); /* the end is not durable yet */
    stream_node_settle(&logs[0]);
    hg_streams_retain(logs[0].streams, logs[0].now_ns);
    uint32_t other = stream_node_configure(&logs[0], "other", 12, KV, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, other), 0);
    goes_on(1, 1, 6, 6);
    crash(0);
    crash(1);
    is_gone(0);
    CU_ASSERT_EQUAL(state_of(1)->lsn_durable, 7);
    CU_ASSERT_EQUAL(state_of(1)->move, 1);
    end();
}

/* The start record alone decides. */
static void test_crashes(void)
{
    begin(0);
    leaves();
    enters(1);
    crash(0); /* nothing of the start is on the device */
    crash(1);
    is_gone(1);
    goes_on(0, 0, 6, 1); /* its consumer's position was not saved yet */
    consumer_reads_all();
    hg_streams_retain(logs[0].streams, logs[0].now_ns + HG_NS_PER_S);
    CU_ASSERT_EQUAL(
        hg_streams_move_begin(logs[0].streams, slot = (uint32_t)hg_streams_find(logs[0].streams, ID)), 0);
    hg_streams_move_out(logs[0].streams, slot, &transfer);
    enters(1);
    stream_node_settle(&logs[1]);
    hg_streams_move_end(logs[0].streams, ID);
    crash(0); /* nothing of the end is: both logs have it, the second says so by its number */
    crash(1);
    CU_ASSERT_FALSE(state_of(0)->ended);
    CU_ASSERT_EQUAL(state_of(0)->move, 0);
    CU_ASSERT_EQUAL(state_of(1)->move, 1);
    hg_streams_move_end(logs[0].streams, ID); /* as housekeeping asks for it then */
    stream_node_settle(&logs[0]);
    crash(0);
    is_gone(0);
    goes_on(1, 1, 7, 7);
    end();
}

/* A log that was brought back from before several streams left it: all of them end, whatever their number. */
static void test_several_ends(void)
{
    begin(0);
    for (uint64_t id = 12; id <= 14; id++)
        (void)stream_node_configure(&logs[0], "more", id, KV, 1, 0);
    for (uint64_t id = ID; id <= 14; id++)
        hg_streams_move_end(logs[0].streams, id);
    (void)stream_node_configure(&logs[0], "stays", 15, KV, 1, 0);
    int32_t stays = hg_streams_find(logs[0].streams, 15);
    CU_ASSERT_EQUAL(stream_node_append(&logs[0], (uint32_t)stays, 100), HG_APPEND_OK);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, (uint32_t)stays), -EBUSY);
        stream_node_settle(&logs[0]);
    }
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, (uint32_t)stays), 0);
    crash(0);
    is_gone(0);
    for (uint64_t id = 12; id <= 14; id++) {
        int32_t found = hg_streams_find(logs[0].streams, id);
        CU_ASSERT(found < 0 || hg_streams_at(logs[0].streams, (uint32_t)found)->ended);
    }
    CU_ASSERT_FALSE(hg_streams_at(logs[0].streams, (uint32_t)hg_streams_find(logs[0].streams, 15))->ended);
    end();
}

/* There and back: what is in the first log from before counts no more, in memory and after a crash. */
static void test_back(void)
{
    begin(0);
    leaves();
    enters(1);
    stream_node_settle(&logs[1]);
    hg_streams_move_end(logs[0].streams, ID);
    goes_on(1, 1, 6, 6);
    uint32_t there = (uint32_t)hg_streams_find(logs[1].streams, ID);
    hg_streams_consumer_advance(logs[1].streams,
                                (uint32_t)hg_streams_consumer_find(logs[1].streams, "archive"), 7);
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[1].streams, there), 0);
    hg_streams_move_out(logs[1].streams, there, &transfer);
    uint64_t sequence;
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[0].streams, &transfer, &sequence), -EEXIST); /* end not durable */
    stream_node_settle(&logs[0]);
    hg_streams_retain(logs[0].streams, logs[0].now_ns);
    enters(0);
    stream_node_settle(&logs[0]);
    hg_streams_move_end(logs[1].streams, ID);
    stream_node_settle(&logs[1]);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(logs[0].streams, slot), 7); /* not 1 */
    goes_on(0, 2, 7, 7);
    crash(0);
    crash(1);
    is_gone(1);
    CU_ASSERT_EQUAL(state_of(0)->lsn_durable, 8);
    CU_ASSERT_EQUAL(state_of(0)->move, 2);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(logs[0].streams, (uint32_t)hg_streams_find(logs[0].streams, ID)),
                    7);
    end();
}

/* Without the log it moved to, the former one does not begin it anew, now or after its segments were used
 * again. */
static void test_left(void)
{
    begin(0);
    leaves();
    enters(1);
    stream_node_settle(&logs[1]);
    hg_streams_move_end(logs[0].streams, ID);
    stream_node_settle(&logs[0]);
    struct hg_config_stream config = {.stream = ID, .kind = KV, .region = 1, .epoch = 1, .name = "one"};
    crash(0);
    CU_ASSERT_EQUAL(hg_streams_configure(logs[0].streams, &config), -ESTALE);
    CU_ASSERT_EQUAL(logs[0].events[HG_EVENT_stream_left], 1);
    uint32_t other = stream_node_configure(&logs[0], "other", 12, KV, 1, 0);
    for (int i = 0; i < 400 && hg_log_tail_sequence(logs[0].log) < 20; i++) {
        CU_ASSERT_EQUAL(stream_node_append(&logs[0], other, 200000), HG_APPEND_OK);
        stream_node_settle(&logs[0]);
        hg_streams_retain(logs[0].streams, logs[0].now_ns);
    }
    CU_ASSERT(hg_log_tail_sequence(logs[0].log) >= 20);
    crash(0);
    CU_ASSERT_EQUAL(hg_streams_configure(logs[0].streams, &config), -ESTALE);
    CU_ASSERT_FALSE(
        hg_streams_at(logs[0].streams, (uint32_t)hg_streams_find(logs[0].streams, ID))->configured);
    end();
}

static void test_refused(void)
{
    uint64_t sequence;
    begin(0);
    leaves();
    uint32_t other = stream_node_configure(&logs[1], "other", 12, KV, 1, 0);
    CU_ASSERT(hg_streams_consumer_add(logs[1].streams, "archive", other) >= 0);
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[1].streams, &transfer, &sequence), -EEXIST);
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(logs[1].streams, "archive", &sequence), 0);
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        char name[HG_NAME_BYTES];
        snprintf(name, sizeof(name), "c%u", i);
        CU_ASSERT(hg_streams_consumer_add(logs[1].streams, name, other) >= 0);
    }
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[1].streams, &transfer, &sequence), -ENOSPC);
    CU_ASSERT_EQUAL(hg_streams_consumer_remove(logs[1].streams, "c3", &sequence), 0);
    for (uint64_t id = 100; hg_streams_count(logs[1].streams) < NODE_STREAMS_MAX; id++)
        (void)stream_node_configure(&logs[1], "more", id, KV, 1, 0);
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[1].streams, &transfer, &sequence), -ENOSPC);
    CU_ASSERT_PTR_NULL(state_of(1));
    CU_ASSERT_EQUAL(hg_streams_move_in(logs[0].streams, &transfer, &sequence), -EEXIST); /* it is there */
    end();
}

/* No stamp of the new owner is below one that the old one gave. */
static void test_stamps(void)
{
    begin(0);
    uint64_t ahead = hg_hlc_from_ns(stream_node_realtime_ns(&logs[0].clock) + HG_STREAMS_DRIFT_NS / 2);
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .hlc = ahead};
    CU_ASSERT_EQUAL(hg_streams_append(logs[0].streams, slot, &frame, logs[0].now_ns), HG_APPEND_OK);
    hg_streams_seal(logs[0].streams, true, logs[0].now_ns);
    stream_node_settle(&logs[0]);
    uint64_t last = frame.hlc;
    CU_ASSERT(last > ahead);
    consumer_reads_all();
    CU_ASSERT_EQUAL(hg_streams_move_begin(logs[0].streams, slot), 0);
    hg_streams_move_out(logs[0].streams, slot, &transfer);
    enters(1);
    stream_node_settle(&logs[1]);
    crash(1);
    uint32_t there = stream_node_configure(&logs[1], "one", ID, KV, 1, 0);
    frame = (struct hg_frame){.span = 1, .op = HG_OP_INSERT};
    CU_ASSERT_EQUAL(hg_streams_append(logs[1].streams, there, &frame, logs[1].now_ns), HG_APPEND_OK);
    CU_ASSERT(frame.hlc > last);
    end();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("move", NULL, NULL);
    CU_add_test(suite, "whom it waits for", test_waits);
    CU_add_test(suite, "a group whose logs are named", test_logs_that_are_named);
    CU_add_test(suite, "a member's copy", test_member);
    CU_add_test(suite, "from one log to another", test_moves);
    CU_add_test(suite, "a crash at each step", test_crashes);
    CU_add_test(suite, "several ends", test_several_ends);
    CU_add_test(suite, "there and back", test_back);
    CU_add_test(suite, "without the new log", test_left);
    CU_add_test(suite, "refused by the new log", test_refused);
    CU_add_test(suite, "time stamps go over", test_stamps);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
