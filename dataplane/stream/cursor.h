/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking the durable log batch by batch: what feeds a peer, live or days behind, and a subscriber. Whether
 * the bytes come from memory or from disk is the log's business. Owning worker only.
 */
#ifndef HG_STREAM_CURSOR_H
#define HG_STREAM_CURSOR_H

#include "dataplane/wal/log.h"

struct hg_cursor {
    uint64_t sequence; /* write being walked; 0 = nowhere */
    uint32_t offset;   /* of the next batch in its payload */
    uint32_t walker;   /* the log's: what is read for it is shared with others near it */
};

/* The batch at the cursor, without moving it. Returns 1 with *header valid until the next hg_log_turn; 0 =
 * nothing yet (end of the durable log, or being read); -ENOENT = the log no longer has it; -EBADMSG = corrupt
 * on disk. */
int hg_cursor_peek(struct hg_cursor *cursor, struct hg_log *log, const struct hg_batch_header **header);
/* Past the batch that peek gave. */
void hg_cursor_advance(struct hg_cursor *cursor, const struct hg_batch_header *header);

#endif
