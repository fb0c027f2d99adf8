/* SPDX-License-Identifier: Apache-2.0
 *
 * What control plane and dataplane tell each other: two full-state pages and the cells of the control ring.
 * Plain data, fixed sizes, copied before it is validated. The control plane writes what is wanted (config),
 * the dataplane what is (status). Everything is idempotent by generation. Shared by both sides and by nothing
 * else.
 */
#ifndef HG_IPC_CONTROL_STATE_H
#define HG_IPC_CONTROL_STATE_H

#include "drivers/ipc/group_copies.h"
#include "drivers/platform/address.h"

#define HG_CONTROL_ABI           9u
#define HG_CONTROL_NAME_BYTES    32
#define HG_CONTROL_PATH_BYTES    256
#define HG_CONTROL_TEXT_BYTES    192
#define HG_CONTROL_PORTS_MAX     8
#define HG_CONTROL_PEERS_MAX     32
#define HG_CONTROL_STREAMS_MAX   256 /* configured by command file; the log's own limit is higher */
#define HG_CONTROL_LOGS_MAX      16  /* and workers: log i is worker i's */
#define HG_CONTROL_LANES_MAX     256
#define HG_CONTROL_CLIENTS_MAX   64
#define HG_CONTROL_CONSUMERS_MAX 32
#define HG_CONTROL_SESSIONS_MAX  1024
#define HG_CONTROL_DROPS_MAX     160
#define HG_CONTROL_GROUPS_MAX    64 /* numbers of groups: 0..63 */

/* Of what dataplane/security/limits.h allows, the part that an operator may choose from. */
#define HG_CONTROL_REKEY_PACKETS_MIN UINT64_C(256)
#define HG_CONTROL_REKEY_PACKETS_MAX (UINT64_C(1) << 27)
#define HG_CONTROL_REKEY_BYTES_MIN   (UINT64_C(256) << 10)
#define HG_CONTROL_REKEY_BYTES_MAX   (UINT64_C(1) << 37)
#define HG_CONTROL_REKEY_SECONDS_MIN UINT64_C(1)
#define HG_CONTROL_REKEY_SECONDS_MAX UINT64_C(3600)

/* Write grants: how long one may be, and by how much a clock may be fast or slow. */
#define HG_CONTROL_GRANT_MS_MIN    UINT64_C(500)
#define HG_CONTROL_GRANT_MS_MAX    UINT64_C(60000)
#define HG_CONTROL_GRANT_DRIFT_PPM UINT64_C(200)

/* ---- wanted ---- */
struct hg_config_node {
    char name[HG_CONTROL_NAME_BYTES];
    uint64_t cluster;
    uint64_t node; /* unique in the cluster, > 0 */
    uint16_t region;
    uint16_t reserved[3];
};

struct hg_config_port {
    char name[HG_CONTROL_NAME_BYTES];
    char devargs[HG_CONTROL_PATH_BYTES]; /* DPDK: "net_memif0,role=client,socket=...,id=0,bsize=2048,rsize=10"
                                          */
    uint8_t mac[6];
    uint16_t mtu_bytes;
    struct hg_network network;
};

struct hg_config_peer {
    char name[HG_CONTROL_NAME_BYTES];
    char port[HG_CONTROL_NAME_BYTES];
    uint64_t node;
    uint16_t region;
    uint8_t mac[6];
    struct hg_address address;
    uint32_t ecn;                         /* enum hg_config_ecn */
    char psk_path[HG_CONTROL_PATH_BYTES]; /* 0600 file of 64 hex digits; read by the dataplane */
    uint64_t rate_bytes_per_s;            /* towards it: of `fixed`, the most of the others; 0 = no limit */
    uint32_t congestion;                  /* enum hg_config_congestion */
    uint32_t fec;                         /* enum hg_config_fec, or a number of parities */
    uint64_t receive_bytes_max;           /* credit given to it; 0 = default */
    /* After how much its keys are renewed; 0 = HG_CONTROL_REKEY_..._MAX. */
    uint64_t rekey_packets;
    uint64_t rekey_bytes;
    uint64_t rekey_seconds;
    uint32_t learner; /* 1: a node of our region that is no member until a group's members name it */
    uint32_t reserved;
    /* It holds no more of a log than that; 0 = all of it. */
    uint64_t drop_behind_bytes;
    uint64_t drop_behind_seconds;
};

/* How a log's writes become durable; the disk's numbers (enum hg_disk_sync). */
enum hg_config_flush { HG_CONFIG_FLUSH_AUTO = 0, HG_CONFIG_FLUSH_GROUP = 1, HG_CONFIG_FLUSH_DSYNC = 2 };

#define HG_CONFIG_SCRUB_OFF        UINT32_MAX
#define HG_CONFIG_SCRUB_MBYTES     4u /* per second, unless told */
#define HG_CONFIG_SCRUB_MBYTES_MAX 10000u
struct hg_config_log {
    uint32_t id;
    uint32_t scrub_mbytes_per_s; /* 0 = default, HG_CONFIG_SCRUB_OFF */
    char path[HG_CONTROL_PATH_BYTES];
    uint64_t arena_bytes; /* 0 = default */
    /* Kept at least when nobody needs it, while there is room; 0 = what happens to be there. */
    uint64_t retain_bytes;
    uint64_t retain_seconds;
    uint32_t flush;     /* enum hg_config_flush */
    uint32_t has_peers; /* the dataplane's: peers are configured, who may have what is corrupt here */
};

/* The log's numbers (enum hg_stream_kind, enum hg_codec) as the control plane knows them, which never
 * includes dataplane/; a test holds the two together. */
enum hg_config_stream_kind {
    HG_CONFIG_STREAM_KEY_VALUE = 1,
    HG_CONFIG_STREAM_POSTGRES_LOGICAL = 2,
    HG_CONFIG_STREAM_POSTGRES_PHYSICAL = 3,
};
/* How the rate towards a peer is found: the transport's numbers (enum hg_cc_kind). */
enum hg_config_congestion {
    HG_CONFIG_CONGESTION_FIXED = 0,
    HG_CONFIG_CONGESTION_CUBIC = 1,
    HG_CONFIG_CONGESTION_BBR = 2,
};
/* Parity towards a peer: the transport's numbers (enum hg_fec_mode). */
enum hg_config_fec {
    HG_CONFIG_FEC_OFF = 0,
    HG_CONFIG_FEC_PARITIES_MAX = 8, /* 1 to it: so many for each group */
    HG_CONFIG_FEC_AUTO = 255,
};
/* Whether packets to a peer are marked as ECN-capable. */
enum hg_config_ecn { HG_CONFIG_ECN_OFF = 0, HG_CONFIG_ECN_ON = 1 };
enum hg_config_compression { HG_CONFIG_COMPRESSION_OFF = 0, HG_CONFIG_COMPRESSION_LZ4 = 1 };

struct hg_config_stream {
    char name[HG_CONTROL_NAME_BYTES];
    uint64_t stream;
    uint16_t kind;   /* enum hg_stream_kind */
    uint16_t region; /* of origin */
    uint32_t group;
    uint64_t node;         /* of that region, where it originates; 0 = whichever node of it has it */
    uint64_t epoch;        /* 1 until there is a metastore */
    uint64_t peers_mask;   /* bit i = config peer i gets it (when we are the origin) */
    uint32_t compression;  /* enum hg_codec */
    uint32_t place;        /* the worker that owns it, + 1; 0 = where its batches are, else by hash */
    uint64_t retain_bytes; /* as a log's, of its own batches */
    uint64_t retain_seconds;
};

/* Who keeps the copies of a group that originates in this region, as the metastore has it. */
struct hg_config_group {
    uint32_t group;
    uint32_t copies_unknown;   /* 1: the metastore was not read yet: nobody else's copy counts until it is */
    uint64_t epoch;            /* the newest that it has given, as far as was read; 0 = none */
    struct hg_members members; /* generation 0: as the command file says */
    struct hg_copies copies;
};

struct hg_config_consumer { /* registered: holds segments back until it has passed them */
    char name[HG_CONTROL_NAME_BYTES];
    char stream[HG_CONTROL_NAME_BYTES];
    uint64_t drop_behind_bytes; /* as a peer's */
    uint64_t drop_behind_seconds;
};

struct hg_control_config {
    struct hg_config_node node;
    uint32_t port_count, peer_count, log_count, stream_count, consumer_count;
    uint16_t quorum_n; /* nodes of the region's quorum, this one included; 0 = none is set: as 1 */
    uint16_t quorum_w; /* of these have on their devices what is committed */
    struct hg_config_port ports[HG_CONTROL_PORTS_MAX];
    struct hg_config_peer peers[HG_CONTROL_PEERS_MAX];
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    struct hg_config_stream streams[HG_CONTROL_STREAMS_MAX];
    struct hg_config_consumer consumers[HG_CONTROL_CONSUMERS_MAX];
    uint32_t group_count, reserved;
    struct hg_config_group
        groups[HG_CONTROL_GROUPS_MAX]; /* of which the metastore says something, or has to */
    uint32_t grant_ms; /* producers are taken and told only under a write grant of it; 0 = none needed */
    uint32_t reserved2;
};

/* Whether we are where the stream originates. */
static inline bool hg_config_stream_is_ours(const struct hg_control_config *config,
                                            const struct hg_config_stream *stream)
{
    return stream->region == config->node.region && (stream->node == 0 || stream->node == config->node.node);
}

/* ---- granted: a page of its own, so that it waits behind no command ---- */
struct hg_control_grant {
    uint64_t epoch;       /* 0 = this control plane says nothing about the group */
    uint64_t deadline_ns; /* CLOCK_BOOTTIME */
};

struct hg_control_grants {
    struct hg_control_grant groups[HG_CONTROL_GROUPS_MAX];
};

/* ---- is ---- */
#define HG_EPOCH_STARTS_MAX 8
struct hg_epoch_start { /* from lsn on a stream was written under this epoch */
    uint64_t epoch;
    uint64_t lsn;
};

struct hg_status_port {
    char name[HG_CONTROL_NAME_BYTES];
    char driver[HG_CONTROL_NAME_BYTES];
    uint8_t mac[6];
    uint8_t link_up;
    uint8_t opened;
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, rx_missed, tx_dropped, reconnects;
    char problem[HG_CONTROL_TEXT_BYTES]; /* why it is not open; empty = fine */
};

/* REMOVED: the configuration no longer has it; its number stays taken, for packets that still come from it.
 * CLONED: two processes live under its identity, neither is heard. */
enum hg_peer_state { HG_PEER_DOWN, HG_PEER_HANDSHAKE, HG_PEER_UP, HG_PEER_REMOVED, HG_PEER_CLONED };

struct hg_status_peer {
    char name[HG_CONTROL_NAME_BYTES];
    uint32_t state; /* enum hg_peer_state */
    uint32_t key_generation;
    uint64_t since_realtime_ns; /* of the state */
    uint64_t boot;
    uint64_t srtt_ns, rttvar_ns, rtt_min_ns;
    uint64_t rate_bytes_per_s;
    char congestion[16]; /* the controller in use and what it is doing; empty without a session */
    char congestion_state[16];
    char fec[16];                        /* whether parity is sent now, or why not; empty without a session */
    char ecn[16];                        /* what is known of it on the path; empty without a session */
    uint64_t ecn_sent, ecn_marked_there; /* packets to it that could be marked, that were */
    uint64_t probes_sent;                /* probe timeouts */
    uint64_t ecn_marked;                 /* packets from it that were marked */
    uint64_t ecn_failed;
    uint64_t loss_ppb;
    uint64_t fec_groups, fec_parity_sent, fec_recovered_there; /* towards it */
    uint64_t fec_recovered, fec_unrecoverable;                 /* from it */
    uint64_t cwnd_bytes;                                       /* UINT64_MAX: no limit */
    uint64_t pacing_bytes_per_s;                               /* 0: unpaced */
    uint64_t delivery_bytes_per_s;                             /* that arrived of late */
    uint64_t path_mtu_bytes; /* IP packets that the path carries, as last found */
    uint64_t bytes_in_flight, credit_bytes_left, credit_bytes_given;
    uint64_t data_bytes_sent, data_bytes_resent, data_bytes_received;
    uint64_t packets_sent, packets_received, packets_lost;
    uint64_t handshakes;
    char problem[HG_CONTROL_TEXT_BYTES];
};

struct hg_status_stream_peer {
    uint32_t peer;  /* index in the status peers */
    uint32_t state; /* 0 closed 1 opening 2 streaming 3 refused 4 diverged 5 gap */
    uint64_t lsn_sent, lsn_durable;
    uint64_t lag_bytes; /* of LSN span not durable there */
    uint64_t lag_ns;    /* age of the oldest frame not durable there; 0 = none */
    uint64_t copy;      /* the log there that has it (hg_copies_id); 0 = none has said so yet */
};

#define HG_STATUS_STREAM_PEERS_MAX 8
struct hg_status_stream {
    char name[HG_CONTROL_NAME_BYTES];
    uint64_t stream;
    uint16_t kind, region;
    uint32_t incarnation;
    uint64_t epoch;
    uint64_t system_identifier;
    uint64_t lsn_oldest, lsn_end, lsn_durable, lsn_committed;
    uint64_t frames, batches, raw_bytes, stored_bytes; /* since the process began: in or appended */
    uint32_t peer_count, clients;
    uint32_t worker; /* that owns it */
    uint32_t writes; /* 1: this node writes it, or would if its group were open */
    struct hg_status_stream_peer peers[HG_STATUS_STREAM_PEERS_MAX];
    /* What a SEAL answers of it: where it ends on the device, who wrote that, and what else may have been. */
    uint32_t group;
    uint32_t
        tail_unknown;  /* 1: writes after the end may have been acknowledged and lost: no proof of absence;
                          2: they were, for another member has them, and this node was to write on */
    uint8_t chain[16]; /* of the batch that ends at lsn_durable */
    uint32_t epoch_count, reserved2;
    struct hg_epoch_start epochs[HG_EPOCH_STARTS_MAX]; /* the last is the newest */
    uint64_t lsn_horizon; /* its origin's log begins there, above what is here; 0 = nothing is lacking */
    uint32_t horizon_peer, reserved3; /* index in the status peers, of who says so */
};

enum hg_status_group_state {                          /* of a group in one log */
                             HG_STATUS_GROUP_OPEN,    /* epoch_open is the newest that was promised */
                             HG_STATUS_GROUP_SEALING, /* a promise is on its way to the device */
                             HG_STATUS_GROUP_SEALED,
                             HG_STATUS_GROUP_OPENING, /* the beginning of an epoch is on its way to the device
                                                       */
                             HG_STATUS_GROUP_UNNAMED, /* of an empty log: hg_streams_is_unnamed */
};

enum hg_status_grant { /* of a group that this node writes */
                       HG_STATUS_GRANT_NOT_NEEDED,
                       HG_STATUS_GRANT_AWAITED, /* none was had in the life of this process */
                       HG_STATUS_GRANT_HELD,
                       HG_STATUS_GRANT_LAPSED,
};

#define HG_STATUS_GROUPS_MAX 128
struct hg_status_group {
    uint32_t worker, group;
    uint32_t state; /* enum hg_status_group_state */
    uint32_t streams;
    uint64_t regions;    /* of their origin: bit = region */
    uint64_t epoch_open; /* newest that producers of this node may have written under */
    uint64_t epoch_promised;
    uint64_t corrupt_writes; /* of the log, that were found on reading */
    uint8_t log_uuid[16];    /* which copy this is: another log, another life of promises */
    /* Generation of the members that it counts by and has on its device; 0 = as the command file says. What
     * follows is of the streams that originate here, if there are any. */
    uint64_t members_generation;
    uint64_t
        members_caught_up; /* peers that have all that may be committed: bit = index in the status peers */
    uint64_t copies_caught_up; /* likewise, of the streams that go to the peer */
    uint32_t members_synced;   /* 1: all that is committed is on w of each set that counts */
    uint32_t members_voter;    /* 1: this copy counts */
    uint32_t grant_state;      /* enum hg_status_grant */
    uint32_t reserved;
    uint64_t grant_left_ns; /* of the write grant, when the page was made */
};

enum hg_status_holder_kind {
    HG_STATUS_HOLDER_PEER = 1,
    HG_STATUS_HOLDER_CONSUMER = 2,
    HG_STATUS_HOLDER_UNCONFIGURED = 3,
};

#define HG_STATUS_HOLDERS_MAX 8
struct hg_status_holder { /* who needs what is in a log */
    uint32_t kind;        /* enum hg_status_holder_kind */
    uint32_t let_go;      /* 1: behind its drop-behind: what it lacks beyond that may be forgotten */
    char name[HG_CONTROL_NAME_BYTES];   /* of the peer or the consumer */
    char stream[HG_CONTROL_NAME_BYTES]; /* that it lacks the oldest of */
    uint64_t bytes;                     /* of the log, from the oldest that it needs on */
    uint64_t age_ns;                    /* of that, at least */
    uint64_t limit_bytes, limit_ns;     /* its drop-behind; 0 = none */
};

struct hg_status_log {
    uint32_t id, state; /* enum hg_log_state */
    uint32_t segments_free, segment_count;
    uint64_t size_bytes, segment_bytes;
    uint64_t next_sequence, durable_sequence, tail_sequence;
    uint64_t writes, flushes, batches, payload_bytes, written_bytes, reads, read_bytes;
    uint64_t writes_again, reads_again, corrupt_writes; /* after a short write; after a bad read; still bad */
    uint64_t unreadable_blocks;                         /* that it was opened without */
    uint64_t flush_ns_last, flush_ns_max, durable_ns_p99;
    uint32_t restarts, recovery_percent;
    uint32_t registered; /* buffers registered with io_uring */
    uint32_t pressure;   /* enum hg_log_pressure */
    char path[HG_CONTROL_PATH_BYTES];
    char message[HG_CONTROL_TEXT_BYTES];
    uint64_t repairs;             /* of its writes, likewise */
    uint64_t losses, lost_writes; /* that operators accepted in the life of this log; the writes in them */
    uint64_t scrub_bytes_per_s, scrub_bytes, scrub_passes; /* 0 = off; read by it; completed */
    uint64_t scrub_pass_age_ns;                            /* since the last one was; 0 = none was */
    uint64_t scrub_corrupt, scrub_corrupt_sequence;        /* writes it found; the newest of them */
    uint32_t scrub_percent;                                /* of the pass under way */
    uint32_t grow_percent;               /* of making it longer, 1 to 100; 0 = it is not being made longer */
    uint64_t capacity_bytes, held_bytes; /* that producers may fill; of these, what somebody needs */
    uint64_t fill_bytes_per_s;           /* of late */
    uint64_t full_ns;                 /* until producers are pushed back, at that rate; UINT64_MAX = never */
    uint32_t alarm_percent;           /* 0, 50, 75, 90 */
    uint32_t refuses_peers;           /* 1: their batches find no room */
    uint64_t alarms, let_go, refused; /* alarms raised; holders let go of; batches of peers refused */
    uint32_t holder_count, flush;     /* enum hg_config_flush: GROUP or DSYNC */
    struct hg_status_holder holders[HG_STATUS_HOLDERS_MAX]; /* who holds most first */
    uint64_t walked_bytes;    /* that readers behind had of read_bytes: more where they share reads */
    uint64_t corrupt_left;    /* writes that were found corrupt and are not repaired yet */
    uint64_t repair_sequence; /* the one that is being repaired; 0 = none is */
    uint64_t repair_failed;   /* the newest that could not be, and is tried again; 0 = none */
    char repair_failed_why[HG_CONTROL_NAME_BYTES]; /* "nobody" */
};

struct hg_status_worker {
    uint32_t lcore;
    int32_t cpu, core, numa_node; /* -1 = wherever there is room; not known */
    uint32_t streams;
    uint32_t state; /* enum hg_worker_state of the dataplane: recovering, running, failed */
    uint64_t turns, turns_idle;
    uint64_t rx_handed_over, rx_taken_over; /* packets for other workers; that others received for this one */
};

/* From a worker here to one of a peer, and back. */
struct hg_status_lane {
    uint32_t peer; /* index in the status peers */
    uint16_t worker, worker_remote;
    uint32_t state; /* enum hg_peer_state */
    uint32_t key_generation;
    char ecn[16]; /* as a peer's */
    uint64_t ecn_marked_there;
    uint64_t share_per_mille; /* of what one flow to the peer would have */
    uint64_t srtt_ns, rttvar_ns, rtt_min_ns;
    uint64_t bytes_in_flight, credit_bytes_left, credit_bytes_given;
    uint64_t data_bytes_sent, data_bytes_resent, data_bytes_received;
    uint64_t packets_sent, packets_received, packets_lost;
};

struct hg_status_client {
    char name[HG_CONTROL_NAME_BYTES];
    uint32_t pid, uid;
    uint32_t streams, reserved;
    uint64_t append_bytes, deliver_bytes;
};

struct hg_status_consumer {
    char name[HG_CONTROL_NAME_BYTES];
    char stream[HG_CONTROL_NAME_BYTES];
    uint64_t lsn;
    uint32_t attached, reserved;
};

struct hg_status_session { /* a client that a log knows in a stream, by its client_id */
    char stream[HG_CONTROL_NAME_BYTES];
    uint64_t client;
    uint64_t sequence_last, lsn_last; /* its newest entry, and where it is */
    uint64_t sequence_first;          /* from which on retries are told where they are, but for holes */
    uint32_t log;
    uint32_t is_evicting; /* the stream has forgotten clients: a retry of one that is not here is refused */
};

struct hg_status_drop {                /* every drop and refusal that happened, by name */
    char where[HG_CONTROL_NAME_BYTES]; /* "lane b", "port wan0", "client helio-postgres" */
    char name[HG_CONTROL_NAME_BYTES];  /* "drop_duplicate" */
    uint64_t count;
};

struct hg_control_status {
    uint64_t boot;
    uint64_t realtime_ns; /* when this page was made */
    uint64_t config_generation_applied;
    uint64_t turns, turns_idle; /* of all workers */
    uint32_t pid;
    uint32_t port_count, peer_count, log_count, stream_count, client_count, consumer_count, drop_count;
    uint32_t worker_count, lane_count;
    uint32_t group_count, groups_not_shown;
    uint32_t lcore_count; /* may be more than workers: the others have nothing to do */
    uint32_t lanes_not_shown;
    struct hg_status_port ports[HG_CONTROL_PORTS_MAX];
    struct hg_status_peer peers[HG_CONTROL_PEERS_MAX];
    struct hg_status_worker workers[HG_CONTROL_LOGS_MAX];
    struct hg_status_lane lanes[HG_CONTROL_LANES_MAX];
    struct hg_status_log logs[HG_CONTROL_LOGS_MAX];
    struct hg_status_stream streams[HG_CONTROL_STREAMS_MAX];
    struct hg_status_group groups[HG_STATUS_GROUPS_MAX];
    struct hg_status_client clients[HG_CONTROL_CLIENTS_MAX];
    struct hg_status_consumer consumers[HG_CONTROL_CONSUMERS_MAX];
    struct hg_status_drop drops[HG_CONTROL_DROPS_MAX];
    uint32_t session_count, reserved;
    struct hg_status_session sessions[HG_CONTROL_SESSIONS_MAX]; /* of each log, the last used first */
};

/* ---- cells of the ring ---- */
enum hg_control_type {
    HG_CONTROL_HELLO = 1,   /* either way, first after attaching: {abi, boot} */
    HG_CONTROL_APPLY = 2,   /* -> dataplane: config page of this generation is complete, apply it */
    HG_CONTROL_RESULT = 3,  /* -> control plane: of an APPLY or COMMAND: code and sentence */
    HG_CONTROL_EVENT = 4,   /* -> control plane: something happened */
    HG_CONTROL_COMMAND = 5, /* -> dataplane: an action that is not state: remove a consumer, move a stream,
                               make a log longer, seal or open a group, stop */
    HG_CONTROL_TAIL = 6,    /* -> control plane: what a copy answered about one stream of a group, asked for
                               by HG_COMMAND_GROUP_ASK; said once, and asked for again when it was lost */
};

enum hg_control_command {
    HG_COMMAND_CONSUMER_REMOVE = 1, /* `number`: 1 + the worker that has it; 0 = whoever has it */
    HG_COMMAND_STOP = 2,
    HG_COMMAND_STREAM_MOVE = 3, /* `number`: to which worker */
    /* `number`: the group; `epoch`. Answered when every log has it on its device, and the status page shows
       it. */
    HG_COMMAND_GROUP_SEAL = 4,
    HG_COMMAND_GROUP_OPEN = 5,
    /* The same of a fail-over (controlplane/failover.h); `target`. ASK and FILL are answered when they are on
       their way: what comes of ASK is HG_CONTROL_TAIL. */
    HG_COMMAND_GROUP_ASK = 6,  /* at target.node: seal, and say what its copy has */
    HG_COMMAND_GROUP_FILL = 7, /* target.node sends target.stream here */
    HG_COMMAND_GROUP_BEGIN = 8,
    HG_COMMAND_GROUP_RELEASE = 9,
    /* `number`: the log; `epoch`: bytes that its file is to have. LOG_GROW is answered when it has begun,
       which is told in hg_status_log.grow_percent and ends with an event; CHECK says what it would do, or why
       not. */
    HG_COMMAND_LOG_GROW = 10,
    HG_COMMAND_LOG_GROW_CHECK = 11,
    HG_COMMAND_STREAM_ADOPT = 40, /* it begins anew where its origin's log begins */
};

enum hg_control_severity { HG_SEVERITY_INFO, HG_SEVERITY_WARNING, HG_SEVERITY_ERROR, HG_SEVERITY_CRITICAL };

struct hg_control_target {
    uint64_t node;
    uint64_t stream;
};

/* One copy's answer about one stream of a group. */
struct hg_control_tail {
    uint64_t node;
    uint64_t epoch;          /* that it was asked under */
    uint64_t epoch_promised; /* of the group there; a newer one: it refuses, and the rest is nothing */
    uint64_t stream;         /* 0 = that log has none of the group */
    uint64_t lsn_end;        /* durable, exclusive; 0 = it is empty */
    uint8_t chain[16];       /* of the batch that ends there */
    uint8_t log_uuid[16];
    uint16_t group;
    uint16_t streams; /* of the group in that log */
    uint8_t log, logs;
    uint8_t unknown;     /* writes behind the end may have been lost */
    uint8_t epoch_count; /* <= HG_EPOCH_STARTS_MAX */
    uint8_t corrupt;     /* 1: what is between the next two can't all be read */
    uint8_t reserved[7];
    uint64_t corrupt_first, corrupt_end;
    uint64_t lsn_floor; /* all below was committed, as is known there; may lie above lsn_end */
    struct hg_epoch_start epochs[HG_EPOCH_STARTS_MAX];
};

/* Payload of a cell (the ring adds sequence, generation, request id and CRC). */
struct hg_control_message {
    uint32_t type;    /* enum hg_control_type */
    uint32_t command; /* enum hg_control_command, or the event's severity */
    union {
        struct {
            union {
                uint64_t generation; /* APPLY/RESULT: of the config page */
                uint64_t epoch;      /* COMMAND: of a group */
            };
            int32_t code;                     /* RESULT: 0 or -errno */
            uint32_t number;                  /* COMMAND: its argument */
            char name[HG_CONTROL_NAME_BYTES]; /* what it is about; event: its stable name, "peer_up" */
            union {
                char text[HG_CONTROL_TEXT_BYTES]; /* what happened and what to do */
                struct hg_control_target target;  /* COMMAND of a fail-over; zero behind it */
            };
        };
        struct hg_control_tail tail; /* TAIL */
    };
};
static_assert(sizeof(struct hg_control_message) == 248, "a cell of the control ring holds it");

#endif
