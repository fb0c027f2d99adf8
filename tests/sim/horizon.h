/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `horizon`: one node is away for longer than it may hold the log of the origin (`drop-behind`),
 * which forgets what that node lacks. It is told a gap by name, nothing is skipped, and an operator, who
 * looks at it now and then, has the stream begin anew where the origin's log begins.
 */
#ifndef HG_SIM_HORIZON_H
#define HG_SIM_HORIZON_H

#include "tests/sim/sim.h"

void hg_sim_plan_horizon_sizes(struct sim_plan *plan, struct hg_random *random);
void hg_sim_plan_horizon(struct sim_plan *plan, struct hg_random *random);

/* The node may be left behind. */
bool hg_sim_is_left_behind(const struct sim_node *node);
void hg_sim_horizon_begin(struct sim_world *world);
void hg_sim_horizon_boot(struct sim_node *node);
/* Its operator looks (SIM_EVENT_OPERATOR), and will look again. */
void hg_sim_horizon_operator(struct sim_node *node);
/* HG_LETTER_STREAM_ADOPTED. */
void hg_sim_horizon_answer(struct sim_node *node, const struct hg_letter *letter);
/* After each turn: no stream gets further than what it lacks by itself. */
void hg_sim_check_horizon(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s);
/* The batch is the first one behind the gap that the node was ordered to leave: its chain is the origin's. */
bool hg_sim_is_begun_anew(struct sim_node *node, struct sim_flow *flow, const struct hg_batch_header *header);
bool hg_sim_check_horizon_event(struct sim_node *node, const struct hg_event *event, uint32_t flow);

#endif
