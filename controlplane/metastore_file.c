/* SPDX-License-Identifier: Apache-2.0
 *
 * A metastore in a file of text: one line a group, a checksum at the end. Read whole for each question,
 * written whole beside it and put in its place (fsync of file and directory), under a lock that is held for
 * that long and never waited for.
 *
 *     heliograph-metastore 3 revision 12
 *     group 3 region 1 cluster 7 sealing epoch 5 node 11 revision 12 failover 1
 *     group 4 region 1 cluster 7 open epoch 1 node 11 revision 9 grant 2000 generation 2 w 2 members 1,2,3
 *     group 5 region 1 cluster 7 open epoch 1 node 11 revision 8 copy 11:6b0c1d2e copy 12:7c1d2e3f
 *     crc32c 1a2b3c4d
 *
 * What follows a group's revision are pairs of a key and a value, in any order: version 1 had none, version 2
 * no `failover` and no `copy`.
 */
#include "controlplane/metastore.h"
#include "drivers/platform/file_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION        3u
#define PATH_BYTES     320
#define LINE_BYTES_MAX 4608
#define GROUP_MAX      99u /* as many digits are read; a sign is one of them */
#define REGION_MAX     99999u
#define FILE_BYTES_MAX ((HG_METASTORE_RECORDS_MAX + 2) * LINE_BYTES_MAX)

struct row {
    struct hg_metastore_key key;
    struct hg_metastore_record record;
};

struct file {
    struct hg_metastore store; /* first */
    char path[PATH_BYTES];
    uint64_t revision;
    uint64_t revision_synced; /* known to stay in its place */
    uint32_t count;
    struct row rows[HG_METASTORE_RECORDS_MAX];
    char text[FILE_BYTES_MAX + 1];
};

static int problem(struct file *file, int rc, const char *what)
{
    snprintf(file->store.problem, sizeof(file->store.problem), "the metastore %.200s %s%s%s", file->path,
             what, rc == -EBADMSG || rc == -EAGAIN ? "" : ": ",
             rc == -EBADMSG || rc == -EAGAIN ? "" : strerror(-rc));
    return rc;
}

/* "1,2,3" up to a blank or the line's end; once in a line. */
static bool nodes_parse(const char *text, uint64_t *nodes, uint32_t count_max, uint32_t *count)
{
    if (*count != 0)
        return false;
    for (; *count < count_max; text++) {
        char *end;
        errno = 0;
        nodes[(*count)++] = strtoull(text, &end, 10);
        if (errno != 0 || end == text)
            return false;
        if (*end != ',')
            return *end == ' ' || *end == '\n';
        text = end;
    }
    return false; /* too many */
}

/* "11:6b0c1d2e3f405162,..." */
static bool copy_parse(const char *text, struct hg_copies *copies)
{
    struct hg_copies_node *of = &copies->nodes[copies->count];
    int bytes = 0;
    if (copies->count == HG_COPIES_NODES_MAX || sscanf(text, "%20" SCNu64 "%n", &of->node, &bytes) != 1 ||
        text[bytes] != ':')
        return false;
    copies->count++;
    for (text += bytes; of->log_count < HG_COPIES_LOGS_MAX && (*text == ':' || *text == ',');
         text += bytes + 1)
        if (sscanf(text + 1, "%16" SCNx64 "%n", &of->logs[of->log_count++], &bytes) != 1)
            return false;
    return *text == ' ' || *text == '\n';
}

static bool number_parse(const char *text, uint64_t max, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && end != text && (*end == ' ' || *end == '\n') && *number <= max;
}

/* One pair behind the revision. */
static bool pair_parse(const char *key, size_t key_bytes, const char *value,
                       struct hg_metastore_record *record)
{
    struct hg_members *members = &record->members;
    uint64_t number = 0;
#define IS(text) (key_bytes == sizeof(text) - 1 && memcmp(key, text, sizeof(text) - 1) == 0)
    if (IS("members"))
        return nodes_parse(value, members->set.nodes, HG_MEMBERS_MAX, &members->set.count);
    if (IS("other"))
        return nodes_parse(value, members->other.nodes, HG_MEMBERS_MAX, &members->other.count);
    if (IS("learners"))
        return nodes_parse(value, members->learners, HG_LEARNERS_MAX, &members->learner_count);
    if (IS("copy"))
        return copy_parse(value, &record->copies);
    if (!number_parse(value, HG_MEMBERS_GENERATION_MAX, &number))
        return false;
    if (IS("generation"))
        members->generation = number;
    else if (IS("phase"))
        members->phase = (uint32_t)number;
    else if (IS("w"))
        members->set.w = (uint32_t)number;
    else if (IS("other-w"))
        members->other.w = (uint32_t)number;
    else if (IS("grant"))
        record->grant_ms = (uint32_t)number;
    else if (IS("failover"))
        record->failover = number != 0;
    else
        return false;
#undef IS
    return true;
}

static bool pairs_parse(const char *at, struct hg_metastore_record *record)
{
    while (*at == ' ') {
        const char *key = at + 1;
        size_t key_bytes = strcspn(key, " \n");
        const char *value = key + key_bytes;
        if (*value++ != ' ' || !pair_parse(key, key_bytes, value, record))
            return false;
        at = value + strcspn(value, " \n");
    }
    return *at == '\n' && hg_copies_check(&record->copies) &&
           (record->members.generation == 0 || hg_members_check(&record->members) == HG_MEMBERS_OK);
}

static void members_print(const struct hg_members *members, FILE *out)
{
    const struct {
        const char *key;
        const uint64_t *nodes;
        uint32_t count;
    } lists[] = {{"members", members->set.nodes, members->set.count},
                 {"other", members->other.nodes, members->other.count},
                 {"learners", members->learners, members->learner_count}};
    if (members->generation == 0)
        return;
    fprintf(out, " generation %" PRIu64 " phase %" PRIu32 " w %" PRIu32 " other-w %" PRIu32,
            members->generation, members->phase, members->set.w, members->other.w);
    for (uint32_t i = 0; i < HG_COUNT(lists); i++)
        for (uint32_t j = 0; j < lists[i].count; j++)
            fprintf(out, "%s%s%s%" PRIu64, j == 0 ? " " : ",", j == 0 ? lists[i].key : "", j == 0 ? " " : "",
                    lists[i].nodes[j]);
}

static void copies_print(const struct hg_copies *copies, FILE *out)
{
    for (uint32_t i = 0; i < copies->count; i++) {
        fprintf(out, " copy %" PRIu64, copies->nodes[i].node);
        for (uint32_t log = 0; log < copies->nodes[i].log_count; log++)
            fprintf(out, "%s%" PRIx64, log == 0 ? ":" : ",", copies->nodes[i].logs[log]);
    }
}

/* One line of a group. False: it is none. */
static bool row_parse(const char *line, struct row *row)
{
    char state[8];
    int bytes = 0;
    memset(row, 0, sizeof(*row));
    int n = sscanf(line,
                   "group %2" SCNu32 " region %5" SCNu32 " cluster %20" SCNu64 " %7s epoch %20" SCNu64
                   " node %20" SCNu64 " revision %20" SCNu64 "%n",
                   &row->key.group, &row->key.region, &row->key.cluster, state, &row->record.epoch,
                   &row->record.node, &row->record.revision, &bytes);
    if (n != 7 || !pairs_parse(line + bytes, &row->record))
        return false;
    row->record.state = strcmp(state, "open") == 0      ? HG_METASTORE_OPEN
                        : strcmp(state, "sealing") == 0 ? HG_METASTORE_SEALING
                                                        : HG_METASTORE_NONE;
    return row->record.state != HG_METASTORE_NONE && row->record.revision != 0 &&
           row->key.group <= GROUP_MAX && row->key.region <= REGION_MAX;
}

/* The text up to the checksum's line is what it says it is. */
static int text_parse(struct file *file, size_t bytes)
{
    static const char damaged[] =
        "is damaged: put a copy from before in its place, or remove it and seal each "
        "group with a higher epoch than show groups has of it on any node";
    char *at = file->text, end;
    uint32_t crc, version;
    file->text[bytes] = '\0';
    file->count = 0;
    char *last = strstr(file->text, "crc32c ");
    if (strlen(file->text) != bytes || last == NULL || (last != file->text && last[-1] != '\n') ||
        sscanf(last, "crc32c %8" SCNx32 "%c", &crc, &end) != 2 || end != '\n' ||
        strchr(last, '\n')[1] != '\0' || crc != hg_crc32c(0, file->text, (size_t)(last - file->text)))
        return problem(file, -EBADMSG, damaged);
    if (sscanf(at, "heliograph-metastore %2" SCNu32 " revision %20" SCNu64 "%c", &version, &file->revision,
               &end) != 3 ||
        end != '\n' || version < 1 || version > VERSION)
        return problem(file, -EBADMSG, "is of another version of this software");
    for (at = strchr(at, '\n') + 1; at < last; at = strchr(at, '\n') + 1) {
        if (file->count == HG_METASTORE_RECORDS_MAX || !row_parse(at, &file->rows[file->count]))
            return problem(file, -EBADMSG, damaged);
        file->count++;
    }
    return 0;
}

static int place_sync(struct file *file)
{
    int rc = hg_file_place_sync(file->path);
    if (rc != 0)
        return problem(file, rc, "may not be on the device yet");
    file->revision_synced = file->revision;
    return 0;
}

/* Whoever put it in place may have died, or failed, before it was sure to stay there: what a power loss could
 * take back must not be believed. */
static int file_load(struct file *file)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC);
    size_t bytes = 0;
    ssize_t got = 1;
    file->count = 0;
    file->revision = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : problem(file, -errno, "can't be opened");
    while (got > 0 && bytes < FILE_BYTES_MAX) {
        got = read(fd, file->text + bytes, FILE_BYTES_MAX - bytes);
        bytes += got > 0 ? (size_t)got : 0;
    }
    int rc = got < 0 ? problem(file, -errno, "can't be read") : text_parse(file, bytes);
    close(fd);
    return rc == 0 && file->revision != file->revision_synced ? place_sync(file) : rc;
}

static size_t text_print(struct file *file)
{
    static const char *const states[] = {"none", "sealing", "open"};
    FILE *out = fmemopen(file->text, sizeof(file->text), "w");
    hg_assert(out != NULL);
    fprintf(out, "heliograph-metastore %u revision %" PRIu64 "\n", VERSION, file->revision);
    for (uint32_t i = 0; i < file->count; i++) {
        const struct row *row = &file->rows[i];
        fprintf(out,
                "group %" PRIu32 " region %" PRIu32 " cluster %" PRIu64 " %s epoch %" PRIu64 " node %" PRIu64
                " revision %" PRIu64,
                row->key.group, row->key.region, row->key.cluster, states[row->record.state],
                row->record.epoch, row->record.node, row->record.revision);
        members_print(&row->record.members, out);
        copies_print(&row->record.copies, out);
        if (row->record.grant_ms != 0)
            fprintf(out, " grant %" PRIu32, row->record.grant_ms);
        if (row->record.failover != 0)
            fprintf(out, " failover 1");
        fprintf(out, "\n");
    }
    fflush(out);
    long bytes = ftell(out);
    fprintf(out, "crc32c %08" PRIx32 "\n", hg_crc32c(0, file->text, (size_t)bytes));
    fflush(out);
    bytes = ftell(out);
    fclose(out);
    return (size_t)bytes;
}

static int file_save(struct file *file)
{
    char path[PATH_BYTES + 8];
    size_t bytes = text_print(file);
    snprintf(path, sizeof(path), "%s.new", file->path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return problem(file, -errno, "can't be written");
    errno = ENOSPC; /* of a short write */
    bool written = write(fd, file->text, bytes) == (ssize_t)bytes && fsync(fd) == 0;
    int error = errno;
    close(fd);
    if (!written || rename(path, file->path) < 0)
        return problem(file, written ? -errno : -error, "can't be written");
    return place_sync(file);
}

/* Another process that holds it is done in a moment, or hangs: the caller tries again, the loop goes on. */
static int lock_take(struct file *file, int *lock)
{
    char path[PATH_BYTES + 8];
    snprintf(path, sizeof(path), "%s.lock", file->path);
    *lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*lock < 0)
        return problem(file, -errno, "can't be locked");
    if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int rc = errno == EWOULDBLOCK ? -EAGAIN : -errno;
    close(*lock);
    return problem(file, rc,
                   rc == -EAGAIN ? "is being changed by another process: try again" : "can't be locked");
}

static struct hg_metastore_record *record_of(struct file *file, const struct hg_metastore_key *key)
{
    for (uint32_t i = 0; i < file->count; i++)
        if (memcmp(&file->rows[i].key, key, sizeof(*key)) == 0)
            return &file->rows[i].record;
    return NULL;
}

static int file_read(struct hg_metastore *store, const struct hg_metastore_key *key,
                     struct hg_metastore_record *found)
{
    struct file *file = (struct file *)store;
    int rc = file_load(file); /* whole, old or new: it is put in place by a rename */
    const struct hg_metastore_record *record = rc == 0 ? record_of(file, key) : NULL;
    *found = record != NULL ? *record : (struct hg_metastore_record){0};
    return rc;
}

static int swap_locked(struct file *file, const struct hg_metastore_key *key, uint64_t revision,
                       const struct hg_metastore_record *wanted, struct hg_metastore_record *found)
{
    int rc = file_read(&file->store, key, found);
    if (rc != 0)
        return rc;
    if (found->revision != revision)
        return -ESTALE;
    struct hg_metastore_record *record = record_of(file, key);
    if (record == NULL) {
        if (file->count == HG_METASTORE_RECORDS_MAX)
            return problem(file, -ENOSPC, "has no room for another group");
        file->rows[file->count].key = *key;
        record = &file->rows[file->count++].record;
    }
    *record = *wanted;
    record->revision = ++file->revision;
    *found = *record;
    return file_save(file);
}

static int file_swap(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t revision,
                     const struct hg_metastore_record *wanted, struct hg_metastore_record *found)
{
    struct file *file = (struct file *)store;
    int lock, rc = lock_take(file, &lock);
    if (rc != 0)
        return rc;
    rc = swap_locked(file, key, revision, wanted, found);
    close(lock);
    return rc;
}

static void file_close(struct hg_metastore *store)
{
    free(store);
}

struct hg_metastore *hg_metastore_file_open(const char *path)
{
    struct file *file = calloc(1, sizeof(*file));
    hg_assert(file != NULL && strlen(path) < sizeof(file->path));
    file->store = (struct hg_metastore){file_read, file_swap, file_close, ""};
    memcpy(file->path, path, strlen(path));
    return &file->store;
}
