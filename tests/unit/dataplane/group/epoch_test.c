/* SPDX-License-Identifier: Apache-2.0
 *
 * The decisions of a group, state by state, and that no order of events takes a promise back.
 */
#include "dataplane/group/epoch.h"
#include "dataplane/group/history.h"
#include "drivers/platform/random.h"

#include <CUnit/Basic.h>

static struct hg_group fresh(void)
{
    struct hg_group group;
    hg_group_init(&group);
    return group;
}

static struct hg_group promising(uint64_t epoch)
{
    struct hg_group group = fresh();
    hg_group_promise(&group, epoch);
    return group;
}

static struct hg_group sealed(uint64_t epoch)
{
    struct hg_group group = promising(epoch);
    hg_group_promise_durable(&group, epoch);
    return group;
}

static struct hg_group begun(uint64_t epoch)
{
    struct hg_group group = sealed(epoch);
    hg_group_begin(&group, epoch, 9);
    return group;
}

static struct hg_group opened(uint64_t epoch)
{
    struct hg_group group = begun(epoch);
    hg_group_released(&group, 10);
    hg_group_begin_durable(&group);
    return group;
}

/* Every question, about epoch 4 to 6, in every state of a group that was asked for epoch 5. */
static void test_table(void)
{
    enum { FRESH, PROMISING, SEALED, BEGUN, OPENED, STATES };
    static const struct {
        enum hg_group_reason append, replicate[3], seal[3], open[3], read[3], truncate[3];
    } rows[STATES] = {
#define OK      HG_GROUP_OK
#define R(name) HG_GROUP_##name
        [FRESH] = {OK,
                   {OK, OK, OK},
                   {OK, OK, OK},
                   {R(open_unpromised), R(open_unpromised), R(open_unpromised)},
                   {R(read_unfenced), R(read_unfenced), R(read_unfenced)},
                   {R(truncate_epoch), R(truncate_epoch), R(truncate_epoch)}},
        [PROMISING] = {R(append_sealed),
                       {R(batch_epoch), OK, OK},
                       {R(seal_epoch), OK, OK},
                       {R(open_epoch), R(open_unpromised), R(open_unpromised)},
                       {R(read_unfenced), R(read_unfenced), R(read_unfenced)},
                       {R(truncate_epoch), R(truncate_epoch), R(truncate_epoch)}},
        [SEALED] = {R(append_sealed),
                    {R(batch_epoch), OK, OK},
                    {R(seal_epoch), OK, OK},
                    {R(open_epoch), OK, R(open_unpromised)},
                    {R(read_unfenced), OK, R(read_unfenced)},
                    {R(truncate_epoch), OK, R(truncate_epoch)}},
        [BEGUN] = {R(append_sealed),
                   {R(batch_epoch), OK, OK},
                   {R(seal_epoch), R(seal_open), OK},
                   {R(open_epoch), OK, R(open_unpromised)},
                   {R(read_unfenced), OK, R(read_unfenced)},
                   {R(truncate_epoch), OK, R(truncate_epoch)}},
        [OPENED] = {OK,
                    {R(batch_epoch), OK, OK},
                    {R(seal_epoch), R(seal_open), OK},
                    {R(open_epoch), OK, R(open_unpromised)},
                    {R(read_unfenced), OK, R(read_unfenced)},
                    {R(truncate_epoch), OK, R(truncate_epoch)}},
#undef OK
#undef R
    };
    const struct hg_group groups[STATES] = {[FRESH] = fresh(),
                                            [PROMISING] = promising(5),
                                            [SEALED] = sealed(5),
                                            [BEGUN] = begun(5),
                                            [OPENED] = opened(5)};
    for (uint32_t state = 0; state < STATES; state++) {
        const struct hg_group *group = &groups[state];
        CU_ASSERT_EQUAL(hg_group_append(group), rows[state].append);
        for (uint32_t i = 0; i < 3; i++) {
            uint64_t epoch = 4 + i;
            CU_ASSERT_EQUAL(hg_group_replicate(group, epoch, 1, 1), rows[state].replicate[i]);
            CU_ASSERT_EQUAL(hg_group_seal(group, epoch, 1), rows[state].seal[i]);
            CU_ASSERT_EQUAL(hg_group_open(group, epoch, 1), rows[state].open[i]);
            CU_ASSERT_EQUAL(hg_group_read(group, epoch), rows[state].read[i]);
            CU_ASSERT_EQUAL(hg_group_truncate(group, epoch, 10, 10), rows[state].truncate[i]);
        }
    }
}

static void test_limits(void)
{
    struct hg_group group = fresh(), five = sealed(5);
    CU_ASSERT_EQUAL(hg_group_seal(&group, 0, 1), HG_GROUP_seal_limit);
    CU_ASSERT_EQUAL(hg_group_seal(&group, (uint64_t)HG_EPOCH_MAX + 1, 1), HG_GROUP_seal_limit);
    CU_ASSERT_EQUAL(hg_group_seal(&group, HG_EPOCH_FIRST, 1), HG_GROUP_seal_open);
    CU_ASSERT_EQUAL(hg_group_seal(&group, 7, 7), HG_GROUP_seal_epoch); /* somebody writes under it */
    CU_ASSERT_EQUAL(hg_group_seal(&five, 5, 5), HG_GROUP_OK);          /* for whom it was promised */
    CU_ASSERT_EQUAL(hg_group_open(&five, 5, 5), HG_GROUP_open_epoch);  /* somebody wrote under it */
    CU_ASSERT_EQUAL(hg_group_truncate(&five, 5, 9, 10), HG_GROUP_truncate_floor);
    /* A writer also sends what older epochs wrote, in order, and never what it can't have. */
    CU_ASSERT_EQUAL(hg_group_replicate(&five, 5, 2, 3), HG_GROUP_OK);
    CU_ASSERT_EQUAL(hg_group_replicate(&five, 5, 3, 2), HG_GROUP_batch_order);
    CU_ASSERT_EQUAL(hg_group_replicate(&five, 5, 3, 6), HG_GROUP_batch_order);
    CU_ASSERT_EQUAL(hg_group_replicate(&five, 5, 6, 6), HG_GROUP_batch_epoch);
    CU_ASSERT_FALSE(hg_group_may_answer(&group, 0) && hg_group_is_sealed(&group));
    struct hg_group six = sealed(5);
    hg_group_promise(&six, 6);
    CU_ASSERT_FALSE(hg_group_may_answer(&six, 6));
    CU_ASSERT_FALSE(hg_group_may_answer(&six, 5)); /* 6 may be answered the next moment */
}

static void test_recovered(void)
{
    struct hg_group group;
    hg_group_recovered(&group, 0, 0, 0);
    CU_ASSERT_FALSE(hg_group_is_sealed(&group));
    hg_group_recovered(&group, 4, 0, 0);
    CU_ASSERT_TRUE(hg_group_is_sealed(&group));
    hg_group_recovered(&group, 4, 4, 4);
    CU_ASSERT_FALSE(hg_group_is_sealed(&group));
    hg_group_recovered(&group, 6, 4, 4);
    CU_ASSERT_TRUE(hg_group_is_sealed(&group));
    hg_group_recovered(&group, 3, 4, 4); /* an older superblock: what began was promised */
    CU_ASSERT_EQUAL(group.epoch_promised, 4);
    CU_ASSERT_FALSE(hg_group_is_sealed(&group));
    hg_group_recovered(&group, 4, 4, 1); /* it began, and producers were not let in */
    CU_ASSERT_TRUE(hg_group_is_sealed(&group));
    CU_ASSERT_EQUAL(hg_group_release(&group, 4), HG_GROUP_OK);
}

static void test_release(void)
{
    struct hg_group group = sealed(5);
    CU_ASSERT_EQUAL(hg_group_release(&group, 5), HG_GROUP_release_unbegun);
    CU_ASSERT_EQUAL(hg_group_release(&group, 4), HG_GROUP_open_epoch);
    group = begun(5);
    hg_group_begin_durable(&group);
    CU_ASSERT_EQUAL(group.epoch_started, 5);
    CU_ASSERT_TRUE(hg_group_is_sealed(&group));
    CU_ASSERT_EQUAL(hg_group_release(&group, 5), HG_GROUP_OK);
    hg_group_released(&group, 11);
    CU_ASSERT_TRUE(hg_group_is_sealed(&group));
    hg_group_begin_durable(&group);
    CU_ASSERT_FALSE(hg_group_is_sealed(&group));
    CU_ASSERT_EQUAL(hg_group_release(&group, 5), HG_GROUP_OK); /* again */
    hg_group_promise(&group, 6);
    CU_ASSERT_EQUAL(hg_group_release(&group, 5), HG_GROUP_open_epoch);
}

static void step(struct hg_group *group, struct hg_random *random)
{
    uint64_t epoch = 1 + hg_random_below(random, 9);
    switch (hg_random_below(random, 5)) {
    case 0:
        if (hg_group_seal(group, epoch, group->epoch_begun) == HG_GROUP_OK)
            hg_group_promise(group, epoch);
        break;
    case 1:
        if (group->epoch_wanted > group->epoch_promised)
            hg_group_promise_durable(group, group->epoch_wanted);
        break;
    case 2:
        if (hg_group_open(group, epoch, group->epoch_begun) == HG_GROUP_OK && epoch != group->epoch_begun)
            hg_group_begin(group, epoch, 1);
        else if (hg_group_release(group, epoch) == HG_GROUP_OK)
            hg_group_released(group, 1);
        break;
    case 3:
        hg_group_begin_durable(group);
        break;
    default: /* a crash: what is not on the device is gone */
        hg_group_recovered(group, group->epoch_promised, group->epoch_started > 1 ? group->epoch_started : 0,
                           group->epoch_open);
    }
}

static void test_monotone(void)
{
    struct hg_random random;
    uint32_t opened_count = 0, sealed_count = 0;
    hg_random_init(&random, 5);
    for (uint32_t run = 0; run < 20000; run++) {
        struct hg_group group = fresh();
        uint64_t answered = 0;
        for (uint32_t i = 0; i < 40; i++) {
            step(&group, &random);
            CU_ASSERT_FATAL(hg_group_fence(&group) >= hg_max_u64(answered, 1));
            CU_ASSERT_FATAL(group.epoch_open <= group.epoch_begun);
            CU_ASSERT_FATAL(group.epoch_begun == 1 || group.epoch_begun <= group.epoch_promised);
            CU_ASSERT_FATAL(hg_group_is_sealed(&group) || group.epoch_open >= answered);
            if (group.epoch_wanted != 0 && hg_group_may_answer(&group, group.epoch_wanted))
                answered = group.epoch_wanted;
            sealed_count += hg_group_is_sealed(&group);
            opened_count += group.epoch_open > 1 && !hg_group_is_sealed(&group);
        }
    }
    CU_ASSERT(opened_count > 1000 && sealed_count > 1000);
}

static void test_history(void)
{
    struct hg_history history = {0};
    CU_ASSERT_EQUAL(hg_history_last(&history).epoch, 0);
    for (uint64_t epoch = 1; epoch <= HG_EPOCH_STARTS_MAX + 3; epoch++) {
        hg_history_add(&history, epoch, 10 * epoch);
        hg_history_add(&history, epoch, 10 * epoch + 5); /* goes on */
        CU_ASSERT_EQUAL(hg_history_last(&history).lsn, 10 * epoch);
    }
    CU_ASSERT_EQUAL(history.count, HG_EPOCH_STARTS_MAX);
    CU_ASSERT_EQUAL(history.starts[0].epoch, 4);
    hg_history_add(&history, 2, 1000);
    CU_ASSERT_EQUAL(hg_history_last(&history).epoch, HG_EPOCH_STARTS_MAX + 3);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("group_epoch", NULL, NULL);
    CU_add_test(suite, "every question in every state", test_table);
    CU_add_test(suite, "limits", test_limits);
    CU_add_test(suite, "recovered", test_recovered);
    CU_add_test(suite, "release", test_release);
    CU_add_test(suite, "promises are monotone", test_monotone);
    CU_add_test(suite, "history", test_history);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0 || CU_get_number_of_tests_run() != 6;
}
