/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of heliograph.h over two plain files instead of a dataplane, to test helio-postgres alone:
 * RUN/data holds the entries, RUN/state is a page of words that the test may read and change
 * (postgres_alone.py has the same layout). Raising `generation` plays the dataplane's death: the producer
 * loses what wasn't durable, everyone gets HG_E_CLOSED once. `full` plays back-pressure. One stream, one
 * producer, one consumer.
 */
#include "drivers/client/heliograph.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define DIRTY_BYTES_MAX  (4u << 20)
#define NEWS_INTERVAL_NS 2000000

struct state {
    volatile uint64_t generation;
    volatile uint64_t full;
    volatile uint64_t system_identifier;
    volatile uint64_t unit_bytes;
    volatile uint64_t incarnation;
    volatile uint64_t lsn_first;
    volatile uint64_t lsn_durable;
    volatile uint64_t file_bytes_durable;
    volatile uint64_t lsn_acknowledged;
    volatile uint64_t appends;
    volatile uint64_t oldest_bytes; /* the subscriber begins at this place of the file */
    volatile uint64_t deposed;      /* the producer hears so once, wherever the durable end is */
};

struct record {
    uint64_t lsn;
    uint32_t span;
    uint32_t magic;
};
#define RECORD_MAGIC 0x48454c49u

struct hg_client {
    struct state *state;
    int data_fd;
    int timer_fd;
    uint64_t generation;
    bool closed_said;
    char error[256];
    struct hg_stream *stream;
};

struct hg_stream {
    struct hg_client *client;
    bool append;
    bool anew; /* the subscription begins again at the acknowledged position */
    uint64_t lsn_end;
    uint64_t file_bytes;
    uint64_t dirty_bytes;
    uint8_t *buffer;
};

const char *hg_error_name(int code)
{
    static const char *const names[] = {"ok",          "closed",    "not_ready", "not_leader", "timeout",
                                        "would_block", "read_only", "gap",       "overlap",    "invalid",
                                        "unknown",     "system",    "corrupt",   "protocol"};
    return code <= 0 && code >= HG_E_PROTOCOL ? names[-code] : "?";
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int fail(struct hg_client *client, int code, const char *text)
{
    snprintf(client->error, sizeof(client->error), "%s", text);
    return code;
}

static void die(const char *what)
{
    perror(what);
    abort();
}

struct hg_client *hg_client_open(const char *run_dir, const char *name)
{
    char path[4096];
    struct hg_client *client = calloc(1, sizeof(*client));
    snprintf(path, sizeof(path), "%s/state", run_dir);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        die(path);
    }
    client->state = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/data", run_dir);
    client->data_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    client->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (client->state == MAP_FAILED || client->data_fd < 0 || client->timer_fd < 0) {
        die("open");
    }
    struct itimerspec interval = {{0, NEWS_INTERVAL_NS}, {0, NEWS_INTERVAL_NS}};
    timerfd_settime(client->timer_fd, 0, &interval, NULL);
    client->generation = client->state->generation;
    return client;
}

void hg_client_close(struct hg_client *client)
{
    free(client);
}

const char *hg_client_error(const struct hg_client *client)
{
    return client->error;
}

int hg_client_fd(const struct hg_client *client)
{
    return client->timer_fd;
}

static void flush(struct hg_stream *stream)
{
    if (stream != NULL && stream->append && stream->dirty_bytes > 0) {
        stream->dirty_bytes = 0;
        stream->client->state->file_bytes_durable = stream->file_bytes;
        stream->client->state->lsn_durable = stream->lsn_end;
    }
}

bool hg_client_sleep(struct hg_client *client)
{
    bool news = client->stream != NULL && client->stream->dirty_bytes > 0;
    if (client->generation == client->state->generation) {
        flush(client->stream);
    }
    return !news;
}

static void stream_restart(struct hg_stream *stream)
{
    struct state *state = stream->client->state;
    stream->lsn_end = state->lsn_durable;
    stream->file_bytes = stream->append ? state->file_bytes_durable : state->oldest_bytes;
    stream->dirty_bytes = 0;
    stream->anew = true;
    if (stream->append && ftruncate(stream->client->data_fd, (off_t)stream->file_bytes) < 0) {
        die("ftruncate");
    }
}

/* HG_E_CLOSED once after each death. */
static int alive(struct hg_client *client)
{
    if (client->generation == client->state->generation) {
        return 0;
    }
    if (!client->closed_said) {
        client->closed_said = true;
        return fail(client, HG_E_CLOSED, "the dataplane is gone");
    }
    client->closed_said = false;
    client->generation = client->state->generation;
    if (client->stream != NULL) {
        stream_restart(client->stream);
    }
    return 0;
}

int hg_client_wake(struct hg_client *client, uint64_t deadline_ns)
{
    uint64_t count;
    ssize_t rc = read(client->timer_fd, &count, sizeof(count));
    (void)rc;
    return alive(client);
}

int hg_stream_attach(struct hg_client *client, const char *name, const struct hg_stream_options *options,
                     struct hg_stream **stream, uint64_t deadline_ns)
{
    struct state *state = client->state;
    int rc = alive(client);
    if (rc < 0) {
        return rc;
    }
    if (options->append) {
        if (state->system_identifier != 0 && options->system_identifier != 0 &&
            state->system_identifier != options->system_identifier) {
            return fail(client, HG_E_SYSTEM, "another system");
        }
        if (options->incarnation != 0 && state->incarnation != 0 &&
            state->incarnation != options->incarnation) {
            return fail(client, HG_E_INVALID, "another timeline");
        }
        if (state->system_identifier == 0) {
            state->unit_bytes = options->lsn_unit_bytes;
            state->incarnation = options->incarnation;
            state->system_identifier = options->system_identifier;
        }
    }
    struct hg_stream *s = calloc(1, sizeof(*s));
    s->client = client;
    s->append = options->append;
    s->buffer = malloc(1u << 20);
    client->stream = s;
    stream_restart(s);
    *stream = s;
    return 0;
}

void hg_stream_detach(struct hg_stream *stream)
{
    stream->client->stream = NULL;
    free(stream->buffer);
    free(stream);
}

int hg_stream_status_get(struct hg_stream *stream, struct hg_stream_status *status)
{
    struct state *state = stream->client->state;
    int rc = alive(stream->client);
    if (rc < 0) {
        return rc;
    }
    memset(status, 0, sizeof(*status));
    status->kind = 3;
    status->incarnation = (uint32_t)state->incarnation;
    status->system_identifier = state->system_identifier;
    status->lsn_unit_bytes = (uint32_t)state->unit_bytes;
    status->lsn_durable = state->lsn_durable;
    status->lsn_consumed = stream->append ? stream->lsn_end : state->lsn_durable;
    status->lsn_committed = state->lsn_durable;
    status->writable = state->full == 0;
    status->writable_why = "the test says full";
    return 0;
}

uint64_t hg_stream_committed_end(struct hg_stream *stream)
{
    return hg_stream_durable_end(stream);
}

uint64_t hg_stream_durable_end(struct hg_stream *stream)
{
    return stream->client->state->lsn_durable;
}

int hg_stream_append(struct hg_stream *stream, const struct hg_entry *entries, uint32_t count,
                     uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    int rc = alive(client);
    if (rc < 0) {
        return rc;
    }
    if (client->state->full) {
        return fail(client, HG_E_WOULD_BLOCK, "full");
    }
    uint32_t taken = count > 3 ? count - 1 : count; /* sometimes less than asked for */
    for (uint32_t i = 0; i < taken; i++) {
        struct record record = {entries[i].lsn, entries[i].span, RECORD_MAGIC};
        if (stream->lsn_end != 0 && record.lsn != stream->lsn_end) {
            return fail(client, record.lsn > stream->lsn_end ? HG_E_GAP : HG_E_OVERLAP, "not contiguous");
        }
        if (stream->lsn_end == 0) {
            client->state->lsn_first = record.lsn;
        }
        off_t at = (off_t)stream->file_bytes;
        if (pwrite(client->data_fd, &record, sizeof(record), at) != (ssize_t)sizeof(record) ||
            pwrite(client->data_fd, entries[i].data, record.span, at + (off_t)sizeof(record)) !=
                (ssize_t)record.span) {
            die("pwrite");
        }
        stream->file_bytes += sizeof(record) + record.span;
        stream->dirty_bytes += record.span;
        stream->lsn_end = record.lsn + record.span;
    }
    client->state->appends++;
    if (stream->dirty_bytes > DIRTY_BYTES_MAX) {
        flush(stream);
    }
    return (int)taken;
}

static int entry_next(struct hg_stream *stream, struct hg_entry *entry)
{
    struct hg_client *client = stream->client;
    struct record record;
    while (stream->file_bytes < client->state->file_bytes_durable) {
        off_t at = (off_t)stream->file_bytes;
        if (pread(client->data_fd, &record, sizeof(record), at) != (ssize_t)sizeof(record) ||
            record.magic != RECORD_MAGIC) {
            return fail(client, HG_E_CORRUPT, "bad record");
        }
        stream->file_bytes += sizeof(record) + record.span;
        if (stream->anew && record.lsn + record.span <= client->state->lsn_acknowledged) {
            continue;
        }
        stream->anew = false;
        if (pread(client->data_fd, stream->buffer, record.span, at + (off_t)sizeof(record)) !=
            (ssize_t)record.span) {
            return fail(client, HG_E_CORRUPT, "short record");
        }
        memset(entry, 0, sizeof(*entry));
        entry->lsn = record.lsn;
        entry->span = record.span;
        entry->op = 7;
        entry->data = stream->buffer;
        entry->data_bytes = record.span;
        return 1;
    }
    return 0;
}

int hg_stream_read(struct hg_stream *stream, struct hg_entry *entry, uint64_t deadline_ns)
{
    for (;;) {
        int rc = alive(stream->client);
        if (rc < 0) {
            return rc;
        }
        rc = entry_next(stream, entry);
        if (rc != 0) {
            return rc;
        }
        if (now_ns() >= deadline_ns) {
            return HG_E_TIMEOUT;
        }
        struct pollfd news = {.fd = stream->client->timer_fd, .events = POLLIN};
        uint64_t count;
        if (poll(&news, 1, 100) > 0 && read(news.fd, &count, sizeof(count)) < 0) {
            die("timerfd");
        }
    }
}

int hg_stream_wait(struct hg_stream *stream, enum hg_where where, uint32_t region, uint64_t lsn,
                   uint64_t deadline_ns)
{
    int rc = alive(stream->client);
    if (rc == 0 && stream->append && stream->client->state->deposed != 0) {
        stream->client->state->deposed = 0;
        return fail(stream->client, HG_E_NOT_LEADER, "sealed");
    }
    return rc != 0 || lsn <= stream->client->state->lsn_durable
               ? rc
               : fail(stream->client, HG_E_TIMEOUT, "not yet");
}

int hg_stream_acknowledge(struct hg_stream *stream, uint64_t lsn)
{
    if (lsn > stream->client->state->lsn_acknowledged) {
        stream->client->state->lsn_acknowledged = lsn;
    }
    return 0;
}
