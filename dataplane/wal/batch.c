/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealing, verifying and opening batches.
 */
#include "dataplane/wal/batch.h"

#include <limits.h>
#include <lz4.h>
#include <openssl/sha.h>
/* Inlined, so that it is compiled for our instruction set and not for the oldest one the library serves. */
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Below this LZ4 gains nothing worth its fixed cost. */
#define COMPRESS_RAW_BYTES_MIN 128u

static const char *const reason_texts[] = {
#define HG_X(name, text) text,
    HG_BATCH_REASONS(HG_X)
#undef HG_X
};

const char *hg_batch_reason_text(enum hg_batch_reason reason)
{
    return (size_t)reason < HG_COUNT(reason_texts) ? reason_texts[reason] : "unknown";
}

static void digest_compute(const void *data, size_t bytes, uint8_t digest[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(digest, canonical.digest, 16);
}

/* The one-shot low-level calls: EVP allocates a context for every digest, and this is once a batch. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void chain_compute(const struct hg_batch_header *header, uint8_t chain[16])
{
    struct hg_batch_header copy = *header;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256_CTX context;
    memset(copy.chain, 0, sizeof(copy.chain));
    copy.crc32c = 0;
    int done = SHA256_Init(&context) == 1 && SHA256_Update(&context, &copy, sizeof(copy)) == 1 &&
               SHA256_Final(hash, &context) == 1;
    hg_assert(done);
    memcpy(chain, hash, 16);
}
#pragma GCC diagnostic pop

uint32_t hg_batch_sealed_bytes_max(const struct hg_batch_builder *builder, uint32_t vector_bytes)
{
    return (uint32_t)hg_align_up(sizeof(struct hg_batch_header) + vector_bytes + builder->raw_bytes,
                                 HG_BATCH_ALIGN_BYTES);
}

/* Compresses into `out`, or copies. A batch is worth decompressing only when that saves a sixteenth. */
static uint32_t payload_store(const struct hg_batch_builder *builder, uint8_t wanted, uint8_t *out,
                              void *lz4_state, uint8_t *codec)
{
    uint32_t raw_bytes = builder->raw_bytes;
    if (wanted == HG_CODEC_LZ4 && raw_bytes >= COMPRESS_RAW_BYTES_MIN) {
        int bytes = LZ4_compress_fast_extState(lz4_state, (const char *)builder->raw, (char *)out,
                                               (int)raw_bytes, (int)(raw_bytes - raw_bytes / 16), 1);
        if (bytes > 0) {
            *codec = HG_CODEC_LZ4;
            return (uint32_t)bytes;
        }
    }
    memcpy(out, builder->raw, raw_bytes);
    *codec = HG_CODEC_NONE;
    return raw_bytes;
}

static void header_from_origin(struct hg_batch_header *header, const struct hg_batch_origin *origin)
{
    memset(header, 0, sizeof(*header));
    header->magic = HG_BATCH_MAGIC;
    header->version = HG_BATCH_VERSION;
    header->flags = origin->flags;
    header->group = origin->group;
    header->cluster = origin->cluster;
    header->stream = origin->stream;
    header->incarnation = origin->incarnation;
    header->region = origin->region;
    header->kind = origin->kind;
    header->epoch = origin->epoch;
    header->log_restarts = origin->log_restarts;
    memcpy(header->chain_previous, origin->chain_previous, sizeof(header->chain_previous));
}

/* Digest, chain, CRC, padding: header and everything behind it but the padding is in place, header by value.
 */
static uint32_t batch_finish(struct hg_batch_header *header, uint8_t *out)
{
    uint32_t body_bytes = header->vector_bytes + header->stored_bytes;
    uint32_t bytes = (uint32_t)sizeof(*header) + body_bytes;
    uint32_t bytes_padded = (uint32_t)hg_align_up(bytes, HG_BATCH_ALIGN_BYTES);
    digest_compute(out + sizeof(*header), body_bytes, header->payload_digest);
    chain_compute(header, header->chain);
    header->crc32c = hg_crc32c(0, header, offsetof(struct hg_batch_header, crc32c));
    memcpy(out, header, sizeof(*header));
    memset(out + bytes, 0, bytes_padded - bytes);
    hg_assert(hg_batch_bytes(header) == bytes_padded);
    return bytes_padded;
}

uint32_t hg_batch_seal(struct hg_batch_builder *builder, const struct hg_batch_origin *origin,
                       const void *vector, uint32_t vector_bytes, void *out, uint32_t out_bytes,
                       void *lz4_state)
{
    struct hg_batch_header header;
    uint8_t *body = (uint8_t *)out + sizeof(header);

    hg_assert(builder->frame_count > 0 && origin->stream != 0 && origin->flags == 0);
    hg_assert(((uintptr_t)out & (HG_BATCH_ALIGN_BYTES - 1)) == 0);
    hg_assert(vector_bytes <= HG_BATCH_VECTOR_BYTES_MAX && vector_bytes % 8 == 0);
    hg_assert(out_bytes >= hg_batch_sealed_bytes_max(builder, vector_bytes));
    header_from_origin(&header, origin);
    if (vector_bytes > 0)
        memcpy(body, vector, vector_bytes);
    header.stored_bytes =
        payload_store(builder, origin->codec, body + vector_bytes, lz4_state, &header.codec);
    header.lsn_first = builder->lsn_first;
    header.lsn_end = builder->lsn_end;
    header.frame_count = builder->frame_count;
    header.raw_bytes = builder->raw_bytes;
    header.vector_bytes = vector_bytes;
    header.hlc_base = builder->hlc_base;
    header.flags |= builder->has_clients ? HG_BATCH_CLIENTS : 0;
    uint32_t bytes = batch_finish(&header, out);
    hg_assert(bytes <= out_bytes);
    hg_batch_builder_init(builder, builder->raw, builder->raw_bytes_max);
    return bytes;
}

uint32_t hg_batch_seal_records(const struct hg_batch_origin *origin, uint32_t count, void *out,
                               uint32_t out_bytes)
{
    struct hg_batch_header header;
    uint64_t bytes_needed = sizeof(header) + (uint64_t)count * sizeof(struct hg_local_record);

    hg_assert(count > 0 && bytes_needed <= HG_LOG_WRITE_PAYLOAD_BYTES_MAX && bytes_needed <= out_bytes);
    header_from_origin(&header, origin);
    header.flags = HG_BATCH_LOCAL;
    header.stream = 0;
    header.codec = HG_CODEC_NONE;
    header.frame_count = count;
    header.raw_bytes = count * (uint32_t)sizeof(struct hg_local_record);
    header.stored_bytes = header.raw_bytes;
    return batch_finish(&header, out);
}

static bool limits_local_hold(const struct hg_batch_header *header)
{
    return header->stream == 0 && header->codec == HG_CODEC_NONE && header->vector_bytes == 0 &&
           header->stored_bytes == header->raw_bytes && header->frame_count > 0 &&
           header->raw_bytes <= HG_LOG_WRITE_PAYLOAD_BYTES_MAX - sizeof(*header) &&
           header->raw_bytes == (uint64_t)header->frame_count * sizeof(struct hg_local_record) &&
           header->lsn_first == 0 && header->lsn_end == 0;
}

static bool limits_hold(const struct hg_batch_header *header)
{
    if ((header->flags & HG_BATCH_LOCAL) != 0)
        return limits_local_hold(header);
    if (header->stream == 0 || header->vector_bytes > HG_BATCH_VECTOR_BYTES_MAX ||
        header->vector_bytes % 8 != 0)
        return false;
    if (header->frame_count == 0 || header->frame_count > HG_BATCH_FRAMES_MAX)
        return false;
    uint64_t raw_bytes_max = header->frame_count == 1 ? HG_FRAME_BYTES_MAX : HG_BATCH_RAW_BYTES_MAX;
    if (header->raw_bytes > raw_bytes_max || header->raw_bytes % HG_FRAME_ALIGN_BYTES != 0 ||
        header->raw_bytes < (uint64_t)header->frame_count * sizeof(struct hg_frame_header))
        return false;
    if (header->stored_bytes == 0 || header->stored_bytes > header->raw_bytes)
        return false;
    if (header->codec == HG_CODEC_NONE && header->stored_bytes != header->raw_bytes)
        return false;
    if (header->lsn_end <= header->lsn_first)
        return false;
    uint64_t span = header->lsn_end - header->lsn_first;
    return span >= header->frame_count && span <= (uint64_t)header->frame_count * UINT32_MAX;
}

uint32_t hg_batch_bytes(const struct hg_batch_header *header)
{
    if (!limits_hold(header))
        return 0;
    return (uint32_t)hg_align_up(sizeof(*header) + header->vector_bytes + header->stored_bytes,
                                 HG_BATCH_ALIGN_BYTES);
}

/* Features that this version does not have must be absent, or an older build would misread a newer batch. */
static bool version_is_known(const struct hg_batch_header *header)
{
    static const uint8_t zero[32];
    return header->version == HG_BATCH_VERSION && header->codec <= HG_CODEC_LZ4 &&
           (header->flags == 0 || header->flags == HG_BATCH_LOCAL || header->flags == HG_BATCH_CLIENTS) &&
           header->key_id == 0 && memcmp(header->tag, zero, sizeof(header->tag)) == 0 &&
           memcmp(header->reserved, zero, sizeof(header->reserved)) == 0;
}

/* Copies the header before looking at it: the bytes may lie in memory that somebody else can write. */
static enum hg_batch_reason header_take(const void *batch, uint64_t bytes_max, struct hg_batch_header *header)
{
    if (bytes_max < sizeof(*header))
        return HG_BATCH_REASON_SHORT;
    memcpy(header, batch, sizeof(*header));
    if (header->magic != HG_BATCH_MAGIC)
        return HG_BATCH_REASON_MAGIC;
    if (hg_crc32c(0, header, offsetof(struct hg_batch_header, crc32c)) != header->crc32c)
        return HG_BATCH_REASON_HEADER_CRC;
    if (!version_is_known(header))
        return HG_BATCH_REASON_VERSION;
    uint32_t bytes = hg_batch_bytes(header);
    if (bytes == 0)
        return HG_BATCH_REASON_LIMITS;
    return bytes <= bytes_max ? HG_BATCH_REASON_OK : HG_BATCH_REASON_SHORT;
}

enum hg_batch_reason hg_batch_check_header(const void *batch, uint64_t bytes_max)
{
    struct hg_batch_header header;
    return header_take(batch, bytes_max, &header);
}

/* Neither digest nor chain covers it, and the bytes are to be the same everywhere. */
static bool padding_is_zero(const void *batch, const struct hg_batch_header *header)
{
    static const uint8_t zero[HG_BATCH_ALIGN_BYTES];
    uint32_t bytes = (uint32_t)sizeof(*header) + header->vector_bytes + header->stored_bytes;
    return memcmp((const uint8_t *)batch + bytes, zero, hg_batch_bytes(header) - bytes) == 0;
}

enum hg_batch_reason hg_batch_verify(const void *batch, uint64_t bytes_max)
{
    struct hg_batch_header header;
    enum hg_batch_reason reason = header_take(batch, bytes_max, &header);
    if (reason != HG_BATCH_REASON_OK)
        return reason;
    uint8_t value[16];
    digest_compute((const uint8_t *)batch + sizeof(header), header.vector_bytes + header.stored_bytes, value);
    if (memcmp(value, header.payload_digest, sizeof(value)) != 0)
        return HG_BATCH_REASON_DIGEST;
    chain_compute(&header, value);
    if (memcmp(value, header.chain, sizeof(value)) != 0)
        return HG_BATCH_REASON_CHAIN;
    return padding_is_zero(batch, &header) ? HG_BATCH_REASON_OK : HG_BATCH_REASON_PADDING;
}

bool hg_batch_chain_is_right(const void *batch)
{
    struct hg_batch_header header;
    uint8_t value[16];
    memcpy(&header, batch, sizeof(header));
    chain_compute(&header, value);
    return memcmp(value, header.chain, sizeof(value)) == 0;
}

enum hg_batch_reason hg_batch_open(const void *batch, void *raw, uint32_t raw_bytes_max,
                                   const uint8_t **frames, uint32_t *frames_bytes)
{
    struct hg_batch_header header;
    memcpy(&header, batch, sizeof(header));
    if (hg_batch_bytes(&header) == 0)
        return HG_BATCH_REASON_LIMITS;
    const uint8_t *payload = (const uint8_t *)batch + sizeof(header) + header.vector_bytes;
    if (header.codec == HG_CODEC_NONE) {
        *frames = payload;
        *frames_bytes = header.raw_bytes;
        return HG_BATCH_REASON_OK;
    }
    if (header.codec != HG_CODEC_LZ4)
        return HG_BATCH_REASON_CODEC;
    if (header.raw_bytes > raw_bytes_max)
        return HG_BATCH_REASON_LIMITS;
    int bytes =
        LZ4_decompress_safe((const char *)payload, raw, (int)header.stored_bytes, (int)header.raw_bytes);
    if (bytes < 0 || (uint32_t)bytes != header.raw_bytes)
        return HG_BATCH_REASON_CODEC;
    *frames = raw;
    *frames_bytes = header.raw_bytes;
    return HG_BATCH_REASON_OK;
}

enum hg_batch_reason hg_batch_check_frames(const void *batch, const uint8_t *frames, uint32_t frames_bytes)
{
    struct hg_batch_header header;
    struct hg_frame frame;
    uint32_t offset = 0, count = 0;
    int result;

    memcpy(&header, batch, sizeof(header));
    uint64_t lsn = header.lsn_first;
    while ((result = hg_frame_next(frames, frames_bytes, header.hlc_base, &offset, &frame)) == 1) {
        if (frame.lsn != lsn)
            return HG_BATCH_REASON_FRAMES;
        lsn += frame.span;
        count++;
    }
    bool adds_up = result == 0 && count == header.frame_count && lsn == header.lsn_end;
    return adds_up ? HG_BATCH_REASON_OK : HG_BATCH_REASON_FRAMES;
}
