/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/disk_failures.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define MAGIC      0x46474c48u /* "HLGF" */
#define VERSION    1u
#define PATH_BYTES 512u
#define TEXT_BYTES 320u

struct disk_failures {
    uint32_t magic;
    uint32_t version;
    uint64_t realtime_ns[HG_DISK_FAILURES_MAX]; /* newest first; 0 = none */
    char text[TEXT_BYTES];                      /* of the newest */
    uint32_t reserved;
    uint32_t crc32c; /* of everything before it */
};
static_assert(sizeof(struct disk_failures) == 8 + 8 * HG_DISK_FAILURES_MAX + TEXT_BYTES + 8, "disk failures");

static void load(const char *run_dir, struct disk_failures *failures)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/disk.failures", run_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, failures, sizeof(*failures));
    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof(*failures) || failures->magic != MAGIC || failures->version != VERSION ||
        failures->crc32c != hg_crc32c(0, failures, offsetof(struct disk_failures, crc32c)))
        memset(failures, 0, sizeof(*failures));
    failures->text[TEXT_BYTES - 1] = '\0';
}

/* Not synced: it is for the next process, and the device below may be the one that fails. */
static int save(const char *run_dir, struct disk_failures *failures)
{
    char path[PATH_BYTES], fresh[PATH_BYTES];
    failures->magic = MAGIC;
    failures->version = VERSION;
    failures->crc32c = hg_crc32c(0, failures, offsetof(struct disk_failures, crc32c));
    snprintf(path, sizeof(path), "%s/disk.failures", run_dir);
    snprintf(fresh, sizeof(fresh), "%s/disk.failures.new", run_dir);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int rc = write(fd, failures, sizeof(*failures)) == (ssize_t)sizeof(*failures) ? 0 : -EIO;
    close(fd);
    return rc == 0 && rename(fresh, path) != 0 ? -errno : rc;
}

/* Those within the time before or after the newest: the clock may have been set. */
static int count_of(const struct disk_failures *failures)
{
    int count = 0;
    for (uint32_t i = 0; i < HG_DISK_FAILURES_MAX; i++) {
        uint64_t newest_ns = failures->realtime_ns[0], ns = failures->realtime_ns[i];
        count += ns != 0 && (ns > newest_ns ? ns - newest_ns : newest_ns - ns) <= HG_DISK_FAILURES_NS;
    }
    return count;
}

int hg_disk_failures_add(const char *run_dir, uint64_t realtime_ns, const char *text)
{
    struct disk_failures failures;
    load(run_dir, &failures);
    memmove(&failures.realtime_ns[1], &failures.realtime_ns[0],
            (HG_DISK_FAILURES_MAX - 1) * sizeof(failures.realtime_ns[0]));
    failures.realtime_ns[0] = realtime_ns;
    memset(failures.text, 0, sizeof(failures.text));
    snprintf(failures.text, sizeof(failures.text), "%s", text);
    int rc = save(run_dir, &failures);
    return rc != 0 ? rc : count_of(&failures);
}

bool hg_disk_failures_allow(const char *run_dir, char *why, size_t why_bytes)
{
    struct disk_failures failures;
    load(run_dir, &failures);
    if (count_of(&failures) < (int)HG_DISK_FAILURES_MAX)
        return true;
    snprintf(why, why_bytes,
             "%u ends within %u min for errors of a log's device: it stays down; look at the device, remove "
             "%s/disk.failures, start again. The last: %s",
             HG_DISK_FAILURES_MAX, (unsigned)(HG_DISK_FAILURES_NS / HG_NS_PER_S / 60), run_dir,
             failures.text);
    return false;
}
