/* SPDX-License-Identifier: Apache-2.0
 *
 * What clients did to an append-only log, and whether a log can have done that. Knows nothing of dataplanes,
 * nodes or the simulator: it is told what clients were told. Calls come in the order of time.
 *
 * An append has an id that no other has. It is acknowledged with its position, refused (then it is not in the
 * log), or nothing more is heard of it: then it may be there, once, or not. A log that keeps its promises has
 * one sequence of entries for everybody, of which each reader sees a piece without gaps; every acknowledged
 * one is in it, once, where its client was told; an append that began after another one was acknowledged or
 * read lies behind it; a client's appends lie in the order in which it made them.
 *
 * Positions are the log's own: an entry at p of span s ends at p + s, where the next one begins. Judging n
 * entries takes O(n log n).
 */
#ifndef HG_SIM_HISTORY_H
#define HG_SIM_HISTORY_H

#include "drivers/platform/platform.h"

#define SIM_HISTORY_READERS_MAX 8u
#define SIM_HISTORY_CLIENTS_MAX 8u

#define SIM_ANOMALIES(X)                                                                                     \
    X(NONE, "a log can have done that")                                                                      \
    X(FORKED, "two reads have different entries at one position")                                            \
    X(OVERLAPS, "an entry begins inside of another one")                                                     \
    X(TWICE, "an entry is in the log twice")                                                                 \
    X(NEVER_SENT, "an entry that nobody appended is in the log")                                             \
    X(READ_BEFORE_SENT, "an entry was read before it was appended")                                          \
    X(REFUSED_THERE, "an append that was refused is in the log")                                             \
    X(ACKED_ELSEWHERE, "an acknowledged entry is not where its client was told")                             \
    X(LOST, "an acknowledged entry is not in the log")                                                       \
    X(UNREAD, "an entry that was read is not in the log any more")                                           \
    X(REAL_TIME, "an append that began after another one was acknowledged or read lies before it")           \
    X(CLIENT_ORDER, "appends of a client lie in another order than it made them")                            \
    X(GAP, "a reader was given an entry that does not follow the one before it")                             \
    X(SKIPPED, "a registered reader was not given what comes next")                                          \
    X(STALE_END, "a client was told an end of the log below what was acknowledged")                          \
    X(ACK_OF_NOTHING, "an append was acknowledged that is none, or that was refused, or once more")

enum sim_anomaly {
#define HG_X(name, text) SIM_ANOMALY_##name,
    SIM_ANOMALIES(HG_X)
#undef HG_X
        SIM_ANOMALY_COUNT
};

struct sim_verdict {
    enum sim_anomaly anomaly;
    uint64_t position; /* where; 0 = of an append that is nowhere */
    uint64_t id;       /* of which entry */
    uint64_t other_id; /* besides which one; 0 = none */
};

struct sim_history_counts {
    uint64_t appends, acked, refused, unknown; /* unknown: neither, so far */
    uint64_t unknown_there;                    /* of these, in the log as the last judgement found it */
    uint64_t entries;                          /* read */
};

struct sim_history;

struct sim_history *hg_sim_history_make(void);
void hg_sim_history_free(struct sim_history *history);

/* ---- appends ---- */
/* Returns the number by which it is acknowledged or refused. Ids are not 0. */
uint32_t hg_sim_history_append(struct sim_history *history, uint64_t now_ns, uint32_t client, uint64_t id);
void hg_sim_history_ack(struct sim_history *history, uint64_t now_ns, uint32_t append, uint64_t position,
                        uint32_t span);
void hg_sim_history_refuse(struct sim_history *history, uint32_t append);
/* A client asked from begin_ns on, and is told now, that the log ends there. */
void hg_sim_history_end_told(struct sim_history *history, uint64_t begin_ns, uint64_t end);

/* ---- reads ---- */
/* Some reader was given an entry. */
void hg_sim_history_read(struct sim_history *history, uint64_t now_ns, uint64_t position, uint32_t span,
                         uint64_t id);
/* The reader was given all from `begin` to `end`; each entry there has been told by a read, of any reader. */
void hg_sim_history_read_range(struct sim_history *history, uint32_t reader, uint64_t begin, uint64_t end);
/* It begins anew, where it likes. `is_registered`: the log keeps for it what it has not read. */
void hg_sim_history_reader_restart(struct sim_history *history, uint32_t reader, bool is_registered);
/* Its copy of the log is gone, and what it had read of it counts no more. */
void hg_sim_history_reader_void(struct sim_history *history, uint32_t reader);

/* ---- the judgement ---- */
/* `readers_whole`, a bit each: they have been given all that there is, so that what they lack is lost. The
 * first anomaly that was met is kept: it is what every later call says. */
struct sim_verdict hg_sim_history_judge(struct sim_history *history, uint32_t readers_whole);
const char *hg_sim_anomaly_name(enum sim_anomaly anomaly);
const char *hg_sim_anomaly_text(enum sim_anomaly anomaly);
void hg_sim_history_counts_get(const struct sim_history *history, struct sim_history_counts *counts);

#endif
