/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in sealing and opening a group: its streams may be in several logs, so every worker
 * gets the order. What the logs promised is on the status page; the answer waits for a page that was made
 * after.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdio.h>

static uint32_t letter_of(uint32_t command)
{
    switch (command) {
    case HG_COMMAND_GROUP_SEAL:
        return HG_LETTER_GROUP_SEAL;
    case HG_COMMAND_GROUP_OPEN:
        return HG_LETTER_GROUP_OPEN;
    case HG_COMMAND_GROUP_BEGIN:
        return HG_LETTER_GROUP_BEGIN;
    case HG_COMMAND_GROUP_RELEASE:
        return HG_LETTER_GROUP_RELEASE;
    case HG_COMMAND_GROUP_ASK:
        return HG_LETTER_GROUP_ASK;
    default:
        return HG_LETTER_GROUP_FILL;
    }
}

void hg_housekeeping_group_begin(struct hg_housekeeping *hk, const struct hg_control_message *message)
{
    struct hg_letter letter;
    if (!hk->started || !hk->placed || !hg_housekeeping_room(hk)) {
        hg_housekeeping_command_end(hk, -EAGAIN, "the logs are not read back yet: try again");
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = letter_of(message->command);
    letter.number = message->number;
    letter.number2 = message->epoch;
    letter.body.target = message->target;
    if (letter.body.target.node == hk->identity.node)
        letter.body.target.node = 0;
    if (letter.type == HG_LETTER_GROUP_ASK || letter.type == HG_LETTER_GROUP_FILL) {
        for (uint32_t i = 0; i < hk->node->worker_count; i++)
            hg_assert(hg_housekeeping_put(hk, i, &letter));
        hg_housekeeping_command_end(hk, 0, "");
        return;
    }
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

void hg_housekeeping_group_tail(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    struct hg_control_message message;
    memset(&message, 0, sizeof(message));
    message.type = HG_CONTROL_TAIL;
    message.tail = letter->body.tail;
    if (message.tail.node == 0)
        message.tail.node = hk->identity.node;
    if (!hk->ring_made || hg_control_ring_send(&hk->ring, hg_control_ring_request(&hk->ring), &message) != 0)
        hk->tails_unsent++; /* asked for again */
    else
        hg_control_ring_doorbell(&hk->ring);
}
