/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf stages: each stage of the data path alone on one core, over real bytes, beside the library call
 * that it cannot be faster than.
 */
#include "perf/stages.h"
#include "dataplane/wal/log_block.h"
#include "drivers/ipc/client_ring.h"

#include <errno.h>
#include <lz4.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SAMPLE_BYTES_MAX (48u << 20)
#define STAGES           9.0
#define RUNS_MAX         64
#define RING_BYTES       (64u << 20)
#define CHAIN_BYTES      sizeof(struct hg_batch_header)

/* ---- measuring ---- */

static int double_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double hg_perf_median_ns(const struct hg_perf_sample *sample, uint64_t (*run)(void *ctx), void *ctx)
{
    double times[RUNS_MAX], spent_ns = 0;
    uint32_t runs = 0;
    (void)run(ctx); /* caches, page tables, frequency */
    while (runs < 3 || (runs < RUNS_MAX && spent_ns < sample->stage_ns)) {
        times[runs] = (double)run(ctx);
        spent_ns += times[runs++];
    }
    qsort(times, runs, sizeof(times[0]), double_compare);
    return times[runs / 2];
}

void hg_perf_stage(const struct hg_perf_sample *sample, const char *stage, const char *item, double ns,
                   uint64_t bytes, uint64_t items)
{
    const char *data = sample->data->name;
    hg_perf_report_add(sample->report, ns / (double)bytes, "%s_ns_per_byte/data=%s", stage, data);
    hg_perf_report_add(sample->report, ns / (double)items, "%s_ns_per_%s/data=%s", stage, item, data);
    if (!sample->quiet)
        printf("%-8s %-16s %8.3f ns/B %10.1f ns/%-6s %8.2f GB/s", data, stage, ns / (double)bytes,
               ns / (double)items, item, (double)bytes / ns);
}

void hg_perf_stage_raw(const struct hg_perf_sample *sample, const char *stage, const char *call,
                       double stage_ns, double ns, uint64_t bytes)
{
    const char *data = sample->data->name;
    hg_perf_report_add(sample->report, ns / (double)bytes, "%s_raw_ns_per_byte/data=%s", stage, data);
    hg_perf_report_add(sample->report, ns / stage_ns, "%s_share/data=%s", stage, data);
    if (!sample->quiet)
        printf("   %-28s %8.2f GB/s  share %4.2f\n", call, (double)bytes / ns, ns / stage_ns);
}

/* ---- the sample ---- */

static struct hg_frame frame_of(const struct hg_perf_data *data, uint64_t index, uint64_t lsn)
{
    struct hg_frame frame;
    memset(&frame, 0, sizeof(frame));
    frame.lsn = lsn;
    frame.op = data->kind == HG_STREAM_POSTGRES_PHYSICAL ? HG_OP_OPAQUE : HG_OP_INSERT;
    frame.data_bytes = data->frames[index].bytes;
    frame.span = data->kind == HG_STREAM_POSTGRES_PHYSICAL ? frame.data_bytes : 1;
    frame.hlc = UINT64_C(1) << 40 | index;
    frame.data = data->bytes + data->frames[index].offset;
    return frame;
}

static void builder_open(struct hg_batch_builder *builder)
{
    uint64_t bytes = hg_align_up(HG_FRAME_BYTES_MAX, HG_LOG_BLOCK_BYTES);
    uint8_t *raw = malloc(bytes);
    hg_assert(raw != NULL);
    hg_batch_builder_init(builder, raw, (uint32_t)bytes);
}

/* Memory of the builder back to what it holds. */
static void builder_shrink(struct hg_batch_builder *builder)
{
    uint8_t *raw = realloc(builder->raw, builder->raw_bytes);
    hg_assert(raw != NULL);
    builder->raw = raw;
}

static void batches_build(struct hg_perf_sample *sample)
{
    const struct hg_perf_data *data = sample->data;
    uint64_t lsn = 16u << 20;
    uint64_t raw_bytes_max = data->bytes_count + data->frame_count * (sizeof(struct hg_frame_header) + 8);
    sample->builders = calloc(2 * raw_bytes_max / HG_BATCH_RAW_BYTES_AIM + 2, sizeof(sample->builders[0]));
    hg_assert(sample->builders != NULL);
    struct hg_batch_builder *builder = NULL;
    for (uint64_t i = 0; i < data->frame_count; i++) {
        if (builder == NULL) {
            builder = &sample->builders[sample->batch_count++];
            builder_open(builder);
        }
        struct hg_frame frame = frame_of(data, i, lsn);
        int rc = hg_batch_builder_add(builder, &frame);
        hg_assert(rc == 0);
        lsn += frame.span;
        uint32_t bytes = builder->raw_bytes / builder->frame_count; /* full as hg_streams_append sees it */
        if (builder->raw_bytes + bytes <= HG_BATCH_RAW_BYTES_AIM && i + 1 < data->frame_count)
            continue;
        sample->raw_bytes += builder->raw_bytes;
        builder_shrink(builder);
        builder = NULL;
    }
}

static void sample_free(struct hg_perf_sample *sample)
{
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        free(sample->builders[i].raw);
        free(sample->sealed[i]);
    }
    free(sample->builders);
    free(sample->sealed);
    free(sample->sealed_bytes);
}

/* ---- ingest ---- */

struct ingest {
    struct hg_perf_sample *sample;
    struct hg_client_ring ring;
    struct hg_client_view view;
    struct hg_batch_builder builder;
    bool taking; /* which half counts */
};

static uint64_t frames_append(struct ingest *ingest, uint64_t *next)
{
    const struct hg_perf_data *data = ingest->sample->data;
    uint64_t taken = 0;
    while (*next < data->frame_count) {
        struct hg_frame frame = frame_of(data, *next, 1);
        struct hg_append_record record = {.op = frame.op,
                                          .lsn = *next + 1,
                                          .span = frame.span,
                                          .data_bytes = frame.data_bytes,
                                          .attachment = 1};
        if (hg_client_view_append(&ingest->view, &record, NULL, frame.data) != 0)
            break;
        ++*next;
        taken++;
    }
    hg_client_view_append_publish(&ingest->view);
    return taken;
}

static void frames_take(struct ingest *ingest)
{
    struct hg_append_record record;
    const uint8_t *key, *data;
    while (hg_client_ring_append_peek(&ingest->ring, &record, &key, &data) == 1) {
        struct hg_frame frame;
        memset(&frame, 0, sizeof(frame));
        frame.lsn = ingest->builder.frame_count > 0 ? ingest->builder.lsn_end : record.lsn;
        frame.span = record.span;
        frame.op = record.op;
        frame.data_bytes = record.data_bytes;
        frame.hlc = UINT64_C(1) << 40;
        frame.key = key;
        frame.data = data;
        int rc = hg_batch_builder_add(&ingest->builder, &frame);
        hg_assert(rc == 0);
        hg_client_ring_append_consume(&ingest->ring);
        if (ingest->builder.raw_bytes >= HG_BATCH_RAW_BYTES_AIM)
            hg_batch_builder_init(&ingest->builder, ingest->builder.raw, ingest->builder.raw_bytes_max);
    }
    hg_client_ring_publish(&ingest->ring);
    hg_assert(ingest->ring.fault == HG_CLIENT_FAULT_NONE);
}

static uint64_t ingest_run(void *ctx)
{
    struct ingest *ingest = ctx;
    uint64_t spent_ns[2] = {0, 0}, next = 0;
    while (next < ingest->sample->data->frame_count) {
        uint64_t a_ns = hg_perf_cpu_ns();
        frames_append(ingest, &next);
        uint64_t b_ns = hg_perf_cpu_ns();
        frames_take(ingest);
        spent_ns[0] += b_ns - a_ns;
        spent_ns[1] += hg_perf_cpu_ns() - b_ns;
    }
    return spent_ns[ingest->taking];
}

static uint64_t copy_run(void *ctx)
{
    struct ingest *ingest = ctx;
    const struct hg_perf_data *data = ingest->sample->data;
    uint64_t begin_ns = hg_perf_cpu_ns(), place = 0;
    for (uint64_t i = 0; i < data->frame_count; i++) {
        if (place + data->frames[i].bytes > RING_BYTES / 2)
            place = 0;
        memcpy(ingest->ring.append + place, data->bytes + data->frames[i].offset, data->frames[i].bytes);
        place += data->frames[i].bytes;
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static void ingest_stage(struct hg_perf_sample *sample)
{
    const struct hg_perf_data *data = sample->data;
    struct ingest ingest = {.sample = sample};
    uint64_t memory_bytes = hg_client_memory_bytes(RING_BYTES, HG_CLIENT_RING_BYTES_MIN);
    void *memory = aligned_alloc(HG_CLIENT_PAGE_BYTES, memory_bytes);
    hg_assert(memory != NULL);
    memset(memory, 0, memory_bytes);
    hg_client_ring_init(&ingest.ring, memory, RING_BYTES, HG_CLIENT_RING_BYTES_MIN, 1, 1);
    int rc = hg_client_view_init(&ingest.view, memory, memory_bytes);
    hg_assert(rc == 0);
    hg_client_view_slot_attach(&ingest.view, 0, hg_client_ring_slot_attach(&ingest.ring, 0));
    builder_open(&ingest.builder);
    double append_ns = hg_perf_median_ns(sample, ingest_run, &ingest);
    ingest.taking = true;
    double take_ns = hg_perf_median_ns(sample, ingest_run, &ingest);
    double copy_ns = hg_perf_median_ns(sample, copy_run, &ingest);
    hg_perf_stage(sample, "append", "frame", append_ns, data->bytes_count, data->frame_count);
    hg_perf_stage_raw(sample, "append", "memcpy", append_ns, copy_ns, data->bytes_count);
    hg_perf_stage(sample, "take", "frame", take_ns, data->bytes_count, data->frame_count);
    hg_perf_stage_raw(sample, "take", "memcpy", take_ns, copy_ns, data->bytes_count);
    free(ingest.builder.raw);
    free(memory);
}

/* ---- seal ---- */

struct seal {
    struct hg_perf_sample *sample;
    void *lz4_state;
    char *out;
    int bound;
};

static uint64_t seal_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    struct hg_batch_origin origin = {.cluster = 7,
                                     .stream = 1,
                                     .incarnation = 1,
                                     .region = 1,
                                     .epoch = 1,
                                     .kind = sample->data->kind,
                                     .codec = HG_CODEC_LZ4};
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        struct hg_batch_builder builder = sample->builders[i]; /* seal resets it, the bytes stay */
        builder.raw_bytes_max = (uint32_t)HG_FRAME_BYTES_MAX;
        sample->sealed_bytes[i] =
            hg_batch_seal(&builder, &origin, NULL, 0, sample->sealed[i],
                          hg_batch_sealed_bytes_max(&sample->builders[i], 0), seal->lz4_state);
        const struct hg_batch_header *header = (const struct hg_batch_header *)sample->sealed[i];
        memcpy(origin.chain_previous, header->chain, sizeof(origin.chain_previous));
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t lz4_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        int n = LZ4_compress_default((const char *)sample->builders[i].raw, seal->out,
                                     (int)sample->builders[i].raw_bytes, seal->bound);
        hg_assert(n > 0);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t xxh3_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    uint64_t begin_ns = hg_perf_cpu_ns(), sum = 0;
    for (uint32_t i = 0; i < sample->batch_count; i++)
        sum += XXH3_128bits(sample->sealed[i], sample->sealed_bytes[i]).low64;
    hg_assert(sum != 1); /* the compiler can't drop the loop */
    return hg_perf_cpu_ns() - begin_ns;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static uint64_t sha256_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256_CTX context;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        SHA256_Init(&context);
        SHA256_Update(&context, sample->sealed[i], CHAIN_BYTES);
        SHA256_Final(hash, &context);
    }
    return hg_perf_cpu_ns() - begin_ns;
}
#pragma GCC diagnostic pop

static void seal_open(struct seal *seal, struct hg_perf_sample *sample)
{
    *seal = (struct seal){.sample = sample, .lz4_state = malloc((size_t)LZ4_sizeofState())};
    seal->bound = LZ4_compressBound((int)HG_FRAME_BYTES_MAX);
    seal->out = malloc((size_t)seal->bound);
    sample->sealed = calloc(sample->batch_count, sizeof(sample->sealed[0]));
    sample->sealed_bytes = calloc(sample->batch_count, sizeof(sample->sealed_bytes[0]));
    hg_assert(seal->lz4_state && seal->out && sample->sealed && sample->sealed_bytes);
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        uint64_t bytes = hg_batch_sealed_bytes_max(&sample->builders[i], 0);
        sample->sealed[i] = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));
        hg_assert(sample->sealed[i] != NULL);
    }
}

static void seal_close(struct seal *seal)
{
    free(seal->lz4_state);
    free(seal->out);
}

static void seal_stage(struct hg_perf_sample *sample)
{
    struct seal seal;
    seal_open(&seal, sample);
    double seal_ns = hg_perf_median_ns(sample, seal_run, &seal);
    double lz4_ns = hg_perf_median_ns(sample, lz4_run, &seal);
    for (uint32_t i = 0; i < sample->batch_count; i++)
        sample->stored_bytes += sample->sealed_bytes[i];
    hg_perf_stage(sample, "seal", "batch", seal_ns, sample->raw_bytes, sample->batch_count);
    hg_perf_stage_raw(sample, "seal", "LZ4_compress_default", seal_ns, lz4_ns, sample->raw_bytes);
    hg_perf_stage(sample, "digest", "batch", hg_perf_median_ns(sample, xxh3_run, &seal), sample->stored_bytes,
                  sample->batch_count);
    if (!sample->quiet)
        printf("   XXH3-128 of what is stored, a part of seal\n");
    hg_perf_stage(sample, "chain", "batch", hg_perf_median_ns(sample, sha256_run, &seal),
                  sample->batch_count * CHAIN_BYTES, sample->batch_count);
    if (!sample->quiet)
        printf("   SHA-256 of the header, a part of seal\n");
    hg_perf_report_add(sample->report, (double)sample->raw_bytes / (double)sample->stored_bytes,
                       "ratio/data=%s", sample->data->name);
    seal_close(&seal);
}

/* ---- the log write, verify, open ---- */

struct log_write {
    struct hg_perf_sample *sample;
    uint8_t *payload;
    uint64_t payload_bytes; /* of all writes */
    struct hg_log_write_header header;
};

#define WRITE_BYTES (256u << 10)

static uint64_t log_write_run(void *ctx)
{
    struct log_write *write = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint64_t at = 0; at < write->payload_bytes; at += WRITE_BYTES) {
        memset(&write->header, 0, sizeof(write->header));
        write->header.sequence = at + 1;
        write->header.payload_bytes = (uint32_t)hg_min_u64(WRITE_BYTES, write->payload_bytes - at);
        hg_log_write_header_seal(&write->header, write->payload + at);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t crc_run(void *ctx)
{
    struct log_write *write = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint64_t at = 0; at < write->payload_bytes; at += WRITE_BYTES) {
        int bytes = (int)hg_min_u64(WRITE_BYTES, write->payload_bytes - at);
        write->header.crc32c += crc32_iscsi(write->payload + at, bytes, 0);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t verify_run(void *ctx)
{
    struct hg_perf_sample *sample = ctx;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        enum hg_batch_reason reason = hg_batch_verify(sample->sealed[i], sample->sealed_bytes[i]);
        hg_assert(reason == HG_BATCH_REASON_OK);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static void log_write_stage(struct hg_perf_sample *sample)
{
    struct log_write write = {.sample = sample};
    uint64_t bytes = sample->stored_bytes - sample->stored_bytes % HG_LOG_BLOCK_BYTES;
    write.payload = aligned_alloc(HG_LOG_BLOCK_BYTES, hg_align_up(sample->stored_bytes, HG_LOG_BLOCK_BYTES));
    hg_assert(write.payload != NULL);
    uint64_t put = 0;
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        memcpy(write.payload + put, sample->sealed[i], sample->sealed_bytes[i]);
        put += sample->sealed_bytes[i];
    }
    write.payload_bytes = bytes;
    if (bytes > 0) {
        double ns = hg_perf_median_ns(sample, log_write_run, &write);
        double crc_ns = hg_perf_median_ns(sample, crc_run, &write);
        hg_perf_stage(sample, "log_write", "write", ns, bytes, (bytes + WRITE_BYTES - 1) / WRITE_BYTES);
        hg_perf_stage_raw(sample, "log_write", "crc32_iscsi", ns, crc_ns, bytes);
    }
    free(write.payload);
    struct seal seal = {.sample = sample};
    double verify_ns = hg_perf_median_ns(sample, verify_run, sample);
    hg_perf_stage(sample, "verify", "batch", verify_ns, sample->stored_bytes, sample->batch_count);
    hg_perf_stage_raw(sample, "verify", "XXH3-128", verify_ns, hg_perf_median_ns(sample, xxh3_run, &seal),
                      sample->stored_bytes);
}

static uint64_t open_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        const uint8_t *frames;
        uint32_t frames_bytes;
        enum hg_batch_reason reason =
            hg_batch_open(sample->sealed[i], seal->out, (uint32_t)seal->bound, &frames, &frames_bytes);
        hg_assert(reason == HG_BATCH_REASON_OK);
        reason = hg_batch_check_frames(sample->sealed[i], frames, frames_bytes);
        hg_assert(reason == HG_BATCH_REASON_OK);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static uint64_t decompress_run(void *ctx)
{
    struct seal *seal = ctx;
    struct hg_perf_sample *sample = seal->sample;
    uint64_t begin_ns = hg_perf_cpu_ns();
    for (uint32_t i = 0; i < sample->batch_count; i++) {
        const struct hg_batch_header *header = (const struct hg_batch_header *)sample->sealed[i];
        const char *payload = (const char *)(header + 1);
        if (header->codec == HG_CODEC_NONE) {
            memcpy(seal->out, payload, header->stored_bytes);
            continue;
        }
        int n = LZ4_decompress_safe(payload, seal->out, (int)header->stored_bytes, seal->bound);
        hg_assert(n == (int)header->raw_bytes);
    }
    return hg_perf_cpu_ns() - begin_ns;
}

static void open_stage(struct hg_perf_sample *sample)
{
    struct seal seal = {.sample = sample, .bound = LZ4_compressBound((int)HG_FRAME_BYTES_MAX)};
    seal.out = malloc((size_t)seal.bound);
    hg_assert(seal.out != NULL);
    double open_ns = hg_perf_median_ns(sample, open_run, &seal);
    double raw_ns = hg_perf_median_ns(sample, decompress_run, &seal);
    hg_perf_stage(sample, "open", "frame", open_ns, sample->raw_bytes, sample->data->frame_count);
    hg_perf_stage_raw(sample, "open", "LZ4_decompress_safe", open_ns, raw_ns, sample->raw_bytes);
    free(seal.out);
}

static int stages_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                       struct hg_perf_report *report)
{
    struct hg_perf_sample sample = {.data = data, .report = report, .quiet = options->json};
    sample.stage_ns = options->seconds * 1e9 / STAGES / 2;
    batches_build(&sample);
    ingest_stage(&sample);
    seal_stage(&sample);
    log_write_stage(&sample);
    hg_perf_stages_packets(&sample, options->mtu_bytes);
    hg_perf_stages_parity(&sample, options->mtu_bytes);
    open_stage(&sample);
    sample_free(&sample);
    return 0;
}

static int lanes_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                      struct hg_perf_report *report)
{
    struct hg_perf_sample sample = {.data = data, .report = report, .quiet = options->json};
    struct seal seal;
    sample.stage_ns = options->seconds * 1e9 / STAGES / 2;
    batches_build(&sample);
    seal_open(&seal, &sample);
    (void)seal_run(&seal);
    for (uint32_t i = 0; i < sample.batch_count; i++)
        sample.stored_bytes += sample.sealed_bytes[i];
    hg_perf_stages_packets(&sample, options->mtu_bytes); /* what a packet's parts cost, to compare with */
    hg_perf_stages_lanes(&sample, options->mtu_bytes);
    seal_close(&seal);
    sample_free(&sample);
    return 0;
}

static bool cpu_take(const struct hg_perf_options *options)
{
    if (hg_perf_pin(options->cpus[0]))
        return true;
    fprintf(stderr, "helio-perf: may not run on CPU %d: name others with --cpus\n", options->cpus[0]);
    return false;
}

int hg_perf_lanes(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    struct hg_perf_options own = *options;
    if (strcmp(own.data, "all") == 0)
        own.data = "random"; /* what a packet holds makes no difference */
    return cpu_take(options) ? hg_perf_each_data(&own, SAMPLE_BYTES_MAX, report, lanes_data) : -EPERM;
}

int hg_perf_stages(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    return cpu_take(options) ? hg_perf_each_data(options, SAMPLE_BYTES_MAX, report, stages_data) : -EPERM;
}
