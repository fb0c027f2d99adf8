/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf wan --fairness: two flows of ours and one of the kernel's TCP CUBIC over one clean line, all at
 * the same time, and what share of it each of them gets.
 */
#ifndef HG_PERF_FAIRNESS_H
#define HG_PERF_FAIRNESS_H

#include "perf/perf.h"

/* 0, or -errno after a sentence on standard error. */
int hg_perf_fairness(const struct hg_perf_options *options, const struct hg_perf_data *data,
                     struct hg_perf_report *report);

#endif
