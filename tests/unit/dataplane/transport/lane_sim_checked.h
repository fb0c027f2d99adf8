/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HG_LANE_SIM_CHECKED_H
#define HG_LANE_SIM_CHECKED_H

#include "tests/unit/dataplane/transport/lane_sim.h"
#include <CUnit/Basic.h>
#include <stdio.h>

/* Runs two lanes; everything must come, and nothing be wrong. */
static inline struct sim_result run_checked(const struct sim_config *config, const char *what)
{
    struct sim_result result = sim_run(config);
    if (!result.done || result.errors > 0) {
        printf("\n%s, seed %llu: %s at %llu us, %u errors: %s\n", what, (unsigned long long)config->seed,
               result.done ? "done" : "NOT done", (unsigned long long)(result.end_ns / 1000), result.errors,
               result.error ? result.error : "-");
    }
    CU_ASSERT(result.done);
    CU_ASSERT(result.errors == 0);
    return result;
}

#endif
