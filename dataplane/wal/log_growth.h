/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a segment lies in the file, also of a log that was made longer. The one function that says so: the
 * log, its recovery and whoever reads one ask it. Pure.
 *
 * Segments are counted without end and lie in a ring. When the ring gets longer, the new places come in right
 * behind the newest segment: what is in use stays where it is, wherever in the ring that is, and the new
 * places are the next ones to be used. So a log can grow when it is full, which is when it is wanted.
 */
#ifndef HG_WAL_LOG_GROWTH_H
#define HG_WAL_LOG_GROWTH_H

#include "dataplane/wal/log.h"

/* Byte in the file where the segment of this absolute number begins. */
uint64_t hg_log_segment_place(const struct hg_log_geometry *geometry, uint64_t segment);
/* NULL when fine, else what is wrong with the table of a log of so many segments, for a message. */
const char *hg_log_growth_problem(const struct hg_log_growth_table *table, uint32_t segment_count);
/* The log gets `segments` more, behind the segment `head`, the newest that was ever written to; the places of
 * it and of the segment_count - 1 before it stay the same. The table has room for another step. */
void hg_log_growth_add(struct hg_log_geometry *geometry, uint64_t head, uint32_t segments);

/* Room that is enough for a file of so many bytes, whatever its superblock says: a write takes two blocks at
 * least, a segment four. */
uint64_t hg_log_places_count(uint64_t bytes); /* a power of two */
uint64_t hg_log_segment_first_count(uint64_t bytes);

#endif
