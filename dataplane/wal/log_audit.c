/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk of an audit: the writes from the tail on, each judged by recovery's table, and what comes behind
 * one that is damaged.
 */
#include "dataplane/wal/log_audit_internal.h"
#include "dataplane/wal/log_hole.h"

#include <stdlib.h>
#include <string.h>

#define RAW_BYTES      hg_align_up(HG_FRAME_BYTES_MAX, HG_LOG_BLOCK_BYTES)
#define UNREADABLE_MAX 64u /* blocks, in the search for what comes next */

static const struct {
    enum hg_log_severity severity;
    const char *name;
    const char *text;
} kinds[HG_LOG_FINDING_COUNT] = {
#define HG_X(name, severity, text) [HG_LOG_FINDING_##name] = {HG_LOG_SEVERITY_##severity, #name, text},
    HG_LOG_FINDINGS(HG_X)
#undef HG_X
};

enum hg_log_severity hg_log_finding_severity(enum hg_log_finding_kind kind)
{
    return kinds[kind].severity;
}

const char *hg_log_finding_name(enum hg_log_finding_kind kind)
{
    return kinds[kind].name;
}

const char *hg_log_finding_text(enum hg_log_finding_kind kind)
{
    return kinds[kind].text;
}

void hg_log_audit_report(struct hg_log_audit *audit, const struct hg_log_finding *finding)
{
    audit->result->findings[hg_log_finding_severity(finding->kind)]++;
    if (audit->config->ops->finding != NULL)
        audit->config->ops->finding(audit->config->ctx, finding);
}

void hg_log_audit_refuse(struct hg_log_audit *audit, enum hg_log_outcome outcome)
{
    if (audit->result->outcome == HG_LOG_OUTCOME_OPENS)
        audit->result->outcome = outcome; /* a start stops at the first */
}

struct hg_log_finding hg_log_audit_finding_here(const struct hg_log_audit *audit,
                                                enum hg_log_finding_kind kind)
{
    const struct hg_log_walk *walk = &audit->walk;
    return (struct hg_log_finding){.kind = kind,
                                   .file_offset =
                                       hg_log_audit_file_offset(audit, walk->segment, walk->offset),
                                   .sequence = walk->sequence,
                                   .sequence_last = walk->sequence,
                                   .segment = walk->segment,
                                   .segment_offset = walk->offset,
                                   .payload_first = 1};
}

/* ---- one write ---- */

static const struct hg_log_write_header *ring_copy(const struct hg_log_audit *audit)
{
    uint64_t slot = audit->walk.sequence % HG_LOG_RING_BLOCKS;
    return audit->ring_sequence[slot] == audit->walk.sequence ? &audit->ring[slot] : NULL;
}

static void durable_learn(struct hg_log_audit *audit, const struct hg_log_write_header *header)
{
    if (hg_log_write_header_is_valid(header, audit->geometry.log_uuid))
        audit->result->durable = hg_max_u64(audit->result->durable, header->durable_sequence);
}

/* All of the expected write that is needed to judge it, in memory. NULL: *error. */
static const uint8_t *write_at(struct hg_log_audit *audit, int *error)
{
    const struct hg_log_walk *walk = &audit->walk;
    const uint8_t *at = hg_log_audit_at(audit, walk->segment, walk->offset, HG_LOG_BLOCK_BYTES, error);
    if (at == NULL)
        return NULL;
    durable_learn(audit, (const struct hg_log_write_header *)at);
    return hg_log_audit_at(audit, walk->segment, walk->offset, hg_log_walk_bytes(walk, at, ring_copy(audit)),
                           error);
}

/* Whether the expected write should be read again before it is called damaged. It may be another one by then.
 */
static bool doubt(struct hg_log_audit *audit)
{
    if (audit->doubt_sequence != audit->walk.sequence)
        audit->doubt_tries = 0;
    audit->doubt_sequence = audit->walk.sequence;
    if (++audit->doubt_tries >= HG_LOG_AUDIT_TRIES)
        return false;
    hg_log_audit_pause(audit);
    hg_log_audit_window_drop(audit);
    if (hg_log_audit_tail_moved(audit))
        hg_log_audit_streams_forget(audit);
    return true;
}

static void write_take(struct hg_log_audit *audit, const struct hg_log_write_header *header,
                       const uint8_t *payload)
{
    const struct hg_log_audit_ops *ops = audit->config->ops;
    const struct hg_log_write_header *copy = ring_copy(audit);
    audit->result->changed += audit->doubt_sequence == header->sequence && copy != header;
    if (copy != NULL && copy->crc32c != header->crc32c) {
        struct hg_log_finding finding = hg_log_audit_finding_here(audit, HG_LOG_FINDING_RING_DIFFERS);
        finding.index = (uint32_t)(header->sequence % HG_LOG_RING_BLOCKS);
        hg_log_audit_report(audit, &finding);
    }
    if (ops->write != NULL)
        ops->write(audit->config->ctx, header);
    if ((header->flags & HG_LOG_WRITE_MOVED) == 0) /* else they count where they were */
        hg_log_audit_batches(audit, header, payload);
    if (ops->write_end != NULL)
        ops->write_end(audit->config->ctx, header);
    audit->result->writes++;
    audit->result->payload_bytes += header->payload_bytes;
    hg_log_walk_take(&audit->walk, header);
}

/* ---- what is damaged, and what comes behind it ---- */

/* The next header of ours behind the expected write that lies where it says it does. */
static const struct hg_log_write_header *resync_find(struct hg_log_audit *audit, uint64_t *segment,
                                                     uint32_t *offset)
{
    const struct hg_log_walk *walk = &audit->walk;
    uint32_t unreadable = 0;
    *segment = walk->segment;
    *offset = walk->offset;
    for (;;) {
        *offset += HG_LOG_BLOCK_BYTES;
        if (*offset >= audit->geometry.segment_bytes) {
            *offset = 0;
            *segment += 1;
        }
        if (*segment - audit->tail_segment >= audit->geometry.segment_count)
            return NULL;
        int error;
        const uint8_t *at = hg_log_audit_at(audit, *segment, *offset, HG_LOG_BLOCK_BYTES, &error);
        if (at == NULL && ++unreadable == UNREADABLE_MAX)
            return NULL;
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
        if (at != NULL && hg_log_write_header_is_valid(header, audit->geometry.log_uuid) &&
            header->segment == *segment && header->segment_offset == *offset &&
            header->sequence > walk->sequence &&
            !(walk->has_previous && header->restarts < walk->previous_restarts))
            return header;
    }
}

/* Nothing whole comes behind it: a start that passes over it goes on in a segment of its own. */
static void next_beyond(const struct hg_log_audit *audit, struct hg_log_finding *finding)
{
    uint64_t writes = finding->sequence_last - finding->sequence + 1;
    uint64_t segment_writes = audit->geometry.segment_bytes / (2 * HG_LOG_BLOCK_BYTES);
    uint64_t room = (audit->geometry.segment_bytes - finding->segment_offset) / (2 * HG_LOG_BLOCK_BYTES);
    uint64_t more = writes > room ? (writes - room + segment_writes - 1) / segment_writes : 0;
    finding->next_segment = finding->segment + 1 + more;
    finding->next_offset = 0;
    finding->has_next =
        more < (1u << 24) && finding->next_segment - audit->tail_segment < audit->geometry.segment_count;
}

/* Where the damaged write ends is not known: goes on at the next one that is there. False: there is none. */
static bool resync(struct hg_log_audit *audit, struct hg_log_finding *finding)
{
    uint64_t segment;
    uint32_t offset;
    const struct hg_log_write_header *header = resync_find(audit, &segment, &offset);
    if (header == NULL) {
        finding->sequence_last = hg_max_u64(audit->walk.sequence, audit->result->durable);
        next_beyond(audit, finding);
        audit->damaged_sequence = finding->sequence_last;
        hg_log_audit_report(audit, finding);
        audit->result->end = HG_LOG_END_DAMAGE;
        return false;
    }
    finding->sequence_last = header->sequence - 1;
    finding->has_next = true;
    finding->next_segment = segment;
    finding->next_offset = offset;
    finding->bytes =
        (segment - audit->walk.segment) * audit->geometry.segment_bytes + offset - audit->walk.offset;
    audit->damaged_sequence = finding->sequence_last;
    hg_log_audit_report(audit, finding);
    audit->walk.sequence = header->sequence;
    audit->walk.segment = segment;
    audit->walk.offset = offset;
    audit->walk.has_previous = false;
    return true;
}

/* The header that says how long the expected write is, if its own or the ring's copy can be used; NULL else.
 */
static const struct hg_log_write_header *extent_find(const struct hg_log_audit *audit, const uint8_t *at)
{
    const struct hg_log_write_header *headers[2] = {(const struct hg_log_write_header *)at, ring_copy(audit)};
    for (int i = 0; i < 2; i++) {
        const struct hg_log_write_header *header = headers[i];
        if (header != NULL && hg_log_write_header_is_valid(header, audit->geometry.log_uuid) &&
            header->sequence == audit->walk.sequence && header->segment == audit->walk.segment &&
            header->segment_offset == audit->walk.offset &&
            hg_log_write_bytes(header->payload_bytes) <=
                hg_min_u64(audit->walk.write_bytes_max, audit->geometry.segment_bytes - audit->walk.offset))
            return header;
    }
    return NULL;
}

static void payload_judge(const struct hg_log_write_header *header, const uint8_t *payload,
                          struct hg_log_finding *finding)
{
    uint32_t first = hg_log_write_payload_first_bad(header, payload, 0);
    if (first == header->block_count)
        return;
    finding->payload_first = finding->payload_last = first;
    for (uint32_t i = first; i < header->block_count;
         i = hg_log_write_payload_first_bad(header, payload, i + 1))
        finding->payload_last = i;
}

/* `at`: the expected write, or NULL where it cannot be read. False: the walk ends here. */
static bool damage_take(struct hg_log_audit *audit, struct hg_log_finding *finding, const uint8_t *at)
{
    const struct hg_log_write_header *found = extent_find(audit, at), *header = audit->extent;
    int error;
    if (found == NULL)
        return resync(audit, finding);
    memcpy(audit->extent, found, sizeof(*audit->extent));
    finding->bytes = hg_log_write_bytes(header->payload_bytes);
    finding->has_next = true;
    finding->next_segment = audit->walk.segment;
    finding->next_offset = audit->walk.offset;
    hg_log_place_next(audit->walk.segment_bytes, audit->walk.write_bytes_max, (uint32_t)finding->bytes,
                      &finding->next_segment, &finding->next_offset);
    if (at != NULL) /* what was judged may have been its first block only */
        at =
            hg_log_audit_at(audit, audit->walk.segment, audit->walk.offset, (uint32_t)finding->bytes, &error);
    audit->damaged_sequence = audit->walk.sequence;
    if (at != NULL)
        payload_judge(header, at + HG_LOG_BLOCK_BYTES, finding);
    hg_log_audit_report(audit, finding);
    if (at != NULL)
        hg_log_audit_batches_left(audit, header, at + HG_LOG_BLOCK_BYTES);
    hg_log_walk_take(&audit->walk, header);
    return true;
}

static bool unreadable_take(struct hg_log_audit *audit, int error)
{
    struct hg_log_finding finding = hg_log_audit_finding_here(audit, HG_LOG_FINDING_UNREADABLE);
    if (doubt(audit))
        return true;
    finding.error = error;
    hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNREADABLE);
    return damage_take(audit, &finding, NULL);
}

static bool corrupt_take(struct hg_log_audit *audit, enum hg_log_verdict verdict,
                         enum hg_log_write_found found, const uint8_t *at)
{
    enum hg_log_finding_kind kind = HG_LOG_FINDING_CORRUPT;
    if (doubt(audit))
        return true;
    if (verdict == HG_LOG_VERDICT_FORK)
        kind = HG_LOG_FINDING_FORK;
    else if (found == HG_LOG_FOUND_STALE)
        kind = HG_LOG_FINDING_LOST;
    struct hg_log_finding finding = hg_log_audit_finding_here(audit, kind);
    hg_log_audit_refuse(audit, HG_LOG_OUTCOME_CORRUPT);
    return damage_take(audit, &finding, at);
}

static bool copy_take(struct hg_log_audit *audit, const uint8_t *at)
{
    if (doubt(audit))
        return true;
    struct hg_log_finding finding = hg_log_audit_finding_here(audit, HG_LOG_FINDING_HEADER);
    finding.bytes = HG_LOG_BLOCK_BYTES;
    hg_log_audit_report(audit, &finding);
    write_take(audit, ring_copy(audit), at + HG_LOG_BLOCK_BYTES);
    return true;
}

/* ---- the end ---- */

/* Somebody writes it: what comes behind the newest write that was durable in the beginning is not looked at.
 */
static bool is_live(struct hg_log_audit *audit)
{
    return hg_log_audit_ring_newest(audit) > audit->durable_begin;
}

/* As recovery does: headers behind the end may prove that a write had been durable. */
static void evidence_search(struct hg_log_audit *audit)
{
    uint64_t bytes = 2ull * (HG_LOG_WRITES_UNFLUSHED_MAX + 2) * audit->walk.write_bytes_max;
    uint64_t left = hg_min_u64(bytes, audit->geometry.segment_bytes * audit->geometry.segment_count);
    uint64_t segment = audit->walk.segment;
    uint32_t offset = audit->walk.offset;
    audit->result->discarded_writes = 0;
    for (; left > 0; left -= hg_min_u64(left, HG_LOG_BLOCK_BYTES)) {
        int error;
        const uint8_t *at = hg_log_audit_at(audit, segment, offset, HG_LOG_BLOCK_BYTES, &error);
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
        if (at != NULL && header->magic == HG_LOG_WRITE_MAGIC &&
            hg_log_write_header_is_valid(header, audit->geometry.log_uuid) &&
            hg_log_audit_file_offset(audit, header->segment, header->segment_offset) ==
                hg_log_audit_file_offset(audit, segment, offset)) {
            audit->result->durable = hg_max_u64(audit->result->durable, header->durable_sequence);
            audit->result->discarded_writes +=
                header->sequence > audit->walk.sequence && header->restarts >= audit->walk.previous_restarts;
        }
        offset += HG_LOG_BLOCK_BYTES;
        if (offset == audit->geometry.segment_bytes) {
            offset = 0;
            segment++;
        }
    }
}

/* False: it is the end. */
static bool end_take(struct hg_log_audit *audit, enum hg_log_end end)
{
    evidence_search(audit);
    if (is_live(audit)) {
        audit->result->discarded_writes = 0;
        end = HG_LOG_END_LIVE;
    } else if (audit->walk.sequence <= audit->result->durable) {
        return true; /* judged again, now that more is known */
    }
    audit->result->end = end;
    return false;
}

/* ---- the walk ---- */

/* The copy of what was in a hole, checked as recovery does. False: it is not right. */
static bool copy_take_of(struct hg_log_audit *audit, const struct hg_log_hole *hole)
{
    uint64_t room =
        hg_min_u64(audit->walk.write_bytes_max, audit->geometry.segment_bytes - hole->copy_offset);
    int error;
    const uint8_t *at = hg_log_audit_at(audit, hole->copy_segment, hole->copy_offset, (uint32_t)room, &error);
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)at;
    if (at == NULL || !hg_log_hole_copy_is_right(hole, header, audit->geometry.log_uuid, (uint32_t)room))
        return false;
    memcpy(audit->extent, header, sizeof(*audit->extent));
    audit->extent->sequence = hole->sequence_first; /* for what is said of its batches */
    hg_log_audit_batches(audit, audit->extent, at + HG_LOG_BLOCK_BYTES);
    audit->result->writes++;
    return true;
}

/* The expected write is in a hole: lost, and that was accepted, or repaired. False: the walk is over. */
static bool hole_take(struct hg_log_audit *audit, const struct hg_log_hole *hole)
{
    struct hg_log_walk *walk = &audit->walk;
    struct hg_log_finding finding = hg_log_audit_finding_here(audit, HG_LOG_FINDING_LOSS);
    uint64_t segment_last = hg_log_hole_segment_last(hole);
    if (hole->sequence_first != walk->sequence || hole->segment != walk->segment ||
        hole->offset != walk->offset || segment_last - audit->tail_segment >= audit->geometry.segment_count) {
        finding.kind = HG_LOG_FINDING_NUMBERS;
        hg_log_audit_report(audit, &finding);
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_UNUSABLE);
        audit->result->end = HG_LOG_END_DAMAGE;
        return false;
    }
    finding.sequence_last = hole->sequence_last;
    finding.has_next = true;
    finding.next_segment = hole->next_segment;
    finding.next_offset = hole->next_offset;
    finding.bytes = (hole->next_segment - hole->segment) * audit->geometry.segment_bytes + hole->next_offset -
                    hole->offset;
    if (!hg_log_hole_is_repaired(hole)) {
        audit->lost_sequence = hole->sequence_last;
    } else if (copy_take_of(audit, hole)) {
        finding.kind =
            hole->kind == HG_LOG_HOLE_MOVED ? HG_LOG_FINDING_REPAIRED : HG_LOG_FINDING_REPAIRED_BATCHES;
    } else {
        finding.kind = HG_LOG_FINDING_CORRUPT;
        audit->damaged_sequence = hole->sequence_last;
        hg_log_audit_refuse(audit, HG_LOG_OUTCOME_CORRUPT);
    }
    audit->result->durable = hg_max_u64(audit->result->durable, hole->sequence_last);
    hg_log_audit_report(audit, &finding);
    hg_log_walk_pass(walk, hole);
    return true;
}

/* False: the walk is over. */
static bool step(struct hg_log_audit *audit)
{
    const struct hg_log_walk *walk = &audit->walk;
    enum hg_log_write_found found = HG_LOG_FOUND_STALE;
    enum hg_log_copy_found copy = HG_LOG_COPY_ABSENT;
    const uint8_t *at = NULL;
    bool is_full = walk->segment - audit->tail_segment >= audit->geometry.segment_count;
    if (walk->sequence > audit->durable_begin && walk->segment != audit->live_looked_segment) {
        audit->live_looked_segment = walk->segment;
        if (is_live(audit)) {
            audit->result->end = HG_LOG_END_LIVE;
            return false;
        }
    }
    const struct hg_log_hole *hole = hg_log_hole_of(&audit->result->superblock.holes, walk->sequence);
    if (hole != NULL)
        return hole_take(audit, hole);
    if (!is_full) {
        int error;
        at = write_at(audit, &error);
        if (at == NULL)
            return unreadable_take(audit, error);
        found = hg_log_walk_judge(walk, at);
        copy = hg_log_walk_judge_copy(walk, ring_copy(audit), at);
    }
    enum hg_log_verdict verdict = hg_log_recovery_verdict(
        found, copy, hg_log_recovery_reach(walk->sequence, audit->result->durable, false));
    switch (verdict) {
    case HG_LOG_VERDICT_PRESENT:
        write_take(audit, (const struct hg_log_write_header *)at, at + HG_LOG_BLOCK_BYTES);
        return true;
    case HG_LOG_VERDICT_PRESENT_COPY:
        return copy_take(audit, at);
    case HG_LOG_VERDICT_MARKED: /* whether other nodes have it, files don't say */
    case HG_LOG_VERDICT_MARKED_COPY:
    case HG_LOG_VERDICT_FORK:
    case HG_LOG_VERDICT_CORRUPT:
        return corrupt_take(audit, verdict, found, at);
    case HG_LOG_VERDICT_TORN:
        return end_take(audit, HG_LOG_END_NOTHING);
    case HG_LOG_VERDICT_END:
        return end_take(audit, is_full ? HG_LOG_END_FULL : HG_LOG_END_OLDER);
    case HG_LOG_VERDICT_UNREADABLE: /* of a copy in the ring, which counts as none here; the outcome is that
                                     */
        break;
    }
    hg_assert(!"a verdict");
    return false;
}

static void walk_run(struct hg_log_audit *audit)
{
    struct hg_log_audit_result *result = audit->result;
    const struct hg_log_superblock *superblock = &result->superblock;
    audit->walk = (struct hg_log_walk){.log_uuid = audit->geometry.log_uuid,
                                       .segment_bytes = audit->geometry.segment_bytes,
                                       .write_bytes_max =
                                           hg_log_write_bytes_max(audit->geometry.write_payload_bytes_max),
                                       .sequence = superblock->tail_sequence,
                                       .segment = superblock->tail_segment};
    audit->tail_segment = superblock->tail_segment;
    audit->durable_begin = result->durable;
    audit->live_looked_segment = UINT64_MAX;
    result->sequence_first = superblock->tail_sequence;
    while (step(audit))
        ;
    result->sequence_next = audit->walk.sequence;
    result->segment_next = audit->walk.segment;
    result->offset_next = audit->walk.offset;
    result->previous_crc32c = audit->walk.previous_crc32c;
    uint64_t end = hg_min_u64(audit->walk.sequence, audit->durable_begin + 1);
    uint64_t first =
        hg_max_u64(result->sequence_first, end > HG_LOG_RING_BLOCKS ? end - HG_LOG_RING_BLOCKS : 0);
    for (uint64_t sequence = first; sequence < end; sequence++)
        result->ring_missing += audit->ring_sequence[sequence % HG_LOG_RING_BLOCKS] != sequence &&
                                hg_log_hole_of(&superblock->holes, sequence) == NULL;
}

void hg_log_audit(const struct hg_log_audit_config *config, struct hg_log_audit_result *result)
{
    struct hg_log_audit *audit = calloc(1, sizeof(*audit));
    hg_assert(audit != NULL);
    memset(result, 0, sizeof(*result));
    result->end = HG_LOG_END_NEVER;
    audit->config = config;
    audit->result = result;
    audit->superblocks = aligned_alloc(HG_LOG_BLOCK_BYTES, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES);
    audit->ring = aligned_alloc(HG_LOG_BLOCK_BYTES, HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES);
    audit->extent = aligned_alloc(HG_LOG_BLOCK_BYTES, sizeof(*audit->extent));
    audit->window = aligned_alloc(HG_LOG_BLOCK_BYTES, HG_LOG_AUDIT_WINDOW_BYTES);
    audit->raw = aligned_alloc(HG_LOG_BLOCK_BYTES, RAW_BYTES);
    audit->streams = calloc(HG_LOG_AUDIT_STREAMS, sizeof(audit->streams[0]));
    hg_assert(audit->superblocks && audit->ring && audit->extent && audit->window && audit->raw &&
              audit->streams);
    memset(audit->superblocks, 0, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES);
    if (hg_log_audit_superblocks(audit)) {
        /* The tail only ever moves to a durable write. */
        uint64_t tail = result->superblock.tail_sequence;
        result->durable = tail > 1 ? tail : 0;
        for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
            if (hg_log_superblock_is_valid(&audit->superblocks[copy], copy))
                result->durable = hg_max_u64(result->durable, audit->superblocks[copy].durable_sequence);
        hg_log_audit_ring(audit);
        walk_run(audit);
    }
    free(audit->superblocks);
    free(audit->ring);
    free(audit->extent);
    free(audit->window);
    free(audit->raw);
    free(audit->streams);
    free(audit);
}
