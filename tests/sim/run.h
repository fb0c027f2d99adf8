/* SPDX-License-Identifier: Apache-2.0
 *
 * Running seeds and plans, and what came out of them. Several processes may share the seeds: the result is
 * that of one, trace hash included.
 */
#ifndef HG_SIM_RUN_H
#define HG_SIM_RUN_H

#include "tests/sim/sim.h"

#define SIM_JOBS_MAX 64u

struct sim_options {
    uint64_t first, last; /* seeds */
    uint32_t jobs;        /* processes that run them */
    uint32_t scenario;
    bool list, json, trace, plan, promises, until_violation, verbose, minimise, has_seeds, plan_only;
    const char *plan_path; /* what is run is in this file */
    const char *out_path;  /* of a minimised plan; NULL = stdout */
    bool left_out[SIM_FAULTS_MAX];
    const char *left_out_text;
};

struct sim_result {
    uint64_t seeds;
    uint64_t violations;
    uint64_t seed_violated; /* the first */
    uint64_t hash;
    uint64_t events;
    uint64_t liveness_ns_max;
    uint64_t commits_timed;      /* of scenarios that run each seed without parity as well: */
    uint64_t commits_stalled[2]; /* with it, without */
    uint64_t sometimes[SIM_SOMETIMES_COUNT];
    uint64_t seeds_with[SIM_SOMETIMES_COUNT];
};

/* The plan of a seed, without the faults that options leave out. */
void hg_sim_seed_plan(const struct sim_options *options, uint64_t seed, struct sim_plan *plan);
/* Runs it, prints what it breaks, adds to the result as a seed of its own. */
void hg_sim_plan_run(const struct sim_options *options, const struct sim_plan *plan,
                     struct sim_result *result);
/* All seeds, or up to the first violation. False: a process of several ended before its seeds did. */
bool hg_sim_seeds_run(const struct sim_options *options, struct sim_result *result);
/* From now on a signal of an error prints the seed that ran. */
void hg_sim_signals_take(void);

#endif
