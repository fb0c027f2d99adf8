/* SPDX-License-Identifier: Apache-2.0
 *
 * The log on a disk that errs: rot, lost and short writes, I/O errors, bad superblocks, stale tails.
 */
#include "log_harness.h"

static struct harness h;

/* A log with `writes` durable writes, closed. `ring` = their ring copies are on disk too. */
static void prepare(uint64_t seed, uint32_t writes, bool ring)
{
    harness_create(&h, seed, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < writes; i++) {
        CU_ASSERT_FATAL(harness_append(&h, 4, 1500) != 0);
        hg_log_close_write(h.log);
        while (hg_log_durable_sequence(h.log) < i + 1)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    }
    if (ring)
        harness_settle(&h);
    harness_crash(&h, true);
}

static struct hg_log_write_header *write_on_disk(uint64_t sequence)
{
    return harness_write_in(&h, hg_disk_sim_bytes(h.disk), sequence);
}

static uint64_t offset_of(const void *at)
{
    return (uint64_t)((const uint8_t *)at - hg_disk_sim_bytes(h.disk));
}

static void expect_corrupt(uint64_t sequence)
{
    uint32_t before = hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes);
    char text[64];
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_FAILED);
    CU_ASSERT_TRUE(hg_log_is_corrupt(h.log));
    snprintf(text, sizeof(text), "sequence %llu ", (unsigned long long)sequence);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), text));
    CU_ASSERT_EQUAL(before,
                    hg_crc32c(0, hg_disk_sim_bytes(h.disk), h.disk->size_bytes)); /* nothing touched */
    harness_destroy(&h);
}

static void test_rot_in_payload(void)
{
    for (uint64_t sequence = 1; sequence <= 20; sequence++) {
        prepare(sequence, 20, true);
        hg_disk_sim_flip_bit(h.disk, offset_of(write_on_disk(sequence)) + HG_LOG_BLOCK_BYTES + 100, 3);
        expect_corrupt(sequence);
    }
}

/* Without the ring, later headers prove that a write was durable; only of the very last nothing is known. */
static void test_rot_without_ring(void)
{
    for (uint64_t sequence = 1; sequence <= 20; sequence++) {
        prepare(sequence, 20, true);
        for (uint64_t i = 1; i <= 20; i++)
            harness_ring_erase(&h, i);
        hg_disk_sim_flip_bit(h.disk, offset_of(write_on_disk(sequence)) + HG_LOG_BLOCK_BYTES + 100, 3);
        if (sequence < 20) {
            expect_corrupt(sequence);
            continue;
        }
        h.durable_promised = 19;
        CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 19);
        harness_destroy(&h);
    }
}

/* The ring and the segments are gone, the superblock is not: that is no empty log. */
static void test_wiped(void)
{
    for (uint32_t writes = 0; writes <= 2; writes++) {
        prepare(writes + 1, writes, true);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY); /* whose superblock knows of them */
        harness_crash(&h, true);
        memset(hg_disk_sim_bytes(h.disk) + HG_LOG_RING_OFFSET, 0, h.disk->size_bytes - HG_LOG_RING_OFFSET);
        if (writes > 0) {
            expect_corrupt(1);
            continue;
        }
        CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
        CU_ASSERT_FALSE(hg_log_tail_is_torn(h.log));
        harness_destroy(&h);
    }
}

/* A rotten header block is restored from the ring, and stays restored. */
static void test_rot_in_header(void)
{
    for (uint64_t sequence = 1; sequence <= 20; sequence++) {
        prepare(sequence, 20, true);
        uint64_t offset = offset_of(write_on_disk(sequence));
        hg_disk_sim_flip_bit(h.disk, offset + 33, 5);
        for (int life = 0; life < 2; life++) {
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            harness_check_recovered(&h);
            CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 20);
            harness_check_reads(&h);
            harness_crash(&h, true);
            harness_ring_erase(&h, sequence);
        }
        harness_destroy(&h);
    }
}

static void test_header_and_copy_rot(void)
{
    prepare(1, 20, true);
    hg_disk_sim_flip_bit(h.disk, offset_of(write_on_disk(7)) + 33, 5);
    harness_ring_erase(&h, 7);
    expect_corrupt(7);
}

/* Acknowledged by the device, never written. */
static void test_lost_write(void)
{
    harness_create(&h, 3, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < 10; i++) {
        if (i == 4)
            hg_disk_sim_lose_write(h.disk, 1);
        harness_append(&h, 4, 1500);
        hg_log_close_write(h.log);
        harness_settle(&h);
    }
    harness_crash(&h, true);
    expect_corrupt(5);
}

/* The last write is torn: it was never acknowledged, the log ends before it, twice. */
static void test_torn_tail(void)
{
    prepare(4, 20, false);
    for (uint64_t i = 1; i <= 20; i++)
        harness_ring_erase(&h, i);
    struct hg_log_write_header *last = write_on_disk(20);
    memset((uint8_t *)last + HG_LOG_BLOCK_BYTES + 512, 0, 512);
    hg_disk_sim_settle(h.disk);
    h.durable_promised = 19;
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(hg_log_next_sequence(h.log), 20);
    CU_ASSERT_TRUE(hg_log_tail_is_torn(h.log)); /* to a quorum this is unknown, not absent */
    /* The next life writes its own 20, then loses power with an old 21 of the same log lying behind it. */
    harness_append(&h, 4, 1500);
    harness_settle(&h);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 20);
    harness_check_reads(&h);
    harness_destroy(&h);
}

/* A write of an earlier life that lies exactly where the next is expected, whole, is not taken. */
static void test_stale_tail(void)
{
    uint8_t old[2 * HG_LOG_BLOCK_BYTES];
    harness_create(&h, 5, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    for (uint32_t i = 0; i < 2; i++) {
        harness_append(&h, 2, 500);
        hg_log_close_write(h.log);
        harness_settle(&h);
    }
    harness_crash(&h, true);
    struct hg_log_write_header *second = write_on_disk(2);
    uint64_t offset = offset_of(second);
    memcpy(old, second, sizeof(old));
    memset(second, 0, sizeof(old)); /* as if 1 and 2 had been torn before any acknowledgement */
    memset(write_on_disk(1), 0, HG_LOG_BLOCK_BYTES);
    harness_ring_erase(&h, 1);
    harness_ring_erase(&h, 2);
    hg_disk_sim_settle(h.disk);
    h.durable_promised = 0;
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(hg_log_next_sequence(h.log), 1);
    harness_append(&h, 2, 500);
    harness_settle(&h);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL(offset_of(write_on_disk(1)) + 2 * HG_LOG_BLOCK_BYTES, offset);
    /* The device brings the old second write back. */
    ((struct hg_log_write_header *)old)->durable_sequence = 0;
    hg_log_write_header_seal((struct hg_log_write_header *)old, old + HG_LOG_BLOCK_BYTES);
    memcpy(hg_disk_sim_bytes(h.disk) + offset, old, sizeof(old));
    hg_disk_sim_settle(h.disk);
    CU_ASSERT_EQUAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 1);
    harness_destroy(&h);
}

/* Of the same life, whole, but naming another predecessor: a fork, never taken, never cut off. */
static void test_fork(void)
{
    prepare(6, 5, false);
    struct hg_log_write_header *header = write_on_disk(4);
    header->previous_crc32c ^= 1;
    hg_log_write_header_seal(header, (uint8_t *)header + HG_LOG_BLOCK_BYTES);
    hg_disk_sim_settle(h.disk);
    expect_corrupt(4);
}

static void test_superblocks(void)
{
    for (uint32_t bad = 0; bad < 16; bad++) {
        prepare(7, 3, true);
        for (uint32_t copy = 0; copy < 4; copy++)
            if ((bad & 1u << copy) != 0)
                hg_disk_sim_flip_bit(h.disk, copy * HG_LOG_BLOCK_BYTES + 60, 1);
        /* Generation 1 is in copies 0 and 1, generation 2 in 2 and 3. */
        bool pair = (bad & 3) == 0 || (bad & 12) == 0;
        CU_ASSERT_EQUAL(harness_recover(&h), pair ? HG_LOG_READY : HG_LOG_FAILED);
        if (pair) {
            harness_check_recovered(&h);
            bool seen =
                (bad & 12) != 12; /* one copy of generation 2 at least: its restart number is not reused */
            CU_ASSERT(!seen || hg_log_restarts(h.log) == 2);
        } else {
            CU_ASSERT_FALSE(hg_log_is_corrupt(h.log));
        }
        harness_destroy(&h);
    }
}

static void promise(uint64_t epoch)
{
    hg_log_epoch_promise(h.log, 0, epoch);
    while (hg_log_state(h.log) == HG_LOG_READY && hg_log_epoch_promised(h.log, 0) < epoch)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
}

/* The flush of an update fails, and the device may have let go of it: it can be read, and the pair of before
 * is the only one on the device. Then power goes after any number of turns of the recovery: that pair's
 * promise was answered. */
static void test_superblock_let_go(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        enum hg_log_state reached = HG_LOG_RECOVERING;
        for (uint32_t turns = 0; reached == HG_LOG_RECOVERING; turns++) {
            harness_create(&h, seed * 1000 + turns, 24);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            promise(5);
            CU_ASSERT_EQUAL_FATAL(hg_log_epoch_promised(h.log, 0), 5);
            hg_disk_sim_fail(h.disk, HG_DISK_FLUSH, 1, EIO);
            promise(6);
            CU_ASSERT_EQUAL_FATAL(hg_log_state(h.log), HG_LOG_FAILED);
            harness_crash(&h, false);
            harness_open(&h);
            for (uint32_t turn = 0; turn < turns && hg_log_state(h.log) == HG_LOG_RECOVERING; turn++)
                CU_ASSERT_TRUE_FATAL(harness_turn(&h));
            reached = hg_log_state(h.log);
            harness_crash(&h, true);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            CU_ASSERT(hg_log_epoch_promised(h.log, 0) >= 5);
            harness_destroy(&h);
        }
        CU_ASSERT_EQUAL(reached, HG_LOG_READY);
    }
}

static void expect_failed(const char *text)
{
    uint64_t durable = hg_log_durable_sequence(h.log);
    harness_append(&h, 4, 1500);
    hg_log_close_write(h.log);
    while (hg_log_state(h.log) != HG_LOG_FAILED)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), text));
    CU_ASSERT_FALSE(hg_log_is_corrupt(h.log));
    enum hg_log_pressure pressure;
    CU_ASSERT_PTR_NULL(hg_log_reserve(h.log, 64, &pressure));
    while (harness_turn(&h))
        ;
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), durable);
    CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_FAILED);
}

static void test_io_errors(void)
{
    for (int op = HG_DISK_WRITE; op <= HG_DISK_FLUSH; op += HG_DISK_FLUSH - HG_DISK_WRITE)
        for (uint64_t seed = 1; seed < 30; seed++) {
            harness_create(&h, seed, 24);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            harness_append(&h, 4, 1500);
            harness_settle(&h);
            hg_disk_sim_fail(h.disk, (enum hg_disk_op)op, 1, EIO);
            expect_failed("Input/output error");
            harness_crash(&h, true);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
            harness_check_recovered(&h);
            harness_check_reads(&h);
            harness_destroy(&h);
        }
}

static void test_short_write(void)
{
    harness_create(&h, 9, 24);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_append(&h, 4, 1500);
    harness_settle(&h);
    hg_disk_sim_short_write(h.disk, 1, 512);
    harness_append(&h, 4, 1500);
    harness_settle(&h);
    CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), 2); /* written once more */
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.writes_again, 1);
    harness_crash(&h, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    hg_disk_sim_short_write(h.disk, 1, 512);
    harness_append(&h, 4, 1500);
    hg_log_close_write(h.log);
    while (hg_disk_sim_next_ns(h.disk) == HG_TIME_NEVER)
        harness_turn(&h);
    struct hg_disk_sim_stats before, after;
    hg_disk_sim_stats_get(h.disk, &before);
    do {
        harness_turn(&h);
        hg_disk_sim_stats_get(h.disk, &after);
        if (after.writes == before.writes)
            hg_disk_sim_short_write(h.disk, 1, 0);
    } while (hg_log_state(h.log) == HG_LOG_READY && hg_log_durable_sequence(h.log) < 3);
    CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), "short"));
    harness_destroy(&h);
}

static void test_read_rot(void)
{
    const uint8_t *payload;
    uint32_t bytes;
    int result;
    prepare(10, 20, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_disk_sim_flip_bit(h.disk, offset_of(write_on_disk(5)) + HG_LOG_BLOCK_BYTES + 50, 1);
    while ((result = hg_log_at(h.log, 5, &payload, &bytes)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL(result, -EBADMSG);
    hg_disk_sim_flip_bit(h.disk, offset_of(write_on_disk(5)) + HG_LOG_BLOCK_BYTES + 50, 1);
    while ((result = hg_log_at(h.log, 5, &payload, &bytes)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL(result, 1); /* asked again, read again */
    struct hg_log_stats stats;
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.corrupt_writes, 1);
    CU_ASSERT_EQUAL(stats.reads_again, HG_LOG_READ_TRIES - 1);
    CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_READY); /* the log stays up */
    harness_destroy(&h);
}

/* A device that errs once costs its readers nothing. */
static void test_read_error(void)
{
    const uint8_t *payload;
    uint32_t bytes;
    int result;
    struct hg_log_stats stats;
    prepare(10, 20, true);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    hg_disk_sim_fail(h.disk, HG_DISK_READ, 1, EIO);
    while ((result = hg_log_at(h.log, 6, &payload, &bytes)) == 0)
        CU_ASSERT_TRUE_FATAL(harness_turn(&h));
    CU_ASSERT_EQUAL(result, 1);
    hg_log_stats_get(h.log, &stats);
    CU_ASSERT_EQUAL(stats.reads_again, 1);
    CU_ASSERT_EQUAL(stats.corrupt_writes, 0);
    harness_destroy(&h);
}

/* A device that can't be read any more is no verdict: stop, change nothing, try again. */
static void test_recovery_read_error(void)
{
    for (uint32_t turns = 0; turns <= 8; turns++) {
        prepare(11, 20, true);
        harness_open(&h);
        for (uint32_t turn = 0; turn < turns; turn++)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        hg_disk_sim_fail_all(h.disk, HG_DISK_READ, EIO);
        while (hg_log_state(h.log) == HG_LOG_RECOVERING)
            CU_ASSERT_TRUE_FATAL(harness_turn(&h));
        CU_ASSERT_EQUAL(hg_log_state(h.log), HG_LOG_FAILED);
        CU_ASSERT_FALSE(hg_log_is_corrupt(h.log) || hg_log_is_unusable(h.log));
        CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), "can't be read"));
        CU_ASSERT_PTR_NOT_NULL(strstr(hg_log_message(h.log), "Input/output error"));
        hg_disk_sim_fail_all(h.disk, HG_DISK_READ, 0);
        uint64_t promised = h.durable_promised;
        harness_crash(&h, true);
        h.durable_promised = promised;
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        harness_destroy(&h);
    }
}

/* One read of a recovery gives other bytes, and nothing but the newest writes themselves says that they were
 * acknowledged: it finds them all, or it refuses, and the next one finds them. */
static void test_recovery_wrong_read(void)
{
    static const uint64_t blocks[] = {0, 1, 2, 300};
    uint32_t opened = 0, read_again = 0;
    for (uint32_t i = 0; i < 4 * 4 * 16; i++) {
        uint32_t writes = 1 + i % 4;
        struct hg_log_stats stats;
        prepare(1 + i, writes, false);
        hg_disk_sim_wrong_read(h.disk, 1 + i / 16, blocks[i / 4 % 4]);
        bool is_open = harness_recover(&h) == HG_LOG_READY;
        hg_log_stats_get(h.log, &stats);
        read_again += stats.reads_again > 0;
        opened += is_open;
        if (!is_open) {
            harness_crash(&h, false);
            CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        }
        CU_ASSERT_EQUAL(hg_log_durable_sequence(h.log), writes);
        harness_check_recovered(&h);
        harness_check_reads(&h);
        harness_destroy(&h);
    }
    CU_ASSERT(opened > 150 && opened < 4 * 4 * 16 && read_again > 5);
}

/* Recovering what was recovered changes nothing but the restart number. */
static void test_idempotent(void)
{
    prepare(12, 40, false);
    CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
    harness_check_recovered(&h);
    harness_settle(&h);
    uint32_t segments =
        hg_crc32c(0, hg_disk_sim_bytes(h.disk) + HG_LOG_RING_OFFSET, h.disk->size_bytes - HG_LOG_RING_OFFSET);
    for (uint32_t i = 0; i < 5; i++) {
        harness_crash(&h, true);
        CU_ASSERT_EQUAL_FATAL(harness_recover(&h), HG_LOG_READY);
        harness_check_recovered(&h);
        CU_ASSERT_EQUAL(hg_log_restarts(h.log), 3 + i);
        CU_ASSERT_EQUAL(segments, hg_crc32c(0, hg_disk_sim_bytes(h.disk) + HG_LOG_RING_OFFSET,
                                            h.disk->size_bytes - HG_LOG_RING_OFFSET));
    }
    harness_destroy(&h);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_fault", NULL, NULL);
    CU_add_test(suite, "rot in a payload", test_rot_in_payload);
    CU_add_test(suite, "rot without the ring", test_rot_without_ring);
    CU_add_test(suite, "a wiped log is not an empty one", test_wiped);
    CU_add_test(suite, "rot in a header", test_rot_in_header);
    CU_add_test(suite, "header and copy rot", test_header_and_copy_rot);
    CU_add_test(suite, "lost write", test_lost_write);
    CU_add_test(suite, "torn tail", test_torn_tail);
    CU_add_test(suite, "stale tail", test_stale_tail);
    CU_add_test(suite, "fork", test_fork);
    CU_add_test(suite, "superblocks", test_superblocks);
    CU_add_test(suite, "a superblock that a flush let go of", test_superblock_let_go);
    CU_add_test(suite, "I/O errors", test_io_errors);
    CU_add_test(suite, "short write", test_short_write);
    CU_add_test(suite, "rot under a reader", test_read_rot);
    CU_add_test(suite, "read error under a reader", test_read_error);
    CU_add_test(suite, "read error in recovery", test_recovery_read_error);
    CU_add_test(suite, "a wrong read in recovery", test_recovery_wrong_read);
    CU_add_test(suite, "idempotent", test_idempotent);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
