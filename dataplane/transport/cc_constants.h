/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of the congestion controllers, each with where it is from. Gains and shares are per mille.
 */
#ifndef HG_TRANSPORT_CC_CONSTANTS_H
#define HG_TRANSPORT_CC_CONSTANTS_H

#include "drivers/platform/platform.h"

#define HG_CC_PER_MILLE        1000u
#define HG_CC_CWND_PACKETS     10u /* at first: RFC 9002 7.2 */
#define HG_CC_CWND_PACKETS_MIN 2u  /* RFC 9002 7.2 */
#define HG_CC_PERSISTENT_PTOS  3u  /* kPersistentCongestionThreshold, RFC 9002 7.6.1 */

/* fixed: RFC 8084 asks for a slow, safe reaction to what no controlled flow does; the numbers are ours. */
#define HG_CC_FIXED_CWND_BYTES_MIN (64u << 10)
#define HG_CC_BREAKER_LOSS         100u /* above it a round trip is bad */
#define HG_CC_BREAKER_RTT_FACTOR   2u   /* least of a round above so many times the path's ... */
#define HG_CC_BREAKER_QUEUE_NS     (25 * HG_NS_PER_MS)  /* ... and so much above it: hosts are late too */
#define HG_CC_BREAKER_ROUND_NS     (100 * HG_NS_PER_MS) /* a round is a round trip, but no shorter */
#define HG_CC_BREAKER_PACKETS_MIN  16u                  /* a round with fewer says nothing about loss */
#define HG_CC_BREAKER_ROUNDS       3u                   /* in a row, to open and to close by a step */
#define HG_CC_BREAKER_STEP         1250u                /* closing: the rate times this */
#define HG_CC_BREAKER_DIVISOR_MAX  16u                  /* of the configured rate: the slowest */

/* cubic */
#define HG_CUBIC_BETA              700u  /* RFC 9438 4.6 */
#define HG_CUBIC_BETA_ECN          850u  /* RFC 8511: in congestion avoidance, for a mark */
#define HG_CUBIC_ALPHA             529u  /* 3 (1 - beta) / (1 + beta), RFC 9438 4.3 */
#define HG_CUBIC_TIME_MS_MAX       60000 /* from the last maximum; long doubled by then */
#define HG_CUBIC_TARGET_MAX        1500u /* of the window, in one round trip: RFC 9438 4.2 */
#define HG_CUBIC_PACING_SLOW_START 2000u /* Linux's tcp_pacing_ss_ratio */
#define HG_CUBIC_PACING            1250u /* RFC 9002 7.7 */
/* cubic of several lanes to a peer: ours */
#define HG_CUBIC_EVEN_DIVISOR 8u /* of what a window differs from its part */
#define HG_CUBIC_TOLD_LATE_NS                                                                                \
    (20 * HG_NS_PER_MS) /* what lanes lose within so much is one event: they tell                            \
                            each other every 10 ms */
/* HyStart++: RFC 9406 4.3 */
#define HG_HYSTART_RTT_NS_MIN  (4 * HG_NS_PER_MS)
#define HG_HYSTART_RTT_NS_MAX  (16 * HG_NS_PER_MS)
#define HG_HYSTART_RTT_DIVISOR 8u
#define HG_HYSTART_SAMPLES     8u
#define HG_HYSTART_CSS_DIVISOR 4u
#define HG_HYSTART_CSS_ROUNDS  5u

/* bbr: draft-ietf-ccwg-bbr, names as there where no other source is said */
#define HG_BBR_PACING_MARGIN         10u   /* PacingMarginPercent = 1 */
#define HG_BBR_STARTUP_PACING        2773u /* StartupPacingGain = 4 ln 2 */
#define HG_BBR_STARTUP_CWND          2000u /* DefaultCwndGain */
#define HG_BBR_DRAIN_PACING          500u  /* DrainPacingGain = 1 / DefaultCwndGain */
#define HG_BBR_CWND                  2000u
#define HG_BBR_UP_CWND               2250u
#define HG_BBR_DOWN_PACING           900u
#define HG_BBR_CRUISE_PACING         1000u
#define HG_BBR_UP_PACING             1250u
#define HG_BBR_PROBE_RTT_CWND        500u
#define HG_BBR_LOSS_THRESHOLD        20u  /* LossThresh = 2 % */
#define HG_BBR_BETA                  700u /* Beta */
#define HG_BBR_HEADROOM              850u /* 1 - Headroom */
#define HG_BBR_FULL_BW_GROWTH        1250u
#define HG_BBR_FULL_BW_ROUNDS        3u
#define HG_BBR_STARTUP_LOSSES        6u /* StartupFullLossCnt: runs of packets lost */
#define HG_BBR_MIN_RTT_NS            (10 * HG_NS_PER_S)
#define HG_BBR_PROBE_RTT_NS          (5 * HG_NS_PER_S)
#define HG_BBR_PROBE_RTT_STAY_NS     (200 * HG_NS_PER_MS)
#define HG_BBR_PROBE_WAIT_NS         (2 * HG_NS_PER_S) /* and up to a second more */
#define HG_BBR_PROBE_WAIT_ROUNDS_MAX 63u               /* as a Reno flow on 25 Mbit/s at 30 ms would */
#define HG_BBR_CWND_PACKETS_MIN      4u                /* MinPipeCwnd */
#define HG_BBR_EXTRA_ACKED_ROUNDS    5u                /* half of ExtraAckedFilterLen: two windows are kept */
#define HG_BBR_QUANTUM_PACKETS       32u               /* the pacer's largest burst */
#define HG_BBR_RTT_FIRST_NS          HG_NS_PER_MS      /* of the first pacing rate */
#define HG_BBR_RATE_BYTES_PER_S_MIN  10000u
/* bbr: ours, docs/wire-format.md says why */
#define HG_BBR_RTT_CONFIRM_DIVISOR   16u /* a round trip within that share of the least confirms it ... */
#define HG_BBR_RTT_CONFIRM_NS_MIN    HG_BBR_HOST_NS /* ... or within what hosts need */
#define HG_BBR_HOST_NS               HG_NS_PER_MS   /* what hosts add to round trips */
#define HG_BBR_QUEUE_RTT_DIVISOR     8u /* a round's least round trip this share above the path's: a queue */
#define HG_BBR_QUEUE_NS_MIN          HG_NS_PER_MS
#define HG_BBR_BETA_ECN              850u /* for a round with a mark: as cubic's */
#define HG_BBR_UP_QUEUE_DIVISOR      4u /* pushing that makes a queue of this share of the round trip ends */
#define HG_BBR_STARTUP_LOSSY_ROUNDS  2u /* in a row */
#define HG_BBR_LOSS_DEVIATIONS       4u /* of the count of runs lost, that chance may explain ... */
#define HG_BBR_LOSS_DEVIATIONS_QUEUE 2u /* ... while a queue stands */
#define HG_BBR_FLOOR_MAX             100u /* no path is taken to lose more by itself */
#define HG_BBR_FLOOR_PACKETS_MIN     64u  /* before it is known */
#define HG_BBR_FLOOR_ROUNDS          16u  /* what is older counts half */

#endif
