/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames into the queue of their UDP port, over queues made of arrays.
 */
#include "tools/wan/steer.h"

#include <CUnit/Basic.h>

#define QUEUES   3
#define SENT_MAX 16

struct fake {
    struct hg_port port;
    uint32_t room;    /* what transmit() still takes */
    uint32_t waiting; /* what receive() still gives */
    uint32_t sent[SENT_MAX];
    uint32_t sent_count;
};

static struct fake fakes[QUEUES];
static struct hg_wan_steer steer;
static uint8_t frames[SENT_MAX][64];

static uint32_t fake_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct fake *fake = (struct fake *)port;
    uint32_t taken = (uint32_t)hg_min_u64(n, fake->room);
    for (uint32_t i = 0; i < taken; i++)
        fake->sent[fake->sent_count++] = packets[i].bytes_max; /* its number */
    fake->room -= taken;
    return taken;
}

static uint32_t fake_receive(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct fake *fake = (struct fake *)port;
    uint32_t given = (uint32_t)hg_min_u64(n, fake->waiting);
    for (uint32_t i = 0; i < given; i++)
        packets[i].bytes = (uint32_t)(fake - fakes);
    fake->waiting -= given;
    return given;
}

static void begin(void)
{
    struct hg_port *queues[QUEUES];
    memset(fakes, 0, sizeof(fakes));
    for (uint32_t i = 0; i < QUEUES; i++) {
        fakes[i].port.transmit = fake_transmit;
        fakes[i].port.receive = fake_receive;
        fakes[i].port.link_up = true;
        fakes[i].port.mtu_bytes = 1400;
        fakes[i].room = SENT_MAX;
        queues[i] = &fakes[i].port;
    }
    hg_wan_steer_init(&steer, queues, QUEUES);
}

static uint32_t ipv4(uint8_t *frame, uint32_t udp_port)
{
    memset(frame, 0, 64);
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = 17;
    frame[36] = (uint8_t)(udp_port >> 8);
    frame[37] = (uint8_t)udp_port;
    return 64;
}

static void test_queue(void)
{
    uint8_t frame[80];
    for (uint32_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, ipv4(frame, 47001 + i), 4), i);
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, ipv4(frame, 47005), 4), 0); /* no such queue */
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, ipv4(frame, 47000), 4), 0); /* a handshake */
    (void)ipv4(frame, 47003);
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 37, 4), 0); /* cut short */
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 38, 4), 2);
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 0, 4), 0);
    frame[20] = 0x20; /* a first fragment */
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 64, 4), 0);
    frame[20] = 0x40; /* may not be fragmented */
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 64, 4), 2);
    frame[14] = 0x4f; /* options up to behind its end */
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 64, 4), 0);
    frame[14] = 0x65;
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 64, 4), 0);
    (void)ipv4(frame, 47003);
    frame[23] = 6;
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 64, 4), 0);
    memset(frame, 0, sizeof(frame)); /* IPv6, in a VLAN */
    frame[12] = 0x81;
    frame[16] = 0x86;
    frame[17] = 0xdd;
    frame[18 + 6] = 17;
    frame[18 + 40 + 2] = 47002 >> 8;
    frame[18 + 40 + 3] = 47002 & 255;
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 62, 4), 1);
    CU_ASSERT_EQUAL(hg_wan_steer_queue(frame, 61, 4), 0);
}

static uint32_t transmit(const uint32_t *to, uint32_t n)
{
    struct hg_packet packets[SENT_MAX];
    for (uint32_t i = 0; i < n; i++)
        packets[i] =
            (struct hg_packet){.data = frames[i], .bytes = ipv4(frames[i], 47001 + to[i]), .bytes_max = i};
    return steer.port.transmit(&steer.port, packets, n);
}

static void test_transmit(void)
{
    begin();
    CU_ASSERT_TRUE(steer.port.link_up);
    CU_ASSERT_EQUAL(steer.port.mtu_bytes, 1400);
    CU_ASSERT_EQUAL(transmit((uint32_t[]){0, 1, 1, 2, 0}, 5), 5);
    CU_ASSERT(fakes[0].sent_count == 2 && fakes[0].sent[0] == 0 && fakes[0].sent[1] == 4);
    CU_ASSERT(fakes[1].sent_count == 2 && fakes[1].sent[0] == 1 && fakes[1].sent[1] == 2);
    CU_ASSERT(fakes[2].sent_count == 1 && fakes[2].sent[0] == 3);
    begin();
    fakes[1].room = 1; /* the first that was not taken is the third of all */
    CU_ASSERT_EQUAL(transmit((uint32_t[]){0, 1, 1, 2, 0}, 5), 2);
    CU_ASSERT_EQUAL(fakes[2].sent_count, 0);
    begin();
    fakes[2].port.link_up = false; /* the station has fewer workers */
    CU_ASSERT_EQUAL(transmit((uint32_t[]){2, 1, 2}, 3), 3);
    CU_ASSERT_EQUAL(fakes[0].sent_count, 2);
    CU_ASSERT_EQUAL(fakes[2].sent_count, 0);
}

static void test_receive(void)
{
    struct hg_packet packets[SENT_MAX];
    begin();
    fakes[0].waiting = 100;
    fakes[1].waiting = 2;
    fakes[2].waiting = 3;
    uint32_t seen[QUEUES] = {0};
    for (uint32_t i = 0; i < 2 * QUEUES; i++) { /* one queue that never ends starves no other */
        uint32_t n = steer.port.receive(&steer.port, packets, 4);
        CU_ASSERT_EQUAL(n, 4);
        for (uint32_t j = 0; j < n; j++)
            seen[packets[j].bytes]++;
    }
    CU_ASSERT(seen[1] == 2 && seen[2] == 3);
    fakes[0].port.link_up = false;
    hg_wan_steer_maintain(&steer);
    CU_ASSERT_TRUE(steer.port.link_up);
    CU_ASSERT_EQUAL(steer.port.receive(&steer.port, packets, 4), 0);
    fakes[1].port.link_up = fakes[2].port.link_up = false;
    hg_wan_steer_maintain(&steer);
    CU_ASSERT_FALSE(steer.port.link_up);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("wan_steer", NULL, NULL);
    CU_add_test(suite, "the queue of a frame", test_queue);
    CU_add_test(suite, "sending", test_transmit);
    CU_add_test(suite, "receiving", test_receive);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
