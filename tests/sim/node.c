/* SPDX-License-Identifier: Apache-2.0
 *
 * A node: a worker and the key agreement of its housekeeping over simulated drivers; how it starts, runs,
 * dies.
 */
#include "tests/sim/scenario.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define TURNS_MAX   20000u /* without time passing: it would spin for ever */
#define SPINS_MAX   200000u
#define REALTIME_NS (UINT64_C(1700000000) * HG_NS_PER_S)

/* ---- clocks ---- */

uint64_t hg_sim_local_ns(const struct sim_node *node, uint64_t time_ns)
{
    __int128 drift = (__int128)time_ns * node->plan->drift_ppm / 1000000;
    return node->plan->clock_offset_ns + time_ns + (uint64_t)(int64_t)drift;
}

uint64_t hg_sim_time_of(const struct sim_node *node, uint64_t local_ns)
{
    if (local_ns == HG_TIME_NEVER)
        return HG_TIME_NEVER;
    if (local_ns <= node->plan->clock_offset_ns)
        return 0;
    unsigned __int128 elapsed = local_ns - node->plan->clock_offset_ns;
    uint64_t time_ns = (uint64_t)(elapsed * 1000000 / (uint64_t)(1000000 + node->plan->drift_ppm));
    while (hg_sim_local_ns(node, time_ns) < local_ns)
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

/* ---- making ---- */

static void node_config(struct sim_node *node)
{
    const struct sim_plan *plan = node->world->plan;
    struct hg_control_config *config = node->config;
    config->node.cluster = SIM_CLUSTER;
    config->node.node = node->index + 1;
    config->node.region = (uint16_t)node->index;
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
        peer->region = (uint16_t)i;
        peer->mac[0] = 2;
        peer->mac[5] = (uint8_t)(i + 1);
        peer->address = htonl(hg_sim_address(i));
        peer->rate_bytes_per_s = node->plan->rate_bytes_per_s;
        peer->congestion = node->plan->congestion;
        peer->receive_bytes_max = node->plan->receive_bytes;
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct hg_config_stream *stream = &config->streams[config->stream_count++];
        const struct sim_flow *flow = &node->world->flows[i];
        snprintf(stream->name, sizeof(stream->name), "s%u", i);
        stream->stream = flow->stream;
        stream->kind = flow->plan->physical ? HG_CONFIG_STREAM_POSTGRES_PHYSICAL : HG_CONFIG_STREAM_KEY_VALUE;
        stream->region = (uint16_t)flow->plan->origin;
        stream->group = 1;
        stream->epoch = 1;
        stream->compression = HG_CONFIG_COMPRESSION_LZ4;
        stream->peers_mask = flow->plan->origin == node->index ? (UINT64_C(1) << config->peer_count) - 1 : 0;
        if (!flow->plan->consumer)
            continue;
        struct hg_config_consumer *consumer = &config->consumers[config->consumer_count++];
        snprintf(consumer->name, sizeof(consumer->name), "r%u", i);
        snprintf(consumer->stream, sizeof(consumer->stream), "s%u", i);
    }
}

static void node_disk(struct sim_node *node)
{
    const struct sim_node_plan *plan = node->plan;
    struct hg_log_geometry geometry;
    memset(&geometry, 0, sizeof(geometry));
    geometry.cluster = SIM_CLUSTER;
    geometry.log_uuid[0] = (uint8_t)(node->index + 1);
    geometry.node_uuid[0] = (uint8_t)(node->index + 101);
    geometry.segment_bytes = plan->segment_bytes;
    geometry.segment_count = plan->segment_count;
    geometry.write_payload_bytes_max = node->world->plan->write_payload_bytes;
    struct hg_disk_sim_config config = {
        .size_bytes = hg_log_file_bytes(&geometry),
        .depth = plan->disk_depth,
        .seed = hg_sim_random_seed(node->world, 20, node->index),
        .write_ns_min = plan->write_ns_min,
        .write_ns_max = plan->write_ns_max,
        .read_ns_min = plan->read_ns_min,
        .read_ns_max = plan->read_ns_max,
        .flush_ns_min = plan->flush_ns_min,
        .flush_ns_max = plan->flush_ns_max,
    };
    node->disk = hg_disk_sim_create(&config);
    hg_assert(node->disk != NULL);
    int rc = hg_log_format(node->disk, &geometry);
    if (rc != 0)
        hg_sim_violation(node->world, "format", "hg_log_format of node %c gives %d", (int)('A' + node->index),
                         rc);
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
    hg_random_init(&node->random_clock, hg_sim_random_seed(world, 21, index));
    hg_random_init(&node->random_port, hg_sim_random_seed(world, 22, index));
    node->config = calloc(1, sizeof(*node->config));
    node->arena = aligned_alloc(HG_LOG_BLOCK_BYTES, node->plan->arena_bytes);
    hg_assert(node->config != NULL && node->arena != NULL);
    node_config(node);
    hg_sim_port_init(node);
    node_disk(node);
}

void hg_sim_node_free(struct sim_node *node)
{
    if (node->is_up) {
        hg_worker_free(node->worker);
        hg_exchange_wipe(&node->exchange);
    }
    if (node->disk != NULL)
        node->disk->close(node->disk);
    if (node->disk_old != NULL)
        node->disk_old->close(node->disk_old);
    free(node->config);
    free(node->arena);
}

/* ---- life ---- */

void hg_sim_node_wake(struct sim_node *node, uint64_t time_ns)
{
    node->wake_ns = time_ns;
    node->wake_generation++;
    if (time_ns != HG_TIME_NEVER)
        hg_sim_event_put(node->world, time_ns, SIM_EVENT_WAKE, node->index, node->wake_generation, NULL);
}

void hg_sim_node_boot(struct sim_node *node)
{
    struct sim_world *world = node->world;
    if (node->is_up || node->refused)
        return;
    struct hg_worker_config config = {
        .clock = &node->clock.clock,
        .disk = node->disk,
        .log_arena = node->arena,
        .log_arena_bytes = node->plan->arena_bytes,
        .cluster = SIM_CLUSTER,
        .region = (uint16_t)node->index,
        .streams_max = SIM_FLOWS_MAX,
        .peers_max = SIM_NODES_MAX - 1,
        .packets_in_flight_max = node->plan->packets_in_flight,
        .batch_raw_bytes_max = world->plan->write_payload_bytes - 1024,
        .inbox = &node->inbox,
        .outbox = &node->outbox,
        .ctx = node,
    };
    memset(&node->inbox, 0, offsetof(struct hg_mailbox, letters));
    memset(&node->outbox, 0, offsetof(struct hg_mailbox, letters));
    hg_exchange_init(&node->exchange, &node->clock.clock, &node->inbox);
    node->boot = hg_random_u64(&node->random_clock);
    node->boot_ns = world->now_ns;
    node->boots_count++;
    node->was_running = false;
    memset(&node->reader, 0, sizeof(node->reader));
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_place *place = &world->flows[i].places[node->index];
        place->read_next = 0;
        memset(place->told_peer, 0, sizeof(place->told_peer));
        if (world->flows[i].plan->origin == node->index)
            world->flows[i].is_open = false;
    }
    node->worker = hg_worker_init(&config);
    hg_assert(node->worker != NULL);
    node->is_up = true;
    hg_sim_trace(world, "node %c boots", (int)('A' + node->index));
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PORT;
    letter.pointer = &node->port.port;
    letter.number = htonl(hg_sim_address(node->index));
    hg_assert(hg_mailbox_put(&node->inbox, &letter));
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONFIG;
    letter.pointer = node->config;
    hg_assert(hg_mailbox_put(&node->inbox, &letter));
    hg_sim_node_step(node);
}

void hg_sim_node_die(struct sim_node *node, bool power, uint64_t restart_ns)
{
    struct sim_world *world = node->world;
    bool others_up = false;
    if (!node->is_up)
        return;
    hg_sim_harvest(node);
    hg_sim_trace(world, "node %c dies%s%s", (int)('A' + node->index), power ? ": power" : "",
                 node->worker->state == HG_WORKER_RECOVERING ? " in recovery" : "");
    world->sometimes[power ? SIM_power_losses : SIM_process_kills]++;
    world->sometimes[SIM_crashes_in_recovery] += node->worker->state == HG_WORKER_RECOVERING;
    if (power)
        hg_disk_sim_crash(node->disk);
    else
        hg_disk_sim_kill(node->disk);
    hg_worker_free(node->worker);
    hg_exchange_wipe(&node->exchange);
    node->worker = NULL;
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
        config.workers_local = 1;
        memset(config.psk, 0x5a, sizeof(config.psk));
        (void)hg_exchange_peer(&node->exchange, i, &config, hg_sim_local_ns(node, node->world->now_ns));
    }
}

static void config_done(struct sim_node *node, const struct hg_letter *letter)
{
    if (letter->code == -EINVAL) { /* a consumer found the log full: asked again, as an operator would */
        struct hg_letter again;
        memset(&again, 0, sizeof(again));
        again.type = HG_LETTER_CONFIG;
        again.pointer = node->config;
        (void)hg_mailbox_put(&node->inbox, &again);
    } else if (letter->code != 0) {
        hg_sim_violation(node->world, "config", "node %c: %s", (int)('A' + node->index), letter->body.text);
    }
    keys_begin(node);
}

static bool letters_take(struct sim_node *node)
{
    struct hg_letter letter;
    uint64_t local_ns = hg_sim_local_ns(node, node->world->now_ns);
    bool any = false;
    while (hg_mailbox_take(&node->outbox, &letter)) {
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
        case HG_LETTER_CONFIG_DONE:
            config_done(node, &letter);
            break;
        default:
            hg_sim_violation(node->world, "letter", "letter of type %u", letter.type);
        }
    }
    return any;
}

/* Runs the node until it has nothing to do at this instant. Returns its next deadline in virtual time. */
static uint64_t node_run(struct sim_node *node)
{
    uint64_t deadline_ns = HG_TIME_NEVER, exchange_ns = HG_TIME_NEVER;
    for (uint32_t turn = 0;; turn++) {
        bool did = hg_worker_turn(node->worker, &deadline_ns);
        did |= letters_take(node);
        exchange_ns = hg_exchange_tick(&node->exchange, hg_sim_local_ns(node, node->world->now_ns));
        if (node->worker->state == HG_WORKER_FAILED) {
            if (node->was_running)
                hg_sim_check_node(node); /* a flush before the failure counts, and may have been told */
            return 0;
        }
        if (node->worker->state == HG_WORKER_RUNNING) {
            node->was_running = true;
            hg_sim_check_node(node);
            did |= hg_sim_append(node);
            did |= hg_sim_read(node);
            did |= !hg_mailbox_empty(&node->inbox);
        }
        if (!did)
            break;
        if (turn == TURNS_MAX)
            hg_sim_violation(node->world, "livelock",
                             "node %c made %u turns with something done and no time passing",
                             (int)('A' + node->index), turn);
    }
    return hg_sim_time_of(node, hg_min_u64(deadline_ns, exchange_ns));
}

static void node_failed(struct sim_node *node)
{
    struct sim_world *world = node->world;
    bool is_corrupt = hg_log_is_corrupt(node->worker->log);
    if (hg_sim_scenario_has(world->plan->scenario,
                            SIM_SCENARIO_ROT)) { /* whatever it says: it refuses, nothing is shortened */
        world->sometimes[SIM_corrupt_logs_refused]++;
        node->refused = true;
    } else if (is_corrupt) {
        hg_sim_violation(world, "false_corruption", "node %c: %s", (int)('A' + node->index),
                         hg_log_message(node->worker->log));
    } else if (node->disk_errors_due == 0) {
        hg_sim_violation(world, "log_failed", "node %c: %s", (int)('A' + node->index),
                         hg_log_message(node->worker->log));
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

void hg_sim_node_step(struct sim_node *node)
{
    struct sim_world *world = node->world;
    if (!node->is_up)
        return;
    if (world->now_ns < node->paused_ns) {
        hg_sim_node_wake(node, node->paused_ns);
        return;
    }
    if (world->now_ns >= node->disk_stall_ns)
        hg_disk_sim_time_set(node->disk, world->now_ns);
    if (setjmp(node->death) != 0) {
        world->sometimes[SIM_kills_inside_a_turn]++;
        hg_sim_check_node(node); /* what it knew, it may have told in the packets of this turn */
        hg_sim_node_die(node, node->fuse_power, node->fuse_restart_ns);
        return;
    }
    uint64_t wake_ns = node_run(node);
    if (node->worker->state == HG_WORKER_FAILED) {
        node_failed(node);
        return;
    }
    if (fuse_burns(node))
        return;
    wake_ns = hg_min_u64(wake_ns, hg_max_u64(hg_disk_sim_next_ns(node->disk), node->disk_stall_ns));
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
    if (!node->is_up)
        return;
    node->fuse_power = power;
    node->fuse_restart_ns = fault->b;
    node->steps_fuse = fault->a >> 63 ? 0 : count;
    node->transmit_fuse = fault->a >> 63 ? count : 0;
}

/* The history of what this node originates forks; what it had said of others' streams is void. */
static void rollback(struct sim_node *node, uint64_t restart_ns)
{
    struct sim_world *world = node->world;
    if (node->disk_old == NULL)
        return;
    hg_sim_node_die(node, true, restart_ns);
    node->disk->close(node->disk);
    node->disk = node->disk_old;
    node->disk_old = NULL;
    world->sometimes[SIM_rollbacks]++;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct sim_flow *flow = &world->flows[i];
        struct sim_place *place = &flow->places[node->index];
        place->durable_floor = 0;
        place->read_end = 0;
        place->durable_before = place->mark_floor = 0;
        place->rolled_back = true;
        if (flow->plan->origin == node->index)
            flow->fork_due = true;
    }
}

static void snapshot(struct sim_node *node, uint64_t restart_ns)
{
    hg_sim_node_die(node, false, restart_ns);
    if (node->disk_old != NULL)
        node->disk_old->close(node->disk_old);
    node->disk_old = hg_disk_sim_clone(node->disk);
    hg_assert(node->disk_old != NULL);
}

static void rot(struct sim_node *node, const struct sim_fault *fault)
{
    hg_sim_node_die(node, true, fault->b);
    /* Where something is: an untouched byte would tell nothing. */
    uint8_t *bytes = hg_disk_sim_bytes(node->disk);
    uint64_t size = node->disk->size_bytes, at = fault->a % size;
    for (uint64_t i = 0; i < size && bytes[at] == 0; i++)
        at = (at + 1) % size;
    hg_disk_sim_flip_bit(node->disk, at, (uint32_t)(fault->a >> 61));
}

void hg_sim_fault_strike(struct sim_world *world, const struct sim_fault *fault)
{
    struct sim_node *node = &world->nodes[fault->node];
    char text[SIM_TEXT_BYTES];
    hg_sim_fault_text(fault, text, sizeof(text));
    hg_sim_trace(world, "fault: %s", text);
    switch (fault->kind) {
    case SIM_FAULT_KILL:
        fuse_set(node, fault, false);
        break;
    case SIM_FAULT_POWER:
        fuse_set(node, fault, true);
        break;
    case SIM_FAULT_POWER_ALL:
        for (uint32_t i = 0; i < world->plan->node_count; i++)
            hg_sim_node_die(&world->nodes[i], true, fault->b + i);
        break;
    case SIM_FAULT_CUT:
    case SIM_FAULT_NARROW:
    case SIM_FAULT_FLAP:
    case SIM_FAULT_PATH:
        hg_sim_link_fault(world, fault);
        break;
    case SIM_FAULT_DISK_STALL:
        node->disk_stall_ns = hg_max_u64(node->disk_stall_ns, world->now_ns + fault->a);
        world->sometimes[SIM_disk_stalls]++;
        break;
    case SIM_FAULT_DISK_WRITE:
        hg_disk_sim_fail(node->disk, HG_DISK_WRITE, fault->a, EIO);
        node->disk_errors_due++;
        break;
    case SIM_FAULT_DISK_FLUSH:
        hg_disk_sim_fail(node->disk, HG_DISK_FLUSH, fault->a, EIO);
        node->disk_errors_due++;
        break;
    case SIM_FAULT_DISK_READ:
        hg_disk_sim_fail(node->disk, HG_DISK_READ, fault->a, EIO);
        node->disk_errors_due++;
        break;
    case SIM_FAULT_DISK_SHORT:
        hg_disk_sim_short_write(node->disk, fault->a, (uint32_t)fault->b * HG_DISK_BLOCK_BYTES);
        node->disk_errors_due++; /* short again where the log has no second try: it fails by name */
        world->sometimes[SIM_short_writes]++;
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
    case SIM_FAULT_KIND_COUNT:
        hg_assert(!"a fault of an unknown kind");
    }
}
