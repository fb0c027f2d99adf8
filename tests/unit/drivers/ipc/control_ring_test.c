/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring stopped after every access to shared memory: either side killed, restarted, interleaved,
 * for a ring of 4 cells and 3 messages. And hostile bytes in every field.
 */
#include "drivers/ipc/control_ring.h"
#include "tests/unit/sanitized.h"

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define CELLS     4
#define MESSAGES  3
#define STEPS_MAX 400

/* ---- two coroutines and a scheduler ---- */
struct task {
    ucontext_t context;
    void (*run)(void);
    bool alive; /* begun, neither done nor killed */
    uint32_t steps;
    uint8_t stack[64 << 10] __attribute__((aligned(16)));
};

static ucontext_t scheduler;
static struct task tasks[2];
static struct task *running;

static void task_entry(void)
{
    running->run();
    running->alive = false;
    swapcontext(&running->context, &scheduler);
}

void hg_control_ring_step(void)
{
    if (running == NULL)
        return;
    running->steps++;
    swapcontext(&running->context, &scheduler);
}

static void task_begin(int i, void (*run)(void))
{
    struct task *task = &tasks[i];

    getcontext(&task->context);
    task->context.uc_stack.ss_sp = task->stack;
    task->context.uc_stack.ss_size = sizeof(task->stack);
    task->context.uc_link = NULL;
    task->run = run;
    task->alive = true;
    task->steps = 0;
    makecontext(&task->context, task_entry, 0);
}

/* Runs up to `count` steps; true while there is more to run. */
static bool task_run(int i, uint32_t count)
{
    for (uint32_t n = 0; n < count && tasks[i].alive; n++) {
        running = &tasks[i];
        swapcontext(&scheduler, &tasks[i].context);
        running = NULL;
    }
    return tasks[i].alive;
}

/* ---- the model: what has taken effect ---- */
static void *memory;
static size_t memory_bytes;
static struct hg_control_config config;
static struct hg_control_status status;

struct model {
    uint32_t effects[MESSAGES + 1]; /* how often each intent took effect */
    uint64_t applied;               /* newest intent in effect: the receiver's idempotency */
    uint64_t intents_sent;          /* the sender knows that these were published */
    uint64_t seen_generation, seen_request;
    uint32_t torn, backwards, errors, deliveries;
};
static struct model model;

static void fill(struct hg_control_message *message, enum hg_control_type type, uint64_t intent)
{
    memset(message, 0, sizeof(*message));
    message->type = type;
    message->generation = intent;
    memset(message->name, 'a' + (int)intent, sizeof(message->name) - 1);
    memset(message->text, 'A' + (int)intent, sizeof(message->text) - 1);
}

static void effect(const struct hg_control_received *received, enum hg_control_type type)
{
    struct hg_control_message expected;
    uint64_t intent = received->message.generation;

    model.deliveries++;
    fill(&expected, type, intent);
    if (intent == 0 || intent > MESSAGES || memcmp(&expected, &received->message, sizeof(expected)) != 0) {
        model.torn++;
        return;
    }
    /* (generation, request) never goes back: redelivery gives the newest again. */
    if (received->generation < model.seen_generation ||
        (received->generation == model.seen_generation && received->request < model.seen_request))
        model.backwards++;
    if (received->generation == model.seen_generation && received->request == model.seen_request)
        return;
    model.seen_generation = received->generation;
    model.seen_request = received->request;
    if (intent <= model.applied) /* said again by a restarted sender */
        return;
    model.applied = intent;
    model.effects[intent]++;
}

static int ring_open(struct hg_control_ring *ring, enum hg_control_side side)
{
    int rc = hg_control_ring_open(ring, memory, memory_bytes, side);

    if (rc < 0)
        model.errors++;
    return rc;
}

/* A restarted control plane says everything again from the first intent it does not know to be in effect;
 * here from the first, which is the harder case. Its APPLYs of the ended generation may be dropped. */
static void control_sends(void)
{
    struct hg_control_ring ring;
    struct hg_control_message message;

    if (ring_open(&ring, HG_SIDE_CONTROL) < 0)
        return;
    for (uint64_t intent = 1; intent <= MESSAGES;) {
        fill(&message, HG_CONTROL_APPLY, intent);
        int rc = hg_control_ring_send(&ring, hg_control_ring_request(&ring), &message);

        if (rc == 0)
            intent++;
        else if (rc != -EAGAIN) {
            model.errors++;
            return;
        }
    }
}

static void dataplane_receives(void)
{
    struct hg_control_ring ring;
    struct hg_control_received received;

    if (ring_open(&ring, HG_SIDE_DATAPLANE) < 0)
        return;
    while (model.applied < MESSAGES) {
        int rc = hg_control_ring_receive(&ring, &received);

        if (rc < 0) {
            model.errors++;
            return;
        }
        if (rc == 1) {
            effect(&received, HG_CONTROL_APPLY);
            hg_control_ring_done(&ring);
        }
    }
}

/* Events: the sender never repeats what it knows to be published, so none may be lost; one may be said twice.
 */
static void dataplane_sends(void)
{
    struct hg_control_ring ring;
    struct hg_control_message message;

    if (ring_open(&ring, HG_SIDE_DATAPLANE) < 0)
        return;
    while (model.intents_sent < MESSAGES) {
        fill(&message, HG_CONTROL_EVENT, model.intents_sent + 1);
        int rc = hg_control_ring_send(&ring, hg_control_ring_request(&ring), &message);

        if (rc == 0)
            model.intents_sent++;
        else if (rc != -EAGAIN) {
            model.errors++;
            return;
        }
    }
}

static void control_receives(void)
{
    struct hg_control_ring ring;
    struct hg_control_received received;

    if (ring_open(&ring, HG_SIDE_CONTROL) < 0)
        return;
    while (model.applied < MESSAGES) {
        int rc = hg_control_ring_receive(&ring, &received);

        if (rc < 0) {
            model.errors++;
            return;
        }
        if (rc == 1) {
            effect(&received, HG_CONTROL_EVENT);
            hg_control_ring_done(&ring);
        }
    }
}

/* ---- schedules ---- */
enum kill { KILL_NONE, KILL_SENDER, KILL_RECEIVER, KILL_BOTH, KILL_COUNT };

static void region_reset(void)
{
    memset(memory, 0, memory_bytes);
    hg_control_region_format(memory, CELLS, 77);
    memset(&model, 0, sizeof(model));
}

static bool finish(void)
{
    for (uint32_t i = 0; i < STEPS_MAX; i++) {
        bool more = task_run(0, 1);

        more = task_run(1, 1) || more;
        if (!more)
            return true;
    }
    return false;
}

/* sender i steps, receiver j steps, sender k steps, then the kill, then both to their end. */
static bool schedule(void (*send)(void), void (*receive)(void), uint32_t i, uint32_t j, uint32_t k,
                     enum kill kill)
{
    region_reset();
    task_begin(0, send);
    task_begin(1, receive);
    task_run(0, i);
    task_run(1, j);
    task_run(0, k);
    if (kill == KILL_SENDER || kill == KILL_BOTH)
        task_begin(0, send);
    if (kill == KILL_RECEIVER || kill == KILL_BOTH)
        task_begin(1, receive);
    if (!finish() || model.errors != 0 || model.torn != 0 || model.backwards != 0)
        return false;
    for (uint32_t m = 1; m <= MESSAGES; m++) {
        if (model.effects[m] != 1)
            return false;
    }
    return true;
}

static uint32_t steps_of(void (*run)(void), void (*before)(void))
{
    region_reset();
    if (before != NULL) {
        task_begin(0, before);
        task_run(0, STEPS_MAX);
    }
    task_begin(1, run);
    task_run(1, STEPS_MAX);
    CU_ASSERT_FALSE(tasks[1].alive);
    return tasks[1].steps;
}

static void explore(void (*send)(void), void (*receive)(void))
{
    uint32_t send_steps = steps_of(send, NULL), receive_steps = steps_of(receive, send), runs = 0, bad = 0;
    static const uint32_t thirds[] = {0, 1, 2, 5, 11, 17};

    for (uint32_t i = 0; i <= send_steps; i++) {
        for (uint32_t j = i % HG_TEST_STEP(1); j <= receive_steps; j += HG_TEST_STEP(1)) {
            for (enum kill kill = 0; kill < KILL_COUNT; kill++) {
                for (size_t k = 0; k < ((i + j) % 4 == 0 ? HG_COUNT(thirds) : 1); k++, runs++) {
                    if (schedule(send, receive, i, j, thirds[k], kill))
                        continue;
                    if (bad++ == 0)
                        printf("\n  sender %u steps, receiver %u, sender %u, kill %d: effects %u %u %u, torn "
                               "%u, "
                               "backwards %u, errors %u\n",
                               i, j, thirds[k], (int)kill, model.effects[1], model.effects[2],
                               model.effects[3], model.torn, model.backwards, model.errors);
                }
            }
        }
    }
    CU_ASSERT_EQUAL(bad, 0);
    printf("(%u x %u steps, %u runs) ", send_steps, receive_steps, runs);
}

static void test_requests_survive_kills(void)
{
    explore(control_sends, dataplane_receives);
}

static void test_events_survive_kills(void)
{
    explore(dataplane_sends, control_receives);
}

/* ---- pages under kills ---- */
static void page_fill(uint64_t value)
{
    memset(&status, 0, sizeof(status));
    status.boot = value;
    status.turns = value;
    status.drop_count = HG_CONTROL_DROPS_MAX;
    status.drops[HG_CONTROL_DROPS_MAX - 1].count = value;
}

static uint64_t page_generations_seen[4], page_torn, page_value;

static void page_writer(void)
{
    struct hg_control_ring ring;

    if (ring_open(&ring, HG_SIDE_DATAPLANE) < 0)
        return;
    for (int i = 0; i < 2; i++) {
        page_fill(++page_value);
        if (hg_control_ring_status_write(&ring, &status) == 0)
            model.errors++;
    }
}

static struct hg_control_status page_seen;

static void page_reader(void)
{
    struct hg_control_ring ring;
    uint64_t generation = 0;

    if (ring_open(&ring, HG_SIDE_CONTROL) < 0)
        return;
    for (int i = 0; i < 2; i++) {
        int rc = hg_control_ring_status_read(&ring, &page_seen, &generation);

        if (rc == -EBADMSG)
            model.errors++;
        if (rc != 0)
            continue;
        page_generations_seen[0]++;
        if (page_seen.boot != page_seen.turns ||
            page_seen.drops[HG_CONTROL_DROPS_MAX - 1].count != page_seen.boot || page_seen.boot == 0)
            page_torn++;
    }
}

static void test_pages_survive_kills(void)
{
    uint32_t writer_steps, reads = 0, left_old = 0;
    static const uint32_t reader_steps[] = {0, 14, 18, 21, 100, 500, 850, 900};
    uint64_t generation;
    struct hg_control_ring ring;

    region_reset();
    page_value = 0;
    task_begin(0, page_writer);
    task_run(0, 1000000);
    writer_steps = tasks[0].steps;
    for (uint32_t i = 0; i <= writer_steps;
         i += i < 30 || i + 30 > writer_steps ? 1 : hg_min_u64(173, writer_steps - 30 - i + 1)) {
        for (size_t k = 0; k < HG_COUNT(reader_steps); k++) {
            uint32_t j = reader_steps[k];

            region_reset();
            page_value = 1; /* one page is there already: the reader may be in the middle of it */
            CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&ring, memory, memory_bytes, HG_SIDE_DATAPLANE), 0);
            page_fill(page_value);
            CU_ASSERT_EQUAL(hg_control_ring_status_write(&ring, &status), 1);
            task_begin(0, page_writer);
            task_begin(1, page_reader);
            task_run(1, j);
            task_run(0, i);      /* and there it dies */
            task_run(1, 100000); /* the reader never hangs and never sees half a page */
            CU_ASSERT_FALSE(tasks[1].alive);
            CU_ASSERT_EQUAL(model.errors, 0);
            reads++;
            CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&ring, memory, memory_bytes, HG_SIDE_DATAPLANE), 0);
            page_fill(1000);
            generation = hg_control_ring_status_write(&ring, &status);
            CU_ASSERT(generation > 0);
            CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&ring, memory, memory_bytes, HG_SIDE_CONTROL), 0);
            CU_ASSERT_EQUAL(hg_control_ring_status_read(&ring, &page_seen, &generation), 0);
            left_old += page_seen.boot != 1000;
        }
    }
    CU_ASSERT_EQUAL(left_old, 0);
    CU_ASSERT_EQUAL(page_torn, 0);
    CU_ASSERT_EQUAL(model.errors, 0);
    CU_ASSERT(page_generations_seen[0] > 0);
    printf("(%u steps, %u runs) ", writer_steps, reads);
}

/* ---- plain use ---- */
static struct hg_control_ring control, dataplane;

static void open_both(void)
{
    region_reset();
    CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&dataplane, memory, memory_bytes, HG_SIDE_DATAPLANE), 0);
    CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), 0);
}

static int send(struct hg_control_ring *ring, enum hg_control_type type, uint64_t intent)
{
    struct hg_control_message message;

    fill(&message, type, intent);
    return hg_control_ring_send(ring, hg_control_ring_request(ring), &message);
}

static void test_full_and_laps(void)
{
    struct hg_control_received received;
    uint64_t next = 1;

    open_both();
    for (uint64_t lap = 0; lap < 10; lap++) {
        for (uint64_t i = 0; i < CELLS; i++)
            CU_ASSERT_EQUAL(send(&control, HG_CONTROL_COMMAND, 1 + (lap * CELLS + i) % 20), 0);
        CU_ASSERT_EQUAL(send(&control, HG_CONTROL_COMMAND, 3), -EAGAIN);
        for (uint64_t i = 0; i < CELLS; i++, next++) {
            CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), 1);
            CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), 1); /* again, until done */
            CU_ASSERT_EQUAL(received.message.generation, 1 + (next - 1) % 20);
            hg_control_ring_done(&dataplane);
        }
        CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), 0);
    }
    CU_ASSERT_EQUAL(control.counters[HG_CONTROL_RING_refused_full], 10);
    CU_ASSERT_EQUAL(dataplane.counters[HG_CONTROL_RING_received], 10 * CELLS);
}

static void test_stale_requests_dropped_events_kept(void)
{
    struct hg_control_received received;

    open_both();
    CU_ASSERT_EQUAL(send(&control, HG_CONTROL_COMMAND, 1), 0);
    CU_ASSERT_EQUAL(send(&dataplane, HG_CONTROL_EVENT, 1), 0);
    CU_ASSERT_EQUAL(send(&dataplane, HG_CONTROL_RESULT, 2), 0);
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), 0);
    CU_ASSERT_EQUAL(control.generation, 2);
    CU_ASSERT_EQUAL(send(&control, HG_CONTROL_APPLY, 2), 0);
    CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), 1);
    CU_ASSERT_EQUAL(received.message.type, HG_CONTROL_APPLY);
    CU_ASSERT_EQUAL(received.generation, 2);
    CU_ASSERT_EQUAL(received.request >> 32, 2);
    CU_ASSERT_EQUAL(dataplane.counters[HG_CONTROL_RING_drop_stale], 1);
    CU_ASSERT_EQUAL(hg_control_ring_open(&dataplane, memory, memory_bytes, HG_SIDE_DATAPLANE), 0);
    CU_ASSERT_EQUAL(hg_control_ring_receive(&control, &received), 1);
    CU_ASSERT_EQUAL(received.message.type, HG_CONTROL_EVENT);
    hg_control_ring_done(&control);
    CU_ASSERT_EQUAL(hg_control_ring_receive(&control, &received), 0);
    CU_ASSERT_EQUAL(control.counters[HG_CONTROL_RING_drop_stale], 1);
}

static void test_pages(void)
{
    uint64_t generation = 0;

    open_both();
    CU_ASSERT_EQUAL(hg_control_ring_config_read(&dataplane, &config, &generation), -ENODATA);
    memset(&config, 0, sizeof(config));
    snprintf(config.node.name, sizeof(config.node.name), "a1");
    config.peer_count = 2;
    config.stream_count = 1;
    config.streams[0].peers_mask = 3;
    CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 1);
    config.streams[0].peers_mask = 2;
    CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 2);
    memset(&config, 0, sizeof(config));
    CU_ASSERT_EQUAL(hg_control_ring_config_read(&dataplane, &config, &generation), 0);
    CU_ASSERT_EQUAL(generation, 2);
    CU_ASSERT_STRING_EQUAL(config.node.name, "a1");
    CU_ASSERT_EQUAL(config.streams[0].peers_mask, 2);
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), 0);
    CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 3);
}

static void test_alive(void)
{
    open_both();
    CU_ASSERT(hg_control_ring_peer_alive(&control, 1000, 50));
    hg_control_ring_beat(&dataplane);
    CU_ASSERT(hg_control_ring_peer_alive(&control, 1051, 50));
    CU_ASSERT(hg_control_ring_peer_alive(&control, 1101, 50));
    CU_ASSERT_FALSE(hg_control_ring_peer_alive(&control, 1102, 50));
    hg_control_ring_beat(&dataplane);
    CU_ASSERT(hg_control_ring_peer_alive(&control, 1103, 50));
    CU_ASSERT_EQUAL(hg_control_ring_peer_generation(&control), 1);
}

/* ---- hostile bytes ---- */
/* The offsets below are the layout's contract with the other process. */
#define CONTROL_LINE   64
#define DATAPLANE_LINE 128
#define PAGES          512

static uint64_t *word_at(size_t offset)
{
    return (uint64_t *)(void *)((uint8_t *)memory + offset);
}

static size_t cells_offset(void)
{
    return memory_bytes - 2 * CELLS * 320;
}

/* Any one bit flipped in a published cell: poisoned under its own name, never delivered. */
static void test_hostile_cell(void)
{
    struct hg_control_received received;

    for (size_t bit = 0; bit < 280 * 8; bit += HG_TEST_STEP(bit < 64 * 8 ? 1 : 13)) {
        open_both();
        CU_ASSERT_EQUAL(send(&control, HG_CONTROL_APPLY, 1), 0);
        ((uint8_t *)memory)[cells_offset() + bit / 8] ^= (uint8_t)(1u << (bit % 8));
        CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received),
                        bit == 0 ? 0 : -EBADMSG); /* sequence 0 = not published */
        if (bit == 0)
            continue;
        CU_ASSERT(dataplane.poisoned && hg_control_ring_must_recreate(&control));
        CU_ASSERT_EQUAL(dataplane.counters[dataplane.poison], 1);
        CU_ASSERT_EQUAL(dataplane.poison,
                        bit < 64 ? HG_CONTROL_RING_poison_sequence : HG_CONTROL_RING_poison_crc);
        CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), -EBADMSG);
        CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), -EBADMSG);
    }
}

/* A peer that is wrong in itself: checksums right, contents not. */
static void test_hostile_message(void)
{
    struct hg_control_received received;
    uint64_t *cell;
    struct hg_control_message message;
    static const struct {
        uint32_t type;
        int rc;
    } types[] = {{0, -EBADMSG},
                 {HG_CONTROL_HELLO, 1},
                 {HG_CONTROL_RESULT, -EBADMSG},
                 {HG_CONTROL_EVENT, -EBADMSG},
                 {HG_CONTROL_COMMAND, 1},
                 {6, -EBADMSG},
                 {UINT32_MAX, -EBADMSG}};

    for (size_t i = 0; i < HG_COUNT(types); i++) {
        open_both();
        CU_ASSERT_EQUAL(send(&control, types[i].type, 1), 0);
        CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), types[i].rc);
        if (types[i].rc < 0)
            CU_ASSERT_EQUAL(dataplane.poison, HG_CONTROL_RING_poison_type);
    }
    /* Texts without an end, and a generation from the future: sealed by hand. */
    for (int what = 0; what < 3; what++) {
        open_both();
        CU_ASSERT_EQUAL(send(&control, HG_CONTROL_APPLY, 1), 0);
        cell = word_at(cells_offset());
        fill(&message, HG_CONTROL_APPLY, 1);
        if (what == 0)
            message.name[sizeof(message.name) - 1] = 'x';
        if (what == 1)
            message.text[sizeof(message.text) - 1] = 'x';
        memcpy(cell + 4, &message, sizeof(message));
        if (what == 2)
            cell[1] = 2;
        cell[3] = 0;
        cell[3] = hg_crc32c(0, cell, 280);
        CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), -EBADMSG);
        CU_ASSERT_EQUAL(dataplane.poison,
                        what == 2 ? HG_CONTROL_RING_poison_generation : HG_CONTROL_RING_poison_text);
    }
}

static void test_hostile_index(void)
{
    static const uint64_t heads[] = {2, 3, 5, UINT64_MAX, UINT64_MAX - 3, UINT64_C(1) << 63};

    for (size_t i = 0; i < HG_COUNT(heads); i++) {
        open_both();
        CU_ASSERT_EQUAL(send(&control, HG_CONTROL_APPLY, 1), 0);
        *word_at(DATAPLANE_LINE + 16) = heads[i];
        CU_ASSERT_EQUAL(send(&control, HG_CONTROL_APPLY, 2), -EBADMSG);
        CU_ASSERT_EQUAL(control.poison, HG_CONTROL_RING_poison_head);
    }
    open_both(); /* an index taken up at opening */
    *word_at(DATAPLANE_LINE + 16) = UINT64_MAX;
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), -EBADMSG);
    open_both();
    *word_at(CONTROL_LINE + 16) = UINT64_MAX;
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), -EBADMSG);
    open_both();
    *word_at(CONTROL_LINE) = UINT64_MAX - 1;
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL), -EBADMSG);
}

static void test_hostile_header(void)
{
    struct hg_control_received received;

    for (size_t word = 0; word < 5; word++) {
        open_both();
        *word_at(word * 8) ^= UINT64_C(1) << 40;
        if (word != 1) {
            CU_ASSERT_EQUAL(hg_control_ring_receive(&dataplane, &received), -EBADMSG);
            CU_ASSERT_EQUAL(dataplane.poison, HG_CONTROL_RING_poison_header);
        }
        CU_ASSERT(hg_control_ring_open(&control, memory, memory_bytes, HG_SIDE_CONTROL) < 0);
    }
    region_reset();
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, 100, HG_SIDE_CONTROL), -EPROTO);
    CU_ASSERT_EQUAL(hg_control_ring_open(&control, memory, memory_bytes - 64, HG_SIDE_CONTROL), -EBADMSG);
}

static void test_hostile_page(void)
{
    uint64_t generation = 9;
    static const size_t places[] = {
        8, 16, 24, 64, 64 + 40, 64 + 5000, 64 + sizeof(struct hg_control_config) - 8};

    for (size_t i = 0; i < HG_COUNT(places); i++) {
        open_both();
        memset(&config, 0, sizeof(config));
        CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 1);
        *word_at(PAGES + places[i]) ^= UINT64_C(1) << 33;
        CU_ASSERT_EQUAL(hg_control_ring_config_read(&dataplane, &config, &generation), -EBADMSG);
        CU_ASSERT_EQUAL(dataplane.poison, HG_CONTROL_RING_poison_page_crc);
        CU_ASSERT_EQUAL(generation, 9);
    }
    open_both(); /* odd for ever: its writer died */
    CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 1);
    *word_at(PAGES) += 1;
    CU_ASSERT_EQUAL(hg_control_ring_config_read(&dataplane, &config, &generation), -EAGAIN);
    CU_ASSERT(dataplane.counters[HG_CONTROL_RING_page_retry] > 0 && !dataplane.poisoned);
    /* Right checksum over a count out of bounds. */
    open_both();
    memset(&config, 0, sizeof(config));
    CU_ASSERT_EQUAL(hg_control_ring_config_write(&control, &config), 1);
    config.port_count = HG_CONTROL_PORTS_MAX + 1;
    memcpy(word_at(PAGES + 64), &config, sizeof(config));
    const uint64_t facts[2] = {1, sizeof(config)};
    *word_at(PAGES + 24) = hg_crc32c(hg_crc32c(0, facts, sizeof(facts)), &config, sizeof(config));
    CU_ASSERT_EQUAL(hg_control_ring_config_read(&dataplane, &config, &generation), -EBADMSG);
    CU_ASSERT_EQUAL(dataplane.poison, HG_CONTROL_RING_poison_page_content);
}

static void test_bounds(void)
{
    memset(&config, 0, sizeof(config));
    CU_ASSERT_PTR_NULL(hg_control_config_bounds(&config));
    config.stream_count = 1;
    config.streams[0].peers_mask = 1;
    CU_ASSERT_STRING_EQUAL(hg_control_config_bounds(&config), "streams.peers_mask");
    config.peer_count = 1;
    CU_ASSERT_PTR_NULL(hg_control_config_bounds(&config));
    config.streams[0].peers_mask = 2;
    CU_ASSERT_STRING_EQUAL(hg_control_config_bounds(&config), "streams.peers_mask");
    memset(&config, 0, sizeof(config));
    config.log_count = 1;
    memset(config.logs[0].path, 'x', sizeof(config.logs[0].path));
    CU_ASSERT_STRING_EQUAL(hg_control_config_bounds(&config), "logs");
    memset(&status, 0, sizeof(status));
    CU_ASSERT_PTR_NULL(hg_control_status_bounds(&status));
    status.stream_count = 1;
    status.streams[0].peer_count = 1;
    CU_ASSERT_STRING_EQUAL(hg_control_status_bounds(&status), "streams.peers.peer");
    status.streams[0].peer_count = HG_STATUS_STREAM_PEERS_MAX + 1;
    CU_ASSERT_STRING_EQUAL(hg_control_status_bounds(&status), "streams.peer_count");
    status.stream_count = 0;
    status.drop_count = HG_CONTROL_DROPS_MAX + 1;
    CU_ASSERT_STRING_EQUAL(hg_control_status_bounds(&status), "drop_count");
}

int main(void)
{
    CU_TestInfo tests[] = {{"full and laps", test_full_and_laps},
                           {"stale requests dropped, events kept", test_stale_requests_dropped_events_kept},
                           {"pages", test_pages},
                           {"alive", test_alive},
                           {"hostile cell", test_hostile_cell},
                           {"hostile message", test_hostile_message},
                           {"hostile index", test_hostile_index},
                           {"hostile header", test_hostile_header},
                           {"hostile page", test_hostile_page},
                           {"bounds", test_bounds},
                           {"pages survive kills", test_pages_survive_kills},
                           {"requests survive kills", test_requests_survive_kills},
                           {"events survive kills", test_events_survive_kills},
                           CU_TEST_INFO_NULL};
    CU_SuiteInfo suites[] = {{"control_ring", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    unsigned failures;

    memory_bytes = hg_control_region_bytes(CELLS);
    memory = aligned_alloc(HG_CACHE_LINE_BYTES, memory_bytes);
    hg_assert(memory != NULL);
    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    free(memory);
    return failures != 0;
}
