/* SPDX-License-Identifier: Apache-2.0
 *
 * A producer at light load: one record at a time, as a database commits, from a thread of its own, which
 * rings the worker's doorbell as a client does. And when each of them was durable at the peer, as the
 * sender's worker learned it.
 */
#ifndef HG_PERF_LIGHT_H
#define HG_PERF_LIGHT_H

#include "perf/data.h"
#include "perf/node.h"

#include <pthread.h>
#include <stdatomic.h>

#define HG_PERF_LIGHT_SAMPLES_MAX 65536u /* power of two */

/* In memory that the parent shares. */
struct hg_perf_light_samples {
    _Atomic uint32_t count;
    uint32_t latency_us[HG_PERF_LIGHT_SAMPLES_MAX];
};

struct hg_perf_light {
    struct hg_client_ring ring;
    struct hg_client_view view;
    const struct hg_perf_data *data;
    struct hg_perf_light_samples *samples;
    struct hg_clock *clock;
    uint16_t attachment;
    int eventfd;
    uint64_t gap_ns;
    _Atomic uint64_t acked; /* records */
    _Atomic bool stop;
    _Atomic uint64_t sent;
    _Atomic uint64_t sent_ns[HG_PERF_LIGHT_SAMPLES_MAX];
    pthread_t thread;
};

/* Attaches to the node's stream, which has nothing yet, and begins to append one frame every gap_ns. */
int hg_perf_light_open(struct hg_perf_light *light, struct hg_perf_node *node,
                       const struct hg_perf_data *data, uint64_t gap_ns,
                       struct hg_perf_light_samples *samples, char *error, size_t error_bytes);
/* Notes what the peer has by now. Once a turn. */
void hg_perf_light_step(struct hg_perf_light *light, struct hg_perf_node *node);
void hg_perf_light_close(struct hg_perf_light *light);

#endif
