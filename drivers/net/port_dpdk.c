/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/port_dpdk.h"
#include "drivers/net/interrupt_gate.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>

#define DESCRIPTORS_WANTED   1024
#define DESCRIPTORS_TAP      16
#define POOL_CACHE_PACKETS   256
#define STATS_EVERY_NS       HG_NS_PER_S
#define ETHERNET_BYTES       14
#define FRAME_OVER_MTU_BYTES 18 /* Ethernet header and one VLAN tag */
#define MAINTAIN_EVERY_NS    (10 * HG_NS_PER_MS)

static_assert(HG_PORT_HEADROOM_BYTES == RTE_PKTMBUF_HEADROOM,
              "the headroom promised is the headroom there is");

enum device_phase {
    DEVICE_STOPPED, /* parked; started again at retry_at_ns */
    DEVICE_STARTED  /* bursts allowed; the link may be up or down */
};

struct hg_port_pool {
    struct rte_mempool *mempool;
    uint32_t frame_bytes_max;
};

struct port_worker_stats {
#define X(field, text) _Atomic uint64_t field;
    HG_PORT_DPDK_COUNTERS_WORKER(X)
#undef X
};

struct port_housekeeping_stats {
#define X(field, text) uint64_t field;
    HG_PORT_DPDK_COUNTERS_HOUSEKEEPING(X)
#undef X
};

struct port_dpdk;

/* A receive and a transmit queue of the device: one worker's. */
struct port_queue {
    struct hg_port port; /* first: a struct hg_port of ours is a struct port_queue */
    struct port_dpdk *device;
    uint16_t id; /* of the device */
    uint16_t number;
    uint32_t frame_bytes_max;
    struct rte_mempool *mempool;
    struct hg_burst_gate gate;
    HG_CACHE_ALIGNED struct port_worker_stats worker;
};

struct port_dpdk {
    /* Housekeeping only. */
    struct port_housekeeping_stats housekeeping;
    uint16_t id;
    uint16_t mtu_bytes;
    bool link_up;
    uint8_t mac[6];
    uint32_t frame_bytes_max;
    struct hg_port_pool *pool;
    enum device_phase phase;
    bool restarts;   /* a client that has to be stopped and started to connect again */
    bool gated;      /* its rings may be unmapped by the interrupt thread */
    bool under_gate; /* is gated, and up */
    bool pool_owned;
    bool tap;
    bool af_packet;
    bool af_xdp;
    bool wakes; /* receive interrupts are on */
    bool was_up;
    uint64_t retry_ns;
    uint64_t retry_at_ns;
    uint64_t connect_until_ns;
    uint64_t stats_at_ns;
    char name[64];
    char device[RTE_ETH_NAME_MAX_LEN];
    char socket[108]; /* of a memif client */
    char problem[256];
    uint32_t queue_count;
    struct port_queue queues[];
};

static struct port_dpdk *port_of(struct hg_port *port)
{
    return ((struct port_queue *)port)->device;
}

static const struct port_dpdk *port_of_const(const struct hg_port *port)
{
    return ((const struct port_queue *)port)->device;
}

/* One writer, so no atomic addition is needed; readers see whole values. */
static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* --- the worker's side --- */

static inline void packet_from_mbuf(struct hg_packet *packet, struct rte_mbuf *mbuf)
{
    packet->data = rte_pktmbuf_mtod(mbuf, void *);
    packet->bytes = mbuf->data_len;
    packet->bytes_max = (uint32_t)mbuf->buf_len - mbuf->data_off;
    packet->handle = mbuf;
}

static inline struct rte_mbuf *mbuf_from_packet(const struct hg_packet *packet)
{
    struct rte_mbuf *mbuf = packet->handle;
    char *begin = mbuf->buf_addr;
    char *data = packet->data;
    hg_assert(data >= begin && data + packet->bytes <= begin + mbuf->buf_len);
    mbuf->data_off = (uint16_t)(data - begin);
    mbuf->data_len = (uint16_t)packet->bytes;
    mbuf->pkt_len = packet->bytes;
    return mbuf;
}

static uint32_t port_receive(struct hg_port *base, struct hg_packet *packets, uint32_t n)
{
    struct port_queue *port = (struct port_queue *)base;
    struct rte_mbuf *mbufs[HG_PORT_BURST_MAX];
    uint16_t wanted = (uint16_t)hg_min_u64(n, HG_PORT_BURST_MAX);
    if (!hg_burst_gate_enter(&port->gate))
        return 0;
    uint16_t received = rte_eth_rx_burst(port->id, port->number, mbufs, wanted);
    hg_burst_gate_leave(&port->gate);
    if (received == 0)
        return 0;
    uint32_t kept = 0;
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < received; i++) {
        if (mbufs[i]->nb_segs > 1 && rte_pktmbuf_linearize(mbufs[i]) != 0) {
            rte_pktmbuf_free(mbufs[i]);
            count(&port->worker.rx_chained_dropped, 1);
            continue;
        }
        packet_from_mbuf(&packets[kept], mbufs[i]);
        bytes += packets[kept].bytes;
        kept++;
    }
    count(&port->worker.rx_packets, kept);
    count(&port->worker.rx_bytes, bytes);
    return kept;
}

static uint32_t port_allocate(struct hg_port *base, struct hg_packet *packets, uint32_t n)
{
    struct port_queue *port = (struct port_queue *)base;
    struct rte_mbuf *mbufs[HG_PORT_BURST_MAX];
    hg_assert(n <= HG_PORT_BURST_MAX);
    if (rte_pktmbuf_alloc_bulk(port->mempool, mbufs, n) != 0) {
        count(&port->worker.tx_nobuf, n);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        packet_from_mbuf(&packets[i], mbufs[i]);
        packets[i].bytes_max = port->frame_bytes_max;
    }
    return n;
}

static uint32_t port_transmit(struct hg_port *base, struct hg_packet *packets, uint32_t n)
{
    struct port_queue *port = (struct port_queue *)base;
    struct rte_mbuf *mbufs[HG_PORT_BURST_MAX];
    uint32_t sent = 0;
    uint64_t bytes = 0;
    while (sent < n) {
        uint16_t burst = (uint16_t)hg_min_u64(n - sent, HG_PORT_BURST_MAX);
        uint64_t burst_bytes[HG_PORT_BURST_MAX + 1];
        burst_bytes[0] = 0;
        for (uint16_t i = 0; i < burst; i++) {
            mbufs[i] = mbuf_from_packet(&packets[sent + i]);
            burst_bytes[i + 1] = burst_bytes[i] + packets[sent + i].bytes;
        }
        if (!hg_burst_gate_enter(&port->gate))
            break;
        uint16_t taken = rte_eth_tx_burst(port->id, port->number, mbufs, burst);
        hg_burst_gate_leave(&port->gate);
        if (taken >
            burst) /* memif can return -1 cast to uint16_t when it has lost its peer: nothing was taken */
            taken = 0;
        bytes += burst_bytes[taken];
        sent += taken;
        if (taken < burst)
            break;
    }
    count(&port->worker.tx_packets, sent);
    count(&port->worker.tx_bytes, bytes);
    count(&port->worker.tx_refused, n - sent);
    return sent;
}

static void port_release(struct hg_port *base, struct hg_packet *packets, uint32_t n)
{
    (void)base;
    struct rte_mbuf *mbufs[HG_PORT_BURST_MAX];
    for (uint32_t done = 0; done < n;) {
        uint32_t burst = (uint32_t)hg_min_u64(n - done, HG_PORT_BURST_MAX);
        for (uint32_t i = 0; i < burst; i++)
            mbufs[i] = packets[done + i].handle;
        rte_pktmbuf_free_bulk(mbufs, burst);
        done += burst;
    }
}

/* --- pools --- */

uint32_t hg_port_pool_packet_bytes(uint32_t frame_bytes_max)
{
    struct rte_mempool_objsz size;
    uint64_t room = hg_align_up(RTE_PKTMBUF_HEADROOM + (uint64_t)frame_bytes_max, RTE_CACHE_LINE_SIZE);
    rte_mempool_calc_obj_size((uint32_t)(sizeof(struct rte_mbuf) + room), 0, &size);
    return size.total_size +
           2 * sizeof(void *); /* and the pool's own pointers to it, in a ring of a power of two */
}

/* rte_pktmbuf_pool_create() in its parts, for one flag: on normal pages DPDK keeps objects from crossing a
 * page, so that one of 2.4 KB costs 4 KB. No device that could mind (no DMA) works on normal pages. */
static struct rte_mempool *mempool_create(const char *name, uint32_t packets, uint16_t room, int numa_node)
{
    uint32_t cache = packets >= 8 * POOL_CACHE_PACKETS ? POOL_CACHE_PACKETS : 0;
    unsigned int flags = rte_eal_has_hugepages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
    struct rte_pktmbuf_pool_private private = {.mbuf_data_room_size = room};
    struct rte_mempool *mempool =
        rte_mempool_create_empty(name, packets, (unsigned int)sizeof(struct rte_mbuf) + room, cache,
                                 sizeof(private), numa_node < 0 ? SOCKET_ID_ANY : numa_node, flags);
    if (mempool == NULL)
        return NULL;
    int rc = rte_mempool_set_ops_byname(mempool, rte_mbuf_best_mempool_ops(), NULL);
    rte_pktmbuf_pool_init(mempool, &private);
    if (rc == 0)
        rc = rte_mempool_populate_default(mempool);
    if (rc < 0) {
        rte_mempool_free(mempool);
        rte_errno = -rc;
        return NULL;
    }
    rte_mempool_obj_iter(mempool, rte_pktmbuf_init, NULL);
    return mempool;
}

struct hg_port_pool *hg_port_pool_create(const char *name, uint32_t packets, uint32_t frame_bytes_max,
                                         int numa_node, char *error, size_t error_bytes)
{
    uint64_t room = hg_align_up(RTE_PKTMBUF_HEADROOM + (uint64_t)frame_bytes_max, RTE_CACHE_LINE_SIZE);
    hg_assert(frame_bytes_max <= HG_PORT_FRAME_BYTES_MAX + 1024);
    struct hg_port_pool *pool = calloc(1, sizeof(*pool));
    hg_assert(pool != NULL);
    pool->frame_bytes_max = frame_bytes_max;
    pool->mempool = mempool_create(name, packets, (uint16_t)room, numa_node);
    if (pool->mempool != NULL)
        return pool;
    snprintf(error, error_bytes,
             "no memory for the %u packet buffers of %s (%llu MB): %s; give DPDK more (--mem)", packets, name,
             (unsigned long long)packets * hg_port_pool_packet_bytes(frame_bytes_max) >> 20,
             rte_strerror(rte_errno));
    free(pool);
    return NULL;
}

void hg_port_pool_destroy(struct hg_port_pool *pool)
{
    if (pool == NULL)
        return;
    rte_mempool_free(pool->mempool);
    free(pool);
}

uint32_t hg_port_pool_free_count(const struct hg_port_pool *pool)
{
    return rte_mempool_avail_count(pool->mempool);
}

/* --- opening --- */

/* The value of key=value in a device string; memif's default when absent. */
static uint32_t devargs_number(const char *devargs, const char *key, uint32_t otherwise)
{
    size_t key_length = strlen(key);
    for (const char *at = strchr(devargs, ','); at != NULL; at = strchr(at + 1, ',')) {
        if (strncmp(at + 1, key, key_length) != 0 || at[1 + key_length] != '=')
            continue;
        char *end = NULL;
        unsigned long value = strtoul(at + 2 + key_length, &end, 10);
        if (end != at + 2 + key_length && (*end == ',' || *end == '\0') && value <= UINT32_MAX)
            return (uint32_t)value;
    }
    return otherwise;
}

static bool devargs_is_server(const char *devargs)
{
    return strstr(devargs, ",role=server") != NULL || strstr(devargs, ",role=master") != NULL;
}

void hg_port_dpdk_socket_clear(const char *devargs)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = strstr(devargs, ",socket=");
    if (path == NULL || !devargs_is_server(devargs) || strstr(devargs, ",socket-abstract=no") == NULL)
        return;
    path += strlen(",socket=");
    size_t length = strcspn(path, ",");
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && length < sizeof(address.sun_path)) {
        memcpy(address.sun_path, path, length);
        struct stat what;
        bool is_socket = lstat(address.sun_path, &what) == 0 && S_ISSOCK(what.st_mode);
        /* A file of any other kind refuses connections too. */
        if (is_socket && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 &&
            errno == ECONNREFUSED)
            (void)unlink(address.sun_path); /* what keeps us from it, binding will say */
    }
    if (fd >= 0)
        close(fd);
}

static int device_plug(struct port_dpdk *port, const char *devargs, char *error, size_t error_bytes)
{
    size_t length = strcspn(devargs, ",");
    if (length == 0 || length >= sizeof(port->device)) {
        snprintf(error, error_bytes, "port %s: '%s' names no device", port->name, devargs);
        return -EINVAL;
    }
    memcpy(port->device, devargs, length);
    port->device[length] = '\0';
    if (rte_eth_dev_get_port_by_name(port->device, &port->id) == 0) {
        snprintf(error, error_bytes, "port %s: device %s is in use already; give it another number",
                 port->name, port->device);
        return -EEXIST;
    }
    int rc = rte_dev_probe(devargs);
    if (rc != 0) {
        snprintf(error, error_bytes,
                 "port %s: device '%s' can't be opened: %s; look at its name and arguments, and "
                 "at the log of EAL%s",
                 port->name, devargs, rte_strerror(-rc),
                 strncmp(devargs, "net_af_packet", 13) == 0
                     ? "; or start the dataplane again: another's port "
                       "may have the number of its fanout group"
                     : "");
        return rc;
    }
    rc = rte_eth_dev_get_port_by_name(port->device, &port->id);
    if (rc != 0)
        snprintf(error, error_bytes, "port %s: device '%s' is no network port", port->name, devargs);
    return rc;
}

/* The kernel drops frames above its interface's MTU without a word. */
static int interface_mtu_check(const struct port_dpdk *port, const char *devargs, char *error,
                               size_t error_bytes)
{
    struct ifreq request = {0};
    const char *name = strstr(devargs, ",iface=");
    if (name == NULL)
        return 0;
    name += strlen(",iface=");
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%.*s", (int)strcspn(name, ","), name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd >= 0 ? ioctl(fd, SIOCGIFMTU, &request) : -1;
    if (fd >= 0)
        close(fd);
    if (rc != 0 || request.ifr_mtu >= port->mtu_bytes)
        return 0;
    snprintf(error, error_bytes, "port %s: interface %s has an MTU of %d, not %u: ip link set %s mtu %u",
             port->name, request.ifr_name, request.ifr_mtu, port->mtu_bytes, request.ifr_name,
             port->mtu_bytes);
    return -EINVAL;
}

/* memif and af_packet report a maximum of 1518 and have no way to change their MTU, but carry what fits their
 * buffers; a frame over two of memif's runs into a defect of 22.11. So for memif the buffer is the limit, for
 * af_packet the kernel's interface, elsewhere the device's. */
static int device_mtu_check(struct port_dpdk *port, const struct rte_eth_dev_info *info, const char *devargs,
                            bool memif, char *error, size_t error_bytes)
{
    uint32_t mtu = port->mtu_bytes;
    if (mtu < RTE_ETHER_MIN_MTU || mtu + FRAME_OVER_MTU_BYTES > HG_PORT_FRAME_BYTES_MAX) {
        snprintf(error, error_bytes, "port %s: an MTU of %u is out of range: give %d to %d", port->name, mtu,
                 RTE_ETHER_MIN_MTU, HG_PORT_FRAME_BYTES_MAX - FRAME_OVER_MTU_BYTES);
        return -EINVAL;
    }
    if (memif) {
        uint32_t buffer_bytes = devargs_number(devargs, "bsize", 2048);
        if (buffer_bytes >= port->frame_bytes_max)
            return 0;
        snprintf(error, error_bytes, "port %s: bsize=%u is too small for an MTU of %u: give at least %u",
                 port->name, buffer_bytes, mtu, port->frame_bytes_max);
        return -EINVAL;
    }
    if (port->af_packet)
        return interface_mtu_check(port, devargs, error, error_bytes);
    if (mtu > info->max_mtu || mtu + ETHERNET_BYTES > info->max_rx_pktlen) {
        uint32_t most = (uint32_t)hg_min_u64(info->max_mtu, info->max_rx_pktlen - ETHERNET_BYTES);
        snprintf(error, error_bytes, "port %s: device %s carries an MTU of %u at most, not %u", port->name,
                 port->device, most, mtu);
        return -EINVAL;
    }
    return port->af_xdp ? interface_mtu_check(port, devargs, error, error_bytes) : 0;
}

static int device_queues_setup(struct port_dpdk *port, int numa_node)
{
    /* A tap reads one frame with one call, into as many buffers as it has descriptors: they hold what the
     * other ports could use, and do nothing. */
    uint16_t rx_descriptors = port->tap ? DESCRIPTORS_TAP : DESCRIPTORS_WANTED;
    uint16_t tx_descriptors = rx_descriptors;
    int rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rx_descriptors, &tx_descriptors);
    unsigned int socket = numa_node < 0 ? (unsigned int)SOCKET_ID_ANY : (unsigned int)numa_node;
    for (uint16_t queue = 0; queue < port->queue_count && rc == 0; queue++) {
        rc = rte_eth_rx_queue_setup(port->id, queue, rx_descriptors, socket, NULL, port->pool->mempool);
        if (rc == 0)
            rc = rte_eth_tx_queue_setup(port->id, queue, tx_descriptors, socket, NULL);
    }
    return rc;
}

/* Packets are for a worker by their UDP port. A device that spreads them by a hash puts most into another's
 * queue, and workers hand them over. */
static int device_queues_check(const struct port_dpdk *port, const struct rte_eth_dev_info *info,
                               struct rte_eth_conf *conf, char *error, size_t error_bytes)
{
    uint32_t most = (uint32_t)hg_min_u64(info->max_rx_queues, info->max_tx_queues);
    hg_assert(port->queue_count == 1 || strcmp(info->driver_name, "net_memif") != 0); /* see port_set.h */
    if (port->queue_count > most) {
        snprintf(
            error, error_bytes,
            "port %s: device %s has %u queues and this node %u workers, who need one each: give it more, "
            "such as qpairs=%u, or the node fewer logs",
            port->name, port->device, most, port->queue_count, port->queue_count);
        return -EINVAL;
    }
    if (port->queue_count > 1 && info->flow_type_rss_offloads != 0) {
        conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf->rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP);
    }
    return 0;
}

static int device_configure(struct port_dpdk *port, const struct hg_port_dpdk_options *options, char *error,
                            size_t error_bytes)
{
    struct rte_eth_dev_info info;
    struct rte_eth_conf conf = {0};
    int rc = rte_eth_dev_info_get(port->id, &info);
    if (rc != 0) {
        snprintf(error, error_bytes, "port %s: device %s does not answer: %s", port->name, port->device,
                 rte_strerror(-rc));
        return rc;
    }
    bool memif = strcmp(info.driver_name, "net_memif") == 0;
    port->af_packet = strcmp(info.driver_name, "net_af_packet") == 0;
    port->af_xdp = strcmp(info.driver_name, "net_af_xdp") == 0;
    rc = device_mtu_check(port, &info, options->devargs, memif, error, error_bytes);
    if (rc != 0)
        return rc;
    port->gated = memif;
    port->restarts = memif && !devargs_is_server(options->devargs);
    const char *socket = strstr(options->devargs, ",socket=");
    if (port->restarts && socket != NULL) {
        socket += strlen(",socket=");
        snprintf(port->socket, sizeof(port->socket), "%.*s", (int)strcspn(socket, ","), socket);
    }
    rc = device_queues_check(port, &info, &conf, error, error_bytes);
    if (rc != 0)
        return rc;
    conf.rxmode.mtu = memif || port->af_packet ? 0 : port->mtu_bytes;
    /* tap hands out its descriptor when receive interrupts are asked for; memif has none to give. */
    port->tap = strcmp(info.driver_name, "net_tap") == 0;
    port->wakes = port->tap;
    conf.intr_conf.rxq = port->wakes;
    rc = rte_eth_dev_configure(port->id, (uint16_t)port->queue_count, (uint16_t)port->queue_count, &conf);
    if (rc == 0)
        rc = device_queues_setup(port, options->numa_node);
    if (rc != 0) {
        snprintf(error, error_bytes,
                 "port %s: device %s can't be configured with %u queues and an MTU of %u: %s", port->name,
                 port->device, port->queue_count, port->mtu_bytes, rte_strerror(-rc));
        return rc;
    }
    return 0;
}

/* Devices that can't filter addresses deliver everything anyway: not being able to change either is no error.
 */
static int device_address(struct port_dpdk *port, const uint8_t mac[6], bool apart, char *error,
                          size_t error_bytes)
{
    struct rte_ether_addr address;
    if (rte_is_zero_ether_addr((const struct rte_ether_addr *)mac)) {
        int rc = rte_eth_macaddr_get(port->id, &address);
        if (rc != 0)
            return rc;
        memcpy(port->mac, address.addr_bytes, sizeof(port->mac));
        port->mac[5] ^= apart && port->tap;
        return 0;
    }
    memcpy(port->mac, mac, sizeof(port->mac));
    if (apart && port->tap)
        return 0;
    memcpy(address.addr_bytes, mac, sizeof(address.addr_bytes));
    int rc = rte_eth_dev_default_mac_addr_set(port->id, &address);
    if (rc != 0 && rc != -ENOTSUP) {
        snprintf(error, error_bytes,
                 "port %s: device %s refuses its address: %s; a unicast address is needed", port->name,
                 port->device, rte_strerror(-rc));
        return rc;
    }
    return 0;
}

static void device_start_try(struct port_dpdk *port)
{
    int rc = rte_eth_dev_start(port->id);
    hg_interrupt_gate_hurry();
    if (rc != 0) {
        port->housekeeping.start_failures++;
        port->phase = DEVICE_STOPPED;
        if (port->restarts)
            snprintf(port->problem, sizeof(port->problem),
                     "port %s: nobody listens on its socket %s yet; trying again", port->name, port->socket);
        else
            snprintf(port->problem, sizeof(port->problem), "port %s: %s", port->name, rte_strerror(-rc));
        return;
    }
    rte_eth_promiscuous_enable(port->id); /* not every device can, and those that can't need not */
    port->phase = DEVICE_STARTED;
    snprintf(port->problem, sizeof(port->problem), "port %s: started, the link is not up yet", port->name);
}

static int port_pool_take(struct port_dpdk *port, const struct hg_port_dpdk_options *options, char *error,
                          size_t error_bytes)
{
    char name[RTE_MEMPOOL_NAMESIZE]; /* 25 bytes, so the pool is named by the device's number */
    port->pool = options->pool;
    if (port->pool != NULL) {
        if (port->pool->frame_bytes_max >= port->frame_bytes_max)
            return 0;
        snprintf(error, error_bytes, "port %s: buffers of %u bytes are too small for an MTU of %u",
                 port->name, port->pool->frame_bytes_max, port->mtu_bytes);
        return -EINVAL;
    }
    snprintf(name, sizeof(name), "hg_port_%u", port->id);
    /* memif copies min(its buffer, ours); 2048 is what every device likes to see at least. */
    uint32_t frame_bytes = (uint32_t)hg_max_u64(port->frame_bytes_max, 2048);
    /* af_packet refuses buffers that are smaller than a frame of its ring: it does not look when it copies.
     */
    frame_bytes = (uint32_t)hg_max_u64(frame_bytes, devargs_number(options->devargs, "framesz", 0));
    port->pool = hg_port_pool_create(
        name,
        options->packets != 0 ? options->packets : port->queue_count * (HG_PORT_DPDK_PACKETS_OWN + 1) - 1,
        frame_bytes, options->numa_node, error, error_bytes);
    port->pool_owned = true;
    return port->pool != NULL ? 0 : -ENOMEM;
}

static int port_set_up(struct port_dpdk *port, const struct hg_port_dpdk_options *options, char *error,
                       size_t error_bytes)
{
    int rc = port_pool_take(port, options, error, error_bytes);
    if (rc == 0)
        rc = device_configure(port, options, error, error_bytes);
    if (rc == 0)
        rc = device_address(port, options->mac, options->mac_apart, error, error_bytes);
    return rc;
}

/* Bursts are refused from open on until the link is up, and again when it is down. */
static void bursts_stop(struct port_dpdk *port)
{
    for (uint32_t i = 0; i < port->queue_count; i++) {
        hg_burst_gate_block(&port->queues[i].gate, HG_BURST_BLOCK_PARKED);
        if (port->gated && port->under_gate)
            hg_interrupt_gate_remove(&port->queues[i].gate);
    }
    port->under_gate = false;
}

static bool gates_add(struct port_dpdk *port)
{
    for (uint32_t i = 0; i < port->queue_count; i++) {
        int rc = hg_interrupt_gate_add(&port->queues[i].gate);
        if (rc == 0)
            continue;
        snprintf(port->problem, sizeof(port->problem),
                 "port %s: can't be guarded: %s (at most %d queues of memif ports)", port->name,
                 strerror(-rc), HG_INTERRUPT_GATES_MAX);
        while (i-- > 0)
            hg_interrupt_gate_remove(&port->queues[i].gate);
        return false;
    }
    port->under_gate = true;
    return true;
}

static bool bursts_start(struct port_dpdk *port)
{
    if (port->gated && !port->under_gate && !gates_add(port))
        return false;
    for (uint32_t i = 0; i < port->queue_count; i++)
        hg_burst_gate_unblock(&port->queues[i].gate, HG_BURST_BLOCK_PARKED);
    return true;
}

static void device_unplug(struct port_dpdk *port)
{
    struct rte_eth_dev_info info;
    bursts_stop(port);
    hg_interrupt_gate_lock();
    struct rte_device *device = rte_eth_dev_info_get(port->id, &info) == 0 ? info.device : NULL;
    rte_eth_dev_stop(port->id);
    rte_eth_dev_close(port->id);
    if (device != NULL)
        rte_dev_remove(device);
    hg_interrupt_gate_unlock();
}

static struct port_dpdk *port_make(const struct hg_port_dpdk_options *options)
{
    uint32_t queues = options->queues != 0 ? options->queues : 1;
    size_t bytes = sizeof(struct port_dpdk) + queues * sizeof(struct port_queue);
    struct port_dpdk *port = aligned_alloc(HG_CACHE_LINE_BYTES, hg_align_up(bytes, HG_CACHE_LINE_BYTES));
    hg_assert(port != NULL && queues <= HG_PORT_QUEUES_MAX);
    memset(port, 0, bytes);
    port->mtu_bytes = options->mtu_bytes != 0 ? options->mtu_bytes : RTE_ETHER_MTU;
    port->frame_bytes_max = (uint32_t)port->mtu_bytes + FRAME_OVER_MTU_BYTES;
    port->retry_ns = HG_PORT_DPDK_RETRY_NS_MIN;
    port->queue_count = queues;
    return port;
}

/* When the device is known. */
static void queues_make(struct port_dpdk *port)
{
    for (uint32_t i = 0; i < port->queue_count; i++) {
        struct port_queue *queue = &port->queues[i];
        queue->device = port;
        queue->id = port->id;
        queue->number = (uint16_t)i;
        queue->frame_bytes_max = port->frame_bytes_max;
        queue->mempool = port->pool->mempool;
        queue->port.receive = port_receive;
        queue->port.allocate = port_allocate;
        queue->port.transmit = port_transmit;
        queue->port.release = port_release;
        queue->port.mtu_bytes = port->mtu_bytes;
        memcpy(queue->port.mac, port->mac, sizeof(port->mac));
        hg_burst_gate_block(&queue->gate, HG_BURST_BLOCK_PARKED);
    }
}

struct hg_port *hg_port_dpdk_open(const struct hg_port_dpdk_options *options, char *error, size_t error_bytes)
{
    struct port_dpdk *port = port_make(options);
    snprintf(port->name, sizeof(port->name), "%s", options->name);
    if (device_plug(port, options->devargs, error, error_bytes) != 0) {
        free(port);
        return NULL;
    }
    error[0] = '\0';
    int rc = port_set_up(port, options, error, error_bytes);
    if (rc != 0) {
        if (error[0] == '\0')
            snprintf(error, error_bytes, "port %s: device %s: %s", port->name, port->device,
                     rte_strerror(-rc));
        device_unplug(port);
        if (port->pool_owned)
            hg_port_pool_destroy(port->pool);
        free(port);
        return NULL;
    }
    queues_make(port);
    device_start_try(port);
    return &port->queues[0].port;
}

struct hg_port *hg_port_dpdk_queue(struct hg_port *base, uint32_t queue)
{
    struct port_dpdk *port = port_of(base);
    hg_assert(queue < port->queue_count);
    return &port->queues[queue].port;
}

void hg_port_dpdk_close(struct hg_port *base)
{
    struct port_dpdk *port = port_of(base);
    device_unplug(port);
    if (port->pool_owned)
        hg_port_pool_destroy(port->pool);
    free(port);
}

/* --- keeping the link up --- */

static void device_stop(struct port_dpdk *port)
{
    /* The interrupt thread stays out: it may be in the middle of this port's handshake. */
    hg_interrupt_gate_lock();
    rte_eth_dev_stop(port->id);
    hg_interrupt_gate_unlock();
    port->phase = DEVICE_STOPPED;
}

static void stats_collect(struct port_dpdk *port, uint64_t now_ns)
{
    struct rte_eth_stats stats;
    if (now_ns < port->stats_at_ns)
        return;
    port->stats_at_ns = now_ns + STATS_EVERY_NS;
    if (rte_eth_stats_get(port->id, &stats) != 0)
        return;
    port->housekeeping.rx_missed = stats.imissed;
    port->housekeeping.rx_nobuf = stats.rx_nombuf;
    port->housekeeping.rx_errors = stats.ierrors;
    port->housekeeping.tx_errors = stats.oerrors;
}

/* DPDK asks for a tap's interface by name and takes one that was moved into another network namespace for
 * down. Its descriptor knows it wherever it is, until it is deleted with its namespace. While an interface is
 * down the kernel takes no frame, and transmit() refuses them. */
static bool tap_exists(const struct port_dpdk *port)
{
    struct ifreq request = {0};
    int fd = hg_port_dpdk_wake_fd(&port->queues[0].port);
    return fd >= 0 && ioctl(fd, TUNGETIFF, &request) == 0;
}

static const char *down_reason(const struct port_dpdk *port)
{
    if (port->restarts)
        return "the other side closed the connection; trying again";
    if (port->tap)
        return "its interface is gone, perhaps with its network namespace; start this program again";
    return "the link is down";
}

static void link_set(struct port_dpdk *port, bool up)
{
    if (up == port->link_up)
        return;
    if (up && !bursts_start(port))
        return;
    port->link_up = up;
    for (uint32_t i = 0; i < port->queue_count; i++)
        __atomic_store_n(&port->queues[i].port.link_up, up, __ATOMIC_RELEASE);
    if (!up) {
        bursts_stop(port);
        hg_interrupt_gate_hurry();
        snprintf(port->problem, sizeof(port->problem), "port %s: %s", port->name, down_reason(port));
        return;
    }
    if (port->was_up)
        port->housekeeping.reconnects++;
    port->was_up = true;
    port->problem[0] = '\0';
    port->retry_ns = HG_PORT_DPDK_RETRY_NS_MIN;
}

static void retry_later(struct port_dpdk *port, uint64_t now_ns)
{
    port->retry_at_ns = now_ns + port->retry_ns;
    port->retry_ns = hg_min_u64(port->retry_ns * 2, HG_PORT_DPDK_RETRY_NS_MAX);
}

uint64_t hg_port_dpdk_maintain(struct hg_port *base, uint64_t now_ns)
{
    struct port_dpdk *port = port_of(base);
    struct rte_eth_link link = {0};
    stats_collect(port, now_ns);
    if (port->phase == DEVICE_STOPPED) {
        if (port->retry_at_ns == 0)
            retry_later(port, now_ns);
        if (now_ns < port->retry_at_ns)
            return port->retry_at_ns;
        device_start_try(port);
        retry_later(port, now_ns);
        port->connect_until_ns = now_ns + HG_PORT_DPDK_CONNECT_NS_MAX;
        return now_ns + HG_NS_PER_MS;
    }
    bool was_up = port->link_up;
    bool up = port->tap
                  ? tap_exists(port)
                  : rte_eth_link_get_nowait(port->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
    link_set(port, up);
    if (up || !port->restarts)
        return now_ns + MAINTAIN_EVERY_NS;
    if (port->connect_until_ns == 0)
        port->connect_until_ns = now_ns + HG_PORT_DPDK_CONNECT_NS_MAX;
    if (!was_up && now_ns < port->connect_until_ns)
        return now_ns + HG_NS_PER_MS;
    device_stop(port);
    retry_later(port, now_ns);
    return port->retry_at_ns;
}

const char *hg_port_dpdk_problem(const struct hg_port *base)
{
    return port_of_const(base)->problem;
}

const char *hg_port_dpdk_name(const struct hg_port *base)
{
    return port_of_const(base)->name;
}

void hg_port_dpdk_stats_read(const struct hg_port *base, struct hg_port_dpdk_stats *stats)
{
    const struct port_dpdk *port = port_of_const(base);
    memset(stats, 0, sizeof(*stats));
    for (uint32_t i = 0; i < port->queue_count; i++) {
#define X(field, text)                                                                                       \
    stats->field += atomic_load_explicit(&port->queues[i].worker.field, memory_order_relaxed);
        HG_PORT_DPDK_COUNTERS_WORKER(X)
#undef X
    }
#define X(field, text) stats->field = port->housekeeping.field;
    HG_PORT_DPDK_COUNTERS_HOUSEKEEPING(X)
#undef X
}

int hg_port_dpdk_wake_fd(const struct hg_port *base)
{
    const struct port_dpdk *port = port_of_const(base);
    if (!port->wakes || port->phase != DEVICE_STARTED)
        return -1;
    int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port->id, 0);
    return fd >= 0 ? fd : -1;
}
