/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `gray`: devices that acknowledge writes and lose or misplace them, and that read the wrong block
 * or a wrong bit once. What is gone is refused by name, never served and never passed over; what was only
 * read wrong is read again.
 */
#ifndef HG_SIM_GRAY_H
#define HG_SIM_GRAY_H

#include "tests/sim/sim.h"

void hg_sim_plan_gray(struct sim_plan *plan, struct hg_random *random);
void hg_sim_gray_strike(struct sim_node *node, const struct sim_fault *fault);
/* A device of the node has lost something that it acknowledged: its log may refuse, by name. */
bool hg_sim_is_damaged(const struct sim_node *node);
/* One has read something wrong, once: a process may end of it, and comes back. */
bool hg_sim_was_misread(const struct sim_node *node);
/* Scenario rot: a log of it was opened with a corrupt write that is not mended yet. */
bool hg_sim_is_marked(const struct sim_node *node);
/* True when it may be said because of either. */
bool hg_sim_check_gray_event(const struct sim_node *node, const struct hg_event *event);

#endif
