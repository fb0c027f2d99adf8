/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of controlplane/copies.h: what the status page shows of a group that this node writes, and the
 * metastore's record.
 */
#include "controlplane/copies_read.h"
#include "controlplane/grant_groups.h"
#include "controlplane/report.h"
#include "controlplane/server.h"

static void changes_say(struct hg_server *server, uint32_t group, const struct hg_copies *before,
                        const struct hg_copies *after)
{
    for (uint32_t i = 0; i < after->count; i++) {
        const struct hg_copies_node *was = hg_copies_of(before, after->nodes[i].node);

        if (was != NULL && memcmp(was, &after->nodes[i], sizeof(*was)) == 0)
            continue;
        hg_event_addf(&server->events, HG_SEVERITY_INFO, "copy_counts",
                      "group %u: %s of node %llu counts from now on, its log is %016llx", group,
                      was == NULL ? "the copy" : "another copy", (unsigned long long)after->nodes[i].node,
                      (unsigned long long)after->nodes[i].logs[0]);
    }
}

/* A member that is there and whose log is none of those that count. */
static void strangers_say(struct hg_server *server, uint32_t group, const struct hg_copies *copies,
                          const struct hg_copies_seen *seen)
{
    for (uint32_t i = 0; i < seen->count; i++) {
        const struct hg_copies_seen_node *node = &seen->nodes[i];
        const struct hg_copies_node *of = hg_copies_of(copies, node->node);
        uint64_t *said = &server->copies_said[group][i];

        if (of == NULL || node->log_count == 0 ||
            hg_copies_are_there(copies, node->node, node->logs, node->log_count) || *said == node->logs[0])
            continue;
        *said = node->logs[0];
        hg_event_addf(
            &server->events, HG_SEVERITY_WARNING, "copy_replaced",
            "group %u: node %llu has log %016llx and not %016llx: it was made anew, and counts again "
            "when it has everything",
            group, (unsigned long long)node->node, (unsigned long long)node->logs[0],
            (unsigned long long)of->logs[0]);
    }
}

void hg_copies_tick(struct hg_server *server, uint32_t group, const struct hg_metastore_key *key,
                    const struct hg_metastore_record *record)
{
    struct hg_metastore_record wanted = *record, found;
    struct hg_copies_seen seen;
    bool is_ours = record->state == HG_METASTORE_OPEN && record->node == server->config->wanted.node.node;

    if (record->state != HG_METASTORE_NONE && !is_ours)
        return;
    hg_link_status_read(server);
    /* The next page may have been begun before a stream moved, and name the log that it left. */
    if (!hg_link_usable(server) || server->status_generation < server->change_generation + 2 ||
        !hg_copies_read(&server->config->wanted, &server->status, group, &record->members, &seen))
        return;
    strangers_say(server, group, &record->copies, &seen);
    if (!hg_copies_next(&record->copies, &seen, &wanted.copies) ||
        (record->state == HG_METASTORE_NONE && hg_grant_group_was_sealed(&server->status, group)))
        return;
    hg_metastore_record_first(&wanted, server->config->wanted.node.node);
    /* Lost to somebody else, or not known: the next tick reads it again. */
    if (server->metastore->swap(server->metastore, key, record->revision, &wanted, &found) == 0)
        changes_say(server, group, &record->copies, &found.copies);
}

const char *hg_copies_move_refusal(struct hg_server *server, uint32_t group)
{
    const struct hg_control_config *config = &server->config->wanted;
    struct hg_metastore_key key = hg_server_group_key(server, group);
    struct hg_metastore_record record;
    bool is_read = server->metastore->read(server->metastore, &key, &record) == 0;

    return hg_copies_move_problem(is_read ? &record.copies : NULL,
                                  config->quorum_n > 1 || hg_config_members(config, group).generation != 0);
}
