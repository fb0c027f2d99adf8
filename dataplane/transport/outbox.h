/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches that were admitted for sending and not wholly acknowledged. Two bits a unit of 64 bytes: `acked`,
 * and `due` = to be put into a packet, for the first time or again. Whatever happens to packets (lost, late,
 * probed, cut anew for another MTU) only sets and clears bits, so nothing is counted twice. Batches live in a
 * ring in the order of their admission; the oldest due unit goes first, so repairs go before new data.
 */
#ifndef HG_TRANSPORT_OUTBOX_H
#define HG_TRANSPORT_OUTBOX_H

#include "dataplane/transport/lane.h"

#define HG_OUTBOX_BATCH_UNITS_MAX ((HG_BATCH_BYTES_MAX + HG_WIRE_UNIT_BYTES - 1) / HG_WIRE_UNIT_BYTES)
#define HG_OUTBOX_BATCH_WORDS_MAX ((HG_OUTBOX_BATCH_UNITS_MAX + 63) / 64)
static_assert(HG_OUTBOX_BATCH_UNITS_MAX <= UINT16_MAX, "fragments name units with 16 bits");

struct hg_outbox_batch {
    struct hg_lane_batch batch;
    uint64_t word_first; /* of its bits: absolute; place = modulo the ring of words */
    uint32_t word_count;
    uint32_t unit_count;
    uint32_t units_acked;
    uint32_t units_due;
    uint32_t unit_due_first; /* no due unit below it */
    uint32_t unit_sent_end;  /* units below it were sent at least once */
    bool open;
    bool reading; /* its bytes were not there when asked for */
};

struct hg_outbox {
    struct hg_outbox_batch *batches;
    uint64_t *due_batches; /* a bit a place: has due units */
    uint64_t *acked;
    uint64_t *due;
    uint32_t count; /* of places, a power of two */
    uint32_t word_count;
    uint64_t word_tail;
    uint64_t word_head;
    uint32_t tail; /* ordinals; they wrap, and only their differences mean anything */
    uint32_t head;
    uint32_t due_first;  /* no batch before it has due units */
    uint64_t cost_bytes; /* of the open batches, as HG_WIRE_CREDIT_BYTES counts them */
};

uint64_t hg_outbox_memory_bytes(uint32_t count);
/* count: a power of two, >= 64. */
void hg_outbox_init(struct hg_outbox *outbox, void *memory, uint32_t count);

/* True when any batch can be added. */
bool hg_outbox_has_room(const struct hg_outbox *outbox);
/* Admits a batch, all of it due. Returns its ordinal. */
uint32_t hg_outbox_add(struct hg_outbox *outbox, const struct hg_lane_batch *batch);
/* NULL once it is closed. */
struct hg_outbox_batch *hg_outbox_find(struct hg_outbox *outbox, uint32_t ordinal);

/* Finds the first batch at or after *ordinal that has due units; false: none. */
bool hg_outbox_due(struct hg_outbox *outbox, uint32_t *ordinal);
/* The first run of due units of a batch that has some; returns its length, at most units_max. */
uint32_t hg_outbox_run(struct hg_outbox *outbox, struct hg_outbox_batch *batch, uint32_t units_max,
                       uint32_t *unit_first);
/* The run was put into a packet. Returns how many of its units were never sent before. */
uint32_t hg_outbox_sent(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first, uint32_t unit_count);
/* A packet with these units is given up: those not acknowledged become due. Ignored for a closed batch. */
void hg_outbox_lost(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first, uint32_t unit_count);
/* A packet with these units was acknowledged. Returns the batch when that was the last of it: the caller then
 * closes it. */
struct hg_outbox_batch *hg_outbox_acked(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first,
                                        uint32_t unit_count);
void hg_outbox_close(struct hg_outbox *outbox, uint32_t ordinal);

#endif
