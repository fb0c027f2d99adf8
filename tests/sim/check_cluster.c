/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants of epochs: a promise stands (I6), a sealed tail does not move (I4), an epoch is written
 * under only where the metastore gave it to (I2).
 */
#include "dataplane/stream/seal.h"
#include "tests/sim/cluster.h"
#include "tests/sim/scenario.h"

static int letter_of(const struct sim_node *node)
{
    return (int)('A' + node->index);
}

static const struct hg_stream_state *stream_of(struct sim_node *node, const struct sim_flow *flow)
{
    struct hg_streams *streams = node->workers[0].worker->streams;
    int32_t slot = hg_streams_find(streams, flow->stream);
    return slot < 0 ? NULL : hg_streams_at(streams, (uint32_t)slot);
}

static bool is_of_region(const struct sim_node *node, uint32_t flow)
{
    const struct sim_plan *plan = node->world->plan;
    return plan->nodes[plan->flows[flow].origin].region == node->plan->region;
}

void hg_sim_check_sealed(struct sim_node *node, uint64_t epoch)
{
    struct sim_world *world = node->world;
    world->cluster->nodes[node->index].sealed_epoch = epoch;
    world->cluster->nodes[node->index].epoch_promised =
        hg_max_u64(world->cluster->nodes[node->index].epoch_promised, epoch);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        const struct hg_stream_state *s = stream_of(node, &world->flows[i]);
        world->cluster->nodes[node->index].tails[i] = s == NULL ? 0 : s->lsn_durable;
        if (is_of_region(node, i) && world->plan->flows[i].origin == node->index)
            world->flows[i].is_open = false; /* its producer is told, and attaches again */
    }
}

static void tails_check(struct sim_node *node)
{
    struct sim_world *world = node->world;
    const struct sim_cluster *cluster = world->cluster;
    uint64_t sealed = cluster->nodes[node->index].sealed_epoch;
    if (sealed == 0 || cluster->epoch_opened[node->plan->region] >= sealed)
        return;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        const struct hg_stream_state *s = is_of_region(node, i) ? stream_of(node, &world->flows[i]) : NULL;
        if (s != NULL && s->lsn_durable != cluster->nodes[node->index].tails[i])
            hg_sim_violation(world, "sealed_tail",
                             "node %c was sealed under epoch %llu with s%u to %llu, and has it to %llu",
                             letter_of(node), (unsigned long long)sealed, i,
                             (unsigned long long)cluster->nodes[node->index].tails[i],
                             (unsigned long long)s->lsn_durable);
    }
}

void hg_sim_check_epochs(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_cluster *cluster = world->cluster;
    if (node->workers[0].worker->state != HG_WORKER_RUNNING)
        return;
    const struct hg_group *group =
        hg_streams_group(node->workers[0].worker->streams, hg_sim_group_of(world->plan, node->plan->region));
    uint64_t *promised = &cluster->nodes[node->index].epoch_promised;
    uint64_t opened = cluster->epoch_opened[node->plan->region];
    if (group->epoch_promised < *promised)
        hg_sim_violation(world, "promise_lost", "node %c had promised epoch %llu, now %llu", letter_of(node),
                         (unsigned long long)*promised, (unsigned long long)group->epoch_promised);
    if (group->epoch_open > HG_EPOCH_FIRST && group->epoch_open > opened)
        hg_sim_violation(world, "epoch_of_nobody", "node %c writes under epoch %llu, the metastore's is %llu",
                         letter_of(node), (unsigned long long)group->epoch_open, (unsigned long long)opened);
    *promised = group->epoch_promised;
    world->sometimes[SIM_promises_after_restart] += *promised > HG_EPOCH_FIRST && node->boots_count > 1;
    tails_check(node);
}

bool hg_sim_check_cluster_event(struct sim_node *node, const struct hg_event *event)
{
    switch (event->type) {
    case HG_EVENT_group_sealed:
    case HG_EVENT_group_open:
        return true;
    case HG_EVENT_stream_refused: /* a taker promised a newer epoch than the writer has */
        node->world->sometimes[SIM_writers_deposed]++;
        return event->a == HG_WIRE_REFUSED_EPOCH;
    case HG_EVENT_stream_refused_batch:
        return event->b == HG_SEALED_EPOCH;
    default:
        return false;
    }
}
