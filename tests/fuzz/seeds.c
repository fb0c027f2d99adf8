/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes inputs that blind fuzzing takes long to find, with the encoders and structs of the formats
 * themselves: so that they can be made again when a format changes.
 *
 *   fuzz-seeds FOLDER         writes FOLDER/TARGET/NAME; tests/fuzz/corpus.sh merges them into corpus/TARGET
 */
#include "dataplane/transport/encapsulation.h"
#include "dataplane/wal/orphan.h"
#include "tests/fuzz/lane_turns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define LANE_ALIAS     7u /* lane_fuzz.c's; its alias stands at 100 */
#define LANE_LSN       100u
#define BATCH_BYTES    256u /* lane_turns_fuzz.c opens aliases 0 to 3 at LSNs 0 to 3 */
#define FRAGMENT_BYTES 128u

static struct {
    uint8_t bytes[8192];
    uint32_t count;
} seed;

static const char *folder;

static void put(const void *bytes, size_t count)
{
    hg_assert(count <= sizeof(seed.bytes) - seed.count);
    memcpy(seed.bytes + seed.count, bytes, count);
    seed.count += (uint32_t)count;
}

static void put8(uint64_t value)
{
    put(&(uint8_t){(uint8_t)value}, 1);
}

static void put16(uint64_t value)
{
    put(&(uint16_t){(uint16_t)value}, 2);
}

static void fail(const char *path)
{
    fprintf(stderr, "fuzz-seeds: %s: %s\n", path, strerror(errno));
    exit(1);
}

static void seed_end(const char *target, const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", folder, target);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        fail(path);
    snprintf(path, sizeof(path), "%s/%s/%s", folder, target, name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(seed.bytes, 1, seed.count, file) != seed.count || fclose(file) != 0)
        fail(path);
    seed.count = 0;
}

/* ---- frames ---- */

struct frames {
    uint8_t bytes[1024];
    uint32_t count;
};

static void frame_put(struct frames *frames, const void *frame, size_t count)
{
    hg_assert(count <= sizeof(frames->bytes) - frames->count);
    memcpy(frames->bytes + frames->count, frame, count);
    frames->count += (uint32_t)count;
}

static struct frames ack_of(uint64_t largest, uint32_t first_count, uint32_t ranges)
{
    struct hg_wire_ack ack = {.type = HG_WIRE_ACK,
                              .range_count = (uint8_t)(1 + ranges),
                              .delay_8us = 3,
                              .first_count = first_count,
                              .largest = largest,
                              .credit_bytes = 1u << 22,
                              .ecn_ect = (uint32_t)largest};
    const struct hg_wire_ack_range range = {1, 1};
    struct frames frames = {.count = 0};
    frame_put(&frames, &ack, sizeof(ack));
    for (uint32_t i = 0; i < ranges; i++)
        frame_put(&frames, &range, sizeof(range));
    return frames;
}

static struct frames recovered_of(uint64_t number)
{
    const struct hg_wire_recovered head = {.type = HG_WIRE_RECOVERED, .count = 2};
    const uint64_t numbers[] = {number, number - 1};
    struct frames frames = {.count = 0};
    frame_put(&frames, &head, sizeof(head));
    frame_put(&frames, numbers, sizeof(numbers));
    return frames;
}

/* A fragment of a batch whose header says what a receiver expects of it. */
static struct frames data_of(uint32_t alias, uint64_t lsn, uint32_t offset)
{
    uint8_t batch[BATCH_BYTES] = {0};
    struct hg_batch_header header = {.lsn_first = lsn, .lsn_end = lsn + 1};
    struct hg_wire_data data = hg_wire_data_make(alias, lsn, BATCH_BYTES, offset, FRAGMENT_BYTES);
    struct frames frames = {.count = 0};
    header.stored_bytes = BATCH_BYTES - sizeof(header);
    memcpy(batch, &header, sizeof(header));
    frame_put(&frames, &data, sizeof(data));
    frame_put(&frames, batch + offset, FRAGMENT_BYTES);
    return frames;
}

static struct frames control_of(uint8_t type, uint32_t alias)
{
    union {
        struct hg_wire_stream_open open;
        uint8_t bytes[HG_WIRE_CONTROL_BYTES_MAX];
    } frame = {.open = {.control = {.type = type, .bytes = hg_wire_control_bytes(type), .alias = alias},
                        .stream = 1}};
    struct frames frames = {.count = 0};
    frame_put(&frames, &frame, frame.open.control.bytes);
    return frames;
}

/* ---- lane_turns ---- */

static void turn_packet(struct frames frames)
{
    put8(PACKET);
    put16(frames.count);
    put(frames.bytes, frames.count);
    put8(0); /* nothing of it is changed */
}

static void turn_data(uint32_t alias)
{
    turn_packet(data_of(alias, alias, 0));
    turn_packet(data_of(alias, alias, FRAGMENT_BYTES));
}

static void turn_group(uint32_t group, uint32_t index)
{
    struct frames frames = {.bytes = {HG_WIRE_PING}, .count = 1};
    put8(PACKET_GROUP);
    put8(group);
    put8(index);
    put8(3); /* k is 4 */
    put8(1); /* m is 2 */
    put16(index < HG_WIRE_FEC_SOURCES_MAX ? frames.count : 32);
    put(frames.bytes, index < HG_WIRE_FEC_SOURCES_MAX ? frames.count : 32);
}

static void lane_turns(void)
{
    turn_packet(ack_of(1, 1, 0)); /* of nothing: no credit came before */
    put8(BUILD);
    turn_packet(ack_of(1, 1, 0));
    put8(BUILD), put8(0);
    turn_packet(ack_of(8, 2, 2));
    put8(TIME), put("\x00\xe1\xf5\x05", 4);
    put8(BUILD), put8(0);
    turn_packet(ack_of(12, 12, 0));
    seed_end("lane_turns", "acks");

    put8(BUILD);
    turn_packet(ack_of(1, 1, 0));
    put8(BUILD), put8(0);
    turn_packet(recovered_of(4));
    put8(TIME), put("\x00\xca\x9a\x3b", 4);
    put8(BUILD), put8(0);
    put8(FORGET), put8(1);
    put8(BUILD), put8(0);
    seed_end("lane_turns", "recovered-and-lost");

    for (uint32_t alias = 0; alias < 4; alias++)
        turn_data(alias);
    put8(ANSWER), put8(2);
    turn_packet(data_of(1, 2, 0));
    turn_packet(data_of(1, 2, FRAGMENT_BYTES));
    put8(ANSWER), put8(0);
    put8(OFFER);
    put8(CLOSE), put8(2);
    put8(OPEN), put8(2), put8(5);
    seed_end("lane_turns", "data");

    for (uint8_t type = HG_WIRE_STREAM_OPEN; hg_wire_control_bytes(type) != 0; type++) {
        turn_packet(control_of(type, type));
        put8(CONTROL), put8(type), put8(1);
    }
    put8(BUILD);
    seed_end("lane_turns", "control");

    for (uint32_t i = 0; i < 4; i++)
        turn_group(1, i == 3 ? HG_WIRE_FEC_SOURCES_MAX : i);
    turn_group(2, HG_WIRE_FEC_SOURCES_MAX + 1);
    turn_group(1, HG_WIRE_FEC_SOURCES_MAX + 1);
    seed_end("lane_turns", "groups");
}

/* ---- lane ---- */

/* The right header before it; the target counts bytes in eights. */
static void lane_packet(struct frames frames)
{
    while (frames.count % 8 != 0)
        frames.bytes[frames.count++] = HG_WIRE_PADDING;
    put8(frames.count / 8);
    put8(1);
    put(frames.bytes, frames.count);
}

static void lane_begin(uint64_t answers)
{
    put(&answers, sizeof(answers));
}

static void lane(void)
{
    lane_begin(0);
    lane_packet(ack_of(1, 1, 0));
    lane_packet(ack_of(4, 1, 1));
    lane_packet(control_of(HG_WIRE_STREAM_DURABLE, LANE_ALIAS));
    seed_end("lane", "ack");

    lane_begin(0);
    lane_packet(data_of(LANE_ALIAS, LANE_LSN, FRAGMENT_BYTES));
    lane_packet(data_of(LANE_ALIAS, LANE_LSN, 0));
    lane_packet(data_of(LANE_ALIAS, LANE_LSN, 0));
    seed_end("lane", "data");

    lane_begin(2);
    lane_packet(data_of(LANE_ALIAS, LANE_LSN, 0));
    lane_packet(data_of(LANE_ALIAS, LANE_LSN, FRAGMENT_BYTES));
    seed_end("lane", "refused");
}

/* ---- encapsulation ---- */

static void encapsulation(void)
{
    static const struct {
        const char *name;
        bool ipv6;
        uint16_t vlan;
    } kinds[] = {
        {"ipv4", false, 0}, {"ipv4-tagged", false, 7}, {"ipv6", true, 0}, {"ipv6-tagged", true, 4094}};
    for (uint32_t i = 0; i < HG_COUNT(kinds); i++) {
        struct hg_encapsulation outer = {.vlan = kinds[i].vlan, .port_destination = HG_WIRE_UDP_PORT_DATA};
        uint8_t frame[HG_WIRE_OUTER_BYTES_MAX + 64] = {0};
        outer.ip_source = hg_address_ipv4(0x0a000001);
        outer.ip_destination = hg_address_ipv4(0x0a000002);
        if (kinds[i].ipv6)
            outer.ip_source.family = outer.ip_destination.family = HG_FAMILY_IPV6;
        uint32_t bytes = hg_encapsulation_write(&outer, 64, frame);
        put8(1); /* its checksum is made right again, whatever the fuzzer changes */
        put(frame, bytes);
        seed_end("encapsulation", kinds[i].name);
    }
}

/* ---- log_recovery ---- */

/* Bytes into a superblock, whose checksum the target makes right. */
static void overlay(uint32_t copy, size_t offset, const void *bytes, size_t count)
{
    uint32_t where = copy * HG_LOG_BLOCK_BYTES + (uint32_t)offset;
    hg_assert(count <= UINT8_MAX);
    put(&where, sizeof(where));
    put8(count);
    put8(1);
    put(bytes, count);
}

static void superblock_part(const char *name, size_t offset, const void *bytes, size_t count)
{
    for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
        overlay(copy, offset, bytes, count);
    seed_end("log_recovery", name);
}

static void log_recovery(void)
{
    struct {
        uint32_t count, reserved;
        uint64_t losses, lost_writes, repairs;
        uint8_t reserved2[32];
        struct hg_log_hole holes[2];
    } table = {.count = 2, .losses = 1, .lost_writes = 1, .repairs = 1};
    table.holes[0] = (struct hg_log_hole){.sequence_first = 1,
                                          .sequence_last = 1,
                                          .next_offset = 2 * HG_LOG_BLOCK_BYTES,
                                          .kind = HG_LOG_HOLE_LOST};
    table.holes[1] = (struct hg_log_hole){.sequence_first = 2,
                                          .sequence_last = 2,
                                          .offset = 2 * HG_LOG_BLOCK_BYTES,
                                          .next_offset = 4 * HG_LOG_BLOCK_BYTES,
                                          .kind = HG_LOG_HOLE_MOVED,
                                          .copy_sequence = 3,
                                          .copy_offset = 4 * HG_LOG_BLOCK_BYTES};
    superblock_part("holes", offsetof(struct hg_log_superblock, holes), &table, sizeof(table));

    const uint64_t epochs[] = {3, 0, UINT64_MAX};
    superblock_part("epochs", offsetof(struct hg_log_superblock, epoch_promised), epochs, sizeof(epochs));
    const uint64_t tail[] = {2, 1}; /* durable_sequence, tail_torn_sequence */
    superblock_part("torn-tail", offsetof(struct hg_log_superblock, durable_sequence), tail, sizeof(tail));
    const uint32_t generations[] = {1, UINT32_MAX};
    superblock_part("members", offsetof(struct hg_log_superblock, members_generation), generations,
                    sizeof(generations));
    const struct {
        uint32_t count, reserved;
        uint64_t shift;
        struct hg_log_growth_step steps[2];
    } growth = {.count = 2, .shift = 1, .steps = {{2, 1}, {4, 2}}};
    superblock_part("growth", offsetof(struct hg_log_superblock, growth), &growth, sizeof(growth));
}

/* ---- orphan ---- */

static void orphan(void)
{
    static uint8_t raw[HG_FRAME_BYTES_MAX];
    static _Alignas(HG_BATCH_ALIGN_BYTES) uint8_t batch[HG_FRAME_BYTES_MAX];
    struct hg_batch_builder builder;
    struct hg_orphan_header header = {
        .stream = 11, .group = 3, .epoch_cut = 2, .epoch_common = 1, .name = "orders/../x", .batch_count = 1};
    const struct hg_batch_origin origin = {
        .cluster = 1, .stream = 11, .incarnation = 1, .region = 1, .kind = HG_STREAM_KEY_VALUE, .epoch = 1};
    const struct hg_frame frame = {.lsn = 7, .span = 1, .op = HG_OP_INSERT, .data = "x", .data_bytes = 1};
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    hg_assert(hg_batch_builder_add(&builder, &frame) == 0);
    header.batches_bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), NULL);
    header.lsn_first = 7;
    header.lsn_end = 8;
    memcpy(header.chain, ((const struct hg_batch_header *)(const void *)batch)->chain, sizeof(header.chain));
    hg_orphan_seal(&header);
    for (uint32_t missing = 0; missing < 2; missing++) {
        put8(3); /* checksums are made right */
        put8(missing);
        put(&header, sizeof(header));
        put(batch, header.batches_bytes);
        seed_end("orphan", missing ? "short" : "whole");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: fuzz-seeds FOLDER\nWrites FOLDER/TARGET/NAME for several targets.\n");
        return 2;
    }
    folder = argv[1];
    lane_turns();
    lane();
    encapsulation();
    log_recovery();
    orphan();
    return 0;
}
