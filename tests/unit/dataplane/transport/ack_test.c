/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/ack.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

struct ack_told {
    struct hg_wire_ack head;
    struct hg_wire_ack_range ranges[HG_WIRE_ACK_RANGES_MAX];
    uint32_t bytes;
};

static struct ack_told told(struct hg_ack *ack, uint32_t ranges_max, uint64_t now_ns)
{
    uint8_t frame[HG_ACK_FRAME_BYTES_MAX];
    struct ack_told t;
    memset(&t, 0, sizeof(t));
    t.bytes = hg_ack_write(ack, ranges_max, now_ns, frame);
    memcpy(&t.head, frame, sizeof(t.head));
    memcpy(t.ranges, frame + sizeof(t.head), t.bytes - sizeof(t.head));
    hg_ack_told(ack, now_ns);
    return t;
}

static void test_ranges(void)
{
    static const struct {
        uint64_t numbers[12]; /* in the order of arrival */
        uint64_t largest;
        uint32_t first_count;
        uint32_t range_count;
        struct hg_wire_ack_range ranges[3];
    } cases[] = {
        {{1}, 1, 1, 1, {{0}}},
        {{1, 2, 3}, 3, 3, 1, {{0}}},
        {{3, 2, 1}, 3, 3, 1, {{0}}},
        {{2}, 2, 1, 1, {{0}}},
        {{1, 3}, 3, 1, 2, {{1, 1}}},
        {{1, 2, 5, 6, 7, 10}, 10, 1, 3, {{2, 3}, {2, 2}}},
        {{63, 64, 65, 66}, 66, 4, 1, {{0}}},
        {{64, 128, 129}, 129, 2, 2, {{63, 1}}},
        {{8190, 8191, 8192, 8193}, 8193, 4, 1, {{0}}},
        {{1, 8193}, 8193, 1, 1, {{0}}},       /* 1 has slid out */
        {{2, 8193}, 8193, 1, 2, {{8190, 1}}}, /* 2 is the last that can be told */
        {{5, UINT64_C(1) << 60}, UINT64_C(1) << 60, 1, 1, {{0}}},
        {{UINT64_MAX - 1, UINT64_MAX}, UINT64_MAX, 2, 1, {{0}}},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_ack ack;
        hg_ack_init(&ack);
        for (uint32_t n = 0; n < 12 && cases[i].numbers[n] != 0; n++) {
            CU_ASSERT(!hg_ack_seen(&ack, cases[i].numbers[n]));
            hg_ack_record(&ack, cases[i].numbers[n], true, 0, 1000);
            CU_ASSERT(hg_ack_seen(&ack, cases[i].numbers[n]));
        }
        struct ack_told t = told(&ack, 32, 1000);
        CU_ASSERT(t.head.largest == cases[i].largest);
        CU_ASSERT(t.head.first_count == cases[i].first_count);
        CU_ASSERT(t.head.range_count == cases[i].range_count);
        CU_ASSERT(memcmp(t.ranges, cases[i].ranges, (t.head.range_count - 1u) * sizeof(t.ranges[0])) == 0);
    }
}

static void test_seen(void)
{
    struct hg_ack ack;
    hg_ack_init(&ack);
    CU_ASSERT(hg_ack_seen(&ack, 0));
    hg_ack_record(&ack, 10000, true, 0, 0);
    CU_ASSERT(!hg_ack_seen(&ack, 10000 - HG_ACK_WINDOW_PACKETS + 1));
    CU_ASSERT(hg_ack_seen(&ack, 10000 - HG_ACK_WINDOW_PACKETS));
    hg_ack_record(&ack, 9999, true, 0, 0);
    hg_ack_record(&ack, 10000 + HG_ACK_WINDOW_PACKETS, true, 0, 0);
    CU_ASSERT(hg_ack_seen(&ack, 9999)); /* too old now */
    CU_ASSERT(!hg_ack_seen(&ack, 10001));
    CU_ASSERT(!hg_ack_seen(&ack, 9999 + HG_ACK_WINDOW_PACKETS)); /* its place was 9999's */
}

static void test_range_limit(void)
{
    struct hg_ack ack;
    hg_ack_init(&ack);
    for (uint64_t n = 2; n <= 200; n += 2) {
        hg_ack_record(&ack, n, true, 0, 0);
    }
    struct ack_told t = told(&ack, 32, 0);
    CU_ASSERT(t.head.range_count == 32 && t.bytes == 32 + 31 * 8);
    t = told(&ack, HG_WIRE_ACK_RANGES_MAX, 0);
    CU_ASSERT(t.head.range_count == 100);
    t = told(&ack, 3, 0);
    CU_ASSERT(t.head.range_count == 3 && t.bytes == 32 + 16);
    for (uint64_t n = 202; n <= 600; n += 2) {
        hg_ack_record(&ack, n, true, 0, 0);
    }
    t = told(&ack, HG_WIRE_ACK_RANGES_MAX, 0);
    CU_ASSERT(t.head.range_count == HG_WIRE_ACK_RANGES_MAX && t.bytes == HG_ACK_FRAME_BYTES_MAX);
}

/* Each number is in four acks at least, whichever of them are lost. */
static void test_tellings(void)
{
    static const uint32_t steps[] = {1, 10, 25, 32};
    for (uint32_t i = 0; i < HG_COUNT(steps); i++) {
        struct hg_ack ack;
        hg_ack_init(&ack);
        uint32_t told_ranges[20];
        for (uint32_t nth = 0; nth < HG_COUNT(told_ranges); nth++) {
            for (uint64_t n = 1; n <= steps[i]; n++) {
                hg_ack_record(&ack, 2 * (nth * steps[i] + n), true, 0, 0);
            }
            told_ranges[nth] = told(&ack, HG_WIRE_ACK_RANGES_MAX, 0).head.range_count;
            uint32_t all = (nth + 1) * steps[i], wanted = HG_ACK_TELLINGS * steps[i];
            CU_ASSERT(told_ranges[nth] >= (wanted < all ? wanted : all));
            CU_ASSERT(told_ranges[nth] <= hg_max_u64(wanted + 1, HG_ACK_RANGES_MIN));
        }
    }
}

static void test_when(void)
{
    struct hg_ack ack;
    hg_ack_init(&ack);
    CU_ASSERT(ack.deadline_ns == HG_TIME_NEVER);
    hg_ack_request(&ack, 5);
    CU_ASSERT(ack.deadline_ns == HG_TIME_NEVER); /* nothing to tell */
    hg_ack_record(&ack, 1, true, 0, 100);
    CU_ASSERT(ack.deadline_ns == 100); /* the first */
    (void)told(&ack, 32, 100);
    hg_ack_record(&ack, 2, true, 0, 1000);
    CU_ASSERT(ack.deadline_ns == 1000 + 100 * HG_NS_PER_US);
    hg_ack_record(&ack, 3, true, 0, 2000);
    CU_ASSERT(ack.deadline_ns == 1000 + 100 * HG_NS_PER_US);
    hg_ack_record(&ack, 5, true, 0, 3000);
    CU_ASSERT(ack.deadline_ns == 3000); /* a gap */
    (void)told(&ack, 32, 3000);
    hg_ack_record(&ack, 6, true, 4 * HG_NS_PER_MS, 4000);
    CU_ASSERT(ack.deadline_ns == 4000 + 500 * HG_NS_PER_US); /* an eighth of the round trip */
    (void)told(&ack, 32, 4000);
    hg_ack_record(&ack, 7, true, 100 * HG_NS_PER_MS, 5000);
    CU_ASSERT(ack.deadline_ns == 5000 + HG_NS_PER_MS); /* at most */
    (void)told(&ack, 32, 5000);
    for (uint64_t n = 8; n < 8 + 31; n++) {
        hg_ack_record(&ack, n, true, 0, 6000);
        CU_ASSERT(ack.deadline_ns > 6000);
    }
    hg_ack_record(&ack, 39, true, 0, 6000);
    CU_ASSERT(ack.deadline_ns == 6000); /* the 32nd */
    (void)told(&ack, 32, 6000);
    hg_ack_record(&ack, 40, false, 0, 7000);
    hg_ack_record(&ack, 50, false, 0, 7000);
    CU_ASSERT(ack.deadline_ns == HG_TIME_NEVER); /* acks of acks are not made */
    hg_ack_request(&ack, 8000);
    CU_ASSERT(ack.deadline_ns == 8000);
}

/* Nobody says whether an ack arrived: it is told again, a few times, until something new is to be told. */
static void test_repeats(void)
{
    const uint64_t gap_ns = HG_NS_PER_MS, rtt_ns = 4 * gap_ns;
    struct hg_ack ack;
    hg_ack_init(&ack);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER);
    hg_ack_record(&ack, 1, true, rtt_ns, 100);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER); /* it wasn't told yet */
    uint64_t now_ns = 100;
    for (uint32_t i = 0; i < HG_ACK_REPEATS; i++) {
        CU_ASSERT(told(&ack, 32, now_ns).head.largest == 1);
        CU_ASSERT(ack.repeat_ns == now_ns + gap_ns && ack.deadline_ns == HG_TIME_NEVER);
        now_ns += gap_ns;
    }
    CU_ASSERT(told(&ack, 32, now_ns).head.largest == 1);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER);
    hg_ack_record(&ack, 2, true, 0, now_ns);
    (void)told(&ack, 32, now_ns);
    CU_ASSERT(ack.repeat_ns == now_ns + 2 * HG_ACK_DELAY_MIN_NS); /* at least */
    hg_ack_record(&ack, 3, false, rtt_ns, now_ns);
    CU_ASSERT(ack.repeat_ns != HG_TIME_NEVER); /* an ack says nothing about ours */
    hg_ack_record(&ack, 4, true, rtt_ns, now_ns);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER && ack.deadline_ns == now_ns + HG_NS_PER_MS / 2);
    (void)told(&ack, 32, now_ns);
    hg_ack_repeats_drop(&ack);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER);
    (void)told(&ack, 32, now_ns);
    CU_ASSERT(ack.repeat_ns == HG_TIME_NEVER);
}

static void test_delay(void)
{
    struct hg_ack ack;
    hg_ack_init(&ack);
    hg_ack_record(&ack, 1, true, 0, 1000000);
    CU_ASSERT(told(&ack, 32, 1000000 + 800000).head.delay_8us == 100);
    CU_ASSERT(told(&ack, 32, 1000000 + 10 * HG_NS_PER_S).head.delay_8us == UINT16_MAX);
    CU_ASSERT(told(&ack, 32, 5).head.delay_8us == 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("ack", NULL, NULL);
    CU_add_test(suite, "ranges", test_ranges);
    CU_add_test(suite, "seen", test_seen);
    CU_add_test(suite, "range limit", test_range_limit);
    CU_add_test(suite, "tellings", test_tellings);
    CU_add_test(suite, "when", test_when);
    CU_add_test(suite, "repeats", test_repeats);
    CU_add_test(suite, "delay", test_delay);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
