/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/encapsulation.h"

#define ETHERNET_BYTES 14u
#define IPV4_BYTES     20u
#define UDP_BYTES      8u
#define IPV6_BYTES     40u
#define ETHERTYPE_IPV4 0x0800u
#define ETHERTYPE_IPV6 0x86ddu
#define ETHERTYPE_ARP  0x0806u
#define ETHERTYPE_VLAN 0x8100u
#define VLAN_MASK      0x0fffu
#define PROTOCOL_UDP   17u
#define PROTOCOL_FRAG  44u
#define PROTOCOL_ICMP  1u
#define PROTOCOL_ICMP6 58u
#define FLAG_DF        0x4000u
#define FLAG_MF        0x2000u
#define FRAGMENT_MASK  0x1fffu
#define TTL            64u
static_assert(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES == HG_WIRE_OUTER_BYTES, "outer headers");
static_assert(IPV6_BYTES - IPV4_BYTES == HG_WIRE_IPV6_MORE_BYTES, "outer headers with IPv6");

const char *hg_encapsulation_reason_text(enum hg_encapsulation_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_ENCAPSULATION_REASONS(HG_X)
#undef HG_X
    };
    return (unsigned)reason < HG_COUNT(texts) ? texts[reason] : "of an unknown reason";
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* One's complement sum (RFC 1071) of an even number of bytes. */
static uint32_t checksum_add(const uint8_t *at, uint32_t bytes)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < bytes; i += 2) {
        sum += get16(at + i);
    }
    return sum;
}

static uint32_t checksum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

static void ipv4_write(const struct hg_encapsulation *outer, uint32_t udp_bytes, uint8_t *ip)
{
    uint32_t version_service = 0x4500u | outer->dscp_ecn;
    uint32_t ttl_protocol = (uint32_t)(outer->ttl != 0 ? outer->ttl : TTL) << 8 | PROTOCOL_UDP;
    put16(ip, version_service);
    put16(ip + 2, IPV4_BYTES + udp_bytes);
    put16(ip + 4, 0);
    put16(ip + 6, FLAG_DF);
    put16(ip + 8, ttl_protocol);
    /* Of the values, not of what was just written: reading that back costs more than all the rest. */
    uint32_t sum = version_service + IPV4_BYTES + udp_bytes + FLAG_DF + ttl_protocol;
    sum += checksum_add(outer->ip_source.bytes, 4) + checksum_add(outer->ip_destination.bytes, 4);
    put16(ip + 10, ~checksum_fold(sum) & 0xffff);
    memcpy(ip + 12, outer->ip_source.bytes, 4);
    memcpy(ip + 16, outer->ip_destination.bytes, 4);
}

/* The flow label is 0: routers that spread flows have the ports. */
static void ipv6_write(const struct hg_encapsulation *outer, uint32_t udp_bytes, uint8_t *ip)
{
    ip[0] = (uint8_t)(0x60 | outer->dscp_ecn >> 4);
    ip[1] = (uint8_t)(outer->dscp_ecn << 4);
    put16(ip + 2, 0);
    put16(ip + 4, udp_bytes);
    ip[6] = PROTOCOL_UDP;
    ip[7] = outer->ttl != 0 ? outer->ttl : TTL;
    memcpy(ip + 8, outer->ip_source.bytes, 16);
    memcpy(ip + 24, outer->ip_destination.bytes, 16);
}

uint32_t hg_encapsulation_write(const struct hg_encapsulation *outer, uint32_t payload_bytes, uint8_t *frame)
{
    uint8_t *at = frame + ETHERNET_BYTES;
    bool six = outer->ip_destination.family == HG_FAMILY_IPV6;
    hg_assert(payload_bytes <= UINT16_MAX - IPV4_BYTES - UDP_BYTES);
    memcpy(frame, outer->mac_destination, 6);
    memcpy(frame + 6, outer->mac_source, 6);
    if (outer->vlan != 0) {
        put16(at - 2, ETHERTYPE_VLAN);
        put16(at, outer->vlan & VLAN_MASK);
        at += HG_WIRE_VLAN_BYTES;
    }
    put16(at - 2, six ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4);
    if (six)
        ipv6_write(outer, UDP_BYTES + payload_bytes, at);
    else
        ipv4_write(outer, UDP_BYTES + payload_bytes, at);
    at += six ? IPV6_BYTES : IPV4_BYTES;
    put16(at, outer->port_source);
    put16(at + 2, outer->port_destination);
    put16(at + 4, UDP_BYTES + payload_bytes);
    put16(at + 6, 0);
    return (uint32_t)(at + UDP_BYTES - frame) + payload_bytes;
}

static enum hg_encapsulation_reason ipv4_check(const uint8_t *ip, uint32_t bytes, uint32_t *header_bytes,
                                               uint32_t *total_bytes)
{
    if (ip[0] >> 4 != 4) {
        return HG_ENCAPSULATION_VERSION;
    }
    uint32_t header = (ip[0] & 15u) * 4;
    if (header < IPV4_BYTES || header + UDP_BYTES > bytes) {
        return HG_ENCAPSULATION_HEADER_LENGTH;
    }
    uint32_t total = get16(ip + 2);
    if (total > bytes || total < header + UDP_BYTES) {
        return HG_ENCAPSULATION_TOTAL_LENGTH;
    }
    if (checksum_fold(checksum_add(ip, header)) != 0xffff) {
        return HG_ENCAPSULATION_CHECKSUM;
    }
    if ((get16(ip + 6) & (FLAG_MF | FRAGMENT_MASK)) != 0) {
        return HG_ENCAPSULATION_FRAGMENT;
    }
    if (ip[9] != PROTOCOL_UDP)
        return ip[9] == PROTOCOL_ICMP ? HG_ENCAPSULATION_NEIGHBOUR : HG_ENCAPSULATION_PROTOCOL;
    *header_bytes = header;
    *total_bytes = total;
    return HG_ENCAPSULATION_OK;
}

static enum hg_encapsulation_reason ipv6_check(const uint8_t *ip, uint32_t bytes, uint32_t *header_bytes,
                                               uint32_t *total_bytes)
{
    if (ip[0] >> 4 != 6)
        return HG_ENCAPSULATION_VERSION;
    if (bytes < IPV6_BYTES + UDP_BYTES)
        return HG_ENCAPSULATION_SHORT;
    uint32_t total = IPV6_BYTES + get16(ip + 4);
    if (total > bytes || total < IPV6_BYTES + UDP_BYTES)
        return HG_ENCAPSULATION_TOTAL_LENGTH;
    if (ip[6] == PROTOCOL_FRAG)
        return HG_ENCAPSULATION_FRAGMENT;
    if (ip[6] != PROTOCOL_UDP)
        return ip[6] == PROTOCOL_ICMP6 ? HG_ENCAPSULATION_NEIGHBOUR : HG_ENCAPSULATION_PROTOCOL;
    *header_bytes = IPV6_BYTES;
    *total_bytes = total;
    return HG_ENCAPSULATION_OK;
}

/* What is true of a packet of either family; `ip` is whole. */
static void outer_fill(struct hg_encapsulation *outer, const uint8_t *frame, uint32_t vlan, const uint8_t *ip,
                       const uint8_t *udp)
{
    bool six = ip[0] >> 4 == 6;
    uint32_t address_bytes = six ? 16 : 4;
    memset(outer, 0, sizeof(*outer));
    memcpy(outer->mac_destination, frame, 6);
    memcpy(outer->mac_source, frame + 6, 6);
    outer->vlan = (uint16_t)vlan;
    outer->ip_source.family = outer->ip_destination.family = six ? HG_FAMILY_IPV6 : HG_FAMILY_IPV4;
    memcpy(outer->ip_source.bytes, ip + (six ? 8 : 12), address_bytes);
    memcpy(outer->ip_destination.bytes, ip + (six ? 24 : 16), address_bytes);
    outer->port_source = (uint16_t)get16(udp);
    outer->port_destination = (uint16_t)get16(udp + 2);
    outer->dscp_ecn = six ? (uint8_t)(ip[0] << 4 | ip[1] >> 4) : ip[1];
    outer->ttl = six ? ip[7] : ip[8];
}

enum hg_encapsulation_reason hg_encapsulation_read(const uint8_t *frame, uint32_t frame_bytes,
                                                   struct hg_encapsulation *outer, const uint8_t **payload,
                                                   uint32_t *payload_bytes)
{
    uint32_t at = ETHERNET_BYTES, vlan = 0;
    if (frame_bytes < ETHERNET_BYTES + HG_WIRE_VLAN_BYTES)
        return HG_ENCAPSULATION_SHORT;
    uint32_t type = get16(frame + 12);
    if (type == ETHERTYPE_VLAN) {
        vlan = get16(frame + at) & VLAN_MASK;
        at += HG_WIRE_VLAN_BYTES;
        type = get16(frame + at - 2);
    }
    if (type == ETHERTYPE_ARP)
        return HG_ENCAPSULATION_NEIGHBOUR;
    if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6)
        return HG_ENCAPSULATION_ETHERTYPE;
    if (frame_bytes < at + IPV4_BYTES + UDP_BYTES)
        return HG_ENCAPSULATION_SHORT;
    const uint8_t *ip = frame + at;
    uint32_t header_bytes = 0, total_bytes = 0;
    enum hg_encapsulation_reason reason = type == ETHERTYPE_IPV6
                                              ? ipv6_check(ip, frame_bytes - at, &header_bytes, &total_bytes)
                                              : ipv4_check(ip, frame_bytes - at, &header_bytes, &total_bytes);
    if (reason != HG_ENCAPSULATION_OK)
        return reason;
    const uint8_t *udp = ip + header_bytes;
    if (get16(udp + 4) != total_bytes - header_bytes)
        return HG_ENCAPSULATION_UDP_LENGTH;
    outer_fill(outer, frame, vlan, ip, udp);
    *payload = udp + UDP_BYTES;
    *payload_bytes = total_bytes - header_bytes - UDP_BYTES;
    return HG_ENCAPSULATION_OK;
}
