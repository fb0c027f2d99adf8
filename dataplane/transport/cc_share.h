/* SPDX-License-Identifier: Apache-2.0
 *
 * Several lanes to one peer are one flow to the network, not several: their controllers share what one would
 * have, as flows of RFC 8699 (coupled congestion control) do. Each lane has a weight, and those of the lanes
 * that send add up to HG_CC_SHARE_WHOLE: one that lacks data has what it uses, the others share the rest
 * equally (max-min fair). What a controller makes of its weight, and of what the others saw, is its own
 * (hg_cc_ops.on_told).
 *
 * Nothing is shared packet by packet. Every few milliseconds who owns lanes looks at each (hg_cc_share_look),
 * publishes the sum of their parts, reads the sums of others and tells each lane what follows
 * (hg_cc_share_tell). A lane that sends alone has the whole, and does what it would do without any of this.
 * The lanes to a peer are taken to share their path: they have one pair of addresses. Pure: no clock, no
 * thread; whoever calls it carries three words between threads.
 */
#ifndef HG_TRANSPORT_CC_SHARE_H
#define HG_TRANSPORT_CC_SHARE_H

#include "dataplane/transport/cc.h"

#define HG_CC_SHARE_USE_NS     (100 * HG_NS_PER_MS) /* what a lane delivers is counted over so long */
#define HG_CC_SHARE_RISE_NS    HG_NS_PER_S /* to find what a larger weight brings: so long at least ... */
#define HG_CC_SHARE_RISE_RTTS  16u         /* ... and so many round trips */
#define HG_CC_SHARE_STEP       16u   /* a weight that changes by less than this share of it has not changed */
#define HG_CC_SHARE_WANTED     1250u /* per mille of what a lane without more data uses: it may grow */
#define HG_CC_SHARE_WEIGHT_MIN (HG_CC_SHARE_WHOLE / 64)
#define HG_CC_SHARE_WORDS      3u

/* What one lane, or several together, are to the others. */
struct hg_cc_share_part {
    uint64_t estimate;           /* of busy lanes: hg_cc_ops.estimate */
    uint64_t weight;             /* that it was found with */
    uint64_t wanted_bytes_per_s; /* by lanes that lack data */
    uint64_t congestion;         /* the newest of struct hg_cc's */
    uint32_t busy_count;         /* lanes that would send more */
    uint32_t limited_count;      /* lanes that send, and lack data */
    uint8_t kind;                /* enum hg_cc_kind of all */
};

/* A lane over time; zero at first. */
struct hg_cc_share_lane {
    struct hg_cc_share_part part; /* as last looked at */
    uint64_t weight;              /* that its estimate is for; 0: it has none */
    uint64_t whole;               /* the estimate of all lanes that it rises to its part of; 0: it doesn't */
    uint64_t rise_end_ns;
    uint64_t delivered_bytes, delivered_ns; /* when that was last counted */
    uint64_t delivered_bytes_per_s;
    uint64_t congestion; /* the newest of the others that it was told of */
};

/* What a lane looks like now. */
struct hg_cc_share_view {
    uint64_t now_ns;
    uint64_t estimate;             /* hg_cc_ops.estimate */
    uint64_t estimate_bytes_per_s; /* the same as a rate */
    uint64_t delivered_bytes;      /* since the lane began */
    uint64_t srtt_ns;
    uint64_t congestion; /* struct hg_cc's */
    bool active;         /* it sent data of late */
    bool limited;        /* and had no more */
    uint8_t kind;        /* enum hg_cc_kind */
};

/* Looks at a lane, whose part is in lane->part then. */
void hg_cc_share_look(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view);
/* Adds a part to a sum that has the same kind; a part of another one is not looked at. */
void hg_cc_share_add(struct hg_cc_share_part *sum, const struct hg_cc_share_part *part);
/* The view's lane was looked at; `others` is the sum of all other lanes to its peer. Returns what its
 * controller is to be told: the pointers in it are the caller's to fill in. */
struct hg_cc_told hg_cc_share_tell(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view,
                                   const struct hg_cc_share_part *others);
/* To and from words that another thread reads. Each may be older than the next without harm. */
void hg_cc_share_pack(const struct hg_cc_share_part *part, uint64_t words[HG_CC_SHARE_WORDS]);
struct hg_cc_share_part hg_cc_share_unpack(const uint64_t words[HG_CC_SHARE_WORDS]);

#endif
