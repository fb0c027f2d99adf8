/* SPDX-License-Identifier: Apache-2.0
 *
 * Which entries of which clients are known: retries, what is forgotten, cuts, the table of a segment, and all
 * of it against a model that forgets nothing.
 */
#include "dataplane/stream/sessions.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>

static struct hg_sessions sessions, other;
static uint64_t lsn;

static enum hg_session_verdict ask(uint64_t client, uint64_t sequence, bool again, bool forgets)
{
    return hg_sessions_ask(&sessions, 5, client, sequence, again, forgets, &lsn);
}

static void test_retries(void)
{
    hg_sessions_init(&sessions);
    CU_ASSERT_EQUAL(ask(7, 1, true, false), HG_SESSION_NEW); /* nothing was ever forgotten: it never came */
    for (uint64_t i = 1; i <= 1000; i++)
        CU_ASSERT_EQUAL(hg_sessions_add(&sessions, 5, 7, i, 100 + i, 1), 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        CU_ASSERT_EQUAL(ask(7, i, i % 2 == 0, false), HG_SESSION_DUPLICATE); /* whatever it says of itself */
        CU_ASSERT_EQUAL(lsn, 100 + i);
    }
    CU_ASSERT_EQUAL(ask(7, 1001, true, true), HG_SESSION_NEW);
    CU_ASSERT_EQUAL(ask(8, 1, false, true), HG_SESSION_NEW);
    CU_ASSERT_EQUAL(ask(8, 1, true, true), HG_SESSION_EVICTED); /* of whom nothing is known, it may be here */
    CU_ASSERT_EQUAL(hg_sessions_ask(&sessions, 6, 7, 5, true, false, &lsn), HG_SESSION_NEW); /* per stream */
    (void)hg_sessions_add(&sessions, 5, 7, 500, 9000, 1); /* a log that has one twice: the first counts */
    CU_ASSERT_EQUAL(ask(7, 500, true, true), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(lsn, 600);
}

static void test_window(void)
{
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= 20; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 2 * i, 10 * i, 1); /* runs of one */
    CU_ASSERT_EQUAL(ask(7, 2, true, false), HG_SESSION_OLD);
    CU_ASSERT_EQUAL(ask(7, 2 * (20 - HG_SESSION_RUNS_MAX), false, false), HG_SESSION_OLD);
    CU_ASSERT_EQUAL(ask(7, 2 * (21 - HG_SESSION_RUNS_MAX), false, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(ask(7, 39, false, false), HG_SESSION_OLD); /* left out, and it is too late */
    CU_ASSERT_EQUAL(ask(7, 40, false, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(lsn, 200);
    (void)hg_sessions_add(&sessions, 5, 7, 41, 300, 8192); /* bytes of WAL: no run */
    (void)hg_sessions_add(&sessions, 5, 7, 42, 8492, 8192);
    CU_ASSERT_EQUAL(ask(7, 42, false, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(lsn, 8492);
}

static void test_evicted(void)
{
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= HG_SESSIONS_MAX; i++)
        CU_ASSERT_EQUAL(hg_sessions_add(&sessions, 5, i, 1, i, 1), 0);
    CU_ASSERT_EQUAL(hg_sessions_add(&sessions, 5, 1, 2, 1000, 1), 0); /* used again */
    CU_ASSERT_EQUAL(hg_sessions_add(&sessions, 6, 9999, 1, 1, 1), 5); /* stream 5 loses its oldest */
    CU_ASSERT_EQUAL(ask(2, 1, true, true), HG_SESSION_EVICTED);
    CU_ASSERT_EQUAL(ask(1, 1, true, true), HG_SESSION_DUPLICATE);
    CU_ASSERT_TRUE(hg_sessions_leave(&sessions, 5));
    CU_ASSERT_FALSE(hg_sessions_leave(&sessions, 5));
    CU_ASSERT_EQUAL(ask(1, 1, true, true), HG_SESSION_EVICTED);
}

static void test_cut(void)
{
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= 10; i++)
        (void)hg_sessions_add(&sessions, 5, 7, i, i < 6 ? i : 10 + i, 1);
    (void)hg_sessions_add(&sessions, 5, 8, 1, 30, 1);
    CU_ASSERT_FALSE(hg_sessions_cut(&sessions, 5, 18));
    CU_ASSERT_EQUAL(ask(7, 7, true, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(ask(7, 8, true, false), HG_SESSION_NEW); /* it can be appended again, and only then */
    CU_ASSERT_EQUAL(ask(8, 1, true, false), HG_SESSION_NEW);
    CU_ASSERT_FALSE(hg_sessions_cut(&sessions, 5, 6));
    CU_ASSERT_EQUAL(ask(7, 5, true, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(ask(7, 6, true, false), HG_SESSION_NEW);
}

static uint64_t end_at = UINT64_MAX;
static uint64_t end_of(void *ctx, uint64_t stream)
{
    CU_ASSERT_PTR_EQUAL(ctx, &sessions);
    CU_ASSERT_EQUAL(stream, 5);
    return end_at;
}

static uint32_t forgotten;
static void forgot(void *ctx, uint64_t stream)
{
    CU_ASSERT_PTR_EQUAL(ctx, &sessions);
    CU_ASSERT_EQUAL(stream, 5);
    forgotten++;
}

static const struct hg_sessions_owner owner = {end_of, forgot, &sessions};

/* What the log does not have yet is not in its table: it may never come. */
static void test_open_batch(void)
{
    struct hg_local_session record;
    uint64_t lost;
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= 10; i++)
        (void)hg_sessions_add(&sessions, 5, 7, i, 20 + i, 1);
    end_at = 21;
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 0);
    CU_ASSERT_EQUAL(ask(7, 10, true, false), HG_SESSION_DUPLICATE); /* and is not forgotten */
    end_at = 25;
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
    end_at = UINT64_MAX;
    hg_sessions_init(&sessions);
    CU_ASSERT_TRUE(hg_sessions_load(&sessions, &record, &lost));
    CU_ASSERT_EQUAL(ask(7, 4, true, false), HG_SESSION_DUPLICATE);
    CU_ASSERT_EQUAL(lsn, 24);
    CU_ASSERT_EQUAL(ask(7, 5, true, false), HG_SESSION_NEW);
}

/* What an open batch has pushes out what the log has. When it is lost, the client is not taken for a new one.
 */
static void test_pushed_out(void)
{
    struct hg_local_session record;
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= HG_SESSION_RUNS_MAX; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 2 * i, 20 + 2 * i, 1);
    end_at = 22;
    forgotten = 0;
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 0);
    CU_ASSERT_EQUAL(forgotten, 0); /* the log never had anything of it */
    (void)hg_sessions_add(&sessions, 5, 7, 100, 120, 1);
    end_at = 24; /* it has the first, which was pushed out */
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 0);
    CU_ASSERT_EQUAL(forgotten, 1);
    CU_ASSERT_TRUE(hg_sessions_cut(&sessions, 5, 24));
    CU_ASSERT_EQUAL(ask(7, 2, true, true), HG_SESSION_EVICTED);
    end_at = UINT64_MAX;
}

/* A record that is full may have had no room for older entries: they are behind the cut no more. */
static void test_cut_behind_a_full_record(void)
{
    struct hg_local_session record;
    uint64_t lost;
    hg_sessions_init(&sessions);
    for (uint64_t i = 1; i <= 2 * HG_SESSION_RUNS_MAX; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 2 * i, 20 + 2 * i, 1);
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
    hg_sessions_init(&sessions);
    CU_ASSERT_TRUE(hg_sessions_load(&sessions, &record, &lost));
    CU_ASSERT_TRUE(hg_sessions_cut(&sessions, 5, 24));
    CU_ASSERT_EQUAL(ask(7, 2, true, true), HG_SESSION_EVICTED);
}

/* Saved, as far as it is below `end`, and loaded; then all of it is cut off: what is client 7 told of its
 * first? */
static enum hg_session_verdict first_after_cut(uint64_t end)
{
    struct hg_local_session record;
    uint64_t lost;
    end_at = end;
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
    end_at = UINT64_MAX;
    CU_ASSERT_TRUE(record.run_count < HG_SESSION_RUNS_MAX);
    hg_sessions_init(&sessions);
    CU_ASSERT_TRUE(hg_sessions_load(&sessions, &record, &lost));
    const struct hg_session *session = hg_sessions_older(&sessions, NULL);
    bool forgets = hg_sessions_cut(&sessions, 5, session->runs[0].lsn);
    return ask(7, 1, true, forgets);
}

/* A record that is not full may lack older entries too. */
static void test_cut_behind_a_short_record(void)
{
    const uint64_t far = UINT64_C(1) << 32;
    hg_sessions_init(&sessions); /* too far behind to be said */
    (void)hg_sessions_add(&sessions, 5, 7, 1, 20, 1);
    (void)hg_sessions_add(&sessions, 5, 7, 1 + far, 21, 1);
    CU_ASSERT_EQUAL(first_after_cut(UINT64_MAX), HG_SESSION_EVICTED);
    hg_sessions_init(&sessions);
    (void)hg_sessions_add(&sessions, 5, 7, 1, 20, 1);
    (void)hg_sessions_add(&sessions, 5, 7, 3, 20 + far, 1);
    CU_ASSERT_EQUAL(first_after_cut(UINT64_MAX), HG_SESSION_EVICTED);

    hg_sessions_init(&sessions); /* a cut took the newer ones of a client that was full */
    for (uint64_t i = 0; i <= HG_SESSION_RUNS_MAX; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 1 + 2 * i, 20 + i, 1);
    CU_ASSERT_FALSE(hg_sessions_cut(&sessions, 5, 23));
    CU_ASSERT_EQUAL(first_after_cut(UINT64_MAX), HG_SESSION_EVICTED);

    hg_sessions_init(&sessions); /* an open batch pushed them out */
    for (uint64_t i = 0; i <= HG_SESSION_RUNS_MAX; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 1 + 2 * i, 20 + i, 1);
    CU_ASSERT_EQUAL(first_after_cut(23), HG_SESSION_EVICTED);

    hg_sessions_init(&sessions); /* and these are all there were: it may begin again */
    (void)hg_sessions_add(&sessions, 5, 7, 1, 20, 1);
    (void)hg_sessions_add(&sessions, 5, 7, far, 19 + far, 1); /* as far as can be said */
    CU_ASSERT_EQUAL(first_after_cut(UINT64_MAX), HG_SESSION_NEW);
}

/* The log's batches said that it had older ones; the table of an earlier build does not. */
static void test_short_before_the_record(void)
{
    struct hg_local_session record;
    uint64_t lost;
    hg_sessions_init(&sessions);
    (void)hg_sessions_add(&sessions, 5, 7, 17, 28, 1);
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
    hg_sessions_init(&sessions);
    for (uint64_t i = 0; i <= HG_SESSION_RUNS_MAX + 1; i++)
        (void)hg_sessions_add(&sessions, 5, 7, 1 + 2 * i, 20 + i, 1);
    CU_ASSERT_TRUE(hg_sessions_load(&sessions, &record, &lost));
    CU_ASSERT_TRUE(hg_sessions_cut(&sessions, 5, 28));
    CU_ASSERT_EQUAL(ask(7, 1, true, true), HG_SESSION_EVICTED);
}

/* Ends of runs are inclusive: behind the highest sequence there is none. */
static void test_highest_sequence(void)
{
    struct hg_local_session record;
    uint64_t lost;
    for (uint64_t count = 1; count <= 3; count++) {
        hg_sessions_init(&sessions);
        (void)hg_sessions_add(&sessions, 5, 7, UINT64_MAX - 9, 4, 1);
        for (uint64_t i = 0; i < count; i++)
            (void)hg_sessions_add(&sessions, 5, 7, UINT64_MAX - count + 1 + i, 10 + i, 1);
        for (int life = 0; life < 2; life++) {
            (void)hg_sessions_add(&sessions, 5, 7, 0, 10 + count, 1); /* it follows nothing */
            for (uint64_t i = 0; i < count; i++) {
                CU_ASSERT_EQUAL(ask(7, UINT64_MAX - count + 1 + i, true, false), HG_SESSION_DUPLICATE);
                CU_ASSERT_EQUAL(lsn, 10 + i);
            }
            CU_ASSERT_EQUAL(ask(7, UINT64_MAX - count, true, false), HG_SESSION_OLD);
            CU_ASSERT_EQUAL(ask(7, UINT64_MAX - 9, true, false), HG_SESSION_DUPLICATE);
            CU_ASSERT_EQUAL(ask(7, 0, true, false), HG_SESSION_OLD);
            CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
            hg_sessions_init(&sessions);
            CU_ASSERT_TRUE_FATAL(hg_sessions_load(&sessions, &record, &lost));
        }
        end_at = 9 + count; /* the highest is in an open batch */
        CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &record, 1, &owner), 1);
        CU_ASSERT_EQUAL(record.sequence_last, count == 1 ? UINT64_MAX - 9 : UINT64_MAX - 1);
        end_at = UINT64_MAX;
        CU_ASSERT_FALSE(hg_sessions_cut(&sessions, 5, 9 + count));
        CU_ASSERT_EQUAL(ask(7, UINT64_MAX, true, false), HG_SESSION_NEW);
        CU_ASSERT_EQUAL(ask(7, UINT64_MAX - 1, true, false),
                        count == 1 ? HG_SESSION_NEW : HG_SESSION_DUPLICATE);
        (void)hg_sessions_add(&sessions, 5, 7, UINT64_MAX, 9 + count, 1);
        CU_ASSERT_EQUAL(ask(7, UINT64_MAX, true, false), HG_SESSION_DUPLICATE);
        CU_ASSERT_EQUAL(lsn, 9 + count);
    }
}

static void test_hostile_record(void)
{
    struct hg_local_session good, record;
    uint64_t lost;
    hg_sessions_init(&sessions);
    (void)hg_sessions_add(&sessions, 5, 7, 3, 4, 1);
    (void)hg_sessions_add(&sessions, 5, 7, 9, 40, 1);
    CU_ASSERT_EQUAL(hg_sessions_save(&sessions, &good, 1, &owner), 1);
    CU_ASSERT_TRUE(hg_sessions_load(&sessions, &good, &lost));
#define BAD(change)                                                                                          \
    record = good;                                                                                           \
    change;                                                                                                  \
    CU_ASSERT_FALSE(hg_sessions_load(&sessions, &record, &lost))
    BAD(record.run_count = HG_SESSION_RUNS_MAX + 1);
    BAD(record.run_count = 0);
    BAD(record.client = 0);
    BAD(record.stream = 0);
    BAD(record.runs[0].sequence_back = 1);
    BAD(record.runs[0].count = 0);
    BAD(record.runs[0].count = 100);
    BAD(record.runs[1].lsn_back = UINT32_MAX);
    BAD(record.runs[1].sequence_back = 0);
#undef BAD
}

/* Everything in random order against what was truly appended: never NEW for what is there, never a wrong LSN;
 * and the same after the table was saved and loaded. */
static void test_model(void)
{
    static struct hg_local_session records[HG_SESSIONS_MAX];
    enum { CLIENTS = 300, SEQUENCES = 64 };
    static uint64_t at[CLIENTS][SEQUENCES], next[CLIENTS];
    struct hg_random random;
    hg_random_init(&random, 3);
    for (uint32_t run = 0; run < 20; run++) {
        uint64_t end = 1, lost;
        bool forgets = false;
        hg_sessions_init(&sessions);
        memset(at, 0, sizeof(at));
        memset(next, 0, sizeof(next));
        for (uint32_t step = 0; step < 4000; step++) {
            uint64_t client = hg_random_below(&random, run % 2 == 0 ? CLIENTS : 6);
            uint64_t sequence = hg_random_below(&random, hg_min_u64(next[client] + 2, SEQUENCES));
            bool again = sequence < next[client]; /* new ones rise, some are left out */
            next[client] = hg_max_u64(next[client], sequence + 1);
            bool is_new = at[client][sequence] == 0;
            enum hg_session_verdict verdict = ask(client + 1, sequence + 1, again, forgets);
            if (verdict == HG_SESSION_DUPLICATE && (is_new || lsn != at[client][sequence]))
                CU_FAIL_FATAL("a duplicate of what is not there");
            if (verdict == HG_SESSION_NEW && !is_new)
                CU_FAIL_FATAL("appended again");
            if (verdict == HG_SESSION_NEW) {
                forgets |= hg_sessions_add(&sessions, 5, client + 1, sequence + 1, end, 1) != 0;
                at[client][sequence] = end++;
            }
            if (step % 500 != 0)
                continue;
            forgotten = 0;
            uint32_t max = hg_random_chance(&random, 1, 2) ? HG_SESSIONS_MAX : 100;
            uint32_t count = hg_sessions_save(&sessions, records, max, &owner);
            forgets |= forgotten > 0;
            hg_sessions_init(&other);
            for (uint32_t i = 0; i < count; i++)
                CU_ASSERT_TRUE_FATAL(hg_sessions_load(&other, &records[i], &lost) && lost == 0);
            sessions = other;
        }
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("sessions", NULL, NULL);
    CU_add_test(suite, "retries", test_retries);
    CU_add_test(suite, "window", test_window);
    CU_add_test(suite, "evicted", test_evicted);
    CU_add_test(suite, "cut", test_cut);
    CU_add_test(suite, "a cut behind a full record", test_cut_behind_a_full_record);
    CU_add_test(suite, "a cut behind a short record", test_cut_behind_a_short_record);
    CU_add_test(suite, "short before the record", test_short_before_the_record);
    CU_add_test(suite, "open batch", test_open_batch);
    CU_add_test(suite, "pushed out by an open batch", test_pushed_out);
    CU_add_test(suite, "the highest sequence", test_highest_sequence);
    CU_add_test(suite, "records that nobody saved", test_hostile_record);
    CU_add_test(suite, "model", test_model);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 12;
}
