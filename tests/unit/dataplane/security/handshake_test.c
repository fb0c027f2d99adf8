/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes, a channel that loses, repeats and reorders, and virtual time. Each node also sends data under
 * its newest SA now and then, and answers data of an unknown SPI as the dataplane does, by
 * hg_handshake_restart.
 */
#include "dataplane/security/handshake.h"
#include <CUnit/Basic.h>
#include <openssl/crypto.h>

#define FLIGHT_MAX   256
#define RECORDED_MAX 4096
#define CLUSTER      UINT64_C(0xc1)

struct node {
    struct hg_handshake hs;
    struct hg_handshake_config config;
    struct hg_handshake_keys now, before; /* generation 0: none */
    uint64_t established_count;
    uint64_t sent_count;
    uint64_t data_due_ns;
};

struct flight {
    uint64_t due_ns;
    uint64_t order;
    uint32_t to;
    uint32_t spi; /* of data; 0: a handshake message */
    uint32_t bytes;
    uint8_t message[HG_HANDSHAKE_BYTES_MAX];
};

static struct node nodes[2];
static struct flight flights[FLIGHT_MAX];
static uint32_t flight_count;
static uint64_t now_ns, random_state, flight_order;
static struct {
    uint64_t delay_ns, jitter_ns;
    uint32_t loss_percent, duplicate_percent;
    bool data;
} channel;

static struct flight
    recorded[RECORDED_MAX]; /* every handshake message ever sent: what an attacker may have */
static uint32_t recorded_count;
static bool cloned_expected; /* else nobody may ever be found to be two */

static uint64_t random_next(void *ctx)
{
    uint64_t *state = ctx;
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t chance(uint32_t n)
{
    return (uint32_t)(random_next(&random_state) % n);
}

static void launch(uint32_t to, uint32_t spi, const uint8_t *message, uint32_t bytes)
{
    uint32_t copies = chance(100) < channel.loss_percent ? 0 : 1;
    copies += chance(100) < channel.duplicate_percent ? 1 : 0;
    for (uint32_t i = 0; i < copies && flight_count < FLIGHT_MAX; i++) {
        struct flight *flight = &flights[flight_count++];
        flight->due_ns = now_ns + channel.delay_ns;
        flight->due_ns += channel.jitter_ns == 0 ? 0 : random_next(&random_state) % channel.jitter_ns;
        flight->order = flight_order++;
        flight->to = to;
        flight->spi = spi;
        flight->bytes = bytes;
        memcpy(flight->message, message, bytes);
    }
}

static void message_out(uint32_t from, const uint8_t *message, uint32_t bytes)
{
    CU_ASSERT_FATAL(bytes > 0 && bytes <= HG_HANDSHAKE_BYTES_MAX);
    nodes[from].sent_count++;
    if (recorded_count < RECORDED_MAX) {
        recorded[recorded_count].to = 1 - from;
        recorded[recorded_count].bytes = bytes;
        memcpy(recorded[recorded_count++].message, message, bytes);
    }
    launch(1 - from, 0, message, bytes);
}

static void node_start(uint32_t i)
{
    struct node *node = &nodes[i];
    node->config.boot_local = random_next(&random_state);
    node->now.generation = node->before.generation = 0;
    node->data_due_ns = now_ns;
    hg_handshake_init(&node->hs, &node->config, now_ns);
}

static void world_init(uint64_t seed)
{
    memset(nodes, 0, sizeof(nodes));
    memset(&channel, 0, sizeof(channel));
    flight_count = recorded_count = 0;
    cloned_expected = false;
    random_state = seed;
    now_ns = 1000 * HG_NS_PER_S;
    channel.delay_ns = 40 * HG_NS_PER_MS;
    channel.data = true;
    for (uint32_t i = 0; i < 2; i++) {
        struct hg_handshake_config *config = &nodes[i].config;
        config->cluster = CLUSTER;
        config->node_local = 10 + i;
        config->node_remote = 10 + (1 - i);
        config->workers_local = (uint8_t)(1 + i);
        config->spi_top = (uint8_t)(seed % 3);
        memset(config->psk, 0x42, sizeof(config->psk));
    }
}

static void established(uint32_t i, const struct hg_handshake_keys *keys)
{
    struct node *node = &nodes[i];
    CU_ASSERT_FATAL(keys->generation > node->now.generation);
    CU_ASSERT(keys->spi_rx > 255 && keys->spi_tx > 255);
    CU_ASSERT(node->config.spi_top == 0 || keys->spi_rx >> 24 == node->config.spi_top);
    CU_ASSERT(keys->spi_rx != node->now.spi_rx);
    CU_ASSERT_NOT_EQUAL(memcmp(keys->key_tx, keys->key_rx, sizeof(keys->key_tx)), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(keys->key_tx, node->now.key_tx, sizeof(keys->key_tx)), 0);
    CU_ASSERT_EQUAL(keys->workers_remote, nodes[1 - i].config.workers_local);
    node->before = node->now;
    node->now = *keys;
    node->established_count++;
}

static int deliver(uint32_t to, const uint8_t *message, uint32_t bytes)
{
    uint8_t out[HG_HANDSHAKE_BYTES_MAX];
    uint32_t out_bytes;
    struct hg_handshake_keys keys;
    int events = hg_handshake_receive(&nodes[to].hs, message, bytes, now_ns, random_next, &random_state, out,
                                      &out_bytes, &keys);
    if (events & HG_HANDSHAKE_SEND) {
        CU_ASSERT_FATAL(out_bytes <= bytes); /* never amplifies */
        message_out(to, out, out_bytes);
    }
    CU_ASSERT_FATAL(cloned_expected || !hg_handshake_cloned(&nodes[to].hs));
    if (events & HG_HANDSHAKE_CLONED)
        nodes[to].now.generation = nodes[to].before.generation = 0;
    if (events & HG_HANDSHAKE_ESTABLISHED)
        established(to, &keys);
    return events;
}

static void data_deliver(uint32_t to, uint32_t spi)
{
    struct node *node = &nodes[to];
    if (node->now.generation != 0 && node->now.spi_rx == spi)
        node->before.generation = 0;
    else if (node->before.generation == 0 || node->before.spi_rx != spi)
        hg_handshake_spi_unknown(&node->hs, now_ns);
}

static void data_send(uint32_t from)
{
    struct node *node = &nodes[from];
    uint8_t none[1] = {0};
    if (!channel.data || now_ns < node->data_due_ns)
        return;
    node->data_due_ns = now_ns + 70 * HG_NS_PER_MS;
    if (node->now.generation != 0)
        launch(1 - from, node->now.spi_tx, none, sizeof(none));
}

static void tick(uint32_t i)
{
    uint8_t out[HG_HANDSHAKE_BYTES_MAX];
    uint32_t out_bytes;
    while (hg_handshake_deadline_ns(&nodes[i].hs) <= now_ns) {
        int events = hg_handshake_tick(&nodes[i].hs, now_ns, random_next, &random_state, out, &out_bytes);
        CU_ASSERT_FATAL((events & ~HG_HANDSHAKE_SEND) == 0);
        if (events & HG_HANDSHAKE_SEND)
            message_out(i, out, out_bytes);
    }
}

static uint64_t next_ns(void)
{
    uint64_t next = HG_TIME_NEVER;
    for (uint32_t i = 0; i < 2; i++) {
        next = hg_min_u64(next, hg_handshake_deadline_ns(&nodes[i].hs));
        if (channel.data)
            next = hg_min_u64(next, nodes[i].data_due_ns);
    }
    for (uint32_t i = 0; i < flight_count; i++)
        next = hg_min_u64(next, flights[i].due_ns);
    return next;
}

/* Delivers the first message that is due; false when none is. */
static bool flight_land(void)
{
    uint32_t best = flight_count;
    for (uint32_t i = 0; i < flight_count; i++) {
        if (flights[i].due_ns <= now_ns && (best == flight_count || flights[i].order < flights[best].order))
            best = i;
    }
    if (best == flight_count)
        return false;
    struct flight flight = flights[best];
    flights[best] = flights[--flight_count];
    if (flight.spi != 0)
        data_deliver(flight.to, flight.spi);
    else
        deliver(flight.to, flight.message, flight.bytes);
    return true;
}

static bool matched(void)
{
    const struct hg_handshake_keys *a = &nodes[0].now, *b = &nodes[1].now;
    return a->generation != 0 && a->generation == b->generation && a->spi_tx == b->spi_rx &&
           a->spi_rx == b->spi_tx && a->boot_remote == nodes[1].config.boot_local &&
           b->boot_remote == nodes[0].config.boot_local &&
           memcmp(a->key_tx, b->key_rx, sizeof(a->key_tx)) == 0 &&
           memcmp(a->key_rx, b->key_tx, sizeof(a->key_rx)) == 0 &&
           memcmp(a->salt_tx, b->salt_rx, sizeof(a->salt_tx)) == 0 &&
           memcmp(a->salt_rx, b->salt_tx, sizeof(a->salt_rx)) == 0;
}

static bool quiet(void)
{
    for (uint32_t i = 0; i < flight_count; i++) {
        if (flights[i].spi == 0)
            return false;
    }
    return hg_handshake_deadline_ns(&nodes[0].hs) == HG_TIME_NEVER &&
           hg_handshake_deadline_ns(&nodes[1].hs) == HG_TIME_NEVER;
}

/* Runs until both are settled and agree, or for `span_ns`. */
static bool settle(uint64_t span_ns)
{
    uint64_t end_ns = now_ns + span_ns;
    while (now_ns < end_ns) {
        while (flight_land()) {
        }
        for (uint32_t i = 0; i < 2; i++) {
            tick(i);
            data_send(i);
        }
        if (matched() && quiet())
            return true;
        uint64_t next = next_ns();
        now_ns = hg_max_u64(now_ns, hg_min_u64(next, end_ns));
    }
    return matched() && quiet();
}

static void start_both(void)
{
    node_start(0);
    node_start(1);
}

/* Both sides derive the same keys for every lane, and no two lanes share a key or an SPI. */
static void test_lanes(void)
{
    static struct hg_handshake_keys here[3][4], there[3][4];
    world_init(5);
    nodes[0].config.workers_local = 3;
    nodes[1].config.workers_local = 4;
    start_both();
    CU_ASSERT_TRUE_FATAL(settle(HG_NS_PER_S * 10));
    CU_ASSERT_EQUAL(nodes[0].now.workers_remote, 4);
    for (uint8_t i = 0; i < 3; i++)
        for (uint8_t j = 0; j < 4; j++) {
            struct hg_handshake_keys *a = &here[i][j], *b = &there[i][j];
            CU_ASSERT_TRUE_FATAL(hg_handshake_lane_keys(&nodes[0].hs, i, j, a));
            CU_ASSERT_TRUE_FATAL(hg_handshake_lane_keys(&nodes[1].hs, j, i, b));
            CU_ASSERT_EQUAL(a->generation, nodes[0].now.generation);
            CU_ASSERT_EQUAL(a->worker_local, i);
            CU_ASSERT_EQUAL(b->worker_remote, i);
            CU_ASSERT_EQUAL(a->spi_tx, b->spi_rx);
            CU_ASSERT_EQUAL(a->spi_rx, b->spi_tx);
            CU_ASSERT_EQUAL(memcmp(a->key_tx, b->key_rx, sizeof(a->key_tx)), 0);
            CU_ASSERT_EQUAL(memcmp(a->key_rx, b->key_tx, sizeof(a->key_rx)), 0);
            CU_ASSERT_EQUAL(memcmp(a->salt_tx, b->salt_rx, sizeof(a->salt_tx)), 0);
            CU_ASSERT_NOT_EQUAL(memcmp(a->key_tx, a->key_rx, sizeof(a->key_tx)), 0);
            for (uint8_t k = 0; k < 4 * i + j; k++) {
                const struct hg_handshake_keys *other = &here[k / 4][k % 4];
                CU_ASSERT(other->spi_tx != a->spi_tx && other->spi_rx != a->spi_rx);
                CU_ASSERT_NOT_EQUAL(memcmp(other->key_tx, a->key_tx, sizeof(a->key_tx)), 0);
                CU_ASSERT_NOT_EQUAL(memcmp(other->key_rx, a->key_rx, sizeof(a->key_rx)), 0);
            }
        }
    CU_ASSERT_EQUAL(memcmp(&here[0][0], &nodes[0].now, sizeof(here[0][0])), 0);
    /* Who takes the lanes for others than they are can't read them: the packets don't say it. */
    struct hg_handshake_keys other;
    nodes[0].hs.done_hello.lane_generation = nodes[0].hs.done_reply.lane_generation = 77;
    CU_ASSERT_TRUE_FATAL(hg_handshake_lane_keys(&nodes[0].hs, 0, 0, &other));
    CU_ASSERT_NOT_EQUAL(memcmp(other.key_tx, here[0][0].key_tx, sizeof(other.key_tx)), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(other.key_rx, here[0][0].key_rx, sizeof(other.key_rx)), 0);
}

static void test_simultaneous_open(void)
{
    static const uint64_t delays_ms[] = {0, 1, 40, 120, 200, 260, 400, 900};
    for (size_t i = 0; i < HG_COUNT(delays_ms); i++) {
        world_init(i);
        channel.delay_ns = delays_ms[i] * HG_NS_PER_MS;
        channel.data = false;
        start_both();
        CU_ASSERT(settle(60 * HG_NS_PER_S));
        if (delays_ms[i] <= 400) { /* one exchange, the lower node's */
            CU_ASSERT_EQUAL(nodes[0].established_count, 1);
            CU_ASSERT_EQUAL(nodes[1].established_count, 1);
            CU_ASSERT_EQUAL(nodes[0].now.generation % 2, 0);
        }
        CU_ASSERT(hg_handshake_established(&nodes[0].hs));
        CU_ASSERT_STRING_EQUAL(hg_handshake_state_text(&nodes[0].hs), "established");
    }
}

static void test_either_side_first(void)
{
    for (uint32_t first = 0; first < 2; first++) {
        world_init(first);
        node_start(first);
        nodes[1 - first].config.boot_local = random_next(&random_state);
        hg_handshake_init(&nodes[1 - first].hs, &nodes[1 - first].config, now_ns + HG_NS_PER_S);
        CU_ASSERT(settle(30 * HG_NS_PER_S));
        CU_ASSERT_EQUAL(nodes[first].established_count, 1);
        CU_ASSERT_EQUAL(nodes[first].hs.counters.hellos_sent, 1);
        CU_ASSERT_EQUAL(nodes[1 - first].hs.counters.hellos_sent, 0);
        uint32_t generation = nodes[0].now.generation;
        for (int i = 0; i < 5; i++) {
            now_ns += 3600 * HG_NS_PER_S;
            hg_handshake_restart(&nodes[i % 2].hs, now_ns);
            CU_ASSERT(settle(30 * HG_NS_PER_S));
            CU_ASSERT(nodes[0].now.generation > generation);
            generation = nodes[0].now.generation;
        }
    }
}

static void test_bad_channel(void)
{
    for (uint64_t seed = 0; seed < 1500; seed++) {
        world_init(seed);
        channel.delay_ns = chance(200) * HG_NS_PER_MS;
        channel.jitter_ns = (1 + chance(seed % 2 == 0 ? 1500 : 50)) * HG_NS_PER_MS;
        channel.loss_percent = chance(60);
        channel.duplicate_percent = chance(50);
        start_both();
        bool good = settle(300 * HG_NS_PER_S);
        if (!good)
            fprintf(stderr, "seed %llu does not settle\n", (unsigned long long)seed);
        CU_ASSERT_FATAL(good);
    }
}

static void test_bad_channel_restarts(void)
{
    for (uint64_t seed = 0; seed < 800; seed++) {
        world_init(seed + 50000);
        channel.delay_ns = chance(150) * HG_NS_PER_MS;
        channel.jitter_ns = (1 + chance(400)) * HG_NS_PER_MS;
        channel.loss_percent = chance(40);
        channel.duplicate_percent = chance(40);
        start_both();
        for (uint32_t i = 0; i < 6; i++) {
            settle(chance(3000) * HG_NS_PER_MS + 1);
            if (chance(2) == 0)
                node_start(chance(2));
            else
                hg_handshake_restart(&nodes[chance(2)].hs, now_ns);
        }
        bool good = settle(300 * HG_NS_PER_S);
        if (!good)
            fprintf(stderr, "seed %llu does not settle\n", (unsigned long long)seed);
        CU_ASSERT_FATAL(good);
    }
}

/* Runs until `count` messages were delivered in all. */
static void run_messages(uint32_t count)
{
    uint64_t end_ns = now_ns + 30 * HG_NS_PER_S;
    while (count > 0 && now_ns < end_ns) {
        if (flight_land()) {
            count--;
            continue;
        }
        tick(0);
        tick(1);
        now_ns = hg_max_u64(now_ns, hg_min_u64(next_ns(), end_ns));
    }
}

static void test_restart_at_every_message(void)
{
    for (uint32_t messages = 0; messages < 12; messages++) {
        for (uint32_t side = 0; side < 2; side++) {
            world_init(messages * 2 + side);
            channel.data = false;
            start_both();
            run_messages(messages);
            uint64_t boot = nodes[side].config.boot_local;
            node_start(side);
            CU_ASSERT_NOT_EQUAL(nodes[side].config.boot_local, boot);
            channel.data = true;
            CU_ASSERT(settle(60 * HG_NS_PER_S));
            CU_ASSERT_EQUAL(nodes[1 - side].now.boot_remote, nodes[side].config.boot_local);
        }
    }
}

/* Every message there ever was, of this boot and of boots before, again: nothing is torn down, begun or
 * renewed. */
static void test_replays(void)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        world_init(seed);
        start_both();
        CU_ASSERT(settle(30 * HG_NS_PER_S));
        for (uint32_t restarts = 0; restarts < 4; restarts++) {
            node_start(restarts % 2);
            CU_ASSERT(settle(60 * HG_NS_PER_S));
        }
        uint32_t count = recorded_count;
        struct hg_handshake_keys keys[2] = {nodes[0].now, nodes[1].now};
        uint64_t begun = nodes[0].hs.counters.hellos_sent + nodes[1].hs.counters.hellos_sent;
        for (uint32_t round = 0; round < 3; round++) {
            for (uint32_t i = 0; i < count; i++) {
                now_ns += 120 * HG_NS_PER_MS;
                CU_ASSERT_EQUAL(deliver(recorded[i].to, recorded[i].message, recorded[i].bytes) &
                                    HG_HANDSHAKE_ESTABLISHED,
                                0);
                settle(1);
            }
            CU_ASSERT(settle(30 * HG_NS_PER_S));
        }
        CU_ASSERT_EQUAL(memcmp(&keys[0], &nodes[0].now, sizeof(keys[0])), 0);
        CU_ASSERT_EQUAL(memcmp(&keys[1], &nodes[1].now, sizeof(keys[1])), 0);
        CU_ASSERT_EQUAL(nodes[0].hs.counters.hellos_sent + nodes[1].hs.counters.hellos_sent, begun);
        CU_ASSERT(nodes[0].hs.counters.drop_stale > 0);
        CU_ASSERT_EQUAL(nodes[0].hs.counters.drop_mac + nodes[1].hs.counters.drop_mac, 0);
        /* And what is real still works. */
        hg_handshake_restart(&nodes[1].hs, now_ns);
        CU_ASSERT(settle(30 * HG_NS_PER_S));
        CU_ASSERT(nodes[0].now.generation > keys[0].generation);
    }
}

/* A peer that restarts is let in while its old HELLOs are being replayed to both sides. */
static void test_replays_during_restart(void)
{
    for (uint64_t seed = 0; seed < 40; seed++) {
        world_init(seed + 900);
        start_both();
        CU_ASSERT(settle(30 * HG_NS_PER_S));
        uint32_t count = recorded_count;
        node_start(seed % 2);
        for (uint32_t i = 0; i < 400 && !matched(); i++) {
            uint32_t pick = chance(count);
            deliver(recorded[pick].to, recorded[pick].message, recorded[pick].bytes);
            settle((1 + chance(200)) * HG_NS_PER_MS);
        }
        CU_ASSERT(settle(60 * HG_NS_PER_S));
    }
}

/* The HELLO of the SA pair in use is not even answered. */
static void test_replay_of_present(void)
{
    world_init(6);
    channel.data = false;
    node_start(0);
    hg_handshake_init(&nodes[1].hs, &nodes[1].config, now_ns + 100 * HG_NS_PER_S);
    CU_ASSERT(settle(30 * HG_NS_PER_S));
    CU_ASSERT_EQUAL(recorded[0].message[5], HG_HANDSHAKE_HELLO);
    CU_ASSERT_EQUAL(deliver(1, recorded[0].message, recorded[0].bytes), HG_HANDSHAKE_NOTHING);
    CU_ASSERT_EQUAL(nodes[1].hs.counters.drop_stale, 1);
}

/* Replayed HELLOs do not keep a node that has just started from asking for itself. */
static void test_replays_do_not_silence(void)
{
    world_init(5);
    channel.data = false;
    start_both();
    tick(0);
    struct flight hello = recorded[0];
    CU_ASSERT(settle(30 * HG_NS_PER_S));
    node_start(1);
    channel.loss_percent = 100;
    for (uint32_t i = 0; i < 40; i++) {
        tick(1);
        deliver(1, hello.message, hello.bytes);
        now_ns += 500 * HG_NS_PER_MS;
    }
    CU_ASSERT(nodes[1].hs.counters.hellos_sent == 1 && nodes[1].hs.counters.expired == 0);
    uint64_t answers = nodes[1].hs.counters.repeats_received;
    CU_ASSERT(nodes[1].hs.counters.repeats_sent - answers >= 7); /* our HELLO, at 1 to 3 s */
}

static void test_rate_limit(void)
{
    world_init(1);
    channel.data = false;
    start_both();
    CU_ASSERT(settle(30 * HG_NS_PER_S));
    node_start(0);
    tick(0); /* records a HELLO that node 1 has not seen */
    struct flight hello = recorded[recorded_count - 1];
    now_ns += 10 * HG_NS_PER_S;
    uint64_t sent = nodes[1].sent_count;
    for (uint32_t i = 0; i < 1000; i++)
        deliver(1, hello.message, hello.bytes);
    CU_ASSERT_EQUAL(nodes[1].sent_count - sent, HG_HANDSHAKE_ANSWER_BURST);
    CU_ASSERT_EQUAL(nodes[1].hs.counters.drop_rate, 1000 - HG_HANDSHAKE_ANSWER_BURST);
    now_ns += HG_HANDSHAKE_ANSWER_GAP_NS;
    deliver(1, hello.message, hello.bytes);
    deliver(1, hello.message, hello.bytes);
    CU_ASSERT_EQUAL(nodes[1].sent_count - sent, HG_HANDSHAKE_ANSWER_BURST + 1);

    /* A flood of unknown SPIs renews keys ever more rarely. */
    world_init(2);
    start_both();
    CU_ASSERT(settle(30 * HG_NS_PER_S));
    uint64_t begun = nodes[0].hs.counters.hellos_sent, end_ns = now_ns + 60 * HG_NS_PER_S;
    while (now_ns < end_ns) {
        hg_handshake_restart(&nodes[0].hs, now_ns);
        settle(5 * HG_NS_PER_MS);
        now_ns += HG_NS_PER_MS;
    }
    begun = nodes[0].hs.counters.hellos_sent - begun;
    CU_ASSERT(begun >= 10 && begun <= 20);
    CU_ASSERT(settle(30 * HG_NS_PER_S));
}

static void test_lost_confirm(void)
{
    world_init(3);
    channel.data = false;
    channel.delay_ns = HG_NS_PER_MS;
    start_both();
    run_messages(3); /* HELLO each way and REPLY: CONFIRM is on its way */
    CU_ASSERT_EQUAL(nodes[0].established_count, 1);
    CU_ASSERT_EQUAL(nodes[1].established_count, 0);
    CU_ASSERT_STRING_EQUAL(hg_handshake_state_text(&nodes[1].hs), "waiting for the peer to confirm");
    CU_ASSERT_EQUAL_FATAL(flight_count, 1);
    struct flight confirm = flights[0];
    flight_count = 0;
    /* The same REPLY again is answered by the same CONFIRM again. */
    struct flight reply = recorded[2];
    CU_ASSERT_EQUAL(reply.message[5], HG_HANDSHAKE_REPLY);
    CU_ASSERT_EQUAL(deliver(0, reply.message, reply.bytes), HG_HANDSHAKE_SEND);
    CU_ASSERT_EQUAL_FATAL(flight_count, 1);
    CU_ASSERT_EQUAL(memcmp(flights[0].message, confirm.message, confirm.bytes), 0);
    reply.message[130] ^= 1;
    CU_ASSERT_EQUAL(deliver(0, reply.message, reply.bytes), HG_HANDSHAKE_NOTHING);
    flight_count = 0;
    CU_ASSERT(settle(5 * HG_NS_PER_S)); /* by the repeats that nobody asked for */
    CU_ASSERT_EQUAL(nodes[1].established_count, 1);
    CU_ASSERT(nodes[1].hs.counters.repeats_received > 0);
}

static void never(uint64_t *counter)
{
    start_both();
    CU_ASSERT_FALSE(settle(20 * HG_NS_PER_S));
    CU_ASSERT_EQUAL(nodes[0].established_count + nodes[1].established_count, 0);
    CU_ASSERT(*counter > 0);
    CU_ASSERT_FALSE(hg_handshake_established(&nodes[0].hs));
}

static void test_strangers(void)
{
    world_init(1);
    nodes[1].config.psk[31] ^= 1;
    never(&nodes[0].hs.counters.drop_mac);
    CU_ASSERT(nodes[1].hs.counters.drop_mac > 0);
    world_init(2);
    nodes[1].config.cluster++;
    never(&nodes[0].hs.counters.drop_cluster);
    world_init(3);
    nodes[1].config.node_local = 99;
    never(&nodes[0].hs.counters.drop_node);
    world_init(4);
    nodes[1].config.node_remote = 12; /* odd one: it thinks that it talks to somebody else */
    never(&nodes[0].hs.counters.drop_node);
    /* Our own words thrown back at us. */
    world_init(5);
    start_both();
    tick(0);
    CU_ASSERT_EQUAL(deliver(0, recorded[0].message, recorded[0].bytes), HG_HANDSHAKE_NOTHING);
    CU_ASSERT_EQUAL(nodes[0].hs.counters.drop_malformed + nodes[0].hs.counters.drop_node, 1);
}

/* Any bit of any of the three, and any length: dropped, counted once, and the true one still works after it.
 */
static void test_flipped_bits(void)
{
    for (uint32_t which = 0; which < 3; which++) {
        world_init(which);
        channel.data = false;
        node_start(0);
        nodes[1].config.boot_local = 77;
        hg_handshake_init(&nodes[1].hs, &nodes[1].config, now_ns + 100 * HG_NS_PER_S);
        tick(0);
        for (uint32_t i = 0; i < which; i++) {
            CU_ASSERT_EQUAL_FATAL(flight_count, 1);
            now_ns = flights[0].due_ns;
            flight_land();
        }
        CU_ASSERT_EQUAL_FATAL(flight_count, 1);
        struct flight flight = flights[0];
        CU_ASSERT_EQUAL(flight.message[5], which + 1);
        uint32_t to = flight.to;
        for (uint32_t bit = 0; bit < flight.bytes * 8; bit++) {
            flight.message[bit / 8] ^= (uint8_t)(1 << bit % 8);
            CU_ASSERT_EQUAL(deliver(to, flight.message, flight.bytes), HG_HANDSHAKE_NOTHING);
            flight.message[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (uint32_t bytes = 0; bytes < HG_HANDSHAKE_BYTES_MAX; bytes++) {
            if (bytes != flight.bytes)
                CU_ASSERT_EQUAL(deliver(to, flight.message, bytes), HG_HANDSHAKE_NOTHING);
        }
        const struct hg_handshake_counters *c = &nodes[to].hs.counters;
        CU_ASSERT_EQUAL(c->drop_malformed + c->drop_cluster + c->drop_node + c->drop_mac + c->drop_stale,
                        flight.bytes * 8 + HG_HANDSHAKE_BYTES_MAX - 1);
        CU_ASSERT(c->drop_mac > 0);
        CU_ASSERT(settle(30 * HG_NS_PER_S));
        CU_ASSERT_EQUAL(nodes[0].established_count, 1);
    }
}

/* ---- two processes of one identity ---- */

/* More lives one after the other than are remembered, in a bad channel where all that was ever said comes
 * again: a restart is one change of life and never back. `deliver` sees that nobody is found to be two. */
static void test_restarts_are_no_clones(void)
{
    world_init(7);
    channel.loss_percent = 10;
    channel.duplicate_percent = 30;
    channel.jitter_ns = 300 * HG_NS_PER_MS;
    start_both();
    for (uint32_t i = 0; i < 2 * HG_HANDSHAKE_LIVES_MAX; i++) {
        CU_ASSERT_FATAL(settle(60 * HG_NS_PER_S));
        for (uint32_t j = 0; j < 20 && flight_count < FLIGHT_MAX / 2; j++) {
            const struct flight *old = &recorded[chance(recorded_count)];
            launch(old->to, 0, old->message, old->bytes);
        }
        node_start(i % 3 == 0 ? 0 : 1);
    }
    CU_ASSERT(settle(60 * HG_NS_PER_S));
    CU_ASSERT_EQUAL(nodes[0].hs.counters.drop_cloned + nodes[1].hs.counters.drop_cloned, 0);
}

/* What nodes[0] sends goes to the other one of the two from now on, and what that one says comes. */
static void twin_swap(struct node *twin)
{
    struct node there = nodes[1];
    nodes[1] = *twin;
    *twin = there;
}

/* Neither of those that live counts again, however the path changes between them; one that began after does,
 * once it has been alone for long enough. `lives`: the last of them are heard before the first one is again.
 */
static void twins(uint64_t seed, uint32_t lives)
{
    world_init(seed);
    channel.loss_percent = (uint32_t)(seed % 3) * 10;
    channel.jitter_ns = seed % 2 * 50 * HG_NS_PER_MS;
    start_both();
    CU_ASSERT_FATAL(settle(60 * HG_NS_PER_S));
    struct node twin = nodes[1];
    for (uint32_t i = 1; i < lives; i++) {
        node_start(1);
        CU_ASSERT_FATAL(settle(60 * HG_NS_PER_S)); /* as a restart */
    }
    cloned_expected = true;
    uint64_t established_before = nodes[0].established_count;
    for (uint32_t i = 0; i < 12; i++) {
        twin_swap(&twin);
        CU_ASSERT_FALSE(settle(i < 10 ? 20 * HG_NS_PER_S : 3 * HG_HANDSHAKE_ALONE_NS));
        CU_ASSERT(hg_handshake_cloned(&nodes[0].hs));
    }
    CU_ASSERT(nodes[0].established_count <= established_before + 1); /* keys of what was on its way */
    CU_ASSERT(nodes[0].hs.counters.drop_cloned >= 12);
    CU_ASSERT_EQUAL(nodes[0].now.generation, 0);
    uint64_t begun_ns = now_ns;
    node_start(1);
    CU_ASSERT(settle(2 * HG_HANDSHAKE_ALONE_NS));
    CU_ASSERT(now_ns - begun_ns >= HG_HANDSHAKE_ALONE_NS);
    CU_ASSERT_FALSE(hg_handshake_cloned(&nodes[0].hs));
    CU_ASSERT_EQUAL(nodes[0].now.lane_generation, nodes[0].now.generation);
    CU_ASSERT_EQUAL(nodes[1].now.lane_generation, nodes[1].now.generation);
    CU_ASSERT(nodes[0].hs.counters.established < nodes[0].hs.counters.drop_cloned + 20);
    twin_swap(&twin); /* it was not gone for good */
    CU_ASSERT_FALSE(settle(20 * HG_NS_PER_S));
    CU_ASSERT(hg_handshake_cloned(&nodes[0].hs));
}

static void test_twins(void)
{
    for (uint64_t seed = 0; seed < 12; seed++)
        twins(seed + 1700, 2 + (uint32_t)(seed % 4 == 3) * 3);
}

/* One that was stopped for a while, or cannot be heard at all, was not alone meanwhile. */
static void test_alone_means_heard(void)
{
    world_init(1800);
    start_both();
    CU_ASSERT_FATAL(settle(60 * HG_NS_PER_S));
    struct node twin = nodes[1];
    node_start(1);
    CU_ASSERT_FATAL(settle(60 * HG_NS_PER_S));
    cloned_expected = true;
    twin_swap(&twin);
    CU_ASSERT_FALSE(settle(20 * HG_NS_PER_S));
    node_start(1);
    CU_ASSERT_FALSE(settle(HG_HANDSHAKE_ALONE_NS / 2));
    channel.loss_percent = 100;
    CU_ASSERT_FALSE(settle(2 * HG_HANDSHAKE_ALONE_NS));
    channel.loss_percent = 0;
    uint64_t back_ns = now_ns;
    CU_ASSERT(settle(2 * HG_HANDSHAKE_ALONE_NS));
    CU_ASSERT(now_ns - back_ns >= HG_HANDSHAKE_ALONE_NS);
}

static struct flight flight_take(void)
{
    CU_ASSERT_EQUAL_FATAL(flight_count, 1);
    return flights[--flight_count];
}

/* A restart that is quick, and the last word of the former life slow: it answers what was asked before the
 * new one was heard, so it proves nothing of now. Hence who lives is asked anew. `other`: the former one. */
static void late_confirm(struct node *other)
{
    world_init(1900);
    channel.data = false; /* whose SPI would be unknown, which asks as well */
    node_start(0);
    hg_handshake_init(&nodes[1].hs, &nodes[1].config, now_ns + 100 * HG_NS_PER_S);
    CU_ASSERT_FATAL(settle(20 * HG_NS_PER_S)); /* node 0 began: the generation is even */
    flight_count = 0;
    now_ns += 10 * HG_NS_PER_S;
    hg_handshake_rekey(&nodes[1].hs, now_ns);
    tick(1);
    struct flight hello = flight_take();
    hg_handshake_rekey(&nodes[0].hs, now_ns);
    tick(0);
    struct flight flight = flight_take();
    deliver(1, flight.message, flight.bytes);
    flight = flight_take();
    CU_ASSERT(deliver(0, flight.message, flight.bytes) & HG_HANDSHAKE_ESTABLISHED);
    struct flight confirm = flight_take();
    uint64_t boot = nodes[0].config.boot_local;
    *other = nodes[0];
    node_start(0);
    deliver(0, hello.message, hello.bytes);
    flight = flight_take();
    CU_ASSERT(deliver(1, flight.message, flight.bytes) & HG_HANDSHAKE_ESTABLISHED);
    CU_ASSERT_EQUAL(nodes[1].now.boot_remote, nodes[0].config.boot_local);
    flight_count = 0;
    CU_ASSERT_EQUAL(deliver(1, confirm.message, confirm.bytes), HG_HANDSHAKE_ESTABLISHED);
    CU_ASSERT_EQUAL(nodes[1].now.boot_remote, boot);
    CU_ASSERT_FALSE(hg_handshake_cloned(&nodes[1].hs));
}

static void test_late_confirm_is_no_clone(void)
{
    struct node former;
    late_confirm(&former);
    CU_ASSERT(settle(20 * HG_NS_PER_S));
    CU_ASSERT_EQUAL(nodes[1].now.boot_remote, nodes[0].config.boot_local);
}

/* Both live, and have been heard within one round trip. */
static void test_late_confirm_of_a_twin(void)
{
    struct node former;
    late_confirm(&former);
    nodes[0] = former;
    cloned_expected = true;
    CU_ASSERT_FALSE(settle(3 * HG_HANDSHAKE_HELLO_GAP_NS));
    CU_ASSERT(hg_handshake_cloned(&nodes[1].hs));
    CU_ASSERT_EQUAL(nodes[1].now.generation, 0);
}

static void test_wipe(void)
{
    static const uint8_t zeros[sizeof(struct hg_handshake)];
    world_init(1);
    start_both();
    CU_ASSERT(settle(30 * HG_NS_PER_S));
    hg_handshake_wipe(&nodes[0].hs);
    CU_ASSERT_EQUAL(memcmp(&nodes[0].hs, zeros, sizeof(zeros)), 0);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("handshake", NULL, NULL);
    CU_ADD_TEST(suite, test_lanes);
    CU_ADD_TEST(suite, test_simultaneous_open);
    CU_ADD_TEST(suite, test_either_side_first);
    CU_ADD_TEST(suite, test_bad_channel);
    CU_ADD_TEST(suite, test_bad_channel_restarts);
    CU_ADD_TEST(suite, test_restart_at_every_message);
    CU_ADD_TEST(suite, test_replays);
    CU_ADD_TEST(suite, test_replays_during_restart);
    CU_ADD_TEST(suite, test_replay_of_present);
    CU_ADD_TEST(suite, test_replays_do_not_silence);
    CU_ADD_TEST(suite, test_rate_limit);
    CU_ADD_TEST(suite, test_lost_confirm);
    CU_ADD_TEST(suite, test_strangers);
    CU_ADD_TEST(suite, test_flipped_bits);
    CU_ADD_TEST(suite, test_restarts_are_no_clones);
    CU_ADD_TEST(suite, test_twins);
    CU_ADD_TEST(suite, test_alone_means_heard);
    CU_ADD_TEST(suite, test_late_confirm_is_no_clone);
    CU_ADD_TEST(suite, test_late_confirm_of_a_twin);
    CU_ADD_TEST(suite, test_wipe);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
