/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/atlas.h"

#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_internal.h"
#include "dataplane/wal/log_recovery.h"
#include "tests/sim/scenario.h"

#include <stdlib.h>

/* Of a disk: the superblock's table has room for them and for what was mended before. */
#define DAMAGES_MAX          10u
#define OPERATOR_NS          (5 * HG_NS_PER_S)
#define OPERATOR_PATIENCE_NS (60 * HG_NS_PER_S)
#define SEGMENTS             64u
#define SEGMENT_BYTES        (256u << 10)
#define BYTES_MAX            (128u << 10)
#define FRAME_BYTES          (24u << 10)
#define TRIES                8u /* of a kind and a place where the copy may be struck */
#define SECTOR_BYTES         HG_DISK_SIM_SECTOR_BYTES
#define KEEPER_SALT          50
#define SETTLED_WRITES       40u /* behind a write: far enough for recovery to mark it, at any end */

enum sim_damage_kind {
    SIM_DAMAGE_ROT,                              /* a bit of the batch */
    SIM_DAMAGE_LOST_SECTOR,                      /* of it: zeros */
    SIM_DAMAGE_MISDIRECTED,                      /* a block of it has what belongs elsewhere */
    SIM_DAMAGE_UNREADABLE,                       /* a block of it */
    SIM_DAMAGE_MENDED_COUNT,                     /* from here on a log may need its operator */
    SIM_DAMAGE_HEADER = SIM_DAMAGE_MENDED_COUNT, /* of the write: a bit */
    SIM_DAMAGE_HEADER_UNREADABLE,
    SIM_DAMAGE_LOST_WRITE,
    SIM_DAMAGE_MISDIRECTED_WRITE, /* another one lies there */
    SIM_DAMAGE_LOCAL,             /* a bit of local records */
    SIM_DAMAGE_COUNT
};

struct damages { /* of a disk, not mended when they were looked at last */
    uint64_t sequences[DAMAGES_MAX];
    enum sim_damage_kind kinds[DAMAGES_MAX];
    uint32_t count;
    uint32_t ever; /* on this disk */
};

struct sim_atlas {
    struct damages nodes[SIM_NODES_MAX];
    bool any;
    bool operator_comes; /* to the plan's blank_node */
    uint8_t write[HG_LOG_BLOCK_BYTES + HG_LOG_WRITE_PAYLOAD_BYTES_MAX] __attribute__((aligned(8)));
    uint8_t other[HG_LOG_BLOCK_BYTES] __attribute__((aligned(8)));
};

/* A write of a log, and a batch of it. */
struct place {
    struct sim_node *node;
    uint64_t sequence;
    uint64_t file_offset;
    uint32_t bytes; /* of its payload */
    uint32_t batch; /* where it begins in the payload */
    uint32_t batch_bytes;
};

struct damage {
    enum sim_damage_kind kind;
    struct place place;
    uint32_t first, end; /* bytes of the payload */
};

bool hg_sim_is_atlas(const struct sim_world *world)
{
    return world->atlas != NULL;
}

struct sim_atlas *hg_sim_atlas_make(void)
{
    struct sim_atlas *atlas = calloc(1, sizeof(*atlas));
    hg_assert(atlas != NULL);
    return atlas;
}

void hg_sim_atlas_free(struct sim_atlas *atlas)
{
    free(atlas);
}

/* ---- what is whole where ---- */

static struct sim_flow *flow_of(struct sim_world *world, uint64_t stream)
{
    for (uint32_t i = 0; i < world->plan->flow_count; i++)
        if (world->flows[i].stream == stream)
            return &world->flows[i];
    return NULL;
}

/* The node of the region whose copy of the batch that ends there stays whole. The one whose disk may be
 * replaced keeps nothing. */
static uint32_t keeper(const struct sim_world *world, const struct sim_flow *flow, uint64_t lsn_end)
{
    uint64_t state = hg_sim_random_seed(world, KEEPER_SALT + flow->index, lsn_end);
    uint32_t operated = world->plan->blank_node, count = world->plan->quorum_n - (operated < SIM_NODES_MAX);
    uint32_t node = (uint32_t)(hg_random_splitmix64(&state) % count);
    return node + (node >= operated);
}

static struct hg_log *log_of(const struct sim_node *node)
{
    return node->workers[0].worker->log;
}

/* Also recovery may have mended it: from where the log takes the write, it is what was written. */
static bool is_mended(const struct sim_node *node, uint64_t sequence)
{
    const struct hg_log *log = log_of(node);
    uint8_t *write = node->world->atlas->write;
    uint64_t segment;
    uint32_t offset, bytes;
    if (sequence < log->tail_sequence)
        return true;
    hg_log_place_get(log, sequence, &segment, &offset, &bytes);
    return hg_disk_sim_look(node->workers[0].disk, hg_log_file_offset(log, segment, offset), write,
                            hg_log_write_bytes(bytes)) &&
           !(log->heal.state == HG_LOG_HEAL_TABLE && log->heal.sequence == sequence) &&
           hg_log_read_is_right(log, sequence, write);
}

static void damages_look(const struct sim_node *node)
{
    struct damages *damages = &node->world->atlas->nodes[node->index];
    uint32_t left = 0;
    if (!hg_sim_is_running(node))
        return;
    for (uint32_t i = 0; i < damages->count; i++)
        if (is_mended(node, damages->sequences[i])) {
            node->world->sometimes[SIM_atlas_mended]++;
        } else {
            damages->sequences[left] = damages->sequences[i];
            damages->kinds[left++] = damages->kinds[i];
        }
    damages->count = left;
}

bool hg_sim_atlas_is_damaged(const struct sim_node *node)
{
    if (node->world->atlas == NULL)
        return false;
    damages_look(node);
    return node->world->atlas->nodes[node->index].count > 0;
}

/* A stream begins with a batch of it: nothing before it says that this is right. */
static bool has_beginning(const struct hg_log_write_header *header, const uint8_t *payload)
{
    static const uint8_t nothing[16];
    for (uint32_t at = 0; at < header->payload_bytes;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + at);
        if ((batch->flags & HG_BATCH_LOCAL) == 0 && memcmp(batch->chain_previous, nothing, 16) == 0)
            return true;
        at += hg_batch_bytes(batch);
    }
    return false;
}

/* Recovery opens the log with the write as it is: it is known what it has. */
static bool is_marked_at_start(const struct sim_node *node, uint64_t sequence)
{
    const struct hg_log *log = log_of(node);
    uint8_t *write = node->world->atlas->write;
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)write;
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    for (uint32_t at = 0; at < hg_log_write_bytes(payload_bytes); at += HG_LOG_BLOCK_BYTES)
        if (!hg_disk_sim_look(node->workers[0].disk, hg_log_file_offset(log, segment, offset) + at,
                              write + at, HG_LOG_BLOCK_BYTES))
            memset(write + at, 0, HG_LOG_BLOCK_BYTES);
    return sequence + SETTLED_WRITES < log->flushed_sequence &&
           hg_log_write_header_is_valid(header, log->geometry.log_uuid) && header->sequence == sequence &&
           hg_log_payload_is_listed(header, write + HG_LOG_BLOCK_BYTES) &&
           !has_beginning(header, write + HG_LOG_BLOCK_BYTES);
}

bool hg_sim_atlas_spares(const struct sim_node *node)
{
    if (node->index == node->world->plan->blank_node || !hg_sim_atlas_is_damaged(node))
        return false;
    const struct damages *damages = &node->world->atlas->nodes[node->index];
    for (uint32_t i = 0; i < damages->count; i++)
        if (!hg_sim_is_running(node) || damages->kinds[i] == SIM_DAMAGE_MISDIRECTED ||
            !is_marked_at_start(node, damages->sequences[i]))
            return true;
    node->world->sometimes[SIM_atlas_dies_damaged]++;
    return false;
}

/* ---- finding a place ---- */

static bool write_look(struct sim_node *node, uint64_t sequence, struct place *place)
{
    struct hg_log *log = log_of(node);
    uint64_t segment;
    uint32_t offset;
    hg_log_place_get(log, sequence, &segment, &offset, &place->bytes);
    if (place->bytes == 0 || hg_log_hole_of(&log->superblock.holes, sequence) != NULL)
        return false;
    place->node = node;
    place->sequence = sequence;
    place->file_offset = hg_log_file_offset(log, segment, offset);
    (void)hg_disk_sim_look(node->workers[0].disk, place->file_offset, node->world->atlas->write,
                           hg_log_write_bytes(place->bytes));
    return true;
}

static const struct hg_batch_header *batch_at(const struct sim_world *world, uint32_t at)
{
    return (const struct hg_batch_header *)(world->atlas->write + HG_LOG_BLOCK_BYTES + at);
}

static bool is_batch(const struct sim_world *world, const struct place *place, uint32_t at)
{
    return at < place->bytes &&
           hg_batch_check_header(batch_at(world, at), place->bytes - at) == HG_BATCH_REASON_OK;
}

/* Writes of segments that are sealed, which scrub reads. */
static uint64_t sealed_end(const struct hg_log *log)
{
    return hg_min_u64(log->segment_first[log->head_segment % log->geometry.segment_count],
                      log->flushed_sequence + 1);
}

/* The last write with a batch that has been durable long enough for a header behind to prove it; and with it
 * all before. Of what is newer the operated node must not lose a header: architecture 6 has it taken for
 * torn. */
static uint64_t proved_last(struct sim_node *node)
{
    struct sim_world *world = node->world;
    struct hg_log *log = log_of(node);
    for (uint64_t sequence = log->flushed_sequence; sequence >= log->tail_sequence; sequence--) {
        struct place place;
        if (!write_look(node, sequence, &place))
            continue;
        for (uint32_t at = 0; is_batch(world, &place, at); at += hg_batch_bytes(batch_at(world, at))) {
            const struct hg_batch_header *header = batch_at(world, at);
            const struct sim_flow *flow =
                (header->flags & HG_BATCH_LOCAL) != 0 ? NULL : flow_of(world, header->stream);
            if (flow != NULL && flow->places[node->index].durable_before >= header->lsn_end)
                return sequence;
        }
    }
    return 0;
}

/* Any batch of a stream, all alike, or the one that ends there; or (flow NULL, is_local) local records. */
static bool place_find(struct sim_node *node, const struct sim_flow *flow, uint64_t lsn_end, bool is_local,
                       struct hg_random *random, struct place *found)
{
    struct sim_world *world = node->world;
    struct hg_log *log = log_of(node);
    uint64_t count = 0;
    for (uint64_t sequence = log->tail_sequence; sequence < sealed_end(log); sequence++) {
        struct place place;
        if (!write_look(node, sequence, &place))
            continue;
        for (uint32_t at = 0; is_batch(world, &place, at); at += hg_batch_bytes(batch_at(world, at))) {
            const struct hg_batch_header *header = batch_at(world, at);
            bool local = (header->flags & HG_BATCH_LOCAL) != 0;
            if (local != is_local ||
                (flow != NULL && (header->stream != flow->stream || header->lsn_end != lsn_end)))
                continue;
            place.batch = at;
            place.batch_bytes = hg_batch_bytes(header);
            if (hg_random_below(random, ++count) == 0)
                *found = place;
        }
    }
    return count > 0 && write_look(node, found->sequence, found);
}

/* ---- whether it may be struck there ---- */

/* Its keeper has it, and this node has had it long enough for a header behind to prove it. */
static bool batch_is_kept(struct sim_node *node, const struct hg_batch_header *header)
{
    struct sim_world *world = node->world;
    const struct sim_flow *flow = flow_of(world, header->stream);
    uint32_t kept_by = flow == NULL ? node->index : keeper(world, flow, header->lsn_end);
    return kept_by != node->index && flow->places[kept_by].durable_floor >= header->lsn_end &&
           flow->places[node->index].durable_before >= header->lsn_end;
}

/* What it meets: batches of streams that are kept elsewhere, and of each that loses its header the one behind
 * is of the same stream, and so on to one that keeps it: that names them all. `operated`: whatever they are,
 * but of streams only what is kept. */
static bool may_strike(const struct damage *damage, bool operated)
{
    const struct place *place = &damage->place;
    const struct sim_world *world = place->node->world;
    bool lost = false; /* the header of the batch before */
    uint64_t lost_stream = 0;
    for (uint32_t at = 0; is_batch(world, place, at);) {
        const struct hg_batch_header *header = batch_at(world, at);
        uint32_t next = at + hg_batch_bytes(header);
        bool local = (header->flags & HG_BATCH_LOCAL) != 0;
        bool hit = at < damage->end && next > damage->first;
        bool loses = hit && at + sizeof(*header) > damage->first;
        if (hit && !local && !batch_is_kept(place->node, header))
            return false;
        if (!operated && ((hit && local) || (lost && (local || header->stream != lost_stream))))
            return false;
        lost = loses;
        lost_stream = header->stream;
        at = next;
    }
    return operated || !lost;
}

static bool is_struck(const struct damages *damages, uint64_t sequence)
{
    for (uint32_t i = 0; i < damages->count; i++)
        if (damages->sequences[i] == sequence)
            return true;
    return false;
}

/* ---- striking ---- */

static void overwrite(const struct place *place, uint32_t at, const uint8_t *from, uint32_t bytes)
{
    hg_disk_sim_overwrite(place->node->workers[0].disk, place->file_offset + at, from, bytes);
}

/* Of what the write is, which was looked at. */
static void flip(const struct place *place, uint32_t at, struct hg_random *random)
{
    uint8_t *byte = place->node->world->atlas->write + at;
    *byte ^= (uint8_t)(1u << hg_random_below(random, 8));
    overwrite(place, at, byte, 1);
}

/* The bytes of the payload that a fault of the kind makes bad: within the batch, or meeting it. */
static void range_of(struct damage *damage, struct hg_random *random)
{
    const struct place *place = &damage->place;
    uint32_t at = place->batch + (uint32_t)hg_random_below(random, place->batch_bytes), unit = 1;
    switch (damage->kind) {
    case SIM_DAMAGE_LOST_WRITE:
    case SIM_DAMAGE_MISDIRECTED_WRITE:
        damage->first = 0;
        damage->end = place->bytes;
        return;
    case SIM_DAMAGE_HEADER:
    case SIM_DAMAGE_HEADER_UNREADABLE:
        damage->first = damage->end = 0;
        return;
    case SIM_DAMAGE_LOST_SECTOR:
        unit = SECTOR_BYTES;
        break;
    case SIM_DAMAGE_MISDIRECTED:
    case SIM_DAMAGE_UNREADABLE:
        unit = HG_LOG_BLOCK_BYTES;
        break;
    default:
        break;
    }
    damage->first = at / unit * unit;
    damage->end = damage->first + unit;
}

static void misdirect(const struct place *place, uint32_t first, uint32_t bytes, struct hg_random *random)
{
    struct sim_atlas *atlas = place->node->world->atlas;
    struct hg_disk *disk = place->node->workers[0].disk;
    uint64_t blocks = (place->file_offset - HG_LOG_SEGMENTS_OFFSET) / HG_LOG_BLOCK_BYTES;
    uint64_t from = HG_LOG_SEGMENTS_OFFSET + hg_random_below(random, blocks + 1) * HG_LOG_BLOCK_BYTES;
    for (uint32_t at = 0; at < bytes; at += HG_LOG_BLOCK_BYTES) {
        (void)hg_disk_sim_look(disk, (from + at) % (disk->size_bytes - HG_LOG_BLOCK_BYTES), atlas->other,
                               HG_LOG_BLOCK_BYTES);
        overwrite(place, first + at, atlas->other, HG_LOG_BLOCK_BYTES);
    }
}

static void zero(const struct place *place, uint32_t first, uint32_t bytes)
{
    struct sim_atlas *atlas = place->node->world->atlas;
    memset(atlas->other, 0, sizeof(atlas->other));
    for (uint32_t at = 0; at < bytes; at += SECTOR_BYTES)
        overwrite(place, first + at, atlas->other, SECTOR_BYTES);
}

static void strike(const struct damage *damage, struct hg_random *random)
{
    const struct place *place = &damage->place;
    struct sim_world *world = place->node->world;
    uint32_t at = HG_LOG_BLOCK_BYTES + damage->first, all = hg_log_write_bytes(place->bytes);
    switch (damage->kind) {
    case SIM_DAMAGE_ROT:
    case SIM_DAMAGE_LOCAL:
        flip(place, at, random);
        break;
    case SIM_DAMAGE_LOST_SECTOR:
        zero(place, at, SECTOR_BYTES);
        break;
    case SIM_DAMAGE_MISDIRECTED:
        misdirect(place, at, HG_LOG_BLOCK_BYTES, random);
        break;
    case SIM_DAMAGE_UNREADABLE:
        hg_disk_sim_bad_block(place->node->workers[0].disk, place->file_offset + at);
        break;
    case SIM_DAMAGE_HEADER:
        flip(place, (uint32_t)hg_random_below(random, 88), random);
        break;
    case SIM_DAMAGE_HEADER_UNREADABLE:
        hg_disk_sim_bad_block(place->node->workers[0].disk, place->file_offset);
        break;
    case SIM_DAMAGE_LOST_WRITE:
        zero(place, 0, all);
        break;
    case SIM_DAMAGE_MISDIRECTED_WRITE:
        misdirect(place, 0, all, random);
        break;
    case SIM_DAMAGE_COUNT:
        hg_assert(!"a damage of an unknown kind");
    }
    world->atlas->any = true;
    world->sometimes[SIM_atlas_rot + damage->kind]++;
}

/* Kind and bytes of a damage that this copy of the batch may get. A node that is operated may get any, of
 * whatever its device has. */
static bool damage_choose(struct sim_node *node, const struct sim_flow *flow, uint64_t lsn_end, bool operated,
                          struct hg_random *random, struct damage *damage)
{
    const struct damages *damages = &node->world->atlas->nodes[node->index];
    uint64_t proved = operated ? proved_last(node) : UINT64_MAX; /* others: batch_is_kept */
    for (uint32_t i = 0; i < TRIES; i++) {
        uint64_t kinds = operated ? SIM_DAMAGE_COUNT : SIM_DAMAGE_MENDED_COUNT;
        damage->kind = (enum sim_damage_kind)hg_random_below(random, kinds);
        bool is_local = damage->kind == SIM_DAMAGE_LOCAL;
        if (!place_find(node, is_local ? NULL : flow, lsn_end, is_local, random, &damage->place) ||
            damage->place.sequence > proved || is_struck(damages, damage->place.sequence))
            continue;
        range_of(damage, random);
        if (may_strike(damage, damage->kind >= SIM_DAMAGE_MENDED_COUNT))
            return true;
    }
    return false;
}

static bool copy_strike(struct sim_node *node, const struct sim_flow *flow, uint64_t lsn_end, bool operated,
                        struct hg_random *random)
{
    struct damages *damages = &node->world->atlas->nodes[node->index];
    struct damage damage;
    bool dies = node->steps_fuse != 0 || node->transmit_fuse != 0;
    if (!hg_sim_is_running(node) || damages->ever == DAMAGES_MAX || (!operated && dies) ||
        !damage_choose(node, flow, lsn_end, operated, random, &damage))
        return false;
    strike(&damage, random);
    damages->sequences[damages->count] = damage.place.sequence;
    damages->kinds[damages->count++] = damage.kind;
    damages->ever++;
    hg_sim_trace(node->world, "atlas: damage %u on node %c, write %llu, bytes %u to %u of its payload",
                 damage.kind, (int)('A' + node->index), (unsigned long long)damage.place.sequence,
                 damage.first, damage.end);
    return true;
}

/* A batch that the fault's node has, on all nodes but its keeper. */
void hg_sim_atlas_strike(struct sim_world *world, const struct sim_fault *fault)
{
    struct hg_random random;
    struct place place;
    struct sim_node *first = &world->nodes[fault->node];
    uint32_t struck = 0, there = 0;
    hg_random_init(&random, fault->a);
    if (!hg_sim_is_running(first) || !place_find(first, NULL, 0, false, &random, &place))
        return;
    const struct hg_batch_header *header = batch_at(world, place.batch);
    const struct sim_flow *flow = flow_of(world, header->stream);
    uint64_t lsn_end = header->lsn_end;
    uint32_t kept_by = keeper(world, flow, lsn_end);
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        damages_look(&world->nodes[i]);
        if (i == kept_by)
            continue;
        there++;
        struck += copy_strike(&world->nodes[i], flow, lsn_end, i == world->plan->blank_node, &random);
    }
    world->sometimes[SIM_atlas_one_copy_left] += struck == there;
}

/* ---- the operator ---- */

static void disk_replace(struct sim_node *node)
{
    struct sim_atlas *atlas = node->world->atlas;
    memset(&atlas->nodes[node->index], 0, sizeof(atlas->nodes[node->index]));
    atlas->operator_comes = false;
    hg_sim_node_disk_lost(node, HG_NS_PER_MS);
}

bool hg_sim_atlas_refused(struct sim_node *node)
{
    if (node->world->atlas == NULL || node->world->atlas->nodes[node->index].count == 0 ||
        node->index != node->world->plan->blank_node)
        return false;
    node->world->sometimes[SIM_corrupt_logs_refused]++;
    disk_replace(node);
    return true;
}

void hg_sim_atlas_operator(struct sim_node *node)
{
    if (node->world->atlas->operator_comes && hg_sim_atlas_is_damaged(node))
        disk_replace(node);
    node->world->atlas->operator_comes = false;
}

/* It says what it can't mend by itself: helio-log repair is not simulated, an empty disk is. That nobody has
 * something may also mean that the header of local records is lost, and what lies behind them names a batch
 * that never was; or that peers will have it later. */
static void operator_call(struct sim_node *node, enum hg_log_heal_reason reason)
{
    struct sim_world *world = node->world;
    uint64_t after_ns = reason == HG_LOG_HEAL_nobody ? OPERATOR_PATIENCE_NS : OPERATOR_NS;
    world->sometimes[SIM_atlas_told_to_operator] += reason != HG_LOG_HEAL_nobody;
    if (world->atlas->operator_comes)
        return;
    world->atlas->operator_comes = true;
    hg_sim_event_put(world, world->now_ns + after_ns, SIM_EVENT_OPERATOR, node->index, 0, NULL);
}

bool hg_sim_check_atlas_event(struct sim_node *node, const struct hg_event *event)
{
    struct sim_world *world = node->world;
    bool operated = node->index == world->plan->blank_node;
    if (world->atlas == NULL || !world->atlas->any)
        return false;
    switch (event->type) {
    case HG_EVENT_read_corrupt:
        world->sometimes[SIM_damage_met_by_a_reader]++;
        return true;
    case HG_EVENT_not_repaired:
        if (operated)
            operator_call(node, (enum hg_log_heal_reason)event->b);
        return operated || event->b == HG_LOG_HEAL_nobody;
    case HG_EVENT_scrub_corrupt:
    case HG_EVENT_repaired:
    case HG_EVENT_log_marked:
        return true;
    default:
        return false;
    }
}

bool hg_sim_atlas_complete(struct sim_world *world, char *text, size_t text_bytes)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++) {
        if (!hg_sim_atlas_is_damaged(&world->nodes[i]))
            continue;
        snprintf(text, text_bytes, "write %llu of node %c is not mended",
                 (unsigned long long)world->atlas->nodes[i].sequences[0], (int)('A' + i));
        return false;
    }
    return true;
}

/* ---- the plan ---- */

/* Logs that keep all there is, in segments that are sealed soon; producers that go on all the time. */
static void plan_sizes(struct sim_plan *plan, struct hg_random *random)
{
    uint32_t other = plan->blank_node == 1 ? 2 : 1; /* who is operated originates nothing */
    uint64_t before_ns = plan->safety_ns;
    uint64_t segment_bytes =
        hg_max_u64(SEGMENT_BYTES, 4ull * (plan->write_payload_bytes + HG_LOG_BLOCK_BYTES));
    plan->safety_ns = hg_random_between(random, 2 * HG_NS_PER_S, 6 * HG_NS_PER_S);
    for (uint32_t i = 0; i < plan->fault_count; i++) /* spread over all of it, as they were drawn */
        plan->faults[i].time_ns = plan->faults[i].time_ns * (plan->safety_ns / 1000) / (before_ns / 1000);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        plan->nodes[i].region = i == plan->quorum_n;
        plan->nodes[i].segment_count = SEGMENTS;
        plan->nodes[i].segment_bytes = plan->segment_bytes = segment_bytes;
    }
    for (uint32_t i = 0; i < plan->flow_count; i++) {
        struct sim_flow_plan *flow = &plan->flows[i];
        flow->origin = hg_random_chance(random, 3, 4) ? 0 : other;
        flow->bytes = hg_random_between(random, BYTES_MAX / 2, BYTES_MAX);
        flow->frame_bytes_max = (uint32_t)hg_max_u64(flow->frame_bytes_max, 512);
        flow->burst_frames_max = (uint32_t)hg_random_between(random, 1, 64);
        flow->interval_ns = hg_random_between(random, 2 * HG_NS_PER_MS, 20 * HG_NS_PER_MS);
        if (!hg_random_chance(random, 1, 2))
            continue;
        flow->frame_bytes_max = (uint32_t)hg_min_u64(FRAME_BYTES, plan->write_payload_bytes / 2);
        flow->compresses = false; /* batches that have whole blocks */
    }
}

void hg_sim_plan_atlas(struct sim_plan *plan, struct hg_random *random)
{
    bool is_operated = hg_random_chance(random, 1, 2) && plan->classes != 0;
    uint32_t operated = (uint32_t)hg_random_between(random, 1, plan->quorum_n - 1);
    plan->blank_node = is_operated ? operated : SIM_NODES_MAX;
    plan_sizes(plan, random);
    for (uint64_t i = hg_random_between(random, 3, 12); i > 0 && plan->classes != 0; i--) {
        uint64_t time_ns = hg_random_between(random, plan->safety_ns / 4, plan->safety_ns - 1);
        uint32_t node = (uint32_t)hg_random_below(random, plan->quorum_n);
        hg_sim_plan_fault(plan, SIM_FAULT_ATLAS, time_ns, node)->a = hg_random_u64(random);
        if (!is_operated || !hg_random_chance(random, 1, 3))
            continue;
        struct sim_fault *fault = hg_sim_plan_fault(plan, SIM_FAULT_POWER, time_ns + 1, operated);
        fault->a = hg_random_between(random, 1, 64);
        fault->b = hg_random_between(random, HG_NS_PER_MS, HG_NS_PER_S);
    }
}
