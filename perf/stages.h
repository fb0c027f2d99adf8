/* SPDX-License-Identifier: Apache-2.0
 *
 * What the stages of a batch and the stages of a packet share.
 */
#ifndef HG_PERF_STAGES_H
#define HG_PERF_STAGES_H

#include "dataplane/wal/batch.h"
#include "perf/perf.h"

/* The sample of one data set on its way through the stages. */
struct hg_perf_sample {
    const struct hg_perf_data *data;
    struct hg_perf_report *report;
    double stage_ns; /* how long each stage is measured */
    bool quiet;

    struct hg_batch_builder *builders; /* open batches, raw bytes in place */
    uint8_t **sealed;
    uint32_t *sealed_bytes;
    uint32_t batch_count;
    uint64_t raw_bytes;    /* frame headers included */
    uint64_t stored_bytes; /* sealed */
    double packet_ns[2]; /* what the stages of a packet take together: sending, receiving; 0 = not measured */
};

/* Calls run(ctx), which does the whole sample once and returns the nanoseconds that count, for about
 * stage_ns; the median of the calls. */
double hg_perf_median_ns(const struct hg_perf_sample *sample, uint64_t (*run)(void *ctx), void *ctx);
/* A line of the table and its metrics: a stage over `bytes` bytes and `items` frames, batches or packets. */
void hg_perf_stage(const struct hg_perf_sample *sample, const char *stage, const char *item, double ns,
                   uint64_t bytes, uint64_t items);
/* The raw library call over the same. */
void hg_perf_stage_raw(const struct hg_perf_sample *sample, const char *stage, const char *call,
                       double stage_ns, double ns, uint64_t bytes);

/* Stages of packets: ESP and lanes. */
void hg_perf_stages_packets(struct hg_perf_sample *sample, uint32_t mtu_bytes);
/* Of parity, by its number of rows. */
void hg_perf_stages_parity(struct hg_perf_sample *sample, uint32_t mtu_bytes);
/* Sending to and receiving from 1 to 64 peers. */
void hg_perf_stages_lanes(struct hg_perf_sample *sample, uint32_t mtu_bytes);

#endif
