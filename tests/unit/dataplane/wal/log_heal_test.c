/* SPDX-License-Identifier: Apache-2.0
 *
 * A durable write rots while the log is open: what peers have is taken after it is proved, the copy goes to a
 * new place, and readers get it, now and after each kind of crash. What is not proved is never served.
 */
#include "dataplane/wal/log_heal.h"
#include "dataplane/wal/log_hole.h"
#include "log_harness.h"

#define ROTTEN 5u

static struct harness h;

/* Writes of three batches of one stream each, none of them in memory any more. */
static void prepare_in(uint64_t seed, uint32_t writes, uint32_t segments)
{
    harness_create(&h, seed, segments);
    harness_threes(&h, writes, 1200);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
}

static void prepare(uint64_t seed, uint32_t writes)
{
    prepare_in(seed, writes, 24);
}

static uint64_t place_of(uint64_t sequence)
{
    struct hg_log_write_header *header;
    return harness_place_of(&h, sequence, &header);
}

static uint64_t repairs(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    return stats.repairs;
}

static uint64_t counted(enum hg_log_heal_reason reason)
{
    return hg_log_heal_of(h.log)->counts[reason];
}

/* What a reader gets: 1, or -EBADMSG. */
static int read_write(uint64_t sequence)
{
    const uint8_t *payload;
    uint32_t bytes;
    int rc;
    while ((rc = hg_log_at(h.log, sequence, &payload, &bytes)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    return rc;
}

/* The batch that is wanted, from who has it. */
static const struct model_batch *donor_find(const struct hg_log_heal_want *want)
{
    for (size_t i = 0; i < h.count; i++) {
        const struct hg_batch_header *header = (const struct hg_batch_header *)h.batches[i].bytes;
        if (header->stream == want->stream && memcmp(header->chain, want->chain, sizeof(want->chain)) == 0 &&
            (want->is_header || h.batches[i].bytes_count == want->bytes))
            return &h.batches[i];
    }
    return NULL;
}

static void give(void)
{
    struct hg_log_heal_want want;
    while (hg_log_heal_wants(h.log, &want)) {
        const struct model_batch *batch = donor_find(&want);
        if (batch == NULL) {
            hg_log_heal_give_up(h.log);
            continue;
        }
        CU_ASSERT_EQUAL(want.lsn_end, batch->lsn_end);
        hg_log_heal_fill(h.log, 0, batch->bytes, want.bytes / 2);
        hg_log_heal_fill(h.log, want.bytes / 2, batch->bytes + want.bytes / 2, want.bytes - want.bytes / 2);
        if (hg_log_heal_filled(h.log))
            continue;
        CU_ASSERT_TRUE_FATAL(want.is_header); /* longer than what is lost: it lay elsewhere */
        hg_log_heal_give_up(h.log);
    }
}

/* Until what became of it is known. */
static void run_until_over(void)
{
    uint64_t before = 0, after = 0;
    for (uint32_t i = 0; i < HG_LOG_HEAL_COUNT; i++)
        before += hg_log_heal_of(h.log)->counts[i];
    while (after <= before) {
        after = 0;
        give();
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        for (uint32_t i = 0; i < HG_LOG_HEAL_COUNT; i++)
            after += hg_log_heal_of(h.log)->counts[i];
    }
}

static void recover_and_check(void)
{
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    harness_check_reads(&h);
}

/* What another node is given of a write of three batches, of which this one is not what it was: the others,
 * as they were; nothing, where no header says that they are of that write. */
static void salvage_check(uint32_t rotten, bool has_header)
{
    const struct model_batch *model = h.batches;
    uint32_t at = 0;
    int rc;
    while ((rc = hg_log_salvage_at(h.log, ROTTEN)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL_FATAL(rc, has_header ? 1 : -EBADMSG);
    while (model->sequence != ROTTEN)
        model++;
    for (uint32_t i = 0; has_header && i < 3; i++) {
        if (i == rotten)
            continue;
        const struct hg_batch_header *batch = hg_log_salvage_next(h.log, &at);
        CU_ASSERT_FATAL(batch != NULL && memcmp(batch, model[i].bytes, model[i].bytes_count) == 0);
    }
    if (has_header)
        CU_ASSERT_PTR_NULL(hg_log_salvage_next(h.log, &at));
}

enum header_rot { HEADER_WHOLE, HEADER_IN_RING, HEADER_LOST };

/* The header block as it was, in the ring alone, or nowhere; a batch's header, or its payload. */
static void test_every_part(void)
{
    for (uint32_t round = 0; round < 18; round++) {
        uint32_t batch = round % 3;
        enum header_rot rot = (enum header_rot)(round / 3 % 3);
        bool in_header = round >= 9;
        prepare(round, 30);
        harness_flip(&h, harness_batch_place(&h, ROTTEN, batch) + (in_header ? 60 : 300));
        uint64_t place = place_of(ROTTEN);
        if (rot == HEADER_LOST) /* in memory, as recovery read it */
            memset(h.arena + (HG_LOG_SUPERBLOCK_COPIES + ROTTEN % HG_LOG_RING_BLOCKS) * HG_LOG_BLOCK_BYTES, 0,
                   HG_LOG_BLOCK_BYTES);
        if (rot != HEADER_WHOLE)
            harness_flip(&h, place + 100);
        uint32_t was = hg_crc32c(0, hg_disk_sim_bytes(h.disk) + place, 3 * HG_LOG_BLOCK_BYTES);
        CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
        CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 1);
        salvage_check(batch, rot != HEADER_LOST);
        run_until_over();
        CU_ASSERT_EQUAL(was, hg_crc32c(0, hg_disk_sim_bytes(h.disk) + place, 3 * HG_LOG_BLOCK_BYTES));
        if (rot == HEADER_LOST || (in_header && batch == 2)) {
            CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_no_header) > 0, rot == HEADER_LOST);
            CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_no_identity) > 0, rot != HEADER_LOST);
            CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
            CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 1);
            CU_ASSERT_EQUAL(repairs(), 0);
        } else {
            CU_ASSERT_EQUAL_FATAL(counted(HG_LOG_HEAL_repaired), 1);
            CU_ASSERT_EQUAL(read_write(ROTTEN), 1);
            CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 0);
            CU_ASSERT_EQUAL(repairs(), 1);
            harness_check_reads(&h);
            for (uint32_t i = 0; i < 5; i++)
                CU_ASSERT(harness_append(&h, 4, 1200) != 0);
            harness_settle(&h);
            harness_check_reads(&h);
            recover_and_check();
            CU_ASSERT_EQUAL(repairs(), 1);
        }
        harness_destroy(&h);
    }
}

/* Its header block alone: nobody is asked. */
static void test_header_alone(void)
{
    prepare(21, 30);
    harness_flip(&h, place_of(ROTTEN) + 2048);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    struct hg_log_heal_want want;
    while (counted(HG_LOG_HEAL_repaired) == 0) {
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        CU_ASSERT_FALSE(hg_log_heal_wants(h.log, &want));
    }
    harness_check_reads(&h);
    recover_and_check();
    harness_destroy(&h);
}

/* The device lost the write, and what lay there before is as large, and whole: that is not served for it. */
static void test_lost_write(void)
{
    prepare(23, 30);
    uint8_t *bytes = hg_disk_sim_bytes(h.disk);
    memset(h.arena + (HG_LOG_SUPERBLOCK_COPIES + ROTTEN % HG_LOG_RING_BLOCKS) * HG_LOG_BLOCK_BYTES, 0,
           HG_LOG_BLOCK_BYTES);
    struct hg_log_write_header *header = (struct hg_log_write_header *)(bytes + place_of(ROTTEN));
    header->sequence -= 2;
    header->durable_sequence = 0;
    hg_log_write_header_seal(header, (const uint8_t *)header + HG_LOG_BLOCK_BYTES);
    hg_disk_sim_settle(h.disk);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    run_until_over();
    CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_no_header), 1);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    CU_ASSERT_EQUAL(repairs(), 0);
    harness_destroy(&h);
}

/* Power goes at each turn of a repair: the log is refused as before, or has it back. */
static void test_crash(void)
{
    uint32_t refused = 0, back = 0;
    for (uint32_t turns = 0; turns < 120; turns++) {
        prepare(turns % 7, 12);
        harness_flip(&h, harness_batch_place(&h, ROTTEN, 1) + 300);
        CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
        for (uint32_t i = 0; i < turns && harness_turn(&h); i++)
            give();
        bool was_told = counted(HG_LOG_HEAL_repaired) != 0;
        harness_crash(&h, true);
        if (harness_recover(&h) == HG_LOG_READY) {
            harness_check_recovered(&h);
            harness_check_reads(&h);
            CU_ASSERT_EQUAL(repairs(), 1);
            back++;
        } else {
            CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
            CU_ASSERT_FALSE(was_told);
            refused++;
        }
        harness_destroy(&h);
    }
    CU_ASSERT(refused > 5);
    CU_ASSERT(back > 5);
}

/* The flush of a copy fails, and the device may have let go of it: it can be read, but no later flush covers
 * what is not written again. */
static void test_copy_let_go(void)
{
    uint32_t kept = 0;
    for (uint32_t seed = 0; seed < 40; seed++) {
        prepare(seed, 12);
        harness_settle(&h);
        uint64_t durable = hg_log_durable_sequence(h.log);
        uint64_t at = harness_batch_place(&h, ROTTEN, 1) + 300;
        hg_disk_sim_flip_bit(h.disk, at, 0);
        CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
        hg_disk_sim_fail(h.disk, HG_DISK_FLUSH, 1, EIO);
        while (hg_log_state(h.log) != HG_LOG_FAILED) {
            give();
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        }
        harness_crash(&h, false);
        hg_disk_sim_flip_bit(h.disk, at, 0); /* the device erred */
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        kept += hg_log_durable_sequence(h.log) > durable;
        CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        harness_settle(&h);
        recover_and_check();
        harness_destroy(&h);
    }
    CU_ASSERT_EQUAL(kept, 40);
}

/* Bytes that are not the batch are not taken, whatever they are; the right ones are, after them. */
static void test_wrong_donor(void)
{
    prepare(31, 30);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 1) + 300);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    struct hg_log_heal_want want;
    while (!hg_log_heal_wants(h.log, &want))
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    const struct model_batch *right = donor_find(&want);
    CU_ASSERT_PTR_NOT_NULL_FATAL(right);
    uint8_t *bytes = malloc(want.bytes);
    for (uint32_t at = 0; at < want.bytes; at += 7) { /* one bit of it, also in its header */
        memcpy(bytes, right->bytes, want.bytes);
        bytes[at] ^= 4;
        hg_log_heal_fill(h.log, 0, bytes, want.bytes);
        CU_ASSERT_FALSE_FATAL(hg_log_heal_filled(h.log));
    }
    /* A whole batch of the same stream and LSNs, of another history. */
    memcpy(bytes, right->bytes, want.bytes);
    struct hg_batch_header *header = (struct hg_batch_header *)(void *)bytes;
    header->chain[3] ^= 1;
    header->crc32c = hg_crc32c(0, header, offsetof(struct hg_batch_header, crc32c));
    hg_log_heal_fill(h.log, 0, bytes, want.bytes);
    CU_ASSERT_FALSE(hg_log_heal_filled(h.log));
    for (size_t i = 0; i < h.count; i++) { /* any other of this log */
        if (h.batches[i].bytes_count > want.bytes || &h.batches[i] == right)
            continue;
        hg_log_heal_fill(h.log, 0, h.batches[i].bytes, h.batches[i].bytes_count);
        CU_ASSERT_FALSE(hg_log_heal_filled(h.log));
    }
    CU_ASSERT_TRUE(hg_log_heal_wants(h.log, &want));
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    run_until_over();
    CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_repaired), 1);
    harness_check_reads(&h);
    free(bytes);
    harness_destroy(&h);
}

/* One try to repair it, with nobody to ask. */
static void try_in_vain(uint64_t sequence)
{
    struct hg_log_heal_want want;
    const struct hg_log_heal_write *write = &hg_log_heal_of(h.log)->writes[0];
    CU_ASSERT_EQUAL(read_write(sequence), -EBADMSG);
    CU_ASSERT_EQUAL_FATAL(write->sequence, sequence);
    while (write->tries == 0) {
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        while (hg_log_heal_wants(h.log, &want))
            hg_log_heal_give_up(h.log);
    }
}

static void ranges_check(const struct hg_log_heal_write *write)
{
    uint32_t found = 0;
    for (size_t i = 0; i < h.count; i++) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)h.batches[i].bytes;
        for (uint32_t k = 0; h.batches[i].sequence == write->sequence && k < write->range_count; k++) {
            const struct hg_log_heal_range *range = &write->ranges[k];
            found += range->stream == batch->stream && range->lsn_first <= batch->lsn_first &&
                     range->lsn_end >= batch->lsn_end;
        }
    }
    CU_ASSERT_EQUAL(found, 4);
    CU_ASSERT(write->range_count >= 1 && write->range_count <= 2);
}

/* Each block of a write of four batches rots: where no header of a batch is in it, it is known what the write
 * has, all of it and nothing more; else that is not said. */
static void test_ranges(void)
{
    uint32_t known = 0, unknown = 0;
    prepare(61, 30);
    h.streams_active = 2;
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT_FATAL(harness_append(&h, 4, 4000) != 0);
    uint64_t sequence = h.batches[h.count - 1].sequence;
    CU_ASSERT_EQUAL_FATAL(h.batches[h.count - 4].sequence, sequence);
    harness_settle(&h);
    uint64_t at = place_of(sequence) + HG_LOG_BLOCK_BYTES;
    uint32_t blocks =
        ((const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + place_of(sequence)))->block_count;
    for (uint32_t block = 0; block < blocks; block++) {
        bool has_header = false;
        for (uint32_t batch = 0; batch < 4; batch++) {
            uint64_t offset = harness_batch_place(&h, sequence, batch) - at;
            has_header |= offset / HG_LOG_BLOCK_BYTES == block ||
                          (offset + sizeof(struct hg_batch_header) - 1) / HG_LOG_BLOCK_BYTES == block;
        }
        harness_crash(&h, true); /* nothing is in memory */
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_flip(&h, at + (uint64_t)block * HG_LOG_BLOCK_BYTES);
        try_in_vain(sequence);
        const struct hg_log_heal_write *write = &hg_log_heal_of(h.log)->writes[0];
        CU_ASSERT_EQUAL(write->is_ranged, !has_header);
        known += write->is_ranged;
        unknown += !write->is_ranged;
        if (write->is_ranged)
            ranges_check(write);
        harness_flip(&h, at + (uint64_t)block * HG_LOG_BLOCK_BYTES);
        while (hg_log_heal_left(h.log) > 0)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    CU_ASSERT(known > 0 && unknown > 0);
    harness_destroy(&h);
}

/* A write of two batches that have blocks, and others from which a block may come: such, and small ones. */
static void misdirect_prepare(uint64_t sequences[6])
{
    prepare(71, 4);
    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t batch = 0; batch < 2; batch++)
            CU_ASSERT_FATAL(harness_append(&h, 4, i < 3 ? 4000 : 600) != 0);
        sequences[i] = h.batches[h.count - 1].sequence;
        CU_ASSERT_EQUAL_FATAL(h.batches[h.count - 2].sequence, sequences[i]);
        harness_settle(&h);
    }
    harness_crash(&h, true); /* nothing is in memory */
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
}

/* A block has what belongs elsewhere, which may begin with a batch, whole or larger than the block: that is
 * not taken for what was there. The batch whose header is lost is named by the one behind it. */
static void test_misdirected(void)
{
    uint32_t repaired = 0, refused = 0;
    for (uint32_t round = 0; round < 20; round++) {
        uint64_t sequences[6];
        misdirect_prepare(sequences);
        uint8_t *bytes = hg_disk_sim_bytes(h.disk);
        uint64_t at = place_of(sequences[0]) + (1 + round % 4) * HG_LOG_BLOCK_BYTES;
        uint64_t last = harness_batch_place(&h, sequences[0], 1);
        bool is_last = last + sizeof(struct hg_batch_header) > at && last < at + HG_LOG_BLOCK_BYTES;
        memcpy(bytes + at, bytes + place_of(sequences[1 + round / 4]) + HG_LOG_BLOCK_BYTES,
               HG_LOG_BLOCK_BYTES);
        hg_disk_sim_settle(h.disk);
        CU_ASSERT_EQUAL(read_write(sequences[0]), -EBADMSG);
        run_until_over();
        CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_repaired), !is_last);
        CU_ASSERT_EQUAL(read_write(sequences[0]), is_last ? -EBADMSG : 1);
        if (!is_last)
            harness_check_reads(&h);
        repaired += !is_last;
        refused += is_last;
        harness_destroy(&h);
    }
    CU_ASSERT(repaired > 5 && refused > 0);
}

/* A write of five batches of one stream, or of two. */
static uint64_t fives_prepare(uint32_t seed, uint32_t streams)
{
    prepare(seed, 4);
    h.streams_active = streams;
    for (uint32_t batch = 0; batch < 5; batch++)
        CU_ASSERT_FATAL(harness_append(&h, 3, 900) != 0);
    uint64_t sequence = h.batches[h.count - 1].sequence;
    CU_ASSERT_EQUAL_FATAL(h.batches[h.count - 5].sequence, sequence);
    harness_settle(&h);
    harness_crash(&h, true); /* nothing is in memory */
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    return sequence;
}

/* Any of the headers of a write are lost: what is lost side by side is told one header after the other, from
 * the one behind on, where all are of its stream; else it is refused, and so is the last. */
static void test_side_by_side(void)
{
    uint32_t repaired = 0, refused = 0;
    for (uint32_t round = 2; round < 64; round++) {
        uint32_t lost = round / 2, streams = 1 + round % 2;
        uint64_t sequence = fives_prepare(round, streams);
        const struct model_batch *batches = &h.batches[h.count - 5];
        bool is_named = true;
        for (uint32_t i = 5; i-- > 0;) { /* from behind: the place of one is known by those before it */
            if ((lost & 1u << i) == 0)
                continue;
            is_named &= i < 4 && batches[i].stream == batches[i + 1].stream;
            memset(hg_disk_sim_bytes(h.disk) + harness_batch_place(&h, sequence, i), 0,
                   sizeof(struct hg_batch_header) + (i % 2 == 0 ? 100 : 0));
        }
        hg_disk_sim_settle(h.disk);
        CU_ASSERT_EQUAL(read_write(sequence), -EBADMSG);
        run_until_over();
        CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_repaired), is_named);
        CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_nobody) + counted(HG_LOG_HEAL_no_identity), !is_named);
        CU_ASSERT_EQUAL(read_write(sequence), is_named ? 1 : -EBADMSG);
        repaired += is_named;
        refused += !is_named;
        if (is_named)
            harness_check_reads(&h);
        harness_destroy(&h);
    }
    CU_ASSERT(repaired >= 15 && refused > 16);
}

/* Nobody has it now: it is tried again, ever more seldom, and repaired when somebody has. */
static void test_again(void)
{
    prepare(41, 30);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 0) + 300);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    struct hg_log_heal_want want;
    uint64_t begin_ns = h.now_ns;
    while (h.now_ns - begin_ns < 200 * HG_NS_PER_S) {
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        while (hg_log_heal_wants(h.log, &want))
            hg_log_heal_give_up(h.log);
    }
    CU_ASSERT(counted(HG_LOG_HEAL_nobody) >= 4);
    CU_ASSERT(counted(HG_LOG_HEAL_nobody) <= 6);
    CU_ASSERT_EQUAL(hg_log_heal_of(h.log)->writes[0].reason, HG_LOG_HEAL_nobody);
    while (counted(HG_LOG_HEAL_repaired) == 0)
        run_until_over();
    harness_check_reads(&h);
    /* Its copy rots: that is said, and neither is served. */
    uint64_t at = place_of(hg_log_heal_of(h.log)->copy_sequence);
    const struct hg_log_write_header *header =
        (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + at);
    CU_ASSERT_EQUAL_FATAL(header->moved_sequence, ROTTEN);
    for (uint32_t i = 0; i < 60; i++) { /* out of the slots */
        CU_ASSERT_EQUAL(read_write(i % 25 + 6), 1);
        CU_ASSERT_TRUE_FATAL(harness_turn(&h) || true);
    }
    harness_flip(&h, at + HG_LOG_BLOCK_BYTES + 300);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    while (counted(HG_LOG_HEAL_copy_corrupt) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    /* The device erred, or it was read while it was being repaired: it is not called corrupt for ever. */
    harness_flip(&h, at + HG_LOG_BLOCK_BYTES + 300);
    while (counted(HG_LOG_HEAL_whole) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 0);
    CU_ASSERT_EQUAL(read_write(ROTTEN), 1);
    harness_destroy(&h);
}

/* A segment's table is a batch of local records: nobody else has those. */
static void test_local(void)
{
    prepare(51, 30);
    harness_flip(&h, place_of(1) + HG_LOG_BLOCK_BYTES + 250);
    CU_ASSERT_EQUAL(read_write(1), -EBADMSG);
    run_until_over();
    CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_local_records), 1);
    CU_ASSERT_EQUAL(repairs(), 0);
    CU_ASSERT_EQUAL(read_write(1), -EBADMSG);
    harness_destroy(&h);
}

/* A device that erred for a while: nothing is written. */
static void test_whole(void)
{
    prepare(61, 30);
    hg_disk_sim_fail(h.disk, HG_DISK_READ, 1, EIO);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 0) + 300);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 0) + 300);
    run_until_over();
    CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_whole), 1);
    CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 0);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* More than the table of holes holds: named, and the rest stays as it is. */
static void test_table_full(void)
{
    prepare(71, 40);
    for (uint64_t sequence = 3; sequence < 3 + HG_LOG_HOLES_MAX + 1; sequence++) {
        harness_flip(&h, harness_batch_place(&h, sequence, 1) + 300);
        CU_ASSERT_EQUAL(read_write(sequence), -EBADMSG);
        run_until_over();
        if (sequence < 3 + HG_LOG_HOLES_MAX)
            CU_ASSERT_EQUAL_FATAL(counted(HG_LOG_HEAL_repaired), sequence - 2);
    }
    CU_ASSERT_EQUAL(counted(HG_LOG_HEAL_table_full), 1);
    CU_ASSERT_EQUAL(read_write(3 + HG_LOG_HOLES_MAX), -EBADMSG);
    harness_flip(&h, harness_batch_place(&h, 3 + HG_LOG_HOLES_MAX, 1) + 300);
    harness_check_reads(&h);
    recover_and_check();
    harness_destroy(&h);
}

/* A block of the log that has a write, and which; 0 = none behind it. */
static uint64_t write_at(uint64_t block_at, uint64_t last)
{
    for (uint64_t sequence = 1; sequence <= last; sequence++) {
        uint64_t at = place_of(sequence);
        const struct hg_log_write_header *header =
            (const struct hg_log_write_header *)(hg_disk_sim_bytes(h.disk) + at);
        if (block_at >= at && block_at < at + hg_log_write_bytes(header->payload_bytes))
            return sequence;
    }
    return 0;
}

/* Each block of a log in turn can't be read, and stays so: what was repaired into a new place is no reason to
 * refuse the log, now and ever after; what was not is refused as a read error, not as corrupt. */
static void test_unreadable(void)
{
    uint32_t repaired = 0, refused = 0;
    prepare(91, 12);
    uint64_t end = place_of(12);
    harness_destroy(&h);
    for (uint64_t at = HG_LOG_SEGMENTS_OFFSET; at < end; at += HG_LOG_BLOCK_BYTES) {
        uint8_t block[HG_LOG_BLOCK_BYTES];
        prepare(91, 12);
        uint64_t sequence = write_at(at, 12);
        if (sequence == 0) {
            harness_destroy(&h);
            continue;
        }
        hg_disk_sim_bad_block(h.disk, at);
        CU_ASSERT_EQUAL(read_write(sequence), -EBADMSG);
        run_until_over();
        if (counted(HG_LOG_HEAL_repaired) == 1) {
            for (uint32_t i = 0; i < 2; i++) {
                recover_and_check();
                CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
                harness_settle(&h);
            }
            CU_ASSERT_FALSE(hg_disk_sim_look(h.disk, at, block, sizeof(block)));
            repaired++;
        } else {
            harness_crash(&h, true);
            CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
            CU_ASSERT_FALSE(hg_log_is_corrupt(h.log));
            refused++;
        }
        harness_destroy(&h);
    }
    CU_ASSERT(repaired > 10 && refused > 0);
}

/* Segments are used again: the hole, its copy and what was found corrupt go with them. */
static void test_reuse(void)
{
    prepare(81, 30);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 1) + 300);
    harness_flip(&h, harness_batch_place(&h, ROTTEN + 1, 2) + 60); /* can't be */
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    run_until_over();
    CU_ASSERT_EQUAL(read_write(ROTTEN + 1), -EBADMSG);
    run_until_over();
    CU_ASSERT_EQUAL(hg_log_heal_left(h.log), 1);
    for (uint32_t i = 0; i < 300; i++) {
        harness_release(&h, hg_log_durable_sequence(h.log));
        CU_ASSERT_FATAL(harness_append(&h, 4, 1200) != 0);
        hg_log_close_write(h.log);
        while (hg_log_durable_sequence(h.log) + 1 < hg_log_next_sequence(h.log))
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        CU_ASSERT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_READY);
    }
    CU_ASSERT(hg_log_tail_sequence(h.log) > 31);
    while (hg_log_heal_left(h.log) > 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    harness_check_reads(&h);
    recover_and_check();
    harness_destroy(&h);
}

/* The log takes nothing: the copy waits, and readers with it. */
static void test_full_log(void)
{
    prepare_in(91, 12, 8);
    while (harness_append(&h, 4, 1200) != 0)
        harness_settle(&h);
    struct hg_local_record record = {.type = HG_LOCAL_STREAM, .stream = 1, .name = "stream-1"};
    record.lsn = h.lsn[0];
    memcpy(record.chain, h.chain[0], sizeof(record.chain));
    struct hg_log_stats stats;
    do { /* down to what peers' batches may not use either */
        CU_ASSERT_FATAL(hg_log_append_records(h.log, &record, 1) != 0);
        harness_settle(&h);
        hg_log_stats_get(h.log, &stats);
    } while (stats.segments_free >= HG_LOG_SEGMENTS_FREE_MIN);
    harness_flip(&h, harness_batch_place(&h, ROTTEN, 1) + 300);
    CU_ASSERT_EQUAL(read_write(ROTTEN), -EBADMSG);
    for (uint32_t i = 0; i < 1000; i++) {
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        give();
    }
    CU_ASSERT_EQUAL(hg_log_heal_of(h.log)->state, HG_LOG_HEAL_WHOLE);
    CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_READY);
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_heal", NULL, NULL);
    CU_add_test(suite, "every part", test_every_part);
    CU_add_test(suite, "the header alone", test_header_alone);
    CU_add_test(suite, "a lost write", test_lost_write);
    CU_add_test(suite, "crash", test_crash);
    CU_add_test(suite, "a copy that a flush let go of", test_copy_let_go);
    CU_add_test(suite, "wrong donor", test_wrong_donor);
    CU_add_test(suite, "again, and the copy rots", test_again);
    CU_add_test(suite, "a misdirected block", test_misdirected);
    CU_add_test(suite, "headers side by side", test_side_by_side);
    CU_add_test(suite, "what it has", test_ranges);
    CU_add_test(suite, "local records", test_local);
    CU_add_test(suite, "whole after all", test_whole);
    CU_add_test(suite, "table full", test_table_full);
    CU_add_test(suite, "a block that stays unreadable", test_unreadable);
    CU_add_test(suite, "segments used again", test_reuse);
    CU_add_test(suite, "full log", test_full_log);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
