/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/hlc.h"

#include <errno.h>

void hg_hlc_init(struct hg_hlc *hlc, uint64_t ceiling)
{
    hlc->last = ceiling;
    hlc->ceiling = ceiling;
}

uint64_t hg_hlc_now(struct hg_hlc *hlc, uint64_t realtime_ns)
{
    hg_assert(hlc->last < UINT64_MAX);
    uint64_t stamp = hg_max_u64(hlc->last + 1, hg_hlc_from_ns(realtime_ns));
    if (stamp > hlc->ceiling)
        return 0;
    hlc->last = stamp;
    return stamp;
}

int hg_hlc_merge(struct hg_hlc *hlc, uint64_t remote, uint64_t realtime_ns, uint64_t bound_ns)
{
    uint64_t ms_max = (realtime_ns / HG_NS_PER_MS) + bound_ns / HG_NS_PER_MS;
    if (hg_hlc_ms(remote) > ms_max)
        return -ERANGE;
    hlc->last = hg_max_u64(hlc->last, remote);
    return 0;
}

uint64_t hg_hlc_ceiling_next(const struct hg_hlc *hlc, uint64_t realtime_ns)
{
    uint64_t newest = hg_max_u64(hlc->last, hg_hlc_from_ns(realtime_ns));
    uint64_t step = (uint64_t)HG_HLC_CEILING_STEP_MS << HG_HLC_LOGICAL_BITS;
    hg_assert(newest <= UINT64_MAX - step);
    return hlc->ceiling >= newest + step / 2 ? 0 : newest + step;
}

void hg_hlc_ceiling_raise(struct hg_hlc *hlc, uint64_t ceiling)
{
    hlc->ceiling = hg_max_u64(hlc->ceiling, ceiling);
}
