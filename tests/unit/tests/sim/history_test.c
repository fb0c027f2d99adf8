/* SPDX-License-Identifier: Apache-2.0
 *
 * The judge of histories: good ones that look odd pass, and each way to be bad is found and named. Then
 * random histories of a log that does what it should, with one thing changed in each.
 */
#include "drivers/platform/random.h"
#include "tests/sim/history.h"

#include <CUnit/Basic.h>
#include <stdlib.h>

#define A       0u /* readers */
#define B       1u
#define WHOLE_A (1u << A)
#define WHOLE_B (1u << B)

static struct sim_history *h;

static int set_up(void)
{
    h = hg_sim_history_make();
    return 0;
}

static void expect(enum sim_anomaly anomaly, uint32_t readers_whole)
{
    struct sim_verdict verdict = hg_sim_history_judge(h, readers_whole);
    CU_ASSERT_STRING_EQUAL(hg_sim_anomaly_name(verdict.anomaly), hg_sim_anomaly_name(anomaly));
    CU_ASSERT(strlen(hg_sim_anomaly_text(verdict.anomaly)) > 0);
    hg_sim_history_free(h);
    (void)set_up();
}

/* Entries 1..count at positions 10, 11, ..., one after the other, all acknowledged. */
static void appended(uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++) {
        uint32_t append = hg_sim_history_append(h, i * 100, 0, i);
        hg_sim_history_ack(h, i * 100 + 50, append, 9 + i, 1);
    }
}

static void read_at(uint32_t reader, uint64_t now_ns, uint64_t position, uint64_t id)
{
    hg_sim_history_read(h, now_ns, position, 1, id);
    hg_sim_history_read_range(h, reader, position, position + 1);
}

static void read_all(uint32_t reader, uint64_t count)
{
    for (uint64_t i = 1; i <= count; i++)
        read_at(reader, 5000 + i, 9 + i, i);
}

static void test_good(void)
{
    struct sim_history_counts counts;
    expect(SIM_ANOMALY_NONE, WHOLE_A); /* nothing happened */
    appended(4);
    read_all(A, 4);
    read_all(B, 2); /* behind, and not asked to be whole */
    hg_sim_history_reader_restart(h, B, true);
    read_at(B, 9000, 11, 2); /* again what it had: no loss */
    read_at(B, 9001, 12, 3);
    hg_sim_history_end_told(h, 9000, 14);
    hg_sim_history_counts_get(h, &counts);
    CU_ASSERT(counts.acked == 4 && counts.entries == 4 && counts.unknown == 0);
    expect(SIM_ANOMALY_NONE, WHOLE_A);
}

/* What nobody was told of may be there or not, and late. */
static void test_unknown(void)
{
    struct sim_history_counts counts;
    appended(2);
    (void)hg_sim_history_append(h, 300, 0, 3);
    (void)hg_sim_history_append(h, 310, 0, 4);
    hg_sim_history_ack(h, 900, hg_sim_history_append(h, 800, 0, 5), 13, 1);
    read_all(A, 2);
    read_at(A, 6000, 12, 4); /* 3 is nowhere, 4 is */
    read_at(A, 6001, 13, 5);
    (void)hg_sim_history_judge(h, WHOLE_A);
    hg_sim_history_counts_get(h, &counts);
    CU_ASSERT(counts.unknown == 2 && counts.unknown_there == 1);
    expect(SIM_ANOMALY_NONE, WHOLE_A);
}

/* Two that are under way at the same time may lie either way, and an acknowledgement of an end at the same
 * instant is of no order. */
static void test_concurrent(void)
{
    uint32_t x = hg_sim_history_append(h, 100, 0, 1), y = hg_sim_history_append(h, 120, 1, 2);
    hg_sim_history_ack(h, 200, y, 10, 1);
    hg_sim_history_ack(h, 200, x, 11, 1);
    hg_sim_history_end_told(h, 200, 10); /* asked when they were acknowledged, not after */
    read_at(A, 300, 10, 2);
    read_at(A, 300, 11, 1);
    expect(SIM_ANOMALY_NONE, WHOLE_A);
}

/* A log may forget what a reader has not read, if that reader is nobody it knows. */
static void test_forgotten(void)
{
    appended(6);
    read_at(A, 5000, 10, 1);
    hg_sim_history_reader_restart(h, A, false);
    read_at(A, 5001, 13, 4);
    read_at(A, 5002, 14, 5);
    read_at(A, 5003, 15, 6);
    expect(SIM_ANOMALY_NONE, WHOLE_A);
    appended(2);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 11, 2);
    hg_sim_history_reader_void(h, A); /* its disk is another one, with less on it */
    read_at(A, 5002, 10, 1);
    expect(SIM_ANOMALY_NONE, 0);
}

static void test_forked(void)
{
    appended(2);
    (void)hg_sim_history_append(h, 900, 0, 9);
    read_all(A, 2);
    read_at(B, 6000, 10, 1);
    read_at(B, 6001, 11, 9);
    expect(SIM_ANOMALY_FORKED, 0);
    appended(1);
    read_all(A, 1);
    hg_sim_history_read(h, 7000, 10, 2, 1); /* of another length */
    expect(SIM_ANOMALY_FORKED, 0);
}

static void test_entries(void)
{
    (void)hg_sim_history_append(h, 100, 0, 1);
    (void)hg_sim_history_append(h, 100, 0, 2);
    hg_sim_history_read(h, 5000, 10, 2, 1);
    hg_sim_history_read(h, 5000, 11, 1, 2);
    expect(SIM_ANOMALY_OVERLAPS, 0);
    appended(2);
    read_all(A, 2);
    read_at(A, 6000, 12, 1); /* what acknowledges forget and a retry does */
    expect(SIM_ANOMALY_TWICE, WHOLE_A);
    appended(1);
    (void)hg_sim_history_append(h, 300, 0, 2);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 11, 2);
    read_at(A, 5002, 12, 2); /* nobody heard of it: at most once all the same */
    expect(SIM_ANOMALY_TWICE, WHOLE_A);
    appended(1);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 11, 77);
    expect(SIM_ANOMALY_NEVER_SENT, WHOLE_A);
    (void)hg_sim_history_append(h, 100, 0, 1);
    read_at(A, 99, 10, 1);
    expect(SIM_ANOMALY_READ_BEFORE_SENT, WHOLE_A);
    appended(1);
    hg_sim_history_refuse(h, hg_sim_history_append(h, 300, 0, 2));
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 11, 2);
    expect(SIM_ANOMALY_REFUSED_THERE, WHOLE_A);
    hg_sim_history_ack(h, 200, hg_sim_history_append(h, 100, 0, 1), 10, 1);
    (void)hg_sim_history_append(h, 100, 0, 2);
    read_at(A, 5000, 10, 2);
    read_at(A, 5001, 11, 1);
    expect(SIM_ANOMALY_ACKED_ELSEWHERE, WHOLE_A);
}

static void test_lost(void)
{
    appended(3);
    read_all(A, 2); /* the end */
    expect(SIM_ANOMALY_LOST, WHOLE_A);
    appended(3);
    read_all(A, 3);
    read_all(B, 2); /* there it is lost, and here not */
    expect(SIM_ANOMALY_LOST, WHOLE_A | WHOLE_B);
    appended(3); /* another one in its place, and no reader is whole */
    (void)hg_sim_history_append(h, 340, 1, 9);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 11, 9);
    read_at(A, 5002, 12, 3);
    expect(SIM_ANOMALY_LOST, 0);
    appended(1);
    expect(SIM_ANOMALY_LOST, WHOLE_A); /* nothing is there at all */
    appended(1);
    (void)hg_sim_history_append(h, 300, 0, 2);
    read_all(A, 2); /* not acknowledged, and a reader had it */
    read_all(B, 1);
    expect(SIM_ANOMALY_UNREAD, WHOLE_B);
}

static void test_order(void)
{
    hg_sim_history_ack(h, 200, hg_sim_history_append(h, 100, 0, 1), 11, 1);
    hg_sim_history_ack(h, 400, hg_sim_history_append(h, 300, 1, 2), 10, 1);
    read_at(A, 5000, 10, 2);
    read_at(A, 5001, 11, 1);
    expect(SIM_ANOMALY_REAL_TIME, WHOLE_A);
    (void)hg_sim_history_append(h, 100, 0, 1); /* nobody acknowledged it, but somebody had read it */
    hg_sim_history_read(h, 200, 11, 1, 1);
    (void)hg_sim_history_append(h, 300, 1, 2);
    hg_sim_history_read(h, 400, 10, 1, 2);
    expect(SIM_ANOMALY_REAL_TIME, 0);
    (void)hg_sim_history_append(h, 100, 0, 1);
    (void)hg_sim_history_append(h, 100, 1, 2);
    (void)hg_sim_history_append(h, 110, 0, 3);
    read_at(A, 5000, 10, 2);
    read_at(A, 5000, 11, 3);
    read_at(A, 5000, 12, 1);
    expect(SIM_ANOMALY_CLIENT_ORDER, WHOLE_A);
}

static void test_readers(void)
{
    appended(3);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 12, 3);
    expect(SIM_ANOMALY_GAP, 0);
    appended(3);
    read_at(A, 5000, 10, 1);
    read_at(A, 5001, 10, 1); /* back, in one walk */
    expect(SIM_ANOMALY_GAP, 0);
    appended(3);
    hg_sim_history_reader_restart(h, A, true);
    read_at(A, 5000, 10, 1);
    hg_sim_history_reader_restart(h, A, true);
    read_at(A, 5001, 12, 3);
    expect(SIM_ANOMALY_SKIPPED, 0);
}

static void test_told(void)
{
    appended(3);
    hg_sim_history_end_told(h, 1000, 12);
    expect(SIM_ANOMALY_STALE_END, 0);
    appended(1);
    hg_sim_history_ack(h, 500, 0, 10, 1);
    expect(SIM_ANOMALY_ACK_OF_NOTHING, 0);
    uint32_t append = hg_sim_history_append(h, 100, 0, 1);
    hg_sim_history_refuse(h, append);
    hg_sim_history_ack(h, 500, append, 10, 1);
    expect(SIM_ANOMALY_ACK_OF_NOTHING, 0);
    hg_sim_history_ack(h, 500, 7, 10, 1);
    expect(SIM_ANOMALY_ACK_OF_NOTHING, 0);
}

/* ---- random ---- */

#define ENTRIES 200u
#define ROUNDS  400u

enum change { KEPT, DROPPED, DOUBLED, SWAPPED, INVENTED, SHORT, CHANGES };

/* A log to which several append, and what it holds, in order. Some of it is never acknowledged, some never
 * arrives. Returns when all is over. */
static uint64_t log_random(struct hg_random *random, bool all_acked, uint64_t *ids)
{
    uint64_t now_ns = 1;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        now_ns += hg_random_between(random, 1, 20);
        uint32_t client = (uint32_t)hg_random_below(random, SIM_HISTORY_CLIENTS_MAX);
        if (hg_random_chance(random, 1, 5)) /* never arrives */
            (void)hg_sim_history_append(h, now_ns, client, 1000 + i);
        uint32_t append = hg_sim_history_append(h, now_ns, client, i + 1);
        ids[i] = i + 1;
        now_ns += 2;
        if (hg_random_chance(random, 3, 4) || all_acked)
            hg_sim_history_ack(h, now_ns, append, 10 + i, 1);
    }
    return now_ns + 100;
}

static void random_round(struct hg_random *random, enum change change)
{
    uint64_t ids[ENTRIES];
    uint32_t count = ENTRIES, at = (uint32_t)hg_random_below(random, ENTRIES - 1);
    /* Two that nobody was told of may lie either way, and the last may be gone. */
    uint64_t end_ns = log_random(random, change == SWAPPED || change == DROPPED, ids);
    if (change == DROPPED) {
        memmove(&ids[at], &ids[at + 1], (count - at - 1) * sizeof(ids[0]));
        count--;
    } else if (change == DOUBLED) {
        ids[at + 1] = ids[at];
    } else if (change == SWAPPED) {
        uint64_t id = ids[at];
        ids[at] = ids[at + 1];
        ids[at + 1] = id;
    } else if (change == INVENTED) {
        ids[at] = 9999;
    } else if (change == SHORT) {
        count = at; /* of many acknowledged ones, some lie behind */
        hg_sim_history_ack(h, end_ns, hg_sim_history_append(h, end_ns, 0, 5000), 10 + ENTRIES, 1);
    }
    for (uint32_t i = 0; i < count; i++)
        read_at(A, end_ns, 10 + i, ids[i]);
    struct sim_verdict verdict = hg_sim_history_judge(h, WHOLE_A);
    CU_ASSERT_EQUAL(verdict.anomaly == SIM_ANOMALY_NONE, change == KEPT);
    hg_sim_history_free(h);
    (void)set_up();
}

static void test_random(void)
{
    struct hg_random random;
    hg_random_init(&random, 7);
    for (uint32_t i = 0; i < ROUNDS; i++)
        random_round(&random, (enum change)(i % CHANGES));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("history", set_up, NULL);
    CU_ADD_TEST(suite, test_good);
    CU_ADD_TEST(suite, test_unknown);
    CU_ADD_TEST(suite, test_concurrent);
    CU_ADD_TEST(suite, test_forgotten);
    CU_ADD_TEST(suite, test_forked);
    CU_ADD_TEST(suite, test_entries);
    CU_ADD_TEST(suite, test_lost);
    CU_ADD_TEST(suite, test_order);
    CU_ADD_TEST(suite, test_readers);
    CU_ADD_TEST(suite, test_told);
    CU_ADD_TEST(suite, test_random);
    CU_basic_run_tests();
    hg_sim_history_free(h);
    unsigned failed = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failed > 0;
}
