/* SPDX-License-Identifier: Apache-2.0
 *
 * The port driver interface: bursts of Ethernet frames. Shells: port_dpdk.c (any DPDK ethdev) and the
 * simulator.
 *
 * A packet is one contiguous buffer with HG_PORT_HEADROOM_BYTES free in front of `data`. Only the worker that
 * owns the queue calls these functions.
 */
#ifndef HG_PORT_H
#define HG_PORT_H

#include "drivers/platform/platform.h"

#define HG_PORT_BURST_MAX       32
#define HG_PORT_FRAME_BYTES_MAX 9216
#define HG_PORT_HEADROOM_BYTES  128

struct hg_packet {
    void *data;         /* first byte of the Ethernet header */
    uint32_t bytes;     /* frame length without FCS */
    uint32_t bytes_max; /* room from `data` on */
    void *handle;       /* the shell's own (an mbuf); not to be touched */
};

struct hg_port {
    /* Receives up to n packets. The caller owns them until release(). Returns how many. */
    uint32_t (*receive)(struct hg_port *port, struct hg_packet *packets, uint32_t n);
    /* Takes n empty packets for sending. All or nothing: returns n or 0 (counted by the shell as tx_nobuf).
     */
    uint32_t (*allocate)(struct hg_port *port, struct hg_packet *packets, uint32_t n);
    /* Sends; the first `return value` packets belong to the device, the rest still to the caller. */
    uint32_t (*transmit)(struct hg_port *port, struct hg_packet *packets, uint32_t n);
    /* Gives packets back unsent or after reading. */
    void (*release)(struct hg_port *port, struct hg_packet *packets, uint32_t n);
    uint8_t mac[6];
    uint16_t mtu_bytes; /* IP packet size limit, 1500 unless configured */
    bool link_up;       /* written by housekeeping: read it by hg_port_is_up */
};

/* A port that is down is not polled. Acquire: what made it ready happened before it was said to be up. */
static inline bool hg_port_is_up(const struct hg_port *port)
{
    return __atomic_load_n(&port->link_up, __ATOMIC_ACQUIRE);
}

#endif
