/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-sim: dataplanes in one thread and virtual time. What is simulated is everything outside of a worker
 * (network, disk, clock, power, clients); what runs is the production object code of workers and key
 * agreement. A run is a pure function of (scenario, seed, faults left out). docs/simulator.md has the idea
 * and the use.
 */
#ifndef HG_SIM_H
#define HG_SIM_H

#include "controlplane/grant.h"
#include "dataplane/exchange.h"
#include "dataplane/move.h"
#include "dataplane/worker.h"
#include "drivers/disk/disk_sim.h"
#include "drivers/platform/random.h"
#include "tests/sim/history.h"
#include "tests/sim/sometimes.h"

#include <setjmp.h>
#include <stdio.h>

#define SIM_NODES_MAX       6u
#define SIM_NODES_FEW       3u /* of all scenarios but `quorum`: part of what their seeds mean */
#define SIM_WORKERS_MAX     3u
#define SIM_FLOWS_MAX       6u
#define SIM_ORDERS_MAX      4u
#define SIM_FAULTS_MAX      128u
#define SIM_PATHS_MAX       4u
#define SIM_LIES            17u /* kinds of them: tests/sim/liar.c */
#define SIM_TEXT_BYTES      512u
#define SIM_CLUSTER         UINT64_C(0x5e110)
#define SIM_PACKETS_MAX     16384u
#define SIM_PACKET_BYTES    9344u
#define SIM_LIVENESS_NS     (300 * HG_NS_PER_S) /* after the heal everything must be everywhere by then */
#define SIM_RESTART_FAIL_NS (100 * HG_NS_PER_MS)

/* ---- the plan ---- */
enum sim_class { /* fault classes that swarm testing switches one by one */
                 SIM_CLASS_LOSS,
                 SIM_CLASS_BURST,
                 SIM_CLASS_JITTER,
                 SIM_CLASS_DUPLICATE,
                 SIM_CLASS_REPLAY,
                 SIM_CLASS_CORRUPT,
                 SIM_CLASS_TRUNCATE,
                 SIM_CLASS_QUEUE,
                 SIM_CLASS_CUT,
                 SIM_CLASS_KILL,
                 SIM_CLASS_POWER,
                 SIM_CLASS_DISK_STALL,
                 SIM_CLASS_DISK_ERROR,
                 SIM_CLASS_DISK_SHORT,
                 SIM_CLASS_CLOCK,
                 SIM_CLASS_PAUSE,
                 SIM_CLASS_PORT,
                 SIM_CLASS_COUNT
};

enum sim_fault_kind {
    SIM_FAULT_KILL,  /* node; a = its steps or (bit 63) packets sent until then, b = ns until it is started
                        again */
    SIM_FAULT_POWER, /* likewise, with the device's cache lost */
    SIM_FAULT_POWER_ALL,
    SIM_FAULT_CUT,        /* node -> other; a = ns */
    SIM_FAULT_NARROW,     /* node -> other; a = ns, b = the largest IP packet that passes, silently */
    SIM_FAULT_DISK_STALL, /* a = ns */
    SIM_FAULT_DISK_WRITE, /* a = nth from now fails with -b, 0 = -EIO */
    SIM_FAULT_DISK_FLUSH,
    SIM_FAULT_DISK_READ,
    SIM_FAULT_DISK_SHORT, /* a = nth from now writes b blocks */
    SIM_FAULT_CLOCK_JUMP, /* a = ns, signed, of CLOCK_REALTIME */
    SIM_FAULT_PAUSE,      /* a = ns in which the node does nothing */
    SIM_FAULT_SNAPSHOT,   /* process dies, its disk is copied, it starts again */
    SIM_FAULT_ROLLBACK,   /* power goes, the disk is replaced by the copy */
    SIM_FAULT_ROT,        /* power goes, bit a of the disk is flipped; in `failover` as newest.c has it */
    SIM_FAULT_FLAP,       /* node -> other, cut and whole in turns; a = ns in all, b = ns of one turn */
    SIM_FAULT_PATH,       /* node -> other; a = the ns that path b takes longer than the link from now on */
    SIM_FAULT_RATE,       /* node -> other; a = the bytes/s that the link carries from now on */
    SIM_FAULT_MOVE,       /* an operator moves stream a to worker b */
    SIM_FAULT_BLANK,   /* power goes, the disk is replaced by one that is formatted and empty; b as above */
    SIM_FAULT_SUSPEND, /* as PAUSE, and CLOCK_MONOTONIC stands still */
    SIM_FAULT_FREEZE, /* the process is stopped for a ns in the middle of a step, when it reads CLOCK_BOOTTIME
                         for the b-th time from now on */
    SIM_FAULT_CONTROL, /* the control plane dies, the next one comes after a ns */
    SIM_FAULT_OPERATE, /* an operator orders at the node: a = enum sim_operation, b = ns between its steps */
    SIM_FAULT_METASTORE,     /* a = ns, b = enum sim_metastore_fault */
    SIM_FAULT_SLOW,          /* a = ns in which the node has a turn each b ns at most */
    SIM_FAULT_DISK_LOSE,     /* a = nth write from now, acknowledged and not done */
    SIM_FAULT_DISK_MISPLACE, /* likewise, done b blocks further on */
    SIM_FAULT_DISK_MISREAD,  /* a = nth read from now gives what is b blocks further on; 0 = a bit is wrong */
    SIM_FAULT_ATLAS,         /* a batch of the node's log goes bad on all nodes but one; a = seed of how */
    SIM_FAULT_KIND_COUNT
};

struct sim_fault {
    uint64_t time_ns;
    enum sim_fault_kind kind;
    uint32_t node;
    uint32_t other;
    uint64_t a;
    uint64_t b;
    bool left_out;
};

/* What a link does to the codepoint of ECN besides marking. HIDES: the receiver's end of it reads CE as
 * ECT(0), which is what a peer looks like that does not say what it saw. */
enum sim_ecn_path {
    SIM_ECN_KEPT,
    SIM_ECN_HIDES,
    SIM_ECN_BLEACHES,
    SIM_ECN_REMARKS, /* ECT(0) as ECT(1) */
    SIM_ECN_ALL_CE,  /* of packets that could be marked */
    SIM_ECN_ANY_CE,  /* of all packets */
    SIM_ECN_DROPS,   /* packets that could be marked */
    SIM_ECN_PATH_COUNT
};

struct sim_link_plan {
    uint64_t delay_ns;
    uint64_t jitter_ns;
    uint32_t loss_ppm;
    uint32_t burst_ppm; /* begins at a packet */
    uint32_t burst_packets;
    uint32_t duplicate_ppm;
    uint32_t replay_ppm; /* a copy comes seconds later */
    uint32_t corrupt_ppm;
    uint32_t truncate_ppm;
    uint64_t rate_bytes_per_s; /* 0 = no limit */
    uint64_t queue_ns;
    uint64_t mark_ns; /* in the queue: from there on ECN-capable packets are marked; 0 = never */
    enum sim_ecn_path ecn_path;
    uint64_t ecn_from_ns;                  /* when that begins */
    uint32_t path_count;                   /* each packet takes one of them; 1 = the link itself */
    uint64_t path_delay_ns[SIM_PATHS_MAX]; /* on top of the link's */
};

struct sim_node_plan {
    uint32_t region;
    uint64_t write_ns_min, write_ns_max;
    uint64_t read_ns_min, read_ns_max;
    uint64_t flush_ns_min, flush_ns_max;
    uint32_t workers;       /* of one log each */
    uint32_t workers_after; /* from a restart on; the same = never another number */
    bool steers;            /* its port puts packets into the queue of the worker they are for */
    uint32_t disk_depth;
    bool disk_dsync; /* its writes are durable by themselves; else a flush makes them so */
    uint32_t segment_count;
    uint64_t segment_bytes;
    uint64_t arena_bytes;
    uint64_t rate_bytes_per_s;
    uint32_t congestion; /* enum hg_config_congestion */
    uint32_t fec;        /* enum hg_config_fec */
    uint32_t ecn;        /* enum hg_config_ecn */
    uint64_t receive_bytes;
    uint64_t rekey_packets; /* 0 = the standard, which no run reaches */
    uint64_t rekey_seconds;
    uint32_t packets_in_flight;
    int32_t drift_ppm;
    int64_t realtime_offset_ns;
    uint64_t clock_offset_ns;
    uint32_t port_refuse_ppm;
    uint32_t port_receive_max;
    uint32_t lies; /* bits of what it says (tests/sim/liar.c); 0 = it is honest */
    uint32_t lies_burst;
    uint64_t lie_gap_ns;
    bool lies_rekey;
    uint64_t drop_behind_bytes; /* it holds no more of the others' logs; 0 = all */
    bool shunned;               /* others give it no streams of theirs */
    uint32_t grant_ms;          /* of its write grants; 0 = none are needed */
    uint32_t rest;              /* enum sim_rest (core.h): what becomes of it when the faults end */
};

struct sim_flow_plan { /* one stream, from its origin to every other node */
    uint32_t origin;
    bool physical;
    bool compresses;
    bool consumer; /* registered at every node that reads it */
    uint32_t frame_bytes_max;
    uint32_t burst_frames_max;
    uint64_t interval_ns;
    uint64_t bytes; /* to be produced in all */
    uint64_t lsn_start;
};

struct sim_bottleneck_plan { /* scenario `bottleneck`; rate and round trip as they are in the end */
    bool used;
    bool is_bbr;
    uint32_t to;
    uint64_t rate_bytes_per_s;
    uint64_t rtt_ns;
    uint64_t queue_ns;
};

struct sim_order { /* of an operator, to change the members */
    uint64_t time_ns;
    uint32_t what; /* enum hg_members_order */
    uint32_t node, node_new;
};

struct sim_plan {
    uint64_t seed;
    uint32_t scenario;
    uint32_t classes; /* bits of enum sim_class */
    uint32_t node_count;
    uint32_t flow_count;
    uint64_t safety_ns;
    uint32_t mtu_bytes;
    uint32_t write_payload_bytes; /* of every log */
    uint64_t segment_bytes;
    uint32_t origins;  /* streams begin on the first so many nodes */
    uint32_t quorum_n; /* nodes of region 0: the first ones; 0 = each node is a region */
    uint32_t quorum_w;
    uint32_t
        quorum_regions;  /* the first so many regions have such a quorum each, of quorum_n nodes in order */
    uint32_t blank_node; /* whose disk is lost; SIM_NODES_MAX = nobody's */
    uint32_t members_n;  /* of these, the first members of scenario `members`; 0 = its nodes are the quorum */
    uint32_t order_count;
    struct sim_order orders[SIM_ORDERS_MAX];
    uint32_t held_flow; /* that members don't get until all else is done; SIM_FLOWS_MAX = none */
    bool ecn_honest;    /* no link changes a codepoint but a full queue */
    bool light;         /* single commits now and then: how long each takes counts (SIM_SCENARIO_FEC) */
    struct sim_node_plan nodes[SIM_NODES_MAX];
    struct sim_link_plan links[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_flow_plan flows[SIM_FLOWS_MAX];
    struct sim_bottleneck_plan bottleneck;
    uint32_t fault_count;
    struct sim_fault faults[SIM_FAULTS_MAX];
};

/* Expands (scenario, seed) into everything that the run depends on. */
void hg_sim_plan_make(struct sim_plan *plan, uint32_t scenario, uint64_t seed);
struct sim_fault *hg_sim_plan_fault(struct sim_plan *plan, enum sim_fault_kind kind, uint64_t time_ns,
                                    uint32_t node);
/* Begins a random stream of the plan's own beside the one that all else is drawn from: what is drawn of it
 * leaves the plans of kept seeds as they are. */
void hg_sim_plan_random(const struct sim_plan *plan, uint64_t salt, struct hg_random *random);
void hg_sim_plan_print(const struct sim_plan *plan, FILE *out);
static inline bool hg_sim_has_quorum(const struct sim_plan *plan, uint32_t region)
{
    return plan->quorum_n != 0 && region < plan->quorum_regions;
}
const char *hg_sim_fault_name(enum sim_fault_kind kind);
void hg_sim_fault_text(const struct sim_fault *fault, char *text, size_t text_bytes);

/* ---- the world ---- */
struct sim_packet {
    struct sim_packet *next;
    uint32_t bytes;
    uint32_t from;
    uint32_t holder; /* node whose worker has it; SIM_NODES_MAX = nobody */
    uint64_t order;  /* in which its link sent it */
    bool is_altered;
    uint8_t memory[SIM_PACKET_BYTES] __attribute__((aligned(64)));
};

struct sim_link {
    struct hg_random random_loss, random_jitter, random_duplicate, random_replay, random_alter, random_path;
    uint32_t burst_left;
    uint64_t busy_until_ns;
    uint64_t rate_bytes_per_s; /* 0: as planned */
    uint64_t cut_until_ns;
    uint64_t flap_from_ns, flap_until_ns, flap_turn_ns;
    uint64_t path_delay_ns[SIM_PATHS_MAX];
    uint64_t narrow_until_ns;
    uint32_t narrow_bytes;
    uint64_t order_sent;
    uint64_t order_arrived;
};

struct sim_node;

struct sim_clock {
    struct hg_clock clock;
    struct sim_node *node;
};

struct sim_port { /* one queue */
    struct hg_port port;
    struct sim_node *node;
    struct sim_packet *queue[1024];
    uint32_t queue_head, queue_tail;
    uint64_t delivered_count; /* to this boot's worker */
};

/* A stream as one node has it, remembered across its deaths. */
struct sim_place {
    uint64_t durable_floor;  /* it has said that everything below is durable: true for ever */
    uint64_t durable_before; /* the floor as it was some commits ago */
    uint64_t mark_floor, mark_ns;
    uint64_t durable_ever; /* rollbacks don't lower it */
    uint64_t read_next;    /* reader: end of the last batch in this life of the process; 0 = none yet */
    uint64_t read_end;     /* largest end ever read */
    uint8_t read_chain[16];
    bool rolled_back; /* its disk was replaced: what its readers had registered is older too */
    uint32_t history; /* 0, or 1 after it took bytes that were written after a rollback */
    uint64_t told_peer[SIM_NODES_MAX];
    uint64_t committed_told; /* in this life of the process */
    uint64_t committed_ever;
    uint64_t horizon_lsn; /* it lacks what is before: as far as its process was told; 0 = nothing */
    uint64_t anew_lsn;    /* where it began anew last */
    bool is_adopting;     /* it was ordered to */
    uint64_t epoch;       /* of another region's copy: the newest that it follows */
};

struct sim_chain {
    uint64_t lsn_end; /* 0 = free */
    uint32_t history;
    uint32_t variant;   /* of the frames */
    uint64_t read_hash; /* of the batch whose frames were compared with their producer's; 0 = none yet */
    uint8_t chain[16];
    uint64_t epoch_cut; /* of an orphan: that it was cut off under */
};

#define SIM_COMMITS_MAX 256u

struct sim_commit { /* produced and not yet known to be durable elsewhere */
    uint64_t lsn_end;
    uint64_t time_ns;
};

/* A producer of a stream, at one node (tests/sim/check_history.c). */
struct sim_live {
    uint64_t lsn;
    uint32_t span;
    uint32_t append;  /* in the history */
    uint32_t variant; /* of its frame */
};
struct sim_client {
    struct sim_live *live; /* what it appended and was not told to be gone, in order */
    uint32_t live_count, live_max;
    uint32_t acked_count; /* of these, the first */
};

struct sim_flow {
    const struct sim_flow_plan *plan;
    uint32_t index;
    uint64_t stream;
    bool is_open;          /* the producer has attached in this life of the origin */
    uint64_t lsn_next;     /* to append */
    uint64_t lsn_produced; /* end of what the producer has made so far */
    uint64_t bytes_produced;
    uint32_t variant; /* 1 after a rollback of the origin: other bytes under the same LSNs */
    uint64_t fork_lsn;
    bool fork_due; /* the origin was rolled back, its end is not known yet */
    bool diverged_told[SIM_NODES_MAX];
    bool gap_told[SIM_NODES_MAX];
    struct sim_place places[SIM_NODES_MAX];
    struct sim_chain *chains;
    uint32_t chain_count, chain_max;
    struct sim_commit commits[SIM_COMMITS_MAX];
    uint64_t commit_head, commit_tail;
    bool commits_reach; /* the stream has been opened there: from now on they are timed */
    struct hg_random random;
    struct hg_frame frame; /* the last that was made, for the next attempt when it was pushed back */
    uint32_t frame_variant;
    uint8_t *frame_memory;
    uint32_t attempt; /* how often a producer attached */
    uint32_t frame_attempt;
    struct {
        uint64_t lsn, boot;            /* committed there, on that process */
        uint64_t since_ns, unnamed_ns; /* so, and without a cause */
        bool is_theirs;                /* the device has what is not committed: other nodes lack it */
        bool is_counted;
    } still;
    struct sim_history *history;              /* NULL = nothing is promised of it any more */
    struct sim_client clients[SIM_NODES_MAX]; /* by the node that they are at */
};

/* The session of a lane, as it was seen last in this boot. */
struct sim_session {
    uint32_t generation; /* 0 = none */
    uint64_t boot_remote;
};

/* What a node's clients were told of a stream. */
struct sim_told {
    bool attached;
    uint32_t slot;
    uint64_t durable, committed, committed_here;
    uint64_t region[HG_CLIENT_REGIONS];
};

/* tests/sim/grant.c: a node's control plane, as far as write grants go, and a client. */
struct sim_grant {
    struct hg_random random;
    struct hg_granting granting;
    uint64_t promised_ns;     /* by the metastore, in virtual time */
    uint64_t answer_ns;       /* of the question under way; 0 = none is */
    bool fails;               /* that question */
    uint64_t page_ns;         /* deadline on the dataplane's page, CLOCK_BOOTTIME; 0 = none yet */
    uint64_t page_epoch;      /* that it is for */
    uint64_t given_ns;        /* to the workers of this boot */
    uint64_t control_down_ns; /* until then there is no control plane */
    bool control_dies;
    uint64_t suspended_ns, suspended_until_ns; /* CLOCK_BOOTTIME is so far ahead of CLOCK_MONOTONIC */
    uint64_t freeze_reads, freeze_ns;
    uint64_t frozen_ns; /* in this step, so far */
    void *memory;       /* of the client */
    struct hg_client_ring ring;
    struct hg_client_view view;
    int client;
    bool client_open;
    uint64_t client_epoch; /* which was open when it came */
    struct sim_told told[SIM_FLOWS_MAX];
};

/* tests/sim/horizon.c: who has a node's streams begin anew. */
struct sim_horizon {
    struct hg_random random;
    uint32_t asked_flow; /* that its worker was ordered to begin anew; SIM_FLOWS_MAX = none */
};

/* What the last recovery of a log found. */
struct sim_recovered {
    bool known;
    bool is_untouched; /* nothing was written since */
    uint64_t next_sequence;
};

struct sim_worker {
    struct hg_worker *worker;
    struct sim_recovered recovered;
    struct hg_mailbox inbox, outbox;
    struct sim_port port;
    struct hg_disk *disk;
    struct hg_disk *disk_old; /* snapshot */
    void *arena;
    struct hg_cursor reader;
    struct hg_places places;
    struct sim_session sessions[SIM_NODES_MAX][HG_WIRE_WORKERS_MAX]; /* by peer and its worker */
    bool was_running;
};

/* What was cut off a copy of a stream (dataplane/stream/cut.h). */
struct sim_orphan {
    struct sim_orphan *next;
    char name[128];
    uint8_t *data; /* of the file, once it has its name; NULL = it has not */
    uint64_t bytes;
    uint8_t *part; /* being written */
    uint64_t part_bytes;
};

struct sim_node {
    struct sim_world *world;
    uint32_t index;
    const struct sim_node_plan *plan;
    bool is_up;
    bool refused; /* its log is corrupt: stays down for an operator */
    uint32_t worker_count;
    struct sim_worker *workers;
    struct hg_handover *handover;
    struct hg_peers_census census[SIM_WORKERS_MAX];
    struct hg_placement placement;
    struct hg_exchange exchange;
    struct sim_clock clock;
    struct hg_control_config *config;   /* as an operator wrote it */
    struct hg_control_config *resolved; /* lent to the workers */
    uint32_t config_pending;            /* workers that have it */
    bool config_refused;
    struct hg_move move;
    bool move_spreads; /* the configuration under way says the new place */
    struct hg_random random_clock, random_port, random_steer, random_lie;
    uint64_t boot;
    uint64_t boots_count;
    uint64_t boot_ns;
    int64_t realtime_jump_ns;
    uint64_t disk_stall_ns;
    uint64_t paused_ns;
    uint64_t slow_until_ns, slow_gap_ns, slow_next_ns;
    uint64_t wake_ns;
    uint64_t wake_generation;
    uint64_t steps_fuse;    /* steps until it dies; 0 = none */
    uint64_t transmit_fuse; /* packets until it dies inside its turn; 0 = none */
    bool fuse_power;
    uint64_t fuse_restart_ns;
    uint64_t silent_ns;                                     /* a liar says nothing until then */
    uint32_t groups_forged[SIM_NODES_MAX][SIM_WORKERS_MAX]; /* packets of them */
    uint32_t events_count[HG_EVENT_COUNT];                  /* in this boot */
    uint64_t disk_errors_due;                               /* injected, so a failed log is no bug */
    jmp_buf death;
    uint64_t spins;
    struct sim_grant grant;
    struct sim_horizon horizon;
    struct sim_orphan *orphans; /* outlive the process */
};

struct sim_event {
    uint64_t time_ns;
    uint64_t order;
    uint32_t type;
    uint32_t a;
    uint64_t b;
    void *pointer;
};

enum sim_event_type {
    SIM_EVENT_WAKE,
    SIM_EVENT_PACKET,
    SIM_EVENT_PRODUCE,
    SIM_EVENT_FAULT,
    SIM_EVENT_BOOT,
    SIM_EVENT_HEAL,
    SIM_EVENT_LIE,
    SIM_EVENT_AGENT,
    SIM_EVENT_MEMBERS,
    SIM_EVENT_GRANT,
    SIM_EVENT_OPERATOR,
};

/* A key under which packets were sealed, or that a node has had. */
struct sim_key {
    uint64_t key; /* tells keys apart: SPI and both processes; 0 = free */
    bool is_known;
    uint64_t *contents; /* of its packets, by number; 0 = not seen */
    uint64_t contents_max;
};

struct sim_world {
    const struct sim_plan *plan;
    uint64_t now_ns;
    uint64_t hash;
    uint64_t events_count;
    bool healed;
    bool held_free; /* the plan's held_flow is given to members now */
    bool over;      /* nothing more can be asked of it */
    bool whole;     /* all is everywhere, and was read */
    bool trace;
    struct sim_node *nodes;
    struct sim_link links[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_flow flows[SIM_FLOWS_MAX];
    struct sim_event *heap;
    uint32_t heap_count, heap_max;
    uint64_t order_next;
    struct sim_packet *packets_all[SIM_PACKETS_MAX];
    uint32_t packets_count;
    uint32_t packets_used;
    struct sim_packet *packets_free;
    struct sim_key *keys;
    uint32_t keys_count, keys_mask;
    uint64_t packets_sealed;
    uint64_t sometimes[SIM_SOMETIMES_COUNT];
    uint64_t liveness_ns;                    /* how long the end took */
    uint64_t commits_timed, commits_stalled; /* of plans that are light */
    struct {
        uint64_t carried_bytes[SIM_NODES_MAX]; /* by who sent them */
        uint64_t queued_ns, packets;
    } bottleneck;
    struct { /* scenario `members`: the metastore */
        struct hg_random random;
        struct hg_members record, before;
        uint32_t order_next;
        uint32_t joint_by;                   /* node that drove the last change to joint */
        uint64_t generations[SIM_NODES_MAX]; /* that the node's log keeps */
    } members;
    struct sim_cluster *cluster;   /* of that scenario */
    struct sim_failover *failover; /* likewise */
    struct sim_atlas *atlas;       /* likewise */
    uint8_t *frame_memory;
    uint8_t *open_memory;
    /* violation */
    jmp_buf violation;
    char violation_name[64];
    char violation_text[SIM_TEXT_BYTES];
};

/* The world that runs now: assertions of the cores have no context. */
extern struct sim_world *hg_sim_world;

struct sim_world *hg_sim_world_make(const struct sim_plan *plan, bool trace);
/* True = no violation. */
bool hg_sim_world_run(struct sim_world *world);
void hg_sim_world_free(struct sim_world *world);
void hg_sim_world_state_print(struct sim_world *world, FILE *out);

void hg_sim_event_put(struct sim_world *world, uint64_t time_ns, enum sim_event_type type, uint32_t a,
                      uint64_t b, void *pointer);
void hg_sim_hash(struct sim_world *world, uint64_t value);
void __attribute__((format(printf, 2, 3))) hg_sim_trace(struct sim_world *world, const char *format, ...);
/* Ends the run: an invariant is broken. */
_Noreturn void __attribute__((format(printf, 3, 4)))
hg_sim_violation(struct sim_world *world, const char *name, const char *format, ...);
uint64_t hg_sim_random_seed(const struct sim_world *world, uint64_t purpose, uint64_t index);

/* ---- network ---- */
void hg_sim_net_init(struct sim_world *world);
void hg_sim_port_init(struct sim_node *node, struct sim_port *port);
void hg_sim_port_reset(
    struct sim_node *node); /* the process is gone: what it held is free, what waited is lost */
/* One that strikes a link: cut, narrow, flap, path. */
void hg_sim_link_fault(struct sim_world *world, const struct sim_fault *fault);
void hg_sim_packet_arrive(struct sim_world *world, uint32_t to, struct sim_packet *packet);
void hg_sim_packet_free(struct sim_world *world, struct sim_packet *packet);
/* A frame that no port of the node sent. Lost when half of all packets there are is under way: those of ports
 * must always find one. */
void hg_sim_packet_send(struct sim_world *world, uint32_t from, uint32_t to, const uint8_t *frame,
                        uint32_t bytes);
uint32_t hg_sim_address(uint32_t node); /* IPv4, host order */

/* ---- nodes ---- */
void hg_sim_node_init(struct sim_world *world, uint32_t index);
void hg_sim_node_free(struct sim_node *node);
void hg_sim_node_boot(struct sim_node *node);
void hg_sim_node_step(struct sim_node *node);
/* Its process is up, and its first worker has its log. */
static inline bool hg_sim_is_running(const struct sim_node *node)
{
    return node->is_up && node->workers[0].worker->state == HG_WORKER_RUNNING;
}
/* power: the device's cache is lost too. It is started again after restart_ns. */
void hg_sim_node_die(struct sim_node *node, bool power, uint64_t restart_ns);
/* Power goes, and it starts with an empty disk: what it had said of streams is void. */
void hg_sim_node_disk_lost(struct sim_node *node, uint64_t restart_ns);
void hg_sim_node_wake(struct sim_node *node, uint64_t time_ns);
/* Gives every worker node->resolved. */
void hg_sim_config_give(struct sim_node *node);
/* The node's configuration is given to its workers anew. */
void hg_sim_config_apply(struct sim_node *node);
/* Members get the plan's held_flow from now on. */
void hg_sim_held_free(struct sim_world *world);
void hg_sim_fault_strike(struct sim_world *world, const struct sim_fault *fault);
/* The worker of the node that owns the flow's stream; NULL while nobody is configured to. */
struct sim_worker *hg_sim_worker_of(struct sim_node *node, const struct sim_flow *flow);

/* ---- orphan.c ---- */
void hg_sim_orphan_letter(struct sim_node *node, struct sim_worker *worker, const struct hg_letter *letter);
void hg_sim_orphans_free(struct sim_node *node);

/* ---- move.c ---- */
void hg_sim_move_strike(struct sim_node *node, const struct sim_fault *fault);
void hg_sim_move_letter(struct sim_node *node, const struct hg_letter *letter);
bool hg_sim_move_tick(struct sim_node *node); /* true when it did anything */
void hg_sim_move_settle(struct sim_node *node);
/* Virtual time at which the node's clock shows local_ns. */
uint64_t hg_sim_time_of(const struct sim_node *node, uint64_t local_ns);
uint64_t hg_sim_local_ns(const struct sim_node *node, uint64_t time_ns);

/* CLOCK_BOOTTIME at this virtual time. */
uint64_t hg_sim_boottime_ns(const struct sim_node *node, uint64_t time_ns);

/* ---- grant.c ---- */
void hg_sim_grant_plan(struct sim_plan *plan, struct hg_random *random);
/* The node hears nobody, and nobody hears it. */
void hg_sim_plan_alone(struct sim_plan *plan, uint32_t node, uint64_t time_ns, uint64_t ns);
void hg_sim_grant_begin(struct sim_node *node);
void hg_sim_grant_free(struct sim_node *node);
void hg_sim_grant_boot(struct sim_node *node);
void hg_sim_grant_event(struct sim_node *node);
void hg_sim_grant_strike(struct sim_node *node, const struct sim_fault *fault);
/* After each turn of the node: gives grants, looks what clients are told. */
void hg_sim_grant_turn(struct sim_node *node);
void hg_sim_grant_step_over(struct sim_node *node);
uint64_t hg_sim_boottime_read(struct sim_node *node);

/* ---- workload ---- */
void hg_sim_flows_init(struct sim_world *world);
#define SIM_STALL_NS (10 * HG_NS_PER_MS) /* a commit that takes a round trip and so much more has stalled */
/* The flow's origin knows that it is durable to there elsewhere. */
void hg_sim_commits_end(struct sim_world *world, struct sim_flow *flow, uint64_t lsn_durable);
/* The frame at `lsn`; key and data are written to `memory`. A pure function of its arguments and the seed. */
void hg_sim_frame(const struct sim_world *world, const struct sim_flow *flow, uint32_t variant, uint64_t lsn,
                  struct hg_frame *frame, uint8_t *memory);
/* The same without key and data. */
void hg_sim_frame_shape(const struct sim_world *world, const struct sim_flow *flow, uint64_t lsn,
                        struct hg_frame *frame);
void hg_sim_produce(struct sim_world *world, struct sim_flow *flow);
/* Appends what producers have for this node. True when anything moved. */
bool hg_sim_append(struct sim_node *node);
bool hg_sim_read(struct sim_node *node);

/* ---- checks ---- */
void hg_sim_check_node(struct sim_node *node);
void hg_sim_check_batch(struct sim_node *node, struct sim_worker *worker,
                        const struct hg_batch_header *header);
void hg_sim_check_event(struct sim_node *node, const struct hg_event *event);
void hg_sim_check_keys(struct sim_node *node, struct sim_worker *worker);
/* tests/sim/stall.c: whatever stands still says why. Now and then. */
void hg_sim_check_stalls(struct sim_world *world);
/* tests/sim/check_recovery.c: the log is read back; its process ends; its disk is another one. */
void hg_sim_check_recovered(struct sim_node *node, struct sim_worker *worker);
void hg_sim_check_touched(struct sim_worker *worker);
void hg_sim_check_recovered_void(struct sim_worker *worker);
/* All is everywhere: every process dies. False: not in this scenario. Then, when all have recovered, what
 * each has of a stream is compared. */
bool hg_sim_recover_all(struct sim_world *world);
bool hg_sim_recovered_all(struct sim_world *world);
void hg_sim_check_recovered_alike(struct sim_world *world, struct sim_flow *flow);
/* tests/sim/check_quorum.c */
void hg_sim_check_committed(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s);
/* The w-th largest of the ends that members of the origin's region have; `now`: of what is on their disks,
 * without what a lost one had. */
uint64_t hg_sim_end_of_w(const struct sim_world *world, const struct sim_flow *flow, uint32_t w, bool now);
/* Up to where w of the members have, or had, a stream of theirs on their devices. */
uint64_t hg_sim_committed(const struct sim_world *world, const struct sim_flow *flow);
/* An event of this scenario: true when it is one that may be. */
bool hg_sim_check_quorum_event(struct sim_node *node, const struct hg_event *event, uint32_t flow);
/* ---- check_history.c: what producers and readers were told, and whether a log can have done that ---- */
void hg_sim_history_begin(struct sim_flow *flow);
void hg_sim_history_end(struct sim_flow *flow);
/* The producer at the node is told that the stream ends there: what it appended from there on is not in it.
 */
void hg_sim_client_attached(struct sim_node *node, struct sim_flow *flow, uint64_t lsn_end);
/* The same where other nodes may have written since: also what lies below that end under another epoch is
 * gone. `s`: the stream there; `is_newest`: nobody writes under a newer epoch. */
void hg_sim_client_attached_epochs(struct sim_node *node, struct sim_flow *flow,
                                   const struct hg_stream_state *s, uint64_t lsn_end, bool is_newest);
/* What the frames of this attachment are told apart by; or it into transaction_id. */
uint64_t hg_sim_client_mark(const struct sim_flow *flow);
void hg_sim_client_appended(struct sim_node *node, struct sim_flow *flow, const struct hg_frame *frame);
/* The producer at the node is told that its entries below are committed. */
void hg_sim_client_acked(struct sim_node *node, struct sim_flow *flow, uint64_t lsn_end);
void hg_sim_reader_frame(struct sim_node *node, struct sim_flow *flow, const struct hg_frame *frame);
/* Before the batch is noted in the node's place. */
void hg_sim_reader_batch(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header);
/* The node has another disk: what was promised of its own streams is judged as it was up to now. */
void hg_sim_history_void(struct sim_node *node, bool is_old);
void hg_sim_check_histories(struct sim_world *world);
/* In the end the node must have all of the stream. */
bool hg_sim_is_required(struct sim_world *world, const struct sim_flow *flow, uint32_t node);
void hg_sim_check_nonce(struct sim_node *node, const uint8_t *frame, uint32_t bytes);
void hg_sim_keys_free(struct sim_world *world);
/* Equal position and history mean equal chain. Returns what is known there; valid until the next call. */
struct sim_chain *hg_sim_check_chain(struct sim_world *world, struct sim_flow *flow, uint32_t node,
                                     uint64_t lsn_end, const uint8_t chain[16]);
/* The place in the stream's table of chains for (history, position), free or not. Valid until the next call.
 */
struct sim_chain *hg_sim_chain_at(struct sim_flow *flow, uint32_t history, uint64_t lsn_end);
/* Counters of a worker that ends; also its packets add up. */
void hg_sim_harvest(struct sim_node *node);
bool hg_sim_complete(struct sim_world *world, char *text, size_t text_bytes);

#endif
