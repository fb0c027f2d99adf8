/* SPDX-License-Identifier: Apache-2.0
 *
 * Between a port and the sessions of the peers: outer headers, ESP, who a packet is from. Pure core over
 * hg_port. Owning worker only.
 */
#ifndef HG_LINK_H
#define HG_LINK_H

#include "dataplane/handover.h"
#include "dataplane/stream/peers.h"
#include "dataplane/transport/encapsulation.h"
#include "dataplane/transport/neighbour.h"
#include "drivers/net/port.h"

#define HG_LINK_BURSTS_TURN  8u   /* received in a turn at most */
#define HG_LINK_PACKETS_TURN 512u /* sent to one session in a turn at most: more than a turn appends */

#define HG_LINK_COUNTERS(X)                                                                                  \
    X(rx_data, "data packets opened")                                                                        \
    X(rx_handshake, "handshake messages received")                                                           \
    X(tx_data, "data packets sent")                                                                          \
    X(tx_handshake, "handshake messages sent")                                                               \
    X(drop_spi, "packets of an unknown SPI: the sender has keys that we don't; new ones are agreed on")      \
    X(drop_peer_removed, "packets of a peer that the configuration no longer has")                           \
    X(drop_spi_replaced, "packets under keys that newer ones replaced: their data comes again")              \
    X(drop_vlan, "packets of another VLAN")                                                                  \
    X(drop_address, "packets to another IP address or UDP port")                                             \
    X(drop_source, "handshake messages from an address that is no peer")                                     \
    X(drop_handshake_size, "handshake messages longer than any")                                             \
    X(drop_mailbox, "handshake messages that found housekeeping busy")                                       \
    X(rx_handed_over, "packets received for another worker and given to it")                                 \
    X(rx_taken_over, "packets that another worker received for this one")                                    \
    X(drop_handover, "packets for another worker that found its queue full")                                 \
    X(drop_neighbour, "handshake messages not sent because nobody answers for the peer's MAC")               \
    X(drop_answer, "answers to ARP, neighbour discovery and pings that found the port busy")                 \
    X(tx_nobuf, "times there was no packet buffer to send with")                                             \
    X(tx_busy, "packets that the port did not take at once")                                                 \
    X(tx_exhausted, "packets not sent because their key is used up")
struct hg_link_counters {
#define HG_X(name, text) uint64_t name;
    HG_LINK_COUNTERS(HG_X)
#undef HG_X
};

#define HG_LINK_NEIGHBOURS_NS (100 * HG_NS_PER_MS) /* a new peer is looked for on the link by then */

/* Where packets to each peer without a configured MAC go: 48 bits of MAC and HG_NEXT_HOP_KNOWN. Written by
 * worker 0, read by all. */
#define HG_NEXT_HOP_KNOWN (UINT64_C(1) << 48)
struct hg_next_hops {
    _Atomic uint64_t macs[HG_PEERS_MAX];
};

struct hg_link {
    struct hg_port *port; /* this worker's queue of it; NULL until there is one */
    struct hg_network network;
    uint32_t worker; /* this one, of `workers` of this node */
    uint32_t workers;
    /* Packets of workers to each other, [from * workers + to]; NULL with one worker. */
    struct hg_handover *handover;
    struct hg_next_hops *next_hops; /* of the node; its own with one worker */
    struct hg_next_hops next_hops_own;
    struct hg_neighbours neighbours; /* worker 0's */
    uint64_t neighbours_due_ns;
    bool neighbours_up;           /* told of the port as it is */
    struct hg_event_sink *events; /* may be NULL */
    struct hg_peers *peers;
    struct hg_link_counters counters;
    uint64_t esp_counts[HG_ESP_REASON_COUNT];
    uint64_t encapsulation_counts[HG_ENCAPSULATION_REASON_COUNT];
    uint64_t spi_told_ns[HG_PEERS_MAX]; /* when an unknown SPI was last told to the key exchange */
    /* A handshake message of this peer; false = could not be taken. */
    bool (*handshake)(void *ctx, uint32_t peer, const uint8_t *message, uint32_t bytes);
    void (*spi_unknown)(void *ctx, uint32_t peer);
    void *ctx;
    struct hg_packet waiting[HG_PORT_BURST_MAX]; /* sealed, refused by the port: they go first */
    uint32_t waiting_count;
    struct hg_packet spare; /* allocated, not yet needed */
    bool spare_used;
    uint8_t inner[HG_PORT_FRAME_BYTES_MAX];
};

void hg_link_init(struct hg_link *link, struct hg_peers *peers);
/* Receives bursts, gives what opens to its lane and what is for another worker to that one. Handshakes are
 * worker 0's. Returns packets received. */
uint32_t hg_link_receive(struct hg_link *link, uint64_t now_ns);
/* Builds, seals and sends what lanes have, a share for each session. Returns packets sent. */
uint32_t hg_link_transmit(struct hg_link *link, uint64_t now_ns);
/* Sends one handshake message. */
void hg_link_handshake_send(struct hg_link *link, uint32_t peer, const uint8_t *message, uint32_t bytes);
/* Sends one frame that was made elsewhere, or none: what is lost here is as if it was on the link. */
bool hg_link_frame_send(struct hg_link *link, const void *frame, uint32_t bytes);
/* True when another worker has received packets for this one. */
bool hg_link_handed_over(const struct hg_link *link);
/* When a lane may have something to send. */
uint64_t hg_link_deadline_ns(const struct hg_link *link, uint64_t now_ns);

/* link_neighbours.c, for link.c. The MAC for this peer's packets is copied; false = it is not known. */
bool hg_link_next_hop(const struct hg_link *link, const struct hg_peer *peer, uint8_t mac[6]);
/* An ARP, ICMP or ICMPv6 frame. Worker 0 only, as the next. */
void hg_link_neighbour_in(struct hg_link *link, const struct hg_packet *packet, uint64_t now_ns);
/* Asks who has to be asked, publishes what is known. */
void hg_link_neighbours_turn(struct hg_link *link, uint64_t now_ns);

#endif
