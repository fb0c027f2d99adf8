/* SPDX-License-Identifier: Apache-2.0
 *
 * What the command file says of retention: what a log or a stream keeps, how much a peer or a consumer may
 * hold.
 */
#include "controlplane/command_file.h"
#include "controlplane/grammar_value.h"

static const struct hg_value *value_of(const struct hg_command *command, const char *keyword,
                                       const char *unit)
{
    char name[32];

    snprintf(name, sizeof(name), "%s-%s", keyword, unit);
    return hg_command_value(command, name);
}

bool hg_command_limit_change(const struct hg_command *command, const char *keyword, uint64_t *bytes,
                             uint64_t *seconds)
{
    const struct hg_value *by_bytes = value_of(command, keyword, "bytes"),
                          *by_time = value_of(command, keyword, "seconds");

    if (by_bytes != NULL)
        *bytes = by_bytes->number;
    if (by_time != NULL)
        *seconds = by_time->number;
    return by_bytes != NULL || by_time != NULL;
}

void hg_command_limit_print(FILE *out, const char *keyword, uint64_t bytes, uint64_t seconds)
{
    char text[32];

    hg_grammar_number_format(bytes, 1024, text, sizeof(text));
    if (bytes != 0)
        fprintf(out, " %s-bytes %s", keyword, text);
    if (seconds != 0)
        fprintf(out, " %s-seconds %llu", keyword, (unsigned long long)seconds);
}

static struct hg_config_log *log_find(struct hg_control_config *config, uint64_t id)
{
    for (uint32_t i = 0; i < config->log_count; i++) {
        if (config->logs[i].id == id)
            return &config->logs[i];
    }
    return NULL;
}

static struct hg_config_consumer *consumer_find(struct hg_control_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->consumer_count; i++) {
        if (strcmp(config->consumers[i].name, name) == 0)
            return &config->consumers[i];
    }
    return NULL;
}

bool hg_command_limit_find(struct hg_control_config *config, const struct hg_command *command,
                           struct hg_command_limit *limit, char *error, size_t error_bytes)
{
    const struct hg_value *subject = &command->values[0];
    struct hg_config_log *log;
    struct hg_config_consumer *consumer;
    int stream;

    *limit = (struct hg_command_limit){.keyword = "retain"};
    switch (command->grammar->id) {
    case HG_CMD_SET_LOG:
        log = log_find(config, subject->number);
        limit->bytes = log == NULL ? NULL : &log->retain_bytes;
        limit->seconds = log == NULL ? NULL : &log->retain_seconds;
        break;
    case HG_CMD_SET_STREAM:
        stream = hg_config_stream_find(config, subject->text);
        limit->bytes = stream < 0 ? NULL : &config->streams[stream].retain_bytes;
        limit->seconds = stream < 0 ? NULL : &config->streams[stream].retain_seconds;
        break;
    default:
        hg_assert(command->grammar->id == HG_CMD_SET_CONSUMER);
        limit->keyword = "drop-behind";
        consumer = consumer_find(config, subject->text);
        limit->bytes = consumer == NULL ? NULL : &consumer->drop_behind_bytes;
        limit->seconds = consumer == NULL ? NULL : &consumer->drop_behind_seconds;
    }
    if (limit->bytes != NULL)
        return true;
    snprintf(error, error_bytes, "the command file has no %s \"%.64s\"; see 'show config'",
             command->grammar->path[1].word, subject->text);
    return false;
}
