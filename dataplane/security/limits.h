/* SPDX-License-Identifier: Apache-2.0
 *
 * How much one key may do, all in one place. From the soft limits on new keys are asked for while the old
 * ones go on; at the hard limits a key seals or opens nothing more. A key is one direction of one lane.
 * Operators can lower the soft limits (`set peer NAME rekey`), never raise them.
 *
 * Sealed: RFC 9001 6.6 and B.1.1 allow AES-GCM 2^28 packets of 2^11 bytes, or 2^23 of 2^16: 2^39 bytes in
 * all. Failed: RFC 9001 6.6 and B.1.2 allow 2^52 forgeries (packets of up to 2^16 bytes); RFC 9147 4.5.3,
 * which we follow, 2^36.
 */
#ifndef HG_SECURITY_LIMITS_H
#define HG_SECURITY_LIMITS_H

#include "drivers/platform/platform.h"

#define HG_KEY_PACKETS_SOFT_MAX  (UINT64_C(1) << 27)
#define HG_KEY_PACKETS_HARD_MAX  (UINT64_C(1) << 28)
#define HG_KEY_BYTES_SOFT_MAX    (UINT64_C(1) << 37)
#define HG_KEY_BYTES_HARD_MAX    (UINT64_C(1) << 38)
#define HG_KEY_AGE_NS_SOFT_MAX   (3600 * HG_NS_PER_S)
#define HG_KEY_AGE_NS_HARD_MAX   (2 * HG_KEY_AGE_NS_SOFT_MAX)
#define HG_KEY_FAILURES_SOFT_MAX (UINT64_C(1) << 35) /* packets that fail authentication */
#define HG_KEY_FAILURES_HARD_MAX (UINT64_C(1) << 36)

/* The least soft limits that an operator may set: an exchange must fit between two of them. */
#define HG_KEY_PACKETS_SOFT_MIN UINT64_C(256)
#define HG_KEY_BYTES_SOFT_MIN   (UINT64_C(256) << 10)
#define HG_KEY_AGE_NS_SOFT_MIN  HG_NS_PER_S

static_assert(HG_KEY_PACKETS_SOFT_MAX < HG_KEY_PACKETS_HARD_MAX, "asked for before refused");
static_assert(HG_KEY_BYTES_SOFT_MAX < HG_KEY_BYTES_HARD_MAX, "asked for before refused");
static_assert(HG_KEY_AGE_NS_SOFT_MAX < HG_KEY_AGE_NS_HARD_MAX, "asked for before refused");
static_assert(HG_KEY_FAILURES_SOFT_MAX < HG_KEY_FAILURES_HARD_MAX, "asked for before refused");
static_assert(HG_KEY_PACKETS_HARD_MAX <= UINT64_C(1) << 28, "RFC 9001 6.6, confidentiality");
static_assert(HG_KEY_BYTES_HARD_MAX <= UINT64_C(1) << 39, "RFC 9001 B.1.1, confidentiality");
static_assert(HG_KEY_FAILURES_HARD_MAX <= UINT64_C(1) << 36, "RFC 9147 4.5.3, integrity");
static_assert(HG_KEY_PACKETS_SOFT_MIN < HG_KEY_PACKETS_SOFT_MAX, "a range");
static_assert(HG_KEY_BYTES_SOFT_MIN < HG_KEY_BYTES_SOFT_MAX, "a range");
static_assert(HG_KEY_AGE_NS_SOFT_MIN < HG_KEY_AGE_NS_SOFT_MAX, "a range");

/* The soft limits of a lane's keys. */
struct hg_key_limits {
    uint64_t packets; /* sealed */
    uint64_t bytes;   /* sealed, padding included */
    uint64_t age_ns;  /* since they were agreed on */
};

/* 0 stands for the standard; what is out of range is brought into it. */
static inline struct hg_key_limits hg_key_limits_make(uint64_t packets, uint64_t bytes, uint64_t age_ns)
{
    struct hg_key_limits limits = {HG_KEY_PACKETS_SOFT_MAX, HG_KEY_BYTES_SOFT_MAX, HG_KEY_AGE_NS_SOFT_MAX};
    if (packets != 0)
        limits.packets = hg_min_u64(limits.packets, hg_max_u64(packets, HG_KEY_PACKETS_SOFT_MIN));
    if (bytes != 0)
        limits.bytes = hg_min_u64(limits.bytes, hg_max_u64(bytes, HG_KEY_BYTES_SOFT_MIN));
    if (age_ns != 0)
        limits.age_ns = hg_min_u64(limits.age_ns, hg_max_u64(age_ns, HG_KEY_AGE_NS_SOFT_MIN));
    return limits;
}

#endif
