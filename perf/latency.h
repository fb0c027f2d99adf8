/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf wan --latency: how long a commit takes until the sender knows it durable in the other region,
 * at light load, over a line without loss, one that loses 1 %, and that one with FEC. Beside it what
 * fdatasync takes on the same disk at the same time, for a commit waits for it twice.
 */
#ifndef HG_PERF_LATENCY_H
#define HG_PERF_LATENCY_H

#include "perf/perf.h"

/* 0, or -errno after a sentence on standard error. */
int hg_perf_latency(const struct hg_perf_options *options, const struct hg_perf_data *data,
                    struct hg_perf_report *report);

#endif
