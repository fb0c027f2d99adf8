/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of frames: where payloads begin, what makes a flow, damage, and what a router answers, byte for
 * byte, with a checksum of the test's own.
 */
#include "tools/wan/frame.h"

#include <CUnit/Basic.h>
#include <stdlib.h>

static uint8_t frame[2048];
static uint8_t answer[HG_WAN_FRAME_ANSWER_BYTES_MAX];

static const uint8_t macs[12] = {2, 0, 0, 0, 0, 0x0b, 2, 0, 0, 0, 0, 0x0a};

static void put16(uint32_t at, uint32_t value)
{
    frame[at] = (uint8_t)(value >> 8);
    frame[at + 1] = (uint8_t)value;
}

/* 10.0.0.1 -> 10.0.0.2, don't fragment; `bytes` with the IP header. Returns the frame's length. */
static uint32_t ipv4(uint32_t bytes, uint8_t protocol)
{
    static const uint8_t addresses[8] = {10, 0, 0, 1, 10, 0, 0, 2};
    for (uint32_t i = 0; i < sizeof(frame); i++)
        frame[i] = (uint8_t)(i * 7);
    memcpy(frame, macs, 12);
    put16(12, 0x0800);
    memset(frame + 14, 0, 20);
    frame[14] = 0x45;
    put16(16, bytes);
    put16(20, 0x4000);
    frame[22] = 64;
    frame[23] = protocol;
    memcpy(frame + 26, addresses, 8);
    return 14 + bytes;
}

/* fd00::1 -> fd00::2 */
static uint32_t ipv6(uint32_t bytes, uint8_t next)
{
    ipv4(bytes, 0);
    put16(12, 0x86dd);
    memset(frame + 14, 0, 40);
    frame[14] = 0x60;
    put16(18, bytes - 40);
    frame[20] = next;
    frame[21] = 64;
    frame[22] = frame[38] = 0xfd;
    frame[37] = 1;
    frame[53] = 2;
    return 14 + bytes;
}

static uint32_t sum(uint32_t from, const uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        from += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    while (from > 0xffff)
        from = (from & 0xffff) + (from >> 16);
    return from;
}

static uint32_t too_big(uint32_t bytes)
{
    memset(answer, 0xee, sizeof(answer));
    return hg_wan_frame_too_big(frame, bytes, 1400, answer);
}

static void test_payload(void)
{
    ipv4(100, 17);
    CU_ASSERT_EQUAL(hg_wan_frame_payload_at(frame, 114), 14);
    CU_ASSERT_EQUAL(hg_wan_frame_payload_at(frame, 14), 14);
    put16(12, 0x8100);
    CU_ASSERT_EQUAL(hg_wan_frame_payload_at(frame, 114), 18);
    CU_ASSERT_EQUAL(hg_wan_frame_payload_at(frame, 17), 14); /* no room for a tag */
    CU_ASSERT_EQUAL(hg_wan_frame_payload_at(frame, 18), 18);
}

/* Whether the byte at `at` belongs to what makes the flow. */
static bool matters(uint32_t at, uint32_t bytes)
{
    uint64_t before = hg_wan_frame_flow(frame, bytes);
    frame[at] ^= 0x01;
    bool changed = hg_wan_frame_flow(frame, bytes) != before;
    frame[at] ^= 0x01;
    return changed;
}

static void test_flow_ipv4(void)
{
    uint32_t bytes = ipv4(100, 17);
    CU_ASSERT_TRUE(matters(26, bytes) && matters(29, bytes) && matters(30, bytes) && matters(33, bytes));
    CU_ASSERT_TRUE(matters(23, bytes));                       /* protocol */
    CU_ASSERT_TRUE(matters(34, bytes) && matters(37, bytes)); /* ports */
    CU_ASSERT_FALSE(matters(38, bytes) || matters(0, bytes) || matters(18, bytes) || matters(22, bytes));
    CU_ASSERT_FALSE(matters(34, 34 + 3)); /* ports cut off: not read beyond the end */
    bytes = ipv4(100, 50);
    CU_ASSERT_TRUE(matters(37, bytes)); /* SPI */
    bytes = ipv4(100, 1);
    CU_ASSERT_FALSE(matters(34, bytes)); /* no ports in ICMP */
    bytes = ipv4(100, 17);
    put16(20, 0x2000); /* a fragment: only the first one has ports, so none counts */
    CU_ASSERT_FALSE(matters(34, bytes));
    CU_ASSERT_TRUE(matters(26, bytes));
    bytes = ipv4(100, 17);
    frame[14] = 0x46; /* options before the ports */
    CU_ASSERT_FALSE(matters(34, bytes));
    CU_ASSERT_TRUE(matters(38, bytes));
}

static void test_flow_others(void)
{
    uint32_t bytes = ipv6(100, 17);
    CU_ASSERT_TRUE(matters(22, bytes) && matters(37, bytes) && matters(38, bytes) && matters(53, bytes));
    CU_ASSERT_TRUE(matters(17, bytes) && matters(20, bytes)); /* flow label, next header */
    CU_ASSERT_TRUE(matters(54, bytes) && matters(57, bytes));
    CU_ASSERT_FALSE(matters(58, bytes) || matters(21, bytes) || matters(0, bytes));
    ipv4(100, 17);
    put16(12, 0x88b5);
    CU_ASSERT_TRUE(matters(0, 60) && matters(13, 60));
    CU_ASSERT_FALSE(matters(14, 60));
    /* Behind a tag it is the same flow as without. */
    ipv4(100, 17);
    uint64_t plain = hg_wan_frame_flow(frame, 114);
    memmove(frame + 18, frame + 14, 100);
    put16(12, 0x8100);
    put16(14, 5);
    put16(16, 0x0800);
    CU_ASSERT_EQUAL(hg_wan_frame_flow(frame, 118), plain);
}

static uint32_t bits_changed(const uint8_t *a, const uint8_t *b, uint32_t from, uint32_t to)
{
    uint32_t bits = 0;
    for (uint32_t i = from; i < to; i++)
        bits += (uint32_t)__builtin_popcount(a[i] ^ b[i]);
    return bits;
}

static void test_corrupt(void)
{
    uint8_t before[2048];
    uint32_t places[8] = {0};
    uint32_t threes = 0;
    uint32_t in_header = 0;
    uint64_t random = 1;
    uint32_t bytes = ipv4(1000, 17);
    memcpy(before, frame, sizeof(frame));
    for (uint32_t i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        CU_ASSERT_TRUE_FATAL(hg_wan_frame_corrupt(frame, bytes, false, random ^ random >> 29));
        uint32_t bits = bits_changed(frame, before, 14, bytes);
        CU_ASSERT_FATAL(bits == 1 || bits == 3);
        CU_ASSERT_EQUAL_FATAL(bits_changed(frame, before, 0, 14), 0);
        CU_ASSERT_EQUAL_FATAL(bits_changed(frame, before, bytes, sizeof(frame)), 0);
        threes += bits == 3;
        for (uint32_t eighth = 0; eighth < 8; eighth++)
            places[eighth] += bits_changed(frame, before, 14 + 125 * eighth, 14 + 125 * (eighth + 1));
        memcpy(frame, before, sizeof(frame));
        CU_ASSERT_TRUE_FATAL(hg_wan_frame_corrupt(frame, bytes, true, random ^ random >> 29));
        in_header += bits_changed(frame, before, 0, 14) != 0;
        memcpy(frame, before, sizeof(frame));
    }
    CU_ASSERT(threes > 9500 && threes < 10500);
    CU_ASSERT(in_header > 300 && in_header < 800); /* 2 * 14 / 1014 of 20000 */
    for (uint32_t eighth = 0; eighth < 8; eighth++)
        CU_ASSERT(places[eighth] > 4600 && places[eighth] < 5400);
    CU_ASSERT_FALSE(hg_wan_frame_corrupt(frame, 14, false, 5)); /* nothing behind the header */
    CU_ASSERT_EQUAL(bits_changed(frame, before, 0, sizeof(frame)), 0);
    CU_ASSERT_TRUE(hg_wan_frame_corrupt(frame, 15, false, 5));
    CU_ASSERT_EQUAL(bits_changed(frame, before, 0, 14) + bits_changed(frame, before, 15, sizeof(frame)), 0);
}

static void test_answer_ipv4(void)
{
    static const uint8_t addresses[8] = {10, 0, 0, 2, 10, 0, 0, 1};
    uint32_t bytes = ipv4(1500, 17);
    CU_ASSERT_EQUAL_FATAL(too_big(bytes), 14 + 576);
    CU_ASSERT_EQUAL(memcmp(answer, macs + 6, 6) | memcmp(answer + 6, macs, 6), 0);
    CU_ASSERT_EQUAL(answer[12] << 8 | answer[13], 0x0800);
    CU_ASSERT_EQUAL(answer[14], 0x45);
    CU_ASSERT_EQUAL(answer[16] << 8 | answer[17], 576);
    CU_ASSERT_EQUAL(answer[23], 1);
    CU_ASSERT_EQUAL(memcmp(answer + 26, addresses, 8), 0);
    CU_ASSERT_EQUAL(sum(0, answer + 14, 20), 0xffff);
    CU_ASSERT(answer[34] == 3 && answer[35] == 4);
    CU_ASSERT_EQUAL(answer[40] << 8 | answer[41], 1400);
    CU_ASSERT_EQUAL(memcmp(answer + 42, frame + 14, 548), 0);
    CU_ASSERT_EQUAL(sum(0, answer + 34, 556), 0xffff);
    /* A short one, of odd length, is quoted whole, without what the frame has behind it. */
    ipv4(101, 6);
    CU_ASSERT_EQUAL(too_big(14 + 110), 14 + 28 + 101);
    CU_ASSERT_EQUAL(sum(0, answer + 34, 8 + 101), 0xffff);
    CU_ASSERT_EQUAL(answer[14 + 28 + 101], 0xee);
}

static void test_answer_ipv6(void)
{
    uint32_t bytes = ipv6(1500, 17);
    CU_ASSERT_EQUAL_FATAL(too_big(bytes), 14 + 1280);
    CU_ASSERT_EQUAL(answer[14], 0x60);
    CU_ASSERT_EQUAL(answer[18] << 8 | answer[19], 1240);
    CU_ASSERT_EQUAL(answer[20], 58);
    CU_ASSERT_EQUAL(memcmp(answer + 22, frame + 38, 16) | memcmp(answer + 38, frame + 22, 16), 0);
    CU_ASSERT(answer[54] == 2 && answer[55] == 0);
    CU_ASSERT_EQUAL(answer[60] << 8 | answer[61], 1400);
    CU_ASSERT_EQUAL(memcmp(answer + 62, frame + 14, 1232), 0);
    CU_ASSERT_EQUAL(sum(sum(1240 + 58, answer + 22, 32), answer + 54, 1240), 0xffff);
}

static void test_tagged_answer(void)
{
    ipv4(1500, 17);
    memmove(frame + 18, frame + 14, 1500);
    put16(12, 0x8100);
    put16(14, 7);
    put16(16, 0x0800);
    CU_ASSERT_EQUAL(too_big(18 + 1500), 18 + 576);
    CU_ASSERT_EQUAL(memcmp(answer + 12, frame + 12, 6), 0);
    CU_ASSERT_EQUAL(sum(0, answer + 18, 20), 0xffff);
}

static bool silent_with(uint32_t at, uint32_t value, bool six)
{
    uint32_t bytes = six ? ipv6(1500, 58) : ipv4(1500, 1);
    frame[six ? 54 : 34] = six ? 128 : 8; /* an echo request may be answered */
    if (too_big(bytes) == 0)
        return false;
    frame[at] = (uint8_t)value;
    return too_big(bytes) == 0;
}

static void test_silence(void)
{
    CU_ASSERT_TRUE(silent_with(20, 0x00, false)); /* may be fragmented */
    CU_ASSERT_TRUE(silent_with(21, 0x10, false)); /* not the first fragment */
    CU_ASSERT_TRUE(silent_with(34, 3, false) && silent_with(34, 11, false) && silent_with(34, 12, false));
    CU_ASSERT_TRUE(silent_with(26, 0, false) && silent_with(26, 224, false) && silent_with(26, 255, false));
    CU_ASSERT_TRUE(silent_with(30, 239, false));
    CU_ASSERT_TRUE(silent_with(14, 0x55, false) && silent_with(14, 0x44, false)); /* version, length */
    CU_ASSERT_TRUE(silent_with(16, 0xff, false) && silent_with(16, 0, false) == false);
    CU_ASSERT_TRUE(silent_with(13, 0x06, false)); /* ARP */
    CU_ASSERT_TRUE(silent_with(54, 1, true) && silent_with(54, 127, true) && silent_with(54, 137, true));
    CU_ASSERT_TRUE(silent_with(22, 0xff, true) && silent_with(38, 0xff, true));
    CU_ASSERT_TRUE(silent_with(14, 0x40, true));
    ipv6(1500, 17);
    memset(frame + 22, 0, 16);
    CU_ASSERT_EQUAL(too_big(1514), 0); /* the unspecified address */
}

/* Every length and many accidents, in memory of exactly that length: the sanitizers watch. */
static void test_any_bytes(void)
{
    uint64_t random = 7;
    for (uint32_t round = 0; round < 30000; round++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint32_t bytes = 14 + round % 100;
        (random >> 40 & 1) != 0 ? ipv4(1500, 1) : ipv6(1500, 58);
        for (uint32_t i = 0; i < 4; i++)
            frame[12 + (random >> (8 * i) & 63)] = (uint8_t)(random >> (33 + 7 * i));
        uint8_t *exact = malloc(bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
        memcpy(exact, frame, bytes);
        CU_ASSERT_FATAL(hg_wan_frame_payload_at(exact, bytes) <= bytes);
        hg_wan_frame_flow(exact, bytes);
        CU_ASSERT_FATAL(hg_wan_frame_too_big(exact, bytes, 68, answer) <= sizeof(answer));
        hg_wan_frame_corrupt(exact, bytes, (random & 1) != 0, random);
        free(exact);
    }
}

/* Every codepoint under every DSCP; the checksum is right after it when it was before, whatever else the
 * header holds, and nothing but these two fields changes. */
static void test_mark(void)
{
    for (uint32_t tos = 0; tos < 256; tos++) {
        for (uint32_t i = 0; i < 300; i++) {
            uint8_t before[2048];
            uint32_t bytes = ipv4(100, 17);
            frame[15] = (uint8_t)tos;
            put16(18, i * 219);
            put16(24, ~sum(0, frame + 14, 20) & 0xffff);
            memcpy(before, frame, sizeof(before));
            bool capable = (tos & 3) != 0;
            CU_ASSERT_EQUAL(hg_wan_frame_mark(frame, bytes), capable);
            CU_ASSERT_EQUAL(sum(0, frame + 14, 20), 0xffff);
            CU_ASSERT_EQUAL(frame[15], capable ? tos | 3 : tos);
            CU_ASSERT_EQUAL(memcmp(frame, before, 15) | memcmp(frame + 16, before + 16, 8), 0);
            CU_ASSERT_EQUAL(memcmp(frame + 26, before + 26, sizeof(frame) - 26), 0);
        }
        uint32_t bytes = ipv6(100, 17);
        frame[14] = (uint8_t)(0x60 | tos >> 4);
        frame[15] = (uint8_t)(tos << 4 | 5);
        CU_ASSERT_EQUAL(hg_wan_frame_mark(frame, bytes), (tos & 3) != 0);
        CU_ASSERT_EQUAL(frame[14], 0x60 | tos >> 4);
        CU_ASSERT_EQUAL(frame[15], (uint8_t)((tos & 3 ? tos | 3 : tos) << 4 | 5));
    }
    /* Not whole, or not IP: untouched. */
    ipv4(100, 17);
    frame[15] = 2;
    CU_ASSERT_FALSE(hg_wan_frame_mark(frame, 14 + 19));
    frame[14] = 0x55;
    CU_ASSERT_FALSE(hg_wan_frame_mark(frame, 114));
    frame[14] = 0x45;
    put16(12, 0x0806);
    CU_ASSERT_FALSE(hg_wan_frame_mark(frame, 114));
    CU_ASSERT_EQUAL(frame[15], 2);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("wan_frame", NULL, NULL);
    CU_add_test(suite, "where the payload begins", test_payload);
    CU_add_test(suite, "flows of IPv4", test_flow_ipv4);
    CU_add_test(suite, "flows of IPv6 and others", test_flow_others);
    CU_add_test(suite, "damage", test_corrupt);
    CU_add_test(suite, "marks", test_mark);
    CU_add_test(suite, "fragmentation needed", test_answer_ipv4);
    CU_add_test(suite, "packet too big", test_answer_ipv6);
    CU_add_test(suite, "an answer behind a tag", test_tagged_answer);
    CU_add_test(suite, "what is not answered", test_silence);
    CU_add_test(suite, "any bytes", test_any_bytes);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
