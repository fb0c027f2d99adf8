/* SPDX-License-Identifier: Apache-2.0
 *
 * Which logs count, in scenario `failover`: as controlplane/copies_run.c does it with the production rules
 * (controlplane/copies.h), before the metastore in memory.
 */
#include "controlplane/copies.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "dataplane/wal/log_internal.h"
#include "tests/sim/failover.h"

static void given(struct sim_node *node, const struct hg_metastore_record *record)
{
    struct hg_config_group *group = &node->config->groups[0], before = *group;
    if (node->config_pending > 0)
        return;
    group->group = SIM_FAILOVER_GROUP;
    group->copies = record->copies;
    if (record->members.generation != 0)
        group->members = record->members;
    group->copies_unknown = 0;
    group->epoch = hg_max_u64(group->epoch, record->epoch);
    if (memcmp(group, &before, sizeof(before)) == 0)
        return;
    node->config->group_count = 1;
    hg_sim_config_apply(node);
}

void hg_sim_copies_forget(struct sim_node *node)
{
    node->config->group_count = 1;
    memset(&node->config->groups[0], 0, sizeof(node->config->groups[0]));
    node->config->groups[0].group = SIM_FAILOVER_GROUP;
    node->config->groups[0].copies_unknown = 1;
}

/* False: the node does not write all of the group. */
static bool seen_take(struct sim_node *node, const struct hg_members *members, struct hg_copies_seen *seen)
{
    struct sim_world *world = node->world;
    struct hg_streams *streams = node->workers[0].worker->streams;
    memset(seen, 0, sizeof(*seen));
    seen->own.node = node->index + 1;
    seen->count = world->plan->quorum_n - 1;
    (void)hg_copies_seen_add(&seen->own, hg_copies_id(node->workers[0].worker->log->geometry.log_uuid));
    for (uint32_t peer = 0; peer < seen->count; peer++) {
        seen->nodes[peer].node = peer < node->index ? peer + 1 : peer + 2;
        uint64_t id = seen->nodes[peer].node;
        seen->nodes[peer].is_voter = members->generation == 0 || hg_members_is_voter(members, id);
        seen->nodes[peer].caught_up = hg_streams_copies_caught_up(streams, SIM_FAILOVER_GROUP, peer);
    }
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        int32_t slot = hg_streams_find(streams, world->flows[i].stream);
        if (slot < 0 || !hg_streams_at(streams, (uint32_t)slot)->origin_local)
            return false;
        const struct hg_stream_state *s = hg_streams_at(streams, (uint32_t)slot);
        for (uint32_t peer = 0; peer < seen->count; peer++)
            if (s->copy_peer[peer] != 0)
                (void)hg_copies_seen_add(&seen->nodes[peer], s->copy_peer[peer]);
    }
    return !hg_group_is_sealed(hg_streams_group(streams, SIM_FAILOVER_GROUP));
}

bool hg_sim_copy_counts(const struct sim_node *node, const struct hg_metastore_record *record)
{
    return hg_copies_counts(&record->copies, node->index + 1,
                            hg_copies_id(node->workers[0].worker->log->geometry.log_uuid));
}

void hg_sim_copies_poll(struct sim_node *node, const struct hg_metastore_key *key)
{
    struct hg_metastore *store = node->world->failover->store;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    struct hg_metastore_record record, wanted, found;
    struct hg_copies_seen seen;
    (void)store->read(store, key, &record);
    if (record.copies.count != 0 || record.epoch > HG_EPOCH_FIRST || node->config->group_count != 0)
        given(node, &record);
    bool is_first = record.state == HG_METASTORE_NONE && group->epoch_promised == 0 &&
                    group->epoch_open <= HG_EPOCH_FIRST;
    bool is_ours = record.state == HG_METASTORE_OPEN && record.node == node->index + 1;
    wanted = record;
    if ((!is_first && !is_ours) || !seen_take(node, &record.members, &seen) ||
        !hg_copies_next(&record.copies, &seen, &wanted.copies))
        return;
    if (is_first) {
        wanted.epoch = HG_EPOCH_FIRST;
        wanted.node = node->index + 1;
        wanted.state = HG_METASTORE_OPEN;
    }
    if (store->swap(store, key, record.revision, &wanted, &found) != 0)
        return;
    node->world->sometimes[SIM_copies_named]++;
    hg_sim_check_record(node->world, &found);
}
