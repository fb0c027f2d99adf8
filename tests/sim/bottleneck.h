/* SPDX-License-Identifier: Apache-2.0
 *
 * Origins that share one link with a rate and a queue: the plan of it, and what is checked of goodput, queue
 * and fairness.
 */
#ifndef HG_SIM_BOTTLENECK_H
#define HG_SIM_BOTTLENECK_H

#include "tests/sim/sim.h"

/* Turns a drawn plan of origins and one node more into one of the scenario. */
void hg_sim_plan_bottleneck(struct sim_plan *plan, struct hg_random *random);
/* A packet was taken by the link's queue, behind `queued_ns` of others. */
void hg_sim_bottleneck_carries(struct sim_world *world, uint32_t from, uint32_t to, uint32_t bytes,
                               uint64_t queued_ns);
/* At the end of the safety phase. */
void hg_sim_bottleneck_check(struct sim_world *world);

#endif
