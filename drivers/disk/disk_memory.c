/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/disk/disk.h"

#include <errno.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES (UINT64_C(2) << 20)

/* Linux before 5.14 knows no MADV_POPULATE_WRITE; there a page that isn't to be had ends the process. */
static void pages_touch(uint8_t *memory, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += HG_DISK_BLOCK_BYTES)
        *(volatile uint8_t *)(memory + at) = 0;
}

static bool pages_populate(uint8_t *memory, uint64_t bytes)
{
    if (madvise(memory, bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    pages_touch(memory, bytes);
    return true;
}

void *hg_disk_memory_map(uint64_t bytes)
{
    bytes = hg_align_up(bytes, HUGE_PAGE_BYTES);
    uint64_t spare_bytes = HUGE_PAGE_BYTES; /* what a huge page begins at is cut out of more */
    uint8_t *mapped =
        mmap(NULL, bytes + spare_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    uint64_t before_bytes = hg_align_up((uintptr_t)mapped, HUGE_PAGE_BYTES) - (uintptr_t)mapped;
    uint8_t *memory = mapped + before_bytes;
    if (before_bytes != 0)
        munmap(mapped, before_bytes);
    if (before_bytes != spare_bytes)
        munmap(memory + bytes, spare_bytes - before_bytes);
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: pages of 4 KiB do too */
    /* A fork must not copy pages that the device reads. */
    (void)madvise(memory, bytes, MADV_DONTFORK);
    if (pages_populate(memory, bytes))
        return memory;
    munmap(memory, bytes);
    return NULL;
}

void hg_disk_memory_unmap(void *memory, uint64_t bytes)
{
    if (memory != NULL)
        munmap(memory, hg_align_up(bytes, HUGE_PAGE_BYTES));
}
