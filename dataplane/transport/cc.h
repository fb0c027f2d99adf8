/* SPDX-License-Identifier: Apache-2.0
 *
 * Congestion control: how many bytes may be in flight and how fast they leave. A controller sees every packet
 * that elicits an ack, in IP packet bytes, and no other input.
 */
#ifndef HG_TRANSPORT_CC_H
#define HG_TRANSPORT_CC_H

#include "dataplane/transport/loss.h"

struct hg_cc;

struct hg_cc_ops {
    const char *name;
    void (*on_sent)(struct hg_cc *cc, uint32_t bytes, uint64_t bytes_in_flight, uint64_t now_ns);
    /* Once an ack frame: what it newly acknowledged, after the round trip was sampled. */
    void (*on_acked)(struct hg_cc *cc, uint64_t bytes, const struct hg_loss *loss, uint64_t now_ns);
    void (*on_lost)(struct hg_cc *cc, uint64_t bytes, const struct hg_loss *loss, uint64_t now_ns);
};

struct hg_cc {
    const struct hg_cc_ops *ops;
    uint64_t cwnd_bytes;       /* written by the controller: the limit of bytes in flight */
    uint64_t rate_bytes_per_s; /* written by the controller: for the pacer; 0 = unpaced */
    uint64_t state[16];        /* the controller's own */
};

#define HG_CC_FIXED_CWND_BYTES_MIN (64u << 10)

/* Sends at the configured rate whatever is lost: for leased links. In flight at most
 * max(2 rate (srtt + 4 rttvar), 64 KiB), so that a dead or overfull link isn't flooded. Rate 0: no limit. */
void hg_cc_fixed_init(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss);

#endif
