/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads what life_writer appended, on any node, and checks every entry: in order, none missing, none twice,
 * each with the content of its place and life, lives never going back. For integration tests.
 *
 *     life_reader RUN_DIR STREAM CONSUMER        from the consumer's position, until SIGTERM
 *     life_reader RUN_DIR STREAM - END           from the oldest that is kept to END, or until the log
 * forgets what comes next
 *
 *     life K from N      the first entry of life K that was read is N
 *     read N             all below N was read; said every 5 ms at most
 *
 * Exit 1: an entry is wrong, or a call failed.
 */
#include "drivers/client/heliograph.h"
#include "tests/integration/life_entry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_NS             (120 * HG_NS_PER_S)
#define READ_NS             (100 * HG_NS_PER_MS)
#define ACKNOWLEDGE_ENTRIES 64u

struct reader {
    struct hg_client *client;
    struct hg_stream *stream;
    bool is_consumer;
    uint64_t life;
    uint64_t lsn; /* of the next entry; 0 = whichever comes first */
    uint64_t printed;
    uint64_t printed_ns;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static int entry_take(struct reader *reader, const struct hg_entry *entry)
{
    uint8_t wanted[LIFE_ENTRY_BYTES_MAX];
    struct life_head head = {0};
    if (entry->data_bytes >= sizeof(head))
        memcpy(&head, entry->data, sizeof(head));
    bool in_order = reader->lsn == 0 || entry->lsn == reader->lsn;
    uint32_t bytes = life_entry_make(entry->lsn, head.life, wanted);
    if (!in_order || entry->span != 1 || head.life < reader->life || entry->data_bytes != bytes ||
        memcmp(entry->data, wanted, bytes) != 0) {
        fprintf(stderr,
                "WRONG: at %" PRIu64 " of life %" PRIu64 " there is %" PRIu64 ", which says it is %" PRIu64
                " of life %" PRIu64 ", %u bytes\n",
                reader->lsn, reader->life, entry->lsn, head.lsn, head.life, entry->data_bytes);
        return 1;
    }
    if (head.life != reader->life) {
        reader->life = head.life;
        printf("life %" PRIu64 " from %" PRIu64 "\n", head.life, entry->lsn);
    }
    reader->lsn = entry->lsn + 1;
    if (reader->is_consumer && reader->lsn % ACKNOWLEDGE_ENTRIES == 0)
        (void)hg_stream_acknowledge(reader->stream, reader->lsn);
    return 0;
}

static void progress_print(struct reader *reader)
{
    uint64_t now_ns = life_now_ns();
    if (reader->printed == reader->lsn || now_ns - reader->printed_ns < LIFE_PRINT_NS)
        return;
    reader->printed = reader->lsn;
    reader->printed_ns = now_ns;
    printf("read %" PRIu64 "\n", reader->lsn);
}

/* Nobody keeps anything for a reader that is no consumer. */
static bool was_overtaken(struct reader *reader, const char *name)
{
    struct hg_stream_options options = {.subscribe = true};
    struct hg_stream *stream;
    struct hg_stream_status status = {0};
    if (reader->is_consumer ||
        hg_stream_attach(reader->client, name, &options, &stream, life_now_ns() + WAIT_NS) != 0)
        return false;
    bool is_known = hg_stream_status_get(stream, &status) == 0;
    hg_stream_detach(stream);
    if (!is_known || status.lsn_oldest <= reader->lsn)
        return false;
    printf("overtaken at %" PRIu64 ", the oldest is %" PRIu64 "\n", reader->lsn, status.lsn_oldest);
    return true;
}

static int run(struct reader *reader, const char *name, uint64_t end)
{
    uint64_t began_ns = life_now_ns();
    while (!stopping && reader->lsn < end) {
        struct hg_entry entry;
        int rc = hg_stream_read(reader->stream, &entry, life_now_ns() + READ_NS);
        if (rc == 1 && entry_take(reader, &entry) != 0)
            return 1;
        bool is_late = end != UINT64_MAX && life_now_ns() - began_ns > WAIT_NS;
        bool comes_back =
            rc == HG_E_CLOSED || rc == HG_E_TIMEOUT || rc == HG_E_NOT_READY || rc == HG_E_UNKNOWN;
        if (rc == HG_E_GAP && was_overtaken(reader, name))
            return 0;
        if (rc < 0 && (!comes_back || is_late)) {
            fprintf(stderr, "read of %" PRIu64 ": %s: %s\n", reader->lsn, hg_error_name(rc),
                    hg_client_error(reader->client));
            return 1;
        }
        progress_print(reader);
    }
    if (reader->is_consumer)
        (void)hg_stream_acknowledge(reader->stream, reader->lsn);
    printf("read %" PRIu64 "\n", reader->lsn);
    return 0;
}

int main(int argc, char **argv)
{
    struct reader reader = {0};
    struct hg_stream_options options = {.subscribe = true};
    struct sigaction action = {.sa_handler = on_signal};
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: %s RUN_DIR STREAM CONSUMER, or %s RUN_DIR STREAM - END\n", argv[0], argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGTERM, &action, NULL);
    reader.is_consumer = argc == 4;
    options.consumer = reader.is_consumer ? argv[3] : NULL;
    reader.client = hg_client_open(argv[1], "life-reader");
    int rc = reader.client == NULL ? HG_E_INVALID
                                   : hg_stream_attach(reader.client, argv[2], &options, &reader.stream,
                                                      life_now_ns() + WAIT_NS);
    if (rc != 0)
        fprintf(stderr, "attach: %s: %s\n", hg_error_name(rc),
                reader.client != NULL ? hg_client_error(reader.client) : "");
    else
        rc = run(&reader, argv[2], argc == 5 ? strtoull(argv[4], NULL, 10) : UINT64_MAX);
    hg_client_close(reader.client);
    return rc == 0 ? 0 : 1;
}
