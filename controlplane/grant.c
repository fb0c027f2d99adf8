/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/grant.h"

#include <errno.h>

#define RENEWALS_MIN 3u /* are tried before a grant ends */

static uint64_t drift_ns(uint32_t grant_ms)
{
    return (uint64_t)grant_ms * HG_NS_PER_MS / 1000000 * HG_CONTROL_GRANT_DRIFT_PPM;
}

uint64_t hg_grant_believed_ns(uint32_t grant_ms)
{
    return (uint64_t)grant_ms * HG_NS_PER_MS - drift_ns(grant_ms);
}

uint64_t hg_grant_wait_ns(uint32_t grant_ms)
{
    return (uint64_t)grant_ms * HG_NS_PER_MS + drift_ns(grant_ms);
}

static uint64_t again_ns(const struct hg_granting *granting)
{
    return (uint64_t)granting->grant_ms * HG_NS_PER_MS / RENEWALS_MIN;
}

void hg_granting_init(struct hg_granting *granting, uint32_t grant_ms)
{
    *granting = (struct hg_granting){.grant_ms = grant_ms, .state = HG_GRANTING_NONE};
}

void hg_granting_length(struct hg_granting *granting, uint32_t grant_ms)
{
    if (granting->grant_ms != grant_ms)
        granting->since_ns = 0;
    granting->grant_ms = grant_ms;
}

uint32_t hg_grant_written_ms(uint32_t grant_ms, uint32_t found_ms, uint64_t held_ns)
{
    return grant_ms < found_ms && held_ns < hg_grant_wait_ns(found_ms) ? found_ms : grant_ms;
}

bool hg_granting_due(const struct hg_granting *granting, uint64_t boottime_ns)
{
    return granting->grant_ms != 0 && granting->asked_ns == 0 && boottime_ns >= granting->ask_ns;
}

void hg_granting_ask(struct hg_granting *granting, uint64_t boottime_ns)
{
    hg_assert(granting->asked_ns == 0 && boottime_ns != 0);
    granting->asked_ns = boottime_ns;
    granting->since_ns = granting->since_ns != 0 ? granting->since_ns : boottime_ns;
}

void hg_granting_committed(struct hg_granting *granting, uint64_t epoch)
{
    hg_assert(granting->asked_ns != 0);
    granting->epoch = epoch;
    granting->deadline_ns = granting->asked_ns + hg_grant_believed_ns(granting->grant_ms);
    granting->ask_ns = granting->asked_ns + again_ns(granting);
    granting->asked_ns = 0;
}

void hg_granting_failed(struct hg_granting *granting, uint64_t boottime_ns)
{
    hg_assert(granting->asked_ns != 0);
    granting->asked_ns = 0;
    granting->ask_ns = boottime_ns + again_ns(granting) / 4;
}

void hg_granting_refused(struct hg_granting *granting, uint64_t boottime_ns)
{
    hg_assert(granting->asked_ns != 0);
    granting->asked_ns = 0;
    granting->ask_ns = boottime_ns + again_ns(granting);
}

void hg_granting_answered(struct hg_granting *granting, int rc, uint64_t epoch, uint64_t boottime_ns)
{
    if (rc == 0)
        hg_granting_committed(granting, epoch);
    else if (rc == -EPERM || rc == -ENOENT)
        hg_granting_refused(granting, boottime_ns);
    else
        hg_granting_failed(granting, boottime_ns);
}

enum hg_granting_turn hg_granting_turn(struct hg_granting *granting, uint64_t boottime_ns)
{
    bool held = boottime_ns < granting->deadline_ns;
    if (held == (granting->state == HG_GRANTING_HELD))
        return HG_GRANTING_SAME;
    granting->state = held ? HG_GRANTING_HELD : HG_GRANTING_LAPSED;
    return held ? HG_GRANTING_GOT : HG_GRANTING_LOST;
}
