/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log: creates a log file, makes it longer, shows what is in one, says whether it is whole, and accepts
 * a loss.
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
        "       helio-log grow PATH SIZE [--dry-run] [--json]\n"
        "       helio-log dump PATH [--json]\n"
        "       helio-log verify PATH [--json]\n"
        "       helio-log stat PATH [--json]\n"
        "       helio-log repair PATH --from LOG [--from LOG ...] [--sequence N] [--dry-run] [--json]\n"
        "       helio-log accept-loss PATH --sequence N|--lsn STREAM:LSN [--dry-run] [--json]\n"
        "\n"
        "create  allocates the file, writes it full of zeros and puts an empty log on it; never overwrites\n"
        "grow    makes a log longer that nobody has open (one in use: helioctl log grow); a log that would "
        "not "
        "start\n"
        "        is left as it is, and so is one for which there is no space\n"
        "dump    shows superblocks, header ring and every write with its batches\n"
        "verify  checks every block, batch and stream, names each damage by its place, and says what a "
        "start\n"
        "        would make of it\n"
        "stat    per stream: LSNs, batches, bytes, times; segments in use and free\n"
        "\n"
        "repair  fetches what is lost in a corrupt durable write from the logs of other nodes (copies will "
        "do),\n"
        "        proves it and writes it to a new place in the log; changes nothing where it cannot\n"
        "accept-loss  makes a log with a corrupt durable write open without it; the last resort, when no "
        "other\n"
        "        node has what is lost. It is written down for ever. Refused where nothing is corrupt\n"
        "\n"
        "dump, verify and stat only read and take no lock, so a running dataplane may have the log open. "
        "What\n"
        "it writes meanwhile is no damage: it is read again, or left out.\n"
        "\n"
        "  --size BYTES           of the file: 64m, 4g, 2t (k m g t = powers of 1024)\n"
        "  --cluster N            as in the command file's `node set`; 1 unless told\n"
        "  --segment-bytes BYTES  chosen from the size unless told\n"
        "  --from LOG             repair: a log of another node; it is only read\n"
        "  --sequence N           accept-loss, repair: the write, as verify names it\n"
        "  --lsn STREAM:LSN       accept-loss: the write that an entry of a stream was in\n"
        "  --dry-run              says what would be made or accepted, and changes nothing\n"
        "  --json                 one object; dump: one object a line\n"
        "\n"
        "Exit: 0 done and fine; 1 refused (create, grow, accept-loss, repair), or something that was durable "
        "is "
        "damaged; 2 "
        "usage;\n"
        "3 not readable: no such file, an error of the device, or (grow, accept-loss, repair) a dataplane "
        "has it\n"
        "open; 4 verify: nothing is lost, but the next start has something to mend (a copy of a superblock "
        "or\n"
        "a header).\n"
        "\n"
        "Examples: helio-log create /var/lib/heliograph/log-0 --size 4g --cluster 7\n"
        "          helio-log verify /var/lib/heliograph/log-0 || echo look at it\n"
        "          helio-log repair log-0 --from /mnt/b/log-0 --from /mnt/c/log-0 --dry-run\n"
        "          helio-log accept-loss log-0 --sequence 4711 --dry-run\n",
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

/* What every command takes: --json, --dry-run, one path. False after saying that it is none of these. */
static bool word_take(const char *command, const char *word, const char **path, bool *is_json,
                      bool *is_dry_run)
{
    if (strcmp(word, "--json") == 0) {
        *is_json = true;
    } else if (strcmp(word, "--dry-run") == 0) {
        *is_dry_run = true;
    } else if (word[0] == '-' || *path != NULL) {
        fprintf(stderr, "helio-log: %s doesn't know what '%s' is for\n", command, word);
        return false;
    } else {
        *path = word;
    }
    return true;
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
        } else if (!word_take("create", argv[i], &options->path, &options->is_json, &options->is_dry_run)) {
            return false;
        }
    }
    if (options->path != NULL && options->path[0] != 0 && options->size_bytes != 0)
        return true;
    fprintf(stderr, "helio-log: create wants %s\n",
            options->size_bytes == 0 ? "--size BYTES" : "the path of the log");
    return false;
}

/* False after saying what is wrong. */
static bool grow_parse(int argc, char **argv, struct grow_options *options)
{
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            options->is_json = true;
        } else if (strcmp(argv[i], "--dry-run") == 0) {
            options->is_dry_run = true;
        } else if (argv[i][0] == '-' || options->size_bytes != 0) {
            fprintf(stderr, "helio-log: grow doesn't know what '%s' is for\n", argv[i]);
            return false;
        } else if (options->path == NULL) {
            options->path = argv[i];
        } else if (!number_take("grow", argv[i], true, &options->size_bytes)) {
            return false;
        }
    }
    if (options->size_bytes != 0)
        return true;
    fprintf(stderr, "helio-log: grow wants the path of a log and the size that it is to have, such as 8g\n");
    return false;
}

static bool lsn_take(const char *text, struct accept_options *options)
{
    const char *colon = text == NULL ? NULL : strchr(text, ':');
    char stream[24];
    if (colon != NULL && (size_t)(colon - text) < sizeof(stream)) {
        memcpy(stream, text, (size_t)(colon - text));
        stream[colon - text] = 0;
        if (number_parse(stream, false, &options->stream) && options->stream != 0 &&
            number_parse(colon + 1, false, &options->lsn))
            return true;
    }
    fprintf(stderr, "helio-log: --lsn wants STREAM:LSN, two numbers as verify names them, got '%s'\n",
            text == NULL ? "" : text);
    return false;
}

/* False after saying what is wrong. */
static bool accept_parse(int argc, char **argv, struct accept_options *options)
{
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--sequence") == 0) {
            if (!number_take("--sequence", next, false, &options->sequence))
                return false;
            i++;
        } else if (strcmp(argv[i], "--lsn") == 0) {
            if (!lsn_take(next, options))
                return false;
            i++;
        } else if (!word_take("accept-loss", argv[i], &options->path, &options->is_json,
                              &options->is_dry_run)) {
            return false;
        }
    }
    if (options->path != NULL && (options->sequence != 0) != (options->stream != 0))
        return true;
    fprintf(stderr, "helio-log: accept-loss wants %s\n",
            options->path == NULL ? "the path of the log" : "either --sequence N or --lsn STREAM:LSN");
    return false;
}

/* False after saying what is wrong. */
static bool repair_parse(int argc, char **argv, struct repair_options *options)
{
    for (int i = 0; i < argc; i++) {
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--sequence") == 0) {
            if (!number_take("--sequence", next, false, &options->sequence))
                return false;
            i++;
        } else if (strcmp(argv[i], "--from") == 0 && next != NULL &&
                   options->from_count < HG_COUNT(options->from)) {
            options->from[options->from_count++] = next;
            i++;
        } else if (!word_take("repair", argv[i], &options->path, &options->is_json, &options->is_dry_run)) {
            return false;
        }
    }
    if (options->path != NULL && options->from_count > 0)
        return true;
    fprintf(stderr, "helio-log: repair wants %s\n",
            options->path == NULL ? "the path of the log" : "--from LOG: a log of another node, or a copy");
    return false;
}

/* False after saying what is wrong. */
static bool read_parse(int argc, char **argv, const char **path, bool *is_json)
{
    *path = NULL;
    *is_json = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            *is_json = true;
        } else if (argv[i][0] == '-' || *path != NULL) {
            fprintf(stderr, "helio-log: %s doesn't know what '%s' is for\n", argv[1], argv[i]);
            return false;
        } else {
            *path = argv[i];
        }
    }
    if (*path == NULL)
        fprintf(stderr, "helio-log: %s wants the path of a log\n", argv[1]);
    return *path != NULL;
}

static int (*reader_find(const char *name))(const char *path, bool is_json)
{
    static const struct {
        const char *name;
        int (*run)(const char *path, bool is_json);
    } readers[] = {{"dump", dump_run}, {"verify", verify_run}, {"stat", stat_run}};
    for (size_t i = 0; i < HG_COUNT(readers); i++)
        if (strcmp(name, readers[i].name) == 0)
            return readers[i].run;
    return NULL;
}

int main(int argc, char **argv)
{
    const char *path;
    bool is_json;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return LOG_EXIT_FINE;
        }
    }
    struct create_options options = {.cluster = 1};
    struct grow_options grow = {0};
    struct accept_options accept = {0};
    struct repair_options repair = {0};
    if (argc >= 2 && reader_find(argv[1]) != NULL) {
        if (read_parse(argc, argv, &path, &is_json))
            return reader_find(argv[1])(path, is_json);
    } else if (argc >= 2 && strcmp(argv[1], "create") == 0) {
        if (create_parse(argc - 2, argv + 2, &options))
            return create_run(&options);
    } else if (argc >= 2 && strcmp(argv[1], "grow") == 0) {
        if (grow_parse(argc - 2, argv + 2, &grow))
            return grow_run(&grow);
    } else if (argc >= 2 && strcmp(argv[1], "repair") == 0) {
        if (repair_parse(argc - 2, argv + 2, &repair))
            return repair_run(&repair);
    } else if (argc >= 2 && strcmp(argv[1], "accept-loss") == 0) {
        if (accept_parse(argc - 2, argv + 2, &accept))
            return accept_run(&accept);
    } else {
        fprintf(stderr,
                "helio-log: which command, create, grow, dump, verify, stat, repair or accept-loss?%s%s\n",
                argc >= 2 ? " Not " : "", argc >= 2 ? argv[1] : "");
    }
    fprintf(stderr, "helio-log: helio-log --help says more\n");
    return LOG_EXIT_USAGE;
}
