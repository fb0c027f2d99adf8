/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is told what when a stream moves, and what is said when it stays.
 */
#include "dataplane/move.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <stdio.h>

static struct hg_move move;
static struct hg_placement placement;
static struct hg_places places[3];
static struct hg_control_config config;

static void begin(void)
{
    memset(&move, 0, sizeof(move));
    memset(places, 0, sizeof(places));
    memset(&config, 0, sizeof(config));
    hg_placement_init(&placement, 3);
    for (uint32_t i = 0; i < 3; i++) {
        places[i].worker = i;
        hg_placement_hold(&placement, &places[i]);
    }
    config.stream_count = 1;
    config.streams[0].stream = 7;
    config.streams[0].place = 2;
    snprintf(config.streams[0].name, sizeof(config.streams[0].name), "seven");
}

static void put(uint32_t worker, uint32_t type, bool is_last)
{
    CU_ASSERT_TRUE_FATAL(move.letter_due);
    CU_ASSERT_EQUAL(move.letter_worker, worker);
    CU_ASSERT_EQUAL(move.letter.type, type);
    CU_ASSERT_EQUAL(move.letter.number, 7);
    CU_ASSERT_EQUAL(hg_move_put(&move, &placement, &config), is_last);
}

static void answer(uint32_t type, int32_t code, const char *text)
{
    struct hg_letter letter = {.type = type, .code = code};
    snprintf(letter.body.text, sizeof(letter.body.text), "%s", text);
    hg_move_answer(&move, &letter);
}

static void test_moves(void)
{
    begin();
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 0), 0);
    put(1, HG_LETTER_STREAM_LEAVE, false);
    move.transfer.records[0].move = 1; /* worker 1 fills it */
    answer(HG_LETTER_STREAM_LEFT, 0, "");
    CU_ASSERT_PTR_EQUAL(move.letter.pointer, &move.transfer);
    put(0, HG_LETTER_STREAM_ENTER, false);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 7), -1);
    answer(HG_LETTER_STREAM_ENTERED, 0, "");
    CU_ASSERT_EQUAL(move.letter.number2, 0);
    put(1, HG_LETTER_STREAM_END, true);
    CU_ASSERT_EQUAL(move.phase, HG_MOVE_IDLE);
    CU_ASSERT_EQUAL(move.code, 0);
    CU_ASSERT_EQUAL(config.streams[0].place, 1);
    CU_ASSERT_EQUAL(hg_placement_held(&placement, 7), 0);
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 0), -EALREADY);
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 2), 0);
}

static void test_refused(void)
{
    begin();
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "nobody", 0), -ENOENT);
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 3), -EINVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(move.text, "no worker 3"));
    CU_ASSERT_FALSE(move.letter_due);
    CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 2), 0);
    put(1, HG_LETTER_STREAM_LEAVE, false);
    answer(HG_LETTER_STREAM_LEFT, -ETIMEDOUT, "peer b lacks some of it");
    CU_ASSERT_EQUAL(move.phase, HG_MOVE_IDLE);
    CU_ASSERT_FALSE(move.letter_due); /* it knows that it stays */
    CU_ASSERT_EQUAL(move.code, -ETIMEDOUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(move.text, "seven stays with worker 1: peer b lacks"));
    static const int32_t codes[] = {-EAGAIN, -EEXIST, -ENOSPC};
    for (uint32_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(hg_move_begin(&move, &placement, &config, "seven", 2), 0);
        put(1, HG_LETTER_STREAM_LEAVE, false);
        answer(HG_LETTER_STREAM_LEFT, 0, "");
        put(2, HG_LETTER_STREAM_ENTER, false);
        answer(HG_LETTER_STREAM_ENTERED, codes[i], "");
        put(1, HG_LETTER_STREAM_STAY, true);
        CU_ASSERT_EQUAL(move.code, codes[i]);
        CU_ASSERT_PTR_NOT_NULL(strstr(move.text, "stays with worker 1: the log of worker 2"));
        CU_ASSERT_EQUAL(config.streams[0].place, 2);
        CU_ASSERT_EQUAL(hg_placement_held(&placement, 7), -1);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("move", NULL, NULL);
    CU_add_test(suite, "it moves", test_moves);
    CU_add_test(suite, "it stays", test_refused);
    CU_basic_run_tests();
    return CU_get_number_of_failures() != 0;
}
