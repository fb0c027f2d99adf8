/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/fec_rule.h"
#include <CUnit/Basic.h>
#include <math.h>

#define RTT_NS (50 * HG_NS_PER_MS)

/* In floating point: more than m of n lost. */
static double fails(uint32_t n, uint32_t m, double p)
{
    double below = 0;
    for (uint32_t i = 0; i <= m; i++)
        below +=
            exp(lgamma(n + 1.0) - lgamma(i + 1.0) - lgamma(n - i + 1.0) + i * log(p) + (n - i) * log1p(-p));
    return 1 - below;
}

static void test_residual(void)
{
    static const uint64_t losses_ppb[] = {1000, 100000, 1000000, 10000000, 50000000, 100000000};
    for (uint32_t i = 0; i < HG_COUNT(losses_ppb); i++) {
        for (uint32_t k = 1; k <= 32; k++) {
            for (uint32_t m = 0; m <= 8; m++) {
                double exact = fails(k + m, m, (double)losses_ppb[i] / 1e9) * 1e6;
                double ours = (double)hg_fec_residual_ppm(k, m, losses_ppb[i], 1, 1);
                CU_ASSERT(fabs(exact - ours) < 3 + exact / 1000);
            }
        }
    }
    /* Bursts: m survives a burst that is dealt to enough groups, and none that is longer. */
    CU_ASSERT(hg_fec_residual_ppm(32, 2, 10000000, 4, 1) > 50000);
    CU_ASSERT(hg_fec_residual_ppm(32, 4, 10000000, 4, 1) < 10000);
    CU_ASSERT(hg_fec_residual_ppm(32, 2, 10000000, 4, 4) == hg_fec_residual_ppm(32, 2, 10000000, 1, 1));
    CU_ASSERT(hg_fec_residual_ppm(32, 2, 10000000, 4, 8) == hg_fec_residual_ppm(32, 2, 10000000, 1, 1));
}

/* A rule that has seen `packets` of which one in `every` is lost, in bursts, over two seconds. */
static struct hg_fec_rule seen(uint8_t mode, uint32_t packets, uint32_t every, uint32_t burst, bool queued,
                               uint64_t *now_ns)
{
    struct hg_fec_rule rule;
    hg_fec_rule_init(&rule, mode, 0);
    for (uint32_t i = 0; i < packets; i++) {
        *now_ns = 2 * HG_NS_PER_S / packets * i + 1;
        if (every != 0 && i % (every * burst) < burst)
            hg_fec_rule_lost(&rule, i, queued);
        else
            hg_fec_rule_arrived(&rule, 1);
        if (i % 100 == 0)
            (void)hg_fec_rule_plan(&rule, RTT_NS, false, false, *now_ns);
    }
    *now_ns += 200 * HG_NS_PER_MS;
    return rule;
}

static void test_plan(void)
{
    static const struct {
        uint32_t packets, every, burst;
        bool queued, backlog, dense;
        uint64_t rtt_ns;
        uint8_t mode;
        enum hg_fec_reason reason;
        uint32_t full, depth, tail_1;
    } cases[] = {
        {20000, 100, 1, false, false, false, RTT_NS, HG_FEC_OFF, HG_FEC_OFF_MODE, 0, 1, 0},
        {20000, 100, 1, false, false, false, 0, HG_FEC_AUTO, HG_FEC_OFF_RTT, 0, 1, 2},
        {20000, 100, 1, false, false, false, HG_FEC_RTT_NS_MIN - 1, HG_FEC_AUTO, HG_FEC_OFF_RTT, 0, 1, 2},
        {20000, 100, 1, false, false, false, HG_FEC_RTT_NS_MIN, HG_FEC_AUTO, HG_FEC_ON, 4, 1, 2},
        {20000, 1000, 1, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 2, 1, 1},
        {50000, 10000, 1, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 1, 1, 1},
        {20000, 0, 1, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 0, 1, 1},
        {2000000, 0, 1, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_OFF_CLEAN, 0, 1, 1},
        {20000, 100, 1, true, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_OFF_QUEUE, 0, 1, 2},
        {20000, 100, 1, false, true, false, RTT_NS, HG_FEC_AUTO, HG_FEC_OFF_BACKLOG, 0, 1, 2},
        {20000, 100, 1, false, true, false, 0, 6, HG_FEC_ON, 4, 1, 6},
        {20000, 100, 1, false, false, false, 0, 6, HG_FEC_ON, 6, 1, 6},
        {20000, 100, 5, false, false, true, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 4, 9, 2},
        {20000, 100, 5, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 4, 1, 2},
        {50, 0, 1, false, false, false, RTT_NS, HG_FEC_AUTO, HG_FEC_ON, 4, 1, 2}, /* too few to say */
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        uint64_t now_ns = 0;
        struct hg_fec_rule rule =
            seen(cases[i].mode, cases[i].packets, cases[i].every, cases[i].burst, cases[i].queued, &now_ns);
        struct hg_fec_plan plan =
            hg_fec_rule_plan(&rule, cases[i].rtt_ns, cases[i].backlog, cases[i].dense, now_ns);
        bool right = plan.reason == cases[i].reason && plan.parities_full == cases[i].full &&
                     plan.depth == cases[i].depth && hg_fec_rule_tail(&rule, 1) == cases[i].tail_1;
        if (!right)
            fprintf(stderr, "case %u: reason %d full %u depth %u tail %u\n", i, (int)plan.reason,
                    plan.parities_full, plan.depth, hg_fec_rule_tail(&rule, 1));
        CU_ASSERT(right);
        CU_ASSERT((plan.rows > 0) == (cases[i].reason == HG_FEC_ON));
        CU_ASSERT(plan.rows >= plan.parities_full);
    }
}

/* What was is forgotten within about two seconds; a loss that was none is taken back. */
static void test_window(void)
{
    uint64_t now_ns = 0;
    struct hg_fec_rule rule = seen(HG_FEC_AUTO, 20000, 10, 1, false, &now_ns);
    CU_ASSERT(hg_fec_rule_plan(&rule, RTT_NS, false, false, now_ns).parities_full == 4);
    CU_ASSERT(rule.loss_ppb > 90000000 && rule.loss_ppb < 110000000);
    for (uint32_t i = 0; i < 30; i++) {
        hg_fec_rule_arrived(&rule, 1000);
        now_ns += 100 * HG_NS_PER_MS;
        (void)hg_fec_rule_plan(&rule, RTT_NS, false, false, now_ns);
    }
    CU_ASSERT(rule.loss_ppb == 0 && rule.parities_full == 0);
    uint64_t memory = rule.memory.lost;
    hg_fec_rule_lost(&rule, 5, false);
    hg_fec_rule_spurious(&rule);
    CU_ASSERT(rule.memory.lost == memory && rule.now.lost == 0);
    hg_fec_rule_spurious(&rule);
    CU_ASSERT(rule.now.lost == 0);
}

static void test_queued(void)
{
    CU_ASSERT(!hg_fec_rule_queued(RTT_NS, RTT_NS));
    CU_ASSERT(!hg_fec_rule_queued(RTT_NS + RTT_NS / 8, RTT_NS));
    CU_ASSERT(hg_fec_rule_queued(RTT_NS + RTT_NS / 8 + 1, RTT_NS));
    CU_ASSERT(!hg_fec_rule_queued(2 * HG_NS_PER_MS, HG_NS_PER_MS));
    CU_ASSERT(hg_fec_rule_queued(2 * HG_NS_PER_MS + 1, HG_NS_PER_MS));
}

int main(void)
{
    CU_TestInfo tests[] = {{"residual", test_residual},
                           {"plan", test_plan},
                           {"window", test_window},
                           {"queued", test_queued},
                           CU_TEST_INFO_NULL};
    CU_SuiteInfo suites[] = {{"fec_rule", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_run_tests();
    uint32_t failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
