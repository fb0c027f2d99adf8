/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario `atlas`: sectors of every copy go bad, of each position on all nodes but one. Which node keeps a
 * position whole follows from (seed, stream, position), so however many faults strike, each position has a
 * whole copy left, and losing one is a bug. What peers have is mended from them while all goes on. On one
 * node of the region, in half of the seeds, more happens than a log mends by itself: whole writes are lost or
 * misdirected, headers and local records rot, it dies with such damage; its operator gives it an empty disk.
 */
#ifndef HG_SIM_ATLAS_H
#define HG_SIM_ATLAS_H

#include "tests/sim/sim.h"

bool hg_sim_is_atlas(const struct sim_world *world);
void hg_sim_plan_atlas(struct sim_plan *plan, struct hg_random *random);
struct sim_atlas *hg_sim_atlas_make(void);
void hg_sim_atlas_free(struct sim_atlas *atlas);
void hg_sim_atlas_strike(struct sim_world *world, const struct sim_fault *fault);
/* Something on a disk of the node is bad and not mended yet. */
bool hg_sim_atlas_is_damaged(const struct sim_node *node);
/* It must not die now: its log may refuse to open with this damage, and no operator comes to this node. */
bool hg_sim_atlas_spares(const struct sim_node *node);
/* The log of the node refused. True: as it may, and it has an empty disk now. */
bool hg_sim_atlas_refused(struct sim_node *node);
void hg_sim_atlas_operator(struct sim_node *node);
/* The event may be said because of what struck. */
bool hg_sim_check_atlas_event(struct sim_node *node, const struct hg_event *event);
/* All that struck is mended. */
bool hg_sim_atlas_complete(struct sim_world *world, char *text, size_t text_bytes);

#endif
