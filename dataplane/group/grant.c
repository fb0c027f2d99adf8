/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/group/grant.h"

#include "drivers/ipc/control_state.h"

const char *hg_grant_reason_name(enum hg_grant_reason reason)
{
    static const char *const names[] = {
#define HG_X(name, text) "grant_" #name,
        HG_GRANT_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_GRANT_REASON_COUNT ? names[reason] : "unknown";
}

enum hg_grant_reason hg_grant_take(struct hg_grant *grant, uint64_t epoch, uint64_t deadline_ns,
                                   uint64_t boottime_ns)
{
    if (epoch == 0 ||
        (deadline_ns > boottime_ns && deadline_ns - boottime_ns > HG_CONTROL_GRANT_MS_MAX * HG_NS_PER_MS))
        return HG_GRANT_LIMIT;
    if (epoch < grant->epoch || (epoch == grant->epoch && deadline_ns < grant->deadline_ns))
        return HG_GRANT_OLDER;
    grant->epoch = epoch;
    grant->deadline_ns = deadline_ns;
    return HG_GRANT_OK;
}

uint64_t hg_grant_left_ns(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns)
{
    if (grant->epoch == 0 || grant->epoch != epoch || boottime_ns >= grant->deadline_ns)
        return 0;
    return grant->deadline_ns - boottime_ns;
}

bool hg_grant_may_append(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns)
{
    return hg_grant_left_ns(grant, epoch, boottime_ns) > 0;
}

bool hg_grant_may_tell(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns)
{
#ifdef HG_SEEDED_BUG_GRANT_NO_RECHECK
    (void)boottime_ns;
    return grant->epoch == epoch;
#else
    return hg_grant_left_ns(grant, epoch, boottime_ns) > 0;
#endif
}

enum hg_grant_turn hg_grant_turn(struct hg_grant *grant, uint64_t epoch, uint64_t since_ns,
                                 uint64_t boottime_ns)
{
    bool was_held = grant->was_held;
    grant->was_held = hg_grant_left_ns(grant, epoch, boottime_ns) > 0;
    if (!grant->was_held) {
        if (!was_held && hg_grant_left_ns(grant, epoch, since_ns) == 0)
            return HG_GRANT_SAME;
        grant->lapse_told = true;
        return HG_GRANT_LAPSED;
    }
    if (was_held)
        return HG_GRANT_SAME;
    bool back = grant->lapse_told;
    grant->lapse_told = false;
    return back ? HG_GRANT_BACK : HG_GRANT_FIRST;
}
