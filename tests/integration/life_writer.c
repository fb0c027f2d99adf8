/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends entries of life_entry.h to a stream until it gets SIGTERM, and holds the dataplane to what it
 * acknowledged: once a position was durable, it is durable in every later life. For integration tests.
 *
 *     life_writer RUN_DIR STREAM [durable|committed [LIFE [ENTRIES]]]
 *
 * What it waits for and calls acknowledged is durable at its node unless `committed`. LIFE is the number of
 * its first life. After ENTRIES it ends as if told to.
 *
 *     life K from N      attached; the entries from N on are of life K
 *     acknowledged N     all below N is durable; said every 5 ms at most
 *     closed at N        the dataplane is gone, N was acknowledged
 *     end N              all that was appended is durable; exit 0
 *
 * Exit 1: what was acknowledged is gone, or a call failed or took longer than two minutes.
 */
#include "drivers/client/heliograph.h"
#include "tests/integration/life_entry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_NS        (120 * HG_NS_PER_S)
#define WINDOW_ENTRIES 256u /* appended and not yet durable */
#define BURST_ENTRIES  32u

struct writer {
    struct hg_client *client;
    struct hg_stream *stream;
    enum hg_where where;
    uint64_t life;
    uint64_t lsn; /* of the next entry */
    uint64_t entries_left;
    uint64_t acknowledged;
    uint64_t printed_ns;
    struct hg_random random;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
    (void)number;
    stopping = 1;
}

static uint64_t position(const struct writer *writer)
{
    return writer->where == HG_WHERE_COMMITTED ? hg_stream_committed_end(writer->stream)
                                               : hg_stream_durable_end(writer->stream);
}

static void acknowledged_note(struct writer *writer, bool always)
{
    uint64_t durable = position(writer), now_ns = life_now_ns();
    bool moved = durable > writer->acknowledged;
    writer->acknowledged = hg_max_u64(writer->acknowledged, durable);
    if (always || (moved && now_ns - writer->printed_ns >= LIFE_PRINT_NS)) {
        writer->printed_ns = now_ns;
        printf("acknowledged %" PRIu64 "\n", writer->acknowledged);
    }
}

static int failed(const struct writer *writer, const char *what, int rc)
{
    fprintf(stderr, "%s at %" PRIu64 ": %s: %s\n", what, writer->lsn, hg_error_name(rc),
            hg_client_error(writer->client));
    return 1;
}

/* Attached, again or for the first time. */
static int life_begin(struct writer *writer)
{
    uint64_t end = hg_stream_append_end(writer->stream);
    if (end < writer->acknowledged) {
        fprintf(stderr, "LOST: %" PRIu64 " was acknowledged, the stream ends at %" PRIu64 "\n",
                writer->acknowledged, end);
        return 1;
    }
    writer->life++;
    writer->lsn = end;
    printf("life %" PRIu64 " from %" PRIu64 "\n", writer->life, end);
    return 0;
}

static int burst(struct writer *writer)
{
    uint8_t data[LIFE_ENTRY_BYTES_MAX];
    uint64_t count = 1 + hg_random_u64(&writer->random) % BURST_ENTRIES;
    count = hg_min_u64(count, writer->entries_left);
    for (uint64_t i = 0; i < count; i++) {
        struct hg_entry entry = {.lsn = writer->lsn, .span = 1, .op = 1, .data = data};
        entry.data_bytes = life_entry_make(writer->lsn, writer->life, data);
        int rc = hg_stream_append(writer->stream, &entry, 1, life_now_ns() + WAIT_NS);
        if (rc != 1)
            return rc;
        writer->lsn++;
        writer->entries_left--;
    }
    stopping |= writer->entries_left == 0;
    acknowledged_note(writer, false);
    if (writer->lsn <= WINDOW_ENTRIES)
        return 0;
    return hg_stream_wait(writer->stream, writer->where, 0, writer->lsn - WINDOW_ENTRIES,
                          life_now_ns() + WAIT_NS);
}

static int run(struct writer *writer)
{
    if (life_begin(writer) != 0)
        return 1;
    for (;;) {
        int rc = !stopping
                     ? burst(writer)
                     : hg_stream_wait(writer->stream, writer->where, 0, writer->lsn, life_now_ns() + WAIT_NS);
        if (rc == 0 && stopping && position(writer) >= writer->lsn)
            break;
        if (rc == 0)
            continue;
        if (rc != HG_E_CLOSED)
            return failed(writer, "append", rc);
        acknowledged_note(writer, true);
        printf("closed at %" PRIu64 "\n", writer->acknowledged);
        while ((rc = hg_client_wake(writer->client, life_now_ns() + WAIT_NS)) == HG_E_CLOSED)
            ; /* gone again while it was being attached */
        if (rc != 0)
            return failed(writer, "attach", rc);
        if (life_begin(writer) != 0)
            return 1;
    }
    acknowledged_note(writer, true);
    printf("end %" PRIu64 "\n", writer->lsn);
    return 0;
}

int main(int argc, char **argv)
{
    struct writer writer = {.where = HG_WHERE_DURABLE, .entries_left = UINT64_MAX};
    struct hg_stream_options options = {.append = true, .append_ring_bytes = 4u << 20};
    struct sigaction action = {.sa_handler = on_signal};
    if (argc < 3 || argc > 6) {
        fprintf(stderr, "usage: %s RUN_DIR STREAM [durable|committed [LIFE [ENTRIES]]]\n", argv[0]);
        return 2;
    }
    if (argc > 3 && strcmp(argv[3], "committed") == 0)
        writer.where = HG_WHERE_COMMITTED;
    if (argc > 4)
        writer.life = strtoull(argv[4], NULL, 10) - 1;
    if (argc > 5)
        writer.entries_left = strtoull(argv[5], NULL, 10);
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGTERM, &action, NULL);
    hg_random_init(&writer.random, life_now_ns());
    writer.client = hg_client_open(argv[1], "life-writer");
    int rc = writer.client == NULL ? HG_E_INVALID
                                   : hg_stream_attach(writer.client, argv[2], &options, &writer.stream,
                                                      life_now_ns() + WAIT_NS);
    if (rc != 0)
        fprintf(stderr, "attach: %s: %s\n", hg_error_name(rc),
                writer.client != NULL ? hg_client_error(writer.client) : "");
    else
        rc = run(&writer);
    hg_client_close(writer.client);
    return rc == 0 ? 0 : 1;
}
