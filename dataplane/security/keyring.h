/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of one lane, generation by generation. New keys replace the ones before without a pause (make
 * before break): all of them open packets; the ones in use go on sealing until a packet opens under newer
 * ones, which proves that the other side has those. What is under way under the older ones still opens until
 * none of it came for a while; then they are wiped. Meanwhile a packet with nothing in it goes out under the
 * newest keys now and then, so that either side gets its proof whatever is lost.
 *
 * Packet numbers go on from key to key, so a lane does not notice: what is in flight, acknowledged and
 * remembered has one space of numbers. Pure; owned by the worker that owns the lane. Allocates nothing.
 */
#ifndef HG_SECURITY_KEYRING_H
#define HG_SECURITY_KEYRING_H

#include "dataplane/security/handshake.h"
#include "dataplane/security/limits.h"

#define HG_KEYRING_PLACES       4u                   /* retired, in use, agreed on, and one to spare */
#define HG_KEYRING_PROBE_NS     (10 * HG_NS_PER_MS)  /* between packets under keys not in use yet, doubling */
#define HG_KEYRING_PROBE_NS_MAX (500 * HG_NS_PER_MS) /* up to this */
#define HG_KEYRING_SETTLE_NS    (3 * HG_NS_PER_S)    /* new keys have this long to come into use */

struct hg_keyring_place {
    uint32_t generation; /* 0 = free */
    uint64_t since_ns;   /* agreed on */
    uint64_t end_ns;     /* retired: opens packets until then; HG_TIME_NEVER = not retired */
    struct hg_esp_sa *tx;
    struct hg_esp_sa *rx;
};

struct hg_keyring {
    struct hg_key_limits limits;
    struct hg_keyring_place places[HG_KEYRING_PLACES];
    uint32_t current;     /* the place that seals */
    uint32_t newest;      /* place */
    uint64_t number_next; /* of the next packet, under whichever keys */
    uint64_t probe_ns;    /* when the next packet under the newest keys is due; HG_TIME_NEVER: in use */
    uint64_t probe_gap_ns;
    uint64_t late_count;   /* packets that opened under retired keys */
    uint32_t spi_replaced; /* for receiving, of the keys that were wiped last; 0 = none */
};

/* 64-byte aligned memory for the SAs of a ring. */
uint64_t hg_keyring_bytes(void);
void hg_keyring_init(struct hg_keyring *ring, void *memory, const struct hg_key_limits *limits);
/* Wipes everything; init begins anew. */
void hg_keyring_wipe(struct hg_keyring *ring);

/* New keys, of a higher generation than all before; the first are in use at once. number_received: the
 * largest packet number that came from the other side, 0 = none: the replay window begins there. The caller
 * wipes *keys. */
void hg_keyring_add(struct hg_keyring *ring, const struct hg_handshake_keys *keys, uint64_t number_received,
                    uint64_t now_ns);

/* Wipes keys that are not in use yet: they are not to come into use. */
void hg_keyring_waiting_wipe(struct hg_keyring *ring);

/* The place whose receiving SA has this SPI; -1 = none. */
static inline int32_t hg_keyring_find(const struct hg_keyring *ring, uint32_t spi)
{
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        if (ring->places[i].generation != 0 && hg_esp_sa_spi(ring->places[i].rx) == spi)
            return (int32_t)i;
    return -1;
}

/* hg_esp_open under the keys of a place. At the hard limit of failures the place is wiped (EXHAUSTED). */
enum hg_esp_reason hg_keyring_open(struct hg_keyring *ring, uint32_t place, const uint8_t *esp,
                                   uint32_t esp_bytes, uint8_t *inner, uint32_t *inner_bytes,
                                   uint64_t *packet_number);
/* A packet opened there. Newer keys come into use by that: true. The older ones stay for linger_ns after the
 * last packet that opens under them. */
bool hg_keyring_opened(struct hg_keyring *ring, uint32_t place, uint64_t linger_ns, uint64_t now_ns);

/* False: the keys in use are used up (a hard limit), or wiped. Nothing may be built then. */
bool hg_keyring_may_seal(const struct hg_keyring *ring, uint64_t now_ns);
/* hg_esp_seal under the keys in use (or the newest, when `probe`), as packet number_next, which is used up
 * whatever comes of it. */
uint32_t hg_keyring_seal(struct hg_keyring *ring, bool probe, const struct iovec *pieces,
                         uint32_t piece_count, uint8_t *esp, uint32_t esp_bytes_max);
/* A packet under the newest keys is due: the caller builds one and seals it with `probe`. */
static inline bool hg_keyring_probe_due(const struct hg_keyring *ring, uint64_t now_ns)
{
    return ring->probe_ns <= now_ns;
}
/* It was sent. */
void hg_keyring_probed(struct hg_keyring *ring, uint64_t now_ns);

/* True from a soft limit on, unless newer keys are just coming into use. */
bool hg_keyring_wants_rekey(const struct hg_keyring *ring, uint64_t now_ns);
/* Wipes retired keys whose time is over. Now and then. */
void hg_keyring_tick(struct hg_keyring *ring, uint64_t now_ns);

/* Of the keys in use; 0 without any. */
uint32_t hg_keyring_generation(const struct hg_keyring *ring);
uint32_t hg_keyring_spi(const struct hg_keyring *ring); /* for receiving */

#endif
