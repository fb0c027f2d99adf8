/* SPDX-License-Identifier: Apache-2.0
 *
 * What happened: the last 1000 events in memory, each written to stderr as one line when it comes:
 *   2026-01-31T12:00:00.123Z warning peer_down peer b: no answer for 3 s; ...
 */
#ifndef HG_CONTROLPLANE_EVENTS_H
#define HG_CONTROLPLANE_EVENTS_H

#include "drivers/ipc/control_state.h"

#include <jansson.h>

#define HG_EVENTS_MAX 1000

struct hg_event {
    uint64_t realtime_ns;
    uint32_t severity; /* enum hg_control_severity */
    char name[HG_CONTROL_NAME_BYTES];
    char text[HG_CONTROL_TEXT_BYTES];
};

struct hg_events {
    uint64_t count; /* ever */
    struct hg_event ring[HG_EVENTS_MAX];
};

/* Adds and prints. Unprintable bytes of name and text become '?'. */
void hg_event_add(struct hg_events *events, uint64_t realtime_ns, enum hg_control_severity severity,
                  const char *name, const char *text);
void hg_event_addf(struct hg_events *events, enum hg_control_severity severity, const char *name,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
/* [{"time", "severity", "name", "text"}], oldest first. */
json_t *hg_events_json(const struct hg_events *events);
uint64_t hg_realtime_ns(void);

#endif
