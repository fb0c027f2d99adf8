/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts DPDK's environment layer, once a process. Everything that EAL wants as command-line arguments is
 * built here from a few fields, so that a program of ours never shows EAL options to its user.
 *
 * EAL pins the calling thread to the main lcore's CPU: start threads that must not run there (housekeeping)
 * with an affinity of their own, or before. EAL's interrupt thread runs on the CPUs that no lcore uses, else
 * beside the main lcore.
 */
#ifndef HG_NET_EAL_H
#define HG_NET_EAL_H

#include "drivers/platform/platform.h"

enum hg_eal_pages {
    HG_EAL_PAGES_AUTO,  /* hugepages when enough of them are free, else normal pages */
    HG_EAL_PAGES_NORMAL /* normal pages always: tests, several processes on a laptop */
};

struct hg_eal_options {
    const char *program;     /* shown in EAL's messages */
    const char *lcores;      /* EAL's --lcores, such as "0@1" or "0@2,1@3" */
    uint32_t memory_mb;      /* at least 32; all packet buffers come from it */
    const char *file_prefix; /* unique for each process of the machine; letters, digits, '-' and '_' */
    const char *run_dir;    /* EAL's own files go below it, its messages to <run_dir>/<file_prefix>-eal.log */
    const char *pci_device; /* the one PCI device EAL may touch ("0000:01:00.0"); NULL = none */
    enum hg_eal_pages pages;
    bool telemetry; /* EAL's telemetry socket on or off */
};

/* Returns 0, or a negative errno with a sentence in `error` that names what failed and what to do:
 *   -EINVAL    an option is missing or malformed, or EAL refused the arguments (see the log)
 *   -EALREADY  called twice (EAL can't be started again in one process, not even after a failure)
 *   -ENOENT    run_dir does not exist or the log in it can't be opened
 *   -ENOMEM and others as EAL reports them.
 * Call it from the thread that becomes the main lcore. */
int hg_eal_start(const struct hg_eal_options *options, char *error, size_t error_bytes);

/* Whether the running EAL stands on hugepages. */
bool hg_eal_has_hugepages(void);

/* Bytes of hugepages free on this machine, over all page sizes; 0 where the kernel has none. */
uint64_t hg_eal_hugepage_free_bytes(void);

#endif
