/* SPDX-License-Identifier: Apache-2.0
 *
 * Where in the log a stream's LSN is: a sparse, bounded map LSN -> write sequence of one stream. Looking up
 * gives a write at or before the one wanted; the reader walks on from there. Rebuilt at recovery. Owning
 * worker only.
 */
#ifndef HG_WAL_INDEX_H
#define HG_WAL_INDEX_H

#include "drivers/platform/platform.h"

#define HG_INDEX_ENTRIES_MAX 64

struct hg_index_entry {
    uint64_t lsn_first;
    uint64_t sequence;
    uint64_t bytes_before; /* of all that was added, what came before this */
};

/* When full, every second entry goes and the stride doubles: memory is bounded, precision falls gently. */
struct hg_index {
    struct hg_index_entry entries[HG_INDEX_ENTRIES_MAX];
    uint32_t count;
    uint64_t stride; /* writes between entries */
    uint64_t bytes;  /* of all that was added */
};

void hg_index_init(struct hg_index *index);
/* Batches must come in LSN order. `bytes`: of this one. */
void hg_index_add(struct hg_index *index, uint64_t lsn_first, uint64_t sequence, uint64_t bytes);
/* Forgets writes below `sequence`, but keeps the newest entry at or below it, raised to `sequence`, so that a
 * look-up still starts at the tail. Its LSN stays: of what lies between two entries nothing is known, and
 * saying too much is gone would lose it for a reader. */
void hg_index_trim(struct hg_index *index, uint64_t sequence);
/* A walk from write `sequence` on came to `lsn_first` before anything else of the stream: what trim left
 * unknown.
 */
void hg_index_oldest_found(struct hg_index *index, uint64_t sequence, uint64_t lsn_first);
/* The newest known write whose first LSN is <= lsn. 0 = the stream has nothing that old (or nothing at all).
 */
uint64_t hg_index_find(const struct hg_index *index, uint64_t lsn);
/* The smallest LSN for which hg_index_find gives a write after `sequence`. 0 = there is none. */
uint64_t hg_index_lsn_after(const struct hg_index *index, uint64_t sequence);
/* Between which LSNs everything lies that write `sequence` has of the stream: from *lsn_first on, and below
 * *lsn_after (0 = up to the stream's end). False: it has nothing of it. Never too little; too much by what
 * the writes around it have that no entry stands for. */
bool hg_index_range(const struct hg_index *index, uint64_t sequence, uint64_t *lsn_first,
                    uint64_t *lsn_after);
/* The newest known write from which on there are `bytes` or more of what was added. 0 = there are less. */
uint64_t hg_index_behind(const struct hg_index *index, uint64_t bytes);

/* Forgets batches from `lsn` on: what comes next begins there. */
void hg_index_cut(struct hg_index *index, uint64_t lsn);

#endif
