/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TUN_DEVICE "/dev/net/tun"

int hg_wan_tap_check(const char *iface, char *error, size_t error_bytes)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE};
    if (if_nametoindex(iface) != 0) {
        snprintf(
            error, error_bytes,
            "there is a network interface %s already: choose another name, or end the process it belongs to",
            iface);
        return -EEXIST;
    }
    int fd = open(TUN_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        int rc = -errno;
        snprintf(error, error_bytes,
                 "a tap port needs " TUN_DEVICE
                 ": %s; load it (modprobe tun), or give the container that device",
                 strerror(errno));
        return rc;
    }
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", iface);
    int rc = ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : -errno;
    close(fd);
    if (rc == -EPERM)
        snprintf(error, error_bytes,
                 "a tap port needs the right to make network interfaces (CAP_NET_ADMIN): run helio-wan as "
                 "root, or "
                 "use memif ports");
    else if (rc != 0)
        snprintf(error, error_bytes, "the kernel makes no tap interface %s: %s", iface, strerror(-rc));
    return rc;
}
