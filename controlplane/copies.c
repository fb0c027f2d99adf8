/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/copies.h"

bool hg_copies_seen_add(struct hg_copies_seen_node *seen, uint64_t log)
{
    for (uint32_t i = 0; i < seen->log_count; i++)
        if (seen->logs[i] == log)
            return true;
    if (seen->log_count == HG_COPIES_LOGS_MAX)
        return false;
    seen->logs[seen->log_count++] = log;
    return true;
}

bool hg_copies_next(const struct hg_copies *now, const struct hg_copies_seen *seen, struct hg_copies *next)
{
    uint64_t nodes[HG_COPIES_NODES_MAX] = {seen->own.node};
    bool changed = false;
    *next = *now;
    if (seen->own.log_count == 0 ||
        !hg_copies_are_there(now, seen->own.node, seen->own.logs, seen->own.log_count))
        return false;
    for (uint32_t i = 0; i < seen->count && now->count == 0; i++)
        if (seen->nodes[i].is_voter && (!seen->nodes[i].caught_up || seen->nodes[i].log_count == 0))
            return false;
    for (uint32_t i = 0; i < seen->count; i++)
        nodes[i + 1] = seen->nodes[i].node;
    hg_copies_keep(next, nodes, seen->count + 1);
    changed = next->count != now->count;
    changed |= hg_copies_put(next, seen->own.node, seen->own.logs, seen->own.log_count);
    for (uint32_t i = 0; i < seen->count; i++)
        if (seen->nodes[i].caught_up)
            changed |=
                hg_copies_put(next, seen->nodes[i].node, seen->nodes[i].logs, seen->nodes[i].log_count);
    return changed;
}

const char *hg_copies_move_problem(const struct hg_copies *named, bool has_quorum)
{
    if (named == NULL)
        return has_quorum ? "which logs count for its group can't be read now" : NULL;
    return named->count != 0 ? "the metastore names the logs that count for its group" : NULL;
}
