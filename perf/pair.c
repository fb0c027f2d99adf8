/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/pair.h"
#include "perf/node.h"
#include "perf/replay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_BYTES_DEFAULT (UINT64_C(1) << 30)
#define CONNECT_NS        (30 * HG_NS_PER_S)
#define FLOWING_BATCHES   10u

/* ---- a child ---- */

static void side_publish(struct hg_perf_side *side, struct hg_perf_node *node)
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
    side->cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    const struct hg_peer *peer = hg_peers_at(worker->peers, 0);
    if (peer->current >= 0) {
        const struct hg_lane_stats *lane = hg_lane_stats(peer->sessions[peer->current].lane);
        side->packets_sent = lane->packets_sent;
        side->packets_lost = lane->packets_lost;
        side->packets_spurious = lane->packets_spurious;
        side->resent_bytes = lane->data_bytes_resent;
        side->credit_stalls = lane->credit_stalls;
        side->srtt_ns = lane->srtt_ns;
    }
    atomic_store_explicit(&side->lsn_durable, s->lsn_durable, memory_order_release);
}

/* What the sender sends: as fast as it goes, or at light load. */
struct producer {
    struct hg_perf_replay replay;
    struct hg_perf_light light;
};

static int producer_open(struct hg_perf_pair *pair, struct producer *producer, struct hg_perf_node *node,
                         char *error, size_t error_bytes)
{
    if (pair->light_ns != 0)
        return hg_perf_light_open(&producer->light, node, pair->data, pair->light_ns, &pair->shared->light,
                                  error, error_bytes);
    int rc = hg_perf_replay_open(&producer->replay, node, pair->data, error, error_bytes);
    pair->shared->sides[0].pass_lsns = producer->replay.pass_lsns;
    pair->shared->sides[0].pass_bytes = producer->replay.pass_bytes;
    return rc;
}

static int child_open(struct hg_perf_pair *pair, int index, struct hg_perf_node *node,
                      struct producer *producer, char *error, size_t error_bytes)
{
    const struct hg_perf_options *options = pair->options;
    struct hg_perf_node_options node_options = {
        .name = index == 0 ? "a" : "b",
        .directory = pair->directory,
        .log_path = pair->log_paths[index],
        .devargs = pair->devargs[index],
        .station = pair->stations[index],
        .station_other = pair->stations[1 - index],
        .cpu = pair->cpus[index],
        .mtu_bytes = options->mtu_bytes,
        .rate_bytes_per_s = pair->rate_bytes_per_s != 0 ? pair->rate_bytes_per_s : options->rate_bytes_per_s,
        .receive_bytes_max = pair->receive_bytes_max,
        .congestion = pair->congestion,
        .fec = pair->fec};
    int rc = hg_perf_node_open(node, &node_options, error, error_bytes);
    if (rc == 0)
        hg_perf_node_link(node, &node_options, pair->data->kind);
    while (rc == 0 && !hg_port_is_up(node->port) && !pair->shared->stop)
        (void)hg_perf_node_turn(node);
    if (rc == 0 && index == 0)
        rc = producer_open(pair, producer, node, error, error_bytes);
    return rc;
}

/* More is appended than the link takes: from there on it would measure reads of what left memory. */
static bool is_ahead(const struct hg_perf_pair *pair, const struct hg_perf_node *node)
{
    if (pair->unsent_bytes_max == 0)
        return false;
    const struct hg_stream_state *s = hg_streams_at(node->worker->streams, 0);
    const struct hg_peer_stream *sent = &hg_peers_at(node->worker->peers, 0)->streams[0];
    return s->lsn_taken > sent->lsn_next &&
           hg_perf_pair_bytes(pair, s->lsn_taken - sent->lsn_next) > (double)pair->unsent_bytes_max;
}

static int child_run(struct hg_perf_pair *pair, int index)
{
    struct hg_perf_side *side = &pair->shared->sides[index];
    static struct producer producer;
    struct hg_perf_node node;
    char error[512] = "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (child_open(pair, index, &node, &producer, error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-perf: %s\n", error);
        side->failed = true;
        return 1;
    }
    uint64_t published_ns = 0;
    side->ready = true;
    while (!pair->shared->stop) {
        if (!hg_perf_node_turn(&node)) {
            fprintf(stderr, "helio-perf: %s\n", hg_log_message(node.worker->log));
            side->failed = true;
            return 1;
        }
        if (index == 0 && pair->light_ns != 0)
            hg_perf_light_step(&producer.light, &node);
        else if (index == 0 && !is_ahead(pair, &node))
            hg_perf_replay_step(&producer.replay);
        if (node.worker->now_ns - published_ns >= HG_PERF_PAIR_LOOK_NS / 4) {
            published_ns = node.worker->now_ns;
            side_publish(side, &node);
        }
    }
    if (index == 0 && pair->light_ns != 0)
        hg_perf_light_close(&producer.light);
    return 0;
}

/* ---- the parent ---- */

int hg_perf_pair_make(struct hg_perf_pair *pair, const struct hg_perf_options *options,
                      const struct hg_perf_data *data)
{
    char error[512];
    uint64_t bytes = options->log_bytes != 0 ? options->log_bytes : LOG_BYTES_DEFAULT;
    memset(pair, 0, sizeof(*pair));
    pair->options = options;
    pair->data = data;
    memcpy(pair->cpus, options->cpus, sizeof(pair->cpus));
    pair->congestion = options->congestion;
    pair->stations[0] = 'a';
    pair->stations[1] = 'b';
    pair->shared =
        mmap(NULL, sizeof(*pair->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    hg_assert(pair->shared != MAP_FAILED);
    snprintf(pair->directory, sizeof(pair->directory), "%s/helio-perf-XXXXXX", options->directory);
    if (mkdtemp(pair->directory) == NULL) {
        fprintf(stderr, "helio-perf: no directory in %s: %s; name another with --directory\n",
                options->directory, strerror(errno));
        pair->directory[0] = '\0';
        return -errno;
    }
    for (int i = 0; i < 2; i++) {
        snprintf(pair->log_paths[i], sizeof(pair->log_paths[i]), "%s/log-%c", pair->directory, 'a' + i);
        int rc = hg_perf_log_create(pair->log_paths[i], bytes, error, sizeof(error));
        if (rc != 0) {
            fprintf(stderr, "helio-perf: %s\n", error);
            return rc;
        }
    }
    return 0;
}

int hg_perf_pair_start(struct hg_perf_pair *pair)
{
    memset(pair->shared, 0, sizeof(*pair->shared));
    for (int i = 0; i < 2; i++) {
        int index = pair->receiver_first ? 1 - i : i;
        pair->children[index] = fork();
        if (pair->children[index] == 0)
            _exit(child_run(pair, index));
        if (pair->children[index] < 0)
            return -errno;
    }
    return 0;
}

void hg_perf_pair_stop(struct hg_perf_pair *pair)
{
    pair->shared->stop = true;
    for (int i = 0; i < 2; i++)
        if (pair->children[i] > 0)
            (void)waitpid(pair->children[i], NULL, 0);
    pair->children[0] = pair->children[1] = 0;
}

void hg_perf_pair_free(struct hg_perf_pair *pair)
{
    if (pair->directory[0] != '\0')
        hg_perf_directory_remove(pair->directory);
    munmap(pair->shared, sizeof(*pair->shared));
}

static bool has_failed(const struct hg_perf_pair *pair)
{
    if (pair->shared->sides[0].failed || pair->shared->sides[1].failed)
        return true;
    for (int i = 0; i < 2; i++)
        if (pair->children[i] > 0 && waitpid(pair->children[i], NULL, WNOHANG) > 0)
            return true;
    return false;
}

bool hg_perf_pair_wait(const struct hg_perf_pair *pair,
                       bool (*condition)(const struct hg_perf_shared *shared), uint64_t ns)
{
    struct hg_clock *clock = hg_clock_tsc();
    struct timespec wait = {.tv_nsec = (long)HG_PERF_PAIR_LOOK_NS};
    uint64_t until_ns = clock->now_ns(clock) + ns;
    while (condition == NULL || !condition(pair->shared)) {
        if (clock->now_ns(clock) >= until_ns || has_failed(pair))
            return false;
        nanosleep(&wait, NULL);
    }
    return true;
}

bool hg_perf_pair_pass(const struct hg_perf_pair *pair, uint64_t ns)
{
    (void)hg_perf_pair_wait(pair, NULL, ns);
    return !has_failed(pair);
}

static bool both_ready(const struct hg_perf_shared *shared)
{
    return shared->sides[0].ready && shared->sides[1].ready;
}

static bool is_flowing(const struct hg_perf_shared *shared)
{
    return shared->sides[1].batches >= FLOWING_BATCHES;
}

int hg_perf_pair_wait_flowing(const struct hg_perf_pair *pair)
{
    if (hg_perf_pair_wait(pair, both_ready, CONNECT_NS) && hg_perf_pair_wait(pair, is_flowing, CONNECT_NS))
        return 0;
    fprintf(stderr, "helio-perf: nothing becomes durable at the receiver (ready %d %d)\n",
            pair->shared->sides[0].ready, pair->shared->sides[1].ready);
    return -ETIMEDOUT;
}

double hg_perf_pair_bytes(const struct hg_perf_pair *pair, uint64_t lsns)
{
    const struct hg_perf_side *sender = &pair->shared->sides[0];
    return (double)lsns / (double)sender->pass_lsns * (double)sender->pass_bytes;
}

void hg_perf_directory_remove(const char *directory)
{
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", directory, (char *)NULL);
        _exit(127);
    }
    if (child > 0)
        (void)waitpid(child, NULL, 0);
}
