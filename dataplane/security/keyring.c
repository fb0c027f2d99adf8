/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/keyring.h"

static uint64_t sa_bytes(void)
{
    return hg_align_up(hg_esp_sa_bytes(), HG_CACHE_LINE_BYTES);
}

uint64_t hg_keyring_bytes(void)
{
    return 2 * HG_KEYRING_PLACES * sa_bytes();
}

void hg_keyring_init(struct hg_keyring *ring, void *memory, const struct hg_key_limits *limits)
{
    memset(ring, 0, sizeof(*ring));
    ring->limits = *limits;
    ring->number_next = 1;
    ring->probe_ns = HG_TIME_NEVER;
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++) {
        ring->places[i].tx = (struct hg_esp_sa *)((uint8_t *)memory + 2 * i * sa_bytes());
        ring->places[i].rx = (struct hg_esp_sa *)((uint8_t *)memory + (2 * i + 1) * sa_bytes());
    }
}

static void place_wipe(struct hg_keyring *ring, uint32_t index)
{
    struct hg_keyring_place *place = &ring->places[index];
    if (place->generation != 0)
        ring->spi_replaced = hg_esp_sa_spi(place->rx);
    hg_esp_sa_wipe(place->tx);
    hg_esp_sa_wipe(place->rx);
    place->generation = 0;
}

void hg_keyring_wipe(struct hg_keyring *ring)
{
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        place_wipe(ring, i);
    ring->probe_ns = HG_TIME_NEVER;
}

void hg_keyring_waiting_wipe(struct hg_keyring *ring)
{
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        if (i != ring->current && ring->places[i].generation > ring->places[ring->current].generation)
            place_wipe(ring, i);
    ring->newest = ring->current;
    ring->probe_ns = HG_TIME_NEVER;
}

/* A free one, or the oldest that is not in use. */
static uint32_t place_take(struct hg_keyring *ring)
{
    uint32_t found = ring->current == 0 ? 1 : 0;
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++) {
        if (ring->places[i].generation == 0)
            return i;
        if (i != ring->current && ring->places[i].generation < ring->places[found].generation)
            found = i;
    }
    place_wipe(ring, found);
    return found;
}

void hg_keyring_add(struct hg_keyring *ring, const struct hg_handshake_keys *keys, uint64_t number_received,
                    uint64_t now_ns)
{
    bool first = ring->places[ring->newest].generation == 0;
    hg_assert(keys->generation > ring->places[ring->newest].generation);
    uint32_t taken = place_take(ring);
    struct hg_keyring_place *place = &ring->places[taken];
    (void)hg_esp_sa_init(place->tx, keys->spi_tx, keys->key_tx, keys->salt_tx);
    (void)hg_esp_sa_init(place->rx, keys->spi_rx, keys->key_rx, keys->salt_rx);
    hg_esp_number_received_set(place->rx, number_received);
    place->generation = keys->generation;
    place->since_ns = now_ns;
    place->end_ns = HG_TIME_NEVER;
    ring->newest = taken;
    if (first)
        ring->current = taken;
    ring->probe_ns = first ? HG_TIME_NEVER : now_ns;
    ring->probe_gap_ns = HG_KEYRING_PROBE_NS;
}

enum hg_esp_reason hg_keyring_open(struct hg_keyring *ring, uint32_t place, const uint8_t *esp,
                                   uint32_t esp_bytes, uint8_t *inner, uint32_t *inner_bytes,
                                   uint64_t *packet_number)
{
    enum hg_esp_reason reason =
        hg_esp_open(ring->places[place].rx, esp, esp_bytes, inner, inner_bytes, packet_number);
    if (reason == HG_ESP_EXHAUSTED)
        place_wipe(ring, place);
    return reason;
}

/* Keys that newer ones replaced seal nothing more. */
static void older_retire(struct hg_keyring *ring, uint64_t linger_ns, uint64_t now_ns)
{
    uint32_t generation = ring->places[ring->current].generation;
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++) {
        struct hg_keyring_place *place = &ring->places[i];
        if (place->generation == 0 || place->generation >= generation || place->end_ns != HG_TIME_NEVER)
            continue;
        hg_esp_sa_wipe(place->tx);
        place->end_ns = now_ns + linger_ns;
    }
}

bool hg_keyring_opened(struct hg_keyring *ring, uint32_t place, uint64_t linger_ns, uint64_t now_ns)
{
    struct hg_keyring_place *opened = &ring->places[place];
    if (place == ring->current || opened->generation == 0)
        return false;
    if (opened->end_ns != HG_TIME_NEVER) {
        opened->end_ns = now_ns + linger_ns;
        ring->late_count++;
        return false;
    }
    ring->current = place; /* neither retired nor in use: newer than what is */
    older_retire(ring, linger_ns, now_ns);
    if (place == ring->newest)
        ring->probe_ns = HG_TIME_NEVER;
    return true;
}

bool hg_keyring_may_seal(const struct hg_keyring *ring, uint64_t now_ns)
{
    const struct hg_keyring_place *place = &ring->places[ring->current];
    return place->generation != 0 && now_ns - place->since_ns < HG_KEY_AGE_NS_HARD_MAX &&
           hg_esp_may_seal(place->tx);
}

uint32_t hg_keyring_seal(struct hg_keyring *ring, bool probe, const struct iovec *pieces,
                         uint32_t piece_count, uint8_t *esp, uint32_t esp_bytes_max)
{
#ifdef HG_SEEDED_BUG_SEAL_TOO_EARLY
    probe = true;
#endif
    const struct hg_keyring_place *place = &ring->places[probe ? ring->newest : ring->current];
    uint64_t number = ring->number_next++;
    if (place->generation == 0)
        return 0;
    hg_esp_next_number_set(place->tx, number);
    return hg_esp_seal(place->tx, pieces, piece_count, esp, esp_bytes_max);
}

void hg_keyring_probed(struct hg_keyring *ring, uint64_t now_ns)
{
    ring->probe_ns = now_ns + ring->probe_gap_ns;
    ring->probe_gap_ns = hg_min_u64(2 * ring->probe_gap_ns, HG_KEYRING_PROBE_NS_MAX);
}

bool hg_keyring_wants_rekey(const struct hg_keyring *ring, uint64_t now_ns)
{
    const struct hg_keyring_place *place = &ring->places[ring->current];
    if (ring->newest != ring->current && ring->places[ring->newest].generation != 0 &&
        now_ns - ring->places[ring->newest].since_ns < HG_KEYRING_SETTLE_NS)
        return false;
    return place->generation == 0 || now_ns - place->since_ns >= ring->limits.age_ns ||
           hg_esp_packets(place->tx) >= ring->limits.packets ||
           hg_esp_sealed_bytes(place->tx) >= ring->limits.bytes ||
           hg_esp_failures(place->rx) >= HG_KEY_FAILURES_SOFT_MAX;
}

void hg_keyring_tick(struct hg_keyring *ring, uint64_t now_ns)
{
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        if (ring->places[i].generation != 0 && ring->places[i].end_ns <= now_ns)
            place_wipe(ring, i);
}

uint32_t hg_keyring_generation(const struct hg_keyring *ring)
{
    return ring->places[ring->current].generation;
}

uint32_t hg_keyring_spi(const struct hg_keyring *ring)
{
    const struct hg_keyring_place *place = &ring->places[ring->current];
    return place->generation != 0 ? hg_esp_sa_spi(place->rx) : 0;
}
