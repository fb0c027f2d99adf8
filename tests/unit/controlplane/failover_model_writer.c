/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/controlplane/failover_model.h"

#include <string.h>

void model_copy_begin(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    uint64_t epoch = message->epoch, newest = 0;
    for (uint32_t s = 0; s < STREAMS; s++) {
        newest = hg_max_u64(newest,
                            model_epoch_last(&node->log[s]) == epoch ? 0 : model_epoch_last(&node->log[s]));
    }
    enum hg_group_reason reason = hg_group_open(&node->group, epoch, newest);
    if (reason != HG_GROUP_OK) {
        model_reply(world, n, message, REFUSED);
        return;
    }
    if (node->group.epoch_begun == epoch)
        return;
    if (!model_is_flushed(node))
        return;
    for (uint32_t s = 0; s < STREAMS; s++) {
        if (model_epoch_last(&node->log[s]) != epoch) {
            model_start_add(&node->log[s], epoch, model_lsn_end(&node->log[s]));
            node->beginning[s] = epoch;
        }
        if (model_chance(world, 6)) { /* the log takes no more records now, or its process dies */
            model_sometimes.partial++;
            if (model_draw(world, 2) == 0)
                model_flush(world, n);
            return;
        }
    }
    hg_group_begin(&node->group, epoch, 1);
    memset(node->there, 0, sizeof(node->there));
    memset(node->seen, 0, sizeof(node->seen));
}

void model_copy_release(struct world *world, uint32_t n, const struct message *message)
{
    struct node *node = &world->nodes[n];
    if (hg_group_release(&node->group, message->epoch) != HG_GROUP_OK) {
        model_reply(world, n, message, REFUSED);
        return;
    }
    if (world->opened_by[message->epoch] != n + 1)
        model_violate(world, "producers are let in before the metastore says that the epoch is open");
    if (node->group.epoch_started != message->epoch)
        return;
    hg_group_released(&node->group, 1);
    if (node->group.epoch_open == message->epoch)
        model_reply(world, n, message, RELEASED);
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
        model_violate(world, "two writers of one epoch");
    world->acknowledged_by[epoch] = n + 1;
    for (uint64_t newer = epoch + 1; newer < EPOCHS_MAX; newer++)
        if (world->begun_by[newer][s] != 0 && !model_is_prefix(&node->log[s], count, &world->begun[newer][s]))
            model_violate(world, "acknowledged above a tail that an epoch began at");
    node->committed[s] = count;
    struct log *all = &world->acknowledged[s];
    if (!model_is_prefix(all, (uint32_t)hg_min_u64(count, all->count), &node->log[s]))
        model_violate(world, "two histories were acknowledged");
    if (count <= all->count)
        return;
    *all = node->log[s];
    all->count = count;
    model_sometimes.acknowledged++;
}

uint64_t model_id_of(uint32_t uuid)
{
    uint8_t bytes[16] = {(uint8_t)uuid, (uint8_t)(uuid >> 8)};
    return hg_copies_id(bytes);
}

static bool counts(const struct node *node, uint32_t m, uint32_t uuid)
{
    return node->copies.count != 0 && hg_copies_counts(&node->copies, m + 1, model_id_of(uuid));
}

/* What a member says of its log, which may be another one than before. */
void model_writer_hear(struct node *node, const struct message *message)
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
void model_writer_names(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found, wanted;
    struct hg_copies_seen seen = {.own = {.node = n + 1, .log_count = 1, .logs = {model_id_of(node->uuid)}}};
    if (world->store->read(world->store, &model_key, &found) != 0)
        return;
    node->copies = found.copies;
    wanted = found;
    for (uint32_t m = 0; m < NODES; m++) {
        bool caught_up = node->seen[m] != 0;
        for (uint32_t s = 0; s < STREAMS; s++)
            caught_up = caught_up && node->there[s][m] >= node->settle[s];
        if (m != n)
            seen.nodes[seen.count++] = (struct hg_copies_seen_node){
                .node = m + 1, .caught_up = caught_up, .log_count = 1, .logs = {model_id_of(node->seen[m])}};
    }
    if (found.state != HG_METASTORE_OPEN || found.node != n + 1 || found.epoch != node->group.epoch_started ||
        !hg_copies_next(&found.copies, &seen, &wanted.copies) ||
        world->store->swap(world->store, &model_key, found.revision, &wanted, &found) != 0)
        return;
    node->copies = found.copies;
    model_sometimes.counted++;
}

void model_writer_step(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    uint64_t epoch = node->group.epoch_begun;
    bool is_writer = (epoch > 1 || n == 0) && node->group.epoch_started == epoch &&
                     epoch == hg_group_fence(&node->group) && epoch != node->retired;
    for (uint32_t s = 0; s < STREAMS && is_writer; s++) {
        struct log *log = &node->log[s];
        if (model_epoch_last(log) > epoch)
            return; /* somebody else's epoch is here already */
        if (hg_group_append(&node->group) == HG_GROUP_OK && !world->is_healed && log->count < ENTRIES_MAX &&
            model_draw(world, 3) == 0) {
            model_start_add(log, epoch, log->count + 1);
            log->entries[log->count++] = (struct entry){.epoch = (uint32_t)epoch, .value = ++world->value};
        }
        if (!model_is_flushed(node))
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
            if (model_chance(world, 4)) /* the rest comes later */
                message.count = model_draw(world, message.count + 1);
            if (m != n && model_draw(world, 2) == 0)
                model_send(world, &message);
        }
    }
}
