/* SPDX-License-Identifier: Apache-2.0
 *
 * The link model in virtual time: what it loses, how it bunches losses, how fast it is, how long it takes,
 * what it reorders and that it reorders nothing else, what it doubles and damages, how it spreads frames over
 * paths, and that a seed says it all.
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

static enum hg_wan_fate offer(struct hg_wan_link *link, uint64_t now_ns, uint32_t bytes, uint64_t *due_ns)
{
    struct hg_wan_offer frame = {.bytes = bytes, .payload_bytes = bytes - 14};
    struct hg_wan_arrival arrival;
    enum hg_wan_fate fate = hg_wan_link_offer(link, now_ns, &frame, &arrival);
    if (fate == HG_WAN_FATE_ARRIVES)
        *due_ns = arrival.due_ns;
    return fate;
}

static void test_perfect(void)
{
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){0});
    for (uint64_t now_ns = 5; now_ns < 5000; now_ns += 7) {
        uint64_t due_ns = 0;
        CU_ASSERT_EQUAL(offer(&link, now_ns, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
        CU_ASSERT_EQUAL(due_ns, now_ns);
    }
}

static void test_delay(void)
{
    uint64_t due_ns = 0;
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){.delay_ns = 40 * HG_NS_PER_MS});
    CU_ASSERT_EQUAL(offer(&link, 1000, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1000 + 40 * HG_NS_PER_MS);
    /* A shorter delay doesn't let new frames overtake. */
    struct hg_wan_impairment shorter = {.delay_ns = HG_NS_PER_MS};
    hg_wan_link_set(&link, &shorter);
    CU_ASSERT_EQUAL(offer(&link, 2000, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1000 + 40 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(offer(&link, 50 * HG_NS_PER_MS, 64, &due_ns), HG_WAN_FATE_ARRIVES);
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
        bool lost = offer(&link, i * step_ns, 1500, &due_ns) == HG_WAN_FATE_LOST;
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
        first = first << 1 | (offer(&link, i, 100, &due_ns) == HG_WAN_FATE_LOST);
    hg_wan_link_seed(&link, 7);
    for (uint64_t i = 0; i < 64; i++)
        second = second << 1 | (offer(&link, i, 100, &due_ns) == HG_WAN_FATE_LOST);
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
        enum hg_wan_fate fate = offer(&link, i * 6000, 1500, &due_ns);
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
    CU_ASSERT_EQUAL(offer(&link, now_ns, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, now_ns + 12000 + HG_NS_PER_MS);
}

/* A rate that doesn't divide: no time is lost to rounding. */
static void test_rate_exact(void)
{
    struct hg_wan_link link =
        make(1, (struct hg_wan_impairment){.rate_bits = 7000000000, .queue_bytes = HG_WAN_QUEUE_BYTES_MAX});
    uint64_t due_ns = 0;
    for (uint64_t i = 0; i < 70000; i++)
        CU_ASSERT_EQUAL_FATAL(offer(&link, 0, 1000, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, UINT64_C(70000) * 1000 * 8 / 7);
}

/* A frame larger than the queue passes an idle link, and losses take their time on the transmitter. */
static void test_queue_edges(void)
{
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){.rate_bits = 8000000, .queue_bytes = 1000});
    uint64_t due_ns = 0;
    CU_ASSERT_EQUAL(offer(&link, 0, 1500, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 1500 * HG_NS_PER_US);
    CU_ASSERT_EQUAL(offer(&link, 0, 64, &due_ns), HG_WAN_FATE_QUEUE_FULL);
    CU_ASSERT_EQUAL(offer(&link, 564 * HG_NS_PER_US, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(offer(&link, 564 * HG_NS_PER_US, 1, &due_ns), HG_WAN_FATE_QUEUE_FULL);

    struct hg_wan_link lossy =
        make(1, (struct hg_wan_impairment){.rate_bits = 8000000, .loss_ppb = HG_WAN_LOSS_ALL_PPB});
    CU_ASSERT_EQUAL(offer(&lossy, 0, 1000, &due_ns), HG_WAN_FATE_LOST);
    CU_ASSERT_EQUAL(lossy.busy_until_ns, HG_NS_PER_MS);
}

static bool marks(struct hg_wan_link *link, uint64_t now_ns)
{
    const struct hg_wan_offer frame = {.bytes = 1000, .payload_bytes = 986};
    struct hg_wan_arrival arrival;
    CU_ASSERT_EQUAL(hg_wan_link_offer(link, now_ns, &frame, &arrival), HG_WAN_FATE_ARRIVES);
    return arrival.mark;
}

/* 1000 bytes take a millisecond: marked is what finds more waiting than the threshold, in bytes or time. */
static void test_ecn(void)
{
    static const struct hg_wan_impairment thresholds[] = {{.rate_bits = 8000000, .ecn_bytes = 3000},
                                                          {.rate_bits = 8000000, .ecn_ns = 3 * HG_NS_PER_MS}};
    for (size_t i = 0; i < HG_COUNT(thresholds); i++) {
        struct hg_wan_link link = make(1, thresholds[i]);
        for (uint32_t n = 0; n < 8; n++)
            CU_ASSERT_EQUAL(marks(&link, 0), n > 3);
        CU_ASSERT_FALSE(marks(&link, 5 * HG_NS_PER_MS)); /* 3 ms wait */
        CU_ASSERT_TRUE(marks(&link, 5 * HG_NS_PER_MS));
    }
    struct hg_wan_link none = make(1, (struct hg_wan_impairment){.rate_bits = 8000000});
    for (uint32_t n = 0; n < 100; n++)
        CU_ASSERT_FALSE(marks(&none, 0));
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
        CU_ASSERT_EQUAL_FATAL(offer(&link, now_ns, 100, &due_ns), HG_WAN_FATE_ARRIVES);
        CU_ASSERT_EQUAL_FATAL(offer(&twin, now_ns, 100, &twin_ns), HG_WAN_FATE_ARRIVES);
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

struct adventures {
    uint64_t late;
    uint64_t duplicate;
    uint64_t corrupt;
    uint64_t detour;
    uint64_t overtaken; /* arrives after a frame that was offered later */
    uint64_t lost;
    uint64_t hash;
    uint64_t by_path[HG_WAN_PATHS_MAX];
};

/* Frames of 100 bytes, `step_ns` apart, of `flows` flows in turn. */
static struct adventures watch(uint64_t seed, struct hg_wan_impairment impairment, uint64_t step_ns,
                               uint64_t flows)
{
    static uint64_t due_ns[FRAMES_MAX];
    struct adventures seen = {0};
    struct hg_wan_link link = make(seed, impairment);
    uint64_t last_ns[HG_WAN_TRACKS_MAX] = {0};
    for (uint64_t i = 0; i < FRAMES_MAX; i++) {
        struct hg_wan_offer frame = {
            .bytes = 100, .payload_bytes = 86, .flow = flows != 0 ? i % flows * UINT64_C(0x12345) : 0};
        struct hg_wan_arrival arrival;
        enum hg_wan_fate fate = hg_wan_link_offer(&link, i * step_ns, &frame, &arrival);
        due_ns[i] = 0;
        seen.hash = seen.hash * 31 + fate;
        seen.lost += fate == HG_WAN_FATE_LOST;
        if (fate != HG_WAN_FATE_ARRIVES)
            continue;
        CU_ASSERT_FATAL(arrival.track < HG_WAN_TRACKS_MAX && arrival.due_ns >= last_ns[arrival.track]);
        last_ns[arrival.track] = arrival.due_ns;
        due_ns[i] = arrival.due_ns;
        seen.late += arrival.late;
        seen.duplicate += arrival.duplicate;
        seen.corrupt += arrival.corrupt;
        seen.detour += arrival.detour;
        seen.by_path[arrival.track / 2]++;
        seen.hash =
            (seen.hash * 31 + arrival.due_ns - i * step_ns) * 31 + arrival.corrupt_random + arrival.duplicate;
    }
    uint64_t least_ns = UINT64_MAX;
    for (uint64_t i = FRAMES_MAX; i-- > 0;) {
        seen.overtaken += due_ns[i] > least_ns;
        if (due_ns[i] != 0)
            least_ns = hg_min_u64(least_ns, due_ns[i]);
    }
    return seen;
}

static void test_reorder(void)
{
    struct hg_wan_impairment impairment = {
        .delay_ns = 10 * HG_NS_PER_MS, .reorder_ppb = 10000000, .late_ns = 50 * HG_NS_PER_US};
    struct adventures seen = watch(1, impairment, 10 * HG_NS_PER_US, 0);
    CU_ASSERT_EQUAL(seen.late, 4015); /* of this seed; 1 % of 400000 are 4000 */
    assert_near(seen.late, FRAMES_MAX / 100, 10);
    /* Five frames are sent while one is held back: all but those beside other late ones are overtaken. */
    assert_near(seen.overtaken, seen.late, 1);
    CU_ASSERT(seen.overtaken <= seen.late);
    /* Sent farther apart than that, none is: a late frame is not a reordered one. */
    seen = watch(1, impairment, 51 * HG_NS_PER_US, 0);
    CU_ASSERT_EQUAL(seen.late, 4015);
    CU_ASSERT_EQUAL(seen.overtaken, 0);
    impairment.reorder_ppb = HG_WAN_LOSS_ALL_PPB;
    seen = watch(1, impairment, 10 * HG_NS_PER_US, 0);
    CU_ASSERT_EQUAL(seen.late, FRAMES_MAX);
    CU_ASSERT_EQUAL(seen.overtaken, 0);
}

static void test_late_time(void)
{
    uint64_t due_ns = 0;
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){.delay_ns = HG_NS_PER_MS,
                                                                 .reorder_ppb = HG_WAN_LOSS_ALL_PPB,
                                                                 .late_ns = 5 * HG_NS_PER_MS});
    CU_ASSERT_EQUAL(offer(&link, 100, 64, &due_ns), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(due_ns, 100 + 6 * HG_NS_PER_MS);
}

static void test_duplicate_and_corrupt(void)
{
    struct hg_wan_impairment impairment = {.duplicate_ppb = 20000000, .corrupt_ppb = 5000000};
    struct adventures seen = watch(1, impairment, 1000, 0);
    CU_ASSERT_EQUAL(seen.duplicate, 8029);
    CU_ASSERT_EQUAL(seen.corrupt, 1933);
    assert_near(seen.duplicate, FRAMES_MAX / 50, 10);
    assert_near(seen.corrupt, FRAMES_MAX / 200, 10);
    CU_ASSERT_EQUAL(seen.overtaken + seen.late + seen.detour + seen.lost, 0);
    impairment = (struct hg_wan_impairment){.duplicate_ppb = HG_WAN_LOSS_ALL_PPB};
    CU_ASSERT_EQUAL(watch(1, impairment, 1000, 0).duplicate, FRAMES_MAX);
    impairment = (struct hg_wan_impairment){.corrupt_ppb = HG_WAN_LOSS_ALL_PPB};
    CU_ASSERT_EQUAL(watch(1, impairment, 1000, 0).corrupt, FRAMES_MAX);
}

static void test_paths(void)
{
    struct hg_wan_impairment impairment = {
        .delay_ns = HG_NS_PER_MS, .path_count = 4, .skew_ns = 100 * HG_NS_PER_US};
    struct adventures seen = watch(1, impairment, HG_NS_PER_US, 0);
    for (int path = 0; path < 4; path++)
        assert_near(seen.by_path[path], FRAMES_MAX / 4, 2);
    CU_ASSERT_EQUAL(seen.by_path[4], 0);
    CU_ASSERT_EQUAL(seen.detour, FRAMES_MAX - seen.by_path[0]);
    /* Nearly all on the longer paths are overtaken by one of the hundred and more behind them. */
    assert_near(seen.overtaken, seen.detour, 1);

    /* By flow: one flow keeps one path and its order, many flows use all. */
    impairment.path_by_flow = true;
    seen = watch(1, impairment, HG_NS_PER_US, 1);
    CU_ASSERT_EQUAL(seen.overtaken, 0);
    CU_ASSERT(seen.by_path[0] == FRAMES_MAX || seen.by_path[1] == FRAMES_MAX ||
              seen.by_path[2] == FRAMES_MAX || seen.by_path[3] == FRAMES_MAX);
    seen = watch(1, impairment, HG_NS_PER_US, 1000);
    for (int path = 0; path < 4; path++)
        assert_near(seen.by_path[path], FRAMES_MAX / 4, 20);
    struct adventures other = watch(2, impairment, HG_NS_PER_US, 1000);
    CU_ASSERT_NOT_EQUAL(seen.hash, other.hash); /* another seed, other paths */
}

static void test_path_delay(void)
{
    struct hg_wan_link link =
        make(1, (struct hg_wan_impairment){.delay_ns = 100, .path_count = 8, .skew_ns = 1000});
    uint32_t seen = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t due_ns = 0;
        CU_ASSERT_EQUAL_FATAL(offer(&link, i * 10000, 100, &due_ns), HG_WAN_FATE_ARRIVES);
        uint64_t extra_ns = due_ns - i * 10000 - 100;
        CU_ASSERT_FATAL(extra_ns % 1000 == 0 && extra_ns <= 7000);
        seen |= 1u << extra_ns / 1000;
    }
    CU_ASSERT_EQUAL(seen, 0xff);
}

/* All impairments together repeat under a seed, whatever the timing; and one does not move another's draws.
 */
static void test_adventures_deterministic(void)
{
    struct hg_wan_impairment all = {.loss_ppb = 10000000,
                                    .burst_count = 3,
                                    .reorder_ppb = 10000000,
                                    .late_ns = 50000,
                                    .duplicate_ppb = 20000000,
                                    .corrupt_ppb = 5000000,
                                    .path_count = 3,
                                    .skew_ns = 1000};
    struct hg_wan_impairment loss = {.loss_ppb = 10000000, .burst_count = 3};
    struct adventures a = watch(9, all, 100000, 0);
    struct adventures b = watch(9, all, 77777777, 0);
    CU_ASSERT_EQUAL(a.hash, b.hash);
    CU_ASSERT_NOT_EQUAL(a.hash, watch(10, all, 100000, 0).hash);
    CU_ASSERT_EQUAL(a.lost, watch(9, loss, 1000, 0).lost);
    CU_ASSERT_EQUAL(a.lost, count_losses(9, 10000000, 3, 1000).lost);
}

static void test_mtu(void)
{
    struct hg_wan_link link =
        make(1, (struct hg_wan_impairment){.mtu_bytes = 1400, .rate_bits = 8000000, .queue_bytes = 10000});
    struct hg_wan_offer frame = {.bytes = 1414, .payload_bytes = 1400};
    struct hg_wan_arrival arrival;
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, &frame, &arrival), HG_WAN_FATE_ARRIVES);
    CU_ASSERT_EQUAL(arrival.due_ns, 1414 * HG_NS_PER_US);
    frame = (struct hg_wan_offer){.bytes = 1415, .payload_bytes = 1401};
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, &frame, &arrival), HG_WAN_FATE_OVER_MTU);
    CU_ASSERT_EQUAL(link.busy_until_ns, 1414 * HG_NS_PER_US); /* it took no time of the transmitter */
    frame = (struct hg_wan_offer){.bytes = 1418, .payload_bytes = 1400}; /* behind a VLAN tag */
    CU_ASSERT_EQUAL(hg_wan_link_offer(&link, 0, &frame, &arrival), HG_WAN_FATE_ARRIVES);
}

static void test_cut(void)
{
    uint64_t due_ns = 0;
    struct hg_wan_link link = make(1, (struct hg_wan_impairment){0});
    link.cut = true;
    CU_ASSERT_EQUAL(offer(&link, 0, 100, &due_ns), HG_WAN_FATE_CUT);
    link.cut = false;
    CU_ASSERT_EQUAL(offer(&link, 0, 100, &due_ns), HG_WAN_FATE_ARRIVES);
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
        {.ecn_bytes = 1000},
        {.ecn_ns = 1000},
        {.rate_bits = 1000, .ecn_bytes = HG_WAN_QUEUE_BYTES_MAX + 1},
        {.rate_bits = 1000, .ecn_ns = HG_WAN_DELAY_NS_MAX + 1},
        {.reorder_ppb = 1},
        {.late_ns = 1},
        {.reorder_ppb = 1, .late_ns = 61 * HG_NS_PER_S},
        {.reorder_ppb = HG_WAN_LOSS_ALL_PPB + 1, .late_ns = 1},
        {.duplicate_ppb = HG_WAN_LOSS_ALL_PPB + 1},
        {.corrupt_ppb = HG_WAN_LOSS_ALL_PPB + 1},
        {.path_count = 2},
        {.path_count = 1, .skew_ns = 1},
        {.skew_ns = 1},
        {.path_by_flow = true},
        {.path_count = 9, .skew_ns = 1},
        {.path_count = 3, .skew_ns = 31 * HG_NS_PER_S},
        {.mtu_bytes = 67},
        {.mtu_bytes = HG_WAN_MTU_BYTES_MAX + 1},
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
    CU_add_test(suite, "marks", test_ecn);
    CU_add_test(suite, "jitter never reorders", test_jitter);
    CU_add_test(suite, "reorder", test_reorder);
    CU_add_test(suite, "how late", test_late_time);
    CU_add_test(suite, "duplicate and corrupt", test_duplicate_and_corrupt);
    CU_add_test(suite, "paths", test_paths);
    CU_add_test(suite, "length of the paths", test_path_delay);
    CU_add_test(suite, "all of them, one seed", test_adventures_deterministic);
    CU_add_test(suite, "mtu", test_mtu);
    CU_add_test(suite, "cut", test_cut);
    CU_add_test(suite, "values that make no sense", test_problems);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
