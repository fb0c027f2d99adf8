/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/replication.h"

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

/* Parses from an exactly sized heap block, so that a sanitizer sees a read past the end. */
static enum hg_replication_parse parse(const uint8_t *bytes, size_t size,
                                       struct hg_replication_message *message)
{
    uint8_t *copy = malloc(size + (size == 0));
    memcpy(copy, bytes, size);
    enum hg_replication_parse result = hg_replication_parse(copy, size, message);
    if (message->data != NULL) {
        CU_ASSERT_PTR_EQUAL(message->data, copy + HG_REPLICATION_DATA_HEADER_BYTES);
        CU_ASSERT_EQUAL(message->data_bytes, size - HG_REPLICATION_DATA_HEADER_BYTES);
        message->data = NULL;
    }
    free(copy);
    return result;
}

static void test_data(void)
{
    uint8_t bytes[28] = {'w', 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0,   1,   2,
                         3,   4, 9, 1, 1, 1, 1, 1, 1, 1, 1, 'a', 'b', 'c'};
    struct hg_replication_message message;
    CU_ASSERT_EQUAL(parse(bytes, 28, &message), HG_PARSE_OK);
    CU_ASSERT_TRUE(message.is_data);
    CU_ASSERT_FALSE(message.reply_requested);
    CU_ASSERT_EQUAL(message.lsn, UINT64_C(0x102030405));
    CU_ASSERT_EQUAL(message.lsn_end, UINT64_C(0x102030409));
    CU_ASSERT_EQUAL(message.data_bytes, 3);
    CU_ASSERT_EQUAL(parse(bytes, 25, &message), HG_PARSE_EMPTY);
    for (size_t size = 1; size < 25; size++) {
        CU_ASSERT_EQUAL(parse(bytes, size, &message), HG_PARSE_TRUNCATED);
    }
    CU_ASSERT_EQUAL(parse(bytes, 0, &message), HG_PARSE_EMPTY);
    memset(bytes + 1, 0xff, 8);
    CU_ASSERT_EQUAL(parse(bytes, 28, &message), HG_PARSE_POSITION_INVALID);
    bytes[8] = 0xfc;
    CU_ASSERT_EQUAL(parse(bytes, 28, &message), HG_PARSE_OK);
    memset(bytes + 1, 0, 8);
    CU_ASSERT_EQUAL(parse(bytes, 28, &message), HG_PARSE_POSITION_INVALID);
}

static void test_data_size_limit(void)
{
    size_t size = HG_REPLICATION_DATA_HEADER_BYTES + HG_REPLICATION_DATA_BYTES_MAX;
    uint8_t *bytes = calloc(1, size + 1);
    struct hg_replication_message message;
    bytes[0] = 'w';
    bytes[4] = 1;
    CU_ASSERT_EQUAL(hg_replication_parse(bytes, size, &message), HG_PARSE_OK);
    CU_ASSERT_EQUAL(message.data_bytes, HG_REPLICATION_DATA_BYTES_MAX);
    CU_ASSERT_EQUAL(hg_replication_parse(bytes, size + 1, &message), HG_PARSE_TOO_LARGE);
    free(bytes);
}

static void test_keepalive(void)
{
    uint8_t bytes[19] = {'k', 0, 0, 0, 1, 2, 3, 4, 5, 7, 7, 7, 7, 7, 7, 7, 7, 1};
    struct hg_replication_message message;
    CU_ASSERT_EQUAL(parse(bytes, 18, &message), HG_PARSE_OK);
    CU_ASSERT_FALSE(message.is_data);
    CU_ASSERT_TRUE(message.reply_requested);
    CU_ASSERT_EQUAL(message.lsn_end, UINT64_C(0x102030405));
    bytes[17] = 0;
    CU_ASSERT_EQUAL(parse(bytes, 18, &message), HG_PARSE_OK);
    CU_ASSERT_FALSE(message.reply_requested);
    CU_ASSERT_EQUAL(parse(bytes, 17, &message), HG_PARSE_TRUNCATED);
    CU_ASSERT_EQUAL(parse(bytes, 19, &message), HG_PARSE_TRAILING);
}

static void test_unknown(void)
{
    struct hg_replication_message message;
    for (int type = 0; type < 256; type++) {
        uint8_t bytes[64] = {(uint8_t)type};
        if (type != 'w' && type != 'k') {
            CU_ASSERT_EQUAL(parse(bytes, sizeof(bytes), &message), HG_PARSE_UNKNOWN_TYPE);
        }
    }
    for (int result = HG_PARSE_OK; result <= HG_PARSE_POSITION_INVALID; result++) {
        CU_ASSERT_PTR_NOT_NULL(hg_replication_parse_text((enum hg_replication_parse)result));
    }
}

static void test_status(void)
{
    static const uint8_t expected[34] = {'r', 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0,    1,    2,    3, 4, 5,
                                         0,   0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0, 1, 1};
    uint8_t message[HG_REPLICATION_STATUS_BYTES];
    hg_replication_status_build(message, UINT64_C(0x102030405), INT64_C(0x0a0b0c0001), true);
    CU_ASSERT_EQUAL(memcmp(message, expected, sizeof(expected)), 0);
    hg_replication_status_build(message, UINT64_C(0x102030405), INT64_C(0x0a0b0c0001), false);
    CU_ASSERT_EQUAL(message[33], 0);
}

static void test_slot_names(void)
{
    char longest[65];
    memset(longest, 'a', sizeof(longest));
    longest[64] = '\0';
    CU_ASSERT_FALSE(hg_slot_name_valid(longest));
    longest[63] = '\0';
    CU_ASSERT_TRUE(hg_slot_name_valid(longest));
    CU_ASSERT_TRUE(hg_slot_name_valid("helio_a1"));
    CU_ASSERT_FALSE(hg_slot_name_valid(""));
    CU_ASSERT_FALSE(hg_slot_name_valid("Helio"));
    CU_ASSERT_FALSE(hg_slot_name_valid("a\"; DROP"));
    CU_ASSERT_FALSE(hg_slot_name_valid("a-b"));
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("postgres_replication", NULL, NULL);
    CU_add_test(suite, "WAL data", test_data);
    CU_add_test(suite, "WAL data over the limit", test_data_size_limit);
    CU_add_test(suite, "keepalive", test_keepalive);
    CU_add_test(suite, "unknown types", test_unknown);
    CU_add_test(suite, "status bytes", test_status);
    CU_add_test(suite, "slot names", test_slot_names);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
