/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring's system calls: memfd, seals, mapping, doorbells.
 */
#include "drivers/ipc/control_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static void close_all(const int fds[HG_CONTROL_RING_FDS])
{
    for (int i = 0; i < HG_CONTROL_RING_FDS; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

/* Opens a mapped region for a side; takes mapping and descriptors over, also on failure. */
static int open_mapped(struct hg_control_ring *ring, void *memory, size_t bytes,
                       const int fds[HG_CONTROL_RING_FDS], enum hg_control_side side)
{
    int rc = hg_control_ring_open(ring, memory, bytes, side);

    if (rc < 0) {
        munmap(memory, bytes);
        close_all(fds);
        ring->region = NULL;
        return rc;
    }
    ring->mapped = true;
    memcpy(ring->fds, fds, sizeof(ring->fds));
    return 0;
}

int hg_control_ring_create(struct hg_control_ring *ring, uint32_t cells, uint64_t boot)
{
    size_t bytes = hg_control_region_bytes(cells);
    int fds[HG_CONTROL_RING_FDS] = {-1, -1, -1};
    void *memory = MAP_FAILED;
    int rc;

    memset(ring, 0, sizeof(*ring));
    fds[0] = memfd_create("heliograph-control", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    fds[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fds[0] >= 0 && fds[1] >= 0 && fds[2] >= 0 && ftruncate(fds[0], (off_t)bytes) == 0 &&
        fcntl(fds[0], F_ADD_SEALS, SEALS) == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    if (memory == MAP_FAILED) {
        rc = -errno;
        close_all(fds);
        return rc;
    }
    hg_control_region_format(memory, cells, boot);
    return open_mapped(ring, memory, bytes, fds, HG_SIDE_DATAPLANE);
}

int hg_control_ring_attach(struct hg_control_ring *ring, const int fds[HG_CONTROL_RING_FDS])
{
    struct stat st;
    void *memory;
    int seals, rc;

    memset(ring, 0, sizeof(*ring));
    if (fstat(fds[0], &st) < 0 || (seals = fcntl(fds[0], F_GET_SEALS)) < 0) {
        rc = -errno;
        close_all(fds);
        return rc;
    }
    /* An unsealed region could shrink under us: a bus error at any later access. */
    if ((seals & SEALS) != SEALS || st.st_size <= 0 ||
        (uint64_t)st.st_size > hg_control_region_bytes(HG_CONTROL_RING_CELLS_MAX)) {
        close_all(fds);
        return -EPROTO;
    }
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    if (memory == MAP_FAILED) {
        rc = -errno;
        close_all(fds);
        return rc;
    }
    return open_mapped(ring, memory, (size_t)st.st_size, fds, HG_SIDE_CONTROL);
}

void hg_control_ring_close(struct hg_control_ring *ring)
{
    if (ring->mapped) {
        munmap(ring->region, ring->region_bytes);
        close_all(ring->fds);
    }
    memset(ring, 0, sizeof(*ring));
}

void hg_control_ring_doorbell(struct hg_control_ring *ring)
{
    int fd = ring->side == HG_SIDE_CONTROL ? ring->fds[1] : ring->fds[2];
    ssize_t written = 0;

    if (fd >= 0 && ring->mapped)
        written = write(fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* full means already rung */
}

int hg_control_ring_doorbell_fd(const struct hg_control_ring *ring)
{
    if (!ring->mapped)
        return -1;
    return ring->side == HG_SIDE_CONTROL ? ring->fds[2] : ring->fds[1];
}

void hg_control_ring_doorbell_clear(struct hg_control_ring *ring)
{
    int fd = hg_control_ring_doorbell_fd(ring);
    uint64_t count;
    ssize_t got = 0;

    if (fd >= 0)
        got = read(fd, &count, sizeof(count));
    (void)got; /* nothing to read means not rung */
}
