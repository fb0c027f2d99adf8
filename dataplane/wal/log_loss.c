/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/log_loss.h"
#include "dataplane/wal/log_hole.h"

#include <errno.h>
#include <stdlib.h>

const char *hg_log_loss_of(const struct hg_log_finding *finding, struct hg_log_hole *hole)
{
    if (finding->kind == HG_LOG_FINDING_FORK)
        return "it is whole, but of another history: was an old image of the disk restored? Compare with the "
               "peers";
    if (finding->kind == HG_LOG_FINDING_UNREADABLE)
        return "the device gave an error, so nothing is known of it: it may be whole. Copy the log to a "
               "device that "
               "can be read";
    if (finding->kind != HG_LOG_FINDING_CORRUPT && finding->kind != HG_LOG_FINDING_LOST)
        return "it is not a durable write that is corrupt or not there";
    if (!finding->has_next)
        return "nothing whole comes behind it and no segment is free to go on in";
    memset(hole, 0, sizeof(*hole));
    hole->kind = HG_LOG_HOLE_LOST;
    hole->sequence_first = finding->sequence;
    hole->sequence_last = finding->sequence_last;
    hole->segment = finding->segment;
    hole->offset = finding->segment_offset;
    hole->next_segment = finding->next_segment;
    hole->next_offset = finding->next_offset;
    return NULL;
}

static bool has_hole(const struct hg_log_superblock *copies, const struct hg_log_hole *hole)
{
    for (uint16_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++) {
        const struct hg_log_hole *there = hg_log_hole_of(&copies[i].holes, hole->sequence_first);
        if (!hg_log_superblock_is_valid(&copies[i], i) || there == NULL ||
            memcmp(there, hole, sizeof(*hole)) != 0)
            return false;
    }
    return true;
}

/* Of a superblock. */
struct change {
    const struct hg_log_hole *hole; /* NULL = none */
    uint64_t tail_torn_sequence;    /* 0 = none */
};

/* The next superblock. What an unfinished update has got is not believed, but not used a second time, and its
 * promises stand, as in recovery. 0 or what hg_log_hole_add says. */
static int next_make(const struct hg_log_superblock *copies, int chosen, const struct change *change,
                     struct hg_log_superblock *next)
{
    *next = copies[chosen];
    for (uint16_t i = 0; i < HG_LOG_SUPERBLOCK_COPIES; i++) {
        const struct hg_log_superblock *copy = &copies[i];
        if (!hg_log_superblock_is_valid(copy, i))
            continue;
        next->generation = hg_max_u64(next->generation, copy->generation);
        next->tail_torn_sequence = hg_max_u64(next->tail_torn_sequence, copy->tail_torn_sequence);
        next->restarts = (uint32_t)hg_max_u64(next->restarts, copy->restarts);
        for (uint32_t group = 0; group < HG_GROUPS_MAX; group++) {
            next->epoch_promised[group] =
                hg_max_u64(next->epoch_promised[group], copy->epoch_promised[group]);
            next->members_generation[group] =
                (uint32_t)hg_max_u64(next->members_generation[group], copy->members_generation[group]);
        }
    }
    next->generation++;
    next->tail_torn_sequence = hg_max_u64(next->tail_torn_sequence, change->tail_torn_sequence);
    if (change->hole == NULL)
        return 0;
    next->durable_sequence = hg_max_u64(next->durable_sequence,
                                        hg_max_u64(change->hole->sequence_last, change->hole->copy_sequence));
    int rc = hg_log_hole_add(next, change->hole);
    return rc == -EEXIST ? 0 : rc;
}

static int pair_write(const struct hg_log_loss_ops *ops, void *ctx, struct hg_log_superblock *copies,
                      uint32_t pair, const struct hg_log_superblock *superblock)
{
    uint32_t bytes = 2 * HG_LOG_BLOCK_BYTES;
    hg_log_superblock_pair_fill(copies, pair, superblock);
    int rc = ops->write(ctx, &copies[2 * pair], bytes, (uint64_t)pair * bytes);
    return rc != 0 ? rc : ops->flush(ctx);
}

/* The pair in force first as it is: a flush that failed may have let go of it, and then the other one is the
 * only one on the device. */
static int pairs_update(const struct hg_log_loss_ops *ops, void *ctx, struct hg_log_superblock *copies,
                        const struct change *change)
{
    struct hg_log_superblock next;
    int chosen = hg_log_superblock_choose(copies);
    int rc = chosen < 0 ? -EINVAL : next_make(copies, chosen, change, &next);
    if (rc != 0)
        return rc;
    uint32_t pair = chosen < 2 ? 0 : 1;
    rc = pair_write(ops, ctx, copies, pair, &copies[chosen]);
    if (rc == 0)
        rc = pair_write(ops, ctx, copies, 1 - pair, &next);
    next.generation++;
    if (rc == 0) /* then this one: the rot of one copy must not bring back what was before */
        rc = pair_write(ops, ctx, copies, pair, &next);
    return rc;
}

static int change_write(const struct hg_log_loss_ops *ops, void *ctx, const struct change *change)
{
    uint32_t bytes = HG_LOG_SUPERBLOCK_COPIES * HG_LOG_BLOCK_BYTES;
    struct hg_log_superblock *copies = aligned_alloc(HG_LOG_BLOCK_BYTES, bytes);
    if (copies == NULL)
        return -ENOMEM;
    int rc = ops->read(ctx, copies, bytes, 0);
    if (rc == 0 && change->hole != NULL && has_hole(copies, change->hole))
        rc = 1;
    else if (rc == 0)
        rc = pairs_update(ops, ctx, copies, change);
    free(copies);
    return rc;
}

int hg_log_loss_accept(const struct hg_log_loss_ops *ops, void *ctx, const struct hg_log_hole *hole)
{
    struct change change = {.hole = hole};
    return change_write(ops, ctx, &change);
}

int hg_log_torn_keep(const struct hg_log_loss_ops *ops, void *ctx, uint64_t sequence)
{
    struct change change = {.tail_torn_sequence = sequence};
    return change_write(ops, ctx, &change);
}
