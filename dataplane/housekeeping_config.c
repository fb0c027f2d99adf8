/* SPDX-License-Identifier: Apache-2.0
 *
 * The control plane's wishes: APPLY goes through identity and log, port, keys and then the worker, in this
 * order, and ends in one RESULT that says what went wrong first. What can be applied is applied all the same.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

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

static void result_send(struct hg_housekeeping *hk, uint64_t request, uint64_t generation, int32_t code,
                        const char *text)
{
    struct hg_control_message message;
    memset(&message, 0, sizeof(message));
    message.type = HG_CONTROL_RESULT;
    message.generation = generation;
    message.code = code;
    snprintf(message.text, sizeof(message.text), "%s", text);
    (void)hg_control_ring_send(&hk->ring, request, &message);
    hg_control_ring_doorbell(&hk->ring);
}

/* ---- identity and log ---- */

static void start_request(struct hg_housekeeping *hk, const struct hg_config_node *node,
                          const struct hg_config_log *log)
{
    struct hg_start *start = &hk->node->start;
    pthread_mutex_lock(&start->mutex);
    start->node = *node;
    start->log = *log;
    start->state = HG_START_REQUESTED;
    pthread_cond_broadcast(&start->changed);
    pthread_mutex_unlock(&start->mutex);
    hk->identity = *node;
    hk->log = *log;
    hk->starting = true;
}

void hg_housekeeping_start_saved(struct hg_housekeeping *hk)
{
    struct hg_config_node node;
    struct hg_config_log log;
    if (hg_node_state_load(hk->node, &node, &log) == 0)
        start_request(hk, &node, &log);
}

static void apply_rest(struct hg_housekeeping *hk);

void hg_housekeeping_start_poll(struct hg_housekeeping *hk)
{
    struct hg_start *start = &hk->node->start;
    char error[HG_CONTROL_TEXT_BYTES];
    if (hk->started)
        return;
    pthread_mutex_lock(&start->mutex);
    enum hg_start_state state = start->state;
    memcpy(error, start->error, sizeof(error));
    if (state == HG_START_REFUSED)
        start->state = HG_START_IDLE;
    pthread_mutex_unlock(&start->mutex);
    if (state == HG_START_IDLE && !hk->starting && hk->start_again_ns != 0 &&
        hk->now_ns >= hk->start_again_ns) {
        start_request(hk, &hk->identity, &hk->log);
        return;
    }
    if (state == HG_START_DONE) {
        hk->started = true;
        hk->starting = false;
        if (hg_node_state_save(hk->node, &hk->identity, &hk->log) != 0)
            hg_housekeeping_say(
                hk, HG_SEVERITY_WARNING, "node_state",
                "node.state can't be written to the run directory: after a restart the log waits for "
                "the control plane");
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

static void apply_port(struct hg_housekeeping *hk)
{
    struct hg_port_dpdk_options options;
    struct hg_letter letter;
    const struct hg_config_port *wanted = &hk->config.ports[0];
    if (hk->config.port_count == 0)
        return;
    if (hk->config.port_count > 1)
        apply_problem(hk, -EOPNOTSUPP,
                      "port %s: this version drives one port a node; the others are left alone",
                      hk->config.ports[1].name);
    if (hk->port != NULL) {
        if (memcmp(&hk->port_config, wanted, sizeof(*wanted)) != 0)
            apply_problem(hk, -EBUSY, "port %s: an open port does not change; restart the dataplane for it",
                          wanted->name);
        return;
    }
    memset(&options, 0, sizeof(options));
    options.name = wanted->name;
    options.devargs = wanted->devargs;
    memcpy(options.mac, wanted->mac, sizeof(options.mac));
    options.mtu_bytes = wanted->mtu_bytes;
    options.numa_node = -1;
    hg_port_dpdk_socket_clear(options.devargs);
    struct hg_port *port = hg_port_dpdk_open(&options, hk->port_problem, sizeof(hk->port_problem));
    hk->port_config = *wanted;
    if (port == NULL) {
        apply_problem(hk, -ENODEV, "%s", hk->port_problem);
        hg_housekeeping_refusal(hk, "port_refused", hk->port_problem);
        return;
    }
    hk->port_problem[0] = '\0';
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_PORT;
    letter.pointer = port;
    letter.number = wanted->address;
    if (!hg_housekeeping_put(hk, &letter)) {
        hg_port_dpdk_close(port);
        apply_problem(hk, -EAGAIN, "port %s: the worker is busy; apply the configuration again",
                      wanted->name);
        return;
    }
    hk->port = port;
}

/* ---- APPLY ---- */

static void apply_finish(struct hg_housekeeping *hk, int32_t code, const char *text)
{
    if (code == 0)
        hk->applied_generation = hk->apply_generation;
    result_send(hk, hk->apply_request, hk->apply_generation, code, text);
    hk->apply_pending = false;
}

/* After the log is open: port, then the worker; keys follow when the worker knows its peers. */
static void apply_rest(struct hg_housekeeping *hk)
{
    struct hg_letter letter;
    if (!hk->started) {
        apply_finish(hk, hk->apply_code, hk->apply_text);
        return;
    }
    if (memcmp(&hk->identity, &hk->config.node, sizeof(hk->identity)) != 0 ||
        strncmp(hk->log.path, hk->config.logs[0].path, sizeof(hk->log.path)) != 0) {
        apply_finish(hk, -EBUSY,
                     "a running node keeps its identity and its log: stop the dataplane and remove "
                     "node.state from its run directory to change them");
        return;
    }
    apply_port(hk);
    *hk->applied = hk->config;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONFIG;
    letter.pointer = hk->applied;
    if (!hg_housekeeping_put(hk, &letter))
        apply_finish(hk, -EAGAIN, "the worker is busy; apply the configuration again");
}

void hg_housekeeping_config_done(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    const char *problem = NULL;
    const struct hg_config_peer *peer = hg_housekeeping_keys_apply(hk, &problem);
    if (peer != NULL)
        apply_problem(hk, -EACCES, "peer %s: %s", peer->name, problem);
    if (letter->code != 0)
        apply_problem(hk, letter->code, "%.*s", (int)sizeof(letter->body.text) - 1, letter->body.text);
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
    if (hk->config.log_count != 1) {
        apply_finish(hk, -EINVAL, "a node has exactly one log in this version: add `log add 0 path FILE`");
        return;
    }
    if (hk->started) {
        apply_rest(hk);
        return;
    }
    hk->apply_waits_start = true;
    if (!hk->starting) /* else the log as it was last applied is being opened */
        start_request(hk, &hk->config.node, &hk->config.logs[0]);
}

/* ---- commands ---- */

void hg_housekeeping_command_done(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    char text[HG_CONTROL_TEXT_BYTES];
    const char *why = letter->code == -ENOENT  ? "is not registered"
                      : letter->code == -EBUSY ? "is attached: stop it first"
                      : letter->code == 0      ? "is removed; the log no longer waits for it"
                                               : "can't be removed now, the log is full: try again";
    snprintf(text, sizeof(text), "consumer %.*s %s", HG_NAME_BYTES, letter->body.name, why);
    result_send(hk, hk->command_request, 0, letter->code, text);
    hk->command_request = 0;
}

static void command_begin(struct hg_housekeeping *hk, const struct hg_control_received *received)
{
    struct hg_letter letter;
    if (received->message.command == HG_COMMAND_STOP) {
        result_send(hk, received->request, 0, 0, "the dataplane stops");
        hk->node->stop = true;
        return;
    }
    if (received->message.command != HG_COMMAND_CONSUMER_REMOVE) {
        result_send(hk, received->request, 0, -EOPNOTSUPP, "this dataplane does not know the command");
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_CONSUMER_REMOVE;
    memcpy(letter.body.name, received->message.name, sizeof(letter.body.name));
    if (!hk->started || !hg_housekeeping_put(hk, &letter))
        result_send(hk, received->request, 0, -EAGAIN, "the worker is not ready: try again");
    else
        hk->command_request = received->request;
}

void hg_housekeeping_control(struct hg_housekeeping *hk)
{
    struct hg_control_received received;
    /* One wish at a time: what is not taken stays in the ring, and is given again should we die. */
    while (!hk->apply_pending && hk->command_request == 0 &&
           hg_control_ring_receive(&hk->ring, &received) == 1) {
        if (received.message.type == HG_CONTROL_APPLY)
            apply_begin(hk, &received);
        else if (received.message.type == HG_CONTROL_COMMAND)
            command_begin(hk, &received);
        hg_control_ring_done(&hk->ring);
    }
}
