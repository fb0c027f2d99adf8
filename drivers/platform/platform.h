/* SPDX-License-Identifier: Apache-2.0
 *
 * The ground everything stands on: assertions that stay on, sizes, bytes. Header only, no state, any thread.
 */
#ifndef HG_PLATFORM_H
#define HG_PLATFORM_H

#include <assert.h>
#include <isa-l/crc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are little-endian and read in place");

/* Programmer errors end the process, in release builds too: a log that goes on after a broken invariant loses
 * data. */
_Noreturn void hg_assert_failed(const char *expression, const char *file, int line);
#define hg_assert(e)        (__builtin_expect(!!(e), 1) ? (void)0 : hg_assert_failed(#e, __FILE__, __LINE__))

#define HG_CACHE_LINE_BYTES 64
#define HG_CACHE_ALIGNED    __attribute__((aligned(HG_CACHE_LINE_BYTES)))
#define HG_COUNT(array)     (sizeof(array) / sizeof((array)[0]))

#define HG_NS_PER_US        UINT64_C(1000)
#define HG_NS_PER_MS        UINT64_C(1000000)
#define HG_NS_PER_S         UINT64_C(1000000000)
#define HG_TIME_NEVER       UINT64_MAX

/* Rounds up to a power of two `align`. */
static inline uint64_t hg_align_up(uint64_t value, uint64_t align)
{
    return (value + align - 1) & ~(align - 1);
}

static inline uint64_t hg_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t hg_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* CRC32C (Castagnoli) as in RFC 3720 B.4: hg_crc32c(0, "123456789", 9) == 0xe3069283. `seed` is the CRC of
 * what came before, so that hg_crc32c(hg_crc32c(0, a, n), b, m) is the CRC of a then b. bytes < 2 GiB. */
static inline uint32_t hg_crc32c(uint32_t seed, const void *data, size_t bytes)
{
    hg_assert(bytes <= INT32_MAX);
    /* ISA-L neither inverts before nor after, and takes a non-const pointer that it only reads. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)bytes, ~seed);
}

#endif
