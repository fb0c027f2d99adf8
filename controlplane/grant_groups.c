/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/grant_groups.h"

uint64_t hg_grant_groups_configured(const struct hg_control_config *config)
{
    uint64_t groups = 0;

    for (uint32_t i = 0; i < config->stream_count; i++)
        if (hg_config_stream_is_ours(config, &config->streams[i]))
            groups |= UINT64_C(1) << config->streams[i].group;
    return groups;
}

/* A log may still have what was taken out of the command file. */
static bool is_configured(const struct hg_control_config *config, const struct hg_status_stream *shown)
{
    for (uint32_t i = 0; i < config->stream_count; i++) {
        const struct hg_config_stream *stream = &config->streams[i];

        if (stream->stream == shown->stream)
            return stream->region == config->node.region && stream->region == shown->region &&
                   stream->group == shown->group;
    }
    return false;
}

/* Not while this node has begun an epoch in its logs and the metastore does not say so yet: each refusal
 * would cost a third of the grant's time. */
static bool is_open(const struct hg_control_status *status, uint32_t group)
{
    for (uint32_t i = 0; i < status->group_count; i++) {
        const struct hg_status_group *row = &status->groups[i];

        if (row->group == group && row->streams != 0 && row->state != HG_STATUS_GROUP_OPEN &&
            row->state != HG_STATUS_GROUP_UNNAMED)
            return false;
    }
    return true;
}

uint64_t hg_grant_groups(const struct hg_control_config *config, const struct hg_control_status *status)
{
    uint64_t groups = hg_grant_groups_configured(config);

    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct hg_status_stream *shown = &status->streams[i];

        if (shown->writes != 0 && shown->group < HG_CONTROL_GROUPS_MAX && (groups >> shown->group & 1) == 0 &&
            is_configured(config, shown) && is_open(status, shown->group))
            groups |= UINT64_C(1) << shown->group;
    }
    return groups;
}

bool hg_grant_group_was_sealed(const struct hg_control_status *status, uint32_t group)
{
    for (uint32_t i = 0; i < status->group_count; i++)
        if (status->groups[i].group == group &&
            (status->groups[i].epoch_promised != 0 || status->groups[i].epoch_open > 1))
            return true;
    return false;
}

bool hg_grant_may_make(const struct hg_control_config *config, const struct hg_control_status *status,
                       uint32_t group)
{
    return !hg_grant_group_was_sealed(status, group) &&
           (hg_grant_groups_configured(config) >> group & 1) != 0;
}
