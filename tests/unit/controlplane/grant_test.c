/* SPDX-License-Identifier: Apache-2.0
 *
 * Write grants as the control plane renews them: never believed in for longer than the metastore's write
 * said, with any clock within its bound, any delay of the write, and writes whose answer is lost.
 */
#include "controlplane/grant.h"
#include "controlplane/grant_groups.h"
#include "controlplane/metastore.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MS HG_NS_PER_MS

static void test_renewal(void)
{
    struct hg_granting granting;
    hg_granting_init(&granting, 3000);
    CU_ASSERT_TRUE(hg_granting_due(&granting, 1000 * MS));
    hg_granting_ask(&granting, 1000 * MS);
    CU_ASSERT_FALSE(hg_granting_due(&granting, 9000 * MS)); /* one question at a time */
    hg_granting_committed(&granting, 5);
    CU_ASSERT_EQUAL(granting.epoch, 5);
    CU_ASSERT_EQUAL(granting.deadline_ns, 1000 * MS + 3000 * MS - 3000 * 200); /* from before the question */
    CU_ASSERT_EQUAL(hg_granting_turn(&granting, 1500 * MS), HG_GRANTING_GOT);
    CU_ASSERT_FALSE(hg_granting_due(&granting, 1999 * MS));
    CU_ASSERT_TRUE(hg_granting_due(&granting, 2000 * MS));
    hg_granting_ask(&granting, 2000 * MS);
    uint64_t deadline_ns = granting.deadline_ns;
    hg_granting_failed(&granting, 2100 * MS);
    CU_ASSERT_EQUAL(granting.deadline_ns, deadline_ns); /* what there is goes on, no longer */
    CU_ASSERT_FALSE(hg_granting_due(&granting, 2100 * MS));
    CU_ASSERT_TRUE(hg_granting_due(&granting, 2350 * MS)); /* several times before it ends */
    hg_granting_ask(&granting, 2350 * MS);
    hg_granting_refused(&granting, 2400 * MS);
    CU_ASSERT_EQUAL(hg_granting_turn(&granting, deadline_ns - 1), HG_GRANTING_SAME);
    CU_ASSERT_EQUAL(hg_granting_turn(&granting, deadline_ns), HG_GRANTING_LOST);
    CU_ASSERT_EQUAL(hg_granting_turn(&granting, deadline_ns), HG_GRANTING_SAME);
    CU_ASSERT_TRUE(hg_granting_due(&granting, deadline_ns));
    hg_granting_ask(&granting, deadline_ns);
    hg_granting_committed(&granting, 7);
    CU_ASSERT_EQUAL(hg_granting_turn(&granting, deadline_ns + MS), HG_GRANTING_GOT);
    hg_granting_init(&granting, 0);
    CU_ASSERT_FALSE(hg_granting_due(&granting, UINT64_MAX)); /* no line, no grants */
}

/* A clock that is fast or slow by the bound, in true nanoseconds: `from` on it. */
static uint64_t shown(uint64_t true_ns, int64_t ppm)
{
    return (uint64_t)((__int128)true_ns * (1000000 + ppm) / 1000000);
}

/* The old writer's belief, by its clock, is over before who waits for it, by another, goes on. */
static void test_clocks(void)
{
    struct hg_random random;
    hg_random_init(&random, 9);
    for (uint32_t run = 0; run < 20000; run++) {
        uint32_t grant_ms =
            (uint32_t)hg_random_between(&random, HG_CONTROL_GRANT_MS_MIN, HG_CONTROL_GRANT_MS_MAX);
        int64_t holder = (int64_t)hg_random_below(&random, 401) - 200,
                waiter = (int64_t)hg_random_below(&random, 401) - 200;
        uint64_t read_ns = hg_random_between(&random, 1, 1000000 * MS);
        uint64_t written_ns = read_ns + hg_random_below(&random, 400 * MS);
        uint64_t seen_ns = written_ns + hg_random_below(&random, 5000 * MS);
        struct hg_granting granting;
        hg_granting_init(&granting, grant_ms);
        hg_granting_ask(&granting, shown(read_ns, holder));
        hg_granting_committed(&granting, 2);
        uint64_t promised_ns = written_ns + (uint64_t)grant_ms * MS, opened_ns = seen_ns;
        CU_ASSERT_TRUE(shown(promised_ns, holder) + 2 >= granting.deadline_ns);
        while (shown(opened_ns, waiter) - shown(seen_ns, waiter) < hg_grant_wait_ns(grant_ms))
            opened_ns += hg_max_u64(1, hg_grant_wait_ns(grant_ms) -
                                           (shown(opened_ns, waiter) - shown(seen_ns, waiter)));
        CU_ASSERT_TRUE(shown(opened_ns, holder) + 2 >= granting.deadline_ns);
    }
}

static void test_metastore(void)
{
    static const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = 3};
    struct hg_metastore *store = hg_metastore_memory_open();
    struct hg_metastore_record record;
    char text[HG_METASTORE_TEXT_BYTES];
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, false, &record, text), -ENOENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "has been sealed before"));
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, true, &record, text), 0);
    CU_ASSERT_EQUAL(record.epoch, 1);
    CU_ASSERT_EQUAL(record.state, HG_METASTORE_OPEN);
    CU_ASSERT_EQUAL(record.revision, 1);
    CU_ASSERT_EQUAL(record.grant_ms, 2000);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 12, 2000, 0, true, &record, text),
                    -EPERM); /* another has it */
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "open under epoch 1 by node 11"));
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 3000, 0, false, &record, text), 0);
    CU_ASSERT_EQUAL(record.revision, 2); /* written, not only read */
    CU_ASSERT_EQUAL(record.grant_ms, 3000);
    CU_ASSERT_EQUAL(hg_metastore_seal(store, &key, 5, 12, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, true, &record, text), -EPERM);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 12, 2000, 0, true, &record, text),
                    -EPERM); /* not before it is open */
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "sealed under epoch 5"));
    CU_ASSERT_EQUAL(store->read(store, &key, &record), 0);
    CU_ASSERT_EQUAL(record.grant_ms, 3000); /* how long who opens may have to wait */
    CU_ASSERT_EQUAL(hg_metastore_begin(store, &key, 5, 12, text), 0);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, true, &record, text), -EPERM); /* deposed */
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 12, 2000, 0, true, &record, text), 0);
    CU_ASSERT_EQUAL(record.epoch, 5);
    store->close(store);
}

/* A shorter grant than there was: the record says the longer one until the last of those has ended, which the
 * dataplane may have from the process before. */
static void test_shorter(void)
{
    static const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = 3};
    struct hg_metastore *store = hg_metastore_memory_open();
    struct hg_metastore_record record;
    struct hg_granting granting;
    char text[HG_METASTORE_TEXT_BYTES];
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 60000, 0, true, &record, text), 0);
    uint64_t last_ns = 5000 * MS + hg_grant_believed_ns(60000); /* granted at 5 s, by another process */
    hg_granting_init(&granting, 500);
    for (uint64_t now_ns = 5001 * MS; now_ns < 80000 * MS; now_ns += 100 * MS) {
        if (!hg_granting_due(&granting, now_ns))
            continue;
        hg_granting_ask(&granting, now_ns);
        CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, granting.grant_ms,
                                           granting.asked_ns - granting.since_ns, false, &record, text),
                        0);
        hg_granting_committed(&granting, record.epoch);
        CU_ASSERT(now_ns + hg_grant_wait_ns(record.grant_ms) >= last_ns);
        CU_ASSERT(now_ns + hg_grant_wait_ns(record.grant_ms) >= granting.deadline_ns);
    }
    CU_ASSERT_EQUAL(record.grant_ms, 500);
    hg_granting_length(&granting, 2000); /* longer counts at once, and shorter again waits again */
    CU_ASSERT_EQUAL(granting.since_ns, 0);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, false, &record, text), 0);
    CU_ASSERT_EQUAL(record.grant_ms, 2000);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 500, 1999 * MS, false, &record, text), 0);
    CU_ASSERT_EQUAL(record.grant_ms, 2000);
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 500, 2001 * MS, false, &record, text), 0);
    CU_ASSERT_EQUAL(record.grant_ms, 500);
    store->close(store);
}

/* Node 1 of region 1, with a stream of group 3 that node `origin` is to write. */
static struct hg_control_config *config_with(uint64_t origin)
{
    static struct hg_control_config config;
    memset(&config, 0, sizeof(config));
    config.node.node = config.node.region = 1;
    config.stream_count = 1;
    config.streams[0] = (struct hg_config_stream){.stream = 5, .region = 1, .node = origin, .group = 3};
    return &config;
}

/* What the dataplane shows of it. */
static struct hg_control_status *status_with(uint32_t writes, uint32_t state)
{
    static struct hg_control_status status;
    memset(&status, 0, sizeof(status));
    status.stream_count = status.group_count = 1;
    status.streams[0] = (struct hg_status_stream){.stream = 5, .region = 1, .group = 3, .writes = writes};
    status.groups[0] = (struct hg_status_group){.group = 3, .streams = 1, .state = state};
    return &status;
}

static uint64_t groups_of(uint64_t origin, uint32_t writes, uint32_t state)
{
    return hg_grant_groups(config_with(origin), status_with(writes, state));
}

static void test_groups(void)
{
    static const struct hg_control_status none;
    const uint64_t group = 1u << 3;
    /* By the command file, whatever is shown: the record says whether it was deposed. */
    CU_ASSERT_EQUAL(hg_grant_groups(config_with(1), &none), group);
    CU_ASSERT_EQUAL(groups_of(1, 0, HG_STATUS_GROUP_SEALED), group);
    CU_ASSERT_EQUAL(hg_grant_groups_configured(config_with(1)), group);
    /* Another node's, which was failed over to this one: no record is made for it. */
    CU_ASSERT_EQUAL(hg_grant_groups(config_with(2), &none), 0);
    CU_ASSERT_EQUAL(groups_of(2, 0, HG_STATUS_GROUP_OPEN), 0);
    CU_ASSERT_EQUAL(groups_of(2, 1, HG_STATUS_GROUP_OPEN), group);
    CU_ASSERT_EQUAL(groups_of(2, 1, HG_STATUS_GROUP_UNNAMED), group);
    CU_ASSERT_EQUAL(hg_grant_groups_configured(config_with(2)), 0);
    /* The metastore does not say so yet, or somebody took it over from here. */
    CU_ASSERT_EQUAL(groups_of(2, 1, HG_STATUS_GROUP_OPENING), 0);
    CU_ASSERT_EQUAL(groups_of(2, 1, HG_STATUS_GROUP_SEALED), 0);
    /* One that is not in the command file, or not of this region. */
    struct hg_control_config *config = config_with(2);
    config->streams[0].stream = 6;
    CU_ASSERT_EQUAL(hg_grant_groups(config, status_with(1, HG_STATUS_GROUP_OPEN)), 0);
    config = config_with(2);
    struct hg_control_status *status = status_with(1, HG_STATUS_GROUP_OPEN);
    config->streams[0].region = status->streams[0].region = 2;
    CU_ASSERT_EQUAL(hg_grant_groups(config, status), 0);
    /* A metastore without a record of what was sealed has lost it. */
    struct hg_status_group *row = &status->groups[0];
    row->epoch_promised = 0;
    row->epoch_open = 1;
    CU_ASSERT_FALSE(hg_grant_group_was_sealed(&none, 3));
    CU_ASSERT_FALSE(hg_grant_group_was_sealed(status, 3));
    row->epoch_promised = 1;
    CU_ASSERT_TRUE(hg_grant_group_was_sealed(status, 3));
    CU_ASSERT_FALSE(hg_grant_group_was_sealed(status, 4));
    row->epoch_promised = 0;
    row->epoch_open = 2;
    CU_ASSERT_TRUE(hg_grant_group_was_sealed(status, 3));
}

static int swap_broken(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t revision,
                       const struct hg_metastore_record *wanted, struct hg_metastore_record *found)
{
    (void)key;
    (void)revision;
    (void)wanted;
    (void)found;
    snprintf(store->problem, sizeof(store->problem), "no disk");
    return -EIO;
}

static void test_metastore_broken(void)
{
    static const struct hg_metastore_key key = {.cluster = 7, .region = 1, .group = 3};
    struct hg_metastore *store = hg_metastore_memory_open();
    struct hg_metastore_record record;
    char text[HG_METASTORE_TEXT_BYTES];
    store->swap = swap_broken;
    CU_ASSERT_EQUAL(hg_metastore_grant(store, &key, 11, 2000, 0, true, &record, text), -EIO);
    CU_ASSERT_STRING_EQUAL(text, "no disk");
    store->close(store);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("grant", NULL, NULL);
    CU_add_test(suite, "renewal", test_renewal);
    CU_add_test(suite, "clocks", test_clocks);
    CU_add_test(suite, "metastore", test_metastore);
    CU_add_test(suite, "a shorter one", test_shorter);
    CU_add_test(suite, "a metastore that can't write", test_metastore_broken);
    CU_add_test(suite, "groups that are asked for", test_groups);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 6;
}
