/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/platform/address.h"

#include <arpa/inet.h>

static_assert(HG_ADDRESS_TEXT_BYTES >= INET6_ADDRSTRLEN, "room for the longest address");

bool hg_address_is_link_local(const struct hg_address *address)
{
    return address->family == HG_FAMILY_IPV6 && address->bytes[0] == 0xfe &&
           (address->bytes[1] & 0xc0) == 0x80;
}

bool hg_address_in_prefix(const struct hg_address *address, const struct hg_address *prefix,
                          uint32_t prefix_bits)
{
    if (address->family != prefix->family || prefix_bits > hg_address_bits(prefix))
        return false;
    uint32_t bytes = prefix_bits / 8, bits = prefix_bits % 8;
    if (memcmp(address->bytes, prefix->bytes, bytes) != 0)
        return false;
    return bits == 0 || (address->bytes[bytes] ^ prefix->bytes[bytes]) >> (8 - bits) == 0;
}

static bool ipv4_station(const uint8_t bytes[4])
{
    return bytes[0] != 0 && bytes[0] != 127 && bytes[0] < 224;
}

/* Neither ::/96 (unspecified, loopback) nor an IPv4 address in disguise, nor a group. */
static bool ipv6_station(const uint8_t bytes[16])
{
    static const uint8_t zero[12];
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return bytes[0] != 0xff && memcmp(bytes, zero, sizeof(zero)) != 0 &&
           memcmp(bytes, mapped, sizeof(mapped)) != 0;
}

bool hg_address_parse(const char *text, struct hg_address *address)
{
    struct hg_address parsed = {.family = HG_FAMILY_IPV4};
    if (inet_pton(AF_INET, text, parsed.bytes) == 1 && ipv4_station(parsed.bytes)) {
        *address = parsed;
        return true;
    }
    parsed = (struct hg_address){.family = HG_FAMILY_IPV6};
    if (inet_pton(AF_INET6, text, parsed.bytes) != 1 || !ipv6_station(parsed.bytes))
        return false;
    *address = parsed;
    return true;
}

const char *hg_address_text(const struct hg_address *address, char text[HG_ADDRESS_TEXT_BYTES])
{
    int family = address->family == HG_FAMILY_IPV6 ? AF_INET6 : AF_INET;
    if (!hg_address_is_set(address) || inet_ntop(family, address->bytes, text, HG_ADDRESS_TEXT_BYTES) == NULL)
        memcpy(text, "-", 2);
    return text;
}
