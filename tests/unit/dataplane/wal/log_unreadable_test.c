/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery of a log with blocks that can't be read, and stay so. Whatever is acknowledged is served or
 * marked, or the log is refused by an error that names the block, unchanged; it never gets shorter, and is
 * never called corrupt for it. Each block in turn, with others that may have what is in it and without, with
 * other faults beside it, with crashes on the way.
 */
#include "dataplane/wal/log_heal.h"
#include "log_harness.h"

#define WRITES 30u
#define ROTTEN 5u

static struct harness h;
static struct hg_disk *whole; /* as it was left; each case has a copy */
static uint32_t whole_crc;
static uint64_t promised;

static uint32_t content_crc(struct hg_disk *disk)
{
    return hg_crc32c(0, hg_disk_sim_bytes(disk), disk->size_bytes);
}

/* What is on the disk now is what every case begins with. */
static void keep(void)
{
    hg_disk_sim_settle(h.disk);
    whole = h.disk;
    whole_crc = content_crc(whole);
    promised = h.durable_promised;
}

static void prepare(uint64_t seed)
{
    harness_create(&h, seed, 12);
    harness_threes(&h, WRITES, 1800);
}

static void case_begin(bool may_mark)
{
    h.disk = hg_disk_sim_clone(whole);
    h.may_mark = may_mark;
    h.durable_promised = promised;
}

static void case_end(void)
{
    if (h.log != NULL)
        hg_log_close(h.log);
    h.log = NULL;
    h.disk->close(h.disk);
}

static void done(void)
{
    h.disk = whole;
    harness_destroy(&h);
}

static struct hg_log_stats stats(void)
{
    struct hg_log_stats all;
    hg_log_stats_get(h.log, &all);
    return all;
}

static struct hg_log_superblock *superblocks(void)
{
    return (struct hg_log_superblock *)hg_disk_sim_bytes(h.disk);
}

static bool is_readable(uint64_t at)
{
    uint8_t block[HG_LOG_BLOCK_BYTES];
    return hg_disk_sim_look(h.disk, at, block, sizeof(block));
}

/* Refused by an error that names the block; nothing was changed. */
static void check_refused(uint64_t at)
{
    char text[64];
    snprintf(text, sizeof(text), "at byte %llu can't be read", (unsigned long long)at);
    CU_ASSERT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_FAILED);
    CU_ASSERT_FALSE(hg_log_is_corrupt(h.log) || hg_log_is_unusable(h.log));
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), text));
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), "Input/output error"));
    CU_ASSERT_EQUAL(content_crc(h.disk), whole_crc);
}

static bool is_marked(uint64_t sequence)
{
    for (uint32_t i = 0; i < hg_log_heal_of(h.log)->count; i++)
        if (hg_log_heal_of(h.log)->writes[i].sequence == sequence)
            return true;
    return false;
}

/* All is there but what is in marked writes, of which all is known. */
static void check_served(void)
{
    uint64_t marked = stats().marked_writes;
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(hg_log_heal_of(h.log)->count, marked);
    CU_ASSERT_EQUAL(h.rotten > 0, marked > 0);
    CU_ASSERT(hg_log_durable_sequence(h.log) >= promised);
    if (marked == 0)
        harness_check_reads(&h);
}

static uint64_t write_bytes_of(uint64_t sequence, uint64_t *at)
{
    struct hg_log_write_header *header;
    *at = harness_place_of(&h, sequence, &header);
    return hg_log_write_bytes(header->payload_bytes);
}

/* The write that has the block, or 0. */
static uint64_t write_at(uint64_t at)
{
    for (uint64_t sequence = 1; sequence <= promised; sequence++) {
        uint64_t begin, bytes = write_bytes_of(sequence, &begin);
        if (at >= begin && at - begin < bytes)
            return sequence;
    }
    return 0;
}

/* Of the writes, each block; of the rest, those at which the next ones could be and a few others. */
static bool is_looked_at(uint64_t at, uint64_t end)
{
    uint64_t block = at / HG_LOG_BLOCK_BYTES;
    return at < HG_LOG_RING_OFFSET + (WRITES + 3) * HG_LOG_BLOCK_BYTES ||
           (at >= HG_LOG_SEGMENTS_OFFSET && at < end + 4 * HG_LOG_BLOCK_BYTES) || block % 41 == 0;
}

/* What was marked is repaired, and the block stays as it is: no later recovery needs it, peers or not. */
static void heal_and_check(uint64_t at)
{
    while (hg_log_heal_left(h.log) > 0) {
        harness_give(&h);
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    harness_check_reads(&h);
    harness_settle(&h);
    harness_crash(&h, true);
    h.may_mark = false;
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(stats().marked_writes, 0);
    check_served();
    CU_ASSERT_FALSE(is_readable(at));
}

struct seen {
    uint32_t fine, marked, refused, beyond;
};

/* The log with this block, once with peers and once without. */
static void block_try(uint64_t at, uint64_t end, struct seen *seen)
{
    for (uint32_t may_mark = 0; may_mark < 2; may_mark++) {
        case_begin(may_mark != 0);
        uint64_t sequence = write_at(at);
        hg_disk_sim_bad_block(h.disk, at);
        if (harness_recover(&h) == HG_LOG_READY) {
            check_served();
            bool is_marked_write = sequence != 0 && is_marked(sequence);
            CU_ASSERT_EQUAL(stats().marked_writes, is_marked_write);
            CU_ASSERT(!is_marked_write || sequence + HG_LOG_WRITES_UNFLUSHED_MAX < promised);
            CU_ASSERT(may_mark || !is_marked_write);
            if (at < HG_LOG_SEGMENTS_OFFSET || (sequence != 0 && !is_marked_write))
                CU_ASSERT_TRUE(is_readable(at)); /* written again */
            if (is_marked_write)
                heal_and_check(at);
            seen->marked += is_marked_write;
            seen->fine++;
        } else {
            check_refused(at);
            seen->refused++;
            seen->beyond += at >= end;
        }
        case_end();
    }
}

static void test_every_block(void)
{
    struct seen seen = {0};
    prepare(1);
    keep();
    uint64_t last, end = write_bytes_of(promised, &last);
    end += last;
    for (uint64_t at = 0; at < whole->size_bytes; at += HG_LOG_BLOCK_BYTES)
        if (is_looked_at(at, end))
            block_try(at, end, &seen);
    CU_ASSERT(seen.fine > 90 && seen.marked > 5 && seen.refused > 50 && seen.beyond > 4);
    done();
}

/* Of the newest writes nothing is in the ring: what can't be read of them is no torn tail. */
static void test_newest_without_ring(void)
{
    for (uint64_t lost = 1; lost <= 3; lost++) {
        struct seen seen = {0};
        prepare(2);
        for (uint64_t i = 0; i < lost; i++)
            harness_ring_erase(&h, h.durable_promised - i);
        keep();
        uint64_t begin, bytes = write_bytes_of(promised, &begin);
        for (uint64_t at = begin; at < begin + bytes; at += HG_LOG_BLOCK_BYTES)
            block_try(at, begin + bytes, &seen);
        CU_ASSERT(seen.fine == 0 && seen.refused > 0);
        done();
    }
}

/* A write is rotten, and a block of the ring can't be read that may have had its header: nothing is concluded
 * from that. Each of both. */
static void test_ring_and_rot(void)
{
    struct hg_log_write_header *header;
    prepare(3);
    keep();
    for (uint64_t sequence = 2; sequence <= promised + 1; sequence += 1 + sequence % 3)
        for (uint32_t kind = 0; kind < 3; kind++) {
            case_begin(kind == 2);
            uint64_t slot = HG_LOG_RING_OFFSET + sequence % HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES;
            if (sequence <= promised) /* its header; else the last byte of the payload */
                harness_flip(
                    &h, harness_place_of(&h, sequence, &header) +
                            (kind == 0 ? 100
                                       : hg_log_write_bytes(header->payload_bytes) - HG_LOG_BLOCK_BYTES + 3));
            uint32_t crc = content_crc(h.disk);
            hg_disk_sim_bad_block(h.disk, slot);
            if (harness_recover(&h) == HG_LOG_READY) {
                CU_ASSERT_TRUE(kind == 2 && is_marked(sequence));
                check_served();
                CU_ASSERT_TRUE(is_readable(slot));
            } else {
                whole_crc = crc;
                check_refused(slot);
            }
            case_end();
        }
    done();
}

/* An end with a header behind it whose copy in the ring can't be read: that may have been durable. */
static void test_header_behind(void)
{
    struct hg_log_write_header *header;
    prepare(4);
    uint64_t last = h.durable_promised;
    for (uint64_t i = 0; i < HG_LOG_RING_BLOCKS; i++) /* nothing knows of the last two but themselves */
        harness_ring_erase(&h, i);
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        struct hg_log_superblock *superblock = (struct hg_log_superblock *)hg_disk_sim_bytes(h.disk) + copy;
        superblock->durable_sequence = 0;
        hg_log_superblock_seal(superblock, copy);
    }
    for (uint64_t i = last - 1; i <= last; i++) {
        (void)harness_place_of(&h, i, &header);
        header->durable_sequence = last - 2;
        header->crc32c = hg_crc32c(0, header, offsetof(struct hg_log_write_header, crc32c));
    }
    harness_flip(&h, harness_place_of(&h, last - 1, &header) + 100);
    h.durable_promised = last - 2;
    keep();
    uint64_t slot = HG_LOG_RING_OFFSET + last % HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES;
    case_begin(true);
    hg_disk_sim_bad_block(h.disk, slot);
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
    check_refused(slot);
    case_end();
    case_begin(true); /* without that it is a torn end */
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), last - 2);
    CU_ASSERT_TRUE(hg_log_tail_is_torn(h.log));
    case_end();
    done();
}

/* A promise outlives each copy, and what can't be read is no reason to use its numbers again; where all that
 * can have had it are gone the log is refused. */
static void test_superblocks(void)
{
    uint32_t opened = 0;
    harness_create(&h, 5, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint64_t epoch = 2; epoch <= 5; epoch++) {
        hg_log_epoch_promise(h.log, 3, epoch);
        while (hg_log_epoch_promised(h.log, 3) < epoch)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    harness_crash(&h, true);
    keep();
    for (uint32_t bad = 1; bad < 1u << HG_LOG_SUPERBLOCK_COPIES; bad++) {
        case_begin(true);
        for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
            if ((bad & 1u << copy) != 0)
                hg_disk_sim_bad_block(h.disk, (uint64_t)copy * HG_LOG_BLOCK_BYTES);
        bool is_one = (bad & (bad - 1)) == 0;
        CU_ASSERT_EQUAL(harness_recover(&h) == HG_LOG_READY, is_one);
        if (is_one) {
            CU_ASSERT_EQUAL(hg_log_epoch_promised(h.log, 3), 5);
            CU_ASSERT_EQUAL(hg_log_restarts(h.log), 3);
            for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++)
                CU_ASSERT_TRUE(is_readable((uint64_t)copy * HG_LOG_BLOCK_BYTES));
            opened++;
        } else {
            check_refused((uint64_t)__builtin_ctz(bad) * HG_LOG_BLOCK_BYTES);
        }
        case_end();
    }
    CU_ASSERT_EQUAL(opened, HG_LOG_SUPERBLOCK_COPIES);
    done();
}

/* One can't be read, and another is rotten. */
static void test_superblock_and_rot(void)
{
    prepare(6);
    keep();
    for (uint64_t bad = 0; bad < HG_LOG_SUPERBLOCK_COPIES; bad++)
        for (uint64_t rotten = 0; rotten < HG_LOG_SUPERBLOCK_COPIES; rotten++) {
            if (bad == rotten)
                continue;
            case_begin(true);
            harness_flip(&h, rotten * HG_LOG_BLOCK_BYTES + 60);
            whole_crc = content_crc(h.disk);
            hg_disk_sim_bad_block(h.disk, bad * HG_LOG_BLOCK_BYTES);
            CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
            check_refused(bad * HG_LOG_BLOCK_BYTES);
            case_end();
        }
    done();
}

static void append_and_release(uint32_t writes)
{
    for (uint32_t i = 0; i < writes; i++) {
        harness_release(&h, hg_log_durable_sequence(h.log));
        CU_ASSERT_FATAL(harness_append(&h, 4, 4000) != 0);
        harness_settle(&h);
    }
}

/* The pair before the one in force names an older tail, whose segment was written over since: with a copy of
 * the one in force gone that is no corrupt write. Where it was not written over, the log opens. */
static void test_old_tail(void)
{
    harness_create(&h, 7, 8);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    append_and_release(60);
    struct hg_log_superblock old = superblocks()[hg_log_superblock_choose(superblocks())];
    append_and_release(340);
    harness_crash(&h, true);
    keep();
    for (uint32_t is_old = 0; is_old < 2; is_old++)
        for (uint32_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
            case_begin(true);
            bool is_newest = (uint32_t)hg_log_superblock_choose(superblocks()) / 2 == copy / 2;
            uint32_t other = 2 - copy / 2 * 2;
            for (uint32_t i = other; is_old != 0 && is_newest && i < other + 2; i++) {
                superblocks()[i].tail_segment = old.tail_segment;
                superblocks()[i].tail_sequence = old.tail_sequence;
                hg_log_superblock_seal(&superblocks()[i], (uint16_t)i);
            }
            whole_crc = content_crc(h.disk);
            hg_disk_sim_bad_block(h.disk, (uint64_t)copy * HG_LOG_BLOCK_BYTES);
            bool opens = harness_recover(&h) == HG_LOG_READY;
            CU_ASSERT_EQUAL(opens, is_old == 0 || !is_newest);
            if (opens) { /* perhaps with writes that were let go of */
                CU_ASSERT(hg_log_durable_sequence(h.log) == promised && stats().marked_writes == 0);
            } else {
                check_refused((uint64_t)copy * HG_LOG_BLOCK_BYTES);
            }
            case_end();
        }
    done();
}

/* A block that is marked when it can't be read. */
static uint64_t markable_find(void)
{
    for (uint64_t sequence = 2; sequence + HG_LOG_WRITES_UNFLUSHED_MAX < promised; sequence++) {
        uint64_t at, bytes = write_bytes_of(sequence, &at);
        for (uint64_t block = at + HG_LOG_BLOCK_BYTES; block < at + bytes; block += HG_LOG_BLOCK_BYTES) {
            case_begin(true);
            hg_disk_sim_bad_block(h.disk, block);
            bool marks = harness_recover(&h) == HG_LOG_READY && stats().marked_writes == 1;
            case_end();
            h.disk = whole;
            if (marks)
                return block;
        }
    }
    CU_FAIL_FATAL("a block without a batch's header");
    return 0;
}

/* Killed or cut off after so many turns, again and again: in the end the same is there. */
static void test_crashes(void)
{
    struct hg_log_write_header *header;
    prepare(8);
    keep();
    uint64_t places[] = {0, 2 * HG_LOG_BLOCK_BYTES,
                         HG_LOG_RING_OFFSET + promised % HG_LOG_RING_BLOCKS * HG_LOG_BLOCK_BYTES,
                         harness_place_of(&h, ROTTEN, &header), markable_find()};
    for (uint32_t i = 0; i < 5; i++)
        for (uint32_t turns = 0; turns < 60; turns += 1 + turns / 12) {
            case_begin(true);
            hg_disk_sim_bad_block(h.disk, places[i]);
            for (uint32_t again = 0; again < 3; again++) {
                harness_open(&h);
                for (uint32_t turn = 0; turn < turns + again * 7 && harness_turn(&h); turn++)
                    ;
                harness_crash(&h, (turns + again) % 2 == 0);
                h.durable_promised = promised;
            }
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            CU_ASSERT_EQUAL(stats().marked_writes, i == 4);
            check_served();
            case_end();
        }
    done();
}

/* A device that errs once at a place is read again, and that is counted. */
static void test_errs_once(void)
{
    prepare(9);
    keep();
    for (uint64_t nth = 1; nth <= 4; nth++) {
        case_begin(false);
        hg_disk_sim_fail(h.disk, HG_DISK_READ, nth, EIO);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT_EQUAL(stats().reads_again, 1);
        CU_ASSERT_EQUAL(stats().unreadable_blocks, 0);
        check_served();
        case_end();
    }
    done();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_unreadable", NULL, NULL);
    CU_add_test(suite, "every block", test_every_block);
    CU_add_test(suite, "the newest, without the ring", test_newest_without_ring);
    CU_add_test(suite, "the ring, and rot", test_ring_and_rot);
    CU_add_test(suite, "a header behind the end", test_header_behind);
    CU_add_test(suite, "superblocks", test_superblocks);
    CU_add_test(suite, "a superblock, and rot", test_superblock_and_rot);
    CU_add_test(suite, "an old tail", test_old_tail);
    CU_add_test(suite, "crashes", test_crashes);
    CU_add_test(suite, "errs once", test_errs_once);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
