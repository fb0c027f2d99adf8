/* SPDX-License-Identifier: Apache-2.0
 *
 * Which CPUs the lcores of a node are pinned to, by hwloc. Start only, one thread.
 */
#ifndef HG_CORES_H
#define HG_CORES_H

#include "dataplane/node.h"

/* Fills `lcores` from what the operator wrote:
 *   1,2,3                 these CPUs
 *   auto[:DEVICE][/N]     N lcores (1 unless told) near DEVICE, a PCI address or an interface: one CPU a
 * core, the highest first, never CPU 0's core, on the device's NUMA node as far as it goes; where this
 * process may use less than four CPUs they are not pinned (cpu = -1) Only CPUs in `allowed` are taken.
 * Returns how many; -EINVAL with a sentence. `lcores` has HG_NODE_LCORES_MAX places; their eventfds are not
 * touched. */
int hg_cores_choose(const char *wanted, const cpu_set_t *allowed, struct hg_node_lcore *lcores, char *error,
                    size_t error_bytes);

/* The CPUs of `allowed` that no lcore has; all of it when nothing is left. */
void hg_cores_others(const cpu_set_t *allowed, const struct hg_node_lcore *lcores, uint32_t lcore_count,
                     cpu_set_t *others);

/* EAL's --lcores: "0@5,1@4", or "0@(0,1)" for those that are not pinned. False: too long. */
bool hg_cores_eal_text(const cpu_set_t *allowed, const struct hg_node_lcore *lcores, uint32_t lcore_count,
                       char *text, size_t text_bytes);

#endif
