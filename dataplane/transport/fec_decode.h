/* SPDX-License-Identifier: Apache-2.0
 *
 * The receiving side of FEC: keeps what arrived of the newest groups, and gives what did not as soon as as
 * many symbols are here as the group has sources. Only what came through ESP comes here, yet a peer with
 * valid keys may say anything: what contradicts itself drops its group, memory is a fixed number of symbols,
 * and when it is full the oldest group goes.
 *
 * A recovered packet's number never went through ESP's replay window. It is therefore believed only when it
 * is below a number that did, in the same group, and within HG_FEC_DISTANCE_PACKETS of it; what it may change
 * is the caller's business.
 */
#ifndef HG_TRANSPORT_FEC_DECODE_H
#define HG_TRANSPORT_FEC_DECODE_H

#include "dataplane/transport/fec_code.h"

#define HG_FEC_GROUPS            64u        /* of which symbols are kept; a power of two */
#define HG_FEC_SYMBOLS_MAX       1024u      /* kept in all, */
#define HG_FEC_SYMBOLS_BYTES_MAX (4u << 20) /* or as many as fit here */
#define HG_FEC_DISTANCE_PACKETS  8192u      /* as far as acks reach back */
#define HG_FEC_SYMBOL_NONE       UINT16_MAX

enum hg_fec_decode_result {
    HG_FEC_KEPT,     /* or needed no more */
    HG_FEC_OLD,      /* of a group that newer ones have replaced */
    HG_FEC_MISMATCH, /* contradicts what is known of its group, which is given up */
    HG_FEC_LARGE,    /* no room for a packet as large on this lane */
};

struct hg_fec_decode_group {
    uint64_t number_last; /* the largest of its packets that arrived */
    uint32_t group;
    uint32_t sources;      /* a bit each that is here */
    uint16_t symbol_bytes; /* of a parity; 0: none came */
    uint16_t source_bytes; /* the largest source symbol */
    uint8_t parities;      /* a bit each that is here */
    uint8_t k;             /* 0: no parity came */
    uint8_t m;
    bool used;
    bool over; /* nothing more is kept of it: complete, recovered or given up */
    uint16_t slots[HG_WIRE_FEC_SOURCES_MAX + HG_WIRE_FEC_PARITY_MAX];
    uint16_t bytes[HG_WIRE_FEC_SOURCES_MAX];
};

struct hg_fec_recovered { /* a packet that parity gave */
    uint64_t number;
    const uint8_t *frames; /* good until the next call that adds */
    uint32_t frames_bytes;
};

struct hg_fec_decode {
    const struct hg_fec_code *code;
    uint8_t *symbols; /* slot_count of them, then HG_WIRE_FEC_PARITY_MAX for what is recovered */
    uint16_t *next;   /* of free slots */
    uint32_t room_bytes;
    uint32_t slot_count;
    uint32_t slot_fresh; /* slots from here on were never used */
    uint16_t free_first;
    uint32_t recovered_count; /* by the last add, */
    uint32_t recovered_taken; /* and of them taken */
    struct hg_fec_recovered recovered[HG_WIRE_FEC_PARITY_MAX];
    uint64_t groups_lost;    /* with parity, and yet not enough of it when newer groups came */
    uint64_t groups_crowded; /* given up because memory was full */
    struct hg_fec_decode_group groups[HG_FEC_GROUPS];
};

uint64_t hg_fec_decode_memory_bytes(uint32_t inner_bytes_max);
/* Touches none of the memory, which must be aligned to HG_FEC_ALIGN_BYTES. */
void hg_fec_decode_init(struct hg_fec_decode *decode, void *memory, const struct hg_fec_code *code,
                        uint32_t inner_bytes_max);

/* The fields agree with each other and name a source or a parity. */
bool hg_fec_place_valid(const struct hg_wire_fec *place);
static inline bool hg_fec_place_is_parity(const struct hg_wire_fec *place)
{
    return place->index >= HG_WIRE_FEC_SOURCES_MAX;
}

/* A packet that arrived as `number`, in a group at a valid place: its frames; or its parity symbol. Then
 * hg_fec_decode_next until it is false. */
enum hg_fec_decode_result hg_fec_decode_source(struct hg_fec_decode *decode, const struct hg_wire_fec *place,
                                               uint64_t number, const uint8_t *frames, uint32_t frames_bytes);
enum hg_fec_decode_result hg_fec_decode_parity(struct hg_fec_decode *decode, const struct hg_wire_fec *place,
                                               uint64_t number, const uint8_t *symbol, uint32_t bytes);
bool hg_fec_decode_next(struct hg_fec_decode *decode, struct hg_fec_recovered *recovered);

#endif
