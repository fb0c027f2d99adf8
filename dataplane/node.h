/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two threads of a dataplane process share: the worker (main thread, an lcore) and housekeeping
 * (everything with a system call: sockets, control ring, ports coming and going, key agreement). They meet in
 * the two mailboxes and in the hand-over that starts the log, and nowhere else.
 */
#ifndef HG_NODE_H
#define HG_NODE_H

#include "dataplane/mailbox.h"
#include "drivers/clock/clock.h"

#include <pthread.h>

/* Exit codes of helio-dataplane; docs/operations.md has the page. */
enum hg_exit {
    HG_EXIT_OK = 0,
    HG_EXIT_REFUSED = 1, /* could not start: the message says why */
    HG_EXIT_USAGE = 2,
    HG_EXIT_LOG_FAILED = 3,  /* an I/O error: start again, recovery reads the disk anew */
    HG_EXIT_LOG_CORRUPT = 4, /* a durable write is corrupt: needs an operator */
};

/* The log's thread opens it (its io_uring belongs to the opening thread), on housekeeping's word. */
enum hg_start_state { HG_START_IDLE, HG_START_REQUESTED, HG_START_DONE, HG_START_REFUSED };

struct hg_start {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum hg_start_state state;
    bool stop; /* the process is asked to end */
    struct hg_config_node node;
    struct hg_config_log log;
    char error[HG_CONTROL_TEXT_BYTES];
    uint64_t log_size_bytes; /* facts of the open log */
    bool log_registered;
};

struct hg_node {
    const char *run_dir;
    uint32_t memory_mb;
    uint64_t boot;
    struct hg_clock *clock;
    struct hg_mailbox *to_worker;
    struct hg_mailbox *to_housekeeping;
    struct hg_start start;
    struct hg_client_listener listener; /* <run>/dataplane.sock; housekeeping's once it runs */
    int worker_eventfd;                 /* clients and housekeeping wake a sleeping worker */
    int housekeeping_eventfd;
    _Atomic bool housekeeping_sleeps;
    _Atomic bool stop;
    /* Why the worker ended, written before `stop`; empty = it was asked to. */
    const char *end_name;
    char end_text[HG_CONTROL_TEXT_BYTES];
};

/* Runs housekeeping until node->stop. The thread function of pthread_create. */
void *hg_housekeeping_run(void *node);
/* Opens <run>/dataplane.sock before any thread runs, so that a second dataplane is refused early. Returns 0,
 * or -errno with a sentence. */
int hg_housekeeping_listen(struct hg_node *node, char *error, size_t error_bytes);

/* The node's identity and logs as last applied, so that a restarted dataplane recovers without a control
 * plane. <run>/node.state, written and renamed. */
int hg_node_state_save(const struct hg_node *node, const struct hg_config_node *config,
                       const struct hg_config_log *log);
/* 0; -ENOENT = never configured; -EBADMSG = damaged (ignored: the control plane says it again). */
int hg_node_state_load(const struct hg_node *node, struct hg_config_node *config, struct hg_config_log *log);

#endif
