/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/helioctl/orphan.h"
#include "drivers/platform/file_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX  6
#define NOTE_BYTES 4096u

struct command {
    const char *run;
    bool help;
    struct orphan_answer answer;
    const char *words[WORDS_MAX];
    int count;
};

int orphan_refuse(struct orphan_answer *answer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(answer->error, sizeof(answer->error), format, arguments);
    va_end(arguments);
    return ORPHAN_EXIT_REFUSED;
}

/* ---- files ---- */

static int directory_open(const char *run)
{
    int fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int directory = openat(fd, "orphan", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    close(fd);
    errno = error;
    return directory;
}

static bool file_read(struct orphan_file *file)
{
    struct stat stat;
    if (fstat(file->fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        return false;
    file->bytes = (uint64_t)stat.st_size;
    if (pread(file->fd, &file->header, sizeof(file->header), 0) != (ssize_t)sizeof(file->header))
        file->reason = HG_ORPHAN_SHORT;
    else
        file->reason = hg_orphan_check_header(&file->header, file->bytes);
    return true;
}

bool orphan_open(struct orphan_file *file, const char *run, const char *name, struct orphan_answer *answer)
{
    memset(file, 0, sizeof(*file));
    file->run = run;
    file->fd = file->directory = -1;
    if (!hg_orphan_name_is_valid(name)) {
        orphan_refuse(answer, "'%s' is no orphan's name: take one that 'orphan list' shows", name);
        return false;
    }
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->directory = directory_open(run);
    if (file->directory >= 0)
        file->fd = openat(file->directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file->fd < 0 || !file_read(file)) {
        orphan_refuse(answer, "%s/orphan/%s: %s", run, name,
                      file->fd >= 0    ? "not a file"
                      : errno == ELOOP ? "a link, which is not followed"
                                       : strerror(errno));
        orphan_close(file);
        return false;
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
        orphan_refuse(answer, "%s is in use by another helioctl: wait for it", name);
        orphan_close(file);
        return false;
    }
    return true;
}

void orphan_close(struct orphan_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->directory >= 0)
        close(file->directory);
    file->fd = file->directory = -1;
}

const struct hg_batch_header *orphan_batch_next(struct orphan_file *file, struct hg_orphan_walk *walk,
                                                uint64_t *offset)
{
    static uint8_t batch[HG_BATCH_BYTES_MAX] __attribute__((aligned(16)));
    uint64_t left = file->bytes - *offset;
    size_t bytes = (size_t)hg_min_u64(left, sizeof(batch));
    if (left == 0) {
        file->reason = hg_orphan_walk_end(walk);
        return NULL;
    }
    file->reason = HG_ORPHAN_SHORT;
    if (bytes < sizeof(struct hg_batch_header) ||
        pread(file->fd, batch, bytes, (off_t)*offset) != (ssize_t)bytes)
        return NULL;
    file->reason = hg_orphan_walk_batch(walk, batch, left);
    if (file->reason != HG_ORPHAN_OK)
        return NULL;
    *offset += hg_batch_bytes((const struct hg_batch_header *)batch);
    return (const struct hg_batch_header *)batch;
}

static void note_name(const struct orphan_file *file, const char *suffix, char *name, size_t bytes)
{
    snprintf(name, bytes, "%s%s", file->name, suffix);
}

int orphan_note_write(const struct orphan_file *file, const char *suffix, const json_t *note)
{
    char name[HG_ORPHAN_NAME_BYTES + 32], fresh[HG_ORPHAN_NAME_BYTES + 40];
    note_name(file, suffix, name, sizeof(name));
    snprintf(fresh, sizeof(fresh), "%s.part", name);
    char *text = json_dumps(note, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    int fd = openat(file->directory, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = text != NULL && fd >= 0 ? 0 : -errno;
    if (rc == 0 && write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        rc = -EIO;
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    if (fd >= 0)
        close(fd);
    free(text);
    if (rc == 0 &&
        (renameat(file->directory, fresh, file->directory, name) != 0 || fsync(file->directory) != 0))
        rc = -errno;
    return rc;
}

int orphan_note_read(const struct orphan_file *file, const char *suffix, json_t **note)
{
    char name[HG_ORPHAN_NAME_BYTES + 32], text[NOTE_BYTES];
    note_name(file, suffix, name, sizeof(name));
    *note = NULL;
    int fd = openat(file->directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    ssize_t bytes = read(fd, text, sizeof(text));
    int rc = bytes < 0 ? -errno : 0;
    close(fd);
    if (rc == 0)
        *note = json_loadb(text, (size_t)bytes, 0, NULL);
    return rc == 0 && *note == NULL ? -EBADMSG : rc;
}

/* Every batch judged; file->reason says what came out. */
static void file_verify(struct orphan_file *file)
{
    struct hg_orphan_walk walk;
    uint64_t offset = sizeof(file->header);
    if (file->reason != HG_ORPHAN_OK)
        return;
    hg_orphan_walk_init(&walk, &file->header);
    while (orphan_batch_next(file, &walk, &offset) != NULL)
        continue;
}

/* ---- list, show ---- */

bool orphan_is_recorded(const struct orphan_file *file)
{
    char name[HG_ORPHAN_NAME_BYTES + 32];
    struct stat stat;
    note_name(file, HG_ORPHAN_CUT, name, sizeof(name));
    return fstatat(file->directory, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat.st_mode);
}

static const char *state_of(const struct orphan_file *file)
{
    if (file->reason == HG_ORPHAN_OK && !orphan_is_recorded(file))
        return "cut not recorded";
    return hg_orphan_reason_text(file->reason);
}

static const char *resubmitted(const struct orphan_file *file)
{
    json_t *note;
    int rc = orphan_note_read(file, HG_ORPHAN_RESUBMIT, &note);
    const char *state = rc != 0                                       ? "unknown"
                        : note == NULL                                ? "no"
                        : json_is_true(json_object_get(note, "done")) ? "yes"
                                                                      : "partly";
    json_decref(note);
    return state;
}

static json_t *chain_json(const uint8_t chain[16])
{
    char text[33];
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02x", chain[i]);
    return json_string(text);
}

static json_t *file_json(const struct orphan_file *file)
{
    const struct hg_orphan_header *h = &file->header;
    json_t *object = json_pack("{s:s, s:I, s:s}", "name", file->name, "bytes", (json_int_t)file->bytes,
                               "state", state_of(file));
    if (file->reason == HG_ORPHAN_FOREIGN || file->reason == HG_ORPHAN_OTHER ||
        file->reason == HG_ORPHAN_HEADER || file->bytes < sizeof(*h))
        return object;
    json_t *rest = json_pack(
        "{s:s, s:I, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:s}", "stream", h->name,
        "id", (json_int_t)h->stream, "incarnation", (int)h->incarnation, "group", (int)h->group, "region",
        (int)h->region, "kind", (int)h->kind, "epoch", (json_int_t)h->epoch_cut, "epoch_common",
        (json_int_t)h->epoch_common, "lsn_first", (json_int_t)h->lsn_first, "lsn_end", (json_int_t)h->lsn_end,
        "lsn_floor", (json_int_t)h->lsn_floor, "batches", (json_int_t)h->batch_count, "realtime_ns",
        (json_int_t)h->realtime_ns, "chain_previous", chain_json(h->chain_previous), "chain",
        chain_json(h->chain), "resubmitted", resubmitted(file));
    json_object_update(object, rest);
    json_decref(rest);
    return object;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in the directory, sorted; returns how many. */
static size_t names_of(DIR *directory, char ***names)
{
    size_t count = 0, max = 0;
    const struct dirent *entry;
    *names = NULL;
    while ((entry = readdir(directory)) != NULL) {
        if (!hg_orphan_name_is_valid(entry->d_name))
            continue;
        if (count == max) {
            max = max == 0 ? 64 : 2 * max;
            *names = realloc(*names, max * sizeof((*names)[0]));
            hg_assert(*names != NULL);
        }
        (*names)[count] = strdup(entry->d_name);
        hg_assert((*names)[count++] != NULL);
    }
    if (count > 0)
        qsort(*names, count, sizeof((*names)[0]), name_compare);
    return count;
}

static void row_print(const json_t *row)
{
    printf("%-48s %10lld %12lld %20lld %20lld %-11s %s\n", json_string_value(json_object_get(row, "name")),
           (long long)json_integer_value(json_object_get(row, "batches")),
           (long long)json_integer_value(json_object_get(row, "bytes")),
           (long long)json_integer_value(json_object_get(row, "lsn_first")),
           (long long)json_integer_value(json_object_get(row, "lsn_end")),
           json_object_get(row, "resubmitted") != NULL
               ? json_string_value(json_object_get(row, "resubmitted"))
               : "-",
           json_string_value(json_object_get(row, "state")));
}

static int list_run(struct command *command)
{
    char **names;
    json_t *rows = json_array();
    int fd = directory_open(command->run);
    if (fd < 0 && errno != ENOENT) {
        json_decref(rows);
        return orphan_refuse(&command->answer, "%s/orphan: %s", command->run,
                             errno == ELOOP || errno == ENOTDIR ? "not a directory" : strerror(errno));
    }
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    size_t count = directory != NULL ? names_of(directory, &names) : 0;
    if (!command->answer.json)
        printf("%-48s %10s %12s %20s %20s %-11s %s\n", "NAME", "BATCHES", "BYTES", "FROM", "TO",
               "RESUBMITTED", "STATE");
    for (size_t i = 0; i < count; i++) {
        struct orphan_file file;
        if (orphan_open(&file, command->run, names[i], &command->answer)) {
            json_t *row = file_json(&file);
            if (!command->answer.json)
                row_print(row);
            json_array_append_new(rows, row);
            orphan_close(&file);
        } else { /* it is there, and whoever looks for it is told */
            json_t *row = json_pack("{s:s, s:s}", "name", names[i], "state", command->answer.error);
            if (!command->answer.json)
                row_print(row);
            json_array_append_new(rows, row);
        }
        free(names[i]);
    }
    if (directory != NULL) {
        free(names);
        closedir(directory);
    }
    command->answer.error[0] = '\0';
    json_object_set_new(command->answer.data, "orphans", rows);
    return ORPHAN_EXIT_DONE;
}

static json_t *batch_json(const struct hg_batch_header *batch)
{
    return json_pack("{s:I, s:I, s:I, s:i, s:i, s:i, s:o}", "epoch", (json_int_t)batch->epoch, "lsn_first",
                     (json_int_t)batch->lsn_first, "lsn_end", (json_int_t)batch->lsn_end, "entries",
                     (int)batch->frame_count, "raw_bytes", (int)batch->raw_bytes, "stored_bytes",
                     (int)batch->stored_bytes, "chain", chain_json(batch->chain));
}

static int show_run(struct command *command, struct orphan_file *file)
{
    struct hg_orphan_walk walk;
    uint64_t offset = sizeof(file->header);
    const struct hg_batch_header *batch;
    json_t *batches = json_array();
    hg_orphan_walk_init(&walk, &file->header);
    while (file->reason == HG_ORPHAN_OK && (batch = orphan_batch_next(file, &walk, &offset)) != NULL) {
        if (!command->answer.json)
            printf("epoch %llu [%llu, %llu) %u entries, %u bytes\n", (unsigned long long)batch->epoch,
                   (unsigned long long)batch->lsn_first, (unsigned long long)batch->lsn_end,
                   batch->frame_count, batch->raw_bytes);
        json_array_append_new(batches, batch_json(batch));
    }
    json_t *row = file_json(file);
    json_object_set_new(row, "batch_list", batches);
    json_object_set_new(command->answer.data, "orphan", row);
    if (file->reason != HG_ORPHAN_OK)
        return orphan_refuse(&command->answer, "%s: %s", file->name, hg_orphan_reason_text(file->reason));
    if (!command->answer.json)
        printf("%s: stream %s, cut for epoch %llu; %s\n", file->name, file->header.name,
               (unsigned long long)file->header.epoch_cut, state_of(file));
    return ORPHAN_EXIT_DONE;
}

/* ---- export, discard ---- */

static int copy_to(const struct orphan_file *file, int to)
{
    static uint8_t piece[1u << 20];
    for (uint64_t at = 0; at < file->bytes;) {
        ssize_t got = pread(file->fd, piece, sizeof(piece), (off_t)at);
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        for (ssize_t done = 0; done < got;) {
            ssize_t n = write(to, piece + done, (size_t)(got - done));
            if (n <= 0)
                return n < 0 ? -errno : -EIO;
            done += n;
        }
        at += (uint64_t)got;
    }
    return fsync(to) == 0 || errno == EINVAL || errno == EROFS ? 0 : -errno;
}

/* A discard may follow: the copy's name is to be on the device, too. */
static int place_sync(const char *path)
{
    int rc = hg_file_place_sync(path);
    return rc == -EINVAL || rc == -EROFS || rc == -EACCES ? 0 : rc;
}

static int export_run(struct command *command, struct orphan_file *file)
{
    const char *path = command->words[3];
    file_verify(file);
    if (file->reason != HG_ORPHAN_OK)
        return orphan_refuse(&command->answer, "%s is not exported: %s", file->name,
                             hg_orphan_reason_text(file->reason));
    json_object_set_new(
        command->answer.data, "message",
        json_sprintf("%s is whole, %llu bytes: to %s", file->name, (unsigned long long)file->bytes, path));
    if (command->answer.dry_run)
        return ORPHAN_EXIT_DONE;
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc = to >= 0 ? copy_to(file, to) : -errno;
    if (to >= 0 && close(to) != 0 && rc == 0)
        rc = -errno;
    if (rc == 0)
        rc = place_sync(path);
    if (rc == 0)
        return ORPHAN_EXIT_DONE;
    if (to >= 0)
        unlink(path);
    return orphan_refuse(&command->answer, "%s: %s", path,
                         rc == -EEXIST ? "there is something already, and it stays" : strerror(-rc));
}

static int discard_run(struct command *command, struct orphan_file *file)
{
    char note[HG_ORPHAN_NAME_BYTES + 32];
    if (!command->answer.yes && !command->answer.dry_run)
        return orphan_refuse(
            &command->answer,
            "%s holds %llu batches that are nowhere else: discard it with --yes, after an export "
            "or a resubmit",
            file->name, (unsigned long long)file->header.batch_count);
    json_object_set_new(command->answer.data, "message", json_sprintf("%s is discarded", file->name));
    if (command->answer.dry_run)
        return ORPHAN_EXIT_DONE;
    if (unlinkat(file->directory, file->name, 0) != 0)
        return orphan_refuse(&command->answer, "%s: %s", file->name, strerror(errno));
    note_name(file, HG_ORPHAN_RESUBMIT, note, sizeof(note));
    unlinkat(file->directory, note, 0); /* there may be none */
    note_name(file, HG_ORPHAN_CUT, note, sizeof(note));
    unlinkat(file->directory, note, 0);
    return fsync(file->directory) == 0
               ? ORPHAN_EXIT_DONE
               : orphan_refuse(&command->answer, "%s/orphan: %s", command->run, strerror(errno));
}

/* ---- the command line ---- */

static void usage(FILE *out)
{
    fprintf(
        out,
        "usage: helioctl [--run DIR] [--json] [--dry-run] orphan COMMAND\n"
        "\n"
        "  orphan list                       what was cut off streams of this node\n"
        "  orphan show NAME                  its batches, every one checked\n"
        "  orphan export NAME FILE           a checked copy, byte for byte\n"
        "  orphan resubmit NAME [to STREAM]  appends its entries as new ones, each once. Where nothing here\n"
        "                                    can tell what is there already, somebody says it:\n"
        "      --not-returned                no later fail-over brought its entries back\n"
        "      --not-resubmitted             it was never resubmitted, from no copy of the file\n"
        "  orphan discard NAME --yes         deletes it for ever\n"
        "\n"
        "  --run DIR   of the node; else $HELIO_RUN, else /run/heliograph\n"
        "  --json      the answer as one JSON object\n"
        "  --dry-run   resubmit, export, discard: says what would be done\n"
        "\n"
        "exit: 0 done, 1 refused, 2 usage\n"
        "example: helioctl orphan show orders-1-2-136.orphan\n"
        "         helioctl --dry-run orphan resubmit orders-1-2-136.orphan\n");
}

bool orphan_is_meant(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--run") == 0) {
            i++;
            continue;
        }
        if (argv[i][0] != '-')
            return strcmp(argv[i], "orphan") == 0;
    }
    return false;
}

static int line_parse(int argc, char **argv, struct command *command)
{
    const char *run = getenv("HELIO_RUN");
    command->run = run != NULL && run[0] != '\0' ? run : "/run/heliograph";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--run") == 0 && i + 1 < argc)
            command->run = argv[++i];
        else if (strncmp(argv[i], "--run=", 6) == 0)
            command->run = argv[i] + 6;
        else if (strcmp(argv[i], "--json") == 0)
            command->answer.json = true;
        else if (strcmp(argv[i], "--dry-run") == 0)
            command->answer.dry_run = true;
        else if (strcmp(argv[i], "--help") == 0)
            command->help = true;
        else if (strcmp(argv[i], "--yes") == 0)
            command->answer.yes = true;
        else if (strcmp(argv[i], "--not-returned") == 0)
            command->answer.not_returned = true;
        else if (strcmp(argv[i], "--not-resubmitted") == 0)
            command->answer.not_resubmitted = true;
        else if (argv[i][0] == '-' || command->count == WORDS_MAX)
            return -1;
        else
            command->words[command->count++] = argv[i];
    }
    return command->count >= 2 || command->help ? 0 : -1;
}

static int file_command(struct command *command)
{
    const char *what = command->words[1];
    int (*run)(struct command *, struct orphan_file *) = NULL;
    struct orphan_file file;
    bool resubmit = strcmp(what, "resubmit") == 0 &&
                    (command->count == 3 || (command->count == 5 && strcmp(command->words[3], "to") == 0));
    if (strcmp(what, "show") == 0 && command->count == 3)
        run = show_run;
    else if (strcmp(what, "export") == 0 && command->count == 4)
        run = export_run;
    else if (strcmp(what, "discard") == 0 && command->count == 3)
        run = discard_run;
    if (run == NULL && !resubmit)
        return ORPHAN_EXIT_USAGE;
    if (!orphan_open(&file, command->run, command->words[2], &command->answer))
        return ORPHAN_EXIT_REFUSED;
    int code = resubmit
                   ? orphan_resubmit(&file, command->count == 5 ? command->words[4] : NULL, &command->answer)
                   : run(command, &file);
    orphan_close(&file);
    return code;
}

static void answer_print(struct orphan_answer *answer, int code)
{
    if (answer->json) {
        json_t *whole = json_pack("{s:i, s:O}", "code", code, "data", answer->data);
        if (answer->error[0] != '\0')
            json_object_set_new(whole, "error", json_string(answer->error));
        json_dumpf(whole, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(whole);
    } else if (json_object_get(answer->data, "message") != NULL && code == ORPHAN_EXIT_DONE) {
        printf("%s%s\n", answer->dry_run ? "would be done: " : "",
               json_string_value(json_object_get(answer->data, "message")));
    }
    if (answer->error[0] != '\0')
        fprintf(stderr, "helioctl: %s\n", answer->error);
}

static void usage_refuse(struct command *command)
{
    if (!command->answer.json) {
        usage(stderr);
        return;
    }
    orphan_refuse(&command->answer,
                  "no such command, or words are missing or too many: see 'helioctl orphan --help'");
    answer_print(&command->answer, ORPHAN_EXIT_USAGE);
}

static int command_run(struct command *command)
{
    if (strcmp(command->words[1], "list") == 0 && command->count == 2)
        return list_run(command);
    return file_command(command);
}

int orphan_run(int argc, char **argv)
{
    struct command command;
    memset(&command, 0, sizeof(command));
    bool is_understood = line_parse(argc, argv, &command) == 0;
    if (is_understood && command.help) {
        usage(stdout);
        return ORPHAN_EXIT_DONE;
    }
    command.answer.data = json_object();
    int code = is_understood ? command_run(&command) : ORPHAN_EXIT_USAGE;
    if (code == ORPHAN_EXIT_USAGE)
        usage_refuse(&command);
    else
        answer_print(&command.answer, code);
    json_decref(command.answer.data);
    return code;
}
