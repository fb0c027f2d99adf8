/* SPDX-License-Identifier: Apache-2.0
 *
 * A station behind helio-wan for the integration tests: one memif client port, driven by lines on its
 * standard input.
 *
 *   wan_peer RUN_DIR SOCKET ID MAC PREFIX CPU
 *
 *   wait up|down MS                  -> "up" or "down" when it is so, else "timeout"
 *   send MAC COUNT BYTES GAP_US      -> "sent N"; a frame not taken is tried again for up to 2 s
 *   blast MAC BYTES                  begins to send as fast as it goes; ends with the next command
 *   report QUIET_MS                  -> waits until nothing came for so long, then one line of JSON; counts
 * from 0 again quit
 *
 * Frames carry a number and the time they were sent, so the receiver can tell what came, in which order, how
 * late.
 */
#include "drivers/clock/clock.h"
#include "drivers/net/eal.h"
#include "drivers/net/port_dpdk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SEND_WAIT_NS (2 * HG_NS_PER_S)
#define LINE_BYTES   256
#define MAGIC        UINT64_C(0x6c6561702d6e6177)

struct payload {
    uint64_t magic;
    uint64_t number;
    uint64_t sent_ns;
};

struct report {
    uint64_t count;
    uint64_t bytes;
    uint64_t hash;      /* of the numbers, in the order they came */
    uint64_t reordered; /* came after a higher number, or twice */
    uint64_t damaged;
    uint64_t next;
    uint64_t latency_min_ns;
    uint64_t latency_max_ns;
    uint64_t latency_sum_ns;
    uint64_t last_ns;
    uint64_t blasted;
};

static struct hg_port *port;
static struct report report;
static uint64_t maintain_at_ns;
static bool blasting;
static uint8_t blast_mac[6];
static uint32_t blast_bytes;

static uint64_t clock_now_ns(void)
{
    struct hg_clock *clock = hg_clock_tsc();
    return clock->now_ns(clock);
}

static bool mac_parse(const char *text, uint8_t mac[6])
{
    unsigned int parts[6];
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x", &parts[0], &parts[1], &parts[2], &parts[3], &parts[4],
               &parts[5]) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)parts[i];
    return true;
}

/* What frame_fill() sent, as far as that can be told: number and time may be any. */
static bool intact(const struct hg_packet *packet, struct payload *payload)
{
    const uint8_t *data = packet->data;
    if (packet->bytes < 14 + sizeof(*payload))
        return false;
    memcpy(payload, data + 14, sizeof(*payload));
    uint8_t rest = 0;
    for (uint32_t i = 14 + sizeof(*payload); i < packet->bytes; i++)
        rest |= data[i];
    return payload->magic == MAGIC && rest == 0;
}

static void received(const struct hg_packet *packet, uint64_t now_ns)
{
    struct payload payload;
    if (!intact(packet, &payload)) {
        report.damaged++;
        report.last_ns = now_ns;
        return;
    }
    uint64_t latency_ns = now_ns - payload.sent_ns;
    report.latency_min_ns = report.count == 0 ? latency_ns : hg_min_u64(report.latency_min_ns, latency_ns);
    report.latency_max_ns = hg_max_u64(report.latency_max_ns, latency_ns);
    report.latency_sum_ns += latency_ns;
    report.reordered += payload.number < report.next;
    report.next = hg_max_u64(report.next, payload.number + 1);
    report.hash = (report.hash ^ payload.number) * UINT64_C(0x100000001b3);
    report.count++;
    report.bytes += packet->bytes;
    report.last_ns = now_ns;
}

static bool frame_fill(struct hg_packet *packet, const uint8_t mac[6], uint32_t bytes, uint64_t number)
{
    struct payload payload = {.magic = MAGIC, .number = number};
    if (packet->bytes_max < bytes || bytes < 14 + sizeof(payload))
        return false;
    uint8_t *data = packet->data;
    memset(data, 0, bytes);
    memcpy(data, mac, 6);
    memcpy(data + 6, port->mac, 6);
    data[12] = 0x88;
    data[13] = 0xb5; /* local experimental */
    payload.sent_ns = clock_now_ns();
    memcpy(data + 14, &payload, sizeof(payload));
    packet->bytes = bytes;
    return true;
}

static void blast(void)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    if (port->allocate(port, packets, HG_PORT_BURST_MAX) != HG_PORT_BURST_MAX)
        return;
    for (uint32_t i = 0; i < HG_PORT_BURST_MAX; i++)
        frame_fill(&packets[i], blast_mac, blast_bytes, report.blasted + i);
    uint32_t sent = port->transmit(port, packets, HG_PORT_BURST_MAX);
    report.blasted += sent;
    port->release(port, packets + sent, HG_PORT_BURST_MAX - sent);
    if (sent == 0)
        sched_yield();
}

/* Everything a station does all the time: keep the link, fetch what came. */
static uint32_t turn(void)
{
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= maintain_at_ns)
        maintain_at_ns = hg_min_u64(hg_port_dpdk_maintain(port, now_ns), now_ns + 5 * HG_NS_PER_MS);
    if (!port->link_up)
        return 0;
    uint32_t n = port->receive(port, packets, HG_PORT_BURST_MAX);
    now_ns = n != 0 ? clock_now_ns() : now_ns;
    for (uint32_t i = 0; i < n; i++)
        received(&packets[i], now_ns);
    port->release(port, packets, n);
    if (blasting)
        blast();
    return n;
}

static void command_wait(const char *state, uint64_t wait_ms)
{
    bool up = strcmp(state, "up") == 0;
    uint64_t end_ns = clock_now_ns() + wait_ms * HG_NS_PER_MS;
    while (port->link_up != up && clock_now_ns() < end_ns) {
        turn();
        sched_yield();
    }
    printf("%s\n", port->link_up == up ? state : "timeout");
}

static bool send_one(struct hg_packet *packet)
{
    uint64_t end_ns = clock_now_ns() + SEND_WAIT_NS;
    while (port->transmit(port, packet, 1) == 0) {
        if (clock_now_ns() >= end_ns)
            return false;
        turn();
    }
    return true;
}

static void command_send(const char *mac_text, uint64_t count, uint32_t bytes, uint64_t gap_us)
{
    uint8_t mac[6];
    uint64_t sent = 0;
    uint64_t next_ns = clock_now_ns();
    if (!mac_parse(mac_text, mac))
        count = 0;
    for (; sent < count; sent++, next_ns += gap_us * HG_NS_PER_US) {
        struct hg_packet packet;
        while (clock_now_ns() < next_ns)
            turn();
        if (port->allocate(port, &packet, 1) != 1)
            break;
        if (!frame_fill(&packet, mac, bytes, sent) || !send_one(&packet)) {
            port->release(port, &packet, 1);
            break;
        }
    }
    printf("sent %" PRIu64 "\n", sent);
}

static void command_report(uint64_t quiet_ms)
{
    uint64_t begin_ns = clock_now_ns();
    while (clock_now_ns() - hg_max_u64(report.last_ns, begin_ns) < quiet_ms * HG_NS_PER_MS)
        turn();
    printf("{\"count\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"hash\": %" PRIu64 ", \"reordered\": %" PRIu64
           ", \"damaged\": %" PRIu64 ", \"latency_min_ns\": %" PRIu64 ", \"latency_max_ns\": %" PRIu64
           ", \"latency_mean_ns\": %" PRIu64 ", \"blasted\": %" PRIu64 ", \"seconds_ns\": %" PRIu64 "}\n",
           report.count, report.bytes, report.hash, report.reordered, report.damaged, report.latency_min_ns,
           report.latency_max_ns, report.count != 0 ? report.latency_sum_ns / report.count : 0,
           report.blasted, clock_now_ns() - begin_ns);
    memset(&report, 0, sizeof(report));
}

/* Returns false at the end. */
static bool command_run(const char *line)
{
    char word[16] = {0};
    char text[32] = {0};
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
    blasting = false;
    if (sscanf(line, "wait %15s %" SCNu64, word, &a) == 2) {
        command_wait(word, a);
    } else if (sscanf(line, "send %31s %" SCNu64 " %" SCNu64 " %" SCNu64, text, &a, &b, &c) == 4) {
        command_send(text, a, (uint32_t)b, c);
    } else if (sscanf(line, "blast %31s %" SCNu64, text, &a) == 2 && mac_parse(text, blast_mac)) {
        blast_bytes = (uint32_t)a;
        blasting = true;
        printf("blasting\n");
    } else if (sscanf(line, "report %" SCNu64, &a) == 1) {
        command_report(a);
    } else {
        return false;
    }
    fflush(stdout);
    return true;
}

static void serve(void)
{
    static char line[LINE_BYTES];
    size_t bytes = 0;
    for (;;) {
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        struct timespec nap = {.tv_nsec = 50000};
        struct timespec none = {0};
        bool idle = turn() == 0 && !blasting;
        if (ppoll(&input, 1, idle ? &nap : &none, NULL) <= 0)
            continue;
        ssize_t got = read(STDIN_FILENO, line + bytes, sizeof(line) - 1 - bytes);
        if (got <= 0)
            return;
        bytes += (size_t)got;
        char *end = memchr(line, '\n', bytes);
        if (end == NULL && bytes < sizeof(line) - 1)
            continue;
        if (end == NULL)
            return;
        *end = '\0';
        if (!command_run(line))
            return;
        bytes = 0; /* its parent waits for the answer before it says more */
    }
}

int main(int argc, char **argv)
{
    char error[512];
    char devargs[256];
    char lcores[16];
    if (argc != 7) {
        fprintf(stderr, "usage: wan_peer RUN_DIR SOCKET ID MAC PREFIX CPU\n");
        return 2;
    }
    snprintf(lcores, sizeof(lcores), "0@%s", argv[6]);
    struct hg_eal_options eal = {.program = "wan_peer",
                                 .lcores = lcores,
                                 .memory_mb = 64,
                                 .file_prefix = argv[5],
                                 .run_dir = argv[1],
                                 .pages = HG_EAL_PAGES_NORMAL};
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (hg_eal_start(&eal, error, sizeof(error)) != 0) {
        fprintf(stderr, "wan_peer: %s\n", error);
        return 1;
    }
    snprintf(devargs, sizeof(devargs),
             "net_memif0,role=client,socket=%s,socket-abstract=no,id=%s,bsize=2048,rsize=10", argv[2],
             argv[3]);
    struct hg_port_dpdk_options options = {.name = argv[5], .devargs = devargs, .numa_node = -1};
    if (!mac_parse(argv[4], options.mac))
        return 2;
    port = hg_port_dpdk_open(&options, error, sizeof(error));
    if (port == NULL) {
        fprintf(stderr, "wan_peer: %s\n", error);
        return 1;
    }
    printf("ready\n");
    fflush(stdout);
    serve();
    hg_port_dpdk_close(port);
    return 0;
}
