/* SPDX-License-Identifier: Apache-2.0
 *
 * What each controller does at marks: rounds of a hundred packets, of which some are marked or lost.
 */
#include "dataplane/transport/cc.h"
#include "dataplane/transport/cc_constants.h"
#include <CUnit/Basic.h>

#define S       HG_NS_PER_S
#define MS      HG_NS_PER_MS
#define PACKET  1500u
#define PACKETS 100u
#define RTT_NS  (200 * MS)

struct path {
    struct hg_cc cc;
    struct hg_loss loss;
    struct hg_delivery delivery;
    uint64_t now_ns;
};

static void path_init(struct path *path, enum hg_cc_kind kind, uint64_t rate)
{
    memset(path, 0, sizeof(*path));
    path->now_ns = S;
    hg_loss_init(&path->loss);
    hg_loss_rtt(&path->loss, RTT_NS, 0);
    hg_delivery_init(&path->delivery, path->now_ns);
    hg_cc_init(&path->cc, kind, rate, PACKET, &path->loss, path->now_ns);
}

/* Acks of ten packets each; the first ones of the round tell of `marked` in all. */
static void path_round(struct path *path, uint64_t marked)
{
    const uint64_t sent_ns = path->now_ns;
    const uint64_t prior_bytes = path->delivery.delivered_bytes;
    const struct hg_cc_sent sent = {path->now_ns, PACKET, 0, &path->delivery};
    path->cc.ops->on_sent(&path->cc, &sent);
    path->now_ns += RTT_NS;
    path->delivery.cwnd_end = UINT64_MAX;
    for (uint64_t i = 0; i < PACKETS / 10; i++) {
        uint64_t now = hg_min_u64(marked, 10);
        marked -= now;
        path->delivery.delivered_bytes += 10 * PACKET;
        const struct hg_cc_ack ack = {.now_ns = path->now_ns,
                                      .acked_bytes = 10 * PACKET,
                                      .rtt_ns = RTT_NS,
                                      .marked_count = now,
                                      .newest_sent_ns = sent_ns + i + 1,
                                      .in_flight_bytes = (PACKETS - 10 * (i + 1)) * PACKET,
                                      .sample = {.rate_bytes_per_s = PACKETS * PACKET * S / RTT_NS,
                                                 .bytes = PACKETS * PACKET,
                                                 .prior_bytes = prior_bytes,
                                                 .in_flight_bytes = PACKETS * PACKET},
                                      .delivery = &path->delivery,
                                      .loss = &path->loss};
        path->cc.ops->on_acked(&path->cc, &ack);
    }
}

static void path_rounds(struct path *path, uint32_t count, uint64_t marked)
{
    for (uint32_t i = 0; i < count; i++) {
        path_round(path, marked);
    }
}

/* One reduction a round trip, however many marks; less than for a loss, but in slow start. */
static void test_cubic(void)
{
    for (uint64_t marked = 1; marked <= PACKETS; marked += 33) {
        struct path path;
        path_init(&path, HG_CC_CUBIC, 0);
        path_rounds(&path, 5, 0);
        uint64_t before = path.cc.cwnd_bytes;
        path_round(&path, marked);
        /* the acks behind the mark let it grow a little */
        CU_ASSERT(path.cc.cwnd_bytes >= before * HG_CUBIC_BETA / 1000);
        CU_ASSERT(path.cc.cwnd_bytes < before * (HG_CUBIC_BETA + 60) / 1000);
        CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "avoidance");
        before = path.cc.cwnd_bytes;
        path_round(&path, marked);
        CU_ASSERT(path.cc.cwnd_bytes >= before * HG_CUBIC_BETA_ECN / 1000);
        CU_ASSERT(path.cc.cwnd_bytes < before * (HG_CUBIC_BETA_ECN + 60) / 1000);
    }
}

/* Marks in every round bring it to its least window and not below. */
static void test_cubic_least(void)
{
    struct path path;
    path_init(&path, HG_CC_CUBIC, 0);
    for (uint32_t i = 0; i < 200; i++) {
        path.now_ns += RTT_NS;
        const struct hg_cc_ack ack = {.now_ns = path.now_ns,
                                      .acked_bytes = PACKET,
                                      .rtt_ns = RTT_NS,
                                      .marked_count = 1,
                                      .newest_sent_ns = path.now_ns - 1,
                                      .delivery = &path.delivery,
                                      .loss = &path.loss};
        path.cc.ops->on_acked(&path.cc, &ack);
    }
    CU_ASSERT_EQUAL(path.cc.cwnd_bytes, HG_CC_CWND_PACKETS_MIN * PACKET);
}

/* Marks on a tenth are borne, on more they open the breaker as losses do; nothing else of it heeds them. */
static void test_fixed(void)
{
    struct path path;
    path_init(&path, HG_CC_FIXED, 10000000);
    path_rounds(&path, 20, PACKETS / 10);
    CU_ASSERT(!path.cc.reduced && path.cc.rate_bytes_per_s == 10000000);
    path_rounds(&path, HG_CC_BREAKER_ROUNDS + 1, PACKETS / 10 + 1); /* it begins in the middle of one */
    CU_ASSERT(path.cc.reduced && path.cc.rate_bytes_per_s == 5000000);
    CU_ASSERT_EQUAL(path.cc.alarms, 1);
    path_rounds(&path, 20, 0);
    CU_ASSERT(!path.cc.reduced);
    /* No rate, no breaker. */
    path_init(&path, HG_CC_FIXED, 0);
    path_rounds(&path, 20, PACKETS);
    CU_ASSERT(!path.cc.reduced && path.cc.cwnd_bytes == UINT64_MAX);
}

/* Startup ends after two marked rounds in a row; then a marked round lowers the bounds, a calm one does not.
 */
static void test_bbr(void)
{
    struct path path;
    path_init(&path, HG_CC_BBR, 0);
    path_rounds(&path, 2, 0);
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "startup");
    path_init(&path, HG_CC_BBR, 0);
    path_rounds(&path, 3, 1);
    CU_ASSERT_STRING_NOT_EQUAL(path.cc.ops->state(&path.cc), "startup");

    struct path marked;
    path_init(&path, HG_CC_BBR, 0);
    path_rounds(&path, 6, 0); /* a plateau: it is past startup */
    CU_ASSERT(strncmp(path.cc.ops->state(&path.cc), "probe-bw", 8) == 0);
    marked = path;
    path_rounds(&path, 3, 0);
    path_rounds(&marked, 3, 1);
    CU_ASSERT(marked.cc.cwnd_bytes < path.cc.cwnd_bytes);
    CU_ASSERT(marked.cc.cwnd_bytes >= PACKETS * PACKET); /* never below what was delivered in a round */
    CU_ASSERT(marked.cc.rate_bytes_per_s <= path.cc.rate_bytes_per_s);
}

/* A mark while it probes for more ends the probing. */
static void test_bbr_probing(void)
{
    struct path path;
    path_init(&path, HG_CC_BBR, 0);
    for (uint32_t i = 0; i < 100 && strcmp(path.cc.ops->state(&path.cc), "probe-bw-up") != 0; i++) {
        path_round(&path, 0);
    }
    CU_ASSERT_STRING_EQUAL(path.cc.ops->state(&path.cc), "probe-bw-up");
    path_round(&path, 1);
    CU_ASSERT_STRING_NOT_EQUAL(path.cc.ops->state(&path.cc), "probe-bw-up");
    CU_ASSERT(path.cc.cwnd_bytes <= PACKETS * PACKET);
}

struct sent {
    uint64_t cwnd_most, cwnd_sum, rate_most, rate_sum;
};

static struct sent sent_with(enum hg_cc_kind kind, uint64_t marked)
{
    struct sent sent = {0};
    struct path path;
    path_init(&path, kind, 10000000);
    for (uint32_t i = 0; i < 60; i++) {
        path_round(&path, i % 3 == 0 ? marked : 0);
        sent.cwnd_most = hg_max_u64(sent.cwnd_most, path.cc.cwnd_bytes);
        sent.rate_most = hg_max_u64(sent.rate_most, path.cc.rate_bytes_per_s);
        sent.cwnd_sum += path.cc.cwnd_bytes;
        sent.rate_sum += path.cc.rate_bytes_per_s;
    }
    return sent;
}

/* Whatever is told of marks, no controller sends more than without them. */
static void test_never_more(void)
{
    for (int kind = 0; kind < HG_CC_KIND_COUNT; kind++) {
        struct sent without = sent_with(kind, 0);
        for (uint64_t marked = 1; marked <= PACKETS; marked *= 10) {
            struct sent with = sent_with(kind, marked);
            CU_ASSERT(with.cwnd_most <= without.cwnd_most && with.cwnd_sum <= without.cwnd_sum);
            CU_ASSERT(with.rate_most <= without.rate_most && with.rate_sum <= without.rate_sum);
        }
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("cc_ecn", NULL, NULL);
    CU_add_test(suite, "cubic", test_cubic);
    CU_add_test(suite, "cubic's least", test_cubic_least);
    CU_add_test(suite, "fixed", test_fixed);
    CU_add_test(suite, "bbr", test_bbr);
    CU_add_test(suite, "bbr while it probes", test_bbr_probing);
    CU_add_test(suite, "never more", test_never_more);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
