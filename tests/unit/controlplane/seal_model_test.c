/* SPDX-License-Identifier: Apache-2.0
 *
 * seal_model_test [--runs N] [--find [--says TEXT]]: the fail-over as a whole, in a model of three copies
 * (two acknowledge) and two writers that depose each other over four epochs. The decisions are the real ones:
 * dataplane/group for what a copy takes, controlplane/tail for the tail, the metastore's compare-and-swap for
 * who writes. Around them: messages that are lost, doubled and reordered, copies that lose what is not
 * flushed, and sometimes the last thing that was (they know that they may have), ranges that can't be read,
 * writers that die and come back.
 *
 * Checked after every step: an epoch has one writer; what was acknowledged is in every tail chosen after it,
 * and nothing is acknowledged that a chosen tail lacks; a copy that answered a seal never takes less; nothing
 * committed is ever cut off. With --find a violation is what is wanted, and its run is told: the same source
 * with one rule broken is built for each seeded bug.
 */
#include "controlplane/metastore.h"
#include "controlplane/tail.h"
#include "dataplane/group/epoch.h"
#include "drivers/platform/random.h"
#include "tests/unit/sanitized.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPIES       3u
#define W            2u
#define SEALS        (COPIES - W + 1)
#define WRITERS      2u
#define EPOCH_LAST   5u /* of the epochs that are sealed for: 2 to 5 */
#define LOG_MAX      20u
#define MESSAGES_MAX 64u
#define STEPS        1000u

struct entry {
    uint64_t epoch;
    uint32_t value; /* 0 = the beginning of an epoch */
    bool corrupt;
};

struct log {
    uint32_t count;
    struct entry entries[LOG_MAX];
};

struct copy {
    struct hg_group group;
    struct log log;  /* in memory */
    struct log disk; /* flushed */
    bool is_unknown; /* on the device: it may have lost something at its end */
    bool is_whole;   /* in memory: in this life it got all that its writer has */
    uint32_t life;   /* counts its starts: no message of a session outlives one */
    uint32_t committed;
    uint32_t committed_disk; /* never ahead of the log that it is about */
    uint64_t writer;         /* epoch of who wrote last */
    uint64_t answered;       /* newest seal that it answered: what the checks hold it to */
};

enum state { IDLE, SEALING, SYNCING, WRITING };

struct writer {
    enum state state;
    uint64_t epoch;
    uint32_t asked;  /* bit = copy: to seal; all of them after a while */
    uint32_t sealed; /* bit = copy */
    struct hg_tail_answer answers[COPIES];
    struct log read[COPIES];
    bool has_answer[COPIES];
    struct log log;
    uint32_t start; /* entries up to and including the beginning of its epoch */
    uint32_t there[COPIES];
    uint32_t committed;
};

enum type { SEAL, SEALED, READ, TAIL, LOG, ACK, REFUSED };

struct message {
    enum type type;
    uint32_t writer, copy;
    uint64_t epoch;
    uint32_t life;  /* of the copy that it is for, or from */
    uint32_t count; /* LOG: committed; ACK: entries flushed */
    struct hg_tail_answer answer;
    struct log log;
};

struct world {
    struct hg_random random;
    struct hg_metastore *store;
    struct copy copies[COPIES];
    struct writer writers[WRITERS];
    struct message messages[MESSAGES_MAX];
    uint32_t message_count;
    uint32_t slow[WRITERS]; /* copy that gets its log late; COPIES = none */
    uint32_t value;
    struct log acknowledged; /* the longest row of entries that anybody was told is kept */
    struct log acknowledged_under[EPOCH_LAST + 2];
    uint64_t acknowledged_by[EPOCH_LAST + 2]; /* writer + 1 */
    struct log chosen[EPOCH_LAST + 2];
    bool is_chosen[EPOCH_LAST + 2];
    const char *violation;
};

static struct {
    uint64_t chosen, undecided_unknown, undecided_corrupt, undecided_few, acknowledged, deposed, truncated,
        repaired, opened, crashes;
} sometimes;

static uint32_t draw(struct world *world, uint32_t below)
{
    return (uint32_t)hg_random_below(&world->random, below);
}

static void violate(struct world *world, const char *what)
{
    if (world->violation == NULL)
        world->violation = what;
}

static void send(struct world *world, const struct message *message)
{
    if (world->message_count == MESSAGES_MAX)
        return; /* lost */
    world->messages[world->message_count] = *message;
    world->messages[world->message_count++].life = world->copies[message->copy].life;
}

static bool same(const struct entry *a, const struct entry *b)
{
    return a->epoch == b->epoch && a->value == b->value;
}

static uint64_t epoch_last(const struct log *log)
{
    return log->count == 0 ? 0 : log->entries[log->count - 1].epoch;
}

/* ---- what was acknowledged against what was chosen ---- */

static bool is_prefix(const struct log *prefix, uint32_t count, const struct log *log)
{
    for (uint32_t i = 0; i < count; i++)
        if (i >= log->count || !same(&prefix->entries[i], &log->entries[i]))
            return false;
    return true;
}

static void acknowledge(struct world *world, uint32_t w, uint32_t count)
{
    struct writer *writer = &world->writers[w];
    if (world->acknowledged_by[writer->epoch] != 0 && world->acknowledged_by[writer->epoch] != w + 1)
        violate(world, "two writers of one epoch");
    world->acknowledged_by[writer->epoch] = w + 1;
    for (uint64_t epoch = writer->epoch + 1; epoch <= EPOCH_LAST; epoch++)
        if (world->is_chosen[epoch] && !is_prefix(&writer->log, count, &world->chosen[epoch]))
            violate(world, "acknowledged above a tail that was chosen");
    world->acknowledged_under[writer->epoch] = writer->log;
    world->acknowledged_under[writer->epoch].count = count;
    if (count <= world->acknowledged.count) {
        if (!is_prefix(&writer->log, count, &world->acknowledged))
            violate(world, "two histories were acknowledged");
        return;
    }
    if (!is_prefix(&world->acknowledged, world->acknowledged.count, &writer->log))
        violate(world, "two histories were acknowledged");
    world->acknowledged = writer->log;
    world->acknowledged.count = count;
    sometimes.acknowledged++;
}

/* ---- copies ---- */

static void copy_crash(struct world *world, struct copy *copy)
{
    sometimes.crashes++;
    copy->life++;
    copy->is_whole = false;
    copy->writer = 0; /* the session is over: what it has is nobody's until a writer has compared it */
    copy->log = copy->disk;
    copy->committed = copy->committed_disk;
    if (copy->disk.count > 0 &&
        draw(world, 6) == 0) { /* its last write is torn: acknowledged or not, it can't say */
        copy->disk.count--;
        copy->log = copy->disk;
        copy->is_unknown = true;
        copy->committed = copy->committed_disk = (uint32_t)hg_min_u64(copy->committed, copy->log.count);
    }
    hg_group_recovered(&copy->group, copy->group.epoch_promised, 0, 0);
}

/* No entry becomes unreadable everywhere: that is beyond what copies can repair. */
static void copy_rot(struct world *world, uint32_t c)
{
    struct copy *copy = &world->copies[c];
    if (copy->disk.count == 0)
        return;
    uint32_t i = draw(world, copy->disk.count);
    for (uint32_t other = 0; other < COPIES; other++) {
        const struct log *disk = &world->copies[other].disk;
        if (other != c && i < disk->count && same(&disk->entries[i], &copy->disk.entries[i]) &&
            !disk->entries[i].corrupt) {
            copy->disk.entries[i].corrupt = true;
            if (i < copy->log.count)
                copy->log.entries[i].corrupt = true;
            return;
        }
    }
}

static struct hg_tail_answer answer_of(const struct copy *copy, uint32_t c)
{
    struct hg_tail_answer answer;
    memset(&answer, 0, sizeof(answer));
    answer.copy = c + 1;
    answer.is_member = true;
    answer.is_unknown = copy->is_unknown;
    answer.lsn_end = copy->disk.count + 1;
    answer.lsn_floor = copy->committed == 0 ? 0 : copy->committed + 1;
    for (uint32_t i = 0; i < copy->disk.count; i++) {
        const struct entry *entry = &copy->disk.entries[i];
        if (i == 0 || entry->epoch != copy->disk.entries[i - 1].epoch)
            answer.epochs[answer.epoch_count++] =
                (struct hg_epoch_start){.epoch = entry->epoch, .lsn = i + 1};
        if (entry->corrupt && answer.corrupt_count == HG_TAIL_CORRUPT_MAX) {
            answer.corrupt[HG_TAIL_CORRUPT_MAX - 1].lsn_end = i + 2;
        } else if (entry->corrupt) {
            answer.corrupt[answer.corrupt_count].lsn_first = i + 1;
            answer.corrupt[answer.corrupt_count++].lsn_end = i + 2;
        }
        uint64_t chain = (entry->value * UINT64_C(0x9e3779b97f4a7c15)) ^ entry->epoch;
        memcpy(answer.chain, &chain, sizeof(chain));
    }
    return answer;
}

static bool is_flushed(const struct copy *copy)
{
    return copy->log.count == copy->disk.count && is_prefix(&copy->log, copy->log.count, &copy->disk);
}

static void reply(struct world *world, const struct message *to, enum type type)
{
    struct message message = {.type = type, .writer = to->writer, .copy = to->copy, .epoch = to->epoch};
    struct copy *copy = &world->copies[to->copy];
    if (type == TAIL) {
        message.answer = answer_of(copy, to->copy);
        message.log = copy->disk;
    }
    send(world, &message);
}

static void copy_seal(struct world *world, const struct message *message)
{
    struct copy *copy = &world->copies[message->copy];
    if (hg_group_seal(&copy->group, message->epoch, epoch_last(&copy->log)) != HG_GROUP_OK) {
        reply(world, message, REFUSED);
        return;
    }
    if (copy->group.epoch_wanted < message->epoch)
        hg_group_promise(&copy->group, message->epoch);
    /* Asked again until it is on the device. */
    if (!hg_group_may_answer(&copy->group, message->epoch) || !is_flushed(copy))
        return;
    copy->answered = hg_max_u64(copy->answered, message->epoch);
    reply(world, message, SEALED);
}

static void copy_log(struct world *world, const struct message *message)
{
    struct copy *copy = &world->copies[message->copy];
    const struct log *log = &message->log;
    uint32_t common = 0;
    if (hg_group_replicate(&copy->group, message->epoch, epoch_last(&copy->log), epoch_last(log)) !=
        HG_GROUP_OK) {
        reply(world, message, REFUSED);
        return;
    }
    /* Who takes a writer has promised its epoch: else what a torn write loses would let an older one in
     * again. */
    if (!hg_group_may_answer(&copy->group, message->epoch)) {
        if (copy->group.epoch_wanted < message->epoch)
            hg_group_promise(&copy->group, message->epoch);
        return;
    }
    while (common < log->count && common < copy->log.count &&
           same(&log->entries[common], &copy->log.entries[common]))
        common++;
    if (common < copy->log.count && common < log->count) {
        enum hg_group_reason reason =
            hg_group_truncate(&copy->group, message->epoch, common, copy->committed);
        if (reason == HG_GROUP_truncate_floor)
            violate(world, "something committed was to be cut off");
        if (reason != HG_GROUP_OK) /* a copy that promised nothing is not cut: seal it first */
            return;
        copy->log.count = common;
        sometimes.truncated++;
    }
    for (uint32_t i = 0; i < log->count; i++)
        if (i >= copy->log.count || copy->log.entries[i].corrupt) { /* new, or whole again */
            copy->log.entries[i] = log->entries[i];
            copy->log.count = (uint32_t)hg_max_u64(copy->log.count, i + 1);
        }
    copy->is_whole = true;
    copy->writer = message->epoch;
    copy->committed = (uint32_t)hg_max_u64(copy->committed, hg_min_u64(message->count, copy->log.count));
}

static void copy_flush(struct world *world, uint32_t c)
{
    struct copy *copy = &world->copies[c];
    for (uint32_t i = 0; i < copy->log.count; i++) /* rot of the disk is not undone by what was read before */
        copy->log.entries[i].corrupt = copy->log.entries[i].corrupt && i < copy->disk.count;
    copy->disk = copy->log;
    copy->committed_disk = copy->committed;
    copy->is_unknown = copy->is_unknown && !copy->is_whole;
    for (uint32_t w = 0; w < WRITERS; w++) {
        if (world->writers[w].epoch != copy->writer || copy->writer == 0)
            continue;
        struct message ack = {
            .type = ACK, .writer = w, .copy = c, .epoch = copy->writer, .count = copy->disk.count};
        send(world, &ack);
    }
}

/* ---- writers ---- */

static const struct hg_metastore_key key = {.cluster = 1, .region = 1, .group = 1};

static void writer_begin(struct world *world, uint32_t w)
{
    struct writer *writer = &world->writers[w];
    struct hg_metastore_record found;
    char text[HG_METASTORE_TEXT_BYTES];
    memset(writer, 0, sizeof(*writer));
    (void)world->store->read(world->store, &key, &found);
    uint64_t epoch = hg_max_u64(found.epoch, HG_EPOCH_FIRST) + 1;
    if (epoch > EPOCH_LAST || hg_metastore_seal(world->store, &key, epoch, w + 1, text) != 0)
        return;
    (void)world->store->read(world->store, &key, &found);
    if (found.node != w + 1)
        return; /* an epoch is driven by who took it */
    writer->epoch = epoch;
    writer->asked = 7u & ~(1u << draw(world, COPIES));
    writer->state = SEALING;
}

static void writer_log_send(struct world *world, uint32_t w)
{
    struct writer *writer = &world->writers[w];
    for (uint32_t c = 0; c < COPIES; c++) {
        struct message message = {.type = LOG,
                                  .writer = w,
                                  .copy = c,
                                  .epoch = writer->epoch,
                                  .count = writer->committed,
                                  .log = writer->log};
        send(world, &message);
    }
}

static void writer_choose(struct world *world, uint32_t w)
{
    struct writer *writer = &world->writers[w];
    struct hg_tail_answer answers[COPIES];
    uint32_t from[COPIES], count = 0;
    struct hg_tail tail;
    for (uint32_t c = 0; c < COPIES; c++)
        if (writer->has_answer[c]) {
            from[count] = c;
            answers[count++] = writer->answers[c];
        }
    enum hg_tail_verdict verdict = hg_tail_choose(COPIES, W, answers, count, &tail);
    sometimes.undecided_few += verdict == HG_TAIL_FEW;
    sometimes.undecided_unknown += verdict == HG_TAIL_UNKNOWN;
    sometimes.undecided_corrupt += verdict == HG_TAIL_CORRUPT;
    if (verdict == HG_TAIL_DIVERGED)
        violate(world, "two histories with one end");
    if (verdict == HG_TAIL_FLOOR)
        violate(world, "a tail lacks what a copy knows to be committed");
    if (verdict != HG_TAIL_CHOSEN)
        return;
    writer->log = writer->read[from[tail.winner]];
    for (uint32_t i = 0; i < writer->log.count; i++) /* from any other that has the same there */
        for (uint32_t k = 0; k < count && writer->log.entries[i].corrupt; k++) {
            const struct entry *other = &writer->read[from[k]].entries[i];
            if (i < writer->read[from[k]].count && same(other, &writer->log.entries[i]) && !other->corrupt) {
                writer->log.entries[i] = *other;
                sometimes.repaired++;
            }
        }
    for (uint32_t i = 0; i < writer->log.count; i++)
        if (writer->log.entries[i].corrupt)
            violate(world, "a tail was chosen that nobody can read");
    if (writer->log.count + 1 >= LOG_MAX)
        return;
    sometimes.chosen++;
    world->chosen[writer->epoch] = writer->log;
    world->is_chosen[writer->epoch] = true;
    for (uint64_t epoch = 0; epoch < writer->epoch;
         epoch++) /* one that was deposed meanwhile decides nothing */
        if (!is_prefix(&world->acknowledged_under[epoch], world->acknowledged_under[epoch].count,
                       &writer->log))
            violate(world, "a chosen tail lacks what was acknowledged");
    writer->log.entries[writer->log.count++] = (struct entry){.epoch = writer->epoch};
    writer->start = writer->log.count;
    writer->state = SYNCING;
}

/* What w copies have of its own epoch, with everything before it. */
static void writer_commit(struct world *world, uint32_t w)
{
    struct writer *writer = &world->writers[w];
    char text[HG_METASTORE_TEXT_BYTES];
    uint32_t most = writer->committed;
    for (uint32_t end = writer->log.count; end > most && end >= writer->start; end--) {
        uint32_t copies = 0;
        for (uint32_t c = 0; c < COPIES; c++)
            copies += writer->there[c] >= end;
        if (copies >= W)
            most = end;
    }
    if (most < writer->start || most == writer->committed)
        return;
    if (writer->state == SYNCING) {
        if (hg_metastore_begin(world->store, &key, writer->epoch, w + 1, text) != 0) {
            writer->state = IDLE;
            return;
        }
        writer->state = WRITING;
        sometimes.opened++;
    }
    writer->committed = most;
    acknowledge(world, w, most);
}

static void writer_step(struct world *world, uint32_t w)
{
    struct writer *writer = &world->writers[w];
    switch (writer->state) {
    case IDLE:
        /* Epochs are few: another one is deposed when it has got somewhere. */
        if (draw(world, world->writers[1 - w].state == IDLE ? 4 : 25) == 0)
            writer_begin(world, w);
        break;
    case SEALING: { /* reads begin when enough promised, wherever they go: each of them must be fenced itself
                     */
        bool enough = (uint32_t)__builtin_popcount(writer->sealed) >= SEALS;
        if (draw(world, 20) == 0)
            writer->asked = 7;
        for (uint32_t c = 0; c < COPIES; c++) {
            struct message message = {
                .type = enough ? READ : SEAL, .writer = w, .copy = c, .epoch = writer->epoch};
            if (draw(world, 3) > 0 && (message.type == READ || (writer->asked & 1u << c) != 0))
                send(world, &message);
        }
        if (enough)
            writer_choose(world, w);
        break;
    }
    case WRITING:
        if (writer->log.count < LOG_MAX && draw(world, 2) == 0)
            writer->log.entries[writer->log.count++] =
                (struct entry){.epoch = writer->epoch, .value = ++world->value};
        writer_log_send(world, w);
        break;
    case SYNCING:
        if (draw(world, 2) == 0)
            writer_log_send(world, w);
        for (uint32_t c = 0; c < COPIES; c++) {
            struct message message = {.type = SEAL, .writer = w, .copy = c, .epoch = writer->epoch};
            if (draw(world, 3) == 0)
                send(world, &message);
        }
        break;
    }
}

static void writer_receive(struct world *world, const struct message *message)
{
    struct writer *writer = &world->writers[message->writer];
    if (writer->epoch != message->epoch || writer->state == IDLE)
        return;
    switch (message->type) {
    case SEALED:
        writer->sealed |= 1u << message->copy;
        break;
    case TAIL:
        if (writer->state != SEALING)
            break;
        writer->answers[message->copy] = message->answer;
        writer->read[message->copy] = message->log;
        writer->has_answer[message->copy] = true;
        break;
    case ACK:
        writer->there[message->copy] = (uint32_t)hg_max_u64(writer->there[message->copy], message->count);
        if (writer->state == SYNCING || writer->state == WRITING)
            writer_commit(world, message->writer);
        break;
    default: /* refused: somebody has a newer epoch */
        sometimes.deposed++;
        if (draw(world, 10) == 0)
            writer->state = IDLE;
    }
}

/* ---- the world ---- */

static void deliver(struct world *world)
{
    if (world->message_count == 0)
        return;
    uint32_t i = draw(world, world->message_count);
    struct message message = world->messages[i];
    if (message.type == LOG && message.copy == world->slow[message.writer] && draw(world, 12) > 0)
        return;
    if (draw(world, 10) > 0) /* else it comes again */
        world->messages[i] = world->messages[--world->message_count];
    if (draw(world, 8) == 0 || message.life != world->copies[message.copy].life)
        return; /* lost, or of a session that is over */
    switch (message.type) {
    case SEAL:
        copy_seal(world, &message);
        break;
    case READ:
        if (hg_group_read(&world->copies[message.copy].group, message.epoch) == HG_GROUP_OK &&
            is_flushed(&world->copies[message.copy]))
            reply(world, &message, TAIL);
        break;
    case LOG:
        copy_log(world, &message);
        break;
    default:
        writer_receive(world, &message);
    }
}

static void step(struct world *world)
{
    uint32_t c = draw(world, COPIES), what = draw(world, 200);
    struct copy *copy = &world->copies[c];
    if (what < 130)
        deliver(world);
    else if (what < 155)
        writer_step(world, draw(world, WRITERS));
    else if (what < 175)
        copy_flush(world, c);
    else if (what < 194)
        hg_group_promise_durable(&copy->group, copy->group.epoch_wanted);
    else if (what < 196)
        copy_crash(world, copy);
    else if (what < 197)
        copy_rot(world, c);
    else if (what < 198)
        world->writers[draw(world, WRITERS)].state = IDLE; /* it dies, and knows nothing when it is back */
    for (c = 0; c < COPIES; c++)
        if (hg_group_fence(&world->copies[c].group) < world->copies[c].answered)
            violate(world, "a promise that was answered is gone");
}

/* Returns what was violated, or NULL. */
static const char *run(uint64_t seed, uint32_t *steps)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    hg_random_init(&world.random, seed);
    world.store = hg_metastore_memory_open();
    for (uint32_t w = 0; w < WRITERS; w++)
        world.slow[w] = draw(&world, COPIES + 1);
    for (uint32_t c = 0; c < COPIES; c++)
        hg_group_init(&world.copies[c].group);
    for (*steps = 0; *steps < STEPS && world.violation == NULL; (*steps)++)
        step(&world);
    world.store->close(world.store);
    return world.violation;
}

static int report(uint64_t runs)
{
    printf(
        "%llu runs of %u steps: %llu tails chosen, %llu epochs opened, %llu acknowledgements, %llu refusals, "
        "%llu truncations, %llu repairs, %llu crashes; undecided: %llu few, %llu unknown, %llu corrupt\n",
        (unsigned long long)runs, STEPS, (unsigned long long)sometimes.chosen,
        (unsigned long long)sometimes.opened, (unsigned long long)sometimes.acknowledged,
        (unsigned long long)sometimes.deposed, (unsigned long long)sometimes.truncated,
        (unsigned long long)sometimes.repaired, (unsigned long long)sometimes.crashes,
        (unsigned long long)sometimes.undecided_few, (unsigned long long)sometimes.undecided_unknown,
        (unsigned long long)sometimes.undecided_corrupt);
    bool all = sometimes.chosen && sometimes.opened && sometimes.acknowledged && sometimes.deposed &&
               sometimes.truncated && sometimes.repaired && sometimes.crashes && sometimes.undecided_few &&
               sometimes.undecided_unknown && sometimes.undecided_corrupt;
    if (!all)
        printf("one of these never happened: the model is too tame\n");
    return all ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t runs = HG_TEST_SEEDS(20000);
    const char *says = NULL;
    bool find = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--find") == 0)
            find = true;
        else if (strcmp(argv[i], "--says") == 0 && i + 1 < argc)
            says = argv[++i];
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            runs = strtoull(argv[++i], NULL, 10);
        else
            return 2;
    }
    for (uint64_t seed = 1; seed <= runs; seed++) {
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
