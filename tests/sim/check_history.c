/* SPDX-License-Identifier: Apache-2.0
 *
 * The history of what clients did (tests/sim/history.h), of each stream one. A producer attaches, which tells
 * it the stream's end, and appends from there on; what it appended before and lies behind that end is gone
 * for good. Each attachment marks its frames, so that an entry and its second try are two. It is acknowledged
 * when it is committed. Readers are those that walk each node's log.
 */
#include "tests/sim/sim.h"

#include <stdlib.h>

#define MARK_SHIFT    32
#define VARIANT_SHIFT 56
#define VARIANT_MASK  0xffu
#define MARK_MAX      ((1u << 24) - 1)

void hg_sim_history_begin(struct sim_flow *flow)
{
    flow->history = hg_sim_history_make();
}

void hg_sim_history_end(struct sim_flow *flow)
{
    hg_sim_history_free(flow->history);
    flow->history = NULL;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        free(flow->clients[i].live);
}

/* What it lies under in all histories: who made it, and where. */
static uint64_t id_of(const struct sim_flow *flow, const struct hg_frame *frame)
{
    return frame->transaction_id >> MARK_SHIFT << MARK_SHIFT | (frame->lsn - flow->plan->lsn_start + 1);
}

uint64_t hg_sim_client_mark(const struct sim_flow *flow)
{
    return (uint64_t)flow->attempt << MARK_SHIFT;
}

void hg_sim_client_attached(struct sim_node *node, struct sim_flow *flow, uint64_t lsn_end)
{
    struct sim_world *world = node->world;
    struct sim_client *client = &flow->clients[node->index];
    flow->attempt++;
    hg_assert(flow->attempt <= MARK_MAX);
    if (flow->history == NULL)
        return;
    hg_sim_history_end_told(flow->history, world->now_ns, lsn_end);
    for (; client->live_count > client->acked_count; client->live_count--) {
        const struct sim_live *last = &client->live[client->live_count - 1];
        if (last->lsn + last->span <= lsn_end)
            break;
        hg_sim_history_refuse(flow->history, last->append);
        world->sometimes[SIM_unheard_appends_gone]++;
    }
    world->sometimes[SIM_unheard_appends_there] += client->live_count - client->acked_count;
}

static uint64_t epoch_at(const struct hg_stream_state *s, uint64_t lsn)
{
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < s->history.count; i++)
        if (s->history.starts[i].lsn <= lsn)
            epoch = s->history.starts[i].epoch;
    return epoch;
}

void hg_sim_client_attached_epochs(struct sim_node *node, struct sim_flow *flow,
                                   const struct hg_stream_state *s, uint64_t lsn_end, bool is_newest)
{
    struct sim_world *world = node->world;
    struct sim_client *client = &flow->clients[node->index];
    uint32_t kept = client->acked_count;
    flow->attempt++;
    hg_assert(flow->attempt <= MARK_MAX);
    if (flow->history == NULL)
        return;
    if (is_newest)
        hg_sim_history_end_told(flow->history, world->now_ns, lsn_end);
    for (uint32_t i = kept; i < client->live_count; i++) {
        const struct sim_live *live = &client->live[i];
        uint64_t epoch = epoch_at(s, live->lsn);
        bool is_gone = live->lsn + live->span > lsn_end || (epoch & VARIANT_MASK) != live->variant;
        if (is_gone &&
            (epoch != 0 || live->lsn >= lsn_end)) /* 0: that epoch is forgotten, so it is not told */
            hg_sim_history_refuse(flow->history, live->append);
        world->sometimes[SIM_unheard_appends_gone] += is_gone;
        if (!is_gone)
            client->live[kept++] = *live;
    }
    client->live_count = kept;
    world->sometimes[SIM_unheard_appends_there] += kept - client->acked_count;
}

void hg_sim_client_appended(struct sim_node *node, struct sim_flow *flow, const struct hg_frame *frame)
{
    struct sim_client *client = &flow->clients[node->index];
    if (flow->history == NULL)
        return;
    if (client->live_count == client->live_max) {
        client->live_max = client->live_max == 0 ? 64 : client->live_max * 2;
        client->live = realloc(client->live, client->live_max * sizeof(client->live[0]));
        hg_assert(client->live != NULL);
    }
    uint32_t append =
        hg_sim_history_append(flow->history, node->world->now_ns, node->index, id_of(flow, frame));
    client->live[client->live_count++] =
        (struct sim_live){.lsn = frame->lsn,
                          .span = frame->span,
                          .append = append,
                          .variant = (uint32_t)(frame->transaction_id >> VARIANT_SHIFT)};
}

void hg_sim_client_acked(struct sim_node *node, struct sim_flow *flow, uint64_t lsn_end)
{
    struct sim_client *client = &flow->clients[node->index];
    for (; flow->history != NULL && client->acked_count < client->live_count; client->acked_count++) {
        const struct sim_live *next = &client->live[client->acked_count];
        if (next->lsn + next->span > lsn_end)
            return;
        hg_sim_history_ack(flow->history, node->world->now_ns, next->append, next->lsn, next->span);
    }
}

void hg_sim_reader_frame(struct sim_node *node, struct sim_flow *flow, const struct hg_frame *frame)
{
    if (flow->history != NULL)
        hg_sim_history_read(flow->history, node->world->now_ns, frame->lsn, frame->span, id_of(flow, frame));
}

void hg_sim_reader_batch(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header)
{
    const struct sim_place *place = &flow->places[node->index];
    if (flow->history == NULL)
        return;
    bool is_anew = place->anew_lsn != 0 && header->lsn_first == place->anew_lsn;
    if (place->read_next == 0 || is_anew)
        hg_sim_history_reader_restart(flow->history, node->index,
                                      flow->plan->consumer && !place->rolled_back && !is_anew);
    hg_sim_history_read_range(flow->history, node->index, header->lsn_first, header->lsn_end);
}

static void judge(struct sim_world *world, struct sim_flow *flow, uint32_t readers_whole)
{
    struct sim_history_counts counts;
    struct sim_verdict verdict = hg_sim_history_judge(flow->history, readers_whole);
    hg_sim_history_counts_get(flow->history, &counts);
    world->sometimes[SIM_appends_judged] += counts.acked;
    if (verdict.anomaly != SIM_ANOMALY_NONE)
        hg_sim_violation(world, "history", "s%u at %llu, %s: %s (entry %llx, other entry %llx)", flow->index,
                         (unsigned long long)verdict.position, hg_sim_anomaly_name(verdict.anomaly),
                         hg_sim_anomaly_text(verdict.anomaly), (unsigned long long)verdict.id,
                         (unsigned long long)verdict.other_id);
}

void hg_sim_history_void(struct sim_node *node, bool is_old)
{
    struct sim_world *world = node->world;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        if (flow->history == NULL)
            continue;
        hg_sim_history_reader_void(flow->history, node->index);
        if (!is_old || (flow->plan->origin != node->index && world->failover == NULL))
            continue;
        judge(world, flow, 0);
        hg_sim_history_free(flow->history);
        flow->history = NULL;
    }
}

void hg_sim_check_histories(struct sim_world *world)
{
    if (world->over) /* the newest commits are rotten, before anything proves that they were (check.c) */
        return;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        uint32_t whole = 0;
        for (uint32_t node = 0; node < world->plan->node_count && world->whole; node++)
            if (hg_sim_is_required(world, flow, node) && flow->places[node].read_end == flow->lsn_produced)
                whole |= 1u << node;
        if (flow->history != NULL && world->plan->nodes[flow->plan->origin].lies == 0)
            judge(world, flow, whole);
    }
}
