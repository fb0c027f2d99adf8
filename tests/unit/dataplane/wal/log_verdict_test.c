/* SPDX-License-Identifier: Apache-2.0
 *
 * Every combination of recovery's decision table, written down a second time as the rules of
 * docs/disk-format.md.
 */
#include "dataplane/wal/log_recovery.h"

#include <CUnit/Basic.h>

static enum hg_log_verdict by_the_rules(enum hg_log_write_found write, enum hg_log_copy_found copy,
                                        bool is_beyond)
{
    if (write == HG_LOG_FOUND_CHAINED)
        return HG_LOG_VERDICT_PRESENT;
    if (write == HG_LOG_FOUND_UNCHAINED)
        return HG_LOG_VERDICT_FORK;
    if (copy == HG_LOG_COPY_FITS)
        return HG_LOG_VERDICT_PRESENT_COPY;
    if (copy == HG_LOG_COPY_ONLY || !is_beyond)
        return HG_LOG_VERDICT_CORRUPT;
    return write == HG_LOG_FOUND_STALE ? HG_LOG_VERDICT_END : HG_LOG_VERDICT_TORN;
}

static void test_every_combination(void)
{
    int seen[HG_LOG_VERDICT_END + 1] = {0};
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++)
            for (int is_beyond = 0; is_beyond < 2; is_beyond++) {
                enum hg_log_verdict verdict = hg_log_recovery_verdict(
                    (enum hg_log_write_found)write, (enum hg_log_copy_found)copy, is_beyond);
                CU_ASSERT_EQUAL(verdict, by_the_rules((enum hg_log_write_found)write,
                                                      (enum hg_log_copy_found)copy, is_beyond));
                seen[verdict]++;
            }
    for (int verdict = 0; verdict <= HG_LOG_VERDICT_END; verdict++)
        CU_ASSERT(seen[verdict] > 0);
}

/* What must never be: a write that was durable ends the log, or one that is whole is thrown away. */
static void test_never_truncates(void)
{
    for (int write = 0; write < HG_LOG_FOUND_COUNT; write++)
        for (int copy = 0; copy < HG_LOG_COPY_COUNT; copy++) {
            enum hg_log_verdict verdict =
                hg_log_recovery_verdict((enum hg_log_write_found)write, (enum hg_log_copy_found)copy, false);
            CU_ASSERT(verdict != HG_LOG_VERDICT_TORN && verdict != HG_LOG_VERDICT_END);
        }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_verdict", NULL, NULL);
    CU_add_test(suite, "every combination", test_every_combination);
    CU_add_test(suite, "a durable write never ends the log", test_never_truncates);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
