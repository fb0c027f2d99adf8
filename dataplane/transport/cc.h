/* SPDX-License-Identifier: Apache-2.0
 *
 * Congestion control: how many bytes may be in flight and how fast they leave. A controller sees every packet
 * that elicits an ack, in IP packet bytes, and no other input. Probes of the path MTU that are lost are kept
 * from it. Integers only, no clock: a run repeats exactly.
 */
#ifndef HG_TRANSPORT_CC_H
#define HG_TRANSPORT_CC_H

#include "dataplane/transport/delivery.h"
#include "dataplane/transport/loss.h"

enum hg_cc_kind { HG_CC_FIXED = 0, HG_CC_CUBIC = 1, HG_CC_BBR = 2, HG_CC_KIND_COUNT };

struct hg_cc;

struct hg_cc_sent {
    uint64_t now_ns;
    uint32_t bytes;
    uint64_t in_flight_bytes; /* before it */
    const struct hg_delivery *delivery;
};

/* An ack frame that acknowledged something. Losses that it reveals were told before. */
struct hg_cc_ack {
    uint64_t now_ns;
    uint64_t acked_bytes;
    uint64_t lost_bytes;
    uint64_t in_flight_bytes; /* after it */
    uint64_t rtt_ns;          /* 0: no sample */
    uint64_t marked_count;    /* packets newly told to have arrived marked CE: a queue is filling */
    uint64_t newest_sent_ns;  /* when the newest packet it acknowledged was sent */
    struct hg_delivery_sample sample;
    const struct hg_delivery *delivery;
    const struct hg_loss *loss;
};

/* One packet declared lost. */
struct hg_cc_loss {
    uint64_t now_ns;
    uint64_t sent_ns;
    uint32_t bytes;
    const struct hg_sent_sample *sample;
    const struct hg_delivery *delivery; /* it is counted there */
    const struct hg_loss *loss;
};

/* The weights of all lanes to a peer that send (dataplane/transport/cc_share.h). */
#define HG_CC_SHARE_WHOLE 4096u

/* What the other lanes to its peer mean for a lane. */
struct hg_cc_told {
    uint64_t now_ns;
    uint64_t in_flight_bytes;
    const struct hg_delivery *delivery;
    const struct hg_loss *loss;
    uint64_t weight;     /* the lane's */
    uint64_t scale;      /* so much / HG_CC_SHARE_WHOLE of what it found is left to it; never more than all */
    uint64_t target;     /* an estimate that the others leave it to look for; 0: none */
    uint64_t whole;      /* the estimate of all lanes; 0: not known, or this lane lacks data */
    uint64_t congestion; /* the last of the others, as struct hg_cc's; 0: none since the last time */
    uint32_t others_count; /* that send */
    bool rises;            /* the target is a new one */
};

struct hg_cc_ops {
    const char *name;
    void (*on_sent)(struct hg_cc *cc, const struct hg_cc_sent *sent);
    void (*on_acked)(struct hg_cc *cc, const struct hg_cc_ack *ack);
    void (*on_lost)(struct hg_cc *cc, const struct hg_cc_loss *loss);
    /* Persistent congestion (RFC 9002 7.6): all packets of a long time are lost. */
    void (*on_persistent)(struct hg_cc *cc, uint64_t now_ns);
    /* Every few milliseconds while other lanes to the peer send. NULL: lanes don't heed each other. */
    void (*on_told)(struct hg_cc *cc, const struct hg_cc_told *told);
    /* What it found of the path; 0: nothing yet. The lanes to a peer add theirs up. NULL with on_told. */
    uint64_t (*estimate)(const struct hg_cc *cc);
    const char *(*state)(const struct hg_cc *cc); /* its name; static */
};

struct hg_cc {
    const struct hg_cc_ops *ops;
    uint64_t cwnd_bytes;       /* written by the controller: the limit of bytes in flight */
    uint64_t rate_bytes_per_s; /* written by the controller: for the pacer; 0 = unpaced */
    uint64_t alarms;           /* times that the circuit breaker opened */
    bool reduced;              /* it is open */
    uint32_t packet_bytes;     /* the largest */
    uint32_t weight;           /* as told; HG_CC_SHARE_WHOLE: alone */
    uint32_t others_count;     /* likewise */
    uint64_t congestion;       /* for other lanes, when the path was last full: cubic, by a congestion event
                                  (HG_CC_CONGESTION_MASK); bbr, when it stopped pushing for more */
    uint64_t state[48];        /* the controller's own */
};

/* In place of the lowest bits of ns: what windows were multiplied by, per mille. */
#define HG_CC_CONGESTION_MASK UINT64_C(1023)

/* The lane's part of what all lanes to its peer have. */
static inline uint64_t hg_cc_part(const struct hg_cc *cc, uint64_t whole)
{
    __extension__ typedef unsigned __int128 wide;
    return (uint64_t)((wide)whole * cc->weight / HG_CC_SHARE_WHOLE);
}

/* `rate_bytes_per_s`: fixed sends at it, the others stay below it; 0: no limit. */
void hg_cc_init(struct hg_cc *cc, enum hg_cc_kind kind, uint64_t rate_bytes_per_s, uint32_t packet_bytes,
                const struct hg_loss *loss, uint64_t now_ns);
/* Sends at the configured rate: for leased links. In flight at most max(2 rate (srtt + 4 rttvar), 64 KiB), so
 * that a dead or overfull link isn't flooded, and a circuit breaker (RFC 8084) halves the rate when for three
 * round trips in a row more than 10 % is lost or the least round trip is above twice the path's; it closes
 * again in steps. Rate 0: no limit and no breaker. */
void hg_cc_fixed_init(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss);
/* Another rate for `fixed`, in the middle of it: what the breaker has made of the one before, it makes of
 * this. */
void hg_cc_fixed_rate_set(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss);
/* RFC 9438 with HyStart++ (RFC 9406), paced. */
void hg_cc_cubic_init(struct hg_cc *cc, uint64_t rate_max_bytes_per_s, const struct hg_loss *loss);
/* draft-ietf-ccwg-bbr (BBRv3), with losses judged against what the path loses when it isn't full:
 * docs/wire-format.md. */
void hg_cc_bbr_init(struct hg_cc *cc, uint64_t rate_max_bytes_per_s, const struct hg_loss *loss,
                    uint64_t now_ns);

#endif
