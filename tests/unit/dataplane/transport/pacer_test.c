/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/pacer.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static uint64_t bytes_in(struct hg_pacer *pacer, uint64_t from_ns, uint64_t span_ns, uint32_t packet,
                         uint64_t step_ns)
{
    uint64_t bytes = 0;
    for (uint64_t now_ns = from_ns; now_ns < from_ns + span_ns; now_ns += step_ns) {
        while (hg_pacer_ready(pacer, now_ns)) {
            hg_pacer_sent(pacer, packet, now_ns);
            bytes += packet;
        }
    }
    return bytes;
}

static void test_rate(void)
{
    static const uint64_t rates[] = {100000, 1000000, 12345678, 125000000, 1250000000};
    for (uint32_t i = 0; i < HG_COUNT(rates); i++) {
        struct hg_pacer pacer;
        hg_pacer_init(&pacer, rates[i], 1500, 1000);
        uint64_t sent = bytes_in(&pacer, 1000, HG_NS_PER_S / 10, 1500, 10000);
        uint64_t due = rates[i] / 10;
        CU_ASSERT(sent <= due + pacer.quantum_bytes + 1500);
        CU_ASSERT(sent + 1500 >= due);
    }
}

static void test_quantum(void)
{
    struct hg_pacer pacer;
    hg_pacer_init(&pacer, 1000, 1500, 0);
    CU_ASSERT(pacer.quantum_bytes == 3000); /* two packets */
    hg_pacer_rate_set(&pacer, 200000000, 0);
    CU_ASSERT(pacer.quantum_bytes == 20000); /* 100 us */
    hg_pacer_rate_set(&pacer, 5000000000, 0);
    CU_ASSERT(pacer.quantum_bytes == 48000); /* 32 packets */
    hg_pacer_init(&pacer, 5000000000, 9000, 0);
    CU_ASSERT(pacer.quantum_bytes == 65536);
    hg_pacer_init(&pacer, UINT64_MAX, 1500, 0);
    CU_ASSERT(pacer.rate_bytes_per_s == HG_PACER_RATE_MAX);
}

static void test_idle_makes_no_more_than_a_burst(void)
{
    struct hg_pacer pacer;
    hg_pacer_init(&pacer, 1000000, 1500, 0);
    (void)bytes_in(&pacer, 0, 1000000, 1500, 1000);
    uint64_t later_ns = UINT64_C(1) << 62;
    uint64_t burst = 0;
    while (hg_pacer_ready(&pacer, later_ns)) {
        hg_pacer_sent(&pacer, 1500, later_ns);
        burst += 1500;
    }
    CU_ASSERT(burst == pacer.quantum_bytes);
}

/* Turns of up to a millisecond, an ack and another rate in each: the rate is kept. In longer ones at once
 * only a millisecond of it may go. */
static void test_late_turns(void)
{
    static const struct {
        uint64_t turn_ns;
        uint64_t share; /* per mille of the rate */
    } turns[] = {{50000, 1000}, {300000, 1000}, {1000000, 1000}, {4000000, 250}};
    for (uint32_t i = 0; i < HG_COUNT(turns); i++) {
        struct hg_pacer pacer;
        uint64_t bytes = 0, end_ns = 400 * HG_NS_PER_MS;
        hg_pacer_init(&pacer, 1000000000, 1500, 0);
        for (uint64_t now_ns = 0; now_ns < end_ns; now_ns += turns[i].turn_ns) {
            hg_pacer_rate_set(&pacer, 1000000000 + now_ns % 2, now_ns + turns[i].turn_ns / 3);
            hg_pacer_sent(&pacer, 70, now_ns + turns[i].turn_ns / 2);
            bytes += bytes_in(&pacer, now_ns + turns[i].turn_ns - 1, 1, 1500, 1);
        }
        uint64_t due = turns[i].share * end_ns / 1000;
        CU_ASSERT(bytes <= due + 2 * pacer.quantum_bytes &&
                  bytes + 2 * pacer.quantum_bytes >= due * 99 / 100);
    }
}

/* A core that is taken away now and then: the rate is kept, no burst is longer than a millisecond of it, and
 * after a pause of any length no more than ten are made up for. */
static void test_catches_up(void)
{
    enum { RATE = 100000000, PACKET = 1500 };
    struct hg_pacer pacer;
    hg_pacer_init(&pacer, RATE, PACKET, 0);
    uint64_t bytes = 0, now_ns = 0, end_ns = 400 * HG_NS_PER_MS, burst_most = 0;
    for (uint32_t i = 0; now_ns < end_ns; i++) {
        uint64_t burst = bytes_in(&pacer, now_ns, 1, PACKET, 1);
        burst_most = hg_max_u64(burst_most, burst);
        bytes += burst;
        CU_ASSERT(hg_pacer_ready_ns(&pacer) > now_ns);
        now_ns = i % 100 == 99 ? now_ns + 4 * HG_NS_PER_MS
                               : hg_max_u64(hg_pacer_ready_ns(&pacer), now_ns + 100000);
    }
    CU_ASSERT(bytes <= RATE / 1000 * 404 + pacer.quantum_bytes && bytes >= RATE / 1000 * 396);
    CU_ASSERT(burst_most <= RATE / 1000 + PACKET);

    uint64_t later_ns = now_ns + HG_NS_PER_S;
    bytes = bytes_in(&pacer, later_ns, 100 * HG_NS_PER_MS, PACKET, 10000);
    CU_ASSERT(bytes >= RATE / 1000 * 110 && bytes <= RATE / 1000 * 111 + PACKET);
    /* Idle now: nobody was held back. */
    while (hg_pacer_ready(&pacer, later_ns + 100 * HG_NS_PER_MS)) {
        hg_pacer_sent(&pacer, PACKET, later_ns + 100 * HG_NS_PER_MS);
    }
    CU_ASSERT(hg_pacer_ready(&pacer, later_ns + 101 * HG_NS_PER_MS));
    CU_ASSERT(bytes_in(&pacer, later_ns + 200 * HG_NS_PER_MS, 1, PACKET, 1) <= pacer.quantum_bytes + PACKET);
}

static void test_ready_time_is_exact(void)
{
    struct hg_pacer pacer;
    hg_pacer_init(&pacer, 3333333, 1500, 0);
    uint64_t now_ns = 7;
    for (int i = 0; i < 1000; i++) {
        while (hg_pacer_ready(&pacer, now_ns)) {
            hg_pacer_sent(&pacer, 1471, now_ns);
        }
        uint64_t ready_ns = hg_pacer_ready_ns(&pacer);
        CU_ASSERT_FATAL(ready_ns > now_ns);
        CU_ASSERT(!hg_pacer_ready(&pacer, ready_ns - 1));
        CU_ASSERT(hg_pacer_ready(&pacer, ready_ns));
        now_ns = ready_ns;
    }
}

static void test_unpaced_and_debt(void)
{
    struct hg_pacer pacer;
    hg_pacer_init(&pacer, 0, 1500, 5);
    for (int i = 0; i < 1000; i++) {
        hg_pacer_sent(&pacer, 1500, 5);
        CU_ASSERT(hg_pacer_ready(&pacer, 5));
    }
    hg_pacer_init(&pacer, 1000000, 1500, 5);
    hg_pacer_sent(&pacer, 1500, 5);
    hg_pacer_sent(&pacer, 1500, 5);
    for (int i = 0; i < 1000; i++) {
        hg_pacer_sent_unasked(&pacer, 1500, 5);
    }
    CU_ASSERT(!hg_pacer_ready(&pacer, 5 + 2999000));
    CU_ASSERT(hg_pacer_ready(&pacer, 5 + 3001000)); /* one bucket of debt at most */
}

/* Acks alone are more than the rate: what asks gets half of it all the same, and all of it when they are few.
 */
static void test_unasked(void)
{
    static const struct {
        uint64_t gap_ns;
        uint64_t least, most; /* packets in a second of a thousand packets */
    } table[] = {{20000, 495, 505}, {200000, 660, 675}, {2000000, 960, 975}};
    for (uint32_t i = 0; i < HG_COUNT(table); i++) {
        struct hg_pacer pacer;
        hg_pacer_init(&pacer, 1500000, 1500, 0);
        uint64_t count = 0;
        for (uint64_t now_ns = 0; now_ns < HG_NS_PER_S; now_ns += 20000) {
            if (now_ns % table[i].gap_ns == 0) {
                hg_pacer_sent_unasked(&pacer, 100, now_ns);
            }
            if (hg_pacer_ready(&pacer, now_ns)) {
                hg_pacer_sent(&pacer, 1500, now_ns);
                count++;
            }
        }
        CU_ASSERT(count >= table[i].least && count <= table[i].most);
        if (count < table[i].least || count > table[i].most) {
            printf("\n  one each %lu ns: %lu packets\n", table[i].gap_ns, count);
        }
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("pacer", NULL, NULL);
    CU_add_test(suite, "rate", test_rate);
    CU_add_test(suite, "quantum", test_quantum);
    CU_add_test(suite, "idle makes no more than a burst", test_idle_makes_no_more_than_a_burst);
    CU_add_test(suite, "late turns", test_late_turns);
    CU_add_test(suite, "catches up", test_catches_up);
    CU_add_test(suite, "ready time is exact", test_ready_time_is_exact);
    CU_add_test(suite, "unpaced and debt", test_unpaced_and_debt);
    CU_add_test(suite, "unasked", test_unasked);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
