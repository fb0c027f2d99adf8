/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/housekeeping.h"
#include "dataplane/handover.h"
#include "dataplane/stream/peers.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- saying things ---- */

static void say(struct hg_housekeeping *hk, uint32_t severity, const char *name, const char *text)
{
    static const char *const severities[] = {"info", "warning", "error", "critical"};
    struct timespec now;
    struct tm utc;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    fprintf(stderr, "%s.%03ldZ %s %s %s\n", stamp, now.tv_nsec / 1000000, severities[severity & 3], name,
            text);
    if (hk->control_socket < 0)
        return;
    struct hg_control_message message;
    memset(&message, 0, sizeof(message));
    message.type = HG_CONTROL_EVENT;
    message.command = severity;
    snprintf(message.name, sizeof(message.name), "%s", name);
    snprintf(message.text, sizeof(message.text), "%s", text);
    if (hg_control_ring_send(&hk->ring, hg_control_ring_request(&hk->ring), &message) != 0)
        hk->events_unsent++;
    else
        hg_control_ring_doorbell(&hk->ring);
}

void hg_housekeeping_say(struct hg_housekeeping *hk, uint32_t severity, const char *name, const char *text)
{
    char more[HG_CONTROL_TEXT_BYTES];
    uint32_t suppressed, i = 0;
    while (hk->kinds[i].name != NULL && strcmp(hk->kinds[i].name, name) != 0)
        hg_assert(++i < HG_HOUSEKEEPING_KINDS_MAX);
    hk->kinds[i].name = name;
    if (!hg_event_limit_take(&hk->kinds[i].limit, hk->now_ns, &suppressed)) {
        hk->events_suppressed++;
        return;
    }
    if (suppressed > 0) {
        snprintf(more, sizeof(more), "%.140s (and %u more like it were not shown)", text, suppressed);
        text = more;
    }
    say(hk, severity, name, text);
}

bool hg_housekeeping_put(struct hg_housekeeping *hk, uint32_t worker, const struct hg_letter *letter)
{
    hg_assert(worker < hk->node->worker_count);
    if (!hg_mailbox_put(hk->node->workers[worker].to_worker, letter))
        return false;
    eventfd_write(hg_node_lcore_of(hk->node, worker)->eventfd, 1);
    return true;
}

bool hg_housekeeping_room(const struct hg_housekeeping *hk)
{
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        if (hg_mailbox_count(hk->node->workers[i].to_worker) == HG_MAILBOX_LETTERS)
            return false;
    return true;
}

/* ---- the status page ---- */

static void status_port(struct hg_housekeeping *hk, struct hg_control_status *status)
{
    struct hg_port_dpdk_stats stats;
    struct hg_status_port *out = &status->ports[0];
    status->port_count = hk->port_config.name[0] != '\0';
    if (status->port_count == 0)
        return;
    memset(out, 0, sizeof(*out));
    memcpy(out->name, hk->port_config.name, sizeof(out->name));
    snprintf(out->driver, sizeof(out->driver), "%.*s", (int)strcspn(hk->port_config.devargs, "0123456789,"),
             hk->port_config.devargs);
    memcpy(out->mac, hk->port_config.mac, sizeof(out->mac));
    snprintf(out->problem, sizeof(out->problem), "%s",
             hk->port_open ? hg_port_set_problem(&hk->port) : hk->port_problem);
    if (!hk->port_open)
        return;
    hg_port_set_stats_read(&hk->port, &stats);
    out->opened = 1;
    out->link_up = hg_port_set_up(&hk->port);
    out->rx_packets = stats.rx_packets;
    out->rx_bytes = stats.rx_bytes;
    out->tx_packets = stats.tx_packets;
    out->tx_bytes = stats.tx_bytes;
    out->rx_missed = stats.rx_missed;
    out->tx_dropped = stats.tx_errors;
    out->reconnects = stats.reconnects;
}

static void status_drop(struct hg_control_status *status, const char *where, const char *name, uint64_t count)
{
    if (count == 0 || status->drop_count == HG_CONTROL_DROPS_MAX)
        return;
    struct hg_status_drop *drop = &status->drops[status->drop_count++];
    snprintf(drop->where, sizeof(drop->where), "%s", where);
    snprintf(drop->name, sizeof(drop->name), "%s", name);
    drop->count = count;
}

static void status_handshake_drops(struct hg_housekeeping *hk, struct hg_control_status *status)
{
    for (uint32_t i = 0; i < hk->exchange.peer_count && i < status->peer_count; i++) {
        const struct hg_handshake_counters *counters = &hk->exchange.handshakes[i].counters;
#define HG_X(field, text)                                                                                    \
    if (strncmp(#field, "drop_", 5) == 0 && counters->field != 0 &&                                          \
        status->drop_count < HG_CONTROL_DROPS_MAX) {                                                         \
        struct hg_status_drop *drop = &status->drops[status->drop_count++];                                  \
        snprintf(drop->where, sizeof(drop->where), "handshake %.20s", status->peers[i].name);                \
        snprintf(drop->name, sizeof(drop->name), "%s", #field);                                              \
        drop->count = counters->field;                                                                       \
    }
        HG_HANDSHAKE_COUNTERS(HG_X)
#undef HG_X
        snprintf(status->peers[i].problem, sizeof(status->peers[i].problem), "%s", hk->peer_problems[i]);
    }
}

static void status_publish(struct hg_housekeeping *hk)
{
    struct hg_control_status *status = hk->status;
    status->boot = hk->node->boot;
    status->pid = (uint32_t)getpid();
    status->config_generation_applied = hk->applied_generation;
    if (status->realtime_ns == 0)
        status->realtime_ns = hk->node->clock->realtime_ns(hk->node->clock);
    status_port(hk, status);
    status_handshake_drops(hk, status);
    for (uint32_t i = HG_CONTROL_RING_refused_full; i < HG_CONTROL_RING_COUNTER_COUNT; i++)
        if (i != HG_CONTROL_RING_page_retry) /* what was done is no drop */
            status_drop(status, "control ring", hg_control_ring_counter_name(i), hk->ring.counters[i]);
    status_drop(status, "clients", "accept_failed", hk->accept_failed_count);
    status_drop(status, "housekeeping", "events_suppressed", hk->events_suppressed);
    for (uint32_t i = 0; i < status->log_count && i < hk->log_count; i++) {
        struct hg_status_log *log = &status->logs[i];
        log->id = hk->logs[i].id;
        memcpy(log->path, hk->logs[i].path, sizeof(log->path));
        log->size_bytes = hk->node->workers[i].log_size_bytes; /* written before the worker ran, then ours */
        log->registered = hk->node->workers[i].log_registered;
        log->grow_percent = hg_housekeeping_grow_percent(hk, i);
    }
    status->lcore_count = hk->node->lcore_count;
    for (uint32_t i = 0; i < status->worker_count; i++) {
        const struct hg_node_lcore *lcore = hg_node_lcore_of(hk->node, i);
        status->workers[i].lcore = i % hk->node->lcore_count;
        status->workers[i].cpu = lcore->cpu;
        status->workers[i].core = lcore->core;
        status->workers[i].numa_node = lcore->numa_node;
    }
    if (hk->ring_made)
        (void)hg_control_ring_status_write(&hk->ring, status);
    hg_telemetry_publish(status);
    if (hk->command_pages > 0)
        hg_housekeeping_group_published(hk);
}

/* To the next worker, or out when all have filled in theirs. */
static void status_pass(struct hg_housekeeping *hk)
{
    struct hg_letter letter;
    if (hk->status_worker == hk->node->worker_count) {
        hk->status_lent = false;
        status_publish(hk);
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STATUS;
    letter.pointer = hk->status;
    hk->status_lent = hg_housekeeping_put(hk, hk->status_worker, &letter);
}

static void status_tick(struct hg_housekeeping *hk)
{
    if (hk->now_ns - hk->status_ns < HG_HOUSEKEEPING_STATUS_NS)
        return;
    hk->status_ns = hk->now_ns;
    hg_control_ring_beat(&hk->ring);
    if (hk->status_lent)
        return; /* the beat goes on; the age of the page tells that the worker is stuck */
    if (!hk->started) {
        status_publish(hk);
        return;
    }
    hk->status_worker = 0;
    status_pass(hk);
}

/* ---- letters from the worker ---- */

static void letter_event(struct hg_housekeeping *hk, const struct hg_event *event)
{
    char text[HG_CONTROL_TEXT_BYTES];
    hg_event_format(event, text, sizeof(text));
    say(hk, hg_event_severity(event->type), hg_event_name(event->type), text); /* the worker limits them */
}

static void letters_of(struct hg_housekeeping *hk, uint32_t worker)
{
    struct hg_letter letter;
    while (hg_mailbox_take(hk->node->workers[worker].to_housekeeping, &letter)) {
        switch (letter.type) {
        case HG_LETTER_EVENT:
            letter_event(hk, &letter.body.event);
            break;
        case HG_LETTER_HANDSHAKE_IN:
        case HG_LETTER_REKEY:
        case HG_LETTER_SPI_UNKNOWN:
            hg_exchange_letter(&hk->exchange, &letter, hk->now_ns);
            break;
        case HG_LETTER_CONFIG_DONE:
            hg_housekeeping_config_done(hk, &letter);
            break;
        case HG_LETTER_CONSUMER_REMOVED:
            hg_housekeeping_command_done(hk, &letter);
            break;
        case HG_LETTER_STREAM_LEFT:
        case HG_LETTER_STREAM_ENTERED:
            hg_housekeeping_move_letter(hk, &letter);
            break;
        case HG_LETTER_STREAM_ADOPTED:
            hg_housekeeping_adopt_letter(hk, &letter);
            break;
        case HG_LETTER_GROUP_DONE:
            hg_housekeeping_group_letter(hk, &letter);
            break;
        case HG_LETTER_GROUP_TAIL:
            hg_housekeeping_group_tail(hk, &letter);
            break;
        case HG_LETTER_ORPHAN:
            hg_housekeeping_orphan_letter(hk, worker, &letter);
            break;
        case HG_LETTER_PLACES_DONE:
            hg_housekeeping_places_done(hk, &letter);
            break;
        case HG_LETTER_LOG_GEOMETRY_DONE:
        case HG_LETTER_LOG_GROWN:
            hg_housekeeping_grow_letter(hk, worker, &letter);
            break;
        case HG_LETTER_STATUS_DONE:
            hk->status_worker++;
            status_pass(hk);
            break;
        default:
            hg_housekeeping_client_letter(hk, worker, &letter);
        }
    }
}

static void letters(struct hg_housekeeping *hk)
{
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        letters_of(hk, i);
}

/* ---- the loop ---- */

static void control_socket_check(struct hg_housekeeping *hk)
{
    char byte;
    if (hk->control_socket < 0)
        return;
    ssize_t n = recv(hk->control_socket, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(hk->control_socket);
        hk->control_socket = -1;
        hg_housekeeping_say(hk, HG_SEVERITY_WARNING, "controlplane_gone",
                            "the control plane went away; replication goes on without it");
    }
}

static void port_maintain(struct hg_housekeeping *hk)
{
    if (!hk->port_open || hk->now_ns - hk->port_maintain_ns < HG_HOUSEKEEPING_PORT_NS)
        return;
    hk->port_maintain_ns = hk->now_ns;
    (void)hg_port_set_maintain(&hk->port, hk->now_ns);
    bool up = hg_port_set_up(&hk->port);
    if (hk->port_was_up == up)
        return;
    hk->port_was_up = up;
    char text[HG_CONTROL_TEXT_BYTES];
    if (up)
        snprintf(text, sizeof(text), "port %s is up", hk->port_config.name);
    else
        snprintf(text, sizeof(text), "%.180s", hg_port_set_problem(&hk->port));
    hg_housekeeping_say(hk, up ? HG_SEVERITY_INFO : HG_SEVERITY_WARNING, up ? "port_up" : "port_down", text);
}

static bool boxes_empty(const struct hg_housekeeping *hk)
{
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        if (!hg_mailbox_empty(hk->node->workers[i].to_housekeeping))
            return false;
    return true;
}

static void wait_for_news(struct hg_housekeeping *hk, uint64_t deadline_ns)
{
    struct pollfd fds[HG_HOUSEKEEPING_CONNECTIONS_MAX + 4];
    uint32_t who[HG_HOUSEKEEPING_CONNECTIONS_MAX + 4];
    uint32_t n = 0;
    fds[n++] = (struct pollfd){.fd = hg_housekeeping_accept_socket(hk), .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = hk->node->housekeeping_eventfd, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = hg_control_ring_doorbell_fd(&hk->ring), .events = POLLIN};
    for (uint32_t i = 0; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        if (hk->connections[i].socket >= 0 && !hk->connections[i].closing) {
            bool waits = hg_housekeeping_connection_waits(hk, i); /* then only its end is news */
            who[n] = i;
            fds[n++] = (struct pollfd){.fd = hk->connections[i].socket, .events = waits ? 0 : POLLIN};
        }
    uint64_t wait_ns = deadline_ns > hk->now_ns ? deadline_ns - hk->now_ns : 0;
    wait_ns = hg_min_u64(wait_ns, HG_HOUSEKEEPING_SLEEP_NS_MAX);
    struct timespec wait = {.tv_nsec = (long)wait_ns};
    hk->node->housekeeping_sleeps = true;
    if (!boxes_empty(hk))
        wait.tv_nsec = 0;
    int ready = ppoll(fds, n, &wait, NULL);
    hk->node->housekeeping_sleeps = false;
    hk->now_ns = hk->node->clock->now_ns(hk->node->clock);
    if (ready <= 0)
        return;
    eventfd_t drained;
    if (fds[1].revents)
        (void)eventfd_read(hk->node->housekeeping_eventfd, &drained);
    if (fds[2].revents)
        hg_control_ring_doorbell_clear(&hk->ring);
    if (fds[0].revents)
        hg_housekeeping_accept(hk);
    for (uint32_t i = 3; i < n; i++)
        if (fds[i].revents && hk->connections[who[i]].socket == fds[i].fd)
            hg_housekeeping_connection(hk, who[i]);
}

int hg_housekeeping_listen(struct hg_node *node, char *error, size_t error_bytes)
{
    char path[HG_CONTROL_PATH_BYTES];
    snprintf(path, sizeof(path), "%s/%s", node->run_dir, HG_CLIENT_SOCKET_NAME);
    int rc = hg_client_listener_open(&node->listener, path, 0600);
    if (rc == -EADDRINUSE)
        snprintf(error, error_bytes, "another dataplane runs in %s: give each its own --run directory",
                 node->run_dir);
    else if (rc != 0)
        snprintf(error, error_bytes, "%s: %s: does the directory exist and is it yours?", path,
                 strerror(-rc));
    return rc;
}

void hg_node_workers_make(struct hg_node *node, uint32_t count)
{
    hg_assert(node->worker_count == 0 && count >= 1 && count <= HG_NODE_WORKERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct hg_node_worker *worker = &node->workers[i];
        worker->to_worker = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*worker->to_worker));
        worker->to_housekeeping = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*worker->to_housekeeping));
        hg_assert(worker->to_worker != NULL && worker->to_housekeeping != NULL);
        memset(worker->to_worker, 0, sizeof(*worker->to_worker));
        memset(worker->to_housekeeping, 0, sizeof(*worker->to_housekeeping));
    }
    size_t bytes = (size_t)count * count * sizeof(node->handover[0]);
    node->handover = aligned_alloc(HG_CACHE_LINE_BYTES, bytes);
    hg_assert(node->handover != NULL);
    memset(node->handover, 0, bytes);
    node->census = aligned_alloc(HG_CACHE_LINE_BYTES, count * sizeof(node->census[0]));
    hg_assert(node->census != NULL);
    memset(node->census, 0, count * sizeof(node->census[0]));
    node->worker_count = count;
}

static struct hg_housekeeping *housekeeping_make(struct hg_node *node)
{
    struct hg_housekeeping *hk = calloc(1, sizeof(*hk));
    hg_assert(hk != NULL);
    hk->node = node;
    hk->now_ns = node->clock->now_ns(node->clock);
    hk->control_socket = -1;
    for (uint32_t i = 0; i < HG_HOUSEKEEPING_CONNECTIONS_MAX; i++)
        hk->connections[i].socket = -1;
    hk->status = calloc(1, sizeof(*hk->status));
    hk->applied = calloc(1, sizeof(*hk->applied));
    hg_assert(hk->status != NULL && hk->applied != NULL);
    hk->ring_made = hg_control_ring_create(&hk->ring, HG_CONTROL_RING_CELLS, node->boot) == 0;
    hg_assert(hk->ring_made);
    return hk;
}

void *hg_housekeeping_run(void *arg)
{
    struct hg_node *node = arg;
    struct hg_housekeeping *hk = housekeeping_make(node);
    hg_housekeeping_start_saved(hk);
    while (!node->stop) {
        letters(hk);
        hg_housekeeping_start_poll(hk);
        hg_housekeeping_grants_tick(hk);
        hg_housekeeping_control(hk);
        hg_housekeeping_move_tick(hk);
        hg_housekeeping_orphan_tick(hk);
        hg_housekeeping_grow_tick(hk);
        uint64_t deadline_ns = hg_exchange_tick(&hk->exchange, hk->now_ns);
        hg_housekeeping_connections_tick(hk);
        hg_housekeeping_keys_tick(hk);
        port_maintain(hk);
        control_socket_check(hk);
        status_tick(hk);
        wait_for_news(hk, deadline_ns);
    }
    letters(hk); /* the workers' last words */
    if (node->end_name != NULL)
        hg_housekeeping_say(hk, HG_SEVERITY_CRITICAL, node->end_name, node->end_text);
    hg_exchange_wipe(&hk->exchange);
    hg_control_ring_close(&hk->ring);
    hg_client_listener_close(&node->listener);
    return NULL;
}
