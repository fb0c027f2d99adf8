/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf wan: what gets through a long line that loses packets. The same emulated line carries, one after
 * the other, a stream between two dataplanes (memif ports) and the kernel's TCP (tap ports). Goodput is what
 * the user has at the other end: bytes of frames that are durable at the receiver, bytes that the sink was
 * given. Each run has an emulator, processes and connections of its own; what happens before the warm-up is
 * over is not counted, for nobody.
 *
 * The series `memif` is ours alone, at a rate that only memif ports carry.
 */
#include "dataplane/transport/wire.h"
#include "drivers/clock/clock.h"
#include "drivers/ipc/control_state.h"
#include "perf/fairness.h"
#include "perf/latency.h"
#include "perf/line.h"
#include "perf/pair.h"
#include "perf/tcp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define RATE_BITS_DEFAULT UINT64_C(400000000)
#define LOG_BYTES         (UINT64_C(512) << 20)
#define DATA_BYTES_MAX    (64u << 20)
#define WARM_NS           (3 * HG_NS_PER_S)
#define WARM_RTTS         20u
#define SECONDS           15u
#define RTTS              60u
#define QUICK_WARM_NS     (2 * HG_NS_PER_S)
#define QUICK_NS          (4 * HG_NS_PER_S)
#define CELLS_MAX         64u
#define MEMIF_RATE_BITS   UINT64_C(4000000000) /* two CPUs hold it, just */
#define MEMIF_LOG_BYTES   (UINT64_C(2) << 30)  /* what is under way must fit */
#define MEMIF_CREDIT      (UINT64_C(512) << 20)
#define MEMIF_UNSENT      (UINT64_C(32) << 20) /* and a ring: the log has more in memory */
#define MEMIF_RING_BITS   13u  /* frames of 25 ms at 4 Gbit/s: two nodes take turns on one CPU */
#define MEMIF_JUMBO_BITS  12u  /* the same for frames of 9000 bytes: 74 ms */
#define MEMIF_NAP_US      100u /* how late a frame may be for that each node has a CPU */
#define MTU_NORMAL        1500u
#define MTU_JUMBO_MIN     4000u
#define TCP_HEAD_BYTES    52 /* IPv4, TCP with timestamps */
#define ETHERNET_BYTES    14

struct cell {
    double loss_pct;
    uint32_t rtt_ms;
    bool bursts;
    bool is_quick;
};

struct sender {
    const char *name;
    uint32_t congestion; /* ours */
    bool only_wanted;    /* not measured unless it is asked for */
};
static const struct sender senders[] = {{"hg-bbr", HG_CONFIG_CONGESTION_BBR, false},
                                        {"hg-cubic", HG_CONFIG_CONGESTION_CUBIC, true},
                                        {"tcp-cubic", 0, false},
                                        {"tcp-bbr", 0, false}};

struct wan {
    const struct hg_perf_options *options;
    const struct hg_perf_data *data;
    struct hg_perf_report *report;
    uint64_t rate_bits;
    bool memif; /* the series */
    struct cell cells[CELLS_MAX];
    uint32_t cell_count;
    struct hg_perf_emulated emulated;
};

/* What a run is looked at by: two of these, before and after. */
struct look {
    struct hg_perf_line_look line;
    double bytes;        /* the user's, at the other end */
    double stored_bytes; /* ours: of the batches that hold them */
    uint64_t cpu_us[2];  /* ours: of the sender, of the receiver */
};

static bool is_tcp(const struct sender *sender)
{
    return strncmp(sender->name, "tcp-", 4) == 0;
}

static uint64_t rtt_ns(const struct cell *cell)
{
    return cell->rtt_ms * (uint64_t)HG_NS_PER_MS;
}

static uint64_t warm_ns(const struct wan *wan, const struct cell *cell)
{
    return wan->options->quick ? QUICK_WARM_NS : hg_max_u64(WARM_NS, WARM_RTTS * rtt_ns(cell));
}

static uint64_t measure_ns(const struct wan *wan, const struct cell *cell)
{
    if (wan->options->seconds_given)
        return (uint64_t)(wan->options->seconds * 1e9);
    return wan->options->quick ? QUICK_NS : hg_max_u64(SECONDS * (uint64_t)HG_NS_PER_S, RTTS * rtt_ns(cell));
}

static uint32_t ring_bits(const struct wan *wan)
{
    if (!wan->memif)
        return HG_PERF_LINE_RING_BITS;
    return wan->options->mtu_bytes >= MTU_JUMBO_MIN ? MEMIF_JUMBO_BITS : MEMIF_RING_BITS;
}

/* ---- one run of one sender ---- */

static int heliograph_run(struct wan *wan, const struct cell *cell, uint32_t congestion, struct look looks[2])
{
    struct hg_perf_pair pair;
    int rc = hg_perf_pair_make(&pair, wan->options, wan->data);
    pair.cpus[0] = wan->options->cpus[1];
    pair.cpus[1] = wan->options->cpus[wan->memif ? 0 : 1];
    pair.congestion = congestion;
    if (wan->memif) {
        pair.rate_bytes_per_s =
            wan->rate_bits / 8; /* for the places of packets under way: docs/command-file.md */
        pair.receive_bytes_max = MEMIF_CREDIT;
        pair.unsent_bytes_max = MEMIF_UNSENT;
    }
    for (uint32_t i = 0; i < 2; i++)
        hg_perf_line_devargs(&wan->emulated, i, ring_bits(wan), wan->options->mtu_bytes, pair.devargs[i],
                             sizeof(pair.devargs[i]));
    if (rc == 0)
        rc = hg_perf_pair_start(&pair);
    if (rc == 0)
        rc = hg_perf_pair_wait_flowing(&pair);
    for (int i = 0; i < 2 && rc == 0; i++) {
        bool passed = hg_perf_pair_pass(&pair, i == 0 ? warm_ns(wan, cell) : measure_ns(wan, cell));
        looks[i].bytes = hg_perf_pair_bytes(&pair, pair.shared->sides[1].lsn_durable);
        looks[i].stored_bytes = (double)pair.shared->sides[1].stored_bytes;
        for (int j = 0; j < 2; j++)
            looks[i].cpu_us[j] = pair.shared->sides[j].cpu_us;
        if (!passed || !hg_perf_line_look(&wan->emulated, "a", "b", pair.children, 2, &looks[i].line))
            rc = -EIO;
    }
    hg_perf_pair_stop(&pair);
    if (rc == 0 && wan->options->verbose) {
        const struct hg_perf_side *a = &pair.shared->sides[0];
        fprintf(stderr,
                "    sent %llu lost %llu spurious %llu resent %llu bytes, credit stalls %llu, srtt %llu us\n",
                (unsigned long long)a->packets_sent, (unsigned long long)a->packets_lost,
                (unsigned long long)a->packets_spurious, (unsigned long long)a->resent_bytes,
                (unsigned long long)a->credit_stalls, (unsigned long long)a->srtt_ns / 1000);
        for (int i = 0; i < 2; i++)
            fprintf(stderr, "    %s: %llu writes of %llu KB, %llu flushes\n", i == 0 ? "sender" : "receiver",
                    (unsigned long long)pair.shared->sides[i].writes,
                    (unsigned long long)(pair.shared->sides[i].stored_bytes /
                                         hg_max_u64(1, pair.shared->sides[i].writes) / 1000),
                    (unsigned long long)pair.shared->sides[i].flushes);
    }
    hg_perf_pair_free(&pair);
    return rc;
}

static int tcp_run(struct wan *wan, const struct cell *cell, struct hg_perf_tcp *tcp, struct look looks[2])
{
    struct timespec wait;
    int rc = hg_perf_tcp_start(tcp);
    for (int i = 0; i < 2 && rc == 0; i++) {
        uint64_t ns = i == 0 ? warm_ns(wan, cell) : measure_ns(wan, cell);
        wait = (struct timespec){.tv_sec = (time_t)(ns / HG_NS_PER_S), .tv_nsec = (long)(ns % HG_NS_PER_S)};
        nanosleep(&wait, NULL);
        looks[i].bytes = (double)tcp->shared->received_bytes;
        if (!hg_perf_line_look(&wan->emulated, "a", "b", tcp->children, 2, &looks[i].line) ||
            hg_perf_tcp_failed(tcp))
            rc = -EIO;
    }
    if (rc == 0 && wan->options->verbose)
        fprintf(stderr, "    resent %llu segments, rtt %llu us\n",
                (unsigned long long)tcp->shared->resent_segments, (unsigned long long)tcp->shared->rtt_us);
    hg_perf_tcp_stop(tcp);
    return rc;
}

/* The line, the sender over it, and what it got through. */
static int sender_run(struct wan *wan, const struct cell *cell, const struct sender *sender,
                      struct look looks[2])
{
    struct hg_perf_tcp tcp = {.cpu = wan->options->cpus[1]};
    char config[256];
    uint32_t buffer_bytes = hg_perf_line_buffer_bytes(wan->options->mtu_bytes);
    snprintf(config, sizeof(config),
             "port add a memif socket wan-memif.sock id 0 mac 02:00:00:00:00:%02x bsize %u\n"
             "port add b memif socket wan-memif.sock id 1 mac 02:00:00:00:00:%02x bsize %u\n",
             'a', buffer_bytes, 'b', buffer_bytes);
    if (is_tcp(sender)) {
        snprintf(tcp.congestion, sizeof(tcp.congestion), "%s", sender->name + 4);
        for (int i = 0; i < 2; i++)
            snprintf(tcp.interfaces[i], sizeof(tcp.interfaces[i]), "hgw%d%c", (int)getpid() % 1000000,
                     'a' + i);
        hg_perf_tcp_config(&tcp, config, sizeof(config));
    }
    const struct hg_perf_line line = {wan->rate_bits, cell->rtt_ms, cell->loss_pct, cell->bursts,
                                      wan->options->mtu_bytes};
    int rc = hg_perf_emulated_start(&wan->emulated, "/tmp", config, wan->options->cpus[0],
                                    hg_perf_line_memory_mb(&line), wan->memif ? MEMIF_NAP_US : 0);
    if (rc != 0)
        return rc;
    if (!hg_perf_line_set(&line, &wan->emulated, "a", "b"))
        rc = -EINVAL;
    else
        rc = is_tcp(sender) ? tcp_run(wan, cell, &tcp, looks)
                            : heliograph_run(wan, cell, sender->congestion, looks);
    hg_perf_emulated_stop(&wan->emulated);
    return rc;
}

/* ---- all of them ---- */

/* Of a line that is never idle and repeats exactly what it lost: headers are what remains. */
static double possible_share(const struct wan *wan, const struct cell *cell, const struct look looks[2])
{
    uint32_t mtu = wan->options->mtu_bytes;
    double stored = looks[1].stored_bytes - looks[0].stored_bytes;
    double user = mtu - TCP_HEAD_BYTES, frame = mtu + ETHERNET_BYTES;
    if (stored > 0) {
        uint32_t head_bytes = sizeof(struct hg_wire_header) + sizeof(struct hg_wire_data);
        uint32_t units = (HG_WIRE_INNER_BYTES(mtu) - head_bytes) / HG_WIRE_UNIT_BYTES;
        uint32_t inner_bytes = head_bytes + units * HG_WIRE_UNIT_BYTES;
        frame = HG_WIRE_OUTER_BYTES + HG_WIRE_ESP_BYTES + hg_align_up(inner_bytes + 2u, 4u) +
                HG_WIRE_ESP_TRAILER_BYTES - 2u;
        user = units * HG_WIRE_UNIT_BYTES * (looks[1].bytes - looks[0].bytes) / stored;
    }
    return user / frame * (1 - cell->loss_pct / 100);
}

/* Who used the CPUs: the nodes and this process share one, helio-wan has the other. */
static void cpu_add(const struct wan *wan, const struct look looks[2], const struct hg_perf_line_found *found,
                    const char *where)
{
    double nodes[2] = {0, 0};
    for (int i = 0; i < 2 && looks[1].cpu_us[0] != 0; i++) {
        nodes[i] = (double)(looks[1].cpu_us[i] - looks[0].cpu_us[i]) / 1e6 / found->seconds;
        hg_perf_report_add(wan->report, nodes[i], "cpu_used_share/process=%s/%s",
                           i == 0 ? "sender" : "receiver", where);
    }
    hg_perf_report_add(wan->report, found->watcher_cpu_share, "cpu_used_share/process=helio-perf/%s", where);
    hg_perf_report_add(wan->report, found->emulator_cpu_share, "cpu_used_share/process=helio-wan/%s", where);
    hg_perf_report_add(wan->report, found->emulator_busy_share, "emulator_busy_share/%s", where);
    if (wan->memif)
        fprintf(stderr,
                "    CPU: sender %.2f and receiver %.2f of one (the producer is in the sender), helio-perf "
                "%.2f; helio-wan %.2f of the other, moving frames %.2f of the time\n",
                nodes[0], nodes[1], found->watcher_cpu_share, found->emulator_cpu_share,
                found->emulator_busy_share);
}

/* "memif"; "memif9000" with other frames than the usual ones. */
static void series_name(const struct wan *wan, char name[32])
{
    uint32_t mtu = wan->options->mtu_bytes;
    if (!wan->memif)
        name[0] = '\0';
    else if (mtu == MTU_NORMAL)
        snprintf(name, 32, "/series=memif");
    else
        snprintf(name, 32, "/series=memif%u", mtu);
}

static void result_add(const struct wan *wan, const struct cell *cell, const char *sender,
                       const struct look looks[2])
{
    char where[128], series[32];
    struct hg_perf_line_found found;
    const struct hg_perf_line_look lines[2] = {looks[0].line, looks[1].line};
    hg_perf_line_between(lines, &found);
    double share = (looks[1].bytes - looks[0].bytes) * 8 / found.seconds / (double)wan->rate_bits;
    series_name(wan, series);
    snprintf(where, sizeof(where), "sender=%s/loss_pct=%g/rtt_ms=%u/pattern=%s%s", sender, cell->loss_pct,
             cell->rtt_ms, cell->bursts ? "burst" : "random", series);
    fprintf(stderr, "  %-9s loss %5g %% rtt %3u ms %-6s %6.1f Mbit/s, %.3f of the line%s\n", sender,
            cell->loss_pct, cell->rtt_ms, cell->bursts ? "burst" : "random",
            share * (double)wan->rate_bits / 1e6, share,
            found.counts ? "" : " (not the line was measured: not counted)");
    double used = found.used_bits_per_s / (double)wan->rate_bits;
    if (wan->options->verbose || !found.counts)
        fprintf(stderr,
                "    %.3f is possible; the line was used to %.3f; it lost %.4f of the frames and its queue "
                "%.4f; the emulator "
                "dropped "
                "%.5f and was late with %.4f; of the CPUs' time %.3f was stolen and %.3f others'\n",
                possible_share(wan, cell, looks), used, found.lost_share, found.queue_full_share,
                found.dropped_share, found.overdue_share, found.stolen_share, found.others_share);
    cpu_add(wan, looks, &found, where);
    hg_perf_report_add(wan->report, share, "%s/%s", found.counts ? "goodput_share" : "goodput_share_invalid",
                       where);
    hg_perf_report_add(wan->report, possible_share(wan, cell, looks), "possible_share/%s", where);
    hg_perf_report_add(wan->report, used, "line_used_share/%s", where);
    hg_perf_report_add(wan->report, found.queue_full_share, "queue_full_share/%s", where);
    hg_perf_report_add(wan->report, found.overdue_share, "emulator_overdue_share/%s", where);
    hg_perf_report_add(wan->report, found.dropped_share, "emulator_lost_share/%s", where);
    hg_perf_report_add(wan->report, found.stolen_share, "cpu_stolen_share/%s", where);
    hg_perf_report_add(wan->report, found.others_share, "cpu_others_share/%s", where);
}

static void cells_all(struct wan *wan)
{
    static const double losses[] = {0, 0.01, 0.1, 1, 5};
    static const uint32_t rtts[] = {1, 20, 100, 200};
    for (uint32_t bursts = 0; bursts < 2; bursts++)
        for (size_t i = 0; i < HG_COUNT(losses); i++)
            for (size_t j = 0; j < HG_COUNT(rtts); j++) {
                bool edge = (rtts[j] == 100 && losses[i] != 0.01) || (rtts[j] == 200 && losses[i] == 1) ||
                            (rtts[j] == 1 && losses[i] == 0) || (rtts[j] == 20 && losses[i] == 5);
                bool is_quick = bursts == 0 ? edge : rtts[j] == 100 && losses[i] == 1;
                if (bursts == 0 || losses[i] > 0)
                    wan->cells[wan->cell_count++] = (struct cell){losses[i], rtts[j], bursts == 1, is_quick};
            }
}

/* "1:100:random,5:20:burst". */
static bool cells_parse(struct wan *wan, const char *text)
{
    char pattern[8];
    double loss;
    uint32_t rtt;
    int used;
    while (wan->cell_count < CELLS_MAX &&
           sscanf(text, "%lf:%u:%7[a-z]%n", &loss, &rtt, pattern, &used) == 3) {
        bool bursts = strcmp(pattern, "burst") == 0;
        if (loss < 0 || loss > 50 || rtt < 1 || rtt > 1000 || (!bursts && strcmp(pattern, "random") != 0))
            return false;
        wan->cells[wan->cell_count++] = (struct cell){loss, rtt, bursts, true};
        text += used;
        if (*text == '\0')
            return true;
        if (*text++ != ',')
            return false;
    }
    return false;
}

static bool is_wanted(const struct hg_perf_options *options, const struct sender *sender)
{
    if (options->memif && is_tcp(sender))
        return false;
    if (options->senders == NULL)
        return !sender->only_wanted;
    return strstr(options->senders, sender->name) != NULL;
}

/* One sender over one line, reported. */
static int cell_run(struct wan *wan, const struct cell *cell, const struct sender *sender)
{
    struct look looks[2] = {0};
    if ((wan->options->quick && !cell->is_quick) || !is_wanted(wan->options, sender))
        return 0;
    if (is_tcp(sender) && !hg_perf_tcp_has(sender->name + 4)) {
        fprintf(stderr, "  %-9s not measured: this kernel does not have it\n", sender->name);
        return 0;
    }
    int rc = sender_run(wan, cell, sender, looks);
    if (rc == 0)
        result_add(wan, cell, sender->name, looks);
    return rc;
}

static int wan_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                    struct hg_perf_report *report)
{
    struct wan wan = {.options = options, .data = data, .report = report};
    char series[32];
    wan.memif = options->memif;
    wan.rate_bits = options->line_bits != 0 ? options->line_bits
                    : options->memif        ? MEMIF_RATE_BITS
                                            : RATE_BITS_DEFAULT;
    if (options->cells == NULL) {
        cells_all(&wan);
    } else if (!cells_parse(&wan, options->cells)) {
        fprintf(stderr,
                "helio-perf: --cells wants LOSS%%:RTT_MS:random|burst, several with commas: 1:100:random\n");
        return -EINVAL;
    }
    int rc = 0;
    series_name(&wan, series);
    hg_perf_report_add(report, (double)wan.rate_bits, "line_bits_per_s%s", series);
    for (uint32_t i = 0; i < wan.cell_count; i++)
        for (size_t j = 0; j < HG_COUNT(senders) && rc == 0; j++)
            rc = cell_run(&wan, &wan.cells[i], &senders[j]);
    return rc;
}

int hg_perf_wan(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    struct hg_perf_options own = *options;
    own.data = options->latency ? "half" : "random"; /* small commits; what does not compress */
    own.log_bytes = options->log_bytes != 0 ? options->log_bytes
                    : options->memif        ? MEMIF_LOG_BYTES
                                            : LOG_BYTES;
    if (options->cpus[0] == options->cpus[1]) {
        fprintf(stderr, "helio-perf: the emulator wants a CPU of its own (--cpus A,B)\n");
        return -EINVAL;
    }
    if (options->mtu_bytes > MTU_NORMAL && !options->memif) {
        fprintf(stderr, "helio-perf: tap ports carry an MTU of 1500 at most: give --series memif, too\n");
        return -EINVAL;
    }
    return hg_perf_each_data(&own, DATA_BYTES_MAX, report,
                             options->latency    ? hg_perf_latency
                             : options->fairness ? hg_perf_fairness
                                                 : wan_data);
}
