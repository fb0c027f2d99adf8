/* SPDX-License-Identifier: Apache-2.0
 *
 * The client ring with both sides alive while their shared memory is changed behind their backs, as a hostile
 * client (or a broken dataplane) would. Neither side may crash, and every pointer that is given out lies in
 * its ring.
 */
#include "drivers/ipc/client_ring.h"
#include "tests/fuzz/input.h"

#include <stdlib.h>

#define RING_BYTES HG_CLIENT_RING_BYTES_MIN

enum action {
    EDIT_ANYWHERE,
    EDIT_CLIENT_PAGE,
    EDIT_DATAPLANE_PAGE,
    EDIT_RECORD,
    APPEND,
    TAKE,
    DELIVER,
    DELIVER_ERROR,
    READ,
    POSITION,
    ATTACH,
    DOORBELLS,
    ACTION_COUNT
};

static struct hg_client_ring ring;
static struct hg_client_view view;
static uint8_t *memory;
static uint8_t payload[2048];

static void edit(struct input *input, void *where, size_t where_bytes)
{
    size_t offset = take(input, 2) % where_bytes, count = take(input, 1) % 80;

    count = hg_min_u64(count, hg_min_u64(input->bytes_left, where_bytes - offset));
    memcpy((uint8_t *)where + offset, input->at, count);
    input->at += count;
    input->bytes_left -= count;
}

static void inside(const void *part, size_t bytes, const uint8_t *whole)
{
    hg_assert((const uint8_t *)part >= whole && bytes <= RING_BYTES);
    hg_assert((const uint8_t *)part + bytes <= whole + RING_BYTES);
}

static void append(struct input *input)
{
    struct hg_append_record record = {
        .op = (uint8_t)(1 + take(input, 1) % HG_CLIENT_OP_MAX),
        .slot = (uint8_t)(take(input, 1) % HG_CLIENT_SLOTS),
        .span = 1,
        .key_bytes = (uint16_t)take(input, 1),
        .data_bytes = (uint32_t)(take(input, 2) % sizeof(payload)),
    };

    (void)hg_client_view_append(&view, &record, payload, payload);
    if (take(input, 1) & 1)
        hg_client_view_append_publish(&view);
}

static void take_appended(void)
{
    struct hg_append_record record;
    const uint8_t *key, *data;

    while (hg_client_ring_append_peek(&ring, &record, &key, &data) == 1) {
        hg_assert(record.slot < HG_CLIENT_SLOTS && record.op >= 1 && record.op <= HG_CLIENT_OP_MAX);
        hg_assert(record.key_bytes <= HG_CLIENT_KEY_BYTES_MAX &&
                  record.data_bytes <= HG_CLIENT_DATA_BYTES_MAX);
        inside(key, record.key_bytes, ring.append);
        inside(data, record.data_bytes, ring.append);
        hg_client_ring_append_consume(&ring);
    }
    hg_client_ring_publish(&ring);
}

static void deliver(struct input *input)
{
    uint32_t slot = take(input, 1) % HG_CLIENT_SLOTS;
    uint32_t bytes = 1 + (uint32_t)take(input, 2) % sizeof(payload);
    uint8_t *room;

    if (!hg_client_ring_deliver_fits(&ring, bytes))
        return;
    room = hg_client_ring_deliver_reserve(&ring, slot, bytes);
    if (room == NULL)
        return;
    inside(room, bytes, ring.deliver);
    memset(room, 1, bytes);
    hg_client_ring_deliver_commit(&ring);
}

static void read_delivered(struct input *input)
{
    struct hg_deliver_record record;
    const uint8_t *bytes;

    while (hg_client_view_deliver_peek(&view, &record, &bytes) == 1) {
        hg_assert(record.slot < HG_CLIENT_SLOTS);
        inside(bytes, record.payload_bytes, view.deliver);
        hg_client_view_deliver_consume(&view);
        if (record.type == HG_DELIVER_BATCH && take(input, 1) & 1)
            hg_client_view_release(&view, record.slot, record.bytes);
    }
}

static void position(struct input *input)
{
    struct hg_client_position set = {.lsn_durable = take(input, 2), .writable = 1}, got;
    uint32_t slot = take(input, 1) % HG_CLIENT_SLOTS, why;

    hg_client_ring_position_set(&ring, slot, &set);
    (void)hg_client_view_position_get(&view, slot, &got);
    (void)hg_client_view_durable(&view, slot);
    (void)hg_client_view_writable(&view, slot, &why);
    (void)hg_client_why_text(why);
    hg_client_view_acknowledge(&view, slot, set.lsn_durable);
    (void)hg_client_ring_acknowledged(&ring, slot);
    (void)hg_client_ring_deliver_outstanding(&ring, slot);
}

static void doorbells(struct input *input)
{
    bool sleeping = take(input, 1) & 1;

    (void)hg_client_ring_doorbell_needed(&ring);
    hg_client_ring_sleep_set(&ring, sleeping);
    (void)hg_client_ring_pending(&ring);
    hg_client_view_seen(&view);
    (void)hg_client_view_doorbell_needed(&view);
    hg_client_view_sleep_set(&view, !sleeping);
    (void)hg_client_view_pending(&view);
}

static void act(struct input *input)
{
    uint32_t slot;

    switch ((enum action)(take(input, 1) % ACTION_COUNT)) {
    case EDIT_ANYWHERE:
        edit(input, memory, ring.memory_bytes);
        break;
    case EDIT_CLIENT_PAGE:
        edit(input, ring.client, offsetof(struct hg_client_memory_client, reserved));
        break;
    case EDIT_DATAPLANE_PAGE:
        edit(input, ring.own, offsetof(struct hg_client_memory_dataplane, reserved));
        break;
    case EDIT_RECORD:
        edit(input, ring.append + ring.append_head % RING_BYTES, RING_BYTES - ring.append_head % RING_BYTES);
        break;
    case APPEND:
        append(input);
        break;
    case TAKE:
        take_appended();
        break;
    case DELIVER:
        deliver(input);
        break;
    case DELIVER_ERROR:
        (void)hg_client_ring_deliver_error(&ring, take(input, 1) % HG_CLIENT_SLOTS, HG_DELIVER_CLOSED, -1, 5);
        break;
    case READ:
        read_delivered(input);
        break;
    case POSITION:
        position(input);
        break;
    case ATTACH:
        slot = take(input, 1) % HG_CLIENT_SLOTS;
        hg_client_view_slot_attach(&view, slot, hg_client_ring_slot_attach(&ring, slot));
        break;
    default:
        doorbells(input);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input input = {data, bytes};
    uint64_t memory_bytes = hg_client_memory_bytes(RING_BYTES, RING_BYTES);

    if (memory == NULL)
        memory = aligned_alloc(HG_CLIENT_PAGE_BYTES, memory_bytes);
    hg_assert(memory != NULL);
    memset(memory, 0, memory_bytes);
    hg_client_ring_init(&ring, memory, RING_BYTES, RING_BYTES, 1, 1);
    hg_assert(hg_client_view_init(&view, memory, memory_bytes) == 0);
    while (input.bytes_left > 0)
        act(&input);
    return 0;
}
