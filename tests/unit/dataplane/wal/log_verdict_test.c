/* SPDX-License-Identifier: Apache-2.0
 *
 * Every combination of recovery's decision table, written down a second time as the rules of
 * docs/disk-format.md.
 */
#include "dataplane/wal/log_recovery.h"

#include <CUnit/Basic.h>

static enum hg_log_verdict by_the_rules(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                        enum hg_log_reach reach)
{
    if (write == HG_LOG_FOUND_CHAINED)
        return HG_LOG_VERDICT_PRESENT;
    if (write == HG_LOG_FOUND_UNCHAINED)
        return HG_LOG_VERDICT_FORK;
    /* It may be the header of a write that was durable, and fit: rot with a header of its own is that anyway.
     */
    if (copy == HG_LOG_COPY_UNREADABLE)
        return reach == HG_LOG_REACH_SETTLED && write == HG_LOG_FOUND_ROTTEN ? HG_LOG_VERDICT_MARKED
                                                                             : HG_LOG_VERDICT_UNREADABLE;
    if (copy == HG_LOG_COPY_FITS)
        return HG_LOG_VERDICT_PRESENT_COPY;
    if (copy == HG_LOG_COPY_ABSENT && reach == HG_LOG_REACH_BEYOND)
        return write == HG_LOG_FOUND_STALE ? HG_LOG_VERDICT_END : HG_LOG_VERDICT_TORN;
    if (reach == HG_LOG_REACH_SETTLED && write == HG_LOG_FOUND_ROTTEN && copy != HG_LOG_COPY_ONLY)
        return HG_LOG_VERDICT_MARKED;
    if (reach == HG_LOG_REACH_SETTLED && write == HG_LOG_FOUND_BAD && copy == HG_LOG_COPY_ROTTEN)
        return HG_LOG_VERDICT_MARKED_COPY;
    return HG_LOG_VERDICT_CORRUPT;
}

static enum hg_log_verdict verdict_of(int write, int copy, int reach)
{
    return hg_log_recovery_verdict((enum hg_log_write_found)write, (enum hg_log_copy_found)copy,
                                   (enum hg_log_reach)reach);
}

static void test_every_combination(void)
{
    int seen[HG_LOG_VERDICT_UNREADABLE + 1] = {0};
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++)
            for (int reach = 0; reach < HG_LOG_REACH_COUNT; reach++) {
                enum hg_log_verdict verdict = verdict_of(write, copy, reach);
                CU_ASSERT_EQUAL(verdict,
                                by_the_rules((enum hg_log_write_found)write, (enum hg_log_copy_found)copy,
                                             (enum hg_log_reach)reach));
                seen[verdict]++;
            }
    for (int verdict = 0; verdict <= HG_LOG_VERDICT_UNREADABLE; verdict++)
        CU_ASSERT(seen[verdict] > 0);
}

/* What must never be: a write that was durable ends the log, or one that is whole is thrown away. */
static void test_never_truncates(void)
{
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++)
            for (int reach = 0; reach < HG_LOG_REACH_BEYOND; reach++) {
                enum hg_log_verdict verdict = verdict_of(write, copy, reach);
                CU_ASSERT(verdict != HG_LOG_VERDICT_TORN && verdict != HG_LOG_VERDICT_END);
            }
}

static bool is_mark(enum hg_log_verdict verdict)
{
    return verdict == HG_LOG_VERDICT_MARKED || verdict == HG_LOG_VERDICT_MARKED_COPY;
}

/* A mark stands in place of a refusal and of nothing else, and only far below D, where others may have it. */
static void test_marks_only_what_was_refused(void)
{
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++) {
            enum hg_log_verdict settled = verdict_of(write, copy, HG_LOG_REACH_SETTLED);
            enum hg_log_verdict durable = verdict_of(write, copy, HG_LOG_REACH_DURABLE);
            CU_ASSERT(settled == durable || (is_mark(settled) && (durable == HG_LOG_VERDICT_CORRUPT ||
                                                                  durable == HG_LOG_VERDICT_UNREADABLE)));
            CU_ASSERT_FALSE(is_mark(durable) || is_mark(verdict_of(write, copy, HG_LOG_REACH_BEYOND)));
        }
    for (uint64_t below = 0; below < 40; below++) {
        bool is_far = below > HG_LOG_WRITES_UNFLUSHED_MAX;
        CU_ASSERT_EQUAL(hg_log_recovery_reach(100 - below, 100, true),
                        is_far ? HG_LOG_REACH_SETTLED : HG_LOG_REACH_DURABLE);
        CU_ASSERT_EQUAL(hg_log_recovery_reach(100 - below, 100, false), HG_LOG_REACH_DURABLE);
        CU_ASSERT_EQUAL(hg_log_recovery_reach(101 + below, 100, true), HG_LOG_REACH_BEYOND);
    }
}

/* What can't be read ends no log, and is not called corrupt: neither of the ring, where any copy may have
 * been, nor of the write itself. */
static void test_unreadable(void)
{
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int reach = 0; reach < HG_LOG_REACH_COUNT; reach++) {
            enum hg_log_verdict unread = verdict_of(write, HG_LOG_COPY_UNREADABLE, reach);
            CU_ASSERT(unread != HG_LOG_VERDICT_TORN && unread != HG_LOG_VERDICT_END &&
                      unread != HG_LOG_VERDICT_CORRUPT);
            /* What is said without the ring would be said, or be no refusal, with whatever it has. */
            for (int copy = 0; copy < HG_LOG_COPY_COUNT && unread == HG_LOG_VERDICT_PRESENT; copy++)
                CU_ASSERT_EQUAL(verdict_of(write, copy, reach), unread);
            for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++) {
                enum hg_log_verdict verdict = verdict_of(write, copy, reach),
                                    said = hg_log_verdict_unread(verdict);
                bool is_known = verdict == HG_LOG_VERDICT_PRESENT || verdict == HG_LOG_VERDICT_PRESENT_COPY ||
                                verdict == HG_LOG_VERDICT_FORK || is_mark(verdict);
                CU_ASSERT_EQUAL(said, is_known ? verdict : HG_LOG_VERDICT_UNREADABLE);
            }
        }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_verdict", NULL, NULL);
    CU_add_test(suite, "every combination", test_every_combination);
    CU_add_test(suite, "a durable write never ends the log", test_never_truncates);
    CU_add_test(suite, "a mark stands for a refusal alone", test_marks_only_what_was_refused);
    CU_add_test(suite, "what can't be read", test_unreadable);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
