/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of the fail-overs of this node: asks what controlplane/failover.h wants asked, by the control
 * ring and of the metastore, and tells it what is answered. What an order has come to is in the metastore and
 * the logs, so the next process goes on from there.
 */
#include "controlplane/report.h"
#include "controlplane/server.h"

#include <errno.h>
#include <stdlib.h>

#define MEMBERS_UNKNOWN                                                                                      \
    "this node's dataplane does not count by the members of the metastore yet: see `config_refused` in "     \
    "'show events', or start its control plane again"

#define LEFT_NS (500 * HG_NS_PER_MS)
#define ANEW_NS (3 * HG_NS_PER_S) /* as long as it takes until group_unnamed is said */

/* Whose word is needed: as the metastore was last read, else as the command file says. */
static void config_of(const struct hg_server *server, uint32_t group, struct hg_failover_config *config)
{
    const struct hg_control_config *wanted = &server->config->wanted;
    const struct hg_members members = hg_config_members(wanted, group);

    memset(config, 0, sizeof(*config));
    config->key = (struct hg_metastore_key){
        .cluster = wanted->node.cluster, .region = wanted->node.region, .group = group};
    config->node = wanted->node.node;
    if (members.generation != 0) {
        config->n = members.set.count;
        config->w = members.set.w;
        config->member_count = members.set.count;
        memcpy(config->members, members.set.nodes, sizeof(members.set.nodes[0]) * members.set.count);
        return;
    }
    config->n = wanted->quorum_n != 0 ? wanted->quorum_n : 1;
    config->w = wanted->quorum_w != 0 ? wanted->quorum_w : 1;
    config->members[config->member_count++] = config->node;
    for (uint32_t i = 0; i < wanted->peer_count && config->member_count < HG_TAIL_COPIES_MAX; i++)
        if (wanted->peers[i].region == wanted->node.region && wanted->peers[i].learner == 0)
            config->members[config->member_count++] = wanted->peers[i].node;
}

static struct hg_failover_run *run_of(const struct hg_server *server, uint32_t group)
{
    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++)
        if (server->failovers[i] != NULL && server->failovers[i]->core.config.key.group == group)
            return server->failovers[i];
    return NULL;
}

const struct hg_failover *hg_failover_run_of(const struct hg_server *server, uint32_t group)
{
    const struct hg_failover_run *run = run_of(server, group);

    return run == NULL ? NULL : &run->core;
}

const char *hg_failover_run_reason(const struct hg_server *server, uint32_t group)
{
    const struct hg_failover_run *run = run_of(server, group);

    if (run == NULL)
        return "";
    return run->core.reason[0] == '\0' && run->unknown_ns != 0 ? MEMBERS_UNKNOWN : run->core.reason;
}

/* Where one of this group was, else one that is over, else a new place. */
static struct hg_failover_run *place_of(struct hg_server *server, uint32_t group)
{
    struct hg_failover_run *before = run_of(server, group);
    int32_t found = -1;

    if (before != NULL)
        return before;
    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++) {
        const struct hg_failover_run *run = server->failovers[i];

        if (run == NULL || !hg_failover_is_under_way(&run->core))
            found = (int32_t)i;
    }
    if (found < 0)
        return NULL;
    if (server->failovers[found] == NULL)
        server->failovers[found] = calloc(1, sizeof(struct hg_failover_run));
    return server->failovers[found];
}

bool hg_failover_run_check(const struct hg_server *server, uint32_t group, char *text, size_t text_bytes)
{
    const struct hg_control_config *wanted = &server->config->wanted;
    const struct hg_members members = hg_config_members(wanted, group);
    struct hg_failover_config config;

    config_of(server, group, &config);
    const char *why = hg_failover_config_check(&config);

    if (why != NULL) {
        snprintf(text, text_bytes, "%s", why);
        return false;
    }
    for (uint32_t i = 0; i < wanted->stream_count; i++) {
        const struct hg_config_stream *stream = &wanted->streams[i];

        for (uint32_t k = 0; stream->group == group && k < wanted->peer_count; k++) {
            if (wanted->peers[k].region != wanted->node.region || (stream->peers_mask >> k & 1) != 0 ||
                (wanted->peers[k].learner != 0 && !hg_members_has(&members, wanted->peers[k].node)))
                continue;
            snprintf(
                text, text_bytes,
                "its stream %s would not go to %s, which is of the quorum: put `stream replicate %s %s ...` "
                "into this node's command file and start its control plane again",
                stream->name, wanted->peers[k].name, stream->name, wanted->peers[k].name);
            return false;
        }
    }
    return true;
}

const char *hg_failover_run_reach(const struct hg_server *server, uint32_t group,
                                  const struct hg_metastore_record *record, struct hg_failover_reach *reach)
{
    const struct hg_control_config *wanted = &server->config->wanted;
    const struct hg_control_status *status = &server->status;
    struct hg_failover_config config;
    uint64_t up[HG_CONTROL_PEERS_MAX];
    uint32_t up_count = 0;

    config_of(server, group, &config);
    for (uint32_t i = 0; i < status->peer_count; i++) {
        int peer = hg_config_peer_find(wanted, status->peers[i].name);

        if (peer >= 0 && status->peers[i].state == HG_PEER_UP)
            up[up_count++] = wanted->peers[peer].node;
    }
    return hg_failover_reach(&config, record, up, up_count, reach);
}

int hg_failover_run_start(struct hg_server *server, uint32_t group, uint64_t now_ns)
{
    struct hg_failover_run *run = place_of(server, group);
    struct hg_failover_config config;

    if (run == NULL)
        return -EBUSY;
    if (hg_failover_is_under_way(&run->core))
        return -EALREADY;
    config_of(server, group, &config);
    run->request = 0;
    hg_failover_start(&run->core, &config, now_ns);
    return 0;
}

/* ---- those that were left ---- */

/* What the logs of this node that have the group say. False: none is shown. */
static bool own_look(const struct hg_server *server, uint32_t group, uint64_t *epoch_promised, bool *is_open)
{
    bool any = false;

    *epoch_promised = UINT64_MAX;
    *is_open = true;
    for (uint32_t i = 0; i < server->status.group_count; i++) {
        const struct hg_status_group *row = &server->status.groups[i];

        if (row->group != group || row->streams == 0)
            continue;
        any = true;
        *epoch_promised = hg_min_u64(*epoch_promised, row->epoch_promised);
        *is_open &= row->state == HG_STATUS_GROUP_OPEN;
    }
    return any;
}

void hg_failover_run_anew(struct hg_server *server, uint32_t group, const struct hg_metastore_record *record,
                          uint64_t now_ns)
{
    struct hg_failover_anew *anew = &server->anew[group];
    const struct hg_failover *failover = hg_failover_run_of(server, group);
    bool is_under_way = failover != NULL && hg_failover_is_under_way(failover), is_open;
    uint64_t epoch_promised;

    if (!hg_link_usable(server) || server->status_generation == 0 || is_under_way ||
        !own_look(server, group, &epoch_promised, &is_open) ||
        !hg_failover_log_is_anew(record, server->config->wanted.node.node, epoch_promised)) {
        *anew = (struct hg_failover_anew){0};
        return;
    }
    if (anew->epoch != record->epoch) /* the page may be older than the record */
        *anew = (struct hg_failover_anew){.epoch = record->epoch, .since_ns = now_ns};
    if (anew->is_said || now_ns - anew->since_ns < ANEW_NS)
        return;
    anew->is_said = true;
    hg_event_addf(
        &server->events, HG_SEVERITY_ERROR, "group_writer_anew",
        "group %u: the metastore has this node as its writer under epoch %llu, its log promised %llu: "
        "made anew? Nobody writes: 'group fail-over %u'",
        group, (unsigned long long)record->epoch, (unsigned long long)epoch_promised, group);
}

/* False: to be looked at again. */
static bool left_look(struct hg_server *server, uint32_t group, uint64_t now_ns)
{
    const struct hg_config_node *node = &server->config->wanted.node;
    struct hg_metastore_key key = {.cluster = node->cluster, .region = node->region, .group = group};
    struct hg_metastore_record record;
    uint64_t epoch_promised;
    bool is_open;
    char text[HG_METASTORE_TEXT_BYTES];

    if (!own_look(server, group, &epoch_promised, &is_open) ||
        server->metastore->read(server->metastore, &key, &record) != 0)
        return false;
    if (record.state == HG_METASTORE_SEALING && record.failover == 0 && record.node == node->node)
        hg_event_addf(
            &server->events, HG_SEVERITY_INFO, "group_left_sealed",
            "group %u was sealed under epoch %llu by an order of this node, and stays so until 'group "
            "open' or 'group fail-over'",
            group, (unsigned long long)record.epoch);
    if (!hg_failover_is_left(&record, node->node, epoch_promised, is_open))
        return true;
    if (record.members.generation > hg_config_members(&server->config->wanted, group).generation)
        return false; /* not read yet by who reads it for the configuration */
    if (!hg_failover_run_check(server, group, text, sizeof(text))) {
        hg_event_addf(
            &server->events, HG_SEVERITY_ERROR, "group_failover_left",
            "group %u was being failed over to this node under epoch %llu, which can't go on: %.300s", group,
            (unsigned long long)record.epoch, text);
        return true;
    }
    int rc = hg_failover_run_start(server, group, now_ns);

    if (rc == 0)
        hg_event_addf(
            &server->events, HG_SEVERITY_INFO, "group_failover_left",
            "group %u was being failed over to this node under epoch %llu when a control plane before "
            "this one ended: this one goes on",
            group, (unsigned long long)record.epoch);
    return rc != -EBUSY;
}

void hg_failover_run_left(struct hg_server *server, uint64_t now_ns)
{
    const struct hg_control_config *wanted = &server->config->wanted;
    uint64_t looked = server->left_looked;

    if (now_ns < server->left_ns || !hg_link_usable(server))
        return;
    server->left_ns = now_ns + LEFT_NS;
    hg_link_status_read(server);
    for (uint32_t i = 0; i < wanted->stream_count && server->status_generation != 0; i++) {
        uint64_t bit = UINT64_C(1) << wanted->streams[i].group;

        if (wanted->streams[i].region != wanted->node.region || (looked & bit) != 0)
            continue;
        looked |= bit;
        if (left_look(server, wanted->streams[i].group, now_ns))
            server->left_looked |= bit;
    }
}

/* ---- what is to be done ---- */

static void store_do(struct hg_server *server, struct hg_failover_run *run,
                     const struct hg_failover_action *action, uint64_t now_ns)
{
    const struct hg_metastore_key *key = &run->core.config.key;
    struct hg_metastore_record found = {0};
    int rc;

    if (action->what == HG_FAILOVER_DO_READ)
        rc = server->metastore->read(server->metastore, key, &found);
    else
        rc = server->metastore->swap(server->metastore, key, action->revision, &action->wanted, &found);
    if (rc != 0 && rc != -ESTALE && strcmp(run->problem, server->metastore->problem) != 0) {
        snprintf(run->problem, sizeof(run->problem), "%s", server->metastore->problem);
        hg_event_addf(&server->events, HG_SEVERITY_ERROR, "metastore", "%.180s", run->problem);
    }
    hg_failover_record(&run->core, rc, &found, now_ns);
}

/* Whether all logs of this node count by the members that the record names. */
static bool members_known(const struct hg_server *server, const struct hg_failover_run *run)
{
    for (uint32_t i = 0; i < server->status.group_count; i++) {
        const struct hg_status_group *row = &server->status.groups[i];

        if (row->group == run->core.config.key.group && row->streams != 0 &&
            row->members_generation < run->core.record.members.generation)
            return false;
    }
    return true;
}

static void act(struct hg_server *server, struct hg_failover_run *run,
                const struct hg_failover_action *action, uint64_t now_ns)
{
    uint32_t group = run->core.config.key.group;
    struct hg_control_target target = {.node = action->node, .stream = action->stream};

    switch (action->what) {
    case HG_FAILOVER_DO_READ:
    case HG_FAILOVER_DO_SWAP:
        store_do(server, run, action, now_ns);
        break;
    case HG_FAILOVER_DO_ASK:
        (void)hg_link_target(server, HG_COMMAND_GROUP_ASK, group, action->epoch, &target);
        break;
    case HG_FAILOVER_DO_FILL:
        (void)hg_link_target(server, HG_COMMAND_GROUP_FILL, group, action->epoch, &target);
        break;
    case HG_FAILOVER_DO_BEGIN:
    case HG_FAILOVER_DO_RELEASE:
        /* Until the dataplane answered the last one, or was told who counts: later. */
        if (run->request != 0 || !members_known(server, run))
            break;
        run->releases = action->what == HG_FAILOVER_DO_RELEASE;
        run->request = hg_link_group(
            server, run->releases ? HG_COMMAND_GROUP_RELEASE : HG_COMMAND_GROUP_BEGIN, group, action->epoch);
        run->request_ns = now_ns;
        break;
    case HG_FAILOVER_DO_SAY:
        hg_event_add(&server->events, hg_realtime_ns(), action->severity, action->name, action->text);
        break;
    }
}

/* An answer is lost with its ring, and may be long in coming: the order is given again, which does nothing
 * twice. */
static void unanswered_look(struct hg_server *server, struct hg_failover_run *run, uint64_t now_ns)
{
    if (run->request == 0 || now_ns - run->request_ns < HG_API_RESULT_NS)
        return;
    run->request = 0;
    hg_event_addf(&server->events, HG_SEVERITY_WARNING, "group_failover_unanswered",
                  "group %u, epoch %llu: the dataplane has not answered the order to %s in %u s: it is given "
                  "again",
                  run->core.config.key.group, (unsigned long long)run->core.epoch,
                  run->releases ? "release" : "begin", (unsigned)(HG_API_RESULT_NS / HG_NS_PER_S));
}

/* What is to begin waits until the dataplane was told who counts: that is said, too. */
static void unknown_look(struct hg_server *server, struct hg_failover_run *run, uint64_t now_ns)
{
    bool begins = run->core.step == HG_FAILOVER_BEGIN || run->core.step == HG_FAILOVER_RELEASE;

    if (!begins || members_known(server, run)) {
        run->unknown_ns = 0;
        run->unknown_said = false;
        return;
    }
    if (run->unknown_ns == 0)
        run->unknown_ns = now_ns;
    if (run->unknown_said || now_ns - run->unknown_ns < HG_FAILOVER_BLOCKED_NS)
        return;
    run->unknown_said = true;
    hg_event_addf(&server->events, HG_SEVERITY_ERROR, "recovery_blocked",
                  "group %u stays sealed: " MEMBERS_UNKNOWN " (generation %llu)", run->core.config.key.group,
                  (unsigned long long)run->core.record.members.generation);
}

/* Its answers may be of either of the two. */
static void clones_forget(const struct hg_server *server, struct hg_failover_run *run)
{
    for (uint32_t i = 0; i < server->status.peer_count; i++) {
        const struct hg_status_peer *row = &server->status.peers[i];
        int peer = hg_config_peer_find(&server->config->wanted, row->name);

        if (row->state == HG_PEER_CLONED && peer >= 0)
            hg_failover_forget(&run->core, server->config->wanted.peers[peer].node);
    }
}

void hg_failover_run_tick(struct hg_server *server, uint64_t now_ns)
{
    struct hg_failover_action action;

    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++) {
        struct hg_failover_run *run = server->failovers[i];

        if (run == NULL || (!hg_failover_is_under_way(&run->core) && !run->core.say_step))
            continue;
        if (!hg_link_usable(server))
            run->request = 0; /* whoever was asked is gone */
        unanswered_look(server, run, now_ns);
        hg_link_status_read(server);
        clones_forget(server, run);
        for (uint32_t count = 0;
             count < HG_FAILOVER_ACTIONS_TICK && hg_failover_next(&run->core, now_ns, &action); count++)
            act(server, run, &action, now_ns);
        unknown_look(server, run, now_ns);
    }
}

void hg_failover_run_result(struct hg_server *server, uint64_t request, int32_t code, uint64_t now_ns)
{
    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++) {
        struct hg_failover_run *run = server->failovers[i];

        if (run == NULL || run->request == 0 || run->request != request)
            continue;
        run->request = 0;
        if (code == 0 && run->releases)
            hg_failover_released(&run->core, run->core.epoch, now_ns);
        else if (code == -EPERM)
            hg_failover_refused(&run->core, run->core.config.node, run->core.epoch, 0, now_ns);
    }
}

static void name_of(const struct hg_server *server, uint64_t stream, char name[HG_CONTROL_NAME_BYTES])
{
    const struct hg_control_config *wanted = &server->config->wanted;

    snprintf(name, HG_CONTROL_NAME_BYTES, "%llu", (unsigned long long)stream);
    for (uint32_t i = 0; i < wanted->stream_count; i++)
        if (wanted->streams[i].stream == stream)
            memcpy(name, wanted->streams[i].name, HG_CONTROL_NAME_BYTES);
}

void hg_failover_run_tail(struct hg_server *server, const struct hg_control_tail *tail, uint64_t now_ns)
{
    struct hg_failover_answer answer;

    hg_failover_answer_of(tail, &answer);
    name_of(server, tail->stream, answer.name);
    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++) {
        struct hg_failover_run *run = server->failovers[i];

        if (run == NULL || run->core.config.key.group != tail->group)
            continue;
        if (tail->epoch_promised > tail->epoch)
            hg_failover_refused(&run->core, tail->node, tail->epoch, tail->epoch_promised, now_ns);
        else
            hg_failover_answer(&run->core, &answer, now_ns);
    }
}

void hg_failover_run_close(struct hg_server *server)
{
    for (uint32_t i = 0; i < HG_FAILOVERS_MAX; i++) {
        free(server->failovers[i]);
        server->failovers[i] = NULL;
    }
}
