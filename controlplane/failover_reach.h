/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether enough members are heard here for a fail-over to this node to get further than its epoch: with
 * fewer than n - w + 1 of them it would depose who writes, and stay sealed. Pure.
 */
#ifndef HG_CONTROLPLANE_FAILOVER_REACH_H
#define HG_CONTROLPLANE_FAILOVER_REACH_H

#include "controlplane/failover.h"

struct hg_failover_reach {
    bool takes;     /* an epoch would be taken; else the newest one is this node's already */
    bool is_former; /* what follows is of the former members, while they change: of the set that lacks more */
    uint32_t n, w;
    uint32_t seals; /* of the n must answer */
    uint32_t up;    /* of them, this node among them where it is one */
    uint32_t down_count;
    uint64_t down[HG_TAIL_COPIES_MAX]; /* the others, as far as they are known here */
};

/* `config` is of the command file; members of `record` go before it. `up` are nodes that are heard, in any
 * order. NULL, or why this node can't drive it (static text). */
const char *hg_failover_reach(const struct hg_failover_config *config,
                              const struct hg_metastore_record *record, const uint64_t *up, uint32_t up_count,
                              struct hg_failover_reach *reach);
/* Whether it may be begun without being forced. */
bool hg_failover_reach_suffices(const struct hg_failover_reach *reach);

#endif
