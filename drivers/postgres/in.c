/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of `helio-postgres in`: moves bytes between the primary's connection and the stream, and does
 * what receive.c decides.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "drivers/client/heliograph.h"
#include "drivers/platform/platform.h"
#include "drivers/postgres/lsn.h"
#include "drivers/postgres/options.h"
#include "drivers/postgres/primary.h"
#include "drivers/postgres/receive.h"
#include "drivers/postgres/report.h"
#include "drivers/postgres/stop.h"

#define BATCH_MESSAGES_MAX 64
#define ATTACH_SLICE_NS                                                                                      \
    (200 * HG_NS_PER_MS)             /* how late a stop may be heard while waiting for the dataplane */
#define STREAM_CHECK_NS  HG_NS_PER_S /* an idle stream's dataplane is looked at this often */
#define HELD_CHECK_NS    (50 * HG_NS_PER_MS)
#define HELD_SAY_NS      HG_NS_PER_S /* a full ring is everyday while catching up; a lasting one is news */
#define SETTLE_LIMIT_NS  (10 * HG_NS_PER_S)
#define RESYNC_MAX       5
#define EPOCH_2000_S     INT64_C(946684800)
#define OPAQUE_OPERATION 7

enum session_end {
    SESSION_STOPPED,
    SESSION_PRIMARY,   /* retry the primary, or exit, by `outcome` */
    SESSION_DATAPLANE, /* wait for the dataplane, then go on from its durable end */
    SESSION_RESYNC,    /* the stream refused our position: go on from its durable end */
    SESSION_EXIT,      /* with exit_code; said already */
};

struct in {
    const struct hg_postgres_options *options;
    struct hg_report report;
    struct hg_receive receive;
    struct hg_primary primary;
    struct hg_primary_facts facts;
    struct hg_client *client;
    struct hg_stream *stream;
    enum hg_receive_outcome outcome;
    int exit_code;
    bool ended; /* the primary's stream is over; `outcome` says how */
    bool held;
    bool held_said;
    uint64_t held_since_ns;
    uint64_t held_check_ns;
    uint64_t stream_check_ns;
    uint64_t progress_ns;
    uint64_t backoff_ns;
    uint64_t resync_lsn;
    unsigned resync_count;
    unsigned pending_first, pending_count;
    struct hg_entry pending[BATCH_MESSAGES_MAX];
    char *pending_message[BATCH_MESSAGES_MAX];
};

static int64_t time_since_2000_us(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    hg_assert(rc == 0);
    return ((int64_t)now.tv_sec - EPOCH_2000_S) * 1000000 + now.tv_nsec / 1000;
}

static enum session_end exit_with(struct in *in, int exit_code)
{
    in->exit_code = exit_code;
    return SESSION_EXIT;
}

/* ---- the stream
 * ------------------------------------------------------------------------------------------------ */

static bool dataplane_absent(int rc)
{
    return rc == HG_E_CLOSED || rc == HG_E_NOT_READY || rc == HG_E_TIMEOUT || rc == HG_E_WOULD_BLOCK;
}

/* Calls that wait for the dataplane may come back early: not to ask again before the slice is over. */
static void slice_rest_pause(uint64_t start_ns)
{
    uint64_t spent_ns = hg_stop_now_ns() - start_ns;
    hg_stop_pause(spent_ns < ATTACH_SLICE_NS ? ATTACH_SLICE_NS - spent_ns : 0);
}

static enum session_end stream_refused(struct in *in, int rc, const char *what)
{
    hg_report_fatal(&in->report, hg_error_name(rc), "%s stream %s: %s", what, in->options->stream,
                    hg_client_error(in->client));
    return exit_with(in, HG_EXIT_FAILED);
}

static void facts_take(struct hg_stream_facts *facts, const struct hg_stream_status *status)
{
    facts->system_identifier = status->system_identifier;
    facts->segment_bytes = status->lsn_unit_bytes;
    facts->incarnation = status->incarnation;
    facts->lsn_durable = status->lsn_durable;
    facts->lsn_committed = status->lsn_committed;
}

/* The stream refused the primary's identity: attach without one, to name the difference. */
static enum session_end identity_refused(struct in *in, int code)
{
    char reason[512];
    struct hg_stream_options options = {.append = true};
    struct hg_stream_status status;
    struct hg_stream_facts facts;
    snprintf(reason, sizeof(reason), "%s", hg_client_error(in->client));
    int rc = hg_stream_attach(in->client, in->options->stream, &options, &in->stream,
                              hg_stop_now_ns() + ATTACH_SLICE_NS);
    if (rc == 0 && hg_stream_status_get(in->stream, &status) == 0) {
        facts_take(&facts, &status);
        in->outcome = hg_receive_check(&in->facts, &facts);
        if (in->outcome != HG_RECEIVE_OK) {
            return SESSION_PRIMARY;
        }
    }
    hg_report_fatal(&in->report, hg_error_name(code), "can't attach stream %s: %s. Nothing was touched.",
                    in->options->stream, reason);
    return exit_with(in, code == HG_E_SYSTEM ? HG_EXIT_OTHER_SYSTEM : HG_EXIT_FAILED);
}

/* Attaches with the primary's identity, so that the stream belongs to this cluster from its first byte. */
static enum session_end attach(struct in *in)
{
    struct hg_stream_options options = {.append = true,
                                        .system_identifier = in->facts.system_identifier,
                                        .lsn_unit_bytes = in->facts.segment_bytes,
                                        .incarnation = in->facts.timeline};
    while (in->stream == NULL) {
        if (hg_stop_requested()) {
            return SESSION_STOPPED;
        }
        uint64_t start_ns = hg_stop_now_ns();
        int rc = hg_stream_attach(in->client, in->options->stream, &options, &in->stream,
                                  start_ns + ATTACH_SLICE_NS);
        if (rc == 0) {
            break;
        }
        if (rc == HG_E_SYSTEM || rc == HG_E_INVALID) {
            return identity_refused(in, rc);
        }
        /* A stream not configured yet, and a producer before us not noticed gone, are waited for. */
        if (!dataplane_absent(rc) && rc != HG_E_READ_ONLY && rc != HG_E_UNKNOWN) {
            return stream_refused(in, rc, "can't attach");
        }
        hg_report_say(&in->report, HG_REPORT_WAITING, "for stream %s at %s: %s", in->options->stream,
                      in->options->run, hg_client_error(in->client));
        slice_rest_pause(start_ns);
    }
    return SESSION_PRIMARY;
}

/* What a producer before us left in the ring is consumed, and then durable, after we attach: only then is the
 * durable end the place to go on from. */
static enum session_end stream_settled(struct in *in, struct hg_stream_facts *facts)
{
    uint64_t limit_ns = hg_stop_now_ns() + SETTLE_LIMIT_NS;
    struct hg_stream_status status;
    for (;;) {
        int rc = hg_stream_status_get(in->stream, &status);
        if (rc < 0) {
            return dataplane_absent(rc) ? SESSION_DATAPLANE
                                        : stream_refused(in, rc, "can't read the state of");
        }
        bool settled = in->receive.lsn_appended != 0 || status.lsn_consumed <= status.lsn_durable;
        if (settled || hg_stop_now_ns() >= limit_ns) {
            break;
        }
        if (hg_stop_requested()) {
            return SESSION_STOPPED;
        }
        hg_stop_pause(HG_NS_PER_MS);
    }
    facts_take(facts, &status);
    return SESSION_PRIMARY;
}

static void pending_free(struct in *in)
{
    for (unsigned i = in->pending_first; i < in->pending_count; i++) {
        hg_primary_message_free(in->pending_message[i]);
    }
    in->pending_first = 0;
    in->pending_count = 0;
}

/* ---- from the primary
 * ------------------------------------------------------------------------------------------ */

static void stream_ended(struct in *in, enum hg_receive_outcome outcome)
{
    in->ended = true;
    in->outcome = outcome;
}

static void message_take(struct in *in, char *bytes, uint32_t size, uint64_t now_ns)
{
    struct hg_replication_message message;
    enum hg_receive_outcome outcome = hg_receive_message(&in->receive, bytes, size, now_ns, &message);
    if (outcome == HG_RECEIVE_OK && message.is_data) {
        struct hg_entry *entry = &in->pending[in->pending_count];
        memset(entry, 0, sizeof(*entry));
        entry->lsn = message.lsn;
        entry->span = message.data_bytes;
        entry->op = OPAQUE_OPERATION;
        entry->data = message.data;
        entry->data_bytes = message.data_bytes;
        in->pending_message[in->pending_count++] = bytes;
        return;
    }
    hg_primary_message_free(bytes);
    if (outcome != HG_RECEIVE_OK) {
        char expected[HG_LSN_TEXT_BYTES], came[HG_LSN_TEXT_BYTES];
        if (outcome == HG_RECEIVE_MALFORMED) {
            snprintf(in->primary.error, sizeof(in->primary.error), "the primary sent %s",
                     hg_replication_parse_text(in->receive.defect));
        } else {
            snprintf(in->primary.error, sizeof(in->primary.error),
                     "the primary sent WAL at %s where %s comes next", hg_lsn_format(came, message.lsn),
                     hg_lsn_format(expected, in->receive.lsn_next));
        }
        stream_ended(in, outcome);
    }
}

/* Fills the batch with what is there. Returns whether anything came. */
static bool messages_take(struct in *in, uint64_t now_ns)
{
    hg_assert(in->pending_first == in->pending_count);
    in->pending_first = 0;
    in->pending_count = 0;
    /* One read of libpq may leave a TLS record's rest where poll() doesn't see it. */
    unsigned rounds = in->primary.tls ? 3 : 1;
    unsigned count = 0;
    while (in->pending_count < BATCH_MESSAGES_MAX && count < 4 * BATCH_MESSAGES_MAX && !in->ended) {
        char *bytes = NULL;
        int size = hg_primary_read(&in->primary, &bytes);
        if (size > 0) {
            message_take(in, bytes, (uint32_t)size, now_ns);
            count++;
        } else if (size < 0) {
            stream_ended(in, hg_primary_ended(&in->primary));
            count++;
        } else if (rounds-- == 0 || count > 0) {
            break;
        } else {
            hg_primary_consume(&in->primary);
        }
    }
    return count > 0;
}

/* ---- into the stream
 * ------------------------------------------------------------------------------------------- */

static void hold(struct in *in, int rc)
{
    struct hg_stream_status status;
    char error[512];
    uint64_t now_ns = hg_stop_now_ns();
    if (!in->held) {
        in->held = true;
        in->held_said = false;
        in->held_since_ns = now_ns;
    }
    in->held_check_ns = now_ns + HELD_CHECK_NS;
    bool full = rc == HG_E_WOULD_BLOCK;
    if (full && now_ns < in->held_since_ns + HELD_SAY_NS) {
        return;
    }
    snprintf(error, sizeof(error), "%s", full ? "its ring or log is full" : hg_client_error(in->client));
    if (hg_stream_status_get(in->stream, &status) == 0 && !status.writable && status.writable_why != NULL) {
        snprintf(error, sizeof(error), "%s", status.writable_why);
    }
    in->held_said = true;
    hg_report_say(&in->report, HG_REPORT_HELD_BACK,
                  "the stream takes nothing now (%s): %s; the primary keeps WAL for slot %s",
                  hg_error_name(rc), error, in->options->slot);
}

static void pending_appended(struct in *in, unsigned count)
{
    hg_assert(count <= in->pending_count - in->pending_first);
    const struct hg_entry *last = &in->pending[in->pending_first + count - 1];
    hg_receive_appended(&in->receive, last->lsn + last->span);
    for (unsigned i = 0; i < count; i++) {
        hg_primary_message_free(in->pending_message[in->pending_first++]);
    }
    if (in->held && in->pending_first == in->pending_count) {
        in->held = false;
        if (in->held_said) {
            hg_report_say(&in->report, HG_REPORT_RESUMED, "the stream takes WAL again");
        }
    }
}

/* Appends what fits. SESSION_PRIMARY: go on. */
static enum session_end pending_append(struct in *in, bool *moved)
{
    unsigned count = in->pending_count - in->pending_first;
    int rc = hg_stream_append(in->stream, &in->pending[in->pending_first], count, 0);
    if (rc > 0) {
        pending_appended(in, (unsigned)rc);
        *moved = true;
        return SESSION_PRIMARY;
    }
    switch (rc) {
    case HG_E_CLOSED:
        return SESSION_DATAPLANE;
    case HG_E_GAP:
    case HG_E_OVERLAP:
        return SESSION_RESYNC;
    case 0:
    case HG_E_WOULD_BLOCK:
    case HG_E_TIMEOUT:
        hold(in, HG_E_WOULD_BLOCK);
        return SESSION_PRIMARY;
    case HG_E_NOT_READY:
    case HG_E_NOT_LEADER:
    case HG_E_READ_ONLY:
        hold(in, rc);
        return SESSION_PRIMARY;
    default:
        return stream_refused(in, rc, "can't append to");
    }
}

/* ---- reports to the primary
 * ------------------------------------------------------------------------------------ */

static void durable_take(struct in *in)
{
    uint64_t before = in->receive.lsn_durable;
    uint64_t durable = hg_stream_durable_end(in->stream);
    if (!hg_receive_durable(&in->receive, durable)) {
        char was[HG_LSN_TEXT_BYTES], is[HG_LSN_TEXT_BYTES];
        hg_report_say(&in->report, HG_REPORT_DURABLE_MOVED_BACK,
                      "the stream's durable end was %s and is now %s: the log lost what it had promised",
                      hg_lsn_format(was, before), hg_lsn_format(is, durable));
    }
    if (durable > before) {
        in->resync_count = 0;
    }
    hg_receive_committed(&in->receive, hg_stream_committed_end(in->stream));
}

static void status_send(struct in *in, uint64_t now_ns)
{
    uint8_t message[HG_REPLICATION_STATUS_BYTES];
    bool reading = !in->held;
    if (in->ended) {
        return;
    }
    if (hg_receive_silent(&in->receive, now_ns, reading)) {
        snprintf(in->primary.error, sizeof(in->primary.error), "the primary has been silent for %u s",
                 (unsigned)(HG_RECEIVE_SILENCE_GONE_NS / HG_NS_PER_S));
        stream_ended(in, HG_RECEIVE_PRIMARY_ERROR);
        return;
    }
    if (!hg_receive_status(&in->receive, now_ns, time_since_2000_us(), reading, message)) {
        return;
    }
    int rc = hg_primary_send(&in->primary, message, sizeof(message));
    if (rc == 0) {
        in->receive.reply_owed = true; /* no room in the socket: send the newest position when there is */
        in->primary.flush_pending = true;
    }
    if (rc < 0) {
        stream_ended(in, hg_primary_ended(&in->primary));
    }
}

static void progress_say(struct in *in, uint64_t now_ns)
{
    if (now_ns >= in->progress_ns) {
        in->progress_ns = now_ns + HG_NS_PER_S;
        hg_report_progress(&in->report, in->receive.lsn_primary, in->receive.lsn_next,
                           in->receive.lsn_durable);
    }
}

/* ---- the loop
 * -------------------------------------------------------------------------------------------------- */

/* Sleeps until the primary, the dataplane or a timer has something. SESSION_PRIMARY: go on. */
static enum session_end news_wait(struct in *in, uint64_t now_ns)
{
    struct pollfd fds[3] = {{.fd = -1}, {.fd = -1}};
    uint64_t wake_ns = now_ns + STREAM_CHECK_NS;
    if (!in->ended) {
        wake_ns = hg_min_u64(wake_ns, hg_receive_wake_ns(&in->receive, !in->held));
        fds[0].fd = hg_primary_fd(&in->primary);
        fds[0].events = (short)((in->held ? 0 : POLLIN) | (in->primary.flush_pending ? POLLOUT : 0));
        if (fds[0].events == 0) {
            fds[0].fd = -1;
        }
    }
    if (in->held && in->pending_first < in->pending_count) {
        wake_ns = hg_min_u64(wake_ns, in->held_check_ns);
    }
    if (hg_client_sleep(in->client)) {
        fds[1].fd = hg_client_fd(in->client);
        fds[1].events = POLLIN;
        hg_stop_poll(fds, 2, wake_ns);
    } else {
        in->stream_check_ns = 0; /* the news may be that the stream was closed */
    }
    int rc = hg_client_wake(in->client, 0);
    if (rc < 0) {
        return SESSION_DATAPLANE;
    }
    if (fds[0].revents & POLLOUT && !hg_primary_flush(&in->primary)) {
        stream_ended(in, hg_primary_ended(&in->primary));
    }
    return SESSION_PRIMARY;
}

/* Hears of a closed stream or a refused entry although nothing is to be appended now. */
static enum session_end stream_check(struct in *in, uint64_t now_ns)
{
    if (now_ns < in->stream_check_ns) {
        return SESSION_PRIMARY;
    }
    in->stream_check_ns = now_ns + STREAM_CHECK_NS;
    int rc = hg_stream_wait(in->stream, HG_WHERE_DURABLE, 0, in->receive.lsn_appended, 0);
    if (rc == 0 || rc == HG_E_WOULD_BLOCK || rc == HG_E_TIMEOUT) {
        return SESSION_PRIMARY;
    }
    if (rc == HG_E_GAP || rc == HG_E_OVERLAP) {
        return SESSION_RESYNC;
    }
    if (rc == HG_E_NOT_LEADER || rc == HG_E_READ_ONLY) { /* sealed, as an append would hear */
        if (!in->held_said || !in->held) {
            hold(in, rc);
        }
        return SESSION_PRIMARY;
    }
    return dataplane_absent(rc) ? SESSION_DATAPLANE : stream_refused(in, rc, "can't append to");
}

static enum session_end pump(struct in *in)
{
    enum session_end end = SESSION_PRIMARY;
    while (end == SESSION_PRIMARY) {
        if (hg_stop_requested()) {
            return SESSION_STOPPED;
        }
        bool moved = false;
        uint64_t now_ns = hg_stop_now_ns();
        if (in->pending_first == in->pending_count) {
            if (in->ended) {
                return SESSION_PRIMARY;
            }
            moved = messages_take(in, now_ns);
        }
        if (in->pending_first < in->pending_count) {
            end = pending_append(in, &moved);
        }
        if (end == SESSION_PRIMARY) {
            end = stream_check(in, now_ns);
        }
        if (end == SESSION_PRIMARY) {
            durable_take(in);
            status_send(in, now_ns);
            progress_say(in, now_ns);
        }
        if (end == SESSION_PRIMARY && !moved) {
            end = news_wait(in, now_ns);
        }
    }
    return end;
}

/* Checks before anything on the primary is touched; then slot, start, stream. */
static enum session_end start(struct in *in)
{
    struct hg_stream_facts facts;
    bool created = false;
    enum session_end end = stream_settled(in, &facts);
    if (end != SESSION_PRIMARY) {
        return end;
    }
    in->outcome = hg_receive_check(&in->facts, &facts);
    if (in->outcome == HG_RECEIVE_OK) {
        in->outcome = hg_primary_slot(&in->primary, in->options->slot, &in->facts, &created);
    }
    if (created) {
        hg_report_say(&in->report, HG_REPORT_SLOT_CREATED,
                      "made physical replication slot \"%s\" on %s port %s", in->options->slot,
                      hg_primary_host(&in->primary), hg_primary_port(&in->primary));
    }
    if (in->outcome == HG_RECEIVE_OK) {
        in->outcome = hg_receive_start(&in->receive, &in->facts, &facts, hg_stop_now_ns());
    }
    if (in->outcome == HG_RECEIVE_OK) {
        in->outcome =
            hg_primary_start(&in->primary, in->options->slot, in->receive.lsn_next, in->facts.timeline);
    }
    if (in->outcome != HG_RECEIVE_OK) {
        return SESSION_PRIMARY;
    }
    char lsn[HG_LSN_TEXT_BYTES];
    hg_report_say(&in->report, HG_REPORT_STREAMING, "from %s port %s, timeline %u, from %s on",
                  hg_primary_host(&in->primary), hg_primary_port(&in->primary), in->facts.timeline,
                  hg_lsn_format(lsn, in->receive.lsn_next));
    in->backoff_ns = 0;
    in->ended = false;
    in->held = false;
    return pump(in);
}

static enum session_end session(struct in *in)
{
    in->outcome = hg_primary_connect(&in->primary, in->options->primary);
    if (in->outcome == HG_RECEIVE_OK) {
        in->outcome = hg_primary_identify(&in->primary, &in->facts);
    }
    if (in->outcome != HG_RECEIVE_OK) {
        return SESSION_PRIMARY;
    }
    enum session_end end = attach(in);
    return end == SESSION_PRIMARY && in->outcome == HG_RECEIVE_OK ? start(in) : end;
}

/* ---- what to do next, and what to say
 * -------------------------------------------------------------------------- */

static void stream_facts_say(struct in *in, struct hg_stream_status *status)
{
    memset(status, 0, sizeof(*status));
    if (in->stream != NULL) {
        (void)hg_stream_status_get(in->stream, status); /* zeros say "unknown" well enough in a sentence */
    }
}

static void fatal_say(struct in *in)
{
    const char *name = hg_receive_outcome_name(in->outcome);
    const char *slot = in->options->slot;
    char a[HG_LSN_TEXT_BYTES], b[HG_LSN_TEXT_BYTES];
    struct hg_stream_status status;
    stream_facts_say(in, &status);
    switch (in->outcome) {
    case HG_RECEIVE_OTHER_SYSTEM:
        hg_report_fatal(
            &in->report, name,
            "stream %s belongs to PostgreSQL system %llu, the primary is %llu. Nothing was touched. "
            "Point --primary at the right cluster, or give this one a stream of its own.",
            in->options->stream, (unsigned long long)status.system_identifier,
            (unsigned long long)in->facts.system_identifier);
        return;
    case HG_RECEIVE_OTHER_SEGMENT_SIZE:
        hg_report_fatal(
            &in->report, name,
            "stream %s has WAL segments of %u bytes, the primary of %u. Nothing was touched. Give the "
            "cluster a stream of its own.",
            in->options->stream, status.lsn_unit_bytes, in->facts.segment_bytes);
        return;
    case HG_RECEIVE_TIMELINE_SWITCH: {
        uint32_t next = in->primary.timeline_next != 0 ? in->primary.timeline_next : in->facts.timeline;
        hg_report_fatal(
            &in->report, name,
            "timeline switch: this version keeps timeline %u up to %s; the primary is on timeline %u. "
            "Everything received stays in the log. To follow the new timeline, configure a new stream "
            "and start helio-postgres on it.",
            status.incarnation, hg_lsn_format(a, status.lsn_durable), next);
        return;
    }
    case HG_RECEIVE_WAL_REMOVED:
        hg_report_fatal(
            &in->report, name,
            "the primary no longer has WAL from %s on, which stream %s needs next: %s. Slot \"%s\" did "
            "not hold it (dropped and made anew, or past max_slot_wal_keep_size). What was received up to "
            "there stays. To go on, configure a new stream and take a new base backup; set "
            "max_slot_wal_keep_size higher or -1. Drop the slot if nothing will use it: it holds WAL.",
            hg_lsn_format(a, in->receive.lsn_next), in->options->stream, in->primary.error, slot);
        return;
    case HG_RECEIVE_PRIMARY_BEHIND:
        hg_report_fatal(
            &in->report, name,
            "the primary's WAL ends at %s but stream %s already has it up to %s: the primary lost WAL or "
            "is an older copy. Nothing was changed. Recover the primary from the stream, or give it a "
            "new stream.",
            hg_lsn_format(a, in->facts.lsn_flush), in->options->stream,
            hg_lsn_format(b, hg_max_u64(status.lsn_durable, in->receive.lsn_appended)));
        return;
    case HG_RECEIVE_PERMISSION:
        hg_report_fatal(&in->report, name,
                        "%s. The role needs the REPLICATION attribute: ALTER ROLE ... REPLICATION.",
                        in->primary.error);
        return;
    case HG_RECEIVE_SLOT_NOT_PHYSICAL:
        hg_report_fatal(&in->report, name,
                        "%s. --slot \"%s\" must name a physical slot; choose another name.",
                        in->primary.error, slot);
        return;
    default:
        hg_report_fatal(&in->report, name, "%s. Nothing of it was stored.", in->primary.error);
    }
}

static void primary_gone_say(struct in *in)
{
    const char *remedy = hg_receive_remedy(in->primary.error);
    if (in->outcome == HG_RECEIVE_SLOT_BUSY) {
        remedy = "another helio-postgres or standby uses the slot, or the primary hasn't noticed the last "
                 "one's end";
    } else if (in->outcome == HG_RECEIVE_NO_FREE_SLOT) {
        remedy = "raise max_replication_slots or max_wal_senders, or drop a slot nobody uses";
    }
    bool known = remedy[0] != '\0';
    hg_report_say(&in->report, HG_REPORT_PRIMARY_GONE, "%s: %s%s%s%s; trying again",
                  hg_receive_outcome_name(in->outcome), in->primary.error, known ? " (" : "", remedy,
                  known ? ")" : "");
}

/* Until the stream is attached again. False: the process ends with in->exit_code. */
static bool dataplane_wait(struct in *in)
{
    hg_report_say(&in->report, HG_REPORT_DATAPLANE_GONE, "%s; waiting for it at %s",
                  hg_client_error(in->client), in->options->run);
    hg_receive_dataplane_lost(&in->receive);
    while (!hg_stop_requested()) {
        char lsn[HG_LSN_TEXT_BYTES];
        uint64_t start_ns = hg_stop_now_ns();
        int rc = hg_stream_wait(in->stream, HG_WHERE_DURABLE, 0, 0, start_ns + ATTACH_SLICE_NS);
        if (rc == 0) {
            hg_report_say(&in->report, HG_REPORT_DATAPLANE_BACK, "durable up to %s",
                          hg_lsn_format(lsn, hg_stream_durable_end(in->stream)));
            return true;
        }
        if (!dataplane_absent(rc) && rc != HG_E_READ_ONLY && rc != HG_E_UNKNOWN) {
            stream_refused(in, rc, "can't attach again");
            return false;
        }
        if (rc != HG_E_CLOSED) {
            hg_report_say(&in->report, HG_REPORT_WAITING, "for stream %s at %s: %s", in->options->stream,
                          in->options->run, hg_client_error(in->client));
        }
        slice_rest_pause(start_ns);
    }
    return true;
}

/* Returns false when the same position was refused again and again. */
static bool resync(struct in *in)
{
    char lsn[HG_LSN_TEXT_BYTES];
    hg_lsn_format(lsn, in->receive.lsn_appended != 0 ? in->receive.lsn_appended : in->receive.lsn_durable);
    in->resync_count++;
    if (in->resync_count > RESYNC_MAX) {
        hg_report_fatal(&in->report, "refused", "the stream refuses WAL at %s: %s", lsn,
                        hg_client_error(in->client));
        in->exit_code = HG_EXIT_NOT_CONTIGUOUS;
        return false;
    }
    hg_report_say(&in->report, HG_REPORT_RESYNC,
                  "the stream refused WAL at %s (%s); going on from its durable end", lsn,
                  hg_client_error(in->client));
    hg_receive_dataplane_lost(&in->receive);
    hg_stream_detach(in->stream); /* a refused attachment takes nothing more */
    in->stream = NULL;
    hg_stop_pause(hg_receive_backoff(&in->backoff_ns));
    return true;
}

/* False: the process ends with in->exit_code. */
static bool after_session(struct in *in, enum session_end end)
{
    pending_free(in);
    switch (end) {
    case SESSION_STOPPED:
        in->exit_code = HG_EXIT_OK;
        return false;
    case SESSION_EXIT:
        return false;
    case SESSION_DATAPLANE:
        hg_primary_close(&in->primary);
        return dataplane_wait(in);
    case SESSION_RESYNC:
        hg_primary_close(&in->primary);
        return resync(in);
    case SESSION_PRIMARY:
        break;
    }
    hg_assert(in->outcome != HG_RECEIVE_OK);
    if (hg_stop_requested()) {
        return true;
    }
    in->exit_code = hg_receive_outcome_exit(in->outcome);
    if (in->exit_code != 0) {
        fatal_say(in);
        return false;
    }
    primary_gone_say(in);
    hg_primary_close(&in->primary);
    hg_stop_pause(hg_receive_backoff(&in->backoff_ns));
    return true;
}

int hg_postgres_in(const struct hg_postgres_options *options)
{
    static struct in in;
    in.options = options;
    hg_report_init(&in.report, "in", options->stream, options->json);
    hg_receive_init(&in.receive, options->status_interval_ns);
    in.client = hg_client_open(options->run, "helio-postgres-in");
    if (in.client == NULL) {
        hg_report_fatal(&in.report, "memory", "out of memory");
        return HG_EXIT_FAILED;
    }
    bool more = true;
    while (more) {
        more = hg_stop_requested() ? after_session(&in, SESSION_STOPPED) : after_session(&in, session(&in));
    }
    if (in.exit_code == HG_EXIT_OK) {
        hg_report_say(&in.report, HG_REPORT_STOPPED, "as asked");
    }
    hg_report_counts(&in.report);
    hg_primary_close(&in.primary);
    if (in.stream != NULL) {
        hg_stream_detach(in.stream);
    }
    hg_client_close(in.client);
    return in.exit_code;
}
