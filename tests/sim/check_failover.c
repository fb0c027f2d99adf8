/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants of a region whose writer changes, held against every turn of every node: an epoch has one
 * writer, the metastore's (I2); equal (epoch, position) means equal chain (I3); what was sealed stands still
 * (I4); nothing committed is cut (I5) or in an orphan (I17); what was acknowledged is in every log that a
 * newer epoch begins in, and readers are given one history for ever (I1). Another region has only what is
 * committed, under epochs that are open, and is never cut. When so many disks were put back to older images
 * that this can't be kept, what is left is refused: no other copy loses what it knows to be committed.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/seal.h"
#include "tests/sim/failover.h"
#include "tests/sim/members.h"
#include "tests/sim/scenario.h"

static int letter_of(const struct sim_node *node)
{
    return (int)('A' + node->index);
}

static uint64_t epoch_check(struct sim_world *world, uint64_t epoch)
{
    if (epoch >= SIM_FAILOVER_EPOCHS)
        hg_sim_violation(world, "epochs", "epoch %llu is taken: the scenario counts up to %u",
                         (unsigned long long)epoch, SIM_FAILOVER_EPOCHS);
    return epoch;
}

/* An epoch is opened where w copies of each quorum stand at its beginning, in each stream: else a writer that
 * is lost may take what producers were let in on with it. */
static void opened_check(struct sim_world *world, uint64_t epoch)
{
    const struct sim_failover *failover = world->failover;
    const struct sim_plan *plan = world->plan;
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        uint64_t start = failover->epochs[epoch].start[i];
        struct hg_members_end there[SIM_NODES_MAX];
        uint32_t count = 0;
        for (uint32_t j = 0; j < plan->node_count; j++)
            if (failover->nodes[j].newest[i] == epoch && world->flows[i].places[j].durable_floor >= start)
                there[count++] = (struct hg_members_end){.node = j + 1, .end = 1};
        if (start == 0 ||
            (hg_sim_is_members(world) ? hg_members_committed(&world->members.record, there, count) != 0
                                      : count >= plan->quorum_w))
            continue;
        hg_sim_violation(world, "opened_alone",
                         "epoch %llu is opened, and %u nodes have the beginning of it in s%u, at %llu",
                         (unsigned long long)epoch, count, i, (unsigned long long)start);
    }
}

void hg_sim_check_record(struct sim_world *world, const struct hg_metastore_record *record)
{
    struct sim_failover *failover = world->failover;
    uint64_t epoch = epoch_check(world, record->epoch);
    uint32_t *given = &failover->epochs[epoch].given;
    hg_sim_trace(world, "metastore: epoch %llu of node %c is %s", (unsigned long long)epoch,
                 (int)('A' + record->node - 1), record->state == HG_METASTORE_OPEN ? "open" : "sealing");
    if (*given != 0 && *given != record->node)
        hg_sim_violation(world, "epoch_given_twice", "epoch %llu is node %c's and node %c's",
                         (unsigned long long)epoch, (int)('A' + *given - 1), (int)('A' + record->node - 1));
    *given = (uint32_t)record->node;
    if (hg_sim_is_members(world) &&
        memcmp(&record->members, &world->members.record, sizeof(record->members)) != 0)
        hg_sim_violation(world, "members_overwritten", "generation %llu is written over generation %llu",
                         (unsigned long long)record->members.generation,
                         (unsigned long long)world->members.record.generation);
    if (record->state == HG_METASTORE_OPEN && !failover->epochs[epoch].opened && !failover->is_lost)
        opened_check(world, epoch);
    if (record->state == HG_METASTORE_OPEN && !failover->epochs[epoch].opened) {
        failover->epochs[epoch].opened_ns = world->now_ns;
        hg_sim_check_told_before(world, record);
    }
    failover->epochs[epoch].opened |= record->state == HG_METASTORE_OPEN;
}

/* Enough answered, and none has all that one of them knows to be committed: only disks that went back do
 * that. */
void hg_sim_check_choice(struct sim_node *node, const struct hg_failover *core)
{
    for (uint32_t i = 0; i < core->stream_count && core->step == HG_FAILOVER_SEAL; i++) {
        const struct hg_failover_stream *stream = &core->streams[i];
        if (stream->verdict == HG_TAIL_FLOOR && !node->world->failover->is_beyond)
            hg_sim_violation(node->world, "floor",
                             "node %c: stream %s was committed to %llu, as node %c knows, and those that "
                             "answered end at %llu",
                             letter_of(node), stream->name, (unsigned long long)stream->tail.lsn_floor,
                             (int)('@' + core->config.members[stream->knows]),
                             (unsigned long long)stream->tail.lsn_end);
    }
}

/* ---- epochs ---- */

/* The node's log has the beginning of the epoch: whatever was acknowledged under older ones is below it. */
static void begun_check(struct sim_node *node, uint64_t epoch)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    if (epoch <= HG_EPOCH_FIRST || failover->epochs[epoch_check(world, epoch)].begun == node->index + 1)
        return;
    if (failover->epochs[epoch].begun != 0 || failover->epochs[epoch].given != node->index + 1)
        hg_sim_violation(world, "two_writers", "node %c begins epoch %llu, which the metastore gave to %c",
                         letter_of(node), (unsigned long long)epoch,
                         (int)('@' + failover->epochs[epoch].given));
    failover->epochs[epoch].begun = node->index + 1;
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        struct hg_streams *streams = node->workers[0].worker->streams;
        int32_t slot = hg_streams_find(streams, world->flows[i].stream);
        uint64_t end = slot < 0 ? 0 : hg_history_last(&hg_streams_at(streams, (uint32_t)slot)->history).lsn;
        failover->epochs[epoch].start[i] = end;
        for (uint64_t older = HG_EPOCH_FIRST; older < epoch; older++)
            if (failover->epochs[older].acknowledged[i] > end && !failover->is_beyond)
                hg_sim_violation(world, "acknowledged_lost",
                                 "s%u was acknowledged to %llu under epoch %llu, and epoch %llu begins at "
                                 "%llu on node %c",
                                 i, (unsigned long long)failover->epochs[older].acknowledged[i],
                                 (unsigned long long)older, (unsigned long long)epoch,
                                 (unsigned long long)end, letter_of(node));
    }
    for (uint64_t older = epoch - 1; older > 0; older--)
        if (failover->epochs[older].begun != 0) {
            world->sometimes[SIM_writers_moved] += failover->epochs[older].begun != node->index + 1;
            break;
        }
}

void hg_sim_check_writer(struct sim_node *node, const struct sim_flow *flow, uint64_t epoch)
{
    struct sim_world *world = node->world;
    uint32_t *appended = &world->failover->epochs[epoch_check(world, epoch)].appended[flow->index];
    if (*appended != 0 && *appended != node->index + 1)
        hg_sim_violation(world, "two_writers", "s%u was written under epoch %llu on node %c, and is on %c",
                         flow->index, (unsigned long long)epoch, (int)('@' + *appended), letter_of(node));
    *appended = node->index + 1;
}

static void acknowledged_check(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s,
                               bool rises)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    /* A writer that cuts off what it wrote itself has the stream under an older epoch; what it told, it told
     * under the one that it began. */
    uint64_t epoch = epoch_check(world, hg_max_u64(s->epoch, group->epoch_begun));
    uint64_t *acknowledged = &failover->epochs[epoch].acknowledged[flow->index];
    if (!s->origin_local || s->lsn_committed <= *acknowledged)
        return;
    if (failover->epochs[epoch].begun != node->index + 1)
        hg_sim_violation(world, "two_writers", "node %c commits under epoch %llu, which began on %c",
                         letter_of(node), (unsigned long long)epoch,
                         (int)('@' + failover->epochs[epoch].begun));
    *acknowledged = s->lsn_committed;
    if (rises && !hg_group_is_sealed(group) && node->plan->grant_ms != 0 &&
        world->now_ns > node->grant.promised_ns)
        hg_sim_violation(world, "acknowledged_without_grant",
                         "node %c acknowledges s%u to %llu under epoch %llu, its grant ended at %llu ns",
                         letter_of(node), flow->index, (unsigned long long)s->lsn_committed,
                         (unsigned long long)epoch, (unsigned long long)node->grant.promised_ns);
    if (failover->producers[node->index][flow->index].is_open &&
        failover->producers[node->index][flow->index].epoch == epoch)
        hg_sim_client_acked(node, flow, s->lsn_committed);
    for (uint64_t newer = epoch + 1; newer < SIM_FAILOVER_EPOCHS; newer++)
        if (failover->epochs[newer].begun != 0 && !failover->is_beyond &&
            failover->epochs[newer].start[flow->index] < s->lsn_committed)
            hg_sim_violation(
                world, "acknowledged_late",
                "node %c acknowledges s%u to %llu under epoch %llu, and epoch %llu began at %llu",
                letter_of(node), flow->index, (unsigned long long)s->lsn_committed, (unsigned long long)epoch,
                (unsigned long long)newer, (unsigned long long)failover->epochs[newer].start[flow->index]);
}

/* From when the node may answer a seal until that epoch begins somewhere, only its driver's own copy moves.
 */
static void sealed_check(struct sim_node *node, const struct hg_group *group)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    struct hg_streams *streams = node->workers[0].worker->streams;
    uint64_t epoch = group->epoch_promised, *sealed = &failover->nodes[node->index].sealed;
    if (epoch <= HG_EPOCH_FIRST || failover->epochs[epoch_check(world, epoch)].begun != 0 ||
        failover->epochs[epoch].given == node->index + 1 ||
        !hg_streams_group_sealed(streams, SIM_FAILOVER_GROUP, epoch)) {
        *sealed = 0;
        return;
    }
    for (uint32_t i = 0; i < world->plan->flow_count; i++) {
        int32_t slot = hg_streams_find(streams, world->flows[i].stream);
        if (slot < 0)
            continue;
        const struct hg_stream_state *s = hg_streams_at(streams, (uint32_t)slot);
        uint64_t *lsn = &failover->nodes[node->index].tails[i].lsn;
        uint8_t *chain = failover->nodes[node->index].tails[i].chain;
        if (*sealed == epoch && (*lsn != s->lsn_durable || memcmp(chain, s->chain_durable, 16) != 0))
            hg_sim_violation(world, "sealed_tail",
                             "node %c was sealed under epoch %llu with s%u to %llu, and has it to %llu",
                             letter_of(node), (unsigned long long)epoch, i, (unsigned long long)*lsn,
                             (unsigned long long)s->lsn_durable);
        *lsn = s->lsn_durable;
        memcpy(chain, s->chain_durable, 16);
    }
    *sealed = epoch;
}

void hg_sim_check_failover_node(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    if (node->workers[0].worker->state != HG_WORKER_RUNNING)
        return;
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    uint64_t *promised = &failover->nodes[node->index].promised;
    if (group->epoch_promised < *promised)
        hg_sim_violation(world, "promise_lost", "node %c had promised epoch %llu, now %llu", letter_of(node),
                         (unsigned long long)*promised, (unsigned long long)group->epoch_promised);
    *promised = group->epoch_promised;
    world->sometimes[SIM_promises_after_restart] += *promised > HG_EPOCH_FIRST && node->boots_count > 1;
    begun_check(node, group->epoch_begun);
    if (!hg_group_is_sealed(group) && !failover->epochs[epoch_check(world, group->epoch_open)].opened)
        hg_sim_violation(world, "epoch_of_nobody",
                         "node %c lets producers in under epoch %llu, which the "
                         "metastore has not opened",
                         letter_of(node), (unsigned long long)group->epoch_open);
    sealed_check(node, group);
}

/* ---- positions ---- */

static uint32_t epoch_at(const struct hg_stream_state *s, uint64_t lsn_end)
{
    uint64_t epoch = 0;
    for (uint32_t i = 0; i < s->history.count; i++)
        if (s->history.starts[i].lsn < lsn_end)
            epoch = s->history.starts[i].epoch;
    return (uint32_t)epoch;
}

static struct sim_chain *chain_check(struct sim_node *node, struct sim_flow *flow, uint32_t history,
                                     uint64_t lsn, const uint8_t chain[16], const char *what)
{
    struct sim_chain *known = hg_sim_chain_at(flow, history, lsn);
    if (known->lsn_end == 0) {
        known->lsn_end = lsn;
        known->history = history;
        memcpy(known->chain, chain, sizeof(known->chain));
        flow->chain_count++;
    } else if (memcmp(known->chain, chain, sizeof(known->chain)) != 0 && !node->world->failover->is_beyond) {
        hg_sim_violation(node->world, what,
                         "s%u of history %u has another chain at %llu on node %c than "
                         "elsewhere or before",
                         flow->index, history, (unsigned long long)lsn, letter_of(node));
    }
    return known;
}

/* Of a disk that was replaced nobody knows any more what it had. */
static uint64_t end_of_quorum(const struct sim_world *world, const struct sim_flow *flow)
{
    return hg_sim_end_of_w(world, flow, world->plan->quorum_w - world->failover->is_lost, true);
}

/* Nothing leaves the region that a newer writer may lack: neither what is not committed nor an epoch that is
 * not open. So no copy outside ever has anything to be cut. */
static void outside_check(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    struct sim_failover *failover = world->failover;
    uint64_t committed = flow->plan->lsn_start;
    for (uint64_t epoch = HG_EPOCH_FIRST; epoch < SIM_FAILOVER_EPOCHS; epoch++)
        committed = hg_max_u64(committed, failover->epochs[epoch].acknowledged[flow->index]);
    if (s->lsn_durable > committed)
        hg_sim_violation(world, "left_before_commit",
                         "node %c of another region has s%u to %llu, which is committed to %llu",
                         letter_of(node), flow->index, (unsigned long long)s->lsn_durable,
                         (unsigned long long)committed);
    if (!failover->epochs[epoch_check(world, hg_max_u64(s->epoch, HG_EPOCH_FIRST))].opened)
        hg_sim_violation(world, "left_before_release",
                         "node %c of another region has the beginning of epoch %llu in s%u, which the "
                         "metastore has not opened",
                         letter_of(node), (unsigned long long)s->epoch, flow->index);
    world->sometimes[SIM_outside_followed] +=
        s->epoch > HG_EPOCH_FIRST && flow->places[node->index].epoch < s->epoch;
    flow->places[node->index].epoch = s->epoch;
}

void hg_sim_check_failover_flow(struct sim_node *node, struct sim_flow *flow, const struct hg_stream_state *s)
{
    struct sim_world *world = node->world;
    struct sim_place *place = &flow->places[node->index];
    const struct hg_group *group = hg_streams_group(node->workers[0].worker->streams, SIM_FAILOVER_GROUP);
    if (node->workers[0].worker->state != HG_WORKER_RUNNING)
        return;
    if (!(s->lsn_committed <= s->lsn_durable && s->lsn_durable <= s->lsn_sealed &&
          s->lsn_sealed <= s->lsn_taken) ||
        s->lsn_taken > flow->lsn_produced)
        hg_sim_violation(world, "positions",
                         "node %c, s%u: committed %llu durable %llu sealed %llu taken %llu "
                         "produced %llu",
                         letter_of(node), flow->index, (unsigned long long)s->lsn_committed,
                         (unsigned long long)s->lsn_durable, (unsigned long long)s->lsn_sealed,
                         (unsigned long long)s->lsn_taken, (unsigned long long)flow->lsn_produced);
    /* What a copy knows to be committed is on its disk some time later. */
    uint64_t known = world->failover->is_beyond ? place->committed_told : place->committed_ever;
    if (s->lsn_durable < known || s->lsn_committed < place->committed_told)
        hg_sim_violation(world, "committed_cut",
                         "node %c knew s%u committed to %llu, and now has it durable to %llu, committed to "
                         "%llu",
                         letter_of(node), flow->index, (unsigned long long)known,
                         (unsigned long long)s->lsn_durable, (unsigned long long)s->lsn_committed);
    if (s->lsn_durable != place->durable_floor) {
        hg_sim_hash(world, s->lsn_durable);
        hg_sim_trace(world, "node %c: s%u durable to %llu", letter_of(node), flow->index,
                     (unsigned long long)s->lsn_durable);
    }
    place->durable_floor = s->lsn_durable;
    world->failover->nodes[node->index].newest[flow->index] = hg_history_last(&s->history).epoch;
    place->durable_ever = hg_max_u64(place->durable_ever, s->lsn_durable);
    bool rises = s->lsn_committed > place->committed_ever;
    place->committed_told = s->lsn_committed;
    place->committed_ever = hg_max_u64(place->committed_ever, s->lsn_committed);
    if (rises && hg_sim_is_members(world))
        hg_sim_check_members(world);
    if (hg_sim_is_members(world))
        hg_sim_check_members_place(node, flow, s);
    if (s->lsn_committed > end_of_quorum(world, flow) && !world->failover->is_beyond)
        hg_sim_violation(world, "committed_too_early",
                         "node %c believes s%u committed to %llu, the %u-th of the region's disks has it to "
                         "%llu",
                         letter_of(node), flow->index, (unsigned long long)s->lsn_committed,
                         world->plan->quorum_w, (unsigned long long)end_of_quorum(world, flow));
    if (hg_sim_is_outside(node))
        outside_check(node, flow, s);
    if (s->lsn_durable != 0)
        (void)chain_check(node, flow, epoch_at(s, s->lsn_durable), s->lsn_durable, s->chain_durable, "chain");
    acknowledged_check(node, flow, s, rises);
    bool appends = s->origin_local && !hg_group_is_sealed(group) &&
                   node->world->failover->epochs[s->epoch + 1].begun != 0 &&
                   s->lsn_durable > s->lsn_committed;
    uint32_t last = world->plan->node_count - 1;
    world->sometimes[SIM_deposed_writers_appended] += appends;
    world->sometimes[SIM_deposed_writers_reached_outside] +=
        appends && last >= world->plan->quorum_n &&
        world->links[node->index][last].cut_until_ns < world->now_ns;
}

/* ---- batches ---- */

struct sim_chain *hg_sim_check_failover_batch(struct sim_node *node, struct sim_flow *flow,
                                              const struct hg_batch_header *header, uint32_t variant)
{
    if (variant != (header->epoch & 0xff))
        hg_sim_violation(node->world, "bytes",
                         "the batch of s%u at %llu on node %c is of epoch %llu, its "
                         "frames were appended under %u",
                         flow->index, (unsigned long long)header->lsn_first, letter_of(node),
                         (unsigned long long)header->epoch, variant);
    const struct sim_chain *orphan =
        hg_sim_chain_at(flow, SIM_HISTORY_ORPHANS | (uint32_t)header->epoch, header->lsn_end);
    /* What was cut under an epoch that never opened, another copy may have: it may be committed yet. */
    if (orphan->lsn_end != 0 && !node->world->failover->is_beyond &&
        node->world->failover->epochs[orphan->epoch_cut].opened &&
        memcmp(orphan->chain, header->chain, sizeof(orphan->chain)) == 0)
        hg_sim_violation(node->world, "orphan_committed",
                         "s%u to %llu is committed on node %c, and was cut off", flow->index,
                         (unsigned long long)header->lsn_end, letter_of(node));
    (void)chain_check(node, flow, SIM_HISTORY_COMMITTED, header->lsn_first + 1, header->chain,
                      "committed_twice");
    return chain_check(node, flow, (uint32_t)header->epoch, header->lsn_end, header->chain, "chain");
}

static struct sim_flow *flow_of(struct sim_world *world, uint64_t stream)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        if (world->flows[i].stream == stream)
            return &world->flows[i];
    return NULL;
}

void hg_sim_check_orphan(struct sim_node *node, const struct sim_orphan *orphan)
{
    struct sim_world *world = node->world;
    const struct hg_orphan_header *file = (const struct hg_orphan_header *)orphan->data;
    struct sim_flow *flow = flow_of(world, file->stream);
    enum hg_orphan_reason reason = hg_orphan_check_header(file, orphan->bytes);
    struct hg_orphan_walk walk;
    hg_orphan_walk_init(&walk, file);
    uint64_t at = sizeof(*file);
    for (; reason == HG_ORPHAN_OK && at < orphan->bytes;) {
        const struct hg_batch_header *header = (const struct hg_batch_header *)(orphan->data + at);
        reason = hg_orphan_walk_batch(&walk, header, orphan->bytes - at);
        if (reason != HG_ORPHAN_OK)
            break;
        at += hg_batch_bytes(header);
        const struct sim_chain *known = hg_sim_chain_at(flow, SIM_HISTORY_COMMITTED, header->lsn_first + 1);
        if (known->lsn_end != 0 && !world->failover->is_beyond &&
            memcmp(known->chain, header->chain, sizeof(known->chain)) == 0)
            hg_sim_violation(world, "orphan_committed",
                             "node %c cuts s%u off from %llu on under epoch %llu, a reader was given it as "
                             "committed",
                             letter_of(node), flow->index, (unsigned long long)header->lsn_first,
                             (unsigned long long)file->epoch_cut);
        (void)chain_check(node, flow, (uint32_t)header->epoch, header->lsn_end, header->chain, "chain");
        struct sim_chain *cut = chain_check(node, flow, SIM_HISTORY_ORPHANS | (uint32_t)header->epoch,
                                            header->lsn_end, header->chain, "chain");
        if (!world->failover->epochs[cut->epoch_cut].opened)
            cut->epoch_cut = epoch_check(world, file->epoch_cut);
    }
    reason = reason == HG_ORPHAN_OK ? hg_orphan_walk_end(&walk) : reason;
    if (reason != HG_ORPHAN_OK)
        hg_sim_violation(world, "orphan", "orphan %s of node %c: %s", orphan->name, letter_of(node),
                         hg_orphan_reason_text(reason));
    world->sometimes[SIM_orphans_written]++;
}

/* ---- events ---- */

bool hg_sim_check_failover_event(struct sim_node *node, const struct hg_event *event)
{
    switch (event->type) {
    case HG_EVENT_group_sealed:
    case HG_EVENT_group_begun:
    case HG_EVENT_group_open:
        return true;
    case HG_EVENT_group_unnamed: /* a disk that was replaced, or one that nobody named, and a metastore that
                                    is away */
        node->world->sometimes[SIM_groups_unnamed]++;
        return true;
    case HG_EVENT_stream_cut:
        node->world->sometimes[SIM_copies_cut]++;
        return !hg_sim_is_outside(node);
    case HG_EVENT_stream_refused: /* a taker promised a newer epoch than the writer has */
        return event->a == HG_WIRE_REFUSED_EPOCH || node->world->failover->is_beyond;
    case HG_EVENT_stream_refused_batch:
        return event->b == HG_SEALED_EPOCH || node->world->failover->is_beyond;
    case HG_EVENT_stream_closed: /* by who fills no more, or no longer writes */
        return event->a == HG_WIRE_CLOSED_WITHDRAWN || node->world->failover->is_beyond;
    case HG_EVENT_stream_not_cut:
        node->world->sometimes[SIM_cuts_refused]++;
        return node->world->failover->is_beyond;
    case HG_EVENT_stream_diverged:
    case HG_EVENT_stream_gap:
    case HG_EVENT_stream_behind:
        return node->world->failover->is_beyond;
    default:
        return false;
    }
}
