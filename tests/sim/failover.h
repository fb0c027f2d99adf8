/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `failover`: one region of three nodes, two acknowledge; which of them writes changes. Each has a
 * control plane that runs the fail-over driver of production (controlplane/failover.h) against a metastore
 * in memory, and asks its dataplane as housekeeping does. Each node has a producer of each stream: it goes on
 * wherever its node lets it, so one that was deposed and has not heard of it writes what no other node has.
 * In half of the seeds each writes only under a write grant (grant_failover.c).
 * In half of the seeds a node of another region takes all streams: it has no control plane of this group, and
 * what it has was committed.
 */
#ifndef HG_SIM_FAILOVER_H
#define HG_SIM_FAILOVER_H

#include "controlplane/failover.h"
#include "controlplane/metastore.h"
#include "tests/sim/cluster.h"

#define SIM_FAILOVER_GROUP  1u
#define SIM_FAILOVER_EPOCHS 256u
/* Histories in a stream's table of chains: an epoch's own number, and these. */
#define SIM_HISTORY_COMMITTED (UINT32_C(1) << 31) /* by lsn_first + 1 of a batch: what readers were given */
#define SIM_HISTORY_ORPHANS   (UINT32_C(1) << 30) /* and the epoch */

/* What an operator does, SIM_FAULT_OPERATE's a. */
enum sim_failover_order {
    SIM_FAILOVER_ORDER, /* this node shall write */
    SIM_FAILOVER_KILL,  /* the control plane dies, and comes back with nothing known */
};

struct sim_control {
    struct hg_failover core;
    uint32_t asked;    /* letter that its dataplane has not answered; 0 = none */
    bool asked_before; /* by a control plane that is gone */
    bool looks;        /* it started, and has not yet seen whether the one before left something */
    struct {
        bool waits; /* an answer of the metastore, until time_ns */
        int rc;
        struct hg_metastore_record found;
        uint64_t time_ns;
    } store;
};

/* What a node's control plane asks the metastore about its write grant. */
struct sim_asking {
    enum { SIM_ASKING_NOTHING, SIM_ASKING_WRITE, SIM_ASKING_ANSWER } step;
    uint64_t time_ns; /* of the next step */
    struct hg_metastore_record seen;
    uint64_t held_ns, epoch;
    bool may_make;
    bool is_orphan; /* who asked is gone */
    int rc;
    uint64_t told_ns, told_epoch; /* when its clients were last told something, and under which epoch */
};

struct sim_failover {
    struct hg_metastore *store;
    struct hg_random random;
    uint64_t away_until_ns;
    uint32_t fault; /* enum sim_metastore_fault, or SIM_METASTORE_SLOW */
    bool is_lost;   /* a disk was replaced */
    bool is_beyond; /* as many disks as acknowledge were put back: what was acknowledged may be lost */
    struct sim_control *controls[SIM_NODES_MAX];
    struct sim_asking askings[SIM_NODES_MAX];
    struct {
        bool is_open;
        uint64_t lsn_next;
        uint64_t epoch; /* under which it attached: a seal ends that, whether it appends meanwhile or not */
    } producers[SIM_NODES_MAX][SIM_FLOWS_MAX];
    struct {
        uint32_t given; /* node + 1 that the metastore gave it to */
        uint32_t begun; /* node + 1 that began it in its log */
        bool opened;    /* says the metastore */
        uint64_t opened_ns;
        uint64_t start[SIM_FLOWS_MAX];
        uint64_t acknowledged[SIM_FLOWS_MAX]; /* by its writer */
        uint32_t appended[SIM_FLOWS_MAX];     /* node + 1 whose producers did under it */
    } epochs[SIM_FAILOVER_EPOCHS];
    struct {
        uint64_t promised;
        uint64_t sealed; /* epoch whose tails these are; 0 = none */
        struct {
            uint64_t lsn;
            uint8_t chain[16];
        } tails[SIM_FLOWS_MAX];
        uint64_t newest[SIM_FLOWS_MAX]; /* epoch that its copy has the beginning of */
    } nodes[SIM_NODES_MAX];
};

static const struct hg_metastore_key hg_sim_failover_key = {
    .cluster = SIM_CLUSTER, .region = 0, .group = SIM_FAILOVER_GROUP};

#define SIM_METASTORE_SLOW SIM_METASTORE_FAULT_COUNT /* answers late; only here */

void hg_sim_plan_failover_sizes(struct sim_plan *plan, struct hg_random *random);
void hg_sim_plan_failover(struct sim_plan *plan, struct hg_random *random);
/* The last node, added after all else was drawn, is in another region. */
void hg_sim_plan_failover_outside(struct sim_plan *plan, struct hg_random *random);

static inline bool hg_sim_is_outside(const struct sim_node *node)
{
    return node->index >= node->world->plan->quorum_n;
}

struct sim_failover *hg_sim_failover_make(const struct sim_world *world);
void hg_sim_failover_free(struct sim_failover *failover);
void hg_sim_failover_begin(struct sim_world *world);
void hg_sim_failover_operate(struct sim_world *world, const struct sim_fault *fault);
/* The node's control plane is due (SIM_EVENT_AGENT), and is due again. */
void hg_sim_failover_poll(struct sim_node *node);
/* tests/sim/copies.c: gives the dataplane what the metastore says, and names logs where the group is written.
 */
void hg_sim_copies_poll(struct sim_node *node, const struct hg_metastore_key *key);
/* The next control plane has read nothing yet. */
void hg_sim_copies_forget(struct sim_node *node);
/* The node's log is one that counts. */
bool hg_sim_copy_counts(const struct sim_node *node, const struct hg_metastore_record *record);
/* Its dataplane answers an order; a copy's answer came. */
void hg_sim_failover_ordered(struct sim_node *node, const struct hg_letter *letter);
void hg_sim_failover_tail(struct sim_node *node, const struct hg_control_tail *tail);
void hg_sim_failover_boot(struct sim_node *node);
void hg_sim_failover_die(struct sim_node *node, bool power);
/* The node's disk was put back to an older image of itself, or replaced: what it had said counts no more. */
void hg_sim_failover_disk(struct sim_node *node, bool is_old);
/* A disk may be replaced now: all members' logs are named, and none was replaced before. */
bool hg_sim_failover_spares_disk(struct sim_world *world);
/* As hg_sim_append. */
bool hg_sim_failover_append(struct sim_node *node);
/* A driver says that it can't decide, and it can't: an operator has to. All nodes run. */
bool hg_sim_failover_is_blocked(struct sim_world *world);
/* Scenario `joint`: the members that world->members.record has go into the metastore's record. */
void hg_sim_failover_members_put(struct sim_world *world);
/* The metastore says that the node writes, so it may drive a change of the members. */
bool hg_sim_failover_is_written_by(struct sim_node *node);
/* By the record alone, as its control plane says (hg_failover_log_is_anew). */
bool hg_sim_failover_log_is_anew(struct sim_node *node);
/* No driver is under way, and the group is open where the metastore says so. */
bool hg_sim_failover_complete(struct sim_world *world, char *text, size_t text_bytes);

/* The metastore is away, or answers as `fault` says. */
bool hg_sim_failover_is_faulty(const struct sim_world *world);

/* ---- grant_failover.c ---- */
void hg_sim_plan_failover_grants(struct sim_plan *plan);
/* The node's control plane looks after its grant. Returns when it has to again; HG_TIME_NEVER = at the next
 * tick. */
uint64_t hg_sim_failover_granting(struct sim_node *node);
/* Its control plane is gone, or all of the machine's memory is. */
void hg_sim_failover_grant_forget(struct sim_node *node, bool power);
/* Producers at the node may write the stream, but for a grant. */
bool hg_sim_failover_lets_write(const struct sim_node *node, const struct sim_flow *flow);
/* The clients of the node, which came under grant.client_epoch, were told something at time_ns. */
void hg_sim_check_told(struct sim_node *node, const struct sim_flow *flow, uint64_t time_ns);
/* The metastore says that the epoch is open. */
void hg_sim_check_told_before(struct sim_world *world, const struct hg_metastore_record *record);
/* A newer epoch than the client's is another node's. */
bool hg_sim_failover_is_deposed(const struct sim_node *node);
/* The node has the grant of what the record says that it writes, or needs none. */
bool hg_sim_failover_is_granted(const struct sim_node *node, const struct hg_metastore_record *record);

/* ---- newest.c ---- */
void hg_sim_plan_newest(struct sim_plan *plan);
/* SIM_FAULT_ROT here: tried until `other` lacks what the node has of the third one, its writer. */
void hg_sim_newest_rot(struct sim_node *node, const struct sim_fault *fault);

/* ---- check_failover.c ---- */
/* A driver looked at what copies answered. */
void hg_sim_check_choice(struct sim_node *node, const struct hg_failover *core);
/* The metastore's record was written. */
void hg_sim_check_record(struct sim_world *world, const struct hg_metastore_record *record);
void hg_sim_check_failover_node(struct sim_node *node);
void hg_sim_check_failover_flow(struct sim_node *node, struct sim_flow *flow,
                                const struct hg_stream_state *s);
/* Producers at the node appended to the stream under the epoch. */
void hg_sim_check_writer(struct sim_node *node, const struct sim_flow *flow, uint64_t epoch);
/* A reader was given the batch, whose frames are of `variant`. Returns its place in the table of chains. */
struct sim_chain *hg_sim_check_failover_batch(struct sim_node *node, struct sim_flow *flow,
                                              const struct hg_batch_header *header, uint32_t variant);
/* It has its name. */
void hg_sim_check_orphan(struct sim_node *node, const struct sim_orphan *orphan);
bool hg_sim_check_failover_event(struct sim_node *node, const struct hg_event *event);

#endif
