/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue between a worker and housekeeping: in order, bounded, nothing torn between two threads.
 */
#include "dataplane/mailbox.h"

#include <CUnit/Basic.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define THREAD_LETTERS 200000u

static struct hg_mailbox *box;

static void begin(void)
{
    box = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*box));
    memset(box, 0, sizeof(*box));
}

static void letter_fill(struct hg_letter *letter, uint64_t number)
{
    memset(letter, (int)(number & 0x7f), sizeof(*letter));
    letter->number = number;
}

static bool letter_is(const struct hg_letter *letter, uint64_t number)
{
    struct hg_letter wanted;
    letter_fill(&wanted, number);
    return memcmp(letter, &wanted, sizeof(wanted)) == 0;
}

static void test_bounded(void)
{
    struct hg_letter letter;
    uint64_t put = 0, taken = 0;
    begin();
    CU_ASSERT_TRUE(hg_mailbox_empty(box));
    CU_ASSERT_FALSE(hg_mailbox_take(box, &letter));
    for (int round = 0; round < 3; round++) {
        for (;; put++) {
            letter_fill(&letter, put);
            if (!hg_mailbox_put(box, &letter))
                break;
        }
        CU_ASSERT_EQUAL(put - taken, HG_MAILBOX_LETTERS);
        CU_ASSERT_EQUAL(hg_mailbox_count(box), HG_MAILBOX_LETTERS);
        CU_ASSERT_EQUAL(box->refused_count, (uint64_t)round + 1);
        for (int i = 0; i < 100; i++, taken++) {
            CU_ASSERT_TRUE(hg_mailbox_take(box, &letter));
            CU_ASSERT_TRUE(letter_is(&letter, taken));
        }
        CU_ASSERT_EQUAL(hg_mailbox_count(box), HG_MAILBOX_LETTERS - 100);
    }
    while (hg_mailbox_take(box, &letter))
        CU_ASSERT_TRUE(letter_is(&letter, taken++));
    CU_ASSERT_EQUAL(taken, put);
    CU_ASSERT_TRUE(hg_mailbox_empty(box));
    for (uint32_t i = 0; i < sizeof(box->letters); i++) /* what was keys is gone */
        CU_ASSERT_EQUAL_FATAL(((const uint8_t *)box->letters)[i], 0);
    free(box);
}

static void *writer(void *ctx)
{
    struct hg_letter letter;
    (void)ctx;
    for (uint64_t number = 0; number < THREAD_LETTERS; number++) {
        letter_fill(&letter, number);
        while (!hg_mailbox_put(box, &letter))
            sched_yield();
    }
    return NULL;
}

static void test_threads(void)
{
    struct hg_letter letter;
    pthread_t thread;
    uint64_t wrong = 0;
    begin();
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, writer, NULL), 0);
    for (uint64_t number = 0; number < THREAD_LETTERS; number++) {
        while (!hg_mailbox_take(box, &letter))
            sched_yield();
        wrong += !letter_is(&letter, number);
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(wrong, 0);
    free(box);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("mailbox", NULL, NULL);
    CU_add_test(suite, "bounded and in order", test_bounded);
    CU_add_test(suite, "between two threads", test_threads);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
