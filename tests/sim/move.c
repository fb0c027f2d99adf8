/* SPDX-License-Identifier: Apache-2.0
 *
 * An operator moves streams between workers: housekeeping's part (dataplane/housekeeping_move.c) as the
 * simulator plays it. The sim's readers are to a log what subscribers are: a stream leaves when they have
 * read it.
 */
#include "tests/sim/sim.h"

void hg_sim_move_strike(struct sim_node *node, const struct sim_fault *fault)
{
    struct sim_world *world = node->world;
    char name[HG_NAME_BYTES];
    bool busy = node->move.phase != HG_MOVE_IDLE || node->config_pending > 0 || node->config_refused;
    if (!node->is_up || !hg_placement_known(&node->placement) || busy)
        return;
    snprintf(name, sizeof(name), "s%u", (uint32_t)(fault->a % world->plan->flow_count));
    if (hg_move_begin(&node->move, &node->placement, node->resolved, name,
                      (uint32_t)(fault->b % node->worker_count)) == 0)
        hg_sim_node_step(node);
}

void hg_sim_move_letter(struct sim_node *node, const struct hg_letter *letter)
{
    hg_move_answer(&node->move, letter);
    if (node->move.phase != HG_MOVE_IDLE)
        return;
    node->world->sometimes[SIM_moves_refused]++;
    hg_sim_trace(node->world, "node %c: %s", (int)('A' + node->index), node->move.text);
}

static struct sim_flow *flow_of(const struct sim_node *node)
{
    for (uint32_t i = 0; i < node->world->plan->flow_count; i++)
        if (node->world->flows[i].stream == node->move.stream)
            return &node->world->flows[i];
    return NULL;
}

static bool is_read(const struct sim_node *node)
{
    const struct sim_worker *from = &node->workers[node->move.from];
    return from->reader.sequence > hg_log_durable_sequence(from->worker->log) ||
           flow_of(node)->places[node->index].read_next == node->move.transfer.records[0].lsn;
}

bool hg_sim_move_tick(struct sim_node *node)
{
    struct hg_move *move = &node->move;
    if (!move->letter_due || (move->phase == HG_MOVE_ENTERING && !is_read(node)))
        return false;
    hg_assert(hg_mailbox_put(&node->workers[move->letter_worker].inbox, &move->letter));
    if (!hg_move_put(move, &node->placement, node->resolved))
        return true;
    node->world->sometimes[move->code == 0 ? SIM_streams_moved : SIM_moves_refused]++;
    hg_sim_trace(node->world, "node %c: s%u of worker %u to worker %u: %d %s", (int)('A' + node->index),
                 flow_of(node)->index, move->from, move->to, move->code, move->text);
    if (move->code != 0)
        return true;
    if (flow_of(node)->plan->origin == node->index)
        flow_of(node)->is_open = false; /* its producer attaches again */
    node->move_spreads = true;
    hg_sim_config_give(node);
    return true;
}

/* What a process that died between the two records left. */
void hg_sim_move_settle(struct sim_node *node)
{
    struct hg_letter letter;
    int32_t worker;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STREAM_END;
    while ((worker = hg_placement_stale(&node->placement, &letter.number)) >= 0) {
        letter.number2 = (uint64_t)hg_placement_held(&node->placement, letter.number);
        hg_assert(hg_mailbox_put(&node->workers[worker].inbox, &letter));
        hg_placement_forget(&node->placement, (uint32_t)worker, letter.number);
        node->world->sometimes[SIM_moves_settled]++;
    }
}
