/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/outbox.h"
#include "dataplane/transport/bits.h"

#define WORDS_PER_BATCH 4u /* on average: 16 KiB */
#define WORDS_MIN       8192u
static_assert(WORDS_MIN >= 4 * HG_OUTBOX_BATCH_WORDS_MAX, "room for some of the largest batches");

static uint32_t outbox_words(uint32_t count)
{
    return (uint32_t)hg_max_u64(WORDS_MIN, (uint64_t)count * WORDS_PER_BATCH);
}

static uint64_t outbox_batches_bytes(uint32_t count)
{
    return hg_align_up((uint64_t)count * sizeof(struct hg_outbox_batch), HG_CACHE_LINE_BYTES);
}

uint64_t hg_outbox_memory_bytes(uint32_t count)
{
    uint64_t bitmap_bytes = hg_align_up(count / 8, HG_CACHE_LINE_BYTES);
    return outbox_batches_bytes(count) + bitmap_bytes + 2 * sizeof(uint64_t) * outbox_words(count);
}

void hg_outbox_init(struct hg_outbox *outbox, void *memory, uint32_t count)
{
    hg_assert(count >= 64 && (count & (count - 1)) == 0);
    memset(outbox, 0, sizeof(*outbox));
    uint8_t *at = memory;
    outbox->batches = (struct hg_outbox_batch *)at;
    at += outbox_batches_bytes(count);
    outbox->due_batches = (uint64_t *)at;
    memset(outbox->due_batches, 0, hg_align_up(count / 8, HG_CACHE_LINE_BYTES));
    at += hg_align_up(count / 8, HG_CACHE_LINE_BYTES);
    outbox->acked = (uint64_t *)at;
    outbox->due = outbox->acked + outbox_words(count);
    outbox->count = count;
    outbox->word_count = outbox_words(count);
}

static uint32_t outbox_place(const struct hg_outbox *outbox, uint32_t ordinal)
{
    return ordinal & (outbox->count - 1);
}

/* Where a run of words can begin: it may not wrap. */
static uint64_t outbox_word_start(const struct hg_outbox *outbox, uint32_t words)
{
    uint64_t place = outbox->word_head % outbox->word_count;
    return place + words <= outbox->word_count ? outbox->word_head
                                               : outbox->word_head + outbox->word_count - place;
}

bool hg_outbox_has_room(const struct hg_outbox *outbox)
{
    uint64_t end = outbox_word_start(outbox, HG_OUTBOX_BATCH_WORDS_MAX) + HG_OUTBOX_BATCH_WORDS_MAX;
    return outbox->head - outbox->tail < outbox->count && end - outbox->word_tail <= outbox->word_count;
}

uint32_t hg_outbox_add(struct hg_outbox *outbox, const struct hg_lane_batch *batch)
{
    hg_assert(hg_outbox_has_room(outbox));
    hg_assert(batch->bytes > 0 && batch->bytes <= HG_BATCH_BYTES_MAX);
    uint32_t ordinal = outbox->head++;
    uint32_t units = (batch->bytes + HG_WIRE_UNIT_BYTES - 1) / HG_WIRE_UNIT_BYTES;
    uint32_t words = HG_BITS_WORDS(units);
    uint64_t word_first = outbox_word_start(outbox, words);
    outbox->word_head = word_first + words;
    uint64_t place = word_first % outbox->word_count;
    memset(outbox->acked + place, 0, words * sizeof(uint64_t));
    memset(outbox->due + place, 0, words * sizeof(uint64_t));
    (void)hg_bits_set_range(outbox->due + place, 0, units);
    outbox->batches[outbox_place(outbox, ordinal)] = (struct hg_outbox_batch){
        .batch = *batch,
        .word_first = word_first,
        .word_count = words,
        .unit_count = units,
        .units_due = units,
        .open = true,
    };
    hg_bits_set(outbox->due_batches, outbox_place(outbox, ordinal));
    outbox->cost_bytes += HG_WIRE_CREDIT_BYTES(batch->bytes);
    return ordinal;
}

struct hg_outbox_batch *hg_outbox_find(struct hg_outbox *outbox, uint32_t ordinal)
{
    if (ordinal - outbox->tail >= outbox->head - outbox->tail) {
        return NULL;
    }
    struct hg_outbox_batch *batch = &outbox->batches[outbox_place(outbox, ordinal)];
    return batch->open ? batch : NULL;
}

bool hg_outbox_due(struct hg_outbox *outbox, uint32_t *ordinal)
{
    if (outbox->due_first - outbox->tail > outbox->head - outbox->tail) {
        outbox->due_first = outbox->tail; /* the tail overtook it */
    }
    uint32_t from = *ordinal;
    if (from - outbox->tail < outbox->due_first - outbox->tail ||
        from - outbox->tail > outbox->head - outbox->tail) {
        from = outbox->due_first;
    }
    bool first = from == outbox->due_first;
    while (from != outbox->head) {
        uint32_t place = outbox_place(outbox, from);
        uint32_t stretch = outbox->head - from;
        stretch = stretch < outbox->count - place ? stretch : outbox->count - place;
        uint32_t found = hg_bits_find(outbox->due_batches, place, place + stretch, true);
        from += found - place;
        if (found < place + stretch) {
            break;
        }
    }
    if (first) {
        outbox->due_first = from;
    }
    *ordinal = from;
    return from != outbox->head;
}

static uint64_t *outbox_bits(const struct hg_outbox *outbox, uint64_t *words,
                             const struct hg_outbox_batch *batch)
{
    return words + batch->word_first % outbox->word_count;
}

uint32_t hg_outbox_run(struct hg_outbox *outbox, struct hg_outbox_batch *batch, uint32_t units_max,
                       uint32_t *unit_first)
{
    hg_assert(batch->open && batch->units_due > 0);
    const uint64_t *due = outbox_bits(outbox, outbox->due, batch);
    uint32_t first = hg_bits_find(due, batch->unit_due_first, batch->unit_count, true);
    hg_assert(first < batch->unit_count);
    batch->unit_due_first = first;
    *unit_first = first;
    uint32_t limit = batch->unit_count - first < units_max ? batch->unit_count : first + units_max;
    return hg_bits_find(due, first, limit, false) - first;
}

/* After units stopped being due. */
static void outbox_due_dropped(struct hg_outbox *outbox, uint32_t ordinal, struct hg_outbox_batch *batch,
                               uint32_t units)
{
    hg_assert(batch->units_due >= units);
    batch->units_due -= units;
    if (batch->units_due == 0) {
        hg_bits_clear(outbox->due_batches, outbox_place(outbox, ordinal));
    }
}

uint32_t hg_outbox_sent(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first, uint32_t unit_count)
{
    struct hg_outbox_batch *batch = hg_outbox_find(outbox, ordinal);
    hg_assert(batch != NULL && unit_first + unit_count <= batch->unit_count);
    uint32_t end = unit_first + unit_count;
    uint32_t cleared = hg_bits_clear_range(outbox_bits(outbox, outbox->due, batch), unit_first, end);
    hg_assert(cleared == unit_count);
    outbox_due_dropped(outbox, ordinal, batch, cleared);
    uint32_t fresh_from = unit_first > batch->unit_sent_end ? unit_first : batch->unit_sent_end;
    uint32_t fresh = end > fresh_from ? end - fresh_from : 0;
    batch->unit_sent_end = end > batch->unit_sent_end ? end : batch->unit_sent_end;
    return fresh;
}

void hg_outbox_lost(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first, uint32_t unit_count)
{
    struct hg_outbox_batch *batch = hg_outbox_find(outbox, ordinal);
    if (batch == NULL || unit_count == 0) {
        return;
    }
    uint32_t end = unit_first + unit_count;
    hg_assert(end <= batch->unit_count);
    const uint64_t *acked = outbox_bits(outbox, outbox->acked, batch);
    uint64_t *due = outbox_bits(outbox, outbox->due, batch);
    uint32_t added = 0;
    for (uint32_t word = unit_first / 64; word <= (end - 1) / 64; word++) {
        uint64_t again = hg_bits_mask(word, unit_first, end) & ~acked[word] & ~due[word];
        added += (uint32_t)__builtin_popcountll(again);
        due[word] |= again;
    }
    if (added == 0) {
        return;
    }
    batch->units_due += added;
    batch->unit_due_first = unit_first < batch->unit_due_first ? unit_first : batch->unit_due_first;
    hg_bits_set(outbox->due_batches, outbox_place(outbox, ordinal));
    if (ordinal - outbox->tail < outbox->due_first - outbox->tail) {
        outbox->due_first = ordinal;
    }
}

struct hg_outbox_batch *hg_outbox_acked(struct hg_outbox *outbox, uint32_t ordinal, uint32_t unit_first,
                                        uint32_t unit_count)
{
    struct hg_outbox_batch *batch = hg_outbox_find(outbox, ordinal);
    if (batch == NULL) {
        return NULL;
    }
    uint32_t end = unit_first + unit_count;
    hg_assert(end <= batch->unit_count);
    batch->units_acked += hg_bits_set_range(outbox_bits(outbox, outbox->acked, batch), unit_first, end);
    uint32_t due = hg_bits_clear_range(outbox_bits(outbox, outbox->due, batch), unit_first, end);
    if (due > 0) {
        outbox_due_dropped(outbox, ordinal, batch, due);
    }
    hg_assert(batch->units_acked <= batch->unit_count);
    return batch->units_acked == batch->unit_count ? batch : NULL;
}

void hg_outbox_close(struct hg_outbox *outbox, uint32_t ordinal)
{
    struct hg_outbox_batch *batch = hg_outbox_find(outbox, ordinal);
    hg_assert(batch != NULL);
    uint64_t cost = HG_WIRE_CREDIT_BYTES(batch->batch.bytes);
    hg_assert(outbox->cost_bytes >= cost);
    outbox->cost_bytes -= cost;
    batch->open = false;
    batch->units_due = 0;
    hg_bits_clear(outbox->due_batches, outbox_place(outbox, ordinal));
    while (outbox->tail != outbox->head) {
        const struct hg_outbox_batch *oldest = &outbox->batches[outbox_place(outbox, outbox->tail)];
        if (oldest->open) {
            break;
        }
        outbox->word_tail = oldest->word_first + oldest->word_count;
        if (outbox->due_first == outbox->tail) {
            outbox->due_first++;
        }
        outbox->tail++;
    }
}
