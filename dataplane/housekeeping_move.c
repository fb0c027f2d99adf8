/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in moving a stream between workers: the letters of dataplane/move.h, and the
 * configuration that says the new place to all.
 */
#include "dataplane/housekeeping.h"

#include <errno.h>
#include <stdio.h>

int hg_housekeeping_move_begin(struct hg_housekeeping *hk, const struct hg_control_message *message,
                               char text[HG_CONTROL_TEXT_BYTES])
{
    if (!hk->started || !hk->placed) {
        snprintf(text, HG_CONTROL_TEXT_BYTES, "the logs are not read back yet: try again");
        return -EAGAIN;
    }
    int rc = hg_move_begin(&hk->move, &hk->placement, hk->applied, message->name, message->number);
    memcpy(text, hk->move.text, sizeof(hk->move.text));
    return rc;
}

void hg_housekeeping_move_letter(struct hg_housekeeping *hk, const struct hg_letter *letter)
{
    hg_move_answer(&hk->move, letter);
    if (hk->move.phase == HG_MOVE_IDLE)
        hg_housekeeping_command_end(hk, hk->move.code, hk->move.text);
}

static void last_word(struct hg_housekeeping *hk)
{
    if (hk->move.code != 0) {
        hg_housekeeping_command_end(hk, hk->move.code, hk->move.text);
        return;
    }
    hk->move_spreads = true;
    hg_housekeeping_config_give(hk);
}

void hg_housekeeping_move_tick(struct hg_housekeeping *hk)
{
    if (hk->move.letter_due && hg_housekeeping_room(hk)) {
        hg_assert(hg_housekeeping_put(hk, hk->move.letter_worker, &hk->move.letter));
        hk->move_ends = hg_move_put(&hk->move, &hk->placement, hk->applied);
    }
    if (hk->move_ends && hg_housekeeping_room(hk)) {
        hk->move_ends = false;
        last_word(hk);
    }
}

void hg_housekeeping_move_spread(struct hg_housekeeping *hk)
{
    char text[HG_CONTROL_TEXT_BYTES];
    hk->move_spreads = false;
    snprintf(text, sizeof(text), "stream %.32s moved from worker %u to worker %u", hk->move.name,
             hk->move.from, hk->move.to);
    hg_housekeeping_command_end(hk, 0, text);
}
