/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants of keys: no number twice under one, none used before the other side has it, and lanes that
 * outlive them.
 */
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <xxhash.h>

#define OUTER_BYTES     HG_WIRE_OUTER_BYTES
#define NUMBERS_MAX     (UINT64_C(1) << 26)
#define EMPTY_BYTES_MAX 60u /* of ESP around a transport header and one byte */

static int letter_of(uint32_t node)
{
    return (int)('A' + node);
}

/* ---- keys, and the packets under each ---- */

static struct sim_key *key_find(const struct sim_world *world, uint64_t key)
{
    uint32_t at = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & world->keys_mask;
    while (world->keys[at].key != 0 && world->keys[at].key != key)
        at = (at + 1) & world->keys_mask;
    return &world->keys[at];
}

static void keys_grow(struct sim_world *world)
{
    struct sim_key *old = world->keys;
    uint32_t old_count = old == NULL ? 0 : world->keys_mask + 1;
    world->keys_mask = old == NULL ? 255 : world->keys_mask * 2 + 1;
    world->keys = calloc((size_t)world->keys_mask + 1, sizeof(world->keys[0]));
    hg_assert(world->keys != NULL);
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].key != 0)
            *key_find(world, old[i].key) = old[i];
    free(old);
}

static struct sim_key *key_put(struct sim_world *world, uint64_t key)
{
    if (world->keys == NULL || world->keys_count * 2 >= world->keys_mask)
        keys_grow(world);
    struct sim_key *found = key_find(world, key);
    world->keys_count += found->key == 0;
    found->key = key;
    return found;
}

void hg_sim_keys_free(struct sim_world *world)
{
    for (uint32_t i = 0; world->keys != NULL && i <= world->keys_mask; i++)
        free(world->keys[i].contents);
    free(world->keys);
}

/* What was sealed under the number; 0 = nothing yet. Numbers begin at 1 and rise. */
static uint64_t *content_at(struct sim_key *key, uint64_t number)
{
    hg_assert(number < NUMBERS_MAX);
    if (number >= key->contents_max) {
        uint64_t max = hg_max_u64(256, key->contents_max);
        while (max <= number)
            max *= 2;
        key->contents = realloc(key->contents, max * sizeof(key->contents[0]));
        hg_assert(key->contents != NULL);
        memset(key->contents + key->contents_max, 0, (max - key->contents_max) * sizeof(key->contents[0]));
        key->contents_max = max;
    }
    return &key->contents[number];
}

/* ---- keys that a node has, or had ---- */

static uint64_t known_key(uint64_t boot, uint32_t spi)
{
    uint64_t of[] = {boot, spi};
    return XXH3_64bits(of, sizeof(of));
}

static void known_put(struct sim_node *node, uint32_t spi)
{
    key_put(node->world, known_key(node->boot, spi))->is_known = true;
}

static void known_note(struct sim_node *node, struct hg_peers *peers)
{
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane)) {
        for (uint32_t i = 0; i < HG_PEER_SESSIONS * HG_KEYRING_PLACES; i++) {
            const struct hg_peer_session *session = &lane->sessions[i / HG_KEYRING_PLACES];
            const struct hg_keyring_place *place = &session->keyring.places[i % HG_KEYRING_PLACES];
            if (session->live && place->generation != 0)
                known_put(node, hg_esp_sa_spi(place->rx));
        }
        for (uint32_t i = 0; lane->lane_keys != NULL && i < HG_WIRE_WORKERS_MAX; i++)
            if (lane->lane_keys[i].generation != 0)
                known_put(node, lane->lane_keys[i].spi_rx);
    }
}

/* More than an empty packet leaves only under keys that the other process has, or had. */
static void early_check(struct sim_node *node, const struct hg_peer_session *session, uint32_t spi)
{
    struct sim_world *world = node->world;
    uint32_t peer = session->peer->index;
    const struct sim_node *other = &world->nodes[peer < node->index ? peer : peer + 1];
    if (!hg_sim_scenario_has(world->plan->scenario, SIM_SCENARIO_REKEY) || !other->is_up ||
        other->boot != session->boot_remote || key_put(world, known_key(other->boot, spi))->is_known)
        return;
    hg_sim_violation(world, "sealed_too_early", "node %c sends data under SPI %08x, which node %c never had",
                     letter_of(node->index), spi, letter_of(other->index));
}

/* ---- packets that leave ---- */

static bool seals_under(const struct hg_keyring *ring, uint32_t spi)
{
    for (uint32_t i = 0; i < HG_KEYRING_PLACES; i++)
        if (ring->places[i].generation != 0 && hg_esp_sa_spi(ring->places[i].tx) == spi)
            return true;
    return false;
}

/* Tells the keys apart under which the node seals: an SPI is chosen anew at each start of its receiver, by
 * chance the same. A packet that the port refused may outlive its session: such ones are compared among
 * themselves. 0: two sessions have this SPI, of two lives of the receiver, and nothing tells whose packet it
 * is. */
static uint64_t key_of(struct sim_node *node, uint32_t spi, const struct hg_peer_session **sealing)
{
    uint64_t of[] = {spi, node->boot, 0};
    uint32_t found = 0;
    *sealing = NULL;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct hg_peers *peers = node->workers[i].worker->peers;
        for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL;
             lane = hg_peers_next(peers, lane))
            for (uint32_t j = 0; j < HG_PEER_SESSIONS; j++)
                if (lane->sessions[j].live && seals_under(&lane->sessions[j].keyring, spi)) {
                    of[2] = lane->sessions[j].boot_remote;
                    *sealing = &lane->sessions[j];
                    found++;
                }
    }
    return found > 1 ? 0 : XXH3_64bits(of, sizeof(of));
}

void hg_sim_check_nonce(struct sim_node *node, const uint8_t *frame, uint32_t bytes)
{
    struct sim_world *world = node->world;
    uint32_t udp_port = (uint32_t)frame[36] << 8 | frame[37], spi;
    uint64_t number;
    if (udp_port == HG_WIRE_UDP_PORT_HANDSHAKE)
        return;
    memcpy(&spi, frame + OUTER_BYTES, sizeof(spi));
    memcpy(&number, frame + OUTER_BYTES + 8, sizeof(number));
    const struct hg_peer_session *sealing;
    uint64_t key = key_of(node, __builtin_bswap32(spi), &sealing);
    if (key == 0)
        return;
    if (sealing != NULL && bytes - OUTER_BYTES > EMPTY_BYTES_MAX)
        early_check(node, sealing, __builtin_bswap32(spi));
    uint64_t content = XXH3_64bits(frame + OUTER_BYTES, bytes - OUTER_BYTES) | 1;
    uint64_t *known = content_at(key_put(world, key), __builtin_bswap64(number));
    if (*known != 0 && *known != content)
        hg_sim_violation(world, "nonce", "node %c sealed two packets under SPI %08x number %llu",
                         letter_of(node->index), __builtin_bswap32(spi),
                         (unsigned long long)__builtin_bswap64(number));
    world->packets_sealed += *known == 0;
    *known = content;
}

/* ---- lanes ---- */

/* While both processes live, their lanes do: new keys never begin one anew. */
static void session_check(struct sim_node *node, struct sim_worker *worker, const struct hg_peer *lane)
{
    const struct hg_peer_session *session = &lane->sessions[lane->current];
    struct sim_session *seen = &worker->sessions[lane->index][lane->worker_remote];
    if (seen->generation != 0 && seen->boot_remote == session->boot_remote &&
        seen->generation != session->generation)
        hg_sim_violation(node->world, "lane_anew", "node %c: the lane to %s of generation %u, now %u",
                         letter_of(node->index), lane->lane_name, seen->generation, session->generation);
    seen->generation = session->generation;
    seen->boot_remote = session->boot_remote;
}

void hg_sim_check_keys(struct sim_node *node, struct sim_worker *worker)
{
    struct hg_peers *peers = worker->worker->peers;
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane)) {
        if (lane->state == HG_PEER_CLONED) /* processes here only come one after the other */
            hg_sim_violation(node->world, "cloned", "node %c takes %s for two processes of one identity",
                             letter_of(node->index), lane->lane_name);
        if (lane->current >= 0 && node->world->plan->nodes[lane->node - 1].lies == 0)
            session_check(node, worker, lane);
    }
    if (hg_sim_scenario_has(node->world->plan->scenario, SIM_SCENARIO_REKEY))
        known_note(node, peers);
}
