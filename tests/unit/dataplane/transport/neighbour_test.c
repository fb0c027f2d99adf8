/* SPDX-License-Identifier: Apache-2.0
 *
 * Two stations of one link, ours and another of ours or a scripted one: asking, answering, silence, lies.
 */
#include "dataplane/transport/neighbour.h"
#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

#define MS HG_NS_PER_MS
#define S  HG_NS_PER_S

static struct hg_neighbours a, b;
static uint8_t mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb},
               mac_c[6] = {2, 0, 0, 0, 0, 0xc};
static uint64_t now;
static bool b_silent;
static uint8_t last[HG_NEIGHBOUR_ECHO_BYTES_MAX]; /* frame that a sent */
static uint32_t last_bytes;

static struct hg_address address(const char *text)
{
    struct hg_address parsed = {0};
    CU_ASSERT_FATAL(hg_address_parse(text, &parsed));
    return parsed;
}

static struct hg_network network(const char *own, uint32_t bits, const char *gateway)
{
    struct hg_network made = {.address = address(own), .prefix_bits = bits};
    if (gateway != NULL)
        made.gateway = address(gateway);
    return made;
}

/* At the end of its memory, so that a sanitizer sees a read too far. */
static uint32_t receive(struct hg_neighbours *to, const uint8_t *frame, uint32_t bytes, uint8_t *answer)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    memcpy(exact, frame, bytes);
    uint32_t answer_bytes = hg_neighbours_receive(to, exact, bytes, now, answer);
    free(exact);
    return answer_bytes;
}

static void deliver(struct hg_neighbours *to, struct hg_neighbours *from, const uint8_t *frame,
                    uint32_t bytes)
{
    uint8_t answer[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    bool unicast = (frame[0] & 1) == 0;
    if (from == &a) {
        memcpy(last, frame, bytes);
        last_bytes = bytes;
    }
    if ((to == &b && b_silent) || (unicast && memcmp(frame, to->mac, 6) != 0))
        return;
    uint32_t answer_bytes = receive(to, frame, bytes, answer);
    if (answer_bytes > 0)
        deliver(from, to, answer, answer_bytes);
}

static uint32_t turn(struct hg_neighbours *from, struct hg_neighbours *to)
{
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX];
    uint32_t bytes, sent = 0;
    for (; (bytes = hg_neighbours_build(from, now, frame)) > 0; sent++)
        deliver(to, from, frame, bytes);
    return sent;
}

/* Frames that a sent meanwhile. */
static uint32_t run(uint64_t ns)
{
    uint32_t sent = 0;
    for (uint64_t end = now + ns; now < end; now += 100 * MS) {
        sent += turn(&a, &b);
        turn(&b, &a);
    }
    return sent;
}

static void start(const char *own_a, const char *own_b, uint32_t bits, const char *gateway, uint16_t vlan)
{
    now = 1000 * S;
    b_silent = false;
    hg_neighbours_init(&a);
    hg_neighbours_init(&b);
    struct hg_network net_a = network(own_a, bits, gateway), net_b = network(own_b, bits, NULL);
    net_a.vlan = net_b.vlan = vlan;
    hg_neighbours_start(&a, mac_a, &net_a, now);
    hg_neighbours_start(&b, mac_b, &net_b, now);
}

static bool event(enum hg_neighbour_event_type type, const uint8_t *mac)
{
    struct hg_neighbour_event got;
    return hg_neighbours_event(&a, &got) && got.type == type && (mac == NULL || memcmp(got.mac, mac, 6) == 0);
}

static bool knows(const char *to, const uint8_t mac[6])
{
    struct hg_address wanted = address(to);
    const uint8_t *got = hg_neighbours_mac(&a, &wanted, now);
    return mac == NULL ? got == NULL : got != NULL && memcmp(got, mac, 6) == 0;
}

static const char *const families[2][5] = {
    {"10.0.0.1", "10.0.0.2", "10.0.0.9", "192.168.7.1", "10.0.0.254"},
    {"fd00::1", "fd00::2", "fd00::9", "2001:db8::1", "fe80::254"},
};

static void test_found(void)
{
    for (uint32_t f = 0; f < 4; f++) {
        const char *const *of = families[f % 2];
        start(of[0], of[1], f % 2 ? 64 : 24, NULL, f < 2 ? 0 : 30);
        CU_ASSERT(knows(of[1], NULL));
        run(200 * MS);
        CU_ASSERT(knows(of[1], mac_b));
        CU_ASSERT(knows(of[3], NULL)); /* not on the link, and no gateway */
        CU_ASSERT_EQUAL(a.counters.drop_no_route, 1);
        CU_ASSERT_EQUAL(a.table[0].state, HG_NEIGHBOUR_REACHABLE);
        run(6 * S);
        CU_ASSERT_EQUAL(a.counters.tx_requests, 1);
        CU_ASSERT_EQUAL(a.counters.tx_announces, HG_NEIGHBOUR_ANNOUNCES);
        CU_ASSERT_EQUAL(b.counters.rx_requests, 1);
        CU_ASSERT_EQUAL(a.counters.drop_duplicate + b.counters.drop_duplicate, 0);
        CU_ASSERT_EQUAL(b.counters.drop_malformed + b.counters.drop_checksum + b.counters.drop_vlan, 0);
        /* Asked again, itself alone, while its MAC stays in use. */
        CU_ASSERT(knows(of[1], mac_b));
        run(26 * S);
        CU_ASSERT_EQUAL(a.counters.tx_requests, 2);
        CU_ASSERT(memcmp(last, mac_b, 6) == 0);
        CU_ASSERT(knows(of[1], mac_b));
        CU_ASSERT_EQUAL(a.event_count, 0);
    }
}

static void test_gateway(void)
{
    for (uint32_t f = 0; f < 2; f++) {
        const char *const *of = families[f];
        start(of[0], of[4], f ? 64 : 24, of[4], 0);
        CU_ASSERT(knows(of[3], NULL));
        run(200 * MS);
        CU_ASSERT(knows(of[3], mac_b));
        CU_ASSERT_EQUAL(a.count, 1);
        CU_ASSERT(hg_address_equal(&a.table[0].address, &a.network.gateway));
    }
}

static void test_silence(void)
{
    for (uint32_t f = 0; f < 2; f++) {
        const char *const *of = families[f];
        start(of[0], of[1], f ? 64 : 24, NULL, 0);
        run(200 * MS);
        CU_ASSERT(knows(of[1], NULL));
        run(200 * MS);
        CU_ASSERT(knows(of[1], mac_b));
        b_silent = true;
        run(31 * S); /* probed: three times itself, then three times everyone */
        CU_ASSERT(knows(of[1], mac_b));
        run(4 * S);
        CU_ASSERT_EQUAL(a.table[0].state, HG_NEIGHBOUR_INCOMPLETE);
        CU_ASSERT(knows(of[1], mac_b));
        CU_ASSERT_EQUAL(a.event_count, 0);
        run(3 * S);
        CU_ASSERT(knows(of[1], NULL));
        CU_ASSERT(event(HG_NEIGHBOUR_EVENT_UNREACHABLE, NULL));
        uint64_t asked = a.counters.tx_requests;
        run(30 * S);
        CU_ASSERT(knows(of[1], NULL));
        CU_ASSERT(a.counters.tx_requests - asked >= 9 && a.counters.tx_requests - asked <= 11);
        CU_ASSERT_EQUAL(a.event_count, 0); /* said once */
        b_silent = false;
        run(4 * S);
        CU_ASSERT(knows(of[1], mac_b));
        CU_ASSERT(event(HG_NEIGHBOUR_EVENT_FOUND, mac_b));
        CU_ASSERT_EQUAL(a.table[0].state, HG_NEIGHBOUR_REACHABLE);
        /* Nobody wants it: it is asked for no more, until somebody does. */
        b_silent = true;
        run(61 * S);
        asked = a.counters.tx_requests;
        run(20 * S);
        CU_ASSERT_EQUAL(a.counters.tx_requests, asked);
        b_silent = false;
        CU_ASSERT(knows(of[1], NULL));
        run(200 * MS);
        CU_ASSERT(knows(of[1], mac_b));
    }
}

/* What another device with b's address says unasked, and what anyone says in ours. */
static void test_changes(void)
{
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], answer[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    for (uint32_t f = 0; f < 2; f++) {
        const char *const *of = families[f];
        uint32_t bits = f ? 64 : 24;
        start(of[0], of[1], bits, NULL, 0);
        (void)knows(of[1], NULL);
        run(6 * S);
        struct hg_network as_b = network(of[1], bits, NULL), as_a = network(of[0], bits, NULL);
        struct hg_network as_c = network(of[2], bits, NULL);
        b_silent = true;
        uint32_t bytes = hg_neighbour_answer_write(frame, mac_c, &as_b, NULL);
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
        CU_ASSERT(event(HG_NEIGHBOUR_EVENT_CHANGED, mac_c));
        CU_ASSERT(knows(of[1], mac_c));
        CU_ASSERT_EQUAL(a.table[0].state, HG_NEIGHBOUR_STALE);
        CU_ASSERT_EQUAL(run(4 * S), 0);
        CU_ASSERT_EQUAL(run(2 * S), 1); /* then it is probed */
        CU_ASSERT(memcmp(last, mac_c, 6) == 0);
        bytes = hg_neighbour_answer_write(frame, mac_c, &as_c, NULL); /* a stranger */
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
        CU_ASSERT_EQUAL(a.counters.drop_unasked, 1);
        CU_ASSERT_EQUAL(a.count, 1);
        bytes = hg_neighbour_answer_write(frame, mac_a, &as_a, NULL);
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
        CU_ASSERT_EQUAL(a.counters.drop_loop, 1);
        bytes = hg_neighbour_answer_write(frame, mac_c, &as_a, NULL);
        CU_ASSERT(receive(&a, frame, bytes, answer) > 0); /* defended, but not against every frame */
        CU_ASSERT(event(HG_NEIGHBOUR_EVENT_DUPLICATE, mac_c));
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
        CU_ASSERT_EQUAL(a.event_count, 0);
        CU_ASSERT_EQUAL(a.counters.drop_duplicate, 2);
        /* A question in b's name, from b: back to its MAC. */
        bytes = hg_neighbour_request_write(frame, mac_b, &as_b, &as_a.address, NULL, false);
        CU_ASSERT(receive(&a, frame, bytes, answer) > 0);
        CU_ASSERT(memcmp(answer, mac_b, 6) == 0 && memcmp(answer + 6, mac_a, 6) == 0);
        CU_ASSERT(event(HG_NEIGHBOUR_EVENT_CHANGED, mac_b));
        CU_ASSERT(knows(of[1], mac_b));
        uint64_t others = a.counters.drop_other;
        bytes = hg_neighbour_request_write(frame, mac_b, &as_b, &as_c.address, NULL, false);
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
        CU_ASSERT_EQUAL(a.counters.drop_other, others + 1);
    }
}

static void test_limits(void)
{
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], answer[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    char text[32];
    start("10.0.0.1", "10.0.0.2", 16, NULL, 0);
    run(6 * S);
    uint32_t bytes = hg_neighbour_request_write(frame, mac_b, &b.network, &a.network.address, NULL, false),
             answered = 0;
    for (uint32_t i = 0; i < 1000; i++)
        answered += receive(&a, frame, bytes, answer) > 0;
    CU_ASSERT_EQUAL(answered, HG_NEIGHBOUR_ANSWER_BURST);
    CU_ASSERT_EQUAL(a.counters.drop_rate, 1000 - HG_NEIGHBOUR_ANSWER_BURST);
    now += S;
    CU_ASSERT(receive(&a, frame, bytes, answer) > 0);
    /* More stations than places: those in use stay. */
    for (uint32_t i = 0; i < HG_NEIGHBOURS_MAX + 5; i++) {
        snprintf(text, sizeof(text), "10.0.1.%u", i + 1);
        CU_ASSERT(knows(text, NULL));
    }
    CU_ASSERT_EQUAL(a.count, HG_NEIGHBOURS_MAX);
    CU_ASSERT_EQUAL(a.counters.drop_table, 5);
    now += HG_NEIGHBOUR_UNUSED_NS;
    CU_ASSERT(knows("10.0.2.1", NULL));
    CU_ASSERT_EQUAL(a.counters.drop_table, 5);
    for (uint32_t i = 0; i < 200; i++) /* nobody takes the events */
        run(S);
    CU_ASSERT(a.event_count <= HG_NEIGHBOUR_EVENTS_MAX);
    /* Another network: nothing of the old one is known. A port that comes up again: probed, not forgotten. */
    struct hg_network other = network("10.9.0.1", 16, NULL);
    hg_neighbours_start(&a, mac_a, &other, now);
    CU_ASSERT_EQUAL(a.count, 0);
}

static void put_sum(uint8_t *at, uint32_t sum, const uint8_t *bytes, uint32_t count)
{
    at[0] = at[1] = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    at[0] = (uint8_t)(sum >> 8);
    at[1] = (uint8_t)sum;
}

static uint32_t ping4(uint8_t *frame, uint32_t data_bytes, const struct hg_address *to)
{
    static const uint8_t head[] = {2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 0xb, 8, 0};
    uint8_t *ip = frame + 14, *icmp = ip + 20;
    uint32_t total = 20 + 8 + data_bytes;
    memcpy(frame, head, sizeof(head));
    memset(ip, 0, 28);
    ip[0] = 0x45;
    ip[2] = (uint8_t)(total >> 8);
    ip[3] = (uint8_t)total;
    ip[8] = 17;
    ip[9] = 1;
    memcpy(ip + 12, b.network.address.bytes, 4);
    memcpy(ip + 16, to->bytes, 4);
    put_sum(ip + 10, 0, ip, 20);
    icmp[0] = 8;
    icmp[7] = 5;
    memset(icmp + 8, 0x77, data_bytes);
    put_sum(icmp + 2, 0, icmp, 8 + data_bytes);
    return 14 + total;
}

static void test_ping(void)
{
    uint8_t frame[2048], answer[HG_NEIGHBOUR_ECHO_BYTES_MAX], check[2];
    start("10.0.0.1", "10.0.0.2", 24, NULL, 0);
    for (uint32_t data_bytes = 55; data_bytes < 57; data_bytes++) { /* odd and even */
        uint32_t bytes = ping4(frame, data_bytes, &a.network.address);
        CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), bytes);
        CU_ASSERT(memcmp(answer, mac_b, 6) == 0 && memcmp(answer + 6, mac_a, 6) == 0);
        CU_ASSERT(memcmp(answer + 26, a.network.address.bytes, 4) == 0);
        CU_ASSERT(answer[34] == 0 && answer[41] == 5 && answer[42] == 0x77 && answer[22] == 64);
        memcpy(check, answer + 24, 2);
        put_sum(answer + 24, 0, answer + 14, 20);
        CU_ASSERT(memcmp(check, answer + 24, 2) == 0);
        memcpy(check, answer + 36, 2);
        put_sum(answer + 36, 0, answer + 34, 8 + data_bytes);
        CU_ASSERT(memcmp(check, answer + 36, 2) == 0);
    }
    uint32_t bytes = ping4(frame, 1472, &a.network.address);
    CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), bytes);
    bytes = ping4(frame, 1500, &a.network.address);
    CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
    CU_ASSERT_EQUAL(a.counters.drop_echo_bytes, 1);
    bytes = ping4(frame, 10, &b.network.address);
    CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
    CU_ASSERT_EQUAL(a.counters.drop_other, 1);
    bytes = ping4(frame, 10, &a.network.address);
    frame[45] ^= 1;
    CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
    CU_ASSERT_EQUAL(a.counters.drop_checksum, 1);
    bytes = ping4(frame, 10, &a.network.address);
    uint32_t answered = 0;
    for (uint32_t i = 0; i < 100; i++)
        answered += receive(&a, frame, bytes, answer) > 0;
    CU_ASSERT(answered > 0 && answered <= HG_NEIGHBOUR_ECHO_BURST);
    CU_ASSERT(a.counters.drop_rate >= 100 - HG_NEIGHBOUR_ECHO_BURST);
}

/* Every byte of true messages changed, every length: nothing is read too far, and what is answered goes to
 * one station. */
static void test_hostile(void)
{
    uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], answer[HG_NEIGHBOUR_ECHO_BYTES_MAX];
    for (uint32_t f = 0; f < 2; f++) {
        const char *const *of = families[f];
        start(of[0], of[1], f ? 64 : 24, NULL, 0);
        uint32_t bytes =
            hg_neighbour_request_write(frame, mac_b, &b.network, &a.network.address, NULL, false);
        uint64_t before = a.counters.rx_requests;
        for (uint32_t at = 0; at < bytes; at++) {
            now += S;
            CU_ASSERT_EQUAL(receive(&a, frame, at, answer), 0);
            for (uint32_t bit = 0; bit < 8; bit++) {
                frame[at] ^= (uint8_t)(1u << bit);
                (void)receive(&a, frame, bytes, answer);
                frame[at] ^= (uint8_t)(1u << bit);
            }
        }
        CU_ASSERT(receive(&a, frame, bytes, answer) > 0);
        CU_ASSERT(a.counters.rx_requests > before);
        CU_ASSERT(a.counters.drop_malformed > 0);
        CU_ASSERT((f == 1) == (a.counters.drop_checksum > 100));
        CU_ASSERT_EQUAL(a.count, 0);
    }
    /* Neighbour discovery from beyond the link (RFC 4861 7.1): another hop limit, with a right checksum. */
    uint32_t bytes = hg_neighbour_request_write(frame, mac_b, &b.network, &a.network.address, NULL, false);
    frame[14 + 7] = 64;
    uint64_t before = a.counters.drop_malformed;
    CU_ASSERT_EQUAL(receive(&a, frame, bytes, answer), 0);
    CU_ASSERT_EQUAL(a.counters.drop_malformed, before + 1);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("neighbour", NULL, NULL);
    CU_add_test(suite, "found", test_found);
    CU_add_test(suite, "gateway", test_gateway);
    CU_add_test(suite, "silence", test_silence);
    CU_add_test(suite, "changes", test_changes);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "ping", test_ping);
    CU_add_test(suite, "hostile", test_hostile);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
