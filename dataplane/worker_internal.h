/* SPDX-License-Identifier: Apache-2.0
 *
 * What the worker's files share with each other and with nobody else.
 */
#ifndef HG_WORKER_INTERNAL_H
#define HG_WORKER_INTERNAL_H

#include "dataplane/worker.h"

bool hg_worker_producers_wait(const struct hg_worker *worker);

/* Handles letters from housekeeping. Returns true when there were any. */
bool hg_worker_letters(struct hg_worker *worker);
/* worker_letters.c: an answer to housekeeping; `later`: once the log has write `sequence` on its device. */
void hg_worker_answer(struct hg_worker *worker, const struct hg_letter *letter);
void hg_worker_answer_later(struct hg_worker *worker, const struct hg_letter *letter, uint64_t sequence);

/* Each turn: gives housekeeping its memory back once the log has its new size. Returns true when it did. */
bool hg_worker_growth_turn(struct hg_worker *worker);

/* worker_move.c: letters about a stream that moves. */
void hg_worker_stream_leave(struct hg_worker *worker, const struct hg_letter *letter);
void hg_worker_stream_enter(struct hg_worker *worker, const struct hg_letter *letter);
void hg_worker_stream_stay(struct hg_worker *worker, const struct hg_letter *letter);
void hg_worker_stream_end(struct hg_worker *worker, const struct hg_letter *letter);
/* Each turn: looks whether the stream that leaves is free to go, or must stay. Returns true when it answered.
 */
bool hg_worker_stream_leaving(struct hg_worker *worker);

/* worker_adopt.c: the letter to have a stream begin anew, and, each turn, whether that is done. Returns true
 * when it answered. */
void hg_worker_stream_adopt(struct hg_worker *worker, const struct hg_letter *letter);
bool hg_worker_stream_adopting(struct hg_worker *worker);

/* worker_group.c: letters about a group. Orders are answered when the device has what they say; what is asked
 * for a fail-over is not. */
void hg_worker_group_letter(struct hg_worker *worker, const struct hg_letter *letter);
/* Each turn: whether an order can be answered. Returns true when it was. */
bool hg_worker_group_turn(struct hg_worker *worker);
/* Each turn: answers who asked, and passes on what was answered. Returns true when there was any. */
bool hg_worker_group_tails(struct hg_worker *worker);
/* The groups of its log, on the status page. */
void hg_worker_group_status(struct hg_worker *worker, struct hg_control_status *status);

#endif
