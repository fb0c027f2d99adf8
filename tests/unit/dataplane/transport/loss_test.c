/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/ack.h"
#include "dataplane/transport/loss.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define MS HG_NS_PER_MS

static struct hg_sent sent;
static struct hg_loss loss;
static void *memory;

/* Packets 1..count, one a millisecond from time 0. */
static void begin(uint64_t count)
{
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_sent_memory_bytes(1024), 64));
    hg_sent_init(&sent, memory, 1024);
    hg_loss_init(&loss);
    for (uint64_t n = 1; n <= count; n++) {
        CU_ASSERT(hg_sent_in_way(&sent, n) == NULL);
        hg_sent_commit(&sent, hg_sent_draft(&sent, n), 100, n * MS);
    }
}

static void acked(uint64_t number)
{
    hg_sent_acked(&sent, hg_sent_tracked(&sent, number, number));
    loss.number_acked_largest = hg_max_u64(loss.number_acked_largest, number);
}

static uint32_t losses(uint64_t now_ns)
{
    uint32_t count = 0;
    struct hg_sent_packet *packet;
    while ((packet = hg_loss_next(&loss, &sent, now_ns)) != NULL) {
        hg_sent_lost(&sent, packet);
        count++;
    }
    return count;
}

/* RFC 9002 5.3 */
static void test_round_trip(void)
{
    hg_loss_init(&loss);
    CU_ASSERT(hg_loss_pto_ns(&loss) == 100 * MS + 4 * 50 * MS + MS);
    hg_loss_rtt(&loss, 80 * MS, 40 * MS); /* the first sample ignores the delay */
    CU_ASSERT(loss.srtt_ns == 80 * MS && loss.rttvar_ns == 40 * MS && loss.rtt_min_ns == 80 * MS);
    hg_loss_rtt(&loss, 88 * MS, 0);
    CU_ASSERT(loss.rttvar_ns == (3 * 40 * MS + 8 * MS) / 4);
    CU_ASSERT(loss.srtt_ns == 81 * MS);
    hg_loss_rtt(&loss, 60 * MS, 0);
    CU_ASSERT(loss.rtt_min_ns == 60 * MS);
    uint64_t srtt_ns = loss.srtt_ns;
    hg_loss_rtt(&loss, 60 * MS + MS / 2, MS); /* the delay would go below the least: not taken off */
    CU_ASSERT(loss.srtt_ns == (7 * srtt_ns + 60 * MS + MS / 2) / 8);
    srtt_ns = loss.srtt_ns;
    hg_loss_rtt(&loss, 90 * MS, HG_NS_PER_S); /* a delay beyond what is allowed counts as the most */
    CU_ASSERT(loss.srtt_ns == (7 * srtt_ns + 89 * MS) / 8);
    hg_loss_rtt(&loss, 0, 0);
    CU_ASSERT(loss.rtt_min_ns == 1);
}

static void test_packet_threshold(void)
{
    begin(10);
    hg_loss_rtt(&loss, 100 * MS, 0);
    acked(3);
    CU_ASSERT(losses(11 * MS) == 0);
    acked(4);
    CU_ASSERT(losses(11 * MS) == 1); /* 1: three behind */
    acked(6);
    CU_ASSERT(losses(11 * MS) == 1); /* 2; 3 and 4 are in */
    CU_ASSERT(hg_sent_tracked(&sent, 5, 5)->state == HG_SENT_IN_FLIGHT);
    acked(8);
    CU_ASSERT(losses(11 * MS) == 1); /* 5 */
    CU_ASSERT(hg_sent_tracked(&sent, 7, 7)->state == HG_SENT_IN_FLIGHT);
}

static void test_time_threshold(void)
{
    begin(2);
    hg_loss_rtt(&loss, 80 * MS, 0);
    acked(2);
    CU_ASSERT(losses(82 * MS) == 0);
    CU_ASSERT(loss.time_ns == 1 * MS + 90 * MS); /* nine eighths */
    CU_ASSERT(hg_loss_deadline_ns(&loss, &sent) == 91 * MS);
    CU_ASSERT(losses(91 * MS - 1) == 0);
    CU_ASSERT(losses(91 * MS) == 1);
    CU_ASSERT(loss.time_ns == HG_TIME_NEVER && hg_loss_deadline_ns(&loss, &sent) == HG_TIME_NEVER);
}

static void test_nothing_acked_nothing_lost(void)
{
    begin(500);
    CU_ASSERT(losses(HG_NS_PER_S * 1000) == 0);
    CU_ASSERT(loss.time_ns == HG_TIME_NEVER);
}

static void test_probes(void)
{
    begin(1);
    hg_loss_rtt(&loss, 40 * MS, 0);
    loss.probe_from_ns = 1 * MS;
    CU_ASSERT(hg_loss_deadline_ns(&loss, &sent) == 1 * MS + 40 * MS + 80 * MS + MS);
    static const uint64_t intervals_ms[] = {121, 121, 242, 242, 484, 484, 500};
    for (uint32_t i = 0; i < HG_COUNT(intervals_ms); i++) {
        loss.probe_count = i;
        CU_ASSERT(hg_loss_probe_interval_ns(&loss) == intervals_ms[i] * MS);
        CU_ASSERT(hg_loss_deadline_ns(&loss, &sent) == 1 * MS + intervals_ms[i] * MS);
    }
    loss.probe_count = 4000000;
    CU_ASSERT(hg_loss_probe_interval_ns(&loss) == 500 * MS);
    hg_loss_init(&loss);
    hg_loss_rtt(&loss, MS, 0);
    CU_ASSERT(hg_loss_probe_interval_ns(&loss) == hg_loss_pto_ns(&loss));
    loss.probe_count = 4000000;
    CU_ASSERT(hg_loss_probe_interval_ns(&loss) == 32 * hg_loss_pto_ns(&loss));
    hg_loss_init(&loss);
    for (int i = 0; i < 50; i++) {
        hg_loss_rtt(&loss, 50 * HG_NS_PER_US, 0);
    }
    CU_ASSERT(hg_loss_pto_ns(&loss) == 50 * HG_NS_PER_US + HG_LOSS_GRANULARITY_NS + HG_ACK_DELAY_MIN_NS);
}

static void test_reordering_path(void)
{
    begin(40);
    hg_loss_rtt(&loss, 100 * MS, 0);
    acked(20);
    CU_ASSERT(losses(41 * MS) == 17);
    hg_loss_spurious(&loss, 11);
    CU_ASSERT(loss.threshold_packets == 10);
    hg_loss_spurious(&loss, 15);
    CU_ASSERT(loss.threshold_packets == 10);
    acked(28);
    CU_ASSERT(losses(41 * MS) == 1); /* 18: ten behind; 19 not yet */
    loss.number_acked_largest = 100000;
    hg_loss_spurious(&loss, 1);
    CU_ASSERT(loss.threshold_packets == HG_LOSS_THRESHOLD_PACKETS_MAX);
}

/* Calm round trips lower the threshold by halves, down to the least; one spurious loss begins the count anew,
 * and acks within one round trip are one. */
static void test_reordering_over(void)
{
    uint64_t last_sent = 100;
    hg_loss_init(&loss);
    loss.number_acked_largest = 50;
    hg_loss_spurious(&loss, 1);
    CU_ASSERT_EQUAL(loss.threshold_packets, 50);
    uint32_t wanted = 50;
    for (uint32_t halves = 0; halves < 7; halves++) {
        for (uint32_t round = 0; round < HG_LOSS_CALM_ROUNDS; round++) {
            CU_ASSERT_EQUAL(loss.threshold_packets, wanted);
            for (uint64_t n = loss.number_acked_largest + 1; n < loss.round_end; n++) {
                loss.number_acked_largest = n;
                hg_loss_round(&loss, last_sent);
            }
            CU_ASSERT_EQUAL(loss.threshold_packets, wanted);
            loss.number_acked_largest++;
            hg_loss_round(&loss, last_sent);
            last_sent += 40;
        }
        wanted = 3 + (wanted - 3) / 2;
        CU_ASSERT_EQUAL(loss.threshold_packets, wanted);
    }
    CU_ASSERT_EQUAL(loss.threshold_packets, HG_LOSS_THRESHOLD_PACKETS);
    hg_loss_spurious(&loss, loss.number_acked_largest - 9);
    for (uint32_t round = 0; round < HG_LOSS_CALM_ROUNDS; round++) {
        loss.number_acked_largest = loss.round_end;
        if (round == HG_LOSS_CALM_ROUNDS - 2)
            hg_loss_spurious(&loss, loss.number_acked_largest - 9);
        hg_loss_round(&loss, loss.number_acked_largest + 40);
    }
    CU_ASSERT_EQUAL(loss.threshold_packets, 10);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("loss", NULL, NULL);
    CU_add_test(suite, "round trip", test_round_trip);
    CU_add_test(suite, "packet threshold", test_packet_threshold);
    CU_add_test(suite, "time threshold", test_time_threshold);
    CU_add_test(suite, "nothing acked nothing lost", test_nothing_acked_nothing_lost);
    CU_add_test(suite, "probes", test_probes);
    CU_add_test(suite, "reordering path", test_reordering_path);
    CU_add_test(suite, "a path that reorders no more", test_reordering_over);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
