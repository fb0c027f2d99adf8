/* SPDX-License-Identifier: Apache-2.0
 *
 * The epochs of one log group in one log: what was promised, what may be written and by whom. A group is the
 * streams of one origin region in one log. Its log is a chain of pieces, one an epoch; a seal ends a piece by
 * promising a higher epoch: from then on nothing of an older one is taken, whoever sends it. Nobody ever
 * takes a promise back. Safety comes from this alone, never from a clock.
 *
 * Pure decisions over a state that the caller makes durable: a promise in the superblock, before it is
 * answered; the beginning of an epoch as a record of the log, before anything is taken under it
 * (docs/disk-format.md). Every refusal has a name, and the caller counts it.
 */
#ifndef HG_GROUP_EPOCH_H
#define HG_GROUP_EPOCH_H

#include "drivers/platform/platform.h"

#define HG_EPOCH_FIRST 1u        /* of a group that was never sealed: open from its beginning */
#define HG_EPOCH_MAX   INT64_MAX /* it is a revision of the metastore */

#define HG_GROUP_REASONS(X)                                                                                  \
    X(OK, "fine")                                                                                            \
    X(WOULD_BLOCK, "the log takes nothing now")                                                              \
    X(append_sealed, "appends of producers to a group that is sealed")                                       \
    X(batch_order, "batches of an epoch that their writer, or the stream here, can't have")                  \
    X(batch_epoch, "batches of a writer whose epoch is over")                                                \
    X(seal_epoch, "seals under an epoch older than what is promised or written here")                        \
    X(seal_open, "seals under the epoch that is open: it takes a higher one")                                \
    X(seal_limit, "seals under an epoch out of limits, or of a group that can't be")                         \
    X(seal_mixed, "seals of a group with streams of several regions: give each region's another group")      \
    X(seal_stranger, "seals and fills asked for by a node that is not of the region's quorum")               \
    X(open_epoch, "openings of an epoch that is over, or that somebody wrote under")                         \
    X(open_unpromised, "openings of an epoch that is not promised here: seal first")                         \
    X(open_foreign, "openings of a group that another node writes: open it there")                           \
    X(follow_mixed,                                                                                          \
      "openings by a writer of a newer epoch in a group with streams of several regions: give each another") \
    X(release_unbegun, "releases of an epoch that did not begin here")                                       \
    X(read_unfenced, "recovery reads under an epoch that is not the one promised here")                      \
    X(fill_behind, "fills of a copy that has more than the one that was asked to fill it")                   \
    X(truncate_epoch, "truncations under an epoch that is not the one promised here")                        \
    X(truncate_history, "cuts of copies that have no such point in common with their writer")                \
    X(truncate_many, "cuts of copies whose log still holds what too many older ones cut off: later")         \
    X(truncate_floor, "truncations below what is committed: a proof of a bug elsewhere")                     \
    X(config_generation, "members of a group of an older generation than the one kept here")                 \
    X(config_members, "members of a group that can't be, or differ from those of the same generation")       \
    X(writer_generation, "streams opened by a node whose members are of an older generation")                \
    X(writer_stranger, "streams opened by a node that is no member of their group")
enum hg_group_reason {
#define HG_X(name, text) HG_GROUP_##name,
    HG_GROUP_REASONS(HG_X)
#undef HG_X
        HG_GROUP_REASON_COUNT
};
const char *hg_group_reason_name(enum hg_group_reason reason);
const char *hg_group_reason_text(enum hg_group_reason reason);

/* epoch_open <= epoch_released <= epoch_begun <= epoch_promised <= epoch_wanted, but for a group that was
 * never sealed: it has promised 0 and is open under HG_EPOCH_FIRST. */
struct hg_group {
    uint64_t epoch_wanted;   /* promised from now on; on its way to the device */
    uint64_t epoch_promised; /* on the device; only this may be answered */
    uint64_t epoch_begun;    /* its beginning is in the log */
    uint64_t epoch_started;  /* and on the device */
    uint64_t epoch_released; /* so is that producers may write under it: in the log */
    uint64_t epoch_open;     /* and on the device: they may */
    uint64_t sealed_write;   /* newest write that had something of the group when it was sealed */
    uint64_t begun_write;    /* the one with the beginning of epoch_begun, or with its release */
};

void hg_group_init(struct hg_group *group);
/* As read back from the device: `promised` of the superblock, the others of the log's records (0 = none). */
void hg_group_recovered(struct hg_group *group, uint64_t promised, uint64_t begun, uint64_t released);

/* The oldest epoch that may still write here. */
static inline uint64_t hg_group_fence(const struct hg_group *group)
{
    return hg_max_u64(group->epoch_wanted, HG_EPOCH_FIRST);
}

/* True while no epoch is open for producers: a higher one was promised, and its beginning is not on the
 * device. */
static inline bool hg_group_is_sealed(const struct hg_group *group)
{
    return group->epoch_open != hg_group_fence(group);
}

/* Whether a producer here may append. */
enum hg_group_reason hg_group_append(const struct hg_group *group);
/* Whether a batch of `epoch` may be taken from a writer whose own is `epoch_writer` (it also sends what older
 * epochs wrote) behind a batch of `epoch_last`. */
enum hg_group_reason hg_group_replicate(const struct hg_group *group, uint64_t epoch_writer,
                                        uint64_t epoch_last, uint64_t epoch);
/* Whether `epoch` may be promised; `epoch_newest` is the newest that anything in the log was written under.
 * Fine also when it is promised already. */
enum hg_group_reason hg_group_seal(const struct hg_group *group, uint64_t epoch, uint64_t epoch_newest);
/* Promises it: nothing older is taken from now on. The caller makes it durable, then says so. */
void hg_group_promise(struct hg_group *group, uint64_t epoch);
void hg_group_promise_durable(struct hg_group *group, uint64_t epoch);
/* Whether a SEAL of this epoch may be answered: the promise is on the device. */
bool hg_group_may_answer(const struct hg_group *group, uint64_t epoch);
/* Whether `epoch` may begin here; `epoch_newest` as above. Fine also when it began here already. */
enum hg_group_reason hg_group_open(const struct hg_group *group, uint64_t epoch, uint64_t epoch_newest);
void hg_group_begin(struct hg_group *group, uint64_t epoch, uint64_t write);
/* Whether producers may be let in under `epoch`, which began here. Fine also when they were already. */
enum hg_group_reason hg_group_release(const struct hg_group *group, uint64_t epoch);
void hg_group_released(struct hg_group *group, uint64_t write);
/* begun_write is on the device. */
void hg_group_begin_durable(struct hg_group *group);
/* Whether a read that decides about a tail may be answered. It carries its epoch, and only where that is
 * promised: else the old writer could still commit behind what was read. */
enum hg_group_reason hg_group_read(const struct hg_group *group, uint64_t epoch);
/* Whether what begins at `lsn` may be cut off; nothing below `lsn_committed` ever is. */
enum hg_group_reason hg_group_truncate(const struct hg_group *group, uint64_t epoch, uint64_t lsn,
                                       uint64_t lsn_committed);

#endif
