/* SPDX-License-Identifier: Apache-2.0
 *
 * How often of late the dataplane ended for an error of a log's device, in <run>/disk.failures. Starting
 * again is right once or twice: recovery reads the device anew. A device that errs again and again is not
 * made better by a supervisor that starts the dataplane for ever, and each start writes to it: so after
 * HG_DISK_FAILURES_MAX ends within HG_DISK_FAILURES_NS it stays down until somebody has looked, and removed
 * the file.
 *
 * One process at a time; any thread.
 */
#ifndef HG_DISK_FAILURES_H
#define HG_DISK_FAILURES_H

#include "drivers/platform/platform.h"

#define HG_DISK_FAILURES_MAX 3u
#define HG_DISK_FAILURES_NS  (10 * 60 * HG_NS_PER_S)

/* The dataplane ends for it, at `realtime_ns`; `text` says what happened. Returns how many ends there were
 * within the time, this one too; or -errno when it can't be put down, and the next start knows nothing of it.
 */
int hg_disk_failures_add(const char *run_dir, uint64_t realtime_ns, const char *text);

/* Before anything of a log is touched. False: it stays down, and `why` is a sentence that says what to do. A
 * file that is not there, or damaged, says nothing. */
bool hg_disk_failures_allow(const char *run_dir, char *why, size_t why_bytes);

#endif
