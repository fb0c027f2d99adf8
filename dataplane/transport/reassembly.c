/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/reassembly.h"
#include "dataplane/transport/bits.h"
#include <errno.h>

#define UNITS_PER_BLOCK  (HG_WIRE_BLOCK_BYTES / HG_WIRE_UNIT_BYTES)
#define ALIAS_NONE       UINT16_MAX
#define BATCH_BYTES_MIN  ((uint32_t)sizeof(struct hg_batch_header))
#define GATHER_BYTES_MAX hg_align_up(HG_BATCH_BYTES_MAX, HG_WIRE_BLOCK_BYTES)
static_assert(UNITS_PER_BLOCK == 16, "a block's units fill a uint16_t");

static uint32_t reassembly_bucket_count(uint32_t block_count)
{
    uint32_t count = 64;
    while (count < block_count) {
        count *= 2;
    }
    return count;
}

static uint64_t reassembly_layout(struct hg_reassembly *r, uint8_t *memory, uint32_t blocks)
{
    uint64_t sizes[] = {
        (uint64_t)blocks * HG_WIRE_BLOCK_BYTES,
        GATHER_BYTES_MAX,
        (uint64_t)blocks * sizeof(struct hg_reassembly_batch),
        (uint64_t)blocks * sizeof(uint32_t),
        (uint64_t)reassembly_bucket_count(blocks) * sizeof(uint32_t),
        (uint64_t)blocks * sizeof(uint16_t),
        (uint64_t)HG_BITS_WORDS(blocks) * sizeof(uint64_t),
    };
    uint64_t offsets[HG_COUNT(sizes)];
    uint64_t total = 0;
    for (uint32_t i = 0; i < HG_COUNT(sizes); i++) {
        offsets[i] = total;
        total += hg_align_up(sizes[i], HG_CACHE_LINE_BYTES);
    }
    if (memory != NULL) {
        r->arena = memory + offsets[0];
        r->gather = memory + offsets[1];
        r->batches = (struct hg_reassembly_batch *)(memory + offsets[2]);
        r->block_next = (uint32_t *)(memory + offsets[3]);
        r->buckets = (uint32_t *)(memory + offsets[4]);
        r->block_units = (uint16_t *)(memory + offsets[5]);
        r->blocks_free = (uint64_t *)(memory + offsets[6]);
    }
    return total;
}

uint64_t hg_reassembly_memory_bytes(uint64_t receive_bytes)
{
    return reassembly_layout(NULL, NULL, (uint32_t)(receive_bytes / HG_WIRE_BLOCK_BYTES));
}

void hg_reassembly_init(struct hg_reassembly *r, void *memory, uint64_t receive_bytes)
{
    hg_assert(receive_bytes % HG_WIRE_BLOCK_BYTES == 0 && receive_bytes >= HG_BATCH_BYTES_MAX);
    hg_assert(receive_bytes / HG_WIRE_BLOCK_BYTES < UINT32_MAX / 2);
    memset(r, 0, sizeof(*r));
    r->block_count = (uint32_t)(receive_bytes / HG_WIRE_BLOCK_BYTES);
    (void)reassembly_layout(r, memory, r->block_count);
    uint32_t buckets = reassembly_bucket_count(r->block_count);
    r->bucket_mask = buckets - 1;
    memset(r->buckets, 0xff, buckets * sizeof(uint32_t));
    memset(r->blocks_free, 0, HG_BITS_WORDS(r->block_count) * sizeof(uint64_t));
    (void)hg_bits_set_range(r->blocks_free, 0, r->block_count);
    memset(r->alias_buckets, 0xff, sizeof(r->alias_buckets));
    r->block_free_count = r->block_count;
}

uint64_t hg_reassembly_credit_bytes(const struct hg_reassembly *r)
{
    uint64_t all = (uint64_t)r->block_count * HG_WIRE_BLOCK_BYTES;
    hg_assert(r->whole_bytes <= all);
    return all - r->whole_bytes;
}

/* ---- aliases ---- */

static uint32_t alias_bucket(uint32_t alias)
{
    return (alias * 2654435769u) >> 22;
}
static_assert(HG_WIRE_ALIASES_MAX == 1u << (32 - 22), "a bucket an alias");

static struct hg_reassembly_alias *alias_find(struct hg_reassembly *r, uint32_t alias)
{
    uint16_t index = r->alias_buckets[alias_bucket(alias)];
    while (index != ALIAS_NONE && r->aliases[index].alias != alias) {
        index = r->aliases[index].hash_next;
    }
    return index == ALIAS_NONE ? NULL : &r->aliases[index];
}

static uint32_t alias_index(const struct hg_reassembly *r, const struct hg_reassembly_alias *alias)
{
    return (uint32_t)(alias - r->aliases);
}

static void batch_free(struct hg_reassembly *r, uint32_t index);

int hg_reassembly_open(struct hg_reassembly *r, uint32_t alias, uint64_t lsn_next)
{
    struct hg_reassembly_alias *entry = alias_find(r, alias);
    if (entry != NULL) {
        entry->lsn_next = lsn_next;
        hg_bits_clear(r->waiting, alias_index(r, entry));
        for (uint32_t at = entry->batch_first; at != HG_REASSEMBLY_NONE;) {
            uint32_t next = r->batches[at].alias_next;
            if (r->batches[at].lsn_first < lsn_next) {
                batch_free(r, at);
            }
            at = next;
        }
        return 0;
    }
    uint32_t index = 0;
    while (index < HG_WIRE_ALIASES_MAX && r->aliases[index].open) {
        index++;
    }
    if (index == HG_WIRE_ALIASES_MAX) {
        return -ENOSPC;
    }
    uint16_t *bucket = &r->alias_buckets[alias_bucket(alias)];
    r->aliases[index] = (struct hg_reassembly_alias){
        .lsn_next = lsn_next,
        .alias = alias,
        .batch_first = HG_REASSEMBLY_NONE,
        .hash_next = *bucket,
        .open = true,
    };
    *bucket = (uint16_t)index;
    return 0;
}

void hg_reassembly_close(struct hg_reassembly *r, uint32_t alias)
{
    struct hg_reassembly_alias *entry = alias_find(r, alias);
    if (entry == NULL) {
        return;
    }
    while (entry->batch_first != HG_REASSEMBLY_NONE) {
        batch_free(r, entry->batch_first);
    }
    uint16_t *link = &r->alias_buckets[alias_bucket(alias)];
    while (&r->aliases[*link] != entry) {
        link = &r->aliases[*link].hash_next;
    }
    *link = entry->hash_next;
    entry->open = false;
    hg_bits_clear(r->waiting, alias_index(r, entry));
}

void hg_reassembly_wait(struct hg_reassembly *r, uint32_t alias)
{
    struct hg_reassembly_alias *entry = alias_find(r, alias);
    if (entry != NULL) {
        hg_bits_set(r->waiting, alias_index(r, entry));
    }
}

bool hg_reassembly_waits(const struct hg_reassembly *r, uint32_t alias)
{
    const struct hg_reassembly_alias *entry = alias_find((struct hg_reassembly *)(uintptr_t)r, alias);
    return entry != NULL && hg_bits_get(r->waiting, alias_index(r, entry));
}

bool hg_reassembly_waiting(const struct hg_reassembly *r, uint32_t *index, uint32_t *alias)
{
    uint32_t found = hg_bits_find(r->waiting, *index, HG_WIRE_ALIASES_MAX, true);
    if (found >= HG_WIRE_ALIASES_MAX) {
        return false;
    }
    *index = found + 1;
    *alias = r->aliases[found].alias;
    return true;
}

/* ---- blocks ---- */

/* The lowest run of free blocks: memory that was just given back is still in the cache. HG_REASSEMBLY_NONE:
 * there is none. */
static uint32_t blocks_run(const struct hg_reassembly *r, uint32_t count)
{
    uint32_t from = r->block_free_first;
    while (from < r->block_count) {
        uint32_t first = hg_bits_find(r->blocks_free, from, r->block_count, true);
        if (r->block_count - first < count) {
            break;
        }
        uint32_t end = hg_bits_find(r->blocks_free, first, first + count, false);
        if (end == first + count) {
            return first;
        }
        from = end;
    }
    return HG_REASSEMBLY_NONE;
}

/* Takes `count` blocks, of which there are enough. Returns the first; *contiguous tells whether they're a
 * run. */
static uint32_t blocks_take(struct hg_reassembly *r, uint32_t count, bool *contiguous)
{
    hg_assert(count > 0 && count <= r->block_free_count);
    r->block_free_count -= count;
    uint32_t first = blocks_run(r, count);
    *contiguous = first != HG_REASSEMBLY_NONE;
    if (*contiguous) {
        (void)hg_bits_clear_range(r->blocks_free, first, first + count);
        memset(&r->block_units[first], 0, count * sizeof(uint16_t));
        r->block_free_first = first == r->block_free_first ? first + count : r->block_free_first;
        return first;
    }
    uint32_t previous = HG_REASSEMBLY_NONE;
    uint32_t at = r->block_free_first;
    for (uint32_t i = 0; i < count; i++) {
        at = hg_bits_find(r->blocks_free, at, r->block_count, true);
        hg_assert(at < r->block_count);
        hg_bits_clear(r->blocks_free, at);
        r->block_units[at] = 0;
        r->block_next[at] = HG_REASSEMBLY_NONE;
        if (previous == HG_REASSEMBLY_NONE) {
            first = at;
        } else {
            r->block_next[previous] = at;
        }
        previous = at;
    }
    r->block_free_first = at + 1;
    return first;
}

static void blocks_give(struct hg_reassembly *r, uint32_t first, const struct hg_reassembly_batch *batch)
{
    r->block_free_count += batch->block_count;
    r->block_free_first = first < r->block_free_first ? first : r->block_free_first;
    if (batch->contiguous) {
        uint32_t given = hg_bits_set_range(r->blocks_free, first, first + batch->block_count);
        hg_assert(given == batch->block_count);
        return;
    }
    for (uint32_t i = 0; i < batch->block_count; i++) {
        hg_assert(first != HG_REASSEMBLY_NONE && !hg_bits_get(r->blocks_free, first));
        hg_bits_set(r->blocks_free, first);
        first = r->block_next[first];
    }
}

/* The n'th block of a batch. */
static uint32_t block_of(struct hg_reassembly *r, uint32_t index, uint32_t n)
{
    struct hg_reassembly_batch *batch = &r->batches[index];
    if (batch->contiguous) {
        return index + n;
    }
    if (n < batch->walk_index) {
        batch->walk_index = 0;
        batch->walk_block = index;
    }
    while (batch->walk_index < n) {
        batch->walk_block = r->block_next[batch->walk_block];
        batch->walk_index++;
    }
    return batch->walk_block;
}

/* ---- batches ---- */

static uint32_t *batch_bucket(struct hg_reassembly *r, uint32_t alias, uint64_t lsn_first)
{
    uint64_t hash = (lsn_first ^ (uint64_t)alias << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &r->buckets[(uint32_t)(hash >> 32) & r->bucket_mask];
}

static uint32_t batch_find(struct hg_reassembly *r, const struct hg_reassembly_alias *alias,
                           uint64_t lsn_first)
{
    uint32_t at = *batch_bucket(r, alias_index(r, alias), lsn_first);
    while (at != HG_REASSEMBLY_NONE &&
           (r->batches[at].lsn_first != lsn_first || r->batches[at].alias_index != alias_index(r, alias))) {
        at = r->batches[at].hash_next;
    }
    return at;
}

static void batch_free(struct hg_reassembly *r, uint32_t index)
{
    struct hg_reassembly_batch *batch = &r->batches[index];
    struct hg_reassembly_alias *alias = &r->aliases[batch->alias_index];
    uint32_t *link = batch_bucket(r, batch->alias_index, batch->lsn_first);
    while (*link != index) {
        hg_assert(*link != HG_REASSEMBLY_NONE);
        link = &r->batches[*link].hash_next;
    }
    *link = batch->hash_next;
    if (batch->alias_previous == HG_REASSEMBLY_NONE) {
        alias->batch_first = batch->alias_next;
    } else {
        r->batches[batch->alias_previous].alias_next = batch->alias_next;
    }
    if (batch->alias_next != HG_REASSEMBLY_NONE) {
        r->batches[batch->alias_next].alias_previous = batch->alias_previous;
    }
    if (batch->units_missing == 0) {
        r->whole_bytes -= HG_WIRE_CREDIT_BYTES(batch->bytes);
    }
    blocks_give(r, index, batch);
}

/* Frees batches that nothing can ever take: they begin below what their alias waits for. An honest sender
 * makes none; called when memory is short. It walks all that is here, so not again before there may be some:
 * else each packet beyond the credit would cost such a walk. */
static void batches_sweep(struct hg_reassembly *r)
{
    if (!r->stale) {
        return;
    }
    r->stale = false;
    for (uint32_t i = 0; i < HG_WIRE_ALIASES_MAX; i++) {
        if (!r->aliases[i].open) {
            continue;
        }
        for (uint32_t at = r->aliases[i].batch_first; at != HG_REASSEMBLY_NONE;) {
            uint32_t next = r->batches[at].alias_next;
            if (r->batches[at].lsn_first < r->aliases[i].lsn_next) {
                batch_free(r, at);
            }
            at = next;
        }
    }
}

static uint32_t batch_new(struct hg_reassembly *r, struct hg_reassembly_alias *alias, uint64_t lsn_first,
                          uint32_t batch_bytes)
{
    uint32_t blocks = (batch_bytes + HG_WIRE_BLOCK_BYTES - 1) / HG_WIRE_BLOCK_BYTES;
    if (blocks > r->block_free_count) {
        batches_sweep(r);
        if (blocks > r->block_free_count) {
            return HG_REASSEMBLY_NONE;
        }
    }
    bool contiguous = false;
    uint32_t index = blocks_take(r, blocks, &contiguous);
    uint32_t *bucket = batch_bucket(r, alias_index(r, alias), lsn_first);
    r->batches[index] = (struct hg_reassembly_batch){
        .lsn_first = lsn_first,
        .bytes = batch_bytes,
        .units_missing = (batch_bytes + HG_WIRE_UNIT_BYTES - 1) / HG_WIRE_UNIT_BYTES,
        .block_count = blocks,
        .alias_index = alias_index(r, alias),
        .hash_next = *bucket,
        .alias_next = alias->batch_first,
        .alias_previous = HG_REASSEMBLY_NONE,
        .walk_block = index,
        .contiguous = contiguous,
    };
    *bucket = index;
    if (alias->batch_first != HG_REASSEMBLY_NONE) {
        r->batches[alias->batch_first].alias_previous = index;
    }
    alias->batch_first = index;
    return index;
}

bool hg_reassembly_valid(const struct hg_wire_data *frame)
{
    uint32_t batch_bytes = hg_wire_data_batch_bytes(frame);
    uint32_t offset = hg_wire_data_offset(frame);
    if (frame->batch_grains_high > 1 || batch_bytes < BATCH_BYTES_MIN || batch_bytes > HG_BATCH_BYTES_MAX) {
        return false;
    }
    if (frame->bytes == 0 || offset >= batch_bytes || frame->bytes > batch_bytes - offset) {
        return false;
    }
    uint32_t end = offset + frame->bytes;
    return end == batch_bytes || end % HG_WIRE_UNIT_BYTES == 0;
}

/* Places the part of a fragment that lies in one block: units [first, end) of the block, the last one maybe
 * short. Returns how many units were new; adds their bytes. Sets *differs when known bytes aren't the same.
 */
static uint32_t block_fill(struct hg_reassembly *r, uint32_t block, uint32_t first, uint32_t end,
                           const uint8_t *data, uint32_t bytes, uint32_t *bytes_new, bool *differs)
{
    uint32_t mask = ((1u << end) - 1) & ~((1u << first) - 1);
    uint32_t known = r->block_units[block] & mask;
    uint8_t *to = r->arena + (uint64_t)block * HG_WIRE_BLOCK_BYTES + first * HG_WIRE_UNIT_BYTES;
    r->block_units[block] |= (uint16_t)mask;
    if (known == 0) {
        memcpy(to, data, bytes);
        *bytes_new += bytes;
        return end - first;
    }
    uint32_t units_new = 0;
    for (uint32_t unit = first; unit < end; unit++) {
        uint32_t at = (unit - first) * HG_WIRE_UNIT_BYTES;
        uint32_t unit_bytes = bytes - at < HG_WIRE_UNIT_BYTES ? bytes - at : HG_WIRE_UNIT_BYTES;
        if ((known & (1u << unit)) != 0) {
            *differs |= memcmp(to + at, data + at, unit_bytes) != 0;
        } else {
            memcpy(to + at, data + at, unit_bytes);
            *bytes_new += unit_bytes;
            units_new++;
        }
    }
    return units_new;
}

enum hg_reassembly_result hg_reassembly_add(struct hg_reassembly *r, const struct hg_wire_data *frame,
                                            const uint8_t *data, uint32_t *bytes_new)
{
    hg_assert(hg_reassembly_valid(frame));
    *bytes_new = 0;
    struct hg_reassembly_alias *alias = alias_find(r, frame->alias);
    if (alias == NULL) {
        return HG_REASSEMBLY_ALIAS;
    }
    uint64_t lsn_first = hg_wire_data_lsn_first(frame, alias->lsn_next);
    if (lsn_first < alias->lsn_next) {
        return HG_REASSEMBLY_TAKEN;
    }
    uint32_t batch_bytes = hg_wire_data_batch_bytes(frame);
    uint32_t index = batch_find(r, alias, lsn_first);
    if (index == HG_REASSEMBLY_NONE) {
        index = batch_new(r, alias, lsn_first, batch_bytes);
        if (index == HG_REASSEMBLY_NONE) {
            return HG_REASSEMBLY_FULL;
        }
    }
    struct hg_reassembly_batch *batch = &r->batches[index];
    if (batch->bytes != batch_bytes) {
        return HG_REASSEMBLY_MISMATCH;
    }
    bool differs = false;
    uint32_t units_new = 0;
    const uint32_t first = hg_wire_data_offset(frame);
    const uint32_t end = first + frame->bytes;
    uint32_t offset = first;
    while (offset < end) {
        uint32_t place = offset % HG_WIRE_BLOCK_BYTES;
        uint32_t bytes =
            end - offset < HG_WIRE_BLOCK_BYTES - place ? end - offset : HG_WIRE_BLOCK_BYTES - place;
        uint32_t unit = place / HG_WIRE_UNIT_BYTES;
        uint32_t unit_end = unit + (bytes + HG_WIRE_UNIT_BYTES - 1) / HG_WIRE_UNIT_BYTES;
        units_new += block_fill(r, block_of(r, index, offset / HG_WIRE_BLOCK_BYTES), unit, unit_end,
                                data + (offset - first), bytes, bytes_new, &differs);
        offset += bytes;
    }
    hg_assert(units_new <= batch->units_missing);
    batch->units_missing -= units_new;
    bool completed = units_new > 0 && batch->units_missing == 0;
    if (completed) {
        r->whole_bytes += HG_WIRE_CREDIT_BYTES(batch->bytes);
        return HG_REASSEMBLY_COMPLETED;
    }
    return differs ? HG_REASSEMBLY_MISMATCH : HG_REASSEMBLY_TAKEN;
}

int hg_reassembly_offer(struct hg_reassembly *r, uint32_t alias_number, struct hg_reassembly_offer *offer)
{
    struct hg_reassembly_alias *alias = alias_find(r, alias_number);
    if (alias == NULL) {
        return -EAGAIN;
    }
    uint32_t index = batch_find(r, alias, alias->lsn_next);
    if (index == HG_REASSEMBLY_NONE || r->batches[index].units_missing != 0) {
        return -EAGAIN;
    }
    const struct hg_reassembly_batch *batch = &r->batches[index];
    const uint8_t *data = r->arena + (uint64_t)index * HG_WIRE_BLOCK_BYTES;
    if (!batch->contiguous) {
        for (uint32_t i = 0; i < batch->block_count; i++) {
            memcpy(r->gather + i * HG_WIRE_BLOCK_BYTES,
                   r->arena + (uint64_t)block_of(r, index, i) * HG_WIRE_BLOCK_BYTES, HG_WIRE_BLOCK_BYTES);
        }
        data = r->gather;
    }
    uint64_t lsn_first = 0;
    uint64_t lsn_end = 0;
    memcpy(&lsn_first, data + offsetof(struct hg_batch_header, lsn_first), sizeof(lsn_first));
    memcpy(&lsn_end, data + offsetof(struct hg_batch_header, lsn_end), sizeof(lsn_end));
    if (lsn_first != batch->lsn_first || lsn_end <= lsn_first) {
        return -EBADMSG;
    }
    *offer = (struct hg_reassembly_offer){
        .alias = alias_number,
        .bytes = batch->bytes,
        .lsn_first = batch->lsn_first,
        .lsn_end = lsn_end,
        .data = data,
    };
    return 0;
}

void hg_reassembly_taken(struct hg_reassembly *r, const struct hg_reassembly_offer *offer)
{
    struct hg_reassembly_alias *alias = alias_find(r, offer->alias);
    if (alias == NULL || alias->lsn_next != offer->lsn_first) {
        return;
    }
    uint32_t index = batch_find(r, alias, offer->lsn_first);
    if (index != HG_REASSEMBLY_NONE) {
        batch_free(r, index);
    }
    alias->lsn_next = offer->lsn_end;
    r->stale |= alias->batch_first != HG_REASSEMBLY_NONE;
    hg_bits_clear(r->waiting, alias_index(r, alias));
}
