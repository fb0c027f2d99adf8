/* SPDX-License-Identifier: Apache-2.0
 *
 * When was this LSN appended? A bounded, thinning history of (LSN, time), from which lag in time is read: the
 * age of the oldest mark above a position. Owning worker only.
 */
#ifndef HG_STREAM_MARKS_H
#define HG_STREAM_MARKS_H

#include "drivers/platform/platform.h"

#define HG_MARKS_MAX         128
#define HG_MARKS_INTERVAL_NS HG_NS_PER_MS

struct hg_marks {
    struct {
        uint64_t lsn_end;
        uint64_t time_ns;
    } marks[HG_MARKS_MAX];
    uint32_t count;
    uint64_t interval_ns; /* doubles each time the history is full */
};

void hg_marks_init(struct hg_marks *marks);
/* LSNs and times rise. */
void hg_marks_add(struct hg_marks *marks, uint64_t lsn_end, uint64_t now_ns);
/* Nobody is below `lsn` any more. */
void hg_marks_trim(struct hg_marks *marks, uint64_t lsn);
/* Age of the oldest entry above `lsn`; 0 = there is none. Precise to the interval. */
uint64_t hg_marks_age_ns(const struct hg_marks *marks, uint64_t lsn, uint64_t now_ns);

#endif
