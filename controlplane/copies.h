/* SPDX-License-Identifier: Apache-2.0
 *
 * Naming the logs that count (drivers/ipc/group_copies.h), where the group is written: the first ones all at
 * once, when every member has everything, for a writer that is named alone would leave nobody to take over;
 * later a member's new log once it has all that its former one may have had a part in.
 * Pure: what is named and what the writer's dataplane says give what is to be named.
 */
#ifndef HG_CONTROLPLANE_COPIES_H
#define HG_CONTROLPLANE_COPIES_H

#include "drivers/ipc/group_copies.h"

/* The logs of a node that hold streams of the group. */
struct hg_copies_seen_node {
    uint64_t node;
    bool is_voter;  /* a member, not a learner */
    bool caught_up; /* has all that may have been committed */
    uint32_t log_count;
    uint64_t logs[HG_COPIES_LOGS_MAX];
};

/* What the dataplane that writes the group says, all its logs together. */
struct hg_copies_seen {
    struct hg_copies_seen_node own;
    uint32_t count; /* of the other nodes of the region, up or not */
    struct hg_copies_seen_node nodes[HG_COPIES_NODES_MAX - 1];
};

/* Adds a log to a node's, unless it is there. False: there is no room. */
bool hg_copies_seen_add(struct hg_copies_seen_node *seen, uint64_t log);

/* False: nothing is to be changed; or this node's own log is none that counts, and then it names nobody: only
 * a fail-over helps, under which it is filled like any other. */
bool hg_copies_next(const struct hg_copies *now, const struct hg_copies_seen *seen, struct hg_copies *next);

/* Why a stream of a group may not go to another log of its node now, in words; NULL: it may. `named` is what
 * the metastore has of the group at this moment, NULL where it can't be read: the dataplane refuses too, but
 * hears of the first names later, and a log that was named for a stream that left it is one that counts and
 * lacks it. */
const char *hg_copies_move_problem(const struct hg_copies *named, bool has_quorum);

#endif
