/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker's producers wait for: whether one write and one flush serve many, a log that is full or has
 * failed, a device that answers nothing.
 */
#include "dataplane/stream/quorum.h"
#include "worker_harness.h"

static uint64_t writes_count(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(worker->log, &stats);
    return stats.writes;
}

/* One write and one flush serve what a busy producer appends in a millisecond; who appends little waits for
 * nobody. */
static void test_gather(void)
{
    struct producer producer;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(5);
    hg_streams_at(worker->streams, 0)->codec =
        HG_CODEC_LZ4; /* zeros: neither bytes nor segments end a write */
    producer_open(&producer, "one");
    turns(20); /* so that the last write is longer ago than any gathering */
    uint64_t before = writes_count();
    for (int i = 0; i < 5; i++) {
        produce(&producer, 1);
        turns(1);
    }
    CU_ASSERT_EQUAL(writes_count(), before + 5);
    turns(20);
    before = writes_count();
    for (int i = 0; i < 40; i++) { /* 4 ms */
        produce(&producer, INT32_MAX);
        turns(1);
        CU_ASSERT_TRUE(worker->taken.is_full);
    }
    CU_ASSERT(writes_count() - before >= 4 && writes_count() - before <= 5);
    for (int i = 0; i < 10; i++)
        turns(1);
    CU_ASSERT_EQUAL(hg_log_open_bytes(worker->log), 0);
    CU_ASSERT_EQUAL(hg_client_view_durable(&producer.view, producer.answer.slot), producer.lsn);
    teardown();
    free(producer.memory);
}

/* Who waits for each batch before the next leaves nothing in its ring that is not taken: its open batch is
 * what a full log holds up. That is told all the same. */
static void test_pressure_of_one_who_waits(void)
{
    struct producer producer;
    struct hg_letter letter;
    bool told = false;
    setup();
    config_make();
    config->consumer_count = 1;
    config->consumers[0] = (struct hg_config_consumer){.name = "away", .stream = "one"};
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    producer_open(&producer, "one");
    produce(&producer, 20);
    for (int i = 0; i < 50000 && !told; i++) {
        turns(1);
        while (hg_mailbox_take(outbox, &letter))
            told |= letter.type == HG_LETTER_EVENT && letter.body.event.type == HG_EVENT_log_pressure;
        if (hg_client_view_durable(&producer.view, producer.answer.slot) == producer.lsn)
            produce(&producer, 20);
    }
    CU_ASSERT_TRUE(told);
    CU_ASSERT_FALSE(worker->taken.is_blocked);
    teardown();
    free(producer.memory);
}

/* As the producer reads it. */
static uint32_t why_of(const struct producer *producer)
{
    uint32_t why;
    bool is_writable = hg_client_view_writable(&producer->view, producer->answer.slot, &why);
    CU_ASSERT_EQUAL(is_writable, why == HG_CLIENT_WHY_NONE);
    return why;
}

static bool has_room(void)
{
    struct hg_log_stats stats;
    hg_log_stats_get(worker->log, &stats);
    return stats.segments_free > stats.segments_kept;
}

/* All producers of a log hear that it is full, or has failed, also one that has nothing on its way; and in
 * the turn in which there is room again, that there is. */
static void test_log_told_to_producers(void)
{
    struct producer busy, idle;
    setup();
    config_make();
    config->streams[1] = config->streams[0];
    config->streams[1].stream = 2;
    snprintf(config->streams[1].name, sizeof(config->streams[1].name), "other");
    config->stream_count = 2;
    config->consumer_count = 1;
    config->consumers[0] = (struct hg_config_consumer){.name = "away", .stream = "one"};
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    producer_open(&busy, "one");
    producer_open(&idle, "other");
    for (int i = 0; i < 50000 && why_of(&busy) == HG_CLIENT_WHY_NONE; i++) {
        CU_ASSERT_EQUAL(why_of(&idle), HG_CLIENT_WHY_NONE);
        produce(&busy, 20);
        turns(1);
    }
    CU_ASSERT_EQUAL(why_of(&busy), HG_CLIENT_WHY_LOG_FULL);
    CU_ASSERT_EQUAL(why_of(&idle), HG_CLIENT_WHY_LOG_FULL);
    CU_ASSERT_FALSE(has_room());
    int32_t consumer = hg_streams_consumer_find(worker->streams, "away");
    hg_streams_consumer_advance(worker->streams, (uint32_t)consumer,
                                hg_streams_at(worker->streams, 0)->lsn_durable);
    for (int i = 0; i < 1000 && worker->taken.is_blocked && !has_room(); i++) {
        CU_ASSERT_EQUAL(why_of(&busy), HG_CLIENT_WHY_LOG_FULL);
        CU_ASSERT_EQUAL(why_of(&idle), HG_CLIENT_WHY_LOG_FULL);
        turns(1);
    }
    CU_ASSERT_TRUE(!worker->taken.is_blocked || has_room());
    CU_ASSERT_EQUAL(why_of(&busy), HG_CLIENT_WHY_NONE);
    CU_ASSERT_EQUAL(why_of(&idle), HG_CLIENT_WHY_NONE);
    hg_disk_sim_fail(node.disk, HG_DISK_WRITE, 1, EIO);
    produce(&busy, 20);
    for (int i = 0; i < 1000 && worker->state == HG_WORKER_RUNNING; i++)
        turns(1);
    CU_ASSERT_EQUAL(worker->state, HG_WORKER_FAILED);
    CU_ASSERT_EQUAL(why_of(&busy), HG_CLIENT_WHY_LOG_FAILED);
    CU_ASSERT_EQUAL(why_of(&idle), HG_CLIENT_WHY_LOG_FAILED);
    teardown();
    free(busy.memory);
    free(idle.memory);
}

static uint32_t nothing_reaped(struct hg_disk *disk, struct hg_disk_completion *completions, uint32_t most)
{
    (void)disk;
    (void)completions;
    (void)most;
    return 0;
}

/* The device takes what it is given, and answers nothing meanwhile. */
static void turns_of_stuck_device(uint64_t ns)
{
    uint32_t (*poll)(struct hg_disk *, struct hg_disk_completion *, uint32_t) = node.disk->poll;
    uint64_t deadline_ns;
    node.disk->poll = nothing_reaped;
    for (uint64_t end_ns = node.now_ns + ns; node.now_ns < end_ns;) {
        node.now_ns += 10 * HG_NS_PER_MS;
        hg_worker_turn(worker, &deadline_ns);
    }
    node.disk->poll = poll;
}

static uint32_t events(uint32_t type, uint64_t *a)
{
    struct hg_letter letter;
    uint32_t count = 0;
    while (hg_mailbox_take(outbox, &letter))
        if (letter.type == HG_LETTER_EVENT && letter.body.event.type == type) {
            count++;
            *a = letter.body.event.a;
        }
    return count;
}

static uint32_t pressure(void)
{
    hg_worker_status(worker, status);
    return status->logs[0].pressure;
}

/* Said once when a write has been on its way for HG_LOG_STUCK_NS, and once when the device answers; and while
 * producers wait for nothing but the device, that is what they wait for. */
static void test_stuck_device(void)
{
    struct producer producer;
    uint64_t ms = 0;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    producer_open(&producer, "one");
    turns_of_stuck_device(2 * HG_LOG_STUCK_NS); /* it owes nothing */
    CU_ASSERT_EQUAL(events(HG_EVENT_disk_stuck, &ms), 0);
    turns(20);
    produce(&producer, 1);
    turns_of_stuck_device(100 * HG_NS_PER_MS); /* it is on its way */
    node.now_ns +=
        2 * HG_LOG_STUCK_NS; /* the process was stopped: nobody looked whether the device answers */
    turns_of_stuck_device(HG_LOG_STUCK_NS - 10 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(events(HG_EVENT_disk_stuck, &ms), 0);
    CU_ASSERT_EQUAL(pressure(), HG_LOG_PRESSURE_NONE);
    turns_of_stuck_device(HG_LOG_STUCK_NS);
    CU_ASSERT_EQUAL(events(HG_EVENT_disk_stuck, &ms), 1);
    CU_ASSERT_EQUAL(ms, HG_LOG_STUCK_NS / HG_NS_PER_MS);
    node.now_ns += HG_WORKER_LATE_NS; /* stopped again */
    for (int i = 0; i < 200; i++) {   /* until memory is full */
        produce(&producer, INT32_MAX);
        turns_of_stuck_device(10 * HG_NS_PER_MS);
    }
    CU_ASSERT_TRUE(worker->taken.is_blocked);
    CU_ASSERT_EQUAL(pressure(), HG_LOG_PRESSURE_ARENA);
    CU_ASSERT_EQUAL(why_of(&producer), HG_CLIENT_WHY_NONE);
    CU_ASSERT_EQUAL(events(HG_EVENT_disk_stuck_over, &ms), 0);
    turns(300);
    CU_ASSERT_EQUAL(events(HG_EVENT_disk_stuck_over, &ms), 1);
    CU_ASSERT(ms >= 2 * HG_LOG_STUCK_NS / HG_NS_PER_MS);
    CU_ASSERT_EQUAL(pressure(), HG_LOG_PRESSURE_NONE);
    CU_ASSERT_EQUAL(hg_client_view_durable(&producer.view, producer.answer.slot), producer.lsn);
    teardown();
    free(producer.memory);
}

/* What a peer's lane does with a batch of one frame that has arrived. */
static void take_batch(uint64_t lsn, uint32_t bytes)
{
    static uint8_t raw[HG_FRAME_BYTES_MAX], data[65536];
    static uint8_t batch[HG_BATCH_BYTES_MAX] __attribute__((aligned(16)));
    struct hg_batch_builder builder;
    struct hg_batch_origin origin = {
        .cluster = 7, .stream = 1, .incarnation = 1, .region = 2, .kind = HG_STREAM_KEY_VALUE, .epoch = 1};
    struct hg_frame frame = {
        .lsn = lsn, .span = 1, .op = HG_OP_INSERT, .hlc = 1, .data_bytes = bytes, .data = data};
    memcpy(origin.chain_previous, hg_streams_at(worker->streams, 0)->chain_sealed, 16);
    hg_batch_builder_init(&builder, raw, sizeof(raw));
    CU_ASSERT_EQUAL(hg_batch_builder_add(&builder, &frame), 0);
    uint32_t sealed_bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, sizeof(batch), NULL);
    CU_ASSERT_EQUAL(hg_streams_append_sealed(worker->streams, 0, 1, batch, sealed_bytes, node.now_ns),
                    HG_SEALED_OK);
}

/* One write and one flush serve what peers send in bulk; a batch that comes alone waits for nobody, nor do
 * small ones. */
static void test_gather_taken(void)
{
    const uint32_t large = 40000, small = 4000;
    uint64_t lsn = 1, before;
    setup();
    config_make();
    config->streams[0].region = 2;
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20); /* so that the last write is longer ago than any gathering */
    before = writes_count();
    take_batch(lsn++, large);
    turns(1);
    CU_ASSERT_EQUAL(writes_count(), before + 1);
    turns(20);
    before = writes_count();
    for (int i = 0; i < 5; i++) {
        take_batch(lsn++, small);
        turns(1);
    }
    CU_ASSERT_EQUAL(writes_count(), before + 5);
    turns(20);
    before = writes_count();
    for (int i = 0; i < 40; i++) { /* 1.6 MB in 4 ms: seven of them end a write */
        take_batch(lsn++, large);
        turns(1);
    }
    CU_ASSERT(writes_count() - before >= 5 && writes_count() - before <= 7);
    turns(30);
    CU_ASSERT_EQUAL(hg_log_open_bytes(worker->log), 0);
    CU_ASSERT_EQUAL(hg_streams_at(worker->streams, 0)->lsn_durable, lsn);
    /* In a region with a quorum a producer may wait for it. */
    hg_streams_quorum_set(worker->streams, 1, 2);
    before = writes_count();
    for (int i = 0; i < 40; i++) {
        take_batch(lsn++, large);
        turns(1);
    }
    CU_ASSERT(writes_count() - before > 14);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("worker_producers", NULL, NULL);
    CU_add_test(suite, "a busy producer's writes gather", test_gather);
    CU_add_test(suite, "writes of what peers send in bulk gather", test_gather_taken);
    CU_add_test(suite, "a full log and a producer that waits", test_pressure_of_one_who_waits);
    CU_add_test(suite, "a log that is full, or failed, is told to its producers", test_log_told_to_producers);
    CU_add_test(suite, "a device that answers nothing", test_stuck_device);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
