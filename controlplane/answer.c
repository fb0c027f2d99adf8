/* SPDX-License-Identifier: Apache-2.0
 *
 * One request line of helioctl, parsed by the one grammar, to one JSON answer:
 *   {"code": 0..4, "error": "..", "column": n, "dataplane": {..}, "data": {..}}
 */
#include "controlplane/json_text.h"
#include "controlplane/report.h"
#include "controlplane/server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

json_t *hg_answer_error(enum hg_api_code code, const char *format, ...)
{
    char text[HG_GRAMMAR_ERROR_BYTES];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return json_pack("{s:i, s:o}", "code", (int)code, "error", hg_json_text(text));
}

json_t *hg_answer_done(const char *text)
{
    return json_pack("{s:i, s:{s:o}}", "code", HG_API_OK, "data", "message", hg_json_text(text));
}

/* ---- show ---- */
static json_t *dataplane_json(const struct hg_server *server)
{
    const struct hg_link *link = &server->link;
    json_t *object = json_object();
    uint64_t now_ns = hg_realtime_ns();
    char boot[24];

    json_object_set_new(object, "running", json_boolean(hg_link_usable(server)));
    json_object_set_new(object, "state",
                        json_string(link->state != HG_LINK_UP ? "absent"
                                    : link->stuck             ? "stuck"
                                                              : "attached"));
    json_object_set_new(object, "problem", hg_json_text(link->problem));
    if (server->status_generation == 0)
        return object;
    snprintf(boot, sizeof(boot), "%016llx", (unsigned long long)server->status.boot);
    json_object_set_new(object, "pid", hg_json_u64(server->status.pid));
    json_object_set_new(object, "boot", json_string(boot));
    json_object_set_new(
        object, "status_age_ns",
        hg_json_u64(now_ns > server->status.realtime_ns ? now_ns - server->status.realtime_ns : 0));
    json_object_set_new(object, "config_generation_applied",
                        hg_json_u64(server->status.config_generation_applied));
    json_object_set_new(object, "turns", hg_json_u64(server->status.turns));
    json_object_set_new(object, "turns_idle", hg_json_u64(server->status.turns_idle));
    return object;
}

static json_t *node_json(const struct hg_server *server)
{
    const struct hg_config_node *node = &server->config->wanted.node;
    const struct hg_link *link = &server->link;
    const char *config_state = link->generation_refused == link->generation && link->generation != 0
                                   ? "refused"
                               : link->request_apply != 0  ? "being applied"
                               : link->state == HG_LINK_UP ? "applied"
                                                           : "waiting";

    return json_pack("{s:o, s:I, s:i, s:I, s:i, s:I, s:o, s:o, s:I, s:s, s:I, s:I, s:I}", "name",
                     hg_json_text(node->name), "node", (json_int_t)node->node, "region", (int)node->region,
                     "cluster", (json_int_t)node->cluster, "controlplane_pid", (int)getpid(),
                     "controlplane_uptime_ns", (json_int_t)(uv_hrtime() - server->started_ns), "run",
                     hg_json_text(server->run), "config_file", hg_json_text(server->file->path),
                     "config_generation", (json_int_t)link->generation, "config_state", config_state,
                     "attached_count", (json_int_t)link->attached_count, "poisoned_count",
                     (json_int_t)link->poisoned_count, "events_count", (json_int_t)server->events.count);
}

static json_t *config_json(const struct hg_server *server)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    json_t *json;

    hg_assert(out != NULL);
    hg_command_config_print(server->config, out);
    fclose(out);
    json = hg_json_text(text);
    free(text);
    return json;
}

static const struct {
    const char *name;
    bool live; /* of the dataplane: only as fresh as its page */
} views[] = {{"node", false},     {"ports", true},    {"peers", true},     {"streams", true},
             {"lag", true},       {"lanes", true},    {"groups", true},    {"tails", true},
             {"placement", true}, {"log", true},      {"retention", true}, {"clients", true},
             {"consumers", true}, {"sessions", true}, {"drops", true},     {"events", false},
             {"config", false}};

static json_t *view_json(struct hg_server *server, const char *view)
{
    const struct hg_control_config *config = &server->config->wanted;
    const struct hg_control_status *status = &server->status;

    if (strcmp(view, "node") == 0)
        return node_json(server);
    if (strcmp(view, "ports") == 0)
        return hg_report_ports(config, status);
    if (strcmp(view, "peers") == 0)
        return hg_report_peers(config, status);
    if (strcmp(view, "streams") == 0)
        return hg_report_streams(config, status);
    if (strcmp(view, "lanes") == 0)
        return hg_report_lanes(status);
    if (strcmp(view, "groups") == 0)
        return hg_answer_groups(server, -1);
    if (strcmp(view, "tails") == 0)
        return hg_report_tails(status, -1);
    if (strcmp(view, "placement") == 0)
        return hg_report_placement(status);
    if (strcmp(view, "lag") == 0)
        return hg_report_lag(status);
    if (strcmp(view, "log") == 0)
        return hg_report_log(status);
    if (strcmp(view, "retention") == 0)
        return hg_report_retention(status);
    if (strcmp(view, "clients") == 0)
        return hg_report_clients(status);
    if (strcmp(view, "consumers") == 0)
        return hg_report_consumers(status);
    if (strcmp(view, "sessions") == 0)
        return hg_report_sessions(status);
    if (strcmp(view, "drops") == 0)
        return hg_report_drops(status);
    if (strcmp(view, "events") == 0)
        return hg_events_json(&server->events);
    hg_assert(strcmp(view, "config") == 0);
    return config_json(server);
}

static json_t *show(struct hg_server *server, const char *what)
{
    bool all = strcmp(what, "all") == 0, live = all;
    json_t *data = json_object(), *answer = json_object();

    hg_link_status_read(server);
    for (size_t i = 0; i < HG_COUNT(views); i++) {
        if (!all && strcmp(what, views[i].name) != 0)
            continue;
        live = live || views[i].live;
        json_object_set_new(data, views[i].name, view_json(server, views[i].name));
    }
    json_object_set_new(answer, "code",
                        json_integer(live && !hg_link_usable(server) ? HG_API_NO_DATAPLANE : HG_API_OK));
    json_object_set_new(answer, "dataplane", dataplane_json(server));
    json_object_set_new(answer, "data", data);
    return answer;
}

/* ---- changes ---- */
json_t *hg_answer_not_now(const struct hg_server *server)
{
    if (!hg_link_usable(server))
        return hg_answer_error(
            HG_API_NO_DATAPLANE,
            "the dataplane does not run (or is stuck): nothing was changed; see 'show node'");
    if (server->change.request != 0)
        return hg_answer_error(HG_API_REFUSED,
                               "another change is under way (%s): nothing was changed; try again",
                               server->change.what);
    return NULL;
}

json_t *hg_answer_change(struct hg_server *server, struct hg_api_connection *connection, uint64_t request,
                         bool is_config, const char *what)
{
    struct hg_change *change = &server->change;

    if (request == 0) {
        if (is_config)
            *server->config = change->before;
        return hg_answer_error(HG_API_NO_DATAPLANE, "the dataplane takes no messages: nothing was changed");
    }
    change->request = request;
    change->is_config = is_config;
    change->is_asked_only = false;
    change->group = -1;
    change->deadline_ns = uv_hrtime() + HG_API_RESULT_NS;
    change->connection = connection;
    snprintf(change->what, sizeof(change->what), "%s", what);
    return NULL;
}

static unsigned long long or_standard(uint64_t number, uint64_t standard)
{
    return number != 0 ? number : standard;
}

/* "800000000 bit/s, fixed"; 0 bit/s: "no limit, bbr"; then, if told to, parity and after how much keys are
 * renewed */
static void peer_rate_text(const struct hg_config_peer *peer, bool fec, bool ecn, bool rekey,
                           bool drop_behind, char *text, size_t bytes)
{
    if (peer->rate_bytes_per_s == 0)
        snprintf(text, bytes, "no limit, %s", hg_config_congestion_text(peer->congestion));
    else
        snprintf(text, bytes, "%llu bit/s, %s", (unsigned long long)peer->rate_bytes_per_s * 8,
                 hg_config_congestion_text(peer->congestion));
    size_t put = strlen(text);
    if (fec)
        snprintf(text + put, bytes - put, ", fec %s", hg_config_fec_text(peer->fec));
    put = strlen(text);
    if (ecn)
        snprintf(text + put, bytes - put, ", ecn %s", hg_config_ecn_text(peer->ecn));
    put = strlen(text);
    if (rekey)
        snprintf(text + put, bytes - put, ", keys for %llu packets, %llu bytes, %llu s",
                 or_standard(peer->rekey_packets, HG_CONTROL_REKEY_PACKETS_MAX),
                 or_standard(peer->rekey_bytes, HG_CONTROL_REKEY_BYTES_MAX),
                 or_standard(peer->rekey_seconds, HG_CONTROL_REKEY_SECONDS_MAX));
    put = strlen(text);
    if (drop_behind)
        snprintf(text + put, bytes - put, ", drop-behind %llu bytes, %llu s",
                 (unsigned long long)peer->drop_behind_bytes, (unsigned long long)peer->drop_behind_seconds);
}

json_t *hg_answer_not_set(const struct hg_server *server, const struct hg_command *command, const char *what)
{
    char text[HG_GRAMMAR_ERROR_BYTES + 32];

    if (hg_command_value(command, "dry-run") == NULL)
        return hg_answer_not_now(server);
    snprintf(text, sizeof(text), "would set %s", what);
    return hg_answer_done(text);
}

static json_t *set_peer(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command)
{
    const struct hg_value *name = hg_command_value(command, "NAME");
    int index = hg_config_peer_find(&server->config->wanted, name->text);
    char what[HG_GRAMMAR_ERROR_BYTES], error[HG_GRAMMAR_ERROR_BYTES], before[208], after[208];
    struct hg_config_peer peer;
    json_t *refusal;

    if (index < 0)
        return hg_answer_error(HG_API_REFUSED, "there is no peer \"%s\"; see 'show peers'", name->text);
    peer = server->config->wanted.peers[index];
    bool rekey = hg_command_value(command, "rekey-packets") != NULL ||
                 hg_command_value(command, "rekey-bytes") != NULL ||
                 hg_command_value(command, "rekey-seconds") != NULL;
    bool fec = hg_command_value(command, "fec") != NULL, ecn = hg_command_value(command, "ecn") != NULL;
    bool drop_behind = hg_command_value(command, "drop-behind-bytes") != NULL ||
                       hg_command_value(command, "drop-behind-seconds") != NULL;
    peer_rate_text(&peer, fec, ecn, rekey, drop_behind, before, sizeof(before));
    if (!hg_command_peer_change(&peer, command, error, sizeof(error)))
        return hg_answer_error(HG_API_USAGE, "%s", error);
    peer_rate_text(&peer, fec, ecn, rekey, drop_behind, after, sizeof(after));
    snprintf(what, sizeof(what), "rate of peer %.31s: %s -> %s", name->text, before, after);
    refusal = hg_answer_not_set(server, command, what);
    if (refusal != NULL)
        return refusal;
    server->change.before = *server->config;
    server->config->wanted.peers[index] = peer;
    return hg_answer_change(server, connection, hg_link_apply(server), true, what);
}

static void quorum_text(const struct hg_control_config *config, char *text, size_t bytes)
{
    if (config->quorum_n == 0)
        snprintf(text, bytes, "none");
    else
        snprintf(text, bytes, "n %u w %u", config->quorum_n, config->quorum_w);
}

static json_t *quorum_set(struct hg_server *server, struct hg_api_connection *connection,
                          const struct hg_command *command)
{
    struct hg_control_config *config = &server->config->wanted;
    uint64_t n = hg_command_value(command, "n")->number, w = hg_command_value(command, "w")->number;
    char error[HG_GRAMMAR_ERROR_BYTES], before[32], text[HG_GRAMMAR_ERROR_BYTES];
    json_t *refusal;

    if (!hg_command_quorum_check(&server->config->wanted, n, w, error, sizeof(error)))
        return hg_answer_error(HG_API_REFUSED, "%s", error);
    quorum_text(config, before, sizeof(before));
    if (hg_command_value(command, "dry-run") != NULL) {
        snprintf(text, sizeof(text), "would set the quorum: %s -> n %u w %u", before, (unsigned)n,
                 (unsigned)w);
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    server->change.before = *server->config;
    config->quorum_n = (uint16_t)n;
    config->quorum_w = (uint16_t)w;
    snprintf(text, sizeof(text), "quorum: %s -> n %u w %u", before, (unsigned)n, (unsigned)w);
    return hg_answer_change(server, connection, hg_link_apply(server), true, text);
}

static json_t *peer_remove(struct hg_server *server, struct hg_api_connection *connection,
                           const struct hg_command *command)
{
    const struct hg_value *name = hg_command_value(command, "NAME");
    int index = hg_config_peer_find(&server->config->wanted, name->text);
    char text[HG_GRAMMAR_ERROR_BYTES];
    uint32_t streams = 0;
    json_t *refusal;

    if (index < 0)
        return hg_answer_error(HG_API_REFUSED, "there is no peer \"%s\"; see 'show peers'", name->text);
    if (server->config->wanted.quorum_n > 1 &&
        server->config->wanted.peers[index].region == server->config->wanted.node.region)
        return hg_answer_error(HG_API_REFUSED,
                               "peer %s is one of the %u nodes of the region's quorum: a command file with "
                               "another quorum changes them",
                               name->text, server->config->wanted.quorum_n);
    for (uint32_t i = 0; i < server->config->wanted.stream_count; i++)
        streams += server->config->wanted.streams[i].peers_mask >> index & 1;
    if (hg_command_value(command, "dry-run") != NULL) {
        snprintf(text, sizeof(text),
                 "would remove peer %s: its session would end, and %u streams would no longer go there",
                 name->text, streams);
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    server->change.before = *server->config;
    (void)hg_command_config_peer_remove(server->config, name->text);
    snprintf(text, sizeof(text), "peer %s removed; %u streams no longer go there", name->text, streams);
    return hg_answer_change(server, connection, hg_link_apply(server), true, text);
}

/* The registered consumer that a command means: what the dataplane has, else what the configuration wants. */
struct consumer_found {
    char stream[HG_CONTROL_NAME_BYTES];
    char streams[HG_GRAMMAR_ERROR_BYTES / 2]; /* all that have one of that name */
    uint32_t count;
    uint64_t lsn;
};

static void consumer_found_add(struct consumer_found *found, const char *stream, uint64_t lsn)
{
    size_t used = strlen(found->streams);

    if (found->count++ == 0) {
        snprintf(found->stream, sizeof(found->stream), "%s", stream);
        found->lsn = lsn;
    }
    snprintf(found->streams + used, sizeof(found->streams) - used, "%s%s", used > 0 ? ", " : "", stream);
}

static void consumer_find(struct hg_server *server, const char *name, const char *stream,
                          struct consumer_found *found)
{
    const struct hg_control_config *wanted = &server->config->wanted;

    memset(found, 0, sizeof(*found));
    hg_link_status_read(server);
    for (uint32_t i = 0; i < server->status.consumer_count; i++) {
        const struct hg_status_consumer *consumer = &server->status.consumers[i];

        if (strcmp(consumer->name, name) == 0 && (stream == NULL || strcmp(consumer->stream, stream) == 0))
            consumer_found_add(found, consumer->stream, consumer->lsn);
    }
    for (uint32_t i = 0; i < wanted->consumer_count && found->count == 0; i++) {
        const struct hg_config_consumer *consumer = &wanted->consumers[i];

        if (strcmp(consumer->name, name) == 0 && (stream == NULL || strcmp(consumer->stream, stream) == 0))
            consumer_found_add(found, consumer->stream, 0);
    }
}

/* Names are unique in a log, not in a node: the worker that has the stream is told, and no other. 0 = nobody
 * knows who has it: all are asked. */
static uint32_t consumer_worker(const struct hg_server *server, const char *stream)
{
    for (uint32_t i = 0; i < server->status.stream_count; i++) {
        if (strcmp(server->status.streams[i].name, stream) == 0)
            return server->status.streams[i].worker + 1;
    }
    return 0;
}

static json_t *consumer_remove(struct hg_server *server, struct hg_api_connection *connection,
                               const struct hg_command *command)
{
    const struct hg_value *name = hg_command_value(command, "NAME");
    const struct hg_value *stream = hg_command_value(command, "stream");
    struct consumer_found found;
    char text[HG_GRAMMAR_ERROR_BYTES];
    json_t *refusal;

    consumer_find(server, name->text, stream != NULL ? stream->text : NULL, &found);
    if (found.count == 0)
        return hg_answer_error(HG_API_REFUSED, "there is no consumer \"%s\"%s%s; see 'show consumers'",
                               name->text, stream != NULL ? " of stream " : "",
                               stream != NULL ? stream->text : "");
    if (found.count > 1)
        return hg_answer_error(
            HG_API_REFUSED,
            "several streams have a consumer \"%s\" (%s): say which, as in 'consumer remove "
            "%s stream %s'",
            name->text, found.streams, name->text, found.stream);
    if (hg_command_value(command, "dry-run") != NULL) {
        snprintf(text, sizeof(text),
                 "would remove consumer %s of stream %s (at LSN %llu); the log would keep nothing for it",
                 name->text, found.stream, (unsigned long long)found.lsn);
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    snprintf(text, sizeof(text), "consumer %s of stream %s removed", name->text, found.stream);
    server->change.before = *server->config;
    return hg_answer_change(server, connection,
                            hg_link_command(server, HG_COMMAND_CONSUMER_REMOVE, name->text,
                                            consumer_worker(server, found.stream)),
                            false, text);
}

static json_t *stream_move(struct hg_server *server, struct hg_api_connection *connection,
                           const struct hg_command *command)
{
    const struct hg_value *name = hg_command_value(command, "NAME");
    uint64_t to = hg_command_value(command, "worker")->number;
    const struct hg_status_stream *stream = NULL;
    const char *problem = NULL;
    char text[HG_GRAMMAR_ERROR_BYTES];
    json_t *refusal;

    hg_link_status_read(server);
    for (uint32_t i = 0; i < server->status.stream_count; i++)
        if (strcmp(server->status.streams[i].name, name->text) == 0)
            stream = &server->status.streams[i];
    if (stream == NULL)
        return hg_answer_error(HG_API_REFUSED, "there is no stream \"%s\"; see 'show streams'", name->text);
    if (to >= server->status.worker_count)
        return hg_answer_error(HG_API_REFUSED,
                               "there is no worker %llu: this node has %u, numbered from 0; see 'show "
                               "placement'",
                               (unsigned long long)to, server->status.worker_count);
    if (stream->region == server->config->wanted.node.region)
        problem = hg_copies_move_refusal(server, stream->group);
    if (problem != NULL)
        return hg_answer_error(HG_API_REFUSED, "stream %s stays in its log: %s; see 'show groups'",
                               name->text, problem);
    if (hg_command_value(command, "dry-run") != NULL) {
        snprintf(text, sizeof(text),
                 "would move stream %s from worker %u to worker %llu; its appends would wait until peers and "
                 "consumers have it to %llu, 3 s at most, and its clients would attach again",
                 name->text, stream->worker, (unsigned long long)to, (unsigned long long)stream->lsn_end);
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    snprintf(text, sizeof(text), "stream %s moved from worker %u to worker %llu", name->text, stream->worker,
             (unsigned long long)to);
    return hg_answer_change(server, connection,
                            hg_link_command(server, HG_COMMAND_STREAM_MOVE, name->text, (uint32_t)to), false,
                            text);
}

/* The dataplane knows the log: what it answers is what is said, also to --dry-run. */
static json_t *log_grow(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command)
{
    uint64_t id = hg_command_value(command, "ID")->number, bytes = hg_command_value(command, "SIZE")->number;
    bool is_dry_run = hg_command_value(command, "dry-run") != NULL;
    json_t *refusal;

    hg_link_status_read(server);
    if (id >= server->status.log_count)
        return hg_answer_error(HG_API_REFUSED, "there is no log %llu; see 'show log'",
                               (unsigned long long)id);
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    json_t *answer =
        hg_answer_change(server, connection,
                         hg_link_group(server, is_dry_run ? HG_COMMAND_LOG_GROW_CHECK : HG_COMMAND_LOG_GROW,
                                       (uint32_t)id, bytes),
                         false, "");
    server->change.is_asked_only = answer == NULL && is_dry_run;
    return answer;
}

static json_t *stop(struct hg_server *server, struct hg_api_connection *connection,
                    const struct hg_command *command)
{
    json_t *refusal;

    if (hg_command_value(command, "dry-run") != NULL)
        return hg_answer_done("would ask the dataplane to end");
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    return hg_answer_change(server, connection, hg_link_command(server, HG_COMMAND_STOP, "", 0), false,
                            "dataplane asked to end");
}

json_t *hg_answer(struct hg_server *server, struct hg_api_connection *connection, const char *line)
{
    struct hg_command *command = &server->file->command;
    struct hg_grammar_error error = {0};
    char first_word[32];
    int rc = hg_grammar_parse(line, HG_CONTEXT_LIVE, command, &error, first_word);

    if (rc == 0)
        return hg_answer_error(HG_API_USAGE, "expected a command, got an empty line");
    if (rc < 0) {
        json_t *answer = hg_answer_error(HG_API_USAGE, "%s", error.text);

        json_object_set_new(answer, "column", json_integer(error.column));
        return answer;
    }
    switch (command->grammar->id) {
    case HG_CMD_SHOW:
        return show(server, command->values[0].text);
    case HG_CMD_QUORUM_SET:
        return quorum_set(server, connection, command);
    case HG_CMD_SET_PEER:
        return set_peer(server, connection, command);
    case HG_CMD_SET_LOG:
    case HG_CMD_SET_STREAM:
    case HG_CMD_SET_CONSUMER:
        return hg_answer_limit(server, connection, command);
    case HG_CMD_PEER_REMOVE:
        return peer_remove(server, connection, command);
    case HG_CMD_CONSUMER_REMOVE:
        return consumer_remove(server, connection, command);
    case HG_CMD_STREAM_MOVE:
        return stream_move(server, connection, command);
    case HG_CMD_LOG_GROW:
        return log_grow(server, connection, command);
    case HG_CMD_STREAM_ADOPT:
        return hg_answer_adopt(server, connection, command);
    case HG_CMD_GROUP_SEAL:
        return hg_answer_group_seal(server, connection, command);
    case HG_CMD_GROUP_OPEN:
        return hg_answer_group_open(server, connection, command);
    case HG_CMD_GROUP_MEMBERS_SHOW:
    case HG_CMD_GROUP_MEMBERS_ADD:
    case HG_CMD_GROUP_MEMBERS_REMOVE:
    case HG_CMD_GROUP_MEMBERS_REPLACE:
    case HG_CMD_GROUP_MEMBERS_LEARNER:
    case HG_CMD_GROUP_MEMBERS_CANCEL:
        return hg_answer_group_members(server, command);
    case HG_CMD_GROUP_FAIL_OVER:
        return hg_answer_group_fail_over(server, command);
    case HG_CMD_STOP:
        return stop(server, connection, command);
    default:
        return hg_answer_error(HG_API_USAGE, "not a command of a running system");
    }
}
