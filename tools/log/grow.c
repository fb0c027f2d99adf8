/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log grow: makes a log that nobody has open longer. The log is read back as a start does it, so one
 * that would not start does not grow.
 */
#include "dataplane/wal/log_block.h"
#include "drivers/clock/clock.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"
#include "tools/log/progress.h"

#include <stdio.h>
#include <stdlib.h>

#define DEPTH     32u
#define WHY_BYTES 512u

struct grow {
    const struct grow_options *options;
    struct hg_log_geometry geometry; /* before */
    uint32_t segment_count;          /* after */
    uint64_t bytes;
    char why[WHY_BYTES];
};

static int refuse(const struct grow *grow)
{
    fprintf(stderr, "helio-log: %s: nothing was changed: %s\n", grow->options->path, grow->why);
    return LOG_EXIT_DAMAGED;
}

/* What it is now, and whether it can become what was asked for. */
static bool is_possible(struct grow *grow)
{
    struct hg_log_geometry longer = grow->geometry;
    if (hg_log_grow_problem(&grow->geometry, grow->options->size_bytes, &grow->segment_count, grow->why,
                            sizeof(grow->why)) != NULL)
        return false;
    longer.segment_count = grow->segment_count;
    grow->bytes = hg_log_file_bytes(&longer);
    return hg_disk_file_extend_check(grow->options->path, grow->bytes, grow->why, sizeof(grow->why)) == 0;
}

static void grown_show(const struct grow *grow)
{
    const struct grow_options *options = grow->options;
    if (!options->is_json) {
        printf("%s %s: from %u to %u segments of %llu KiB, %llu MiB\n",
               options->is_dry_run ? "would grow" : "grew", options->path, grow->geometry.segment_count,
               grow->segment_count, (unsigned long long)(grow->geometry.segment_bytes >> 10),
               (unsigned long long)(grow->bytes >> 20));
        return;
    }
    printf("{\"path\": ");
    json_string_print(options->path);
    printf(", \"grown\": %s, \"segment_count_before\": %u, \"segment_count\": %u, \"segment_bytes\": %llu, "
           "\"bytes\": "
           "%llu}\n",
           options->is_dry_run ? "false" : "true", grow->geometry.segment_count, grow->segment_count,
           (unsigned long long)grow->geometry.segment_bytes, (unsigned long long)grow->bytes);
}

/* Only reads; the log may be open elsewhere. */
static int check(struct grow *grow)
{
    struct image image;
    uint32_t bytes = HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES;
    if (!image_open(&image, grow->options->path))
        return LOG_EXIT_UNREADABLE;
    struct hg_log_superblock *copies = aligned_alloc(HG_LOG_BLOCK_BYTES, bytes);
    hg_assert(copies != NULL);
    int rc = image_read(&image, copies, bytes, 0);
    int chosen = rc == 0 ? hg_log_superblock_choose(copies) : -1;
    if (chosen >= 0)
        hg_log_geometry_of(&copies[chosen], &grow->geometry);
    free(copies);
    image_close(&image);
    snprintf(grow->why, sizeof(grow->why), "no two copies of its superblock agree: see helio-log verify");
    return chosen < 0 || !is_possible(grow) ? refuse(grow) : LOG_EXIT_FINE;
}

static void turn(struct hg_log *log)
{
    struct hg_clock *clock = hg_clock_tsc();
    uint64_t deadline_ns;
    (void)hg_log_turn(log, clock->now_ns(clock), &deadline_ns);
}

/* The file first; a log that reads its longer file is what comes of a crash in between. */
static int grow_open(struct grow *grow, struct hg_log *log)
{
    struct progress progress;
    hg_log_geometry_get(log, &grow->geometry);
    if (!is_possible(grow))
        return refuse(grow);
    struct hg_log_growth *growth = hg_log_growth_create(&grow->geometry, grow->segment_count);
    uint64_t used_bytes = hg_log_file_bytes(&grow->geometry);
    progress_begin(&progress, grow->bytes - used_bytes);
    snprintf(grow->why, sizeof(grow->why), "there is no memory for it");
    if (growth == NULL || hg_disk_file_extend(grow->options->path, used_bytes, grow->bytes, progress_show,
                                              &progress, grow->why, sizeof(grow->why)) != 0) {
        hg_log_growth_free(growth);
        return refuse(grow);
    }
    hg_log_grow(log, growth);
    while (hg_log_is_growing(log) && hg_log_state(log) == HG_LOG_READY)
        turn(log);
    bool is_grown = !hg_log_is_growing(log);
    if (is_grown)
        grown_show(grow);
    else
        fprintf(stderr, "helio-log: %s: %s; it has its former size, or the new one: helio-log stat says\n",
                grow->options->path, hg_log_message(log));
    if (is_grown)
        hg_log_growth_free(growth); /* else the log still has it */
    return is_grown ? LOG_EXIT_FINE : LOG_EXIT_UNREADABLE;
}

static int grow_log(struct grow *grow, struct hg_disk *disk, void *arena, uint64_t arena_bytes)
{
    static const struct hg_log_ops ops = {0};
    struct hg_log_config config = {.disk = disk, .arena = arena, .arena_bytes = arena_bytes, .ops = &ops};
    struct hg_log *log = hg_log_open(&config);
    hg_assert(log != NULL);
    while (hg_log_state(log) == HG_LOG_RECOVERING)
        turn(log);
    snprintf(grow->why, sizeof(grow->why), "it would not start: %.400s", hg_log_message(log));
    int rc = hg_log_state(log) == HG_LOG_READY ? grow_open(grow, log) : refuse(grow);
    hg_log_close(log);
    return rc;
}

int grow_run(const struct grow_options *options)
{
    struct grow grow = {.options = options};
    uint64_t arena_bytes =
        hg_align_up(hg_log_arena_bytes_min(HG_LOG_WRITE_PAYLOAD_BYTES_MAX), HG_LOG_BLOCK_BYTES);
    int rc = check(&grow);
    if (rc != LOG_EXIT_FINE)
        return rc;
    if (options->is_dry_run) {
        grown_show(&grow);
        return LOG_EXIT_FINE;
    }
    struct hg_disk *disk =
        hg_disk_uring_open(options->path, NULL, 0, DEPTH, NULL, grow.why, sizeof(grow.why));
    if (disk == NULL) {
        fprintf(stderr, "helio-log: %s; a log in use grows with helioctl log grow\n", grow.why);
        return LOG_EXIT_UNREADABLE;
    }
    void *arena = aligned_alloc(HG_LOG_BLOCK_BYTES, arena_bytes);
    hg_assert(arena != NULL);
    rc = grow_log(&grow, disk, arena, arena_bytes);
    disk->close(disk);
    free(arena);
    return rc;
}
