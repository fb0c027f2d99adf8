/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "drivers/platform/platform.h"
#include "drivers/postgres/lsn.h"
#include "drivers/postgres/primary.h"
#include "drivers/postgres/replication.h"

#define STATUS_INTERVAL_DEFAULT_NS (10 * HG_NS_PER_S)
#define STATUS_INTERVAL_MIN_NS     (10 * HG_NS_PER_MS)
#define STATUS_INTERVAL_MAX_NS     (3600 * HG_NS_PER_S)
#define NAME_BYTES_MAX             31 /* of streams and consumers: drivers/ipc/client_ring.h */

static const char help[] =
    "helio-postgres: ships a PostgreSQL cluster's WAL into a stream, and a stream into WAL segment files.\n"
    "\n"
    "  helio-postgres in  --run DIR --stream NAME --primary CONNINFO --slot NAME [--status-interval 10s] "
    "[--json]\n"
    "  helio-postgres out --run DIR --stream NAME --directory DIR --consumer NAME [--wal-segment-size 16MB] "
    "[--json]\n"
    "\n"
    "in: a physical standby to the primary. What it reports as written, flushed and applied is what the "
    "local\n"
    "dataplane has on its device.\n"
    "  --run DIR              the dataplane's run directory\n"
    "  --stream NAME          the stream to append to\n"
    "  --primary CONNINFO     libpq connection string; TLS and SCRAM as it says\n"
    "  --slot NAME            permanent physical replication slot; made when it doesn't exist\n"
    "  --status-interval T    report at least this often (10s; also kept below wal_sender_timeout / 3)\n"
    "\n"
    "out: writes byte-identical segments, NAME.partial until complete, for restore_command.\n"
    "  --directory DIR        where; must exist\n"
    "  --consumer NAME        whose position the log keeps; it never forgets what this consumer hasn't safe\n"
    "  --wal-segment-size S   only when the stream doesn't know it\n"
    "\n"
    "both:\n"
    "  --json                 events as one JSON object a line on stdout\n"
    "  --help\n"
    "\n"
    "Examples:\n"
    "  helio-postgres in --run /run/helio --stream orders --slot helio \\\n"
    "      --primary 'host=db1 user=helio sslmode=verify-full passfile=/etc/helio/pgpass'\n"
    "  helio-postgres out --run /run/helio --stream orders --consumer archive --directory "
    "/var/lib/helio/wal\n"
    "  restore_command = 'cp /var/lib/helio/wal/%f %p'\n"
    "\n"
    "SIGTERM and SIGINT end it with 0. Every other exit code is in docs/postgres.md.\n";

enum {
    OPTION_RUN = 1,
    OPTION_STREAM,
    OPTION_PRIMARY,
    OPTION_SLOT,
    OPTION_DIRECTORY,
    OPTION_CONSUMER,
    OPTION_STATUS_INTERVAL,
    OPTION_SEGMENT_SIZE,
    OPTION_JSON,
    OPTION_HELP,
};

static const struct option long_options[] = {
    {"run", required_argument, NULL, OPTION_RUN},
    {"stream", required_argument, NULL, OPTION_STREAM},
    {"primary", required_argument, NULL, OPTION_PRIMARY},
    {"slot", required_argument, NULL, OPTION_SLOT},
    {"directory", required_argument, NULL, OPTION_DIRECTORY},
    {"consumer", required_argument, NULL, OPTION_CONSUMER},
    {"status-interval", required_argument, NULL, OPTION_STATUS_INTERVAL},
    {"wal-segment-size", required_argument, NULL, OPTION_SEGMENT_SIZE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0}};

static int wrong(const char *what, const char *value, const char *expected)
{
    fprintf(stderr, "helio-postgres: %s \"%s\": expected %s (--help has examples)\n", what, value, expected);
    return -1;
}

static int status_interval_take(struct hg_postgres_options *options, const char *value)
{
    if (!hg_duration_parse(value, &options->status_interval_ns) ||
        options->status_interval_ns < STATUS_INTERVAL_MIN_NS ||
        options->status_interval_ns > STATUS_INTERVAL_MAX_NS) {
        return wrong("--status-interval", value, "a time from 10ms to 1h, as 10s");
    }
    return 0;
}

static int option_take(struct hg_postgres_options *options, int option, const char *value)
{
    switch (option) {
    case OPTION_RUN:
        options->run = value;
        return 0;
    case OPTION_STREAM:
        options->stream = value;
        return 0;
    case OPTION_PRIMARY:
        options->primary = value;
        return 0;
    case OPTION_SLOT:
        options->slot = value;
        return 0;
    case OPTION_DIRECTORY:
        options->directory = value;
        return 0;
    case OPTION_CONSUMER:
        options->consumer = value;
        return 0;
    case OPTION_STATUS_INTERVAL:
        return status_interval_take(options, value);
    case OPTION_SEGMENT_SIZE:
        return hg_segment_bytes_parse(value, &options->segment_bytes)
                   ? 0
                   : wrong("--wal-segment-size", value, "a power of two from 1MB to 1GB, as 16MB");
    case OPTION_JSON:
        options->json = true;
        return 0;
    }
    fprintf(stderr, "helio-postgres: see --help\n");
    return -1;
}

static int required(const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        return 0;
    }
    fprintf(stderr, "helio-postgres: %s is missing (--help has examples)\n", name);
    return -1;
}

/* What the dataplane would refuse later, when other things work already. */
static int name_check(const char *option, const char *name)
{
    size_t bytes = strlen(name);
    bool good = bytes >= 1 && bytes <= NAME_BYTES_MAX;
    for (size_t i = 0; good && i < bytes; i++) {
        good = name[i] > ' ' && name[i] < 0x7f && name[i] != '/';
    }
    return good ? 0
                : wrong(option, name, "1 to 31 printable bytes without space and /, as in the command file");
}

/* An option of the other mode would be ignored: say so instead. */
static int unexpected(const char *mode, const char *name, bool given)
{
    if (!given) {
        return 0;
    }
    fprintf(stderr, "helio-postgres: %s means nothing to \"%s\" (--help has examples)\n", name, mode);
    return -1;
}

static int check_in(const struct hg_postgres_options *options)
{
    char error[512];
    if (unexpected("in", "--directory", options->directory != NULL) < 0 ||
        unexpected("in", "--consumer", options->consumer != NULL) < 0 ||
        unexpected("in", "--wal-segment-size", options->segment_bytes != 0) < 0 ||
        required("--primary", options->primary) < 0 || required("--slot", options->slot) < 0) {
        return -1;
    }
    if (!hg_slot_name_valid(options->slot)) {
        return wrong("--slot", options->slot, "1 to 63 lower-case letters, digits and underscores");
    }
    if (!hg_primary_conninfo_valid(options->primary, error, sizeof(error))) {
        fprintf(stderr, "helio-postgres: --primary is no libpq connection string: %s", error);
        return -1;
    }
    return 0;
}

static int check_out(const struct hg_postgres_options *options)
{
    if (unexpected("out", "--primary", options->primary != NULL) < 0 ||
        unexpected("out", "--slot", options->slot != NULL) < 0 ||
        unexpected("out", "--status-interval", options->status_interval_ns != 0) < 0 ||
        required("--directory", options->directory) < 0 || required("--consumer", options->consumer) < 0 ||
        name_check("--consumer", options->consumer) < 0) {
        return -1;
    }
    return 0;
}

static int options_read(int argc, char **argv, struct hg_postgres_options *options)
{
    if (strcmp(argv[1], "in") != 0 && strcmp(argv[1], "out") != 0) {
        return wrong("mode", argv[1], "in or out");
    }
    options->out = strcmp(argv[1], "out") == 0;
    int option;
    optind = 2;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            return 1;
        }
        if (option_take(options, option, optarg) < 0) {
            return -1;
        }
    }
    if (optind < argc) {
        return wrong("argument", argv[optind], "only options after the mode");
    }
    if (required("--run", options->run) < 0 || required("--stream", options->stream) < 0 ||
        name_check("--stream", options->stream) < 0) {
        return -1;
    }
    return options->out ? check_out(options) : check_in(options);
}

int hg_postgres_options_parse(int argc, char **argv, struct hg_postgres_options *options, int *exit_code)
{
    memset(options, 0, sizeof(*options));
    int rc;
    if (argc < 2) {
        fprintf(stderr, "helio-postgres: which mode: in or out? (--help has examples)\n");
        rc = -1;
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        rc = 1;
    } else {
        rc = options_read(argc, argv, options);
    }
    if (rc != 0) {
        if (rc > 0) {
            fputs(help, stdout);
        }
        *exit_code = rc > 0 ? HG_EXIT_OK : HG_EXIT_USAGE;
        return -1;
    }
    if (options->status_interval_ns == 0) {
        options->status_interval_ns = STATUS_INTERVAL_DEFAULT_NS;
    }
    return 0;
}
