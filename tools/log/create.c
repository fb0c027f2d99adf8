/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_block.h"
#include "drivers/clock/clock.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"
#include "tools/log/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SEGMENT_BYTES_WANTED (64u << 20)
#define SEGMENTS_WANTED      16u
#define DEPTH                8u

static void uuid_fill(uint8_t uuid[16])
{
    struct hg_clock *clock = hg_clock_tsc();
    uint64_t parts[2] = {clock->random_u64(clock), clock->random_u64(clock)};
    memcpy(uuid, parts, sizeof(parts));
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 9562 version 4 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* Sixteen segments or more of at most 64 MiB, the largest write as large as fits twice in one. */
static bool geometry_choose(const struct create_options *options, struct hg_log_geometry *geometry)
{
    memset(geometry, 0, sizeof(*geometry));
    geometry->cluster = options->cluster;
    uint64_t room =
        options->size_bytes > HG_LOG_SEGMENTS_OFFSET ? options->size_bytes - HG_LOG_SEGMENTS_OFFSET : 0;
    uint64_t segment_bytes = options->segment_bytes;
    if (segment_bytes == 0) {
        uint64_t least = 2ull * hg_log_write_bytes_max(HG_LOG_WRITE_PAYLOAD_BYTES_MAX);
        segment_bytes = hg_min_u64(SEGMENT_BYTES_WANTED, hg_max_u64(least, room / SEGMENTS_WANTED));
        segment_bytes -= segment_bytes % HG_LOG_BLOCK_BYTES;
    }
    geometry->segment_bytes = segment_bytes;
    geometry->segment_count = segment_bytes == 0 ? 0 : (uint32_t)hg_min_u64(room / segment_bytes, 1u << 24);
    uint64_t payload_bytes =
        segment_bytes / 2 < HG_LOG_BLOCK_BYTES ? 0 : segment_bytes / 2 - HG_LOG_BLOCK_BYTES;
    payload_bytes -= payload_bytes % HG_LOG_BLOCK_BYTES;
    geometry->write_payload_bytes_max = (uint32_t)hg_min_u64(payload_bytes, HG_LOG_WRITE_PAYLOAD_BYTES_MAX);
    const char *problem = NULL;
    if (segment_bytes % HG_LOG_BLOCK_BYTES != 0)
        problem = "a segment must be a multiple of 4096 bytes";
    else if (geometry->write_payload_bytes_max < HG_BATCH_BYTES_MAX)
        problem = "its segments could not hold the largest batch: make them 3 MiB or larger";
    else
        problem = hg_log_geometry_problem(geometry);
    if (problem == NULL)
        return true;
    fprintf(stderr, "helio-log: a log of %llu bytes in segments of %llu: %s\n",
            (unsigned long long)options->size_bytes, (unsigned long long)segment_bytes, problem);
    return false;
}

static int format(const char *path, const struct hg_log_geometry *geometry)
{
    char error[512];
    struct hg_disk *disk = hg_disk_uring_open(path, NULL, 0, DEPTH, NULL, error, sizeof(error));
    if (disk == NULL) {
        fprintf(stderr, "helio-log: %s\n", error);
        return -EIO;
    }
    int result = hg_log_format(disk, geometry);
    if (result != 0)
        fprintf(stderr, "helio-log: cannot put a log on %s: %s\n", path, strerror(-result));
    disk->close(disk);
    return result;
}

static void created_show(const struct create_options *options, const struct hg_log_geometry *geometry)
{
    if (!options->is_json) {
        printf("%s %s: %llu MiB, %u segments of %llu KiB, cluster %llu\n",
               options->is_dry_run ? "would create" : "created", options->path,
               (unsigned long long)(hg_log_file_bytes(geometry) >> 20), geometry->segment_count,
               (unsigned long long)(geometry->segment_bytes >> 10), (unsigned long long)geometry->cluster);
        return;
    }
    printf("{\"created\": %s, \"path\": ", options->is_dry_run ? "false" : "true");
    json_string_print(options->path);
    printf(
        ", \"bytes\": %llu, \"segment_bytes\": %llu, \"segment_count\": %u, \"write_payload_bytes_max\": %u, "
        "\"cluster\": %llu, \"log_uuid\": \"",
        (unsigned long long)hg_log_file_bytes(geometry), (unsigned long long)geometry->segment_bytes,
        geometry->segment_count, geometry->write_payload_bytes_max, (unsigned long long)geometry->cluster);
    hex_print(geometry->log_uuid, sizeof(geometry->log_uuid));
    printf("\"}\n");
}

int create_run(const struct create_options *options)
{
    struct hg_log_geometry geometry;
    char error[512];

    if (!geometry_choose(options, &geometry))
        return 2;
    uuid_fill(geometry.log_uuid);
    uuid_fill(geometry.node_uuid);
    if (options->is_dry_run) {
        if (hg_disk_file_check(options->path, hg_log_file_bytes(&geometry), error, sizeof(error)) != 0) {
            fprintf(stderr, "helio-log: %s\n", error);
            return 1;
        }
        created_show(options, &geometry);
        return 0;
    }
    struct progress progress;
    progress_begin(&progress, hg_log_file_bytes(&geometry));
    int result =
        hg_disk_file_create(options->path, progress.bytes, progress_show, &progress, error, sizeof(error));
    if (result != 0) {
        fprintf(stderr, "helio-log: %s\n", error);
        return 1;
    }
    if (format(options->path, &geometry) != 0) {
        unlink(options->path); /* ours, and of no use to anybody */
        return 1;
    }
    created_show(options, &geometry);
    return 0;
}
