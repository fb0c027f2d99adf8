/* SPDX-License-Identifier: Apache-2.0
 *
 * Lanes that share one bottleneck in virtual time: a rate, a queue of so many bytes that drops its tail, and
 * losses that have nothing to do with the queue. Each flow is a pair of lanes with no end of data. One
 * configuration gives one run.
 */
#ifndef HG_TEST_BOTTLENECK_H
#define HG_TEST_BOTTLENECK_H

#include "dataplane/transport/cc.h"
#include "dataplane/transport/lane.h"

#define BOTTLENECK_FLOWS_MAX 6

struct bottleneck_config {
    uint64_t seed;
    uint64_t rate_bytes_per_s;
    uint64_t rate_later_bytes_per_s; /* from change_ns on; 0: no change */
    uint64_t change_ns;
    uint64_t queue_bytes;
    uint64_t mark_bytes;    /* in the queue: from there on what is ECT(0) is marked CE; 0: never */
    bool ecn;               /* the lanes send ECT(0) */
    bool marks_hidden;      /* the receiver reads CE as ECT(0): it lies */
    uint64_t delay_ns;      /* each way */
    uint32_t loss_ppm;      /* of data packets, behind the queue */
    uint32_t burst_packets; /* losses come so many at once; 0 or 1: alone */
    bool acks_lost;         /* the other way loses likewise */
    bool bursts_vary;       /* in length: burst_packets is the mean */
    uint64_t cut_from_ns;   /* data packets vanish; acks come through */
    uint64_t cut_to_ns;
    uint64_t pause_ns_max; /* both hosts lose their CPU for up to so long, every 10 ms; 0: never */
    uint64_t turn_ns;      /* from one turn of the receiver to the next; 0: at once; a divisor of 10 ms */
    uint32_t flow_count;
    enum hg_cc_kind kind;
    uint64_t flow_rate_bytes_per_s; /* configured at the lanes */
    uint64_t flow_start_ns[BOTTLENECK_FLOWS_MAX];
    uint64_t flow_stop_ns[BOTTLENECK_FLOWS_MAX];     /* it has no data from then on; 0: always */
    uint64_t data_bytes_per_s[BOTTLENECK_FLOWS_MAX]; /* that it has; 0: no end of it */
    uint32_t lane_count; /* so many, the first, are lanes of one node to one peer, of a worker each */
    bool last_is_other;  /* the last flow has other_kind */
    enum hg_cc_kind other_kind;
    uint64_t measure_from_ns;
    uint64_t end_ns;
};

struct bottleneck_result {
    /* over [measure_from_ns, end_ns) */
    uint64_t carried_bytes[BOTTLENECK_FLOWS_MAX]; /* IP packet bytes that arrived */
    uint64_t queue_bytes_mean;                    /* as packets found it */
    uint32_t used_per_mille;                      /* of the rate, by all flows */
    struct hg_lane_stats stats[BOTTLENECK_FLOWS_MAX];
    uint64_t duplicate_bytes[BOTTLENECK_FLOWS_MAX]; /* of data that came twice, since the beginning */
};

struct bottleneck_result bottleneck_run(const struct bottleneck_config *config);

#endif
