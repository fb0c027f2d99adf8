/* SPDX-License-Identifier: Apache-2.0
 *
 * Letters to a worker: what waits until the log is read back, what is answered meanwhile, whose box fills.
 */
#include "dataplane/stream/follow.h"
#include "dataplane/stream/quorum.h"
#include "worker_harness.h"

/* While the log is read back the status is told, whatever else waits; what waits is done in its order then.
 */
static void test_recovering(void)
{
    struct hg_letter last;
    setup();
    config_make();
    CU_ASSERT_EQUAL(worker->state, HG_WORKER_RECOVERING);
    struct hg_letter remove = {.type = HG_LETTER_CONSUMER_REMOVE, .body.name = "nobody"};
    put(HG_LETTER_CONFIG, config);
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &remove));
    put(HG_LETTER_STATUS, status);
    uint64_t deadline_ns;
    hg_worker_turn(worker, &deadline_ns);
    CU_ASSERT_EQUAL(worker->state, HG_WORKER_RECOVERING);
    CU_ASSERT_EQUAL(answers(HG_LETTER_STATUS_DONE, &last), 1);
    CU_ASSERT_EQUAL(hg_streams_count(worker->streams), 0);
    for (uint32_t i = 0; i < HG_MAILBOX_LETTERS; i++) /* more than can wait: they stay in the box */
        (void)hg_mailbox_put(inbox, &remove);
    hg_worker_turn(worker, &deadline_ns);
    for (uint32_t i = 0; i < HG_MAILBOX_LETTERS / 2; i++)
        (void)hg_mailbox_put(inbox, &remove);
    hg_worker_turn(worker, &deadline_ns);
    uint32_t removed = 0;
    bool configured = false;
    for (int i = 0; i < 200; i++) {
        struct hg_letter letter;
        turns(1);
        while (hg_mailbox_take(outbox, &letter)) {
            configured |= letter.type == HG_LETTER_CONFIG_DONE;
            CU_ASSERT(configured || letter.type != HG_LETTER_CONSUMER_REMOVED);
            removed += letter.type == HG_LETTER_CONSUMER_REMOVED;
        }
    }
    CU_ASSERT_EQUAL(worker->state, HG_WORKER_RUNNING);
    CU_ASSERT_TRUE(configured);
    CU_ASSERT(removed > HG_MAILBOX_LETTERS);
    CU_ASSERT_EQUAL(hg_streams_count(worker->streams), 1);
    CU_ASSERT_TRUE(hg_mailbox_empty(inbox));
    teardown();
}

/* An answer waits for room in a full box; nothing further is read before it is gone. */
static void test_outbox_full(void)
{
    struct hg_letter last;
    setup();
    config_make();
    turns(100);
    CU_ASSERT_EQUAL_FATAL(worker->state, HG_WORKER_RUNNING);
    (void)answers(0, &last);
    struct hg_letter event = {.type = HG_LETTER_EVENT};
    while (hg_mailbox_put(outbox, &event))
        ;
    put(HG_LETTER_CONFIG, config);
    put(HG_LETTER_STATUS, status);
    turns(20);
    CU_ASSERT_FALSE(hg_worker_sleep(worker));
    CU_ASSERT_FALSE(hg_mailbox_empty(inbox));
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 0);
    turns(20);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 1);
    CU_ASSERT_TRUE(hg_mailbox_empty(inbox));
    CU_ASSERT(worker->events_dropped > 0); /* counted, shown among the drops */
    teardown();
}

/* An order that takes a while ends while the box is full and another answer waits already: its own waits too.
 */
static void test_outbox_full_and_an_order_done(void)
{
    struct hg_letter last;
    struct hg_log_geometry geometry;
    setup();
    config_make();
    turns(100);
    CU_ASSERT_EQUAL_FATAL(worker->state, HG_WORKER_RUNNING);
    (void)answers(0, &last);
    hg_log_geometry_get(worker->log, &geometry);
    struct hg_log_geometry longer = geometry;
    longer.segment_count++;
    hg_disk_sim_extend(node.disk, hg_log_file_bytes(&longer));
    struct hg_log_growth *growth = hg_log_growth_create(&geometry, longer.segment_count);
    CU_ASSERT_PTR_NOT_NULL_FATAL(growth);
    put(HG_LETTER_LOG_GROW, growth);
    struct hg_letter event = {.type = HG_LETTER_EVENT};
    while (hg_mailbox_put(outbox, &event))
        ;
    put(HG_LETTER_CONFIG, config);
    turns(100);
    CU_ASSERT_FALSE(hg_log_is_growing(worker->log));
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 0);
    turns(20);
    CU_ASSERT_TRUE(hg_mailbox_take(outbox, &last) && last.type == HG_LETTER_CONFIG_DONE);
    CU_ASSERT_EQUAL(answers(HG_LETTER_LOG_GROWN, &last), 1);
    hg_log_growth_free(growth);
    teardown();
}

/* One kind of event without end leaves room for the others, and how it ended is said when the flood is over.
 */
static void test_event_flood(void)
{
    struct hg_letter letter;
    uint32_t floods = 0, others = 0, suppressed = 0;
    uint64_t newest = 0;
    setup();
    turns(100);
    (void)answers(0, &letter);
    for (uint64_t i = 1; i <= 10000; i++)
        hg_event_put(&worker->events, HG_EVENT_stream_refused, "s", i, 0);
    hg_event_put(&worker->events, HG_EVENT_peer_down, "p", 1, 0);
    for (int i = 0; i < 8; i++) {
        node.now_ns += HG_NS_PER_S;
        turns(1);
        while (hg_mailbox_take(outbox, &letter)) {
            others += letter.type == HG_LETTER_EVENT && letter.body.event.type == HG_EVENT_peer_down;
            if (letter.type != HG_LETTER_EVENT || letter.body.event.type != HG_EVENT_stream_refused)
                continue;
            floods++;
            suppressed += letter.body.event.suppressed;
            newest = letter.body.event.a;
        }
    }
    CU_ASSERT_EQUAL(others, 1);
    CU_ASSERT_EQUAL(floods, HG_EVENT_BURST + 1);
    CU_ASSERT_EQUAL(newest, 10000);
    CU_ASSERT_EQUAL(suppressed + floods, 10000);
    CU_ASSERT_EQUAL(worker->events_suppressed, 10000 - HG_EVENT_BURST);
    teardown();
}

/* Messages that need no key can't fill the box in which events go. */
static void test_handshake_flood(void)
{
    static const uint8_t message[HG_HANDSHAKE_BYTES_MAX];
    uint32_t taken = 0;
    setup();
    turns(100);
    for (uint32_t i = 0; i < 2 * HG_MAILBOX_LETTERS; i++)
        taken += worker->link.handshake(worker->link.ctx, 0, message, sizeof(message));
    CU_ASSERT(taken > 0 && taken <= HG_MAILBOX_LETTERS / 2);
    CU_ASSERT(hg_mailbox_count(outbox) <= HG_MAILBOX_LETTERS / 2);
    teardown();
}

/* A peer that can't be made is refused by name, and the others keep their numbers. */
static void test_configuration_refused(void)
{
    struct hg_letter last;
    setup();
    config_make();
    config->peer_count = 2;
    config->peers[0] = (struct hg_config_peer){
        .name = "greedy", .node = 2, .region = 2, .receive_bytes_max = UINT64_C(1) << 60};
    config->peers[1] =
        (struct hg_config_peer){.name = "modest", .node = 3, .region = 3, .receive_bytes_max = 1u << 20};
    config->streams[0].peers_mask = 3;
    turns(100);
    (void)answers(0, &last);
    put(HG_LETTER_CONFIG, config);
    turns(5);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.body.text, "greedy"));
    CU_ASSERT_EQUAL(hg_peers_find(worker->peers, 3), 1);
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL(status->streams[0].peer_count, 2);
    CU_ASSERT_EQUAL(status->streams[0].peers[0].lag_bytes, 0);
    teardown();
}

/* Housekeeping found that two processes live under a peer's identity: said by name, and shown. */
static void test_peer_cloned(void)
{
    struct hg_letter last, letter = {.type = HG_LETTER_PEER_CLONED, .peer = 1};
    setup();
    config_make();
    config->peer_count = 1;
    config->peers[0] =
        (struct hg_config_peer){.name = "twin", .node = 3, .region = 3, .receive_bytes_max = 1u << 20};
    turns(100);
    put(HG_LETTER_CONFIG, config);
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &letter)); /* nobody */
    letter.peer = 0;
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &letter));
    turns(5);
    while (hg_mailbox_take(outbox, &last) &&
           (last.type != HG_LETTER_EVENT || last.body.event.type != HG_EVENT_peer_cloned))
        ;
    CU_ASSERT_STRING_EQUAL(last.body.event.subject, "twin");
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL(status->peers[0].state, HG_PEER_CLONED);
    teardown();
}

/* A stream goes to more peers than are shown of it: those whose copies count are. */
static void test_peers_shown(void)
{
    struct hg_letter last;
    uint64_t shown = 0;
    setup();
    config_make();
    config->node.node = config->node.region = 1;
    config->quorum_n = 3;
    config->quorum_w = 2;
    config->peer_count = 10;
    config->streams[0].peers_mask = 0x3ff;
    for (uint32_t i = 0; i < config->peer_count; i++) {
        config->peers[i] =
            (struct hg_config_peer){.node = i + 2, .region = i < 8 ? 2 : 1, .receive_bytes_max = 1u << 20};
        snprintf(config->peers[i].name, sizeof(config->peers[i].name), "peer%u", i);
    }
    turns(100);
    (void)answers(0, &last);
    put(HG_LETTER_CONFIG, config);
    turns(5);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, 0);
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL_FATAL(status->stream_count, 1);
    CU_ASSERT_EQUAL(status->streams[0].peer_count, HG_STATUS_STREAM_PEERS_MAX);
    for (uint32_t i = 0; i < status->streams[0].peer_count; i++)
        shown |= UINT64_C(1) << status->streams[0].peers[i].peer;
    CU_ASSERT_EQUAL(shown, 0x33f); /* of the others the first ones */
    teardown();
}

/* Who registers or removes a consumer is answered when the log has it on its device, and not before. A client
 * that goes meanwhile takes its answer with it. */
static void test_consumer_answers(void)
{
    static struct hg_client_ring rings[2];
    struct hg_letter last;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONFIG_DONE, &last), 1);
    uint64_t bytes = hg_client_memory_bytes(PRODUCER_RING_BYTES, PRODUCER_RING_BYTES);
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t *memory = aligned_alloc(4096, bytes);
        memset(memory, 0, bytes);
        hg_client_ring_init(&rings[i], memory, PRODUCER_RING_BYTES, PRODUCER_RING_BYTES, 5, 1);
        struct hg_letter open = {.type = HG_LETTER_CLIENT_OPEN, .client = i, .pointer = &rings[i]};
        struct hg_letter attach = {.type = HG_LETTER_CLIENT_ATTACH, .client = i};
        attach.body.attach = (struct hg_client_attach){.flags = HG_CLIENT_ATTACH_SUBSCRIBE, .name = "one"};
        snprintf(attach.body.attach.consumer, sizeof(attach.body.attach.consumer), "out%u", i);
        CU_ASSERT_TRUE(hg_mailbox_put(inbox, &open));
        CU_ASSERT_TRUE(hg_mailbox_put(inbox, &attach));
    }
    struct hg_letter close = {.type = HG_LETTER_CLIENT_CLOSE, .client = 1};
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &close));
    uint64_t durable = hg_log_durable_sequence(worker->log);
    uint64_t deadline_ns;
    CU_ASSERT_TRUE(hg_worker_turn(worker, &deadline_ns)); /* the disk's time stands still */
    CU_ASSERT_EQUAL(hg_log_durable_sequence(worker->log), durable);
    CU_ASSERT(hg_streams_consumer_find(worker->streams, "out1") >= 0);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CLIENT_ANSWER, &last), 0);
    turns(50);
    CU_ASSERT(hg_log_durable_sequence(worker->log) > durable);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CLIENT_ANSWER, &last), 1);
    CU_ASSERT_EQUAL(last.client, 0);
    CU_ASSERT_EQUAL(last.body.answer.code, 0);
    struct hg_letter remove = {.type = HG_LETTER_CONSUMER_REMOVE, .body.name = "out1"};
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &remove));
    durable = hg_log_durable_sequence(worker->log);
    hg_worker_turn(worker, &deadline_ns);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONSUMER_REMOVED, &last), 0);
    turns(50);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONSUMER_REMOVED, &last), 1);
    CU_ASSERT_EQUAL(last.code, 0);
    for (uint32_t i = 0; i < 2; i++)
        free(rings[i].head);
    teardown();
}

static void config_apply(int32_t code, const char *text)
{
    struct hg_letter last;
    put(HG_LETTER_CONFIG, config);
    turns(50);
    CU_ASSERT_EQUAL_FATAL(answers(HG_LETTER_CONFIG_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, code);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.body.text, text));
}

/* The file gives a stream's name to another id: who attaches gets that one. A consumer of the former is
 * neither moved silently nor registered on what nobody can read: the refusal says what it stands on. */
static void test_name_used_again(void)
{
    static struct producer producer;
    struct hg_letter last;
    setup();
    config_make();
    config->consumer_count = 1;
    config->consumers[0] = (struct hg_config_consumer){.name = "archive", .stream = "one"};
    turns(100);
    (void)answers(0, &last);
    config_apply(0, "");
    config->streams[0].stream = 2;
    config_apply(-EINVAL, "consumer archive is of the stream one with id 1 and holds");
    CU_ASSERT_EQUAL_FATAL(producer_ask(&producer, "one"), 0);
    CU_ASSERT_EQUAL(producer.answer.stream, 2);
    struct hg_letter remove = {.type = HG_LETTER_CONSUMER_REMOVE, .body.name = "archive"};
    CU_ASSERT_TRUE(hg_mailbox_put(inbox, &remove));
    turns(50);
    CU_ASSERT_EQUAL(answers(HG_LETTER_CONSUMER_REMOVED, &last), 1);
    config_apply(0, "");
    int32_t consumer = hg_streams_consumer_find(worker->streams, "archive");
    CU_ASSERT_FATAL(consumer >= 0);
    const struct hg_consumer_state *at = hg_streams_consumer_at(worker->streams, (uint32_t)consumer);
    CU_ASSERT_EQUAL(hg_streams_at(worker->streams, at->slot)->stream, 2);
    config->consumers[0] = (struct hg_config_consumer){.name = "lost", .stream = "nowhere"};
    config_apply(-EINVAL, "stream nowhere is unknown");
    teardown();
    free(producer.memory);
}

/* A group is sealed and opened by letters; each is answered when the device has it, and not before. */
static void test_group(void)
{
    struct hg_letter last;
    struct producer producer;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    producer_open(&producer, "one");
    produce(&producer, 3);
    turns(30);
    (void)answers(0, &last);
    order(HG_LETTER_GROUP_SEAL, 0, 5);
    uint64_t deadline_ns;
    hg_worker_turn(worker, &deadline_ns); /* the disk's time stands still */
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 0);
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL(status->groups[0].state, HG_STATUS_GROUP_SEALING);
    turns(30);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, 0);
    produce(&producer, 3);
    turns(30);
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL_FATAL(status->group_count, 1);
    CU_ASSERT_EQUAL(status->groups[0].state, HG_STATUS_GROUP_SEALED);
    CU_ASSERT_EQUAL(status->groups[0].epoch_promised, 5);
    CU_ASSERT_EQUAL(status->groups[0].regions, 2);
    CU_ASSERT_EQUAL(status->streams[0].lsn_durable, 4);
    CU_ASSERT_EQUAL(status->streams[0].epochs[status->streams[0].epoch_count - 1].epoch, 1);
    order(HG_LETTER_GROUP_SEAL, 0, 4);
    turns(5);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, -EPERM);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.body.text, "epoch 5 promised"));
    order(HG_LETTER_GROUP_SEAL, 64, 9);
    turns(5);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, -EPERM);
    order(HG_LETTER_GROUP_OPEN, 0, 6);
    turns(5);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, -EPERM);
    CU_ASSERT_EQUAL(drop_count("groups", "seal_epoch"), 1);
    CU_ASSERT_EQUAL(drop_count("groups", "seal_limit"), 1);
    CU_ASSERT_EQUAL(drop_count("groups", "open_unpromised"), 1);
    order(HG_LETTER_GROUP_OPEN, 0, 5);
    hg_worker_turn(worker, &deadline_ns);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 0);
    turns(30);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, 0);
    hg_worker_status(worker, status);
    CU_ASSERT_EQUAL(status->groups[0].state, HG_STATUS_GROUP_OPEN);
    CU_ASSERT_EQUAL(status->streams[0].epochs[status->streams[0].epoch_count - 1].lsn, 4);
    free(producer.memory);
    teardown();
}

/* A higher promise overtakes an order to seal that is on its way to the device: it is refused by name, for
 * housekeeping takes no other order before it is answered. */
static void test_seal_overtaken(void)
{
    struct hg_letter last;
    uint64_t deadline_ns;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    (void)answers(0, &last);
    order(HG_LETTER_GROUP_SEAL, 0, 5);
    hg_worker_turn(worker, &deadline_ns); /* the disk's time stands still */
    CU_ASSERT_EQUAL(hg_streams_group_seal(worker->streams, 0, 7), HG_GROUP_OK); /* as a peer asks */
    turns(30);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, -EPERM);
    CU_ASSERT_PTR_NOT_NULL(strstr(last.body.text, "epoch 7 promised"));
    CU_ASSERT_EQUAL(drop_count("groups", "seal_epoch"), 1);
    order(HG_LETTER_GROUP_SEAL, 0, 7);
    turns(30);
    CU_ASSERT_EQUAL(answers(HG_LETTER_GROUP_DONE, &last), 1);
    CU_ASSERT_EQUAL(last.code, 0);
    teardown();
}

/* Producers and writers that are refused before their first entry, and so before anything else counts them.
 */
static void test_refusals_shown(void)
{
    struct hg_copies none = {0};
    struct producer producer;
    setup();
    config_make();
    turns(100);
    put(HG_LETTER_CONFIG, config);
    turns(20);
    hg_streams_copies_set(worker->streams, 0, &none, true); /* the metastore can't be read */
    CU_ASSERT_EQUAL(drop_count("clients", "attach_UNNAMED"), 0);
    CU_ASSERT_EQUAL(producer_ask(&producer, "one"), HG_E_NOT_READY);
    CU_ASSERT_EQUAL(drop_count("clients", "attach_UNNAMED"), 1);
    order(HG_LETTER_GROUP_SEAL, 0, 5);
    turns(30);
    CU_ASSERT_EQUAL(drop_count("groups", "batch_epoch"), 0);
    CU_ASSERT_EQUAL(hg_streams_follow(worker->streams, 0, 4), HG_GROUP_batch_epoch);
    CU_ASSERT_EQUAL(drop_count("groups", "batch_epoch"), 1);
    free(producer.memory);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("worker", NULL, NULL);
    CU_add_test(suite, "letters while the log is read back", test_recovering);
    CU_add_test(suite, "a full outbox", test_outbox_full);
    CU_add_test(suite, "a full outbox, and an order that is done", test_outbox_full_and_an_order_done);
    CU_add_test(suite, "a group is sealed and opened", test_group);
    CU_add_test(suite, "an order to seal is overtaken", test_seal_overtaken);
    CU_add_test(suite, "refusals are shown", test_refusals_shown);
    CU_add_test(suite, "a flood of handshakes", test_handshake_flood);
    CU_add_test(suite, "a flood of events", test_event_flood);
    CU_add_test(suite, "a stream's name that is used again", test_name_used_again);
    CU_add_test(suite, "answers about consumers wait for the log", test_consumer_answers);
    CU_add_test(suite, "a configuration that is refused", test_configuration_refused);
    CU_add_test(suite, "a peer of which two live", test_peer_cloned);
    CU_add_test(suite, "more peers than are shown", test_peers_shown);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
