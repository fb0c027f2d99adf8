/* SPDX-License-Identifier: Apache-2.0
 *
 * The link's side of neighbour discovery: which stations are looked for, and who is told of what is found.
 */
#include "dataplane/link.h"

static bool mac_configured(const struct hg_peer *peer)
{
    static const uint8_t none[6];
    return memcmp(peer->mac, none, sizeof(none)) != 0;
}

bool hg_link_next_hop(const struct hg_link *link, const struct hg_peer *peer, uint8_t mac[6])
{
    if (mac_configured(peer)) {
        memcpy(mac, peer->mac, sizeof(peer->mac));
        return true;
    }
    uint64_t word = atomic_load_explicit(&link->next_hops->macs[peer->index], memory_order_relaxed);
    for (uint32_t i = 0; i < 6; i++)
        mac[i] = (uint8_t)(word >> (8 * i));
    return (word & HG_NEXT_HOP_KNOWN) != 0;
}

static uint64_t mac_number(const uint8_t mac[6])
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < 6; i++)
        number |= (uint64_t)mac[i] << (8 * i);
    return number;
}

static void next_hops_publish(struct hg_link *link, uint64_t now_ns)
{
    for (uint32_t i = 0; i < hg_peers_count(link->peers); i++) {
        const struct hg_peer *peer = hg_peers_at(link->peers, i);
        uint64_t word = 0;
        if (!peer->removed && !mac_configured(peer) && hg_address_is_set(&peer->address)) {
            const uint8_t *mac = hg_neighbours_mac(&link->neighbours, &peer->address, now_ns);
            word = mac != NULL ? mac_number(mac) | HG_NEXT_HOP_KNOWN : 0;
        }
        atomic_store_explicit(&link->next_hops->macs[i], word, memory_order_relaxed);
    }
}

static void events_say(struct hg_link *link)
{
    static const enum hg_event_type types[] = {
        [HG_NEIGHBOUR_EVENT_UNREACHABLE] = HG_EVENT_neighbour_unreachable,
        [HG_NEIGHBOUR_EVENT_FOUND] = HG_EVENT_neighbour_found,
        [HG_NEIGHBOUR_EVENT_CHANGED] = HG_EVENT_neighbour_changed,
        [HG_NEIGHBOUR_EVENT_DUPLICATE] = HG_EVENT_address_duplicate,
    };
    struct hg_neighbour_event event;
    char text[HG_ADDRESS_TEXT_BYTES];
    while (hg_neighbours_event(&link->neighbours, &event))
        if (link->events != NULL)
            hg_event_put(link->events, types[event.type], hg_address_text(&event.address, text),
                         mac_number(event.mac), mac_number(event.mac_before));
}

void hg_link_neighbour_in(struct hg_link *link, const struct hg_packet *packet, uint64_t now_ns)
{
    uint8_t answer[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    uint32_t bytes = hg_neighbours_receive(&link->neighbours, packet->data, packet->bytes, now_ns, answer);
    if (bytes > 0 && !hg_link_frame_send(link, answer, bytes))
        link->counters.drop_answer++;
    link->neighbours_due_ns = now_ns; /* it may have said what a peer waits for */
}

void hg_link_neighbours_turn(struct hg_link *link, uint64_t now_ns)
{
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX];
    uint32_t bytes;
    bool up = link->port != NULL && hg_port_is_up(link->port);
    if (up && !link->neighbours_up)
        hg_neighbours_start(&link->neighbours, link->port->mac, &link->network, now_ns);
    bool due = up && (!link->neighbours_up || now_ns >= link->neighbours_due_ns);
    link->neighbours_up = up;
    if (!due)
        return;
    next_hops_publish(link, now_ns);
    while ((bytes = hg_neighbours_build(&link->neighbours, now_ns, frame)) > 0)
        if (!hg_link_frame_send(link, frame, bytes))
            break; /* it is asked again */
    events_say(link);
    link->neighbours_due_ns =
        hg_min_u64(now_ns + HG_LINK_NEIGHBOURS_NS, hg_neighbours_deadline_ns(&link->neighbours));
}
