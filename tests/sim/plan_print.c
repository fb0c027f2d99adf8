/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan in words: what --plan shows and a violation prints.
 */
#include "tests/sim/scenario.h"

static const char *const fault_names[SIM_FAULT_KIND_COUNT] = {
    [SIM_FAULT_KILL] = "kill",
    [SIM_FAULT_POWER] = "power",
    [SIM_FAULT_POWER_ALL] = "power-all",
    [SIM_FAULT_CUT] = "cut",
    [SIM_FAULT_FLAP] = "flap",
    [SIM_FAULT_PATH] = "path",
    [SIM_FAULT_RATE] = "rate",
    [SIM_FAULT_MOVE] = "move",
    [SIM_FAULT_BLANK] = "blank-disk",
    [SIM_FAULT_NARROW] = "narrow",
    [SIM_FAULT_DISK_STALL] = "disk-stall",
    [SIM_FAULT_DISK_WRITE] = "disk-write-error",
    [SIM_FAULT_DISK_FLUSH] = "disk-flush-error",
    [SIM_FAULT_DISK_READ] = "disk-read-error",
    [SIM_FAULT_DISK_SHORT] = "disk-short-write",
    [SIM_FAULT_CLOCK_JUMP] = "clock-jump",
    [SIM_FAULT_PAUSE] = "pause",
    [SIM_FAULT_SNAPSHOT] = "snapshot",
    [SIM_FAULT_ROLLBACK] = "rollback",
    [SIM_FAULT_ROT] = "bit-rot",
    [SIM_FAULT_SUSPEND] = "suspend",
    [SIM_FAULT_FREEZE] = "stop-in-a-turn",
    [SIM_FAULT_CONTROL] = "control-plane-dies",
    [SIM_FAULT_OPERATE] = "operate",
    [SIM_FAULT_METASTORE] = "metastore",
    [SIM_FAULT_SLOW] = "slow",
    [SIM_FAULT_DISK_LOSE] = "disk-lost-write",
    [SIM_FAULT_DISK_MISPLACE] = "disk-misplaced-write",
    [SIM_FAULT_ATLAS] = "atlas",
    [SIM_FAULT_DISK_MISREAD] = "disk-wrong-read",
};

const char *hg_sim_fault_name(enum sim_fault_kind kind)
{
    hg_assert(kind < SIM_FAULT_KIND_COUNT && fault_names[kind] != NULL);
    return fault_names[kind];
}

static const char *const class_names[SIM_CLASS_COUNT] = {
    "loss", "burst", "jitter",     "duplicate",  "replay",     "corrupt", "truncate", "queue", "cut",
    "kill", "power", "disk-stall", "disk-error", "disk-short", "clock",   "pause",    "port",
};

void hg_sim_fault_text(const struct sim_fault *fault, char *text, size_t text_bytes)
{
    bool is_of_link = fault->kind == SIM_FAULT_CUT || fault->kind == SIM_FAULT_FLAP ||
                      fault->kind == SIM_FAULT_PATH || fault->kind == SIM_FAULT_RATE ||
                      fault->kind == SIM_FAULT_NARROW;
    snprintf(text, text_bytes, "%.9f s %s node %c%s%c a=%llu b=%llu%s", (double)fault->time_ns / 1e9,
             fault_names[fault->kind], (int)('A' + fault->node), is_of_link ? "->" : "",
             is_of_link ? (int)('A' + fault->other) : ' ', (unsigned long long)fault->a,
             (unsigned long long)fault->b, fault->left_out ? " (left out)" : "");
}

static const char *const congestion_names[] = {[HG_CONFIG_CONGESTION_FIXED] = "fixed",
                                               [HG_CONFIG_CONGESTION_CUBIC] = "cubic",
                                               [HG_CONFIG_CONGESTION_BBR] = "bbr"};

static void nodes_print(const struct sim_plan *plan, FILE *out)
{
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const struct sim_node_plan *n = &plan->nodes[i];
        fprintf(
            out,
            "  node %c: %u segments of %llu bytes, arena %llu, disk depth %u%s write %llu-%llu read "
            "%llu-%llu flush "
            "%llu-%llu ns, %s, parity %u, ecn %u, rate %llu B/s, credit %llu, %u packets in flight, drift %d "
            "ppm, port refuses "
            "%u ppm\n",
            (int)('A' + i), n->segment_count, (unsigned long long)n->segment_bytes,
            (unsigned long long)n->arena_bytes, n->disk_depth, n->disk_dsync ? " dsync" : "",
            (unsigned long long)n->write_ns_min, (unsigned long long)n->write_ns_max,
            (unsigned long long)n->read_ns_min, (unsigned long long)n->read_ns_max,
            (unsigned long long)n->flush_ns_min, (unsigned long long)n->flush_ns_max,
            congestion_names[n->congestion], n->fec, n->ecn, (unsigned long long)n->rate_bytes_per_s,
            (unsigned long long)n->receive_bytes, n->packets_in_flight, n->drift_ppm, n->port_refuse_ppm);
    }
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t j = 0; j < plan->node_count; j++) {
            const struct sim_link_plan *l = &plan->links[i][j];
            if (i != j)
                fprintf(out,
                        "  link %c->%c: delay %llu ns jitter %llu ns, ppm: loss %u burst %u x %u duplicate "
                        "%u replay %u "
                        "corrupt %u truncate %u; rate %llu B/s queue %llu ns marks %llu ns; ecn %u from %llu "
                        "ns; %u paths\n",
                        (int)('A' + i), (int)('A' + j), (unsigned long long)l->delay_ns,
                        (unsigned long long)l->jitter_ns, l->loss_ppm, l->burst_ppm, l->burst_packets,
                        l->duplicate_ppm, l->replay_ppm, l->corrupt_ppm, l->truncate_ppm,
                        (unsigned long long)l->rate_bytes_per_s, (unsigned long long)l->queue_ns,
                        (unsigned long long)l->mark_ns, (unsigned)l->ecn_path,
                        (unsigned long long)l->ecn_from_ns, l->path_count);
        }
}

void hg_sim_plan_print(const struct sim_plan *plan, FILE *out)
{
    char text[SIM_TEXT_BYTES];
    fprintf(
        out,
        "plan: scenario %s seed %llu, %u nodes, %u streams, safety phase %.3f s, mtu %u, write payload %u\n",
        hg_sim_scenario_at(plan->scenario)->name, (unsigned long long)plan->seed, plan->node_count,
        plan->flow_count, (double)plan->safety_ns / 1e9, plan->mtu_bytes, plan->write_payload_bytes);
    fprintf(out, "  fault classes:");
    for (uint32_t i = 0; i < SIM_CLASS_COUNT; i++)
        if ((plan->classes & (1u << i)) != 0)
            fprintf(out, " %s", class_names[i]);
    fprintf(out, "%s\n", plan->classes == 0 ? " none" : "");
    if (plan->quorum_n != 0)
        fprintf(
            out,
            "  %u regions of %u nodes in order, a quorum is %u of them; what is left is a region besides\n",
            plan->quorum_regions, plan->quorum_n, plan->quorum_w);
    for (uint32_t i = 0; i < plan->order_count; i++)
        fprintf(out, "  order %u: %.3f s kind %u node %u new %u\n", i, (double)plan->orders[i].time_ns / 1e9,
                plan->orders[i].what, plan->orders[i].node, plan->orders[i].node_new);
    if (plan->held_flow != SIM_FLOWS_MAX)
        fprintf(out, "  s%u is not given to members before all else is done\n", plan->held_flow);
    nodes_print(plan, out);
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        const struct sim_flow_plan *f = &plan->flows[i];
        fprintf(out,
                "  stream s%u: origin %c, %s, %s, %s, frames to %u bytes, bursts to %u each %llu ns, %llu "
                "bytes\n",
                i, (int)('A' + f->origin), f->physical ? "physical" : "key/value",
                f->compresses ? "compresses" : "does not compress",
                f->consumer ? "registered readers" : "free readers", f->frame_bytes_max, f->burst_frames_max,
                (unsigned long long)f->interval_ns, (unsigned long long)f->bytes);
    }
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].lies != 0)
            fprintf(out, "  %c lies: kinds %05x, to %u each %llu ns to each peer%s%s\n", (int)('A' + i),
                    plan->nodes[i].lies, plan->nodes[i].lies_burst,
                    (unsigned long long)plan->nodes[i].lie_gap_ns,
                    plan->nodes[i].lies_rekey ? ", asks for keys" : "",
                    plan->nodes[i].shunned ? ", is given no stream" : "");
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        hg_sim_fault_text(&plan->faults[i], text, sizeof(text));
        fprintf(out, "  fault %u: %s\n", i, text);
    }
}
