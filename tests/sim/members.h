/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenarios `members` and `joint`: control planes that change who is of the region's quorum, and what must
 * hold meanwhile. In `joint` the record is that of `failover` (failover.h), and so is who writes.
 */
#ifndef HG_SIM_MEMBERS_H
#define HG_SIM_MEMBERS_H

#include "tests/sim/scenario.h"

bool hg_sim_is_members(const struct sim_world *world);
void hg_sim_plan_members_sizes(struct sim_plan *plan, struct hg_random *random);
void hg_sim_plan_members(struct sim_plan *plan, struct hg_random *random);
/* What an operator orders; all_live: and none of those that are to go dies before. */
void hg_sim_plan_members_orders(struct sim_plan *plan, struct hg_random *random, bool all_live);
/* Once nodes are made, before they start. */
void hg_sim_members_begin(struct sim_world *world);
/* The node's control plane reads the record (SIM_EVENT_MEMBERS), and is due again. */
void hg_sim_members_poll(struct sim_node *node);
/* Whatever seals by the record as it is finds all that was ever said to be committed. */
void hg_sim_check_members(struct sim_world *world);
void hg_sim_check_members_place(struct sim_node *node, const struct sim_flow *flow,
                                const struct hg_stream_state *s);
uint64_t hg_sim_members_committed(const struct sim_world *world, const struct sim_flow *flow);
/* In the end the node is to have everything: it is of another region, or a member or learner. */
bool hg_sim_members_counts(const struct sim_world *world, uint32_t node);
bool hg_sim_members_complete(const struct sim_world *world, char *text, size_t text_bytes);

#endif
