/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is allocated in a dataplane's turn once it runs (I19): the linker gives us every call of the
 * allocator (see meson.build), and those of production code between two marks are counted. What the
 * simulated disk and port take is theirs. Libraries that are linked dynamically are not seen.
 *
 * Two things may take memory later, and are bounded: a configuration, and a lane to another worker at its
 * first use (dataplane/stream/peers.h).
 */
#ifndef HG_SIM_ALLOCATION_H
#define HG_SIM_ALLOCATION_H

#include "tests/sim/sim.h"

/* What they do from now on is not counted. */
void hg_sim_allocation_disk(struct hg_disk *disk);
void hg_sim_allocation_port(struct hg_port *port);
/* Production code of the worker begins, and has ended: it must not have allocated, unless it may. */
void hg_sim_allocation_watch(const struct sim_worker *worker);
void hg_sim_allocation_check(struct sim_node *node, const struct sim_worker *worker);
/* The process died in the middle of it, or a world ends. */
void hg_sim_allocation_unwatch(void);

#endif
