/* SPDX-License-Identifier: Apache-2.0
 *
 * failover_model_test [--runs N] [--find]: controlplane/failover.h on three nodes at once (two acknowledge),
 * with two streams, in a model of what dataplanes do with its orders: the promises and epochs are
 * dataplane/group's, the tails controlplane/tail's, the records a metastore's that sometimes fails with the
 * write done. Messages are lost, doubled and come late, those to a node's own log too; logs forget what was
 * not flushed; drivers die and are started again at every step, on any node, several at a time; epochs begin
 * in one stream before the other; a copy sends what it has in parts; a node loses its disk and comes back
 * with an empty log that has promised nothing, once at a time (the next one when the last one's new log
 * counts).
 *
 * Checked: what was acknowledged is in every log that an epoch begins in after it, and nothing is
 * acknowledged under an older epoch that such a log lacks; an epoch has one writer; nothing is written before
 * the metastore says open; no promise that was answered is undone; nothing committed is cut off. At the end
 * all faults cease: the last fail-over is done, or says what it waits for. With --find a violation is what is
 * wanted.
 */
#include "controlplane/copies.h"
#include "controlplane/failover.h"
#include "dataplane/group/epoch.h"
#include "drivers/ipc/epoch_fork.h"
#include "drivers/platform/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES        3u
#define W            2u
#define STREAMS      2u
#define ENTRIES_MAX  24u
#define MESSAGES_MAX 96u
#define EPOCHS_MAX   64u
#define STEPS        2500u
#define STEP_NS      (20 * HG_NS_PER_MS)
#define NOT_BEGUN    UINT32_MAX

static const struct hg_metastore_key key = {.cluster = 1, .region = 1, .group = 3};

struct entry {
    uint32_t epoch, value;
};

struct log { /* of one stream; entry i is at LSN i + 1 */
    uint32_t count;
    struct entry entries[ENTRIES_MAX];
    uint32_t start_count;
    struct hg_epoch_start starts[HG_EPOCH_STARTS_MAX];
};

struct node {
    struct hg_group group;
    uint64_t begun_disk, released_disk;
    struct log log[STREAMS], disk[STREAMS];
    uint32_t committed[STREAMS], committed_disk[STREAMS];
    bool is_unknown;
    uint32_t life, uuid;
    uint64_t answered, retired;
    uint64_t beginning[STREAMS];    /* epoch that begins there, not on the device yet */
    uint32_t there[STREAMS][NODES]; /* as a writer: what members said under its epoch */
    uint32_t seen[NODES];           /* whose log said so */
    uint32_t settle[STREAMS];       /* what a log that was made anew has to have before it counts */
    struct hg_copies copies;        /* that count, as last read; none after a start: nobody else's does */
    struct hg_failover driver;
};

enum type { ASK, ANSWER, REFUSED, FILL_ASK, FILL, BEGIN, RELEASE, RELEASED, LOG, ACK };

struct message {
    enum type type;
    uint32_t from, to, life; /* of who gets it */
    uint64_t epoch, epoch_promised;
    uint32_t stream, count, start, uuid;
    uint32_t oldest; /* FILL: what is before it is forgotten */
    struct log log;
    struct hg_failover_answer answer;
};

struct world {
    struct hg_random random;
    struct hg_metastore *store;
    uint64_t now_ns;
    bool is_healed;
    uint32_t asked[STREAMS]; /* once healed: nodes that were asked to fill a copy, by bits */
    uint32_t forgets;        /* node whose log let go of its oldest: it can't fill who lacks that */
    struct node nodes[NODES];
    struct message messages[MESSAGES_MAX];
    uint32_t message_count, value;
    struct log acknowledged[STREAMS];
    uint64_t acknowledged_by[EPOCHS_MAX];
    struct log begun[EPOCHS_MAX][STREAMS];
    uint64_t begun_by[EPOCHS_MAX][STREAMS];
    uint64_t opened_by[EPOCHS_MAX];
    uint32_t stood[EPOCHS_MAX][STREAMS]; /* nodes, by bits, that stood there and lost their disk since */
    uint32_t uuids;
    const char *violation;
};

static struct {
    uint64_t done, lost, resumed, acknowledged, filled, cut, adopted, blocked, refused, crashes, store_failed,
        partial, wiped, counted, gaps, passed;
} sometimes;

static uint32_t draw(struct world *world, uint32_t below)
{
    return (uint32_t)hg_random_below(&world->random, below);
}

static bool chance(struct world *world, uint32_t one_in) /* of a fault */
{
    return !world->is_healed && draw(world, one_in) == 0;
}

static void violate(struct world *world, const char *what)
{
    if (world->violation == NULL)
        world->violation = what;
}

static void send(struct world *world, const struct message *message)
{
    if (world->message_count == MESSAGES_MAX || chance(world, 10))
        return;
    world->messages[world->message_count] = *message;
    world->messages[world->message_count++].life = world->nodes[message->to].life;
}

static bool same(const struct entry *a, const struct entry *b)
{
    return a->epoch == b->epoch && a->value == b->value;
}

static bool is_prefix(const struct log *prefix, uint32_t count, const struct log *log)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= log->count || !same(&prefix->entries[i], &log->entries[i]))
            return false;
    return true;
}

static uint64_t epoch_last(const struct log *log)
{
    return log->start_count == 0 ? 0 : log->starts[log->start_count - 1].epoch;
}

static void start_add(struct log *log, uint64_t epoch, uint64_t lsn)
{
    if (epoch <= epoch_last(log))
        return;
    if (log->start_count == HG_EPOCH_STARTS_MAX)
        memmove(&log->starts[0], &log->starts[1], --log->start_count * sizeof(log->starts[0]));
    log->starts[log->start_count++] = (struct hg_epoch_start){.epoch = epoch, .lsn = lsn};
}

static uint64_t lsn_end(const struct log *log)
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
    tail.lsn_end = lsn_end(log);
    chain_of(log, tail.chain);
    tail.epoch_count = log->start_count;
    memcpy(tail.epochs, log->starts, sizeof(log->starts));
    return tail;
}

/* ---- logs ---- */

static bool is_flushed(const struct node *node)
{
    return memcmp(node->log, node->disk, sizeof(node->log)) == 0;
}

static void begun(struct world *world, uint32_t n, uint32_t s, uint64_t epoch)
{
    struct node *node = &world->nodes[n];
    if (world->begun_by[epoch][s] != 0 &&
        (world->begun_by[epoch][s] != n + 1 ||
         !is_prefix(&world->begun[epoch][s], world->begun[epoch][s].count, &node->log[s])))
        violate(world, "an epoch began at two tails");
    world->begun_by[epoch][s] = n + 1;
    world->begun[epoch][s] = node->log[s];
    if (!is_prefix(&world->acknowledged[s], world->acknowledged[s].count, &node->log[s]))
        violate(world, "an epoch begins without what was acknowledged");
}

static void flush(struct world *world, uint32_t n)
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

static void crash(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    sometimes.crashes++;
    node->life++;
    if (chance(world, 8)) { /* the last write of one stream is torn: acknowledged or not, it can't say */
        uint32_t s = draw(world, STREAMS);
        struct log *disk = &node->disk[s];
        if (disk->count > 0 && epoch_last(disk) == disk->entries[disk->count - 1].epoch &&
            disk->starts[disk->start_count - 1].lsn < disk->count) {
            memset(&disk->entries[--disk->count], 0, sizeof(disk->entries[0]));
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
    memset(node->beginning, 0, sizeof(node->beginning));
    memset(&node->driver, 0, sizeof(node->driver));
    hg_group_recovered(&node->group, node->group.epoch_promised, node->begun_disk > 1 ? node->begun_disk : 0,
                       node->released_disk);
}

static void reply(struct world *world, uint32_t from, const struct message *to, enum type type)
{
    struct node *node = &world->nodes[from];
    struct message message = {.type = type,
                              .from = from,
                              .to = to->from,
                              .epoch = to->epoch,
                              .epoch_promised = hg_group_fence(&node->group)};
    for (uint32_t s = 0; s < STREAMS && type == ANSWER; s++) {
        message.answer = (struct hg_failover_answer){.node = from + 1,
                                                     .epoch = to->epoch,
                                                     .logs = 1,
                                                     .streams = STREAMS,
                                                     .stream = s + 1,
                                                     .tail = tail_of(&node->disk[s], node->is_unknown)};
        message.answer.log_uuid[0] = (uint8_t)node->uuid;
        send(world, &message);
    }
    if (type != ANSWER)
        send(world, &message);
}

static void copy_ask(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint64_t newest = hg_max_u64(epoch_last(&node->log[0]), epoch_last(&node->log[1]));
    if (!hg_group_may_answer(&node->group, message->epoch)) {
        if (hg_group_seal(&node->group, message->epoch, newest) != HG_GROUP_OK) {
            sometimes.refused++;
            reply(world, n, message, REFUSED);
            return;
        }
        if (node->group.epoch_wanted < message->epoch)
            hg_group_promise(&node->group, message->epoch);
        if (!hg_group_may_answer(&node->group, message->epoch))
            return; /* asked again */
    }
    if (!is_flushed(node))
        return;
    node->answered = hg_max_u64(node->answered, message->epoch);
    reply(world, n, message, ANSWER);
}

static void epoch_adopt(struct node *node, uint32_t s, const struct message *message)
{
    struct log *log = &node->log[s];
    if (message->start == NOT_BEGUN || log->count < message->start || epoch_last(log) >= message->epoch)
        return;
    start_add(log, message->epoch, message->start == 0 ? 0 : message->start + 1);
    node->is_unknown = false;
    sometimes.adopted++;
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
        sometimes.gaps++;
        return;
    }
    if (keep < log->count) {
        enum hg_group_reason reason =
            hg_group_truncate(&node->group, message->epoch, keep, node->committed[s]);
        if (reason == HG_GROUP_truncate_floor)
            violate(world, "something committed was to be cut off");
        if (reason != HG_GROUP_OK)
            return;
        memset(&log->entries[keep], 0, (log->count - keep) * sizeof(log->entries[0]));
        log->count = keep;
        sometimes.cut++;
    }
    while (epoch_last(log) > common.epoch) /* also one that nothing was written under */
        memset(&log->starts[--log->start_count], 0, sizeof(log->starts[0]));
    for (uint32_t i = log->count; i < message->log.count && i < message->count; i++) {
        epoch_adopt(node, s, message);
        log->entries[i] = message->log.entries[i];
        start_add(log, log->entries[i].epoch, i + 1);
        log->count = i + 1;
    }
    epoch_adopt(node, s, message);
}

static void copy_log(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint32_t s = message->stream;
    bool is_fill = message->type == FILL;
    /* What comes late must not move a tail that an epoch began at. */
    if (is_fill && epoch_last(&node->log[s]) >= message->epoch)
        return;
    if (node->group.epoch_begun >= message->epoch ||
        (is_fill && node->group.epoch_promised != message->epoch))
        return;
    if (message->epoch < hg_group_fence(&node->group) || message->epoch < epoch_last(&node->log[s])) {
        reply(world, n, message, REFUSED);
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
    if (node->log[s].count >= message->start)
        node->committed[s] = (uint32_t)hg_max_u64(
            node->committed[s], hg_min_u64(message->log.count, node->log[s].count) < message->answer.epoch
                                    ? 0
                                    : message->answer.epoch);
    if (memcmp(&node->log[s], &node->disk[s], sizeof(node->log[s])) != 0 ||
        (message->epoch > 1 && epoch_last(&node->disk[s]) != message->epoch))
        return;
    struct message ack = {.type = ACK,
                          .from = n,
                          .to = message->from,
                          .epoch = message->epoch,
                          .stream = s,
                          .count = node->disk[s].count,
                          .uuid = node->uuid};
    send(world, &ack);
}

static void copy_fill_ask(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint32_t s = message->stream;
    if (hg_group_read(&node->group, message->epoch) != HG_GROUP_OK || !is_flushed(node))
        return;
    struct message fill = {.type = FILL,
                           .from = n,
                           .to = message->from,
                           .epoch = message->epoch,
                           .stream = s,
                           .start = NOT_BEGUN,
                           .count = draw(world, node->disk[s].count + 1),
                           .log = node->disk[s]};
    if (draw(world, 2) == 0)
        fill.count = node->disk[s].count;
    fill.oldest = n == world->forgets ? node->disk[s].count : 0;
    sometimes.filled++;
    send(world, &fill);
}

/* ---- the writer ---- */

static void copy_begin(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint64_t epoch = message->epoch, newest = 0;
    for (uint32_t s = 0; s < STREAMS; s++) {
        newest = hg_max_u64(newest, epoch_last(&node->log[s]) == epoch ? 0 : epoch_last(&node->log[s]));
    }
    enum hg_group_reason reason = hg_group_open(&node->group, epoch, newest);
    if (reason != HG_GROUP_OK) {
        reply(world, n, message, REFUSED);
        return;
    }
    if (node->group.epoch_begun == epoch)
        return;
    if (!is_flushed(node))
        return;
    for (uint32_t s = 0; s < STREAMS; s++) {
        if (epoch_last(&node->log[s]) != epoch) {
            start_add(&node->log[s], epoch, lsn_end(&node->log[s]));
            node->beginning[s] = epoch;
        }
        if (chance(world, 6)) { /* the log takes no more records now, or its process dies */
            sometimes.partial++;
            if (draw(world, 2) == 0)
                flush(world, n);
            return;
        }
    }
    hg_group_begin(&node->group, epoch, 1);
    memset(node->there, 0, sizeof(node->there));
    memset(node->seen, 0, sizeof(node->seen));
}

static void copy_release(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    if (hg_group_release(&node->group, message->epoch) != HG_GROUP_OK) {
        reply(world, n, message, REFUSED);
        return;
    }
    if (world->opened_by[message->epoch] != n + 1)
        violate(world, "producers are let in before the metastore says that the epoch is open");
    if (node->group.epoch_started != message->epoch)
        return;
    hg_group_released(&node->group, 1);
    if (node->group.epoch_open == message->epoch)
        reply(world, n, message, RELEASED);
}

static uint32_t start_of(const struct log *log, uint64_t epoch)
{
    uint64_t lsn = epoch > 1 && log->start_count > 0 ? log->starts[log->start_count - 1].lsn : 0;
    return lsn == 0 ? 0 : (uint32_t)lsn - 1;
}

static void acknowledge(struct world *world, uint32_t n, uint32_t s, uint32_t count)
{
    struct node *node = &world->nodes[n];
    uint64_t epoch = node->group.epoch_begun;
    if (world->acknowledged_by[epoch] != 0 && world->acknowledged_by[epoch] != n + 1)
        violate(world, "two writers of one epoch");
    world->acknowledged_by[epoch] = n + 1;
    for (uint64_t newer = epoch + 1; newer < EPOCHS_MAX; newer++)
        if (world->begun_by[newer][s] != 0 && !is_prefix(&node->log[s], count, &world->begun[newer][s]))
            violate(world, "acknowledged above a tail that an epoch began at");
    node->committed[s] = count;
    struct log *all = &world->acknowledged[s];
    if (!is_prefix(all, (uint32_t)hg_min_u64(count, all->count), &node->log[s]))
        violate(world, "two histories were acknowledged");
    if (count <= all->count)
        return;
    *all = node->log[s];
    all->count = count;
    sometimes.acknowledged++;
}

static uint64_t id_of(uint32_t uuid)
{
    uint8_t bytes[16] = {(uint8_t)uuid, (uint8_t)(uuid >> 8)};
    return hg_copies_id(bytes);
}

static bool counts(const struct node *node, uint32_t m, uint32_t uuid)
{
    return node->copies.count != 0 && hg_copies_counts(&node->copies, m + 1, id_of(uuid));
}

/* What a member says of its log, which may be another one than before. */
static void writer_hear(struct node *node, const struct message *message)
{
    if (message->epoch != node->group.epoch_begun)
        return;
    if (node->seen[message->from] != message->uuid)
        for (uint32_t s = 0; s < STREAMS; s++) {
            node->there[s][message->from] = 0;
            node->settle[s] = node->disk[s].count;
        }
    node->seen[message->from] = message->uuid;
    node->there[message->stream][message->from] = message->count;
}

/* The control plane of the writer, or of who was it: reads who counts, and names the logs that caught up. */
static void writer_names(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found, wanted;
    struct hg_copies_seen seen = {.own = {.node = n + 1, .log_count = 1, .logs = {id_of(node->uuid)}}};
    if (world->store->read(world->store, &key, &found) != 0)
        return;
    node->copies = found.copies;
    wanted = found;
    for (uint32_t m = 0; m < NODES; m++) {
        bool caught_up = node->seen[m] != 0;
        for (uint32_t s = 0; s < STREAMS; s++)
            caught_up = caught_up && node->there[s][m] >= node->settle[s];
        if (m != n)
            seen.nodes[seen.count++] = (struct hg_copies_seen_node){
                .node = m + 1, .caught_up = caught_up, .log_count = 1, .logs = {id_of(node->seen[m])}};
    }
    if (found.state != HG_METASTORE_OPEN || found.node != n + 1 || found.epoch != node->group.epoch_started ||
        !hg_copies_next(&found.copies, &seen, &wanted.copies) ||
        world->store->swap(world->store, &key, found.revision, &wanted, &found) != 0)
        return;
    node->copies = found.copies;
    sometimes.counted++;
}

static void writer_step(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    uint64_t epoch = node->group.epoch_begun;
    bool is_writer = (epoch > 1 || n == 0) && node->group.epoch_started == epoch &&
                     epoch == hg_group_fence(&node->group) && epoch != node->retired;
    for (uint32_t s = 0; s < STREAMS && is_writer; s++) {
        struct log *log = &node->log[s];
        if (epoch_last(log) > epoch)
            return; /* somebody else's epoch is here already */
        if (hg_group_append(&node->group) == HG_GROUP_OK && !world->is_healed && log->count < ENTRIES_MAX &&
            draw(world, 3) == 0) {
            start_add(log, epoch, log->count + 1);
            log->entries[log->count++] = (struct entry){.epoch = (uint32_t)epoch, .value = ++world->value};
        }
        if (!is_flushed(node))
            continue;
        for (uint32_t end = log->count; end > node->committed[s] && end >= start_of(log, epoch); end--) {
            uint32_t copies = counts(node, n, node->uuid);
            for (uint32_t m = 0; m < NODES; m++)
                copies += m != n && node->there[s][m] >= end && counts(node, m, node->seen[m]);
            if (copies >= W) {
                acknowledge(world, n, s, end);
                break;
            }
        }
        for (uint32_t m = 0; m < NODES; m++) { /* only what is durable here leaves */
            struct message message = {.type = LOG,
                                      .from = n,
                                      .to = m,
                                      .epoch = epoch,
                                      .stream = s,
                                      .count = node->disk[s].count,
                                      .start = start_of(log, epoch),
                                      .log = node->disk[s]};
            message.answer.epoch = node->committed[s];
            if (m != n && draw(world, 2) == 0)
                send(world, &message);
        }
    }
}

/* ---- the driver's shell ---- */

static bool stands(const struct world *world, uint32_t m, uint32_t s, uint64_t epoch, uint32_t start)
{
    return epoch_last(&world->nodes[m].disk[s]) >= epoch && world->nodes[m].disk[s].count >= start;
}

/* A node's disk is replaced. One more than the quorum bears is not tried: the former one's log must have been
 * found to be gone and its place taken by one that has everything. */
static void wipe(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found;
    (void)world->store->read(world->store, &key, &found);
    for (uint32_t m = 0; m < NODES; m++) {
        uint64_t log = id_of(world->nodes[m].uuid);
        if (!hg_copies_are_there(&found.copies, m + 1, &log, 1) || world->nodes[m].is_unknown)
            return;
    }
    for (uint64_t epoch = 0; epoch < EPOCHS_MAX; epoch++)
        for (uint32_t s = 0; s < STREAMS; s++)
            if (stands(world, n, s, epoch, world->begun[epoch][s].count))
                world->stood[epoch][s] |= 1u << n;
    uint32_t life = node->life + 1;
    memset(node, 0, sizeof(*node));
    hg_group_init(&node->group);
    node->begun_disk = node->released_disk = HG_EPOCH_FIRST;
    node->retired = HG_EPOCH_FIRST;
    node->life = life;
    node->uuid = ++world->uuids;
    sometimes.wiped++;
}

static void opened(struct world *world, uint32_t n, uint64_t epoch)
{
    world->opened_by[epoch] = n + 1;
    for (uint32_t s = 0; s < STREAMS; s++) {
        uint32_t start = world->begun[epoch][s].count, there = 0;
        for (uint32_t m = 0; m < NODES; m++)
            there += stands(world, m, s, epoch, start) || (world->stood[epoch][s] >> m & 1) != 0;
        if (start != 0 && there < W)
            violate(world, "an epoch is opened before enough copies stand at its beginning");
    }
}

static void driver_store(struct world *world, uint32_t n, const struct hg_failover_action *action)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found = {0};
    int rc;
    if (action->what == HG_FAILOVER_DO_READ)
        rc = world->store->read(world->store, &key, &found);
    else
        rc = world->store->swap(world->store, &key, action->revision, &action->wanted, &found);
    if (rc == 0 && action->what == HG_FAILOVER_DO_SWAP && action->wanted.state == HG_METASTORE_OPEN)
        opened(world, n, action->wanted.epoch);
    if (chance(world, 12)) { /* done, and nobody is told */
        sometimes.store_failed++;
        rc = -5;
    }
    hg_failover_record(&node->driver, rc, &found, world->now_ns);
}

static void driver_step(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_failover_action action;
    enum hg_failover_step before = node->driver.step;
    uint32_t passed = node->driver.streams[0].passed | node->driver.streams[1].passed;
    if (!hg_failover_is_under_way(&node->driver))
        return;
    for (uint32_t i = 0; draw(world, 6) > 0 && hg_failover_next(&node->driver, world->now_ns, &action); i++) {
        struct message message = {.from = n, .to = n, .epoch = action.epoch};
        switch (action.what) {
        case HG_FAILOVER_DO_READ:
        case HG_FAILOVER_DO_SWAP:
            driver_store(world, n, &action);
            continue;
        case HG_FAILOVER_DO_ASK:
            message.type = ASK;
            message.to = (uint32_t)action.node - 1;
            break;
        case HG_FAILOVER_DO_FILL:
            message.type = FILL_ASK;
            world->asked[action.stream - 1] |= world->is_healed ? 1u << (action.node - 1) : 0;
            message.to = (uint32_t)action.node - 1;
            message.stream = (uint32_t)action.stream - 1;
            break;
        case HG_FAILOVER_DO_BEGIN:
            message.type = BEGIN;
            break;
        case HG_FAILOVER_DO_RELEASE:
            message.type = RELEASE;
            break;
        default:
            sometimes.blocked += strcmp(action.name, "recovery_blocked") == 0;
            continue;
        }
        send(world, &message);
    }
    if (node->driver.epoch >= EPOCHS_MAX - 1)
        node->driver.step = HG_FAILOVER_IDLE;
    sometimes.passed += passed == 0 && (node->driver.streams[0].passed | node->driver.streams[1].passed) != 0;
    sometimes.lost += before != HG_FAILOVER_LOST && node->driver.step == HG_FAILOVER_LOST;
}

static void driver_start(struct world *world, uint32_t n)
{
    struct hg_failover_config config = {
        .key = key, .node = n + 1, .n = NODES, .w = W, .member_count = NODES, .members = {1, 2, 3}};
    sometimes.resumed += world->nodes[n].driver.epoch != 0;
    hg_failover_start(&world->nodes[n].driver, &config, world->now_ns);
}

static void driver_hear(struct world *world, uint32_t n, const struct message *message)
{
    struct hg_failover *driver = &world->nodes[n].driver;
    switch (message->type) {
    case ANSWER:
        hg_failover_answer(driver, &message->answer, world->now_ns);
        break;
    case REFUSED:
        hg_failover_refused(driver, message->from + 1, message->epoch, message->epoch_promised,
                            world->now_ns);
        break;
    default:
        hg_failover_released(driver, message->epoch, world->now_ns);
        sometimes.done += driver->step == HG_FAILOVER_DONE;
    }
}

/* ---- the world ---- */

static void deliver(struct world *world)
{
    if (world->message_count == 0)
        return;
    uint32_t i = draw(world, world->message_count);
    struct message message = world->messages[i];
    struct node *node = &world->nodes[message.to];
    if (draw(world, 10) > 0 || world->is_healed)
        world->messages[i] = world->messages[--world->message_count];
    if (message.life != node->life)
        return;
    switch (message.type) {
    case ASK:
        copy_ask(world, message.to, &message);
        break;
    case FILL_ASK:
        copy_fill_ask(world, message.to, &message);
        break;
    case FILL:
    case LOG:
        copy_log(world, message.to, &message);
        break;
    case BEGIN:
        copy_begin(world, message.to, &message);
        break;
    case RELEASE:
        copy_release(world, message.to, &message);
        break;
    case ACK:
        writer_hear(node, &message);
        break;
    default:
        driver_hear(world, message.to, &message);
    }
}

static void step(struct world *world)
{
    uint32_t n = draw(world, NODES), what = draw(world, 200);
    struct node *node = &world->nodes[n];
    world->now_ns += STEP_NS / 4;
    if (what < 120)
        deliver(world);
    else if (what < 145)
        driver_step(world, n);
    else if (what < 165)
        writer_step(world, n);
    else if (what < 182)
        flush(world, n);
    else if (what < 196)
        hg_group_promise_durable(&node->group, node->group.epoch_wanted);
    else if (what < 197 && chance(world, 2))
        crash(world, n);
    else if (what < 197)
        writer_names(world, n);
    else if (what < 198 && chance(world, 2))
        driver_start(world, n); /* by an order, or because its process was started again */
    else if (what < 199 && chance(world, 2))
        memset(&node->driver, 0, sizeof(node->driver));
    else if (what == 199 && chance(world, 4))
        wipe(world, n);
    else if (what == 199)
        writer_names(world, n);
    for (n = 0; n < NODES; n++)
        if (hg_group_fence(&world->nodes[n].group) < world->nodes[n].answered)
            violate(world, "a promise that was answered is gone");
}

/* A copy that has a stream's tail and forgot nothing was never asked for it. */
static bool is_overlooked(const struct world *world, const struct hg_failover *driver)
{
    for (uint32_t s = 0; s < driver->stream_count; s++) {
        const struct hg_failover_stream *stream = &driver->streams[s];
        const struct hg_tail_answer *tail = &stream->copies[stream->winner].tail,
                                    *own = &stream->copies[driver->config.node - 1].tail;
        for (uint32_t m = 0; m < NODES && memcmp(own->chain, tail->chain, sizeof(tail->chain)) != 0; m++)
            if (m + 1 != driver->config.node && m != world->forgets && stream->copies[m].has &&
                memcmp(stream->copies[m].tail.chain, tail->chain, sizeof(tail->chain)) == 0 &&
                epoch_last(&world->nodes[m].disk[stream->stream - 1]) ==
                    tail->epochs[tail->epoch_count - 1].epoch &&
                (world->asked[stream->stream - 1] >> m & 1) == 0)
                return true;
    }
    return false;
}

/* All faults cease: the last order ends well, or names what it waits for. */
static void heal(struct world *world)
{
    struct hg_failover *driver = &world->nodes[0].driver;
    world->is_healed = true;
    for (uint32_t n = 0; n < NODES; n++)
        memset(&world->nodes[n].driver, 0, sizeof(world->nodes[n].driver));
    driver_start(world, 0);
    for (uint32_t i = 0; i < 8 * STEPS && world->violation == NULL && driver->step != HG_FAILOVER_DONE; i++)
        step(world);
    if (driver->step != HG_FAILOVER_DONE && driver->blocked[0] == '\0' && driver->epoch < EPOCHS_MAX - 1)
        violate(world, "the last fail-over neither ends nor says why");
    if (driver->step == HG_FAILOVER_FILL && is_overlooked(world, driver))
        violate(world, "a copy that has the tail was never asked for it");
    sometimes.done += driver->step == HG_FAILOVER_DONE;
}

/* The group's first writer has met all others, before anything else happens. */
static void first_names(struct world *world)
{
    struct hg_metastore_record first = {.epoch = HG_EPOCH_FIRST, .node = 1, .state = HG_METASTORE_OPEN},
                               found;
    for (uint32_t n = 0; n < NODES; n++) {
        uint64_t log = id_of(world->nodes[n].uuid);
        hg_assert(hg_copies_put(&first.copies, n + 1, &log, 1));
    }
    hg_assert(world->store->swap(world->store, &key, 0, &first, &found) == 0);
}

static const char *run(uint64_t seed, uint32_t *steps)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    hg_random_init(&world.random, seed);
    world.store = hg_metastore_memory_open();
    for (uint32_t n = 0; n < NODES; n++) {
        hg_group_init(&world.nodes[n].group);
        world.nodes[n].begun_disk = world.nodes[n].released_disk = HG_EPOCH_FIRST;
        world.nodes[n].uuid = ++world.uuids;
    }
    world.forgets = 1 + draw(&world, 2 * NODES); /* not the node of the last order */
    first_names(&world);
    for (*steps = 0; *steps < STEPS && world.violation == NULL; (*steps)++)
        step(&world);
    if (world.violation == NULL)
        heal(&world);
    world.store->close(world.store);
    return world.violation;
}

static int report(uint64_t runs)
{
    const struct {
        const char *name;
        uint64_t count;
    } rows[] = {{"fail-overs done", sometimes.done},
                {"lost to another node", sometimes.lost},
                {"drivers started again", sometimes.resumed},
                {"acknowledgements", sometimes.acknowledged},
                {"fills", sometimes.filled},
                {"cuts", sometimes.cut},
                {"adoptions", sometimes.adopted},
                {"blocked by name", sometimes.blocked},
                {"beginnings in one stream only", sometimes.partial},
                {"refusals", sometimes.refused},
                {"crashes", sometimes.crashes},
                {"disks replaced", sometimes.wiped},
                {"logs named", sometimes.counted},
                {"fills from a log that forgot", sometimes.gaps},
                {"sources passed over", sometimes.passed},
                {"answers of the metastore lost", sometimes.store_failed}};
    bool all = true;
    printf("%llu runs of %u steps:", (unsigned long long)runs, STEPS);
    for (uint32_t i = 0; i < HG_COUNT(rows); i++) {
        printf("%s %llu %s", i == 0 ? "" : ",", (unsigned long long)rows[i].count, rows[i].name);
        all = all && rows[i].count != 0;
    }
    printf("\n%s", all ? "" : "one of these never happened: the model is too tame\n");
    return all ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t runs = 1000, first = 1;
    bool find = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--find") == 0)
            find = true;
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            runs = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && i + 1 < argc)
            first = strtoull(argv[++i], NULL, 10);
        else
            return 2;
    }
    for (uint64_t seed = first; seed < first + runs; seed++) {
        uint32_t steps;
        const char *violation = run(seed, &steps);
        if (violation == NULL)
            continue;
        printf("run %llu, step %u: %s\n", (unsigned long long)seed, steps, violation);
        return find ? 0 : 1;
    }
    if (find) {
        printf("nothing found in %llu runs\n", (unsigned long long)runs);
        return 1;
    }
    return report(runs);
}
