/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/switch.h"

#include <errno.h>
#include <stdio.h>

#define SLOT_NONE            UINT32_MAX
#define FRAME_OVER_MTU_BYTES 18 /* Ethernet header and one VLAN tag */

static_assert(HG_WAN_PORTS_MAX <= 16, "under_way has a bit for each port");
static_assert(HG_WAN_TRACKS_MAX <= 16, "tracks_busy has a bit for each track");

static uint64_t name_hash(uint64_t hash, const char *name)
{
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return (hash ^ 0xff) * UINT64_C(0x100000001b3);
}

static uint64_t pair_seed(const struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ (sw->seed * UINT64_C(0x9e3779b97f4a7c15));
    return name_hash(name_hash(hash, sw->ports[from].name), sw->ports[to].name);
}

void hg_wan_switch_init(struct hg_wan_switch *sw, struct hg_wan_slot *slots, uint32_t slot_count,
                        uint64_t seed)
{
    hg_assert(slot_count > 0 && slot_count < SLOT_NONE);
    memset(sw, 0, sizeof(*sw));
    sw->slots = slots;
    sw->slot_count = slot_count;
    sw->seed = seed;
    for (uint32_t i = 0; i < slot_count; i++)
        slots[i].next = i + 1 < slot_count ? i + 1 : SLOT_NONE;
}

int hg_wan_switch_find(const struct hg_wan_switch *sw, const char *name)
{
    for (uint32_t i = 0; i < sw->port_count; i++) {
        if (strcmp(sw->ports[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static void pair_init(struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    memset(pair, 0, sizeof(*pair));
    for (uint32_t i = 0; i < HG_WAN_TRACKS_MAX; i++)
        pair->tracks[i] = (struct hg_wan_track){.head = SLOT_NONE, .tail = SLOT_NONE};
    hg_wan_link_init(&pair->link, pair_seed(sw, from, to));
    pair->line = &pair->link;
}

int hg_wan_switch_port_add(struct hg_wan_switch *sw, const char *name, const uint8_t mac[6],
                           struct hg_port *port)
{
    hg_assert(strlen(name) < HG_WAN_NAME_BYTES_MAX);
    hg_assert((mac[0] & 1) == 0);
    if (sw->port_count == HG_WAN_PORTS_MAX)
        return -ENOSPC;
    for (uint32_t i = 0; i < sw->port_count; i++) {
        if (strcmp(sw->ports[i].name, name) == 0 || memcmp(sw->ports[i].mac, mac, 6) == 0)
            return -EEXIST;
    }
    uint32_t index = sw->port_count++;
    struct hg_wan_port *added = &sw->ports[index];
    memset(added, 0, sizeof(*added));
    added->port = port;
    memcpy(added->mac, mac, sizeof(added->mac));
    snprintf(added->name, sizeof(added->name), "%s", name);
    for (uint32_t other = 0; other <= index; other++) {
        pair_init(sw, index, other);
        pair_init(sw, other, index);
    }
    return (int)index;
}

void hg_wan_switch_seed(struct hg_wan_switch *sw, uint64_t seed)
{
    sw->seed = seed;
    for (uint32_t from = 0; from < sw->port_count; from++) {
        for (uint32_t to = 0; to < sw->port_count; to++)
            hg_wan_link_seed(&sw->pairs[from][to].link, pair_seed(sw, from, to));
    }
}

/* --- frames under way --- */

static void pair_push(struct hg_wan_switch *sw, uint32_t from, uint32_t to, const struct hg_packet *packet,
                      const struct hg_wan_arrival *arrival)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_wan_track *track = &pair->tracks[arrival->track];
    uint32_t index = sw->slot_free;
    struct hg_wan_slot *slot = &sw->slots[index];
    sw->slot_free = slot->next;
    sw->slots_used++;
    slot->packet = *packet;
    slot->due_ns = arrival->due_ns;
    slot->next = SLOT_NONE;
    if (track->tail == SLOT_NONE) {
        track->head = index;
    } else {
        /* A pair that took another line meanwhile: nothing overtakes what is under way. */
        slot->due_ns = hg_max_u64(slot->due_ns, sw->slots[track->tail].due_ns);
        sw->slots[track->tail].next = index;
    }
    track->tail = index;
    pair->count++;
    pair->tracks_busy |= (uint16_t)(1u << arrival->track);
    sw->under_way[to] |= (uint16_t)(1u << from);
}

static void pair_pop(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t track_index)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_wan_track *track = &pair->tracks[track_index];
    uint32_t index = track->head;
    hg_assert(index != SLOT_NONE && pair->count > 0);
    track->head = sw->slots[index].next;
    sw->slots[index].next = sw->slot_free;
    sw->slot_free = index;
    sw->slots_used--;
    pair->count--;
    if (track->head != SLOT_NONE)
        return;
    track->tail = SLOT_NONE;
    pair->tracks_busy &= (uint16_t) ~(1u << track_index);
    if (pair->tracks_busy == 0)
        sw->under_way[to] &= (uint16_t) ~(1u << from);
}

static void frame_release(struct hg_wan_switch *sw, uint32_t port, struct hg_packet *packet)
{
    struct hg_port *owner = sw->ports[port].port;
    owner->release(owner, packet, 1);
}

/* Drops the head of a track. */
static void pair_drop(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t track)
{
    frame_release(sw, to, &sw->slots[sw->pairs[from][to].tracks[track].head].packet);
    pair_pop(sw, from, to, track);
}

static uint64_t pair_drop_all(struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    uint64_t dropped = 0;
    for (; pair->tracks_busy != 0; dropped++)
        pair_drop(sw, from, to, (uint32_t)__builtin_ctz(pair->tracks_busy));
    return dropped;
}

void hg_wan_switch_cut(struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    hg_assert(from < sw->port_count && to < sw->port_count);
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    pair->link.cut = true;
    pair->stats.lost_cut += pair_drop_all(sw, from, to);
    for (uint32_t i = 0; i < sw->port_count; i++)
        for (uint32_t j = 0; j < sw->port_count; j++)
            if (sw->pairs[i][j].line == &pair->link)
                sw->pairs[i][j].stats.lost_cut += pair_drop_all(sw, i, j);
}

void hg_wan_switch_restore(struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    hg_assert(from < sw->port_count && to < sw->port_count);
    sw->pairs[from][to].link.cut = false;
}

void hg_wan_switch_set(struct hg_wan_switch *sw, uint32_t from, uint32_t to,
                       const struct hg_wan_impairment *impairment)
{
    hg_assert(from < sw->port_count && to < sw->port_count);
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    pair->line = &pair->link;
    hg_wan_link_set(&pair->link, impairment);
}

void hg_wan_switch_join(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t line_from,
                        uint32_t line_to)
{
    hg_assert(from < sw->port_count && to < sw->port_count);
    hg_assert(line_from < sw->port_count && line_to < sw->port_count);
    hg_assert(from != line_from || to != line_to);
    sw->pairs[from][to].line = sw->pairs[line_from][line_to].line;
}

void hg_wan_switch_line(const struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint32_t *line_from,
                        uint32_t *line_to)
{
    for (*line_from = 0; *line_from < sw->port_count; (*line_from)++)
        for (*line_to = 0; *line_to < sw->port_count; (*line_to)++)
            if (sw->pairs[from][to].line == &sw->pairs[*line_from][*line_to].link)
                return;
    hg_assert(false);
}

void hg_wan_switch_drain(struct hg_wan_switch *sw)
{
    for (uint32_t from = 0; from < sw->port_count; from++) {
        for (uint32_t to = 0; to < sw->port_count; to++)
            pair_drop_all(sw, from, to);
    }
    hg_assert(sw->slots_used == 0);
}

/* --- in --- */

/* Counts why a frame won't arrive; NULL when it will. */
static uint64_t *refusal(struct hg_wan_switch *sw, struct hg_wan_pair *pair, uint32_t to,
                         const struct hg_packet *packet, uint64_t now_ns, struct hg_wan_arrival *arrival)
{
    struct hg_wan_offer offer = {.bytes = packet->bytes};
    offer.payload_bytes = packet->bytes - hg_wan_frame_payload_at(packet->data, packet->bytes);
    if (pair->line->impairment.path_by_flow)
        offer.flow = hg_wan_frame_flow(packet->data, packet->bytes);
    if (pair->link.cut)
        return &pair->stats.lost_cut;
    switch (hg_wan_link_offer(pair->line, now_ns, &offer, arrival)) {
    case HG_WAN_FATE_LOST:
        return &pair->stats.lost_loss;
    case HG_WAN_FATE_QUEUE_FULL:
        return &pair->stats.lost_queue;
    case HG_WAN_FATE_CUT:
        return &pair->stats.lost_cut;
    case HG_WAN_FATE_OVER_MTU:
        return &pair->stats.lost_mtu;
    case HG_WAN_FATE_ARRIVES:
        break;
    }
    if (packet->bytes > (uint32_t)sw->ports[to].port->mtu_bytes + FRAME_OVER_MTU_BYTES)
        return &pair->stats.lost_too_big;
    if (sw->slot_free == SLOT_NONE)
        return &pair->stats.lost_memory;
    return NULL;
}

/* A copy in a packet of port `to`; false when there is no memory for one. */
static bool copy_make(struct hg_wan_switch *sw, uint32_t to, const struct hg_packet *packet,
                      struct hg_packet *copy)
{
    struct hg_port *port = sw->ports[to].port;
    if (sw->slot_free == SLOT_NONE || port->allocate(port, copy, 1) == 0)
        return false;
    hg_assert(packet->bytes <= copy->bytes_max);
    memcpy(copy->data, packet->data, packet->bytes);
    copy->bytes = packet->bytes;
    return true;
}

/* Puts a frame on the line, with all that happens to it there. */
static void put(struct hg_wan_switch *sw, uint32_t from, uint32_t to, struct hg_packet *packet,
                const struct hg_wan_arrival *arrival)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_packet copy;
    if (arrival->mark)
        pair->stats.marked += hg_wan_frame_mark(packet->data, packet->bytes);
    if (arrival->corrupt &&
        hg_wan_frame_corrupt(packet->data, packet->bytes, pair->line->impairment.corrupt_header,
                             arrival->corrupt_random))
        pair->stats.corrupted++;
    pair_push(sw, from, to, packet, arrival);
    pair->stats.reordered += arrival->late;
    pair->stats.detoured += arrival->detour;
    if (!arrival->duplicate)
        return;
    if (!copy_make(sw, to, packet, &copy)) {
        pair->stats.lost_memory++;
        return;
    }
    pair->stats.duplicated++;
    pair_push(sw, from, to, &copy, arrival);
}

/* Tells the sender of a packet that was too large for the link; the answer comes at once, as from a router
 * beside it. */
static void answer_too_big(struct hg_wan_switch *sw, uint32_t from, struct hg_wan_pair *asked,
                           const struct hg_packet *packet, uint64_t now_ns)
{
    uint8_t text[HG_WAN_FRAME_ANSWER_BYTES_MAX];
    uint32_t bytes =
        hg_wan_frame_too_big(packet->data, packet->bytes, (uint32_t)asked->line->impairment.mtu_bytes, text);
    struct hg_packet said = {.data = text, .bytes = bytes};
    struct hg_packet copy;
    struct hg_wan_arrival arrival;
    if (bytes == 0 || refusal(sw, &sw->pairs[from][from], from, &said, now_ns, &arrival) != NULL ||
        !copy_make(sw, from, &said, &copy)) {
        asked->stats.icmp_unsent++;
        return;
    }
    asked->stats.icmp_sent++;
    pair_push(sw, from, from, &copy, &arrival);
}

static void refuse(struct hg_wan_switch *sw, uint32_t from, struct hg_wan_pair *pair, uint64_t *counter,
                   const struct hg_packet *packet, uint64_t now_ns)
{
    (*counter)++;
    if (counter == &pair->stats.lost_mtu && pair->line->impairment.mtu_icmp)
        answer_too_big(sw, from, pair, packet, now_ns);
}

static void forward(struct hg_wan_switch *sw, uint32_t from, uint32_t to, struct hg_packet *packet,
                    uint64_t now_ns)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_wan_arrival arrival;
    uint64_t *counter = refusal(sw, pair, to, packet, now_ns, &arrival);
    if (counter == NULL) {
        put(sw, from, to, packet, &arrival);
        return;
    }
    refuse(sw, from, pair, counter, packet, now_ns);
    frame_release(sw, from, packet);
}

/* A copy for each other port, made only if it will arrive. */
static void flood(struct hg_wan_switch *sw, uint32_t from, struct hg_packet *packet, uint64_t now_ns)
{
    for (uint32_t to = 0; to < sw->port_count; to++) {
        struct hg_wan_pair *pair = &sw->pairs[from][to];
        struct hg_packet copy;
        struct hg_wan_arrival arrival;
        if (to == from)
            continue;
        uint64_t *counter = refusal(sw, pair, to, packet, now_ns, &arrival);
        if (counter == NULL && !copy_make(sw, to, packet, &copy))
            counter = &pair->stats.lost_memory;
        if (counter != NULL)
            refuse(sw, from, pair, counter, packet, now_ns);
        else
            put(sw, from, to, &copy, &arrival);
    }
    frame_release(sw, from, packet);
}

static int owner_find(const struct hg_wan_switch *sw, const uint8_t *mac)
{
    for (uint32_t i = 0; i < sw->port_count; i++) {
        if (memcmp(sw->ports[i].mac, mac, 6) == 0)
            return (int)i;
    }
    return -1;
}

static void receive_one(struct hg_wan_switch *sw, uint32_t from, struct hg_packet *packet, uint64_t now_ns)
{
    struct hg_wan_port_stats *stats = &sw->ports[from].stats;
    const uint8_t *destination = packet->data;
    stats->rx++;
    stats->rx_bytes += packet->bytes;
    if (packet->bytes < HG_WAN_FRAME_HEADER_BYTES) {
        stats->runt++;
        frame_release(sw, from, packet);
        return;
    }
    if ((destination[0] & 1) != 0) {
        flood(sw, from, packet, now_ns);
        return;
    }
    int to = owner_find(sw, destination);
    if (to >= 0 && (uint32_t)to != from) {
        forward(sw, from, (uint32_t)to, packet, now_ns);
        return;
    }
    if (to < 0)
        stats->unknown_unicast++;
    else
        stats->reflected++;
    frame_release(sw, from, packet);
}

void hg_wan_switch_receive(struct hg_wan_switch *sw, uint32_t from, struct hg_packet *packets, uint32_t n,
                           uint64_t now_ns)
{
    hg_assert(from < sw->port_count);
    for (uint32_t i = 0; i < n; i++)
        receive_one(sw, from, &packets[i], now_ns);
}

/* --- out --- */

/* What the receiver didn't take waits a while, then it is dropped so that a slow receiver doesn't fill the
 * memory of all. The while begins with the first refusal: if it was the emulator that slept, it gets the same
 * time to catch up. */
static void pair_expire(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint64_t now_ns)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    if (pair->behind_since_ns == 0)
        pair->behind_since_ns = now_ns;
    if (now_ns - pair->behind_since_ns <= HG_WAN_TX_WAIT_NS)
        return;
    for (uint32_t bits = pair->tracks_busy; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(bits);
        const struct hg_wan_track *track = &pair->tracks[i];
        while (track->head != SLOT_NONE && sw->slots[track->head].due_ns + HG_WAN_TX_WAIT_NS < now_ns) {
            pair_drop(sw, from, to, i);
            pair->stats.lost_tx_full++;
        }
    }
}

/* A burst on its way out: the packets, and which track's head each was. */
struct burst {
    uint32_t count;
    struct hg_packet packets[HG_PORT_BURST_MAX];
    uint8_t tracks[HG_PORT_BURST_MAX];
};

/* What is due, oldest first over all tracks. It stays where it is until pair_pop(). */
static void pair_due(const struct hg_wan_switch *sw, const struct hg_wan_pair *pair, uint64_t now_ns,
                     struct burst *burst)
{
    uint32_t next[HG_WAN_TRACKS_MAX];
    uint32_t busy = pair->tracks_busy;
    burst->count = 0;
    for (uint32_t bits = busy; bits != 0; bits &= bits - 1)
        next[__builtin_ctz(bits)] = pair->tracks[__builtin_ctz(bits)].head;
    while (busy != 0 && burst->count < HG_PORT_BURST_MAX) {
        uint32_t first = (uint32_t)__builtin_ctz(busy);
        for (uint32_t bits = busy & (busy - 1); bits != 0; bits &= bits - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(bits);
            if (sw->slots[next[i]].due_ns < sw->slots[next[first]].due_ns)
                first = i;
        }
        const struct hg_wan_slot *slot = &sw->slots[next[first]];
        if (slot->due_ns > now_ns)
            return;
        /* Cold after the delay: the port reads both next. */
        __builtin_prefetch(slot->packet.handle);
        __builtin_prefetch(slot->packet.data);
        burst->packets[burst->count] = slot->packet;
        burst->tracks[burst->count++] = (uint8_t)first;
        next[first] = slot->next;
        if (slot->next == SLOT_NONE)
            busy &= ~(1u << first);
    }
}

static void pair_sent(struct hg_wan_switch *sw, uint32_t from, uint32_t to, const struct burst *burst,
                      uint32_t sent, uint64_t now_ns)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_wan_port_stats *stats = &sw->ports[to].stats;
    for (uint32_t i = 0; i < sent; i++) {
        const struct hg_wan_slot *slot = &sw->slots[pair->tracks[burst->tracks[i]].head];
        pair->stats.overdue += slot->due_ns + HG_WAN_OVERDUE_NS < now_ns;
        pair->stats.forwarded_bytes += burst->packets[i].bytes;
        stats->tx_bytes += burst->packets[i].bytes;
        pair_pop(sw, from, to, burst->tracks[i]);
    }
    pair->stats.forwarded += sent;
    stats->tx += sent;
}

static uint32_t pair_deliver(struct hg_wan_switch *sw, uint32_t from, uint32_t to, uint64_t now_ns)
{
    struct hg_wan_pair *pair = &sw->pairs[from][to];
    struct hg_port *port = sw->ports[to].port;
    struct burst burst;
    uint32_t total = 0;
    for (;;) {
        pair_due(sw, pair, now_ns, &burst);
        if (burst.count == 0) {
            pair->behind_since_ns = 0;
            return total;
        }
        uint32_t sent = 0;
        bool up = __atomic_load_n(&port->link_up, __ATOMIC_RELAXED);
        if (up)
            sent = port->transmit(port, burst.packets, burst.count);
        hg_assert(sent <= burst.count);
        pair_sent(sw, from, to, &burst, sent, now_ns);
        total += sent;
        if (sent == burst.count)
            continue;
        if (up) {
            pair_expire(sw, from, to, now_ns);
            return total;
        }
        for (uint32_t i = 0; i < burst.count; i++)
            pair_drop(sw, from, to, burst.tracks[i]);
        pair->stats.lost_port_down += burst.count;
    }
}

uint32_t hg_wan_switch_deliver(struct hg_wan_switch *sw, uint64_t now_ns)
{
    uint32_t total = 0;
    for (uint32_t to = 0; to < sw->port_count; to++) {
        for (uint32_t bits = sw->under_way[to]; bits != 0; bits &= bits - 1)
            total += pair_deliver(sw, (uint32_t)__builtin_ctz(bits), to, now_ns);
    }
    return total;
}

static uint64_t pair_head_ns(const struct hg_wan_switch *sw, const struct hg_wan_pair *pair)
{
    uint64_t head_ns = HG_TIME_NEVER;
    for (uint32_t bits = pair->tracks_busy; bits != 0; bits &= bits - 1)
        head_ns = hg_min_u64(head_ns, sw->slots[pair->tracks[__builtin_ctz(bits)].head].due_ns);
    return head_ns;
}

uint64_t hg_wan_switch_due_ns(const struct hg_wan_switch *sw, uint64_t now_ns)
{
    uint64_t due_ns = HG_TIME_NEVER;
    for (uint32_t to = 0; to < sw->port_count; to++) {
        for (uint32_t bits = sw->under_way[to]; bits != 0; bits &= bits - 1) {
            uint64_t head_ns = pair_head_ns(sw, &sw->pairs[__builtin_ctz(bits)][to]);
            /* Overdue: the receiver didn't take it a moment ago. */
            due_ns = hg_min_u64(due_ns, head_ns > now_ns ? head_ns : now_ns + HG_WAN_TX_RETRY_NS);
        }
    }
    return due_ns;
}
