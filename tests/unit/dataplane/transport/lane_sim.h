/* SPDX-License-Identifier: Apache-2.0
 *
 * Two lanes joined by a bad link in virtual time, with owners that send, take, refuse for a while and check
 * every byte. One seed gives one run.
 */
#ifndef HG_TEST_LANE_SIM_H
#define HG_TEST_LANE_SIM_H

#include "dataplane/transport/lane.h"
#include "dataplane/transport/lane_state.h"

#define SIM_ALIASES_MAX 8

/* What a path does to the codepoint of ECN, from ecn_from_ns on. */
enum sim_ecn_path { SIM_ECN_KEPT, SIM_ECN_BLEACHED, SIM_ECN_REMARKED, SIM_ECN_ALL_CE, SIM_ECN_DROPPED };

struct sim_link {
    uint32_t loss_per_mille;
    uint32_t burst_packets; /* losses come in runs of about so many; 0 and 1: alone */
    uint32_t duplicate_per_mille;
    uint32_t reorder_per_mille; /* packets that are held back by up to reorder_ns */
    uint64_t delay_ns;
    uint64_t jitter_ns;
    uint64_t reorder_ns;
    uint32_t mark_per_mille; /* of packets that are ECT(0) become CE */
    enum sim_ecn_path ecn_path;
    uint64_t ecn_from_ns;
    uint64_t cut_from_ns; /* nothing passes in [cut_from_ns, cut_to_ns) */
    uint64_t cut_to_ns;
    uint64_t narrow_from_ns; /* IP packets above narrow_bytes vanish in [from, to); 0 bytes: none do */
    uint64_t narrow_to_ns;
    uint32_t narrow_bytes;
};

struct sim_config {
    uint64_t seed;
    struct sim_link link;
    uint64_t rate_bytes_per_s;
    uint64_t receive_bytes_max;
    uint64_t deadline_ns; /* virtual: all must have arrived */
    uint32_t packets_in_flight_max;
    uint32_t mtu_bytes;
    bool ecn;
    uint8_t fec;        /* enum hg_fec_mode */
    uint8_t congestion; /* enum hg_cc_kind */
    uint64_t gap_ns;    /* a batch of each side every so often; 0: as fast as they go */
    uint64_t stall_ns;
    uint32_t alias_count;
    uint32_t batches[2]; /* to send from each side */
    uint32_t batch_bytes_min;
    uint32_t batch_bytes_max;
    uint32_t control_count;       /* frames from each side */
    uint32_t read_null_per_mille; /* batch_bytes answers NULL */
    uint32_t again_per_mille;     /* batch_received answers -EAGAIN */
    uint64_t again_until_ns;      /* and always until then */
    uint64_t tick_ns;             /* how often owners look by themselves (reads done, room made) */
};

struct sim_result {
    bool done;
    uint64_t end_ns;
    uint32_t errors; /* wrong bytes, wrong order, twice, a bound broken */
    const char *error;
    struct hg_lane_stats stats[2];
    uint64_t packets;
    uint64_t in_flight_max;
    uint64_t stalls; /* batches that took longer than the way there and stall_ns */
    uint64_t lost;   /* packets that the link lost */
    uint64_t marked; /* that it marked CE */
    uint64_t turns;
};

struct sim_config sim_config_default(uint64_t seed);
struct sim_result sim_run(const struct sim_config *config);

/* splitmix64 */
static inline uint64_t sim_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline bool sim_chance(uint64_t *state, uint32_t per_mille)
{
    return sim_random(state) % 1000 < per_mille;
}

#endif
