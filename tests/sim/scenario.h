/* SPDX-License-Identifier: Apache-2.0
 *
 * The scenarios of helio-sim: for each, which fault classes it draws from, what else it does, and which rare
 * things its seeds must reach.
 */
#ifndef HG_SIM_SCENARIO_H
#define HG_SIM_SCENARIO_H

#include "tests/sim/sim.h"

enum sim_scenario_flag { /* what the fault classes don't say */
                         SIM_SCENARIO_ROLLBACK = 1,
                         SIM_SCENARIO_ROT = 2,
                         SIM_SCENARIO_LONG_CUT = 8,
                         SIM_SCENARIO_IDLE = 16,
                         SIM_SCENARIO_NARROW = 32,
                         SIM_SCENARIO_PATHS = 64,
                         SIM_SCENARIO_WORKERS = 128,
                         SIM_SCENARIO_REKEY = 256,
                         SIM_SCENARIO_FEC = 512,
                         SIM_SCENARIO_ECN = 1024,
                         SIM_SCENARIO_HOSTILE = 2048,
                         SIM_SCENARIO_BOTTLENECK = 4096,
                         SIM_SCENARIO_QUORUM = 8192,
                         SIM_SCENARIO_CLUSTER = 16384,
                         SIM_SCENARIO_GRAY = 32768,
                         SIM_SCENARIO_MEMBERS = 1 << 20, /* besides QUORUM */
                         SIM_SCENARIO_GRANTS = 1 << 22,
                         SIM_SCENARIO_FAILOVER = 1 << 24,
                         SIM_SCENARIO_HORIZON = 1 << 26,
                         SIM_SCENARIO_ATLAS = 1 << 25, /* besides QUORUM */
};

struct sim_scenario {
    const char *name;
    const char *purpose;
    uint32_t classes;                   /* bits of enum sim_class that may be on */
    uint32_t always;                    /* that are on in every seed but those without any */
    uint32_t flags;                     /* of enum sim_scenario_flag */
    const enum sim_sometimes *promises; /* must happen in a run of many seeds, */
    uint32_t promise_count;             /* besides what every scenario promises */
};

uint32_t hg_sim_scenario_count(void);
const struct sim_scenario *hg_sim_scenario_at(uint32_t scenario);
int32_t hg_sim_scenario_find(const char *name);
bool hg_sim_scenario_has(uint32_t scenario, enum sim_scenario_flag flag);
bool hg_sim_scenario_promises(uint32_t scenario, enum sim_sometimes what);

#endif
