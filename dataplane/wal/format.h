/* SPDX-License-Identifier: Apache-2.0
 *
 * Every byte that is persisted, and every limit of it. docs/disk-format.md is this file in prose; change
 * both. A batch (header, vector delta, payload) is global: the same bytes are on the wire, in every log and
 * in subscribers' hands. Everything else here is local to one log. All integers are little-endian.
 */
#ifndef HG_WAL_FORMAT_H
#define HG_WAL_FORMAT_H

#include "drivers/disk/disk.h"
#include "drivers/platform/platform.h"

/* ---- limits ---- */
#define HG_FRAME_DATA_BYTES_MAX   (1u << 20) /* more goes in continuation frames */
#define HG_FRAME_KEY_BYTES_MAX    4096u
#define HG_FRAME_ALIGN_BYTES      8u
#define HG_BATCH_ALIGN_BYTES      16u
#define HG_BATCH_RAW_BYTES_MAX    (256u << 10) /* unless it is one single frame */
#define HG_BATCH_RAW_BYTES_AIM    (64u << 10)  /* sealed at this size under load */
#define HG_BATCH_FRAMES_MAX       10000u
#define HG_BATCH_VECTOR_BYTES_MAX 512u /* 32 regions x 16 bytes */
#define HG_FRAME_BYTES_MAX                                                                                   \
    (sizeof(struct hg_frame_header) + sizeof(struct hg_frame_client) + HG_FRAME_KEY_BYTES_MAX +              \
     HG_FRAME_DATA_BYTES_MAX)
/* Largest sealed batch: one frame of the largest size, stored raw. */
#define HG_BATCH_BYTES_MAX                                                                                   \
    (sizeof(struct hg_batch_header) + HG_BATCH_VECTOR_BYTES_MAX + HG_FRAME_BYTES_MAX + HG_BATCH_ALIGN_BYTES)
#define HG_LOG_BLOCK_BYTES             ((uint32_t)HG_DISK_BLOCK_BYTES)
#define HG_LOG_WRITE_PAYLOAD_BYTES_MAX (2u << 20)
#define HG_LOG_WRITE_BLOCKS_MAX        (HG_LOG_WRITE_PAYLOAD_BYTES_MAX / HG_DISK_BLOCK_BYTES)
#define HG_LOG_RING_BLOCKS             256u
#define HG_LOG_SUPERBLOCK_COPIES       4u
#define HG_LOG_SEGMENTS_MIN            6u
#define HG_LOG_SEGMENTS_MAX            (1u << 24)
#define HG_LOG_GROWTHS_MAX             30u /* times that a log can be made longer */
#define HG_LOG_SEGMENTS_FREE_MIN       2u  /* left to local records */
/* Writes that may be on their way unflushed. Recovery relies on it: a header at most this many writes after n
 * proves that n was durable, if it was. */
#define HG_LOG_WRITES_UNFLUSHED_MAX 16u
#define HG_LOG_CONSUMERS_MAX        32u
#define HG_SESSIONS_MAX             256u /* clients of a log whose retries are known */
#define HG_SESSION_RUNS_MAX         7u   /* of entries of one of them, each without a gap */
#define HG_STREAMS_MAX              16000u
#define HG_GROUPS_MAX               64u
#define HG_REGIONS_MAX              32u
#define HG_NAME_BYTES               32u /* of streams, peers, ports, consumers; NUL-terminated inside */

/* ---- frame: one WAL entry ---- */
enum hg_op {
    HG_OP_INSERT = 1,
    HG_OP_UPDATE = 2,
    HG_OP_DELETE = 3,
    HG_OP_COMMIT = 4,
    HG_OP_ABORT = 5,
    HG_OP_SCHEMA = 6,
    HG_OP_OPAQUE = 7,      /* bytes that the stream's kind explains: physical WAL */
    HG_OP_INCARNATION = 8, /* opens an incarnation: {parent, fork position, history file} */
    HG_OP_EPOCH_START = 9,
    HG_OP_HEARTBEAT = 10,
};

enum hg_frame_flags {
    HG_FRAME_CONTINUES = 1, /* more data of this entry follows in the next frame */
    HG_FRAME_CLIENT = 2,    /* a struct hg_frame_client follows the header */
};

/* Followed by [struct hg_frame_client] key data, zero-padded to 8. Covers [lsn, lsn + span). */
struct hg_frame_header {
    uint64_t lsn;
    uint64_t transaction_id;
    uint32_t data_bytes;
    uint32_t span;      /* 1 for key/value and logical; bytes of WAL for physical */
    uint32_t hlc_delta; /* added to the batch's hlc_base */
    uint32_t table_id;  /* table or keyspace; 0 = none */
    uint16_t key_bytes;
    uint8_t op;      /* enum hg_op */
    uint8_t flags;   /* enum hg_frame_flags */
    uint32_t crc32c; /* of the header with this field zero, client part, key and data */
};
static_assert(sizeof(struct hg_frame_header) == 40, "frame header");
static_assert(offsetof(struct hg_frame_header, crc32c) == 36, "frame header");

/* Who asked, for exactly-once retries. */
struct hg_frame_client {
    uint64_t client_id;
    uint64_t client_sequence;
};
static_assert(sizeof(struct hg_frame_header) + sizeof(struct hg_frame_client) <= 64, "A1: at most 64 bytes");

/* ---- batch: the sealed unit ---- */
#define HG_BATCH_MAGIC   0x42474c48u /* "HLGB" */
#define HG_BATCH_VERSION 1u

enum hg_codec { HG_CODEC_NONE = 0, HG_CODEC_LZ4 = 1 };

enum hg_batch_flags {
    HG_BATCH_LOCAL = 1,     /* a node-local record (stream 0): never sent, never delivered */
    HG_BATCH_ENCRYPTED = 2, /* reserved for encryption at rest */
    HG_BATCH_CLIENTS = 4,   /* a frame of it says whose it is: who keeps sessions looks inside */
};

/* 192 bytes. After it: vector delta (vector_bytes), payload (stored_bytes), zero padding to 16. */
struct hg_batch_header {
    uint32_t magic;
    uint16_t version;
    uint8_t codec; /* enum hg_codec */
    uint8_t flags; /* enum hg_batch_flags */
    uint32_t key_id;
    uint32_t group;
    uint64_t cluster;
    uint64_t stream;
    uint32_t incarnation;
    uint16_t region; /* of origin */
    uint16_t kind;   /* enum hg_stream_kind */
    uint64_t epoch;
    uint64_t lsn_first;
    uint64_t lsn_end; /* exclusive */
    uint32_t frame_count;
    uint32_t raw_bytes;    /* of the frames before the codec */
    uint32_t stored_bytes; /* of the payload as it lies here */
    uint32_t vector_bytes;
    uint64_t hlc_base;
    uint8_t tag[16];            /* AEAD tag of encryption at rest; zero without */
    uint8_t payload_digest[16]; /* XXH3-128, canonical form, over vector delta and payload */
    uint8_t chain_previous[16];
    uint8_t chain[16];     /* first 16 bytes of SHA-256 over this header with chain and crc32c zero */
    uint32_t log_restarts; /* of the origin's log: the nonce of encryption at rest */
    uint8_t reserved[32];  /* zero */
    uint32_t crc32c;       /* of the 188 bytes before it */
};
static_assert(sizeof(struct hg_batch_header) == 192, "batch header");
static_assert(offsetof(struct hg_batch_header, epoch) == 40, "batch header");
static_assert(offsetof(struct hg_batch_header, stored_bytes) == 72, "batch header");
static_assert(offsetof(struct hg_batch_header, tag) == 88, "batch header");
static_assert(offsetof(struct hg_batch_header, chain) == 136, "batch header");
static_assert(offsetof(struct hg_batch_header, crc32c) == 188, "batch header");
static_assert(HG_BATCH_BYTES_MAX <= HG_LOG_WRITE_PAYLOAD_BYTES_MAX, "a write holds any batch");

enum hg_stream_kind {
    HG_STREAM_KEY_VALUE = 1,
    HG_STREAM_POSTGRES_LOGICAL = 2,
    HG_STREAM_POSTGRES_PHYSICAL = 3,
};

/* ---- log: superblocks, header ring, segments of log writes ---- */
/* File: 4 superblock blocks | 256 ring blocks | segment 0 | segment 1 | ... */
#define HG_LOG_RING_OFFSET      (HG_LOG_SUPERBLOCK_COPIES * HG_DISK_BLOCK_BYTES)
#define HG_LOG_SEGMENTS_OFFSET  (HG_LOG_RING_OFFSET + HG_LOG_RING_BLOCKS * HG_DISK_BLOCK_BYTES)

#define HG_LOG_SUPERBLOCK_MAGIC 0x53474c48u /* "HLGS" */
#define HG_LOG_WRITE_MAGIC      0x57474c48u /* "HLGW" */
#define HG_LOG_VERSION          1u
#define HG_LOG_VERSION_GROWN                                                                                 \
    2u /* of the superblock of a log that grew: older builds do not know its places */

/* Writes that are not taken from where they should lie: recovery and readers go by this, and pass on to where
 * the write after them begins. */
#define HG_LOG_HOLES_MAX 15u

enum hg_log_hole_kind {
    HG_LOG_HOLE_LOST = 1,    /* an operator accepted it: helio-log accept-loss */
    HG_LOG_HOLE_MOVED = 2,   /* repaired: write copy_sequence has all that was in it */
    HG_LOG_HOLE_BATCHES = 3, /* repaired, but for local records: nobody else has those */
};

struct hg_log_hole {
    uint64_t sequence_first; /* > the last of the hole before it in the table */
    uint64_t sequence_last;
    uint64_t segment;      /* absolute number: where sequence_first should be */
    uint64_t next_segment; /* where write sequence_last + 1 begins, or will */
    uint32_t offset;
    uint32_t next_offset;
    uint32_t kind; /* enum hg_log_hole_kind */
    uint32_t copy_offset;
    uint64_t copy_sequence; /* of a repair: the write that has the copy, and where that is; else 0 */
    uint64_t copy_segment;
};
static_assert(sizeof(struct hg_log_hole) == 64, "hole");

struct hg_log_hole_table {
    uint32_t count;
    uint32_t reserved;
    uint64_t losses;      /* that were ever accepted, also those that the table has no room for any more */
    uint64_t lost_writes; /* in them */
    uint64_t repairs;     /* likewise, that were ever made */
    uint8_t reserved2[32];
    struct hg_log_hole holes[HG_LOG_HOLES_MAX];
};
static_assert(sizeof(struct hg_log_hole_table) == 1024, "table of holes");

/* The ring of segments got longer: `segments` new ones, which lie behind all that were there before, came
 * into it at position `at`, behind the segment that was the newest then. */
struct hg_log_growth_step {
    uint32_t at;       /* 1 .. segments before */
    uint32_t segments; /* >= 1 */
};

struct hg_log_growth_table {
    uint32_t count; /* of steps, in their order; 0 = never grown */
    uint32_t reserved;
    uint64_t shift; /* position in the ring = (absolute number + shift) mod segment_count */
    struct hg_log_growth_step steps[HG_LOG_GROWTHS_MAX];
};
static_assert(sizeof(struct hg_log_growth_table) == 256, "table of growth");

struct hg_log_superblock {
    uint32_t magic;
    uint16_t version;
    uint16_t copy; /* 0..3, so that a misdirected copy is told */
    uint64_t generation;
    uint8_t log_uuid[16];
    uint8_t node_uuid[16];
    uint64_t cluster;
    uint64_t segment_bytes;
    uint32_t segment_count;
    uint32_t write_payload_bytes_max; /* <= HG_LOG_WRITE_PAYLOAD_BYTES_MAX; smaller in simulation */
    uint32_t log_id;
    uint32_t restarts;      /* raised at every recovery: the incarnation of the log */
    uint64_t tail_segment;  /* absolute number of the oldest segment in use; log_growth.h has its place */
    uint64_t tail_sequence; /* sequence of its first write */
    uint64_t hlc_ceiling;   /* no stamp was ever given above it */
    uint64_t epoch_promised[HG_GROUPS_MAX]; /* of each group: nothing older is taken; 0 = none yet */
    uint64_t durable_sequence;   /* newest write known flushed when this was built; 0 = none, or not known */
    uint64_t tail_torn_sequence; /* the newest write that recovery found torn, and wrote over; 0 = none */
    uint8_t reserved[1024 - 120 - 8 * HG_GROUPS_MAX];
    struct hg_log_hole_table holes;             /* zeros: none */
    uint32_t members_generation[HG_GROUPS_MAX]; /* of each group: lower ones are refused; 0 = none yet */
    struct hg_log_growth_table growth;          /* zeros: never grown */
    uint8_t reserved2[4096 - 2048 - 4 * HG_GROUPS_MAX - 256 - 4];
    uint32_t crc32c; /* of the 4092 bytes before it */
};
static_assert(sizeof(struct hg_log_superblock) == HG_DISK_BLOCK_BYTES, "superblock");
static_assert(offsetof(struct hg_log_superblock, members_generation) == 2048, "superblock");
static_assert(offsetof(struct hg_log_superblock, growth) == 2304, "superblock");
static_assert(offsetof(struct hg_log_superblock, epoch_promised) == 104, "superblock");
static_assert(offsetof(struct hg_log_superblock, durable_sequence) == 616, "superblock");
static_assert(offsetof(struct hg_log_superblock, tail_torn_sequence) == 624, "superblock");
static_assert(offsetof(struct hg_log_superblock, holes) == 1024, "superblock");

enum hg_log_write_flags {
    HG_LOG_WRITE_MOVED =
        1, /* it has what was in write moved_sequence; counts only where the table of holes says so */
};

/* First block of every log write, copied to ring block (sequence mod 256) one commit later. */
struct hg_log_write_header {
    uint32_t magic;
    uint16_t version;
    uint16_t flags; /* enum hg_log_write_flags */
    uint8_t log_uuid[16];
    uint32_t restarts; /* of the log when it was written */
    uint32_t batch_count;
    uint64_t sequence;         /* from 1, by one */
    uint64_t durable_sequence; /* newest write known flushed when this was built */
    uint64_t segment;          /* absolute number */
    uint32_t segment_offset;   /* of this block in its segment: tells a misdirected write */
    uint32_t payload_bytes;    /* before padding to 4096 */
    uint32_t previous_crc32c;  /* crc32c of the header of write sequence-1; 0 for the first */
    uint32_t block_count;      /* payload blocks */
    uint64_t hlc_ceiling;
    uint64_t moved_sequence; /* with HG_LOG_WRITE_MOVED, else 0 */
    uint8_t reserved[4096 - 88 - 4 * HG_LOG_WRITE_BLOCKS_MAX - 4];
    uint32_t
        block_crc32c[HG_LOG_WRITE_BLOCKS_MAX]; /* seeded with (log uuid, sequence), zero beyond block_count */
    uint32_t crc32c;                           /* of the 4092 bytes before it */
};
static_assert(sizeof(struct hg_log_write_header) == HG_DISK_BLOCK_BYTES, "log write header");
static_assert(offsetof(struct hg_log_write_header, sequence) == 32, "log write header");
static_assert(offsetof(struct hg_log_write_header, hlc_ceiling) == 72, "log write header");

/* ---- node-local records: payload of a batch with stream 0 and HG_BATCH_LOCAL ---- */
enum hg_local_record_type {
    HG_LOCAL_STREAM =
        1, /* a stream as it stood: written for each at every segment's start, and when opened */
    HG_LOCAL_CONSUMER = 2, /* a registered consumer and its position */
    HG_LOCAL_CONSUMER_REMOVED = 3,
    HG_LOCAL_STREAM_ENDED = 4, /* another log of the node has it: what came before counts no more */
    HG_LOCAL_GROUP = 5,        /* `epoch` of `group` began here: its streams' records stand before it */
    HG_LOCAL_STREAM_CUT = 6,   /* the stream ends at `lsn` now; its batches from there on, before this, are
                                  dead. `chain` is of the one that ends there, `epoch` the newest left.
                                  system_identifier: hg_orphan_chain_head of their file, 0 = not said */
    HG_LOCAL_SESSION = 9,      /* a struct hg_local_session: of the table at a segment's start */
    HG_LOCAL_CONSUMER_LET_GO =
        11, /* a consumer and its position, which the log has not waited for since (drop-behind) */
    HG_LOCAL_STREAM_BEGUN_ANEW =
        12, /* a stream whose history here ends: it goes on at `lsn`, as its origin's log has it */
};
static inline bool hg_local_record_is_known(uint32_t type)
{
    return (type >= HG_LOCAL_STREAM && type <= HG_LOCAL_STREAM_CUT) || type == HG_LOCAL_CONSUMER_LET_GO ||
           type == HG_LOCAL_STREAM_BEGUN_ANEW;
}

struct hg_local_record { /* one fixed size for all types, so that the table is an array */
    uint32_t type;       /* enum hg_local_record_type */
    uint16_t kind;       /* stream: enum hg_stream_kind */
    uint16_t region;     /* stream: of origin */
    uint64_t stream;
    uint32_t incarnation;
    uint32_t group;
    uint64_t epoch;
    uint64_t lsn;               /* stream: end. consumer: position */
    uint64_t system_identifier; /* physical stream: of its PostgreSQL cluster, 0 = not yet known */
    uint8_t chain[16];          /* stream: of its last batch */
    char name[HG_NAME_BYTES];   /* of the stream or the consumer */
    uint32_t
        lsn_unit_bytes;  /* stream: segment size in bytes of a physical stream (wal_segment_size), else 0 */
    uint32_t move;       /* stream: how often it moved between logs */
    uint64_t lsn_begin;  /* stream: first LSN it ever had */
    uint64_t epoch_lsn;  /* stream: where `epoch` began, if epoch_known */
    uint8_t epoch_known; /* group: 1 = `epoch` began, and producers are not let in yet */
    uint8_t
        tail_unknown; /* stream: 1 = more than its end may have been acknowledged, in a write that was torn */
    uint8_t sessions_evicted; /* stream: 1 = it has forgotten clients (dataplane/stream/sessions.h) */
    uint8_t reserved2[1];
    uint32_t floor_behind; /* stream: 1 + `lsn` less what is known to be committed; 0 = not known */
};
static_assert(offsetof(struct hg_local_record, floor_behind) == 124, "local record");
static_assert(sizeof(struct hg_local_record) == 128, "local record");
/* In the place of a record: which entries of a client a stream has (dataplane/stream/sessions.h). A run ends
 * so far before the newest entry, and the newest run is first. */
struct hg_local_session {
    uint32_t type; /* HG_LOCAL_SESSION */
    uint32_t run_count;
    uint64_t stream;
    uint64_t client;
    uint64_t sequence_last;
    uint64_t lsn_last;
    struct {
        uint32_t sequence_back;
        uint32_t lsn_back;
        uint32_t count;
    } runs[HG_SESSION_RUNS_MAX];
    uint8_t is_short; /* 1 = the stream has older entries of it. Tables of earlier builds have 0 */
    uint8_t reserved[3];
};
static_assert(offsetof(struct hg_local_session, is_short) == 124, "local session");
static_assert(sizeof(struct hg_local_session) == sizeof(struct hg_local_record), "in the place of a record");

static_assert((HG_STREAMS_MAX + HG_LOG_CONSUMERS_MAX + HG_GROUPS_MAX + HG_SESSIONS_MAX) *
                          sizeof(struct hg_local_record) +
                      sizeof(struct hg_batch_header) <=
                  HG_LOG_WRITE_PAYLOAD_BYTES_MAX,
              "the table at a segment's start fits one write");

#endif
