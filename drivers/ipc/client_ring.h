/* SPDX-License-Identifier: Apache-2.0
 *
 * The client ring: the shared memory between one client and one worker of the dataplane. An append ring of
 * entries (client to worker), a deliver ring of sealed batches (worker to client), and positions both ways.
 * Offsets only. Pure memory code: no system call but in the create, map and destroy calls; nothing is
 * allocated.
 *
 * Trust: neither side believes the other. Every index and record header is copied to private memory and then
 * validated; a violation poisons the private view for good (its `fault` says why, every later call refuses)
 * and the owner drops the connection. Key, data and batch bytes stay in shared memory while they are used:
 * they may change under the reader at any time, so copy them ONCE and checksum, parse or decide on the copy
 * only.
 *
 * Indices are 64-bit, count bytes since creation and never wrap; place = index mod ring bytes (a power of
 * two). A record lies in one piece: a pad record fills what is left before the ring's end.
 *
 * Doorbells: each side has a sleep word that is odd while it sleeps and differs for every sleep. The sleeper
 * stores it, fences (seq_cst), and looks once more for news before it waits on its eventfd. The other side
 * stores its news, fences (seq_cst), and then loads the word: so either the sleeper sees the news or the
 * other side sees it asleep, and rings, once a sleep.
 *
 * Worker's use, one turn (all calls from the worker's thread):
 *     while (hg_client_ring_append_peek(ring, &record, &key, &data) == 1) {
 *         stop here if the log or the batch can't take it now (back-pressure: what isn't consumed stays)
 *         copy it into the open batch of slot record.slot, if record.attachment is the slot's; else drop and
 * count hg_client_ring_append_consume(ring); }                                       -EBADMSG anywhere: count
 * ring->fault, disconnect the client hg_client_ring_publish(ring); hg_client_ring_acknowledged(ring, slot)
 * for registered consumers while ((p = hg_client_ring_deliver_reserve(ring, slot, bytes))) { copy the batch
 * to p; deliver_commit(ring); } hg_client_ring_position_set(ring, slot, &position) where it changed if
 * (hg_client_ring_doorbell_needed(ring)) write 1 to the client's eventfd and before the worker sleeps:
 * hg_client_ring_sleep_set(ring, true) on all its rings; if hg_client_ring_pending is true of any, set false
 * again and turn once more; else wait (own doorbell eventfds included), then set false.
 */
#ifndef HG_IPC_CLIENT_RING_H
#define HG_IPC_CLIENT_RING_H

#include "drivers/platform/platform.h"

#define HG_CLIENT_ABI                   2u
#define HG_CLIENT_MEMORY_MAGIC          UINT64_C(0x4d454d434f494c48) /* "HLIOCMEM" */
#define HG_CLIENT_SLOTS                 16u
#define HG_CLIENT_REGIONS               32u
#define HG_CLIENT_PAGE_BYTES            4096u
#define HG_CLIENT_APPEND_BYTES_DEFAULT  (16u << 20)
#define HG_CLIENT_DELIVER_BYTES_DEFAULT (8u << 20)
#define HG_CLIENT_RING_BYTES_MIN        4096u
#define HG_CLIENT_RING_BYTES_MAX        (UINT64_C(4) << 30)
#define HG_CLIENT_APPEND_ALIGN_BYTES    8u
#define HG_CLIENT_DELIVER_ALIGN_BYTES   32u
#define HG_CLIENT_KEY_BYTES_MAX         4096u         /* = HG_FRAME_KEY_BYTES_MAX */
#define HG_CLIENT_DATA_BYTES_MAX        (1u << 20)    /* = HG_FRAME_DATA_BYTES_MAX */
#define HG_CLIENT_BATCH_BYTES_MAX       (1088u << 10) /* >= HG_BATCH_BYTES_MAX */
#define HG_CLIENT_OP_MAX                8u /* = HG_OP_INCARNATION; the rest is the dataplane's own */

/* ---- what lies in the append ring ---- */
enum hg_append_type { HG_APPEND_ENTRY = 1, HG_APPEND_PAD = 2 };
enum hg_append_flags {
    HG_APPEND_CONTINUES = 1,
    HG_APPEND_AGAIN = 2, /* of a client_id: it may have been appended before */
};

/* Followed by key and data without a gap, then padding to 8. */
struct hg_append_record {
    uint32_t bytes; /* of the whole record, a multiple of 8 */
    uint8_t type;   /* enum hg_append_type */
    uint8_t op;     /* enum hg_op, 1..HG_CLIENT_OP_MAX */
    uint8_t flags;  /* enum hg_append_flags */
    uint8_t slot;
    uint64_t lsn; /* libheliograph always fills it: what it expects the entry to get; 0 = the next */
    uint32_t span;
    uint32_t table_id;
    uint64_t transaction_id;
    uint64_t hlc;
    uint64_t client_id;
    uint64_t client_sequence;
    uint32_t data_bytes;
    uint16_t key_bytes;
    uint16_t attachment; /* of the slot, from the ANSWER; another one = left over from an earlier stream: drop
                            it */
};
static_assert(sizeof(struct hg_append_record) == 64, "append record");
#define HG_APPEND_RECORD_BYTES_MAX                                                                           \
    (sizeof(struct hg_append_record) + HG_CLIENT_KEY_BYTES_MAX + HG_CLIENT_DATA_BYTES_MAX)

/* ---- what lies in the deliver ring ---- */
enum hg_deliver_type {
    HG_DELIVER_BATCH = 1, /* a sealed batch, unchanged */
    HG_DELIVER_PAD = 2,
    HG_DELIVER_READ_ERROR = 3,     /* nothing more will be delivered to this attachment; `code` says why */
    HG_DELIVER_APPEND_REFUSED = 4, /* the entry at `lsn` was refused with `code`; it and every later record of
                                      this attachment is dropped: the client attaches again */
    HG_DELIVER_CLOSED = 5,         /* the stream was taken away from the client: both of the above */
};

/* Followed by payload_bytes (a batch), then padding to 32. */
struct hg_deliver_record {
    uint32_t bytes; /* of the whole record, a multiple of 32 */
    uint8_t type;   /* enum hg_deliver_type */
    uint8_t slot;
    uint16_t attachment;
    uint32_t payload_bytes;
    int32_t code; /* of the types 3..5: an HG_E_ code of heliograph.h */
    uint64_t lsn; /* of the types 3..5: where; GAP: the oldest that can be read */
    uint64_t reserved;
};
static_assert(sizeof(struct hg_deliver_record) == HG_CLIENT_DELIVER_ALIGN_BYTES,
              "a header never crosses the end");

/* ---- positions ---- */
/* Why a stream is not writable by this client. LOG_FULL passes by itself: appends wait for that. */
#define HG_CLIENT_WHYS(X)                                                                                    \
    X(NONE, "writable")                                                                                      \
    X(NOT_PRODUCER, "attached without append: attach with append = true")                                    \
    X(NOT_ORIGIN, "this region is not the stream's origin: write where it is")                               \
    X(LOG_FULL, "the log is full, appends wait: a peer or a registered consumer is behind, see helioctl "    \
                "show retention")                                                                            \
    X(LOG_FAILED, "the log stopped after an error of its device: the dataplane ends, see helioctl show "     \
                  "events")                                                                                  \
    X(DEPOSED, "a newer epoch of the stream exists: this region was deposed")                                \
    X(REFUSED, "an append was refused: attach again and go on from the durable end")                         \
    X(NO_GRANT, "no write grant: the control plane or its metastore is away; see helioctl show groups")      \
    X(TAIL_UNKNOWN, "the log's last write was torn: waiting for what the other members have of the stream")  \
    X(TAIL_LOST, "the log lost what another member has: the group needs a fail-over, see helioctl show "     \
                 "tails")                                                                                    \
    X(UNNAMED, "the log is new, and not known to be the one that writes the group: see helioctl show "       \
               "groups")
enum hg_client_why {
#define HG_X(name, text) HG_CLIENT_WHY_##name,
    HG_CLIENT_WHYS(HG_X)
#undef HG_X
        HG_CLIENT_WHY_COUNT
};
const char *hg_client_why_text(uint32_t why);

/* A slot's position as both sides hold it privately. In shared memory the same words, behind a seqlock. */
struct hg_client_position {
    uint64_t
        lsn_consumed; /* end of what was taken from the append ring (= end of the stream, before the log) */
    uint64_t lsn_durable;   /* on the local device */
    uint64_t lsn_committed; /* in the region's quorum */
    uint64_t lsn_oldest;    /* that can still be read; 0 = empty */
    uint64_t epoch;
    uint64_t system_identifier;
    uint32_t incarnation;
    uint32_t lsn_unit_bytes;
    uint32_t writable;     /* 0 or 1 */
    uint32_t writable_why; /* enum hg_client_why */
    uint64_t attachment;   /* whose position this is */
    uint64_t reserved[5];
    uint64_t lsn_durable_region[HG_CLIENT_REGIONS]; /* by region number; 0 = unknown */
};
static_assert(sizeof(struct hg_client_position) == 14 * 8 + HG_CLIENT_REGIONS * 8, "position");
#define HG_CLIENT_POSITION_WORDS (sizeof(struct hg_client_position) / 8)

struct hg_client_position_page {
    _Atomic uint64_t sequence; /* odd while it is being written */
    _Atomic uint64_t words[HG_CLIENT_POSITION_WORDS];
    uint64_t reserved[512 / 8 - 1 - HG_CLIENT_POSITION_WORDS];
};
static_assert(sizeof(struct hg_client_position_page) == 512, "position page");

/* ---- the memory: head | dataplane's page | client's page | positions | append ring | deliver ring ---- */
struct hg_client_memory_head { /* written once, before the client sees the memory */
    uint64_t magic;
    uint32_t abi;
    uint32_t slot_count;
    uint64_t memory_bytes;
    uint64_t boot;       /* of the dataplane: another one = everything here is of a dead process */
    uint64_t generation; /* of this memory within the boot */
    uint64_t append_offset, append_bytes;
    uint64_t deliver_offset, deliver_bytes;
    uint64_t deliver_credit_bytes; /* a slot's share of undelivered bytes */
    uint64_t dataplane_offset, client_offset, positions_offset;
    uint8_t reserved[HG_CLIENT_PAGE_BYTES - 104];
};
static_assert(sizeof(struct hg_client_memory_head) == HG_CLIENT_PAGE_BYTES, "memory head");

struct hg_client_memory_dataplane { /* written by the dataplane only */
    _Atomic uint64_t append_head HG_CACHE_ALIGNED;
    _Atomic uint64_t deliver_tail HG_CACHE_ALIGNED;
    _Atomic uint64_t position_changes; /* counts position writes of all slots */
    _Atomic uint64_t sleep HG_CACHE_ALIGNED;
    _Atomic uint64_t closed; /* not 0: the dataplane uses this memory no more */
    uint8_t reserved[HG_CLIENT_PAGE_BYTES - 3 * HG_CACHE_LINE_BYTES] HG_CACHE_ALIGNED;
};
static_assert(sizeof(struct hg_client_memory_dataplane) == HG_CLIENT_PAGE_BYTES, "dataplane page");

struct hg_client_memory_slot {
    _Atomic uint64_t attachment; /* that lsn_acknowledged speaks of */
    _Atomic uint64_t lsn_acknowledged;
    _Atomic uint64_t released_bytes; /* of deliver records of this slot, since creation */
    uint64_t reserved;
};

struct hg_client_memory_client { /* written by the client only */
    _Atomic uint64_t append_tail HG_CACHE_ALIGNED;
    _Atomic uint64_t deliver_head HG_CACHE_ALIGNED;
    _Atomic uint64_t sleep HG_CACHE_ALIGNED;
    _Atomic uint64_t changes HG_CACHE_ALIGNED; /* counts acknowledgements and releases */
    struct hg_client_memory_slot slots[HG_CLIENT_SLOTS] HG_CACHE_ALIGNED;
    uint8_t reserved[HG_CLIENT_PAGE_BYTES - 4 * HG_CACHE_LINE_BYTES - 32 * HG_CLIENT_SLOTS];
};
static_assert(sizeof(struct hg_client_memory_client) == HG_CLIENT_PAGE_BYTES, "client page");
static_assert(offsetof(struct hg_client_memory_client, slots) == 4 * HG_CACHE_LINE_BYTES, "client page");

/* Why a view is poisoned; every reason has its own counter at the owner (the text is its name in `show
 * drops`). */
#define HG_CLIENT_FAULTS(X)                                                                                  \
    X(NONE, "none")                                                                                          \
    X(INDEX_RANGE, "client_index_range")   /* an index went back or ahead of what the ring holds */          \
    X(INDEX_ALIGN, "client_index_align")   /* an index is not aligned */                                     \
    X(RECORD_BYTES, "client_record_bytes") /* a record is larger than what is used, or crosses the end */    \
    X(RECORD_TYPE, "client_record_type")   /* unknown type or flag */                                        \
    X(RECORD_SLOT, "client_record_slot")   /* a slot beyond the last */                                      \
    X(RECORD_SIZES, "client_record_sizes") /* key and data exceed their limits or don't add up */            \
    X(RECORD_OP, "client_record_op")       /* unknown operation, or one that clients may not use */          \
    X(RELEASED_RANGE,                                                                                        \
      "client_released_range") /* more bytes released than were delivered, or fewer than before */           \
    X(CREDIT, "client_credit") /* delivered beyond the slot's credit */
enum hg_client_fault {
#define HG_X(name, text) HG_CLIENT_FAULT_##name,
    HG_CLIENT_FAULTS(HG_X)
#undef HG_X
        HG_CLIENT_FAULT_COUNT
};
const char *hg_client_fault_name(uint32_t fault);

/* Bytes of memory for rings of these sizes (each a power of two within HG_CLIENT_RING_BYTES_MIN/MAX); 0 = bad
 * sizes. */
uint64_t hg_client_memory_bytes(uint64_t append_bytes, uint64_t deliver_bytes);

/* Fills the head of a memory with these rings, but for boot and generation. Any thread. */
void hg_client_memory_layout(struct hg_client_memory_head *head, uint64_t append_bytes,
                             uint64_t deliver_bytes);

/* ---- the dataplane's side ---- */
/* Private; the fields are for the tests. Embed it; create or init fills it. */
struct hg_client_ring {
    struct hg_client_memory_head *head;
    struct hg_client_memory_dataplane *own;
    struct hg_client_memory_client *client; /* hostile */
    struct hg_client_position_page *positions;
    uint8_t *append; /* hostile */
    uint8_t *deliver;
    uint64_t memory_bytes;
    uint64_t append_bytes, deliver_bytes,
        deliver_credit_bytes;  /* our own copies: the head is writable to the client */
    uint64_t append_head;      /* next to peek */
    uint64_t append_published; /* what the client knows of append_head */
    uint64_t append_tail;      /* validated copy */
    uint64_t append_peeked;    /* bytes of the record peeked; 0 = none */
    uint64_t deliver_tail;
    uint64_t deliver_head;     /* validated copy */
    uint64_t deliver_reserved; /* bytes reserved, pad included; 0 = none */
    uint64_t deliver_place;    /* index of the record reserved */
    struct hg_deliver_record deliver_record;
    uint64_t sent_bytes[HG_CLIENT_SLOTS];
    uint64_t released_bytes[HG_CLIENT_SLOTS]; /* validated copies */
    uint64_t position_sequence[HG_CLIENT_SLOTS];
    uint64_t position_changes;
    uint16_t attachments[HG_CLIENT_SLOTS];
    uint64_t changes_seen;
    uint64_t append_tail_seen;
    uint64_t sleep;
    uint64_t rung;  /* the client's sleep word when we last rang */
    uint32_t fault; /* enum hg_client_fault */
    bool news;      /* stored something since the last doorbell_needed */
    bool mapped;    /* by create: destroy unmaps */
};

/* Makes the memory: a memfd sealed against size changes. Returns 0 with *memfd (close-on-exec; the caller
 * sends it to the client and closes it), or -errno: EINVAL (bad sizes), ENOMEM, EMFILE... */
int hg_client_ring_create(struct hg_client_ring *ring, uint64_t append_bytes, uint64_t deliver_bytes,
                          uint64_t boot, uint64_t generation, int *memfd);
/* The same in memory of the caller (4 KiB aligned, hg_client_memory_bytes), for tests and the simulator. */
void hg_client_ring_init(struct hg_client_ring *ring, void *memory, uint64_t append_bytes,
                         uint64_t deliver_bytes, uint64_t boot, uint64_t generation);
/* Marks the memory closed for the client and, when made by create, unmaps it. */
void hg_client_ring_destroy(struct hg_client_ring *ring);

/* A slot is given to a stream: returns the attachment number (never 0) to put into the ANSWER. Frees the
 * slot's deliver credit of earlier attachments as the client throws their records away. Set the slot's
 * position before answering. */
uint16_t hg_client_ring_slot_attach(struct hg_client_ring *ring, uint32_t slot);

/* The oldest entry not consumed: fills *record (private copy, validated) and points at its key and data in
 * shared memory (copy once!). Returns 1; 0 = nothing; -EBADMSG = poisoned. May be called again: the same
 * record. */
int hg_client_ring_append_peek(struct hg_client_ring *ring, struct hg_append_record *record,
                               const uint8_t **key, const uint8_t **data);
/* Steps over the record peeked. Its space goes back to the client at the next publish (or by itself every 1/8
 * ring). */
void hg_client_ring_append_consume(struct hg_client_ring *ring);
void hg_client_ring_publish(struct hg_client_ring *ring);

/* Room for a batch of `bytes` for this slot: 16-byte aligned memory to write it to, or NULL when the ring is
 * full, the slot's credit is used up, or the view is poisoned. Nothing is visible before deliver_commit;
 * another reserve or none at all forgets it. bytes <= HG_CLIENT_BATCH_BYTES_MAX and <= credit (asserted: see
 * deliver_fits). */
uint8_t *hg_client_ring_deliver_reserve(struct hg_client_ring *ring, uint32_t slot, uint32_t bytes);
void hg_client_ring_deliver_commit(struct hg_client_ring *ring);
/* Whether a batch of this size can ever be delivered through this ring. */
bool hg_client_ring_deliver_fits(const struct hg_client_ring *ring, uint32_t bytes);
/* Sends one of the types READ_ERROR, APPEND_REFUSED, CLOSED to the slot's attachment; needs no credit.
 * Returns false when the ring is full: try again next turn. */
bool hg_client_ring_deliver_error(struct hg_client_ring *ring, uint32_t slot, enum hg_deliver_type type,
                                  int32_t code, uint64_t lsn);
/* Bytes delivered to the slot and not read yet. */
uint64_t hg_client_ring_deliver_outstanding(struct hg_client_ring *ring, uint32_t slot);

/* Publishes a slot's position (`attachment` is filled in). */
void hg_client_ring_position_set(struct hg_client_ring *ring, uint32_t slot,
                                 const struct hg_client_position *position);
/* How far the slot's present attachment says it is done; unchecked: compare with what was delivered. 0 =
 * never said. */
uint64_t hg_client_ring_acknowledged(struct hg_client_ring *ring, uint32_t slot);

/* True when the client sleeps and something was stored for it since: write its eventfd. Once a turn, after
 * the rest. */
bool hg_client_ring_doorbell_needed(struct hg_client_ring *ring);
/* The worker's own sleep word. */
void hg_client_ring_sleep_set(struct hg_client_ring *ring, bool sleeping);
/* Whether the client stored something that the worker has not looked at. After sleep_set(true). */
bool hg_client_ring_pending(struct hg_client_ring *ring);

/* ---- the client's side ---- */
struct hg_client_view {
    struct hg_client_memory_dataplane *dataplane; /* hostile */
    struct hg_client_memory_client *own;
    struct hg_client_position_page *positions; /* hostile */
    uint8_t *append;
    uint8_t *deliver; /* hostile */
    void *memory;
    uint64_t memory_bytes;
    uint64_t boot, generation;
    uint64_t append_bytes, deliver_bytes, deliver_credit_bytes;
    uint64_t append_tail;      /* written */
    uint64_t append_published; /* visible to the worker */
    uint64_t append_head;      /* validated copy */
    uint64_t deliver_head;
    uint64_t deliver_tail;        /* validated copy */
    uint64_t deliver_peeked;      /* bytes of the record peeked; 0 = none */
    uint32_t deliver_peeked_slot; /* that it counts against; HG_CLIENT_SLOTS = none */
    uint64_t delivered_bytes[HG_CLIENT_SLOTS];
    uint64_t released_bytes[HG_CLIENT_SLOTS];
    uint64_t changes;
    uint64_t position_changes_seen;
    uint64_t deliver_tail_seen;
    uint64_t append_head_seen;
    uint64_t sleep;
    uint64_t rung;
    uint32_t fault; /* enum hg_client_fault */
    bool news;
    bool mapped;
};

/* Takes memory that the dataplane made. Copies and checks its head. Returns 0, -EPROTO (another ABI),
 * -EBADMSG (sizes and offsets that don't hold together). */
int hg_client_view_init(struct hg_client_view *view, void *memory, uint64_t memory_bytes);
/* Maps a received memfd (checks that it is sealed against shrinking, so that no access can fault). Returns 0,
 * the codes above, or -errno. The descriptor stays the caller's. */
int hg_client_view_map(struct hg_client_view *view, int memfd);
void hg_client_view_unmap(struct hg_client_view *view);

/* Copies one entry into the append ring; `bytes` and `type` of the record are filled in. Visible after
 * publish. Returns 0; -EAGAIN when the ring is full; -EMSGSIZE when it can never fit; -EBADMSG = poisoned. */
int hg_client_view_append(struct hg_client_view *view, const struct hg_append_record *record, const void *key,
                          const void *data);
void hg_client_view_append_publish(struct hg_client_view *view);

/* The oldest delivered record: private copy of its header, validated; payload in shared memory (copy once!).
 * Returns 1, 0 (nothing) or -EBADMSG. */
int hg_client_view_deliver_peek(struct hg_client_view *view, struct hg_deliver_record *record,
                                const uint8_t **payload);
/* Gives its space in the ring back. Its slot's credit comes back by release only. */
void hg_client_view_deliver_consume(struct hg_client_view *view);
/* The batch of `record_bytes` (the record's bytes) was read or thrown away: the slot may get as much again.
 */
void hg_client_view_release(struct hg_client_view *view, uint32_t slot, uint64_t record_bytes);

/* After an ANSWER: the slot is ours under this attachment, nothing of it is acknowledged. */
void hg_client_view_slot_attach(struct hg_client_view *view, uint32_t slot, uint16_t attachment);
void hg_client_view_acknowledge(struct hg_client_view *view, uint32_t slot, uint64_t lsn);
/* A consistent copy. Returns false when the writer was in the middle of it for too long (it died there). */
bool hg_client_view_position_get(const struct hg_client_view *view, uint32_t slot,
                                 struct hg_client_position *position);
/* lsn_durable alone, one load. */
uint64_t hg_client_view_durable(const struct hg_client_view *view, uint32_t slot);
/* lsn_committed alone, one load. */
uint64_t hg_client_view_committed(const struct hg_client_view *view, uint32_t slot);
/* `writable` and `writable_why` alone, one load. */
bool hg_client_view_writable(const struct hg_client_view *view, uint32_t slot, uint32_t *why);
bool hg_client_view_closed(const struct hg_client_view *view);

bool hg_client_view_doorbell_needed(
    struct hg_client_view *view); /* the worker sleeps and there is news for it */
void hg_client_view_sleep_set(struct hg_client_view *view, bool sleeping);
/* Says that the caller is about to look at everything: what is there now is no news any more. */
void hg_client_view_seen(struct hg_client_view *view);
/* Whether the worker stored something since view_seen. After sleep_set(true). */
bool hg_client_view_pending(struct hg_client_view *view);

#endif
