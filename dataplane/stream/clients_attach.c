/* SPDX-License-Identifier: Apache-2.0
 *
 * Attaching: who may produce and read what, and where a reader begins. Each refusal has its counter.
 */
#include "dataplane/stream/clients_internal.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "drivers/client/heliograph.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *hg_attach_reason_name(uint32_t reason)
{
    static const char *const names[] = {
#define HG_X(name, code, text) "attach_" #name,
        HG_ATTACH_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_ATTACH_REASON_COUNT ? names[reason] : "unknown";
}

const uint64_t *hg_clients_attach_counts(const struct hg_clients *clients)
{
    return clients->attach_counts;
}

static void __attribute__((format(printf, 4, 5)))
refuse(struct hg_clients *clients, struct hg_client_answer *answer, enum hg_attach_reason reason,
       const char *format, ...)
{
    static const int32_t codes[] = {
#define HG_X(name, code, text) code,
        HG_ATTACH_REASONS(HG_X)
#undef HG_X
    };
    va_list list;
    clients->attach_counts[reason]++;
    va_start(list, format);
    vsnprintf(answer->text, sizeof(answer->text), format, list);
    va_end(list);
    answer->code = codes[reason];
}

static bool has_producer(const struct hg_clients *clients, uint32_t stream)
{
    for (uint32_t i = 0; i < clients->bound; i++)
        for (uint32_t j = 0; clients->table[i].used && j < HG_CLIENT_SLOTS; j++)
            if (clients->table[i].slots[j].used && clients->table[i].slots[j].append &&
                !clients->table[i].slots[j].refused && clients->table[i].slots[j].stream == stream)
                return true;
    return false;
}

/* Of a producer: its durable end would be told with the answer. Before the first grant of this process it is
 * a matter of moments: the client waits. */
static bool grant_check(struct hg_clients *clients, const struct hg_client_attach *attach,
                        const struct hg_stream_state *s, struct hg_client_answer *answer)
{
    const struct hg_streams *streams = clients->config.streams;
    if (hg_streams_may_append(streams, s) && hg_streams_may_tell(streams, s))
        return true;
    refuse(clients, answer, hg_streams_was_granted(streams, s) ? HG_ATTACH_GRANT_ENDED : HG_ATTACH_GRANT,
           "stream %s can't be written now: group %u has no write grant; does the control plane run, and "
           "reach its metastore? See helioctl show groups",
           attach->name, s->group);
    return false;
}

static bool attach_check(struct hg_clients *clients, const struct hg_client_attach *attach, uint32_t stream,
                         struct hg_client_answer *answer)
{
    struct hg_streams *streams = clients->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, stream);
    bool produces = (attach->flags & HG_CLIENT_ATTACH_APPEND) != 0;
    if (produces && !s->origin_local) {
        if (s->region == clients->config.region)
            refuse(
                clients, answer, HG_ATTACH_OTHER_NODE,
                "stream %s is written at another node of this region (node %llu, 0 = not known yet): append "
                "there, see helioctl show groups",
                attach->name, (unsigned long long)s->origin_node);
        else
            refuse(clients, answer, HG_ATTACH_OTHER_REGION,
                   "stream %s originates in region %u, this is region %u: append there", attach->name,
                   s->region, clients->config.region);
        return false;
    }
    if (produces && hg_clients_is_deposed(clients, s)) {
        const struct hg_group *group = hg_streams_group(streams, s->group);
        refuse(
            clients, answer, HG_ATTACH_SEALED,
            "stream %s can't be written here: its group %u is sealed, epoch %llu is promised and not open: "
            "write where it is, see helioctl show groups",
            attach->name, s->group, (unsigned long long)hg_group_fence(group));
        return false;
    }
    if (produces && hg_streams_is_unnamed(streams, s->group)) {
        refuse(
            clients, answer, HG_ATTACH_UNNAMED,
            "stream %s can't be written here: this log has nothing of group %u, and the metastore can't be "
            "read or has another one written: see helioctl show groups",
            attach->name, s->group);
        return false;
    }
    if (produces && !grant_check(clients, attach, s, answer))
        return false;
    if (produces && has_producer(clients, stream)) {
        refuse(clients, answer, HG_ATTACH_PRODUCER,
               "stream %s has a producer already, and takes one: stop it first", attach->name);
        return false;
    }
    /* Only a producer decides what an empty stream is of; a reader may but disagree. */
    int rc = hg_streams_adopt(streams, stream,
                              produces || s->system_identifier != 0 ? attach->system_identifier : 0,
                              produces || s->incarnation != 0 ? attach->incarnation : 0,
                              produces || s->lsn_unit_bytes != 0 ? attach->lsn_unit_bytes : 0);
    if (rc == -EXDEV)
        refuse(clients, answer, HG_ATTACH_SYSTEM,
               "stream %s belongs to PostgreSQL system %llu with segments of %u bytes, not to %llu with %u",
               attach->name, (unsigned long long)s->system_identifier, s->lsn_unit_bytes,
               (unsigned long long)attach->system_identifier, attach->lsn_unit_bytes);
    else if (rc == -ESTALE)
        refuse(clients, answer, HG_ATTACH_TIMELINE,
               "stream %s is at timeline %u, not %u: what is here is kept; see docs/postgres.md",
               attach->name, s->incarnation, attach->incarnation);
    else if (rc != 0)
        refuse(clients, answer, HG_ATTACH_NO_ROOM,
               "the log has no room to record whose stream %s is: see helioctl show log", attach->name);
    return rc == 0;
}

/* One client a consumer: two would move its position past what the other has not read. */
static bool consumer_free(struct hg_clients *clients, const struct hg_client_attach *attach, uint32_t stream,
                          struct hg_client_answer *answer)
{
    int32_t consumer = hg_streams_consumer_find(clients->config.streams, attach->consumer);
    for (uint32_t i = 0; consumer >= 0 && i < clients->bound; i++)
        for (uint32_t j = 0; clients->table[i].used && j < HG_CLIENT_SLOTS; j++)
            if (clients->table[i].slots[j].used && clients->table[i].slots[j].consumer == consumer &&
                clients->table[i].slots[j].stream == stream) {
                refuse(
                    clients, answer, HG_ATTACH_CONSUMER_HELD,
                    "consumer %s of stream %s is held by client %s (pid %u): stop that one, or take another "
                    "name",
                    attach->consumer, attach->name, clients->table[i].name, clients->table[i].pid);
                return false;
            }
    return true;
}

static bool attach_subscribe(struct hg_clients *clients, const struct hg_client_attach *attach,
                             struct hg_clients_slot *slot, struct hg_client_answer *answer)
{
    struct hg_streams *streams = clients->config.streams;
    const struct hg_stream_state *s = hg_streams_at(streams, slot->stream);
    uint64_t lsn_from = attach->lsn_from;
    if (attach->consumer[0] != '\0') {
        if (!consumer_free(clients, attach, slot->stream, answer))
            return false;
        slot->consumer = hg_streams_consumer_add(streams, attach->consumer, slot->stream);
        if (slot->consumer < 0) {
            refuse(clients, answer, HG_ATTACH_CONSUMER,
                   "consumer %s can't be registered on %s: the name is taken by another stream, the table is "
                   "full, or the log has no room",
                   attach->consumer, attach->name);
            return false;
        }
        struct hg_consumer_state *consumer = hg_streams_consumer_at(streams, (uint32_t)slot->consumer);
        consumer->attached_count++;
        lsn_from = lsn_from != 0 ? lsn_from : consumer->lsn;
        if (lsn_from == 0 && consumer->let_go) /* it never acknowledged, and is to be told of the gap */
            lsn_from = s->lsn_begin;
    }
    /* Below the beginning nothing ever was; asked from there, the first byte must come first. */
    slot->lsn_next = lsn_from != 0 ? hg_max_u64(lsn_from, s->lsn_begin) : 0;
    /* Not from the tail: a stream that came back has batches there from before it left. */
    uint64_t lsn_first = slot->lsn_next != 0 ? slot->lsn_next : hg_streams_lsn_oldest(streams, slot->stream);
    slot->cursor.sequence = hg_max_u64(1, hg_streams_sequence_of(streams, slot->stream, lsn_first));
    slot->cursor.offset = 0;
    slot->walk_from = slot->cursor.sequence;
    (void)hg_clients_gap_check(clients, slot); /* told by delivery, as every hole is */
    answer->lsn_from = lsn_from != 0 ? slot->lsn_next : hg_streams_lsn_oldest(streams, slot->stream);
    return true;
}

static void attach_facts(struct hg_clients *clients, struct hg_client_ring *ring, uint32_t slot_index,
                         struct hg_clients_slot *slot, struct hg_client_answer *answer)
{
    const struct hg_stream_state *s = hg_streams_at(clients->config.streams, slot->stream);
    slot->attachment = hg_client_ring_slot_attach(ring, slot_index);
    answer->slot = (uint16_t)slot_index;
    answer->attachment = slot->attachment;
    answer->kind = s->kind;
    answer->incarnation = s->incarnation;
    answer->lsn_unit_bytes = s->lsn_unit_bytes;
    answer->stream = s->stream;
    answer->epoch = s->epoch;
    answer->system_identifier = s->system_identifier;
    answer->lsn_oldest = hg_streams_lsn_oldest(clients->config.streams, slot->stream);
    answer->lsn_end = s->lsn_taken;
    /* Of a reader without a write grant: what was told under the last one. */
    slot->told.lsn_durable = s->lsn_granted;
    slot->told.lsn_committed = s->lsn_committed;
    answer->lsn_durable =
        hg_streams_may_tell(clients->config.streams, s) ? s->lsn_durable : slot->told.lsn_durable;
    answer->code = 0;
    hg_clients_position_publish(clients, ring, slot_index, slot);
}

uint64_t hg_clients_attach(struct hg_clients *clients, uint32_t client, const struct hg_client_attach *attach,
                           struct hg_client_answer *answer)
{
    hg_assert(client < HG_CLIENTS_MAX && clients->table[client].used);
    struct hg_clients_entry *entry = &clients->table[client];
    answer->request = attach->request;
    int32_t stream = hg_streams_find_name(clients->config.streams, attach->name);
    if (stream < 0 || !hg_streams_at(clients->config.streams, (uint32_t)stream)->configured) {
        refuse(clients, answer, HG_ATTACH_UNKNOWN,
               "no stream %s is configured on this node: see helioctl show streams", attach->name);
        return 0;
    }
    if (hg_streams_at(clients->config.streams, (uint32_t)stream)->moving) {
        refuse(clients, answer, HG_ATTACH_MOVING, "stream %s is on its way to another worker: try again",
               attach->name);
        return 0;
    }
    if (entry->poisoned || entry->dismissed) { /* a place of its that is free is read as what it had there */
        refuse(clients, answer, HG_ATTACH_CLOSING,
               "the connection is about to be closed: attach on a new one");
        return 0;
    }
    uint32_t index = 0;
    while (index < HG_CLIENT_SLOTS && entry->slots[index].used)
        index++;
    if (index == HG_CLIENT_SLOTS) {
        refuse(clients, answer, HG_ATTACH_SLOTS, "a client attaches %u streams at most", HG_CLIENT_SLOTS);
        return 0;
    }
    if (!attach_check(clients, attach, (uint32_t)stream, answer))
        return 0;
    struct hg_clients_slot *slot = &entry->slots[index];
    memset(slot, 0, sizeof(*slot));
    slot->stream = (uint32_t)stream;
    slot->consumer = -1;
    slot->append = (attach->flags & HG_CLIENT_ATTACH_APPEND) != 0;
    slot->subscribe = (attach->flags & HG_CLIENT_ATTACH_SUBSCRIBE) != 0;
    if (slot->subscribe && !attach_subscribe(clients, attach, slot, answer))
        return 0;
    slot->used = true;
    entry->slots_bound = (uint32_t)hg_max_u64(entry->slots_bound, index + 1);
    attach_facts(clients, entry->ring, index, slot, answer);
    return slot->consumer < 0
               ? 0
               : hg_streams_consumer_at(clients->config.streams, (uint32_t)slot->consumer)->sequence;
}
