/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of WAL segments on a real file system, for segments.h: one writer at a time (a lock file that
 * also says whose segments these are), a scan, and the file operations. One thread.
 */
#ifndef HG_POSTGRES_DIRECTORY_H
#define HG_POSTGRES_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/postgres/segments.h"

#define HG_DIRECTORY_LOCK_NAME "helio-postgres.lock"

enum hg_directory_result {
    HG_DIRECTORY_OK,
    HG_DIRECTORY_UNUSABLE, /* missing, no directory, not writable: `error` says */
    HG_DIRECTORY_LOCKED,   /* another writer has it */
    HG_DIRECTORY_FOREIGN,  /* segments of another system, or of another size */
};

struct hg_directory {
    const char *path;
    int fd;
    int lock_fd;
    int file_fd;
    char error[512];
};

/* Opens and locks. `path` must stay. */
enum hg_directory_result hg_directory_open(struct hg_directory *directory, const char *path);
/* Compares the directory's owner with this one, or makes it the owner when it has none. A system identifier
 * of 0 is not known: neither compared nor written. */
enum hg_directory_result hg_directory_claim(struct hg_directory *directory, uint64_t system_identifier,
                                            uint32_t segment_bytes);
void hg_directory_close(struct hg_directory *directory);
/* End of the newest complete segment of the timeline, 0 = none; negative -errno. */
int hg_directory_newest(struct hg_directory *directory, uint32_t timeline, uint32_t segment_bytes,
                        uint64_t *lsn);
/* The operations over this directory; the caller fills in `completed` and wraps `context` if it needs its
 * own. */
void hg_directory_files(struct hg_directory *directory, struct hg_segment_files *files);

#endif
