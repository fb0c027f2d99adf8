/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/events.h"

#include "controlplane/json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static const char *const severities[] = {"info", "warning", "error", "critical"};

uint64_t hg_realtime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void time_format(uint64_t realtime_ns, char *text, size_t bytes)
{
    time_t seconds = (time_t)(realtime_ns / HG_NS_PER_S);
    struct tm tm;
    size_t at;

    gmtime_r(&seconds, &tm);
    at = strftime(text, bytes, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + at, bytes - at, ".%03uZ", (unsigned)(realtime_ns % HG_NS_PER_S / HG_NS_PER_MS));
}

static void copy_printable(char *to, size_t bytes, const char *from)
{
    size_t i = 0;

    for (; i + 1 < bytes && from[i] != '\0'; i++)
        to[i] = (uint8_t)from[i] < ' ' || from[i] == 0x7f ? '?' : from[i];
    to[i] = '\0';
}

void hg_event_add(struct hg_events *events, uint64_t realtime_ns, enum hg_control_severity severity,
                  const char *name, const char *text)
{
    struct hg_event *event = &events->ring[events->count++ % HG_EVENTS_MAX];
    char when[40];

    event->realtime_ns = realtime_ns;
    event->severity = (uint32_t)severity < HG_COUNT(severities) ? severity : HG_SEVERITY_ERROR;
    copy_printable(event->name, sizeof(event->name), name[0] == '\0' ? "unnamed" : name);
    copy_printable(event->text, sizeof(event->text), text);
    time_format(realtime_ns, when, sizeof(when));
    fprintf(stderr, "%s %s %s %s\n", when, severities[event->severity], event->name, event->text);
    fflush(stderr);
}

void hg_event_addf(struct hg_events *events, enum hg_control_severity severity, const char *name,
                   const char *format, ...)
{
    char text[HG_CONTROL_TEXT_BYTES * 2];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    hg_event_add(events, hg_realtime_ns(), severity, name, text);
}

json_t *hg_events_json(const struct hg_events *events)
{
    uint64_t first = events->count > HG_EVENTS_MAX ? events->count - HG_EVENTS_MAX : 0;
    json_t *array = json_array();
    char when[40];

    for (uint64_t i = first; i < events->count; i++) {
        const struct hg_event *event = &events->ring[i % HG_EVENTS_MAX];

        time_format(event->realtime_ns, when, sizeof(when));
        json_array_append_new(array, json_pack("{s:s, s:s, s:o, s:o}", "time", when, "severity",
                                               severities[event->severity], "name", hg_json_text(event->name),
                                               "text", hg_json_text(event->text)));
    }
    return array;
}
