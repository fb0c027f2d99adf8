/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a log, shared by its sources only: log.c (life and turns), log_append.c (the open write and
 * the arena), log_commit.c (what goes to the device), log_segment.c (tail and superblock), log_read.c,
 * log_recovery.c.
 */
#ifndef HG_WAL_LOG_INTERNAL_H
#define HG_WAL_LOG_INTERNAL_H

#include "dataplane/wal/latency.h"
#include "dataplane/wal/log_block.h"
#include "dataplane/wal/log_growth.h"
#include "dataplane/wal/log_heal.h"
#include "dataplane/wal/log_scrub.h"

#define HG_LOG_READ_SLOTS_MIN  8u
#define HG_LOG_READ_SLOTS_MAX  16u
#define HG_LOG_ENTRIES_MIN     4u         /* writes of the largest size that the arena holds at least */
#define HG_LOG_ARENA_HOT_BYTES (2u << 20) /* fits any L2 and L3 that is shared */
#define HG_LOG_REACH_NS        HG_NS_PER_S
#define HG_LOG_FIXED_BLOCKS    (HG_LOG_SUPERBLOCK_COPIES + HG_LOG_RING_BLOCKS)
#define HG_LOG_RING_DELAY_NS   HG_NS_PER_MS /* that a copy of a durable header waits for others at most */
#define HG_LOG_LATENCY_LOOK_NS (100 * HG_NS_PER_MS)
#define HG_LOG_GATHER_FLUSH                                                                                  \
    8u /* small writes that one flush gathers before they gather in memory instead                           \
        */
#define HG_LOG_GATHER_SCARCE_NS                                                                              \
    (250 * HG_NS_PER_MS) /* in the last segments small writes would waste them                               \
                          */
#define HG_LOG_TAG_SHIFT 56

enum hg_log_tag {
    HG_LOG_TAG_WRITE,
    HG_LOG_TAG_FLUSH,
    HG_LOG_TAG_RING,
    HG_LOG_TAG_SUPERBLOCK,
    HG_LOG_TAG_READ,
    HG_LOG_TAG_RECOVERY,
    HG_LOG_TAG_SCRUB,
    HG_LOG_TAG_HEAL,
    HG_LOG_TAG_SALVAGE
};

enum hg_log_entry_state {
    HG_LOG_ENTRY_OPEN,
    HG_LOG_ENTRY_CLOSED,
    HG_LOG_ENTRY_IN_FLIGHT,
    HG_LOG_ENTRY_WRITTEN
};

/* A write in memory: header block and payload at arena_offset of the write arena. */
struct hg_log_entry {
    uint64_t sequence;
    uint64_t file_offset;
    uint64_t arena_offset;
    uint32_t payload_bytes;
    uint32_t payload_bytes_max; /* the room that it has */
    uint32_t batch_count;
    uint32_t blocks_summed; /* of the payload, in the header already */
    uint64_t opened_ns;
    uint64_t moved_sequence; /* it is a copy of that write; 0 = it is none */
    uint64_t submitted_ns;
    enum hg_log_entry_state state;
    bool is_rewritten;
};

enum hg_log_slot_state {
    HG_LOG_SLOT_EMPTY,
    HG_LOG_SLOT_WAITING,
    HG_LOG_SLOT_READING,
    HG_LOG_SLOT_VALID,
    HG_LOG_SLOT_BAD
};

struct hg_log_slot {
    uint64_t sequence; /* writes from it up to sequence_end, as they lie in a segment */
    uint64_t sequence_end;
    uint64_t file_offset; /* of what was read */
    uint64_t used;        /* for the choice of the least recently used */
    uint8_t *buffer;
    uint32_t bytes;
    enum hg_log_slot_state state;
    uint32_t failures; /* of reads of this write in a row */
    bool is_pinned;    /* handed out in this turn */
    bool was_given;    /* ever, since it was read */
    uint64_t read_ns;
};

/* Who walks the log, as far as its disk is concerned: a hint, by which slots are chosen. */
#define HG_LOG_WALKERS_MAX    64u
#define HG_LOG_WALKER_IDLE_NS HG_NS_PER_S         /* who stands for so long is not waited for */
#define HG_LOG_SLOT_FRESH_NS  (10 * HG_NS_PER_MS) /* what was read stays so long for who asked for it */
#define HG_LOG_PREFETCH_SLOTS 4u                  /* of a walker, with the one that it is in */
struct hg_log_walker {
    uint32_t id; /* 0 = nobody */
    uint64_t sequence;
    uint64_t seen_ns;
};

struct hg_log_recovery;

struct hg_log {
    struct hg_disk *disk;
    struct hg_log_ops ops;
    void *ctx;
    uint64_t cluster;
    uint64_t now_ns;
    enum hg_log_state state;
    bool may_mark;
    bool is_corrupt;
    bool is_unusable;   /* by its superblock */
    bool has_submitted; /* something waits in the disk's queue for its next poll */
    char message[320];

    struct hg_log_superblock superblock; /* as last written, or being written */
    struct hg_log_geometry geometry;
    uint32_t write_bytes_max;

    /* Arena: superblock buffers, mirror of the header ring, read slots, write arena. */
    uint8_t *arena;
    uint64_t arena_bytes;
    struct hg_log_superblock *superblock_buffers;
    struct hg_log_write_header *mirror;
    uint8_t *write_arena;
    uint64_t write_arena_bytes;

    /* Where write n is: block number in the endless row of segments << 18 | payload bytes / 16. */
    uint64_t *places;
    uint64_t places_mask;
    uint64_t *segment_first; /* sequence of the first write of the segment at this place */
    uint64_t segment_first_count;

    /* Writes in memory: cache_first .. next_sequence - 1, entry = sequence & entries_mask. */
    struct hg_log_entry *entries;
    uint64_t entries_mask;
    uint64_t cache_first;
    uint64_t arena_head;    /* behind the newest closed write */
    uint32_t blocked_bytes; /* for which there was no room */
    uint64_t closed_bytes;  /* of writes closed of late, the largest; a sixteenth less with each */
    uint64_t
        reach_bytes; /* how far readers were behind of late; half of it with each second since reach_ns */
    uint64_t reach_ns;
    uint64_t pin_first; /* the oldest write handed out in this turn stays */

    /* The open write. */
    struct hg_log_entry *open;
    uint32_t reserved_bytes;
    uint64_t next_sequence;
    uint64_t next_segment;
    uint32_t next_offset;
    uint64_t head_segment; /* newest with a write in it */
    uint32_t previous_crc32c;
    uint64_t hlc_ceiling;

    /* What is on its way: closed >= written >= flushed, all contiguous prefixes. */
    uint64_t closed_sequence;
    uint64_t submit_next;
    uint64_t written_sequence;
    uint64_t flushed_sequence;
    uint64_t durable_sequence;
    uint32_t writes_uncompleted;

    bool is_flushing;
    bool flush_has_superblock;
    bool flush_has_ring;
    uint64_t flush_sequence;
    uint64_t flush_ns;
    struct hg_latency latency; /* of writes, from their first batch until they are durable */
    uint64_t durable_p99_ns;   /* of it, as last looked at */
    uint64_t durable_p99_looked_ns;

    /* Header ring: writes below mirror_next are in the mirror, those below ring_next were submitted. */
    uint64_t mirror_next;
    uint64_t ring_next;
    uint64_t ring_waiting_ns; /* since when the oldest copy that was not submitted waits */
    uint64_t ring_flight_first;
    uint64_t ring_flight_end; /* 0 = none in flight */
    uint64_t ring_flight_ns;  /* since when */
    bool ring_is_dirty;       /* written since the last flush */
    bool ring_was_short;

    /* Superblock update: copies of one pair, then a flush. */
    uint32_t superblock_pair;
    uint32_t superblock_to_submit; /* bit mask of copies */
    uint32_t superblock_in_flight;
    uint64_t superblock_ns;     /* when the newest of these was given to the device */
    bool superblock_is_written; /* all copies done, the flush is missing */
    bool superblock_is_busy;
    bool superblock_was_short;
    uint64_t epoch_wanted[HG_GROUPS_MAX];   /* for the next superblock */
    uint64_t epoch_promised[HG_GROUPS_MAX]; /* of the one that is flushed */
    uint32_t members_wanted[HG_GROUPS_MAX]; /* generations, likewise */
    uint32_t members_kept[HG_GROUPS_MAX];
    bool epochs_are_due; /* some of these are wanted that no superblock under way has */
    bool tail_is_torn;

    /* Retention. */
    uint64_t tail_segment;
    uint64_t tail_sequence;
    uint64_t release_sequence;
    uint64_t keep_sequence; /* released writes from here on stay while there is room */

    struct hg_log_slot slots[HG_LOG_READ_SLOTS_MAX];
    uint32_t slot_count;
    uint64_t slot_clock;
    struct hg_log_walker walkers[HG_LOG_WALKERS_MAX];
    uint32_t walker_ids;

    struct hg_log_growth *growth; /* NULL: it does not grow now */
    struct hg_log_scrub scrub;
    struct hg_log_heal heal;
    struct hg_log_salvage salvage;
    struct hg_log_recovery *recovery;
    struct hg_log_stats stats;
};

/* log.c */
__attribute__((format(printf, 2, 3))) void hg_log_fail(struct hg_log *log, const char *format, ...);
/* Divides the arena once the geometry is known. False: too small. */
bool hg_log_layout(struct hg_log *log);
uint64_t hg_log_file_offset(const struct hg_log *log, uint64_t segment, uint32_t offset);
void hg_log_place_set(struct hg_log *log, uint64_t sequence, uint64_t segment, uint32_t offset,
                      uint32_t bytes);
void hg_log_place_get(const struct hg_log *log, uint64_t sequence, uint64_t *segment, uint32_t *offset,
                      uint32_t *bytes);
/* Nothing is to be had from there: the write is lost, or has the copy of another one. */
static inline bool hg_log_place_is_empty(const struct hg_log *log, uint64_t sequence)
{
    uint64_t segment;
    uint32_t offset, payload_bytes;
    hg_log_place_get(log, sequence, &segment, &offset, &payload_bytes);
    return payload_bytes == 0;
}
static inline uint64_t hg_log_tag(enum hg_log_tag kind, uint64_t id)
{
    return (uint64_t)kind << HG_LOG_TAG_SHIFT | id;
}

/* log_append.c */
/* Drops the oldest writes until another one has room, where that is possible. */
void hg_log_arena_make_room(struct hg_log *log);
/* A write of its own that has what was in write `moved_sequence`: closed, and never read as itself. Its
 * sequence; 0 = would block. It may use what peers' batches may. */
uint64_t hg_log_append_copy(struct hg_log *log, const void *payload, uint32_t bytes, uint32_t batch_count,
                            uint64_t moved_sequence);
static inline struct hg_log_entry *hg_log_entry_of(struct hg_log *log, uint64_t sequence)
{
    return &log->entries[sequence & log->entries_mask];
}
static inline uint8_t *hg_log_entry_buffer(struct hg_log *log, const struct hg_log_entry *entry)
{
    return log->write_arena + entry->arena_offset;
}

/* log_commit.c */
bool hg_log_commit_advance(struct hg_log *log);
bool hg_log_flush_start(struct hg_log *log);
uint64_t hg_log_commit_deadline_ns(const struct hg_log *log);
void hg_log_write_completed(struct hg_log *log, uint64_t sequence, int32_t result);
void hg_log_flush_completed(struct hg_log *log, int32_t result);
void hg_log_ring_completed(struct hg_log *log, int32_t result);

/* log_segment.c */
uint32_t hg_log_segments_free(const struct hg_log *log);
/* Segments that this user leaves free for those after it in the list: without local records nothing could be
 * released, without peers' batches two full logs would wait for each other. */
enum hg_log_user { HG_LOG_USER_PRODUCER, HG_LOG_USER_TAKER, HG_LOG_USER_LOCAL };
uint32_t hg_log_segments_kept(const struct hg_log *log, enum hg_log_user user);
bool hg_log_segment_advance(struct hg_log *log);
/* Writes log->superblock under the next generation to the pair of copies that is not in force. */
void hg_log_superblock_start(struct hg_log *log);
/* Writes the pair that is in force, as it is in memory, to its place. */
void hg_log_superblock_again(struct hg_log *log);
bool hg_log_superblock_submit(struct hg_log *log);
void hg_log_superblock_completed(struct hg_log *log, uint64_t copy, int32_t result);
/* The flush after it is done: the tail it names is in force. */
void hg_log_superblock_flushed(struct hg_log *log);

/* log_growth.c */
bool hg_log_growth_advance(struct hg_log *log);
/* From its first superblock until both pairs have it, the place of the next segment is not settled. */
bool hg_log_growth_is_settling(const struct hg_log *log);
void hg_log_growth_superblock_flushed(struct hg_log *log);
void hg_log_growth_place_set(struct hg_log_growth *growth, uint64_t sequence, uint64_t place);

/* log_read.c */
bool hg_log_read_advance(struct hg_log *log);
/* What was read from the place of a write is that write, all of it as it was written. */
bool hg_log_read_is_right(const struct hg_log *log, uint64_t sequence, const uint8_t *at);
void hg_log_read_completed(struct hg_log *log, uint64_t slot, int32_t result);

/* log_recovery.c */
struct hg_log_recovery *hg_log_recovery_create(void);
bool hg_log_recovery_advance(struct hg_log *log);
void hg_log_recovery_completed(struct hg_log *log, uint64_t id, uint32_t op, int32_t result);
uint32_t hg_log_recovery_percent_of(const struct hg_log *log);

#endif
