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
        uint32_t mark;    /* the frame's number, behind the addresses */
        uint8_t head[64]; /* its first bytes */
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
        memcpy(fake->received[fake->sent].head, packets[i].data, 64);
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

/* Two pairs, one transmitter: 100 bytes take it 800 ns. They go in the order in which they came, and a queue
 * that one of them fills is full for both. */
static void test_joined(void)
{
    const struct hg_wan_impairment line = {
        .delay_ns = HG_NS_PER_MS, .rate_bits = 1000000000, .queue_bytes = 1000};
    uint32_t from, to;
    fresh();
    hg_wan_switch_set(&sw, 0, 1, &line);
    hg_wan_switch_join(&sw, 2, 1, 0, 1);
    hg_wan_switch_line(&sw, 2, 1, &from, &to);
    CU_ASSERT(from == 0 && to == 1);
    for (uint32_t i = 0; i < 10; i++)
        offer(i % 2 == 0 ? 0 : 2, 2, 100, i, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS + 5 * 800), 5);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS + 10 * 800), 5);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.forwarded, 5);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.forwarded, 5);
    for (uint32_t i = 0; i < 10; i++)
        offer(0, 2, 100, i, HG_NS_PER_S);
    offer(2, 2, 100, 10, HG_NS_PER_S);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.lost_queue, 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_queue, 0);

    /* Cut off alone, and with the line. */
    hg_wan_switch_deliver(&sw, 2 * HG_NS_PER_S);
    hg_wan_switch_cut(&sw, 2, 1);
    offer(2, 2, 100, 11, 2 * HG_NS_PER_S);
    offer(0, 2, 100, 12, 2 * HG_NS_PER_S);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.lost_cut, 1);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 3 * HG_NS_PER_S), 1);
    hg_wan_switch_restore(&sw, 2, 1);
    offer(2, 2, 100, 13, 3 * HG_NS_PER_S);
    hg_wan_switch_cut(&sw, 0, 1);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.lost_cut, 2);
    CU_ASSERT_EQUAL(outstanding, 0);
}

/* What is under way when a pair takes another line is not overtaken by what takes a shorter one. */
static void test_joined_under_way(void)
{
    const struct hg_wan_impairment far = {.delay_ns = 10 * HG_NS_PER_MS}, near = {.delay_ns = HG_NS_PER_MS};
    fresh();
    hg_wan_switch_set(&sw, 0, 1, &near);
    hg_wan_switch_set(&sw, 2, 1, &far);
    offer(2, 2, 100, 1, 0);
    hg_wan_switch_join(&sw, 2, 1, 0, 1);
    offer(2, 2, 100, 2, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 9 * HG_NS_PER_MS), 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 10 * HG_NS_PER_MS), 2);
    CU_ASSERT_EQUAL(fakes[1].received[0].mark, 1);
    CU_ASSERT_EQUAL(fakes[1].received[1].mark, 2);
    offer(2, 2, 100, 3, 20 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 21 * HG_NS_PER_MS), 1);
    /* Its own again. */
    hg_wan_switch_set(&sw, 2, 1, &far);
    offer(2, 2, 100, 4, 30 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 39 * HG_NS_PER_MS), 0);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.overdue, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 42 * HG_NS_PER_MS), 1);
    CU_ASSERT_EQUAL(sw.pairs[2][1].stats.overdue, 1);
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

static void set(uint32_t from, uint32_t to, struct hg_wan_impairment impairment)
{
    CU_ASSERT_PTR_NULL_FATAL(hg_wan_impairment_problem(&impairment));
    hg_wan_link_set(&sw.pairs[from][to].link, &impairment);
}

static uint64_t sum_of(const struct hg_wan_link_stats *stats)
{
    return stats->forwarded + stats->lost_loss + stats->lost_mtu + stats->lost_memory + stats->lost_cut;
}

static void test_reorder(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.delay_ns = 1000, .reorder_ppb = 200000000, .late_ns = 550});
    for (uint32_t i = 0; i < 60; i++)
        offer(0, 2, 100, i, 10000 + i * 100);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 10000), 11000);
    uint32_t late = (uint32_t)sw.pairs[0][1].stats.reordered;
    CU_ASSERT(late >= 5 && late <= 20);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 60);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, HG_NS_PER_S), HG_TIME_NEVER);
    /* Whoever was late comes right behind the fifth after it; all others keep their order. */
    uint32_t found = 0;
    uint32_t place[60];
    for (uint32_t i = 0; i < 60; i++)
        place[fakes[1].received[i].mark] = i;
    for (uint32_t i = 0; i < 54; i++)
        found += place[i] > place[i + 5] && place[i] < place[i + 6];
    for (uint32_t i = 54; i < 59; i++)
        found += place[i] > place[i + 1];
    CU_ASSERT(found > 0 && found <= late);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_reorder_exact(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.reorder_ppb = HG_WAN_LOSS_ALL_PPB, .late_ns = 150});
    offer(0, 2, 100, 0, 1000); /* late */
    set(0, 1, (struct hg_wan_impairment){0});
    offer(0, 2, 100, 1, 1000);
    offer(0, 2, 100, 2, 1100);
    offer(0, 2, 100, 3, 1200);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 1100), 2);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 1100), 1150);
    fakes[1].room = 1; /* taken one at a time, the order is the same */
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 1300), 1);
    fakes[1].room = 1;
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 1300), 1);
    CU_ASSERT(fakes[1].received[0].mark == 1 && fakes[1].received[1].mark == 2);
    CU_ASSERT(fakes[1].received[2].mark == 0 && fakes[1].received[3].mark == 3);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.reordered, 1);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_paths(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.path_count = 4, .skew_ns = 1000});
    for (uint32_t i = 0; i < 60; i++)
        offer(0, 2, 100, i, 100);
    uint32_t detoured = (uint32_t)sw.pairs[0][1].stats.detoured;
    CU_ASSERT(detoured > 30 && detoured < 58);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 100), 60 - detoured);
    uint32_t rest = hg_wan_switch_deliver(&sw, 1100) + hg_wan_switch_deliver(&sw, 2100);
    CU_ASSERT(rest > 0 && rest < detoured);
    CU_ASSERT_EQUAL(hg_wan_switch_due_ns(&sw, 2100), 3100);
    /* A cut loses what is under way on every path. */
    hg_wan_switch_cut(&sw, 0, 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_cut, detoured - rest);
    CU_ASSERT_EQUAL(sw.slots_used, 0);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_paths_by_flow(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.path_count = 4, .skew_ns = 1000, .path_by_flow = true});
    for (uint32_t i = 0; i < 50; i++)
        offer(0, 2, 100, i, i * 10); /* one flow: not IP, so the Ethernet header makes it */
    CU_ASSERT(sw.pairs[0][1].stats.detoured == 0 || sw.pairs[0][1].stats.detoured == 50);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 50);
    for (uint32_t i = 0; i < 50; i++)
        CU_ASSERT_EQUAL(fakes[1].received[i].mark, i);
}

static void test_duplicate(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.duplicate_ppb = 250000000});
    for (uint32_t i = 0; i < 40; i++)
        offer(0, 2, 100, i, i);
    const struct hg_wan_link_stats *stats = &sw.pairs[0][1].stats;
    CU_ASSERT(stats->duplicated >= 4 && stats->duplicated <= 20);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 100), 40 + stats->duplicated);
    uint32_t twins = 0;
    for (uint32_t i = 1; i < fakes[1].sent; i++) {
        twins += fakes[1].received[i].mark == fakes[1].received[i - 1].mark;
        CU_ASSERT_FATAL(fakes[1].received[i].mark - fakes[1].received[i - 1].mark <= 1);
        CU_ASSERT_EQUAL(fakes[1].received[i].bytes, 100);
    }
    CU_ASSERT_EQUAL(twins, stats->duplicated);
    /* Neither slots nor packets for a double: the frame arrives, the double is counted as lost. */
    set(0, 1, (struct hg_wan_impairment){.duplicate_ppb = HG_WAN_LOSS_ALL_PPB});
    for (uint32_t i = 0; i < SLOTS; i++)
        offer(0, 2, 100, i, HG_NS_PER_S);
    CU_ASSERT_EQUAL(sw.slots_used, SLOTS);
    CU_ASSERT_EQUAL(stats->lost_memory, SLOTS / 2);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), SLOTS);
    CU_ASSERT_EQUAL(sum_of(stats), 40 + SLOTS + stats->duplicated);
    uint64_t lost_memory = stats->lost_memory;
    fakes[1].no_memory = true;
    offer(0, 2, 100, 7, HG_NS_PER_S);
    CU_ASSERT_EQUAL(stats->lost_memory, lost_memory + 1);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 1);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_corrupt(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.corrupt_ppb = 300000000});
    for (uint32_t i = 0; i < 60; i++)
        offer(0, 2, 64, 0, i); /* all alike, so that damage shows */
    offer(0, 2, 14, 0, 100);   /* never: nothing behind its header */
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 200), 61);
    const uint8_t header[14] = {2, 0, 0, 0, 0, 2};
    const uint8_t zero[50] = {0};
    uint32_t damaged = 0;
    for (uint32_t i = 0; i < 61; i++) {
        CU_ASSERT_EQUAL_FATAL(memcmp(fakes[1].received[i].head, header, 14), 0);
        damaged += memcmp(fakes[1].received[i].head + 14, zero, 50) != 0;
    }
    CU_ASSERT_EQUAL(damaged, sw.pairs[0][1].stats.corrupted);
    CU_ASSERT(damaged >= 6 && damaged <= 32);
    /* A broadcast is damaged on the one link only. */
    set(0, 1,
        (struct hg_wan_impairment){.corrupt_ppb = HG_WAN_LOSS_ALL_PPB, .duplicate_ppb = HG_WAN_LOSS_ALL_PPB});
    offer(0, 0xff, 64, 0, 1000);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, 1000), 3);
    CU_ASSERT_EQUAL(memcmp(fakes[2].received[0].head + 14, zero, 50), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(fakes[1].received[61].head + 14, zero, 50), 0);
    CU_ASSERT_EQUAL(memcmp(fakes[1].received[61].head, fakes[1].received[62].head, 64),
                    0); /* the double too */
    CU_ASSERT_EQUAL(outstanding, 0);
}

/* From station a (10.0.0.1) to b, don't fragment. */
static void offer_ip_as(uint32_t ip_bytes, uint8_t tos, uint64_t now_ns)
{
    static const uint8_t header[34] = {2, 0, 0, 0,    0, 2,  2,  0, 0, 0,  0, 1, 0x08, 0,  0x45, 0, 0,
                                       0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1,    10, 0,    0, 2};
    struct hg_packet packet;
    CU_ASSERT_EQUAL_FATAL(fake_allocate(&fakes[0].port, &packet, 1), 1);
    uint8_t *data = packet.data;
    memcpy(data, header, sizeof(header));
    data[16] = (uint8_t)(ip_bytes >> 8);
    data[17] = (uint8_t)ip_bytes;
    data[15] = tos;
    packet.bytes = 14 + ip_bytes;
    hg_wan_switch_receive(&sw, 0, &packet, 1, now_ns);
}

static void offer_ip(uint32_t ip_bytes, uint64_t now_ns)
{
    offer_ip_as(ip_bytes, 0, now_ns);
}

/* Packets of 1000 bytes, a microsecond each, with every codepoint in turn: from the third on they are marked
 * if they can be, the doubles too. */
static void test_ecn(void)
{
    fresh();
    set(0, 1,
        (struct hg_wan_impairment){
            .rate_bits = 8000000000, .ecn_bytes = 1000, .duplicate_ppb = HG_WAN_LOSS_ALL_PPB});
    for (uint8_t i = 0; i < 6; i++)
        offer_ip_as(986, i % 4, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 12);
    uint32_t marked = 0;
    for (uint32_t i = 0; i < 12; i++) {
        uint8_t sent = (uint8_t)(i / 2 % 4), came = fakes[1].received[i].head[15];
        bool full = i / 2 >= 2;
        CU_ASSERT_EQUAL(came, full && sent != 0 ? 3 : sent);
        marked += i % 2 == 0 && full && sent != 0;
    }
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.marked, marked);
    CU_ASSERT_EQUAL(marked, 3);
    CU_ASSERT_EQUAL(outstanding, 0);
}

static void test_mtu(void)
{
    fresh();
    struct hg_wan_link_stats *stats = &sw.pairs[0][1].stats;
    set(0, 1, (struct hg_wan_impairment){.delay_ns = 1000, .mtu_bytes = 1400});
    offer_ip(1400, 0);
    offer_ip(1401, 0);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS), 1);
    CU_ASSERT_EQUAL(fakes[1].received[0].bytes, 1414);
    CU_ASSERT_EQUAL(fakes[0].sent, 0); /* a black hole says nothing */
    CU_ASSERT(stats->lost_mtu == 1 && stats->icmp_sent == 0 && stats->icmp_unsent == 0);

    set(0, 1, (struct hg_wan_impairment){.delay_ns = 1000, .mtu_bytes = 1400, .mtu_icmp = true});
    set(1, 0, (struct hg_wan_impairment){.loss_ppb = HG_WAN_LOSS_ALL_PPB}); /* not on the answer's way */
    offer_ip(1401, HG_NS_PER_MS);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_MS), 1); /* at once */
    CU_ASSERT_EQUAL(fakes[0].sent, 1);
    CU_ASSERT_EQUAL(fakes[0].received[0].bytes, 14 + 576);
    const uint8_t *head = fakes[0].received[0].head;
    CU_ASSERT(head[5] == 1 && head[11] == 2);                   /* from b's address to a's */
    CU_ASSERT(head[23] == 1 && head[34] == 3 && head[35] == 4); /* ICMP, fragmentation needed */
    CU_ASSERT_EQUAL(head[40] << 8 | head[41], 1400);
    CU_ASSERT(stats->lost_mtu == 2 && stats->icmp_sent == 1 && stats->icmp_unsent == 0);
    offer(0, 2, 1415, 0, HG_NS_PER_MS); /* not IP: no words for it */
    CU_ASSERT(stats->lost_mtu == 3 && stats->icmp_sent == 1 && stats->icmp_unsent == 1);
    CU_ASSERT_EQUAL(hg_wan_switch_deliver(&sw, HG_NS_PER_S), 0);
    CU_ASSERT_EQUAL(outstanding, 0);
    CU_ASSERT_EQUAL(sw.slots_used, 0);
}

/* Answers need memory; without it they are counted and the switch goes on. */
static void test_mtu_no_memory(void)
{
    fresh();
    set(0, 1, (struct hg_wan_impairment){.mtu_bytes = 1400, .mtu_icmp = true});
    set(0, 2, (struct hg_wan_impairment){.delay_ns = HG_NS_PER_S});
    for (uint32_t i = 0; i < SLOTS; i++)
        offer(0, 3, 100, i, 0);
    offer_ip(1500, 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.icmp_unsent, 1);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.lost_mtu, 1);
    hg_wan_switch_drain(&sw);
    offer_ip(1500, 0);
    CU_ASSERT_EQUAL(sw.pairs[0][1].stats.icmp_sent, 1);
    hg_wan_switch_drain(&sw); /* answers under way are given back as well */
    CU_ASSERT_EQUAL(outstanding, 0);
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
    CU_add_test(suite, "two pairs on one line", test_joined);
    CU_add_test(suite, "another line with frames under way", test_joined_under_way);
    CU_add_test(suite, "reorder", test_reorder);
    CU_add_test(suite, "a late frame, exactly", test_reorder_exact);
    CU_add_test(suite, "paths", test_paths);
    CU_add_test(suite, "paths by flow", test_paths_by_flow);
    CU_add_test(suite, "duplicate", test_duplicate);
    CU_add_test(suite, "corrupt", test_corrupt);
    CU_add_test(suite, "marks", test_ecn);
    CU_add_test(suite, "mtu, silent and with an answer", test_mtu);
    CU_add_test(suite, "answers without memory", test_mtu_no_memory);
    CU_add_test(suite, "one seed, one pattern", test_seed);
    CU_add_test(suite, "names and addresses are unique", test_names);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
