/* SPDX-License-Identifier: Apache-2.0
 *
 * Connecting to the dataplane, attaching streams, and losing both.
 */
#include "drivers/client/client_private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define RETRY_DELAY_MIN_NS (1 * HG_NS_PER_MS)
#define RETRY_DELAY_MAX_NS (50 * HG_NS_PER_MS)

static struct timespec timespec_until(uint64_t until_ns)
{
    uint64_t now_ns = client_now_ns();
    uint64_t wait_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    return (struct timespec){.tv_sec = (time_t)(wait_ns / HG_NS_PER_S),
                             .tv_nsec = (long)(wait_ns % HG_NS_PER_S)};
}

/* Waits for the socket (or, without one, for the time) until `until_ns`. */
static void socket_wait(struct hg_client *client, uint64_t until_ns)
{
    struct pollfd descriptor = {.fd = client->socket, .events = POLLIN};
    if (until_ns == HG_FOREVER) {
        (void)ppoll(&descriptor, client->socket >= 0, NULL, NULL);
        return;
    }
    struct timespec timeout = timespec_until(until_ns);
    (void)ppoll(&descriptor, client->socket >= 0, &timeout, NULL);
}

static bool deadline_over(uint64_t deadline_ns)
{
    return deadline_ns != HG_FOREVER && client_now_ns() >= deadline_ns;
}

static void stream_lose(struct hg_stream *stream, int code)
{
    if (stream->attached) {
        struct hg_client_position position;
        if (hg_client_view_position_get(&stream->link->view, stream->facts.slot, &position) &&
            position.attachment == stream->facts.attachment)
            stream->position = position;
        stream->report = code;
    }
    stream->attached = false;
    stream->link = NULL;
    stream->append_error = 0;
    client_reader_clear(&stream->reader);
}

void client_lost(struct hg_client *client, int code)
{
    for (struct hg_stream *stream = client->streams; stream != NULL; stream = stream->next)
        stream_lose(stream, code);
    for (size_t i = 0; i < HG_COUNT(client->links); i++)
        if (client->links[i].used)
            client_link_close(&client->links[i]);
    if (client->socket >= 0)
        close(client->socket);
    client->socket = -1;
    client->request_waiting = false;
}

static void descriptors_close(const int *descriptors)
{
    for (uint32_t i = 0; i < HG_CLIENT_DESCRIPTORS; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

/* Maps what came with an ANSWER. Takes the descriptors over in every case. Returns whether it is sound. */
static bool link_open(struct hg_client *client, uint16_t worker, const int *descriptors)
{
    struct client_link *link = &client->links[worker];
    struct epoll_event event = {.events = EPOLLIN};
    if (link->used || hg_client_view_map(&link->view, descriptors[0]) != 0) {
        descriptors_close(descriptors);
        return false;
    }
    if (link->view.boot != client->boot ||
        epoll_ctl(client->epoll, EPOLL_CTL_ADD, descriptors[2], &event) != 0) {
        hg_client_view_unmap(&link->view);
        descriptors_close(descriptors);
        return false;
    }
    close(descriptors[0]);
    link->doorbell_worker = descriptors[1];
    link->doorbell_client = descriptors[2];
    link->used = true;
    return true;
}

static bool detach_send(struct hg_client *client, const struct hg_client_answer *answer)
{
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_DETACH);
    message.detach.worker = answer->worker;
    message.detach.slot = answer->slot;
    message.detach.attachment = answer->attachment;
    return hg_client_message_send(client->socket, &message, NULL, 0) == 0;
}

/* An answer to the question we wait for, or to one whose caller gave up: then the slot goes back. */
static bool answer_take(struct hg_client *client, const struct hg_client_answer *answer,
                        const int *descriptors)
{
    if ((answer->flags & HG_CLIENT_ANSWER_MEMORY) != 0 && !link_open(client, answer->worker, descriptors))
        return false;
    if (answer->code == 0 && !client->links[answer->worker].used)
        return false;
    if (client->request_waiting && answer->request == client->request) {
        client->answer = *answer;
        client->request_waiting = false;
        client->request_answered = true;
        return true;
    }
    return answer->code != 0 || detach_send(client, answer);
}

void client_socket_take(struct hg_client *client)
{
    for (;;) {
        union hg_client_message message;
        int descriptors[HG_CLIENT_DESCRIPTORS];
        int rc = hg_client_message_receive(client->socket, &message, descriptors);
        if (rc == -EAGAIN)
            return;
        bool sound = rc == 1 && message.head.type == HG_CLIENT_ANSWER &&
                     answer_take(client, &message.answer, descriptors);
        if (sound)
            continue;
        if (rc == 1 || rc == -EBADMSG)
            client_fail(
                client, HG_E_PROTOCOL,
                "the dataplane at %s sent something that breaks the protocol: are library and dataplane of "
                "one version?",
                client->path);
        else
            client_fail(
                client, HG_E_CLOSED,
                "the dataplane at %s went away: the next waiting call attaches again, then go on from "
                "hg_stream_durable_end",
                client->path);
        client_lost(client, rc == 1 || rc == -EBADMSG ? HG_E_PROTOCOL : HG_E_CLOSED);
        return;
    }
}

void client_check(struct hg_client *client, bool often)
{
    client->calls++;
    if (client->socket >= 0 && (client->calls & (often ? 15u : 255u)) == 0) {
        struct pollfd descriptor = {.fd = client->socket, .events = POLLIN};
        if (poll(&descriptor, 1, 0) > 0)
            client_socket_take(client);
    }
}

static int hello_send(struct hg_client *client, int descriptor)
{
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_HELLO);
    message.hello.abi = HG_CLIENT_ABI;
    memcpy(message.hello.name, client->name, sizeof(message.hello.name));
    if (hg_client_message_send(descriptor, &message, NULL, 0) != 0)
        return client_fail(client, HG_E_CLOSED, "the dataplane at %s closed the connection", client->path);
    return 0;
}

static int welcome_take(struct hg_client *client, uint64_t deadline_ns)
{
    union hg_client_message message;
    for (;;) {
        int descriptors[HG_CLIENT_DESCRIPTORS];
        int rc = hg_client_message_receive(client->socket, &message, descriptors);
        if (rc == 1)
            break;
        if (rc != -EAGAIN)
            return client_fail(
                client, rc == -EBADMSG ? HG_E_PROTOCOL : HG_E_CLOSED,
                "the dataplane at %s closed the connection: is this user allowed, is there room for "
                "another client? its log says",
                client->path);
        if (deadline_over(deadline_ns))
            return client_fail(client, HG_E_TIMEOUT, "the dataplane at %s does not answer: does it run?",
                               client->path);
        socket_wait(client, deadline_ns);
    }
    if (message.head.type == HG_CLIENT_REFUSED)
        return client_fail(client, message.refused.code, "the dataplane at %s refuses us: %s", client->path,
                           message.refused.text);
    if (message.head.type != HG_CLIENT_WELCOME || message.welcome.abi != HG_CLIENT_ABI)
        return client_fail(
            client, HG_E_PROTOCOL,
            "the dataplane at %s speaks another version: use library and dataplane of one version",
            client->path);
    client->boot = message.welcome.boot;
    return 0;
}

/* A dataplane that starts takes nobody for a while. Whoever has little patience goes on waiting on the
 * socket it has: one for each call would fill the places of all. */
static int connect_once(struct hg_client *client, uint64_t deadline_ns)
{
    int descriptor = client->greeted, rc = 0;
    client->greeted = -1;
    if (descriptor < 0) {
        descriptor = hg_client_socket_connect(client->path);
        if (descriptor < 0)
            return client_fail(client, HG_E_CLOSED,
                               "no dataplane at %s (%s): start helio-dataplane with this run directory",
                               client->path, strerror(-descriptor));
        rc = hello_send(client, descriptor);
    }
    client->socket = descriptor;
    rc = rc != 0 ? rc : welcome_take(client, deadline_ns);
    struct epoll_event event = {.events = EPOLLIN};
    if (rc == 0 && epoll_ctl(client->epoll, EPOLL_CTL_ADD, descriptor, &event) != 0)
        rc = client_fail(client, HG_E_CLOSED, "can't poll the socket %s: %s", client->path, strerror(errno));
    if (rc == 0)
        return 0;
    client->socket = -1;
    if (rc == HG_E_TIMEOUT)
        client->greeted = descriptor;
    else
        close(descriptor);
    return rc;
}

int client_connect(struct hg_client *client, uint64_t deadline_ns)
{
    if (client->problem != 0)
        return client->problem;
    if (client->socket < 0 && deadline_ns == 0)
        return client_fail(client, HG_E_CLOSED, "not connected to %s: a call that may wait connects",
                           client->path);
    uint64_t delay_ns = RETRY_DELAY_MIN_NS;
    while (client->socket < 0) {
        int rc = connect_once(client, deadline_ns);
        if (rc == 0)
            break;
        if (rc != HG_E_CLOSED && rc != HG_E_NOT_READY)
            return rc;
        if (deadline_over(deadline_ns))
            return rc;
        socket_wait(client, hg_min_u64(deadline_ns, client_now_ns() + delay_ns));
        delay_ns = hg_min_u64(delay_ns * 2, RETRY_DELAY_MAX_NS);
    }
    return 0;
}

static void attach_fill(struct hg_stream *stream, struct hg_client_attach *attach)
{
    const struct hg_stream_options *options = &stream->options;
    memcpy(attach->name, stream->name, sizeof(attach->name));
    memcpy(attach->consumer, stream->consumer, sizeof(attach->consumer));
    attach->flags = (options->append ? HG_CLIENT_ATTACH_APPEND : 0u) |
                    (options->subscribe ? HG_CLIENT_ATTACH_SUBSCRIBE : 0u);
    attach->incarnation = options->incarnation;
    attach->lsn_from = stream->reader.lsn_read > 0 ? stream->reader.lsn_read : options->lsn_from;
    attach->system_identifier = options->system_identifier;
    attach->lsn_unit_bytes = options->lsn_unit_bytes;
    attach->append_ring_bytes = options->append_ring_bytes;
}

/* Asks once and waits for the answer, which is in client->answer when 0 is returned. */
static int attach_ask(struct hg_stream *stream, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    union hg_client_message message;
    hg_client_message_init(&message, HG_CLIENT_ATTACH);
    attach_fill(stream, &message.attach);
    message.attach.request = ++client->request;
    if (hg_client_message_send(client->socket, &message, NULL, 0) != 0) {
        client_fail(client, HG_E_CLOSED, "the dataplane at %s went away", client->path);
        client_lost(client, HG_E_CLOSED);
        return HG_E_CLOSED;
    }
    client->request_waiting = true;
    client->request_answered = false;
    for (;;) {
        client_socket_take(client);
        if (client->request_answered)
            return 0;
        if (client->socket < 0)
            return HG_E_CLOSED;
        if (deadline_over(deadline_ns)) {
            client->request_waiting = false; /* a late answer is given back */
            return client_fail(
                client, HG_E_TIMEOUT,
                "the dataplane at %s did not answer in time about stream %s: is it overloaded?", client->path,
                stream->name);
        }
        socket_wait(client, deadline_ns);
    }
}

static int attach_accept(struct hg_stream *stream)
{
    struct hg_client *client = stream->client;
    const struct hg_client_answer *answer = &client->answer;
    if (stream->facts.stream != 0 && stream->facts.stream != answer->stream) {
        (void)detach_send(client, answer);
        return client_fail(client, HG_E_UNKNOWN,
                           "stream %s is another one than before (id %llu, was %llu): close and open it anew",
                           stream->name, (unsigned long long)answer->stream,
                           (unsigned long long)stream->facts.stream);
    }
    stream->facts = *answer;
    stream->link = &client->links[answer->worker];
    stream->append_error = 0;
    stream->lsn_append = answer->lsn_end;
    if (stream->lsn_append == 0 && answer->kind != HG_STREAM_POSTGRES_PHYSICAL)
        stream->lsn_append = 1; /* counted from 1 */
    if (stream->options.subscribe && stream->reader.lsn_read == 0)
        stream->reader.lsn_read = answer->lsn_from;
    stream->reader.error = 0;
    stream->reader.chain_known = false;
    stream->attached = true;
    hg_client_view_slot_attach(&stream->link->view, answer->slot, answer->attachment);
    if (stream->lsn_acknowledged > 0)
        hg_client_view_acknowledge(&stream->link->view, answer->slot, stream->lsn_acknowledged);
    /* Throws away what earlier attachments left in the ring, so that their credit comes back. */
    if (client_link_pump(client, stream->link))
        return 0;
    stream->report = 0;
    return HG_E_PROTOCOL;
}

/* What an earlier attachment left on its way to the log must have arrived: then the durable end is where to
 * go on. */
static int attach_settle(struct hg_stream *stream, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    while (stream->options.append && stream->facts.lsn_end > 1) {
        hg_client_view_seen(&stream->link->view);
        if (hg_client_view_durable(&stream->link->view, stream->facts.slot) >= stream->facts.lsn_end)
            break;
        if (deadline_over(deadline_ns)) {
            client_stream_release(stream);
            return client_fail(
                client, HG_E_NOT_READY,
                "stream %s: what was appended before is not durable yet: see helioctl show log",
                stream->name);
        }
        client_link_wait(client, stream->link, deadline_ns);
        if (stream->attached && client_link_pump(client, stream->link) && stream->append_error != 0) {
            client_stream_release(stream); /* what it waits for may never be; asked again it is told why */
            return client_fail(client, HG_E_NOT_READY, "stream %s was taken from us while it attached",
                               stream->name);
        }
        if (!stream->attached) {
            stream->report = 0; /* it never was attached as far as the caller knows */
            return HG_E_CLOSED;
        }
    }
    return 0;
}

/* One attempt. 0 = attached. */
static int attach_once(struct hg_stream *stream, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    int rc = client_connect(client, deadline_ns);
    if (rc != 0)
        return rc;
    rc = attach_ask(stream, deadline_ns);
    if (rc != 0)
        return rc;
    rc = client->answer.code;
    if (rc != 0)
        return client_fail(client, rc, "stream %s: %s", stream->name,
                           client->answer.text[0] != '\0' ? client->answer.text : hg_error_name(rc));
    rc = attach_accept(stream);
    return rc != 0 ? rc : attach_settle(stream, deadline_ns);
}

int client_stream_attach(struct hg_stream *stream, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    uint64_t delay_ns = RETRY_DELAY_MIN_NS;
    int report = stream->report, reason = 0;
    char reason_text[sizeof(client->error)];
    for (;;) {
        int rc = attach_once(stream, deadline_ns);
        if (rc == 0) {
            stream->report = report;
            return 0;
        }
        if (rc == HG_E_NOT_READY || rc == HG_E_UNKNOWN) {
            reason = rc;
            memcpy(reason_text, client->error, sizeof(reason_text));
        } else if (rc == HG_E_TIMEOUT && reason != 0) { /* the last answer says more than that time is up */
            memcpy(client->error, reason_text, sizeof(reason_text));
            return reason;
        } else if (rc != HG_E_CLOSED) {
            return rc;
        }
        if (deadline_over(deadline_ns))
            return rc;
        socket_wait(client, hg_min_u64(deadline_ns, client_now_ns() + delay_ns));
        delay_ns = hg_min_u64(delay_ns * 2, RETRY_DELAY_MAX_NS);
    }
}

void client_stream_release(struct hg_stream *stream)
{
    if (!stream->attached)
        return;
    struct client_link *link = stream->link;
    int report = stream->report;
    for (struct client_batch *batch = stream->reader.first; batch != NULL; batch = batch->next)
        hg_client_view_release(&link->view, stream->facts.slot, batch->record_bytes);
    stream_lose(stream, HG_E_CLOSED);
    stream->report = report;
    client_link_flush(link);
    if (!detach_send(stream->client, &stream->facts))
        client_lost(stream->client, HG_E_CLOSED);
}
