/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients: their life, taking entries, positions. clients_attach.c attaches them, clients_deliver.c delivers.
 */
#include "dataplane/stream/clients_internal.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/tail.h"
#include "drivers/client/heliograph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct hg_clients *hg_clients_init(const struct hg_clients_config *config)
{
    struct hg_clients *clients = calloc(1, sizeof(*clients));
    hg_assert(clients != NULL);
    clients->config = *config;
    return clients;
}

void hg_clients_free(struct hg_clients *clients)
{
    free(clients);
}

int hg_clients_open(struct hg_clients *clients, struct hg_client_ring *ring, int doorbell, const char *name,
                    uint32_t pid, uint32_t uid)
{
    for (uint32_t i = 0; i < HG_CLIENTS_MAX; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        if (client->used)
            continue;
        memset(client, 0, sizeof(*client));
        client->used = true;
        client->ring = ring;
        client->doorbell = doorbell;
        client->pid = pid;
        client->uid = uid;
        snprintf(client->name, sizeof(client->name), "%.*s", HG_NAME_BYTES - 1, name);
        clients->bound = (uint32_t)hg_max_u64(clients->bound, i + 1);
        return (int)i;
    }
    return -ENOSPC;
}

static void consumer_advance(struct hg_clients *clients, struct hg_clients_entry *client, uint32_t index)
{
    const struct hg_clients_slot *slot = &client->slots[index];
    if (slot->used && slot->consumer >= 0 && !client->poisoned)
        hg_streams_consumer_advance(clients->config.streams, (uint32_t)slot->consumer,
                                    hg_client_ring_acknowledged(client->ring, index));
}

static void slot_close(struct hg_clients *clients, struct hg_clients_entry *client, uint32_t index)
{
    struct hg_clients_slot *slot = &client->slots[index];
    if (!slot->used)
        return;
    consumer_advance(clients, client, index); /* its last word may have come since the last turn */
    if (slot->consumer >= 0)
        hg_streams_consumer_at(clients->config.streams, (uint32_t)slot->consumer)->attached_count--;
    slot->used = false;
    while (client->slots_bound > 0 && !client->slots[client->slots_bound - 1].used)
        client->slots_bound--;
}

void hg_clients_close(struct hg_clients *clients, uint32_t client)
{
    hg_assert(client < HG_CLIENTS_MAX && clients->table[client].used);
    for (uint32_t i = 0; i < HG_CLIENT_SLOTS; i++)
        slot_close(clients, &clients->table[client], i);
    clients->table[client].used = false;
    while (clients->bound > 0 && !clients->table[clients->bound - 1].used)
        clients->bound--;
}

void hg_clients_detach(struct hg_clients *clients, uint32_t client, uint32_t slot, uint16_t attachment)
{
    hg_assert(client < HG_CLIENTS_MAX && clients->table[client].used && slot < HG_CLIENT_SLOTS);
    if (clients->table[client].slots[slot].attachment == attachment)
        slot_close(clients, &clients->table[client], slot);
}

const struct hg_clients_entry *hg_clients_at(const struct hg_clients *clients, uint32_t client)
{
    hg_assert(client < HG_CLIENTS_MAX);
    return clients->table[client].used ? &clients->table[client] : NULL;
}

uint32_t hg_clients_bound(const struct hg_clients *clients)
{
    return clients->bound;
}

/* ---- a stream moves to another worker ---- */

static bool slot_unread(struct hg_clients *clients, struct hg_clients_entry *client, uint32_t index)
{
    const struct hg_clients_slot *slot = &client->slots[index];
    const struct hg_stream_state *s = hg_streams_at(clients->config.streams, slot->stream);
    uint64_t lsn_next =
        slot->lsn_next != 0 ? slot->lsn_next : hg_streams_lsn_oldest(clients->config.streams, slot->stream);
    return slot->subscribe &&
           (lsn_next < s->lsn_durable || hg_client_ring_deliver_outstanding(client->ring, index) > 0);
}

const char *hg_clients_unread(struct hg_clients *clients, uint32_t stream)
{
    for (uint32_t i = 0; i < clients->bound; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        for (uint32_t j = 0; client->used && !client->poisoned && j < client->slots_bound; j++)
            if (client->slots[j].used && client->slots[j].stream == stream && slot_unread(clients, client, j))
                return client->name;
    }
    return NULL;
}

void hg_clients_dismiss(struct hg_clients *clients, uint32_t stream)
{
    for (uint32_t i = 0; i < clients->bound; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        for (uint32_t j = 0; client->used && j < HG_CLIENT_SLOTS; j++) {
            if (!client->slots[j].used || client->slots[j].stream != stream)
                continue;
            slot_close(clients, client, j);
            client->dismissed = true;
        }
    }
}

/* ---- taking ---- */

static void append_refuse(struct hg_clients *clients, struct hg_clients_slot *slot, int32_t code,
                          uint64_t lsn)
{
    slot->refused = true;
    slot->lsn_refused = hg_streams_at(clients->config.streams, slot->stream)->lsn_taken;
    slot->append_error = (struct hg_clients_error){code, lsn};
}

static int32_t append_code(enum hg_append_reason reason)
{
    static const int32_t codes[HG_APPEND_REASON_COUNT] = {
        [HG_APPEND_GAP] = HG_E_GAP,
        [HG_APPEND_OVERLAP] = HG_E_OVERLAP,
        [HG_APPEND_NOT_ORIGIN] = HG_E_NOT_LEADER,
        [HG_APPEND_SEALED] = HG_E_NOT_LEADER,
        [HG_APPEND_LIMITS] = HG_E_INVALID,
        [HG_APPEND_STAMP] = HG_E_INVALID,
        [HG_APPEND_GRANT] = HG_E_READ_ONLY,
        [HG_APPEND_UNNAMED] = HG_E_READ_ONLY,
        [HG_APPEND_DUPLICATE] = HG_E_DUPLICATE,
        [HG_APPEND_SESSION_OLD] = HG_E_SESSION_OLD,
        [HG_APPEND_SESSION_EVICTED] = HG_E_SESSION_EVICTED,
    };
    return codes[reason];
}

void hg_clients_depose(struct hg_clients *clients, uint32_t stream)
{
    for (uint32_t i = 0; i < clients->bound; i++)
        for (uint32_t j = 0; clients->table[i].used && j < HG_CLIENT_SLOTS; j++) {
            struct hg_clients_slot *slot = &clients->table[i].slots[j];
            if (!slot->used || !slot->append || slot->stream != stream)
                continue;
            slot->deposed = true;
            if (!slot->refused)
                append_refuse(clients, slot, HG_E_NOT_LEADER,
                              hg_streams_at(clients->config.streams, stream)->lsn_sealed);
        }
}

/* Returns false when the log takes nothing now: the record stays in the ring. */
static bool take_record(struct hg_clients *clients, struct hg_clients_entry *client,
                        const struct hg_append_record *record, const uint8_t *key, const uint8_t *data,
                        uint64_t now_ns)
{
    struct hg_clients_slot *slot = &client->slots[record->slot];
    struct hg_frame frame;
    if (!slot->used || !slot->append || slot->refused || slot->attachment != record->attachment) {
        clients->dropped_count++;
        return true;
    }
    memset(&frame, 0, sizeof(frame));
    frame.lsn = record->lsn;
    frame.span = record->span;
    frame.op = record->op;
    frame.flags = record->flags & HG_APPEND_CONTINUES ? HG_FRAME_CONTINUES : 0;
    frame.key_bytes = record->key_bytes;
    frame.data_bytes = record->data_bytes;
    frame.table_id = record->table_id;
    frame.transaction_id = record->transaction_id;
    frame.hlc = record->hlc;
    frame.client_id = record->client_id;
    frame.client_sequence = record->client_sequence;
    frame.again = (record->flags & HG_APPEND_AGAIN) != 0;
    frame.key = key;
    frame.data = data;
    enum hg_append_reason reason = hg_streams_append(clients->config.streams, slot->stream, &frame, now_ns);
    if (reason == HG_APPEND_WOULD_BLOCK)
        return false;
    if (reason != HG_APPEND_OK) {
        append_refuse(clients, slot, append_code(reason),
                      reason == HG_APPEND_DUPLICATE ? frame.lsn : record->lsn);
        if (reason == HG_APPEND_STAMP)
            hg_event_put(clients->config.events, HG_EVENT_client_stamp, client->name, 0, 0);
    }
    return true;
}

static void client_poison(struct hg_clients *clients, struct hg_clients_entry *client)
{
    if (client->poisoned)
        return;
    client->poisoned = true;
    if (client->ring->fault < HG_CLIENT_FAULT_COUNT)
        clients->fault_counts[client->ring->fault]++;
    hg_event_put(clients->config.events, HG_EVENT_client_poisoned, client->name, client->ring->fault, 0);
}

bool hg_clients_hang_up_due(const struct hg_clients *clients, uint32_t client)
{
    hg_assert(client < HG_CLIENTS_MAX);
    const struct hg_clients_entry *entry = &clients->table[client];
    return entry->used && (entry->poisoned || entry->dismissed) && !entry->hang_up_told;
}

void hg_clients_hang_up_told(struct hg_clients *clients, uint32_t client)
{
    hg_assert(client < HG_CLIENTS_MAX);
    clients->table[client].hang_up_told = true;
}

/* Returns the bytes taken. */
static uint64_t client_take(struct hg_clients *clients, struct hg_clients_entry *client, uint64_t bytes_max,
                            uint64_t now_ns, bool *blocked)
{
    uint32_t entries = 0;
    uint64_t bytes = 0;
    while (entries < HG_CLIENTS_ENTRIES_TURN && bytes < bytes_max) {
        struct hg_append_record record;
        const uint8_t *key, *data;
        int rc = hg_client_ring_append_peek(client->ring, &record, &key, &data);
        if (rc < 0)
            client_poison(clients, client);
        if (rc != 1)
            break;
        if (!take_record(clients, client, &record, key, data, now_ns)) {
            *blocked = true;
            break;
        }
        hg_client_ring_append_consume(client->ring);
        entries++;
        bytes += record.bytes;
    }
    client->append_bytes += bytes;
    if (entries > 0)
        hg_client_ring_publish(client->ring);
    return bytes;
}

struct hg_clients_taken hg_clients_take(struct hg_clients *clients, uint64_t now_ns)
{
    struct hg_clients_taken taken = {0};
    uint32_t first = clients->take_first < clients->bound ? clients->take_first : 0;
    for (uint32_t i = 0; i < clients->bound && taken.bytes < HG_CLIENTS_BYTES_TURN; i++) {
        uint32_t index = first + i < clients->bound ? first + i : first + i - clients->bound;
        struct hg_clients_entry *client = &clients->table[index];
        if (client->used && !client->poisoned)
            taken.bytes +=
                client_take(clients, client, HG_CLIENTS_BYTES_TURN - taken.bytes, now_ns, &taken.is_blocked);
        clients->take_first = index + 1; /* who was left out is first in the next turn */
    }
    taken.is_full = taken.bytes >= HG_CLIENTS_BYTES_TURN;
    return taken;
}

/* ---- positions ---- */

static uint32_t writable_why(const struct hg_clients *clients, const struct hg_clients_slot *slot,
                             const struct hg_stream_state *s)
{
    if (!slot->append)
        return HG_CLIENT_WHY_NOT_PRODUCER;
    if (!s->origin_local && !s->writer_configured.is_local)
        return HG_CLIENT_WHY_NOT_ORIGIN;
    if (clients->log_why == HG_CLIENT_WHY_LOG_FAILED)
        return HG_CLIENT_WHY_LOG_FAILED;
    if (!s->origin_local || hg_clients_is_deposed(clients, s))
        return HG_CLIENT_WHY_DEPOSED;
    if (hg_streams_is_unnamed(clients->config.streams, s->group))
        return HG_CLIENT_WHY_UNNAMED;
    if (!hg_streams_may_append(clients->config.streams, s))
        return HG_CLIENT_WHY_NO_GRANT;
    switch (hg_streams_tail(clients->config.streams, s)) {
    case HG_STREAMS_TAIL_WAITS:
        return HG_CLIENT_WHY_TAIL_UNKNOWN;
    case HG_STREAMS_TAIL_LOST:
        return HG_CLIENT_WHY_TAIL_LOST;
    case HG_STREAMS_TAIL_KNOWN:
        break;
    }
    return slot->refused ? HG_CLIENT_WHY_REFUSED : clients->log_why;
}

void hg_clients_log_set(struct hg_clients *clients, enum hg_client_why why)
{
    clients->log_turned |= why != clients->log_why;
    clients->log_why = why;
}

static void told_keep(struct hg_clients_slot *slot, struct hg_stream_state *s,
                      struct hg_client_position *position, bool may_tell)
{
    struct hg_clients_told *told = &slot->told;
    if (may_tell && !slot->deposed) {
        s->lsn_granted = s->lsn_durable;
        told->lsn_durable = position->lsn_durable;
        told->lsn_committed = position->lsn_committed;
        memcpy(told->lsn_durable_region, position->lsn_durable_region, sizeof(told->lsn_durable_region));
        return;
    }
    position->lsn_durable = told->lsn_durable;
    position->lsn_committed = told->lsn_committed;
    memcpy(position->lsn_durable_region, told->lsn_durable_region, sizeof(told->lsn_durable_region));
}

/* What is appended behind what was refused is somebody else's. */
static void told_limit(const struct hg_clients_slot *slot, struct hg_client_position *position)
{
    if (!slot->refused)
        return;
    position->lsn_consumed = hg_min_u64(position->lsn_consumed, slot->lsn_refused);
    position->lsn_durable = hg_min_u64(position->lsn_durable, slot->lsn_refused);
    position->lsn_committed = hg_min_u64(position->lsn_committed, slot->lsn_refused);
    for (uint32_t i = 0; i < HG_CLIENT_REGIONS; i++)
        position->lsn_durable_region[i] = hg_min_u64(position->lsn_durable_region[i], slot->lsn_refused);
}

void hg_clients_position_publish(struct hg_clients *clients, struct hg_client_ring *ring, uint32_t slot_index,
                                 struct hg_clients_slot *slot)
{
    struct hg_stream_state *s = hg_streams_at(clients->config.streams, slot->stream);
    struct hg_client_position position;
    memset(&position, 0, sizeof(position));
    position.lsn_consumed = s->lsn_taken;
    position.lsn_durable = s->lsn_durable;
    position.lsn_committed = s->lsn_committed;
    position.lsn_oldest = hg_streams_lsn_oldest(clients->config.streams, slot->stream);
    position.epoch = s->epoch;
    position.system_identifier = s->system_identifier;
    position.incarnation = s->incarnation;
    position.lsn_unit_bytes = s->lsn_unit_bytes;
    position.writable_why = writable_why(clients, slot, s);
    position.writable = position.writable_why == HG_CLIENT_WHY_NONE;
    hg_assert(clients->config.region < HG_CLIENT_REGIONS);
    position.lsn_durable_region[clients->config.region] = s->lsn_durable;
    for (uint32_t i = 0; s->origin_local && i < hg_peers_count(clients->config.peers); i++) {
        uint16_t region = hg_peers_at(clients->config.peers, i)->region;
        if ((s->peers_mask & (UINT64_C(1) << i)) != 0 && region < HG_CLIENT_REGIONS)
            position.lsn_durable_region[region] =
                hg_max_u64(position.lsn_durable_region[region], s->lsn_peer_told[i]);
    }
    /* Last, so that who was paused since all this became durable finds it out. */
    told_limit(slot, &position);
    told_keep(slot, s, &position, hg_streams_may_tell(clients->config.streams, s));
    hg_client_ring_position_set(ring, slot_index, &position);
}

void hg_clients_publish(struct hg_clients *clients)
{
    uint32_t changed_count;
    (void)hg_streams_changed(clients->config.streams, &changed_count);
    for (uint32_t i = 0; i < clients->bound; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        if (!client->used || client->poisoned)
            continue;
        for (uint32_t j = 0; j < client->slots_bound; j++) {
            struct hg_clients_slot *slot = &client->slots[j];
            if (!slot->used)
                continue;
            if (clients->log_turned ||
                (changed_count > 0 &&
                 hg_streams_at(clients->config.streams, slot->stream)->positions_changed))
                hg_clients_position_publish(clients, client->ring, j, slot);
            consumer_advance(clients, client, j);
        }
        if (hg_client_ring_doorbell_needed(client->ring))
            clients->config.doorbell(clients->config.ctx, client->doorbell);
    }
    clients->log_turned = false;
    hg_streams_changed_clear(clients->config.streams);
}

bool hg_clients_sleep(struct hg_clients *clients)
{
    bool news = false;
    for (uint32_t i = 0; i < clients->bound && !news; i++) {
        struct hg_clients_entry *client = &clients->table[i];
        if (!client->used || client->poisoned)
            continue;
        hg_client_ring_sleep_set(client->ring, true);
        news = hg_client_ring_pending(client->ring);
    }
    if (news)
        hg_clients_woken(clients);
    return !news;
}

void hg_clients_woken(struct hg_clients *clients)
{
    for (uint32_t i = 0; i < clients->bound; i++)
        if (clients->table[i].used && !clients->table[i].poisoned)
            hg_client_ring_sleep_set(clients->table[i].ring, false);
}

const uint64_t *hg_clients_fault_counts(const struct hg_clients *clients)
{
    return clients->fault_counts;
}

uint64_t hg_clients_dropped_count(const struct hg_clients *clients)
{
    return clients->dropped_count;
}
