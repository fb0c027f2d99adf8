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
#include "tests/unit/controlplane/failover_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void deliver(struct world *world)
{
    if (world->message_count == 0)
        return;
    uint32_t i = model_draw(world, world->message_count);
    struct message message = world->messages[i];
    struct node *node = &world->nodes[message.to];
    if (model_draw(world, 10) > 0 || world->is_healed)
        world->messages[i] = world->messages[--world->message_count];
    if (message.life != node->life)
        return;
    switch (message.type) {
    case ASK:
        model_copy_ask(world, message.to, &message);
        break;
    case FILL_ASK:
        model_copy_fill_ask(world, message.to, &message);
        break;
    case FILL:
    case LOG:
        model_copy_log(world, message.to, &message);
        break;
    case BEGIN:
        model_copy_begin(world, message.to, &message);
        break;
    case RELEASE:
        model_copy_release(world, message.to, &message);
        break;
    case ACK:
        model_writer_hear(node, &message);
        break;
    default:
        model_driver_hear(world, message.to, &message);
    }
}

static void step(struct world *world)
{
    uint32_t n = model_draw(world, NODES), what = model_draw(world, 200);
    struct node *node = &world->nodes[n];
    world->now_ns += STEP_NS / 4;
    if (what < 120)
        deliver(world);
    else if (what < 145)
        model_driver_step(world, n);
    else if (what < 165)
        model_writer_step(world, n);
    else if (what < 182)
        model_flush(world, n);
    else if (what < 196)
        hg_group_promise_durable(&node->group, node->group.epoch_wanted);
    else if (what < 197 && model_chance(world, 2))
        model_crash(world, n);
    else if (what < 197)
        model_writer_names(world, n);
    else if (what < 198 && model_chance(world, 2))
        model_driver_start(world, n); /* by an order, or because its process was started again */
    else if (what < 199 && model_chance(world, 2))
        memset(&node->driver, 0, sizeof(node->driver));
    else if (what == 199 && model_chance(world, 4))
        model_wipe(world, n);
    else if (what == 199)
        model_writer_names(world, n);
    for (n = 0; n < NODES; n++)
        if (hg_group_fence(&world->nodes[n].group) < world->nodes[n].answered)
            model_violate(world, "a promise that was answered is gone");
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
                model_epoch_last(&world->nodes[m].disk[stream->stream - 1]) ==
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
    model_driver_start(world, 0);
    for (uint32_t i = 0; i < 8 * STEPS && world->violation == NULL && driver->step != HG_FAILOVER_DONE; i++)
        step(world);
    if (driver->step != HG_FAILOVER_DONE && driver->blocked[0] == '\0' && driver->epoch < EPOCHS_MAX - 1)
        model_violate(world, "the last fail-over neither ends nor says why");
    if (driver->step == HG_FAILOVER_FILL && is_overlooked(world, driver))
        model_violate(world, "a copy that has the tail was never asked for it");
    model_sometimes.done += driver->step == HG_FAILOVER_DONE;
}

/* The group's first writer has met all others, before anything else happens. */
static void first_names(struct world *world)
{
    struct hg_metastore_record first = {.epoch = HG_EPOCH_FIRST, .node = 1, .state = HG_METASTORE_OPEN},
                               found;
    for (uint32_t n = 0; n < NODES; n++) {
        uint64_t log = model_id_of(world->nodes[n].uuid);
        hg_assert(hg_copies_put(&first.copies, n + 1, &log, 1));
    }
    hg_assert(world->store->swap(world->store, &model_key, 0, &first, &found) == 0);
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
    world.forgets = 1 + model_draw(&world, 2 * NODES); /* not the node of the last order */
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
    } rows[] = {{"fail-overs done", model_sometimes.done},
                {"lost to another node", model_sometimes.lost},
                {"drivers started again", model_sometimes.resumed},
                {"acknowledgements", model_sometimes.acknowledged},
                {"fills", model_sometimes.filled},
                {"cuts", model_sometimes.cut},
                {"adoptions", model_sometimes.adopted},
                {"blocked by name", model_sometimes.blocked},
                {"beginnings in one stream only", model_sometimes.partial},
                {"refusals", model_sometimes.refused},
                {"crashes", model_sometimes.crashes},
                {"disks replaced", model_sometimes.wiped},
                {"logs named", model_sometimes.counted},
                {"fills from a log that forgot", model_sometimes.gaps},
                {"sources passed over", model_sometimes.passed},
                {"answers that know of more than they have", model_sometimes.known_above},
                {"answers of the metastore lost", model_sometimes.store_failed}};
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
    const char *says = NULL;
    bool find = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--find") == 0)
            find = true;
        else if (strcmp(argv[i], "--says") == 0 && i + 1 < argc)
            says = argv[++i];
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
        if (violation == NULL || (find && says != NULL && strcmp(violation, says) != 0))
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
