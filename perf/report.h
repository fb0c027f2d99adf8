/* SPDX-License-Identifier: Apache-2.0
 *
 * What a benchmark found: named numbers. Printed as a table, or as one JSON object
 * {"bench", "machine", "metrics": {name: number}}.
 */
#ifndef HG_PERF_REPORT_H
#define HG_PERF_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#define HG_PERF_METRICS_MAX 1024

struct hg_perf_report {
    const char *bench;
    uint32_t count;
    struct {
        char name[128]; /* what, its unit, and /parameter=value where there are several */
        double value;
    } metrics[HG_PERF_METRICS_MAX];
};

__attribute__((format(printf, 3, 4))) void hg_perf_report_add(struct hg_perf_report *report, double value,
                                                              const char *name, ...);
void hg_perf_report_print(const struct hg_perf_report *report, bool json);

#endif
