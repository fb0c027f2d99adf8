/* SPDX-License-Identifier: Apache-2.0
 *
 * Repairing a corrupt durable write while the log is open: what tools do by log_repair.h, for one write at a
 * time, with batches that peers are asked for (dataplane/stream/peers_heal.c). The write is read again; of
 * what is not whole in it batches are wanted, by identity; when all of it is as it was written, byte for
 * byte, a copy goes to the log's end, is flushed, and the superblock's table says so. Only then is it served.
 * Nothing is written in place. Local records, which no peer has, and damage whose identity is lost stay
 * corrupt, by name: log_repair.h is for those. Owning worker only.
 */
#ifndef HG_WAL_LOG_HEAL_H
#define HG_WAL_LOG_HEAL_H

#include "dataplane/wal/log_pieces.h"

#define HG_LOG_HEAL_WRITES_MAX  16u
#define HG_LOG_HEAL_RANGES_MAX  8u /* streams of a write; of one with more it is not known what it has */
#define HG_LOG_HEAL_RETRY_NS    (10 * HG_NS_PER_S) /* doubled with each try ... */
#define HG_LOG_HEAL_DOUBLES_MAX 6u                 /* ... so often */

/* What became of a try to repair a write; each is counted. */
#define HG_LOG_HEAL_REASONS(X)                                                                               \
    X(repaired, "repaired")                                                                                  \
    X(whole, "read again, it was whole: the device erred")                                                   \
    X(local_records, "local records in it are lost, which no peer has: see helio-log repair")                \
    X(no_header,                                                                                             \
      "its header is lost, here and in the ring, so that nothing here says whether what lies there "         \
      "is it: see helio-log repair")                                                                         \
    X(no_identity, "the header of a batch in it is lost, and nothing behind it names it: see helio-log "     \
                   "repair")                                                                                 \
    X(not_as_written, "its batches are whole, but not what its checksums say was written")                   \
    X(copy_corrupt, "it was repaired before, and the copy is corrupt too: see helio-log repair")             \
    X(table_full, "the superblock's table of holes is full")                                                 \
    X(nobody, "no peer that was asked has what is missing")

enum hg_log_heal_reason {
#define HG_X(name, text) HG_LOG_HEAL_##name,
    HG_LOG_HEAL_REASONS(HG_X)
#undef HG_X
        HG_LOG_HEAL_COUNT
};
const char *hg_log_heal_text(enum hg_log_heal_reason reason);
const char *hg_log_heal_name(enum hg_log_heal_reason reason);

enum hg_log_heal_state {
    HG_LOG_HEAL_IDLE,
    HG_LOG_HEAL_READING, /* block by block: of a bad one nothing more is known than that */
    HG_LOG_HEAL_WANTING, /* a batch: hg_log_heal_wants */
    HG_LOG_HEAL_WHOLE,   /* in memory; the copy waits for room */
    HG_LOG_HEAL_COPIED,  /* on its way to the device */
    HG_LOG_HEAL_TABLE,   /* durable; the superblock is on its way */
};

/* A batch that is missing. Its chain covers all of its header, and that all of its bytes. */
struct hg_log_heal_want {
    uint64_t sequence; /* of the write */
    uint64_t stream;
    uint64_t epoch; /* 0 = not known */
    uint64_t lsn_end;
    uint32_t incarnation;
    uint32_t bytes;
    bool is_header;    /* its header alone, which says how long it is; `bytes` are of that */
    uint8_t chain[16]; /* that the batch ends with */
};

/* What a write has of a stream, by the headers of its batches. */
struct hg_log_heal_range {
    uint64_t stream;
    uint64_t lsn_first;
    uint64_t lsn_end;
};

/* A write that is known to be corrupt. */
struct hg_log_heal_write {
    uint64_t sequence;
    uint64_t due_ns; /* of the next try */
    uint32_t tries;
    uint32_t reason; /* of the last one; 0 = there was none yet */
    uint32_t range_count;
    bool is_ranged; /* it was read, and `ranges` are all that it has */
    struct hg_log_heal_range ranges[HG_LOG_HEAL_RANGES_MAX];
};

struct hg_log_heal {
    struct hg_log_heal_write writes[HG_LOG_HEAL_WRITES_MAX];
    uint32_t count;
    uint64_t untracked; /* found corrupt, and not in the table: it was full, or they can't be told */
    uint64_t counts[HG_LOG_HEAL_COUNT];
    uint64_t repaired_sequence; /* the newest */

    enum hg_log_heal_state state;
    uint64_t sequence;           /* of the write under way */
    struct hg_log_pieces pieces; /* of it, as they lie there; then as peers give them */
    uint32_t batch_count;
    uint32_t at; /* of the batch that is wanted, in the payload */
    /* A header in a block that is not as it was written may be of what else lies there. It is believed at
     * first; when that comes to nothing, the write is read once more, and none is. */
    bool has_believed;
    bool believes_none;
    enum hg_log_heal_reason reason_first; /* why the first way came to nothing */
    struct hg_log_heal_want want;
    /* Where more than one header is lost, the chain of the one behind names the last of them, that names the
     * one before, until they fill what is lost. */
    struct hg_batch_header header; /* as somebody gives it */
    uint32_t named_end;  /* where what is wanted ends by the one behind it; 0 = its own header says it */
    uint32_t named_last; /* where the last of them ends */
    uint32_t told_end;   /* before it all headers are in their place that peers gave */
    uint64_t copy_sequence;
};

/* ---- for whoever asks peers ---- */
/* True: this batch is wanted now. */
bool hg_log_heal_wants(const struct hg_log *log, struct hg_log_heal_want *want);
/* Bytes of it, from somebody who is not trusted, below want.bytes. */
void hg_log_heal_fill(struct hg_log *log, uint32_t offset, const void *data, uint32_t bytes);
/* All were given. False: that was not the batch, and it is wanted as before. */
bool hg_log_heal_filled(struct hg_log *log);
/* Nobody has it: tried again later. */
void hg_log_heal_give_up(struct hg_log *log);
/* Somebody came who may have it: what nobody had is tried again now. */
void hg_log_heal_again(struct hg_log *log);
const struct hg_log_heal *hg_log_heal_of(const struct hg_log *log);
/* Writes that are corrupt and not repaired, as far as they were found. */
uint64_t hg_log_heal_left(const struct hg_log *log);

/* ---- inside of a log ---- */
void hg_log_heal_prepare(struct hg_log *log);
void hg_log_heal_free(struct hg_log *log);
/* A reader or scrub found it, and read it several times. */
void hg_log_heal_note(struct hg_log *log, uint64_t sequence);
bool hg_log_heal_advance(struct hg_log *log);
void hg_log_heal_completed(struct hg_log *log, int32_t result);
/* A superblock is in force. */
void hg_log_heal_superblock_flushed(struct hg_log *log);
uint64_t hg_log_heal_deadline_ns(const struct hg_log *log);

#endif
