/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading: batches are verified, opened and walked here; what fails its checks is never delivered.
 */
#include "drivers/client/client_private.h"

#include <errno.h>
#include <stdlib.h>

/* Reading can't go on from here. The stream attaches again from what was read last; whoever also appends is
 * told that entries on their way may be lost. */
static int read_fail(struct hg_stream *stream, int code)
{
    struct client_reader *reader = &stream->reader;
    reader->frames_left = 0;
    reader->frames_offset = reader->frames_bytes;
    client_stream_release(stream);
    if (stream->options.append)
        stream->report = HG_E_CLOSED;
    return code;
}

static int corrupt(struct hg_stream *stream, const char *what)
{
    client_fail(stream->client, HG_E_CORRUPT,
                "stream %s: after LSN %llu came a batch that is not sound (%s): it was not delivered",
                stream->name, (unsigned long long)stream->reader.lsn_read, what);
    return read_fail(stream, HG_E_CORRUPT);
}

/* Whether this batch is of our stream and continues what was read. 0, or a code. */
static int batch_place_check(struct hg_stream *stream, const struct hg_batch_header *header)
{
    struct client_reader *reader = &stream->reader;
    if ((header->flags & HG_BATCH_LOCAL) != 0 || header->stream != stream->facts.stream)
        return corrupt(stream, "it is of another stream");
    if (header->incarnation < reader->incarnation)
        return corrupt(stream, "it is of an earlier incarnation");
    if (header->incarnation == reader->incarnation) {
        if (reader->chain_known && memcmp(reader->chain, header->chain_previous, sizeof(reader->chain)) != 0)
            return corrupt(stream, "it does not continue the chain");
        if (reader->lsn_read != 0 && header->lsn_first > reader->lsn_read) {
            client_fail(stream->client, HG_E_GAP,
                        "stream %s: %llu was read last and %llu comes next: what is between "
                        "is missing",
                        stream->name, (unsigned long long)reader->lsn_read,
                        (unsigned long long)header->lsn_first);
            return read_fail(stream, HG_E_GAP);
        }
    }
    return 0;
}

/* Takes the first queued batch and makes it the open one. */
static int batch_open(struct hg_stream *stream)
{
    struct client_reader *reader = &stream->reader;
    struct client_batch *batch = reader->first;
    reader->first = batch->next;
    if (reader->first == NULL)
        reader->last = NULL;
    free(reader->open);
    reader->open = batch;
    reader->frames_left = 0;
    reader->frames_bytes = reader->frames_offset = 0;
    hg_client_view_release(&stream->link->view, stream->facts.slot, batch->record_bytes);
    client_link_flush(stream->link);

    enum hg_batch_reason reason = hg_batch_verify(batch->content, batch->bytes);
    if (reason != HG_BATCH_REASON_OK)
        return corrupt(stream, hg_batch_reason_text(reason));
    struct hg_batch_header header;
    memcpy(&header, batch->content, sizeof(header));
    int rc = batch_place_check(stream, &header);
    if (rc != 0)
        return rc;
    reason = hg_batch_open(batch->content, reader->raw, (uint32_t)HG_FRAME_BYTES_MAX, &reader->frames,
                           &reader->frames_bytes);
    if (reason != HG_BATCH_REASON_OK)
        return corrupt(stream, hg_batch_reason_text(reason));
    reader->frames_left = header.frame_count;
    reader->hlc_base = header.hlc_base;
    reader->lsn_frame = header.lsn_first;
    reader->lsn_end = header.lsn_end;
    reader->incarnation = header.incarnation;
    reader->chain_known = true;
    memcpy(reader->chain, header.chain, sizeof(reader->chain));
    return 0;
}

/* The next frame of the open batch that is to be delivered: 1, 0 at its end, or a code. */
static int frame_next(struct hg_stream *stream, struct hg_entry *entry)
{
    struct client_reader *reader = &stream->reader;
    while (reader->frames_left > 0) {
        struct hg_frame frame;
        if (hg_frame_next(reader->frames, reader->frames_bytes, reader->hlc_base, &reader->frames_offset,
                          &frame) != 1 ||
            frame.lsn != reader->lsn_frame || frame.span == 0 || frame.span > reader->lsn_end - frame.lsn)
            return corrupt(stream, hg_batch_reason_text(HG_BATCH_REASON_FRAMES));
        reader->frames_left--;
        reader->lsn_frame = frame.lsn + frame.span;
        bool last = reader->frames_left == 0;
        if (last ? reader->lsn_frame != reader->lsn_end || reader->frames_offset != reader->frames_bytes
                 : reader->lsn_frame == reader->lsn_end)
            return corrupt(stream, hg_batch_reason_text(HG_BATCH_REASON_FRAMES));
        if (reader->lsn_frame <= reader->lsn_read)
            continue;
        reader->lsn_read = reader->lsn_frame;
        if (frame.op > HG_CLIENT_OP_MAX)
            continue; /* the dataplanes' own: heartbeats, epochs */
        *entry = (struct hg_entry){
            .lsn = frame.lsn,
            .span = frame.span,
            .op = frame.op,
            .continues = (frame.flags & HG_FRAME_CONTINUES) != 0,
            .key_bytes = frame.key_bytes,
            .data_bytes = frame.data_bytes,
            .table_id = frame.table_id,
            .transaction_id = frame.transaction_id,
            .hlc = frame.hlc,
            .client_id = frame.client_id,
            .client_sequence = frame.client_sequence,
            .key = frame.key,
            .data = frame.data,
        };
        return 1;
    }
    return 0;
}

/* The dataplane ended the delivery. */
static int read_error_report(struct hg_stream *stream)
{
    int code = stream->reader.error;
    unsigned long long lsn = stream->reader.error_lsn;
    client_fail(stream->client, code, "stream %s: the dataplane can't deliver what follows %llu (%s at %llu)",
                stream->name, (unsigned long long)stream->reader.lsn_read, hg_error_name(code), lsn);
    return read_fail(stream, code);
}

int hg_stream_read(struct hg_stream *stream, struct hg_entry *entry, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    struct client_reader *reader = &stream->reader;
    if (!stream->options.subscribe)
        return client_fail(client, HG_E_INVALID, "stream %s was attached without subscribe", stream->name);
    for (;;) {
        int rc = frame_next(stream, entry);
        if (rc != 0)
            return rc;
        rc = client_stream_enter(stream, deadline_ns);
        if (rc != 0)
            return rc;
        hg_client_view_seen(&stream->link->view);
        if (!client_link_pump(client, stream->link))
            continue;
        if (reader->first != NULL) {
            rc = batch_open(stream);
            if (rc != 0)
                return rc;
            continue;
        }
        if (reader->error != 0)
            return read_error_report(stream);
        rc = client_deadline(client, stream->name, "nothing more was delivered", deadline_ns);
        if (rc != 0) {
            client_check(client, true);
            return rc;
        }
        client_link_wait(client, stream->link, deadline_ns);
    }
}
