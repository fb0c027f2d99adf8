/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/log/progress.h"
#include "drivers/clock/clock.h"

#include <stdio.h>

#define PROGRESS_AFTER_NS (2 * HG_NS_PER_S)

void progress_begin(struct progress *progress, uint64_t bytes)
{
    struct hg_clock *clock = hg_clock_tsc();
    *progress = (struct progress){.bytes = bytes, .begin_ns = clock->now_ns(clock)};
}

void progress_show(void *arg, uint64_t bytes_done)
{
    struct progress *progress = arg;
    struct hg_clock *clock = hg_clock_tsc();
    uint64_t now_ns = clock->now_ns(clock);
    if (now_ns - progress->begin_ns < PROGRESS_AFTER_NS ||
        (now_ns - progress->shown_ns < HG_NS_PER_S / 2 && bytes_done < progress->bytes))
        return;
    progress->shown_ns = now_ns;
    uint64_t bytes_per_s =
        (uint64_t)((unsigned __int128)bytes_done * HG_NS_PER_S / (now_ns - progress->begin_ns));
    fprintf(stderr, "\rwriting zeros: %llu of %llu MiB, %llu MiB/s%s", (unsigned long long)(bytes_done >> 20),
            (unsigned long long)(progress->bytes >> 20), (unsigned long long)(bytes_per_s >> 20),
            bytes_done == progress->bytes ? "\n" : " ");
}
