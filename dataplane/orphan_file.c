/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/orphan_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PART_BYTES  (HG_ORPHAN_NAME_BYTES + sizeof(HG_ORPHAN_PART))
#define ASIDE_BYTES (HG_ORPHAN_NAME_BYTES + 16) /* a name with a piece of a chain in it */

static int error_of(int error)
{
    return error == ELOOP || error == ENOTDIR ? -EXDEV : -error;
}

static int sync_fd(int fd)
{
    return fsync(fd) == 0 ? 0 : -errno;
}

/* The directory, made when it is missing. `is_last`: its own name is flushed, too, whoever made it. */
static int directory_open(const char *run_dir, bool is_last)
{
    int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run < 0)
        return -errno;
    int rc = mkdirat(run, HG_ORPHAN_DIRECTORY, 0700) == 0 || errno == EEXIST ? 0 : -errno;
    if (rc == 0 && is_last)
        rc = sync_fd(run);
    int fd = rc == 0 ? openat(run, HG_ORPHAN_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (rc == 0 && fd < 0)
        rc = error_of(errno);
    close(run);
    return rc == 0 ? fd : rc;
}

static int write_all(int fd, const void *data, uint64_t bytes, uint64_t offset)
{
    const uint8_t *at = data;
    while (bytes > 0) {
        ssize_t n = pwrite(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        at += n;
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

static int piece_write(int directory, const char *part, const struct hg_orphan_piece *piece)
{
    int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | (piece->is_first ? O_CREAT | O_TRUNC : 0);
    int fd = openat(directory, part, flags, 0600);
    if (fd < 0)
        return error_of(errno);
    int rc = write_all(fd, piece->data, piece->bytes, piece->offset);
    if (rc == 0 && piece->is_last)
        rc = write_all(fd, &piece->header, sizeof(piece->header), 0);
    if (rc == 0 && piece->is_last)
        rc = sync_fd(fd);
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    return rc;
}

/* Of an orphan that says what it is. -ENOENT: none. -EBADMSG: something else. */
static int header_read(int directory, const char *name, struct hg_orphan_header *header)
{
    struct stat stat;
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP ? -EBADMSG : -errno;
    int rc = fstat(fd, &stat) == 0 ? 0 : -errno;
    ssize_t bytes = rc == 0 && S_ISREG(stat.st_mode) ? read(fd, header, sizeof(*header)) : 0;
    if (bytes < 0)
        rc = -errno;
    close(fd);
    if (rc == 0 &&
        (bytes != sizeof(*header) || hg_orphan_check_header(header, (uint64_t)stat.st_size) != HG_ORPHAN_OK))
        rc = -EBADMSG;
    return rc;
}

/* Where the orphan is kept when another gets its name. */
static void aside_name(char aside[ASIDE_BYTES], const char *name, uint64_t chain_head)
{
    uint8_t chain[sizeof(chain_head)];
    size_t stem = strlen(name) - strlen(HG_ORPHAN_SUFFIX);
    memcpy(chain, &chain_head, sizeof(chain));
    snprintf(aside, ASIDE_BYTES, "%.*s-%02x%02x%02x%02x" HG_ORPHAN_SUFFIX, (int)stem, name, chain[0],
             chain[1], chain[2], chain[3]);
}

/* A file that was discarded needs none. */
static int note_write(int directory, const char *name)
{
    char note[ASIDE_BYTES + sizeof(HG_ORPHAN_CUT)];
    struct stat stat;
    if (fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : -errno;
    snprintf(note, sizeof(note), "%s" HG_ORPHAN_CUT, name);
    int fd = openat(directory, note, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_of(errno);
    int rc = sync_fd(fd);
    if (close(fd) != 0 && rc == 0)
        rc = -errno;
    return rc == 0 ? sync_fd(directory) : rc;
}

/* The note beside the file that the record is of. It was put aside since, or is about to be, when another has
 * its name: of that one the log may know nothing. */
static int recorded_write(int directory, const struct hg_orphan_piece *piece)
{
    char aside[ASIDE_BYTES];
    if (piece->chain_head == 0)
        return note_write(directory, piece->name);
    aside_name(aside, piece->name, piece->chain_head);
    const char *const names[] = {piece->name, aside};
    int failed = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct hg_orphan_header there;
        int rc = header_read(directory, names[i], &there);
        if (rc == 0 && hg_orphan_chain_head(&there) == piece->chain_head)
            return note_write(directory, names[i]);
        if (rc != 0 && rc != -ENOENT && rc != -EBADMSG)
            failed = rc;
    }
    return failed;
}

/* 1: another orphan has the name, or something that does not say what it is; *there = its header, as far as
 * it has one. 0: nothing has, or this orphan itself. Negative: it can't be known. */
static int other_look(int directory, const char *name, const struct hg_orphan_header *header,
                      struct hg_orphan_header *there)
{
    memset(there, 0, sizeof(*there));
    int rc = header_read(directory, name, there);
    if (rc == 0)
        return memcmp(there->chain, header->chain, sizeof(there->chain)) != 0;
    return rc == -ENOENT ? 0 : rc == -EBADMSG ? 1 : rc;
}

/* Two fail-overs may cut a copy at the same place under one epoch: a tail, and what it was filled with since.
 * The first is kept under a name with a piece of its chain, its notes first: without them it asks to be
 * looked at. */
static int aside_rename(int directory, const char *name, const struct hg_orphan_header *there)
{
    static const char *const suffixes[] = {HG_ORPHAN_CUT, HG_ORPHAN_RESUBMIT, ""};
    char from[PART_BYTES + 16], to[ASIDE_BYTES + 16], aside[ASIDE_BYTES];
    aside_name(aside, name, hg_orphan_chain_head(there));
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        snprintf(from, sizeof(from), "%s%s", name, suffixes[i]);
        snprintf(to, sizeof(to), "%s%s", aside, suffixes[i]);
        if (renameat(directory, from, directory, to) != 0 && errno != ENOENT)
            return -errno;
    }
    return sync_fd(directory);
}

/* It has its name now, and nobody has said yet that it was cut. */
static int part_rename(int directory, const char *part, const char *name,
                       const struct hg_orphan_header *header)
{
    char note[PART_BYTES];
    struct hg_orphan_header there;
    int rc = other_look(directory, name, header, &there);
    if (rc > 0)
        rc = aside_rename(directory, name, &there);
    if (rc != 0)
        return rc;
    snprintf(note, sizeof(note), "%s" HG_ORPHAN_CUT, name);
    if (unlinkat(directory, note, 0) != 0 && errno != ENOENT)
        return -errno;
    return renameat(directory, part, directory, name) == 0 ? sync_fd(directory) : -errno;
}

int hg_orphan_file_write(const char *run_dir, const struct hg_orphan_piece *piece)
{
    char part[PART_BYTES];
    if (!hg_orphan_name_is_valid(piece->name))
        return -EINVAL;
    int directory = directory_open(run_dir, piece->is_last);
    if (directory < 0)
        return directory;
    snprintf(part, sizeof(part), "%s" HG_ORPHAN_PART, piece->name);
    int rc = piece->is_recorded ? recorded_write(directory, piece) : piece_write(directory, part, piece);
    if (rc == 0 && piece->is_last)
        rc = part_rename(directory, part, piece->name, &piece->header);
    close(directory);
    return rc;
}
