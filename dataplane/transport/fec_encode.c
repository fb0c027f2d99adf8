/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/fec_encode.h"

#define ROWS HG_WIRE_FEC_PARITY_MAX

uint64_t hg_fec_encode_memory_bytes(uint32_t inner_bytes_max)
{
    return (uint64_t)(HG_WIRE_FEC_DEPTH_MAX * ROWS + 1) * hg_fec_symbol_room_bytes(inner_bytes_max);
}

void hg_fec_encode_init(struct hg_fec_encode *encode, void *memory, const struct hg_fec_code *code,
                        uint32_t inner_bytes_max)
{
    hg_assert((uintptr_t)memory % HG_FEC_ALIGN_BYTES == 0);
    memset(encode, 0, sizeof(*encode));
    encode->code = code;
    encode->room_bytes = hg_fec_symbol_room_bytes(inner_bytes_max);
    encode->source = memory;
    encode->memory = encode->source + encode->room_bytes;
    encode->depth = 1;
    encode->group_next = 1;
}

static void group_rows(const struct hg_fec_encode *encode, const struct hg_fec_encode_group *group,
                       uint8_t *rows[ROWS])
{
    uint64_t index = (uint64_t)(group - encode->groups) * ROWS;
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i] = encode->memory + (index + i) * encode->room_bytes;
    }
}

static void group_free(struct hg_fec_encode *encode, struct hg_fec_encode_group *group)
{
    encode->open_count -= group->state == HG_FEC_GROUP_OPEN;
    encode->closed_count -= group->state == HG_FEC_GROUP_CLOSED;
    group->state = HG_FEC_GROUP_FREE;
}

bool hg_fec_encode_place(struct hg_fec_encode *encode, uint32_t rows, uint32_t depth, uint64_t now_ns,
                         struct hg_wire_fec *place)
{
    hg_assert(rows >= 1 && rows <= ROWS && depth >= 1 && depth <= HG_WIRE_FEC_DEPTH_MAX);
    if (encode->open_count == 0) {
        encode->depth = depth;
        encode->turn = encode->turn < depth ? encode->turn : 0;
    }
    struct hg_fec_encode_group *group = &encode->groups[encode->turn];
    if (group->state == HG_FEC_GROUP_CLOSED) {
        return false;
    }
    if (group->state == HG_FEC_GROUP_FREE) {
        *group = (struct hg_fec_encode_group){.group = encode->group_next++,
                                              .state = HG_FEC_GROUP_OPEN,
                                              .rows = rows,
                                              .depth = encode->depth,
                                              .opened_ns = now_ns};
        encode->open_count++;
    }
    place->group = group->group;
    place->index = (uint8_t)group->sources;
    place->k = HG_WIRE_FEC_SOURCES_MAX;
    place->m = (uint8_t)group->rows;
    place->depth = (uint8_t)group->depth;
    return true;
}

/* Symbol header, frames, and zeros to the next multiple. Returns the symbol's bytes. */
static uint32_t source_gather(struct hg_fec_encode *encode, const struct iovec *pieces, uint32_t piece_count,
                              uint32_t frames_bytes, uint64_t number)
{
    const struct hg_wire_fec_symbol head = {.frames_bytes = (uint16_t)frames_bytes,
                                            .number_low = (uint32_t)number};
    memcpy(encode->source, &head, sizeof(head));
    uint32_t bytes = sizeof(head);
    hg_assert(bytes + frames_bytes <= encode->room_bytes);
    for (uint32_t i = 0; i < piece_count; i++) {
        memcpy(encode->source + bytes, pieces[i].iov_base, pieces[i].iov_len);
        bytes += (uint32_t)pieces[i].iov_len;
    }
    hg_assert(bytes == sizeof(head) + frames_bytes);
    memset(encode->source + bytes, 0, hg_align_up(bytes, HG_FEC_ALIGN_BYTES) - bytes);
    return bytes;
}

void hg_fec_encode_add(struct hg_fec_encode *encode, const struct iovec *pieces, uint32_t piece_count,
                       uint32_t frames_bytes, uint64_t number)
{
    struct hg_fec_encode_group *group = &encode->groups[encode->turn];
    hg_assert(group->state == HG_FEC_GROUP_OPEN && group->sources < HG_WIRE_FEC_SOURCES_MAX);
    uint8_t *rows[ROWS];
    group_rows(encode, group, rows);
    uint32_t bytes = source_gather(encode, pieces, piece_count, frames_bytes, number);
    uint32_t padded = (uint32_t)hg_align_up(bytes, HG_FEC_ALIGN_BYTES);
    if (padded > group->clean_bytes) {
        for (uint32_t i = 0; i < group->rows; i++) {
            memset(rows[i] + group->clean_bytes, 0, padded - group->clean_bytes);
        }
        group->clean_bytes = padded;
    }
    hg_fec_code_add(encode->code, group->rows, group->sources, encode->source, padded, rows);
    group->symbol_bytes = (uint32_t)hg_max_u64(group->symbol_bytes, bytes);
    group->sources++;
    encode->filled += group->sources == HG_WIRE_FEC_SOURCES_MAX;
    encode->turn = (encode->turn + 1) % encode->depth;
}

struct hg_fec_encode_group *hg_fec_encode_full(struct hg_fec_encode *encode)
{
    struct hg_fec_encode_group *last = &encode->groups[(encode->turn + encode->depth - 1) % encode->depth];
    return last->state == HG_FEC_GROUP_OPEN && last->sources == HG_WIRE_FEC_SOURCES_MAX ? last : NULL;
}

struct hg_fec_encode_group *hg_fec_encode_open(struct hg_fec_encode *encode,
                                               const struct hg_fec_encode_group *group)
{
    uint32_t from = group == NULL ? 0 : (uint32_t)(group - encode->groups) + 1;
    for (uint32_t i = from; i < HG_WIRE_FEC_DEPTH_MAX && encode->open_count > 0; i++) {
        if (encode->groups[i].state == HG_FEC_GROUP_OPEN) {
            return &encode->groups[i];
        }
    }
    return NULL;
}

void hg_fec_encode_close(struct hg_fec_encode *encode, struct hg_fec_encode_group *group, uint32_t parities)
{
    hg_assert(group->state == HG_FEC_GROUP_OPEN && parities <= group->rows);
    group->parities = parities;
    group->parity_next = 0;
    if (parities == 0 || group->sources == 0) {
        group_free(encode, group);
        return;
    }
    group->state = HG_FEC_GROUP_CLOSED;
    encode->open_count--;
    encode->closed_count++;
}

uint64_t hg_fec_encode_opened_ns(const struct hg_fec_encode *encode)
{
    uint64_t opened_ns = HG_TIME_NEVER;
    uint32_t left = encode->open_count;
    for (uint32_t i = 0; left > 0; i++) {
        if (encode->groups[i].state == HG_FEC_GROUP_OPEN) {
            opened_ns = hg_min_u64(opened_ns, encode->groups[i].opened_ns);
            left--;
        }
    }
    return opened_ns;
}

bool hg_fec_encode_take(struct hg_fec_encode *encode, struct hg_fec_parity *parity)
{
    struct hg_fec_encode_group *group = NULL;
    for (uint32_t i = 0; i < HG_WIRE_FEC_DEPTH_MAX && encode->closed_count > 0; i++) {
        struct hg_fec_encode_group *at = &encode->groups[i];
        if (at->state == HG_FEC_GROUP_CLOSED && (group == NULL || (int32_t)(at->group - group->group) < 0)) {
            group = at;
        }
    }
    if (group == NULL) {
        return false;
    }
    uint8_t *rows[ROWS];
    group_rows(encode, group, rows);
    memset(parity, 0, sizeof(*parity));
    parity->place.group = group->group;
    parity->place.index = (uint8_t)(HG_WIRE_FEC_SOURCES_MAX + group->parity_next);
    parity->place.k = (uint8_t)group->sources;
    parity->place.m = (uint8_t)group->parities;
    parity->place.depth = (uint8_t)group->depth;
    parity->symbol = rows[group->parity_next];
    parity->bytes = group->symbol_bytes;
    if (++group->parity_next == group->parities) {
        group_free(encode, group);
    }
    return true;
}

void hg_fec_encode_drop(struct hg_fec_encode *encode)
{
    for (uint32_t i = 0; i < HG_WIRE_FEC_DEPTH_MAX; i++) {
        group_free(encode, &encode->groups[i]);
    }
    encode->turn = 0;
}
