/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients: opening, sleeping, errors.
 */
#include "drivers/client/client_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static_assert(HG_CLIENT_BATCH_BYTES_MAX >= HG_BATCH_BYTES_MAX, "the ring carries any batch");
static_assert(HG_CLIENT_KEY_BYTES_MAX == HG_FRAME_KEY_BYTES_MAX, "one limit");
static_assert(HG_CLIENT_DATA_BYTES_MAX == HG_FRAME_DATA_BYTES_MAX, "one limit");
static_assert(HG_CLIENT_NAME_BYTES == HG_NAME_BYTES, "one limit");
static_assert(HG_CLIENT_REGIONS == HG_REGIONS_MAX, "one limit");
static_assert(HG_CLIENT_OP_MAX == HG_OP_INCARNATION, "clients may open an incarnation, and nothing beyond");

const char *hg_error_name(int code)
{
    static const char *const names[] = {
        "ok",        "closed",   "not_ready", "not_leader",  "timeout",        "would_block",
        "read_only", "gap",      "overlap",   "invalid",     "unknown",        "system",
        "corrupt",   "protocol", "duplicate", "session_old", "session_evicted"};
    return code <= 0 && (size_t)-code < HG_COUNT(names) ? names[-code] : "unknown_code";
}

int client_fail(struct hg_client *client, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->error, sizeof(client->error), format, arguments);
    va_end(arguments);
    return code;
}

uint64_t client_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

struct hg_client *hg_client_open(const char *run_dir, const char *name)
{
    struct hg_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return NULL;
    client->socket = client->greeted = -1;
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (client->epoll < 0) {
        free(client);
        return NULL;
    }
    int length = snprintf(client->path, sizeof(client->path), "%s/%s", run_dir, HG_CLIENT_SOCKET_NAME);
    if (length < 0 || (size_t)length >= sizeof(client->path))
        client->problem =
            client_fail(client, HG_E_INVALID,
                        "the path %s/%s is longer than a socket's may be (%zu bytes): use a shorter "
                        "run directory",
                        run_dir, HG_CLIENT_SOCKET_NAME, sizeof(client->path) - 1);
    else if (hg_client_name_copy(client->name, name) != 0)
        client->problem =
            client_fail(client, HG_E_INVALID,
                        "the client name \"%.40s\" is not 1 to %u printable bytes without space and /", name,
                        HG_CLIENT_NAME_BYTES - 1);
    return client;
}

void hg_client_close(struct hg_client *client)
{
    if (client == NULL)
        return;
    while (client->streams != NULL)
        hg_stream_detach(client->streams);
    client_lost(client, HG_E_CLOSED);
    if (client->greeted >= 0)
        close(client->greeted);
    close(client->epoll);
    free(client);
}

const char *hg_client_error(const struct hg_client *client)
{
    return client->error;
}

int hg_client_fd(const struct hg_client *client)
{
    return client->socket >= 0 ? client->epoll : -1;
}

bool hg_client_sleep(struct hg_client *client)
{
    bool news = false;
    for (struct hg_stream *stream = client->streams; stream != NULL; stream = stream->next)
        news |= stream->report != 0;
    for (size_t i = 0; i < HG_COUNT(client->links); i++) {
        struct client_link *link = &client->links[i];
        if (!link->used)
            continue;
        client_link_flush(link);
        hg_client_view_sleep_set(&link->view, true);
        news |= hg_client_view_pending(&link->view);
    }
    if (!news)
        return true;
    for (size_t i = 0; i < HG_COUNT(client->links); i++) {
        if (!client->links[i].used)
            continue;
        hg_client_view_sleep_set(&client->links[i].view, false);
        hg_client_view_seen(&client->links[i].view); /* the caller looks now */
    }
    return false;
}

int hg_client_wake(struct hg_client *client, uint64_t deadline_ns)
{
    if (client->problem != 0)
        return client->problem;
    if (client->socket >= 0)
        client_socket_take(client);
    for (size_t i = 0; i < HG_COUNT(client->links); i++) {
        struct client_link *link = &client->links[i];
        if (!link->used)
            continue;
        hg_client_view_sleep_set(&link->view, false);
        client_doorbell_drain(link);
        hg_client_view_seen(&link->view);
        if (hg_client_view_closed(&link->view)) {
            client_lost(client, HG_E_CLOSED);
            break;
        }
    }
    if (client->socket < 0) {
        int rc = client_connect(client, deadline_ns);
        if (rc != 0)
            return rc;
    }
    for (struct hg_stream *stream = client->streams; stream != NULL; stream = stream->next) {
        int rc = stream->attached ? 0 : client_stream_attach(stream, deadline_ns);
        if (rc != 0)
            return rc;
    }
    return 0;
}
