/* SPDX-License-Identifier: Apache-2.0
 *
 * The status page as JSON, a function a view. Numbers carry their unit in their name; states are words. Pure.
 */
#ifndef HG_CONTROLPLANE_REPORT_H
#define HG_CONTROLPLANE_REPORT_H

#include "drivers/ipc/control_state.h"

#include <jansson.h>

json_t *hg_report_ports(const struct hg_control_config *config, const struct hg_control_status *status);
json_t *hg_report_peers(const struct hg_control_config *config, const struct hg_control_status *status);
json_t *hg_report_streams(const struct hg_control_config *config, const struct hg_control_status *status);
/* One entry for each worker here and worker of a peer that have to do with each other. */
json_t *hg_report_lanes(const struct hg_control_status *status);
/* One entry for each worker: where it runs and what is its own. */
json_t *hg_report_placement(const struct hg_control_status *status);
/* One entry for each stream and peer. */
json_t *hg_report_lag(const struct hg_control_status *status);
json_t *hg_report_log(const struct hg_control_status *status);
json_t *hg_report_clients(const struct hg_control_status *status);
json_t *hg_report_retention(const struct hg_control_status *status); /* report_retain.c */
json_t *hg_report_sessions(const struct hg_control_status *status);
json_t *hg_report_consumers(const struct hg_control_status *status);
json_t *hg_report_drops(const struct hg_control_status *status);

/* Of all groups (-1) or one: what each log promised, and each stream's tail as a seal answers it. */
json_t *hg_report_groups(const struct hg_control_status *status, int32_t group);
json_t *hg_report_tails(const struct hg_control_status *status, int32_t group);

/* Who keeps the copies of a group of our region: as the metastore last said, else as the command file has it
 * (generation 0): this node and the peers of the region that are no learners. */
struct hg_members hg_config_members(const struct hg_control_config *config, uint32_t group);
/* Whether that log of the node counts for the group, as far as the metastore was read. */
bool hg_config_copy_counts(const struct hg_control_config *config, uint32_t group, uint64_t node,
                           uint64_t log);
struct hg_members hg_config_members_by_file(const struct hg_control_config *config);

#endif
