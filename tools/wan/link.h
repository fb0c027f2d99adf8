/* SPDX-License-Identifier: Apache-2.0
 *
 * One direction of a long-distance link, as arithmetic: when does a frame offered now arrive, if it does? No
 * packet is stored here (switch.h does that) and no clock is read.
 *
 * The order of things is that of a real line: a bounded queue in front of a serialising transmitter, then a
 * line that loses frames (which took their time on the transmitter all the same) and delays the rest.
 *
 *   rate    bits/s of Ethernet frames without preamble and FCS
 *   queue   bytes that may wait for the transmitter; a frame that doesn't fit is dropped (drop tail)
 *   loss    share of frames lost; `burst` is the mean length of a run of losses (a two-state Gilbert-Elliott
 * model, the good state losing nothing and the bad state everything). Burst 0 or 1 = independent losses delay
 * one way; jitter makes it wander within delay +/- jitter, slowly enough that no frame overtakes another
 *
 * Loss is a function of (seed, how many frames were offered before) and of nothing else: the same frames
 * under the same seed lose the same ones, however fast they come. Jitter is a function of (seed, time).
 */
#ifndef HG_WAN_LINK_H
#define HG_WAN_LINK_H

#include "drivers/platform/platform.h"

#define HG_WAN_LOSS_ALL_PPB       UINT64_C(1000000000)
#define HG_WAN_DELAY_NS_MAX       (60 * HG_NS_PER_S)
#define HG_WAN_RATE_BITS_MAX      UINT64_C(1000000000000)
#define HG_WAN_RATE_BITS_MIN      UINT64_C(1000)
#define HG_WAN_QUEUE_BYTES_MAX    (UINT64_C(1) << 40)
#define HG_WAN_QUEUE_BYTES_NORMAL (UINT64_C(1) << 20) /* when a rate is given without a queue */
#define HG_WAN_BURST_FRAMES_MAX   UINT64_C(100000)

struct hg_wan_impairment {
    uint64_t delay_ns;
    uint64_t jitter_ns;   /* at most delay_ns */
    uint64_t loss_ppb;    /* parts in 10^9 */
    uint64_t burst_count; /* mean run of losses, frames */
    uint64_t rate_bits;   /* per second; 0 = unlimited */
    uint64_t queue_bytes; /* 0 = HG_WAN_QUEUE_BYTES_NORMAL; only with a rate */
};

enum hg_wan_fate { HG_WAN_FATE_ARRIVES, HG_WAN_FATE_LOST, HG_WAN_FATE_QUEUE_FULL, HG_WAN_FATE_CUT };

struct hg_wan_link {
    struct hg_wan_impairment impairment;
    bool cut;
    bool losing;          /* the bad state */
    uint64_t loss_random; /* generator's state */
    uint64_t loss_enter;  /* chance of good -> bad (or of a single loss), of 2^64 */
    uint64_t loss_leave;  /* chance of bad -> good */
    uint64_t wander_seed;
    uint64_t wander_knot_ns;
    uint64_t busy_until_ns; /* the transmitter */
    uint64_t busy_fraction; /* what the nanoseconds above left over, in 1/rate ns */
    uint64_t due_last_ns;
};

/* NULL when the values make sense together, else what is wrong with them: static text. */
const char *hg_wan_impairment_problem(const struct hg_wan_impairment *impairment);

/* A perfect link. `seed` should differ between links. */
void hg_wan_link_init(struct hg_wan_link *link, uint64_t seed);

/* Begins the random sequences anew. What is under way stays as it is. */
void hg_wan_link_seed(struct hg_wan_link *link, uint64_t seed);

/* Replaces all impairments (they must make sense). The loss sequence goes on where it is. */
void hg_wan_link_set(struct hg_wan_link *link, const struct hg_wan_impairment *impairment);

/* Offers a frame of `bytes`. Only for HG_WAN_FATE_ARRIVES *due_ns is set, and never to less than the time
 * before. */
enum hg_wan_fate hg_wan_link_offer(struct hg_wan_link *link, uint64_t now_ns, uint32_t bytes,
                                   uint64_t *due_ns);

#endif
