/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tap port needs of this machine. DPDK's net_tap makes the interface; when it can't, it says only that
 * it can't, so the question is asked before.
 */
#ifndef HG_WAN_TAP_H
#define HG_WAN_TAP_H

#include "drivers/platform/platform.h"

/* Whether this process can make a tap interface of that name (at most 15 characters). Makes and removes one.
 * Returns 0, or with a sentence that says what is wrong and what to do: -EEXIST an interface is called so,
 * -ENOENT no /dev/net/tun, -EPERM no CAP_NET_ADMIN, or what else the kernel says. */
int hg_wan_tap_check(const char *iface, char *error, size_t error_bytes);

#endif
