/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/tail.h"
#include "drivers/ipc/epoch_fork.h"

#include <string.h>

const char *hg_tail_verdict_text(enum hg_tail_verdict verdict)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_TAIL_VERDICTS(HG_X)
#undef HG_X
    };
    return verdict < HG_TAIL_VERDICT_COUNT ? texts[verdict] : "unknown";
}

static uint64_t epoch_last(const struct hg_tail_answer *answer)
{
    return answer->epoch_count == 0 ? 0 : answer->epochs[answer->epoch_count - 1].epoch;
}

static bool counts(const struct hg_tail_answer *answers, uint32_t i)
{
    for (uint32_t k = 0; k < i; k++)
        if (answers[k].is_member && answers[k].copy == answers[i].copy)
            return false; /* said twice */
    return answers[i].is_member;
}

static struct hg_epoch_copy copy_of(const struct hg_tail_answer *answer)
{
    return (struct hg_epoch_copy){
        .starts = answer->epochs, .count = answer->epoch_count, .lsn_end = answer->lsn_end};
}

static bool is_later(const struct hg_tail_answer *a, const struct hg_tail_answer *b)
{
#ifdef HG_SEEDED_BUG_TAIL_OF_FIRST
    return false;
#endif
    struct hg_epoch_copy of_a = copy_of(a), of_b = copy_of(b);
    return hg_epoch_is_later(&of_a, &of_b);
}

bool hg_tail_common(const struct hg_tail_answer *a, const struct hg_tail_answer *b, uint64_t *lsn)
{
    struct hg_epoch_copy of_a = copy_of(a), of_b = copy_of(b);
    struct hg_epoch_start common;
    bool is_known = hg_epoch_common(&of_a, &of_b, &common);
    *lsn = common.lsn;
    return is_known;
}

static bool is_readable(const struct hg_tail_answer *answer, uint64_t lsn_first, uint64_t lsn_end)
{
    for (uint32_t i = 0; i < answer->corrupt_count; i++)
        if (answer->corrupt[i].lsn_first < lsn_end && lsn_first < answer->corrupt[i].lsn_end)
            return false;
    return true;
}

/* Whether each range that the winner can't read is whole in another copy that has the same history there. */
static bool is_repairable(const struct hg_tail_answer *answers, uint32_t count, uint32_t winner)
{
#ifdef HG_SEEDED_BUG_CORRUPT_IS_NACK
    return true;
#endif
    const struct hg_tail_answer *best = &answers[winner];
    for (uint32_t i = 0; i < best->corrupt_count; i++) {
        bool found = false;
        for (uint32_t k = 0; k < count && !found; k++) {
            uint64_t common;
            found = k != winner && answers[k].is_member && hg_tail_common(best, &answers[k], &common) &&
                    common >= best->corrupt[i].lsn_end &&
                    is_readable(&answers[k], best->corrupt[i].lsn_first, best->corrupt[i].lsn_end);
        }
        if (!found)
            return false;
    }
    return true;
}

static bool is_forked(const struct hg_tail_answer *a, const struct hg_tail_answer *b)
{
    return epoch_last(a) == epoch_last(b) && a->lsn_end == b->lsn_end &&
           memcmp(a->chain, b->chain, sizeof(a->chain)) != 0;
}

enum hg_tail_verdict hg_tail_choose(uint32_t n, uint32_t w, const struct hg_tail_answer *answers,
                                    uint32_t count, struct hg_tail *tail)
{
    bool forked = false;
    hg_assert(n >= 1 && n <= HG_TAIL_COPIES_MAX && w >= 1 && w <= n);
    memset(tail, 0, sizeof(*tail));
    for (uint32_t i = 0; i < count; i++) {
        if (answers[i].lsn_floor > tail->lsn_floor) {
            tail->lsn_floor = answers[i].lsn_floor;
            tail->knows = i;
        }
        if (!counts(answers, i))
            continue;
        if (tail->answers++ == 0 || is_later(&answers[i], &answers[tail->winner]))
            tail->winner = i;
#ifdef HG_SEEDED_BUG_CORRUPT_IS_NACK
        tail->nacks++;
#else
        tail->nacks += !answers[i].is_unknown;
#endif
    }
    if (tail->answers < n - w + 1)
        return HG_TAIL_FEW;
    tail->epoch = epoch_last(&answers[tail->winner]);
    tail->lsn_end = answers[tail->winner].lsn_end;
    for (uint32_t i = 0; i < count; i++)
        forked = forked || (answers[i].is_member && is_forked(&answers[i], &answers[tail->winner]));
    if (forked)
        return HG_TAIL_DIVERGED;
    if (tail->nacks < n - w + 1)
        return HG_TAIL_UNKNOWN;
    if (tail->lsn_floor > tail->lsn_end)
        return HG_TAIL_FLOOR;
    return is_repairable(answers, count, tail->winner) ? HG_TAIL_CHOSEN : HG_TAIL_CORRUPT;
}
