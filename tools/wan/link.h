/* SPDX-License-Identifier: Apache-2.0
 *
 * One direction of a long-distance link, as arithmetic: when does a frame offered now arrive, if it does? No
 * packet is stored here (switch.h does that) and no clock is read.
 *
 * The order of things is that of a real line: a router that knows how large a packet may be, a bounded queue
 * in front of a serialising transmitter, then a line that loses frames (which took their time on the
 * transmitter all the same), changes or doubles some, and delays the rest.
 *
 *   mtu        bytes behind the Ethernet header; a larger frame is dropped before it takes any time
 *   rate       bits/s of Ethernet frames without preamble and FCS
 *   queue      bytes that may wait for the transmitter; a frame that doesn't fit is dropped (drop tail)
 *   ecn        bytes, or time, that wait before the transmitter when a frame comes: above that a frame of an
 *              ECN-capable IP packet is marked (RFC 3168), on the way there; one that doesn't fit is dropped
 *              all the same
 *   loss       share of frames lost; `burst` is the mean length of a run of losses (a two-state
 *              Gilbert-Elliott model, the good state losing nothing and the bad state everything).
 *              Burst 0 or 1 = independent losses
 *   delay      one way; jitter makes it wander within delay +/- jitter, slowly enough that no frame of a
 *              track overtakes another
 *   reorder    share of frames that arrive `late` after their time: those sent within that time overtake them
 *   duplicate  share of frames that arrive twice
 *   corrupt    share of frames with one or three bits turned (frame.h)
 *   paths      path i of N is i * skew longer; a frame's path is drawn, or follows from its flow
 *
 * Frames of one track never change places: a path has a track for frames in time and one for late frames.
 *
 * What happens to a frame is a function of (seed, how many frames were offered before) and of nothing else:
 * the same frames under the same seed share the same fates, however fast they come, and one impairment does
 * not move the draws of another. Jitter is a function of (seed, time), a flow's path of (seed, flow).
 */
#ifndef HG_WAN_LINK_H
#define HG_WAN_LINK_H

#include "drivers/net/port.h"

#define HG_WAN_LOSS_ALL_PPB       UINT64_C(1000000000)
#define HG_WAN_DELAY_NS_MAX       (60 * HG_NS_PER_S)
#define HG_WAN_RATE_BITS_MAX      UINT64_C(1000000000000)
#define HG_WAN_RATE_BITS_MIN      UINT64_C(1000)
#define HG_WAN_QUEUE_BYTES_MAX    (UINT64_C(1) << 40)
#define HG_WAN_QUEUE_BYTES_NORMAL (UINT64_C(1) << 20) /* when a rate is given without a queue */
#define HG_WAN_BURST_FRAMES_MAX   UINT64_C(100000)
#define HG_WAN_PATHS_MAX          8
#define HG_WAN_TRACKS_MAX         (2 * HG_WAN_PATHS_MAX)
#define HG_WAN_MTU_BYTES_MIN      68 /* what every IPv4 link carries, RFC 791 */
#define HG_WAN_MTU_BYTES_MAX      (HG_PORT_FRAME_BYTES_MAX - 18)

struct hg_wan_impairment {
    uint64_t delay_ns;
    uint64_t jitter_ns;   /* at most delay_ns */
    uint64_t loss_ppb;    /* parts in 10^9 */
    uint64_t burst_count; /* mean run of losses, frames */
    uint64_t rate_bits;   /* per second; 0 = unlimited */
    uint64_t queue_bytes; /* 0 = HG_WAN_QUEUE_BYTES_NORMAL; only with a rate */
    uint64_t ecn_bytes;   /* or ... */
    uint64_t ecn_ns;      /* ... only with a rate; both 0 = nothing is marked */
    uint64_t reorder_ppb;
    uint64_t late_ns; /* with reorder, and only with it */
    uint64_t duplicate_ppb;
    uint64_t corrupt_ppb;
    uint64_t path_count; /* 0 or 1 = one */
    uint64_t skew_ns;    /* between neighbouring paths; with several, and only then */
    uint64_t mtu_bytes;  /* 0 = unlimited */
    bool corrupt_header; /* the Ethernet header too */
    bool path_by_flow;
    bool mtu_icmp; /* the sender is told (switch.h) */
};

enum hg_wan_fate {
    HG_WAN_FATE_ARRIVES,
    HG_WAN_FATE_LOST,
    HG_WAN_FATE_QUEUE_FULL,
    HG_WAN_FATE_CUT,
    HG_WAN_FATE_OVER_MTU
};

/* What the link must know of a frame. */
struct hg_wan_offer {
    uint32_t bytes;
    uint32_t payload_bytes; /* behind the Ethernet header */
    uint64_t flow;          /* hash of what makes a flow; read only where paths follow flows */
};

/* How a frame arrives. */
struct hg_wan_arrival {
    uint64_t due_ns;         /* within a track never less than the time before */
    uint64_t corrupt_random; /* where to turn bits; when corrupt */
    uint32_t track;
    bool late;
    bool duplicate;
    bool corrupt;
    bool mark;   /* the queue was above its threshold: congestion experienced, if the packet can bear it */
    bool detour; /* not on the first path */
};

enum hg_wan_draw {
    HG_WAN_DRAW_LOSS,
    HG_WAN_DRAW_REORDER,
    HG_WAN_DRAW_DUPLICATE,
    HG_WAN_DRAW_CORRUPT,
    HG_WAN_DRAW_CORRUPT_BITS,
    HG_WAN_DRAW_PATH,
    HG_WAN_DRAWS
};

struct hg_wan_link {
    struct hg_wan_impairment impairment;
    bool cut;
    bool losing;            /* the bad state */
    bool plain;             /* one path, and all that arrives does so once, in time and unharmed */
    uint64_t offered_count; /* since the seed */
    uint64_t draw_seed[HG_WAN_DRAWS];
    uint64_t loss_enter; /* chance of good -> bad (or of a single loss), of 2^64 */
    uint64_t loss_leave; /* chance of bad -> good */
    uint64_t reorder_chance;
    uint64_t duplicate_chance;
    uint64_t corrupt_chance;
    uint64_t wander_seed;
    uint64_t wander_knot_ns;
    uint64_t busy_until_ns; /* the transmitter */
    uint64_t busy_fraction; /* what the nanoseconds above left over, in 1/rate ns */
    uint64_t due_last_ns[HG_WAN_TRACKS_MAX];
};

/* NULL when the values make sense together, else what is wrong with them: static text. */
const char *hg_wan_impairment_problem(const struct hg_wan_impairment *impairment);

/* A perfect link. `seed` should differ between links. */
void hg_wan_link_init(struct hg_wan_link *link, uint64_t seed);

/* Begins the random sequences anew. What is under way stays as it is. */
void hg_wan_link_seed(struct hg_wan_link *link, uint64_t seed);

/* Replaces all impairments (they must make sense). The random sequences go on where they are. */
void hg_wan_link_set(struct hg_wan_link *link, const struct hg_wan_impairment *impairment);

/* Offers a frame. *arrival is set for HG_WAN_FATE_ARRIVES only. */
enum hg_wan_fate hg_wan_link_offer(struct hg_wan_link *link, uint64_t now_ns,
                                   const struct hg_wan_offer *frame, struct hg_wan_arrival *arrival);

#endif
