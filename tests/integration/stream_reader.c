/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a stream that the example program of drivers/client appended to, wherever it is, from the beginning
 * or LSN FROM to LSN END, and checks every entry. For integration tests; says what is wrong and exits with 1.
 *
 *     stream_reader RUN_DIR STREAM END [CONSUMER | from FROM]
 */
#include "drivers/client/heliograph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_SECONDS 60u

static uint64_t in_seconds(uint64_t seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + seconds) * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool entry_good(const struct hg_entry *entry, uint64_t lsn)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "the entry at %" PRIu64, lsn);
    return entry->lsn == lsn && entry->span == 1 && entry->data_bytes == (uint32_t)length &&
           memcmp(entry->data, text, entry->data_bytes) == 0;
}

static int read_all(struct hg_client *client, struct hg_stream *stream, uint64_t lsn, uint64_t end)
{
    while (lsn < end) {
        struct hg_entry entry;
        int rc = hg_stream_read(stream, &entry, in_seconds(WAIT_SECONDS));
        if (rc == HG_E_CLOSED)
            continue; /* the next read attaches again */
        if (rc < 0) {
            fprintf(stderr, "read of %" PRIu64 ": %s: %s\n", lsn, hg_error_name(rc), hg_client_error(client));
            return 1;
        }
        if (!entry_good(&entry, lsn)) {
            fprintf(stderr, "at %" PRIu64 " there is %" PRIu64 ": %.*s\n", lsn, entry.lsn,
                    (int)entry.data_bytes, (const char *)entry.data);
            return 1;
        }
        lsn++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    bool named = argc == 5, begins = argc == 6 && strcmp(argv[4], "from") == 0;
    uint64_t end = argc == 4 || named || begins ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t lsn = begins ? strtoull(argv[5], NULL, 10) : 1;
    struct hg_stream_options options = {
        .subscribe = true, .consumer = named ? argv[4] : NULL, .lsn_from = begins ? lsn : 0};
    struct hg_stream *stream;
    if (end == 0) {
        fprintf(stderr, "usage: %s RUN_DIR STREAM END [CONSUMER | from FROM]\n", argv[0]);
        return 2;
    }
    struct hg_client *client = hg_client_open(argv[1], "reader");
    int rc = client == NULL ? HG_E_INVALID
                            : hg_stream_attach(client, argv[2], &options, &stream, in_seconds(WAIT_SECONDS));
    if (rc != 0) {
        fprintf(stderr, "attach: %s: %s\n", hg_error_name(rc), client != NULL ? hg_client_error(client) : "");
        return 1;
    }
    rc = read_all(client, stream, lsn, end);
    hg_client_close(client);
    if (rc == 0)
        printf("%" PRIu64 " entries, all as they should be\n", end - lsn);
    return rc;
}
