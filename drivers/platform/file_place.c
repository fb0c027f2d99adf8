/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/platform/file_place.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

int hg_file_place_sync(const char *path)
{
    char copy[PATH_MAX]; /* dirname changes it */
    if (strlen(path) >= sizeof(copy))
        return -ENAMETOOLONG;
    memcpy(copy, path, strlen(path) + 1);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}
