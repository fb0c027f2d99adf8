/* SPDX-License-Identifier: Apache-2.0
 *
 * Renews the write grants of the groups that this node writes (grant.h decides when), one a tick, and puts
 * them on the page that the dataplane reads. The metastore is asked only while the dataplane's heart beats:
 * one that is gone or stuck must not keep anybody from taking over.
 */
#include "controlplane/grant_groups.h"
#include "controlplane/server.h"

#include <errno.h>
#include <time.h>

static uint64_t boottime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * HG_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Whether this dataplane has the group. */
static bool is_shown(struct hg_server *server, uint32_t group)
{
    bool shown = false;

    hg_link_status_read(server);
    for (uint32_t i = 0; i < server->status.group_count && server->status_generation != 0; i++)
        shown = shown || server->status.groups[i].group == group;
    return shown;
}

/* Once in the same words. */
static void problem_say(struct hg_grants_kept *kept, struct hg_server *server, const char *text)
{
    if (strcmp(kept->problem, text) == 0)
        return;
    snprintf(kept->problem, sizeof(kept->problem), "%s", text);
    hg_event_addf(&server->events, HG_SEVERITY_WARNING, "grant_not_renewed", "%.380s", text);
}

static void renew(struct hg_server *server, uint32_t group)
{
    struct hg_grants_kept *kept = &server->grants;
    struct hg_granting *granting = &kept->groups[group];
    const struct hg_config_node *node = &server->config->wanted.node;
    struct hg_metastore_key key = hg_server_group_key(server, group);
    struct hg_metastore_record record;
    char text[HG_METASTORE_TEXT_BYTES];
    bool shown = is_shown(server, group);

    hg_granting_ask(granting, boottime_ns()); /* before the write: grant.h says why */
    if (!shown) {
        hg_granting_failed(granting, boottime_ns());
        return;
    }
    bool may_make = hg_grant_may_make(&server->config->wanted, &server->status, group);
    int rc = hg_metastore_grant(server->metastore, &key, node->node, granting->grant_ms,
                                granting->asked_ns - granting->since_ns, may_make, &record, text);

    hg_granting_answered(granting, rc, record.epoch, boottime_ns());
    if (rc == 0) {
        kept->page.groups[group].epoch = record.epoch;
        kept->page.groups[group].deadline_ns = granting->deadline_ns;
        kept->page_due = true;
        return;
    }
    problem_say(kept, server, text);
}

static void turn_say(struct hg_server *server, uint32_t group, enum hg_granting_turn turn)
{
    if (turn == HG_GRANTING_GOT) {
        server->grants.problem[0] = '\0';
        hg_event_addf(&server->events, HG_SEVERITY_INFO, "grant_got",
                      "group %u may be written here under epoch %llu, for %u ms from each renewal", group,
                      (unsigned long long)server->grants.groups[group].epoch,
                      server->grants.groups[group].grant_ms);
    } else if (turn == HG_GRANTING_LOST) {
        hg_event_addf(&server->events, HG_SEVERITY_ERROR, "grant_over",
                      "the write grant of group %u, epoch %llu, was not renewed in time", group,
                      (unsigned long long)server->grants.groups[group].epoch);
    }
}

static void page_write(struct hg_server *server)
{
    struct hg_grants_kept *kept = &server->grants;

    if (!kept->page_due && kept->page_attached == server->link.attached_count)
        return;
    if (hg_control_ring_grants_write(&server->link.ring, &kept->page) == 0)
        return; /* damaged: a new region is on its way */
    kept->page_due = false;
    kept->page_attached = server->link.attached_count;
    hg_control_ring_doorbell(&server->link.ring);
}

void hg_grants_tick(struct hg_server *server)
{
    struct hg_grants_kept *kept = &server->grants;
    uint64_t now_ns = boottime_ns(), groups;
    bool asked = false;

    if (server->config->wanted.grant_ms == 0)
        return;
    groups = hg_grant_groups(&server->config->wanted, &server->status);
    for (uint32_t i = 0; i < HG_CONTROL_GROUPS_MAX; i++) {
        uint32_t group = (kept->next + i) % HG_CONTROL_GROUPS_MAX; /* each has its turn */
        struct hg_granting *granting = &kept->groups[group];

        hg_granting_length(granting, server->config->wanted.grant_ms);
        if ((groups >> group & 1) != 0 && !asked && hg_link_usable(server) &&
            hg_granting_due(granting, now_ns)) {
            renew(server, group);
            asked = true;
            kept->next = group + 1;
        }
        turn_say(server, group, hg_granting_turn(granting, boottime_ns()));
    }
    if (server->link.state == HG_LINK_UP)
        page_write(server);
}
