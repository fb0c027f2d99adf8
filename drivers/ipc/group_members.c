/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ipc/group_members.h"

const char *hg_members_reason_text(enum hg_members_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_MEMBERS_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_MEMBERS_REASON_COUNT ? texts[reason] : "unknown";
}

static bool is_listed(const uint64_t *nodes, uint32_t count, uint64_t node)
{
    for (uint32_t i = 0; i < count; i++)
        if (nodes[i] == node)
            return true;
    return false;
}

bool hg_members_set_has(const struct hg_members_set *set, uint64_t node)
{
    return is_listed(set->nodes, set->count, node);
}

bool hg_members_is_voter(const struct hg_members *members, uint64_t node)
{
    return hg_members_set_has(&members->set, node) ||
           (members->phase == HG_MEMBERS_JOINT && hg_members_set_has(&members->other, node));
}

bool hg_members_is_learner(const struct hg_members *members, uint64_t node)
{
    return is_listed(members->learners, members->learner_count, node);
}

bool hg_members_has(const struct hg_members *members, uint64_t node)
{
    return hg_members_is_voter(members, node) || hg_members_is_learner(members, node);
}

static enum hg_members_reason list_check(const uint64_t *nodes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (nodes[i] == 0)
            return HG_MEMBERS_NODE;
        if (is_listed(nodes, i, nodes[i]))
            return HG_MEMBERS_TWICE;
    }
    return HG_MEMBERS_OK;
}

static enum hg_members_reason set_check(const struct hg_members_set *set)
{
    if (set->count == 0 || set->count > HG_MEMBERS_MAX)
        return HG_MEMBERS_COUNT;
    if (set->w <= set->count / 2 || set->w > set->count)
        return HG_MEMBERS_W;
    return list_check(set->nodes, set->count);
}

enum hg_members_reason hg_members_check(const struct hg_members *members)
{
    if (members->generation == 0 || members->generation > HG_MEMBERS_GENERATION_MAX)
        return HG_MEMBERS_GENERATION;
    if (members->phase > HG_MEMBERS_JOINT)
        return HG_MEMBERS_PHASE;
    if (members->learner_count > HG_LEARNERS_MAX)
        return HG_MEMBERS_LEARNERS;
    enum hg_members_reason reason = set_check(&members->set);
    if (reason == HG_MEMBERS_OK && members->phase != HG_MEMBERS_STABLE)
        reason = set_check(&members->other);
    if (reason == HG_MEMBERS_OK && members->phase == HG_MEMBERS_STABLE && members->other.count != 0)
        reason = HG_MEMBERS_PHASE;
    if (reason == HG_MEMBERS_OK)
        reason = list_check(members->learners, members->learner_count);
    for (uint32_t i = 0; reason == HG_MEMBERS_OK && i < members->learner_count; i++)
        if (hg_members_is_voter(members, members->learners[i]))
            reason = HG_MEMBERS_LEARNER_IS_MEMBER;
    return reason;
}

/* How many of `of` are not in `set`. */
static uint32_t lacks(const struct hg_members_set *set, const struct hg_members_set *of)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < of->count; i++)
        count += !hg_members_set_has(set, of->nodes[i]);
    return count;
}

static bool set_same(const struct hg_members_set *a, const struct hg_members_set *b)
{
    return a->count == b->count && a->w == b->w && lacks(a, b) == 0;
}

/* From one set to the next: at most one comes and one goes, and who comes has copied the log. */
static enum hg_members_reason step_check(const struct hg_members *from, const struct hg_members_set *old,
                                         const struct hg_members_set *wanted)
{
    if (lacks(old, wanted) > 1 || lacks(wanted, old) > 1)
        return HG_MEMBERS_MANY;
    for (uint32_t i = 0; i < wanted->count; i++)
        if (!hg_members_set_has(old, wanted->nodes[i]) && !hg_members_is_learner(from, wanted->nodes[i]))
            return HG_MEMBERS_NOT_COPIED;
    return HG_MEMBERS_OK;
}

static enum hg_members_reason change_of_phase(const struct hg_members *from, const struct hg_members *to)
{
    if (from->phase == HG_MEMBERS_STABLE && to->phase == HG_MEMBERS_CATCHING)
        return set_same(&from->set, &to->set) ? step_check(to, &to->set, &to->other) : HG_MEMBERS_SET_CHANGED;
    if (from->phase == HG_MEMBERS_CATCHING && to->phase == HG_MEMBERS_JOINT) {
        if (!set_same(&from->set, &to->other) || !set_same(&from->other, &to->set))
            return HG_MEMBERS_SET_CHANGED;
        return step_check(from, &to->other, &to->set);
    }
    if (from->phase == HG_MEMBERS_CATCHING && to->phase == HG_MEMBERS_STABLE) /* given up */
        return set_same(&from->set, &to->set) ? HG_MEMBERS_OK : HG_MEMBERS_SET_CHANGED;
    if (from->phase == HG_MEMBERS_JOINT && to->phase == HG_MEMBERS_STABLE)
        return set_same(&from->set, &to->set) ? HG_MEMBERS_OK : HG_MEMBERS_SET_CHANGED;
    return HG_MEMBERS_PHASE;
}

enum hg_members_reason hg_members_change(const struct hg_members *from, const struct hg_members *to)
{
    enum hg_members_reason reason = hg_members_check(to);
    if (reason != HG_MEMBERS_OK)
        return reason;
    if (to->generation != from->generation + 1)
        return HG_MEMBERS_GENERATION;
    if (from->generation == 0) /* as the command file has them until now */
        return to->phase == HG_MEMBERS_STABLE ? HG_MEMBERS_OK : HG_MEMBERS_PHASE;
    if (from->phase == HG_MEMBERS_STABLE && to->phase == HG_MEMBERS_STABLE)
        return set_same(&from->set, &to->set) ? HG_MEMBERS_OK : HG_MEMBERS_SET_CHANGED;
    return change_of_phase(from, to);
}

uint64_t hg_members_set_committed(const struct hg_members_set *set, const struct hg_members_end *ends,
                                  uint32_t count)
{
    uint64_t sorted[HG_MEMBERS_MAX] = {0}; /* the largest first; a silent member has nothing */
    hg_assert(set->count <= HG_MEMBERS_MAX && set->w >= 1 && set->w <= set->count);
    for (uint32_t i = 0; i < set->count; i++) {
        uint64_t end = 0;
        bool heard = false;
        for (uint32_t j = 0; j < count; j++)
            if (ends[j].node == set->nodes[i]) {
                end = heard ? hg_min_u64(end, ends[j].end) : ends[j].end;
                heard = true;
            }
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1] < end; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = end;
    }
    return sorted[set->w - 1];
}

uint64_t hg_members_committed(const struct hg_members *members, const struct hg_members_end *ends,
                              uint32_t count)
{
    uint64_t end = hg_members_set_committed(&members->set, ends, count);
    if (members->phase == HG_MEMBERS_JOINT)
        end = hg_min_u64(end, hg_members_set_committed(&members->other, ends, count));
    return end;
}

static uint32_t set_listed(const struct hg_members_set *set, const uint64_t *nodes, uint32_t count)
{
    uint32_t listed = 0;
    for (uint32_t i = 0; i < set->count; i++)
        listed += is_listed(nodes, count, set->nodes[i]);
    return listed;
}

static bool set_sealed_by(const struct hg_members_set *set, const uint64_t *nodes, uint32_t count)
{
    return set_listed(set, nodes, count) >= set->count - set->w + 1;
}

bool hg_members_sealed_by(const struct hg_members *members, const uint64_t *nodes, uint32_t count)
{
    return set_sealed_by(&members->set, nodes, count) &&
           (members->phase != HG_MEMBERS_JOINT || set_sealed_by(&members->other, nodes, count));
}

bool hg_members_all_of(const struct hg_members *members, const uint64_t *nodes, uint32_t count)
{
    return set_listed(&members->set, nodes, count) == members->set.count &&
           (members->phase != HG_MEMBERS_JOINT ||
            set_listed(&members->other, nodes, count) == members->other.count);
}
