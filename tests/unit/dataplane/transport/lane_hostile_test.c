/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets that an authenticated but broken or malicious peer could send.
 */
#include "tests/unit/dataplane/transport/lane_sim.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

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
    struct hg_lane_config config = {.ops = &ops,
                                    .worker_sending = 1,
                                    .worker_receiving = 2,
                                    .key_generation = 5,
                                    .mtu_bytes = 1500,
                                    .receive_bytes_max = 3u << 20,
                                    .packets_in_flight_max = 64};
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
    struct hg_wire_header header = {.version = 1,
                                    .worker_sending = 2,
                                    .worker_receiving = 1,
                                    .key_generation = 5,
                                    .frames_bytes = (uint16_t)bytes};
    memcpy(packet.bytes, &header, sizeof(header));
    memcpy(packet.bytes + sizeof(header), frames, bytes);
    packet.count = sizeof(header) + bytes;
    return packet;
}

static void receive(struct packet packet, uint64_t number)
{
    uint8_t *exact = malloc(packet.count > 0 ? packet.count : 1); /* a sanitizer sees its end */
    memcpy(exact, packet.bytes, packet.count);
    hg_lane_receive(lane, exact, packet.count, number, 2000);
    free(exact);
}

static void test_headers(void)
{
    static const uint8_t ping = HG_WIRE_PING;
    begin();
    const struct hg_lane_stats *stats = hg_lane_stats(lane);
    struct packet packet = packet_of(&ping, 1);
    packet.bytes[0] = 2;
    receive(packet, 1);
    CU_ASSERT(stats->drop_version == 1);
    packet = packet_of(&ping, 1);
    packet.bytes[1] = 1;
    receive(packet, 1);
    CU_ASSERT(stats->drop_malformed == 1);
    packet = packet_of(&ping, 1);
    packet.bytes[2] = 1;
    receive(packet, 1);
    CU_ASSERT(stats->drop_worker == 1);
    packet = packet_of(&ping, 1);
    packet.bytes[16] = 6;
    receive(packet, 1);
    CU_ASSERT(stats->drop_generation == 1);
    packet = packet_of(&ping, 1);
    packet.bytes[20] = 2;
    receive(packet, 1);
    CU_ASSERT(stats->drop_malformed == 2);
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

/* Every prefix of a packet with all frames in it, with the header's count made to match or not. */
static void test_truncated(void)
{
    uint8_t frames[1024];
    uint32_t bytes = 0;
    struct hg_wire_data data = {
        .type = HG_WIRE_DATA, .bytes = 208, .alias = 3, .lsn_first = 100, .batch_bytes = 208};
    memcpy(frames, &data, sizeof(data));
    memset(frames + 24, 0, 208);
    bytes = 24 + 208;
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
        struct packet packet = packet_of(frames, bytes);
        packet.count = 24 + cut;
        receive(packet, 1);
        CU_ASSERT(hg_lane_stats(lane)->drop_malformed == 1);
        packet = packet_of(frames, cut);
        receive(packet, 1);
        bool whole = cut == 0 || cut == 24 + 208 || cut == 24 + 208 + 40;
        CU_ASSERT(hg_lane_stats(lane)->drop_malformed == (whole ? 1 : 2));
        CU_ASSERT(control_count == 0);
    }
    for (uint32_t cut = 0; cut < 24; cut++) {
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
    receive(packet_of(frames, 232), 2);
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
        {16, 96, 1, 0, 0},  {16, 92, 0, 1, 0},  {17, 48, 1, 0, 0}, {18, 16, 1, 0, 0}, {18, 20, 0, 1, 0},
        {19, 16, 1, 0, 0},  {20, 16, 1, 0, 0},  {21, 16, 1, 0, 0}, {22, 16, 0, 1, 0}, {31, 8, 0, 1, 0},
        {32, 16, 0, 0, 1},  {4, 16, 0, 0, 1},   {18, 4, 0, 0, 1},  {18, 18, 0, 0, 1}, {18, 0, 0, 0, 1},
        {18, 260, 0, 0, 1}, {255, 16, 0, 0, 1},
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
    uint8_t frame[24 + 64] = {0};
    struct hg_wire_data data = {
        .type = HG_WIRE_DATA, .bytes = 64, .alias = 3, .lsn_first = 200, .batch_bytes = 1u << 20};
    for (uint64_t n = 1; n <= 4; n++) {
        data.lsn_first = 100 + n * 10;
        memcpy(frame, &data, sizeof(data));
        receive(packet_of(frame, sizeof(frame)), n);
        CU_ASSERT(hg_ack_seen(&lane->ack, n) == (n < 4));
    }
    CU_ASSERT(hg_lane_stats(lane)->drop_credit == 1);
    hg_lane_alias_close(lane, 3);
    CU_ASSERT(hg_lane_alias_open(lane, 3, 100) == 0);
    receive(packet_of(frame, sizeof(frame)), 5);
    CU_ASSERT(hg_ack_seen(&lane->ack, 5) && hg_lane_stats(lane)->drop_credit == 1);
}

static void test_refused(void)
{
    begin();
    received_rc = -EPERM;
    uint8_t frame[24 + 208] = {0};
    struct hg_wire_data data = {
        .type = HG_WIRE_DATA, .bytes = 208, .alias = 3, .lsn_first = 100, .batch_bytes = 208};
    uint64_t lsn_end = 110;
    memcpy(frame, &data, sizeof(data));
    memcpy(frame + 24 + offsetof(struct hg_batch_header, lsn_first), &data.lsn_first, 8);
    memcpy(frame + 24 + offsetof(struct hg_batch_header, lsn_end), &lsn_end, 8);
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
        if (bytes >= sizeof(struct hg_wire_data)) { /* often nearly right */
            struct hg_wire_data data;
            memcpy(&data, frames, sizeof(data));
            static const uint8_t types[] = {0, 1, 2, 2, 2, 3, 3, 16, 18, 19};
            data.type = types[data.type % HG_COUNT(types)];
            data.flags = data.type == HG_WIRE_ACK ? 1 + data.flags % 3 : 0;
            data.bytes = data.type >= 16 ? 16 : data.bytes & 64;
            data.alias = data.type == HG_WIRE_ACK ? 1 + data.alias % 4 : 3;
            data.lsn_first = data.type == HG_WIRE_ACK ? data.lsn_first % 24 : 100 + data.lsn_first % 5;
            data.offset &= 0xc0;
            data.batch_bytes = 256;
            memcpy(frames, &data, sizeof(data));
            uint32_t whole = data.type == HG_WIRE_DATA  ? 24u + data.bytes
                             : data.type == HG_WIRE_ACK ? 24u + 8u * data.flags
                             : data.type >= 16          ? 16u
                                                        : 1u;
            bytes = n % 8 != 0 && whole < bytes ? whole : bytes;
        }
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
    CU_add_test(suite, "random bytes", test_random_bytes);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
