/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf: what the dataplane costs and carries.
 */
#include "drivers/ipc/control_state.h"
#include "perf/perf.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "helio-perf BENCH [options]\n"
    "\n"
    "  stages     what each stage costs, beside the raw library call\n"
    "  lanes      what sending to and receiving from 1, 4, 16 and 64 peers costs a core\n"
    "  pipeline   sender core to receiver core over memif, durable at both\n"
    "  emulator   what helio-wan carries over memif, on one core\n"
    "  wan        goodput over long, lossy lines: ours, and the kernel's TCP over the same one; needs root\n"
    "  log        appending to a log beside fio, and what a flush carries\n"
    "  reading    recovery of a log with many streams, and readers that are behind\n"
    "  feed       appends to a stream of a running dataplane, as a producer does\n"
    "  commits    of such a stream: how many a second, and how long each takes\n"
    "\n"
    "  --data pgbench|half|random|all   the frames (default all; pgbench is made once by perf/wal)\n"
    "  --wal FILE       another WAL for pgbench\n"
    "  --seconds S      of measuring, for each data set (default 5)\n"
    "  --directory DIR  where the logs are made: a disk, not tmpfs (default /var/tmp)\n"
    "  --log-size MB    of each log (default 1024)\n"
    "  --cpus A,B       sender and receiver, or emulator and stations (default: the first two)\n"
    "  --mtu N          of the link (default 1500; wan: more with --series memif only)\n"
    "  --congestion fixed|cubic|bbr     pipeline: the controller (default bbr); fixed is unpaced here\n"
    "  --quick          wan: nine cells, a few seconds each; log: one round\n"
    "  --cells LIST     wan: LOSS%:RTT_MS:random|burst, several with commas (default: all 36)\n"
    "  --senders LIST   wan: of hg-bbr,tcp-cubic,tcp-bbr (default: all)\n"
    "  --line MBIT      wan: the line's rate (default 400)\n"
    "  --series memif   wan: ours alone over memif, on a line of 4000 Mbit/s unless --line says else\n"
    "  --fairness       wan: two flows of ours and one of TCP CUBIC on one line instead\n"
    "  --latency        wan: of durable remote commits at light load, without and with FEC, instead\n"
    "  --verbose        wan: what each sender counted\n"
    "  --run DIR        feed, commits: the dataplane's directory\n"
    "  --stream NAME    feed, commits: the stream\n"
    "  --entry BYTES    commits: of each entry, random (default 128)\n"
    "  --waiters N      commits: entries that wait for their commit at any time (default 16)\n"
    "  --pace N         commits: entries a second at most, begun at even times (default: no limit)\n"
    "  --bytes GB       feed: how much (default 10)\n"
    "  --json           one JSON object\n"
    "\n"
    "Example:\n"
    "  perf/wal && helio-perf pipeline --data pgbench --seconds 10\n"
    "  helio-perf wan --cells 1:100:random,5:100:burst --senders hg-bbr,tcp-bbr\n";

bool hg_perf_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0;
}

int hg_perf_each_data(const struct hg_perf_options *options, uint64_t bytes_max,
                      struct hg_perf_report *report,
                      int (*f)(const struct hg_perf_options *options, const struct hg_perf_data *data,
                               struct hg_perf_report *report))
{
    static const char *const names[] = {HG_PERF_DATA_NAMES};
    bool all = strcmp(options->data, "all") == 0;
    char error[512];
    int rc = 0;
    for (size_t i = 0; i < (all ? HG_COUNT(names) : 1) && rc == 0; i++) {
        struct hg_perf_data data;
        rc = hg_perf_data_load(&data, all ? names[i] : options->data, options->wal, bytes_max, error,
                               sizeof(error));
        if (rc != 0) {
            fprintf(stderr, "helio-perf: %s\n", error);
            return rc;
        }
        rc = f(options, &data, report);
        hg_perf_data_free(&data);
    }
    return rc;
}

static bool number(const char *text, double least, double most, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && *value >= least && *value <= most;
}

static void cpus_default(int cpus[2])
{
    cpu_set_t set;
    int count = 0;
    cpus[0] = cpus[1] = 0;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return;
    for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++)
        if (CPU_ISSET((size_t)cpu, &set))
            cpus[count++] = cpu;
    if (count == 1)
        cpus[1] = cpus[0];
}

static bool cpus_parse(const char *text, int cpus[2])
{
    char *end;
    long a = strtol(text, &end, 10);
    if (end == text || *end != ',')
        return false;
    const char *second = end + 1;
    long b = strtol(second, &end, 10);
    if (end == second || *end != '\0' || a < 0 || b < 0 || a >= CPU_SETSIZE || b >= CPU_SETSIZE)
        return false;
    cpus[0] = (int)a;
    cpus[1] = (int)b;
    return true;
}

static bool congestion_parse(const char *text, uint32_t *congestion)
{
    static const char *const names[] = {[HG_CONFIG_CONGESTION_FIXED] = "fixed",
                                        [HG_CONFIG_CONGESTION_CUBIC] = "cubic",
                                        [HG_CONFIG_CONGESTION_BBR] = "bbr"};
    for (uint32_t i = 0; i < HG_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *congestion = i;
            return true;
        }
    }
    return false;
}

static bool flag_take(int c, struct hg_perf_options *options)
{
    switch (c) {
    case 'q':
        options->quick = true;
        return true;
    case 'F':
        options->fairness = true;
        return true;
    case 'T':
        options->latency = true;
        return true;
    case 'v':
        options->verbose = true;
        return true;
    case 'j':
        options->json = true;
        return true;
    default:
        return false;
    }
}

static bool commits_option_take(int c, struct hg_perf_options *options)
{
    double value;
    if (c != 'e' && c != 'n' && c != 'p')
        return flag_take(c, options);
    if (!number(optarg, 1, 1 << 20, &value))
        return false;
    *(c == 'e'   ? &options->entry_bytes
      : c == 'n' ? &options->waiters
                 : &options->pace_per_s) = (uint32_t)value;
    return true;
}

static bool option_take(int c, struct hg_perf_options *options)
{
    double value;
    switch (c) {
    case 'd':
        options->data = optarg;
        return true;
    case 'w':
        options->wal = optarg;
        return true;
    case 's':
        options->seconds_given = true;
        return number(optarg, 0.1, 3600, &options->seconds);
    case 'D':
        options->directory = optarg;
        return true;
    case 'l':
        if (!number(optarg, 256, 1 << 20, &value))
            return false;
        options->log_bytes = (uint64_t)value << 20;
        return true;
    case 'c':
        return cpus_parse(optarg, options->cpus);
    case 'm':
        if (!number(optarg, 576, 9000, &value))
            return false;
        options->mtu_bytes = (uint32_t)value;
        return true;
    case 'C':
        return congestion_parse(optarg, &options->congestion);
    case 'b':
        if (!number(optarg, 0.01, 10000, &value))
            return false;
        options->feed_bytes = (uint64_t)(value * 1e9);
        return true;
    case 'r':
        options->run = optarg;
        return true;
    case 't':
        options->stream = optarg;
        return true;
    case 'M':
        options->memif = strcmp(optarg, "memif") == 0;
        return options->memif;
    case 'E':
        options->cells = optarg;
        return true;
    case 'S':
        options->senders = optarg;
        return true;
    case 'L':
        if (!number(optarg, 1, 100000, &value))
            return false;
        options->line_bits = (uint64_t)(value * 1e6);
        return true;
    default:
        return commits_option_take(c, options);
    }
}

static const struct {
    const char *name;
    int (*run)(const struct hg_perf_options *options, struct hg_perf_report *report);
} benches[] = {
    {"stages", hg_perf_stages},     {"lanes", hg_perf_lanes},     {"pipeline", hg_perf_pipeline},
    {"emulator", hg_perf_emulator}, {"wan", hg_perf_wan},         {"log", hg_perf_log},
    {"feed", hg_perf_feed},         {"commits", hg_perf_commits}, {"reading", hg_perf_reading},
};

int main(int argc, char **argv)
{
    static const struct option words[] = {{"data", required_argument, NULL, 'd'},
                                          {"wal", required_argument, NULL, 'w'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"directory", required_argument, NULL, 'D'},
                                          {"log-size", required_argument, NULL, 'l'},
                                          {"cpus", required_argument, NULL, 'c'},
                                          {"mtu", required_argument, NULL, 'm'},
                                          {"congestion", required_argument, NULL, 'C'},
                                          {"bytes", required_argument, NULL, 'b'},
                                          {"run", required_argument, NULL, 'r'},
                                          {"stream", required_argument, NULL, 't'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {"cells", required_argument, NULL, 'E'},
                                          {"senders", required_argument, NULL, 'S'},
                                          {"line", required_argument, NULL, 'L'},
                                          {"series", required_argument, NULL, 'M'},
                                          {"fairness", no_argument, NULL, 'F'},
                                          {"latency", no_argument, NULL, 'T'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"entry", required_argument, NULL, 'e'},
                                          {"waiters", required_argument, NULL, 'n'},
                                          {"pace", required_argument, NULL, 'p'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    static struct hg_perf_report report;
    struct hg_perf_options options = {.data = "all",
                                      .directory = "/var/tmp",
                                      .seconds = 5,
                                      .mtu_bytes = 1500,
                                      .congestion = HG_CONFIG_CONGESTION_BBR};
    int c;
    options.feed_bytes = UINT64_C(10000000000);
    cpus_default(options.cpus);
    while ((c = getopt_long(argc, argv, "", words, NULL)) >= 0) {
        if (c == 'h') {
            fputs(usage, stdout);
            return 0;
        }
        if (!option_take(c, &options)) {
            fprintf(stderr, "helio-perf: %s: not understood\n%s", argv[optind - 1], usage);
            return 2;
        }
    }
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        return 2;
    }
    report.bench = argv[optind];
    size_t at = 0;
    while (at < HG_COUNT(benches) && strcmp(report.bench, benches[at].name) != 0)
        at++;
    if (at == HG_COUNT(benches)) {
        fprintf(stderr, "helio-perf: no benchmark is called '%s'\n%s", report.bench, usage);
        return 2;
    }
    if (benches[at].run(&options, &report) != 0)
        return 1;
    hg_perf_report_print(&report, options.json);
    return 0;
}
