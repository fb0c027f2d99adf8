/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/eal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#define EAL_ARGUMENTS_MAX  32
#define EAL_MEMORY_MB_MIN  32
#define EAL_MEMORY_MB_MAX  (1024 * 1024)
#define HUGEPAGE_DIRECTORY "/sys/kernel/mm/hugepages"

struct argument_list {
    int count;
    char *values[EAL_ARGUMENTS_MAX];
};

static bool eal_started;

static void argument_add(struct argument_list *list, const char *text)
{
    hg_assert(list->count + 1 < EAL_ARGUMENTS_MAX);
    list->values[list->count] = strdup(text);
    hg_assert(list->values[list->count] != NULL);
    list->count++;
    list->values[list->count] = NULL;
}

static bool hugepage_count_read(const char *size_name, uint64_t *count)
{
    char path[PATH_MAX];
    char text[32] = {0};
    snprintf(path, sizeof(path), HUGEPAGE_DIRECTORY "/%s/free_hugepages", size_name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    char *read = fgets(text, sizeof(text), file);
    fclose(file);
    if (read == NULL)
        return false;
    char *end = NULL;
    *count = strtoull(text, &end, 10);
    return end != text;
}

uint64_t hg_eal_hugepage_free_bytes(void)
{
    uint64_t free_bytes = 0;
    DIR *directory = opendir(HUGEPAGE_DIRECTORY);
    if (directory == NULL)
        return 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        unsigned long long page_kb;
        uint64_t count;
        if (sscanf(entry->d_name, "hugepages-%llukB", &page_kb) != 1)
            continue;
        if (hugepage_count_read(entry->d_name, &count))
            free_bytes += count * page_kb * 1024;
    }
    closedir(directory);
    return free_bytes;
}

static int options_check(const struct hg_eal_options *options, char *error, size_t error_bytes)
{
    if (options->program == NULL || options->lcores == NULL || options->lcores[0] == '\0') {
        snprintf(error, error_bytes, "no lcores given: name at least one core, such as 0@1");
        return -EINVAL;
    }
    if (options->memory_mb < EAL_MEMORY_MB_MIN || options->memory_mb > EAL_MEMORY_MB_MAX) {
        snprintf(error, error_bytes, "memory of %u MB is out of range: give %d to %d", options->memory_mb,
                 EAL_MEMORY_MB_MIN, EAL_MEMORY_MB_MAX);
        return -EINVAL;
    }
    const char *prefix = options->file_prefix;
    bool good = prefix != NULL && prefix[0] != '\0' && strlen(prefix) <= 40;
    for (; good && *prefix != '\0'; prefix++)
        good = isalnum((unsigned char)*prefix) || *prefix == '-' || *prefix == '_';
    if (!good) {
        snprintf(error, error_bytes, "the file prefix '%s' must be 1 to 40 letters, digits, '-' or '_'",
                 options->file_prefix != NULL ? options->file_prefix : "");
        return -EINVAL;
    }
    if (options->run_dir == NULL) {
        snprintf(error, error_bytes, "no run directory given");
        return -EINVAL;
    }
    return 0;
}

static void arguments_build(const struct hg_eal_options *options, bool huge, struct argument_list *list)
{
    char memory[16];
    snprintf(memory, sizeof(memory), "%u", options->memory_mb);
    argument_add(list, options->program);
    argument_add(list, "--lcores");
    argument_add(list, options->lcores);
    argument_add(list, "-m");
    argument_add(list, memory);
    argument_add(list, "--file-prefix");
    argument_add(list, options->file_prefix);
    argument_add(list, "--log-level=*:warning");
    if (huge) {
        /* Anonymous hugepages: no files in a hugetlbfs mount that a killed process leaves behind. */
        argument_add(list, "--in-memory");
    } else {
        argument_add(list, "--no-huge");
        argument_add(list, "--no-shconf");
    }
    if (options->pci_device != NULL) {
        argument_add(list, "-a");
        argument_add(list, options->pci_device);
    } else {
        argument_add(list, "--no-pci");
    }
    if (!options->telemetry)
        argument_add(list, "--no-telemetry");
}

/* The last line EAL wrote is its own reason for giving up. */
static void log_last_line(const char *path, char *line, size_t line_bytes)
{
    char text[256];
    line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(text, sizeof(text), file) != NULL) {
        text[strcspn(text, "\n")] = '\0';
        if (text[0] != '\0')
            snprintf(line, line_bytes, "%.*s", (int)line_bytes - 1, text);
    }
    fclose(file);
}

/* EAL keeps its log stream for the life of the process, so nobody closes it. */
static int log_open(const struct hg_eal_options *options, char *path, size_t path_bytes, char *error,
                    size_t error_bytes)
{
    int length = snprintf(path, path_bytes, "%s/%s-eal.log", options->run_dir, options->file_prefix);
    FILE *log = length > 0 && (size_t)length < path_bytes ? fopen(path, "we") : NULL;
    if (log == NULL) {
        snprintf(error, error_bytes, "can't write %s: %s; does the run directory exist and belong to you?",
                 path, strerror(errno));
        return -ENOENT;
    }
    setvbuf(log, NULL, _IOLBF, 0);
    if (rte_openlog_stream(log) != 0) {
        fclose(log);
        snprintf(error, error_bytes, "EAL refused its log file %s", path);
        return -EINVAL;
    }
    return 0;
}

/* EAL puts its runtime files below $RUNTIME_DIRECTORY; the variable is set for this one call. */
static int eal_init_in(const char *run_dir, struct argument_list *list)
{
    const char *before = getenv("RUNTIME_DIRECTORY");
    char *saved = before != NULL ? strdup(before) : NULL;
    char *arguments[EAL_ARGUMENTS_MAX]; /* EAL permutes what it is given */
    memcpy(arguments, list->values, sizeof(arguments));
    setenv("RUNTIME_DIRECTORY", run_dir, 1);
    int rc = rte_eal_init(list->count, arguments) < 0 ? -rte_errno : 0;
    if (saved != NULL)
        setenv("RUNTIME_DIRECTORY", saved, 1);
    else
        unsetenv("RUNTIME_DIRECTORY");
    free(saved);
    return rc;
}

int hg_eal_start(const struct hg_eal_options *options, char *error, size_t error_bytes)
{
    struct argument_list list = {0};
    char log_path[PATH_MAX];
    char reason[256];
    int rc = options_check(options, error, error_bytes);
    if (rc != 0)
        return rc;
    if (eal_started) {
        snprintf(error, error_bytes, "EAL was started already in this process");
        return -EALREADY;
    }
    rc = log_open(options, log_path, sizeof(log_path), error, error_bytes);
    if (rc != 0)
        return rc;
    uint64_t wanted_bytes = (uint64_t)options->memory_mb << 20;
    bool huge = options->pages == HG_EAL_PAGES_AUTO && hg_eal_hugepage_free_bytes() >= wanted_bytes;
    if (options->pci_device != NULL && !huge) {
        snprintf(error, error_bytes,
                 "PCI device %s needs %u MB of free hugepages, %llu MB are free: reserve some "
                 "(vm.nr_hugepages) or lower the memory",
                 options->pci_device, options->memory_mb,
                 (unsigned long long)(hg_eal_hugepage_free_bytes() >> 20));
        return -EINVAL;
    }
    arguments_build(options, huge, &list);
    eal_started = true;
    rc = eal_init_in(options->run_dir, &list);
    for (int i = 0; i < list.count; i++)
        free(list.values[i]);
    if (rc == 0)
        return 0;
    log_last_line(log_path, reason, sizeof(reason));
    snprintf(error, error_bytes, "DPDK did not start with lcores %s and %u MB of %s: %s (%s; see %s)",
             options->lcores, options->memory_mb, huge ? "hugepages" : "normal pages", strerror(-rc), reason,
             log_path);
    return rc;
}

bool hg_eal_has_hugepages(void)
{
    return eal_started && rte_eal_has_hugepages() != 0;
}
