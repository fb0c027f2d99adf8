/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a whole log and judges every block of it as recovery would, but goes on behind what is damaged and
 * names each damage by its place. Changes nothing, and takes no lock: the log may be open in a running
 * dataplane. What looks damaged is read again, with the superblock, before it is called so: it may have been
 * recycled or written meanwhile. Blocks until it is through; for tools and tests, one thread.
 */
#ifndef HG_WAL_LOG_AUDIT_H
#define HG_WAL_LOG_AUDIT_H

#include "dataplane/wal/batch.h"
#include "dataplane/wal/log_block.h"

enum hg_log_severity {
    HG_LOG_SEVERITY_NONE,       /* nothing to do: it is told so that it is known */
    HG_LOG_SEVERITY_WORN,       /* the next start mends it; nothing is lost */
    HG_LOG_SEVERITY_UNREADABLE, /* the device gave an error: nothing is known */
    HG_LOG_SEVERITY_DAMAGED,    /* something that was durable is not there, or not as it was */
    HG_LOG_SEVERITY_COUNT,
};

/* name, severity, text */
#define HG_LOG_FINDINGS(X)                                                                                   \
    X(LOSS, NONE, "is lost; an operator accepted that (helio-log accept-loss)")                              \
    X(REPAIRED, NONE, "was repaired, and lies elsewhere in this log now")                                    \
    X(REPAIRED_BATCHES, NONE, "was repaired but for local records, and lies elsewhere in this log now")      \
    X(BEGINS_ANEW, NONE, "is the next with its stream, which begins anew here, behind an accepted loss")     \
    X(SUPERBLOCK_COPY, WORN, "superblock copy is not valid")                                                 \
    X(RING_BLOCK, WORN, "header ring block is neither empty nor a header of this log")                       \
    X(RING_DIFFERS, WORN, "header ring copy is not the header of its write")                                 \
    X(HEADER, WORN, "header block is bad, the ring has its copy")                                            \
    X(UNREADABLE, UNREADABLE, "cannot be read")                                                              \
    X(SUPERBLOCK, DAMAGED, "no two superblock copies agree: not a log, or damaged")                          \
    X(CUT_SHORT, DAMAGED, "the superblock speaks of more bytes than there are: cut short")                   \
    X(NUMBERS, DAMAGED, "the superblock has numbers that no log reaches")                                    \
    X(CORRUPT, DAMAGED, "was durable and is corrupt")                                                        \
    X(FORK, DAMAGED, "does not follow from the write before it")                                             \
    X(LOST, DAMAGED, "was durable and is not there")                                                         \
    X(BATCH, DAMAGED, "holds a batch that fails its checks")                                                 \
    X(BATCH_COUNT, DAMAGED, "holds another number of batches than its header says")                          \
    X(RECORD, DAMAGED, "holds a local record of a type that this build does not know")                       \
    X(CHAIN, DAMAGED, "holds a batch that does not continue its stream")                                     \
    X(TABLE, DAMAGED, "holds a table of streams that is not what the batches before it say")                 \
    X(HOLE, DAMAGED, "is the next with its stream: entries before it are lost")                              \
    X(STREAMS, DAMAGED, "holds more streams than a log can have")
enum hg_log_finding_kind {
#define HG_X(name, severity, text) HG_LOG_FINDING_##name,
    HG_LOG_FINDINGS(HG_X)
#undef HG_X
        HG_LOG_FINDING_COUNT,
};
enum hg_log_severity hg_log_finding_severity(enum hg_log_finding_kind kind);
/* "chain", "ring_block": for programs. */
const char *hg_log_finding_name(enum hg_log_finding_kind kind);
const char *hg_log_finding_text(enum hg_log_finding_kind kind);

struct hg_log_finding {
    enum hg_log_finding_kind kind;
    uint64_t file_offset; /* of the block, the write or the batch */
    uint64_t bytes;       /* that are concerned, from there; 0 = not known */
    uint64_t sequence;    /* of the write; 0 = of none */
    uint64_t sequence_last;
    uint64_t segment; /* absolute number; with a write only */
    uint32_t segment_offset;
    uint32_t index;         /* of the superblock copy or the ring block */
    uint32_t payload_first; /* CORRUPT: the first and the last payload block that fail, from 0 */
    uint32_t payload_last;  /* (first > last: none does, or it is not known) */
    int error;              /* UNREADABLE: -errno */
    /* CORRUPT, LOST, LOSS: where write sequence_last + 1 begins, or would where nothing whole comes behind.
     */
    bool has_next; /* false: there is no room behind it */
    uint64_t next_segment;
    uint32_t next_offset;
    /* BATCH, CHAIN, TABLE, HOLE, BEGINS_ANEW: what of which stream; stream 0: not known, or local records. */
    uint64_t stream;
    uint64_t lsn_first;
    uint64_t lsn_end;
    enum hg_batch_reason reason; /* BATCH */
};

/* What a start would do with the log as it lies there. */
enum hg_log_outcome {
    HG_LOG_OUTCOME_OPENS,
    HG_LOG_OUTCOME_CORRUPT,    /* refused, hg_log_is_corrupt or streams that do not fit; exit 4 */
    HG_LOG_OUTCOME_UNUSABLE,   /* refused, hg_log_is_unusable; exit 4 */
    HG_LOG_OUTCOME_UNREADABLE, /* refused for an error of the device; exit 3 */
};

/* Why the log ends where it does. */
enum hg_log_end {
    HG_LOG_END_NOTHING, /* zeros, or a torn write that was never acknowledged */
    HG_LOG_END_OLDER,   /* a block of an earlier cycle or life */
    HG_LOG_END_FULL,    /* every segment is in use */
    HG_LOG_END_LIVE,    /* it was written while it was read: what came later was not looked at */
    HG_LOG_END_DAMAGE,  /* nothing whole could be found behind a damage */
    HG_LOG_END_NEVER,   /* no superblock to begin with */
};

struct hg_log_audit_result {
    struct hg_log_superblock superblock; /* that in force; zeros without one */
    enum hg_log_outcome outcome;
    enum hg_log_end end;
    uint64_t sequence_first; /* the tail when reading began */
    uint64_t sequence_next;  /* of the write that would come next */
    uint64_t segment_next;
    uint32_t offset_next;
    uint32_t previous_crc32c; /* that write sequence_next is to name */
    uint64_t durable;         /* newest write known to have been durable */
    uint64_t writes;          /* that are whole */
    uint64_t batches;         /* in them, local ones too */
    uint64_t payload_bytes;
    uint64_t discarded_writes; /* valid headers behind the end: never acknowledged */
    uint32_t ring_missing; /* copies of the newest 256 writes that the ring has not got: a start adds them */
    uint64_t changed;      /* blocks and writes that looked bad and were fine when read again */
    uint64_t recycled_writes; /* that the dataplane let go of while they were read */
    uint64_t read_bytes;
    uint64_t findings[HG_LOG_SEVERITY_COUNT];
};

struct hg_log_audit_ops {
    /* Multiples of HG_LOG_BLOCK_BYTES, to memory aligned to it. 0 or -errno; never short. */
    int (*read)(void *ctx, void *data, uint32_t bytes, uint64_t offset);
    /* Some milliseconds pass: what is being written gets time to land. May be NULL: the log is dead. */
    void (*pause)(void *ctx);
    /* All below may be NULL. Pointers are good during the call only. */
    void (*finding)(void *ctx, const struct hg_log_finding *finding);
    void (*superblock)(void *ctx, uint32_t copy, const struct hg_log_superblock *superblock); /* NULL = bad */
    void (*chosen)(void *ctx, const struct hg_log_superblock *superblock);
    void (*ring)(void *ctx, uint32_t valid, uint64_t sequence_newest, uint64_t durable);
    /* A whole write, then each of its batches, with what hg_batch_verify says of it. */
    void (*write)(void *ctx, const struct hg_log_write_header *header);
    void (*batch)(void *ctx, const struct hg_log_write_header *header, const struct hg_batch_header *batch,
                  enum hg_batch_reason reason);
    void (*write_end)(void *ctx, const struct hg_log_write_header *header);
    void (*record)(void *ctx, const struct hg_local_record *record);
    /* `bytes_total` is a guess by the newest header of the ring. */
    void (*progress)(void *ctx, uint64_t bytes, uint64_t bytes_total);
};

struct hg_log_audit_config {
    const struct hg_log_audit_ops *ops;
    void *ctx;
    uint64_t size_bytes; /* of the file or device */
    /* Instead of ops->read with ctx, where the two are not the same thing's. NULL = not. */
    int (*read)(void *ctx, void *data, uint32_t bytes, uint64_t offset);
    void *read_ctx;
    bool has_frames; /* decompress every batch and check its frames too */
};

/* Takes some 12 MiB while it runs. */
void hg_log_audit(const struct hg_log_audit_config *config, struct hg_log_audit_result *result);

#endif
