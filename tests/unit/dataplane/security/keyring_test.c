/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/esp_sa.h"
#include "dataplane/security/keyring.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <stdlib.h>

#define LINGER_NS (300 * HG_NS_PER_MS)

/* Two sides that agree on keys. */
struct side {
    struct hg_keyring ring;
    uint8_t *memory;
    uint64_t received; /* largest number */
};
static struct side sides[2];
static uint64_t now_ns;
static uint8_t esp[2048], inner[2048];

static void sides_make(const struct hg_key_limits *limits)
{
    struct hg_key_limits standard = hg_key_limits_make(0, 0, 0);
    now_ns = 5 * HG_NS_PER_S;
    for (uint32_t i = 0; i < 2; i++) {
        memset(&sides[i], 0, sizeof(sides[i]));
        sides[i].memory = aligned_alloc(64, hg_keyring_bytes());
        CU_ASSERT_PTR_NOT_NULL_FATAL(sides[i].memory);
        memset(sides[i].memory, 0, hg_keyring_bytes());
        hg_keyring_init(&sides[i].ring, sides[i].memory, limits != NULL ? limits : &standard);
    }
}

static void sides_free(void)
{
    free(sides[0].memory);
    free(sides[1].memory);
}

static void keys_add(uint32_t side, uint32_t generation)
{
    struct hg_handshake_keys keys;
    memset(&keys, 0, sizeof(keys));
    keys.generation = generation;
    keys.spi_tx = 4096 * generation + 1000 * side;
    keys.spi_rx = 4096 * generation + 1000 * (1 - side);
    memset(keys.key_tx, (int)(2 * generation + side), sizeof(keys.key_tx));
    memset(keys.key_rx, (int)(2 * generation + 1 - side), sizeof(keys.key_rx));
    hg_keyring_add(&sides[side].ring, &keys, sides[side].received, now_ns);
}

static uint32_t seal(uint32_t side, bool probe)
{
    static uint8_t text[] = "some bytes";
    struct iovec piece = {text, 10};
    uint32_t bytes = hg_keyring_seal(&sides[side].ring, probe, &piece, 1, esp, sizeof(esp));
    if (probe)
        hg_keyring_probed(&sides[side].ring, now_ns);
    return bytes;
}

/* True when the packet opens. */
static bool arrives(uint32_t side, const uint8_t *packet, uint32_t bytes)
{
    struct hg_keyring *ring = &sides[side].ring;
    uint32_t inner_bytes;
    uint64_t number;
    int32_t place = hg_keyring_find(ring, hg_esp_spi(packet, bytes));
    if (place < 0 ||
        hg_keyring_open(ring, (uint32_t)place, packet, bytes, inner, &inner_bytes, &number) != HG_ESP_OK)
        return false;
    CU_ASSERT_EQUAL(inner_bytes, 10);
    sides[side].received = hg_max_u64(sides[side].received, number);
    (void)hg_keyring_opened(ring, (uint32_t)place, LINGER_NS, now_ns);
    return true;
}

static bool passes(uint32_t from, bool probe)
{
    uint32_t bytes = seal(from, probe);
    return bytes > 0 && arrives(1 - from, esp, bytes);
}

static bool zeros(const void *memory, uint64_t bytes)
{
    const uint8_t *at = memory;
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* Both sides go on under the old keys until each has seen the other's new ones; the old ones are gone from
 * memory in time. */
static void test_make_before_break(void)
{
    sides_make(NULL);
    keys_add(0, 1);
    keys_add(1, 1);
    CU_ASSERT(passes(0, false) && passes(1, false));
    struct hg_keyring_place *old = &sides[0].ring.places[sides[0].ring.current];
    keys_add(0, 2);
    CU_ASSERT_EQUAL(hg_keyring_generation(&sides[0].ring), 1);
    CU_ASSERT(hg_keyring_probe_due(&sides[0].ring, now_ns));
    CU_ASSERT_FALSE(passes(0, true)); /* the other side has no such keys yet */
    CU_ASSERT_FALSE(hg_keyring_probe_due(&sides[0].ring, now_ns));
    CU_ASSERT(passes(0, false) && passes(1, false));
    uint32_t late_bytes = seal(1, false);
    uint8_t late[256];
    memcpy(late, esp, late_bytes);
    keys_add(1, 2);
    now_ns += HG_KEYRING_PROBE_NS;
    CU_ASSERT(hg_keyring_probe_due(&sides[0].ring, now_ns));
    CU_ASSERT(passes(0, true));
    CU_ASSERT_EQUAL(hg_keyring_generation(&sides[1].ring), 2);
    CU_ASSERT_FALSE(hg_keyring_probe_due(&sides[1].ring, now_ns + HG_NS_PER_S));
    CU_ASSERT_EQUAL(hg_keyring_generation(&sides[0].ring), 1);
    CU_ASSERT(passes(0, false)); /* still under the old ones */
    CU_ASSERT(passes(1, false));
    CU_ASSERT_EQUAL(hg_keyring_generation(&sides[0].ring), 2);
    CU_ASSERT(zeros(old->tx, hg_esp_sa_bytes())); /* seals nothing more */
    CU_ASSERT_FALSE(zeros(old->rx, hg_esp_sa_bytes()));
    now_ns += LINGER_NS - 1;
    hg_keyring_tick(&sides[0].ring, now_ns);
    CU_ASSERT(arrives(0, late, late_bytes)); /* was under way, and makes the old ones stay */
    CU_ASSERT_EQUAL(hg_keyring_generation(&sides[0].ring), 2);
    now_ns += LINGER_NS - 1;
    hg_keyring_tick(&sides[0].ring, now_ns);
    CU_ASSERT_EQUAL(old->generation, 1);
    now_ns++;
    hg_keyring_tick(&sides[0].ring, now_ns);
    CU_ASSERT_EQUAL(old->generation, 0);
    CU_ASSERT(zeros(old->rx, hg_esp_sa_bytes()));
    CU_ASSERT_EQUAL(sides[0].ring.spi_replaced, 4096 + 1000);
    CU_ASSERT(passes(0, false) && passes(1, false));
    hg_keyring_wipe(&sides[0].ring);
    CU_ASSERT(zeros(sides[0].memory, hg_keyring_bytes()));
    sides_free();
}

/* Hundreds of renewals, packets lost and late at random: numbers never fall, nothing that arrives within
 * reason is refused, and both sides end under the newest. */
static void test_many(void)
{
    struct hg_random random;
    hg_random_init(&random, 3);
    sides_make(NULL);
    uint32_t generation[2] = {1, 1}, refused = 0;
    uint64_t last[2] = {0, 0};
    keys_add(0, 1);
    keys_add(1, 1);
    for (uint32_t i = 0; i < 40000; i++) {
        uint32_t side = hg_random_below(&random, 2);
        bool both = generation[0] == generation[1] &&
                    hg_keyring_generation(&sides[0].ring) == generation[0] &&
                    hg_keyring_generation(&sides[1].ring) == generation[0];
        if (generation[side] < generation[1 - side] || (both && hg_random_below(&random, 50) == 0))
            keys_add(side, ++generation[side]);
        bool probe = hg_keyring_probe_due(&sides[side].ring, now_ns);
        CU_ASSERT_FATAL(sides[side].ring.number_next > last[side]);
        last[side] = sides[side].ring.number_next;
        uint32_t bytes = seal(side, probe);
        CU_ASSERT_FATAL(bytes > 0);
        bool known = hg_keyring_find(&sides[1 - side].ring, hg_esp_spi(esp, bytes)) >= 0;
        CU_ASSERT_FATAL(known || probe); /* data never goes out under keys that the other side may not have */
        if (hg_random_below(&random, 10) != 0)
            refused += !arrives(1 - side, esp, bytes) && known;
        now_ns += HG_NS_PER_MS;
        hg_keyring_tick(&sides[0].ring, now_ns);
        hg_keyring_tick(&sides[1].ring, now_ns);
    }
    CU_ASSERT_EQUAL(refused, 0);
    CU_ASSERT(generation[0] > 300);
    sides_free();
}

/* One side renews again and again and the other never hears of it: what is in use stays. */
static void test_one_sided(void)
{
    sides_make(NULL);
    keys_add(0, 1);
    keys_add(1, 1);
    for (uint32_t generation = 2; generation < 30; generation++) {
        keys_add(0, generation);
        CU_ASSERT_FALSE(passes(0, true));
        CU_ASSERT(passes(0, false) && passes(1, false));
        CU_ASSERT_EQUAL(hg_keyring_generation(&sides[0].ring), 1);
    }
    hg_keyring_waiting_wipe(&sides[0].ring);
    uint32_t used = 0;
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        used += sides[0].ring.places[i].generation != 0;
    CU_ASSERT_EQUAL(used, 1);
    CU_ASSERT_FALSE(hg_keyring_probe_due(&sides[0].ring, now_ns + HG_NS_PER_S));
    CU_ASSERT(passes(0, false) && passes(1, false));
    sides_free();
}

static void test_soft_limits(void)
{
    struct hg_key_limits limits = hg_key_limits_make(300, UINT64_C(1) << 20, HG_NS_PER_S);
    CU_ASSERT_EQUAL(limits.packets, 300);
    CU_ASSERT_EQUAL(hg_key_limits_make(1, 1, 1).packets, HG_KEY_PACKETS_SOFT_MIN);
    CU_ASSERT_EQUAL(hg_key_limits_make(1, 1, 1).bytes, HG_KEY_BYTES_SOFT_MIN);
    CU_ASSERT_EQUAL(hg_key_limits_make(1, 1, 1).age_ns, HG_KEY_AGE_NS_SOFT_MIN);
    CU_ASSERT_EQUAL(hg_key_limits_make(UINT64_MAX, 0, 0).packets, HG_KEY_PACKETS_SOFT_MAX);
    sides_make(&limits);
    struct hg_keyring *ring = &sides[0].ring;
    keys_add(0, 1);
    keys_add(1, 1);
    for (uint32_t i = 0; i < 300; i++) {
        CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns));
        CU_ASSERT(passes(0, false));
    }
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns));
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(&sides[1].ring, now_ns)); /* it sealed nothing */
    keys_add(0, 2);
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns)); /* on their way into use */
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns + HG_KEYRING_SETTLE_NS));
    keys_add(1, 2);
    CU_ASSERT(passes(1, true));
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns));
    ring->places[ring->current].tx->bytes = limits.bytes - 1;
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns));
    CU_ASSERT(passes(0, false));
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns));
    ring->places[ring->current].tx->bytes = 0;
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns + limits.age_ns));
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns + limits.age_ns - 1));
    /* Forgeries are counted where packets are opened. */
    ring->places[ring->current].rx->failures = HG_KEY_FAILURES_SOFT_MAX - 1;
    CU_ASSERT_FALSE(hg_keyring_wants_rekey(ring, now_ns));
    uint32_t bytes = seal(1, false);
    esp[20] ^= 1;
    CU_ASSERT_FALSE(arrives(0, esp, bytes));
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns));
    sides_free();
}

/* At a hard limit nothing is sealed or opened; newer keys go on. */
static void test_hard_limits(void)
{
    sides_make(NULL);
    struct hg_keyring *ring = &sides[0].ring;
    keys_add(0, 1);
    keys_add(1, 1);
    struct hg_keyring_place *place = &ring->places[ring->current];
    CU_ASSERT(hg_keyring_may_seal(ring, now_ns));
    CU_ASSERT_FALSE(hg_keyring_may_seal(ring, now_ns + HG_KEY_AGE_NS_HARD_MAX));
    place->tx->packets = HG_KEY_PACKETS_HARD_MAX - 1;
    CU_ASSERT(passes(0, false));
    CU_ASSERT_FALSE(hg_keyring_may_seal(ring, now_ns));
    CU_ASSERT_FALSE(passes(0, false));
    place->rx->failures = HG_KEY_FAILURES_HARD_MAX;
    CU_ASSERT_FALSE(passes(1, false)); /* a good one, and yet */
    CU_ASSERT_EQUAL(place->generation, 0);
    CU_ASSERT(zeros(place->rx, hg_esp_sa_bytes()) && zeros(place->tx, hg_esp_sa_bytes()));
    CU_ASSERT_EQUAL(hg_keyring_generation(ring), 0);
    CU_ASSERT_FALSE(hg_keyring_may_seal(ring, now_ns));
    CU_ASSERT(hg_keyring_wants_rekey(ring, now_ns));
    CU_ASSERT_FALSE(passes(0, false));
    keys_add(0, 2);
    keys_add(1, 2);
    CU_ASSERT(passes(1, true));
    CU_ASSERT(passes(0, false) && passes(1, false));
    CU_ASSERT_EQUAL(hg_keyring_generation(ring), 2);
    sides_free();
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("keyring", NULL, NULL);
    CU_ADD_TEST(suite, test_make_before_break);
    CU_ADD_TEST(suite, test_many);
    CU_ADD_TEST(suite, test_one_sided);
    CU_ADD_TEST(suite, test_soft_limits);
    CU_ADD_TEST(suite, test_hard_limits);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
