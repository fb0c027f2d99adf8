/* SPDX-License-Identifier: Apache-2.0
 *
 * The node of scenario `hostile` that has valid keys and lies, and what the others hold of it.
 */
#ifndef HG_SIM_LIAR_H
#define HG_SIM_LIAR_H

#include "tests/sim/sim.h"

/* Lies to every peer with which the node has keys, and is due again (SIM_EVENT_LIE). */
void hg_sim_lie(struct sim_node *node);
/* An honest node's lane to a liar: its memory is what was declared, whatever was said. */
void hg_sim_check_liar_lane(struct sim_node *node, struct hg_peer *lane);
/* An honest node's event: not too often, and of what a liar can bring about. True: nothing more to check. */
bool hg_sim_check_liar_event(struct sim_node *node, const struct hg_event *event);
/* The lane to a liar when its worker ends: what was refused. */
void hg_sim_liar_harvest(struct sim_node *node, const struct hg_worker *worker, const struct hg_peer *lane);

#endif
