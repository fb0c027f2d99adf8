/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/receive.h"

#include <string.h>

#include "drivers/platform/platform.h"
#include "drivers/postgres/lsn.h"

static const struct {
    const char *name;
    int exit_code;
} outcomes[HG_RECEIVE_OUTCOME_COUNT] = {
#define X(upper, lower, exit_code) {#lower, exit_code},
    HG_RECEIVE_OUTCOMES(X)
#undef X
};

const char *hg_receive_outcome_name(enum hg_receive_outcome outcome)
{
    hg_assert(outcome < HG_RECEIVE_OUTCOME_COUNT);
    return outcomes[outcome].name;
}

int hg_receive_outcome_exit(enum hg_receive_outcome outcome)
{
    hg_assert(outcome < HG_RECEIVE_OUTCOME_COUNT);
    return outcomes[outcome].exit_code;
}

void hg_receive_init(struct hg_receive *receive, uint64_t status_interval_ns)
{
    hg_assert(status_interval_ns > 0);
    memset(receive, 0, sizeof(*receive));
    receive->lsn_reported = UINT64_MAX;
    receive->status_interval_configured_ns = status_interval_ns;
    receive->status_interval_ns = status_interval_ns;
}

enum hg_receive_outcome hg_receive_check(const struct hg_primary_facts *primary,
                                         const struct hg_stream_facts *stream)
{
    if (stream->system_identifier != 0 && stream->system_identifier != primary->system_identifier) {
        return HG_RECEIVE_OTHER_SYSTEM;
    }
    if (stream->segment_bytes != 0 && stream->segment_bytes != primary->segment_bytes) {
        return HG_RECEIVE_OTHER_SEGMENT_SIZE;
    }
    /* A stream that nobody wrote to yet takes the primary's timeline as its incarnation. */
    if (stream->incarnation != 0 && stream->incarnation != primary->timeline) {
        return HG_RECEIVE_TIMELINE_SWITCH;
    }
    return HG_RECEIVE_OK;
}

static uint64_t start_position(const struct hg_receive *receive, const struct hg_primary_facts *primary,
                               const struct hg_stream_facts *stream)
{
    if (receive->lsn_appended != 0) {
        hg_assert(receive->lsn_appended >= stream->lsn_durable);
        return receive->lsn_appended;
    }
    if (stream->lsn_durable != 0) {
        return stream->lsn_durable;
    }
    /* A segment boundary, or the first standby could not be served and the first segment would be a torso. */
    uint64_t lsn = primary->slot_lsn != 0 ? primary->slot_lsn : primary->lsn_flush;
    return hg_segment_start(lsn, primary->segment_bytes);
}

enum hg_receive_outcome hg_receive_start(struct hg_receive *receive, const struct hg_primary_facts *primary,
                                         const struct hg_stream_facts *stream, uint64_t now_ns)
{
    hg_assert(primary->system_identifier != 0);
    hg_assert(hg_segment_bytes_valid(primary->segment_bytes));
    enum hg_receive_outcome outcome = hg_receive_check(primary, stream);
    if (outcome != HG_RECEIVE_OK) {
        return outcome;
    }
    uint64_t start = start_position(receive, primary, stream);
    /* A primary sends only what it has flushed, so one that has less than we do has lost WAL. */
    if (start > primary->lsn_flush) {
        return HG_RECEIVE_PRIMARY_BEHIND;
    }
    receive->lsn_next = start;
    receive->lsn_durable = stream->lsn_durable;
    hg_receive_committed(receive, stream->lsn_committed);
    receive->lsn_primary = primary->lsn_flush;
    receive->lsn_reported = UINT64_MAX;
    receive->status_sent_ns = now_ns;
    receive->heard_ns = now_ns;
    receive->reply_owed = false;
    receive->ping_sent = false;
    receive->status_interval_ns = receive->status_interval_configured_ns;
    if (primary->sender_timeout_ns != 0) {
        uint64_t limit_ns = hg_max_u64(primary->sender_timeout_ns / 3, HG_NS_PER_MS);
        receive->status_interval_ns = hg_min_u64(receive->status_interval_ns, limit_ns);
    }
    return HG_RECEIVE_OK;
}

enum hg_receive_outcome hg_receive_message(struct hg_receive *receive, const void *bytes, size_t size,
                                           uint64_t now_ns, struct hg_replication_message *message)
{
    receive->defect = hg_replication_parse(bytes, size, message);
    if (receive->defect != HG_PARSE_OK) {
        return HG_RECEIVE_MALFORMED;
    }
    receive->heard_ns = now_ns;
    receive->ping_sent = false;
    receive->messages_count++;
    receive->lsn_primary = hg_max_u64(receive->lsn_primary, message->lsn_end);
    if (!message->is_data) {
        receive->reply_owed = receive->reply_owed || message->reply_requested;
        return HG_RECEIVE_OK;
    }
    if (message->lsn > receive->lsn_next) {
        return HG_RECEIVE_GAP;
    }
    if (message->lsn < receive->lsn_next) {
        return HG_RECEIVE_OVERLAP;
    }
    receive->lsn_next += message->data_bytes;
    receive->data_bytes += message->data_bytes;
    return HG_RECEIVE_OK;
}

void hg_receive_appended(struct hg_receive *receive, uint64_t lsn)
{
    hg_assert(lsn <= receive->lsn_next);
    hg_assert(lsn > receive->lsn_appended);
    receive->lsn_appended = lsn;
}

bool hg_receive_durable(struct hg_receive *receive, uint64_t lsn)
{
    bool forward = lsn >= receive->lsn_durable;
    receive->lsn_durable = lsn;
    return forward;
}

void hg_receive_committed(struct hg_receive *receive, uint64_t lsn)
{
    receive->lsn_committed = hg_max_u64(receive->lsn_committed, lsn);
}

uint64_t hg_receive_acknowledged(const struct hg_receive *receive)
{
    return hg_min_u64(receive->lsn_committed, receive->lsn_durable); /* the log may have lost some */
}

void hg_receive_dataplane_lost(struct hg_receive *receive)
{
    receive->lsn_appended = 0;
}

static bool ping_due(const struct hg_receive *receive, uint64_t now_ns, bool reading)
{
    return reading && !receive->ping_sent && now_ns >= receive->heard_ns + HG_RECEIVE_SILENCE_PING_NS;
}

bool hg_receive_status(struct hg_receive *receive, uint64_t now_ns, int64_t time_us, bool reading,
                       uint8_t message[HG_REPLICATION_STATUS_BYTES])
{
    if (!reading) {
        /* Silence that we cause ourselves doesn't count. */
        receive->heard_ns = now_ns;
        receive->ping_sent = false;
    }
    bool ping = ping_due(receive, now_ns, reading);
    bool interval_over = now_ns >= receive->status_sent_ns + receive->status_interval_ns;
    uint64_t lsn = hg_receive_acknowledged(receive);
    if (receive->lsn_reported == lsn && !receive->reply_owed && !interval_over && !ping) {
        return false;
    }
    hg_replication_status_build(message, lsn, time_us, ping);
    receive->ping_sent = receive->ping_sent || ping;
    receive->lsn_reported = lsn;
    receive->reply_owed = false;
    receive->status_sent_ns = now_ns;
    receive->statuses_count++;
    return true;
}

bool hg_receive_silent(const struct hg_receive *receive, uint64_t now_ns, bool reading)
{
    return reading && now_ns >= receive->heard_ns + HG_RECEIVE_SILENCE_GONE_NS;
}

uint64_t hg_receive_wake_ns(const struct hg_receive *receive, bool reading)
{
    uint64_t wake_ns = receive->status_sent_ns + receive->status_interval_ns;
    if (reading) {
        uint64_t quiet_ns = receive->ping_sent ? HG_RECEIVE_SILENCE_GONE_NS : HG_RECEIVE_SILENCE_PING_NS;
        wake_ns = hg_min_u64(wake_ns, receive->heard_ns + quiet_ns);
    }
    return wake_ns;
}

enum hg_receive_outcome hg_receive_classify(const char *sqlstate, bool streaming)
{
    static const struct {
        const char *sqlstate;
        enum hg_receive_outcome outcome;
        bool streaming_only;
    } table[] = {
        {"58P01", HG_RECEIVE_WAL_REMOVED, true},        /* undefined_file: the segment is gone */
        {"42501", HG_RECEIVE_PERMISSION, false},        /* insufficient_privilege */
        {"0A000", HG_RECEIVE_SLOT_NOT_PHYSICAL, false}, /* feature_not_supported: reading a logical slot */
        {"55006", HG_RECEIVE_SLOT_BUSY, false},         /* object_in_use */
        {"53400", HG_RECEIVE_NO_FREE_SLOT, false},      /* configuration_limit_exceeded */
    };
    for (size_t i = 0; sqlstate != NULL && i < HG_COUNT(table); i++) {
        if (strcmp(sqlstate, table[i].sqlstate) == 0 && (streaming || !table[i].streaming_only)) {
            return table[i].outcome;
        }
    }
    return HG_RECEIVE_PRIMARY_ERROR;
}

const char *hg_receive_remedy(const char *text)
{
    static const struct {
        const char *part;
        const char *remedy;
    } table[] = {
        {"password authentication failed", "the role's password on the primary and the one in --primary's "
                                           "passfile differ: correct the file, or "
                                           "ALTER ROLE ... PASSWORD"},
        {"no password supplied",
         "give it in a file that --primary names by passfile=, of mode 0600, with a line "
         "host:port:replication:user:password"},
        {"pg_hba.conf rejects",
         "put above that line of the primary's pg_hba.conf: hostssl replication <user> <our address>/32 "
         "scram-sha-256; then reload it"},
        {"no pg_hba.conf entry",
         "add to the primary's pg_hba.conf: hostssl replication <user> <our address>/32 scram-sha-256; then "
         "reload it, and connect with sslmode=verify-full"},
        {"root certificate file",
         "sslrootcert= in --primary must name the CA certificate that issued the primary's; keep "
         "sslmode=verify-full"},
        {"certificate verify failed",
         "sslrootcert= in --primary must name the CA certificate that issued the primary's; if it does, the "
         "primary's certificate may have expired"},
        {"does not match host name", "host= must be a name in it (hostaddr= may give the address), or issue "
                                     "the primary one for this name"},
        {"server does not support SSL",
         "set ssl = on, ssl_cert_file and ssl_key_file on the primary, and reload it"},
    };
    for (size_t i = 0; i < HG_COUNT(table); i++) {
        if (strstr(text, table[i].part) != NULL) {
            return table[i].remedy;
        }
    }
    return "";
}

uint64_t hg_receive_backoff(uint64_t *backoff_ns)
{
    *backoff_ns = *backoff_ns == 0 ? HG_RECEIVE_BACKOFF_FIRST_NS
                                   : hg_min_u64(*backoff_ns * 2, HG_RECEIVE_BACKOFF_LIMIT_NS);
    return *backoff_ns;
}
