/* SPDX-License-Identifier: Apache-2.0
 *
 * Who keeps the copies of a log group, and who of them must have an entry before it counts. A configuration
 * of it is data: a generation, the members (nodes), how many of them (w) acknowledge, learners, and while it
 * changes the other set. It is kept in the metastore and changed there by compare-and-swap, one step a
 * generation; dataplanes persist the generation and refuse lower ones.
 *
 *     STABLE    -> CATCHING   learners copy the log; `other` is the set that is wanted
 *     CATCHING  -> JOINT      `nodes` is the wanted set, `other` the former one: both must agree to
 * everything JOINT     -> STABLE     once all that was committed before is on w of the new set
 *
 * Any w of n members and any n - w + 1 have one in common, so a seal of n - w + 1 finds what w acknowledged.
 * In two steps that follow each other this holds across both: whoever still counts by the former one meets
 * whoever counts by the next. Learners count for nothing, ever. Pure; shared by control plane and dataplane.
 */
#ifndef HG_IPC_GROUP_MEMBERS_H
#define HG_IPC_GROUP_MEMBERS_H

#include "drivers/platform/platform.h"

#define HG_MEMBERS_MAX            7u
#define HG_LEARNERS_MAX           4u
#define HG_MEMBERS_GENERATION_MAX UINT32_MAX

enum hg_members_phase { HG_MEMBERS_STABLE, HG_MEMBERS_CATCHING, HG_MEMBERS_JOINT };

struct hg_members_set {
    uint32_t count;
    uint32_t w; /* of these acknowledge */
    uint64_t nodes[HG_MEMBERS_MAX];
};

struct hg_members {
    uint64_t generation; /* 0 = never set: all of the region, as the command file says */
    uint32_t phase;      /* enum hg_members_phase */
    uint32_t learner_count;
    uint64_t learners[HG_LEARNERS_MAX]; /* get everything, count for nothing */
    struct hg_members_set set;
    struct hg_members_set
        other; /* CATCHING: that is to come; JOINT: that was, and still counts; else empty */
};

#define HG_MEMBERS_REASONS(X)                                                                                \
    X(OK, "fine")                                                                                            \
    X(GENERATION, "its generation is not the next one")                                                      \
    X(COUNT, "a set has 1 to 7 members")                                                                     \
    X(TWICE, "a node is named twice")                                                                        \
    X(NODE, "nodes are numbers from 1 on")                                                                   \
    X(W, "w is more than half of the members and not more than all")                                         \
    X(LEARNERS, "there are too many learners")                                                               \
    X(LEARNER_IS_MEMBER, "a member can't be a learner as well")                                              \
    X(PHASE, "this step does not follow from the one before: a change is under way, or none is")             \
    X(MANY, "one node is added, removed or replaced at a time")                                              \
    X(NOT_COPIED, "a new member must have been a learner: it has to copy the log first")                     \
    X(SET_CHANGED, "the members change only by a joint set")                                                 \
    X(ABSENT, "this node is no member")                                                                      \
    X(PRESENT, "this node is a member or a learner already")
enum hg_members_reason {
#define HG_X(name, text) HG_MEMBERS_##name,
    HG_MEMBERS_REASONS(HG_X)
#undef HG_X
        HG_MEMBERS_REASON_COUNT
};
const char *hg_members_reason_text(enum hg_members_reason reason);

bool hg_members_set_has(const struct hg_members_set *set, uint64_t node);
/* Counts for commits and seals: a member, and while joint one of the former set too. */
bool hg_members_is_voter(const struct hg_members *members, uint64_t node);
bool hg_members_is_learner(const struct hg_members *members, uint64_t node);
/* Voter or learner: who may say anything about the group. */
bool hg_members_has(const struct hg_members *members, uint64_t node);

/* Whether it can be at all; whether it may follow `from` (whose generation may be 0). */
enum hg_members_reason hg_members_check(const struct hg_members *members);
enum hg_members_reason hg_members_change(const struct hg_members *from, const struct hg_members *to);

/* One node's word: up to `end`, exclusive, it has everything on its device. */
struct hg_members_end {
    uint64_t node;
    uint64_t end;
};
/* Up to where w of the set have everything. Words of others count for nothing, two of one node once: the
 * smaller. */
uint64_t hg_members_set_committed(const struct hg_members_set *set, const struct hg_members_end *ends,
                                  uint32_t count);
/* Of both sets while joint. */
uint64_t hg_members_committed(const struct hg_members *members, const struct hg_members_end *ends,
                              uint32_t count);
/* Whether the answers of these nodes are enough for a seal: n - w + 1 of the set, of both while joint. */
bool hg_members_sealed_by(const struct hg_members *members, const uint64_t *nodes, uint32_t count);
/* Whether these nodes are all of the set, of both while joint. */
bool hg_members_all_of(const struct hg_members *members, const uint64_t *nodes, uint32_t count);

#endif
