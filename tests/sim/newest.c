/* SPDX-License-Identifier: Apache-2.0
 *
 * The newest write of a member rots where nothing proves yet that it was there, and the writer's power goes:
 * what was acknowledged stands on the writer alone, and its member takes its log's end for torn. It must not
 * say that it had nothing there (the nacks of a seal): with the third copy, which never heard of it, it would
 * seal it away.
 */
#include "dataplane/wal/log_internal.h"
#include "tests/sim/failover.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>

#define SALT        UINT64_C(0x6e65776573740000)
#define RETRY_NS    (200 * HG_NS_PER_US)
#define PATIENCE_NS (600 * HG_NS_PER_MS)
#define PLACES_MAX  64u

struct place {
    uint64_t file_offset;
    uint32_t bytes;
};

void hg_sim_plan_newest(struct sim_plan *plan)
{
    struct hg_random random;
    hg_sim_plan_random(plan, SALT, &random);
    if (!hg_sim_scenario_has(plan->scenario, SIM_SCENARIO_FAILOVER) || plan->members_n != 0 ||
        plan->quorum_n != 3 || plan->classes == 0 || hg_random_chance(&random, 3, 4))
        return;
    uint32_t node = (uint32_t)hg_random_between(&random, 1, 2), other = 3 - node; /* the first one writes */
    uint64_t time_ns = hg_random_between(&random, 20 * HG_NS_PER_MS, 600 * HG_NS_PER_MS);
    for (uint32_t i = 0; i < 6; i++) { /* the third copy lags */
        if (i / 2 == other)
            continue;
        struct sim_fault *cut = hg_sim_plan_fault(plan, SIM_FAULT_CUT, time_ns, i % 2 == 0 ? other : i / 2);
        cut->other = i % 2 == 0 ? i / 2 : other;
        cut->a = PATIENCE_NS;
    }
    struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_ROT, time_ns + 20 * HG_NS_PER_MS, node);
    fault->other = other;
    fault->a = hg_random_u64(&random);
    fault->b = hg_random_between(&random, 700 * HG_NS_PER_MS, 4 * HG_NS_PER_S);
}

static const struct hg_stream_state *state_of(struct sim_node *node, uint64_t stream)
{
    struct hg_streams *streams = node->workers[0].worker->streams;
    int32_t slot = hg_streams_find(streams, stream);
    return slot < 0 ? NULL : hg_streams_at(streams, (uint32_t)slot);
}

static bool place_of(const struct hg_log *log, uint64_t sequence, struct place *place)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    if (payload_bytes == 0)
        return false;
    place->file_offset = hg_log_file_offset(log, segment, offset);
    place->bytes = hg_log_write_bytes(payload_bytes);
    return true;
}

/* Nothing but batches of streams, one of them acknowledged and lacking at the other copy. */
static bool is_ripe(struct sim_node *writer, struct sim_node *other, const uint8_t *write, uint32_t bytes)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)write;
    bool found = false;
    for (uint32_t at = 0; at < header->payload_bytes;) {
        const struct hg_batch_header *batch =
            (const struct hg_batch_header *)(write + HG_LOG_BLOCK_BYTES + at);
        if (hg_batch_check_header(batch, bytes - HG_LOG_BLOCK_BYTES - at) != HG_BATCH_REASON_OK ||
            (batch->flags & HG_BATCH_LOCAL) != 0)
            return false;
        const struct hg_stream_state *at_writer = state_of(writer, batch->stream);
        const struct hg_stream_state *at_other = state_of(other, batch->stream);
        found |= at_writer != NULL && at_other != NULL && at_writer->origin_local &&
                 at_writer->lsn_committed >= batch->lsn_end && at_other->lsn_durable < batch->lsn_end;
        at += hg_batch_bytes(batch);
    }
    return found;
}

/* The newest durable write of the node, and what it wrote behind; 0 = not now. */
static uint32_t places_find(struct sim_node *node, struct sim_node *writer, struct sim_node *other,
                            struct place places[PLACES_MAX])
{
    const struct hg_log *log = node->workers[0].worker->log;
    uint64_t newest = log->flushed_sequence;
    uint32_t count = 0;
    if (newest < log->ring_next || log->next_sequence - newest > PLACES_MAX ||
        !place_of(log, newest, &places[0]))
        return 0;
    uint8_t *write = malloc(places[0].bytes);
    hg_assert(write != NULL);
    if (hg_disk_sim_look(node->workers[0].disk, places[0].file_offset, write, places[0].bytes) &&
        is_ripe(writer, other, write, places[0].bytes))
        count = 1;
    free(write);
    for (uint64_t sequence = newest + 1; count > 0 && sequence < log->next_sequence; sequence++)
        count += place_of(log, sequence, &places[count]);
    return count;
}

void hg_sim_newest_rot(struct sim_node *node, const struct sim_fault *fault)
{
    struct sim_world *world = node->world;
    uint32_t last = 3 - node->index - fault->other;
    struct sim_node *other = &world->nodes[fault->other], *writer = &world->nodes[last];
    struct place places[PLACES_MAX];
    static const uint8_t nothing[HG_LOG_BLOCK_BYTES];
    uint32_t count = 0;
    if (last >= world->plan->node_count || world->failover->is_lost ||
        world->now_ns > fault->time_ns + PATIENCE_NS)
        return;
    if (hg_sim_is_running(node) && hg_sim_is_running(other) && hg_sim_is_running(writer))
        count = places_find(node, writer, other, places);
    if (count == 0) {
        hg_sim_event_put(world, world->now_ns + RETRY_NS, SIM_EVENT_FAULT,
                         (uint32_t)(fault - world->plan->faults), 0, NULL);
        return;
    }
    hg_sim_trace(world, "the newest write of node %c rots, %u behind it are lost", (int)('A' + node->index),
                 count - 1);
    hg_sim_node_die(node, true, HG_NS_PER_MS);
    hg_sim_node_die(writer, true, fault->b);
    struct hg_disk *disk = node->workers[0].disk;
    for (uint32_t i = 1; i < count; i++)
        for (uint32_t at = 0; at < places[i].bytes; at += sizeof(nothing))
            hg_disk_sim_overwrite(disk, places[i].file_offset + at, nothing, sizeof(nothing));
    uint64_t payload_bytes = places[0].bytes - HG_LOG_BLOCK_BYTES;
    uint64_t at = places[0].file_offset + HG_LOG_BLOCK_BYTES + fault->a % hg_min_u64(payload_bytes, 96);
    hg_disk_sim_flip_bit(disk, at, (uint32_t)(fault->a >> 61));
    hg_sim_check_recovered_void(&node->workers[0]);
    hg_sim_failover_disk(node, false);
    world->sometimes[SIM_newest_writes_rotten]++;
    const struct sim_fault order = {.kind = SIM_FAULT_OPERATE, .node = other->index, .a = SIM_FAILOVER_ORDER};
    hg_sim_failover_operate(world, &order);
}
