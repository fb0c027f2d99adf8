/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/disk/disk_sim.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define BLOCK HG_DISK_BLOCK_BYTES

static uint8_t memory[16 * BLOCK] __attribute__((aligned(BLOCK)));
static uint8_t back[16 * BLOCK] __attribute__((aligned(BLOCK)));

static struct hg_disk *disk_make(uint64_t seed)
{
    struct hg_disk_sim_config config = {.size_bytes = 64 * BLOCK,
                                        .depth = 8,
                                        .seed = seed,
                                        .write_ns_min = 1000,
                                        .write_ns_max = 9000,
                                        .read_ns_min = 1000,
                                        .read_ns_max = 2000,
                                        .flush_ns_min = 5000,
                                        .flush_ns_max = 50000};
    return hg_disk_sim_create(&config);
}

/* Runs virtual time until nothing is in flight. Returns the last result. */
static int32_t drain(struct hg_disk *disk)
{
    struct hg_disk_completion completion;
    int32_t result = 0;
    uint64_t next_ns;
    while ((next_ns = hg_disk_sim_next_ns(disk)) != HG_TIME_NEVER) {
        static uint64_t now_ns;
        now_ns = hg_max_u64(now_ns, next_ns);
        hg_disk_sim_time_set(disk, now_ns);
        while (disk->poll(disk, &completion, 1) == 1)
            result = completion.result;
    }
    return result;
}

static int32_t write_all(struct hg_disk *disk, uint8_t fill, uint64_t block, uint32_t blocks)
{
    memset(memory, fill, blocks * BLOCK);
    CU_ASSERT_TRUE(disk->write(disk, 1, memory, blocks * BLOCK, block * BLOCK));
    return drain(disk);
}

static int32_t flush_all(struct hg_disk *disk)
{
    CU_ASSERT_TRUE(disk->flush(disk, 2));
    return drain(disk);
}

static void test_basics(void)
{
    struct hg_disk *disk = disk_make(1);
    struct hg_disk_completion completions[4];

    memset(memory, 7, BLOCK);
    CU_ASSERT_TRUE(disk->write(disk, 11, memory, BLOCK, 0));
    CU_ASSERT_EQUAL(disk->poll(disk, completions, 4), 1); /* instantaneous before time runs */
    CU_ASSERT(completions[0].tag == 11 && completions[0].result == BLOCK &&
              completions[0].op == HG_DISK_WRITE);
    hg_disk_sim_time_set(disk, 100);
    CU_ASSERT_TRUE(disk->read(disk, 12, back, BLOCK, 0));
    CU_ASSERT_EQUAL(disk->poll(disk, completions, 4), 0);
    uint64_t next_ns = hg_disk_sim_next_ns(disk);
    CU_ASSERT(next_ns >= 1100 && next_ns <= 2100);
    hg_disk_sim_time_set(disk, next_ns);
    CU_ASSERT_EQUAL(disk->poll(disk, completions, 4), 1);
    CU_ASSERT(completions[0].tag == 12 && completions[0].op == HG_DISK_READ);
    CU_ASSERT_EQUAL(memcmp(back, memory, BLOCK), 0);
    for (int i = 0; i < 8; i++)
        CU_ASSERT_TRUE(disk->read(disk, 12, back, BLOCK, 0));
    CU_ASSERT_FALSE(disk->read(disk, 12, back, BLOCK, 0));
    drain(disk);
    disk->close(disk);
}

static bool all_bytes(const uint8_t *bytes, uint8_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes[i] != value)
            return false;
    return true;
}

static void test_flushed_survives(void)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct hg_disk *disk = disk_make(seed);
        write_all(disk, 1, 0, 4);
        CU_ASSERT_EQUAL(flush_all(disk), 0);
        hg_disk_sim_crash(disk);
        CU_ASSERT_TRUE(all_bytes(hg_disk_sim_bytes(disk), 1, 4 * BLOCK));
        disk->close(disk);
    }
}

/* With dsync what completed is there, without any flush; what was under way is anything. */
static void test_dsync_survives(void)
{
    uint32_t lost = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct hg_disk *disk = disk_make(seed);
        disk->is_dsync = true;
        write_all(disk, 1, 0, 4);
        CU_ASSERT_TRUE(disk->write(disk, 1, memory, BLOCK, 4 * BLOCK));
        hg_disk_sim_crash(disk);
        CU_ASSERT_TRUE(all_bytes(hg_disk_sim_bytes(disk), 1, 4 * BLOCK));
        lost += !all_bytes(hg_disk_sim_bytes(disk) + 4 * BLOCK, 1, BLOCK);
        disk->close(disk);
    }
    CU_ASSERT(lost > 10);
}

/* Unflushed sectors are old, new, torn or zero, each of them sometimes; nothing else ever. */
static void test_unflushed_is_anything(void)
{
    uint32_t old = 0, new = 0, torn = 0, zero = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct hg_disk *disk = disk_make(seed);
        write_all(disk, 1, 0, 4);
        flush_all(disk);
        write_all(disk, 2, 0, 4);
        hg_disk_sim_crash(disk);
        const uint8_t *at = hg_disk_sim_bytes(disk);
        for (uint32_t i = 0; i < 4 * BLOCK / 512; i++, at += 512) {
            if (all_bytes(at, 1, 512))
                old++;
            else if (all_bytes(at, 2, 512))
                new ++;
            else if (all_bytes(at, 0, 512))
                zero++;
            else
                torn++;
            for (uint32_t j = 0; j < 512; j++)
                CU_ASSERT_FATAL(at[j] <= 2);
        }
        disk->close(disk);
    }
    CU_ASSERT(old > 0 && new > 0 && torn > 0 && zero > 0);
}

/* A flush does not cover a write that had not been reaped when it was submitted. */
static void test_flush_covers_reaped_only(void)
{
    uint32_t lost = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct hg_disk *disk = disk_make(seed);
        hg_disk_sim_time_set(disk, 1);
        memset(memory, 3, BLOCK);
        CU_ASSERT_TRUE(disk->write(disk, 1, memory, BLOCK, 0));
        CU_ASSERT_EQUAL(flush_all(disk) & 0, 0);
        hg_disk_sim_crash(disk);
        lost += !all_bytes(hg_disk_sim_bytes(disk), 3, BLOCK);
        disk->close(disk);
    }
    CU_ASSERT(lost > 10);
}

static void test_in_flight_vanishes(void)
{
    struct hg_disk *disk = disk_make(1);
    hg_disk_sim_time_set(disk, 1);
    uint8_t *gone = aligned_alloc(BLOCK, BLOCK);
    memset(gone, 9, BLOCK);
    CU_ASSERT_TRUE(disk->write(disk, 1, gone, BLOCK, 0));
    free(gone); /* the process is dead */
    hg_disk_sim_crash(disk);
    CU_ASSERT_EQUAL(hg_disk_sim_next_ns(disk), HG_TIME_NEVER);
    CU_ASSERT_EQUAL(write_all(disk, 1, 0, 1), BLOCK);
    disk->close(disk);
}

static void test_kill_keeps_device(void)
{
    struct hg_disk *disk = disk_make(1);
    hg_disk_sim_time_set(disk, 1);
    memset(memory, 9, BLOCK);
    CU_ASSERT_TRUE(disk->write(disk, 1, memory, BLOCK, 0));
    hg_disk_sim_kill(disk);
    CU_ASSERT_EQUAL(hg_disk_sim_next_ns(disk), HG_TIME_NEVER);
    CU_ASSERT_TRUE(all_bytes(hg_disk_sim_bytes(disk), 9, BLOCK));
    CU_ASSERT_EQUAL(flush_all(disk), 0);
    hg_disk_sim_crash(disk);
    CU_ASSERT_TRUE(all_bytes(hg_disk_sim_bytes(disk), 9, BLOCK));
    disk->close(disk);
}

static void test_faults(void)
{
    struct hg_disk *disk = disk_make(2);
    hg_disk_sim_fail(disk, HG_DISK_WRITE, 2, EIO);
    CU_ASSERT_EQUAL(write_all(disk, 1, 0, 1), BLOCK);
    CU_ASSERT_EQUAL(write_all(disk, 1, 0, 1), -EIO);
    CU_ASSERT_EQUAL(write_all(disk, 1, 0, 1), BLOCK);
    hg_disk_sim_fail(disk, HG_DISK_FLUSH, 1, EIO);
    CU_ASSERT_EQUAL(flush_all(disk), -EIO);
    CU_ASSERT_EQUAL(flush_all(disk), 0);
    hg_disk_sim_short_write(disk, 1, 512);
    CU_ASSERT_EQUAL(write_all(disk, 5, 8, 1), 512);
    CU_ASSERT_TRUE(all_bytes(hg_disk_sim_bytes(disk) + 8 * BLOCK, 5, 512));
    CU_ASSERT_EQUAL(hg_disk_sim_bytes(disk)[8 * BLOCK + 512], 0);
    hg_disk_sim_lose_write(disk, 1);
    CU_ASSERT_EQUAL(write_all(disk, 6, 9, 1), BLOCK);
    CU_ASSERT_EQUAL(hg_disk_sim_bytes(disk)[9 * BLOCK], 0);
    hg_disk_sim_flip_bit(disk, 8 * BLOCK + 1, 3);
    CU_ASSERT_EQUAL(hg_disk_sim_bytes(disk)[8 * BLOCK + 1], 5 ^ 8);
    hg_disk_sim_fail_all(disk, HG_DISK_READ, EIO);
    CU_ASSERT_TRUE(disk->read(disk, 1, back, BLOCK, 0));
    CU_ASSERT_EQUAL(drain(disk), -EIO);
    disk->close(disk);
}

/* After a failed flush a later one says yes, and the data may be gone all the same. */
static void test_failed_flush_lets_go(void)
{
    uint32_t lost = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct hg_disk *disk = disk_make(seed);
        write_all(disk, 1, 0, 1);
        hg_disk_sim_fail(disk, HG_DISK_FLUSH, 1, EIO);
        flush_all(disk);
        CU_ASSERT_EQUAL(flush_all(disk), 0);
        hg_disk_sim_crash(disk);
        lost += hg_disk_sim_bytes(disk)[0] == 0;
        disk->close(disk);
    }
    CU_ASSERT(lost > 10 && lost < 50);
}

static void test_deterministic_and_clone(void)
{
    struct hg_disk *a = disk_make(77), *b = disk_make(77);
    for (uint8_t i = 1; i < 20; i++) {
        write_all(a, i, i, 3);
        write_all(b, i, i, 3);
    }
    struct hg_disk *c = hg_disk_sim_clone(a);
    hg_disk_sim_crash(a);
    hg_disk_sim_crash(b);
    hg_disk_sim_crash(c);
    CU_ASSERT_EQUAL(memcmp(hg_disk_sim_bytes(a), hg_disk_sim_bytes(b), a->size_bytes), 0);
    CU_ASSERT_EQUAL(memcmp(hg_disk_sim_bytes(a), hg_disk_sim_bytes(c), a->size_bytes), 0);
    a->close(a);
    b->close(b);
    c->close(c);
}

static void test_random(void)
{
    struct hg_random random;
    uint32_t histogram[7] = {0};
    hg_random_init(&random, 0);
    CU_ASSERT_EQUAL(hg_random_u64(&random),
                    UINT64_C(0x99ec5f36cb75f2b4)); /* xoshiro256** after SplitMix64(0) */
    for (int i = 0; i < 70000; i++)
        histogram[hg_random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++)
        CU_ASSERT(histogram[i] > 9500 && histogram[i] < 10500);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = hg_random_between(&random, 5, 9);
        CU_ASSERT(value >= 5 && value <= 9);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("disk_sim", NULL, NULL);
    CU_add_test(suite, "basics", test_basics);
    CU_add_test(suite, "flushed survives", test_flushed_survives);
    CU_add_test(suite, "dsync survives", test_dsync_survives);
    CU_add_test(suite, "unflushed is anything", test_unflushed_is_anything);
    CU_add_test(suite, "flush covers what was reaped", test_flush_covers_reaped_only);
    CU_add_test(suite, "in flight vanishes", test_in_flight_vanishes);
    CU_add_test(suite, "kill keeps the device", test_kill_keeps_device);
    CU_add_test(suite, "faults", test_faults);
    CU_add_test(suite, "failed flush lets go", test_failed_flush_lets_go);
    CU_add_test(suite, "deterministic", test_deterministic_and_clone);
    CU_add_test(suite, "random", test_random);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
