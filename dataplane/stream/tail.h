/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer whose log lost its end. Recovery found a torn write where its own epoch ended (tail_unknown): most
 * often one that nobody was told of, but it may have been acknowledged, and then another member has it. Going
 * on, this node would write other entries in its place, under the same epoch. So where its group has a quorum
 * its producers wait until members have said, under this epoch, that they have no more than what is here:
 *
 *     n - w + 1 others, none of which ends in a torn write itself: whatever w had, one of them has
 *     or all others, whatever their ends are: what none of them has is nowhere in the region
 *
 * Whoever has more ends the wait the other way: nothing is written here until another epoch begins, whose
 * tail is chosen among the copies. Where a log is alone nobody can be asked, and it goes on. Pure; owning
 * worker only.
 */
#ifndef HG_STREAM_TAIL_H
#define HG_STREAM_TAIL_H

#include "dataplane/stream/streams.h"

enum hg_streams_tail {
    HG_STREAMS_TAIL_KNOWN, /* or the stream is not ours to write */
    HG_STREAMS_TAIL_WAITS,
    HG_STREAMS_TAIL_LOST, /* a member has more */
};
enum hg_streams_tail hg_streams_tail(const struct hg_streams *streams, const struct hg_stream_state *s);

/* A member says, having been offered the stream under our epoch, where it ends. `is_unknown`: in a torn write
 * itself. */
void hg_streams_tail_said(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint64_t lsn,
                          bool is_unknown);
/* Goes on where that is proved now, and says by name what has waited for long. Call every 100 ms or so. */
void hg_streams_tails_watch(struct hg_streams *streams, uint64_t now_ns);

#endif
