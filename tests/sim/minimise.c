/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs are pure, so a candidate is tried by running it. Everything is tried in rounds until a round changes
 * nothing.
 */
#include "tests/sim/minimise.h"
#include "tests/sim/scenario.h"

#define ROUNDS_MAX     6u
#define TIME_NS_MIN    HG_NS_PER_MS
#define DELAY_NS_SMALL (10 * HG_NS_PER_US)

struct search {
    struct sim_plan *best;
    struct sim_plan trial;
    struct sim_minimised *result;
};

/* The name of what the plan breaks, "" when nothing. */
static void plan_try(const struct sim_plan *plan, char name[64])
{
    struct sim_world *world = hg_sim_world_make(plan, false);
    name[0] = '\0';
    if (!hg_sim_world_run(world))
        snprintf(name, 64, "%s", world->violation_name);
    hg_sim_world_free(world);
}

/* Keeps search->trial when it breaks the same; else makes it what is best again. */
static bool keep(struct search *search)
{
    char name[64];
    search->result->runs++;
    plan_try(&search->trial, name);
    bool same = strcmp(name, search->result->violation) == 0;
    if (same)
        *search->best = search->trial;
    else
        search->trial = *search->best;
    return same;
}

/* ---- faults ---- */

static void faults_drop(struct sim_plan *plan, uint32_t first, uint32_t count)
{
    memmove(&plan->faults[first], &plan->faults[first + count],
            (plan->fault_count - first - count) * sizeof(plan->faults[0]));
    plan->fault_count -= count;
}

/* Halves, quarters, ... single ones: what can be left out is. */
static bool faults_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t size = search->best->fault_count; size > 0; size /= 2)
        for (uint32_t at = 0; at < search->best->fault_count;) {
            uint32_t count = (uint32_t)hg_min_u64(size, search->best->fault_count - at);
            faults_drop(&search->trial, at, count);
            if (keep(search))
                any = true;
            else
                at += count;
        }
    return any;
}

/* ---- numbers ---- */

/* Tries `value`, then values between it and what is there, nearer and nearer. */
static bool lower(struct search *search, uint64_t *trial, const uint64_t *best, uint64_t value)
{
    bool any = false;
    while (value < *best) {
        *trial = value;
        if (keep(search)) {
            any = true;
            break;
        }
        uint64_t gap = *best - value;
        if (gap <= 1 + *best / 16)
            break;
        value += gap / 2;
    }
    return any;
}

static bool lower32(struct search *search, uint32_t *trial, const uint32_t *best, uint32_t value)
{
    if (value >= *best)
        return false;
    *trial = value;
    return keep(search);
}

/* The fewest digits: 1234567 becomes 1000000, 1200000, ... */
static bool round_down(struct search *search, uint64_t *trial, const uint64_t *best)
{
    for (uint64_t unit = UINT64_C(1000000000000000); unit > 1; unit /= 10) {
        uint64_t value = *best / unit * unit;
        if (value == 0 || value == *best)
            continue;
        *trial = value;
        if (keep(search))
            return true;
    }
    return false;
}

static bool orders_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t i = search->best->order_count; i > 0; i--) {
        memmove(&search->trial.orders[i - 1], &search->trial.orders[i],
                (search->trial.order_count - i) * sizeof(search->trial.orders[0]));
        search->trial.order_count--;
        any |= keep(search);
    }
    return any;
}

static bool fault_numbers_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t i = 0; i < search->best->fault_count; i++) {
        struct sim_fault *trial = &search->trial.faults[i], *best = &search->best->faults[i];
        bool dies = best->kind == SIM_FAULT_KILL || best->kind == SIM_FAULT_POWER;
        any |= round_down(search, &trial->time_ns, &best->time_ns);
        if (dies && (best->a >> 63) == 0)
            any |= lower(search, &trial->a, &best->a, 1);
        any |= round_down(search, &trial->b, &best->b);
    }
    return any;
}

/* ---- what is produced, by whom, for whom ---- */

static bool flows_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t i = 0; i < search->best->flow_count; i++) {
        struct sim_flow_plan *trial = &search->trial.flows[i], *best = &search->best->flows[i];
        any |= lower(search, &trial->bytes, &best->bytes, 0);
        if (best->bytes == 0)
            continue;
        any |= lower32(search, &trial->burst_frames_max, &best->burst_frames_max, 1);
        any |= lower32(search, &trial->frame_bytes_max, &best->frame_bytes_max, 64);
        any |= lower32(search, &trial->frame_bytes_max, &best->frame_bytes_max, 1024);
        if (best->consumer) {
            trial->consumer = false;
            any |= keep(search);
        }
    }
    for (uint32_t i = search->best->flow_count; i > 0 && search->best->flow_count > 1; i--) {
        if (search->best->flows[i - 1].bytes > 0)
            continue;
        memmove(&search->trial.flows[i - 1], &search->trial.flows[i],
                (search->trial.flow_count - i) * sizeof(search->trial.flows[0]));
        search->trial.flow_count--;
        if (search->trial.held_flow < SIM_FLOWS_MAX && search->trial.held_flow >= i)
            search->trial.held_flow--;
        any |= keep(search);
    }
    return any;
}

static bool is_needed(const struct sim_plan *plan, uint32_t node)
{
    for (uint32_t i = 0; i < plan->flow_count; i++)
        if (plan->flows[i].origin == node)
            return true;
    for (uint32_t i = 0; i < plan->fault_count; i++)
        if (plan->faults[i].node == node || plan->faults[i].other == node)
            return true;
    return plan->blank_node == node || plan->nodes[node].lies != 0;
}

static uint32_t after_drop(uint32_t node, uint32_t dropped)
{
    return node > dropped && node < SIM_NODES_MAX ? node - 1 : node;
}

static void node_drop(struct sim_plan *plan, uint32_t dropped)
{
    for (uint32_t i = dropped; i + 1 < plan->node_count; i++) {
        plan->nodes[i] = plan->nodes[i + 1];
        memcpy(plan->links[i], plan->links[i + 1], sizeof(plan->links[i]));
    }
    for (uint32_t i = 0; i < plan->node_count; i++)
        memmove(&plan->links[i][dropped], &plan->links[i][dropped + 1],
                (plan->node_count - dropped - 1) * sizeof(plan->links[i][0]));
    plan->node_count--;
    plan->quorum_n -= dropped < plan->quorum_n;
    plan->quorum_w = (uint32_t)hg_min_u64(plan->quorum_w, plan->quorum_n);
    plan->blank_node = after_drop(plan->blank_node, dropped);
    for (uint32_t i = 0; i < plan->flow_count; i++)
        plan->flows[i].origin = after_drop(plan->flows[i].origin, dropped);
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        plan->faults[i].node = after_drop(plan->faults[i].node, dropped);
        plan->faults[i].other = after_drop(plan->faults[i].other, dropped);
    }
}

static bool nodes_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t i = search->best->node_count; i > 0; i--) {
        if (search->best->node_count <= 2 || search->best->bottleneck.used || search->best->members_n != 0 ||
            is_needed(search->best, i - 1))
            continue;
        node_drop(&search->trial, i - 1);
        any |= keep(search);
    }
    return any;
}

/* ---- options ---- */

enum link_option { LOSS, BURST, JITTER, COPIES, REPLAYS, DAMAGE, QUEUE, PATHS, DELAY, LINK_OPTIONS };

static void link_clear(struct sim_link_plan *link, enum link_option option)
{
    link->loss_ppm = option == LOSS ? 0 : link->loss_ppm;
    link->burst_ppm = option == BURST ? 0 : link->burst_ppm;
    link->burst_packets = option == BURST ? 0 : link->burst_packets;
    link->jitter_ns = option == JITTER ? 0 : link->jitter_ns;
    link->duplicate_ppm = option == COPIES ? 0 : link->duplicate_ppm;
    link->replay_ppm = option == REPLAYS ? 0 : link->replay_ppm;
    link->corrupt_ppm = option == DAMAGE ? 0 : link->corrupt_ppm;
    link->truncate_ppm = option == DAMAGE ? 0 : link->truncate_ppm;
    link->rate_bytes_per_s = option == QUEUE ? 0 : link->rate_bytes_per_s;
    link->mark_ns = option == QUEUE ? 0 : link->mark_ns;
    link->queue_ns = option == QUEUE ? 0 : link->queue_ns;
    link->ecn_path = option == QUEUE ? SIM_ECN_KEPT : link->ecn_path;
    link->path_count = option == PATHS ? 1 : link->path_count;
    link->delay_ns = option == DELAY ? DELAY_NS_SMALL : link->delay_ns;
}

static bool links_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t option = 0; option < LINK_OPTIONS && !search->best->bottleneck.used; option++) {
        for (uint32_t i = 0; i < SIM_NODES_MAX * SIM_NODES_MAX; i++)
            link_clear(&search->trial.links[i / SIM_NODES_MAX][i % SIM_NODES_MAX], (enum link_option)option);
        if (memcmp(search->trial.links, search->best->links, sizeof(search->trial.links)) == 0)
            continue;
        any |= keep(search);
    }
    return any;
}

enum node_option { CLOCK, PORT, PARITY, MARKS, WORKERS, PROMPT, NODE_OPTIONS };

static void node_clear(struct sim_node_plan *node, enum node_option option)
{
    switch (option) {
    case CLOCK:
        node->drift_ppm = 0;
        node->realtime_offset_ns = 0;
        node->clock_offset_ns = HG_NS_PER_S;
        break;
    case PORT:
        node->port_refuse_ppm = 0;
        node->port_receive_max = 1000;
        break;
    case PARITY:
        node->fec = HG_CONFIG_FEC_OFF;
        break;
    case MARKS:
        node->ecn = HG_CONFIG_ECN_OFF;
        break;
    case WORKERS:
        node->workers = node->workers_after = 1;
        node->steers = true;
        break;
    case PROMPT:
        node->write_ns_max = node->write_ns_min;
        node->read_ns_max = node->read_ns_min;
        node->flush_ns_max = node->flush_ns_min;
        break;
    case NODE_OPTIONS:
        break;
    }
}

static bool node_options_shrink(struct search *search)
{
    bool any = false;
    for (uint32_t option = 0; option < NODE_OPTIONS; option++) {
        for (uint32_t i = 0; i < search->trial.node_count; i++)
            node_clear(&search->trial.nodes[i], (enum node_option)option);
        if (memcmp(search->trial.nodes, search->best->nodes, sizeof(search->trial.nodes)) != 0)
            any |= keep(search);
    }
    return any;
}

static bool time_shrink(struct search *search)
{
    uint64_t last_ns = TIME_NS_MIN;
    for (uint32_t i = 0; i < search->best->fault_count; i++)
        last_ns = hg_max_u64(last_ns, search->best->faults[i].time_ns + 1);
    return lower(search, &search->trial.safety_ns, &search->best->safety_ns, last_ns);
}

/* ---- all of it ---- */

static void faults_left_out_drop(struct sim_plan *plan)
{
    for (uint32_t i = plan->fault_count; i > 0; i--)
        if (plan->faults[i - 1].left_out)
            faults_drop(plan, i - 1, 1);
}

static uint64_t bytes_of(const struct sim_plan *plan)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->flow_count; i++)
        bytes += plan->flows[i].bytes;
    return bytes;
}

bool hg_sim_minimise(struct sim_plan *plan, struct sim_minimised *result)
{
    static struct search search;
    memset(result, 0, sizeof(*result));
    faults_left_out_drop(plan);
    search = (struct search){.best = plan, .trial = *plan, .result = result};
    plan_try(plan, result->violation);
    result->runs = 1;
    if (result->violation[0] == '\0')
        return false;
    result->faults_before = plan->fault_count;
    result->streams_before = plan->flow_count;
    result->nodes_before = plan->node_count;
    result->bytes_before = bytes_of(plan);
    bool any = true;
    for (uint32_t round = 0; any && round < ROUNDS_MAX; round++) {
        any = faults_shrink(&search);
        any |= orders_shrink(&search);
        any |= flows_shrink(&search);
        any |= nodes_shrink(&search);
        any |= links_shrink(&search);
        any |= node_options_shrink(&search);
        any |= time_shrink(&search);
        any |= fault_numbers_shrink(&search);
    }
    result->faults_after = plan->fault_count;
    result->streams_after = plan->flow_count;
    result->nodes_after = plan->node_count;
    result->bytes_after = bytes_of(plan);
    return true;
}
