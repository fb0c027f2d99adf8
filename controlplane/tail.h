/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tail a stream has after a seal: chosen from what n - w + 1 copies answered, of n that are written and
 * w that acknowledge. Anything acknowledged is on one of them at least. A copy's answer says where it ends,
 * and what it can't say: a corrupt range, or a torn write behind its end, is no proof that there was nothing.
 * What can't be decided stays undecided under a name; it is never guessed. What copies know to be committed
 * is asked last: by the rules above it is in the tail, and where it is not, some copy is not what it is taken
 * for. Pure.
 */
#ifndef HG_CONTROLPLANE_TAIL_H
#define HG_CONTROLPLANE_TAIL_H

#include "drivers/ipc/control_state.h"

#define HG_TAIL_COPIES_MAX  9
#define HG_TAIL_CORRUPT_MAX 4

/* A copy's answer about one stream, under the epoch that it promised. */
struct hg_tail_answer {
    uint64_t copy;    /* which log, and which life of it: one that was made anew is another */
    bool is_member;   /* it counts among the n; learners and copies of another life do not */
    bool is_unknown;  /* behind its end there may have been more */
    uint64_t lsn_end; /* durable, exclusive */
    /* All below was committed, as this copy knows. It may lie above lsn_end: the copy lags, or lost its end.
     * A fact, so it counts also of who is no member. */
    uint64_t lsn_floor;
    uint8_t chain[16]; /* of the batch that ends there */
    uint32_t epoch_count;
    struct hg_epoch_start epochs[HG_EPOCH_STARTS_MAX]; /* oldest first */
    uint32_t corrupt_count;
    struct {
        uint64_t lsn_first, lsn_end;
    } corrupt[HG_TAIL_CORRUPT_MAX]; /* below lsn_end; what it can't read. Where there are more, the last has
                                       them all */
};

#define HG_TAIL_VERDICTS(X)                                                                                  \
    X(CHOSEN, "chosen")                                                                                      \
    X(FEW, "too few copies answered: start more of them")                                                    \
    X(UNKNOWN, "too few copies can say that there was nothing behind the tail: start more of them")          \
    X(FLOOR, "more was committed than any copy that answered has: start others, and compare them")           \
    X(CORRUPT, "a range of the tail is corrupt in every copy that answered: start more of them")             \
    X(DIVERGED, "copies with the same epoch and end have other bytes: stop, and compare them")
enum hg_tail_verdict {
#define HG_X(name, text) HG_TAIL_##name,
    HG_TAIL_VERDICTS(HG_X)
#undef HG_X
        HG_TAIL_VERDICT_COUNT
};
const char *hg_tail_verdict_text(enum hg_tail_verdict verdict);

struct hg_tail {
    uint32_t winner; /* index of the answer whose tail it is */
    uint64_t epoch;  /* its last epoch; 0 = nothing was ever written */
    uint64_t lsn_end;
    uint32_t answers;   /* of members, each counted once */
    uint32_t nacks;     /* of these, that know that they had nothing behind the tail */
    uint64_t lsn_floor; /* most that any answer, also of no member, knows to be committed */
    uint32_t knows;     /* index of that answer */
};

/* Chooses among `count` answers. *tail is filled as far as it got, whatever the verdict. */
enum hg_tail_verdict hg_tail_choose(uint32_t n, uint32_t w, const struct hg_tail_answer *answers,
                                    uint32_t count, struct hg_tail *tail);
/* Up to where two copies certainly have the same: *lsn, exclusive. False: they have no epoch in common any
 * more, or began one at two places; only a snapshot helps. */
bool hg_tail_common(const struct hg_tail_answer *a, const struct hg_tail_answer *b, uint64_t *lsn);

#endif
