/* SPDX-License-Identifier: Apache-2.0
 *
 * Control frames on their way: one a (type, alias), the newest replaces what was there. A frame stays until a
 * packet with its present version is acknowledged.
 */
#ifndef HG_TRANSPORT_CONTROL_H
#define HG_TRANSPORT_CONTROL_H

#include "dataplane/transport/wire.h"

/* Every type that exists, for every alias. */
#define HG_CONTROL_FRAMES_MAX 4096u
#define HG_CONTROL_NONE       UINT16_MAX

struct hg_control_frame {
    uint8_t bytes[HG_WIRE_CONTROL_BYTES_MAX] __attribute__((aligned(8)));
    uint16_t size_bytes;
    uint16_t version; /* rises when the contents change after they were transmitted */
    uint16_t hash_next;
    uint16_t previous; /* in the queue */
    uint16_t next;     /* in the queue, or of free ones */
    bool queued;
    bool transmitted; /* this version */
};

struct hg_control {
    struct hg_control_frame *frames;
    uint16_t buckets[HG_CONTROL_FRAMES_MAX];
    uint16_t queue_head;
    uint16_t queue_tail;
    uint16_t free_head; /* of those that were used and are not now */
    uint32_t touched_count;
    uint32_t used_count;
};

uint64_t hg_control_memory_bytes(void);
void hg_control_init(struct hg_control *control, void *memory);

/* Size and type of a frame that may be queued or taken. */
bool hg_control_valid(const struct hg_wire_control *frame);
/* 0, -ENOSPC, -EINVAL. Copies the frame. */
int hg_control_queue(struct hg_control *control, const struct hg_wire_control *frame);
/* The next to be sent, or HG_CONTROL_NONE. */
static inline uint16_t hg_control_next(const struct hg_control *control)
{
    return control->queue_head;
}
/* It was put into a packet: leaves the queue. Returns its version. */
uint16_t hg_control_sent(struct hg_control *control, uint16_t index);
/* A packet that carried it is given up, or was acknowledged. Other versions than the present one mean
 * nothing. */
void hg_control_lost(struct hg_control *control, uint16_t index, uint16_t version);
void hg_control_acked(struct hg_control *control, uint16_t index, uint16_t version);

#endif
