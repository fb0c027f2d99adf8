/* SPDX-License-Identifier: Apache-2.0
 *
 * Which packet numbers arrived, and when to tell the other side. A ring of bits, as wide as the replay window
 * of ESP, is all the state; ranges are read off it when an ack is written.
 */
#ifndef HG_TRANSPORT_ACK_H
#define HG_TRANSPORT_ACK_H

#include "dataplane/transport/wire.h"

#define HG_ACK_WINDOW_PACKETS 8192u /* older ones can't be told from duplicates */
#define HG_ACK_EVERY_PACKETS  32u
#define HG_ACK_DELAY_MIN_NS   (100 * HG_NS_PER_US)
#define HG_ACK_DELAY_MAX_NS   HG_NS_PER_MS
/* Nobody acknowledges an ack: when nothing arrives after one that told of something new, it is repeated. A
 * burst of losses counts packets, and a sender whose window is full would sit it out one probe at a time. */
#define HG_ACK_REPEATS 3u
/* An ack says so often, itself included, what arrived: on a lossy path that whose host takes packets in few
 * large turns there are many ranges in each, and what a lost ack alone had told would be taken for lost. */
#define HG_ACK_TELLINGS   4u
#define HG_ACK_RANGES_MIN 32u /* and these many in any case */
static_assert(HG_ACK_RANGES_MIN <= HG_WIRE_ACK_RANGES_MAX, "ranges of an ack");
#define HG_ACK_FRAME_BYTES_MAX                                                                               \
    (sizeof(struct hg_wire_ack) + (HG_WIRE_ACK_RANGES_MAX - 1) * sizeof(struct hg_wire_ack_range))

/* The longest that an ack waits on a path with that round trip; 0 = unknown. */
static inline uint64_t hg_ack_delay_ns(uint64_t rtt_ns)
{
    return hg_min_u64(hg_max_u64(rtt_ns / 8, HG_ACK_DELAY_MIN_NS), HG_ACK_DELAY_MAX_NS);
}

struct hg_ack {
    uint64_t largest;         /* 0: nothing received yet; packet numbers begin at 1 */
    uint64_t largest_time_ns; /* when it arrived */
    uint64_t deadline_ns;     /* an ack is due then; HG_TIME_NEVER: none */
    uint64_t repeat_ns;       /* the last one is repeated then; HG_TIME_NEVER: it isn't */
    uint64_t repeat_gap_ns;   /* between repeats */
    uint32_t repeats_left;
    uint32_t pending_count; /* ack-eliciting packets since the last ack went out */
    uint32_t told_count;
    uint64_t told[HG_ACK_TELLINGS]; /* the largest of the last acks, by count */
    uint64_t bits[HG_ACK_WINDOW_PACKETS / 64];
};

/* Which packets parity gave, to be told to their sender. Each is told a few times, since a packet that tells
 * of it may be lost; when all of those are, or when there are more than fit, its data comes once more. */
#define HG_RECOVERED_TOLD_TIMES 3u
#define HG_RECOVERED_FRAME_BYTES_MAX                                                                         \
    (sizeof(struct hg_wire_recovered) + HG_WIRE_RECOVERED_MAX * sizeof(uint64_t))

struct hg_recovered {
    uint64_t numbers[HG_WIRE_RECOVERED_MAX]; /* falling */
    uint8_t told[HG_WIRE_RECOVERED_MAX];
    uint32_t count;
};

/* The lowest makes room when there are too many. */
void hg_recovered_record(struct hg_recovered *recovered, uint64_t number);
/* Writes the frame; returns its bytes, 0: there is nothing to tell. */
uint32_t hg_recovered_write(struct hg_recovered *recovered, uint8_t frame[HG_RECOVERED_FRAME_BYTES_MAX]);

void hg_ack_init(struct hg_ack *ack);

/* True for a number that was recorded, is too old to tell, or is 0. */
bool hg_ack_seen(const struct hg_ack *ack, uint64_t number);

/* Records a number that was not seen. `rtt_ns` sets how long an ack may wait; 0 = unknown. A new gap, and the
 * very first packet, make an ack due at once. */
void hg_ack_record(struct hg_ack *ack, uint64_t number, bool eliciting, uint64_t rtt_ns, uint64_t now_ns);

/* There is no room for repeats: those of the last ack are not made. */
void hg_ack_repeats_drop(struct hg_ack *ack);

/* Makes an ack due now, if anything was ever received. */
void hg_ack_request(struct hg_ack *ack, uint64_t now_ns);

/* Writes the frame's ranges and delay (the caller fills credit) with at most `ranges_max` ranges. Returns its
 * bytes. Something must have been received. */
uint32_t hg_ack_write(const struct hg_ack *ack, uint32_t ranges_max, uint64_t now_ns,
                      uint8_t frame[HG_ACK_FRAME_BYTES_MAX]);
/* What was written goes out: waiting starts anew. */
void hg_ack_told(struct hg_ack *ack, uint64_t now_ns);

#endif
