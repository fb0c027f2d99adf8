/* SPDX-License-Identifier: Apache-2.0
 *
 * What stations of one link say to find each other: ARP (RFC 826, RFC 5227) for IPv4, Neighbour Discovery
 * (RFC 4861) for IPv6, and echo requests (ping) of both, read and written as whole Ethernet frames with or
 * without a VLAN tag. Pure, and trusts nothing it reads.
 */
#ifndef HG_TRANSPORT_NEIGHBOUR_MESSAGE_H
#define HG_TRANSPORT_NEIGHBOUR_MESSAGE_H

#include "dataplane/transport/wire.h"
#include "drivers/platform/address.h"

#define HG_NEIGHBOUR_FRAME_BYTES_MAX (14u + 4u + 40u + 32u) /* of what is written here, but for echoes */
#define HG_NEIGHBOUR_ECHO_BYTES_MAX  1518u                  /* of a frame: a larger ping is not answered */

enum hg_neighbour_kind {
    HG_NEIGHBOUR_NONE,    /* of this protocol family, but nothing that concerns us: ICMP errors, adverts */
    HG_NEIGHBOUR_REQUEST, /* `sender`, at `mac`, asks who has `target` */
    HG_NEIGHBOUR_ANSWER,  /* `target` is at `mac` */
    HG_NEIGHBOUR_ECHO,    /* `sender` asks `target` for an echo */
};

struct hg_neighbour_message {
    enum hg_neighbour_kind kind;
    struct hg_address sender; /* REQUEST: not set when it only checks whether an address is free */
    struct hg_address target;
    uint8_t mac[6];
    bool solicited;     /* ANSWER: to a question that was asked, and to the asker alone */
    bool overrides;     /* ANSWER: instead of what is known */
    uint16_t vlan;      /* as in struct hg_encapsulation */
    uint32_t ip_offset; /* ECHO: of the IP header in the frame */
    uint32_t ip_bytes;
};

enum hg_neighbour_reason {
    HG_NEIGHBOUR_OK,
    HG_NEIGHBOUR_MALFORMED, /* a length, a type or a rule of its RFC is wrong */
    HG_NEIGHBOUR_CHECKSUM,
};

/* Reads a frame. Only OK fills *message. A frame that is neither ARP, ICMP nor ICMPv6 is malformed. */
enum hg_neighbour_reason hg_neighbour_read(const uint8_t *frame, uint32_t bytes,
                                           struct hg_neighbour_message *message);

/* The three below write into `frame` and return its bytes. `mac` and `network` are ours. */

/* Who has `target`? Asked of everyone, or of `to` alone when that is given. `anonymous`: only whether the
 * address is free, so that nobody learns ours. */
uint32_t hg_neighbour_request_write(uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], const uint8_t mac[6],
                                    const struct hg_network *network, const struct hg_address *target,
                                    const uint8_t *to, bool anonymous);
/* Our address is at our MAC: to the sender of that request, or to everyone when `request` is NULL or
 * anonymous. */
uint32_t hg_neighbour_answer_write(uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], const uint8_t mac[6],
                                   const struct hg_network *network,
                                   const struct hg_neighbour_message *request);
/* The answer to an ECHO that was read from `from`: as many bytes as that had without padding. `frame` has
 * room for HG_NEIGHBOUR_ECHO_BYTES_MAX. 0: it has options or is larger than that. */
uint32_t hg_neighbour_echo_write(uint8_t *frame, const uint8_t mac[6], const uint8_t *from,
                                 const struct hg_neighbour_message *echo);

#endif
