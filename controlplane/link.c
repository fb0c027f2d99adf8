/* SPDX-License-Identifier: Apache-2.0
 *
 * The link to the dataplane. It comes and goes with either process; each time it comes, everything is said
 * again.
 */
#include "controlplane/server.h"

#include <errno.h>
#include <unistd.h>

/* One line when a problem appears or changes, none while it lasts. */
static void problem_say(struct hg_server *server, const char *text)
{
    if (strcmp(server->link.problem, text) == 0)
        return;
    snprintf(server->link.problem, sizeof(server->link.problem), "%s", text);
    hg_event_addf(&server->events, HG_SEVERITY_WARNING, "dataplane_absent", "%s", text);
}

static void poll_closed(uv_handle_t *handle)
{
    struct hg_server *server = handle->data;

    server->link.polls_open--;
    if (server->link.polls_open == 0 && server->link.socket >= 0) {
        close(server->link.socket);
        server->link.socket = -1;
        hg_control_ring_close(&server->link.ring);
    }
}

static void on_socket(uv_poll_t *poll, int status, int events);
static void on_doorbell(uv_poll_t *poll, int status, int events);

static void poll_begin(struct hg_server *server, uv_poll_t *poll, int fd, uv_poll_cb callback)
{
    int rc = uv_poll_init(&server->loop, poll, fd);

    hg_assert(rc == 0);
    poll->data = server;
    server->link.polls_open++;
    rc = uv_poll_start(poll, UV_READABLE | UV_DISCONNECT, callback);
    hg_assert(rc == 0);
}

void hg_link_init(struct hg_server *server)
{
    server->link.socket = -1;
}

bool hg_link_usable(const struct hg_server *server)
{
    return server->link.state == HG_LINK_UP && !server->link.stuck;
}

void hg_link_status_read(struct hg_server *server)
{
    uint64_t generation = 0;

    if (server->link.state == HG_LINK_UP &&
        hg_control_ring_status_read(&server->link.ring, &server->status, &generation) == 0)
        server->status_generation = generation;
}

void hg_link_down(struct hg_server *server, const char *why)
{
    struct hg_link *link = &server->link;

    if (link->state == HG_LINK_DOWN)
        return;
    if (link->state == HG_LINK_UP) {
        hg_link_status_read(server); /* its last words are still mapped */
        if (hg_control_ring_must_recreate(&link->ring)) {
            link->poisoned_count++;
            hg_event_addf(&server->events, HG_SEVERITY_ERROR, "control_ring_poisoned",
                          "the region shared with the dataplane was damaged (%s); a new one is made",
                          link->ring.poisoned ? hg_control_ring_counter_text(link->ring.poison)
                                              : "found by its side");
        }
        uv_close((uv_handle_t *)&link->doorbell_poll, poll_closed);
        if (!server->stopping)
            hg_event_addf(&server->events, HG_SEVERITY_WARNING, "dataplane_lost", "%s", why);
    }
    uv_close((uv_handle_t *)&link->socket_poll, poll_closed);
    link->state = HG_LINK_DOWN;
    link->stuck = false;
    link->request_apply = 0;
    link->retry_ns = uv_hrtime() + HG_LINK_RETRY_NS;
    hg_api_link_lost(server);
}

/* ---- saying ---- */
static uint64_t post(struct hg_server *server, struct hg_control_message *message)
{
    uint64_t request = hg_control_ring_request(&server->link.ring);

    if (hg_control_ring_send(&server->link.ring, request, message) != 0)
        return 0;
    hg_control_ring_doorbell(&server->link.ring);
    return request;
}

/* Whoever waits for it may give up; what is wanted is said again all the same, or it would never be known. */
static void apply_later(struct hg_server *server, bool is_due)
{
    if (is_due && !server->link.apply_is_due)
        hg_event_addf(
            &server->events, HG_SEVERITY_WARNING, "control_ring_full",
            "the dataplane has not taken %u messages, so there is no room for the configuration: it "
            "is given again when there is; look at its stderr",
            server->link.ring.cells);
    server->link.apply_is_due = is_due;
}

uint64_t hg_link_apply(struct hg_server *server)
{
    struct hg_control_message message = {.type = HG_CONTROL_APPLY};
    uint64_t generation;

    if (server->link.state != HG_LINK_UP)
        return 0;
    generation = hg_control_ring_config_write(&server->link.ring, &server->config->wanted);
    if (generation == 0)
        return 0;
    message.generation = generation;
    server->link.generation = generation;
    server->link.request_apply = post(server, &message);
    apply_later(server, server->link.request_apply == 0 && !server->link.ring.poisoned);
    return server->link.request_apply;
}

uint64_t hg_link_command(struct hg_server *server, enum hg_control_command command, const char *name,
                         uint32_t number)
{
    struct hg_control_message message = {.type = HG_CONTROL_COMMAND, .command = command, .number = number};

    if (server->link.state != HG_LINK_UP)
        return 0;
    snprintf(message.name, sizeof(message.name), "%s", name);
    return post(server, &message);
}

uint64_t hg_link_target(struct hg_server *server, enum hg_control_command command, uint32_t group,
                        uint64_t epoch, const struct hg_control_target *target)
{
    struct hg_control_message message = {.type = HG_CONTROL_COMMAND, .command = command, .number = group};

    if (server->link.state != HG_LINK_UP)
        return 0;
    message.epoch = epoch;
    message.target = *target;
    return post(server, &message);
}

uint64_t hg_link_group(struct hg_server *server, enum hg_control_command command, uint32_t group,
                       uint64_t epoch)
{
    return hg_link_target(server, command, group, epoch, &(struct hg_control_target){0});
}

/* ---- hearing ---- */

/* A refusal is said once in the same words, however often it is tried again. */
static void apply_result(struct hg_server *server, int32_t code, const char *text)
{
    struct hg_link *link = &server->link;

    link->request_apply = 0;
    if (code == 0) {
        link->generation_refused = 0;
        link->refusal[0] = '\0';
        hg_event_addf(&server->events, HG_SEVERITY_INFO, "config_applied", "generation %llu%s%s",
                      (unsigned long long)link->generation, text[0] == '\0' ? "" : ": ", text);
        return;
    }
    link->generation_refused = link->generation;
    link->apply_again_ns = uv_hrtime() + HG_LINK_APPLY_AGAIN_NS;
    if (strcmp(link->refusal, text) == 0)
        return;
    snprintf(link->refusal, sizeof(link->refusal), "%s", text);
    hg_event_addf(&server->events, HG_SEVERITY_ERROR, "config_refused", "%s; it is tried again every %u s",
                  text[0] != '\0' ? text : strerror(-code), (unsigned)(HG_LINK_APPLY_AGAIN_NS / HG_NS_PER_S));
}

static void apply_again(struct hg_server *server, uint64_t now_ns)
{
    const struct hg_link *link = &server->link;
    bool is_refused = link->generation_refused == link->generation && link->generation != 0 &&
                      link->request_apply == 0 && now_ns >= link->apply_again_ns;

    if (server->change.request == 0 && (is_refused || link->apply_is_due))
        (void)hg_link_apply(server);
}

static void result(struct hg_server *server, const struct hg_control_received *received)
{
    const struct hg_control_message *message = &received->message;

    if (received->request == server->link.request_apply)
        apply_result(server, message->code, message->text);
    if (server->change.request != 0 && received->request == server->change.request)
        hg_api_result(server, message->code, message->text);
    hg_failover_run_result(server, received->request, message->code, uv_hrtime());
}

static void hear(struct hg_server *server, const struct hg_control_received *received)
{
    struct hg_link *link = &server->link;

    switch (received->message.type) {
    case HG_CONTROL_RESULT:
        result(server, received);
        break;
    case HG_CONTROL_EVENT:
        if (received->generation < link->event_generation_last ||
            (received->generation == link->event_generation_last &&
             received->request <= link->event_request_last))
            break; /* given again */
        link->event_generation_last = received->generation;
        link->event_request_last = received->request;
        hg_event_add(&server->events, hg_realtime_ns(), received->message.command, received->message.name,
                     received->message.text);
        break;
    case HG_CONTROL_TAIL:
        hg_failover_run_tail(server, &received->message.tail, uv_hrtime());
        break;
    default: /* HELLO says nothing that the socket did not */
        break;
    }
}

static void receive(struct hg_server *server)
{
    struct hg_control_received received;

    for (uint32_t i = 0; i < HG_CONTROL_RING_CELLS && server->link.state == HG_LINK_UP; i++) {
        int rc = hg_control_ring_receive(&server->link.ring, &received);

        if (rc == 0)
            return;
        if (rc < 0) {
            hg_link_down(server, "its control ring is damaged; attaching anew");
            return;
        }
        hear(server, &received);
        hg_control_ring_done(&server->link.ring);
    }
}

static void on_doorbell(uv_poll_t *poll, int status, int events)
{
    struct hg_server *server = poll->data;

    if (server->link.state != HG_LINK_UP)
        return;
    hg_control_ring_doorbell_clear(&server->link.ring);
    receive(server);
}

/* ---- coming and going ---- */
static void attach(struct hg_server *server, const int fds[HG_CONTROL_RING_FDS])
{
    struct hg_link *link = &server->link;
    int rc = hg_control_ring_attach(&link->ring, fds);

    if (rc < 0) {
        problem_say(server,
                    rc == -EPROTO
                        ? "dataplane and control plane are of different versions; install both from one"
                        : "the dataplane's control ring can't be used; waiting for a new one");
        hg_link_down(server, "");
        return;
    }
    link->state = HG_LINK_UP;
    link->problem[0] = '\0';
    link->attached_count++;
    link->generation_refused = 0;
    link->refusal[0] = '\0';
    link->event_generation_last = 0;
    link->event_request_last = 0;
    server->status_generation = 0;
    server->change_generation = 0;
    poll_begin(server, &link->doorbell_poll, hg_control_ring_doorbell_fd(&link->ring), on_doorbell);
    hg_event_addf(&server->events, HG_SEVERITY_INFO, "dataplane_attached", "%s, boot %016llx",
                  server->socket_path, (unsigned long long)link->ring.boot);
    hg_control_ring_beat(&link->ring);
    if (hg_link_apply(server) == 0)
        hg_link_down(server, "its control ring takes no messages; attaching anew");
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct hg_server *server = poll->data;
    struct hg_link *link = &server->link;
    char text[HG_CONTROL_TEXT_BYTES], sentence[HG_CONTROL_TEXT_BYTES];
    int fds[HG_CONTROL_RING_FDS], rc;

    if (link->state == HG_LINK_DOWN)
        return;
    rc = hg_control_socket_receive(link->socket, fds, text);
    if (rc == -EAGAIN)
        return;
    if (link->state == HG_LINK_UP) {
        for (int i = 0; rc == 1 && i < HG_CONTROL_RING_FDS; i++)
            close(fds[i]);
        receive(server); /* what it said before it went */
        hg_link_down(server, "the dataplane went away; it is attached again when it is back");
        return;
    }
    if (rc == 1) {
        attach(server, fds);
        return;
    }
    if (rc == 0)
        snprintf(sentence, sizeof(sentence), "the dataplane refuses us: %.150s", text);
    else
        snprintf(sentence, sizeof(sentence), "the dataplane hung up before it said anything (%s)",
                 strerror(-rc));
    problem_say(server, sentence);
    hg_link_down(server, "");
}

static void connect_begin(struct hg_server *server, uint64_t now_ns)
{
    struct hg_link *link = &server->link;
    char text[HG_CONTROL_TEXT_BYTES];
    int socket = hg_control_socket_connect(server->socket_path);

    if (socket < 0) {
        link->retry_ns = now_ns + HG_LINK_RETRY_NS;
        snprintf(text, sizeof(text), "waiting for the dataplane at %.100s (%s); start helio-dataplane",
                 server->socket_path, strerror(-socket));
        problem_say(server, text);
        return;
    }
    link->socket = socket;
    link->state = HG_LINK_WELCOME;
    link->deadline_ns = now_ns + HG_LINK_WELCOME_NS;
    poll_begin(server, &link->socket_poll, socket, on_socket);
}

static void heart(struct hg_server *server, uint64_t now_ns)
{
    struct hg_link *link = &server->link;
    bool alive = hg_control_ring_peer_alive(&link->ring, now_ns, HG_CONTROL_DEAD_NS);

    hg_control_ring_beat(&link->ring);
    if (link->stuck == alive)
        hg_event_addf(
            &server->events, alive ? HG_SEVERITY_INFO : HG_SEVERITY_ERROR,
            alive ? "dataplane_resumed" : "dataplane_stuck",
            alive ? "its heart beats again"
                  : "its process is there but has not moved for 2 s; look at its stderr and the host's load");
    link->stuck = !alive;
}

void hg_link_tick(struct hg_server *server, uint64_t now_ns)
{
    struct hg_link *link = &server->link;

    switch (link->state) {
    case HG_LINK_DOWN:
        if (link->polls_open == 0 && now_ns >= link->retry_ns)
            connect_begin(server, now_ns);
        break;
    case HG_LINK_WELCOME:
        if (now_ns >= link->deadline_ns) {
            problem_say(server, "the dataplane takes the connection but says nothing; look at its stderr");
            hg_link_down(server, "");
        }
        break;
    case HG_LINK_UP:
        heart(server, now_ns);
        receive(server);
        if (link->state == HG_LINK_UP)
            apply_again(server, now_ns);
        if (link->state == HG_LINK_UP && hg_control_ring_must_recreate(&link->ring))
            hg_link_down(server, "its control ring is damaged; attaching anew");
        break;
    }
}
