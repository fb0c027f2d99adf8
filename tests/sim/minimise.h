/* SPDX-License-Identifier: Apache-2.0
 *
 * From a plan that breaks an invariant to a small one that breaks the same.
 */
#ifndef HG_SIM_MINIMISE_H
#define HG_SIM_MINIMISE_H

#include "tests/sim/sim.h"

struct sim_minimised {
    char violation[64]; /* its name */
    uint32_t runs;
    uint32_t faults_before, faults_after;
    uint32_t streams_before, streams_after;
    uint32_t nodes_before, nodes_after;
    uint64_t bytes_before, bytes_after; /* produced in all */
};

/* Shrinks *plan while a run of it ends with the same violation: faults by delta debugging, what producers
 * make, streams and nodes, then parameters towards nothing. False: a run of *plan breaks nothing. */
bool hg_sim_minimise(struct sim_plan *plan, struct sim_minimised *result);

#endif
