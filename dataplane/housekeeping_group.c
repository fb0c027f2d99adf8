/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in sealing and opening a group: its streams may be in several logs, so every worker
 * gets the order. What the logs promised is on the status page; the answer waits for a page that was made
 * after.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdio.h>

void hg_housekeeping_group_begin(struct hg_housekeeping *hk, const struct hg_control_message *message)
{
    struct hg_letter letter;
    if (!hk->started || !hk->placed || !hg_housekeeping_room(hk)) {
        hg_housekeeping_command_end(hk, -EAGAIN, "the logs are not read back yet: try again");
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = message->command == HG_COMMAND_GROUP_SEAL ? HG_LETTER_GROUP_SEAL : HG_LETTER_GROUP_OPEN;
    letter.number = message->number;
    letter.number2 = message->epoch;
    hk->command_workers = hk->node->worker_count;
    memset(&hk->command_answer, 0, sizeof(hk->command_answer));
    for (uint32_t i = 0; i < hk->node->worker_count; i++)
        hg_assert(hg_housekeeping_put(hk, i, &letter));
}

void hg_housekeeping_group_letter(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    hg_assert(hk->command_workers > 0);
    if (hk->command_answer.code == 0) /* the first that refuses is the one to tell */
        hk->command_answer = *letter;
    if (--hk->command_workers > 0)
        return;
    hk->command_pages = hk->status_lent ? 2 : 1; /* a page under way may be from before */
    hk->status_ns = 0;
}

void hg_housekeeping_group_published(struct hg_housekeeping *hk)
{
    if (--hk->command_pages > 0) {
        hk->status_ns = 0;
        return;
    }
    char text[HG_CONTROL_TEXT_BYTES];
    snprintf(text, sizeof(text), "%.*s", (int)sizeof(text) - 1, hk->command_answer.body.text);
    hg_housekeeping_command_end(hk, hk->command_answer.code, text);
}
