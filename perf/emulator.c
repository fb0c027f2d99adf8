/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf emulator: what one helio-wan carries. It runs on one core; on the other one thread is both
 * stations. Frames are sent as fast as the emulator takes them: a taken_share below 1 says that it was the
 * emulator that could do no more. What was sent and did not come is reported as lost. stalled_share is the
 * time that the stations' CPU was taken from them: above a few percent, a figure says more of the machine's
 * other guests than of helio-wan.
 */
#include "drivers/clock/clock.h"
#include "drivers/net/eal.h"
#include "drivers/net/port_dpdk.h"
#include "perf/emulated.h"
#include "perf/perf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/wait.h>

#define WARM_NS       (HG_NS_PER_S / 2)
#define CONNECT_NS    (20 * HG_NS_PER_S)
#define QUIET_NS      (HG_NS_PER_S / 2)
#define STALL_NS      (200 * HG_NS_PER_US) /* no turn takes so long: the thread was not running */
#define STATIONS_MB   128
#define STATION_COUNT 2

struct emulator {
    const struct hg_perf_options *options;
    struct hg_port *ports[STATION_COUNT];
    struct hg_clock *clock;
    struct hg_perf_emulated wan;
    uint64_t sent;
    uint64_t received;
    uint64_t offered;
    uint64_t stalled_ns;
};

static const uint8_t macs[STATION_COUNT][6] = {{2, 0, 0, 0, 0, 0x0a}, {2, 0, 0, 0, 0, 0x0b}};

static uint64_t now_ns(const struct emulator *emulator)
{
    return emulator->clock->now_ns(emulator->clock);
}

static int emulator_start(struct emulator *emulator)
{
    char config[256];
    int bytes = 0;
    for (int i = 0; i < STATION_COUNT; i++)
        bytes += snprintf(config + bytes, sizeof(config) - (size_t)bytes,
                          "port add %c memif socket wan-memif.sock id %d mac 02:00:00:00:00:%02x\n", 'a' + i,
                          i, macs[i][5]);
    return hg_perf_emulated_start(&emulator->wan, emulator->options->directory, config,
                                  emulator->options->cpus[0], HG_PERF_EMULATED_MEMORY_MB, 0);
}

/* --- the stations --- */

static bool stations_open(struct emulator *emulator)
{
    char error[512];
    char lcores[16];
    snprintf(lcores, sizeof(lcores), "0@%d", emulator->options->cpus[1]);
    struct hg_eal_options eal = {.program = "helio-perf",
                                 .lcores = lcores,
                                 .memory_mb = STATIONS_MB,
                                 .file_prefix = "helio-perf-stations",
                                 .run_dir = emulator->wan.run,
                                 .pages = HG_EAL_PAGES_NORMAL};
    int rc = hg_eal_start(&eal, error, sizeof(error));
    for (int i = 0; i < STATION_COUNT && rc == 0; i++) {
        char devargs[PATH_MAX + 128];
        snprintf(devargs, sizeof(devargs),
                 "net_memif%d,role=client,socket=%s/wan-memif.sock,socket-abstract=no,id=%d,bsize=2048,"
                 "rsize=10",
                 i, emulator->wan.run, i);
        struct hg_port_dpdk_options options = {
            .name = i == 0 ? "a" : "b", .devargs = devargs, .numa_node = -1, .packets = 8191};
        memcpy(options.mac, macs[i], sizeof(options.mac));
        emulator->ports[i] = hg_port_dpdk_open(&options, error, sizeof(error));
        rc = emulator->ports[i] != NULL ? 0 : -EIO;
    }
    if (rc != 0)
        fprintf(stderr, "helio-perf: %s\n", error);
    return rc == 0;
}

static bool stations_connect(struct emulator *emulator)
{
    uint64_t until_ns = now_ns(emulator) + CONNECT_NS;
    while (!hg_port_is_up(emulator->ports[0]) || !hg_port_is_up(emulator->ports[1])) {
        uint64_t at_ns = now_ns(emulator);
        for (int i = 0; i < STATION_COUNT; i++)
            (void)hg_port_dpdk_maintain(emulator->ports[i], at_ns);
        if (at_ns >= until_ns || waitpid(emulator->wan.child, NULL, WNOHANG) > 0) {
            fprintf(stderr, "helio-perf: no connection to helio-wan: %s\n",
                    hg_port_dpdk_problem(emulator->ports[0]));
            return false;
        }
    }
    return true;
}

static void stations_send(struct emulator *emulator, uint32_t bytes)
{
    struct hg_port *port = emulator->ports[0];
    struct hg_packet packets[HG_PORT_BURST_MAX];
    if (port->allocate(port, packets, HG_PORT_BURST_MAX) == 0)
        return;
    for (uint32_t i = 0; i < HG_PORT_BURST_MAX; i++) {
        uint8_t *data = packets[i].data;
        memcpy(data, macs[1], 6);
        memcpy(data + 6, macs[0], 6);
        data[12] = 0x88;
        data[13] = 0xb5; /* local experimental */
        packets[i].bytes = bytes;
    }
    uint32_t sent = port->transmit(port, packets, HG_PORT_BURST_MAX);
    port->release(port, packets + sent, HG_PORT_BURST_MAX - sent);
    emulator->sent += sent;
    emulator->offered += HG_PORT_BURST_MAX;
}

static uint32_t stations_receive(struct emulator *emulator)
{
    struct hg_port *port = emulator->ports[1];
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint32_t n = port->receive(port, packets, HG_PORT_BURST_MAX);
    port->release(port, packets, n);
    emulator->received += n;
    return n;
}

/* Sends at `rate_bits` a second, or as fast as frames are taken when that is 0. */
static void stations_run(struct emulator *emulator, uint32_t bytes, uint64_t rate_bits, uint64_t ns)
{
    uint64_t gap_ns = rate_bits != 0 ? UINT64_C(8) * bytes * HG_PORT_BURST_MAX * HG_NS_PER_S / rate_bits : 0;
    uint64_t at_ns = now_ns(emulator);
    uint64_t next_ns = at_ns;
    emulator->stalled_ns = 0;
    for (uint64_t until_ns = at_ns + ns; at_ns < until_ns;) {
        uint64_t before_ns = at_ns;
        at_ns = now_ns(emulator);
        if (at_ns - before_ns > STALL_NS)
            emulator->stalled_ns += at_ns - before_ns;
        if (at_ns >= next_ns) {
            stations_send(emulator, bytes);
            next_ns += gap_ns;
        }
        while (stations_receive(emulator) == HG_PORT_BURST_MAX)
            continue;
    }
}

static void stations_drain(struct emulator *emulator)
{
    for (uint64_t last_ns = now_ns(emulator); now_ns(emulator) - last_ns < QUIET_NS;) {
        if (stations_receive(emulator) != 0)
            last_ns = now_ns(emulator);
    }
}

/* --- measuring --- */

struct load {
    const char *what;
    const char *link;
    uint64_t rate_bits; /* offered; 0 = all that is taken */
    uint32_t bytes;
};

static int measure(struct emulator *emulator, const struct load *load, struct hg_perf_report *report)
{
    char command[256];
    snprintf(command, sizeof(command), "link set a b %s", load->link);
    if (!hg_perf_emulated_command(&emulator->wan, command)) {
        fprintf(stderr, "helio-perf: helio-wan refuses '%s'\n", command);
        return -EINVAL;
    }
    emulator->sent = emulator->received = 0;
    stations_run(emulator, load->bytes, load->rate_bits, WARM_NS);
    uint64_t began_ns = now_ns(emulator);
    uint64_t received = emulator->received;
    uint64_t sent = emulator->sent;
    emulator->offered = 0;
    stations_run(emulator, load->bytes, load->rate_bits, (uint64_t)(emulator->options->seconds * 1e9));
    double seconds = (double)(now_ns(emulator) - began_ns) / 1e9;
    double frames = (double)(emulator->received - received) / seconds;
    double taken = (double)(emulator->sent - sent) / (double)emulator->offered;
    double stalled = (double)emulator->stalled_ns / 1e9 / seconds;
    stations_drain(emulator);
    double lost =
        1 - (double)emulator->received / (double)emulator->sent; /* below 0 where some are doubled */
    hg_perf_report_add(report, frames * load->bytes * 8, "bits_per_s/bytes=%u/link=%s", load->bytes,
                       load->what);
    hg_perf_report_add(report, frames, "frames_per_s/bytes=%u/link=%s", load->bytes, load->what);
    hg_perf_report_add(report, lost, "lost_share/bytes=%u/link=%s", load->bytes, load->what);
    hg_perf_report_add(report, taken, "taken_share/bytes=%u/link=%s", load->bytes, load->what);
    hg_perf_report_add(report, stalled, "stalled_share/bytes=%u/link=%s", load->bytes, load->what);
    return 0;
}

static int measure_all(struct emulator *emulator, struct hg_perf_report *report)
{
    uint32_t bytes = emulator->options->mtu_bytes + 14;
    const struct load loads[] = {
        {"perfect", "", 0, bytes},
        {"delay", "delay 20ms", 0, bytes},
        {"loss", "delay 20ms jitter 2ms loss 0.1% burst 4", 0, bytes},
        {"all", "delay 20ms reorder 0.1% late 1ms duplicate 0.1% corrupt 0.1% paths 2 skew 1ms", 0, bytes},
        {"rate_4g", "delay 20ms rate 4g queue 4m", UINT64_C(3990000000), bytes},
        {"perfect", "", 0, 64},
    };
    int rc = 0;
    for (size_t i = 0; i < HG_COUNT(loads) && rc == 0; i++)
        rc = measure(emulator, &loads[i], report);
    return rc;
}

int hg_perf_emulator(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    static struct emulator emulator;
    emulator.options = options;
    emulator.clock = hg_clock_tsc();
    if (options->cpus[0] == options->cpus[1]) {
        fprintf(stderr, "helio-perf: the emulator and its stations want a CPU each (--cpus A,B)\n");
        return -EINVAL;
    }
    int rc = emulator_start(&emulator);
    if (rc != 0)
        return rc;
    rc = -EIO;
    if (stations_open(&emulator) && stations_connect(&emulator))
        rc = measure_all(&emulator, report);
    hg_perf_emulated_stop(&emulator.wan);
    return rc;
}
