/* SPDX-License-Identifier: Apache-2.0
 *
 * The audit of a log, beside what recovery makes of the same bytes: every block damaged in turn, blocks that
 * cannot be read, logs that change while they are read.
 */
#include "log_harness.h"

#include "dataplane/wal/log_audit.h"

#define FINDINGS_MAX 64
#define WRITES       90u
#define SEGMENTS     10u

static struct harness h;

/* ---- an audit of the harness's disk ---- */

struct audit {
    struct hg_log_finding findings[FINDINGS_MAX];
    uint32_t count;
    struct hg_log_audit_result result;
    uint64_t lsn_end[STREAMS];
    uint32_t batches;
    /* What goes wrong on the way. */
    uint64_t bad_offset, bad_end; /* cannot be read; 0, 0 = nothing */
    uint8_t *other;               /* what reads see until `pauses_other` pauses are over */
    uint32_t pauses, pauses_other;
};

static int audit_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    const struct audit *audit = ctx;
    CU_ASSERT_FATAL(offset + bytes <= h.disk->size_bytes);
    if (offset < audit->bad_end && offset + bytes > audit->bad_offset)
        return -EIO;
    bool is_other = audit->other != NULL && audit->pauses < audit->pauses_other;
    memcpy(data, (is_other ? audit->other : hg_disk_sim_bytes(h.disk)) + offset, bytes);
    return 0;
}

static void audit_pause(void *ctx)
{
    ((struct audit *)ctx)->pauses++;
}

static void audit_finding(void *ctx, const struct hg_log_finding *finding)
{
    struct audit *audit = ctx;
    CU_ASSERT_FATAL(audit->count < FINDINGS_MAX);
    audit->findings[audit->count++] = *finding;
}

static void audit_batch(void *ctx, const struct hg_log_write_header *header,
                        const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    struct audit *audit = ctx;
    CU_ASSERT(header->sequence > 0 && reason == HG_BATCH_REASON_OK);
    audit->batches++;
    if (batch->stream != 0)
        audit->lsn_end[batch->stream - 1] = batch->lsn_end;
}

static void audit_run(struct audit *audit)
{
    static const struct hg_log_audit_ops ops = {
        .read = audit_read, .pause = audit_pause, .finding = audit_finding, .batch = audit_batch};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = audit, .size_bytes = h.disk->size_bytes, .has_frames = true};
    hg_log_audit(&config, &audit->result);
    uint64_t count = 0;
    for (int severity = 0; severity < HG_LOG_SEVERITY_COUNT; severity++)
        count += audit->result.findings[severity];
    CU_ASSERT_EQUAL(count, audit->count);
}

static const struct hg_log_finding *audit_find(const struct audit *audit, enum hg_log_finding_kind kind)
{
    for (uint32_t i = 0; i < audit->count; i++)
        if (audit->findings[i].kind == kind)
            return &audit->findings[i];
    return NULL;
}

/* ---- a log that has been around its segments, closed ---- */

static void append_durable(uint32_t frames, uint32_t bytes_max)
{
    CU_ASSERT_FATAL(harness_append(&h, frames, bytes_max) != 0);
    hg_log_close_write(h.log);
    uint64_t last = hg_log_next_sequence(h.log) - 1;
    while (hg_log_durable_sequence(h.log) < last)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
}

/* `is_idle`: the ring has the copy of the last write, too. */
static void prepare(uint64_t seed, uint32_t writes, bool is_idle)
{
    harness_create(&h, seed, SEGMENTS);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < writes; i++) {
        append_durable(4, 6000);
        harness_release(&h, hg_log_durable_sequence(h.log) > 20 ? hg_log_durable_sequence(h.log) - 20 : 0);
        if (i % 8 == 0)
            harness_settle(&h);
    }
    if (is_idle)
        harness_settle(&h);
    harness_crash(&h, is_idle);
    hg_disk_sim_settle(h.disk);
}

/* ---- what each block is for ---- */

enum block_use { UNUSED, SUPERBLOCK, RING, HEADER, PAYLOAD };

struct block {
    enum block_use use;
    uint64_t sequence; /* of its write */
};

static void blocks_learn(struct block *blocks)
{
    const uint8_t *bytes = hg_disk_sim_bytes(h.disk);
    const struct hg_log_superblock *superblocks = (const struct hg_log_superblock *)bytes;
    const struct hg_log_superblock *superblock = &superblocks[hg_log_superblock_choose(superblocks)];
    uint64_t segment = superblock->tail_segment, sequence = superblock->tail_sequence;
    uint32_t offset = 0;
    memset(blocks, 0, h.disk->size_bytes / HG_LOG_BLOCK_BYTES * sizeof(*blocks));
    for (uint32_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++)
        blocks[i].use = SUPERBLOCK;
    for (uint32_t i = 0; i < HG_LOG_RING_BLOCKS; i++)
        blocks[HG_LOG_SUPERBLOCK_COPIES + i].use = RING;
    for (;; sequence++) {
        uint64_t at = HG_LOG_SEGMENTS_OFFSET + segment % SEGMENTS * SEGMENT_BYTES + offset;
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)(bytes + at);
        if (!hg_log_write_header_is_valid(header, h.geometry.log_uuid) || header->sequence != sequence)
            break;
        for (uint32_t i = 0; i <= header->block_count; i++)
            blocks[at / HG_LOG_BLOCK_BYTES + i] = (struct block){i == 0 ? HEADER : PAYLOAD, sequence};
        hg_log_place_next(SEGMENT_BYTES, hg_log_write_bytes_max(PAYLOAD_BYTES_MAX),
                          hg_log_write_bytes(header->payload_bytes), &segment, &offset);
    }
    CU_ASSERT_FATAL(superblock->tail_sequence > 1 && sequence > superblock->tail_sequence + 15);
}

static void disk_set(const uint8_t *image)
{
    memcpy(hg_disk_sim_bytes(h.disk), image, h.disk->size_bytes);
    hg_disk_sim_settle(h.disk);
}

/* Changes one bit, or zeros one sector. False: it was zero. */
static bool block_damage(uint64_t block, bool is_sector, struct hg_random *random)
{
    uint8_t *at = hg_disk_sim_bytes(h.disk) + block * HG_LOG_BLOCK_BYTES;
    uint8_t zeros[HG_DISK_SIM_SECTOR_BYTES] = {0};
    uint64_t bit = hg_random_below(random, HG_LOG_BLOCK_BYTES * 8ull);
    uint8_t *sector = at + bit / 8 / HG_DISK_SIM_SECTOR_BYTES * HG_DISK_SIM_SECTOR_BYTES;
    if (is_sector && memcmp(sector, zeros, sizeof(zeros)) == 0)
        return false;
    if (is_sector)
        memset(sector, 0, sizeof(zeros));
    else
        at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    hg_disk_sim_settle(h.disk);
    return true;
}

static bool is_named(const struct audit *audit, uint64_t block)
{
    uint64_t offset = block * HG_LOG_BLOCK_BYTES;
    for (uint32_t i = 0; i < audit->count; i++) {
        const struct hg_log_finding *finding = &audit->findings[i];
        if (finding->file_offset <= offset && offset < finding->file_offset + hg_max_u64(1, finding->bytes))
            return true;
    }
    return false;
}

/* What a start makes of it must be what the audit says, and never less than what was acknowledged. */
static void recovery_compare(const struct audit *audit)
{
    uint32_t before = hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    h.first = 0; /* an older superblock's tail may be in force */
    enum hg_log_state state = harness_recover(&h);
    CU_ASSERT_EQUAL(state, audit->result.outcome == HG_LOG_OUTCOME_OPENS ? HG_LOG_READY : HG_LOG_FAILED);
    CU_ASSERT_EQUAL(hg_log_is_corrupt(h.log), audit->result.outcome == HG_LOG_OUTCOME_CORRUPT);
    CU_ASSERT_EQUAL(hg_log_is_unusable(h.log), audit->result.outcome == HG_LOG_OUTCOME_UNUSABLE);
    CU_ASSERT_FALSE_FATAL(h.recovered_wrong);
    if (state == HG_LOG_READY) {
        CU_ASSERT_EQUAL(hg_log_next_sequence(h.log), audit->result.sequence_next);
        harness_check_recovered(&h);
        harness_check_reads(&h);
    } else {
        CU_ASSERT_EQUAL(before, hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes));
    }
    uint64_t promised = h.durable_promised;
    hg_log_close(h.log);
    h.log = NULL;
    hg_disk_sim_kill(h.disk);
    h.durable_promised = promised;
}

static void block_expect(const struct audit *audit, const struct block *block, uint64_t number)
{
    const struct hg_log_audit_result *result = &audit->result;
    CU_ASSERT_EQUAL(is_named(audit, number), block->use != UNUSED);
    switch (block->use) {
    case UNUSED:
        CU_ASSERT_EQUAL(audit->count, 0);
        CU_ASSERT_EQUAL(result->outcome, HG_LOG_OUTCOME_OPENS);
        break;
    case SUPERBLOCK: /* the older pair may be too old: its tail was recycled */
        CU_ASSERT_PTR_NOT_NULL(audit_find(audit, HG_LOG_FINDING_SUPERBLOCK_COPY));
        break;
    case RING:
        CU_ASSERT_EQUAL(audit->count, 1);
        CU_ASSERT_EQUAL(audit->findings[0].kind, HG_LOG_FINDING_RING_BLOCK);
        CU_ASSERT_EQUAL(result->outcome, HG_LOG_OUTCOME_OPENS);
        break;
    case HEADER: /* the ring has a copy of each */
        CU_ASSERT_EQUAL(audit->count, 1);
        CU_ASSERT_EQUAL(audit->findings[0].kind, HG_LOG_FINDING_HEADER);
        CU_ASSERT_EQUAL(audit->findings[0].sequence, block->sequence);
        CU_ASSERT_EQUAL(result->outcome, HG_LOG_OUTCOME_OPENS);
        break;
    case PAYLOAD:
        CU_ASSERT_EQUAL(audit->findings[0].kind, HG_LOG_FINDING_CORRUPT);
        CU_ASSERT_EQUAL(audit->findings[0].sequence, block->sequence);
        CU_ASSERT_EQUAL(audit->findings[0].payload_first, audit->findings[0].payload_last);
        CU_ASSERT_EQUAL(audit->findings[0].file_offset +
                            HG_LOG_BLOCK_BYTES * (1 + audit->findings[0].payload_first),
                        number * HG_LOG_BLOCK_BYTES);
        CU_ASSERT_EQUAL(result->outcome, HG_LOG_OUTCOME_CORRUPT);
        CU_ASSERT_EQUAL(result->sequence_next, h.durable_promised + 1); /* went on behind it */
        break;
    }
}

static void test_every_block(void)
{
    prepare(1, WRITES, true);
    uint64_t count = h.disk->size_bytes / HG_LOG_BLOCK_BYTES;
    struct block *blocks = calloc(count, sizeof(*blocks));
    uint8_t *image = malloc(h.disk->size_bytes);
    uint32_t seen[PAYLOAD + 1] = {0};
    struct hg_random random;
    hg_random_init(&random, 1);
    memcpy(image, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    blocks_learn(blocks);
    for (uint32_t is_sector = 0; is_sector < 2; is_sector++)
        for (uint64_t i = 0; i < count; i++) {
            struct audit audit = {.count = 0};
            disk_set(image);
            if (!block_damage(i, is_sector != 0, &random))
                continue;
            seen[blocks[i].use]++;
            audit_run(&audit);
            block_expect(&audit, &blocks[i], i);
            recovery_compare(&audit);
        }
    printf("%u superblocks, %u of the ring, %u headers, %u of payloads, %u unused ", seen[SUPERBLOCK],
           seen[RING], seen[HEADER], seen[PAYLOAD], seen[UNUSED]);
    free(blocks);
    free(image);
    harness_destroy(&h);
}

/* The last write was acknowledged, and nothing else knows of it yet: docs/disk-format.md says that it alone
 * is taken for a torn tail. All before it stays. */
static void test_last_write(void)
{
    prepare(2, WRITES + 1, false);
    uint64_t last = h.durable_promised, count = h.disk->size_bytes / HG_LOG_BLOCK_BYTES;
    struct block *blocks = calloc(count, sizeof(*blocks));
    uint8_t *image = malloc(h.disk->size_bytes);
    struct hg_random random;
    hg_random_init(&random, 2);
    memcpy(image, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    blocks_learn(blocks);
    uint32_t ended = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (blocks[i].use < HEADER || blocks[i].sequence + 1 < last)
            continue;
        struct audit audit = {.count = 0};
        disk_set(image);
        CU_ASSERT_FATAL(block_damage(i, false, &random));
        audit_run(&audit);
        h.durable_promised = last;
        if (audit.count == 0) {
            CU_ASSERT_EQUAL(blocks[i].sequence, last);
            CU_ASSERT_EQUAL(audit.result.sequence_next, last);
            CU_ASSERT_EQUAL(audit.result.end, HG_LOG_END_NOTHING);
            h.durable_promised = last - 1;
            ended++;
        }
        recovery_compare(&audit);
        if (audit.count == 0)
            break; /* the model has forgotten it */
    }
    CU_ASSERT_EQUAL(ended, 1);
    free(blocks);
    free(image);
    harness_destroy(&h);
}

/* ---- */

static void test_clean(void)
{
    prepare(3, WRITES, true);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    CU_ASSERT_EQUAL(audit.count, 0);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_OPENS);
    CU_ASSERT_EQUAL(audit.result.sequence_next, h.durable_promised + 1);
    CU_ASSERT_EQUAL(audit.result.sequence_next - audit.result.sequence_first, audit.result.writes);
    CU_ASSERT_EQUAL(audit.result.batches, audit.batches);
    CU_ASSERT_EQUAL(audit.result.ring_missing, 0);
    CU_ASSERT_EQUAL(audit.result.changed, 0);
    CU_ASSERT_EQUAL(audit.pauses, 0);
    for (uint32_t i = 0; i < STREAMS; i++)
        CU_ASSERT_EQUAL(audit.lsn_end[i], h.lsn[i]);
    recovery_compare(&audit);
    harness_destroy(&h);
}

static uint64_t offset_of_write(uint64_t sequence)
{
    for (uint64_t at = HG_LOG_SEGMENTS_OFFSET; at < h.disk->size_bytes; at += HG_LOG_BLOCK_BYTES) {
        const struct hg_log_write_header *header =
            (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + at);
        if (hg_log_write_header_is_valid(header, h.geometry.log_uuid) && header->sequence == sequence)
            return at;
    }
    CU_FAIL_FATAL("no such write");
    return 0;
}

/* All of a write is gone: its streams' gaps are named where they go on. */
static void test_hole(void)
{
    prepare(4, WRITES, true);
    uint64_t sequence = h.durable_promised - 12, at = offset_of_write(sequence);
    const struct hg_log_write_header *header =
        (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + at);
    uint32_t bytes = hg_log_write_bytes(header->payload_bytes);
    uint64_t stream = 0, lsn_first = 0, lsn_end = 0;
    for (size_t i = 0; i < h.count; i++)
        if (h.batches[i].sequence == sequence) {
            const struct hg_batch_header *batch = (const struct hg_batch_header *)h.batches[i].bytes;
            stream = batch->stream;
            lsn_first = batch->lsn_first;
            lsn_end = batch->lsn_end;
        }
    memset(hg_disk_sim_bytes(h.disk) + at, 0, bytes);
    harness_ring_erase(&h, sequence);
    hg_disk_sim_settle(h.disk);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    const struct hg_log_finding *corrupt = audit_find(&audit, HG_LOG_FINDING_CORRUPT);
    const struct hg_log_finding *hole = audit_find(&audit, HG_LOG_FINDING_HOLE);
    CU_ASSERT_EQUAL(audit.count, 2);
    CU_ASSERT_PTR_NOT_NULL_FATAL(corrupt);
    CU_ASSERT_PTR_NOT_NULL_FATAL(hole);
    CU_ASSERT(corrupt->sequence == sequence && corrupt->sequence_last == sequence && corrupt->bytes == bytes);
    CU_ASSERT(hole->stream == stream && hole->lsn_first == lsn_first && hole->lsn_end == lsn_end);
    CU_ASSERT_EQUAL(audit.result.sequence_next, h.durable_promised + 1);
    recovery_compare(&audit);
    harness_destroy(&h);
}

/* A header of the right place and number, of an earlier life: it is not that write, but says how long one
 * there is. */
static void test_earlier_life(void)
{
    prepare(4, 0, true);
    for (int life = 0; life < 2; life++) {
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        for (int i = 0; i < 6; i++)
            append_durable(4, 6000);
        harness_settle(&h);
        harness_crash(&h, true);
    }
    uint64_t sequence = h.durable_promised - 2;
    uint8_t *at = hg_disk_sim_bytes(h.disk) + offset_of_write(sequence);
    struct hg_log_write_header *header = (struct hg_log_write_header *)at;
    header->restarts--;
    hg_log_write_header_seal(header, at + HG_LOG_BLOCK_BYTES);
    harness_ring_erase(&h, sequence);
    hg_disk_sim_settle(h.disk);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    const struct hg_log_finding *lost = audit_find(&audit, HG_LOG_FINDING_LOST);
    CU_ASSERT_PTR_NOT_NULL_FATAL(lost);
    CU_ASSERT(lost->sequence == sequence && lost->bytes == hg_log_write_bytes(header->payload_bytes));
    CU_ASSERT_PTR_NULL(audit_find(&audit, HG_LOG_FINDING_HOLE)); /* its batches can still be read */
    recovery_compare(&audit);
    harness_destroy(&h);
}

/* A superblock that no log writes is refused before anything is computed with it. */
static void test_numbers(void)
{
    prepare(5, 3, true);
    struct hg_log_superblock *superblocks = (struct hg_log_superblock *)hg_disk_sim_bytes(h.disk);
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        superblocks[copy].tail_segment = UINT64_MAX - 1;
        hg_log_superblock_seal(&superblocks[copy], copy);
    }
    hg_disk_sim_settle(h.disk);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    CU_ASSERT_PTR_NOT_NULL(audit_find(&audit, HG_LOG_FINDING_NUMBERS));
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_UNUSABLE);
    recovery_compare(&audit);
    harness_destroy(&h);
}

/* Blocks that match their checksums, and a batch in them that does not. */
static void test_batch(void)
{
    for (int what = 0; what < 2; what++) {
        prepare(5, WRITES, true);
        uint64_t sequence = h.durable_promised, at = offset_of_write(sequence);
        uint8_t *bytes = hg_disk_sim_bytes(h.disk) + at;
        struct hg_log_write_header *header = (struct hg_log_write_header *)bytes;
        struct hg_batch_header *batch = (struct hg_batch_header *)(bytes + HG_LOG_BLOCK_BYTES);
        if ((batch->flags & HG_BATCH_LOCAL) != 0)
            batch = (struct hg_batch_header *)((uint8_t *)batch + hg_batch_bytes(batch));
        if (what == 0)
            ((uint8_t *)batch)[sizeof(*batch) + 3] ^= 1;
        else
            header->batch_count++;
        hg_log_write_header_seal(header, bytes + HG_LOG_BLOCK_BYTES);
        hg_disk_sim_settle(h.disk);
        struct audit audit = {.count = 0};
        static const struct hg_log_audit_ops ops = {
            .read = audit_read, .pause = audit_pause, .finding = audit_finding};
        struct hg_log_audit_config config = {.ops = &ops, .ctx = &audit, .size_bytes = h.disk->size_bytes};
        hg_log_audit(&config, &audit.result);
        const struct hg_log_finding *finding =
            audit_find(&audit, what == 0 ? HG_LOG_FINDING_BATCH : HG_LOG_FINDING_BATCH_COUNT);
        CU_ASSERT_PTR_NOT_NULL_FATAL(finding);
        CU_ASSERT_EQUAL(finding->sequence, sequence);
        CU_ASSERT_PTR_NOT_NULL(audit_find(&audit, HG_LOG_FINDING_RING_DIFFERS));
        if (what == 0)
            CU_ASSERT(finding->reason == HG_BATCH_REASON_DIGEST && finding->stream == batch->stream &&
                      finding->lsn_first == batch->lsn_first);
        CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_CORRUPT);
        harness_destroy(&h);
    }
}

/* A batch that is whole, in a write that is whole, but of another history. */
static void test_chain(void)
{
    prepare(6, 0, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    h.streams_active = 1;
    append_durable(4, 500);
    h.chain[0][5] ^= 1;
    append_durable(4, 500);
    harness_settle(&h);
    harness_crash(&h, true);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    CU_ASSERT_EQUAL(audit.count, 1);
    CU_ASSERT(audit.findings[0].kind == HG_LOG_FINDING_CHAIN && audit.findings[0].sequence == 2 &&
              audit.findings[0].stream == 1);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_CORRUPT);
    harness_destroy(&h);
}

static void test_unreadable(void)
{
    prepare(7, WRITES, true);
    uint64_t sequence = h.durable_promised - 9;
    struct audit audit = {.bad_offset = offset_of_write(sequence)};
    audit.bad_end = audit.bad_offset + 1;
    audit_run(&audit);
    const struct hg_log_finding *finding = audit_find(&audit, HG_LOG_FINDING_UNREADABLE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(finding);
    CU_ASSERT(finding->sequence == sequence && finding->error == -EIO);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_UNREADABLE);
    CU_ASSERT_EQUAL(audit.result.sequence_next, h.durable_promised + 1);
    audit = (struct audit){.bad_offset = 0, .bad_end = 1};
    audit_run(&audit);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_UNREADABLE);
    CU_ASSERT_EQUAL(audit.result.end, HG_LOG_END_NEVER);
    audit = (struct audit){.bad_offset = HG_LOG_RING_OFFSET + 5, .bad_end = HG_LOG_RING_OFFSET + 6};
    audit.other = NULL;
    audit_run(&audit);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_UNREADABLE);
    harness_destroy(&h);
}

/* A log in use: what was damaged at the first look is fine at the second. */
static void test_changed(void)
{
    prepare(8, WRITES, true);
    uint64_t places[] = {0, HG_LOG_RING_OFFSET, offset_of_write(h.durable_promised - 3) + HG_LOG_BLOCK_BYTES};
    for (uint32_t i = 0; i < HG_COUNT(places); i++) {
        struct audit audit = {.pauses_other = 2};
        audit.other = malloc(h.disk->size_bytes);
        memcpy(audit.other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
        audit.other[places[i] + 77] ^= 4;
        audit_run(&audit);
        CU_ASSERT_EQUAL(audit.count, 0);
        CU_ASSERT_EQUAL(audit.result.changed, 1);
        CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_OPENS);
        free(audit.other);
    }
    harness_destroy(&h);
}

/* The dataplane recycles the segments under the reader, who began before: nothing of that is damage. */
static void test_recycled(void)
{
    prepare(9, WRITES, true);
    struct audit audit = {.pauses_other = 1};
    audit.other = malloc(h.disk->size_bytes);
    memcpy(audit.other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    uint64_t durable = h.durable_promised;
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    uint64_t tail = hg_log_tail_sequence(h.log);
    const struct hg_log_write_header *oldest =
        (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + offset_of_write(tail));
    while (oldest->sequence == tail) {
        append_durable(4, 6000);
        harness_release(&h, hg_log_durable_sequence(h.log) > 10 ? hg_log_durable_sequence(h.log) - 10 : 0);
    }
    harness_settle(&h);
    /* What the reader sees first: superblocks and ring of before, segments of after. */
    memcpy(audit.other + HG_LOG_SEGMENTS_OFFSET, hg_disk_sim_bytes(h.disk) + HG_LOG_SEGMENTS_OFFSET,
           h.disk->size_bytes - HG_LOG_SEGMENTS_OFFSET);
    audit_run(&audit);
    CU_ASSERT_EQUAL(audit.count, 0);
    CU_ASSERT_EQUAL(audit.result.sequence_first, tail);
    CU_ASSERT_EQUAL(audit.result.recycled_writes, hg_log_tail_sequence(h.log) - tail);
    CU_ASSERT_EQUAL(audit.result.end, HG_LOG_END_LIVE);
    CU_ASSERT(audit.result.sequence_next > durable);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_OPENS);
    free(audit.other);
    harness_crash(&h, false);
    harness_destroy(&h);
}

static void test_no_log(void)
{
    prepare(10, 3, true);
    memset(hg_disk_sim_bytes(h.disk), 0, HG_LOG_RING_OFFSET);
    hg_disk_sim_settle(h.disk);
    struct audit audit = {.count = 0};
    audit_run(&audit);
    CU_ASSERT_PTR_NOT_NULL(audit_find(&audit, HG_LOG_FINDING_SUPERBLOCK));
    recovery_compare(&audit);
    struct hg_log_audit_ops ops = {.read = audit_read};
    struct hg_log_audit_config config = {.ops = &ops, .ctx = &audit, .size_bytes = 4096};
    hg_log_audit(&config, &audit.result);
    CU_ASSERT_EQUAL(audit.result.outcome, HG_LOG_OUTCOME_UNUSABLE);
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_audit", NULL, NULL);
    CU_add_test(suite, "clean", test_clean);
    CU_add_test(suite, "every block damaged in turn", test_every_block);
    CU_add_test(suite, "the last write", test_last_write);
    CU_add_test(suite, "a hole", test_hole);
    CU_add_test(suite, "a header of an earlier life", test_earlier_life);
    CU_add_test(suite, "numbers that no log reaches", test_numbers);
    CU_add_test(suite, "a batch that fails", test_batch);
    CU_add_test(suite, "another history", test_chain);
    CU_add_test(suite, "blocks that cannot be read", test_unreadable);
    CU_add_test(suite, "changed while it was read", test_changed);
    CU_add_test(suite, "recycled while it was read", test_recycled);
    CU_add_test(suite, "not a log", test_no_log);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
