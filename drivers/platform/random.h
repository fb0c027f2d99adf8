/* SPDX-License-Identifier: Apache-2.0
 *
 * Deterministic random numbers for simulation, jitter and tests: xoshiro256**, seeded by SplitMix64. Not for
 * keys. Separate streams for separate purposes, so that removing one consumer does not reshuffle the others:
 * hg_random_fork(). Header only, one thread a generator.
 */
#ifndef HG_RANDOM_H
#define HG_RANDOM_H

#include "drivers/platform/platform.h"

struct hg_random {
    uint64_t state[4];
};

static inline uint64_t hg_random_splitmix64(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline void hg_random_init(struct hg_random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        random->state[i] = hg_random_splitmix64(&seed);
}

static inline uint64_t hg_random_rotate(uint64_t value, int bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static inline uint64_t hg_random_u64(struct hg_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = hg_random_rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = hg_random_rotate(s[3], 45);
    return result;
}

/* 0 .. bound-1, without bias; bound > 0. */
static inline uint64_t hg_random_below(struct hg_random *random, uint64_t bound)
{
    hg_assert(bound > 0);
    uint64_t threshold = (0 - bound) % bound;
    for (;;) {
        unsigned __int128 product = (unsigned __int128)hg_random_u64(random) * bound;
        if ((uint64_t)product >= threshold)
            return (uint64_t)(product >> 64);
    }
}

/* first .. last, both included. */
static inline uint64_t hg_random_between(struct hg_random *random, uint64_t first, uint64_t last)
{
    hg_assert(first <= last);
    if (first == 0 && last == UINT64_MAX)
        return hg_random_u64(random);
    return first + hg_random_below(random, last - first + 1);
}

/* True `numerator` times in `denominator`. */
static inline bool hg_random_chance(struct hg_random *random, uint64_t numerator, uint64_t denominator)
{
    return hg_random_below(random, denominator) < numerator;
}

/* An independent generator for another purpose; `name` any constant. */
static inline void hg_random_fork(struct hg_random *random, uint64_t name, struct hg_random *child)
{
    hg_random_init(child, hg_random_u64(random) ^ name);
}

static inline void hg_random_fill(struct hg_random *random, void *data, size_t bytes)
{
    uint8_t *at = data;
    while (bytes > 0) {
        uint64_t value = hg_random_u64(random);
        size_t part = bytes < sizeof(value) ? bytes : sizeof(value);
        memcpy(at, &value, part);
        at += part;
        bytes -= part;
    }
}

#endif
