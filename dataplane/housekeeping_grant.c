/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in write grants: what the control plane has put on its page goes to every worker. A
 * grant is no command, so it waits behind none.
 */
#include "dataplane/housekeeping.h"

static bool grant_put(struct hg_housekeeping *hk, uint32_t group, const struct hg_control_grant *grant)
{
    struct hg_letter letter;
    if (!hg_housekeeping_room(hk))
        return false;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_GRANT;
    letter.number = group;
    letter.number2 = grant->epoch;
    letter.body.deadline_ns = grant->deadline_ns;
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        hg_assert(hg_housekeeping_put(hk, i, &letter));
    return true;
}

void hg_housekeeping_grants_tick(struct hg_housekeeping *hk)
{
    struct hg_control_grants page;
    uint64_t generation;
    /* A worker that reads its log back would only keep letters for later. */
    if (!hk->placed || hg_control_ring_grants_read(&hk->ring, &page, &generation) != 0 ||
        generation == hk->grants_generation)
        return;
    for (uint32_t group = 0; group < HG_CONTROL_GROUPS_MAX; group++) {
        if (page.groups[group].epoch == 0 ||
            memcmp(&page.groups[group], &hk->grants.groups[group], sizeof(page.groups[group])) == 0)
            continue;
        if (!grant_put(hk, group, &page.groups[group]))
            return; /* the rest when there is room */
        hk->grants.groups[group] = page.groups[group];
    }
    hk->grants_generation = generation;
}
