/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `cluster`: regions of nodes, each with its quorum; partitions of every shape; and operators who
 * seal and open groups through a metastore, in the right order and in others, several at once. A node has an
 * agent, which plays its control plane: it takes an epoch in the metastore, orders its dataplane to promise
 * it, says in the metastore that it is open, lets producers write. Each step may be taken again.
 */
#ifndef HG_SIM_CLUSTER_H
#define HG_SIM_CLUSTER_H

#include "tests/sim/sim.h"

struct hg_metastore;

enum sim_operation {                       /* what an operator orders at a node */
                     SIM_OPERATE_RENEW,    /* a new epoch: seal, and where the node is the writer open */
                     SIM_OPERATE_UNSEALED, /* mistake: opens an epoch that nobody promised */
                     SIM_OPERATE_OLD,      /* mistake: seals under an epoch that is over */
                     SIM_OPERATION_COUNT
};

enum sim_metastore_fault {                     /* of all calls for a time */
                           SIM_METASTORE_AWAY, /* answers nothing, does nothing */
                           SIM_METASTORE_LATE, /* does it, and the answer is lost */
                           SIM_METASTORE_FAULT_COUNT
};

enum sim_agent_step { SIM_AGENT_IDLE, SIM_AGENT_TAKE, SIM_AGENT_SEAL, SIM_AGENT_BEGIN, SIM_AGENT_OPEN };

struct sim_agent {
    enum sim_agent_step step;
    enum sim_operation operation;
    bool waits; /* for its dataplane's answer */
    uint64_t epoch;
    uint64_t gap_ns; /* between steps */
    uint64_t generation;
};

struct sim_cluster {
    struct hg_metastore *store;
    uint64_t away_until_ns;
    enum sim_metastore_fault fault;
    struct sim_agent agents[SIM_NODES_MAX];
    uint64_t epoch_opened[SIM_NODES_MAX]; /* of a region, by the metastore's word: newest */
    struct {
        uint64_t epoch_promised; /* said, so it stands whatever comes */
        uint64_t sealed_epoch;   /* 0 = not sealed */
        uint64_t tails[SIM_FLOWS_MAX];
    } nodes[SIM_NODES_MAX];
};

/* Sizes before the plan is drawn; streams, faults and operators after. */
void hg_sim_plan_cluster_sizes(struct sim_plan *plan, struct hg_random *random);
void hg_sim_plan_cluster(struct sim_plan *plan, struct hg_random *random);

struct sim_cluster *hg_sim_cluster_make(void);
void hg_sim_cluster_free(struct sim_cluster *cluster);
/* The log group of a region's streams. */
uint32_t hg_sim_group_of(const struct sim_plan *plan, uint32_t region);
void hg_sim_operate(struct sim_world *world, const struct sim_fault *fault);
void hg_sim_agent_step(struct sim_world *world, uint32_t node, uint64_t generation);
/* HG_LETTER_GROUP_DONE. */
void hg_sim_agent_answer(struct sim_node *node, const struct hg_letter *letter);
/* The process is new: what it had not answered is asked again. */
void hg_sim_agent_boot(struct sim_node *node);
/* Faults are over: what is still sealed is opened by who writes it. */
void hg_sim_cluster_heal(struct sim_world *world);

/* ---- check_cluster.c ---- */
/* Its dataplane answered that the epoch is promised: tails stand from now on. */
void hg_sim_check_sealed(struct sim_node *node, uint64_t epoch);
/* Each turn: promises stand, sealed tails do not move, nobody writes under an epoch that the metastore gave
 * to nobody. */
void hg_sim_check_epochs(struct sim_node *node);
bool hg_sim_check_cluster_event(struct sim_node *node, const struct hg_event *event);

#endif
