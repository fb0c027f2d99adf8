/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder of parity, against a peer that has the keys: symbols of groups as the input says, some of them
 * real parity of what came before, some with a bit turned. It must never read beyond a symbol, never hold
 * more than its memory, never lose track of it, and never believe a number that can't be.
 */
#include "dataplane/transport/fec_decode.h"
#include "dataplane/transport/fec_encode.h"
#include "tests/fuzz/input.h"

#include <stdlib.h>

#define INNER_BYTES  300u
#define SYMBOL_BYTES (INNER_BYTES + 100u)

/* Every slot is free, never used, or of one group. */
static void check_slots(const struct hg_fec_decode *decode)
{
    uint32_t used = 0, free_count = 0;

    for (uint32_t i = 0; i < HG_FEC_GROUPS; i++) {
        const struct hg_fec_decode_group *group = &decode->groups[i];

        used += (uint32_t)(__builtin_popcount(group->sources) + __builtin_popcount(group->parities));
        hg_assert(group->used || group->sources == 0);
    }
    for (uint32_t slot = decode->free_first; slot != HG_FEC_SYMBOL_NONE; slot = decode->next[slot]) {
        hg_assert(slot < decode->slot_fresh && free_count++ < decode->slot_count);
    }
    hg_assert(used + free_count == decode->slot_fresh && decode->slot_fresh <= decode->slot_count);
}

/* An exact copy, so that reading beyond it is seen. */
static void symbol_in(struct hg_fec_decode *decode, const struct hg_wire_fec *place, uint64_t number,
                      const uint8_t *symbol, uint32_t bytes)
{
    struct hg_fec_recovered packet;
    uint8_t *exact = malloc(bytes + 1);
    uint32_t count = 0;

    hg_assert(exact != NULL);
    memcpy(exact, symbol, bytes);
    if (hg_fec_place_is_parity(place))
        (void)hg_fec_decode_parity(decode, place, number, exact, bytes);
    else
        (void)hg_fec_decode_source(decode, place, number, exact, bytes);
    free(exact);
    while (hg_fec_decode_next(decode, &packet)) {
        volatile uint8_t sum = 0;

        hg_assert(++count <= HG_WIRE_FEC_PARITY_MAX && packet.number >= 1);
        hg_assert(packet.frames_bytes >= 1 && packet.frames_bytes <= decode->room_bytes);
        for (uint32_t i = 0; i < packet.frames_bytes; i++)
            sum = (uint8_t)(sum + packet.frames[i]);
    }
    check_slots(decode);
}

/* A packet of our own encoder, which arrives or doesn't; its group may close with it. */
static void packet_sent(struct hg_fec_encode *encode, struct hg_fec_decode *decode, struct input *input,
                        uint64_t *number, uint8_t *frames)
{
    uint8_t what = (uint8_t)take(input, 1);
    uint32_t bytes = 1 + (uint32_t)take(input, 1) % (INNER_BYTES - (uint32_t)sizeof(struct hg_wire_header) -
                                                     (uint32_t)HG_WIRE_FEC_BYTES);
    struct iovec piece = {frames, bytes};
    struct hg_wire_fec place = {0};
    struct hg_fec_parity parity;

    if (!hg_fec_encode_place(encode, 1 + what % 8, 1 + what / 16, 0, &place))
        return;
    hg_fec_encode_add(encode, &piece, 1, bytes, ++*number);
    if (what & 8)
        symbol_in(decode, &place, *number, frames, bytes);
    struct hg_fec_encode_group *group = hg_fec_encode_full(encode);
    group = group == NULL && (what & 3) == 0 ? hg_fec_encode_open(encode, NULL) : group;
    if (group == NULL)
        return;
    hg_fec_encode_close(encode, group, group->rows);
    while (hg_fec_encode_take(encode, &parity)) {
        uint8_t fate = (uint8_t)take(input, 1);
        uint8_t symbol[SYMBOL_BYTES];

        memcpy(symbol, parity.symbol, parity.bytes);
        if (fate == 0xff)
            symbol[take(input, 1) % parity.bytes] ^= 0x11;
        ++*number;
        if (fate != 0)
            symbol_in(decode, &parity.place, *number, symbol, parity.bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct hg_fec_code code;
    static struct hg_fec_encode encode;
    static struct hg_fec_decode decode;
    static void *encode_memory, *decode_memory;
    static uint8_t frames[SYMBOL_BYTES];
    struct input input = {data, bytes};
    uint64_t number = 1000;

    if (encode_memory == NULL) {
        hg_fec_code_init(&code);
        encode_memory = aligned_alloc(64, hg_align_up(hg_fec_encode_memory_bytes(INNER_BYTES), 64));
        decode_memory = aligned_alloc(64, hg_align_up(hg_fec_decode_memory_bytes(INNER_BYTES), 64));
        hg_assert(encode_memory != NULL && decode_memory != NULL);
    }
    hg_fec_encode_init(&encode, encode_memory, &code, INNER_BYTES);
    hg_fec_decode_init(&decode, decode_memory, &code, INNER_BYTES);
    while (input.bytes_left > 0) {
        struct hg_wire_fec place = {.k = (uint8_t)take(&input, 1)};

        if (place.k >= 64) {
            packet_sent(&encode, &decode, &input, &number, frames);
            continue;
        }
        place.group = (uint32_t)take(&input, place.k & 1 ? 1 : 4);
        place.index = (uint8_t)take(&input, 1);
        place.m = (uint8_t)take(&input, 1) % 10;
        place.depth = 1;
        uint32_t there = (uint32_t)hg_min_u64(take(&input, 2) % SYMBOL_BYTES, input.bytes_left);
        number += take(&input, 1) % 4;
        if (hg_fec_place_valid(&place))
            symbol_in(&decode, &place, number, input.at, (uint32_t)hg_min_u64(there, input.bytes_left));
        (void)take(&input, 1);
    }
    return 0;
}
