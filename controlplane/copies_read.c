/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/copies_read.h"

/* The logs of the peer at this index in the status page. */
static bool logs_read(const struct hg_control_status *status, uint32_t group, uint32_t peer,
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

static bool peers_read(const struct hg_control_config *wanted, const struct hg_control_status *status,
                       uint32_t group, const struct hg_members *members, uint64_t caught_up,
                       struct hg_copies_seen *seen)
{
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
            if (!logs_read(status, group, p, node))
                return false;
        }
    }
    return true;
}

/* Streams of the group that this node has; 0 when it does not write all of them. */
static uint32_t streams_written(const struct hg_control_config *wanted,
                                const struct hg_control_status *status, uint32_t group)
{
    uint32_t streams = 0;

    for (uint32_t i = 0; i < status->stream_count; i++) {
        if (status->streams[i].group != group)
            continue;
        if (status->streams[i].writes == 0 || status->streams[i].region != wanted->node.region)
            return 0;
        streams++;
    }
    return streams;
}

bool hg_copies_read(const struct hg_control_config *wanted, const struct hg_control_status *status,
                    uint32_t group, const struct hg_members *members, struct hg_copies_seen *seen)
{
    uint64_t caught_up = UINT64_MAX;

    memset(seen, 0, sizeof(*seen));
    seen->own.node = wanted->node.node;
    if (streams_written(wanted, status, group) == 0)
        return false;
    for (uint32_t i = 0; i < status->group_count; i++) {
        const struct hg_status_group *row = &status->groups[i];

        if (row->group != group || row->streams == 0)
            continue;
        caught_up &= row->copies_caught_up;
        if (!hg_copies_seen_add(&seen->own, hg_copies_id(row->log_uuid)))
            return false;
    }
    return peers_read(wanted, status, group, members, caught_up, seen);
}
