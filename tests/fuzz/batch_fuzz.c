/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches from anyone. The first byte chooses: bytes as they come; a good batch that was changed and whose
 * checksum, digest and chain are right again, which is what a peer with our keys can send; frames whose
 * checksums are right; or a batch we seal ourselves from the input, which must come back as it went in and
 * must not survive the flip of any bit of it.
 */
#include "dataplane/wal/batch.h"

#include <lz4.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <xxhash.h>

enum mode { AS_IT_COMES, SEALED_BY_THEM, FRAMES, SEALED_BY_US, MODE_COUNT };

#define FRAMES_MAX 64
#define EDITS      4u

static uint8_t *batch; /* HG_BATCH_BYTES_MAX bytes */
static uint8_t *raw;   /* HG_FRAME_BYTES_MAX bytes */
static uint8_t *built; /* HG_FRAME_BYTES_MAX bytes */
static void *lz4_state;

static void *allocate(size_t bytes)
{
    void *memory = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));

    hg_assert(memory != NULL);
    return memory;
}

/* Every frame lies within the bytes it was decoded from, and decoding ends. */
static int frames_walk(const uint8_t *frames, uint32_t frames_bytes, uint64_t hlc_base)
{
    struct hg_frame frame;
    uint32_t offset = 0, offset_before = 0;
    int rc;

    while ((rc = hg_frame_next(frames, frames_bytes, hlc_base, &offset, &frame)) == 1) {
        hg_assert(offset > offset_before && offset <= frames_bytes);
        if (frame.key_bytes > 0)
            hg_assert((const uint8_t *)frame.key >= frames + offset_before &&
                      (const uint8_t *)frame.key + frame.key_bytes <= frames + offset);
        if (frame.data_bytes > 0)
            hg_assert((const uint8_t *)frame.data >= frames + offset_before &&
                      (const uint8_t *)frame.data + frame.data_bytes <= frames + offset);
        offset_before = offset;
    }
    return rc;
}

static enum hg_batch_reason batch_read(uint64_t bytes)
{
    struct hg_batch_header header;
    const uint8_t *frames;
    uint32_t frames_bytes;
    enum hg_batch_reason reason, open;

    reason = hg_batch_check_header(batch, bytes);
    if (reason != HG_BATCH_REASON_OK) {
        hg_assert(hg_batch_verify(batch, bytes) == reason);
        return reason;
    }
    memcpy(&header, batch, sizeof(header));
    hg_assert(hg_batch_bytes(&header) <= bytes && hg_batch_bytes(&header) % HG_BATCH_ALIGN_BYTES == 0);
    reason = hg_batch_verify(batch, bytes);
    open = hg_batch_open(batch, raw, HG_FRAME_BYTES_MAX, &frames, &frames_bytes);
    if (open != HG_BATCH_REASON_OK)
        return open;
    hg_assert(frames_bytes == header.raw_bytes);
    if (frames_walk(frames, frames_bytes, header.hlc_base) < 0)
        return HG_BATCH_REASON_FRAMES;
    if (hg_batch_check_frames(batch, frames, frames_bytes) != HG_BATCH_REASON_OK)
        return HG_BATCH_REASON_FRAMES;
    return reason;
}

/* What a hostile peer does last: make everything that can be computed right. */
static void seal_theirs(struct hg_batch_header *header)
{
    XXH128_canonical_t digest;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    uint64_t bytes = (uint64_t)header->vector_bytes + header->stored_bytes;

    header->magic = HG_BATCH_MAGIC;
    header->version = HG_BATCH_VERSION;
    if (bytes <= HG_BATCH_BYTES_MAX - sizeof(*header)) {
        XXH128_canonicalFromHash(&digest, XXH3_128bits(batch + sizeof(*header), bytes));
        memcpy(header->payload_digest, digest.digest, sizeof(header->payload_digest));
    }
    memset(header->chain, 0, sizeof(header->chain));
    header->crc32c = 0;
    SHA256((const uint8_t *)header, sizeof(*header), sha256);
    memcpy(header->chain, sha256, sizeof(header->chain));
    header->crc32c = hg_crc32c(0, header, offsetof(struct hg_batch_header, crc32c));
    memcpy(batch, header, sizeof(*header));
}

/* Frames with right checksums: each frame header of the input is sealed where a decoder would find it. */
static void frames_of_them(const uint8_t *data, size_t bytes)
{
    uint32_t offset = 0;

    memcpy(raw, data, bytes);
    while (bytes - offset >= sizeof(struct hg_frame_header)) {
        struct hg_frame_header header;
        uint64_t length;

        memcpy(&header, raw + offset, sizeof(header));
        length = sizeof(header) + (header.flags & HG_FRAME_CLIENT ? sizeof(struct hg_frame_client) : 0) +
                 header.key_bytes + header.data_bytes;
        if (length > bytes - offset)
            break;
        header.crc32c = 0;
        header.crc32c = hg_crc32c(hg_crc32c(0, &header, sizeof(header)), raw + offset + sizeof(header),
                                  length - sizeof(header));
        memcpy(raw + offset, &header, sizeof(header));
        length = hg_align_up(length, HG_FRAME_ALIGN_BYTES);
        if (length > bytes - offset)
            break;
        offset += (uint32_t)length;
    }
    (void)frames_walk(raw, (uint32_t)bytes, 0);
}

/* Builds frames from the input. Returns how many; they are what `frames` says. */
static uint32_t build(const uint8_t *data, size_t bytes, struct hg_batch_builder *builder,
                      struct hg_frame frames[FRAMES_MAX])
{
    uint32_t count = 0;

    hg_batch_builder_init(builder, built, HG_FRAME_BYTES_MAX);
    for (uint64_t lsn = 1000; count < FRAMES_MAX && bytes >= 4; count++) {
        size_t key_bytes = hg_min_u64(data[1], bytes - 4);
        size_t data_bytes = hg_min_u64(8u * data[2], bytes - 4 - key_bytes);
        struct hg_frame frame = {
            .lsn = lsn,
            .span = 1u + data[3],
            .op = HG_OP_INSERT,
            .key_bytes = (uint16_t)key_bytes,
            .data_bytes = (uint32_t)data_bytes,
            .table_id = data[0],
            .transaction_id = lsn * 3,
            .hlc = 77 + lsn,
            .client_id = data[0] & 1,
            .client_sequence = data[0] & 1 ? lsn : 0,
            .key = data + 4,
            .data = data + 4 + key_bytes,
        };

        if (hg_batch_builder_add(builder, &frame) != 0)
            break;
        frames[count] = frame;
        lsn += frame.span;
        data += 4 + key_bytes + data_bytes;
        bytes -= 4 + key_bytes + data_bytes;
    }
    return count;
}

static void same_frames(const struct hg_frame *wanted, uint32_t count)
{
    struct hg_batch_header header;
    struct hg_frame frame;
    const uint8_t *frames;
    uint32_t frames_bytes, offset = 0;

    memcpy(&header, batch, sizeof(header));
    hg_assert(header.frame_count == count);
    hg_assert(hg_batch_open(batch, raw, HG_FRAME_BYTES_MAX, &frames, &frames_bytes) == HG_BATCH_REASON_OK);
    for (uint32_t i = 0; i < count; i++) {
        hg_assert(hg_frame_next(frames, frames_bytes, header.hlc_base, &offset, &frame) == 1);
        hg_assert(frame.lsn == wanted[i].lsn && frame.span == wanted[i].span && frame.op == wanted[i].op);
        hg_assert(frame.transaction_id == wanted[i].transaction_id && frame.hlc == wanted[i].hlc);
        hg_assert(frame.table_id == wanted[i].table_id && frame.client_id == wanted[i].client_id);
        hg_assert(frame.client_sequence == wanted[i].client_sequence);
        hg_assert(frame.key_bytes == wanted[i].key_bytes && frame.data_bytes == wanted[i].data_bytes);
        hg_assert(memcmp(frame.key, wanted[i].key, frame.key_bytes) == 0);
        hg_assert(memcmp(frame.data, wanted[i].data, frame.data_bytes) == 0);
    }
    hg_assert(hg_frame_next(frames, frames_bytes, header.hlc_base, &offset, &frame) == 0);
}

/* Seals a batch of the input's frames into `batch`. Returns its bytes, or 0 when the input holds no frame. */
static uint32_t seal(const uint8_t *data, size_t bytes, enum hg_codec codec)
{
    static struct hg_frame frames[FRAMES_MAX];
    struct hg_batch_builder builder;
    struct hg_batch_origin origin = {.cluster = 1,
                                     .stream = 2,
                                     .incarnation = 1,
                                     .region = 1,
                                     .epoch = 1,
                                     .kind = HG_STREAM_KEY_VALUE,
                                     .codec = (uint8_t)codec};
    uint32_t count = build(data, bytes, &builder, frames), sealed_bytes;

    if (count == 0)
        return 0;
    sealed_bytes = hg_batch_seal(&builder, &origin, NULL, 0, batch, HG_BATCH_BYTES_MAX, lz4_state);
    hg_assert(batch_read(sealed_bytes) == HG_BATCH_REASON_OK);
    same_frames(frames, count);
    return sealed_bytes;
}

/* A good batch, changed in up to EDITS places and sealed again. */
static void sealed_by_them(const uint8_t *data, size_t bytes)
{
    const uint8_t *edits = data + 1;
    struct hg_batch_header header;
    uint32_t sealed_bytes;

    if (bytes < 1 + 3 * EDITS)
        return;
    sealed_bytes = seal(edits + 3 * EDITS, bytes - 1 - 3 * EDITS, data[0] & 1 ? HG_CODEC_LZ4 : HG_CODEC_NONE);
    if (sealed_bytes == 0)
        return;
    for (uint32_t i = 0; i < EDITS; i++)
        batch[(edits[3 * i] + 256u * edits[3 * i + 1]) % sealed_bytes] ^= edits[3 * i + 2];
    memcpy(&header, batch, sizeof(header));
    seal_theirs(&header);
    (void)batch_read(HG_BATCH_BYTES_MAX);
    (void)batch_read(sealed_bytes);
}

static void sealed_by_us(const uint8_t *data, size_t bytes)
{
    uint32_t flip, sealed_bytes, covered_bytes;
    struct hg_batch_header header;

    if (bytes < 5)
        return;
    memcpy(&flip, data, sizeof(flip));
    sealed_bytes = seal(data + 5, bytes - 5, data[4] & 1 ? HG_CODEC_LZ4 : HG_CODEC_NONE);
    if (sealed_bytes == 0)
        return;
    memcpy(&header, batch, sizeof(header));
    covered_bytes = (uint32_t)sizeof(header) + header.vector_bytes + header.stored_bytes;
    flip %= covered_bytes * 8;
    batch[flip / 8] ^= (uint8_t)(1u << (flip % 8));
    hg_assert(hg_batch_verify(batch, sealed_bytes) != HG_BATCH_REASON_OK);
    (void)batch_read(sealed_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (batch == NULL) {
        batch = allocate(HG_BATCH_BYTES_MAX);
        raw = allocate(HG_FRAME_BYTES_MAX);
        built = allocate(HG_FRAME_BYTES_MAX);
        lz4_state = allocate((size_t)LZ4_sizeofState());
    }
    if (bytes == 0 || bytes > HG_BATCH_RAW_BYTES_MAX)
        return 0;
    switch ((enum mode)(data[0] % MODE_COUNT)) {
    case AS_IT_COMES:
        memcpy(batch, data + 1, bytes - 1);
        (void)batch_read(bytes - 1);
        break;
    case SEALED_BY_THEM:
        sealed_by_them(data + 1, bytes - 1);
        break;
    case FRAMES:
        frames_of_them(data + 1, bytes - 1);
        break;
    default:
        sealed_by_us(data + 1, bytes - 1);
        break;
    }
    return 0;
}
