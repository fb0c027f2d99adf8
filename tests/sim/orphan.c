/* SPDX-License-Identifier: Apache-2.0
 *
 * Orphan files of simulated nodes: what housekeeping writes and flushes in production. One that has its name
 * is there for the rest of the run, whatever the node dies of; one that is being written goes with the
 * process.
 */
#include "dataplane/stream/cut.h"
#include "tests/sim/failover.h"

#include <stdlib.h>

static struct sim_orphan *orphan_find(struct sim_node *node, const char *name)
{
    struct sim_orphan *orphan = node->orphans;
    while (orphan != NULL && strcmp(orphan->name, name) != 0)
        orphan = orphan->next;
    return orphan;
}

static struct sim_orphan *orphan_make(struct sim_node *node, const char *name)
{
    struct sim_orphan *orphan = calloc(1, sizeof(*orphan));
    hg_assert(orphan != NULL);
    snprintf(orphan->name, sizeof(orphan->name), "%s", name);
    orphan->next = node->orphans;
    node->orphans = orphan;
    return orphan;
}

static void piece_write(struct sim_node *node, const struct hg_orphan_piece *piece)
{
    struct sim_orphan *orphan = orphan_find(node, piece->name);
    if (piece->is_recorded) {
        if (orphan == NULL || orphan->data == NULL)
            hg_sim_violation(node->world, "orphan", "node %c: the log has a cut of which there is no file %s",
                             (int)('A' + node->index), piece->name);
        return;
    }
    if (orphan == NULL)
        orphan = orphan_make(node, piece->name);
    if (piece->is_first)
        orphan->part_bytes = sizeof(piece->header);
    uint64_t end = piece->offset + piece->bytes;
    if (piece->offset != orphan->part_bytes)
        hg_sim_violation(node->world, "orphan", "node %c: a piece of %s at %llu follows %llu bytes",
                         (int)('A' + node->index), piece->name, (unsigned long long)piece->offset,
                         (unsigned long long)orphan->part_bytes);
    orphan->part = realloc(orphan->part, end);
    hg_assert(orphan->part != NULL);
    memcpy(orphan->part + piece->offset, piece->data, piece->bytes);
    orphan->part_bytes = end;
    if (!piece->is_last)
        return;
    memcpy(orphan->part, &piece->header, sizeof(piece->header));
    free(orphan->data);
    orphan->data = orphan->part;
    orphan->bytes = end;
    orphan->part = NULL;
    orphan->part_bytes = 0;
    if (node->world->failover != NULL)
        hg_sim_check_orphan(node, orphan);
}

void hg_sim_orphan_letter(struct sim_node *node, struct sim_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer;
    piece_write(node, letter->pointer);
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_ORPHAN_DONE;
    hg_assert(hg_mailbox_put(&worker->inbox, &answer));
}

void hg_sim_orphans_free(struct sim_node *node)
{
    while (node->orphans != NULL) {
        struct sim_orphan *orphan = node->orphans;
        node->orphans = orphan->next;
        free(orphan->data);
        free(orphan->part);
        free(orphan);
    }
}
