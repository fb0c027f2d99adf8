/* SPDX-License-Identifier: Apache-2.0
 *
 * A hostile peer on the control ring: it shares the memory, knows the layout and can compute every checksum.
 * The input is a list of operations of both sides and of edits behind their backs. Whatever it does, a side
 * that reads must never crash, and what it is given is within bounds.
 *
 * The source itself is included, so that the hostile peer can seal its cells and pages properly.
 */
#include "drivers/ipc/control_ring.c"
#include "tests/fuzz/input.h"

#include <stdlib.h>

#define CELLS 4u

enum action { EDIT, EDIT_LINES, CELL, PAGE, SEND, RECEIVE, WRITE, READ, REOPEN, ACTION_COUNT };

/* Overwrites up to 255 bytes somewhere in `memory`. */
static void edit(struct input *input, uint8_t *memory, size_t memory_bytes)
{
    size_t offset = take(input, 4) % memory_bytes, count = take(input, 1);

    count = hg_min_u64(count, hg_min_u64(input->bytes_left, memory_bytes - offset));
    memcpy(memory + offset, input->at, count);
    input->at += count;
    input->bytes_left -= count;
}

/* The other side publishes a cell with anything in it and a checksum that is right. */
static void hostile_cell(struct input *input, struct hg_control_ring *reader)
{
    struct cell *cell = cell_of(reader, other(reader->side), reader->receive_position);

    edit(input, (uint8_t *)cell, sizeof(*cell));
    cell->sequence = reader->receive_position + 1;
    cell->zero = 0;
    cell->crc32c = cell_crc32c(cell);
}

static void hostile_page(struct input *input, struct hg_control_ring *reader)
{
    struct page *page = page_of(reader, other(reader->side));
    size_t bytes = reader->side == HG_SIDE_DATAPLANE ? sizeof(struct hg_control_config)
                                                     : sizeof(struct hg_control_status);

    edit(input, (uint8_t *)(page + 1), bytes);
    page->generation = take(input, 8);
    page->sequence = 2 * (1 + take(input, 1));
    page->bytes = bytes;
    page->crc32c = page_crc32c(page->generation, page + 1, bytes);
}

static void message_send(struct input *input, struct hg_control_ring *ring)
{
    struct hg_control_message message = {.type = (uint32_t)take(input, 1), .name = "fuzz"};

    (void)hg_control_ring_send(ring, hg_control_ring_request(ring), &message);
}

static void message_receive(struct hg_control_ring *ring)
{
    struct hg_control_received received;

    if (hg_control_ring_receive(ring, &received) != 1)
        return;
    hg_assert(type_expected(ring->side, received.message.type));
    hg_assert(strnlen(received.message.name, HG_CONTROL_NAME_BYTES) < HG_CONTROL_NAME_BYTES);
    hg_assert(strnlen(received.message.text, HG_CONTROL_TEXT_BYTES) < HG_CONTROL_TEXT_BYTES);
    hg_control_ring_done(ring);
}

static void page_of_ours(struct hg_control_ring *ring, bool write)
{
    static struct hg_control_config config;
    static struct hg_control_status status;
    uint64_t generation;

    if (ring->side == HG_SIDE_CONTROL && write) {
        memset(&config, 0, sizeof(config));
        (void)hg_control_ring_config_write(ring, &config);
    } else if (ring->side == HG_SIDE_DATAPLANE && write) {
        memset(&status, 0, sizeof(status));
        (void)hg_control_ring_status_write(ring, &status);
    } else if (ring->side == HG_SIDE_DATAPLANE) {
        if (hg_control_ring_config_read(ring, &config, &generation) == 0)
            hg_assert(hg_control_config_bounds(&config) == NULL && generation != 0);
    } else if (hg_control_ring_status_read(ring, &status, &generation) == 0) {
        hg_assert(hg_control_status_bounds(&status) == NULL && generation != 0);
    }
}

static void act(struct input *input, struct hg_control_ring rings[2], uint8_t *memory, size_t memory_bytes)
{
    uint64_t what = take(input, 1);
    struct hg_control_ring *ring = &rings[what & 1];
    enum action action = (what >> 1) % ACTION_COUNT;

    if (action == EDIT)
        edit(input, memory, memory_bytes);
    else if (action == EDIT_LINES)
        edit(input, memory, sizeof(struct hg_control_region));
    else if (action == REOPEN)
        (void)hg_control_ring_open(ring, memory, memory_bytes, (enum hg_control_side)(what & 1));
    else if (ring->region == NULL)
        return; /* not open: there is nothing to call */
    else if (action == CELL)
        hostile_cell(input, ring);
    else if (action == PAGE)
        hostile_page(input, ring);
    else if (action == SEND)
        message_send(input, ring);
    else if (action == RECEIVE)
        message_receive(ring);
    else
        page_of_ours(ring, action == WRITE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *memory;
    struct hg_control_ring rings[2];
    struct input input = {data, bytes};
    size_t memory_bytes = hg_control_region_bytes(CELLS);

    if (memory == NULL)
        memory = aligned_alloc(HG_CACHE_LINE_BYTES, memory_bytes);
    hg_assert(memory != NULL);
    memset(memory, 0, memory_bytes);
    hg_control_region_format(memory, CELLS, 1);
    hg_assert(hg_control_ring_open(&rings[HG_SIDE_CONTROL], memory, memory_bytes, HG_SIDE_CONTROL) == 0);
    hg_assert(hg_control_ring_open(&rings[HG_SIDE_DATAPLANE], memory, memory_bytes, HG_SIDE_DATAPLANE) == 0);
    while (input.bytes_left > 0)
        act(&input, rings, memory, memory_bytes);
    return 0;
}
