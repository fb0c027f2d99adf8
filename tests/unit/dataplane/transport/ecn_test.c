/* SPDX-License-Identifier: Apache-2.0
 *
 * What a sender makes of the counts it is told, as tables of acks.
 */
#include "dataplane/transport/ecn.h"
#include <CUnit/Basic.h>
#include <stdio.h>

struct ack {
    uint32_t sent, acked; /* marked packets, since the ack before */
    uint32_t ce, ect;     /* told */
    uint64_t marked;      /* newly, as congestion control sees it */
    enum hg_ecn_state state;
    bool old; /* it was overtaken by the ack before */
};

struct table {
    const char *what;
    uint32_t ce_first, ect_first; /* where the counts stand */
    struct ack acks[6];
};

static const struct table tables[] = {
    {"nothing is marked on the way", 0, 0, {{10, 10, 0, 10, 0, HG_ECN_ON}, {5, 5, 0, 15, 0, HG_ECN_ON}}},
    {"marks are new once",
     0,
     0,
     {{10, 10, 3, 7, 3, HG_ECN_ON}, {0, 0, 3, 7, 0, HG_ECN_ON}, {10, 10, 4, 16, 1, HG_ECN_ON}}},
    {"nothing acknowledged yet", 0, 0, {{10, 0, 0, 0, 0, HG_ECN_TESTING}}},
    {"counted before it is acknowledged", 0, 0, {{10, 4, 0, 10, 0, HG_ECN_ON}, {0, 6, 0, 10, 0, HG_ECN_ON}}},
    {"lost ones are never counted", 0, 0, {{10, 8, 1, 7, 1, HG_ECN_ON}, {10, 10, 1, 17, 0, HG_ECN_ON}}},
    {"an ack that was overtaken says nothing",
     0,
     0,
     {{20, 20, 2, 18, 2, HG_ECN_ON}, {0, 0, 1, 9, 0, HG_ECN_ON, true}, {10, 10, 3, 27, 1, HG_ECN_ON}}},
    {"counts wrap",
     UINT32_MAX - 1,
     UINT32_MAX - 3,
     {{10, 10, 1, 3, 3, HG_ECN_ON}, {10, 10, 2, 12, 1, HG_ECN_ON}}},
    {"bleached from the start", 0, 0, {{10, 10, 0, 0, 0, HG_ECN_BLEACHED}}},
    {"bleached from some time on", 0, 0, {{10, 10, 1, 9, 1, HG_ECN_ON}, {1, 1, 1, 9, 0, HG_ECN_BLEACHED}}},
    {"a part is bleached, marks or not", 0, 0, {{10, 10, 5, 4, 0, HG_ECN_BLEACHED}}},
    {"CE goes back by one", 0, 0, {{10, 10, 5, 5, 5, HG_ECN_ON}, {9, 9, 4, 15, 0, HG_ECN_SHRUNK}}},
    {"ECT goes back by one", 0, 0, {{10, 10, 5, 5, 5, HG_ECN_ON}, {9, 9, 15, 4, 0, HG_ECN_SHRUNK}}},
    {"CE goes back through 0", 0, 0, {{10, 10, UINT32_MAX, 11, 0, HG_ECN_SHRUNK}}},
    {"the largest growth", 0, 0, {{10, 10, INT32_MAX, 10, 0, HG_ECN_INVENTED}}},
    {"one more than was sent", 0, 0, {{10, 10, 1, 10, 0, HG_ECN_INVENTED}}},
    {"failed stays failed", 0, 0, {{10, 10, 0, 0, 0, HG_ECN_BLEACHED}, {0, 0, 5, 5, 0, HG_ECN_BLEACHED}}},
};

static struct hg_ecn ecn_at(uint32_t ce, uint32_t ect)
{
    struct hg_ecn ecn;
    memset(&ecn, 0, sizeof(ecn));
    ecn.ce_told = ce;
    ecn.ect_told = ect;
    hg_ecn_set(&ecn, true, 0);
    return ecn;
}

static void test_counts(void)
{
    for (size_t t = 0; t < HG_COUNT(tables); t++) {
        const struct table *table = &tables[t];
        struct hg_ecn ecn = ecn_at(table->ce_first, table->ect_first);
        uint64_t number = 0, acked = 0, carrier = 1;
        for (size_t i = 0; i < HG_COUNT(table->acks) && table->acks[i].sent + table->acks[i].ce > 0; i++) {
            const struct ack *ack = &table->acks[i];
            for (uint32_t n = 0; n < ack->sent; n++) {
                number++;
                hg_ecn_sent(&ecn);
            }
            for (uint32_t n = 0; n < ack->acked; n++) {
                hg_ecn_acked(&ecn, ++acked, true);
            }
            const struct hg_ecn_told told = {.packet_number = ack->old ? carrier - 1 : ++carrier,
                                             .largest = acked,
                                             .number_last = number,
                                             .ce = ack->ce,
                                             .ect = ack->ect};
            ecn.marked_count = 0;
            hg_ecn_counts(&ecn, &told);
            if (ecn.state != ack->state || ecn.marked_count != ack->marked) {
                printf("\n%s, ack %zu: %s, %llu marked\n", table->what, i, hg_ecn_state_text(ecn.state),
                       (unsigned long long)ecn.marked_count);
            }
            CU_ASSERT_EQUAL(ecn.state, ack->state);
            CU_ASSERT_EQUAL(ecn.marked_count, ack->marked);
            CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), ack->state > HG_ECN_ON ? HG_ECN_NOT_ECT : HG_ECN_ECT0);
        }
    }
}

/* Sixteen round trips of 32 packets; `unmarked` of the first come through as they were sent. */
static enum hg_ecn_state rounds(uint32_t count, uint32_t packets, uint32_t unmarked)
{
    struct hg_ecn ecn = ecn_at(0, 0);
    uint64_t number = 0;
    for (uint32_t i = 1; i <= count; i++) {
        for (uint32_t n = 0; n < packets; n++) {
            hg_ecn_sent(&ecn);
            hg_ecn_acked(&ecn, ++number, true);
        }
        const struct hg_ecn_told told = {.packet_number = i,
                                         .largest = number,
                                         .number_last = number,
                                         .ce = (uint32_t)number - unmarked,
                                         .ect = unmarked};
        hg_ecn_counts(&ecn, &told);
    }
    return ecn.state;
}

static void test_all_ce(void)
{
    CU_ASSERT_EQUAL(rounds(16, 32, 0), HG_ECN_ALL_CE);
    CU_ASSERT_EQUAL(rounds(16, 32, 1), HG_ECN_ON);
    CU_ASSERT_EQUAL(rounds(15, 32, 0), HG_ECN_ON); /* not so long */
    CU_ASSERT_EQUAL(rounds(20, 4, 0), HG_ECN_ON);  /* not so many */
    CU_ASSERT_EQUAL(rounds(64, 4, 0), HG_ECN_ALL_CE);
}

static void test_black_hole(void)
{
    struct hg_ecn ecn = ecn_at(0, 0);
    uint64_t number = 0;
    for (uint32_t trial = 1; trial <= HG_ECN_TRIALS_MAX; trial++) {
        CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), HG_ECN_ECT0);
        number += 10;
        hg_ecn_timeout(&ecn, 1, number);
        CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), HG_ECN_ECT0);
        hg_ecn_timeout(&ecn, 2, number);
        CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), HG_ECN_NOT_ECT);
        hg_ecn_acked(&ecn, number - 1, false); /* sent before */
        CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), HG_ECN_NOT_ECT);
        hg_ecn_acked(&ecn, ++number, false);
    }
    CU_ASSERT_EQUAL(ecn.state, HG_ECN_BLACK_HOLE);
    /* A marked packet that arrives in between: the path was gone, not the marks. */
    ecn = ecn_at(0, 0);
    for (uint32_t trial = 1; trial <= 3 * HG_ECN_TRIALS_MAX; trial++) {
        hg_ecn_timeout(&ecn, 2, number);
        hg_ecn_acked(&ecn, ++number, false);
        hg_ecn_sent(&ecn);
        hg_ecn_acked(&ecn, ++number, true);
    }
    CU_ASSERT_FALSE(hg_ecn_failed(&ecn));
}

/* Off and on again: what was under way may be counted after that or not, and what failed is tried anew. */
static void test_set(void)
{
    for (uint32_t later = 0; later <= 4; later++) {
        struct hg_ecn ecn = ecn_at(0, 0);
        for (uint32_t i = 0; i < 10; i++) {
            hg_ecn_sent(&ecn);
        }
        for (uint32_t i = 1; i <= 6; i++) {
            hg_ecn_acked(&ecn, i, true);
        }
        struct hg_ecn_told told = {.packet_number = 1, .largest = 6, .number_last = 10, .ect = 3};
        hg_ecn_counts(&ecn, &told);
        CU_ASSERT_EQUAL(ecn.state, HG_ECN_BLEACHED);
        hg_ecn_set(&ecn, false, 10);
        CU_ASSERT_EQUAL(ecn.state, HG_ECN_OFF);
        CU_ASSERT_EQUAL(hg_ecn_mark(&ecn), HG_ECN_NOT_ECT);
        hg_ecn_set(&ecn, true, 20);
        for (uint32_t i = 0; i < 5; i++) {
            hg_ecn_sent(&ecn);
            hg_ecn_acked(&ecn, 21 + i, true);
        }
        hg_ecn_acked(&ecn, 7, true);
        told =
            (struct hg_ecn_told){.packet_number = 2, .largest = 25, .number_last = 25, .ect = 3 + 5 + later};
        hg_ecn_counts(&ecn, &told);
        CU_ASSERT_EQUAL(ecn.state, HG_ECN_ON);
    }
}

static void test_seen(void)
{
    struct hg_ecn_seen seen = {.ce = UINT32_MAX, .ect = UINT32_MAX};
    hg_ecn_seen(&seen, HG_ECN_NOT_ECT);
    hg_ecn_seen(&seen, HG_ECN_ECT1);
    CU_ASSERT(seen.ce == UINT32_MAX && seen.ect == UINT32_MAX);
    hg_ecn_seen(&seen, HG_ECN_CE);
    CU_ASSERT(seen.ce == 0 && seen.ect == UINT32_MAX);
    hg_ecn_seen(&seen, HG_ECN_ECT0);
    CU_ASSERT(seen.ce == 0 && seen.ect == 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("ecn", NULL, NULL);
    CU_add_test(suite, "counts", test_counts);
    CU_add_test(suite, "all CE", test_all_ce);
    CU_add_test(suite, "black hole", test_black_hole);
    CU_add_test(suite, "set", test_set);
    CU_add_test(suite, "seen", test_seen);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
