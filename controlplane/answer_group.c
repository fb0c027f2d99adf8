/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealing and opening a group: first the metastore, where of several one wins, then the logs, whose promise
 * is what holds. Each step may be taken again.
 */
#include "controlplane/server.h"

/* What this node's logs have of a group. */
struct members {
    uint32_t logs, streams;
    uint64_t regions; /* of origin: bit = region */
    uint64_t epoch_promised, epoch_open;
};

static struct members members_of(struct hg_server *server, uint32_t group)
{
    struct members members = {0};

    hg_link_status_read(server);
    for (uint32_t i = 0; i < server->status.group_count; i++) {
        const struct hg_status_group *row = &server->status.groups[i];

        if (row->group != group)
            continue;
        members.logs++;
        members.streams += row->streams;
        members.regions |= row->regions;
        members.epoch_promised = hg_max_u64(members.epoch_promised, row->epoch_promised);
        members.epoch_open = hg_max_u64(members.epoch_open, row->epoch_open);
    }
    return members;
}

/* NULL, or why nothing can be ordered about it. */
static json_t *members_check(const struct members *members, uint32_t group)
{
    if (members->streams == 0)
        return hg_answer_error(HG_API_REFUSED, "there is no stream of group %u here; see 'show groups'",
                               group);
    if ((members->regions & (members->regions - 1)) != 0)
        return hg_answer_error(
            HG_API_REFUSED,
            "group %u has streams of several regions, and a seal would stop them all: give "
            "those of each region a group of their own",
            group);
    return NULL;
}

static struct hg_metastore_key key_of(const struct hg_server *server, const struct members *members,
                                      uint32_t group)
{
    return (struct hg_metastore_key){.cluster = server->config->wanted.node.cluster,
                                     .region = (uint32_t)__builtin_ctzll(members->regions),
                                     .group = group};
}

static json_t *order(struct hg_server *server, struct hg_api_connection *connection,
                     enum hg_control_command command, uint32_t group, uint64_t epoch, const char *text)
{
    json_t *refusal =
        hg_answer_change(server, connection, hg_link_group(server, command, group, epoch), false, text);

    if (refusal == NULL)
        server->change.group = (int32_t)group;
    return refusal;
}

static void what_if(char text[HG_METASTORE_TEXT_BYTES], const char *verb, const struct members *members,
                    uint32_t group, uint64_t epoch, const char *more)
{
    snprintf(text, HG_METASTORE_TEXT_BYTES,
             "would %s group %u (%u streams in %u logs, epoch %llu open, %llu promised) under epoch %llu%s",
             verb, group, members->streams, members->logs, (unsigned long long)members->epoch_open,
             (unsigned long long)members->epoch_promised, (unsigned long long)epoch, more);
}

json_t *hg_answer_group_seal(struct hg_server *server, struct hg_api_connection *connection,
                             const struct hg_command *command)
{
    uint32_t group = (uint32_t)hg_command_value(command, "GROUP")->number;
    uint64_t epoch = hg_command_value(command, "epoch")->number;
    struct members members = members_of(server, group);
    json_t *refusal = members_check(&members, group);
    char text[HG_METASTORE_TEXT_BYTES];

    if (refusal != NULL)
        return refusal;
    if (hg_command_value(command, "dry-run") != NULL) {
        what_if(text, "seal", &members, group, epoch,
                "; nothing older would be taken any more, and nobody can take that back");
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    struct hg_metastore_key key = key_of(server, &members, group);

    if (hg_metastore_seal(server->metastore, &key, epoch, server->config->wanted.node.node, text) != 0)
        return hg_answer_error(HG_API_REFUSED, "%s", text);
    snprintf(text, sizeof(text), "group %u sealed under epoch %llu", group, (unsigned long long)epoch);
    return order(server, connection, HG_COMMAND_GROUP_SEAL, group, epoch, text);
}

json_t *hg_answer_group_open(struct hg_server *server, struct hg_api_connection *connection,
                             const struct hg_command *command)
{
    uint32_t group = (uint32_t)hg_command_value(command, "GROUP")->number;
    uint64_t epoch = hg_command_value(command, "epoch")->number;
    struct members members = members_of(server, group);
    json_t *refusal = members_check(&members, group);
    char text[HG_METASTORE_TEXT_BYTES];

    if (refusal != NULL)
        return refusal;
    struct hg_metastore_key key = key_of(server, &members, group);

    if (key.region != server->config->wanted.node.region)
        return hg_answer_error(HG_API_REFUSED, "group %u is written in region %u: open it there", group,
                               key.region);
    if (hg_command_value(command, "dry-run") != NULL) {
        what_if(text, "open", &members, group, epoch, "");
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    if (hg_metastore_begin(server->metastore, &key, epoch, server->config->wanted.node.node, text) != 0)
        return hg_answer_error(HG_API_REFUSED, "%s", text);
    snprintf(text, sizeof(text), "group %u open under epoch %llu", group, (unsigned long long)epoch);
    return order(server, connection, HG_COMMAND_GROUP_OPEN, group, epoch, text);
}
