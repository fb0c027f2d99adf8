/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf pipeline: two processes pinned to two cores, a real worker with a real log in each, memif
 * between them. What is counted is durable at the receiver.
 */
#include "perf/node.h"
#include "perf/perf.h"
#include "perf/replay.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_BYTES_DEFAULT (UINT64_C(1) << 30)
#define WARM_NS           HG_NS_PER_S
#define CONNECT_NS        (30 * HG_NS_PER_S)
#define LOOK_NS           (2 * HG_NS_PER_MS)
#define MTU_SOCKET_BYTES  18u

/* Written by one process each, read by the parent. */
struct side {
    _Atomic uint64_t lsn_durable HG_CACHE_ALIGNED;
    _Atomic uint64_t frames_durable;
    _Atomic uint64_t raw_bytes; /* given to the log */
    _Atomic uint64_t stored_bytes;
    _Atomic uint64_t batches;
    _Atomic uint64_t writes;
    _Atomic uint64_t flushes;
    _Atomic uint64_t packets_sent;
    _Atomic uint64_t packets_lost;
    _Atomic uint64_t turns;
    _Atomic uint64_t turns_idle;
    _Atomic uint64_t cpu_us;
    _Atomic uint64_t pass_lsns; /* sender: what one pass of its ring covers */
    _Atomic uint64_t pass_bytes;
    _Atomic bool ready;
    _Atomic bool failed;
};

struct shared {
    struct side sides[2];
    _Atomic bool start;
    _Atomic bool stop;
};

struct pipeline {
    const struct hg_perf_options *options;
    const struct hg_perf_data *data;
    struct shared *shared;
    char directory[PATH_MAX - 64];
    char log_paths[2][PATH_MAX];
    char devargs[2][PATH_MAX];
    pid_t children[2];
};

/* ---- a child ---- */

static void side_publish(struct side *side, struct hg_perf_node *node)
{
    struct hg_worker *worker = node->worker;
    const struct hg_stream_state *s = hg_streams_at(worker->streams, 0);
    struct hg_log_stats log;
    struct rusage usage;
    hg_log_stats_get(worker->log, &log);
    getrusage(RUSAGE_SELF, &usage);
    side->raw_bytes = s->raw_bytes;
    side->stored_bytes = s->stored_bytes;
    side->batches = s->batches_count;
    side->writes = log.writes;
    side->flushes = log.flushes;
    side->turns = worker->turns_count;
    side->turns_idle = worker->turns_idle_count;
    side->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    const struct hg_peer *peer = hg_peers_at(worker->peers, 0);
    if (peer->current >= 0) {
        const struct hg_lane_stats *lane = hg_lane_stats(peer->sessions[peer->current].lane);
        side->packets_sent = lane->packets_sent;
        side->packets_lost = lane->packets_lost;
    }
    atomic_store_explicit(&side->lsn_durable, s->lsn_durable, memory_order_release);
}

static int child_open(struct pipeline *pipeline, int index, struct hg_perf_node *node,
                      struct hg_perf_replay *replay, char *error, size_t error_bytes)
{
    const struct hg_perf_options *options = pipeline->options;
    struct hg_perf_node_options node_options = {.name = index == 0 ? "a" : "b",
                                                .directory = pipeline->directory,
                                                .log_path = pipeline->log_paths[index],
                                                .devargs = pipeline->devargs[index],
                                                .cpu = options->cpus[index],
                                                .mtu_bytes = options->mtu_bytes,
                                                .rate_bytes_per_s = options->rate_bytes_per_s,
                                                .congestion = options->congestion};
    int rc = hg_perf_node_open(node, &node_options, error, error_bytes);
    if (rc == 0)
        hg_perf_node_link(node, &node_options, pipeline->data->kind);
    while (rc == 0 && !node->port->link_up && !pipeline->shared->stop)
        (void)hg_perf_node_turn(node);
    if (rc == 0 && index == 0) {
        rc = hg_perf_replay_open(replay, node, pipeline->data, error, error_bytes);
        pipeline->shared->sides[0].pass_lsns = replay->pass_lsns;
        pipeline->shared->sides[0].pass_bytes = replay->pass_bytes;
    }
    return rc;
}

static int child_run(struct pipeline *pipeline, int index)
{
    struct side *side = &pipeline->shared->sides[index];
    struct hg_perf_node node;
    struct hg_perf_replay replay;
    char error[512] = "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (child_open(pipeline, index, &node, &replay, error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-perf: %s\n", error);
        side->failed = true;
        return 1;
    }
    uint64_t published_ns = 0;
    side->ready = true;
    while (!pipeline->shared->stop) {
        if (!hg_perf_node_turn(&node)) {
            fprintf(stderr, "helio-perf: %s\n", hg_log_message(node.worker->log));
            side->failed = true;
            return 1;
        }
        if (index == 0)
            hg_perf_replay_step(&replay);
        if (node.worker->now_ns - published_ns >= LOOK_NS / 4) {
            published_ns = node.worker->now_ns;
            side_publish(side, &node);
        }
    }
    return 0;
}

/* ---- the parent ---- */

struct sample {
    uint64_t now_ns;
    uint64_t lsn;
    uint64_t raw_bytes, stored_bytes, batches;
    uint64_t writes[2], flushes[2], cpu_us[2], packets[2], lost;
};

static void sample_take(const struct pipeline *pipeline, struct sample *sample)
{
    struct hg_clock *clock = hg_clock_tsc();
    struct side *sides = pipeline->shared->sides;
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

static void look_later(void)
{
    struct timespec wait = {.tv_nsec = (long)LOOK_NS};
    nanosleep(&wait, NULL);
}

/* Waits until `condition` of the children; false at the deadline or when one fails. */
static bool wait_for(const struct pipeline *pipeline, bool (*condition)(const struct shared *shared),
                     uint64_t ns)
{
    struct hg_clock *clock = hg_clock_tsc();
    uint64_t until_ns = clock->now_ns(clock) + ns;
    while (!condition(pipeline->shared)) {
        if (pipeline->shared->sides[0].failed || pipeline->shared->sides[1].failed ||
            clock->now_ns(clock) >= until_ns || waitpid(-1, NULL, WNOHANG) > 0)
            return false;
        look_later();
    }
    return true;
}

static bool both_ready(const struct shared *shared)
{
    return shared->sides[0].ready && shared->sides[1].ready;
}

static bool is_flowing(const struct shared *shared)
{
    return shared->sides[1].batches > 100;
}

static bool never(const struct shared *shared)
{
    (void)shared;
    return false;
}

static int measure(const struct pipeline *pipeline, struct sample *from, struct sample *to)
{
    const struct shared *shared = pipeline->shared;
    bool flows = wait_for(pipeline, both_ready, CONNECT_NS) && wait_for(pipeline, is_flowing, CONNECT_NS);
    if (flows) {
        (void)wait_for(pipeline, never, WARM_NS);
        sample_take(pipeline, from);
        (void)wait_for(pipeline, never, (uint64_t)(pipeline->options->seconds * 1e9));
        sample_take(pipeline, to);
    }
    if (flows && !shared->sides[0].failed && !shared->sides[1].failed && to->lsn > from->lsn)
        return 0;
    fprintf(stderr, "helio-perf: nothing becomes durable at the receiver (ready %d %d)\n",
            shared->sides[0].ready, shared->sides[1].ready);
    return -ETIMEDOUT;
}

static int paths_make(struct pipeline *pipeline)
{
    char error[512];
    uint64_t bytes = pipeline->options->log_bytes != 0 ? pipeline->options->log_bytes : LOG_BYTES_DEFAULT;
    uint32_t frame_bytes =
        (uint32_t)hg_max_u64(2048, hg_align_up(pipeline->options->mtu_bytes + MTU_SOCKET_BYTES, 64));
    snprintf(pipeline->directory, sizeof(pipeline->directory), "%s/helio-perf-XXXXXX",
             pipeline->options->directory);
    if (mkdtemp(pipeline->directory) == NULL) {
        fprintf(stderr, "helio-perf: no directory in %s: %s; name another with --directory\n",
                pipeline->options->directory, strerror(errno));
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(pipeline->log_paths[i], sizeof(pipeline->log_paths[i]), "%s/log-%c", pipeline->directory,
                 'a' + i);
        snprintf(pipeline->devargs[i], sizeof(pipeline->devargs[i]),
                 "net_memif0,role=%s,id=0,socket=%.200s/memif,socket-abstract=no,bsize=%u,rsize=10",
                 i == 0 ? "client" : "server", pipeline->directory, frame_bytes);
        int rc = hg_perf_log_create(pipeline->log_paths[i], bytes, error, sizeof(error));
        if (rc != 0) {
            fprintf(stderr, "helio-perf: %s\n", error);
            return rc;
        }
    }
    return 0;
}

static void paths_remove(const struct pipeline *pipeline)
{
    char command[PATH_MAX + 16];
    pid_t child = fork();
    snprintf(command, sizeof(command), "%s", pipeline->directory);
    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", command, (char *)NULL);
        _exit(127);
    }
    if (child > 0)
        (void)waitpid(child, NULL, 0);
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

static void results_add(const struct pipeline *pipeline, const struct sample *from, const struct sample *to,
                        const struct lz4_alone *alone, struct hg_perf_report *report)
{
    const struct hg_perf_data *data = pipeline->data;
    const struct side *sender = &pipeline->shared->sides[0];
    double seconds = (double)(to->now_ns - from->now_ns) / 1e9;
    double lsns = (double)(to->lsn - from->lsn);
    double bytes = lsns / (double)sender->pass_lsns * (double)sender->pass_bytes;
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

static int children_run(struct pipeline *pipeline, struct sample *from, struct sample *to)
{
    for (int i = 1; i >= 0; i--) { /* the memif server first */
        pipeline->children[i] = fork();
        if (pipeline->children[i] == 0)
            _exit(child_run(pipeline, i));
        if (pipeline->children[i] < 0)
            return -errno;
    }
    int rc = measure(pipeline, from, to);
    pipeline->shared->stop = true;
    for (int i = 0; i < 2; i++)
        (void)waitpid(pipeline->children[i], NULL, 0);
    return rc;
}

static int pipeline_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                         struct hg_perf_report *report)
{
    struct pipeline pipeline = {.options = options, .data = data};
    struct hg_perf_data framed;
    struct lz4_alone alone = {0};
    struct sample from, to;
    pipeline.shared =
        mmap(NULL, sizeof(*pipeline.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    hg_assert(pipeline.shared != MAP_FAILED);
    hg_perf_data_framed(data, &framed);
    lz4_alone_add(&alone, data, &framed, options->seconds / 8);
    int rc = paths_make(&pipeline);
    if (rc == 0)
        rc = children_run(&pipeline, &from, &to);
    lz4_alone_add(&alone, data, &framed, options->seconds / 8);
    hg_perf_data_free(&framed);
    if (rc == 0)
        results_add(&pipeline, &from, &to, &alone, report);
    paths_remove(&pipeline);
    munmap(pipeline.shared, sizeof(*pipeline.shared));
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
