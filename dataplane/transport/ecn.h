/* SPDX-License-Identifier: Apache-2.0
 *
 * Explicit congestion notification of a lane (RFC 3168), counted and validated as RFC 9000 13.4 does it: the
 * sender marks packets that elicit acks ECT(0), the receiver counts what the outer headers of packets said
 * that it acknowledges, and the sender takes those counts for true as long as they can be.
 *
 * A count is 32 bits and wraps. What it has grown by since the newest count before, modulo 2^32, is growth
 * below 2^31 and else the count has shrunk: no flight is anywhere near that large. Acks overtake each other,
 * so a count is newer when the number of the packet that carried it is larger.
 *
 * The sum of both counts must be at least the marked packets that were acknowledged, since each is counted
 * before it is acknowledged, and at most those that were sent. We compare sums since marking began, where
 * RFC 9000 compares those since the ack before: an ack that had no room for all its ranges counts packets
 * that a later one acknowledges.
 *
 * Counts can only say that the path is full or end the marking; no value of them makes a lane send more than
 * one without ECN does. What a peer that says too little gains ends where the queue does: losses are found
 * without its word.
 */
#ifndef HG_TRANSPORT_ECN_H
#define HG_TRANSPORT_ECN_H

#include "drivers/platform/platform.h"

enum hg_ecn_codepoint { /* the two low bits of dscp_ecn */
                        HG_ECN_NOT_ECT = 0,
                        HG_ECN_ECT1 = 1,
                        HG_ECN_ECT0 = 2,
                        HG_ECN_CE = 3
};
#define HG_ECN_MASK           3u

#define HG_ECN_PROBES         2u /* probe timeouts in a row that make it suspect that marked packets arrive */
#define HG_ECN_TRIALS_MAX     4u /* so many times in a row unmarked packets arrived and marked ones didn't */
#define HG_ECN_ALL_CE_PACKETS 256u /* all acknowledged since the beginning were CE, so many ... */
#define HG_ECN_ALL_CE_ROUNDS  16u  /* ... over so many round trips: no queue, but a path that sets the bits */

/* What it is about; the texts of `show lanes` and `show peers`. */
#define HG_ECN_STATES(X)                                                                                     \
    X(OFF, "off")                                                                                            \
    X(TESTING, "testing")                                                                                    \
    X(ON, "on")                                                                                              \
    X(SHRUNK, "shrunk")         /* a count went back */                                                      \
    X(BLEACHED, "bleached")     /* too few: the path clears or changes the marks, or the peer counts none */ \
    X(INVENTED, "invented")     /* more than were marked */                                                  \
    X(ALL_CE, "all-ce")         /* the path sets the bits of every packet */                                 \
    X(BLACK_HOLE, "black-hole") /* the path drops marked packets */
enum hg_ecn_state {
#define HG_X(name, text) HG_ECN_##name,
    HG_ECN_STATES(HG_X)
#undef HG_X
        HG_ECN_STATE_COUNT
};
const char *hg_ecn_state_text(enum hg_ecn_state state);

/* The sender's side. */
struct hg_ecn {
    uint8_t state; /* enum hg_ecn_state; above ON: failed, nothing is marked */
    bool suspect;  /* unmarked packets try whether the path is there at all */
    uint32_t trials;
    uint64_t number_suspect; /* packets above it are those */
    uint64_t number_told;    /* of the packet that carried the newest counts */
    uint32_t ce_told, ect_told;
    /* since marking began */
    uint64_t number_from; /* packets above it */
    uint64_t sent_count, acked_count;
    uint64_t stray_count; /* sent before, which may be counted since */
    uint64_t ce_count, ect_count;
    uint64_t round_end; /* a round trip is over when this number is acknowledged */
    uint32_t rounds;
    uint64_t marked_count; /* newly marked packets, for congestion control to take */
};

/* The counts of an ack frame. */
struct hg_ecn_told {
    uint64_t packet_number; /* that carried it */
    uint64_t largest;       /* that it acknowledges */
    uint64_t number_last;   /* that we sent */
    uint32_t ce, ect;
};

/* The receiver's side: of packets that authenticated, came once, and are acknowledged. */
struct hg_ecn_seen {
    uint32_t ce, ect;
};

static inline bool hg_ecn_failed(const struct hg_ecn *ecn)
{
    return ecn->state > HG_ECN_ON;
}

/* On: begins anew with the packet after `number_last`, whatever failed before. */
void hg_ecn_set(struct hg_ecn *ecn, bool on, uint64_t number_last);
/* The codepoint of the packet that is sent next, if it elicits an ack. */
enum hg_ecn_codepoint hg_ecn_mark(const struct hg_ecn *ecn);
/* It was sent, marked. */
void hg_ecn_sent(struct hg_ecn *ecn);
/* A packet of ours was acknowledged for the first time; all of an ack frame, then its counts. */
void hg_ecn_acked(struct hg_ecn *ecn, uint64_t number, bool marked);
void hg_ecn_counts(struct hg_ecn *ecn, const struct hg_ecn_told *told);
/* A probe timeout, the nth in a row. */
void hg_ecn_timeout(struct hg_ecn *ecn, uint32_t probe_count, uint64_t number_last);
/* Counts a packet received. */
void hg_ecn_seen(struct hg_ecn_seen *seen, enum hg_ecn_codepoint codepoint);

#endif
