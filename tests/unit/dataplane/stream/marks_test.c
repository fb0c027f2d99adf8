/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/marks.h"

#include <CUnit/Basic.h>

static struct hg_marks marks;

static void test_age(void)
{
    hg_marks_init(&marks);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 0, 100), 0);
    hg_marks_add(&marks, 10, 1 * HG_NS_PER_MS);
    hg_marks_add(&marks, 20, 5 * HG_NS_PER_MS);
    hg_marks_add(&marks, 30, 9 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 0, 10 * HG_NS_PER_MS), 9 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 9, 10 * HG_NS_PER_MS), 9 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 10, 10 * HG_NS_PER_MS), 5 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 29, 10 * HG_NS_PER_MS), 1 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 30, 10 * HG_NS_PER_MS), 0);
}

/* A mark within the interval takes the new end and keeps its time: lag is never understated by joining. */
static void test_join(void)
{
    hg_marks_init(&marks);
    hg_marks_add(&marks, 10, 0);
    hg_marks_add(&marks, 20, HG_MARKS_INTERVAL_NS - 1);
    CU_ASSERT_EQUAL(marks.count, 1);
    CU_ASSERT_EQUAL(hg_marks_age_ns(&marks, 15, HG_NS_PER_S), HG_NS_PER_S);
}

static void test_bounded_and_trimmed(void)
{
    hg_marks_init(&marks);
    for (uint64_t i = 1; i <= 100000; i++)
        hg_marks_add(&marks, i, i * HG_NS_PER_MS);
    CU_ASSERT(marks.count <= HG_MARKS_MAX);
    /* However thin, the age of the oldest is right to one interval. */
    uint64_t age_ns = hg_marks_age_ns(&marks, 0, 100000 * HG_NS_PER_MS);
    CU_ASSERT(age_ns >= 99999 * HG_NS_PER_MS - marks.interval_ns);
    CU_ASSERT(age_ns <= 99999 * HG_NS_PER_MS);
    hg_marks_trim(&marks, 50000);
    CU_ASSERT(marks.marks[0].lsn_end > 50000);
    hg_marks_trim(&marks, 100000);
    CU_ASSERT_EQUAL(marks.count, 0);
    CU_ASSERT_EQUAL(marks.interval_ns, HG_MARKS_INTERVAL_NS);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("marks", NULL, NULL);
    CU_add_test(suite, "age of the oldest above a position", test_age);
    CU_add_test(suite, "marks within an interval join", test_join);
    CU_add_test(suite, "bounded, and trimmed", test_bounded_and_trimmed);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
