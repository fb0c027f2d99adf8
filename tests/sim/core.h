/* SPDX-License-Identifier: Apache-2.0
 *
 * The core: in half of the seeds of scenarios whose regions have quorums, not everything is healed when the
 * faults end. Of each region so many nodes that they are a quorum, the origins among them, come back; the
 * rest stays dead or cut off for ever. Whatever originates in the core must get everywhere in it.
 */
#ifndef HG_SIM_CORE_H
#define HG_SIM_CORE_H

#include "tests/sim/sim.h"

enum sim_rest { SIM_REST_NONE, SIM_REST_DEAD, SIM_REST_CUT_OFF };

/* After all else of the plan. */
void hg_sim_plan_core(struct sim_plan *plan, struct hg_random *random);
/* The faults end. */
void hg_sim_core_heal(struct sim_world *world);
/* The node is what must come back. */
bool hg_sim_is_core(const struct sim_world *world, uint32_t node);
/* It never starts again. */
bool hg_sim_is_gone(const struct sim_node *node);
/* Some stream's origin is not in the core: what of it was taken is never committed, and the one cursor with
 * which the simulator reads a log stays before it. */
bool hg_sim_core_lacks_origin(const struct sim_world *world);
/* The log of the stream's origin ended torn, every member in the core has said what it has, and those outside
 * might have more: nobody can know, and the stream waits for people. It is whole at what is durable there. */
bool hg_sim_core_left_to_people(const struct sim_world *world, const struct hg_streams *streams,
                                const struct hg_stream_state *s, uint32_t origin);

#endif
