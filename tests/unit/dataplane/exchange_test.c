/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/exchange.h"

#include <CUnit/Basic.h>

static struct hg_mailbox boxes[2];
static struct hg_exchange sides[2];
static struct hg_clock clock_here;
static uint64_t random_state, now_ns;
static struct hg_handshake_keys keys[2];
static uint32_t keys_count[2], keys_changed_count, cloned_count;

static uint64_t random_here(struct hg_clock *clock)
{
    (void)clock;
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state;
}

static uint8_t psk_first[2];

static bool side_key(uint32_t i)
{
    struct hg_handshake_config config;
    memset(&config, 0, sizeof(config));
    config.cluster = 7;
    config.node_local = 1 + i;
    config.node_remote = 2 - i;
    config.boot_local = random_here(NULL);
    config.workers_local = 1;
    config.psk[0] = psk_first[i];
    return hg_exchange_peer(&sides[i], 0, &config, now_ns);
}

static void side_start(uint32_t i)
{
    keys_count[i] = 0;
    memset(&boxes[i], 0, sizeof(boxes[i]));
    hg_exchange_init(&sides[i], &clock_here, (struct hg_mailbox *const[]){&boxes[i]}, 1);
    CU_ASSERT_TRUE(side_key(i));
}

static void begin(void)
{
    random_state = 1;
    memset(psk_first, 0, sizeof(psk_first));
    keys_changed_count = cloned_count = 0;
    now_ns = HG_NS_PER_S;
    clock_here.random_u64 = random_here;
    side_start(0);
    side_start(1);
}

/* Carries what the sides say to each other for `span_ns`, in steps of a millisecond. */
static void run(uint64_t span_ns)
{
    for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += HG_NS_PER_MS)
        for (uint32_t i = 0; i < 2; i++) {
            struct hg_letter letter;
            (void)hg_exchange_tick(&sides[i], now_ns);
            while (hg_mailbox_take(&boxes[i], &letter)) {
                if (letter.type == HG_LETTER_KEYS) {
                    keys[i] = letter.body.keys;
                    keys_count[i]++;
                    continue;
                }
                keys_changed_count += letter.type == HG_LETTER_KEY_CHANGED;
                cloned_count += letter.type == HG_LETTER_PEER_CLONED;
                if (letter.type == HG_LETTER_KEY_CHANGED || letter.type == HG_LETTER_PEER_CLONED)
                    continue;
                CU_ASSERT_EQUAL_FATAL(letter.type, HG_LETTER_HANDSHAKE_OUT);
                letter.type = HG_LETTER_HANDSHAKE_IN;
                hg_exchange_letter(&sides[1 - i], &letter, now_ns);
            }
        }
}

static void spi_unknown(uint32_t side)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_SPI_UNKNOWN;
    hg_exchange_letter(&sides[side], &letter, now_ns);
}

static void test_keys_match(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 1);
    CU_ASSERT_EQUAL(keys_count[1], 1);
    CU_ASSERT_EQUAL(keys[0].generation, keys[1].generation);
    CU_ASSERT_EQUAL(keys[0].spi_tx, keys[1].spi_rx);
    CU_ASSERT_EQUAL(memcmp(keys[0].key_tx, keys[1].key_rx, sizeof(keys[0].key_tx)), 0);
}

/* Data under an SPI that we don't hold: our keys are lost or theirs are, so new ones are agreed on. It is no
 * message of the handshake and not counted as a bad one. */
static void test_unknown_spi_asks_for_keys(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    spi_unknown(1);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    CU_ASSERT(keys[1].generation > 1);
    for (uint32_t i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(sides[i].handshakes[0].counters.drop_malformed, 0);
}

/* A late packet of the keys before these asks for nothing; one that keeps coming does. */
static void test_late_packet_of_the_pair_before(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    spi_unknown(1);
    for (uint32_t i = 0; i < 3000 && keys_count[1] < 2; i++)
        run(HG_NS_PER_MS);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    spi_unknown(1);
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    spi_unknown(1);
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[1], 3);
}

static void test_rekey(void)
{
    struct hg_letter letter;
    begin();
    run(3 * HG_NS_PER_S);
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_REKEY;
    hg_exchange_letter(&sides[0], &letter, now_ns);
    letter.peer = 5; /* nobody */
    hg_exchange_letter(&sides[0], &letter, now_ns);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(keys_count[1], 2);
}

static void rekey_ask(uint32_t side, enum hg_rekey why)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_REKEY;
    letter.number = why;
    hg_exchange_letter(&sides[side], &letter, now_ns);
}

static void lanes_are(uint32_t generation)
{
    CU_ASSERT_EQUAL(keys[0].lane_generation, generation);
    CU_ASSERT_EQUAL(keys[1].lane_generation, generation);
    CU_ASSERT_EQUAL(keys[0].generation, keys[1].generation);
}

/* Lanes go on from key to key, as often as one is used up and without ever longer gaps. */
static void test_lanes_go_on(void)
{
    begin();
    run(HG_NS_PER_S);
    uint32_t first = keys[0].generation;
    lanes_are(first);
    for (uint32_t i = 0; i < 50; i++) {
        rekey_ask(i % 2, HG_REKEY_USED);
        if (i % 3 == 0)
            rekey_ask(1 - i % 2, HG_REKEY_USED); /* both at once */
        run(HG_HANDSHAKE_HELLO_GAP_NS + 10 * HG_NS_PER_MS);
        lanes_are(first);
    }
    run(HG_NS_PER_S);
    CU_ASSERT(keys_count[0] > 40 && keys_count[0] == keys_count[1]);
    CU_ASSERT(keys[0].generation > first + 40);
    rekey_ask(0, HG_REKEY_SILENT);
    run(HG_NS_PER_S);
    lanes_are(first);
}

/* They begin anew when one side asks for it, has restarted, or could not take the keys that they began with.
 */
static void test_lanes_begin_anew(void)
{
    struct hg_letter filler = {.type = HG_LETTER_KEY_CHANGED};
    begin();
    run(3 * HG_NS_PER_S);
    rekey_ask(1, HG_REKEY_NEW_LANES);
    run(HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    lanes_are(keys[0].generation);
    hg_exchange_wipe(&sides[0]);
    side_start(0);
    run(3 * HG_NS_PER_S);
    lanes_are(keys[0].generation);
    CU_ASSERT_EQUAL(keys_count[0], 1);
    uint32_t lanes = keys[0].lane_generation;
    /* These go on with lanes that the worker has: that it never gets the keys changes nothing about them. */
    rekey_ask(0, HG_REKEY_USED);
    while (hg_mailbox_put(&boxes[0], &filler))
        ;
    run(5 * HG_NS_PER_S);
    lanes_are(lanes);
    hg_exchange_wipe(&sides[1]);
    side_start(1);
    run(HG_NS_PER_S);
    CU_ASSERT(keys[1].lane_generation != lanes);
    lanes_are(keys[1].generation);
}

/* Asked for while an exchange is under way that would have gone on with them: that one does not count. */
static void test_lanes_end_under_way(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    uint32_t lanes = keys[0].lane_generation;
    for (uint32_t side = 0; side < 2; side++) {
        struct hg_letter letter;
        rekey_ask(0, HG_REKEY_USED);
        (void)hg_exchange_tick(&sides[0], now_ns);
        CU_ASSERT_TRUE(hg_mailbox_take(&boxes[0], &letter)); /* HELLO */
        letter.type = HG_LETTER_HANDSHAKE_IN;
        hg_exchange_letter(&sides[1], &letter, now_ns); /* REPLY is on its way */
        rekey_ask(side, HG_REKEY_NEW_LANES);
        run(3 * HG_NS_PER_S);
        lanes_are(keys[0].generation);
        CU_ASSERT(keys[0].lane_generation > lanes);
        lanes = keys[0].lane_generation;
    }
}

/* Another key is a new exchange, and the same one is none. While the sides differ nothing is agreed on. */
static void test_another_key(void)
{
    struct hg_letter filler = {.type = HG_LETTER_KEY_CHANGED};
    begin();
    run(3 * HG_NS_PER_S);
    CU_ASSERT_TRUE(side_key(0));
    CU_ASSERT_TRUE(hg_mailbox_empty(&boxes[0]));
    psk_first[0] = psk_first[1] = 9;
    while (hg_mailbox_put(&boxes[0], &filler))
        ;
    CU_ASSERT_FALSE(side_key(0));
    CU_ASSERT_TRUE(hg_handshake_established(&sides[0].handshakes[0]));
    run(HG_NS_PER_MS);
    keys_changed_count = 0;
    CU_ASSERT_TRUE(side_key(0));
    run(10 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_changed_count, 1);
    CU_ASSERT_EQUAL(keys_count[0], 1);
    CU_ASSERT(sides[1].handshakes[0].counters.drop_mac > 0);
    struct hg_handshake_keys before = keys[0];
    CU_ASSERT_TRUE(side_key(1));
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_changed_count, 2);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    CU_ASSERT_EQUAL(memcmp(keys[0].key_tx, keys[1].key_rx, sizeof(keys[0].key_tx)), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(keys[0].key_tx, before.key_tx, sizeof(before.key_tx)), 0);
}

/* Ended: nothing of the key is left, and nothing is said or heard. */
static void test_ended(void)
{
    static const struct hg_handshake zeros;
    begin();
    run(3 * HG_NS_PER_S);
    hg_exchange_peer_end(&sides[0], 0);
    CU_ASSERT_EQUAL(memcmp(&sides[0].handshakes[0], &zeros, sizeof(zeros)), 0);
    for (int i = 0; i < 3; i++) {
        spi_unknown(1);
        run(3 * HG_NS_PER_S);
    }
    CU_ASSERT_EQUAL(keys_count[0], 1);
    CU_ASSERT_EQUAL(keys_count[1], 1);
    CU_ASSERT_TRUE(side_key(0));
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(keys_count[1], 2);
}

/* The workers are told once that two live, and get no keys of either; another pre-shared key, which only one
 * of the two is given, ends it at once. */
static void test_cloned(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    struct hg_exchange first = sides[1];
    side_start(1);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(cloned_count, 0);
    sides[1] = first; /* the path leads there again */
    spi_unknown(1);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(cloned_count, 1);
    run(3 * HG_HANDSHAKE_ALONE_NS); /* neither counts, also where the other one is not heard */
    CU_ASSERT_EQUAL(cloned_count, 1);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT(sides[0].handshakes[0].counters.drop_cloned > 3);
    psk_first[0] = psk_first[1] = 9;
    CU_ASSERT_TRUE(side_key(0));
    CU_ASSERT_TRUE(side_key(1));
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 3);
}

/* A worker whose mailbox is full is told later, and all of them together. */
static void test_cloned_finds_no_room(void)
{
    struct hg_letter filler = {.type = HG_LETTER_KEY_CHANGED};
    begin();
    run(3 * HG_NS_PER_S);
    sides[0].cloned_due[0] = true;
    while (hg_mailbox_put(&boxes[0], &filler))
        ;
    (void)hg_exchange_tick(&sides[0], now_ns);
    CU_ASSERT_TRUE(sides[0].cloned_due[0]);
    run(HG_NS_PER_S);
    CU_ASSERT_FALSE(sides[0].cloned_due[0]);
    CU_ASSERT_EQUAL(cloned_count, 1);
}

/* Nor does a new key come before they know it. */
static void test_cloned_before_a_new_key(void)
{
    struct hg_letter filler = {.type = HG_LETTER_KEY_CHANGED}, taken;
    begin();
    run(3 * HG_NS_PER_S);
    sides[0].cloned_due[0] = true;
    while (hg_mailbox_put(&boxes[0], &filler))
        ;
    psk_first[0] = psk_first[1] = 9;
    CU_ASSERT_FALSE(side_key(0));
    CU_ASSERT_TRUE(sides[0].cloned_due[0]);
    while (hg_mailbox_take(&boxes[0], &taken))
        ;
    CU_ASSERT_TRUE(side_key(0));
    CU_ASSERT_TRUE(side_key(1));
    CU_ASSERT_EQUAL(hg_mailbox_count(&boxes[0]), 2);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(cloned_count, 1);
    CU_ASSERT_EQUAL(keys_count[0], 2);
}

/* ---- two workers with data, a link between them, and letters that take their time ---- */

#define MODEL_MESSAGES 4096u

struct worker {
    bool up;
    struct hg_handshake_keys current, next; /* generation 0: none */
    uint64_t data_ns, told_ns;
};

struct in_flight {
    uint64_t due_ns;
    uint32_t to; /* side */
    bool to_worker;
    uint32_t spi; /* of data; 0: a letter */
    struct hg_letter letter;
};

static struct worker workers[2];
static struct in_flight model_flights[MODEL_MESSAGES];
static uint32_t model_count;
static uint64_t link_ns, letters_ns;
static uint32_t loss_percent;

static void model_put(uint32_t to, bool to_worker, uint32_t spi, const struct hg_letter *letter,
                      uint64_t delay_ns)
{
    CU_ASSERT_FATAL(model_count < MODEL_MESSAGES);
    struct in_flight *flight = &model_flights[model_count++];
    memset(flight, 0, sizeof(*flight));
    flight->due_ns = now_ns + delay_ns;
    flight->to = to;
    flight->to_worker = to_worker;
    flight->spi = spi;
    if (letter != NULL)
        flight->letter = *letter;
}

/* What a worker does with a packet of data. */
static void model_data(uint32_t to, uint32_t spi)
{
    struct hg_letter letter = {.type = HG_LETTER_SPI_UNKNOWN};
    struct worker *worker = &workers[to];
    if (worker->next.generation != 0 && spi == worker->next.spi_rx) {
        worker->current = worker->next;
        worker->next.generation = 0;
    }
    bool known = worker->current.generation != 0 && spi == worker->current.spi_rx;
    if (known || (worker->told_ns != 0 && now_ns - worker->told_ns < HG_HANDSHAKE_HELLO_GAP_NS))
        return;
    worker->told_ns = now_ns;
    model_put(to, false, 0, &letter, letters_ns);
}

static void model_deliver(const struct in_flight *flight)
{
    if (flight->spi != 0)
        model_data(flight->to, flight->spi);
    else if (!flight->to_worker)
        hg_exchange_letter(&sides[flight->to], &flight->letter, now_ns);
    else if (flight->letter.type == HG_LETTER_KEYS) {
        workers[flight->to].next = flight->letter.body.keys;
        workers[flight->to].data_ns = now_ns;
        keys_count[flight->to]++;
    } else if (random_here(NULL) >> 33 >= (UINT64_C(1) << 31) / 100 * loss_percent) {
        struct hg_letter letter = flight->letter;
        letter.type = HG_LETTER_HANDSHAKE_IN;
        model_put(1 - flight->to, false, 0, &letter, link_ns + letters_ns);
    }
}

/* Everything that is due, in the order in which it was said. */
static void model_step(void)
{
    for (uint32_t i = 0; i < model_count;) {
        if (model_flights[i].due_ns > now_ns) {
            i++;
            continue;
        }
        struct in_flight flight = model_flights[i];
        memmove(&model_flights[i], &model_flights[i + 1], (--model_count - i) * sizeof(flight));
        if (workers[flight.to].up)
            model_deliver(&flight);
    }
}

static void model_run(uint64_t span_ns)
{
    for (uint64_t end_ns = now_ns + span_ns; now_ns < end_ns; now_ns += HG_NS_PER_MS) {
        model_step();
        for (uint32_t i = 0; i < 2; i++) {
            struct hg_letter letter;
            struct worker *worker = &workers[i];
            if (!worker->up)
                continue;
            (void)hg_exchange_tick(&sides[i], now_ns);
            while (hg_mailbox_take(&boxes[i], &letter))
                model_put(i, true, 0, &letter, letters_ns);
            if (now_ns < worker->data_ns)
                continue;
            worker->data_ns = now_ns + 10 * HG_NS_PER_MS;
            if (worker->current.generation != 0)
                model_put(1 - i, true, worker->current.spi_tx, NULL, link_ns);
            if (worker->next.generation != 0)
                model_put(1 - i, true, worker->next.spi_tx, NULL, link_ns);
        }
    }
}

static void model_start(uint32_t side)
{
    memset(&workers[side], 0, sizeof(workers[side]));
    workers[side].up = true;
    side_start(side);
}

static bool model_agreed(void)
{
    return workers[0].current.generation != 0 && workers[0].next.generation == 0 &&
           workers[1].next.generation == 0 && workers[0].current.spi_rx == workers[1].current.spi_tx &&
           workers[1].current.spi_rx == workers[0].current.spi_tx;
}

/* Nodes that start together, one after the other, and again with a new boot while the other one sends: one
 * agreement each time. Data overtakes the keys that open it on their way from housekeeping, and the data of
 * the pair before comes until the sender has heard of the new one. Neither is a reason to agree again. */
static void test_one_agreement_a_start(void)
{
    static const uint64_t delays_ms[] = {1, 20, 90};
    for (uint32_t i = 0; i < 6 * HG_COUNT(delays_ms); i++) {
        uint32_t first = i & 1;
        begin();
        loss_percent = 0;
        model_count = 0;
        memset(workers, 0, sizeof(workers));
        link_ns = delays_ms[i / 6] * HG_NS_PER_MS;
        letters_ns = (i % 3) * 5 * HG_NS_PER_MS;
        model_start(first);
        model_run((i % 3) * 700 * HG_NS_PER_MS);
        model_start(1 - first);
        model_run(8 * HG_NS_PER_S);
        CU_ASSERT_TRUE(model_agreed());
        CU_ASSERT_EQUAL(keys_count[0], 1);
        CU_ASSERT_EQUAL(keys_count[1], 1);
        for (uint32_t again = 0; again < 4; again++) {
            uint32_t side = (first + again) & 1;
            uint32_t other_before = keys_count[1 - side];
            model_start(side);
            model_run(8 * HG_NS_PER_S);
            CU_ASSERT_TRUE(model_agreed());
            CU_ASSERT_EQUAL(keys_count[side], 1);
            CU_ASSERT_EQUAL(keys_count[1 - side], other_before + 1);
        }
    }
}

/* The same with a third of the messages lost, and restarts at any moment: it always ends in keys that both
 * use. */
static void test_agreed_in_the_end(void)
{
    begin();
    uint32_t agreements = 0;
    for (uint32_t seed = 0; seed < 60; seed++) {
        random_state = seed;
        loss_percent = 33;
        model_count = 0;
        memset(workers, 0, sizeof(workers));
        link_ns = (1 + seed % 120) * HG_NS_PER_MS;
        letters_ns = (seed % 7) * HG_NS_PER_MS;
        model_start(0);
        model_start(1);
        for (uint32_t i = 0; i < 4; i++) {
            model_run(random_here(NULL) % 4000 * HG_NS_PER_MS);
            model_start((uint32_t)(random_here(NULL) >> 40 & 1));
        }
        uint64_t deadline_ns = now_ns + 60 * HG_NS_PER_S;
        while (!model_agreed() && now_ns < deadline_ns)
            model_run(100 * HG_NS_PER_MS);
        CU_ASSERT_TRUE(model_agreed());
        agreements += keys_count[0];
    }
    CU_ASSERT(agreements < 60 * 3);
}

/* The worker's box is full whenever side 0 has something to say in answer: keys that did not get there are
 * agreed on again, or this side would wait for ever with nothing to open packets with. */
static void test_keys_that_find_no_room(void)
{
    struct hg_letter letter, filler = {.type = HG_LETTER_STATUS};
    begin();
    for (uint64_t end_ns = now_ns + HG_NS_PER_S; now_ns < end_ns; now_ns += HG_NS_PER_MS) {
        (void)hg_exchange_tick(&sides[0], now_ns);
        while (hg_mailbox_take(&boxes[0], &letter)) {
            CU_ASSERT_NOT_EQUAL(letter.type, HG_LETTER_KEYS);
            letter.type = HG_LETTER_HANDSHAKE_IN;
            hg_exchange_letter(&sides[1], &letter, now_ns);
        }
        (void)hg_exchange_tick(&sides[1], now_ns);
        while (hg_mailbox_take(&boxes[1], &letter)) {
            if (letter.type != HG_LETTER_HANDSHAKE_OUT)
                continue;
            while (hg_mailbox_put(&boxes[0], &filler))
                ;
            letter.type = HG_LETTER_HANDSHAKE_IN;
            hg_exchange_letter(&sides[0], &letter, now_ns);
            while (hg_mailbox_take(&boxes[0], &letter))
                CU_ASSERT_EQUAL(letter.type, HG_LETTER_STATUS);
        }
    }
    CU_ASSERT(boxes[0].refused_count > 0);
    run(30 * HG_NS_PER_S);
    CU_ASSERT(keys_count[0] > 0 && keys_count[1] > 0);
    CU_ASSERT_EQUAL(keys[0].generation, keys[1].generation);
    CU_ASSERT_EQUAL(memcmp(keys[0].key_tx, keys[1].key_rx, sizeof(keys[0].key_tx)), 0);
}

/* Letters about peers that there are not. */
static void test_unknown_peer(void)
{
    struct hg_letter letter = {.type = HG_LETTER_REKEY};
    begin();
    for (letter.peer = 1; letter.peer < HG_CONTROL_PEERS_MAX + 3; letter.peer++)
        hg_exchange_letter(&sides[0], &letter, now_ns);
    letter.peer = UINT32_MAX;
    hg_exchange_letter(&sides[0], &letter, now_ns);
    CU_ASSERT_TRUE(hg_mailbox_empty(&boxes[0]));
}

/* Two workers here, one there: each worker gets the keys of its own lanes, the handshake itself is worker
 * 0's. */
static void test_workers(void)
{
    static struct hg_mailbox second;
    struct hg_letter letter;
    begin();
    memset(&second, 0, sizeof(second));
    hg_exchange_wipe(&sides[0]);
    hg_exchange_init(&sides[0], &clock_here, (struct hg_mailbox *const[]){&boxes[0], &second}, 2);
    CU_ASSERT_TRUE(side_key(0));
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 1);
    CU_ASSERT_EQUAL(keys[0].worker_local, 0);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    CU_ASSERT_EQUAL(keys[1].workers_remote, 2);
    CU_ASSERT_EQUAL(keys[1].worker_remote, 1);
    CU_ASSERT_TRUE_FATAL(hg_mailbox_take(&second, &letter));
    CU_ASSERT_EQUAL_FATAL(letter.type, HG_LETTER_KEYS);
    CU_ASSERT_EQUAL(letter.body.keys.worker_local, 1);
    CU_ASSERT_EQUAL(letter.body.keys.spi_rx, keys[1].spi_tx);
    CU_ASSERT_EQUAL(memcmp(letter.body.keys.key_tx, keys[1].key_rx, sizeof(keys[1].key_rx)), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(letter.body.keys.key_tx, keys[0].key_tx, sizeof(keys[0].key_tx)), 0);
    CU_ASSERT_TRUE(hg_mailbox_empty(&second));
    psk_first[0] = 1; /* both are told, or none is */
    struct hg_letter filler = {.type = HG_LETTER_STATUS};
    while (hg_mailbox_put(&second, &filler))
        ;
    CU_ASSERT_FALSE(side_key(0));
    CU_ASSERT_TRUE(hg_mailbox_empty(&boxes[0]));
    (void)hg_mailbox_take(&second, &letter);
    CU_ASSERT_TRUE(side_key(0));
    CU_ASSERT_EQUAL(hg_mailbox_count(&boxes[0]), 1);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("exchange", NULL, NULL);
    CU_add_test(suite, "both sides get the same keys", test_keys_match);
    CU_add_test(suite, "an unknown SPI asks for keys", test_unknown_spi_asks_for_keys);
    CU_add_test(suite, "a late packet of the pair before does not", test_late_packet_of_the_pair_before);
    CU_add_test(suite, "asked for new keys", test_rekey);
    CU_add_test(suite, "lanes go on", test_lanes_go_on);
    CU_add_test(suite, "lanes begin anew", test_lanes_begin_anew);
    CU_add_test(suite, "lanes end under way", test_lanes_end_under_way);
    CU_add_test(suite, "another pre-shared key", test_another_key);
    CU_add_test(suite, "an exchange that is ended", test_ended);
    CU_add_test(suite, "two of one identity", test_cloned);
    CU_add_test(suite, "two of one identity, and no room to say it", test_cloned_finds_no_room);
    CU_add_test(suite, "two of one identity, then a new key", test_cloned_before_a_new_key);
    CU_add_test(suite, "one agreement a start", test_one_agreement_a_start);
    CU_add_test(suite, "agreed in the end", test_agreed_in_the_end);
    CU_add_test(suite, "keys that find no room", test_keys_that_find_no_room);
    CU_add_test(suite, "an unknown peer", test_unknown_peer);
    CU_add_test(suite, "several workers", test_workers);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
