/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_block.h"
#include "dataplane/wal/log_growth.h"

uint32_t hg_log_write_bytes(uint32_t payload_bytes)
{
    return HG_LOG_BLOCK_BYTES + (uint32_t)hg_align_up(payload_bytes, HG_LOG_BLOCK_BYTES);
}

uint32_t hg_log_write_bytes_max(uint32_t write_payload_bytes_max)
{
    return hg_log_write_bytes(write_payload_bytes_max);
}

const char *hg_log_geometry_problem(const struct hg_log_geometry *geometry)
{
    uint32_t payload_bytes = geometry->write_payload_bytes_max;
    if (payload_bytes < HG_LOG_BLOCK_BYTES || payload_bytes > HG_LOG_WRITE_PAYLOAD_BYTES_MAX ||
        payload_bytes % HG_LOG_BLOCK_BYTES != 0)
        return "the largest write payload must be a multiple of 4096 bytes, at most 2 MiB";
    if (geometry->segment_bytes % HG_LOG_BLOCK_BYTES != 0 || geometry->segment_bytes > (UINT64_C(1) << 31) ||
        geometry->segment_bytes < 2ull * hg_log_write_bytes_max(payload_bytes))
        return "a segment must be a multiple of 4096 bytes, hold two of the largest writes and be at most 2 "
               "GiB";
    if (geometry->segment_count < HG_LOG_SEGMENTS_MIN || geometry->segment_count > HG_LOG_SEGMENTS_MAX)
        return "a log must have at least 6 segments";
    return hg_log_growth_problem(&geometry->growth, geometry->segment_count);
}

void hg_log_geometry_of(const struct hg_log_superblock *superblock, struct hg_log_geometry *geometry)
{
    memset(geometry, 0, sizeof(*geometry));
    geometry->cluster = superblock->cluster;
    memcpy(geometry->log_uuid, superblock->log_uuid, sizeof(geometry->log_uuid));
    memcpy(geometry->node_uuid, superblock->node_uuid, sizeof(geometry->node_uuid));
    geometry->log_id = superblock->log_id;
    geometry->segment_bytes = superblock->segment_bytes;
    geometry->segment_count = superblock->segment_count;
    geometry->write_payload_bytes_max = superblock->write_payload_bytes_max;
    geometry->growth = superblock->growth;
}

static uint16_t superblock_version(const struct hg_log_superblock *superblock)
{
    return superblock->growth.count == 0 ? HG_LOG_VERSION : HG_LOG_VERSION_GROWN;
}

void hg_log_superblock_seal(struct hg_log_superblock *superblock, uint16_t copy)
{
    superblock->magic = HG_LOG_SUPERBLOCK_MAGIC;
    superblock->version = superblock_version(superblock);
    superblock->copy = copy;
    superblock->crc32c = hg_crc32c(0, superblock, offsetof(struct hg_log_superblock, crc32c));
}

void hg_log_superblock_pair_fill(struct hg_log_superblock superblocks[HG_LOG_SUPERBLOCK_COPIES],
                                 uint32_t pair, const struct hg_log_superblock *superblock)
{
    for (uint16_t copy = (uint16_t)(2 * pair); copy < 2 * pair + 2; copy++) {
        if (&superblocks[copy] != superblock)
            superblocks[copy] = *superblock;
        hg_log_superblock_seal(&superblocks[copy], copy);
    }
}

bool hg_log_superblock_is_valid(const struct hg_log_superblock *superblock, uint16_t copy)
{
    struct hg_log_geometry geometry;
    if (superblock->magic != HG_LOG_SUPERBLOCK_MAGIC ||
        superblock->version != superblock_version(superblock) || superblock->copy != copy ||
        superblock->generation == 0 || superblock->tail_sequence == 0)
        return false;
    if (superblock->crc32c != hg_crc32c(0, superblock, offsetof(struct hg_log_superblock, crc32c)))
        return false;
    hg_log_geometry_of(superblock, &geometry);
    return hg_log_geometry_problem(&geometry) == NULL;
}

int hg_log_superblock_choose(const struct hg_log_superblock superblocks[HG_LOG_SUPERBLOCK_COPIES])
{
    int chosen = -1;
    for (uint16_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++) {
        if (!hg_log_superblock_is_valid(&superblocks[i], i))
            continue;
        uint32_t copies = 0;
        for (uint16_t j = 0; j < HG_LOG_SUPERBLOCK_COPIES; j++)
            copies += hg_log_superblock_is_valid(&superblocks[j], j) &&
                      superblocks[j].generation == superblocks[i].generation;
        if (copies >= 2 && (chosen < 0 || superblocks[i].generation > superblocks[chosen].generation))
            chosen = i;
    }
    return chosen;
}

/* The seed ties a block to its log and its write: a block of an older write at the same place fails. */
static uint32_t block_seed(const struct hg_log_write_header *header)
{
    return hg_crc32c(hg_crc32c(0, header->log_uuid, sizeof(header->log_uuid)), &header->sequence,
                     sizeof(header->sequence));
}

void hg_log_write_blocks_sum(struct hg_log_write_header *header, const uint8_t *payload, uint32_t first,
                             uint32_t end)
{
    uint32_t seed = block_seed(header);
    hg_assert(end <= HG_LOG_WRITE_BLOCKS_MAX);
    for (uint32_t i = first; i < end; i++)
        header->block_crc32c[i] =
            hg_crc32c(seed, payload + (size_t)i * HG_LOG_BLOCK_BYTES, HG_LOG_BLOCK_BYTES);
}

void hg_log_write_header_seal(struct hg_log_write_header *header, const uint8_t *payload)
{
    hg_log_write_header_seal_rest(header, payload, 0);
}

void hg_log_write_header_seal_rest(struct hg_log_write_header *header, const uint8_t *payload,
                                   uint32_t summed)
{
    header->magic = HG_LOG_WRITE_MAGIC;
    header->version = HG_LOG_VERSION;
    header->block_count = (header->payload_bytes + HG_LOG_BLOCK_BYTES - 1) / HG_LOG_BLOCK_BYTES;
    hg_log_write_blocks_sum(header, payload, summed, header->block_count);
    header->crc32c = hg_crc32c(0, header, offsetof(struct hg_log_write_header, crc32c));
}

bool hg_log_write_header_is_valid(const struct hg_log_write_header *header, const uint8_t log_uuid[16])
{
    if (header->magic != HG_LOG_WRITE_MAGIC || header->version != HG_LOG_VERSION ||
        (header->flags & ~HG_LOG_WRITE_MOVED) != 0)
        return false;
    if ((header->flags & HG_LOG_WRITE_MOVED) != 0 &&
        (header->moved_sequence == 0 || header->moved_sequence >= header->sequence))
        return false;
    if (memcmp(header->log_uuid, log_uuid, sizeof(header->log_uuid)) != 0)
        return false;
    if (header->payload_bytes == 0 || header->payload_bytes > HG_LOG_WRITE_PAYLOAD_BYTES_MAX ||
        header->payload_bytes % HG_BATCH_ALIGN_BYTES != 0 || header->batch_count == 0 ||
        header->block_count != (header->payload_bytes + HG_LOG_BLOCK_BYTES - 1) / HG_LOG_BLOCK_BYTES)
        return false;
    if (header->sequence == 0 || header->durable_sequence >= header->sequence)
        return false;
    return header->crc32c == hg_crc32c(0, header, offsetof(struct hg_log_write_header, crc32c));
}

static uint32_t first_bad(const struct hg_log_write_header *header, const uint8_t *payload, uint32_t index,
                          uint32_t end)
{
    uint32_t seed = block_seed(header);
    while (index < end &&
           header->block_crc32c[index] ==
               hg_crc32c(seed, payload + (size_t)index * HG_LOG_BLOCK_BYTES, HG_LOG_BLOCK_BYTES))
        index++;
    return index;
}

uint32_t hg_log_write_payload_first_bad(const struct hg_log_write_header *header, const uint8_t *payload,
                                        uint32_t index)
{
    return first_bad(header, payload, index, header->block_count);
}

bool hg_log_write_payload_is_valid(const struct hg_log_write_header *header, const uint8_t *payload)
{
    return hg_log_write_payload_first_bad(header, payload, 0) == header->block_count;
}

bool hg_log_write_range_is_whole(const struct hg_log_write_header *header, const uint8_t *payload,
                                 uint32_t offset, uint32_t bytes)
{
    uint32_t first = offset / HG_LOG_BLOCK_BYTES, end = (offset + bytes - 1) / HG_LOG_BLOCK_BYTES + 1;
    return end <= header->block_count && first_bad(header, payload, first, end) == end;
}

void hg_log_place_next(uint64_t segment_bytes, uint32_t write_bytes_max, uint32_t write_bytes,
                       uint64_t *segment, uint32_t *offset)
{
    *offset += write_bytes;
    if ((uint64_t)*offset + write_bytes_max <= segment_bytes)
        return;
    *segment += 1;
    *offset = 0;
}
