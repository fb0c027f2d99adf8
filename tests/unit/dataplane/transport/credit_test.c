/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/credit.h"

#include <CUnit/Basic.h>

#define MB (UINT64_C(1) << 20)

static struct hg_credit credit;
static uint64_t now_ns, durable_ns;

static void begin(void)
{
    now_ns = HG_NS_PER_S;
    durable_ns = 0;
    hg_credit_init(&credit, 32 * MB, 256 * MB, now_ns);
    CU_ASSERT_EQUAL(credit.bytes, 32 * MB);
}

/* The owner takes at this rate, as far as the credit lets a sender fill a round trip. */
static void take(uint64_t bytes_per_s, uint64_t rtt_ns, uint64_t span_ns)
{
    for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += HG_NS_PER_MS) {
        uint64_t per_rtt = hg_min_u64(bytes_per_s / 1000 * (rtt_ns / HG_NS_PER_MS), credit.bytes);
        hg_credit_taken(&credit, per_rtt / (rtt_ns / HG_NS_PER_MS), rtt_ns, durable_ns, now_ns);
    }
}

/* 400 Mbit/s over 200 ms: 10 MB are on the way, and six times that is given within some round trips. */
static void test_follows_the_product(void)
{
    begin();
    take(50 * MB, 200 * HG_NS_PER_MS, 2 * HG_NS_PER_S);
    CU_ASSERT(credit.bytes >= 57 * MB && credit.bytes <= 63 * MB);
    uint64_t before = credit.bytes;
    take(50 * MB, 200 * HG_NS_PER_MS, 20 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, before);
    take(5000 * MB, 200 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, 256 * MB);
}

/* What is not used is given up, slowly; a trickle or a pause ends at the least. */
static void test_falls(void)
{
    begin();
    take(500 * MB, 200 * HG_NS_PER_MS, 3 * HG_NS_PER_S);
    uint64_t before = credit.bytes;
    take(3 * MB, 200 * HG_NS_PER_MS, 3 * HG_NS_PER_S);
    CU_ASSERT(credit.bytes < before && credit.bytes > before / 2);
    take(3 * MB, 200 * HG_NS_PER_MS, 60 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, 32 * MB);
    take(500 * MB, 200 * HG_NS_PER_MS, 3 * HG_NS_PER_S);
    before = credit.bytes;
    for (uint32_t i = 0; i < 100; i++) {
        now_ns += 10 * HG_NS_PER_S;
        hg_credit_taken(&credit, MB, 200 * HG_NS_PER_MS, 0, now_ns);
    }
    CU_ASSERT_EQUAL(credit.bytes, 32 * MB);
    CU_ASSERT(before > 32 * MB);
}

/* Short paths and logs that take nothing make it no larger. */
static void test_stays(void)
{
    begin();
    take(500 * MB, 10 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, 32 * MB);
    take(0, 200 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, 32 * MB);
    hg_credit_init(&credit, MB, MB, now_ns);
    take(500 * MB, 200 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, MB);
}

/* Rate x (six round trips + twice the time until durable); whatever the numbers are. */
static void test_wanted(void)
{
    CU_ASSERT_EQUAL(hg_credit_wanted(500 * MB, HG_NS_PER_S, 200 * HG_NS_PER_MS, 0), 600 * MB);
    CU_ASSERT_EQUAL(hg_credit_wanted(500 * MB, HG_NS_PER_S, 200 * HG_NS_PER_MS, 100 * HG_NS_PER_MS),
                    700 * MB);
    CU_ASSERT_EQUAL(hg_credit_wanted(50 * MB, 100 * HG_NS_PER_MS, HG_NS_PER_MS, 17 * HG_NS_PER_MS), 20 * MB);
    CU_ASSERT_EQUAL(hg_credit_wanted(500 * MB, HG_NS_PER_S, 0, 0), 10 * MB);
    CU_ASSERT_EQUAL(hg_credit_wanted(0, 1, UINT64_MAX, UINT64_MAX), 0);
    CU_ASSERT_EQUAL(hg_credit_wanted(UINT64_MAX, 1, UINT64_MAX, UINT64_MAX), UINT64_MAX);
}

/* A disk that needs 100 ms is covered as a longer way is, one that takes in bursts too, up to the most. */
static void test_covers_the_disk(void)
{
    begin();
    take(200 * MB, 100 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT(credit.bytes >= 115 * MB && credit.bytes <= 125 * MB);
    durable_ns = 100 * HG_NS_PER_MS;
    take(200 * MB, 100 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT(credit.bytes >= 153 * MB && credit.bytes <= 167 * MB);
    durable_ns = 10 * HG_NS_PER_S;
    take(200 * MB, 100 * HG_NS_PER_MS, 5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(credit.bytes, 256 * MB);
    begin();
    for (uint32_t i = 0; i < 40; i++) { /* 200 MB/s, taken each 250 ms, over 10 ms */
        now_ns += 250 * HG_NS_PER_MS;
        for (uint32_t j = 0; j < 50; j++)
            hg_credit_taken(&credit, MB, 10 * HG_NS_PER_MS, 250 * HG_NS_PER_MS, now_ns);
    }
    CU_ASSERT(credit.bytes >= 52 * MB && credit.bytes <= 125 * MB);
}

/* What is given is less what waits whole, and always has room for the one batch that the others wait for. */
static void test_given(void)
{
    begin();
    CU_ASSERT_EQUAL(hg_credit_given(&credit, 0, 256 * MB), 32 * MB);
    CU_ASSERT_EQUAL(hg_credit_given(&credit, 20 * MB, 236 * MB), 12 * MB);
    CU_ASSERT_EQUAL(hg_credit_given(&credit, 32 * MB, 224 * MB), HG_CREDIT_KEPT_BYTES);
    CU_ASSERT_EQUAL(hg_credit_given(&credit, 100 * MB, 156 * MB), HG_CREDIT_KEPT_BYTES);
    CU_ASSERT_EQUAL(hg_credit_given(&credit, 256 * MB - 1024, 1024), 1024);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("credit", NULL, NULL);
    CU_ADD_TEST(suite, test_follows_the_product);
    CU_ADD_TEST(suite, test_falls);
    CU_ADD_TEST(suite, test_stays);
    CU_ADD_TEST(suite, test_wanted);
    CU_ADD_TEST(suite, test_covers_the_disk);
    CU_ADD_TEST(suite, test_given);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
