/* SPDX-License-Identifier: Apache-2.0
 *
 * The operations that an input of lane_turns_fuzz.c is a list of: a byte each, modulo their count.
 */
#ifndef HG_FUZZ_LANE_TURNS_H
#define HG_FUZZ_LANE_TURNS_H

enum action {
    PACKET,
    PACKET_FAR,
    PACKET_GROUP,
    BUILD,
    TIME,
    OPEN,
    CLOSE,
    FORGET,
    CONTROL,
    OFFER,
    PING,
    ANSWER,
    ACTION_COUNT
};

#endif
