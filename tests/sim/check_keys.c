/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants of keys: no number twice under one, none used before the other side has it, and lanes that
 * outlive them.
 */
#include "tests/sim/scenario.h"

#include <stdlib.h>
#include <xxhash.h>

#define OUTER_BYTES     HG_WIRE_OUTER_BYTES
#define EMPTY_BYTES_MAX 60u /* of ESP around a transport header and one byte */

static int letter_of(uint32_t node)
{
    return (int)('A' + node);
}

/* ---- nonces ---- */

static struct sim_nonce *nonce_find(struct sim_world *world, uint64_t key, uint64_t number)
{
    uint64_t place = number * UINT64_C(0x9e3779b97f4a7c15) ^ key * UINT64_C(0xc2b2ae3d27d4eb4f);
    uint32_t at = (uint32_t)(place >> 32) & world->nonces_mask;
    while (world->nonces[at].number != 0 &&
           (world->nonces[at].number != number || world->nonces[at].key != key))
        at = (at + 1) & world->nonces_mask;
    return &world->nonces[at];
}

static void nonces_grow(struct sim_world *world)
{
    struct sim_nonce *old = world->nonces;
    uint32_t old_count = world->nonces_mask + 1;
    world->nonces_mask = world->nonces_mask * 2 + 1;
    world->nonces = calloc((size_t)world->nonces_mask + 1, sizeof(world->nonces[0]));
    hg_assert(world->nonces != NULL);
    for (uint32_t i = 0; i < old_count; i++)
        if (old[i].number != 0)
            *nonce_find(world, old[i].key, old[i].number) = old[i];
    free(old);
}

/* ---- keys that a node has, or had ---- */

static struct sim_nonce *known_find(struct sim_world *world, uint64_t boot, uint32_t spi)
{
    uint64_t of[] = {boot, spi};
    return nonce_find(world, XXH3_64bits(of, sizeof(of)), 1);
}

static void known_put(struct sim_node *node, uint32_t spi)
{
    struct sim_world *world = node->world;
    uint64_t of[] = {node->boot, spi};
    if (world->nonces_count * 2 >= world->nonces_mask)
        nonces_grow(world);
    struct sim_nonce *known = known_find(world, node->boot, spi);
    world->nonces_count += known->number == 0;
    known->number = 1;
    known->key = XXH3_64bits(of, sizeof(of));
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
        other->boot != session->boot_remote || known_find(world, other->boot, spi)->number != 0)
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
    uint64_t content = XXH3_64bits(frame + OUTER_BYTES, bytes - OUTER_BYTES);
    if (world->nonces_count * 2 >= world->nonces_mask)
        nonces_grow(world);
    struct sim_nonce *known = nonce_find(world, key, number);
    if (known->number != 0 && known->content != content)
        hg_sim_violation(world, "nonce", "node %c sealed two packets under SPI %08x number %llu",
                         letter_of(node->index), __builtin_bswap32(spi),
                         (unsigned long long)__builtin_bswap64(number));
    world->nonces_count += known->number == 0;
    known->number = number;
    known->key = key;
    known->content = content;
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
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane))
        if (lane->current >= 0 && node->world->plan->nodes[lane->node - 1].lies == 0)
            session_check(node, worker, lane);
    if (hg_sim_scenario_has(node->world->plan->scenario, SIM_SCENARIO_REKEY))
        known_note(node, peers);
}
