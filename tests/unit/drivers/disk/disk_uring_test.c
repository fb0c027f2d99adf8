/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/disk/disk.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK      HG_DISK_BLOCK_BYTES
#define FILE_BYTES (6u << 20)

static char folder[] = "disk-uring-test-XXXXXX";
static char path[64];
static char error[512];
static uint8_t arena[64 * BLOCK] __attribute__((aligned(BLOCK)));
static uint64_t progress_last;

static void progress(void *arg, uint64_t bytes_done)
{
    CU_ASSERT(bytes_done > progress_last && arg == error);
    progress_last = bytes_done;
}

static void test_create(void)
{
    struct stat status;
    CU_ASSERT_EQUAL_FATAL(hg_disk_file_create(path, FILE_BYTES, progress, error, error, sizeof(error)), 0);
    CU_ASSERT_EQUAL(progress_last, FILE_BYTES);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_size, FILE_BYTES);
    CU_ASSERT((uint64_t)status.st_blocks * 512 >= FILE_BYTES);
    CU_ASSERT_EQUAL(hg_disk_file_create(path, FILE_BYTES, NULL, NULL, error, sizeof(error)), -EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, path));
    CU_ASSERT_EQUAL(hg_disk_file_create("no-such-folder/x", BLOCK, NULL, NULL, error, sizeof(error)),
                    -ENOENT);
    CU_ASSERT_EQUAL(hg_disk_file_create("huge", UINT64_C(1) << 60, NULL, NULL, error, sizeof(error)),
                    -ENOSPC);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "MiB"));
}

static uint64_t size_of_file(void)
{
    struct stat status;
    CU_ASSERT_EQUAL_FATAL(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void test_extend(void)
{
    struct rlimit limit, before;
    uint8_t *block = aligned_alloc(BLOCK, BLOCK);
    const uint64_t longer = FILE_BYTES + (1u << 20);
    /* There is no space, or the file must not be so large: it is as it was. */
    CU_ASSERT_EQUAL(
        hg_disk_file_extend(path, FILE_BYTES, UINT64_C(1) << 60, NULL, NULL, error, sizeof(error)), -ENOSPC);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "MiB"));
    CU_ASSERT_EQUAL(hg_disk_file_extend_check(path, UINT64_C(1) << 60, error, sizeof(error)), -ENOSPC);
    CU_ASSERT_EQUAL(hg_disk_file_extend("missing", BLOCK, 2 * BLOCK, NULL, NULL, error, sizeof(error)),
                    -ENOENT);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = FILE_BYTES + BLOCK;
    signal(SIGXFSZ, SIG_IGN);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CU_ASSERT_EQUAL(hg_disk_file_extend(path, FILE_BYTES, longer, NULL, NULL, error, sizeof(error)), -EFBIG);
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_FSIZE, &before), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "it is as it was"));
    CU_ASSERT_EQUAL(size_of_file(), FILE_BYTES);
    CU_ASSERT_EQUAL(hg_disk_file_extend_check(path, longer, error, sizeof(error)), 0);
    CU_ASSERT_EQUAL(size_of_file(), FILE_BYTES);
    /* Longer, from behind what is used: what an earlier attempt left there is zeros again, the rest stays. */
    int fd = open(path, O_RDWR | O_DIRECT);
    memset(block, 7, BLOCK);
    progress_last = 0;
    CU_ASSERT_EQUAL(pwrite(fd, block, BLOCK, 0), BLOCK);
    CU_ASSERT_EQUAL(pwrite(fd, block, BLOCK, FILE_BYTES - BLOCK), BLOCK);
    CU_ASSERT_EQUAL(
        hg_disk_file_extend(path, FILE_BYTES - BLOCK, longer, progress, error, error, sizeof(error)), 0);
    CU_ASSERT_EQUAL(progress_last, longer - (FILE_BYTES - BLOCK));
    CU_ASSERT_EQUAL(size_of_file(), longer);
    CU_ASSERT_EQUAL(pread(fd, block, BLOCK, 0), BLOCK);
    CU_ASSERT_EQUAL(block[0], 7);
    CU_ASSERT_EQUAL(pread(fd, block, BLOCK, FILE_BYTES - BLOCK), BLOCK);
    CU_ASSERT_EQUAL(block[0], 0);
    CU_ASSERT_EQUAL(ftruncate(fd, FILE_BYTES), 0);
    close(fd);
    free(block);
}

static void test_open_errors(void)
{
    CU_ASSERT_PTR_NULL(hg_disk_uring_open("missing", NULL, 0, 8, NULL, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "missing"));
    CU_ASSERT_PTR_NULL(hg_disk_uring_open("/dev/null", NULL, 0, 8, NULL, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "/dev/null"));
}

/* Waits on the ring's descriptor as a sleeping worker does. */
static struct hg_disk_completion one(struct hg_disk *disk)
{
    struct hg_disk_completion completion = {.result = -ETIMEDOUT};
    for (int i = 0; i < 1000; i++) {
        if (disk->poll(disk, &completion, 1) == 1)
            return completion;
        struct pollfd wait = {.fd = hg_disk_uring_fd(disk), .events = POLLIN};
        poll(&wait, 1, 10);
    }
    return completion;
}

/* Who sleeps on the descriptor is woken by what completes, not by a deadline, and sleeps on when all is
 * reaped. */
static void test_sleeper(void)
{
    struct hg_disk *disk = hg_disk_uring_open(path, NULL, 0, 8, NULL, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(disk);
    struct hg_disk_completion completion;
    struct pollfd wait = {.fd = hg_disk_uring_fd(disk), .events = POLLIN};
    uint32_t slept = 0;
    for (uint32_t i = 0; i < 100; i++) {
        CU_ASSERT_TRUE_FATAL(i % 2 == 0 ? disk->write(disk, i, arena, BLOCK, 0) : disk->flush(disk, i));
        while (disk->poll(disk, &completion, 1) == 0) {
            CU_ASSERT_EQUAL_FATAL(poll(&wait, 1, 5000), 1);
            slept++;
        }
        CU_ASSERT(completion.tag == i && completion.result == (i % 2 == 0 ? BLOCK : 0));
        CU_ASSERT_EQUAL(poll(&wait, 1, 0), 0);
    }
    CU_ASSERT(slept > 0);
    disk->close(disk);
}

static void round_trip(void *registered_arena, uint64_t registered_bytes, enum hg_disk_sync sync)
{
    bool registered = false;
    struct hg_disk *disk =
        hg_disk_uring_open(path, registered_arena, registered_bytes, 8, &registered, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(disk);
    CU_ASSERT(registered_arena != NULL || !registered);
    CU_ASSERT_EQUAL(disk->size_bytes, FILE_BYTES);
    hg_disk_uring_sync_set(disk, path, sync);
    CU_ASSERT_EQUAL(disk->is_dsync, sync == HG_DISK_SYNC_DSYNC);
    for (uint32_t i = 0; i < 8; i++) {
        memset(arena + i * BLOCK, (int)i + 1, BLOCK);
        CU_ASSERT_TRUE(disk->write(disk, 100 + i, arena + i * BLOCK, BLOCK, (uint64_t)i * 2 * BLOCK));
    }
    CU_ASSERT_FALSE(disk->write(disk, 1, arena, BLOCK, 0)); /* depth */
    uint32_t seen = 0;
    for (int i = 0; i < 8; i++) {
        struct hg_disk_completion completion = one(disk);
        CU_ASSERT(completion.result == BLOCK && completion.op == HG_DISK_WRITE);
        seen |= 1u << (completion.tag - 100);
    }
    CU_ASSERT_EQUAL(seen, 0xff);
    CU_ASSERT_TRUE(disk->flush(disk, 7));
    struct hg_disk_completion completion = one(disk);
    CU_ASSERT(completion.result == 0 && completion.op == HG_DISK_FLUSH && completion.tag == 7);
    CU_ASSERT_TRUE(disk->read(disk, 9, arena + 32 * BLOCK, 16 * BLOCK, 0));
    completion = one(disk);
    CU_ASSERT(completion.result == 16 * BLOCK && completion.op == HG_DISK_READ && completion.tag == 9);
    for (uint32_t i = 0; i < 8; i++)
        CU_ASSERT_EQUAL(memcmp(arena + (32 + 2 * i) * BLOCK, arena + i * BLOCK, BLOCK), 0);
    CU_ASSERT_EQUAL(disk->poll(disk, &completion, 1), 0);
    disk->close(disk);
}

static void test_round_trip(void)
{
    round_trip(NULL, 0, HG_DISK_SYNC_GROUP);
    round_trip(arena, sizeof(arena), HG_DISK_SYNC_GROUP);
    round_trip(arena, sizeof(arena), HG_DISK_SYNC_DSYNC);
}

/* A flush that carries many writes where one write can't be made durable alone; no flush where nothing needs
 * one, and none where nobody says how the device works. */
static void test_sync_choice(void)
{
    static const struct {
        struct hg_disk_cache cache;
        enum hg_disk_sync sync;
        const char *why;
    } cases[] = {
        {{.is_known = true, .is_write_back = true}, HG_DISK_SYNC_GROUP, "no FUA"},
        {{.is_known = true, .is_write_back = true, .has_fua = true}, HG_DISK_SYNC_DSYNC, "and FUA"},
        {{.is_known = true}, HG_DISK_SYNC_DSYNC, "no volatile cache"},
        {{.is_known = false}, HG_DISK_SYNC_GROUP, "no device says"},
        {{.is_known = false, .has_fua = true}, HG_DISK_SYNC_GROUP, "no device says"},
    };
    struct hg_disk_cache cache;
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        CU_ASSERT_EQUAL(hg_disk_sync_choose(&cases[i].cache), cases[i].sync);
        hg_disk_cache_text(&cases[i].cache, error, sizeof(error));
        CU_ASSERT_EQUAL(strncmp(error, hg_disk_sync_name(cases[i].sync), 5), 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(error, cases[i].why));
    }
    hg_disk_cache_get("/proc/self/stat", &cache); /* no block device is below */
    CU_ASSERT_FALSE(cache.is_known);
    hg_disk_cache_get("missing", &cache);
    CU_ASSERT_FALSE(cache.is_known);
    struct hg_disk *disk = hg_disk_uring_open(path, NULL, 0, 8, NULL, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(disk);
    hg_disk_cache_get(path, &cache);
    hg_disk_uring_sync_set(disk, path, HG_DISK_SYNC_AUTO);
    CU_ASSERT_EQUAL(disk->is_dsync, hg_disk_sync_choose(&cache) == HG_DISK_SYNC_DSYNC);
    disk->close(disk);
}

int main(void)
{
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/log", folder);
    int result = hg_disk_file_create(path, BLOCK, NULL, NULL, error, sizeof(error));
    unlink(path);
    if (result == -EINVAL) {
        fprintf(stderr, "skipped: %s\n", error);
        rmdir(folder);
        return 77;
    }
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("disk_uring", NULL, NULL);
    CU_add_test(suite, "create", test_create);
    CU_add_test(suite, "extend", test_extend);
    CU_add_test(suite, "open errors", test_open_errors);
    CU_add_test(suite, "sleeper", test_sleeper);
    CU_add_test(suite, "round trip", test_round_trip);
    CU_add_test(suite, "sync choice", test_sync_choice);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    unlink(path);
    rmdir(folder);
    return failures != 0;
}
