/* SPDX-License-Identifier: Apache-2.0
 *
 * helioctl: one command to the control plane, its answer as a table or as JSON.
 */
#include "controlplane/grammar.h"
#include "tools/helioctl/orphan.h"
#include "tools/helioctl/table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (16u << 20)
#define ANSWER_S_MAX     15 /* the control plane gives the dataplane 5 s */

enum exit_code { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_NO_CONTROL, EXIT_NO_DATAPLANE };

struct options {
    const char *run;
    bool json, dry_run, all;
    char line[HG_GRAMMAR_LINE_BYTES_MAX];
    size_t line_bytes;
};

static void usage(FILE *out)
{
    fprintf(out, "usage: helioctl [--run DIR] [--json] [--dry-run] [--all] COMMAND...\n"
                 "\n"
                 "  --run DIR   of the node; else $HELIO_RUN, else /run/heliograph\n"
                 "  --json      the answer as one JSON object\n"
                 "  --dry-run   say what a change would do, and do nothing\n"
                 "  --all       show drops: also the names that count zero\n"
                 "\n"
                 "Commands (rates are in bit/s, k m g = 1000..):\n");
    hg_grammar_print(out, HG_CONTEXT_LIVE);
    fprintf(
        out,
        "orphan list|show|export|resubmit|discard ...   what was cut off streams: 'helioctl orphan' says "
        "more\n"
        "\n"
        "Exit codes: 0 done, 1 refused, 2 usage, 3 no control plane, 4 no dataplane (what is shown is old).\n"
        "\n"
        "examples: helioctl --run /run/heliograph show lag\n"
        "          helioctl --run /run/heliograph --json show all\n"
        "          helioctl --run /run/heliograph --dry-run set peer b rate 400m\n"
        "          helioctl --run /run/heliograph show config > saved.conf\n"
        "          helioctl --dry-run log grow 0 8g\n"
        "          helioctl --dry-run stream adopt orders\n"
        "          helioctl --dry-run group fail-over 1\n"
        "          helioctl group members 1 show\n");
}

/* The words of the command line as one line of the grammar. */
static int word_add(struct options *options, const char *word)
{
    bool quoted = word[0] == '\0' || strpbrk(word, " \t#") != NULL;
    int n = snprintf(options->line + options->line_bytes, sizeof(options->line) - options->line_bytes,
                     quoted ? "%s\"%s\"" : "%s%s", options->line_bytes == 0 ? "" : " ", word);

    if (n < 0 || (size_t)n >= sizeof(options->line) - options->line_bytes || strchr(word, '\n') != NULL)
        return -1;
    options->line_bytes += (size_t)n;
    return 0;
}

static int options_parse(int argc, char **argv, struct options *options)
{
    const char *run = getenv("HELIO_RUN");

    options->run = run != NULL && run[0] != '\0' ? run : "/run/heliograph";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            exit(EXIT_OK);
        }
        if (strcmp(argv[i], "--run") == 0 && i + 1 < argc)
            options->run = argv[++i];
        else if (strncmp(argv[i], "--run=", 6) == 0)
            options->run = argv[i] + 6;
        else if (strcmp(argv[i], "--json") == 0)
            options->json = true;
        else if (strcmp(argv[i], "--dry-run") == 0)
            options->dry_run = true;
        else if (strcmp(argv[i], "--all") == 0)
            options->all = true;
        else if (argv[i][0] == '-') {
            fprintf(stderr, "helioctl: I don't know '%s'; see helioctl --help\n", argv[i]);
            return -1;
        } else if (word_add(options, argv[i]) < 0) {
            fprintf(stderr, "helioctl: the command is too long\n");
            return -1;
        }
    }
    if (options->line_bytes == 0) {
        usage(stderr);
        return -1;
    }
    return options->dry_run ? word_add(options, "dry-run") : 0;
}

/* Looked at here too, so that a typing error is told with its place even when nothing runs. */
static int line_check(const struct options *options)
{
    static struct hg_command command;
    struct hg_grammar_error error = {0};
    char first_word[32];

    if (hg_grammar_parse(options->line, HG_CONTEXT_LIVE, &command, &error, first_word) > 0)
        return 0;
    if (options->json) {
        printf("{\"code\": %d, \"error\": \"not a command\", \"column\": %u}\n", EXIT_USAGE, error.column);
        return -1;
    }
    fprintf(stderr, "  %s\n  %*s\nhelioctl: %s\n", options->line, (int)error.column, "^", error.text);
    return -1;
}

static void __attribute__((format(printf, 2, 3)))
no_control_say(const struct options *options, const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (options->json) {
        json_t *answer = json_pack("{s:i, s:s}", "code", EXIT_NO_CONTROL, "error", text);

        json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(answer);
    }
    fprintf(stderr, "helioctl: %s\n", text);
}

static int control_connect(const struct options *options)
{
    const char *run = options->run;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = ANSWER_S_MAX};
    int length = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", run);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : 0;

    if (length < 0 || (size_t)length >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        rc = -1;
    }
    if (rc == 0)
        rc = connect(fd, (const struct sockaddr *)&address, sizeof(address));
    if (rc < 0) {
        no_control_say(options, "no control plane at %s/control.sock (%s); start helio-controlplane --run %s",
                       run, strerror(errno), run);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

static json_t *ask(int fd, struct options *options)
{
    char *answer = malloc(ANSWER_BYTES_MAX);
    size_t bytes = 0;
    json_t *json = NULL;
    ssize_t got = 1;

    hg_assert(answer != NULL);
    options->line[options->line_bytes++] = '\n';
    if (send(fd, options->line, options->line_bytes, MSG_NOSIGNAL) == (ssize_t)options->line_bytes) {
        while (got > 0 && bytes < ANSWER_BYTES_MAX) {
            got = recv(fd, answer + bytes, ANSWER_BYTES_MAX - bytes, 0);
            bytes += got > 0 ? (size_t)got : 0;
        }
        json = json_loadb(answer, bytes, 0, NULL);
    }
    free(answer);
    return json;
}

static void dataplane_say(const json_t *dataplane)
{
    const char *state = json_string_value(json_object_get(dataplane, "state"));
    const json_t *age = json_object_get(dataplane, "status_age_ns");
    char text[48];

    if (dataplane == NULL || json_is_true(json_object_get(dataplane, "running")))
        return;
    if (age == NULL) {
        fprintf(stderr, "helioctl: the dataplane does not run; nothing is known of it yet\n");
        return;
    }
    hg_table_ns_format((double)json_integer_value(age), text, sizeof(text));
    fprintf(stderr, "helioctl: the dataplane %s; what is shown is %s old\n",
            state != NULL && strcmp(state, "stuck") == 0 ? "is stuck" : "does not run", text);
}

static void answer_print(const json_t *answer, const struct options *options)
{
    json_t *data = json_object_get(answer, "data"), *value;
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *view;
    bool many = json_object_size(data) > 1;

    if (error != NULL)
        fprintf(stderr, "helioctl: %s\n", error);
    dataplane_say(json_object_get(answer, "dataplane"));
    json_object_foreach(data, view, value)
    {
        if (strcmp(view, "message") == 0) {
            printf("%s\n", json_string_value(value));
            continue;
        }
        if (many)
            printf("== %s ==\n", view);
        hg_table_print(stdout, view, data, options->all);
        if (strcmp(view, "node") == 0) {
            const char *state =
                json_string_value(json_object_get(json_object_get(answer, "dataplane"), "state"));

            printf("%-28s %s\n", "dataplane", state == NULL ? "unknown" : state);
        }
        if (many)
            printf("\n");
    }
}

int main(int argc, char **argv)
{
    static struct options options;
    json_t *answer;
    int fd, code;

    if (orphan_is_meant(argc, argv))
        return orphan_run(argc, argv);
    if (options_parse(argc, argv, &options) < 0 || line_check(&options) < 0)
        return EXIT_USAGE;
    fd = control_connect(&options);
    if (fd < 0)
        return EXIT_NO_CONTROL;
    answer = ask(fd, &options);
    close(fd);
    if (answer == NULL) {
        no_control_say(
            &options,
            "the control plane at %s/control.sock gave no answer, so an order may have been done: look "
            "at 'show' and at its stderr",
            options.run);
        return EXIT_NO_CONTROL;
    }
    code = (int)json_integer_value(json_object_get(answer, "code"));
    if (options.json) {
        json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        printf("\n");
    } else {
        answer_print(answer, &options);
    }
    json_decref(answer);
    return code >= EXIT_OK && code <= EXIT_NO_DATAPLANE ? code : EXIT_REFUSED;
}
