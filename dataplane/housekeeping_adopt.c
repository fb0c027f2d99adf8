/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in having a stream begin anew: every worker is asked, the one that has it does it.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdio.h>

void hg_housekeeping_adopt_begin(struct hg_housekeeping *hk, const struct hg_control_message *message)
{
    struct hg_letter letter;
    if (!hk->started || !hk->placed || !hg_housekeeping_room(hk)) {
        hg_housekeeping_command_end(hk, -EAGAIN, "the logs are not read back yet: try again");
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STREAM_ADOPT;
    memcpy(letter.body.name, message->name, sizeof(letter.body.name));
    letter.body.name[sizeof(letter.body.name) - 1] = '\0';
    hk->command_workers = hk->node->worker_count;
    hk->command_answer = letter;
    hk->command_answer.code = -ENOENT;
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        hg_assert(hg_housekeeping_put(hk, i, &letter));
}

void hg_housekeeping_adopt_letter(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    char text[HG_CONTROL_TEXT_BYTES];
    hg_assert(hk->command_workers > 0);
    if (hk->command_answer.code == -ENOENT && letter->code != -ENOENT)
        hk->command_answer = *letter;
    if (--hk->command_workers > 0)
        return;
    if (hk->command_answer.code == -ENOENT)
        snprintf(text, sizeof(text), "there is no stream %.*s in any log", HG_NAME_BYTES,
                 hk->command_answer.body.name);
    else
        snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, hk->command_answer.body.text);
    hg_housekeeping_command_end(hk, hk->command_answer.code, text);
}
