/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups as helioctl shows them.
 */
#include "controlplane/command_file.h"
#include "controlplane/json_text.h"
#include "controlplane/report.h"

struct hg_members hg_config_members_by_file(const struct hg_control_config *config)
{
    struct hg_members members = {.set = {.count = 1, .w = config->quorum_n == 0 ? 1 : config->quorum_w}};

    members.set.nodes[0] = config->node.node;
    for (uint32_t i = 0; i < config->peer_count && config->quorum_n != 0; i++)
        if (config->peers[i].region == config->node.region && config->peers[i].learner == 0 &&
            members.set.count < HG_MEMBERS_MAX)
            members.set.nodes[members.set.count++] = config->peers[i].node;
    return members;
}

struct hg_members hg_config_members(const struct hg_control_config *config, uint32_t group)
{
    for (uint32_t i = 0; i < config->group_count; i++)
        if (config->groups[i].group == group && config->groups[i].members.generation != 0)
            return config->groups[i].members;
    return hg_config_members_by_file(config);
}

bool hg_config_copy_counts(const struct hg_control_config *config, uint32_t group, uint64_t node,
                           uint64_t log)
{
    for (uint32_t i = 0; i < config->group_count; i++)
        if (config->groups[i].group == group)
            return config->groups[i].copies_unknown == 0 &&
                   hg_copies_counts(&config->groups[i].copies, node, log);
    return true;
}

static void hex_set(json_t *object, const char *key, const uint8_t bytes[16])
{
    char text[33];

    for (uint32_t i = 0; i < 16; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", bytes[i]);
    json_object_set_new(object, key, json_string(text));
}

static json_t *group_report(const struct hg_status_group *group)
{
    static const char *const states[] = {"open", "sealing", "sealed", "opening", "unnamed"};
    static const char *const grants[] = {"not needed", "awaited", "held", "lapsed"};
    json_t *object = json_object();

    json_object_set_new(object, "group", hg_json_u64(group->group));
    json_object_set_new(object, "worker", hg_json_u64(group->worker));
    json_object_set_new(object, "state",
                        json_string(group->state < HG_COUNT(states) ? states[group->state] : "unknown"));
    json_object_set_new(object, "epoch_promised", hg_json_u64(group->epoch_promised));
    json_object_set_new(object, "epoch_open", hg_json_u64(group->epoch_open));
    json_object_set_new(object, "stream_count", hg_json_u64(group->streams));
    if (group->regions != 0 && (group->regions & (group->regions - 1)) == 0)
        json_object_set_new(object, "region", hg_json_u64((uint64_t)__builtin_ctzll(group->regions)));
    json_object_set_new(object, "corrupt_ranges", json_string(group->corrupt_writes != 0 ? "known" : "none"));
    json_object_set_new(object, "corrupt_writes", hg_json_u64(group->corrupt_writes));
    json_object_set_new(
        object, "grant",
        json_string(group->grant_state < HG_COUNT(grants) ? grants[group->grant_state] : "unknown"));
    json_object_set_new(object, "grant_left_ms", hg_json_u64(group->grant_left_ns / HG_NS_PER_MS));
    json_object_set_new(object, "members_generation", hg_json_u64(group->members_generation));
    hex_set(object, "log_uuid", group->log_uuid);
    return object;
}

json_t *hg_report_groups(const struct hg_control_status *status, int32_t group)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->group_count; i++) {
        if (group < 0 || status->groups[i].group == (uint32_t)group)
            json_array_append_new(array, group_report(&status->groups[i]));
    }
    return array;
}

static json_t *tail_report(const struct hg_status_stream *stream)
{
    json_t *object = json_object(), *epochs = json_array();

    for (uint32_t i = 0; i < stream->epoch_count; i++)
        json_array_append_new(epochs, json_pack("{s:o, s:o}", "epoch", hg_json_u64(stream->epochs[i].epoch),
                                                "lsn", hg_json_u64(stream->epochs[i].lsn)));
    json_object_set_new(object, "group", hg_json_u64(stream->group));
    json_object_set_new(object, "worker", hg_json_u64(stream->worker));
    json_object_set_new(object, "stream", hg_json_text(stream->name));
    json_object_set_new(object, "kind", hg_json_text(hg_config_stream_kind_text(stream->kind)));
    json_object_set_new(
        object, "epoch_last",
        hg_json_u64(stream->epoch_count == 0 ? 0 : stream->epochs[stream->epoch_count - 1].epoch));
    json_object_set_new(object, "lsn_durable", hg_json_u64(stream->lsn_durable));
    json_object_set_new(object, "behind",
                        json_string(stream->tail_unknown == 0   ? "nothing"
                                    : stream->tail_unknown == 1 ? "unknown"
                                                                : "lost"));
    hex_set(object, "chain", stream->chain);
    json_object_set_new(object, "epochs", epochs);
    return object;
}

json_t *hg_report_tails(const struct hg_control_status *status, int32_t group)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->stream_count; i++) {
        if (group < 0 || status->streams[i].group == (uint32_t)group)
            json_array_append_new(array, tail_report(&status->streams[i]));
    }
    return array;
}
