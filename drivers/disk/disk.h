/* SPDX-License-Identifier: Apache-2.0
 *
 * The disk driver interface: asynchronous block writes, reads and flushes on one preallocated file or device.
 * Shells: disk_uring.c (io_uring, O_DIRECT) and disk_sim.c (memory, virtual time, faults).
 *
 * Contract that both shells keep and cores rely on:
 *  - Offsets, sizes and buffer addresses are multiples of HG_DISK_BLOCK_BYTES.
 *  - A buffer belongs to the disk from submission to its completion.
 *  - Operations complete in any order. A flush covers exactly the writes whose completions had been *reaped*
 * by poll() before the flush was submitted.
 *  - No more than `depth` operations are in flight; submit returns false (nothing happened) beyond that.
 *  - With `is_dsync` set a write whose completion was reaped is durable by itself, as far as `result` says,
 * and needs no flush. A flush still covers all that was written without.
 *  - An error is a negative errno in `result`; a short transfer is reported as the bytes done, never retried
 * here. Only the worker that owns the disk calls it.
 */
#ifndef HG_DISK_H
#define HG_DISK_H

#include "drivers/platform/platform.h"

#include <sched.h>

#define HG_DISK_BLOCK_BYTES 4096

enum hg_disk_op { HG_DISK_WRITE, HG_DISK_READ, HG_DISK_FLUSH };

struct hg_disk_completion {
    uint64_t tag;   /* as given at submission */
    int32_t result; /* bytes done, 0 for a flush, or -errno */
    uint32_t op;    /* enum hg_disk_op */
};

struct hg_disk {
    bool (*write)(struct hg_disk *disk, uint64_t tag, const void *data, uint32_t bytes, uint64_t offset);
    bool (*read)(struct hg_disk *disk, uint64_t tag, void *data, uint32_t bytes, uint64_t offset);
    bool (*flush)(struct hg_disk *disk, uint64_t tag);
    /* Hands submissions to the device and reaps up to `completions_max`. Never blocks. Returns how many. */
    uint32_t (*poll)(struct hg_disk *disk, struct hg_disk_completion *completions, uint32_t completions_max);
    /* Releases everything. In-flight buffers must have completed. */
    void (*close)(struct hg_disk *disk);
    uint64_t size_bytes; /* raised by its owner once the file is longer */
    uint32_t depth;
    bool is_dsync; /* set by its owner while nothing is in flight */
};

/* How what is written becomes durable. */
enum hg_disk_sync {
    HG_DISK_SYNC_AUTO,  /* what hg_disk_sync_choose says */
    HG_DISK_SYNC_GROUP, /* plain writes, and a flush that covers those which completed before it */
    HG_DISK_SYNC_DSYNC, /* O_DSYNC: each write is durable when it completes */
};
/* What the kernel knows of a device's cache (/sys/dev/block/N:M/queue). */
struct hg_disk_cache {
    bool is_known;      /* false: no block device below, or one that does not say */
    bool is_write_back; /* what was written may be lost until a flush */
    bool has_fua;       /* it can make a single write durable */
    uint32_t device_major, device_minor;
};
void hg_disk_cache_get(const char *path, struct hg_disk_cache *cache);
/* GROUP or DSYNC. Without FUA the kernel would put a flush of the whole device behind every O_DSYNC write,
 * where one flush does for many writes; with FUA, or without a volatile cache, a flush costs what nobody
 * needs. */
enum hg_disk_sync hg_disk_sync_choose(const struct hg_disk_cache *cache);
/* The words "group" and "dsync"; "auto". */
const char *hg_disk_sync_name(enum hg_disk_sync sync);
/* That choice and its reason, for people: "group (device 8:0 has a volatile cache and no FUA)". */
void hg_disk_cache_text(const struct hg_disk_cache *cache, char *text, size_t text_bytes);

/* Opens an existing file or device with O_DIRECT. `error` gets a sentence that names the path and the remedy.
 * The file is locked: what another process has open is refused, after a second. Returns NULL on error. The
 * opening thread becomes the owner. Buffers inside [arena, arena + arena_bytes)
 * are registered with io_uring where the memlock limit allows (arena may be NULL); `registered` says whether
 * they were. */
struct hg_disk *hg_disk_uring_open(const char *path, void *arena, uint64_t arena_bytes, uint32_t depth,
                                   bool *registered, char *error, size_t error_bytes);

/* Before anything is submitted. AUTO asks the device of the file at `path`, with which it was opened. */
void hg_disk_uring_sync_set(struct hg_disk *disk, const char *path, enum hg_disk_sync sync);

/* A file descriptor to poll() for POLLIN, so that an idle worker can sleep on it: it is readable once
 * something has completed since a disk->poll that found nothing. Nobody else reads it. */
int hg_disk_uring_fd(struct hg_disk *disk);

/* Where the kernel may run the threads that do what can't be done at once, such as flushes: so that they stay
 * off lcores. Best effort: kernels before 5.14 run them anywhere. */
void hg_disk_uring_cpus_set(struct hg_disk *disk, const cpu_set_t *cpus);

/* Memory that a device writes from and reads into: zeroed, all of it there, and in huge pages where the
 * kernel gives them (it begins at one), so that io_uring sees a registered buffer of a few long pieces and a
 * write of megabytes is no list of hundreds of pages. A child of fork() doesn't have it. NULL: there is not
 * so much memory. Blocks while it is zeroed. */
void *hg_disk_memory_map(uint64_t bytes);
/* `bytes` as they were asked for; NULL is let pass. */
void hg_disk_memory_unmap(void *memory, uint64_t bytes);

/* Creates `path` of exactly `bytes`, writes zeros through to the device, syncs file and directory, so that no
 * append ever meets ENOSPC or an unwritten extent. Fails with -EEXIST when the path exists. `progress` (may
 * be NULL) is called with the bytes done. Blocks: for tools and housekeeping, never a worker. */
int hg_disk_file_create(const char *path, uint64_t bytes, void (*progress)(void *arg, uint64_t bytes_done),
                        void *arg, char *error, size_t error_bytes);
/* Makes the log's file `path` one of `bytes`: what is behind the first `used_bytes` is allocated, written
 * with zeros and synced, while others may write what is before. `bytes` may be what the file has already: a
 * device, or an earlier attempt that did not end. On an error the file has its former size. Blocks, likewise.
 */
int hg_disk_file_extend(const char *path, uint64_t used_bytes, uint64_t bytes,
                        void (*progress)(void *arg, uint64_t bytes_done), void *arg, char *error,
                        size_t error_bytes);
/* What can be said against that without trying: 0, or -errno and a sentence. */
int hg_disk_file_extend_check(const char *path, uint64_t bytes, char *error, size_t error_bytes);
/* What can be said against creating it without trying: 0, or -errno and a sentence. */
int hg_disk_file_check(const char *path, uint64_t bytes, char *error, size_t error_bytes);

#endif
