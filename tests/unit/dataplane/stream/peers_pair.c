/* SPDX-License-Identifier: Apache-2.0 */
#include "peers_pair.h"

static struct site sites[2];
struct site *const a = &sites[0], *const b = &sites[1];
uint32_t key_generation, lane_generation;
bool one_region;

static void rekey(void *ctx, uint32_t peer, enum hg_rekey why)
{
    CU_ASSERT_EQUAL(peer, 0);
    ((struct site *)ctx)->rekey_why = why;
    ((struct site *)ctx)->rekeys++;
}

struct hg_config_peer peer_config(uint16_t region)
{
    struct hg_config_peer config = {
        .name = "other", .node = region, .region = one_region ? 1 : region, .receive_bytes_max = 8u << 20};
    return config;
}

void site_peers_make(struct site *site, uint32_t streams_max)
{
    struct hg_peers_config config = {.streams = site->node.streams,
                                     .log = site->node.log,
                                     .events = &site->node.sink,
                                     .streams_max = streams_max,
                                     .peers_max = 2,
                                     .packets_in_flight_max = 1024,
                                     .rekey = rekey,
                                     .ctx = site};
    site->peers = hg_peers_init(&config);
    struct hg_config_peer peer = peer_config(site == a ? 2 : 1);
    CU_ASSERT_EQUAL(hg_peers_configure(site->peers, &peer, 1500, site->node.now_ns), 0);
}

void site_make(struct site *site, struct site *other, uint16_t region, uint32_t streams_max)
{
    memset(site, 0, sizeof(*site));
    stream_node_make(&site->node, one_region ? 1 : region);
    site->other = other;
    site_peers_make(site, streams_max);
}

void site_free(struct site *site)
{
    hg_peers_free(site->peers);
    stream_node_free(&site->node);
}

void sites_make(void)
{
    char error[128];
    CU_ASSERT_EQUAL_FATAL(hg_esp_start(error, sizeof(error)), 0);
    key_generation = 0;
    site_make(a, b, 1, NODE_STREAMS_MAX);
    site_make(b, a, 2, NODE_STREAMS_MAX);
}

void sites_free(void)
{
    site_free(a);
    site_free(b);
}

struct hg_peer *peer_of(const struct site *site)
{
    return hg_peers_at(site->peers, 0);
}

struct hg_stream_state *stream(const struct site *site, uint32_t slot)
{
    return hg_streams_at(site->node.streams, slot);
}

const struct hg_peer_stream *sending(const struct site *site, uint32_t slot)
{
    return &peer_of(site)->streams[slot];
}

/* Both sides agreed on new keys. */
void keys_one(struct site *site, uint32_t spi_tx, uint32_t spi_rx)
{
    struct hg_handshake_keys keys = {.boot_remote = 1,
                                     .generation = key_generation,
                                     .lane_generation = lane_generation,
                                     .workers_remote = 1,
                                     .spi_tx = spi_tx,
                                     .spi_rx = spi_rx};
    hg_peers_keys(site->peers, 0, &keys, site->node.now_ns);
}

static void keys_both(void)
{
    keys_one(a, 1000 + 2 * key_generation, 1001 + 2 * key_generation);
    keys_one(b, 1001 + 2 * key_generation, 1000 + 2 * key_generation);
}

void keys(void)
{
    lane_generation = ++key_generation;
    keys_both();
}

void keys_renew(void)
{
    key_generation++;
    keys_both();
}

/* Sends what the session's lane built, under the keys in use or, when `probe`, the newest. */
static void packet_pass(struct site *site, struct hg_peer_session *session, bool probe,
                        const struct hg_lane_packet *packet)
{
    static uint8_t esp[16384], inner[16384];
    uint32_t place, inner_bytes;
    uint64_t number;
    uint32_t bytes =
        hg_keyring_seal(&session->keyring, probe, packet->pieces, packet->piece_count, esp, sizeof(esp));
    CU_ASSERT_FATAL(bytes > 0);
    struct hg_peer_session *to = hg_peers_session_of_spi(site->other->peers, hg_esp_spi(esp, bytes), &place);
    if (site->cut || to == NULL)
        return;
    CU_ASSERT_EQUAL(hg_keyring_open(&to->keyring, place, esp, bytes, inner, &inner_bytes, &number),
                    HG_ESP_OK);
    hg_peers_receive(to, place, inner, inner_bytes, number, HG_ECN_NOT_ECT, site->other->node.now_ns);
}

void packets_pass(struct site *site)
{
    struct hg_lane_packet packet;
    for (uint32_t i = 0; i < HG_PEER_SESSIONS; i++) {
        struct hg_peer_session *session = &peer_of(site)->sessions[i];
        struct hg_keyring *ring = &session->keyring;
        uint64_t now_ns = site->node.now_ns;
        if (session->live && hg_keyring_probe_due(ring, now_ns)) {
            hg_keyring_probed(ring, now_ns);
            if (hg_lane_build_empty(session->lane, ring->number_next, now_ns, &packet) > 0)
                packet_pass(site, session, true, &packet);
        }
        while (session->live && hg_lane_build(session->lane, ring->number_next, now_ns, &packet) > 0)
            packet_pass(site, session, false, &packet);
    }
}

void site_turn(struct site *site)
{
    hg_streams_seal(site->node.streams, true, site->node.now_ns);
    if (!site->gathers)
        hg_log_close_write(site->node.log);
    if (stream_node_turn(&site->node))
        hg_peers_log_moved(site->peers, site->node.now_ns);
    if (site->node.now_ns - site->tick_ns >= 10 * HG_NS_PER_MS) {
        site->tick_ns = site->node.now_ns;
        hg_peers_log_moved(site->peers, site->node.now_ns);
        hg_peers_tick(site->peers, site->node.now_ns);
    }
    packets_pass(site);
}

void run(uint64_t ns)
{
    for (uint64_t end_ns = a->node.now_ns + ns; a->node.now_ns < end_ns;) {
        site_turn(a);
        site_turn(b);
    }
}

/* Time passes with nothing under way but timers. */
void idle(uint64_t ns)
{
    for (uint64_t passed_ns = 0; passed_ns < ns; passed_ns += 100 * HG_NS_PER_MS) {
        a->node.now_ns += 100 * HG_NS_PER_MS;
        b->node.now_ns += 100 * HG_NS_PER_MS;
        run(HG_NS_PER_MS);
    }
}

void append(struct site *site, uint32_t slot, uint32_t count, uint32_t bytes)
{
    for (uint32_t i = 0; i < count; i++)
        CU_ASSERT_EQUAL(stream_node_append(&site->node, slot, bytes), HG_APPEND_OK);
}

uint32_t configure(struct site *site, const char *name, uint64_t id, uint16_t kind, uint16_t origin)
{
    return stream_node_configure(&site->node, name, id, kind, origin, origin == site->node.region);
}

uint32_t sites_joined(void)
{
    sites_make();
    keys();
    uint32_t slot = configure(a, "one", 11, KV, 1);
    CU_ASSERT_EQUAL(configure(b, "one", 11, KV, 1), slot);
    return slot;
}

struct hg_config_stream config_of_one(const struct site *site, bool here)
{
    return (struct hg_config_stream){.name = "one",
                                     .stream = 11,
                                     .kind = KV,
                                     .region = 1,
                                     .epoch = 1,
                                     .peers_mask = here,
                                     .node = here        ? 0
                                             : site == a ? 2
                                                         : 1};
}
