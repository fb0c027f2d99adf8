/* SPDX-License-Identifier: Apache-2.0
 *
 * The control plane's wishes: APPLY goes through identity and log, port, keys and then the worker, in this
 * order, and ends in one RESULT that says what went wrong first. What can be applied is applied all the same.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void __attribute__((format(printf, 3, 4)))
apply_problem(struct hg_housekeeping *hk, int code, const char *format, ...)
{
    va_list list;
    if (hk->apply_code != 0)
        return;
    hk->apply_code = code;
    va_start(list, format);
    vsnprintf(hk->apply_text, sizeof(hk->apply_text), format, list);
    va_end(list);
}

void hg_housekeeping_refusal(struct hg_housekeeping *hk, const char *name, const char *text)
{
    for (uint32_t i = 0; i < hk->refusal_count; i++)
        if (strncmp(hk->refusals[i], text, sizeof(hk->refusals[i]) - 1) == 0)
            return;
    if (hk->refusal_count < HG_HOUSEKEEPING_REFUSALS_MAX)
        memccpy(hk->refusals[hk->refusal_count++], text, 0, sizeof(hk->refusals[0]) - 1); /* it was zeroed */
    hg_housekeeping_say(hk, HG_SEVERITY_ERROR, name, text);
}

/* False: the ring has no room for the answer that is held. Where the ring is damaged it is nobody's, nor
 * where whoever asked is gone: the next one may be waiting for us to take something before it reads. */
static bool result_push(struct hg_housekeeping *hk)
{
    bool asks = hk->result_request >> 32 == hg_control_ring_peer_generation(&hk->ring);
    if (hk->result_request == 0)
        return true;
    if (asks && hg_control_ring_send(&hk->ring, hk->result_request, &hk->result) == -EAGAIN)
        return false;
    hk->result_request = 0;
    hg_control_ring_doorbell(&hk->ring);
    return true;
}

/* Held until the ring takes it; meanwhile no other wish is taken, so one is all there is to hold. */
static void result_send(struct hg_housekeeping *hk, uint64_t request, uint64_t generation, int32_t code,
                        const char *text)
{
    struct hg_control_message *message = &hk->result;
    memset(message, 0, sizeof(*message));
    message->type = HG_CONTROL_RESULT;
    message->generation = generation;
    message->code = code;
    snprintf(message->text, sizeof(message->text), "%s", text);
    hk->result_request = request;
    (void)result_push(hk);
}

/* ---- identity and logs ---- */

/* Its mailboxes are made with the first request: from then on the number of workers stands. */
static bool start_request(struct hg_housekeeping *hk, const struct hg_config_node *node,
                          const struct hg_config_log *logs, uint32_t log_count)
{
    struct hg_node *own = hk->node;
    struct hg_start *start = &own->start;
    struct hg_mailbox *boxes[HG_NODE_WORKERS_MAX];
    if (own->worker_count != 0 && own->worker_count != log_count)
        return false;
    if (own->worker_count == 0) {
        hg_node_workers_make(own, log_count);
        for (uint32_t i = 0; i < log_count; i++)
            boxes[i] = own->workers[i].to_worker;
        hg_exchange_init(&hk->exchange, own->clock, boxes, log_count);
        hg_placement_init(&hk->placement, log_count);
    }
    hk->identity = *node;
    hk->log_count = log_count;
    memmove(hk->logs, logs, log_count * sizeof(logs[0]));
    pthread_mutex_lock(&start->mutex);
    start->node = *node;
    start->log_count = log_count;
    memcpy(start->logs, hk->logs, sizeof(start->logs));
    start->error[0] = '\0';
    start->lcores_pending = own->lcore_count;
    start->requests_count++;
    start->state = HG_START_REQUESTED;
    pthread_cond_broadcast(&start->changed);
    pthread_mutex_unlock(&start->mutex);
    hk->starting = true;
    return true;
}

void hg_housekeeping_start_saved(struct hg_housekeeping *hk)
{
    struct hg_config_node node;
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    uint32_t log_count;
    if (hg_node_state_load(hk->node, &node, logs, &log_count) == 0)
        (void)start_request(hk, &node, logs, log_count);
}

static void apply_rest(struct hg_housekeeping *hk);
static void apply_to_workers(struct hg_housekeeping *hk);

/* Asks every worker what its log holds; each answers when it is read back. */
static void places_ask(struct hg_housekeeping *hk)
{
    struct hg_letter letter;
    if (hk->places_asked || !hg_housekeeping_room(hk))
        return;
    hk->places_asked = true;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PLACES;
    for (uint32_t i = 0; i < hk->node->worker_count; i++) {
        hk->places[i] = calloc(1, sizeof(*hk->places[i]));
        hg_assert(hk->places[i] != NULL);
        letter.pointer = hk->places[i];
        hg_assert(hg_housekeeping_put(hk, i, &letter));
    }
}

void hg_housekeeping_places_done(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    const struct hg_places *places = letter->pointer;
    hg_placement_hold(&hk->placement, letter->pointer);
    for (uint32_t i = 0; i < places->count; i++) {
        int32_t second = hg_placement_held_twice(&hk->placement, places->table[i].stream);
        char text[HG_CONTROL_TEXT_BYTES];
        if (second < 0)
            continue;
        snprintf(text, sizeof(text),
                 "stream %.32s is in log %d and in log %d: it goes on in the first; has a log been copied?",
                 places->table[i].name, hg_placement_held(&hk->placement, places->table[i].stream), second);
        hg_housekeeping_refusal(hk, "stream_in_two_logs", text);
    }
}

/* All logs are read back. A stream that had moved, and whose old log does not say so, is taken from that now,
 * before anybody is told where it is. */
static void places_settle(struct hg_housekeeping *hk)
{
    struct hg_letter letter;
    int32_t worker;
    if (hk->placed || !hg_placement_known(&hk->placement))
        return;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STREAM_END;
    while ((worker = hg_placement_stale(&hk->placement, &letter.number)) >= 0) {
        letter.number2 = (uint64_t)hg_placement_held(&hk->placement, letter.number);
        if (!hg_housekeeping_put(hk, (uint32_t)worker, &letter))
            return;
        hg_placement_forget(&hk->placement, (uint32_t)worker, letter.number);
    }
    hk->placed = true;
    if (hk->apply_waits_places)
        apply_to_workers(hk);
}

static bool state_save(struct hg_housekeeping *hk, const struct hg_config_log *logs)
{
    bool is_saved = hg_node_state_save(hk->node, &hk->identity, logs, hk->log_count) == 0;
    if (!is_saved)
        hg_housekeeping_say(
            hk, HG_SEVERITY_WARNING, "node_state",
            "node.state can't be written to the run directory: after a restart the log waits for "
            "the control plane, or is opened as an older one says");
    return is_saved;
}

static void start_done(struct hg_housekeeping *hk)
{
    hk->started = true;
    hk->starting = false;
    (void)state_save(hk, hk->logs);
    if (hk->node->lcore_count > hk->log_count)
        hg_housekeeping_say(hk, HG_SEVERITY_WARNING, "lcores_idle",
                            "there are more lcores than logs: the last ones have nothing to run; add logs");
}

void hg_housekeeping_start_poll(struct hg_housekeeping *hk)
{
    struct hg_start *start = &hk->node->start;
    char error[HG_CONTROL_TEXT_BYTES];
    if (hk->started) {
        places_ask(hk);
        places_settle(hk);
        return;
    }
    pthread_mutex_lock(&start->mutex);
    enum hg_start_state state = start->state;
    memcpy(error, start->error, sizeof(error));
    if (state == HG_START_REFUSED)
        start->state = HG_START_IDLE;
    pthread_mutex_unlock(&start->mutex);
    if (state == HG_START_IDLE && !hk->starting && hk->start_again_ns != 0 &&
        hk->now_ns >= hk->start_again_ns) {
        (void)start_request(hk, &hk->identity, hk->logs, hk->log_count);
        return;
    }
    if (state == HG_START_DONE) {
        start_done(hk);
    } else if (state != HG_START_REFUSED) {
        return;
    } else {
        /* Also without a control plane: the log may be in use by a process that is just ending, or be made.
         */
        hk->start_again_ns = hk->now_ns + HG_HOUSEKEEPING_START_AGAIN_NS;
        hk->starting = false;
        hg_housekeeping_refusal(hk, "log_refused", error);
        apply_problem(hk, -EINVAL, "%s", error);
    }
    if (hk->apply_waits_start) {
        hk->apply_waits_start = false;
        apply_rest(hk);
    }
}

/* ---- port ---- */

static void port_give(struct hg_housekeeping *hk, const struct hg_network *network)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PORT;
    letter.body.network = *network;
    for (uint32_t i = 0; i < hk->node->worker_count; i++) {
        letter.pointer = hg_port_set_queue(&hk->port, i);
        hg_assert(hg_housekeeping_put(hk, i, &letter)); /* there was room */
    }
    hk->port_open = true;
}

static void apply_port(struct hg_housekeeping *hk)
{
    struct hg_port_dpdk_options options;
    const struct hg_config_port *wanted = &hk->config.ports[0];
    if (hk->config.port_count == 0)
        return;
    if (hk->config.port_count > 1)
        apply_problem(hk, -EOPNOTSUPP,
                      "port %s: this version drives one port a node; the others are left alone",
                      hk->config.ports[1].name);
    if (hk->port_open) {
        if (memcmp(&hk->port_config, wanted, sizeof(*wanted)) != 0)
            apply_problem(hk, -EBUSY, "port %s: an open port does not change; restart the dataplane for it",
                          wanted->name);
        return;
    }
    if (!hg_housekeeping_room(hk)) {
        apply_problem(hk, -EAGAIN, "port %s: a worker is busy; apply the configuration again", wanted->name);
        return;
    }
    memset(&options, 0, sizeof(options));
    options.name = wanted->name;
    options.devargs = wanted->devargs;
    memcpy(options.mac, wanted->mac, sizeof(options.mac));
    options.mac_apart = true;
    options.mtu_bytes = wanted->mtu_bytes;
    options.numa_node = hk->node->lcores[0].numa_node;
    hg_port_dpdk_socket_clear(options.devargs);
    hk->port_config = *wanted;
    if (hg_port_set_open(&hk->port, &options, hk->node->worker_count, hk->port_problem,
                         sizeof(hk->port_problem)) != 0) {
        apply_problem(hk, -ENODEV, "%s", hk->port_problem);
        hg_housekeeping_refusal(hk, "port_refused", hk->port_problem);
        return;
    }
    hk->port_problem[0] = '\0';
    port_give(hk, &wanted->network);
}

/* ---- APPLY ---- */

static void apply_finish(struct hg_housekeeping *hk, int32_t code, const char *text)
{
    if (code == 0)
        hk->applied_generation = hk->apply_generation;
    result_send(hk, hk->apply_request, hk->apply_generation, code, text);
    hk->apply_pending = false;
}

/* Logs are numbered from 0 without a gap: log i is worker i's. Puts them in order. */
static bool logs_in_order(struct hg_control_config *config)
{
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    bool there[HG_CONTROL_LOGS_MAX] = {false};
    if (config->log_count == 0)
        return false;
    for (uint32_t i = 0; i < config->log_count; i++) {
        if (config->logs[i].id >= config->log_count || there[config->logs[i].id])
            return false;
        there[config->logs[i].id] = true;
        logs[config->logs[i].id] = config->logs[i];
        logs[config->logs[i].id].has_peers = config->peer_count > 0;
    }
    memcpy(config->logs, logs, config->log_count * sizeof(logs[0]));
    return true;
}

static bool logs_are(const struct hg_housekeeping *hk, const struct hg_control_config *config)
{
    bool same = hk->log_count == config->log_count;
    for (uint32_t i = 0; same && i < hk->log_count; i++)
        same = strncmp(hk->logs[i].path, config->logs[i].path, sizeof(hk->logs[i].path)) == 0;
    return same;
}

/* Every worker gets the same page, and takes from it what is its own. */
static void apply_to_workers(struct hg_housekeeping *hk)
{
    hk->apply_waits_places = false;
    if (!hg_housekeeping_room(hk)) {
        apply_finish(hk, -EAGAIN, "a worker is busy; apply the configuration again");
        return;
    }
    *hk->applied = hk->config;
    const struct hg_config_stream *misplaced = hg_placement_resolve(&hk->placement, hk->applied);
    if (misplaced != NULL)
        apply_problem(
            hk, -EINVAL,
            "stream %s is worker %u's, where its batches are: move it with `helioctl stream move`, or change "
            "the line",
            misplaced->name, misplaced->place - 1);
    hg_placement_given(&hk->placement, hk->applied);
    hg_housekeeping_config_give(hk);
}

void hg_housekeeping_config_give(struct hg_housekeeping *hk)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONFIG;
    letter.pointer = hk->applied;
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        hg_assert(hg_housekeeping_put(hk, i, &letter));
    hk->apply_workers = hk->node->worker_count;
}

/* The next start opens the logs by what is saved, before any control plane speaks: so it is what was said
 * last. A log in use keeps its memory, how it is flushed and scrubbed, and whether peers count in its
 * recovery. */
static void logs_take(struct hg_housekeeping *hk)
{
    bool is_same = true;
    for (uint32_t i = 0; i < hk->log_count && is_same; i++) {
        const struct hg_config_log *is = &hk->logs[i], *wanted = &hk->config.logs[i];
        is_same = is->scrub_mbytes_per_s == wanted->scrub_mbytes_per_s &&
                  is->arena_bytes == wanted->arena_bytes && is->flush == wanted->flush &&
                  is->has_peers == wanted->has_peers;
    }
    if (!is_same && state_save(hk, hk->config.logs)) /* else again with the next one that is applied */
        memcpy(hk->logs, hk->config.logs, hk->log_count * sizeof(hk->logs[0]));
}

/* After the logs are open: port, then the workers; keys follow when the workers know their peers. */
static void apply_rest(struct hg_housekeeping *hk)
{
    if (!hk->started) {
        apply_finish(hk, hk->apply_code, hk->apply_text);
        return;
    }
    if (memcmp(&hk->identity, &hk->config.node, sizeof(hk->identity)) != 0 || !logs_are(hk, &hk->config)) {
        apply_finish(hk, -EBUSY,
                     "a running node keeps its identity and its logs: stop the dataplane and remove "
                     "node.state from its run directory to change them");
        return;
    }
    logs_take(hk);
    apply_port(hk);
    if (hk->placed)
        apply_to_workers(hk);
    else
        hk->apply_waits_places = true;
}

void hg_housekeeping_config_done(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    const char *problem = NULL;
    hg_assert(hk->apply_workers > 0);
    hk->apply_workers--;
    if (letter->code != 0)
        apply_problem(hk, letter->code, "%.*s", (int)sizeof(letter->body.text) - 1, letter->body.text);
    if (hk->apply_workers > 0)
        return;
    if (hk->move_spreads) {
        hg_housekeeping_move_spread(hk);
        return;
    }
    const struct hg_config_peer *peer = hg_housekeeping_keys_apply(hk, &problem);
    if (peer != NULL)
        apply_problem(hk, -EACCES, "peer %s: %s", peer->name, problem);
    apply_finish(hk, hk->apply_code, hk->apply_text);
}

static void apply_begin(struct hg_housekeeping *hk, const struct hg_control_received *received)
{
    hk->apply_pending = true;
    hk->apply_request = received->request;
    hk->apply_code = 0;
    hk->apply_text[0] = '\0';
    int rc = hg_control_ring_config_read(&hk->ring, &hk->config, &hk->apply_generation);
    if (rc != 0) {
        apply_finish(hk, rc, "the configuration page can't be read; it is being written anew");
        return;
    }
    if (!logs_in_order(&hk->config)) {
        apply_finish(
            hk, -EINVAL,
            "a node's logs are numbered from 0 without a gap, one for each worker: add `log add 0 path "
            "FILE`, then 1 and so on");
        return;
    }
    if (hk->started) {
        apply_rest(hk);
        return;
    }
    hk->apply_waits_start = true;
    if (hk->starting) /* the logs as they were last applied are being opened */
        return;
    if (start_request(hk, &hk->config.node, hk->config.logs, hk->config.log_count))
        return;
    hk->apply_waits_start = false;
    apply_finish(hk, -EBUSY,
                 "another number of logs than this process began with: start the dataplane again");
}

/* ---- commands ---- */

void hg_housekeeping_command_done(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    char text[HG_CONTROL_TEXT_BYTES];
    hg_assert(hk->command_workers > 0);
    if (hk->command_answer.code == -ENOENT) /* else one that has it has answered */
        hk->command_answer = *letter;
    if (--hk->command_workers > 0)
        return;
    letter = &hk->command_answer;
    const char *why = letter->code == -ENOENT  ? "is not registered"
                      : letter->code == -EBUSY ? "is attached: stop it first"
                      : letter->code == 0      ? "is removed; the log no longer waits for it"
                                               : "can't be removed now, the log is full: try again";
    snprintf(text, sizeof(text), "consumer %.*s %s", HG_NAME_BYTES, letter->body.name, why);
    hg_housekeeping_command_end(hk, letter->code, text);
}

void hg_housekeeping_command_end(struct hg_housekeeping *hk, int32_t code, const char *text)
{
    result_send(hk, hk->command_request, 0, code, text);
    hk->command_request = 0;
}

static void consumer_remove_begin(struct hg_housekeeping *hk, const struct hg_control_message *message)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONSUMER_REMOVE;
    memcpy(letter.body.name, message->name, sizeof(letter.body.name));
    if (!hk->started || !hg_housekeeping_room(hk)) {
        hg_housekeeping_command_end(hk, -EAGAIN, "the worker is not ready: try again");
        return;
    }
    uint32_t first = 0, end = hk->node->worker_count; /* who has it, they know */
    if (message->number != 0) {
        first = message->number - 1 < end ? message->number - 1 : end - 1;
        end = first + 1;
    }
    hk->command_workers = end - first;
    hk->command_answer = letter;
    hk->command_answer.code = -ENOENT;
    for (uint32_t i = first; i < end; i++)
        hg_assert(hg_housekeeping_put(hk, i, &letter));
}

static void command_begin(struct hg_housekeeping *hk, const struct hg_control_received *received)
{
    char text[HG_CONTROL_TEXT_BYTES];
    int rc;
    hk->command_request = received->request;
    switch (received->message.command) {
    case HG_COMMAND_STOP:
        hg_housekeeping_command_end(hk, 0, "the dataplane stops");
        hk->node->stop = true;
        return;
    case HG_COMMAND_CONSUMER_REMOVE:
        consumer_remove_begin(hk, &received->message);
        return;
    case HG_COMMAND_GROUP_SEAL:
    case HG_COMMAND_GROUP_OPEN:
    case HG_COMMAND_GROUP_BEGIN:
    case HG_COMMAND_GROUP_RELEASE:
    case HG_COMMAND_GROUP_ASK:
    case HG_COMMAND_GROUP_FILL:
        hg_housekeeping_group_begin(hk, &received->message);
        return;
    case HG_COMMAND_LOG_GROW:
    case HG_COMMAND_LOG_GROW_CHECK:
        hg_housekeeping_grow_begin(hk, &received->message);
        return;
    case HG_COMMAND_STREAM_ADOPT:
        hg_housekeeping_adopt_begin(hk, &received->message);
        return;
    case HG_COMMAND_STREAM_MOVE:
        rc = hg_housekeeping_move_begin(hk, &received->message, text);
        if (rc != 0)
            hg_housekeeping_command_end(hk, rc, text);
        return;
    default:
        hg_housekeeping_command_end(hk, -EOPNOTSUPP, "this dataplane does not know the command");
    }
}

void hg_housekeeping_control(struct hg_housekeeping *hk)
{
    struct hg_control_received received;
    /* One wish at a time: what is not taken stays in the ring, and is given again should we die. */
    while (result_push(hk) && !hk->apply_pending && hk->command_request == 0 &&
           hg_control_ring_receive(&hk->ring, &received) == 1) {
        if (received.message.type == HG_CONTROL_APPLY)
            apply_begin(hk, &received);
        else if (received.message.type == HG_CONTROL_COMMAND)
            command_begin(hk, &received);
        hg_control_ring_done(&hk->ring);
    }
}
