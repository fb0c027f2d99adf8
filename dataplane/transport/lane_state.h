/* SPDX-License-Identifier: Apache-2.0
 *
 * What a lane is made of; shared by lane.c, lane_send.c and lane_receive.c only.
 */
#ifndef HG_TRANSPORT_LANE_STATE_H
#define HG_TRANSPORT_LANE_STATE_H

#include "dataplane/transport/ack.h"
#include "dataplane/transport/cc.h"
#include "dataplane/transport/control.h"
#include "dataplane/transport/credit.h"
#include "dataplane/transport/fec_decode.h"
#include "dataplane/transport/fec_encode.h"
#include "dataplane/transport/fec_rule.h"
#include "dataplane/transport/lane.h"
#include "dataplane/transport/outbox.h"
#include "dataplane/transport/pacer.h"
#include "dataplane/transport/pmtu.h"
#include "dataplane/transport/reassembly.h"
#include "drivers/platform/address.h"

/* Headers, acks and control frames of one packet. */
#define HG_LANE_ACK_HELD_NS (100 * HG_NS_PER_US) /* for a packet that it can ride on */
#define HG_LANE_SCRATCH_BYTES                                                                                \
    (sizeof(struct hg_wire_header) + 2 * HG_ACK_FRAME_BYTES_MAX +                                            \
     HG_SENT_CONTROLS_MAX * HG_WIRE_CONTROL_BYTES_MAX +                                                      \
     HG_SENT_FRAGMENTS_MAX * sizeof(struct hg_wire_data) + HG_RECOVERED_FRAME_BYTES_MAX + 64)

struct hg_lane {
    const struct hg_lane_ops *ops;
    void *ctx;
    struct hg_lane_config config;
    uint64_t now_ns;          /* the largest that was seen */
    uint64_t heard_ns;        /* last packet received */
    uint32_t inner_bytes_max; /* as the path MTU is now */

    /* sending */
    struct hg_sent sent;
    struct hg_loss loss;
    struct hg_pacer pacer;
    struct hg_delivery delivery;
    uint64_t delivery_rate; /* of the newest sample, bytes/s */
    struct hg_cc cc;
    struct hg_pmtu pmtu;
    struct hg_ecn ecn;
    uint64_t ecn_marked_ns; /* when a mark was last told of; 0: never */
    struct hg_outbox outbox;
    struct hg_control control;
    struct hg_fec_rule fec_rule;
    struct hg_fec_encode fec_encode; /* nothing in it while FEC is off */
    struct hg_fec_plan fec_plan;     /* for the packet that is being put together */
    uint64_t fec_tail_ns;            /* when parity for what is open is due, if the lane is dry then */
    struct hg_lane_batch held;       /* given by batch_next, larger than the credit left */
    bool held_is_set;
    uint64_t credit_bytes;       /* as the newest ack told */
    uint64_t credit_number;      /* of the packet that carried it */
    uint64_t ping_ns;            /* waiting for credit: when to ask again */
    uint32_t credit_asked_count; /* since a batch was admitted */
    uint32_t probes_due;         /* packets to send whatever pacing and windows say */
    bool ping_due;
    bool credit_stalled;
    bool credit_short; /* the owner holds a batch back until there is more of it */
    bool ring_full;    /* the last build found a packet in flight in its place */
    bool paced;        /* the last build was held back by pacing alone */
    bool starved;      /* the last build could have sent more than there was */

    /* receiving */
    struct hg_ack ack;
    struct hg_ecn_seen ecn_seen;
    struct hg_reassembly reassembly;
    struct hg_credit credit;
    uint64_t durable_ns;        /* how long the owner needs, for the credit */
    uint64_t credit_told_bytes; /* in the last ack written */
    struct hg_fec_decode fec_decode;
    struct hg_recovered recovered;
    struct hg_fec_code fec_code; /* of both directions */

    struct hg_lane_stats stats;
    uint8_t scratch[HG_LANE_SCRATCH_BYTES];
};

/* Bytes of the IPv4 packet that an inner packet becomes. */
static inline uint32_t hg_lane_ip_bytes(uint32_t inner_bytes)
{
    return 20 + 8 + HG_WIRE_ESP_BYTES + (uint32_t)hg_align_up(inner_bytes + 2, 4) + 16;
}

/* What IPv6 headers take besides. */
static inline uint32_t hg_lane_ip_more_bytes(const struct hg_lane *lane)
{
    return lane->config.family == HG_FAMILY_IPV6 ? HG_WIRE_IPV6_MORE_BYTES : 0;
}

/* Of the largest inner packet in an IP packet of that size. */
static inline uint32_t hg_lane_inner_bytes(const struct hg_lane *lane, uint32_t mtu_bytes)
{
    return HG_WIRE_INNER_BYTES(mtu_bytes - hg_lane_ip_more_bytes(lane));
}

static inline uint64_t hg_lane_credit_left(const struct hg_lane *lane)
{
    return lane->credit_bytes > lane->outbox.cost_bytes ? lane->credit_bytes - lane->outbox.cost_bytes : 0;
}

/* What the next ack tells: of the memory, what is given and not used by whole batches. */
static inline uint64_t hg_lane_credit_given(const struct hg_lane *lane)
{
    return hg_credit_given(&lane->credit, lane->reassembly.whole_bytes,
                           hg_reassembly_credit_bytes(&lane->reassembly));
}

/* True when nothing more may be admitted before an ack tells of more credit. */
static inline bool hg_lane_credit_blocked(const struct hg_lane *lane)
{
    uint64_t left = hg_lane_credit_left(lane);
    return left == 0 || lane->credit_short ||
           (lane->held_is_set && HG_WIRE_CREDIT_BYTES(lane->held.bytes) > left);
}

/* When an ack goes out. Not alone, at three times its size, if data that waits for nothing but the pacer can
 * take it along at once. */
static inline uint64_t hg_lane_ack_ns(const struct hg_lane *lane)
{
    uint64_t due_ns = lane->ack.deadline_ns;
    if (!lane->paced || due_ns == HG_TIME_NEVER) {
        return due_ns;
    }
    return hg_max_u64(due_ns, hg_min_u64(hg_pacer_ready_ns(&lane->pacer), due_ns + HG_LANE_ACK_HELD_NS));
}

/* lane_send.c: gives a packet in flight up, its contents become due again, congestion control is told.
 * Returns the bytes that it was told of. */
uint32_t hg_lane_packet_lost(struct hg_lane *lane, struct hg_sent_packet *packet);
/* lane.c: receive memory was freed; the sender is told at once when it may be short of it. */
void hg_lane_credit_freed(struct hg_lane *lane);
/* lane_send.c: declares lost what is lost by now. Returns its bytes. */
uint64_t hg_lane_losses(struct hg_lane *lane);
/* lane.c: the pacer follows the controller. */
void hg_lane_congestion_follow(struct hg_lane *lane);

#endif
