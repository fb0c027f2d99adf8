/* SPDX-License-Identifier: Apache-2.0
 *
 * Two images: `view` is what reads see (device cache over media), `media` what a crash leaves. Between them a
 * list of extents written since they were last made equal. Blocks that nothing was ever written to are zero
 * and take no memory: a simulator makes thousands of disks and uses little of each.
 */
#include "drivers/disk/disk_sim.h"
#include "drivers/platform/random.h"

#include <errno.h>
#include <stdlib.h>

#define DEPTH_MAX 1024u

/* Written to the view, not yet to the media. */
struct extent {
    uint64_t offset;
    uint32_t bytes;
    uint64_t flush; /* number of the flush in flight that covers it; 0 = none */
    bool reaped;    /* its completion was seen by the caller: the next flush covers it */
    bool lost;      /* a failed flush let go of it: no later flush covers it */
};

struct operation {
    enum hg_disk_op op;
    uint64_t tag;
    uint64_t offset;
    uint32_t bytes;
    uint64_t done_ns;
    const uint8_t *data;
    uint8_t *read_to;
    uint8_t *copy; /* of written data */
    uint32_t short_bytes;
    int error;
    bool is_short;
    bool is_lost;
    bool is_dsync;
    bool is_wrong;   /* a read */
    uint64_t blocks; /* by which it goes astray */
    uint64_t flush;  /* number of a flush */
};

struct fault {
    uint64_t at; /* number of the operation of its kind; 0 = none */
    int error;
    uint32_t bytes;
    uint64_t blocks;
};

struct disk_sim {
    struct hg_disk disk;
    struct hg_disk_sim_config config;
    struct hg_random random;
    uint64_t now_ns;
    bool time_runs;
    uint8_t *view;
    uint8_t *media;
    uint64_t *view_touched; /* a bit a block: it is in the image; else it is zero, and nothing is there */
    uint64_t *media_touched;
    bool is_whole; /* every block is touched */
    struct operation *operations;
    uint32_t operation_count;
    struct extent *extents;
    uint32_t extent_count;
    uint32_t extent_max;
    uint64_t submitted[3];
    uint64_t flush_last;
    struct fault fail[3];
    int fail_all[3];
    struct fault short_write;
    struct fault lose_write;
    struct fault misplace_write;
    struct fault wrong_read;
    uint64_t writes_lost, reads_wrong;
    uint64_t crashes;
    uint64_t bad_blocks[HG_DISK_SIM_BAD_BLOCKS_MAX];
    uint32_t bad_count;
};

static struct disk_sim *sim_of(struct hg_disk *disk)
{
    return (struct disk_sim *)disk;
}

/* ---- the images ---- */

static bool is_touched(const uint64_t *touched, uint64_t block)
{
    return (touched[block / 64] >> block % 64 & 1) != 0;
}

/* Clears the blocks of an image that nothing was written to; `whole`: but not those that are about to be
 * written from end to end. */
static void touch(uint8_t *image, uint64_t *touched, uint64_t offset, uint64_t bytes, bool whole)
{
    uint64_t end = (offset + bytes + HG_DISK_BLOCK_BYTES - 1) / HG_DISK_BLOCK_BYTES;
    for (uint64_t block = offset / HG_DISK_BLOCK_BYTES; block < end; block++) {
        if (is_touched(touched, block))
            continue;
        if (!whole)
            memset(image + block * HG_DISK_BLOCK_BYTES, 0, HG_DISK_BLOCK_BYTES);
        touched[block / 64] |= UINT64_C(1) << block % 64;
    }
}

static void touch_both(struct disk_sim *sim, uint64_t offset, uint64_t bytes)
{
    touch(sim->view, sim->view_touched, offset, bytes, false);
    touch(sim->media, sim->media_touched, offset, bytes, false);
}

static uint64_t touched_bytes(uint64_t disk_bytes)
{
    return (disk_bytes / HG_DISK_BLOCK_BYTES + 63) / 64 * sizeof(uint64_t);
}

/* ---- operations ---- */

static void extent_add(struct disk_sim *sim, uint64_t offset, uint32_t bytes, bool reaped)
{
    if (sim->extent_count == sim->extent_max) {
        sim->extent_max = sim->extent_max == 0 ? 64 : sim->extent_max * 2;
        sim->extents = realloc(sim->extents, sim->extent_max * sizeof(sim->extents[0]));
        hg_assert(sim->extents != NULL);
    }
    struct extent *extent = &sim->extents[sim->extent_count++];
    memset(extent, 0, sizeof(*extent));
    extent->offset = offset;
    extent->bytes = bytes;
    extent->reaped = reaped;
}

static uint64_t latency_ns(struct disk_sim *sim, enum hg_disk_op op)
{
    const struct hg_disk_sim_config *config = &sim->config;
    if (!sim->time_runs)
        return 0;
    switch (op) {
    case HG_DISK_WRITE:
        return hg_random_between(&sim->random, config->write_ns_min, config->write_ns_max);
    case HG_DISK_READ:
        return hg_random_between(&sim->random, config->read_ns_min, config->read_ns_max);
    case HG_DISK_FLUSH:
        break;
    }
    return hg_random_between(&sim->random, config->flush_ns_min, config->flush_ns_max);
}

static bool fault_strikes(struct fault *fault, uint64_t number)
{
    if (fault->at == 0 || fault->at != number)
        return false;
    fault->at = 0;
    return true;
}

static struct operation *operation_start(struct disk_sim *sim, enum hg_disk_op op, uint64_t tag,
                                         uint64_t offset, uint32_t bytes, const void *memory)
{
    if (sim->operation_count == sim->disk.depth)
        return NULL;
    hg_assert(offset % HG_DISK_BLOCK_BYTES == 0 && bytes % HG_DISK_BLOCK_BYTES == 0);
    hg_assert((uintptr_t)memory % HG_DISK_BLOCK_BYTES == 0);
    hg_assert(op == HG_DISK_FLUSH || bytes > 0);
    hg_assert(offset <= sim->disk.size_bytes && bytes <= sim->disk.size_bytes - offset);
    struct operation *operation = &sim->operations[sim->operation_count++];
    memset(operation, 0, sizeof(*operation));
    operation->op = op;
    operation->tag = tag;
    operation->offset = offset;
    operation->bytes = bytes;
    operation->done_ns = sim->now_ns + latency_ns(sim, op);
    uint64_t number = ++sim->submitted[op];
    operation->error = sim->fail_all[op];
    if (fault_strikes(&sim->fail[op], number))
        operation->error = sim->fail[op].error;
    return operation;
}

static bool sim_write(struct hg_disk *disk, uint64_t tag, const void *data, uint32_t bytes, uint64_t offset)
{
    struct disk_sim *sim = sim_of(disk);
    struct operation *operation = operation_start(sim, HG_DISK_WRITE, tag, offset, bytes, data);
    if (operation == NULL)
        return false;
    operation->data = data;
    operation->is_dsync = disk->is_dsync;
    if (disk->is_dsync)
        operation->done_ns += latency_ns(sim, HG_DISK_FLUSH);
    operation->copy = malloc(bytes);
    hg_assert(operation->copy != NULL);
    memcpy(operation->copy, data, bytes);
    uint64_t number = sim->submitted[HG_DISK_WRITE];
    if (fault_strikes(&sim->short_write, number)) {
        operation->is_short = true;
        operation->short_bytes = (uint32_t)hg_min_u64(sim->short_write.bytes, bytes);
    }
    operation->is_lost = fault_strikes(&sim->lose_write, number);
    if (fault_strikes(&sim->misplace_write, number))
        operation->blocks = sim->misplace_write.blocks;
    sim->writes_lost += operation->is_lost || operation->blocks != 0;
    return true;
}

static bool sim_read(struct hg_disk *disk, uint64_t tag, void *data, uint32_t bytes, uint64_t offset)
{
    struct operation *operation = operation_start(sim_of(disk), HG_DISK_READ, tag, offset, bytes, data);
    if (operation == NULL)
        return false;
    operation->read_to = data;
    operation->is_wrong = fault_strikes(&sim_of(disk)->wrong_read, sim_of(disk)->submitted[HG_DISK_READ]);
    operation->blocks = operation->is_wrong ? sim_of(disk)->wrong_read.blocks : 0;
    sim_of(disk)->reads_wrong += operation->is_wrong;
    return true;
}

static bool sim_flush(struct hg_disk *disk, uint64_t tag)
{
    struct disk_sim *sim = sim_of(disk);
    struct operation *operation = operation_start(sim, HG_DISK_FLUSH, tag, 0, 0, NULL);
    if (operation == NULL)
        return false;
    operation->flush = ++sim->flush_last;
    for (uint32_t i = 0; i < sim->extent_count; i++)
        if (sim->extents[i].reaped && !sim->extents[i].lost)
            sim->extents[i].flush = operation->flush;
    return true;
}

/* Some sectors of a write that did not finish. */
static void write_partly(struct disk_sim *sim, const struct operation *operation)
{
    touch(sim->view, sim->view_touched, operation->offset, operation->bytes, false);
    for (uint32_t at = 0; at < operation->bytes; at += HG_DISK_SIM_SECTOR_BYTES)
        if (hg_random_chance(&sim->random, 1, 2))
            memcpy(sim->view + operation->offset + at, operation->copy + at, HG_DISK_SIM_SECTOR_BYTES);
    extent_add(sim, operation->offset, operation->bytes, false);
}

/* Where a device puts, or takes, what belongs `blocks` blocks before. */
static uint64_t astray(const struct disk_sim *sim, const struct operation *operation)
{
    uint64_t places = (sim->disk.size_bytes - operation->bytes) / HG_DISK_BLOCK_BYTES + 1;
    return (operation->offset / HG_DISK_BLOCK_BYTES + operation->blocks) % places * HG_DISK_BLOCK_BYTES;
}

static bool is_bad(const struct disk_sim *sim, uint64_t offset, uint32_t bytes)
{
    for (uint32_t i = 0; i < sim->bad_count; i++)
        if (sim->bad_blocks[i] * HG_DISK_BLOCK_BYTES >= offset &&
            sim->bad_blocks[i] * HG_DISK_BLOCK_BYTES < offset + bytes)
            return true;
    return false;
}

/* A device gives a block that is written another place. */
static void bad_forget(struct disk_sim *sim, uint64_t offset, uint32_t bytes)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sim->bad_count; i++)
        if (sim->bad_blocks[i] * HG_DISK_BLOCK_BYTES < offset ||
            sim->bad_blocks[i] * HG_DISK_BLOCK_BYTES >= offset + bytes)
            sim->bad_blocks[kept++] = sim->bad_blocks[i];
    sim->bad_count = kept;
}

static int32_t write_finish(struct disk_sim *sim, const struct operation *operation)
{
    if (operation->error != 0) {
        write_partly(sim, operation);
        return -operation->error;
    }
    uint32_t bytes = operation->is_short ? operation->short_bytes : operation->bytes;
    uint64_t offset = astray(sim, operation);
    if (!operation->is_lost) {
        bad_forget(sim, offset, bytes);
        touch(sim->view, sim->view_touched, offset, operation->bytes, bytes == operation->bytes);
        memcpy(sim->view + offset, operation->copy, bytes);
        if (operation->is_dsync) {
            touch(sim->media, sim->media_touched, offset, operation->bytes, bytes == operation->bytes);
            memcpy(sim->media + offset, operation->copy, bytes);
        } else {
            extent_add(sim, offset, operation->bytes, true);
        }
    }
    return (int32_t)bytes;
}

static int32_t flush_finish(struct disk_sim *sim, const struct operation *operation)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sim->extent_count; i++) {
        struct extent *extent = &sim->extents[i];
        if (extent->flush == operation->flush && operation->error == 0) {
            touch(sim->media, sim->media_touched, extent->offset, extent->bytes, true);
            memcpy(sim->media + extent->offset, sim->view + extent->offset, extent->bytes);
            continue;
        }
        if (extent->flush == operation->flush) {
            extent->flush = 0;
            extent->lost = hg_random_chance(&sim->random, 1, 2);
        }
        sim->extents[kept++] = *extent;
    }
    sim->extent_count = kept;
    return -operation->error;
}

static int32_t read_finish(struct disk_sim *sim, const struct operation *operation)
{
    if (operation->error != 0)
        return -operation->error;
    uint64_t offset = astray(sim, operation);
    if (is_bad(sim, offset, operation->bytes))
        return -EIO;
    uint64_t block = offset / HG_DISK_BLOCK_BYTES, end = block + operation->bytes / HG_DISK_BLOCK_BYTES;
    while (block < end) { /* runs of blocks that are alike */
        bool is_there = is_touched(sim->view_touched, block);
        uint64_t first = block++;
        while (block < end && is_touched(sim->view_touched, block) == is_there)
            block++;
        uint8_t *to = operation->read_to + (first * HG_DISK_BLOCK_BYTES - offset);
        if (is_there)
            memcpy(to, sim->view + first * HG_DISK_BLOCK_BYTES, (block - first) * HG_DISK_BLOCK_BYTES);
        else
            memset(to, 0, (block - first) * HG_DISK_BLOCK_BYTES);
    }
    if (operation->is_wrong && operation->blocks == 0)
        operation->read_to[hg_random_below(&sim->random, operation->bytes)] ^= 1;
    return (int32_t)operation->bytes;
}

static int32_t operation_finish(struct disk_sim *sim, const struct operation *operation)
{
    int32_t result = 0;
    switch (operation->op) {
    case HG_DISK_WRITE:
        result = write_finish(sim, operation);
        break;
    case HG_DISK_READ:
        result = read_finish(sim, operation);
        break;
    case HG_DISK_FLUSH:
        result = flush_finish(sim, operation);
        break;
    }
    free(operation->copy);
    return result;
}

static void operation_remove(struct disk_sim *sim, uint32_t index)
{
    sim->operations[index] = sim->operations[--sim->operation_count];
}

static uint32_t sim_poll(struct hg_disk *disk, struct hg_disk_completion *completions,
                         uint32_t completions_max)
{
    struct disk_sim *sim = sim_of(disk);
    uint32_t due[DEPTH_MAX];
    uint32_t count = 0;

    while (count < completions_max) {
        uint32_t due_count = 0;
        for (uint32_t i = 0; i < sim->operation_count; i++)
            if (sim->operations[i].done_ns <= sim->now_ns)
                due[due_count++] = i;
        if (due_count == 0)
            break;
        uint32_t index = due[hg_random_below(&sim->random, due_count)];
        struct operation operation = sim->operations[index];
        hg_assert(operation.op != HG_DISK_WRITE ||
                  memcmp(operation.copy, operation.data, operation.bytes) == 0);
        completions[count].tag = operation.tag;
        completions[count].op = operation.op;
        completions[count].result = operation_finish(sim, &operation);
        operation_remove(sim, index);
        count++;
    }
    return count;
}

static void sim_close(struct hg_disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    for (uint32_t i = 0; i < sim->operation_count; i++)
        free(sim->operations[i].copy);
    free(sim->operations);
    free(sim->extents);
    free(sim->view);
    free(sim->media);
    free(sim->view_touched);
    free(sim->media_touched);
    free(sim);
}

struct hg_disk *hg_disk_sim_create(const struct hg_disk_sim_config *config)
{
    hg_assert(config->size_bytes > 0 && config->size_bytes % HG_DISK_BLOCK_BYTES == 0);
    hg_assert(config->depth > 0 && config->depth <= DEPTH_MAX);
    struct disk_sim *sim = calloc(1, sizeof(*sim));
    if (sim == NULL)
        return NULL;
    sim->config = *config;
    sim->disk.write = sim_write;
    sim->disk.read = sim_read;
    sim->disk.flush = sim_flush;
    sim->disk.poll = sim_poll;
    sim->disk.close = sim_close;
    sim->disk.size_bytes = config->size_bytes;
    sim->disk.depth = config->depth;
    hg_random_init(&sim->random, config->seed);
    sim->view = malloc(config->size_bytes);
    sim->media = malloc(config->size_bytes);
    sim->view_touched = calloc(1, touched_bytes(config->size_bytes));
    sim->media_touched = calloc(1, touched_bytes(config->size_bytes));
    sim->operations = calloc(config->depth, sizeof(sim->operations[0]));
    if (sim->view == NULL || sim->media == NULL || sim->view_touched == NULL || sim->media_touched == NULL ||
        sim->operations == NULL) {
        sim_close(&sim->disk);
        return NULL;
    }
    return &sim->disk;
}

static void *longer(void *old, uint64_t bytes_old, uint64_t bytes)
{
    uint8_t *image = realloc(old, bytes);
    hg_assert(image != NULL);
    memset(image + bytes_old, 0, bytes - bytes_old);
    return image;
}

void hg_disk_sim_extend(struct hg_disk *disk, uint64_t size_bytes)
{
    struct disk_sim *sim = sim_of(disk);
    uint64_t before = disk->size_bytes;
    hg_assert(size_bytes >= before && size_bytes % HG_DISK_BLOCK_BYTES == 0 && sim->operation_count == 0);
    sim->view = longer(sim->view, before, size_bytes);
    sim->media = longer(sim->media, before, size_bytes);
    sim->view_touched = longer(sim->view_touched, touched_bytes(before), touched_bytes(size_bytes));
    sim->media_touched = longer(sim->media_touched, touched_bytes(before), touched_bytes(size_bytes));
    disk->size_bytes = sim->config.size_bytes = size_bytes;
    if (sim->is_whole)
        touch_both(sim, 0, size_bytes);
}

void hg_disk_sim_time_set(struct hg_disk *disk, uint64_t now_ns)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(now_ns >= sim->now_ns);
    sim->time_runs = true;
    sim->now_ns = now_ns;
}

uint64_t hg_disk_sim_next_ns(const struct hg_disk *disk)
{
    const struct disk_sim *sim = (const struct disk_sim *)disk;
    uint64_t next_ns = HG_TIME_NEVER;
    for (uint32_t i = 0; i < sim->operation_count; i++)
        next_ns = hg_min_u64(next_ns, sim->operations[i].done_ns);
    return next_ns;
}

/* One sector of an extent meets the power loss: view and media become the same something. */
static void sector_settle(struct disk_sim *sim, uint64_t offset, uint32_t mode)
{
    uint8_t *view = sim->view + offset, *media = sim->media + offset;
    uint64_t outcome = mode < 2 ? mode : hg_random_below(&sim->random, mode);
    if (outcome == 1) {
        memcpy(media, view, HG_DISK_SIM_SECTOR_BYTES);
    } else if (outcome == 2) {
        memcpy(media, view, hg_random_below(&sim->random, HG_DISK_SIM_SECTOR_BYTES));
    } else if (outcome == 3) {
        memset(media, 0, HG_DISK_SIM_SECTOR_BYTES);
    }
    memcpy(view, media, HG_DISK_SIM_SECTOR_BYTES);
}

void hg_disk_sim_crash(struct hg_disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    while (sim->operation_count > 0) {
        struct operation *operation = &sim->operations[sim->operation_count - 1];
        if (operation->op == HG_DISK_WRITE && hg_random_chance(&sim->random, 1, 2))
            write_partly(sim, operation);
        free(operation->copy);
        sim->operation_count--;
    }
    /* 0 = all old, 1 = all new, 2..4 = each sector one of that many outcomes. */
    uint32_t mode = (uint32_t)hg_random_below(&sim->random, 5);
    for (uint32_t i = 0; i < sim->extent_count; i++) {
        struct extent extent = sim->extents[i];
        touch(sim->media, sim->media_touched, extent.offset, extent.bytes, false);
        for (uint32_t at = 0; at < extent.bytes; at += HG_DISK_SIM_SECTOR_BYTES)
            if (memcmp(sim->view + extent.offset + at, sim->media + extent.offset + at,
                       HG_DISK_SIM_SECTOR_BYTES))
                sector_settle(sim, extent.offset + at, extent.lost ? 0 : mode);
    }
    sim->extent_count = 0;
    sim->crashes++;
}

void hg_disk_sim_kill(struct hg_disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    while (sim->operation_count > 0) {
        struct operation operation = sim->operations[sim->operation_count - 1];
        sim->operation_count--;
        if (operation.op == HG_DISK_READ)
            free(operation.copy);
        else
            operation_finish(sim, &operation);
    }
    /* A later process has no completions to reap: its first flush covers everything the device holds. */
    for (uint32_t i = 0; i < sim->extent_count; i++)
        sim->extents[i].reaped = true;
}

static void image_copy(uint8_t *to, const uint8_t *from, const uint64_t *touched, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += HG_DISK_BLOCK_BYTES)
        if (is_touched(touched, at / HG_DISK_BLOCK_BYTES))
            memcpy(to + at, from + at, HG_DISK_BLOCK_BYTES);
}

struct hg_disk *hg_disk_sim_clone(const struct hg_disk *disk)
{
    const struct disk_sim *from = (const struct disk_sim *)disk;
    hg_assert(from->operation_count == 0);
    struct hg_disk *clone = hg_disk_sim_create(&from->config);
    if (clone == NULL)
        return NULL;
    struct disk_sim *to = sim_of(clone);
    struct disk_sim fresh = *to;
    *to = *from;
    to->view = fresh.view;
    to->media = fresh.media;
    to->view_touched = fresh.view_touched;
    to->media_touched = fresh.media_touched;
    to->operations = fresh.operations;
    to->extents = NULL;
    to->extent_count = to->extent_max = 0;
    memcpy(to->view_touched, from->view_touched, touched_bytes(from->disk.size_bytes));
    memcpy(to->media_touched, from->media_touched, touched_bytes(from->disk.size_bytes));
    image_copy(to->view, from->view, from->view_touched, from->disk.size_bytes);
    image_copy(to->media, from->media, from->media_touched, from->disk.size_bytes);
    for (uint32_t i = 0; i < from->extent_count; i++) {
        extent_add(to, from->extents[i].offset, from->extents[i].bytes, from->extents[i].reaped);
        to->extents[i] = from->extents[i];
    }
    return clone;
}

void hg_disk_sim_fail(struct hg_disk *disk, enum hg_disk_op op, uint64_t nth, int error)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(nth > 0 && error > 0);
    sim->fail[op].at = sim->submitted[op] + nth;
    sim->fail[op].error = error;
}

void hg_disk_sim_fail_all(struct hg_disk *disk, enum hg_disk_op op, int error)
{
    sim_of(disk)->fail_all[op] = error;
}

void hg_disk_sim_short_write(struct hg_disk *disk, uint64_t nth, uint32_t bytes)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(nth > 0);
    sim->short_write.at = sim->submitted[HG_DISK_WRITE] + nth;
    sim->short_write.bytes = bytes;
}

void hg_disk_sim_lose_write(struct hg_disk *disk, uint64_t nth)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(nth > 0);
    sim->lose_write.at = sim->submitted[HG_DISK_WRITE] + nth;
}

void hg_disk_sim_misplace_write(struct hg_disk *disk, uint64_t nth, uint64_t blocks)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(nth > 0 && blocks > 0);
    sim->misplace_write.at = sim->submitted[HG_DISK_WRITE] + nth;
    sim->misplace_write.blocks = blocks;
}

void hg_disk_sim_wrong_read(struct hg_disk *disk, uint64_t nth, uint64_t blocks)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(nth > 0);
    sim->wrong_read.at = sim->submitted[HG_DISK_READ] + nth;
    sim->wrong_read.blocks = blocks;
}

void hg_disk_sim_flip_bit(struct hg_disk *disk, uint64_t offset, uint32_t bit)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(offset < disk->size_bytes && bit < 8);
    touch_both(sim, offset, 1);
    sim->view[offset] ^= (uint8_t)(1u << bit);
    sim->media[offset] ^= (uint8_t)(1u << bit);
}

void hg_disk_sim_bad_block(struct hg_disk *disk, uint64_t offset)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(offset < disk->size_bytes && sim->bad_count < HG_DISK_SIM_BAD_BLOCKS_MAX);
    sim->bad_blocks[sim->bad_count++] = offset / HG_DISK_BLOCK_BYTES;
}

void hg_disk_sim_overwrite(struct hg_disk *disk, uint64_t offset, const void *from, uint32_t bytes)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(offset <= disk->size_bytes && bytes <= disk->size_bytes - offset);
    touch_both(sim, offset, bytes);
    memcpy(sim->view + offset, from, bytes);
    memcpy(sim->media + offset, from, bytes);
}

bool hg_disk_sim_look(struct hg_disk *disk, uint64_t offset, void *to, uint32_t bytes)
{
    struct disk_sim *sim = sim_of(disk);
    hg_assert(offset <= disk->size_bytes && bytes <= disk->size_bytes - offset);
    touch(sim->view, sim->view_touched, offset, bytes, false);
    memcpy(to, sim->view + offset, bytes);
    return !is_bad(sim, offset, bytes);
}

uint8_t *hg_disk_sim_bytes(struct hg_disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    if (!sim->is_whole)
        touch_both(sim, 0, disk->size_bytes);
    sim->is_whole = true;
    return sim->view;
}

void hg_disk_sim_settle(struct hg_disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    for (uint64_t at = 0; at < disk->size_bytes; at += HG_DISK_BLOCK_BYTES)
        if (is_touched(sim->view_touched, at / HG_DISK_BLOCK_BYTES))
            touch(sim->media, sim->media_touched, at, HG_DISK_BLOCK_BYTES, true);
    image_copy(sim->media, sim->view, sim->view_touched, disk->size_bytes);
    sim->extent_count = 0;
}

void hg_disk_sim_stats_get(const struct hg_disk *disk, struct hg_disk_sim_stats *stats)
{
    const struct disk_sim *sim = (const struct disk_sim *)disk;
    stats->writes = sim->submitted[HG_DISK_WRITE];
    stats->reads = sim->submitted[HG_DISK_READ];
    stats->flushes = sim->submitted[HG_DISK_FLUSH];
    stats->crashes = sim->crashes;
    stats->writes_lost = sim->writes_lost;
    stats->reads_wrong = sim->reads_wrong;
}
