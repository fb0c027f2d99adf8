/* SPDX-License-Identifier: Apache-2.0
 *
 * How much parity a lane sends, from what happened to its packets in about the last second. Parity costs
 * bandwidth always and saves a round trip sometimes, so it is for latency only:
 *
 *   - none where a repair is as fast: a round trip below HG_FEC_RTT_NS_MIN
 *   - none where nothing is lost: below HG_FEC_LOSS_PPB_MIN, which takes a million packets to believe
 *   - none where losses come with a queue: half of them while round trips are longer than the path's
 *   - none while data waits for the window: a backlog has no latency to save
 *   - else the least m whose groups fail less often than HG_FEC_RESIDUAL_PPM, at most an eighth of the
 * sources, and bursts are spread over several groups
 *   - when the lane runs dry, 1 or 2 parities for what is open, whatever its size: the link is idle then
 *
 * A number of parities that is configured is used always; only the eighth holds while there is a backlog.
 */
#ifndef HG_TRANSPORT_FEC_RULE_H
#define HG_TRANSPORT_FEC_RULE_H

#include "dataplane/transport/wire.h"

#define HG_FEC_RTT_NS_MIN         (10 * HG_NS_PER_MS)
#define HG_FEC_LOSS_PPB_MIN       UINT64_C(1000) /* 1e-6 */
#define HG_FEC_RESIDUAL_PPM       UINT64_C(100)  /* groups that may fail */
#define HG_FEC_SHARE_MAX          8u             /* one parity for as many sources */
#define HG_FEC_TAIL_MAX           2u
#define HG_FEC_WINDOW_NS          HG_NS_PER_S
#define HG_FEC_WINDOW_PACKETS_MIN 256u /* less tell nothing of the last second */
#define HG_FEC_MEMORY_PACKETS     (UINT64_C(1) << 22)
#define HG_FEC_QUEUE_RTT_SHIFT    3u           /* a round trip longer by an eighth ... */
#define HG_FEC_QUEUE_NS_MIN       HG_NS_PER_MS /* ... and by this is a queue */
/* What is open when the lane runs dry waits this long for company: a lane of small commits sends not more
 * than HG_FEC_TAIL_MAX parities in this time. */
#define HG_FEC_TAIL_WAIT_NS (500 * HG_NS_PER_US)

enum hg_fec_mode { HG_FEC_OFF = 0, /* 1 to HG_WIRE_FEC_PARITY_MAX: so many */ HG_FEC_AUTO = 255 };

enum hg_fec_reason { /* why there is no parity, or that there is */
                     HG_FEC_OFF_MODE,
                     HG_FEC_ON,
                     HG_FEC_OFF_RTT,
                     HG_FEC_OFF_CLEAN,
                     HG_FEC_OFF_QUEUE,
                     HG_FEC_OFF_BACKLOG,
                     HG_FEC_REASON_COUNT
};

/* A word for it; static. */
const char *hg_fec_reason_text(enum hg_fec_reason reason);

struct hg_fec_window {
    uint64_t packets; /* whose fate is known */
    uint64_t lost;
    uint64_t bursts; /* of losses in a row */
    uint64_t queued; /* losses while round trips were long */
};

struct hg_fec_rule {
    uint8_t mode; /* enum hg_fec_mode */
    struct hg_fec_window now;
    struct hg_fec_window before;
    struct hg_fec_window memory; /* halved from time to time */
    uint64_t window_ns;          /* when `now` began */
    uint32_t lost_ordinal;       /* of the last loss */
    /* as of the last look */
    uint64_t loss_ppb;
    uint64_t tail_ppb;
    uint32_t burst_packets; /* to be survived */
    uint32_t parities_full; /* for a full group */
    uint32_t depth_dense;   /* while groups become full */
    uint64_t looked_ns;
};

struct hg_fec_plan {
    enum hg_fec_reason reason;
    uint32_t rows;          /* parities to make; 0: no groups */
    uint32_t parities_full; /* of them, to send for a full group */
    uint32_t depth;
};

void hg_fec_rule_init(struct hg_fec_rule *rule, uint8_t mode, uint64_t now_ns);

/* Packets that elicit acks arrived; or one was lost: `ordinal` counts them in the order of sending. `queued`:
 * hg_fec_rule_queued at that time. */
void hg_fec_rule_arrived(struct hg_fec_rule *rule, uint64_t packets);
void hg_fec_rule_lost(struct hg_fec_rule *rule, uint32_t ordinal, bool queued);
/* A packet that was declared lost arrived after all. */
void hg_fec_rule_spurious(struct hg_fec_rule *rule);
static inline bool hg_fec_rule_queued(uint64_t rtt_latest_ns, uint64_t rtt_min_ns)
{
    return rtt_latest_ns > rtt_min_ns + hg_max_u64(rtt_min_ns >> HG_FEC_QUEUE_RTT_SHIFT, HG_FEC_QUEUE_NS_MIN);
}

/* For the next packet: `rtt_ns` smoothed, 0: unknown. `backlog`: data waits for the window; `dense`: groups
 * become full. */
struct hg_fec_plan hg_fec_rule_plan(struct hg_fec_rule *rule, uint64_t rtt_ns, bool backlog, bool dense,
                                    uint64_t now_ns);
/* Parities for a group of `sources` that closes because the lane ran dry. */
uint32_t hg_fec_rule_tail(const struct hg_fec_rule *rule, uint32_t sources);

/* Parts per million of groups of k + m symbols that lose more than m, where a symbol is lost with loss_ppb in
 * bursts of `burst` packets, dealt to `depth` groups. */
uint64_t hg_fec_residual_ppm(uint32_t k, uint32_t m, uint64_t loss_ppb, uint32_t burst, uint32_t depth);

#endif
