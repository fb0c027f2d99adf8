/* SPDX-License-Identifier: Apache-2.0
 *
 * fio beside us: the same writes to a file of its own.
 */
#ifndef HG_PERF_FIO_H
#define HG_PERF_FIO_H

#include <stddef.h>
#include <stdint.h>

struct hg_perf_fio {
    const char *path;      /* exists, allocated and written once */
    uint64_t file_bytes;   /* goes round in them */
    uint32_t block_bytes;  /* of a write */
    uint32_t depth;        /* operations at a time */
    uint32_t flush_writes; /* an fdatasync after so many */
    double seconds;
};

/* Sequential writes through io_uring and O_DIRECT, registered file and buffers. 0 and what it carried; or
 * -errno and a sentence. Blocks. */
int hg_perf_fio_run(const struct hg_perf_fio *fio, double *bytes_per_s, char *error, size_t error_bytes);

#endif
