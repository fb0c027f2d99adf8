/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log: creates a log file, and shows what is in one.
 */
#include "tools/log/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void usage(FILE *to)
{
    fputs(
        "usage: helio-log create PATH --size BYTES [--cluster N] [--segment-bytes BYTES] [--dry-run] "
        "[--json]\n"
        "       helio-log dump PATH [--json]\n"
        "\n"
        "create  allocates the file, writes it full of zeros and puts an empty log on it; never overwrites\n"
        "dump    shows superblocks, header ring and every write with its batches; only reads\n"
        "\n"
        "  --size BYTES           of the file: 64m, 4g, 2t (k m g t = powers of 1024)\n"
        "  --cluster N            as in the command file's `node set`; 1 unless told\n"
        "  --segment-bytes BYTES  chosen from the size unless told\n"
        "  --dry-run              says what would be made, and makes nothing\n"
        "  --json                 create: one object; dump: one object a line\n"
        "\n"
        "Exit: 0 done, 1 refused or not readable to its end: stderr says why, 2 usage.\n"
        "\n"
        "Example: helio-log create /var/lib/heliograph/log-0 --size 4g --cluster 7\n",
        to);
}

static bool number_parse(const char *text, bool is_size, uint64_t *value)
{
    static const char units[] = "kmgt";
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    const char *unit = is_size && *end != 0 ? strchr(units, *end) : NULL;
    int shift = unit == NULL ? 0 : 10 * (int)(unit - units + 1);
    if (errno != 0 || end[unit != NULL] != 0 || number > UINT64_MAX >> shift)
        return false;
    *value = (uint64_t)number << shift;
    return true;
}

static bool number_take(const char *option, const char *text, bool is_size, uint64_t *value)
{
    if (number_parse(text, is_size, value) && *value != 0)
        return true;
    fprintf(stderr, "helio-log: %s wants %s, got '%s'\n", option,
            is_size ? "a size such as 64m or 4g" : "a number from 1 on", text == NULL ? "" : text);
    return false;
}

/* False after saying what is wrong. */
static bool create_parse(int argc, char **argv, struct create_options *options)
{
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool good = true, is_pair = true;
        if (strcmp(argv[i], "--size") == 0)
            good = number_take("--size", next, true, &options->size_bytes);
        else if (strcmp(argv[i], "--segment-bytes") == 0)
            good = number_take("--segment-bytes", next, true, &options->segment_bytes);
        else if (strcmp(argv[i], "--cluster") == 0)
            good = number_take("--cluster", next, false, &options->cluster);
        else
            is_pair = false;
        if (!good)
            return false;
        if (is_pair) {
            i++;
        } else if (strcmp(argv[i], "--json") == 0) {
            options->is_json = true;
        } else if (strcmp(argv[i], "--dry-run") == 0) {
            options->is_dry_run = true;
        } else if (argv[i][0] == '-' || options->path != NULL) {
            fprintf(stderr, "helio-log: create doesn't know what '%s' is for\n", argv[i]);
            return false;
        } else {
            options->path = argv[i];
        }
    }
    if (options->path != NULL && options->path[0] != 0 && options->size_bytes != 0)
        return true;
    fprintf(stderr, "helio-log: create wants %s\n",
            options->size_bytes == 0 ? "--size BYTES" : "the path of the log");
    return false;
}

/* False after saying what is wrong. */
static bool dump_parse(int argc, char **argv, const char **path, bool *is_json)
{
    *path = NULL;
    *is_json = false;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            *is_json = true;
        } else if (argv[i][0] == '-' || *path != NULL) {
            fprintf(stderr, "helio-log: dump doesn't know what '%s' is for\n", argv[i]);
            return false;
        } else {
            *path = argv[i];
        }
    }
    if (*path == NULL)
        fprintf(stderr, "helio-log: dump wants the path of a log\n");
    return *path != NULL;
}

int main(int argc, char **argv)
{
    const char *path;
    bool is_json;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 0;
        }
    }
    struct create_options options = {.cluster = 1};
    if (argc >= 2 && strcmp(argv[1], "dump") == 0) {
        if (dump_parse(argc - 2, argv + 2, &path, &is_json))
            return dump_run(path, is_json);
    } else if (argc >= 2 && strcmp(argv[1], "create") == 0) {
        if (create_parse(argc - 2, argv + 2, &options))
            return create_run(&options);
    } else {
        fprintf(stderr, "helio-log: which command, create or dump?%s%s\n", argc >= 2 ? " Not " : "",
                argc >= 2 ? argv[1] : "");
    }
    fprintf(stderr, "helio-log: helio-log --help says more\n");
    return 2;
}
