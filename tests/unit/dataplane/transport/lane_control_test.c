/* SPDX-License-Identifier: Apache-2.0
 *
 * Control frames go first: past a window that is full, a rate that is used up and a ring of sent packets that
 * bulk data has filled, each in the very next packet.
 */
#include "tests/unit/dataplane/transport/lane_sim.h"
#include <CUnit/Basic.h>
#include <stdlib.h>

#define RING_PACKETS 64u

static struct hg_lane *lane;
static void *memory;
static uint64_t number, now_ns, lsn;
static uint8_t batch_data[64 << 10];

static bool next(void *ctx, struct hg_lane_batch *batch)
{
    *batch =
        (struct hg_lane_batch){.alias = 3, .bytes = sizeof(batch_data), .lsn_first = lsn, .lsn_end = lsn + 1};
    lsn++;
    return true; /* there is always more */
}

static const uint8_t *bytes_of(void *ctx, const struct hg_lane_batch *batch)
{
    return batch_data;
}

static void acked(void *ctx, const struct hg_lane_batch *batch)
{
}

static int received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    return 0;
}

static void control(void *ctx, const struct hg_wire_control *frame)
{
}

static const struct hg_lane_ops ops = {next, bytes_of, acked, received, control};

/* The type of the first frame of the next packet; -1 = there is none. Data in it too: *bulk. */
static int build(bool control_only, bool *bulk)
{
    struct hg_lane_packet packet;
    uint32_t bytes = control_only ? hg_lane_build_control(lane, number + 1, now_ns, &packet)
                                  : hg_lane_build(lane, number + 1, now_ns, &packet);
    if (bytes == 0)
        return -1;
    number++;
    if (bulk != NULL)
        *bulk = bytes > 600;
    return ((const uint8_t *)packet.pieces[0].iov_base)[sizeof(struct hg_wire_header)];
}

static void ask(uint32_t alias)
{
    struct hg_wire_stream_durable durable = {
        .control = {.type = HG_WIRE_STREAM_DURABLE, .bytes = sizeof(durable), .alias = alias},
        .lsn_durable = 7};
    CU_ASSERT_EQUAL(hg_lane_control_send(lane, &durable.control), 0);
}

/* A lane that has credit for everything. */
static void begin(uint64_t rate_bytes_per_s)
{
    struct hg_lane_config config = {.ops = &ops,
                                    .mtu_bytes = 1500,
                                    .rate_bytes_per_s = rate_bytes_per_s,
                                    .receive_bytes_max = 3u << 20,
                                    .packets_in_flight_max = RING_PACKETS};
    struct __attribute__((packed)) {
        struct hg_wire_header header;
        struct hg_wire_ack ack;
    } credit = {
        .header = {.version = HG_WIRE_VERSION},
        .ack = {
            .type = HG_WIRE_ACK, .range_count = 1, .first_count = 1, .largest = 1, .credit_bytes = 1u << 30}};
    free(memory);
    memory = aligned_alloc(64, hg_align_up(hg_lane_bytes(&config), 64));
    number = 0;
    lsn = 1;
    now_ns = HG_NS_PER_S;
    lane = hg_lane_init(memory, &config, now_ns);
    CU_ASSERT_EQUAL(build(false, NULL), HG_WIRE_PING); /* without credit it asks for some */
    now_ns += HG_NS_PER_MS;
    hg_lane_receive(lane, (const uint8_t *)&credit, sizeof(credit), 1, HG_ECN_NOT_ECT, now_ns);
}

static uint32_t fill(void)
{
    uint32_t packets = 0;
    while (build(false, NULL) >= 0)
        packets++;
    return packets;
}

/* No ack comes. Bulk fills what is bulk's of the ring, and control still goes out, each frame at once. */
static void test_full_ring(void)
{
    begin(0);
    uint32_t packets = fill();
    CU_ASSERT(packets >= RING_PACKETS / 2 && packets <= RING_PACKETS - HG_LANE_CONTROL_PACKETS);
    for (uint32_t i = 0; i < HG_LANE_CONTROL_PACKETS; i++) {
        bool bulk = true;
        ask(i);
        CU_ASSERT_EQUAL(hg_lane_deadline_ns(lane), now_ns);
        CU_ASSERT_EQUAL(build(false, &bulk), HG_WIRE_STREAM_DURABLE);
        CU_ASSERT_FALSE(bulk);
        CU_ASSERT_EQUAL(build(false, NULL), -1);
    }
}

/* By rate: nothing may go out, and the frame does. */
static void test_used_up_rate(void)
{
    begin(1000000);
    CU_ASSERT(fill() < RING_PACKETS / 2);
    CU_ASSERT(hg_lane_deadline_ns(lane) > now_ns);
    bool bulk = true;
    ask(1);
    CU_ASSERT_EQUAL(hg_lane_deadline_ns(lane), now_ns);
    CU_ASSERT_EQUAL(build(false, &bulk), HG_WIRE_STREAM_DURABLE);
    CU_ASSERT_FALSE(bulk);
    CU_ASSERT_EQUAL(build(false, NULL), -1);
}

/* With bulk at hand: before it, or, when the owner has other lanes, without it. */
static void test_before_bulk(void)
{
    bool bulk = false;
    begin(0);
    ask(1);
    CU_ASSERT_EQUAL(build(false, &bulk), HG_WIRE_STREAM_DURABLE);
    CU_ASSERT_TRUE(bulk);
    CU_ASSERT_FALSE(hg_lane_control_waits(lane));
    CU_ASSERT_EQUAL(build(true, NULL), -1);
    ask(2);
    CU_ASSERT_TRUE(hg_lane_control_waits(lane));
    CU_ASSERT_EQUAL(build(true, &bulk), HG_WIRE_STREAM_DURABLE);
    CU_ASSERT_FALSE(bulk);
    CU_ASSERT_EQUAL(build(true, NULL), -1);
    CU_ASSERT_EQUAL(build(false, &bulk), HG_WIRE_DATA);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("lane_control", NULL, NULL);
    CU_add_test(suite, "past a full ring", test_full_ring);
    CU_add_test(suite, "past a rate that is used up", test_used_up_rate);
    CU_add_test(suite, "before bulk", test_before_bulk);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    free(memory);
    return failures != 0;
}
