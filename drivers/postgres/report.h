/* SPDX-License-Identifier: Apache-2.0
 *
 * What helio-postgres says: one line each time something changes, in words to stderr or as JSON objects to
 * stdout. Every event has its counter; the same event with the same words is counted, not said again. One
 * thread.
 */
#ifndef HG_POSTGRES_REPORT_H
#define HG_POSTGRES_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#define HG_REPORT_EVENTS(X)                                                                                  \
    X(STREAMING, streaming)                                                                                  \
    X(SLOT_CREATED, slot_created)                                                                            \
    X(PRIMARY_GONE, primary_gone)                                                                            \
    X(DATAPLANE_GONE, dataplane_gone)                                                                        \
    X(DATAPLANE_BACK, dataplane_back)                                                                        \
    X(HELD_BACK, held_back)                                                                                  \
    X(RESUMED, resumed)                                                                                      \
    X(RESYNC, resync)                                                                                        \
    X(DURABLE_MOVED_BACK, durable_moved_back)                                                                \
    X(WAITING, waiting)                                                                                      \
    X(BEGAN_MID_SEGMENT, began_mid_segment)                                                                  \
    X(DISK_FULL, disk_full)                                                                                  \
    X(DISK_ROOM, disk_room)                                                                                  \
    X(FATAL, fatal)                                                                                          \
    X(STOPPED, stopped)

enum hg_report_event {
#define X(upper, lower) HG_REPORT_##upper,
    HG_REPORT_EVENTS(X)
#undef X
        HG_REPORT_EVENT_COUNT
};

#define HG_REPORT_TEXT_BYTES 2048

struct hg_report {
    bool json;
    const char *mode; /* "in" or "out" */
    const char *stream;
    enum hg_report_event said;
    char said_text[HG_REPORT_TEXT_BYTES];
    uint64_t counts[HG_REPORT_EVENT_COUNT];
};

void hg_report_init(struct hg_report *report, const char *mode, const char *stream, bool json);
void hg_report_say(struct hg_report *report, enum hg_report_event event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As FATAL, with the name of what went wrong. */
void hg_report_fatal(struct hg_report *report, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* One object or line a completed segment, to stdout. */
void hg_report_segment(struct hg_report *report, const char *name, uint64_t lsn_end, uint32_t segment_bytes,
                       bool verified);
/* Positions of `in`, only with --json. */
void hg_report_progress(struct hg_report *report, uint64_t lsn_primary, uint64_t lsn_received,
                        uint64_t lsn_durable);
/* How often each event was, to stdout with --json; else nothing. */
void hg_report_counts(struct hg_report *report);

#endif
