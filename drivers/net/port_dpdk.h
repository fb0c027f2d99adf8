/* SPDX-License-Identifier: Apache-2.0
 *
 * The port driver over any DPDK ethdev: memif, af_packet, tap, ring, null, pcap and PCI devices, with a
 * receive and a transmit queue for each worker. EAL must run (drivers/net/eal.h).
 *
 * Threads: open, close, maintain, problem and stats belong to one housekeeping thread; the four functions of
 * struct hg_port belong to one worker. They may be the same thread. Housekeeping stops and starts the device
 * behind the worker's back: while it does, and while the link is down, receive() and transmit() return 0 (see
 * drivers/net/interrupt_gate.h). So transmit() may take nothing for some hundred microseconds on a port that
 * is well; keep the packets and try again.
 *
 * A packet received or allocated through one of these ports may be transmitted or released through any other
 * one.
 */
#ifndef HG_NET_PORT_DPDK_H
#define HG_NET_PORT_DPDK_H

#include "drivers/net/port.h"

#define HG_PORT_DPDK_RETRY_NS_MIN   (50 * HG_NS_PER_MS) /* between two attempts to connect; doubles ... */
#define HG_PORT_DPDK_RETRY_NS_MAX   HG_NS_PER_S         /* ... up to this */
#define HG_PORT_DPDK_CONNECT_NS_MAX (5 * HG_NS_PER_S)   /* a handshake that takes longer is begun anew */
#define HG_PORT_DPDK_PACKETS_OWN    4095                /* size of a port's own pool unless told */
#define HG_PORT_QUEUES_MAX          64u

/* X(field, text). The first group is the worker's, the second housekeeping's. */
#define HG_PORT_DPDK_COUNTERS_WORKER(X)                                                                      \
    X(rx_packets, "packets received")                                                                        \
    X(rx_bytes, "bytes received")                                                                            \
    X(rx_chained_dropped, "received packets of several buffers, too long for one: dropped")                  \
    X(tx_packets, "packets sent")                                                                            \
    X(tx_bytes, "bytes sent")                                                                                \
    X(tx_refused, "packets the device did not take at once; their sender keeps them")                        \
    X(tx_nobuf, "packets not allocated because the pool was empty")

#define HG_PORT_DPDK_COUNTERS_HOUSEKEEPING(X)                                                                \
    X(rx_missed, "packets the device dropped because nobody fetched them in time")                           \
    X(rx_nobuf, "packets the device could not receive because the pool was empty")                           \
    X(rx_errors, "packets the device received damaged")                                                      \
    X(tx_errors, "packets the device could not send")                                                        \
    X(reconnects, "times the link came up again after it was lost")                                          \
    X(start_failures, "attempts to start the device that failed")

struct hg_port_dpdk_stats {
#define X(field, text) uint64_t field;
    HG_PORT_DPDK_COUNTERS_WORKER(X)
    HG_PORT_DPDK_COUNTERS_HOUSEKEEPING(X)
#undef X
};

struct hg_port_pool;

struct hg_port_dpdk_options {
    const char *name;    /* for people: "wan0" */
    const char *devargs; /* "net_memif0,role=client,id=0,socket=/run/x/wan,socket-abstract=no",
                            "net_null0", or a PCI address */
    uint8_t mac[6];      /* all zero = the device's own */
    /* A tap has two ends: this program's station is at one, the kernel's interface is the other, so they have
     * a MAC each. False: `mac` is the interface's, for who passes on what the kernel sends. */
    bool mac_apart;
    uint16_t mtu_bytes;        /* 0 = 1500 */
    int numa_node;             /* of the packet buffers; -1 = any */
    struct hg_port_pool *pool; /* shared with other ports; NULL = one of its own */
    uint32_t packets;          /* size of its own pool; 0 = HG_PORT_DPDK_PACKETS_OWN for each queue */
    uint32_t queues;           /* one for each worker; 0 = 1 */
};

/* A pool of packet buffers, each with room for headroom + frame_bytes_max. `packets` is best a power of two
 * minus one. Returns NULL with a sentence in `error`. Destroy it after the last port and packet that uses it.
 */
struct hg_port_pool *hg_port_pool_create(const char *name, uint32_t packets, uint32_t frame_bytes_max,
                                         int numa_node, char *error, size_t error_bytes);
void hg_port_pool_destroy(struct hg_port_pool *pool);
/* Buffers nobody holds. Walks the caches of all lcores: for statistics, not for every packet. */
uint32_t hg_port_pool_free_count(const struct hg_port_pool *pool);
/* What one buffer costs, to divide memory by. */
uint32_t hg_port_pool_packet_bytes(uint32_t frame_bytes_max);

/* Plugs the device in, configures and starts it. Returns NULL with a sentence in `error` that names the port
 * and what to do. A device that can't be started yet (a memif client without its server) is no error: link_up
 * is false, hg_port_dpdk_problem() says why, and hg_port_dpdk_maintain() tries again. */
struct hg_port *hg_port_dpdk_open(const struct hg_port_dpdk_options *options, char *error,
                                  size_t error_bytes);

/* One queue of an open port, for one worker: its four functions are that worker's alone. open() gives queue
 * 0. Every other function here takes any of them and means the port. */
struct hg_port *hg_port_dpdk_queue(struct hg_port *port, uint32_t queue);

/* A memif server that was killed leaves its socket's name behind, and the next one can't bind it. Removes the
 * name when `devargs` is of a memif server and nobody listens there. Before open, not for a socket that this
 * process listens on already. */
void hg_port_dpdk_socket_clear(const char *devargs);

/* The worker must have stopped using the port, and given back all packets of the port's own pool. */
void hg_port_dpdk_close(struct hg_port *port);

/* Watches the link, sets link_up, starts what is not started, reconnects a memif client whose server went
 * away. Returns the time until which nothing needs doing unless the link changes; call it at least every 10
 * ms to notice that soon, more often is cheap. May block as long as the device's start does. */
uint64_t hg_port_dpdk_maintain(struct hg_port *port, uint64_t now_ns);

/* Why the link is down, or "" when it is up. Valid until the next maintain(). */
const char *hg_port_dpdk_problem(const struct hg_port *port);

const char *hg_port_dpdk_name(const struct hg_port *port);

/* Counters since open; the worker may be running. */
void hg_port_dpdk_stats_read(const struct hg_port *port, struct hg_port_dpdk_stats *stats);

/* A descriptor that becomes readable when packets arrive, for a worker that sleeps; -1 when the device has
 * none (memif in DPDK 22.11 has none). */
int hg_port_dpdk_wake_fd(const struct hg_port *port);

#endif
