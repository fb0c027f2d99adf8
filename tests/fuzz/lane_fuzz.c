/* SPDX-License-Identifier: Apache-2.0
 *
 * A lane whose peer has the keys and sends anything: transport headers and frames from the input, or a header
 * that is right followed by frames from the input, between builds of our own packets and steps of time.
 */
#include "dataplane/transport/lane.h"

#include <errno.h>
#include <stdlib.h>

#define ALIAS       7u
#define BATCH_BYTES 4096u

struct owner {
    uint64_t lsn_next; /* of the batches given out */
    uint64_t answers;  /* of batch_received, two bits each */
};

static uint8_t batch[BATCH_BYTES];

static bool batch_next(void *ctx, struct hg_lane_batch *next)
{
    struct owner *owner = ctx;

    if (owner->lsn_next > 20)
        return false;
    *next = (struct hg_lane_batch){.alias = ALIAS,
                                   .bytes = BATCH_BYTES,
                                   .lsn_first = owner->lsn_next,
                                   .lsn_end = owner->lsn_next + 1,
                                   .sequence = owner->lsn_next};
    owner->lsn_next++;
    return true;
}

static const uint8_t *batch_bytes(void *ctx, const struct hg_lane_batch *wanted)
{
    (void)ctx;
    hg_assert(wanted->alias == ALIAS && wanted->bytes == BATCH_BYTES);
    return batch;
}

static void batch_acked(void *ctx, const struct hg_lane_batch *acked)
{
    const struct owner *owner = ctx;

    hg_assert(acked->lsn_first < owner->lsn_next);
}

static int batch_received(void *ctx, uint32_t alias, const uint8_t *bytes, uint32_t count)
{
    struct owner *owner = ctx;
    uint64_t answer = owner->answers & 3;
    volatile uint8_t sum = 0;

    hg_assert(alias == ALIAS);
    for (uint32_t i = 0; i < count; i++)
        sum = (uint8_t)(sum + bytes[i]); /* the sanitizer sees any byte that is not there */
    owner->answers = owner->answers >> 2 | answer << 62;
    return answer == 3 ? -EAGAIN : answer == 2 ? -EBADMSG : 0;
}

static void control_received(void *ctx, const struct hg_wire_control *frame)
{
    uint8_t copy[HG_WIRE_CONTROL_BYTES_MAX];

    (void)ctx;
    hg_assert(frame->bytes >= sizeof(*frame) && frame->bytes <= sizeof(copy));
    memcpy(copy, frame, frame->bytes);
}

static const struct hg_lane_ops ops = {batch_next, batch_bytes, batch_acked, batch_received,
                                       control_received};

static void build(struct hg_lane *lane, uint64_t *packet_number, uint64_t now_ns)
{
    struct hg_lane_packet packet;

    for (int i = 0; i < 8 && hg_lane_build(lane, *packet_number, now_ns, &packet) > 0; i++) {
        uint32_t bytes = 0;

        for (uint32_t piece = 0; piece < packet.piece_count; piece++)
            bytes += (uint32_t)packet.pieces[piece].iov_len;
        hg_assert(bytes == packet.bytes && bytes <= HG_WIRE_INNER_BYTES(1500u));
        (*packet_number)++;
    }
}

/* A packet is {bytes u8 x 8, kind u8} and what follows; an exact copy, so that reading beyond it is seen. */
static size_t receive(struct hg_lane *lane, const uint8_t *data, size_t bytes, uint64_t number,
                      uint64_t now_ns)
{
    size_t inner_bytes = hg_min_u64(8u * data[0], bytes - 2);
    struct hg_wire_header header = {.version = HG_WIRE_VERSION, .flags = data[1] >> 1 & 1};
    size_t head_bytes = data[1] & 1 ? sizeof(header) : 0;
    uint8_t *inner = malloc(head_bytes + inner_bytes + 1);

    hg_assert(inner != NULL);
    memcpy(inner, &header, head_bytes);
    memcpy(inner + head_bytes, data + 2, inner_bytes);
    hg_lane_receive(lane, inner, (uint32_t)(head_bytes + inner_bytes), number,
                    (enum hg_ecn_codepoint)(number & HG_ECN_MASK), now_ns);
    free(inner);
    return 2 + inner_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct hg_lane_config config = {
        .ops = &ops, .mtu_bytes = 1500, .ecn = true, .packets_in_flight_max = HG_LANE_PACKETS_IN_FLIGHT_MIN};
    static void *memory;
    struct owner owner = {.lsn_next = 10};
    uint64_t now_ns = HG_NS_PER_S, sent = 1, received = 1;
    struct hg_lane *lane;

    config.ctx = &owner;
    if (memory == NULL)
        memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(hg_lane_bytes(&config), HG_CACHE_LINE_BYTES));
    hg_assert(memory != NULL);
    if (bytes < 8)
        return 0;
    memcpy(&owner.answers, data, 8);
    lane = hg_lane_init(memory, &config, now_ns);
    hg_assert(hg_lane_alias_open(lane, ALIAS, 100) == 0);
    for (size_t at = 8; bytes - at >= 2;) {
        build(lane, &sent, now_ns);
        now_ns += (uint64_t)(data[at + 1] >> 1) * HG_NS_PER_MS;
        received += 1 + (data[at + 1] >> 6);
        at += receive(lane, data + at, bytes - at, received, now_ns);
        hg_lane_offer(lane);
        (void)hg_lane_deadline_ns(lane);
    }
    return 0;
}
