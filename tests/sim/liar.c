/* SPDX-License-Identifier: Apache-2.0
 *
 * A node with valid keys that lies. Its worker is a whole one, so that it agrees on keys, opens streams and
 * answers; between its turns packets of our making leave under the same keys, each with the next number. They
 * know more than any peer could: where the other node stands is read out of its memory.
 */
#include "tests/sim/liar.h"
#include "dataplane/transport/lane_state.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <stdlib.h>

#define INNER_BYTES_MAX  9216u
#define SILENCE_NS_MAX   (8 * HG_NS_PER_S) /* more than makes a peer `down` */
#define FORGED_LSN_AHEAD (UINT64_C(1) << 44)
#define GROUPS_FORGED    80u /* more than a decoder keeps */
#define GROUP_PACKETS    30u /* of an endless one; with so many in each, a decoder runs out of room */

/* What is being said to whom. */
struct lie {
    struct sim_node *node; /* who lies */
    struct sim_node *to;
    struct hg_random *random;
    struct hg_peer_session *session; /* under whose keys */
    const struct hg_peer *heard_by;  /* the lane at the other end; NULL: it has none now */
    uint32_t worker_to;
    uint32_t bytes_max;
    uint32_t bytes;
    uint8_t flags;
    bool twice;   /* the same packet again: a replay */
    bool endless; /* one of a group that never ends: as many more follow */
    uint8_t inner[INNER_BYTES_MAX];
};

/* ---- putting frames together ---- */

static uint64_t draw(struct lie *lie, uint64_t bound)
{
    return bound == 0 ? 0 : hg_random_below(lie->random, bound);
}

/* A number that is small, large, at a limit, or anything. */
static uint64_t draw_odd(struct lie *lie)
{
    static const uint64_t limits[] = {0,
                                      1,
                                      UINT8_MAX,
                                      UINT16_MAX,
                                      HG_WIRE_ALIASES_MAX - 1,
                                      HG_WIRE_ALIASES_MAX,
                                      UINT32_MAX,
                                      UINT64_C(1) << 47,
                                      (UINT64_C(1) << 48) - 1,
                                      UINT64_C(1) << 48,
                                      INT64_MAX,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    uint64_t any = hg_random_u64(lie->random), at = draw(lie, HG_COUNT(limits) + 2);
    return at < HG_COUNT(limits) ? limits[at] : any >> draw(lie, 64);
}

static void packet_begin(struct lie *lie)
{
    const struct hg_wire_header header = {.version = HG_WIRE_VERSION};
    memcpy(lie->inner, &header, sizeof(header));
    lie->bytes = sizeof(header);
    lie->flags = 0;
}

static void put(struct lie *lie, const void *bytes, uint32_t count)
{
    if (count > lie->bytes_max - lie->bytes)
        return;
    memcpy(lie->inner + lie->bytes, bytes, count);
    lie->bytes += count;
}

static void put_random(struct lie *lie, uint32_t count)
{
    count = (uint32_t)hg_min_u64(count, lie->bytes_max - lie->bytes);
    hg_random_fill(lie->random, lie->inner + lie->bytes, count);
    lie->bytes += count;
}

static const struct hg_lane *lane_heard_by(const struct lie *lie)
{
    if (lie->heard_by == NULL || lie->heard_by->current < 0)
        return NULL;
    return lie->heard_by->sessions[lie->heard_by->current].lane;
}

/* The largest number the other side has sent us. */
static uint64_t number_sent_to_us(const struct lie *lie)
{
    const struct hg_lane *lane = lane_heard_by(lie);
    return lane == NULL ? 1 : hg_max_u64(lane->sent.number_last, 1);
}

/* ---- acks, credit ---- */

static struct hg_wire_ack ack_of(struct lie *lie, uint64_t largest, uint32_t count)
{
    struct hg_wire_ack ack;
    hg_random_fill(lie->random, &ack, sizeof(ack)); /* delays and counts of ECN: anything */
    ack.type = HG_WIRE_ACK;
    ack.range_count = 1;
    ack.first_count = count;
    ack.largest = largest;
    ack.credit_bytes = draw_odd(lie);
    return ack;
}

static void lie_ack_unsent(struct lie *lie)
{
    struct hg_wire_ack ack = ack_of(lie, number_sent_to_us(lie) + 1 + (draw_odd(lie) >> 1), 1);
    put(lie, &ack, sizeof(ack));
}

/* All that is under way, whether it came or not; or what was acknowledged long ago. */
static void lie_ack_all(struct lie *lie)
{
    uint64_t largest = number_sent_to_us(lie);
    if (draw(lie, 4) == 0)
        largest = 1 + draw(lie, largest);
    struct hg_wire_ack ack = ack_of(lie, largest, (uint32_t)(1 + draw(lie, hg_min_u64(largest, UINT32_MAX))));
    put(lie, &ack, sizeof(ack));
}

static void lie_ack_ranges(struct lie *lie)
{
    struct hg_wire_ack ack = ack_of(lie, number_sent_to_us(lie), 1);
    ack.range_count = (uint8_t)(1 + draw(lie, HG_WIRE_ACK_RANGES_MAX + 2));
    put(lie, &ack, sizeof(ack));
    for (uint32_t i = 1; i < ack.range_count; i++) {
        struct hg_wire_ack_range range = {(uint32_t)(1 + draw(lie, 3)), (uint32_t)(1 + draw(lie, 3))};
        if (draw(lie, 64) == 0)
            range.gap = (uint32_t)draw_odd(lie);
        put(lie, &range, sizeof(range));
    }
}

static void lie_recovered(struct lie *lie)
{
    struct hg_wire_recovered head = {.type = HG_WIRE_RECOVERED,
                                     .count = (uint8_t)(1 + draw(lie, HG_WIRE_RECOVERED_MAX))};
    uint64_t number = number_sent_to_us(lie) + (draw(lie, 2) == 0 ? 1000 : 0);
    put(lie, &head, sizeof(head));
    for (uint32_t i = 0; i < head.count; i++, number -= hg_min_u64(number, 1 + draw(lie, 3)))
        put(lie, &number, sizeof(number));
}

/* ---- data ---- */

/* One of our own streams as the other side takes it, or any number. */
static uint32_t alias_of(struct lie *lie, uint64_t *lsn)
{
    const struct hg_lane *lane = lane_heard_by(lie);
    uint32_t first = (uint32_t)draw(lie, HG_WIRE_ALIASES_MAX);
    *lsn = draw_odd(lie);
    for (uint32_t i = 0; lane != NULL && draw(lie, 16) != 0 && i < HG_WIRE_ALIASES_MAX; i++) {
        const struct hg_reassembly_alias *alias =
            &lane->reassembly.aliases[(first + i) % HG_WIRE_ALIASES_MAX];
        if (alias->open) {
            *lsn = alias->lsn_next;
            return alias->alias;
        }
    }
    return first;
}

static void put_data(struct lie *lie, uint32_t alias, uint64_t lsn, uint32_t batch_bytes, uint32_t offset,
                     uint32_t bytes)
{
    struct hg_wire_data data = hg_wire_data_make(alias, lsn, batch_bytes, offset, bytes);
    put(lie, &data, sizeof(data));
    put_random(lie, bytes);
}

/* A whole batch of nothing but noise, where the next one is due. */
static void lie_data_noise(struct lie *lie)
{
    uint64_t lsn;
    uint32_t alias = alias_of(lie, &lsn);
    put_data(lie, alias, lsn, 256, 0, 256);
}

/* Thousands of batches begun and never finished, far ahead, or of the largest size. */
static void lie_data_partial(struct lie *lie)
{
    uint64_t lsn;
    uint32_t alias = alias_of(lie, &lsn);
    bool large = draw(lie, 2) == 0;
    uint32_t batch_bytes = large ? HG_BATCH_BYTES_MAX : 1024;
    for (uint32_t i = 0; i < 8; i++)
        put_data(lie, alias, lsn + 1 + draw(lie, FORGED_LSN_AHEAD), batch_bytes, 0, HG_WIRE_UNIT_BYTES);
}

/* The same place twice with other bytes, or of a batch of another size. */
static void lie_data_overlap(struct lie *lie)
{
    uint64_t lsn;
    uint32_t alias = alias_of(lie, &lsn);
    lsn += draw(lie, 4);
    put_data(lie, alias, lsn, 4096, 64, 128);
    put_data(lie, alias, lsn, draw(lie, 2) == 0 ? 4096 : 8192, 128, 128);
}

static void lie_data_shape(struct lie *lie)
{
    uint64_t lsn;
    uint32_t alias = alias_of(lie, &lsn);
    struct hg_wire_data data = hg_wire_data_make(alias, lsn, 4096, 0, 64);
    data.batch_grains_high = (uint8_t)draw(lie, 3);
    data.batch_grains = (uint16_t)draw_odd(lie);
    data.offset_units = (uint16_t)draw_odd(lie);
    data.bytes = (uint16_t)draw_odd(lie);
    put(lie, &data, sizeof(data));
    put_random(lie, (uint32_t)hg_min_u64(data.bytes, 512));
}

/* ---- parity ---- */

/* Contradicts nothing and never ends: of each group as much as no sender would leave open. */
static struct hg_wire_fec group_endless(struct lie *lie)
{
    uint32_t packet = lie->node->groups_forged[lie->to->index][lie->session->worker_remote]++;
    uint32_t at = packet % GROUP_PACKETS, sources = GROUP_PACKETS - HG_WIRE_FEC_PARITY_MAX;
    return (struct hg_wire_fec){.group = packet / GROUP_PACKETS,
                                .index =
                                    (uint8_t)(at < sources ? at : HG_WIRE_FEC_SOURCES_MAX + at - sources),
                                .k = HG_WIRE_FEC_SOURCES_MAX,
                                .m = HG_WIRE_FEC_PARITY_MAX,
                                .depth = HG_WIRE_FEC_DEPTH_MAX};
}

static struct hg_wire_fec group_any(struct lie *lie)
{
    struct hg_wire_fec place = {.group = (uint32_t)draw(lie, GROUPS_FORGED),
                                .index = (uint8_t)draw(lie, HG_WIRE_FEC_SOURCES_MAX + HG_WIRE_FEC_PARITY_MAX),
                                .k = (uint8_t)(1 + draw(lie, HG_WIRE_FEC_SOURCES_MAX)),
                                .m = (uint8_t)(1 + draw(lie, HG_WIRE_FEC_PARITY_MAX)),
                                .depth = (uint8_t)(1 + draw(lie, HG_WIRE_FEC_DEPTH_MAX))};
    if (draw(lie, 8) == 0)
        hg_random_fill(lie->random, &place, sizeof(place));
    return place;
}

/* Groups that contradict themselves, and parity of nothing. */
static void lie_group(struct lie *lie)
{
    bool endless = lie->node->world->plan->seed % 2 == 0;
    struct hg_wire_fec place = endless ? group_endless(lie) : group_any(lie);
    packet_begin(lie); /* what was said before in this packet is left out */
    lie->flags = HG_WIRE_FLAG_FEC;
    lie->endless = endless;
    put(lie, &place, sizeof(place));
    if (place.index < HG_WIRE_FEC_SOURCES_MAX) {
        const uint8_t ping = HG_WIRE_PING;
        put(lie, &ping, 1);
        return;
    }
    uint32_t room = lie->bytes_max - lie->bytes - (uint32_t)sizeof(struct hg_wire_parity);
    struct hg_wire_parity parity = {.type = HG_WIRE_PARITY,
                                    .bytes = (uint16_t)(endless ? 64 : 1 + draw(lie, room))};
    put(lie, &parity, sizeof(parity));
    put_random(lie, parity.bytes);
}

/* ---- control frames ---- */

static uint32_t alias_odd(struct lie *lie)
{
    return draw(lie, 2) == 0 ? (uint32_t)draw(lie, SIM_FLOWS_MAX) : (uint32_t)draw_odd(lie);
}

/* Who is who: streams that there are and that there are not, of other clusters, timelines and epochs. */
static void lie_open(struct lie *lie)
{
    struct hg_wire_stream_open open;
    const struct sim_world *world = lie->node->world;
    const struct sim_flow *flow = &world->flows[draw(lie, world->plan->flow_count)];
    hg_random_fill(lie->random, &open, sizeof(open));
    open.control =
        (struct hg_wire_control){.type = HG_WIRE_STREAM_OPEN, .bytes = sizeof(open), .alias = alias_odd(lie)};
    open.stream = draw(lie, 4) == 0 ? draw_odd(lie) : flow->stream;
    open.kind = flow->plan->physical ? HG_STREAM_POSTGRES_PHYSICAL : HG_STREAM_KEY_VALUE;
    open.region = (uint16_t)(draw(lie, 4) == 0 ? draw_odd(lie) : flow->plan->origin);
    open.epoch = draw_odd(lie);
    put(lie, &open, sizeof(open));
}

static void lie_answer(struct lie *lie)
{
    struct hg_wire_stream_answer answer;
    hg_random_fill(lie->random, &answer, sizeof(answer));
    answer.control = (struct hg_wire_control){
        .type = HG_WIRE_STREAM_ANSWER, .bytes = sizeof(answer), .alias = alias_odd(lie)};
    answer.status = (uint16_t)draw(lie, HG_WIRE_ELSEWHERE + 2);
    answer.worker = (uint16_t)draw_odd(lie);
    answer.lsn_durable = draw_odd(lie);
    put(lie, &answer, sizeof(answer));
}

static void lie_position(struct lie *lie)
{
    static const uint8_t types[] = {HG_WIRE_STREAM_DURABLE, HG_WIRE_STREAM_NEEDED, HG_WIRE_STREAM_CLOSE,
                                    HG_WIRE_STREAM_REFUSE, HG_WIRE_STREAM_COMMITTED};
    struct hg_wire_stream_durable frame = {.control = {.type = types[draw(lie, HG_COUNT(types))],
                                                       .bytes = sizeof(frame),
                                                       .alias = alias_odd(lie)},
                                           .lsn_durable = draw_odd(lie)};
    put(lie, &frame, sizeof(frame));
}

/* As many as a packet holds, of every kind and of none. */
static void lie_control_flood(struct lie *lie)
{
    for (uint32_t i = 0; i < 32; i++) {
        uint64_t what = draw(lie, 4);
        if (what == 0) {
            lie_open(lie);
        } else if (what == 1) {
            lie_answer(lie);
        } else if (what == 2) {
            lie_position(lie);
        } else {
            struct hg_wire_control control = {
                .type = (uint8_t)hg_random_between(lie->random, HG_WIRE_CONTROL_FIRST, HG_WIRE_CONTROL_LAST),
                .bytes = (uint16_t)(4 * hg_random_between(lie->random, 2, 8)),
                .alias = alias_odd(lie)};
            if (lie->bytes + control.bytes > lie->bytes_max)
                return;
            put(lie, &control, sizeof(control));
            put_random(lie, control.bytes - (uint32_t)sizeof(control));
        }
    }
}

/* ---- bytes ---- */

static void lie_noise(struct lie *lie)
{
    put_random(lie, (uint32_t)(1 + draw(lie, lie->bytes_max - lie->bytes)));
}

static void lie_header(struct lie *lie)
{
    lie->inner[0] = (uint8_t)draw_odd(lie);
    lie->flags = (uint8_t)draw_odd(lie);
    if (draw(lie, 4) == 0)
        lie->bytes = (uint32_t)draw(lie, sizeof(struct hg_wire_header));
}

static void lie_replay(struct lie *lie)
{
    const uint8_t ping = HG_WIRE_PING;
    put(lie, &ping, 1);
    lie->twice = true;
}

static void lie_worker(struct lie *lie)
{
    const uint8_t ping = HG_WIRE_PING;
    put(lie, &ping, 1);
    lie->worker_to = (uint32_t)draw(lie, HG_WIRE_WORKERS_MAX);
}

static void (*const lies[])(struct lie *) = {
    lie_ack_unsent,    lie_ack_all,    lie_ack_ranges, lie_recovered, lie_data_noise, lie_data_partial,
    lie_data_overlap,  lie_data_shape, lie_group,      lie_open,      lie_answer,     lie_position,
    lie_control_flood, lie_noise,      lie_header,     lie_replay,    lie_worker,
};
static_assert(HG_COUNT(lies) == SIM_LIES, "a bit of the plan for each");

/* ---- telling ---- */

/* The lane of the other node that ends at this one of ours. */
static const struct hg_peer *lane_at(struct sim_node *to, uint32_t worker_to, uint32_t from,
                                     uint32_t worker_from)
{
    if (!to->is_up || worker_to >= to->worker_count)
        return NULL;
    struct hg_peers *peers = to->workers[worker_to].worker->peers;
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane))
        if (lane->node == from + 1 && lane->worker_remote == worker_from)
            return lane;
    return NULL;
}

static void packet_send(struct lie *lie)
{
    struct sim_world *world = lie->node->world;
    uint8_t frame[SIM_PACKET_BYTES];
    if (lie->bytes > offsetof(struct hg_wire_header, flags))
        lie->inner[offsetof(struct hg_wire_header, flags)] = lie->flags;
    struct iovec piece = {lie->inner, lie->bytes};
    struct hg_encapsulation outer = {.mac_source = {2, 0, 0, 0, 0, (uint8_t)(lie->node->index + 1)},
                                     .mac_destination = {2, 0, 0, 0, 0, (uint8_t)(lie->to->index + 1)},
                                     .ip_source = hg_address_ipv4(hg_sim_address(lie->node->index)),
                                     .ip_destination = hg_address_ipv4(hg_sim_address(lie->to->index)),
                                     .port_source = HG_WIRE_UDP_PORT_DATA,
                                     .port_destination = (uint16_t)(HG_WIRE_UDP_PORT_DATA + lie->worker_to)};
    uint32_t outer_bytes = hg_encapsulation_bytes(&outer);
    uint32_t esp_bytes = hg_keyring_seal(&lie->session->keyring, false, &piece, 1, frame + outer_bytes,
                                         (uint32_t)sizeof(frame) - outer_bytes);
    if (esp_bytes == 0)
        return;
    uint32_t bytes = hg_encapsulation_write(&outer, esp_bytes, frame);
    for (uint32_t i = 0; i <= lie->twice; i++)
        hg_sim_packet_send(world, lie->node->index, lie->to->index, frame, bytes);
    world->sometimes[SIM_lies_told]++;
}

/* One lie of a kind that the plan has, or several in one packet. */
static void tell(struct lie *lie, uint32_t kinds)
{
    packet_begin(lie);
    lie->endless = false;
    for (uint64_t i = 1 + draw(lie, 3); i > 0 && lie->flags == 0; i--) {
        uint32_t kind = (uint32_t)draw(lie, SIM_LIES);
        while ((kinds & (1u << kind)) == 0)
            kind = (kind + 1) % SIM_LIES;
        lies[kind](lie);
    }
    packet_send(lie);
    for (uint32_t i = 1; lie->endless && i < GROUP_PACKETS; i++) {
        lie_group(lie);
        packet_send(lie);
    }
}

/* Keys, and lanes to go with them, are asked for again and again. */
static void keys_ask(struct sim_node *node, uint32_t peer)
{
    struct hg_random *random = &node->random_lie;
    struct hg_letter letter = {.type = HG_LETTER_REKEY, .peer = peer};
    letter.number = hg_random_below(random, 3);
    hg_exchange_letter(&node->exchange, &letter, hg_sim_local_ns(node, node->world->now_ns));
}

static void session_lies(struct sim_node *node, struct sim_worker *worker, struct hg_peer *lane)
{
    static struct lie lie;
    struct sim_world *world = node->world;
    struct hg_peer_session *session = &lane->sessions[lane->current];
    if (!hg_keyring_may_seal(&session->keyring, hg_sim_local_ns(node, world->now_ns)))
        return;
    memset(&lie, 0, offsetof(struct lie, inner));
    lie.node = node;
    lie.to = &world->nodes[lane->node - 1];
    lie.random = &node->random_lie;
    lie.session = session;
    lie.bytes_max = HG_WIRE_INNER_BYTES(world->plan->mtu_bytes);
    uint64_t count = 1 + draw(&lie, node->plan->lies_burst);
    for (uint64_t i = 0; i < count; i++) {
        lie.worker_to = session->worker_remote;
        lie.twice = false;
        lie.heard_by = lane_at(lie.to, session->worker_remote, node->index, worker->worker->config.worker);
        tell(&lie, node->plan->lies);
    }
}

void hg_sim_lie(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_random *random = &node->random_lie;
    uint64_t gap_ns = node->plan->lie_gap_ns;
    hg_sim_event_put(world, world->now_ns + hg_random_between(random, gap_ns / 2, gap_ns * 2), SIM_EVENT_LIE,
                     node->index, 0, NULL);
    if (!node->is_up || world->now_ns < node->silent_ns)
        return;
    if (hg_random_chance(random, 1, 500)) {
        node->silent_ns = world->now_ns + hg_random_below(random, SILENCE_NS_MAX);
        world->sometimes[SIM_liar_silences]++;
    }
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct hg_peers *peers = node->workers[i].worker->peers;
        for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL;
             lane = hg_peers_next(peers, lane))
            if (lane->current >= 0)
                session_lies(node, &node->workers[i], lane);
    }
    if (node->plan->lies_rekey && hg_random_chance(random, 1, 50))
        keys_ask(node, (uint32_t)hg_random_below(random, world->plan->node_count - 1));
    hg_sim_node_step(node);
}
