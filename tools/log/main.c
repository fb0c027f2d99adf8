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
        "usage: helio-log create PATH --size BYTES[k|m|g] [--cluster N] [--segment-bytes BYTES[k|m|g]] "
        "[--json]\n"
        "       helio-log dump PATH\n"
        "\n"
        "create  allocates the file, writes it full of zeros and puts an empty log on it; never overwrites\n"
        "dump    shows superblocks, header ring and every write with its batches; only reads\n",
        to);
}

static bool number_parse(const char *text, uint64_t *value)
{
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    int shift = *end == 'k' ? 10 : *end == 'm' ? 20 : *end == 'g' ? 30 : 0;
    if (errno != 0 || end[shift != 0] != 0 || (shift == 0 && *end != 0) || number > UINT64_MAX >> shift)
        return false;
    *value = (uint64_t)number << shift;
    return true;
}

/* Parses options of create. False after saying what is wrong. */
static bool create_parse(int argc, char **argv, struct create_options *options)
{
    for (int i = 0; i < argc; i++) {
        uint64_t *value = strcmp(argv[i], "--size") == 0            ? &options->size_bytes
                          : strcmp(argv[i], "--cluster") == 0       ? &options->cluster
                          : strcmp(argv[i], "--segment-bytes") == 0 ? &options->segment_bytes
                                                                    : NULL;
        if (value != NULL) {
            if (i + 1 == argc || !number_parse(argv[i + 1], value)) {
                fprintf(stderr, "helio-log: %s wants a number, such as 64m\n", argv[i]);
                return false;
            }
            i++;
        } else if (strcmp(argv[i], "--json") == 0) {
            options->is_json = true;
        } else if (argv[i][0] == '-' || options->path != NULL) {
            fprintf(stderr, "helio-log: unknown argument %s\n", argv[i]);
            return false;
        } else {
            options->path = argv[i];
        }
    }
    if (options->path == NULL || options->size_bytes == 0) {
        fprintf(stderr, "helio-log: create wants a path and --size\n");
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "dump") == 0)
        return dump_run(argv[2]);
    struct create_options options = {.cluster = 1};
    if (argc >= 3 && strcmp(argv[1], "create") == 0)
        return create_parse(argc - 2, argv + 2, &options) ? create_run(&options) : 2;
    usage(stderr);
    return 2;
}
