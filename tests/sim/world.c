/* SPDX-License-Identifier: Apache-2.0
 *
 * Virtual time: a heap of events, the safety phase with everything on, then the liveness phase.
 */
#include "tests/sim/allocation.h"
#include "tests/sim/atlas.h"
#include "tests/sim/bottleneck.h"
#include "tests/sim/cluster.h"
#include "tests/sim/core.h"
#include "tests/sim/failover.h"
#include "tests/sim/horizon.h"
#include "tests/sim/liar.h"
#include "tests/sim/members.h"
#include "tests/sim/scenario.h"

#include <stdarg.h>
#include <stdlib.h>

#define STALLS_NS (100 * HG_NS_PER_MS)

struct sim_world *hg_sim_world;

/* ---- trace and violations ---- */

void hg_sim_hash(struct sim_world *world, uint64_t value)
{
    uint64_t h = world->hash ^ value;
    h *= UINT64_C(0x9fb21c651e98df25);
    world->hash = (h ^ (h >> 35)) + UINT64_C(0x9e3779b97f4a7c15);
}

void hg_sim_trace(struct sim_world *world, const char *format, ...)
{
    va_list list;
    if (!world->trace)
        return;
    fprintf(stderr, "%14.9f ", (double)world->now_ns / 1e9);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

void hg_sim_violation(struct sim_world *world, const char *name, const char *format, ...)
{
    va_list list;
    snprintf(world->violation_name, sizeof(world->violation_name), "%s", name);
    va_start(list, format);
    vsnprintf(world->violation_text, sizeof(world->violation_text), format, list);
    va_end(list);
    longjmp(world->violation, 1);
}

/* The cores' own assertions end here instead of in abort(): with the seed. */
_Noreturn void hg_assert_failed(const char *expression, const char *file, int line)
{
    if (hg_sim_world == NULL) {
        fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, expression);
        abort();
    }
    hg_sim_violation(hg_sim_world, "assertion", "%s:%d: %s", file, line, expression);
}

uint64_t hg_sim_random_seed(const struct sim_world *world, uint64_t purpose, uint64_t index)
{
    uint64_t state = world->plan->seed * UINT64_C(0x2545f4914f6cdd1d) + purpose * 1000003 + index;
    return hg_random_splitmix64(&state);
}

/* ---- events ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->order < b->order;
}

void hg_sim_event_put(struct sim_world *world, uint64_t time_ns, enum sim_event_type type, uint32_t a,
                      uint64_t b, void *pointer)
{
    if (world->heap_count == world->heap_max) {
        world->heap_max = world->heap_max == 0 ? 1024 : world->heap_max * 2;
        world->heap = realloc(world->heap, world->heap_max * sizeof(world->heap[0]));
        hg_assert(world->heap != NULL);
    }
    struct sim_event event = {.time_ns = hg_max_u64(time_ns, world->now_ns),
                              .order = world->order_next++,
                              .type = type,
                              .a = a,
                              .b = b,
                              .pointer = pointer};
    uint32_t at = world->heap_count++;
    while (at > 0 && event_before(&event, &world->heap[(at - 1) / 2])) {
        world->heap[at] = world->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world->heap[at] = event;
}

static struct sim_event event_take(struct sim_world *world)
{
    struct sim_event first = world->heap[0], last = world->heap[--world->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= world->heap_count)
            break;
        if (child + 1 < world->heap_count && event_before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!event_before(&world->heap[child], &last))
            break;
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
    return first;
}

/* ---- life ---- */

struct sim_world *hg_sim_world_make(const struct sim_plan *plan, bool trace)
{
    struct sim_world *world = calloc(1, sizeof(*world));
    hg_assert(world != NULL);
    world->plan = plan;
    world->trace = trace;
    world->hash = plan->seed;
    world->nodes = aligned_alloc(HG_CACHE_LINE_BYTES,
                                 hg_align_up(SIM_NODES_MAX * sizeof(world->nodes[0]), HG_CACHE_LINE_BYTES));
    if (hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_CLUSTER))
        world->cluster = hg_sim_cluster_make();
    if (hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_FAILOVER))
        world->failover = hg_sim_failover_make(world);
    if (hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_ATLAS))
        world->atlas = hg_sim_atlas_make();
    world->frame_memory = malloc(2u << 20);
    world->open_memory = malloc(2u << 20);
    hg_assert(world->nodes && world->frame_memory && world->open_memory);
    memset(world->nodes, 0, SIM_NODES_MAX * sizeof(world->nodes[0]));
    return world;
}

static void world_begin(struct sim_world *world)
{
    const struct sim_plan *plan = world->plan;
    hg_sim_net_init(world);
    hg_sim_flows_init(world);
    for (uint32_t i = 0; i < plan->node_count; i++)
        hg_sim_node_init(world, i);
    if (hg_sim_is_members(world))
        hg_sim_members_begin(world);
    if (world->failover != NULL)
        hg_sim_failover_begin(world);
    hg_sim_horizon_begin(world);
    for (uint32_t i = 0; i < plan->node_count; i++)
        hg_sim_grant_begin(&world->nodes[i]);
    for (uint32_t i = 0; i < plan->node_count; i++)
        hg_sim_event_put(world, i * HG_NS_PER_US, SIM_EVENT_BOOT, i, 0, NULL);
    for (uint32_t i = 0; i < plan->flow_count; i++)
        hg_sim_event_put(world, plan->flows[i].interval_ns, SIM_EVENT_PRODUCE, i, 0, NULL);
    for (uint32_t i = 0; i < plan->fault_count; i++)
        if (!plan->faults[i].left_out)
            hg_sim_event_put(world, plan->faults[i].time_ns, SIM_EVENT_FAULT, i, 0, NULL);
    hg_sim_event_put(world, plan->safety_ns, SIM_EVENT_HEAL, 0, 0, NULL);
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].lies != 0)
            hg_sim_event_put(world, plan->nodes[i].lie_gap_ns, SIM_EVENT_LIE, i, 0, NULL);
}

void hg_sim_world_free(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        hg_sim_node_free(&world->nodes[i]);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        free(world->flows[i].chains);
        free(world->flows[i].frame_memory);
        hg_sim_history_end(&world->flows[i]);
    }
    for (uint32_t i = 0; i < world->packets_count; i++)
        free(world->packets_all[i]);
    free(world->nodes);
    hg_sim_cluster_free(world->cluster);
    hg_sim_failover_free(world->failover);
    hg_sim_atlas_free(world->atlas);
    free(world->heap);
    hg_sim_keys_free(world);
    free(world->frame_memory);
    free(world->open_memory);
    free(world);
}

/* ---- running ---- */

/* Faults end: links are whole, disks prompt, pauses over. What is down comes back by its own restart. */
static void world_heal(struct sim_world *world)
{
    hg_sim_bottleneck_check(world);
    world->healed = true;
    hg_sim_trace(world, "---- heal: the liveness phase begins");
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        node->disk_stall_ns = 0;
        node->paused_ns = 0;
        node->steps_fuse = 0;
        node->transmit_fuse = 0;
        for (uint32_t j = 0; j < SIM_NODES_MAX; j++)
            world->links[i][j].cut_until_ns = 0;
        hg_sim_node_wake(node, world->now_ns);
    }
    hg_sim_core_heal(world);
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        hg_sim_produce(world, &world->flows[i]);
    if (world->cluster != NULL)
        hg_sim_cluster_heal(world);
}

static void event_handle(struct sim_world *world, const struct sim_event *event)
{
    struct sim_node *node = &world->nodes[event->a < SIM_NODES_MAX ? event->a : 0];
    switch ((enum sim_event_type)event->type) {
    case SIM_EVENT_WAKE:
        if (event->b == node->wake_generation)
            hg_sim_node_step(node);
        break;
    case SIM_EVENT_PACKET:
        hg_sim_packet_arrive(world, event->a, event->pointer);
        break;
    case SIM_EVENT_PRODUCE:
        hg_sim_produce(world, &world->flows[event->a]);
        break;
    case SIM_EVENT_FAULT:
        if (!world->healed)
            hg_sim_fault_strike(world, &world->plan->faults[event->a]);
        break;
    case SIM_EVENT_BOOT:
        hg_sim_node_boot(node);
        break;
    case SIM_EVENT_HEAL:
        world_heal(world);
        break;
    case SIM_EVENT_LIE:
        hg_sim_lie(node);
        break;
    case SIM_EVENT_AGENT:
        if (world->failover != NULL)
            hg_sim_failover_poll(node);
        else
            hg_sim_agent_step(world, event->a, event->b);
        break;
    case SIM_EVENT_MEMBERS:
        hg_sim_members_poll(node);
        break;
    case SIM_EVENT_GRANT:
        hg_sim_grant_event(node);
        break;
    case SIM_EVENT_OPERATOR:
        if (world->atlas != NULL)
            hg_sim_atlas_operator(node);
        else
            hg_sim_horizon_operator(node);
        break;
    }
}

static void world_events(struct sim_world *world)
{
    char text[SIM_TEXT_BYTES];
    uint64_t safety_ns = world->plan->safety_ns, checked_ns = 0, stalls_ns = 0;
    while (world->heap_count > 0) {
        struct sim_event event = event_take(world);
        world->now_ns = event.time_ns;
        world->events_count++;
        hg_sim_hash(world, event.time_ns);
        hg_sim_hash(world, event.type << 8 | event.a);
        event_handle(world, &event);
        if (world->over)
            return;
        if (world->now_ns - stalls_ns >= STALLS_NS) {
            stalls_ns = world->now_ns;
            hg_sim_check_stalls(world);
        }
        if (!world->healed || world->now_ns - checked_ns < HG_NS_PER_MS)
            continue;
        checked_ns = world->now_ns;
        if (hg_sim_complete(world, text, sizeof(text))) {
            world->liveness_ns = world->now_ns - safety_ns;
            return;
        }
        if (world->now_ns - safety_ns > SIM_LIVENESS_NS)
            hg_sim_violation(world, "stall", "%.0f s after everything was healed: %s",
                             (double)SIM_LIVENESS_NS / 1e9, text);
    }
    /* The last events may have been within the millisecond since it was looked at. */
    if (world->healed && hg_sim_complete(world, text, sizeof(text)))
        world->liveness_ns = world->now_ns - safety_ns;
    else
        hg_sim_violation(world, "stall", "no event is left to happen, and it is not done");
}

/* What all have in the end is on their disks. Nobody wants or orders anything any more. */
static void world_recover(struct sim_world *world)
{
    uint64_t begin_ns = world->now_ns;
    if (!hg_sim_recover_all(world))
        return;
    while (!hg_sim_recovered_all(world)) {
        struct sim_event event = event_take(world);
        world->now_ns = event.time_ns;
        bool is_over =
            event.type == SIM_EVENT_PRODUCE || (event.type == SIM_EVENT_AGENT && world->failover == NULL);
        if (!is_over)
            event_handle(world, &event);
        if (world->now_ns - begin_ns > SIM_LIVENESS_NS)
            hg_sim_violation(world, "stall", "not all logs are recovered at the end of the run");
    }
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        hg_sim_check_recovered_alike(world, &world->flows[i]);
}

bool hg_sim_world_run(struct sim_world *world)
{
    volatile bool clean = false; /* outlives a longjmp */
    hg_sim_world = world;
    if (setjmp(world->violation) == 0) {
        world_begin(world);
        world_events(world);
        hg_sim_check_histories(world);
        world_recover(world);
        for (uint32_t i = 0; i < world->plan->node_count; i++)
            if (world->nodes[i].is_up)
                hg_sim_harvest(&world->nodes[i]);
        clean = true;
    }
    hg_sim_allocation_unwatch();
    hg_sim_world = NULL;
    return clean;
}

static void flow_print(struct sim_node *node, const struct sim_flow *flow, FILE *out)
{
    const struct sim_worker *owner = hg_sim_worker_of(node, flow);
    if (owner == NULL) {
        fprintf(out, "    s%u: unknown here\n", flow->index);
        return;
    }
    struct hg_streams *streams = owner->worker->streams;
    uint32_t slot = (uint32_t)hg_streams_find(streams, flow->stream);
    const struct hg_stream_state *s = hg_streams_at(streams, slot);
    fprintf(out,
            "    s%u: worker %u, begin %llu committed %llu durable %llu sealed %llu taken %llu; produced "
            "%llu appended %llu; "
            "read %llu\n",
            flow->index, owner->worker->config.worker, (unsigned long long)s->lsn_begin,
            (unsigned long long)s->lsn_committed, (unsigned long long)s->lsn_durable,
            (unsigned long long)s->lsn_sealed, (unsigned long long)s->lsn_taken,
            (unsigned long long)flow->lsn_produced, (unsigned long long)flow->lsn_next,
            (unsigned long long)flow->places[node->index].read_end);
    for (uint32_t i = 0; s->origin_local && i < hg_peers_count(owner->worker->peers); i++) {
        const struct hg_peer *head = hg_peers_at(owner->worker->peers, i);
        const struct hg_peer *lane = hg_peers_lane_of(head, slot);
        fprintf(out, "      to %s: durable %llu, needs write %llu on;", head->name,
                (unsigned long long)s->lsn_peer[i],
                (unsigned long long)hg_streams_sequence_of(streams, slot, s->lsn_peer[i]));
        if (lane == NULL || lane->streams == NULL)
            fprintf(out, " no lane\n");
        else
            fprintf(out, " worker %u, state %u next %llu claimed %llu verified %u\n", lane->worker_remote,
                    lane->streams[slot].state, (unsigned long long)lane->streams[slot].lsn_next,
                    (unsigned long long)lane->streams[slot].lsn_claimed, lane->streams[slot].verified);
    }
}

static void consumers_print(const struct hg_worker *worker, FILE *out)
{
    struct hg_streams *streams = worker->streams;
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        const struct hg_consumer_state *c = hg_streams_consumer_at(streams, i);
        if (c != NULL)
            fprintf(out, "    consumer %s of %s at %llu, needs write %llu on\n", c->name,
                    hg_streams_at(streams, c->slot)->name, (unsigned long long)c->lsn,
                    (unsigned long long)hg_streams_sequence_of(streams, c->slot, c->lsn));
    }
}

static void peer_print(const struct hg_peer *peer, FILE *out)
{
    fprintf(out, "    lane %s to worker %u: state %u, cursor %llu+%u, current %d next %d\n", peer->lane_name,
            peer->worker_remote, peer->state, (unsigned long long)peer->cursor.sequence, peer->cursor.offset,
            peer->current, peer->next);
    if (peer->current < 0)
        return;
    const struct hg_lane_stats *lane = hg_lane_stats(peer->sessions[peer->current].lane);
    fprintf(out, "      deadline %llu:",
            (unsigned long long)hg_lane_deadline_ns(peer->sessions[peer->current].lane));
#define HG_X(name, text)                                                                                     \
    if (lane->name != 0)                                                                                     \
        fprintf(out, " %s %llu", #name, (unsigned long long)lane->name);
    HG_LANE_COUNTERS(HG_X)
#undef HG_X
    fprintf(out, " in flight %llu credit left %llu srtt %llu\n", (unsigned long long)lane->bytes_in_flight,
            (unsigned long long)lane->credit_bytes_left, (unsigned long long)lane->srtt_ns);
}

static void worker_print(const struct sim_worker *own, FILE *out)
{
    struct hg_worker *worker = own->worker;
    struct hg_log_stats stats;
    const struct hg_log *log = worker->log;
    hg_log_stats_get(log, &stats);
    fprintf(out,
            "    worker %u state %u, local time %llu; log: tail %llu durable %llu next %llu, %u of %u "
            "segments free, "
            "%llu writes %llu flushes %llu reads; %s\n",
            worker->config.worker, worker->state, (unsigned long long)worker->now_ns,
            (unsigned long long)hg_log_tail_sequence(log), (unsigned long long)hg_log_durable_sequence(log),
            (unsigned long long)hg_log_next_sequence(log), stats.segments_free, stats.segment_count,
            (unsigned long long)stats.writes, (unsigned long long)stats.flushes,
            (unsigned long long)stats.reads, hg_log_message(log));
    for (struct hg_peer *lane = hg_peers_next(worker->peers, NULL); lane != NULL;
         lane = hg_peers_next(worker->peers, lane))
        peer_print(lane, out);
    consumers_print(worker, out);
}

void hg_sim_world_state_print(struct sim_world *world, FILE *out)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        fprintf(out, "  node %c: %s, boots %llu\n", (int)('A' + i),
                !node->is_up ? (node->refused ? "refused its log" : "down") : "up",
                (unsigned long long)node->boots_count);
        if (!node->is_up)
            continue;
        for (uint32_t j = 0; j < node->worker_count; j++)
            worker_print(&node->workers[j], out);
        for (uint32_t j = 0; j < world->plan->flow_count; j++)
            flow_print(node, &world->flows[j], out);
    }
}
