/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log dump: a log as it lies on disk, write by write. Goes on behind what is damaged and says so where
 * it is.
 */
#include "dataplane/wal/log_hole.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"

#include <stdio.h>

struct dump {
    struct image image; /* first: image_read and the others get this */
    bool is_json;
    bool has_batches; /* of this write */
};

static void superblock_show(void *ctx, uint32_t copy, const struct hg_log_superblock *superblock)
{
    const struct dump *dump = ctx;
    if (dump->is_json)
        printf("{\"superblock_copy\": %u, \"valid\": %s, \"generation\": %llu}\n", copy,
               superblock != NULL ? "true" : "false",
               superblock != NULL ? (unsigned long long)superblock->generation : 0);
    else if (superblock != NULL)
        printf("superblock copy %u: generation %llu\n", copy, (unsigned long long)superblock->generation);
    else
        printf("superblock copy %u: not valid\n", copy);
}

static void holes_show(const struct dump *dump, const struct hg_log_hole_table *holes)
{
    for (uint32_t i = 0; i < holes->count; i++) {
        const struct hg_log_hole *hole = &holes->holes[i];
        if (hg_log_hole_is_repaired(hole)) {
            printf(dump->is_json ? "{\"repair\": %u, \"write\": %llu, \"write_last\": %llu, \"copy\": %llu}\n"
                                 : "repair %u: writes %llu to %llu are in write %llu\n",
                   i, (unsigned long long)hole->sequence_first, (unsigned long long)hole->sequence_last,
                   (unsigned long long)hole->copy_sequence);
            continue;
        }
        printf(dump->is_json
                   ? "{\"loss\": %u, \"write\": %llu, \"write_last\": %llu, \"segment\": %llu, "
                     "\"segment_offset\": %u, \"next_segment\": %llu, \"next_offset\": %u}\n"
                   : "accepted loss %u: writes %llu to %llu, segment %llu offset %u; on at segment %llu "
                     "offset %u\n",
               i, (unsigned long long)hole->sequence_first, (unsigned long long)hole->sequence_last,
               (unsigned long long)hole->segment, hole->offset, (unsigned long long)hole->next_segment,
               hole->next_offset);
    }
}

static void chosen_show(void *ctx, const struct hg_log_superblock *s)
{
    const struct dump *dump = ctx;
    printf(dump->is_json ? "{\"log_uuid\": \"" : "log ");
    hex_print(s->log_uuid, sizeof(s->log_uuid));
    printf(
        dump->is_json
            ? "\", \"log_id\": %u, \"cluster\": %llu, \"generation\": %llu, \"restarts\": %u, \"segments\": "
              "%u, "
              "\"segment_bytes\": %llu, \"write_payload_bytes_max\": %u, \"tail_segment\": %llu, "
              "\"tail_sequence\": %llu, \"durable_sequence\": %llu, \"hlc_ceiling\": %llu}\n"
            : " id %u cluster %llu generation %llu restarts %u: %u segments of %llu bytes, payload up to %u; "
              "tail segment %llu sequence %llu; durable to %llu at least; hlc ceiling %llu\n",
        s->log_id, (unsigned long long)s->cluster, (unsigned long long)s->generation, s->restarts,
        s->segment_count, (unsigned long long)s->segment_bytes, s->write_payload_bytes_max,
        (unsigned long long)s->tail_segment, (unsigned long long)s->tail_sequence,
        (unsigned long long)s->durable_sequence, (unsigned long long)s->hlc_ceiling);
    holes_show(dump, &s->holes);
}

static void ring_show(void *ctx, uint32_t valid, uint64_t newest, uint64_t durable)
{
    const struct dump *dump = ctx;
    printf(dump->is_json
               ? "{\"ring_copies_valid\": %u, \"newest_sequence\": %llu, \"durable_sequence_min\": %llu}\n"
               : "ring: %u valid copies, newest of write %llu, durable up to %llu at least\n",
           valid, (unsigned long long)newest, (unsigned long long)durable);
}

static void write_show(void *ctx, const struct hg_log_write_header *header)
{
    struct dump *dump = ctx;
    dump->has_batches = false;
    printf(dump->is_json
               ? "{\"write\": %llu, \"segment\": %llu, \"segment_offset\": %u, \"restarts\": %u, "
                 "\"payload_bytes\": %u, \"batch_count\": %u, \"durable_sequence\": %llu, \"batches\": ["
               : "write %llu segment %llu offset %u restarts %u payload %u batches %u durable %llu\n",
           (unsigned long long)header->sequence, (unsigned long long)header->segment, header->segment_offset,
           header->restarts, header->payload_bytes, header->batch_count,
           (unsigned long long)header->durable_sequence);
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

static void batch_show(void *ctx, const struct hg_log_write_header *header,
                       const struct hg_batch_header *batch, enum hg_batch_reason reason)
{
    struct dump *dump = ctx;
    (void)header;
    if (dump->is_json) {
        printf("%s", dump->has_batches ? ", " : "");
        batch_show_json(batch, reason);
        dump->has_batches = true;
        return;
    }
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

/* Of local records, those that change what batches before them mean. */
static void record_show(void *ctx, const struct hg_local_record *record)
{
    struct dump *dump = ctx;
    if (record->type != HG_LOCAL_STREAM_CUT)
        return;
    if (dump->is_json)
        printf("%s{\"cut_stream\": %llu, \"lsn\": %llu, \"epoch\": %llu, \"chain\": \"",
               dump->has_batches ? ", " : "", (unsigned long long)record->stream,
               (unsigned long long)record->lsn, (unsigned long long)record->epoch);
    else
        printf("  stream %llu is cut: it ends at lsn %llu of epoch %llu, chain ",
               (unsigned long long)record->stream, (unsigned long long)record->lsn,
               (unsigned long long)record->epoch);
    hex_print(record->chain, sizeof(record->chain));
    printf(dump->is_json ? "\"}" : "\n");
    dump->has_batches = true;
}

static void write_end_show(void *ctx, const struct hg_log_write_header *header)
{
    const struct dump *dump = ctx;
    (void)header;
    if (dump->is_json)
        printf("]}\n");
}

static void finding_show(void *ctx, const struct hg_log_finding *finding)
{
    const struct dump *dump = ctx;
    finding_print(finding, dump->is_json);
    putchar('\n');
}

int dump_run(const char *path, bool is_json)
{
    static const struct hg_log_audit_ops ops = {.read = image_read,
                                                .pause = image_pause,
                                                .finding = finding_show,
                                                .superblock = superblock_show,
                                                .chosen = chosen_show,
                                                .ring = ring_show,
                                                .write = write_show,
                                                .batch = batch_show,
                                                .record = record_show,
                                                .write_end = write_end_show};
    struct dump dump = {.is_json = is_json};
    struct hg_log_audit_result result;
    if (!image_open(&dump.image, path))
        return LOG_EXIT_UNREADABLE;
    struct hg_log_audit_config config = {.ops = &ops, .ctx = &dump, .size_bytes = dump.image.size_bytes};
    hg_log_audit(&config, &result);
    image_close(&dump.image);
    if (result.end != HG_LOG_END_NEVER)
        printf(is_json
                   ? "{\"writes\": %llu, \"end_segment\": %llu, \"end_offset\": %u, \"end_sequence\": %llu, "
                     "\"reason\": \"%s\"}\n"
                   : "end: %llu writes; at segment %llu offset %u, where write %llu would be: %s\n",
               (unsigned long long)result.writes, (unsigned long long)result.segment_next, result.offset_next,
               (unsigned long long)result.sequence_next, end_text(result.end));
    return exit_of(&result) == LOG_EXIT_WORN ? LOG_EXIT_FINE : exit_of(&result);
}
