/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients of a worker: attaching and appending, refusals by name, write grants, and clients that break the
 * rules.
 */
#include "clients_harness.h"
#include "dataplane/stream/move.h"
#include "dataplane/stream/seal.h"

#include <stdatomic.h>

static uint64_t refused(enum hg_attach_reason reason)
{
    return hg_clients_attach_counts(clients)[reason];
}

static void test_append_and_deliver(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv"), reader = subscribe(1, "kv", "", 0);
    CU_ASSERT_EQUAL(producer.code, 0);
    CU_ASSERT_EQUAL(reader.code, 0);
    for (uint64_t lsn = 1; lsn <= 5; lsn++) {
        CU_ASSERT_EQUAL(append(0, &producer, lsn, 100), 0);
        turns(3);
    }
    turns(20);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 6);
    struct hg_client_position position;
    CU_ASSERT_TRUE(hg_client_view_position_get(&table[0].view, producer.slot, &position));
    CU_ASSERT_EQUAL(position.lsn_consumed, 6);
    CU_ASSERT_EQUAL(position.lsn_oldest, 1);
    CU_ASSERT_EQUAL(position.lsn_durable_region[1], 6);
    CU_ASSERT_EQUAL(position.writable, 1);
    for (uint64_t lsn = 1; lsn <= 5; lsn++)
        expect_batch(1, lsn);
    expect_nothing(1);
    expect_nothing(0);
    teardown();
}

/* A stream leaves when its readers have read it; nothing of theirs is taken meanwhile, or lost after. */
static void test_stream_moves(void)
{
    setup();
    uint32_t slot = configure("kv", 1, 1), stays = configure("stays", 2, 1);
    struct hg_client_answer producer = produce(0, "kv"), other = produce(0, "stays");
    (void)subscribe(1, "kv", "", 0);
    (void)produce(2, "other");
    CU_ASSERT_PTR_NULL(hg_clients_unread(clients, slot));
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    turns(20);
    CU_ASSERT_PTR_NOT_NULL(hg_clients_unread(clients, slot)); /* delivered, not read */
    CU_ASSERT_PTR_NULL(hg_clients_unread(clients, stays));
    expect_batch(1, 1);
    turns(2);
    CU_ASSERT_PTR_NULL(hg_clients_unread(clients, slot));
    hg_streams_at(node.streams, slot)->moving = true;
    CU_ASSERT_EQUAL(append(0, &producer, 2, 100), 0);
    turns(5);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->lsn_taken, 2);
    CU_ASSERT_EQUAL(subscribe(2, "kv", "", 0).code, HG_E_NOT_READY);
    hg_clients_dismiss(clients, slot);
    CU_ASSERT_TRUE(hg_clients_at(clients, table[0].index)->dismissed);
    CU_ASSERT_TRUE(hg_clients_at(clients, table[1].index)->dismissed);
    CU_ASSERT_FALSE(hg_clients_at(clients, table[2].index)->dismissed);
    CU_ASSERT_EQUAL(subscribe(1, "stays", "", 0).code, HG_E_NOT_READY); /* not in the place of what it had */
    CU_ASSERT_EQUAL(refused(HG_ATTACH_CLOSING), 1);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_MOVING), 1);
    CU_ASSERT_EQUAL(append(0, &other, 1, 100), 0);
    turns(20); /* what was left of the stream in its ring is nobody's now */
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->lsn_taken, 2);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, stays)->lsn_durable, 2);
    CU_ASSERT_EQUAL(hg_clients_dropped_count(clients), 1);
    teardown();
}

/* A stream was here, went, and came back: what lies in the log from before it left is not its beginning. */
static void test_stream_came_back(void)
{
    static struct hg_stream_transfer transfer;
    uint64_t sequence;
    setup();
    uint32_t slot = configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    turns(20);
    CU_ASSERT_EQUAL(hg_streams_move_begin(node.streams, slot), 0);
    hg_streams_move_out(node.streams, slot, &transfer);
    hg_clients_dismiss(clients, slot);
    hg_streams_move_end(node.streams, 1);
    turns(20);
    hg_streams_retain(node.streams, node.now_ns);
    transfer.records[0].lsn = 50; /* elsewhere it went on */
    transfer.records[0].move++;
    CU_ASSERT_EQUAL(hg_streams_move_in(node.streams, &transfer, &sequence), 0);
    configure("kv", 1, 1);
    struct hg_client_answer reader = subscribe(1, "kv", "", 0);
    CU_ASSERT_EQUAL(reader.lsn_from, 50);
    producer = produce(2, "kv");
    CU_ASSERT_EQUAL(append(2, &producer, 50, 100), 0);
    turns(20);
    hg_clients_close(clients, table[0].index);
    client_open(0);
    CU_ASSERT_EQUAL(subscribe(0, "kv", "", 0).lsn_from, 50);
    turns(5);
    expect_batch(1, 50);
    expect_nothing(1);
    expect_batch(0, 50);
    expect_nothing(0);
    teardown();
}

static void test_attach_refusals(void)
{
    setup();
    configure("kv", 1, 1);
    configure("foreign", 2, 2);
    CU_ASSERT_EQUAL(produce(0, "unknown").code, HG_E_UNKNOWN);
    CU_ASSERT_EQUAL(produce(0, "foreign").code, HG_E_NOT_LEADER);
    CU_ASSERT_EQUAL(produce(0, "kv").code, 0);
    CU_ASSERT_EQUAL(produce(1, "kv").code, HG_E_NOT_READY); /* one producer a stream */
    CU_ASSERT_EQUAL(produce(0, "kv").code, HG_E_NOT_READY);
    struct hg_client_attach request = attach_make("kv", HG_CLIENT_ATTACH_SUBSCRIBE);
    request.incarnation = 9;
    CU_ASSERT_EQUAL(attach(1, &request).code, HG_E_INVALID);
    hg_clients_close(clients, table[0].index);
    client_open(0);
    CU_ASSERT_EQUAL(produce(1, "kv").code, 0);
    while (subscribe(2, "kv", "", 0).code == 0)
        ;
    CU_ASSERT_EQUAL(subscribe(2, "kv", "", 0).code, HG_E_INVALID); /* all slots are used */
    CU_ASSERT_EQUAL(refused(HG_ATTACH_UNKNOWN), 1);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_OTHER_REGION), 1);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_PRODUCER), 2);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_TIMELINE), 1);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_SLOTS), 2);
    teardown();
}

/* A reader may disagree about whose stream it is; it never decides it. */
static void test_reader_adopts_nothing(void)
{
    setup();
    uint32_t slot = stream_node_configure(&node, "pg", 1, HG_STREAM_POSTGRES_PHYSICAL, 1, 0);
    struct hg_client_attach request = attach_make("pg", HG_CLIENT_ATTACH_SUBSCRIBE);
    request.system_identifier = 666;
    request.incarnation = 4;
    request.lsn_unit_bytes = 1u << 20;
    CU_ASSERT_EQUAL(attach(0, &request).code, 0);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->system_identifier, 0);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->incarnation, 0);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->lsn_unit_bytes, 0);
    request.flags = HG_CLIENT_ATTACH_APPEND;
    request.system_identifier = 77;
    CU_ASSERT_EQUAL(attach(1, &request).code, 0);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, slot)->system_identifier, 77);
    request.flags = HG_CLIENT_ATTACH_SUBSCRIBE;
    request.system_identifier = 666;
    CU_ASSERT_EQUAL(attach(0, &request).code, HG_E_SYSTEM);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_SYSTEM), 1);
    teardown();
}

/* The first refusal is told by name; what follows of the attachment is dropped, a new attachment goes on. */
static void test_append_refusals(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    CU_ASSERT_EQUAL(append(0, &producer, 3, 100), 0);
    CU_ASSERT_EQUAL(append(0, &producer, 2, 100), 0);
    turns(20);
    expect_error(0, HG_DELIVER_APPEND_REFUSED, HG_E_GAP);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    CU_ASSERT_EQUAL(hg_clients_dropped_count(clients), 1);
    uint32_t why;
    configure("kv", 1, 1); /* moves the position page */
    turn();
    CU_ASSERT_FALSE(hg_client_view_writable(&table[0].view, producer.slot, &why));
    CU_ASSERT_EQUAL(why, HG_CLIENT_WHY_REFUSED);
    struct hg_client_answer again = produce(2, "kv"); /* a refused producer holds nobody up */
    CU_ASSERT_EQUAL(append(2, &again, 2, 100), 0);
    turns(5);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[2].view, again.slot), 3);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2); /* 2 is not what it appended */
    hg_clients_detach(clients, table[2].index, again.slot, again.attachment);
    again = produce(1, "kv");
    CU_ASSERT_EQUAL(again.code, 0);
    CU_ASSERT_EQUAL(again.lsn_end, 3);
    CU_ASSERT_EQUAL(append(1, &again, 1, 100), 0);
    turns(5);
    expect_error(1, HG_DELIVER_APPEND_REFUSED, HG_E_OVERLAP);
    /* Of an attachment that is over: dropped without a word. */
    hg_clients_detach(clients, table[1].index, again.slot, again.attachment);
    CU_ASSERT_EQUAL(append(1, &again, 2, 100), 0);
    turns(5);
    expect_nothing(1);
    CU_ASSERT_EQUAL(hg_clients_dropped_count(clients), 2);
    teardown();
}

/* The group is sealed: producers are told by name, in the ring and on the position page, and what was not in
 * the log is not taken. When it is open again, they attach again. */
static void test_deposed(void)
{
    uint32_t why;
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    turns(10);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    CU_ASSERT_EQUAL(append(0, &producer, 2, 100), 0);
    (void)hg_clients_take(clients, node.now_ns); /* in an open batch */
    CU_ASSERT_EQUAL(append(0, &producer, 3, 100), 0);
    CU_ASSERT_EQUAL(hg_streams_group_seal(node.streams, 0, 5), HG_GROUP_OK);
    hg_clients_depose(clients, 0);
    turns(20);
    CU_ASSERT_TRUE(hg_streams_group_sealed(node.streams, 0, 5));
    expect_error(0, HG_DELIVER_APPEND_REFUSED, HG_E_NOT_LEADER);
    expect_nothing(0);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    CU_ASSERT_FALSE(hg_client_view_writable(&table[0].view, producer.slot, &why));
    CU_ASSERT_EQUAL(why, HG_CLIENT_WHY_DEPOSED);
    struct hg_client_answer late = produce(1, "kv");
    CU_ASSERT_EQUAL(late.code, HG_E_READ_ONLY);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_SEALED), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(late.text, "group 0 is sealed, epoch 5"));
    CU_ASSERT_EQUAL(subscribe(1, "kv", "", 0).code, 0); /* reading goes on */
    CU_ASSERT_EQUAL(hg_streams_group_open(node.streams, 0, 5), HG_GROUP_OK);
    turns(20);
    CU_ASSERT_TRUE(hg_streams_group_opened(node.streams, 0, 5));
    CU_ASSERT_FALSE(hg_client_view_writable(&table[0].view, producer.slot, &why));
    CU_ASSERT_EQUAL(why, HG_CLIENT_WHY_REFUSED); /* it lost entries: it must look where the log ends */
    late = produce(1, "kv");
    CU_ASSERT_EQUAL(late.code, 0);
    CU_ASSERT_EQUAL(late.epoch, 5);
    CU_ASSERT_EQUAL(append(1, &late, 2, 100), 0);
    CU_ASSERT_EQUAL(append(1, &late, 3, 100), 0);
    CU_ASSERT_EQUAL(append(1, &late, 4, 100), 0);
    turns(20);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[1].view, late.slot), 5);
    /* Its own entries 2 and 3 were dropped: it is not told that those are durable. */
    struct hg_client_position position;
    CU_ASSERT_TRUE(hg_client_view_position_get(&table[0].view, producer.slot, &position));
    CU_ASSERT_EQUAL(position.lsn_durable, 2);
    CU_ASSERT_EQUAL(position.lsn_committed, 2);
    CU_ASSERT_EQUAL(position.lsn_durable_region[1], 2);
    CU_ASSERT(position.lsn_consumed <= 3);
    teardown();
}

static uint64_t append_refused(enum hg_append_reason reason)
{
    return hg_streams_append_counts(node.streams)[reason];
}

static uint64_t committed(uint32_t i, uint32_t slot)
{
    struct hg_client_position position;
    CU_ASSERT_TRUE_FATAL(hg_client_view_position_get(&table[i].view, slot, &position));
    return position.lsn_committed;
}

/* Groups need a write grant: before the first there is no producer, and while one lapsed nothing moves that a
 * client is told, for producers and readers alike. */
static void test_grant(void)
{
    uint32_t why;
    setup();
    hg_streams_grants_require(node.streams, true);
    configure("kv", 1, 1);
    configure("theirs", 2, 2); /* of another region: it needs none of ours */
    turn();
    CU_ASSERT_EQUAL(produce(0, "kv").code, HG_E_NOT_READY); /* a matter of moments */
    CU_ASSERT_EQUAL(refused(HG_ATTACH_GRANT), 1);
    CU_ASSERT_EQUAL(hg_streams_grant(node.streams, 0, 1, node.now_ns + 10 * HG_NS_PER_MS), HG_GRANT_OK);
    turn();
    struct hg_client_answer producer = produce(0, "kv");
    CU_ASSERT_EQUAL_FATAL(producer.code, 0);
    struct hg_client_answer reader = subscribe(1, "kv", "", 0);
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    turns(10);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    CU_ASSERT_EQUAL(committed(1, reader.slot), 2);
    /* Taken under the grant, durable after it. */
    CU_ASSERT_EQUAL(append(0, &producer, 2, 100), 0);
    (void)hg_clients_take(clients, node.now_ns);
    node.suspended_ns = 20 * HG_NS_PER_MS;
    turns(20);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_durable, 3);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_committed, 2);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[1].view, reader.slot), 2);
    CU_ASSERT_FALSE(hg_client_view_writable(&table[0].view, producer.slot, &why));
    CU_ASSERT_EQUAL(why, HG_CLIENT_WHY_NO_GRANT);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_grant_lapsed], 1);
    CU_ASSERT_EQUAL(produce(2, "kv").code, HG_E_READ_ONLY);
    CU_ASSERT_EQUAL(refused(HG_ATTACH_GRANT_ENDED), 1);
    struct hg_client_answer late = subscribe(2, "kv", "", 0); /* reading goes on, and tells nothing new */
    CU_ASSERT_EQUAL(late.code, 0);
    CU_ASSERT_EQUAL(late.lsn_durable, 2);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[2].view, late.slot), 2);
    CU_ASSERT_EQUAL(committed(2, late.slot), 2);
    /* What comes now is refused under its own name; what was taken before is told when there is a grant
     * again. */
    CU_ASSERT_EQUAL(append(0, &producer, 3, 100), 0);
    turns(5);
    expect_error(0, HG_DELIVER_APPEND_REFUSED, HG_E_READ_ONLY);
    CU_ASSERT_EQUAL(append_refused(HG_APPEND_GRANT), 1);
    uint64_t deadline_ns = node.now_ns + node.suspended_ns + 10 * HG_NS_PER_MS;
    CU_ASSERT_EQUAL(hg_streams_grant(node.streams, 0, 1, deadline_ns), HG_GRANT_OK);
    turns(2);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_grant_back], 1);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 3);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[2].view, late.slot), 3);
    CU_ASSERT_EQUAL(committed(2, late.slot), 3);
    hg_clients_detach(clients, table[0].index, producer.slot, producer.attachment);
    producer = produce(0, "kv");
    CU_ASSERT_EQUAL(producer.code, 0);
    CU_ASSERT_EQUAL(append(0, &producer, 3, 100), 0);
    turns(10);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 4);
    teardown();
}

/* The clock that counts is read when a position is told, not when the turn began. */
static void test_grant_ends_in_a_turn(void)
{
    setup();
    hg_streams_grants_require(node.streams, true);
    configure("kv", 1, 1);
    CU_ASSERT_EQUAL(hg_streams_grant(node.streams, 0, 1, node.now_ns + HG_NS_PER_S), HG_GRANT_OK);
    turn();
    struct hg_client_answer producer = produce(0, "kv");
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    hg_streams_grants_turn(node.streams);
    (void)hg_clients_take(clients, node.now_ns);
    hg_streams_seal(node.streams, true, node.now_ns);
    hg_log_close_write(node.log);
    node.suspended_ns = 2 * HG_NS_PER_S;
    for (int i = 0; i < 20; i++)
        stream_node_turn(&node);
    CU_ASSERT_EQUAL(hg_streams_at(node.streams, 0)->lsn_durable, 2);
    hg_clients_publish(clients);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 0);
    CU_ASSERT_EQUAL(committed(0, producer.slot), 0);
    teardown();
}

/* A retry is refused by name, with the LSN of the first try; so is one that nothing is known of. */
static void test_duplicate(void)
{
    uint64_t lsn = 0;
    int32_t code = 0;
    setup();
    uint32_t slot = configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    struct hg_append_record record = {.op = HG_OP_INSERT,
                                      .slot = (uint8_t)producer.slot,
                                      .lsn = 1,
                                      .span = 1,
                                      .client_id = 7,
                                      .client_sequence = 3};
    record.attachment = producer.attachment;
    CU_ASSERT_EQUAL(hg_client_view_append(&table[0].view, &record, NULL, NULL), 0);
    hg_client_view_append_publish(&table[0].view);
    turns(10);
    CU_ASSERT_EQUAL(hg_client_view_durable(&table[0].view, producer.slot), 2);
    record.lsn = 2;
    record.flags = HG_APPEND_AGAIN;
    CU_ASSERT_EQUAL(hg_client_view_append(&table[0].view, &record, NULL, NULL), 0);
    hg_client_view_append_publish(&table[0].view);
    turns(5);
    CU_ASSERT_EQUAL(delivered(0, &lsn, &code), HG_DELIVER_APPEND_REFUSED);
    CU_ASSERT_EQUAL(code, HG_E_DUPLICATE);
    CU_ASSERT_EQUAL(lsn, 1);
    CU_ASSERT_EQUAL(append_refused(HG_APPEND_DUPLICATE), 1);
    hg_clients_detach(clients, table[0].index, producer.slot, producer.attachment);
    hg_streams_at(node.streams, slot)->sessions_evicted = true;
    producer = produce(0, "kv");
    record.attachment = producer.attachment;
    record.slot = (uint8_t)producer.slot;
    record.client_id = 8;
    CU_ASSERT_EQUAL(hg_client_view_append(&table[0].view, &record, NULL, NULL), 0);
    hg_client_view_append_publish(&table[0].view);
    turns(5);
    CU_ASSERT_EQUAL(delivered(0, &lsn, &code), HG_DELIVER_APPEND_REFUSED);
    CU_ASSERT_EQUAL(code, HG_E_SESSION_EVICTED);
    teardown();
}

static void test_poisoned(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv"), other = subscribe(1, "kv", "", 0);
    CU_ASSERT_EQUAL(other.code, 0);
    CU_ASSERT_EQUAL(append(0, &producer, 1, 100), 0);
    turns(20);
    atomic_store(&table[0].view.own->append_tail, UINT64_C(1) << 40);
    turns(3);
    const struct hg_clients_entry *entry = hg_clients_at(clients, table[0].index);
    CU_ASSERT_TRUE(entry->poisoned);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_client_poisoned], 1);
    CU_ASSERT_EQUAL(hg_clients_fault_counts(clients)[HG_CLIENT_FAULT_INDEX_RANGE], 1);
    turns(5);
    CU_ASSERT_EQUAL(node.events[HG_EVENT_client_poisoned], 1);
    expect_batch(1, 1); /* others go on */
    hg_clients_close(clients, table[0].index);
    client_open(0);
    CU_ASSERT_EQUAL(produce(0, "kv").lsn_end, 2);
    teardown();
}

/* A log that takes little is shared: no client waits for ever behind another one. */
static void test_fair_when_full(void)
{
    setup();
    uint32_t slots[CLIENTS];
    struct hg_client_answer producers[CLIENTS];
    uint64_t lsn[CLIENTS] = {1, 1, 1};
    char name[8] = "kv0";
    for (uint32_t i = 0; i < CLIENTS; i++, name[2]++) {
        slots[i] = configure(name, i + 1, 1);
        hg_streams_at(node.streams, slots[i])->codec = HG_CODEC_NONE;
        producers[i] = produce(i, name);
    }
    for (int round = 0; round < 60; round++) {
        for (uint32_t i = 0; i < CLIENTS; i++)
            while (append(i, &producers[i], lsn[i], 100000) == 0)
                lsn[i]++;
        /* The device is slow: it completes a little between two turns of the worker. */
        (void)hg_clients_take(clients, node.now_ns);
        hg_clients_publish(clients);
        hg_log_close_write(node.log);
        stream_node_turn(&node);
        hg_streams_retain(node.streams, node.now_ns);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        CU_ASSERT(hg_streams_at(node.streams, slots[i])->lsn_taken > 20);
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        least = hg_min_u64(least, hg_streams_at(node.streams, slots[i])->lsn_taken);
        most = hg_max_u64(most, hg_streams_at(node.streams, slots[i])->lsn_taken);
    }
    CU_ASSERT(most <= 3 * least);
    teardown();
}

static void test_sleep_and_doorbell(void)
{
    setup();
    configure("kv", 1, 1);
    struct hg_client_answer producer = produce(0, "kv");
    subscribe(1, "kv", "", 0);
    turns(3);
    CU_ASSERT_TRUE(hg_clients_sleep(clients));
    CU_ASSERT_EQUAL(append(0, &producer, 1, 10), 0);
    CU_ASSERT_TRUE(hg_client_view_doorbell_needed(&table[0].view));
    hg_clients_woken(clients);
    CU_ASSERT_EQUAL(append(0, &producer, 2, 10), 0);
    CU_ASSERT_FALSE(hg_clients_sleep(clients)); /* there is news */
    hg_client_view_sleep_set(&table[1].view, true);
    uint32_t before = rung[1];
    turns(20);
    CU_ASSERT_EQUAL(rung[1], before + 1);
    CU_ASSERT_EQUAL(rung[2], 0);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("clients", NULL, NULL);
    CU_add_test(suite, "append and deliver", test_append_and_deliver);
    CU_add_test(suite, "a stream moves away", test_stream_moves);
    CU_add_test(suite, "a stream came back", test_stream_came_back);
    CU_add_test(suite, "attaching is refused by name", test_attach_refusals);
    CU_add_test(suite, "a reader adopts nothing", test_reader_adopts_nothing);
    CU_add_test(suite, "appends are refused by name", test_append_refusals);
    CU_add_test(suite, "deposed", test_deposed);
    CU_add_test(suite, "write grant", test_grant);
    CU_add_test(suite, "duplicate", test_duplicate);
    CU_add_test(suite, "a write grant ends in a turn", test_grant_ends_in_a_turn);
    CU_add_test(suite, "a client that breaks the rules", test_poisoned);
    CU_add_test(suite, "a full log is shared", test_fair_when_full);
    CU_add_test(suite, "sleep and doorbell", test_sleep_and_doorbell);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
