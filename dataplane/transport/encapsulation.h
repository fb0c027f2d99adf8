/* SPDX-License-Identifier: Apache-2.0
 *
 * The outer headers: Ethernet, IPv4, UDP. Works on plain bytes and trusts nothing it reads. The ICV of ESP
 * and the MAC of the handshake protect what is inside; the outer headers only bring it to us.
 */
#ifndef HG_TRANSPORT_ENCAPSULATION_H
#define HG_TRANSPORT_ENCAPSULATION_H

#include "dataplane/transport/wire.h"

/* Host byte order throughout. */
struct hg_encapsulation {
    uint8_t mac_source[6];
    uint8_t mac_destination[6];
    uint32_t ip_source;
    uint32_t ip_destination;
    uint16_t port_source; /* lanes send from HG_WIRE_UDP_PORT_DATA + lane */
    uint16_t port_destination;
    uint8_t dscp_ecn; /* the IPv4 type of service byte */
    uint8_t ttl;      /* written as 64 when 0 */
};

#define HG_ENCAPSULATION_REASONS(X)                                                                          \
    X(OK, "fine")                                                                                            \
    X(SHORT, "shorter than Ethernet, IPv4 and UDP headers")                                                  \
    X(ETHERTYPE, "that aren't IPv4")                                                                         \
    X(VERSION, "whose IP version isn't 4")                                                                   \
    X(HEADER_LENGTH, "whose IPv4 header length is impossible")                                               \
    X(TOTAL_LENGTH, "whose IPv4 total length doesn't fit the frame")                                         \
    X(CHECKSUM, "whose IPv4 header checksum is wrong")                                                       \
    X(FRAGMENT, "that are IPv4 fragments: the path's MTU is smaller than configured")                        \
    X(PROTOCOL, "that aren't UDP")                                                                           \
    X(UDP_LENGTH, "whose UDP length contradicts IPv4's")
enum hg_encapsulation_reason {
#define HG_X(name, text) HG_ENCAPSULATION_##name,
    HG_ENCAPSULATION_REASONS(HG_X)
#undef HG_X
        HG_ENCAPSULATION_REASON_COUNT
};
const char *hg_encapsulation_reason_text(enum hg_encapsulation_reason reason);

/* Writes HG_WIRE_OUTER_BYTES of headers for `payload_bytes` of UDP payload that follow them: DF set,
 * identification 0 (RFC 6864), no UDP checksum (RFC 3948). payload_bytes <= 65507. Returns the frame's bytes.
 */
uint32_t hg_encapsulation_write(const struct hg_encapsulation *outer, uint32_t payload_bytes,
                                uint8_t frame[HG_WIRE_OUTER_BYTES]);

/* Reads a received frame. On OK fills *outer and sets *payload (inside `frame`) and *payload_bytes (0 is
 * possible); Ethernet padding behind the IPv4 packet is ignored, and so is a UDP checksum. Otherwise they're
 * untouched. */
enum hg_encapsulation_reason hg_encapsulation_read(const uint8_t *frame, uint32_t frame_bytes,
                                                   struct hg_encapsulation *outer, const uint8_t **payload,
                                                   uint32_t *payload_bytes);

#endif
