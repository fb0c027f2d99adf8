/* SPDX-License-Identifier: Apache-2.0
 *
 * The handshake message, byte for byte. docs/wire-security.md is this file in prose; change both. HELLO,
 * REPLY and CONFIRM have one layout and one size, so an answer is never larger than the question.
 * Little-endian.
 */
#ifndef HG_SECURITY_HANDSHAKE_WIRE_H
#define HG_SECURITY_HANDSHAKE_WIRE_H

#include "dataplane/security/kdf.h"

#define HG_HANDSHAKE_MAGIC       UINT32_C(0x53484748) /* "HGHS" */
#define HG_HANDSHAKE_VERSION     2u
#define HG_HANDSHAKE_NONCE_BYTES 32

enum hg_handshake_type {
    HG_HANDSHAKE_HELLO = 1,
    HG_HANDSHAKE_REPLY = 2,
    HG_HANDSHAKE_CONFIRM = 3,
};

struct hg_handshake_message {
    uint32_t magic;
    uint8_t version;
    uint8_t type;   /* enum hg_handshake_type */
    uint16_t bytes; /* of the message */
    uint64_t cluster;
    uint64_t node_from;
    uint64_t node_to;
    uint64_t boot;       /* of node_from */
    uint32_t spi;        /* the first of 4096 that node_from receives under, one a lane; > 255 */
    uint32_t generation; /* HELLO: the lowest that will do; REPLY, CONFIRM: that of the new SA pair */
    uint8_t workers;     /* of node_from */
    uint8_t reserved[3]; /* 0 */
    /* HELLO, REPLY: with which the lanes began that node_from has, 0 = none; CONFIRM: as its HELLO. Where
     * both sides name the same, those lanes go on under the new keys; else new ones begin. */
    uint32_t lane_generation;
    uint8_t nonce[HG_HANDSHAKE_NONCE_BYTES];      /* of node_from, new for every exchange */
    uint8_t nonce_echo[HG_HANDSHAKE_NONCE_BYTES]; /* of node_to; HELLO: 0 */
    uint8_t
        mac[HG_MAC_BYTES]; /* over the messages of the exchange before this one, and this one up to here */
};
static_assert(sizeof(struct hg_handshake_message) == 152, "handshake message");
static_assert(offsetof(struct hg_handshake_message, cluster) == 8, "handshake message");
static_assert(offsetof(struct hg_handshake_message, boot) == 32, "handshake message");
static_assert(offsetof(struct hg_handshake_message, spi) == 40, "handshake message");
static_assert(offsetof(struct hg_handshake_message, workers) == 48, "handshake message");
static_assert(offsetof(struct hg_handshake_message, lane_generation) == 52, "handshake message");
static_assert(offsetof(struct hg_handshake_message, nonce) == 56, "handshake message");
static_assert(offsetof(struct hg_handshake_message, nonce_echo) == 88, "handshake message");
static_assert(offsetof(struct hg_handshake_message, mac) == 120, "handshake message");

#endif
