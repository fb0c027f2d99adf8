/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/replay.h"
#include <CUnit/Basic.h>
#include <stdlib.h>

#define W HG_ESP_REPLAY_PACKETS

static struct hg_replay replay;

static bool take(uint64_t number)
{
    bool fresh = hg_replay_fresh(&replay, number);
    if (fresh)
        hg_replay_mark(&replay, number);
    return fresh;
}

struct step {
    uint64_t number;
    bool fresh;
};

static void steps_run(const struct step *steps, size_t count)
{
    hg_replay_init(&replay);
    for (size_t i = 0; i < count; i++) {
        bool fresh = take(steps[i].number);
        if (fresh != steps[i].fresh)
            fprintf(stderr, "step %zu, number %#llx: fresh is %d\n", i, (unsigned long long)steps[i].number,
                    fresh);
        CU_ASSERT_EQUAL(fresh, steps[i].fresh);
    }
}

static void test_table(void)
{
    static const struct step steps[] = {
        {0, false},
        {1, true},
        {1, false},
        {9, true},
        {8, true},
        {7, true},
        {7, false},
        {W, true},
        {W - 1, true},
        {W - 1, false},
        {W - 2, true},
        {2, true},
        {2, false},
        {W + 1, true},
        {2, false},
        {3, true},
        {W + 16, true},
        {3, false},
        {16, false},
        {17, true},
        {17, false},
        {W + 64, true},
        {64, false},
        {65, true},
        {W + 65, true},
        {65, false},
        {66, true},
        {4 * W, true},
        {3 * W, false},
        {3 * W + 1, true},
        {3 * W + 1, false},
        {4 * W - 1, true},
        {4 * W, false},
        {UINT64_C(1) << 40, true},
        {4 * W + 1, false},
        {(UINT64_C(1) << 40) - W, false},
        {(UINT64_C(1) << 40) - W + 1, true},
        {(UINT64_C(1) << 40) - 1, true},
        {UINT64_C(1) << 40, false},
    };
    steps_run(steps, HG_COUNT(steps));
}

static void test_forward(void)
{
    hg_replay_init(&replay);
    for (uint64_t i = 1; i <= 3 * W; i++)
        CU_ASSERT_FATAL(take(i));
    for (uint64_t i = 0; i <= 3 * W; i++)
        CU_ASSERT_FALSE_FATAL(take(i));
}

static void test_backward(void)
{
    hg_replay_init(&replay);
    CU_ASSERT(take(5 * W));
    for (uint64_t i = 5 * W - 1; i > 4 * W; i--)
        CU_ASSERT_FATAL(take(i));
    CU_ASSERT_FALSE(take(4 * W));
    for (uint64_t i = 4 * W; i <= 5 * W; i++)
        CU_ASSERT_FALSE_FATAL(take(i));
}

/* A jump past the whole window leaves nothing behind of what was seen before it. */
static void test_jump(void)
{
    for (uint64_t past = 0; past < 130; past++) {
        hg_replay_init(&replay);
        for (uint64_t i = 1; i <= W + 64; i++)
            CU_ASSERT_FATAL(take(i));
        uint64_t top = 4 * W + past;
        CU_ASSERT_FATAL(take(top));
        for (uint64_t i = top - W + 1; i < top; i++)
            CU_ASSERT_FATAL(take(i));
    }
}

/* Against a model that remembers every number. */
static void test_model(void)
{
    static uint8_t seen[1 << 20];
    uint64_t top = 0;
    unsigned short state[3] = {1, 2, 3};
    memset(seen, 0, sizeof(seen));
    hg_replay_init(&replay);
    for (int i = 0; i < 300000; i++) {
        uint64_t jump = (uint64_t)nrand48(state) % (i % 1000 == 0 ? 3 * W : 100);
        uint64_t number = (uint64_t)nrand48(state) % 4 != 0 ? top + jump : top - hg_min_u64(top, jump * 100);
        if (number >= sizeof(seen))
            break;
        bool fresh = number != 0 && !seen[number] && number + W > top;
        CU_ASSERT_EQUAL_FATAL(take(number), fresh);
        if (fresh) {
            seen[number] = 1;
            top = hg_max_u64(top, number);
        }
    }
    CU_ASSERT(top > 100 * W);
}

static const struct {
    uint64_t top;
    uint32_t low;
    uint64_t number;
} extend_cases[] = {
    {0, 1, 1},
    {0, UINT32_MAX - W, UINT32_MAX - W},
    {0, UINT32_MAX, 0}, /* would be before the first */
    {100, UINT32_MAX, 0},
    {W - 1, UINT32_MAX, UINT32_MAX},
    {W - 1, 0, 0},
    {UINT32_MAX, UINT32_MAX, UINT32_MAX},
    {UINT32_MAX, 0, UINT64_C(1) << 32},
    {UINT32_MAX, 5, (UINT64_C(1) << 32) + 5},
    {UINT32_MAX - 10, UINT32_MAX - W - 9, UINT32_MAX - W - 9},
    {UINT32_MAX - 10, UINT32_MAX - W - 10, (UINT64_C(2) << 32) - W - 11}, /* left of the window: a wrap on */
    {(UINT64_C(1) << 32) + 5, UINT32_MAX, UINT32_MAX},
    {(UINT64_C(1) << 32) + 5, UINT32_MAX - W + 7, UINT32_MAX - W + 7},
    {(UINT64_C(1) << 32) + 5, UINT32_MAX - W + 6, (UINT64_C(2) << 32) - 1 - W + 6},
    {(UINT64_C(1) << 32) + W - 2, UINT32_MAX, UINT32_MAX},
    {(UINT64_C(1) << 32) + W - 1, UINT32_MAX, (UINT64_C(2) << 32) - 1},
    {(UINT64_C(7) << 32) + 1000000, 1000001, (UINT64_C(7) << 32) + 1000001},
    {(UINT64_C(7) << 32) + 1000000, 5, (UINT64_C(8) << 32) + 5},
    {UINT64_MAX, 0, 0}, /* numbers end there */
};

static void test_extend(void)
{
    for (size_t i = 0; i < HG_COUNT(extend_cases); i++) {
        hg_replay_init(&replay);
        replay.top = extend_cases[i].top;
        uint64_t number = hg_replay_extend(&replay, extend_cases[i].low);
        if (number != extend_cases[i].number)
            fprintf(stderr, "case %zu: %#llx\n", i, (unsigned long long)number);
        CU_ASSERT_EQUAL(number, extend_cases[i].number);
    }
}

/* Every number of the window and of the half above it comes back from its low bits, wherever the window is.
 */
static void test_extend_near(void)
{
    static const uint64_t tops[] = {W,
                                    W + 1,
                                    UINT32_MAX - 1,
                                    UINT32_MAX,
                                    UINT64_C(1) << 32,
                                    (UINT64_C(1) << 32) + W - 1,
                                    (UINT64_C(9) << 32) + 77};
    for (size_t i = 0; i < HG_COUNT(tops); i++) {
        hg_replay_init(&replay);
        replay.top = tops[i];
        for (uint64_t number = tops[i] - W + 1; number < tops[i] + 3 * W; number++)
            CU_ASSERT_EQUAL_FATAL(hg_replay_extend(&replay, (uint32_t)number), number);
        CU_ASSERT_EQUAL(hg_replay_extend(&replay, (uint32_t)(tops[i] + INT32_MAX)), tops[i] + INT32_MAX);
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("replay", NULL, NULL);
    CU_ADD_TEST(suite, test_table);
    CU_ADD_TEST(suite, test_forward);
    CU_ADD_TEST(suite, test_backward);
    CU_ADD_TEST(suite, test_jump);
    CU_ADD_TEST(suite, test_model);
    CU_ADD_TEST(suite, test_extend);
    CU_ADD_TEST(suite, test_extend_near);
    CU_basic_run_tests();
    int failures = (int)CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
