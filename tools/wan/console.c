/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/console.h"
#include "tools/wan/show.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX  (4u << 20) /* a client that asks and doesn't read is closed */
#define ANSWER_WAIT_S_MAX 10

static int address_make(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path))
        return -ENAMETOOLONG;
    memcpy(address->sun_path, path, strlen(path));
    return 0;
}

int hg_wan_console_open(struct hg_wan_console *console, const char *path, hg_wan_console_run *run,
                        void *owner, char *error, size_t error_bytes)
{
    struct sockaddr_un address;
    memset(console, 0, sizeof(*console));
    for (uint32_t i = 0; i < HG_WAN_CLIENTS_MAX; i++)
        console->clients[i].fd = -1;
    console->run = run;
    console->owner = owner;
    console->fd = -1;
    int rc = address_make(path, &address);
    if (rc != 0) {
        snprintf(error, error_bytes,
                 "the path %s is too long for a socket (107 bytes): choose a shorter --run", path);
        return rc;
    }
    snprintf(console->path, sizeof(console->path), "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t mask = umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, HG_WAN_CLIENTS_MAX) != 0) {
        rc = -errno;
        snprintf(error, error_bytes, "can't listen on %s: %s", path, strerror(errno));
    }
    umask(mask);
    if (rc != 0) {
        if (fd >= 0)
            close(fd);
        return rc;
    }
    console->fd = fd;
    return 0;
}

static void client_close(struct hg_wan_client *client)
{
    close(client->fd);
    free(client->answer);
    memset(client, 0, sizeof(*client));
    client->fd = -1;
}

void hg_wan_console_close(struct hg_wan_console *console)
{
    for (uint32_t i = 0; i < HG_WAN_CLIENTS_MAX; i++) {
        if (console->clients[i].fd >= 0)
            client_close(&console->clients[i]);
    }
    if (console->fd >= 0) {
        close(console->fd);
        unlink(console->path);
    }
    console->fd = -1;
}

nfds_t hg_wan_console_polls(const struct hg_wan_console *console, struct pollfd polls[HG_WAN_POLLS_MAX])
{
    nfds_t count = 0;
    bool room = false;
    for (uint32_t i = 0; i < HG_WAN_CLIENTS_MAX; i++) {
        const struct hg_wan_client *client = &console->clients[i];
        room = room || client->fd < 0;
        if (client->fd < 0)
            continue;
        short events = (short)((client->closing ? 0 : POLLIN) | (client->answer != NULL ? POLLOUT : 0));
        polls[count++] = (struct pollfd){.fd = client->fd, .events = events};
    }
    if (room)
        polls[count++] = (struct pollfd){.fd = console->fd, .events = POLLIN};
    return count;
}

static void client_answer(struct hg_wan_client *client, char *text)
{
    size_t bytes = strlen(text);
    char *answer = realloc(client->answer, client->answer_bytes + bytes);
    hg_assert(answer != NULL);
    memcpy(answer + client->answer_bytes, text, bytes);
    client->answer = answer;
    client->answer_bytes += bytes;
    free(text);
}

static void client_run(struct hg_wan_console *console, struct hg_wan_client *client, const char *line)
{
    bool json = strncmp(line, "json ", 5) == 0;
    client_answer(client, console->run(console->owner, json ? line + 5 : line, json));
}

/* Runs the complete lines received so far. */
static void client_lines(struct hg_wan_console *console, struct hg_wan_client *client)
{
    char *end;
    while ((end = memchr(client->line, '\n', client->line_bytes)) != NULL) {
        uint32_t used = (uint32_t)(end - client->line) + 1;
        *end = '\0';
        client_run(console, client, client->line);
        client->line_bytes -= used;
        memmove(client->line, client->line + used, client->line_bytes);
    }
    if (client->line_bytes == sizeof(client->line)) {
        client_answer(client, hg_wan_show_error("expected a line of at most 1023 bytes", 0, false));
        client->line_bytes = 0;
        client->closing = true;
    }
}

static void client_read(struct hg_wan_console *console, struct hg_wan_client *client)
{
    while (!client->closing && client->answer_bytes < ANSWER_BYTES_MAX) {
        ssize_t got =
            recv(client->fd, client->line + client->line_bytes, sizeof(client->line) - client->line_bytes, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            client->closing = true;
            return;
        }
        client->line_bytes += (uint32_t)got;
        client_lines(console, client);
    }
    client->closing = true;
}

static void client_write(struct hg_wan_client *client)
{
    while (client->answer_sent < client->answer_bytes) {
        ssize_t sent = send(client->fd, client->answer + client->answer_sent,
                            client->answer_bytes - client->answer_sent, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (sent < 0) {
            client_close(client);
            return;
        }
        client->answer_sent += (size_t)sent;
    }
    free(client->answer);
    client->answer = NULL;
    client->answer_bytes = 0;
    client->answer_sent = 0;
    if (client->closing)
        client_close(client);
}

static void clients_accept(struct hg_wan_console *console)
{
    for (uint32_t i = 0; i < HG_WAN_CLIENTS_MAX; i++) {
        if (console->clients[i].fd >= 0)
            continue;
        int fd = accept4(console->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        console->clients[i].fd = fd;
    }
}

void hg_wan_console_serve(struct hg_wan_console *console)
{
    clients_accept(console);
    for (uint32_t i = 0; i < HG_WAN_CLIENTS_MAX; i++) {
        struct hg_wan_client *client = &console->clients[i];
        if (client->fd >= 0)
            client_read(console, client);
        if (client->fd >= 0)
            client_write(client);
    }
}

static int answer_copy(int fd, bool json, FILE *out)
{
    char buffer[4096];
    char begin[16] = {0};
    size_t total = 0;
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        for (ssize_t i = 0; i < got && total + (size_t)i < sizeof(begin) - 1; i++)
            begin[total + (size_t)i] = buffer[i];
        total += (size_t)got;
        fwrite(buffer, 1, (size_t)got, out);
    }
    if (total == 0)
        return -ECONNRESET;
    const char *bad = json ? "{\"ok\":false" : "error: ";
    return strncmp(begin, bad, strlen(bad)) == 0 ? 1 : 0;
}

int hg_wan_console_send(const char *path, const char *line, bool json, FILE *out, char *error,
                        size_t error_bytes)
{
    struct sockaddr_un address;
    struct timeval wait = {.tv_sec = ANSWER_WAIT_S_MAX};
    char text[HG_WAN_LINE_BYTES_MAX];
    int length = snprintf(text, sizeof(text), "%s%s\n", json ? "json " : "", line);
    if (length < 0 || (size_t)length >= sizeof(text) || strchr(line, '\n') != NULL) {
        snprintf(error, error_bytes, "a command is one line of at most %d bytes", HG_WAN_LINE_BYTES_MAX - 16);
        return -EINVAL;
    }
    int rc = address_make(path, &address);
    int fd = rc == 0 ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (rc == 0 && (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0))
        rc = -errno;
    if (rc != 0) {
        snprintf(error, error_bytes, "no helio-wan answers on %s: %s; is it running with this --run?", path,
                 strerror(-rc));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length || shutdown(fd, SHUT_WR) != 0)
        rc = -errno;
    if (rc == 0)
        rc = answer_copy(fd, json, out);
    if (rc < 0)
        snprintf(error, error_bytes, "helio-wan on %s did not answer: %s", path, strerror(-rc));
    close(fd);
    return rc;
}
