/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams: attaching, positions, waiting, appending.
 */
#include "drivers/client/client_private.h"

#include <errno.h>
#include <stdlib.h>

#define APPEND_RING_BYTES_MIN (4u << 20) /* so that any entry fits */

static int options_check(struct hg_client *client, const char *name, const struct hg_stream_options *options)
{
    uint32_t ring_bytes = options->append_ring_bytes;
    if (!options->append && !options->subscribe)
        return client_fail(client, HG_E_INVALID, "stream %.40s: neither append nor subscribe was asked for",
                           name);
    if (ring_bytes != 0 && (ring_bytes < APPEND_RING_BYTES_MIN || (ring_bytes & (ring_bytes - 1)) != 0))
        return client_fail(client, HG_E_INVALID,
                           "append_ring_bytes %u is not 0 or a power of two of at least %u", ring_bytes,
                           APPEND_RING_BYTES_MIN);
    if (options->consumer != NULL && !options->subscribe)
        return client_fail(client, HG_E_INVALID, "stream %.40s: a consumer must subscribe", name);
    return 0;
}

int hg_stream_attach(struct hg_client *client, const char *name, const struct hg_stream_options *options,
                     struct hg_stream **stream, uint64_t deadline_ns)
{
    *stream = NULL;
    if (client->problem != 0)
        return client->problem;
    int rc = options_check(client, name, options);
    if (rc != 0)
        return rc;
    struct hg_stream *made = calloc(1, sizeof(*made));
    uint8_t *raw = options->subscribe ? aligned_alloc(64, hg_align_up(HG_FRAME_BYTES_MAX, 64)) : NULL;
    if (made == NULL || (options->subscribe && raw == NULL)) {
        free(made);
        free(raw);
        return client_fail(client, HG_E_INVALID, "no memory to attach stream %.40s", name);
    }
    made->client = client;
    made->options = *options;
    made->options.consumer = NULL; /* our own copy is used */
    made->reader.raw = raw;
    bool named = hg_client_name_copy(made->name, name) == 0;
    if (!named ||
        (options->consumer != NULL && hg_client_name_copy(made->consumer, options->consumer) != 0)) {
        rc = client_fail(
            client, HG_E_INVALID, "the %s name \"%.40s\" is not 1 to %u printable bytes without space and /",
            named ? "consumer" : "stream", named ? options->consumer : name, HG_CLIENT_NAME_BYTES - 1);
    } else {
        made->next = client->streams;
        client->streams = made;
        rc = client_stream_attach(made, deadline_ns);
        if (rc == 0) {
            *stream = made;
            return 0;
        }
    }
    hg_stream_detach(made);
    return rc;
}

void hg_stream_detach(struct hg_stream *stream)
{
    if (stream == NULL)
        return;
    client_stream_release(stream);
    for (struct hg_stream **place = &stream->client->streams; *place != NULL; place = &(*place)->next) {
        if (*place == stream) {
            *place = stream->next;
            break;
        }
    }
    client_reader_clear(&stream->reader);
    free(stream->reader.open);
    free(stream->reader.raw);
    free(stream);
}

int client_deadline(struct hg_client *client, const char *stream, const char *what, uint64_t deadline_ns)
{
    if (deadline_ns == 0)
        return client_fail(client, HG_E_WOULD_BLOCK, "stream %s: %s", stream, what);
    if (deadline_ns != HG_FOREVER && client_now_ns() >= deadline_ns)
        return client_fail(client, HG_E_TIMEOUT, "stream %s: %s before the deadline", stream, what);
    return 0;
}

int client_stream_enter(struct hg_stream *stream, uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    client_check(client, false);
    if (stream->attached && hg_client_view_closed(&stream->link->view)) {
        client_fail(
            client, HG_E_CLOSED,
            "the dataplane at %s closed its memory: the next waiting call attaches again, then go on from "
            "hg_stream_durable_end",
            client->path);
        client_lost(client, HG_E_CLOSED);
    }
    if (stream->attached)
        (void)client_link_pump(client, stream->link);
    if (stream->report != 0) {
        int code = stream->report;
        stream->report = 0;
        if (client->error[0] == '\0')
            client_fail(client, code, "stream %s was closed", stream->name);
        return code;
    }
    if (stream->attached)
        return 0;
    if (deadline_ns == 0)
        return client_fail(client, HG_E_CLOSED,
                           "stream %s is not attached to a dataplane: a call that may wait attaches it again",
                           stream->name);
    return client_stream_attach(stream, deadline_ns);
}

static void position_refresh(struct hg_stream *stream)
{
    struct hg_client_position position;
    if (stream->attached && hg_client_view_position_get(&stream->link->view, stream->facts.slot, &position) &&
        position.attachment == stream->facts.attachment)
        stream->position = position;
}

int hg_stream_status_get(struct hg_stream *stream, struct hg_stream_status *status)
{
    struct hg_client *client = stream->client;
    client_check(client, true);
    position_refresh(stream);
    const struct hg_client_position *position = &stream->position;
    *status = (struct hg_stream_status){
        .stream = stream->facts.stream,
        .incarnation = position->incarnation,
        .kind = stream->facts.kind,
        .epoch = position->epoch,
        .system_identifier = position->system_identifier,
        .lsn_unit_bytes = position->lsn_unit_bytes,
        .lsn_oldest = position->lsn_oldest,
        .lsn_consumed = position->lsn_consumed,
        .lsn_durable = position->lsn_durable,
        .lsn_committed = position->lsn_committed,
        .writable = stream->attached && position->writable != 0,
        .writable_why = hg_client_why_text(position->writable_why),
    };
    static_assert(sizeof(status->lsn_durable_region) == sizeof(position->lsn_durable_region), "same regions");
    memcpy(status->lsn_durable_region, position->lsn_durable_region, sizeof(status->lsn_durable_region));
    if (stream->attached)
        return 0;
    status->writable_why = "there is no dataplane";
    if (stream->report != 0) {
        int code = stream->report;
        stream->report = 0;
        return code;
    }
    return client_fail(client, HG_E_CLOSED,
                       "stream %s is not attached to a dataplane: its last status is given", stream->name);
}

uint64_t hg_stream_durable_end(struct hg_stream *stream)
{
    client_check(stream->client, false);
    if (!stream->attached)
        return stream->position.lsn_durable;
    return hg_client_view_durable(&stream->link->view, stream->facts.slot);
}

uint64_t hg_stream_committed_end(struct hg_stream *stream)
{
    client_check(stream->client, false);
    if (!stream->attached)
        return stream->position.lsn_committed;
    return hg_client_view_committed(&stream->link->view, stream->facts.slot);
}

uint64_t hg_stream_append_end(const struct hg_stream *stream)
{
    return stream->lsn_append;
}

/* The dataplane refused an entry: said once; then the stream attaches again, and its durable end is where to
 * go on. */
static int append_error_report(struct hg_stream *stream)
{
    int code = stream->append_error;
    unsigned long long lsn = stream->append_error_lsn;
    client_stream_release(stream);
    return client_fail(
        stream->client, code,
        "stream %s: the dataplane refused the entry at %llu (%s): go on from hg_stream_durable_end",
        stream->name, lsn, hg_error_name(code));
}

static uint64_t position_where(struct hg_stream *stream, enum hg_where where, uint32_t region)
{
    if (where == HG_WHERE_DURABLE)
        return hg_client_view_durable(&stream->link->view, stream->facts.slot);
    if (where == HG_WHERE_COMMITTED)
        return hg_client_view_committed(&stream->link->view, stream->facts.slot);
    position_refresh(stream);
    return where == HG_WHERE_CONSUMED ? stream->position.lsn_consumed
                                      : stream->position.lsn_durable_region[region];
}

int hg_stream_wait(struct hg_stream *stream, enum hg_where where, uint32_t region, uint64_t lsn,
                   uint64_t deadline_ns)
{
    if ((unsigned)where > HG_WHERE_REGION || (where == HG_WHERE_REGION && region >= HG_REGIONS_MAX))
        return client_fail(stream->client, HG_E_INVALID, "there is no position %d of region %u", (int)where,
                           region);
    for (;;) {
        int rc = client_stream_enter(stream, deadline_ns);
        if (rc != 0)
            return rc;
        hg_client_view_seen(&stream->link->view);
        bool is_reached = position_where(stream, where, region) >= lsn;
        if (!client_link_pump(stream->client, stream->link))
            continue;
        if (stream->append_error != 0) /* first: others may have filled the LSNs of what was dropped */
            return append_error_report(stream);
        if (is_reached)
            return 0;
        rc = client_deadline(stream->client, stream->name, "the position waited for was not reached",
                             deadline_ns);
        if (rc != 0) {
            client_check(stream->client, true);
            return rc;
        }
        client_link_wait(stream->client, stream->link, deadline_ns);
    }
}

/* Checks an entry against its limits and the stream's end; fills the record. */
static int entry_check(struct hg_stream *stream, const struct hg_entry *entry,
                       struct hg_append_record *record)
{
    struct hg_client *client = stream->client;
    bool physical = stream->facts.kind == HG_STREAM_POSTGRES_PHYSICAL;
    if (entry->key_bytes > HG_FRAME_KEY_BYTES_MAX || entry->data_bytes > HG_FRAME_DATA_BYTES_MAX ||
        (entry->key_bytes > 0 && entry->key == NULL) || (entry->data_bytes > 0 && entry->data == NULL))
        return client_fail(client, HG_E_INVALID,
                           "stream %s: an entry of %u key bytes and %u data bytes: at most %u "
                           "and %u (more goes in continuing entries)",
                           stream->name, entry->key_bytes, entry->data_bytes, HG_FRAME_KEY_BYTES_MAX,
                           HG_FRAME_DATA_BYTES_MAX);
    if (entry->op == 0 || entry->op > HG_CLIENT_OP_MAX)
        return client_fail(client, HG_E_INVALID, "stream %s: there is no operation %u", stream->name,
                           entry->op);
    if (physical ? entry->span == 0 || entry->lsn == 0 || entry->lsn + entry->span < entry->lsn
                 : entry->span != 1)
        return client_fail(
            client, HG_E_INVALID,
            "stream %s: span %u at LSN %llu: 1 but in physical streams, there the bytes of WAL", stream->name,
            entry->span, (unsigned long long)entry->lsn);
    uint64_t lsn = entry->lsn != 0 ? entry->lsn : stream->lsn_append;
    if (stream->lsn_append != 0 && lsn != stream->lsn_append)
        return client_fail(client, lsn < stream->lsn_append ? HG_E_OVERLAP : HG_E_GAP,
                           "stream %s ends at %llu, the entry begins at %llu: go on at the end", stream->name,
                           (unsigned long long)stream->lsn_append, (unsigned long long)lsn);
    *record = (struct hg_append_record){
        .op = entry->op,
        .flags = (uint8_t)((entry->continues ? HG_APPEND_CONTINUES : 0) |
                           (entry->again && entry->client_id != 0 ? HG_APPEND_AGAIN : 0)),
        .slot = (uint8_t)stream->facts.slot,
        .lsn = lsn,
        .span = entry->span,
        .table_id = entry->table_id,
        .transaction_id = entry->transaction_id,
        .hlc = entry->hlc,
        .client_id = entry->client_id,
        .client_sequence = entry->client_sequence,
        .data_bytes = entry->data_bytes,
        .key_bytes = entry->key_bytes,
        .attachment = stream->facts.attachment,
    };
    return 0;
}

/* The dataplane ends for it. What it had taken and was not durable is gone, as with any dataplane that ends.
 */
static int append_log_failed(struct hg_stream *stream)
{
    struct hg_client *client = stream->client;
    client_fail(client, HG_E_CLOSED,
                "stream %s: %s; the next waiting call attaches again, then go on from hg_stream_durable_end",
                stream->name, hg_client_why_text(HG_CLIENT_WHY_LOG_FAILED));
    client_lost(client, HG_E_CLOSED);
    stream->report = 0;
    return HG_E_CLOSED;
}

/* HG_E_WOULD_BLOCK = not now. */
static int append_one(struct hg_stream *stream, const struct hg_entry *entry)
{
    struct hg_client *client = stream->client;
    if (stream->append_error != 0)
        return append_error_report(stream);
    uint32_t why;
    if (!hg_client_view_writable(&stream->link->view, stream->facts.slot, &why)) {
        if (why == HG_CLIENT_WHY_LOG_FULL || why == HG_CLIENT_WHY_TAIL_UNKNOWN)
            return HG_E_WOULD_BLOCK;
        if (why == HG_CLIENT_WHY_LOG_FAILED)
            return append_log_failed(stream);
        return client_fail(client,
                           why == HG_CLIENT_WHY_NOT_ORIGIN || why == HG_CLIENT_WHY_DEPOSED ? HG_E_NOT_LEADER
                                                                                           : HG_E_READ_ONLY,
                           "stream %s is not writable: %s", stream->name, hg_client_why_text(why));
    }
    struct hg_append_record record;
    int rc = entry_check(stream, entry, &record);
    if (rc != 0)
        return rc;
    rc = hg_client_view_append(&stream->link->view, &record, entry->key, entry->data);
    if (rc == -EAGAIN)
        return HG_E_WOULD_BLOCK;
    if (rc == -EMSGSIZE)
        return client_fail(client, HG_E_INVALID,
                           "stream %s: an entry of %u bytes is too large for the append ring: "
                           "attach with a larger append_ring_bytes",
                           stream->name, entry->data_bytes);
    if (rc != 0) {
        client_fail(client, HG_E_PROTOCOL,
                    "the shared memory of the dataplane at %s holds what it must not (%s)", client->path,
                    hg_client_fault_name(stream->link->view.fault));
        client_lost(client, HG_E_PROTOCOL);
        stream->report = 0;
        return HG_E_PROTOCOL;
    }
    stream->lsn_append = record.lsn + record.span;
    return 0;
}

int hg_stream_append(struct hg_stream *stream, const struct hg_entry *entries, uint32_t count,
                     uint64_t deadline_ns)
{
    struct hg_client *client = stream->client;
    if (!stream->options.append || count > INT32_MAX)
        return client_fail(client, HG_E_INVALID, "stream %s was attached without append", stream->name);
    int rc = client_stream_enter(stream, deadline_ns);
    uint32_t taken = 0;
    while (rc == 0 && taken < count) {
        hg_client_view_seen(&stream->link->view);
        rc = append_one(stream, &entries[taken]);
        if (rc == 0) {
            taken++;
            continue;
        }
        if (rc != HG_E_WOULD_BLOCK)
            break;
        rc = client_deadline(client, stream->name,
                             "its append ring is full: the log takes no more now, see helioctl show log",
                             deadline_ns);
        if (rc != 0) {
            client_check(client, true);
            break;
        }
        client_link_wait(client, stream->link, deadline_ns);
        if (!stream->attached || !client_link_pump(client, stream->link)) {
            rc = HG_E_CLOSED;
            if (taken == 0) { /* else the next call says it */
                rc = stream->report != 0 ? stream->report : rc;
                stream->report = 0;
            }
        }
    }
    if (stream->attached)
        client_link_flush(stream->link);
    return taken > 0 ? (int)taken : rc;
}

int hg_stream_acknowledge(struct hg_stream *stream, uint64_t lsn)
{
    if (!stream->options.subscribe || lsn > stream->reader.lsn_read)
        return client_fail(stream->client, HG_E_INVALID,
                           "stream %s: can't acknowledge %llu, beyond what was read (%llu)", stream->name,
                           (unsigned long long)lsn, (unsigned long long)stream->reader.lsn_read);
    if (lsn <= stream->lsn_acknowledged)
        return 0;
    stream->lsn_acknowledged = lsn;
    if (stream->attached) {
        hg_client_view_acknowledge(&stream->link->view, stream->facts.slot, lsn);
        client_link_flush(stream->link);
    }
    return 0; /* not attached: said again after attaching */
}

int hg_stream_append_once(struct hg_stream *stream, const struct hg_entry *entry, uint64_t *lsn,
                          uint64_t deadline_ns)
{
    struct hg_entry once = *entry;
    once.again = true;
    if (entry->client_id == 0)
        return client_fail(stream->client, HG_E_INVALID,
                           "stream %s: an entry without client_id can't be told from others", stream->name);
    int rc = hg_stream_append(stream, &once, 1, deadline_ns);
    if (rc == 1) {
        *lsn = stream->lsn_append - once.span;
        rc = hg_stream_wait(stream, HG_WHERE_CONSUMED, 0, stream->lsn_append, deadline_ns);
    }
    if (rc != HG_E_DUPLICATE)
        return rc;
    *lsn = stream->append_error_lsn;
    return 0;
}
