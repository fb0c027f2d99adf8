/* SPDX-License-Identifier: Apache-2.0
 *
 * What a status page says of the logs of group 3, which node 1 writes; 2 and 3 are of its region, 4 is not.
 */
#include "controlplane/copies_read.h"
#include "controlplane/grant_groups.h"

#include <CUnit/Basic.h>
#include <stdio.h>

#define GROUP 3u

static struct hg_control_config wanted;
static struct hg_control_status status;
static struct hg_members members;
static struct hg_copies_seen seen;

static bool read_page(void)
{
    return hg_copies_read(&wanted, &status, GROUP, &members, &seen);
}

static void peers_shown(void)
{
    status.peer_count = wanted.peer_count;
    for (uint32_t i = 0; i < status.peer_count; i++)
        memcpy(status.peers[i].name, wanted.peers[i].name, sizeof(status.peers[i].name));
}

/* A stream of the group, which peers 0 and 1 have in logs 12 and 13. */
static struct hg_status_stream *stream_add(void)
{
    struct hg_status_stream *stream = &status.streams[status.stream_count++];
    *stream = (struct hg_status_stream){.group = GROUP, .region = 1, .writes = 1, .peer_count = 2};
    stream->peers[0] = (struct hg_status_stream_peer){.peer = 0, .copy = 12};
    stream->peers[1] = (struct hg_status_stream_peer){.peer = 1, .copy = 13};
    return stream;
}

static struct hg_status_group *group_add(uint8_t uuid)
{
    struct hg_status_group *row = &status.groups[status.group_count++];
    *row = (struct hg_status_group){.group = GROUP, .streams = 1, .epoch_open = 1, .log_uuid = {uuid}};
    return row;
}

static void begin(void)
{
    memset(&wanted, 0, sizeof(wanted));
    memset(&status, 0, sizeof(status));
    memset(&members, 0, sizeof(members));
    wanted.node.node = wanted.node.region = 1;
    wanted.peer_count = 3;
    for (uint32_t i = 0; i < wanted.peer_count; i++) {
        snprintf(wanted.peers[i].name, sizeof(wanted.peers[i].name), "peer-%u", i + 2);
        wanted.peers[i].node = i + 2;
        wanted.peers[i].region = i < 2 ? 1 : 2;
    }
    peers_shown();
    stream_add();
    group_add(11)->copies_caught_up = 1; /* peer 0 */
}

static void test_all(void)
{
    begin();
    CU_ASSERT_TRUE(read_page());
    CU_ASSERT(!hg_grant_group_was_sealed(&status, GROUP) && seen.own.node == 1 && seen.own.log_count == 1);
    CU_ASSERT_EQUAL_FATAL(seen.count, 2);
    CU_ASSERT(seen.nodes[0].node == 2 && seen.nodes[0].caught_up && seen.nodes[0].is_voter);
    CU_ASSERT(seen.nodes[0].log_count == 1 && seen.nodes[0].logs[0] == 12);
    CU_ASSERT(seen.nodes[1].node == 3 && !seen.nodes[1].caught_up && seen.nodes[1].logs[0] == 13);
    status.groups[0].epoch_promised = 2;
    CU_ASSERT(read_page() && hg_grant_group_was_sealed(&status, GROUP));
}

/* The dataplane has just started, and shows no peers, or has no news of their logs: they are told of as
 * before, so that nobody is struck from those that count. */
static void test_peers_not_shown(void)
{
    struct hg_copies now = {0}, next;
    begin();
    status.groups[0].copies_caught_up = 3;
    CU_ASSERT(read_page() && hg_copies_next(&now, &seen, &next));
    CU_ASSERT_EQUAL(next.count, 3);
    now = next;
    status.peer_count = 0;
    status.streams[0].peer_count = 0;
    CU_ASSERT_TRUE(read_page());
    CU_ASSERT_EQUAL_FATAL(seen.count, 2);
    CU_ASSERT(!seen.nodes[0].caught_up && seen.nodes[0].log_count == 0);
    CU_ASSERT_FALSE(hg_copies_next(&now, &seen, &next));
    peers_shown();
    status.streams[0].peer_count = 2;
    status.streams[0].peers[0].copy = status.streams[0].peers[1].copy = 0;
    CU_ASSERT(read_page() && seen.count == 2 && seen.nodes[1].log_count == 0);
    CU_ASSERT_FALSE(hg_copies_next(&now, &seen, &next));
}

/* Members as the command file says, or as the group has them. */
static void test_voters(void)
{
    begin();
    wanted.peers[1].learner = 1;
    CU_ASSERT(read_page() && seen.nodes[0].is_voter && !seen.nodes[1].is_voter);
    members = (struct hg_members){.generation = 1, .set = {.count = 2, .w = 2, .nodes = {1, 3}}};
    CU_ASSERT(read_page() && !seen.nodes[0].is_voter && seen.nodes[1].is_voter);
}

/* Two logs of this node: a peer has everything when it has what is in either. */
static void test_two_logs(void)
{
    begin();
    stream_add()->peers[0].copy = 22;
    status.groups[0].copies_caught_up = 3;
    group_add(21)->copies_caught_up = 2;
    CU_ASSERT_TRUE(read_page());
    CU_ASSERT_EQUAL(seen.own.log_count, 2);
    CU_ASSERT(!seen.nodes[0].caught_up && seen.nodes[0].log_count == 2);
    CU_ASSERT(seen.nodes[1].caught_up && seen.nodes[1].log_count == 1);
}

static void test_not_the_writer(void)
{
    begin();
    status.streams[0].group = GROUP + 1;
    CU_ASSERT_FALSE(read_page());
    begin();
    stream_add()->writes = 0;
    CU_ASSERT_FALSE(read_page());
    begin();
    stream_add()->region = 2;
    CU_ASSERT_FALSE(read_page());
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("copies_read", NULL, NULL);
    CU_add_test(suite, "all of it", test_all);
    CU_add_test(suite, "peers that are not shown", test_peers_not_shown);
    CU_add_test(suite, "who is a member", test_voters);
    CU_add_test(suite, "two logs", test_two_logs);
    CU_add_test(suite, "a group that others write", test_not_the_writer);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 5;
}
