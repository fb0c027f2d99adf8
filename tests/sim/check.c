/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants. What a node has once said to be durable is a promise for the rest of the run.
 */
#include "tests/sim/atlas.h"
#include "tests/sim/cluster.h"
#include "tests/sim/core.h"
#include "tests/sim/failover.h"
#include "tests/sim/gray.h"
#include "tests/sim/horizon.h"
#include "tests/sim/liar.h"
#include "tests/sim/members.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <xxhash.h>

#define VARIANT_SHIFT 56
#define MARK_BITS     UINT64_C(0x00ffffff00000000) /* which attachment of a producer made it */
#define DIVERGED_NS   (20 * HG_NS_PER_S)           /* a run that ends diverged is watched this long */

static int letter_of(uint32_t node)
{
    return (int)('A' + node);
}

/* The peers of a node are all the others, in order. */
static uint32_t node_of_peer(uint32_t node, uint32_t peer)
{
    return peer < node ? peer : peer + 1;
}

/* ---- chains: equal position and history mean equal bytes ---- */

static uint32_t history_at(const struct sim_flow *flow, uint32_t history, uint64_t lsn_end)
{
    return flow->fork_lsn != 0 && lsn_end > flow->fork_lsn ? history : 0;
}

static struct sim_chain *chain_find(struct sim_flow *flow, uint32_t history, uint64_t lsn_end)
{
    uint32_t mask = flow->chain_max - 1;
    uint32_t at = (uint32_t)((lsn_end * 2 + history) * UINT64_C(0x9e3779b97f4a7c15) >> 40) & mask;
    while (flow->chains[at].lsn_end != 0 &&
           (flow->chains[at].lsn_end != lsn_end || flow->chains[at].history != history))
        at = (at + 1) & mask;
    return &flow->chains[at];
}

static void chains_grow(struct sim_flow *flow)
{
    struct sim_chain *old = flow->chains;
    uint32_t old_max = flow->chain_max;
    flow->chain_max = old_max == 0 ? 1024 : old_max * 2;
    flow->chains = calloc(flow->chain_max, sizeof(flow->chains[0]));
    hg_assert(flow->chains != NULL);
    for (uint32_t i = 0; i < old_max; i++)
        if (old[i].lsn_end != 0)
            *chain_find(flow, old[i].history, old[i].lsn_end) = old[i];
    free(old);
}

struct sim_chain *hg_sim_chain_at(struct sim_flow *flow, uint32_t history, uint64_t lsn_end)
{
    if (flow->chain_count * 2 >= flow->chain_max)
        chains_grow(flow);
    return chain_find(flow, history, lsn_end);
}

struct sim_chain *hg_sim_check_chain(struct sim_world *world, struct sim_flow *flow, uint32_t node,
                                     uint64_t lsn_end, const uint8_t chain[16])
{
    if (flow->chain_count * 2 >= flow->chain_max)
        chains_grow(flow);
    uint32_t history = history_at(flow, flow->places[node].history, lsn_end);
    struct sim_chain *known = chain_find(flow, history, lsn_end);
    if (known->lsn_end == 0) {
        known->lsn_end = lsn_end;
        known->history = history;
        memcpy(known->chain, chain, sizeof(known->chain));
        flow->chain_count++;
    } else if (memcmp(known->chain, chain, sizeof(known->chain)) != 0) {
        hg_sim_violation(world, "chain",
                         "stream s%u has another chain at %llu on node %c than it had elsewhere or before",
                         flow->index, (unsigned long long)lsn_end, letter_of(node));
    }
    return known;
}

/* ---- batches as they are read back ---- */

static bool frame_equal(const struct hg_frame *a, const struct hg_frame *b)
{
    return a->lsn == b->lsn && a->span == b->span && a->op == b->op && a->key_bytes == b->key_bytes &&
           a->data_bytes == b->data_bytes && a->table_id == b->table_id &&
           a->transaction_id == b->transaction_id && a->client_id == b->client_id &&
           a->client_sequence == b->client_sequence && memcmp(a->key, b->key, a->key_bytes) == 0 &&
           memcmp(a->data, b->data, a->data_bytes) == 0;
}

/* Returns the variant of the batch's frames. */
static uint32_t frames_check(struct sim_node *node, struct sim_flow *flow,
                             const struct hg_batch_header *header)
{
    struct sim_world *world = node->world;
    const uint8_t *frames;
    uint32_t frames_bytes, offset = 0, variant = 0;
    struct hg_frame frame, wanted;
    if (hg_batch_open(header, world->open_memory, 2u << 20, &frames, &frames_bytes) != HG_BATCH_REASON_OK ||
        hg_batch_check_frames(header, frames, frames_bytes) != HG_BATCH_REASON_OK)
        hg_sim_violation(world, "batch", "the batch of s%u at %llu does not open on node %c", flow->index,
                         (unsigned long long)header->lsn_first, letter_of(node->index));
    for (uint32_t i = 0; hg_frame_next(frames, frames_bytes, header->hlc_base, &offset, &frame) == 1; i++) {
        uint32_t own = (uint32_t)(frame.transaction_id >> VARIANT_SHIFT);
        variant = i == 0 ? own : variant;
        hg_sim_frame(world, flow, own, frame.lsn, &wanted, world->frame_memory);
        wanted.transaction_id |= frame.transaction_id & MARK_BITS;
        if (!frame_equal(&frame, &wanted) || own != variant ||
            (own > flow->variant && world->failover == NULL))
            hg_sim_violation(world, "bytes",
                             "the frame of s%u at %llu on node %c is not what its producer made", flow->index,
                             (unsigned long long)frame.lsn, letter_of(node->index));
        hg_sim_reader_frame(node, flow, &frame);
    }
    return variant;
}

/* Batches are read again after every start and on every node: frames of the same bytes are compared once. */
static const struct sim_chain *frames_known(struct sim_flow *flow, uint32_t history_first, uint64_t lsn_end,
                                            uint64_t read_hash)
{
    for (uint32_t history = 0; flow->chain_max > 0 && history < 2; history++) {
        const struct sim_chain *known = chain_find(flow, history_first + history, lsn_end);
        if (known->lsn_end != 0 && known->read_hash == read_hash)
            return known;
    }
    return NULL;
}

static void history_check(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header,
                          uint32_t variant)
{
    struct sim_place *place = &flow->places[node->index];
    if (flow->fork_lsn == 0 || header->lsn_first < flow->fork_lsn) {
        if (variant != 0)
            hg_sim_violation(node->world, "history",
                             "s%u has bytes of the new history at %llu, before it began", flow->index,
                             (unsigned long long)header->lsn_first);
        return;
    }
    bool beyond = place->read_end > flow->fork_lsn;
    if (beyond && variant != place->history)
        hg_sim_violation(
            node->world, "mixed_histories",
            "node %c read s%u to %llu in history %u and now has %llu of history %u; they part at %llu",
            letter_of(node->index), flow->index, (unsigned long long)place->read_end, place->history,
            (unsigned long long)header->lsn_first, variant, (unsigned long long)flow->fork_lsn);
    place->history = variant;
}

static void order_check(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header)
{
    static const uint8_t zero[16];
    const struct sim_place *place = &flow->places[node->index];
    const uint8_t *previous = place->read_chain;
    uint64_t expected = place->read_next;
    if (hg_sim_is_begun_anew(node, flow, header))
        return;
    if (expected == 0 && header->lsn_first == flow->plan->lsn_start) {
        expected = header->lsn_first;
        previous = zero;
    }
    if (expected == 0) { /* the log's tail: nothing may be missing between what was read before and here */
        if ((flow->plan->consumer || hg_sim_is_left_behind(node)) && !place->rolled_back &&
            header->lsn_first > hg_max_u64(place->read_end, flow->plan->lsn_start))
            hg_sim_violation(node->world, "retention",
                             "node %c has s%u from %llu on, its registered reader is only at %llu",
                             letter_of(node->index), flow->index, (unsigned long long)header->lsn_first,
                             (unsigned long long)place->read_end);
        return;
    }
    if (header->lsn_first != expected || memcmp(header->chain_previous, previous, sizeof(zero)) != 0)
        hg_sim_violation(node->world, "order", "node %c has s%u from %llu on after %llu, %s",
                         letter_of(node->index), flow->index, (unsigned long long)header->lsn_first,
                         (unsigned long long)expected,
                         header->lsn_first != expected ? "not contiguous" : "of another chain");
}

static struct sim_flow *flow_of(struct sim_world *world, uint64_t stream)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        if (world->flows[i].stream == stream)
            return &world->flows[i];
    return NULL;
}

void hg_sim_check_batch(struct sim_node *node, struct sim_worker *worker,
                        const struct hg_batch_header *header)
{
    struct sim_world *world = node->world;
    struct sim_flow *flow = flow_of(world, header->stream);
    if (flow == NULL)
        hg_sim_violation(world, "stream", "node %c has a batch of a stream that nobody has",
                         letter_of(node->index));
    struct sim_place *place = &flow->places[node->index];
    if (hg_batch_verify(header, hg_batch_bytes(header)) != HG_BATCH_REASON_OK)
        hg_sim_violation(world, "batch", "the batch of s%u at %llu fails its checks on node %c", flow->index,
                         (unsigned long long)header->lsn_first, letter_of(node->index));
    if (header->lsn_end > flow->lsn_produced)
        hg_sim_violation(world, "invented", "node %c has s%u to %llu, produced is %llu",
                         letter_of(node->index), flow->index, (unsigned long long)header->lsn_end,
                         (unsigned long long)flow->lsn_produced);
    uint64_t read_hash = XXH3_64bits(header, hg_batch_bytes(header)) | 1;
    const struct sim_chain *known =
        frames_known(flow, world->failover != NULL ? (uint32_t)header->epoch : 0, header->lsn_end, read_hash);
    uint32_t variant = known != NULL ? known->variant : frames_check(node, flow, header);
    world->sometimes[SIM_batches_read_back]++;
    world->sometimes[header->codec == HG_CODEC_LZ4 ? SIM_batches_compressed : SIM_batches_stored_raw]++;
    if (world->failover == NULL)
        history_check(node, flow, header, variant);
    order_check(node, flow, header);
    struct sim_chain *chain =
        world->failover != NULL
            ? hg_sim_check_failover_batch(node, flow, header, variant)
            : hg_sim_check_chain(world, flow, node->index, header->lsn_end, header->chain);
    chain->variant = variant;
    chain->read_hash = read_hash;
    hg_sim_reader_batch(node, flow, header);
    place->read_next = header->lsn_end;
    place->read_end = hg_max_u64(place->read_end, header->lsn_end);
    memcpy(place->read_chain, header->chain, sizeof(place->read_chain));
}

/* ---- positions ---- */

static void fork_begin(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    flow->fork_due = false;
    flow->fork_lsn = hg_max_u64(s->lsn_durable, flow->plan->lsn_start);
    flow->variant = 1;
    flow->places[node->index].history = 1;
    hg_sim_trace(node->world, "s%u goes on at %llu with other bytes", flow->index,
                 (unsigned long long)flow->fork_lsn);
}

static void peer_view_check(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    for (uint32_t i = 0; i + 1 < world->plan->node_count; i++) {
        uint32_t other = node_of_peer(node->index, i);
        if (world->plan->nodes[other].lies != 0)
            continue;
        const struct sim_place *there = &flow->places[other];
        if (s->lsn_peer[i] > there->durable_ever)
            hg_sim_violation(world, "peer_view", "node %c believes %c has s%u to %llu, it has it to %llu",
                             letter_of(node->index), letter_of(other), flow->index,
                             (unsigned long long)s->lsn_peer[i], (unsigned long long)there->durable_ever);
        /* Of two histories, a peer can have ours only up to where they part. */
        if (flow->fork_lsn != 0 && there->history != flow->places[node->index].history &&
            there->read_end > flow->fork_lsn && s->lsn_peer[i] > flow->fork_lsn)
            hg_sim_violation(world, "peer_view",
                             "node %c counts %llu of s%u as its own on %c, whose history parts at %llu",
                             letter_of(node->index), (unsigned long long)s->lsn_peer[i], flow->index,
                             letter_of(other), (unsigned long long)flow->fork_lsn);
    }
}

/* By then what was durable is proved by a header that is durable too. */
static uint64_t proof_ns(const struct sim_node *node)
{
    return 4 * (node->plan->flush_ns_max + node->plan->write_ns_max) + 2 * HG_NS_PER_MS;
}

static void flow_check(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    struct sim_place *place = &flow->places[node->index];
    if (world->failover != NULL) {
        hg_sim_check_failover_flow(node, flow, s);
        return;
    }
    if (flow->fork_due && flow->plan->origin == node->index)
        fork_begin(node, flow, s);
    /* The newest commits have no second proof yet (architecture 6): rotten, they look as if they never were.
     */
    if ((hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROT) || hg_sim_is_damaged(node)) &&
        s->lsn_durable < place->durable_floor && s->lsn_durable >= place->durable_before) {
        world->over = true;
        return;
    }
    if (s->lsn_durable < place->durable_floor)
        hg_sim_violation(world, "lost_durable",
                         "node %c said s%u is durable to %llu; after boot %llu it has it to %llu",
                         letter_of(node->index), flow->index, (unsigned long long)place->durable_floor,
                         (unsigned long long)node->boots_count, (unsigned long long)s->lsn_durable);
    if (!(s->lsn_durable <= s->lsn_sealed && s->lsn_sealed <= s->lsn_taken) ||
        s->lsn_taken > flow->lsn_produced)
        hg_sim_violation(world, "positions",
                         "node %c, s%u: durable %llu sealed %llu taken %llu produced %llu",
                         letter_of(node->index), flow->index, (unsigned long long)s->lsn_durable,
                         (unsigned long long)s->lsn_sealed, (unsigned long long)s->lsn_taken,
                         (unsigned long long)flow->lsn_produced);
    if (s->lsn_durable > place->durable_floor) {
        if (world->now_ns - place->mark_ns >= proof_ns(node)) {
            place->durable_before = place->mark_floor;
            place->mark_floor = place->durable_floor;
            place->mark_ns = world->now_ns;
        }
        place->durable_floor = s->lsn_durable;
        hg_sim_hash(world, s->lsn_durable);
        hg_sim_trace(world, "node %c: s%u durable to %llu", letter_of(node->index), flow->index,
                     (unsigned long long)s->lsn_durable);
    }
    place->durable_ever = hg_max_u64(place->durable_ever, s->lsn_durable);
    hg_sim_check_horizon(node, flow, s);
    hg_sim_check_committed(node, flow, s);
    if (world->plan->nodes[flow->plan->origin].lies != 0)
        return;
    if (s->lsn_durable > flow->places[flow->plan->origin].durable_ever)
        hg_sim_violation(world, "left_too_early", "node %c has s%u to %llu, its origin only to %llu",
                         letter_of(node->index), flow->index, (unsigned long long)s->lsn_durable,
                         (unsigned long long)flow->places[flow->plan->origin].durable_ever);
    if (flow->plan->origin == node->index) {
        if (s->lsn_durable > flow->plan->lsn_start)
            hg_sim_check_chain(world, flow, node->index, s->lsn_durable, s->chain_durable);
        peer_view_check(node, flow, s);
        hg_sim_client_acked(node, flow, s->lsn_committed);
        hg_sim_commits_end(world, flow, s->lsn_peer[0]);
    }
}

/* Peers are honest and packets authenticate: what a lane refuses then is our own mistake. */
static void lane_check(struct sim_node *node, struct hg_lane *lane)
{
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    uint64_t never = stats->drop_version + stats->drop_malformed + stats->drop_credit + stats->drop_mismatch +
                     stats->drop_ack + stats->drop_control + stats->drop_fec;
    if (never != 0)
        hg_sim_violation(node->world, "lane_drop",
                         "node %c drops of an honest peer: version %llu malformed %llu "
                         "credit %llu mismatch %llu ack %llu control %llu fec %llu",
                         letter_of(node->index), (unsigned long long)stats->drop_version,
                         (unsigned long long)stats->drop_malformed, (unsigned long long)stats->drop_credit,
                         (unsigned long long)stats->drop_mismatch, (unsigned long long)stats->drop_ack,
                         (unsigned long long)stats->drop_control, (unsigned long long)stats->drop_fec);
    bool is_honest =
        node->world->plan->ecn_honest && (node->world->plan->classes & 1u << SIM_CLASS_CORRUPT) == 0;
    if (is_honest &&
        (stats->ecn == hg_ecn_state_text(HG_ECN_SHRUNK) || stats->ecn == hg_ecn_state_text(HG_ECN_BLEACHED) ||
         stats->ecn == hg_ecn_state_text(HG_ECN_INVENTED)))
        hg_sim_violation(node->world, "ecn_mistrust",
                         "node %c takes the counts of an honest peer on an honest path for %s",
                         letter_of(node->index), stats->ecn);
    if (stats->bytes_in_flight > (uint64_t)node->plan->packets_in_flight * node->world->plan->mtu_bytes)
        hg_sim_violation(node->world, "in_flight",
                         "node %c has %llu bytes in flight, more than its ring holds", letter_of(node->index),
                         (unsigned long long)stats->bytes_in_flight);
}

void hg_sim_check_node(struct sim_node *node)
{
    struct sim_world *world = node->world;
    if (node->plan->lies != 0)
        return;
    if (world->cluster != NULL)
        hg_sim_check_epochs(node);
    if (world->failover != NULL)
        hg_sim_check_failover_node(node);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        const struct sim_worker *owner = hg_sim_worker_of(node, &world->flows[i]);
        if (owner == NULL || owner->worker->state == HG_WORKER_RECOVERING)
            continue;
        int32_t slot = hg_streams_find(owner->worker->streams, world->flows[i].stream);
        flow_check(node, &world->flows[i], hg_streams_at(owner->worker->streams, (uint32_t)slot));
    }
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct hg_peers *peers = node->workers[i].worker->peers;
        for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL;
             lane = hg_peers_next(peers, lane))
            if (world->plan->nodes[lane->node - 1].lies != 0)
                hg_sim_check_liar_lane(node, lane);
            else if (lane->current >= 0)
                lane_check(node, lane->sessions[lane->current].lane);
        hg_sim_check_keys(node, &node->workers[i]);
    }
}

/* ---- events ---- */

/* A bit flipped while its node was down: the log is opened with a mark, readers wait, and it is mended. */
static bool is_of_rot(const struct sim_node *node, const struct hg_event *event)
{
    struct sim_world *world = node->world;
    if (!hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROT))
        return false;
    switch (event->type) {
    case HG_EVENT_log_marked:
        world->sometimes[SIM_logs_opened_with_a_mark]++;
        return true;
    case HG_EVENT_repaired:
        world->sometimes[SIM_marks_mended]++;
        return true;
    case HG_EVENT_read_corrupt:
    case HG_EVENT_not_repaired:
        return true;
    default:
        return false;
    }
}

/* Said while the disk stalls, and over when it does not, and at no other time. */
static bool is_of_stall(struct sim_node *node, const struct hg_event *event)
{
    bool is_stalled = node->world->now_ns < node->disk_stall_ns;
    node->world->sometimes[SIM_disks_told_stuck] += event->type == HG_EVENT_disk_stuck;
    return event->type == (is_stalled ? HG_EVENT_disk_stuck : HG_EVENT_disk_stuck_over);
}

/* One that may be said for what the scenario does. */
static bool is_of_scenario(struct sim_node *node, const struct hg_event *event, uint32_t flow)
{
    const struct sim_world *world = node->world;
    bool is_hostile = hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_HOSTILE);
    bool is_rollback = hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROLLBACK);
    return (is_hostile && hg_sim_check_liar_event(node, event)) ||
           (is_rollback && event->type == HG_EVENT_stream_behind) || /* besides the origin's stream_gap */
           hg_sim_check_horizon_event(node, event, flow) ||
           (world->cluster != NULL && hg_sim_check_cluster_event(node, event)) ||
           (world->failover != NULL && hg_sim_check_failover_event(node, event)) || is_of_rot(node, event) ||
           is_of_stall(node, event) || hg_sim_check_gray_event(node, event) ||
           hg_sim_check_atlas_event(node, event) ||
           (world->plan->quorum_n != 0 && hg_sim_check_quorum_event(node, event, flow));
}

void hg_sim_check_event(struct sim_node *node, const struct hg_event *event)
{
    struct sim_world *world = node->world;
    char text[SIM_TEXT_BYTES];
    uint32_t flow = event->subject[0] == 's' && event->subject[1] >= '0' ? (uint32_t)(event->subject[1] - '0')
                                                                         : SIM_FLOWS_MAX;
    hg_event_format(event, text, sizeof(text));
    hg_sim_trace(world, "node %c event %s: %s", letter_of(node->index), hg_event_name(event->type), text);
    hg_sim_hash(world, event->type);
    if (is_of_scenario(node, event, flow))
        return;
    switch (event->type) {
    case HG_EVENT_log_ready:
    case HG_EVENT_log_failed:
    case HG_EVENT_peer_up:
    case HG_EVENT_peer_keys:
    case HG_EVENT_stream_new:
    case HG_EVENT_stream_moved:
    case HG_EVENT_consumer_new:
    case HG_EVENT_log_pressure:
    case HG_EVENT_log_pressure_over:
    case HG_EVENT_log_held:
    case HG_EVENT_log_held_over:
    case HG_EVENT_log_refuses_peers:
    case HG_EVENT_log_takes_peers:
        return;
    case HG_EVENT_peer_down:
        world->sometimes[SIM_peer_downs]++;
        return;
    case HG_EVENT_grant_lapsed:
        world->sometimes[SIM_grants_lapsed]++;
        return;
    case HG_EVENT_grant_back:
        world->sometimes[SIM_grants_back]++;
        return;
    case HG_EVENT_path_overrun:
        world->sometimes[SIM_breakers_opened]++;
        return;
    case HG_EVENT_path_overrun_over:
        world->sometimes[SIM_breakers_closed]++;
        return;
    case HG_EVENT_path_narrow: /* heavy loss may look like it, too */
        world->sometimes[SIM_paths_found_narrow]++;
        return;
    case HG_EVENT_path_ecn_over: /* loss may look like a black hole; lane_check knows what it must not be */
        world->sometimes[SIM_ecn_ended]++;
        return;
    case HG_EVENT_path_wide:
        world->sometimes[SIM_paths_found_wide_again]++;
        return;
    case HG_EVENT_stream_streaming:
        if (flow < world->plan->flow_count)
            world->sometimes[SIM_chains_verified_at_resume] += event->a > world->plan->flows[flow].lsn_start;
        return;
    case HG_EVENT_stream_diverged:
    case HG_EVENT_stream_gap:
    case HG_EVENT_stream_refused_batch:
    case HG_EVENT_stream_closed:
        if (!hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROLLBACK) ||
            flow >= world->plan->flow_count)
            break;
        world->flows[flow].diverged_told[node->index] = true;
        world->sometimes[event->type == HG_EVENT_stream_gap ? SIM_streams_gap : SIM_streams_diverged]++;
        return;
    default:
        break;
    }
    hg_sim_violation(world, "event", "node %c: %s: %s", letter_of(node->index), hg_event_name(event->type),
                     text);
}

/* ---- the end of a process ---- */

static void packets_add_up(struct sim_node *node, const struct sim_worker *worker)
{
    const struct hg_link *link = &worker->worker->link;
    const struct hg_link_counters *c = &link->counters;
    uint64_t outer = 0, inner = c->drop_vlan + c->drop_address + c->drop_source + c->drop_handshake_size +
                                c->drop_mailbox + c->rx_handshake + c->drop_spi + c->drop_spi_replaced +
                                c->drop_peer_removed + c->rx_handed_over + c->drop_handover;
    for (uint32_t i = 0; i < HG_ENCAPSULATION_REASON_COUNT; i++)
        outer += link->encapsulation_counts[i];
    for (uint32_t i = 0; i < HG_ESP_REASON_COUNT; i++)
        inner += link->esp_counts[i];
    uint64_t right = link->encapsulation_counts[HG_ENCAPSULATION_OK];
    /* A damaged packet may pass for ICMP: worker 0 gets it, and has nobody's question to answer. */
    uint64_t neighbours = link->worker != 0 ? link->encapsulation_counts[HG_ENCAPSULATION_NEIGHBOUR] : 0;
    if (outer != worker->port.delivered_count + c->rx_taken_over || inner != right + neighbours)
        hg_sim_violation(node->world, "unnamed_drop",
                         "node %c was given %llu packets and took %llu over; outer counters account for "
                         "%llu, inner ones for "
                         "%llu of the %llu that are ours",
                         letter_of(node->index), (unsigned long long)worker->port.delivered_count,
                         (unsigned long long)c->rx_taken_over, (unsigned long long)outer,
                         (unsigned long long)inner, (unsigned long long)(right + neighbours));
}

static void lane_harvest(struct sim_world *world, struct hg_lane *lane)
{
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    world->sometimes[SIM_retransmissions] += stats->data_bytes_resent > 0;
    world->sometimes[SIM_spurious_retransmissions] += stats->packets_spurious;
    world->sometimes[SIM_probe_timeouts] += stats->probes_sent;
    world->sometimes[SIM_duplicates_dropped] += stats->drop_duplicate + stats->data_bytes_duplicate;
    world->sometimes[SIM_read_stalls] += stats->read_stalls;
    world->sometimes[SIM_credit_stalls] += stats->credit_stalls;
    world->sometimes[SIM_packets_recovered] += stats->fec_recovered;
    world->sometimes[SIM_parity_not_enough] += stats->fec_unrecoverable;
    world->sometimes[SIM_marks_told] += stats->ecn_marked_there;
}

static void worker_harvest(struct sim_node *node, const struct sim_worker *own)
{
    struct sim_world *world = node->world;
    struct hg_worker *worker = own->worker;
    struct hg_log_stats stats;
    world->sometimes[SIM_writes_lost] += hg_sim_is_damaged(node);
    world->sometimes[SIM_reads_wrong] += hg_sim_was_misread(node);
    packets_add_up(node, own);
    world->sometimes[SIM_packets_handed_over] += worker->link.counters.rx_handed_over;
    hg_log_stats_get(worker->log, &stats);
    world->sometimes[SIM_torn_tails_discarded] += stats.discarded_writes > 0;
    world->sometimes[SIM_log_reads_from_disk] += stats.reads;
    world->sometimes[SIM_reads_again] += stats.reads_again;
    world->sometimes[SIM_segments_reused] +=
        worker->state == HG_WORKER_RUNNING && hg_log_tail_sequence(worker->log) > 1;
    world->sometimes[SIM_replays_dropped] += worker->link.esp_counts[HG_ESP_REPLAY];
    world->sometimes[SIM_corruption_dropped] += worker->link.esp_counts[HG_ESP_ICV];
    for (uint32_t i = 1; i < HG_ENCAPSULATION_REASON_COUNT; i++)
        world->sometimes[SIM_truncation_dropped] += worker->link.encapsulation_counts[i];
    for (struct hg_peer *lane = hg_peers_next(worker->peers, NULL); lane != NULL;
         lane = hg_peers_next(worker->peers, lane)) {
        world->sometimes[SIM_rekeys] += lane->handshakes_count > 1;
        world->sometimes[SIM_keys_renewed] += lane->renewals_count;
        for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
            const struct hg_keyring *ring = &lane->sessions[i].keyring;
            if (!lane->sessions[i].live)
                continue;
            world->sometimes[SIM_packets_under_old_keys] += ring->late_count;
            world->sometimes[SIM_kills_between_keys] += ring->newest != ring->current && !world->healed;
        }
        world->sometimes[SIM_streams_elsewhere] += lane != lane->head;
        if (node->plan->lies == 0 && world->plan->nodes[lane->node - 1].lies != 0)
            hg_sim_liar_harvest(node, worker, lane);
        if (lane->current >= 0)
            lane_harvest(world, lane->sessions[lane->current].lane);
    }
}

void hg_sim_harvest(struct sim_node *node)
{
    for (uint32_t i = 0; i < node->exchange.peer_count; i++)
        node->world->sometimes[SIM_exchanges_from_both_sides] +=
            node->exchange.handshakes[i].counters.drop_collision;
    for (uint32_t i = 0; i < node->worker_count; i++)
        worker_harvest(node, &node->workers[i]);
}

/* ---- the end of the run ---- */

/* In this life the reader may have found nothing: what it had read before is released. What nobody is
 * registered for may be released unread. */
static bool read_complete(const struct sim_node *node, const struct sim_worker *worker,
                          const struct sim_flow *flow, uint64_t end)
{
    const struct sim_place *place = &flow->places[node->index];
    struct hg_streams *streams = worker->worker->streams;
    uint32_t slot = (uint32_t)hg_streams_find(streams, flow->stream);
    bool is_told = place->anew_lsn > place->read_end; /* a registered reader is told of the gap */
    bool overtaken =
        (!flow->plan->consumer || is_told) && hg_streams_lsn_oldest(streams, slot) > place->read_end;
    return worker->reader.sequence >= hg_log_durable_sequence(worker->worker->log) &&
           (place->read_end == end || overtaken || (place->rolled_back && place->read_end == 0)) &&
           (place->read_next == end || place->read_next == 0 || place->anew_lsn == end);
}

static bool is_held(const struct sim_world *world)
{
    return world->plan->held_flow < world->plan->flow_count && !world->held_free;
}

bool hg_sim_is_required(struct sim_world *world, const struct sim_flow *flow, uint32_t node)
{
    if (world->plan->nodes[node].lies != 0 || !hg_sim_is_core(world, node) ||
        (hg_sim_is_members(world) && !hg_sim_members_counts(world, node)))
        return false;
    return !flow->gap_told[node]; /* a disk that was lost, and its origin has forgotten what was on it */
}

/* NULL: no worker has it. */
static const struct hg_stream_state *state_of(const struct sim_worker *worker, const struct sim_flow *flow)
{
    int32_t slot = worker == NULL ? -1 : hg_streams_find(worker->worker->streams, flow->stream);
    return slot < 0 ? NULL : hg_streams_at(worker->worker->streams, (uint32_t)slot);
}

/* Where the stream ends everywhere when all is done; its origin runs. */
static uint64_t flow_end(struct sim_world *world, struct sim_flow *flow)
{
    uint32_t origin = flow->plan->origin;
    const struct sim_worker *worker = hg_sim_worker_of(&world->nodes[origin], flow);
    const struct hg_stream_state *s = state_of(worker, flow);
    if (s == NULL || !hg_sim_core_left_to_people(world, worker->worker->streams, s, origin))
        return flow->lsn_produced;
    world->sometimes[SIM_torn_tails_left_to_people]++;
    return s->lsn_durable;
}

static bool flow_complete(struct sim_world *world, struct sim_flow *flow, char *text, size_t text_bytes)
{
    if (flow->lsn_produced == flow->plan->lsn_start || world->plan->nodes[flow->plan->origin].lies != 0 ||
        !hg_sim_is_core(world, flow->plan->origin))
        return true;
    uint64_t end = flow_end(world, flow);
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        if (!hg_sim_is_required(world, flow, i))
            continue;
        const struct sim_worker *worker = hg_sim_worker_of(node, flow);
        const struct hg_stream_state *s = state_of(worker, flow);
        /* A reader here walks the log of a node with one cursor: it waits for the stream that is held. */
        bool reads = !hg_sim_core_lacks_origin(world) &&
                     (!is_held(world) || i != world->plan->flows[world->plan->held_flow].origin);
        if (s == NULL || s->lsn_durable != end || s->lsn_committed != end ||
            (reads && !read_complete(node, worker, flow, end))) {
            snprintf(
                text, text_bytes,
                "s%u is produced to %llu; node %c has it durable to %llu, committed to %llu, read to %llu",
                flow->index, (unsigned long long)end, letter_of(i),
                s == NULL ? 0ull : (unsigned long long)s->lsn_durable,
                s == NULL ? 0ull : (unsigned long long)s->lsn_committed,
                (unsigned long long)flow->places[i].read_end);
            return false;
        }
        for (uint32_t j = 0; i == flow->plan->origin && j + 1 < world->plan->node_count; j++)
            if (world->failover == NULL && world->plan->nodes[node_of_peer(i, j)].lies == 0 &&
                hg_sim_is_core(world, node_of_peer(i, j)) && !flow->gap_told[node_of_peer(i, j)] &&
                s->lsn_peer[j] != end) {
                snprintf(text, text_bytes,
                         "s%u is everywhere to %llu, but its origin knows only of %llu on %c", flow->index,
                         (unsigned long long)end, (unsigned long long)s->lsn_peer[j],
                         letter_of(node_of_peer(i, j)));
                return false;
            }
    }
    return true;
}

bool hg_sim_complete(struct sim_world *world, char *text, size_t text_bytes)
{
    bool told = false;
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        if (node->refused)
            return true;
        if (node->plan->lies != 0 || !hg_sim_is_core(world, i))
            continue;
        bool is_running = node->is_up;
        for (uint32_t j = 0; is_running && j < node->worker_count; j++)
            is_running &= node->workers[j].worker->state == HG_WORKER_RUNNING;
        if (!is_running) {
            snprintf(text, text_bytes, "node %c is not running", letter_of(i));
            return false;
        }
        told |= hg_sim_is_damaged(node) || hg_sim_is_marked(node);
        for (uint32_t j = 0; j < world->plan->flow_count; j++)
            told |= world->flows[j].diverged_told[i];
    }
    told |= world->failover != NULL && (world->failover->is_beyond || hg_sim_failover_is_blocked(world));
    if (told) /* an operator has to decide, and the log waits for that */
        return world->now_ns - world->plan->safety_ns > DIVERGED_NS;
    if (hg_sim_is_atlas(world) && !hg_sim_atlas_complete(world, text, text_bytes))
        return false;
    if (hg_sim_is_members(world) && !hg_sim_members_complete(world, text, text_bytes))
        return false;
    if (world->failover != NULL && !hg_sim_failover_complete(world, text, text_bytes))
        return false;
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        if (!(is_held(world) && i == world->plan->held_flow) &&
            !flow_complete(world, &world->flows[i], text, text_bytes))
            return false;
    world->whole = !is_held(world);
    if (world->whole)
        return true;
    hg_sim_held_free(world); /* it held up no other; now it is to come as well */
    return false;
}
