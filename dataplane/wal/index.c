/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/index.h"

void hg_index_init(struct hg_index *index)
{
    memset(index, 0, sizeof(*index));
    index->stride = 1;
}

static void index_thin(struct hg_index *index)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < index->count; i += 2)
        index->entries[kept++] = index->entries[i];
    index->count = kept;
    index->stride *= 2;
}

void hg_index_add(struct hg_index *index, uint64_t lsn_first, uint64_t sequence, uint64_t bytes)
{
    uint64_t bytes_before = index->bytes;
    index->bytes += bytes;
    if (index->count > 0) {
        const struct hg_index_entry *last = &index->entries[index->count - 1];
        hg_assert(lsn_first >= last->lsn_first && sequence >= last->sequence);
        if (sequence - last->sequence < index->stride)
            return;
        if (index->count == HG_INDEX_ENTRIES_MAX)
            index_thin(index);
    }
    index->entries[index->count].lsn_first = lsn_first;
    index->entries[index->count].sequence = sequence;
    index->entries[index->count].bytes_before = bytes_before;
    index->count++;
}

void hg_index_trim(struct hg_index *index, uint64_t sequence)
{
    uint32_t first = 0;
    while (first + 1 < index->count && index->entries[first + 1].sequence <= sequence)
        first++;
    if (index->count == 0 || index->entries[first].sequence > sequence)
        return;
    memmove(index->entries, index->entries + first, (index->count - first) * sizeof(index->entries[0]));
    index->count -= first;
    index->entries[0].sequence = sequence;
    /* Room again: be finer about what comes. */
    if (index->count < HG_INDEX_ENTRIES_MAX / 4 && index->stride > 1)
        index->stride /= 2;
}

void hg_index_oldest_found(struct hg_index *index, uint64_t sequence, uint64_t lsn_first)
{
    struct hg_index_entry *oldest = &index->entries[0];
    if (index->count == 0 || sequence > oldest->sequence || lsn_first <= oldest->lsn_first ||
        (index->count > 1 && lsn_first > index->entries[1].lsn_first))
        return;
    oldest->lsn_first = lsn_first;
}

uint64_t hg_index_find(const struct hg_index *index, uint64_t lsn)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (index->entries[middle].lsn_first <= lsn)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : index->entries[low - 1].sequence;
}

uint64_t hg_index_lsn_after(const struct hg_index *index, uint64_t sequence)
{
    uint32_t low = 0, high = index->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (index->entries[middle].sequence <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low == index->count ? 0 : index->entries[low].lsn_first;
}

bool hg_index_range(const struct hg_index *index, uint64_t sequence, uint64_t *lsn_first, uint64_t *lsn_after)
{
    uint32_t behind = 0;
    while (behind < index->count && index->entries[behind].sequence <= sequence)
        behind++;
    if (behind == 0)
        return false;
    *lsn_first = index->entries[behind - 1].lsn_first;
    *lsn_after = behind == index->count ? 0 : index->entries[behind].lsn_first;
    return true;
}

void hg_index_cut(struct hg_index *index, uint64_t lsn)
{
    while (index->count > 0 && index->entries[index->count - 1].lsn_first >= lsn)
        index->bytes = index->entries[--index->count].bytes_before;
}

uint64_t hg_index_behind(const struct hg_index *index, uint64_t bytes)
{
    for (uint32_t i = index->count; i > 0; i--)
        if (index->bytes - index->entries[i - 1].bytes_before >= bytes)
            return index->entries[i - 1].sequence;
    return 0;
}
