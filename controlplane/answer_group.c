/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealing and opening a group: first the metastore, where of several one wins, then the logs, whose promise
 * is what holds. Each step may be taken again.
 */
#include "controlplane/json_text.h"
#include "controlplane/report.h"
#include "controlplane/server.h"

#include <errno.h>

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

json_t *hg_answer_groups(struct hg_server *server, int32_t group)
{
    json_t *array = hg_report_groups(&server->status, group), *row;
    size_t i;

    json_array_foreach(array, i, row)
    {
        uint32_t number = (uint32_t)json_integer_value(json_object_get(row, "group"));
        const struct hg_failover *failover = hg_failover_run_of(server, number);

        json_object_set_new(
            row, "step",
            json_string(hg_failover_step_name(failover == NULL ? HG_FAILOVER_IDLE : failover->step)));
        json_object_set_new(row, "reason", hg_json_text(hg_failover_run_reason(server, number)));
    }
    return array;
}

/* Who writes the group now, as the metastore has it. */
static void writer_text(const struct hg_metastore_record *record, char *text, size_t bytes)
{
    static const char *const states[] = {"never sealed", "being sealed", "open"};

    if (record->state == HG_METASTORE_NONE)
        snprintf(text, bytes, "it was never sealed: the node of its stream lines writes it");
    else
        snprintf(text, bytes, "it is %s under epoch %llu by node %llu",
                 record->state < HG_COUNT(states) ? states[record->state] : "unknown",
                 (unsigned long long)record->epoch, (unsigned long long)record->node);
}

static const char *node_name(const struct hg_control_config *wanted, uint64_t node, char number[24])
{
    for (uint32_t i = 0; i < wanted->peer_count; i++)
        if (wanted->peers[i].node == node)
            return wanted->peers[i].name;
    snprintf(number, 24, "node %llu", (unsigned long long)node);
    return number;
}

/* Epochs are taken from who writes, and not given back: where too few would answer, only when forced. */
static json_t *fail_over_too_few(const struct hg_server *server, uint32_t group,
                                 const struct hg_failover_reach *reach)
{
    char names[256] = "", number[24];
    size_t bytes = 0;

    for (uint32_t i = 0; i < reach->down_count && bytes < sizeof(names); i++)
        bytes += (size_t)snprintf(names + bytes, sizeof(names) - bytes, "%s%s", i == 0 ? "" : ", ",
                                  node_name(&server->config->wanted, reach->down[i], number));
    return hg_answer_error(
        HG_API_REFUSED,
        "group %u is not failed over to this node: %u of %u %smembers are up from here, %u must answer, and "
        "not "
        "up are %s. It would stop who writes now and stay sealed: start them or mend the way to them, order "
        "it where they are up, or add `force`",
        group, reach->up, reach->n, reach->is_former ? "former " : "", reach->seals,
        names[0] != '\0' ? names : "some that this node has no peer line of");
}

static json_t *fail_over_what_if(const struct hg_server *server, const struct members *members,
                                 uint32_t group, const struct hg_metastore_record *record,
                                 const struct hg_failover_reach *reach)
{
    char text[HG_METASTORE_TEXT_BYTES], writer[160];
    uint64_t epoch = hg_max_u64(hg_max_u64(record->epoch, members->epoch_promised), 1) + 1;

    writer_text(record, writer, sizeof(writer));
    snprintf(
        text, sizeof(text),
        "would make node %llu the writer of group %u (%u streams) under epoch %llu or higher; now %s. Of %u "
        "%smembers %u are up from here; %u must answer and %u take part%s",
        (unsigned long long)server->config->wanted.node.node, group, members->streams,
        (unsigned long long)(reach->takes ? epoch : record->epoch), writer, reach->n,
        reach->is_former ? "former " : "", reach->up, reach->seals, reach->w,
        reach->up >= reach->seals && reach->up >= reach->w ? "" : ": start more of them first");
    return hg_answer_done(text);
}

/* NULL: it may begin. Else what an order, or one that only asks, is told. */
static json_t *fail_over_look(struct hg_server *server, const struct members *members,
                              const struct hg_metastore_key *key, bool is_forced, bool is_dry_run)
{
    struct hg_metastore_record record;
    struct hg_failover_reach reach;

    if (server->metastore->read(server->metastore, key, &record) != 0)
        return is_forced && !is_dry_run ? NULL
                                        : hg_answer_error(HG_API_REFUSED, "%s", server->metastore->problem);
    const char *why = hg_failover_run_reach(server, key->group, &record, &reach);

    if (why != NULL)
        return hg_answer_error(HG_API_REFUSED,
                               "group %u can't be failed over to this node: %s; see 'group members %u show'",
                               key->group, why, key->group);
    if (!is_forced && !hg_failover_reach_suffices(&reach))
        return fail_over_too_few(server, key->group, &reach);
    return is_dry_run ? fail_over_what_if(server, members, key->group, &record, &reach) : NULL;
}

static json_t *fail_over_under_way(const struct hg_server *server, const struct hg_failover *failover,
                                   uint32_t group)
{
    char text[HG_METASTORE_TEXT_BYTES];
    const char *reason = hg_failover_run_reason(server, group);

    snprintf(text, sizeof(text), "group %u is being failed over to this node already: %s%s%s", group,
             hg_failover_step_text(failover->step), reason[0] != '\0' ? ": " : "", reason);
    return hg_answer_done(text);
}

json_t *hg_answer_group_fail_over(struct hg_server *server, const struct hg_command *command)
{
    uint32_t group = (uint32_t)hg_command_value(command, "GROUP")->number;
    struct members members = members_of(server, group);
    json_t *refusal = members_check(&members, group);
    char text[HG_METASTORE_TEXT_BYTES];

    if (refusal != NULL)
        return refusal;
    struct hg_metastore_key key = key_of(server, &members, group);

    if (key.region != server->config->wanted.node.region)
        return hg_answer_error(HG_API_REFUSED,
                               "group %u is written in region %u: order it at a node of that region", group,
                               key.region);
    if (!hg_failover_run_check(server, group, text, sizeof(text)))
        return hg_answer_error(HG_API_REFUSED, "group %u can't be failed over to this node: %s", group, text);
    bool is_dry_run = hg_command_value(command, "dry-run") != NULL;

    if (!is_dry_run && !hg_link_usable(server))
        return hg_answer_error(
            HG_API_NO_DATAPLANE,
            "the dataplane of this node does not answer: start it, its log is the one to write");
    const struct hg_failover *before = hg_failover_run_of(server, group);

    if (!is_dry_run && before != NULL && hg_failover_is_under_way(before))
        return fail_over_under_way(server, before, group);
    refusal = fail_over_look(server, &members, &key, hg_command_value(command, "force") != NULL, is_dry_run);
    if (refusal != NULL)
        return refusal;
    if (hg_failover_run_start(server, group, uv_hrtime()) != 0)
        return hg_answer_error(HG_API_REFUSED, "%u groups are being failed over: try again when one is done",
                               HG_FAILOVERS_MAX);
    snprintf(text, sizeof(text),
             "group %u is being failed over to this node: helioctl show groups says how far it is", group);
    return hg_answer_done(text);
}
