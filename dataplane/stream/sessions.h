/* SPDX-License-Identifier: Apache-2.0
 *
 * Which entries of which clients a stream has: (client, sequence) to LSN, so that a retry is told where its
 * first try is and never appended again. State derived from the log: every copy of a stream makes the same of
 * the same batches, as they are appended, taken or read back, and each segment's table has it, so segments
 * may be reused.
 *
 * Bounded. Of a client the newest HG_SESSION_RUNS_MAX runs of entries that follow each other in both numbers
 * are known, of a log HG_SESSIONS_MAX clients; the one that was longest still is forgotten. What is forgotten
 * is never taken for new: OLD and EVICTED are refusals. Sequences of a client rise. Pure.
 */
#ifndef HG_STREAM_SESSIONS_H
#define HG_STREAM_SESSIONS_H

#include "dataplane/wal/format.h"

enum hg_session_verdict {
    HG_SESSION_NEW,
    HG_SESSION_DUPLICATE, /* *lsn has it */
    HG_SESSION_OLD, /* below what is known of the client: it was appended, or left out, where is forgotten */
    HG_SESSION_EVICTED, /* a retry of a client that is not known, of a stream that has forgotten some */
};

struct hg_session_run { /* sequence + i is at lsn + i */
    uint64_t sequence;
    uint64_t lsn;
    uint32_t count;
};

struct hg_session {
    uint64_t stream; /* 0 = free */
    uint64_t client;
    uint32_t run_count;
    bool is_short;         /* older runs were pushed out of it, or found no room in a table */
    uint16_t next;         /* with the same hash, or free; numbers are those of places + 1, 0 = none */
    uint16_t older, newer; /* by their use */
    struct hg_session_run runs[HG_SESSION_RUNS_MAX]; /* rising; the last is the newest */
};

#define HG_SESSIONS_HEADS 512u
static_assert(HG_SESSIONS_HEADS >= HG_SESSIONS_MAX, "short lists");
static_assert((HG_SESSIONS_HEADS & (HG_SESSIONS_HEADS - 1)) == 0, "a mask");

struct hg_sessions {
    struct hg_session table[HG_SESSIONS_MAX];
    uint16_t heads[HG_SESSIONS_HEADS];
    uint16_t oldest, newest, free;
    uint32_t count;
};

void hg_sessions_init(struct hg_sessions *sessions);
/* `again`: the client may have sent it before. `forgets`: the stream has forgotten clients. */
enum hg_session_verdict hg_sessions_ask(struct hg_sessions *sessions, uint64_t stream, uint64_t client,
                                        uint64_t sequence, bool again, bool forgets, uint64_t *lsn);
/* The log has this entry, `span` long. What is not above the client's newest is left as it is. Returns the
 * stream that lost a client for it, 0 = none. */
uint64_t hg_sessions_add(struct hg_sessions *sessions, uint64_t stream, uint64_t client, uint64_t sequence,
                         uint64_t lsn, uint32_t span);
/* What begins at or above `lsn` is not in the stream any more. True: nothing is left of a client that was
 * short, so the stream has forgotten it. */
bool hg_sessions_cut(struct hg_sessions *sessions, uint64_t stream, uint64_t lsn);
/* The stream is another log's. True when it had any. */
bool hg_sessions_leave(struct hg_sessions *sessions, uint64_t stream);

/* From the one that was used last (NULL) to the next older one; NULL = no more. */
const struct hg_session *hg_sessions_older(struct hg_sessions *sessions, const struct hg_session *session);

/* What the saving of a table asks and tells. */
struct hg_sessions_owner {
    uint64_t (*end)(void *ctx, uint64_t stream); /* of what the log has of it: nothing behind that is saved */
    /* A client of it found no room, or nothing is left of it below the end: entries behind that pushed the
     * others out. */
    void (*forgot)(void *ctx, uint64_t stream);
    void *ctx;
};

/* For the table at a segment's start: up to `max` records, the clients that were used last, in the order of
 * their use. */
uint32_t hg_sessions_save(struct hg_sessions *sessions, struct hg_local_session *records, uint32_t max,
                          const struct hg_sessions_owner *owner);
/* As it was saved. False: it can't be what was saved. *lost = the stream that lost a client for it, 0 = none.
 */
bool hg_sessions_load(struct hg_sessions *sessions, const struct hg_local_session *record, uint64_t *lost);

#endif
