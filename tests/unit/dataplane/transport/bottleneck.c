/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/dataplane/transport/bottleneck.h"
#include "dataplane/transport/cc_share.h"
#include "dataplane/transport/lane_state.h"
#include "tests/unit/dataplane/transport/lane_sim.h"
#include <stdlib.h>

#define BATCH_BYTES   32768u
#define RECEIVE_BYTES (128u << 20) /* never what holds a lane back */
#define WAYS          2u
#define RING          (1u << 16)
/* How often a host loses its CPU, when it does. */
#define PAUSE_EVERY_NS (10 * HG_NS_PER_MS)
/* As workers do: dataplane/worker.h, dataplane/stream/peers.h. */
#define SHARE_NS  (10 * HG_NS_PER_MS)
#define ACTIVE_NS (200 * HG_NS_PER_MS)

struct flight {
    uint64_t arrival_ns;
    uint64_t number;
    uint32_t bytes;
    uint32_t flow;
    uint8_t ecn;
    uint8_t *inner;
};

/* Packets of one way, in the order of their arrival. */
struct way {
    struct flight *ring;
    uint64_t head, tail;
    uint32_t burst_left; /* packets that the line loses, from now on */
};

struct flow {
    struct hg_lane *lanes[WAYS]; /* sender, receiver */
    void *memory[WAYS];
    uint64_t numbers[WAYS];
    uint64_t due_ns[WAYS];
    uint64_t lsn_next;
    const struct bottleneck *b;
    uint32_t index;
    struct hg_cc_share_lane share;
    uint64_t share_words[HG_CC_SHARE_WORDS]; /* as the others read them */
    uint64_t share_due_ns, data_bytes_seen, active_until_ns;
    uint8_t batch[BATCH_BYTES];
};

struct bottleneck {
    struct bottleneck_config config;
    uint64_t now_ns;
    uint64_t random;
    uint64_t free_ns; /* the link has sent all it holds */
    struct way ways[WAYS];
    struct flow flows[BOTTLENECK_FLOWS_MAX];
    uint64_t queue_sum, queue_count;
    struct bottleneck_result result;
};

static bool flow_next(void *ctx, struct hg_lane_batch *batch)
{
    struct flow *flow = ctx;
    const struct bottleneck_config *c = &flow->b->config;
    uint64_t now_ns = flow->b->now_ns, stop_ns = c->flow_stop_ns[flow->index];
    uint64_t had = hg_delivery_bytes(c->data_bytes_per_s[flow->index], now_ns);
    if ((stop_ns != 0 && now_ns >= stop_ns) ||
        (c->data_bytes_per_s[flow->index] != 0 && flow->lsn_next * BATCH_BYTES > had)) {
        return false;
    }
    *batch = (struct hg_lane_batch){
        .bytes = BATCH_BYTES, .lsn_first = flow->lsn_next, .lsn_end = flow->lsn_next + 1};
    flow->lsn_next++;
    return true;
}

static bool flow_nothing(void *ctx, struct hg_lane_batch *batch)
{
    return false;
}

static const uint8_t *flow_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    struct flow *flow = ctx;
    memcpy(flow->batch + offsetof(struct hg_batch_header, lsn_first), &batch->lsn_first, 8);
    memcpy(flow->batch + offsetof(struct hg_batch_header, lsn_end), &batch->lsn_end, 8);
    return flow->batch;
}

static void flow_acked(void *ctx, const struct hg_lane_batch *batch)
{
}

static int flow_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    return 0;
}

static void flow_control(void *ctx, const struct hg_wire_control *frame)
{
}

static const struct hg_lane_ops ops[WAYS] = {
    {flow_next, flow_bytes, flow_acked, flow_received, flow_control, NULL},
    {flow_nothing, flow_bytes, flow_acked, flow_received, flow_control, NULL},
};

static uint64_t link_rate(const struct bottleneck *b)
{
    bool later = b->config.rate_later_bytes_per_s != 0 && b->now_ns >= b->config.change_ns;
    return later ? b->config.rate_later_bytes_per_s : b->config.rate_bytes_per_s;
}

static bool line_loses(struct bottleneck *b, uint32_t side)
{
    struct way *way = &b->ways[side];
    uint64_t burst = b->config.burst_packets > 1 ? b->config.burst_packets : 1;
    if (sim_random(&b->random) % (1000000 * burst) < b->config.loss_ppm) {
        way->burst_left = (uint32_t)burst;
    }
    if (way->burst_left == 0) {
        return false;
    }
    if (!b->config.bursts_vary) {
        way->burst_left--;
    } else if (sim_random(&b->random) % burst == 0) {
        way->burst_left = 0;
    }
    return true;
}

/* When a data packet arrives; 0: it doesn't. The line behind the transmitter loses packets, so those that are
 * lost have cost their time. */
static uint64_t link_carry(struct bottleneck *b, uint32_t ip_bytes, uint8_t *ecn)
{
    const struct bottleneck_config *c = &b->config;
    if (b->now_ns >= c->cut_from_ns && b->now_ns < c->cut_to_ns) {
        return 0;
    }
    uint64_t start_ns = hg_max_u64(b->now_ns, b->free_ns);
    uint64_t queued = hg_delivery_bytes(link_rate(b), start_ns - b->now_ns);
    if (b->now_ns >= c->measure_from_ns) {
        b->queue_sum += queued;
        b->queue_count++;
    }
    if (queued + ip_bytes > c->queue_bytes) {
        return 0;
    }
    if (c->mark_bytes != 0 && queued >= c->mark_bytes && *ecn == HG_ECN_ECT0) {
        *ecn = HG_ECN_CE;
    }
    b->free_ns = start_ns + ip_bytes * HG_NS_PER_S / link_rate(b);
    return line_loses(b, 0) ? 0 : b->free_ns + c->delay_ns;
}

/* When a packet of the other way arrives, which has no queue; 0: it doesn't. */
static uint64_t link_return(struct bottleneck *b)
{
    return b->config.acks_lost && line_loses(b, 1) ? 0 : b->now_ns + b->config.delay_ns;
}

/* When the host of that side has its CPU: now, or at the end of a pause. One pause every PAUSE_EVERY_NS. */
static uint64_t host_awake_ns(const struct bottleneck *b, uint32_t side, uint64_t now_ns)
{
    if (side == 1 && b->config.turn_ns != 0) {
        now_ns = hg_align_up(now_ns, b->config.turn_ns);
    }
    if (b->config.pause_ns_max == 0) {
        return now_ns;
    }
    uint64_t nth = now_ns / PAUSE_EVERY_NS, state = nth * WAYS + side + 1;
    uint64_t length_ns = sim_random(&state) % (b->config.pause_ns_max + 1);
    uint64_t from_ns = nth * PAUSE_EVERY_NS + sim_random(&state) % (PAUSE_EVERY_NS - length_ns);
    return now_ns >= from_ns && now_ns < from_ns + length_ns ? from_ns + length_ns : now_ns;
}

static void flow_turn(struct bottleneck *b, uint32_t index, uint32_t side)
{
    struct flow *flow = &b->flows[index];
    struct hg_lane_packet packet;
    uint32_t bytes;
    while ((bytes = hg_lane_build(flow->lanes[side], flow->numbers[side], b->now_ns, &packet)) > 0) {
        uint64_t number = flow->numbers[side]++;
        uint64_t arrival_ns =
            side == 0 ? link_carry(b, hg_lane_ip_bytes(bytes), &packet.ecn) : link_return(b);
        if (arrival_ns == 0) {
            continue;
        }
        uint8_t *inner = malloc(bytes);
        uint32_t at = 0;
        for (uint32_t i = 0; i < packet.piece_count; i++) {
            memcpy(inner + at, packet.pieces[i].iov_base, packet.pieces[i].iov_len);
            at += (uint32_t)packet.pieces[i].iov_len;
        }
        if (b->config.marks_hidden && packet.ecn == HG_ECN_CE) {
            packet.ecn = HG_ECN_ECT0;
        }
        struct way *way = &b->ways[side];
        hg_assert(way->tail - way->head < RING);
        way->ring[way->tail++ % RING] = (struct flight){arrival_ns, number, bytes, index, packet.ecn, inner};
    }
    flow->due_ns[side] = hg_lane_deadline_ns(flow->lanes[side]);
}

static void arrivals(struct bottleneck *b, uint32_t side)
{
    struct way *way = &b->ways[side];
    if (host_awake_ns(b, 1 - side, b->now_ns) != b->now_ns) {
        return;
    }
    while (way->head != way->tail && way->ring[way->head % RING].arrival_ns <= b->now_ns) {
        struct flight *flight = &way->ring[way->head++ % RING];
        struct flow *flow = &b->flows[flight->flow];
        hg_lane_receive(flow->lanes[1 - side], flight->inner, flight->bytes, flight->number, flight->ecn,
                        b->now_ns);
        flow->due_ns[1 - side] = b->now_ns;
        if (side == 0 && b->now_ns >= b->config.measure_from_ns) {
            b->result.carried_bytes[flight->flow] += hg_lane_ip_bytes(flight->bytes);
        }
        free(flight->inner);
    }
}

static void flow_init(struct bottleneck *b, uint32_t index)
{
    struct flow *flow = &b->flows[index];
    flow->lsn_next = 1;
    flow->b = b;
    flow->index = index;
    flow->share_due_ns = b->now_ns + index * 3 * HG_NS_PER_MS; /* workers' clocks tick apart */
    bool is_other = b->config.last_is_other && index == b->config.flow_count - 1;
    uint8_t kind = (uint8_t)(is_other ? b->config.other_kind : b->config.kind);
    for (uint32_t side = 0; side < WAYS; side++) {
        struct hg_lane_config lane = {
            .ops = &ops[side],
            .ctx = flow,
            .mtu_bytes = 1500,
            .path_mtu_bytes = 1500,
            .ecn = b->config.ecn,
            .rate_bytes_per_s = side == 0 ? b->config.flow_rate_bytes_per_s : 0,
            .congestion = side == 0 ? kind : (uint8_t)HG_CC_FIXED,
            .receive_bytes_max = RECEIVE_BYTES,
            .packets_in_flight_max = 1u << 15,
        };
        flow->memory[side] =
            aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(hg_lane_bytes(&lane), HG_CACHE_LINE_BYTES));
        hg_assert(flow->memory[side] != NULL);
        flow->lanes[side] = hg_lane_init(flow->memory[side], &lane, b->now_ns + index);
        flow->numbers[side] = 1;
        flow->due_ns[side] = b->config.flow_start_ns[index];
        hg_assert(hg_lane_alias_open(flow->lanes[side], 0, 1) == 0);
    }
}

static void finish(struct bottleneck *b)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < b->config.flow_count; i++) {
        b->result.stats[i] = *hg_lane_stats(b->flows[i].lanes[0]);
        b->result.duplicate_bytes[i] = hg_lane_stats(b->flows[i].lanes[1])->data_bytes_duplicate;
        all += b->result.carried_bytes[i];
        free(b->flows[i].memory[0]);
        free(b->flows[i].memory[1]);
    }
    uint64_t most = hg_delivery_bytes(link_rate(b), b->config.end_ns - b->config.measure_from_ns);
    b->result.used_per_mille = (uint32_t)(all * 1000 / most);
    b->result.queue_bytes_mean = b->queue_sum / hg_max_u64(b->queue_count, 1);
    for (uint32_t side = 0; side < WAYS; side++) {
        struct way *way = &b->ways[side];
        while (way->head != way->tail) {
            free(way->ring[way->head++ % RING].inner);
        }
        free(way->ring);
    }
}

/* What a worker does for its only lane to a peer that has lanes of other workers too. */
static void flow_share(struct bottleneck *b, struct flow *flow)
{
    struct hg_lane *lane = flow->lanes[0];
    struct hg_cc_share_view view;
    hg_lane_share_view(lane, b->now_ns, &view);
    uint64_t bytes = hg_lane_stats(lane)->data_bytes_sent + hg_lane_stats(lane)->data_bytes_resent;
    flow->active_until_ns = bytes == flow->data_bytes_seen ? flow->active_until_ns : b->now_ns + ACTIVE_NS;
    flow->data_bytes_seen = bytes;
    view.active = b->now_ns < flow->active_until_ns;
    hg_cc_share_look(&flow->share, &view);
    hg_cc_share_pack(&flow->share.part, flow->share_words);
    struct hg_cc_share_part others = {.kind = view.kind};
    for (uint32_t i = 0; i < b->config.lane_count; i++) {
        struct hg_cc_share_part part = hg_cc_share_unpack(b->flows[i].share_words);
        if (i != flow->index) {
            hg_cc_share_add(&others, &part);
        }
    }
    const struct hg_cc_told told = hg_cc_share_tell(&flow->share, &view, &others);
    hg_lane_share_tell(lane, &told);
}

/* Returns when that is due next. */
static uint64_t shares(struct bottleneck *b)
{
    uint64_t next_ns = b->config.end_ns;
    for (uint32_t i = 0; i < b->config.lane_count; i++) {
        struct flow *flow = &b->flows[i];
        if (flow->share_due_ns <= b->now_ns) {
            flow_share(b, flow);
            flow->share_due_ns += SHARE_NS;
            flow->due_ns[0] = hg_max_u64(b->now_ns, b->config.flow_start_ns[i]);
        }
        next_ns = hg_min_u64(next_ns, flow->share_due_ns);
    }
    return next_ns;
}

/* Whose turn it is; returns when something happens next. */
static uint64_t turns(struct bottleneck *b)
{
    uint64_t next_ns = shares(b);
    for (uint32_t side = 0; side < WAYS; side++) {
        for (uint32_t i = 0; i < b->config.flow_count; i++) {
            uint64_t *due_ns = &b->flows[i].due_ns[side];
            *due_ns = host_awake_ns(b, side, hg_max_u64(*due_ns, b->now_ns));
            if (*due_ns <= b->now_ns) {
                flow_turn(b, i, side);
            }
            next_ns = hg_min_u64(next_ns, *due_ns);
        }
    }
    for (uint32_t side = 0; side < WAYS; side++) {
        const struct way *way = &b->ways[side];
        if (way->head != way->tail) {
            uint64_t arrival_ns = hg_max_u64(way->ring[way->head % RING].arrival_ns, b->now_ns);
            next_ns = hg_min_u64(next_ns, host_awake_ns(b, 1 - side, arrival_ns));
        }
    }
    return next_ns;
}

struct bottleneck_result bottleneck_run(const struct bottleneck_config *config)
{
    static struct bottleneck b;
    memset(&b, 0, sizeof(b));
    b.config = *config;
    b.random = config->seed;
    b.now_ns = 1000;
    b.ways[0].ring = calloc(RING, sizeof(struct flight));
    b.ways[1].ring = calloc(RING, sizeof(struct flight));
    for (uint32_t i = 0; i < config->flow_count; i++) {
        flow_init(&b, i);
    }
    while (b.now_ns < config->end_ns) {
        arrivals(&b, 0);
        arrivals(&b, 1);
        b.now_ns = hg_max_u64(turns(&b), b.now_ns + 1);
    }
    finish(&b);
    return b.result;
}
