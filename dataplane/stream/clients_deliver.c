/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery: each subscription walks the log, up to what is committed, with a cursor of its own, so that a
 * slow reader holds up nobody.
 */
#include "dataplane/stream/clients_internal.h"
#include "dataplane/stream/cut.h"
#include "drivers/client/heliograph.h"

#include <errno.h>

static void read_error(struct hg_clients_slot *slot, int32_t code, uint64_t lsn)
{
    slot->subscribe = false;
    slot->read_error = (struct hg_clients_error){code, lsn};
}

bool hg_clients_gap_check(struct hg_clients *clients, struct hg_clients_slot *slot)
{
    uint64_t lsn_oldest = hg_streams_lsn_oldest(clients->config.streams, slot->stream);
    bool gap = slot->lsn_next != 0 && slot->lsn_next < lsn_oldest;
    if (gap)
        read_error(slot, HG_E_GAP, lsn_oldest);
    return gap;
}

/* True when the batch is the slot's next one; a hole ends the subscription by name. */
static bool deliver_wanted(struct hg_clients *clients, struct hg_clients_slot *slot,
                           const struct hg_batch_header *header)
{
    const struct hg_stream_state *s = hg_streams_at(clients->config.streams, slot->stream);
    if ((header->flags & HG_BATCH_LOCAL) || header->stream != s->stream ||
        hg_stream_batch_is_cut(s, slot->cursor.sequence, header->lsn_first))
        return false;
    if (slot->walk_from != 0) {
        hg_streams_oldest_found(clients->config.streams, slot->stream, slot->walk_from, header->lsn_first);
        slot->walk_from = 0;
    }
    if (header->lsn_end <= slot->lsn_next)
        return false;
    bool hole = slot->started ? header->lsn_first != slot->lsn_next
                              : slot->lsn_next != 0 && header->lsn_first > slot->lsn_next;
    if (hole)
        read_error(slot, HG_E_GAP, header->lsn_first);
    return !hole;
}

/* Returns batches delivered to this slot. */
static uint32_t slot_deliver(struct hg_clients *clients, struct hg_clients_entry *client, uint32_t index)
{
    struct hg_clients_slot *slot = &client->slots[index];
    uint32_t delivered = 0;
    for (uint32_t looked = 0;
         slot->subscribe && looked < HG_PEER_NEXT_BUDGET && delivered < HG_CLIENTS_DELIVER_TURN; looked++) {
        const struct hg_batch_header *header;
        int rc = hg_cursor_peek(&slot->cursor, clients->config.log, &header);
        if (rc == -ENOENT) {
            if (hg_clients_gap_check(clients, slot))
                break;
            slot->cursor.sequence = hg_log_tail_sequence(clients->config.log);
            slot->cursor.offset = 0;
            slot->walk_from = slot->cursor.sequence;
            continue;
        }
        if (rc == -EBADMSG) {
            hg_event_put(clients->config.events, HG_EVENT_read_corrupt, client->name, slot->cursor.sequence,
                         0);
            read_error(slot, HG_E_CORRUPT, slot->lsn_next);
        }
        if (rc <= 0)
            break;
        if (!deliver_wanted(clients, slot, header)) {
            if (slot->subscribe)
                hg_cursor_advance(&slot->cursor, header);
            continue;
        }
        if (header->lsn_end > hg_streams_at(clients->config.streams, slot->stream)->lsn_committed)
            break; /* a new origin could have other bytes there */
        uint32_t bytes = hg_batch_bytes(header);
        if (!hg_client_ring_deliver_fits(client->ring, bytes)) {
            read_error(slot, HG_E_INVALID, header->lsn_first);
            break;
        }
        uint8_t *to = hg_client_ring_deliver_reserve(client->ring, index, bytes);
        if (to == NULL)
            break;
        memcpy(to, header, bytes);
        hg_client_ring_deliver_commit(client->ring);
        client->deliver_bytes += bytes;
        slot->lsn_next = header->lsn_end;
        slot->started = true;
        delivered++;
        hg_cursor_advance(&slot->cursor, header);
    }
    return delivered;
}

static bool error_deliver(struct hg_clients_entry *client, uint32_t slot, enum hg_deliver_type type,
                          struct hg_clients_error *error)
{
    if (error->code == 0 || !hg_client_ring_deliver_error(client->ring, slot, type, error->code, error->lsn))
        return false;
    error->code = 0;
    return true;
}

bool hg_clients_deliver(struct hg_clients *clients)
{
    bool any = false;
    for (uint32_t i = 0; i < clients->bound; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        for (uint32_t j = 0; client->used && !client->poisoned && j < client->slots_bound; j++) {
            struct hg_clients_slot *slot = &client->slots[j];
            if (!slot->used)
                continue;
            if (slot->subscribe)
                any |= slot_deliver(clients, client, j) > 0;
            any |= error_deliver(client, j, HG_DELIVER_APPEND_REFUSED, &slot->append_error);
            any |= error_deliver(client, j, HG_DELIVER_READ_ERROR, &slot->read_error);
        }
    }
    return any;
}
