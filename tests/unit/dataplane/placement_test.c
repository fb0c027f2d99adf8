/* SPDX-License-Identifier: Apache-2.0
 *
 * Where streams are put: by hash, by the configuration, by the log that has them; and packets from worker to
 * worker.
 */
#include "dataplane/handover.h"
#include "dataplane/placement.h"

#include <CUnit/Basic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct hg_placement placement;
static struct hg_places logs[3];
static struct hg_control_config config;

static void log_holds(uint32_t worker, uint64_t stream, const char *name)
{
    logs[worker].worker = worker;
    logs[worker].table[logs[worker].count].stream = stream;
    snprintf(logs[worker].table[logs[worker].count++].name, HG_CONTROL_NAME_BYTES, "%s", name);
}

static void begin(uint32_t workers)
{
    memset(logs, 0, sizeof(logs));
    memset(&config, 0, sizeof(config));
    hg_placement_init(&placement, workers);
    for (uint32_t i = 0; i < workers; i++)
        logs[i].worker = i;
}

/* The numbers are part of what a cluster remembers: they never change. With one worker more, only what goes
 * to the new one moves. */
static void test_hash(void)
{
    uint32_t counts[4] = {0};
    static const uint32_t known[] = {2, 3, 1, 1, 1, 0, 2, 2};
    for (uint64_t stream = 1; stream <= 8; stream++)
        CU_ASSERT_EQUAL(hg_placement_hash(stream, 4), known[stream - 1]);
    for (uint64_t stream = 1; stream <= 4000; stream++) {
        uint32_t worker = hg_placement_hash(stream, 4), before = hg_placement_hash(stream, 3);
        CU_ASSERT(worker < 4 && before < 3);
        CU_ASSERT(worker == before || worker == 3);
        CU_ASSERT_EQUAL(hg_placement_hash(stream, 1), 0);
        counts[worker]++;
    }
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT(counts[i] > 900 && counts[i] < 1100);
}

static void test_recorded(void)
{
    begin(3);
    uint64_t stream = 1;
    while (hg_placement_hash(stream, 3) != 0)
        stream++;
    log_holds(2, stream, "moved");
    CU_ASSERT_FALSE(hg_placement_known(&placement));
    for (uint32_t i = 0; i < 3; i++)
        hg_placement_hold(&placement, &logs[i]);
    CU_ASSERT_TRUE(hg_placement_known(&placement));
    CU_ASSERT_EQUAL(hg_placement_held(&placement, stream), 2);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, stream + 1), -1);
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "moved"), 2);
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "nobody"), -1);
    CU_ASSERT_EQUAL(hg_placement_held_twice(&placement, stream), -1);
    config.stream_count = 2;
    config.streams[0].stream = stream;
    config.streams[1].stream = stream + 1;
    CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config));
    CU_ASSERT_EQUAL(config.streams[0].place, 3);
    CU_ASSERT_EQUAL(config.streams[1].place, hg_placement_hash(stream + 1, 3) + 1);
    log_holds(1, stream, "moved");
    CU_ASSERT_EQUAL(hg_placement_held(&placement, stream), 1);
    CU_ASSERT_EQUAL(hg_placement_held_twice(&placement, stream), 2);
}

static void test_explicit(void)
{
    begin(3);
    log_holds(1, 7, "here");
    for (uint32_t i = 0; i < 3; i++)
        hg_placement_hold(&placement, &logs[i]);
    config.stream_count = 1;
    config.streams[0].stream = 8;
    for (uint32_t place = 1; place <= 3; place++) { /* a new stream goes where it is wanted */
        config.streams[0].place = place;
        CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config));
        CU_ASSERT_EQUAL(config.streams[0].place, place);
    }
    config.streams[0].place = 4; /* there is no such worker */
    CU_ASSERT_PTR_EQUAL(hg_placement_resolve(&placement, &config), &config.streams[0]);
    CU_ASSERT_EQUAL(config.streams[0].place, hg_placement_hash(8, 3) + 1);
    config.streams[0].stream = 7;
    config.streams[0].place = 3; /* its batches are elsewhere */
    CU_ASSERT_PTR_EQUAL(hg_placement_resolve(&placement, &config), &config.streams[0]);
    CU_ASSERT_EQUAL(config.streams[0].place, 2);
    CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config));
}

/* A stream that came while the node ran has batches where it was put, and no log was asked for it since. */
static void test_given(void)
{
    begin(3);
    for (uint32_t i = 0; i < 3; i++)
        hg_placement_hold(&placement, &logs[i]);
    config.stream_count = 2;
    config.streams[0] = (struct hg_config_stream){.stream = 8, .name = "eight", .place = 2};
    config.streams[1] = (struct hg_config_stream){.stream = 1, .name = "one"};
    CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config));
    hg_placement_given(&placement, &config);
    hg_placement_given(&placement, &config); /* applied again: nothing is counted twice */
    uint32_t hashed = hg_placement_hash(1, 3);
    CU_ASSERT_EQUAL(logs[0].count + logs[1].count + logs[2].count, 2);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 8), 1);
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "eight"), 1);
    config.streams[0].place = 3; /* the line was changed */
    config.streams[1].place = 1 + (hashed + 1) % 3;
    CU_ASSERT_PTR_EQUAL(hg_placement_resolve(&placement, &config), &config.streams[0]);
    CU_ASSERT_EQUAL(config.streams[0].place, 2);
    CU_ASSERT_EQUAL(config.streams[1].place, hashed + 1);
    config.streams[0].place = 0; /* the line says nothing any more */
    CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config));
    CU_ASSERT_EQUAL(config.streams[0].place, 2);
}

/* The log it moved to last has it; one that it left and that does not say so is found. */
static void test_moved(void)
{
    uint64_t stream = 0;
    begin(3);
    log_holds(0, 7, "seven");
    log_holds(1, 7, "seven");
    log_holds(2, 7, "seven");
    log_holds(0, 8, "eight");
    logs[1].table[0].move = 2;
    logs[2].table[0].move = 1;
    for (uint32_t i = 0; i < 3; i++)
        hg_placement_hold(&placement, &logs[i]);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 7), 1);
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "seven"), 1);
    CU_ASSERT_EQUAL(hg_placement_held_twice(&placement, 7), -1);
    CU_ASSERT_EQUAL(hg_placement_stale(&placement, &stream), 0);
    CU_ASSERT_EQUAL(stream, 7);
    hg_placement_forget(&placement, 0, 7);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 8), 0);
    CU_ASSERT_EQUAL(hg_placement_stale(&placement, &stream), 2);
    hg_placement_forget(&placement, 2, 7);
    CU_ASSERT_EQUAL(hg_placement_stale(&placement, &stream), -1);
    config.stream_count = 1;
    config.streams[0] = (struct hg_config_stream){.stream = 7, .place = 1};
    CU_ASSERT_PTR_NULL(hg_placement_resolve(&placement, &config)); /* it was about the first place */
    CU_ASSERT_EQUAL(config.streams[0].place, 2);
    hg_placement_move(&placement, 2, "eight", 8, 1);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 8), 2);
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "eight"), 2);
    CU_ASSERT_EQUAL(logs[0].count, 0);
    hg_placement_move(&placement, 0, "new", 9, 1); /* no log knew it */
    CU_ASSERT_EQUAL(hg_placement_held_name(&placement, "new"), 0);
}

/* ---- packets from worker to worker ---- */

static struct hg_handover ring;
#define PASSED 200000u

static void *writer(void *arg)
{
    for (uint32_t i = 0; i < PASSED;) {
        struct hg_packet packet = {.bytes = i, .handle = &ring};
        i += hg_handover_put(&ring, &packet);
    }
    return arg;
}

static void test_handover(void)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    memset(&ring, 0, sizeof(ring));
    CU_ASSERT_TRUE(hg_handover_empty(&ring));
    for (uint32_t i = 0; i < HG_HANDOVER_PACKETS; i++) {
        struct hg_packet packet = {.bytes = i};
        CU_ASSERT_TRUE(hg_handover_put(&ring, &packet));
    }
    CU_ASSERT_FALSE(hg_handover_put(&ring, &packets[0]));
    CU_ASSERT_FALSE(hg_handover_empty(&ring));
    CU_ASSERT_EQUAL(hg_handover_take(&ring, packets, 3), 3);
    CU_ASSERT_EQUAL(packets[2].bytes, 2);
    CU_ASSERT_TRUE(hg_handover_put(&ring, &packets[0]));
    memset(&ring, 0, sizeof(ring));
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, writer, NULL), 0);
    for (uint32_t next = 0; next < PASSED;) {
        uint32_t n = hg_handover_take(&ring, packets, HG_PORT_BURST_MAX);
        for (uint32_t i = 0; i < n; i++, next++)
            CU_ASSERT_FATAL(packets[i].bytes == next && packets[i].handle == &ring);
    }
    pthread_join(thread, NULL);
    CU_ASSERT_TRUE(hg_handover_empty(&ring));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("placement", NULL, NULL);
    CU_add_test(suite, "by hash", test_hash);
    CU_add_test(suite, "a log that has it", test_recorded);
    CU_add_test(suite, "as configured", test_explicit);
    CU_add_test(suite, "that came while the node ran", test_given);
    CU_add_test(suite, "after moves", test_moved);
    CU_add_test(suite, "packets for other workers", test_handover);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
