/* SPDX-License-Identifier: Apache-2.0
 *
 * Which node writes a stream: the one that began the newest epoch that this log has of it. So a fail-over
 * needs no change of any command file: what is configured is the writer of the first epoch alone. This node
 * is the writer of what it began itself; of others' epochs it knows the node that opened the stream under
 * them, in the life of this process. Pure; owning worker only.
 */
#ifndef HG_STREAM_WRITER_H
#define HG_STREAM_WRITER_H

#include "dataplane/stream/streams.h"

/* Whether a node of the stream's region may open it here as the writer of `epoch`. Whether that epoch may
 * still write is the group's to say. */
bool hg_streams_writer_may(const struct hg_stream_state *s, uint64_t node, uint64_t epoch);
/* Whether that is the command file's to say, as it is for the first epoch. */
bool hg_streams_writer_is_configured(const struct hg_stream_state *s, uint64_t epoch);
/* It did, and is taken. */
void hg_streams_writer_set(struct hg_streams *streams, uint32_t slot, uint64_t node, uint64_t epoch);
/* After anything that says who writes: the configuration, the beginning of an epoch, recovery. */
void hg_streams_writer_look(struct hg_streams *streams, struct hg_stream_state *s);

#endif
