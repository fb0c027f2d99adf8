/* SPDX-License-Identifier: Apache-2.0
 *
 * Producers and readers. A producer survives its node: after each start it resumes at the durable end, as
 * libheliograph does. Every byte of a frame follows from (seed, stream, variant, lsn), so that a checker
 * knows it.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/seal.h"
#include "tests/sim/allocation.h"
#include "tests/sim/atlas.h"
#include "tests/sim/failover.h"
#include "tests/sim/gray.h"
#include "tests/sim/horizon.h"

#include <errno.h>
#include <stdlib.h>

#define FRAMES_TURN        64u /* of one stream between two turns */
#define BATCHES_TURN       64u
#define SYSTEM_IDENTIFIER  UINT64_C(7300000000000000000)
#define LSN_UNIT_BYTES     (16u << 20)
#define VARIANT_SHIFT      56

#define FRAME_MEMORY_BYTES (64u + (64u << 10))

void hg_sim_flows_init(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        flow->plan = &world->plan->flows[i];
        flow->index = i;
        flow->stream = UINT64_C(1000) + i;
        flow->lsn_produced = flow->plan->lsn_start;
        hg_random_init(&flow->random, hg_sim_random_seed(world, 30, i));
        flow->frame_memory = malloc(FRAME_MEMORY_BYTES);
        hg_assert(flow->frame_memory != NULL);
        hg_sim_history_begin(flow);
    }
}

static void bytes_make(uint8_t *to, uint32_t bytes, uint64_t seed, bool compresses)
{
    uint64_t state = seed, pattern = hg_random_splitmix64(&state);
    for (uint32_t at = 0; at < bytes; at += 8) {
        uint64_t value = compresses && (at & 63) != 0 ? pattern : hg_random_splitmix64(&state);
        memcpy(to + at, &value, hg_min_u64(8, bytes - at));
    }
}

/* What all of a frame follows from. */
struct frame_draw {
    uint64_t shape;
    uint64_t seed;
};

/* Sizes don't depend on the variant: both histories cut the LSNs alike. */
static struct frame_draw frame_draw(const struct sim_world *world, const struct sim_flow *flow, uint64_t lsn,
                                    struct hg_frame *frame)
{
    uint64_t state = hg_sim_random_seed(world, 31 + flow->index, lsn);
    uint64_t shape = hg_random_splitmix64(&state), size = hg_random_splitmix64(&state);
    memset(frame, 0, sizeof(*frame));
    uint32_t limit = flow->plan->frame_bytes_max >> (size >> 60);
    frame->lsn = lsn;
    frame->data_bytes = (uint32_t)(size % (limit + 1));
    frame->op = HG_OP_OPAQUE;
    if (flow->plan->physical) {
        frame->data_bytes = (uint32_t)hg_max_u64(frame->data_bytes, 1);
        frame->span = frame->data_bytes;
    } else {
        frame->span = 1;
        frame->op = (uint8_t)(HG_OP_INSERT + shape % 3);
        frame->key_bytes = (uint16_t)(shape >> 8) % 33;
        frame->table_id = (uint32_t)(shape >> 32) & 7;
        frame->client_id = shape >> 40 & 1 ? 77 : 0;
        frame->client_sequence = frame->client_id != 0 ? lsn : 0;
    }
    return (struct frame_draw){.shape = shape, .seed = hg_random_splitmix64(&state)};
}

void hg_sim_frame_shape(const struct sim_world *world, const struct sim_flow *flow, uint64_t lsn,
                        struct hg_frame *frame)
{
    (void)frame_draw(world, flow, lsn, frame);
}

void hg_sim_frame(const struct sim_world *world, const struct sim_flow *flow, uint32_t variant, uint64_t lsn,
                  struct hg_frame *frame, uint8_t *memory)
{
    struct frame_draw draw = frame_draw(world, flow, lsn, frame);
    uint64_t seed = draw.seed + variant;
    frame->transaction_id = (uint64_t)variant << VARIANT_SHIFT | (draw.shape & 0xffffffff);
    bytes_make(memory, frame->key_bytes, seed ^ 1, false);
    bytes_make(memory + 64, frame->data_bytes, seed, flow->plan->compresses);
    frame->key = memory;
    frame->data = memory + 64;
}

/* Until the faults end, of plans where nothing but the path takes long. */
static void commit_begin(struct sim_world *world, struct sim_flow *flow)
{
    if (!world->plan->light || world->healed || !flow->commits_reach ||
        flow->commit_head - flow->commit_tail == SIM_COMMITS_MAX)
        return;
    flow->commits[flow->commit_head++ % SIM_COMMITS_MAX] =
        (struct sim_commit){.lsn_end = flow->lsn_produced, .time_ns = world->now_ns};
}

void hg_sim_commits_end(struct sim_world *world, struct sim_flow *flow, uint64_t lsn_durable)
{
    const struct sim_plan *plan = world->plan;
    uint64_t rtt_ns = plan->links[0][1].delay_ns + plan->links[1][0].delay_ns;
    flow->commits_reach |= lsn_durable > flow->plan->lsn_start;
    while (flow->commit_tail < flow->commit_head) {
        const struct sim_commit *commit = &flow->commits[flow->commit_tail % SIM_COMMITS_MAX];
        if (commit->lsn_end > lsn_durable)
            return;
        world->commits_timed++;
        world->commits_stalled += world->now_ns - commit->time_ns > rtt_ns + SIM_STALL_NS;
        flow->commit_tail++;
    }
}

/* More is wanted: the end of what is produced moves. */
void hg_sim_produce(struct sim_world *world, struct sim_flow *flow)
{
    struct hg_frame frame;
    uint64_t frames = hg_random_between(&flow->random, 1, flow->plan->burst_frames_max);
    for (uint64_t i = 0; i < frames && flow->bytes_produced < flow->plan->bytes; i++) {
        hg_sim_frame_shape(world, flow, flow->lsn_produced, &frame);
        flow->lsn_produced += frame.span;
        flow->bytes_produced += frame.data_bytes + 40;
    }
    commit_begin(world, flow);
    if (!world->healed && flow->bytes_produced < flow->plan->bytes)
        hg_sim_event_put(world,
                         world->now_ns + hg_random_between(&flow->random, flow->plan->interval_ns / 2,
                                                           flow->plan->interval_ns * 2),
                         SIM_EVENT_PRODUCE, flow->index, 0, NULL);
    for (uint32_t i = 0; i < world->plan->node_count; i++) /* where any node may be its writer */
        if (world->nodes[i].is_up && (i == flow->plan->origin || world->failover != NULL))
            hg_sim_node_step(&world->nodes[i]);
}

#define RETRIES_LOOKED 32u

/* What a producer does that doesn't know what became of its last entry: it sends it again, and is told where
 * it is. The frames of a stream have one client, whose numbers are the LSNs. */
static void flow_retry(struct sim_node *node, struct sim_worker *worker, struct sim_flow *flow, uint32_t slot)
{
    struct sim_world *world = node->world;
    const struct hg_stream_state *s = hg_streams_at(worker->worker->streams, slot);
    struct hg_frame frame;
    uint64_t lsn = flow->lsn_next - 1, left = RETRIES_LOOKED;
    for (; !flow->plan->physical && lsn >= flow->plan->lsn_start && left > 0; lsn--, left--) {
        uint32_t variant = flow->fork_lsn != 0 && lsn >= flow->fork_lsn ? flow->variant : 0;
        hg_sim_frame(world, flow, variant, lsn, &frame, world->frame_memory);
        if (frame.client_id == 0)
            continue;
        frame.lsn = 0;
        frame.again = true;
        enum hg_append_reason reason =
            hg_streams_append(worker->worker->streams, slot, &frame, worker->worker->now_ns);
        bool is_told = reason == HG_APPEND_DUPLICATE && frame.lsn == lsn;
        bool is_forgotten = reason == HG_APPEND_SESSION_EVICTED && s->sessions_evicted;
        world->sometimes[SIM_retries_told] += is_told;
        if (!is_told && !is_forgotten && reason != HG_APPEND_WOULD_BLOCK && reason != HG_APPEND_GRANT)
            hg_sim_violation(world, "retry",
                             "stream s%u: a retry of %llu is answered with reason %u, LSN %llu", flow->index,
                             (unsigned long long)lsn, reason, (unsigned long long)frame.lsn);
        return;
    }
}

/* What attaching does: agree on whose stream it is, learn where to go on. */
static bool flow_open(struct sim_node *node, struct sim_worker *worker, struct sim_flow *flow, uint32_t slot)
{
    struct hg_streams *streams = worker->worker->streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (!s->configured || flow->fork_due || hg_group_is_sealed(hg_streams_group(streams, s->group)))
        return false;
    if (flow->plan->physical) {
        int rc = hg_streams_adopt(streams, slot, SYSTEM_IDENTIFIER + flow->index, 1, LSN_UNIT_BYTES);
        if (rc == -EAGAIN)
            return false;
        if (rc != 0)
            hg_sim_violation(node->world, "adopt", "stream s%u refuses its own producer: %d", flow->index,
                             rc);
    }
    flow->is_open = true;
    flow->lsn_next = s->lsn_durable != 0 ? s->lsn_durable : flow->plan->lsn_start;
    hg_sim_client_attached(node, flow, flow->lsn_next);
    hg_sim_trace(node->world, "producer of s%u resumes at %llu", flow->index,
                 (unsigned long long)flow->lsn_next);
    flow_retry(node, worker, flow, slot);
    return true;
}

/* What was pushed back is offered again and again: it is made once. */
static const struct hg_frame *frame_next(const struct sim_world *world, struct sim_flow *flow)
{
    if (flow->frame.span == 0 || flow->frame.lsn != flow->lsn_next || flow->frame_variant != flow->variant ||
        flow->frame_attempt != flow->attempt) {
        hg_sim_frame(world, flow, flow->variant, flow->lsn_next, &flow->frame, flow->frame_memory);
        flow->frame.transaction_id |= hg_sim_client_mark(flow);
    }
    flow->frame_variant = flow->variant;
    flow->frame_attempt = flow->attempt;
    return &flow->frame;
}

static bool flow_append(struct sim_node *node, struct sim_worker *worker, struct sim_flow *flow,
                        uint32_t slot)
{
    struct sim_world *world = node->world;
    uint64_t local_ns = worker->worker->now_ns;
    bool any = false;
    for (uint32_t i = 0; i < FRAMES_TURN && flow->lsn_next < flow->lsn_produced; i++) {
        struct hg_frame frame = *frame_next(world, flow);
        hg_sim_allocation_watch(worker);
        enum hg_append_reason reason = hg_streams_append(worker->worker->streams, slot, &frame, local_ns);
        hg_sim_allocation_check(node, worker);
        if (reason == HG_APPEND_WOULD_BLOCK) {
            world->sometimes[SIM_appends_pushed_back]++;
            return any;
        }
        if (reason == HG_APPEND_GRANT && world->plan->nodes[node->index].grant_ms != 0) {
            world->sometimes[SIM_appends_without_grant]++;
            return any;
        }
        if (reason == HG_APPEND_SEALED) {
            flow->is_open = false;
            return any;
        }
        if (reason != HG_APPEND_OK)
            hg_sim_violation(world, "append", "stream s%u at %llu: reason %u", flow->index,
                             (unsigned long long)flow->lsn_next, reason);
        hg_sim_client_appended(node, flow, &frame);
        flow->lsn_next += frame.span;
        any = true;
    }
    return any;
}

bool hg_sim_append(struct sim_node *node)
{
    struct sim_world *world = node->world;
    bool any = false;
    if (world->failover != NULL)
        return hg_sim_failover_append(node);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        if (flow->plan->origin != node->index)
            continue;
        struct sim_worker *worker = hg_sim_worker_of(node, flow);
        if (worker == NULL || worker->worker->state != HG_WORKER_RUNNING)
            continue;
        uint32_t slot = (uint32_t)hg_streams_find(worker->worker->streams, flow->stream);
        if (!flow->is_open && !flow_open(node, worker, flow, slot))
            continue;
        any |= flow_append(node, worker, flow, slot);
    }
    return any;
}

/* ---- reading back ---- */

static void consumers_advance(struct sim_node *node, struct sim_worker *worker)
{
    struct sim_world *world = node->world;
    struct hg_streams *streams = worker->worker->streams;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        char name[HG_NAME_BYTES];
        snprintf(name, sizeof(name), "r%u", i);
        int32_t consumer = world->flows[i].plan->consumer ? hg_streams_consumer_find(streams, name) : -1;
        if (consumer >= 0 && world->flows[i].places[node->index].read_next != 0)
            hg_streams_consumer_advance(streams, (uint32_t)consumer,
                                        world->flows[i].places[node->index].read_next);
    }
}

/* What is left here of a stream that moved is read where it is now, and what is before its new beginning
 * nowhere. */
static bool is_read_here(const struct sim_node *node, const struct sim_worker *worker,
                         const struct hg_batch_header *header)
{
    struct hg_streams *streams = worker->worker->streams;
    int32_t held = hg_placement_held(&node->placement, header->stream);
    int32_t slot = hg_streams_find(streams, header->stream);
    if (held >= 0 && (uint32_t)held != worker->worker->config.worker)
        return false;
    bool has_moved = slot >= 0 && hg_streams_at(streams, (uint32_t)slot)->move > 0;
    return !(has_moved || hg_sim_is_left_behind(node)) ||
           header->lsn_end > hg_streams_lsn_oldest(streams, (uint32_t)slot);
}

/* As hg_clients_deliver has it. */
static bool is_committed(const struct sim_worker *worker, const struct hg_batch_header *header)
{
    struct hg_streams *streams = worker->worker->streams;
    int32_t slot = header->flags & HG_BATCH_LOCAL ? -1 : hg_streams_find(streams, header->stream);
    return slot < 0 || header->lsn_end <= hg_streams_at(streams, (uint32_t)slot)->lsn_committed;
}

static bool is_cut(const struct sim_worker *worker, const struct hg_batch_header *header)
{
    struct hg_streams *streams = worker->worker->streams;
    int32_t slot = header->flags & HG_BATCH_LOCAL ? -1 : hg_streams_find(streams, header->stream);
    return slot >= 0 && hg_streams_batch_is_cut(streams, (uint32_t)slot, worker->reader.sequence, header);
}

/* A reader walks the whole durable log, from its tail after each start: what a subscriber would be given. */
static bool log_read(struct sim_node *node, struct sim_worker *worker)
{
    struct sim_world *world = node->world;
    struct hg_log *log = worker->worker->log;
    bool any = false;
    if (worker->reader.sequence == 0)
        worker->reader.sequence = hg_max_u64(1, hg_log_tail_sequence(log));
    for (uint32_t i = 0; i < BATCHES_TURN; i++) {
        const struct hg_batch_header *header;
        int rc = hg_cursor_peek(&worker->reader, log, &header);
        if (rc == 0)
            break;
        if (rc == -ENOENT) {
            worker->reader.sequence = hg_log_tail_sequence(log);
            worker->reader.offset = 0;
            for (uint32_t j = 0; j < world->plan->flow_count; j++)
                if (hg_sim_worker_of(node, &world->flows[j]) == worker)
                    world->flows[j].places[node->index].read_next = 0;
            continue;
        }
        if (rc < 0 && (hg_sim_is_damaged(node) || hg_sim_is_marked(node) ||
                       hg_sim_atlas_is_damaged(node))) { /* its reader is told so, and stays there */
            world->sometimes[SIM_damage_met_by_a_reader]++;
            return any;
        }
        if (rc < 0)
            hg_sim_violation(world, "read", "write %llu of node %c can't be read: %d",
                             (unsigned long long)worker->reader.sequence, (int)('A' + node->index), rc);
        if (is_cut(worker, header)) {
            hg_cursor_advance(&worker->reader, header);
            continue;
        }
        if (world->plan->quorum_n != 0 && !is_committed(worker, header)) {
            any |= i > 0;
            break;
        }
        if (!(header->flags & HG_BATCH_LOCAL) && is_read_here(node, worker, header))
            hg_sim_check_batch(node, worker, header);
        hg_cursor_advance(&worker->reader, header);
        any = true;
    }
    if (any)
        consumers_advance(node, worker);
    return any;
}

bool hg_sim_read(struct sim_node *node)
{
    bool any = false;
    if (!hg_placement_known(&node->placement))
        return false;
    for (uint32_t i = 0; i < node->worker_count; i++)
        if (node->workers[i].worker->state == HG_WORKER_RUNNING)
            any |= log_read(node, &node->workers[i]);
    return any;
}
