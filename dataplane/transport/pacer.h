/* SPDX-License-Identifier: Apache-2.0
 *
 * A token bucket on the caller's clock. Tokens are billionths of a byte, so that a rate in bytes a second
 * times nanoseconds needs no division. A packet may be sent while there is any token and may leave a debt.
 *
 * A worker that compresses, writes and sends in turns comes back late, and a kernel may take its core away
 * for some milliseconds: what the rate would have let go since it was held back is then let go at once, for
 * up to HG_PACER_LATE_NS_MAX, and the rest, for up to HG_PACER_BEHIND_NS_MAX, at one and a half times the
 * rate. Nobody who wasn't held back gets more than a bucket.
 */
#ifndef HG_TRANSPORT_PACER_H
#define HG_TRANSPORT_PACER_H

#include "drivers/platform/platform.h"

#define HG_PACER_QUANTUM_NS          (100 * HG_NS_PER_US)
#define HG_PACER_QUANTUM_PACKETS_MIN 2u
#define HG_PACER_QUANTUM_PACKETS_MAX 32u
#define HG_PACER_QUANTUM_BYTES_MAX   (64u << 10)
#define HG_PACER_LATE_NS_MAX         HG_NS_PER_MS
#define HG_PACER_BEHIND_NS_MAX       (10 * HG_NS_PER_MS)
#define HG_PACER_CATCH_UP_DIVISOR    2u /* of the time that goes by: so much more is made up for */
#define HG_PACER_RATE_MAX            UINT64_C(100000000000) /* bytes/s; more is taken as this */

struct hg_pacer {
    uint64_t rate_bytes_per_s; /* 0: unpaced */
    uint64_t quantum_bytes;    /* the bucket's size: the largest burst */
    int64_t tokens;            /* in billionths of a byte */
    int64_t tokens_unasked;    /* of them, what packets that nobody asked for may take */
    uint64_t filled_ns;        /* when they were counted */
    uint32_t packet_bytes;     /* the largest */
    bool held_back;            /* nothing might be sent when last asked ... */
    uint64_t held_back_ns;     /* ... nor since */
    uint64_t behind_ns;        /* of the rate that is to be made up for */
};

void hg_pacer_init(struct hg_pacer *pacer, uint64_t rate_bytes_per_s, uint32_t packet_bytes, uint64_t now_ns);
void hg_pacer_rate_set(struct hg_pacer *pacer, uint64_t rate_bytes_per_s, uint64_t now_ns);
/* True when a packet may be sent now. */
bool hg_pacer_ready(struct hg_pacer *pacer, uint64_t now_ns);
/* A packet of so many bytes went out that hg_pacer_ready let go. */
void hg_pacer_sent(struct hg_pacer *pacer, uint32_t bytes, uint64_t now_ns);
/* One went out that pacing doesn't hold back: an ack, a control frame, a ping. All of these together cost a
 * bucket and half of the rate at most: more of them than the rate allows must not stop those that ask. */
void hg_pacer_sent_unasked(struct hg_pacer *pacer, uint32_t bytes, uint64_t now_ns);
/* When hg_pacer_ready becomes true; not before the time of the last call. */
uint64_t hg_pacer_ready_ns(const struct hg_pacer *pacer);

#endif
