/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/data.h"
#include "dataplane/wal/batch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SEED                     UINT64_C(0x68656c696f)
#define GENERATED_BYTES          (64u << 20)
#define PG_MESSAGE_BYTES         131072u
#define PG_PAGE_BYTES            8192u
#define HALF_FRAME_BYTES         200u
#define HALF_PART_BYTES          50u /* of it: */
#define HALF_NOVEL_BYTES         22u /* the rest is a word of the dictionary */
#define HALF_WORD_BYTES          (HALF_PART_BYTES - HALF_NOVEL_BYTES)
#define HALF_WORDS               64u
#define RANDOM_FRAME_BYTES       8192u
#define FRAME_OVERHEAD_BYTES_MAX (sizeof(struct hg_frame_header) + HG_FRAME_ALIGN_BYTES)
#define HLC_FIRST                (UINT64_C(1) << 60)

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void random_fill(uint64_t *state, uint8_t *at, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t value = random_next(state);
        uint64_t n = hg_min_u64(bytes, sizeof(value));
        memcpy(at, &value, n);
        at += n;
        bytes -= n;
    }
}

static void frames_cut(struct hg_perf_data *data, uint32_t frame_bytes)
{
    data->frame_count = (data->bytes_count + frame_bytes - 1) / frame_bytes;
    data->frames = calloc(data->frame_count, sizeof(data->frames[0]));
    hg_assert(data->frames != NULL);
    for (uint64_t i = 0; i < data->frame_count; i++) {
        data->frames[i].offset = i * frame_bytes;
        data->frames[i].bytes = (uint32_t)hg_min_u64(frame_bytes, data->bytes_count - i * frame_bytes);
    }
}

static void memory_take(struct hg_perf_data *data, uint64_t bytes)
{
    data->bytes = malloc(bytes);
    hg_assert(data->bytes != NULL);
    data->bytes_count = bytes;
}

static void half_make(struct hg_perf_data *data, uint64_t bytes)
{
    uint8_t words[HALF_WORDS][HALF_WORD_BYTES];
    uint64_t state = SEED;
    random_fill(&state, words[0], sizeof(words));
    memory_take(data, bytes - bytes % HALF_FRAME_BYTES);
    for (uint64_t at = 0; at < data->bytes_count; at += HALF_PART_BYTES) {
        random_fill(&state, data->bytes + at, HALF_NOVEL_BYTES);
        memcpy(data->bytes + at + HALF_NOVEL_BYTES, words[random_next(&state) % HALF_WORDS], HALF_WORD_BYTES);
    }
    frames_cut(data, HALF_FRAME_BYTES);
}

static void random_make(struct hg_perf_data *data, uint64_t bytes)
{
    uint64_t state = SEED;
    memory_take(data, bytes - bytes % RANDOM_FRAME_BYTES);
    random_fill(&state, data->bytes, data->bytes_count);
    frames_cut(data, RANDOM_FRAME_BYTES);
}

static void wal_path_default(char *path, size_t path_bytes)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0')
        snprintf(path, path_bytes, "%s/heliograph/pgbench-wal/scale50-60s/wal", cache);
    else
        snprintf(path, path_bytes, "%s/.cache/heliograph/pgbench-wal/scale50-60s/wal",
                 home != NULL ? home : "");
}

/* Every stride-th message, so that what is taken is spread over the whole file. */
static int wal_read(struct hg_perf_data *data, int fd, uint64_t file_bytes, uint64_t bytes_max)
{
    uint64_t messages = file_bytes / PG_MESSAGE_BYTES;
    uint64_t stride = file_bytes <= bytes_max ? 1 : (file_bytes + bytes_max - 1) / bytes_max;
    uint64_t take =
        stride == 1 ? file_bytes - file_bytes % PG_PAGE_BYTES : messages / stride * PG_MESSAGE_BYTES;
    memory_take(data, take);
    for (uint64_t done = 0; done < take;) {
        uint64_t from = done / PG_MESSAGE_BYTES * stride * PG_MESSAGE_BYTES;
        uint64_t n = hg_min_u64(PG_MESSAGE_BYTES, take - done);
        if (pread(fd, data->bytes + done, n, (off_t)from) != (ssize_t)n)
            return -EIO;
        done += n;
    }
    frames_cut(data, PG_MESSAGE_BYTES);
    return 0;
}

static int wal_load(struct hg_perf_data *data, const char *wal, uint64_t bytes_max, char *error,
                    size_t error_bytes)
{
    char path[PATH_MAX];
    struct stat status;
    if (wal == NULL)
        wal_path_default(path, sizeof(path));
    else
        snprintf(path, sizeof(path), "%s", wal);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || status.st_size < PG_MESSAGE_BYTES) {
        int code = fd < 0 ? -errno : -ENODATA;
        snprintf(error, error_bytes, "no standard WAL at %s: %s; make it with perf/wal", path,
                 strerror(-code));
        if (fd >= 0)
            close(fd);
        return code;
    }
    int rc = wal_read(data, fd, (uint64_t)status.st_size, bytes_max);
    close(fd);
    if (rc != 0)
        snprintf(error, error_bytes, "can't read %s: %s", path, strerror(-rc));
    return rc;
}

int hg_perf_data_load(struct hg_perf_data *data, const char *name, const char *wal, uint64_t bytes_max,
                      char *error, size_t error_bytes)
{
    uint64_t bytes = hg_min_u64(bytes_max, GENERATED_BYTES);
    memset(data, 0, sizeof(*data));
    data->name = name;
    data->kind = HG_STREAM_KEY_VALUE;
    if (strcmp(name, "half") == 0) {
        half_make(data, bytes);
    } else if (strcmp(name, "random") == 0) {
        random_make(data, bytes);
    } else if (strcmp(name, "pgbench") == 0) {
        data->kind = HG_STREAM_POSTGRES_PHYSICAL;
        return wal_load(data, wal, bytes_max, error, error_bytes);
    } else {
        snprintf(error, error_bytes, "no data set is called '%s': pgbench, half, random or all", name);
        return -EINVAL;
    }
    return 0;
}

void hg_perf_data_free(struct hg_perf_data *data)
{
    free(data->bytes);
    free(data->frames);
    memset(data, 0, sizeof(*data));
}

uint64_t hg_perf_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void batch_take(struct hg_perf_data *framed, const struct hg_batch_builder *builder)
{
    struct hg_perf_frame *frame = &framed->frames[framed->frame_count++];
    frame->offset = framed->bytes_count;
    frame->bytes = builder->raw_bytes;
    framed->bytes_count += builder->raw_bytes;
}

void hg_perf_data_framed(const struct hg_perf_data *data, struct hg_perf_data *framed)
{
    struct hg_batch_builder builder;
    uint64_t lsn = 1;
    memset(framed, 0, sizeof(*framed));
    framed->name = data->name;
    framed->bytes =
        malloc(data->bytes_count + data->frame_count * FRAME_OVERHEAD_BYTES_MAX + HG_FRAME_BYTES_MAX);
    framed->frames = calloc(data->frame_count, sizeof(framed->frames[0]));
    hg_assert(framed->bytes != NULL && framed->frames != NULL);
    hg_batch_builder_init(&builder, framed->bytes, HG_FRAME_BYTES_MAX);
    for (uint64_t i = 0; i < data->frame_count; i++) {
        struct hg_frame frame = {.lsn = lsn,
                                 .span =
                                     data->kind == HG_STREAM_POSTGRES_PHYSICAL ? data->frames[i].bytes : 1,
                                 .hlc = HLC_FIRST + i,
                                 .op = HG_OP_INSERT,
                                 .data_bytes = data->frames[i].bytes,
                                 .data = data->bytes + data->frames[i].offset};
        uint64_t bytes_next = builder.raw_bytes + frame.data_bytes + FRAME_OVERHEAD_BYTES_MAX;
        if (builder.frame_count > 0 && bytes_next > HG_BATCH_RAW_BYTES_AIM) {
            batch_take(framed, &builder);
            hg_batch_builder_init(&builder, framed->bytes + framed->bytes_count, HG_FRAME_BYTES_MAX);
        }
        int rc = hg_batch_builder_add(&builder, &frame);
        hg_assert(rc == 0);
        lsn += frame.span;
    }
    batch_take(framed, &builder);
}

double hg_perf_lz4_bytes_per_s(const struct hg_perf_data *data, double seconds, double *ratio)
{
    int bound = LZ4_compressBound((int)(HG_BATCH_RAW_BYTES_AIM + PG_MESSAGE_BYTES));
    char *out = malloc((size_t)bound);
    uint64_t raw_bytes = 0, stored_bytes = 0, i = 0;
    hg_assert(out != NULL);
    uint64_t begin_ns = hg_perf_cpu_ns(), end_ns = begin_ns;
    uint64_t limit_ns = (uint64_t)(seconds * 1e9);
    while (end_ns - begin_ns < limit_ns) {
        const uint8_t *from = data->bytes + data->frames[i].offset;
        uint32_t bytes = 0;
        do
            bytes += data->frames[i++].bytes;
        while (i < data->frame_count && bytes + data->frames[i].bytes <= HG_BATCH_RAW_BYTES_AIM);
        int n = LZ4_compress_default((const char *)from, out, (int)bytes, bound);
        hg_assert(n > 0);
        raw_bytes += bytes;
        stored_bytes += (uint64_t)n;
        i = i == data->frame_count ? 0 : i;
        end_ns = hg_perf_cpu_ns();
    }
    free(out);
    *ratio = (double)raw_bytes / (double)stored_bytes;
    return (double)raw_bytes * 1e9 / (double)(end_ns - begin_ns);
}
