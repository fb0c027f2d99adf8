/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/net/port_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FRAME_OVER_MTU_BYTES 18u
#define BUFFER_BYTES_MIN     2048u

static bool is_memif(const char *devargs)
{
    return strncmp(devargs, "net_memif", strlen("net_memif")) == 0;
}

/* "net_memif0,role=client,id=1,socket=..." -> "net_memif0w2,role=client,socket=...,id=2001" for queue 2. */
static bool devargs_of_queue(const char *devargs, uint32_t queue, char *to, size_t to_bytes)
{
    size_t device = strcspn(devargs, ",");
    const char *id = strstr(devargs, ",id="), *rest = devargs + device;
    unsigned long number = id != NULL ? strtoul(id + strlen(",id="), NULL, 10) : 0;
    size_t before = id != NULL ? (size_t)(id - rest) : strlen(rest);
    const char *after = id != NULL ? id + 1 + strcspn(id + 1, ",") : "";
    int length = snprintf(to, to_bytes, "%.*sw%u%.*s%s,id=%lu", (int)device, devargs, queue, (int)before,
                          rest, after, number + (unsigned long)queue * HG_PORT_SET_ID_STEP);
    return length > 0 && (size_t)length < to_bytes;
}

static bool pool_make(struct hg_port_set *set, const struct hg_port_dpdk_options *options, char *error,
                      size_t error_bytes)
{
    uint64_t mtu_bytes = options->mtu_bytes != 0 ? options->mtu_bytes : 1500;
    char name[24];
    snprintf(name, sizeof(name), "hg_set_%.16s", options->name);
    set->pool = hg_port_pool_create(name, set->queue_count * (HG_PORT_DPDK_PACKETS_OWN + 1) - 1,
                                    (uint32_t)hg_max_u64(mtu_bytes + FRAME_OVER_MTU_BYTES, BUFFER_BYTES_MIN),
                                    options->numa_node, error, error_bytes);
    return set->pool != NULL;
}

static bool interfaces_open(struct hg_port_set *set, const struct hg_port_dpdk_options *options, char *error,
                            size_t error_bytes)
{
    char devargs[512], name[64];
    struct hg_port_dpdk_options own = *options;
    if (own.pool == NULL && !pool_make(set, options, error, error_bytes))
        return false;
    own.pool = own.pool != NULL ? own.pool : set->pool;
    own.queues = 1;
    for (uint32_t queue = 0; queue < set->queue_count; queue++) {
        if (queue > 0) {
            snprintf(name, sizeof(name), "%.40s queue %u", options->name, queue);
            if (!devargs_of_queue(options->devargs, queue, devargs, sizeof(devargs))) {
                snprintf(error, error_bytes, "port %s: its device's arguments are too long", options->name);
                return false;
            }
            own.name = name;
            own.devargs = devargs;
        }
        set->devices[queue] = hg_port_dpdk_open(&own, error, error_bytes);
        if (set->devices[queue] == NULL)
            return false;
        set->device_count++;
    }
    return true;
}

int hg_port_set_open(struct hg_port_set *set, const struct hg_port_dpdk_options *options, uint32_t queues,
                     char *error, size_t error_bytes)
{
    hg_assert(queues >= 1 && queues <= HG_PORT_QUEUES_MAX);
    memset(set, 0, sizeof(*set));
    set->queue_count = queues;
    if (queues > 1 && is_memif(options->devargs)) {
        if (interfaces_open(set, options, error, error_bytes))
            return 0;
        hg_port_set_close(set);
        return -EIO;
    }
    struct hg_port_dpdk_options own = *options;
    own.queues = queues;
    set->devices[0] = hg_port_dpdk_open(&own, error, error_bytes);
    set->device_count = set->devices[0] != NULL;
    return set->devices[0] != NULL ? 0 : -EIO;
}

void hg_port_set_close(struct hg_port_set *set)
{
    for (uint32_t i = 0; i < set->device_count; i++)
        hg_port_dpdk_close(set->devices[i]);
    hg_port_pool_destroy(set->pool);
    memset(set, 0, sizeof(*set));
}

struct hg_port *hg_port_set_queue(const struct hg_port_set *set, uint32_t queue)
{
    hg_assert(queue < set->queue_count);
    return set->device_count > 1 ? set->devices[queue] : hg_port_dpdk_queue(set->devices[0], queue);
}

uint64_t hg_port_set_maintain(struct hg_port_set *set, uint64_t now_ns)
{
    uint64_t next_ns = HG_TIME_NEVER;
    for (uint32_t i = 0; i < set->device_count; i++)
        next_ns = hg_min_u64(next_ns, hg_port_dpdk_maintain(set->devices[i], now_ns));
    return next_ns;
}

bool hg_port_set_up(const struct hg_port_set *set)
{
    bool up = set->device_count > 0;
    for (uint32_t i = 0; i < set->device_count; i++)
        up &= hg_port_is_up(set->devices[i]);
    return up;
}

const char *hg_port_set_problem(const struct hg_port_set *set)
{
    for (uint32_t i = 0; i < set->device_count; i++)
        if (hg_port_dpdk_problem(set->devices[i])[0] != '\0')
            return hg_port_dpdk_problem(set->devices[i]);
    return "";
}

void hg_port_set_stats_read(const struct hg_port_set *set, struct hg_port_dpdk_stats *stats)
{
    memset(stats, 0, sizeof(*stats));
    for (uint32_t i = 0; i < set->device_count; i++) {
        struct hg_port_dpdk_stats own;
        hg_port_dpdk_stats_read(set->devices[i], &own);
#define X(field, text) stats->field += own.field;
        HG_PORT_DPDK_COUNTERS_WORKER(X)
        HG_PORT_DPDK_COUNTERS_HOUSEKEEPING(X)
#undef X
    }
}
