/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery of what a recovery left finds the same (I16). A process that dies before it wrote anything of its
 * own leaves the log as recovery made it, also when power goes in the middle of it.
 */
#include "tests/sim/sim.h"

void hg_sim_check_recovered(struct sim_node *node, struct sim_worker *worker)
{
    struct sim_world *world = node->world;
    const struct hg_log *log = worker->worker->log;
    struct sim_recovered *last = &worker->recovered;
    uint64_t next = hg_log_next_sequence(log);
    bool again = last->known && last->is_untouched;
    world->sometimes[SIM_recoveries_again] += again;
    if (again && next != last->next_sequence)
        hg_sim_violation(
            world, "recovered_other",
            "node %c recovered its log up to write %llu, wrote nothing, and now recovers it to %llu",
            (int)('A' + node->index), (unsigned long long)last->next_sequence, (unsigned long long)next);
    last->known = true;
    last->is_untouched = true;
    last->next_sequence = next;
}

void hg_sim_check_touched(struct sim_worker *worker)
{
    struct sim_recovered *last = &worker->recovered;
    if (last->known && last->is_untouched)
        last->is_untouched = hg_log_next_sequence(worker->worker->log) == last->next_sequence;
}

void hg_sim_check_recovered_void(struct sim_worker *worker)
{
    worker->recovered.known = false;
}
