/* SPDX-License-Identifier: Apache-2.0
 *
 * A log over a simulated disk, and a model of what was appended to it, for the tests of the log.
 */
#ifndef HG_LOG_HARNESS_H
#define HG_LOG_HARNESS_H

#include "dataplane/wal/log_block.h"
#include "dataplane/wal/log_heal.h"
#include "dataplane/wal/log_loss.h"
#include "drivers/disk/disk_sim.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>

#define PAYLOAD_BYTES_MAX (32u << 10)
#define SEGMENT_BYTES     (128u << 10)
#define STREAMS           3

struct model_batch {
    uint64_t sequence;
    uint64_t stream;
    uint64_t lsn_end;
    uint8_t *bytes;
    uint32_t bytes_count;
};

struct harness {
    struct hg_disk *disk;
    struct hg_log *log;
    struct hg_log_geometry geometry;
    uint8_t *arena;
    uint64_t arena_bytes;
    uint64_t now_ns;
    struct hg_random random;
    /* What was appended, oldest first; batches below `first` are trimmed. */
    struct model_batch *batches;
    size_t first, count, room;
    uint64_t lsn[STREAMS]; /* end of each stream */
    uint8_t chain[STREAMS][16];
    uint32_t streams_active; /* the first so many are appended to */
    /* What recovery said. */
    size_t recovered;
    bool recovered_wrong;
    bool may_mark;   /* it opens with corrupt writes whose batches are known */
    uint32_t rotten; /* batches of these, by their headers alone */
    bool refuses_rotten;
    uint64_t checkpoint_lsn[STREAMS];
    uint32_t checkpoints;
    uint32_t records_other;
    uint64_t trimmed;
    uint64_t released;
    uint64_t durable_promised; /* newest write acknowledged before the crash */
    uint64_t sectors_left;     /* that harness_device_write still writes */
    void *lz4_state;
    uint8_t *raw;
};

static uint32_t harness_checkpoint(void *ctx, struct hg_local_record *records, uint32_t max)
{
    struct harness *h = ctx;
    hg_assert(max >= STREAMS);
    memset(records, 0, STREAMS * sizeof(*records));
    for (uint32_t i = 0; i < STREAMS; i++) {
        records[i].type = HG_LOCAL_STREAM;
        records[i].stream = i + 1;
        records[i].lsn = h->lsn[i];
        memcpy(records[i].chain, h->chain[i], sizeof(records[i].chain));
        snprintf(records[i].name, sizeof(records[i].name), "stream-%u", i + 1);
    }
    return STREAMS;
}

static void harness_recovered_record(void *ctx, const struct hg_local_record *record)
{
    struct harness *h = ctx;
    if (record->type != HG_LOCAL_STREAM) {
        h->records_other++;
        return;
    }
    hg_assert(record->stream >= 1 && record->stream <= STREAMS);
    h->checkpoints++;
    h->checkpoint_lsn[record->stream - 1] = hg_max_u64(h->checkpoint_lsn[record->stream - 1], record->lsn);
}

/* The tail may have moved on disk without anybody hearing of it; only what was released goes. */
static void harness_tail_moved(struct harness *h)
{
    while (h->recovered < h->count && h->batches[h->recovered].sequence < hg_log_tail_sequence(h->log)) {
        CU_ASSERT_FATAL(h->batches[h->recovered].sequence < h->released);
        h->first = ++h->recovered;
    }
}

static void harness_recovered_batch(void *ctx, uint64_t sequence, const struct hg_batch_header *header)
{
    struct harness *h = ctx;
    harness_tail_moved(h);
    const struct model_batch *batch = &h->batches[h->recovered];
    if (h->recovered >= h->count || batch->sequence != sequence ||
        hg_batch_bytes(header) != batch->bytes_count ||
        memcmp(header, batch->bytes, batch->bytes_count) != 0) {
        h->recovered_wrong = true; /* invented, reordered or changed */
        return;
    }
    h->recovered++;
    h->checkpoint_lsn[header->stream - 1] = header->lsn_end;
}

/* The header is all that there is of it. */
static bool harness_recovered_rotten(void *ctx, uint64_t sequence, const struct hg_batch_header *header)
{
    struct harness *h = ctx;
    harness_tail_moved(h);
    const struct model_batch *batch = &h->batches[h->recovered];
    if (h->recovered >= h->count || batch->sequence != sequence || h->refuses_rotten ||
        memcmp(header, batch->bytes, sizeof(*header)) != 0)
        return false;
    h->recovered++;
    h->rotten++;
    h->checkpoint_lsn[header->stream - 1] = header->lsn_end;
    return true;
}

static void harness_trimmed(void *ctx, uint64_t sequence)
{
    struct harness *h = ctx;
    h->trimmed = sequence;
    while (h->first < h->count && h->batches[h->first].sequence < sequence)
        h->first++;
}

static const struct hg_log_ops harness_ops = {.checkpoint = harness_checkpoint,
                                              .recovered_record = harness_recovered_record,
                                              .recovered_batch = harness_recovered_batch,
                                              .recovered_rotten = harness_recovered_rotten,
                                              .trimmed = harness_trimmed};

static __attribute__((unused)) void harness_create(struct harness *h, uint64_t seed, uint32_t segment_count)
{
    memset(h, 0, sizeof(*h));
    hg_random_init(&h->random, seed);
    h->streams_active = STREAMS;
    h->sectors_left = UINT64_MAX;
    h->geometry = (struct hg_log_geometry){.cluster = 7,
                                           .log_uuid = {1, 2, 3, (uint8_t)seed},
                                           .node_uuid = {4},
                                           .log_id = 1,
                                           .segment_bytes = SEGMENT_BYTES,
                                           .segment_count = segment_count,
                                           .write_payload_bytes_max = PAYLOAD_BYTES_MAX};
    struct hg_disk_sim_config config = {.size_bytes = hg_log_file_bytes(&h->geometry),
                                        .depth = 32,
                                        .seed = seed,
                                        .write_ns_min = 10000,
                                        .write_ns_max = 90000,
                                        .read_ns_min = 10000,
                                        .read_ns_max = 90000,
                                        .flush_ns_min = 50000,
                                        .flush_ns_max = 900000};
    h->disk = hg_disk_sim_create(&config);
    h->arena_bytes = hg_log_arena_bytes_min(PAYLOAD_BYTES_MAX) + (hg_random_below(&h->random, 4) << 18);
    h->arena = aligned_alloc(HG_LOG_BLOCK_BYTES, h->arena_bytes);
    h->lz4_state = malloc((size_t)LZ4_sizeofState());
    h->raw = malloc(HG_FRAME_BYTES_MAX);
    for (uint32_t i = 0; i < STREAMS; i++)
        h->lsn[i] = 1;
    CU_ASSERT_EQUAL_FATAL(hg_log_format(h->disk, &h->geometry), 0);
}

/* Forgets what recovery found before and starts it. */
static __attribute__((unused)) void harness_open(struct harness *h)
{
    struct hg_log_config config = {.disk = h->disk,
                                   .arena = h->arena,
                                   .arena_bytes = h->arena_bytes,
                                   .cluster = 7,
                                   .may_mark = h->may_mark,
                                   .ops = &harness_ops,
                                   .ctx = h};
    h->recovered = h->first;
    h->recovered_wrong = false;
    h->rotten = 0;
    h->checkpoints = 0;
    memset(h->checkpoint_lsn, 0, sizeof(h->checkpoint_lsn));
    hg_disk_sim_time_set(h->disk, h->now_ns);
    h->log = hg_log_open(&config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(h->log);
}

/* One turn; when it did nothing, time goes to the next event. False: nothing will ever happen. */
static __attribute__((unused)) bool harness_turn(struct harness *h)
{
    uint64_t deadline_ns;
    hg_disk_sim_time_set(h->disk, h->now_ns);
    if (hg_log_turn(h->log, h->now_ns, &deadline_ns))
        return true;
    deadline_ns = hg_min_u64(deadline_ns, hg_disk_sim_next_ns(h->disk));
    if (deadline_ns == HG_TIME_NEVER)
        return false;
    h->now_ns = hg_max_u64(h->now_ns, deadline_ns);
    return true;
}

static __attribute__((unused)) enum hg_log_state harness_recover(struct harness *h)
{
    harness_open(h);
    while (hg_log_state(h->log) == HG_LOG_RECOVERING)
        CU_ASSERT_TRUE_FATAL(harness_turn(h));
    return hg_log_state(h->log);
}

static __attribute__((unused)) void harness_release(struct harness *h, uint64_t sequence)
{
    h->released = hg_max_u64(h->released, sequence);
    hg_log_release(h->log, sequence);
}

/* Until nothing moves any more: everything closed is durable. */
static __attribute__((unused)) void harness_settle(struct harness *h)
{
    hg_log_close_write(h->log);
    while (harness_turn(h) && hg_log_state(h->log) != HG_LOG_FAILED)
        ;
}

/* A sealed batch of up to about frame_count frames of random sizes. Returns its write's sequence; 0 = pushed
 * back. */
static __attribute__((unused)) uint64_t harness_append(struct harness *h, uint32_t frame_count,
                                                       uint32_t bytes_max)
{
    uint32_t stream = (uint32_t)hg_random_below(&h->random, h->streams_active);
    struct hg_batch_builder builder;
    static uint8_t data[64 << 10];
    hg_batch_builder_init(&builder, h->raw, HG_FRAME_BYTES_MAX);
    uint64_t lsn = h->lsn[stream];
    for (uint32_t i = 0; i < frame_count; i++, lsn++) {
        uint32_t bytes = (uint32_t)hg_random_below(&h->random, bytes_max + 1);
        hg_random_fill(&h->random, data, bytes);
        struct hg_frame frame = {
            .lsn = lsn, .span = 1, .op = HG_OP_INSERT, .data_bytes = bytes, .data = data};
        CU_ASSERT_EQUAL_FATAL(hg_batch_builder_add(&builder, &frame), 0);
    }
    struct hg_batch_origin origin = {.cluster = 7, .stream = stream + 1, .codec = HG_CODEC_LZ4};
    memcpy(origin.chain_previous, h->chain[stream], sizeof(origin.chain_previous));
    uint32_t most = hg_batch_sealed_bytes_max(&builder, 0);
    enum hg_log_pressure pressure;
    uint8_t *out = hg_log_reserve(h->log, most, &pressure);
    if (out == NULL)
        return 0;
    uint32_t size = hg_batch_seal(&builder, &origin, NULL, 0, out, most, h->lz4_state);
    if (h->count == h->room) {
        h->room = h->room == 0 ? 256 : h->room * 2;
        h->batches = realloc(h->batches, h->room * sizeof(h->batches[0]));
    }
    struct model_batch *batch = &h->batches[h->count++];
    batch->bytes = malloc(size);
    memcpy(batch->bytes, out, size);
    batch->bytes_count = size;
    batch->stream = stream + 1;
    batch->lsn_end = lsn;
    batch->sequence = hg_log_commit(h->log, size);
    h->lsn[stream] = lsn;
    memcpy(h->chain[stream], ((const struct hg_batch_header *)batch->bytes)->chain, sizeof(h->chain[stream]));
    return batch->sequence;
}

/* What is on disk now is the truth: everything durable before, in order, unchanged, and nothing that was not
 * appended. The model forgets what the crash took. */
static __attribute__((unused)) void harness_check_recovered(struct harness *h)
{
    CU_ASSERT_FALSE_FATAL(h->recovered_wrong);
    harness_tail_moved(h); /* what is left may be a checkpoint alone */
    for (size_t i = h->recovered; i < h->count; i++)
        CU_ASSERT_FATAL(h->batches[i].sequence > h->durable_promised);
    CU_ASSERT(hg_log_durable_sequence(h->log) >= h->durable_promised);
    while (h->count > h->recovered)
        free(h->batches[--h->count].bytes);
    for (uint32_t i = 0; i < STREAMS; i++) {
        uint64_t lsn_end = 1;
        memset(h->chain[i], 0, sizeof(h->chain[i]));
        for (size_t j = 0; j < h->count; j++) {
            if (h->batches[j].stream != i + 1)
                continue;
            lsn_end = h->batches[j].lsn_end;
            memcpy(h->chain[i], ((const struct hg_batch_header *)h->batches[j].bytes)->chain, 16);
        }
        if (hg_log_durable_sequence(h->log) > 0) /* trimmed streams come back by their checkpoint */
            CU_ASSERT_EQUAL_FATAL(hg_max_u64(1, h->checkpoint_lsn[i]), lsn_end);
        h->lsn[i] = lsn_end;
    }
}

/* Reads every durable write back and compares. */
static __attribute__((unused)) void harness_check_reads(struct harness *h)
{
    size_t next = h->first;
    uint32_t walker = 0;
    for (uint64_t sequence = hg_log_tail_sequence(h->log); sequence <= hg_log_durable_sequence(h->log);
         sequence++) {
        const uint8_t *payload;
        uint32_t bytes;
        int result;
        hg_log_prefetch(h->log, sequence, &walker);
        while ((result = hg_log_at(h->log, sequence, &payload, &bytes)) == 0)
            CU_ASSERT_TRUE_FATAL(harness_turn(h));
        CU_ASSERT_EQUAL_FATAL(result, 1);
        for (uint32_t offset = 0; offset < bytes;) {
            const struct hg_batch_header *header = (const struct hg_batch_header *)(payload + offset);
            CU_ASSERT_EQUAL_FATAL(hg_batch_verify(header, bytes - offset), HG_BATCH_REASON_OK);
            if ((header->flags & HG_BATCH_LOCAL) == 0) {
                const struct model_batch *batch = &h->batches[next];
                CU_ASSERT_FATAL(next < h->count && batch->sequence == sequence);
                CU_ASSERT_FATAL(memcmp(header, batch->bytes, batch->bytes_count) == 0);
                next++;
            }
            offset += hg_batch_bytes(header);
        }
    }
    CU_ASSERT(next == h->count || h->batches[next].sequence > hg_log_durable_sequence(h->log));
}

/* Power loss, or only the process dies. */
static __attribute__((unused)) void harness_crash(struct harness *h, bool power)
{
    h->durable_promised = hg_log_durable_sequence(h->log);
    hg_log_close(h->log);
    h->log = NULL;
    if (power)
        hg_disk_sim_crash(h->disk);
    else
        hg_disk_sim_kill(h->disk);
    memset(h->arena, 0xdd, h->arena_bytes);
}

/* ---- the disk of a log that is not open, as tools see it; `ctx` is the harness ---- */

static __attribute__((unused)) int harness_device_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    const struct harness *h = ctx;
    memcpy(data, hg_disk_sim_bytes(h->disk) + offset, bytes);
    return 0;
}

/* Sector by sector, until no more are left: a crash in the middle. */
static __attribute__((unused)) int harness_device_write(void *ctx, const void *data, uint32_t bytes,
                                                        uint64_t offset)
{
    struct harness *h = ctx;
    for (uint32_t done = 0; done < bytes; done += HG_DISK_SIM_SECTOR_BYTES) {
        if (h->sectors_left == 0)
            return -EIO;
        h->sectors_left--;
        memcpy(hg_disk_sim_bytes(h->disk) + offset + done, (const uint8_t *)data + done,
               HG_DISK_SIM_SECTOR_BYTES);
    }
    return 0;
}

static __attribute__((unused)) int harness_device_flush(void *ctx)
{
    hg_disk_sim_settle(((const struct harness *)ctx)->disk);
    return 0;
}

static __attribute__((unused)) const struct hg_log_loss_ops harness_device_ops = {
    .read = harness_device_read, .write = harness_device_write, .flush = harness_device_flush};

/* ---- a disk as tools read it, and what of that is on the device ---- */

/* A flush brings there what was written since the last, sector by sector until the lights go out, and nothing
 * else: not what the medium never got though it can be read. */
struct harness_cache {
    uint8_t *view, *medium; /* `sectors` each */
    bool *is_dirty;
    uint64_t sectors, sectors_left;
    bool is_backward; /* those behind come first: a device may choose */
};

/* The view and the medium are as `image` is. */
static __attribute__((unused)) void harness_cache_make(struct harness_cache *cache, const uint8_t *image,
                                                       uint64_t bytes)
{
    *cache = (struct harness_cache){.view = malloc(bytes),
                                    .medium = malloc(bytes),
                                    .is_dirty = calloc(bytes / HG_DISK_SIM_SECTOR_BYTES, sizeof(bool)),
                                    .sectors = bytes / HG_DISK_SIM_SECTOR_BYTES};
    memcpy(cache->view, image, bytes);
    memcpy(cache->medium, image, bytes);
}

static __attribute__((unused)) void harness_cache_free(struct harness_cache *cache)
{
    free(cache->view);
    free(cache->medium);
    free(cache->is_dirty);
}

static __attribute__((unused)) int harness_cache_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    memcpy(data, ((struct harness_cache *)ctx)->view + offset, bytes);
    return 0;
}

static __attribute__((unused)) int harness_cache_write(void *ctx, const void *data, uint32_t bytes,
                                                       uint64_t offset)
{
    struct harness_cache *cache = ctx;
    memcpy(cache->view + offset, data, bytes);
    memset(cache->is_dirty + offset / HG_DISK_SIM_SECTOR_BYTES, true, bytes / HG_DISK_SIM_SECTOR_BYTES);
    return 0;
}

static __attribute__((unused)) int harness_cache_flush(void *ctx)
{
    struct harness_cache *cache = ctx;
    for (uint64_t done = 0; done < cache->sectors; done++) {
        uint64_t i = cache->is_backward ? cache->sectors - 1 - done : done;
        if (!cache->is_dirty[i])
            continue;
        if (cache->sectors_left == 0)
            return -EIO;
        cache->sectors_left--;
        cache->is_dirty[i] = false;
        memcpy(cache->medium + i * HG_DISK_SIM_SECTOR_BYTES, cache->view + i * HG_DISK_SIM_SECTOR_BYTES,
               HG_DISK_SIM_SECTOR_BYTES);
    }
    return 0;
}

static __attribute__((unused)) const struct hg_log_loss_ops harness_cache_ops = {
    .read = harness_cache_read, .write = harness_cache_write, .flush = harness_cache_flush};

/* The header of a write in an image of the log's file, one that has not come round yet. */
static __attribute__((unused)) struct hg_log_write_header *harness_write_in(const struct harness *h,
                                                                            uint8_t *image, uint64_t sequence)
{
    uint64_t segment = 0;
    uint32_t offset = 0;
    for (;;) {
        struct hg_log_write_header *header =
            (struct hg_log_write_header *)(image + HG_LOG_SEGMENTS_OFFSET + segment * SEGMENT_BYTES + offset);
        CU_ASSERT_FATAL(hg_log_write_header_is_valid(header, h->geometry.log_uuid));
        if (header->sequence == sequence)
            return header;
        hg_log_place_next(SEGMENT_BYTES, hg_log_write_bytes_max(PAYLOAD_BYTES_MAX),
                          hg_log_write_bytes(header->payload_bytes), &segment, &offset);
    }
}

/* Where it begins in the file. */
static __attribute__((unused)) uint64_t harness_offset_in(const struct harness *h, uint8_t *image,
                                                          uint64_t sequence)
{
    return (uint64_t)((uint8_t *)harness_write_in(h, image, sequence) - image);
}

/* The header ring's copy of a write is gone. */
static __attribute__((unused)) void harness_ring_erase(struct harness *h, uint64_t sequence)
{
    memset(hg_disk_sim_bytes(h->disk) + HG_LOG_RING_OFFSET +
               sequence % HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES,
           0, HG_LOG_BLOCK_BYTES);
}

static __attribute__((unused)) void harness_destroy(struct harness *h)
{
    if (h->log != NULL)
        hg_log_close(h->log);
    h->disk->close(h->disk);
    while (h->count > 0)
        free(h->batches[--h->count].bytes);
    free(h->batches);
    free(h->arena);
    free(h->lz4_state);
    free(h->raw);
}

/* Durable writes of three batches of one stream each, then a crash. */
static __attribute__((unused)) void harness_threes(struct harness *h, uint32_t writes, uint32_t frame_bytes)
{
    h->streams_active = 1;
    CU_ASSERT_EQUAL_FATAL(harness_recover(h), HG_LOG_READY);
    for (uint32_t i = 0; i < writes; i++) {
        for (uint32_t batch = 0; batch < 3; batch++)
            CU_ASSERT_FATAL(harness_append(h, 4, frame_bytes) != 0);
        harness_settle(h);
    }
    harness_crash(h, true);
}

/* Where a write is on the disk, in a log that has not come round. */
static __attribute__((unused)) uint64_t harness_place_of(struct harness *h, uint64_t sequence,
                                                         struct hg_log_write_header **header)
{
    uint64_t segment = 0;
    uint32_t offset = 0;
    for (;;) {
        uint64_t at = HG_LOG_SEGMENTS_OFFSET + segment * SEGMENT_BYTES + offset;
        *header = (struct hg_log_write_header *)(hg_disk_sim_bytes(h->disk) + at);
        CU_ASSERT_FATAL(hg_log_write_header_is_valid(*header, h->geometry.log_uuid));
        if ((*header)->sequence == sequence)
            return at;
        hg_log_place_next(SEGMENT_BYTES, hg_log_write_bytes_max(PAYLOAD_BYTES_MAX),
                          hg_log_write_bytes((*header)->payload_bytes), &segment, &offset);
    }
}

/* Where a batch of a write is, its header first. */
static __attribute__((unused)) uint64_t harness_batch_place(struct harness *h, uint64_t sequence,
                                                            uint32_t index)
{
    struct hg_log_write_header *header;
    uint64_t at = harness_place_of(h, sequence, &header) + HG_LOG_BLOCK_BYTES;
    while (index-- > 0)
        at += hg_batch_bytes((const struct hg_batch_header *)(hg_disk_sim_bytes(h->disk) + at));
    return at;
}

/* The batch that a repair wants, from who has it. */
static __attribute__((unused)) void harness_give(struct harness *h)
{
    struct hg_log_heal_want want;
    if (!hg_log_heal_wants(h->log, &want))
        return;
    for (size_t i = 0; i < h->count; i++) {
        const struct hg_batch_header *header = (const struct hg_batch_header *)h->batches[i].bytes;
        if (header->stream != want.stream || memcmp(header->chain, want.chain, sizeof(want.chain)) != 0)
            continue;
        hg_log_heal_fill(h->log, 0, h->batches[i].bytes, want.bytes);
        CU_ASSERT_TRUE(hg_log_heal_filled(h->log));
        return;
    }
    CU_FAIL_FATAL("nobody has it");
}

static __attribute__((unused)) void harness_flip(struct harness *h, uint64_t at)
{
    hg_disk_sim_bytes(h->disk)[at] ^= 1;
    hg_disk_sim_settle(h->disk);
}

#endif
