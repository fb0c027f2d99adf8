/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/ack.h"
#include "dataplane/transport/bits.h"

#define WINDOW_MASK (HG_ACK_WINDOW_PACKETS - 1)

void hg_ack_init(struct hg_ack *ack)
{
    memset(ack, 0, sizeof(*ack));
    ack->deadline_ns = HG_TIME_NEVER;
    ack->repeat_ns = HG_TIME_NEVER;
}

bool hg_ack_seen(const struct hg_ack *ack, uint64_t number)
{
    if (number == 0) {
        return true;
    }
    if (number > ack->largest) {
        return false;
    }
    if (ack->largest - number >= HG_ACK_WINDOW_PACKETS) {
        return true;
    }
    return hg_bits_get(ack->bits, (uint32_t)(number & WINDOW_MASK));
}

/* Forgets what the places of (largest, number] held one window ago. */
static void ack_slide(struct hg_ack *ack, uint64_t number)
{
    uint64_t skipped = number - ack->largest;
    if (skipped >= HG_ACK_WINDOW_PACKETS) {
        memset(ack->bits, 0, sizeof(ack->bits));
        return;
    }
    uint32_t first = (uint32_t)((ack->largest + 1) & WINDOW_MASK);
    uint32_t end = first + (uint32_t)skipped;
    if (end <= HG_ACK_WINDOW_PACKETS) {
        (void)hg_bits_clear_range(ack->bits, first, end);
    } else {
        (void)hg_bits_clear_range(ack->bits, first, HG_ACK_WINDOW_PACKETS);
        (void)hg_bits_clear_range(ack->bits, 0, end - HG_ACK_WINDOW_PACKETS);
    }
}

void hg_ack_record(struct hg_ack *ack, uint64_t number, bool eliciting, uint64_t rtt_ns, uint64_t now_ns)
{
    hg_assert(!hg_ack_seen(ack, number));
    bool gap = number > ack->largest + 1 || ack->largest == 0;
    if (number > ack->largest) {
        ack_slide(ack, number);
        ack->largest = number;
        ack->largest_time_ns = now_ns;
    }
    hg_bits_set(ack->bits, (uint32_t)(number & WINDOW_MASK));
    if (!eliciting) {
        return;
    }
    ack->pending_count++;
    ack->repeats_left = HG_ACK_REPEATS;
    ack->repeat_gap_ns = hg_max_u64(rtt_ns / 4, 2 * HG_ACK_DELAY_MIN_NS);
    ack->repeat_ns = HG_TIME_NEVER;
    if (gap || ack->pending_count >= HG_ACK_EVERY_PACKETS) {
        ack->deadline_ns = now_ns;
    } else if (ack->deadline_ns == HG_TIME_NEVER) {
        ack->deadline_ns = now_ns + hg_ack_delay_ns(rtt_ns);
    }
}

void hg_ack_repeats_drop(struct hg_ack *ack)
{
    ack->repeats_left = 0;
    ack->repeat_ns = HG_TIME_NEVER;
}

void hg_ack_request(struct hg_ack *ack, uint64_t now_ns)
{
    if (ack->largest != 0) {
        ack->deadline_ns = hg_min_u64(ack->deadline_ns, now_ns);
    }
}

/* How many numbers from `number` downward have the bit `value`, not looking below `floor` (>= 1). */
static uint64_t ack_run(const struct hg_ack *ack, uint64_t number, uint64_t floor, bool value)
{
    uint64_t flip = value ? UINT64_MAX : 0;
    uint64_t at = number;
    for (;;) {
        uint32_t bit = (uint32_t)(at & 63);
        /* The bits of this word at and below `at`, top-aligned; a set bit is where the run ends. */
        uint64_t word = (ack->bits[(at & WINDOW_MASK) / 64] ^ flip) << (63 - bit);
        uint64_t run = word == 0 ? (uint64_t)bit + 1 : (uint64_t)__builtin_clzll(word);
        if (at - floor + 1 <= run) {
            return number - floor + 1;
        }
        at -= run;
        if (word != 0) {
            return number - at;
        }
    }
}

uint32_t hg_ack_write(const struct hg_ack *ack, uint32_t ranges_max, uint64_t now_ns,
                      uint8_t frame[HG_ACK_FRAME_BYTES_MAX])
{
    hg_assert(ack->largest != 0 && ranges_max >= 1 && ranges_max <= HG_WIRE_ACK_RANGES_MAX);
    uint64_t floor = ack->largest < HG_ACK_WINDOW_PACKETS ? 1 : ack->largest - HG_ACK_WINDOW_PACKETS + 1;
    uint64_t count = ack_run(ack, ack->largest, floor, true);
    uint64_t delay_8us = (now_ns - hg_min_u64(ack->largest_time_ns, now_ns)) / (8 * HG_NS_PER_US);
    struct hg_wire_ack head = {
        .type = HG_WIRE_ACK,
        .range_count = 1,
        .delay_8us = (uint16_t)hg_min_u64(delay_8us, UINT16_MAX),
        .first_count = (uint32_t)count,
        .largest = ack->largest,
    };
    uint64_t below = ack->largest - count;                            /* first number not in the frame */
    uint64_t told = ack->told[ack->told_count % HG_COUNT(ack->told)]; /* often enough */
    uint32_t bytes = sizeof(head);
    while (head.range_count < ranges_max && below >= floor &&
           (head.range_count < HG_ACK_RANGES_MIN || below > told)) {
        uint64_t gap = ack_run(ack, below, floor, false);
        if (below - floor + 1 == gap) {
            break;
        }
        below -= gap;
        count = ack_run(ack, below, floor, true);
        below -= count;
        struct hg_wire_ack_range range = {.gap = (uint32_t)gap, .count = (uint32_t)count};
        memcpy(frame + bytes, &range, sizeof(range));
        bytes += sizeof(range);
        head.range_count++;
    }
    memcpy(frame, &head, sizeof(head));
    return bytes;
}

void hg_ack_told(struct hg_ack *ack, uint64_t now_ns)
{
    ack->told[ack->told_count++ % HG_COUNT(ack->told)] = ack->largest;
    ack->pending_count = 0;
    ack->deadline_ns = HG_TIME_NEVER;
    ack->repeat_ns = HG_TIME_NEVER;
    if (ack->repeats_left > 0) {
        ack->repeats_left--;
        ack->repeat_ns = now_ns + ack->repeat_gap_ns;
    }
}

void hg_recovered_record(struct hg_recovered *recovered, uint64_t number)
{
    uint32_t at = recovered->count;
    while (at > 0 && recovered->numbers[at - 1] < number) {
        at--;
    }
    if (at == HG_WIRE_RECOVERED_MAX || (at > 0 && recovered->numbers[at - 1] == number)) {
        return;
    }
    uint32_t kept = (uint32_t)hg_min_u64(recovered->count, HG_WIRE_RECOVERED_MAX - 1);
    for (uint32_t i = kept; i > at; i--) {
        recovered->numbers[i] = recovered->numbers[i - 1];
        recovered->told[i] = recovered->told[i - 1];
    }
    recovered->numbers[at] = number;
    recovered->told[at] = 0;
    recovered->count = kept + 1;
}

uint32_t hg_recovered_write(struct hg_recovered *recovered, uint8_t frame[HG_RECOVERED_FRAME_BYTES_MAX])
{
    if (recovered->count == 0) {
        return 0;
    }
    const struct hg_wire_recovered head = {.type = HG_WIRE_RECOVERED, .count = (uint8_t)recovered->count};
    memcpy(frame, &head, sizeof(head));
    memcpy(frame + sizeof(head), recovered->numbers, recovered->count * sizeof(uint64_t));
    uint32_t bytes = (uint32_t)(sizeof(head) + recovered->count * sizeof(uint64_t));
    uint32_t left = 0;
    for (uint32_t i = 0; i < recovered->count; i++) {
        if (++recovered->told[i] < HG_RECOVERED_TOLD_TIMES) {
            recovered->numbers[left] = recovered->numbers[i];
            recovered->told[left++] = recovered->told[i];
        }
    }
    recovered->count = left;
    return bytes;
}
