/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-dataplane: starts DPDK, the housekeeping thread and the lcores that run workers; this thread is one
 * of them. Everything else comes from the control plane.
 */
#include "dataplane/cores.h"
#include "dataplane/disk_failures.h"
#include "dataplane/lcore.h"
#include "dataplane/security/esp.h"
#include "drivers/net/eal.h"
#include "drivers/net/telemetry.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_launch.h>
#include <rte_lcore.h>

#define MEMORY_MB_DEFAULT 128u
#define RUN_DIR_BYTES_MAX 80u /* helio-controlplane's limit too */

static struct hg_node node;

static const char usage[] =
    "helio-dataplane --run DIR [--lcores LIST|auto[:DEVICE][/N]] [--mem MB] [--idle adaptive|spin]\n"
    "\n"
    "Persists, seals and ships WAL. Everything but where it runs comes from helio-controlplane.\n"
    "\n"
    "  --run DIR      sockets and state; one directory a node, made by you\n"
    "  --lcores LIST  CPUs that run the workers of its logs: 2,3,4; log i is on the (i mod n)th of them\n"
    "  --lcores auto[:DEVICE][/N]\n"
    "                 N of them (default 1), one a core, near a PCI device or an interface, not CPU 0's;\n"
    "                 with less than four CPUs, wherever there is room\n"
    "  --mem MB       packet buffers (default 128; the log's and the peers' memory come on top)\n"
    "  --idle spin    an lcore never sleeps: for cores that nothing else runs on (default adaptive)\n"
    "  --help\n"
    "\n"
    "Example:\n"
    "  helio-log create /var/lib/heliograph/log0 --size 4g\n"
    "  helio-dataplane --run /run/heliograph &\n"
    "  helio-controlplane --run /run/heliograph --config configs/one-node.conf\n"
    "\n"
    "Exit: 0 stopped, 1 refused to start, 2 usage, 3 the log's device failed (start again), 4 the log is "
    "corrupt\nor not this node's: starting again won't help, 5 the device failed three times within ten "
    "minutes:\n"
    "it stays down until DIR/disk.failures is removed.\n";

static void on_signal(int number)
{
    (void)number;
    node.stop = true;
}

/* ---- start ---- */

static cpu_set_t allowed;

static int eal_start(const char *wanted, char *error, size_t error_bytes)
{
    char lcores[1024], prefix[64];
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        snprintf(error, error_bytes, "the CPUs of this process can't be read: %s", strerror(errno));
        return -errno;
    }
    int count = hg_cores_choose(wanted, &allowed, node.lcores, error, error_bytes);
    if (count < 0)
        return count;
    node.lcore_count = (uint32_t)count;
    hg_cores_others(&allowed, node.lcores, node.lcore_count, &node.housekeeping_cpus);
    if (!hg_cores_eal_text(&allowed, node.lcores, node.lcore_count, lcores, sizeof(lcores))) {
        snprintf(error, error_bytes, "--lcores %.100s: too many CPUs to choose from: name them", wanted);
        return -E2BIG;
    }
    for (uint32_t i = 0; i < node.lcore_count; i++) {
        node.lcores[i].eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (node.lcores[i].eventfd < 0) {
            snprintf(error, error_bytes, "no descriptors left: raise the limit (ulimit -n)");
            return -errno;
        }
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
    pthread_mutex_init(&node.start.mutex, NULL);
    pthread_cond_init(&node.start.changed, NULL);
    node.housekeeping_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (node.housekeeping_eventfd < 0) {
        snprintf(error, error_bytes, "no descriptors left: raise the limit (ulimit -n)");
        return -errno;
    }
    return hg_housekeeping_listen(&node, error, error_bytes);
}

static int arguments(int argc, char **argv, const char **lcores)
{
    static const struct option options[] = {
        {"run", required_argument, NULL, 'r'}, {"lcores", required_argument, NULL, 'l'},
        {"mem", required_argument, NULL, 'm'}, {"idle", required_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0}};
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
        } else if (c == 'i') {
            if (strcmp(optarg, "spin") != 0 && strcmp(optarg, "adaptive") != 0) {
                fprintf(stderr, "helio-dataplane: --idle %s: give spin or adaptive\n", optarg);
                return HG_EXIT_USAGE;
            }
            node.idle = strcmp(optarg, "spin") == 0 ? HG_IDLE_SPIN : HG_IDLE_ADAPTIVE;
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

static int lcore_main(void *index)
{
    int code = hg_lcore_run(&node, (uint32_t)(uintptr_t)index);
    node.stop = true; /* one worker's end is the process's */
    pthread_cond_broadcast(&node.start.changed);
    return code;
}

/* Housekeeping's threads run where no lcore is, and so do the helpers that the kernel starts for its disks.
 */
static int housekeeping_start(pthread_t *thread)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setaffinity_np(&attributes, sizeof(node.housekeeping_cpus), &node.housekeeping_cpus);
    int rc = pthread_create(thread, &attributes, hg_housekeeping_run, &node);
    pthread_attr_destroy(&attributes);
    return rc;
}

/* Lcore 0 is this thread. Returns the code of the first that did not end well. */
static int lcores_run(void)
{
    unsigned int id, index = 0;
    RTE_LCORE_FOREACH_WORKER(id)
    {
        index++;
        if (rte_eal_remote_launch(lcore_main, (void *)(uintptr_t)index, id) != 0)
            hg_assert(!"an lcore that EAL just made is busy");
    }
    hg_assert(index + 1 == node.lcore_count);
    int code = lcore_main(NULL);
    RTE_LCORE_FOREACH_WORKER(id)
    {
        int other = rte_eal_wait_lcore(id);
        code = code != HG_EXIT_OK ? code : other;
    }
    return code;
}

int main(int argc, char **argv)
{
    const char *lcores = "auto";
    char error[512];
    pthread_t housekeeping;
    if (arguments(argc, argv, &lcores) != HG_EXIT_OK) {
        fprintf(stderr, "\n%s", usage);
        return HG_EXIT_USAGE;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!hg_disk_failures_allow(node.run_dir, error, sizeof(error))) {
        fprintf(stderr, "helio-dataplane: disk_failed: %s\n", error);
        return HG_EXIT_DISK_FAILED;
    }
    if (arguments_check(error, sizeof(error)) != 0 || node_make(error, sizeof(error)) != 0 ||
        hg_esp_start(error, sizeof(error)) != 0 || eal_start(lcores, error, sizeof(error)) != 0) {
        fprintf(stderr, "helio-dataplane: %s\n", error);
        return HG_EXIT_REFUSED;
    }
    if (housekeeping_start(&housekeeping) != 0) {
        fprintf(stderr, "helio-dataplane: no thread for housekeeping: raise the limit of processes\n");
        return HG_EXIT_REFUSED;
    }
    int code = lcores_run();
    eventfd_write(node.housekeeping_eventfd, 1);
    pthread_join(housekeeping, NULL);
    return node.failed ? node.end_code : code;
}
