/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/move.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static int32_t __attribute__((format(printf, 3, 4)))
stays(struct hg_move *move, int32_t code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(move->text, sizeof(move->text), format, list);
    va_end(list);
    move->code = code;
    return code;
}

static void letter_due(struct hg_move *move, enum hg_move_phase phase, enum hg_letter_type type,
                       uint32_t worker)
{
    move->phase = phase;
    memset(&move->letter, 0, sizeof(move->letter));
    move->letter.type = type;
    move->letter.number = move->stream;
    move->letter.number2 = move->to;
    move->letter.pointer = &move->transfer;
    move->letter_worker = worker;
    move->letter_due = true;
}

static struct hg_config_stream *configured(struct hg_control_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->stream_count; i++)
        if (strncmp(config->streams[i].name, name, sizeof(config->streams[i].name)) == 0)
            return &config->streams[i];
    return NULL;
}

int hg_move_begin(struct hg_move *move, const struct hg_placement *placement,
                  const struct hg_control_config *config, const char *name, uint32_t to)
{
    const struct hg_config_stream *stream = configured((struct hg_control_config *)(uintptr_t)config, name);
    hg_assert(move->phase == HG_MOVE_IDLE && !move->letter_due);
    if (stream == NULL)
        return stays(move, -ENOENT, "no stream %.32s is configured: see helioctl show streams", name);
    if (to >= placement->workers)
        return stays(move, -EINVAL, "there is no worker %u: this node has %u, numbered from 0, one a log", to,
                     placement->workers);
    if (stream->place == to + 1)
        return stays(move, -EALREADY, "stream %.32s is worker %u's already", name, to);
    if (placement->held[to]->count == HG_PLACES_MAX)
        return stays(move, -ENOSPC, "the log of worker %u takes no more streams", to);
    memset(move, 0, sizeof(*move));
    move->stream = stream->stream;
    move->from = stream->place - 1;
    move->to = to;
    memcpy(move->name, stream->name, sizeof(move->name));
    letter_due(move, HG_MOVE_LEAVING, HG_LETTER_STREAM_LEAVE, move->from);
    return 0;
}

static void entered(struct hg_move *move, int32_t code)
{
    if (code == 0) {
        letter_due(move, HG_MOVE_ENDING, HG_LETTER_STREAM_END, move->from);
        return;
    }
    letter_due(move, HG_MOVE_STAYING, HG_LETTER_STREAM_STAY, move->from);
    const char *why = code == -ENOSPC   ? "takes no more streams or consumers"
                      : code == -EEXIST ? "has a consumer of the same name, or is still tidying up: try again"
                                        : "takes nothing now, it is full: see helioctl show log";
    (void)stays(move, code, "stream %.32s stays with worker %u: the log of worker %u %s", move->name,
                move->from, move->to, why);
}

void hg_move_answer(struct hg_move *move, const struct hg_letter *letter)
{
    hg_assert(!move->letter_due);
    if (letter->type == HG_LETTER_STREAM_ENTERED) {
        hg_assert(move->phase == HG_MOVE_ENTERING);
        entered(move, letter->code);
        return;
    }
    hg_assert(letter->type == HG_LETTER_STREAM_LEFT && move->phase == HG_MOVE_LEAVING);
    if (letter->code == 0) {
        letter_due(move, HG_MOVE_ENTERING, HG_LETTER_STREAM_ENTER, move->to);
        return;
    }
    move->phase = HG_MOVE_IDLE;
    (void)stays(move, letter->code, "stream %.32s stays with worker %u: %.*s", move->name, move->from,
                (int)sizeof(letter->body.text) - 64, letter->body.text);
}

bool hg_move_put(struct hg_move *move, struct hg_placement *placement, struct hg_control_config *config)
{
    hg_assert(move->letter_due);
    move->letter_due = false;
    if (move->phase != HG_MOVE_ENDING && move->phase != HG_MOVE_STAYING)
        return false;
    if (move->phase == HG_MOVE_ENDING) {
        struct hg_config_stream *stream = configured(config, move->name);
        hg_placement_move(placement, move->to, move->name, move->stream, move->transfer.records[0].move);
        hg_assert(stream != NULL);
        stream->place = move->to + 1;
    }
    move->phase = HG_MOVE_IDLE;
    return true;
}
