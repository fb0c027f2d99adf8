/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries that say where they are and which life of their writer made them. A writer begins a new life
 * whenever its dataplane was gone and it goes on from what is durable: an entry that came from one life at
 * one node and from another life at the other, or that was read and then written anew, shows.
 */
#ifndef HG_LIFE_ENTRY_H
#define HG_LIFE_ENTRY_H

#include "drivers/platform/random.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define LIFE_ENTRY_BYTES_MAX 1024u
#define LIFE_PRINT_NS        (5 * HG_NS_PER_MS)

struct life_head {
    uint64_t lsn;
    uint64_t life;
};

/* The content of the entry at `lsn` of that life; `data` holds LIFE_ENTRY_BYTES_MAX. Returns its bytes. */
static inline uint32_t life_entry_make(uint64_t lsn, uint64_t life, uint8_t *data)
{
    struct life_head head = {.lsn = lsn, .life = life};
    uint64_t seed = lsn ^ life << 40, word = hg_random_splitmix64(&seed);
    uint32_t bytes = (uint32_t)(sizeof(head) + word % (LIFE_ENTRY_BYTES_MAX / 2 - sizeof(head)));
    if (word >> 60 == 0)
        bytes *= 2;
    memcpy(data, &head, sizeof(head));
    for (uint32_t at = sizeof(head); at < bytes; at += sizeof(word)) {
        word = hg_random_splitmix64(&seed);
        memcpy(data + at, &word, hg_min_u64(sizeof(word), bytes - at));
    }
    return bytes;
}

static inline uint64_t life_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

#endif
