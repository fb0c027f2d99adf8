/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/lcore.h"
#include "dataplane/disk_failures.h"
#include "dataplane/idle.h"
#include "dataplane/worker.h"
#include "drivers/disk/disk.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define DISK_DEPTH      128u
#define REQUEST_WAIT_NS (100 * HG_NS_PER_MS) /* then it looks whether the process is to stop */

struct lcore_log {
    struct hg_worker *worker; /* NULL = not open */
    struct hg_disk *disk;
    void *arena;
    uint64_t arena_bytes;
    struct hg_config_node node; /* as it was opened */
    struct hg_config_log log;
};

static_assert(HG_NODE_WORKERS_MAX <= HG_IDLE_WORKERS_MAX, "one lcore may run all workers");

struct lcore {
    struct hg_node *node;
    uint32_t index;
    struct lcore_log logs[HG_NODE_WORKERS_MAX]; /* by worker */
    struct hg_idle idle;
};

static void doorbell(void *ctx, int fd)
{
    (void)ctx;
    eventfd_write(fd, 1);
}

/* ---- logs ---- */

static bool arena_map(struct lcore_log *own, const struct hg_config_log *log, char *error, size_t error_bytes)
{
    uint64_t bytes = log->arena_bytes != 0 ? log->arena_bytes : HG_WORKER_LOG_ARENA_BYTES;
    bytes = hg_max_u64(bytes, hg_log_arena_bytes_min(HG_LOG_WRITE_PAYLOAD_BYTES_MAX));
    own->arena_bytes = hg_align_up(bytes, 2u << 20);
    own->arena = hg_disk_memory_map(own->arena_bytes);
    if (own->arena == NULL) {
        snprintf(error, error_bytes, "log %u: no %llu MB of memory for its writes: lower `memory`", log->id,
                 (unsigned long long)(own->arena_bytes >> 20));
        return false;
    }
    return true;
}

static void log_close(struct lcore_log *own)
{
    if (own->worker == NULL)
        return;
    hg_worker_free(own->worker);
    own->disk->close(own->disk);
    hg_disk_memory_unmap(own->arena, own->arena_bytes);
    own->worker = NULL;
}

/* Half of the machine, in equal shares: what all peers together may have under way to a worker. */
static uint64_t receive_bytes_total(uint32_t workers)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2 / workers;
}

static bool log_open(struct lcore *lcore, uint32_t index, const struct hg_start *start, char *error,
                     size_t error_bytes)
{
    struct hg_node *node = lcore->node;
    struct lcore_log *own = &lcore->logs[index];
    struct hg_node_worker *shared = &node->workers[index];
    const struct hg_config_log *log = &start->logs[index];
    if (own->worker != NULL && memcmp(&own->log, log, sizeof(*log)) == 0 &&
        memcmp(&own->node, &start->node, sizeof(own->node)) == 0)
        return true; /* since an earlier request */
    log_close(own);
    own->log = *log;
    own->node = start->node;
    if (!arena_map(own, log, error, error_bytes))
        return false;
    own->disk = hg_disk_uring_open(log->path, own->arena, own->arena_bytes, DISK_DEPTH,
                                   &shared->log_registered, error, error_bytes);
    if (own->disk == NULL) {
        hg_disk_memory_unmap(own->arena, own->arena_bytes);
        return false;
    }
    static_assert((int)HG_CONFIG_FLUSH_GROUP == HG_DISK_SYNC_GROUP &&
                      (int)HG_CONFIG_FLUSH_DSYNC == HG_DISK_SYNC_DSYNC,
                  "the same numbers");
    hg_disk_uring_sync_set(own->disk, log->path, (enum hg_disk_sync)log->flush);
    hg_disk_uring_cpus_set(own->disk, &node->housekeeping_cpus);
    uint64_t scrub_mbytes_per_s = log->scrub_mbytes_per_s == HG_CONFIG_SCRUB_OFF ? 0
                                  : log->scrub_mbytes_per_s == 0                 ? HG_CONFIG_SCRUB_MBYTES
                                                                                 : log->scrub_mbytes_per_s;
    shared->log_size_bytes = own->disk->size_bytes;
    struct hg_worker_config config = {
        .worker = index,
        .workers = node->worker_count,
        .handover = node->handover,
        .census = node->census,
        .next_hops = &node->next_hops,
        .clock = node->clock,
        .disk = own->disk,
        .log_arena = own->arena,
        .log_arena_bytes = own->arena_bytes,
        .log_scrub_bytes_per_s = scrub_mbytes_per_s * 1000000,
        .log_may_mark = log->has_peers != 0,
        .cluster = start->node.cluster,
        .region = start->node.region,
        .streams_max = HG_WORKER_STREAMS_MAX,
        .peers_max = HG_PEERS_MAX,
        .receive_bytes_total = receive_bytes_total(node->worker_count),
        .inbox = shared->to_worker,
        .outbox = shared->to_housekeeping,
        .doorbell = doorbell,
    };
    own->worker = hg_worker_init(&config);
    hg_assert(own->worker != NULL); /* the arena has its minimum */
    return true;
}

/* The logs of this lcore's workers; closes those that are not asked for any more. */
static bool logs_open(struct lcore *lcore, const struct hg_start *start, char *error, size_t error_bytes)
{
    bool all = true;
    for (uint32_t i = lcore->index; i < HG_NODE_WORKERS_MAX; i += lcore->node->lcore_count) {
        if (i >= start->log_count)
            log_close(&lcore->logs[i]);
        else
            all &= log_open(lcore, i, start, error, error_bytes);
    }
    return all;
}

static void request_wait(struct hg_start *start)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + REQUEST_WAIT_NS;
    until.tv_sec += (time_t)(ns / HG_NS_PER_S);
    until.tv_nsec = (long)(ns % HG_NS_PER_S);
    pthread_cond_timedwait(&start->changed, &start->mutex, &until);
}

/* Opens what housekeeping asks for until all lcores could. False = asked to stop. */
static bool logs_wait(struct lcore *lcore)
{
    struct hg_start *start = &lcore->node->start;
    uint64_t answered = 0;
    pthread_mutex_lock(&start->mutex);
    while (!lcore->node->stop && start->state != HG_START_DONE) {
        if (start->state != HG_START_REQUESTED || start->requests_count == answered) {
            request_wait(start);
            continue;
        }
        /* Opening takes its time: housekeeping, which asks for the state, must not wait for it. */
        struct hg_start own = {.node = start->node, .log_count = start->log_count};
        memcpy(own.logs, start->logs, sizeof(own.logs));
        answered = start->requests_count;
        pthread_mutex_unlock(&start->mutex);
        bool open = logs_open(lcore, &own, own.error, sizeof(own.error));
        pthread_mutex_lock(&start->mutex);
        if (!open && start->error[0] == '\0')
            memcpy(start->error, own.error, sizeof(start->error));
        hg_assert(start->lcores_pending > 0);
        if (--start->lcores_pending == 0) {
            start->state = start->error[0] == '\0' ? HG_START_DONE : HG_START_REFUSED;
            pthread_cond_broadcast(&start->changed);
            eventfd_write(lcore->node->housekeeping_eventfd, 1);
        }
    }
    bool done = start->state == HG_START_DONE;
    pthread_mutex_unlock(&start->mutex);
    return done && !lcore->node->stop;
}

/* ---- running ---- */

/* Why this process ends, for the control plane. */
static void end_set(struct hg_node *node, int code, const char *name, const char *text)
{
    node->end_code = code;
    node->end_name = name;
    snprintf(node->end_text, sizeof(node->end_text), "%.*s", (int)sizeof(node->end_text) - 1, text);
}

static void end_for_device(struct hg_node *node, const char *message)
{
    char why[HG_CONTROL_TEXT_BYTES + 512];
    int count = hg_disk_failures_add(node->run_dir, node->clock->realtime_ns(node->clock), message);
    if (count < 0)
        fprintf(stderr,
                "helio-dataplane: %s/disk.failures can't be written (%s): the next start doesn't know\n",
                node->run_dir, strerror(-count));
    end_set(node, HG_EXIT_LOG_FAILED, "log_device", message);
    if (hg_disk_failures_allow(node->run_dir, why, sizeof(why)))
        return;
    fprintf(stderr, "helio-dataplane: disk_failed: %s\n", why);
    end_set(node, HG_EXIT_DISK_FAILED, "disk_failed", why);
}

static int worker_failed(struct hg_node *node, const struct lcore_log *own)
{
    const struct hg_worker *worker = own->worker;
    const char *message = hg_log_message(worker->log);
    bool unusable = hg_log_is_unusable(worker->log);
    bool corrupt = hg_log_is_corrupt(worker->log) || unusable || hg_streams_recovery_broken(worker->streams);
    fprintf(stderr, "helio-dataplane: %s: %s\n", own->log.path, message);
    pthread_mutex_lock(&node->start.mutex); /* the first one says why, and the process ends no sooner */
    if (!node->failed && corrupt)
        end_set(node, HG_EXIT_LOG_CORRUPT, unusable ? "log_unusable" : "log_corrupt", message);
    else if (!node->failed)
        end_for_device(node, message);
    node->failed = true;
    pthread_mutex_unlock(&node->start.mutex);
    return node->end_code;
}

static void housekeeping_wake(struct hg_node *node, const struct hg_node_worker *shared)
{
    if (!node->housekeeping_sleeps || hg_mailbox_empty(shared->to_housekeeping))
        return;
    node->housekeeping_sleeps = false; /* one ring is enough */
    eventfd_write(node->housekeeping_eventfd, 1);
}

/* Until the process is to stop or a log fails. */
static int workers_run(struct lcore *lcore)
{
    struct hg_node *node = lcore->node;
    uint64_t active_ns = node->clock->now_ns(node->clock);
    while (!node->stop) {
        uint64_t deadline_ns = HG_TIME_NEVER, now_ns = 0;
        bool did = false;
        for (uint32_t i = lcore->index; i < node->worker_count; i += node->lcore_count) {
            struct hg_worker *worker = lcore->logs[i].worker;
            uint64_t after_ns;
            did |= hg_worker_turn(worker, &after_ns);
            if (worker->state == HG_WORKER_FAILED)
                return worker_failed(node, &lcore->logs[i]);
            housekeeping_wake(node, &node->workers[i]);
            deadline_ns = hg_min_u64(deadline_ns, after_ns);
            now_ns = worker->now_ns;
        }
        if (did)
            active_ns = now_ns;
        else if (node->idle == HG_IDLE_ADAPTIVE)
            hg_idle_wait(&lcore->idle, deadline_ns, active_ns);
    }
    return HG_EXIT_OK;
}

/* More lcores than logs: this one has nothing to run. */
static int nothing_run(struct hg_node *node)
{
    pthread_mutex_lock(&node->start.mutex);
    while (!node->stop)
        request_wait(&node->start);
    pthread_mutex_unlock(&node->start.mutex);
    return HG_EXIT_OK;
}

int hg_lcore_run(struct hg_node *node, uint32_t index)
{
    struct lcore lcore;
    memset(&lcore, 0, sizeof(lcore));
    lcore.node = node;
    lcore.index = index;
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (!logs_wait(&lcore))
        return HG_EXIT_OK;
    if (index >= node->worker_count)
        return nothing_run(node);
    lcore.idle.eventfd = node->lcores[index].eventfd;
    for (uint32_t i = index; i < node->worker_count; i += node->lcore_count) {
        lcore.idle.workers[lcore.idle.count] = lcore.logs[i].worker;
        lcore.idle.disk_fds[lcore.idle.count++] = hg_disk_uring_fd(lcore.logs[i].disk);
    }
    return workers_run(&lcore);
}
