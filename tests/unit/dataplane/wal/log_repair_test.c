/* SPDX-License-Identifier: Apache-2.0
 *
 * A durable write is corrupt here and whole elsewhere: it is fetched, proved, written to a new place and read
 * from there, over crashes and until its segment is used again. What is not proved is never written, what
 * nobody has is named, and nothing is ever changed in place.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_repair.h"
#include "log_harness.h"

static struct harness h;
static uint8_t *other; /* another node's log */
static uint32_t repaired_count;

static int other_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    (void)ctx;
    memcpy(data, other + offset, bytes);
    return 0;
}

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    (void)ctx;
    repaired_count +=
        finding->kind == HG_LOG_FINDING_REPAIRED || finding->kind == HG_LOG_FINDING_REPAIRED_BATCHES;
}

static struct hg_log_audit_result audit(void)
{
    static const struct hg_log_audit_ops ops = {.read = harness_device_read, .finding = finding_take};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = &h, .size_bytes = h.disk->size_bytes, .has_frames = true};
    struct hg_log_audit_result result;
    repaired_count = 0;
    hg_log_audit(&config, &result);
    return result;
}

/* Writes with several batches each, all in the ring, closed; another node has the same. */
static void prepare(uint64_t seed, uint32_t writes)
{
    harness_create(&h, seed, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < writes; i++) {
        for (uint32_t batch = 0; batch < 3; batch++)
            CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        harness_settle(&h);
    }
    harness_crash(&h, true);
    other = malloc(h.disk->size_bytes);
    memcpy(other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
}

static void finish(void)
{
    harness_destroy(&h);
    free(other);
}

static uint64_t offset_of(uint64_t sequence)
{
    return harness_offset_in(&h, other, sequence);
}

static uint32_t bytes_of(uint64_t sequence)
{
    return hg_log_write_bytes(harness_write_in(&h, other, sequence)->payload_bytes);
}

static void flip(uint64_t offset)
{
    hg_disk_sim_bytes(h.disk)[offset] ^= 1;
    hg_disk_sim_settle(h.disk);
}

/* The write is gone: the device never did it, and the ring has long forgotten it. */
static void wipe(uint64_t sequence)
{
    memset(hg_disk_sim_bytes(h.disk) + offset_of(sequence), 0, bytes_of(sequence));
    harness_ring_erase(&h, sequence);
    hg_disk_sim_settle(h.disk);
}

/* 0 when it was repaired; what is against it else, which changes nothing. */
static const char *repair(uint64_t sequence, bool has_other, struct hg_log_repair_facts *facts)
{
    const char *why;
    uint32_t before = hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    struct hg_log_repair *repair =
        hg_log_repair_begin(&harness_device_ops, &h, h.disk->size_bytes, sequence, &why);
    if (repair == NULL)
        return why;
    if (has_other)
        hg_log_repair_take(repair, other_read, NULL, h.disk->size_bytes);
    why = hg_log_repair_problem(repair, facts);
    CU_ASSERT_EQUAL(before, hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes));
    if (why != NULL)
        why = "missing";
    else if (hg_log_repair_write(repair) != 0)
        why = "device";
    hg_log_repair_free(repair);
    return why;
}

/* Everything that was ever appended is there, with the same bytes and in the order of each stream. */
static void all_is_there(bool in_order)
{
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    if (in_order) {
        CU_ASSERT_FALSE(h.recovered_wrong);
        CU_ASSERT_EQUAL(h.recovered, h.count);
        harness_check_reads(&h);
    }
    uint64_t lsn[STREAMS] = {1, 1, 1};
    for (uint64_t sequence = 1; sequence <= hg_log_durable_sequence(h.log); sequence++) {
        const uint8_t *payload;
        uint32_t bytes;
        int result;
        while ((result = hg_log_at(h.log, sequence, &payload, &bytes)) == 0)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        CU_ASSERT_EQUAL_FATAL(result, 1);
        for (uint32_t offset = 0; offset < bytes;) {
            const struct hg_batch_header *header = (const struct hg_batch_header *)(payload + offset);
            CU_ASSERT_EQUAL_FATAL(hg_batch_verify(header, bytes - offset), HG_BATCH_REASON_OK);
            if ((header->flags & HG_BATCH_LOCAL) == 0) {
                CU_ASSERT_EQUAL(header->lsn_first, lsn[header->stream - 1]);
                lsn[header->stream - 1] = header->lsn_end;
            }
            offset += hg_batch_bytes(header);
        }
    }
    for (uint32_t i = 0; i < STREAMS; i++)
        CU_ASSERT_EQUAL(lsn[i], h.lsn[i]);
}

static void still_there(bool in_order)
{
    for (int start = 0; start < 2; start++) {
        all_is_there(in_order);
        CU_ASSERT_FATAL(harness_append(&h, 4, 1500) != 0);
        harness_settle(&h);
        harness_crash(&h, true);
    }
    struct hg_log_audit_result result = audit();
    CU_ASSERT_EQUAL(result.outcome, HG_LOG_OUTCOME_OPENS);
    CU_ASSERT_EQUAL(result.findings[HG_LOG_SEVERITY_DAMAGED], 0);
    CU_ASSERT(repaired_count > 0);
}

/* Each block of a write in turn, of the table at the start and of one in the middle. */
static void test_blocks(void)
{
    static const uint64_t sequences[] = {1, 6};
    struct hg_log_repair_facts facts;
    for (size_t i = 0; i < HG_COUNT(sequences); i++) {
        prepare(1 + i, 12);
        uint32_t blocks = bytes_of(sequences[i]) / HG_LOG_BLOCK_BYTES;
        finish();
        for (uint32_t block = 1; block < blocks; block++) {
            prepare(1 + i, 12);
            uint64_t at = offset_of(sequences[i]) + (uint64_t)block * HG_LOG_BLOCK_BYTES;
            flip(at + 1000);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_FAILED);
            harness_crash(&h, false);
            const char *why = repair(0, true, &facts);
            if (sequences[i] == 1 && why != NULL) { /* the table itself: nobody else has it */
                finish();
                continue;
            }
            CU_ASSERT_PTR_NULL_FATAL(why);
            CU_ASSERT_EQUAL(facts.damage.sequence, sequences[i]);
            CU_ASSERT(facts.batches_taken > 0 || block == blocks - 1); /* there it may be padding only */
            CU_ASSERT_EQUAL(hg_disk_sim_bytes(h.disk)[at + 1000], other[at + 1000] ^ 1); /* not in place */
            still_there(facts.is_proved);
            finish();
        }
    }
}

/* A write that is not there at all: its batches by the chains of their streams. */
static void test_lost(void)
{
    struct hg_log_repair_facts facts;
    for (uint64_t seed = 10; seed < 16; seed++) {
        prepare(seed, 30);
        wipe(8);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_FAILED);
        harness_crash(&h, false);
        CU_ASSERT_PTR_NOT_NULL(repair(0, false, &facts));
        CU_ASSERT_PTR_NULL_FATAL(repair(8, true, &facts));
        CU_ASSERT_EQUAL(facts.batches_taken, 3);
        CU_ASSERT_FALSE(facts.is_proved);
        still_there(false);
        finish();
    }
}

/* A write of its own, with nothing but a record. */
static uint64_t put_record(uint32_t type)
{
    struct hg_local_record record = {.type = type, .stream = 1, .lsn = 1, .name = "reader"};
    uint64_t sequence = hg_log_append_records(h.log, &record, 1);
    CU_ASSERT_FATAL(sequence != 0);
    harness_settle(&h);
    return sequence;
}

/* The device never did the write, and what it is of the lap before lies there: write `old`. */
static void leave_stale(uint64_t sequence, uint64_t old)
{
    struct hg_log_write_header *at =
        (struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + offset_of(sequence));
    uint64_t segment = at->segment;
    uint32_t segment_offset = at->segment_offset;
    CU_ASSERT_FATAL(bytes_of(old) <= bytes_of(sequence));
    wipe(sequence);
    memcpy(at, other + offset_of(old), bytes_of(old));
    at->segment = segment;
    at->segment_offset = segment_offset;
    hg_log_write_header_seal(at, (uint8_t *)at + HG_LOG_BLOCK_BYTES);
    hg_disk_sim_settle(h.disk);
}

/* A write of records that is not there at all, but a whole one of the lap before, which nothing tells from
 * it: its records must not be taken for those. */
static void test_lost_records(void)
{
    struct hg_log_repair_facts facts;
    prepare(16, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    uint64_t old = put_record(HG_LOCAL_CONSUMER_REMOVED), lost = put_record(HG_LOCAL_CONSUMER);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        harness_settle(&h);
    }
    harness_crash(&h, true);
    memcpy(other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    leave_stale(lost, old);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_FAILED);
    harness_crash(&h, false);
    const char *why = repair(lost, true, &facts);
    CU_ASSERT_PTR_NOT_NULL_FATAL(why);
    CU_ASSERT_STRING_EQUAL(why, "missing");
    finish();
}

/* The same of batches: those in its place are older ones, and what it had is with the other node. */
static void test_lost_batches(void)
{
    struct hg_log_repair_facts facts;
    for (uint64_t seed = 10; seed < 16; seed++) {
        prepare(seed, 30);
        uint64_t old = 2;
        while (bytes_of(old) > bytes_of(20))
            old++;
        CU_ASSERT_FATAL(old < 20);
        leave_stale(20, old);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_FAILED);
        harness_crash(&h, false);
        CU_ASSERT_PTR_NOT_NULL(repair(20, false, &facts));
        CU_ASSERT_PTR_NULL_FATAL(repair(20, true, &facts));
        CU_ASSERT_EQUAL(facts.batches_taken, 3);
        CU_ASSERT_EQUAL(facts.batches_left, 0);
        CU_ASSERT_FALSE(facts.is_proved);
        still_there(false);
        finish();
    }
}

/* Nobody has it, or what they have is not it. */
static void test_not_there(void)
{
    struct hg_log_repair_facts facts;
    prepare(20, 12);
    flip(offset_of(5) + HG_LOG_BLOCK_BYTES + 900);
    CU_ASSERT_STRING_EQUAL(repair(0, false, &facts), "missing");
    other[offset_of(5) + HG_LOG_BLOCK_BYTES + 900] ^= 1; /* rotten there too */
    CU_ASSERT_STRING_EQUAL(repair(0, true, &facts), "missing");
    CU_ASSERT_PTR_NOT_NULL(repair(6, true, &facts)); /* that one is whole */
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
    finish();
}

/* The lights go out after any number of sectors; then it is done again. */
static void test_crash(void)
{
    struct hg_log_repair_facts facts;
    uint32_t refused = 0, opened = 0;
    bool is_over = false;
    for (uint64_t cut = 0; !is_over; cut++) {
        prepare(30, 9);
        flip(offset_of(5) + HG_LOG_BLOCK_BYTES + 900);
        h.sectors_left = cut;
        is_over = repair(0, true, &facts) == NULL;
        h.sectors_left = UINT64_MAX;
        hg_disk_sim_settle(h.disk);
        struct hg_log_audit_result result = audit();
        refused += result.outcome == HG_LOG_OUTCOME_CORRUPT;
        opened += result.outcome == HG_LOG_OUTCOME_OPENS;
        CU_ASSERT_EQUAL(refused + opened, cut + 1);
        if (result.outcome == HG_LOG_OUTCOME_CORRUPT)
            CU_ASSERT_PTR_NULL_FATAL(repair(0, true, &facts));
        all_is_there(true);
        harness_crash(&h, false);
        finish();
    }
    CU_ASSERT(refused > 8 && opened > 8);
}

/* The lights go out when the copy is written and the table does not name it, in a segment that it is the
 * first write of: the copy that is named is made behind it, and the segment has no table of streams. */
static void test_start_without_table(void)
{
    struct hg_log_repair_facts facts;
    struct hg_log_audit_result result;
    prepare(60, 12);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    do {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        harness_settle(&h);
        result = audit();
    } while (result.offset_next != 0);
    harness_crash(&h, true);
    memcpy(other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    flip(offset_of(5) + HG_LOG_BLOCK_BYTES + 900);
    h.sectors_left = bytes_of(5) / HG_DISK_SIM_SECTOR_BYTES;
    CU_ASSERT_STRING_EQUAL_FATAL(repair(5, true, &facts), "device");
    h.sectors_left = UINT64_MAX;
    CU_ASSERT_PTR_NULL_FATAL(repair(5, true, &facts));
    uint64_t unnamed = result.sequence_next;
    CU_ASSERT_EQUAL_FATAL(facts.copy_sequence, unnamed + 1);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_FALSE(h.recovered_wrong);
    for (uint32_t i = 0; i < 2000 && hg_log_tail_sequence(h.log) <= unnamed; i++) {
        harness_release(&h, hg_min_u64(hg_log_durable_sequence(h.log), unnamed + 1 + i / 4));
        (void)harness_append(&h, 4, 1500);
        harness_settle(&h);
        CU_ASSERT_NOT_EQUAL_FATAL(hg_log_tail_sequence(h.log), unnamed);
    }
    CU_ASSERT(hg_log_tail_sequence(h.log) > unnamed);
    harness_check_reads(&h);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_FALSE(h.recovered_wrong);
    finish();
}

/* Three writes at the end of which a failed flush let go: they can be read, and the device never gets them.
 */
static uint64_t cache_prepare(struct harness_cache *cache)
{
    prepare(70, 9);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    uint64_t first = hg_log_durable_sequence(h.log) + 1;
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        hg_log_close_write(h.log);
    }
    harness_settle(&h);
    CU_ASSERT_EQUAL_FATAL(hg_log_durable_sequence(h.log), first + 2);
    harness_crash(&h, true);
    memcpy(other, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    for (uint64_t sequence = first; sequence < first + 3; sequence++)
        harness_ring_erase(&h, sequence);
    flip(offset_of(5) + HG_LOG_BLOCK_BYTES + 900);
    harness_cache_make(cache, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    cache->is_backward = true; /* the copy must not need what is before it then */
    for (uint64_t sequence = first; sequence < first + 3; sequence++)
        memset(cache->medium + offset_of(sequence), 0, bytes_of(sequence));
    return first;
}

/* The end of the log was let go of, and the lights go out after any number of sectors of the repair: the log
 * is as it was, or repaired, and never one that names writes which are not there. */
static void test_end_let_go(void)
{
    struct hg_log_repair_facts facts;
    struct harness_cache cache;
    uint32_t refused = 0, opened = 0;
    bool is_done = false;
    for (uint64_t sectors = 0; !is_done; sectors++) {
        uint64_t first = cache_prepare(&cache);
        const char *why;
        cache.sectors_left = sectors;
        struct hg_log_repair *repairing =
            hg_log_repair_begin(&harness_cache_ops, &cache, h.disk->size_bytes, 0, &why);
        CU_ASSERT_PTR_NOT_NULL_FATAL(repairing);
        hg_log_repair_take(repairing, other_read, NULL, h.disk->size_bytes);
        CU_ASSERT_PTR_NULL_FATAL(hg_log_repair_problem(repairing, &facts));
        is_done = hg_log_repair_write(repairing) == 0;
        hg_log_repair_free(repairing);
        memcpy(hg_disk_sim_bytes(h.disk), cache.medium, h.disk->size_bytes);
        hg_disk_sim_settle(h.disk);
        struct hg_log_audit_result result = audit();
        refused += result.outcome == HG_LOG_OUTCOME_CORRUPT;
        opened += result.outcome == HG_LOG_OUTCOME_OPENS;
        if (result.outcome == HG_LOG_OUTCOME_CORRUPT)
            CU_ASSERT_PTR_NULL_FATAL(repair(0, true, &facts));
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT_FALSE(h.recovered_wrong);
        CU_ASSERT(hg_log_durable_sequence(h.log) + 1 >= first + (is_done ? 3 : 0));
        harness_crash(&h, true);
        harness_cache_free(&cache);
        finish();
    }
    CU_ASSERT(refused > 8 && opened > 0);
}

/* The copy rots too: refused by name, nothing of it is served; and repaired again it can't be, for the table
 * says that it was. */
static void test_copy_rots(void)
{
    struct hg_log_repair_facts facts;
    prepare(40, 9);
    flip(offset_of(5) + HG_LOG_BLOCK_BYTES + 900);
    CU_ASSERT_PTR_NULL_FATAL(repair(0, true, &facts));
    all_is_there(true);
    harness_crash(&h, true);
    struct hg_log_superblock *superblocks = (struct hg_log_superblock *)hg_disk_sim_bytes(h.disk);
    const struct hg_log_hole *hole =
        hg_log_hole_of(&superblocks[hg_log_superblock_choose(superblocks)].holes, 5);
    flip(HG_LOG_SEGMENTS_OFFSET + hole->copy_segment * SEGMENT_BYTES + hole->copy_offset +
         HG_LOG_BLOCK_BYTES + 50);
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
    CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), "sequence 5 "));
    CU_ASSERT_EQUAL(audit().outcome, HG_LOG_OUTCOME_CORRUPT);
    finish();
}

/* Round and round: the segments of the write and of its copy are used again. */
static void test_recycled(void)
{
    struct hg_log_repair_facts facts;
    prepare(50, 40);
    flip(offset_of(20) + HG_LOG_BLOCK_BYTES + 900);
    CU_ASSERT_PTR_NULL_FATAL(repair(0, true, &facts));
    for (int life = 0; life < 6; life++) {
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT_FALSE_FATAL(h.recovered_wrong);
        for (uint32_t i = 0; i < 90; i++) {
            harness_release(&h, hg_log_durable_sequence(h.log));
            (void)harness_append(&h, 8, 1500);
            harness_settle(&h);
        }
        harness_check_reads(&h);
        harness_crash(&h, true);
    }
    CU_ASSERT(hg_log_superblock_choose((struct hg_log_superblock *)hg_disk_sim_bytes(h.disk)) >= 0);
    finish();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_repair", NULL, NULL);
    CU_add_test(suite, "every block", test_blocks);
    CU_add_test(suite, "a lost write", test_lost);
    CU_add_test(suite, "lost records, and older ones in their place", test_lost_records);
    CU_add_test(suite, "lost batches, and older ones in their place", test_lost_batches);
    CU_add_test(suite, "nobody has it", test_not_there);
    CU_add_test(suite, "crash at every step", test_crash);
    CU_add_test(suite, "crash before the table names the first of a segment", test_start_without_table);
    CU_add_test(suite, "an end that a flush let go of", test_end_let_go);
    CU_add_test(suite, "the copy rots", test_copy_rots);
    CU_add_test(suite, "used again", test_recycled);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
