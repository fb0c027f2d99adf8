/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/node.h"
#include "dataplane/wal/log_block.h"
#include "drivers/net/eal.h"
#include "drivers/net/port_dpdk.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CLUSTER       7u
#define MEMORY_MB     128u
#define DISK_DEPTH    128u
#define SEGMENT_BYTES (64u << 20)
#define MAINTAIN_NS   (10 * HG_NS_PER_MS)
#define RECOVERY_NS   (20 * HG_NS_PER_S)

/* ---- the log ---- */

int hg_perf_log_create(const char *path, uint64_t bytes, char *error, size_t error_bytes)
{
    struct hg_log_geometry geometry;
    memset(&geometry, 0, sizeof(geometry));
    geometry.cluster = CLUSTER;
    memset(geometry.log_uuid, 0x11, sizeof(geometry.log_uuid));
    memset(geometry.node_uuid, 0x22, sizeof(geometry.node_uuid));
    geometry.segment_bytes = SEGMENT_BYTES;
    geometry.segment_count = (uint32_t)(bytes / SEGMENT_BYTES);
    geometry.write_payload_bytes_max = HG_LOG_WRITE_PAYLOAD_BYTES_MAX;
    const char *problem = hg_log_geometry_problem(&geometry);
    if (problem != NULL) {
        snprintf(error, error_bytes, "a log of %llu MB: %s", (unsigned long long)(bytes >> 20), problem);
        return -EINVAL;
    }
    int rc = hg_disk_file_create(path, hg_log_file_bytes(&geometry), NULL, NULL, error, error_bytes);
    if (rc != 0)
        return rc;
    struct hg_disk *disk = hg_disk_uring_open(path, NULL, 0, DISK_DEPTH, NULL, error, error_bytes);
    if (disk == NULL)
        return -EIO;
    rc = hg_log_format(disk, &geometry);
    disk->close(disk);
    if (rc != 0)
        snprintf(error, error_bytes, "can't put a log on %s: %s", path, strerror(-rc));
    return rc;
}

/* ---- opening ---- */

static void doorbell(void *ctx, int fd)
{
    (void)ctx;
    eventfd_write(fd, 1);
}

static int eal_open(const struct hg_perf_node_options *options, char *error, size_t error_bytes)
{
    char lcores[32], prefix[40];
    snprintf(lcores, sizeof(lcores), "0@%d", options->cpu);
    snprintf(prefix, sizeof(prefix), "helio-perf-%s-%d", options->name, (int)getpid());
    struct hg_eal_options eal = {.program = "helio-perf",
                                 .lcores = lcores,
                                 .memory_mb = MEMORY_MB,
                                 .file_prefix = prefix,
                                 .run_dir = options->directory,
                                 .pages = HG_EAL_PAGES_AUTO};
    return hg_eal_start(&eal, error, error_bytes);
}

static int port_open(struct hg_perf_node *node, const struct hg_perf_node_options *options, char *error,
                     size_t error_bytes)
{
    struct hg_port_dpdk_options port = {.name = options->name,
                                        .devargs = options->devargs,
                                        .mac = {2, 0, 0, 0, 0, options->station},
                                        .mtu_bytes = (uint16_t)options->mtu_bytes,
                                        .numa_node = -1};
    node->port = hg_port_dpdk_open(&port, error, error_bytes);
    return node->port != NULL ? 0 : -EIO;
}

static struct hg_mailbox *mailbox_make(void)
{
    struct hg_mailbox *box = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*box));
    hg_assert(box != NULL);
    memset(box, 0, sizeof(*box));
    return box;
}

static int worker_open(struct hg_perf_node *node, const struct hg_perf_node_options *options, char *error,
                       size_t error_bytes)
{
    uint64_t bytes = HG_WORKER_LOG_ARENA_BYTES;
    void *arena = hg_disk_memory_map(bytes);
    hg_assert(arena != NULL);
    node->disk = hg_disk_uring_open(options->log_path, arena, bytes, DISK_DEPTH, NULL, error, error_bytes);
    if (node->disk == NULL)
        return -EIO;
    node->to_worker = mailbox_make();
    node->from_worker = mailbox_make();
    struct hg_worker_config config = {
        .clock = node->clock,
        .disk = node->disk,
        .log_arena = arena,
        .log_arena_bytes = bytes,
        .cluster = CLUSTER,
        .region = node->sender ? 1 : 2,
        .streams_max = HG_WORKER_STREAMS_MAX,
        .peers_max = HG_PEERS_MAX,
        .inbox = node->to_worker,
        .outbox = node->from_worker,
        .doorbell = doorbell,
    };
    node->worker = hg_worker_init(&config);
    hg_assert(node->worker != NULL);
    node->idle = (struct hg_idle){.eventfd = node->eventfd,
                                  .count = 1,
                                  .workers = {node->worker},
                                  .disk_fds = {hg_disk_uring_fd(node->disk)}};
    uint64_t until_ns = node->clock->now_ns(node->clock) + RECOVERY_NS;
    while (node->worker->state == HG_WORKER_RECOVERING && node->clock->now_ns(node->clock) < until_ns)
        (void)hg_perf_node_turn(node);
    if (node->worker->state == HG_WORKER_RUNNING)
        return 0;
    snprintf(error, error_bytes, "log %s: %s", options->log_path, hg_log_message(node->worker->log));
    return -EIO;
}

int hg_perf_node_open(struct hg_perf_node *node, const struct hg_perf_node_options *options, char *error,
                      size_t error_bytes)
{
    memset(node, 0, sizeof(*node));
    node->clock = hg_clock_tsc();
    node->sender = options->name[0] == 'a';
    node->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (node->eventfd < 0)
        return -errno;
    prctl(PR_SET_TIMERSLACK, 1UL);
    int rc = hg_esp_start(error, error_bytes);
    if (rc == 0)
        rc = eal_open(options, error, error_bytes);
    if (rc == 0)
        rc = port_open(node, options, error, error_bytes);
    if (rc == 0)
        rc = worker_open(node, options, error, error_bytes);
    return rc;
}

/* ---- the link ---- */

static void keys_make(bool sender, struct hg_handshake_keys *keys)
{
    memset(keys, 0, sizeof(*keys));
    keys->boot_remote = sender ? 2 : 1;
    keys->generation = keys->lane_generation = 1;
    keys->workers_remote = 1;
    keys->spi_tx = sender ? 0x1002 : 0x1001;
    keys->spi_rx = sender ? 0x1001 : 0x1002;
    memset(keys->key_tx, sender ? 0xa1 : 0xb2, sizeof(keys->key_tx));
    memset(keys->key_rx, sender ? 0xb2 : 0xa1, sizeof(keys->key_rx));
    memset(keys->salt_tx, sender ? 0xc3 : 0xd4, sizeof(keys->salt_tx));
    memset(keys->salt_rx, sender ? 0xd4 : 0xc3, sizeof(keys->salt_rx));
}

void hg_perf_node_link(struct hg_perf_node *node, const struct hg_perf_node_options *options, uint16_t kind)
{
    struct hg_worker *worker = node->worker;
    struct hg_handshake_keys keys;
    struct hg_config_peer peer = {.node = node->sender ? 2 : 1,
                                  .region = node->sender ? 2 : 1,
                                  .mac = {2, 0, 0, 0, 0, options->station_other},
                                  .address = hg_address_ipv4(0x0a000000u | options->station_other),
                                  .rate_bytes_per_s = options->rate_bytes_per_s,
                                  .receive_bytes_max = options->receive_bytes_max,
                                  .congestion = options->congestion,
                                  .fec = options->fec,
                                  .ecn = HG_CONFIG_ECN_ON};
    snprintf(peer.name, sizeof(peer.name), "%s", node->sender ? "b" : "a");
    struct hg_config_stream stream = {.name = "perf",
                                      .stream = 1,
                                      .kind = kind,
                                      .region = 1,
                                      .epoch = 1,
                                      .peers_mask = node->sender ? 1 : 0,
                                      .compression = HG_CODEC_LZ4};
    int index = hg_peers_configure(worker->peers, &peer, options->mtu_bytes, worker->now_ns);
    int rc = hg_streams_configure(worker->streams, &stream);
    hg_assert(index == 0 && rc == 0);
    worker->link.port = node->port;
    worker->link.network.address = hg_address_ipv4(0x0a000000u | options->station);
    keys_make(node->sender, &keys);
    hg_peers_keys(worker->peers, 0, &keys, worker->now_ns);
}

bool hg_perf_node_turn(struct hg_perf_node *node)
{
    struct hg_worker *worker = node->worker;
    struct hg_letter letter;
    uint64_t deadline_ns;
    bool did = hg_worker_turn(worker, &deadline_ns);
    while (hg_mailbox_take(node->from_worker, &letter)) {
        char text[256];
        if (letter.type != HG_LETTER_EVENT || hg_event_severity(letter.body.event.type) < HG_SEVERITY_WARNING)
            continue;
        hg_event_format(&letter.body.event, text, sizeof(text));
        fprintf(stderr, "helio-perf: %s: %s\n", node->sender ? "a" : "b", text);
    }
    if (node->port != NULL && worker->now_ns >= node->maintain_ns)
        node->maintain_ns =
            hg_min_u64(hg_port_dpdk_maintain(node->port, worker->now_ns), worker->now_ns + MAINTAIN_NS);
    if (did)
        node->active_ns = worker->now_ns;
    else
        hg_idle_wait(&node->idle, deadline_ns, node->active_ns);
    return worker->state != HG_WORKER_FAILED;
}
