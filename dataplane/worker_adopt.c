/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's part in having a stream begin anew at the horizon of its origin's log: one order at a time,
 * answered when the device has it.
 */
#include "dataplane/stream/horizon.h"
#include "dataplane/worker_internal.h"

#include <errno.h>
#include <stdio.h>

static void answer(struct hg_worker *worker, int32_t code, const char *text)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_STREAM_ADOPTED;
    letter.code = code;
    snprintf(letter.body.text, sizeof(letter.body.text), "%s", text);
    hg_worker_answer(worker, &letter);
}

static const char *why_not(int rc)
{
    switch (rc) {
    case -EPERM:
        return "it originates here, or is not configured: only what another node sends can begin anew";
    case -ENODATA:
        return "it lacks nothing that its origin does not have, as far as the origin said: see 'show "
               "streams'";
    case -EALREADY:
        return "its origin sends it at this moment: see 'show streams', and try again where that ends in a "
               "gap";
    case -EBUSY:
        return "it is on its way to another worker, or to the disk: try again";
    default:
        return "the log takes no records now: see 'show log', and try again";
    }
}

/* What it was told may be old: where its origin sends it nevertheless, it would skip what is on its way. */
static int anew_begin(struct hg_worker *worker, uint32_t slot, uint64_t *sequence)
{
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    if (s->horizon.lsn > s->lsn_sealed && hg_peers_is_taking(worker->peers, slot))
        return -EALREADY;
    return hg_streams_anew_begin(worker->streams, slot, sequence);
}

void hg_worker_stream_adopt(struct hg_worker *worker, const struct hg_letter *letter)
{
    char text[HG_CONTROL_TEXT_BYTES];
    int32_t slot = hg_streams_find_name(worker->streams, letter->body.name);
    hg_assert(worker->adopt_sequence == 0); /* housekeeping waits for an answer */
    if (slot < 0 || hg_streams_at(worker->streams, (uint32_t)slot)->ended) {
        answer(worker, -ENOENT, "");
        return;
    }
    uint64_t sequence;
    int rc = anew_begin(worker, (uint32_t)slot, &sequence);
    if (rc != 0) {
        snprintf(text, sizeof(text), "stream %.31s: %s", letter->body.name, why_not(rc));
        answer(worker, rc, text);
        return;
    }
    hg_peers_stream_leave(worker->peers, (uint32_t)slot);
    worker->adopt_slot = (uint32_t)slot;
    worker->adopt_sequence = sequence;
}

bool hg_worker_stream_adopting(struct hg_worker *worker)
{
    char text[HG_CONTROL_TEXT_BYTES];
    if (worker->adopt_sequence == 0 || worker->unsent_used)
        return false;
#ifndef HG_SEEDED_BUG_ADOPT_BEFORE_FLUSH
    if (worker->adopt_sequence > hg_log_durable_sequence(worker->log))
        return false;
#endif
    hg_peers_stream_anew(worker->peers, worker->adopt_slot);
    worker->adopt_sequence = 0;
    const struct hg_stream_state *s = hg_streams_at(worker->streams, worker->adopt_slot);
    snprintf(text, sizeof(text), "stream %.31s begins anew at %llu; its origin is asked for what follows",
             s->name, (unsigned long long)s->lsn_durable);
    answer(worker, 0, text);
    return true;
}
