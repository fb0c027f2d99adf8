/* SPDX-License-Identifier: Apache-2.0
 *
 * What a packet costs in a lane: build on one side, receive on the other, acks back, nothing sealed. Prints
 * ns a packet.
 */
#include "dataplane/transport/lane.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PLACES 16u /* more than batches in a packet */

struct speed_side {
    uint8_t *data;
    uint64_t lsn;
    uint64_t received;
    uint64_t acked;
    uint64_t left;
    uint32_t batch_bytes;
};

static bool speed_next(void *ctx, struct hg_lane_batch *batch)
{
    struct speed_side *side = ctx;
    if (side->left == 0) {
        return false;
    }
    side->left--;
    *batch = (struct hg_lane_batch){
        .alias = 1, .bytes = side->batch_bytes, .lsn_first = side->lsn, .lsn_end = side->lsn + 1};
    side->lsn++;
    return true;
}

static const uint8_t *speed_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    struct speed_side *side = ctx;
    /* Every batch is the same but for its LSNs, which the first fragment carries. */
    uint64_t lsn_end = batch->lsn_first + 1;
    uint8_t *data = side->data + batch->lsn_first % PLACES * (HG_BATCH_BYTES_MAX / PLACES & ~63u);
    data = side->batch_bytes > HG_BATCH_BYTES_MAX / PLACES ? side->data : data;
    memcpy(data + offsetof(struct hg_batch_header, lsn_first), &batch->lsn_first, 8);
    memcpy(data + offsetof(struct hg_batch_header, lsn_end), &lsn_end, 8);
    return data;
}

static void speed_acked(void *ctx, const struct hg_lane_batch *batch)
{
    ((struct speed_side *)ctx)->acked++;
}

static int speed_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    ((struct speed_side *)ctx)->received++;
    return 0;
}

static void speed_control(void *ctx, const struct hg_wire_control *frame)
{
}

static uint64_t speed_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint32_t speed_flatten(const struct hg_lane_packet *packet, uint8_t *inner)
{
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < packet->piece_count; i++) {
        memcpy(inner + bytes, packet->pieces[i].iov_base, packet->pieces[i].iov_len);
        bytes += (uint32_t)packet->pieces[i].iov_len;
    }
    return bytes;
}

static void speed_run(uint32_t batch_bytes, uint64_t batches, uint32_t loss_every)
{
    static const struct hg_lane_ops ops = {speed_next, speed_bytes, speed_acked, speed_received,
                                           speed_control};
    struct speed_side sides[2] = {0};
    struct hg_lane *lanes[2];
    void *memory[2];
    uint64_t numbers[2] = {1, 1};
    static uint8_t data[HG_BATCH_BYTES_MAX];
    for (uint32_t i = 0; i < 2; i++) {
        sides[i].data = data;
        sides[i].batch_bytes = batch_bytes;
        sides[i].lsn = 1;
        struct hg_lane_config config = {.ops = &ops,
                                        .ctx = &sides[i],
                                        .mtu_bytes = 1500,
                                        .receive_bytes_max = 32u << 20,
                                        .packets_in_flight_max = 16384};
        memory[i] =
            aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(hg_lane_bytes(&config), HG_CACHE_LINE_BYTES));
        hg_assert(memory[i] != NULL);
        lanes[i] = hg_lane_init(memory[i], &config, 1);
        hg_assert(hg_lane_alias_open(lanes[i], 1, 1) == 0);
    }
    sides[0].left = batches;
    static uint8_t inner[2048];
    struct hg_lane_packet packet;
    uint64_t virtual_ns = 1000;
    uint64_t packets = 0;
    uint64_t start_ns = speed_now_ns();
    while (sides[0].acked < batches) {
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t burst = 0;
            while (burst++ < 64 && hg_lane_build(lanes[side], numbers[side], virtual_ns, &packet) > 0) {
                uint32_t bytes = speed_flatten(&packet, inner);
                packets++;
                if (loss_every == 0 || packets % loss_every != 0) {
                    hg_lane_receive(lanes[1 - side], inner, bytes, numbers[side], HG_ECN_NOT_ECT, virtual_ns);
                }
                numbers[side]++;
            }
        }
        virtual_ns += 20000;
    }
    uint64_t spent_ns = speed_now_ns() - start_ns;
    hg_assert(sides[1].received == batches);
    printf("batches of %7u bytes, loss 1 in %4u: %5.1f ns a packet (%.2f million packets/s, %.2f GB/s)\n",
           batch_bytes, loss_every, (double)spent_ns / (double)packets,
           (double)packets * 1e3 / (double)spent_ns, (double)batches * batch_bytes / (double)spent_ns);
    free(memory[0]);
    free(memory[1]);
}

int main(void)
{
    speed_run(64u << 10, 20000, 0);
    speed_run(64u << 10, 20000, 100);
    speed_run(1u << 20, 1000, 0);
    speed_run(256, 500000, 0);
    return 0;
}
