/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream whose origin's log no longer has what comes next here: it has a gap, and stays where it is. The
 * way on is to begin anew, by order of an operator who has what is missing from elsewhere (a base backup), or
 * does without: the stream goes on at the horizon, the first LSN that the origin's log still has all from,
 * with the chain there, so that the first batch proves the history as ever. What was here before is not read
 * any more; consumers that had not passed all of it are told of the gap. One batch of local records is the
 * commit point. Pure; owning worker only.
 */
#ifndef HG_STREAM_HORIZON_H
#define HG_STREAM_HORIZON_H

#include "dataplane/stream/streams.h"
#include "dataplane/transport/wire.h"

/* The origin of the stream says where its log begins: `worker` of `peer`. It holds until the stream begins
 * anew, or a batch of it is taken: its origin lets go of the log earlier than the log does, and may have what
 * comes next after all. */
void hg_streams_horizon_told(struct hg_streams *streams, uint32_t slot, uint32_t peer, uint32_t worker,
                             const struct hg_wire_stream_horizon *told);
/* Orders the stream to begin anew at its horizon; nothing of it is taken until the end. 0, and *sequence =
 * the write that must be durable; -EPERM = it originates here; -ENODATA = no horizon is known, or it is not
 * above what is here; -EBUSY = it moves to another log, or some of it is not durable yet: try again; -EAGAIN
 * = the log takes nothing now. */
int hg_streams_anew_begin(struct hg_streams *streams, uint32_t slot, uint64_t *sequence);
/* That write is durable. The origin is asked to open the stream again: hg_peers_stream_anew. */
void hg_streams_anew_end(struct hg_streams *streams, uint32_t slot);

/* The stream as the table that opens the log's oldest segment has it, from the payload of that segment's
 * first write. False: it is not in it. */
bool hg_horizon_find(const uint8_t *payload, uint32_t payload_bytes, uint64_t stream,
                     struct hg_local_record *record);

#endif
