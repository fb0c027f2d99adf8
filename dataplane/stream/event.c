/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/event.h"
#include "dataplane/transport/wire.h"
#include "drivers/ipc/control_state.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *text;
    uint32_t severity;
} events[HG_EVENT_COUNT] = {
#define HG_X(name, severity, text) {#name, text, HG_SEVERITY_##severity},
    HG_EVENTS(HG_X)
#undef HG_X
};

void hg_event_put(struct hg_event_sink *sink, enum hg_event_type type, const char *subject, uint64_t a,
                  uint64_t b)
{
    struct hg_event event;
    memset(&event, 0, sizeof(event));
    event.type = type;
    event.a = a;
    event.b = b;
    snprintf(event.subject, sizeof(event.subject), "%s", subject);
    sink->put(sink, &event);
}

bool hg_event_limit_take(struct hg_event_limit *limit, uint64_t now_ns, uint32_t *suppressed)
{
    if (!hg_event_limit_allows(limit, now_ns)) {
        limit->suppressed += limit->suppressed < UINT32_MAX;
        return false;
    }
    limit->bucket_ns = hg_max_u64(limit->bucket_ns, now_ns) + HG_EVENT_GAP_NS;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}

const char *hg_event_name(uint32_t type)
{
    return type < HG_EVENT_COUNT ? events[type].name : "unknown";
}

uint32_t hg_event_severity(uint32_t type)
{
    return type < HG_EVENT_COUNT ? events[type].severity : HG_SEVERITY_ERROR;
}

/* A status of the wire, as who gets it reads it. */
static const char *status_words(uint64_t status)
{
    static const char *const words[] = {
        [HG_WIRE_REFUSED_UNKNOWN] = "is it configured there with the same id?",
        [HG_WIRE_REFUSED_SYSTEM] = "it has it of another PostgreSQL cluster",
        [HG_WIRE_REFUSED_EPOCH] = "it promised a newer epoch, of another writer",
        [HG_WIRE_REFUSED_INCARNATION] = "it has it of another timeline",
        [HG_WIRE_REFUSED_LIMIT] = "it takes as many streams as it can",
        [HG_WIRE_REFUSED_BATCH] = "a batch does not follow from what is there",
        [HG_WIRE_CLOSED_WITHDRAWN] = "it is no longer configured to",
        [HG_WIRE_CLOSED_DIVERGED] = "this copy has other bytes, compare the two",
        [HG_WIRE_CLOSED_GAP] = "what this copy needs next is gone there",
        [HG_WIRE_REFUSED_HISTORY] = "it can't be cut to where the two histories part",
        [HG_WIRE_REFUSED_MEMBERS] =
            "this node is no member of the group there, or it has not heard of the newest members",
    };
    return status < sizeof(words) / sizeof(words[0]) && words[status] != NULL ? words[status]
                                                                              : "an unknown reason";
}

static int event_value(const struct hg_event *event, char key, char *out, size_t out_bytes)
{
    switch (key) {
    case 's':
        return snprintf(out, out_bytes, "%.*s", HG_EVENT_SUBJECT_BYTES, event->subject);
    case 'W':
        return snprintf(out, out_bytes, "%s", status_words(event->a));
    case 'a':
    case 'b':
        return snprintf(out, out_bytes, "%" PRIu64, key == 'a' ? event->a : event->b);
    case 'M':
    case 'N': {
        uint64_t mac = key == 'M' ? event->a : event->b;
        return snprintf(out, out_bytes, "%02x:%02x:%02x:%02x:%02x:%02x", (unsigned)mac & 0xff,
                        (unsigned)(mac >> 8) & 0xff, (unsigned)(mac >> 16) & 0xff,
                        (unsigned)(mac >> 24) & 0xff, (unsigned)(mac >> 32) & 0xff,
                        (unsigned)(mac >> 40) & 0xff);
    }
    default: {
        uint64_t lsn = key == 'A' ? event->a : event->b;
        return snprintf(out, out_bytes, "%X/%X", (uint32_t)(lsn >> 32), (uint32_t)lsn);
    }
    }
}

void hg_event_format(const struct hg_event *event, char *text, size_t text_bytes)
{
    const char *from =
        event->type < HG_EVENT_COUNT ? events[event->type].text : "an event this build does not know";
    size_t used = 0;
    hg_assert(text_bytes > 0);
    while (*from != '\0' && used + 1 < text_bytes) {
        if (*from == '$' && strchr("sabABMNW", from[1]) != NULL && from[1] != '\0') {
            int n = event_value(event, from[1], text + used, text_bytes - used);
            used += hg_min_u64((uint64_t)n, text_bytes - used - 1);
            from += 2;
        } else {
            text[used++] = *from++;
        }
    }
    text[used] = '\0';
    if (event->suppressed > 0)
        snprintf(text + used, text_bytes - used, " (and %u more like it were not shown)", event->suppressed);
}
