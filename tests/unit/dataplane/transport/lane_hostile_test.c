/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets that an authenticated but broken or malicious peer could send.
 */
#include "tests/unit/dataplane/transport/lane_sim.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define HEADER_BYTES ((uint32_t)sizeof(struct hg_wire_header))
#define DATA_BYTES   ((uint32_t)sizeof(struct hg_wire_data))

static struct hg_lane *lane;
static void *memory;
static uint32_t received_count;
static uint32_t acked_count;
static uint32_t control_count;
static uint32_t to_send;
static uint32_t batch_bytes = 4096;
static int received_rc;
static uint8_t batch_data[HG_BATCH_BYTES_MAX];

static bool next(void *ctx, struct hg_lane_batch *batch)
{
    if (to_send == 0) {
        return false;
    }
    to_send--;
    *batch = (struct hg_lane_batch){
        .alias = 3, .bytes = batch_bytes, .lsn_first = 1000 - to_send, .lsn_end = 1001 - to_send};
    return true;
}

static const uint8_t *bytes_of(void *ctx, const struct hg_lane_batch *batch)
{
    return batch_data;
}

static void acked(void *ctx, const struct hg_lane_batch *batch)
{
    acked_count++;
}

static int received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    received_count++;
    return received_rc;
}

static void control(void *ctx, const struct hg_wire_control *frame)
{
    control_count++;
}

static const struct hg_lane_ops ops = {next, bytes_of, acked, received, control};

static void begin(void)
{
    struct hg_lane_config config = {
        .ops = &ops, .mtu_bytes = 1500, .receive_bytes_max = 3u << 20, .packets_in_flight_max = 64};
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_lane_bytes(&config), 64));
    lane = hg_lane_init(memory, &config, 1000);
    received_count = acked_count = control_count = to_send = 0;
    received_rc = 0;
    CU_ASSERT(hg_lane_alias_open(lane, 3, 100) == 0);
}

struct packet {
    uint8_t bytes[2048];
    uint32_t count;
};

static struct packet packet_of(const void *frames, uint32_t bytes)
{
    struct packet packet;
    memset(&packet, 0, sizeof(packet));
    struct hg_wire_header header = {.version = HG_WIRE_VERSION};
    memcpy(packet.bytes, &header, sizeof(header));
    memcpy(packet.bytes + sizeof(header), frames, bytes);
    packet.count = sizeof(header) + bytes;
    return packet;
}

static void receive_at(struct packet packet, uint64_t number, enum hg_ecn_codepoint ecn, uint64_t now_ns)
{
    uint8_t *exact = malloc(packet.count > 0 ? packet.count : 1); /* a sanitizer sees its end */
    memcpy(exact, packet.bytes, packet.count);
    hg_lane_receive(lane, exact, packet.count, number, ecn, now_ns);
    free(exact);
}

static void receive(struct packet packet, uint64_t number)
{
    receive_at(packet, number, HG_ECN_CE, 2000);
}

static void test_headers(void)
{
    static const uint8_t ping = HG_WIRE_PING;
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    struct packet packet = packet_of(&ping, 1);
    packet.bytes[0] = HG_WIRE_VERSION + 1;
    receive(packet, 1);
    CU_ASSERT(stats->drop_version == 1);
    for (uint32_t flags = 1; flags < 256; flags++) { /* none, or a place that is not there */
        packet = packet_of(&ping, 1);
        packet.bytes[1] = (uint8_t)flags;
        receive(packet, 1);
        CU_ASSERT(stats->drop_malformed == flags);
    }
    CU_ASSERT(stats->packets_received == 0);
    packet = packet_of(&ping, 1);
    receive(packet, 1);
    receive(packet, 1);
    CU_ASSERT(stats->packets_received == 1 && stats->drop_duplicate == 1);
    receive(packet, 0);
    CU_ASSERT(stats->drop_duplicate == 2);
    receive(packet, UINT64_MAX);
    CU_ASSERT(stats->packets_received == 2);
    CU_ASSERT(hg_lane_heard_ns(lane) == 2000);
}

static struct hg_wire_stream_durable durable(void)
{
    return (struct hg_wire_stream_durable){
        .control = {.type = HG_WIRE_STREAM_DURABLE, .bytes = 16, .alias = 3}, .lsn_durable = 5};
}

/* Every prefix of a packet with all frames in it. Only between two frames it still parses. */
static void test_truncated(void)
{
    uint8_t frames[1024];
    uint32_t bytes = 0;
    struct hg_wire_data data = hg_wire_data_make(3, 100, 208, 0, 208);
    memcpy(frames, &data, sizeof(data));
    memset(frames + DATA_BYTES, 0, 208);
    bytes = DATA_BYTES + 208;
    struct hg_wire_ack ack = {.type = HG_WIRE_ACK, .range_count = 2, .first_count = 1, .largest = 9};
    struct hg_wire_ack_range range = {.gap = 2, .count = 3};
    memcpy(frames + bytes, &ack, sizeof(ack));
    memcpy(frames + bytes + sizeof(ack), &range, sizeof(range));
    bytes += sizeof(ack) + sizeof(range);
    struct hg_wire_stream_durable control_frame = durable();
    memcpy(frames + bytes, &control_frame, sizeof(control_frame));
    bytes += sizeof(control_frame);
    for (uint32_t cut = 0; cut < bytes; cut++) {
        begin();
        receive(packet_of(frames, cut), 1);
        bool whole = cut == 0 || cut == DATA_BYTES + 208 || cut == DATA_BYTES + 208 + 40;
        CU_ASSERT(hg_lane_stats(lane)->drop_malformed == (whole ? 0 : 1));
        CU_ASSERT(control_count == 0);
    }
    for (uint32_t cut = 0; cut < HEADER_BYTES; cut++) {
        struct packet packet = packet_of(frames, bytes);
        packet.count = cut;
        begin();
        receive(packet, 1);
        CU_ASSERT(hg_lane_stats(lane)->drop_malformed == 1);
    }
    begin();
    receive(packet_of(frames, bytes), 1);
    CU_ASSERT(control_count == 1 && hg_lane_stats(lane)->drop_ack == 1);
    CU_ASSERT(received_count == 0 && hg_lane_stats(lane)->drop_mismatch == 1); /* zeros are no batch header */
    CU_ASSERT(hg_lane_stats(lane)->refused == 1);
    receive(packet_of(frames, DATA_BYTES + 208), 2);
    CU_ASSERT(hg_lane_stats(lane)->drop_alias == 1);
}

static void send_pings(uint32_t count)
{
    struct hg_lane_packet packet;
    for (uint32_t i = 1; i <= count; i++) {
        hg_lane_ping(lane);
        CU_ASSERT_FATAL(hg_lane_build(lane, i, 1500, &packet) > 0);
    }
}

static void receive_ack(uint64_t largest, uint32_t first_count, struct hg_wire_ack_range range,
                        uint64_t number)
{
    uint8_t frame[64];
    struct hg_wire_ack ack = {
        .type = HG_WIRE_ACK, .range_count = range.count ? 2 : 1, .first_count = first_count};
    ack.largest = largest;
    memcpy(frame, &ack, sizeof(ack));
    memcpy(frame + sizeof(ack), &range, sizeof(range));
    receive(packet_of(frame, range.count ? 40 : 32), number);
}

static void test_acks(void)
{
    struct hg_wire_ack_range none = {0, 0};
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    send_pings(20);
    CU_ASSERT(lane->sent.packets_in_flight == 20);
    receive_ack(21, 1, none, 1); /* never sent */
    receive_ack(UINT64_MAX, UINT32_MAX, none, 2);
    CU_ASSERT(stats->drop_ack == 2);
    receive_ack(5, 6, none, 3); /* reaches below packet 1 */
    receive_ack(5, 0, none, 4);
    receive_ack(10, 1, (struct hg_wire_ack_range){.gap = 0, .count = 2}, 5);
    receive_ack(10, 1, (struct hg_wire_ack_range){.gap = UINT32_MAX, .count = UINT32_MAX}, 6);
    receive_ack(10, 1, (struct hg_wire_ack_range){.gap = 4, .count = 6}, 7);
    CU_ASSERT(stats->drop_malformed == 5 && lane->sent.packets_in_flight == 20);
    receive_ack(10, 1, (struct hg_wire_ack_range){.gap = 4, .count = 5}, 8);
    CU_ASSERT(stats->acks_received == 1);
    CU_ASSERT(lane->sent.packets_in_flight == 12); /* six arrived, 6 and 7 are lost by now, 8 and 9 not yet */
    CU_ASSERT(stats->packets_lost == 2);
    receive_ack(10, 1, (struct hg_wire_ack_range){.gap = 4, .count = 5}, 9); /* told again */
    CU_ASSERT(lane->sent.packets_in_flight == 12 && stats->packets_spurious == 0);
    receive_ack(10, 10, none, 10);
    CU_ASSERT(lane->sent.packets_in_flight == 10 && stats->packets_spurious == 2);
    receive_ack(20, 20, none, 11);
    CU_ASSERT(lane->sent.packets_in_flight == 0 && lane->sent.bytes_in_flight == 0);
}

static void test_control_types(void)
{
    static const struct {
        uint8_t type;
        uint16_t bytes;
        uint32_t taken, dropped, malformed;
    } cases[] = {
        {16, 104, 1, 0, 0}, {16, 96, 0, 1, 0},  {17, 80, 1, 0, 0},  {18, 16, 1, 0, 0}, {18, 20, 0, 1, 0},
        {19, 16, 1, 0, 0},  {20, 16, 1, 0, 0},  {21, 16, 1, 0, 0},  {22, 16, 1, 0, 0}, {23, 16, 0, 1, 0},
        {31, 8, 0, 1, 0},   {32, 16, 0, 0, 1},  {4, 16, 0, 0, 1},   {18, 4, 0, 0, 1},  {18, 18, 0, 0, 1},
        {18, 0, 0, 0, 1},   {18, 260, 0, 0, 1}, {255, 16, 0, 0, 1},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        uint8_t frame[300] = {0};
        struct hg_wire_control head = {.type = cases[i].type, .bytes = cases[i].bytes};
        memcpy(frame, &head, sizeof(head));
        begin();
        receive(packet_of(frame, cases[i].bytes < 8 ? 8 : cases[i].bytes), 1);
        const struct hg_lane_stats *stats = hg_lane_stats(lane);
        CU_ASSERT(control_count == cases[i].taken);
        CU_ASSERT(stats->drop_control == cases[i].dropped);
        CU_ASSERT(stats->drop_malformed == cases[i].malformed);
    }
}

/* What goes beyond the credit is not kept, not acknowledged, and can come again. */
static void test_beyond_credit(void)
{
    begin();
    uint8_t frame[DATA_BYTES + 64] = {0};
    for (uint64_t n = 1; n <= 4; n++) {
        struct hg_wire_data data = hg_wire_data_make(3, 100 + n * 10, 1u << 20, 0, 64);
        memcpy(frame, &data, sizeof(data));
        receive(packet_of(frame, sizeof(frame)), n);
        CU_ASSERT(hg_ack_seen(&lane->ack, n) == (n < 4));
    }
    CU_ASSERT(hg_lane_stats(lane)->drop_credit == 1);
    CU_ASSERT(lane->ecn_seen.ce == 3 && hg_lane_stats(lane)->ecn_marked == 3); /* as are acknowledged */
    hg_lane_alias_close(lane, 3);
    CU_ASSERT(hg_lane_alias_open(lane, 3, 100) == 0);
    receive(packet_of(frame, sizeof(frame)), 5);
    CU_ASSERT(hg_ack_seen(&lane->ack, 5) && hg_lane_stats(lane)->drop_credit == 1);
}

static void test_refused(void)
{
    begin();
    received_rc = -EPERM;
    uint8_t frame[DATA_BYTES + 208] = {0};
    struct hg_wire_data data = hg_wire_data_make(3, 100, 208, 0, 208);
    uint64_t lsn_first = 100, lsn_end = 110;
    memcpy(frame, &data, sizeof(data));
    memcpy(frame + DATA_BYTES + offsetof(struct hg_batch_header, lsn_first), &lsn_first, 8);
    memcpy(frame + DATA_BYTES + offsetof(struct hg_batch_header, lsn_end), &lsn_end, 8);
    receive(packet_of(frame, sizeof(frame)), 1);
    CU_ASSERT(received_count == 1 && hg_lane_stats(lane)->refused == 1);
    CU_ASSERT(lane->reassembly.block_free_count == lane->reassembly.block_count);
    receive(packet_of(frame, sizeof(frame)), 2);
    CU_ASSERT(received_count == 1 && hg_lane_stats(lane)->drop_alias == 1);
}

/* A forgotten alias: nothing of it is sent any more, its credit is free, late acks of it mean nothing. */
static void test_forget(void)
{
    struct hg_lane_packet packet;
    begin();
    send_pings(1);
    uint8_t frame[32];
    struct hg_wire_ack ack = {.type = HG_WIRE_ACK, .range_count = 1, .first_count = 1, .largest = 1};
    ack.credit_bytes = 10000;
    memcpy(frame, &ack, sizeof(ack));
    receive(packet_of(frame, 32), 1);
    to_send = 5; /* two fit the credit, a third is held */
    uint64_t number = 2;
    while (hg_lane_build(lane, number, 3000, &packet) > 0) {
        number++;
    }
    CU_ASSERT(lane->outbox.cost_bytes == 8192 && lane->held_is_set &&
              hg_lane_stats(lane)->credit_stalls == 1);
    hg_lane_alias_forget(lane, 3);
    CU_ASSERT(lane->outbox.cost_bytes == 0 && !lane->held_is_set && to_send == 2);
    ack.largest = number - 1;
    ack.first_count = 3;
    memcpy(frame, &ack, sizeof(ack));
    receive(packet_of(frame, 32), 2);
    CU_ASSERT(acked_count == 0);
    to_send = 0;
    uint32_t resent = 0;
    for (uint64_t now_ns = 4000; now_ns < HG_NS_PER_S; now_ns += HG_NS_PER_MS) {
        while (hg_lane_build(lane, number, now_ns, &packet) > 0) {
            resent += packet.bytes > 200;
            number++;
        }
    }
    CU_ASSERT(resent == 0);
}

/* ---- counts of ECN that are made up ---- */

enum counts {
    COUNTS_HONEST,
    COUNTS_RANDOM,
    COUNTS_ALL_CE,
    COUNTS_MORE,
    COUNTS_FEWER,
    COUNTS_BACK,
    COUNTS_COUNT
};

static void counts_tell(enum counts kind, uint32_t sent, uint64_t *random, struct hg_wire_ack *ack)
{
    uint64_t any = sim_random(random);
    ack->ecn_ce = kind == COUNTS_RANDOM   ? (uint32_t)any
                  : kind == COUNTS_ALL_CE ? sent
                  : kind == COUNTS_BACK   ? (uint32_t)(any % 2)
                                          : 0;
    ack->ecn_ect = kind == COUNTS_RANDOM  ? (uint32_t)(any >> 32)
                   : kind == COUNTS_MORE  ? sent + 1
                   : kind == COUNTS_FEWER ? sent / 2
                                          : sent - ack->ecn_ce;
}

/* A lane whose peer acknowledges all there is every millisecond, and tells of counts as it likes. */
static void counts_run(enum counts kind, uint8_t congestion, uint64_t cwnd_bytes[100])
{
    uint64_t random = 7, number = 1;
    begin();
    hg_lane_rate_set(lane, congestion, congestion == HG_CC_FIXED ? 10000000 : 0);
    hg_lane_ecn_set(lane, true);
    to_send = 1000000;
    for (uint32_t i = 0; i < 100; i++) {
        struct hg_lane_packet packet;
        uint64_t now_ns = 2000 + i * HG_NS_PER_MS;
        while (hg_lane_build(lane, number, now_ns, &packet) > 0) {
            number++;
        }
        struct hg_wire_ack ack = {
            .type = HG_WIRE_ACK, .range_count = 1, .largest = number - 1, .credit_bytes = 1u << 30};
        ack.first_count = (uint32_t)ack.largest;
        counts_tell(kind, (uint32_t)hg_lane_stats(lane)->ecn_sent, &random, &ack);
        receive_at(packet_of(&ack, sizeof(ack)), 1 + i, HG_ECN_NOT_ECT, now_ns + HG_NS_PER_MS / 2);
        cwnd_bytes[i] = hg_lane_stats(lane)->cwnd_bytes;
    }
}

/* Whatever a peer tells, it is not sent more than if it told the truth about a path that marks nothing. */
static void test_ecn_counts(void)
{
    static const char *const states[COUNTS_COUNT] = {"on", "", "", "invented", "bleached", "shrunk"};
    for (uint8_t congestion = 0; congestion < HG_CC_KIND_COUNT; congestion++) {
        uint64_t honest[100], told[100];
        counts_run(COUNTS_HONEST, congestion, honest);
        for (int kind = 0; kind < COUNTS_COUNT; kind++) {
            counts_run(kind, congestion, told);
            if (kind != COUNTS_ALL_CE) { /* which takes more of them to be known from a full queue */
                CU_ASSERT_EQUAL(hg_lane_stats(lane)->ecn_failed, kind != COUNTS_HONEST);
            }
            CU_ASSERT(states[kind][0] == '\0' || strcmp(hg_lane_stats(lane)->ecn, states[kind]) == 0);
            for (uint32_t i = 0; i < 100; i++) {
                CU_ASSERT(told[i] <= honest[i]);
            }
        }
    }
}

/* ---- parity, from a peer that has the keys ---- */

static void receive_fec(struct hg_wire_fec place, const void *frames, uint32_t bytes, uint64_t number)
{
    uint8_t grouped[2048];
    place.depth = 1;
    memcpy(grouped, &place, sizeof(place));
    memcpy(grouped + sizeof(place), frames, bytes);
    struct packet packet = packet_of(grouped, (uint32_t)sizeof(place) + bytes);
    packet.bytes[1] = HG_WIRE_FLAG_FEC;
    receive(packet, number);
}

/* The parity of a group of one source that never arrives, row 0: the source itself, times 1 / 32. The packet
 * in it claims `claimed` for its number. */
static void receive_forged(uint32_t group, uint64_t claimed, const void *frames, uint32_t bytes,
                           uint64_t number)
{
    static struct hg_fec_code code;
    hg_fec_code_init(&code);
    uint8_t source[HG_LANE_MTU_BYTES_MAX] __attribute__((aligned(64))) = {0};
    uint8_t parity[sizeof(source)] __attribute__((aligned(64))) = {0};
    uint8_t *rows[1] = {parity};
    struct hg_wire_fec_symbol symbol = {.frames_bytes = (uint16_t)bytes, .number_low = (uint32_t)claimed};
    memcpy(source, &symbol, sizeof(symbol));
    memcpy(source + sizeof(symbol), frames, bytes);
    hg_fec_code_add(&code, 1, 0, source, (uint32_t)hg_align_up(bytes + sizeof(symbol), 64), rows);
    uint8_t frame[2000];
    struct hg_wire_parity head = {.type = HG_WIRE_PARITY, .bytes = (uint16_t)(bytes + sizeof(symbol))};
    memcpy(frame, &head, sizeof(head));
    memcpy(frame + sizeof(head), parity, head.bytes);
    struct hg_wire_fec place = {.group = group, .index = 32, .k = 1, .m = 1};
    receive_fec(place, frame, sizeof(head) + head.bytes, number);
}

static void test_recovered_frames(void)
{
    static const struct {
        uint8_t count, bytes, reserved;
        uint64_t numbers[3];
        bool parses;
        uint64_t unsent;
    } cases[] = {
        {1, 12, 0, {5}, true, 0},
        {2, 20, 0, {5, 4}, true, 0},
        {3, 28, 0, {9, 4, 1}, true, 0},
        {0, 4, 0, {0}, false, 0},
        {1, 11, 0, {5}, false, 0},
        {2, 12, 0, {5}, false, 0},
        {1, 12, 1, {5}, false, 0},
        {1, 12, 0, {0}, false, 0},
        {2, 20, 0, {5, 5}, false, 0},
        {2, 20, 0, {4, 5}, false, 0},
        {1, 12, 0, {21}, true, 1},
        {2, 20, 0, {UINT64_MAX, 5}, false, 0},
        {2, 20, 0, {1ull << 63, 5}, true, 1},
        {17, 140, 0, {99, 98, 97}, false, 0},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        begin();
        send_pings(20);
        uint8_t frame[200] = {0};
        struct hg_wire_recovered head = {
            .type = HG_WIRE_RECOVERED, .count = cases[i].count, .reserved = cases[i].reserved};
        memcpy(frame, &head, sizeof(head));
        memcpy(frame + sizeof(head), cases[i].numbers, sizeof(cases[i].numbers));
        receive(packet_of(frame, cases[i].bytes), 1);
        const struct hg_lane_stats *stats = hg_lane_stats(lane);
        CU_ASSERT(stats->drop_malformed == !cases[i].parses);
        CU_ASSERT(stats->drop_ack == cases[i].unsent);
        /* Lost is what acks say: recovered or not, these are under way still. */
        CU_ASSERT(lane->sent.packets_in_flight == 20 && stats->packets_lost == 0);
    }
}

/* What is recovered there isn't sent again and completes its batch, and is a loss all the same. */
static void test_recovered_counts_as_lost(void)
{
    struct hg_lane_packet packet;
    begin();
    send_pings(1);
    uint8_t frame[64] = {0};
    struct hg_wire_ack ack = {.type = HG_WIRE_ACK, .range_count = 1, .first_count = 1, .largest = 1};
    ack.credit_bytes = 1u << 20;
    memcpy(frame, &ack, sizeof(ack));
    receive(packet_of(frame, 32), 1);
    batch_bytes = 512;
    to_send = 1;
    CU_ASSERT(hg_lane_build(lane, 2, 3000, &packet) > 0); /* the batch */
    for (uint64_t n = 3; n <= 7; n++) {
        hg_lane_ping(lane);
        CU_ASSERT(hg_lane_build(lane, n, 3000, &packet) > 0);
    }
    struct hg_wire_recovered head = {.type = HG_WIRE_RECOVERED, .count = 1};
    uint64_t number = 2;
    memcpy(frame, &head, sizeof(head));
    memcpy(frame + 4, &number, 8);
    receive(packet_of(frame, 12), 2);
    receive(packet_of(frame, 12), 3); /* told again */
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    CU_ASSERT(acked_count == 1 && stats->fec_recovered_there == 1 && lane->outbox.cost_bytes == 0);
    receive_ack(7, 5, (struct hg_wire_ack_range){0, 0}, 4);
    CU_ASSERT(stats->packets_lost == 1 && lane->sent.packets_in_flight == 0);
    CU_ASSERT(hg_lane_build(lane, 8, 4000, &packet) == 0 && stats->data_bytes_resent == 0);
    receive_ack(7, 6, (struct hg_wire_ack_range){0, 0}, 5); /* it was late only */
    CU_ASSERT(stats->packets_spurious == 1 && acked_count == 1);
    batch_bytes = 4096;
}

/* A number out of parity never saw the replay window. It moves nothing that arrived packets didn't. */
static void test_forged_numbers(void)
{
    struct hg_wire_stream_durable frame = durable();
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    receive_forged(1, 999, &frame, sizeof(frame), 1000);
    CU_ASSERT(control_count == 1 && stats->fec_recovered == 1);
    CU_ASSERT(!hg_ack_seen(&lane->ack, 999) && lane->ack.largest == 1000); /* told, not acknowledged */
    CU_ASSERT(lane->recovered.count == 1 && lane->recovered.numbers[0] == 999);
    receive_forged(2, 1000, &frame, sizeof(frame), 1001); /* one that arrived: the same thing twice */
    CU_ASSERT(control_count == 1 && stats->drop_duplicate == 1);
    receive_forged(3, 1002, &frame, sizeof(frame), 1002); /* itself */
    receive_forged(4, 5000, &frame, sizeof(frame), 1003); /* one to come */
    receive_forged(5, UINT32_MAX, &frame, sizeof(frame), 1004);
    receive_forged(6, 0, &frame, sizeof(frame), 1005);
    CU_ASSERT(stats->drop_fec == 4 && control_count == 1);
    receive_forged(7, 10000, &frame, sizeof(frame), 20000); /* older than acks reach */
    CU_ASSERT(stats->drop_fec == 5 && control_count == 1);
    receive_forged(8, 19999, &frame, sizeof(frame), 20001);
    receive_forged(9, 19999, &frame, sizeof(frame), 20002); /* twice: as a packet sent again */
    CU_ASSERT(control_count == 3 && lane->recovered.count == 2);
    receive(packet_of(&frame, sizeof(frame)), 19999); /* and it was late only */
    CU_ASSERT(control_count == 4 && hg_ack_seen(&lane->ack, 19999));
    for (uint32_t i = 0; i < 200; i++) {
        receive_forged(100 + i, 20100 + i, &frame, sizeof(frame), 20101 + 2ull * i);
    }
    CU_ASSERT(lane->recovered.count == HG_WIRE_RECOVERED_MAX);
}

/* The credit in an ack that parity gave: only as new as its packet. What doesn't parse counts for nothing,
 * and parity within parity is no frame. */
static void test_forged_frames(void)
{
    begin();
    send_pings(3);
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    uint8_t frame[64] = {0};
    struct hg_wire_ack ack = {.type = HG_WIRE_ACK, .range_count = 1, .first_count = 1, .largest = 1};
    ack.credit_bytes = 70000;
    memcpy(frame, &ack, sizeof(ack));
    receive(packet_of(frame, 32), 10);
    ack.credit_bytes = 1;
    memcpy(frame, &ack, sizeof(ack));
    receive_forged(1, 9, frame, 32, 20);
    CU_ASSERT(stats->fec_recovered == 1 && lane->credit_bytes == 70000);
    static const struct {
        uint8_t frame[16];
        uint32_t bytes;
    } bad[] = {{{HG_WIRE_PARITY, 0, 9, 0, 1, 2, 3}, 13},
               {{HG_WIRE_PARITY}, 1},
               {{HG_WIRE_DATA, 0, 1}, 16},
               {{5}, 1}};
    for (uint32_t i = 0; i < HG_COUNT(bad); i++) {
        receive_forged(10 + i, 30 + i, bad[i].frame, bad[i].bytes, 100 + i);
    }
    CU_ASSERT(stats->drop_malformed == HG_COUNT(bad) && stats->fec_recovered == 1);
}

/* Parity in a packet that doesn't say so, packets that say so without it, fields that contradict each other.
 */
static void test_parity_packets(void)
{
    uint8_t frame[24] = {HG_WIRE_PARITY, 0, 20};
    static const uint8_t ping = HG_WIRE_PING;
    struct hg_wire_fec parity = {.index = 32, .k = 1, .m = 1};
    struct hg_wire_fec source = {.index = 0, .k = 1, .m = 1};
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    receive(packet_of(frame, 24), 1);
    receive_fec(source, frame, 24, 2);
    receive_fec(parity, &ping, 1, 3);
    receive_fec(parity, frame, 23, 4);
    frame[2] = 19; /* and one byte more */
    receive_fec(parity, frame, 24, 5);
    frame[2] = 8; /* nothing in it */
    receive_fec(parity, frame, 12, 6);
    frame[2] = 20;
    frame[1] = 1;
    receive_fec(parity, frame, 24, 7);
    frame[1] = 0;
    parity.index = 33; /* row 1 of 1 */
    receive_fec(parity, frame, 24, 8);
    parity.index = 32;
    parity.k = 33;
    receive_fec(parity, frame, 24, 9);
    CU_ASSERT(stats->drop_malformed == 9 && stats->packets_received == 0);
    parity.k = 2;
    receive_fec(parity, frame, 24, 10);
    receive_fec(source, &ping, 1, 11);
    CU_ASSERT(stats->packets_received == 2 && stats->fec_parity_received == 1);
    CU_ASSERT(hg_ack_seen(&lane->ack, 10) && lane->ack.pending_count == 2);
}

/* Sources of ever new groups: memory stays what it is, and honest groups come through in between. */
static void test_parity_memory(void)
{
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    uint8_t padding[1400] = {0};
    struct hg_wire_stream_durable frame = durable();
    uint64_t number = 1;
    for (uint32_t group = 1; group <= 3000; group++) {
        for (uint32_t i = 0; i < 20; i++) {
            struct hg_wire_fec source = {.group = group, .index = (uint8_t)i, .k = 32, .m = 8};
            receive_fec(source, padding, sizeof(padding), number++);
        }
        if (group % 100 == 0) {
            receive_forged(group + 1000000, number, &frame, sizeof(frame), number + 1);
            number += 2;
            CU_ASSERT(control_count == group / 100);
        }
    }
    CU_ASSERT(stats->fec_crowded > 0 && stats->packets_received == number - 1 - 30);
}

/* Makes one frame of random bytes that is often right. Returns its bytes. */
static uint32_t nearly_right(uint8_t *frame)
{
    static const uint8_t types[] = {0, 1, 2, 2, 2, 3, 3, 16, 18, 19};
    uint8_t type = types[frame[0] % HG_COUNT(types)];
    frame[0] = type;
    if (type == HG_WIRE_DATA) {
        struct hg_wire_data data =
            hg_wire_data_make(3, 100 + frame[4] % 5, 256, frame[5] & 0xc0, frame[6] & 64);
        memcpy(frame, &data, sizeof(data));
        return DATA_BYTES + data.bytes;
    }
    if (type == HG_WIRE_ACK) {
        struct hg_wire_ack ack;
        memcpy(&ack, frame, sizeof(ack));
        ack.range_count = 1 + ack.range_count % 3;
        ack.first_count = 1 + ack.first_count % 4;
        ack.largest %= 24;
        memcpy(frame, &ack, sizeof(ack));
        return 24u + 8u * ack.range_count;
    }
    struct hg_wire_control control = {.type = type, .bytes = 16, .alias = 3};
    if (type >= HG_WIRE_CONTROL_FIRST) {
        memcpy(frame, &control, sizeof(control));
        return 16;
    }
    return 1;
}

static void test_random_bytes(void)
{
    uint64_t random = 4711;
    begin();
    send_pings(20);
    struct hg_lane_packet out;
    uint64_t number_out = 21;
    for (uint64_t n = 1; n <= 40000; n++) {
        uint8_t frames[400];
        uint32_t bytes = (uint32_t)(sim_random(&random) % sizeof(frames));
        for (uint32_t i = 0; i < bytes; i++) {
            frames[i] = (uint8_t)sim_random(&random);
        }
        uint32_t whole = bytes >= sizeof(struct hg_wire_ack) ? nearly_right(frames) : bytes;
        bytes = n % 8 != 0 && whole < bytes ? whole : bytes;
        receive(packet_of(frames, bytes), n);
        received_rc = n % 3 == 0 ? -EAGAIN : n % 100 == 0 ? -EPERM : 0;
        if (n % 500 == 0) {
            hg_lane_alias_close(lane, 3);
            CU_ASSERT(hg_lane_alias_open(lane, 3, 100) == 0);
        }
        while (hg_lane_build(lane, number_out, 2000 + n * 1000, &out) > 0) {
            number_out++;
        }
    }
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    CU_ASSERT(stats->drop_malformed > 1000 && stats->packets_received > 1000 &&
              stats->data_bytes_received > 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lane_hostile", NULL, NULL);
    CU_add_test(suite, "headers", test_headers);
    CU_add_test(suite, "truncated", test_truncated);
    CU_add_test(suite, "acks", test_acks);
    CU_add_test(suite, "control types", test_control_types);
    CU_add_test(suite, "beyond credit", test_beyond_credit);
    CU_add_test(suite, "refused", test_refused);
    CU_add_test(suite, "forget", test_forget);
    CU_add_test(suite, "ECN counts", test_ecn_counts);
    CU_add_test(suite, "recovered frames", test_recovered_frames);
    CU_add_test(suite, "recovered counts as lost", test_recovered_counts_as_lost);
    CU_add_test(suite, "forged numbers", test_forged_numbers);
    CU_add_test(suite, "forged frames", test_forged_frames);
    CU_add_test(suite, "parity packets", test_parity_packets);
    CU_add_test(suite, "parity memory", test_parity_memory);
    CU_add_test(suite, "random bytes", test_random_bytes);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
