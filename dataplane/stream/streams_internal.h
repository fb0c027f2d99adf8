/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the stream table share with each other and with nobody else.
 */
#ifndef HG_STREAM_STREAMS_INTERNAL_H
#define HG_STREAM_STREAMS_INTERNAL_H

#include "dataplane/stream/follow.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/sessions.h"
#include "dataplane/stream/streams.h"
#include "dataplane/stream/writer.h"
#include "drivers/clock/clock.h"

#define HG_STREAMS_RAW_BYTES ((uint32_t)((HG_FRAME_BYTES_MAX + 4095) & ~4095ull))

/* A batch given to the log and not durable yet. */
struct hg_stream_commit {
    uint64_t sequence;
    uint64_t lsn_end;
    uint32_t slot;
    uint32_t reserved;
    uint8_t chain[16];
};

struct hg_streams {
    struct hg_streams_config config;
    struct hg_log *log;
    struct hg_hlc hlc;
    uint64_t realtime_ns;      /* sampled at most once a millisecond */
    uint64_t realtime_read_ns; /* when, on the monotonic clock */
    bool recovery_broken;
    uint32_t holes;   /* in the log, that recovery has come by */
    bool tail_torn;   /* this process found the log so: a stream that it does not know may be behind it */
    uint64_t end_due; /* stream whose end is not on the device yet; 0 = none */
    uint64_t end_sequence;              /* the write that has it; 0 = the log has not taken it yet */
    uint64_t consumer_removed_sequence; /* the write that has the newest removal */
    bool configuration_whole;           /* there was one */
    uint64_t configuration;             /* counts them */
    uint64_t quorum_members;            /* peers, for groups without members of their own */
    uint32_t quorum_w;

    struct hg_stream_state *table;
    uint32_t count;
    uint32_t *changed; /* slots with positions_changed */
    uint32_t changed_count;
    uint32_t hash_mask;
    int32_t *hash;

    struct hg_stream_commit *commits; /* ring */
    uint64_t commits_head;
    uint64_t commits_tail;

    struct hg_sessions *sessions;
    uint8_t *open_memory; /* of a batch that is looked into */
    uint8_t *raw_memory;
    int32_t raw_owner[HG_STREAMS_OPEN_BATCHES_MAX]; /* stream slot, -1 = free */
    uint32_t open_count;
    void *lz4_state;

    struct hg_streams_voters voters[HG_GROUPS_MAX];
    uint64_t node, peer_nodes[HG_STREAMS_PEERS_MAX];
    struct {
        bool is_unknown;
        bool is_suspect; /* an empty log here must not write under the first epoch */
        bool is_told;
        uint64_t since_ns;
        uint64_t epoch_given; /* by the metastore, as far as was read */
        struct hg_copies of;
    } copies[HG_GROUPS_MAX];
    struct hg_group groups[HG_GROUPS_MAX];
    struct hg_stream_cutting *cutting;
    uint64_t cuts_count;
    uint64_t orphans_failed; /* files that could not be written */
    uint64_t groups_deposed; /* bit = its producers are to be told */
    uint32_t adopts_due;     /* streams that have all below their adopt_lsn */
    uint64_t groups_pending; /* bit = a promise or a beginning is on its way to the device */
    uint64_t group_counts[HG_GROUP_REASON_COUNT];

    bool grants_required;
    uint64_t boottime_ns; /* at the beginning of this turn, where they are */
    struct hg_grant grants[HG_GROUPS_MAX];
    uint64_t grant_counts[HG_GRANT_REASON_COUNT];

    struct hg_consumer_state consumers[HG_LOG_CONSUMERS_MAX];
    uint64_t append_counts[HG_APPEND_REASON_COUNT];
    uint64_t sealed_counts[HG_SEALED_REASON_COUNT];
    uint64_t sealed_full_count; /* of HG_SEALED_WOULD_BLOCK: for the log was full */
    struct hg_retention retention;
};

/* A position of the stream moved, or who may see it. */
static inline void hg_streams_moved(struct hg_streams *streams, struct hg_stream_state *s)
{
    if (s->positions_changed)
        return;
    s->positions_changed = true;
    streams->changed[streams->changed_count++] = (uint32_t)(s - streams->table);
}

/* What a batch of another node, or of the log, says of clients. */
void hg_streams_sessions_derive(struct hg_streams *streams, const struct hg_batch_header *batch);
/* The stream has forgotten a client; 0 = none has. */
void hg_streams_sessions_lost(struct hg_streams *streams, uint64_t stream);
/* The peer's log is one of those that count. */
bool hg_streams_copy_counts(const struct hg_streams *streams, const struct hg_stream_state *s, uint32_t peer);
/* Something that counts for what is committed moved. */
void hg_streams_committed_move(struct hg_streams *streams, struct hg_stream_state *s);
int32_t hg_streams_slot_make(struct hg_streams *streams, uint64_t stream);
void hg_streams_record_of_stream(const struct hg_stream_state *s, struct hg_local_record *record);
/* Makes the record one of the stream as it is when it has begun anew (horizon.h). */
void hg_streams_record_anew(const struct hg_stream_state *s, struct hg_local_record *record);
void hg_streams_record_of_group(const struct hg_streams *streams, uint32_t group,
                                struct hg_local_record *record);
/* Promises the epoch, which the group may promise; what is not sealed yet is dropped. */
void hg_streams_promise(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* The stream got a batch, or stands elsewhere: perhaps where its epoch is to be adopted. */
void hg_streams_adopt_look(struct hg_streams *streams, struct hg_stream_state *s);
/* Records the epochs of streams that reached where these began, and notices what the device has of it. */
void hg_streams_adopts_advance(struct hg_streams *streams);
/* An epoch that waits to be adopted is forgotten. */
void hg_streams_adopt_cancel(struct hg_streams *streams, struct hg_stream_state *s);
struct hg_stream_cutting *hg_stream_cutting_make(void);
void hg_stream_cutting_free(struct hg_stream_cutting *cutting);
/* Nothing below it is ever cut. */
uint64_t hg_streams_floor(const struct hg_stream_state *s);
/* The stream ends at lsn, as a record of the log says. False: it can't be. */
bool hg_streams_cut_apply(struct hg_streams *streams, struct hg_stream_state *s, uint64_t lsn,
                          const uint8_t chain[16], uint64_t epoch_common);
/* Counts a refusal. */
enum hg_group_reason hg_streams_group_counted(struct hg_streams *streams, enum hg_group_reason reason);
/* The newest epoch that anything of the group is of; *mixed: its streams are of several regions. */
uint64_t hg_streams_group_newest(const struct hg_streams *streams, uint32_t group, bool *mixed);
void hg_streams_recovered_group(struct hg_streams *streams, const struct hg_local_record *record);
/* Promises and beginnings that the device has now. */
void hg_streams_groups_commit(struct hg_streams *streams);
/* Once the log is read back. */
void hg_streams_recovered_groups(struct hg_streams *streams);
static inline const struct hg_group *hg_streams_group_of(const struct hg_streams *streams,
                                                         const struct hg_stream_state *s)
{
    hg_assert(s->group < HG_GROUPS_MAX);
    return &streams->groups[s->group];
}
void hg_streams_record_of_consumer(const struct hg_streams *streams, const struct hg_consumer_state *consumer,
                                   struct hg_local_record *record);
/* As the log has it, at recovery and when it moves here. */
void hg_streams_recovered_stream(struct hg_streams *streams, const struct hg_local_record *record);
void hg_streams_record_of_end(uint64_t stream, struct hg_local_record *record);
/* What is left of a stream that another log owns. */
void hg_streams_ended(struct hg_streams *streams, uint32_t slot);
void hg_streams_end_save(struct hg_streams *streams);
void hg_streams_recovered_consumer(struct hg_streams *streams, const struct hg_local_record *record);
/* cut.c: a record of a cut was read back. */
void hg_streams_recovered_cut_note(struct hg_streams *streams, const struct hg_local_record *record);
void hg_streams_recovered_anew(struct hg_streams *streams, const struct hg_local_record *record);
/* Writes down positions that moved, each once a second at most, and none while the log is scarce. */
void hg_streams_consumers_save(struct hg_streams *streams, uint64_t now_ns);
/* Once the log is read back and the streams' positions are known. */
void hg_streams_recovered_consumers(struct hg_streams *streams);

#endif
