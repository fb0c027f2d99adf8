/* SPDX-License-Identifier: Apache-2.0
 *
 * The link model in virtual time: what it loses, how it bunches losses, how fast it is, how long it takes,
 * that it never reorders, and that a seed says it all.
 */
#include "tools/wan/link.h"

#include <CUnit/Basic.h>
#include <stdlib.h>

#define FRAMES_MAX 400000

static struct hg_wan_link make(uint64_t seed, struct hg_wan_impairment impairment)
{
    struct hg_wan_link link;
    hg_wan_link_init(&link, seed);
    CU_ASSERT_PTR_NULL(hg_wan_impairment_problem(&impairment));
    hg_wan_link_set(&link, &impairment);
    return link;
}

static void test_perfect(void)
{
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){0});
    for (uint64_t now_ns = 5; now_ns < 5000; now_ns += 7) {
        uint64_t due_ns = 0;
        CU_ASSERT_EQUAL(hg_wan_link_offer(&link, now_ns, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
        CU_ASSERT_EQUAL(due_ns, now_ns);
    }
}

static void test_delay(void)
{
    uint64_t due_ns = 0;
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){.delay_ns = 40 * HG_NS_PER_MS});
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 1000, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1000 + 40 * HG_NS_PER_MS);
    /* A shorter delay doesn't let new frames overtake. */
    struct hg_wan_impairment shorter = {.delay_ns = HG_NS_PER_MS};
    hg_wan_link_set(&link, &shorter);
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 2000, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1000 + 40 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 50 * HG_NS_PER_MS, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 51 * HG_NS_PER_MS);
}

struct losses {
    uint64_t lost;
    uint64_t runs;
    uint64_t hash; /* of which ones */
};

static struct losses count_losses(uint64_t seed, uint64_t loss_ppb, uint64_t burst_count, uint64_t step_ns)
{
    struct losses losses = {0};
    bool before = false;
    struct hg_wan_link link =
        make(seed, (struct hg_wan_impairment){.loss_ppb = loss_ppb, .burst_count = burst_count});
    for (uint64_t i = 0; i < FRAMES_MAX; i++) {
        uint64_t due_ns;
        bool lost = hg_wan_link_offer(&link, i * step_ns, 1500, &due_ns) == HG_WAN_FATE_LOST;
        losses.lost += lost;
        losses.runs += lost && !before;
        losses.hash = losses.hash * 31 + lost;
        before = lost;
    }
    return losses;
}

static void assert_near(uint64_t value, uint64_t wanted, uint64_t percent)
{
    CU_ASSERT(value * 100 >= wanted * (100 - percent));
    CU_ASSERT(value * 100 <= wanted * (100 + percent));
}

static void test_loss_rate(void)
{
    assert_near(count_losses(1, 10000000, 0, 1000).lost, FRAMES_MAX / 100, 10);      /* 1 % */
    assert_near(count_losses(2, 1000000, 0, 1000).lost, FRAMES_MAX / 1000, 25);      /* 0.1 % */
    assert_near(count_losses(3, 500000000, 1, 1000).lost, FRAMES_MAX / 2, 2);        /* half */
    assert_near(count_losses(4, 10000000, 8, 1000).lost, FRAMES_MAX / 100, 20);      /* 1 % in bursts */
    assert_near(count_losses(5, 200000000, 4, 1000).lost, FRAMES_MAX / 5, 5);        /* 20 % in bursts */
    CU_ASSERT_EQUAL(count_losses(6, HG_WAN_LOSS_ALL_PPB, 0, 1000).lost, FRAMES_MAX); /* all */
    CU_ASSERT_EQUAL(count_losses(7, 0, 0, 1000).lost, 0);
}

static void test_burst_length(void)
{
    struct losses bursts = count_losses(8, 20000000, 8, 1000);
    assert_near(bursts.lost * 100 / bursts.runs, 800, 10);
    bursts = count_losses(9, 100000000, 3, 1000);
    assert_near(bursts.lost * 100 / bursts.runs, 300, 5);
    /* Independent losses at 1 % follow each other one time in a hundred. */
    struct losses single = count_losses(10, 10000000, 0, 1000);
    assert_near(single.lost * 100 / single.runs, 101, 3);
}

static void test_deterministic(void)
{
    struct losses a = count_losses(42, 10000000, 4, 1000);
    struct losses slow = count_losses(42, 10000000, 4, 77777);
    struct losses other = count_losses(43, 10000000, 4, 1000);
    CU_ASSERT_EQUAL(a.hash, slow.hash); /* whatever the timing */
    CU_ASSERT_EQUAL(a.lost, slow.lost);
    CU_ASSERT_NOT_EQUAL(a.hash, other.hash);

    /* Seeding begins the sequence anew, in the middle too. */
    struct hg_wan_link link = make(7, (struct hg_wan_impairment){.loss_ppb = 300000000});
    uint64_t due_ns;
    uint64_t first = 0;
    uint64_t second = 0;
    for (uint64_t i = 0; i < 64; i++)
        first = first << 1 | (hg_wan_link_offer(&link, i, 100, &due_ns) == HG_WAN_FATE_LOST);
    hg_wan_link_seed(&link, 7);
    for (uint64_t i = 0; i < 64; i++)
        second = second << 1 | (hg_wan_link_offer(&link, i, 100, &due_ns) == HG_WAN_FATE_LOST);
    CU_ASSERT_EQUAL(first, second);
    CU_ASSERT_NOT_EQUAL(first, 0);
}

static void test_rate(void)
{
    /* 1500 bytes at 1 Gbit/s take 12 us; offered twice as fast, half is dropped and the rest leaves at line
     * rate. */
    struct hg_wan_link link = make(
        1,
        (struct hg_wan_impairment){.rate_bits = 1000000000, .queue_bytes = 30000, .delay_ns = HG_NS_PER_MS});
    uint64_t due_ns = 0;
    uint64_t arrived = 0;
    uint64_t last_ns = 0;
    for (uint64_t i = 0; i < 100000; i++) {
        enum hg_wan_fate fate = hg_wan_link_offer(&link, i * 6000, 1500, &due_ns);
        if (fate != HG_WAN_FATE_ARRIVES) {
            CU_ASSERT_EQUAL(fate, HG_WAN_FATE_QUEUE_FULL);
            continue;
        }
        if (last_ns != 0)
            CU_ASSERT(due_ns - last_ns >= 12000);
        /* Never more than the queue and the frame itself ahead. */
        CU_ASSERT(due_ns - i * 6000 <= HG_NS_PER_MS + 12000 * 21);
        last_ns = due_ns;
        arrived++;
    }
    assert_near(arrived, 50000, 1);
    /* Alone on an idle link: its own time and the delay. */
    uint64_t now_ns = 10 * HG_NS_PER_S;
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, now_ns, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, now_ns + 12000 + HG_NS_PER_MS);
}

/* A rate that doesn't divide: no time is lost to rounding. */
static void test_rate_exact(void)
{
    struct hg_wan_link link =
        make(1, (struct hg_wan_impairment){.rate_bits = 7000000000, .queue_bytes = HG_WAN_QUEUE_BYTES_MAX});
    uint64_t due_ns = 0;
    for (uint64_t i = 0; i < 70000; i++)
        CU_ASSERT_EQUAL_FATAL(hg_wan_link_offer(&link, 0, 1000, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, UINT64_C(70000) * 1000 * 8 / 7);
}

/* A frame larger than the queue passes an idle link, and losses take their time on the transmitter. */
static void test_queue_edges(void)
{
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){.rate_bits = 8000000, .queue_bytes = 1000});
    uint64_t due_ns = 0;
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1500 * HG_NS_PER_US);
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, 64, &due_ns), HG_WAN_FATE_QUEUE_FULL);
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 564 * HG_NS_PER_US, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 564 * HG_NS_PER_US, 1, &due_ns), HG_WAN_FATE_QUEUE_FULL);

    struct hg_wan_link lossy =
        make(1, (struct hg_wan_impairment){.rate_bits = 8000000, .loss_ppb = HG_WAN_LOSS_ALL_PPB});
    CU_ASSERT_EQUAL(hg_wan_link_offer(&lossy, 0, 1000, &due_ns), HG_WAN_FATE_LOST);
    CU_ASSERT_EQUAL(lossy.busy_until_ns, HG_NS_PER_MS);
}

static void test_jitter(void)
{
    struct hg_wan_impairment impairment = {.delay_ns = 40 * HG_NS_PER_MS, .jitter_ns = 5 * HG_NS_PER_MS};
    struct hg_wan_link link = make(3, impairment);
    struct hg_wan_link twin = make(3, impairment);
    uint64_t last_ns = 0;
    uint64_t sum_ns = 0;
    uint64_t low_ns = UINT64_MAX;
    uint64_t high_ns = 0;
    for (uint64_t i = 0; i < FRAMES_MAX; i++) {
        uint64_t due_ns = 0;
        uint64_t twin_ns = 0;
        uint64_t now_ns = 123456789 + i * 20 * HG_NS_PER_US; /* 8 s */
        CU_ASSERT_EQUAL_FATAL(hg_wan_link_offer(&link, now_ns, 100, &due_ns), HG_WAN_FATE_ARRIVES);
        CU_ASSERT_EQUAL_FATAL(hg_wan_link_offer(&twin, now_ns, 100, &twin_ns), HG_WAN_FATE_ARRIVES);
        CU_ASSERT_EQUAL_FATAL(due_ns, twin_ns);
        CU_ASSERT_FATAL(due_ns > last_ns); /* never reorders, and never bunches up either */
        last_ns = due_ns;
        sum_ns += due_ns - now_ns;
        low_ns = hg_min_u64(low_ns, due_ns - now_ns);
        high_ns = hg_max_u64(high_ns, due_ns - now_ns);
    }
    CU_ASSERT(low_ns >= 35 * HG_NS_PER_MS && low_ns < 37 * HG_NS_PER_MS);
    CU_ASSERT(high_ns <= 45 * HG_NS_PER_MS && high_ns > 43 * HG_NS_PER_MS);
    assert_near(sum_ns / FRAMES_MAX, 40 * HG_NS_PER_MS, 1);
}

static void test_cut(void)
{
    uint64_t due_ns = 0;
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){0});
    link.cut = true;
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, 100, &due_ns), HG_WAN_FATE_CUT);
    link.cut = false;
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, 100, &due_ns), HG_WAN_FATE_ARRIVES);
}

static void test_problems(void)
{
    struct hg_wan_impairment bad[] = {
        {.delay_ns = 61 * HG_NS_PER_S},
        {.delay_ns = 1, .jitter_ns = 2},
        {.loss_ppb = HG_WAN_LOSS_ALL_PPB + 1},
        {.burst_count = 8},
        {.loss_ppb = 900000000, .burst_count = 8}, /* more than 8/9 */
        {.loss_ppb = HG_WAN_LOSS_ALL_PPB, .burst_count = 2},
        {.rate_bits = 999},
        {.rate_bits = HG_WAN_RATE_BITS_MAX + 1},
        {.queue_bytes = 1000},
    };
    for (size_t i = 0; i < HG_COUNT(bad); i++)
        CU_ASSERT_PTR_NOT_NULL(hg_wan_impairment_problem(&bad[i]));
    struct hg_wan_impairment good = {.loss_ppb = 888888888, .burst_count = 8};
    CU_ASSERT_PTR_NULL(hg_wan_impairment_problem(&good));
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("wan_link", NULL, NULL);
    CU_add_test(suite, "a perfect link", test_perfect);
    CU_add_test(suite, "delay", test_delay);
    CU_add_test(suite, "loss rate", test_loss_rate);
    CU_add_test(suite, "burst length", test_burst_length);
    CU_add_test(suite, "one seed, one sequence", test_deterministic);
    CU_add_test(suite, "rate and queue", test_rate);
    CU_add_test(suite, "rate without rounding", test_rate_exact);
    CU_add_test(suite, "edges of the queue", test_queue_edges);
    CU_add_test(suite, "jitter never reorders", test_jitter);
    CU_add_test(suite, "cut", test_cut);
    CU_add_test(suite, "values that make no sense", test_problems);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
