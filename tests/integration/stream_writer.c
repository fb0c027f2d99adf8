/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends COUNT entries to a stream, a hundred at a time, each hundred durable before the next, as
 * stream_reader.c expects them. It only appends: a subscriber that does not read would hold a stream that is
 * to move. For integration tests; goes on by itself when the dataplane hangs up.
 *
 *     stream_writer RUN_DIR STREAM COUNT
 */
#include "drivers/client/heliograph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WAIT_SECONDS 60u
#define BURST        100u

static uint64_t in_seconds(uint64_t seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + seconds) * 1000000000u + (uint64_t)now.tv_nsec;
}

static int burst(struct hg_stream *stream, uint64_t *lsn, uint64_t end)
{
    for (uint32_t i = 0; i < BURST && *lsn < end; i++) {
        char text[64];
        int length = snprintf(text, sizeof(text), "the entry at %" PRIu64, *lsn);
        struct hg_entry entry = {
            .lsn = *lsn, .span = 1, .op = 1, .data = text, .data_bytes = (uint32_t)length};
        int rc = hg_stream_append(stream, &entry, 1, in_seconds(WAIT_SECONDS));
        if (rc != 1)
            return rc;
        *lsn += 1;
    }
    return hg_stream_wait(stream, HG_WHERE_DURABLE, 0, *lsn, in_seconds(WAIT_SECONDS));
}

static int write_all(struct hg_client *client, struct hg_stream *stream, uint64_t count)
{
    uint64_t lsn = hg_stream_append_end(stream), end = lsn + count;
    uint32_t hung_up = 0;
    while (lsn < end) {
        int rc = burst(stream, &lsn, end);
        if (rc == HG_E_CLOSED) {
            hung_up++;
            rc = hg_client_wake(client, in_seconds(WAIT_SECONDS)); /* attaches again */
            lsn = hg_stream_durable_end(stream);
        }
        if (rc < 0) {
            fprintf(stderr, "append at %" PRIu64 ": %s: %s\n", lsn, hg_error_name(rc),
                    hg_client_error(client));
            return 1;
        }
    }
    printf("%" PRIu64 " entries, attached again %u times\n", count, hung_up);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t count = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    struct hg_stream_options options = {.append = true};
    struct hg_stream *stream;
    if (count == 0) {
        fprintf(stderr, "usage: %s RUN_DIR STREAM COUNT\n", argv[0]);
        return 2;
    }
    struct hg_client *client = hg_client_open(argv[1], "writer");
    int rc = client == NULL ? HG_E_INVALID
                            : hg_stream_attach(client, argv[2], &options, &stream, in_seconds(WAIT_SECONDS));
    if (rc != 0) {
        fprintf(stderr, "attach: %s: %s\n", hg_error_name(rc), client != NULL ? hg_client_error(client) : "");
        return 1;
    }
    rc = write_all(client, stream, count);
    hg_client_close(client);
    return rc;
}
