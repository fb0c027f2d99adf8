/* SPDX-License-Identifier: Apache-2.0
 *
 * Write grants (dataplane/group/grant.h) of the groups that this node writes. Where they are required, an
 * append is taken only under one, and the clock is read again right before a position of such a stream is
 * told to clients, moves as committed, or is told to be committed to the other nodes of the region. What is
 * durable goes on becoming so; it is told when there is a grant again. Owning worker only.
 */
#ifndef HG_STREAM_GRANTS_H
#define HG_STREAM_GRANTS_H

#include "dataplane/group/grant.h"
#include "dataplane/stream/streams.h"

/* Whether groups need one: the configuration says so. Until it is called they don't. */
void hg_streams_grants_require(struct hg_streams *streams, bool required);
/* The control plane gives one. Refusals are counted. */
enum hg_grant_reason hg_streams_grant(struct hg_streams *streams, uint32_t group, uint64_t epoch,
                                      uint64_t deadline_ns);
/* Once a turn, before appends are taken: reads the clock for them, and says what lapsed and what is back. */
void hg_streams_grants_turn(struct hg_streams *streams);

/* Reads the clock: whether what is durable or committed of the stream may be told now. True where no grant is
 * needed. */
bool hg_streams_may_tell(const struct hg_streams *streams, const struct hg_stream_state *s);
/* As of the beginning of this turn: whether appends are taken. */
bool hg_streams_may_append(const struct hg_streams *streams, const struct hg_stream_state *s);
/* Whether a grant was ever had in the life of this process; true where none is needed. */
bool hg_streams_was_granted(const struct hg_streams *streams, const struct hg_stream_state *s);

bool hg_streams_grants_required(const struct hg_streams *streams);
const struct hg_grant *hg_streams_grant_of(const struct hg_streams *streams, uint32_t group);
/* As of the beginning of this turn. */
uint64_t hg_streams_grant_left_ns(const struct hg_streams *streams, uint32_t group);
const uint64_t *hg_streams_grant_counts(const struct hg_streams *streams); /* by enum hg_grant_reason */

#endif
