/* SPDX-License-Identifier: Apache-2.0
 *
 * Which logs are the copies of a group that count. A node that lost its disk comes back under its old name
 * with an empty log: what the former one had and had promised is gone, so it must not be taken for a member
 * that never had anything. Hence the metastore's record of a group names the logs of each member. Whoever
 * writes the group adds a log there, by compare-and-swap, once it has all that may have been acknowledged; a
 * seal takes the record away from the former writer, so after it no log is added for the epoch that ends.
 * Only a log that is named counts, for a commit and in a seal alike.
 *
 * Where none is named at all nobody has said anything yet, and all count. Pure; shared by control plane and
 * dataplane.
 */
#ifndef HG_IPC_GROUP_COPIES_H
#define HG_IPC_GROUP_COPIES_H

#include "drivers/ipc/group_members.h"

#define HG_COPIES_NODES_MAX (HG_MEMBERS_MAX + 1 + HG_LEARNERS_MAX)
#define HG_COPIES_LOGS_MAX  16u /* of a node: a log for each worker */

struct hg_copies_node {
    uint64_t node;
    uint32_t log_count; /* that hold streams of the group */
    uint32_t reserved;
    uint64_t logs[HG_COPIES_LOGS_MAX]; /* hg_copies_id of each */
};

struct hg_copies {
    uint32_t count;
    uint32_t reserved;
    struct hg_copies_node nodes[HG_COPIES_NODES_MAX];
};

/* A log by its uuid, which is random; never 0. */
uint64_t hg_copies_id(const uint8_t log_uuid[16]);
/* NULL: none of this node is named. */
const struct hg_copies_node *hg_copies_of(const struct hg_copies *copies, uint64_t node);

/* Whether what this log of the node says counts. */
bool hg_copies_counts(const struct hg_copies *copies, uint64_t node, uint64_t log);
/* Whether a node that has these logs has lost none of those that counted. */
bool hg_copies_are_there(const struct hg_copies *copies, uint64_t node, const uint64_t *logs, uint32_t count);

/* Names these logs of the node, and no other ones of it. False: they are what is named, or there is no room
 * (hg_copies_check). */
bool hg_copies_put(struct hg_copies *copies, uint64_t node, const uint64_t *logs, uint32_t count);
/* Forgets all nodes but these. */
void hg_copies_keep(struct hg_copies *copies, const uint64_t *nodes, uint32_t count);
/* Each node once, each with logs, none 0. */
bool hg_copies_check(const struct hg_copies *copies);

#endif
