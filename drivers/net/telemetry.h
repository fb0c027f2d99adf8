/* SPDX-License-Identifier: Apache-2.0
 *
 * DPDK telemetry: /heliograph/ports, lanes, streams and drops beside DPDK's own commands. DPDK answers each
 * client on a thread of its own, which reads a published copy of the status page and nothing else. The lock
 * is between housekeeping and those threads; the worker never meets it.
 */
#ifndef HG_NET_TELEMETRY_H
#define HG_NET_TELEMETRY_H

#include "drivers/ipc/control_state.h"

/* Registers the commands; once, before or after hg_eal_start. 0, or DPDK's negative errno. */
int hg_telemetry_register(void);
/* Copies a status page that was just made; housekeeping's thread only. */
void hg_telemetry_publish(const struct hg_control_status *status);
/* Whether EAL's socket below <run_dir>/dpdk/<file_prefix> has a path that a socket may have. */
bool hg_telemetry_path_fits(const char *run_dir, const char *file_prefix);

#endif
