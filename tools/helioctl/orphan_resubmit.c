/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of an orphan, appended as new ones: each exactly once, whatever dies in the middle. Before the
 * first is appended a note beside the orphan says to which stream and from which position on. An entry that
 * had no client of its own gets the orphan as its client and its old position as the sequence; so whoever
 * goes on reads the stream from the note's position and knows what is there already.
 *
 * What was cut off may have come back by itself: a copy was cut for an epoch that was never released, and the
 * next fail-over went on from another copy that had the same tail. Then it lies where it was, stamp for
 * stamp, so the stream is read there first.
 */
#include "drivers/client/heliograph.h"
#include "tools/helioctl/orphan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WAIT_SECONDS 20u
#define WINDOW       256u /* entries appended between two waits */

struct resubmit {
    struct orphan_file *file;
    struct orphan_answer *answer;
    const char *name; /* of the stream */
    struct hg_client *client;
    struct hg_stream *stream;
    uint64_t client_id;
    uint64_t entries; /* in the file */
    uint8_t *there;   /* for each of them: 1 = an earlier try appended it */
    uint64_t lsn_from;
    uint64_t found;    /* entries that were there already */
    uint64_t returned; /* of them: where they were cut off */
    uint64_t appended;
    uint64_t lsn_end;   /* of the last of them in the stream */
    uint64_t left_out;  /* entries of clients that went on with later ones, or are forgotten: may be there */
    uint64_t forgotten; /* of them: of clients that the log has forgotten, so nobody can tell */
    uint64_t forgotten_own; /* of those: had no client of their own */
    bool is_returned_noted; /* an earlier try found `returned` of them where they were */
    bool is_place_gone;     /* the stream no longer has where an earlier try began */
    uint8_t *raw;
    /* Where we are in the file. */
    struct hg_orphan_walk walk;
    uint64_t offset;
    struct hg_frame frame; /* the entry given last, as it lies in the file */
    const uint8_t *frames;
    uint32_t frames_bytes, frames_offset;
    uint64_t hlc_base;
};

struct entry_key {
    uint64_t client, sequence;
    uint64_t at; /* which of the file's entries it is */
};

static uint64_t in_seconds(uint64_t seconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec + seconds) * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Says who an entry of this orphan is from: of 2^64, and never 0. */
static uint64_t client_of(const struct hg_orphan_header *header)
{
    return hg_orphan_chain_head(header) | 1;
}

static void walk_begin(struct resubmit *r)
{
    hg_orphan_walk_init(&r->walk, &r->file->header);
    r->offset = sizeof(r->file->header);
    r->frames = NULL;
    r->frames_bytes = r->frames_offset = 0;
    r->file->reason = HG_ORPHAN_OK;
}

/* The next entry of the file, as it is to be appended. 1, 0 at the end, -1: the file is damaged. */
static int entry_next(struct resubmit *r, struct hg_entry *entry)
{
    struct hg_frame *frame = &r->frame;
    for (;;) {
        if (r->frames_offset == r->frames_bytes) {
            const struct hg_batch_header *batch = orphan_batch_next(r->file, &r->walk, &r->offset);
            if (batch == NULL)
                return r->file->reason == HG_ORPHAN_OK ? 0 : -1;
            r->frames_offset = 0;
            r->hlc_base = batch->hlc_base;
            if (hg_batch_open(batch, r->raw, (uint32_t)HG_FRAME_BYTES_MAX, &r->frames, &r->frames_bytes) !=
                HG_BATCH_REASON_OK)
                return -1;
            continue;
        }
        if (hg_frame_next(r->frames, r->frames_bytes, r->hlc_base, &r->frames_offset, frame) != 1)
            return -1;
        if (frame->op <= HG_OP_OPAQUE) /* the others are the dataplanes' own */
            break;
    }
    bool own = frame->client_id != 0;
    *entry = (struct hg_entry){.span = 1,
                               .op = frame->op,
                               .continues = (frame->flags & HG_FRAME_CONTINUES) != 0,
                               .key_bytes = frame->key_bytes,
                               .data_bytes = frame->data_bytes,
                               .table_id = frame->table_id,
                               .transaction_id = frame->transaction_id,
                               .client_id = own ? frame->client_id : r->client_id,
                               .client_sequence = own ? frame->client_sequence : frame->lsn,
                               .key = frame->key,
                               .data = frame->data};
    return 1;
}

static int damaged(struct resubmit *r)
{
    return orphan_refuse(r->answer, "%s: %s", r->file->name,
                         r->file->reason != HG_ORPHAN_OK ? hg_orphan_reason_text(r->file->reason)
                                                         : "an entry in it can't be read");
}

static int client_refuse(struct resubmit *r, const char *what, int rc)
{
    return orphan_refuse(r->answer, "stream %s: %s: %s: %s", r->name, what, hg_error_name(rc),
                         hg_client_error(r->client));
}

/* Counts the entries in the file; ORPHAN_EXIT_DONE when all of them can be appended. */
static int entries_count(struct resubmit *r)
{
    struct hg_entry entry;
    int rc;
    walk_begin(r);
    while ((rc = entry_next(r, &entry)) == 1)
        r->entries++;
    return rc == 0 ? ORPHAN_EXIT_DONE : damaged(r);
}

/* ---- the note ---- */

static int note_write(struct resubmit *r, bool done)
{
    json_t *note = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "stream", r->name, "lsn_from",
                             (json_int_t)r->lsn_from, "client", (json_int_t)r->client_id, "returned",
                             (json_int_t)r->returned, "entries", (json_int_t)(r->found + r->appended),
                             "left_out", (json_int_t)r->left_out, "done", (int)done);
    int rc = orphan_note_write(r->file, HG_ORPHAN_RESUBMIT, note);
    json_decref(note);
    return rc == 0 ? ORPHAN_EXIT_DONE
                   : orphan_refuse(r->answer, "%s%s: %s", r->file->name, HG_ORPHAN_RESUBMIT, strerror(-rc));
}

/* Whether it was begun before: then it goes on there, and nowhere else. */
static int note_look(struct resubmit *r, bool *begun)
{
    json_t *note;
    int rc = orphan_note_read(r->file, HG_ORPHAN_RESUBMIT, &note);
    if (rc != 0)
        return orphan_refuse(r->answer,
                             "%s" HG_ORPHAN_RESUBMIT
                             " can't be read (%s), and says what was resubmitted already: "
                             "each entry is to be there once",
                             r->file->name, rc == -EBADMSG ? "it is damaged" : strerror(-rc));
    const char *stream = json_string_value(json_object_get(note, "stream"));
    int code = ORPHAN_EXIT_DONE;
    *begun = note != NULL;
    r->lsn_from = (uint64_t)json_integer_value(json_object_get(note, "lsn_from"));
    r->is_returned_noted = json_is_integer(json_object_get(note, "returned"));
    r->returned = (uint64_t)json_integer_value(json_object_get(note, "returned"));
    if (note != NULL && json_is_true(json_object_get(note, "done")))
        code = orphan_refuse(r->answer,
                             "%s was resubmitted to stream %s already: each entry is to be there once",
                             r->file->name, stream != NULL ? stream : "?");
    else if (note != NULL && (stream == NULL || strcmp(stream, r->name) != 0))
        code = orphan_refuse(r->answer, "%s is partly resubmitted to stream %s: go on there", r->file->name,
                             stream != NULL ? stream : "?");
    json_decref(note);
    return code;
}

/* ---- the stream ---- */

static int attach(struct resubmit *r, bool append, bool subscribe, uint64_t lsn_from)
{
    struct hg_stream_options options = {.append = append, .subscribe = subscribe, .lsn_from = lsn_from};
    int rc = hg_stream_attach(r->client, r->name, &options, &r->stream, in_seconds(WAIT_SECONDS));
    return rc == 0 ? ORPHAN_EXIT_DONE : client_refuse(r, "can't be attached", rc);
}

/* The hybrid clock's stamp is of one append: nobody appends the same at the same place again. */
static bool is_same(const struct hg_frame *mine, const struct hg_entry *there)
{
    return mine->lsn == there->lsn && mine->span == there->span && mine->hlc == there->hlc &&
           mine->op == there->op && mine->table_id == there->table_id &&
           mine->transaction_id == there->transaction_id && mine->client_id == there->client_id &&
           mine->client_sequence == there->client_sequence && mine->key_bytes == there->key_bytes &&
           mine->data_bytes == there->data_bytes &&
           (mine->key_bytes == 0 || memcmp(mine->key, there->key, mine->key_bytes) == 0) &&
           (mine->data_bytes == 0 || memcmp(mine->data, there->data, mine->data_bytes) == 0);
}

/* The stream no longer has the place. What an earlier try saw there is what came back: others' entries stand
 * behind it. */
static int returned_unknown(struct resubmit *r, uint64_t lsn)
{
    if (r->is_returned_noted && r->returned <= r->entries) {
        memset(r->there, 1, r->returned);
        return ORPHAN_EXIT_DONE;
    }
    if (r->answer->not_returned)
        return ORPHAN_EXIT_DONE;
    return orphan_refuse(
        r->answer,
        "stream %s no longer has what is at %llu, so it can't be told whether these entries came "
        "back with a later fail-over: look there in a backup or a reader, and say --not-returned "
        "when they did not",
        r->name, (unsigned long long)lsn);
}

/* The end of what the stream has here, as soon as all of it is committed: what is not may be what is looked
 * for, after a restart of its writer say. */
static int settled_end(struct resubmit *r, uint64_t *end)
{
    struct hg_stream_status status = {0};
    int rc = hg_stream_status_get(r->stream, &status);
    if (rc == 0)
        rc = hg_stream_wait(r->stream, HG_WHERE_COMMITTED, 0, status.lsn_consumed, in_seconds(WAIT_SECONDS));
    *end = status.lsn_consumed;
    return rc == 0 ? ORPHAN_EXIT_DONE
                   : client_refuse(r, "it can't be told what of it is there: not all of it is committed", rc);
}

/* Marks what is in the stream where it was cut off. The first that is another's is the end of it: what comes
 * behind follows from that one. */
static int returned_mark(struct resubmit *r)
{
    uint64_t at = r->file->header.lsn_first, count = 0, end;
    struct hg_entry there, mine;
    bool same = true;
    int code = settled_end(r, &end);
    if (code != ORPHAN_EXIT_DONE)
        return code;
    end = hg_min_u64(end, r->file->header.lsn_end);
    walk_begin(r);
    while (at < end && same) {
        int rc = hg_stream_read(r->stream, &there, in_seconds(WAIT_SECONDS));
        if (rc == HG_E_GAP)
            return returned_unknown(r, at);
        if (rc < 0)
            return client_refuse(r, "can't be read where the entries were", rc);
        rc = entry_next(r, &mine);
        if (rc < 0)
            return damaged(r);
        same = rc == 1 && is_same(&r->frame, &there);
        if (same)
            r->there[count++] = 1;
        at = there.lsn + there.span;
    }
    r->returned = count;
    return ORPHAN_EXIT_DONE;
}

/* Where the stream is the one that it was cut off. */
static int returned_look(struct resubmit *r)
{
    struct hg_stream_status status;
    int code = attach(r, false, true, r->file->header.lsn_first);
    if (code != ORPHAN_EXIT_DONE)
        return code;
    int rc = hg_stream_status_get(r->stream, &status);
    if (rc != 0)
        code = client_refuse(r, "it can't be told whether they were cut off it", rc);
    else if (status.stream == r->file->header.stream && status.incarnation == r->file->header.incarnation)
        code = returned_mark(r);
    hg_stream_detach(r->stream);
    return code;
}

static int key_compare(const void *one, const void *other)
{
    const struct entry_key *a = one, *b = other;
    if (a->client != b->client)
        return a->client < b->client ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

/* Who the entries of the file are from, sorted. NULL: it is damaged. */
static struct entry_key *keys_make(struct resubmit *r)
{
    struct entry_key *keys = calloc(r->entries + 1, sizeof(*keys));
    struct hg_entry entry;
    uint64_t count = 0;
    int rc;
    hg_assert(keys != NULL);
    walk_begin(r);
    while ((rc = entry_next(r, &entry)) == 1 && count < r->entries) {
        keys[count] = (struct entry_key){entry.client_id, entry.client_sequence, count};
        count++;
    }
    if (rc != 0 || count != r->entries) {
        free(keys);
        return NULL;
    }
    qsort(keys, count, sizeof(*keys), key_compare);
    return keys;
}

/* Reads what an earlier try appended, and marks it in r->there. Entries of others may stand between. What the
 * stream no longer has is left to what its log remembers of clients. */
static int found_mark(struct resubmit *r)
{
    uint64_t end;
    struct hg_entry entry;
    int code = settled_end(r, &end);
    if (code != ORPHAN_EXIT_DONE)
        return code;
    struct entry_key *keys = keys_make(r);
    if (keys == NULL)
        return damaged(r);
    for (uint64_t at = r->lsn_from; at < end; at = entry.lsn + entry.span) {
        int rc = hg_stream_read(r->stream, &entry, in_seconds(WAIT_SECONDS));
        if (rc == HG_E_GAP) {
            r->is_place_gone = true;
            break;
        }
        if (rc < 0) {
            free(keys);
            return client_refuse(r, "can't be read for what is there already", rc);
        }
        struct entry_key wanted = {entry.client_id, entry.client_sequence, 0};
        const struct entry_key *key = bsearch(&wanted, keys, r->entries, sizeof(*keys), key_compare);
        if (key != NULL)
            r->there[key->at] = 1;
    }
    free(keys);
    return ORPHAN_EXIT_DONE;
}

/* An entry that had no client, of a log that has forgotten clients: somebody says that it was not resubmitted
 * before, so it is no retry. */
static int append_own(struct resubmit *r, const struct hg_entry *entry, uint64_t *lsn)
{
    int rc = hg_stream_append(r->stream, entry, 1, in_seconds(WAIT_SECONDS));
    *lsn = hg_stream_append_end(r->stream) - 1;
    return rc != 1 ? rc : hg_stream_wait(r->stream, HG_WHERE_CONSUMED, 0, *lsn + 1, in_seconds(WAIT_SECONDS));
}

/* Its client may have sent it again to the new writer: then it is there, and where. */
static int append_entry(struct resubmit *r, const struct hg_entry *entry)
{
    uint64_t lsn = 0;
    int rc = hg_stream_append_once(r->stream, entry, &lsn, in_seconds(WAIT_SECONDS));
    bool is_own = entry->client_id == r->client_id;
    if (rc == HG_E_SESSION_EVICTED && is_own && r->answer->not_resubmitted && !r->is_place_gone)
        rc = append_own(r, entry, &lsn);
    r->forgotten += rc == HG_E_SESSION_EVICTED;
    r->forgotten_own += rc == HG_E_SESSION_EVICTED && is_own;
    if (rc == HG_E_SESSION_OLD || rc == HG_E_SESSION_EVICTED)
        r->left_out++;
    else if (rc != 0)
        return client_refuse(r, "appending stopped: say it again to go on", rc);
    else if (hg_stream_append_end(r->stream) == lsn + 1)
        r->appended++;
    else
        r->found++;
    if (rc == 0)
        r->lsn_end = hg_max_u64(r->lsn_end, lsn + 1);
    return ORPHAN_EXIT_DONE;
}

static int append_rest(struct resubmit *r)
{
    struct hg_entry entry;
    int rc = 0;
    walk_begin(r);
    for (uint64_t count = 1; count <= r->entries && (rc = entry_next(r, &entry)) == 1; count++) {
        if (r->there[count - 1] != 0) {
            r->found++;
            continue;
        }
        int taken = append_entry(r, &entry);
        if (taken != ORPHAN_EXIT_DONE)
            return taken;
        if (count % WINDOW != 0)
            continue;
        taken = hg_stream_wait(r->stream, HG_WHERE_COMMITTED, 0, r->lsn_end, in_seconds(WAIT_SECONDS));
        if (taken != 0)
            return client_refuse(r, "what was appended is not committed yet: say it again to go on", taken);
    }
    if (rc < 0)
        return damaged(r);
    rc = hg_stream_wait(r->stream, HG_WHERE_COMMITTED, 0, r->lsn_end, in_seconds(WAIT_SECONDS));
    return rc == 0 ? ORPHAN_EXIT_DONE
                   : client_refuse(r, "what was appended is not committed yet: say it again to go on", rc);
}

static int resubmit_stream(struct resubmit *r, bool begun)
{
    int code = returned_look(r);
    if (code == ORPHAN_EXIT_DONE && begun) {
        code = attach(r, false, true, r->lsn_from);
        if (code == ORPHAN_EXIT_DONE) {
            code = found_mark(r);
            hg_stream_detach(r->stream);
        }
    }
    if (code == ORPHAN_EXIT_DONE)
        code = attach(r, true, false, 0);
    if (code != ORPHAN_EXIT_DONE)
        return code;
    if (!begun) {
        r->lsn_from = hg_stream_append_end(r->stream);
        code = note_write(r, false);
    }
    if (code == ORPHAN_EXIT_DONE)
        code = append_rest(r);
    if (code == ORPHAN_EXIT_DONE)
        code = note_write(r, r->forgotten == 0);
    hg_stream_detach(r->stream);
    return code;
}

static void message_set(const struct resubmit *r)
{
    json_t *data = r->answer->data;
    char left_out[256] = "", own[160] = "";
    if (r->forgotten_own > 0 && !r->is_place_gone)
        snprintf(own, sizeof(own),
                 "; %llu of them had no client: say --not-resubmitted when this orphan never was before",
                 (unsigned long long)r->forgotten_own);
    if (r->left_out > 0)
        snprintf(left_out, sizeof(left_out),
                 "; %llu are left out, for their clients have gone on, or are forgotten (%llu), and they may "
                 "be there: look at them with 'orphan export'",
                 (unsigned long long)r->left_out, (unsigned long long)r->forgotten);
    json_object_set_new(data, "entries", json_integer((json_int_t)(r->entries - r->left_out)));
    json_object_set_new(data, "found", json_integer((json_int_t)r->found));
    json_object_set_new(data, "returned", json_integer((json_int_t)r->returned));
    json_object_set_new(data, "left_out", json_integer((json_int_t)r->left_out));
    json_object_set_new(data, "message",
                        json_sprintf("%llu entries of %s %s stream %s, %llu of them were there already (%llu "
                                     "came back by a later fail-over)%s%s",
                                     (unsigned long long)(r->entries - r->left_out), r->file->name,
                                     r->answer->dry_run ? "go to" : "are in", r->name,
                                     (unsigned long long)r->found, (unsigned long long)r->returned, left_out,
                                     own));
}

int orphan_resubmit(struct orphan_file *file, const char *stream, struct orphan_answer *answer)
{
    struct resubmit r = {.file = file, .answer = answer, .name = stream != NULL ? stream : file->header.name};
    bool begun = false;
    if (file->reason != HG_ORPHAN_OK)
        return damaged(&r);
    if (!orphan_is_recorded(file))
        return orphan_refuse(
            answer,
            "%s: the log has not recorded the cut, so its entries may still be in the stream, and "
            "would be there twice. Start the dataplane, which notes what its log has; if this stays, "
            "the cut never happened: read the stream at %llu, and discard the file",
            file->name, (unsigned long long)file->header.lsn_first);
    if (file->header.kind != HG_STREAM_KEY_VALUE)
        return orphan_refuse(answer, "%s has PostgreSQL's WAL, which has one place only: export it instead",
                             file->name);
    r.client_id = client_of(&file->header);
    r.raw = malloc(HG_FRAME_BYTES_MAX);
    hg_assert(r.raw != NULL);
    int code = entries_count(&r);
    if (code == ORPHAN_EXIT_DONE)
        code = note_look(&r, &begun);
    if (code == ORPHAN_EXIT_DONE && !answer->dry_run) {
        r.there = calloc(r.entries + 1, 1);
        hg_assert(r.there != NULL);
        r.client = hg_client_open(file->run, "helioctl-orphan");
        hg_assert(r.client != NULL);
        code = resubmit_stream(&r, begun);
        hg_client_close(r.client);
    }
    if (code == ORPHAN_EXIT_DONE)
        message_set(&r);
    free(r.there);
    free(r.raw);
    return code;
}
