/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows a log as it lies on disk. Judges nothing that recovery would not: stops where the walk stops and says
 * why.
 */
#include "dataplane/wal/log_block.h"
#include "tools/log/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct dump {
    const char *path;
    int fd;
    bool is_json;
    struct hg_log_superblock superblock;
    uint8_t *buffer; /* one write of the largest size */
};

static bool read_all(const struct dump *dump, void *data, size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t count = pread(dump->fd, (uint8_t *)data + done, bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            fprintf(stderr, "helio-log: cannot read %zu bytes at %llu of %s: %s\n", bytes,
                    (unsigned long long)offset, dump->path,
                    count < 0 ? strerror(errno) : "the file ends before: is it a log?");
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

static void hex_print(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
}

static bool superblocks_show(struct dump *dump)
{
    struct hg_log_superblock *copies = (struct hg_log_superblock *)dump->buffer;
    if (!read_all(dump, copies, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES, 0))
        return false;
    for (uint16_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++) {
        bool is_valid = hg_log_superblock_is_valid(&copies[i], i);
        if (dump->is_json)
            printf("{\"superblock_copy\": %u, \"valid\": %s, \"generation\": %llu}\n", i,
                   is_valid ? "true" : "false", is_valid ? (unsigned long long)copies[i].generation : 0);
        else if (is_valid)
            printf("superblock copy %u: generation %llu\n", i, (unsigned long long)copies[i].generation);
        else
            printf("superblock copy %u: not valid\n", i);
    }
    int chosen = hg_log_superblock_choose(copies);
    if (chosen < 0) {
        fprintf(stderr, "helio-log: %s: no two copies of its superblock agree: not a log, or damaged\n",
                dump->path);
        return false;
    }
    dump->superblock = copies[chosen];
    const struct hg_log_superblock *s = &dump->superblock;
    printf(dump->is_json ? "{\"log_uuid\": \"" : "log ");
    hex_print(s->log_uuid, sizeof(s->log_uuid));
    if (dump->is_json) {
        printf("\", \"log_id\": %u, \"cluster\": %llu, \"generation\": %llu, \"restarts\": %u, \"segments\": "
               "%u, "
               "\"segment_bytes\": %llu, \"write_payload_bytes_max\": %u, \"tail_segment\": %llu, "
               "\"tail_sequence\": %llu, \"durable_sequence\": %llu, \"hlc_ceiling\": %llu}\n",
               s->log_id, (unsigned long long)s->cluster, (unsigned long long)s->generation, s->restarts,
               s->segment_count, (unsigned long long)s->segment_bytes, s->write_payload_bytes_max,
               (unsigned long long)s->tail_segment, (unsigned long long)s->tail_sequence,
               (unsigned long long)s->durable_sequence, (unsigned long long)s->hlc_ceiling);
        return true;
    }
    printf(" id %u cluster %llu generation %llu restarts %u: %u segments of %llu bytes, payload up to %u; "
           "tail segment "
           "%llu sequence %llu; durable to %llu at least; hlc ceiling %llu\n",
           s->log_id, (unsigned long long)s->cluster, (unsigned long long)s->generation, s->restarts,
           s->segment_count, (unsigned long long)s->segment_bytes, s->write_payload_bytes_max,
           (unsigned long long)s->tail_segment, (unsigned long long)s->tail_sequence,
           (unsigned long long)s->durable_sequence, (unsigned long long)s->hlc_ceiling);
    return true;
}

static bool ring_show(struct dump *dump)
{
    struct hg_log_write_header *header = (struct hg_log_write_header *)dump->buffer;
    uint64_t newest = 0, durable = dump->superblock.durable_sequence;
    uint32_t valid = 0;
    for (uint32_t slot = 0; slot < HG_LOG_RING_BLOCKS; slot++) {
        if (!read_all(dump, header, sizeof(*header),
                      HG_LOG_RING_OFFSET + (uint64_t)slot * HG_LOG_BLOCK_BYTES))
            return false;
        if (!hg_log_write_header_is_valid(header, dump->superblock.log_uuid) ||
            header->sequence % HG_LOG_RING_BLOCKS != slot)
            continue;
        valid++;
        newest = hg_max_u64(newest, header->sequence);
        durable = hg_max_u64(durable, header->durable_sequence);
    }
    printf(dump->is_json
               ? "{\"ring_copies_valid\": %u, \"newest_sequence\": %llu, \"durable_sequence_min\": %llu}\n"
               : "ring: %u valid copies, newest of write %llu, durable up to %llu at least\n",
           valid, (unsigned long long)newest, (unsigned long long)hg_max_u64(newest, durable));
    return true;
}

static void batch_show(const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    if ((batch->flags & HG_BATCH_LOCAL) != 0) {
        printf("  local: %u records (%s)\n", batch->frame_count, hg_batch_reason_text(reason));
        return;
    }
    printf("  stream %llu/%u group %u epoch %llu lsn [%llu, %llu) frames %u raw %u stored %u%s chain ",
           (unsigned long long)batch->stream, batch->incarnation, batch->group,
           (unsigned long long)batch->epoch, (unsigned long long)batch->lsn_first,
           (unsigned long long)batch->lsn_end, batch->frame_count, batch->raw_bytes, batch->stored_bytes,
           batch->codec == HG_CODEC_LZ4 ? " lz4" : "");
    hex_print(batch->chain, sizeof(batch->chain));
    printf(" (%s)\n", hg_batch_reason_text(reason));
}

static void batch_show_json(const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    if ((batch->flags & HG_BATCH_LOCAL) != 0) {
        printf("{\"local_records\": %u, \"verdict\": \"%s\"}", batch->frame_count,
               hg_batch_reason_text(reason));
        return;
    }
    printf("{\"stream\": %llu, \"incarnation\": %u, \"group\": %u, \"epoch\": %llu, \"lsn_first\": %llu, "
           "\"lsn_end\": %llu, \"frames\": %u, \"raw_bytes\": %u, \"stored_bytes\": %u, \"codec\": \"%s\", "
           "\"chain\": \"",
           (unsigned long long)batch->stream, batch->incarnation, batch->group,
           (unsigned long long)batch->epoch, (unsigned long long)batch->lsn_first,
           (unsigned long long)batch->lsn_end, batch->frame_count, batch->raw_bytes, batch->stored_bytes,
           batch->codec == HG_CODEC_LZ4 ? "lz4" : "off");
    hex_print(batch->chain, sizeof(batch->chain));
    printf("\", \"verdict\": \"%s\"}", hg_batch_reason_text(reason));
}

static void write_show_json(const struct hg_log_write_header *header, const uint8_t *payload)
{
    printf("{\"write\": %llu, \"segment\": %llu, \"segment_offset\": %u, \"restarts\": %u, "
           "\"payload_bytes\": %u, "
           "\"durable_sequence\": %llu, \"batches\": [",
           (unsigned long long)header->sequence, (unsigned long long)header->segment, header->segment_offset,
           header->restarts, header->payload_bytes, (unsigned long long)header->durable_sequence);
    for (uint32_t offset = 0; offset < header->payload_bytes;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
        enum hg_batch_reason reason = hg_batch_check_header(batch, header->payload_bytes - offset);
        printf("%s", offset == 0 ? "" : ", ");
        if (reason != HG_BATCH_REASON_OK) {
            printf("{\"payload_offset\": %u, \"verdict\": \"%s\"}", offset, hg_batch_reason_text(reason));
            break;
        }
        batch_show_json(batch, hg_batch_verify(batch, header->payload_bytes - offset));
        offset += hg_batch_bytes(batch);
    }
    printf("]}\n");
}

static void write_show(const struct hg_log_write_header *header, const uint8_t *payload)
{
    printf("write %llu segment %llu offset %u restarts %u payload %u batches %u durable %llu\n",
           (unsigned long long)header->sequence, (unsigned long long)header->segment, header->segment_offset,
           header->restarts, header->payload_bytes, header->batch_count,
           (unsigned long long)header->durable_sequence);
    for (uint32_t offset = 0; offset < header->payload_bytes;) {
        const struct hg_batch_header *batch = (const struct hg_batch_header *)(payload + offset);
        enum hg_batch_reason reason = hg_batch_check_header(batch, header->payload_bytes - offset);
        if (reason != HG_BATCH_REASON_OK) {
            printf("  at byte %u: %s\n", offset, hg_batch_reason_text(reason));
            return;
        }
        batch_show(batch, hg_batch_verify(batch, header->payload_bytes - offset));
        offset += hg_batch_bytes(batch);
    }
}

/* Why the walk ends here; NULL when the write is whole and follows. */
static const char *write_problem(const struct dump *dump, uint64_t sequence, uint64_t segment,
                                 uint32_t offset, uint32_t write_bytes_max)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)dump->buffer;
    if (!hg_log_write_header_is_valid(header, dump->superblock.log_uuid))
        return "no valid header of this log";
    if (header->sequence != sequence || header->segment != segment || header->segment_offset != offset)
        return "a header of another write";
    if (hg_log_write_bytes(header->payload_bytes) > write_bytes_max)
        return "a write larger than the log allows";
    if (!hg_log_write_payload_is_valid(header, dump->buffer + HG_LOG_BLOCK_BYTES))
        return "a payload block that does not match its checksum";
    return NULL;
}

/* Header, and as much payload as it speaks of. */
static bool write_read(struct dump *dump, uint64_t at, uint32_t write_bytes_max)
{
    const struct hg_log_write_header *header = (const struct hg_log_write_header *)dump->buffer;
    if (!read_all(dump, dump->buffer, HG_LOG_BLOCK_BYTES, at))
        return false;
    if (!hg_log_write_header_is_valid(header, dump->superblock.log_uuid) ||
        hg_log_write_bytes(header->payload_bytes) > write_bytes_max)
        return true;
    return read_all(dump, dump->buffer + HG_LOG_BLOCK_BYTES,
                    hg_log_write_bytes(header->payload_bytes) - HG_LOG_BLOCK_BYTES, at + HG_LOG_BLOCK_BYTES);
}

static bool writes_show(struct dump *dump)
{
    const struct hg_log_superblock *s = &dump->superblock;
    uint32_t write_bytes_max = hg_log_write_bytes_max(s->write_payload_bytes_max);
    uint64_t segment = s->tail_segment, sequence = s->tail_sequence;
    uint32_t offset = 0;
    const char *problem = "the log is full";
    while (segment - s->tail_segment < s->segment_count) {
        uint64_t at = HG_LOG_SEGMENTS_OFFSET + segment % s->segment_count * s->segment_bytes + offset;
        if (!write_read(dump, at, write_bytes_max))
            return false;
        problem = write_problem(dump, sequence, segment, offset, write_bytes_max);
        if (problem != NULL)
            break;
        const struct hg_log_write_header *header = (const struct hg_log_write_header *)dump->buffer;
        if (dump->is_json)
            write_show_json(header, dump->buffer + HG_LOG_BLOCK_BYTES);
        else
            write_show(header, dump->buffer + HG_LOG_BLOCK_BYTES);
        hg_log_place_next(s->segment_bytes, write_bytes_max, hg_log_write_bytes(header->payload_bytes),
                          &segment, &offset);
        sequence++;
    }
    printf(dump->is_json
               ? "{\"writes\": %llu, \"end_segment\": %llu, \"end_offset\": %u, \"end_sequence\": %llu, "
                 "\"reason\": \"%s\"}\n"
               : "end: %llu writes; at segment %llu offset %u, where write %llu would be: %s\n",
           (unsigned long long)(sequence - s->tail_sequence), (unsigned long long)segment, offset,
           (unsigned long long)sequence, problem);
    return true;
}

int dump_run(const char *path, bool is_json)
{
    struct dump dump = {.path = path, .is_json = is_json, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (dump.fd < 0) {
        fprintf(stderr, "helio-log: cannot open %s: %s\n", path, strerror(errno));
        return 1;
    }
    dump.buffer = aligned_alloc(HG_LOG_BLOCK_BYTES, hg_log_write_bytes_max(HG_LOG_WRITE_PAYLOAD_BYTES_MAX));
    hg_assert(dump.buffer != NULL);
    bool is_fine = superblocks_show(&dump) && ring_show(&dump) && writes_show(&dump);
    free(dump.buffer);
    close(dump.fd);
    return is_fine ? 0 : 1;
}
