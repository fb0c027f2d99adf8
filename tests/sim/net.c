/* SPDX-License-Identifier: Apache-2.0
 *
 * Directed links between simulated ports. Everything a packet can suffer is drawn from a generator of its
 * own, whether it is on or not.
 */
#include "tests/sim/allocation.h"
#include "tests/sim/bottleneck.h"

#include <stdlib.h>
#include <xxhash.h>

#define PPM              1000000u
#define HELD_MAX         512u /* buffers that a worker may have at once; more is "no buffer" */
#define QUEUE_MASK       1023u
#define REPLAY_NS_MAX    (60 * HG_NS_PER_S)
#define FLIPPED_BITS_MAX 8u
#define ETHERNET_BYTES   14u

uint32_t hg_sim_address(uint32_t node)
{
    return 0x0a000001u + node;
}

/* ---- packets ---- */

static struct sim_packet *packet_take(struct sim_world *world)
{
    struct sim_packet *packet = world->packets_free;
    if (packet != NULL) {
        world->packets_free = packet->next;
    } else {
        if (world->packets_count == SIM_PACKETS_MAX)
            return NULL;
        packet = aligned_alloc(64, hg_align_up(sizeof(*packet), 64));
        hg_assert(packet != NULL);
        world->packets_all[world->packets_count++] = packet;
    }
    world->packets_used++;
    packet->next = NULL;
    packet->holder = SIM_NODES_MAX;
    packet->is_altered = false;
    packet->bytes = 0;
    return packet;
}

void hg_sim_packet_free(struct sim_world *world, struct sim_packet *packet)
{
    hg_assert(world->packets_used-- > 0);
    packet->holder = SIM_NODES_MAX;
    packet->next = world->packets_free;
    world->packets_free = packet;
}

static uint8_t *packet_frame(struct sim_packet *packet)
{
    return packet->memory + HG_PORT_HEADROOM_BYTES;
}

static void packet_lend(struct sim_node *node, struct sim_packet *from, struct hg_packet *to)
{
    from->holder = node->index;
    to->data = packet_frame(from);
    to->bytes = from->bytes;
    to->bytes_max = node->world->plan->mtu_bytes + 14;
    to->handle = from;
}

/* ---- links ---- */

static void deliver(struct sim_world *world, uint32_t to, const struct sim_packet *packet, uint64_t time_ns)
{
    struct sim_packet *copy = packet_take(world);
    if (copy == NULL)
        return; /* far more than any queue holds: as lost as others */
    copy->bytes = packet->bytes;
    copy->order = packet->order;
    copy->from = packet->from;
    copy->is_altered = packet->is_altered;
    memcpy(packet_frame(copy), packet->memory + HG_PORT_HEADROOM_BYTES, packet->bytes);
    hg_sim_event_put(world, time_ns, SIM_EVENT_PACKET, to, 0, copy);
}

static void packet_alter(struct sim_world *world, const struct sim_link_plan *plan, struct sim_link *link,
                         struct sim_packet *packet)
{
    struct hg_random *random = &link->random_alter;
    bool corrupt = hg_random_below(random, PPM) < plan->corrupt_ppm && !world->healed;
    bool truncate = hg_random_below(random, PPM) < plan->truncate_ppm && !world->healed;
    uint64_t flips = hg_random_between(random, 1, FLIPPED_BITS_MAX);
    for (uint64_t i = 0; i < FLIPPED_BITS_MAX; i++) {
        uint64_t bit = hg_random_u64(random);
        if (corrupt && i < flips && packet->bytes > 0) {
            bit %= (uint64_t)packet->bytes * 8;
            packet_frame(packet)[bit / 8] ^= (uint8_t)(1u << bit % 8);
            packet->is_altered = true;
        }
    }
    uint64_t cut = hg_random_u64(random);
    if (truncate && packet->bytes > 0) {
        packet->bytes = (uint32_t)(cut % packet->bytes);
        packet->is_altered = true;
    }
}

/* Down in every other turn of a flap. */
static bool is_flapped(struct sim_world *world, const struct sim_link *link)
{
    if (world->now_ns >= link->flap_until_ns ||
        (world->now_ns - link->flap_from_ns) / link->flap_turn_ns % 2 != 0)
        return false;
    world->sometimes[SIM_flaps]++;
    return true;
}

static bool packet_lost(struct sim_world *world, const struct sim_link_plan *plan, struct sim_link *link)
{
    struct hg_random *random = &link->random_loss;
    bool lost = hg_random_below(random, PPM) < plan->loss_ppm;
    if (hg_random_below(random, PPM) < plan->burst_ppm)
        link->burst_left = (uint32_t)hg_random_between(random, 1, plan->burst_packets);
    if (link->burst_left > 0) {
        link->burst_left--;
        lost = true;
    }
    if (world->healed)
        return false;
    return lost || world->now_ns < link->cut_until_ns || is_flapped(world, link);
}

/* A black hole: too large for the path, and nobody says so. Some paths stay like this, healed or not. */
static bool packet_too_large(const struct sim_world *world, const struct sim_link *link,
                             const struct sim_packet *packet)
{
    return world->now_ns < link->narrow_until_ns && packet->bytes > link->narrow_bytes + ETHERNET_BYTES;
}

static uint32_t codepoint(struct sim_packet *packet)
{
    return packet_frame(packet)[15] & HG_ECN_MASK;
}

/* With the header's checksum mended, RFC 1624. */
static void codepoint_set(struct sim_packet *packet, uint32_t to)
{
    uint8_t *frame = packet_frame(packet);
    uint32_t before = (uint32_t)frame[14] << 8 | frame[15];
    frame[15] = (uint8_t)((frame[15] & ~HG_ECN_MASK) | to);
    uint32_t after = (uint32_t)frame[14] << 8 | frame[15];
    uint32_t sum = (~((uint32_t)frame[24] << 8 | frame[25]) & 0xffff) + (~before & 0xffff) + after;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    frame[24] = (uint8_t)(sum >> 8);
    frame[25] = (uint8_t)sum;
}

/* A queue of `queued_ns` and what else the link does; false: it drops the packet for its codepoint. */
static bool link_ecn(struct sim_world *world, const struct sim_link_plan *plan, struct sim_packet *packet,
                     uint64_t queued_ns)
{
    bool capable = codepoint(packet) != HG_ECN_NOT_ECT;
    if (capable && plan->mark_ns != 0 && queued_ns >= plan->mark_ns) {
        codepoint_set(packet, HG_ECN_CE);
        world->sometimes[SIM_packets_marked]++;
    }
    if (world->now_ns < plan->ecn_from_ns || world->healed)
        return true;
    switch (plan->ecn_path) {
    case SIM_ECN_HIDES:
        if (codepoint(packet) == HG_ECN_CE) {
            codepoint_set(packet, HG_ECN_ECT0);
            world->sometimes[SIM_marks_hidden]++;
        }
        return true;
    case SIM_ECN_BLEACHES:
        codepoint_set(packet, HG_ECN_NOT_ECT);
        return true;
    case SIM_ECN_REMARKS:
        codepoint_set(packet, codepoint(packet) == HG_ECN_ECT0 ? HG_ECN_ECT1 : codepoint(packet));
        return true;
    case SIM_ECN_ALL_CE:
        codepoint_set(packet, capable ? HG_ECN_CE : HG_ECN_NOT_ECT);
        return true;
    case SIM_ECN_ANY_CE:
        codepoint_set(packet, HG_ECN_CE);
        return true;
    case SIM_ECN_DROPS:
        return !capable;
    default:
        return true;
    }
}

static void link_send(struct sim_world *world, uint32_t from, uint32_t to, struct sim_packet *packet)
{
    const struct sim_link_plan *plan = &world->plan->links[from][to];
    struct sim_link *link = &world->links[from][to];
    uint64_t path = hg_random_below(&link->random_path, plan->path_count);
    uint64_t delay_ns = plan->delay_ns + link->path_delay_ns[path];
    uint64_t time_ns = world->now_ns + delay_ns;
    uint64_t jitter_ns = hg_random_below(&link->random_jitter, plan->jitter_ns + 1);
    bool duplicate = hg_random_below(&link->random_duplicate, PPM) < plan->duplicate_ppm;
    uint64_t copy_ns = hg_random_below(&link->random_duplicate, 2 * plan->delay_ns + 1);
    bool replay = hg_random_below(&link->random_replay, PPM) < plan->replay_ppm;
    uint64_t replay_ns = hg_random_below(&link->random_replay, REPLAY_NS_MAX);
    packet->order = ++link->order_sent;
    packet->from = from;
    if (packet_too_large(world, link, packet)) {
        world->sometimes[SIM_packets_too_large_for_the_path]++;
        return;
    }
    if (packet_lost(world, plan, link)) {
        world->sometimes[SIM_packets_lost_on_the_link]++;
        return;
    }
    uint64_t queued_ns = 0;
    if (plan->rate_bytes_per_s != 0 && !world->healed) {
        /* A bottleneck is shared: its queue is that of the first link to the node. */
        struct sim_link *queue = world->plan->bottleneck.used ? &world->links[0][to] : link;
        uint64_t rate = link->rate_bytes_per_s != 0 ? link->rate_bytes_per_s : plan->rate_bytes_per_s;
        uint64_t start_ns = hg_max_u64(world->now_ns, queue->busy_until_ns);
        queued_ns = start_ns - world->now_ns;
        if (queued_ns > plan->queue_ns) {
            world->sometimes[SIM_packets_lost_on_the_link]++;
            return;
        }
        queue->busy_until_ns = start_ns + packet->bytes * HG_NS_PER_S / rate;
        time_ns = queue->busy_until_ns + delay_ns;
        hg_sim_bottleneck_carries(world, from, to, packet->bytes, queued_ns);
    }
    if (!link_ecn(world, plan, packet, queued_ns)) {
        world->sometimes[SIM_packets_lost_on_the_link]++;
        return;
    }
    if (!world->healed) {
        time_ns += jitter_ns;
        if (duplicate)
            deliver(world, to, packet, time_ns + copy_ns);
        if (replay)
            deliver(world, to, packet, time_ns + replay_ns);
    }
    packet_alter(world, plan, link, packet);
    deliver(world, to, packet, time_ns);
}

void hg_sim_packet_send(struct sim_world *world, uint32_t from, uint32_t to, const uint8_t *frame,
                        uint32_t bytes)
{
    struct sim_packet *packet = world->packets_used < SIM_PACKETS_MAX / 2 ? packet_take(world) : NULL;
    if (packet == NULL)
        return;
    packet->bytes = bytes;
    memcpy(packet_frame(packet), frame, bytes);
    link_send(world, from, to, packet);
    hg_sim_packet_free(world, packet);
}

void hg_sim_link_fault(struct sim_world *world, const struct sim_fault *fault)
{
    struct sim_link *link = &world->links[fault->node][fault->other];
    if (fault->kind == SIM_FAULT_CUT) {
        link->cut_until_ns = world->now_ns + fault->a;
    } else if (fault->kind == SIM_FAULT_NARROW) {
        link->narrow_until_ns = world->now_ns + fault->a;
        link->narrow_bytes = (uint32_t)fault->b;
    } else if (fault->kind == SIM_FAULT_FLAP) {
        link->flap_from_ns = world->now_ns;
        link->flap_until_ns = world->now_ns + fault->a;
        link->flap_turn_ns = fault->b;
    } else if (fault->kind == SIM_FAULT_RATE) {
        link->rate_bytes_per_s = fault->a;
    } else {
        link->path_delay_ns[fault->b] = fault->a;
        world->sometimes[SIM_paths_changed]++;
    }
}

/* By the UDP port, as a device does that can; or by whatever a device makes of the addresses. */
static struct sim_port *queue_of(struct sim_node *node, struct sim_packet *packet)
{
    const uint8_t *frame = packet_frame(packet);
    uint32_t by_chance = (uint32_t)hg_random_below(&node->random_steer, node->worker_count);
    uint32_t worker = ((uint32_t)frame[36] << 8 | frame[37]) - HG_WIRE_UDP_PORT_DATA;
    if (!node->plan->steers)
        return &node->workers[by_chance].port;
    return &node->workers[worker < node->worker_count ? worker : 0].port;
}

void hg_sim_packet_arrive(struct sim_world *world, uint32_t to, struct sim_packet *packet)
{
    struct sim_node *node = &world->nodes[to];
    struct sim_port *port = queue_of(node, packet);
    hg_sim_hash(world, XXH3_64bits(packet_frame(packet), packet->bytes));
    struct sim_link *link = &world->links[packet->from][to];
    world->sometimes[SIM_packets_reordered] += packet->order < link->order_arrived;
    link->order_arrived = hg_max_u64(link->order_arrived, packet->order);
    hg_sim_trace(world, "packet of %u bytes to %c%s", packet->bytes, (int)('A' + to),
                 packet->is_altered ? " (altered)" : "");
    if (!node->is_up || port->queue_tail - port->queue_head >= node->plan->port_receive_max) {
        world->sometimes[SIM_receive_overruns] += node->is_up;
        hg_sim_packet_free(world, packet);
        return;
    }
    port->queue[port->queue_tail++ & QUEUE_MASK] = packet;
    hg_sim_node_step(node);
}

/* ---- the port ---- */

static uint32_t port_receive(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct sim_port *sim = (struct sim_port *)port;
    uint32_t i = 0;
    for (; i < n && sim->queue_head != sim->queue_tail; i++) {
        struct sim_packet *packet = sim->queue[sim->queue_head++ & QUEUE_MASK];
        packet_lend(sim->node, packet, &packets[i]);
        sim->delivered_count++;
    }
    return i;
}

static uint32_t held_count(const struct sim_world *world, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->packets_count; i++)
        count += world->packets_all[i]->holder == node;
    return count;
}

static uint32_t port_allocate(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct sim_port *sim = (struct sim_port *)port;
    struct sim_world *world = sim->node->world;
    for (uint32_t i = 0; i < n; i++) {
        struct sim_packet *packet = packet_take(world);
        if (packet == NULL)
            hg_sim_violation(world, "packets_leaked", "node %c holds %u buffers of the port",
                             (int)('A' + sim->node->index), held_count(world, sim->node->index));
        packet_lend(sim->node, packet, &packets[i]);
    }
    return n;
}

static uint32_t node_of(const struct sim_world *world, const uint8_t *frame)
{
    uint32_t address =
        (uint32_t)frame[30] << 24 | (uint32_t)frame[31] << 16 | (uint32_t)frame[32] << 8 | frame[33];
    uint32_t node = address - hg_sim_address(0);
    return node < world->plan->node_count ? node : SIM_NODES_MAX;
}

static uint32_t port_transmit(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct sim_port *sim = (struct sim_port *)port;
    struct sim_node *node = sim->node;
    struct sim_world *world = node->world;
    uint32_t taken = n;
    if (hg_random_below(&node->random_port, PPM) < node->plan->port_refuse_ppm && !world->healed) {
        taken = (uint32_t)hg_random_below(&node->random_port, n + 1);
        world->sometimes[SIM_port_refusals] += taken < n;
    }
    for (uint32_t i = 0; i < taken; i++) {
        struct sim_packet *packet = packets[i].handle;
        hg_assert(packet->holder == node->index && packets[i].bytes <= world->plan->mtu_bytes + 14);
        packet->bytes = packets[i].bytes;
        if (packet_frame(packet)[12] != 8 || packet_frame(packet)[13] != 0) {
            hg_sim_packet_free(world, packet); /* an announcement of its address: all MACs are configured */
            continue;
        }
        hg_sim_check_nonce(node, packet_frame(packet), packet->bytes);
        uint32_t to = node_of(world, packet_frame(packet));
        if (to == SIM_NODES_MAX || to == node->index)
            hg_sim_violation(world, "address", "node %c sent a packet to nobody", (int)('A' + node->index));
        if (world->now_ns >= node->silent_ns)
            link_send(world, node->index, to, packet);
        hg_sim_packet_free(world, packet);
        if (node->transmit_fuse > 0 && --node->transmit_fuse == 0) {
            for (uint32_t j = i + 1; j < n; j++)
                hg_sim_packet_free(world, packets[j].handle);
            longjmp(node->death, 1);
        }
    }
    return taken;
}

static void port_release(struct hg_port *port, struct hg_packet *packets, uint32_t n)
{
    struct sim_port *sim = (struct sim_port *)port;
    for (uint32_t i = 0; i < n; i++)
        hg_sim_packet_free(sim->node->world, packets[i].handle);
}

void hg_sim_port_init(struct sim_node *node, struct sim_port *port)
{
    port->node = node;
    port->port.receive = port_receive;
    port->port.allocate = port_allocate;
    port->port.transmit = port_transmit;
    port->port.release = port_release;
    hg_sim_allocation_port(&port->port);
    port->port.mac[0] = 2;
    port->port.mac[5] = (uint8_t)(node->index + 1);
    port->port.mtu_bytes = (uint16_t)node->world->plan->mtu_bytes;
    port->port.link_up = true;
}

void hg_sim_port_reset(struct sim_node *node)
{
    struct sim_world *world = node->world;
    for (uint32_t i = 0; i < node->worker_count; i++) {
        struct sim_port *port = &node->workers[i].port;
        while (port->queue_head != port->queue_tail)
            hg_sim_packet_free(world, port->queue[port->queue_head++ & QUEUE_MASK]);
        port->queue_head = port->queue_tail = 0;
        port->delivered_count = 0;
    }
    for (uint32_t i = 0; i < world->packets_count; i++)
        if (world->packets_all[i]->holder == node->index)
            hg_sim_packet_free(world, world->packets_all[i]);
}

void hg_sim_net_init(struct sim_world *world)
{
    for (uint32_t i = 0; i < world->plan->node_count; i++)
        for (uint32_t j = 0; j < world->plan->node_count; j++) {
            struct sim_link *link = &world->links[i][j];
            uint64_t index = i * hg_max_u64(world->plan->node_count, SIM_NODES_FEW) + j;
            hg_random_init(&link->random_loss, hg_sim_random_seed(world, 10, index));
            hg_random_init(&link->random_jitter, hg_sim_random_seed(world, 11, index));
            hg_random_init(&link->random_duplicate, hg_sim_random_seed(world, 12, index));
            hg_random_init(&link->random_replay, hg_sim_random_seed(world, 13, index));
            hg_random_init(&link->random_alter, hg_sim_random_seed(world, 14, index));
            hg_random_init(&link->random_path, hg_sim_random_seed(world, 15, index));
            memcpy(link->path_delay_ns, world->plan->links[i][j].path_delay_ns, sizeof(link->path_delay_ns));
        }
}
