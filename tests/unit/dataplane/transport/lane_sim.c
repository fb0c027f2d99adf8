/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/dataplane/transport/lane_sim.h"
#include <errno.h>
#include <stdlib.h>

struct sim_batch {
    struct hg_lane_batch name;
    uint8_t *bytes;
    uint64_t given_ns;
    bool acked;
    bool taken;
};

struct sim_side {
    struct sim *sim;
    struct hg_lane *lane;
    void *memory;
    struct sim_batch *batches; /* to be sent, in order */
    uint32_t batch_count;
    uint32_t batch_next;
    uint32_t acked_count;
    uint32_t taken_count;               /* of the other side's */
    uint32_t expected[SIM_ALIASES_MAX]; /* index in the other side's batches of the next to come */
    uint32_t controls_sent;
    uint64_t control_newest[SIM_ALIASES_MAX]; /* that we sent */
    uint64_t control_seen[SIM_ALIASES_MAX];   /* newest that arrived here */
    uint64_t number_next;
};

struct sim_packet {
    uint64_t arrival_ns;
    uint64_t order;
    uint64_t number;
    uint8_t to;
    uint8_t ecn;
    uint32_t bytes;
    uint8_t *inner;
};

struct sim {
    struct sim_config config;
    uint64_t random;
    uint64_t now_ns;
    struct sim_side sides[2];
    struct sim_packet *heap;
    uint32_t heap_count;
    uint32_t heap_room;
    uint64_t order;
    bool burst[2]; /* the link to that side loses what comes next */
    struct sim_result result;
};

static void sim_error(struct sim *sim, const char *what)
{
    sim->result.errors++;
    if (sim->result.error == NULL) {
        sim->result.error = what;
    }
}

/* ---- owners ---- */

static bool owner_next(void *ctx, struct hg_lane_batch *batch)
{
    struct sim_side *side = ctx;
    if (hg_lane_stats(side->lane)->credit_bytes_left == 0) {
        sim_error(side->sim, "batch_next called without credit");
    }
    if (side->batch_next == side->batch_count ||
        side->batch_next * side->sim->config.gap_ns > side->sim->now_ns) {
        return false;
    }
    side->batches[side->batch_next].given_ns = side->sim->now_ns;
    *batch = side->batches[side->batch_next++].name;
    return true;
}

static const uint8_t *owner_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    struct sim_side *side = ctx;
    const struct sim_batch *mine = &side->batches[batch->sequence];
    if (mine->acked) {
        sim_error(side->sim, "bytes asked for after the batch was acknowledged");
    }
    return sim_chance(&side->sim->random, side->sim->config.read_null_per_mille) ? NULL : mine->bytes;
}

static void owner_acked(void *ctx, const struct hg_lane_batch *batch)
{
    struct sim_side *side = ctx;
    struct sim_batch *mine = &side->batches[batch->sequence];
    if (mine->acked) {
        sim_error(side->sim, "a batch acknowledged twice");
    }
    mine->acked = true;
    side->acked_count++;
}

static int owner_received(void *ctx, uint32_t alias, const uint8_t *bytes, uint32_t count)
{
    struct sim_side *side = ctx;
    struct sim *sim = side->sim;
    struct sim_side *other = &sim->sides[side == &sim->sides[0]];
    if (sim->now_ns < sim->config.again_until_ns || sim_chance(&sim->random, sim->config.again_per_mille)) {
        return -EAGAIN;
    }
    uint32_t index = side->expected[alias];
    while (index < other->batch_count && other->batches[index].name.alias != alias) {
        index++;
    }
    if (index == other->batch_count) {
        sim_error(sim, "a batch that was never sent");
        return 0;
    }
    struct sim_batch *sent = &other->batches[index];
    if (sent->taken || count != sent->name.bytes || memcmp(bytes, sent->bytes, count) != 0) {
        sim_error(sim, "a batch out of order, twice or with other bytes");
    }
    sent->taken = true;
    sim->result.stalls += sim->now_ns - sent->given_ns > sim->config.link.delay_ns + sim->config.stall_ns;
    side->expected[alias] = index + 1;
    side->taken_count++;
    return 0;
}

static void owner_control(void *ctx, const struct hg_wire_control *frame)
{
    struct sim_side *side = ctx;
    struct hg_wire_stream_durable durable;
    memcpy(&durable, frame, sizeof(durable));
    if (frame->type != HG_WIRE_STREAM_DURABLE || frame->alias >= SIM_ALIASES_MAX) {
        sim_error(side->sim, "a control frame that was never sent");
        return;
    }
    uint64_t *seen = &side->control_seen[frame->alias];
    *seen = hg_max_u64(*seen, durable.lsn_durable);
}

static const struct hg_lane_ops owner_ops = {owner_next, owner_bytes, owner_acked, owner_received,
                                             owner_control};

/* ---- link
 * ----------------------------------------------------------------------------------------------------------
 */

static bool packet_before(const struct sim_packet *a, const struct sim_packet *b)
{
    return a->arrival_ns != b->arrival_ns ? a->arrival_ns < b->arrival_ns : a->order < b->order;
}

static void heap_push(struct sim *sim, struct sim_packet packet)
{
    if (sim->heap_count == sim->heap_room) {
        sim->heap_room = sim->heap_room ? sim->heap_room * 2 : 1024;
        sim->heap = realloc(sim->heap, sim->heap_room * sizeof(*sim->heap));
        hg_assert(sim->heap != NULL);
    }
    uint32_t at = sim->heap_count++;
    while (at > 0 && packet_before(&packet, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = packet;
}

static struct sim_packet heap_pop(struct sim *sim)
{
    struct sim_packet top = sim->heap[0];
    struct sim_packet last = sim->heap[--sim->heap_count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= sim->heap_count) {
            break;
        }
        if (child + 1 < sim->heap_count && packet_before(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!packet_before(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    if (sim->heap_count > 0) {
        sim->heap[at] = last;
    }
    return top;
}

static bool link_loses(struct sim *sim, uint8_t to)
{
    const struct sim_link *link = &sim->config.link;
    if (link->burst_packets <= 1) {
        return sim_chance(&sim->random, link->loss_per_mille);
    }
    /* A run of losses begins so seldom, and ends so soon, that the shares are right. */
    uint64_t draw = sim_random(&sim->random);
    sim->burst[to] = sim->burst[to] ? draw % link->burst_packets != 0
                                    : draw % (1000ull * link->burst_packets) < link->loss_per_mille;
    return sim->burst[to];
}

/* The codepoint that arrives. */
static uint8_t link_ecn(struct sim *sim, uint8_t ecn)
{
    const struct sim_link *link = &sim->config.link;
    if (ecn == HG_ECN_ECT0 && link->mark_per_mille > 0 && sim_chance(&sim->random, link->mark_per_mille)) {
        ecn = HG_ECN_CE;
        sim->result.marked++;
    }
    if (link->ecn_path == SIM_ECN_KEPT || sim->now_ns < link->ecn_from_ns) {
        return ecn;
    }
    return link->ecn_path == SIM_ECN_ALL_CE     ? HG_ECN_CE
           : ecn == HG_ECN_NOT_ECT              ? ecn
           : link->ecn_path == SIM_ECN_REMARKED ? HG_ECN_ECT1
                                                : HG_ECN_NOT_ECT;
}

static void link_carry(struct sim *sim, uint8_t to, uint64_t number, const struct hg_lane_packet *packet)
{
    const struct sim_link *link = &sim->config.link;
    bool cut = sim->now_ns >= link->cut_from_ns && sim->now_ns < link->cut_to_ns;
    bool too_large = link->narrow_bytes != 0 && sim->now_ns >= link->narrow_from_ns &&
                     sim->now_ns < link->narrow_to_ns && hg_lane_ip_bytes(packet->bytes) > link->narrow_bytes;
    bool refused = link->ecn_path == SIM_ECN_DROPPED && sim->now_ns >= link->ecn_from_ns &&
                   packet->ecn != HG_ECN_NOT_ECT;
    if (too_large || cut || refused || link_loses(sim, to)) {
        sim->result.lost++;
        return;
    }
    uint8_t ecn = link_ecn(sim, packet->ecn);
    uint32_t copies = 1 + sim_chance(&sim->random, link->duplicate_per_mille);
    for (uint32_t copy = 0; copy < copies; copy++) {
        uint64_t delay_ns = link->delay_ns + sim_random(&sim->random) % (link->jitter_ns + 1);
        if (sim_chance(&sim->random, link->reorder_per_mille)) {
            delay_ns += sim_random(&sim->random) % (link->reorder_ns + 1);
        }
        uint8_t *inner = malloc(packet->bytes);
        hg_assert(inner != NULL);
        uint32_t bytes = 0;
        for (uint32_t i = 0; i < packet->piece_count; i++) {
            memcpy(inner + bytes, packet->pieces[i].iov_base, packet->pieces[i].iov_len);
            bytes += (uint32_t)packet->pieces[i].iov_len;
        }
        hg_assert(bytes == packet->bytes);
        heap_push(sim,
                  (struct sim_packet){sim->now_ns + delay_ns, sim->order++, number, to, ecn, bytes, inner});
    }
}

/* ---- run
 * -----------------------------------------------------------------------------------------------------------
 */

struct sim_config sim_config_default(uint64_t seed)
{
    return (struct sim_config){
        .seed = seed,
        .link = {.delay_ns = 5 * HG_NS_PER_MS},
        .rate_bytes_per_s = 50000000,
        .deadline_ns = 60 * HG_NS_PER_S,
        .packets_in_flight_max = 1024,
        .mtu_bytes = 1500,
        .alias_count = 3,
        .batches = {20, 10},
        .batch_bytes_min = 208,
        .batch_bytes_max = 20000,
        .control_count = 20,
        .tick_ns = HG_NS_PER_MS,
    };
}

static void side_init(struct sim *sim, uint32_t which)
{
    const struct sim_config *config = &sim->config;
    struct sim_side *side = &sim->sides[which];
    side->sim = sim;
    side->number_next = 1;
    struct hg_lane_config lane = {
        .ops = &owner_ops,
        .ctx = side,
        .mtu_bytes = config->mtu_bytes,
        .rate_bytes_per_s = config->rate_bytes_per_s,
        .receive_bytes_max = config->receive_bytes_max,
        .fec = config->fec,
        .ecn = config->ecn,
        .congestion = config->congestion,
        .packets_in_flight_max = config->packets_in_flight_max,
    };
    side->memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(hg_lane_bytes(&lane), HG_CACHE_LINE_BYTES));
    hg_assert(side->memory != NULL);
    side->lane = hg_lane_init(side->memory, &lane, sim->now_ns);
    side->batch_count = config->batches[which];
    side->batches = calloc(side->batch_count + 1, sizeof(*side->batches));
    uint64_t lsn[SIM_ALIASES_MAX];
    for (uint32_t i = 0; i < SIM_ALIASES_MAX; i++) {
        lsn[i] = 100;
        if (i < config->alias_count) {
            hg_assert(hg_lane_alias_open(side->lane, i, 100) == 0);
        }
    }
    for (uint32_t i = 0; i < side->batch_count; i++) {
        struct sim_batch *batch = &side->batches[i];
        uint32_t span = config->batch_bytes_max - config->batch_bytes_min;
        uint32_t bytes = (config->batch_bytes_min + (uint32_t)(sim_random(&sim->random) % (span + 1))) & ~15u;
        uint32_t alias = (uint32_t)(sim_random(&sim->random) % config->alias_count);
        uint64_t lsn_end = lsn[alias] + 1 + sim_random(&sim->random) % 50;
        batch->name =
            (struct hg_lane_batch){.alias = alias, .bytes = bytes, .lsn_first = lsn[alias], .sequence = i};
        batch->name.lsn_end = lsn_end;
        batch->bytes = malloc(bytes);
        for (uint32_t at = 0; at < bytes; at += 8) {
            uint64_t word = sim_random(&sim->random);
            memcpy(batch->bytes + at, &word, 8);
        }
        memcpy(batch->bytes + offsetof(struct hg_batch_header, lsn_first), &lsn[alias], 8);
        memcpy(batch->bytes + offsetof(struct hg_batch_header, lsn_end), &lsn_end, 8);
        lsn[alias] = lsn_end;
    }
}

static void side_control(struct sim_side *side)
{
    if (side->controls_sent >= side->sim->config.control_count || !sim_chance(&side->sim->random, 300)) {
        return;
    }
    uint32_t alias = (uint32_t)(sim_random(&side->sim->random) % side->sim->config.alias_count);
    struct hg_wire_stream_durable frame = {
        .control = {.type = HG_WIRE_STREAM_DURABLE, .bytes = sizeof(frame), .alias = alias},
        .lsn_durable = ++side->controls_sent,
    };
    side->control_newest[alias] = frame.lsn_durable;
    if (hg_lane_control_send(side->lane, &frame.control) != 0) {
        sim_error(side->sim, "a control frame refused");
    }
}

static void side_turn(struct sim *sim, uint32_t which)
{
    struct sim_side *side = &sim->sides[which];
    hg_lane_offer(side->lane);
    side_control(side);
    struct hg_lane_packet packet;
    uint32_t bytes;
    while ((bytes = hg_lane_build(side->lane, side->number_next, sim->now_ns, &packet)) > 0) {
        if (bytes != packet.bytes || bytes > HG_WIRE_INNER_BYTES(sim->config.mtu_bytes)) {
            sim_error(sim, "a packet larger than the MTU");
        }
        link_carry(sim, (uint8_t)(1 - which), side->number_next, &packet);
        /* A seal that fails uses a number up too. */
        side->number_next += 1 + sim_chance(&sim->random, 5);
        sim->result.packets++;
    }
    const struct hg_lane_stats *stats = hg_lane_stats(side->lane);
    sim->result.in_flight_max = hg_max_u64(sim->result.in_flight_max, stats->bytes_in_flight);
    if (side->lane->sent.packets_in_flight > sim->config.packets_in_flight_max) {
        sim_error(sim, "more packets in flight than allowed");
    }
    /* Probes, control frames and the shrinking of the window may exceed it by a little. */
    if (side->lane->outbox.cost_bytes > (uint64_t)side->lane->reassembly.block_count * HG_WIRE_BLOCK_BYTES) {
        sim_error(sim, "more admitted than the other side's memory");
    }
    if (hg_lane_deadline_ns(side->lane) <= sim->now_ns && !side->lane->paced) {
        sim_error(sim, "a deadline that is past after nothing was left to build");
    }
}

static bool sim_done(const struct sim *sim)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct sim_side *side = &sim->sides[i];
        const struct sim_side *other = &sim->sides[1 - i];
        if (side->acked_count < side->batch_count || other->taken_count < side->batch_count ||
            side->controls_sent < sim->config.control_count || side->lane->control.used_count > 0 ||
            memcmp(side->control_newest, other->control_seen, sizeof(side->control_newest)) != 0) {
            return false;
        }
    }
    return true;
}

static void sim_finish(struct sim *sim)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct sim_side *side = &sim->sides[i];
        struct hg_lane_stats stats = *hg_lane_stats(side->lane);
        sim->result.stats[i] = stats;
        if (stats.drop_version + stats.drop_malformed + stats.drop_alias + stats.drop_credit +
                stats.drop_mismatch + stats.drop_ack + stats.drop_control + stats.drop_fec + stats.refused >
            0) {
            sim_error(sim, "drops between honest lanes");
        }
        if (sim->result.done &&
            side->lane->reassembly.block_free_count != side->lane->reassembly.block_count) {
            sim_error(sim, "receive memory that was not given back");
        }
        if (sim->result.done &&
            (side->lane->outbox.cost_bytes != 0 || side->lane->outbox.tail != side->lane->outbox.head)) {
            sim_error(sim, "an outbox that is not empty at the end");
        }
        for (uint32_t b = 0; b < side->batch_count; b++) {
            free(side->batches[b].bytes);
        }
        free(side->batches);
        free(side->memory);
    }
    while (sim->heap_count > 0) {
        free(heap_pop(sim).inner);
    }
    free(sim->heap);
}

struct sim_result sim_run(const struct sim_config *config)
{
    static struct sim sim;
    memset(&sim, 0, sizeof(sim));
    sim.config = *config;
    sim.random = config->seed;
    sim.now_ns = 1000;
    side_init(&sim, 0);
    side_init(&sim, 1);
    uint64_t tick_ns = sim.now_ns;
    uint64_t due_ns[2] = {sim.now_ns, sim.now_ns};
    while (sim.now_ns < config->deadline_ns) {
        sim.result.turns++;
        bool received[2] = {false, false};
        while (sim.heap_count > 0 && sim.heap[0].arrival_ns <= sim.now_ns) {
            struct sim_packet packet = heap_pop(&sim);
            hg_lane_receive(sim.sides[packet.to].lane, packet.inner, packet.bytes, packet.number, packet.ecn,
                            sim.now_ns);
            received[packet.to] = true;
            free(packet.inner);
        }
        bool tick = tick_ns <= sim.now_ns;
        tick_ns = tick ? sim.now_ns + config->tick_ns : tick_ns;
        for (uint32_t i = 0; i < 2; i++) {
            if (tick || received[i] || due_ns[i] <= sim.now_ns) {
                side_turn(&sim, i);
                due_ns[i] = hg_lane_deadline_ns(sim.sides[i].lane);
            }
        }
        if (sim_done(&sim)) {
            sim.result.done = true;
            break;
        }
        uint64_t next_ns = hg_min_u64(hg_min_u64(due_ns[0], due_ns[1]), tick_ns);
        next_ns = sim.heap_count > 0 ? hg_min_u64(next_ns, sim.heap[0].arrival_ns) : next_ns;
        sim.now_ns = hg_max_u64(next_ns, sim.now_ns + 1);
    }
    sim.result.end_ns = sim.now_ns;
    sim_finish(&sim);
    return sim.result;
}
