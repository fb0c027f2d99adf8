/* SPDX-License-Identifier: Apache-2.0
 *
 * What the threads of a dataplane process share: lcores, which run workers, and housekeeping (everything with
 * a system call: sockets, control ring, ports coming and going, key agreement). Housekeeping meets each
 * worker in its two mailboxes and in the hand-over that starts the logs, and nowhere else.
 *
 * A node has a worker for each of its logs: log i is worker i's. Lcore t runs the workers i with i mod lcores
 * == t, in turns. So the number of lcores may change from start to start, and nothing that is remembered,
 * here or by a peer, changes with it.
 */
#ifndef HG_NODE_H
#define HG_NODE_H

#include "dataplane/link.h"
#include "dataplane/mailbox.h"
#include "drivers/clock/clock.h"

#include <pthread.h>
#include <sched.h>

/* Exit codes of helio-dataplane; docs/operations.md has the page. */
enum hg_exit {
    HG_EXIT_OK = 0,
    HG_EXIT_REFUSED = 1, /* could not start: the message says why */
    HG_EXIT_USAGE = 2,
    HG_EXIT_LOG_FAILED = 3,  /* an I/O error: start again, recovery reads the disk anew */
    HG_EXIT_LOG_CORRUPT = 4, /* a durable write is corrupt: needs an operator */
    HG_EXIT_DISK_FAILED = 5, /* too many I/O errors of late (disk_failures.h): likewise */
};

#define HG_NODE_WORKERS_MAX HG_CONTROL_LOGS_MAX
#define HG_NODE_LCORES_MAX  HG_CONTROL_LOGS_MAX

/* Lcores open the logs (an io_uring belongs to the opening thread), on housekeeping's word. When one of them
 * is refused, none runs; what is open stays open for the next request. */
enum hg_start_state { HG_START_IDLE, HG_START_REQUESTED, HG_START_DONE, HG_START_REFUSED };

struct hg_start {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum hg_start_state state;
    uint64_t requests_count;
    uint32_t lcores_pending; /* that have not yet answered the present request */
    struct hg_config_node node;
    uint32_t log_count;
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    char error[HG_CONTROL_TEXT_BYTES]; /* of the first that was refused */
};

/* One worker as housekeeping knows it. */
struct hg_node_worker {
    struct hg_mailbox *to_worker;
    struct hg_mailbox *to_housekeeping;
    uint64_t log_size_bytes; /* facts of the open log, written before the start is DONE */
    bool log_registered;
};

struct hg_node_lcore {
    int cpu; /* the one it is pinned to; -1 = wherever there is room */
    int core;
    int numa_node; /* both -1 = not known */
    int eventfd;   /* clients and housekeeping wake it */
};

enum hg_idle_strategy { HG_IDLE_ADAPTIVE, HG_IDLE_SPIN };

struct hg_node {
    const char *run_dir;
    uint32_t memory_mb;
    uint64_t boot;
    struct hg_clock *clock;
    enum hg_idle_strategy idle;
    uint32_t lcore_count;
    struct hg_node_lcore lcores[HG_NODE_LCORES_MAX];
    cpu_set_t housekeeping_cpus; /* those that no lcore has, or all */
    /* From the first start request on. */
    uint32_t worker_count;
    struct hg_node_worker workers[HG_NODE_WORKERS_MAX];
    struct hg_next_hops next_hops;
    struct hg_handover *handover;   /* worker_count * worker_count */
    struct hg_peers_census *census; /* worker_count */
    struct hg_start start;
    struct hg_client_listener listener; /* <run>/dataplane.sock; housekeeping's once it runs */
    int housekeeping_eventfd;
    _Atomic bool housekeeping_sleeps;
    _Atomic bool stop;
    /* Why a worker ended, written by the first to fail before `stop`; empty = they were asked to. */
    _Atomic bool failed;
    int end_code; /* enum hg_exit */
    const char *end_name;
    char end_text[HG_CONTROL_TEXT_BYTES];
};

/* The lcore that runs a worker. */
static inline struct hg_node_lcore *hg_node_lcore_of(struct hg_node *node, uint32_t worker)
{
    return &node->lcores[worker % node->lcore_count];
}

/* Memory for so many workers, once; housekeeping, before the first start request. */
void hg_node_workers_make(struct hg_node *node, uint32_t count);

/* Runs housekeeping until node->stop. The thread function of pthread_create. */
void *hg_housekeeping_run(void *node);
/* Opens <run>/dataplane.sock before any thread runs, so that a second dataplane is refused early. Returns 0,
 * or -errno with a sentence. */
int hg_housekeeping_listen(struct hg_node *node, char *error, size_t error_bytes);

/* The node's identity and logs as last applied, so that a restarted dataplane recovers without a control
 * plane. <run>/node.state, written and renamed. */
int hg_node_state_save(const struct hg_node *node, const struct hg_config_node *config,
                       const struct hg_config_log *logs, uint32_t log_count);
/* 0; -ENOENT = never configured; -EBADMSG = damaged or of another version (ignored: the control plane says it
 * again). `logs` has HG_CONTROL_LOGS_MAX places. */
int hg_node_state_load(const struct hg_node *node, struct hg_config_node *config, struct hg_config_log *logs,
                       uint32_t *log_count);

#endif
