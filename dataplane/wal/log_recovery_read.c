/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_recovery_read.h"
#include "dataplane/wal/log_internal.h"

#include <string.h>

#define WINDOW_BYTES (8u << 20)
#define CHUNK_BYTES  (1u << 20)

#define BLOCKS_BITS  16   /* of an operation's id, below the block that it begins at */
#define UNREAD       0xff /* neither a header nor zeros */

static uint64_t tag_of(uint32_t bytes, uint64_t offset)
{
    uint64_t blocks = bytes / HG_LOG_BLOCK_BYTES;
    hg_assert(blocks < 1u << BLOCKS_BITS);
    return hg_log_tag(HG_LOG_TAG_RECOVERY, offset / HG_LOG_BLOCK_BYTES << BLOCKS_BITS | blocks);
}

static uint8_t *memory_of(const struct hg_log *log, uint64_t offset)
{
    const struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    if (offset < HG_LOG_RING_OFFSET)
        return (uint8_t *)log->superblock_buffers + offset;
    if (offset < HG_LOG_SEGMENTS_OFFSET)
        return (uint8_t *)log->mirror + (offset - HG_LOG_RING_OFFSET);
    return io->window + (offset - io->window_offset);
}

/* ---- what can't be read ---- */

uint64_t hg_log_recovery_unreadable_in(const struct hg_log *log, uint64_t offset, uint64_t bytes)
{
    const struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    uint64_t first = HG_LOG_READABLE;
    for (uint32_t i = 0; i < io->unreadable_count; i++)
        if (io->unreadable[i] >= offset && io->unreadable[i] - offset < bytes)
            first = hg_min_u64(first, io->unreadable[i]);
    return first;
}

const char *hg_log_recovery_error_text(const struct hg_log *log)
{
    int error = hg_log_recovery_io_of(log)->error;
    return error != 0 ? strerror(error) : "it was cut short";
}

static void doubt_add(struct hg_log_recovery_io *io, uint64_t offset, uint32_t bytes)
{
    hg_assert(io->doubt_count < HG_LOG_READ_DOUBTS_MAX);
    io->doubts[io->doubt_count++] = (struct hg_log_read_doubt){.offset = offset, .bytes = bytes};
}

/* On behind the block that the newest doubt begins with. */
static void doubt_next(struct hg_log_recovery_io *io)
{
    struct hg_log_read_doubt *doubt = &io->doubts[io->doubt_count - 1];
    doubt->offset += HG_LOG_BLOCK_BYTES;
    doubt->bytes -= HG_LOG_BLOCK_BYTES;
    io->is_again = false;
    if (doubt->bytes == 0)
        io->doubt_count--;
}

static void unreadable_add(struct hg_log *log, uint64_t offset, int32_t result)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    io->error = result < 0 ? -result : 0;
    if (io->unreadable_count == HG_LOG_UNREADABLE_MAX) {
        hg_log_fail(log,
                    "recovery: more than %u blocks can't be read, now that at byte %llu: %s; nothing was "
                    "changed: check the device, then restart",
                    HG_LOG_UNREADABLE_MAX, (unsigned long long)offset, hg_log_recovery_error_text(log));
        return;
    }
    io->unreadable[io->unreadable_count++] = offset;
    log->stats.unreadable_blocks++;
}

bool hg_log_recovery_doubt_step(struct hg_log *log)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    hg_assert(io->pending == 0 && io->doubt_count > 0);
    uint64_t offset = io->doubts[io->doubt_count - 1].offset;
    if (hg_log_recovery_unreadable_in(log, offset, HG_LOG_BLOCK_BYTES) != HG_LOG_READABLE) {
        memset(memory_of(log, offset), UNREAD, HG_LOG_BLOCK_BYTES);
        doubt_next(io);
        return true;
    }
    io->is_doubting = hg_log_recovery_read(log, HG_LOG_BLOCK_BYTES, offset);
    return io->is_doubting;
}

/* A block of a read that failed before, by itself. */
static void doubt_completed(struct hg_log *log, uint64_t offset, bool is_read, int32_t result)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    io->is_doubting = false;
    if (is_read) {
        doubt_next(io);
    } else if (io->is_again) {
        unreadable_add(log, offset, result); /* the next step goes on behind it */
    } else {
        io->is_again = true;
        log->stats.reads_again++;
    }
}

/* ---- operations ---- */

void hg_log_recovery_completed(struct hg_log *log, uint64_t id, uint32_t op, int32_t result)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    uint64_t offset = (id >> BLOCKS_BITS) * HG_LOG_BLOCK_BYTES;
    uint32_t bytes = (uint32_t)(id & ((1u << BLOCKS_BITS) - 1)) * HG_LOG_BLOCK_BYTES;
    hg_assert(io->pending > 0);
    io->pending--;
    if (io->is_doubting) {
        doubt_completed(log, offset, result == (int32_t)bytes, result);
    } else if (result != (int32_t)bytes && op == HG_DISK_READ) {
        doubt_add(io, offset, bytes);
        log->stats.reads_again++;
    } else if (result != (int32_t)bytes) {
        hg_log_fail(log,
                    "recovery: a write of %u bytes at byte %llu: %s; nothing else was changed: check the "
                    "device, then restart",
                    bytes, (unsigned long long)offset, result < 0 ? strerror(-result) : "it was cut short");
    }
}

bool hg_log_recovery_read(struct hg_log *log, uint32_t bytes, uint64_t offset)
{
    if (!log->disk->read(log->disk, tag_of(bytes, offset), memory_of(log, offset), bytes, offset))
        return false;
    hg_log_recovery_io_of(log)->pending++;
    log->has_submitted = true;
    return true;
}

bool hg_log_recovery_write(struct hg_log *log, const void *data, uint32_t bytes, uint64_t offset)
{
    if (!log->disk->write(log->disk, tag_of(bytes, offset), data, bytes, offset))
        return false;
    hg_log_recovery_io_of(log)->pending++;
    log->has_submitted = true;
    log->stats.written_bytes += bytes;
    return true;
}

/* ---- windows ---- */

void hg_log_recovery_window_prepare(struct hg_log *log)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    io->window = log->slots[0].buffer;
    io->window_bytes_max =
        hg_min_u64(WINDOW_BYTES, log->arena_bytes - (uint64_t)HG_LOG_FIXED_BLOCKS * HG_LOG_BLOCK_BYTES);
    io->window_bytes_max -= io->window_bytes_max % HG_LOG_BLOCK_BYTES;
    hg_assert(io->window_bytes_max >= log->write_bytes_max);
}

uint64_t hg_log_recovery_bytes_to_hole(const struct hg_log *log, uint64_t segment, uint64_t offset)
{
    uint64_t end = log->geometry.segment_bytes;
    for (uint32_t i = 0; i < log->superblock.holes.count; i++) {
        const struct hg_log_hole *hole = &log->superblock.holes.holes[i];
        if (hole->segment == segment && hole->offset > offset)
            end = hg_min_u64(end, hole->offset);
    }
    return end - offset;
}

void hg_log_recovery_window_start(struct hg_log *log, uint64_t segment, uint64_t offset)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    io->window_offset = hg_log_file_offset(log, segment, (uint32_t)offset);
    io->window_bytes = hg_min_u64(io->window_bytes_max, hg_log_recovery_bytes_to_hole(log, segment, offset));
    io->window_asked = 0;
}

bool hg_log_recovery_window_is_ready(struct hg_log *log)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    while (io->window_asked < io->window_bytes) {
        uint32_t bytes = (uint32_t)hg_min_u64(CHUNK_BYTES, io->window_bytes - io->window_asked);
        uint64_t offset = io->window_offset + io->window_asked;
        if (hg_log_recovery_unreadable_in(log, offset, bytes) != HG_LOG_READABLE)
            doubt_add(io, offset, bytes); /* what is known to fail may take the device seconds each time */
        else if (!hg_log_recovery_read(log, bytes, offset))
            return false;
        io->window_asked += bytes;
    }
    return io->pending == 0 && io->doubt_count == 0;
}
