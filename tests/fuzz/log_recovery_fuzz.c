/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk image from anywhere: a formatted log is overlaid with bytes of the input, checksums of some blocks
 * are made right so that the fuzzer gets behind them, and the log is opened, appended to and read. Whatever
 * lies there, it ends in READY or FAILED, without a crash. The audit of the same bytes never says that a
 * start opens what recovery refuses, nor that it is corrupt or unusable where recovery finds the other.
 */
#include "dataplane/wal/log_audit.h"
#include "drivers/disk/disk_sim.h"

#include <stdlib.h>

#define PAYLOAD_BYTES_MAX (8u << 10)
#define SEGMENT_BYTES     (32u << 10)
#define SEGMENTS          HG_LOG_SEGMENTS_MIN

static const struct hg_log_geometry geometry = {.cluster = 1,
                                                .log_uuid = {1, 2, 3},
                                                .segment_bytes = SEGMENT_BYTES,
                                                .segment_count = SEGMENTS,
                                                .write_payload_bytes_max = PAYLOAD_BYTES_MAX};
static uint64_t now_ns;

static uint32_t checkpoint(void *ctx, struct hg_local_record *records, uint32_t max)
{
    hg_assert(max >= 1);
    memset(records, 0, sizeof(*records));
    records->type = HG_LOCAL_STREAM;
    return 1;
}

static void turn(struct hg_log *log, struct hg_disk *disk)
{
    uint64_t deadline_ns;
    now_ns += HG_NS_PER_MS;
    hg_disk_sim_time_set(disk, now_ns);
    hg_log_turn(log, now_ns, &deadline_ns);
}

static void overlay(struct hg_disk *disk, const uint8_t **data, size_t *size)
{
    uint32_t where;
    uint8_t *bytes = hg_disk_sim_bytes(disk);
    memcpy(&where, *data, sizeof(where));
    size_t length = hg_min_u64((*data)[4], *size - 6);
    uint8_t fix = (*data)[5];
    uint64_t offset = where % (disk->size_bytes - 256);
    memcpy(bytes + offset, *data + 6, length);
    *data += 6 + length;
    *size -= 6 + length;
    uint8_t *block = bytes + offset / HG_LOG_BLOCK_BYTES * HG_LOG_BLOCK_BYTES;
    if (fix % 4 == 1 && offset < HG_LOG_RING_OFFSET)
        hg_log_superblock_seal((struct hg_log_superblock *)block, (uint16_t)(offset / HG_LOG_BLOCK_BYTES));
    if (fix % 4 == 2 && offset >= HG_LOG_RING_OFFSET) {
        struct hg_log_write_header *header = (struct hg_log_write_header *)block;
        memcpy(header->log_uuid, geometry.log_uuid, sizeof(header->log_uuid));
        uint64_t room = disk->size_bytes - (uint64_t)(block - bytes) - HG_LOG_BLOCK_BYTES;
        if (header->payload_bytes <= hg_min_u64(room, PAYLOAD_BYTES_MAX))
            hg_log_write_header_seal(header, block + HG_LOG_BLOCK_BYTES);
    }
}

static void use(struct hg_log *log, struct hg_disk *disk)
{
    const uint8_t *payload;
    uint32_t bytes, walker = 0;
    struct hg_local_record record = {.type = HG_LOCAL_CONSUMER, .name = "fuzz"};
    (void)hg_log_append_records(log, &record, 1);
    hg_log_close_write(log);
    for (int i = 0; i < 8; i++) {
        turn(log, disk);
        (void)hg_log_at(log, hg_log_tail_sequence(log), &payload, &bytes);
        hg_log_prefetch(log, hg_log_tail_sequence(log), &walker);
    }
    hg_log_release(log, UINT64_MAX);
    for (int i = 0; i < 8; i++)
        turn(log, disk);
}

static int audit_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    struct hg_disk *disk = ctx;
    hg_assert(offset <= disk->size_bytes && bytes <= disk->size_bytes - offset);
    memcpy(data, hg_disk_sim_bytes(disk) + offset, bytes);
    return 0;
}

static enum hg_log_outcome audit(struct hg_disk *disk)
{
    static const struct hg_log_audit_ops ops = {.read = audit_read};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = disk, .size_bytes = disk->size_bytes, .has_frames = true};
    struct hg_log_audit_result result;
    hg_log_audit(&config, &result);
    return result.outcome;
}

static void compare(const struct hg_log *log, enum hg_log_outcome outcome)
{
    bool lacks_memory = strstr(hg_log_message(log), "MiB of memory") != NULL; /* not the image's fault */
    hg_assert(outcome != HG_LOG_OUTCOME_OPENS || hg_log_state(log) == HG_LOG_READY || lacks_memory);
    hg_assert(!hg_log_is_corrupt(log) || outcome == HG_LOG_OUTCOME_CORRUPT);
    hg_assert(!hg_log_is_unusable(log) || outcome == HG_LOG_OUTCOME_UNUSABLE || lacks_memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *arena;
    uint64_t arena_bytes = hg_log_arena_bytes_min(PAYLOAD_BYTES_MAX);
    static const struct hg_log_ops ops = {.checkpoint = checkpoint};
    struct hg_disk_sim_config disk_config = {
        .size_bytes = hg_log_file_bytes(&geometry), .depth = 16, .seed = 1};
    struct hg_disk *disk = hg_disk_sim_create(&disk_config);

    if (arena == NULL)
        arena = aligned_alloc(HG_LOG_BLOCK_BYTES, arena_bytes);
    hg_assert(arena != NULL && disk != NULL && hg_log_format(disk, &geometry) == 0);
    now_ns = 0;
    while (size > 6)
        overlay(disk, &data, &size);
    hg_disk_sim_settle(disk);
    bool is_audited = size % 4 == 0; /* it is slower than all the rest */
    enum hg_log_outcome outcome = is_audited ? audit(disk) : HG_LOG_OUTCOME_OPENS;
    struct hg_log_config config = {.disk = disk, .arena = arena, .arena_bytes = arena_bytes, .ops = &ops};
    struct hg_log *log = hg_log_open(&config);
    for (int i = 0; i < 1000 && hg_log_state(log) == HG_LOG_RECOVERING; i++)
        turn(log, disk);
    hg_assert(hg_log_state(log) != HG_LOG_RECOVERING);
    if (is_audited)
        compare(log, outcome);
    if (hg_log_state(log) == HG_LOG_READY)
        use(log, disk);
    hg_log_close(log);
    disk->close(disk);
    return 0;
}
