/* SPDX-License-Identifier: Apache-2.0
 *
 * Holes of a log: writes that were durable and are not to be had from where they should lie. The superblock's
 * table names them (docs/disk-format.md, Holes); recovery, readers and the audit go by it. Pure functions.
 */
#ifndef HG_WAL_LOG_HOLE_H
#define HG_WAL_LOG_HOLE_H

#include "dataplane/wal/log_block.h"

/* Every entry in order, within the segments, of a kind that this build knows. */
bool hg_log_holes_are_valid(const struct hg_log_superblock *superblock);
/* The hole that write `sequence` is in, or NULL. */
const struct hg_log_hole *hg_log_hole_of(const struct hg_log_hole_table *table, uint64_t sequence);
/* Adds one in its place in the table; where the table is full, the oldest that lies before the log's tail
 * goes. 0; -EEXIST: it is there already; -EINVAL: it meets another; -ENOSPC: all that are there still count.
 */
int hg_log_hole_add(struct hg_log_superblock *superblock, const struct hg_log_hole *hole);
/* It was repaired: the writes in it are to be had, as its first one, from its copy. */
static inline bool hg_log_hole_is_repaired(const struct hg_log_hole *hole)
{
    return hole->kind != HG_LOG_HOLE_LOST;
}
/* The table of streams that this segment should begin with lies in a hole and nowhere else, or there is none:
 * the log can't begin with it. */
bool hg_log_hole_has_start(const struct hg_log_hole_table *table, uint64_t segment);
/* `header`: what lies at the copy's place, with its payload behind it, `room` bytes in all: it is that copy,
 * whole. */
bool hg_log_hole_copy_is_right(const struct hg_log_hole *hole, const struct hg_log_write_header *header,
                               const uint8_t log_uuid[16], uint32_t room);
/* The newest segment that has a write before `hole` ends. */
uint64_t hg_log_hole_segment_last(const struct hg_log_hole *hole);

#endif
