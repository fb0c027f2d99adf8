/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch over ports made of arrays, in virtual time. Every packet is counted out and back in: whatever
 * happens to a frame, its buffer must not get lost.
 */
#include "tools/wan/switch.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define PORTS        3
#define SLOTS        64
#define FRAME_BYTES  2048
#define RECEIVED_MAX 512

struct fake {
    struct hg_port port;
    uint32_t room; /* what transmit() still takes */
    uint32_t sent;
    bool no_memory;
    struct {
        uint32_t bytes;
        uint32_t mark; /* the frame's number, behind the addresses */
    } received[RECEIVED_MAX];
};

static struct fake fakes[PORTS];
static struct hg_wan_switch sw;
static struct hg_wan_slot slots[SLOTS];
static int outstanding; /* packets not given back */

static uint32_t fake_allocate(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    if (((struct fake *)port)->no_memory)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        packets[i] = (struct hg_packet){.data = calloc(1, FRAME_BYTES), .bytes_max = FRAME_BYTES};
        packets[i].handle = packets[i].data;
    }
    outstanding += (int)n;
    return n;
}

static void fake_release(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(packets[i].handle);
    outstanding -= (int)n;
}

static uint32_t fake_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct fake *fake = (struct fake *)port;
    uint32_t taken = n < fake->room ? n : fake->room;
    for (uint32_t i = 0; i < taken; i++) {
        CU_ASSERT_FATAL(fake->sent < RECEIVED_MAX);
        fake->received[fake->sent].bytes = packets[i].bytes;
        memcpy(&fake->received[fake->sent].mark, (char *)packets[i].data + 14, 4);
        fake->sent++;
    }
    fake->room -= taken;
    fake_release(port, packets, taken);
    return taken;
}

static void fresh(void)
{
    memset(fakes, 0, sizeof(fakes));
    outstanding = 0;
    hg_wan_switch_init(&sw, slots, SLOTS, 1);
    for (uint32_t i = 0; i < PORTS; i++) {
        uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)(i + 1)};
        char name[2] = {(char)('a' + i), '\0'};
        fakes[i].port = (struct hg_port){.allocate = fake_allocate,
                                         .release = fake_release,
                                         .transmit = fake_transmit,
                                         .mtu_bytes = 1500,
                                         .link_up = true};
        fakes[i].room = UINT32_MAX;
        CU_ASSERT_EQUAL(hg_wan_switch_port_add(&sw, name, mac, &fakes[i].port), (int)i);
    }
}

/* Port `from` receives a frame to the station `to` (1 = a ...; 0xff = broadcast). */
static void offer(uint32_t from, uint8_t to, uint32_t bytes, uint32_t mark, uint64_t now_ns)
{
    struct hg_packet packet;
    CU_ASSERT_EQUAL_FATAL(fake_allocate(&fakes[from].port, &packet, 1), 1);
    uint8_t *data = packet.data;
    memset(data, to == 0xff ? 0xff : 0, 6);
    if (to != 0xff) {
        data[0] = 2;
        data[5] = to;
    }
    memcpy(data + 14, &mark, 4);
    packet.bytes = bytes;
    hg_wan_switch_receive(&sw, from, &packet, 1, now_ns);
}

static void test_unicast(void)
{
    fresh();
    offer(0, 2, 100, 7, 1000);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 1000), 1);
    CU_ASSERT_EQUAL(fakes[1].sent, 1);
    CU_ASSERT_EQUAL(fakes[1].received[0].bytes, 100);
    CU_ASSERT_EQUAL(fakes[1].received[0].mark, 7);
    CU_ASSERT_EQUAL(fakes[0].sent + fakes[2].sent, 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.forwarded, 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.forwarded_bytes, 100);
    CU_ASSERT_EQUAL(sw.ports[0].stats.rx, 1);
    CU_ASSERT_EQUAL(sw.ports[1].stats.tx_bytes, 100);
    CU_ASSERT_EQUAL(outstanding, 0);
    CU_ASSERT_EQUAL(sw.slots_used, 0);
}

static void test_group(void)
{
    fresh();
    offer(1, 0xff, 64, 9, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 0), 2);
    CU_ASSERT_EQUAL(fakes[0].sent, 1);
    CU_ASSERT_EQUAL(fakes[1].sent, 0);
    CU_ASSERT_EQUAL(fakes[2].sent, 1);
    CU_ASSERT_EQUAL(fakes[2].received[0].mark, 9);
    fakes[2].no_memory = true;
    offer(1, 0xff, 64, 9, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 0), 1);
    CU_ASSERT_EQUAL(sw.pairs[1][2].stats.lost_memory, 1);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_dropped(void)
{
    fresh();
    offer(0, 9, 100, 0, 0);  /* nobody's */
    offer(0, 1, 100, 0, 0);  /* its own */
    offer(0, 2, 13, 0, 0);   /* too short */
    offer(0, 2, 1519, 0, 0); /* too long */
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 0), 0);
    CU_ASSERT_EQUAL(sw.ports[0].stats.unknown_unicast, 1);
    CU_ASSERT_EQUAL(sw.ports[0].stats.reflected, 1);
    CU_ASSERT_EQUAL(sw.ports[0].stats.runt, 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_too_big, 1);
    CU_ASSERT_EQUAL(sw.ports[0].stats.rx, 4);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_delay_and_order(void)
{
    fresh();
    struct hg_wan_impairment impairment = {.delay_ns = HG_NS_PER_MS};
    hg_wan_link_set(&sw.pairs[0][1].link, &impairment);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 0), HG_TIME_NEVER);
    for (uint32_t i = 0; i < 50; i++)
        offer(0, 2, 100, i, i * 1000);
    offer(1, 1, 100, 77, 0); /* the other direction has no delay */
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 50000), 1);
    CU_ASSERT_EQUAL(fakes[0].sent, 1);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 50000), HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS - 1), 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS + 9000), 10);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 2 * HG_NS_PER_MS), 40);
    for (uint32_t i = 0; i < 50; i++)
        CU_ASSERT_EQUAL(fakes[1].received[i].mark, i);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_cut_drops_under_way(void)
{
    fresh();
    struct hg_wan_impairment impairment = {.delay_ns = HG_NS_PER_MS};
    hg_wan_link_set(&sw.pairs[0][1].link, &impairment);
    offer(0, 2, 100, 1, 0);
    hg_wan_switch_cut(&sw, 0, 1);
    offer(0, 2, 100, 2, 10);
    offer(0, 3, 100, 3, 10); /* another link is not touched */
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_cut, 2);
    hg_wan_switch_restore(&sw, 0, 1);
    offer(0, 2, 100, 4, HG_NS_PER_S);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 2 * HG_NS_PER_S), 1);
    CU_ASSERT_EQUAL(fakes[1].received[0].mark, 4);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_memory(void)
{
    fresh();
    struct hg_wan_impairment impairment = {.delay_ns = HG_NS_PER_S};
    hg_wan_link_set(&sw.pairs[0][1].link, &impairment);
    for (uint32_t i = 0; i < SLOTS + 5; i++)
        offer(0, 2, 100, i, 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_memory, 5);
    CU_ASSERT_EQUAL(sw.slots_used, SLOTS);
    CU_ASSERT_EQUAL(outstanding, SLOTS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), SLOTS);
    offer(0, 2, 100, 0, HG_NS_PER_S);
    CU_ASSERT_EQUAL(sw.slots_used, 1);
    hg_wan_switch_drain(&sw);
    CU_ASSERT_EQUAL(outstanding, 0);
}

/* A receiver that takes nothing gets a while, one that isn't there none; what it takes late is in order. */
static void test_receiver_full(void)
{
    fresh();
    fakes[1].room = 3;
    for (uint32_t i = 0; i < 10; i++)
        offer(0, 2, 100, i, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 100), 3);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 100), 100 + HG_WAN_TX_RETRY_NS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_WAN_TX_WAIT_NS), 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_tx_full, 0);
    fakes[1].room = 2;
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_WAN_TX_WAIT_NS + 50), 2);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_WAN_TX_WAIT_NS + 101), 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_tx_full, 5);
    for (uint32_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(fakes[1].received[i].mark, i);
    CU_ASSERT_EQUAL(outstanding, 0);

    fakes[1].room = UINT32_MAX;
    fakes[1].port.link_up = false;
    offer(0, 2, 100, 0, HG_NS_PER_S);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_port_down, 1);
    CU_ASSERT_EQUAL(outstanding, 0);

    /* The emulator slept for a second: its backlog is not thrown away at the first refusal. */
    fakes[1].port.link_up = true;
    fakes[1].room = 1;
    for (uint32_t i = 0; i < 4; i++)
        offer(0, 2, 100, i, HG_NS_PER_S);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 2 * HG_NS_PER_S), 1);
    fakes[1].room = UINT32_MAX;
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 2 * HG_NS_PER_S + 1000), 3);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_tx_full, 5);
}

static uint64_t losses(uint64_t seed, bool reseed)
{
    struct hg_wan_impairment impairment = {.loss_ppb = 200000000};
    uint64_t pattern = 0;
    fresh();
    hg_wan_switch_seed(&sw, seed);
    hg_wan_link_set(&sw.pairs[0][1].link, &impairment);
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t before = sw.pairs[0][1].stats.lost_loss;
        offer(0, 2, 100, i, i);
        hg_wan_switch_deliver(&sw, i);
        pattern = pattern << 1 | (sw.pairs[0][1].stats.lost_loss - before);
        if (reseed && i == 31)
            hg_wan_switch_seed(&sw, seed);
    }
    CU_ASSERT_EQUAL(outstanding, 0);
    return pattern;
}

static void test_seed(void)
{
    uint64_t pattern = losses(5, false);
    CU_ASSERT_EQUAL(pattern, losses(5, false));
    CU_ASSERT_NOT_EQUAL(pattern, losses(6, false));
    CU_ASSERT_EQUAL(losses(5, true), (pattern & ~UINT64_C(0xffffffff)) | pattern >> 32);
}

static void test_names(void)
{
    fresh();
    uint8_t mac[6] = {2, 0, 0, 0, 9, 9};
    CU_ASSERT_EQUAL(hg_wan_switch_find(&sw, "b"), 1);
    CU_ASSERT_EQUAL(hg_wan_switch_find(&sw, "z"), -1);
    CU_ASSERT_EQUAL(hg_wan_switch_port_add(&sw, "a", mac, &fakes[0].port), -EEXIST);
    mac[4] = 0;
    mac[5] = 1;
    CU_ASSERT_EQUAL(hg_wan_switch_port_add(&sw, "new", mac, &fakes[0].port), -EEXIST);
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("wan_switch", NULL, NULL);
    CU_add_test(suite, "unicast goes to the owner", test_unicast);
    CU_add_test(suite, "group addresses go to all others", test_group);
    CU_add_test(suite, "what is dropped has a counter", test_dropped);
    CU_add_test(suite, "delay, per direction, in order", test_delay_and_order);
    CU_add_test(suite, "a cut drops what is under way", test_cut_drops_under_way);
    CU_add_test(suite, "memory is bounded", test_memory);
    CU_add_test(suite, "a receiver that is full or gone", test_receiver_full);
    CU_add_test(suite, "one seed, one pattern", test_seed);
    CU_add_test(suite, "names and addresses are unique", test_names);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
