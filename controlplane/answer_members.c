/* SPDX-License-Identifier: Apache-2.0
 *
 * Who keeps the copies of a group: orders of helioctl, what the metastore says given to the dataplane, and
 * the steps of a change, driven where the group is written.
 */
#include "controlplane/grant_groups.h"
#include "controlplane/members.h"
#include "controlplane/report.h"
#include "controlplane/server.h"

#include <errno.h>
#include <stdlib.h>

#define MEMBERS_TICK_NS (500 * HG_NS_PER_MS)

/* ---- what the metastore says, given to the dataplane ---- */

static struct hg_config_group *group_config(struct hg_control_config *config, uint32_t group)
{
    for (uint32_t i = 0; i < config->group_count; i++)
        if (config->groups[i].group == group)
            return &config->groups[i];
    if (config->group_count == HG_CONTROL_GROUPS_MAX)
        return NULL;
    config->groups[config->group_count] = (struct hg_config_group){.group = group};
    return &config->groups[config->group_count++];
}

static bool is_known(const struct hg_control_config *config, uint32_t group)
{
    for (uint32_t i = 0; i < config->group_count; i++)
        if (config->groups[i].group == group)
            return true;
    return false;
}

/* True when the dataplane is to be told. What was said once holds where the record says nothing of it any
 * more: only a store that was made anew does that. */
static bool group_known(struct hg_server *server, uint32_t group, const struct hg_metastore_record *record)
{
    struct hg_config_group *known = group_config(&server->config->wanted, group);

    if (known == NULL)
        return false;
    struct hg_config_group before = *known;

    if (record->members.generation != 0)
        known->members = record->members;
    if (record->copies.count != 0)
        known->copies = record->copies;
    known->copies_unknown = 0;
    known->epoch = hg_max_u64(known->epoch, record->epoch);
    return memcmp(&before, known, sizeof(before)) != 0;
}

/* Who counts was not read since this process began: until then nobody else does. */
static bool group_unknown(struct hg_server *server, uint32_t group)
{
    struct hg_control_config *config = &server->config->wanted;
    struct hg_config_group *known =
        config->quorum_n > 1 && !is_known(config, group) ? group_config(config, group) : NULL;

    if (known == NULL)
        return false;
    known->copies_unknown = 1;
    return true;
}

static uint64_t node_of_peer(const struct hg_server *server, uint32_t status_peer)
{
    int peer = hg_config_peer_find(&server->config->wanted, server->status.peers[status_peer].name);

    return peer < 0 ? 0 : server->config->wanted.peers[peer].node;
}

/* Of all logs of this node that have the group. */
static struct hg_members_facts facts_of(struct hg_server *server, uint32_t group,
                                        const struct hg_members *members)
{
    struct hg_members_facts facts = {
        .node = server->config->wanted.node.node, .generation = UINT64_MAX, .is_synced = true};
    uint64_t caught_up = UINT64_MAX;
    bool any = false;

    hg_link_status_read(server);
    for (uint32_t i = 0; i < server->status.group_count; i++) {
        const struct hg_status_group *row = &server->status.groups[i];

        if (row->group != group || row->streams == 0)
            continue;
        any = true;
        facts.generation = hg_min_u64(facts.generation, row->members_generation);
        facts.is_synced &= row->members_synced != 0;
        caught_up &= row->members_caught_up;
    }
    if (!any || !hg_link_usable(server))
        return (struct hg_members_facts){0};
    for (uint32_t i = 0; i < server->status.peer_count; i++)
        if ((caught_up & UINT64_C(1) << i) != 0)
            hg_members_caught_up(&facts, members, node_of_peer(server, i));
    return facts;
}

static void drive(struct hg_server *server, uint32_t group, const struct hg_metastore_record *record)
{
    struct hg_metastore_key key = hg_server_group_key(server, group);
    struct hg_metastore_record wanted = *record, found;
    struct hg_members_facts facts = facts_of(server, group, &record->members);
    char text[HG_METASTORE_TEXT_BYTES];

    if (record->state != HG_METASTORE_OPEN || record->node != server->config->wanted.node.node ||
        hg_members_next(&record->members, &facts, &wanted.members) != HG_MEMBERS_STEP)
        return;
    /* Lost to somebody else: read again with the next tick. */
    if (server->metastore->swap(server->metastore, &key, record->revision, &wanted, &found) != 0)
        return;
    hg_members_text(&found.members, text, sizeof(text));
    hg_event_addf(&server->events, HG_SEVERITY_INFO, "members_step", "group %u: %s", group, text);
}

void hg_members_tick(struct hg_server *server, uint64_t now_ns)
{
    const struct hg_control_config *config = &server->config->wanted;
    uint64_t seen = 0;
    bool is_new = false;

    if (now_ns < server->members_ns || server->change.request != 0)
        return;
    server->members_ns = now_ns + MEMBERS_TICK_NS;
    hg_link_status_read(server);
    for (uint32_t i = 0; i < config->stream_count; i++) {
        uint32_t group = config->streams[i].group;
        struct hg_metastore_record record;
        struct hg_metastore_key key = hg_server_group_key(server, group);

        if (config->streams[i].region != config->node.region || group >= HG_CONTROL_GROUPS_MAX ||
            (seen & UINT64_C(1) << group) != 0)
            continue;
        seen |= UINT64_C(1) << group;
        if (server->metastore->read(server->metastore, &key, &record) != 0) {
            is_new |= group_unknown(server, group);
            continue; /* said when somebody orders something: what was read last goes on */
        }
        if (record.members.generation != 0 || record.copies.count != 0 || record.epoch > 1 ||
            is_known(config, group))
            is_new |= group_known(server, group, &record);
        if (record.members.phase != HG_MEMBERS_STABLE)
            drive(server, group, &record);
        hg_failover_run_anew(server, group, &record, now_ns);
        if (config->quorum_n > 1 || record.members.generation != 0)
            hg_copies_tick(server, group, &key, &record);
    }
    if (is_new && hg_link_usable(server))
        (void)hg_link_apply(server); /* a full ring: the link gives it again */
}

/* ---- orders ---- */

static json_t *nodes_json(const uint64_t *nodes, uint32_t count)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer((json_int_t)nodes[i]));
    return array;
}

static json_t *members_json(struct hg_server *server, uint32_t group, const struct hg_members *members)
{
    static const char *const phases[] = {"stable", "catching-up", "joint"};
    struct hg_members_facts facts = facts_of(server, group, members);
    struct hg_members next;
    const char *progress = hg_members_verdict_text(hg_members_next(members, &facts, &next));

    return json_pack("{s:i, s:I, s:s, s:i, s:o, s:i, s:o, s:o, s:I, s:s}", "group", (int)group, "generation",
                     (json_int_t)members->generation, "phase", phases[members->phase], "w",
                     (int)members->set.w, "members", nodes_json(members->set.nodes, members->set.count),
                     "other_w", (int)members->other.w, "other",
                     nodes_json(members->other.nodes, members->other.count), "learners",
                     nodes_json(members->learners, members->learner_count), "generation_here",
                     (json_int_t)facts.generation, "progress", progress);
}

/* Which logs count, as the metastore was last read. */
static json_t *copies_json(const struct hg_control_config *config, uint32_t group)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < config->group_count; i++) {
        const struct hg_copies *copies = &config->groups[i].copies;

        for (uint32_t k = 0; k < copies->count && config->groups[i].group == group; k++) {
            json_t *logs = json_array();

            for (uint32_t log = 0; log < copies->nodes[k].log_count; log++)
                json_array_append_new(
                    logs, json_sprintf("%016llx", (unsigned long long)copies->nodes[k].logs[log]));
            json_array_append_new(
                array, json_pack("{s:I, s:o}", "node", (json_int_t)copies->nodes[k].node, "logs", logs));
        }
    }
    return array;
}

static json_t *answer_members(struct hg_server *server, uint32_t group, const struct hg_members *members,
                              const char *prefix)
{
    char text[HG_METASTORE_TEXT_BYTES], line[HG_METASTORE_TEXT_BYTES + 64];

    hg_members_text(members, text, sizeof(text));
    snprintf(line, sizeof(line), "%sgroup %u: %s", prefix, group, text);
    json_t *answer = hg_answer_done(line);

    json_object_set_new(json_object_get(answer, "data"), "members",
                        json_pack("[o]", members_json(server, group, members)));
    json_object_set_new(json_object_get(answer, "data"), "copies",
                        copies_json(&server->config->wanted, group));
    return answer;
}

/* A node by its name or its number. 0: there is none of that name. */
static uint64_t node_named(const struct hg_server *server, const char *name)
{
    const struct hg_control_config *config = &server->config->wanted;
    int peer = hg_config_peer_find(config, name);
    char *end;

    if (peer >= 0)
        return config->peers[peer].node;
    if (strcmp(config->node.name, name) == 0)
        return config->node.node;
    uint64_t node = strtoull(name, &end, 10);

    return *end == '\0' ? node : 0;
}

static json_t *order_check(struct hg_server *server, uint32_t group, enum hg_members_order what,
                           uint64_t gone, const struct hg_metastore_record *record)
{
    const struct hg_control_config *config = &server->config->wanted;

    if (record->revision != 0 && (record->state != HG_METASTORE_OPEN || record->node != config->node.node))
        return hg_answer_error(HG_API_REFUSED,
                               "group %u is %s node %llu: change its members where it is written", group,
                               record->state == HG_METASTORE_OPEN ? "written by" : "sealed, last by",
                               (unsigned long long)record->node);
    hg_link_status_read(server);
    if (record->revision == 0 && hg_grant_group_was_sealed(&server->status, group))
        return hg_answer_error(
            HG_API_REFUSED,
            "group %u has been sealed before, and the metastore knows nothing of it: has it been "
            "replaced? Seal and open the group with a higher epoch",
            group);
    /* Without a record nobody took the group over, and the command file says who writes. */
    for (uint32_t i = 0; i < config->stream_count && record->revision == 0; i++)
        if (config->streams[i].group == group && !hg_config_stream_is_ours(config, &config->streams[i]))
            return hg_answer_error(
                HG_API_REFUSED,
                "stream %s of group %u does not originate here: change its members where it "
                "is written",
                config->streams[i].name, group);
    if ((what == HG_MEMBERS_REMOVE || what == HG_MEMBERS_REPLACE) && gone == config->node.node)
        return hg_answer_error(HG_API_REFUSED,
                               "node %llu writes group %u: another node has to write it before this one goes",
                               (unsigned long long)gone, group);
    return NULL;
}

/* What somebody else wrote meanwhile, a grant say, may stand beside it: unless it is about the members. */
static int swap(struct hg_server *server, uint32_t group, struct hg_metastore_record *record,
                const struct hg_members *members)
{
    struct hg_metastore_key key = hg_server_group_key(server, group);
    const struct hg_metastore_record before = *record;
    int rc = -ESTALE;

    while (rc == -ESTALE) {
        struct hg_metastore_record wanted = *record;

        if (memcmp(&record->members, &before.members, sizeof(before.members)) != 0 ||
            (before.revision != 0 && (record->node != before.node || record->state != before.state))) {
            snprintf(server->metastore->problem, sizeof(server->metastore->problem),
                     "somebody else changed group %u just now: look at it again", group);
            return rc;
        }
        hg_metastore_record_first(&wanted, server->config->wanted.node.node);
        wanted.members = *members;
        rc = server->metastore->swap(server->metastore, &key, record->revision, &wanted, record);
    }
    return rc;
}

static json_t *order(struct hg_server *server, uint32_t group, enum hg_members_order what, uint64_t node,
                     uint64_t node_new, bool dry_run)
{
    struct hg_metastore_key key = hg_server_group_key(server, group);
    struct hg_metastore_record record;
    struct hg_members first, next;

    if (server->metastore->read(server->metastore, &key, &record) != 0)
        return hg_answer_error(HG_API_REFUSED, "%s", server->metastore->problem);
    json_t *refusal = order_check(server, group, what, node, &record);

    if (refusal != NULL)
        return refusal;
    first = record.members;
    if (first.generation == 0) {
        first = hg_config_members_by_file(&server->config->wanted);
        first.generation = 1;
    }
    enum hg_members_reason reason = hg_members_order(&first, what, node, node_new, &next);

    if (reason == HG_MEMBERS_OK)
        reason = hg_members_change(&first, &next);
    if (reason != HG_MEMBERS_OK)
        return hg_answer_error(HG_API_REFUSED, "group %u: %s; see 'group members %u show'", group,
                               hg_members_reason_text(reason), group);
    if (dry_run)
        return answer_members(server, group, &next, "would make ");
    /* What the command file says becomes the first generation; from then on it is data. */
    if ((record.members.generation == 0 && swap(server, group, &record, &first) != 0) ||
        swap(server, group, &record, &next) != 0)
        return hg_answer_error(HG_API_REFUSED, "%s", server->metastore->problem);
    server->members_ns = 0;
    hg_event_addf(&server->events, HG_SEVERITY_INFO, "members_ordered", "group %u: generation %llu", group,
                  (unsigned long long)record.members.generation);
    return answer_members(server, group, &record.members, "");
}

static json_t *show(struct hg_server *server, uint32_t group)
{
    struct hg_metastore_key key = hg_server_group_key(server, group);
    struct hg_metastore_record record;

    if (server->metastore->read(server->metastore, &key, &record) != 0)
        return hg_answer_error(HG_API_REFUSED, "%s", server->metastore->problem);
    if (record.members.generation == 0)
        record.members = hg_config_members_by_file(&server->config->wanted);
    return answer_members(server, group, &record.members, "");
}

json_t *hg_answer_group_members(struct hg_server *server, const struct hg_command *command)
{
    static const struct {
        enum hg_command_id id;
        enum hg_members_order order;
    } orders[] = {{HG_CMD_GROUP_MEMBERS_ADD, HG_MEMBERS_ADD},
                  {HG_CMD_GROUP_MEMBERS_REMOVE, HG_MEMBERS_REMOVE},
                  {HG_CMD_GROUP_MEMBERS_REPLACE, HG_MEMBERS_REPLACE},
                  {HG_CMD_GROUP_MEMBERS_LEARNER, HG_MEMBERS_LEARNER},
                  {HG_CMD_GROUP_MEMBERS_CANCEL, HG_MEMBERS_CANCEL}};
    uint32_t group = (uint32_t)hg_command_value(command, "GROUP")->number, which = 0;
    const struct hg_value *name = hg_command_value(command, "NODE"),
                          *name_new = hg_command_value(command, "NEW");
    uint64_t node = name == NULL ? 0 : node_named(server, name->text),
             node_new = name_new == NULL ? 0 : node_named(server, name_new->text);

    if (command->grammar->id == HG_CMD_GROUP_MEMBERS_SHOW)
        return show(server, group);
    while (which + 1 < HG_COUNT(orders) && orders[which].id != command->grammar->id)
        which++;
    if ((name != NULL && node == 0) || (name_new != NULL && node_new == 0))
        return hg_answer_error(HG_API_REFUSED,
                               "there is no node \"%s\": give the name of a peer, or a number",
                               node == 0 ? name->text : name_new->text);
    return order(server, group, orders[which].order, node, node_new,
                 hg_command_value(command, "dry-run") != NULL);
}
