/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log stat: what a log holds of each stream.
 */
#include "dataplane/wal/hlc.h"
#include "drivers/disk/disk.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PLACES (2u << 14) /* a power of two above HG_STREAMS_MAX */

struct stream {
    uint64_t stream;
    char name[HG_NAME_BYTES]; /* empty: no record of it in the log */
    uint32_t incarnation;
    uint16_t kind;
    bool has_ended;              /* another log of the node has it */
    uint64_t lsn_first, lsn_end; /* of the batches here; equal without any */
    uint64_t batches, frames, raw_bytes, stored_bytes;
    uint64_t hlc_oldest, hlc_newest;
};

struct stat_state {
    struct image image; /* first: image_read and the others get this */
    bool is_json;
    struct stream *streams; /* hashed while reading, then sorted */
    uint32_t count;
    uint64_t head_segment;
    bool has_writes;
};

/* NULL: there are more than a log can have. */
static struct stream *stream_of(struct stat_state *state, uint64_t stream)
{
    uint32_t i = (uint32_t)((stream * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (PLACES - 1);
    while (state->streams[i].stream != 0 && state->streams[i].stream != stream)
        i = (i + 1) & (PLACES - 1);
    if (state->streams[i].stream == 0) {
        if (state->count == HG_STREAMS_MAX)
            return NULL;
        state->count++;
        state->streams[i].stream = stream;
    }
    return &state->streams[i];
}

static void record_take(void *ctx, const struct hg_local_record *record)
{
    struct stream *stream = record->stream == 0 ? NULL : stream_of(ctx, record->stream);
    if (stream != NULL && record->type == HG_LOCAL_STREAM_CUT)
        stream->lsn_end = record->lsn;
    if (stream == NULL || (record->type != HG_LOCAL_STREAM && record->type != HG_LOCAL_STREAM_ENDED &&
                           record->type != HG_LOCAL_STREAM_BEGUN_ANEW))
        return;
    stream->has_ended = record->type == HG_LOCAL_STREAM_ENDED;
    if (stream->has_ended)
        return;
    memcpy(stream->name, record->name, sizeof(stream->name));
    stream->incarnation = record->incarnation;
    stream->kind = record->kind;
    if (stream->batches == 0)
        stream->lsn_first = stream->lsn_end = record->lsn;
}

static void write_take(void *ctx, const struct hg_log_write_header *header)
{
    struct stat_state *state = ctx;
    state->head_segment = header->segment;
    state->has_writes = true;
}

static void batch_take(void *ctx, const struct hg_log_write_header *header,
                       const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    struct stream *stream = batch->stream == 0 ? NULL : stream_of(ctx, batch->stream);
    (void)header;
    if (stream == NULL || reason != HG_BATCH_REASON_OK)
        return;
    if (stream->batches == 0) {
        stream->lsn_first = batch->lsn_first;
        stream->hlc_oldest = batch->hlc_base;
    }
    stream->incarnation = batch->incarnation;
    stream->kind = batch->kind;
    stream->has_ended = false;
    stream->lsn_end = batch->lsn_end;
    stream->hlc_oldest = hg_min_u64(stream->hlc_oldest, batch->hlc_base);
    stream->hlc_newest = hg_max_u64(stream->hlc_newest, batch->hlc_base);
    stream->batches++;
    stream->frames += batch->frame_count;
    stream->raw_bytes += batch->raw_bytes;
    stream->stored_bytes += batch->stored_bytes;
}

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    (void)ctx;
    if (hg_log_finding_severity(finding->kind) >= HG_LOG_SEVERITY_UNREADABLE)
        fprintf(stderr, "helio-log: write %llu, byte %llu of the file: %s; helio-log verify says more\n",
                (unsigned long long)finding->sequence, (unsigned long long)finding->file_offset,
                hg_log_finding_text(finding->kind));
}

static int stream_compare(const void *a, const void *b)
{
    const struct stream *x = a, *y = b;
    if ((x->stream == 0) != (y->stream == 0))
        return x->stream == 0 ? 1 : -1; /* empty places last */
    return (x->stream > y->stream) - (x->stream < y->stream);
}

static void time_print(uint64_t hlc, char *text, size_t text_bytes)
{
    uint64_t ms = hg_hlc_ms(hlc);
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t bytes = gmtime_r(&seconds, &tm) == NULL ? 0 : strftime(text, text_bytes, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + bytes, text_bytes - bytes, ".%03uZ", (unsigned)(ms % 1000));
}

static void stream_print(const struct stream *stream, bool is_json)
{
    char oldest[40] = "-", newest[40] = "-";
    double ratio = stream->stored_bytes == 0 ? 0 : (double)stream->raw_bytes / (double)stream->stored_bytes;
    if (stream->batches > 0) {
        time_print(stream->hlc_oldest, oldest, sizeof(oldest));
        time_print(stream->hlc_newest, newest, sizeof(newest));
    }
    if (!is_json) {
        printf("%-20llu %-20s %20llu %20llu %9llu %10llu %14llu %14llu %6.2f %24s %24s%s\n",
               (unsigned long long)stream->stream, stream->name[0] == 0 ? "-" : stream->name,
               (unsigned long long)stream->lsn_first, (unsigned long long)stream->lsn_end,
               (unsigned long long)stream->batches, (unsigned long long)stream->frames,
               (unsigned long long)stream->raw_bytes, (unsigned long long)stream->stored_bytes, ratio, oldest,
               newest, stream->has_ended ? " (moved to another log)" : "");
        return;
    }
    printf("{\"stream\": %llu, \"name\": ", (unsigned long long)stream->stream);
    json_string_print(stream->name);
    printf(", \"incarnation\": %u, \"kind\": %u, \"ended\": %s, \"lsn_first\": %llu, \"lsn_end\": %llu, "
           "\"batches\": %llu, \"frames\": %llu, \"raw_bytes\": %llu, \"stored_bytes\": %llu",
           stream->incarnation, stream->kind, stream->has_ended ? "true" : "false",
           (unsigned long long)stream->lsn_first, (unsigned long long)stream->lsn_end,
           (unsigned long long)stream->batches, (unsigned long long)stream->frames,
           (unsigned long long)stream->raw_bytes, (unsigned long long)stream->stored_bytes);
    if (stream->batches > 0)
        printf(", \"ratio\": %.3f, \"time_oldest\": \"%s\", \"time_newest\": \"%s\"", ratio, oldest, newest);
    putchar('}');
}

/* What a dataplane would do whose command file leaves it to the device that the file is on. */
static void flush_print(const struct stat_state *state)
{
    struct hg_disk_cache cache;
    char text[96];
    hg_disk_cache_get(state->image.path, &cache);
    hg_disk_cache_text(&cache, text, sizeof(text));
    if (state->is_json)
        printf("\"flush_auto\": \"%s\", \"flush_auto_why\": \"%s\", ",
               hg_disk_sync_name(hg_disk_sync_choose(&cache)), text);
    else
        printf("flush auto is %s\n", text);
}

static void log_print(const struct stat_state *state, const struct hg_log_audit_result *result)
{
    const struct hg_log_superblock *s = &result->superblock;
    uint64_t used = state->has_writes ? state->head_segment - s->tail_segment + 1 : 1;
    if (state->is_json) {
        printf("{\"path\": ");
        json_string_print(state->image.path);
        printf(
            ", \"cluster\": %llu, \"log_id\": %u, \"restarts\": %u, \"segment_bytes\": %llu, \"segments\": "
            "%u, "
            "\"segments_used\": %llu, \"segments_free\": %llu, \"write_first\": %llu, \"write_next\": %llu, "
            "\"writes\": %llu, \"batches\": %llu, \"payload_bytes\": %llu, \"losses\": %llu, "
            "\"lost_writes\": %llu, \"live\": %s, \"complete\": %s, ",
            (unsigned long long)s->cluster, s->log_id, s->restarts, (unsigned long long)s->segment_bytes,
            s->segment_count, (unsigned long long)used, (unsigned long long)(s->segment_count - used),
            (unsigned long long)result->sequence_first, (unsigned long long)result->sequence_next,
            (unsigned long long)result->writes, (unsigned long long)result->batches,
            (unsigned long long)result->payload_bytes, (unsigned long long)s->holes.losses,
            (unsigned long long)s->holes.lost_writes, result->end == HG_LOG_END_LIVE ? "true" : "false",
            exit_of(result) == LOG_EXIT_DAMAGED || exit_of(result) == LOG_EXIT_UNREADABLE ? "false" : "true");
        flush_print(state);
        printf("\"streams\": [");
        return;
    }
    printf("%s: cluster %llu log %u restarts %u; %llu of %u segments of %llu bytes in use, %llu free\n",
           state->image.path, (unsigned long long)s->cluster, s->log_id, s->restarts,
           (unsigned long long)used, s->segment_count, (unsigned long long)s->segment_bytes,
           (unsigned long long)(s->segment_count - used));
    printf("writes %llu to %llu, %llu batches, %llu bytes of payload%s\n",
           (unsigned long long)result->sequence_first, (unsigned long long)(result->sequence_next - 1),
           (unsigned long long)result->batches, (unsigned long long)result->payload_bytes,
           result->end == HG_LOG_END_LIVE ? "; it is being written: as of when reading began" : "");
    flush_print(state);
    if (s->holes.losses > 0)
        printf("accepted losses in the life of this log: %llu, of %llu writes\n",
               (unsigned long long)s->holes.losses, (unsigned long long)s->holes.lost_writes);
    printf("%-20s %-20s %20s %20s %9s %10s %14s %14s %6s %24s %24s\n", "stream", "name", "lsn_first",
           "lsn_end", "batches", "frames", "raw_bytes", "stored_bytes", "ratio", "time_oldest",
           "time_newest");
}

int stat_run(const char *path, bool is_json)
{
    static const struct hg_log_audit_ops ops = {.read = image_read,
                                                .pause = image_pause,
                                                .finding = finding_take,
                                                .write = write_take,
                                                .batch = batch_take,
                                                .record = record_take,
                                                .progress = image_progress};
    struct stat_state state = {.is_json = is_json, .streams = calloc(PLACES, sizeof(struct stream))};
    struct hg_log_audit_result result;
    hg_assert(state.streams != NULL);
    if (!image_open(&state.image, path)) {
        free(state.streams);
        return LOG_EXIT_UNREADABLE;
    }
    struct hg_log_audit_config config = {.ops = &ops, .ctx = &state, .size_bytes = state.image.size_bytes};
    hg_log_audit(&config, &result);
    image_progress_end(&state.image);
    image_close(&state.image);
    if (result.end != HG_LOG_END_NEVER) {
        log_print(&state, &result);
        qsort(state.streams, PLACES, sizeof(state.streams[0]), stream_compare);
        for (uint32_t i = 0; i < state.count; i++) {
            if (is_json)
                printf("%s\n  ", i == 0 ? "" : ",");
            stream_print(&state.streams[i], is_json);
        }
        if (is_json)
            printf("]}\n");
    }
    free(state.streams);
    return exit_of(&result) == LOG_EXIT_WORN ? LOG_EXIT_FINE : exit_of(&result);
}
