/* SPDX-License-Identifier: Apache-2.0
 *
 * The outer headers: Ethernet with or without an 802.1Q tag, IPv4 or IPv6, UDP. Works on plain bytes and
 * trusts nothing it reads. The ICV of ESP and the MAC of the handshake protect what is inside; the outer
 * headers only bring it to us. So the UDP checksum is 0 with IPv6 too (RFC 6935, for tunnels).
 */
#ifndef HG_TRANSPORT_ENCAPSULATION_H
#define HG_TRANSPORT_ENCAPSULATION_H

#include "dataplane/transport/wire.h"
#include "drivers/platform/address.h"

/* Numbers in host byte order. */
struct hg_encapsulation {
    uint8_t mac_source[6];
    uint8_t mac_destination[6];
    struct hg_address ip_source; /* both of one family, that of the packet */
    struct hg_address ip_destination;
    uint16_t port_source; /* lanes send from HG_WIRE_UDP_PORT_DATA + lane */
    uint16_t port_destination;
    uint16_t vlan;    /* 1 to 4094; 0 = no tag, or one of priority alone */
    uint8_t dscp_ecn; /* the type of service byte of IPv4, the traffic class of IPv6 */
    uint8_t ttl;      /* or hop limit; written as 64 when 0 */
};

#define HG_ENCAPSULATION_REASONS(X)                                                                          \
    X(OK, "fine")                                                                                            \
    X(SHORT, "shorter than Ethernet, IP and UDP headers")                                                    \
    X(NEIGHBOUR, "that are ARP, ICMP or ICMPv6: not dropped, but dataplane/transport/neighbour.h's")         \
    X(ETHERTYPE, "that are neither IPv4 nor IPv6")                                                           \
    X(VERSION, "whose IP version isn't that of their Ethernet type")                                         \
    X(HEADER_LENGTH, "whose IPv4 header length is impossible")                                               \
    X(TOTAL_LENGTH, "whose IP length doesn't fit the frame")                                                 \
    X(CHECKSUM, "whose IPv4 header checksum is wrong")                                                       \
    X(FRAGMENT, "that are IP fragments: the path's MTU is smaller than configured")                          \
    X(PROTOCOL, "that aren't UDP")                                                                           \
    X(UDP_LENGTH, "whose UDP length contradicts that of IP")
enum hg_encapsulation_reason {
#define HG_X(name, text) HG_ENCAPSULATION_##name,
    HG_ENCAPSULATION_REASONS(HG_X)
#undef HG_X
        HG_ENCAPSULATION_REASON_COUNT
};
const char *hg_encapsulation_reason_text(enum hg_encapsulation_reason reason);

/* Of the headers that *outer is written as: HG_WIRE_OUTER_BYTES to HG_WIRE_OUTER_BYTES_MAX. */
static inline uint32_t hg_encapsulation_bytes(const struct hg_encapsulation *outer)
{
    return HG_WIRE_OUTER_BYTES +
           (outer->ip_destination.family == HG_FAMILY_IPV6 ? HG_WIRE_IPV6_MORE_BYTES : 0) +
           (outer->vlan != 0 ? HG_WIRE_VLAN_BYTES : 0);
}

/* Writes hg_encapsulation_bytes() of headers for `payload_bytes` of UDP payload that follow them. IPv4 has DF
 * set and identification 0 (RFC 6864); no UDP checksum (RFC 3948, RFC 6935). payload_bytes <= 65507. Returns
 * the frame's bytes. */
uint32_t hg_encapsulation_write(const struct hg_encapsulation *outer, uint32_t payload_bytes, uint8_t *frame);

/* Reads a received frame. On OK fills *outer and sets *payload (inside `frame`) and *payload_bytes (0 is
 * possible); Ethernet padding behind the IP packet is ignored, and so is a UDP checksum. Otherwise they're
 * untouched. IPv6 extension headers are refused: fragments as FRAGMENT, others as PROTOCOL. */
enum hg_encapsulation_reason hg_encapsulation_read(const uint8_t *frame, uint32_t frame_bytes,
                                                   struct hg_encapsulation *outer, const uint8_t **payload,
                                                   uint32_t *payload_bytes);

#endif
