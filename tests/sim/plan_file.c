/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/plan_file.h"
#include "tests/sim/scenario.h"

#include <errno.h>
#include <stdlib.h>

#define LINE_BYTES 4096u

struct field {
    const char *name;
    uint32_t offset;
    uint32_t bytes; /* 1, 4 or 8 */
};

#define FIELD(type, member)                                                                                  \
    {                                                                                                        \
#member, (uint32_t)offsetof(struct type, member), (uint32_t)sizeof(((struct type *)0)->member)       \
    }

static const struct field plan_fields[] = {
    FIELD(sim_plan, seed),
    FIELD(sim_plan, classes),
    FIELD(sim_plan, node_count),
    FIELD(sim_plan, flow_count),
    FIELD(sim_plan, safety_ns),
    FIELD(sim_plan, mtu_bytes),
    FIELD(sim_plan, write_payload_bytes),
    FIELD(sim_plan, segment_bytes),
    FIELD(sim_plan, origins),
    FIELD(sim_plan, quorum_n),
    FIELD(sim_plan, quorum_w),
    FIELD(sim_plan, blank_node),
    FIELD(sim_plan, held_flow),
    FIELD(sim_plan, members_n),
    FIELD(sim_plan, quorum_regions),
    FIELD(sim_plan, ecn_honest),
    FIELD(sim_plan, light),
};

static const struct field node_fields[] = {
    FIELD(sim_node_plan, region),
    FIELD(sim_node_plan, write_ns_min),
    FIELD(sim_node_plan, write_ns_max),
    FIELD(sim_node_plan, read_ns_min),
    FIELD(sim_node_plan, read_ns_max),
    FIELD(sim_node_plan, flush_ns_min),
    FIELD(sim_node_plan, flush_ns_max),
    FIELD(sim_node_plan, workers),
    FIELD(sim_node_plan, workers_after),
    FIELD(sim_node_plan, steers),
    FIELD(sim_node_plan, disk_depth),
    FIELD(sim_node_plan, disk_dsync),
    FIELD(sim_node_plan, segment_count),
    FIELD(sim_node_plan, segment_bytes),
    FIELD(sim_node_plan, arena_bytes),
    FIELD(sim_node_plan, rate_bytes_per_s),
    FIELD(sim_node_plan, congestion),
    FIELD(sim_node_plan, fec),
    FIELD(sim_node_plan, ecn),
    FIELD(sim_node_plan, receive_bytes),
    FIELD(sim_node_plan, rekey_packets),
    FIELD(sim_node_plan, rekey_seconds),
    FIELD(sim_node_plan, packets_in_flight),
    FIELD(sim_node_plan, drift_ppm),
    FIELD(sim_node_plan, realtime_offset_ns),
    FIELD(sim_node_plan, clock_offset_ns),
    FIELD(sim_node_plan, port_refuse_ppm),
    FIELD(sim_node_plan, port_receive_max),
    FIELD(sim_node_plan, lies),
    FIELD(sim_node_plan, lies_burst),
    FIELD(sim_node_plan, lie_gap_ns),
    FIELD(sim_node_plan, lies_rekey),
    FIELD(sim_node_plan, drop_behind_bytes),
    FIELD(sim_node_plan, shunned),
    FIELD(sim_node_plan, grant_ms),
    FIELD(sim_node_plan, rest),
};

static const struct field link_fields[] = {
    FIELD(sim_link_plan, delay_ns),         FIELD(sim_link_plan, jitter_ns),
    FIELD(sim_link_plan, loss_ppm),         FIELD(sim_link_plan, burst_ppm),
    FIELD(sim_link_plan, burst_packets),    FIELD(sim_link_plan, duplicate_ppm),
    FIELD(sim_link_plan, replay_ppm),       FIELD(sim_link_plan, corrupt_ppm),
    FIELD(sim_link_plan, truncate_ppm),     FIELD(sim_link_plan, rate_bytes_per_s),
    FIELD(sim_link_plan, queue_ns),         FIELD(sim_link_plan, mark_ns),
    FIELD(sim_link_plan, ecn_path),         FIELD(sim_link_plan, ecn_from_ns),
    FIELD(sim_link_plan, path_count),       FIELD(sim_link_plan, path_delay_ns[0]),
    FIELD(sim_link_plan, path_delay_ns[1]), FIELD(sim_link_plan, path_delay_ns[2]),
    FIELD(sim_link_plan, path_delay_ns[3]),
};
static_assert(SIM_PATHS_MAX == 4, "a field each");

static const struct field flow_fields[] = {
    FIELD(sim_flow_plan, origin),          FIELD(sim_flow_plan, physical),
    FIELD(sim_flow_plan, compresses),      FIELD(sim_flow_plan, consumer),
    FIELD(sim_flow_plan, frame_bytes_max), FIELD(sim_flow_plan, burst_frames_max),
    FIELD(sim_flow_plan, interval_ns),     FIELD(sim_flow_plan, bytes),
    FIELD(sim_flow_plan, lsn_start),
};

static const struct field bottleneck_fields[] = {
    FIELD(sim_bottleneck_plan, used),   FIELD(sim_bottleneck_plan, is_bbr),
    FIELD(sim_bottleneck_plan, to),     FIELD(sim_bottleneck_plan, rate_bytes_per_s),
    FIELD(sim_bottleneck_plan, rtt_ns), FIELD(sim_bottleneck_plan, queue_ns),
};

static const struct field order_fields[] = {
    FIELD(sim_order, time_ns),
    FIELD(sim_order, what),
    FIELD(sim_order, node),
    FIELD(sim_order, node_new),
};

static const struct field fault_fields[] = {
    FIELD(sim_fault, time_ns), FIELD(sim_fault, node), FIELD(sim_fault, other),
    FIELD(sim_fault, a),       FIELD(sim_fault, b),
};

/* ---- writing ---- */

static uint64_t field_get(const void *thing, const struct field *field)
{
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)thing + field->offset, field->bytes);
    return value;
}

/* Those that are zero only with `all`. */
static void fields_write(const void *thing, const struct field *fields, uint32_t count, bool all, FILE *out)
{
    for (uint32_t i = 0; i < count; i++)
        if (all || field_get(thing, &fields[i]) != 0)
            fprintf(out, " %s=%llu", fields[i].name, (unsigned long long)field_get(thing, &fields[i]));
    fputc('\n', out);
}

void hg_sim_plan_write(const struct sim_plan *plan, FILE *out)
{
    fprintf(out, "scenario %s\nplan", hg_sim_scenario_at(plan->scenario)->name);
    fields_write(plan, plan_fields, HG_COUNT(plan_fields), true, out);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        fprintf(out, "node %u", i);
        fields_write(&plan->nodes[i], node_fields, HG_COUNT(node_fields), false, out);
    }
    for (uint32_t i = 0; i < plan->node_count; i++)
        for (uint32_t j = 0; j < plan->node_count; j++)
            if (i != j) {
                fprintf(out, "link %u %u", i, j);
                fields_write(&plan->links[i][j], link_fields, HG_COUNT(link_fields), false, out);
            }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        fprintf(out, "stream %u", i);
        fields_write(&plan->flows[i], flow_fields, HG_COUNT(flow_fields), false, out);
    }
    if (plan->bottleneck.used) {
        fprintf(out, "bottleneck");
        fields_write(&plan->bottleneck, bottleneck_fields, HG_COUNT(bottleneck_fields), false, out);
    }
    for (uint32_t i = 0; i < plan->order_count; i++) {
        fprintf(out, "order");
        fields_write(&plan->orders[i], order_fields, HG_COUNT(order_fields), false, out);
    }
    for (uint32_t i = 0; i < plan->fault_count; i++) {
        if (plan->faults[i].left_out)
            continue;
        fprintf(out, "fault %s", hg_sim_fault_name(plan->faults[i].kind));
        fields_write(&plan->faults[i], fault_fields, HG_COUNT(fault_fields), false, out);
    }
}

/* ---- reading ---- */

struct reader {
    struct sim_plan *plan;
    char *at; /* what is left of the line */
    const char *problem;
    bool has_scenario;
};

static char *word_next(struct reader *reader)
{
    reader->at += strspn(reader->at, " \t\r\n");
    char *word = reader->at;
    reader->at += strcspn(reader->at, " \t\r\n");
    if (*reader->at != '\0')
        *reader->at++ = '\0';
    return word;
}

static bool number_read(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

static uint32_t index_read(struct reader *reader, uint32_t below)
{
    uint64_t value;
    if (number_read(word_next(reader), &value) && value < below)
        return (uint32_t)value;
    reader->problem = "a number is missing, or too large";
    return 0;
}

static void fields_read(struct reader *reader, void *thing, const struct field *fields, uint32_t count)
{
    for (char *word = word_next(reader); *word != '\0' && reader->problem == NULL; word = word_next(reader)) {
        char *equals = strchr(word, '=');
        uint64_t value;
        uint32_t i = 0;
        if (equals == NULL || !number_read(equals + 1, &value)) {
            reader->problem = "what follows is name=number";
            return;
        }
        *equals = '\0';
        while (i < count && strcmp(fields[i].name, word) != 0)
            i++;
        if (i == count || (fields[i].bytes < 8 && value >> 8 * fields[i].bytes != 0))
            reader->problem = i == count ? "there is no option of that name" : "a number is too large";
        else
            memcpy((uint8_t *)thing + fields[i].offset, &value, fields[i].bytes);
    }
}

static void fault_read(struct reader *reader)
{
    struct sim_plan *plan = reader->plan;
    const char *name = word_next(reader);
    uint32_t kind = 0;
    while (kind < SIM_FAULT_KIND_COUNT && strcmp(hg_sim_fault_name((enum sim_fault_kind)kind), name) != 0)
        kind++;
    if (kind == SIM_FAULT_KIND_COUNT || plan->fault_count == SIM_FAULTS_MAX) {
        reader->problem = "no such fault, or too many of them";
        return;
    }
    struct sim_fault *fault = &plan->faults[plan->fault_count++];
    fault->kind = (enum sim_fault_kind)kind;
    fields_read(reader, fault, fault_fields, HG_COUNT(fault_fields));
}

static void line_read(struct reader *reader)
{
    struct sim_plan *plan = reader->plan;
    const char *what = word_next(reader);
    if (what[0] == '\0' || what[0] == '#')
        return;
    if (strcmp(what, "scenario") == 0) {
        int32_t scenario = hg_sim_scenario_find(word_next(reader));
        plan->scenario = (uint32_t)(scenario < 0 ? 0 : scenario);
        reader->has_scenario = scenario >= 0;
        reader->problem = scenario < 0 ? "no such scenario" : NULL;
    } else if (strcmp(what, "plan") == 0) {
        fields_read(reader, plan, plan_fields, HG_COUNT(plan_fields));
    } else if (strcmp(what, "node") == 0) {
        uint32_t node = index_read(reader, SIM_NODES_MAX);
        fields_read(reader, &plan->nodes[node], node_fields, HG_COUNT(node_fields));
    } else if (strcmp(what, "link") == 0) {
        uint32_t from = index_read(reader, SIM_NODES_MAX), to = index_read(reader, SIM_NODES_MAX);
        fields_read(reader, &plan->links[from][to], link_fields, HG_COUNT(link_fields));
    } else if (strcmp(what, "stream") == 0) {
        uint32_t flow = index_read(reader, SIM_FLOWS_MAX);
        fields_read(reader, &plan->flows[flow], flow_fields, HG_COUNT(flow_fields));
    } else if (strcmp(what, "bottleneck") == 0) {
        fields_read(reader, &plan->bottleneck, bottleneck_fields, HG_COUNT(bottleneck_fields));
    } else if (strcmp(what, "order") == 0 && plan->order_count < SIM_ORDERS_MAX) {
        fields_read(reader, &plan->orders[plan->order_count++], order_fields, HG_COUNT(order_fields));
    } else if (strcmp(what, "fault") == 0) {
        fault_read(reader);
    } else {
        reader->problem = "lines begin with scenario, plan, node, link, stream, bottleneck, order or fault; "
                          "of orders there are few";
    }
}

/* What would make a world of it meaningless, or its making an error of memory. */
static const char *plan_problem(const struct sim_plan *plan)
{
    if (plan->node_count < 2 || plan->node_count > SIM_NODES_MAX || plan->flow_count > SIM_FLOWS_MAX ||
        plan->quorum_n > plan->node_count || plan->quorum_w > plan->quorum_n)
        return "counts of nodes, streams or of the quorum are not what there can be";
    for (uint32_t i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].workers == 0 || plan->nodes[i].workers > SIM_WORKERS_MAX ||
            plan->nodes[i].workers_after > SIM_WORKERS_MAX || plan->nodes[i].segment_count == 0)
            return "a node has no line, or numbers of workers that can't be";
    for (uint32_t i = 0; i < plan->fault_count; i++)
        if (plan->faults[i].node >= plan->node_count || plan->faults[i].other >= plan->node_count)
            return "a fault of a node that is not there";
    for (uint32_t i = 0; i < plan->flow_count; i++)
        if (plan->flows[i].origin >= plan->node_count || plan->flows[i].lsn_start == 0 ||
            plan->flows[i].burst_frames_max == 0 || plan->flows[i].frame_bytes_max > 64u << 10)
            return "a stream has no line, an origin that is not there, or sizes that can't be";
    return NULL;
}

bool hg_sim_plan_read(struct sim_plan *plan, const char *path, char *error, size_t error_bytes)
{
    static char line[LINE_BYTES];
    struct reader reader = {.plan = plan};
    uint32_t number = 0;
    memset(plan, 0, sizeof(*plan));
    plan->blank_node = SIM_NODES_MAX;
    plan->held_flow = SIM_FLOWS_MAX;
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    while (reader.problem == NULL && fgets(line, sizeof(line), in) != NULL) {
        number++;
        reader.at = line;
        if (line[0] != '#')
            line_read(&reader);
    }
    fclose(in);
    if (plan->quorum_n != 0 && plan->quorum_regions == 0)
        plan->quorum_regions = 1; /* files from before there could be several */
    if (reader.problem == NULL)
        reader.problem = reader.has_scenario ? plan_problem(plan) : "it names no scenario";
    if (reader.problem != NULL)
        snprintf(error, error_bytes, "%s:%u: %s", path, number, reader.problem);
    return reader.problem == NULL;
}
