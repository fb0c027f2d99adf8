/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/fec_decode.h"

#define SOURCES HG_WIRE_FEC_SOURCES_MAX
#define PARITY  HG_WIRE_FEC_PARITY_MAX

static uint32_t decode_slots(uint32_t inner_bytes_max)
{
    uint32_t room = hg_fec_symbol_room_bytes(inner_bytes_max);
    return (uint32_t)hg_min_u64(HG_FEC_SYMBOLS_MAX, HG_FEC_SYMBOLS_BYTES_MAX / room);
}

uint64_t hg_fec_decode_memory_bytes(uint32_t inner_bytes_max)
{
    uint64_t slots = decode_slots(inner_bytes_max);
    return (slots + PARITY) * hg_fec_symbol_room_bytes(inner_bytes_max) +
           hg_align_up(slots * sizeof(uint16_t), HG_FEC_ALIGN_BYTES);
}

void hg_fec_decode_init(struct hg_fec_decode *decode, void *memory, const struct hg_fec_code *code,
                        uint32_t inner_bytes_max)
{
    hg_assert((uintptr_t)memory % HG_FEC_ALIGN_BYTES == 0);
    memset(decode, 0, sizeof(*decode));
    decode->code = code;
    decode->symbols = memory;
    decode->room_bytes = hg_fec_symbol_room_bytes(inner_bytes_max);
    decode->slot_count = decode_slots(inner_bytes_max);
    decode->next =
        (uint16_t *)(decode->symbols + (uint64_t)(decode->slot_count + PARITY) * decode->room_bytes);
    decode->free_first = HG_FEC_SYMBOL_NONE;
    /* The largest group there can be always finds room. */
    hg_assert(decode->slot_count >= SOURCES + PARITY && decode->slot_count < HG_FEC_SYMBOL_NONE);
}

bool hg_fec_place_valid(const struct hg_wire_fec *place)
{
    if (place->k == 0 || place->k > SOURCES || place->m == 0 || place->m > PARITY || place->depth == 0 ||
        place->depth > HG_WIRE_FEC_DEPTH_MAX) {
        return false;
    }
    return place->index < place->k || (place->index >= SOURCES && place->index < SOURCES + place->m);
}

/* ---- memory ---- */

static uint8_t *slot_at(const struct hg_fec_decode *decode, uint32_t slot)
{
    return decode->symbols + (uint64_t)slot * decode->room_bytes;
}

static void slot_release(struct hg_fec_decode *decode, uint16_t slot)
{
    decode->next[slot] = decode->free_first;
    decode->free_first = slot;
}

static void group_over(struct hg_fec_decode *decode, struct hg_fec_decode_group *group)
{
    for (uint32_t bits = group->sources; bits != 0; bits &= bits - 1) {
        slot_release(decode, group->slots[__builtin_ctz(bits)]);
    }
    for (uint32_t bits = group->parities; bits != 0; bits &= bits - 1) {
        slot_release(decode, group->slots[SOURCES + (uint32_t)__builtin_ctz(bits)]);
    }
    group->sources = 0;
    group->parities = 0;
    group->over = true;
}

/* The oldest group besides `keep` gives up its symbols. */
static void decode_make_room(struct hg_fec_decode *decode, const struct hg_fec_decode_group *keep)
{
    struct hg_fec_decode_group *oldest = NULL;
    for (uint32_t i = 0; i < HG_FEC_GROUPS; i++) {
        struct hg_fec_decode_group *group = &decode->groups[i];
        if (group != keep && group->used && !group->over &&
            (oldest == NULL || (int32_t)(group->group - oldest->group) < 0)) {
            oldest = group;
        }
    }
    hg_assert(oldest != NULL);
    decode->groups_crowded++;
    group_over(decode, oldest);
}

static uint16_t slot_take(struct hg_fec_decode *decode, const struct hg_fec_decode_group *group)
{
    if (decode->free_first == HG_FEC_SYMBOL_NONE) {
        if (decode->slot_fresh < decode->slot_count) {
            return (uint16_t)decode->slot_fresh++;
        }
        while (decode->free_first == HG_FEC_SYMBOL_NONE) {
            decode_make_room(decode, group);
        }
    }
    uint16_t slot = decode->free_first;
    decode->free_first = decode->next[slot];
    return slot;
}

/* ---- groups ---- */

/* The group of a packet; NULL: it is too old. */
static struct hg_fec_decode_group *decode_group(struct hg_fec_decode *decode, uint32_t name, uint64_t number)
{
    struct hg_fec_decode_group *group = &decode->groups[name & (HG_FEC_GROUPS - 1)];
    if (group->used && (int32_t)(name - group->group) < 0) {
        return NULL;
    }
    if (!group->used || group->group != name) {
        if (group->used && !group->over) {
            decode->groups_lost += group->k != 0;
            group_over(decode, group);
        }
        group->group = name;
        group->number_last = 0;
        group->symbol_bytes = 0;
        group->source_bytes = 0;
        group->k = 0;
        group->m = 0;
        group->used = true;
        group->over = false;
    }
    group->number_last = hg_max_u64(group->number_last, number);
    return group;
}

static enum hg_fec_decode_result group_mismatch(struct hg_fec_decode *decode,
                                                struct hg_fec_decode_group *group)
{
    group_over(decode, group);
    return HG_FEC_MISMATCH;
}

/* ---- recovering ---- */

/* The packet in a recovered symbol. False: it is none. */
static bool symbol_packet(const struct hg_fec_decode_group *group, const uint8_t *symbol,
                          struct hg_fec_recovered *recovered)
{
    struct hg_wire_fec_symbol head;
    memcpy(&head, symbol, sizeof(head));
    uint32_t bytes = (uint32_t)sizeof(head) + head.frames_bytes;
    if (head.frames_bytes == 0 || head.reserved != 0 || bytes > group->symbol_bytes) {
        return false;
    }
    for (uint32_t i = bytes; i < group->symbol_bytes; i++) {
        if (symbol[i] != 0) {
            return false;
        }
    }
    uint32_t distance = (uint32_t)group->number_last - head.number_low;
    if (distance == 0 || distance >= HG_FEC_DISTANCE_PACKETS || distance >= group->number_last) {
        return false;
    }
    recovered->number = group->number_last - distance;
    recovered->frames = symbol + sizeof(head);
    recovered->frames_bytes = head.frames_bytes;
    return true;
}

/* Enough symbols are here: what is missing comes out of them, and the group is over. */
static enum hg_fec_decode_result group_recover(struct hg_fec_decode *decode,
                                               struct hg_fec_decode_group *group)
{
    uint8_t rows[PARITY];
    uint8_t missing[PARITY];
    uint8_t *parity[PARITY];
    uint8_t *packets[PARITY];
    uint32_t count = 0;
    uint32_t padded = (uint32_t)hg_align_up(group->symbol_bytes, HG_FEC_ALIGN_BYTES);
    uint32_t parities = group->parities;
    for (uint32_t i = 0; i < group->k; i++) {
        if ((group->sources >> i & 1) == 0) {
            hg_assert(count < PARITY && parities != 0);
            missing[count] = (uint8_t)i;
            rows[count] = (uint8_t)__builtin_ctz(parities);
            parities &= parities - 1;
            parity[count] = slot_at(decode, group->slots[SOURCES + rows[count]]);
            packets[count] = slot_at(decode, decode->slot_count + count);
            count++;
        }
    }
    for (uint32_t bits = group->sources; bits != 0; bits &= bits - 1) {
        uint32_t index = (uint32_t)__builtin_ctz(bits);
        uint32_t bytes = (uint32_t)hg_align_up(group->bytes[index], HG_FEC_ALIGN_BYTES);
        for (uint32_t i = 0; i < count; i++) {
            hg_fec_code_fold(decode->code, rows[i], index, slot_at(decode, group->slots[index]), bytes,
                             parity[i]);
        }
    }
    hg_fec_code_solve(decode->code, count, rows, missing, parity, packets, padded);
    for (uint32_t i = 0; i < count; i++) {
        if (!symbol_packet(group, packets[i], &decode->recovered[i])) {
            return group_mismatch(decode, group);
        }
    }
    decode->recovered_count = count;
    group_over(decode, group);
    return HG_FEC_KEPT;
}

static enum hg_fec_decode_result group_look(struct hg_fec_decode *decode, struct hg_fec_decode_group *group)
{
    if (group->k == 0) {
        return HG_FEC_KEPT;
    }
    if (group->source_bytes > group->symbol_bytes || (uint64_t)group->sources >> group->k != 0) {
        return group_mismatch(decode, group);
    }
    uint32_t here = (uint32_t)__builtin_popcount(group->sources);
    if (here == group->k) {
        group_over(decode, group);
    } else if (here + (uint32_t)__builtin_popcount(group->parities) >= group->k) {
        return group_recover(decode, group);
    }
    return HG_FEC_KEPT;
}

/* The group of a symbol that is worth a look; false: *result says why it is not. */
static bool group_open(struct hg_fec_decode *decode, const struct hg_wire_fec *place, uint64_t number,
                       uint32_t bytes, struct hg_fec_decode_group **group, enum hg_fec_decode_result *result)
{
    decode->recovered_count = 0;
    decode->recovered_taken = 0;
    *result = HG_FEC_LARGE;
    if (bytes > decode->room_bytes) {
        return false;
    }
    *group = decode_group(decode, place->group, number);
    *result = *group == NULL ? HG_FEC_OLD : HG_FEC_KEPT;
    return *group != NULL && !(*group)->over;
}

enum hg_fec_decode_result hg_fec_decode_source(struct hg_fec_decode *decode, const struct hg_wire_fec *place,
                                               uint64_t number, const uint8_t *frames, uint32_t frames_bytes)
{
    enum hg_fec_decode_result result;
    hg_assert(place->index < SOURCES);
    struct hg_wire_fec_symbol head = {.frames_bytes = (uint16_t)frames_bytes, .number_low = (uint32_t)number};
    uint32_t bytes = (uint32_t)sizeof(head) + frames_bytes;
    struct hg_fec_decode_group *group = NULL;
    if (!group_open(decode, place, number, bytes, &group, &result)) {
        return result;
    }
    uint32_t index = place->index;
    if ((group->sources >> index & 1) != 0) {
        return group_mismatch(decode, group); /* two packets in one place */
    }
    uint16_t slot = slot_take(decode, group);
    uint8_t *symbol = slot_at(decode, slot);
    memcpy(symbol, &head, sizeof(head));
    memcpy(symbol + sizeof(head), frames, frames_bytes);
    memset(symbol + bytes, 0, hg_align_up(bytes, HG_FEC_ALIGN_BYTES) - bytes);
    group->sources |= 1u << index;
    group->slots[index] = slot;
    group->bytes[index] = (uint16_t)bytes;
    group->source_bytes = (uint16_t)hg_max_u64(group->source_bytes, bytes);
    return group_look(decode, group);
}

enum hg_fec_decode_result hg_fec_decode_parity(struct hg_fec_decode *decode, const struct hg_wire_fec *place,
                                               uint64_t number, const uint8_t *symbol, uint32_t bytes)
{
    enum hg_fec_decode_result result;
    hg_assert(hg_fec_place_is_parity(place));
    uint32_t row = place->index - SOURCES;
    struct hg_fec_decode_group *group = NULL;
    if (!group_open(decode, place, number, bytes, &group, &result)) {
        return result;
    }
    bool first = group->k == 0;
    if ((group->parities >> row & 1) != 0 || bytes <= sizeof(struct hg_wire_fec_symbol) ||
        (!first && (group->k != place->k || group->m != place->m || group->symbol_bytes != bytes))) {
        return group_mismatch(decode, group);
    }
    group->k = place->k;
    group->m = place->m;
    group->symbol_bytes = (uint16_t)bytes;
    uint16_t slot = slot_take(decode, group);
    uint8_t *at = slot_at(decode, slot);
    memcpy(at, symbol, bytes);
    memset(at + bytes, 0, hg_align_up(bytes, HG_FEC_ALIGN_BYTES) - bytes);
    group->parities |= (uint8_t)(1u << row);
    group->slots[SOURCES + row] = slot;
    return group_look(decode, group);
}

bool hg_fec_decode_next(struct hg_fec_decode *decode, struct hg_fec_recovered *recovered)
{
    if (decode->recovered_taken == decode->recovered_count) {
        return false;
    }
    *recovered = decode->recovered[decode->recovered_taken++];
    return true;
}
