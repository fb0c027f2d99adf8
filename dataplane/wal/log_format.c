/* SPDX-License-Identifier: Apache-2.0
 *
 * Making an empty log. Blocks; for tools and housekeeping.
 */
#include "dataplane/wal/log_block.h"

#include <errno.h>
#include <stdlib.h>

uint64_t hg_log_file_bytes(const struct hg_log_geometry *geometry)
{
    return HG_LOG_SEGMENTS_OFFSET + geometry->segment_bytes * geometry->segment_count;
}

static int wait_all(struct hg_disk *disk, uint32_t count, int32_t result_wanted)
{
    struct hg_disk_completion completion;
    int result = 0;
    while (count > 0) {
        if (disk->poll(disk, &completion, 1) == 0)
            continue;
        count--;
        if (completion.result != result_wanted)
            result = completion.result < 0 ? completion.result : -EIO;
    }
    return result;
}

static int superblocks_write(struct hg_disk *disk, const struct hg_log_geometry *geometry,
                             struct hg_log_superblock *superblocks)
{
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES; copy++) {
        struct hg_log_superblock *superblock = &superblocks[copy];
        memset(superblock, 0, sizeof(*superblock));
        superblock->generation = 1;
        memcpy(superblock->log_uuid, geometry->log_uuid, sizeof(superblock->log_uuid));
        memcpy(superblock->node_uuid, geometry->node_uuid, sizeof(superblock->node_uuid));
        superblock->cluster = geometry->cluster;
        superblock->segment_bytes = geometry->segment_bytes;
        superblock->segment_count = geometry->segment_count;
        superblock->write_payload_bytes_max = geometry->write_payload_bytes_max;
        superblock->log_id = geometry->log_id;
        superblock->tail_sequence = 1;
        hg_log_superblock_seal(superblock, copy);
    }
    if (!disk->write(disk, 0, superblocks, HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES, 0))
        return -EBUSY;
    int result = wait_all(disk, 1, (int32_t)(HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES));
    if (result != 0)
        return result;
    return disk->flush(disk, 0) ? wait_all(disk, 1, 0) : -EBUSY;
}

int hg_log_format(struct hg_disk *disk, const struct hg_log_geometry *geometry)
{
    if (hg_log_geometry_problem(geometry) != NULL || hg_log_file_bytes(geometry) > disk->size_bytes)
        return -EINVAL;
    uint32_t bytes = HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES;
    struct hg_log_superblock *superblocks = aligned_alloc(HG_LOG_BLOCK_BYTES, bytes);
    if (superblocks == NULL)
        return -ENOMEM;
    int result = disk->read(disk, 0, superblocks, bytes, 0) ? wait_all(disk, 1, (int32_t)bytes) : -EBUSY;
    for (uint16_t copy = 0; copy < HG_LOG_SUPERBLOCK_COPIES && result == 0; copy++)
        if (hg_log_superblock_is_valid(&superblocks[copy], copy))
            result = -EEXIST; /* somebody's log: never overwritten */
    if (result == 0)
        result = superblocks_write(disk, geometry, superblocks);
    free(superblocks);
    return result;
}
