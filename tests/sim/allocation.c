/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/allocation.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

static struct {
    bool is_on;
    bool is_of_driver;
    uint32_t lanes; /* when it began */
    uint64_t count, bytes_first;
} watch;

/* All simulated disks have the same functions, and all ports. */
static struct hg_disk disk_functions;
static struct hg_port port_functions;

/* ---- the allocator ---- */

static void allocated(uint64_t bytes)
{
    if (!watch.is_on || watch.is_of_driver)
        return;
    watch.bytes_first = watch.count == 0 ? bytes : watch.bytes_first;
    watch.count++;
}

void *__wrap_malloc(size_t bytes)
{
    allocated(bytes);
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    allocated(count * bytes);
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    allocated(bytes);
    return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    allocated(bytes);
    return __real_aligned_alloc(alignment, bytes);
}

/* ---- drivers ---- */

static bool disk_write(struct hg_disk *disk, uint64_t tag, const void *data, uint32_t bytes, uint64_t offset)
{
    watch.is_of_driver = true;
    bool taken = disk_functions.write(disk, tag, data, bytes, offset);
    watch.is_of_driver = false;
    return taken;
}

static bool disk_read(struct hg_disk *disk, uint64_t tag, void *data, uint32_t bytes, uint64_t offset)
{
    watch.is_of_driver = true;
    bool taken = disk_functions.read(disk, tag, data, bytes, offset);
    watch.is_of_driver = false;
    return taken;
}

static bool disk_flush(struct hg_disk *disk, uint64_t tag)
{
    watch.is_of_driver = true;
    bool taken = disk_functions.flush(disk, tag);
    watch.is_of_driver = false;
    return taken;
}

static uint32_t disk_poll(struct hg_disk *disk, struct hg_disk_completion *completions, uint32_t most)
{
    watch.is_of_driver = true;
    uint32_t count = disk_functions.poll(disk, completions, most);
    watch.is_of_driver = false;
    return count;
}

void hg_sim_allocation_disk(struct hg_disk *disk)
{
    disk_functions = *disk;
    disk->write = disk_write;
    disk->read = disk_read;
    disk->flush = disk_flush;
    disk->poll = disk_poll;
}

static uint32_t port_allocate(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    watch.is_of_driver = true;
    uint32_t count = port_functions.allocate(port, packets, n);
    watch.is_of_driver = false;
    return count;
}

static uint32_t port_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    watch.is_of_driver = true;
    uint32_t taken = port_functions.transmit(port, packets, n);
    watch.is_of_driver = false;
    return taken;
}

void hg_sim_allocation_port(struct hg_port *port)
{
    port_functions = *port;
    port->allocate = port_allocate;
    port->transmit = port_transmit;
}

/* ---- marks ---- */

static uint32_t lanes_of(const struct sim_worker *worker)
{
    struct hg_peers *peers = worker->worker->peers;
    uint32_t count = 0;
    for (struct hg_peer *lane = hg_peers_next(peers, NULL); lane != NULL; lane = hg_peers_next(peers, lane))
        count++;
    return count;
}

void hg_sim_allocation_unwatch(void)
{
    memset(&watch, 0, sizeof(watch));
}

void hg_sim_allocation_watch(const struct sim_worker *worker)
{
    hg_sim_allocation_unwatch();
    watch.lanes = lanes_of(worker);
    watch.is_on = true;
}

void hg_sim_allocation_check(struct sim_node *node, const struct sim_worker *worker)
{
    uint64_t count = watch.count, bytes = watch.bytes_first;
    bool is_new_lane = watch.lanes != lanes_of(worker);
    hg_sim_allocation_unwatch();
    node->world->sometimes[SIM_turns_without_allocation] += count == 0;
    node->world->sometimes[SIM_lanes_made_late] += count != 0 && is_new_lane;
    if (count != 0 && !is_new_lane)
        hg_sim_violation(node->world, "allocation",
                         "node %c allocated memory %llu times in a turn, first %llu bytes",
                         (int)('A' + node->index), (unsigned long long)count, (unsigned long long)bytes);
}
