/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/steer.h"

#define ETHERNET_BYTES 14u
#define VLAN_BYTES     4u
#define IPV6_BYTES     40u
#define PROTOCOL_UDP   17u

static uint32_t u16_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Where the UDP header of an unfragmented packet begins; 0 = there is none. */
static uint32_t udp_offset(const uint8_t *frame, uint32_t bytes)
{
    uint32_t at = ETHERNET_BYTES;
    if (bytes < ETHERNET_BYTES + VLAN_BYTES)
        return 0;
    uint32_t type = u16_at(frame + 12);
    if (type == 0x8100) {
        type = u16_at(frame + 16);
        at += VLAN_BYTES;
    }
    if (type == 0x0800 && bytes >= at + 20 && frame[at] >> 4 == 4 && frame[at + 9] == PROTOCOL_UDP &&
        (u16_at(frame + at + 6) & 0x3fff) == 0)
        return at + (frame[at] & 15u) * 4;
    if (type == 0x86dd && bytes >= at + IPV6_BYTES && frame[at + 6] == PROTOCOL_UDP)
        return at + IPV6_BYTES;
    return 0;
}

uint32_t hg_wan_steer_queue(const uint8_t *frame, uint32_t bytes, uint32_t queue_count)
{
    uint32_t at = udp_offset(frame, bytes);
    if (at == 0 || at + 4 > bytes)
        return 0;
    uint32_t queue = u16_at(frame + at + 2) - HG_WAN_UDP_PORT_FIRST;
    return queue < queue_count ? queue : 0;
}

/* ---- the port ---- */

static struct hg_wan_steer *steer_of(struct hg_port *port)
{
    return (struct hg_wan_steer *)port;
}

static bool queue_up(const struct hg_port *queue)
{
    return __atomic_load_n(&queue->link_up, __ATOMIC_RELAXED);
}

/* From one queue after the other, so that none starves. */
static uint32_t steer_receive(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct hg_wan_steer *steer = steer_of(port);
    uint32_t total = 0;
    for (uint32_t i = 0; i < steer->queue_count && total < n; i++) {
        struct hg_port *queue = steer->queues[steer->queue_next];
        steer->queue_next = (steer->queue_next + 1) % steer->queue_count;
        if (queue_up(queue))
            total += queue->receive(queue, packets + total, n - total);
    }
    return total;
}

static uint32_t steer_allocate(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct hg_port *queue = steer_of(port)->queues[0];
    return queue->allocate(queue, packets, n);
}

static void steer_release(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct hg_port *queue = steer_of(port)->queues[0];
    queue->release(queue, packets, n);
}

/* A station with fewer workers than queues gets what is for the others in its first. */
static struct hg_port *queue_of(const struct hg_wan_steer *steer, const struct hg_packet *packet)
{
    struct hg_port *queue =
        steer->queues[hg_wan_steer_queue(packet->data, packet->bytes, steer->queue_count)];
    return queue_up(queue) ? queue : steer->queues[0];
}

/* In order: frames for the same queue that follow each other go together, and a queue that takes no more ends
 * it. */
static uint32_t steer_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct hg_wan_steer *steer = steer_of(port);
    uint32_t sent = 0;
    while (sent < n) {
        struct hg_port *queue = queue_of(steer, &packets[sent]);
        uint32_t count = 1;
        while (sent + count < n && queue_of(steer, &packets[sent + count]) == queue)
            count++;
        uint32_t taken = queue->transmit(queue, packets + sent, count);
        sent += taken;
        if (taken < count)
            break;
    }
    return sent;
}

void hg_wan_steer_init(struct hg_wan_steer *steer, struct hg_port *const *queues, uint32_t queue_count)
{
    hg_assert(queue_count >= 1 && queue_count <= HG_WAN_QUEUES_MAX);
    memset(steer, 0, sizeof(*steer));
    steer->port = *queues[0];
    steer->port.receive = steer_receive;
    steer->port.allocate = steer_allocate;
    steer->port.transmit = steer_transmit;
    steer->port.release = steer_release;
    steer->queue_count = queue_count;
    for (uint32_t i = 0; i < queue_count; i++)
        steer->queues[i] = queues[i];
    hg_wan_steer_maintain(steer);
}

void hg_wan_steer_maintain(struct hg_wan_steer *steer)
{
    bool up = false;
    for (uint32_t i = 0; i < steer->queue_count; i++)
        up |= queue_up(steer->queues[i]);
    __atomic_store_n(&steer->port.link_up, up, __ATOMIC_RELAXED);
}
