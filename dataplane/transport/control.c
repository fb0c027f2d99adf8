/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/control.h"
#include <errno.h>

uint64_t hg_control_memory_bytes(void)
{
    return hg_align_up(HG_CONTROL_FRAMES_MAX * sizeof(struct hg_control_frame), HG_CACHE_LINE_BYTES);
}

void hg_control_init(struct hg_control *control, void *memory)
{
    memset(control, 0, sizeof(*control));
    control->frames = memory;
    memset(control->buckets, 0xff, sizeof(control->buckets));
    control->queue_head = HG_CONTROL_NONE;
    control->queue_tail = HG_CONTROL_NONE;
    control->free_head = HG_CONTROL_NONE;
}

/* One that was given back, or the first that was never used: of those nothing is written before. */
static uint16_t control_take(struct hg_control *control)
{
    uint16_t index = control->free_head;
    if (index != HG_CONTROL_NONE) {
        control->free_head = control->frames[index].next;
        return index;
    }
    if (control->touched_count == HG_CONTROL_FRAMES_MAX)
        return HG_CONTROL_NONE;
    index = (uint16_t)control->touched_count++;
    memset(&control->frames[index], 0, sizeof(control->frames[index]));
    return index;
}

static struct hg_wire_control control_head(const uint8_t *bytes)
{
    struct hg_wire_control head;
    memcpy(&head, bytes, sizeof(head));
    return head;
}

static uint32_t control_bucket(uint8_t type, uint32_t alias)
{
    return ((alias * 4u + type) * 2654435769u) >> 20; /* 4096 buckets */
}
static_assert(HG_CONTROL_FRAMES_MAX == 1u << (32 - 20), "a bucket a frame");

bool hg_control_valid(const struct hg_wire_control *frame)
{
    return frame->type >= HG_WIRE_CONTROL_FIRST && frame->type <= HG_WIRE_CONTROL_LAST &&
           frame->bytes >= sizeof(*frame) && frame->bytes <= HG_WIRE_CONTROL_BYTES_MAX &&
           frame->bytes % 4 == 0;
}

static void control_enqueue(struct hg_control *control, uint16_t index)
{
    struct hg_control_frame *frame = &control->frames[index];
    hg_assert(!frame->queued);
    frame->queued = true;
    frame->next = HG_CONTROL_NONE;
    frame->previous = control->queue_tail;
    if (control->queue_tail == HG_CONTROL_NONE) {
        control->queue_head = index;
    } else {
        control->frames[control->queue_tail].next = index;
    }
    control->queue_tail = index;
}

static void control_dequeue(struct hg_control *control, uint16_t index)
{
    struct hg_control_frame *frame = &control->frames[index];
    hg_assert(frame->queued);
    frame->queued = false;
    if (frame->previous == HG_CONTROL_NONE) {
        control->queue_head = frame->next;
    } else {
        control->frames[frame->previous].next = frame->next;
    }
    if (frame->next == HG_CONTROL_NONE) {
        control->queue_tail = frame->previous;
    } else {
        control->frames[frame->next].previous = frame->previous;
    }
}

static uint16_t control_find(const struct hg_control *control, uint8_t type, uint32_t alias)
{
    uint16_t index = control->buckets[control_bucket(type, alias)];
    while (index != HG_CONTROL_NONE) {
        struct hg_wire_control head = control_head(control->frames[index].bytes);
        if (head.type == type && head.alias == alias) {
            break;
        }
        index = control->frames[index].hash_next;
    }
    return index;
}

int hg_control_queue(struct hg_control *control, const struct hg_wire_control *frame)
{
    if (!hg_control_valid(frame)) {
        return -EINVAL;
    }
    uint16_t index = control_find(control, frame->type, frame->alias);
    if (index == HG_CONTROL_NONE) {
        index = control_take(control);
        if (index == HG_CONTROL_NONE) {
            return -ENOSPC;
        }
        uint16_t *bucket = &control->buckets[control_bucket(frame->type, frame->alias)];
        control->frames[index].hash_next = *bucket;
        *bucket = index;
        control->used_count++;
    }
    struct hg_control_frame *entry = &control->frames[index];
    if (entry->transmitted) { /* by an earlier user of the place too: its packets may still be acknowledged */
        entry->version++;
        entry->transmitted = false;
    }
    memcpy(entry->bytes, frame, frame->bytes);
    entry->size_bytes = frame->bytes;
    if (!entry->queued) {
        control_enqueue(control, index);
    }
    return 0;
}

uint16_t hg_control_sent(struct hg_control *control, uint16_t index)
{
    control_dequeue(control, index);
    control->frames[index].transmitted = true;
    return control->frames[index].version;
}

/* True when a packet's mention of (index, version) is about what is in the place now. */
static bool control_current(const struct hg_control *control, uint16_t index, uint16_t version)
{
    hg_assert(index < control->touched_count);
    const struct hg_control_frame *frame = &control->frames[index];
    return frame->size_bytes != 0 && frame->version == version;
}

void hg_control_lost(struct hg_control *control, uint16_t index, uint16_t version)
{
    if (control_current(control, index, version) && !control->frames[index].queued) {
        control_enqueue(control, index);
    }
}

void hg_control_acked(struct hg_control *control, uint16_t index, uint16_t version)
{
    if (!control_current(control, index, version)) {
        return;
    }
    struct hg_control_frame *frame = &control->frames[index];
    if (frame->queued) {
        control_dequeue(control, index);
    }
    struct hg_wire_control head = control_head(frame->bytes);
    uint16_t *link = &control->buckets[control_bucket(head.type, head.alias)];
    while (*link != index) {
        hg_assert(*link != HG_CONTROL_NONE);
        link = &control->frames[*link].hash_next;
    }
    *link = frame->hash_next;
    frame->size_bytes = 0;
    frame->next = control->free_head;
    control->free_head = index;
    hg_assert(control->used_count > 0);
    control->used_count--;
}
