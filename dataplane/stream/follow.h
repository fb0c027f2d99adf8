/* SPDX-License-Identifier: Apache-2.0
 *
 * What a copy of a stream does when a writer of a newer epoch opens it, in this order; each step is on the
 * device before the next begins, and each may be taken again after a crash:
 *
 *   1. it promises the epoch (hg_streams_follow), so that no older writer is taken after it, whatever dies;
 *   2. the two histories are compared (STREAM_HISTORY, STREAM_CUT) and what the writer does not have is cut;
 *   3. it is filled up to where the writer's epoch began, and there records that beginning
 *      (hg_streams_adopt_epoch). From then on its last epoch is the writer's.
 *
 * The third step can't be earlier: a copy that has the newest epoch and lacks some of what came before would
 * win the next choice of a tail. So until the record is on the device the copy never says that it has all
 * below it (hg_streams_is_adopting): a writer that hears an end at or behind its beginning knows that this
 * copy adopted its epoch. A batch of the epoch proves the same.
 *
 * Pure; owning worker only.
 */
#ifndef HG_STREAM_FOLLOW_H
#define HG_STREAM_FOLLOW_H

#include "dataplane/stream/cursor.h"
#include "dataplane/stream/seal.h"

/* Before anything is taken from a writer of `epoch`. OK: it is promised, on the device. WOULD_BLOCK: that is
 * on its way; ask again after a turn of the log. What this node's producers had not yet sealed into the log
 * is dropped, as by a seal. Refusals are counted. */
enum hg_group_reason hg_streams_follow(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* Groups whose producers here were deposed since the last call, a bit each: they are to be told
 * (hg_clients_depose). */
uint64_t hg_streams_groups_deposed(struct hg_streams *streams);

/* The history that others may be told: beginnings that are not on the device yet are left out. */
void hg_streams_history_durable(const struct hg_stream_state *s, struct hg_history *history);

struct hg_stream_walk {
    struct hg_cursor cursor;
    uint64_t from; /* the write that it began with; 0 = it met a batch of the stream since */
};

/* The chain at `lsn`, which must be where a durable batch ends. *walk is zero at the first call and goes on
 * over further ones. 1 = `chain` has it; 0 = being read: ask again after a turn; -ENOENT = no batch of the
 * log ends or begins there, and if that is because what was there is gone, hg_streams_lsn_oldest says so
 * then; -EBADMSG = corrupt on disk. */
int hg_streams_chain_at(struct hg_streams *streams, uint32_t slot, uint64_t lsn, struct hg_stream_walk *walk,
                        uint8_t chain[16]);

/* The epoch of another writer began at `lsn`, not before this copy's end: recorded here once all below is.
 * Nothing happens when the copy has that epoch. */
void hg_streams_adopt_epoch(struct hg_streams *streams, uint32_t slot, uint64_t epoch, uint64_t lsn);
/* True while the copy stands where an epoch began that its device has not recorded: its end is not told. */
static inline bool hg_streams_is_adopting(const struct hg_stream_state *s)
{
    return s->adopt_epoch != 0 && s->lsn_durable == s->adopt_lsn;
}

#endif
