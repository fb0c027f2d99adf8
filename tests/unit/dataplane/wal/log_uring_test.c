/* SPDX-License-Identifier: Apache-2.0
 *
 * The log on a real file through io_uring: full speed for a moment, around its ring several times, getting
 * longer meanwhile, then recovered.
 */
#include "dataplane/wal/log.h"
#include "drivers/clock/clock.h"

#include <CUnit/Basic.h>
#include <lz4.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAYLOAD_BYTES_MAX (512u << 10)
#define SEGMENT_BYTES     (2u << 20)
#define SEGMENTS          12u
#define WRITTEN_BYTES     (64u << 20)
#define ARENA_BYTES       (16u << 20)

static char folder[] = "log-uring-test-XXXXXX";
static char path[64];
static char error[512];
static uint8_t *arena;
static uint64_t recovered, recovered_last_lsn;

static void recovered_batch(void *ctx, uint64_t sequence, const struct hg_batch_header *header)
{
    CU_ASSERT(recovered == 0 || header->lsn_first == recovered_last_lsn);
    recovered_last_lsn = header->lsn_end;
    recovered++;
}

static struct hg_log *open_log(struct hg_disk *disk)
{
    static const struct hg_log_ops ops = {.recovered_batch = recovered_batch};
    struct hg_log_config config = {.disk = disk, .arena = arena, .arena_bytes = ARENA_BYTES, .ops = &ops};
    struct hg_log *log = hg_log_open(&config);
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    return log;
}

/* A turn as the worker does it: when there is nothing to do, sleep on the ring's descriptor. */
static void turn(struct hg_log *log, struct hg_disk *disk)
{
    uint64_t deadline_ns;
    struct hg_clock *clock = hg_clock_tsc();
    if (hg_log_turn(log, clock->now_ns(clock), &deadline_ns))
        return;
    struct pollfd wait = {.fd = hg_disk_uring_fd(disk), .events = POLLIN};
    poll(&wait, 1, 1);
}

static struct hg_disk *open_disk(void)
{
    struct hg_disk *disk = hg_disk_uring_open(path, arena, ARENA_BYTES, 64, NULL, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(disk);
    return disk;
}

static void check_recovered(uint64_t lsn_end)
{
    struct hg_disk *disk = open_disk();
    struct hg_log *log = open_log(disk);
    while (hg_log_state(log) == HG_LOG_RECOVERING)
        turn(log, disk);
    CU_ASSERT_EQUAL_FATAL(hg_log_state(log), HG_LOG_READY);
    CU_ASSERT_EQUAL(recovered_last_lsn, lsn_end);
    const uint8_t *payload;
    uint32_t bytes;
    int result;
    while ((result = hg_log_at(log, hg_log_durable_sequence(log), &payload, &bytes)) == 0)
        turn(log, disk);
    CU_ASSERT_EQUAL(result, 1);
    CU_ASSERT_EQUAL(hg_batch_verify(payload, bytes), HG_BATCH_REASON_OK);
    disk->close(disk);
    hg_log_close(log);
}

/* ---- the log gets longer meanwhile ---- */

#define MORE 8u

static struct {
    pthread_t thread;
    struct hg_log_geometry before, after;
    struct hg_log_growth *growth;
    bool is_begun, is_given;
    _Atomic bool is_over;
} longer;

static void *extend_run(void *arg)
{
    char why[256];
    (void)arg;
    int result = hg_disk_file_extend(path, hg_log_file_bytes(&longer.before),
                                     hg_log_file_bytes(&longer.after), NULL, NULL, why, sizeof(why));
    hg_assert(result == 0);
    longer.is_over = true;
    return NULL;
}

/* Once the log was gone round a quarter, a thread makes the file longer while appends go on; then the log. */
static void longer_turn(struct hg_log *log, uint64_t appended_bytes)
{
    if (!longer.is_begun && appended_bytes > SEGMENT_BYTES * SEGMENTS / 4) {
        longer.is_begun = true;
        hg_log_geometry_get(log, &longer.before);
        longer.after = longer.before;
        longer.after.segment_count += MORE;
        longer.growth = hg_log_growth_create(&longer.before, longer.after.segment_count);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&longer.thread, NULL, extend_run, NULL), 0);
    }
    if (longer.is_over && !longer.is_given) {
        longer.is_given = true;
        hg_log_grow(log, longer.growth);
    }
}

static void longer_check(struct hg_log *log, struct hg_disk *disk)
{
    struct hg_log_stats stats;
    while (!longer.is_given)
        longer_turn(log, UINT64_MAX);
    while (hg_log_is_growing(log))
        turn(log, disk);
    pthread_join(longer.thread, NULL);
    hg_log_growth_free(longer.growth);
    hg_log_stats_get(log, &stats);
    CU_ASSERT_EQUAL(stats.segment_count, SEGMENTS + MORE);
}

static void test_full_speed(void)
{
    struct hg_log_geometry geometry = {.cluster = 3,
                                       .log_uuid = {9},
                                       .segment_bytes = SEGMENT_BYTES,
                                       .segment_count = SEGMENTS,
                                       .write_payload_bytes_max = PAYLOAD_BYTES_MAX};
    static uint8_t data[40000];
    uint8_t *raw = malloc(HG_FRAME_BYTES_MAX);
    void *lz4_state = malloc((size_t)LZ4_sizeofState());
    struct hg_clock *clock = hg_clock_tsc();
    struct hg_batch_origin origin = {.cluster = 3, .stream = 1, .codec = HG_CODEC_NONE};
    struct hg_batch_builder builder;
    uint64_t lsn = 1, appended_bytes = 0, begin_ns = clock->now_ns(clock);

    CU_ASSERT_EQUAL_FATAL(
        hg_disk_file_create(path, hg_log_file_bytes(&geometry), NULL, NULL, error, sizeof(error)), 0);
    struct hg_disk *disk = open_disk();
    CU_ASSERT_EQUAL_FATAL(hg_log_format(disk, &geometry), 0);
    struct hg_log *log = open_log(disk);
    while (hg_log_state(log) == HG_LOG_RECOVERING)
        turn(log, disk);
    CU_ASSERT_EQUAL_FATAL(hg_log_state(log), HG_LOG_READY);
    while (appended_bytes < WRITTEN_BYTES && clock->now_ns(clock) - begin_ns < 3 * HG_NS_PER_S) {
        hg_batch_builder_init(&builder, raw, HG_FRAME_BYTES_MAX);
        struct hg_frame frame = {
            .lsn = lsn, .span = 1, .op = HG_OP_INSERT, .data_bytes = sizeof(data), .data = data};
        CU_ASSERT_EQUAL_FATAL(hg_batch_builder_add(&builder, &frame), 0);
        uint32_t most = hg_batch_sealed_bytes_max(&builder, 0);
        uint8_t *out = hg_log_reserve(log, most, NULL);
        if (out != NULL) {
            uint32_t bytes = hg_batch_seal(&builder, &origin, NULL, 0, out, most, lz4_state);
            hg_log_commit(log, bytes);
            appended_bytes += bytes;
            lsn++;
        }
        if (hg_log_wants_close(log))
            hg_log_close_write(log);
        longer_turn(log, appended_bytes);
        hg_log_release(log, hg_log_durable_sequence(log));
        if (out == NULL || lsn % 4 == 0)
            turn(log, disk);
        CU_ASSERT_NOT_EQUAL_FATAL(hg_log_state(log), HG_LOG_FAILED);
    }
    hg_log_close_write(log);
    while (hg_log_durable_sequence(log) + 1 < hg_log_next_sequence(log))
        turn(log, disk);
    uint64_t took_ns = clock->now_ns(clock) - begin_ns;
    longer_check(log, disk);
    struct hg_log_stats stats;
    hg_log_stats_get(log, &stats);
    printf("%llu MiB/s, %llu writes, %llu flushes, %llu us a flush at most ",
           (unsigned long long)(appended_bytes * 1000 / (took_ns / 1000000 + 1) >> 20),
           (unsigned long long)stats.writes, (unsigned long long)stats.flushes,
           (unsigned long long)stats.flush_ns_max / 1000);
    for (int i = 0; i < 20; i++) /* ring copies and superblock go their way */
        turn(log, disk);
    disk->close(disk); /* cancels what is in flight: like a kill */
    hg_log_close(log);

    check_recovered(lsn);
    free(raw);
    free(lz4_state);
}

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/log", folder);
    arena = aligned_alloc(HG_LOG_BLOCK_BYTES, ARENA_BYTES);
    int result = hg_disk_file_create(path, HG_LOG_BLOCK_BYTES, NULL, NULL, error, sizeof(error));
    unlink(path);
    if (result != 0) {
        fprintf(stderr, "skipped: %s\n", error);
        rmdir(folder);
        return 77;
    }
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("log_uring", NULL, NULL);
    CU_add_test(suite, "full speed", test_full_speed);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    unlink(path);
    rmdir(folder);
    free(arena);
    return failures != 0;
}
