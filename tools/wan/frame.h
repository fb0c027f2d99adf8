/* SPDX-License-Identifier: Apache-2.0
 *
 * What the emulator must know of the inside of a frame: where its payload begins, which flow it belongs to,
 * how to damage it, and what a router says when it is too large for the next link. Pure, and of untrusted
 * bytes: no length inside a packet is believed beyond the frame's end.
 */
#ifndef HG_WAN_FRAME_H
#define HG_WAN_FRAME_H

#include "drivers/platform/platform.h"

#define HG_WAN_FRAME_HEADER_BYTES     14
#define HG_WAN_FRAME_ANSWER_BYTES_MAX (18 + 1280) /* with a VLAN tag; RFC 4443 3.2 gives the 1280 */

/* Where the payload begins: behind the Ethernet header and at most one 802.1Q tag. `bytes` is at least
 * HG_WAN_FRAME_HEADER_BYTES; the result is at most `bytes`. */
uint32_t hg_wan_frame_payload_at(const uint8_t *frame, uint32_t bytes);

/* A hash of what makes a flow: IP addresses, protocol, and the ports (TCP, UDP, SCTP) or the SPI (ESP) unless
 * the packet is a fragment; for IPv6 the flow label too (RFC 6438). Of anything but IP: the Ethernet header.
 */
uint64_t hg_wan_frame_flow(const uint8_t *frame, uint32_t bytes);

/* Marks an ECN-capable IP packet as having met congestion (RFC 3168): ECT(0) or ECT(1) becomes CE, and the
 * checksum of IPv4 is mended (RFC 1624). Returns false and changes nothing when it is no whole IP header, or
 * not ECN-capable; true for what is CE already. */
bool hg_wan_frame_mark(uint8_t *frame, uint32_t bytes);

/* Turns one or three bits, an odd number, so that the frame is never what it was. Only behind the Ethernet
 * header unless `header`. Returns false when there is nothing to turn: a frame without payload. */
bool hg_wan_frame_corrupt(uint8_t *frame, uint32_t bytes, bool header, uint64_t random);

/* Builds what a router answers to an IP packet larger than `mtu_bytes`: "fragmentation needed" (RFC 792, RFC
 * 1191) or "packet too big" (RFC 4443). It goes to the frame's sender and bears the addresses of its
 * receiver, because the emulator has none of its own. Returns its bytes, at most
 * HG_WAN_FRAME_ANSWER_BYTES_MAX; 0 when nothing may be said (RFC 1122 3.2.2, RFC 4443 2.4): not IP,
 * malformed, a fragment that isn't the first, an IPv4 packet that may be fragmented, an ICMP error, or an
 * address that is no single host's. */
uint32_t hg_wan_frame_too_big(const uint8_t *frame, uint32_t bytes, uint32_t mtu_bytes,
                              uint8_t answer[HG_WAN_FRAME_ANSWER_BYTES_MAX]);

#endif
