/* SPDX-License-Identifier: Apache-2.0
 *
 * Changing the members of a group, step by step: learner, caught up, joint, new set. What is wanted stands in
 * the metastore's record itself, so any control plane whose node writes the group goes on where another one
 * stopped, and a lost compare-and-swap is read again. Pure: a record and what the writer's dataplane says
 * give the next record, or what is waited for.
 */
#ifndef HG_CONTROLPLANE_MEMBERS_H
#define HG_CONTROLPLANE_MEMBERS_H

#include "drivers/ipc/group_members.h"

enum hg_members_order {
    HG_MEMBERS_ADD,     /* `node` becomes a member */
    HG_MEMBERS_REMOVE,  /* `node` is one no more */
    HG_MEMBERS_REPLACE, /* `node` by `node_new` */
    HG_MEMBERS_LEARNER, /* `node` gets a copy that counts for nothing */
    HG_MEMBERS_CANCEL,  /* a change that is not joint yet */
};

/* The record's next configuration, which begins what is ordered: w of the new set is its majority, or as much
 * more than that as now. `from` of generation 0 is what the command file says, its members filled in. */
enum hg_members_reason hg_members_order(const struct hg_members *from, enum hg_members_order order,
                                        uint64_t node, uint64_t node_new, struct hg_members *next);

/* What the dataplane that writes the group says of it, all its logs together. */
struct hg_members_facts {
    uint64_t node;       /* that dataplane's, which writes */
    uint64_t generation; /* that it has on its device and counts by */
    /* All that was ever committed is on w of each set that counts now. */
    bool is_synced;
    uint32_t caught_up_count;
    uint64_t caught_up[HG_LEARNERS_MAX]; /* learners that have all that is committed */
};

/* This node has all that is committed: kept of a learner, since of members nobody asks, and they may be more
 * than there is room for. */
void hg_members_caught_up(struct hg_members_facts *facts, const struct hg_members *now, uint64_t node);

enum hg_members_verdict {
    HG_MEMBERS_DONE,        /* no change is under way */
    HG_MEMBERS_STEP,        /* *next may replace it */
    HG_MEMBERS_APPLYING,    /* the dataplane that writes does not count by this generation yet */
    HG_MEMBERS_CATCHES_UP,  /* a new member copies the log */
    HG_MEMBERS_WRITER_GOES, /* the node that writes is to go: by a fail-over under way when it was ordered */
    HG_MEMBERS_SYNCING,     /* what was committed before is not on w of the new set yet */
};
const char *hg_members_verdict_text(enum hg_members_verdict verdict);
enum hg_members_verdict hg_members_next(const struct hg_members *now, const struct hg_members_facts *facts,
                                        struct hg_members *next);

/* In a line: "generation 3: w 2 of 1 2 3; before, and counted too: w 2 of 1 2 4; learners 5". */
void hg_members_text(const struct hg_members *members, char *text, size_t bytes);

#endif
