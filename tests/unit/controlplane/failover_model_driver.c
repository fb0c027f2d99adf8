/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/controlplane/failover_model.h"

#include <string.h>

static bool stands(const struct world *world, uint32_t m, uint32_t s, uint64_t epoch, uint32_t start)
{
    return model_epoch_last(&world->nodes[m].disk[s]) >= epoch && world->nodes[m].disk[s].count >= start;
}

/* A node's disk is replaced. One more than the quorum bears is not tried: the former one's log must have been
 * found to be gone and its place taken by one that has everything. */
void model_wipe(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found;
    (void)world->store->read(world->store, &model_key, &found);
    for (uint32_t m = 0; m < NODES; m++) {
        uint64_t log = model_id_of(world->nodes[m].uuid);
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
    model_sometimes.wiped++;
}

static void opened(struct world *world, uint32_t n, uint64_t epoch)
{
    world->opened_by[epoch] = n + 1;
    for (uint32_t s = 0; s < STREAMS; s++) {
        uint32_t start = world->begun[epoch][s].count, there = 0;
        for (uint32_t m = 0; m < NODES; m++)
            there += stands(world, m, s, epoch, start) || (world->stood[epoch][s] >> m & 1) != 0;
        if (start != 0 && there < W)
            model_violate(world, "an epoch is opened before enough copies stand at its beginning");
    }
}

static void driver_store(struct world *world, uint32_t n, const struct hg_failover_action *action)
{
    struct node *node = &world->nodes[n];
    struct hg_metastore_record found = {0};
    int rc;
    if (action->what == HG_FAILOVER_DO_READ)
        rc = world->store->read(world->store, &model_key, &found);
    else
        rc = world->store->swap(world->store, &model_key, action->revision, &action->wanted, &found);
    if (rc == 0 && action->what == HG_FAILOVER_DO_SWAP && action->wanted.state == HG_METASTORE_OPEN)
        opened(world, n, action->wanted.epoch);
    if (model_chance(world, 12)) { /* done, and nobody is told */
        model_sometimes.store_failed++;
        rc = -5;
    }
    hg_failover_record(&node->driver, rc, &found, world->now_ns);
}

void model_driver_step(struct world *world, uint32_t n)
{
    struct node *node = &world->nodes[n];
    struct hg_failover_action action;
    enum hg_failover_step before = node->driver.step;
    uint32_t passed = node->driver.streams[0].passed | node->driver.streams[1].passed;
    if (!hg_failover_is_under_way(&node->driver))
        return;
    for (uint32_t i = 0; model_draw(world, 6) > 0 && hg_failover_next(&node->driver, world->now_ns, &action);
         i++) {
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
            model_sometimes.blocked += strcmp(action.name, "recovery_blocked") == 0;
            continue;
        }
        model_send(world, &message);
    }
    for (uint32_t s = 0; s < node->driver.stream_count; s++)
        if (node->driver.step == HG_FAILOVER_SEAL && node->driver.streams[s].verdict == HG_TAIL_FLOOR)
            model_violate(world, "a tail lacks what a copy knows to be committed");
    if (node->driver.epoch >= EPOCHS_MAX - 1)
        node->driver.step = HG_FAILOVER_IDLE;
    model_sometimes.passed +=
        passed == 0 && (node->driver.streams[0].passed | node->driver.streams[1].passed) != 0;
    model_sometimes.lost += before != HG_FAILOVER_LOST && node->driver.step == HG_FAILOVER_LOST;
}

void model_driver_start(struct world *world, uint32_t n)
{
    struct hg_failover_config config = {.key = model_key, .node = n + 1, .n = NODES, .w = W};
    for (uint32_t m = 0; m < NODES; m++)
        config.members[config.member_count++] = m + 1;
    model_sometimes.resumed += world->nodes[n].driver.epoch != 0;
    hg_failover_start(&world->nodes[n].driver, &config, world->now_ns);
}

void model_driver_hear(struct world *world, uint32_t n, const struct message *message)
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
        model_sometimes.done += driver->step == HG_FAILOVER_DONE;
    }
}
