/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranges of bits in arrays of 64-bit words. Header only, no state. Ends are exclusive; an empty range is
 * legal.
 */
#ifndef HG_TRANSPORT_BITS_H
#define HG_TRANSPORT_BITS_H

#include "drivers/platform/platform.h"

#define HG_BITS_WORDS(bits) (((bits) + 63u) / 64u)

/* The bits of word `word` that lie in [first, end). */
static inline uint64_t hg_bits_mask(uint32_t word, uint32_t first, uint32_t end)
{
    uint64_t mask = UINT64_MAX;
    if (word == first / 64) {
        mask &= UINT64_MAX << (first % 64);
    }
    if (word == end / 64) {
        mask &= (UINT64_C(1) << (end % 64)) - 1;
    }
    return mask;
}

static inline bool hg_bits_get(const uint64_t *words, uint32_t bit)
{
    return (words[bit / 64] >> (bit % 64)) & 1;
}

static inline void hg_bits_set(uint64_t *words, uint32_t bit)
{
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void hg_bits_clear(uint64_t *words, uint32_t bit)
{
    words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* Sets [first, end); returns how many of them were clear. */
static inline uint32_t hg_bits_set_range(uint64_t *words, uint32_t first, uint32_t end)
{
    uint32_t changed = 0;
    for (uint32_t word = first / 64; first < end && word <= (end - 1) / 64; word++) {
        uint64_t mask = hg_bits_mask(word, first, end);
        changed += (uint32_t)__builtin_popcountll(mask & ~words[word]);
        words[word] |= mask;
    }
    return changed;
}

/* Clears [first, end); returns how many of them were set. */
static inline uint32_t hg_bits_clear_range(uint64_t *words, uint32_t first, uint32_t end)
{
    uint32_t changed = 0;
    for (uint32_t word = first / 64; first < end && word <= (end - 1) / 64; word++) {
        uint64_t mask = hg_bits_mask(word, first, end);
        changed += (uint32_t)__builtin_popcountll(mask & words[word]);
        words[word] &= ~mask;
    }
    return changed;
}

/* The first bit in [from, end) that equals `value`, or `end`. */
static inline uint32_t hg_bits_find(const uint64_t *words, uint32_t from, uint32_t end, bool value)
{
    uint64_t flip = value ? 0 : UINT64_MAX;
    for (uint32_t word = from / 64; from < end && word <= (end - 1) / 64; word++) {
        uint64_t found = (words[word] ^ flip) & hg_bits_mask(word, from, end);
        if (found != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(found);
        }
    }
    return end;
}

#endif
