/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiving side's memory: fragments become batches, and batches are offered in LSN order for each alias.
 *
 * Memory is blocks of 1 KiB, each with a bit for each of its 16 units. A batch reserves all its blocks with
 * its first fragment, so what was begun can always be finished; the credit given counts the same blocks, so
 * there is always room for what may be sent. Blocks of a batch are contiguous when there is a run (the rule);
 * else they're chained and the batch is gathered once for its offer: fragmentation costs a copy, never room.
 */
#ifndef HG_TRANSPORT_REASSEMBLY_H
#define HG_TRANSPORT_REASSEMBLY_H

#include "dataplane/transport/wire.h"

#define HG_REASSEMBLY_NONE UINT32_MAX

enum hg_reassembly_result {
    HG_REASSEMBLY_TAKEN,     /* or known already: *bytes_new tells how much was new */
    HG_REASSEMBLY_COMPLETED, /* the batch is whole now */
    HG_REASSEMBLY_ALIAS,     /* not open */
    HG_REASSEMBLY_MISMATCH,  /* contradicts what is known of its batch */
    HG_REASSEMBLY_FULL,      /* beyond the credit: nothing was kept */
};

struct hg_reassembly_batch { /* lives at the index of its first block */
    uint64_t lsn_first;
    uint32_t bytes;
    uint32_t units_missing; /* 0: whole */
    uint32_t block_count;
    uint32_t alias_index;
    uint32_t hash_next;
    uint32_t alias_next;
    uint32_t alias_previous;
    uint32_t walk_index; /* of a chain: the walk_index'th block is walk_block */
    uint32_t walk_block;
    bool contiguous;
};

struct hg_reassembly_alias {
    uint64_t lsn_next;
    uint32_t alias;
    uint32_t batch_first; /* of its batches here, newest first */
    uint16_t hash_next;
    bool open;
};

struct hg_reassembly {
    uint8_t *arena;
    struct hg_reassembly_batch *batches;
    uint32_t *block_next;
    uint32_t *buckets;
    uint16_t *block_units;
    uint64_t *blocks_free; /* a bit a block */
    uint8_t *gather;       /* a chained batch, for its offer */
    struct hg_reassembly_alias aliases[HG_WIRE_ALIASES_MAX];
    uint16_t alias_buckets[HG_WIRE_ALIASES_MAX];
    uint64_t waiting[HG_WIRE_ALIASES_MAX / 64]; /* aliases whose next batch was offered and not taken */
    uint32_t block_count;
    uint32_t block_free_count;
    uint32_t block_free_first; /* none is free below it */
    uint32_t bucket_mask;
    uint64_t whole_bytes; /* blocks of batches that are whole and not yet taken */
    bool stale;           /* since the last sweep an alias moved on, maybe past batches that are here */
};

struct hg_reassembly_offer {
    uint32_t alias;
    uint32_t bytes;
    uint64_t lsn_first;
    uint64_t lsn_end;
    const uint8_t *data;
};

/* receive_bytes: a multiple of HG_WIRE_BLOCK_BYTES, and at least HG_BATCH_BYTES_MAX. */
uint64_t hg_reassembly_memory_bytes(uint64_t receive_bytes);
void hg_reassembly_init(struct hg_reassembly *reassembly, void *memory, uint64_t receive_bytes);
/* Credit to be told to the sender. */
uint64_t hg_reassembly_credit_bytes(const struct hg_reassembly *reassembly);

int hg_reassembly_open(struct hg_reassembly *reassembly, uint32_t alias, uint64_t lsn_next);
void hg_reassembly_close(struct hg_reassembly *reassembly, uint32_t alias);

/* A fragment whose frame is hg_reassembly_valid; its LSN is the one nearest to where its alias stands.
 * *bytes_new: of it, that weren't known. Known bytes that differ from what came before are a MISMATCH; the
 * first ones stay. */
bool hg_reassembly_valid(const struct hg_wire_data *frame);
enum hg_reassembly_result hg_reassembly_add(struct hg_reassembly *reassembly,
                                            const struct hg_wire_data *frame, const uint8_t *data,
                                            uint32_t *bytes_new);

/* The batch that alias waits for, when it's whole: 0; -EAGAIN: not yet; -EBADMSG: its header isn't one of
 * this batch. data is good until the next call with a non-const reassembly. */
int hg_reassembly_offer(struct hg_reassembly *reassembly, uint32_t alias, struct hg_reassembly_offer *offer);
/* The offer was taken: frees it and waits for lsn_end. Ignored when the alias was closed meanwhile. */
void hg_reassembly_taken(struct hg_reassembly *reassembly, const struct hg_reassembly_offer *offer);
/* The offer was not taken: the alias is among the waiting ones from now on, until something is taken or it
 * closes. */
void hg_reassembly_wait(struct hg_reassembly *reassembly, uint32_t alias);
bool hg_reassembly_waits(const struct hg_reassembly *reassembly, uint32_t alias);
/* Steps over the waiting aliases: *index from 0; false when there is none left. */
bool hg_reassembly_waiting(const struct hg_reassembly *reassembly, uint32_t *index, uint32_t *alias);

#endif
