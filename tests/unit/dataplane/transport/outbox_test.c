/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/outbox.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static struct hg_outbox outbox;
static void *memory;

static void begin(uint32_t count)
{
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_outbox_memory_bytes(count), 64));
    hg_outbox_init(&outbox, memory, count);
}

static uint32_t add(uint32_t bytes)
{
    struct hg_lane_batch batch = {.alias = 1, .bytes = bytes};
    return hg_outbox_add(&outbox, &batch);
}

static void test_life(void)
{
    begin(64);
    uint32_t a = add(64 * 10 + 16);
    CU_ASSERT(outbox.cost_bytes == 1024);
    uint32_t ordinal = outbox.due_first;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == a);
    uint32_t first = 99;
    struct hg_outbox_batch *batch = hg_outbox_find(&outbox, a);
    CU_ASSERT(hg_outbox_run(&outbox, batch, 4, &first) == 4 && first == 0);
    CU_ASSERT(hg_outbox_sent(&outbox, a, 0, 4) == 4);
    CU_ASSERT(hg_outbox_run(&outbox, batch, 100, &first) == 7 && first == 4);
    CU_ASSERT(hg_outbox_sent(&outbox, a, 4, 7) == 7);
    CU_ASSERT(!hg_outbox_due(&outbox, &ordinal));
    CU_ASSERT(hg_outbox_acked(&outbox, a, 0, 4) == NULL);
    /* An ack twice, and a loss of what is acknowledged in part. */
    CU_ASSERT(hg_outbox_acked(&outbox, a, 0, 4) == NULL);
    hg_outbox_lost(&outbox, a, 2, 6);
    CU_ASSERT(batch->units_due == 4);
    ordinal = outbox.due_first;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == a);
    CU_ASSERT(hg_outbox_run(&outbox, batch, 100, &first) == 4 && first == 4);
    CU_ASSERT(hg_outbox_sent(&outbox, a, 4, 2) == 0); /* nothing of it is new */
    /* The late ack of the first sending takes the rest of the due units away. */
    CU_ASSERT(hg_outbox_acked(&outbox, a, 4, 7) == batch);
    CU_ASSERT(batch->units_due == 0);
    hg_outbox_close(&outbox, a);
    CU_ASSERT(hg_outbox_find(&outbox, a) == NULL && outbox.cost_bytes == 0 && outbox.tail == outbox.head);
    hg_outbox_lost(&outbox, a, 0, 4);
    CU_ASSERT(hg_outbox_acked(&outbox, a, 0, 4) == NULL);
}

static void test_oldest_first(void)
{
    begin(64);
    uint32_t a = add(640);
    uint32_t b = add(640);
    uint32_t c = add(640);
    hg_outbox_sent(&outbox, a, 0, 10);
    hg_outbox_sent(&outbox, b, 0, 10);
    uint32_t ordinal = outbox.due_first;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == c);
    hg_outbox_lost(&outbox, b, 3, 1);
    hg_outbox_lost(&outbox, a, 9, 1);
    ordinal = outbox.due_first;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == a);
    ordinal++;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == b);
    ordinal++;
    CU_ASSERT(hg_outbox_due(&outbox, &ordinal) && ordinal == c);
    ordinal++;
    CU_ASSERT(!hg_outbox_due(&outbox, &ordinal));
}

static void test_rooms_bounds(void)
{
    begin(64);
    for (uint32_t i = 0; i < 64; i++) {
        CU_ASSERT_FATAL(hg_outbox_has_room(&outbox));
        add(208);
    }
    CU_ASSERT(!hg_outbox_has_room(&outbox));
    hg_outbox_close(&outbox, outbox.tail + 5);
    CU_ASSERT(!hg_outbox_has_room(&outbox)); /* a ring: the oldest holds it */
    hg_outbox_close(&outbox, outbox.tail);
    CU_ASSERT(hg_outbox_has_room(&outbox));

    begin(64); /* the bits run out first, and come back, many times round */
    outbox.tail = outbox.head = outbox.due_first = UINT32_MAX - 20; /* ordinals wrap */
    uint32_t held = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        while (hg_outbox_has_room(&outbox)) {
            uint32_t ordinal = add(HG_BATCH_BYTES_MAX & ~15u);
            hg_outbox_sent(&outbox, ordinal, 0, hg_outbox_find(&outbox, ordinal)->unit_count);
            held++;
        }
        CU_ASSERT(held >= 29 && held <= 32);
        struct hg_outbox_batch *oldest = hg_outbox_find(&outbox, outbox.tail);
        CU_ASSERT_FATAL(oldest != NULL);
        CU_ASSERT(hg_outbox_acked(&outbox, outbox.tail, 0, oldest->unit_count) == oldest);
        hg_outbox_close(&outbox, outbox.tail);
        held--;
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("outbox", NULL, NULL);
    CU_add_test(suite, "life", test_life);
    CU_add_test(suite, "oldest first", test_oldest_first);
    CU_add_test(suite, "rooms bounds", test_rooms_bounds);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
