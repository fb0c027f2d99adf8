/* SPDX-License-Identifier: Apache-2.0
 *
 * A durable write that is corrupt, read block by block, so that all of it that can be read is there; and what
 * of it is whole, for other nodes whose copy is damaged elsewhere. Readers get nothing of such a write: they
 * take batches in order. Who repairs a log asks for one batch, by the chain that proves it. Owning worker
 * only.
 */
#ifndef HG_WAL_LOG_PIECES_H
#define HG_WAL_LOG_PIECES_H

#include "dataplane/wal/log.h"

#define HG_LOG_PIECES_ROOM_NS  HG_NS_PER_MS         /* where the disk's queue or the log is full */
#define HG_LOG_SALVAGE_WAIT_NS (100 * HG_NS_PER_MS) /* what was read stays so long for who asked for it */
#define HG_LOG_SALVAGE_OLD_NS  HG_NS_PER_S          /* and is then read anew, for the device may have erred */

struct hg_log_pieces {
    uint8_t *buffer; /* header block and payload */
    uint64_t sequence;
    uint64_t segment; /* where it was to be had when reading began */
    uint32_t offset;
    uint32_t payload_bytes;
    uint32_t bytes; /* of both, and how many were read */
    uint32_t bytes_read;
    bool is_reading;
    bool is_unreadable; /* a block of it is */
};

/* One write at a time: the last that was asked for. */
struct hg_log_salvage {
    struct hg_log_pieces pieces; /* sequence 0 = none */
    uint64_t done_ns;
    bool is_done;
    bool is_proved; /* a header says that it is that write */
    bool was_given;
};

/* ---- reading ---- */
void hg_log_pieces_prepare(const struct hg_log *log, struct hg_log_pieces *pieces);
void hg_log_pieces_free(struct hg_log_pieces *pieces);
void hg_log_pieces_begin(const struct hg_log *log, struct hg_log_pieces *pieces, uint64_t sequence);
/* The next block, under the tag. False: no room in the disk's queue. */
bool hg_log_pieces_read(struct hg_log *log, struct hg_log_pieces *pieces, uint32_t tag);
/* Of a block that can't be read nothing more is known than that: zeros. */
void hg_log_pieces_completed(struct hg_log_pieces *pieces, int32_t result);
/* All was read: the header that proves what of it is whole, its own or else the ring's copy; NULL: neither is
 * whole, and nothing says what lies there. */
const struct hg_log_write_header *hg_log_pieces_header(const struct hg_log *log,
                                                       const struct hg_log_pieces *pieces);
/* The header of a batch at `at`, and the blocks that it lies in are as they were written: it is no other's.
 */
bool hg_log_pieces_batch_is_proved(const struct hg_log_write_header *header, const uint8_t *payload,
                                   uint32_t at);
/* Where the next batch behind a lost header begins, or the next one that is proved: payload_bytes = none. */
uint32_t hg_log_pieces_batch_behind(const struct hg_log_write_header *header, const uint8_t *payload,
                                    uint32_t at, bool is_proved);

/* ---- for whoever gives peers what they lack ---- */
/* Write `sequence`, which hg_log_at says is corrupt. 1: hg_log_salvage_next; 0: being read, or another one
 * is, ask again after a turn; -EBADMSG: no header of it is whole; -ENOENT: it is gone. */
int hg_log_salvage_at(struct hg_log *log, uint64_t sequence);
/* The first batch at *at (0 at first) or behind it that is whole by its own header, digest and chain; *at
 * goes behind it. Whoever is given it has to know its chain from elsewhere, which proves the rest: the
 * checksum of a block that it shares with a damaged batch does not, and may not be right. Valid until the
 * next hg_log_turn. NULL: there is no more. */
const struct hg_batch_header *hg_log_salvage_next(const struct hg_log *log, uint32_t *at);

/* ---- inside of a log ---- */
bool hg_log_salvage_advance(struct hg_log *log);
void hg_log_salvage_completed(struct hg_log *log, int32_t result);
uint64_t hg_log_salvage_deadline_ns(const struct hg_log *log);

#endif
