/* SPDX-License-Identifier: Apache-2.0
 *
 * A stall has a named cause (I21): where what a producer has for a stream is not committed for STILL_NS,
 * and its worker runs, then something that a user is shown says why.
 */
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "dataplane/stream/tail.h"
#include "dataplane/worker_internal.h"
#include "tests/sim/core.h"
#include "tests/sim/failover.h"

#define STILL_NS                                                                                             \
    (4 * HG_NS_PER_S) /* a lost quorum is said after 3 s, a device that answers nothing after 2 */

/* By the page of a position, `show log`, `show streams` or `show groups`; NULL = nothing says why. */
static const char *cause_of(const struct hg_worker *worker, const struct hg_stream_state *s)
{
    struct hg_streams *streams = worker->streams;
    if (worker->stuck_told)
        return "the device answers nothing";
    if (worker->pressure_told)
        return "the log is full";
    if (hg_worker_producers_wait(worker) && hg_streams_device_is_behind(streams))
        return "the device is slower than the producers";
    if (s->quorum_lost)
        return "no quorum";
    if (hg_group_is_sealed(hg_streams_group(streams, s->group)))
        return "sealed";
    if (hg_streams_is_unnamed(streams, s->group))
        return "the log is not named";
    if (!hg_streams_may_append(streams, s))
        return "no write grant";
    if (hg_streams_tail(streams, s) != HG_STREAMS_TAIL_KNOWN)
        return "the log ended torn";
    return s->moving ? "it moves to another log" : NULL;
}

/* The node that writes it now; NULL = none that could say anything. */
static struct sim_node *writer_of(struct sim_world *world, const struct sim_flow *flow)
{
    struct sim_node *node = &world->nodes[flow->plan->origin];
    for (uint32_t i = 0; world->failover != NULL && i < world->plan->quorum_n; i++)
        if (hg_sim_failover_is_written_by(&world->nodes[i]))
            node = &world->nodes[i];
    bool is_able = node->is_up && node->plan->lies == 0 && hg_sim_is_core(world, node->index) &&
                   node->config_pending == 0 && world->now_ns >= node->paused_ns;
    return is_able ? node : NULL;
}

static void flow_look(struct sim_world *world, struct sim_flow *flow)
{
    struct sim_node *node = writer_of(world, flow);
    const struct sim_worker *owner = node == NULL ? NULL : hg_sim_worker_of(node, flow);
    const struct hg_stream_state *s = NULL;
    if (owner != NULL && owner->worker->state == HG_WORKER_RUNNING)
        s = hg_streams_at(owner->worker->streams,
                          (uint32_t)hg_streams_find(owner->worker->streams, flow->stream));
    bool is_still = s != NULL && s->lsn_committed == flow->still.lsn &&
                    hg_max_u64(s->lsn_committed, flow->plan->lsn_start) < flow->lsn_produced &&
                    flow->still.boot == node->boot;
    const char *cause = is_still ? cause_of(owner->worker, s) : NULL;
    if (is_still && cause == NULL && world->failover != NULL && hg_sim_failover_log_is_anew(node))
        cause = "its log was made anew"; /* said by the control plane: group_writer_anew */
    if (!is_still) {
        flow->still.since_ns = flow->still.unnamed_ns = world->now_ns;
        flow->still.lsn = s == NULL ? 0 : s->lsn_committed;
        flow->still.boot = node == NULL ? 0 : node->boot;
        flow->still.is_counted = flow->still.is_theirs = false;
        return;
    }
    /* First the device had it, now the other nodes have: each may last as long as it is not said. */
    bool is_theirs = s->lsn_durable > s->lsn_committed;
    if (cause != NULL || (is_theirs && !flow->still.is_theirs))
        flow->still.unnamed_ns = world->now_ns;
    flow->still.is_theirs |= is_theirs;
    if (world->now_ns - flow->still.unnamed_ns > STILL_NS)
        hg_sim_violation(
            world, "stall_unnamed",
            "s%u is committed to %llu on node %c, produced to %llu, and nothing says why it stands "
            "still",
            flow->index, (unsigned long long)s->lsn_committed, (int)('A' + node->index),
            (unsigned long long)flow->lsn_produced);
    if (world->now_ns - flow->still.since_ns > STILL_NS && cause != NULL && !flow->still.is_counted) {
        flow->still.is_counted = true;
        world->sometimes[SIM_stalls_named]++;
        hg_sim_trace(world, "s%u stands still on node %c: %s", flow->index, (int)('A' + node->index), cause);
    }
}

void hg_sim_check_stalls(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        flow_look(world, &world->flows[i]);
}
