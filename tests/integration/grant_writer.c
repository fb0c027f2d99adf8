/* SPDX-License-Identifier: Apache-2.0
 *
 * Appends to a stream as fast as its ring takes it, and attaches again whenever it is refused; beside it a
 * second client watches what is told to be durable. A line each time that moves after it stood still for
 * STILL_NS, with CLOCK_BOOTTIME in milliseconds, and each time the stream is writable or not. Until it is
 * killed. For integration tests.
 *
 *     grant_writer RUN_DIR STREAM
 */
#include "drivers/client/heliograph.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define STILL_NS UINT64_C(150000000)
#define BURST    64u

static uint64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t in_ms(uint64_t ms)
{
    return clock_read_ns(CLOCK_MONOTONIC) + ms * 1000000;
}

/* Says where it was, and is. */
static void watch(struct hg_stream *stream)
{
    static uint64_t durable, moved_ns;
    uint64_t now = hg_stream_durable_end(stream), now_ns = clock_read_ns(CLOCK_BOOTTIME);
    if (now == durable)
        return;
    if (now_ns - moved_ns >= STILL_NS)
        printf("moved at %" PRIu64 " ms: %" PRIu64 " to %" PRIu64 "\n", now_ns / 1000000, durable, now);
    durable = now;
    moved_ns = now_ns;
}

static void say(int code, const char *text)
{
    static int said = 1;
    if (code == said)
        return;
    said = code;
    printf("%s at %" PRIu64 " ms: %s\n", code == 0 ? "writing" : hg_error_name(code),
           clock_read_ns(CLOCK_BOOTTIME) / 1000000, text);
}

/* One burst. False: attach again. */
static bool burst(struct hg_client *client, struct hg_stream *stream)
{
    struct hg_entry entries[BURST];
    for (uint32_t i = 0; i < BURST; i++)
        entries[i] = (struct hg_entry){.span = 1, .op = 1, .data = "a write grant", .data_bytes = 13};
    int rc = hg_stream_append(stream, entries, BURST, in_ms(1));
    bool goes_on = rc >= 0 || rc == HG_E_TIMEOUT || rc == HG_E_WOULD_BLOCK;
    say(goes_on ? 0 : rc, goes_on ? "" : hg_client_error(client));
    return goes_on;
}

int main(int argc, char **argv)
{
    struct hg_stream_options append = {.append = true}, subscribe = {.subscribe = true};
    struct hg_stream *stream = NULL, *watched;
    if (argc != 3) {
        fprintf(stderr, "usage: %s RUN_DIR STREAM\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct hg_client *client = hg_client_open(argv[1], "writer"),
                     *watcher = hg_client_open(argv[1], "watcher");
    if (client == NULL || watcher == NULL ||
        hg_stream_attach(watcher, argv[2], &subscribe, &watched, in_ms(30000)) != 0) {
        fprintf(stderr, "%s\n", watcher != NULL ? hg_client_error(watcher) : "no memory");
        return 1;
    }
    for (;;) {
        if (stream == NULL) {
            int rc = hg_stream_attach(client, argv[2], &append, &stream, in_ms(5));
            if (rc != 0)
                say(rc, hg_client_error(client));
        } else if (!burst(client, stream)) {
            hg_stream_detach(stream);
            stream = NULL;
        }
        watch(watched);
    }
}
