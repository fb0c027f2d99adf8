/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/encapsulation.h"

#define ETHERNET_BYTES 14u
#define IPV4_BYTES     20u
#define UDP_BYTES      8u
#define ETHERTYPE_IPV4 0x0800u
#define PROTOCOL_UDP   17u
#define FLAG_DF        0x4000u
#define FLAG_MF        0x2000u
#define FRAGMENT_MASK  0x1fffu
#define TTL            64u
static_assert(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES == HG_WIRE_OUTER_BYTES, "outer headers");

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

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value & 0xffff);
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

/* One's complement sum (RFC 1071) of an even number of bytes, folded. */
static uint32_t checksum_fold(const uint8_t *at, uint32_t bytes)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < bytes; i += 2) {
        sum += get16(at + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

uint32_t hg_encapsulation_write(const struct hg_encapsulation *outer, uint32_t payload_bytes,
                                uint8_t frame[HG_WIRE_OUTER_BYTES])
{
    hg_assert(payload_bytes <= UINT16_MAX - IPV4_BYTES - UDP_BYTES);
    memcpy(frame, outer->mac_destination, 6);
    memcpy(frame + 6, outer->mac_source, 6);
    put16(frame + 12, ETHERTYPE_IPV4);
    uint8_t *ip = frame + ETHERNET_BYTES;
    ip[0] = 0x45;
    ip[1] = outer->dscp_ecn;
    put16(ip + 2, IPV4_BYTES + UDP_BYTES + payload_bytes);
    put16(ip + 4, 0);
    put16(ip + 6, FLAG_DF);
    ip[8] = outer->ttl != 0 ? outer->ttl : TTL;
    ip[9] = PROTOCOL_UDP;
    put16(ip + 10, 0);
    put32(ip + 12, outer->ip_source);
    put32(ip + 16, outer->ip_destination);
    put16(ip + 10, ~checksum_fold(ip, IPV4_BYTES) & 0xffff);
    uint8_t *udp = ip + IPV4_BYTES;
    put16(udp, outer->port_source);
    put16(udp + 2, outer->port_destination);
    put16(udp + 4, UDP_BYTES + payload_bytes);
    put16(udp + 6, 0);
    return HG_WIRE_OUTER_BYTES + payload_bytes;
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
    if (checksum_fold(ip, header) != 0xffff) {
        return HG_ENCAPSULATION_CHECKSUM;
    }
    if ((get16(ip + 6) & (FLAG_MF | FRAGMENT_MASK)) != 0) {
        return HG_ENCAPSULATION_FRAGMENT;
    }
    if (ip[9] != PROTOCOL_UDP) {
        return HG_ENCAPSULATION_PROTOCOL;
    }
    *header_bytes = header;
    *total_bytes = total;
    return HG_ENCAPSULATION_OK;
}

enum hg_encapsulation_reason hg_encapsulation_read(const uint8_t *frame, uint32_t frame_bytes,
                                                   struct hg_encapsulation *outer, const uint8_t **payload,
                                                   uint32_t *payload_bytes)
{
    if (frame_bytes < ETHERNET_BYTES) {
        return HG_ENCAPSULATION_SHORT;
    }
    if (get16(frame + 12) != ETHERTYPE_IPV4) {
        return HG_ENCAPSULATION_ETHERTYPE;
    }
    if (frame_bytes < HG_WIRE_OUTER_BYTES) {
        return HG_ENCAPSULATION_SHORT;
    }
    const uint8_t *ip = frame + ETHERNET_BYTES;
    uint32_t header_bytes = 0;
    uint32_t total_bytes = 0;
    enum hg_encapsulation_reason reason =
        ipv4_check(ip, frame_bytes - ETHERNET_BYTES, &header_bytes, &total_bytes);
    if (reason != HG_ENCAPSULATION_OK) {
        return reason;
    }
    const uint8_t *udp = ip + header_bytes;
    if (get16(udp + 4) != total_bytes - header_bytes) {
        return HG_ENCAPSULATION_UDP_LENGTH;
    }
    memset(outer, 0, sizeof(*outer));
    memcpy(outer->mac_destination, frame, 6);
    memcpy(outer->mac_source, frame + 6, 6);
    outer->ip_source = get32(ip + 12);
    outer->ip_destination = get32(ip + 16);
    outer->port_source = (uint16_t)get16(udp);
    outer->port_destination = (uint16_t)get16(udp + 2);
    outer->dscp_ecn = ip[1];
    outer->ttl = ip[8];
    *payload = udp + UDP_BYTES;
    *payload_bytes = total_bytes - header_bytes - UDP_BYTES;
    return HG_ENCAPSULATION_OK;
}
