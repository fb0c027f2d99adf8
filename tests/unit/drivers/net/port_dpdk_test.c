/* SPDX-License-Identifier: Apache-2.0
 *
 * The DPDK port over devices that need neither hardware nor rights: null, ring, and memif with both ends in
 * this process. EAL can be started once a process, so every test shares it.
 */
#include "drivers/clock/clock.h"
#include "drivers/net/eal.h"
#include "drivers/net/interrupt_gate.h"
#include "drivers/net/port_set.h"

#include <CUnit/Basic.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEADLINE_NS (10 * HG_NS_PER_S)

static char run_dir[] = "/tmp/helio-port-test-XXXXXX";
static char error[512];

static uint64_t now_ns(void)
{
    struct hg_clock *clock = hg_clock_tsc();
    return clock->now_ns(clock);
}

static struct hg_port *open_port(const char *name, const char *devargs, uint16_t mtu)
{
    struct hg_port_dpdk_options options = {.name = name,
                                           .devargs = devargs,
                                           .mac = {2, 0, 0, 0, 0, 7},
                                           .mtu_bytes = mtu,
                                           .numa_node = -1,
                                           .packets = 511};
    return hg_port_dpdk_open(&options, error, sizeof(error));
}

static struct hg_port *open_memif(const char *name, const char *device, const char *role)
{
    char devargs[256];
    snprintf(devargs, sizeof(devargs),
             "%s,role=%s,socket=%s/memif.sock,socket-abstract=no,id=3,bsize=2048,rsize=6", device, role,
             run_dir);
    return open_port(name, devargs, 1500);
}

/* Maintains up to two ports until a's link is as wanted. */
static bool wait_link(struct hg_port *a, struct hg_port *b, bool up)
{
    for (uint64_t end_ns = now_ns() + DEADLINE_NS; now_ns() < end_ns; sched_yield()) {
        hg_port_dpdk_maintain(a, now_ns());
        if (b != NULL)
            hg_port_dpdk_maintain(b, now_ns());
        if (a->link_up == up && (b == NULL || b->link_up == up))
            return true;
    }
    return false;
}

/* Sends one frame of `bytes` filled with `fill` and waits until it is there. The receiver polls all the
 * while: only then a memif client hands out buffers to receive into. */
static bool exchange(struct hg_port *from, struct hg_port *to, uint8_t fill, uint32_t bytes)
{
    struct hg_packet packet;
    struct hg_packet received;
    bool sent = false;
    if (from->allocate(from, &packet, 1) != 1 || packet.bytes_max < bytes)
        return false;
    memset(packet.data, fill, bytes);
    packet.bytes = bytes;
    for (uint64_t end_ns = now_ns() + DEADLINE_NS; now_ns() < end_ns; sched_yield()) {
        sent = sent || from->transmit(from, &packet, 1) == 1;
        if (to->receive(to, &received, 1) == 0)
            continue;
        bool equal = received.bytes == bytes;
        for (uint32_t i = 0; equal && i < bytes; i++)
            equal = ((uint8_t *)received.data)[i] == fill;
        to->release(to, &received, 1);
        return equal;
    }
    if (!sent)
        from->release(from, &packet, 1);
    return false;
}

static void test_eal_refuses(void)
{
    struct hg_eal_options options = {.program = "test", .lcores = "", .memory_mb = 64, .file_prefix = "x"};
    CU_ASSERT_EQUAL(hg_eal_start(&options, error, sizeof(error)), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "lcore"));
    options.lcores = "0@0";
    options.memory_mb = 1;
    CU_ASSERT_EQUAL(hg_eal_start(&options, error, sizeof(error)), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "memory"));
    options.memory_mb = 64;
    options.file_prefix = "a/b";
    CU_ASSERT_EQUAL(hg_eal_start(&options, error, sizeof(error)), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "a/b"));
    options.file_prefix = "x";
    options.run_dir = "/nonexistent/helio";
    CU_ASSERT_EQUAL(hg_eal_start(&options, error, sizeof(error)), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "/nonexistent/helio"));
}

static void test_eal_starts_once(void)
{
    char lcores[16];
    char prefix[32];
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CU_ASSERT_EQUAL_FATAL(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    int cpu = 0;
    while (!CPU_ISSET(cpu, &cpus))
        cpu++;
    snprintf(lcores, sizeof(lcores), "0@%d", cpu);
    snprintf(prefix, sizeof(prefix), "helio-test-%d", (int)getpid());
    struct hg_eal_options options = {.program = "port_dpdk_test",
                                     .lcores = lcores,
                                     .memory_mb = 64,
                                     .file_prefix = prefix,
                                     .run_dir = run_dir,
                                     .pages = HG_EAL_PAGES_NORMAL};
    int rc = hg_eal_start(&options, error, sizeof(error));
    if (rc != 0)
        fprintf(stderr, "%s\n", error);
    CU_ASSERT_EQUAL_FATAL(rc, 0);
    CU_ASSERT_FALSE(hg_eal_has_hugepages());
    CU_ASSERT_EQUAL(hg_eal_start(&options, error, sizeof(error)), -EALREADY);
}

static void test_null(void)
{
    struct hg_port *port = open_port("n", "net_null0,size=200", 1500);
    struct hg_packet packets[HG_PORT_BURST_MAX];
    struct hg_port_dpdk_stats stats;
    CU_ASSERT_PTR_NOT_NULL_FATAL(port);
    CU_ASSERT_EQUAL(port->mac[5], 7);
    CU_ASSERT_EQUAL(port->mtu_bytes, 1500);
    CU_ASSERT_STRING_EQUAL(hg_port_dpdk_name(port), "n");
    CU_ASSERT_EQUAL(hg_port_dpdk_wake_fd(port), -1);
    CU_ASSERT_TRUE(wait_link(port, NULL, true));
    CU_ASSERT_STRING_EQUAL(hg_port_dpdk_problem(port), "");
    CU_ASSERT_EQUAL(port->receive(port, packets, HG_PORT_BURST_MAX), HG_PORT_BURST_MAX);
    CU_ASSERT_EQUAL(packets[0].bytes, 200);
    port->release(port, packets, HG_PORT_BURST_MAX);
    CU_ASSERT_EQUAL(port->allocate(port, packets, HG_PORT_BURST_MAX), HG_PORT_BURST_MAX);
    CU_ASSERT_EQUAL(packets[0].bytes, 0);
    CU_ASSERT_EQUAL(packets[0].bytes_max, 1518);
    for (uint32_t i = 0; i < HG_PORT_BURST_MAX; i++)
        packets[i].bytes = 100 + i;
    CU_ASSERT_EQUAL(port->transmit(port, packets, HG_PORT_BURST_MAX), HG_PORT_BURST_MAX);
    hg_port_dpdk_stats_read(port, &stats);
    CU_ASSERT_EQUAL(stats.rx_packets, HG_PORT_BURST_MAX);
    CU_ASSERT_EQUAL(stats.rx_bytes, HG_PORT_BURST_MAX * 200);
    CU_ASSERT_EQUAL(stats.tx_packets, HG_PORT_BURST_MAX);
    CU_ASSERT_EQUAL(stats.tx_bytes,
                    HG_PORT_BURST_MAX * 100 + HG_PORT_BURST_MAX * (HG_PORT_BURST_MAX - 1) / 2);
    CU_ASSERT_EQUAL(stats.tx_refused, 0);
    hg_port_dpdk_close(port);
}

static void test_open_refuses(void)
{
    CU_ASSERT_PTR_NULL(open_port("bad", "net_nosuchdriver0", 1500));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "bad"));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "net_nosuchdriver0"));
    CU_ASSERT_PTR_NULL(open_port("bad", "", 1500));
    CU_ASSERT_PTR_NULL(open_port("bad", "net_null7", 20));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "MTU"));
    CU_ASSERT_PTR_NULL(
        open_port("bad", "net_memif7,role=client,socket=/tmp/x,bsize=1024,socket-abstract=no", 1500));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "bsize"));
    /* What failed left nothing behind: the same names work now, and not twice at the same time. */
    struct hg_port *port = open_port("good", "net_null7", 1500);
    CU_ASSERT_PTR_NOT_NULL_FATAL(port);
    CU_ASSERT_PTR_NULL(open_port("again", "net_null7", 1500));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "in use"));
    hg_port_dpdk_close(port);
}

/* A ring device hands back what it was given: the leftover of a full ring stays the caller's, headroom is
 * kept. */
static void test_ring(void)
{
    static struct hg_packet packets[512];
    struct hg_port_dpdk_stats stats;
    struct hg_port *port = open_port("r", "net_ring0", 1500);
    CU_ASSERT_PTR_NOT_NULL_FATAL(port);
    CU_ASSERT_TRUE(wait_link(port, NULL, true));
    CU_ASSERT_EQUAL(port->allocate(port, packets, 2), 2);
    memset(packets[0].data, 1, 64);
    packets[0].bytes = 64;
    packets[1].data = (char *)packets[1].data - 14; /* a header put in front */
    memset(packets[1].data, 2, 90);
    packets[1].bytes = 90;
    CU_ASSERT_EQUAL(port->transmit(port, packets, 2), 2);
    CU_ASSERT_EQUAL(port->receive(port, packets, 32), 2);
    CU_ASSERT_EQUAL(packets[0].bytes, 64);
    CU_ASSERT_EQUAL(packets[1].bytes, 90);
    CU_ASSERT_EQUAL(*(uint8_t *)packets[1].data, 2);
    port->release(port, packets, 2);

    /* Empties the pool: all or nothing, and counted. */
    uint32_t n = 0;
    while (n + 32 <= HG_COUNT(packets) && port->allocate(port, packets + n, 32) == 32)
        n += 32;
    CU_ASSERT_EQUAL(n, 480);
    CU_ASSERT_EQUAL(port->allocate(port, packets + n, 32), 0);
    hg_port_dpdk_stats_read(port, &stats);
    CU_ASSERT(stats.tx_nobuf >= 32);
    port->release(port, packets, n);
    CU_ASSERT_EQUAL(port->allocate(port, packets, 32), 32);
    port->release(port, packets, 32);
    hg_port_dpdk_close(port);
}

static void test_parked(void)
{
    struct hg_burst_gate gate = {0};
    CU_ASSERT_TRUE(hg_burst_gate_enter(&gate));
    hg_burst_gate_leave(&gate);
    hg_burst_gate_block(&gate, HG_BURST_BLOCK_PARKED);
    hg_burst_gate_block(&gate, HG_BURST_BLOCK_INTERRUPT);
    CU_ASSERT_FALSE(hg_burst_gate_enter(&gate));
    hg_burst_gate_unblock(&gate, HG_BURST_BLOCK_INTERRUPT);
    CU_ASSERT_FALSE(hg_burst_gate_enter(&gate));
    hg_burst_gate_unblock(&gate, HG_BURST_BLOCK_PARKED);
    CU_ASSERT_TRUE(hg_burst_gate_enter(&gate));
    hg_burst_gate_leave(&gate);
}

struct exclusion {
    struct hg_burst_gate gate;
    _Atomic uint32_t inside;
    _Atomic uint32_t violations;
    _Atomic uint64_t bursts;
    _Atomic bool stop;
};

static void *exclusion_worker(void *argument)
{
    struct exclusion *exclusion = argument;
    while (!atomic_load(&exclusion->stop)) {
        if (!hg_burst_gate_enter(&exclusion->gate)) {
            sched_yield();
            continue;
        }
        if (atomic_fetch_add(&exclusion->inside, 1) != 0)
            atomic_fetch_add(&exclusion->violations, 1);
        atomic_fetch_add(&exclusion->bursts, 1);
        atomic_fetch_sub(&exclusion->inside, 1);
        hg_burst_gate_leave(&exclusion->gate);
    }
    return NULL;
}

/* Housekeeping and the worker are never inside together, and both get in. */
static void test_exclusion(void)
{
    static struct exclusion exclusion;
    pthread_t worker;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&worker, NULL, exclusion_worker, &exclusion), 0);
    uint64_t begin_ns = now_ns();
    for (uint32_t i = 0; i < 3000 && now_ns() < begin_ns + HG_NS_PER_S; i++) {
        uint64_t before = atomic_load(&exclusion.bursts);
        hg_burst_gate_block(&exclusion.gate, HG_BURST_BLOCK_PARKED);
        if (atomic_fetch_add(&exclusion.inside, 1) != 0)
            atomic_fetch_add(&exclusion.violations, 1);
        atomic_fetch_sub(&exclusion.inside, 1);
        hg_burst_gate_unblock(&exclusion.gate, HG_BURST_BLOCK_PARKED);
        for (uint64_t end_ns = now_ns() + DEADLINE_NS;
             now_ns() < end_ns && atomic_load(&exclusion.bursts) == before;)
            sched_yield();
    }
    atomic_store(&exclusion.stop, true);
    pthread_join(worker, NULL);
    CU_ASSERT_EQUAL(atomic_load(&exclusion.violations), 0);
    CU_ASSERT(atomic_load(&exclusion.bursts) > 10);
}

/* A client finds nobody and says so; what it is waiting for is in another process (see the integration
 * tests). */
static void test_memif_waits(void)
{
    struct hg_port_dpdk_stats stats;
    struct hg_packet packet;
    char devargs[256];
    snprintf(devargs, sizeof(devargs), "net_memif9,role=client,socket=%s/nobody,socket-abstract=no", run_dir);
    struct hg_port *client = open_port("lonely", devargs, 1500);
    CU_ASSERT_PTR_NOT_NULL_FATAL(client);
    uint64_t begin_ns = now_ns();
    uint64_t at_ns = begin_ns;
    while (at_ns < begin_ns + 4 * HG_NS_PER_S) { /* virtual time: the port only knows what it is told */
        uint64_t next_ns = hg_port_dpdk_maintain(client, at_ns);
        CU_ASSERT_FALSE(client->link_up);
        CU_ASSERT_FATAL(next_ns > at_ns);
        at_ns = next_ns;
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_port_dpdk_problem(client), "lonely"));
    CU_ASSERT_EQUAL(client->receive(client, &packet, 1), 0);
    CU_ASSERT_EQUAL(client->allocate(client, &packet, 1), 1);
    CU_ASSERT_EQUAL(client->transmit(client, &packet, 1), 0);
    client->release(client, &packet, 1);
    hg_port_dpdk_stats_read(client, &stats);
    CU_ASSERT(stats.start_failures >= 6 && stats.start_failures <= 10); /* 50 ms, doubling to 1 s */
    CU_ASSERT_EQUAL(stats.reconnects, 0);
    hg_port_dpdk_close(client);
}

/* Both ends in one process: connects, carries frames both ways, loses its server, and finds the next one.
 * Within one process memif wants the server opened first, and keeps its listener as long as anybody uses the
 * socket. */
static void test_memif_reconnects(void)
{
    struct hg_port_dpdk_stats stats;
    struct hg_packet packet;
    struct hg_port *client = NULL;
    for (int round = 0; round < 2; round++) {
        struct hg_port *server = open_memif("server", "net_memif1", "server");
        CU_ASSERT_PTR_NOT_NULL_FATAL(server);
        if (client == NULL)
            client = open_memif("client", "net_memif0", "client");
        CU_ASSERT_PTR_NOT_NULL_FATAL(client);
        CU_ASSERT_TRUE_FATAL(wait_link(client, server, true));
        CU_ASSERT_TRUE(exchange(client, server, 0x11, 1514));
        CU_ASSERT_TRUE(exchange(server, client, 0x22, 60));
        hg_port_dpdk_close(server);
        CU_ASSERT_TRUE_FATAL(wait_link(client, NULL, false));
        CU_ASSERT_EQUAL(client->receive(client, &packet, 1), 0);
    }
    hg_port_dpdk_stats_read(client, &stats);
    CU_ASSERT_EQUAL(stats.reconnects, 1);
    hg_port_dpdk_close(client);
}

/* The policy of EAL's interrupt thread; -1: there is none. */
static int interrupt_policy(void)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    int policy = -1;
    CU_ASSERT_FATAL(tasks != NULL);
    while (policy < 0 && (task = readdir(tasks)) != NULL) {
        char path[PATH_MAX], name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        if (fgets(name, sizeof(name), file) != NULL && strncmp(name, "eal-intr", 8) == 0)
            policy = sched_getscheduler((pid_t)strtol(task->d_name, NULL, 10));
        fclose(file);
    }
    closedir(tasks);
    return policy;
}

/* Bursts wait for it, so a worker on the same CPU must not keep it waiting. */
static void test_interrupts_first(void)
{
    const struct sched_param first = {.sched_priority = 1}, own = {0};
    bool allowed = sched_setscheduler(0, SCHED_FIFO, &first) == 0;
    CU_ASSERT(!allowed || sched_setscheduler(0, SCHED_OTHER, &own) == 0);
    struct hg_port *port = open_memif("first", "net_memif6", "server");
    CU_ASSERT_FATAL(port != NULL);
    int wanted = allowed ? SCHED_FIFO : SCHED_OTHER, policy = -1;
    for (uint64_t end_ns = now_ns() + DEADLINE_NS; policy != wanted && now_ns() < end_ns; sched_yield())
        policy = interrupt_policy();
    CU_ASSERT_EQUAL(policy, wanted);
    hg_port_dpdk_close(port);
}

static void test_pool_shared(void)
{
    struct hg_packet packets[8];
    struct hg_port_pool *pool = hg_port_pool_create("shared", 255, 1518, -1, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    struct hg_port_dpdk_options options = {
        .name = "s", .devargs = "net_null1", .numa_node = -1, .pool = pool};
    struct hg_port *a = hg_port_dpdk_open(&options, error, sizeof(error));
    options.devargs = "net_null2";
    struct hg_port *b = hg_port_dpdk_open(&options, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_EQUAL(a->receive(a, packets, 8), 0); /* not before the link is seen */
    CU_ASSERT_TRUE_FATAL(wait_link(a, b, true));
    CU_ASSERT_EQUAL_FATAL(a->receive(a, packets, 8), 8);
    CU_ASSERT_EQUAL(hg_port_pool_free_count(pool), 255 - 8);
    CU_ASSERT_EQUAL(b->transmit(b, packets, 8), 8);
    CU_ASSERT_EQUAL(hg_port_pool_free_count(pool), 255);
    options.devargs = "net_null3";
    options.mtu_bytes = 9000;
    CU_ASSERT_PTR_NULL(hg_port_dpdk_open(&options, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "too small"));
    hg_port_dpdk_close(a);
    hg_port_dpdk_close(b);
    hg_port_pool_destroy(pool);
    CU_ASSERT_PTR_NULL(hg_port_pool_create("huge", 10000000, 9234, -1, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "--mem"));
}

/* A socket of this name; listens, or was left behind by one that did. Returns the descriptor. */
static int socket_make(const char *path, bool listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 1), 0);
    if (!listening)
        close(fd);
    return fd;
}

/* Only what a dead memif server left behind is taken away. */
static void test_socket_clear(void)
{
    static const struct {
        const char *devargs; /* the path goes into it */
        char kind;           /* what is there: 'd'ead, 'l'istening, 'f'ile */
        bool cleared;
    } cases[] = {
        {"net_memif7,role=server,socket=%s,socket-abstract=no,id=1", 'd', true},
        {"net_memif7,role=master,id=1,socket-abstract=no,socket=%s", 'd', true},
        {"net_memif7,role=client,socket=%s,socket-abstract=no,id=1", 'd', false},
        {"net_memif7,socket=%s,socket-abstract=no,id=1", 'd', false},
        {"net_memif7,role=server,socket=%s,id=1", 'd', false}, /* abstract: no file */
        {"net_memif7,role=server,socket=%s,socket-abstract=no,id=1", 'l', false},
        {"net_memif7,role=server,socket=%s,socket-abstract=no,id=1", 'f', false},
        {"net_memif7,role=server,socket=%s-other,socket-abstract=no,id=1", 'd', false},
    };
    char path[96], devargs[256];
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        int fd = -1;
        snprintf(path, sizeof(path), "%s/clear-%u", run_dir, i);
        if (cases[i].kind == 'f')
            fclose(fopen(path, "w"));
        else
            fd = socket_make(path, cases[i].kind == 'l');
        (void)snprintf(devargs, sizeof(devargs), cases[i].devargs, path);
        hg_port_dpdk_socket_clear(devargs);
        CU_ASSERT_EQUAL(access(path, F_OK) != 0, cases[i].cleared);
        if (cases[i].kind == 'l')
            close(fd);
    }
    hg_port_dpdk_socket_clear("net_memif7,role=server,socket-abstract=no"); /* names none */
    memset(devargs, 'x', sizeof(devargs) - 1);
    devargs[sizeof(devargs) - 1] = '\0';
    memcpy(devargs,
           "net_memif7,role=server,socket-abstract=no,socket=", 49); /* longer than any name may be */
    hg_port_dpdk_socket_clear(devargs);
}

/* All queues of a device count as one port. */
static void test_queues(void)
{
    struct hg_packet packets[4];
    struct hg_port_dpdk_stats stats;
    struct hg_port_dpdk_options options = {
        .name = "many", .devargs = "net_null9,size=200", .numa_node = -1, .packets = 511, .queues = 3};
    struct hg_port *port = hg_port_dpdk_open(&options, error, sizeof(error));
    CU_ASSERT_PTR_NOT_NULL_FATAL(port);
    CU_ASSERT_TRUE_FATAL(wait_link(port, NULL, true));
    CU_ASSERT_PTR_EQUAL(hg_port_dpdk_queue(port, 0), port);
    for (uint32_t i = 0; i < 3; i++) {
        struct hg_port *queue = hg_port_dpdk_queue(port, i);
        CU_ASSERT_TRUE(queue->link_up);
        CU_ASSERT_EQUAL(queue->mtu_bytes, 1500);
        CU_ASSERT_EQUAL_FATAL(queue->receive(queue, packets, 4), 4);
        CU_ASSERT_EQUAL(queue->transmit(queue, packets, 4), 4);
        CU_ASSERT_STRING_EQUAL(hg_port_dpdk_name(queue), "many");
    }
    hg_port_dpdk_stats_read(hg_port_dpdk_queue(port, 1), &stats);
    CU_ASSERT_EQUAL(stats.tx_packets, 12);
    CU_ASSERT_EQUAL(stats.rx_packets, 12);
    hg_port_dpdk_close(port);
    options.devargs = "net_ring9";
    options.queues = 60;
    CU_ASSERT_PTR_NULL(hg_port_dpdk_open(&options, error, sizeof(error)));
    CU_ASSERT_PTR_NOT_NULL(strstr(error, "60 workers"));
}

static int set_open(struct hg_port_set *set, const char *device, const char *role, uint32_t queues)
{
    char devargs[256];
    snprintf(devargs, sizeof(devargs),
             "%s,role=%s,id=4,socket=%s/queues.sock,socket-abstract=no,bsize=2048,rsize=6", device, role,
             run_dir);
    struct hg_port_dpdk_options options = {.name = role, .devargs = devargs, .numa_node = -1};
    return hg_port_set_open(set, &options, queues, error, sizeof(error));
}

static bool set_wait(struct hg_port_set *a, struct hg_port_set *b, bool up)
{
    for (uint64_t end_ns = now_ns() + DEADLINE_NS; now_ns() < end_ns; sched_yield()) {
        hg_port_set_maintain(a, now_ns());
        if (b != NULL)
            hg_port_set_maintain(b, now_ns());
        if (hg_port_set_up(a) == up)
            return true;
    }
    return false;
}

/* A frame sent on a queue arrives on the same queue of the other side and on no other, whichever side has
 * more. */
static void test_memif_queues(void)
{
    struct hg_packet none;
    struct hg_port_dpdk_stats stats;
    struct hg_port_set server, client;
    CU_ASSERT_EQUAL_FATAL(set_open(&server, "net_memif6", "server", 3), 0);
    CU_ASSERT_EQUAL_FATAL(set_open(&client, "net_memif7", "client", 2), 0);
    CU_ASSERT_TRUE_FATAL(set_wait(&client, &server, true));
    for (uint32_t i = 0; i < 2; i++) {
        struct hg_port *here = hg_port_set_queue(&client, i), *there = hg_port_set_queue(&server, i);
        struct hg_port *other = hg_port_set_queue(&server, 1 - i), *unused = hg_port_set_queue(&server, 2);
        CU_ASSERT_TRUE(wait_link(there, NULL, true));
        CU_ASSERT_TRUE(exchange(here, there, (uint8_t)(0x40 + i), 600));
        CU_ASSERT_TRUE(exchange(there, here, (uint8_t)(0x50 + i), 1400));
        CU_ASSERT_EQUAL(other->receive(other, &none, 1), 0);
        CU_ASSERT_EQUAL(unused->receive(unused, &none, 1), 0);
    }
    CU_ASSERT_STRING_EQUAL(hg_port_set_problem(&client), "");
    CU_ASSERT_FALSE(hg_port_set_up(&server));
    hg_port_set_stats_read(&client, &stats);
    CU_ASSERT_EQUAL(stats.tx_packets, 2);
    CU_ASSERT_EQUAL(stats.rx_packets, 2);
    hg_port_set_close(&server);
    CU_ASSERT_TRUE(set_wait(&client, NULL, false));
    hg_port_set_close(&client);
    CU_ASSERT_EQUAL_FATAL(set_open(&server, "net_memif6", "server", 1), 0);
    CU_ASSERT_EQUAL_FATAL(set_open(&client, "net_memif7", "client", 2), 0);
    CU_ASSERT_TRUE_FATAL(wait_link(hg_port_set_queue(&client, 0), hg_port_set_queue(&server, 0), true));
    hg_port_set_maintain(&client, now_ns());
    CU_ASSERT_FALSE(hg_port_set_up(&client));
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_port_set_problem(&client), "queue 1"));
    hg_port_set_close(&client);
    hg_port_set_close(&server);
}

int main(void)
{
    if (mkdtemp(run_dir) == NULL || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("port_dpdk", NULL, NULL);
    CU_add_test(suite, "bad EAL options are refused by name", test_eal_refuses);
    CU_add_test(suite, "EAL starts once", test_eal_starts_once);
    CU_add_test(suite, "null device", test_null);
    CU_add_test(suite, "what can't be opened is named and leaves nothing", test_open_refuses);
    CU_add_test(suite, "ring device", test_ring);
    CU_add_test(suite, "parking", test_parked);
    CU_add_test(suite, "bursts and parking exclude each other", test_exclusion);
    CU_add_test(suite, "memif client waits for its server", test_memif_waits);
    CU_add_test(suite, "memif client reconnects", test_memif_reconnects);
    CU_add_test(suite, "queues of a device", test_queues);
    CU_add_test(suite, "memif interfaces as queues", test_memif_queues);
    CU_add_test(suite, "interrupts come before what polls", test_interrupts_first);
    CU_add_test(suite, "shared pool", test_pool_shared);
    CU_add_test(suite, "a socket's name that was left behind", test_socket_clear);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures() + (CU_get_number_of_tests_failed() != 0);
    CU_cleanup_registry();
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", run_dir);
    if (failures == 0 && system(command) != 0)
        fprintf(stderr, "left behind: %s\n", run_dir);
    return failures == 0 ? 0 : 1;
}
