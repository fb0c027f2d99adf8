/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/failover_reach.h"

static bool is_up(const struct hg_failover_config *config, uint64_t node, const uint64_t *up,
                  uint32_t up_count)
{
    for (uint32_t i = 0; i < up_count; i++)
        if (up[i] == node)
            return true;
    return node == config->node;
}

static void set_look(const struct hg_failover_config *config, uint32_t voters, const uint64_t *up,
                     uint32_t up_count, struct hg_failover_reach *reach)
{
    reach->seals = reach->n - reach->w + 1;
    for (uint32_t m = 0; m < config->member_count; m++) {
        if ((voters >> m & 1) == 0)
            continue;
        if (is_up(config, config->members[m], up, up_count))
            reach->up++;
        else
            reach->down[reach->down_count++] = config->members[m];
    }
}

/* Of how many more the set needs for a seal. */
static uint32_t lacks(const struct hg_failover_reach *reach)
{
    return reach->seals - (uint32_t)hg_min_u64(reach->up, reach->seals);
}

const char *hg_failover_reach(const struct hg_failover_config *config,
                              const struct hg_metastore_record *record, const uint64_t *up, uint32_t up_count,
                              struct hg_failover_reach *reach)
{
    struct hg_failover_config counted = *config;
    const char *why = hg_failover_config_members(&counted, &record->members);
    bool is_joint = counted.former_n != 0;

    memset(reach, 0, sizeof(*reach));
    if (why != NULL)
        return why;
    reach->n = counted.n;
    reach->w = counted.w;
    set_look(&counted, counted.voters != 0 ? counted.voters : UINT32_MAX, up, up_count, reach);
    if (is_joint) {
        struct hg_failover_reach former = {.is_former = true, .n = counted.former_n, .w = counted.former_w};
        set_look(&counted, counted.former, up, up_count, &former);
        if (lacks(&former) > lacks(reach))
            *reach = former;
    }
    bool is_own = record->node == counted.node &&
                  ((record->state == HG_METASTORE_SEALING && record->failover != 0) ||
                   (record->state == HG_METASTORE_OPEN && record->epoch > HG_FAILOVER_EPOCH_FIRST));
    reach->takes = !is_own;
    return NULL;
}

bool hg_failover_reach_suffices(const struct hg_failover_reach *reach)
{
    return !reach->takes || reach->up >= reach->seals;
}
