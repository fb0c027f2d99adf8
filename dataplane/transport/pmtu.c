/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/pmtu.h"

/* IP MTUs that links have: IPv6's least, tunnels, PPPoE, Ethernet, jumbo frames with and without tunnels. */
static const uint32_t sizes[] = {1280, 1400, 1440, 1472, 1492, 1500, 4000, 8000, 8900, 9000};

/* The middle one of the sizes between what passes and what doesn't; 0: there is none. */
static uint32_t size_between(const struct hg_pmtu *pmtu)
{
    uint32_t found[HG_COUNT(sizes) + 1], count = 0;
    for (uint32_t i = 0; i < HG_COUNT(sizes); i++)
        if (sizes[i] > pmtu->bytes && sizes[i] < pmtu->bytes_bad && sizes[i] < pmtu->bytes_max)
            found[count++] = sizes[i];
    if (pmtu->bytes < pmtu->bytes_max && pmtu->bytes_max < pmtu->bytes_bad)
        found[count++] = pmtu->bytes_max;
    return count > 0 ? found[count / 2] : 0;
}

static void probe_next(struct hg_pmtu *pmtu, uint32_t bytes)
{
    pmtu->probe_bytes = bytes;
    pmtu->probe_number = 0;
    pmtu->probe_losses = 0;
}

static void settle(struct hg_pmtu *pmtu, uint64_t now_ns)
{
    pmtu->state = HG_PMTU_SETTLED;
    pmtu->large_losses = 0;
    pmtu->raise_ns = pmtu->bytes < pmtu->bytes_max ? now_ns + pmtu->raise_wait_ns : HG_TIME_NEVER;
    probe_next(pmtu, 0);
}

void hg_pmtu_init(struct hg_pmtu *pmtu, uint32_t bytes_max, uint32_t bytes_known, uint64_t now_ns)
{
    memset(pmtu, 0, sizeof(*pmtu));
    pmtu->bytes_max = bytes_max;
    pmtu->bytes_base = (uint32_t)hg_min_u64(HG_PMTU_BASE_BYTES, bytes_max);
    pmtu->bytes = bytes_max;
    pmtu->raise_wait_ns = HG_PMTU_RAISE_NS_MIN;
    if (bytes_known >= pmtu->bytes_base && bytes_known < bytes_max)
        pmtu->bytes = bytes_known;
    settle(pmtu, now_ns);
}

static void search_on(struct hg_pmtu *pmtu, uint64_t now_ns)
{
    uint32_t bytes = size_between(pmtu);
    if (bytes == 0) {
        settle(pmtu, now_ns);
        return;
    }
    pmtu->state = HG_PMTU_SEARCHING;
    probe_next(pmtu, bytes);
}

uint32_t hg_pmtu_probe_due(struct hg_pmtu *pmtu, uint64_t now_ns)
{
    if (pmtu->state == HG_PMTU_SETTLED && now_ns >= pmtu->raise_ns) {
        pmtu->bytes_bad = UINT32_MAX;
        pmtu->raise_wait_ns = hg_min_u64(2 * pmtu->raise_wait_ns, HG_PMTU_RAISE_NS_MAX);
        search_on(pmtu, now_ns);
    }
    return pmtu->probe_number == 0 ? pmtu->probe_bytes : 0;
}

void hg_pmtu_probe_sent(struct hg_pmtu *pmtu, uint64_t number)
{
    hg_assert(pmtu->probe_bytes != 0 && pmtu->probe_number == 0 && number != 0);
    pmtu->probe_number = number;
}

uint64_t hg_pmtu_deadline_ns(const struct hg_pmtu *pmtu)
{
    if (pmtu->state == HG_PMTU_SETTLED)
        return pmtu->raise_ns;
    return pmtu->probe_number == 0 ? 0 : HG_TIME_NEVER;
}

/* Whether a packet of this size that arrives clears the path of what was lost: a full one always, a smaller
 * one when none of the lost ones was smaller. */
static bool clears(const struct hg_pmtu *pmtu, uint32_t bytes)
{
    bool full = bytes + HG_PMTU_FULL_LESS_BYTES > pmtu->bytes;
    return bytes > pmtu->bytes_base && (full || (pmtu->large_losses > 0 && bytes >= pmtu->large_bytes));
}

bool hg_pmtu_arrived(struct hg_pmtu *pmtu, uint64_t number, uint32_t bytes, uint64_t now_ns)
{
    if (number == pmtu->probe_number && number != 0) {
        pmtu->bytes = pmtu->probe_bytes;
        pmtu->large_arrived = hg_max_u64(pmtu->large_arrived, number);
        if (pmtu->state == HG_PMTU_VERIFYING)
            settle(pmtu, now_ns);
        else
            search_on(pmtu, now_ns);
        return true;
    }
    if (number > pmtu->large_arrived && clears(pmtu, bytes)) {
        pmtu->large_arrived = number;
        pmtu->large_losses = 0;
    }
    return false;
}

static void suspect(struct hg_pmtu *pmtu)
{
    pmtu->state = HG_PMTU_VERIFYING;
    probe_next(pmtu, pmtu->bytes);
}

static void probe_lost(struct hg_pmtu *pmtu, uint64_t now_ns)
{
    pmtu->probe_number = 0;
    if (++pmtu->probe_losses < HG_PMTU_PROBES_MAX)
        return;
    pmtu->bytes_bad = pmtu->probe_bytes;
    if (pmtu->state == HG_PMTU_VERIFYING) {
        pmtu->bytes = pmtu->bytes_base;
        pmtu->raise_wait_ns = HG_PMTU_RAISE_NS_MIN;
    }
    search_on(pmtu, now_ns);
}

bool hg_pmtu_lost(struct hg_pmtu *pmtu, uint64_t number, uint32_t bytes, uint64_t now_ns)
{
    if (number == pmtu->probe_number && number != 0) {
        probe_lost(pmtu, now_ns);
        return true;
    }
    /* One that was sent later and arrived speaks for all of its size. */
    if (pmtu->state != HG_PMTU_SETTLED || bytes <= pmtu->bytes_base || number < pmtu->large_arrived)
        return false;
    pmtu->large_bytes = pmtu->large_losses == 0 ? bytes : (uint32_t)hg_min_u64(pmtu->large_bytes, bytes);
    if (++pmtu->large_losses >= HG_PMTU_LARGE_LOST)
        suspect(pmtu);
    return false;
}

void hg_pmtu_timeout(struct hg_pmtu *pmtu, uint32_t timeouts, uint32_t bytes)
{
    if (pmtu->state == HG_PMTU_SETTLED && timeouts >= HG_PMTU_TIMEOUTS && bytes > pmtu->bytes_base)
        suspect(pmtu);
}
