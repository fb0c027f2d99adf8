/* SPDX-License-Identifier: Apache-2.0
 *
 * What an audit reads beside the writes: superblocks, the header ring, and the window over the segments.
 */
#include "dataplane/wal/log_audit_internal.h"

#include <errno.h>
#include <string.h>

static int block_read(struct hg_log_audit *audit, void *data, uint32_t bytes, uint64_t offset)
{
    audit->result->read_bytes += bytes;
    const struct hg_log_audit_config *config = audit->config;
    return config->read != NULL ? config->read(config->read_ctx, data, bytes, offset)
                                : config->ops->read(config->ctx, data, bytes, offset);
}

void hg_log_audit_pause(struct hg_log_audit *audit)
{
    if (audit->config->ops->pause != NULL)
        audit->config->ops->pause(audit->config->ctx);
}

/* ---- superblocks ---- */

static uint32_t superblocks_valid(const struct hg_log_audit *audit)
{
    uint32_t mask = 0;
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
        mask |= (uint32_t)hg_log_superblock_is_valid(&audit->superblocks[copy], copy) << copy;
    return mask;
}

static int superblocks_read(struct hg_log_audit *audit)
{
    return block_read(audit, audit->superblocks, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES, 0);
}

static bool superblock_fits(struct hg_log_audit *audit)
{
    const struct hg_log_superblock *superblock = &audit->result->superblock;
    hg_log_geometry_of(superblock, &audit->geometry);
    uint64_t bytes = hg_log_file_bytes(&audit->geometry);
    uint32_t restarts_max = 0;
    struct hg_log_finding finding = {.kind = HG_LOG_FINDING_NUMBERS, .bytes = HG_LOG_RING_OFFSET};
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
        if (hg_log_superblock_is_valid(&audit->superblocks[copy], copy))
            restarts_max = (uint32_t)hg_max_u64(restarts_max, audit->superblocks[copy].restarts);
    if (bytes > audit->config->size_bytes)
        finding = (struct hg_log_finding){.kind = HG_LOG_FINDING_CUT_SHORT,
                                          .file_offset = audit->config->size_bytes,
                                          .bytes = bytes - audit->config->size_bytes};
    else if (!hg_log_superblock_is_absurd(superblock, restarts_max))
        return true;
    hg_log_audit_report(audit, &finding);
    hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNUSABLE);
    return false;
}

static void superblocks_show(struct hg_log_audit *audit, uint32_t valid)
{
    for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        bool is_valid = (valid & 1u << copy) != 0;
        struct hg_log_finding finding = {.kind = HG_LOG_FINDING_SUPERBLOCK_COPY,
                                         .file_offset = (uint64_t)copy * HG_LOG_BLOCK_BYTES,
                                         .bytes = HG_LOG_BLOCK_BYTES,
                                         .index = copy};
        if (audit->config->ops->superblock != NULL)
            audit->config->ops->superblock(audit->config->ctx, copy,
                                           is_valid ? &audit->superblocks[copy] : NULL);
        if (!is_valid)
            hg_log_audit_report(audit, &finding);
    }
}

/* The four copies, read again while one is not valid: it may be just being written. 0 or -errno. */
static int superblocks_settle(struct hg_log_audit *audit, uint32_t *valid)
{
    *valid = 0;
    for (uint32_t try = 0; try < HG_LOG_AUDIT_TRIES; try++) {
        if (try > 0)
            hg_log_audit_pause(audit);
        int error = superblocks_read(audit);
        if (error != 0)
            return error;
        uint32_t now = superblocks_valid(audit);
        audit->result->changed += try > 0 && now != *valid;
        *valid = now;
        if (now == (1u << HG_LOG_SUPERBLOCK_COPIES) - 1)
            break;
    }
    return 0;
}

bool hg_log_audit_superblocks(struct hg_log_audit *audit)
{
    struct hg_log_finding finding = {.kind = HG_LOG_FINDING_SUPERBLOCK, .bytes = HG_LOG_RING_OFFSET};
    uint32_t valid = 0;
    if (audit->config->size_bytes >= HG_LOG_SEGMENTS_OFFSET)
        finding.error = superblocks_settle(audit, &valid);
    if (finding.error != 0) {
        finding.kind = HG_LOG_FINDING_UNREADABLE;
        hg_log_audit_report(audit, &finding);
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNREADABLE);
        return false;
    }
    superblocks_show(audit, valid);
    int chosen = hg_log_superblock_choose(audit->superblocks);
    if (chosen < 0) {
        hg_log_audit_report(audit, &finding);
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNUSABLE);
        return false;
    }
    audit->result->superblock = audit->superblocks[chosen];
    if (audit->config->ops->chosen != NULL)
        audit->config->ops->chosen(audit->config->ctx, &audit->result->superblock);
    return superblock_fits(audit);
}

bool hg_log_audit_tail_moved(struct hg_log_audit *audit)
{
    if (superblocks_read(audit) != 0)
        return false;
    int chosen = hg_log_superblock_choose(audit->superblocks);
    if (chosen < 0 || audit->superblocks[chosen].tail_sequence <= audit->walk.sequence)
        return false;
    const struct hg_log_superblock *superblock = &audit->superblocks[chosen];
    audit->result->recycled_writes += superblock->tail_sequence - audit->walk.sequence;
    hg_log_geometry_of(superblock, &audit->geometry); /* it may have grown meanwhile */
    audit->tail_segment = superblock->tail_segment;
    audit->walk.sequence = superblock->tail_sequence;
    audit->walk.segment = superblock->tail_segment;
    audit->walk.offset = 0;
    audit->walk.has_previous = false;
    return true;
}

/* ---- header ring ---- */

static bool ring_block_is_valid(const struct hg_log_audit *audit, uint32_t slot)
{
    const struct hg_log_write_header *header = &audit->ring[slot];
    return hg_log_write_header_is_valid(header, audit->geometry.log_uuid) &&
           header->sequence % HG_LOG_RING_BLOCKS == slot;
}

/* A block of the ring that is bad, read again until it is not. */
static void ring_block_doubt(struct hg_log_audit *audit, uint32_t slot)
{
    struct hg_log_finding finding = {.kind = HG_LOG_FINDING_RING_BLOCK,
                                     .file_offset = HG_LOG_RING_OFFSET + (uint64_t)slot * HG_LOG_BLOCK_BYTES,
                                     .bytes = HG_LOG_BLOCK_BYTES,
                                     .index = slot};
    for (uint32_t try = 1; try < HG_LOG_AUDIT_TRIES && finding.error == 0; try++) {
        hg_log_audit_pause(audit);
        finding.error = block_read(audit, &audit->ring[slot], HG_LOG_BLOCK_BYTES, finding.file_offset);
        if (finding.error == 0 &&
            (ring_block_is_valid(audit, slot) || hg_log_is_zero(&audit->ring[slot], HG_LOG_BLOCK_BYTES))) {
            audit->result->changed++;
            return;
        }
    }
    if (finding.error != 0) {
        finding.kind = HG_LOG_FINDING_UNREADABLE;
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNREADABLE);
    }
    hg_log_audit_report(audit, &finding);
}

void hg_log_audit_ring(struct hg_log_audit *audit)
{
    struct hg_log_audit_result *result = audit->result;
    uint32_t valid = 0;
    uint64_t newest = 0;
    int error = block_read(audit, audit->ring, HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES, HG_LOG_RING_OFFSET);
    for (uint32_t slot = 0; slot < HG_LOG_RING_BLOCKS; slot++) {
        const struct hg_log_write_header *header = &audit->ring[slot];
        /* Not all of it can be read: each block by itself. */
        if (error != 0 && block_read(audit, &audit->ring[slot], HG_LOG_BLOCK_BYTES,
                                     HG_LOG_RING_OFFSET + (uint64_t)slot * HG_LOG_BLOCK_BYTES) != 0)
            memset(&audit->ring[slot], 0xff, HG_LOG_BLOCK_BYTES);
        if (!ring_block_is_valid(audit, slot) && !hg_log_is_zero(header, HG_LOG_BLOCK_BYTES))
            ring_block_doubt(audit, slot);
        audit->ring_sequence[slot] = 0;
        if (!ring_block_is_valid(audit, slot))
            continue;
        valid++;
        audit->ring_sequence[slot] = header->sequence;
        result->durable = hg_max_u64(result->durable, hg_max_u64(header->sequence, header->durable_sequence));
        if (header->sequence <= newest)
            continue;
        newest = header->sequence;
        audit->bytes_total =
            (header->segment - result->superblock.tail_segment) * audit->geometry.segment_bytes +
            header->segment_offset + hg_log_write_bytes(header->payload_bytes);
    }
    if (audit->config->ops->ring != NULL)
        audit->config->ops->ring(audit->config->ctx, valid, newest, result->durable);
}

uint64_t hg_log_audit_ring_newest(struct hg_log_audit *audit)
{
    /* Into a piece of the window: the ring as it was when reading began is still needed. */
    struct hg_log_write_header *ring = (struct hg_log_write_header *)audit->window;
    uint64_t newest = 0;
    hg_log_audit_window_drop(audit);
    if (block_read(audit, ring, HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES, HG_LOG_RING_OFFSET) != 0)
        return 0;
    for (uint32_t slot = 0; slot < HG_LOG_RING_BLOCKS; slot++)
        if (hg_log_write_header_is_valid(&ring[slot], audit->geometry.log_uuid))
            newest = hg_max_u64(newest, hg_max_u64(ring[slot].sequence, ring[slot].durable_sequence));
    return newest;
}

/* ---- the window ---- */

uint64_t hg_log_audit_file_offset(const struct hg_log_audit *audit, uint64_t segment, uint32_t offset)
{
    return hg_log_segment_place(&audit->geometry, segment) + offset;
}

void hg_log_audit_window_drop(struct hg_log_audit *audit)
{
    audit->window_bytes = 0;
}

static void progress_tell(struct hg_log_audit *audit, uint64_t segment, uint32_t offset)
{
    uint64_t bytes =
        (segment - audit->result->superblock.tail_segment) * audit->geometry.segment_bytes + offset;
    if (audit->config->ops->progress != NULL)
        audit->config->ops->progress(audit->config->ctx, bytes, hg_max_u64(bytes, audit->bytes_total));
}

const uint8_t *hg_log_audit_at(struct hg_log_audit *audit, uint64_t segment, uint32_t offset, uint32_t bytes,
                               int *error)
{
    uint64_t at = hg_log_audit_file_offset(audit, segment, offset);
    uint64_t left = audit->geometry.segment_bytes - offset;
    uint64_t need = hg_min_u64(bytes, left);
    *error = 0;
    if (audit->window_bytes > 0 && at >= audit->window_offset &&
        at - audit->window_offset + need <= audit->window_bytes)
        return audit->window + (at - audit->window_offset);
    progress_tell(audit, segment, offset);
    audit->window_offset = at;
    audit->window_bytes = hg_min_u64(HG_LOG_AUDIT_WINDOW_BYTES, left);
    *error = block_read(audit, audit->window, (uint32_t)audit->window_bytes, at);
    if (*error == 0)
        return audit->window;
    audit->window_bytes = need; /* what is behind it may be what cannot be read */
    *error = block_read(audit, audit->window, (uint32_t)need, at);
    if (*error == 0)
        return audit->window;
    audit->window_bytes = 0;
    return NULL;
}
