/* SPDX-License-Identifier: Apache-2.0
 *
 * The beginning of recovery: which superblock is in force, and what the ring has.
 */
#include "dataplane/wal/log_recovery_internal.h"

#include <string.h>

/* ---- superblock ---- */

bool hg_log_recovery_superblocks_read(struct hg_log *log)
{
    if (log->disk->size_bytes < HG_LOG_SEGMENTS_OFFSET) {
        hg_log_fail(log, "the file of %llu bytes is too small for a log",
                    (unsigned long long)log->disk->size_bytes);
        return false;
    }
    log->recovery->phase = HG_RECOVERY_SUPERBLOCKS;
    return hg_log_recovery_read(log, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES, 0);
}

void hg_log_recovery_refuse(struct hg_log *log)
{
    log->is_unusable = log->state == HG_LOG_FAILED;
}

/* False, and said why, when the chosen superblock cannot be worked with. */
static bool superblock_fits(struct hg_log *log)
{
    const struct hg_log_superblock *superblock = &log->superblock;
    uint64_t bytes = hg_log_file_bytes(&log->geometry);
    if (log->cluster != 0 && superblock->cluster != log->cluster) {
        hg_log_fail(log, "it belongs to cluster %llu, this node to %llu: give this node a log of its own",
                    (unsigned long long)superblock->cluster, (unsigned long long)log->cluster);
    } else if (bytes > log->disk->size_bytes) {
        hg_log_fail(log, "its superblock speaks of %llu bytes, the file has %llu: it was cut short",
                    (unsigned long long)bytes, (unsigned long long)log->disk->size_bytes);
    } else if (hg_log_superblock_is_absurd(superblock, log->recovery->restarts_max)) {
        hg_log_fail(log, "its superblock has numbers that no log reaches");
    } else if (!hg_log_layout(log)) {
        hg_log_fail(log, "its writes of up to %u bytes need %llu MiB of memory, it was given %llu MiB",
                    superblock->write_payload_bytes_max,
                    (unsigned long long)(hg_log_arena_bytes_min(superblock->write_payload_bytes_max) >> 20),
                    (unsigned long long)(log->arena_bytes >> 20));
    }
    hg_log_recovery_refuse(log);
    return log->state == HG_LOG_RECOVERING;
}

static bool superblock_is_unread(const struct hg_log *log, uint32_t copy)
{
    return hg_log_recovery_unreadable_in(log, (uint64_t)copy * HG_LOG_BLOCK_BYTES, HG_LOG_BLOCK_BYTES) !=
           HG_LOG_READABLE;
}

/* A copy that can't be read is as good as a bad one where the other of its pair says what it may have said,
 * above all of promises, or where that pair never was in force. False, and said why, where it is not. */
static bool superblocks_suffice(struct hg_log *log, int chosen)
{
    struct hg_log_recovery *r = log->recovery;
    r->superblock_unread = HG_LOG_READABLE;
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        const struct hg_log_superblock *other = &log->superblock_buffers[copy ^ 1];
        if (!superblock_is_unread(log, copy))
            continue;
        bool is_told =
            hg_log_superblock_is_valid(other, copy ^ 1) || hg_log_is_zero(other, HG_LOG_BLOCK_BYTES);
        if (chosen < 0 || !is_told) {
            hg_log_fail(log,
                        "superblock copy %u at byte %llu can't be read (%s), and no others say what it does; "
                        "nothing was changed: check the device, then restart",
                        copy, (unsigned long long)copy * HG_LOG_BLOCK_BYTES, hg_log_recovery_error_text(log));
            return false;
        }
        if (other->generation > log->superblock_buffers[chosen].generation)
            r->superblock_unread = (uint64_t)copy * HG_LOG_BLOCK_BYTES;
        /* Nor are the numbers of an update that it alone may have used a second time. */
        r->numbers_unread = 1;
    }
    return true;
}

bool hg_log_recovery_superblocks_take(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    int chosen = hg_log_superblock_choose(log->superblock_buffers);
    if (!superblocks_suffice(log, chosen))
        return false;
    if (chosen < 0) {
        hg_log_fail(
            log, "no two copies of its superblock agree: it was never formatted, or is damaged; nothing was "
                 "changed");
        hg_log_recovery_refuse(log);
        return false;
    }
    log->superblock = log->superblock_buffers[chosen];
    log->superblock_pair = chosen < 2 ? 1 : 0;
    hg_log_geometry_of(&log->superblock, &log->geometry);
    /* An unfinished update is not believed, but its numbers are not used a second time. */
    for (uint16_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++) {
        const struct hg_log_superblock *copy = &log->superblock_buffers[i];
        if (!hg_log_superblock_is_valid(copy, i))
            continue;
        log->superblock.generation = hg_max_u64(log->superblock.generation, copy->generation);
        r->restarts_max = (uint32_t)hg_max_u64(r->restarts_max, copy->restarts);
        /* A promise of any copy stands: of two that agreed one may have rotted since, and one that was never
         * answered costs nothing but another seal. */
        for (uint32_t group = 0; group < HG_GROUPS_MAX; group++) {
            log->epoch_wanted[group] = hg_max_u64(log->epoch_wanted[group], copy->epoch_promised[group]);
            log->members_wanted[group] =
                (uint32_t)hg_max_u64(log->members_wanted[group], copy->members_generation[group]);
        }
        log->superblock.tail_torn_sequence =
            hg_max_u64(log->superblock.tail_torn_sequence, copy->tail_torn_sequence);
        log->superblock.durable_sequence =
            hg_max_u64(log->superblock.durable_sequence, copy->durable_sequence);
    }
    log->superblock.generation += r->numbers_unread;
    r->restarts_max += r->restarts_max == UINT32_MAX ? 0 : r->numbers_unread;
    if (!superblock_fits(log))
        return false;
    log->tail_segment = log->superblock.tail_segment;
    log->tail_sequence = log->superblock.tail_sequence;
    r->hlc_ceiling = log->superblock.hlc_ceiling;
    r->sequence = log->superblock.tail_sequence;
    r->segment = r->head_segment = log->superblock.tail_segment;
    /* The tail only ever moves to a durable write. */
    r->durable = hg_max_u64(r->sequence > 1 ? r->sequence : 0, log->superblock.durable_sequence);
    hg_log_recovery_window_prepare(log);
    hg_log_superblock_pair_fill(log->superblock_buffers, 1 - log->superblock_pair,
                                &log->superblock_buffers[chosen]); /* to be written again */
    r->phase = HG_RECOVERY_RING;
    return hg_log_recovery_read(log, HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES, HG_LOG_RING_OFFSET);
}

/* ---- ring ---- */

bool hg_log_recovery_ring_take(struct hg_log *log)
{
    struct hg_log_recovery *r = log->recovery;
    for (uint32_t slot = 0; slot < HG_LOG_RING_BLOCKS; slot++) {
        const struct hg_log_write_header *header = &log->mirror[slot];
        uint64_t at = HG_LOG_RING_OFFSET + (uint64_t)slot * HG_LOG_BLOCK_BYTES;
        if (hg_log_recovery_unreadable_in(log, at, HG_LOG_BLOCK_BYTES) != HG_LOG_READABLE) {
            r->ring_is_unread[slot] = r->ring_is_dirty[slot] = true; /* written anew with the others */
            memset(&log->mirror[slot], 0, HG_LOG_BLOCK_BYTES);
        }
        if (!hg_log_write_header_is_valid(header, log->geometry.log_uuid) ||
            header->sequence % HG_LOG_RING_BLOCKS != slot)
            continue;
        r->ring_sequence[slot] = header->sequence;
        r->durable = hg_max_u64(r->durable, header->sequence);
        hg_log_recovery_learn(r, header);
    }
    r->phase = HG_RECOVERY_SCAN;
    return true;
}
