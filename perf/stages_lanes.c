/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf lanes: what one core pays for sending to, and for receiving from, so many peers at a time: each
 * with its lane and its SAs, all getting the very same batches. No port and no log: a packet goes from the
 * batch to a frame in memory, and from the frame into the other lane. In turns, as a worker does: a burst to
 * each peer, then everything is received and acknowledged.
 *
 * TX is building, sealing and the outer headers of data, and opening and taking the acks; RX is the rest.
 */
#include "dataplane/security/esp.h"
#include "dataplane/transport/encapsulation.h"
#include "dataplane/transport/lane.h"
#include "drivers/net/port.h"
#include "perf/stages.h"

#include <stdio.h>
#include <stdlib.h>

#define PEERS_MAX     64u
#define BURST         HG_PORT_BURST_MAX
#define SLOT_BYTES    HG_PORT_FRAME_BYTES_MAX
#define RECEIVE_BYTES (8u << 20)
#define IN_FLIGHT_MAX 4096u
#define BATCHES_MIN   8u /* to each peer in a run */
#define TURN_NS       20000u

enum { TX, RX, SIDES };

struct lanes_peer {
    struct lanes_many *lanes;
    struct hg_lane *lane[SIDES];
    struct hg_esp_sa *seal[SIDES], *open[SIDES]; /* of what that side sends and receives */
    void *memory[SIDES][3];
    uint8_t *frames; /* BURST slots */
    uint32_t frame_bytes[BURST];
    uint32_t frame_count;
    uint32_t sent, received; /* batches */
};

struct lanes_many {
    struct hg_perf_sample *sample;
    struct lanes_peer peers[PEERS_MAX];
    uint32_t peer_count;
    uint32_t batches; /* to each peer */
    uint32_t mtu_bytes;
    uint64_t virtual_ns;
    uint64_t packets;
    uint64_t spent_ns[SIDES];
    uint32_t side; /* whose time counts */
    uint8_t inner[SLOT_BYTES];
};

/* ---- what lanes ask of their owner ---- */

static bool many_next(void *ctx, struct hg_lane_batch *batch)
{
    struct lanes_peer *peer = ctx;
    struct hg_perf_sample *sample = peer->lanes->sample;
    if (peer->sent == peer->lanes->batches)
        return false;
    const struct hg_batch_header *header = (const struct hg_batch_header *)sample->sealed[peer->sent];
    *batch = (struct hg_lane_batch){.alias = 1,
                                    .bytes = sample->sealed_bytes[peer->sent],
                                    .lsn_first = header->lsn_first,
                                    .lsn_end = header->lsn_end,
                                    .sequence = peer->sent};
    peer->sent++;
    return true;
}

static bool many_next_none(void *ctx, struct hg_lane_batch *batch)
{
    (void)ctx;
    (void)batch;
    return false;
}

static const uint8_t *many_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    const struct lanes_peer *peer = ctx;
    return peer->lanes->sample->sealed[batch->sequence];
}

static void many_acked(void *ctx, const struct hg_lane_batch *batch)
{
    (void)ctx;
    (void)batch;
}

static int many_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    struct lanes_peer *peer = ctx;
    (void)alias;
    (void)batch;
    hg_assert(bytes == peer->lanes->sample->sealed_bytes[peer->received]);
    peer->received++;
    return 0;
}

static void many_control(void *ctx, const struct hg_wire_control *frame)
{
    (void)ctx;
    (void)frame;
}

static const struct hg_lane_ops many_ops[SIDES] = {
    {many_next, many_bytes, many_acked, many_received, many_control, NULL},
    {many_next_none, many_bytes, many_acked, many_received, many_control, NULL},
};

/* ---- peers ---- */

static void *block(void **memory, uint64_t bytes)
{
    if (*memory == NULL) {
        *memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));
        hg_assert(*memory != NULL);
        memset(*memory, 0, bytes);
    }
    return *memory;
}

static void peer_open(struct lanes_many *lanes, uint32_t index)
{
    static const uint8_t secrets[SIDES][HG_ESP_KEY_BYTES] = {{1}, {2}}, salt[HG_ESP_SALT_BYTES] = {3};
    struct lanes_peer *peer = &lanes->peers[index];
    const struct hg_batch_header *first = (const struct hg_batch_header *)lanes->sample->sealed[0];
    peer->lanes = lanes;
    peer->sent = peer->received = 0;
    peer->frames = block((void **)&peer->frames, BURST * SLOT_BYTES);
    for (uint32_t i = 0; i < SIDES; i++) {
        struct hg_lane_config config = {.ops = &many_ops[i],
                                        .ctx = peer,
                                        .mtu_bytes = lanes->mtu_bytes,
                                        .receive_bytes_max = RECEIVE_BYTES,
                                        .packets_in_flight_max = IN_FLIGHT_MAX};
        peer->lane[i] =
            hg_lane_init(block(&peer->memory[i][0], hg_lane_bytes(&config)), &config, lanes->virtual_ns);
        peer->seal[i] = hg_esp_sa_init(block(&peer->memory[i][1], hg_esp_sa_bytes()), 256 + 2 * index + i,
                                       secrets[i], salt);
        peer->open[i] = hg_esp_sa_init(block(&peer->memory[i][2], hg_esp_sa_bytes()),
                                       256 + 2 * index + (1 - i), secrets[1 - i], salt);
    }
    int rc = hg_lane_alias_open(peer->lane[RX], 1, first->lsn_first);
    hg_assert(rc == 0);
}

static void peer_free(struct lanes_peer *peer)
{
    for (uint32_t i = 0; i < SIDES; i++)
        for (uint32_t j = 0; j < 3; j++)
            free(peer->memory[i][j]);
    free(peer->frames);
    memset(peer, 0, sizeof(*peer));
}

/* ---- packets ---- */

/* A burst of what that side of the lane has to send. */
static void burst_send(struct lanes_many *lanes, struct lanes_peer *peer, uint32_t side)
{
    struct hg_encapsulation outer = {.port_source = HG_WIRE_UDP_PORT_DATA,
                                     .port_destination = HG_WIRE_UDP_PORT_DATA,
                                     .ip_source = hg_address_ipv4(0x0a000001u),
                                     .ip_destination = hg_address_ipv4(0x0a000002u)};
    struct hg_lane_packet packet;
    for (peer->frame_count = 0; peer->frame_count < BURST; peer->frame_count++) {
        uint8_t *frame = peer->frames + (size_t)peer->frame_count * SLOT_BYTES;
        if (hg_lane_build(peer->lane[side], hg_esp_next_number(peer->seal[side]), lanes->virtual_ns,
                          &packet) == 0)
            break;
        uint32_t esp_bytes = hg_esp_seal(peer->seal[side], packet.pieces, packet.piece_count,
                                         frame + HG_WIRE_OUTER_BYTES, SLOT_BYTES - HG_WIRE_OUTER_BYTES);
        hg_assert(esp_bytes > 0);
        peer->frame_bytes[peer->frame_count] = hg_encapsulation_write(&outer, esp_bytes, frame);
    }
    lanes->packets += side == TX ? peer->frame_count : 0;
}

/* That side takes what the other one sent. */
static void burst_receive(struct lanes_many *lanes, struct lanes_peer *peer, uint32_t side)
{
    for (uint32_t i = 0; i < peer->frame_count; i++) {
        struct hg_encapsulation outer;
        const uint8_t *esp;
        uint32_t esp_bytes, inner_bytes;
        uint64_t number;
        enum hg_encapsulation_reason fine = hg_encapsulation_read(
            peer->frames + (size_t)i * SLOT_BYTES, peer->frame_bytes[i], &outer, &esp, &esp_bytes);
        hg_assert(fine == HG_ENCAPSULATION_OK);
        enum hg_esp_reason opened =
            hg_esp_open(peer->open[side], esp, esp_bytes, lanes->inner, &inner_bytes, &number);
        hg_assert(opened == HG_ESP_OK);
        hg_lane_receive(peer->lane[side], lanes->inner, inner_bytes, number, HG_ECN_NOT_ECT,
                        lanes->virtual_ns);
    }
}

static bool all_received(const struct lanes_many *lanes)
{
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        if (lanes->peers[i].received < lanes->batches)
            return false;
    return true;
}

static void turn(struct lanes_many *lanes)
{
    uint64_t a_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        burst_send(lanes, &lanes->peers[i], TX);
    uint64_t b_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        burst_receive(lanes, &lanes->peers[i], RX);
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        burst_send(lanes, &lanes->peers[i], RX);
    uint64_t c_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        burst_receive(lanes, &lanes->peers[i], TX);
    lanes->spent_ns[TX] += b_ns - a_ns + hg_perf_cpu_ns() - c_ns;
    lanes->spent_ns[RX] += c_ns - b_ns;
    lanes->virtual_ns += TURN_NS;
}

static uint64_t many_run(void *ctx)
{
    struct lanes_many *lanes = ctx;
    lanes->virtual_ns = HG_NS_PER_S;
    lanes->packets = 0;
    memset(lanes->spent_ns, 0, sizeof(lanes->spent_ns));
    for (uint32_t i = 0; i < lanes->peer_count; i++)
        peer_open(lanes, i);
    while (!all_received(lanes))
        turn(lanes);
    for (uint32_t i = 0; i < lanes->peer_count; i++) {
        const struct hg_lane_stats *stats = hg_lane_stats(lanes->peers[i].lane[RX]);
        hg_assert(stats->refused == 0 && stats->drop_mismatch == 0 && stats->drop_malformed == 0);
        hg_assert(stats->drop_alias == 0 && stats->drop_credit == 0 && stats->data_bytes_duplicate == 0);
    }
    return lanes->spent_ns[lanes->side];
}

/* ---- figures ---- */

static void figures_add(struct lanes_many *lanes)
{
    static const char *const names[SIDES] = {"tx", "rx"};
    struct hg_perf_sample *sample = lanes->sample;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < lanes->batches; i++)
        bytes += (uint64_t)sample->sealed_bytes[i] * lanes->peer_count;
    for (lanes->side = 0; lanes->side < SIDES; lanes->side++) {
        double ns = hg_perf_median_ns(sample, many_run, lanes);
        double packet_ns = ns / (double)lanes->packets, byte_ns = ns / (double)bytes;
        hg_perf_report_add(sample->report, packet_ns, "lane_%s_ns_per_packet/peers=%u", names[lanes->side],
                           lanes->peer_count);
        hg_perf_report_add(sample->report, byte_ns, "lane_%s_ns_per_byte/peers=%u", names[lanes->side],
                           lanes->peer_count);
        double over_stages = packet_ns / sample->packet_ns[lanes->side];
        hg_perf_report_add(sample->report, over_stages, "lane_%s_over_stages/peers=%u", names[lanes->side],
                           lanes->peer_count);
        if (!sample->quiet)
            printf("%2u peers  %s %8.1f ns/packet %8.3f ns/B %8.2f Gbit/s of a core, %.2f of its stages\n",
                   lanes->peer_count, names[lanes->side], packet_ns, byte_ns, 8 / byte_ns, over_stages);
    }
}

void hg_perf_stages_lanes(struct hg_perf_sample *sample, uint32_t mtu_bytes)
{
    static const uint32_t counts[] = {1, 4, 16, PEERS_MAX};
    static struct lanes_many lanes;
    char error[256];
    if (hg_esp_start(error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-perf: %s\n", error);
        return;
    }
    lanes.sample = sample;
    lanes.mtu_bytes = mtu_bytes;
    for (size_t i = 0; i < HG_COUNT(counts); i++) {
        lanes.peer_count = counts[i];
        lanes.batches = (uint32_t)hg_max_u64(hg_min_u64(sample->batch_count, BATCHES_MIN),
                                             sample->batch_count / lanes.peer_count);
        figures_add(&lanes);
    }
    for (uint32_t i = 0; i < PEERS_MAX; i++)
        peer_free(&lanes.peers[i]);
}
