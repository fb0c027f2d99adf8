/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/controlplane/failover_model.h"

#include "drivers/ipc/epoch_fork.h"

#include <string.h>

const struct hg_metastore_key model_key = {.cluster = 1, .region = 1, .group = 3};
struct model_sometimes model_sometimes;

uint32_t model_draw(struct world *world, uint32_t below)
{
    return (uint32_t)hg_random_below(&world->random, below);
}

bool model_chance(struct world *world, uint32_t one_in) /* of a fault */
{
    return !world->is_healed && model_draw(world, one_in) == 0;
}

void model_violate(struct world *world, const char *what)
{
    if (world->violation == NULL)
        world->violation = what;
}

void model_send(struct world *world, const struct message *message)
{
    if (world->message_count == MESSAGES_MAX || model_chance(world, 10))
        return;
    world->messages[world->message_count] = *message;
    world->messages[world->message_count++].life = world->nodes[message->to].life;
}

static bool same(const struct entry *a, const struct entry *b)
{
    return a->epoch == b->epoch && a->value == b->value;
}

bool model_is_prefix(const struct log *prefix, uint32_t count, const struct log *log)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= log->count || !same(&prefix->entries[i], &log->entries[i]))
            return false;
    return true;
}

uint64_t model_epoch_last(const struct log *log)
{
    return log->start_count == 0 ? 0 : log->starts[log->start_count - 1].epoch;
}

void model_start_add(struct log *log, uint64_t epoch, uint64_t lsn)
{
    if (epoch <= model_epoch_last(log))
        return;
    if (log->start_count == HG_EPOCH_STARTS_MAX)
        memmove(&log->starts[0], &log->starts[1], --log->start_count * sizeof(log->starts[0]));
    log->starts[log->start_count++] = (struct hg_epoch_start){.epoch = epoch, .lsn = lsn};
}

uint64_t model_lsn_end(const struct log *log)
{
    return log->count == 0 ? 0 : log->count + 1;
}

static void chain_of(const struct log *log, uint8_t chain[16])
{
    uint64_t words[2] = {0, 0};
    for (uint32_t i = 0; i < log->count; i++)
        words[0] = (words[0] ^ log->entries[i].epoch ^ (uint64_t)log->entries[i].value << 8) *
                   UINT64_C(0x9e3779b97f4a7c15);
    memcpy(chain, words, 16);
}

static struct hg_tail_answer tail_of(const struct log *log, bool is_unknown)
{
    struct hg_tail_answer tail;
    memset(&tail, 0, sizeof(tail));
    tail.is_unknown = is_unknown;
    tail.lsn_end = model_lsn_end(log);
    chain_of(log, tail.chain);
    tail.epoch_count = log->start_count;
    memcpy(tail.epochs, log->starts, sizeof(log->starts));
    return tail;
}

bool model_is_flushed(const struct node *node)
{
    return memcmp(node->log, node->disk, sizeof(node->log)) == 0;
}

static void begun(struct world *world, uint32_t n, uint32_t s, uint64_t epoch)
{
    struct node *node = &world->nodes[n];
    if (world->begun_by[epoch][s] != 0 &&
        (world->begun_by[epoch][s] != n + 1 ||
         !model_is_prefix(&world->begun[epoch][s], world->begun[epoch][s].count, &node->log[s])))
        model_violate(world, "an epoch began at two tails");
    world->begun_by[epoch][s] = n + 1;
    world->begun[epoch][s] = node->log[s];
    if (!model_is_prefix(&world->acknowledged[s], world->acknowledged[s].count, &node->log[s]))
        model_violate(world, "an epoch begins without what was acknowledged");
}

void model_flush(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    if (node->group.epoch_begun !=
        node->group.epoch_started) /* whoever begins an epoch has chosen the tail */
        node->is_unknown = false;
    for (uint32_t s = 0; s < STREAMS; s++) {
        if (node->beginning[s] != 0)
            begun(world, n, s, node->beginning[s]);
        node->beginning[s] = 0;
    }
    memcpy(node->disk, node->log, sizeof(node->log));
    memcpy(node->committed_disk, node->committed, sizeof(node->committed));
    node->begun_disk = node->group.epoch_begun;
    node->released_disk = node->group.epoch_released;
    hg_group_begin_durable(&node->group);
}

void model_crash(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    uint32_t kept[STREAMS] = {0};
    model_sometimes.crashes++;
    node->life++;
    if (model_chance(world,
                     8)) { /* the last write of one stream is torn: acknowledged or not, it can't say */
        uint32_t s = model_draw(world, STREAMS);
        struct log *disk = &node->disk[s];
        if (disk->count > 0 && model_epoch_last(disk) == disk->entries[disk->count - 1].epoch &&
            disk->starts[disk->start_count - 1].lsn < disk->count) {
            memset(&disk->entries[--disk->count], 0, sizeof(disk->entries[0]));
            if (model_draw(world, 2) == 0)
                kept[s] = node->committed_disk[s];
            node->committed_disk[s] = (uint32_t)hg_min_u64(node->committed_disk[s], disk->count);
            node->is_unknown = true;
            node->retired = node->group.epoch_begun; /* it would write the same position of its epoch again */
        }
    }
    memcpy(node->log, node->disk, sizeof(node->log));
    memcpy(node->committed, node->committed_disk, sizeof(node->committed));
    memset(node->there, 0, sizeof(node->there));
    memset(node->seen, 0, sizeof(node->seen));
    memset(&node->copies, 0, sizeof(node->copies));
    memcpy(node->known, kept, sizeof(node->known));
    memset(node->beginning, 0, sizeof(node->beginning));
    memset(&node->driver, 0, sizeof(node->driver));
    hg_group_recovered(&node->group, node->group.epoch_promised, node->begun_disk > 1 ? node->begun_disk : 0,
                       node->released_disk);
}

void model_reply(struct world *world, uint32_t from, const struct message *to, enum type type)
{
    struct node *node = &world->nodes[from];
    struct message message = {.type = type,
                              .from = from,
                              .to = to->from,
                              .epoch = to->epoch,
                              .epoch_promised = hg_group_fence(&node->group)};
    for (uint32_t s = 0; s < STREAMS && type == ANSWER; s++) {
        uint64_t floor = hg_max_u64(node->committed[s], node->known[s]);
        message.answer = (struct hg_failover_answer){.node = from + 1,
                                                     .epoch = to->epoch,
                                                     .logs = 1,
                                                     .streams = STREAMS,
                                                     .stream = s + 1,
                                                     .tail = tail_of(&node->disk[s], node->is_unknown)};
        message.answer.log_uuid[0] = (uint8_t)node->uuid;
        message.answer.tail.lsn_floor = floor == 0 ? 0 : floor + 1;
        model_sometimes.known_above += message.answer.tail.lsn_floor > message.answer.tail.lsn_end;
        model_send(world, &message);
    }
    if (type != ANSWER)
        model_send(world, &message);
}

void model_copy_ask(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint64_t newest = hg_max_u64(model_epoch_last(&node->log[0]), model_epoch_last(&node->log[1]));
    if (!hg_group_may_answer(&node->group, message->epoch)) {
        if (hg_group_seal(&node->group, message->epoch, newest) != HG_GROUP_OK) {
            model_sometimes.refused++;
            model_reply(world, n, message, REFUSED);
            return;
        }
        if (node->group.epoch_wanted < message->epoch)
            hg_group_promise(&node->group, message->epoch);
        if (!hg_group_may_answer(&node->group, message->epoch))
            return; /* asked again */
    }
    if (!model_is_flushed(node))
        return;
    node->answered = hg_max_u64(node->answered, message->epoch);
    model_reply(world, n, message, ANSWER);
}

static void epoch_adopt(struct node *node, uint32_t s, const struct message *message)
{
    struct log *log = &node->log[s];
    if (message->start == NOT_BEGUN || log->count < message->start || model_epoch_last(log) >= message->epoch)
        return;
    model_start_add(log, message->epoch, message->start == 0 ? 0 : message->start + 1);
    node->is_unknown = false;
    model_sometimes.adopted++;
}

/* As a writer's log comes: cut to the common point, taken, and adopted once all below its start is here. */
static void log_take(struct world *world, uint32_t n, uint32_t s, const struct message *message)
{
    struct node *node = &world->nodes[n];
    struct log *log = &node->log[s];
    struct hg_tail_answer here = tail_of(log, false), there = tail_of(&message->log, false);
    struct hg_epoch_start common;
    for (uint32_t i = 0; i < HG_EPOCH_STARTS_MAX; i++) { /* on an empty stream one begins at its first LSN */
        here.epochs[i].lsn = hg_max_u64(here.epochs[i].lsn, 1);
        there.epochs[i].lsn = hg_max_u64(there.epochs[i].lsn, 1);
    }
    /* Where both know who began the stream, they have its beginning in common. */
    struct hg_epoch_copy ours = {here.epochs, here.epoch_count, 1, here.lsn_end},
                         theirs = {there.epochs, there.epoch_count, 1, there.lsn_end};
    if (message->type == FILL && hg_epoch_is_later(&ours, &theirs))
        return; /* by who fills */
    if (!hg_epoch_common(&ours, &theirs, &common)) {
        if (here.epochs[0].lsn > 1 || there.epochs[0].lsn > 1)
            return;
        common = (struct hg_epoch_start){0};
    }
    uint32_t keep = common.lsn <= 1 ? 0 : (uint32_t)common.lsn - 1;
    if (keep < message->oldest) {
        model_sometimes.gaps++;
        return;
    }
    if (keep < log->count) {
        enum hg_group_reason reason =
            hg_group_truncate(&node->group, message->epoch, keep, node->committed[s]);
        if (reason == HG_GROUP_truncate_floor)
            model_violate(world, "something committed was to be cut off");
        if (reason != HG_GROUP_OK)
            return;
        memset(&log->entries[keep], 0, (log->count - keep) * sizeof(log->entries[0]));
        log->count = keep;
        model_sometimes.cut++;
    }
    while (model_epoch_last(log) > common.epoch) /* also one that nothing was written under */
        memset(&log->starts[--log->start_count], 0, sizeof(log->starts[0]));
    for (uint32_t i = log->count; i < message->log.count && i < message->count; i++) {
        epoch_adopt(node, s, message);
        log->entries[i] = message->log.entries[i];
        model_start_add(log, log->entries[i].epoch, i + 1);
        log->count = i + 1;
    }
    epoch_adopt(node, s, message);
}

void model_copy_log(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint32_t s = message->stream;
    bool is_fill = message->type == FILL;
    /* What comes late must not move a tail that an epoch began at. */
    if (is_fill && model_epoch_last(&node->log[s]) >= message->epoch)
        return;
    if (node->group.epoch_begun >= message->epoch ||
        (is_fill && node->group.epoch_promised != message->epoch))
        return;
    if (message->epoch < hg_group_fence(&node->group) || message->epoch < model_epoch_last(&node->log[s])) {
        model_reply(world, n, message, REFUSED);
        return;
    }
    if (message->epoch > 1 && node->group.epoch_promised < message->epoch) {
        if (node->group.epoch_wanted < message->epoch)
            hg_group_promise(&node->group, message->epoch);
        return;
    }
    log_take(world, n, s, message);
    if (is_fill)
        return;
    node->known[s] = (uint32_t)hg_max_u64(node->known[s], message->answer.epoch);
    if (node->log[s].count >= message->start)
        node->committed[s] = (uint32_t)hg_max_u64(
            node->committed[s], hg_min_u64(message->log.count, node->log[s].count) < message->answer.epoch
                                    ? 0
                                    : message->answer.epoch);
    if (memcmp(&node->log[s], &node->disk[s], sizeof(node->log[s])) != 0 ||
        (message->epoch > 1 && model_epoch_last(&node->disk[s]) != message->epoch))
        return;
    struct message ack = {.type = ACK,
                          .from = n,
                          .to = message->from,
                          .epoch = message->epoch,
                          .stream = s,
                          .count = node->disk[s].count,
                          .uuid = node->uuid};
    model_send(world, &ack);
}

void model_copy_fill_ask(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint32_t s = message->stream;
    if (hg_group_read(&node->group, message->epoch) != HG_GROUP_OK || !model_is_flushed(node))
        return;
    struct message fill = {.type = FILL,
                           .from = n,
                           .to = message->from,
                           .epoch = message->epoch,
                           .stream = s,
                           .start = NOT_BEGUN,
                           .count = model_draw(world, node->disk[s].count + 1),
                           .log = node->disk[s]};
    if (model_draw(world, 2) == 0)
        fill.count = node->disk[s].count;
    fill.oldest = n == world->forgets ? node->disk[s].count : 0;
    model_sometimes.filled++;
    model_send(world, &fill);
}
