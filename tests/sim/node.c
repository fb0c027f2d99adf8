/* SPDX-License-Identifier: Apache-2.0
 *
 * A node: a worker and the key agreement of its housekeeping over simulated drivers; how it starts, runs,
 * dies.
 */
#include "tests/sim/allocation.h"
#include "tests/sim/atlas.h"
#include "tests/sim/cluster.h"
#include "tests/sim/core.h"
#include "tests/sim/failover.h"
#include "tests/sim/gray.h"
#include "tests/sim/horizon.h"
#include "tests/sim/members.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define TURNS_MAX               20000u /* without time passing: it would spin for ever */
#define SPINS_MAX               200000u
#define ATLAS_SCRUB_BYTES_PER_S (16u << 20)
#define REALTIME_NS             (UINT64_C(1700000000) * HG_NS_PER_S)

/* ---- clocks ---- */

uint64_t hg_sim_boottime_ns(const struct sim_node *node, uint64_t time_ns)
{
    __int128 drift = (__int128)time_ns * node->plan->drift_ppm / 1000000;
    return node->plan->clock_offset_ns + time_ns + (uint64_t)(int64_t)drift;
}

uint64_t hg_sim_local_ns(const struct sim_node *node, uint64_t time_ns)
{
    return hg_sim_boottime_ns(node, time_ns) - node->grant.suspended_ns;
}

uint64_t hg_sim_time_of(const struct sim_node *node, uint64_t local_ns)
{
    if (local_ns == HG_TIME_NEVER)
        return HG_TIME_NEVER;
    local_ns += node->grant.suspended_ns;
    if (local_ns <= node->plan->clock_offset_ns)
        return 0;
    unsigned __int128 elapsed = local_ns - node->plan->clock_offset_ns;
    uint64_t time_ns = (uint64_t)(elapsed * 1000000 / (uint64_t)(1000000 + node->plan->drift_ppm));
    while (hg_sim_boottime_ns(node, time_ns) < local_ns)
        time_ns++;
    return time_ns;
}

static uint64_t clock_now(struct hg_clock *clock)
{
    const struct sim_node *node = ((struct sim_clock *)clock)->node;
    return hg_sim_local_ns(node, node->world->now_ns);
}

static uint64_t clock_realtime(struct hg_clock *clock)
{
    const struct sim_node *node = ((struct sim_clock *)clock)->node;
    int64_t wrong_ns = node->plan->realtime_offset_ns + node->realtime_jump_ns;
    return REALTIME_NS + clock_now(clock) - node->plan->clock_offset_ns + (uint64_t)wrong_ns;
}

static uint64_t clock_random(struct hg_clock *clock)
{
    return hg_random_u64(&((struct sim_clock *)clock)->node->random_clock);
}

static uint64_t clock_boottime(struct hg_clock *clock)
{
    return hg_sim_boottime_read(((struct sim_clock *)clock)->node);
}

/* ---- making ---- */

/* The peers that get the streams of this node, a bit each. */
static uint64_t peers_given(const struct sim_node *node)
{
    const struct sim_plan *plan = node->world->plan;
    uint64_t mask = 0;
    for (uint32_t i = 0, peer = 0; i < plan->node_count; i++)
        if (i != node->index)
            mask |= (uint64_t)!plan->nodes[i].shunned << peer++;
    return mask;
}

/* What of these the stream is given to: the held one only to the other region. */
static uint64_t peers_of(const struct sim_node *node, uint32_t flow)
{
    const struct sim_plan *plan = node->world->plan;
    bool is_held = flow == plan->held_flow && !node->world->held_free;
    return peers_given(node) & (is_held ? ~UINT64_C(0) << (plan->quorum_n - 1) : ~UINT64_C(0));
}

static void node_config(struct sim_node *node)
{
    const struct sim_plan *plan = node->world->plan;
    struct hg_control_config *config = node->config;
    config->node.cluster = SIM_CLUSTER;
    config->node.node = node->index + 1;
    config->node.region = (uint16_t)node->plan->region;
    if (hg_sim_has_quorum(plan, node->plan->region) && plan->members_n == 0) {
        config->quorum_n = (uint16_t)plan->quorum_n;
        config->quorum_w = (uint16_t)plan->quorum_w;
    }
    config->grant_ms = node->plan->grant_ms;
    config->port_count = 1;
    snprintf(config->ports[0].name, sizeof(config->ports[0].name), "p");
    config->ports[0].mtu_bytes = (uint16_t)plan->mtu_bytes;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        if (i == node->index)
            continue;
        struct hg_config_peer *peer = &config->peers[config->peer_count++];
        snprintf(peer->name, sizeof(peer->name), "%c", (int)('a' + i));
        snprintf(peer->port, sizeof(peer->port), "p");
        peer->node = i + 1;
        peer->region = (uint16_t)plan->nodes[i].region;
        peer->mac[0] = 2;
        peer->mac[5] = (uint8_t)(i + 1);
        peer->address = hg_address_ipv4(hg_sim_address(i));
        peer->rate_bytes_per_s = node->plan->rate_bytes_per_s;
        peer->congestion = node->plan->congestion;
        peer->fec = node->plan->fec;
        peer->ecn = node->plan->ecn;
        peer->receive_bytes_max = node->plan->receive_bytes;
        peer->rekey_packets = node->plan->rekey_packets;
        peer->rekey_seconds = node->plan->rekey_seconds;
        peer->drop_behind_bytes = plan->nodes[i].drop_behind_bytes;
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct hg_config_stream *stream = &config->streams[config->stream_count++];
        const struct sim_flow *flow = &node->world->flows[i];
        snprintf(stream->name, sizeof(stream->name), "s%u", i);
        stream->stream = flow->stream;
        stream->kind = flow->plan->physical ? HG_CONFIG_STREAM_POSTGRES_PHYSICAL : HG_CONFIG_STREAM_KEY_VALUE;
        stream->region = (uint16_t)plan->nodes[flow->plan->origin].region;
        stream->node = plan->quorum_n != 0 || node->world->cluster != NULL ? flow->plan->origin + 1 : 0;
        stream->group = hg_sim_group_of(plan, plan->nodes[flow->plan->origin].region);
        stream->epoch = 1;
        stream->compression = HG_CONFIG_COMPRESSION_LZ4;
        bool may_write =
            node->world->failover != NULL ? !hg_sim_is_outside(node) : flow->plan->origin == node->index;
        stream->peers_mask = may_write ? peers_of(node, i) : 0;
        if (!flow->plan->consumer)
            continue;
        struct hg_config_consumer *consumer = &config->consumers[config->consumer_count++];
        snprintf(consumer->name, sizeof(consumer->name), "r%u", i);
        snprintf(consumer->stream, sizeof(consumer->stream), "s%u", i);
    }
}

static struct hg_disk *log_make(struct sim_node *node, uint32_t worker)
{
    const struct sim_node_plan *plan = node->plan;
    struct hg_log_geometry geometry;
    memset(&geometry, 0, sizeof(geometry));
    geometry.cluster = SIM_CLUSTER;
    geometry.log_uuid[0] = (uint8_t)(node->index + 1);
    geometry.log_uuid[1] = (uint8_t)worker;
    geometry.log_uuid[2] = (uint8_t)node->boots_count; /* a new disk has another log */
    geometry.node_uuid[0] = (uint8_t)(node->index + 101);
    geometry.log_id = worker;
    geometry.segment_bytes = plan->segment_bytes;
    geometry.segment_count = plan->segment_count;
    geometry.write_payload_bytes_max = node->world->plan->write_payload_bytes;
    struct hg_disk_sim_config config = {
        .size_bytes = hg_log_file_bytes(&geometry),
        .depth = plan->disk_depth,
        .seed = hg_sim_random_seed(node->world, 20, node->index + worker * SIM_NODES_FEW),
        .write_ns_min = plan->write_ns_min,
        .write_ns_max = plan->write_ns_max,
        .read_ns_min = plan->read_ns_min,
        .read_ns_max = plan->read_ns_max,
        .flush_ns_min = plan->flush_ns_min,
        .flush_ns_max = plan->flush_ns_max,
    };
    struct hg_disk *disk = hg_disk_sim_create(&config);
    hg_assert(disk != NULL);
    disk->is_dsync = plan->disk_dsync;
    hg_sim_allocation_disk(disk);
    int rc = hg_log_format(disk, &geometry);
    if (rc != 0)
        hg_sim_violation(node->world, "format", "hg_log_format of node %c gives %d", (int)('A' + node->index),
                         rc);
    return disk;
}

static void workers_make(struct sim_node *node)
{
    size_t bytes = hg_align_up(SIM_WORKERS_MAX * sizeof(node->workers[0]), HG_CACHE_LINE_BYTES);
    size_t rings_bytes = SIM_WORKERS_MAX * SIM_WORKERS_MAX * sizeof(node->handover[0]);
    node->workers = aligned_alloc(HG_CACHE_LINE_BYTES, bytes);
    node->handover = aligned_alloc(HG_CACHE_LINE_BYTES, rings_bytes);
    hg_assert(node->workers != NULL && node->handover != NULL);
    memset(node->workers, 0, bytes);
    memset(node->handover, 0, rings_bytes);
    for (uint32_t i = 0; i < hg_max_u64(node->plan->workers, node->plan->workers_after); i++) {
        struct sim_worker *worker = &node->workers[i];
        worker->arena = aligned_alloc(HG_LOG_BLOCK_BYTES, node->plan->arena_bytes);
        hg_assert(worker->arena != NULL);
        hg_sim_port_init(node, &worker->port);
        worker->disk = log_make(node, i);
    }
    node->worker_count = node->plan->workers;
}

void hg_sim_node_init(struct sim_world *world, uint32_t index)
{
    struct sim_node *node = &world->nodes[index];
    node->world = world;
    node->index = index;
    node->plan = &world->plan->nodes[index];
    node->clock.node = node;
    node->clock.clock.now_ns = clock_now;
    node->clock.clock.realtime_ns = clock_realtime;
    node->clock.clock.random_u64 = clock_random;
    node->clock.clock.boottime_ns = clock_boottime;
    hg_random_init(&node->random_clock, hg_sim_random_seed(world, 21, index));
    hg_random_init(&node->random_port, hg_sim_random_seed(world, 22, index));
    hg_random_init(&node->random_steer, hg_sim_random_seed(world, 23, index));
    hg_random_init(&node->random_lie, hg_sim_random_seed(world, 24, index));
    node->config = calloc(1, sizeof(*node->config));
    node->resolved = calloc(1, sizeof(*node->resolved));
    hg_assert(node->config != NULL && node->resolved != NULL);
    node_config(node);
    workers_make(node);
}

void hg_sim_node_free(struct sim_node *node)
{
    if (node->is_up)
        hg_exchange_wipe(&node->exchange);
    for (uint32_t i = 0; node->workers != NULL && i < SIM_WORKERS_MAX; i++) {
        struct sim_worker *worker = &node->workers[i];
        if (worker->worker != NULL)
            hg_worker_free(worker->worker);
        if (worker->disk != NULL)
            worker->disk->close(worker->disk);
        if (worker->disk_old != NULL)
            worker->disk_old->close(worker->disk_old);
        free(worker->arena);
    }
    hg_sim_grant_free(node);
    hg_sim_orphans_free(node);
    free(node->workers);
    free(node->handover);
    free(node->resolved);
    free(node->config);
}

/* ---- life ---- */

void hg_sim_node_wake(struct sim_node *node, uint64_t time_ns)
{
    node->wake_ns = time_ns;
    node->wake_generation++;
    if (time_ns != HG_TIME_NEVER)
        hg_sim_event_put(node->world, time_ns, SIM_EVENT_WAKE, node->index, node->wake_generation, NULL);
}

static void worker_boot(struct sim_node *node, uint32_t index)
{
    struct sim_world *world = node->world;
    struct sim_worker *worker = &node->workers[index];
    struct hg_worker_config config = {
        .worker = index,
        .workers = node->worker_count,
        .handover = node->handover,
        .census = node->census,
        .clock = &node->clock.clock,
        .disk = worker->disk,
        .log_arena = worker->arena,
        .log_arena_bytes = node->plan->arena_bytes,
        .cluster = SIM_CLUSTER,
        .region = (uint16_t)node->plan->region,
        .streams_max = SIM_FLOWS_MAX,
        .peers_max = SIM_NODES_MAX - 1,
        .packets_in_flight_max = node->plan->packets_in_flight,
        .log_may_mark =
            hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROT) || hg_sim_is_atlas(world),
        .log_scrub_bytes_per_s = world->atlas != NULL ? ATLAS_SCRUB_BYTES_PER_S : 0,
        .batch_raw_bytes_max = world->plan->write_payload_bytes - 1024,
        .inbox = &worker->inbox,
        .outbox = &worker->outbox,
        .ctx = node,
    };
    memset(&worker->inbox, 0, offsetof(struct hg_mailbox, letters));
    memset(&worker->outbox, 0, offsetof(struct hg_mailbox, letters));
    memset(&worker->reader, 0, sizeof(worker->reader));
    worker->was_running = false;
    memset(worker->sessions, 0, sizeof(worker->sessions));
    worker->worker = hg_worker_init(&config);
    hg_assert(worker->worker != NULL);
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PORT;
    letter.pointer = &worker->port.port;
    letter.body.network.address = hg_address_ipv4(hg_sim_address(node->index));
    hg_assert(hg_mailbox_put(&worker->inbox, &letter));
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PLACES;
    letter.pointer = &worker->places;
    hg_assert(hg_mailbox_put(&worker->inbox, &letter));
}

void hg_sim_node_boot(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_mailbox *inboxes[SIM_WORKERS_MAX];
    if (node->is_up || node->refused || hg_sim_is_gone(node))
        return;
    if (node->boots_count > 0 && node->worker_count != node->plan->workers_after) {
        node->worker_count = node->plan->workers_after;
        world->sometimes[SIM_workers_changed]++;
    }
    for (uint32_t i = 0; i < SIM_WORKERS_MAX; i++)
        inboxes[i] = &node->workers[i].inbox;
    for (uint32_t i = 0; i < SIM_WORKERS_MAX * SIM_WORKERS_MAX; i++)
        memset(&node->handover[i], 0, offsetof(struct hg_handover, packets));
    hg_exchange_init(&node->exchange, &node->clock.clock, inboxes, node->worker_count);
    hg_placement_init(&node->placement, node->worker_count);
    memset(node->census, 0, sizeof(node->census));
    node->config_pending = 0;
    node->config_refused = false;
    memset(&node->move, 0, sizeof(node->move));
    node->move_spreads = false;
    memset(node->events_count, 0, sizeof(node->events_count));
    node->boot = hg_random_u64(&node->random_clock);
    node->boot_ns = world->now_ns;
    node->boots_count++;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_place *place = &world->flows[i].places[node->index];
        place->read_next = 0;
        place->committed_told = 0;
        memset(place->told_peer, 0, sizeof(place->told_peer));
        if (world->flows[i].plan->origin == node->index)
            world->flows[i].is_open = false;
    }
    for (uint32_t i = 0; i < node->worker_count; i++)
        worker_boot(node, i);
    hg_sim_grant_boot(node);
    node->is_up = true;
    if (world->cluster != NULL)
        hg_sim_agent_boot(node);
    if (world->failover != NULL)
        hg_sim_failover_boot(node);
    hg_sim_horizon_boot(node);
    hg_sim_trace(world, "node %c boots", (int)('A' + node->index));
    hg_sim_node_step(node);
}

static bool is_recovering(const struct sim_node *node)
{
    bool any = false;
    for (uint32_t i = 0; i < node->worker_count; i++)
        any |= node->workers[i].worker->state == HG_WORKER_RECOVERING;
    return any;
}

struct sim_worker *hg_sim_worker_of(struct sim_node *node, const struct sim_flow *flow)
{
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct hg_streams *streams = node->workers[i].worker->streams;
        int32_t slot = hg_streams_find(streams, flow->stream);
        if (slot >= 0 && hg_streams_at(streams, (uint32_t)slot)->configured)
            return &node->workers[i];
    }
    return NULL;
}

void hg_sim_node_die(struct sim_node *node, bool power, uint64_t restart_ns)
{
    struct sim_world *world = node->world;
    bool others_up = false;
    if (!node->is_up)
        return;
    hg_sim_harvest(node);
    hg_sim_trace(world, "node %c dies%s%s", (int)('A' + node->index), power ? ": power" : "",
                 is_recovering(node) ? " in recovery" : "");
    world->sometimes[power ? SIM_power_losses : SIM_process_kills]++;
    world->sometimes[SIM_power_losses_with_dsync] += power && node->plan->disk_dsync;
    world->sometimes[SIM_crashes_in_recovery] += is_recovering(node);
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct sim_worker *worker = &node->workers[i];
        if (worker->was_running)
            hg_sim_check_touched(worker);
        if (power)
            hg_disk_sim_crash(worker->disk);
        else
            hg_disk_sim_kill(worker->disk);
        hg_worker_free(worker->worker);
        worker->worker = NULL;
    }
    hg_exchange_wipe(&node->exchange);
    if (world->failover != NULL)
        hg_sim_failover_die(node, power);
    node->is_up = false;
    node->steps_fuse = 0;
    node->transmit_fuse = 0;
    hg_sim_port_reset(node);
    hg_sim_node_wake(node, HG_TIME_NEVER);
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        others_up |= world->nodes[i].is_up;
    world->sometimes[SIM_all_nodes_down_at_once] += !others_up;
    if (!node->refused)
        hg_sim_event_put(world, world->now_ns + restart_ns, SIM_EVENT_BOOT, node->index, 0, NULL);
}

/* ---- a step ---- */

static void keys_begin(struct sim_node *node)
{
    for (uint32_t i = 0; i < node->config->peer_count; i++) {
        struct hg_handshake_config config;
        memset(&config, 0, sizeof(config));
        config.cluster = SIM_CLUSTER;
        config.node_local = node->index + 1;
        config.node_remote = node->config->peers[i].node;
        config.boot_local = node->boot;
        config.workers_local = (uint8_t)node->worker_count;
        memset(config.psk, 0x5a, sizeof(config.psk));
        (void)hg_exchange_peer(&node->exchange, i, &config, hg_sim_local_ns(node, node->world->now_ns));
    }
}

void hg_sim_config_give(struct sim_node *node)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONFIG;
    letter.pointer = node->resolved;
    for (uint32_t i = 0; i < node->worker_count; i++)
        node->config_pending += hg_mailbox_put(&node->workers[i].inbox, &letter);
}

/* As housekeeping does it: when all logs are read back, every worker gets the same configuration. */
void hg_sim_config_apply(struct sim_node *node)
{
    *node->resolved = *node->config;
    hg_assert(hg_placement_resolve(&node->placement, node->resolved) == NULL);
    hg_placement_given(&node->placement, node->resolved);
    hg_sim_config_give(node);
    node->config_refused = false;
}

void hg_sim_held_free(struct sim_world *world)
{
    uint32_t flow = world->plan->held_flow;
    struct sim_node *origin = &world->nodes[world->plan->flows[flow].origin];
    world->held_free = true;
    world->sometimes[SIM_streams_held_back]++;
    origin->config->streams[flow].peers_mask = peers_of(origin, flow);
    hg_sim_config_apply(origin);
    hg_sim_node_step(origin);
}

static void places_done(struct sim_node *node, struct hg_places *places)
{
    hg_placement_hold(&node->placement, places);
    if (!hg_placement_known(&node->placement))
        return;
    for (uint32_t i = 0; i < places->count; i++)
        if (hg_placement_held_twice(&node->placement, places->table[i].stream) >= 0)
            hg_sim_violation(node->world, "two_owners", "node %c has stream %s in two logs",
                             (int)('A' + node->index), places->table[i].name);
    hg_sim_move_settle(node);
    hg_sim_config_apply(node);
}

static void config_done(struct sim_node *node, const struct hg_letter *letter)
{
    hg_assert(node->config_pending-- > 0);
    node->config_refused |= letter->code == -EINVAL;
    bool is_old = letter->code == -ESTALE && hg_sim_is_members(node->world);
    if (letter->code != -EINVAL && letter->code != 0 && !is_old)
        hg_sim_violation(node->world, "config", "node %c: %s", (int)('A' + node->index), letter->body.text);
    if (node->config_pending > 0)
        return;
    if (node->move_spreads) {
        node->move_spreads = false;
        return;
    }
    if (node->config_refused) /* a consumer found the log full: asked again, as an operator would */
        hg_sim_config_apply(node);
    keys_begin(node);
}

static bool letters_take(struct sim_node *node, struct sim_worker *worker)
{
    struct hg_letter letter;
    uint64_t local_ns = hg_sim_local_ns(node, node->world->now_ns);
    bool any = false;
    while (hg_mailbox_take(&worker->outbox, &letter)) {
        any = true;
        switch (letter.type) {
        case HG_LETTER_EVENT:
            hg_sim_check_event(node, &letter.body.event);
            break;
        case HG_LETTER_HANDSHAKE_IN:
        case HG_LETTER_REKEY:
        case HG_LETTER_SPI_UNKNOWN:
            node->world->sometimes[SIM_unknown_spi] += letter.type == HG_LETTER_SPI_UNKNOWN;
            hg_exchange_letter(&node->exchange, &letter, local_ns);
            break;
        case HG_LETTER_STREAM_LEFT:
        case HG_LETTER_STREAM_ENTERED:
            hg_sim_move_letter(node, &letter);
            break;
        case HG_LETTER_GROUP_DONE:
            if (node->world->failover != NULL)
                hg_sim_failover_ordered(node, &letter);
            else
                hg_sim_agent_answer(node, &letter);
            break;
        case HG_LETTER_GROUP_TAIL:
            hg_sim_failover_tail(node, &letter.body.tail);
            break;
        case HG_LETTER_STREAM_ADOPTED:
            hg_sim_horizon_answer(node, &letter);
            break;
        case HG_LETTER_ORPHAN:
            hg_sim_orphan_letter(node, worker, &letter);
            break;
        case HG_LETTER_PLACES_DONE:
            places_done(node, letter.pointer);
            break;
        case HG_LETTER_CONFIG_DONE:
            config_done(node, &letter);
            break;
        default:
            hg_sim_violation(node->world, "letter", "letter of type %u", letter.type);
        }
    }
    return any;
}

static struct sim_worker *worker_failed(const struct sim_node *node)
{
    for (uint32_t i = 0; i < node->worker_count; i++)
        if (node->workers[i].worker->state == HG_WORKER_FAILED)
            return &node->workers[i];
    return NULL;
}

static bool worker_turn(struct sim_node *node, struct sim_worker *worker, uint64_t *deadline_ns)
{
    if (!worker->was_running || node->config_pending > 0)
        return hg_worker_turn(worker->worker, deadline_ns);
    hg_sim_allocation_watch(worker);
    bool did = hg_worker_turn(worker->worker, deadline_ns);
    hg_sim_allocation_check(node, worker);
    return did;
}

/* One turn of each worker. */
static bool node_turn(struct sim_node *node, uint64_t *deadline_ns)
{
    bool did = false;
    *deadline_ns = HG_TIME_NEVER;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct sim_worker *worker = &node->workers[i];
        uint64_t after_ns;
        did |= worker_turn(node, worker, &after_ns);
        *deadline_ns = hg_min_u64(*deadline_ns, after_ns);
        did |= letters_take(node, worker);
        if (worker->worker->state == HG_WORKER_FAILED) {
            if (worker->was_running)
                hg_sim_check_node(node); /* a flush before the failure counts, and may have been told */
            return true;
        }
        if (worker->worker->state == HG_WORKER_RUNNING) {
            if (!worker->was_running)
                hg_sim_check_recovered(node, worker);
            worker->was_running = true;
            did |= !hg_mailbox_empty(&worker->inbox);
        }
    }
    return did;
}

/* Runs the node until it has nothing to do at this instant. Returns its next deadline in virtual time. */
static uint64_t node_run(struct sim_node *node)
{
    uint64_t deadline_ns = HG_TIME_NEVER, exchange_ns = HG_TIME_NEVER;
    for (uint32_t turn = 0;; turn++) {
        bool did = node_turn(node, &deadline_ns);
        if (worker_failed(node) != NULL)
            return 0;
        exchange_ns = hg_exchange_tick(&node->exchange, hg_sim_local_ns(node, node->world->now_ns));
        if (did || turn == 0)
            hg_sim_check_node(node);
        hg_sim_grant_turn(node);
        did |= hg_sim_append(node);
        did |= hg_sim_read(node);
        did |= hg_sim_move_tick(node);
        for (uint32_t i = 0; i < node->worker_count; i++) /* the first of them was given by the last */
            did |= node->workers[i].worker->state == HG_WORKER_RUNNING &&
                   hg_link_handed_over(&node->workers[i].worker->link);
        if (!did)
            break;
        if (turn == TURNS_MAX)
            hg_sim_violation(node->world, "livelock",
                             "node %c made %u turns with something done and no time passing",
                             (int)('A' + node->index), turn);
    }
    return hg_sim_time_of(node, hg_min_u64(deadline_ns, exchange_ns));
}

static void node_failed(struct sim_node *node, const struct sim_worker *worker)
{
    struct sim_world *world = node->world;
    bool is_corrupt = hg_log_is_corrupt(worker->worker->log);
    if (hg_sim_atlas_refused(node))
        return;
    if (hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_ROT) || hg_sim_is_damaged(node)) {
        /* Whatever it says: it refuses, nothing is shortened. */
        world->sometimes[SIM_corrupt_logs_refused]++;
        world->sometimes[SIM_damage_refused] += hg_sim_is_damaged(node);
        node->refused = true;
    } else if (hg_sim_was_misread(node)) {
        world->sometimes[SIM_recoveries_misread]++; /* the next start reads it right */
    } else if (is_corrupt) {
        hg_sim_violation(world, "false_corruption", "node %c: %s", (int)('A' + node->index),
                         hg_log_message(worker->worker->log));
    } else if (node->disk_errors_due == 0) {
        hg_sim_violation(world, "log_failed", "node %c: %s", (int)('A' + node->index),
                         hg_log_message(worker->worker->log));
    }
    world->sometimes[SIM_disk_errors_restarted]++;
    hg_sim_node_die(node, false, SIM_RESTART_FAIL_NS);
}

static bool fuse_burns(struct sim_node *node)
{
    if (node->steps_fuse == 0 || --node->steps_fuse > 0)
        return false;
    hg_sim_node_die(node, node->fuse_power, node->fuse_restart_ns);
    return true;
}

/* Has had its turn, and the next one is not due. */
static bool is_slow(struct sim_node *node)
{
    struct sim_world *world = node->world;
    if (world->now_ns >= node->slow_until_ns || world->healed)
        return false;
    if (world->now_ns < node->slow_next_ns) {
        hg_sim_node_wake(node, node->slow_next_ns);
        return true;
    }
    node->slow_next_ns = world->now_ns + node->slow_gap_ns;
    world->sometimes[SIM_slow_turns]++;
    return false;
}

void hg_sim_node_step(struct sim_node *node)
{
    struct sim_world *world = node->world;
    if (!node->is_up)
        return;
    if (world->now_ns < node->paused_ns) {
        hg_sim_node_wake(node, node->paused_ns);
        return;
    }
    if (is_slow(node))
        return;
    for (uint32_t i = 0; i < node->worker_count && world->now_ns >= node->disk_stall_ns; i++)
        hg_disk_sim_time_set(node->workers[i].disk, world->now_ns);
    if (setjmp(node->death) != 0) {
        world->sometimes[SIM_kills_inside_a_turn]++;
        hg_sim_allocation_unwatch();
        hg_sim_check_node(node); /* what it knew, it may have told in the packets of this turn */
        hg_sim_node_die(node, node->fuse_power, node->fuse_restart_ns);
        return;
    }
    uint64_t wake_ns = node_run(node);
    hg_sim_grant_step_over(node);
    const struct sim_worker *failed = worker_failed(node);
    if (failed != NULL) {
        node_failed(node, failed);
        return;
    }
    if (fuse_burns(node))
        return;
    for (uint32_t i = 0; i < node->worker_count; i++)
        wake_ns =
            hg_min_u64(wake_ns, hg_max_u64(hg_disk_sim_next_ns(node->workers[i].disk), node->disk_stall_ns));
    if (wake_ns <= world->now_ns) {
        wake_ns = world->now_ns + 1;
        if (++node->spins > SPINS_MAX)
            hg_sim_violation(world, "spin",
                             "node %c asks to be woken at once, again and again, and does nothing",
                             (int)('A' + node->index));
    } else {
        node->spins = 0;
    }
    hg_sim_node_wake(node, wake_ns);
}

/* ---- faults ---- */

static void fuse_set(struct sim_node *node, const struct sim_fault *fault, bool power)
{
    uint64_t count = fault->a & ~(UINT64_C(1) << 63);
    if (!node->is_up || hg_sim_atlas_spares(node))
        return;
    node->fuse_power = power;
    node->fuse_restart_ns = fault->b;
    node->steps_fuse = fault->a >> 63 ? 0 : count;
    node->transmit_fuse = fault->a >> 63 ? count : 0;
}

static void place_void(struct sim_place *place)
{
    place->durable_floor = 0;
    place->read_end = 0;
    place->durable_before = place->mark_floor = 0;
    place->rolled_back = true;
}

void hg_sim_node_disk_lost(struct sim_node *node, uint64_t restart_ns)
{
    struct sim_world *world = node->world;
    hg_sim_node_die(node, true, restart_ns);
    for (uint32_t i = 0; i < node->worker_count; i++) {
        node->workers[i].disk->close(node->workers[i].disk);
        node->workers[i].disk = log_make(node, i);
        hg_sim_check_recovered_void(&node->workers[i]);
    }
    world->sometimes[SIM_disks_lost]++;
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        place_void(&world->flows[i].places[node->index]);
    hg_sim_history_void(node, false);
    if (world->failover != NULL)
        hg_sim_failover_disk(node, false);
}

/* The history of what this node originates forks; what it had said of others' streams is void. */
static void rollback(struct sim_node *node, uint64_t restart_ns)
{
    struct sim_world *world = node->world;
    if (node->workers[0].disk_old == NULL)
        return;
    hg_sim_node_die(node, true, restart_ns);
    for (uint32_t i = 0; i < SIM_WORKERS_MAX && node->workers[i].disk_old != NULL; i++) {
        struct sim_worker *worker = &node->workers[i];
        worker->disk->close(worker->disk);
        worker->disk = worker->disk_old;
        worker->disk_old = NULL;
        hg_sim_check_recovered_void(worker);
    }
    world->sometimes[SIM_rollbacks]++;
    hg_sim_history_void(node, true);
    if (world->failover != NULL)
        hg_sim_failover_disk(node, true);
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        place_void(&flow->places[node->index]);
        if (flow->plan->origin == node->index)
            flow->fork_due = true;
    }
}

static void snapshot(struct sim_node *node, uint64_t restart_ns)
{
    hg_sim_node_die(node, false, restart_ns);
    for (uint32_t i = 0; i < SIM_WORKERS_MAX && node->workers[i].disk != NULL; i++) {
        struct sim_worker *worker = &node->workers[i];
        if (worker->disk_old != NULL)
            worker->disk_old->close(worker->disk_old);
        worker->disk_old = hg_disk_sim_clone(worker->disk);
        hg_assert(worker->disk_old != NULL);
    }
}

static void rot(struct sim_node *node, const struct sim_fault *fault)
{
    if (node->world->failover != NULL) {
        hg_sim_newest_rot(node, fault);
        return;
    }
    hg_sim_node_die(node, true, fault->b);
    /* Where something is: an untouched byte would tell nothing. */
    struct hg_disk *disk = node->workers[0].disk;
    uint8_t *bytes = hg_disk_sim_bytes(disk);
    uint64_t size = disk->size_bytes, at = fault->a % size;
    for (uint64_t i = 0; i < size && bytes[at] == 0; i++)
        at = (at + 1) % size;
    hg_disk_sim_flip_bit(disk, at, (uint32_t)(fault->a >> 61));
    hg_sim_check_recovered_void(&node->workers[0]);
}

static enum hg_disk_op disk_operation(enum sim_fault_kind kind)
{
    return kind == SIM_FAULT_DISK_WRITE   ? HG_DISK_WRITE
           : kind == SIM_FAULT_DISK_FLUSH ? HG_DISK_FLUSH
                                          : HG_DISK_READ;
}

static void disk_strike(struct sim_node *node, const struct sim_fault *fault)
{
    struct sim_world *world = node->world;
    struct hg_disk *disk = node->workers[fault->a % node->worker_count].disk;
    if (fault->kind == SIM_FAULT_DISK_STALL) {
        node->disk_stall_ns = hg_max_u64(node->disk_stall_ns, world->now_ns + fault->a);
        world->sometimes[SIM_disk_stalls]++;
        return;
    }
    if (fault->kind >= SIM_FAULT_DISK_LOSE) {
        hg_sim_gray_strike(node, fault);
        return;
    }
    node->disk_errors_due++;
    if (fault->kind != SIM_FAULT_DISK_SHORT) {
        hg_disk_sim_fail(disk, disk_operation(fault->kind), fault->a, fault->b == 0 ? EIO : (int)fault->b);
        return;
    }
    /* Short again where the log has no second try: it fails by name. */
    hg_disk_sim_short_write(disk, fault->a, (uint32_t)fault->b * HG_DISK_BLOCK_BYTES);
    world->sometimes[SIM_short_writes]++;
}

static void power_all(struct sim_world *world, const struct sim_fault *fault)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        if (!hg_sim_atlas_spares(&world->nodes[i]))
            hg_sim_node_die(&world->nodes[i], true, fault->b + i);
}

void hg_sim_fault_strike(struct sim_world *world, const struct sim_fault *fault)
{
    struct sim_node *node = &world->nodes[fault->node];
    char text[SIM_TEXT_BYTES];
    hg_sim_fault_text(fault, text, sizeof(text));
    hg_sim_trace(world, "fault: %s", text);
    switch (fault->kind) {
    case SIM_FAULT_KILL:
    case SIM_FAULT_POWER:
        fuse_set(node, fault, fault->kind == SIM_FAULT_POWER);
        break;
    case SIM_FAULT_POWER_ALL:
        power_all(world, fault);
        break;
    case SIM_FAULT_CUT:
    case SIM_FAULT_NARROW:
    case SIM_FAULT_FLAP:
    case SIM_FAULT_PATH:
    case SIM_FAULT_RATE:
        hg_sim_link_fault(world, fault);
        break;
    case SIM_FAULT_DISK_STALL:
    case SIM_FAULT_DISK_WRITE:
    case SIM_FAULT_DISK_FLUSH:
    case SIM_FAULT_DISK_READ:
    case SIM_FAULT_DISK_SHORT:
    case SIM_FAULT_DISK_LOSE:
    case SIM_FAULT_DISK_MISPLACE:
    case SIM_FAULT_DISK_MISREAD:
        disk_strike(node, fault);
        break;
    case SIM_FAULT_CLOCK_JUMP:
        node->realtime_jump_ns += (int64_t)fault->a;
        world->sometimes[SIM_clock_jumps]++;
        break;
    case SIM_FAULT_PAUSE:
        node->paused_ns = hg_max_u64(node->paused_ns, world->now_ns + fault->a);
        world->sometimes[SIM_pauses]++;
        break;
    case SIM_FAULT_SNAPSHOT:
        snapshot(node, fault->b);
        break;
    case SIM_FAULT_ROLLBACK:
        rollback(node, fault->b);
        break;
    case SIM_FAULT_ROT:
        rot(node, fault);
        break;
    case SIM_FAULT_BLANK:
        if (world->failover == NULL || hg_sim_failover_spares_disk(world))
            hg_sim_node_disk_lost(node, fault->b);
        break;
    case SIM_FAULT_MOVE:
        hg_sim_move_strike(node, fault);
        break;
    case SIM_FAULT_OPERATE:
    case SIM_FAULT_METASTORE:
        hg_sim_operate(world, fault);
        break;
    case SIM_FAULT_ATLAS:
        hg_sim_atlas_strike(world, fault);
        break;
    case SIM_FAULT_SLOW:
        node->slow_until_ns = world->now_ns + fault->a;
        node->slow_gap_ns = fault->b;
        break;
    default:
        hg_sim_grant_strike(node, fault);
    }
}
