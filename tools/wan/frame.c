/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/frame.h"

#define TYPE_IPV4            0x0800
#define TYPE_IPV6            0x86dd
#define TYPE_VLAN            0x8100
#define VLAN_BYTES           4
#define IPV4_BYTES           20
#define IPV6_BYTES           40
#define ICMP_BYTES           8
#define IPV4_ANSWER_MAX      576 /* RFC 1812 4.3.2.3 */
#define IPV6_ANSWER_MAX      1280
#define IPV4_DONT_FRAGMENT   0x4000
#define IPV4_MORE_FRAGMENTS  0x2000
#define IPV4_OFFSET_MASK     0x1fff
#define ECN_IPV4             0x0003 /* of the first two bytes */
#define ECN_IPV6             0x0030
#define PROTOCOL_ICMP        1
#define PROTOCOL_TCP         6
#define PROTOCOL_UDP         17
#define PROTOCOL_ESP         50
#define PROTOCOL_ICMPV6      58
#define PROTOCOL_SCTP        132
#define ICMP_UNREACHABLE     3
#define ICMP_FRAGMENT_NEEDED 4
#define ICMPV6_TOO_BIG       2
#define ICMPV6_REDIRECT      137

/* A packet inside a frame. */
struct packet {
    const uint8_t *data;
    uint32_t bytes;
    uint16_t type; /* EtherType */
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

uint32_t hg_wan_frame_payload_at(const uint8_t *frame, uint32_t bytes)
{
    hg_assert(bytes >= HG_WAN_FRAME_HEADER_BYTES);
    bool tagged = bytes >= HG_WAN_FRAME_HEADER_BYTES + VLAN_BYTES && get16(frame + 12) == TYPE_VLAN;
    return tagged ? HG_WAN_FRAME_HEADER_BYTES + VLAN_BYTES : HG_WAN_FRAME_HEADER_BYTES;
}

static struct packet packet_of(const uint8_t *frame, uint32_t bytes)
{
    uint32_t at = hg_wan_frame_payload_at(frame, bytes);
    return (struct packet){.data = frame + at, .bytes = bytes - at, .type = get16(frame + at - 2)};
}

/* --- flows --- */

static uint64_t hash_bytes(uint64_t hash, const uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* The first four bytes behind the IP header: ports, or the SPI. */
static uint64_t hash_ports(uint64_t hash, const struct packet *packet, uint32_t at, uint8_t protocol)
{
    if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != PROTOCOL_ESP &&
        protocol != PROTOCOL_SCTP)
        return hash;
    return packet->bytes >= at + 4 ? hash_bytes(hash, packet->data + at, 4) : hash;
}

uint64_t hg_wan_frame_flow(const uint8_t *frame, uint32_t bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    struct packet packet = packet_of(frame, bytes);
    const uint8_t *ip = packet.data;
    if (packet.type == TYPE_IPV4 && packet.bytes >= IPV4_BYTES && ip[0] >> 4 == 4) {
        hash = hash_bytes(hash, ip + 12, 8);
        hash = hash_bytes(hash, ip + 9, 1);
        if ((get16(ip + 6) & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK)) != 0)
            return hash;
        return hash_ports(hash, &packet, 4 * (ip[0] & 15u), ip[9]);
    }
    if (packet.type == TYPE_IPV6 && packet.bytes >= IPV6_BYTES && ip[0] >> 4 == 6) {
        uint8_t label[3] = {ip[1] & 15, ip[2], ip[3]};
        hash = hash_bytes(hash, ip + 8, 32);
        hash = hash_bytes(hash, label, sizeof(label));
        hash = hash_bytes(hash, ip + 6, 1);
        return hash_ports(hash, &packet, IPV6_BYTES, ip[6]);
    }
    return hash_bytes(hash, frame, HG_WAN_FRAME_HEADER_BYTES);
}

/* --- marks --- */

/* HC' = ~(~HC + ~m + m'), in one's complement */
static void checksum_mend(uint8_t *at, uint16_t before, uint16_t after)
{
    uint32_t sum = (uint16_t)~get16(at) + (uint32_t)(uint16_t)~before + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(at, ~sum & 0xffff);
}

bool hg_wan_frame_mark(uint8_t *frame, uint32_t bytes)
{
    struct packet packet = packet_of(frame, bytes);
    uint8_t *ip = frame + (packet.data - frame);
    bool four = packet.type == TYPE_IPV4 && packet.bytes >= IPV4_BYTES && ip[0] >> 4 == 4;
    bool six = packet.type == TYPE_IPV6 && packet.bytes >= IPV6_BYTES && ip[0] >> 4 == 6;
    uint16_t before = four || six ? get16(ip) : 0;
    uint16_t field = six ? ECN_IPV6 : ECN_IPV4;
    if ((before & field) == 0)
        return false;
    put16(ip, before | field);
    if (four)
        checksum_mend(ip + 10, before, before | field);
    return true;
}

/* --- damage --- */

bool hg_wan_frame_corrupt(uint8_t *frame, uint32_t bytes, bool header, uint64_t random)
{
    uint32_t from = header ? 0 : hg_wan_frame_payload_at(frame, bytes);
    uint32_t bits = 8 * (bytes - from);
    if (bits == 0)
        return false;
    uint32_t turns = (random & 1) != 0 ? 3 : 1;
    for (uint32_t i = 0; i < turns; i++) {
        uint32_t bit = (uint32_t)((random >> (1 + 21 * i) & 0x1fffff) * bits >> 21);
        frame[from + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return true;
}

/* --- what a router says --- */

static uint32_t sum_bytes(uint32_t sum, const uint8_t *data, uint32_t bytes)
{
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        sum += get16(data + i);
    return bytes % 2 != 0 ? sum + ((uint32_t)data[bytes - 1] << 8) : sum;
}

/* The internet checksum, RFC 1071. */
static uint32_t checksum(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

static bool ipv4_may_answer(const struct packet *packet)
{
    const uint8_t *ip = packet->data;
    if (packet->bytes < IPV4_BYTES || ip[0] >> 4 != 4)
        return false;
    uint32_t header = 4 * (ip[0] & 15u);
    uint16_t fragment = get16(ip + 6);
    if (header < IPV4_BYTES || packet->bytes < header + ICMP_BYTES || get16(ip + 2) < header + ICMP_BYTES ||
        get16(ip + 2) > packet->bytes)
        return false;
    if ((fragment & IPV4_DONT_FRAGMENT) == 0 || (fragment & IPV4_OFFSET_MASK) != 0)
        return false;
    /* Classes D and E, with them the broadcast address, and "this network". */
    if (ip[12] == 0 || ip[12] >= 224 || ip[16] >= 224)
        return false;
    uint8_t type = ip[header];
    bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    return ip[9] != PROTOCOL_ICMP || !error;
}

static uint32_t ipv4_answer(const struct packet *packet, uint32_t mtu_bytes, uint8_t *answer)
{
    uint32_t quoted =
        (uint32_t)hg_min_u64(get16(packet->data + 2), IPV4_ANSWER_MAX - IPV4_BYTES - ICMP_BYTES);
    uint8_t *icmp = answer + IPV4_BYTES;
    memset(answer, 0, IPV4_BYTES + ICMP_BYTES);
    answer[0] = 0x45;
    answer[1] = 0xc0; /* internetwork control, as routers send it */
    put16(answer + 2, IPV4_BYTES + ICMP_BYTES + quoted);
    answer[8] = 64;
    answer[9] = PROTOCOL_ICMP;
    memcpy(answer + 12, packet->data + 16, 4);
    memcpy(answer + 16, packet->data + 12, 4);
    put16(answer + 10, checksum(sum_bytes(0, answer, IPV4_BYTES)));
    icmp[0] = ICMP_UNREACHABLE;
    icmp[1] = ICMP_FRAGMENT_NEEDED;
    put16(icmp + 6, mtu_bytes);
    memcpy(icmp + ICMP_BYTES, packet->data, quoted);
    put16(icmp + 2, checksum(sum_bytes(0, icmp, ICMP_BYTES + quoted)));
    return IPV4_BYTES + ICMP_BYTES + quoted;
}

static bool ipv6_may_answer(const struct packet *packet)
{
    static const uint8_t unspecified[16];
    const uint8_t *ip = packet->data;
    if (packet->bytes < IPV6_BYTES + ICMP_BYTES || ip[0] >> 4 != 6)
        return false;
    /* To a group it could be said (RFC 4443 2.4 e.3), but then nobody's address is left to say it from. */
    if (ip[8] == 0xff || ip[24] == 0xff || memcmp(ip + 8, unspecified, sizeof(unspecified)) == 0)
        return false;
    return ip[6] != PROTOCOL_ICMPV6 || (ip[IPV6_BYTES] >= 128 && ip[IPV6_BYTES] != ICMPV6_REDIRECT);
}

static uint32_t ipv6_answer(const struct packet *packet, uint32_t mtu_bytes, uint8_t *answer)
{
    uint32_t quoted = (uint32_t)hg_min_u64(packet->bytes, IPV6_ANSWER_MAX - IPV6_BYTES - ICMP_BYTES);
    uint32_t bytes = ICMP_BYTES + quoted;
    uint8_t *icmp = answer + IPV6_BYTES;
    memset(answer, 0, IPV6_BYTES + ICMP_BYTES);
    answer[0] = 0x60;
    put16(answer + 4, bytes);
    answer[6] = PROTOCOL_ICMPV6;
    answer[7] = 64;
    memcpy(answer + 8, packet->data + 24, 16);
    memcpy(answer + 24, packet->data + 8, 16);
    icmp[0] = ICMPV6_TOO_BIG;
    put16(icmp + 6, mtu_bytes);
    memcpy(icmp + ICMP_BYTES, packet->data, quoted);
    uint32_t sum = sum_bytes(bytes + PROTOCOL_ICMPV6, answer + 8, 32); /* the pseudo-header */
    put16(icmp + 2, checksum(sum_bytes(sum, icmp, bytes)));
    return IPV6_BYTES + bytes;
}

uint32_t hg_wan_frame_too_big(const uint8_t *frame, uint32_t bytes, uint32_t mtu_bytes,
                              uint8_t answer[HG_WAN_FRAME_ANSWER_BYTES_MAX])
{
    struct packet packet = packet_of(frame, bytes);
    uint32_t at = (uint32_t)(packet.data - frame);
    memcpy(answer, frame + 6, 6);
    memcpy(answer + 6, frame, 6);
    memcpy(answer + 12, frame + 12, at - 12);
    if (packet.type == TYPE_IPV4 && ipv4_may_answer(&packet))
        return at + ipv4_answer(&packet, mtu_bytes, answer + at);
    if (packet.type == TYPE_IPV6 && ipv6_may_answer(&packet))
        return at + ipv6_answer(&packet, mtu_bytes, answer + at);
    return 0;
}
