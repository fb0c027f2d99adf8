/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes to one peer: how weights follow from what lanes are, and what comes of it on a bottleneck.
 */
#include "dataplane/transport/cc_share.h"
#include "drivers/platform/random.h"
#include "tests/unit/dataplane/transport/bottleneck.h"
#include "tests/unit/sanitized.h"
#include <CUnit/Basic.h>
#include <stdio.h>

#define S         HG_NS_PER_S
#define MS        HG_NS_PER_MS
#define WHOLE     HG_CC_SHARE_WHOLE
#define LANES     4u
#define TICK_NS   (10 * MS)
#define PER_MILLE 1000u

/* ---- weights ---- */

/* Lanes whose controllers do at once what they are told; a whole of 8 MB/s. */
struct lanes {
    struct hg_cc_share_lane lanes[LANES];
    struct hg_cc_share_view views[LANES];
    struct hg_cc_told told[LANES];
    uint64_t now_ns;
};

static void lanes_init(struct lanes *lanes)
{
    memset(lanes, 0, sizeof(*lanes));
    lanes->now_ns = S;
    for (uint32_t i = 0; i < LANES; i++) {
        lanes->views[i] = (struct hg_cc_share_view){.srtt_ns = 20 * MS, .kind = HG_CC_CUBIC};
    }
}

static void lane_estimate(struct lanes *lanes, uint32_t index, uint64_t estimate)
{
    lanes->views[index].estimate = estimate;
    lanes->views[index].estimate_bytes_per_s = estimate;
}

static void lanes_tick(struct lanes *lanes)
{
    lanes->now_ns += TICK_NS;
    for (uint32_t i = 0; i < LANES; i++) {
        lanes->views[i].now_ns = lanes->now_ns;
        hg_cc_share_look(&lanes->lanes[i], &lanes->views[i]);
    }
    for (uint32_t i = 0; i < LANES; i++) {
        struct hg_cc_share_part others = {.kind = HG_CC_CUBIC};
        for (uint32_t j = 0; j < LANES; j++) {
            if (j != i) {
                hg_cc_share_add(&others, &lanes->lanes[j].part);
            }
        }
        lanes->told[i] = hg_cc_share_tell(&lanes->lanes[i], &lanes->views[i], &others);
        uint64_t scaled = lanes->views[i].estimate * lanes->told[i].scale / WHOLE;
        lane_estimate(lanes, i, hg_max_u64(scaled, lanes->told[i].target));
    }
}

static void test_alone(void)
{
    struct lanes lanes;
    lanes_init(&lanes);
    lanes.views[0].active = true;
    lane_estimate(&lanes, 0, 8000000);
    for (uint32_t i = 0; i < 50; i++) {
        lanes.views[0].limited = i % 3 == 0;
        lanes_tick(&lanes);
        CU_ASSERT(lanes.told[0].weight == WHOLE && lanes.told[0].scale == WHOLE);
        CU_ASSERT(lanes.told[0].target == 0 && lanes.told[0].others_count == 0 && lanes.told[0].whole == 0);
    }
}

/* One begins, gives half of it up for a second, which finds its half and no more; when that one stops, the
 * first is to look for all of it again. */
static void test_comes_and_goes(void)
{
    struct lanes lanes;
    lanes_init(&lanes);
    lanes.views[0].active = true;
    lane_estimate(&lanes, 0, 8000000);
    lanes_tick(&lanes);
    lanes.views[1].active = true;
    lanes_tick(&lanes);
    CU_ASSERT_EQUAL(lanes.told[0].weight, WHOLE / 2);
    CU_ASSERT_EQUAL(lanes.told[0].scale, WHOLE / 2);
    CU_ASSERT_EQUAL(lanes.views[0].estimate, 4000000);
    CU_ASSERT_EQUAL(lanes.told[1].target, 4000000);
    lanes_tick(&lanes);
    CU_ASSERT_EQUAL(lanes.told[0].scale, WHOLE); /* once */
    lanes_tick(&lanes);
    CU_ASSERT_EQUAL(lanes.told[0].whole, 8000000);
    lanes.views[1].active = false;
    lanes_tick(&lanes);
    CU_ASSERT(lanes.told[0].rises && lanes.told[0].weight == WHOLE);
    CU_ASSERT_EQUAL(lanes.told[0].target, 8000000);
    lanes_tick(&lanes);
    CU_ASSERT(!lanes.told[0].rises && lanes.told[0].target == 0);
}

/* What a rising lane has not found yet, it does not give up when the other comes back. */
static void test_comes_back_early(void)
{
    struct lanes lanes;
    lanes_init(&lanes);
    for (uint32_t i = 0; i < 2; i++) {
        lanes.views[i].active = true;
        lane_estimate(&lanes, i, 4000000);
    }
    lanes_tick(&lanes);
    for (uint32_t i = 0; i < 20; i++) {
        lanes.views[1].active = i % 2 == 1;
        lanes_tick(&lanes);
        lane_estimate(&lanes, 0, 4000000); /* too short to find anything */
        CU_ASSERT_EQUAL(lanes.told[0].scale, WHOLE);
    }
    /* Nothing more to be found: then what there is, is all. */
    lanes.views[1].active = false;
    for (uint64_t end_ns = lanes.now_ns + HG_CC_SHARE_RISE_NS + 2 * TICK_NS; lanes.now_ns < end_ns;) {
        lanes_tick(&lanes);
        lane_estimate(&lanes, 0, 4000000);
    }
    CU_ASSERT(lanes.told[0].target == 0 && lanes.lanes[0].weight == WHOLE);
}

/* A lane that uses a tenth leaves the rest to the other. */
static void test_lacks_data(void)
{
    struct lanes lanes;
    lanes_init(&lanes);
    for (uint32_t i = 0; i < 2; i++) {
        lanes.views[i].active = true;
        lane_estimate(&lanes, i, 4000000);
    }
    lanes_tick(&lanes);
    lanes.views[1].limited = true;
    for (uint32_t i = 0; i < 60; i++) {
        lanes.views[1].delivered_bytes += 800000 * TICK_NS / S;
        lanes_tick(&lanes);
    }
    /* Of 8 MB/s 0.8 and room to grow by a quarter. */
    CU_ASSERT_EQUAL(lanes.told[0].weight * PER_MILLE / WHOLE, 875);
    CU_ASSERT_EQUAL(lanes.told[1].weight, WHOLE / 2); /* what it may have when it has data */
    lanes.views[1].limited = false;
    lanes_tick(&lanes);
    CU_ASSERT_EQUAL(lanes.told[0].weight, WHOLE / 2);
}

static void test_random(void)
{
    struct hg_random random;
    hg_random_init(&random, 20);
    for (uint32_t run = 0; run < HG_TEST_SEEDS(500); run++) {
        struct lanes lanes;
        lanes_init(&lanes);
        for (uint32_t tick = 0; tick < 100; tick++) {
            uint64_t busy = 0, weights = 0;
            for (uint32_t i = 0; i < LANES; i++) {
                if (hg_random_chance(&random, 1, 10)) {
                    lanes.views[i].active = hg_random_chance(&random, 2, 3);
                    lanes.views[i].limited = hg_random_chance(&random, 1, 3);
                }
                if (hg_random_chance(&random, 1, 5)) {
                    lane_estimate(&lanes, i, hg_random_below(&random, 1u << 30));
                }
                lanes.views[i].delivered_bytes += hg_random_below(&random, 1u << 20);
            }
            lanes_tick(&lanes);
            for (uint32_t i = 0; i < LANES; i++) {
                CU_ASSERT_FATAL(lanes.told[i].weight <= WHOLE && lanes.told[i].scale <= WHOLE);
                CU_ASSERT_FATAL(lanes.told[i].weight >=
                                WHOLE / LANES); /* nobody has less than an equal part */
                busy += lanes.lanes[i].part.busy_count;
            }
            for (uint32_t i = 0; i < LANES && busy > 0; i++) {
                weights = hg_max_u64(weights, lanes.told[i].weight * lanes.lanes[i].part.busy_count);
            }
            CU_ASSERT_FATAL(weights * busy <= WHOLE);
        }
    }
}

static void test_words(void)
{
    const struct hg_cc_share_part part = {.estimate = UINT64_C(123456789012),
                                          .weight = 2 * WHOLE,
                                          .wanted_bytes_per_s = UINT64_C(98765432109),
                                          .congestion = UINT64_C(0x123456789abcdef0),
                                          .busy_count = 16,
                                          .limited_count = 3,
                                          .kind = HG_CC_BBR};
    uint64_t words[HG_CC_SHARE_WORDS];
    hg_cc_share_pack(&part, words);
    struct hg_cc_share_part read = hg_cc_share_unpack(words);
    CU_ASSERT(read.estimate == part.estimate && read.weight == part.weight);
    CU_ASSERT(read.wanted_bytes_per_s == part.wanted_bytes_per_s && read.congestion == part.congestion);
    CU_ASSERT(read.busy_count == part.busy_count && read.limited_count == part.limited_count);
    CU_ASSERT_EQUAL(read.kind, part.kind);
    struct hg_cc_share_part sum = {.kind = HG_CC_CUBIC};
    hg_cc_share_add(&sum, &part);
    CU_ASSERT(sum.busy_count == 0 && sum.congestion == 0); /* of another controller: not comparable */
}

/* ---- bottleneck ---- */

#define RATE UINT64_C(6250000)

/* Lanes of one node from flow 0 on, one flow of another node last. */
static struct bottleneck_config competition(enum hg_cc_kind kind, uint32_t lane_count, uint64_t rtt_ns)
{
    struct bottleneck_config config = {.seed = 7919,
                                       .rate_bytes_per_s = RATE,
                                       .queue_bytes = hg_delivery_bytes(RATE, rtt_ns),
                                       .delay_ns = rtt_ns / 2,
                                       .flow_count = lane_count + 1,
                                       .lane_count = lane_count,
                                       .kind = kind,
                                       .measure_from_ns = 8 * S,
                                       .end_ns = 24 * S};
    for (uint32_t i = 0; i < lane_count; i++) {
        config.flow_start_ns[i] = i * 110 * MS;
    }
    config.flow_start_ns[lane_count] = 370 * MS;
    return config;
}

static uint64_t carried(const struct bottleneck_result *result, uint32_t from, uint32_t to)
{
    uint64_t bytes = 0;
    for (uint32_t i = from; i < to; i++) {
        bytes += result->carried_bytes[i];
    }
    return bytes;
}

struct contest {
    enum hg_cc_kind kind;
    uint32_t lane_count, rtt_ms, rate_factor, seeds, least, most, lane_least;
};

/* What lanes get beside one flow, and the least of them of its part, per mille: the mean and the least. */
static void contest_run(const struct contest *c, uint64_t *share, uint64_t *lane_share)
{
    *share = 0;
    *lane_share = UINT64_MAX;
    for (uint32_t seed = 1; seed <= HG_TEST_SEEDS(c->seeds); seed++) {
        struct bottleneck_config config = competition(c->kind, c->lane_count, c->rtt_ms * MS);
        config.seed *= seed;
        config.rate_bytes_per_s *= c->rate_factor;
        config.queue_bytes *= c->rate_factor;
        config.flow_start_ns[c->lane_count] += seed * 70 * MS;
        struct bottleneck_result result = bottleneck_run(&config);
        uint64_t lanes = carried(&result, 0, c->lane_count);
        *share += lanes * PER_MILLE / (lanes + result.carried_bytes[c->lane_count]);
        for (uint32_t i = 0; i < c->lane_count; i++) {
            *lane_share =
                hg_min_u64(*lane_share, result.carried_bytes[i] * c->lane_count * PER_MILLE / lanes);
        }
        CU_ASSERT(result.used_per_mille >= 960);
    }
    *share /= HG_TEST_SEEDS(c->seeds);
}

static void test_lanes_are_one_flow(void)
{
    static const struct contest table[] = {
        {HG_CC_CUBIC, 2, 20, 1, 1, 400, 580, 900}, {HG_CC_CUBIC, 4, 20, 1, 1, 400, 580, 900},
        {HG_CC_CUBIC, 4, 10, 2, 1, 400, 580, 900}, {HG_CC_BBR, 2, 20, 1, 3, 430, 590, 500},
        {HG_CC_BBR, 4, 20, 1, 3, 430, 630, 500},
    };
    for (uint32_t i = 0; i < HG_COUNT(table); i += HG_TEST_STEP(1)) {
        const struct contest *c = &table[i];
        uint64_t share, lane_share;
        contest_run(c, &share, &lane_share);
        bool as_said = share >= c->least && share <= c->most && lane_share >= c->lane_least;
        CU_ASSERT(as_said);
        if (!as_said) {
            printf("\n  controller %u, %u lanes, %u ms: %lu of one flow's 500 per mille, the least of them "
                   "%lu\n",
                   c->kind, c->lane_count, c->rtt_ms, share, lane_share);
        }
    }
}

/* With nobody else on the line they fill it. */
static void test_lanes_fill_the_link(void)
{
    for (enum hg_cc_kind kind = HG_CC_CUBIC; kind <= HG_CC_BBR; kind++) {
        for (uint32_t count = 1; count <= LANES; count *= 2) {
            struct bottleneck_config config = competition(kind, count, 40 * MS);
            config.flow_count = count;
            uint32_t used = bottleneck_run(&config).used_per_mille;
            CU_ASSERT(used >= 970);
            if (used < 970) {
                printf("\n  kind %u, %u lanes: %u per mille used\n", kind, count, used);
            }
        }
    }
}

/* What a lane had that has no more data goes to the others, not to who else is on the line. */
static void test_idle_part_is_taken(void)
{
    for (enum hg_cc_kind kind = HG_CC_CUBIC; kind <= HG_CC_BBR; kind++) {
        struct bottleneck_config config = competition(kind, 2, 20 * MS);
        config.flow_stop_ns[1] = 6 * S;
        struct bottleneck_result result = bottleneck_run(&config);
        CU_ASSERT(carried(&result, 0, 1) * 10 >= carried(&result, 0, 3) * 4);
        config = competition(kind, 2, 20 * MS);
        config.data_bytes_per_s[1] = RATE / 50;
        result = bottleneck_run(&config);
        CU_ASSERT(carried(&result, 0, 2) * 10 >= carried(&result, 0, 3) * 4);
        /* And the lane has what it wants. */
        CU_ASSERT(carried(&result, 1, 2) >= hg_delivery_bytes(RATE / 50, 15 * S));
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cc_share", NULL, NULL);
    CU_add_test(suite, "alone", test_alone);
    CU_add_test(suite, "a lane comes and goes", test_comes_and_goes);
    CU_add_test(suite, "a lane comes back early", test_comes_back_early);
    CU_add_test(suite, "a lane lacks data", test_lacks_data);
    CU_add_test(suite, "random", test_random);
    CU_add_test(suite, "words", test_words);
    CU_add_test(suite, "lanes are one flow", test_lanes_are_one_flow);
    if (!HG_TEST_IS_SANITIZED) {
        CU_add_test(suite, "lanes fill the link", test_lanes_fill_the_link);
        CU_add_test(suite, "an idle lane's part is taken", test_idle_part_is_taken);
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
