/* SPDX-License-Identifier: Apache-2.0
 *
 * One node of a benchmark: a worker with a real log and a real port on this thread, without housekeeping or
 * control plane. The link's keys are fixed: nothing secret crosses it.
 */
#ifndef HG_PERF_NODE_H
#define HG_PERF_NODE_H

#include "dataplane/idle.h"

struct hg_perf_node_options {
    const char *name; /* "a": its region is 1; "b": 2 */
    const char *directory;
    const char *log_path;
    const char *devargs; /* of its port */
    uint8_t station;     /* last byte of its MAC and IP addresses, and of the other node's */
    uint8_t station_other;
    int cpu;
    uint32_t mtu_bytes;
    uint64_t rate_bytes_per_s;  /* towards the other one; 0 = no limit */
    uint64_t receive_bytes_max; /* credit to the other one; 0 = the default */
    uint32_t congestion;        /* enum hg_config_congestion */
    uint32_t fec;               /* enum hg_config_fec */
};

struct hg_perf_node {
    struct hg_clock *clock;
    struct hg_disk *disk;
    struct hg_worker *worker;
    struct hg_port *port;
    struct hg_mailbox *to_worker, *from_worker;
    int eventfd;
    struct hg_idle idle;
    uint64_t maintain_ns;
    uint64_t active_ns;
    bool sender;
};

/* Makes a log of that size: zero-written, formatted. 0, or -errno with a sentence. */
int hg_perf_log_create(const char *path, uint64_t bytes, char *error, size_t error_bytes);

/* Starts EAL on this thread, opens log and port, recovers. Once a process. */
int hg_perf_node_open(struct hg_perf_node *node, const struct hg_perf_node_options *options, char *error,
                      size_t error_bytes);
/* Configures the other node and the stream (originating at a) and agrees on keys. */
void hg_perf_node_link(struct hg_perf_node *node, const struct hg_perf_node_options *options, uint16_t kind);
/* One turn and what housekeeping would do; sleeps as helio-dataplane does when there was nothing. False = the
 * log failed. */
bool hg_perf_node_turn(struct hg_perf_node *node);

#endif
