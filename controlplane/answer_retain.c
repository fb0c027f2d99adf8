/* SPDX-License-Identifier: Apache-2.0
 *
 * `set log`, `set stream`, `set consumer`: what is kept, and how much may be held.
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
