/* SPDX-License-Identifier: Apache-2.0
 *
 * Two keyrings that agree on keys, renew them, lose packets, and are sent anything besides: the input says in
 * which order. Packets that a side sealed under keys that the other has open there; nothing foreign ever
 * does; packet numbers never fall.
 */
#include "dataplane/security/esp_sa.h"
#include "dataplane/security/keyring.h"

#include <stdlib.h>

#define LINGER_NS (50 * HG_NS_PER_MS)

struct side {
    struct hg_keyring ring;
    void *memory;
    uint32_t generation;
    uint64_t number_last; /* sent */
    uint64_t received;    /* largest */
};

static uint64_t now_ns;
static uint8_t packet[256], inner[256];

static void add(struct side *side, uint32_t which)
{
    struct hg_handshake_keys keys;
    memset(&keys, 0, sizeof(keys));
    keys.generation = ++side->generation;
    keys.spi_tx = 4096 * keys.generation + 1000 * which;
    keys.spi_rx = 4096 * keys.generation + 1000 * (1 - which);
    memset(keys.key_tx, (int)(2 * keys.generation + which), sizeof(keys.key_tx));
    memset(keys.key_rx, (int)(2 * keys.generation + 1 - which), sizeof(keys.key_rx));
    hg_keyring_add(&side->ring, &keys, side->received, now_ns);
}

static bool arrives(struct side *side, const uint8_t *esp, uint32_t bytes)
{
    uint32_t inner_bytes;
    uint64_t number;
    int32_t place = hg_keyring_find(&side->ring, hg_esp_spi(esp, bytes));
    if (place < 0 ||
        hg_keyring_open(&side->ring, (uint32_t)place, esp, bytes, inner, &inner_bytes, &number) != HG_ESP_OK)
        return false;
    side->received = hg_max_u64(side->received, number);
    (void)hg_keyring_opened(&side->ring, (uint32_t)place, LINGER_NS, now_ns);
    return true;
}

static void send(struct side *from, struct side *to, bool lost)
{
    static uint8_t text[] = "text";
    struct iovec piece = {text, 4};
    bool probe = hg_keyring_probe_due(&from->ring, now_ns);
    if (probe)
        hg_keyring_probed(&from->ring, now_ns);
    else if (!hg_keyring_may_seal(&from->ring, now_ns))
        return;
    hg_assert(from->ring.number_next > from->number_last);
    from->number_last = from->ring.number_next;
    uint32_t bytes = hg_keyring_seal(&from->ring, probe, &piece, 1, packet, sizeof(packet));
    hg_assert(bytes > 0);
    bool known = hg_keyring_find(&to->ring, hg_esp_spi(packet, bytes)) >= 0;
    if (!lost)
        hg_assert(arrives(to, packet, bytes) == known);
    else if (known) { /* anything of it changed: it does not open */
        packet[bytes - 1] ^= 1;
        hg_assert(!arrives(to, packet, bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct side sides[2];
    struct hg_key_limits limits = hg_key_limits_make(0, 0, 0);
    now_ns = HG_NS_PER_S;
    for (uint32_t i = 0; i < 2; i++) {
        void *memory = sides[i].memory != NULL ? sides[i].memory : aligned_alloc(64, hg_keyring_bytes());
        hg_assert(memory != NULL);
        memset(&sides[i], 0, sizeof(sides[i]));
        sides[i].memory = memory;
        hg_keyring_init(&sides[i].ring, memory, &limits);
        add(&sides[i], i);
    }
    for (size_t at = 0; at < bytes; at++) {
        uint32_t which = data[at] & 1;
        struct side *side = &sides[which], *other = &sides[1 - which];
        now_ns += (uint64_t)(data[at] >> 4) * HG_NS_PER_MS;
        switch (data[at] >> 1 & 7) {
        case 0: /* at most one generation ahead, as an exchange has it */
            if (side->generation <= other->generation)
                add(side, which);
            break;
        case 1:
            hg_keyring_tick(&side->ring, now_ns);
            break;
        case 2:
            (void)hg_keyring_wants_rekey(&side->ring, now_ns);
            hg_assert(!arrives(side, data + at, (uint32_t)hg_min_u64(bytes - at, 200)));
            break;
        case 3:
            send(side, other, true);
            break;
        default:
            send(side, other, false);
        }
    }
    return 0;
}
