/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames and batches: building, sealing, verifying, walking. Pure; no state but the builder's. One thread at
 * a time.
 *
 * A batch with HG_BATCH_LOCAL carries struct hg_local_record instead of frames (frame_count of them), has
 * stream 0 and may be as large as a log write. It never leaves its log: whoever takes batches from outside
 * must refuse the flag.
 */
#ifndef HG_WAL_BATCH_H
#define HG_WAL_BATCH_H

#include "dataplane/wal/format.h"

/* What a producer says of one entry. Pointers are read during the call only. */
struct hg_frame {
    uint64_t lsn;
    uint32_t span;
    uint8_t op;    /* enum hg_op */
    uint8_t flags; /* enum hg_frame_flags; HG_FRAME_CLIENT is set by client_id != 0 */
    uint16_t key_bytes;
    uint32_t data_bytes;
    uint32_t table_id;
    uint64_t transaction_id;
    uint64_t hlc; /* filled by decode; taken at add */
    uint64_t client_id;
    uint64_t client_sequence;
    bool again; /* its producer may have sent it before; not on disk */
    const void *key;
    const void *data;
};

/* An open batch of one stream. `raw` is the caller's memory of raw_bytes_max >= HG_FRAME_BYTES_MAX bytes. */
struct hg_batch_builder {
    uint8_t *raw;
    uint32_t raw_bytes;
    uint32_t raw_bytes_max;
    uint32_t frame_count;
    uint64_t lsn_first;
    uint64_t lsn_end;
    uint64_t hlc_base;
    bool has_clients;
};

/* What a batch's header says besides its frames. */
struct hg_batch_origin {
    uint64_t cluster;
    uint64_t stream;
    uint32_t incarnation;
    uint32_t group;
    uint16_t region;
    uint16_t kind; /* enum hg_stream_kind */
    uint64_t epoch;
    uint32_t log_restarts;
    uint8_t flags; /* enum hg_batch_flags */
    uint8_t codec; /* HG_CODEC_LZ4 tries LZ4 and falls back to raw; HG_CODEC_NONE doesn't try */
    uint8_t chain_previous[16];
};

void hg_batch_builder_init(struct hg_batch_builder *builder, void *raw, uint32_t raw_bytes_max);

/* Appends a frame. Returns 0; -ENOSPC when the batch is full or the frame's hlc is too far above hlc_base for
 * one batch (65.5 s): seal it, add again; -EINVAL when lsn is not the end of the frame before, span or op is
 * 0, lsn + span overflows, a size exceeds its limit, flags has anything but HG_FRAME_CONTINUES or hlc is
 * below hlc_base: nothing is added. */
int hg_batch_builder_add(struct hg_batch_builder *builder, const struct hg_frame *frame);

/* Bytes that seal may need at most: header + vector + raw (LZ4 output never exceeds it) + padding. */
uint32_t hg_batch_sealed_bytes_max(const struct hg_batch_builder *builder, uint32_t vector_bytes);

/* vector_bytes is a multiple of 8, at most HG_BATCH_VECTOR_BYTES_MAX, so that frames stored raw stay aligned.
 * Seals into `out` (16-byte aligned, out_bytes >= sealed_bytes_max) and resets the builder. Returns the
 * sealed bytes, a multiple of 16. The chain of the new batch is in its header. `lz4_state` is
 * LZ4_sizeofState() bytes of scratch. */
uint32_t hg_batch_seal(struct hg_batch_builder *builder, const struct hg_batch_origin *origin,
                       const void *vector, uint32_t vector_bytes, void *out, uint32_t out_bytes,
                       void *lz4_state);

/* Seals `count` local records that lie at out + sizeof(struct hg_batch_header) already. Returns the sealed
 * bytes. */
uint32_t hg_batch_seal_records(const struct hg_batch_origin *origin, uint32_t count, void *out,
                               uint32_t out_bytes);

/* Why a batch is refused; every reason has its own counter. */
#define HG_BATCH_REASONS(X)                                                                                  \
    X(OK, "fine")                                                                                            \
    X(SHORT, "shorter than its header says")                                                                 \
    X(MAGIC, "not a batch")                                                                                  \
    X(VERSION, "a batch version this build does not know")                                                   \
    X(HEADER_CRC, "header CRC32C does not match")                                                            \
    X(LIMITS, "a size, count or LSN in the header is out of its limits")                                     \
    X(DIGEST, "payload digest does not match")                                                               \
    X(CHAIN, "chain hash does not match the header")                                                         \
    X(PADDING, "bytes after the payload are not zero")                                                       \
    X(CODEC, "payload does not decompress to its raw size")                                                  \
    X(FRAMES, "frames do not add up to the header")
enum hg_batch_reason {
#define HG_X(name, text) HG_BATCH_REASON_##name,
    HG_BATCH_REASONS(HG_X)
#undef HG_X
};
const char *hg_batch_reason_text(enum hg_batch_reason reason);

/* Total bytes of the batch that starts at `header`, padding included, or 0 when the header's sizes are out of
 * limits. Reads the header only; trusts nothing. */
uint32_t hg_batch_bytes(const struct hg_batch_header *header);

/* Header only: magic, version, CRC, limits, and that it lies within bytes_max. */
enum hg_batch_reason hg_batch_check_header(const void *batch, uint64_t bytes_max);

/* The chain of a header covers what that says, also of a batch whose payload is not to be had. */
bool hg_batch_chain_is_right(const void *batch);
/* Everything but the frames: header, digest, chain, padding. What a receiver does before it appends. */
enum hg_batch_reason hg_batch_verify(const void *batch, uint64_t bytes_max);

/* Decompresses (when needed) into `raw` (raw_bytes_max bytes) and sets *frames / *frames_bytes, which point
 * into the batch itself when it is stored raw. The batch must have passed hg_batch_check_header. */
enum hg_batch_reason hg_batch_open(const void *batch, void *raw, uint32_t raw_bytes_max,
                                   const uint8_t **frames, uint32_t *frames_bytes);

/* Decodes the frame at `frames + *offset`, checks its limits and CRC, and advances *offset. Returns 1; 0 at
 * the end; -EBADMSG. Pointers in `frame` point into `frames`. */
int hg_frame_next(const uint8_t *frames, uint32_t frames_bytes, uint64_t hlc_base, uint32_t *offset,
                  struct hg_frame *frame);

/* Walks all frames of an opened batch against its header: CRCs, count, LSNs without gap or overlap. What a
 * reader does that does not trust the sealer. Not for local batches. */
enum hg_batch_reason hg_batch_check_frames(const void *batch, const uint8_t *frames, uint32_t frames_bytes);

#endif
