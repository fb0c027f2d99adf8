/* SPDX-License-Identifier: Apache-2.0
 *
 * The production disk: io_uring, O_DIRECT, registered file, registered buffers where the memlock limit
 * allows.
 */
#include "drivers/disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX          4096u
#define LOCK_TRIES         100u
#define LOCK_PAUSE_NS      (10 * HG_NS_PER_MS)
#define BUFFER_BYTES_MAX   (1ull << 30) /* the kernel's limit of one registered buffer */
#define BUFFERS_MAX        64u
#define USER_DATA_OP_SHIFT 62

struct disk_uring {
    struct hg_disk disk;
    struct io_uring ring;
    int fd;
    int eventfd;   /* signalled by completions while is_armed; -1: the kernel can't */
    bool is_armed; /* the last poll found nothing, so that the caller may go to sleep */
    bool is_registered;
    uint32_t in_flight;
    uint32_t unsubmitted;
    const uint8_t *arena;
    uint64_t arena_bytes;
};

static struct disk_uring *uring_of(struct hg_disk *disk)
{
    return (struct disk_uring *)disk;
}

/* Index of the registered buffer that holds all of it, or -1. */
static int buffer_index(const struct disk_uring *uring, const void *data, uint32_t bytes)
{
    uintptr_t at = (uintptr_t)data, arena = (uintptr_t)uring->arena;
    if (!uring->is_registered || at < arena || at - arena > uring->arena_bytes ||
        bytes > uring->arena_bytes - (at - arena))
        return -1;
    uint64_t first = (at - arena) / BUFFER_BYTES_MAX, last = (at - arena + bytes - 1) / BUFFER_BYTES_MAX;
    return first == last ? (int)first : -1;
}

/* The caller's tag keeps its low 62 bits; the two above say what completed. */
static void sqe_finish(struct disk_uring *uring, struct io_uring_sqe *sqe, enum hg_disk_op op, uint64_t tag)
{
    hg_assert(tag >> USER_DATA_OP_SHIFT == 0);
    sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(sqe, tag | (uint64_t)op << USER_DATA_OP_SHIFT);
    uring->in_flight++;
    uring->unsubmitted++;
}

static struct io_uring_sqe *sqe_get(struct disk_uring *uring)
{
    return uring->in_flight == uring->disk.depth ? NULL : io_uring_get_sqe(&uring->ring);
}

static void range_check(const struct disk_uring *uring, const void *data, uint32_t bytes, uint64_t offset)
{
    hg_assert((uintptr_t)data % HG_DISK_BLOCK_BYTES == 0);
    hg_assert(bytes > 0 && bytes % HG_DISK_BLOCK_BYTES == 0 && offset % HG_DISK_BLOCK_BYTES == 0);
    hg_assert(offset <= uring->disk.size_bytes && bytes <= uring->disk.size_bytes - offset);
}

/* The buffer's index is how the kernel skips pinning its pages. */
static bool transfer_submit(struct disk_uring *uring, uint32_t op, uint64_t tag, const void *data,
                            uint32_t bytes, uint64_t offset)
{
    range_check(uring, data, bytes, offset);
    struct io_uring_sqe *sqe = sqe_get(uring);
    if (sqe == NULL)
        return false;
    int index = buffer_index(uring, data, bytes);
    if (op == HG_DISK_WRITE)
        io_uring_prep_rw(index >= 0 ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE, sqe, 0, data, bytes, offset);
    else
        io_uring_prep_rw(index >= 0 ? IORING_OP_READ_FIXED : IORING_OP_READ, sqe, 0, data, bytes, offset);
    if (index >= 0)
        sqe->buf_index = (uint16_t)index;
    if (op == HG_DISK_WRITE && uring->disk.is_dsync)
        sqe->rw_flags = RWF_DSYNC;
    sqe_finish(uring, sqe, op, tag);
    return true;
}

static bool uring_write(struct hg_disk *disk, uint64_t tag, const void *data, uint32_t bytes, uint64_t offset)
{
    return transfer_submit(uring_of(disk), HG_DISK_WRITE, tag, data, bytes, offset);
}

static bool uring_read(struct hg_disk *disk, uint64_t tag, void *data, uint32_t bytes, uint64_t offset)
{
    return transfer_submit(uring_of(disk), HG_DISK_READ, tag, data, bytes, offset);
}

static bool uring_flush(struct hg_disk *disk, uint64_t tag)
{
    struct disk_uring *uring = uring_of(disk);
    struct io_uring_sqe *sqe = sqe_get(uring);
    if (sqe == NULL)
        return false;
    io_uring_prep_fsync(sqe, 0, IORING_FSYNC_DATASYNC);
    sqe_finish(uring, sqe, HG_DISK_FLUSH, tag);
    return true;
}

static void submit(struct disk_uring *uring)
{
    if (uring->unsubmitted == 0)
        return;
    /* A busy kernel (-EAGAIN, -EBUSY, -EINTR) takes the rest at the next poll. */
    int submitted = io_uring_submit_and_get_events(&uring->ring);
    hg_assert(submitted >= 0 || submitted == -EAGAIN || submitted == -EBUSY || submitted == -EINTR);
    uring->unsubmitted -= submitted > 0 ? (uint32_t)submitted : 0;
}

/* Peeking enters the kernel only when it says that work waits (TASKRUN_FLAG). */
static uint32_t reap(struct disk_uring *uring, struct hg_disk_completion *completions,
                     uint32_t completions_max)
{
    struct io_uring_cqe *cqe;
    uint32_t count = 0;
    while (count < completions_max && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        uint64_t data = io_uring_cqe_get_data64(cqe);
        completions[count].tag = data & ((UINT64_C(1) << USER_DATA_OP_SHIFT) - 1);
        completions[count].op = (uint32_t)(data >> USER_DATA_OP_SHIFT);
        completions[count].result = cqe->res;
        io_uring_cqe_seen(&uring->ring, cqe);
        uring->in_flight--;
        count++;
    }
    return count;
}

/* Completions that wait for this thread do not wake a poll() of the ring's own descriptor, and a sleeper
 * would find them when its time is up only. An eventfd is signalled, but must be read again: so it is armed,
 * a store to shared memory, where nothing was found, and read where something came after that. */
static void arm(struct disk_uring *uring, bool is_armed)
{
    if (uring->eventfd < 0 || uring->is_armed == is_armed)
        return;
    uring->is_armed = is_armed;
    io_uring_cq_eventfd_toggle(&uring->ring, is_armed);
    atomic_thread_fence(memory_order_seq_cst); /* before the look at what may have come meanwhile */
}

static uint32_t uring_poll(struct hg_disk *disk, struct hg_disk_completion *completions,
                           uint32_t completions_max)
{
    struct disk_uring *uring = uring_of(disk);
    eventfd_t drained;
    if (uring->in_flight == 0)
        return 0;
    bool was_armed = uring->is_armed;
    submit(uring);
    uint32_t count = reap(uring, completions, completions_max);
    if (count == 0 && !was_armed) {
        was_armed = true;
        arm(uring, true);
        count = reap(uring, completions, completions_max);
    }
    if (count > 0) {
        arm(uring, false);
        if (was_armed && uring->eventfd >= 0)
            (void)eventfd_read(uring->eventfd, &drained);
    }
    return count;
}

static void uring_close(struct hg_disk *disk)
{
    struct disk_uring *uring = uring_of(disk);
    io_uring_queue_exit(&uring->ring);
    if (uring->eventfd >= 0)
        close(uring->eventfd);
    close(uring->fd);
    free(uring);
}

void hg_disk_uring_sync_set(struct hg_disk *disk, const char *path, enum hg_disk_sync sync)
{
    struct hg_disk_cache cache;
    hg_assert(uring_of(disk)->in_flight == 0);
    if (sync == HG_DISK_SYNC_AUTO) {
        hg_disk_cache_get(path, &cache);
        sync = hg_disk_sync_choose(&cache);
    }
    disk->is_dsync = sync == HG_DISK_SYNC_DSYNC;
}

int hg_disk_uring_fd(struct hg_disk *disk)
{
    const struct disk_uring *uring = uring_of(disk);
    return uring->eventfd >= 0 ? uring->eventfd : uring->ring.ring_fd;
}

void hg_disk_uring_cpus_set(struct hg_disk *disk, const cpu_set_t *cpus)
{
    (void)io_uring_register_iowq_aff(&uring_of(disk)->ring, sizeof(*cpus), cpus);
}

/* Completions only when this thread asks for them where the kernel can do that (6.1), else as it always did.
 */
static int ring_init(struct io_uring *ring, uint32_t depth)
{
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
            IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int result = -EINVAL;
    for (size_t i = 0; i < HG_COUNT(flags) && result == -EINVAL; i++)
        result = io_uring_queue_init(depth, ring, flags[i]);
    return result;
}

/* -1: poll() of the ring itself has to do. */
static int eventfd_register(struct io_uring *ring)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (io_uring_register_eventfd(ring, fd) == 0 && io_uring_cq_eventfd_toggle(ring, false) == 0)
        return fd;
    (void)io_uring_unregister_eventfd(ring);
    close(fd);
    return -1;
}

static bool buffers_register(struct disk_uring *uring, void *arena, uint64_t arena_bytes)
{
    struct iovec vectors[BUFFERS_MAX];
    unsigned count = 0;
    if (arena == NULL || arena_bytes == 0 || arena_bytes > BUFFERS_MAX * BUFFER_BYTES_MAX)
        return false;
    for (uint64_t at = 0; at < arena_bytes; at += BUFFER_BYTES_MAX, count++) {
        vectors[count].iov_base = (uint8_t *)arena + at;
        vectors[count].iov_len = hg_min_u64(BUFFER_BYTES_MAX, arena_bytes - at);
    }
    if (io_uring_register_buffers(&uring->ring, vectors, count) != 0)
        return false;
    uring->arena = arena;
    uring->arena_bytes = arena_bytes;
    return true;
}

static int size_get(int fd, uint64_t *bytes)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    *bytes = (uint64_t)status.st_size;
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, bytes) != 0)
        return -errno;
    if (!S_ISBLK(status.st_mode) && !S_ISREG(status.st_mode))
        return -ENOTBLK;
    *bytes -= *bytes % HG_DISK_BLOCK_BYTES;
    return *bytes == 0 ? -ENODATA : 0;
}

/* One process a log: two writers would destroy it. The lock also outlives a killed process for as long as the
 * kernel has writes of its under way, so a short wait keeps recovery from reading what still changes. */
static int file_lock(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};
    for (uint32_t i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK)
            return -errno;
        nanosleep(&pause, NULL);
    }
    return -EBUSY;
}

static int file_open(const char *path, uint64_t *bytes, char *error, size_t error_bytes)
{
    int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        const char *remedy = errno == EINVAL
                                 ? "; its file system has no O_DIRECT (tmpfs?): put the log on another one"
                             : errno == ENOENT ? "; create the log first (helio-log create)"
                                               : "";
        snprintf(error, error_bytes, "cannot open the log %s: %s%s", path, strerror(errno), remedy);
        return -1;
    }
    int result = size_get(fd, bytes);
    if (result == 0)
        result = file_lock(fd);
    if (result == 0)
        return fd;
    snprintf(error, error_bytes, "cannot use %s as a log: %s", path,
             result == -ENOTBLK   ? "it is neither a file nor a block device"
             : result == -ENODATA ? "it is empty; create it with helio-log create"
             : result == -EBUSY   ? "another process uses it; a log has one dataplane"
                                  : strerror(-result));
    close(fd);
    return -1;
}

struct hg_disk *hg_disk_uring_open(const char *path, void *arena, uint64_t arena_bytes, uint32_t depth,
                                   bool *registered, char *error, size_t error_bytes)
{
    struct disk_uring *uring = calloc(1, sizeof(*uring));
    hg_assert(depth > 0 && depth <= DEPTH_MAX);
    if (uring == NULL) {
        snprintf(error, error_bytes, "no memory to open the log %s", path);
        return NULL;
    }
    uring->fd = file_open(path, &uring->disk.size_bytes, error, error_bytes);
    if (uring->fd < 0) {
        free(uring);
        return NULL;
    }
    int result = ring_init(&uring->ring, depth);
    if (result == 0) {
        result = io_uring_register_files(&uring->ring, &uring->fd, 1);
        if (result != 0)
            io_uring_queue_exit(&uring->ring);
    }
    if (result != 0) {
        snprintf(error, error_bytes,
                 "cannot set up io_uring for the log %s: %s; check kernel.io_uring_disabled, the memlock "
                 "limit and "
                 "the container's seccomp profile",
                 path, strerror(-result));
        close(uring->fd);
        free(uring);
        return NULL;
    }
    uring->eventfd = eventfd_register(&uring->ring);
    uring->is_registered = buffers_register(uring, arena, arena_bytes);
    if (registered != NULL)
        *registered = uring->is_registered;
    uring->disk.write = uring_write;
    uring->disk.read = uring_read;
    uring->disk.flush = uring_flush;
    uring->disk.poll = uring_poll;
    uring->disk.close = uring_close;
    uring->disk.depth = depth;
    return &uring->disk;
}
