/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_recovery.h"

enum hg_log_verdict hg_log_recovery_verdict(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                            bool is_beyond)
{
    /* Rows: what lies there, what the ring has; columns: n <= D, n > D. A copy in the ring proves n <= D, so
     * its right column cannot come up; it says the same as the left one. */
    static const enum hg_log_verdict table[HG_LOG_FOUND_COUNT][HG_LOG_COPY_COUNT][2] = {
        [HG_LOG_FOUND_CHAINED] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT},
                                  [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT},
                                  [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT, HG_LOG_VERDICT_PRESENT}},
        [HG_LOG_FOUND_UNCHAINED] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK},
                                    [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK},
                                    [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_FORK, HG_LOG_VERDICT_FORK}},
        [HG_LOG_FOUND_STALE] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_END},
                                [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_CORRUPT},
                                [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT_COPY,
                                                      HG_LOG_VERDICT_PRESENT_COPY}},
        [HG_LOG_FOUND_BAD] = {[HG_LOG_COPY_ABSENT] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_TORN},
                              [HG_LOG_COPY_ONLY] = {HG_LOG_VERDICT_CORRUPT, HG_LOG_VERDICT_CORRUPT},
                              [HG_LOG_COPY_FITS] = {HG_LOG_VERDICT_PRESENT_COPY,
                                                    HG_LOG_VERDICT_PRESENT_COPY}},
    };
    hg_assert((uint32_t)write < HG_LOG_FOUND_COUNT && (uint32_t)copy < HG_LOG_COPY_COUNT);
#ifdef HG_SEEDED_BUG_RING_IGNORED
    return table[write][HG_LOG_COPY_ABSENT][true];
#else
    return table[write][copy][is_beyond];
#endif
}

/* Of the block number of a segment's start: far more than any disk will ever write. */
#define BLOCKS_BITS 44

bool hg_log_superblock_is_absurd(const struct hg_log_superblock *superblock, uint32_t restarts_max)
{
    uint64_t segment_blocks = superblock->segment_bytes / HG_LOG_BLOCK_BYTES;
    return superblock->tail_segment > (UINT64_C(1) << BLOCKS_BITS) / segment_blocks ||
           superblock->tail_sequence > UINT64_MAX / 4 || restarts_max == UINT32_MAX ||
           !hg_log_holes_are_valid(superblock);
}

static bool header_is_expected(const struct hg_log_walk *walk, const struct hg_log_write_header *header)
{
    return header->sequence == walk->sequence && header->segment == walk->segment &&
           header->segment_offset == walk->offset && header->restarts >= walk->previous_restarts;
}

static bool header_has_room(const struct hg_log_walk *walk, const struct hg_log_write_header *header)
{
    uint32_t bytes = hg_log_write_bytes(header->payload_bytes);
    return bytes <= walk->write_bytes_max && bytes <= walk->segment_bytes - walk->offset;
}

static bool header_is_chained(const struct hg_log_walk *walk, const struct hg_log_write_header *header)
{
    if (walk->has_previous)
        return header->previous_crc32c == walk->previous_crc32c;
    return walk->sequence > 1 || header->previous_crc32c == 0;
}

uint32_t hg_log_walk_bytes(const struct hg_log_walk *walk, const uint8_t *at,
                           const struct hg_log_write_header *copy)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    uint32_t bytes = HG_LOG_BLOCK_BYTES;
    if (hg_log_write_header_is_valid(header, walk->log_uuid) && header_is_expected(walk, header) &&
        header_has_room(walk, header))
        bytes = hg_log_write_bytes(header->payload_bytes);
    if (copy != NULL && header_has_room(walk, copy))
        bytes = (uint32_t)hg_max_u64(bytes, hg_log_write_bytes(copy->payload_bytes));
    return bytes;
}

enum hg_log_write_found hg_log_walk_judge(const struct hg_log_walk *walk, const uint8_t *at)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    if (!hg_log_write_header_is_valid(header, walk->log_uuid))
        return HG_LOG_FOUND_BAD;
    if (!header_is_expected(walk, header))
        return HG_LOG_FOUND_STALE;
    if (!header_has_room(walk, header) || !hg_log_write_payload_is_valid(header, at + HG_LOG_BLOCK_BYTES))
        return HG_LOG_FOUND_BAD;
    return header_is_chained(walk, header) ? HG_LOG_FOUND_CHAINED : HG_LOG_FOUND_UNCHAINED;
}

enum hg_log_copy_found hg_log_walk_judge_copy(const struct hg_log_walk *walk,
                                              const struct hg_log_write_header *copy, const uint8_t *at)
{
    if (copy == NULL)
        return HG_LOG_COPY_ABSENT;
    bool fits = header_is_expected(walk, copy) && header_has_room(walk, copy) &&
                header_is_chained(walk, copy) && hg_log_write_payload_is_valid(copy, at + HG_LOG_BLOCK_BYTES);
    return fits ? HG_LOG_COPY_FITS : HG_LOG_COPY_ONLY;
}

void hg_log_walk_pass(struct hg_log_walk *walk, const struct hg_log_hole *hole)
{
    walk->has_previous = false;
    walk->sequence = hole->sequence_last + 1;
    walk->segment = hole->next_segment;
    walk->offset = hole->next_offset;
}

void hg_log_walk_take(struct hg_log_walk *walk, const struct hg_log_write_header *header)
{
    walk->has_previous = true;
    walk->previous_crc32c = header->crc32c;
    walk->previous_restarts = header->restarts;
    hg_log_place_next(walk->segment_bytes, walk->write_bytes_max, hg_log_write_bytes(header->payload_bytes),
                      &walk->segment, &walk->offset);
    walk->sequence++;
}
