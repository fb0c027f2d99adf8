/* SPDX-License-Identifier: Apache-2.0
 *
 * Two links joined by ports in memory: outer headers, ESP, who a packet is from, and a port that is busy.
 */
#include "dataplane/link.h"
#include "drivers/platform/random.h"
#include "tests/unit/dataplane/stream/stream_node.h"

#define PACKETS 256u

struct memory_port {
    struct hg_port port; /* first */
    struct memory_port *other;
    uint8_t frames[PACKETS][2048];
    bool used[PACKETS];
    uint32_t queue[PACKETS]; /* to be received: frame numbers of this side's memory */
    uint32_t queue_bytes[PACKETS];
    uint32_t queue_count;
    uint32_t frame_bytes_largest;
    uint32_t transmit_max;  /* taken in one call */
    bool marks;             /* what is ECT(0) becomes CE, as before a full queue */
    uint32_t codepoints[4]; /* of ECN: packets sent with each */
    bool empty;             /* no buffers */
};

struct site {
    struct stream_node node;
    struct memory_port port;
    struct hg_peers *peers;
    struct hg_link link;
    uint32_t handshakes;
    uint32_t handshake_peer;
    uint8_t handshake_first;
    bool handshake_refused;
    uint32_t spi_unknowns;
};

static struct hg_network network; /* of both sites; the last byte of the address is the site's */
static struct site sites[2];
static struct site *const a = &sites[0], *const b = &sites[1];

/* ---- a port in memory ---- */

static uint32_t port_allocate(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct memory_port *memory = (struct memory_port *)port;
    uint32_t got = 0;
    for (uint32_t i = 0; i < PACKETS && got < n && !memory->empty; i++)
        if (!memory->used[i]) {
            memory->used[i] = true;
            packets[got++] = (struct hg_packet){.data = memory->frames[i],
                                                .bytes_max = sizeof(memory->frames[i]),
                                                .handle = &memory->used[i]};
        }
    CU_ASSERT(got == n || memory->empty);
    return got;
}

static void port_release(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    (void)port;
    for (uint32_t i = 0; i < n; i++) {
        bool *used = packets[i].handle;
        CU_ASSERT_TRUE(*used);
        *used = false;
    }
}

/* Hands a frame to the other side. */
static void port_deliver(struct memory_port *to, const void *frame, uint32_t bytes)
{
    struct hg_packet packet = {.bytes = 0};
    CU_ASSERT_EQUAL_FATAL(port_allocate(&to->port, &packet, 1), 1);
    memcpy(packet.data, frame, bytes);
    to->frame_bytes_largest = (uint32_t)hg_max_u64(to->frame_bytes_largest, bytes);
    to->queue[to->queue_count] = (uint32_t)((bool *)packet.handle - to->used);
    to->queue_bytes[to->queue_count++] = bytes;
}

static void port_mark(struct memory_port *memory, const struct hg_packet *packet)
{
    struct hg_encapsulation outer;
    const uint8_t *payload;
    uint32_t payload_bytes;
    if (hg_encapsulation_read(packet->data, packet->bytes, &outer, &payload, &payload_bytes) !=
        HG_ENCAPSULATION_OK)
        return;
    memory->codepoints[outer.dscp_ecn & HG_ECN_MASK]++;
    CU_ASSERT_EQUAL(outer.dscp_ecn & ~HG_ECN_MASK, 0);
    if (memory->marks && outer.dscp_ecn == HG_ECN_ECT0) {
        outer.dscp_ecn = HG_ECN_CE;
        (void)hg_encapsulation_write(&outer, payload_bytes, packet->data);
    }
}

static uint32_t port_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct memory_port *memory = (struct memory_port *)port;
    uint32_t sent = (uint32_t)hg_min_u64(n, memory->transmit_max);
    for (uint32_t i = 0; i < sent; i++)
        port_mark(memory, &packets[i]);
    for (uint32_t i = 0; i < sent; i++)
        port_deliver(memory->other, packets[i].data, packets[i].bytes);
    port_release(port, packets, sent);
    return sent;
}

static uint32_t port_receive(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct memory_port *memory = (struct memory_port *)port;
    uint32_t got = (uint32_t)hg_min_u64(n, memory->queue_count);
    for (uint32_t i = 0; i < got; i++)
        packets[i] = (struct hg_packet){.data = memory->frames[memory->queue[i]],
                                        .bytes = memory->queue_bytes[i],
                                        .bytes_max = sizeof(memory->frames[0]),
                                        .handle = &memory->used[memory->queue[i]]};
    memory->queue_count -= got;
    memmove(memory->queue, memory->queue + got, memory->queue_count * sizeof(memory->queue[0]));
    memmove(memory->queue_bytes, memory->queue_bytes + got,
            memory->queue_count * sizeof(memory->queue_bytes[0]));
    return got;
}

static uint32_t port_used(const struct memory_port *memory)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < PACKETS; i++)
        used += memory->used[i];
    return used;
}

/* ---- two sites ---- */

static bool handshake(void *ctx, uint32_t peer, const uint8_t *message, uint32_t bytes)
{
    struct site *site = ctx;
    if (site->handshake_refused)
        return false;
    site->handshakes++;
    site->handshake_peer = peer;
    site->handshake_first = bytes > 0 ? message[0] : 0;
    return true;
}

static void spi_unknown(void *ctx, uint32_t peer)
{
    CU_ASSERT_EQUAL(peer, 0);
    ((struct site *)ctx)->spi_unknowns++;
}

static void rekey(void *ctx, uint32_t peer, enum hg_rekey why)
{
    (void)ctx;
    (void)why;
    (void)peer;
}

static struct hg_address address_of(uint32_t site)
{
    struct hg_address address = network.address;
    address.bytes[address.family == HG_FAMILY_IPV6 ? 15 : 3] = (uint8_t)(1 + site);
    return address;
}

static void site_make(uint32_t i)
{
    struct site *site = &sites[i];
    memset(site, 0, sizeof(*site));
    stream_node_make(&site->node, (uint16_t)(1 + i));
    struct hg_peers_config config = {.streams = site->node.streams,
                                     .log = site->node.log,
                                     .events = &site->node.sink,
                                     .streams_max = NODE_STREAMS_MAX,
                                     .peers_max = 2,
                                     .packets_in_flight_max = 128,
                                     .rekey = rekey};
    site->peers = hg_peers_init(&config);
    struct hg_config_peer peer = {.name = "other",
                                  .node = 2 - i,
                                  .region = (uint16_t)(2 - i),
                                  .mac = {2, 0, 0, 0, 0, (uint8_t)(1 - i)},
                                  .address = address_of(1 - i),
                                  .ecn = HG_CONFIG_ECN_ON,
                                  .receive_bytes_max = 4u << 20};
    CU_ASSERT_EQUAL(hg_peers_configure(site->peers, &peer, 1500, 0), 0);
    hg_link_init(&site->link, site->peers);
    site->port.port = (struct hg_port){.receive = port_receive,
                                       .allocate = port_allocate,
                                       .transmit = port_transmit,
                                       .release = port_release,
                                       .mac = {2, 0, 0, 0, 0, (uint8_t)i},
                                       .mtu_bytes = 1500,
                                       .link_up = true};
    site->port.other = &sites[1 - i].port;
    site->port.transmit_max = UINT32_MAX;
    site->link.handshake = handshake;
    site->link.spi_unknown = spi_unknown;
    site->link.ctx = site;
    site->link.port = &site->port.port;
    site->link.network = network;
    site->link.network.address = address_of(i);
}

static void setup_in(struct hg_network of)
{
    char error[128];
    network = of;
    CU_ASSERT_EQUAL_FATAL(hg_esp_start(error, sizeof(error)), 0);
    site_make(0);
    site_make(1);
    for (uint32_t i = 0; i < 2; i++) /* announcements of their addresses */
        hg_link_transmit(&sites[i].link, sites[i].node.now_ns);
    for (uint32_t i = 0; i < 2; i++)
        hg_link_receive(&sites[i].link, sites[i].node.now_ns);
}

static void setup(void)
{
    setup_in((struct hg_network){.address = hg_address_ipv4(0x0a000000)});
}

static void teardown(void)
{
    for (uint32_t i = 0; i < 2; i++) {
        hg_peers_free(sites[i].peers);
        stream_node_free(&sites[i].node);
    }
}

static void keys(struct site *site, uint32_t spi_tx, uint32_t spi_rx)
{
    struct hg_handshake_keys fresh = {
        .generation = 1, .lane_generation = 1, .workers_remote = 1, .spi_tx = spi_tx, .spi_rx = spi_rx};
    memset(fresh.key_tx, spi_tx == 1000 ? 1 : 2, sizeof(fresh.key_tx));
    memset(fresh.key_rx, spi_rx == 1000 ? 1 : 2, sizeof(fresh.key_rx));
    hg_peers_keys(site->peers, 0, &fresh, site->node.now_ns);
}

static void turn(struct site *site)
{
    hg_link_receive(&site->link, site->node.now_ns);
    hg_streams_seal(site->node.streams, true, site->node.now_ns);
    hg_log_close_write(site->node.log);
    stream_node_turn(&site->node);
    hg_peers_log_moved(site->peers, site->node.now_ns);
    hg_peers_tick(site->peers, site->node.now_ns);
    hg_link_transmit(&site->link, site->node.now_ns);
}

static void turns(int n)
{
    while (n-- > 0) {
        turn(a);
        turn(b);
    }
}

/* ---- tests ---- */

static void test_handshake(void)
{
    uint8_t message[HG_HANDSHAKE_BYTES_MAX + 1] = {42};
    setup();
    hg_link_handshake_send(&a->link, 0, message, HG_HANDSHAKE_BYTES_MAX);
    hg_link_receive(&b->link, 0);
    CU_ASSERT_EQUAL(b->handshakes, 1);
    CU_ASSERT_EQUAL(b->handshake_peer, 0);
    CU_ASSERT_EQUAL(b->handshake_first, 42);
    hg_link_handshake_send(&a->link, 0, message, HG_HANDSHAKE_BYTES_MAX + 1);
    hg_link_receive(&b->link, 0);
    CU_ASSERT_EQUAL(b->link.counters.drop_handshake_size, 1);
    b->handshake_refused = true;
    hg_link_handshake_send(&a->link, 0, message, 10);
    hg_link_receive(&b->link, 0);
    CU_ASSERT_EQUAL(b->link.counters.drop_mailbox, 1);
    a->link.network.address = address_of(77); /* no peer of b */
    hg_link_handshake_send(&a->link, 0, message, 10);
    hg_link_receive(&b->link, 0);
    CU_ASSERT_EQUAL(b->link.counters.drop_source, 1);
    b->link.network.address = address_of(78); /* not for us */
    hg_link_handshake_send(&a->link, 0, message, 10);
    hg_link_receive(&b->link, 0);
    CU_ASSERT_EQUAL(b->link.counters.drop_address, 1);
    CU_ASSERT_EQUAL(b->handshakes, 1);
    a->port.port.link_up = false; /* lost, as on the link */
    hg_link_handshake_send(&a->link, 0, message, 10);
    CU_ASSERT_EQUAL(b->port.queue_count, 0);
    CU_ASSERT(port_used(&a->port) <= 1 && port_used(&b->port) <= 1); /* a spare at most */
    teardown();
}

static void data_flows(void)
{
    keys(a, 1000, 1001);
    keys(b, 1001, 1000);
    uint32_t slot = stream_node_configure(&a->node, "one", 11, HG_STREAM_KEY_VALUE, 1, 1);
    stream_node_configure(&b->node, "one", 11, HG_STREAM_KEY_VALUE, 1, 0);
    hg_streams_at(a->node.streams, slot)->codec = HG_CODEC_NONE;
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(stream_node_append(&a->node, slot, 20000), HG_APPEND_OK);
    turns(300);
    CU_ASSERT_EQUAL(hg_streams_at(b->node.streams, 0)->lsn_durable, 21);
    CU_ASSERT_EQUAL(hg_streams_at(a->node.streams, slot)->lsn_peer[0], 21);
    CU_ASSERT(port_used(&a->port) <= 1 && port_used(&b->port) <= 1);
}

static void test_data(void)
{
    setup();
    data_flows();
    CU_ASSERT_EQUAL(b->link.esp_counts[HG_ESP_OK], b->link.counters.rx_data);
    CU_ASSERT_EQUAL(a->link.counters.tx_busy, 0);
    teardown();
}

/* A port that takes a few packets at a time and often has no buffers: nothing sealed is lost for it. */
static void test_busy_port(void)
{
    setup();
    a->port.transmit_max = 3;
    b->port.transmit_max = 1;
    data_flows();
    CU_ASSERT(a->link.counters.tx_busy > 0);
    CU_ASSERT_EQUAL(hg_lane_stats(hg_peers_at(a->peers, 0)->sessions[0].lane)->packets_lost, 0);
    a->port.empty = true;
    CU_ASSERT_EQUAL(stream_node_append(&a->node, 0, 20000), HG_APPEND_OK);
    a->link.spare_used = false;
    memset(a->port.used, 0, sizeof(a->port.used));
    a->link.counters.tx_nobuf = 0;
    for (int i = 0; i < 10; i++)
        hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT(a->link.counters.tx_nobuf > 0);
    a->port.empty = false;
    turns(300);
    CU_ASSERT_EQUAL(hg_streams_at(b->node.streams, 0)->lsn_durable, 22);
    teardown();
}

/* Data under keys that we don't have: new ones are asked for, not at line rate. */
static void test_spi_unknown(void)
{
    setup();
    keys(a, 1000, 1001);
    for (int i = 0; i < 20; i++) {
        hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
        b->node.now_ns = HG_NS_PER_S;
        hg_link_transmit(&a->link, a->node.now_ns);
        hg_link_receive(&b->link, b->node.now_ns);
    }
    CU_ASSERT_EQUAL(b->link.counters.drop_spi, 20);
    CU_ASSERT_EQUAL(b->spi_unknowns, 1);
    b->node.now_ns += HG_HANDSHAKE_HELLO_GAP_NS;
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(b->spi_unknowns, 2);
    teardown();
}

/* Both have newer keys; what the other side sealed before it knew so has a name of its own. */
static void test_spi_replaced(void)
{
    setup();
    keys(a, 1000, 1001);
    keys(b, 1001, 1000);
    turns(20);
    keys(b, 1003, 1002);
    b->node.now_ns = HG_NS_PER_S;
    hg_peers_receive(&hg_peers_at(b->peers, 0)->sessions[1], 0, NULL, 0, 1, HG_ECN_NOT_ECT, b->node.now_ns);
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(b->link.counters.drop_spi_replaced, 1);
    CU_ASSERT_EQUAL(b->link.counters.drop_spi, 0);
    CU_ASSERT_EQUAL(b->spi_unknowns, 1); /* and asked about: the other side may never learn it */
    teardown();
}

/* Not configured any more: what it goes on sending is dropped under a name and prompts nothing; named again
 * it is a peer like any other. */
static void test_peer_removed(void)
{
    uint8_t message[10] = {1};
    setup();
    keys(a, 1000, 1001);
    keys(b, 1001, 1000);
    turns(20);
    b->node.now_ns = HG_NS_PER_S;
    hg_peers_configure_begin(b->peers);
    hg_peers_configure_end(b->peers, b->node.now_ns);
    uint32_t place;
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(b->peers, 1000, &place));
    CU_ASSERT_PTR_NULL(hg_peers_session_of_spi(b->peers, 1001, &place));
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    hg_link_handshake_send(&a->link, 0, message, sizeof(message));
    uint32_t heard = b->handshakes, received = hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(received, 2);
    CU_ASSERT_EQUAL(b->link.counters.drop_peer_removed, 2);
    CU_ASSERT_EQUAL(b->link.counters.drop_spi, 0);
    CU_ASSERT_EQUAL(b->spi_unknowns, 0);
    CU_ASSERT_EQUAL(b->handshakes, heard);
    hg_link_handshake_send(&b->link, 0, message, sizeof(message)); /* it was on its way to the worker */
    CU_ASSERT_EQUAL(b->link.counters.tx_handshake, 0);
    CU_ASSERT_EQUAL(hg_link_transmit(&b->link, b->node.now_ns), 0);
    teardown();
}

/* Any bytes, at any length, and true packets with any byte changed. */
static void test_garbage(void)
{
    uint8_t frame[2048];
    struct hg_random random;
    setup();
    keys(a, 1000, 1001);
    keys(b, 1001, 1000);
    hg_random_init(&random, 7);
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT_EQUAL_FATAL(b->port.queue_count, 1);
    uint32_t bytes = b->port.queue_bytes[0];
    memcpy(frame, b->port.frames[b->port.queue[0]], bytes);
    struct hg_packet packet = {.bytes = 0};
    CU_ASSERT_EQUAL(port_receive(&b->port.port, &packet, 1), 1);
    port_release(&b->port.port, &packet, 1);
    for (uint32_t at = 0; at < bytes; at++) {
        frame[at] ^= 1;
        if (at >= HG_WIRE_OUTER_BYTES) /* UDP's source port and checksum mean nothing to us */
            port_deliver(&b->port, frame, bytes);
        port_deliver(&b->port, frame, at);
        frame[at] ^= 1;
        hg_link_receive(&b->link, b->node.now_ns);
    }
    CU_ASSERT_EQUAL(b->link.counters.rx_data, 0);
    port_deliver(&b->port, frame, bytes);
    port_deliver(&b->port, frame, bytes); /* again */
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(b->link.counters.rx_data, 1);
    for (int i = 0; i < 500; i++) {
        bytes = (uint32_t)hg_random_below(&random, sizeof(frame));
        hg_random_fill(&random, frame, bytes);
        port_deliver(&b->port, frame, bytes);
        hg_link_receive(&b->link, b->node.now_ns);
    }
    CU_ASSERT_EQUAL(b->link.counters.rx_data, 1);
    CU_ASSERT(port_used(&b->port) <= 1);
    teardown();
}

/* No MAC is configured: a is found by b with its first message, and b by a. */
static void test_neighbours(void)
{
    static const uint8_t none[6];
    uint8_t message[10] = {42};
    for (uint32_t six = 0; six < 2; six++) {
        struct hg_network of = {.prefix_bits = six ? 64 : 24};
        CU_ASSERT_TRUE(hg_address_parse(six ? "fd00::" : "10.0.0.0", &of.address));
        setup_in(of);
        for (uint32_t i = 0; i < 2; i++)
            memcpy(hg_peers_at(sites[i].peers, 0)->mac, none, sizeof(none));
        hg_link_handshake_send(&a->link, 0, message, sizeof(message));
        CU_ASSERT_EQUAL(a->link.counters.drop_neighbour, 1);
        CU_ASSERT_EQUAL(b->port.queue_count, 0);
        for (uint32_t i = 0; i < 2; i++)
            sites[i].node.now_ns += HG_LINK_NEIGHBOURS_NS;
        turns(3);
        hg_link_handshake_send(&a->link, 0, message, sizeof(message));
        CU_ASSERT_EQUAL(a->link.counters.drop_neighbour, 1);
        hg_link_receive(&b->link, b->node.now_ns);
        CU_ASSERT_EQUAL(b->handshakes, 1);
        CU_ASSERT_EQUAL(b->link.neighbours.counters.rx_requests, 1);
        data_flows();
        b->port.port.link_up = false; /* and up again: what is known is used meanwhile */
        hg_link_transmit(&b->link, b->node.now_ns);
        b->port.port.link_up = true;
        hg_link_transmit(&b->link, b->node.now_ns);
        CU_ASSERT_EQUAL(b->link.neighbours.table[0].state, HG_NEIGHBOUR_PROBE);
        hg_link_handshake_send(&b->link, 0, message, sizeof(message));
        CU_ASSERT_EQUAL(b->link.counters.drop_neighbour, 0);
        teardown();
    }
}

/* The same over IPv6 with a VLAN tag, in packets that fill its MTU and no more. */
static const struct hg_lane_stats *stats_of(struct site *site)
{
    return hg_lane_stats(hg_peers_at(site->peers, 0)->sessions[0].lane);
}

/* Data is ECT(0), acks and the handshake are not; a mark on the way there comes back to the sender, and one
 * on a packet that does not open means nothing. */
static void ecn_in(struct hg_network of)
{
    uint8_t message[10] = {1};
    setup_in(of);
    a->port.marks = true;
    data_flows();
    CU_ASSERT(a->port.codepoints[HG_ECN_ECT0] > 100 && b->port.codepoints[HG_ECN_NOT_ECT] > 0);
    CU_ASSERT_EQUAL(a->port.codepoints[HG_ECN_ECT0], stats_of(a)->ecn_sent);
    CU_ASSERT_EQUAL(b->port.codepoints[HG_ECN_ECT0], stats_of(b)->ecn_sent);
    CU_ASSERT_EQUAL(stats_of(b)->ecn_marked, stats_of(a)->ecn_sent);
    CU_ASSERT_EQUAL(stats_of(a)->ecn_marked_there, stats_of(a)->ecn_sent);
    CU_ASSERT_EQUAL(stats_of(b)->ecn_marked_there, 0);
    CU_ASSERT_EQUAL(stats_of(a)->ecn_failed + stats_of(b)->ecn_failed, 0);
    uint32_t unmarked = a->port.codepoints[HG_ECN_NOT_ECT];
    hg_link_handshake_send(&a->link, 0, message, sizeof(message));
    CU_ASSERT_EQUAL(a->port.codepoints[HG_ECN_NOT_ECT], unmarked + 1);

    hg_link_receive(&b->link, b->node.now_ns);
    uint64_t marked = stats_of(b)->ecn_marked;
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT_EQUAL_FATAL(b->port.queue_count, 1);
    b->port.frames[b->port.queue[0]][b->port.queue_bytes[0] - 1] ^= 1; /* of the ICV */
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(b->link.esp_counts[HG_ESP_ICV], 1);
    CU_ASSERT_EQUAL(stats_of(b)->ecn_marked, marked);
    teardown();
}

static void test_ecn(void)
{
    struct hg_network six = {.vlan = 9};
    CU_ASSERT_TRUE(hg_address_parse("fd00::", &six.address));
    ecn_in((struct hg_network){.address = hg_address_ipv4(0x0a000000)});
    ecn_in(six);
}

static void test_ipv6(void)
{
    struct hg_network of = {.vlan = 9};
    CU_ASSERT_TRUE(hg_address_parse("fd00::", &of.address));
    setup_in(of);
    data_flows();
    CU_ASSERT(b->port.frame_bytes_largest <= 14 + 4 + 1500);
    CU_ASSERT(b->port.frame_bytes_largest > 14 + 4 + 1500 - HG_WIRE_UNIT_BYTES);
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT_EQUAL(b->link.counters.drop_vlan, 0);
    b->link.network.vlan = 10;
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT_EQUAL(b->link.counters.drop_vlan, 1);
    teardown();
}

/* The SPI of a frame that waits at a port. */
static uint32_t spi_at(const struct memory_port *port, uint32_t place)
{
    return hg_esp_spi(port->frames[port->queue[place]] + HG_WIRE_OUTER_BYTES,
                      port->queue_bytes[place] - HG_WIRE_OUTER_BYTES);
}

/* One peer is owed more than a turn sends; what another lane has to say leaves before all of it. */
static void test_control_first(void)
{
    setup();
    data_flows();
    struct hg_config_peer third = {.name = "third",
                                   .node = 9,
                                   .region = 3,
                                   .mac = {2, 0, 0, 0, 0, 9},
                                   .address = address_of(5),
                                   .receive_bytes_max = 4u << 20};
    CU_ASSERT_EQUAL_FATAL(hg_peers_configure(a->peers, &third, 1500, a->node.now_ns), 1);
    struct hg_handshake_keys fresh = {
        .generation = 1, .lane_generation = 1, .workers_remote = 1, .spi_tx = 2000, .spi_rx = 2001};
    hg_peers_keys(a->peers, 1, &fresh, a->node.now_ns);
    for (int i = 0; i < 20; i++)
        CU_ASSERT_EQUAL(stream_node_append(&a->node, 0, 20000), HG_APPEND_OK);
    hg_link_transmit(&a->link, a->node.now_ns); /* the first word of the new lane */
    hg_streams_seal(a->node.streams, true, a->node.now_ns);
    hg_log_close_write(a->node.log);
    for (int i = 0; i < 20; i++) {
        stream_node_turn(&a->node);
        hg_peers_log_moved(a->peers, a->node.now_ns);
    }
    b->port.queue_count = 0; /* what came before is lost */
    memset(b->port.used, 0, sizeof(b->port.used));
    struct hg_peer *peer = hg_peers_at(a->peers, 1);
    struct hg_wire_stream_durable durable = {
        .control = {.type = HG_WIRE_STREAM_DURABLE, .bytes = sizeof(durable), .alias = 4}, .lsn_durable = 7};
    CU_ASSERT_EQUAL(hg_lane_control_send(peer->sessions[peer->next].lane, &durable.control), 0);
    hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT_FATAL(b->port.queue_count > 20);
    CU_ASSERT_EQUAL(spi_at(&b->port, 0), 2000);
    for (uint32_t i = 1; i < 20; i++)
        CU_ASSERT_EQUAL(spi_at(&b->port, i), 1000);
    teardown();
}

/* A lane to a further worker begins with its first packet, and with none that only has its SPI. */
static void test_first_packet(void)
{
    setup();
    data_flows();
    struct hg_handshake_keys there = {.generation = 2,
                                      .lane_generation = 2,
                                      .workers_remote = 2,
                                      .spi_tx = 0x3000,
                                      .spi_rx = 0x3040,
                                      .key_tx = {1},
                                      .key_rx = {2}};
    hg_peers_keys(a->peers, 0, &there, a->node.now_ns); /* of the lane that is always kept */
    there.worker_remote = 1;
    there.spi_tx = 0x4000;
    there.spi_rx = 0x4041;
    hg_peers_keys(a->peers, 0, &there, a->node.now_ns); /* for later */
    struct hg_peer *head = hg_peers_at(a->peers, 0);
    CU_ASSERT_PTR_NULL(head->lane_next);
    static uint8_t sa_memory[2][8192] __attribute__((aligned(64)));
    CU_ASSERT_FATAL(hg_esp_sa_bytes() <= sizeof(sa_memory[0]));
    struct hg_esp_sa *wrong = hg_esp_sa_init(sa_memory[0], there.spi_rx, there.key_tx, there.salt_rx);
    struct hg_esp_sa *right = hg_esp_sa_init(sa_memory[1], there.spi_rx, there.key_rx, there.salt_rx);
    struct hg_wire_header header = {.version = HG_WIRE_VERSION};
    struct iovec piece = {&header, sizeof(header)};
    struct hg_encapsulation outer = {.ip_source = address_of(1),
                                     .ip_destination = address_of(0),
                                     .port_source = HG_WIRE_UDP_PORT_DATA + 1,
                                     .port_destination = HG_WIRE_UDP_PORT_DATA};
    for (int i = 0; i < 2; i++) {
        uint8_t frame[512];
        uint32_t at = hg_encapsulation_bytes(&outer);
        uint32_t bytes = hg_esp_seal(i == 0 ? wrong : right, &piece, 1, frame + at, sizeof(frame) - at);
        uint32_t frame_bytes = hg_encapsulation_write(&outer, bytes, frame);
        port_deliver(&a->port, frame, frame_bytes);
        uint64_t failed = a->link.esp_counts[HG_ESP_ICV];
        hg_link_receive(&a->link, a->node.now_ns);
        CU_ASSERT_EQUAL(a->link.esp_counts[HG_ESP_ICV], failed + (i == 0));
        CU_ASSERT_EQUAL(head->lane_next != NULL, i == 1);
    }
    CU_ASSERT_FATAL(head->lane_next != NULL);
    CU_ASSERT(head->lane_next->worker_remote == 1 && head->lane_next->current >= 0);
    CU_ASSERT_EQUAL(a->link.counters.drop_spi, 0);
    teardown();
}

/* Two workers on one port that does not steer: each hands the other what is for it, still encrypted. */
static void test_handed_over(void)
{
    static struct hg_handover rings[4];
    static struct hg_link second;
    uint8_t message[64] = {42};
    setup();
    data_flows();
    memset(rings, 0, sizeof(rings));
    hg_link_init(&second, b->peers);
    second.port = &b->port.port;
    second.network = b->link.network;
    second.worker = 1;
    second.workers = b->link.workers = 2;
    second.handover = b->link.handover = rings;
    second.handshake = handshake;
    second.ctx = b;
    uint64_t before = b->link.counters.rx_data;
    hg_lane_ping(hg_peers_at(a->peers, 0)->sessions[0].lane);
    hg_link_transmit(&a->link, a->node.now_ns);
    CU_ASSERT_EQUAL_FATAL(b->port.queue_count, 1);
    uint8_t *frame = b->port.frames[b->port.queue[0]];
    CU_ASSERT_EQUAL(frame[36] << 8 | frame[37], HG_WIRE_UDP_PORT_DATA);
    frame[37]++; /* for the second worker */
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT(b->link.counters.rx_handed_over == 1 && b->link.counters.rx_data == before);
    CU_ASSERT_TRUE(hg_link_handed_over(&second));
    CU_ASSERT(port_used(&b->port) >= 1);
    hg_link_receive(&second, b->node.now_ns);
    CU_ASSERT(second.counters.rx_taken_over == 1 && second.counters.rx_data == 1);
    CU_ASSERT_FALSE(hg_link_handed_over(&second));
    CU_ASSERT(port_used(&b->port) <= 1);
    hg_link_handshake_send(&a->link, 0, message, sizeof(message)); /* arrives at the second, is the first's */
    hg_link_receive(&second, b->node.now_ns);
    CU_ASSERT(second.counters.rx_handed_over == 1 && b->handshakes == 0);
    hg_link_receive(&b->link, b->node.now_ns);
    CU_ASSERT(b->link.counters.rx_taken_over == 1 && b->handshakes == 1);
    for (uint32_t i = 0; i < HG_HANDOVER_PACKETS; i++)
        CU_ASSERT_TRUE(hg_handover_put(&rings[2], &(struct hg_packet){.bytes = 0}));
    hg_link_handshake_send(&a->link, 0, message, sizeof(message));
    hg_link_receive(&second, b->node.now_ns);
    CU_ASSERT_EQUAL(second.counters.drop_handover, 1);
    hg_link_handshake_send(&a->link, 0, message, sizeof(message));
    b->port.frames[b->port.queue[0]][37] += 10; /* no such worker */
    hg_link_receive(&second, b->node.now_ns);
    CU_ASSERT_EQUAL(second.counters.drop_address, 1);
    CU_ASSERT(port_used(&b->port) <= 1);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("link", NULL, NULL);
    CU_add_test(suite, "handshake messages", test_handshake);
    CU_add_test(suite, "data", test_data);
    CU_add_test(suite, "neighbours", test_neighbours);
    CU_add_test(suite, "IPv6 and a VLAN", test_ipv6);
    CU_add_test(suite, "ECN", test_ecn);
    CU_add_test(suite, "a busy port", test_busy_port);
    CU_add_test(suite, "an unknown SPI", test_spi_unknown);
    CU_add_test(suite, "an SPI that was replaced", test_spi_replaced);
    CU_add_test(suite, "a peer that was removed", test_peer_removed);
    CU_add_test(suite, "garbage", test_garbage);
    CU_add_test(suite, "control before bulk", test_control_first);
    CU_add_test(suite, "packets of another worker", test_handed_over);
    CU_add_test(suite, "the first packet of a lane", test_first_packet);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
