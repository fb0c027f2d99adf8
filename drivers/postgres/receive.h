/* SPDX-License-Identifier: Apache-2.0
 *
 * The decisions of `helio-postgres in`: whether this primary may feed this stream and from where, whether a
 * message continues it, when and what to report, when the primary counts as gone. Pure: no socket, no clock;
 * `now_ns` is a parameter. One thread.
 *
 * Four positions, all exclusive ends: `lsn_next` is what the next message must begin with, `lsn_appended`
 * what the append ring has taken, `lsn_durable` what the local log has on its device, `lsn_committed` what a
 * quorum of the region has (without one it is the same). Only the last is ever reported; the one before says
 * where to go on.
 */
#ifndef HG_POSTGRES_RECEIVE_H
#define HG_POSTGRES_RECEIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/postgres/replication.h"

/* What stops or refuses: name, exit code of the process (0 = it is retried). docs/postgres.md lists them. */
#define HG_RECEIVE_OUTCOMES(X)                                                                               \
    X(OK, ok, 0)                                                                                             \
    X(OTHER_SYSTEM, other_system, 3)                                                                         \
    X(OTHER_SEGMENT_SIZE, other_segment_size, 3)                                                             \
    X(TIMELINE_SWITCH, timeline_switch, 4)                                                                   \
    X(WAL_REMOVED, wal_removed, 5)                                                                           \
    X(PRIMARY_BEHIND, primary_behind, 6)                                                                     \
    X(GAP, gap, 6)                                                                                           \
    X(OVERLAP, overlap, 6)                                                                                   \
    X(MALFORMED, malformed, 6)                                                                               \
    X(SLOT_NOT_PHYSICAL, slot_not_physical, 7)                                                               \
    X(PERMISSION, permission, 7)                                                                             \
    X(SERVER_TOO_OLD, server_too_old, 7)                                                                     \
    X(SLOT_BUSY, slot_busy, 0)                                                                               \
    X(NO_FREE_SLOT, no_free_slot, 0)                                                                         \
    X(PRIMARY_ERROR, primary_error, 0)

enum hg_receive_outcome {
#define X(upper, lower, exit_code) HG_RECEIVE_##upper,
    HG_RECEIVE_OUTCOMES(X)
#undef X
        HG_RECEIVE_OUTCOME_COUNT
};
const char *hg_receive_outcome_name(enum hg_receive_outcome outcome);
int hg_receive_outcome_exit(enum hg_receive_outcome outcome);

/* What the primary said about itself. */
struct hg_primary_facts {
    uint64_t system_identifier;
    uint64_t lsn_flush;
    uint64_t slot_lsn;          /* restart_lsn; 0 = the slot reserves nothing */
    uint64_t sender_timeout_ns; /* 0 = it has none */
    uint32_t timeline;
    uint32_t segment_bytes;
};

/* What the local stream says; an empty stream has no end and may have no owner. */
struct hg_stream_facts {
    uint64_t system_identifier;
    uint64_t lsn_durable;
    uint64_t lsn_committed;
    uint32_t incarnation;
    uint32_t segment_bytes;
};

struct hg_receive {
    uint64_t lsn_next;
    uint64_t lsn_appended; /* 0 = not known since the dataplane (re)started: the durable end counts */
    uint64_t lsn_durable;
    uint64_t lsn_committed;
    uint64_t lsn_reported; /* in the last status; UINT64_MAX = none was sent on this connection */
    uint64_t lsn_primary;  /* its end, as it last said */
    uint64_t status_interval_configured_ns;
    uint64_t status_interval_ns;
    uint64_t status_sent_ns;
    uint64_t heard_ns;
    bool reply_owed;
    bool ping_sent;
    enum hg_replication_parse defect; /* after MALFORMED */
    uint64_t messages_count;
    uint64_t data_bytes;
    uint64_t statuses_count;
};

#define HG_RECEIVE_SILENCE_PING_NS  UINT64_C(30000000000)
#define HG_RECEIVE_SILENCE_GONE_NS  UINT64_C(60000000000)
#define HG_RECEIVE_BACKOFF_FIRST_NS UINT64_C(100000000)
#define HG_RECEIVE_BACKOFF_LIMIT_NS UINT64_C(5000000000)

void hg_receive_init(struct hg_receive *receive, uint64_t status_interval_ns);

/* Whether this primary's WAL belongs into this stream at all. Ask before anything is changed on the primary.
 */
enum hg_receive_outcome hg_receive_check(const struct hg_primary_facts *primary,
                                         const struct hg_stream_facts *stream);
/* Decides for a fresh connection. OK: start at receive->lsn_next. Otherwise nothing changed. */
enum hg_receive_outcome hg_receive_start(struct hg_receive *receive, const struct hg_primary_facts *primary,
                                         const struct hg_stream_facts *stream, uint64_t now_ns);

/* One CopyData payload. OK: *message is a keepalive, or data that continues the stream exactly. */
enum hg_receive_outcome hg_receive_message(struct hg_receive *receive, const void *bytes, size_t size,
                                           uint64_t now_ns, struct hg_replication_message *message);

/* The ring took everything below lsn. */
void hg_receive_appended(struct hg_receive *receive, uint64_t lsn);
/* The local log's durable end. Returns false when it moved backwards (reported by the caller; it counts from
 * now). */
bool hg_receive_durable(struct hg_receive *receive, uint64_t lsn);
/* The region's quorum has everything below lsn. A dataplane that restarted counts anew and may say less for a
 * while: what was once committed stays so. */
void hg_receive_committed(struct hg_receive *receive, uint64_t lsn);
/* What is acknowledged to the primary. */
uint64_t hg_receive_acknowledged(const struct hg_receive *receive);
/* The dataplane went away: what was appended beyond the durable end is to be received again. */
void hg_receive_dataplane_lost(struct hg_receive *receive);

/* True when a status is due (what is acknowledged moved, asked for, interval over, or a ping into silence);
 * then `message` is it and it counts as sent. `reading` is false while back-pressure keeps us from hearing
 * the primary. */
bool hg_receive_status(struct hg_receive *receive, uint64_t now_ns, int64_t time_us, bool reading,
                       uint8_t message[HG_REPLICATION_STATUS_BYTES]);
/* The primary has said nothing for HG_RECEIVE_SILENCE_GONE_NS although asked. */
bool hg_receive_silent(const struct hg_receive *receive, uint64_t now_ns, bool reading);
/* When hg_receive_status may next have something to say without an event. */
uint64_t hg_receive_wake_ns(const struct hg_receive *receive, bool reading);

/* What an SQLSTATE means here; `streaming`: it came in place of, or inside, the WAL stream. */
enum hg_receive_outcome hg_receive_classify(const char *sqlstate, bool streaming);
/* What to do about a connection that failed with this text of libpq or the server (in English: a failed
 * connection has no SQLSTATE to go by); "" when the text says it all or isn't known. */
const char *hg_receive_remedy(const char *text);

/* 100 ms doubling to 5 s; *backoff_ns is 0 after success. Returns the delay to wait now. */
uint64_t hg_receive_backoff(uint64_t *backoff_ns);

#endif
