/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/encapsulation.h"
#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

static const struct hg_encapsulation outer = {
    .mac_source = {2, 0, 0, 0, 0, 1},
    .mac_destination = {2, 0, 0, 0, 0, 2},
    .ip_source = {.family = HG_FAMILY_IPV4, .bytes = {192, 168, 0, 1}},
    .ip_destination = {.family = HG_FAMILY_IPV4, .bytes = {192, 168, 0, 199}},
    .port_source = 47001,
    .port_destination = 47003,
};

static uint32_t build(uint8_t frame[256], uint32_t payload_bytes)
{
    memset(frame, 0x5a, 256);
    return hg_encapsulation_write(&outer, payload_bytes, frame);
}

static enum hg_encapsulation_reason read(const uint8_t *frame, uint32_t bytes)
{
    /* At the very end of its memory, so that a read too far is seen by a sanitizer. */
    uint8_t *copy = malloc(bytes + 1);
    memcpy(copy, frame, bytes);
    uint8_t *exact = realloc(copy, bytes > 0 ? bytes : 1);
    struct hg_encapsulation back;
    const uint8_t *payload = NULL;
    uint32_t payload_bytes = 0;
    enum hg_encapsulation_reason reason =
        hg_encapsulation_read(exact, bytes, &back, &payload, &payload_bytes);
    if (reason == HG_ENCAPSULATION_OK) {
        CU_ASSERT(payload >= exact + 42 && payload + payload_bytes <= exact + bytes);
    }
    free(exact);
    return reason;
}

static void test_bytes(void)
{
    /* A header whose checksum is widely published. */
    static const uint8_t ip[20] = {0x45, 0,    0,    0x73, 0, 0, 0x40, 0,    0x40, 0x11,
                                   0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,    0xc7};
    uint8_t frame[256];
    CU_ASSERT(build(frame, 87) == 129);
    CU_ASSERT(memcmp(frame, outer.mac_destination, 6) == 0 && memcmp(frame + 6, outer.mac_source, 6) == 0);
    CU_ASSERT(frame[12] == 8 && frame[13] == 0);
    CU_ASSERT(memcmp(frame + 14, ip, 20) == 0);
    static const uint8_t udp[8] = {0xb7, 0x99, 0xb7, 0x9b, 0, 95, 0, 0};
    CU_ASSERT(memcmp(frame + 34, udp, 8) == 0);
    CU_ASSERT(frame[42] == 0x5a);
}

static void test_round_trip(void)
{
    uint8_t frame[256];
    for (uint32_t payload_bytes = 0; payload_bytes <= 200; payload_bytes++) {
        uint32_t bytes = build(frame, payload_bytes);
        struct hg_encapsulation back;
        const uint8_t *payload = NULL;
        uint32_t got = 0;
        /* Ethernet pads short frames. */
        uint32_t padded = bytes < 60 ? 60 : bytes;
        CU_ASSERT(hg_encapsulation_read(frame, padded, &back, &payload, &got) == HG_ENCAPSULATION_OK);
        CU_ASSERT(got == payload_bytes && payload == frame + 42);
        CU_ASSERT(hg_address_equal(&back.ip_source, &outer.ip_source));
        CU_ASSERT(hg_address_equal(&back.ip_destination, &outer.ip_destination));
        CU_ASSERT(back.port_source == 47001 && back.port_destination == 47003 && back.ttl == 64);
        CU_ASSERT(memcmp(back.mac_source, outer.mac_source, 6) == 0);
    }
}

static void checksum(uint8_t *frame)
{
    uint32_t sum = 0;
    uint32_t header = (frame[14] & 15u) * 4;
    frame[24] = frame[25] = 0;
    for (uint32_t i = 0; i < header; i += 2) {
        sum += (uint32_t)frame[14 + i] << 8 | frame[15 + i];
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = (uint8_t)(sum >> 8);
    frame[25] = (uint8_t)sum;
}

static void test_hostile(void)
{
    static const struct {
        uint32_t at;
        uint8_t value;
        bool fix_checksum;
        enum hg_encapsulation_reason reason;
    } cases[] = {
        {12, 0x86, false, HG_ENCAPSULATION_ETHERTYPE},
        {12, 0x81, false, HG_ENCAPSULATION_ETHERTYPE}, /* a tag, and behind it no type that we know */
        {13, 6, false, HG_ENCAPSULATION_NEIGHBOUR},
        {13, 7, false, HG_ENCAPSULATION_ETHERTYPE},
        {14, 0x65, true, HG_ENCAPSULATION_VERSION},
        {14, 0x44, true, HG_ENCAPSULATION_HEADER_LENGTH},
        {14, 0x40, true, HG_ENCAPSULATION_HEADER_LENGTH},
        {16, 1, true, HG_ENCAPSULATION_TOTAL_LENGTH},
        {17, 27, true, HG_ENCAPSULATION_TOTAL_LENGTH},
        {17, 129, true, HG_ENCAPSULATION_TOTAL_LENGTH},
        {17, 127, true, HG_ENCAPSULATION_UDP_LENGTH},
        {14, 0x46, true, HG_ENCAPSULATION_UDP_LENGTH},
        {20, 0x20, true, HG_ENCAPSULATION_FRAGMENT},
        {21, 1, true, HG_ENCAPSULATION_FRAGMENT},
        {20, 0x5f, true, HG_ENCAPSULATION_FRAGMENT},
        {23, 6, true, HG_ENCAPSULATION_PROTOCOL},
        {23, 1, true, HG_ENCAPSULATION_NEIGHBOUR},
        {24, 0, false, HG_ENCAPSULATION_CHECKSUM},
        {30, 9, false, HG_ENCAPSULATION_CHECKSUM},
        {39, 107, true, HG_ENCAPSULATION_UDP_LENGTH},
        {39, 109, true, HG_ENCAPSULATION_UDP_LENGTH},
        {38, 9, true, HG_ENCAPSULATION_UDP_LENGTH},
        {40, 9, true, HG_ENCAPSULATION_OK},
        {20, 0, true, HG_ENCAPSULATION_OK},
        {22, 1, true, HG_ENCAPSULATION_OK},
    };
    uint8_t frame[256];
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        uint32_t bytes = build(frame, 100);
        frame[cases[i].at] = cases[i].value;
        if (cases[i].fix_checksum) {
            checksum(frame);
        }
        CU_ASSERT(read(frame, bytes) == cases[i].reason);
    }
    for (uint32_t bytes = 0; bytes < 142; bytes++) {
        build(frame, 100);
        CU_ASSERT(read(frame, bytes) != HG_ENCAPSULATION_OK);
    }
    CU_ASSERT(strcmp(hg_encapsulation_reason_text(HG_ENCAPSULATION_PROTOCOL), "that aren't UDP") == 0);
    CU_ASSERT(hg_encapsulation_reason_text((enum hg_encapsulation_reason)1000) != NULL);
}

static void test_options(void)
{
    uint8_t frame[256];
    uint32_t bytes = build(frame, 100);
    memmove(frame + 14 + 60, frame + 34, bytes - 34);
    memset(frame + 34, 1, 40); /* no-operation options */
    frame[14] = 0x4f;
    frame[17] += 40;
    checksum(frame);
    CU_ASSERT(read(frame, bytes + 40) == HG_ENCAPSULATION_OK);
    CU_ASSERT(read(frame, bytes + 39) == HG_ENCAPSULATION_TOTAL_LENGTH);
    CU_ASSERT(read(frame, 60) == HG_ENCAPSULATION_HEADER_LENGTH);
}

static const struct hg_encapsulation outer6 = {
    .mac_source = {2, 0, 0, 0, 0, 1},
    .mac_destination = {2, 0, 0, 0, 0, 2},
    .ip_source = {.family = HG_FAMILY_IPV6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = 1}},
    .ip_destination = {.family = HG_FAMILY_IPV6, .bytes = {0x20, 1, 0xd, 0xb8, [15] = 2}},
    .port_source = 47001,
    .port_destination = 47003,
    .vlan = 77,
    .dscp_ecn = 0xb9, /* EF, ECT(1) */
    .ttl = 9,
};

static void test_ipv6(void)
{
    static const uint8_t tag_ip[] = {0x81, 0, 0, 77, 0x86, 0xdd, 0x6b, 0x90, 0, 0, 0, 108, 17, 9, 0x20, 1};
    static const uint8_t udp[8] = {0xb7, 0x99, 0xb7, 0x9b, 0, 108, 0, 0}; /* RFC 6935: no checksum */
    uint8_t frame[256];
    for (uint32_t tagged = 0; tagged < 2; tagged++) {
        struct hg_encapsulation wanted = outer6, back;
        const uint8_t *payload = NULL;
        uint32_t got = 0;
        wanted.vlan = tagged ? 77 : 0;
        CU_ASSERT(hg_encapsulation_bytes(&wanted) == 62 + 4 * tagged);
        CU_ASSERT(hg_encapsulation_write(&wanted, 100, frame) == 162 + 4 * tagged);
        if (tagged)
            CU_ASSERT(memcmp(frame + 12, tag_ip, sizeof(tag_ip)) == 0);
        CU_ASSERT(memcmp(frame + 54 + 4 * tagged, udp, 8) == 0);
        CU_ASSERT(hg_encapsulation_read(frame, 256, &back, &payload, &got) == HG_ENCAPSULATION_OK);
        CU_ASSERT(got == 100 && payload == frame + 62 + 4 * tagged);
        CU_ASSERT(memcmp(&back, &wanted, sizeof(back)) == 0);
        for (uint32_t bytes = 0; bytes < 162 + 4 * tagged; bytes++)
            CU_ASSERT(read(frame, bytes) != HG_ENCAPSULATION_OK);
    }
}

static void test_ipv6_hostile(void)
{
    static const struct {
        uint32_t at;
        uint8_t value;
        enum hg_encapsulation_reason reason;
    } cases[] = {
        {17, 0, HG_ENCAPSULATION_ETHERTYPE},      {18, 0x4b, HG_ENCAPSULATION_VERSION},
        {22, 1, HG_ENCAPSULATION_TOTAL_LENGTH},   {23, 7, HG_ENCAPSULATION_TOTAL_LENGTH},
        {23, 109, HG_ENCAPSULATION_TOTAL_LENGTH}, {23, 107, HG_ENCAPSULATION_UDP_LENGTH},
        {24, 44, HG_ENCAPSULATION_FRAGMENT},      {24, 0, HG_ENCAPSULATION_PROTOCOL},
        {24, 43, HG_ENCAPSULATION_PROTOCOL},      {24, 58, HG_ENCAPSULATION_NEIGHBOUR},
        {63, 9, HG_ENCAPSULATION_UDP_LENGTH},     {65, 9, HG_ENCAPSULATION_OK},
        {14, 0xf0, HG_ENCAPSULATION_OK}, /* priority */
    };
    uint8_t frame[256];
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        uint32_t bytes = hg_encapsulation_write(&outer6, 100, frame);
        frame[cases[i].at] = cases[i].value;
        CU_ASSERT(read(frame, bytes) == cases[i].reason);
    }
    /* A length of 0 would be a jumbogram's. */
    uint32_t bytes = hg_encapsulation_write(&outer6, 100, frame);
    frame[22] = frame[23] = 0;
    CU_ASSERT(read(frame, bytes) == HG_ENCAPSULATION_TOTAL_LENGTH);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("encapsulation", NULL, NULL);
    CU_add_test(suite, "bytes", test_bytes);
    CU_add_test(suite, "round trip", test_round_trip);
    CU_add_test(suite, "hostile", test_hostile);
    CU_add_test(suite, "options", test_options);
    CU_add_test(suite, "ipv6", test_ipv6);
    CU_add_test(suite, "ipv6 hostile", test_ipv6_hostile);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
