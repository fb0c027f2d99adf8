/* SPDX-License-Identifier: Apache-2.0
 *
 * An IPv4 or IPv6 address. All zero: none. No padding: two are equal when their bytes are.
 */
#ifndef HG_PLATFORM_ADDRESS_H
#define HG_PLATFORM_ADDRESS_H

#include "drivers/platform/platform.h"

#define HG_ADDRESS_TEXT_BYTES 46 /* of INET6_ADDRSTRLEN */
#define HG_VLAN_MAX           4094u

enum hg_family { HG_FAMILY_NONE = 0, HG_FAMILY_IPV4 = 4, HG_FAMILY_IPV6 = 6 };

struct hg_address {
    uint8_t family; /* enum hg_family */
    uint8_t reserved[3];
    uint8_t bytes[16]; /* network order; IPv4 has the first four, the others are 0 */
};
static_assert(sizeof(struct hg_address) == 20, "no padding");

/* Where a port is: what is in its prefix is on its link, everything else behind the gateway. */
struct hg_network {
    struct hg_address address;
    struct hg_address gateway;
    uint32_t prefix_bits;
    uint16_t vlan; /* 1 to 4094: its frames have this 802.1Q tag; 0 = none */
    uint16_t reserved;
};
static_assert(sizeof(struct hg_network) == 48, "no padding");

static inline struct hg_address hg_address_ipv4(uint32_t host_order)
{
    return (struct hg_address){.family = HG_FAMILY_IPV4,
                               .bytes = {(uint8_t)(host_order >> 24), (uint8_t)(host_order >> 16),
                                         (uint8_t)(host_order >> 8), (uint8_t)host_order}};
}

static inline bool hg_address_is_set(const struct hg_address *address)
{
    return address->family != HG_FAMILY_NONE;
}

static inline bool hg_address_equal(const struct hg_address *a, const struct hg_address *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

/* 0 for none. */
static inline uint32_t hg_address_bits(const struct hg_address *address)
{
    return address->family == HG_FAMILY_IPV6 ? 128 : address->family == HG_FAMILY_IPV4 ? 32 : 0;
}

/* fe80::/10: on every link, and never beyond it. */
bool hg_address_is_link_local(const struct hg_address *address);
/* Same family, and the first `prefix_bits` bits are the same. */
bool hg_address_in_prefix(const struct hg_address *address, const struct hg_address *prefix,
                          uint32_t prefix_bits);
/* An address that one station may have: no group's, no loopback, not all zero. False leaves *address alone.
 */
bool hg_address_parse(const char *text, struct hg_address *address);
/* Zero-terminated; "-" for none. */
const char *hg_address_text(const struct hg_address *address, char text[HG_ADDRESS_TEXT_BYTES]);

#endif
