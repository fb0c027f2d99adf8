/* SPDX-License-Identifier: Apache-2.0
 *
 * Round-trip times, loss and probe timeouts: RFC 9002 with a finer clock (granularity 100 us instead of 1 ms)
 * and a packet threshold that rises when the path is seen to reorder and falls again when it no longer is
 * (as RACK's reordering window does, RFC 8985 6.2).
 */
#ifndef HG_TRANSPORT_LOSS_H
#define HG_TRANSPORT_LOSS_H

#include "dataplane/transport/sent.h"

#define HG_LOSS_THRESHOLD_PACKETS     3u
#define HG_LOSS_THRESHOLD_PACKETS_MAX 128u /* time takes over beyond it */
#define HG_LOSS_CALM_ROUNDS           16u  /* without a spurious loss: what is above the least is halved */
#define HG_LOSS_GRANULARITY_NS        (100 * HG_NS_PER_US)
/* RFC 9002 says 333 ms; our paths are known and a lost first packet shouldn't cost a second. */
#define HG_LOSS_RTT_INITIAL_NS (100 * HG_NS_PER_MS)
/* Timeouts in a row before the interval doubles: bursts of losses count packets, and one that took a whole
 * window's acks lasts until so many packets more were sent. */
#define HG_LOSS_PROBES_DOUBLE       2u
#define HG_LOSS_PROBE_DOUBLINGS_MAX 5u
/* Doubling stops here, too: a link that comes back is found within this time. */
#define HG_LOSS_PROBE_INTERVAL_MAX_NS (500 * HG_NS_PER_MS)

struct hg_loss {
    uint64_t rtt_latest_ns; /* 0: no sample yet */
    uint64_t rtt_min_ns;
    uint64_t srtt_ns;
    uint64_t rttvar_ns;
    uint64_t number_acked_largest;
    uint64_t time_ns; /* when the oldest packet in flight counts as lost by time; HG_TIME_NEVER: not set */
    uint64_t probe_from_ns; /* when an ack-eliciting packet was last sent */
    uint32_t probe_count;   /* timeouts in a row */
    uint32_t threshold_packets;
    uint32_t rounds_calm;
    uint64_t round_end; /* the round trip is over when this number is acknowledged */
    /* packets lost with none acknowledged between them */
    uint64_t run_first_ns; /* when the first was sent */
    uint32_t run_ordinal;  /* of the last */
    bool run_told;
};

void hg_loss_init(struct hg_loss *loss);

/* A sample from the largest newly acknowledged packet; `ack_delay_ns` as the peer told it. */
void hg_loss_rtt(struct hg_loss *loss, uint64_t rtt_ns, uint64_t ack_delay_ns);

/* A packet that was declared lost was acknowledged: the path reorders by that much. */
void hg_loss_spurious(struct hg_loss *loss, uint64_t number);

/* After each ack, with the last number sent: counts round trips, and lowers the packet threshold when the
 * path has been in order for so many of them. */
void hg_loss_round(struct hg_loss *loss, uint64_t number_sent_last);

/* The next packet in flight that is lost by now, for the caller to hg_sent_lost; NULL when there is none
 * left, and the loss timer is set. */
struct hg_sent_packet *hg_loss_next(struct hg_loss *loss, struct hg_sent *sent, uint64_t now_ns);

/* After hg_sent_lost, in the order of sending: true once for each stretch of lost packets that is longer than
 * three probe timeouts (RFC 9002 7.6). `ordinal` counts packets that elicit acks. */
bool hg_loss_persistent(struct hg_loss *loss, uint64_t sent_ns, uint32_t ordinal);

/* Probe timeout; what it becomes after `count` of them in a row that nobody answered; and after as many as
 * there were. */
uint64_t hg_loss_pto_ns(const struct hg_loss *loss);
uint64_t hg_loss_backoff_ns(const struct hg_loss *loss, uint32_t count);
uint64_t hg_loss_probe_interval_ns(const struct hg_loss *loss);

/* When the loss timer or the probe timer fires; HG_TIME_NEVER with nothing in flight. */
uint64_t hg_loss_deadline_ns(const struct hg_loss *loss, const struct hg_sent *sent);

#endif
