/* SPDX-License-Identifier: Apache-2.0
 *
 * Every byte that crosses the link, and every limit of it. docs/wire-format.md is this file in prose; change
 * both. Ethernet / IPv4 or IPv6 / UDP / ESP (RFC 4303, AES-256-GCM RFC 4106, ESN) / transport header /
 * frames. Little-endian inside ESP; the outer headers as their RFCs say. ESP's next header is 253 (RFC 3692).
 */
#ifndef HG_TRANSPORT_WIRE_H
#define HG_TRANSPORT_WIRE_H

#include "dataplane/wal/format.h"
#include "drivers/platform/platform.h"

/* ---- limits ---- */
#define HG_WIRE_UDP_PORT_HANDSHAKE 47000u
#define HG_WIRE_UDP_PORT_DATA      47001u /* + receiving worker */
#define HG_WIRE_ESP_NEXT_HEADER    253u
#define HG_WIRE_UNIT_BYTES         64u /* fragments start at its multiples, end there or at the batch's end */
#define HG_WIRE_BLOCK_BYTES        1024u /* receive memory is given and counted in these */
#define HG_WIRE_ACK_RANGES_MAX     128u
#define HG_WIRE_ALIASES_MAX        1024u /* per lane */
#define HG_WIRE_CONTROL_BYTES_MAX  256u  /* a control frame, type byte included */
#define HG_WIRE_WORKERS_MAX        64u
#define HG_WIRE_EPOCH_STARTS_MAX   8u  /* of a stream's history: HG_EPOCH_STARTS_MAX */
#define HG_WIRE_FEC_SOURCES_MAX    32u /* in a group */
#define HG_WIRE_FEC_PARITY_MAX     8u
#define HG_WIRE_FEC_DEPTH_MAX      16u              /* groups that packets are dealt to in turn */
#define HG_WIRE_RECOVERED_MAX      16u              /* packets named in a RECOVERED frame */
#define HG_WIRE_OUTER_BYTES        (14u + 20u + 8u) /* Ethernet, IPv4, UDP */
#define HG_WIRE_IPV6_MORE_BYTES    20u              /* of an IPv6 header than of an IPv4 one */
#define HG_WIRE_VLAN_BYTES         4u               /* an 802.1Q tag */
#define HG_WIRE_OUTER_BYTES_MAX    (HG_WIRE_OUTER_BYTES + HG_WIRE_IPV6_MORE_BYTES + HG_WIRE_VLAN_BYTES)
#define HG_WIRE_ESP_BYTES          (8u + 8u)  /* SPI, SN, IV */
#define HG_WIRE_ESP_TRAILER_BYTES  (2u + 16u) /* pad length, next header, ICV; padding besides */
/* What a batch uses of the credit. */
#define HG_WIRE_CREDIT_BYTES(batch_bytes) hg_align_up((batch_bytes), HG_WIRE_BLOCK_BYTES)
/* Inner bytes (transport header and frames) of a packet of an IPv4 link of this MTU, so that no padding is
 * needed. With IPv6 those of an MTU that is HG_WIRE_IPV6_MORE_BYTES smaller. */
#define HG_WIRE_INNER_BYTES(mtu) ((((mtu)-20u - 8u - HG_WIRE_ESP_BYTES - 16u) & ~3u) - 2u)

/* ---- transport header: first in every packet ---- */
#define HG_WIRE_VERSION  3u
#define HG_WIRE_FLAG_FEC 1u /* struct hg_wire_fec follows the header */

/* Everything that has no use in each packet is elsewhere: the lane and its generation are in the key that
 * opens the packet (docs/wire-security.md, Key schedule), the end of the frames is where ESP's padding
 * begins. */
struct hg_wire_header {
    uint8_t version;
    uint8_t flags;
};
static_assert(sizeof(struct hg_wire_header) == 2, "transport header");
static_assert(HG_WIRE_INNER_BYTES(1500u) == 1438, "1436 bytes of frames in a 1500 byte MTU");
static_assert(HG_WIRE_INNER_BYTES(1500u - HG_WIRE_IPV6_MORE_BYTES) == 1418, "1416 of IPv6");

/* A packet's place in a group that parity covers. */
struct hg_wire_fec {
    uint32_t group;
    uint8_t index; /* of the source, below k; HG_WIRE_FEC_SOURCES_MAX + row of the parity */
    uint8_t k; /* sources, >= 1: as many as there may be in a source's packet, as there are in a parity's */
    uint8_t m; /* parities, >= 1: likewise */
    uint8_t depth; /* groups open at a time, this one included */
};
static_assert(sizeof(struct hg_wire_fec) == 8, "FEC header");

/* ---- frames ---- */
enum hg_wire_type {
    HG_WIRE_PADDING = 0, /* one byte */
    HG_WIRE_PING = 1,    /* one byte; ack-eliciting */
    HG_WIRE_DATA = 2,
    HG_WIRE_ACK = 3,       /* not ack-eliciting */
    HG_WIRE_RECOVERED = 4, /* not ack-eliciting */
    /* Control frames: {type u8, reserved u8, bytes u16 of the whole frame} then a body. Delivered at least
     * once, in any order, by retransmission; so their handlers are idempotent. */
    HG_WIRE_CONTROL_FIRST = 16,
    HG_WIRE_STREAM_OPEN = 16,
    HG_WIRE_STREAM_ANSWER = 17,
    HG_WIRE_STREAM_DURABLE = 18,
    HG_WIRE_STREAM_CLOSE = 19,
    HG_WIRE_STREAM_REFUSE = 20,
    HG_WIRE_STREAM_NEEDED = 21,
    HG_WIRE_STREAM_COMMITTED = 22,
    HG_WIRE_STREAM_HISTORY = 23,
    HG_WIRE_STREAM_CUT = 24,
    HG_WIRE_GROUP_SEAL = 25,
    HG_WIRE_GROUP_TAIL = 26,
    HG_WIRE_STREAM_FILL = 27,
    HG_WIRE_STREAM_HORIZON = 28,
    HG_WIRE_LOG_REPAIR_ASK = 30,
    HG_WIRE_LOG_REPAIR_DATA = 31,
    HG_WIRE_CONTROL_LAST = 31,
    HG_WIRE_PARITY = 32,
    /* 33.. reserved: GRANT, VOTE, 2PC, key exchange */
};

/* Followed by `bytes` bytes of the batch (alias, LSN of its first entry) from an offset on. Ack-eliciting.
 * One is in nearly every packet, so it is packed: read and write it with the functions below. */
struct hg_wire_data {
    uint8_t type;
    uint8_t batch_grains_high; /* 0 or 1: bit 16 of the grains */
    uint16_t alias;
    uint16_t bytes;
    uint16_t offset_units; /* of HG_WIRE_UNIT_BYTES */
    uint16_t batch_grains; /* of HG_BATCH_ALIGN_BYTES, in the whole sealed batch; its low 16 bits */
    uint16_t lsn_first_high;
    uint32_t lsn_first_low; /* with _high: the low 48 bits */
};
static_assert(sizeof(struct hg_wire_data) == 16, "data frame");
static_assert(HG_BATCH_BYTES_MAX / HG_WIRE_UNIT_BYTES <= UINT16_MAX, "every offset has a number");
static_assert(HG_BATCH_BYTES_MAX / HG_BATCH_ALIGN_BYTES < 2u << 16, "17 bits of grains");
static_assert(HG_WIRE_ALIASES_MAX <= UINT16_MAX, "an alias fits");

static inline struct hg_wire_data hg_wire_data_make(uint32_t alias, uint64_t lsn_first, uint32_t batch_bytes,
                                                    uint32_t offset, uint32_t bytes)
{
    uint32_t grains = batch_bytes / HG_BATCH_ALIGN_BYTES;
    return (struct hg_wire_data){.type = HG_WIRE_DATA,
                                 .batch_grains_high = (uint8_t)(grains >> 16),
                                 .alias = (uint16_t)alias,
                                 .bytes = (uint16_t)bytes,
                                 .offset_units = (uint16_t)(offset / HG_WIRE_UNIT_BYTES),
                                 .batch_grains = (uint16_t)grains,
                                 .lsn_first_high = (uint16_t)(lsn_first >> 32),
                                 .lsn_first_low = (uint32_t)lsn_first};
}

static inline uint32_t hg_wire_data_offset(const struct hg_wire_data *frame)
{
    return frame->offset_units * HG_WIRE_UNIT_BYTES;
}

static inline uint32_t hg_wire_data_batch_bytes(const struct hg_wire_data *frame)
{
    return ((uint32_t)frame->batch_grains_high << 16 | frame->batch_grains) * HG_BATCH_ALIGN_BYTES;
}

/* The LSN nearest to `near` with the 48 bits of the frame (as RFC 9000 A.3 does it with packet numbers). */
static inline uint64_t hg_wire_data_lsn_first(const struct hg_wire_data *frame, uint64_t near)
{
    const uint64_t turn = UINT64_C(1) << 48;
    uint64_t low = (uint64_t)frame->lsn_first_high << 32 | frame->lsn_first_low;
    uint64_t ahead = (low - near) & (turn - 1);
    uint64_t behind = turn - ahead;
    return ahead >= turn / 2 && behind <= near ? near - behind : near + ahead;
}
static_assert(HG_BATCH_BYTES_MAX == 1053448, "tools/wireshark/heliograph.lua has the same number");

/* Followed by range_count - 1 struct hg_wire_ack_range, most recent first. */
struct hg_wire_ack {
    uint8_t type;
    uint8_t range_count; /* 1..HG_WIRE_ACK_RANGES_MAX */
    uint16_t delay_8us;
    uint32_t first_count; /* packets acknowledged from `largest` down, >= 1 */
    uint64_t largest;
    /* HG_WIRE_CREDIT_BYTES of the batches that the other side may have admitted and not yet seen wholly
     * acknowledged: the receive memory less the whole batches that wait in it. A state, not a sum: it can't
     * leak. The ack in the packet with the largest number counts. */
    uint64_t credit_bytes;
    uint32_t ecn_ce;  /* of packets acknowledged, this lane's since it began, marked CE ... */
    uint32_t ecn_ect; /* ... and ECT(0); both wrap: dataplane/transport/ecn.h */
};
static_assert(sizeof(struct hg_wire_ack) == 32, "ack frame");

struct hg_wire_ack_range {
    uint32_t gap;   /* packets missing below the range before, >= 1 */
    uint32_t count; /* packets acknowledged below that, >= 1 */
};

/* Followed by `count` packet numbers of 8 bytes, each less than the one before, none 0. These packets did not
 * arrive, but parity gave what was in them: nothing of it need be sent again. They are lost all the same. */
struct hg_wire_recovered {
    uint8_t type;
    uint8_t count; /* 1..HG_WIRE_RECOVERED_MAX */
    uint16_t reserved;
};
static_assert(sizeof(struct hg_wire_recovered) == 4, "recovered frame");

/* Followed by `bytes` bytes of parity symbol. Alone in its packet, whose header names group and row.
 * Ack-eliciting. */
struct hg_wire_parity {
    uint8_t type;
    uint8_t reserved;
    uint16_t bytes; /* of the group's largest symbol */
};
static_assert(sizeof(struct hg_wire_parity) == 4, "parity frame");

/* Opens each source symbol; the packet's frames and zeros follow. Never on the wire but inside parity. */
struct hg_wire_fec_symbol {
    uint16_t frames_bytes; /* >= 1 */
    uint16_t reserved;     /* 0 */
    uint32_t number_low;   /* of the packet */
};
static_assert(sizeof(struct hg_wire_fec_symbol) == 8, "symbol header");
/* A packet in a group leaves so much room that its group's parity fits into one, too. */
#define HG_WIRE_FEC_BYTES                                                                                    \
    (sizeof(struct hg_wire_fec) + sizeof(struct hg_wire_parity) + sizeof(struct hg_wire_fec_symbol))

struct hg_wire_control { /* opens every control frame */
    uint8_t type;
    uint8_t opening; /* of the alias, counted by the origin modulo 256: frames come in any order, and more
                        than once. OPEN, ANSWER, DURABLE, CLOSE and REFUSE are about this one only; else
                        0 */
    uint16_t bytes;  /* whole frame, multiple of 4 */
    uint32_t alias;
};

/* Origin -> receiver: I call this stream `alias` on this lane; where do you stand? */
struct hg_wire_stream_open {
    struct hg_wire_control control;
    uint64_t stream;
    uint32_t incarnation;
    uint32_t group;
    uint64_t epoch;
    uint64_t lsn_begin; /* first LSN the stream ever had */
    uint64_t lsn_durable;
    uint64_t system_identifier;
    uint16_t kind; /* enum hg_stream_kind */
    uint16_t region;
    uint32_t lsn_unit_bytes;
    char name[HG_NAME_BYTES];
    uint64_t generation; /* of the members of its group, as the sender counts them; 0 = as configured */
};
static_assert(sizeof(struct hg_wire_stream_open) == 104, "stream open");

enum hg_wire_status {
    HG_WIRE_OK = 0,
    HG_WIRE_REFUSED_UNKNOWN = 1,     /* the receiver is not configured to take this stream */
    HG_WIRE_REFUSED_SYSTEM = 2,      /* another PostgreSQL cluster */
    HG_WIRE_REFUSED_EPOCH = 3,       /* older than what was promised */
    HG_WIRE_REFUSED_INCARNATION = 4, /* a timeline switch: a later version of this software takes it */
    HG_WIRE_REFUSED_LIMIT = 5,       /* too many streams */
    HG_WIRE_REFUSED_BATCH = 6,       /* a batch that does not follow from what is there */
    HG_WIRE_CLOSED_WITHDRAWN = 7,    /* the origin's configuration no longer gives the stream to this peer */
    HG_WIRE_CLOSED_DIVERGED = 8,     /* the peer has other bytes than the origin */
    HG_WIRE_CLOSED_GAP = 9,          /* the origin no longer has what the peer needs next */
    HG_WIRE_ELSEWHERE = 10,          /* another worker of the receiver owns the stream: open it there */
    HG_WIRE_MOVED = 11,              /* CLOSE or REFUSE: to another worker of who says so; it comes again */
    HG_WIRE_REFUSED_HISTORY = 12,    /* the receiver can't be cut to where the two histories part */
    HG_WIRE_REFUSED_MEMBERS = 13,    /* its sender is no member of the group, or its members are older */
};

struct hg_wire_stream_answer {
    struct hg_wire_control control;
    uint16_t status; /* enum hg_wire_status */
    uint16_t worker; /* that owns the stream: data goes on the lane that ends there */
    uint32_t incarnation;
    uint64_t lsn_durable; /* exclusive end of what the receiver has; 0 = nothing */
    uint64_t epoch;
    uint8_t chain[16];    /* of the batch that ends there */
    uint8_t log_uuid[16]; /* which copy this is: a log made anew is another one */
    uint64_t generation;  /* of the group's members, on its device */
    uint32_t flags;       /* HG_WIRE_ANSWER_... */
    uint32_t reserved;
};
static_assert(sizeof(struct hg_wire_stream_answer) == 80, "stream answer");
#define HG_WIRE_ANSWER_VOTER   1u /* by these members this copy counts */
#define HG_WIRE_ANSWER_UNKNOWN 2u /* behind lsn_durable it may have lost more, in a torn write */

/* Receiver -> origin: everything below lsn_durable is on my device. The newest one wins. */
struct hg_wire_stream_durable {
    struct hg_wire_control control;
    uint64_t lsn_durable;
};
static_assert(sizeof(struct hg_wire_stream_durable) == 16, "stream durable");

/* Origin -> receiver: my log is full, and what is below lsn_needed holds its oldest segment: take that before
 * anything else, and into what your log keeps for it. */
struct hg_wire_stream_needed {
    struct hg_wire_control control;
    uint64_t lsn_needed;
};
static_assert(sizeof(struct hg_wire_stream_needed) == 16, "stream needed");

/* Origin -> receiver in its own region: a quorum of the region has everything below lsn_committed on its
 * devices. The receiver may lack some of that. The newest one wins. */
struct hg_wire_stream_committed {
    struct hg_wire_control control;
    uint64_t lsn_committed;
};
static_assert(sizeof(struct hg_wire_stream_committed) == 16, "stream committed");

/* Receiver -> writer, before the answer to an OPEN of a newer epoch than its copy has: the epoch is promised
 * on my device, and this is what I have. The writer says in STREAM_CUT what of it is its own. */
struct hg_wire_stream_history {
    struct hg_wire_control control;
    uint64_t epoch;       /* of the OPEN */
    uint64_t lsn_begin;   /* first that it ever had */
    uint64_t lsn_end;     /* durable, exclusive; 0 = nothing */
    uint8_t chain[16];    /* of the batch that ends there */
    uint32_t epoch_count; /* <= HG_EPOCH_STARTS_MAX */
    uint32_t reserved;
    struct {
        uint64_t epoch, lsn;
    } epochs[HG_WIRE_EPOCH_STARTS_MAX]; /* oldest first; zero beyond epoch_count */
};
static_assert(sizeof(struct hg_wire_stream_history) == 184, "stream history");

#define HG_WIRE_EPOCH_NOT_BEGUN UINT64_MAX /* as lsn_epoch: the sender is no writer, it only fills a copy */

/* Writer -> receiver: what you have from `lsn` on is not what I have; cut it off and keep it elsewhere. */
struct hg_wire_stream_cut {
    struct hg_wire_control control;
    uint64_t epoch;        /* of the OPEN */
    uint64_t lsn;          /* up to there both have the same; it may be the receiver's end */
    uint8_t chain[16];     /* of the batch that ends there */
    uint64_t epoch_common; /* newest epoch that both have; 0 = the receiver has nothing */
    uint64_t lsn_epoch;    /* where `epoch` began at the writer, >= lsn; or HG_WIRE_EPOCH_NOT_BEGUN */
};
static_assert(sizeof(struct hg_wire_stream_cut) == 56, "stream cut");

/* Origin -> receiver whose history ends before what the origin's log still has: where that begins, so that an
 * operator there may have the stream begin anew. The alias is closed; `stream` says which it is, and
 * `opening` what the next one will be: a REFUSE of that, with the reason MOVED, says that the stream did. The
 * newest one wins. All before `lsn` is committed. */
struct hg_wire_stream_horizon {
    struct hg_wire_control control;
    uint64_t stream;
    uint64_t lsn_begin;   /* first LSN the stream ever had */
    uint64_t lsn;         /* everything from here on is in the origin's log */
    uint64_t epoch;       /* of the last batch before it */
    uint64_t epoch_lsn;   /* where that epoch began, if epoch_known */
    uint32_t incarnation; /* as in STREAM_OPEN */
    uint32_t epoch_known;
    uint8_t chain[16]; /* of the batch that ends at lsn */
};
static_assert(sizeof(struct hg_wire_stream_horizon) == 72, "stream horizon");

/* CLOSE, origin -> receiver: nothing more comes under this alias, forget what is half here. REFUSE, receiver
 * -> origin: a batch did not follow from what is here. The alias is the origin's in both. */
struct hg_wire_stream_close {
    struct hg_wire_control control;
    uint32_t reason; /* enum hg_wire_status: CLOSE one of CLOSED_, REFUSE one of REFUSED_,
                        or MOVED */
    uint32_t reserved;
};
static_assert(sizeof(struct hg_wire_stream_close) == 16, "stream close");

/* Asks another member of the region's quorum to promise the epoch in this worker's log, and what that has of
 * the group then. The alias is the group. Asked again until every stream was answered. */
struct hg_wire_group_seal {
    struct hg_wire_control control;
    uint64_t epoch;
    uint32_t group;
    uint32_t reserved;
};
static_assert(sizeof(struct hg_wire_group_seal) == 24, "group seal");

/* The answer, when the promise is on the device: one a stream of the group. The alias is the stream's number
 * there, HG_WIRE_ALIASES_MAX + group where there is none, or where it refuses. The frame itself proves the
 * promise: nothing of an older epoch follows what it says. */
struct hg_wire_group_tail {
    struct hg_wire_control control;
    uint64_t epoch;          /* of the SEAL */
    uint64_t epoch_promised; /* newer than that: it refuses, and says nothing else */
    uint64_t stream;         /* 0 = none of the group is in this log */
    uint64_t lsn_end;        /* durable, exclusive; 0 = nothing */
    uint8_t chain[16];       /* of the batch that ends there */
    uint8_t log_uuid[16];    /* which copy this is, over restarts */
    uint32_t group;
    uint16_t streams; /* of the group in this log: as many answers are all of it */
    uint8_t log;      /* this worker ... */
    uint8_t logs;     /* ... of so many */
    uint8_t unknown;  /* writes behind the end may have been lost */
    uint8_t epoch_count;
    uint8_t corrupt; /* 1: what is between corrupt_first and corrupt_end can't all be read */
    uint8_t reserved[5];
    uint64_t corrupt_first, corrupt_end;
    uint64_t lsn_floor; /* all below was committed, as is known there; also above lsn_end. 0 = nothing is */
    struct {
        uint64_t epoch, lsn;
    } epochs[HG_WIRE_EPOCH_STARTS_MAX]; /* oldest first; zero beyond epoch_count */
};
static_assert(sizeof(struct hg_wire_group_tail) == 240, "group tail");

/* Asks a member that promised the epoch to send this stream as if it were its writer, under that epoch and
 * without beginning it. The alias is only to keep frames about several streams apart. */
struct hg_wire_stream_fill {
    struct hg_wire_control control;
    uint64_t stream;
    uint64_t epoch;
};
static_assert(sizeof(struct hg_wire_stream_fill) == 24, "stream fill");

/* A write of my log is corrupt: give me these bytes of this batch, if you have it whole. Of the stream the
 * one that ends at lsn_end with that chain: the chain covers all else of the header, and that covers every
 * byte. */
#define HG_WIRE_REPAIR_BYTES  208u
#define HG_WIRE_REPAIR_CHUNKS 64u /* of one ask at most */
struct hg_wire_log_repair_ask {
    struct hg_wire_control control; /* alias 0: a lane has one at a time */
    uint64_t stream;
    uint64_t epoch; /* 0 = not known */
    uint64_t lsn_end;
    uint8_t chain[16];
    uint32_t incarnation;
    uint32_t batch_bytes; /* of the whole batch; 0 = not known, its header alone is asked for */
    uint32_t offset;      /* multiple of HG_WIRE_REPAIR_BYTES */
    uint32_t bytes;
};
static_assert(sizeof(struct hg_wire_log_repair_ask) == 64, "log repair ask");

enum hg_wire_repair_status {
    HG_WIRE_REPAIR_OK = 0,
    HG_WIRE_REPAIR_ABSENT = 1,  /* no such batch, or no longer */
    HG_WIRE_REPAIR_CORRUPT = 2, /* it can't be read there either */
};

/* The answer, one a chunk; the alias is the chunk's number modulo HG_WIRE_REPAIR_CHUNKS. Lost ones are asked
 * for again. */
struct hg_wire_log_repair_data {
    struct hg_wire_control control;
    uint64_t stream;
    uint64_t lsn_end;
    uint8_t chain[16]; /* as asked */
    uint32_t offset;
    uint16_t bytes;  /* of the data; 0 unless the status is OK */
    uint16_t status; /* enum hg_wire_repair_status */
    uint8_t data[HG_WIRE_REPAIR_BYTES];
};
static_assert(sizeof(struct hg_wire_log_repair_data) == 256, "log repair data");

/* The size of a control frame of this type; 0 = no such type. */
static inline uint16_t hg_wire_control_bytes(uint8_t type)
{
    switch (type) {
    case HG_WIRE_STREAM_OPEN:
        return sizeof(struct hg_wire_stream_open);
    case HG_WIRE_STREAM_ANSWER:
        return sizeof(struct hg_wire_stream_answer);
    case HG_WIRE_STREAM_DURABLE:
        return sizeof(struct hg_wire_stream_durable);
    case HG_WIRE_STREAM_NEEDED:
        return sizeof(struct hg_wire_stream_needed);
    case HG_WIRE_STREAM_COMMITTED:
        return sizeof(struct hg_wire_stream_committed);
    case HG_WIRE_STREAM_HISTORY:
        return sizeof(struct hg_wire_stream_history);
    case HG_WIRE_STREAM_CUT:
        return sizeof(struct hg_wire_stream_cut);
    case HG_WIRE_STREAM_HORIZON:
        return sizeof(struct hg_wire_stream_horizon);
    case HG_WIRE_STREAM_CLOSE:
    case HG_WIRE_STREAM_REFUSE:
        return sizeof(struct hg_wire_stream_close);
    case HG_WIRE_GROUP_SEAL:
        return sizeof(struct hg_wire_group_seal);
    case HG_WIRE_GROUP_TAIL:
        return sizeof(struct hg_wire_group_tail);
    case HG_WIRE_STREAM_FILL:
        return sizeof(struct hg_wire_stream_fill);
    case HG_WIRE_LOG_REPAIR_ASK:
        return sizeof(struct hg_wire_log_repair_ask);
    case HG_WIRE_LOG_REPAIR_DATA:
        return sizeof(struct hg_wire_log_repair_data);
    default:
        return 0;
    }
}

#endif
