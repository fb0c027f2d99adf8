/* SPDX-License-Identifier: Apache-2.0
 *
 * A lane with open aliases, batches and control frames under way, against a peer that authenticates but sends
 * anything. The input is a list of operations: packets with frames as the input says, turns of building,
 * time that passes, aliases that open, close and are forgotten. The lane must never crash, never read beyond
 * a packet, never hold more than its memory, and never acknowledge a batch twice.
 */
#include "dataplane/transport/lane.h"
#include "dataplane/transport/lane_state.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/lane_turns.h"
#include <errno.h>
#include <stdlib.h>

#define ALIASES      4u
#define PACKETS_MAX  64u
#define BATCHES_MAX  4096u
#define BUILDS_MAX   8u
#define FRAMES_BYTES 512u

static struct {
    uint8_t *memory;
    uint8_t *batch;
    uint64_t lsn[ALIASES];
    uint8_t acked[BATCHES_MAX];
    uint32_t batch_count;
    uint32_t turn;
    int answer;
} owner;

static bool owner_next(void *ctx, struct hg_lane_batch *batch)
{
    if (owner.batch_count == BATCHES_MAX) {
        return false;
    }
    uint32_t alias = owner.batch_count % ALIASES;
    uint32_t bytes = 208 + owner.batch_count % 7 * 1600;
    *batch = (struct hg_lane_batch){.alias = alias, .bytes = bytes, .lsn_first = owner.lsn[alias]};
    batch->lsn_end = ++owner.lsn[alias];
    batch->sequence = owner.batch_count++;
    return true;
}

static const uint8_t *owner_bytes(void *ctx, const struct hg_lane_batch *batch)
{
    hg_assert(!owner.acked[batch->sequence]);
    return owner.turn++ % 5 == 0 ? NULL : owner.batch;
}

static void owner_acked(void *ctx, const struct hg_lane_batch *batch)
{
    hg_assert(!owner.acked[batch->sequence]);
    owner.acked[batch->sequence] = 1;
}

static int owner_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes)
{
    hg_assert(bytes >= sizeof(struct hg_batch_header) && bytes <= HG_BATCH_BYTES_MAX);
    volatile uint8_t sum = 0;
    for (uint32_t i = 0; i < bytes; i += 61) {
        sum = (uint8_t)(sum + batch[i]);
    }
    return owner.answer;
}

static void owner_control(void *ctx, const struct hg_wire_control *frame)
{
    hg_assert(frame->bytes >= sizeof(*frame) && frame->bytes <= HG_WIRE_CONTROL_BYTES_MAX);
}

static const struct hg_lane_ops ops = {owner_next, owner_bytes, owner_acked, owner_received, owner_control};

/* A packet whose header puts it into a group; parities in their frame. */
static void receive_group(struct hg_lane *lane, struct input *input, uint64_t number, uint64_t now_ns)
{
    struct {
        struct hg_wire_header header;
        uint8_t place[sizeof(struct hg_wire_fec)];
    } head = {.header = {.version = HG_WIRE_VERSION, .flags = HG_WIRE_FLAG_FEC}};
    struct hg_wire_fec place = {.group = (uint32_t)take(input, 1),
                                .index = (uint8_t)take(input, 1) % 40,
                                .k = 1 + (uint8_t)take(input, 1) % 32,
                                .m = 1 + (uint8_t)take(input, 1) % 8,
                                .depth = 1};
    memcpy(head.place, &place, sizeof(place));
    uint32_t bytes = (uint32_t)hg_min_u64(take(input, 2) % FRAMES_BYTES, input->bytes_left);
    struct hg_wire_parity parity = {.type = HG_WIRE_PARITY, .bytes = (uint16_t)bytes};
    uint32_t head_bytes = place.index >= 32 ? sizeof(parity) : 0;
    uint8_t *packet = malloc(sizeof(head) + head_bytes + bytes);
    hg_assert(packet != NULL);
    memcpy(packet, &head, sizeof(head));
    memcpy(packet + sizeof(head), &parity, head_bytes);
    memcpy(packet + sizeof(head) + head_bytes, input->at, bytes);
    hg_lane_receive(lane, packet, (uint32_t)sizeof(head) + head_bytes + bytes, number,
                    (enum hg_ecn_codepoint)(number & HG_ECN_MASK), now_ns);
    free(packet);
    input->at += bytes;
    input->bytes_left -= bytes;
}

static void receive(struct hg_lane *lane, struct input *input, uint64_t number, uint64_t now_ns)
{
    uint32_t bytes = (uint32_t)(take(input, 2) % FRAMES_BYTES);
    uint32_t there = (uint32_t)(bytes < input->bytes_left ? bytes : input->bytes_left);
    struct hg_wire_header header = {.version = HG_WIRE_VERSION};
    uint8_t *packet = malloc(sizeof(header) + there);
    hg_assert(packet != NULL);
    memcpy(packet, &header, sizeof(header));
    memcpy(packet + sizeof(header), input->at, there);
    if (take(input, 1) == 0xff && there > 0) {
        packet[take(input, 1) % (sizeof(header) + there)] ^= 0x11;
    }
    hg_lane_receive(lane, packet, (uint32_t)sizeof(header) + there, number,
                    (enum hg_ecn_codepoint)(number & HG_ECN_MASK), now_ns);
    free(packet);
    input->at += there < input->bytes_left ? there : input->bytes_left;
    input->bytes_left -= there < input->bytes_left ? there : input->bytes_left;
}

static void check(struct hg_lane *lane)
{
    const struct hg_reassembly *r = &lane->reassembly;
    hg_assert(r->block_free_count <= r->block_count);
    hg_assert(r->whole_bytes <= (uint64_t)(r->block_count - r->block_free_count) * HG_WIRE_BLOCK_BYTES);
    hg_assert(lane->sent.packets_in_flight <= PACKETS_MAX);
    hg_assert(lane->control.used_count <= HG_CONTROL_FRAMES_MAX);
    (void)hg_lane_stats(lane);
    (void)hg_lane_deadline_ns(lane);
}

static struct hg_lane *begin(uint64_t now_ns)
{
    struct hg_lane_config config = {.ops = &ops,
                                    .mtu_bytes = 1500,
                                    .rate_bytes_per_s = 1u << 24,
                                    .ecn = true,
                                    .packets_in_flight_max = PACKETS_MAX,
                                    .fec = 2};
    if (owner.memory == NULL) {
        owner.memory = aligned_alloc(64, hg_align_up(hg_lane_bytes(&config), 64));
        owner.batch = calloc(1, HG_BATCH_BYTES_MAX);
        hg_assert(owner.memory != NULL && owner.batch != NULL);
    }
    memset(owner.lsn, 0, sizeof(owner.lsn));
    memset(owner.acked, 0, sizeof(owner.acked));
    owner.batch_count = owner.turn = 0;
    owner.answer = 0;
    struct hg_lane *lane = hg_lane_init(owner.memory, &config, now_ns);
    for (uint32_t i = 0; i < ALIASES; i++) {
        hg_assert(hg_lane_alias_open(lane, i, i) == 0);
    }
    return lane;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t now_ns = 1000, number_in = 0, number_out = 1;
    struct hg_lane *lane = begin(now_ns);
    struct input input = {data, bytes};
    struct hg_lane_packet packet;
    while (input.bytes_left > 0) {
        enum action action = take(&input, 1) % ACTION_COUNT;
        switch (action) {
        case PACKET_FAR:
            number_in += take(&input, 3);
            /* fallthrough */
        case PACKET:
            receive(lane, &input, ++number_in, now_ns);
            break;
        case PACKET_GROUP:
            receive_group(lane, &input, ++number_in, now_ns);
            break;
        case BUILD:
            for (uint32_t i = 0; i < BUILDS_MAX && hg_lane_build(lane, number_out, now_ns, &packet) > 0;
                 i++) {
                number_out += 1 + (number_out % 17 == 0) * take(&input, 1);
            }
            break;
        case TIME:
            now_ns += take(&input, 4);
            break;
        case OPEN:
            (void)hg_lane_alias_open(lane, take(&input, 1) % (2 * ALIASES), take(&input, 1) % 8);
            break;
        case CLOSE:
            hg_lane_alias_close(lane, take(&input, 1) % (2 * ALIASES));
            break;
        case FORGET:
            hg_lane_alias_forget(lane, take(&input, 1) % ALIASES);
            break;
        case CONTROL: {
            struct hg_wire_stream_durable frame = {.control = {.type = (uint8_t)(16 + take(&input, 1) % 4),
                                                               .bytes = 16,
                                                               .alias = take(&input, 1)}};
            (void)hg_lane_control_send(lane, &frame.control);
            break;
        }
        case OFFER:
            hg_lane_offer(lane);
            break;
        case PING:
            hg_lane_ping(lane);
            break;
        case ANSWER:
        case ACTION_COUNT:
            owner.answer = (const int[]){0, 0, -EAGAIN, -EPERM}[take(&input, 1) % 4];
            break;
        }
        check(lane);
    }
    return 0;
}
