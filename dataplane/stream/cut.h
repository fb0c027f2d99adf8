/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting a copy of a stream back to the highest point that it has in common with the writer of a newer
 * epoch. What is above was never committed; it is kept, byte for byte, in an orphan file, and is this log's
 * no more.
 *
 *   1. Refused: under an epoch that is not the one promised here or that this node began, below the commit
 *      floor, at a point that is not a batch's beginning here or has another chain. Each has its own counter.
 *   2. The batches above go into an orphan file: a piece at a time is lent to whoever writes files
 *      (hg_streams_orphan_due, hg_streams_orphan_written). While that fails nothing is cut.
 *   3. When the file and its directory are on the device, a record of the log cuts (HG_LOCAL_STREAM_CUT): its
 *      flush is the commit point, and recovery honours it. The stream's end, chain, history, index and what
 * is told of it go back at once; nothing else is done with the stream until the record is on the device
 *      (hg_streams_is_cutting).
 *
 * A copy that ends at the point, but where an epoch began that its writer lacks, has only that taken back, by
 * the same record: there is nothing to keep, so no file and no event.
 *
 *   4. When that is on the device, it is noted beside the file (HG_ORPHAN_CUT; again after each start, for
 *      every record that the log still has). A file without the note may be of a cut that never was: power
 * went before the record, and then somebody chose another tail. Its batches may be in the stream.
 *
 * The batches stay in the log until their segments are reused. Whoever walks a log skips those for which
 * hg_streams_batch_is_cut: they are not sent, served, counted or read any more.
 *
 * One cut at a time in a log; another waits. After a crash it begins again, and writes the same file under
 * the same name. Pure; owning worker only.
 */
#ifndef HG_STREAM_CUT_H
#define HG_STREAM_CUT_H

#include "dataplane/stream/streams.h"
#include "dataplane/wal/orphan.h"

#define HG_CUT_PIECE_BYTES (2u << 20)
#define HG_CUT_RETRY_NS    (5 * HG_NS_PER_S) /* after a file that could not be written */
#define HG_CUT_IDLE_NS     HG_NS_PER_S       /* a cut that nobody asks for any more gives way to another */
static_assert(HG_CUT_PIECE_BYTES >= HG_BATCH_BYTES_MAX, "any batch fits a piece");

#define HG_CUT_NOTES_MAX 64u /* cuts that are not noted yet; no more are begun before */

/* A part of an orphan file, or that its cut is recorded, lent until hg_streams_orphan_written. At offset 0 a
 * file begins: whatever had its name with HG_ORPHAN_PART behind it goes. The last piece makes it whole: the
 * header is written, the file flushed, given its name, and its directory flushed. */
struct hg_orphan_piece {
    char name[HG_ORPHAN_NAME_BYTES];
    uint64_t offset; /* in the file, of `data`; the first is sizeof(header) */
    uint32_t bytes;
    bool is_first;
    bool is_last;
    bool is_recorded;               /* no part: the cut is in the log, which is to be noted beside the file */
    uint64_t chain_head;            /* then: of that file (hg_orphan_chain_head), 0 = not known */
    struct hg_orphan_header header; /* of the last: sealed */
    const uint8_t *data;
};

/* Where a copy is to be cut, as the writer says. */
struct hg_cut_point {
    uint64_t epoch; /* of the writer */
    uint64_t lsn;   /* at most the copy's end; 0 = all of it goes */
    uint64_t epoch_common;
    uint8_t chain[16]; /* of the batch that ends at lsn */
};

/* Asked again and again, every 10 ms or so. OK: the copy ends at point->lsn (hg_streams_is_cutting says
 * whether that is on the device). WOULD_BLOCK: on its way. Else refused, counted, and nothing happened. All
 * of the stream must be durable. */
enum hg_group_reason hg_streams_cut(struct hg_streams *streams, uint32_t slot,
                                    const struct hg_cut_point *point, uint64_t now_ns);
/* True until the record of the stream's last cut is on the device. */
bool hg_streams_is_cutting(const struct hg_streams *streams, uint32_t slot);

/* The piece to be written now, NULL = none. It is lent with this call. */
const struct hg_orphan_piece *hg_streams_orphan_due(struct hg_streams *streams, uint64_t now_ns);
/* The one that is lent: 0 = written (the last: on the device), or -errno. */
void hg_streams_orphan_written(struct hg_streams *streams, int code, uint64_t now_ns);

/* Whether a batch of the stream that lies in write `sequence` was cut off later. */
static inline bool hg_stream_batch_is_cut(const struct hg_stream_state *s, uint64_t sequence,
                                          uint64_t lsn_first)
{
    for (uint32_t i = 0; i < s->cut_count; i++)
        if (sequence < s->cuts[i].sequence && lsn_first >= s->cuts[i].lsn)
            return true;
    return false;
}
static inline bool hg_streams_batch_is_cut(struct hg_streams *streams, uint32_t slot, uint64_t sequence,
                                           const struct hg_batch_header *header)
{
    return hg_stream_batch_is_cut(hg_streams_at(streams, slot), sequence, header->lsn_first);
}

#endif
