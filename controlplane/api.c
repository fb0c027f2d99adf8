/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket of helioctl: <run>/control.sock, mode 0600. One line in, one line of JSON out, and a close.
 */
#include "controlplane/report.h"
#include "controlplane/server.h"

#include "controlplane/json_text.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_closed(uv_handle_t *handle)
{
    struct hg_api_connection *connection = handle->data;

    free(connection->answer.base);
    connection->answer.base = NULL;
    connection->used = false;
}

static void connection_close(struct hg_api_connection *connection)
{
    if (connection->server->change.connection == connection)
        connection->server->change.connection = NULL;
    if (!uv_is_closing((uv_handle_t *)&connection->pipe))
        uv_close((uv_handle_t *)&connection->pipe, on_closed);
}

static void on_written(uv_write_t *write, int status)
{
    connection_close(write->data);
}

static void answer_send(struct hg_api_connection *connection, json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
    size_t bytes;

    json_decref(answer);
    hg_assert(text != NULL && connection->answer.base == NULL);
    bytes = strlen(text);
    text[bytes] = '\n'; /* in place of the end; the length says where it stops */
    connection->answer = uv_buf_init(text, (unsigned)bytes + 1);
    connection->answered = true;
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->pipe, &connection->answer, 1, on_written) <
        0)
        connection_close(connection);
}

static void request(struct hg_api_connection *connection)
{
    json_t *answer;

    uv_read_stop((uv_stream_t *)&connection->pipe);
    connection->answered = true; /* nothing more is read */
    answer = hg_answer(connection->server, connection, connection->line);
    if (answer != NULL)
        answer_send(connection, answer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct hg_api_connection *connection = handle->data;

    *buffer = uv_buf_init(connection->line + connection->line_bytes,
                          (unsigned)(sizeof(connection->line) - 1 - connection->line_bytes));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct hg_api_connection *connection = stream->data;
    char *end;

    if (got == 0)
        return;
    if (got == UV_ENOBUFS) {
        connection->answered = true;
        uv_read_stop(stream);
        answer_send(connection, hg_answer_error(HG_API_USAGE, "a request is a line of less than %d bytes",
                                                HG_GRAMMAR_LINE_BYTES_MAX));
        return;
    }
    if (got < 0) {
        connection_close(connection);
        return;
    }
    connection->line_bytes += (size_t)got;
    connection->line[connection->line_bytes] = '\0';
    end = memchr(connection->line, '\n', connection->line_bytes);
    if (end == NULL)
        return;
    *end = '\0';
    if (strlen(connection->line) != (size_t)(end - connection->line)) {
        connection_close(connection); /* a NUL inside: no text */
        return;
    }
    request(connection);
}

static void on_refused_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Taken and closed at once: what is not accepted would silence the listener. */
static void connection_refuse(struct hg_server *server)
{
    uv_pipe_t *pipe = malloc(sizeof(*pipe));

    hg_assert(pipe != NULL);
    uv_pipe_init(&server->loop, pipe, 0);
    uv_accept((uv_stream_t *)&server->api, (uv_stream_t *)pipe);
    uv_close((uv_handle_t *)pipe, on_refused_closed);
}

static void on_connection(uv_stream_t *api, int status)
{
    struct hg_server *server = api->data;
    struct hg_api_connection *connection = NULL;

    for (size_t i = 0; i < HG_API_CONNECTIONS_MAX && connection == NULL; i++) {
        if (!server->connections[i].used)
            connection = &server->connections[i];
    }
    if (status < 0)
        return;
    if (connection == NULL) {
        connection_refuse(server);
        return;
    }
    memset(connection, 0, sizeof(*connection));
    connection->used = true;
    connection->server = server;
    connection->opened_ns = uv_hrtime();
    uv_pipe_init(&server->loop, &connection->pipe, 0);
    connection->pipe.data = connection;
    if (uv_accept(api, (uv_stream_t *)&connection->pipe) < 0 ||
        uv_read_start((uv_stream_t *)&connection->pipe, on_alloc, on_read) < 0)
        connection_close(connection);
}

int hg_api_open(struct hg_server *server)
{
    struct stat status;
    mode_t mask;
    int rc;

    snprintf(server->api_path, sizeof(server->api_path), "%s/control.sock", server->run);
    if (lstat(server->api_path, &status) == 0 && !S_ISSOCK(status.st_mode))
        return -EEXIST;
    if (unlink(server->api_path) < 0 && errno != ENOENT) /* we hold the lock: it was a dead one's */
        return -errno;
    rc = uv_pipe_init(&server->loop, &server->api, 0);
    server->api.data = server;
    mask = umask(0177);
    if (rc == 0)
        rc = uv_pipe_bind(&server->api, server->api_path);
    umask(mask);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->api, HG_API_CONNECTIONS_MAX, on_connection);
    return rc;
}

static void change_end(struct hg_server *server, json_t *answer)
{
    struct hg_api_connection *connection = server->change.connection;

    server->change.request = 0;
    server->change.connection = NULL;
    hg_link_status_read(server);
    server->change_generation = server->status_generation;
    if (connection != NULL)
        answer_send(connection, answer);
    else
        json_decref(answer);
}

void hg_api_result(struct hg_server *server, int32_t code, const char *text)
{
    struct hg_change *change = &server->change;
    char name[HG_CONTROL_NAME_BYTES] = "", stream[HG_CONTROL_NAME_BYTES] = "";

    if (code < 0) {
        json_t *answer =
            hg_answer_error(HG_API_REFUSED, "the dataplane refused: %s (%s)", text, strerror(-code));

        if (change->is_config) {
            *server->config = change->before;
            hg_link_apply(server);
        }
        change_end(server, answer);
        return;
    }
    /* Removed by the dataplane: no longer wanted, or the next APPLY would bring it back. */
    if (!change->is_config && sscanf(change->what, "consumer %31s of stream %31s removed", name, stream) == 2)
        hg_command_config_consumer_remove(server->config, name, stream);
    const char *what = change->what[0] != '\0' ? change->what : text;
    if (!change->is_asked_only)
        hg_event_addf(&server->events, HG_SEVERITY_INFO, "change", "%.150s", what);
    json_t *data = json_pack("{s:o}", "message", hg_json_text(what));
    if (change->group >= 0) { /* the dataplane answers after the page that shows it */
        hg_link_status_read(server);
        json_object_set_new(data, "groups", hg_answer_groups(server, change->group));
        json_object_set_new(data, "tails", hg_report_tails(&server->status, change->group));
    }
    change_end(server, json_pack("{s:i, s:o}", "code", HG_API_OK, "data", data));
}

static void change_abandon(struct hg_server *server, const char *why)
{
    json_t *answer = hg_answer_error(HG_API_NO_DATAPLANE, "%s", why);

    if (server->change.is_config)
        *server->config = server->change.before;
    change_end(server, answer);
}

void hg_api_link_lost(struct hg_server *server)
{
    if (server->change.request == 0)
        return;
    if (server->change.is_config)
        change_abandon(server,
                       "the dataplane went away before it answered; the configuration is what it was before");
    else
        change_abandon(server,
                       "the dataplane went away before it answered; look at 'show' whether it was done");
}

void hg_api_tick(struct hg_server *server, uint64_t now_ns)
{
    if (server->change.request != 0 && now_ns >= server->change.deadline_ns) {
        bool is_config = server->change.is_config;

        change_abandon(server,
                       is_config ? "the dataplane did not answer in 5 s; the configuration is taken back"
                                 : "the dataplane did not answer in 5 s; look at 'show' whether it was done");
        if (is_config)
            hg_link_apply(server);
    }
    for (size_t i = 0; i < HG_API_CONNECTIONS_MAX; i++) {
        struct hg_api_connection *connection = &server->connections[i];

        if (connection->used && now_ns - connection->opened_ns > HG_API_IDLE_NS)
            connection_close(connection);
    }
}

void hg_api_close(struct hg_server *server)
{
    for (size_t i = 0; i < HG_API_CONNECTIONS_MAX; i++) {
        if (server->connections[i].used)
            connection_close(&server->connections[i]);
    }
    uv_close((uv_handle_t *)&server->api, NULL);
    unlink(server->api_path);
}
