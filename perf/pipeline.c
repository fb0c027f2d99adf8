/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf pipeline: two processes pinned to two cores, a real worker with a real log in each, memif
 * between them. What is counted is durable at the receiver.
 */
#include "perf/pair.h"

#include "drivers/clock/clock.h"
#include "perf/replay.h"

#include <errno.h>
#include <stdio.h>

#define WARM_NS          HG_NS_PER_S
#define MTU_SOCKET_BYTES 18u

struct sample {
    uint64_t now_ns;
    uint64_t lsn;
    uint64_t raw_bytes, stored_bytes, batches;
    uint64_t writes[2], flushes[2], cpu_us[2], packets[2], lost;
};

static void sample_take(const struct hg_perf_pair *pair, struct sample *sample)
{
    struct hg_clock *clock = hg_clock_tsc();
    struct hg_perf_side *sides = pair->shared->sides;
    sample->now_ns = clock->now_ns(clock);
    sample->lsn = atomic_load_explicit(&sides[1].lsn_durable, memory_order_acquire);
    sample->raw_bytes = sides[1].raw_bytes;
    sample->stored_bytes = sides[1].stored_bytes;
    sample->batches = sides[1].batches;
    for (int i = 0; i < 2; i++) {
        sample->writes[i] = sides[i].writes;
        sample->flushes[i] = sides[i].flushes;
        sample->cpu_us[i] = sides[i].cpu_us;
        sample->packets[i] = sides[i].packets_sent;
    }
    sample->lost = sides[0].packets_lost;
}

static int measure(const struct hg_perf_pair *pair, struct sample *from, struct sample *to)
{
    int rc = hg_perf_pair_wait_flowing(pair);
    if (rc != 0)
        return rc;
    bool runs = hg_perf_pair_pass(pair, WARM_NS);
    sample_take(pair, from);
    runs = runs && hg_perf_pair_pass(pair, (uint64_t)(pair->options->seconds * 1e9));
    sample_take(pair, to);
    if (runs && to->lsn > from->lsn)
        return 0;
    fprintf(stderr, "helio-perf: nothing more becomes durable at the receiver\n");
    return -ETIMEDOUT;
}

static void devargs_make(struct hg_perf_pair *pair)
{
    uint32_t frame_bytes =
        (uint32_t)hg_max_u64(2048, hg_align_up(pair->options->mtu_bytes + MTU_SOCKET_BYTES, 64));
    for (int i = 0; i < 2; i++)
        snprintf(pair->devargs[i], sizeof(pair->devargs[i]),
                 "net_memif0,role=%s,id=0,socket=%.200s/memif,socket-abstract=no,bsize=%u,rsize=10",
                 i == 0 ? "client" : "server", pair->directory, frame_bytes);
    pair->receiver_first = true;
}

/* LZ4 alone before and after a run, in bytes of the user's data: over that data, and over the same frames
 * with their headers, which is what a worker has to compress. */
struct lz4_alone {
    double bytes_per_s;
    double framed_bytes_per_s;
};

static void lz4_alone_add(struct lz4_alone *alone, const struct hg_perf_data *data,
                          const struct hg_perf_data *framed, double seconds)
{
    double ratio, share = (double)data->bytes_count / (double)framed->bytes_count;
    alone->bytes_per_s += hg_perf_lz4_bytes_per_s(data, seconds, &ratio) / 2;
    alone->framed_bytes_per_s += hg_perf_lz4_bytes_per_s(framed, seconds, &ratio) * share / 2;
}

static void results_add(const struct hg_perf_pair *pair, const struct sample *from, const struct sample *to,
                        const struct lz4_alone *alone, struct hg_perf_report *report)
{
    const struct hg_perf_data *data = pair->data;
    double seconds = (double)(to->now_ns - from->now_ns) / 1e9;
    double lsns = (double)(to->lsn - from->lsn);
    double bytes = hg_perf_pair_bytes(pair, to->lsn - from->lsn);
    double frames = data->kind == HG_STREAM_POSTGRES_PHYSICAL ? bytes / (double)data->frames[0].bytes : lsns;
    const char *name = data->name;
    hg_perf_report_add(report, bytes / seconds, "raw_bytes_per_s/data=%s", name);
    hg_perf_report_add(report, frames / seconds, "frames_per_s/bytes=%u", data->frames[0].bytes);
    hg_perf_report_add(report, alone->bytes_per_s, "lz4_alone_bytes_per_s/data=%s", name);
    hg_perf_report_add(report, bytes / seconds / alone->bytes_per_s, "lz4_share/data=%s", name);
    hg_perf_report_add(report, bytes / seconds / alone->framed_bytes_per_s, "lz4_framed_share/data=%s", name);
    hg_perf_report_add(
        report, (double)(to->raw_bytes - from->raw_bytes) / (double)(to->stored_bytes - from->stored_bytes),
        "ratio/data=%s", name);
    for (int i = 0; i < 2; i++) {
        char side = (char)('a' + i);
        hg_perf_report_add(report, (double)(to->cpu_us[i] - from->cpu_us[i]) / 1e6 / seconds,
                           "cpu_share/data=%s/side=%c", name, side);
        hg_perf_report_add(report, bytes * 1e6 / (double)(to->cpu_us[i] - from->cpu_us[i]),
                           "raw_bytes_per_cpu_s/data=%s/side=%c", name, side);
        hg_perf_report_add(report, (double)(to->writes[i] - from->writes[i]) / seconds,
                           "log_writes_per_s/data=%s/side=%c", name, side);
        hg_perf_report_add(report, (double)(to->flushes[i] - from->flushes[i]) / seconds,
                           "log_flushes_per_s/data=%s/side=%c", name, side);
    }
    hg_perf_report_add(report, (double)(to->packets[0] - from->packets[0]) / seconds, "packets_per_s/data=%s",
                       name);
    hg_perf_report_add(report, (double)(to->lost - from->lost), "packets_lost_count/data=%s", name);
}

static int pipeline_run(struct hg_perf_pair *pair, struct sample *from, struct sample *to)
{
    devargs_make(pair);
    int rc = hg_perf_pair_start(pair);
    if (rc == 0)
        rc = measure(pair, from, to);
    hg_perf_pair_stop(pair);
    return rc;
}

static int pipeline_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                         struct hg_perf_report *report)
{
    struct hg_perf_pair pair;
    struct hg_perf_data framed;
    struct lz4_alone alone = {0};
    struct sample from, to;
    hg_perf_data_framed(data, &framed);
    lz4_alone_add(&alone, data, &framed, options->seconds / 8);
    int rc = hg_perf_pair_make(&pair, options, data);
    if (rc == 0)
        rc = pipeline_run(&pair, &from, &to);
    lz4_alone_add(&alone, data, &framed, options->seconds / 8);
    hg_perf_data_free(&framed);
    if (rc == 0)
        results_add(&pair, &from, &to, &alone, report);
    hg_perf_pair_free(&pair);
    return rc;
}

int hg_perf_pipeline(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    if (!hg_perf_pin(options->cpus[0])) {
        fprintf(stderr, "helio-perf: may not run on CPU %d: name others with --cpus\n", options->cpus[0]);
        return -EPERM;
    }
    return hg_perf_each_data(options, HG_PERF_RING_BYTES_MAX, report, pipeline_data);
}
