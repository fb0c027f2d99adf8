/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)hg_min_u64(value, INT64_MAX));
}

static char *json_take(json_t *object)
{
    hg_assert(object != NULL);
    char *text = json_dumps(object, JSON_COMPACT);
    hg_assert(text != NULL);
    json_decref(object);
    size_t length = strlen(text);
    char *line = realloc(text, length + 2);
    hg_assert(line != NULL);
    memcpy(line + length, "\n", 2);
    return line;
}

static void mac_print(const uint8_t mac[6], char *text, size_t text_bytes)
{
    snprintf(text, text_bytes, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
}

static json_t *port_json(const struct hg_wan_port *port, const struct hg_wan_port_view *view)
{
    char mac[24];
    json_t *object = json_object();
    mac_print(port->mac, mac, sizeof(mac));
    json_object_set_new(object, "name", json_string(port->name));
    json_object_set_new(object, "mac", json_string(mac));
    json_object_set_new(object, "kind", json_string(view->iface != NULL ? "tap" : "memif"));
    if (view->iface != NULL) {
        json_object_set_new(object, "iface", json_string(view->iface));
    } else {
        json_object_set_new(object, "socket", json_string(view->socket));
        json_object_set_new(object, "id", number(view->memif_id));
    }
    json_object_set_new(object, "up", json_boolean(view->link_up));
    json_object_set_new(object, "problem", json_string(view->problem));
#define X(field, text) json_object_set_new(object, #field, number(port->stats.field));
    HG_WAN_PORT_COUNTERS(X)
#undef X
    return object;
}

char *hg_wan_show_ports(const struct hg_wan_switch *sw, const struct hg_wan_port_view *views, bool json)
{
    if (json) {
        json_t *ports = json_array();
        for (uint32_t i = 0; i < sw->port_count; i++)
            json_array_append_new(ports, port_json(&sw->ports[i], &views[i]));
        return json_take(json_pack("{s:b,s:I,s:I,s:o}", "ok", 1, "frames_under_way",
                                   (json_int_t)sw->slots_used, "frames_under_way_max",
                                   (json_int_t)sw->slot_count, "ports", ports));
    }
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    hg_assert(out != NULL);
    fprintf(out, "frames under way: %u of %u\n", sw->slots_used, sw->slot_count);
    for (uint32_t i = 0; i < sw->port_count; i++) {
        const struct hg_wan_port *port = &sw->ports[i];
        char mac[24];
        mac_print(port->mac, mac, sizeof(mac));
        fprintf(out, "port %s  mac %s  ", port->name, mac);
        if (views[i].iface != NULL)
            fprintf(out, "tap %s  ", views[i].iface);
        else
            fprintf(out, "memif %s id %u  ", views[i].socket, views[i].memif_id);
        fprintf(out, "%s%s%s\n", views[i].link_up ? "up" : "down", views[i].link_up ? "" : ": ",
                views[i].link_up ? "" : views[i].problem);
#define X(field, words)                                                                                      \
    if (port->stats.field != 0)                                                                              \
        fprintf(out, "  %-16s %12" PRIu64 "  %s\n", #field, port->stats.field, words);
        HG_WAN_PORT_COUNTERS(X)
#undef X
    }
    fclose(out);
    hg_assert(text != NULL);
    return text;
}

static json_t *pair_json(const struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    const struct hg_wan_pair *pair = &sw->pairs[from][to];
    const struct hg_wan_impairment *impairment = &pair->line->impairment;
    json_t *object = json_object();
    uint32_t line_from, line_to;
    json_object_set_new(object, "from", json_string(sw->ports[from].name));
    json_object_set_new(object, "to", json_string(sw->ports[to].name));
    json_object_set_new(object, "cut", json_boolean(pair->link.cut || pair->line->cut));
    hg_wan_switch_line(sw, from, to, &line_from, &line_to);
    json_object_set_new(object, "line_from", json_string(sw->ports[line_from].name));
    json_object_set_new(object, "line_to", json_string(sw->ports[line_to].name));
    json_object_set_new(object, "delay_ns", number(impairment->delay_ns));
    json_object_set_new(object, "jitter_ns", number(impairment->jitter_ns));
    json_object_set_new(object, "loss_ppb", number(impairment->loss_ppb));
    json_object_set_new(object, "burst_count", number(impairment->burst_count));
    json_object_set_new(object, "rate_bits", number(impairment->rate_bits));
    json_object_set_new(object, "queue_bytes", number(impairment->queue_bytes));
    json_object_set_new(object, "ecn_bytes", number(impairment->ecn_bytes));
    json_object_set_new(object, "ecn_ns", number(impairment->ecn_ns));
    json_object_set_new(object, "reorder_ppb", number(impairment->reorder_ppb));
    json_object_set_new(object, "late_ns", number(impairment->late_ns));
    json_object_set_new(object, "duplicate_ppb", number(impairment->duplicate_ppb));
    json_object_set_new(object, "corrupt_ppb", number(impairment->corrupt_ppb));
    json_object_set_new(object, "corrupt_header", json_boolean(impairment->corrupt_header));
    json_object_set_new(object, "path_count", number(hg_max_u64(impairment->path_count, 1)));
    json_object_set_new(object, "skew_ns", number(impairment->skew_ns));
    json_object_set_new(object, "spread", json_string(impairment->path_by_flow ? "flow" : "packet"));
    json_object_set_new(object, "mtu_bytes", number(impairment->mtu_bytes));
    json_object_set_new(object, "mtu_icmp", json_boolean(impairment->mtu_icmp));
    json_object_set_new(object, "under_way", number(pair->count));
#define X(field, text) json_object_set_new(object, #field, number(pair->stats.field));
    HG_WAN_LINK_COUNTERS(X)
#undef X
    return object;
}

static void share_print(FILE *out, const char *name, uint64_t ppb)
{
    if (ppb != 0)
        fprintf(out, " %s %" PRIu64 ".%07" PRIu64 "%%", name, ppb / 10000000, ppb % 10000000);
}

static void pair_print(FILE *out, const struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    const struct hg_wan_pair *pair = &sw->pairs[from][to];
    const struct hg_wan_impairment *impairment = &pair->line->impairment;
    uint32_t line_from, line_to;
    fprintf(out, "link %s -> %s ", sw->ports[from].name, sw->ports[to].name);
    hg_wan_switch_line(sw, from, to, &line_from, &line_to);
    if (pair->line != &pair->link)
        fprintf(out, " on the line %s -> %s ", sw->ports[line_from].name, sw->ports[line_to].name);
    if (pair->link.cut || pair->line->cut)
        fprintf(out, " CUT");
    if (impairment->delay_ns != 0)
        fprintf(out, " delay %" PRIu64 "us", impairment->delay_ns / HG_NS_PER_US);
    if (impairment->jitter_ns != 0)
        fprintf(out, " jitter %" PRIu64 "us", impairment->jitter_ns / HG_NS_PER_US);
    share_print(out, "loss", impairment->loss_ppb);
    if (impairment->burst_count != 0)
        fprintf(out, " burst %" PRIu64, impairment->burst_count);
    if (impairment->rate_bits != 0)
        fprintf(out, " rate %" PRIu64 " queue %" PRIu64, impairment->rate_bits, impairment->queue_bytes);
    if (impairment->ecn_bytes != 0)
        fprintf(out, " ecn %" PRIu64, impairment->ecn_bytes);
    if (impairment->ecn_ns != 0)
        fprintf(out, " ecn %" PRIu64 "us", impairment->ecn_ns / HG_NS_PER_US);
    share_print(out, "reorder", impairment->reorder_ppb);
    if (impairment->late_ns != 0)
        fprintf(out, " late %" PRIu64 "us", impairment->late_ns / HG_NS_PER_US);
    share_print(out, "duplicate", impairment->duplicate_ppb);
    share_print(out, "corrupt", impairment->corrupt_ppb);
    if (impairment->corrupt_header)
        fprintf(out, " header");
    if (impairment->path_count > 1)
        fprintf(out, " paths %" PRIu64 " skew %" PRIu64 "us spread %s", impairment->path_count,
                impairment->skew_ns / HG_NS_PER_US, impairment->path_by_flow ? "flow" : "packet");
    if (impairment->mtu_bytes != 0)
        fprintf(out, " mtu %" PRIu64 "%s", impairment->mtu_bytes, impairment->mtu_icmp ? " icmp" : "");
    fprintf(out, "\n");
    if (pair->count != 0)
        fprintf(out, "  %-16s %12u  frames on the line\n", "under_way", pair->count);
#define X(field, words)                                                                                      \
    if (pair->stats.field != 0)                                                                              \
        fprintf(out, "  %-16s %12" PRIu64 "  %s\n", #field, pair->stats.field, words);
    HG_WAN_LINK_COUNTERS(X)
#undef X
}

/* A port has no link to itself, but there may be answers of the emulator that it was sent. */
static bool pair_shown(const struct hg_wan_switch *sw, uint32_t from, uint32_t to)
{
    static const struct hg_wan_link_stats none;
    return from != to || memcmp(&sw->pairs[from][to].stats, &none, sizeof(none)) != 0;
}

char *hg_wan_show_links(const struct hg_wan_switch *sw, bool json)
{
    json_t *links = json ? json_array() : NULL;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = json ? NULL : open_memstream(&text, &bytes);
    hg_assert(json ? links != NULL : out != NULL);
    for (uint32_t from = 0; from < sw->port_count; from++) {
        for (uint32_t to = 0; to < sw->port_count; to++) {
            if (!pair_shown(sw, from, to))
                continue;
            if (json)
                json_array_append_new(links, pair_json(sw, from, to));
            else
                pair_print(out, sw, from, to);
        }
    }
    if (json)
        return json_take(json_pack("{s:b,s:I,s:I,s:o}", "ok", 1, "seed", (json_int_t)sw->seed, "busy_ns",
                                   (json_int_t)sw->busy_ns, "links", links));
    fprintf(out, "seed %" PRIu64 "\nbusy %" PRIu64 " ns\n", sw->seed, sw->busy_ns);
    fclose(out);
    hg_assert(text != NULL);
    return text;
}

char *hg_wan_show_ok(bool json)
{
    if (json)
        return json_take(json_pack("{s:b}", "ok", 1));
    char *text = strdup("ok\n");
    hg_assert(text != NULL);
    return text;
}

char *hg_wan_show_error(const char *text, uint32_t column, bool json)
{
    if (json)
        return json_take(
            json_pack("{s:b,s:i,s:s%}", "ok", 0, "column", (int)column, "error", text, strlen(text)));
    char line[512];
    if (column != 0)
        snprintf(line, sizeof(line), "error: column %u: %s\n", column, text);
    else
        snprintf(line, sizeof(line), "error: %s\n", text);
    char *copy = strdup(line);
    hg_assert(copy != NULL);
    return copy;
}
