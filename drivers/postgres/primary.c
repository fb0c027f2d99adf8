/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/primary.h"

#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "drivers/platform/platform.h"
#include "drivers/postgres/lsn.h"
#include "drivers/postgres/stop.h"

#define CONNECT_LIMIT_NS   (15 * HG_NS_PER_S)
#define COMMAND_LIMIT_NS   (60 * HG_NS_PER_S) /* a busy primary may take a while to create a slot */
#define SERVER_VERSION_MIN 150000             /* READ_REPLICATION_SLOT */

__attribute__((format(printf, 2, 3))) static void error_set(struct hg_primary *primary, const char *format,
                                                            ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(primary->error, sizeof(primary->error), format, arguments);
    va_end(arguments);
    size_t length = strlen(primary->error);
    while (length > 0 && (unsigned char)primary->error[length - 1] <= ' ') {
        primary->error[--length] = '\0'; /* libpq ends its sentences with a line end */
    }
}

/* libpq looks at these two only when it connects, and would be asked again for ever. */
static bool option_valid(const PQconninfoOption *option, char *error, uint32_t error_bytes)
{
    static const char *const modes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
    bool good = true;
    if (option->val == NULL) {
        return true;
    }
    if (strcmp(option->keyword, "sslmode") == 0) {
        good = false;
        for (size_t i = 0; i < HG_COUNT(modes); i++) {
            good = good || strcmp(option->val, modes[i]) == 0;
        }
    } else if (strcmp(option->keyword, "port") == 0) { /* one a host, with commas; none = the default */
        const char *at = option->val;
        do {
            uint64_t port = 0;
            char text[6];
            size_t bytes = strcspn(at, ",");
            snprintf(text, sizeof(text), "%.*s", (int)(bytes < sizeof(text) ? bytes : 0), at);
            good = good && (bytes == 0 || (hg_decimal_parse(text, UINT16_MAX, &port) && port > 0));
            at += bytes;
        } while (*at++ == ',');
    }
    if (!good) {
        snprintf(error, error_bytes, "%s=%s is none\n", option->keyword, option->val);
    }
    return good;
}

bool hg_primary_conninfo_valid(const char *conninfo, char *error, uint32_t error_bytes)
{
    char *reason = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &reason);
    if (options == NULL) {
        snprintf(error, error_bytes, "%s", reason == NULL ? "out of memory" : reason);
        PQfreemem(reason);
        return false;
    }
    bool good = true;
    for (const PQconninfoOption *option = options; good && option->keyword != NULL; option++) {
        good = option_valid(option, error, error_bytes);
    }
    PQconninfoFree(options);
    return good;
}

int hg_primary_fd(const struct hg_primary *primary)
{
    return primary->connection == NULL ? -1 : PQsocket(primary->connection);
}

const char *hg_primary_host(const struct hg_primary *primary)
{
    const char *host = primary->connection == NULL ? NULL : PQhost(primary->connection);
    return host == NULL || host[0] == '\0' ? "the default host" : host;
}

const char *hg_primary_port(const struct hg_primary *primary)
{
    const char *port = primary->connection == NULL ? NULL : PQport(primary->connection);
    return port == NULL || port[0] == '\0' ? "5432" : port;
}

void hg_primary_close(struct hg_primary *primary)
{
    PQfinish(primary->connection);
    primary->connection = NULL;
    primary->flush_pending = false;
}

/* False when time is over or a stop was asked for. */
static bool wait_for(struct hg_primary *primary, short events, uint64_t deadline_ns)
{
    struct pollfd fds[2] = {{.fd = PQsocket(primary->connection), .events = events}};
    while (!hg_stop_requested()) {
        if (hg_stop_poll(fds, 1, deadline_ns) > 0) {
            return true;
        }
        if (hg_stop_now_ns() >= deadline_ns) {
            error_set(primary, "no answer from %s port %s in time", hg_primary_host(primary),
                      hg_primary_port(primary));
            return false;
        }
    }
    error_set(primary, "stopped");
    return false;
}

enum hg_receive_outcome hg_primary_connect(struct hg_primary *primary, const char *conninfo)
{
    /* Later words override the expanded conninfo: it may not turn replication off. "replication" as the
     * database's name is ignored by the server and looked up in .pgpass. */
    static const char *const keywords[] = {"dbname", "fallback_application_name", "replication",
                                           "dbname", "client_encoding",           NULL};
    const char *values[] = {conninfo, "helio-postgres", "true", "replication", "UTF8", NULL};
    uint64_t deadline_ns = hg_stop_now_ns() + CONNECT_LIMIT_NS;
    hg_assert(primary->connection == NULL);
    primary->connection = PQconnectStartParams(keywords, values, 1);
    if (primary->connection == NULL) {
        error_set(primary, "out of memory");
        return HG_RECEIVE_PRIMARY_ERROR;
    }
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (PQstatus(primary->connection) != CONNECTION_BAD && status != PGRES_POLLING_OK) {
        if (!wait_for(primary, status == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ns)) {
            return HG_RECEIVE_PRIMARY_ERROR;
        }
        status = PQconnectPoll(primary->connection);
    }
    if (PQstatus(primary->connection) == CONNECTION_BAD) {
        error_set(primary, "%s", PQerrorMessage(primary->connection));
        return HG_RECEIVE_PRIMARY_ERROR;
    }
    if (PQsetnonblocking(primary->connection, 1) != 0) {
        error_set(primary, "%s", PQerrorMessage(primary->connection));
        return HG_RECEIVE_PRIMARY_ERROR;
    }
    primary->tls = PQsslInUse(primary->connection) != 0;
    return HG_RECEIVE_OK;
}

/* The next result, NULL when there is none or the wait failed (*waited false). */
static PGresult *result_next(struct hg_primary *primary, uint64_t deadline_ns, bool *waited)
{
    *waited = true;
    while (PQisBusy(primary->connection)) {
        if (!hg_primary_flush(primary)) {
            break;
        }
        short events = primary->flush_pending ? POLLIN | POLLOUT : POLLIN;
        *waited = wait_for(primary, events, deadline_ns);
        if (!*waited) {
            return NULL;
        }
        if (PQconsumeInput(primary->connection) == 0) {
            break; /* the result says why */
        }
    }
    return PQgetResult(primary->connection);
}

static enum hg_receive_outcome result_error(struct hg_primary *primary, const PGresult *result,
                                            bool streaming)
{
    const char *text = result == NULL ? PQerrorMessage(primary->connection) : PQresultErrorMessage(result);
    error_set(primary, "%s", text[0] == '\0' ? "the primary gave no answer" : text);
    return hg_receive_classify(result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE),
                               streaming);
}

/* Runs a command. Its one row of at least `columns`; NULL with *outcome and primary->error otherwise. */
static PGresult *row(struct hg_primary *primary, const char *command, int columns,
                     enum hg_receive_outcome *outcome)
{
    uint64_t deadline_ns = hg_stop_now_ns() + COMMAND_LIMIT_NS;
    bool waited;
    *outcome = HG_RECEIVE_PRIMARY_ERROR;
    if (PQsendQuery(primary->connection, command) == 0) {
        error_set(primary, "%s", PQerrorMessage(primary->connection));
        return NULL;
    }
    PGresult *result = result_next(primary, deadline_ns, &waited);
    if (!waited) {
        return NULL;
    }
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        *outcome = result_error(primary, result, false);
        PQclear(result);
        return NULL;
    }
    PGresult *more = result_next(primary, deadline_ns, &waited);
    bool good = waited && more == NULL && PQntuples(result) == 1 && PQnfields(result) >= columns;
    PQclear(more);
    if (!good) {
        if (waited) {
            error_set(primary, "an answer of unexpected shape to %s", command);
        }
        PQclear(result);
        return NULL;
    }
    *outcome = HG_RECEIVE_OK;
    return result;
}

static enum hg_receive_outcome unreadable(struct hg_primary *primary, const char *what)
{
    error_set(primary, "the primary's %s can't be read", what);
    return HG_RECEIVE_PRIMARY_ERROR;
}

static enum hg_receive_outcome identify_system(struct hg_primary *primary, struct hg_primary_facts *facts)
{
    enum hg_receive_outcome outcome;
    uint64_t timeline = 0;
    PGresult *result = row(primary, "IDENTIFY_SYSTEM", 3, &outcome);
    if (result == NULL) {
        return outcome;
    }
    bool good = hg_decimal_parse(PQgetvalue(result, 0, 0), UINT64_MAX, &facts->system_identifier) &&
                hg_decimal_parse(PQgetvalue(result, 0, 1), UINT32_MAX, &timeline) &&
                hg_lsn_parse(PQgetvalue(result, 0, 2), &facts->lsn_flush);
    PQclear(result);
    facts->timeline = (uint32_t)timeline;
    good = good && facts->system_identifier != 0 && facts->timeline != 0;
    return good ? HG_RECEIVE_OK : unreadable(primary, "answer to IDENTIFY_SYSTEM");
}

enum hg_receive_outcome hg_primary_identify(struct hg_primary *primary, struct hg_primary_facts *facts)
{
    enum hg_receive_outcome outcome;
    memset(facts, 0, sizeof(*facts));
    int version = PQserverVersion(primary->connection);
    if (version < SERVER_VERSION_MIN) {
        error_set(primary, "the primary is PostgreSQL %d; 15 or later is needed", version / 10000);
        return HG_RECEIVE_SERVER_TOO_OLD;
    }
    outcome = identify_system(primary, facts);
    if (outcome != HG_RECEIVE_OK) {
        return outcome;
    }
    PGresult *result = row(primary, "SHOW wal_segment_size", 1, &outcome);
    if (result == NULL) {
        return outcome;
    }
    bool good = hg_segment_bytes_parse(PQgetvalue(result, 0, 0), &facts->segment_bytes);
    PQclear(result);
    if (!good) {
        return unreadable(primary, "wal_segment_size");
    }
    result = row(primary, "SHOW wal_sender_timeout", 1, &outcome);
    if (result == NULL) {
        return outcome;
    }
    good = hg_duration_parse(PQgetvalue(result, 0, 0), &facts->sender_timeout_ns);
    PQclear(result);
    return good ? HG_RECEIVE_OK : unreadable(primary, "wal_sender_timeout");
}

static enum hg_receive_outcome slot_read(struct hg_primary *primary, const char *slot,
                                         struct hg_primary_facts *facts, bool *exists)
{
    char command[HG_REPLICATION_COMMAND_BYTES];
    enum hg_receive_outcome outcome;
    snprintf(command, sizeof(command), "READ_REPLICATION_SLOT \"%s\"", slot);
    PGresult *result = row(primary, command, 3, &outcome);
    if (result == NULL) {
        return outcome;
    }
    *exists = !PQgetisnull(result, 0, 0);
    bool physical = !*exists || strcmp(PQgetvalue(result, 0, 0), "physical") == 0;
    bool good = true;
    facts->slot_lsn = 0;
    if (*exists && !PQgetisnull(result, 0, 1)) {
        good = hg_lsn_parse(PQgetvalue(result, 0, 1), &facts->slot_lsn);
    }
    PQclear(result);
    if (!physical) {
        error_set(primary, "replication slot \"%s\" is not physical", slot);
        return HG_RECEIVE_SLOT_NOT_PHYSICAL;
    }
    return good ? HG_RECEIVE_OK : unreadable(primary, "replication slot");
}

enum hg_receive_outcome hg_primary_slot(struct hg_primary *primary, const char *slot,
                                        struct hg_primary_facts *facts, bool *created)
{
    char command[HG_REPLICATION_COMMAND_BYTES];
    hg_assert(hg_slot_name_valid(slot));
    *created = false;
    bool exists = false;
    enum hg_receive_outcome outcome = slot_read(primary, slot, facts, &exists);
    if (outcome != HG_RECEIVE_OK || exists) {
        return outcome;
    }
    snprintf(command, sizeof(command), "CREATE_REPLICATION_SLOT \"%s\" PHYSICAL (RESERVE_WAL)", slot);
    PGresult *result = row(primary, command, 1, &outcome);
    if (result == NULL) {
        return outcome;
    }
    PQclear(result);
    *created = true;
    outcome = slot_read(primary, slot, facts, &exists);
    if (outcome == HG_RECEIVE_OK && facts->slot_lsn == 0) {
        return unreadable(primary, "new replication slot");
    }
    return outcome;
}

/* The row that closes a timeline: the next one and where it begins. */
static enum hg_receive_outcome timeline_ended(struct hg_primary *primary, const PGresult *result)
{
    uint64_t timeline = 0;
    primary->timeline_next = 0;
    primary->lsn_switch = 0;
    if (PQntuples(result) == 1 && PQnfields(result) >= 2) {
        hg_decimal_parse(PQgetvalue(result, 0, 0), UINT32_MAX, &timeline);
        hg_lsn_parse(PQgetvalue(result, 0, 1), &primary->lsn_switch);
    }
    primary->timeline_next = (uint32_t)timeline;
    error_set(primary, "the primary ended its timeline");
    return HG_RECEIVE_TIMELINE_SWITCH;
}

enum hg_receive_outcome hg_primary_start(struct hg_primary *primary, const char *slot, uint64_t lsn,
                                         uint32_t timeline)
{
    char command[HG_REPLICATION_COMMAND_BYTES], text[HG_LSN_TEXT_BYTES];
    bool waited;
    hg_assert(hg_slot_name_valid(slot));
    snprintf(command, sizeof(command), "START_REPLICATION SLOT \"%s\" PHYSICAL %s TIMELINE %u", slot,
             hg_lsn_format(text, lsn), timeline);
    if (PQsendQuery(primary->connection, command) == 0) {
        error_set(primary, "%s", PQerrorMessage(primary->connection));
        return HG_RECEIVE_PRIMARY_ERROR;
    }
    PGresult *result = result_next(primary, hg_stop_now_ns() + COMMAND_LIMIT_NS, &waited);
    if (!waited) {
        return HG_RECEIVE_PRIMARY_ERROR;
    }
    enum hg_receive_outcome outcome = HG_RECEIVE_OK;
    if (PQresultStatus(result) == PGRES_TUPLES_OK) {
        outcome = timeline_ended(primary, result);
    } else if (PQresultStatus(result) != PGRES_COPY_BOTH) {
        outcome = result_error(primary, result, true);
    }
    PQclear(result);
    return outcome;
}

int hg_primary_read(struct hg_primary *primary, char **message)
{
    int size = PQgetCopyData(primary->connection, message, 1);
    return size < 0 ? -1 : size;
}

void hg_primary_message_free(char *message)
{
    PQfreemem(message);
}

void hg_primary_consume(struct hg_primary *primary)
{
    /* A failure shows as the end of the stream in the next hg_primary_read. */
    (void)PQconsumeInput(primary->connection);
}

enum hg_receive_outcome hg_primary_ended(struct hg_primary *primary)
{
    uint64_t deadline_ns = hg_stop_now_ns() + CONNECT_LIMIT_NS;
    bool waited;
    for (;;) {
        PGresult *result = result_next(primary, deadline_ns, &waited);
        if (!waited) {
            return HG_RECEIVE_PRIMARY_ERROR;
        }
        ExecStatusType status = PQresultStatus(result);
        enum hg_receive_outcome outcome = HG_RECEIVE_PRIMARY_ERROR;
        if (result == NULL && PQstatus(primary->connection) == CONNECTION_BAD) {
            outcome = result_error(primary, NULL, true);
        } else if (result == NULL || status == PGRES_COMMAND_OK) {
            error_set(primary, "the primary ended the stream: it is shutting down");
        } else if (status == PGRES_TUPLES_OK) {
            outcome = timeline_ended(primary, result);
        } else if (status == PGRES_COPY_IN || status == PGRES_COPY_BOTH) {
            /* It said CopyDone and waits for ours. */
            PQclear(result);
            if (PQputCopyEnd(primary->connection, NULL) < 0) {
                error_set(primary, "%s", PQerrorMessage(primary->connection));
                return HG_RECEIVE_PRIMARY_ERROR;
            }
            continue;
        } else {
            outcome = result_error(primary, result, true);
        }
        PQclear(result);
        return outcome;
    }
}

int hg_primary_send(struct hg_primary *primary, const uint8_t *message, uint32_t bytes)
{
    int rc = PQputCopyData(primary->connection, (const char *)message, (int)bytes);
    if (rc == 1 && !hg_primary_flush(primary)) {
        return -1;
    }
    return rc;
}

bool hg_primary_flush(struct hg_primary *primary)
{
    int rc = PQflush(primary->connection);
    primary->flush_pending = rc == 1;
    return rc >= 0;
}
