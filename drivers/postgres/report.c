/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/report.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "drivers/platform/platform.h"
#include "drivers/postgres/lsn.h"

static const char *const event_names[HG_REPORT_EVENT_COUNT] = {
#define X(upper, lower) #lower,
    HG_REPORT_EVENTS(X)
#undef X
};

void hg_report_init(struct hg_report *report, const char *mode, const char *stream, bool json)
{
    memset(report, 0, sizeof(*report));
    report->mode = mode;
    report->stream = stream;
    report->json = json;
    report->said = HG_REPORT_EVENT_COUNT;
}

/* One line, whatever a server put into it. */
static void line_clean(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && (unsigned char)text[length - 1] <= ' ') {
        text[--length] = '\0';
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            text[i] = ' ';
        }
    }
}

static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    /* Not UTF-8: a server of another encoding. The position of each character stays. */
    char ascii[HG_REPORT_TEXT_BYTES];
    size_t i = 0;
    for (; text[i] != '\0' && i < sizeof(ascii) - 1; i++) {
        ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    }
    ascii[i] = '\0';
    return json_string(ascii);
}

static void json_print(json_t *object)
{
    if (object != NULL) {
        json_dumpf(object, stdout, JSON_COMPACT);
        fputc('\n', stdout);
        fflush(stdout);
        json_decref(object);
    }
}

static void say(struct hg_report *report, enum hg_report_event event, const char *name, const char *format,
                va_list arguments)
{
    char text[HG_REPORT_TEXT_BYTES];
    hg_assert(event < HG_REPORT_EVENT_COUNT);
    vsnprintf(text, sizeof(text), format, arguments);
    line_clean(text);
    report->counts[event]++;
    if (report->said == event && strcmp(report->said_text, text) == 0) {
        return;
    }
    report->said = event;
    snprintf(report->said_text, sizeof(report->said_text), "%s", text);
    if (!report->json) {
        fprintf(stderr, "helio-postgres %s %s: %s: %s\n", report->mode, report->stream, name, text);
        return;
    }
    json_print(json_pack("{s:s,s:s,s:o,s:I,s:o}", "event", event_names[event], "name", name, "stream",
                         json_text(report->stream), "count", (json_int_t)report->counts[event], "text",
                         json_text(text)));
}

void hg_report_say(struct hg_report *report, enum hg_report_event event, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(report, event, event_names[event], format, arguments);
    va_end(arguments);
}

void hg_report_fatal(struct hg_report *report, const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(report, HG_REPORT_FATAL, name, format, arguments);
    va_end(arguments);
}

void hg_report_segment(struct hg_report *report, const char *name, uint64_t lsn_end, uint32_t segment_bytes,
                       bool verified)
{
    char end[HG_LSN_TEXT_BYTES];
    hg_lsn_format(end, lsn_end);
    if (!report->json) {
        printf("%s complete up to %s%s\n", name, end, verified ? " (was there, same bytes)" : "");
        fflush(stdout);
        return;
    }
    json_print(json_pack("{s:s,s:o,s:s,s:s,s:I,s:b}", "event", "segment", "stream", json_text(report->stream),
                         "segment", name, "lsn_end", end, "bytes", (json_int_t)segment_bytes, "verified",
                         (int)verified));
}

void hg_report_progress(struct hg_report *report, uint64_t lsn_primary, uint64_t lsn_received,
                        uint64_t lsn_durable)
{
    char primary[HG_LSN_TEXT_BYTES], received[HG_LSN_TEXT_BYTES], durable[HG_LSN_TEXT_BYTES];
    if (!report->json) {
        return;
    }
    json_print(json_pack("{s:s,s:o,s:s,s:s,s:s,s:I}", "event", "progress", "stream",
                         json_text(report->stream), "lsn_primary", hg_lsn_format(primary, lsn_primary),
                         "lsn_received", hg_lsn_format(received, lsn_received), "lsn_durable",
                         hg_lsn_format(durable, lsn_durable), "lag_bytes",
                         (json_int_t)(lsn_primary > lsn_durable ? lsn_primary - lsn_durable : 0)));
}

void hg_report_counts(struct hg_report *report)
{
    if (!report->json) {
        return;
    }
    json_t *counts = json_object();
    for (int i = 0; i < HG_REPORT_EVENT_COUNT; i++) {
        json_object_set_new(counts, event_names[i], json_integer((json_int_t)report->counts[i]));
    }
    json_print(
        json_pack("{s:s,s:o,s:o}", "event", "counts", "stream", json_text(report->stream), "counts", counts));
}
