/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/index.h"

#include <CUnit/Basic.h>

static struct hg_index index_;

static void test_empty(void)
{
    hg_index_init(&index_);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 5), 0);
    hg_index_trim(&index_, 100);
    CU_ASSERT_EQUAL(hg_index_find(&index_, UINT64_MAX), 0);
}

/* Write n carries LSNs 10n .. 10n+9. The answer is never after the write wanted, and within a stride of it.
 */
static void test_find(void)
{
    hg_index_init(&index_);
    for (uint64_t n = 1; n <= 100000; n++)
        hg_index_add(&index_, 10 * n, n, 1);
    CU_ASSERT(index_.count <= HG_INDEX_ENTRIES_MAX);
    for (uint64_t lsn = 10; lsn < 1000010; lsn += 7) {
        uint64_t wanted = lsn / 10, found = hg_index_find(&index_, lsn);
        CU_ASSERT_FATAL(found <= wanted && found > 0 && wanted - found <= 2 * index_.stride);
    }
    CU_ASSERT_EQUAL(hg_index_find(&index_, 9), 0);
    for (uint64_t sequence = 0; sequence < 100000; sequence += 13) {
        uint64_t lsn = hg_index_lsn_after(&index_, sequence);
        if (lsn == 0) {
            CU_ASSERT_FATAL(hg_index_find(&index_, UINT64_MAX) <= sequence);
            continue;
        }
        CU_ASSERT_FATAL(hg_index_find(&index_, lsn) > sequence &&
                        hg_index_find(&index_, lsn - 1) <= sequence);
    }
    CU_ASSERT(index_.stride <= 2 * 100000 / (HG_INDEX_ENTRIES_MAX / 2));
}

/* What a write may have is never too little: every other write is of the stream, its LSNs 10n .. 10n+9. */
static void test_range(void)
{
    uint64_t first = 0, after = 0;
    hg_index_init(&index_);
    CU_ASSERT_FALSE(hg_index_range(&index_, 1, &first, &after));
    for (uint64_t n = 1; n <= 1000; n++) {
        hg_index_add(&index_, 10 * n, 2 * n, 1);
        for (uint64_t sequence = n > 100 ? n : 1; sequence <= 2 * n; sequence += n > 50 ? 97 : 1) {
            bool has = hg_index_range(&index_, sequence, &first, &after);
            CU_ASSERT_EQUAL_FATAL(has, sequence >= 2);
            if (!has || sequence % 2 != 0)
                continue;
            CU_ASSERT_FATAL(first <= 5 * sequence && (after == 0 || after >= 5 * sequence + 10));
            CU_ASSERT_FATAL(5 * sequence - first <= 10 * index_.stride);
        }
    }
    hg_index_trim(&index_, 301);
    CU_ASSERT_FALSE(hg_index_range(&index_, 300, &first, &after));
    CU_ASSERT_TRUE(hg_index_range(&index_, 302, &first, &after));
    CU_ASSERT(first <= 1510 && after >= 1520);
}

static void test_trim(void)
{
    hg_index_init(&index_);
    for (uint64_t n = 1; n <= 20; n++)
        hg_index_add(&index_, 10 * n, 3 * n, 1);
    hg_index_trim(&index_, 31); /* between the entries 30 and 33 */
    CU_ASSERT_EQUAL(index_.entries[0].sequence, 31);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 100), 31);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 110), 33);
    hg_index_trim(&index_, 33);
    CU_ASSERT_EQUAL(index_.entries[0].sequence, 33);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 105), 0);
    hg_index_trim(&index_, 1000);
    CU_ASSERT_EQUAL(index_.count, 1);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 9999), 1000);
    hg_index_trim(&index_, 5); /* going back changes nothing */
    CU_ASSERT_EQUAL(index_.entries[0].sequence, 1000);
    hg_index_add(&index_, 999999, 1001, 1);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 999999), 1001);
}

static void test_same_write(void)
{
    hg_index_init(&index_);
    hg_index_add(&index_, 10, 1, 1);
    hg_index_add(&index_, 20, 1, 1);
    hg_index_add(&index_, 30, 1, 1);
    CU_ASSERT_EQUAL(index_.count, 1);
    CU_ASSERT_EQUAL(hg_index_find(&index_, 35), 1);
}

static void test_oldest_found(void)
{
    hg_index_init(&index_);
    hg_index_oldest_found(&index_, 1, 10); /* nothing to know of */
    CU_ASSERT_EQUAL(index_.count, 0);
    hg_index_add(&index_, 10, 1, 1);
    hg_index_add(&index_, 90, 9, 1);
    hg_index_trim(&index_, 5);
    hg_index_oldest_found(&index_, 6, 60); /* who began behind the tail may have passed some */
    CU_ASSERT_EQUAL(index_.entries[0].lsn_first, 10);
    hg_index_oldest_found(&index_, 5, 91); /* write 9 is there */
    CU_ASSERT_EQUAL(index_.entries[0].lsn_first, 10);
    hg_index_oldest_found(&index_, 5, 50);
    hg_index_oldest_found(&index_, 4, 40); /* of a walk before the tail moved */
    CU_ASSERT_EQUAL(index_.entries[0].lsn_first, 50);
    CU_ASSERT_EQUAL(index_.entries[0].sequence, 5);
}

static void test_stride_recovers(void)
{
    hg_index_init(&index_);
    uint64_t n = 1;
    for (; n <= 100000; n++)
        hg_index_add(&index_, n, n, 1);
    uint64_t stride = index_.stride;
    for (; n <= 200000; n++) {
        hg_index_add(&index_, n, n, 1);
        hg_index_trim(&index_, n - 10);
    }
    CU_ASSERT(stride > 1000 && index_.stride < 32);
}

/* Where the last so many bytes begin, never less than asked for, also when entries were thinned out. */
static void test_behind(void)
{
    hg_index_init(&index_);
    CU_ASSERT_EQUAL(hg_index_behind(&index_, 1), 0);
    for (uint64_t n = 1; n <= 1000; n++)
        hg_index_add(&index_, n, n, 100);
    CU_ASSERT_EQUAL(hg_index_behind(&index_, 1000 * 100 + 1), 0);
    CU_ASSERT_EQUAL(hg_index_behind(&index_, 1000 * 100), 1);
    for (uint64_t bytes = 1; bytes <= 1000 * 100; bytes += 77) {
        uint64_t sequence = hg_index_behind(&index_, bytes);
        CU_ASSERT_FATAL((1001 - sequence) * 100 >= bytes && (1001 - sequence) * 100 < bytes + 100 * 70);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("index", NULL, NULL);
    CU_add_test(suite, "empty", test_empty);
    CU_add_test(suite, "find", test_find);
    CU_add_test(suite, "range", test_range);
    CU_add_test(suite, "trim", test_trim);
    CU_add_test(suite, "several batches in a write", test_same_write);
    CU_add_test(suite, "the oldest is found", test_oldest_found);
    CU_add_test(suite, "stride recovers", test_stride_recovers);
    CU_add_test(suite, "so many bytes from the end", test_behind);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
