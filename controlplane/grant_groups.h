/* SPDX-License-Identifier: Apache-2.0
 *
 * Of which groups this node asks for write grants: the command file says who is to write a stream, and after
 * a fail-over the dataplane's status page says who does. Pure.
 */
#ifndef HG_CONTROLPLANE_GRANT_GROUPS_H
#define HG_CONTROLPLANE_GRANT_GROUPS_H

#include "drivers/ipc/control_state.h"

/* By bits: groups of streams that originate here by the command file. For these alone a record may be made.
 */
uint64_t hg_grant_groups_configured(const struct hg_control_config *config);
/* These, and those that the status page says this node writes. Neither is any proof: the metastore's record
 * decides whether there is a grant, and under which epoch. */
uint64_t hg_grant_groups(const struct hg_control_config *config, const struct hg_control_status *status);
/* A log of the group has been sealed here, so the metastore had a record of it: where there is none now it
 * was lost, and none may be made. */
bool hg_grant_group_was_sealed(const struct hg_control_status *status, uint32_t group);
/* Whether a grant of this node may make the group's first record. */
bool hg_grant_may_make(const struct hg_control_config *config, const struct hg_control_status *status,
                       uint32_t group);

#endif
