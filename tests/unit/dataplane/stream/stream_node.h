/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream table over a real log on a simulated disk, for the tests of what is built on streams.
 */
#ifndef HG_STREAM_NODE_H
#define HG_STREAM_NODE_H

#include "dataplane/stream/streams.h"
#include "drivers/clock/clock.h"
#include "drivers/disk/disk_sim.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef NODE_PAYLOAD_BYTES_MAX
#define NODE_PAYLOAD_BYTES_MAX (1u << 20)
#endif
#ifndef NODE_SEGMENT_BYTES
#define NODE_SEGMENT_BYTES (4u << 20)
#endif
#ifndef NODE_SEGMENTS
#define NODE_SEGMENTS 6u
#endif
#ifndef NODE_STREAMS_MAX
#define NODE_STREAMS_MAX 16u
#endif

struct stream_node {
    struct hg_clock clock; /* first: the clock's functions find the node by it */
    struct hg_event_sink sink;
    uint16_t region;
    uint64_t now_ns;
    uint64_t suspended_ns; /* CLOCK_BOOTTIME is so far ahead */
    struct hg_disk *disk;
    void *arena;
    struct hg_log *log;
    struct hg_streams *streams;
    uint32_t events[HG_EVENT_COUNT];
    struct hg_event event_last[HG_EVENT_COUNT];
};

static __attribute__((unused)) void stream_node_event(struct hg_event_sink *sink,
                                                      const struct hg_event *event)
{
    struct stream_node *node =
        (struct stream_node *)(void *)((char *)sink - offsetof(struct stream_node, sink));
    node->events[event->type]++;
    node->event_last[event->type] = *event;
}

static uint64_t stream_node_now_ns(struct hg_clock *clock)
{
    return ((struct stream_node *)clock)->now_ns;
}

static uint64_t stream_node_realtime_ns(struct hg_clock *clock)
{
    return UINT64_C(1700000000) * HG_NS_PER_S + ((struct stream_node *)clock)->now_ns;
}

static uint64_t stream_node_boottime_ns(struct hg_clock *clock)
{
    return ((struct stream_node *)clock)->now_ns + ((struct stream_node *)clock)->suspended_ns;
}

static uint64_t stream_node_random(struct hg_clock *clock)
{
    (void)clock;
    return 4;
}

/* One turn of the log, 100 us later. Returns true when something became durable. */
static __attribute__((unused)) bool stream_node_turn(struct stream_node *node)
{
    uint64_t deadline_ns;
    node->now_ns += 100 * HG_NS_PER_US;
    hg_disk_sim_time_set(node->disk, node->now_ns);
    hg_log_turn(node->log, node->now_ns, &deadline_ns);
    return hg_log_state(node->log) == HG_LOG_READY && hg_streams_commit(node->streams, node->now_ns);
}

static __attribute__((unused)) void stream_node_open(struct stream_node *node)
{
    node->clock = (struct hg_clock){stream_node_now_ns, stream_node_realtime_ns, stream_node_random,
                                    stream_node_boottime_ns};
    node->sink.put = stream_node_event;
    struct hg_streams_config streams = {.cluster = 7,
                                        .region = node->region,
                                        .streams_max = NODE_STREAMS_MAX,
                                        .clock = &node->clock,
                                        .events = &node->sink};
    node->streams = hg_streams_init(&streams);
    struct hg_log_config log = {.disk = node->disk,
                                .arena = node->arena,
                                .arena_bytes = hg_log_arena_bytes_min(NODE_PAYLOAD_BYTES_MAX),
                                .cluster = 7,
                                .may_mark = true,
                                .ops = &hg_streams_log_ops,
                                .ctx = node->streams};
    node->log = hg_log_open(&log);
    CU_ASSERT_PTR_NOT_NULL_FATAL(node->log);
    hg_streams_log_set(node->streams, node->log);
    for (int i = 0; i < 10000 && hg_log_state(node->log) == HG_LOG_RECOVERING; i++)
        stream_node_turn(node);
    CU_ASSERT_EQUAL_FATAL(hg_log_state(node->log), HG_LOG_READY);
    hg_streams_recovered(node->streams);
    CU_ASSERT_FALSE(hg_streams_recovery_broken(node->streams));
}

static __attribute__((unused)) void stream_node_close(struct stream_node *node)
{
    hg_log_close(node->log);
    hg_streams_free(node->streams);
}

static __attribute__((unused)) void stream_node_make(struct stream_node *node, uint16_t region)
{
    struct hg_log_geometry geometry = {.cluster = 7,
                                       .log_uuid = {1, 2, (uint8_t)region},
                                       .node_uuid = {4},
                                       .segment_bytes = NODE_SEGMENT_BYTES,
                                       .segment_count = NODE_SEGMENTS,
                                       .write_payload_bytes_max = NODE_PAYLOAD_BYTES_MAX};
    struct hg_disk_sim_config disk = {
        .size_bytes = hg_log_file_bytes(&geometry), .depth = 128, .seed = region};
    memset(node, 0, sizeof(*node));
    node->region = region;
    node->disk = hg_disk_sim_create(&disk);
    CU_ASSERT_EQUAL_FATAL(hg_log_format(node->disk, &geometry), 0);
    node->arena = aligned_alloc(HG_LOG_BLOCK_BYTES, hg_log_arena_bytes_min(NODE_PAYLOAD_BYTES_MAX));
    stream_node_open(node);
}

static __attribute__((unused)) void stream_node_free(struct stream_node *node)
{
    stream_node_close(node);
    node->disk->close(node->disk);
    free(node->arena);
}

/* Power goes, and write `sequence` is torn. */
static __attribute__((unused)) void stream_node_tear(struct stream_node *node, uint64_t sequence)
{
    hg_disk_sim_crash(node->disk);
    uint8_t *bytes = hg_disk_sim_bytes(node->disk);
    for (uint64_t at = HG_LOG_SEGMENTS_OFFSET; at < node->disk->size_bytes; at += HG_DISK_BLOCK_BYTES) {
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)(bytes + at);
        if (header->magic == HG_LOG_WRITE_MAGIC && header->sequence == sequence)
            hg_disk_sim_flip_bit(node->disk, at + 100, 1);
    }
    hg_disk_sim_settle(node->disk);
}

/* Configures a stream; returns its slot. */
static __attribute__((unused)) uint32_t stream_node_configure(struct stream_node *node, const char *name,
                                                              uint64_t id, uint16_t kind, uint16_t region,
                                                              uint64_t peers_mask)
{
    struct hg_config_stream config = {
        .stream = id, .kind = kind, .region = region, .epoch = 1, .peers_mask = peers_mask};
    snprintf(config.name, sizeof(config.name), "%s", name);
    CU_ASSERT_EQUAL(hg_streams_configure(node->streams, &config), 0);
    return (uint32_t)hg_streams_find(node->streams, id);
}

/* Appends one frame of `bytes` to a stream that counts, and seals it. */
static __attribute__((unused)) enum hg_append_reason stream_node_append(struct stream_node *node,
                                                                        uint32_t slot, uint32_t bytes)
{
    static uint8_t data[1u << 20];
    struct hg_frame frame = {.span = 1, .op = HG_OP_INSERT, .data_bytes = bytes, .data = data};
    enum hg_append_reason reason = hg_streams_append(node->streams, slot, &frame, node->now_ns);
    hg_streams_seal(node->streams, true, node->now_ns);
    return reason;
}

/* Until everything appended is durable. */
static __attribute__((unused)) void stream_node_settle(struct stream_node *node)
{
    hg_log_close_write(node->log);
    for (int i = 0; i < 50; i++)
        stream_node_turn(node);
}

/* Appends to the stream until the log forgets its beginning. */
static __attribute__((unused)) void stream_node_forget_beginning(struct stream_node *node, uint32_t slot)
{
    hg_streams_at(node->streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 400 && hg_log_tail_sequence(node->log) <= 1; i++) {
        CU_ASSERT_EQUAL(stream_node_append(node, slot, 500000), HG_APPEND_OK);
        stream_node_settle(node);
        hg_streams_retain(node->streams, node->now_ns);
    }
    CU_ASSERT_FATAL(hg_log_tail_sequence(node->log) > 1);
}

/* Appends once more, tears that write on the device, and opens the log again. */
static __attribute__((unused)) void stream_node_end_torn(struct stream_node *node, uint32_t slot)
{
    uint64_t sequence = hg_log_append_sequence(node->log);
    CU_ASSERT_EQUAL(stream_node_append(node, slot, 100), HG_APPEND_OK);
    hg_log_close_write(node->log);
    for (int i = 0; i < 3; i++)
        stream_node_turn(node);
    stream_node_tear(node, sequence);
    stream_node_close(node);
    stream_node_open(node);
    CU_ASSERT_TRUE_FATAL(hg_log_tail_is_torn(node->log));
}

#endif
