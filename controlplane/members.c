/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/members.h"

#include <stdio.h>
#include <string.h>

static void set_add(struct hg_members_set *set, uint64_t node)
{
    if (set->count < HG_MEMBERS_MAX)
        set->nodes[set->count] = node;
    set->count++; /* one too many is refused by hg_members_check */
}

static void set_remove(struct hg_members_set *set, uint64_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->nodes[i] != node)
            set->nodes[kept++] = set->nodes[i];
    for (uint32_t i = kept; i < set->count; i++)
        set->nodes[i] = 0;
    set->count = kept;
}

static void learner_remove(struct hg_members *members, uint64_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < members->learner_count; i++)
        if (members->learners[i] != node)
            members->learners[kept++] = members->learners[i];
    for (uint32_t i = kept; i < members->learner_count; i++)
        members->learners[i] = 0;
    members->learner_count = kept;
}

static void learner_add(struct hg_members *members, uint64_t node)
{
    if (hg_members_is_learner(members, node))
        return;
    if (members->learner_count < HG_LEARNERS_MAX)
        members->learners[members->learner_count] = node;
    members->learner_count++;
}

/* As much above the majority as it was, where that can be. */
static uint32_t w_of(const struct hg_members_set *old, uint32_t count)
{
    uint32_t above = old->w - (old->count / 2 + 1);
    return (uint32_t)hg_min_u64(count, count / 2 + 1 + above);
}

static enum hg_members_reason order_change(const struct hg_members *from, enum hg_members_order order,
                                           uint64_t node, uint64_t node_new, struct hg_members *next)
{
    bool comes = order != HG_MEMBERS_REMOVE;
    uint64_t who = order == HG_MEMBERS_REPLACE ? node_new : node;
    if (order != HG_MEMBERS_ADD && !hg_members_set_has(&from->set, node))
        return HG_MEMBERS_ABSENT;
    if (comes && hg_members_is_voter(from, who))
        return HG_MEMBERS_PRESENT;
    next->phase = HG_MEMBERS_CATCHING;
    next->other = from->set;
    if (order != HG_MEMBERS_ADD)
        set_remove(&next->other, node);
    if (comes) {
        set_add(&next->other, who);
        learner_add(next, who);
    }
    next->other.w = w_of(&from->set, next->other.count);
    return HG_MEMBERS_OK;
}

enum hg_members_reason hg_members_order(const struct hg_members *from, enum hg_members_order order,
                                        uint64_t node, uint64_t node_new, struct hg_members *next)
{
    enum hg_members_reason reason = HG_MEMBERS_OK;
    *next = *from;
    next->generation++;
    if (order == HG_MEMBERS_CANCEL) {
        if (from->phase != HG_MEMBERS_CATCHING)
            return HG_MEMBERS_PHASE;
        next->phase = HG_MEMBERS_STABLE;
        memset(&next->other, 0, sizeof(next->other));
        return HG_MEMBERS_OK;
    }
    if (from->phase != HG_MEMBERS_STABLE)
        return HG_MEMBERS_PHASE;
    if (order == HG_MEMBERS_LEARNER) {
        if (hg_members_has(from, node))
            return HG_MEMBERS_PRESENT;
        learner_add(next, node);
    } else if (order == HG_MEMBERS_REMOVE && hg_members_is_learner(from, node)) {
        learner_remove(next, node);
    } else {
        reason = order_change(from, order, node, node_new, next);
    }
    return reason != HG_MEMBERS_OK ? reason : hg_members_check(next);
}

const char *hg_members_verdict_text(enum hg_members_verdict verdict)
{
    static const char *const texts[] = {
        [HG_MEMBERS_DONE] = "no change is under way",
        [HG_MEMBERS_STEP] = "the next step is due",
        [HG_MEMBERS_APPLYING] = "the node that writes does not count by this generation yet",
        [HG_MEMBERS_CATCHES_UP] = "the new member copies the log",
        [HG_MEMBERS_WRITER_GOES] = "the node that writes is to go: fail over to one that stays, or cancel",
        [HG_MEMBERS_SYNCING] = "what was committed before is not yet with enough of the new members",
    };
    return verdict < HG_COUNT(texts) ? texts[verdict] : "unknown";
}

void hg_members_caught_up(struct hg_members_facts *facts, const struct hg_members *now, uint64_t node)
{
    if (hg_members_is_learner(now, node) && facts->caught_up_count < HG_LEARNERS_MAX)
        facts->caught_up[facts->caught_up_count++] = node;
}

static bool is_caught_up(const struct hg_members_facts *facts, uint64_t node)
{
    for (uint32_t i = 0; i < facts->caught_up_count; i++)
        if (facts->caught_up[i] == node)
            return true;
    return false;
}

static enum hg_members_verdict next_joint(const struct hg_members *now, const struct hg_members_facts *facts,
                                          struct hg_members *next)
{
    for (uint32_t i = 0; i < now->other.count; i++)
        if (!hg_members_set_has(&now->set, now->other.nodes[i]) && !is_caught_up(facts, now->other.nodes[i]))
            return HG_MEMBERS_CATCHES_UP;
    if (!hg_members_set_has(&now->other, facts->node))
        return HG_MEMBERS_WRITER_GOES;
    next->phase = HG_MEMBERS_JOINT;
    next->set = now->other;
    next->other = now->set;
    for (uint32_t i = 0; i < next->set.count; i++)
        learner_remove(next, next->set.nodes[i]);
    return HG_MEMBERS_STEP;
}

enum hg_members_verdict hg_members_next(const struct hg_members *now, const struct hg_members_facts *facts,
                                        struct hg_members *next)
{
    *next = *now;
    next->generation++;
    if (now->phase == HG_MEMBERS_STABLE)
        return HG_MEMBERS_DONE;
    /* Whoever writes by the former one does not know of the other set yet. */
    if (facts->generation != now->generation)
        return HG_MEMBERS_APPLYING;
    if (now->phase == HG_MEMBERS_CATCHING)
        return next_joint(now, facts, next);
    if (!facts->is_synced)
        return HG_MEMBERS_SYNCING;
    next->phase = HG_MEMBERS_STABLE;
    memset(&next->other, 0, sizeof(next->other));
    return HG_MEMBERS_STEP;
}

static size_t nodes_text(const uint64_t *nodes, uint32_t count, char *text, size_t bytes)
{
    size_t put = 0;
    for (uint32_t i = 0; i < count && put < bytes; i++)
        put += (size_t)snprintf(text + put, bytes - put, " %llu", (unsigned long long)nodes[i]);
    return hg_min_u64(put, bytes);
}

void hg_members_text(const struct hg_members *members, char *text, size_t bytes)
{
    size_t put = (size_t)snprintf(text, bytes, "generation %llu: w %u of",
                                  (unsigned long long)members->generation, members->set.w);
    put += nodes_text(members->set.nodes, members->set.count, text + put, bytes - put);
    if (members->phase != HG_MEMBERS_STABLE) {
        put += (size_t)snprintf(text + put, bytes - put, "; %s: w %u of",
                                members->phase == HG_MEMBERS_JOINT ? "before, and counted too" : "to be",
                                members->other.w);
        put += nodes_text(members->other.nodes, members->other.count, text + put, bytes - put);
    }
    if (members->learner_count == 0)
        return;
    put += (size_t)snprintf(text + put, bytes - put, "; learners");
    (void)nodes_text(members->learners, members->learner_count, text + put, bytes - put);
}
