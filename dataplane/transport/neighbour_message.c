/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/neighbour_message.h"

#define ETHERNET_BYTES     14u
#define IPV4_BYTES         20u
#define IPV6_BYTES         40u
#define ARP_BYTES          28u
#define ICMP_BYTES         8u
#define ND_BYTES           24u /* type, code, checksum, flags, target */
#define ETHERTYPE_IPV4     0x0800u
#define ETHERTYPE_ARP      0x0806u
#define ETHERTYPE_VLAN     0x8100u
#define ETHERTYPE_IPV6     0x86ddu
#define VLAN_MASK          0x0fffu
#define PROTOCOL_ICMP      1u
#define PROTOCOL_ICMPV6    58u
#define ARP_REQUEST        1u
#define ARP_REPLY          2u
#define ICMP_ECHO_REPLY    0u
#define ICMP_ECHO          8u
#define ICMPV6_ECHO        128u
#define ICMPV6_ECHO_REPLY  129u
#define ICMPV6_SOLICIT     135u
#define ICMPV6_ADVERTISE   136u
#define OPTION_MAC_SOURCE  1u
#define OPTION_MAC_TARGET  2u
#define ND_FLAG_SOLICITED  0x40u
#define ND_FLAG_OVERRIDE   0x20u
#define ND_HOP_LIMIT       255u
#define ECHO_HOP_LIMIT     64u
#define FRAGMENT_MASK      0x3fffu
#define IPV4_OFFSET_SOURCE 12u
#define IPV6_OFFSET_SOURCE 8u

static const uint8_t mac_none[6];
static const uint8_t mac_everyone[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* RFC 1071; an odd byte at the end counts as followed by 0. */
static uint32_t checksum_add(uint32_t sum, const uint8_t *at, uint32_t bytes)
{
    for (uint32_t i = 0; i + 1 < bytes; i += 2)
        sum += get16(at + i);
    if (bytes % 2 != 0)
        sum += (uint32_t)at[bytes - 1] << 8;
    return sum;
}

static uint32_t checksum_fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    return (sum & 0xffff) + (sum >> 16);
}

/* Of an ICMPv6 message with its pseudo header (RFC 8200 8.1); 0xffff when the one in it is right. */
static uint32_t icmpv6_sum(const uint8_t *ip, const uint8_t *message, uint32_t bytes)
{
    uint32_t sum = checksum_add(bytes + PROTOCOL_ICMPV6, ip + IPV6_OFFSET_SOURCE, 32);
    return checksum_fold(checksum_add(sum, message, bytes));
}

static bool mac_is_station(const uint8_t mac[6])
{
    return (mac[0] & 1) == 0 && memcmp(mac, mac_none, 6) != 0;
}

static struct hg_address address_at(const uint8_t *at, uint8_t family)
{
    struct hg_address address = {.family = family};
    static const uint8_t none[16];
    uint32_t bytes = family == HG_FAMILY_IPV6 ? 16 : 4;
    if (memcmp(at, none, bytes) == 0)
        return (struct hg_address){0};
    memcpy(address.bytes, at, bytes);
    return address;
}

static bool is_group(const struct hg_address *address)
{
    return address->family == HG_FAMILY_IPV6 ? address->bytes[0] == 0xff : address->bytes[0] >= 224;
}

/* ---- reading ---- */

static enum hg_neighbour_reason arp_read(const uint8_t *arp, uint32_t bytes,
                                         struct hg_neighbour_message *message)
{
    static const uint8_t head[6] = {0, 1, 8, 0, 6, 4}; /* Ethernet, IPv4, and the lengths of both */
    if (bytes < ARP_BYTES || memcmp(arp, head, sizeof(head)) != 0)
        return HG_NEIGHBOUR_MALFORMED;
    uint32_t operation = get16(arp + 6);
    if ((operation != ARP_REQUEST && operation != ARP_REPLY) || !mac_is_station(arp + 8))
        return HG_NEIGHBOUR_MALFORMED;
    struct hg_address sender = address_at(arp + 14, HG_FAMILY_IPV4);
    struct hg_address target = address_at(arp + 24, HG_FAMILY_IPV4);
    if (is_group(&sender) || (operation == ARP_REPLY && !hg_address_is_set(&sender)))
        return HG_NEIGHBOUR_MALFORMED;
    memcpy(message->mac, arp + 8, 6);
    /* A request for one's own address is an announcement (RFC 5227 3). */
    bool announces = hg_address_equal(&sender, &target) && hg_address_is_set(&sender);
    if (operation == ARP_REQUEST && !announces) {
        message->kind = HG_NEIGHBOUR_REQUEST;
        message->sender = sender;
        message->target = target;
        return HG_NEIGHBOUR_OK;
    }
    message->kind = HG_NEIGHBOUR_ANSWER;
    message->target = sender;
    message->solicited = operation == ARP_REPLY && !announces;
    message->overrides = true;
    return HG_NEIGHBOUR_OK;
}

/* The MAC in the options, if one is there. False when they are cut short. */
static bool nd_option_mac(const uint8_t *options, uint32_t bytes, uint8_t wanted, const uint8_t **mac)
{
    *mac = NULL;
    while (bytes > 0) {
        if (bytes < 8 || options[1] == 0 || options[1] * 8u > bytes)
            return false;
        if (options[0] == wanted && options[1] == 1)
            *mac = options + 2;
        bytes -= options[1] * 8u;
        options += options[1] * 8u;
    }
    return true;
}

/* RFC 4861 7.1; `frame` for the MAC it came from. */
static enum hg_neighbour_reason nd_read(const uint8_t *frame, const uint8_t *ip, const uint8_t *nd,
                                        uint32_t bytes, struct hg_neighbour_message *message)
{
    const uint8_t *mac;
    bool solicit = nd[0] == ICMPV6_SOLICIT;
    if (bytes < ND_BYTES || nd[1] != 0 || ip[7] != ND_HOP_LIMIT)
        return HG_NEIGHBOUR_MALFORMED;
    struct hg_address sender = address_at(ip + IPV6_OFFSET_SOURCE, HG_FAMILY_IPV6);
    struct hg_address destination = address_at(ip + 24, HG_FAMILY_IPV6);
    struct hg_address target = address_at(nd + 8, HG_FAMILY_IPV6);
    if (is_group(&sender) || is_group(&target) || !hg_address_is_set(&target) ||
        !nd_option_mac(nd + ND_BYTES, bytes - ND_BYTES, solicit ? OPTION_MAC_SOURCE : OPTION_MAC_TARGET,
                       &mac))
        return HG_NEIGHBOUR_MALFORMED;
    if (solicit && !hg_address_is_set(&sender) && (!is_group(&destination) || mac != NULL))
        return HG_NEIGHBOUR_MALFORMED;
    message->solicited = !solicit && (nd[4] & ND_FLAG_SOLICITED) != 0;
    if (message->solicited && is_group(&destination))
        return HG_NEIGHBOUR_MALFORMED;
    /* A unicast message may leave its MAC out: it is that of the frame. */
    memcpy(message->mac, mac != NULL ? mac : frame + 6, 6);
    if (!mac_is_station(message->mac))
        return HG_NEIGHBOUR_MALFORMED;
    message->kind = solicit ? HG_NEIGHBOUR_REQUEST : HG_NEIGHBOUR_ANSWER;
    message->overrides = !solicit && (nd[4] & ND_FLAG_OVERRIDE) != 0;
    message->sender = sender;
    message->target = target;
    return HG_NEIGHBOUR_OK;
}

static void echo_read(const uint8_t *frame, const uint8_t *ip, uint8_t family, uint32_t ip_bytes,
                      struct hg_neighbour_message *message)
{
    uint32_t source = family == HG_FAMILY_IPV6 ? IPV6_OFFSET_SOURCE : IPV4_OFFSET_SOURCE;
    message->sender = address_at(ip + source, family);
    message->target = address_at(ip + source + (family == HG_FAMILY_IPV6 ? 16 : 4), family);
    if (!mac_is_station(frame + 6) || !hg_address_is_set(&message->sender) || is_group(&message->sender))
        return; /* nobody to answer to */
    message->kind = HG_NEIGHBOUR_ECHO;
    memcpy(message->mac, frame + 6, 6);
    message->ip_offset = (uint32_t)(ip - frame);
    message->ip_bytes = ip_bytes;
}

static enum hg_neighbour_reason icmpv6_read(const uint8_t *frame, const uint8_t *ip, uint32_t bytes,
                                            struct hg_neighbour_message *message)
{
    if (bytes < IPV6_BYTES + ICMP_BYTES || ip[0] >> 4 != 6 || ip[6] != PROTOCOL_ICMPV6)
        return HG_NEIGHBOUR_MALFORMED;
    uint32_t icmp_bytes = get16(ip + 4);
    const uint8_t *icmp = ip + IPV6_BYTES;
    if (icmp_bytes < ICMP_BYTES || icmp_bytes > bytes - IPV6_BYTES)
        return HG_NEIGHBOUR_MALFORMED;
    if (icmpv6_sum(ip, icmp, icmp_bytes) != 0xffff)
        return HG_NEIGHBOUR_CHECKSUM;
    if (icmp[0] == ICMPV6_SOLICIT || icmp[0] == ICMPV6_ADVERTISE)
        return nd_read(frame, ip, icmp, icmp_bytes, message);
    if (icmp[0] == ICMPV6_ECHO)
        echo_read(frame, ip, HG_FAMILY_IPV6, IPV6_BYTES + icmp_bytes, message);
    return HG_NEIGHBOUR_OK;
}

static enum hg_neighbour_reason icmp_read(const uint8_t *frame, const uint8_t *ip, uint32_t bytes,
                                          struct hg_neighbour_message *message)
{
    if (bytes < IPV4_BYTES + ICMP_BYTES || ip[0] >> 4 != 4 || ip[9] != PROTOCOL_ICMP)
        return HG_NEIGHBOUR_MALFORMED;
    uint32_t header = (ip[0] & 15u) * 4, total = get16(ip + 2);
    if (header < IPV4_BYTES || total > bytes || total < header + ICMP_BYTES ||
        (get16(ip + 6) & FRAGMENT_MASK) != 0)
        return HG_NEIGHBOUR_MALFORMED;
    if (checksum_fold(checksum_add(0, ip, header)) != 0xffff ||
        checksum_fold(checksum_add(0, ip + header, total - header)) != 0xffff)
        return HG_NEIGHBOUR_CHECKSUM;
    if (ip[header] == ICMP_ECHO)
        echo_read(frame, ip, HG_FAMILY_IPV4, total, message);
    return HG_NEIGHBOUR_OK;
}

enum hg_neighbour_reason hg_neighbour_read(const uint8_t *frame, uint32_t bytes,
                                           struct hg_neighbour_message *message)
{
    struct hg_neighbour_message read;
    enum hg_neighbour_reason reason = HG_NEIGHBOUR_MALFORMED;
    uint32_t at = ETHERNET_BYTES;
    memset(&read, 0, sizeof(read));
    if (bytes < ETHERNET_BYTES + HG_WIRE_VLAN_BYTES)
        return HG_NEIGHBOUR_MALFORMED;
    uint32_t type = get16(frame + 12);
    if (type == ETHERTYPE_VLAN) {
        read.vlan = (uint16_t)(get16(frame + at) & VLAN_MASK);
        at += HG_WIRE_VLAN_BYTES;
        type = get16(frame + at - 2);
    }
    if (type == ETHERTYPE_ARP)
        reason = arp_read(frame + at, bytes - at, &read);
    else if (type == ETHERTYPE_IPV4)
        reason = icmp_read(frame, frame + at, bytes - at, &read);
    else if (type == ETHERTYPE_IPV6)
        reason = icmpv6_read(frame, frame + at, bytes - at, &read);
    if (reason == HG_NEIGHBOUR_OK)
        *message = read;
    return reason;
}

/* ---- writing ---- */

/* Returns where the Ethernet payload begins. */
static uint8_t *ethernet_write(uint8_t *frame, const uint8_t to[6], const uint8_t from[6], uint16_t vlan,
                               uint32_t type)
{
    uint8_t *at = frame + ETHERNET_BYTES;
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    if (vlan != 0) {
        put16(at - 2, ETHERTYPE_VLAN);
        put16(at, vlan);
        at += HG_WIRE_VLAN_BYTES;
    }
    put16(at - 2, type);
    return at;
}

static uint32_t arp_write(uint8_t *frame, const uint8_t *mac, const struct hg_network *network,
                          uint32_t operation, const uint8_t *sender, const uint8_t *to_mac,
                          const uint8_t *target)
{
    const uint8_t *destination = to_mac != NULL ? to_mac : mac_everyone;
    uint8_t *arp = ethernet_write(frame, destination, mac, network->vlan, ETHERTYPE_ARP);
    static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};
    memcpy(arp, head, sizeof(head));
    put16(arp + 6, operation);
    memcpy(arp + 8, mac, 6);
    memcpy(arp + 14, sender, 4);
    memcpy(arp + 18, to_mac != NULL ? to_mac : mac_none, 6);
    memcpy(arp + 24, target, 4);
    return (uint32_t)(arp + ARP_BYTES - frame);
}

struct nd_parts {
    const uint8_t *mac_to; /* NULL: of the group */
    const uint8_t *source; /* NULL: unspecified */
    const uint8_t *destination;
    const uint8_t *target;
    uint8_t type;
    uint8_t flags;
    uint8_t option; /* 0: none */
};

static uint32_t nd_write(uint8_t *frame, const uint8_t *mac, const struct hg_network *network,
                         const struct nd_parts *parts)
{
    uint8_t group[6] = {0x33, 0x33}; /* RFC 2464 7 */
    memcpy(group + 2, parts->destination + 12, 4);
    uint8_t *ip = ethernet_write(frame, parts->mac_to != NULL ? parts->mac_to : group, mac, network->vlan,
                                 ETHERTYPE_IPV6);
    uint8_t *nd = ip + IPV6_BYTES;
    uint32_t bytes = ND_BYTES + (parts->option != 0 ? 8 : 0);
    memset(ip, 0, IPV6_BYTES + bytes);
    ip[0] = 0x60;
    put16(ip + 4, bytes);
    ip[6] = PROTOCOL_ICMPV6;
    ip[7] = ND_HOP_LIMIT;
    if (parts->source != NULL)
        memcpy(ip + IPV6_OFFSET_SOURCE, parts->source, 16);
    memcpy(ip + 24, parts->destination, 16);
    nd[0] = parts->type;
    nd[4] = parts->flags;
    memcpy(nd + 8, parts->target, 16);
    if (parts->option != 0) {
        nd[ND_BYTES] = parts->option;
        nd[ND_BYTES + 1] = 1;
        memcpy(nd + ND_BYTES + 2, mac, 6);
    }
    put16(nd + 2, ~icmpv6_sum(ip, nd, bytes) & 0xffff);
    return (uint32_t)(nd + bytes - frame);
}

uint32_t hg_neighbour_request_write(uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], const uint8_t mac[6],
                                    const struct hg_network *network, const struct hg_address *target,
                                    const uint8_t *to, bool anonymous)
{
    static const uint8_t none[4];
    if (target->family == HG_FAMILY_IPV4)
        return arp_write(frame, mac, network, ARP_REQUEST, anonymous ? none : network->address.bytes, to,
                         target->bytes);
    uint8_t group[16] = {0xff, 2, [11] = 1, [12] = 0xff}; /* solicited-node, RFC 4291 2.7.1 */
    memcpy(group + 13, target->bytes + 13, 3);
    struct nd_parts parts = {.mac_to = to,
                             .source = anonymous ? NULL : network->address.bytes,
                             .destination = to != NULL ? target->bytes : group,
                             .target = target->bytes,
                             .type = ICMPV6_SOLICIT,
                             .option = anonymous ? 0 : OPTION_MAC_SOURCE};
    return nd_write(frame, mac, network, &parts);
}

uint32_t hg_neighbour_answer_write(uint8_t frame[HG_NEIGHBOUR_FRAME_BYTES_MAX], const uint8_t mac[6],
                                   const struct hg_network *network,
                                   const struct hg_neighbour_message *request)
{
    static const uint8_t everyone[16] = {0xff, 2, [15] = 1};
    bool to_one = request != NULL && hg_address_is_set(&request->sender);
    const uint8_t *own = network->address.bytes;
    if (network->address.family == HG_FAMILY_IPV4) {
        if (request == NULL) /* RFC 5227 3: announced by a request, which changes no more than it must */
            return arp_write(frame, mac, network, ARP_REQUEST, own, NULL, own);
        return arp_write(frame, mac, network, ARP_REPLY, own, request->mac, request->sender.bytes);
    }
    struct nd_parts parts = {.mac_to = to_one ? request->mac : NULL,
                             .source = own,
                             .destination = to_one ? request->sender.bytes : everyone,
                             .target = own,
                             .type = ICMPV6_ADVERTISE,
                             .flags = to_one ? ND_FLAG_SOLICITED | ND_FLAG_OVERRIDE : ND_FLAG_OVERRIDE,
                             .option = OPTION_MAC_TARGET};
    return nd_write(frame, mac, network, &parts);
}

static void echo_ipv4(uint8_t *ip, uint32_t bytes)
{
    uint8_t source[4];
    memcpy(source, ip + IPV4_OFFSET_SOURCE, 4);
    memcpy(ip + IPV4_OFFSET_SOURCE, ip + 16, 4);
    memcpy(ip + 16, source, 4);
    ip[8] = ECHO_HOP_LIMIT;
    put16(ip + 10, 0);
    put16(ip + 10, ~checksum_fold(checksum_add(0, ip, IPV4_BYTES)) & 0xffff);
    uint8_t *icmp = ip + IPV4_BYTES;
    icmp[0] = ICMP_ECHO_REPLY;
    put16(icmp + 2, 0);
    put16(icmp + 2, ~checksum_fold(checksum_add(0, icmp, bytes - IPV4_BYTES)) & 0xffff);
}

static void echo_ipv6(uint8_t *ip, uint32_t bytes)
{
    uint8_t source[16];
    memcpy(source, ip + IPV6_OFFSET_SOURCE, 16);
    memcpy(ip + IPV6_OFFSET_SOURCE, ip + 24, 16);
    memcpy(ip + 24, source, 16);
    ip[7] = ECHO_HOP_LIMIT;
    uint8_t *icmp = ip + IPV6_BYTES;
    icmp[0] = ICMPV6_ECHO_REPLY;
    put16(icmp + 2, 0);
    put16(icmp + 2, ~icmpv6_sum(ip, icmp, bytes - IPV6_BYTES) & 0xffff);
}

uint32_t hg_neighbour_echo_write(uint8_t *frame, const uint8_t mac[6], const uint8_t *from,
                                 const struct hg_neighbour_message *echo)
{
    uint32_t bytes = echo->ip_offset + echo->ip_bytes;
    bool six = echo->target.family == HG_FAMILY_IPV6;
    if (bytes > HG_NEIGHBOUR_ECHO_BYTES_MAX || (!six && from[echo->ip_offset] != 0x45))
        return 0;
    memcpy(frame, from, bytes);
    memcpy(frame, echo->mac, 6);
    memcpy(frame + 6, mac, 6);
    if (six)
        echo_ipv6(frame + echo->ip_offset, echo->ip_bytes);
    else
        echo_ipv4(frame + echo->ip_offset, echo->ip_bytes);
    return bytes;
}
