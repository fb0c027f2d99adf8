/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/report.h"
#include "drivers/platform/platform.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

void hg_perf_report_add(struct hg_perf_report *report, double value, const char *name, ...)
{
    va_list arguments;
    hg_assert(report->count < HG_PERF_METRICS_MAX);
    va_start(arguments, name);
    vsnprintf(report->metrics[report->count].name, sizeof(report->metrics[0].name), name, arguments);
    va_end(arguments);
    report->metrics[report->count++].value = isfinite(value) ? value : 0;
}

/* "AMD EPYC, 2 CPUs, Linux 6.1.0"; characters that JSON minds are left out. */
static void machine_text(char *text, size_t text_bytes)
{
    char model[96] = "unknown CPU", line[256];
    struct utsname system;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            snprintf(model, sizeof(model), "%.90s", colon + 2);
            break;
        }
    }
    if (file != NULL)
        fclose(file);
    model[strcspn(model, "\n\"\\")] = '\0';
    if (uname(&system) != 0)
        memset(&system, 0, sizeof(system));
    snprintf(text, text_bytes, "%s, %ld CPUs, Linux %s", model, sysconf(_SC_NPROCESSORS_ONLN),
             system.release);
}

void hg_perf_report_print(const struct hg_perf_report *report, bool json)
{
    char machine[256];
    machine_text(machine, sizeof(machine));
    if (!json) {
        printf("\n%s on %s\n", report->bench, machine);
        for (uint32_t i = 0; i < report->count; i++)
            printf("  %-56s %16.6g\n", report->metrics[i].name, report->metrics[i].value);
        return;
    }
    printf("{\"bench\": \"%s\", \"machine\": \"%s\", \"metrics\": {", report->bench, machine);
    for (uint32_t i = 0; i < report->count; i++)
        printf("%s\"%s\": %.15g", i == 0 ? "" : ", ", report->metrics[i].name, report->metrics[i].value);
    printf("}}\n");
}
