/* SPDX-License-Identifier: Apache-2.0
 *
 * The sending side of FEC: groups of packets and their parity, made while packets are made. Each packet of a
 * group is added to the group's parities at once, when its bytes are in the cache anyway, so nothing waits
 * and no source is kept. Packets are dealt to `depth` groups in turn.
 *
 * A group: the first packet opens it; it closes when it is full or when the caller says that nothing more
 * comes (tail parity); then its parities go out one by one, and its place is free again. A packet whose turn
 * falls on a group that isn't free yet goes without.
 */
#ifndef HG_TRANSPORT_FEC_ENCODE_H
#define HG_TRANSPORT_FEC_ENCODE_H

#include "dataplane/transport/fec_code.h"
#include <sys/uio.h>

enum hg_fec_encode_state { HG_FEC_GROUP_FREE, HG_FEC_GROUP_OPEN, HG_FEC_GROUP_CLOSED };

struct hg_fec_encode_group {
    uint32_t group;
    enum hg_fec_encode_state state;
    uint32_t sources;
    uint32_t rows;         /* parities made */
    uint32_t parities;     /* of them, to be sent */
    uint32_t parity_next;  /* the next of them */
    uint32_t depth;        /* when it opened */
    uint32_t symbol_bytes; /* the largest */
    uint32_t clean_bytes;  /* of each parity, written since the group opened */
    uint64_t opened_ns;
};

struct hg_fec_encode {
    const struct hg_fec_code *code;
    uint8_t *memory;
    uint8_t *source;     /* the packet that is being added, in one piece */
    uint32_t room_bytes; /* of a symbol */
    uint32_t depth;
    uint32_t turn;       /* group that takes the next packet */
    uint32_t group_next; /* name of the next group */
    uint32_t open_count;
    uint32_t closed_count;
    uint32_t filled; /* groups that were full since the last tail */
    struct hg_fec_encode_group groups[HG_WIRE_FEC_DEPTH_MAX];
};

struct hg_fec_parity { /* a parity to be sent */
    struct hg_wire_fec place;
    const uint8_t *symbol; /* good until something is added */
    uint32_t bytes;
};

uint64_t hg_fec_encode_memory_bytes(uint32_t inner_bytes_max);
/* Touches none of the memory, which must be aligned to HG_FEC_ALIGN_BYTES. */
void hg_fec_encode_init(struct hg_fec_encode *encode, void *memory, const struct hg_fec_code *code,
                        uint32_t inner_bytes_max);

/* A packet is about to be finished: the place it takes. False: none is free.
 * `rows` (1 to HG_WIRE_FEC_PARITY_MAX) and `depth` (1 to HG_WIRE_FEC_DEPTH_MAX) are for what opens now. */
bool hg_fec_encode_place(struct hg_fec_encode *encode, uint32_t rows, uint32_t depth, uint64_t now_ns,
                         struct hg_wire_fec *place);
/* That packet: its frames in pieces, `frames_bytes` in all. The group may be full now: hg_fec_encode_full. */
void hg_fec_encode_add(struct hg_fec_encode *encode, const struct iovec *pieces, uint32_t piece_count,
                       uint32_t frames_bytes, uint64_t number);
/* The group that became full with the last packet, to be closed by the caller; NULL: it did not. */
struct hg_fec_encode_group *hg_fec_encode_full(struct hg_fec_encode *encode);
/* The next open group after `group` (NULL: the first), or NULL. */
struct hg_fec_encode_group *hg_fec_encode_open(struct hg_fec_encode *encode,
                                               const struct hg_fec_encode_group *group);
/* No more sources; `parities` of the rows that were made are to be sent (0: none). */
void hg_fec_encode_close(struct hg_fec_encode *encode, struct hg_fec_encode_group *group, uint32_t parities);
/* When the oldest open group opened; HG_TIME_NEVER: none is open. */
uint64_t hg_fec_encode_opened_ns(const struct hg_fec_encode *encode);

/* True when a parity waits to be sent. */
static inline bool hg_fec_encode_due(const struct hg_fec_encode *encode)
{
    return encode->closed_count > 0;
}
/* Takes the next parity that waits. False: there is none. */
bool hg_fec_encode_take(struct hg_fec_encode *encode, struct hg_fec_parity *parity);
/* Forgets every group: nothing of what is open is sent. */
void hg_fec_encode_drop(struct hg_fec_encode *encode);

#endif
