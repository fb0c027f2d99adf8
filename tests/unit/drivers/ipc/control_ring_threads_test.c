/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring between two threads, as it is between two processes, for ThreadSanitizer: messages both
 * ways as fast as they go, through a ring that is full when they begin and often after that, and pages that
 * are written while they are read.
 */
#include "drivers/ipc/control_ring.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CELLS    4u
#define MESSAGES 3000u
#define TRIES    UINT32_C(200000000) /* of both together, before it is called stuck */

struct side {
    struct hg_control_ring ring;
    enum hg_control_side side;
    uint32_t sent, received;
    uint64_t pages_read, generation_seen;
    const char *wrong;
};

static struct side sides[2];
static _Atomic uint32_t done_count;

static void wrong(struct side *side, const char *what)
{
    if (side->wrong == NULL)
        side->wrong = what;
}

static void send_next(struct side *side)
{
    struct hg_control_message message;
    if (side->sent == MESSAGES)
        return;
    memset(&message, 0, sizeof(message));
    message.type = side->side == HG_SIDE_CONTROL ? HG_CONTROL_COMMAND : HG_CONTROL_EVENT;
    snprintf(message.text, sizeof(message.text), "%u", side->sent);
    int rc = hg_control_ring_send(&side->ring, hg_control_ring_request(&side->ring), &message);
    side->sent += rc == 0;
    if (rc != 0 && rc != -EAGAIN)
        wrong(side, "sending failed");
}

static void receive_next(struct side *side)
{
    struct hg_control_received received;
    char text[16];
    int rc = hg_control_ring_receive(&side->ring, &received);
    if (rc == 0)
        return;
    snprintf(text, sizeof(text), "%u", side->received);
    if (rc != 1 || strcmp(received.message.text, text) != 0)
        wrong(side, "a message is missing, twice or damaged");
    side->received++;
    hg_control_ring_done(&side->ring);
}

/* All groups of a page are of the same writing. */
static void grants_write(struct side *side)
{
    static struct hg_control_grants grants;
    for (uint32_t i = 0; i < HG_CONTROL_GROUPS_MAX; i++)
        grants.groups[i].epoch++;
    if (hg_control_ring_grants_write(&side->ring, &grants) == 0)
        wrong(side, "a page can't be written");
}

static void grants_read(struct side *side)
{
    struct hg_control_grants grants;
    uint64_t generation;
    int rc = hg_control_ring_grants_read(&side->ring, &grants, &generation);
    if (rc == -ENODATA || rc == -EAGAIN)
        return;
    if (rc != 0 || generation < side->generation_seen)
        wrong(side, "a page can't be read, or is older than the one before");
    for (uint32_t i = 1; i < HG_CONTROL_GROUPS_MAX; i++)
        if (grants.groups[i].epoch != grants.groups[0].epoch)
            wrong(side, "a page is of two writings");
    side->generation_seen = generation;
    side->pages_read++;
}

static void *run(void *arg)
{
    struct side *side = arg;
    bool is_done = false;
    for (uint32_t turn = 0; turn < TRIES && atomic_load(&done_count) < 2 && side->wrong == NULL; turn++) {
        uint32_t before = side->sent + side->received;
        send_next(side);
        receive_next(side);
        if (side->sent + side->received == before)
            sched_yield(); /* it is the other's turn, which may have no core */
        hg_control_ring_beat(&side->ring);
        (void)hg_control_ring_peer_alive(&side->ring, turn, 1);
        if (side->side == HG_SIDE_CONTROL && turn % 8 == 0)
            grants_write(side);
        if (side->side == HG_SIDE_DATAPLANE && turn % 4 == 0)
            grants_read(side);
        bool enough = side->sent == MESSAGES && side->received == MESSAGES &&
                      (side->side == HG_SIDE_CONTROL || side->pages_read > 10);
        if (enough && !is_done) {
            is_done = true;
            atomic_fetch_add(&done_count, 1);
        }
    }
    atomic_fetch_add(&done_count, side->wrong != NULL ? 2 : 0); /* the other need not wait */
    return NULL;
}

static void test_both_ways(void)
{
    size_t bytes = hg_control_region_bytes(CELLS);
    void *memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));
    pthread_t threads[2];
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    memset(memory, 0, bytes);
    hg_control_region_format(memory, CELLS, 1);
    for (int i = 0; i < 2; i++) {
        sides[i].side = i == 0 ? HG_SIDE_CONTROL : HG_SIDE_DATAPLANE;
        CU_ASSERT_EQUAL_FATAL(hg_control_ring_open(&sides[i].ring, memory, bytes, sides[i].side), 0);
    }
    for (int i = 0; i < 2; i++) /* with luck neither would ever meet a full ring */
        while (sides[i].ring.counters[HG_CONTROL_RING_refused_full] == 0 && sides[i].wrong == NULL)
            send_next(&sides[i]);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, run, &sides[i]), 0);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(pthread_join(threads[i], NULL), 0);
        if (sides[i].wrong != NULL)
            printf("%s: %s\n", i == 0 ? "control plane" : "dataplane", sides[i].wrong);
        CU_ASSERT_PTR_NULL(sides[i].wrong);
        CU_ASSERT_EQUAL(sides[i].sent, MESSAGES);
        CU_ASSERT_EQUAL(sides[i].received, MESSAGES);
        CU_ASSERT_FALSE(hg_control_ring_must_recreate(&sides[i].ring));
        CU_ASSERT(sides[i].ring.counters[HG_CONTROL_RING_refused_full] > 0);
    }
    CU_ASSERT(sides[HG_SIDE_DATAPLANE].pages_read > 10);
    free(memory);
}

int main(void)
{
    CU_initialize_registry();
    CU_add_test(CU_add_suite("control_ring_threads", NULL, NULL), "both ways", test_both_ways);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 1;
}
