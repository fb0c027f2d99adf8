/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections on <run>/dataplane.sock: the control plane's one, and clients with their memory.
 */
#include "dataplane/housekeeping.h"
#include "drivers/client/heliograph.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void connection_free(struct hg_connection *connection)
{
    if (connection->socket >= 0)
        close(connection->socket);
    memset(connection, 0, sizeof(*connection));
    connection->socket = -1;
}

static bool has_links(const struct hg_connection *connection)
{
    for (uint32_t worker = 0; worker < HG_NODE_WORKERS_MAX; worker++)
        if (connection->links[worker] != NULL)
            return true;
    return false;
}

/* When the worker has let go of the ring, or never had it. */
static void link_free(struct hg_connection *connection, uint32_t worker)
{
    struct hg_connection_link *link = connection->links[worker];
    if (link->ring.head != NULL)
        hg_client_ring_destroy(&link->ring);
    if (link->memfd >= 0)
        close(link->memfd);
    if (link->doorbell >= 0)
        close(link->doorbell);
    free(link);
    connection->links[worker] = NULL;
}

/* The workers must let go of the rings before their memory goes away. */
static void connection_close(struct hg_housekeeping *hk, uint32_t i)
{
    struct hg_connection *connection = &hk->connections[i];
    struct hg_letter letter;
    if (!has_links(connection)) {
        connection_free(connection);
        return;
    }
    connection->closing = true;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CLIENT_CLOSE;
    letter.client = i;
    for (uint32_t worker = 0; worker < HG_NODE_WORKERS_MAX; worker++) {
        struct hg_connection_link *link = connection->links[worker];
        if (link != NULL && !link->close_sent)
            link->close_sent = hg_housekeeping_put(hk, worker, &letter); /* else the tick asks again */
    }
}

/* No descriptor or no memory for whoever waits there: he goes on waiting, and the listener stays readable. */
static void accept_later(struct hg_housekeeping *hk, int error)
{
    char text[HG_CONTROL_TEXT_BYTES];
    hk->accept_again_ns = hk->now_ns + HG_HOUSEKEEPING_ACCEPT_AGAIN_NS;
    hk->accept_failed_count++;
    snprintf(text, sizeof(text),
             "no connection can be taken: %s; raise the limit of open files (LimitNOFILE, ulimit -n) or stop "
             "clients",
             strerror(error));
    hg_housekeeping_say(hk, HG_SEVERITY_ERROR, "accept_failed", text);
}

int hg_housekeeping_accept_socket(const struct hg_housekeeping *hk)
{
    return hk->now_ns >= hk->accept_again_ns ? hk->node->listener.socket : -1;
}

void hg_housekeeping_accept(struct hg_housekeeping *hk)
{
    for (;;) {
        int socket = hg_client_listener_accept(&hk->node->listener);
        if (socket < 0) {
            if (socket != -EAGAIN)
                accept_later(hk, -socket);
            return;
        }
        uint32_t i = 0;
        while (i < HG_HOUSEKEEPING_CONNECTIONS_MAX && hk->connections[i].socket >= 0)
            i++;
        if (i == HG_HOUSEKEEPING_CONNECTIONS_MAX) {
            hg_housekeeping_say(hk, HG_SEVERITY_WARNING, "client_refused",
                                "a client was refused: all places are taken, see helioctl show clients");
            close(socket);
            continue;
        }
        hk->connections[i].socket = socket;
        hk->connections[i].since_ns = hk->now_ns;
        hg_housekeeping_connection(hk, i); /* whoever hung up while it waited holds no place */
    }
}

static void connection_control(struct hg_housekeeping *hk, struct hg_connection *connection)
{
    bool busy = hk->control_socket >= 0;
    if (!busy && hg_control_ring_must_recreate(&hk->ring)) {
        struct hg_control_ring fresh; /* the old one goes only when there is another */
        busy = hg_control_ring_create(&fresh, HG_CONTROL_RING_CELLS,
                                      hk->node->clock->random_u64(hk->node->clock) | 1) != 0;
        if (!busy) {
            hg_control_ring_close(&hk->ring);
            hk->ring = fresh;
            hk->result_request = 0; /* of one that is gone */
        }
    }
    int rc = hg_control_socket_answer(connection->socket, busy ? NULL : &hk->ring,
                                      "another control plane is attached to this dataplane: stop it first");
    if (rc == 0) {
        hk->control_socket = connection->socket;
        connection->socket = -1;
    }
    connection_free(connection);
}

static void connection_refuse(struct hg_connection *connection, int32_t code, const char *text)
{
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_REFUSED);
    message.refused.code = code;
    snprintf(message.refused.text, sizeof(message.refused.text), "%s", text);
    (void)hg_client_message_send(connection->socket, &message, NULL, 0);
}

static bool connection_hello(struct hg_housekeeping *hk, struct hg_connection *connection,
                             const struct hg_client_hello *hello)
{
    union hg_client_message message;
    if (hello->abi != HG_CLIENT_ABI) {
        connection_refuse(
            connection, HG_E_PROTOCOL,
            "this dataplane speaks another version of the client ring: build both from one release");
        return false;
    }
    if (hg_client_peer_get(connection->socket, &connection->peer) != 0)
        return false;
    memcpy(connection->name, hello->name, sizeof(connection->name));
    connection->known = true;
    hg_client_message_init(&message, HG_CLIENT_WELCOME);
    message.welcome.abi = HG_CLIENT_ABI;
    message.welcome.pid = (uint32_t)getpid();
    message.welcome.boot = hk->node->boot;
    return hg_client_message_send(connection->socket, &message, NULL, 0) == 0;
}

static uint64_t ring_bytes(uint32_t wanted)
{
    uint64_t bytes = HG_CLIENT_RING_BYTES_MIN;
    if (wanted == 0)
        return HG_CLIENT_APPEND_BYTES_DEFAULT;
    while (bytes < wanted)
        bytes *= 2;
    return bytes;
}

static bool link_memory(struct hg_housekeeping *hk, uint32_t i, struct hg_connection_link *link,
                        uint32_t append_bytes)
{
    link->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int rc = link->doorbell < 0 ? -errno
                                : hg_client_ring_create(&link->ring, ring_bytes(append_bytes),
                                                        HG_CLIENT_DELIVER_BYTES_DEFAULT, hk->node->boot,
                                                        i + 1, &link->memfd);
    if (rc != 0)
        connection_refuse(&hk->connections[i], HG_E_NOT_READY,
                          "the dataplane has no memory for another client");
    return rc == 0;
}

/* The first stream of a client at a worker brings its memory there. */
static bool connection_link(struct hg_housekeeping *hk, uint32_t i, uint32_t worker, uint32_t append_bytes)
{
    struct hg_connection *connection = &hk->connections[i];
    struct hg_letter letter;
    if (connection->links[worker] != NULL)
        return true;
    struct hg_connection_link *link = calloc(1, sizeof(*link));
    hg_assert(link != NULL);
    link->memfd = link->doorbell = -1;
    connection->links[worker] = link;
    if (!link_memory(hk, i, link, append_bytes)) {
        link_free(connection, worker);
        return false;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CLIENT_OPEN;
    letter.client = i;
    letter.pointer = &link->ring;
    letter.number = (uint64_t)link->doorbell;
    letter.number2 = (uint64_t)connection->peer.pid;
    letter.code = (int32_t)connection->peer.uid;
    memcpy(letter.body.name, connection->name, sizeof(letter.body.name));
    if (hg_housekeeping_put(hk, worker, &letter))
        return true;
    link_free(connection, worker);
    return false;
}

/* Who owns the stream. One that nobody knows is refused by the first worker, by name. */
static uint32_t worker_of_stream(const struct hg_housekeeping *hk, const char *name)
{
    for (uint32_t i = 0; i < hk->applied->stream_count; i++)
        if (strncmp(hk->applied->streams[i].name, name, sizeof(hk->applied->streams[i].name)) == 0)
            return hk->applied->streams[i].place - 1;
    int32_t held = hg_placement_held_name(&hk->placement, name);
    return held >= 0 ? (uint32_t)held : 0;
}

static bool is_hung_up(int socket)
{
    struct pollfd descriptor = {.fd = socket};
    return poll(&descriptor, 1, 0) > 0;
}

bool hg_housekeeping_connection_waits(const struct hg_housekeeping *hk, uint32_t i)
{
    return hk->connections[i].known && !hk->placed;
}

static bool connection_message(struct hg_housekeeping *hk, uint32_t i, const union hg_client_message *message)
{
    struct hg_connection *connection = &hk->connections[i];
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.client = i;
    if (message->head.type == HG_CLIENT_HELLO && !connection->known)
        return connection_hello(hk, connection, &message->hello);
    if (message->head.type == HG_CLIENT_ATTACH && connection->known) {
        uint32_t worker = worker_of_stream(hk, message->attach.name);
        if (!connection_link(hk, i, worker, message->attach.append_ring_bytes))
            return false;
        letter.type = HG_LETTER_CLIENT_ATTACH;
        letter.body.attach = message->attach;
        return hg_housekeeping_put(hk, worker, &letter);
    }
    uint32_t worker = message->head.type == HG_CLIENT_DETACH ? message->detach.worker : HG_NODE_WORKERS_MAX;
    if (worker < HG_NODE_WORKERS_MAX && connection->links[worker] != NULL) {
        letter.type = HG_LETTER_CLIENT_DETACH;
        letter.body.detach = message->detach;
        return hg_housekeeping_put(hk, worker, &letter);
    }
    return false; /* out of order: hang up */
}

void hg_housekeeping_connection(struct hg_housekeeping *hk, uint32_t i)
{
    struct hg_connection *connection = &hk->connections[i];
    union hg_client_message message;
    int descriptors[HG_CLIENT_DESCRIPTORS];
    if (connection->closing)
        return;
    if (!connection->known && hg_control_socket_peek(connection->socket) == 1) {
        connection_control(hk, connection);
        return;
    }
    if (hg_housekeeping_connection_waits(hk, i) && is_hung_up(connection->socket))
        connection_close(hk, i);
    while (connection->socket >= 0 && !hg_housekeeping_connection_waits(hk, i)) {
        int rc = hg_client_message_receive(connection->socket, &message, descriptors);
        if (rc == -EAGAIN)
            return;
        for (uint32_t j = 0; rc == 1 && j < HG_CLIENT_DESCRIPTORS; j++)
            if (descriptors[j] >= 0)
                close(descriptors[j]); /* clients have none to give */
        if (rc != 1 || !connection_message(hk, i, &message)) {
            connection_close(hk, i);
            return;
        }
    }
}

void hg_housekeeping_connections_tick(struct hg_housekeeping *hk)
{
    for (uint32_t i = 0; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++) {
        struct hg_connection *connection = &hk->connections[i];
        if (connection->socket < 0)
            continue;
        bool mute = !connection->known && hk->now_ns - connection->since_ns > HG_HOUSEKEEPING_HELLO_NS_MAX;
        if (mute || connection->closing)
            connection_close(hk, i);
    }
}

static void client_answer(struct hg_housekeeping *hk, uint32_t worker, const struct hg_letter *letter)
{
    struct hg_connection *connection = &hk->connections[letter->client];
    struct hg_connection_link *link = connection->links[worker];
    union hg_client_message message;
    if (connection->closing || connection->socket < 0 || link == NULL)
        return;
    hg_client_message_init(&message, HG_CLIENT_ANSWER);
    struct hg_client_message_head head = message.head;
    message.answer = letter->body.answer;
    message.head = head;
    bool memory = !link->memory_sent && message.answer.code == 0;
    int descriptors[HG_CLIENT_DESCRIPTORS] = {link->memfd, hg_node_lcore_of(hk->node, worker)->eventfd,
                                              link->doorbell};
    message.answer.flags = memory ? HG_CLIENT_ANSWER_MEMORY : 0;
    int rc =
        hg_client_message_send(connection->socket, &message, descriptors, memory ? HG_CLIENT_DESCRIPTORS : 0);
    if (rc != 0)
        connection_close(hk, letter->client);
    else if (memory)
        link->memory_sent = true;
}

void hg_housekeeping_client_letter(struct hg_housekeeping *hk, uint32_t worker,
                                   const struct hg_letter *letter)
{
    hg_assert(letter->client < HG_HOUSEKEEPING_CONNECTIONS_MAX);
    struct hg_connection *connection = &hk->connections[letter->client];
    switch (letter->type) {
    case HG_LETTER_CLIENT_ANSWER:
        client_answer(hk, worker, letter);
        break;
    case HG_LETTER_CLIENT_CLOSED:
        link_free(connection, worker);
        if (!has_links(connection))
            connection_free(connection);
        break;
    default: /* HG_LETTER_CLIENT_HANG_UP */
        connection_close(hk, letter->client);
    }
}
