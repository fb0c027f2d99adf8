/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's part in moving a stream (dataplane/move.h).
 */
#include "dataplane/move.h"
#include "dataplane/worker_internal.h"

#include <errno.h>
#include <stdio.h>

static void left(struct hg_worker *worker, int32_t code, const char *text)
{
    struct hg_letter answer;
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_STREAM_LEFT;
    answer.code = code;
    snprintf(answer.body.text, sizeof(answer.body.text), "%s", text);
    worker->leaving.transfer = NULL;
    hg_worker_answer(worker, &answer);
}

static const char *why_not(int rc)
{
    switch (rc) {
    case -EPERM:
        return "its group was sealed here, and another log did not promise what this one did";
    case -EACCES:
        return "the metastore names the logs that count for its group, and this one is among them";
    case -ENODATA:
        return "which logs count for its group is not known now: see helioctl show groups, and try again";
    case -EXDEV:
        return "it is a copy of what its own region has a quorum for: that stays in its log";
    default:
        return "the stream that moved before it is not off its log yet: try again";
    }
}

void hg_worker_stream_leave(struct hg_worker *worker, const struct hg_letter *letter)
{
    int32_t slot = hg_streams_find(worker->streams, letter->number);
    hg_assert(worker->leaving.transfer == NULL);
    if (slot < 0 || !hg_streams_at(worker->streams, (uint32_t)slot)->configured) {
        left(worker, -ENOENT, "its log does not have it: apply the configuration first");
        return;
    }
    int rc = hg_streams_move_begin(worker->streams, (uint32_t)slot);
    if (rc != 0) {
        left(worker, rc == -EBUSY ? -EAGAIN : rc, why_not(rc));
        return;
    }
    hg_peers_stream_leave(worker->peers, (uint32_t)slot);
    worker->leaving.transfer = letter->pointer;
    worker->leaving.slot = (uint32_t)slot;
    worker->leaving.deadline_ns = worker->now_ns + HG_MOVE_LEAVE_NS_MAX;
}

/* Why the stream stays, in words. */
static void stays(struct hg_worker *worker, enum hg_move_wait wait, uint32_t who, const char *reader)
{
    char text[HG_CONTROL_TEXT_BYTES];
    switch (wait) {
    case HG_MOVE_WAITS_FOR_DISK:
        snprintf(text, sizeof(text), "its log does not get it onto the device: see helioctl show log");
        break;
    case HG_MOVE_WAITS_FOR_PEER:
        snprintf(text, sizeof(text), "peer %.31s lacks some of it: see helioctl show lag, and try again",
                 hg_peers_at(worker->peers, who)->name);
        break;
    case HG_MOVE_WAITS_FOR_CONSUMER:
        snprintf(text, sizeof(text), "consumer %.31s is not at its end: let it read on, or remove it",
                 hg_streams_consumer_at(worker->streams, who)->name);
        break;
    case HG_MOVE_WAITS_FOR_NOBODY:
        snprintf(text, sizeof(text), "client %.31s has not read it all: let it read on, or stop it", reader);
    }
    hg_streams_move_cancel(worker->streams, worker->leaving.slot);
    left(worker, -ETIMEDOUT, text);
}

bool hg_worker_stream_leaving(struct hg_worker *worker)
{
    uint32_t who = 0, slot = worker->leaving.slot;
    if (worker->leaving.transfer == NULL || worker->unsent_used)
        return false;
    enum hg_move_wait wait = hg_streams_move_waits(worker->streams, slot, &who);
    const char *reader = wait == HG_MOVE_WAITS_FOR_NOBODY ? hg_clients_unread(worker->clients, slot) : NULL;
    if (wait == HG_MOVE_WAITS_FOR_NOBODY && reader == NULL) {
        hg_streams_move_out(worker->streams, slot, worker->leaving.transfer);
        left(worker, 0, "");
        return true;
    }
    if (worker->now_ns < worker->leaving.deadline_ns)
        return false;
    stays(worker, wait, who, reader);
    return true;
}

void hg_worker_stream_enter(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer;
    uint64_t sequence = 0;
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_STREAM_ENTERED;
    answer.code = hg_streams_move_in(worker->streams, letter->pointer, &sequence);
    hg_worker_answer_later(worker, &answer, sequence);
}

void hg_worker_stream_stay(struct hg_worker *worker, const struct hg_letter *letter)
{
    int32_t slot = hg_streams_find(worker->streams, letter->number);
    hg_assert(slot >= 0);
    hg_streams_move_cancel(worker->streams, (uint32_t)slot);
}

void hg_worker_stream_end(struct hg_worker *worker, const struct hg_letter *letter)
{
    int32_t slot = hg_streams_find(worker->streams, letter->number);
    hg_assert(slot >= 0);
    char name[HG_NAME_BYTES];
    memcpy(name, hg_streams_at(worker->streams, (uint32_t)slot)->name, sizeof(name));
    hg_clients_dismiss(worker->clients, (uint32_t)slot);
    hg_peers_stream_gone(worker->peers, (uint32_t)slot);
    hg_streams_move_end(worker->streams, letter->number);
    /* Until the configuration says so: who asks for it here is sent on. */
    if (worker->elsewhere_count < HG_CONTROL_STREAMS_MAX) {
        worker->elsewhere[worker->elsewhere_count].stream = letter->number;
        worker->elsewhere[worker->elsewhere_count++].worker = (uint32_t)letter->number2;
    }
    hg_event_put(&worker->events, HG_EVENT_stream_moved, name, letter->number2, 0);
}
