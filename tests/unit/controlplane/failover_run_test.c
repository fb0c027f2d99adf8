/* SPDX-License-Identifier: Apache-2.0
 *
 * The shell of a fail-over of a group with one member, over a dataplane that loses what it is asked or its
 * answers.
 */
#include "controlplane/server.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdlib.h>

#define GROUP 3u
#define OWN   2u

static struct hg_server *server;
static uint64_t now_ns, requests, begins, releases;
static bool asks_others; /* it may: there are more members */

/* ---- the dataplane: link.c is not linked ---- */

bool hg_link_usable(const struct hg_server *of)
{
    return of == server;
}

void hg_link_status_read(struct hg_server *of)
{
    CU_ASSERT_PTR_EQUAL(of, server);
}

uint64_t hg_link_group(struct hg_server *of, enum hg_control_command command, uint32_t group, uint64_t epoch)
{
    CU_ASSERT(of == server && group == GROUP && epoch == 2);
    begins += command == HG_COMMAND_GROUP_BEGIN;
    releases += command == HG_COMMAND_GROUP_RELEASE;
    return ++requests;
}

uint64_t hg_link_target(struct hg_server *of, enum hg_control_command command, uint32_t group, uint64_t epoch,
                        const struct hg_control_target *target)
{
    CU_ASSERT(of == server && command == HG_COMMAND_GROUP_ASK && group == GROUP && epoch == 2);
    CU_ASSERT(target->node == OWN || asks_others);
    return 0;
}

static void setup(void)
{
    server = calloc(1, sizeof(*server));
    CU_ASSERT_PTR_NOT_NULL_FATAL(server);
    server->config = calloc(1, sizeof(*server->config));
    CU_ASSERT_PTR_NOT_NULL_FATAL(server->config);
    server->config->wanted.node.cluster = 7;
    server->config->wanted.node.region = 1;
    server->config->wanted.node.node = OWN;
    server->metastore = hg_metastore_memory_open();
    now_ns = 1000 * HG_NS_PER_S;
    requests = begins = releases = 0;
    CU_ASSERT_EQUAL(hg_failover_run_start(server, GROUP, now_ns), 0);
    hg_failover_run_tick(server, now_ns);
}

static void teardown(void)
{
    hg_failover_run_close(server);
    server->metastore->close(server->metastore);
    free(server->config);
    free(server);
}

static enum hg_failover_step step(void)
{
    return hg_failover_run_of(server, GROUP)->step;
}

static void pass(uint64_t ns)
{
    for (uint64_t end_ns = now_ns + ns; now_ns < end_ns; now_ns += 100 * HG_NS_PER_MS)
        hg_failover_run_tick(server, now_ns);
}

/* Its one stream ends at 50, where its newest epoch began. */
static void tail(uint64_t epoch_last)
{
    const struct hg_control_tail said = {.node = OWN,
                                         .group = GROUP,
                                         .epoch = 2,
                                         .epoch_promised = 2,
                                         .logs = 1,
                                         .streams = 1,
                                         .stream = 11,
                                         .lsn_end = 50,
                                         .epoch_count = 1,
                                         .epochs = {{.epoch = epoch_last, .lsn = 50}}};
    hg_failover_run_tail(server, &said, now_ns);
    hg_failover_run_tick(server, now_ns);
}

static uint32_t events_count(const char *name)
{
    uint32_t count = 0;
    for (uint64_t i = 0; i < server->events.count && i < HG_EVENTS_MAX; i++)
        count += strcmp(server->events.ring[i].name, name) == 0;
    return count;
}

/* The epoch began, as the copy says, but what the order came to was never told: it is released all the same.
 */
static void test_answer_to_begin_lost(void)
{
    setup();
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_SEAL);
    tail(1);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_BEGIN);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(begins, 1); /* one at a time */
    tail(2);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_RELEASE);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(releases, 0);
    CU_ASSERT_EQUAL(events_count("group_failover_unanswered"), 0);
    pass(HG_API_RESULT_NS);
    CU_ASSERT_EQUAL(releases, 1);
    CU_ASSERT_EQUAL(events_count("group_failover_unanswered"), 1);
    hg_failover_run_result(server, 1, 0, now_ns); /* late, and of the other order */
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_RELEASE);
    hg_failover_run_result(server, requests, 0, now_ns);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_DONE);
    teardown();
}

static void test_answer_to_release_lost(void)
{
    setup();
    tail(1);
    hg_failover_run_result(server, requests, 0, now_ns);
    tail(2);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_RELEASE);
    CU_ASSERT_EQUAL(releases, 1);
    pass(HG_API_RESULT_NS + HG_NS_PER_S);
    CU_ASSERT_EQUAL(releases, 2);
    hg_failover_run_result(server, requests, 0, now_ns);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_DONE);
    CU_ASSERT_EQUAL(begins, 1);
    teardown();
}

/* A fail-over that waits here is ended by `group seal` of this node, which `group open` goes on from. */
static void test_ended_by_an_order(void)
{
    const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = GROUP};
    const struct hg_control_tail refusal = {.node = OWN, .group = GROUP, .epoch = 2, .epoch_promised = 9};
    char text[HG_METASTORE_TEXT_BYTES];
    setup();
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_SEAL);
    CU_ASSERT_EQUAL(hg_metastore_seal(server->metastore, &key, 9, OWN, text), 0);
    hg_failover_run_tail(server, &refusal, now_ns);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_LOST);
    CU_ASSERT_EQUAL(events_count("group_failover_lost"), 1);
    CU_ASSERT_EQUAL(hg_metastore_begin(server->metastore, &key, 9, OWN, text), 0);
    teardown();
}

/* Every stream must go to whoever counts, by the file or the metastore, or is to; not to a node that was
 * taken out and stays as a learner of the file. */
static void test_streams_of_whom_counts(void)
{
    char text[HG_METASTORE_TEXT_BYTES];
    setup();
    struct hg_control_config *wanted = &server->config->wanted;
    wanted->quorum_n = wanted->quorum_w = 2;
    wanted->peer_count = 2;
    wanted->peers[0] = (struct hg_config_peer){.name = "b", .node = 3, .region = 1};
    wanted->peers[1] = (struct hg_config_peer){.name = "c", .node = 4, .region = 1, .learner = 1};
    wanted->stream_count = 1;
    wanted->streams[0] =
        (struct hg_config_stream){.name = "orders", .group = GROUP, .region = 1, .peers_mask = 1};
    CU_ASSERT(hg_failover_run_check(server, GROUP, text, sizeof(text)));
    wanted->streams[0].peers_mask = 2;
    CU_ASSERT_FALSE(hg_failover_run_check(server, GROUP, text, sizeof(text)));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "would not go to b"));
    wanted->streams[0].peers_mask = 1;
    wanted->group_count = 1;
    wanted->groups[0].group = GROUP;
    wanted->groups[0].members = (struct hg_members){.generation = 2,
                                                    .phase = HG_MEMBERS_CATCHING,
                                                    .set = {.count = 2, .w = 2, .nodes = {OWN, 3}},
                                                    .learner_count = 1,
                                                    .learners = {4}};
    CU_ASSERT_FALSE(hg_failover_run_check(server, GROUP, text, sizeof(text)));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "would not go to c"));
    teardown();
}

/* Nothing begins before this node's logs count by the members of the record; that it waits is said. */
static void test_members_not_known(void)
{
    setup();
    struct hg_status_group *row = &server->status.groups[0];
    const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = GROUP};
    struct hg_metastore_record record, found;
    CU_ASSERT_EQUAL(server->metastore->read(server->metastore, &key, &record), 0);
    struct hg_metastore_record wanted = record;
    wanted.members = (struct hg_members){
        .generation = 2, .phase = HG_MEMBERS_STABLE, .set = {.count = 1, .w = 1, .nodes = {OWN}}};
    CU_ASSERT_EQUAL(server->metastore->swap(server->metastore, &key, record.revision, &wanted, &found), 0);
    CU_ASSERT_EQUAL(hg_failover_run_start(server, GROUP, now_ns), -EALREADY);
    hg_failover_run_close(server);
    CU_ASSERT_EQUAL(hg_failover_run_start(server, GROUP, now_ns), 0);
    server->status.group_count = 1;
    *row = (struct hg_status_group){.group = GROUP, .streams = 1, .members_generation = 1};
    hg_failover_run_tick(server, now_ns);
    tail(1);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_BEGIN);
    pass(HG_FAILOVER_BLOCKED_NS / 2);
    CU_ASSERT_EQUAL(events_count("recovery_blocked"), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(hg_failover_run_reason(server, GROUP), "does not count by the members"));
    const struct hg_control_tail more = {
        .node = OWN, .group = GROUP, .epoch = 2, .epoch_promised = 2, .logs = 2, .log = 1};
    hg_failover_run_tail(server, &more, now_ns); /* this node has another log, too: it is asked anew */
    hg_failover_run_tick(server, now_ns);
    CU_ASSERT_EQUAL(step(), HG_FAILOVER_SEAL);
    CU_ASSERT_PTR_NULL(strstr(hg_failover_run_reason(server, GROUP), "does not count by the members"));
    tail(1);
    pass(HG_FAILOVER_BLOCKED_NS / 2 + 600 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(events_count("recovery_blocked"), 0); /* it waits from then on */
    pass(HG_FAILOVER_BLOCKED_NS);
    CU_ASSERT_EQUAL(begins, 0);
    CU_ASSERT_EQUAL(events_count("recovery_blocked"), 1);
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(events_count("recovery_blocked"), 1);
    row->members_generation = 2;
    pass(HG_NS_PER_S);
    CU_ASSERT_EQUAL(begins, 1);
    CU_ASSERT_STRING_EQUAL(hg_failover_run_reason(server, GROUP), "");
    teardown();
}

/* It names the group whole, however long the numbers are. */
static void test_writer_anew(void)
{
    const struct hg_metastore_record record = {
        .state = HG_METASTORE_OPEN, .node = OWN, .epoch = HG_FAILOVER_EPOCH_MAX};
    setup();
    server->status_generation = 1;
    server->status.group_count = 1;
    server->status.groups[0] = (struct hg_status_group){
        .group = HG_CONTROL_GROUPS_MAX - 1, .streams = 1, .epoch_promised = HG_FAILOVER_EPOCH_MAX - 1};
    for (uint64_t s = 0; s < 9; s++)
        hg_failover_run_anew(server, HG_CONTROL_GROUPS_MAX - 1, &record, now_ns + s * HG_NS_PER_S);
    CU_ASSERT_EQUAL(events_count("group_writer_anew"), 1);
    const struct hg_event *said = &server->events.ring[(server->events.count - 1) % HG_EVENTS_MAX];
    CU_ASSERT_PTR_NOT_NULL(strstr(said->text, "'group fail-over 63'"));
    teardown();
}

/* What a member said goes when two live under its name, and only that. */
static void test_clone_is_forgotten(void)
{
    setup();
    struct hg_control_config *wanted = &server->config->wanted;
    struct hg_failover *core = (struct hg_failover *)hg_failover_run_of(server, GROUP);
    struct hg_failover_config config = core->config;
    wanted->peer_count = 2;
    wanted->peers[0] = (struct hg_config_peer){.name = "b", .node = 3, .region = 1};
    wanted->peers[1] = (struct hg_config_peer){.name = "c", .node = 4, .region = 1};
    config.n = config.w = config.member_count = 3;
    config.members[1] = 3;
    config.members[2] = 4;
    core->config = config;
    for (uint64_t node = 3; node <= 4; node++) {
        const struct hg_control_tail said = {
            .node = node, .group = GROUP, .epoch = 2, .epoch_promised = 2, .logs = 1};
        hg_failover_run_tail(server, &said, now_ns);
    }
    server->status.peer_count = 2;
    snprintf(server->status.peers[0].name, sizeof(server->status.peers[0].name), "b");
    snprintf(server->status.peers[1].name, sizeof(server->status.peers[1].name), "c");
    server->status.peers[0].state = HG_PEER_CLONED;
    server->status.peers[1].state = HG_PEER_UP;
    asks_others = true;
    hg_failover_run_tick(server, now_ns);
    asks_others = false;
    CU_ASSERT_EQUAL(core->members[1].logs, 0);
    CU_ASSERT_EQUAL(core->members[2].logs, 1);
    teardown();
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("failover_run", NULL, NULL);
    CU_add_test(suite, "the answer to begin is lost", test_answer_to_begin_lost);
    CU_add_test(suite, "the answer to release is lost", test_answer_to_release_lost);
    CU_add_test(suite, "ended by an order", test_ended_by_an_order);
    CU_add_test(suite, "streams go to whoever counts", test_streams_of_whom_counts);
    CU_add_test(suite, "the members are not known here", test_members_not_known);
    CU_add_test(suite, "a writer whose log was made anew", test_writer_anew);
    CU_add_test(suite, "a member that is two is forgotten", test_clone_is_forgotten);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 7;
}
