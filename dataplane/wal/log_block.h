/* SPDX-License-Identifier: Apache-2.0
 *
 * The local blocks of a log: superblocks and write headers. Pure checks and sealing, shared by the log,
 * recovery and the dump tool. A block may come from anywhere: nothing in it is believed before its check says
 * true.
 */
#ifndef HG_WAL_LOG_BLOCK_H
#define HG_WAL_LOG_BLOCK_H

#include "dataplane/wal/log.h"

static inline bool hg_log_is_zero(const void *data, uint64_t bytes)
{
    const uint8_t *at = (const uint8_t *)data;
    return bytes == 0 || (at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0);
}

/* NULL when fine, else what is wrong with the geometry, for a message. */
const char *hg_log_geometry_problem(const struct hg_log_geometry *geometry);
void hg_log_geometry_of(const struct hg_log_superblock *superblock, struct hg_log_geometry *geometry);

/* Bytes that a write can take at most: header and payload. */
uint32_t hg_log_write_bytes_max(uint32_t write_payload_bytes_max);
/* Bytes that a write of this payload takes. */
uint32_t hg_log_write_bytes(uint32_t payload_bytes);

void hg_log_superblock_seal(struct hg_log_superblock *superblock, uint16_t copy);
/* Both copies of the pair, sealed. `superblock` may be one of them. */
void hg_log_superblock_pair_fill(struct hg_log_superblock superblocks[HG_LOG_SUPERBLOCK_COPIES],
                                 uint32_t pair, const struct hg_log_superblock *superblock);
/* Magic, version, CRC, its own copy number and a geometry within the limits. */
bool hg_log_superblock_is_valid(const struct hg_log_superblock *superblock, uint16_t copy);
/* `superblocks`: the four blocks. Returns the index of a copy of the newest generation that at least two
 * copies agree on, or -1. One copy alone may be an update that never finished. */
int hg_log_superblock_choose(const struct hg_log_superblock superblocks[HG_LOG_SUPERBLOCK_COPIES]);

/* Sets block_count, block_crc32c and crc32c; everything else is set, and the payload is padded with zeros. */
void hg_log_write_header_seal(struct hg_log_write_header *header, const uint8_t *payload);
/* Sets block_crc32c of payload blocks `first` to end - 1, which do not change any more; log_uuid and sequence
 * are set. */
void hg_log_write_blocks_sum(struct hg_log_write_header *header, const uint8_t *payload, uint32_t first,
                             uint32_t end);
/* As hg_log_write_header_seal, where those of the first `summed` blocks are set already. */
void hg_log_write_header_seal_rest(struct hg_log_write_header *header, const uint8_t *payload,
                                   uint32_t summed);
/* Magic, version, CRC, that it belongs to this log, and its sizes. */
bool hg_log_write_header_is_valid(const struct hg_log_write_header *header, const uint8_t log_uuid[16]);
/* The payload blocks against a valid header. */
bool hg_log_write_payload_is_valid(const struct hg_log_write_header *header, const uint8_t *payload);
/* The first payload block from `index` on that does not match, or block_count. */
uint32_t hg_log_write_payload_first_bad(const struct hg_log_write_header *header, const uint8_t *payload,
                                        uint32_t index);
/* All blocks of [offset, offset + bytes) of the payload are as they were written. */
bool hg_log_write_range_is_whole(const struct hg_log_write_header *header, const uint8_t *payload,
                                 uint32_t offset, uint32_t bytes);

/* Where the write after one of `write_bytes` at (segment, offset) is: deterministic, so that recovery knows.
 */
void hg_log_place_next(uint64_t segment_bytes, uint32_t write_bytes_max, uint32_t write_bytes,
                       uint64_t *segment, uint32_t *offset);

#endif
