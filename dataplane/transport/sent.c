/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/sent.h"
#include "dataplane/transport/bits.h"

static uint64_t sent_packets_bytes(uint32_t count)
{
    return (uint64_t)count * sizeof(struct hg_sent_packet);
}

static uint64_t sent_samples_bytes(uint32_t count)
{
    return (uint64_t)count * sizeof(struct hg_sent_sample);
}

uint64_t hg_sent_memory_bytes(uint32_t count)
{
    return sent_packets_bytes(count) + sent_samples_bytes(count) +
           hg_align_up(count / 8, HG_CACHE_LINE_BYTES);
}

void hg_sent_init(struct hg_sent *sent, void *memory, uint32_t count)
{
    hg_assert(count >= 64 && (count & (count - 1)) == 0);
    memset(sent, 0, sizeof(*sent));
    memset(memory, 0, hg_sent_memory_bytes(count));
    sent->packets = memory;
    sent->samples = (struct hg_sent_sample *)((uint8_t *)memory + sent_packets_bytes(count));
    sent->tracked = (uint64_t *)((uint8_t *)sent->samples + sent_samples_bytes(count));
    sent->count = count;
    sent->number_oldest = 1;
}

static uint32_t sent_place(const struct hg_sent *sent, uint64_t number)
{
    return (uint32_t)(number & (sent->count - 1));
}

/* The first number that can be tracked once `number_last` is the newest. */
static uint64_t sent_floor(const struct hg_sent *sent, uint64_t number_last)
{
    return number_last < sent->count ? 1 : number_last - sent->count + 1;
}

bool hg_sent_is_taken(const struct hg_sent *sent, uint64_t number)
{
    return sent->packets[sent_place(sent, number)].state == HG_SENT_IN_FLIGHT;
}

bool hg_sent_has_room(const struct hg_sent *sent, uint64_t number)
{
    if (sent->packets_in_flight == 0) {
        return true;
    }
    uint64_t from = hg_max_u64(sent->number_cleared + 1, sent_floor(sent, number));
    for (uint64_t n = from; n <= number; n++) {
        if (sent->packets[sent_place(sent, n)].state == HG_SENT_IN_FLIGHT) {
            return false;
        }
    }
    return true;
}

struct hg_sent_packet *hg_sent_in_way(struct hg_sent *sent, uint64_t number)
{
    hg_assert(number > sent->number_last);
    uint64_t from = hg_max_u64(sent->number_cleared + 1, sent_floor(sent, number));
    for (uint64_t n = from; n <= number; n++) {
        uint32_t place = sent_place(sent, n);
        if (sent->packets[place].state == HG_SENT_IN_FLIGHT) {
            sent->number_cleared = n - 1;
            return &sent->packets[place];
        }
        sent->packets[place].state = HG_SENT_FREE;
        hg_bits_clear(sent->tracked, place);
    }
    sent->number_cleared = number;
    return NULL;
}

struct hg_sent_packet *hg_sent_draft(struct hg_sent *sent, uint64_t number)
{
    hg_assert(sent->number_cleared == number);
    struct hg_sent_packet *packet = &sent->packets[sent_place(sent, number)];
    hg_assert(packet->state == HG_SENT_FREE);
    packet->number = number;
    packet->fragment_count = 0;
    packet->control_count = 0;
    packet->marked = false;
    return packet;
}

void hg_sent_commit(struct hg_sent *sent, struct hg_sent_packet *packet, uint32_t bytes, uint64_t now_ns)
{
    hg_assert(packet->state == HG_SENT_FREE && packet->number > sent->number_last);
    hg_assert(packet->number == sent->number_cleared);
    packet->state = HG_SENT_IN_FLIGHT;
    packet->bytes = bytes;
    packet->sent_ns = now_ns;
    hg_bits_set(sent->tracked, sent_place(sent, packet->number));
    sent->number_last = packet->number;
    sent->bytes_in_flight += bytes;
    sent->packets_in_flight++;
}

void hg_sent_skip(struct hg_sent *sent, uint64_t number)
{
    hg_assert(number > sent->number_last && number == sent->number_cleared);
    sent->number_last = number;
}

static void sent_landed(struct hg_sent *sent, const struct hg_sent_packet *packet)
{
    hg_assert(sent->packets_in_flight > 0 && sent->bytes_in_flight >= packet->bytes);
    sent->packets_in_flight--;
    sent->bytes_in_flight -= packet->bytes;
}

void hg_sent_lost(struct hg_sent *sent, struct hg_sent_packet *packet)
{
    hg_assert(packet->state == HG_SENT_IN_FLIGHT);
    sent_landed(sent, packet);
    packet->state = HG_SENT_LOST;
}

void hg_sent_acked(struct hg_sent *sent, struct hg_sent_packet *packet)
{
    hg_assert(packet->state != HG_SENT_FREE);
    if (packet->state == HG_SENT_IN_FLIGHT) {
        sent_landed(sent, packet);
    }
    packet->state = HG_SENT_FREE;
    hg_bits_clear(sent->tracked, sent_place(sent, packet->number));
}

struct hg_sent_packet *hg_sent_tracked(struct hg_sent *sent, uint64_t first, uint64_t last)
{
    first = hg_max_u64(first, sent_floor(sent, sent->number_last));
    last = hg_min_u64(last, sent->number_last);
    while (first <= last) {
        /* One stretch of places that doesn't wrap. */
        uint32_t place = sent_place(sent, first);
        uint64_t stretch = hg_min_u64(last - first + 1, sent->count - place);
        uint32_t found = hg_bits_find(sent->tracked, place, place + (uint32_t)stretch, true);
        if (found < place + stretch) {
            struct hg_sent_packet *packet = &sent->packets[found];
            hg_assert(packet->number == first + (found - place));
            return packet;
        }
        first += stretch;
    }
    return NULL;
}

struct hg_sent_packet *hg_sent_in_flight(struct hg_sent *sent, uint64_t after, uint64_t last)
{
    if (sent->packets_in_flight == 0) {
        sent->number_oldest = sent->number_last + 1;
        return NULL;
    }
    uint64_t from = hg_max_u64(after + 1, sent->number_oldest);
    bool from_oldest = from == sent->number_oldest;
    struct hg_sent_packet *packet = hg_sent_tracked(sent, from, last);
    while (packet != NULL && packet->state != HG_SENT_IN_FLIGHT) {
        packet = packet->number < last ? hg_sent_tracked(sent, packet->number + 1, last) : NULL;
    }
    if (from_oldest && packet != NULL) {
        sent->number_oldest = packet->number;
    }
    return packet;
}
