/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/marks.h"

void hg_marks_init(struct hg_marks *marks)
{
    memset(marks, 0, sizeof(*marks));
    marks->interval_ns = HG_MARKS_INTERVAL_NS;
}

static void marks_thin(struct hg_marks *marks)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < marks->count; i += 2)
        marks->marks[kept++] = marks->marks[i];
    marks->count = kept;
    marks->interval_ns *= 2;
}

void hg_marks_add(struct hg_marks *marks, uint64_t lsn_end, uint64_t now_ns)
{
    if (marks->count > 0) {
        hg_assert(lsn_end >= marks->marks[marks->count - 1].lsn_end);
        /* The newest mark keeps its time and takes the new end: its age is that of its oldest byte. */
        if (now_ns < marks->marks[marks->count - 1].time_ns + marks->interval_ns) {
            marks->marks[marks->count - 1].lsn_end = lsn_end;
            return;
        }
    }
    if (marks->count == HG_MARKS_MAX)
        marks_thin(marks);
    marks->marks[marks->count].lsn_end = lsn_end;
    marks->marks[marks->count].time_ns = now_ns;
    marks->count++;
}

void hg_marks_trim(struct hg_marks *marks, uint64_t lsn)
{
    uint32_t gone = 0;
    while (gone < marks->count && marks->marks[gone].lsn_end <= lsn)
        gone++;
    if (gone == 0)
        return;
    memmove(marks->marks, marks->marks + gone, (marks->count - gone) * sizeof(marks->marks[0]));
    marks->count -= gone;
    if (marks->count == 0)
        marks->interval_ns = HG_MARKS_INTERVAL_NS;
}

uint64_t hg_marks_age_ns(const struct hg_marks *marks, uint64_t lsn, uint64_t now_ns)
{
    uint32_t low = 0, high = marks->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (marks->marks[middle].lsn_end <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == marks->count || now_ns < marks->marks[low].time_ns)
        return 0;
    return hg_max_u64(1, now_ns - marks->marks[low].time_ns);
}
