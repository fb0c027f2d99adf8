/* SPDX-License-Identifier: Apache-2.0
 *
 * What the benchmarks are fed: frames over one block of memory. The same bytes every time: generated ones
 * come from a fixed seed.
 */
#ifndef HG_PERF_DATA_H
#define HG_PERF_DATA_H

#include "dataplane/wal/format.h"

#define HG_PERF_DATA_NAMES "pgbench", "half", "random"

struct hg_perf_frame {
    uint64_t offset;
    uint32_t bytes;
};

struct hg_perf_data {
    const char *name;
    uint16_t kind; /* enum hg_stream_kind */
    uint8_t *bytes;
    uint64_t bytes_count;
    struct hg_perf_frame *frames;
    uint64_t frame_count;
};

/* Loads or makes one of HG_PERF_DATA_NAMES:
 *   pgbench  the file that perf/wal makes (`wal` = its path, NULL = in the cache), cut as a walsender cuts a
 *            backlog: 128 KiB, ending on 8 KiB
 *   half     200-byte frames that LZ4 halves
 *   random   8 KiB frames that do not compress
 * At most bytes_max of it; of a longer file every so manieth frame, so that all parts of it are there.
 * Returns 0, or -errno with a sentence. */
int hg_perf_data_load(struct hg_perf_data *data, const char *name, const char *wal, uint64_t bytes_max,
                      char *error, size_t error_bytes);
/* The same frames as a batch holds them before it is compressed, with their headers; a "frame" of `framed` is
 * a whole batch. The caller frees it. */
void hg_perf_data_framed(const struct hg_perf_data *data, struct hg_perf_data *framed);
void hg_perf_data_free(struct hg_perf_data *data);

/* CPU time of this thread: what a single thread costs does not depend on what else runs. */
uint64_t hg_perf_cpu_ns(void);

/* Raw bytes of LZ4 alone over the frames in a second of CPU time, in blocks of as many frames as make a
 * batch. Runs for about `seconds` on this thread. *ratio = raw bytes for one compressed byte. */
double hg_perf_lz4_bytes_per_s(const struct hg_perf_data *data, double seconds, double *ratio);

#endif
