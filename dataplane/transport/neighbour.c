/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/neighbour.h"

void hg_neighbours_init(struct hg_neighbours *neighbours)
{
    memset(neighbours, 0, sizeof(*neighbours));
}

static void neighbour_ask(struct hg_neighbour *neighbour, enum hg_neighbour_state state, uint64_t now_ns)
{
    neighbour->state = (uint8_t)state;
    neighbour->solicits = 0;
    neighbour->due_ns = now_ns;
}

void hg_neighbours_start(struct hg_neighbours *neighbours, const uint8_t mac[6],
                         const struct hg_network *network, uint64_t now_ns)
{
    if (memcmp(&neighbours->network, network, sizeof(*network)) != 0)
        neighbours->count = 0;
    memcpy(neighbours->mac, mac, sizeof(neighbours->mac));
    neighbours->network = *network;
    neighbours->announces = hg_address_is_set(&network->address) ? HG_NEIGHBOUR_ANNOUNCES : 0;
    neighbours->announce_ns = now_ns;
    for (uint32_t i = 0; i < neighbours->count; i++) {
        struct hg_neighbour *neighbour = &neighbours->table[i];
        neighbour_ask(neighbour, neighbour->mac_known ? HG_NEIGHBOUR_PROBE : HG_NEIGHBOUR_INCOMPLETE, now_ns);
    }
}

/* ---- events ---- */

static void event_put(struct hg_neighbours *neighbours, enum hg_neighbour_event_type type,
                      const struct hg_address *address, const uint8_t *mac, const uint8_t *mac_before)
{
    if (neighbours->event_count == HG_NEIGHBOUR_EVENTS_MAX) {
        neighbours->counters.drop_events++;
        return;
    }
    struct hg_neighbour_event *event = &neighbours->events[neighbours->event_count++];
    memset(event, 0, sizeof(*event));
    event->type = type;
    event->address = *address;
    if (mac != NULL)
        memcpy(event->mac, mac, sizeof(event->mac));
    if (mac_before != NULL)
        memcpy(event->mac_before, mac_before, sizeof(event->mac_before));
}

bool hg_neighbours_event(struct hg_neighbours *neighbours, struct hg_neighbour_event *event)
{
    if (neighbours->event_count == 0)
        return false;
    *event = neighbours->events[0];
    neighbours->event_count--;
    memmove(&neighbours->events[0], &neighbours->events[1],
            neighbours->event_count * sizeof(neighbours->events[0]));
    return true;
}

/* ---- the table ---- */

static struct hg_neighbour *find(struct hg_neighbours *neighbours, const struct hg_address *address)
{
    for (uint32_t i = 0; i < neighbours->count; i++)
        if (hg_address_equal(&neighbours->table[i].address, address))
            return &neighbours->table[i];
    return NULL;
}

static struct hg_neighbour *add(struct hg_neighbours *neighbours, const struct hg_address *address,
                                uint64_t now_ns)
{
    struct hg_neighbour *place = &neighbours->table[0];
    if (neighbours->count < HG_NEIGHBOURS_MAX) {
        place = &neighbours->table[neighbours->count++];
    } else {
        for (uint32_t i = 1; i < neighbours->count; i++)
            if (neighbours->table[i].used_ns < place->used_ns)
                place = &neighbours->table[i];
        if (now_ns - place->used_ns < HG_NEIGHBOUR_UNUSED_NS) {
            neighbours->counters.drop_table++;
            return NULL;
        }
    }
    memset(place, 0, sizeof(*place));
    place->address = *address;
    neighbour_ask(place, HG_NEIGHBOUR_INCOMPLETE, now_ns);
    return place;
}

const uint8_t *hg_neighbours_mac(struct hg_neighbours *neighbours, const struct hg_address *to,
                                 uint64_t now_ns)
{
    const struct hg_network *network = &neighbours->network;
    bool on_link =
        hg_address_in_prefix(to, &network->address, network->prefix_bits) || hg_address_is_link_local(to);
    const struct hg_address *hop = on_link ? to : &network->gateway;
    if (!hg_address_is_set(&network->address) || hop->family != network->address.family) {
        neighbours->counters.drop_no_route++;
        return NULL;
    }
    struct hg_neighbour *neighbour = find(neighbours, hop);
    if (neighbour == NULL)
        neighbour = add(neighbours, hop, now_ns);
    if (neighbour == NULL)
        return NULL;
    if (neighbour->due_ns == HG_TIME_NEVER) /* it was given up, as nobody wanted it */
        neighbour_ask(neighbour, HG_NEIGHBOUR_INCOMPLETE, now_ns);
    neighbour->used_ns = now_ns;
    return neighbour->mac_known ? neighbour->mac : NULL;
}

/* `asked`: it answers what we asked, so it hears us too. */
static void learn(struct hg_neighbours *neighbours, struct hg_neighbour *neighbour,
                  const struct hg_neighbour_message *message, bool overrides, bool answers, uint64_t now_ns)
{
    bool other = neighbour->mac_known && memcmp(neighbour->mac, message->mac, 6) != 0;
    bool asked = neighbour->state != HG_NEIGHBOUR_REACHABLE && neighbour->state != HG_NEIGHBOUR_STALE &&
                 neighbour->solicits > 0;
    bool was_lost = neighbour->state == HG_NEIGHBOUR_UNREACHABLE;
    if (other && !overrides) {
        if (neighbour->state == HG_NEIGHBOUR_REACHABLE)
            neighbour_ask(neighbour, HG_NEIGHBOUR_PROBE, now_ns); /* who is right? */
        return;
    }
    if (other)
        event_put(neighbours, HG_NEIGHBOUR_EVENT_CHANGED, &neighbour->address, message->mac, neighbour->mac);
    bool news = other || !neighbour->mac_known;
    memcpy(neighbour->mac, message->mac, sizeof(neighbour->mac));
    neighbour->mac_known = true;
    if (answers && asked) {
        neighbour->state = HG_NEIGHBOUR_REACHABLE;
        neighbour->due_ns = now_ns + HG_NEIGHBOUR_REACHABLE_NS;
    } else if (news) {
        neighbour->state = HG_NEIGHBOUR_STALE;
        neighbour->due_ns = now_ns + HG_NEIGHBOUR_DELAY_NS;
    }
    if (was_lost)
        event_put(neighbours, HG_NEIGHBOUR_EVENT_FOUND, &neighbour->address, neighbour->mac, NULL);
}

/* ---- receiving ---- */

static bool bucket_take(uint64_t *bucket_ns, uint32_t burst, uint64_t gap_ns, uint64_t now_ns)
{
    if (*bucket_ns > now_ns + (burst - 1) * gap_ns)
        return false;
    *bucket_ns = hg_max_u64(*bucket_ns, now_ns) + gap_ns;
    return true;
}

/* Another station says that our address is its own. We keep it (RFC 5227 2.4 b). */
static uint32_t duplicate(struct hg_neighbours *neighbours, const uint8_t mac[6], uint64_t now_ns,
                          uint8_t *answer)
{
    neighbours->counters.drop_duplicate++;
    if (now_ns < neighbours->defend_ns)
        return 0;
    neighbours->defend_ns = now_ns + HG_NEIGHBOUR_DEFEND_NS;
    event_put(neighbours, HG_NEIGHBOUR_EVENT_DUPLICATE, &neighbours->network.address, mac, NULL);
    neighbours->counters.tx_announces++;
    return hg_neighbour_answer_write(answer, neighbours->mac, &neighbours->network, NULL);
}

static uint32_t request_in(struct hg_neighbours *neighbours, const struct hg_neighbour_message *message,
                           uint64_t now_ns, uint8_t *answer)
{
    const struct hg_address *own = &neighbours->network.address;
    if (hg_address_equal(&message->sender, own))
        return duplicate(neighbours, message->mac, now_ns, answer);
    struct hg_neighbour *neighbour =
        hg_address_is_set(&message->sender) ? find(neighbours, &message->sender) : NULL;
    if (neighbour != NULL)
        learn(neighbours, neighbour, message, true, false, now_ns);
    if (!hg_address_equal(&message->target, own)) {
        neighbours->counters.drop_other++;
        return 0;
    }
    if (!bucket_take(&neighbours->answer_bucket_ns, HG_NEIGHBOUR_ANSWER_BURST, HG_NEIGHBOUR_ANSWER_GAP_NS,
                     now_ns)) {
        neighbours->counters.drop_rate++;
        return 0;
    }
    neighbours->counters.rx_requests++;
    return hg_neighbour_answer_write(answer, neighbours->mac, &neighbours->network, message);
}

static uint32_t answer_in(struct hg_neighbours *neighbours, const struct hg_neighbour_message *message,
                          uint64_t now_ns, uint8_t *answer)
{
    if (hg_address_equal(&message->target, &neighbours->network.address))
        return duplicate(neighbours, message->mac, now_ns, answer);
    struct hg_neighbour *neighbour = find(neighbours, &message->target);
    if (neighbour == NULL) {
        neighbours->counters.drop_unasked++;
        return 0;
    }
    neighbours->counters.rx_answers++;
    learn(neighbours, neighbour, message, message->overrides, message->solicited, now_ns);
    return 0;
}

static uint32_t echo_in(struct hg_neighbours *neighbours, const uint8_t *frame,
                        const struct hg_neighbour_message *message, uint64_t now_ns, uint8_t *answer)
{
    if (!hg_address_equal(&message->target, &neighbours->network.address)) {
        neighbours->counters.drop_other++;
        return 0;
    }
    if (!bucket_take(&neighbours->echo_bucket_ns, HG_NEIGHBOUR_ECHO_BURST, HG_NEIGHBOUR_ECHO_GAP_NS,
                     now_ns)) {
        neighbours->counters.drop_rate++;
        return 0;
    }
    uint32_t bytes = hg_neighbour_echo_write(answer, neighbours->mac, frame, message);
    if (bytes == 0)
        neighbours->counters.drop_echo_bytes++;
    else
        neighbours->counters.rx_echos++;
    return bytes;
}

uint32_t hg_neighbours_receive(struct hg_neighbours *neighbours, const uint8_t *frame, uint32_t bytes,
                               uint64_t now_ns, uint8_t *answer)
{
    struct hg_neighbour_message message;
    enum hg_neighbour_reason reason = hg_neighbour_read(frame, bytes, &message);
    if (reason != HG_NEIGHBOUR_OK) {
        neighbours->counters.drop_checksum += reason == HG_NEIGHBOUR_CHECKSUM;
        neighbours->counters.drop_malformed += reason == HG_NEIGHBOUR_MALFORMED;
        return 0;
    }
    if (message.kind == HG_NEIGHBOUR_NONE) {
        neighbours->counters.drop_kind++;
        return 0;
    }
    if (message.vlan != neighbours->network.vlan) {
        neighbours->counters.drop_vlan++;
        return 0;
    }
    if (!hg_address_is_set(&neighbours->network.address)) {
        neighbours->counters.drop_other++;
        return 0;
    }
    if (memcmp(message.mac, neighbours->mac, sizeof(message.mac)) == 0) {
        neighbours->counters.drop_loop++;
        return 0;
    }
    switch (message.kind) {
    case HG_NEIGHBOUR_REQUEST:
        return request_in(neighbours, &message, now_ns, answer);
    case HG_NEIGHBOUR_ANSWER:
        return answer_in(neighbours, &message, now_ns, answer);
    default:
        return echo_in(neighbours, frame, &message, now_ns, answer);
    }
}

/* ---- asking ---- */

static uint32_t announce(struct hg_neighbours *neighbours, uint64_t now_ns, uint8_t *frame)
{
    const struct hg_network *network = &neighbours->network;
    bool first = neighbours->announces == HG_NEIGHBOUR_ANNOUNCES;
    neighbours->announces--;
    neighbours->announce_ns = now_ns + HG_NEIGHBOUR_ANNOUNCE_NS;
    neighbours->counters.tx_announces++;
    if (first)
        return hg_neighbour_request_write(frame, neighbours->mac, network, &network->address, NULL, true);
    return hg_neighbour_answer_write(frame, neighbours->mac, network, NULL);
}

/* Its time has come. Whether it is to be asked now. */
static bool neighbour_due(struct hg_neighbours *neighbours, struct hg_neighbour *neighbour, uint64_t now_ns)
{
    if (now_ns - neighbour->used_ns >= HG_NEIGHBOUR_UNUSED_NS) {
        neighbour->due_ns = HG_TIME_NEVER; /* nobody wants it: its place is free for another one */
        neighbour->state = HG_NEIGHBOUR_INCOMPLETE;
        neighbour->mac_known = false;
        return false;
    }
    if (neighbour->state == HG_NEIGHBOUR_REACHABLE || neighbour->state == HG_NEIGHBOUR_STALE) {
        neighbour_ask(neighbour, HG_NEIGHBOUR_PROBE, now_ns);
    } else if (neighbour->state == HG_NEIGHBOUR_PROBE && neighbour->solicits == HG_NEIGHBOUR_SOLICITS) {
        neighbour_ask(neighbour, HG_NEIGHBOUR_INCOMPLETE, now_ns);
    } else if (neighbour->state == HG_NEIGHBOUR_INCOMPLETE && neighbour->solicits == HG_NEIGHBOUR_SOLICITS) {
        neighbour->state = HG_NEIGHBOUR_UNREACHABLE;
        neighbour->mac_known = false;
        event_put(neighbours, HG_NEIGHBOUR_EVENT_UNREACHABLE, &neighbour->address, NULL, NULL);
    }
    return true;
}

static uint32_t neighbour_request(struct hg_neighbours *neighbours, struct hg_neighbour *neighbour,
                                  uint64_t now_ns, uint8_t *frame)
{
    if (!neighbour_due(neighbours, neighbour, now_ns))
        return 0;
    bool lost = neighbour->state == HG_NEIGHBOUR_UNREACHABLE;
    neighbour->solicits += !lost;
    neighbour->due_ns = now_ns + (lost ? HG_NEIGHBOUR_AGAIN_NS : HG_NEIGHBOUR_RETRANSMIT_NS);
    neighbours->counters.tx_requests++;
    return hg_neighbour_request_write(frame, neighbours->mac, &neighbours->network, &neighbour->address,
                                      neighbour->state == HG_NEIGHBOUR_PROBE ? neighbour->mac : NULL, false);
}

uint32_t hg_neighbours_build(struct hg_neighbours *neighbours, uint64_t now_ns,
                             uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX])
{
    if (neighbours->announces > 0 && neighbours->announce_ns <= now_ns)
        return announce(neighbours, now_ns, frame);
    for (uint32_t i = 0; i < neighbours->count; i++) {
        uint32_t bytes = 0;
        if (neighbours->table[i].due_ns <= now_ns)
            bytes = neighbour_request(neighbours, &neighbours->table[i], now_ns, frame);
        if (bytes > 0)
            return bytes;
    }
    return 0;
}

uint64_t hg_neighbours_deadline_ns(const struct hg_neighbours *neighbours)
{
    uint64_t deadline_ns = neighbours->announces > 0 ? neighbours->announce_ns : HG_TIME_NEVER;
    for (uint32_t i = 0; i < neighbours->count; i++)
        deadline_ns = hg_min_u64(deadline_ns, neighbours->table[i].due_ns);
    return deadline_ns;
}
