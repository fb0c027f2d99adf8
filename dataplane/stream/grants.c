/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/grants.h"
#include "dataplane/stream/streams_internal.h"

#include <stdio.h>

static uint64_t boottime_ns(const struct hg_streams *streams)
{
    return streams->config.clock->boottime_ns(streams->config.clock);
}

static bool is_needed(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    return streams->grants_required && s->origin_local && s->kind != 0;
}

bool hg_streams_may_tell(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    return !is_needed(streams, s) ||
           hg_grant_may_tell(&streams->grants[s->group], hg_streams_group_of(streams, s)->epoch_open,
                             boottime_ns(streams));
}

bool hg_streams_may_append(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    return !is_needed(streams, s) ||
           hg_grant_may_append(&streams->grants[s->group], hg_streams_group_of(streams, s)->epoch_open,
                               streams->boottime_ns);
}

bool hg_streams_was_granted(const struct hg_streams *streams, const struct hg_stream_state *s)
{
    return !is_needed(streams, s) || streams->grants[s->group].epoch != 0;
}

void hg_streams_grants_require(struct hg_streams *streams, bool required)
{
    if (streams->grants_required == required)
        return;
    streams->grants_required = required;
    streams->boottime_ns = boottime_ns(streams);
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        hg_streams_committed_move(streams, &streams->table[slot]);
        hg_streams_moved(streams, &streams->table[slot]);
    }
}

enum hg_grant_reason hg_streams_grant(struct hg_streams *streams, uint32_t group, uint64_t epoch,
                                      uint64_t deadline_ns)
{
    enum hg_grant_reason reason = group < HG_GROUPS_MAX ? hg_grant_take(&streams->grants[group], epoch,
                                                                        deadline_ns, boottime_ns(streams))
                                                        : HG_GRANT_LIMIT;
    streams->grant_counts[reason]++;
    return reason;
}

/* Who may write, and what may be told, is another: positions are told anew. */
static void grant_turned(struct hg_streams *streams, uint32_t group, enum hg_grant_turn turn)
{
    char subject[12];
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < streams->count; slot++) {
        struct hg_stream_state *s = &streams->table[slot];
        if (s->group != group || !is_needed(streams, s))
            continue;
        count++;
        hg_streams_committed_move(streams, s);
        hg_streams_moved(streams, s);
    }
    if (count == 0 || turn == HG_GRANT_FIRST)
        return;
    snprintf(subject, sizeof(subject), "%u", group);
    hg_event_put(streams->config.events,
                 turn == HG_GRANT_LAPSED ? HG_EVENT_grant_lapsed : HG_EVENT_grant_back, subject,
                 streams->grants[group].epoch, 0);
}

void hg_streams_grants_turn(struct hg_streams *streams)
{
    if (!streams->grants_required)
        return;
    uint64_t since_ns = streams->boottime_ns;
    streams->boottime_ns = boottime_ns(streams);
    for (uint32_t group = 0; group < HG_GROUPS_MAX; group++) {
        if (streams->grants[group].epoch == 0)
            continue;
        enum hg_grant_turn turn = hg_grant_turn(&streams->grants[group], streams->groups[group].epoch_open,
                                                since_ns, streams->boottime_ns);
        if (turn != HG_GRANT_SAME)
            grant_turned(streams, group, turn);
    }
}

bool hg_streams_grants_required(const struct hg_streams *streams)
{
    return streams->grants_required;
}

const struct hg_grant *hg_streams_grant_of(const struct hg_streams *streams, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return &streams->grants[group];
}

uint64_t hg_streams_grant_left_ns(const struct hg_streams *streams, uint32_t group)
{
    hg_assert(group < HG_GROUPS_MAX);
    return hg_grant_left_ns(&streams->grants[group], streams->groups[group].epoch_open, streams->boottime_ns);
}

const uint64_t *hg_streams_grant_counts(const struct hg_streams *streams)
{
    return streams->grant_counts;
}
