/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch: ports with declared addresses, a link for each ordered pair of them, and the frames that are
 * under way. A frame goes to the owner of its destination address, a group address to all other ports; what
 * nobody owns is dropped and counted. Nothing is learned: a topology is what its file says. A packet larger
 * than a link's mtu is answered as a router would (frame.h) where `mtu` was set with `icmp`.
 *
 * Pure: ports come in as struct hg_port, time as now_ns, memory at init. One thread.
 */
#ifndef HG_WAN_SWITCH_H
#define HG_WAN_SWITCH_H

#include "drivers/net/port.h"
#include "tools/wan/frame.h"
#include "tools/wan/link.h"

#define HG_WAN_PORTS_MAX      16
#define HG_WAN_NAME_BYTES_MAX 32
/* How long a frame that is due waits for a receiver that takes nothing, before it is dropped. */
#define HG_WAN_TX_WAIT_NS  (100 * HG_NS_PER_MS)
#define HG_WAN_TX_RETRY_NS (20 * HG_NS_PER_US)
/* A frame delivered so long after its time is counted. */
#define HG_WAN_OVERDUE_NS HG_NS_PER_MS

/* X(field, text) */
#define HG_WAN_PORT_COUNTERS(X)                                                                              \
    X(rx, "frames received")                                                                                 \
    X(rx_bytes, "bytes received")                                                                            \
    X(tx, "frames sent")                                                                                     \
    X(tx_bytes, "bytes sent")                                                                                \
    X(unknown_unicast, "received for an address that no port declares: dropped")                             \
    X(reflected, "received for the sender's own address: dropped")                                           \
    X(runt, "received shorter than an Ethernet header: dropped")

#define HG_WAN_LINK_COUNTERS(X)                                                                              \
    X(forwarded, "delivered")                                                                                \
    X(forwarded_bytes, "bytes delivered")                                                                    \
    X(overdue, "delivered more than 1 ms after their time: the emulator or the receiver was late")           \
    X(lost_loss, "lost by loss")                                                                             \
    X(lost_queue, "dropped because the queue was full")                                                      \
    X(lost_cut, "dropped because the link is cut")                                                           \
    X(lost_memory, "frames and doubles dropped because the memory was full (--mem)")                         \
    X(lost_too_big, "dropped because the receiver's MTU is smaller")                                         \
    X(lost_tx_full, "dropped because the receiver took nothing for 100 ms")                                  \
    X(lost_port_down, "dropped because nobody is connected to the receiver's port")                          \
    X(lost_mtu, "dropped because they were larger than the link's mtu")                                      \
    X(icmp_sent, "answers to the sender that a packet was larger than the mtu")                              \
    X(icmp_unsent, "packets over the mtu that no answer is allowed to or possible for")                      \
    X(reordered, "held back, so that later ones overtake")                                                   \
    X(duplicated, "doubled")                                                                                 \
    X(marked, "marked as having met a full queue (ecn)")                                                     \
    X(corrupted, "damaged")                                                                                  \
    X(detoured, "sent over another path than the first")

struct hg_wan_port_stats {
#define X(field, text) uint64_t field;
    HG_WAN_PORT_COUNTERS(X)
#undef X
};

struct hg_wan_link_stats {
#define X(field, text) uint64_t field;
    HG_WAN_LINK_COUNTERS(X)
#undef X
};

/* A frame under way. */
struct hg_wan_slot {
    struct hg_packet packet;
    uint64_t due_ns;
    uint32_t next;
};

struct hg_wan_port {
    struct hg_port *port;
    uint8_t mac[6];
    char name[HG_WAN_NAME_BYTES_MAX];
    struct hg_wan_port_stats stats;
};

/* Frames under way that keep their order. */
struct hg_wan_track {
    uint32_t head; /* the oldest */
    uint32_t tail;
};

/* A pair of a port with itself carries what the emulator answers to the port's station. */
struct hg_wan_pair {
    struct hg_wan_link link;
    struct hg_wan_link *line; /* what its frames take: its own link, or the one of the pair it joined */
    struct hg_wan_link_stats stats;
    uint64_t behind_since_ns; /* the receiver refused a frame then and hasn't caught up since; 0 = it is not
                                 behind */
    uint32_t count;
    uint16_t tracks_busy; /* bit set = the track has frames */
    struct hg_wan_track tracks[HG_WAN_TRACKS_MAX];
};

struct hg_wan_switch {
    struct hg_wan_slot *slots;
    uint32_t slot_count;
    uint32_t slot_free; /* head of the free list */
    uint32_t slots_used;
    uint32_t port_count;
    uint64_t seed;
    uint64_t busy_ns; /* of the loop's time: turns that moved a frame; the caller's to count */
    struct hg_wan_port ports[HG_WAN_PORTS_MAX];
    struct hg_wan_pair pairs[HG_WAN_PORTS_MAX][HG_WAN_PORTS_MAX]; /* [from][to] */
    uint16_t under_way[HG_WAN_PORTS_MAX]; /* [to]: bit set = from has frames under way */
};

/* `slots` stays the caller's and must outlive the switch; slot_count bounds the frames under way on all
 * links. */
void hg_wan_switch_init(struct hg_wan_switch *sw, struct hg_wan_slot *slots, uint32_t slot_count,
                        uint64_t seed);

/* Returns the port's index, -EEXIST when name or address is taken, -ENOSPC when all places are. */
int hg_wan_switch_port_add(struct hg_wan_switch *sw, const char *name, const uint8_t mac[6],
                           struct hg_port *port);

/* Index of a port by name, -1 when there is none. */
int hg_wan_switch_find(const struct hg_wan_switch *sw, const char *name);

/* Begins the random sequences of all links anew. A link's own seed comes from the names of its two ports, so
 * it does not depend on the order in which ports were added. */
void hg_wan_switch_seed(struct hg_wan_switch *sw, uint64_t seed);

/* Replaces the impairments of a pair, which has a line of its own again if it had joined another's. */
void hg_wan_switch_set(struct hg_wan_switch *sw, uint32_t from, uint32_t to,
                       const struct hg_wan_impairment *impairment);
/* From now on frames from `from` to `to` wait in the queue of the line that the other pair's frames take, and
 * share its transmitter and its fate. What is under way arrives as it would have, and nothing overtakes it.
 * Not with itself. */
void hg_wan_switch_join(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t line_from,
                        uint32_t line_to);
/* Whose line the frames of a pair take. */
void hg_wan_switch_line(const struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t *line_from,
                        uint32_t *line_to);

/* A cut drops what is under way, too; of all pairs that take this line, if it is cut and not a pair that
 * joined it. */
void hg_wan_switch_cut(struct hg_wan_switch *sw, uint32_t from, uint32_t to);
void hg_wan_switch_restore(struct hg_wan_switch *sw, uint32_t from, uint32_t to);

/* Takes n frames that port `from` received; they belong to the switch from here on. */
void hg_wan_switch_receive(struct hg_wan_switch *sw, uint32_t from, struct hg_packet *packets, uint32_t n,
                           uint64_t now_ns);

/* Sends everything that is due. Returns how many frames went out. */
uint32_t hg_wan_switch_deliver(struct hg_wan_switch *sw, uint64_t now_ns);

/* When deliver() has something to do next; HG_TIME_NEVER when nothing is under way. */
uint64_t hg_wan_switch_due_ns(const struct hg_wan_switch *sw, uint64_t now_ns);

/* Gives every frame under way back to its port. */
void hg_wan_switch_drain(struct hg_wan_switch *sw);

#endif
