/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of controlplane/copies.h: what the status page shows of a group that this node writes, and the
 * metastore's record.
 */
#include "controlplane/copies.h"
#include "controlplane/server.h"

#include <errno.h>

/* The logs of the peer at this index in the status page. */
static bool logs_seen(const struct hg_control_status *status, uint32_t group, uint32_t peer,
                      struct hg_copies_seen_node *node)
{
    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct hg_status_stream *stream = &status->streams[i];

        for (uint32_t k = 0; k < stream->peer_count && stream->group == group; k++)
            if (stream->peers[k].peer == peer && stream->peers[k].copy != 0 &&
                !hg_copies_seen_add(node, stream->peers[k].copy))
                return false;
    }
    return true;
}

/* The nodes of the command file: a dataplane that has just started doesn't show its peers yet, and who is not
 * seen counts no more. */
static bool peers_seen(const struct hg_server *server, uint32_t group, const struct hg_members *members,
                       uint64_t caught_up, struct hg_copies_seen *seen)
{
    const struct hg_control_config *wanted = &server->config->wanted;
    const struct hg_control_status *status = &server->status;

    for (uint32_t i = 0; i < wanted->peer_count; i++) {
        if (wanted->peers[i].region != wanted->node.region)
            continue;
        if (seen->count == HG_COUNT(seen->nodes))
            return false;
        struct hg_copies_seen_node *node = &seen->nodes[seen->count++];

        node->node = wanted->peers[i].node;
        node->is_voter = members->generation != 0 ? hg_members_is_voter(members, node->node)
                                                  : wanted->peers[i].learner == 0;
        for (uint32_t p = 0; p < status->peer_count; p++) {
            if (strcmp(status->peers[p].name, wanted->peers[i].name) != 0)
                continue;
            node->caught_up = (caught_up >> p & 1) != 0;
            if (!logs_seen(status, group, p, node))
                return false;
        }
    }
    return true;
}

/* False: this node does not write all of the group, or can't say. *fresh: no log of it here was ever sealed.
 */
static bool group_seen(struct hg_server *server, uint32_t group, const struct hg_members *members,
                       struct hg_copies_seen *seen, bool *fresh)
{
    const struct hg_control_status *status = &server->status;
    uint64_t caught_up = UINT64_MAX;
    uint32_t streams = 0;

    memset(seen, 0, sizeof(*seen));
    hg_link_status_read(server);
    if (!hg_link_usable(server) || server->status_generation == 0)
        return false;
    for (uint32_t i = 0; i < status->stream_count; i++) {
        if (status->streams[i].group != group)
            continue;
        streams++;
        if (status->streams[i].writes == 0 || status->streams[i].region != server->config->wanted.node.region)
            return false;
    }
    seen->own.node = server->config->wanted.node.node;
    *fresh = true;
    for (uint32_t i = 0; i < status->group_count; i++) {
        const struct hg_status_group *row = &status->groups[i];

        if (row->group != group || row->streams == 0)
            continue;
        *fresh = *fresh && row->epoch_promised == 0 && row->epoch_open <= 1;
        caught_up &= row->copies_caught_up;
        if (!hg_copies_seen_add(&seen->own, hg_copies_id(row->log_uuid)))
            return false;
    }
    return streams != 0 && peers_seen(server, group, members, caught_up, seen);
}

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
    bool fresh;
    bool is_ours = record->state == HG_METASTORE_OPEN && record->node == server->config->wanted.node.node;

    if ((record->state != HG_METASTORE_NONE && !is_ours) ||
        !group_seen(server, group, &record->members, &seen, &fresh))
        return;
    strangers_say(server, group, &record->copies, &seen);
    if (!hg_copies_next(&record->copies, &seen, &wanted.copies) ||
        (record->state == HG_METASTORE_NONE && !fresh))
        return;
    if (record->state == HG_METASTORE_NONE) { /* never sealed: open from its beginning, by who writes it */
        wanted.epoch = 1;
        wanted.node = server->config->wanted.node.node;
        wanted.state = HG_METASTORE_OPEN;
    }
    /* Lost to somebody else, or not known: the next tick reads it again. */
    if (server->metastore->swap(server->metastore, key, record->revision, &wanted, &found) == 0)
        changes_say(server, group, &record->copies, &found.copies);
}
