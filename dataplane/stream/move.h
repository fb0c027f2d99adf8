/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream moves from one log of its node to another, and so from one worker to another. The old owner stops
 * taking and waits until nobody needs anything of the stream any more (`begin`, `waits`); what it knows of
 * the stream then goes over by value (`out`, `in`); the start record in the new log, one batch with the
 * stream's consumers, is the only commit point. The end record in the old log only tidies up: of two logs
 * that have a stream, the one whose record says more moves owns it, after every crash.
 *
 * The history stays behind, and goes with the old log's segments: `waits` is why nobody misses it.
 * dataplane/move.h says who tells whom. Pure; each function belongs to the worker whose streams it is given.
 */
#ifndef HG_STREAM_MOVE_H
#define HG_STREAM_MOVE_H

#include "dataplane/stream/streams.h"

/* What the new owner must know; the first record is the stream's, the others are its consumers'. */
struct hg_stream_transfer {
    struct hg_local_record records[1 + HG_LOG_CONSUMERS_MAX];
    uint32_t record_count;
    uint64_t hlc;           /* no stamp of the old owner is above it */
    uint64_t lsn_committed; /* readers may have been given all below */
};

/* Whom the old owner waits for. */
enum hg_move_wait {
    HG_MOVE_WAITS_FOR_NOBODY,
    HG_MOVE_WAITS_FOR_DISK,     /* something taken is not durable yet */
    HG_MOVE_WAITS_FOR_PEER,     /* `who` has not said that it has everything */
    HG_MOVE_WAITS_FOR_CONSUMER, /* `who` has not passed everything, or is not registered durably yet */
};

/* From now on appends would block. 0; -EPERM = its group is sealed, and another log may have promised less;
 * -EACCES = the metastore names the logs that count for its group, and nobody would name the other one;
 * -ENODATA = whether it does is not known now; -EXDEV = it is a copy that counts in its region's quorum, and
 * the other log would say that it has what only this one did; -EBUSY = the end of a stream that moved before
 * is not on the device yet. So of all that a log holds, one stream at most is another's after a crash. */
int hg_streams_move_begin(struct hg_streams *streams, uint32_t slot);
/* It stays: appends are taken again. */
void hg_streams_move_cancel(struct hg_streams *streams, uint32_t slot);
/* *who: index of the peer or of the consumer. */
enum hg_move_wait hg_streams_move_waits(const struct hg_streams *streams, uint32_t slot, uint32_t *who);
/* Fills the transfer of a stream that waits for nobody; the record says one move more. */
void hg_streams_move_out(const struct hg_streams *streams, uint32_t slot,
                         struct hg_stream_transfer *transfer);
/* Takes a stream over: durable, and its new owner's, with write *sequence. It is not configured yet. Returns
 * 0; -EEXIST = a consumer here has the name of one of its own, or an older end of it isn't recorded yet;
 * -ENOSPC = no place for another stream or consumer; -EAGAIN = the log takes nothing now. Nothing changes
 * then. */
int hg_streams_move_in(struct hg_streams *streams, const struct hg_stream_transfer *transfer,
                       uint64_t *sequence);
/* Forgets a stream that another log owns, and its consumers; nobody may be attached to it. The record is
 * written as soon as the log takes it: hg_streams_retain tries again. */
void hg_streams_move_end(struct hg_streams *streams, uint64_t stream);

#endif
