/* SPDX-License-Identifier: Apache-2.0
 *
 * The controllers: tables of events for what each does at an event, and runs over a bottleneck for what comes
 * of it.
 */
#include "dataplane/transport/cc.h"
#include "dataplane/transport/cc_constants.h"
#include "tests/unit/dataplane/transport/bottleneck.h"
#include "tests/unit/sanitized.h"
#include <CUnit/Basic.h>
#include <stdio.h>

#define S      HG_NS_PER_S
#define MS     HG_NS_PER_MS
#define PACKET 1500u

/* ---- events ---- */

struct path {
    struct hg_cc cc;
    struct hg_loss loss;
    struct hg_delivery delivery;
    uint64_t now_ns;
};

static void path_init(struct path *path, enum hg_cc_kind kind, uint64_t rate, uint64_t rtt_ns)
{
    memset(path, 0, sizeof(*path));
    path->now_ns = S;
    hg_loss_init(&path->loss);
    hg_loss_rtt(&path->loss, rtt_ns, 0);
    hg_delivery_init(&path->delivery, path->now_ns);
    hg_cc_init(&path->cc, kind, rate, PACKET, &path->loss, path->now_ns);
}

/* A round: `acked` and `lost` of a hundred packets' bytes, its acks after `rtt_ns`. */
static void path_round(struct path *path, uint64_t acked, uint64_t lost, uint64_t rtt_ns, bool cwnd_limited)
{
    const struct hg_cc_sent sent = {path->now_ns, PACKET, 0, &path->delivery};
    const uint64_t sent_ns = path->now_ns;
    path->cc.ops->on_sent(&path->cc, &sent);
    path->now_ns += rtt_ns;
    path->delivery.cwnd_end = cwnd_limited ? UINT64_MAX : 0;
    const struct hg_sent_sample sample = {0};
    for (uint64_t i = 0; i < lost; i++) {
        const struct hg_cc_loss one = {path->now_ns, sent_ns, PACKET, &sample, &path->delivery, &path->loss};
        path->delivery.lost_bytes += PACKET;
        path->cc.ops->on_lost(&path->cc, &one);
    }
    path->loss.srtt_ns = rtt_ns;
    path->delivery.delivered_bytes += acked * PACKET;
    const struct hg_cc_ack ack = {.now_ns = path->now_ns,
                                  .acked_bytes = acked * PACKET,
                                  .rtt_ns = rtt_ns,
                                  .delivery = &path->delivery,
                                  .loss = &path->loss};
    path->cc.ops->on_acked(&path->cc, &ack);
}

static void test_fixed_breaker(void)
{
    static const struct {
        uint64_t acked, lost, rtt_ms;
        uint64_t rate; /* afterwards */
        uint64_t alarms;
    } rounds[] = {
        {100, 0, 100, 8000, 0}, {80, 20, 100, 8000, 0}, {80, 20, 100, 8000, 0}, {100, 0, 100, 8000, 0},
        {80, 20, 100, 8000, 0}, {80, 20, 100, 8000, 0}, {80, 20, 100, 4000, 1}, /* three in a row */
        {91, 9, 100, 4000, 1},  {100, 0, 100, 4000, 1}, {100, 0, 100, 5001, 1}, /* steps back */
        {100, 0, 250, 5001, 1}, {100, 0, 250, 5001, 1}, {100, 0, 250, 2500, 2}, /* a queue */
        {100, 0, 199, 2500, 2}, {100, 0, 100, 2500, 2}, {100, 0, 100, 3126, 2}, {5, 5, 100, 3126, 2},
        {5, 5, 100, 3126, 2},   {5, 5, 100, 3908, 2}, /* too few to say */
        {100, 0, 100, 3908, 2}, {100, 0, 100, 3908, 2}, {100, 0, 100, 4886, 2}, {100, 0, 100, 4886, 2},
        {100, 0, 100, 4886, 2}, {100, 0, 100, 6108, 2}, {100, 0, 100, 6108, 2}, {100, 0, 100, 6108, 2},
        {100, 0, 100, 7636, 2}, {100, 0, 100, 7636, 2}, {100, 0, 100, 7636, 2}, {100, 0, 100, 8000, 2},
    };
    struct path path;
    path_init(&path, HG_CC_FIXED, 8000, 100 * MS);
    for (uint32_t i = 0; i < HG_COUNT(rounds); i++) {
        path_round(&path, rounds[i].acked, rounds[i].lost, rounds[i].rtt_ms * MS, true);
        bool as_said = path.cc.rate_bytes_per_s == rounds[i].rate && path.cc.alarms == rounds[i].alarms;
        CU_ASSERT(as_said);
        if (!as_said) {
            printf("\n  round %u: %lu bytes/s, %lu alarms\n", i, path.cc.rate_bytes_per_s, path.cc.alarms);
        }
    }
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "steady");
    path.cc.ops->on_persistent(&path.cc, path.now_ns);
    CU_ASSERT_EQUAL(path.cc.rate_bytes_per_s, 4000);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "reduced");
    for (uint32_t i = 0; i < 100; i++) {
        path_round(&path, 10, 90, 100 * MS, true);
    }
    CU_ASSERT_EQUAL(path.cc.rate_bytes_per_s, 8000 / HG_CC_BREAKER_DIVISOR_MAX);
    path_init(&path, HG_CC_FIXED, 0, 100 * MS);
    for (uint32_t i = 0; i < 10; i++) {
        path_round(&path, 10, 90, 100 * MS, true);
    }
    path.cc.ops->on_persistent(&path.cc, path.now_ns);
    CU_ASSERT(path.cc.rate_bytes_per_s == 0 && path.cc.cwnd_bytes == UINT64_MAX);
}

static void test_cubic_events(void)
{
    struct path path;
    path_init(&path, HG_CC_CUBIC, 0, 50 * MS);
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 10 * PACKET);
    path_round(&path, 10, 0, 50 * MS, false);
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 10 * PACKET); /* unused, so it doesn't grow */
    path_round(&path, 10, 0, 50 * MS, true);
    path_round(&path, 20, 0, 50 * MS, true);
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 40 * PACKET);
    CU_ASSERT_EQUAL(path.cc.rate_bytes_per_s, 2 * 40 * PACKET * 20);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "slow-start");
    path_round(&path, 0, 5, 50 * MS, true); /* five of one round: one reduction */
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 28 * PACKET);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "avoidance");
    /* So short a round trip is Reno's: 0.53 packets a round up to the old window, then one. */
    uint64_t from_ns = path.now_ns;
    while (path.now_ns < from_ns + 2 * S) {
        path_round(&path, path.cc.cwnd_bytes / PACKET, 0, 50 * MS, true);
    }
    CU_ASSERT(path.cc.cwnd_bytes > 52 * PACKET && path.cc.cwnd_bytes < 60 * PACKET);
    path_round(&path, 20, 1, 50 * MS, true);
    path.cc.ops->on_persistent(&path.cc, path.now_ns);
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 2 * PACKET);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "slow-start");
    path_init(&path, HG_CC_CUBIC, 1000, 50 * MS);
    CU_ASSERT_EQUAL(path.cc.rate_bytes_per_s, 1000); /* the configured rate is the most */
}

/* HyStart++: slow start slows down when round trips rise, and goes on when that was nothing. */
static void test_hystart(void)
{
    static const struct {
        uint64_t rtt_ms;
        const char *state;
    } rounds[] = {{50, "slow-start"},   {50, "slow-start"},   {60, "conservative"}, {50, "slow-start"},
                  {60, "conservative"}, {61, "conservative"}, {62, "conservative"}, {63, "conservative"},
                  {63, "conservative"}, {64, "avoidance"}};
    struct path path;
    path_init(&path, HG_CC_CUBIC, 0, 50 * MS);
    for (uint32_t i = 0; i < HG_COUNT(rounds); i++) {
        for (uint32_t sample = 0; sample < HG_HYSTART_SAMPLES; sample++) {
            path_round(&path, sample == 0 ? 1 : 0, 0, rounds[i].rtt_ms * MS, true);
            if (sample == 0) {
                path.delivery.delivered_bytes -= PACKET; /* one round has all the samples */
            }
        }
        path.delivery.delivered_bytes += 2 * PACKET;
        CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), rounds[i].state);
    }
}

static void test_bbr_persistent_restores(void)
{
    struct path path;
    path_init(&path, HG_CC_BBR, 0, 50 * MS);
    path_round(&path, 10, 0, 50 * MS, true);
    uint64_t before = path.cc.cwnd_bytes;
    path.cc.ops->on_persistent(&path.cc, path.now_ns);
    path.cc.ops->on_persistent(&path.cc, path.now_ns);
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, 4 * PACKET);
    path_round(&path, 1, 0, 50 * MS, true);
    CU_ASSERT(path.cc.cwnd_bytes >= before);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "startup");
}

/* A lane that lacks data or credit now and then: whether startup ends, by what its rounds are like. */
static void test_bbr_startup_limited(void)
{
    static const struct {
        uint64_t lost, rtt_ms;
        bool ends;
    } paths[] = {
        {0, 50, false}, /* nothing says that the path is full */
        {8, 50, false}, /* losses that may be its own */
        {40, 50, true}, /* losses that can't */
        {0, 100, true}, /* a queue, and no more arrives */
    };
    for (uint32_t i = 0; i < HG_COUNT(paths); i++) {
        struct path path;
        path_init(&path, HG_CC_BBR, 0, 50 * MS);
        const struct hg_sent_sample lost = {0};
        for (uint32_t round = 0; round < 12; round++) {
            path.now_ns += paths[i].rtt_ms * MS;
            for (uint64_t packet = 0; packet < paths[i].lost; packet++) {
                const struct hg_cc_loss one = {path.now_ns, path.now_ns - 1, PACKET,
                                               &lost,       &path.delivery,  &path.loss};
                path.delivery.lost_bytes += PACKET;
                path.cc.ops->on_lost(&path.cc, &one);
            }
            struct hg_delivery_sample sample = {
                .rate_bytes_per_s = 3000000, .prior_bytes = path.delivery.delivered_bytes, .limited = true};
            path.delivery.delivered_bytes += (100 - paths[i].lost) * PACKET;
            sample.bytes = path.delivery.delivered_bytes - sample.prior_bytes;
            const struct hg_cc_ack ack = {.now_ns = path.now_ns,
                                          .acked_bytes = sample.bytes,
                                          .rtt_ns = paths[i].rtt_ms * MS,
                                          .sample = sample,
                                          .delivery = &path.delivery,
                                          .loss = &path.loss};
            path.cc.ops->on_acked(&path.cc, &ack);
        }
        CU_ASSERT_EQUAL(strcmp(path.cc.ops->state(&path.cc), "startup") != 0, paths[i].ends);
    }
}

/* ---- bottleneck ---- */

#define RATE  UINT64_C(2500000)
#define QUEUE 100000u /* of a round trip of 40 ms at RATE */

static struct bottleneck_config bottleneck(enum hg_cc_kind kind)
{
    return (struct bottleneck_config){.seed = 3,
                                      .rate_bytes_per_s = RATE,
                                      .queue_bytes = QUEUE,
                                      .delay_ns = 20 * MS,
                                      .flow_count = 1,
                                      .kind = kind,
                                      .flow_rate_bytes_per_s = kind == HG_CC_FIXED ? RATE * 98 / 100 : 0,
                                      .measure_from_ns = 4 * S,
                                      .end_ns = 14 * S};
}

struct outcome {
    const char *what;
    enum hg_cc_kind kind;
    uint32_t loss_ppm, burst_packets, rtt_ms;
    uint64_t queue_bytes;
    uint32_t used_least;      /* per mille of the rate */
    uint64_t queue_mean_most; /* bytes */
};

static void test_fills_the_link(void)
{
    static const struct outcome outcomes[] = {
        {"fixed", HG_CC_FIXED, 0, 0, 40, QUEUE, 970, 5000},
        {"fixed, 5 %", HG_CC_FIXED, 50000, 0, 40, QUEUE, 920, 5000},
        {"cubic", HG_CC_CUBIC, 0, 0, 40, QUEUE, 980, QUEUE},
        {"bbr", HG_CC_BBR, 0, 0, 40, QUEUE, 990, QUEUE / 4},
        {"bbr, short queue", HG_CC_BBR, 0, 0, 40, QUEUE / 4, 990, QUEUE / 8},
        {"bbr, 1 %", HG_CC_BBR, 10000, 0, 40, QUEUE, 980, QUEUE / 4},
        {"bbr, 1 % in bursts", HG_CC_BBR, 10000, 8, 40, QUEUE, 970, QUEUE / 4},
        {"bbr, 5 %", HG_CC_BBR, 50000, 0, 40, QUEUE, 940, QUEUE / 4},
        {"bbr, 5 % in bursts", HG_CC_BBR, 50000, 8, 40, QUEUE, 900, QUEUE / 4},
        {"bbr, 1 %, far", HG_CC_BBR, 10000, 0, 100, 250000, 980, 250000 / 8},
        {"bbr, 5 %, far", HG_CC_BBR, 50000, 0, 100, 250000, 940, 250000 / 4},
        {"bbr, 5 %, far, short queue", HG_CC_BBR, 50000, 0, 100, 62500, 930, 62500 / 3},
    };
    for (uint32_t i = 0; i < HG_COUNT(outcomes); i += HG_TEST_STEP(1)) {
        const struct outcome *o = &outcomes[i];
        struct bottleneck_config config = bottleneck(o->kind);
        config.loss_ppm = o->loss_ppm;
        config.burst_packets = o->burst_packets;
        config.delay_ns = o->rtt_ms * MS / 2;
        config.queue_bytes = o->queue_bytes;
        config.measure_from_ns = 6 * S;
        struct bottleneck_result result = bottleneck_run(&config);
        bool as_said =
            result.used_per_mille >= o->used_least && result.queue_bytes_mean <= o->queue_mean_most;
        CU_ASSERT(as_said);
        if (!as_said) {
            printf("\n  %s: %u per mille used, queue %lu bytes\n", o->what, result.used_per_mille,
                   result.queue_bytes_mean);
        }
    }
}

/* A burst is most of a small round: whichever it hits, startup goes on. */
static void test_startup_among_bursts(void)
{
    for (uint64_t seed = 1; seed <= HG_TEST_SEEDS(16); seed++) {
        struct bottleneck_config config = bottleneck(HG_CC_BBR);
        config.seed = seed * 7919;
        config.rate_bytes_per_s = 20 * RATE;
        config.queue_bytes = 10 * QUEUE;
        config.delay_ns = 10 * MS;
        config.loss_ppm = 50000;
        config.burst_packets = 8;
        config.measure_from_ns = S;
        config.end_ns = 2 * S;
        uint32_t used = bottleneck_run(&config).used_per_mille;
        CU_ASSERT(used >= 900);
        if (used < 900) {
            printf("\n  seed %lu: %u per mille used\n", config.seed, used);
        }
    }
}

/* Both ways lose bursts. One that takes all acks of a window leaves a sender that sends nothing, so a burst,
 * which counts packets, that doesn't end. */
static void test_short_path_among_bursts(void)
{
    static const struct {
        uint32_t loss_ppm, used_least;
    } table[] = {{1000, 970}, {10000, 950}, {50000, 400}};
    for (uint32_t i = 0; i < HG_COUNT(table); i++) {
        for (uint64_t seed = 1; seed <= HG_TEST_SEEDS(4); seed++) {
            struct bottleneck_config config = bottleneck(HG_CC_BBR);
            config.seed = seed * 7919;
            config.rate_bytes_per_s = 20 * RATE;
            config.queue_bytes = 1u << 18;
            config.delay_ns = MS / 2;
            config.loss_ppm = table[i].loss_ppm;
            config.burst_packets = 8;
            config.bursts_vary = true;
            config.acks_lost = true;
            config.measure_from_ns = S;
            config.end_ns = 3 * S;
            uint32_t used = bottleneck_run(&config).used_per_mille;
            CU_ASSERT(used >= table[i].used_least);
            if (used < table[i].used_least) {
                printf("\n  loss %u ppm, seed %lu: %u per mille used\n", table[i].loss_ppm, config.seed,
                       used);
            }
        }
    }
}

/* A receiver that takes packets in turns of some milliseconds tells of hundreds at once, and each ack that is
 * lost would make many packets look lost: the path seems full, and the window stays below what it holds. */
static void test_coarse_turns(void)
{
    for (uint64_t turn_ms = 1; turn_ms <= 5; turn_ms += 2) {
        for (uint64_t seed = 1; seed <= HG_TEST_SEEDS(2); seed++) {
            struct bottleneck_config config = bottleneck(HG_CC_BBR);
            config.seed = seed * 7919;
            config.rate_bytes_per_s = 100 * RATE;
            config.queue_bytes = 5u << 20;
            config.delay_ns = 10 * MS;
            config.loss_ppm = 50000;
            config.acks_lost = true;
            config.turn_ns = turn_ms * MS;
            config.measure_from_ns = S;
            config.end_ns = 4 * S;
            struct bottleneck_result r = bottleneck_run(&config);
            uint64_t twice_per_mille = r.duplicate_bytes[0] * 1000 / r.stats[0].data_bytes_sent;
            bool good = r.used_per_mille >= 920 && twice_per_mille <= 2;
            CU_ASSERT(good);
            if (!good) {
                printf("\n  turns of %lu ms, seed %lu: %u per mille used, %lu sent twice\n", turn_ms,
                       config.seed, r.used_per_mille, twice_per_mille);
            }
        }
    }
}

/* A kernel that takes the core away: what the rate would have let go is made up for. */
static void test_paused_hosts(void)
{
    static const struct {
        uint32_t loss_ppm, rtt_ms, used_least;
    } table[] = {{0, 40, 970}, {10000, 40, 950}, {50000, 40, 910}, {0, 100, 970}, {50000, 100, 910}};
    for (uint32_t i = 0; i < HG_COUNT(table); i++) {
        struct bottleneck_config config = bottleneck(HG_CC_BBR);
        config.loss_ppm = table[i].loss_ppm;
        config.delay_ns = table[i].rtt_ms * MS / 2;
        config.pause_ns_max = 4 * MS;
        config.measure_from_ns = 6 * S;
        struct bottleneck_result result = bottleneck_run(&config);
        CU_ASSERT(result.used_per_mille >= table[i].used_least);
        if (result.used_per_mille < table[i].used_least) {
            printf("\n  loss %u ppm, %u ms: %u per mille used\n", table[i].loss_ppm, table[i].rtt_ms,
                   result.used_per_mille);
        }
    }
}

static void test_follows_the_rate(void)
{
    for (enum hg_cc_kind kind = HG_CC_CUBIC; kind <= HG_CC_BBR; kind++) {
        struct bottleneck_config config = bottleneck(kind);
        config.change_ns = 4 * S;
        config.rate_later_bytes_per_s = RATE * 2 / 5;
        config.measure_from_ns = 7 * S;
        CU_ASSERT(bottleneck_run(&config).used_per_mille >= 950);
        config.rate_bytes_per_s = RATE * 2 / 5;
        config.rate_later_bytes_per_s = RATE;
        config.measure_from_ns = 10 * S;
        CU_ASSERT(bottleneck_run(&config).used_per_mille >= 950);
    }
}

static void test_recovers_from_a_cut(void)
{
    for (enum hg_cc_kind kind = HG_CC_FIXED; kind <= HG_CC_BBR; kind++) {
        struct bottleneck_config config = bottleneck(kind);
        config.cut_from_ns = 3 * S;
        config.cut_to_ns = 5 * S;
        config.measure_from_ns = 8 * S;
        struct bottleneck_result result = bottleneck_run(&config);
        CU_ASSERT(result.used_per_mille >= 950);
        CU_ASSERT(result.stats[0].congestion_persistent >= 1);
    }
}

static void test_two_flows_share(void)
{
    for (enum hg_cc_kind kind = HG_CC_CUBIC; kind <= HG_CC_BBR; kind++) {
        struct bottleneck_config config = bottleneck(kind);
        config.flow_count = 2;
        config.flow_start_ns[1] = 2 * S;
        config.measure_from_ns = 12 * S;
        config.end_ns = 28 * S;
        struct bottleneck_result result = bottleneck_run(&config);
        uint64_t all = result.carried_bytes[0] + result.carried_bytes[1];
        CU_ASSERT(result.used_per_mille >= 950);
        CU_ASSERT(result.carried_bytes[0] * 10 >= all * 3 && result.carried_bytes[1] * 10 >= all * 3);
    }
}

static void test_repeats(void)
{
    struct bottleneck_config config = bottleneck(HG_CC_BBR);
    config.loss_ppm = 20000;
    struct bottleneck_result a = bottleneck_run(&config), b = bottleneck_run(&config);
    CU_ASSERT_EQUAL(a.stats[0].packets_sent, b.stats[0].packets_sent);
    CU_ASSERT_EQUAL(a.stats[0].cwnd_bytes, b.stats[0].cwnd_bytes);
    CU_ASSERT_EQUAL(a.carried_bytes[0], b.carried_bytes[0]);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cc", NULL, NULL);
    CU_add_test(suite, "fixed: breaker", test_fixed_breaker);
    CU_add_test(suite, "cubic: events", test_cubic_events);
    CU_add_test(suite, "cubic: hystart", test_hystart);
    CU_add_test(suite, "bbr: persistent congestion", test_bbr_persistent_restores);
    CU_add_test(suite, "bbr: startup of a limited lane", test_bbr_startup_limited);
    CU_add_test(suite, "fills the link", test_fills_the_link);
    CU_add_test(suite, "startup among bursts", test_startup_among_bursts);
    CU_add_test(suite, "coarse turns", test_coarse_turns);
    CU_add_test(suite, "follows the rate", test_follows_the_rate);
    CU_add_test(suite, "two flows share", test_two_flows_share);
    if (!HG_TEST_IS_SANITIZED) {
        CU_add_test(suite, "short path among bursts", test_short_path_among_bursts);
        CU_add_test(suite, "paused hosts", test_paused_hosts);
        CU_add_test(suite, "recovers from a cut", test_recovers_from_a_cut);
        CU_add_test(suite, "repeats", test_repeats);
    }
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
