/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/link.h"

void hg_link_init(struct hg_link *link, struct hg_peers *peers)
{
    memset(link, 0, sizeof(*link));
    link->peers = peers;
    link->workers = 1;
    link->next_hops = &link->next_hops_own;
    hg_neighbours_init(&link->neighbours);
}

/* ---- receiving ---- */

/* A removed peer's only when no other has its address now. */
static int32_t peer_of_address(const struct hg_link *link, const struct hg_address *address)
{
    int32_t found = -1;
    for (uint32_t i = 0; i < hg_peers_count(link->peers); i++) {
        const struct hg_peer *peer = hg_peers_at(link->peers, i);
        if (!hg_address_equal(&peer->address, address))
            continue;
        if (!peer->removed)
            return (int32_t)i;
        found = (int32_t)i;
    }
    return found;
}

static void handshake_in(struct hg_link *link, const struct hg_encapsulation *outer, const uint8_t *message,
                         uint32_t bytes)
{
    int32_t peer = peer_of_address(link, &outer->ip_source);
    if (peer < 0) {
        link->counters.drop_source++;
    } else if (hg_peers_at(link->peers, (uint32_t)peer)->removed) {
        link->counters.drop_peer_removed++;
    } else if (bytes > HG_HANDSHAKE_BYTES_MAX) {
        link->counters.drop_handshake_size++;
    } else if (!link->handshake(link->ctx, (uint32_t)peer, message, bytes)) {
        link->counters.drop_mailbox++;
    } else {
        link->counters.rx_handshake++;
    }
}

/* We restarted, or the last message of the handshake is not here yet, or the sender does not know yet that
 * the new keys work: housekeeping knows which. Ask, but not at line rate. */
static void spi_unknown(struct hg_link *link, const struct hg_encapsulation *outer, uint32_t spi,
                        uint64_t now_ns)
{
    int32_t peer = peer_of_address(link, &outer->ip_source);
    if (peer >= 0 && hg_peers_at(link->peers, (uint32_t)peer)->removed) {
        link->counters.drop_peer_removed++;
        return;
    }
    if (peer >= 0 && hg_peers_spi_replaced(link->peers, (uint32_t)peer, spi))
        link->counters.drop_spi_replaced++;
    else
        link->counters.drop_spi++;
    if (peer >= 0 && now_ns - link->spi_told_ns[peer] >= HG_HANDSHAKE_HELLO_GAP_NS) {
        link->spi_told_ns[peer] = now_ns;
        link->spi_unknown(link->ctx, (uint32_t)peer);
    }
}

static void data_in(struct hg_link *link, const struct hg_encapsulation *outer, const uint8_t *esp,
                    uint32_t bytes, uint64_t now_ns)
{
    uint32_t inner_bytes;
    uint64_t packet_number;
    uint32_t spi = hg_esp_spi(esp, bytes);
    uint32_t place;
    enum hg_esp_reason reason;
    struct hg_peer_session *session = hg_peers_session_of_spi(link->peers, spi, &place);
    if (session == NULL) {
        session = hg_peers_lane_first(link->peers, esp, bytes, link->inner, now_ns, &reason);
        place = 0; /* of the only keys that a new lane has */
    }
    if (session == NULL && reason == HG_ESP_SPI) {
        spi_unknown(link, outer, spi, now_ns);
        return;
    }
    if (session == NULL) {
        link->esp_counts[reason]++;
        return;
    }
    reason = hg_keyring_open(&session->keyring, place, esp, bytes, link->inner, &inner_bytes, &packet_number);
    link->esp_counts[reason]++;
    if (reason != HG_ESP_OK)
        return;
    link->counters.rx_data++;
    hg_peers_receive(session, place, link->inner, inner_bytes, packet_number, outer->dscp_ecn & HG_ECN_MASK,
                     now_ns);
}

static struct hg_handover *handover_of(const struct hg_link *link, uint32_t from, uint32_t to)
{
    return &link->handover[from * link->workers + to];
}

/* True when the packet is another worker's now. */
static bool hand_over(struct hg_link *link, const struct hg_packet *packet, uint32_t worker)
{
    if (!hg_handover_put(handover_of(link, link->worker, worker), packet)) {
        link->counters.drop_handover++;
        return false;
    }
    link->counters.rx_handed_over++;
    return true;
}

/* True when the packet was given away. */
static bool packet_in(struct hg_link *link, const struct hg_packet *packet, uint64_t now_ns)
{
    struct hg_encapsulation outer;
    const uint8_t *payload;
    uint32_t payload_bytes;
    enum hg_encapsulation_reason reason = HG_ENCAPSULATION_SHORT;
    if (packet->bytes <= HG_PORT_FRAME_BYTES_MAX)
        reason = hg_encapsulation_read(packet->data, packet->bytes, &outer, &payload, &payload_bytes);
    link->encapsulation_counts[reason]++;
    if (reason == HG_ENCAPSULATION_NEIGHBOUR && link->worker != 0)
        return hand_over(link, packet, 0);
    if (reason == HG_ENCAPSULATION_NEIGHBOUR)
        hg_link_neighbour_in(link, packet, now_ns);
    if (reason != HG_ENCAPSULATION_OK)
        return false;
    if (outer.vlan != link->network.vlan) {
        link->counters.drop_vlan++;
        return false;
    }
    bool handshake = outer.port_destination == HG_WIRE_UDP_PORT_HANDSHAKE;
    uint32_t worker = handshake ? 0 : (uint32_t)outer.port_destination - HG_WIRE_UDP_PORT_DATA;
    if (!hg_address_equal(&outer.ip_destination, &link->network.address) || worker >= link->workers) {
        link->counters.drop_address++;
        return false;
    }
    if (worker != link->worker)
        return hand_over(link, packet, worker);
    if (handshake)
        handshake_in(link, &outer, payload, payload_bytes);
    else
        data_in(link, &outer, payload, payload_bytes, now_ns);
    return false;
}

/* What other workers received for us. */
static uint32_t handed_over_in(struct hg_link *link, uint64_t now_ns)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint32_t total = 0;
    for (uint32_t from = 0; from < link->workers; from++) {
        if (from == link->worker)
            continue;
        uint32_t n = hg_handover_take(handover_of(link, from, link->worker), packets, HG_PORT_BURST_MAX);
        link->counters.rx_taken_over += n;
        for (uint32_t i = 0; i < n; i++)
            (void)packet_in(link, &packets[i], now_ns); /* it is ours, so it stays */
        if (n > 0)
            link->port->release(link->port, packets, n);
        total += n;
    }
    return total;
}

bool hg_link_handed_over(const struct hg_link *link)
{
    for (uint32_t from = 0; from < link->workers; from++)
        if (from != link->worker && !hg_handover_empty(handover_of(link, from, link->worker)))
            return true;
    return false;
}

uint32_t hg_link_receive(struct hg_link *link, uint64_t now_ns)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint32_t total = 0;
    if (link->port == NULL || !hg_port_is_up(link->port))
        return 0;
    for (uint32_t burst = 0; burst < HG_LINK_BURSTS_TURN; burst++) {
        uint32_t n = link->port->receive(link->port, packets, HG_PORT_BURST_MAX);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++)
            if (!packet_in(link, &packets[i], now_ns))
                packets[kept++] = packets[i];
        if (kept > 0)
            link->port->release(link->port, packets, kept);
        total += n;
        if (n < HG_PORT_BURST_MAX)
            break;
    }
    return total + handed_over_in(link, now_ns);
}

/* ---- sending ---- */

/* False: nobody knows where to send it. */
static bool outer_to(const struct hg_link *link, const struct hg_peer *peer, uint32_t port_source,
                     uint32_t port_destination, struct hg_encapsulation *outer)
{
    memset(outer, 0, sizeof(*outer));
    memcpy(outer->mac_source, link->port->mac, sizeof(outer->mac_source));
    outer->ip_source = link->network.address;
    outer->vlan = link->network.vlan;
    outer->ip_destination = peer->address;
    outer->port_source = (uint16_t)port_source;
    outer->port_destination = (uint16_t)port_destination;
    return hg_link_next_hop(link, peer, outer->mac_destination);
}

/* Gives packets to the port; what it does not take now goes first next time. */
static void packets_out(struct hg_link *link, struct hg_packet *packets, uint32_t n)
{
    hg_assert(link->waiting_count == 0 && n <= HG_PORT_BURST_MAX);
    uint32_t sent = n > 0 ? link->port->transmit(link->port, packets, n) : 0;
    link->waiting_count = n - sent;
    link->counters.tx_busy += n - sent;
    memcpy(link->waiting, packets + sent, (n - sent) * sizeof(packets[0]));
}

static bool waiting_out(struct hg_link *link)
{
    if (link->waiting_count == 0)
        return true;
    uint32_t sent = link->port->transmit(link->port, link->waiting, link->waiting_count);
    link->waiting_count -= sent;
    memmove(link->waiting, link->waiting + sent, link->waiting_count * sizeof(link->waiting[0]));
    return link->waiting_count == 0;
}

static bool session_seal(struct hg_link *link, struct hg_peer_session *session, bool probe,
                         struct hg_encapsulation *outer, const struct hg_lane_packet *inner,
                         struct hg_packet *packet)
{
    uint8_t *frame = packet->data;
    uint32_t outer_bytes = hg_encapsulation_bytes(outer);
    uint32_t esp_bytes = hg_keyring_seal(&session->keyring, probe, inner->pieces, inner->piece_count,
                                         frame + outer_bytes, packet->bytes_max - outer_bytes);
    if (esp_bytes == 0) {
        link->counters.tx_exhausted++;
        return false;
    }
    outer->dscp_ecn = inner->ecn;
    packet->bytes = hg_encapsulation_write(outer, esp_bytes, frame);
    return true;
}

/* A packet to build into: most turns have nothing to send, so one is kept at hand rather than taken and given
 * back. */
static bool spare_take(struct hg_link *link, struct hg_packet *packet)
{
    if (!link->spare_used && link->port->allocate(link->port, &link->spare, 1) != 1) {
        link->counters.tx_nobuf++;
        return false;
    }
    *packet = link->spare;
    link->spare_used = false;
    return true;
}

/* The next packet of a session: under new keys that wait for their use an empty one, else what the lane has.
 */
static bool session_packet(struct hg_link *link, struct hg_peer_session *session,
                           struct hg_encapsulation *outer, bool control, struct hg_packet *packet,
                           uint64_t now_ns)
{
    struct hg_lane_packet inner;
    struct hg_keyring *ring = &session->keyring;
    if (control)
        return hg_keyring_may_seal(ring, now_ns) &&
               hg_lane_build_control(session->lane, ring->number_next, now_ns, &inner) > 0 &&
               session_seal(link, session, false, outer, &inner, packet);
    if (hg_keyring_probe_due(ring, now_ns)) {
        hg_keyring_probed(ring, now_ns);
        if (hg_lane_build_empty(session->lane, ring->number_next, now_ns, &inner) > 0)
            return session_seal(link, session, true, outer, &inner, packet);
    }
    return hg_keyring_may_seal(ring, now_ns) &&
           hg_lane_build(session->lane, ring->number_next, now_ns, &inner) > 0 &&
           session_seal(link, session, false, outer, &inner, packet);
}

/* One burst of a session. Returns packets handed to the port. */
static uint32_t session_burst(struct hg_link *link, struct hg_peer_session *session, bool control,
                              uint64_t now_ns)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint32_t n = 0;
    struct hg_encapsulation outer;
    if (!outer_to(link, session->peer->head, HG_WIRE_UDP_PORT_DATA + link->worker,
                  HG_WIRE_UDP_PORT_DATA + session->worker_remote, &outer))
        return 0;
    while (n < HG_PORT_BURST_MAX) {
        if (!spare_take(link, &packets[n]))
            break;
        if (!session_packet(link, session, &outer, control, &packets[n], now_ns)) {
            link->spare = packets[n];
            link->spare_used = true;
            break;
        }
        n++;
    }
    packets_out(link, packets, n);
    link->counters.tx_data += n;
    return n;
}

/* Control frames of every lane before data of any: what one lane has to say never waits for another's bulk. A
 * lane that is alone puts them first into its next packet. Returns packets handed to the port. */
static uint32_t control_out(struct hg_link *link, uint64_t now_ns)
{
    struct hg_peer_session *waiting = NULL;
    uint32_t total = 0, lanes = 0;
    for (struct hg_peer *peer = hg_peers_next(link->peers, NULL); peer != NULL;
         peer = hg_peers_next(link->peers, peer))
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++) {
            struct hg_peer_session *session = &peer->sessions[j];
            if (!session->live)
                continue;
            if (++lanes == 2 && waiting != NULL) /* the first one is not alone */
                total += session_burst(link, waiting, true, now_ns);
            if (link->waiting_count > 0)
                return total;
            if (!hg_lane_control_waits(session->lane))
                continue;
            if (lanes >= 2)
                total += session_burst(link, session, true, now_ns);
            else
                waiting = session;
            if (link->waiting_count > 0)
                return total;
        }
    return total;
}

uint32_t hg_link_transmit(struct hg_link *link, uint64_t now_ns)
{
    uint32_t total = 0;
    if (link->worker == 0)
        hg_link_neighbours_turn(link, now_ns);
    if (link->port == NULL || !hg_port_is_up(link->port) || !waiting_out(link))
        return 0;
    total += control_out(link, now_ns);
    if (link->waiting_count > 0)
        return total;
    for (struct hg_peer *peer = hg_peers_next(link->peers, NULL); peer != NULL;
         peer = hg_peers_next(link->peers, peer)) {
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++) {
            struct hg_peer_session *session = &peer->sessions[j];
            for (uint32_t sent = 0; session->live && sent < HG_LINK_PACKETS_TURN;) {
                uint32_t n = session_burst(link, session, false, now_ns);
                sent += n;
                total += n;
                if (link->waiting_count > 0)
                    return total;
                if (n < HG_PORT_BURST_MAX)
                    break;
            }
        }
    }
    return total;
}

/* One packet besides those of sessions: behind what waits. */
static bool packet_out(struct hg_link *link, struct hg_packet *packet)
{
    if (waiting_out(link)) {
        packets_out(link, packet, 1);
        return true;
    }
    if (link->waiting_count == HG_PORT_BURST_MAX)
        return false;
    link->waiting[link->waiting_count++] = *packet;
    return true;
}

bool hg_link_frame_send(struct hg_link *link, const void *frame, uint32_t bytes)
{
    struct hg_packet packet;
    if (link->port == NULL || !hg_port_is_up(link->port) || !spare_take(link, &packet))
        return false;
    bool fits = bytes <= packet.bytes_max;
    if (fits) {
        memcpy(packet.data, frame, bytes);
        packet.bytes = bytes;
    }
    if (fits && packet_out(link, &packet))
        return true;
    link->spare = packet;
    link->spare_used = true;
    return false;
}

void hg_link_handshake_send(struct hg_link *link, uint32_t peer, const uint8_t *message, uint32_t bytes)
{
    uint8_t frame[HG_WIRE_OUTER_BYTES_MAX + HG_HANDSHAKE_BYTES_MAX + 1];
    struct hg_encapsulation outer;
    hg_assert(bytes <= HG_HANDSHAKE_BYTES_MAX + 1);
    if (hg_peers_at(link->peers, peer)->removed || link->port == NULL || !hg_port_is_up(link->port))
        return; /* lost as on the link; the handshake retries */
    if (!outer_to(link, hg_peers_at(link->peers, peer), HG_WIRE_UDP_PORT_HANDSHAKE,
                  HG_WIRE_UDP_PORT_HANDSHAKE, &outer)) {
        link->counters.drop_neighbour++;
        return;
    }
    uint32_t frame_bytes = hg_encapsulation_write(&outer, bytes, frame);
    memcpy(frame + hg_encapsulation_bytes(&outer), message, bytes);
    link->counters.tx_handshake += hg_link_frame_send(link, frame, frame_bytes);
}

/* Keys that are used up send nothing, whatever the lane has. */
static uint64_t session_deadline_ns(const struct hg_link *link, const struct hg_peer_session *session,
                                    uint64_t now_ns)
{
    uint8_t mac[6];
    if (!hg_link_next_hop(link, session->peer->head, mac))
        return HG_TIME_NEVER;
    uint64_t deadline_ns = session->keyring.probe_ns;
    if (!hg_keyring_may_seal(&session->keyring, now_ns))
        return deadline_ns;
    return hg_min_u64(deadline_ns, hg_lane_deadline_ns(session->lane));
}

uint64_t hg_link_deadline_ns(const struct hg_link *link, uint64_t now_ns)
{
    uint64_t deadline_ns = link->worker == 0 ? link->neighbours_due_ns : HG_TIME_NEVER;
    for (const struct hg_peer *peer = hg_peers_next(link->peers, NULL); peer != NULL;
         peer = hg_peers_next(link->peers, peer)) {
        for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++)
            if (peer->sessions[j].live)
                deadline_ns = hg_min_u64(deadline_ns, session_deadline_ns(link, &peer->sessions[j], now_ns));
    }
    return deadline_ns;
}
