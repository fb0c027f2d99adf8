/* SPDX-License-Identifier: Apache-2.0
 *
 * The client ring in plain memory: order, wrap, pad, full, credit, hostile words everywhere, two threads.
 */
#include "drivers/ipc/client_ring.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define APPEND_BYTES  4096u
#define DELIVER_BYTES 4096u

static struct hg_client_ring ring;
static struct hg_client_view view;
static void *memory;

static void pair_open(uint64_t append_bytes, uint64_t deliver_bytes)
{
    uint64_t bytes = hg_client_memory_bytes(append_bytes, deliver_bytes);
    memory = aligned_alloc(4096, bytes);
    hg_assert(memory != NULL);
    memset(memory, 0xa5, bytes);
    hg_client_ring_init(&ring, memory, append_bytes, deliver_bytes, 77, 3);
    CU_ASSERT_EQUAL_FATAL(hg_client_view_init(&view, memory, bytes), 0);
}

static void pair_close(void)
{
    hg_client_ring_destroy(&ring);
    hg_client_view_unmap(&view);
    free(memory);
}

static struct hg_append_record entry_make(uint64_t lsn, uint16_t key_bytes, uint32_t data_bytes)
{
    return (struct hg_append_record){.op = 1,
                                     .slot = (uint8_t)(lsn % HG_CLIENT_SLOTS),
                                     .lsn = lsn,
                                     .span = 1,
                                     .hlc = lsn * 3,
                                     .key_bytes = key_bytes,
                                     .data_bytes = data_bytes,
                                     .attachment = 9};
}

static void bytes_fill(uint8_t *bytes, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(seed * 31 + i * 7 + 1);
}

static bool bytes_match(const uint8_t *bytes, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes[i] != (uint8_t)(seed * 31 + i * 7 + 1))
            return false;
    return true;
}

static int entry_put(uint64_t lsn, uint16_t key_bytes, uint32_t data_bytes)
{
    static uint8_t key[HG_CLIENT_KEY_BYTES_MAX], data[HG_CLIENT_DATA_BYTES_MAX];
    bytes_fill(key, key_bytes, lsn);
    bytes_fill(data, data_bytes, lsn + 1);
    struct hg_append_record record = entry_make(lsn, key_bytes, data_bytes);
    return hg_client_view_append(&view, &record, key, data);
}

static void entry_expect(uint64_t lsn, uint16_t key_bytes, uint32_t data_bytes)
{
    struct hg_append_record record;
    const uint8_t *key, *data;
    CU_ASSERT_EQUAL_FATAL(hg_client_ring_append_peek(&ring, &record, &key, &data), 1);
    CU_ASSERT_EQUAL(record.lsn, lsn);
    CU_ASSERT_EQUAL(record.key_bytes, key_bytes);
    CU_ASSERT_EQUAL(record.data_bytes, data_bytes);
    CU_ASSERT_EQUAL(record.slot, lsn % HG_CLIENT_SLOTS);
    CU_ASSERT_EQUAL(record.attachment, 9);
    CU_ASSERT_EQUAL(record.hlc, lsn * 3);
    CU_ASSERT(bytes_match(key, key_bytes, lsn));
    CU_ASSERT(bytes_match(data, data_bytes, lsn + 1));
    hg_client_ring_append_consume(&ring);
}

static void test_append_wraps(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    uint64_t written = 1, read = 1;
    uint32_t pads_possible = 0;
    while (read < 3000) { /* sizes of every remainder, so that every pad size comes */
        for (;;) {
            int rc = entry_put(written, (uint16_t)(written % 13), (uint32_t)(written * 37 % 500));
            if (rc == -EAGAIN)
                break;
            CU_ASSERT_EQUAL_FATAL(rc, 0);
            written++;
        }
        hg_client_view_append_publish(&view);
        pads_possible++;
        uint64_t until = read + 1 + read % 5;
        for (; read < until && read < written; read++)
            entry_expect(read, (uint16_t)(read % 13), (uint32_t)(read * 37 % 500));
        hg_client_ring_publish(&ring);
    }
    CU_ASSERT(pads_possible > 100);
    CU_ASSERT(view.append_tail > 100 * APPEND_BYTES);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_NONE);
    pair_close();
}

static void test_append_full_and_unpublished(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    struct hg_append_record record;
    const uint8_t *key, *data;
    CU_ASSERT_EQUAL(entry_put(1, 0, 0), 0);
    CU_ASSERT_EQUAL(hg_client_ring_append_peek(&ring, &record, &key, &data), 0); /* not published */
    uint32_t count = 1;
    while (entry_put(count + 1, 0, 0) == 0)
        count++;
    CU_ASSERT_EQUAL(count, APPEND_BYTES / 64); /* every byte is used */
    hg_client_view_append_publish(&view);
    entry_expect(1, 0, 0);
    CU_ASSERT_EQUAL(entry_put(99, 0, 0), -EAGAIN); /* consumed, not yet given back */
    hg_client_ring_publish(&ring);
    CU_ASSERT_EQUAL(entry_put(count + 1, 0, 0), 0);
    CU_ASSERT_EQUAL(entry_put(99, 0, 0), -EAGAIN);
    hg_client_view_append_publish(&view);
    for (uint32_t i = 2; i <= count + 1; i++)
        entry_expect(i, 0, 0);
    CU_ASSERT_EQUAL(hg_client_ring_append_peek(&ring, &record, &key, &data), 0);
    CU_ASSERT_EQUAL(entry_put(5, 0, APPEND_BYTES / 2), -EMSGSIZE);
    CU_ASSERT_EQUAL(entry_put(5, 0, APPEND_BYTES / 2 - 64), 0);
    pair_close();
}

static void test_append_largest(void)
{
    pair_open(4u << 20, DELIVER_BYTES);
    for (uint64_t i = 1; i < 12; i++) {
        CU_ASSERT_EQUAL(entry_put(i, HG_CLIENT_KEY_BYTES_MAX, HG_CLIENT_DATA_BYTES_MAX), 0);
        hg_client_view_append_publish(&view);
        entry_expect(i, HG_CLIENT_KEY_BYTES_MAX, HG_CLIENT_DATA_BYTES_MAX);
        hg_client_ring_publish(&ring);
    }
    pair_close();
}

static int deliver_put(uint32_t slot, uint32_t bytes, uint64_t seed)
{
    uint8_t *place = hg_client_ring_deliver_reserve(&ring, slot, bytes);
    if (place == NULL)
        return -EAGAIN;
    CU_ASSERT_EQUAL((uintptr_t)place % 16, 0);
    bytes_fill(place, bytes, seed);
    hg_client_ring_deliver_commit(&ring);
    return 0;
}

static uint32_t deliver_expect(uint32_t slot, uint32_t bytes, uint64_t seed)
{
    struct hg_deliver_record record;
    const uint8_t *payload;
    CU_ASSERT_EQUAL_FATAL(hg_client_view_deliver_peek(&view, &record, &payload), 1);
    CU_ASSERT_EQUAL(record.type, HG_DELIVER_BATCH);
    CU_ASSERT_EQUAL(record.slot, slot);
    CU_ASSERT_EQUAL(record.payload_bytes, bytes);
    CU_ASSERT(bytes_match(payload, bytes, seed));
    hg_client_view_deliver_consume(&view);
    return record.bytes;
}

static void test_deliver_wraps(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    for (uint64_t i = 1; i < 2000; i++) {
        uint32_t bytes = (uint32_t)(1 + i * 53 % 1200);
        CU_ASSERT_EQUAL_FATAL(deliver_put(i % 16, bytes, i), 0);
        hg_client_view_release(&view, i % 16, deliver_expect(i % 16, bytes, i));
    }
    CU_ASSERT_EQUAL(ring.fault, 0);
    CU_ASSERT_EQUAL(view.fault, 0);
    pair_close();
}

static void test_deliver_credit(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    uint64_t credit = ring.deliver_credit_bytes;
    CU_ASSERT_EQUAL(credit, DELIVER_BYTES / 2);
    uint64_t sent = 0;
    while (deliver_put(3, 224, 3) == 0)
        sent += 256;
    CU_ASSERT_EQUAL(sent, credit); /* slot 3 is full, and nobody else */
    CU_ASSERT_EQUAL(deliver_put(4, 224, 4), 0);
    for (uint64_t i = 0; i < sent / 256; i++)
        deliver_expect(3, 224, 3);
    CU_ASSERT_EQUAL(deliver_put(3, 224, 3), -EAGAIN); /* out of the ring, but not read */
    CU_ASSERT_EQUAL(hg_client_ring_deliver_outstanding(&ring, 3), sent);
    for (int i = 0; i < 100; i++) { /* slot 4 goes on for ever */
        uint32_t bytes = deliver_expect(4, 224, 4);
        hg_client_view_release(&view, 4, bytes);
        CU_ASSERT_EQUAL(deliver_put(4, 224, 4), 0);
    }
    hg_client_view_release(&view, 3, 256);
    CU_ASSERT_EQUAL(deliver_put(3, 224, 3), 0);
    CU_ASSERT_EQUAL(deliver_put(3, 224, 3), -EAGAIN);
    CU_ASSERT(hg_client_ring_deliver_error(&ring, 3, HG_DELIVER_READ_ERROR, -7, 42)); /* needs no credit */
    deliver_expect(4, 224, 4);
    deliver_expect(3, 224, 3);
    struct hg_deliver_record record;
    const uint8_t *payload;
    CU_ASSERT_EQUAL(hg_client_view_deliver_peek(&view, &record, &payload), 1);
    CU_ASSERT_EQUAL(record.type, HG_DELIVER_READ_ERROR);
    CU_ASSERT_EQUAL(record.code, -7);
    CU_ASSERT_EQUAL(record.lsn, 42);
    pair_close();
}

static void test_deliver_full(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    uint32_t count = 0;
    while (deliver_put(count % 16, 992, count) == 0)
        count++;
    CU_ASSERT_EQUAL(count, DELIVER_BYTES / 1024);
    while (hg_client_ring_deliver_error(&ring, 1, HG_DELIVER_CLOSED, -1, 0))
        count++;
    CU_ASSERT_EQUAL(count, DELIVER_BYTES / 1024);
    deliver_expect(0, 992, 0);
    CU_ASSERT_EQUAL(deliver_put(4, 992, 4), 0);
    CU_ASSERT_EQUAL(hg_client_ring_deliver_fits(&ring, DELIVER_BYTES / 2), false);
    CU_ASSERT_EQUAL(hg_client_ring_deliver_fits(&ring, 0), false);
    pair_close();
}

static void test_default_sizes_fit_any_batch(void)
{
    pair_open(4u << 20, HG_CLIENT_DELIVER_BYTES_DEFAULT);
    CU_ASSERT(hg_client_ring_deliver_fits(&ring, HG_CLIENT_BATCH_BYTES_MAX));
    CU_ASSERT_FALSE(hg_client_ring_deliver_fits(&ring, HG_CLIENT_BATCH_BYTES_MAX + 1));
    pair_close();
}

static void test_position(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    struct hg_client_position in, out;
    memset(&in, 0, sizeof(in));
    in.lsn_durable = 5;
    in.lsn_consumed = 9;
    in.lsn_durable_region[31] = 4;
    in.writable = 1;
    uint16_t attachment = hg_client_ring_slot_attach(&ring, 15);
    hg_client_ring_position_set(&ring, 15, &in);
    in.attachment = attachment;
    CU_ASSERT(hg_client_view_position_get(&view, 15, &out));
    CU_ASSERT_EQUAL(memcmp(&in, &out, sizeof(in)), 0);
    CU_ASSERT_EQUAL(hg_client_view_durable(&view, 15), 5);
    CU_ASSERT_EQUAL(hg_client_view_durable(&view, 14), 0);
    atomic_store(&ring.positions[15].sequence, 7); /* the writer died in the middle */
    CU_ASSERT_FALSE(hg_client_view_position_get(&view, 15, &out));
    CU_ASSERT_NOT_EQUAL(attachment, 0);
    for (int i = 0; i < 70000; i++)
        hg_assert(hg_client_ring_slot_attach(&ring, 15) != 0);
    uint16_t first = hg_client_ring_slot_attach(&ring, 2);
    hg_client_view_slot_attach(&view, 2, first);
    CU_ASSERT_EQUAL(hg_client_ring_acknowledged(&ring, 2), 0);
    hg_client_view_acknowledge(&view, 2, 1234);
    CU_ASSERT_EQUAL(hg_client_ring_acknowledged(&ring, 2), 1234);
    uint16_t second = hg_client_ring_slot_attach(&ring, 2);
    CU_ASSERT_EQUAL(hg_client_ring_acknowledged(&ring, 2), 0); /* that was another stream's */
    hg_client_view_slot_attach(&view, 2, second);
    CU_ASSERT_EQUAL(hg_client_ring_acknowledged(&ring, 2), 0);
    uint32_t why;
    CU_ASSERT(hg_client_view_writable(&view, 15, &why));
    in.writable = 0;
    in.writable_why = HG_CLIENT_WHY_LOG_FULL;
    atomic_store(&ring.positions[15].sequence, 2);
    hg_client_ring_position_set(&ring, 15, &in);
    CU_ASSERT_FALSE(hg_client_view_writable(&view, 15, &why));
    CU_ASSERT_EQUAL(why, HG_CLIENT_WHY_LOG_FULL);
    pair_close();
}

static void test_doorbells(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    struct hg_client_position position;
    memset(&position, 0, sizeof(position));
    hg_client_ring_position_set(&ring, 0, &position);
    CU_ASSERT_FALSE(hg_client_ring_doorbell_needed(&ring)); /* the client is awake */
    hg_client_view_seen(&view);
    hg_client_view_sleep_set(&view, true);
    CU_ASSERT_FALSE(hg_client_view_pending(&view));
    CU_ASSERT_FALSE(hg_client_ring_doorbell_needed(&ring)); /* no news */
    hg_client_ring_position_set(&ring, 0, &position);
    CU_ASSERT(hg_client_view_pending(&view));
    CU_ASSERT(hg_client_ring_doorbell_needed(&ring));
    hg_client_ring_position_set(&ring, 0, &position);
    CU_ASSERT_FALSE(hg_client_ring_doorbell_needed(&ring)); /* once a sleep */
    hg_client_view_sleep_set(&view, false);
    hg_client_view_sleep_set(&view, true);
    hg_client_ring_position_set(&ring, 0, &position);
    CU_ASSERT(hg_client_ring_doorbell_needed(&ring));

    hg_client_ring_sleep_set(&ring, true);
    CU_ASSERT_FALSE(hg_client_ring_pending(&ring));
    CU_ASSERT_EQUAL(entry_put(1, 0, 0), 0);
    CU_ASSERT_FALSE(hg_client_ring_pending(&ring));
    hg_client_view_append_publish(&view);
    CU_ASSERT(hg_client_ring_pending(&ring));
    CU_ASSERT_FALSE(hg_client_ring_pending(&ring)); /* said once: what is pushed back doesn't spin */
    CU_ASSERT(hg_client_view_doorbell_needed(&view));
    CU_ASSERT_FALSE(hg_client_view_doorbell_needed(&view));
    hg_client_view_acknowledge(&view, 0, 1);
    CU_ASSERT(hg_client_ring_pending(&ring));
    hg_client_ring_destroy(&ring);
    CU_ASSERT(hg_client_view_closed(&view));
    CU_ASSERT(hg_client_view_pending(&view));
    free(memory);
}

/* ---- hostile client ---- */
static void fault_expect(enum hg_client_fault fault)
{
    struct hg_append_record record;
    const uint8_t *key, *data;
    CU_ASSERT_EQUAL(hg_client_ring_append_peek(&ring, &record, &key, &data), -EBADMSG);
    CU_ASSERT_EQUAL(ring.fault, fault);
    CU_ASSERT_EQUAL(hg_client_ring_append_peek(&ring, &record, &key, &data), -EBADMSG); /* for good */
    CU_ASSERT_PTR_NULL(hg_client_ring_deliver_reserve(&ring, 0, 16));
    pair_close();
}

static void test_hostile_append_index(void)
{
    static const uint64_t tails[] = {APPEND_BYTES + 8, UINT64_MAX - 7, UINT64_C(1) << 63};
    for (size_t i = 0; i < HG_COUNT(tails); i++) {
        pair_open(APPEND_BYTES, DELIVER_BYTES);
        atomic_store(&view.own->append_tail, tails[i]);
        fault_expect(HG_CLIENT_FAULT_INDEX_RANGE);
    }
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    atomic_store(&view.own->append_tail, 65);
    fault_expect(HG_CLIENT_FAULT_INDEX_ALIGN);
    pair_open(APPEND_BYTES, DELIVER_BYTES); /* going back */
    CU_ASSERT_EQUAL(entry_put(1, 0, 100), 0);
    hg_client_view_append_publish(&view);
    entry_expect(1, 0, 100);
    atomic_store(&view.own->append_tail, 64);
    fault_expect(HG_CLIENT_FAULT_INDEX_RANGE);
    pair_open(APPEND_BYTES, DELIVER_BYTES); /* further than what was given back */
    CU_ASSERT_EQUAL(entry_put(1, 0, 0), 0);
    hg_client_view_append_publish(&view);
    entry_expect(1, 0, 0);
    atomic_store(&view.own->append_tail, APPEND_BYTES + 8);
    fault_expect(HG_CLIENT_FAULT_INDEX_RANGE);
}

static void hostile_record(struct hg_append_record record, uint64_t tail, enum hg_client_fault fault)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    memcpy(ring.append, &record, sizeof(record));
    atomic_store(&view.own->append_tail, tail);
    fault_expect(fault);
}

static void test_hostile_append_record(void)
{
    struct hg_append_record good = entry_make(1, 8, 56);
    good.bytes = 128;
    good.type = HG_APPEND_ENTRY;
    struct hg_append_record r;
#define HOSTILE(field, value, fault)                                                                         \
    r = good;                                                                                                \
    r.field = (value);                                                                                       \
    hostile_record(r, 128, HG_CLIENT_FAULT_##fault)
    HOSTILE(bytes, 0, RECORD_BYTES);
    HOSTILE(bytes, 127, RECORD_BYTES);
    HOSTILE(bytes, 136, RECORD_BYTES);
    HOSTILE(bytes, UINT32_MAX - 7, RECORD_BYTES);
    HOSTILE(bytes, 56, RECORD_BYTES);
    HOSTILE(bytes, 64, RECORD_SIZES);
    HOSTILE(bytes, 120, RECORD_SIZES);
    HOSTILE(type, 0, RECORD_TYPE);
    HOSTILE(type, 3, RECORD_TYPE);
    HOSTILE(type, HG_APPEND_PAD, RECORD_BYTES); /* a pad that doesn't reach the end */
    HOSTILE(flags, 4, RECORD_TYPE);
    HOSTILE(slot, 16, RECORD_SLOT);
    HOSTILE(slot, 255, RECORD_SLOT);
    HOSTILE(key_bytes, 4097, RECORD_SIZES);
    HOSTILE(key_bytes, 9, RECORD_SIZES);
    HOSTILE(key_bytes, UINT16_MAX, RECORD_SIZES);
    HOSTILE(data_bytes, UINT32_MAX, RECORD_SIZES);
    HOSTILE(data_bytes, (1u << 20) + 1, RECORD_SIZES);
    HOSTILE(data_bytes, 57, RECORD_SIZES);
    HOSTILE(span, 0, RECORD_SIZES);
    HOSTILE(op, 0, RECORD_OP);
    HOSTILE(op, HG_CLIENT_OP_MAX + 1, RECORD_OP);
#undef HOSTILE
    hostile_record(good, 64, HG_CLIENT_FAULT_RECORD_BYTES); /* published in the middle of it */
    hostile_record(good, 8, HG_CLIENT_FAULT_RECORD_BYTES);
    struct hg_append_record pad = {.bytes = APPEND_BYTES, .type = HG_APPEND_PAD};
    pair_open(APPEND_BYTES, DELIVER_BYTES); /* a pad of everything: useless, and harmless */
    memcpy(ring.append, &pad, sizeof(pad));
    atomic_store(&view.own->append_tail, APPEND_BYTES);
    const uint8_t *key, *data;
    CU_ASSERT_EQUAL(hg_client_ring_append_peek(&ring, &r, &key, &data), 0);
    pair_close();
}

static void test_hostile_deliver_words(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    atomic_store(&view.own->deliver_head, 32); /* ahead of what was delivered */
    for (int i = 0; i < 5; i++)
        (void)deliver_put((uint32_t)i, 1000, 1);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_NONE); /* never looked at while there is room... */
    atomic_store(&view.own->deliver_head, UINT64_C(1) << 40);
    CU_ASSERT_EQUAL(deliver_put(5, 1000, 1), -EAGAIN);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_INDEX_RANGE);
    pair_close();
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(deliver_put(i, 992, 1), 0);
    atomic_store(&view.own->deliver_head, 16);
    CU_ASSERT_EQUAL(deliver_put(5, 992, 1), -EAGAIN);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_INDEX_ALIGN);
    pair_close();
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    while (deliver_put(3, 224, 3) == 0)
        ;
    atomic_store(&view.own->slots[3].released_bytes, DELIVER_BYTES / 2 + 1);
    CU_ASSERT_EQUAL(deliver_put(3, 224, 3), -EAGAIN);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_RELEASED_RANGE);
    pair_close();
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    atomic_store(&view.own->slots[3].released_bytes, 1);
    (void)hg_client_ring_deliver_outstanding(&ring, 3);
    CU_ASSERT_EQUAL(ring.fault, HG_CLIENT_FAULT_RELEASED_RANGE);
    pair_close();
}

static void test_hostile_head_is_not_trusted(void)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    memset(ring.head, 0xff,
           sizeof(*ring.head)); /* the client can write there: nothing of ours reads it again */
    for (uint64_t i = 1; i < 500; i++) {
        CU_ASSERT_EQUAL(entry_put(i, 5, 100), 0);
        hg_client_view_append_publish(&view);
        entry_expect(i, 5, 100);
        hg_client_ring_publish(&ring);
        CU_ASSERT_EQUAL(deliver_put(1, 100, i), 0);
        hg_client_view_release(&view, 1, deliver_expect(1, 100, i));
    }
    pair_close();
}

/* ---- hostile dataplane ---- */
static void view_fault_expect(enum hg_client_fault fault)
{
    struct hg_deliver_record record;
    const uint8_t *payload;
    CU_ASSERT_EQUAL(hg_client_view_deliver_peek(&view, &record, &payload), -EBADMSG);
    CU_ASSERT_EQUAL(view.fault, fault);
    CU_ASSERT_EQUAL(entry_put(1, 0, 0), -EBADMSG);
    pair_close();
}

static void hostile_deliver(struct hg_deliver_record record, uint64_t tail, enum hg_client_fault fault)
{
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    memcpy(ring.deliver, &record, sizeof(record));
    atomic_store(&ring.own->deliver_tail, tail);
    view_fault_expect(fault);
}

static void test_hostile_view(void)
{
    struct hg_deliver_record good = {.bytes = 128, .type = HG_DELIVER_BATCH, .payload_bytes = 96}, r;
#define HOSTILE(field, value, fault)                                                                         \
    r = good;                                                                                                \
    r.field = (value);                                                                                       \
    hostile_deliver(r, 128, HG_CLIENT_FAULT_##fault)
    HOSTILE(bytes, 0, RECORD_BYTES);
    HOSTILE(bytes, 160, RECORD_BYTES);
    HOSTILE(bytes, 100, RECORD_BYTES);
    HOSTILE(bytes, 96, RECORD_SIZES);
    HOSTILE(type, 0, RECORD_TYPE);
    HOSTILE(type, 6, RECORD_TYPE);
    HOSTILE(type, HG_DELIVER_PAD, RECORD_BYTES);
    HOSTILE(type, HG_DELIVER_CLOSED, RECORD_SIZES);
    HOSTILE(slot, 16, RECORD_SLOT);
    HOSTILE(payload_bytes, 0, RECORD_SIZES);
    HOSTILE(payload_bytes, 97, RECORD_SIZES);
    HOSTILE(payload_bytes, UINT32_MAX, RECORD_SIZES);
#undef HOSTILE
    hostile_deliver(good, 96, HG_CLIENT_FAULT_RECORD_BYTES);
    hostile_deliver(good, DELIVER_BYTES + 32, HG_CLIENT_FAULT_INDEX_RANGE);
    hostile_deliver(good, 16, HG_CLIENT_FAULT_INDEX_ALIGN);
    r = (struct hg_deliver_record){
        .bytes = DELIVER_BYTES, .type = HG_DELIVER_BATCH, .payload_bytes = DELIVER_BYTES - 32};
    hostile_deliver(r, DELIVER_BYTES, HG_CLIENT_FAULT_CREDIT);
    r = (struct hg_deliver_record){.bytes = 32, .type = HG_DELIVER_CLOSED, .code = 1};
    hostile_deliver(r, 32, HG_CLIENT_FAULT_RECORD_SIZES);

    pair_open(APPEND_BYTES, DELIVER_BYTES); /* the head of the append ring runs away */
    for (uint32_t i = 0; i < APPEND_BYTES / 64; i++)
        CU_ASSERT_EQUAL(entry_put(i, 0, 0), 0);
    atomic_store(&ring.own->append_head, APPEND_BYTES * 2);
    CU_ASSERT_EQUAL(entry_put(1, 0, 0), -EBADMSG);
    CU_ASSERT_EQUAL(view.fault, HG_CLIENT_FAULT_INDEX_RANGE);
    pair_close();
}

static void test_view_head_checks(void)
{
    uint64_t bytes = hg_client_memory_bytes(APPEND_BYTES, DELIVER_BYTES);
    for (size_t word = 0; word < 13; word++) { /* every word of the head but boot and generation */
        pair_open(APPEND_BYTES, DELIVER_BYTES);
        uint64_t *words = memory;
        words[word] ^= 0x1000;
        struct hg_client_view other;
        int rc = hg_client_view_init(&other, memory, bytes);
        if (word == 3 || word == 4) {
            CU_ASSERT_EQUAL(rc, 0);
        } else {
            CU_ASSERT_EQUAL(rc, word == 1 ? -EPROTO : -EBADMSG);
        }
        pair_close();
    }
    struct hg_client_view other;
    pair_open(APPEND_BYTES, DELIVER_BYTES);
    CU_ASSERT_EQUAL(hg_client_view_init(&other, memory, bytes - 4096), -EBADMSG);
    CU_ASSERT_EQUAL(hg_client_view_init(&other, memory, 100), -EBADMSG);
    pair_close();
    CU_ASSERT_EQUAL(hg_client_memory_bytes(4097, 4096), 0);
    CU_ASSERT_EQUAL(hg_client_memory_bytes(2048, 4096), 0);
    CU_ASSERT_EQUAL(hg_client_memory_bytes(4096, UINT64_C(8) << 30), 0);
}

static void test_create_is_sealed(void)
{
    int memfd;
    CU_ASSERT_EQUAL(hg_client_ring_create(&ring, 5000, 4096, 1, 1, &memfd), -EINVAL);
    CU_ASSERT_EQUAL_FATAL(hg_client_ring_create(&ring, 8192, 4096, 1, 1, &memfd), 0);
    CU_ASSERT_NOT_EQUAL(ftruncate(memfd, 0), 0);
    CU_ASSERT_EQUAL_FATAL(hg_client_view_map(&view, memfd), 0);
    close(memfd);
    CU_ASSERT_EQUAL(view.append_bytes, 8192);
    CU_ASSERT_EQUAL(entry_put(1, 3, 30), 0);
    hg_client_view_append_publish(&view);
    entry_expect(1, 3, 30);
    hg_client_ring_destroy(&ring);
    CU_ASSERT(hg_client_view_closed(&view)); /* our mapping stays */
    hg_client_view_unmap(&view);
    int pipes[2];
    CU_ASSERT_EQUAL(pipe(pipes), 0);
    CU_ASSERT(hg_client_view_map(&view, pipes[0]) < 0); /* no memfd */
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- two threads ---- */
#define STRESS_COUNT 60000u

static void *stress_worker(void *argument)
{
    uint64_t *wrong = argument;
    uint64_t next = 1, delivered = 1;
    while (next <= STRESS_COUNT || delivered <= STRESS_COUNT) {
        struct hg_append_record record;
        const uint8_t *key, *data;
        bool idle = true;
        for (int i = 0; i < 64 && hg_client_ring_append_peek(&ring, &record, &key, &data) == 1; i++) {
            uint16_t key_bytes = (uint16_t)(next % 17);
            uint32_t data_bytes = (uint32_t)(next * 29 % 300);
            *wrong += record.lsn != next || record.key_bytes != key_bytes ||
                      record.data_bytes != data_bytes || !bytes_match(data, data_bytes, next + 1);
            next++;
            hg_client_ring_append_consume(&ring);
            idle = false;
        }
        hg_client_ring_publish(&ring);
        uint8_t *place;
        uint32_t bytes = (uint32_t)(1 + delivered * 41 % 600);
        while (delivered <= STRESS_COUNT &&
               (place = hg_client_ring_deliver_reserve(&ring, delivered % 16, bytes)) != NULL) {
            bytes_fill(place, bytes, delivered);
            hg_client_ring_deliver_commit(&ring);
            delivered++;
            bytes = (uint32_t)(1 + delivered * 41 % 600);
            idle = false;
        }
        struct hg_client_position position;
        memset(&position, 0, sizeof(position));
        position.lsn_consumed = position.lsn_durable = position.lsn_committed = next;
        for (size_t i = 0; i < HG_CLIENT_REGIONS; i++)
            position.lsn_durable_region[i] = next;
        hg_client_ring_position_set(&ring, 0, &position);
        *wrong += ring.fault != 0;
        if (ring.fault != 0)
            return NULL;
        if (idle)
            sched_yield();
    }
    return NULL;
}

static bool stress_position_torn(void)
{
    struct hg_client_position position;
    if (!hg_client_view_position_get(&view, 0, &position))
        return false; /* the writer was descheduled in the middle: no answer is right */
    for (size_t i = 0; i < HG_CLIENT_REGIONS; i++)
        if (position.lsn_durable_region[i] != position.lsn_durable)
            return true;
    return position.lsn_consumed != position.lsn_durable;
}

static void test_two_threads(void)
{
    pair_open(16384, 8192);
    uint64_t worker_wrong = 0, wrong = 0;
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, stress_worker, &worker_wrong), 0);
    uint64_t next = 1, delivered = 1;
    while ((next <= STRESS_COUNT || delivered <= STRESS_COUNT) && wrong == 0) {
        bool idle = true;
        while (next <= STRESS_COUNT &&
               entry_put(next, (uint16_t)(next % 17), (uint32_t)(next * 29 % 300)) == 0) {
            next++;
            idle = false;
            if (next % 7 == 0)
                hg_client_view_append_publish(&view);
        }
        hg_client_view_append_publish(&view);
        struct hg_deliver_record record;
        const uint8_t *payload;
        while (hg_client_view_deliver_peek(&view, &record, &payload) == 1) {
            wrong += record.slot != delivered % 16 || record.payload_bytes != 1 + delivered * 41 % 600 ||
                     !bytes_match(payload, record.payload_bytes, delivered);
            hg_client_view_deliver_consume(&view);
            hg_client_view_release(&view, record.slot, record.bytes);
            delivered++;
            idle = false;
        }
        wrong += stress_position_torn() + (view.fault != 0);
        if (idle)
            sched_yield();
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(worker_wrong, 0);
    CU_ASSERT_EQUAL(next, STRESS_COUNT + 1);
    pair_close();
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("client_ring", NULL, NULL);
    CU_add_test(suite, "append wraps, every pad", test_append_wraps);
    CU_add_test(suite, "append full and unpublished", test_append_full_and_unpublished);
    CU_add_test(suite, "append largest", test_append_largest);
    CU_add_test(suite, "deliver wraps", test_deliver_wraps);
    CU_add_test(suite, "deliver credit per slot", test_deliver_credit);
    CU_add_test(suite, "deliver full", test_deliver_full);
    CU_add_test(suite, "default sizes fit any batch", test_default_sizes_fit_any_batch);
    CU_add_test(suite, "positions", test_position);
    CU_add_test(suite, "doorbells", test_doorbells);
    CU_add_test(suite, "hostile append index", test_hostile_append_index);
    CU_add_test(suite, "hostile append record", test_hostile_append_record);
    CU_add_test(suite, "hostile deliver words", test_hostile_deliver_words);
    CU_add_test(suite, "hostile head", test_hostile_head_is_not_trusted);
    CU_add_test(suite, "hostile dataplane", test_hostile_view);
    CU_add_test(suite, "head of the memory", test_view_head_checks);
    CU_add_test(suite, "create seals", test_create_is_sealed);
    CU_add_test(suite, "two threads", test_two_threads);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
