/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf log: the append path of the log (hg_log over io_uring: checksums, header blocks, header ring,
 * group commit) beside raw fio with the same writes, depth and flushes on the same file system, in turns; and
 * what a flush carries when many wait for it.
 */
#include "dataplane/wal/log_block.h"
#include "drivers/clock/clock.h"
#include "perf/fio.h"
#include "perf/perf.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define DISK_DEPTH        64u
#define LOG_BYTES_DEFAULT (1ull << 30)
#define SEGMENT_BYTES     (16u << 20)
#define ROUNDS            5u
#define ROUNDS_QUICK      1u
#define SECONDS_DEFAULT   1.0
#define WAITERS_MAX       1024u
#define SLEEP_NS          (50 * HG_NS_PER_US)

struct bench {
    const struct hg_perf_options *options;
    struct hg_perf_report *report;
    struct hg_clock *clock;
    char path[2][512]; /* ours, and fio's */
    uint64_t file_bytes;
    uint8_t
        *arena; /* the least a log takes: what sealing just wrote is in the cache, and so are fio's buffers */
    uint64_t arena_bytes;
    struct hg_disk *disk;
    struct hg_log *log;
    uint8_t batch[sizeof(struct hg_batch_header)];
    bool spins; /* never sleeps, as an lcore with --idle spin */
    char error[640];
};

/* One measurement. */
struct cell {
    uint32_t batch_bytes;
    uint32_t write_bytes; /* of payload at which a write is closed; 0 = as soon as the log wants */
    uint32_t waiters;     /* batches at most that are not durable; 0 = as many as the log takes */
    /* What was found. */
    double seconds;
    uint64_t commits;
    uint64_t writes, flushes, payload_bytes, written_bytes;
};

static int complain(struct bench *bench, int result)
{
    fprintf(stderr, "helio-perf: %s\n", bench->error);
    return result;
}

/* A turn; when there was nothing to do, a sleep as short as an active worker's, or none. */
static void turn(struct bench *bench)
{
    uint64_t deadline_ns;
    if (hg_log_turn(bench->log, bench->clock->now_ns(bench->clock), &deadline_ns) || bench->spins)
        return;
    struct pollfd wait = {.fd = hg_disk_uring_fd(bench->disk), .events = POLLIN};
    struct timespec sleep = {.tv_nsec = SLEEP_NS};
    ppoll(&wait, 1, &sleep, NULL);
}

static bool log_settle(struct bench *bench)
{
    hg_log_close_write(bench->log);
    while (hg_log_state(bench->log) == HG_LOG_READY &&
           hg_log_durable_sequence(bench->log) + 1 < hg_log_next_sequence(bench->log))
        turn(bench);
    if (hg_log_state(bench->log) == HG_LOG_READY)
        return true;
    snprintf(bench->error, sizeof(bench->error), "%s: %s", bench->path[0], hg_log_message(bench->log));
    return false;
}

static bool batch_append(struct bench *bench, const struct cell *cell, uint64_t *sequence)
{
    if (cell->write_bytes != 0 && hg_log_open_bytes(bench->log) >= cell->write_bytes)
        return false;
    uint8_t *out = hg_log_reserve(bench->log, cell->batch_bytes, NULL);
    if (out == NULL)
        return false;
    memcpy(out, bench->batch, sizeof(struct hg_batch_header)); /* sealing writes the rest in place */
    *sequence = hg_log_commit(bench->log, cell->batch_bytes);
    return true;
}

static bool write_is_due(const struct bench *bench, const struct cell *cell)
{
    return hg_log_wants_close(bench->log) &&
           hg_log_open_bytes(bench->log) >= hg_max_u64(1, cell->write_bytes);
}

static int cell_measure(struct bench *bench, struct cell *cell, double seconds)
{
    static uint64_t waiting[WAITERS_MAX]; /* the writes of the batches that are not durable, oldest first */
    uint64_t taken = 0, done = 0, sequence = 0;
    struct hg_log_stats before, after;
    if (!log_settle(bench))
        return complain(bench, -EIO);
    hg_log_stats_get(bench->log, &before);
    uint64_t begin_ns = bench->clock->now_ns(bench->clock);
    uint64_t end_ns = begin_ns + (uint64_t)(seconds * (double)HG_NS_PER_S);
    while (bench->clock->now_ns(bench->clock) < end_ns && hg_log_state(bench->log) == HG_LOG_READY) {
        while ((cell->waiters == 0 || taken - done < cell->waiters) && batch_append(bench, cell, &sequence)) {
            if (cell->waiters != 0)
                waiting[taken % WAITERS_MAX] = sequence;
            taken++;
        }
        if (write_is_due(bench, cell))
            hg_log_close_write(bench->log);
        turn(bench);
        uint64_t durable = hg_log_durable_sequence(bench->log);
        while (cell->waiters != 0 && done < taken && waiting[done % WAITERS_MAX] <= durable)
            done++;
        hg_log_release(bench->log, durable);
    }
    if (!log_settle(bench))
        return complain(bench, -EIO);
    cell->seconds += (double)(bench->clock->now_ns(bench->clock) - begin_ns) / (double)HG_NS_PER_S;
    hg_log_stats_get(bench->log, &after);
    cell->commits += taken;
    cell->writes += after.writes - before.writes;
    cell->flushes += after.flushes - before.flushes;
    cell->payload_bytes += after.payload_bytes - before.payload_bytes;
    cell->written_bytes += after.written_bytes - before.written_bytes;
    return 0;
}

/* ---- beside fio ---- */

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(values[0]), double_compare);
    return values[count / 2];
}

/* Writes of one size, ours and fio's in turns. fio's blocks are as large as ours with their header, and
 * flushed as often as ours were just before. */
static int share_measure(struct bench *bench, uint32_t write_bytes, double seconds, uint32_t rounds)
{
    double shares[ROUNDS], ours[ROUNDS], theirs[ROUNDS];
    double flush_writes = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        struct cell cell = {.batch_bytes = (uint32_t)hg_min_u64(write_bytes, HG_BATCH_RAW_BYTES_AIM),
                            .write_bytes = write_bytes};
        if (cell_measure(bench, &cell, seconds) != 0)
            return -EIO;
        double each = cell.flushes == 0 ? 1 : (double)cell.writes / (double)cell.flushes;
        struct hg_perf_fio fio = {.path = bench->path[1],
                                  .file_bytes = bench->file_bytes,
                                  .block_bytes = hg_log_write_bytes(write_bytes),
                                  .depth = write_bytes >= HG_LOG_WRITE_FULL_BYTES ? HG_LOG_WRITES_FULL_MAX
                                                                                  : HG_LOG_WRITES_GATHER_MAX,
                                  .flush_writes = (uint32_t)hg_max_u64(1, (uint64_t)(each + 0.5)),
                                  .seconds = seconds};
        if (hg_perf_fio_run(&fio, &theirs[i], bench->error, sizeof(bench->error)) != 0)
            return complain(bench, -EIO);
        ours[i] = (double)cell.payload_bytes / cell.seconds;
        shares[i] = ours[i] / theirs[i];
        flush_writes += each / rounds;
    }
    char cell_name[64];
    snprintf(cell_name, sizeof(cell_name), "write_kib=%u%s", write_bytes >> 10,
             bench->spins ? "/idle=spin" : "");
    hg_perf_report_add(bench->report, median(ours, rounds), "append_bytes_per_s/%s", cell_name);
    hg_perf_report_add(bench->report, median(theirs, rounds), "fio_bytes_per_s/%s", cell_name);
    hg_perf_report_add(bench->report, flush_writes, "writes_per_flush/%s", cell_name);
    double share = median(shares, rounds);
    hg_perf_report_add(bench->report, share, "append_share/peer=fio/%s", cell_name);
    if (write_bytes == HG_BATCH_RAW_BYTES_MAX && !bench->spins) /* what a worker gathers under load */
        hg_perf_report_add(bench->report, share, "append_share/peer=fio");
    return 0;
}

/* As on an lcore that never sleeps. */
static int share_measure_spinning(struct bench *bench, double seconds, uint32_t rounds)
{
    bench->spins = true;
    int result = share_measure(bench, HG_BATCH_RAW_BYTES_MAX, seconds, rounds);
    bench->spins = false;
    return result;
}

/* ---- commits ---- */

static int commits_measure(struct bench *bench, uint32_t batch_bytes, uint32_t waiters, double seconds)
{
    struct cell cell = {.batch_bytes = batch_bytes, .waiters = waiters};
    if (cell_measure(bench, &cell, seconds) != 0)
        return -EIO;
    hg_perf_report_add(bench->report, (double)cell.commits / cell.seconds,
                       "commits_per_s/bytes=%u/waiters=%u", batch_bytes, waiters);
    hg_perf_report_add(bench->report, (double)cell.commits / (double)hg_max_u64(1, cell.flushes),
                       "commits_per_flush/bytes=%u/waiters=%u", batch_bytes, waiters);
    return 0;
}

/* ---- around them ---- */

static int files_make(struct bench *bench)
{
    static const struct hg_log_ops ops;
    struct hg_log_geometry geometry = {.cluster = 1,
                                       .log_uuid = {1},
                                       .segment_bytes = SEGMENT_BYTES,
                                       .write_payload_bytes_max = HG_LOG_WRITE_PAYLOAD_BYTES_MAX};
    uint64_t log_bytes = bench->options->log_bytes != 0 ? bench->options->log_bytes : LOG_BYTES_DEFAULT;
    geometry.segment_count = (uint32_t)(log_bytes / SEGMENT_BYTES);
    bench->file_bytes = hg_log_file_bytes(&geometry);
    for (int i = 0; i < 2; i++) {
        snprintf(bench->path[i], sizeof(bench->path[i]), "%s/helio-perf-log-%d-%s", bench->options->directory,
                 (int)getpid(), i == 0 ? "ours" : "fio");
        int result = hg_disk_file_create(bench->path[i], bench->file_bytes, NULL, NULL, bench->error,
                                         sizeof(bench->error));
        if (result != 0) {
            bench->path[i][0] = 0; /* not ours to remove */
            return complain(bench, result);
        }
    }
    bench->disk = hg_disk_uring_open(bench->path[0], bench->arena, bench->arena_bytes, DISK_DEPTH, NULL,
                                     bench->error, sizeof(bench->error));
    if (bench->disk == NULL)
        return complain(bench, -EIO);
    if (hg_log_format(bench->disk, &geometry) != 0) {
        snprintf(bench->error, sizeof(bench->error), "%s cannot be made a log", bench->path[0]);
        return complain(bench, -EIO);
    }
    struct hg_log_config config = {
        .disk = bench->disk, .arena = bench->arena, .arena_bytes = bench->arena_bytes, .ops = &ops};
    bench->log = hg_log_open(&config);
    hg_assert(bench->log != NULL);
    while (hg_log_state(bench->log) == HG_LOG_RECOVERING)
        turn(bench);
    return log_settle(bench) ? 0 : complain(bench, -EIO);
}

static void files_remove(struct bench *bench)
{
    if (bench->disk != NULL)
        bench->disk->close(bench->disk);
    if (bench->log != NULL)
        hg_log_close(bench->log);
    for (int i = 0; i < 2; i++)
        if (bench->path[i][0] != 0)
            unlink(bench->path[i]);
}

static int all_measure(struct bench *bench)
{
    static const uint32_t writes_kib[] = {16, 64, 256, 1024};
    static const uint32_t commit_bytes[] = {256, 4096, 65536};
    static const uint32_t waiters[] = {1, 16, 256};
    bool quick = bench->options->quick;
    double seconds = bench->options->seconds_given ? bench->options->seconds : SECONDS_DEFAULT;
    int result = 0;
    for (size_t i = 0; i < HG_COUNT(writes_kib) && result == 0; i++)
        result = share_measure(bench, writes_kib[i] << 10, seconds, quick ? ROUNDS_QUICK : ROUNDS);
    if (result == 0)
        result = share_measure_spinning(bench, seconds, quick ? ROUNDS_QUICK : ROUNDS);
    for (size_t i = 0; i < HG_COUNT(commit_bytes) && result == 0; i++)
        for (size_t j = 0; j < HG_COUNT(waiters) && result == 0; j++)
            result = commits_measure(bench, commit_bytes[i], waiters[j], seconds);
    return result;
}

int hg_perf_log(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    struct bench bench = {.options = options, .report = report, .clock = hg_clock_tsc()};
    bench.arena_bytes = hg_log_arena_bytes_min(HG_LOG_WRITE_PAYLOAD_BYTES_MAX);
    bench.arena = hg_disk_memory_map(bench.arena_bytes); /* as a worker's */
    hg_assert(bench.arena != NULL);
    for (uint64_t i = 0; i < bench.arena_bytes; i += sizeof(uint64_t)) {
        uint64_t value = bench.clock->random_u64(bench.clock);
        memcpy(bench.arena + i, &value, sizeof(value));
    }
    prctl(PR_SET_TIMERSLACK, 1UL); /* as a worker's thread has it */
    int result = files_make(&bench);
    if (result == 0)
        result = all_measure(&bench);
    files_remove(&bench);
    hg_disk_memory_unmap(bench.arena, bench.arena_bytes);
    return result;
}
