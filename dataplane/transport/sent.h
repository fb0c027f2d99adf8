/* SPDX-License-Identifier: Apache-2.0
 *
 * What was in every packet that may still be acknowledged: a ring indexed by packet number. All packets it
 * tracks have numbers in (number_last - count, number_last], so a packet's place is its number modulo the
 * ring's size.
 *
 * Protocol of sending packet n:
 *   1. while ((p = hg_sent_in_way(s, n))) give up p: hand its contents back, hg_sent_lost(s, p)
 *   2. p = hg_sent_draft(s, n); fill fragments and controls
 *   3. hg_sent_commit(s, p, ...) when it elicits an ack, else hg_sent_skip(s, n)
 * A packet that was lost stays remembered until its place is needed, so that a late ack of it is understood.
 */
#ifndef HG_TRANSPORT_SENT_H
#define HG_TRANSPORT_SENT_H

#include "drivers/platform/platform.h"

#define HG_SENT_FRAGMENTS_MAX 10
#define HG_SENT_CONTROLS_MAX  6

enum hg_sent_state { HG_SENT_FREE = 0, HG_SENT_IN_FLIGHT = 1, HG_SENT_LOST = 2 };

struct hg_sent_fragment { /* units of a batch in the outbox */
    uint32_t ordinal;
    uint16_t unit_first;
    uint16_t unit_count;
};

struct hg_sent_control { /* a frame in the control table */
    uint16_t index;
    uint16_t version;
};

struct hg_sent_packet {
    uint64_t number;
    uint64_t sent_ns;
    uint32_t bytes; /* of the IP packet */
    uint8_t state;  /* enum hg_sent_state */
    uint8_t fragment_count;
    uint8_t control_count;
    bool marked; /* ECT(0) in its outer header */
    struct hg_sent_fragment fragments[HG_SENT_FRAGMENTS_MAX];
    struct hg_sent_control controls[HG_SENT_CONTROLS_MAX];
};
static_assert(sizeof(struct hg_sent_packet) == 2 * HG_CACHE_LINE_BYTES, "sent packet");

/* What the path had done when a packet was sent: dataplane/transport/delivery.h. Counts that are narrower
 * than their source are taken modulo their width: no flight is that large. */
#define HG_SENT_IN_FLIGHT_BYTES_MAX ((1u << 31) - 1)
struct hg_sent_sample {
    uint64_t delivered_bytes;
    uint64_t delivered_ns;
    uint32_t send_elapsed_ns; /* since the packet that began the sample was sent; saturates */
    uint32_t lost_bytes;
    uint32_t in_flight_bytes : 31; /* with it */
    uint32_t limited : 1;
    uint32_t ordinal; /* counts the packets that elicit acks: their numbers have gaps */
};
static_assert(sizeof(struct hg_sent_sample) == HG_CACHE_LINE_BYTES / 2, "sent sample");

struct hg_sent {
    struct hg_sent_packet *packets;
    struct hg_sent_sample *samples; /* of the packets at the same places */
    uint64_t *tracked;              /* a bit a place: in flight, or lost and remembered */
    uint64_t count;                 /* of places; a power of two */
    uint64_t number_last;
    uint64_t number_cleared; /* places of numbers up to it hold nothing from one round ago */
    uint64_t number_oldest;  /* nothing below it is in flight */
    uint64_t bytes_in_flight;
    uint32_t packets_in_flight;
};

uint64_t hg_sent_memory_bytes(uint32_t count);
void hg_sent_init(struct hg_sent *sent, void *memory, uint32_t count);

/* False when a packet still in flight would have to be given up to send `number`. */
/* Whether a packet in flight is in the place that a later number will need: the ring is nearly full. */
bool hg_sent_is_taken(const struct hg_sent *sent, uint64_t number);
bool hg_sent_has_room(const struct hg_sent *sent, uint64_t number);
struct hg_sent_packet *hg_sent_in_way(struct hg_sent *sent, uint64_t number);
struct hg_sent_packet *hg_sent_draft(struct hg_sent *sent, uint64_t number);
void hg_sent_commit(struct hg_sent *sent, struct hg_sent_packet *packet, uint32_t bytes, uint64_t now_ns);
void hg_sent_skip(struct hg_sent *sent, uint64_t number);

/* Where the sample of a packet of the ring is kept. */
static inline struct hg_sent_sample *hg_sent_sample(const struct hg_sent *sent,
                                                    const struct hg_sent_packet *packet)
{
    return &sent->samples[packet - sent->packets];
}

/* In flight -> lost. */
void hg_sent_lost(struct hg_sent *sent, struct hg_sent_packet *packet);
/* In flight or lost -> forgotten. The packet's contents stay readable until its place is used again. */
void hg_sent_acked(struct hg_sent *sent, struct hg_sent_packet *packet);

/* The tracked packet with the lowest number in [first, last], or NULL. */
struct hg_sent_packet *hg_sent_tracked(struct hg_sent *sent, uint64_t first, uint64_t last);
/* The packet in flight with the lowest number above `after` and at most `last`, or NULL. */
struct hg_sent_packet *hg_sent_in_flight(struct hg_sent *sent, uint64_t after, uint64_t last);

#endif
