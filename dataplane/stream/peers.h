/* SPDX-License-Identifier: Apache-2.0
 *
 * The peers of one worker: for each, its sessions (an SA pair and the lane over it), which streams it gets
 * and where it stands in them, and which of its streams we take. Feeds lanes from the durable log, live or
 * days behind, with one cursor a lane (two while streams wait for their quorum); takes what lanes deliver
 * into the log; tells origins what is durable. Pure core; owning worker only.
 *
 * Lanes: a struct hg_peer is what one worker of a node is to this worker. The first of a node, its head, is
 * to worker (ours mod theirs) there and always kept open; hg_peers_at gives heads. A lane to another worker
 * there takes memory and keys into use when it is first needed: a stream of ours is owned there, or a packet
 * came. A stream belongs to one lane of each node at a time, to begin with to the head: whoever does not own
 * it there answers who does.
 *
 * Sessions: a session lasts as long as both processes do, while its keys come and go
 * (dataplane/security/keyring.h): the lane and all that it has under way do not notice. Keys for a new lane
 * make a second session beside the current one: the peer restarted, or one of us asked for it. The first
 * packet that opens under those promotes it; until then the old one carries everything. Promotion forgets
 * aliases and cursor: streams are opened anew and resume at what the peer says is durable there.
 *
 * Streams that wait for their quorum hold nobody up: dataplane/stream/peers_held.c.
 */
#ifndef HG_STREAM_PEERS_H
#define HG_STREAM_PEERS_H

#include "dataplane/security/keyring.h"
#include "dataplane/stream/follow.h"
#include "dataplane/stream/streams.h"
#include "dataplane/transport/cc_share.h"
#include "dataplane/transport/lane.h"
#include "dataplane/wal/log_heal.h"

#include <stdatomic.h>

#define HG_PEERS_MAX                  HG_STREAMS_PEERS_MAX
#define HG_PEER_SESSIONS              2u
#define HG_PEER_PING_NS               (500 * HG_NS_PER_MS)
#define HG_PEER_SILENT_NS             (3 * HG_NS_PER_S)
#define HG_PEER_REKEY_NS              HG_NS_PER_S        /* between two asks for new keys */
#define HG_PEER_KEY_GRACE_NS          (60 * HG_NS_PER_S) /* a session outlives its pre-shared key by this */
#define HG_PEER_OPEN_RETRY_NS         HG_NS_PER_S        /* no answer to an OPEN */
#define HG_PEER_REFUSED_RETRY_NS      (5 * HG_NS_PER_S)  /* refused: the other side may be configured later */
#define HG_PEER_RECEIVE_BYTES_DEFAULT (UINT64_C(128) << 20) /* 4 Gbit/s over 200 ms, and some for the log */
#define HG_PEER_RECEIVE_SHARES        8u                    /* lanes that the total is for, unless given */
#define HG_PEER_RECEIVE_BYTES_MAX     (UINT64_C(16) << 30)
#define HG_PEER_MTU_BYTES_MIN         576u
#define HG_PEER_MTU_BYTES_MAX         9216u
/* Places for packets under way: what the peer's rate puts into 250 ms, of these at least and at most; 4
 * Gbit/s over 200 ms are 71,000 packets of 1400 bytes. Without a rate a number in between: they cost 160
 * bytes each. */
#define HG_PEER_PACKETS_IN_FLIGHT_MIN (1u << 14)
#define HG_PEER_PACKETS_IN_FLIGHT_ANY (1u << 16)
#define HG_PEER_PACKETS_IN_FLIGHT_MAX (1u << 17)
#define HG_PEER_FLIGHT_NS             (250 * HG_NS_PER_MS)
#define HG_PEER_OPENS_WAITING         16u /* more are offered again by their origin's retry */
/* Credit that only batches of the oldest segment use: were all of it given to younger ones that a full log
 * does not take, what that log waits for could not be sent. */
#define HG_PEER_RESERVE_BYTES HG_WIRE_CREDIT_BYTES(HG_BATCH_BYTES_MAX)
#define HG_PEER_ACTIVE_NS     (200 * HG_NS_PER_MS) /* its share of the rate outlasts its data by so much */
#define HG_PEER_NEXT_BUDGET   4096u                /* batches looked at for one that this peer wants */
static_assert(HG_PEER_PING_NS * 4 <= HG_PEER_SILENT_NS, "several pings fit in what counts as silence");

enum hg_peer_stream_state { /* as in struct hg_status_stream_peer */
                            HG_PEER_STREAM_CLOSED = 0,
                            HG_PEER_STREAM_OPENING = 1,
                            HG_PEER_STREAM_STREAMING = 2,
                            HG_PEER_STREAM_REFUSED = 3,
                            HG_PEER_STREAM_DIVERGED = 4,
                            HG_PEER_STREAM_GAP = 5,
};

/* A stream whose next batch may not leave its region yet is held back: the lane's cursor goes on without it,
 * and once it may leave, a second cursor walks again from there. */
enum hg_peer_stream_held {
    HG_PEER_STREAM_NOT_HELD,
    HG_PEER_STREAM_HELD,   /* its next batch is at held_at */
    HG_PEER_STREAM_RETURNS /* the second cursor gives it; it has given all before it */
};

/* One of our streams as this peer gets it. */
struct hg_peer_stream {
    uint8_t state;     /* enum hg_peer_stream_state */
    uint8_t verified;  /* its chain followed from ours at lsn_next */
    bool close_unsent; /* the lane had no place for the CLOSE */
    bool moved;        /* that is why it was closed */
    uint8_t opening;   /* the next one, or the one under way */
    uint8_t held;      /* enum hg_peer_stream_held */
    bool cut_due;      /* the peer told its history: it waits to hear how much of it is ours */
    bool is_question;  /* it had no entry yet when it was opened: whoever took it would take it from 0 on */
    struct hg_epoch_start cut; /* up to there it is, under that epoch */
    uint64_t lsn_next;         /* of the next batch to send */
    uint64_t lsn_needed;       /* as the peer was told: what is below holds our log's oldest segment */
    uint64_t lsn_claimed;      /* durable there by its own word; counts up to what was sent and verified */
    uint64_t lsn_committed_told;
    uint64_t epoch; /* that it was opened under */
    uint64_t retry_ns;
    struct hg_cursor held_at;
    uint64_t held_lsn_end;     /* of the batch there */
    uint8_t chain[16];         /* of the batch that ends at lsn_next */
    uint64_t lsn_gap;          /* what it lacked, when that was last told; 0 = nothing */
    bool horizon_due;          /* it has a gap, and was not told where our log begins */
    uint64_t horizon_sequence; /* the table that is looked at for that; 0 = the oldest */
    uint64_t horizon_offered;  /* the write that was told; 0 = none */
};

/* Between a writer's OPEN and our ANSWER (dataplane/stream/follow.h). */
enum hg_peer_join_state {
    HG_PEER_JOIN_NONE,
    HG_PEER_JOIN_COMPARING, /* it was told what we have */
    HG_PEER_JOIN_CUTTING,   /* it said what of that is its own */
};

struct hg_peer_join {
    uint8_t state; /* enum hg_peer_join_state */
    uint32_t slot;
    uint64_t epoch;     /* of the writer */
    uint64_t lsn_begin; /* of the OPEN */
    uint64_t lsn;       /* as the writer's CUT says, from here on */
    uint64_t epoch_common;
    uint64_t lsn_epoch;
    uint8_t chain[16];
};

/* One of its streams as we take it. */
struct hg_peer_alias {
    int32_t slot;        /* -1 = not open */
    bool refuse_unsent;  /* the lane had no place for the REFUSE */
    uint8_t opening;     /* that is open, or was */
    uint8_t opening_min; /* older ones are over */
    uint8_t refuse_reason;
    bool gap_told;  /* that its origin has a gap before it */
    uint64_t epoch; /* of the origin, as it opened it */
    uint64_t lsn_reported;
    struct hg_peer_join join;
};

/* Groups that a peer wants to be sealed and to hear of: a bit each. */
struct hg_peer_asked {
    uint64_t groups;
    uint64_t epoch[HG_GROUPS_MAX];
    uint16_t slot_next[HG_GROUPS_MAX]; /* of the next answer */
};

struct hg_peer;

struct hg_peer_session {
    struct hg_peer *peer;
    bool live;
    uint8_t worker_remote;
    uint64_t since_ns;
    uint64_t end_ns;     /* its pre-shared key was replaced: it ends then at the latest; 0 = no such time */
    uint32_t generation; /* of the keys with which the lane began: both sides know it by that */
    uint64_t boot_remote;
    struct hg_lane *lane;
    struct hg_keyring keyring;
    void *memory; /* of the lane and of the keys */
};

struct hg_peer {
    struct hg_peers *peers;
    struct hg_peer *head;      /* of its node; what is configured stands there alone */
    struct hg_peer *lane_next; /* to another worker of the same node; NULL = none */
    uint32_t index;            /* of the node: the same in all its lanes and in every worker */
    uint8_t worker_remote;
    char lane_name[HG_NAME_BYTES]; /* for events: the name, and the two workers where there are several */
    bool used;                     /* has memory for its sessions */
    bool removed;                  /* not configured any more: keeps its number and nothing else */
    uint64_t configuration;        /* the newest one that named it */
    char name[HG_NAME_BYTES];
    uint64_t node;
    uint16_t region;
    uint8_t mac[6];
    struct hg_address address;
    uint64_t rate_bytes_per_s;
    uint8_t congestion; /* enum hg_cc_kind */
    uint8_t fec;        /* enum hg_fec_mode */
    bool ecn;           /* packets to it are marked */
    bool ecn_over;      /* on this lane that ended by itself, as last told */
    bool rate_reduced;  /* the circuit breaker's state, as last told */
    uint64_t receive_bytes_max;
    uint32_t packets_in_flight_max;
    struct hg_key_limits key_limits;
    uint32_t mtu_bytes; /* of the port */

    /* The head's too. */
    uint8_t workers_remote;              /* 0 = not known yet */
    uint64_t lanes_wanted;               /* by streams of ours; bit = worker there */
    uint8_t *stream_worker;              /* by stream slot: who owns it there, as far as we were told */
    struct hg_handshake_keys *lane_keys; /* newest keys of lanes not in use, by worker there */
    uint64_t
        fill_epoch[HG_WIRE_ALIASES_MAX]; /* by stream slot: under it the node wants what we have; 0 = not */

    /* Of every lane. */
    uint64_t data_bytes_seen; /* sent, when it was last looked at */
    uint64_t active_until_ns;
    struct hg_cc_share_lane share;
    uint64_t receive_bytes_taken; /* of the node's total */
    uint32_t path_mtu_bytes;      /* what the path was found to carry; 0: not known to be less */

    uint32_t state; /* enum hg_peer_state */
    uint64_t state_since_ns;
    uint64_t pinged_ns;
    uint64_t rekey_asked_ns;
    uint32_t rekey_asked_generation; /* for newer keys than these */
    bool key_used_up_told;
    uint64_t handshakes_count;
    uint64_t renewals_count; /* times that newer keys came into use on the lane in use */
    struct hg_peer_session sessions[HG_PEER_SESSIONS];
    struct hg_lane_stats ended; /* counters of the sessions that are over */
    int32_t current;            /* session that carries data, -1 = none */
    int32_t next;               /* session waiting for its first packet, -1 = none */
    uint32_t spi_replaced;      /* under which the session before the current one received; 0 = none */

    struct hg_cursor cursor;
    struct hg_cursor cursor_held; /* behind it, for streams that were held back; sequence 0: for none */
    uint32_t held_count;          /* streams that are HELD */
    uint32_t returning_count;     /* that RETURN */
    bool held_due;                /* one of the former may leave now */
    bool held_first;              /* whose turn it is, where both cursors have something */
    bool read_corrupt;
    bool offer_due;    /* it needs some of what we did not take */
    bool cuts_due;     /* some stream's cut_due */
    uint32_t cut_slot; /* of the one that cut_walk is for */
    struct hg_stream_walk cut_walk;
    uint64_t sequence_needed;       /* newest write of the oldest segment that holds something for it */
    struct hg_peer_stream *streams; /* by stream slot */
    struct hg_peer_alias aliases[HG_WIRE_ALIASES_MAX];
    uint32_t alias_end; /* none is open from here on */
    /* OPENs that the log had no room to record, or whose stream is on its way to the device. */
    struct hg_wire_stream_open waiting[HG_PEER_OPENS_WAITING];
    uint32_t waiting_count;
    struct hg_peer_asked asked;
    /* What it lacks in its log, and where we look for that. */
    struct hg_wire_log_repair_ask repair;
    struct hg_cursor repair_cursor; /* sequence 0 = nowhere */
    uint32_t repair_slot;           /* of its stream, here */
    bool repair_due;
    bool repair_salvages; /* the write at the cursor is corrupt here, too: what is whole of it is looked at */
    bool repair_met_corrupt; /* on the way: what is asked for may have been there */
};

/* Repairs of this log with what peers have, and what peers are given for theirs; each is counted. */
#define HG_PEERS_HEAL_WAIT_NS HG_NS_PER_S /* for a window of a batch, then it is asked for again */
#define HG_PEERS_HEAL_TRIES   4u          /* then another peer is asked */
#define HG_PEERS_HEAL_REASONS(X)                                                                             \
    X(asked, "windows of batches that a peer was asked for")                                                 \
    X(taken, "batches that came, and are what was lost")                                                     \
    X(timeout, "no answer, or not all of it")                                                                \
    X(not_there, "the peer does not have the batch")                                                         \
    X(corrupt_there, "the peer can't read it either")                                                        \
    X(not_verified, "what the peer sent is not that batch")                                                  \
    X(stray, "bytes that nobody asked for, or no longer")                                                    \
    X(given, "windows of batches that a peer was given")                                                     \
    X(salvaged, "of these, out of a write that is corrupt here, too, elsewhere")                             \
    X(refused, "a peer was told that the batch is not here, or not whole")                                   \
    X(stranger, "a peer asked that does not get the stream")                                                 \
    X(ask_limit, "an ask with sizes out of limits")

enum hg_peers_heal_reason {
#define HG_X(name, text) HG_PEERS_HEAL_##name,
    HG_PEERS_HEAL_REASONS(HG_X)
#undef HG_X
        HG_PEERS_HEAL_COUNT
};

struct hg_peers_heal {
    bool is_asking;
    struct hg_log_heal_want want;
    uint32_t peer;   /* that is asked */
    uint32_t offset; /* of the window, in the batch */
    uint64_t got;    /* chunks of it, a bit each */
    uint32_t tries;  /* of the window */
    uint64_t deadline_ns;
    uint64_t told[HG_LOG_HEAL_COUNT]; /* of the log's counts: events were put */
    uint64_t counts[HG_PEERS_HEAL_COUNT];
};

/* The lanes of one worker by peer: how many send data now, and what they are to the others
 * (dataplane/transport/cc_share.h). Written by it, read by the others, a few times in 100 ms: a rate, be it
 * configured or found, is all lanes' to a peer together. */
struct hg_peers_census {
    HG_CACHE_ALIGNED _Atomic uint8_t lanes[HG_PEERS_MAX];
    _Atomic uint64_t parts[HG_PEERS_MAX][HG_CC_SHARE_WORDS];
};

struct hg_peers_config {
    struct hg_streams *streams;
    struct hg_log *log;
    struct hg_event_sink *events;
    uint32_t streams_max;           /* <= HG_WIRE_ALIASES_MAX */
    uint32_t peers_max;             /* <= HG_PEERS_MAX */
    uint32_t packets_in_flight_max; /* power of two; 0 = by the peer's rate */
    uint64_t receive_bytes_total;   /* of all lanes' receive memory; 0 = no limit. A lane more is refused */
    uint64_t receive_bytes_default; /* 0 = HG_PEER_RECEIVE_BYTES_DEFAULT, or less where the total is small */
    uint8_t worker;                 /* this one */
    uint8_t workers;                /* of this node; 0 counts as 1 */
    struct hg_peers_census *census; /* of all workers of this node; NULL: there is no other */
    /* Agree on new keys. */
    void (*rekey)(void *ctx, uint32_t peer, enum hg_rekey why);
    /* The worker of this node that owns a stream which is not configured in this one, -1 = none does. NULL:
     * there is no other. */
    int32_t (*stream_worker)(void *ctx, uint64_t stream);
    void *ctx;
};

struct hg_peers;

struct hg_peers *hg_peers_init(const struct hg_peers_config *config);
void hg_peers_free(struct hg_peers *peers);

/* Adds a peer or changes one (found by node id). Memory for its sessions is taken here, once. `mtu_bytes` is
 * the port's. Returns its index; -ENOSPC; -ENOMEM; -EINVAL for an MTU or credit out of limits. After the last
 * two the peer has its index all the same, for the key exchange counts peers too, but no sessions. */
int hg_peers_configure(struct hg_peers *peers, const struct hg_config_peer *config, uint32_t mtu_bytes,
                       uint64_t now_ns);
/* Around the hg_peers_configure of one whole configuration: a peer that it does not name is removed. Its
 * sessions end, their keys are wiped, its memory is given back; it keeps its number. Named again, it begins
 * anew. */
void hg_peers_configure_begin(struct hg_peers *peers);
void hg_peers_configure_end(struct hg_peers *peers, uint64_t now_ns);
int32_t hg_peers_find(const struct hg_peers *peers, uint64_t node);
struct hg_peer *hg_peers_at(struct hg_peers *peers, uint32_t index);
uint32_t hg_peers_count(const struct hg_peers *peers);
/* All lanes of all peers: NULL gives the first, the last gives NULL. */
struct hg_peer *hg_peers_next(struct hg_peers *peers, const struct hg_peer *lane);
/* The lane on which a stream of ours goes to a node, by its head; NULL while that is not open. */
const struct hg_peer *hg_peers_lane_of(const struct hg_peer *head, uint32_t slot);

/* New keys of one lane: for the session that goes on under them, or for a second one that takes over with its
 * first packet, or for the lane's first use. */
void hg_peers_keys(struct hg_peers *peers, uint32_t index, const struct hg_handshake_keys *keys,
                   uint64_t now_ns);

/* The peer's pre-shared key is another one. Keys of the former one that wait for their first packet are
 * dropped; a session in use goes on until new keys replace it, so that both sides can be changed one after
 * the other, but for HG_PEER_KEY_GRACE_NS at most. */
void hg_peers_key_changed(struct hg_peers *peers, uint32_t index, uint64_t now_ns);

/* Two processes live under the peer's identity: its sessions end, its keys are wiped, and what either said it
 * has counts no more. Until there are keys again it is neither sent anything nor heard. */
void hg_peers_cloned(struct hg_peers *peers, uint32_t index, uint64_t now_ns);

/* Counters of all sessions the peer ever had in this process; times and what is in flight of the current one,
 * zero without one. */
void hg_peers_totals(const struct hg_peer *peer, struct hg_lane_stats *totals);

/* The session that has this SPI for receiving, or NULL, and the place of its keys. */
struct hg_peer_session *hg_peers_session_of_spi(struct hg_peers *peers, uint32_t spi, uint32_t *place);
/* The same, for the first packet of a lane that was not in use here: opens the lane when the packet opens
 * under its keys, so that who only knows SPIs makes us take no memory. NULL: *reason is SPI when it is of no
 * lane, else why it does not open. `scratch` is as long as the packet. */
struct hg_peer_session *hg_peers_lane_first(struct hg_peers *peers, const uint8_t *esp, uint32_t bytes,
                                            uint8_t *scratch, uint64_t now_ns, enum hg_esp_reason *reason);
/* Whether that SPI was one of this peer's until newer keys replaced it. */
bool hg_peers_spi_replaced(struct hg_peers *peers, uint32_t index, uint32_t spi);
/* An inner packet that opened under the session's keys of that place, and the codepoint of its outer header.
 * Brings the keys into use when they are newer, and the session when it was waiting. */
void hg_peers_receive(struct hg_peer_session *session, uint32_t place, const uint8_t *inner, uint32_t bytes,
                      uint64_t packet_number, enum hg_ecn_codepoint ecn, uint64_t now_ns);

/* OPENs of peers that were refused, by enum hg_wire_status up to REFUSED_LIMIT. */
#define HG_PEERS_OPENS_REFUSED (HG_WIRE_REFUSED_LIMIT + 1)
const uint64_t *hg_peers_opens_refused(const struct hg_peers *peers);

/* After the log moved: reports durable positions, offers waiting batches again. */
void hg_peers_log_moved(struct hg_peers *peers, uint64_t now_ns);
/* Once a turn, before hg_clients_publish: tells the peers of this region what has been committed since. */
void hg_peers_committed_moved(struct hg_peers *peers);
/* The stream moves to another worker of this node (dataplane/stream/move.h). Leave, before: no more of it is
 * taken here, also where it was only being joined, and its origin opens it anew, which waits until it has
 * moved or stays. Gone, after: it is sent from here no more; its new owner opens it. */
void hg_peers_stream_leave(struct hg_peers *peers, uint32_t slot);
void hg_peers_stream_gone(struct hg_peers *peers, uint32_t slot);
/* The stream's group began another epoch: peers get it as opened anew under that one. */
void hg_peers_stream_epoch(struct hg_peers *peers, uint32_t slot);
/* The group's members are of a newer generation: what peers send of it is opened anew, for they are to know
 * what this copy is to it now; what they refused of ours is offered again. */
void hg_peers_members_new(struct hg_peers *peers, uint32_t group);
/* Whether somebody has opened it to send of it: what comes next here is on its way, or is a gap in a moment.
 */
bool hg_peers_is_taking(struct hg_peers *peers, uint32_t slot);
/* The record by which the stream begins anew is durable (dataplane/stream/horizon.h): it does, and who said
 * where is asked for what follows. */
void hg_peers_stream_anew(struct hg_peers *peers, uint32_t slot);
/* The stream's group began an epoch here: nobody else's is taken any more, and no join cuts it. */
void hg_peers_stream_begun(struct hg_peers *peers, uint32_t slot);

/* ---- a fail-over (controlplane/failover.h orders it) ---- */
/* Asks a node, 0 is this one, to promise the epoch in its logs and to say what they have of the group. 0;
 * -EINVAL; -ENOENT: no such peer. What is lost on the way is asked again by who wants to know. */
int hg_peers_group_ask(struct hg_peers *peers, uint64_t node, uint32_t group, uint64_t epoch);
/* What was answered, each once; its node is 0 where that is this one. False: nothing more. */
bool hg_peers_group_answer(struct hg_peers *peers, struct hg_control_tail *answer);
/* Asks a node to send this one what it has of a stream, under an epoch that both have promised. 0; -ENOENT.
 */
int hg_peers_fill_ask(struct hg_peers *peers, uint64_t node, uint64_t stream, uint64_t epoch);
/* What is asked for and counted of repairs of the log, and names of the counters. */
const struct hg_peers_heal *hg_peers_heal_of(const struct hg_peers *peers);
const char *hg_peers_heal_name(enum hg_peers_heal_reason reason);
/* Each turn: answers what the device has by now. */
void hg_peers_groups_turn(struct hg_peers *peers);
/* Timers: opens streams, pings, notices silence. Every 10 ms or so. */
void hg_peers_tick(struct hg_peers *peers, uint64_t now_ns);

#endif
