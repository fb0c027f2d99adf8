/* SPDX-License-Identifier: Apache-2.0
 *
 * What a liar may cost an honest node, and no more: the memory that its lane was given, events at the rate
 * that is allowed, and a counter for whatever is refused.
 */
#include "dataplane/transport/lane_state.h"
#include "tests/sim/liar.h"

static void memory_check(struct sim_node *node, const struct hg_peer *peer, struct hg_lane *lane)
{
    const struct hg_reassembly *r = &lane->reassembly;
    const struct hg_fec_decode *fec = &lane->fec_decode;
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    uint64_t blocks_bytes = (uint64_t)(r->block_count - r->block_free_count) * HG_WIRE_BLOCK_BYTES;
    uint64_t fec_used = 0;
    for (uint32_t i = 0; i < HG_FEC_GROUPS; i++)
        fec_used += (uint32_t)(__builtin_popcount(fec->groups[i].sources) +
                               __builtin_popcount(fec->groups[i].parities));
    bool held = r->block_free_count <= r->block_count && r->whole_bytes <= blocks_bytes &&
                r->block_count <= hg_max_u64(peer->head->receive_bytes_max, HG_LANE_RECEIVE_BYTES_MIN) /
                                      HG_WIRE_BLOCK_BYTES &&
                fec_used <= fec->slot_fresh && fec->slot_fresh <= fec->slot_count &&
                fec->slot_count <= HG_FEC_SYMBOLS_MAX && lane->control.used_count <= HG_CONTROL_FRAMES_MAX &&
                lane->sent.packets_in_flight <= node->plan->packets_in_flight &&
                peer->waiting_count <= HG_PEER_OPENS_WAITING && peer->alias_end <= HG_WIRE_ALIASES_MAX;
    if (!held)
        hg_sim_violation(
            node->world, "memory",
            "node %c, lane to %s: %u of %u blocks free, %llu bytes whole; %llu parity symbols of "
            "%u; %u control frames; %u packets in flight; %u opens wait",
            (int)('A' + node->index), peer->lane_name, r->block_free_count, r->block_count,
            (unsigned long long)r->whole_bytes, (unsigned long long)fec_used, fec->slot_count,
            lane->control.used_count, lane->sent.packets_in_flight, peer->waiting_count);
    if (stats->bytes_in_flight > (uint64_t)node->plan->packets_in_flight * node->world->plan->mtu_bytes)
        hg_sim_violation(node->world, "in_flight",
                         "node %c has %llu bytes in flight, more than its ring holds",
                         (int)('A' + node->index), (unsigned long long)stats->bytes_in_flight);
    node->world->sometimes[SIM_liar_memory_full] += r->block_free_count == 0;
}

/* A lane for each worker that the liar said it has, at most. */
static void lanes_check(struct sim_node *node, const struct hg_peer *head)
{
    uint32_t lanes = 0;
    for (const struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next)
        lanes++;
    if (lanes > hg_max_u64(head->workers_remote, 1))
        hg_sim_violation(node->world, "memory", "node %c has %u lanes to %s, which has %u workers",
                         (int)('A' + node->index), lanes, head->name, head->workers_remote);
}

void hg_sim_check_liar_lane(struct sim_node *node, struct hg_peer *lane)
{
    if (lane == lane->head)
        lanes_check(node, lane);
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++)
        if (lane->sessions[i].live)
            memory_check(node, lane, lane->sessions[i].lane);
}

static void rate_check(struct sim_node *node, const struct hg_event *event)
{
    uint64_t since_ns = node->world->now_ns - node->boot_ns;
    uint64_t allowed = node->worker_count * (HG_EVENT_BURST + 2 + 2 * since_ns / HG_EVENT_GAP_NS);
    if (event->type < HG_EVENT_COUNT && ++node->events_count[event->type] > allowed)
        hg_sim_violation(node->world, "events", "node %c said %s %u times in %.3f s",
                         (int)('A' + node->index), hg_event_name(event->type),
                         node->events_count[event->type], (double)since_ns / 1e9);
}

/* Between honest nodes no stream is ever given up, whatever a third one says. */
static void honest_check(struct sim_node *node)
{
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct hg_peers *peers = node->workers[i].worker->peers;
        for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL;
             lane = hg_peers_next(peers, lane)) {
            if (lane->streams == NULL || node->world->plan->nodes[lane->node - 1].lies != 0)
                continue;
            for (uint32_t slot = 0; slot < SIM_FLOWS_MAX; slot++)
                if (lane->streams[slot].state >= HG_PEER_STREAM_REFUSED)
                    hg_sim_violation(
                        node->world, "given_up", "node %c gave up stream %u to honest %s: state %u",
                        (int)('A' + node->index), slot, lane->lane_name, lane->streams[slot].state);
        }
    }
}

bool hg_sim_check_liar_event(struct sim_node *node, const struct hg_event *event)
{
    struct sim_world *world = node->world;
    if (node->plan->lies != 0)
        return true;
    rate_check(node, event);
    honest_check(node);
    switch (event->type) {
    case HG_EVENT_stream_not_here:
        world->sometimes[SIM_liar_streams_not_here]++;
        return true;
    case HG_EVENT_stream_diverged:
    case HG_EVENT_stream_gap:
    case HG_EVENT_stream_behind:
        world->sometimes[SIM_liar_streams_given_up]++;
        return true;
    case HG_EVENT_stream_refused:
    case HG_EVENT_stream_refused_batch:
    case HG_EVENT_stream_closed:
    case HG_EVENT_stream_system:
    case HG_EVENT_stream_incarnation:
        return true;
    default:
        return false;
    }
}

void hg_sim_liar_harvest(struct sim_node *node, const struct hg_worker *worker, const struct hg_peer *lane)
{
    uint64_t *sometimes = node->world->sometimes;
    struct hg_lane_stats totals;
    hg_peers_totals(lane, &totals);
    for (uint32_t i = 0; i < HG_EVENT_COUNT; i++)
        sometimes[SIM_events_suppressed] += worker->event_limits[i].suppressed;
    sometimes[SIM_liar_versions_refused] += totals.drop_version;
    sometimes[SIM_liar_frames_malformed] += totals.drop_malformed;
    sometimes[SIM_liar_acks_refused] += totals.drop_ack;
    sometimes[SIM_liar_aliases_refused] += totals.drop_alias;
    sometimes[SIM_liar_data_beyond_credit] += totals.drop_credit;
    sometimes[SIM_liar_data_contradicted] += totals.drop_mismatch;
    sometimes[SIM_liar_batches_refused] += totals.refused;
    sometimes[SIM_liar_parity_refused] += totals.drop_fec;
    sometimes[SIM_liar_groups_crowded] += totals.fec_crowded;
    sometimes[SIM_liar_controls_refused] += totals.drop_control;
    sometimes[SIM_liar_controls_of_nothing] += totals.drop_control_state;
    sometimes[SIM_liar_replays_dropped] += worker->link.esp_counts[HG_ESP_REPLAY];
    sometimes[SIM_liar_workers_refused] += worker->link.counters.drop_address;
}
