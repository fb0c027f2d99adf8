/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/control.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static struct hg_control control;
static void *memory;

static void begin(void)
{
    free(memory);
    memory = aligned_alloc(64, hg_control_memory_bytes());
    hg_control_init(&control, memory);
}

static int queue(uint8_t type, uint32_t alias, uint64_t value)
{
    struct hg_wire_stream_durable frame = {.control = {.type = type, .bytes = sizeof(frame), .alias = alias},
                                           .lsn_durable = value};
    return hg_control_queue(&control, &frame.control);
}

static uint64_t value_of(uint16_t index)
{
    struct hg_wire_stream_durable frame;
    memcpy(&frame, control.frames[index].bytes, sizeof(frame));
    return frame.lsn_durable;
}

static void test_newest_wins(void)
{
    begin();
    CU_ASSERT(queue(18, 1, 10) == 0 && queue(18, 2, 20) == 0 && queue(18, 1, 11) == 0);
    CU_ASSERT(control.used_count == 2);
    uint16_t one = hg_control_next(&control);
    CU_ASSERT(value_of(one) == 11);
    uint16_t version = hg_control_sent(&control, one);
    uint16_t two = hg_control_next(&control);
    CU_ASSERT(value_of(two) == 20);
    CU_ASSERT(queue(18, 1, 12) == 0); /* while 11 is in flight */
    hg_control_acked(&control, one, version);
    CU_ASSERT(control.used_count == 2); /* 12 has not arrived */
    hg_control_lost(&control, one, version);
    uint16_t newer = hg_control_sent(&control, two);
    hg_control_lost(&control, two, newer);
    CU_ASSERT(hg_control_next(&control) == one);
    uint16_t version_two = hg_control_sent(&control, one);
    CU_ASSERT(version_two != version);
    hg_control_acked(&control, one, version_two);
    CU_ASSERT(hg_control_next(&control) == two && control.used_count == 1);
    hg_control_acked(&control, two, newer); /* while it waits to be sent again */
    CU_ASSERT(hg_control_next(&control) == HG_CONTROL_NONE && control.used_count == 0);
    /* The place is used anew: what is left of the old one's packets means nothing. */
    CU_ASSERT(queue(17, 9, 1) == 0);
    uint16_t again = hg_control_next(&control);
    CU_ASSERT(again == two);
    hg_control_acked(&control, again, newer);
    CU_ASSERT(control.used_count == 1);
}

static void test_limits(void)
{
    begin();
    for (uint32_t i = 0; i < HG_CONTROL_FRAMES_MAX; i++) {
        CU_ASSERT_FATAL(queue(16 + i % 4, i / 4, i) == 0);
    }
    CU_ASSERT(queue(18, 77777, 0) == -ENOSPC);
    CU_ASSERT(queue(18, 5, 99) == 0); /* replaces */
    for (uint32_t i = 0; i < HG_CONTROL_FRAMES_MAX; i++) {
        uint16_t index = hg_control_next(&control);
        CU_ASSERT_FATAL(index != HG_CONTROL_NONE);
        hg_control_acked(&control, index, hg_control_sent(&control, index));
    }
    CU_ASSERT(control.used_count == 0 && hg_control_next(&control) == HG_CONTROL_NONE);
    CU_ASSERT(queue(18, 77777, 0) == 0);
}

static void test_sizes(void)
{
    uint8_t bytes[512] __attribute__((aligned(8))) = {0};
    struct hg_wire_control *frame = (struct hg_wire_control *)bytes;
    begin();
    static const struct {
        uint8_t type;
        uint16_t bytes;
        int rc;
    } cases[] = {{15, 16, -EINVAL}, {32, 16, -EINVAL},  {2, 16, -EINVAL}, {16, 0, -EINVAL}, {16, 4, -EINVAL},
                 {16, 10, -EINVAL}, {16, 260, -EINVAL}, {16, 8, 0},       {16, 256, 0},     {31, 12, 0}};
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        *frame = (struct hg_wire_control){.type = cases[i].type, .bytes = cases[i].bytes};
        CU_ASSERT(hg_control_queue(&control, frame) == cases[i].rc);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("control", NULL, NULL);
    CU_add_test(suite, "newest wins", test_newest_wins);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "sizes", test_sizes);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
