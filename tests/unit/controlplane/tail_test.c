/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice of a tail: every combination of three copies' answers, each of every kind, against what it must
 * be; and the highest common point of every two histories.
 */
#include "controlplane/tail.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <string.h>

/* What a copy can answer. Truth: epoch 1 wrote [1, 11), epoch 2 [8, 21) on some; 2 is later than any of 1. */
enum kind { AWAY, LEARNER, EMPTY, OLD, OLD_LONG, NEW, NEW_UNKNOWN, OLD_UNKNOWN, NEW_CORRUPT, KINDS };

static struct hg_tail_answer answer_of(enum kind kind, uint64_t copy)
{
    struct hg_tail_answer answer = {.copy = copy, .is_member = kind != LEARNER, .lsn_end = 1};
    bool is_new = kind == NEW || kind == NEW_UNKNOWN || kind == NEW_CORRUPT || kind == LEARNER;
    bool is_long = kind == OLD_LONG;
    answer.is_unknown = kind == NEW_UNKNOWN || kind == OLD_UNKNOWN;
    if (kind == EMPTY)
        return answer;
    answer.epochs[answer.epoch_count++] = (struct hg_epoch_start){.epoch = 1, .lsn = 1};
    if (is_new)
        answer.epochs[answer.epoch_count++] = (struct hg_epoch_start){.epoch = 2, .lsn = 8};
    answer.lsn_end = is_new ? 11 : is_long ? 30 : 8;
    memset(answer.chain, is_new ? 2 : is_long ? 3 : 1, sizeof(answer.chain));
    if (kind == NEW_CORRUPT) {
        answer.corrupt_count = 1;
        answer.corrupt[0].lsn_first = 3;
        answer.corrupt[0].lsn_end = 5;
    }
    return answer;
}

static bool is_new(enum kind kind)
{
    return kind == NEW || kind == NEW_UNKNOWN || kind == NEW_CORRUPT;
}

/* Written down a second time, from the rules and not from the code. */
static enum hg_tail_verdict wanted(const enum kind kinds[3], uint32_t w, uint64_t *lsn_end)
{
    uint32_t members = 0, known = 0, news = 0, corrupt = 0, whole = 0, longs = 0, olds = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (kinds[i] == AWAY || kinds[i] == LEARNER)
            continue;
        members++;
        known += kinds[i] != NEW_UNKNOWN && kinds[i] != OLD_UNKNOWN;
        news += is_new(kinds[i]);
        corrupt += kinds[i] == NEW_CORRUPT;
        whole += kinds[i] == NEW || kinds[i] == NEW_UNKNOWN || kinds[i] == OLD || kinds[i] == OLD_LONG ||
                 kinds[i] == OLD_UNKNOWN; /* all of them have [3, 5) of epoch 1 */
        longs += kinds[i] == OLD_LONG;
        olds += kinds[i] == OLD || kinds[i] == OLD_UNKNOWN;
    }
    *lsn_end = news > 0 ? 11 : longs > 0 ? 30 : olds > 0 ? 8 : 1;
    if (members < 3 - w + 1)
        return HG_TAIL_FEW;
    if (known < 3 - w + 1)
        return HG_TAIL_UNKNOWN;
    /* The first of several equals wins; only its own ranges matter. */
    enum kind winner = AWAY;
    for (uint32_t i = 0; i < 3 && news > 0 && winner == AWAY; i++)
        winner = is_new(kinds[i]) ? kinds[i] : AWAY;
    return winner == NEW_CORRUPT && whole == 0 ? HG_TAIL_CORRUPT : HG_TAIL_CHOSEN;
}

static void test_table(void)
{
    uint32_t seen[HG_TAIL_VERDICT_COUNT] = {0};
    for (uint32_t w = 1; w <= 3; w++)
        for (uint32_t row = 0; row < KINDS * KINDS * KINDS; row++) {
            const enum kind kinds[3] = {row % KINDS, row / KINDS % KINDS, row / KINDS / KINDS};
            struct hg_tail_answer answers[6];
            struct hg_tail tail;
            uint32_t count = 0;
            uint64_t lsn_end;
            for (uint32_t i = 0; i < 3; i++)
                for (uint32_t twice = 0; twice < 2 && kinds[i] != AWAY;
                     twice++) /* an answer may come twice */
                    answers[count++] = answer_of(kinds[i], 100 + i);
            enum hg_tail_verdict want = wanted(kinds, w, &lsn_end);
            enum hg_tail_verdict verdict = hg_tail_choose(3, w, answers, count, &tail);
            CU_ASSERT_EQUAL(verdict, want);
            CU_ASSERT(verdict == HG_TAIL_FEW || tail.lsn_end == lsn_end);
            seen[verdict]++;
        }
    CU_ASSERT(seen[HG_TAIL_CHOSEN] > 0 && seen[HG_TAIL_FEW] > 0 && seen[HG_TAIL_UNKNOWN] > 0 &&
              seen[HG_TAIL_CORRUPT] > 0);
}

/* One of them, a learner too, knows what is committed: where that is above the tail nothing is chosen, and
 * else it changes nothing. */
static void test_floor(void)
{
    static const uint64_t floors[] = {8, 11, 12, 30, 31};
    uint32_t blocked = 0, chosen = 0;
    for (uint32_t row = 0; row < KINDS * KINDS * KINDS * 3 * HG_COUNT(floors); row++) {
        const enum kind kinds[3] = {row % KINDS, row / KINDS % KINDS, row / KINDS / KINDS % KINDS};
        uint32_t knows = row / (KINDS * KINDS * KINDS) % 3, count = 0, place = 3;
        uint64_t floor = floors[row / (KINDS * KINDS * KINDS * 3)], lsn_end;
        struct hg_tail_answer answers[3];
        struct hg_tail tail;
        for (uint32_t i = 0; i < 3; i++) {
            if (kinds[i] == AWAY)
                continue;
            answers[count] = answer_of(kinds[i], 100 + i);
            if (i == knows) {
                answers[count].lsn_floor = floor;
                place = count;
            }
            count++;
        }
        enum hg_tail_verdict want = wanted(kinds, 2, &lsn_end);
        bool decides = want == HG_TAIL_CHOSEN || want == HG_TAIL_CORRUPT;
        if (decides && place < 3 && floor > lsn_end)
            want = HG_TAIL_FLOOR;
        enum hg_tail_verdict verdict = hg_tail_choose(3, 2, answers, count, &tail);
        CU_ASSERT_EQUAL(verdict, want);
        CU_ASSERT(verdict != HG_TAIL_FLOOR || (tail.knows == place && tail.lsn_floor == floor));
        blocked += verdict == HG_TAIL_FLOOR;
        chosen += verdict == HG_TAIL_CHOSEN && place < 3;
    }
    CU_ASSERT(blocked > 100 && chosen > 100);
}

static void test_diverged(void)
{
    struct hg_tail_answer answers[2] = {answer_of(NEW, 1), answer_of(NEW, 2)};
    struct hg_tail tail;
    CU_ASSERT_EQUAL(hg_tail_choose(3, 2, answers, 2, &tail), HG_TAIL_CHOSEN);
    answers[1].chain[5] ^= 1;
    CU_ASSERT_EQUAL(hg_tail_choose(3, 2, answers, 2, &tail), HG_TAIL_DIVERGED);
    CU_ASSERT_STRING_NOT_EQUAL(hg_tail_verdict_text(HG_TAIL_DIVERGED), "unknown");
}

/* Two histories that share a beginning and then go apart: what the algorithm says is where they do. */
static void test_common(void)
{
    struct hg_random random;
    uint32_t apart = 0;
    hg_random_init(&random, 3);
    for (uint32_t run = 0; run < 100000; run++) {
        uint8_t epochs[2][24]; /* of each position */
        uint32_t ends[2], shared = (uint32_t)hg_random_below(&random, 20), at;
        uint8_t epoch = 1;
        for (at = 0; at < shared;
             at++, epoch = (uint8_t)(epoch + (epoch < 6 && hg_random_below(&random, 5) == 0)))
            epochs[0][at] = epochs[1][at] = epoch;
        for (uint32_t side = 0; side < 2;
             side++) { /* an epoch has one writer: only one side goes on under it */
            uint8_t own = (uint8_t)(epoch + (side == 0 ? hg_random_below(&random, 2)
                                                       : 2 + hg_random_below(&random, 2)));
            ends[side] = shared + (uint32_t)hg_random_below(&random, 24 - shared);
            for (uint32_t i = shared; i < ends[side]; i++)
                epochs[side][i] = own;
        }
        struct hg_tail_answer answers[2];
        memset(answers, 0, sizeof(answers));
        for (uint32_t side = 0; side < 2; side++) {
            struct hg_tail_answer *answer = &answers[side];
            answer->lsn_end = ends[side] + 1;
            for (uint32_t i = 0; i < ends[side]; i++)
                if (i == 0 || epochs[side][i] != epochs[side][i - 1])
                    answer->epochs[answer->epoch_count++] =
                        (struct hg_epoch_start){.epoch = epochs[side][i], .lsn = i + 1};
        }
        uint64_t lsn;
        bool known = hg_tail_common(&answers[0], &answers[1], &lsn);
        uint32_t same = 0;
        while (same < ends[0] && same < ends[1] && epochs[0][same] == epochs[1][same])
            same++;
        CU_ASSERT_EQUAL(known, same > 0 || ends[0] == 0 || ends[1] == 0);
        if (known && same > 0) {
            CU_ASSERT_EQUAL(lsn, same + 1);
            apart += same < ends[0] && same < ends[1];
        }
    }
    CU_ASSERT(apart > 1000);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("tail", NULL, NULL);
    CU_add_test(suite, "every combination of three answers", test_table);
    CU_add_test(suite, "what a copy knows to be committed", test_floor);
    CU_add_test(suite, "diverged", test_diverged);
    CU_add_test(suite, "the highest common point", test_common);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 4;
}
