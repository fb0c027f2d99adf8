/* SPDX-License-Identifier: Apache-2.0
 *
 * What the dataplane's status page, with the command file beside it, says of the logs of a group: what
 * controlplane/copies.h names them by. Pure.
 */
#ifndef HG_CONTROLPLANE_COPIES_READ_H
#define HG_CONTROLPLANE_COPIES_READ_H

#include "controlplane/copies.h"
#include "drivers/ipc/control_state.h"

/* False: this node does not write all of the group, or has more of it than there is room for. Of the other
 * nodes of the region all that the command file has are told, by the group's `members` or, without any
 * (generation 0), as the file says who is one: a dataplane that has just started shows none of them yet, and
 * who is not told counts no more. */
bool hg_copies_read(const struct hg_control_config *wanted, const struct hg_control_status *status,
                    uint32_t group, const struct hg_members *members, struct hg_copies_seen *seen);

#endif
