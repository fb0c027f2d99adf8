/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-controlplane: reads the command file, tells the dataplane, answers helioctl.
 */
#include "controlplane/server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *run, *config;
    bool check, json;
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: helio-controlplane --run DIR --config FILE\n"
            "       helio-controlplane --check --config FILE [--json]\n"
            "\n"
            "Reads the command file FILE, gives it to the dataplane of DIR whenever one is there, answers "
            "helioctl.\n"
            "  --run DIR      where the sockets are: dataplane.sock (the dataplane's), control.sock (ours)\n"
            "  --config FILE  the command file; any error in it and nothing of it is applied\n"
            "  --check        only check FILE: prints every error, exits 1 if there is one\n"
            "  --json         with --check: the result as one JSON object\n"
            "\n"
            "Exit codes: 0 ended in order (or the file is right), 1 refused: stderr says why, 2 usage.\n"
            "Signals: SIGTERM or SIGINT ends it in order; the dataplane goes on without.\n"
            "\n"
            "Commands of a file (# begins a comment; rates are in bit/s with k m g = 1000..; sizes in bytes "
            "with\n"
            "k m g = 1024..; a name is defined above the line that uses it):\n");
    hg_grammar_print(out, HG_CONTEXT_FILE);
    fprintf(out, "\nexample: helio-controlplane --run /run/heliograph --config configs/region-a.conf\n");
}

static int options_parse(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {
        {"run", required_argument, NULL, 'r'}, {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},     {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'r':
            options->run = optarg;
            break;
        case 'c':
            options->config = optarg;
            break;
        case 'k':
            options->check = true;
            break;
        case 'j':
            options->json = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            return -1;
        }
    }
    if (optind != argc)
        fprintf(stderr, "helio-controlplane: I don't know '%s'\n", argv[optind]);
    else if (options->config == NULL)
        fprintf(stderr, "helio-controlplane: --config FILE is missing\n");
    else if (!options->check && options->run == NULL)
        fprintf(stderr, "helio-controlplane: --run DIR is missing\n");
    else if (options->json && !options->check)
        fprintf(stderr, "helio-controlplane: --json goes with --check\n");
    else
        return 0;
    return -1;
}

static int check(struct hg_command_file *file, const struct options *options)
{
    bool ok = hg_command_file_load(file, options->config);

    if (options->json) {
        json_t *json = hg_command_file_json(file);

        json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(json);
    } else if (ok) {
        printf("%s: %u commands, ok\n", options->config, file->command_count);
    } else {
        hg_command_file_errors_print(file, stderr);
    }
    return ok ? 0 : 1;
}

static int run_directory(struct hg_server *server, const char *run)
{
    char path[HG_CONTROL_PATH_BYTES + 32];
    struct stat st;

    if (stat(run, &st) < 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "helio-controlplane: --run %s: %s; create it\n", run,
                errno != 0 ? strerror(errno) : "is not a directory");
        return -1;
    }
    if (strlen(run) > 80) {
        fprintf(stderr, "helio-controlplane: --run %s: longer than 80 bytes, too long for a socket's path\n",
                run);
        return -1;
    }
    snprintf(server->run, sizeof(server->run), "%s", run);
    snprintf(server->socket_path, sizeof(server->socket_path), "%s/dataplane.sock", run);
    snprintf(path, sizeof(path), "%s/control.lock", run);
    server->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (server->lock < 0 || flock(server->lock, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK)
            fprintf(stderr, "helio-controlplane: %s: another control plane runs here; stop it first\n", path);
        else
            fprintf(stderr,
                    "helio-controlplane: can't open %s: %s; --run must be a directory that this user may "
                    "write in, and this a file\n",
                    path, strerror(errno));
        return -1;
    }
    return 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct hg_server *server = timer->data;
    uint64_t now_ns = uv_hrtime();

    hg_link_tick(server, now_ns);
    hg_grants_tick(server);
    hg_failover_run_left(server, now_ns);
    hg_failover_run_tick(server, now_ns);
    hg_api_tick(server, now_ns);
    hg_members_tick(server, now_ns);
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct hg_server *server = signal->data;

    hg_event_addf(&server->events, HG_SEVERITY_INFO, "stopping",
                  "signal %d; the dataplane goes on without us", number);
    server->stopping = true;
    hg_link_down(server, "");
    hg_api_close(server);
    uv_close((uv_handle_t *)&server->tick, NULL);
    uv_close((uv_handle_t *)&server->sigterm, NULL);
    uv_close((uv_handle_t *)&server->sigint, NULL);
}

/* Read when it is asked for: a damaged one stops orders about groups, nothing else. */
static void metastore_open(struct hg_server *server)
{
    char path[HG_CONTROL_PATH_BYTES + 32];

    if (server->config->metastore_path[0] != '\0')
        snprintf(path, sizeof(path), "%s", server->config->metastore_path);
    else
        snprintf(path, sizeof(path), "%s/metastore", server->run);
    server->metastore = hg_metastore_file_open(path);
}

static int serve(struct hg_server *server)
{
    int rc = hg_api_open(server);

    if (rc < 0) {
        fprintf(stderr, "helio-controlplane: can't listen on %s: %s%s\n", server->api_path, uv_strerror(rc),
                rc == UV_EEXIST ? ": it is no socket; move it away" : "");
        return 1;
    }
    metastore_open(server);
    hg_members_tick(server, server->started_ns); /* before the dataplane is told anything */
    uv_timer_init(&server->loop, &server->tick);
    uv_signal_init(&server->loop, &server->sigterm);
    uv_signal_init(&server->loop, &server->sigint);
    server->tick.data = server->sigterm.data = server->sigint.data = server;
    uv_timer_start(&server->tick, on_tick, 0, HG_CONTROL_POLL_NS / HG_NS_PER_MS);
    uv_signal_start(&server->sigterm, on_signal, SIGTERM);
    uv_signal_start(&server->sigint, on_signal, SIGINT);
    hg_event_addf(&server->events, HG_SEVERITY_INFO, "started", "%.100s: %u commands; node %s",
                  server->file->path, server->file->command_count, server->config->wanted.node.name);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_loop_close(&server->loop);
    hg_failover_run_close(server);
    server->metastore->close(server->metastore);
    return 0;
}

int main(int argc, char **argv)
{
    struct hg_command_file *file = calloc(1, sizeof(*file));
    struct hg_server *server = calloc(1, sizeof(*server));
    struct options options = {0};
    int rc;

    hg_assert(file != NULL && server != NULL);
    if (options_parse(argc, argv, &options) < 0) {
        fprintf(
            stderr,
            "usage: helio-controlplane --run DIR --config FILE [--check [--json]]   (--help says more)\n");
        rc = 2;
    } else if (options.check) {
        rc = check(file, &options);
    } else if (!hg_command_file_load(file, options.config)) {
        hg_command_file_errors_print(file, stderr);
        fprintf(stderr, "helio-controlplane: nothing was applied\n");
        rc = 1;
    } else {
        signal(SIGPIPE, SIG_IGN);
        server->file = file;
        server->config = &file->config;
        server->started_ns = uv_hrtime();
        hg_link_init(server);
        errno = 0;
        rc = uv_loop_init(&server->loop) == 0 && run_directory(server, options.run) == 0 ? serve(server) : 1;
    }
    free(server);
    free(file);
    return rc;
}
