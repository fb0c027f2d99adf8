/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/exchange.h"

#include <CUnit/Basic.h>

static struct hg_mailbox boxes[2];
static struct hg_exchange sides[2];
static struct hg_clock clock_here;
static uint64_t random_state, now_ns;
static struct hg_handshake_keys keys[2];
static uint32_t keys_count[2];

static uint64_t random_here(struct hg_clock *clock)
{
    (void)clock;
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state;
}

static void begin(void)
{
    random_state = 1;
    now_ns = HG_NS_PER_S;
    clock_here.random_u64 = random_here;
    memset(boxes, 0, sizeof(boxes));
    memset(keys_count, 0, sizeof(keys_count));
    for (uint32_t i = 0; i < 2; i++) {
        struct hg_handshake_config config;
        memset(&config, 0, sizeof(config));
        config.cluster = 7;
        config.node_local = 1 + i;
        config.node_remote = 2 - i;
        config.boot_local = 100 + i;
        config.workers_local = 1;
        hg_exchange_init(&sides[i], &clock_here, &boxes[i]);
        hg_exchange_peer(&sides[i], 0, &config, now_ns);
    }
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
                CU_ASSERT_EQUAL_FATAL(letter.type, HG_LETTER_HANDSHAKE_OUT);
                letter.type = HG_LETTER_HANDSHAKE_IN;
                hg_exchange_letter(&sides[1 - i], &letter, now_ns);
            }
        }
}

static void spi_unknown(uint32_t side, uint32_t spi)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_SPI_UNKNOWN;
    letter.number = spi;
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
    spi_unknown(1, 0x01777777);
    run(3 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[0], 2);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    CU_ASSERT(keys[1].generation > 1);
    for (uint32_t i = 0; i < 2; i++)
        CU_ASSERT_EQUAL(sides[i].handshakes[0].counters.drop_malformed, 0);
}

/* A late packet of the keys before these asks for nothing. */
static void test_late_packet_of_the_pair_before(void)
{
    begin();
    run(3 * HG_NS_PER_S);
    uint32_t before = keys[1].spi_rx;
    spi_unknown(1, 0x01777777);
    for (uint32_t i = 0; i < 3000 && keys_count[1] < 2; i++)
        run(HG_NS_PER_MS);
    CU_ASSERT_EQUAL(keys_count[1], 2);
    spi_unknown(1, before);
    run(5 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(keys_count[1], 2);
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

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("exchange", NULL, NULL);
    CU_add_test(suite, "both sides get the same keys", test_keys_match);
    CU_add_test(suite, "an unknown SPI asks for keys", test_unknown_spi_asks_for_keys);
    CU_add_test(suite, "a late packet of the pair before does not", test_late_packet_of_the_pair_before);
    CU_add_test(suite, "asked for new keys", test_rekey);
    CU_add_test(suite, "keys that find no room", test_keys_that_find_no_room);
    CU_add_test(suite, "an unknown peer", test_unknown_peer);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
