/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends entries that say whose they are, each once however often it is tried and wherever, and reads them
 * again. For integration tests.
 *
 *     once_client RUN_DIR STREAM append durable|committed CLIENT FIRST LAST [CLIENT FIRST LAST]...
 *     once_client RUN_DIR STREAM read END
 *
 * `append`: the entries FIRST to LAST of each client by hg_stream_append_once, of client 0 by
 * hg_stream_append; then all of them are durable, or committed. `read`: from the oldest that is kept.
 *
 *     entry CLIENT SEQUENCE at LSN       where it is
 *     entry CLIENT SEQUENCE refused WHY  nobody knows whether it is there
 *     end N                              all below N was read, or is as safe as was asked for
 *
 *     ONCE_SECONDS=N                     how long it waits for anything, 60 s unless told
 *
 * Exit 1: an entry is not what it says, one is missing, or a call failed.
 */
#include "drivers/client/heliograph.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_SECONDS 60u

static uint64_t wait_seconds = WAIT_SECONDS;

static uint64_t deadline(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + wait_seconds) * 1000000000u + (uint64_t)now.tv_nsec;
}

static int failed(struct hg_client *client, const char *what, int rc)
{
    fprintf(stderr, "%s: %s: %s\n", what, hg_error_name(rc), client != NULL ? hg_client_error(client) : "");
    return 1;
}

static int append_one(struct hg_stream *stream, uint64_t client_id, uint64_t sequence, uint64_t *lsn)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, client_id, sequence);
    struct hg_entry entry = {.span = 1,
                             .op = 1,
                             .client_id = client_id,
                             .client_sequence = client_id != 0 ? sequence : 0,
                             .data = text,
                             .data_bytes = (uint32_t)length};
    if (client_id != 0)
        return hg_stream_append_once(stream, &entry, lsn, deadline());
    int rc = hg_stream_append(stream, &entry, 1, deadline());
    *lsn = hg_stream_append_end(stream) - 1;
    return rc == 1 ? 0 : rc;
}

/* `words`: CLIENT FIRST LAST and so on. */
static int append_all(struct hg_client *client, struct hg_stream *stream, enum hg_where where, char **words)
{
    uint64_t end = 0;
    for (; words[0] != NULL; words += 3) {
        uint64_t client_id = strtoull(words[0], NULL, 10), last = strtoull(words[2], NULL, 10);
        for (uint64_t sequence = strtoull(words[1], NULL, 10); sequence <= last; sequence++) {
            uint64_t lsn;
            int rc = append_one(stream, client_id, sequence, &lsn);
            bool is_refused = rc == HG_E_SESSION_OLD || rc == HG_E_SESSION_EVICTED;
            if (rc != 0 && !is_refused)
                return failed(client, "append", rc);
            printf("entry %" PRIu64 " %" PRIu64 " ", client_id, sequence);
            if (is_refused)
                printf("refused %s\n", hg_error_name(rc));
            else
                printf("at %" PRIu64 "\n", lsn);
            if (rc == 0 && lsn >= end)
                end = lsn + 1;
        }
    }
    int rc = hg_stream_wait(stream, where, 0, end, deadline());
    if (rc != 0)
        return failed(client, "wait", rc);
    printf("end %" PRIu64 "\n", end);
    return 0;
}

static int read_all(struct hg_client *client, struct hg_stream *stream, uint64_t end)
{
    uint64_t lsn = 1;
    while (lsn < end) {
        struct hg_entry entry;
        char text[64] = "";
        uint64_t client_id, sequence;
        int rc = hg_stream_read(stream, &entry, deadline());
        if (rc < 0)
            return failed(client, "read", rc);
        if (entry.data_bytes < sizeof(text))
            memcpy(text, entry.data, entry.data_bytes);
        bool is_ours = sscanf(text, "%" SCNu64 " %" SCNu64, &client_id, &sequence) == 2;
        /* What had no client may have got one when it was resubmitted. */
        if (!is_ours || entry.lsn != lsn || entry.span != 1 ||
            (client_id != 0 && (entry.client_id != client_id || entry.client_sequence != sequence))) {
            fprintf(stderr, "WRONG: at %" PRIu64 " there is %" PRIu64 " of %" PRIu64 " %" PRIu64 ": %s\n",
                    lsn, entry.lsn, entry.client_id, entry.client_sequence, text);
            return 1;
        }
        printf("entry %" PRIu64 " %" PRIu64 " at %" PRIu64 "\n", client_id, sequence, lsn++);
    }
    printf("end %" PRIu64 "\n", lsn);
    return 0;
}

int main(int argc, char **argv)
{
    bool reads = argc == 5 && strcmp(argv[3], "read") == 0;
    bool appends = argc > 7 && strcmp(argv[3], "append") == 0 && (argc - 5) % 3 == 0;
    struct hg_stream_options options = {.append = appends, .subscribe = reads};
    struct hg_stream *stream;
    if (!reads && !appends) {
        fprintf(stderr,
                "usage: %s RUN_DIR STREAM append durable|committed CLIENT FIRST LAST...\n"
                "       %s RUN_DIR STREAM read END\n",
                argv[0], argv[0]);
        return 2;
    }
    const char *seconds = getenv("ONCE_SECONDS");
    if (seconds != NULL)
        wait_seconds = strtoull(seconds, NULL, 10);
    struct hg_client *client = hg_client_open(argv[1], "once");
    int rc = client == NULL ? HG_E_INVALID : hg_stream_attach(client, argv[2], &options, &stream, deadline());
    if (rc != 0)
        return failed(client, "attach", rc);
    enum hg_where where = strcmp(argv[4], "committed") == 0 ? HG_WHERE_COMMITTED : HG_WHERE_DURABLE;
    rc = reads ? read_all(client, stream, strtoull(argv[4], NULL, 10))
               : append_all(client, stream, where, argv + 5);
    hg_client_close(client);
    return rc;
}
