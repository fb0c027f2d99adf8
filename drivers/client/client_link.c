/* SPDX-License-Identifier: Apache-2.0
 *
 * Links: the memory shared with one worker. Sorting delivered records, doorbells, waiting.
 */
#include "drivers/client/client_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* No doorbell is ever lost; a worker that dies between its store and its bell is noticed by the socket. This
 * only bounds what a fault nobody thought of can cost. */
#define WAIT_SLICE_MAX_NS (100 * HG_NS_PER_MS)

void client_link_close(struct client_link *link)
{
    hg_client_view_unmap(&link->view);
    close(link->doorbell_worker);
    close(link->doorbell_client); /* leaves the epoll set by itself */
    memset(link, 0, sizeof(*link));
}

void client_link_flush(struct client_link *link)
{
    hg_client_view_append_publish(&link->view);
    if (hg_client_view_doorbell_needed(&link->view)) {
        uint64_t one = 1; /* EAGAIN: the counter is full, so it is readable */
        while (write(link->doorbell_worker, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
}

void client_doorbell_drain(struct client_link *link)
{
    struct pollfd descriptor = {.fd = link->doorbell_client, .events = POLLIN};
    uint64_t count;
    /* Polled first: nobody says that the dataplane made it non-blocking. */
    if (poll(&descriptor, 1, 0) > 0 && (descriptor.revents & POLLIN) != 0)
        (void)!read(link->doorbell_client, &count, sizeof(count));
}

void client_reader_clear(struct client_reader *reader)
{
    while (reader->first != NULL) {
        struct client_batch *batch = reader->first;
        reader->first = batch->next;
        free(batch);
    }
    reader->last = NULL;
    reader->error = 0;
    reader->chain_known = false;
}

static struct hg_stream *stream_find(struct hg_client *client, const struct client_link *link,
                                     const struct hg_deliver_record *record)
{
    for (struct hg_stream *stream = client->streams; stream != NULL; stream = stream->next)
        if (stream->attached && stream->link == link && stream->facts.slot == record->slot &&
            stream->facts.attachment == record->attachment)
            return stream;
    return NULL;
}

/* Copies the batch once; all that follows reads the copy. Returns false when there is no memory now. */
static bool batch_queue(struct client_reader *reader, const struct hg_deliver_record *record,
                        const uint8_t *payload)
{
    uint64_t bytes = hg_align_up(sizeof(struct client_batch) + record->payload_bytes, 16);
    struct client_batch *batch = aligned_alloc(16, bytes);
    if (batch == NULL)
        return false;
    memset(batch, 0, sizeof(*batch));
    batch->bytes = record->payload_bytes;
    batch->record_bytes = record->bytes;
    memcpy(batch->content, payload, record->payload_bytes);
    if (reader->last != NULL)
        reader->last->next = batch;
    else
        reader->first = batch;
    reader->last = batch;
    return true;
}

static void error_take(struct hg_stream *stream, const struct hg_deliver_record *record)
{
    bool read = record->type != HG_DELIVER_APPEND_REFUSED, append = record->type != HG_DELIVER_READ_ERROR;
    if (read && stream->reader.error == 0) {
        stream->reader.error = record->code;
        stream->reader.error_lsn = record->lsn;
    }
    if (append && stream->append_error == 0) {
        stream->append_error = record->code;
        stream->append_error_lsn = record->lsn;
    }
}

bool client_link_pump(struct hg_client *client, struct client_link *link)
{
    struct hg_deliver_record record;
    const uint8_t *payload;
    int rc;
    while ((rc = hg_client_view_deliver_peek(&link->view, &record, &payload)) == 1) {
        struct hg_stream *stream = stream_find(client, link, &record);
        bool batch = record.type == HG_DELIVER_BATCH;
        bool wanted = stream != NULL && stream->options.subscribe;
        if (batch && wanted && !batch_queue(&stream->reader, &record, payload))
            break; /* stays in the ring until there is memory */
        if (!batch && stream != NULL)
            error_take(stream, &record);
        hg_client_view_deliver_consume(&link->view);
        if (batch && !wanted) /* of an attachment that is no more */
            hg_client_view_release(&link->view, record.slot, record.bytes);
    }
    if (rc != -EBADMSG) {
        client_link_flush(link);
        return true;
    }
    client_fail(
        client, HG_E_PROTOCOL,
        "the shared memory of the dataplane at %s holds what it must not (%s): the connection was dropped",
        client->path, hg_client_fault_name(link->view.fault));
    client_lost(client, HG_E_PROTOCOL);
    return false;
}

void client_link_wait(struct hg_client *client, struct client_link *link, uint64_t deadline_ns)
{
    client_link_flush(link);
    hg_client_view_sleep_set(&link->view, true);
    if (!hg_client_view_pending(&link->view)) {
        uint64_t now_ns = client_now_ns();
        uint64_t wait_ns = deadline_ns > now_ns ? hg_min_u64(deadline_ns - now_ns, WAIT_SLICE_MAX_NS) : 0;
        struct timespec timeout = {.tv_nsec = (long)wait_ns};
        struct pollfd descriptors[2] = {{.fd = client->socket, .events = POLLIN},
                                        {.fd = link->doorbell_client, .events = POLLIN}};
        (void)ppoll(descriptors, 2, &timeout, NULL);
    }
    hg_client_view_sleep_set(&link->view, false);
    client_doorbell_drain(link);
    if (hg_client_view_closed(&link->view)) {
        client_fail(
            client, HG_E_CLOSED,
            "the dataplane at %s closed its memory: the next waiting call attaches again, then go on from "
            "hg_stream_durable_end",
            client->path);
        client_lost(client, HG_E_CLOSED);
        return;
    }
    client_socket_take(client);
}
