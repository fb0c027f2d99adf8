/* SPDX-License-Identifier: Apache-2.0
 *
 * The write grant of one log group: until when this node, as the group's writer, may take appends and tell
 * what is durable or committed. It comes from the control plane, which has it from a write that the metastore
 * committed (controlplane/grant.h), and it ends by itself: a node that was cut off, paused or left alone
 * tells nothing new once it is over. That bounds how long a writer which was deposed believes in itself; what
 * keeps two histories apart is epochs (epoch.h), never a clock.
 *
 * Times are CLOCK_BOOTTIME, so that a suspended machine's grant goes on. Pure.
 */
#ifndef HG_GROUP_GRANT_H
#define HG_GROUP_GRANT_H

#include "drivers/platform/platform.h"

/* Why a grant is not taken; each is counted. OLDER: of an epoch before the one that it is had for, or one
 * that ends sooner; a control plane that starts again repeats what was, so this is no fault by itself. */
#define HG_GRANT_REASONS(X)                                                                                  \
    X(OK, "fine")                                                                                            \
    X(OLDER, "grants that end before the one at hand, or are for an epoch before its")                       \
    X(LIMIT, "grants that last longer than any may, or are of no epoch")
enum hg_grant_reason {
#define HG_X(name, text) HG_GRANT_##name,
    HG_GRANT_REASONS(HG_X)
#undef HG_X
        HG_GRANT_REASON_COUNT
};
const char *hg_grant_reason_name(enum hg_grant_reason reason);

struct hg_grant {
    uint64_t epoch;       /* that it is for; 0 = there never was one */
    uint64_t deadline_ns; /* CLOCK_BOOTTIME */
    bool was_held;        /* at the last look: tells when it lapses, and when it is back */
    bool lapse_told;      /* and was not back since */
};

/* Takes a grant. `boottime_ns` is now. */
enum hg_grant_reason hg_grant_take(struct hg_grant *grant, uint64_t epoch, uint64_t deadline_ns,
                                   uint64_t boottime_ns);
/* Whether an append under `epoch` may be taken at this time. */
bool hg_grant_may_append(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns);
/* Whether what was written under `epoch` may be told to be durable or committed. `boottime_ns` is read for
 * this question: whoever slept since the append was taken must find that out here. */
bool hg_grant_may_tell(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns);

enum hg_grant_turn { HG_GRANT_SAME, HG_GRANT_FIRST, HG_GRANT_LAPSED, HG_GRANT_BACK };
/* What happened since the last look, at `since_ns`. A grant that was taken after it, held by that time's
 * clock and over by this one's, has lapsed: what it allowed may have been shown in between. */
enum hg_grant_turn hg_grant_turn(struct hg_grant *grant, uint64_t epoch, uint64_t since_ns,
                                 uint64_t boottime_ns);
/* What is left of it; 0 = nothing. */
uint64_t hg_grant_left_ns(const struct hg_grant *grant, uint64_t epoch, uint64_t boottime_ns);

#endif
