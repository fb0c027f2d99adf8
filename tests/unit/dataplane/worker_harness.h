/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker over a log on a simulated disk, its two mailboxes, and producers through rings in plain memory.
 */
#ifndef WORKER_HARNESS_H
#define WORKER_HARNESS_H

#include "dataplane/worker.h"
#include "drivers/client/heliograph.h"
#include "drivers/ipc/client_ring.h"
#include "tests/unit/dataplane/stream/stream_node.h"

#define PRODUCER_RING_BYTES (1u << 20)

static struct stream_node node; /* its clock, disk and log; its own stream table is not used */
static struct hg_worker *worker;
static struct hg_mailbox *inbox, *outbox;
static struct hg_control_status *status;
static struct hg_control_config *config;

static __attribute__((unused)) struct hg_mailbox *box_make(void)
{
    struct hg_mailbox *box = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*box));
    memset(box, 0, sizeof(*box));
    return box;
}

static __attribute__((unused)) void doorbell(void *ctx, int bell)
{
    (void)ctx;
    (void)bell;
}

static __attribute__((unused)) void setup(void)
{
    stream_node_make(&node, 1);
    stream_node_close(&node); /* the worker opens the log */
    inbox = box_make();
    outbox = box_make();
    status = calloc(1, sizeof(*status));
    config = calloc(1, sizeof(*config));
    struct hg_worker_config wanted = {.clock = &node.clock,
                                      .disk = node.disk,
                                      .log_arena = node.arena,
                                      .log_arena_bytes = hg_log_arena_bytes_min(NODE_PAYLOAD_BYTES_MAX),
                                      .cluster = 7,
                                      .region = 1,
                                      .streams_max = 16,
                                      .peers_max = 10,
                                      .packets_in_flight_max = 64,
                                      .inbox = inbox,
                                      .outbox = outbox,
                                      .doorbell = doorbell};
    worker = hg_worker_init(&wanted);
    CU_ASSERT_PTR_NOT_NULL_FATAL(worker);
}

static __attribute__((unused)) void teardown(void)
{
    hg_worker_free(worker);
    node.disk->close(node.disk);
    free(node.arena);
    free(inbox);
    free(outbox);
    free(status);
    free(config);
}

static __attribute__((unused)) void put(uint32_t type, void *pointer)
{
    struct hg_letter letter = {.type = type, .pointer = pointer};
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &letter));
}

static __attribute__((unused)) void order(uint32_t type, uint32_t group, uint64_t epoch)
{
    struct hg_letter letter = {.type = type, .number = group, .number2 = epoch};
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &letter));
}

static __attribute__((unused)) void turns(int n)
{
    uint64_t deadline_ns;
    while (n-- > 0) {
        node.now_ns += 100 * HG_NS_PER_US;
        hg_disk_sim_time_set(node.disk, node.now_ns);
        hg_worker_turn(worker, &deadline_ns);
    }
}

static __attribute__((unused)) uint32_t answers(uint32_t type, struct hg_letter *last)
{
    struct hg_letter letter;
    uint32_t count = 0;
    while (hg_mailbox_take(outbox, &letter))
        if (letter.type == type) {
            count++;
            *last = letter;
        }
    return count;
}

static __attribute__((unused)) void config_make(void)
{
    config->stream_count = 1;
    config->streams[0] = (struct hg_config_stream){
        .name = "one", .stream = 1, .kind = HG_STREAM_KEY_VALUE, .region = 1, .epoch = 1};
}

static __attribute__((unused)) uint64_t drop_count(const char *where, const char *name)
{
    uint64_t count = 0;
    hg_worker_status(worker, status);
    for (uint32_t i = 0; i < status->drop_count; i++)
        if (strcmp(status->drops[i].where, where) == 0 && strcmp(status->drops[i].name, name) == 0)
            count += status->drops[i].count;
    return count;
}

struct producer {
    struct hg_client_ring ring;
    struct hg_client_view view;
    struct hg_client_answer answer;
    void *memory;
    uint64_t lsn;
};

static __attribute__((unused)) int32_t producer_ask(struct producer *producer, const char *stream)
{
    uint64_t bytes = hg_client_memory_bytes(PRODUCER_RING_BYTES, PRODUCER_RING_BYTES);
    struct hg_client_attach attach = {.flags = HG_CLIENT_ATTACH_APPEND};
    snprintf(attach.name, sizeof(attach.name), "%s", stream);
    memset(producer, 0, sizeof(*producer));
    producer->lsn = 1;
    producer->memory = aligned_alloc(4096, bytes);
    memset(producer->memory, 0, bytes);
    hg_client_ring_init(&producer->ring, producer->memory, PRODUCER_RING_BYTES, PRODUCER_RING_BYTES, 5, 1);
    CU_ASSERT_EQUAL_FATAL(hg_client_view_init(&producer->view, producer->memory, bytes), 0);
    int index = hg_clients_open(worker->clients, &producer->ring, 0, "test", 1, 0);
    CU_ASSERT_FATAL(index >= 0);
    (void)hg_clients_attach(worker->clients, (uint32_t)index, &attach, &producer->answer);
    return producer->answer.code;
}

static __attribute__((unused)) void producer_open(struct producer *producer, const char *stream)
{
    CU_ASSERT_EQUAL_FATAL(producer_ask(producer, stream), 0);
    hg_client_view_slot_attach(&producer->view, producer->answer.slot, producer->answer.attachment);
}

/* Up to `count` frames; fewer when the ring is full. */
static __attribute__((unused)) void produce(struct producer *producer, int count)
{
    static const uint8_t data[8192];
    struct hg_append_record record = {.slot = producer->answer.slot,
                                      .attachment = producer->answer.attachment,
                                      .span = 1,
                                      .op = HG_OP_INSERT,
                                      .data_bytes = sizeof(data)};
    for (record.lsn = producer->lsn; count > 0; count--, record.lsn++)
        if (hg_client_view_append(&producer->view, &record, NULL, data) != 0)
            break;
    producer->lsn = record.lsn;
    hg_client_view_append_publish(&producer->view);
}

#endif
