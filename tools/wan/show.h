/* SPDX-License-Identifier: Apache-2.0
 *
 * What `show ports` and `show links` answer, as a table or as JSON. Pure: reads the switch, returns malloc'd
 * text.
 */
#ifndef HG_WAN_SHOW_H
#define HG_WAN_SHOW_H

#include "tools/wan/switch.h"

/* What the shell knows of a port beyond the switch. */
struct hg_wan_port_view {
    const char *iface;  /* of a tap; NULL = a memif, with ... */
    const char *socket; /* ... this */
    uint32_t memif_id;
    bool link_up;
    const char *problem; /* why the link is down */
};

/* One JSON object, or lines for people; newline at the end. The caller frees it. views[i] belongs to
 * sw->ports[i]. */
char *hg_wan_show_ports(const struct hg_wan_switch *sw, const struct hg_wan_port_view *views, bool json);
char *hg_wan_show_links(const struct hg_wan_switch *sw, bool json);

/* {"ok": true} or "ok"; {"ok": false, "error": ...} or "error: ...". */
char *hg_wan_show_ok(bool json);
char *hg_wan_show_error(const char *text, uint32_t column, bool json);

#endif
