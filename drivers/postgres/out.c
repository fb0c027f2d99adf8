/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of `helio-postgres out`: reads a physical stream as a registered consumer, gives it to
 * segments.c, and acknowledges what is safe on disk.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "drivers/client/heliograph.h"
#include "drivers/platform/platform.h"
#include "drivers/postgres/directory.h"
#include "drivers/postgres/options.h"
#include "drivers/postgres/receive.h"
#include "drivers/postgres/report.h"
#include "drivers/postgres/segments.h"
#include "drivers/postgres/stop.h"

#define SLICE_NS              (200 * HG_NS_PER_MS) /* how late a stop may be heard */
#define KIND_PHYSICAL         3
#define OPAQUE_OPERATION      7
#define INCARNATION_OPERATION 8

enum step_result {
    STEP_GO_ON,
    STEP_AGAIN, /* from the consumer's saved position: attach anew */
    STEP_END,   /* with exit_code */
};

struct out {
    const struct hg_postgres_options *options;
    struct hg_report report;
    struct hg_client *client;
    struct hg_stream *stream;
    struct hg_directory directory;
    struct hg_segments segments;
    struct hg_segment_files files;
    uint32_t segment_bytes;
    uint32_t timeline;
    uint64_t system_identifier;
    uint64_t acknowledge; /* position not yet taken by the dataplane; 0 = none */
    uint64_t backoff_ns;
    bool disk_full;
    bool dataplane_gone;
    bool mid_segment_said;
    int exit_code;
};

static void slice_rest_pause(uint64_t start_ns)
{
    uint64_t spent_ns = hg_stop_now_ns() - start_ns;
    hg_stop_pause(spent_ns < SLICE_NS ? SLICE_NS - spent_ns : 0);
}

static enum step_result end_with(struct out *out, int exit_code)
{
    out->exit_code = exit_code;
    return STEP_END;
}

static bool dataplane_absent(int rc)
{
    return rc == HG_E_CLOSED || rc == HG_E_NOT_READY || rc == HG_E_TIMEOUT || rc == HG_E_WOULD_BLOCK;
}

/* ---- acknowledging
 * --------------------------------------------------------------------------------------------- */

static void acknowledge(struct out *out)
{
    if (out->acknowledge != 0 && hg_stream_acknowledge(out->stream, out->acknowledge) == 0) {
        out->acknowledge = 0; /* else again after the next read: the position only moves forward */
    }
}

static void completed(void *context, const struct hg_segment_done *done)
{
    /* The directory is the first member's container: the vtable hands back what it was given. */
    struct hg_directory *directory = context;
    struct out *out = (struct out *)(void *)((char *)directory - offsetof(struct out, directory));
    out->acknowledge = done->lsn_end;
    acknowledge(out);
    hg_report_segment(&out->report, done->name, done->lsn_end, out->segment_bytes, done->verified);
}

/* ---- attaching
 * ------------------------------------------------------------------------------------------------- */

static enum step_result attach(struct out *out)
{
    struct hg_stream_options options = {
        .subscribe = true, .consumer = out->options->consumer, .lsn_unit_bytes = out->options->segment_bytes};
    while (out->stream == NULL && !hg_stop_requested()) {
        uint64_t start_ns = hg_stop_now_ns();
        int rc =
            hg_stream_attach(out->client, out->options->stream, &options, &out->stream, start_ns + SLICE_NS);
        if (rc == 0) {
            break;
        }
        if (!dataplane_absent(rc) && rc != HG_E_UNKNOWN) { /* it may be configured yet */
            hg_report_fatal(&out->report, hg_error_name(rc), "can't attach stream %s: %s",
                            out->options->stream, hg_client_error(out->client));
            return end_with(out, rc == HG_E_GAP ? HG_EXIT_NOT_CONTIGUOUS : HG_EXIT_FAILED);
        }
        hg_report_say(&out->report, HG_REPORT_WAITING, "for stream %s at %s: %s", out->options->stream,
                      out->options->run, hg_client_error(out->client));
        slice_rest_pause(start_ns);
    }
    return STEP_GO_ON;
}

static enum step_result kind_wrong(struct out *out, uint32_t kind)
{
    hg_report_fatal(&out->report, "kind", "stream %s is no PostgreSQL physical stream (its kind is %u)",
                    out->options->stream, kind);
    return end_with(out, HG_EXIT_FAILED);
}

static enum step_result size_wrong(struct out *out, uint32_t stream_bytes)
{
    hg_report_fatal(
        &out->report, "other_segment_size",
        "stream %s has WAL segments of %u bytes, --wal-segment-size says %u: leave the option out",
        out->options->stream, stream_bytes, out->options->segment_bytes);
    return end_with(out, HG_EXIT_OTHER_SYSTEM);
}

/* Takes the stream's identity once it has one: a stream that never had WAL has none. */
static enum step_result identify(struct out *out, const struct hg_stream_status *status, bool *known)
{
    if (status->kind != 0 && status->kind != KIND_PHYSICAL) {
        return kind_wrong(out, status->kind);
    }
    *known = false;
    if (status->lsn_durable == 0 || status->incarnation == 0) {
        hg_report_say(&out->report, HG_REPORT_WAITING, "stream %s has no WAL yet", out->options->stream);
        return STEP_GO_ON;
    }
    uint32_t segment_bytes =
        status->lsn_unit_bytes != 0 ? status->lsn_unit_bytes : out->options->segment_bytes;
    if (!hg_segment_bytes_valid(segment_bytes)) {
        hg_report_fatal(&out->report, "segment_size",
                        "stream %s says WAL segments of %u bytes, which can't be: pass --wal-segment-size",
                        out->options->stream, segment_bytes);
        return end_with(out, HG_EXIT_USAGE);
    }
    if (out->options->segment_bytes != 0 && out->options->segment_bytes != segment_bytes) {
        return size_wrong(out, segment_bytes);
    }
    out->segment_bytes = segment_bytes;
    out->timeline = status->incarnation;
    out->system_identifier = status->system_identifier;
    *known = true;
    return STEP_GO_ON;
}

static enum step_result identity_wait(struct out *out)
{
    while (!hg_stop_requested()) {
        struct hg_stream_status status;
        bool known = false;
        int rc = hg_stream_status_get(out->stream, &status);
        if (rc < 0) {
            return STEP_AGAIN;
        }
        enum step_result result = identify(out, &status, &known);
        if (result != STEP_GO_ON || known) {
            return result;
        }
        struct pollfd fds[2] = {{.fd = -1}};
        if (hg_client_sleep(out->client)) {
            fds[0].fd = hg_client_fd(out->client);
            fds[0].events = POLLIN;
            hg_stop_poll(fds, 1, hg_stop_now_ns() + SLICE_NS);
        }
        if (hg_client_wake(out->client, 0) < 0) {
            return STEP_AGAIN;
        }
    }
    return STEP_GO_ON;
}

/* Whose segments the directory holds and where they end; a new writer. */
static enum step_result directory_prepare(struct out *out)
{
    uint64_t newest;
    enum hg_directory_result claimed =
        hg_directory_claim(&out->directory, out->system_identifier, out->segment_bytes);
    if (claimed != HG_DIRECTORY_OK) {
        bool foreign = claimed == HG_DIRECTORY_FOREIGN;
        hg_report_fatal(&out->report, foreign ? "other_system" : "directory", "%s. Nothing was touched. %s",
                        out->directory.error, foreign ? "Use a directory of its own for each cluster." : "");
        return end_with(out, foreign ? HG_EXIT_OTHER_SYSTEM : HG_EXIT_DIRECTORY);
    }
    int rc = hg_directory_newest(&out->directory, out->timeline, out->segment_bytes, &newest);
    if (rc < 0) {
        hg_report_fatal(&out->report, "directory", "can't list %s: %s", out->options->directory,
                        strerror(-rc));
        return end_with(out, HG_EXIT_DIRECTORY);
    }
    hg_directory_files(&out->directory, &out->files);
    out->files.completed = completed;
    hg_segments_init(&out->segments, &out->files, out->timeline, out->segment_bytes, newest);
    return STEP_GO_ON;
}

/* ---- reading
 * --------------------------------------------------------------------------------------------------- */

static enum step_result refused(struct out *out, enum hg_segments_outcome outcome, uint64_t lsn)
{
    const char *name = hg_segments_outcome_name(outcome);
    const char *directory = out->options->directory;
    char at[HG_LSN_TEXT_BYTES], came[HG_LSN_TEXT_BYTES];
    hg_lsn_format(at, out->segments.lsn_error);
    hg_lsn_format(came, lsn);
    switch (outcome) {
    case HG_SEGMENTS_GAP:
        hg_report_fatal(
            &out->report, name,
            "%s has WAL up to %s, the stream goes on at %s: what is between is no longer kept. Take a new "
            "base backup, and write into an empty directory.",
            directory, at, came);
        return end_with(out, HG_EXIT_NOT_CONTIGUOUS);
    case HG_SEGMENTS_DIFFERENT:
        hg_report_fatal(
            &out->report, name,
            "%s/%s differs from the stream at %s. Neither was changed. One of them is of another history: "
            "move the file away to have it written again.",
            directory, out->segments.name, at);
        return end_with(out, HG_EXIT_NOT_CONTIGUOUS);
    case HG_SEGMENTS_SIZE:
        hg_report_fatal(
            &out->report, name,
            "%s/%s is not %u bytes long as a complete segment is. It was not changed. Move it away to have "
            "it written again.",
            directory, out->segments.name, out->segment_bytes);
        return end_with(out, HG_EXIT_DIRECTORY);
    case HG_SEGMENTS_POSITION:
        hg_report_fatal(&out->report, name, "the stream delivered WAL at the impossible position %s", came);
        return end_with(out, HG_EXIT_FAILED);
    default:
        hg_report_fatal(&out->report, name,
                        "can't %s %s/%s: %s. The saved position stands; start again when the disk is well.",
                        out->segments.error_step, directory, out->segments.name,
                        strerror(out->segments.error_number));
        return end_with(out, HG_EXIT_DIRECTORY);
    }
}

static void disk_full_pause(struct out *out)
{
    out->disk_full = true;
    hg_report_say(&out->report, HG_REPORT_DISK_FULL,
                  "can't %s %s/%s: %s; nothing is lost, trying again until there is room",
                  out->segments.error_step, out->options->directory, out->segments.name,
                  strerror(out->segments.error_number));
    hg_stop_pause(hg_receive_backoff(&out->backoff_ns));
}

static void room_again(struct out *out)
{
    if (out->disk_full) {
        out->disk_full = false;
        out->backoff_ns = 0;
        hg_report_say(&out->report, HG_REPORT_DISK_ROOM, "%s takes WAL again", out->options->directory);
    }
}

static enum step_result write_entry(struct out *out, const struct hg_entry *entry)
{
    while (!hg_stop_requested()) {
        enum hg_segments_outcome outcome =
            hg_segments_push(&out->segments, entry->lsn, entry->data, entry->data_bytes);
        if (outcome == HG_SEGMENTS_OK) {
            room_again(out);
            break;
        }
        if (outcome != HG_SEGMENTS_RETRY && outcome != HG_SEGMENTS_RESTART) {
            return refused(out, outcome, entry->lsn);
        }
        disk_full_pause(out);
        if (outcome == HG_SEGMENTS_RESTART) {
            return STEP_AGAIN;
        }
    }
    if (out->segments.began_mid_segment && !out->mid_segment_said) {
        char name[HG_SEGMENT_NAME_BYTES];
        out->mid_segment_said = true;
        hg_report_say(&out->report, HG_REPORT_BEGAN_MID_SEGMENT,
                      "the oldest WAL kept begins inside a segment; the first one written is %s",
                      hg_segment_name(name, out->timeline, out->segments.lsn_start, out->segment_bytes));
    }
    return STEP_GO_ON;
}

static enum step_result timeline_other(struct out *out, uint32_t timeline)
{
    char lsn[HG_LSN_TEXT_BYTES];
    hg_report_fatal(&out->report, "timeline_switch",
                    "timeline switch: this version keeps timeline %u up to %s; the stream is on timeline %u. "
                    "Everything written stays.",
                    out->timeline, hg_lsn_format(lsn, out->segments.lsn_next), timeline);
    return end_with(out, HG_EXIT_TIMELINE);
}

static enum step_result entry_take(struct out *out, const struct hg_entry *entry)
{
    if (entry->op == OPAQUE_OPERATION && entry->span == entry->data_bytes && entry->span != 0 &&
        !entry->continues) {
        return write_entry(out, entry);
    }
    struct hg_stream_status status;
    if (entry->op == INCARNATION_OPERATION && hg_stream_status_get(out->stream, &status) == 0) {
        return timeline_other(out, status.incarnation);
    }
    char lsn[HG_LSN_TEXT_BYTES];
    hg_report_fatal(&out->report, "entry", "stream %s has an entry at %s that is no WAL (operation %u)",
                    out->options->stream, hg_lsn_format(lsn, entry->lsn), entry->op);
    return end_with(out, HG_EXIT_FAILED);
}

static void dataplane_gone(struct out *out)
{
    if (!out->dataplane_gone) {
        out->dataplane_gone = true;
        hg_report_say(&out->report, HG_REPORT_DATAPLANE_GONE, "%s; waiting for it at %s",
                      hg_client_error(out->client), out->options->run);
    }
}

/* After a loss, once the stream is attached again: reading goes on where it ended, and what is delivered
 * twice is skipped by the writer. */
static enum step_result dataplane_back(struct out *out)
{
    struct hg_stream_status status;
    if (!out->dataplane_gone || hg_stream_status_get(out->stream, &status) < 0) {
        return STEP_GO_ON;
    }
    out->dataplane_gone = false;
    hg_report_say(&out->report, HG_REPORT_DATAPLANE_BACK, "reading on");
    if (status.incarnation != 0 && status.incarnation != out->timeline) {
        return timeline_other(out, status.incarnation);
    }
    return STEP_GO_ON;
}

static enum step_result read_failed(struct out *out, int rc, uint64_t start_ns)
{
    if (rc == HG_E_TIMEOUT || rc == HG_E_WOULD_BLOCK) {
        return dataplane_back(out);
    }
    if (rc == HG_E_CLOSED || rc == HG_E_NOT_READY || rc == HG_E_UNKNOWN) {
        dataplane_gone(out);
        slice_rest_pause(start_ns);
        return STEP_GO_ON;
    }
    const char *what = rc == HG_E_GAP ? " Take a new base backup, and write into an empty directory." : "";
    hg_report_fatal(&out->report, hg_error_name(rc), "can't read stream %s: %s.%s", out->options->stream,
                    hg_client_error(out->client), what);
    return end_with(out, rc == HG_E_GAP ? HG_EXIT_NOT_CONTIGUOUS : HG_EXIT_FAILED);
}

static enum step_result pump(struct out *out)
{
    enum step_result result = STEP_GO_ON;
    while (result == STEP_GO_ON && !hg_stop_requested()) {
        struct hg_entry entry;
        uint64_t start_ns = hg_stop_now_ns();
        int rc = hg_stream_read(out->stream, &entry, start_ns + SLICE_NS);
        if (rc < 0) {
            result = read_failed(out, rc, start_ns);
        } else {
            result = dataplane_back(out);
            result = result == STEP_GO_ON ? entry_take(out, &entry) : result;
        }
        acknowledge(out);
    }
    return result;
}

static enum step_result session(struct out *out)
{
    enum step_result result = attach(out);
    if (result == STEP_GO_ON && out->stream != NULL) {
        result = identity_wait(out);
    }
    if (result == STEP_GO_ON && !hg_stop_requested()) {
        result = directory_prepare(out);
    }
    if (result == STEP_GO_ON && !hg_stop_requested()) {
        result = pump(out);
        hg_segments_close(&out->segments);
    }
    if (out->stream != NULL) {
        acknowledge(out);
        hg_stream_detach(out->stream);
        out->stream = NULL;
    }
    return result;
}

static int directory_open(struct out *out)
{
    enum hg_directory_result result = hg_directory_open(&out->directory, out->options->directory);
    if (result == HG_DIRECTORY_OK) {
        return 0;
    }
    if (result == HG_DIRECTORY_LOCKED) {
        hg_report_fatal(&out->report, "locked", "%s. Stop it, or give this one another directory.",
                        out->directory.error);
    } else {
        hg_report_fatal(&out->report, "directory", "%s. Make it a directory that this user may write in.",
                        out->directory.error);
    }
    hg_directory_close(&out->directory);
    return -1;
}

int hg_postgres_out(const struct hg_postgres_options *options)
{
    static struct out out;
    out.options = options;
    hg_report_init(&out.report, "out", options->stream, options->json);
    if (directory_open(&out) < 0) {
        return HG_EXIT_DIRECTORY;
    }
    out.client = hg_client_open(options->run, "helio-postgres-out");
    if (out.client == NULL) {
        hg_report_fatal(&out.report, "memory", "out of memory");
        return HG_EXIT_FAILED;
    }
    enum step_result result = STEP_AGAIN;
    while (result == STEP_AGAIN && !hg_stop_requested()) {
        result = session(&out);
    }
    if (hg_stop_requested() && result != STEP_END) {
        hg_report_say(&out.report, HG_REPORT_STOPPED, "as asked");
    }
    hg_report_counts(&out.report);
    hg_client_close(out.client);
    hg_directory_close(&out.directory);
    return result == STEP_END ? out.exit_code : HG_EXIT_OK;
}
