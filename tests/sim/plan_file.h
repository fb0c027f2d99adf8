/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan as a text file: every option and every fault by name, so that a run outlives changes to how seeds
 * are expanded. One line a thing, `name=value` for what is not zero; # begins a comment. docs/simulator.md,
 * Minimising. An option that is added to struct sim_plan is added here: test sim_determinism runs the files
 * of some seeds.
 */
#ifndef HG_SIM_PLAN_FILE_H
#define HG_SIM_PLAN_FILE_H

#include "tests/sim/sim.h"

void hg_sim_plan_write(const struct sim_plan *plan, FILE *out);

/* True: `plan` is what the file says. False: `error` names the file, the line and what is wrong with it. */
bool hg_sim_plan_read(struct sim_plan *plan, const char *path, char *error, size_t error_bytes);

#endif
