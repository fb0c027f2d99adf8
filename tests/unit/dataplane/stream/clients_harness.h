/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's clients through rings in plain memory: one node, three of them, turned as the worker does it.
 */
#ifndef CLIENTS_HARNESS_H
#define CLIENTS_HARNESS_H

#include "dataplane/stream/clients.h"
#include "dataplane/stream/grants.h"
#include "drivers/client/heliograph.h"
#include "drivers/ipc/client_ring.h"
#include "stream_node.h"

#define RING_BYTES (1u << 20)
#define CLIENTS    3u
#define KV         HG_STREAM_KEY_VALUE

struct client {
    void *memory;
    struct hg_client_ring ring;
    struct hg_client_view view;
    uint32_t index;
};

static struct stream_node node;
static struct hg_peers *peers;
static struct hg_clients *clients;
static struct client table[CLIENTS];
static uint32_t rung[CLIENTS];

static __attribute__((unused)) void doorbell(void *ctx, int bell)
{
    (void)ctx;
    rung[bell]++;
}

static __attribute__((unused)) void no_rekey(void *ctx, uint32_t peer, enum hg_rekey why)
{
    (void)ctx;
    (void)why;
    (void)peer;
    CU_FAIL("nobody has keys here");
}

static __attribute__((unused)) void client_open(uint32_t i)
{
    struct client *c = &table[i];
    uint64_t bytes = hg_client_memory_bytes(RING_BYTES, RING_BYTES);
    if (c->memory == NULL)
        c->memory = aligned_alloc(4096, bytes);
    memset(c->memory, 0, bytes);
    hg_client_ring_init(&c->ring, c->memory, RING_BYTES, RING_BYTES, 5, i + 1);
    CU_ASSERT_EQUAL_FATAL(hg_client_view_init(&c->view, c->memory, bytes), 0);
    int index = hg_clients_open(clients, &c->ring, (int)i, "test", 100 + i, 0);
    CU_ASSERT_FATAL(index >= 0);
    c->index = (uint32_t)index;
}

static __attribute__((unused)) void setup(void)
{
    stream_node_make(&node, 1);
    struct hg_peers_config peer = {.streams = node.streams,
                                   .log = node.log,
                                   .events = &node.sink,
                                   .streams_max = NODE_STREAMS_MAX,
                                   .peers_max = 2,
                                   .packets_in_flight_max = 64,
                                   .rekey = no_rekey};
    peers = hg_peers_init(&peer);
    struct hg_clients_config config = {.streams = node.streams,
                                       .peers = peers,
                                       .log = node.log,
                                       .events = &node.sink,
                                       .region = 1,
                                       .doorbell = doorbell};
    clients = hg_clients_init(&config);
    memset(rung, 0, sizeof(rung));
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_open(i);
}

static __attribute__((unused)) void teardown(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++) {
        if (hg_clients_at(clients, table[i].index) != NULL)
            hg_clients_close(clients, table[i].index);
        free(table[i].memory);
        table[i].memory = NULL;
    }
    hg_clients_free(clients);
    hg_peers_free(peers);
    stream_node_free(&node);
}

/* As the worker does it. */
static __attribute__((unused)) void turn(void)
{
    hg_streams_grants_turn(node.streams);
    stream_node_turn(&node);
    (void)hg_clients_take(clients, node.now_ns);
    hg_streams_seal(node.streams, true, node.now_ns);
    hg_log_close_write(node.log);
    hg_clients_deliver(clients);
    hg_clients_publish(clients);
}

static __attribute__((unused)) void turns(int n)
{
    while (n-- > 0)
        turn();
}

static __attribute__((unused)) struct hg_client_attach attach_make(const char *name, uint32_t flags)
{
    struct hg_client_attach attach = {.request = 17, .flags = flags};
    snprintf(attach.name, sizeof(attach.name), "%s", name);
    return attach;
}

static __attribute__((unused)) uint64_t attach_refusals(void)
{
    uint64_t sum = 0;
    for (uint32_t reason = 0; reason < HG_ATTACH_REASON_COUNT; reason++)
        sum += hg_clients_attach_counts(clients)[reason];
    return sum;
}

static __attribute__((unused)) struct hg_client_answer attach(uint32_t i,
                                                              const struct hg_client_attach *request)
{
    struct hg_client_answer answer;
    uint64_t before = attach_refusals();
    memset(&answer, 0, sizeof(answer));
    (void)hg_clients_attach(clients, table[i].index, request, &answer);
    CU_ASSERT_EQUAL(attach_refusals() - before, answer.code != 0);
    CU_ASSERT_EQUAL(answer.request, 17);
    CU_ASSERT((answer.code == 0) == (answer.text[0] == '\0'));
    if (answer.code == 0)
        hg_client_view_slot_attach(&table[i].view, answer.slot, answer.attachment);
    return answer;
}

static __attribute__((unused)) struct hg_client_answer produce(uint32_t i, const char *name)
{
    struct hg_client_attach request = attach_make(name, HG_CLIENT_ATTACH_APPEND);
    return attach(i, &request);
}

static __attribute__((unused)) struct hg_client_answer subscribe(uint32_t i, const char *name,
                                                                 const char *consumer, uint64_t lsn_from)
{
    struct hg_client_attach request = attach_make(name, HG_CLIENT_ATTACH_SUBSCRIBE);
    snprintf(request.consumer, sizeof(request.consumer), "%s", consumer);
    request.lsn_from = lsn_from;
    return attach(i, &request);
}

static __attribute__((unused)) int append(uint32_t i, const struct hg_client_answer *to, uint64_t lsn,
                                          uint32_t bytes)
{
    static const uint8_t data[1u << 19];
    struct hg_append_record record = {.slot = to->slot,
                                      .attachment = to->attachment,
                                      .lsn = lsn,
                                      .span = 1,
                                      .op = HG_OP_INSERT,
                                      .data_bytes = bytes};
    int rc = hg_client_view_append(&table[i].view, &record, NULL, data);
    hg_client_view_append_publish(&table[i].view);
    return rc;
}

/* The next record delivered: its type, 0 = none. The batch's first LSN or the error's code. */
static __attribute__((unused)) uint32_t delivered(uint32_t i, uint64_t *lsn, int32_t *code)
{
    struct hg_deliver_record record;
    const uint8_t *payload;
    int rc = hg_client_view_deliver_peek(&table[i].view, &record, &payload);
    CU_ASSERT_FATAL(rc >= 0);
    if (rc == 0)
        return 0;
    *lsn = record.lsn;
    *code = record.code;
    if (record.type == HG_DELIVER_BATCH)
        *lsn = ((const struct hg_batch_header *)(const void *)payload)->lsn_first;
    hg_client_view_deliver_consume(&table[i].view);
    if (record.type == HG_DELIVER_BATCH)
        hg_client_view_release(&table[i].view, record.slot, record.bytes);
    return record.type;
}

static __attribute__((unused)) void expect_batch(uint32_t i, uint64_t lsn)
{
    uint64_t got = 0;
    int32_t code = 0;
    CU_ASSERT_EQUAL(delivered(i, &got, &code), HG_DELIVER_BATCH);
    CU_ASSERT_EQUAL(got, lsn);
}

static __attribute__((unused)) void expect_error(uint32_t i, uint32_t type, int32_t code)
{
    uint64_t lsn = 0;
    int32_t got = 0;
    CU_ASSERT_EQUAL(delivered(i, &lsn, &got), type);
    CU_ASSERT_EQUAL(got, code);
}

static __attribute__((unused)) void expect_nothing(uint32_t i)
{
    uint64_t lsn;
    int32_t code;
    CU_ASSERT_EQUAL(delivered(i, &lsn, &code), 0);
}

static __attribute__((unused)) uint32_t configure(const char *name, uint64_t id, uint16_t origin)
{
    return stream_node_configure(&node, name, id, KV, origin, 0);
}

#endif
