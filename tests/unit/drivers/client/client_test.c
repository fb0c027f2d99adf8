/* SPDX-License-Identifier: Apache-2.0
 *
 * libheliograph end to end against a dataplane thread with real socket, rings and batches.
 */
#include "drivers/client/client_private.h"
#include "drivers/platform/random.h"
#include "tests/unit/drivers/client/fake_dataplane.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fake_dataplane *fake;
static struct hg_client *client;

static uint64_t soon(void)
{
    return client_now_ns() + 5 * HG_NS_PER_S;
}

static uint64_t shortly(void)
{
    return client_now_ns() + 30 * HG_NS_PER_MS;
}

static void setup(void)
{
    fake = fake_create();
    fake_stream_add(fake, "orders", 11, HG_STREAM_KEY_VALUE, 1);
    fake_stream_add(fake, "users", 12, HG_STREAM_KEY_VALUE, 1);
    fake_stream_add(fake, "wal", 13, HG_STREAM_POSTGRES_PHYSICAL, 0);
    fake_start(fake);
    client = hg_client_open(fake->run_dir, "test");
}

static void teardown(void)
{
    hg_client_close(client);
    fake_destroy(fake);
}

static struct hg_stream *attach(const char *name, bool append, bool subscribe)
{
    struct hg_stream_options options = {
        .append = append, .subscribe = subscribe, .append_ring_bytes = 4u << 20};
    struct hg_stream *stream;
    int rc = hg_stream_attach(client, name, &options, &stream, soon());
    if (rc != 0)
        printf("attach %s: %d %s\n", name, rc, hg_client_error(client));
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    return stream;
}

static uint8_t data_byte(uint64_t lsn, uint32_t i)
{
    return (uint8_t)(lsn % 3 == 0 ? 7
                                  : (lsn * 2654435761u + i * 40503u) >> 5); /* some compress, some don't */
}

static uint8_t data_buffer[HG_FRAME_DATA_BYTES_MAX];

static uint32_t data_bytes_of(uint64_t lsn)
{
    return lsn % 50 == 49 ? 300000 : (uint32_t)(lsn * 37 % 900);
}

static int append_lsn(struct hg_stream *stream, uint64_t lsn, uint32_t data_bytes, uint64_t deadline_ns)
{
    char key[24];
    snprintf(key, sizeof(key), "key-%llu", (unsigned long long)lsn);
    for (uint32_t i = 0; i < data_bytes; i++)
        data_buffer[i] = data_byte(lsn, i);
    struct hg_entry entry = {.span = 1,
                             .op = 1,
                             .key_bytes = (uint16_t)strlen(key),
                             .data_bytes = data_bytes,
                             .table_id = 5,
                             .transaction_id = lsn + 1000,
                             .client_id = lsn % 2 ? 9 : 0,
                             .client_sequence = lsn % 2 ? lsn : 0,
                             .continues = lsn % 5 == 0,
                             .key = key,
                             .data = data_buffer};
    return hg_stream_append(stream, &entry, 1, deadline_ns);
}

static void append_range(struct hg_stream *stream, uint64_t first, uint64_t end)
{
    for (uint64_t lsn = first; lsn < end; lsn++)
        CU_ASSERT_EQUAL_FATAL(append_lsn(stream, lsn, data_bytes_of(lsn), soon()), 1);
    CU_ASSERT_EQUAL(hg_stream_append_end(stream), end);
}

static bool entry_right(const struct hg_entry *entry, uint64_t lsn)
{
    char key[24];
    snprintf(key, sizeof(key), "key-%llu", (unsigned long long)lsn);
    bool right = entry->lsn == lsn && entry->span == 1 && entry->op == 1 && entry->table_id == 5 &&
                 entry->transaction_id == lsn + 1000 && entry->client_id == (lsn % 2 ? 9u : 0u) &&
                 entry->client_sequence == (lsn % 2 ? lsn : 0) && entry->continues == (lsn % 5 == 0) &&
                 entry->key_bytes == strlen(key) && memcmp(entry->key, key, strlen(key)) == 0;
    for (uint32_t i = 0; right && i < entry->data_bytes; i++)
        right = ((const uint8_t *)entry->data)[i] == data_byte(lsn, i);
    return right;
}

static void read_range(struct hg_stream *stream, uint64_t first, uint64_t end)
{
    for (uint64_t lsn = first; lsn < end; lsn++) {
        struct hg_entry entry;
        int rc = hg_stream_read(stream, &entry, soon());
        if (rc != 1)
            printf("read %llu: %d %s\n", (unsigned long long)lsn, rc, hg_client_error(client));
        CU_ASSERT_EQUAL_FATAL(rc, 1);
        CU_ASSERT_FATAL(entry_right(&entry, lsn));
        CU_ASSERT_EQUAL(entry.data_bytes, data_bytes_of(lsn));
    }
}

/* Data that does not compress. */
static void data_random(uint64_t seed)
{
    struct hg_random random;
    hg_random_init(&random, seed);
    hg_random_fill(&random, data_buffer, sizeof(data_buffer));
}

static void test_append_and_read_back(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    struct hg_stream_status status;
    CU_ASSERT_EQUAL(hg_stream_status_get(producer, &status), 0);
    CU_ASSERT_EQUAL(status.stream, 11);
    CU_ASSERT_EQUAL(status.kind, 1);
    CU_ASSERT_EQUAL(status.lsn_oldest, 0);
    CU_ASSERT(status.writable);
    append_range(producer, 1, 400);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 400, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 400);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_CONSUMED, 0, 400, 0), 0);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_COMMITTED, 0, 400, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_REGION, 2, 400, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_REGION, 3, 400, shortly()), HG_E_TIMEOUT);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 401, 0), HG_E_WOULD_BLOCK);
    struct hg_stream *reader = attach("orders", false, true);
    read_range(reader, 1, 400);
    struct hg_entry entry;
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, 0), HG_E_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, shortly()), HG_E_TIMEOUT);
    append_range(producer, 400, 450);
    read_range(reader, 400, 450);
    /* from the middle of a batch on */
    struct hg_stream_options options = {.subscribe = true, .lsn_from = 123};
    struct hg_stream *middle;
    CU_ASSERT_EQUAL_FATAL(hg_stream_attach(client, "orders", &options, &middle, soon()), 0);
    read_range(middle, 123, 450);
    CU_ASSERT_EQUAL(fake->memories, 1); /* all three share it */
    teardown();
}

static void test_many_in_one_call(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, true);
    struct hg_entry entries[500];
    for (size_t i = 0; i < HG_COUNT(entries); i++)
        entries[i] = (struct hg_entry){.span = 1, .op = 7, .data_bytes = 100000, .data = data_buffer};
    CU_ASSERT_EQUAL(hg_stream_append(producer, entries, 500, soon()), 500); /* 50 MB through 4 */
    for (uint64_t lsn = 1; lsn <= 500; lsn++) {
        struct hg_entry entry;
        CU_ASSERT_EQUAL_FATAL(hg_stream_read(producer, &entry, soon()), 1);
        CU_ASSERT_EQUAL(entry.lsn, lsn);
        CU_ASSERT_EQUAL(entry.data_bytes, 100000);
    }
    struct hg_entry largest = {.span = 1,
                               .op = 7,
                               .key_bytes = HG_FRAME_KEY_BYTES_MAX,
                               .data_bytes = HG_FRAME_DATA_BYTES_MAX,
                               .key = data_buffer,
                               .data = data_buffer};
    data_random(1);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(hg_stream_append(producer, &largest, 1, soon()), 1);
    for (int i = 0; i < 6; i++) {
        struct hg_entry entry;
        CU_ASSERT_EQUAL_FATAL(hg_stream_read(producer, &entry, soon()), 1);
        CU_ASSERT_EQUAL_FATAL(entry.data_bytes, sizeof(data_buffer));
        CU_ASSERT_EQUAL(memcmp(entry.data, data_buffer, sizeof(data_buffer)), 0);
    }
    teardown();
}

static void test_full_ring(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    pthread_mutex_lock(&fake->mutex);
    fake->hold_consume = true;
    pthread_mutex_unlock(&fake->mutex);
    struct hg_entry entries[100];
    for (size_t i = 0; i < HG_COUNT(entries); i++)
        entries[i] = (struct hg_entry){.span = 1, .op = 7, .data_bytes = 100000, .data = data_buffer};
    CU_ASSERT_EQUAL(hg_stream_append(producer, entries, 100, 0), 41); /* as many as 4 MiB hold */
    CU_ASSERT_EQUAL(hg_stream_append(producer, entries, 100, 0), HG_E_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_stream_append(producer, entries, 100, shortly()), HG_E_TIMEOUT);
    CU_ASSERT_EQUAL(hg_stream_append_end(producer), 42);
    pthread_mutex_lock(&fake->mutex);
    fake->hold_consume = false;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL(hg_stream_append(producer, entries, 100, soon()), 100);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 142, soon()), 0);
    teardown();
}

static void test_absent_unknown_not_ready(void)
{
    struct hg_client *lonely = hg_client_open("/tmp/hg-there-is-nothing-here", "lonely");
    struct hg_stream_options options = {.subscribe = true};
    struct hg_stream *stream;
    CU_ASSERT_EQUAL(hg_stream_attach(lonely, "orders", &options, &stream, shortly()), HG_E_CLOSED);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(lonely), "/tmp/hg-there-is-nothing-here/dataplane.sock"));
    CU_ASSERT_EQUAL(hg_client_fd(lonely), -1);
    hg_client_close(lonely);
    setup();
    CU_ASSERT_EQUAL(hg_stream_attach(client, "nobody", &options, &stream, client_now_ns() + HG_NS_PER_S),
                    HG_E_UNKNOWN);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "nobody"));
    pthread_mutex_lock(&fake->mutex);
    fake->not_ready = 3;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL_FATAL(hg_stream_attach(client, "orders", &options, &stream, soon()), 0);
    CU_ASSERT_EQUAL(fake->not_ready, 0);
    options.subscribe = false;
    CU_ASSERT_EQUAL(hg_stream_attach(client, "orders", &options, &stream, soon()), HG_E_INVALID);
    options.append = true;
    CU_ASSERT_EQUAL(hg_stream_attach(client, "or ders", &options, &stream, soon()), HG_E_INVALID);
    options.append_ring_bytes = 12345678;
    CU_ASSERT_EQUAL(hg_stream_attach(client, "orders", &options, &stream, soon()), HG_E_INVALID);
    teardown();
    CU_ASSERT_EQUAL(strcmp(hg_error_name(HG_E_GAP), "gap"), 0);
    CU_ASSERT_EQUAL(strcmp(hg_error_name(HG_E_PROTOCOL), "protocol"), 0);
    CU_ASSERT_EQUAL(strcmp(hg_error_name(5), "unknown_code"), 0);
}

/* A dataplane that starts takes nobody yet: calls of little patience wait one after the other, at one place.
 */
static void test_patience(void)
{
    struct hg_client_listener listener;
    char path[128];
    setup();
    fake_kill(fake);
    snprintf(path, sizeof(path), "%s/%s", fake->run_dir, HG_CLIENT_SOCKET_NAME);
    CU_ASSERT_EQUAL_FATAL(hg_client_listener_open(&listener, path, 0600), 0);
    for (uint32_t i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(hg_client_wake(client, client_now_ns() + HG_NS_PER_MS), HG_E_TIMEOUT);
    int first = hg_client_listener_accept(&listener);
    CU_ASSERT_FATAL(first >= 0);
    CU_ASSERT_EQUAL(hg_client_listener_accept(&listener), -EAGAIN);
    close(first); /* that one died before it answered */
    hg_client_listener_close(&listener);
    fake_start(fake);
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
    struct hg_stream *producer = attach("orders", true, true);
    append_range(producer, 1, 10);
    read_range(producer, 1, 10);
    teardown();
}

static void test_gap(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    append_range(producer, 1, 100);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 100, soon()), 0);
    pthread_mutex_lock(&fake->mutex);
    fake->streams[0].oldest = fake->streams[0].batch_count / 2;
    uint64_t oldest = fake->streams[0].batches[fake->streams[0].oldest].lsn_first;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_FATAL(oldest > 2);
    struct hg_stream_options options = {.subscribe = true, .lsn_from = oldest - 1};
    struct hg_stream *reader;
    CU_ASSERT_EQUAL(hg_stream_attach(client, "orders", &options, &reader, soon()), HG_E_GAP);
    options.lsn_from = 0; /* the oldest kept */
    CU_ASSERT_EQUAL_FATAL(hg_stream_attach(client, "orders", &options, &reader, soon()), 0);
    read_range(reader, oldest, 100);
    /* while it reads: the dataplane says that it can't go on */
    pthread_mutex_lock(&fake->mutex);
    CU_ASSERT(hg_client_ring_deliver_error(&fake->clients[0].ring, 1, HG_DELIVER_READ_ERROR, HG_E_GAP, 777));
    pthread_mutex_unlock(&fake->mutex);
    struct hg_entry entry;
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, soon()), HG_E_GAP);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "777"));
    append_range(producer, 100, 120);
    read_range(reader, 100, 120); /* attached again */
    teardown();
}

static void test_unread_stream_blocks_nobody(void)
{
    setup();
    struct hg_stream *orders = attach("orders", true, true), *users = attach("users", true, true);
    CU_ASSERT_PTR_EQUAL(orders->link, users->link);
    CU_ASSERT_NOT_EQUAL(orders->facts.slot, users->facts.slot);
    for (uint64_t lsn = 1; lsn <= 200; lsn++) /* more than its credit, and nobody reads it */
        CU_ASSERT_EQUAL_FATAL(append_lsn(orders, lsn * 3 + 1, 100000, soon()), 1);
    for (uint64_t lsn = 1; lsn < 600; lsn++) {
        CU_ASSERT_EQUAL_FATAL(append_lsn(users, lsn, data_bytes_of(lsn), soon()), 1);
        read_range(users, lsn, lsn + 1);
    }
    pthread_mutex_lock(&fake->mutex);
    struct hg_client_ring *ring = &fake->clients[0].ring;
    uint64_t outstanding = hg_client_ring_deliver_outstanding(ring, orders->facts.slot);
    CU_ASSERT(outstanding <= ring->deliver_credit_bytes);
    CU_ASSERT(outstanding > ring->deliver_credit_bytes / 2);
    CU_ASSERT_EQUAL(fake->faults, 0);
    pthread_mutex_unlock(&fake->mutex);
    for (uint64_t lsn = 1; lsn <= 200; lsn++) { /* and all of it is there when it is wanted */
        struct hg_entry entry;
        CU_ASSERT_EQUAL_FATAL(hg_stream_read(orders, &entry, soon()), 1);
        CU_ASSERT_EQUAL(entry.lsn, lsn);
        CU_ASSERT_EQUAL(entry.data_bytes, 100000);
    }
    teardown();
}

static void test_killed_and_restarted(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false), *reader = attach("orders", false, true);
    append_range(producer, 1, 100);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 100, soon()), 0);
    read_range(reader, 1, 60); /* the reader stands in the middle */
    pthread_mutex_lock(&fake->mutex);
    fake->hold_durable = true;
    pthread_mutex_unlock(&fake->mutex);
    append_range(producer, 100, 200);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_CONSUMED, 0, 200, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 100);
    fake_kill(fake);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 200, soon()), HG_E_CLOSED);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 100); /* the last known, without a dataplane */
    CU_ASSERT_EQUAL(append_lsn(producer, 200, 1, 0), HG_E_CLOSED);
    CU_ASSERT_EQUAL(append_lsn(producer, 200, 1, shortly()), HG_E_CLOSED);
    struct hg_stream_status status;
    CU_ASSERT_EQUAL(hg_stream_status_get(producer, &status), HG_E_CLOSED);
    CU_ASSERT_EQUAL(status.lsn_durable, 100);
    CU_ASSERT_FALSE(status.writable);
    fake->hold_durable = false;
    fake_start(fake);
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 100);
    CU_ASSERT_EQUAL(hg_stream_append_end(producer), 100);
    append_range(producer, 100, 250);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 250, soon()), 0);
    struct hg_entry entry;
    uint64_t next = 60;
    int closed = 0;
    while (next < 250) {
        int rc = hg_stream_read(reader, &entry, soon());
        if (rc == HG_E_CLOSED) {
            closed++;
            continue;
        }
        CU_ASSERT_EQUAL_FATAL(rc, 1);
        CU_ASSERT(entry_right(&entry, next)); /* exactly once, in order */
        next++;
    }
    CU_ASSERT_EQUAL(closed, 1);
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, 0), HG_E_WOULD_BLOCK);
    teardown();
}

/* Killed again and again at any moment, by a producer that only knows the rule. */
static void test_killed_often(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    uint64_t next = 1;
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 40;) {
            /* Waits once in the middle: else nothing might ever be durable before the kill. */
            int rc = i == 20 ? hg_stream_wait(producer, HG_WHERE_DURABLE, 0, next, soon()) : 0;
            if (rc == 0)
                rc = append_lsn(producer, next, data_bytes_of(next), soon());
            CU_ASSERT_FATAL(rc == 1 || rc == HG_E_CLOSED);
            if (rc == HG_E_CLOSED) {
                CU_ASSERT_EQUAL_FATAL(hg_client_wake(client, soon()), 0);
                next = hg_stream_durable_end(producer);
                i = 0;
            } else {
                next++;
                i++;
            }
        }
        if (round % 3 == 0) {
            pthread_mutex_lock(&fake->mutex);
            fake->hold_durable = true;
            pthread_mutex_unlock(&fake->mutex);
        }
        fake_kill(fake);
        fake->hold_durable = false;
        fake_start(fake);
    }
    int rc;
    while ((rc = hg_stream_wait(producer, HG_WHERE_DURABLE, 0, next, soon())) == HG_E_CLOSED) {
        CU_ASSERT_EQUAL_FATAL(hg_client_wake(client, soon()), 0);
        next = hg_stream_durable_end(producer);
    }
    CU_ASSERT_EQUAL(rc, 0);
    struct hg_stream *reader = attach("orders", false, true);
    read_range(reader, 1, next);
    CU_ASSERT(next > 12 * 20);
    teardown();
}

static void test_refused_append(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    append_range(producer, 1, 50);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 50, soon()), 0);
    pthread_mutex_lock(&fake->mutex);
    fake->refuse_code = HG_E_READ_ONLY;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL(append_lsn(producer, 50, 10, soon()), 1);
    int rc = append_lsn(producer, 51, 10, soon()); /* taken and dropped with it, or told at once */
    uint64_t stale = rc == 1;
    if (rc == 1)
        rc = hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 52, soon());
    CU_ASSERT_EQUAL(rc, HG_E_READ_ONLY);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "50"));
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 50);
    append_range(producer, 50, 60);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 60, soon()), 0);
    struct hg_stream *reader = attach("orders", false, true);
    read_range(reader, 1, 60);
    CU_ASSERT_EQUAL(fake->entries_stale, stale);
    teardown();
}

/* Who takes its place appends under the same LSNs: the position that is reached is not that of what was
 * dropped. */
static void test_refused_append_and_others(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false), *other = attach("orders", true, false);
    append_range(producer, 1, 50);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 50, soon()), 0);
    pthread_mutex_lock(&fake->mutex);
    fake->refuse_code = HG_E_NOT_LEADER;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL(append_lsn(producer, 50, 10, soon()), 1);
    CU_ASSERT_EQUAL(hg_stream_wait(other, HG_WHERE_DURABLE, 0, 50, soon()), 0);
    hg_stream_detach(other);
    other = attach("orders", true, false);
    append_range(other, 50, 60);
    CU_ASSERT_EQUAL(hg_stream_wait(other, HG_WHERE_DURABLE, 0, 60, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 51, soon()), HG_E_NOT_LEADER);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 60, soon()), 0); /* it asked for others' */
    teardown();
}

static void test_not_writable(void)
{
    setup();
    pthread_mutex_lock(&fake->mutex);
    fake->writable_why = HG_CLIENT_WHY_NOT_ORIGIN;
    pthread_mutex_unlock(&fake->mutex);
    struct hg_stream *producer = attach("orders", true, false);
    CU_ASSERT_EQUAL(append_lsn(producer, 1, 1, soon()), HG_E_NOT_LEADER);
    struct hg_stream_status status;
    CU_ASSERT_EQUAL(hg_stream_status_get(producer, &status), 0);
    CU_ASSERT_FALSE(status.writable);
    CU_ASSERT_PTR_NOT_NULL(strstr(status.writable_why, "origin"));
    hg_stream_detach(producer);
    pthread_mutex_lock(&fake->mutex);
    fake->writable_why = HG_CLIENT_WHY_LOG_FULL;
    pthread_mutex_unlock(&fake->mutex);
    producer = attach("orders", true, false);
    CU_ASSERT_EQUAL(append_lsn(producer, 1, 1, 0), HG_E_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_stream_status_get(producer, &status), 0);
    CU_ASSERT_FALSE(status.writable);
    CU_ASSERT_PTR_NOT_NULL(strstr(status.writable_why, "the log is full, appends wait"));
    hg_stream_detach(producer);
    pthread_mutex_lock(&fake->mutex);
    fake->writable_why = HG_CLIENT_WHY_LOG_FAILED;
    pthread_mutex_unlock(&fake->mutex);
    producer = attach("orders", true, false);
    CU_ASSERT_EQUAL(append_lsn(producer, 1, 1, 0), HG_E_CLOSED); /* once, as of any dataplane that ends */
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "an error of its device"));
    CU_ASSERT_EQUAL(hg_stream_status_get(producer, &status), HG_E_CLOSED);
    pthread_mutex_lock(&fake->mutex);
    fake->writable_why = 0;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL(append_lsn(producer, 1, 1, soon()), 1);
    teardown();
}

static void test_physical_positions(void)
{
    setup();
    struct hg_stream *wal = attach("wal", true, true);
    struct hg_entry entry = {
        .lsn = 0x1000000, .span = 8192, .op = 7, .data_bytes = 8192, .data = data_buffer};
    CU_ASSERT_EQUAL(hg_stream_append_end(wal), 0);
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), 1);
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), HG_E_OVERLAP);
    entry.lsn = 0x1002001;
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), HG_E_GAP);
    entry.lsn = 0x1002000;
    entry.span = 0;
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), HG_E_INVALID);
    entry.span = 8192;
    entry.op = 10;
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), HG_E_INVALID);
    entry.op = 7;
    entry.data_bytes = HG_FRAME_DATA_BYTES_MAX + 1;
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), HG_E_INVALID);
    entry.data_bytes = 8192;
    CU_ASSERT_EQUAL(hg_stream_append(wal, &entry, 1, soon()), 1);
    CU_ASSERT_EQUAL(hg_stream_wait(wal, HG_WHERE_DURABLE, 0, 0x1004000, soon()), 0);
    struct hg_stream_options options = {.subscribe = true, .lsn_from = 0x1002800};
    struct hg_stream *reader;
    CU_ASSERT_EQUAL_FATAL(hg_stream_attach(client, "wal", &options, &reader, soon()), 0);
    struct hg_entry read;
    CU_ASSERT_EQUAL(hg_stream_read(reader, &read, soon()), 1);
    CU_ASSERT_EQUAL(read.lsn, 0x1002000); /* whole frames: its end is above */
    CU_ASSERT_EQUAL(read.span, 8192);
    CU_ASSERT_EQUAL(hg_stream_read(reader, &read, 0), HG_E_WOULD_BLOCK);
    CU_ASSERT_EQUAL(hg_stream_append(reader, &entry, 1, 0), HG_E_INVALID);
    teardown();
}

static void test_corrupt_batch(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false), *reader = attach("orders", false, true);
    append_range(producer, 1, 20);
    read_range(reader, 1, 20);
    pthread_mutex_lock(&fake->mutex);
    fake->corrupt_next = true;
    pthread_mutex_unlock(&fake->mutex);
    append_range(producer, 20, 40);
    struct hg_entry entry;
    uint64_t next = 20;
    int rc;
    while ((rc = hg_stream_read(reader, &entry, soon())) == 1)
        CU_ASSERT(entry_right(&entry, next++));
    CU_ASSERT_EQUAL(rc, HG_E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "orders"));
    read_range(reader, next, 40); /* asked for again */
    append_range(producer, 40, 60);
    read_range(reader, 40, 60);
    teardown();
}

/* A flip that only the header's own checks can see. */
static void test_corrupt_header(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    append_range(producer, 1, 20);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 20, soon()), 0);
    pthread_mutex_lock(&fake->mutex);
    struct hg_batch_header *header = (struct hg_batch_header *)fake->streams[0].batches[0].bytes;
    header->epoch ^= 1;
    pthread_mutex_unlock(&fake->mutex);
    struct hg_stream *reader = attach("orders", false, true);
    struct hg_entry entry;
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, soon()), HG_E_CORRUPT);
    CU_ASSERT_EQUAL(hg_stream_read(reader, &entry, soon()), HG_E_CORRUPT); /* still, and again by name */
    pthread_mutex_lock(&fake->mutex);
    header->epoch ^= 1; /* repaired */
    pthread_mutex_unlock(&fake->mutex);
    read_range(reader, 1, 20);
    teardown();
}

/* A producer is attached only when what an earlier one left in the log is durable. */
static void test_attach_settles(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    pthread_mutex_lock(&fake->mutex);
    fake->hold_durable = true;
    pthread_mutex_unlock(&fake->mutex);
    append_range(producer, 1, 10);
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_CONSUMED, 0, 10, soon()), 0);
    hg_stream_detach(producer);
    struct hg_stream_options options = {.append = true};
    CU_ASSERT_EQUAL(hg_stream_attach(client, "orders", &options, &producer, client_now_ns() + HG_NS_PER_S),
                    HG_E_NOT_READY);
    pthread_mutex_lock(&fake->mutex);
    fake->depose_code = HG_E_NOT_LEADER; /* what it waits for may never be durable then */
    pthread_mutex_unlock(&fake->mutex);
    uint64_t attaches = fake->attaches;
    CU_ASSERT_EQUAL(hg_stream_attach(client, "orders", &options, &producer, client_now_ns() + HG_NS_PER_S),
                    HG_E_NOT_READY);
    CU_ASSERT(fake->attaches >= attaches + 2); /* asked again: the answer says why */
    pthread_mutex_lock(&fake->mutex);
    fake->hold_durable = false;
    pthread_mutex_unlock(&fake->mutex);
    CU_ASSERT_EQUAL_FATAL(hg_stream_attach(client, "orders", &options, &producer, soon()), 0);
    CU_ASSERT_EQUAL(hg_stream_durable_end(producer), 10);
    CU_ASSERT_EQUAL(hg_stream_append_end(producer), 10);
    teardown();
}

/* What was delivered to a subscription that went away gives its credit back to the next one of the slot. */
static void test_credit_survives_attachments(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false);
    data_random(2);
    struct hg_entry random = {.span = 1, .op = 7, .data_bytes = 100000, .data = data_buffer};
    for (uint64_t lsn = 1; lsn <= 30; lsn++) {
        random.data = data_buffer + lsn * 1000 * 20;
        CU_ASSERT_EQUAL_FATAL(hg_stream_append(producer, &random, 1, soon()), 1);
    }
    CU_ASSERT_EQUAL(hg_stream_wait(producer, HG_WHERE_DURABLE, 0, 31, soon()), 0);
    for (int round = 0; round < 6; round++) {
        struct hg_stream *reader = attach("orders", false, true);
        uint64_t deadline_ns = soon(), outstanding = 0;
        while (outstanding < 200000 && client_now_ns() < deadline_ns) {
            pthread_mutex_lock(&fake->mutex);
            outstanding = hg_client_ring_deliver_outstanding(&fake->clients[0].ring, reader->facts.slot);
            pthread_mutex_unlock(&fake->mutex);
            poll(NULL, 0, 1);
        }
        CU_ASSERT_FATAL(outstanding >= 200000);
        hg_stream_detach(reader);
    }
    struct hg_stream *reader = attach("orders", false, true);
    for (uint64_t lsn = 1; lsn <= 30; lsn++) {
        struct hg_entry entry;
        CU_ASSERT_EQUAL_FATAL(hg_stream_read(reader, &entry, soon()), 1);
        CU_ASSERT_EQUAL(entry.lsn, lsn);
    }
    pthread_mutex_lock(&fake->mutex); /* all of it came back */
    CU_ASSERT_EQUAL(hg_client_ring_deliver_outstanding(&fake->clients[0].ring, reader->facts.slot), 0);
    pthread_mutex_unlock(&fake->mutex);
    teardown();
}

static void acknowledged_expect(uint64_t lsn)
{
    uint64_t deadline_ns = soon(), seen = 0;
    while (seen != lsn && client_now_ns() < deadline_ns) {
        pthread_mutex_lock(&fake->mutex);
        seen = fake->streams[0].acknowledged;
        pthread_mutex_unlock(&fake->mutex);
        poll(NULL, 0, 1);
    }
    CU_ASSERT_EQUAL(seen, lsn);
}

static void test_acknowledge(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, false), *reader = attach("orders", false, true);
    append_range(producer, 1, 20);
    read_range(reader, 1, 15);
    CU_ASSERT_EQUAL(hg_stream_acknowledge(reader, 16), HG_E_INVALID); /* beyond what was read */
    CU_ASSERT_EQUAL(hg_stream_acknowledge(reader, 15), 0);
    CU_ASSERT_EQUAL(hg_stream_acknowledge(reader, 10), 0); /* never back */
    acknowledged_expect(15);
    fake_kill(fake);
    fake->streams[0].acknowledged = 0;
    fake_start(fake);
    (void)hg_client_wake(client, 0);
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
    acknowledged_expect(15); /* said again to the new one */
    teardown();
}

static void test_sleep_and_wake(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, true);
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT_EQUAL(append_lsn(producer, (uint64_t)i + 1, data_bytes_of((uint64_t)i + 1), 0), 1);
        struct pollfd descriptor = {.fd = hg_client_fd(client), .events = POLLIN};
        uint64_t deadline_ns = soon();
        while (hg_stream_durable_end(producer) < (uint64_t)i + 2 && client_now_ns() < deadline_ns) {
            if (hg_client_sleep(client)) {
                CU_ASSERT_EQUAL(poll(&descriptor, 1, 5000), 1);
            }
            CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0);
        }
        CU_ASSERT_EQUAL(hg_stream_durable_end(producer), (uint64_t)i + 2);
        read_range(producer, (uint64_t)i + 1, (uint64_t)i + 2);
    }
    struct pollfd descriptor = {.fd = hg_client_fd(client), .events = POLLIN};
    fake_kill(fake);
    CU_ASSERT_EQUAL(poll(&descriptor, 1, 5000), 1); /* a hang-up wakes too */
    CU_ASSERT_EQUAL(hg_client_wake(client, 0), HG_E_CLOSED);
    CU_ASSERT_EQUAL(hg_client_fd(client), -1);
    CU_ASSERT_FALSE(hg_client_sleep(client)); /* there is something to be told */
    teardown();
}

static void test_hostile_memory(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, true);
    append_range(producer, 1, 20);
    read_range(producer, 1, 20);
    pthread_mutex_lock(&fake->mutex);
    __atomic_store_n((uint64_t *)&fake->clients[0].ring.own->deliver_tail, UINT64_C(1) << 50,
                     __ATOMIC_RELEASE);
    pthread_mutex_unlock(&fake->mutex);
    struct hg_entry entry;
    CU_ASSERT_EQUAL(hg_stream_read(producer, &entry, soon()), HG_E_PROTOCOL);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_client_error(client), "client_index_range"));
    CU_ASSERT_EQUAL(hg_client_wake(client, soon()), 0); /* a new connection, new memory */
    CU_ASSERT_EQUAL(fake->memories, 2);
    append_range(producer, 20, 40);
    read_range(producer, 20, 40);
    teardown();
}

static void test_dataplane_closes_one_client(void)
{
    setup();
    struct hg_stream *producer = attach("orders", true, true);
    append_range(producer, 1, 10);
    read_range(producer, 1, 10);
    /* our own indices run wild: the dataplane must notice and drop us */
    __atomic_store_n((uint64_t *)&producer->link->view.own->append_tail, UINT64_C(1) << 40, __ATOMIC_RELEASE);
    uint64_t deadline_ns = soon();
    bool poisoned = false;
    while (!poisoned && client_now_ns() < deadline_ns) {
        pthread_mutex_lock(&fake->mutex);
        poisoned = fake->clients[0].ring.fault == HG_CLIENT_FAULT_INDEX_RANGE;
        pthread_mutex_unlock(&fake->mutex);
        poll(NULL, 0, 1);
    }
    CU_ASSERT(poisoned);
    teardown();
}

static void test_listener(void)
{
    setup();
    char path[128];
    struct stat status;
    snprintf(path, sizeof(path), "%s/%s", fake->run_dir, HG_CLIENT_SOCKET_NAME);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    struct hg_client_listener second;
    CU_ASSERT_EQUAL(hg_client_listener_open(&second, path, 0600), -EADDRINUSE);
    fake_kill(fake); /* leaves the name behind */
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(hg_client_socket_connect(path), -ECONNREFUSED);
    CU_ASSERT_EQUAL(hg_client_listener_open(&second, path, 0660), 0);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0660);
    hg_client_listener_close(&second);
    CU_ASSERT_NOT_EQUAL(stat(path, &status), 0);
    teardown();
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("client", NULL, NULL);
    CU_add_test(suite, "append and read back", test_append_and_read_back);
    CU_add_test(suite, "many in one call", test_many_in_one_call);
    CU_add_test(suite, "full ring", test_full_ring);
    CU_add_test(suite, "absent, unknown, not ready", test_absent_unknown_not_ready);
    CU_add_test(suite, "little patience", test_patience);
    CU_add_test(suite, "gap", test_gap);
    CU_add_test(suite, "an unread stream blocks nobody", test_unread_stream_blocks_nobody);
    CU_add_test(suite, "killed and restarted", test_killed_and_restarted);
    CU_add_test(suite, "killed often", test_killed_often);
    CU_add_test(suite, "refused append", test_refused_append);
    CU_add_test(suite, "refused append, and others in its place", test_refused_append_and_others);
    CU_add_test(suite, "not writable", test_not_writable);
    CU_add_test(suite, "physical positions", test_physical_positions);
    CU_add_test(suite, "corrupt batch", test_corrupt_batch);
    CU_add_test(suite, "corrupt header", test_corrupt_header);
    CU_add_test(suite, "attaching settles", test_attach_settles);
    CU_add_test(suite, "credit survives attachments", test_credit_survives_attachments);
    CU_add_test(suite, "acknowledge", test_acknowledge);
    CU_add_test(suite, "sleep and wake", test_sleep_and_wake);
    CU_add_test(suite, "hostile memory", test_hostile_memory);
    CU_add_test(suite, "the dataplane notices a wild client", test_dataplane_closes_one_client);
    CU_add_test(suite, "listener", test_listener);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
