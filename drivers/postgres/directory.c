/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/platform/platform.h"

#define FILE_MODE 0640 /* a restore runs under PostgreSQL's user: give the directory its group, setgid */

static enum hg_directory_result unusable(struct hg_directory *directory, const char *what, int error)
{
    snprintf(directory->error, sizeof(directory->error), "%s %s: %s", what, directory->path, strerror(error));
    return HG_DIRECTORY_UNUSABLE;
}

/* The first line of the lock file; empty when there is none. */
static int lock_read(const struct hg_directory *directory, char *text, size_t bytes)
{
    ssize_t got = pread(directory->lock_fd, text, bytes - 1, 0);
    if (got < 0) {
        return -errno;
    }
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return 0;
}

enum hg_directory_result hg_directory_open(struct hg_directory *directory, const char *path)
{
    memset(directory, 0, sizeof(*directory));
    directory->path = path;
    directory->lock_fd = -1;
    directory->file_fd = -1;
    directory->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory->fd < 0) {
        return unusable(directory, "can't open directory", errno);
    }
    directory->lock_fd =
        openat(directory->fd, HG_DIRECTORY_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (directory->lock_fd < 0) {
        return unusable(directory, "can't open the lock file " HG_DIRECTORY_LOCK_NAME " in directory", errno);
    }
    if (flock(directory->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return unusable(directory, "can't lock directory", errno);
        }
        snprintf(directory->error, sizeof(directory->error),
                 "another helio-postgres writes into %s (it holds %s)", path, HG_DIRECTORY_LOCK_NAME);
        return HG_DIRECTORY_LOCKED;
    }
    return HG_DIRECTORY_OK;
}

enum hg_directory_result hg_directory_claim(struct hg_directory *directory, uint64_t system_identifier,
                                            uint32_t segment_bytes)
{
    char is[128], mine[128];
    if (system_identifier == 0) {
        return HG_DIRECTORY_OK;
    }
    snprintf(mine, sizeof(mine), "system %" PRIu64 " segment_bytes %" PRIu32, system_identifier,
             segment_bytes);
    int rc = lock_read(directory, is, sizeof(is));
    if (rc < 0) {
        return unusable(directory, "can't read " HG_DIRECTORY_LOCK_NAME " in", -rc);
    }
    if (is[0] == '\0') {
        /* Torn by a crash it is refused by the next start, which names the file. */
        int length = snprintf(is, sizeof(is), "%s\n", mine);
        if (pwrite(directory->lock_fd, is, (size_t)length, 0) != length || fsync(directory->lock_fd) < 0) {
            int error = errno;
            (void)!ftruncate(directory->lock_fd, 0);
            return unusable(directory, "can't write " HG_DIRECTORY_LOCK_NAME " in", error);
        }
        return HG_DIRECTORY_OK;
    }
    if (strcmp(is, mine) != 0) {
        snprintf(directory->error, sizeof(directory->error),
                 "%s holds WAL of \"%s\" (its %s says so), not of \"%s\"", directory->path, is,
                 HG_DIRECTORY_LOCK_NAME, mine);
        return HG_DIRECTORY_FOREIGN;
    }
    return HG_DIRECTORY_OK;
}

void hg_directory_close(struct hg_directory *directory)
{
    int *const fds[] = {&directory->file_fd, &directory->lock_fd, &directory->fd};
    for (size_t i = 0; i < HG_COUNT(fds); i++) {
        if (*fds[i] >= 0) {
            close(*fds[i]);
        }
        *fds[i] = -1;
    }
}

int hg_directory_newest(struct hg_directory *directory, uint32_t timeline, uint32_t segment_bytes,
                        uint64_t *lsn)
{
    int fd = openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return -error;
    }
    *lsn = 0;
    errno = 0;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        uint32_t timeline_found;
        uint64_t lsn_found;
        if (hg_segment_name_parse(entry->d_name, segment_bytes, &timeline_found, &lsn_found) &&
            timeline_found == timeline && lsn_found <= UINT64_MAX - segment_bytes) {
            *lsn = hg_max_u64(*lsn, lsn_found + segment_bytes);
        }
    }
    int error = errno;
    closedir(entries);
    return -error;
}

static int64_t files_size(void *context, const char *name)
{
    struct hg_directory *directory = context;
    struct stat status;
    if (fstatat(directory->fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
        return -errno;
    }
    return S_ISREG(status.st_mode) ? (int64_t)status.st_size : -EEXIST;
}

static int allocate(int fd, uint64_t bytes)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if ((uint64_t)status.st_size > bytes && ftruncate(fd, (off_t)bytes) < 0) {
        return -errno;
    }
    /* Where the file system can't reserve, the size alone is set: then a full disk shows in a write instead.
     */
    int rc = posix_fallocate(fd, 0, (off_t)bytes);
    if (rc == EOPNOTSUPP || rc == EINVAL) {
        return ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
    }
    return -rc;
}

static int files_open(void *context, const char *name, uint64_t bytes, bool create)
{
    struct hg_directory *directory = context;
    hg_assert(directory->file_fd < 0);
    int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0);
    int fd = openat(directory->fd, name, flags, FILE_MODE);
    if (fd < 0) {
        return -errno;
    }
    int rc = create ? allocate(fd, bytes) : 0;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    directory->file_fd = fd;
    return 0;
}

static int files_write(void *context, uint64_t offset, const void *data, uint32_t bytes)
{
    struct hg_directory *directory = context;
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t done = pwrite(directory->file_fd, at, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -EIO;
        }
        at += done;
        offset += (uint64_t)done;
        bytes -= (uint32_t)done;
    }
    return 0;
}

static int files_read(void *context, uint64_t offset, void *data, uint32_t bytes)
{
    struct hg_directory *directory = context;
    uint8_t *at = data;
    while (bytes > 0) {
        ssize_t done = pread(directory->file_fd, at, bytes, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -EIO;
        }
        at += done;
        offset += (uint64_t)done;
        bytes -= (uint32_t)done;
    }
    return 0;
}

static int files_sync(void *context)
{
    struct hg_directory *directory = context;
    return fsync(directory->file_fd) < 0 ? -errno : 0;
}

static void files_close(void *context)
{
    struct hg_directory *directory = context;
    close(directory->file_fd);
    directory->file_fd = -1;
}

static int files_rename(void *context, const char *from, const char *to)
{
    struct hg_directory *directory = context;
    if (renameat2(directory->fd, from, directory->fd, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }
    /* A file system without RENAME_NOREPLACE: the lock keeps other writers out, so looking first is enough.
     */
    if (faccessat(directory->fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        return -EEXIST;
    }
    return renameat(directory->fd, from, directory->fd, to) < 0 ? -errno : 0;
}

static int files_sync_directory(void *context)
{
    struct hg_directory *directory = context;
    return fsync(directory->fd) < 0 ? -errno : 0;
}

void hg_directory_files(struct hg_directory *directory, struct hg_segment_files *files)
{
    memset(files, 0, sizeof(*files));
    files->context = directory;
    files->size = files_size;
    files->open = files_open;
    files->write = files_write;
    files->read = files_read;
    files->sync = files_sync;
    files->close = files_close;
    files->rename = files_rename;
    files->sync_directory = files_sync_directory;
}
