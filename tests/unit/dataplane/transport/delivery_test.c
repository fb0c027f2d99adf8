/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/delivery.h"
#include <CUnit/Basic.h>

#define MS HG_NS_PER_MS

struct one {
    struct hg_sent_packet packet;
    struct hg_sent_sample sample;
};

static struct one sent(struct hg_delivery *delivery, uint64_t in_flight, uint64_t now_ns)
{
    struct one one = {.packet = {.bytes = 1000, .sent_ns = now_ns}};
    hg_delivery_sent(delivery, &one.sample, 1000, in_flight, now_ns);
    return one;
}

static void acked(struct hg_delivery *delivery, const struct one *one, uint64_t now_ns)
{
    hg_delivery_acked(delivery, &one->packet, &one->sample, now_ns);
}

/* Ten packets, one a millisecond, each acknowledged 20 ms after it was sent: 1 MB/s. */
static void test_steady_rate(void)
{
    struct hg_delivery delivery;
    struct one ones[60];
    hg_delivery_init(&delivery, 0);
    struct hg_delivery_sample sample = {0};
    for (uint32_t t = 0; t < 60; t++) {
        if (t >= 20) {
            acked(&delivery, &ones[t - 20], t * MS);
            sample = hg_delivery_sample(&delivery, 20 * MS);
        }
        ones[t] = sent(&delivery, t < 20 ? t * 1000 : 19000, t * MS);
    }
    CU_ASSERT_EQUAL(sample.rate_bytes_per_s, 1000000);
    CU_ASSERT_EQUAL(sample.bytes, 20000);
    CU_ASSERT_EQUAL(sample.prior_bytes, 20000);
    CU_ASSERT_EQUAL(sample.in_flight_bytes, 20000);
    CU_ASSERT_FALSE(sample.limited);
}

/* Acks that come all at once don't make a rate: sending took longer. */
static void test_bunched_acks(void)
{
    struct hg_delivery delivery;
    struct one ones[40];
    hg_delivery_init(&delivery, 0);
    for (uint32_t i = 0; i < 40; i++) {
        ones[i] = sent(&delivery, i * 1000, i * MS);
    }
    for (uint32_t i = 0; i < 40; i++) {
        acked(&delivery, &ones[i], 60 * MS);
    }
    struct hg_delivery_sample sample = hg_delivery_sample(&delivery, 20 * MS);
    CU_ASSERT_EQUAL(sample.rate_bytes_per_s, 40000 * 1000 / 60);
    CU_ASSERT_EQUAL(hg_delivery_sample(&delivery, 20 * MS).rate_bytes_per_s, 0);
}

static void test_faster_than_the_round_trip_is_no_sample(void)
{
    struct hg_delivery delivery;
    hg_delivery_init(&delivery, 0);
    struct one one = sent(&delivery, 0, 5 * MS);
    acked(&delivery, &one, 15 * MS);
    CU_ASSERT_EQUAL(hg_delivery_sample(&delivery, 20 * MS).rate_bytes_per_s, 0);
}

static void test_lost_and_limited(void)
{
    struct hg_delivery delivery;
    hg_delivery_init(&delivery, 0);
    struct one first = sent(&delivery, 0, 0), second = sent(&delivery, 1000, 1 * MS);
    hg_delivery_limited(&delivery, 2000);
    struct one third = sent(&delivery, 2000, 2 * MS);
    hg_delivery_lost(&delivery, first.packet.bytes);
    acked(&delivery, &second, 21 * MS);
    struct hg_delivery_sample sample = hg_delivery_sample(&delivery, 20 * MS);
    CU_ASSERT_FALSE(sample.limited);
    CU_ASSERT_EQUAL(sample.lost_bytes, 1000);
    acked(&delivery, &third, 22 * MS);
    CU_ASSERT_TRUE(hg_delivery_sample(&delivery, 20 * MS).limited);
    CU_ASSERT_FALSE(hg_delivery_is_limited(&delivery)); /* what was in flight then has arrived */
    /* Counts that wrap: only differences matter. */
    delivery.lost_bytes = (UINT64_C(1) << 32) - 500;
    struct one fourth = sent(&delivery, 0, 30 * MS);
    hg_delivery_lost(&delivery, 1000);
    acked(&delivery, &fourth, 60 * MS);
    CU_ASSERT_EQUAL(hg_delivery_sample(&delivery, 20 * MS).lost_bytes, 1000);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("delivery", NULL, NULL);
    CU_add_test(suite, "steady rate", test_steady_rate);
    CU_add_test(suite, "bunched acks", test_bunched_acks);
    CU_add_test(suite, "faster than the round trip is no sample",
                test_faster_than_the_round_trip_is_no_sample);
    CU_add_test(suite, "lost and limited", test_lost_and_limited);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
