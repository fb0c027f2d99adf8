/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_recovery.h"

/* One cell for each reach. */
#define ROW(settled, durable, beyond)                                                                        \
    {                                                                                                        \
        HG_LOG_VERDICT_##settled, HG_LOG_VERDICT_##durable, HG_LOG_VERDICT_##beyond                          \
    }
#define ALL(verdict) ROW(verdict, verdict, verdict)

enum hg_log_verdict hg_log_recovery_verdict(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                            enum hg_log_reach reach)
{
    /* A copy in the ring proves n <= D, so beyond it none can come up; it says the same as n <= D there. A
     * header of its own that is right beside another one in the ring proves nothing. */
    static const enum hg_log_verdict table[HG_LOG_FOUND_COUNT][HG_LOG_COPY_COUNT][HG_LOG_REACH_COUNT] = {
        [HG_LOG_FOUND_CHAINED] = {[HG_LOG_COPY_ABSENT] = ALL(PRESENT),
                                  [HG_LOG_COPY_UNREADABLE] = ALL(PRESENT),
                                  [HG_LOG_COPY_ONLY] = ALL(PRESENT),
                                  [HG_LOG_COPY_ROTTEN] = ALL(PRESENT),
                                  [HG_LOG_COPY_FITS] = ALL(PRESENT)},
        [HG_LOG_FOUND_UNCHAINED] = {[HG_LOG_COPY_ABSENT] = ALL(FORK),
                                    [HG_LOG_COPY_UNREADABLE] = ALL(FORK),
                                    [HG_LOG_COPY_ONLY] = ALL(FORK),
                                    [HG_LOG_COPY_ROTTEN] = ALL(FORK),
                                    [HG_LOG_COPY_FITS] = ALL(FORK)},
        [HG_LOG_FOUND_STALE] = {[HG_LOG_COPY_ABSENT] = ROW(CORRUPT, CORRUPT, END),
                                [HG_LOG_COPY_UNREADABLE] = ALL(UNREADABLE),
                                [HG_LOG_COPY_ONLY] = ALL(CORRUPT),
                                [HG_LOG_COPY_ROTTEN] = ALL(CORRUPT),
                                [HG_LOG_COPY_FITS] = ALL(PRESENT_COPY)},
        [HG_LOG_FOUND_ROTTEN] = {[HG_LOG_COPY_ABSENT] = ROW(MARKED, CORRUPT, TORN),
                                 [HG_LOG_COPY_UNREADABLE] = ROW(MARKED, UNREADABLE, UNREADABLE),
                                 [HG_LOG_COPY_ONLY] = ALL(CORRUPT),
                                 [HG_LOG_COPY_ROTTEN] = ROW(MARKED, CORRUPT, CORRUPT),
                                 [HG_LOG_COPY_FITS] = ALL(PRESENT_COPY)},
        [HG_LOG_FOUND_BAD] = {[HG_LOG_COPY_ABSENT] = ROW(CORRUPT, CORRUPT, TORN),
                              [HG_LOG_COPY_UNREADABLE] = ALL(UNREADABLE),
                              [HG_LOG_COPY_ONLY] = ALL(CORRUPT),
                              [HG_LOG_COPY_ROTTEN] = ROW(MARKED_COPY, CORRUPT, CORRUPT),
                              [HG_LOG_COPY_FITS] = ALL(PRESENT_COPY)},
    };
    hg_assert((uint32_t)write < HG_LOG_FOUND_COUNT && (uint32_t)copy < HG_LOG_COPY_COUNT &&
              (uint32_t)reach < HG_LOG_REACH_COUNT);
#ifdef HG_SEEDED_BUG_RING_IGNORED
    return table[write][HG_LOG_COPY_ABSENT][HG_LOG_REACH_BEYOND];
#else
    return table[write][copy][reach];
#endif
}

enum hg_log_verdict hg_log_verdict_unread(enum hg_log_verdict verdict)
{
    bool is_concluded =
        verdict == HG_LOG_VERDICT_CORRUPT || verdict == HG_LOG_VERDICT_TORN || verdict == HG_LOG_VERDICT_END;
    return is_concluded ? HG_LOG_VERDICT_UNREADABLE : verdict;
}

enum hg_log_reach hg_log_recovery_reach(uint64_t sequence, uint64_t durable, bool may_mark)
{
    if (sequence > durable)
        return HG_LOG_REACH_BEYOND;
    return may_mark && durable - sequence > HG_LOG_WRITES_UNFLUSHED_MAX ? HG_LOG_REACH_SETTLED
                                                                        : HG_LOG_REACH_DURABLE;
}

bool hg_log_payload_is_listed(const struct hg_log_write_header *header, const uint8_t *payload)
{
    uint32_t at = 0, count = 0;
    if (header->flags != 0)
        return false;
    for (; at < header->payload_bytes; count++) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + at);
        if (hg_batch_check_header(batch, header->payload_bytes - at) != HG_BATCH_REASON_OK)
            return false;
        uint32_t bytes = hg_batch_bytes(batch);
        bool is_whole = hg_log_write_range_is_whole(header, payload, at, bytes);
        if (!is_whole && ((batch->flags & HG_BATCH_LOCAL) != 0 || !hg_batch_chain_is_right(batch)))
            return false;
        at += bytes;
    }
    return count == header->batch_count;
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
    if (!header_has_room(walk, header))
        return HG_LOG_FOUND_BAD;
    if (!hg_log_write_payload_is_valid(header, at + HG_LOG_BLOCK_BYTES)) {
        bool is_listed =
            header_is_chained(walk, header) && hg_log_payload_is_listed(header, at + HG_LOG_BLOCK_BYTES);
        return is_listed ? HG_LOG_FOUND_ROTTEN : HG_LOG_FOUND_BAD;
    }
    return header_is_chained(walk, header) ? HG_LOG_FOUND_CHAINED : HG_LOG_FOUND_UNCHAINED;
}

enum hg_log_copy_found hg_log_walk_judge_copy(const struct hg_log_walk *walk,
                                              const struct hg_log_write_header *copy, const uint8_t *at)
{
    if (copy == NULL)
        return HG_LOG_COPY_ABSENT;
    const struct hg_log_write_header *own = (const struct hg_log_write_header *)at;
    bool is_other = hg_log_write_header_is_valid(own, walk->log_uuid) && header_is_expected(walk, own) &&
                    own->crc32c != copy->crc32c;
    if (!header_is_expected(walk, copy) || !header_has_room(walk, copy) || !header_is_chained(walk, copy))
        return HG_LOG_COPY_ONLY;
    if (hg_log_write_payload_is_valid(copy, at + HG_LOG_BLOCK_BYTES))
        return HG_LOG_COPY_FITS;
    return !is_other && hg_log_payload_is_listed(copy, at + HG_LOG_BLOCK_BYTES) ? HG_LOG_COPY_ROTTEN
                                                                                : HG_LOG_COPY_ONLY;
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
