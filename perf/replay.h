/* SPDX-License-Identifier: Apache-2.0
 *
 * A producer that costs nothing: the append ring is filled once, and what the worker has consumed becomes new
 * again by moving the tail (and, of a physical stream, the LSN in each record). The worker's own side of the
 * ring is the real one, checks included.
 */
#ifndef HG_PERF_REPLAY_H
#define HG_PERF_REPLAY_H

#include "perf/data.h"
#include "perf/node.h"

#define HG_PERF_RING_BYTES_MAX (1u << 30)
#define HG_PERF_LSN_FIRST      (16u << 20) /* of a physical stream */

struct hg_perf_replay {
    struct hg_client_ring ring;
    struct hg_client_view view;
    bool physical;
    uint64_t *places; /* of the records in the ring */
    uint64_t record_count;
    uint64_t record_next; /* the next to be renewed */
    uint64_t pass_start;  /* ring index where this pass over the ring began */
    uint64_t pass_lsns;   /* that one pass covers */
    uint64_t pass_bytes;  /* data of one pass */
};

/* Attaches as a client to the node's stream and fills a ring with the data, over and over until it is full.
 */
int hg_perf_replay_open(struct hg_perf_replay *replay, struct hg_perf_node *node,
                        const struct hg_perf_data *data, char *error, size_t error_bytes);
/* Makes what was consumed new. Once a turn. */
void hg_perf_replay_step(struct hg_perf_replay *replay);

#endif
