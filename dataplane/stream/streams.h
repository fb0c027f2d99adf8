/* SPDX-License-Identifier: Apache-2.0
 *
 * The streams of one worker: their positions and chains, the open batches, what is appended and what is
 * durable, the registered consumers, and what the log may forget. Everything here is rebuilt from the log at
 * recovery; the configuration (names, origins, peers) comes from the control plane and may only agree with
 * it. A pure core over hg_log. Owning worker only; nothing is allocated after init.
 */
#ifndef HG_STREAM_STREAMS_H
#define HG_STREAM_STREAMS_H

#include "dataplane/group/epoch.h"
#include "dataplane/group/history.h"
#include "dataplane/stream/cursor.h"
#include "dataplane/stream/event.h"
#include "dataplane/stream/marks.h"
#include "dataplane/stream/retention.h"
#include "dataplane/stream/sessions.h"
#include "dataplane/wal/hlc.h"
#include "dataplane/wal/index.h"
#include "drivers/ipc/control_state.h"

#define HG_STREAM_CUTS_MAX   4 /* whose dead batches are still in the log */
#define HG_STREAMS_PEERS_MAX HG_CONTROL_PEERS_MAX
static_assert(HG_STREAMS_PEERS_MAX <= HG_RETENTION_PEERS_MAX, "each peer may have a limit");
#define HG_STREAMS_OPEN_BATCHES_MAX 32 /* raw buffers; a further stream's first frame seals the oldest */
#define HG_STREAMS_COMMITS_MAX      (1u << 16)
#define HG_STREAMS_DRIFT_NS         (250 * HG_NS_PER_MS) /* a stamp further ahead is refused */
#define HG_STREAMS_BATCH_AGE_NS     (100 * HG_NS_PER_MS)
#define HG_STREAMS_BATCH_FRAMES     5000u
#define HG_STREAMS_CONSUMER_SAVE_NS HG_NS_PER_S
#define HG_STREAMS_CODEC_BYTES_MIN                                                                           \
    (16u << 10)                       /* smaller batches are compressed whatever came before them            \
                                       */
#define HG_STREAMS_CODEC_SKIP_MAX 15u /* batches stored raw between two attempts at most */

/* Why an append is refused; each is counted and told to the client by name. */
#define HG_APPEND_REASONS(X)                                                                                 \
    X(OK, "fine")                                                                                            \
    X(WOULD_BLOCK, "the log takes nothing now")                                                              \
    X(GAP, "appends that leave a hole before them")                                                          \
    X(OVERLAP, "appends that begin before the stream's end")                                                 \
    X(NOT_ORIGIN, "appends in a region that is not the stream's origin")                                     \
    X(SEALED, "appends to a group whose epoch is sealed")                                                    \
    X(LIMITS, "appends with a size or span out of limits")                                                   \
    X(STAMP, "appends whose time stamp is too far ahead")                                                    \
    X(GRANT, "appends without a write grant")                                                                \
    X(UNNAMED, "appends to an empty log that is not known to be the one to write the group")                 \
    X(DUPLICATE, "retries of entries that are there: their LSN is the answer")                               \
    X(SESSION_OLD, "entries older than what is known of their client")                                       \
    X(SESSION_EVICTED, "retries of clients that were forgotten")
enum hg_append_reason {
#define HG_X(name, text) HG_APPEND_##name,
    HG_APPEND_REASONS(HG_X)
#undef HG_X
        HG_APPEND_REASON_COUNT
};

/* Why a sealed batch from a peer is refused. */
#define HG_SEALED_REASONS(X)                                                                                 \
    X(OK, "fine")                                                                                            \
    X(WOULD_BLOCK, "the log takes nothing now")                                                              \
    X(VERIFY, "sealed batches that fail their checks")                                                       \
    X(CLUSTER, "sealed batches of another cluster")                                                          \
    X(STREAM, "sealed batches of another stream, region or kind than their alias")                           \
    X(INCARNATION, "sealed batches of another incarnation than the stream's")                                \
    X(GROUP, "sealed batches of another group than the stream's: configure it alike everywhere")             \
    X(POSITION, "sealed batches that do not begin at the stream's end")                                      \
    X(CHAIN, "sealed batches that do not follow from what is here")                                          \
    X(EPOCH, "sealed batches of a writer whose epoch is over")                                               \
    X(ORDER, "sealed batches of an epoch that their writer, or the stream here, can't have")                 \
    X(SIZE, "sealed batches larger than a write of this log: format the logs of all regions alike")
enum hg_sealed_reason {
#define HG_X(name, text) HG_SEALED_##name,
    HG_SEALED_REASONS(HG_X)
#undef HG_X
        HG_SEALED_REASON_COUNT
};

/* Where the log of a stream's origin begins, as the origin says, when we lack something before that. */
struct hg_stream_horizon {
    uint64_t lsn_begin; /* of the stream, wherever it is */
    uint64_t lsn;       /* 0 = we lack nothing, as far as we were told */
    uint64_t epoch;
    uint64_t epoch_lsn;
    uint32_t incarnation;
    bool epoch_known;
    bool told;
    uint32_t peer; /* who said it, by which worker */
    uint32_t worker;
    uint16_t alias; /* of the stream there, and what its next opening will be */
    uint8_t opening;
    uint8_t chain[16];
};

struct hg_stream_state {
    char name[HG_NAME_BYTES];
    uint64_t stream;
    uint32_t incarnation;
    uint32_t group;
    uint16_t region;        /* of origin */
    uint16_t kind;          /* enum hg_stream_kind */
    bool configured;        /* known to the control plane, not to the log alone */
    bool moving;            /* to another log of this node: nothing is taken (dataplane/stream/move.h) */
    bool ended;             /* another log has it now; nothing else here counts */
    bool end_waits;         /* for the end record of another stream */
    uint32_t move;          /* how often it moved: of two logs that have it, the higher number owns it */
    uint64_t configuration; /* the newest one that named it */
    bool origin_local;
    bool origin_known;         /* it was configured: only then can be told what is committed */
    uint8_t codec;             /* enum hg_codec */
    uint8_t codec_skip;        /* large batches that are stored raw after one that did not compress */
    uint8_t codec_skip_left;   /* of these */
    uint64_t epoch;            /* that it is written under, as far as this log knows */
    struct hg_history history; /* who wrote what is here */
    uint64_t epoch_recorded;   /* the newest whose beginning here is on the device as a record of its own */
    uint64_t adopt_epoch;      /* of another writer, to be recorded as begun at adopt_lsn; 0 = none */
    uint64_t adopt_lsn;   /* where it began: recorded when all below is here (dataplane/stream/follow.h) */
    bool adopt_due;       /* it is */
    uint64_t adopt_write; /* that has the record; 0 = the log has not taken it yet */
    uint64_t lsn_floor;   /* committed, as an earlier life of this copy knew */
    uint64_t cut_write;   /* that has the record of its last cut in this life (dataplane/stream/cut.h) */
    uint32_t cut_count;
    struct {
        uint64_t sequence; /* batches in writes before this one ... */
        uint64_t lsn;      /* ... from here on are cut off */
    } cuts[HG_STREAM_CUTS_MAX];
    bool sessions_evicted; /* clients of it were forgotten (sessions.h) */
    bool tail_unknown;     /* at recovery more may have been lost (hg_log_tail_is_torn); an epoch ends it, or
                              the word of the other members (dataplane/stream/tail.h) */
    bool tail_chosen;  /* an epoch begins here; that its record ends this is not known to be durable yet */
    uint8_t tail_told; /* enum hg_streams_tail */
    uint64_t tail_since_ns;
    uint64_t tail_said;     /* peers that said that they have no more, a bit each */
    uint64_t tail_vague;    /* those of them whose own end is torn */
    uint64_t tail_more;     /* those that have more */
    uint64_t tail_lsn_more; /* what they said */
    /* Recovery: [lost_first, lost_end) was in a write that is lost, which an operator accepted; the stream
     * begins anew at lost_end. Zeros: nothing of it was. */
    uint64_t lost_first;
    uint64_t lost_end;
    uint32_t holes; /* of the log, that lie before its newest batch or record */
    uint64_t system_identifier;
    uint32_t lsn_unit_bytes;
    uint64_t peers_mask;  /* who gets it, when we are the origin */
    uint64_t origin_node; /* another one that writes it; 0 = any of its region */
    struct {
        uint64_t epoch; /* up to it, and of the first one, the command file says who writes */
        uint64_t node;
        bool is_local;
    } writer_configured;
    uint64_t writer_epoch; /* newest under which another node opened it here, in the life of this process */
    uint64_t writer_node;  /* that one */

    /* lsn_begin <= lsn_durable <= lsn_sealed <= lsn_taken; lsn_committed <= lsn_durable */
    uint64_t lsn_begin;          /* first it ever had; 0 = empty */
    uint64_t lsn_taken;          /* end of what the open batch holds */
    uint64_t lsn_sealed;         /* end of what the log was given */
    uint64_t lsn_durable;        /* end of what is on the device */
    uint64_t lsn_committed;      /* end of what a quorum of the region of origin has on its devices */
    uint64_t lsn_committed_told; /* by the origin, another node of this region */
    uint64_t lsn_granted;        /* lsn_durable when it was last told under a write grant */
    uint64_t lsn_settle;         /* lsn_durable when a peer's log, or who counts, last became another one */
    uint64_t committed_ns;       /* when it last moved, or had all that is durable */
    bool quorum_lost;            /* it was said */
    uint8_t chain_sealed[16];
    uint8_t chain_durable[16];
    uint64_t lsn_peer[HG_STREAMS_PEERS_MAX];      /* durable there, by its newest word */
    uint64_t lsn_peer_told[HG_STREAMS_PEERS_MAX]; /* the most that it ever said: clients know of it */
    uint64_t lsn_counted[HG_STREAMS_PEERS_MAX];   /* like lsn_peer, of that very copy: a quorum counts it */
    uint64_t copy_peer[HG_STREAMS_PEERS_MAX];     /* whose word that is: of its log's uuid */
    uint64_t voters_there;                        /* peers that know that their copy counts, a bit each */
    uint64_t sequence_peer[HG_STREAMS_PEERS_MAX]; /* writes before it hold nothing that the peer lacks */
    struct hg_stream_horizon horizon;
    /* That it begins anew there is in the log, and not yet known to be durable: what the log is given behind
     * it has to follow from it. */
    bool anew_pending;
    uint64_t lsn_needed;    /* taken from a peer: what is below holds the oldest segment of its log */
    bool positions_changed; /* it is among the changed ones */

    int32_t raw_slot; /* of the open batch, -1 = none */
    uint64_t batch_opened_ns;
    struct hg_batch_builder builder;
    struct hg_index index;
    uint64_t sequence_last; /* write of its newest batch; 0 = none since the log's tail */
    struct hg_marks marks;
    struct hg_retention_limit keep; /* of it, for readers that may come */

    uint64_t frames_count;
    uint64_t batches_count;
    uint64_t raw_bytes;
    uint64_t stored_bytes;
};

struct hg_consumer_state {
    char name[HG_NAME_BYTES];
    uint32_t slot; /* of its stream */
    bool used;
    bool dirty;
    uint32_t attached_count; /* 0 or 1 */
    uint64_t sequence;       /* the write that has its registration; 0 = one of before this process */
    uint64_t lsn;
    uint64_t saved_ns;
    struct hg_retention_limit limit; /* it holds no more of the log */
    bool let_go;                     /* it was behind that; the log has it on record */
    uint64_t let_go_sequence;        /* the write that has it; 0 = one of before this process */
};

struct hg_streams_config {
    uint64_t cluster;
    uint16_t region;
    uint32_t streams_max; /* <= HG_STREAMS_MAX */
    /* Frames of a batch at most; 0 = the format's limits. A log with smaller writes than the format's needs
     * it: a frame that is larger is refused. */
    uint32_t batch_raw_bytes_max;
    uint32_t worker; /* which names the log in events */
    struct hg_clock *clock;
    struct hg_event_sink *events;
};

struct hg_streams;

struct hg_streams *hg_streams_init(const struct hg_streams_config *config);
void hg_streams_free(struct hg_streams *streams);
/* The log's callbacks; give them to hg_log_open with the streams as ctx, then tell the streams their log. */
extern const struct hg_log_ops hg_streams_log_ops;
void hg_streams_log_set(struct hg_streams *streams, struct hg_log *log);
/* After the log is READY: everything recovered is durable. */
void hg_streams_recovered(struct hg_streams *streams);
/* True when recovery saw batches that do not follow from each other. */
bool hg_streams_recovery_broken(const struct hg_streams *streams);

uint32_t hg_streams_count(const struct hg_streams *streams);
struct hg_stream_state *hg_streams_at(struct hg_streams *streams, uint32_t slot);
/* Slot of a stream id or a name, -1 = unknown. A log may have several streams of one name, of which one is
 * configured: that one is meant. */
int32_t hg_streams_find(const struct hg_streams *streams, uint64_t stream);
int32_t hg_streams_find_name(const struct hg_streams *streams, const char *name);

/* What the control plane wants of a stream; its `node` is 0 where that is this one. Idempotent. 0; -ENOSPC;
 * -EINVAL for a group that can't be; -EEXIST when it contradicts what is known (another kind or region,
 * another group than its batches are of); -ESTALE when it moved to another log, which is not here, else that
 * one's worker would be asked: it is not begun anew beside it. The last two are events too. */
int hg_streams_configure(struct hg_streams *streams, const struct hg_config_stream *config);
/* Around the hg_streams_configure of one whole configuration: a stream that it does not name is not
 * configured any more. It is not appended to, sent or taken, and from the first whole configuration on the
 * log keeps nothing for it but what consumers need. Before that, nobody has said who wants what, and all is
 * kept. */
void hg_streams_configure_begin(struct hg_streams *streams);
void hg_streams_configure_end(struct hg_streams *streams);
/* A producer or an origin says which PostgreSQL cluster, timeline and segment size the stream is of. An empty
 * stream adopts them (recorded in the log); others must agree. Returns 0; -EAGAIN = the log takes nothing
 * now, ask again; -EXDEV = another system identifier or unit; -ESTALE = another incarnation. */
int hg_streams_adopt(struct hg_streams *streams, uint32_t slot, uint64_t system_identifier,
                     uint32_t incarnation, uint32_t lsn_unit_bytes);

/* ---- appending ---- */
/* Adds a frame to the stream's open batch. lsn 0 = the next, for streams that count. DUPLICATE: frame->lsn is
 * where it is already, durable or on its way there. `frame->hlc` is the highest stamp the writer has seen (0
 * = none). */
enum hg_append_reason hg_streams_append(struct hg_streams *streams, uint32_t slot, struct hg_frame *frame,
                                        uint64_t now_ns);
/* Seals open batches: all of them, or only those that are full or old. Returns how many; stops when the log
 * is full. */
uint32_t hg_streams_seal(struct hg_streams *streams, bool all, uint64_t now_ns);
bool hg_streams_has_open(const struct hg_streams *streams);
/* When the oldest open batch must be sealed. */
uint64_t hg_streams_deadline_ns(const struct hg_streams *streams);
/* Appends a batch that its origin sealed: verifies it against the stream, then copies it into the log
 * unchanged. `epoch_writer`: of who sends it; the batch may be older. In a full log only what is below
 * lsn_needed finds room. */
enum hg_sealed_reason hg_streams_append_sealed(struct hg_streams *streams, uint32_t slot,
                                               uint64_t epoch_writer, const uint8_t *batch, uint32_t bytes,
                                               uint64_t now_ns);
/* Moves durable positions up to the log's durable sequence. Returns true when one moved. */
bool hg_streams_commit(struct hg_streams *streams, uint64_t now_ns);

/* What is appended waits for the log's device: all memory for it is on its way there. */
bool hg_streams_device_is_behind(const struct hg_streams *streams);
const uint64_t *hg_streams_append_counts(const struct hg_streams *streams); /* by enum hg_append_reason */
const uint64_t *hg_streams_sealed_counts(const struct hg_streams *streams); /* by enum hg_sealed_reason */

/* ---- positions elsewhere, consumers, retention ---- */
/* Streams whose positions moved since hg_streams_changed_clear: their slots, each once. */
const uint32_t *hg_streams_changed(const struct hg_streams *streams, uint32_t *count);
void hg_streams_changed_clear(struct hg_streams *streams);
void hg_streams_peer_durable(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn);

/* The quorum of this region (docs/architecture.md, A region's quorum). A stream is committed at its origin up
 * to the w-th largest end among this node's device and those of `members`, the peers of this region that get
 * the stream, a bit each. On other nodes of its region as far as the origin says, and is durable here; in
 * other regions all that comes is committed. Committed only rises in the life of a process, and is counted
 * anew in the next one. */
#define HG_STREAMS_QUORUM_NEVER    UINT32_MAX /* as w: nothing is committed any more */
#define HG_STREAMS_QUORUM_QUIET_NS (3 * HG_NS_PER_S)
/* Until it is called, w is 1 and there are no members. */
void hg_streams_quorum_set(struct hg_streams *streams, uint64_t members, uint32_t w);
/* Entries of this region, of a group of it at least, count only when other nodes have them. */
bool hg_streams_has_quorum(const struct hg_streams *streams);
/* Those of this group, as far as is known: also before its members are said again after a restart. */
bool hg_streams_group_has_quorum(const struct hg_streams *streams, uint32_t group);
/* The peer says anew where it stands, which may be less than it once did: that counts. When it is another
 * copy than the one that spoke before (`copy`: of its log's uuid), what that one said counts no more, also
 * where this one has more: nothing of it was compared yet. `is_voter`: it says that its copy counts. */
void hg_streams_peer_restated(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                              uint64_t copy, bool is_voter);
/* The peer is no longer one: what it said counts no more, also when it comes back. */
void hg_streams_peer_gone(struct hg_streams *streams, uint32_t peer);
/* The origin, another node of this region, says that everything below is committed. */
void hg_streams_committed_told(struct hg_streams *streams, uint32_t slot, uint64_t lsn);
/* All below was committed, as this copy knows: by its own count, the writer's word, or a record of an earlier
 * life. It may lie above the copy's end: the copy lags behind what it was told of, or lost some of it since.
 */
uint64_t hg_streams_committed_known(const struct hg_stream_state *s);
/* Says by name which streams have waited for their quorum for HG_STREAMS_QUORUM_QUIET_NS, and that it is
 * over. */
void hg_streams_quorum_watch(struct hg_streams *streams, uint64_t now_ns);
/* No write before `sequence` holds a batch of the stream behind the peer's position: whoever walked the log
 * for the peer knows better than the index, which is coarse in a long log. */
void hg_streams_peer_passed(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t sequence);
/* The peer says what it has, behind which its stream goes on: where that is less than before, its log was
 * made anew or lost some, and what it lacks now is kept for it again. */
void hg_streams_peer_begins(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn);
/* The peer has less than we thought, but all before `lsn`, which is in write `sequence` or later, as far as
 * this log is concerned: it is kept from there on. */
void hg_streams_peer_lacks(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                           uint64_t sequence);
/* The oldest write that the log has and may keep for the peer (its limit, hg_streams_peer_limit). */
uint64_t hg_streams_peer_kept_from(const struct hg_streams *streams, uint32_t peer, uint64_t now_ns);
/* The oldest write that may hold something of the stream that the peer lacks. */
uint64_t hg_streams_peer_needs(const struct hg_streams *streams, uint32_t slot, uint32_t peer);
/* The clients that the log knows, from the one that was used last (NULL) to the next older one; NULL = no
 * more. */
const struct hg_session *hg_streams_session_older(const struct hg_streams *streams,
                                                  const struct hg_session *session);
/* Registers (idempotent) or finds; -1 = table full or the log takes nothing now. It is registered when the
 * log is durable up to its `sequence`: nobody is told so before. */
int32_t hg_streams_consumer_add(struct hg_streams *streams, const char *name, uint32_t slot);
int32_t hg_streams_consumer_find(const struct hg_streams *streams, const char *name);
struct hg_consumer_state *hg_streams_consumer_at(struct hg_streams *streams, uint32_t consumer);
/* Only rises, and never above the stream's durable end. */
void hg_streams_consumer_advance(struct hg_streams *streams, uint32_t consumer, uint64_t lsn);
/* 0; -ENOENT; -EBUSY while attached; -EAGAIN. *sequence = the write that has it: removed when that is
 * durable. */
int hg_streams_consumer_remove(struct hg_streams *streams, const char *name, uint64_t *sequence);
/* The most that a peer or a consumer may hold of the log; zeros = all of it. Who needs more is let go of, by
 * name: what it lacks beyond that goes when its place is needed, and if it comes back later than that, it is
 * told of the gap. A consumer that is let go of is on record in the log before anything goes. `name`: of the
 * peer, for events. */
void hg_streams_peer_limit(struct hg_streams *streams, uint32_t peer, const char *name,
                           const struct hg_retention_limit *limit);
void hg_streams_consumer_limit(struct hg_streams *streams, const char *name,
                               const struct hg_retention_limit *limit);
/* What the log keeps at least when nobody needs it, while there is room. hg_streams_configure has the same
 * for each stream. */
void hg_streams_log_keep(struct hg_streams *streams, const struct hg_retention_limit *keep);
/* As of the last hg_streams_retain. */
const struct hg_retention *hg_streams_retention(const struct hg_streams *streams);
/* "peer b" */
void hg_streams_holder_text(const struct hg_streams *streams, const struct hg_holder *holder, char *text,
                            size_t text_bytes);
/* Saves moved consumer positions, finds out who holds the log, and tells it what nobody needs. Call every 100
 * ms or so, and under pressure. */
void hg_streams_retain(struct hg_streams *streams, uint64_t now_ns);

/* Where in the log to start for a reader that has everything below lsn (0 = from the beginning). */
uint64_t hg_streams_sequence_of(const struct hg_streams *streams, uint32_t slot, uint64_t lsn);
/* What of the stream is, at most, in write `sequence` of the log: [*lsn_first, *lsn_end), on the device.
 * False: nothing. */
bool hg_streams_range_in(const struct hg_streams *streams, uint32_t slot, uint64_t sequence,
                         uint64_t *lsn_first, uint64_t *lsn_end);
/* The LSN from which on hg_streams_sequence_of gives a write after `sequence`: who has everything below it
 * needs no write up to that one. */
uint64_t hg_streams_lsn_after(const struct hg_streams *streams, uint32_t slot, uint64_t sequence);
/* Oldest LSN that can be read; equals lsn_durable when nothing can. After retention moved the tail it may be
 * too small, by what one entry of the index stands for, until the first walk from the tail (below). */
uint64_t hg_streams_lsn_oldest(const struct hg_streams *streams, uint32_t slot);
/* Who walked the log from write `sequence` on met `lsn_first` first of the stream. */
void hg_streams_oldest_found(struct hg_streams *streams, uint32_t slot, uint64_t sequence,
                             uint64_t lsn_first);

#endif
