/* SPDX-License-Identifier: Apache-2.0
 *
 * `set log`, `set stream`, `set consumer`: what is kept, and how much may be held. `stream adopt`: the way on
 * behind what is kept.
 */
#include "controlplane/grammar_value.h"
#include "controlplane/server.h"

static void limit_text(uint64_t bytes, uint64_t seconds, char *text, size_t text_bytes)
{
    char size[32];

    hg_grammar_number_format(bytes, 1024, size, sizeof(size));
    snprintf(text, text_bytes, "%s%s%s%.0llu%s", bytes == 0 && seconds == 0 ? "none" : "",
             bytes == 0 ? "" : size, bytes != 0 && seconds != 0 ? " and " : "", (unsigned long long)seconds,
             seconds == 0 ? "" : " s");
}

json_t *hg_answer_limit(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command)
{
    struct hg_command_limit limit;
    char error[HG_GRAMMAR_ERROR_BYTES], before[80], after[80], what[HG_GRAMMAR_ERROR_BYTES];
    json_t *refusal;

    if (!hg_command_limit_find(&server->config->wanted, command, &limit, error, sizeof(error)))
        return hg_answer_error(HG_API_REFUSED, "%s", error);
    uint64_t bytes = *limit.bytes, seconds = *limit.seconds;
    limit_text(bytes, seconds, before, sizeof(before));
    if (!hg_command_limit_change(command, limit.keyword, &bytes, &seconds))
        return hg_answer_error(HG_API_USAGE, "expected %s-bytes or %s-seconds", limit.keyword, limit.keyword);
    limit_text(bytes, seconds, after, sizeof(after));
    snprintf(what, sizeof(what), "%s of %s %.31s: %s -> %s", limit.keyword, command->grammar->path[1].word,
             command->values[0].text, before, after);
    refusal = hg_answer_not_set(server, command, what);
    if (refusal != NULL)
        return refusal;
    server->change.before = *server->config;
    *limit.bytes = bytes;
    *limit.seconds = seconds;
    return hg_answer_change(server, connection, hg_link_apply(server), true, what);
}

static const struct hg_status_stream *stream_find(const struct hg_control_status *status, const char *name)
{
    for (uint32_t i = 0; i < status->stream_count; i++) {
        if (strcmp(status->streams[i].name, name) == 0)
            return &status->streams[i];
    }
    return NULL;
}

json_t *hg_answer_adopt(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command)
{
    const struct hg_value *name = hg_command_value(command, "NAME"),
                          *peer = hg_command_value(command, "peer");
    char text[HG_GRAMMAR_ERROR_BYTES];
    json_t *refusal;

    hg_link_status_read(server);
    const struct hg_control_status *status = &server->status;
    const struct hg_status_stream *stream = stream_find(status, name->text);
    if (stream == NULL)
        return hg_answer_error(HG_API_REFUSED, "there is no stream \"%s\"; see 'show streams'", name->text);
    if (stream->lsn_horizon == 0 || stream->horizon_peer >= status->peer_count)
        return hg_answer_error(
            HG_API_REFUSED,
            "stream %s lacks nothing that its origin does not have, as far as the origin said", name->text);
    const char *who = status->peers[stream->horizon_peer].name;
    if (peer != NULL && strcmp(peer->text, who) != 0)
        return hg_answer_error(HG_API_REFUSED, "it is peer %s, not %s, whose log stream %s can go on from",
                               who, peer->text, name->text);
    if (hg_command_value(command, "dry-run") != NULL) {
        snprintf(
            text, sizeof(text),
            "would have stream %s, which ends here at %llu, begin anew at %llu, where the log of peer %s "
            "begins; readers from before would be told of the gap",
            name->text, (unsigned long long)stream->lsn_durable, (unsigned long long)stream->lsn_horizon,
            who);
        return hg_answer_done(text);
    }
    refusal = hg_answer_not_now(server);
    if (refusal != NULL)
        return refusal;
    snprintf(text, sizeof(text), "stream %s begins anew at %llu", name->text,
             (unsigned long long)stream->lsn_horizon);
    return hg_answer_change(server, connection,
                            hg_link_command(server, HG_COMMAND_STREAM_ADOPT, name->text, 0), false, text);
}
