/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is where on the link of a port: the MACs of the stations that we send to, kept by ARP or Neighbour
 * Discovery, and our answers to others. A pure state machine over frames (neighbour_message.h) and times.
 *
 * Only stations that we ask for are in the table, so nobody can fill it. A station's life:
 *
 *   INCOMPLETE --answer--> REACHABLE --30 s--> PROBE --answer--> REACHABLE
 *       | 3 unanswered                           | 3 unanswered
 *       v                                        v
 *   UNREACHABLE (asked every 3 s)            INCOMPLETE (everyone is asked; its MAC is used meanwhile)
 *
 * What nobody asked for (an announcement, a request from it) makes it STALE: used, and probed after 5 s.
 * Every station in the table is one that we send to, so all are kept up to date.
 *
 * Whoever is on the link can lie about a MAC, as on any Ethernet: packets are then lost, never read. A peer's
 * MAC in the configuration is believed instead of all this.
 */
#ifndef HG_TRANSPORT_NEIGHBOUR_H
#define HG_TRANSPORT_NEIGHBOUR_H

#include "dataplane/transport/neighbour_message.h"

#define HG_NEIGHBOURS_MAX          64u /* more than peers and a gateway */
#define HG_NEIGHBOUR_SOLICITS      3u  /* RFC 4861 10, as the next three */
#define HG_NEIGHBOUR_RETRANSMIT_NS HG_NS_PER_S
#define HG_NEIGHBOUR_REACHABLE_NS  (30 * HG_NS_PER_S)
#define HG_NEIGHBOUR_DELAY_NS      (5 * HG_NS_PER_S) /* of the first probe of what is stale */
#define HG_NEIGHBOUR_AGAIN_NS      (3 * HG_NS_PER_S) /* while it is unreachable */
#define HG_NEIGHBOUR_UNUSED_NS     (60 * HG_NS_PER_S)
#define HG_NEIGHBOUR_ANNOUNCES     3u /* of our own address: whether it is free, then twice that it is ours */
#define HG_NEIGHBOUR_ANNOUNCE_NS   (2 * HG_NS_PER_S)  /* RFC 5227 1.1 */
#define HG_NEIGHBOUR_DEFEND_NS     (10 * HG_NS_PER_S) /* RFC 5227 1.1 */
#define HG_NEIGHBOUR_ANSWER_BURST  32u
#define HG_NEIGHBOUR_ANSWER_GAP_NS (10 * HG_NS_PER_MS)
#define HG_NEIGHBOUR_ECHO_BURST    10u
#define HG_NEIGHBOUR_ECHO_GAP_NS   (100 * HG_NS_PER_MS)
#define HG_NEIGHBOUR_EVENTS_MAX    8u

#define HG_NEIGHBOUR_COUNTERS(X)                                                                             \
    X(rx_requests, "questions for our address that were answered")                                           \
    X(rx_answers, "answers and announcements of stations that we send to")                                   \
    X(rx_echos, "pings answered")                                                                            \
    X(tx_requests, "questions for a station's MAC")                                                          \
    X(tx_announces, "announcements of our address")                                                          \
    X(drop_malformed, "ARP, ICMP and ICMPv6 frames that break a rule")                                       \
    X(drop_checksum, "ICMP and ICMPv6 messages whose checksum is wrong")                                     \
    X(drop_vlan, "ARP, ICMP and ICMPv6 frames of another VLAN")                                              \
    X(drop_other, "questions and pings for other stations")                                                  \
    X(drop_unasked, "answers of stations that we don't send to")                                             \
    X(drop_kind, "ICMP and ICMPv6 messages of other kinds")                                                  \
    X(drop_loop, "our own frames, sent back to us")                                                          \
    X(drop_duplicate, "frames of another station that has our address")                                      \
    X(drop_rate, "questions and pings not answered because too many came")                                   \
    X(drop_echo_bytes, "pings too large to be answered, or with options")                                    \
    X(drop_table, "stations not looked for because the table was full")                                      \
    X(drop_no_route, "times a peer was neither on the link nor behind a gateway")                            \
    X(drop_events, "events lost because nobody took them")
struct hg_neighbour_counters {
#define HG_X(name, text) uint64_t name;
    HG_NEIGHBOUR_COUNTERS(HG_X)
#undef HG_X
};

enum hg_neighbour_state {
    HG_NEIGHBOUR_INCOMPLETE,
    HG_NEIGHBOUR_REACHABLE,
    HG_NEIGHBOUR_STALE,
    HG_NEIGHBOUR_PROBE,
    HG_NEIGHBOUR_UNREACHABLE,
};

struct hg_neighbour {
    struct hg_address address;
    uint8_t mac[6];
    bool mac_known; /* and used */
    uint8_t state;  /* enum hg_neighbour_state */
    uint32_t solicits;
    uint64_t due_ns;
    uint64_t used_ns;
};

enum hg_neighbour_event_type {
    HG_NEIGHBOUR_EVENT_UNREACHABLE, /* nobody answers for `address` */
    HG_NEIGHBOUR_EVENT_FOUND,       /* somebody does again, `mac` */
    HG_NEIGHBOUR_EVENT_CHANGED,     /* it is at `mac` now, was at `mac_before` */
    HG_NEIGHBOUR_EVENT_DUPLICATE,   /* `mac` uses our address too */
};
struct hg_neighbour_event {
    enum hg_neighbour_event_type type;
    struct hg_address address;
    uint8_t mac[6];
    uint8_t mac_before[6];
};

struct hg_neighbours {
    uint8_t mac[6]; /* ours */
    struct hg_network network;
    uint32_t count;
    struct hg_neighbour table[HG_NEIGHBOURS_MAX];
    uint32_t announces; /* still to be sent */
    uint64_t announce_ns;
    uint64_t defend_ns;        /* not before */
    uint64_t answer_bucket_ns; /* when the next answer is due in the long run */
    uint64_t echo_bucket_ns;
    uint32_t event_count;
    struct hg_neighbour_event events[HG_NEIGHBOUR_EVENTS_MAX];
    struct hg_neighbour_counters counters;
};

void hg_neighbours_init(struct hg_neighbours *neighbours);
/* The port is up, or up again: we are `mac` in that network. Announces our address; what is known is probed.
 * With another network everything is forgotten. A network without an address: nothing is asked or answered.
 */
void hg_neighbours_start(struct hg_neighbours *neighbours, const uint8_t mac[6],
                         const struct hg_network *network, uint64_t now_ns);

/* The MAC that packets to that address go to: its own when it is on the link, else the gateway's. NULL: not
 * known (yet), it is being asked for. Call it at least every HG_NEIGHBOUR_UNUSED_NS / 2 to keep it known. The
 * pointer is good until the next call of any of these. */
const uint8_t *hg_neighbours_mac(struct hg_neighbours *neighbours, const struct hg_address *to,
                                 uint64_t now_ns);

/* An ARP, ICMP or ICMPv6 frame was received. Returns the bytes of an answer in `answer`, which has room for
 * HG_NEIGHBOUR_ECHO_BYTES_MAX; 0: none. */
uint32_t hg_neighbours_receive(struct hg_neighbours *neighbours, const uint8_t *frame, uint32_t bytes,
                               uint64_t now_ns, uint8_t *answer);
/* The next frame that is due; 0: none is. Call it until then. */
uint32_t hg_neighbours_build(struct hg_neighbours *neighbours, uint64_t now_ns,
                             uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX]);
uint64_t hg_neighbours_deadline_ns(const struct hg_neighbours *neighbours);
/* False: no event waits. */
bool hg_neighbours_event(struct hg_neighbours *neighbours, struct hg_neighbour_event *event);

#endif
