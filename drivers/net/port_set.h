/* SPDX-License-Identifier: Apache-2.0
 *
 * A port with a queue for each worker. Most devices have queues of their own. memif's are no use: a server
 * of 22.11 that has more of them than its client reads the first one's ring through all of them. So a memif
 * port is an interface a worker, on one socket: worker i's has the id of the port + i * HG_PORT_SET_ID_STEP,
 * and a side that has fewer of them leaves the others down.
 *
 * Threads as in drivers/net/port_dpdk.h: all of this is housekeeping's, each queue is its worker's.
 */
#ifndef HG_NET_PORT_SET_H
#define HG_NET_PORT_SET_H

#include "drivers/net/port_dpdk.h"

#define HG_PORT_SET_ID_STEP                                                                                  \
    1000u /* so that ports that share a socket may be numbered one after the other                           \
           */

struct hg_port_set {
    uint32_t queue_count;
    uint32_t device_count;     /* 1, or one for each queue */
    struct hg_port_pool *pool; /* of its own; NULL = the device's, or the caller's */
    struct hg_port *devices[HG_PORT_QUEUES_MAX];
};

/* As hg_port_dpdk_open, with `queues` queues (options->queues is not read). Returns 0, or -EIO with a
 * sentence, and nothing is open. */
int hg_port_set_open(struct hg_port_set *set, const struct hg_port_dpdk_options *options, uint32_t queues,
                     char *error, size_t error_bytes);
void hg_port_set_close(struct hg_port_set *set);
struct hg_port *hg_port_set_queue(const struct hg_port_set *set, uint32_t queue);
uint64_t hg_port_set_maintain(struct hg_port_set *set, uint64_t now_ns);
/* True when every queue's link is up. */
bool hg_port_set_up(const struct hg_port_set *set);
/* Why one is not, "" when all are. */
const char *hg_port_set_problem(const struct hg_port_set *set);
/* Of all queues. */
void hg_port_set_stats_read(const struct hg_port_set *set, struct hg_port_dpdk_stats *stats);

#endif
