/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_recovery_read.h"
#include "dataplane/wal/log_internal.h"

#include <string.h>

#define WINDOW_BYTES (8u << 20)
#define CHUNK_BYTES  (1u << 20)

void hg_log_recovery_completed(struct hg_log *log, uint64_t bytes, uint32_t op, int32_t result)
{
    struct hg_log_recovery_io *io = hg_log_recovery_io_of(log);
    hg_assert(io->pending > 0);
    io->pending--;
    if (result == (int32_t)bytes)
        return;
    hg_log_fail(log, "recovery: a %s of %llu bytes: %s; nothing was changed: check the device, then restart",
                op == HG_DISK_READ ? "read" : "write", (unsigned long long)bytes,
                result < 0 ? strerror(-result) : "it was cut short");
}

bool hg_log_recovery_read(struct hg_log *log, void *data, uint32_t bytes, uint64_t offset)
{
    if (!log->disk->read(log->disk, hg_log_tag(HG_LOG_TAG_RECOVERY, bytes), data, bytes, offset))
        return false;
    hg_log_recovery_io_of(log)->pending++;
    log->has_submitted = true;
    return true;
}

bool hg_log_recovery_write(struct hg_log *log, const void *data, uint32_t bytes, uint64_t offset)
{
    if (!log->disk->write(log->disk, hg_log_tag(HG_LOG_TAG_RECOVERY, bytes), data, bytes, offset))
        return false;
    hg_log_recovery_io_of(log)->pending++;
    log->has_submitted = true;
    log->stats.written_bytes += bytes;
    return true;
}

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
        if (!hg_log_recovery_read(log, io->window + io->window_asked, bytes,
                                  io->window_offset + io->window_asked))
            return false;
        io->window_asked += bytes;
    }
    return io->pending == 0;
}
