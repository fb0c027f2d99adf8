/* SPDX-License-Identifier: Apache-2.0
 *
 * The segment log of one worker: log writes, group commit, the durable prefix, recovery, segment reuse,
 * reads. docs/disk-format.md has the bytes, architecture 6 the reasons. A pure core over hg_disk: nothing
 * blocks, everything advances in hg_log_turn(). Only the owning worker calls it.
 *
 * Life: hg_log_open -> RECOVERING (turns) -> READY -> (I/O error) FAILED, for ever: the process must exit,
 * and the next one reads the disk anew.
 */
#ifndef HG_WAL_LOG_H
#define HG_WAL_LOG_H

#include "dataplane/wal/batch.h"

struct hg_log;

enum hg_log_state { HG_LOG_RECOVERING, HG_LOG_READY, HG_LOG_FAILED };

#define HG_LOG_WRITES_GATHER_MAX 2           /* in flight, while what is open may still gain by gathering */
#define HG_LOG_WRITES_FULL_MAX   4           /* in flight, when it would not: checksums take their time too */
#define HG_LOG_WRITE_FULL_BYTES  (16u << 10) /* of payload: a header block is a fifth of it at most */
#define HG_LOG_STUCK_NS          (2 * HG_NS_PER_S) /* that a write or flush is under way: then it is told */
#define HG_LOG_READ_TRIES        3u /* before an old write is called corrupt: a device may err once */

/* Why appends are not taken now. */
enum hg_log_pressure {
    HG_LOG_PRESSURE_NONE,
    HG_LOG_PRESSURE_ARENA,    /* the disk is slower than the producers: in-memory writes are all in flight */
    HG_LOG_PRESSURE_SEGMENTS, /* fewer than two segments are free: a peer or consumer holds them */
};

struct hg_log_ops {
    /* Fills the table that opens every segment: streams and consumers as they stand. Returns how many (<=
     * max). */
    uint32_t (*checkpoint)(void *ctx, struct hg_local_record *records, uint32_t max);
    /* During recovery, in log order: local records, then every batch of a global stream with its write's
     * sequence. */
    void (*recovered_record)(void *ctx, const struct hg_local_record *record);
    void (*recovered_batch)(void *ctx, uint64_t sequence, const struct hg_batch_header *header);
    /* Likewise, of a write that is corrupt and marked so: this header alone is there, and it may be of an
     * older batch if it does not follow from what came before. False: it does not, and the log is refused.
     * NULL: none is marked. */
    bool (*recovered_rotten)(void *ctx, uint64_t sequence, const struct hg_batch_header *header);
    /* Likewise: what was reported before was the end of the log once, with a torn write behind it that may
     * have been acknowledged. Optional. */
    void (*recovered_torn)(void *ctx);
    /* At its place among them: these writes are lost, and an operator accepted that. What they held is not
     * known. May be NULL. */
    void (*recovered_hole)(void *ctx, uint64_t sequence_first, uint64_t sequence_last);
    /* The tail moved: writes below `sequence` are gone. */
    void (*trimmed)(void *ctx, uint64_t sequence);
};

struct hg_log_config {
    struct hg_disk *disk;       /* stays the caller's */
    void *arena;                /* HG_LOG_BLOCK_BYTES aligned; writes in flight and read slots live here */
    uint64_t arena_bytes;       /* >= hg_log_arena_bytes_min(write_payload_bytes_max) */
    uint64_t cluster;           /* a log of another cluster is refused; 0 = any */
    uint64_t scrub_bytes_per_s; /* of sealed segments, read to see whether they are whole; 0 = none */
    bool may_mark; /* other nodes may have what is in it: it opens with corrupt writes that can be repaired */
    const struct hg_log_ops *ops;
    void *ctx;
};

struct hg_log_geometry {
    uint64_t cluster;
    uint8_t log_uuid[16];
    uint8_t node_uuid[16];
    uint32_t log_id;
    uint64_t segment_bytes; /* multiple of 4096, >= 2 x (write_payload_bytes_max + 4096) */
    uint32_t segment_count; /* >= HG_LOG_SEGMENTS_MIN */
    uint32_t write_payload_bytes_max;
    struct hg_log_growth_table growth; /* zeros: it never grew */
};

struct hg_log_stats {
    uint64_t writes;
    uint64_t flushes;
    uint64_t batches;
    uint64_t payload_bytes;
    uint64_t written_bytes; /* headers, padding and ring copies included */
    uint64_t reads;
    uint64_t read_bytes;
    uint64_t walked_bytes; /* that walkers had from them: more than read_bytes where several share reads */
    uint64_t recovered_writes;
    uint64_t discarded_writes; /* torn tail */
    uint64_t writes_again;     /* that the device cut short, of any kind */
    uint64_t reads_again;      /* of old writes, after an error or bytes that fail their checks */
    uint64_t corrupt_writes;
    uint64_t marked_writes;          /* of these, that it was opened with */
    uint64_t unreadable_blocks;      /* that recovery met */
    uint64_t scrub_bytes_per_s;      /* 0 = off */
    uint64_t scrub_bytes;            /* read by it */
    uint64_t scrub_passes;           /* over all sealed segments, that are completed */
    uint64_t scrub_pass_end_ns;      /* when the last one was; monotonic, 0 = none was */
    uint64_t scrub_corrupt;          /* writes it found, in each pass anew; corrupt_writes has them too */
    uint64_t scrub_corrupt_sequence; /* the newest of them */
    uint32_t scrub_percent;          /* of the pass under way */
    uint64_t losses;                 /* that operators ever accepted, of this log */
    uint64_t repairs;                /* of its writes, that were ever made */
    uint64_t lost_writes;            /* in them */
    uint64_t flush_ns_last;
    uint64_t flush_ns_max;
    uint64_t durable_ns_p99; /* hg_log_durable_p99_ns */
    uint32_t segments_free;
    uint32_t segments_kept; /* that producers here leave free */
    uint32_t segment_count;
    uint64_t segment_bytes;
};

uint64_t hg_log_arena_bytes_min(uint32_t write_payload_bytes_max);

/* Bytes of a file of this geometry. */
uint64_t hg_log_file_bytes(const struct hg_log_geometry *geometry);

/* Writes superblocks and an empty log onto a zeroed disk of the right size; polls until durable (blocks in
 * production: tools and housekeeping only). Returns 0 or -errno; -EINVAL for a bad geometry
 * or a disk too small for it; -EEXIST when a superblock is there already: a log is never overwritten. */
int hg_log_format(struct hg_disk *disk, const struct hg_log_geometry *geometry);

/* Starts recovery. Allocates; never after this. Returns NULL only when the arena is too small. */
struct hg_log *hg_log_open(const struct hg_log_config *config);
void hg_log_close(
    struct hg_log *log); /* waits for nothing: in-flight buffers must have completed, or the disk be dead */

/* Reaps completions, advances recovery, submits closed writes, flushes, ring copies and reads. Returns true
 * when it did anything. *deadline_ns gets the time by which it must be called again without an event
 * (HG_TIME_NEVER = none). */
bool hg_log_turn(struct hg_log *log, uint64_t now_ns, uint64_t *deadline_ns);

enum hg_log_state hg_log_state(const struct hg_log *log);
/* Since when the device owes an answer to the oldest write or flush of each kind, on the caller's clock;
 * HG_TIME_NEVER = it owes none. Once READY. */
uint64_t hg_log_pending_since_ns(const struct hg_log *log);
/* Appends find no room in memory: all of it is on its way to the device. */
bool hg_log_is_behind(const struct hg_log *log);
/* A sentence for the operator when FAILED ("write of sequence 17 at ...: Input/output error; restart reads
 * the disk anew"), or about what recovery found. Static in the log. */
const char *hg_log_message(const struct hg_log *log);
bool hg_log_is_corrupt(
    const struct hg_log *log); /* FAILED because a durable write is corrupt: never truncated */
/* FAILED because the superblock can't be worked with: damaged, cut short, of another cluster, too large for
 * the memory given. Starting again does not help. */
bool hg_log_is_unusable(const struct hg_log *log);
/* 0..100 while RECOVERING. */
uint32_t hg_log_recovery_percent(const struct hg_log *log);

/* ---- appending ---- */
/* Room for one sealed batch of up to `bytes` in the open write, 16-byte aligned, opening a write when there
 * is none. NULL: would block (see pressure). The pointer is valid until the next call of reserve, commit or
 * turn. */
void *hg_log_reserve(struct hg_log *log, uint32_t bytes, enum hg_log_pressure *pressure);
/* The same for a batch that holds the oldest segment of its origin's log. It may use a share of the log that
 * nothing else may: were two logs full of what each waits for the other to take, neither could take anything
 * for ever (architecture.md, Two full logs). The share is an eighth of the segments, two at least, and must
 * hold what one segment of the peer's log holds; so while it is used writes gather longer. */
void *hg_log_reserve_taken(struct hg_log *log, uint32_t bytes, enum hg_log_pressure *pressure);
/* The first `bytes` (multiple of 16) of the reservation are a batch: it belongs to the write whose sequence
 * is returned. It is durable once hg_log_durable_sequence() reaches that. */
uint64_t hg_log_commit(struct hg_log *log, uint32_t bytes);
/* True when the worker should close the open write now rather than gather more: something is in it and a
 * write slot is free. */
bool hg_log_wants_close(const struct hg_log *log);
/* Bytes of batches in the open write, 0 without one. */
uint32_t hg_log_open_bytes(const struct hg_log *log);
/* True when a write that is closed now would go to the device at once. Fewer than HG_LOG_WRITES_GATHER_MAX
 * writes are in flight then (HG_LOG_WRITES_FULL_MAX when the open one has HG_LOG_WRITE_FULL_BYTES); the hard
 * limit of writes in flight may be higher, but gathering beyond it makes better batches. */
bool hg_log_slot_free(const struct hg_log *log);
void hg_log_close_write(struct hg_log *log);
/* Appends local records as a batch of their own. Returns its write's sequence, or 0 for would block. Local
 * records may use the segments that producers may not. */
uint64_t hg_log_append_records(struct hg_log *log, const struct hg_local_record *records, uint32_t count);

/* Every write up to and including this one is on the device, flushed. 0 = none. */
uint64_t hg_log_durable_sequence(const struct hg_log *log);
/* How long 99 % of the writes of the last 10 to 20 s took at most, from their first batch until durable;
 * looked at every 100 ms. 0 = there was none yet. */
uint64_t hg_log_durable_p99_ns(const struct hg_log *log);
/* Sequence that the next new write will have. */
uint64_t hg_log_next_sequence(const struct hg_log *log);
/* The write that the next batch goes into at the earliest: the open one, else the next. */
uint64_t hg_log_append_sequence(const struct hg_log *log);
uint32_t hg_log_restarts(const struct hg_log *log);
/* The largest batch that this log can take; reserving more is an assertion. */
uint32_t hg_log_batch_bytes_max(const struct hg_log *log);

/* HLC ceiling: raised by the caller before stamps above it are given; goes into every header block. */
void hg_log_hlc_ceiling_set(struct hg_log *log, uint64_t ceiling);
uint64_t hg_log_hlc_ceiling(const struct hg_log *log); /* after recovery: the largest found */

/* ---- promises ---- */
/* The epoch below which nothing of a group is taken any more. It only rises, is kept in the superblock, and
 * is promised when hg_log_epoch_promised says so, some turns later: the update is flushed then. */
void hg_log_epoch_promise(struct hg_log *log, uint32_t group, uint64_t epoch);
uint64_t hg_log_epoch_promised(const struct hg_log *log, uint32_t group); /* 0 = none */
/* The generation of a group's members below which nothing is taken any more: likewise. `kept`: on the device;
 * `wanted`: that or one on its way there. */
void hg_log_members_keep(struct hg_log *log, uint32_t group, uint32_t generation);
uint32_t hg_log_members_kept(const struct hg_log *log, uint32_t group);
uint32_t hg_log_members_wanted(const struct hg_log *log, uint32_t group);
/* This recovery found a torn write at the end, which may have been acknowledged, or an accepted loss with no
 * table of streams behind it: what is behind the end is not known to be absent. Later recoveries report a
 * torn one by recovered_torn: the superblock keeps its place. */
bool hg_log_tail_is_torn(const struct hg_log *log);
const uint8_t *hg_log_uuid(const struct hg_log *log); /* 16 bytes; once READY */

/* ---- retention ---- */
/* Oldest write kept. */
uint64_t hg_log_tail_sequence(const struct hg_log *log);
/* Nobody needs writes below `sequence` any more (what is not durable yet is never released: UINT64_MAX means
 * all that is durable now). Their segments are reused lazily, when less than a quarter is free; what is still
 * there may be needed again, so a lower `sequence` takes back what was said before. */
void hg_log_release(struct hg_log *log, uint64_t sequence);
/* Of what is released, writes from `sequence` on stay for readers that may come, as long as that pushes
 * nobody back: they go when no more than one segment is left to producers. UINT64_MAX = none, as at the
 * start. */
void hg_log_keep(struct hg_log *log, uint64_t sequence);
/* Bytes of segments that writes were laid into since the log was made; it only rises. */
uint64_t hg_log_appended_bytes(const struct hg_log *log);
/* Of these, those from write `sequence` on, as far as the log still has them. */
uint64_t hg_log_bytes_from(const struct hg_log *log, uint64_t sequence);
/* The first write of a segment from which on the log has `bytes` or more; the tail where it has less. */
uint64_t hg_log_sequence_behind(const struct hg_log *log, uint64_t bytes);
/* The newest write of the segment that write `sequence` is in (of the tail's, if it is older): what has to be
 * released before that segment can be reused. */
uint64_t hg_log_segment_last(const struct hg_log *log, uint64_t sequence);
/* The first write of the segment that write `sequence` is in (of the tail's, if it is older; of the newest,
 * if it is not closed yet): it begins with the table of streams. */
uint64_t hg_log_segment_first(const struct hg_log *log, uint64_t sequence);
/* True when producers are pushed back, or are with the next segment: what they may not use is all that is
 * left. */
bool hg_log_is_scarce(const struct hg_log *log);

/* ---- growing ---- */
/* The ring of segments gets longer while the log is in use. Whoever wants that first makes the file longer,
 * with zeros that are synced (hg_disk_file_extend); from there on it takes some turns, in which nothing is
 * held up but, for two updates of the superblock, the opening of a new segment. A crash leaves a log of the
 * old size in a longer file, or one of the new size. */
struct hg_log_growth; /* memory for the longer log */
/* NULL, or why it cannot become a file of `bytes`: a sentence that says what to do, in `why`. *segment_count
 * is what it would have then. */
const char *hg_log_grow_problem(const struct hg_log_geometry *geometry, uint64_t bytes,
                                uint32_t *segment_count, char *why, size_t why_bytes);
/* Allocates; any thread. NULL: no memory. */
struct hg_log_growth *hg_log_growth_create(const struct hg_log_geometry *geometry, uint32_t segment_count);
/* Any thread, once the log does not grow any more, or is closed. */
void hg_log_growth_free(struct hg_log_growth *growth);
/* READY, and not growing already. `growth` is lent until hg_log_is_growing says no (or the log failed). */
void hg_log_grow(struct hg_log *log, struct hg_log_growth *growth);
bool hg_log_is_growing(const struct hg_log *log);
void hg_log_geometry_get(const struct hg_log *log, struct hg_log_geometry *geometry);

/* ---- reading ---- */
/* The verified payload of durable write `sequence`: from memory while it is there, else from a read slot.
 * Returns 1 with *payload and *payload_bytes valid until the next hg_log_turn; 0 = being read, or all slots
 * busy: ask again after a turn; -ERANGE = not durable yet; -ENOENT = below the tail (a gap: say so, never
 * skip); -EBADMSG = corrupt on disk, read HG_LOG_READ_TRIES times (counted; the log stays up). A write that
 * is lost, which an operator accepted, has no bytes: 1, and 0 of them; the streams that had some in it begin
 * anew behind it. One that was repaired has the bytes of its copy, and the write
 * that holds the copy has none itself. */
int hg_log_at(struct hg_log *log, uint64_t sequence, const uint8_t **payload, uint32_t *payload_bytes);
/* Somebody who walks the log stands at `sequence`: starts reads from there on, as slots allow. Writes that
 * lie one behind the other are one read. `*walker` is 0 at first and then the log's: by it those who walk
 * near one another share what was read, and one that reads ahead takes no slot that another comes to sooner.
 */
void hg_log_prefetch(struct hg_log *log, uint64_t sequence, uint32_t *walker);
/* It is done with write `sequence` and goes on to the next: counts what came from the disk, and reads ahead.
 */
void hg_log_walked(struct hg_log *log, uint64_t sequence, uint32_t *walker);

void hg_log_stats_get(const struct hg_log *log, struct hg_log_stats *stats);

#endif
