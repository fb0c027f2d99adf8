/* SPDX-License-Identifier: Apache-2.0
 *
 * The benchmarks of helio-perf.
 */
#ifndef HG_PERF_PERF_H
#define HG_PERF_PERF_H

#include "perf/data.h"
#include "perf/report.h"

struct hg_perf_options {
    const char *data; /* a data set, or "all" */
    const char *wal;  /* NULL = the cached one */
    const char *directory;
    double seconds;
    bool seconds_given;
    uint32_t mtu_bytes;
    uint64_t log_bytes;
    uint64_t rate_bytes_per_s; /* towards the receiver; 0 = no limit */
    uint32_t congestion;       /* enum hg_config_congestion */
    int cpus[2];
    bool json;
    bool quick;
    bool verbose;
    /* wan */
    const char *cells;   /* NULL = all */
    const char *senders; /* NULL = all */
    uint64_t line_bits;  /* a second; 0 = the default */
    bool memif;          /* ours alone, over memif */
    bool fairness;
    bool latency;
    /* feed */
    const char *run;
    const char *stream;
    uint64_t feed_bytes;
    /* commits */
    uint32_t entry_bytes; /* 0 = the default */
    uint32_t waiters;     /* the same */
    uint32_t pace_per_s;  /* 0 = no limit */
};

/* Each adds to the report; 0, or -errno after a sentence on standard error. */
int hg_perf_stages(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_lanes(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_pipeline(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_emulator(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_wan(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_log(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_reading(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_feed(const struct hg_perf_options *options, struct hg_perf_report *report);
int hg_perf_commits(const struct hg_perf_options *options, struct hg_perf_report *report);

/* Calls f for each data set that options name. */
int hg_perf_each_data(const struct hg_perf_options *options, uint64_t bytes_max,
                      struct hg_perf_report *report,
                      int (*f)(const struct hg_perf_options *options, const struct hg_perf_data *data,
                               struct hg_perf_report *report));
/* Runs this thread on one CPU; false = not allowed to. */
bool hg_perf_pin(int cpu);

#endif
