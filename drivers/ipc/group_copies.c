/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/ipc/group_copies.h"

uint64_t hg_copies_id(const uint8_t log_uuid[16])
{
    uint64_t halves[2];
    memcpy(halves, log_uuid, sizeof(halves));
    return (halves[0] ^ halves[1]) == 0 ? 1 : halves[0] ^ halves[1];
}

static bool is_listed(const uint64_t *logs, uint32_t count, uint64_t log)
{
    for (uint32_t i = 0; i < count; i++)
        if (logs[i] == log)
            return true;
    return false;
}

const struct hg_copies_node *hg_copies_of(const struct hg_copies *copies, uint64_t node)
{
    for (uint32_t i = 0; i < copies->count; i++)
        if (copies->nodes[i].node == node)
            return &copies->nodes[i];
    return NULL;
}

bool hg_copies_counts(const struct hg_copies *copies, uint64_t node, uint64_t log)
{
#ifndef HG_SEEDED_BUG_COUNT_REPLACED
    const struct hg_copies_node *of = hg_copies_of(copies, node);
    if (copies->count != 0)
        return of != NULL && is_listed(of->logs, of->log_count, log);
#endif
    return true;
}

bool hg_copies_are_there(const struct hg_copies *copies, uint64_t node, const uint64_t *logs, uint32_t count)
{
#ifndef HG_SEEDED_BUG_COUNT_REPLACED
    const struct hg_copies_node *of = hg_copies_of(copies, node);
    if (copies->count != 0 && of == NULL)
        return false;
    for (uint32_t i = 0; of != NULL && i < of->log_count; i++)
        if (!is_listed(logs, count, of->logs[i]))
            return false;
#endif
    return true;
}

static bool is_same(const struct hg_copies_node *of, const uint64_t *logs, uint32_t count)
{
    bool same = of->log_count == count;
    for (uint32_t i = 0; i < count && same; i++)
        same = is_listed(of->logs, of->log_count, logs[i]);
    return same;
}

bool hg_copies_put(struct hg_copies *copies, uint64_t node, const uint64_t *logs, uint32_t count)
{
    uint32_t at = 0;
    while (at < copies->count && copies->nodes[at].node != node)
        at++;
    if (count == 0 || count > HG_COPIES_LOGS_MAX || at == HG_COPIES_NODES_MAX ||
        (at < copies->count && is_same(&copies->nodes[at], logs, count)))
        return false;
    copies->count = (uint32_t)hg_max_u64(copies->count, at + 1);
    memset(&copies->nodes[at], 0, sizeof(copies->nodes[at]));
    copies->nodes[at].node = node;
    copies->nodes[at].log_count = count;
    memcpy(copies->nodes[at].logs, logs, count * sizeof(logs[0]));
    return true;
}

void hg_copies_keep(struct hg_copies *copies, const uint64_t *nodes, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < copies->count; i++)
        if (is_listed(nodes, count, copies->nodes[i].node))
            copies->nodes[kept++] = copies->nodes[i];
    memset(&copies->nodes[kept], 0, (copies->count - kept) * sizeof(copies->nodes[0]));
    copies->count = kept;
}

bool hg_copies_check(const struct hg_copies *copies)
{
    if (copies->count > HG_COPIES_NODES_MAX)
        return false;
    for (uint32_t i = 0; i < copies->count; i++) {
        const struct hg_copies_node *of = &copies->nodes[i];
        if (of->node == 0 || of->log_count == 0 || of->log_count > HG_COPIES_LOGS_MAX ||
            is_listed(of->logs, of->log_count, 0) || hg_copies_of(copies, of->node) != of)
            return false;
    }
    return true;
}
