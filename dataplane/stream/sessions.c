/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/sessions.h"

/* ---- places: numbers are those of the table + 1, 0 = none ---- */

static struct hg_session *place(struct hg_sessions *sessions, uint16_t number)
{
    return number == 0 ? NULL : &sessions->table[number - 1];
}

static uint16_t number_of(const struct hg_sessions *sessions, const struct hg_session *session)
{
    return (uint16_t)(session - sessions->table + 1);
}

static uint16_t *head_of(struct hg_sessions *sessions, uint64_t stream, uint64_t client)
{
    uint64_t hash = (stream ^ client * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    return &sessions->heads[hash >> 40 & (HG_SESSIONS_HEADS - 1)];
}

void hg_sessions_init(struct hg_sessions *sessions)
{
    memset(sessions, 0, sizeof(*sessions));
    for (uint16_t number = HG_SESSIONS_MAX; number > 0; number--) {
        place(sessions, number)->next = sessions->free;
        sessions->free = number;
    }
}

static struct hg_session *find(struct hg_sessions *sessions, uint64_t stream, uint64_t client)
{
    if (stream == 0)
        return NULL;
    struct hg_session *session = place(sessions, *head_of(sessions, stream, client));
    while (session != NULL && (session->stream != stream || session->client != client))
        session = place(sessions, session->next);
    return session;
}

static void order_leave(struct hg_sessions *sessions, struct hg_session *session)
{
    struct hg_session *older = place(sessions, session->older), *newer = place(sessions, session->newer);
    *(older != NULL ? &older->newer : &sessions->oldest) = session->newer;
    *(newer != NULL ? &newer->older : &sessions->newest) = session->older;
}

static void order_enter(struct hg_sessions *sessions, struct hg_session *session)
{
    struct hg_session *older = place(sessions, sessions->newest);
    session->older = sessions->newest;
    session->newer = 0;
    sessions->newest = number_of(sessions, session);
    *(older != NULL ? &older->newer : &sessions->oldest) = sessions->newest;
}

static void session_used(struct hg_sessions *sessions, struct hg_session *session)
{
    order_leave(sessions, session);
    order_enter(sessions, session);
}

static void session_drop(struct hg_sessions *sessions, struct hg_session *session)
{
    uint16_t *at = head_of(sessions, session->stream, session->client);
    while (place(sessions, *at) != session)
        at = &place(sessions, *at)->next;
    *at = session->next;
    order_leave(sessions, session);
    *session = (struct hg_session){.next = sessions->free};
    sessions->free = number_of(sessions, session);
    sessions->count--;
}

/* In a free place, else in that of the client which was longest still. */
static struct hg_session *session_make(struct hg_sessions *sessions, uint64_t stream, uint64_t client,
                                       uint64_t *lost)
{
    if (sessions->free == 0) {
        struct hg_session *oldest = place(sessions, sessions->oldest);
        *lost = oldest->stream;
        session_drop(sessions, oldest);
    }
    struct hg_session *session = place(sessions, sessions->free);
    uint16_t *head = head_of(sessions, stream, client), number = sessions->free;
    sessions->free = session->next;
    sessions->count++;
    *session = (struct hg_session){.stream = stream, .client = client, .next = *head};
    *head = number;
    order_enter(sessions, session);
    return session;
}

const struct hg_session *hg_sessions_older(struct hg_sessions *sessions, const struct hg_session *session)
{
    return place(sessions, session == NULL ? sessions->newest : session->older);
}

/* ---- what is known ---- */

static uint64_t run_last(const struct hg_session_run *run)
{
    return run->sequence + run->count - 1;
}

enum hg_session_verdict hg_sessions_ask(struct hg_sessions *sessions, uint64_t stream, uint64_t client,
                                        uint64_t sequence, bool again, bool forgets, uint64_t *lsn)
{
    const struct hg_session *session = find(sessions, stream, client);
    if (session == NULL)
        return again && forgets ? HG_SESSION_EVICTED : HG_SESSION_NEW;
    if (sequence > run_last(&session->runs[session->run_count - 1]))
        return HG_SESSION_NEW;
    for (uint32_t i = session->run_count; i-- > 0;) {
        const struct hg_session_run *run = &session->runs[i];
        if (sequence < run->sequence || sequence > run_last(run))
            continue;
        *lsn = run->lsn + (sequence - run->sequence);
        return HG_SESSION_DUPLICATE;
    }
    return HG_SESSION_OLD;
}

uint64_t hg_sessions_add(struct hg_sessions *sessions, uint64_t stream, uint64_t client, uint64_t sequence,
                         uint64_t lsn, uint32_t span)
{
    struct hg_session *session = find(sessions, stream, client);
    uint64_t lost = 0;
    hg_assert(stream != 0 && client != 0);
    if (session == NULL)
        session = session_make(sessions, stream, client, &lost);
    struct hg_session_run *last = &session->runs[session->run_count - (session->run_count > 0)];
    if (session->run_count > 0 && sequence <= run_last(last))
        return lost;
    session_used(sessions, session);
    if (session->run_count > 0 && span == 1 && sequence == run_last(last) + 1 &&
        lsn == last->lsn + last->count && last->count < UINT32_MAX) {
        last->count++;
        return lost;
    }
    session->is_short |= session->run_count == HG_SESSION_RUNS_MAX;
    if (session->run_count == HG_SESSION_RUNS_MAX)
        memmove(&session->runs[0], &session->runs[1], --session->run_count * sizeof(session->runs[0]));
    session->runs[session->run_count++] = (struct hg_session_run){sequence, lsn, 1};
    return lost;
}

bool hg_sessions_cut(struct hg_sessions *sessions, uint64_t stream, uint64_t lsn)
{
    bool forgot = false;
    for (uint32_t i = 0; i < HG_SESSIONS_MAX && stream != 0; i++) {
        struct hg_session *session = &sessions->table[i];
        if (session->stream != stream)
            continue;
        while (session->run_count > 0 && session->runs[session->run_count - 1].lsn >= lsn)
            session->run_count--;
        if (session->run_count == 0) {
            forgot |= session->is_short;
            session_drop(sessions, session);
            continue;
        }
        struct hg_session_run *last = &session->runs[session->run_count - 1];
        last->count = (uint32_t)hg_min_u64(last->count, lsn - last->lsn);
    }
    return forgot;
}

bool hg_sessions_leave(struct hg_sessions *sessions, uint64_t stream)
{
    bool any = false;
    for (uint32_t i = 0; i < HG_SESSIONS_MAX && stream != 0; i++) {
        if (sessions->table[i].stream != stream)
            continue;
        session_drop(sessions, &sessions->table[i]);
        any = true;
    }
    return any;
}

/* ---- on disk ---- */

/* What lies below `end`. False: nothing does. */
static bool record_make(const struct hg_session *session, uint64_t end, struct hg_local_session *record)
{
    memset(record, 0, sizeof(*record));
    for (uint32_t i = session->run_count; i-- > 0;) { /* the newest first */
        struct hg_session_run run = session->runs[i];
        if (run.lsn >= end)
            continue;
        run.count = (uint32_t)hg_min_u64(run.count, end - run.lsn);
        if (record->run_count == 0) {
            record->type = HG_LOCAL_SESSION;
            record->stream = session->stream;
            record->client = session->client;
            record->is_short = session->is_short;
            record->sequence_last = run_last(&run);
            record->lsn_last = run.lsn + run.count - 1;
        }
        uint64_t sequence_back = record->sequence_last - run_last(&run);
        uint64_t lsn_back = record->lsn_last - (run.lsn + run.count - 1);
        if (sequence_back > UINT32_MAX || lsn_back > UINT32_MAX) {
            record->is_short = 1;
            break;
        }
        record->runs[record->run_count].sequence_back = (uint32_t)sequence_back;
        record->runs[record->run_count].lsn_back = (uint32_t)lsn_back;
        record->runs[record->run_count++].count = run.count;
    }
    return record->run_count > 0;
}

uint32_t hg_sessions_save(struct hg_sessions *sessions, struct hg_local_session *records, uint32_t max,
                          const struct hg_sessions_owner *owner)
{
    uint32_t count = 0;
    struct hg_session *session, *newer;
    for (session = place(sessions, sessions->oldest); session != NULL && sessions->count > max;
         session = newer) {
        newer = place(sessions, session->newer);
        owner->forgot(owner->ctx, session->stream);
        session_drop(sessions, session);
    }
    for (; session != NULL; session = place(sessions, session->newer)) {
        if (record_make(session, owner->end(owner->ctx, session->stream), &records[count]))
            count++;
        else if (session->is_short)
            owner->forgot(owner->ctx, session->stream);
    }
    return count;
}

bool hg_sessions_load(struct hg_sessions *sessions, const struct hg_local_session *record, uint64_t *lost)
{
    struct hg_session made = {0};
    *lost = 0;
    if (record->stream == 0 || record->client == 0 || record->run_count == 0 ||
        record->run_count > HG_SESSION_RUNS_MAX || record->runs[0].sequence_back != 0)
        return false;
    for (uint32_t i = record->run_count; i-- > 0;) {
        /* Of the run's last entry: it may be UINT64_MAX, so no run has an end behind it. */
        uint64_t sequence = record->sequence_last - record->runs[i].sequence_back;
        uint64_t lsn = record->lsn_last - record->runs[i].lsn_back;
        uint32_t count = record->runs[i].count, back = count - 1;
        if (record->runs[i].sequence_back > record->sequence_last ||
            record->runs[i].lsn_back > record->lsn_last || count == 0 || sequence < back || lsn < back ||
            (made.run_count > 0 && sequence - back <= run_last(&made.runs[made.run_count - 1])))
            return false;
        made.runs[made.run_count++] = (struct hg_session_run){sequence - back, lsn - back, count};
    }
    struct hg_session *session = find(sessions, record->stream, record->client);
    if (session == NULL)
        session = session_make(sessions, record->stream, record->client, lost);
    memcpy(session->runs, made.runs, sizeof(made.runs));
    session->run_count = made.run_count;
    /* Full: an earlier build may have left out more, and did not say. What batches said stays true. */
    session->is_short |= record->is_short != 0 || made.run_count == HG_SESSION_RUNS_MAX;
    session_used(sessions, session);
    return true;
}
