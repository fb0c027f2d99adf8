/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf reading: what reading a log back takes. Recovery of a log with one stream and with 10,000, and
 * readers that are behind: one, eight near one another, eight far apart; how fast they get on together, and
 * how much of the disk each byte that they get costs.
 */
#include "dataplane/stream/streams.h"
#include "drivers/clock/clock.h"
#include "drivers/disk/disk.h"
#include "perf/perf.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ARENA_BYTES       (64u << 20)
#define DISK_DEPTH        64u
#define LOG_BYTES_DEFAULT (1ull << 30)
#define SEGMENT_BYTES     (16u << 20)
#define STREAMS_MANY      10000u
#define ENTRY_BYTES       4096u
#define READERS_MAX       8u
#define SLEEP_NS          (50 * HG_NS_PER_US)

struct bench {
    const struct hg_perf_options *options;
    struct hg_perf_report *report;
    struct hg_clock *clock;
    struct hg_event_sink sink;
    char path[512];
    uint8_t *arena;
    uint8_t *entry;
    uint64_t log_bytes;
    struct hg_disk *disk;
    struct hg_log *log;
    struct hg_streams *streams;
    char error[640];
};

static void event_put(struct hg_event_sink *sink, const struct hg_event *event)
{
    (void)sink;
    (void)event;
}

static int complain(const struct bench *bench, int result)
{
    fprintf(stderr, "helio-perf: %s\n", bench->error);
    return result;
}

static void turn(struct bench *bench)
{
    uint64_t deadline_ns;
    uint64_t now_ns = bench->clock->now_ns(bench->clock);
    bool did = hg_log_turn(bench->log, now_ns, &deadline_ns);
    if (hg_log_state(bench->log) == HG_LOG_READY)
        did |= hg_streams_commit(bench->streams, now_ns);
    if (did)
        return;
    struct pollfd wait = {.fd = hg_disk_uring_fd(bench->disk), .events = POLLIN};
    struct timespec sleep = {.tv_nsec = SLEEP_NS};
    ppoll(&wait, 1, &sleep, NULL);
}

static int log_open(struct bench *bench, uint32_t streams_max)
{
    struct hg_streams_config streams = {
        .cluster = 1, .region = 1, .streams_max = streams_max, .clock = bench->clock, .events = &bench->sink};
    bench->streams = hg_streams_init(&streams);
    struct hg_log_config log = {.disk = bench->disk,
                                .arena = bench->arena,
                                .arena_bytes = ARENA_BYTES,
                                .ops = &hg_streams_log_ops,
                                .ctx = bench->streams};
    bench->log = hg_log_open(&log);
    hg_assert(bench->log != NULL);
    hg_streams_log_set(bench->streams, bench->log);
    while (hg_log_state(bench->log) == HG_LOG_RECOVERING)
        turn(bench);
    if (hg_log_state(bench->log) == HG_LOG_READY && !hg_streams_recovery_broken(bench->streams)) {
        hg_streams_recovered(bench->streams);
        return 0;
    }
    snprintf(bench->error, sizeof(bench->error), "%s: %s", bench->path, hg_log_message(bench->log));
    return complain(bench, -EIO);
}

static void log_close(struct bench *bench)
{
    if (bench->log != NULL)
        hg_log_close(bench->log);
    if (bench->streams != NULL)
        hg_streams_free(bench->streams);
    bench->log = NULL;
    bench->streams = NULL;
}

static void settle(struct bench *bench)
{
    while (hg_streams_has_open(bench->streams)) {
        hg_streams_seal(bench->streams, true, bench->clock->now_ns(bench->clock));
        turn(bench);
    }
    hg_log_close_write(bench->log);
    while (hg_log_durable_sequence(bench->log) + 1 < hg_log_next_sequence(bench->log))
        turn(bench);
}

/* Entries to all streams in turn, half a log of them. */
static int log_fill(struct bench *bench, uint32_t streams)
{
    for (uint32_t i = 0; i < streams; i++) {
        struct hg_config_stream config = {
            .stream = i + 1, .kind = HG_STREAM_KEY_VALUE, .region = 1, .epoch = 1, .peers_mask = 1};
        snprintf(config.name, sizeof(config.name), "s%u", i);
        if (hg_streams_configure(bench->streams, &config) != 0)
            return -ENOSPC;
    }
    for (uint64_t bytes = 0, slot = 0; bytes < bench->log_bytes / 2;) {
        struct hg_frame frame = {
            .span = 1, .op = HG_OP_INSERT, .data_bytes = ENTRY_BYTES, .data = bench->entry};
        uint64_t now_ns = bench->clock->now_ns(bench->clock);
        enum hg_append_reason reason = hg_streams_append(bench->streams, (uint32_t)slot, &frame, now_ns);
        if (reason == HG_APPEND_OK) {
            bytes += ENTRY_BYTES;
            slot = (slot + 1) % streams;
            if (hg_log_open_bytes(bench->log) < HG_LOG_WRITE_FULL_BYTES)
                continue;
        }
        if (hg_log_wants_close(bench->log))
            hg_log_close_write(bench->log);
        turn(bench);
    }
    settle(bench);
    return 0;
}

/* ---- readers ---- */

static int walk(struct bench *bench, uint32_t count, uint64_t gap, const char *where)
{
    struct hg_cursor cursors[READERS_MAX] = {{0}};
    const struct hg_batch_header *header;
    struct hg_log_stats before, after;
    log_close(bench); /* nothing of it is in memory then */
    if (log_open(bench, STREAMS_MANY) != 0)
        return -EIO;
    uint64_t end = hg_log_durable_sequence(bench->log);
    hg_log_stats_get(bench->log, &before);
    uint64_t begin_ns = bench->clock->now_ns(bench->clock);
    for (uint32_t i = 0; i < count; i++)
        cursors[i].sequence = hg_log_tail_sequence(bench->log) + i * gap;
    for (uint32_t done = 0; done < count;) {
        done = 0;
        for (uint32_t i = 0; i < count; i++) {
            /* A lane takes some batches a turn, not all there are. */
            for (uint32_t batches = 0; batches < 16; batches++) {
                int rc = hg_cursor_peek(&cursors[i], bench->log, &header);
                if (rc < 0)
                    return -EIO;
                if (rc == 0)
                    break;
                hg_cursor_advance(&cursors[i], header);
            }
            done += cursors[i].sequence > end;
        }
        turn(bench);
    }
    double seconds = (double)(bench->clock->now_ns(bench->clock) - begin_ns) / (double)HG_NS_PER_S;
    hg_log_stats_get(bench->log, &after);
    double walked = (double)(after.walked_bytes - before.walked_bytes);
    hg_perf_report_add(bench->report, walked / seconds / count, "walk_bytes_per_s_each/readers=%u%s", count,
                       where);
    hg_perf_report_add(bench->report, (double)(after.read_bytes - before.read_bytes) / walked,
                       "read_share/readers=%u%s", count, where);
    return 0;
}

/* ---- around them ---- */

static int file_make(struct bench *bench)
{
    struct hg_log_geometry geometry = {.cluster = 1,
                                       .log_uuid = {1},
                                       .segment_bytes = SEGMENT_BYTES,
                                       .write_payload_bytes_max = HG_LOG_WRITE_PAYLOAD_BYTES_MAX};
    geometry.segment_count = (uint32_t)(bench->log_bytes / SEGMENT_BYTES);
    snprintf(bench->path, sizeof(bench->path), "%s/helio-perf-reading-%d", bench->options->directory,
             (int)getpid());
    int result = hg_disk_file_create(bench->path, hg_log_file_bytes(&geometry), NULL, NULL, bench->error,
                                     sizeof(bench->error));
    if (result != 0) {
        bench->path[0] = 0;
        return complain(bench, result);
    }
    bench->disk = hg_disk_uring_open(bench->path, bench->arena, ARENA_BYTES, DISK_DEPTH, NULL, bench->error,
                                     sizeof(bench->error));
    if (bench->disk == NULL)
        return complain(bench, -EIO);
    if (hg_log_format(bench->disk, &geometry) == 0)
        return 0;
    snprintf(bench->error, sizeof(bench->error), "%s cannot be made a log", bench->path);
    return complain(bench, -EIO);
}

static void file_remove(struct bench *bench)
{
    if (bench->disk != NULL)
        bench->disk->close(bench->disk);
    log_close(bench);
    if (bench->path[0] != 0)
        unlink(bench->path);
    bench->disk = NULL;
}

/* Makes a log of so many streams and reads it back. */
static int streams_measure(struct bench *bench, uint32_t streams)
{
    int result = file_make(bench);
    if (result == 0)
        result = log_open(bench, STREAMS_MANY);
    if (result == 0)
        result = log_fill(bench, streams);
    if (result != 0)
        return result;
    log_close(bench);
    uint64_t begin_ns = bench->clock->now_ns(bench->clock);
    result = log_open(bench, STREAMS_MANY);
    double seconds = (double)(bench->clock->now_ns(bench->clock) - begin_ns) / (double)HG_NS_PER_S;
    if (result != 0)
        return result;
    uint64_t bytes = hg_log_bytes_from(bench->log, hg_log_tail_sequence(bench->log));
    hg_perf_report_add(bench->report, seconds, "recovery_s/streams=%u", streams);
    hg_perf_report_add(bench->report, (double)bytes / seconds, "recovery_bytes_per_s/streams=%u", streams);
    return 0;
}

int hg_perf_reading(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    struct bench bench = {.options = options, .report = report, .clock = hg_clock_tsc()};
    bench.sink.put = event_put;
    bench.log_bytes = options->log_bytes != 0 ? options->log_bytes : LOG_BYTES_DEFAULT;
    bench.arena = aligned_alloc(HG_LOG_BLOCK_BYTES, ARENA_BYTES);
    bench.entry = malloc(ENTRY_BYTES);
    hg_assert(bench.arena != NULL && bench.entry != NULL);
    for (uint32_t i = 0; i < ENTRY_BYTES; i += sizeof(uint64_t)) {
        uint64_t value = bench.clock->random_u64(bench.clock);
        memcpy(bench.entry + i, &value, sizeof(value));
    }
    prctl(PR_SET_TIMERSLACK, 1UL); /* as a worker's thread has it */
    int result = streams_measure(&bench, STREAMS_MANY);
    file_remove(&bench);
    if (result == 0)
        result = streams_measure(&bench, 1);
    uint64_t writes = bench.log != NULL ? hg_log_durable_sequence(bench.log) : 0;
    if (result == 0)
        result = walk(&bench, 1, 0, "");
    if (result == 0)
        result = walk(&bench, READERS_MAX, 4, "/apart=4");
    if (result == 0)
        result = walk(&bench, READERS_MAX, writes / (READERS_MAX + 1), "/apart=far");
    file_remove(&bench);
    free(bench.entry);
    free(bench.arena);
    return result;
}
