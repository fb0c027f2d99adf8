/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes of a benchmark, a sender and a receiver, in two processes that write what they have done into
 * shared memory. The parent makes their logs, starts them, looks and stops them.
 */
#ifndef HG_PERF_PAIR_H
#define HG_PERF_PAIR_H

#include "perf/light.h"
#include "perf/perf.h"

#include <limits.h>
#include <stdatomic.h>
#include <sys/types.h>

#define HG_PERF_PAIR_LOOK_NS                                                                                 \
    (2 * HG_NS_PER_MS) /* how often the parent looks; the children write more often */

/* Written by one process each, read by the parent. */
struct hg_perf_side {
    _Atomic uint64_t lsn_durable HG_CACHE_ALIGNED;
    _Atomic uint64_t raw_bytes; /* given to the log */
    _Atomic uint64_t stored_bytes;
    _Atomic uint64_t batches;
    _Atomic uint64_t writes;
    _Atomic uint64_t flushes;
    _Atomic uint64_t packets_sent;
    _Atomic uint64_t packets_lost;
    _Atomic uint64_t packets_spurious;
    _Atomic uint64_t resent_bytes;
    _Atomic uint64_t credit_stalls;
    _Atomic uint64_t srtt_ns;
    _Atomic uint64_t cpu_us;
    _Atomic uint64_t pass_lsns; /* sender: what one pass of its ring covers */
    _Atomic uint64_t pass_bytes;
    _Atomic bool ready;
    _Atomic bool failed;
};

struct hg_perf_shared {
    struct hg_perf_side sides[2];
    struct hg_perf_light_samples light;
    _Atomic bool stop;
};

struct hg_perf_pair {
    const struct hg_perf_options *options;
    const struct hg_perf_data *data;
    struct hg_perf_shared *shared;
    char directory[PATH_MAX - 64];
    char log_paths[2][PATH_MAX];
    char devargs[2][PATH_MAX]; /* the caller writes them between make and start */
    uint8_t stations[2]; /* last bytes of their MAC addresses: 'a' and 'b' unless the caller says else */
    int cpus[2];
    uint64_t rate_bytes_per_s;  /* of either; 0: that of the options */
    uint64_t receive_bytes_max; /* credit that either gives; 0: the default */
    uint32_t congestion;        /* enum hg_config_congestion */
    uint32_t fec;               /* enum hg_config_fec */
    uint64_t unsent_bytes_max;  /* that the sender appends before they are sent; 0: what its log holds */
    uint64_t light_ns;          /* a frame every so often; 0: as fast as it goes */
    bool receiver_first;        /* it is a memif server */
    pid_t children[2];
};

/* Makes a directory and two logs. 0, or -errno after a sentence on standard error. */
int hg_perf_pair_make(struct hg_perf_pair *pair, const struct hg_perf_options *options,
                      const struct hg_perf_data *data);
/* Starts both children; the sender sends the data over and over until it is stopped. */
int hg_perf_pair_start(struct hg_perf_pair *pair);
void hg_perf_pair_stop(struct hg_perf_pair *pair);
/* Removes the directory and the logs. */
void hg_perf_pair_free(struct hg_perf_pair *pair);

/* Waits until `condition` (NULL: nothing ends it) is true of the children. False at the deadline, or when one
 * of them failed. */
bool hg_perf_pair_wait(const struct hg_perf_pair *pair,
                       bool (*condition)(const struct hg_perf_shared *shared), uint64_t ns);
/* Waits until batches arrive. 0, or -ETIMEDOUT after a sentence. */
int hg_perf_pair_wait_flowing(const struct hg_perf_pair *pair);
/* Waits so long. False when one of the children failed. */
bool hg_perf_pair_pass(const struct hg_perf_pair *pair, uint64_t ns);
/* User's bytes that so many LSNs of the stream are. */
double hg_perf_pair_bytes(const struct hg_perf_pair *pair, uint64_t lsns);

/* The directory and what is in it, as rm -rf does. */
void hg_perf_directory_remove(const char *directory);

#endif
