/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames: adding one to an open batch, decoding one.
 */
#include "dataplane/wal/batch.h"

#include <errno.h>

void hg_batch_builder_init(struct hg_batch_builder *builder, void *raw, uint32_t raw_bytes_max)
{
    hg_assert(raw != NULL && raw_bytes_max >= HG_FRAME_BYTES_MAX);
    memset(builder, 0, sizeof(*builder));
    builder->raw = raw;
    builder->raw_bytes_max = raw_bytes_max;
}

static bool frame_is_valid(const struct hg_batch_builder *builder, const struct hg_frame *frame)
{
    if (frame->span == 0 || frame->op == 0 || frame->lsn > UINT64_MAX - frame->span)
        return false;
    if (frame->key_bytes > HG_FRAME_KEY_BYTES_MAX || frame->data_bytes > HG_FRAME_DATA_BYTES_MAX)
        return false;
    if ((frame->flags & ~HG_FRAME_CONTINUES) != 0)
        return false;
    if (builder->frame_count == 0)
        return true;
    return frame->lsn == builder->lsn_end && frame->hlc >= builder->hlc_base;
}

/* Bytes before the padding. */
static uint32_t frame_bytes(uint32_t key_bytes, uint32_t data_bytes, bool client)
{
    return (uint32_t)sizeof(struct hg_frame_header) +
           (client ? (uint32_t)sizeof(struct hg_frame_client) : 0) + key_bytes + data_bytes;
}

static void frame_encode(uint8_t *at, const struct hg_frame *frame, uint64_t hlc_base, uint32_t bytes)
{
    struct hg_frame_header header;
    memset(&header, 0, sizeof(header));
    header.lsn = frame->lsn;
    header.transaction_id = frame->transaction_id;
    header.data_bytes = frame->data_bytes;
    header.span = frame->span;
    header.hlc_delta = (uint32_t)(frame->hlc - hlc_base);
    header.table_id = frame->table_id;
    header.key_bytes = frame->key_bytes;
    header.op = frame->op;
    header.flags = frame->flags;
    uint8_t *end = at + sizeof(header);
    if (frame->client_id != 0) {
        struct hg_frame_client client = {frame->client_id, frame->client_sequence};
        header.flags |= HG_FRAME_CLIENT;
        memcpy(end, &client, sizeof(client));
        end += sizeof(client);
    }
    memcpy(at, &header, sizeof(header));
    if (frame->key_bytes > 0)
        memcpy(end, frame->key, frame->key_bytes);
    end += frame->key_bytes;
    if (frame->data_bytes > 0)
        memcpy(end, frame->data, frame->data_bytes);
    end += frame->data_bytes;
    hg_assert((uint64_t)(end - at) == bytes);
    uint32_t crc = hg_crc32c(0, at, bytes);
    memcpy(at + offsetof(struct hg_frame_header, crc32c), &crc, sizeof(crc));
    memset(end, 0, hg_align_up(bytes, HG_FRAME_ALIGN_BYTES) - bytes);
}

int hg_batch_builder_add(struct hg_batch_builder *builder, const struct hg_frame *frame)
{
    if (!frame_is_valid(builder, frame))
        return -EINVAL;
    uint32_t bytes = frame_bytes(frame->key_bytes, frame->data_bytes, frame->client_id != 0);
    uint32_t bytes_padded = (uint32_t)hg_align_up(bytes, HG_FRAME_ALIGN_BYTES);
    if (builder->frame_count == 0) {
        hg_assert(bytes_padded <= builder->raw_bytes_max);
        builder->lsn_first = frame->lsn;
        builder->hlc_base = frame->hlc;
    } else if (builder->frame_count >= HG_BATCH_FRAMES_MAX ||
               builder->raw_bytes + bytes_padded > HG_BATCH_RAW_BYTES_MAX ||
               frame->hlc - builder->hlc_base > UINT32_MAX) {
        return -ENOSPC;
    }
    frame_encode(builder->raw + builder->raw_bytes, frame, builder->hlc_base, bytes);
    builder->raw_bytes += bytes_padded;
    builder->frame_count++;
    builder->lsn_end = frame->lsn + frame->span;
    builder->has_clients |= frame->client_id != 0;
    return 0;
}

static bool frame_header_is_valid(const struct hg_frame_header *header)
{
    return header->key_bytes <= HG_FRAME_KEY_BYTES_MAX && header->data_bytes <= HG_FRAME_DATA_BYTES_MAX &&
           header->span != 0 && header->op != 0 &&
           (header->flags & ~(HG_FRAME_CONTINUES | HG_FRAME_CLIENT)) == 0 &&
           header->lsn <= UINT64_MAX - header->span;
}

/* The CRC is over the header with its crc32c zero. */
static uint32_t frame_crc32c(const struct hg_frame_header *header, const uint8_t *at, uint32_t bytes)
{
    struct hg_frame_header copy = *header;
    copy.crc32c = 0;
    return hg_crc32c(hg_crc32c(0, &copy, sizeof(copy)), at + sizeof(copy), bytes - sizeof(copy));
}

int hg_frame_next(const uint8_t *frames, uint32_t frames_bytes, uint64_t hlc_base, uint32_t *offset,
                  struct hg_frame *frame)
{
    if (*offset == frames_bytes)
        return 0;
    struct hg_frame_header header;
    if (*offset > frames_bytes || frames_bytes - *offset < sizeof(header))
        return -EBADMSG;
    const uint8_t *at = frames + *offset;
    memcpy(&header, at, sizeof(header));
    if (!frame_header_is_valid(&header))
        return -EBADMSG;
    bool has_client = (header.flags & HG_FRAME_CLIENT) != 0;
    uint32_t bytes = frame_bytes(header.key_bytes, header.data_bytes, has_client);
    uint32_t bytes_padded = (uint32_t)hg_align_up(bytes, HG_FRAME_ALIGN_BYTES);
    if (frames_bytes - *offset < bytes_padded || frame_crc32c(&header, at, bytes) != header.crc32c)
        return -EBADMSG;

    memset(frame, 0, sizeof(*frame));
    frame->lsn = header.lsn;
    frame->span = header.span;
    frame->op = header.op;
    frame->flags = header.flags;
    frame->key_bytes = header.key_bytes;
    frame->data_bytes = header.data_bytes;
    frame->table_id = header.table_id;
    frame->transaction_id = header.transaction_id;
    frame->hlc = hlc_base + header.hlc_delta;
    const uint8_t *rest = at + sizeof(header);
    if (has_client) {
        struct hg_frame_client client;
        memcpy(&client, rest, sizeof(client));
        if (client.client_id == 0)
            return -EBADMSG;
        frame->client_id = client.client_id;
        frame->client_sequence = client.client_sequence;
        rest += sizeof(client);
    }
    frame->key = rest;
    frame->data = rest + header.key_bytes;
    *offset += bytes_padded;
    return 1;
}
