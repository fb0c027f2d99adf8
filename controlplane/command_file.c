/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/command_file.h"

#include "controlplane/json_text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

void hg_command_file_error(struct hg_command_file *file, struct hg_place place, const char *format, ...)
{
    struct hg_command_error *error;
    va_list arguments;

    if (file->error_count == HG_COMMAND_FILE_ERRORS_MAX)
        return;
    error = &file->errors[file->error_count++];
    error->place = place;
    if (file->error_count == HG_COMMAND_FILE_ERRORS_MAX) {
        snprintf(error->text, sizeof(error->text), "too many errors; the rest is not looked at");
        return;
    }
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
}

/* So that one wrong line doesn't make every line that uses what it would have defined wrong too. */
static uint32_t subject_flag(const char *word)
{
    static const char *const subjects[] = {"port", "peer", "stream",
                                           "log"}; /* bit i, as in command_build.c */

    for (uint32_t i = 0; i < HG_COUNT(subjects); i++) {
        if (strcmp(word, subjects[i]) == 0)
            return 1u << i;
    }
    /* Neither it nor one that defines nothing others use: perhaps a misspelt one. */
    return strcmp(word, "node") == 0 || strcmp(word, "consumer") == 0 || strcmp(word, "set") == 0 ||
                   strcmp(word, "quorum") == 0
               ? 0
               : UINT32_MAX;
}

static void line_parse(struct hg_command_file *file, const char *line)
{
    struct hg_grammar_error error = {0};
    uint32_t errors = file->error_count;
    char first_word[32];
    int rc = hg_grammar_parse(line, HG_CONTEXT_FILE, &file->command, &error, first_word);

    if (rc < 0)
        hg_command_file_error(file, (struct hg_place){.line = file->line_now, .column = error.column}, "%s",
                              error.text);
    if (rc > 0) {
        file->command_count++;
        hg_command_build(file, &file->command);
    }
    if (file->error_count > errors) {
        file->failed_subjects |= subject_flag(first_word);
        if (strcmp(first_word, "node") == 0 && file->node_line == 0)
            file->node_line = file->line_now;
    }
}

/* Members and streams may stand below it, so it is looked at last. */
static void whole_check(struct hg_command_file *file)
{
    const struct hg_control_config *config = &file->config.wanted;
    char error[HG_GRAMMAR_ERROR_BYTES];

    if (file->error_count == 0 && file->quorum_place.line != 0 &&
        !hg_command_quorum_check(config, config->quorum_n, config->quorum_w, error, sizeof(error)))
        hg_command_file_error(file, file->quorum_place, "%s", error);
    if (file->grant_place.line != 0 && file->config.metastore_path[0] == '\0')
        hg_command_file_error(file, file->grant_place,
                              "a write grant comes from a metastore, and none is named: metastore file PATH");
}

bool hg_command_file_parse(struct hg_command_file *file, const char *path, const char *text, size_t bytes)
{
    char line[HG_GRAMMAR_LINE_BYTES_MAX + 1];

    memset(file, 0, sizeof(*file));
    snprintf(file->path, sizeof(file->path), "%s", path);
    for (size_t at = 0; at < bytes;) {
        const char *end = memchr(text + at, '\n', bytes - at);
        size_t length = end == NULL ? bytes - at : (size_t)(end - (text + at));
        size_t kept = length < sizeof(line) - 1 ? length : sizeof(line) - 1;

        file->line_now++;
        memcpy(line, text + at, kept);
        line[kept] = '\0';
        if (memchr(line, '\0', kept) != NULL) {
            hg_command_file_error(
                file, (struct hg_place){.line = file->line_now, .column = (uint32_t)strlen(line) + 1},
                "unprintable byte 0x00; a command file is plain text");
            file->failed_subjects = UINT32_MAX;
        } else {
            line_parse(file, line);
        }
        at += length + 1;
    }
    if (file->node_line == 0)
        hg_command_file_error(file, (struct hg_place){.line = file->line_now + 1, .column = 1},
                              "expected node set, got end of file: who is this node?");
    whole_check(file);
    return file->error_count == 0;
}

static void directory_check(struct hg_command_file *file, struct hg_place place, const char *path,
                            const char *what)
{
    char directory[HG_CONTROL_PATH_BYTES];
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (slash == NULL)
        snprintf(directory, sizeof(directory), ".");
    else
        snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (stat(directory, &st) < 0)
        hg_command_file_error(file, place, "the directory %s for %s: %s; create it", directory, what,
                              strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        hg_command_file_error(file, place, "%s for %s is not a directory", directory, what);
}

static void key_check(struct hg_command_file *file, struct hg_place place, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        hg_command_file_error(
            file, place,
            "the key file %s: %s; create it with mode 0600 and 64 hex digits, the same on both nodes", path,
            strerror(errno));
    else if (!S_ISREG(st.st_mode))
        hg_command_file_error(file, place, "the key file %s is no regular file", path);
    else if ((st.st_mode & 077) != 0)
        hg_command_file_error(file, place, "the key file %s has mode %04o, others can read it; chmod 0600 it",
                              path, (unsigned)(st.st_mode & 07777));
}

bool hg_command_file_check_paths(struct hg_command_file *file)
{
    const struct hg_control_config *config = &file->config.wanted;

    for (uint32_t i = 0; i < config->port_count; i++) {
        if (file->config.ports[i].kind == HG_PORT_MEMIF)
            directory_check(file, file->config.ports[i].place, file->config.ports[i].target,
                            "the port's socket");
    }
    for (uint32_t i = 0; i < config->peer_count; i++)
        key_check(file, file->key_places[i], config->peers[i].psk_path);
    for (uint32_t i = 0; i < config->log_count; i++)
        directory_check(file, file->log_places[i], config->logs[i].path, "the log");
    return file->error_count == 0;
}

bool hg_command_file_load(struct hg_command_file *file, const char *path)
{
    FILE *in = fopen(path, "re");
    char *text = malloc(HG_COMMAND_FILE_BYTES_MAX + 1);
    size_t bytes = 0;
    bool read = false;

    hg_assert(text != NULL);
    memset(file, 0, sizeof(*file));
    snprintf(file->path, sizeof(file->path), "%s", path);
    if (in != NULL) {
        bytes = fread(text, 1, HG_COMMAND_FILE_BYTES_MAX + 1, in);
        read = ferror(in) == 0;
    }
    if (!read)
        hg_command_file_error(file, (struct hg_place){0}, "can't be read: %s", strerror(errno));
    else if (bytes > HG_COMMAND_FILE_BYTES_MAX)
        hg_command_file_error(file, (struct hg_place){0}, "is larger than %u bytes: no command file",
                              HG_COMMAND_FILE_BYTES_MAX);
    else {
        hg_command_file_parse(file, path, text, bytes);
        hg_command_file_check_paths(file);
    }
    if (in != NULL)
        fclose(in);
    free(text);
    return file->error_count == 0;
}

static int error_order(const void *a, const void *b)
{
    const struct hg_command_error *left = *(const struct hg_command_error *const *)a;
    const struct hg_command_error *right = *(const struct hg_command_error *const *)b;

    if (left->place.line != right->place.line)
        return left->place.line < right->place.line ? -1 : 1;
    if (left->place.column != right->place.column)
        return left->place.column < right->place.column ? -1 : 1;
    return left < right ? -1 : 1;
}

static void errors_sort(const struct hg_command_file *file,
                        const struct hg_command_error *sorted[HG_COMMAND_FILE_ERRORS_MAX])
{
    for (uint32_t i = 0; i < file->error_count; i++)
        sorted[i] = &file->errors[i];
    qsort(sorted, file->error_count, sizeof(sorted[0]), error_order);
}

void hg_command_file_errors_print(const struct hg_command_file *file, FILE *out)
{
    const struct hg_command_error *sorted[HG_COMMAND_FILE_ERRORS_MAX];

    errors_sort(file, sorted);
    for (uint32_t i = 0; i < file->error_count; i++) {
        if (sorted[i]->place.line == 0)
            fprintf(out, "%s: %s\n", file->path, sorted[i]->text);
        else
            fprintf(out, "%s:%u:%u: %s\n", file->path, sorted[i]->place.line, sorted[i]->place.column,
                    sorted[i]->text);
    }
}

json_t *hg_command_file_json(const struct hg_command_file *file)
{
    const struct hg_command_error *sorted[HG_COMMAND_FILE_ERRORS_MAX];
    json_t *errors = json_array();

    errors_sort(file, sorted);
    for (uint32_t i = 0; i < file->error_count; i++)
        json_array_append_new(errors,
                              json_pack("{s:o, s:i, s:i, s:o}", "file", hg_json_text(file->path), "line",
                                        (int)sorted[i]->place.line, "column", (int)sorted[i]->place.column,
                                        "text", hg_json_text(sorted[i]->text)));
    return json_pack("{s:o, s:b, s:i, s:o}", "file", hg_json_text(file->path), "ok", file->error_count == 0,
                     "commands", (int)file->command_count, "errors", errors);
}

bool hg_command_config_peer_remove(struct hg_command_config *config, const char *name)
{
    struct hg_control_config *wanted = &config->wanted;
    int index = hg_config_peer_find(wanted, name);

    if (index < 0)
        return false;
    uint32_t last = --wanted->peer_count;
    uint64_t below = (UINT64_C(1) << index) - 1;

    memmove(&wanted->peers[index], &wanted->peers[index + 1],
            (last - (uint32_t)index) * sizeof(wanted->peers[0]));
    memset(&wanted->peers[last], 0, sizeof(wanted->peers[0]));
    for (uint32_t i = 0; i < wanted->stream_count; i++) { /* streams name peers by their place */
        uint64_t mask = wanted->streams[i].peers_mask;

        wanted->streams[i].peers_mask = (mask & below) | (mask >> 1 & ~below);
    }
    return true;
}

bool hg_command_config_consumer_remove(struct hg_command_config *config, const char *name, const char *stream)
{
    struct hg_control_config *wanted = &config->wanted;

    for (uint32_t i = 0; i < wanted->consumer_count; i++) {
        if (strcmp(wanted->consumers[i].name, name) != 0 || strcmp(wanted->consumers[i].stream, stream) != 0)
            continue;
        memmove(&wanted->consumers[i], &wanted->consumers[i + 1],
                (wanted->consumer_count - i - 1) * sizeof(wanted->consumers[0]));
        wanted->consumer_count--;
        memset(&wanted->consumers[wanted->consumer_count], 0, sizeof(wanted->consumers[0]));
        return true;
    }
    return false;
}
