/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/latency.h"
#include "drivers/clock/clock.h"
#include "drivers/ipc/control_state.h"
#include "perf/line.h"
#include "perf/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RATE_BITS_DEFAULT UINT64_C(400000000)
#define RTT_MS            40u
#define GAP_NS            (2 * HG_NS_PER_MS)
#define SECONDS           20
#define WARM_NS           (2 * HG_NS_PER_S)
#define SYNC_GAP_NS       (5 * HG_NS_PER_MS)
#define SYNCS_MAX         65536u
#define SYNC_BYTES        4096u
#define STALL_US                                                                                             \
    (RTT_MS * 1000u / 2) /* a commit so much later than the round trip had to wait for a repeat */

static const struct {
    double loss_pct;
    uint32_t fec;
    const char *fec_name;
} cells[] = {{0, HG_CONFIG_FEC_OFF, "off"}, {1, HG_CONFIG_FEC_OFF, "off"}, {1, HG_CONFIG_FEC_AUTO, "auto"}};

struct latency {
    const struct hg_perf_options *options;
    struct hg_perf_report *report;
    struct hg_perf_emulated emulated;
    struct hg_perf_line line;
    struct hg_perf_pair pair;
    uint32_t sync_us[SYNCS_MAX];
    uint32_t sync_count;
    uint32_t sorted_us[HG_PERF_LIGHT_SAMPLES_MAX];
};

static int us_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Of sorted values. */
static double quantile(const uint32_t *us, uint32_t count, double share)
{
    return count == 0 ? 0 : us[(uint32_t)((double)(count - 1) * share)];
}

static void wait_until(struct hg_clock *clock, uint64_t due_ns)
{
    uint64_t now_ns = clock->now_ns(clock);
    if (now_ns < due_ns)
        nanosleep(&(struct timespec){.tv_nsec = (long)(due_ns - now_ns)}, NULL);
}

/* fdatasync of a block of a file beside the logs until that time has passed: one every SYNC_GAP_NS, each
 * timed from when it was due. A disk that stands still for 20 ms delays as many of them as it delays commits,
 * whose times are from when they were due as well. */
static bool syncs_for(struct latency *latency, uint64_t ns)
{
    static _Alignas(SYNC_BYTES) uint8_t block[SYNC_BYTES];
    char path[PATH_MAX];
    struct hg_clock *clock = hg_clock_tsc();
    uint64_t until_ns = clock->now_ns(clock) + ns;
    uint64_t due_ns = clock->now_ns(clock);
    snprintf(path, sizeof(path), "%s/sync", latency->pair.directory);
    int fd = open(path, O_CREAT | O_WRONLY | O_DIRECT | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    while (good && clock->now_ns(clock) < until_ns) {
        due_ns += SYNC_GAP_NS;
        wait_until(clock, due_ns);
        good = pwrite(fd, block, sizeof(block), 0) == (ssize_t)sizeof(block) && fdatasync(fd) == 0;
        if (latency->sync_count < SYNCS_MAX)
            latency->sync_us[latency->sync_count++] = (uint32_t)((clock->now_ns(clock) - due_ns) / 1000);
    }
    if (fd >= 0)
        close(fd);
    return good;
}

static void result_add(struct latency *latency, size_t cell, uint32_t from, uint32_t to,
                       const struct hg_perf_line_look looks[2])
{
    static const struct {
        const char *name;
        double share;
    } quantiles[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}};
    struct hg_perf_line_found found;
    char where[64];
    uint32_t count = to - from, stalls = 0;
    hg_perf_line_between(looks, &found);
    memcpy(latency->sorted_us, latency->pair.shared->light.latency_us + from, count * sizeof(uint32_t));
    qsort(latency->sorted_us, count, sizeof(uint32_t), us_compare);
    qsort(latency->sync_us, latency->sync_count, sizeof(uint32_t), us_compare);
    for (uint32_t i = 0; i < count; i++)
        stalls += latency->sorted_us[i] > RTT_MS * 1000 + STALL_US;
    snprintf(where, sizeof(where), "loss_pct=%g/fec=%s", cells[cell].loss_pct, cells[cell].fec_name);
    fprintf(stderr, "  loss %g %% fec %-4s %6u commits, RTT +", cells[cell].loss_pct, cells[cell].fec_name,
            count);
    for (size_t i = 0; i < HG_COUNT(quantiles); i++) {
        double more = quantile(latency->sorted_us, count, quantiles[i].share) - RTT_MS * 1000.0;
        fprintf(stderr, " %s %.2f ms", quantiles[i].name, more / 1000);
        hg_perf_report_add(latency->report, more, "commit_over_rtt_us/%s/%s", quantiles[i].name, where);
    }
    double sync = quantile(latency->sync_us, latency->sync_count, 0.99);
    fprintf(stderr, ", stalls %u; fdatasync p99 %.2f ms%s\n", stalls, sync / 1000,
            found.counts ? "" : " (not the line was measured: not counted)");
    hg_perf_report_add(latency->report, sync, "fdatasync_p99_us/%s", where);
    hg_perf_report_add(latency->report, count > 0 ? (double)stalls / count : 0, "stall_share/%s", where);
    hg_perf_report_add(latency->report, found.counts, "counts/%s", where);
}

static int flow_measure(struct latency *latency, size_t cell)
{
    struct hg_perf_pair *pair = &latency->pair;
    struct hg_perf_line_look looks[2];
    uint32_t counts[2] = {0, 0};
    uint64_t ns = latency->options->seconds_given ? (uint64_t)(latency->options->seconds * 1e9)
                                                  : SECONDS * (uint64_t)HG_NS_PER_S;
    int rc = hg_perf_pair_start(pair);
    if (rc == 0)
        rc = hg_perf_pair_wait_flowing(pair);
    for (int i = 0; i < 2 && rc == 0; i++) {
        latency->sync_count = 0;
        if (!syncs_for(latency, i == 0 ? WARM_NS : ns) || !hg_perf_pair_pass(pair, 0) ||
            !hg_perf_line_look(&latency->emulated, "a", "b", pair->children, 2, &looks[i]))
            rc = -EIO;
        counts[i] = pair->shared->light.count;
    }
    hg_perf_pair_stop(pair);
    if (rc == 0)
        result_add(latency, cell, counts[0], counts[1], looks);
    return rc;
}

static int cell_measure(struct latency *latency, const struct hg_perf_data *data, size_t cell)
{
    static const char config[] = "port add a memif socket wan-memif.sock id 0 mac 02:00:00:00:00:61\n"
                                 "port add b memif socket wan-memif.sock id 1 mac 02:00:00:00:00:62\n";
    struct hg_perf_pair *pair = &latency->pair;
    latency->line.loss_pct = cells[cell].loss_pct;
    int rc = hg_perf_emulated_start(&latency->emulated, "/tmp", config, latency->options->cpus[0],
                                    HG_PERF_EMULATED_MEMORY_MB, 0);
    if (rc != 0)
        return rc;
    rc = hg_perf_pair_make(pair, latency->options, data);
    pair->cpus[0] = pair->cpus[1] = latency->options->cpus[1];
    pair->congestion = HG_CONFIG_CONGESTION_BBR;
    pair->fec = cells[cell].fec;
    pair->light_ns = GAP_NS;
    for (uint32_t i = 0; i < 2; i++)
        hg_perf_line_devargs(&latency->emulated, i, HG_PERF_LINE_RING_BITS, latency->options->mtu_bytes,
                             pair->devargs[i], sizeof(pair->devargs[i]));
    if (rc == 0 && !hg_perf_line_set(&latency->line, &latency->emulated, "a", "b"))
        rc = -EINVAL;
    if (rc == 0)
        rc = flow_measure(latency, cell);
    hg_perf_pair_free(pair);
    hg_perf_emulated_stop(&latency->emulated);
    return rc;
}

int hg_perf_latency(const struct hg_perf_options *options, const struct hg_perf_data *data,
                    struct hg_perf_report *report)
{
    static struct latency latency;
    memset(&latency, 0, sizeof(latency));
    latency.options = options;
    latency.report = report;
    latency.line.rtt_ms = RTT_MS;
    latency.line.rate_bits = options->line_bits != 0 ? options->line_bits : RATE_BITS_DEFAULT;
    hg_perf_report_add(report, RTT_MS, "rtt_ms");
    int rc = 0;
    for (size_t i = 0; i < HG_COUNT(cells) && rc == 0; i++)
        rc = cell_measure(&latency, data, i);
    return rc;
}
