/* SPDX-License-Identifier: Apache-2.0
 *
 * How much receive memory a lane gives its sender: rate x (6 round trips + twice the time that the log needs
 * to make things durable), between a least and a most. The rate is what is taken. A batch has its credit from
 * its first packet until the last one's ack: two round trips where nothing is lost, and one more for each
 * repair of a repair. At 5 % a 64 KiB batch needs three, and all behind it wait; 3 products of rate and round
 * trip carried 0.80 of a line, 4 0.91, 6 0.944, more no more. It grows while the sender uses all of it and
 * falls when it is not used. A log that takes nothing makes it no larger, however much the sender would like
 * to send.
 */
#ifndef HG_TRANSPORT_CREDIT_H
#define HG_TRANSPORT_CREDIT_H

#include "dataplane/transport/wire.h"

#define HG_CREDIT_ROUND_NS_MIN (10 * HG_NS_PER_MS)
#define HG_CREDIT_ROUND_NS_MAX                                                                               \
    (500 * HG_NS_PER_MS)         /* or the round trip: a slow disk must not make it slow                     \
                                  */
#define HG_CREDIT_FLIGHTS     6u /* round trips that a batch may take until all of it is acknowledged */
#define HG_CREDIT_HELD_NS_MAX (3600 * HG_NS_PER_S)
#define HG_CREDIT_FALL_NS     HG_NS_PER_S /* between two steps down, each of an eighth */
#define HG_CREDIT_KEPT_BYTES  HG_WIRE_CREDIT_BYTES(HG_BATCH_BYTES_MAX)

struct hg_credit {
    uint64_t bytes_min;
    uint64_t bytes_max;
    uint64_t bytes; /* given now */
    uint64_t taken_bytes;
    uint64_t round_ns; /* when it began */
    uint64_t fall_ns;  /* the next step down at the earliest */
};

void hg_credit_init(struct hg_credit *credit, uint64_t bytes_min, uint64_t bytes_max, uint64_t now_ns);
/* What to tell the sender while whole batches use `whole_bytes` and `free_bytes` of the memory are free:
 * never less than the largest batch where there is room for it. Credit that fell while batches wait for what
 * is still to come would else leave no room for just that. */
uint64_t hg_credit_given(const struct hg_credit *credit, uint64_t whole_bytes, uint64_t free_bytes);
/* For a sender whose bytes are taken at this rate, `bytes` in `span_ns` (not 0). */
uint64_t hg_credit_wanted(uint64_t bytes, uint64_t span_ns, uint64_t rtt_ns, uint64_t durable_ns);
/* The owner took so many bytes. durable_ns: how long nearly all that it takes needs of late until it is
 * durable. */
void hg_credit_taken(struct hg_credit *credit, uint64_t bytes, uint64_t rtt_ns, uint64_t durable_ns,
                     uint64_t now_ns);

#endif
