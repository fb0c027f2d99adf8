/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/history.h"

#include <stdlib.h>

#define HOLES_MAX 64u

enum outcome { UNKNOWN, ACKED, REFUSED };

struct append {
    uint64_t id;
    uint64_t begin_ns;
    uint64_t done_ns; /* HG_TIME_NEVER = nobody knows that it is there */
    uint64_t position;
    uint32_t span;
    uint32_t client;
    enum outcome outcome;
};

struct entry {
    uint64_t position;
    uint64_t id; /* 0 = a free place */
    uint64_t read_ns;
    uint32_t span;
};

struct range {
    uint64_t begin, end;
};

struct reader {
    uint64_t next; /* 0 = begins anew */
    uint64_t end;
    bool is_registered;
    struct range holes[HOLES_MAX]; /* it was never given, and need not be */
    uint32_t hole_count;
};

struct sim_history {
    struct append *appends;
    uint32_t append_count, append_max;
    struct entry *entries; /* by a hash of their position */
    uint32_t entry_count, entry_places;
    struct reader readers[SIM_HISTORY_READERS_MAX];
    uint64_t end_acked, end_acked_ns, end_acked_before; /* of one instant, and before it */
    struct sim_verdict first;
    struct sim_history_counts counts;
};

static const char *const names[] = {
#define HG_X(name, text) #name,
    SIM_ANOMALIES(HG_X)
#undef HG_X
};

static const char *const texts[] = {
#define HG_X(name, text) text,
    SIM_ANOMALIES(HG_X)
#undef HG_X
};

const char *hg_sim_anomaly_name(enum sim_anomaly anomaly)
{
    return names[anomaly];
}

const char *hg_sim_anomaly_text(enum sim_anomaly anomaly)
{
    return texts[anomaly];
}

struct sim_history *hg_sim_history_make(void)
{
    struct sim_history *history = calloc(1, sizeof(*history));
    hg_assert(history != NULL);
    return history;
}

void hg_sim_history_free(struct sim_history *history)
{
    if (history == NULL)
        return;
    free(history->appends);
    free(history->entries);
    free(history);
}

void hg_sim_history_counts_get(const struct sim_history *history, struct sim_history_counts *counts)
{
    *counts = history->counts;
    counts->appends = history->append_count;
    counts->unknown = counts->appends - counts->acked - counts->refused;
    counts->entries = history->entry_count;
}

static void found(struct sim_history *history, enum sim_anomaly anomaly, uint64_t position, uint64_t id,
                  uint64_t other_id)
{
    if (history->first.anomaly == SIM_ANOMALY_NONE)
        history->first = (struct sim_verdict){anomaly, position, id, other_id};
}

/* ---- appends ---- */

uint32_t hg_sim_history_append(struct sim_history *history, uint64_t now_ns, uint32_t client, uint64_t id)
{
    hg_assert(id != 0 && client < SIM_HISTORY_CLIENTS_MAX);
    if (history->append_count == history->append_max) {
        history->append_max = history->append_max == 0 ? 256 : history->append_max * 2;
        history->appends = realloc(history->appends, history->append_max * sizeof(history->appends[0]));
        hg_assert(history->appends != NULL);
    }
    history->appends[history->append_count] =
        (struct append){.id = id, .begin_ns = now_ns, .done_ns = HG_TIME_NEVER, .client = client};
    return history->append_count++;
}

void hg_sim_history_ack(struct sim_history *history, uint64_t now_ns, uint32_t append, uint64_t position,
                        uint32_t span)
{
    struct append *a = append < history->append_count ? &history->appends[append] : NULL;
    if (a == NULL || a->outcome != UNKNOWN) {
        found(history, SIM_ANOMALY_ACK_OF_NOTHING, position, a == NULL ? 0 : a->id, 0);
        return;
    }
    a->outcome = ACKED;
    a->done_ns = now_ns;
    a->position = position;
    a->span = span;
    history->counts.acked++;
    if (now_ns > history->end_acked_ns)
        history->end_acked_before = history->end_acked;
    history->end_acked_ns = now_ns;
    history->end_acked = hg_max_u64(history->end_acked, position + span);
}

void hg_sim_history_refuse(struct sim_history *history, uint32_t append)
{
    hg_assert(append < history->append_count && history->appends[append].outcome == UNKNOWN);
    history->appends[append].outcome = REFUSED;
    history->counts.refused++;
}

void hg_sim_history_end_told(struct sim_history *history, uint64_t begin_ns, uint64_t end)
{
    uint64_t least = begin_ns > history->end_acked_ns ? history->end_acked : history->end_acked_before;
    if (end < least)
        found(history, SIM_ANOMALY_STALE_END, end, 0, 0);
}

/* ---- reads ---- */

static struct entry *entry_find(struct entry *entries, uint32_t places, uint64_t position)
{
    uint32_t at = (uint32_t)(position * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (places - 1);
    while (entries[at].id != 0 && entries[at].position != position)
        at = (at + 1) & (places - 1);
    return &entries[at];
}

static void entries_grow(struct sim_history *history)
{
    uint32_t places = history->entry_places == 0 ? 1024 : history->entry_places * 2;
    struct entry *entries = calloc(places, sizeof(entries[0]));
    hg_assert(entries != NULL);
    for (uint32_t i = 0; i < history->entry_places; i++)
        if (history->entries[i].id != 0)
            *entry_find(entries, places, history->entries[i].position) = history->entries[i];
    free(history->entries);
    history->entries = entries;
    history->entry_places = places;
}

void hg_sim_history_read(struct sim_history *history, uint64_t now_ns, uint64_t position, uint32_t span,
                         uint64_t id)
{
    if (2 * history->entry_count >= history->entry_places)
        entries_grow(history);
    struct entry *entry = entry_find(history->entries, history->entry_places, position);
    if (entry->id == 0) {
        *entry = (struct entry){.position = position, .id = id, .read_ns = now_ns, .span = span};
        history->entry_count++;
    } else if (entry->id != id || entry->span != span) {
        found(history, SIM_ANOMALY_FORKED, position, id, entry->id);
    }
}

void hg_sim_history_reader_restart(struct sim_history *history, uint32_t reader, bool is_registered)
{
    history->readers[reader].next = 0;
    history->readers[reader].is_registered = is_registered;
}

void hg_sim_history_reader_void(struct sim_history *history, uint32_t reader)
{
    memset(&history->readers[reader], 0, sizeof(history->readers[reader]));
}

void hg_sim_history_read_range(struct sim_history *history, uint32_t reader, uint64_t begin, uint64_t end)
{
    struct reader *r = &history->readers[reader];
    if (r->next != 0 && begin != r->next)
        found(history, SIM_ANOMALY_GAP, begin, 0, 0);
    if (begin > r->end) {
        if (r->is_registered && r->end != 0)
            found(history, SIM_ANOMALY_SKIPPED, r->end, 0, 0);
        if (r->hole_count == HOLES_MAX) /* then they are one with what lies between: less is asked */
            r->holes[HOLES_MAX - 1].end = begin;
        else
            r->holes[r->hole_count++] = (struct range){r->end, begin};
    }
    r->next = end;
    r->end = hg_max_u64(r->end, end);
}

static bool may_lack(const struct reader *reader, uint64_t position)
{
    for (uint32_t i = 0; i < reader->hole_count; i++)
        if (position >= reader->holes[i].begin && position < reader->holes[i].end)
            return true;
    return false;
}

/* ---- the judgement ---- */

static int by_position(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    return (left->position > right->position) - (left->position < right->position);
}

static int by_id(const void *a, const void *b)
{
    const struct append *left = *(struct append *const *)a, *right = *(struct append *const *)b;
    return (left->id > right->id) - (left->id < right->id);
}

static struct append *append_of(struct append *const *sorted, uint32_t count, uint64_t id)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (sorted[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && sorted[low]->id == id ? sorted[low] : NULL;
}

/* The entries in the order of the log, and who appended each. */
struct sequence {
    struct entry *entries;
    struct append **appends;
    bool *is_there; /* by append */
    uint32_t count;
};

static void entries_check(struct sim_history *history, struct sequence *log, struct append *const *by_ids)
{
    uint64_t end = 0;
    for (uint32_t i = 0; i < log->count; i++) {
        const struct entry *e = &log->entries[i];
        struct append *a = append_of(by_ids, history->append_count, e->id);
        log->appends[i] = a;
        if (e->position < end)
            found(history, SIM_ANOMALY_OVERLAPS, e->position, e->id, log->entries[i - 1].id);
        end = e->position + e->span;
        if (a == NULL) {
            found(history, SIM_ANOMALY_NEVER_SENT, e->position, e->id, 0);
            continue;
        }
        if (log->is_there[a - history->appends])
            found(history, SIM_ANOMALY_TWICE, e->position, e->id, 0);
        log->is_there[a - history->appends] = true;
        if (e->read_ns < a->begin_ns)
            found(history, SIM_ANOMALY_READ_BEFORE_SENT, e->position, e->id, 0);
        if (a->outcome == REFUSED)
            found(history, SIM_ANOMALY_REFUSED_THERE, e->position, e->id, 0);
        if (a->outcome == ACKED && (a->position != e->position || a->span != e->span))
            found(history, SIM_ANOMALY_ACKED_ELSEWHERE, e->position, e->id, 0);
        history->counts.unknown_there += a->outcome == UNKNOWN;
    }
}

/* From the end of the log: whoever lies before must not have begun after the earliest of these was done. */
static void order_check(struct sim_history *history, const struct sequence *log)
{
    uint64_t done_ns = HG_TIME_NEVER, done_id = 0;
    const struct append *next[SIM_HISTORY_CLIENTS_MAX] = {NULL};
    for (uint32_t i = log->count; i-- > 0;) {
        const struct entry *e = &log->entries[i];
        const struct append *a = log->appends[i];
        if (a == NULL)
            continue;
        if (done_ns < a->begin_ns)
            found(history, SIM_ANOMALY_REAL_TIME, e->position, e->id, done_id);
        uint64_t own_ns = hg_min_u64(a->done_ns, e->read_ns);
        if (own_ns < done_ns) {
            done_ns = own_ns;
            done_id = e->id;
        }
        const struct append **after = &next[a->client];
        if (*after != NULL && *after < a)
            found(history, SIM_ANOMALY_CLIENT_ORDER, e->position, e->id, (*after)->id);
        *after = a;
    }
}

static void lost_check(struct sim_history *history, const struct sequence *log, uint32_t readers_whole)
{
    const struct entry *last = log->count == 0 ? NULL : &log->entries[log->count - 1];
    for (uint32_t r = 0; r < SIM_HISTORY_READERS_MAX; r++) {
        const struct reader *reader = &history->readers[r];
        bool is_whole = (readers_whole >> r & 1) != 0;
        for (uint32_t i = 0; i < history->append_count; i++) {
            const struct append *a = &history->appends[i];
            bool passed =
                a->position + a->span <= reader->end; /* then it must have been there, whole or not */
            if (a->outcome == ACKED &&
                (passed ? !log->is_there[i] && !may_lack(reader, a->position) : is_whole))
                found(history, SIM_ANOMALY_LOST, a->position, a->id, 0);
        }
        if (is_whole && last != NULL && reader->end < last->position + last->span)
            found(history, SIM_ANOMALY_UNREAD, last->position, last->id, 0);
    }
}

static void sequence_free(struct sequence *log)
{
    free(log->entries);
    free(log->appends);
    free(log->is_there);
}

struct sim_verdict hg_sim_history_judge(struct sim_history *history, uint32_t readers_whole)
{
    uint32_t appends = history->append_count, entries = history->entry_count;
    struct sequence log = {.entries = calloc(entries + 1, sizeof(log.entries[0])),
                           .appends = calloc(entries + 1, sizeof(log.appends[0])),
                           .is_there = calloc(appends + 1, sizeof(log.is_there[0]))};
    struct append **by_ids = calloc(appends + 1, sizeof(by_ids[0]));
    hg_assert(log.entries != NULL && log.appends != NULL && log.is_there != NULL && by_ids != NULL);
    for (uint32_t i = 0; i < history->entry_places; i++)
        if (history->entries[i].id != 0)
            log.entries[log.count++] = history->entries[i];
    for (uint32_t i = 0; i < appends; i++)
        by_ids[i] = &history->appends[i];
    qsort(log.entries, log.count, sizeof(log.entries[0]), by_position);
    qsort(by_ids, appends, sizeof(by_ids[0]), by_id);
    history->counts.unknown_there = 0;
    entries_check(history, &log, by_ids);
    order_check(history, &log);
    lost_check(history, &log, readers_whole);
    free(by_ids);
    sequence_free(&log);
    return history->first;
}
