/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker delivers to its clients: durable and committed alone, holes by name, consumers.
 */
#include "clients_harness.h"

/* A batch is delivered when it is durable, not before. */
static void test_deliver_durable_only(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    subscribe(1, "kv", "", 0);
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    (void)hg_clients_take(clients, node.now_ns);
    hg_streams_seal(node.streams, true, node.now_ns);
    hg_log_close_write(node.log);
    hg_clients_deliver(clients);
    hg_clients_publish(clients);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 0);
    expect_nothing(1);
    turns(20);
    expect_batch(1, 1);
    teardown();
}

/* In a region with a quorum, durable here is neither committed nor read. */
static void test_deliver_committed_only(void)
{
    setup();
    hg_streams_quorum_set(node.streams, 1, 2);
    uint32_t slot = stream_node_configure(&node, "kv", 1, KV, 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    subscribe(1, "kv", "", 0);
    for (uint64_t lsn = 1; lsn <= 3; lsn++) {
        CU_ASSERT_EQUAL(append(0, &producer, lsn, 100), 0);
        turns(20);
    }
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 4);
    CU_ASSERT_EQUAL(hg_client_view_committed(&table[0].view, producer.slot), 0);
    expect_nothing(1);
    hg_streams_peer_durable(node.streams, slot, 0, 3);
    turns(3);
    CU_ASSERT_EQUAL(hg_client_view_committed(&table[0].view, producer.slot), 3);
    expect_batch(1, 1);
    expect_batch(1, 2);
    expect_nothing(1);
    teardown();
}

static void test_gap(void)
{
    setup();
    uint32_t slot = configure("busy", 1, 1), idle = configure("idle", 2, 1);
    CU_ASSERT_EQUAL(stream_node_append(&node, idle, 10), HG_APPEND_OK);
    CU_ASSERT_EQUAL(stream_node_append(&node, idle, 10), HG_APPEND_OK);
    stream_node_forget_beginning(&node, slot);
    CU_ASSERT_EQUAL(subscribe(0, "busy", "", 1).code, 0);
    turns(20);
    expect_error(0, HG_DELIVER_READ_ERROR, HG_E_GAP);
    expect_nothing(0);
    /* A stream that has nothing left: told at once, not with its next batch. */
    CU_ASSERT_EQUAL(subscribe(1, "idle", "", 2).code, 0);
    turns(20);
    expect_error(1, HG_DELIVER_READ_ERROR, HG_E_GAP);
    CU_ASSERT_EQUAL(subscribe(2, "idle", "", 0).code, 0); /* whatever comes first */
    turns(20);
    expect_nothing(2);
    CU_ASSERT_EQUAL(stream_node_append(&node, idle, 10), HG_APPEND_OK);
    turns(20);
    expect_batch(2, 3);
    teardown();
}

/* A consumer that never acknowledged anything is let go of: it is told, and not moved to what is left. */
static void test_gap_of_who_never_acknowledged(void)
{
    static const struct hg_retention_limit limit = {.ns = 1};
    setup();
    hg_streams_configure_begin(node.streams);
    hg_streams_configure_end(node.streams);
    uint32_t slot = configure("kv", 1, 1);
    CU_ASSERT_EQUAL(subscribe(0, "kv", "out", 0).code, 0);
    hg_clients_close(clients, table[0].index);
    client_open(0);
    hg_streams_consumer_limit(node.streams, "out", &limit);
    stream_node_forget_beginning(&node, slot);
    struct hg_client_answer reader = subscribe(0, "kv", "out", 0);
    CU_ASSERT_EQUAL(reader.code, 0);
    turns(20);
    expect_error(0, HG_DELIVER_READ_ERROR, HG_E_GAP);
    expect_nothing(0);
    hg_clients_detach(clients, table[0].index, reader.slot, reader.attachment);
    uint64_t lsn_oldest = hg_streams_lsn_oldest(node.streams, slot);
    CU_ASSERT_EQUAL(subscribe(0, "kv", "out", lsn_oldest).code, 0); /* it has a snapshot */
    turns(5);
    expect_batch(0, lsn_oldest);
    teardown();
}

/* A slot that appends and reads: both are told in one turn, and neither hides the other. */
static void test_both_errors(void)
{
    setup();
    uint32_t slot = configure("kv", 1, 1);
    stream_node_forget_beginning(&node, slot);
    struct hg_client_attach request = attach_make("kv", HG_CLIENT_ATTACH_APPEND | HG_CLIENT_ATTACH_SUBSCRIBE);
    request.lsn_from = 1;
    struct hg_client_answer both = attach(0, &request);
    CU_ASSERT_EQUAL_FATAL(both.code, 0);
    CU_ASSERT_EQUAL(append(0, &both, both.lsn_end + 1, 100), 0);
    turns(5);
    expect_error(0, HG_DELIVER_APPEND_REFUSED, HG_E_GAP);
    expect_error(0, HG_DELIVER_READ_ERROR, HG_E_GAP);
    expect_nothing(0);
    teardown();
}

/* The log forgets what a slow reader without a name has not read: it is told, once. */
static void test_gap_under_a_reader(void)
{
    setup();
    uint32_t slot = configure("kv", 1, 1);
    hg_streams_at(node.streams, slot)->codec = HG_CODEC_NONE;
    CU_ASSERT_EQUAL(subscribe(0, "kv", "", 0).code, 0);
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 400000), HG_APPEND_OK);
    CU_ASSERT_EQUAL(stream_node_append(&node, slot, 400000), HG_APPEND_OK);
    turns(30);
    stream_node_forget_beginning(&node, slot);
    turns(30);
    uint64_t lsn, next = 1;
    int32_t code = 0;
    uint32_t type;
    while ((type = delivered(0, &lsn, &code)) == HG_DELIVER_BATCH) {
        CU_ASSERT_EQUAL(lsn, next++);
        turn();
    }
    CU_ASSERT_EQUAL(type, HG_DELIVER_READ_ERROR);
    CU_ASSERT_EQUAL(code, HG_E_GAP);
    turns(20);
    expect_nothing(0);
    teardown();
}

/* No entry of the index stands for where the tail is: the oldest is not known, until a reader walks there. */
static void test_oldest_found(void)
{
    setup();
    uint64_t lsn = 0;
    int32_t code = 0;
    uint32_t slot = configure("kv", 1, 1);
    hg_streams_at(node.streams, slot)->index.stride = UINT32_MAX;
    stream_node_forget_beginning(&node, slot);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, slot), 1);
    CU_ASSERT_EQUAL(subscribe(0, "kv", "", 1).code, 0);
    turns(20);
    CU_ASSERT_EQUAL(delivered(0, &lsn, &code), HG_DELIVER_READ_ERROR);
    CU_ASSERT_EQUAL(code, HG_E_GAP);
    CU_ASSERT(lsn > 1);
    CU_ASSERT_EQUAL(hg_streams_lsn_oldest(node.streams, slot), lsn);
    struct hg_client_answer again = subscribe(1, "kv", "", lsn);
    CU_ASSERT_EQUAL(again.code, 0);
    CU_ASSERT_EQUAL(again.lsn_oldest, lsn);
    turns(20);
    expect_batch(1, lsn);
    teardown();
}

static void test_consumer(void)
{
    setup();
    configure("kv", 1, 1);
    configure("other", 2, 1);
    struct hg_client_answer producer = produce(0, "kv"), out = subscribe(1, "kv", "out", 0);
    CU_ASSERT_EQUAL(out.code, 0);
    CU_ASSERT_EQUAL(subscribe(2, "other", "out", 0).code, HG_E_INVALID); /* the name is the other stream's */
    for (uint64_t lsn = 1; lsn <= 9; lsn++) {
        CU_ASSERT_EQUAL(append(0, &producer, lsn, 100), 0);
        turns(5);
    }
    turns(20);
    hg_client_view_acknowledge(&table[1].view, out.slot, 5);
    turn();
    int32_t consumer = hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_FATAL(consumer >= 0);
    const struct hg_consumer_state *state = hg_streams_consumer_at(node.streams, (uint32_t)consumer);
    CU_ASSERT_EQUAL(state->lsn, 5);
    CU_ASSERT_EQUAL(state->attached_count, 1);
    hg_client_view_acknowledge(&table[1].view, out.slot, 500); /* beyond what there is */
    turn();
    CU_ASSERT_EQUAL(state->lsn, 5);
    /* Its last word counts, though it goes at once. */
    hg_client_view_acknowledge(&table[1].view, out.slot, 8);
    hg_clients_close(clients, table[1].index);
    CU_ASSERT_EQUAL(state->lsn, 8);
    CU_ASSERT_EQUAL(state->attached_count, 0);
    client_open(1);
    out = subscribe(1, "kv", "out", 0);
    CU_ASSERT_EQUAL(out.lsn_from, 8);
    turns(20);
    expect_batch(1, 8);
    CU_ASSERT_EQUAL(state->lsn, 8);
    teardown();
}

/* A consumer is one client's: the second is told whose, until the first detached or is gone. */
static void test_consumer_held(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer first = subscribe(1, "kv", "out", 0);
    CU_ASSERT_EQUAL_FATAL(first.code, 0);
    for (uint32_t i = 1; i <= 2; i++) { /* itself, and another */
        struct hg_client_answer second = subscribe(i, "kv", "out", 0);
        CU_ASSERT_EQUAL(second.code, HG_E_NOT_READY);
        CU_ASSERT_EQUAL(hg_clients_attach_counts(clients)[HG_ATTACH_CONSUMER_HELD], i);
        CU_ASSERT_PTR_NOT_NULL(strstr(second.text, hg_clients_at(clients, table[1].index)->name));
        CU_ASSERT_PTR_NOT_NULL(strstr(second.text, "pid "));
    }
    int32_t consumer = hg_streams_consumer_find(node.streams, "out");
    CU_ASSERT_FATAL(consumer >= 0);
    CU_ASSERT_EQUAL(hg_streams_consumer_at(node.streams, (uint32_t)consumer)->attached_count, 1);
    CU_ASSERT_EQUAL(subscribe(2, "kv", "", 0).code, 0); /* without a name as many as like */
    hg_clients_detach(clients, table[1].index, first.slot, first.attachment);
    CU_ASSERT_EQUAL(subscribe(2, "kv", "out", 0).code, 0);
    CU_ASSERT_EQUAL(subscribe(1, "kv", "out", 0).code, HG_E_NOT_READY);
    hg_clients_close(clients, table[2].index); /* died */
    CU_ASSERT_EQUAL(subscribe(1, "kv", "out", 0).code, 0);
    client_open(2);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("clients_deliver", NULL, NULL);
    CU_add_test(suite, "only what is durable is delivered", test_deliver_durable_only);
    CU_add_test(suite, "only what is committed is delivered", test_deliver_committed_only);
    CU_add_test(suite, "a gap when attaching", test_gap);
    CU_add_test(suite, "a gap of who never acknowledged", test_gap_of_who_never_acknowledged);
    CU_add_test(suite, "an append and a reading refused at once", test_both_errors);
    CU_add_test(suite, "a gap under a reader", test_gap_under_a_reader);
    CU_add_test(suite, "the oldest is found by who walks there", test_oldest_found);
    CU_add_test(suite, "consumer", test_consumer);
    CU_add_test(suite, "a consumer that another client holds", test_consumer_held);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
