/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/helioctl/table.h"

#include "drivers/platform/platform.h"

#include <stdlib.h>

#define COLUMNS_MAX    26
#define CELL_BYTES_MAX 256

enum form { TEXT, NUMBER, BYTES, RATE, TIME, LSN };

struct column {
    const char *heading;
    const char *key;
    enum form form;
};

struct view {
    const char *name;
    const char *empty; /* said instead of an empty table */
    struct column columns[COLUMNS_MAX];
};

static const struct view views[] = {
    {"ports",
     "no ports",
     {{"PORT", "name", TEXT},
      {"STATE", "state", TEXT},
      {"DRIVER", "driver", TEXT},
      {"MAC", "mac", TEXT},
      {"ADDRESS", "address", TEXT},
      {"RX", "rx_bytes", BYTES},
      {"RX-PKTS", "rx_packets", NUMBER},
      {"TX", "tx_bytes", BYTES},
      {"TX-PKTS", "tx_packets", NUMBER},
      {"MISSED", "rx_missed", NUMBER},
      {"RECONNECTS", "reconnects", NUMBER},
      {"PROBLEM", "problem", TEXT}}},
    {"peers",
     "no peers",
     {{"PEER", "name", TEXT},
      {"STATE", "state", TEXT},
      {"FOR", "state_age_ns", TIME},
      {"REGION", "region", NUMBER},
      {"RTT", "srtt_ns", TIME},
      {"MIN-RTT", "rtt_min_ns", TIME},
      {"RATE", "rate_bytes_per_s", RATE},
      {"CONTROL", "congestion", TEXT},
      {"DOING", "congestion_state", TEXT},
      {"PACED", "pacing_bytes_per_s", RATE},
      {"DELIVERED", "delivery_bytes_per_s", RATE},
      {"CWND", "cwnd_bytes", BYTES},
      {"MTU", "path_mtu_bytes", NUMBER},
      {"ECN", "ecn", TEXT},
      {"MARKED", "ecn_marked_there", NUMBER},
      {"FEC", "fec", TEXT},
      {"PARITY", "fec_parity_sent", NUMBER},
      {"RECOVERED", "fec_recovered_there", NUMBER},
      {"UNRECOVERABLE", "fec_unrecoverable", NUMBER},
      {"IN-FLIGHT", "bytes_in_flight", BYTES},
      {"SENT", "data_bytes_sent", BYTES},
      {"RESENT", "data_bytes_resent", BYTES},
      {"RECEIVED", "data_bytes_received", BYTES},
      {"KEYS", "key_generation", NUMBER},
      {"PROBLEM", "problem", TEXT}}},
    {"lanes",
     "no lanes",
     {{"PEER", "peer", TEXT},
      {"WORKER", "worker", NUMBER},
      {"THERE", "worker_remote", NUMBER},
      {"STATE", "state", TEXT},
      {"SHARE", "share_per_mille", NUMBER},
      {"ECN", "ecn", TEXT},
      {"MARKED", "ecn_marked_there", NUMBER},
      {"RTT", "srtt_ns", TIME},
      {"IN-FLIGHT", "bytes_in_flight", BYTES},
      {"CREDIT", "credit_bytes_left", BYTES},
      {"GIVEN", "credit_bytes_given", BYTES},
      {"SENT", "data_bytes_sent", BYTES},
      {"RESENT", "data_bytes_resent", BYTES},
      {"RECEIVED", "data_bytes_received", BYTES},
      {"PKTS-SENT", "packets_sent", NUMBER},
      {"PKTS-LOST", "packets_lost", NUMBER},
      {"KEYS", "key_generation", NUMBER}}},
    {"placement",
     "no worker runs",
     {{"WORKER", "worker", NUMBER},
      {"STATE", "state", TEXT},
      {"LCORE", "lcore", NUMBER},
      {"CPU", "cpu", NUMBER},
      {"CORE", "core", NUMBER},
      {"NUMA", "numa_node", NUMBER},
      {"QUEUE", "port_queue", NUMBER},
      {"STREAMS", "stream_count", NUMBER},
      {"TURNS", "turns", NUMBER},
      {"IDLE", "turns_idle", NUMBER},
      {"HANDED-OVER", "rx_handed_over", NUMBER},
      {"LOG", "log", TEXT}}},
    {"streams",
     "no streams",
     {{"STREAM", "name", TEXT},
      {"STATE", "state", TEXT},
      {"WORKER", "worker", NUMBER},
      {"KIND", "kind", TEXT},
      {"REGION", "region", NUMBER},
      {"INC", "incarnation", NUMBER},
      {"EPOCH", "epoch", NUMBER},
      {"OLDEST", "lsn_oldest", LSN},
      {"COMMITTED", "lsn_committed", LSN},
      {"DURABLE", "lsn_durable", LSN},
      {"END", "lsn_end", LSN},
      {"RAW", "raw_bytes", BYTES},
      {"STORED", "stored_bytes", BYTES},
      {"CLIENTS", "clients", NUMBER},
      {"QUORUM", "quorum", TEXT}}},
    {"groups",
     "no groups",
     {{"GROUP", "group", NUMBER},
      {"WORKER", "worker", NUMBER},
      {"STATE", "state", TEXT},
      {"OPEN", "epoch_open", NUMBER},
      {"PROMISED", "epoch_promised", NUMBER},
      {"REGION", "region", NUMBER},
      {"STREAMS", "stream_count", NUMBER},
      {"GRANT", "grant", TEXT},
      {"LEFT ms", "grant_left_ms", NUMBER},
      {"CORRUPT", "corrupt_ranges", TEXT},
      {"MEMBERS", "members_generation", NUMBER},
      {"LOG", "log_uuid", TEXT},
      {"STEP", "step", TEXT},
      {"REASON", "reason", TEXT}}},
    {"members",
     "no members",
     {{"GROUP", "group", NUMBER},
      {"GENERATION", "generation", NUMBER},
      {"PHASE", "phase", TEXT},
      {"W", "w", NUMBER},
      {"HERE", "generation_here", NUMBER},
      {"PROGRESS", "progress", TEXT}}},
    {"tails",
     "no streams",
     {{"GROUP", "group", NUMBER},
      {"STREAM", "stream", TEXT},
      {"WORKER", "worker", NUMBER},
      {"EPOCH", "epoch_last", NUMBER},
      {"DURABLE", "lsn_durable", LSN},
      {"BEHIND", "behind", TEXT},
      {"CHAIN", "chain", TEXT}}},
    {"lag",
     "no stream is replicated from here",
     {{"STREAM", "stream", TEXT},
      {"PEER", "peer", TEXT},
      {"STATE", "state", TEXT},
      {"SENT", "lsn_sent", LSN},
      {"DURABLE", "lsn_durable", LSN},
      {"LAG", "lag_bytes", BYTES},
      {"LAG-TIME", "lag_ns", TIME}}},
    {"log",
     "no log",
     {{"LOG", "id", NUMBER},
      {"STATE", "state", TEXT},
      {"PATH", "path", TEXT},
      {"SIZE", "size_bytes", BYTES},
      {"FREE-SEGS", "segments_free", NUMBER},
      {"GROWING%", "grow_percent", NUMBER},
      {"SCRUBBED%", "scrub_percent", NUMBER},
      {"PASSES", "scrub_passes", NUMBER},
      {"ROTTEN", "scrub_corrupt", NUMBER},
      {"CORRUPT", "corrupt_left", NUMBER},
      {"LOSSES", "losses", NUMBER},
      {"SEGS", "segment_count", NUMBER},
      {"WRITTEN", "written_bytes", BYTES},
      {"BY", "flush", TEXT},
      {"FLUSHES", "flushes", NUMBER},
      {"FLUSH", "flush_ns_last", TIME},
      {"FLUSH-MAX", "flush_ns_max", TIME},
      {"DURABLE-P99", "durable_ns_p99", TIME},
      {"PRESSURE", "pressure", TEXT},
      {"MESSAGE", "message", TEXT}}},
    {"clients",
     "no clients",
     {{"CLIENT", "name", TEXT},
      {"PID", "pid", NUMBER},
      {"UID", "uid", NUMBER},
      {"STREAMS", "streams", NUMBER},
      {"APPENDED", "append_bytes", BYTES},
      {"DELIVERED", "deliver_bytes", BYTES}}},
    {"retention",
     "nobody holds anything of a log",
     {{"LOG", "log", NUMBER},
      {"KIND", "kind", TEXT},
      {"NAME", "name", TEXT},
      {"STREAM", "stream", TEXT},
      {"HELD", "held_bytes", BYTES},
      {"SHARE-%", "held_percent", NUMBER},
      {"FOR", "age_ns", TIME},
      {"DROP-BEHIND", "drop_behind_bytes", BYTES},
      {"DROP-AFTER", "drop_behind_ns", TIME},
      {"STATE", "state", TEXT}}},
    {"consumers",
     "no registered consumers",
     {{"CONSUMER", "name", TEXT}, {"STREAM", "stream", TEXT}, {"STATE", "state", TEXT}, {"LSN", "lsn", LSN}}},
    {"sessions",
     "no clients that number their entries",
     {{"STREAM", "stream", TEXT},
      {"LOG", "log", NUMBER},
      {"CLIENT", "client", NUMBER},
      {"FIRST", "sequence_first", NUMBER},
      {"LAST", "sequence", NUMBER},
      {"LSN", "lsn", NUMBER},
      {"EVICTED", "evicted", TEXT}}},
    {"drops",
     "nothing was dropped or refused",
     {{"WHERE", "where", TEXT}, {"NAME", "name", TEXT}, {"COUNT", "count", NUMBER}}},
    {"events",
     "no events",
     {{"TIME", "time", TEXT},
      {"SEVERITY", "severity", TEXT},
      {"EVENT", "name", TEXT},
      {"TEXT", "text", TEXT}}},
};

static bool right_aligned(enum form form)
{
    return form == NUMBER || form == BYTES || form == RATE || form == TIME || form == LSN;
}

void hg_table_bytes_format(double bytes, char *text, size_t text_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;

    while (bytes >= 999.5 && unit + 1 < HG_COUNT(units)) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, text_bytes, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
}

void hg_table_ns_format(double ns, char *text, size_t text_bytes)
{
    double seconds = ns / 1e9;

    if (ns == 0)
        snprintf(text, text_bytes, "0");
    else if (ns < 1e6)
        snprintf(text, text_bytes, "%.0f us", ns / 1e3);
    else if (ns < 1e9)
        snprintf(text, text_bytes, "%.1f ms", ns / 1e6);
    else if (seconds < 60)
        snprintf(text, text_bytes, "%.1f s", seconds);
    else if (seconds < 3600)
        snprintf(text, text_bytes, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, text_bytes, "%d h %d min", (int)(seconds / 3600), (int)(seconds / 60) % 60);
}

/* A physical stream's LSN as PostgreSQL writes it. */
static void lsn_format(const json_t *row, uint64_t lsn, char *text, size_t bytes)
{
    const char *kind = json_string_value(json_object_get(row, "kind"));

    if (kind != NULL && strcmp(kind, "postgres-physical") == 0)
        snprintf(text, bytes, "%X/%08X", (unsigned)(lsn >> 32), (unsigned)lsn);
    else
        snprintf(text, bytes, "%llu", (unsigned long long)lsn);
}

static void cell_format(const json_t *row, const struct column *column, char *text, size_t bytes)
{
    const json_t *value = json_object_get(row, column->key);
    double number = (double)json_integer_value(value);

    if (value == NULL) {
        snprintf(text, bytes, "-");
        return;
    }
    switch (column->form) {
    case TEXT:
        snprintf(text, bytes, "%s", json_is_string(value) ? json_string_value(value) : "-");
        break;
    case NUMBER:
        snprintf(text, bytes, "%lld", (long long)json_integer_value(value));
        break;
    case BYTES:
        hg_table_bytes_format(number, text, bytes);
        break;
    case RATE:
        hg_table_bytes_format(number, text, bytes - 2);
        memcpy(text + strlen(text), "/s", 3);
        break;
    case TIME:
        hg_table_ns_format(number, text, bytes);
        break;
    case LSN:
        lsn_format(row, (uint64_t)json_integer_value(value), text, bytes);
        break;
    }
}

static bool row_hidden(const char *view, const json_t *row, bool all)
{
    return strcmp(view, "drops") == 0 && !all && json_integer_value(json_object_get(row, "count")) == 0;
}

static size_t column_count(const struct view *view)
{
    size_t n = 0;

    while (n < COLUMNS_MAX && view->columns[n].heading != NULL)
        n++;
    return n;
}

static void line_print(FILE *out, const struct view *view, char cells[COLUMNS_MAX][CELL_BYTES_MAX],
                       const size_t widths[COLUMNS_MAX])
{
    size_t columns = column_count(view);

    for (size_t c = 0; c < columns; c++) {
        if (c + 1 == columns && !right_aligned(view->columns[c].form))
            fprintf(out, "%s", cells[c]);
        else
            fprintf(out, right_aligned(view->columns[c].form) ? "%*s" : "%-*s", (int)widths[c], cells[c]);
        fprintf(out, c + 1 == columns ? "\n" : "  ");
    }
}

static void rows_print(FILE *out, const struct view *view, const json_t *rows, bool all)
{
    char cells[COLUMNS_MAX][CELL_BYTES_MAX];
    size_t widths[COLUMNS_MAX], columns = column_count(view), index, shown = 0;
    json_t *row;

    for (size_t c = 0; c < columns; c++)
        widths[c] = strlen(view->columns[c].heading);
    json_array_foreach(rows, index, row)
    {
        for (size_t c = 0; c < columns && !row_hidden(view->name, row, all); c++) {
            cell_format(row, &view->columns[c], cells[0], sizeof(cells[0]));
            widths[c] = hg_max_u64(widths[c], strlen(cells[0]));
            shown += c == 0;
        }
    }
    if (shown == 0) {
        fprintf(out, "%s\n", view->empty);
        return;
    }
    for (size_t c = 0; c < columns; c++)
        snprintf(cells[c], sizeof(cells[c]), "%s", view->columns[c].heading);
    line_print(out, view, cells, widths);
    json_array_foreach(rows, index, row)
    {
        if (row_hidden(view->name, row, all))
            continue;
        for (size_t c = 0; c < columns; c++)
            cell_format(row, &view->columns[c], cells[c], sizeof(cells[c]));
        line_print(out, view, cells, widths);
    }
}

static void object_print(FILE *out, json_t *object)
{
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value)
    {
        size_t length = strlen(key);
        char text[64];

        if (json_is_integer(value) && length > 3 && strcmp(key + length - 3, "_ns") == 0) {
            hg_table_ns_format((double)json_integer_value(value), text, sizeof(text));
            fprintf(out, "%-28.*s %s\n", (int)length - 3, key, text);
        } else if (json_is_integer(value)) {
            fprintf(out, "%-28s %lld\n", key, (long long)json_integer_value(value));
        } else if (json_is_string(value)) {
            fprintf(out, "%-28s %s\n", key, json_string_value(value));
        }
    }
}

void hg_table_print(FILE *out, const char *name, const json_t *data, bool all)
{
    json_t *value = json_object_get(data, name);

    if (json_is_string(value))
        fprintf(out, "%s", json_string_value(value));
    else if (json_is_object(value))
        object_print(out, value);
    for (size_t i = 0; i < HG_COUNT(views) && json_is_array(value); i++) {
        if (strcmp(views[i].name, name) == 0)
            rows_print(out, &views[i], value, all);
    }
}
