/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernel's TCP between two network namespaces, over two tap ports of a helio-wan: a sender that always
 * has more and a sink that counts. Needs root.
 */
#ifndef HG_PERF_TCP_H
#define HG_PERF_TCP_H

#include "perf/emulated.h"

#include <stdatomic.h>

struct hg_perf_tcp_side {
    _Atomic bool in_namespace;
    _Atomic bool has_interface; /* written by the parent: it was moved there */
    _Atomic bool ready;
    _Atomic bool failed;
};

struct hg_perf_tcp_shared {
    struct hg_perf_tcp_side sides[2]; /* sender, sink */
    _Atomic uint64_t received_bytes;
    _Atomic uint64_t resent_segments; /* as the sender's kernel counts them */
    _Atomic uint64_t rtt_us;
    _Atomic bool stop;
};

struct hg_perf_tcp {
    struct hg_perf_tcp_shared *shared;
    char interfaces[2][16];
    char congestion[16]; /* as in net.ipv4.tcp_available_congestion_control */
    int cpu;
    pid_t children[2];
};

/* Whether this kernel has that congestion control. */
bool hg_perf_tcp_has(const char *congestion);
/* What helio-wan's configuration needs for the two ports a and b. */
void hg_perf_tcp_config(const struct hg_perf_tcp *tcp, char *config, size_t config_bytes);
/* Moves the interfaces that helio-wan made into two new namespaces and begins to send. 0, or -errno after a
 * sentence. */
int hg_perf_tcp_start(struct hg_perf_tcp *tcp);
void hg_perf_tcp_stop(struct hg_perf_tcp *tcp);
bool hg_perf_tcp_failed(const struct hg_perf_tcp *tcp);

#endif
