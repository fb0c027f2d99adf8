/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/fairness.h"
#include "drivers/clock/clock.h"
#include "drivers/ipc/control_state.h"
#include "perf/line.h"
#include "perf/pair.h"
#include "perf/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define RATE_BITS_DEFAULT UINT64_C(100000000) /* five processes share one CPU */
#define SECONDS           60
#define WARM_NS           (15 * HG_NS_PER_S)
#define QUICK_WARM_NS     (2 * HG_NS_PER_S)
#define PAIRS             2u
#define FLOWS             (PAIRS + 1u)

static const struct { /* what is measured, one after the other */
    uint32_t rtt_ms;
} lines[] = {{20}, {100}};

struct fairness {
    const struct hg_perf_options *options;
    struct hg_perf_report *report;
    struct hg_perf_emulated emulated;
    struct hg_perf_line line;
    struct hg_perf_pair pairs[PAIRS];
    struct hg_perf_tcp tcp;
};

struct look {
    struct hg_perf_line_look line;
    double bytes[FLOWS];
};

static const char *const names[FLOWS] = {"hg-bbr-1", "hg-bbr-2", "tcp-cubic"};

/* Ports of flow i: a<i> and b<i>. All but the first pair join its line. */
static int emulator_start(struct fairness *fairness)
{
    char config[1024];
    int bytes = 0;
    for (uint32_t i = 0; i < PAIRS; i++)
        for (uint32_t j = 0; j < 2; j++)
            bytes += snprintf(config + bytes, sizeof(config) - (size_t)bytes,
                              "port add %c%u memif socket wan-memif.sock id %u mac 02:00:00:00:00:%02x\n",
                              'a' + j, i, 2 * i + j, 2 * i + j + 0x10);
    for (uint32_t j = 0; j < 2; j++)
        bytes += snprintf(config + bytes, sizeof(config) - (size_t)bytes,
                          "port add %c%u tap iface %s mac 02:00:00:00:00:%02x\n", 'a' + j, PAIRS,
                          fairness->tcp.interfaces[j], 'a' + j);
    for (uint32_t i = 1; i < FLOWS; i++)
        bytes += snprintf(config + bytes, sizeof(config) - (size_t)bytes,
                          "link join a%u b%u a0 b0\nlink join b%u a%u b0 a0\n", i, i, i, i);
    return hg_perf_emulated_start(&fairness->emulated, "/tmp", config, fairness->options->cpus[0],
                                  HG_PERF_EMULATED_MEMORY_MB, 0);
}

static int flows_start(struct fairness *fairness, const struct hg_perf_data *data)
{
    int rc = 0;
    for (uint32_t i = 0; i < PAIRS && rc == 0; i++) {
        struct hg_perf_pair *pair = &fairness->pairs[i];
        rc = hg_perf_pair_make(pair, fairness->options, data);
        pair->cpus[0] = pair->cpus[1] = fairness->options->cpus[1];
        pair->congestion = HG_CONFIG_CONGESTION_BBR;
        for (uint32_t j = 0; j < 2; j++) {
            pair->stations[j] = (uint8_t)(2 * i + j + 0x10);
            hg_perf_line_devargs(&fairness->emulated, 2 * i + j, HG_PERF_LINE_RING_BITS,
                                 fairness->options->mtu_bytes, pair->devargs[j], sizeof(pair->devargs[j]));
        }
        if (rc == 0)
            rc = hg_perf_pair_start(pair);
    }
    for (uint32_t i = 0; i < PAIRS && rc == 0; i++)
        rc = hg_perf_pair_wait_flowing(&fairness->pairs[i]);
    return rc == 0 ? hg_perf_tcp_start(&fairness->tcp) : rc;
}

static void flows_stop(struct fairness *fairness)
{
    hg_perf_tcp_stop(&fairness->tcp);
    for (uint32_t i = 0; i < PAIRS; i++) {
        if (fairness->pairs[i].shared == NULL)
            continue;
        hg_perf_pair_stop(&fairness->pairs[i]);
        hg_perf_pair_free(&fairness->pairs[i]);
    }
    memset(fairness->pairs, 0, sizeof(fairness->pairs));
}

static bool look_after(struct fairness *fairness, uint64_t ns, struct look *look)
{
    pid_t processes[2 * FLOWS];
    for (uint32_t i = 0; i < 2 * FLOWS; i++)
        processes[i] = i / 2 < PAIRS ? fairness->pairs[i / 2].children[i % 2] : fairness->tcp.children[i % 2];
    bool all = hg_perf_pair_pass(&fairness->pairs[0], ns) && hg_perf_pair_pass(&fairness->pairs[1], 0) &&
               !hg_perf_tcp_failed(&fairness->tcp);
    for (uint32_t i = 0; i < PAIRS; i++)
        look->bytes[i] =
            hg_perf_pair_bytes(&fairness->pairs[i], fairness->pairs[i].shared->sides[1].lsn_durable);
    look->bytes[PAIRS] = (double)fairness->tcp.shared->received_bytes;
    return all && hg_perf_line_look(&fairness->emulated, "a0", "b0", processes, 2 * FLOWS, &look->line);
}

/* Jain's index: 1 when all have the same, 1 / FLOWS when one has everything. */
static double index_of(const double shares[FLOWS])
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < FLOWS; i++) {
        sum += shares[i];
        squares += shares[i] * shares[i];
    }
    return squares > 0 ? sum * sum / (FLOWS * squares) : 0;
}

static void result_add(struct fairness *fairness, const struct look looks[2])
{
    struct hg_perf_line_found found;
    const struct hg_perf_line_look both[2] = {looks[0].line, looks[1].line};
    double shares[FLOWS], sum = 0;
    uint32_t rtt_ms = fairness->line.rtt_ms;
    hg_perf_line_between(both, &found);
    for (uint32_t i = 0; i < FLOWS; i++) {
        shares[i] =
            (looks[1].bytes[i] - looks[0].bytes[i]) * 8 / found.seconds / (double)fairness->line.rate_bits;
        sum += shares[i];
    }
    fprintf(stderr, "  rtt %3u ms:", rtt_ms);
    for (uint32_t i = 0; i < FLOWS; i++) {
        fprintf(stderr, " %s %.3f", names[i], shares[i]);
        hg_perf_report_add(fairness->report, shares[i], "%s/flow=%s/rtt_ms=%u",
                           found.counts ? "fairness_share" : "fairness_share_invalid", names[i], rtt_ms);
    }
    fprintf(stderr, " of the line, %.3f together%s\n", sum,
            found.counts ? "" : " (not the line was measured: not counted)");
    hg_perf_report_add(fairness->report, index_of(shares), "fairness_index/rtt_ms=%u", rtt_ms);
    hg_perf_report_add(fairness->report, found.overdue_share, "emulator_overdue_share/rtt_ms=%u", rtt_ms);
    hg_perf_report_add(fairness->report, found.others_share, "cpu_others_share/rtt_ms=%u", rtt_ms);
}

static int line_measure(struct fairness *fairness, const struct hg_perf_data *data)
{
    struct look looks[2];
    uint64_t ns = fairness->options->seconds_given ? (uint64_t)(fairness->options->seconds * 1e9)
                                                   : SECONDS * (uint64_t)HG_NS_PER_S;
    for (uint32_t j = 0; j < 2; j++)
        snprintf(fairness->tcp.interfaces[j], sizeof(fairness->tcp.interfaces[j]), "hgf%d%c",
                 (int)getpid() % 1000000, 'a' + j);
    snprintf(fairness->tcp.congestion, sizeof(fairness->tcp.congestion), "cubic");
    fairness->tcp.cpu = fairness->options->cpus[1];
    int rc = emulator_start(fairness);
    if (rc != 0)
        return rc;
    if (!hg_perf_line_set(&fairness->line, &fairness->emulated, "a0", "b0"))
        rc = -EINVAL;
    if (rc == 0)
        rc = flows_start(fairness, data);
    if (rc == 0 && (!look_after(fairness, fairness->options->quick ? QUICK_WARM_NS : WARM_NS, &looks[0]) ||
                    !look_after(fairness, ns, &looks[1])))
        rc = -EIO;
    flows_stop(fairness);
    hg_perf_emulated_stop(&fairness->emulated);
    if (rc == 0)
        result_add(fairness, looks);
    return rc;
}

int hg_perf_fairness(const struct hg_perf_options *options, const struct hg_perf_data *data,
                     struct hg_perf_report *report)
{
    static struct fairness fairness;
    memset(&fairness, 0, sizeof(fairness));
    fairness.options = options;
    fairness.report = report;
    fairness.line.rate_bits = options->line_bits != 0 ? options->line_bits : RATE_BITS_DEFAULT;
    hg_perf_report_add(report, (double)fairness.line.rate_bits, "line_bits_per_s");
    int rc = 0;
    for (size_t i = 0; i < HG_COUNT(lines) && rc == 0; i++) {
        fairness.line.rtt_ms = lines[i].rtt_ms;
        rc = line_measure(&fairness, data);
    }
    return rc;
}
