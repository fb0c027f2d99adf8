/* SPDX-License-Identifier: Apache-2.0
 *
 * Creating a log's file, or making it longer: all its blocks allocated, written with zeros and synced, once,
 * before anybody appends to them.
 */
#include "drivers/disk/disk.h"
#include "drivers/platform/file_place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define WRITE_BYTES (4u << 20)

static int folder_path(const char *path, char *folder, size_t folder_bytes)
{
    const char *slash = strrchr(path, '/');
    int bytes = slash == NULL   ? snprintf(folder, folder_bytes, ".")
                : slash == path ? snprintf(folder, folder_bytes, "/")
                                : snprintf(folder, folder_bytes, "%.*s", (int)(slash - path), path);
    return bytes < 0 || (size_t)bytes >= folder_bytes ? -ENAMETOOLONG : 0;
}

static int space_check(const char *folder, uint64_t bytes, char *error, size_t error_bytes)
{
    struct statvfs status;
    if (statvfs(folder, &status) != 0) {
        int result = -errno;
        snprintf(error, error_bytes, "cannot look at the folder %s: %s", folder, strerror(-result));
        return result;
    }
    uint64_t free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    if (free_bytes >= bytes)
        return 0;
    snprintf(error, error_bytes,
             "the file system of %s has %llu MiB free, the log needs %llu MiB: free some or make "
             "the log smaller",
             folder, (unsigned long long)(free_bytes >> 20), (unsigned long long)(bytes >> 20));
    return -ENOSPC;
}

static int zeros_write(int fd, uint64_t first, uint64_t bytes,
                       void (*progress)(void *arg, uint64_t bytes_done), void *arg)
{
    void *zeros = mmap(NULL, WRITE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (zeros == MAP_FAILED)
        return -errno;
    int result = 0;
    for (uint64_t done = 0; done < bytes && result == 0;) {
        ssize_t written = pwrite(fd, zeros, hg_min_u64(WRITE_BYTES, bytes - done), (off_t)(first + done));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            result = written < 0 ? -errno : -EIO;
            break;
        }
        done += (uint64_t)written;
        if (progress != NULL)
            progress(arg, done);
    }
    munmap(zeros, WRITE_BYTES);
    return result;
}

int hg_disk_file_check(const char *path, uint64_t bytes, char *error, size_t error_bytes)
{
    char folder[PATH_MAX];
    struct stat status;
    int result = folder_path(path, folder, sizeof(folder));
    if (result != 0) {
        snprintf(error, error_bytes, "the path of the log is too long");
        return result;
    }
    if (lstat(path, &status) == 0) {
        snprintf(error, error_bytes, "cannot create the log %s: %s", path,
                 S_ISDIR(status.st_mode)
                     ? "it is a directory: name a file in it"
                     : "it exists; it is left as it is: choose another path, or remove it "
                       "if nobody needs it");
        return -EEXIST;
    }
    result = errno == ENOENT ? 0 : -errno;
    if (result == 0 && access(folder, W_OK | X_OK) != 0)
        result = -errno;
    if (result != 0) {
        snprintf(error, error_bytes,
                 "cannot create the log %s: %s: does the directory exist and may you write in it?", path,
                 strerror(-result));
        return result;
    }
    return space_check(folder, bytes, error, error_bytes);
}

int hg_disk_file_create(const char *path, uint64_t bytes, void (*progress)(void *arg, uint64_t bytes_done),
                        void *arg, char *error, size_t error_bytes)
{
    hg_assert(bytes > 0 && bytes % HG_DISK_BLOCK_BYTES == 0);
    int result = hg_disk_file_check(path, bytes, error, error_bytes);
    if (result != 0)
        return result;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0) {
        result = -errno;
        if (result == -EINVAL)
            unlink(path);
        snprintf(error, error_bytes, "cannot create the log %s: %s%s", path, strerror(-result),
                 result == -EEXIST
                     ? "; it is left as it is: choose another path, or remove it if nobody needs it"
                 : result == -EINVAL ? "; its file system has no O_DIRECT (tmpfs?): choose another one"
                                     : "");
        return result;
    }
    /* Allocated first, so that the blocks lie together and ENOSPC comes before the long wait. */
    result = fallocate(fd, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP ? 0 : -errno;
    if (result == 0)
        result = zeros_write(fd, 0, bytes, progress, arg);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0)
        result = hg_file_place_sync(path);
    if (result != 0) {
        unlink(path);
        snprintf(error, error_bytes, "cannot write the log %s: %s; the unfinished file is removed", path,
                 strerror(-result));
    }
    return result;
}

/* ---- longer ---- */

static int log_size(int fd, uint64_t *bytes, bool *is_device)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return -errno;
    *is_device = S_ISBLK(status.st_mode);
    *bytes = (uint64_t)status.st_size;
    if (*is_device && ioctl(fd, BLKGETSIZE64, bytes) != 0)
        return -errno;
    return *is_device || S_ISREG(status.st_mode) ? 0 : -ENOTBLK;
}

static int extend_check(int fd, const char *path, uint64_t bytes, uint64_t *size_bytes, bool *is_device,
                        char *error, size_t error_bytes)
{
    char folder[PATH_MAX];
    int result = log_size(fd, size_bytes, is_device);
    if (result == 0)
        result = folder_path(path, folder, sizeof(folder));
    if (result != 0) {
        snprintf(error, error_bytes, "cannot make the log %s longer: %s", path, strerror(-result));
        return result;
    }
    if (bytes <= *size_bytes)
        return 0;
    if (!*is_device)
        return space_check(folder, bytes - *size_bytes, error, error_bytes);
    snprintf(error, error_bytes,
             "the device %s has %llu MiB, the log would need %llu MiB: make the device larger first", path,
             (unsigned long long)(*size_bytes >> 20), (unsigned long long)(bytes >> 20));
    return -ENOSPC;
}

static int extend_open(const char *path, char *error, size_t error_bytes)
{
    int fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    int result = fd >= 0 ? fd : -errno;
    if (fd < 0)
        snprintf(error, error_bytes, "cannot open the log %s: %s", path, strerror(-result));
    return result;
}

int hg_disk_file_extend_check(const char *path, uint64_t bytes, char *error, size_t error_bytes)
{
    uint64_t size_bytes;
    bool is_device;
    int fd = extend_open(path, error, error_bytes);
    if (fd < 0)
        return fd;
    int result = extend_check(fd, path, bytes, &size_bytes, &is_device, error, error_bytes);
    close(fd);
    return result;
}

int hg_disk_file_extend(const char *path, uint64_t used_bytes, uint64_t bytes,
                        void (*progress)(void *arg, uint64_t bytes_done), void *arg, char *error,
                        size_t error_bytes)
{
    uint64_t size_bytes;
    bool is_device;
    hg_assert(used_bytes < bytes && used_bytes % HG_DISK_BLOCK_BYTES == 0 &&
              bytes % HG_DISK_BLOCK_BYTES == 0);
    int fd = extend_open(path, error, error_bytes);
    if (fd < 0)
        return fd;
    int result = extend_check(fd, path, bytes, &size_bytes, &is_device, error, error_bytes);
    if (result != 0) {
        close(fd);
        return result;
    }
    if (!is_device && fallocate(fd, 0, (off_t)used_bytes, (off_t)(bytes - used_bytes)) != 0 &&
        errno != EOPNOTSUPP)
        result = -errno;
    if (result == 0)
        result = zeros_write(fd, used_bytes, bytes - used_bytes, progress, arg);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (result != 0) {
        bool is_former = is_device || ftruncate(fd, (off_t)size_bytes) == 0;
        snprintf(error, error_bytes, "cannot make the log %s longer: %s; %s", path, strerror(-result),
                 is_former ? "it is as it was" : "the file is longer than the log in it, which is as it was");
    }
    close(fd);
    return result;
}
