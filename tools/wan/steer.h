/* SPDX-License-Identifier: Apache-2.0
 *
 * A port whose station has several workers: frames to it go into the queue of their UDP destination port, as
 * a device with flow rules puts them; frames from it come out of all queues. To the switch it is one port.
 * One thread.
 */
#ifndef HG_WAN_STEER_H
#define HG_WAN_STEER_H

#include "drivers/net/port.h"

#define HG_WAN_QUEUES_MAX     16u
#define HG_WAN_UDP_PORT_FIRST 47001u /* worker 0's; docs/wire-format.md */

struct hg_wan_steer {
    struct hg_port port; /* first: what the switch sees */
    uint32_t queue_count;
    struct hg_port *queues[HG_WAN_QUEUES_MAX]; /* of one pool */
    uint32_t queue_next;                       /* to receive from */
};

void hg_wan_steer_init(struct hg_wan_steer *steer, struct hg_port *const *queues, uint32_t queue_count);
/* Takes over which links are up: the port's is when any queue's is. Often. */
void hg_wan_steer_maintain(struct hg_wan_steer *steer);
/* The queue of a frame among so many: by its UDP port, 0 for any other frame. Trusts nothing in it. Pure. */
uint32_t hg_wan_steer_queue(const uint8_t *frame, uint32_t bytes, uint32_t queue_count);

#endif
