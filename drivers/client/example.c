/* SPDX-License-Identifier: Apache-2.0
 *
 * A complete program on libheliograph: appends COUNT entries to a stream, waits until they are durable, and
 * reads the stream back. Survives the dataplane's death at any moment. docs/client-library.md explains it.
 *
 *     example RUN_DIR STREAM COUNT
 */
#include "heliograph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t in_seconds(uint64_t seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + seconds) * 1000000000u + (uint64_t)now.tv_nsec;
}

static int fail(struct hg_client *client, const char *what, int code)
{
    fprintf(stderr, "%s: %s: %s\n", what, hg_error_name(code), hg_client_error(client));
    return 1;
}

/* What entry `lsn` says. A real producer can tell this for every LSN that is not durable yet. */
static int entry_text(char *text, size_t bytes, uint64_t lsn)
{
    return snprintf(text, bytes, "the entry at %" PRIu64, lsn);
}

/* Appends [from, end) and waits. HG_E_CLOSED: what was not durable is lost, so go on from the durable end. */
static int produce(struct hg_stream *stream, struct hg_client *client, uint64_t from, uint64_t end)
{
    uint64_t lsn = from;
    for (;;) {
        int rc = 0;
        while (lsn < end && rc >= 0) {
            char text[64];
            int length = entry_text(text, sizeof(text), lsn);
            struct hg_entry entry = {.lsn = lsn,
                                     .span = 1,
                                     .op = 1,
                                     .key = "k",
                                     .key_bytes = 1,
                                     .data = text,
                                     .data_bytes = (uint32_t)length};
            rc = hg_stream_append(stream, &entry, 1, in_seconds(10));
            lsn += rc == 1;
        }
        if (rc >= 0)
            rc = hg_stream_wait(stream, HG_WHERE_DURABLE, 0, end, in_seconds(10));
        if (rc == 0)
            return 0;
        if (rc != HG_E_CLOSED)
            return rc;
        rc = hg_client_wake(client, in_seconds(60)); /* attaches again */
        if (rc != 0)
            return rc;
        lsn = hg_stream_durable_end(stream);
    }
}

static int consume(struct hg_stream *stream, uint64_t end)
{
    struct hg_entry entry = {0};
    while (entry.lsn + entry.span < end) {
        int rc = hg_stream_read(stream, &entry, in_seconds(10));
        if (rc == HG_E_CLOSED)
            continue; /* the next read attaches again, and nothing comes twice */
        if (rc < 0)
            return rc;
        printf("%" PRIu64 " %.*s\n", entry.lsn, (int)entry.data_bytes, (const char *)entry.data);
    }
    return 0;
}

int main(int argc, char **argv)
{
    char *rest = NULL;
    uint64_t count = argc == 4 ? strtoull(argv[3], &rest, 10) : 0;
    if (count == 0 || *rest != '\0') {
        fprintf(stderr, "usage: %s RUN_DIR STREAM COUNT\n", argv[0]);
        return 2;
    }
    struct hg_client *client = hg_client_open(argv[1], "example");
    if (client == NULL)
        return 1;
    struct hg_stream_options options = {.append = true, .subscribe = true};
    struct hg_stream *stream;
    int rc = hg_stream_attach(client, argv[2], &options, &stream, in_seconds(10));
    if (rc != 0)
        return fail(client, "attach", rc);
    uint64_t from = hg_stream_append_end(stream), end = from + count;
    rc = produce(stream, client, from, end);
    if (rc != 0)
        return fail(client, "append", rc);
    rc = consume(stream, end);
    if (rc != 0)
        return fail(client, "read", rc);
    hg_client_close(client);
    return 0;
}
