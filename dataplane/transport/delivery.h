/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery-rate samples: draft-cheng-iccrg-delivery-rate-estimation. Each ack yields at most one sample: how
 * many bytes arrived over what time since the newest packet it acknowledges was sent. The time is the longer
 * one of sending and acknowledging, so neither compressed acks nor bursts make a rate that the path hasn't.
 *
 * What must be known of each packet stands in a ring beside the sent packets (struct hg_sent_sample): two of
 * them share a cache line and they are written and read in order, where a larger sent packet would take a
 * third line of every packet.
 */
#ifndef HG_TRANSPORT_DELIVERY_H
#define HG_TRANSPORT_DELIVERY_H

#include "dataplane/transport/sent.h"

struct hg_delivery {
    uint64_t delivered_bytes; /* acknowledged since the lane began */
    uint64_t delivered_ns;    /* when that last grew */
    uint64_t first_sent_ns;   /* of the newest packet acknowledged, or of the first after idleness */
    uint64_t lost_bytes;      /* declared lost since the lane began */
    uint64_t limited_end;     /* samples of packets sent before so much is delivered: the path wasn't full */
    uint64_t cwnd_end;        /* likewise: the window held packets back */
    uint32_t ordinal;         /* of the last packet that elicits an ack */

    /* the ack that is being taken */
    bool fresh; /* it acknowledged something */
    struct hg_sent_sample newest;
    uint64_t newest_sent_ns;
    uint64_t acked_bytes;
};

struct hg_delivery_sample {
    uint64_t rate_bytes_per_s; /* 0: no sample */
    uint64_t bytes;            /* delivered over the sample */
    uint64_t lost_bytes;       /* declared lost since its packet was sent */
    uint64_t prior_bytes;      /* delivered when its packet was sent */
    uint64_t in_flight_bytes;  /* when its packet was sent, with it */
    bool limited;              /* the sender had less to send than the path would have carried */
};

void hg_delivery_init(struct hg_delivery *delivery, uint64_t now_ns);
/* Before the packet is committed: `in_flight_bytes` without it. */
void hg_delivery_sent(struct hg_delivery *delivery, struct hg_sent_sample *sample, uint32_t bytes,
                      uint64_t in_flight_bytes, uint64_t now_ns);
/* Each packet of an ack frame, then once hg_delivery_sample. */
void hg_delivery_acked(struct hg_delivery *delivery, const struct hg_sent_packet *packet,
                       const struct hg_sent_sample *sample, uint64_t now_ns);
void hg_delivery_lost(struct hg_delivery *delivery, uint32_t bytes);
/* Samples faster than the least round trip are none. */
struct hg_delivery_sample hg_delivery_sample(struct hg_delivery *delivery, uint64_t rtt_min_ns);

/* Window and rate would have let a packet go and there was none: no data, no credit, or data on its way from
 * the disk. */
void hg_delivery_limited(struct hg_delivery *delivery, uint64_t in_flight_bytes);
/* The window held a packet back. */
void hg_delivery_cwnd_limited(struct hg_delivery *delivery, uint64_t in_flight_bytes);

static inline bool hg_delivery_is_limited(const struct hg_delivery *delivery)
{
    return delivery->delivered_bytes < delivery->limited_end;
}

static inline bool hg_delivery_is_cwnd_limited(const struct hg_delivery *delivery)
{
    return delivery->delivered_bytes < delivery->cwnd_end;
}

/* bytes over ns as bytes/s; 0 ns: 0. */
uint64_t hg_delivery_rate(uint64_t bytes, uint64_t ns);
/* bytes at a rate in ns. */
uint64_t hg_delivery_bytes(uint64_t rate_bytes_per_s, uint64_t ns);

#endif
