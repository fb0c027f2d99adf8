/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-dataplane: starts DPDK, the housekeeping thread, and runs the worker on this thread. Everything else
 * comes from the control plane.
 */
#include "dataplane/idle.h"
#include "dataplane/node.h"
#include "dataplane/worker.h"
#include "drivers/disk/disk.h"
#include "drivers/net/eal.h"
#include "drivers/net/telemetry.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define DISK_DEPTH        128u
#define MEMORY_MB_DEFAULT 128u
#define RUN_DIR_BYTES_MAX 80u /* helio-controlplane's limit too */

static struct hg_node node;

static const char usage[] =
    "helio-dataplane --run DIR [--lcores CPU|auto] [--mem MB]\n"
    "\n"
    "Persists, seals and ships WAL. Everything but where it runs comes from helio-controlplane.\n"
    "\n"
    "  --run DIR      sockets and state; one directory a node, made by you\n"
    "  --lcores CPU   the worker's CPU; auto (default) = the last one, or wherever there is room with less "
    "than four\n"
    "  --mem MB       packet buffers (default 128; the log's and the peers' memory come on top)\n"
    "  --help\n"
    "\n"
    "Example:\n"
    "  helio-log create /var/lib/heliograph/log0 --size 4g\n"
    "  helio-dataplane --run /run/heliograph &\n"
    "  helio-controlplane --run /run/heliograph --config configs/one-node.conf\n"
    "\n"
    "Exit: 0 stopped, 1 refused to start, 2 usage, 3 the log's device failed (start again), 4 the log is "
    "corrupt\nor not this node's: starting again won't help.\n";

static void doorbell(void *ctx, int fd)
{
    (void)ctx;
    eventfd_write(fd, 1);
}

static void on_signal(int number)
{
    (void)number;
    node.stop = true;
}

/* ---- start ---- */

/* "0@(a,b)": one lcore that may float over these CPUs, or sit on one. */
static int lcores_choose(const char *wanted, char *lcores, size_t lcores_bytes)
{
    cpu_set_t set;
    int last = -1;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return -errno;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            last = cpu;
    if (strcmp(wanted, "auto") != 0) {
        char *end;
        errno = 0;
        unsigned long cpu = strtoul(wanted, &end, 10);
        if (errno != 0 || end == wanted || *end != '\0' || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &set))
            return -EINVAL;
        snprintf(lcores, lcores_bytes, "0@%lu", cpu);
        return 0;
    }
    if (CPU_COUNT(&set) >= 4) {
        snprintf(lcores, lcores_bytes, "0@%d", last);
        return 0;
    }
    size_t used = (size_t)snprintf(lcores, lcores_bytes, "0@(");
    for (int cpu = 0; cpu <= last; cpu++)
        if (CPU_ISSET(cpu, &set))
            used +=
                (size_t)snprintf(lcores + used, lcores_bytes - used, "%d%s", cpu, cpu == last ? ")" : ",");
    return 0;
}

static int eal_start(const char *wanted, char *error, size_t error_bytes)
{
    char lcores[256], prefix[64];
    if (lcores_choose(wanted, lcores, sizeof(lcores)) != 0) {
        snprintf(error, error_bytes, "--lcores %s: give one CPU that this process may run on, or auto",
                 wanted);
        return -EINVAL;
    }
    snprintf(prefix, sizeof(prefix), "helio-dataplane-%d", (int)getpid());
    struct hg_eal_options options = {
        .program = "helio-dataplane",
        .lcores = lcores,
        .memory_mb = node.memory_mb,
        .file_prefix = prefix,
        .run_dir = node.run_dir,
        .pages = HG_EAL_PAGES_AUTO,
        .telemetry = hg_telemetry_path_fits(node.run_dir, prefix),
    };
    if (!options.telemetry)
        fprintf(stderr, "helio-dataplane: no telemetry: %s is too long for DPDK's socket below it\n",
                node.run_dir);
    else if (hg_telemetry_register() != 0)
        fprintf(stderr, "helio-dataplane: DPDK refused the telemetry commands of Heliograph\n");
    return hg_eal_start(&options, error, error_bytes);
}

static struct hg_worker *log_open(struct hg_start *start, struct hg_disk **disk)
{
    uint64_t arena_bytes = start->log.arena_bytes != 0 ? start->log.arena_bytes : HG_WORKER_LOG_ARENA_BYTES;
    uint64_t arena_bytes_min = hg_log_arena_bytes_min(HG_LOG_WRITE_PAYLOAD_BYTES_MAX);
    arena_bytes = hg_align_up(hg_max_u64(arena_bytes, arena_bytes_min), 2u << 20);
    void *arena =
        mmap(NULL, arena_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (arena == MAP_FAILED) {
        snprintf(start->error, sizeof(start->error),
                 "log %u: no %llu MB of memory for its writes: lower `memory`", start->log.id,
                 (unsigned long long)(arena_bytes >> 20));
        return NULL;
    }
    /* A fork must not copy pages that the device reads. */
    (void)madvise(arena, arena_bytes, MADV_DONTFORK);
    *disk = hg_disk_uring_open(start->log.path, arena, arena_bytes, DISK_DEPTH, &start->log_registered,
                               start->error, sizeof(start->error));
    if (*disk == NULL) {
        munmap(arena, arena_bytes);
        return NULL;
    }
    start->log_size_bytes = (*disk)->size_bytes;
    struct hg_worker_config config = {
        .clock = node.clock,
        .disk = *disk,
        .log_arena = arena,
        .log_arena_bytes = arena_bytes,
        .cluster = start->node.cluster,
        .region = start->node.region,
        .streams_max = HG_WORKER_STREAMS_MAX,
        .peers_max = HG_PEERS_MAX,
        .packets_in_flight_max = HG_PEER_PACKETS_IN_FLIGHT_MAX,
        .inbox = node.to_worker,
        .outbox = node.to_housekeeping,
        .doorbell = doorbell,
    };
    struct hg_worker *worker = hg_worker_init(&config);
    hg_assert(worker != NULL); /* the arena has its minimum */
    return worker;
}

/* Waits until housekeeping knows which log is ours, and opens it. NULL = asked to stop. */
static struct hg_worker *wait_for_log(struct hg_disk **disk)
{
    struct hg_start *start = &node.start;
    struct hg_worker *worker = NULL;
    pthread_mutex_lock(&start->mutex);
    while (worker == NULL && !node.stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        if (start->state != HG_START_REQUESTED) {
            pthread_cond_timedwait(&start->changed, &start->mutex, &until);
            continue;
        }
        /* Opening takes its time: housekeeping, which asks for the state, must not wait for it. */
        struct hg_start own = {.node = start->node, .log = start->log};
        pthread_mutex_unlock(&start->mutex);
        worker = log_open(&own, disk);
        pthread_mutex_lock(&start->mutex);
        memcpy(start->error, own.error, sizeof(start->error));
        start->log_size_bytes = own.log_size_bytes;
        start->log_registered = own.log_registered;
        start->state = worker != NULL ? HG_START_DONE : HG_START_REFUSED;
        eventfd_write(node.housekeeping_eventfd, 1);
    }
    pthread_mutex_unlock(&start->mutex);
    return worker;
}

/* ---- run ---- */

static int run(struct hg_worker *worker, struct hg_disk *disk)
{
    uint64_t active_ns = node.clock->now_ns(node.clock);
    while (!node.stop && worker->state != HG_WORKER_FAILED) {
        uint64_t deadline_ns;
        bool did = hg_worker_turn(worker, &deadline_ns);
        if (node.housekeeping_sleeps && !hg_mailbox_empty(node.to_housekeeping)) {
            node.housekeeping_sleeps = false; /* one ring is enough */
            eventfd_write(node.housekeeping_eventfd, 1);
        }
        if (did)
            active_ns = worker->now_ns;
        else
            hg_idle_wait(worker, node.worker_eventfd, hg_disk_uring_fd(disk), deadline_ns, active_ns);
    }
    if (worker->state != HG_WORKER_FAILED)
        return HG_EXIT_OK;
    bool corrupt = hg_log_is_corrupt(worker->log) || hg_log_is_unusable(worker->log) ||
                   hg_streams_recovery_broken(worker->streams);
    fprintf(stderr, "helio-dataplane: %s: %s\n", node.start.log.path, hg_log_message(worker->log));
    node.end_name = hg_log_is_unusable(worker->log) ? "log_unusable" : corrupt ? "log_corrupt" : "log_device";
    snprintf(node.end_text, sizeof(node.end_text), "%.*s", (int)sizeof(node.end_text) - 1,
             hg_log_message(worker->log));
    return corrupt ? HG_EXIT_LOG_CORRUPT : HG_EXIT_LOG_FAILED;
}

/* Before anything is made in the directory, or memory taken that isn't there. */
static int arguments_check(char *error, size_t error_bytes)
{
    uint64_t memory_mb = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
    if (strlen(node.run_dir) > RUN_DIR_BYTES_MAX) {
        snprintf(error, error_bytes, "--run %.100s...: longer than %u bytes, too long for a socket's path",
                 node.run_dir, RUN_DIR_BYTES_MAX);
        return -ENAMETOOLONG;
    }
    if (node.memory_mb > memory_mb) {
        snprintf(error, error_bytes, "--mem %u: this machine has %llu MB: give less", node.memory_mb,
                 (unsigned long long)memory_mb);
        return -ENOMEM;
    }
    return 0;
}

static int node_make(char *error, size_t error_bytes)
{
    node.clock = hg_clock_tsc();
    node.boot = node.clock->random_u64(node.clock) | 1;
    node.to_worker = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*node.to_worker));
    node.to_housekeeping = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*node.to_housekeeping));
    hg_assert(node.to_worker != NULL && node.to_housekeeping != NULL);
    memset(node.to_worker, 0, sizeof(*node.to_worker));
    memset(node.to_housekeeping, 0, sizeof(*node.to_housekeeping));
    pthread_mutex_init(&node.start.mutex, NULL);
    pthread_cond_init(&node.start.changed, NULL);
    node.worker_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    node.housekeeping_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (node.worker_eventfd < 0 || node.housekeeping_eventfd < 0) {
        snprintf(error, error_bytes, "no descriptors left: raise the limit (ulimit -n)");
        return -errno;
    }
    return hg_housekeeping_listen(&node, error, error_bytes);
}

static int arguments(int argc, char **argv, const char **lcores)
{
    static const struct option options[] = {{"run", required_argument, NULL, 'r'},
                                            {"lcores", required_argument, NULL, 'l'},
                                            {"mem", required_argument, NULL, 'm'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int c;
    char *end;
    node.memory_mb = MEMORY_MB_DEFAULT;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 'h') {
            fputs(usage, stdout);
            exit(HG_EXIT_OK);
        } else if (c == 'r') {
            node.run_dir = optarg;
        } else if (c == 'l') {
            *lcores = optarg;
        } else if (c == 'm') {
            unsigned long mb = strtoul(optarg, &end, 10);
            if (end == optarg || *end != '\0' || mb < 32 || mb > 1u << 20) {
                fprintf(stderr, "helio-dataplane: --mem %s: give megabytes, from 32 to 1048576\n", optarg);
                return HG_EXIT_USAGE;
            }
            node.memory_mb = (uint32_t)mb;
        } else {
            return HG_EXIT_USAGE;
        }
    }
    if (optind != argc)
        fprintf(stderr, "helio-dataplane: I don't know what '%s' is for\n", argv[optind]);
    else if (node.run_dir == NULL || node.run_dir[0] == '\0')
        fprintf(stderr, "helio-dataplane: --run DIR is missing\n");
    else
        return HG_EXIT_OK;
    return HG_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const char *lcores = "auto";
    char error[512];
    pthread_t housekeeping;
    struct hg_disk *disk = NULL;
    if (arguments(argc, argv, &lcores) != HG_EXIT_OK) {
        fprintf(stderr, "\n%s", usage);
        return HG_EXIT_USAGE;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* Housekeeping first: EAL pins the thread that starts it, and children inherit that. */
    if (arguments_check(error, sizeof(error)) != 0 || node_make(error, sizeof(error)) != 0 ||
        hg_esp_start(error, sizeof(error)) != 0 || eal_start(lcores, error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-dataplane: %s\n", error);
        return HG_EXIT_REFUSED;
    }
    cpu_set_t all;
    memset(&all, 0xff, sizeof(all));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof(all), &all);
    if (pthread_create(&housekeeping, &attributes, hg_housekeeping_run, &node) != 0) {
        fprintf(stderr, "helio-dataplane: no thread for housekeeping: raise the limit of processes\n");
        return HG_EXIT_REFUSED;
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct hg_worker *worker = wait_for_log(&disk);
    int code = worker != NULL ? run(worker, disk) : HG_EXIT_OK;
    node.stop = true;
    eventfd_write(node.housekeeping_eventfd, 1);
    pthread_join(housekeeping, NULL);
    return code;
}
