/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/lsn.h"

#include <CUnit/Basic.h>
#include <string.h>

#define MB (UINT32_C(1) << 20)

static void test_lsn_text(void)
{
    static const char *const bad[] = {"",      "/",   "0",           "0/",          "/0",   "0/0 ",  " 0/0",
                                      "0x1/0", "1/G", "123456789/0", "0/123456789", "-1/0", "0/0/0", "1//2"};
    char text[HG_LSN_TEXT_BYTES];
    uint64_t lsn = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_FALSE(hg_lsn_parse(bad[i], &lsn));
        CU_ASSERT_EQUAL(lsn, 7);
    }
    CU_ASSERT_TRUE(hg_lsn_parse("16/B374D848", &lsn));
    CU_ASSERT_EQUAL(lsn, UINT64_C(0x16B374D848));
    CU_ASSERT_STRING_EQUAL(hg_lsn_format(text, lsn), "16/B374D848");
    CU_ASSERT_TRUE(hg_lsn_parse("ffffffff/FFFFFFFF", &lsn));
    CU_ASSERT_EQUAL(lsn, UINT64_MAX);
    CU_ASSERT_STRING_EQUAL(hg_lsn_format(text, lsn), "FFFFFFFF/FFFFFFFF");
    CU_ASSERT_STRING_EQUAL(hg_lsn_format(text, 0x3000000), "0/3000000");
}

static void test_numbers(void)
{
    uint64_t value = 0;
    CU_ASSERT_TRUE(hg_decimal_parse("18446744073709551615", UINT64_MAX, &value));
    CU_ASSERT_EQUAL(value, UINT64_MAX);
    CU_ASSERT_FALSE(hg_decimal_parse("18446744073709551616", UINT64_MAX, &value));
    CU_ASSERT_FALSE(hg_decimal_parse("4294967296", UINT32_MAX, &value));
    CU_ASSERT_TRUE(hg_decimal_parse("4294967295", UINT32_MAX, &value));
    CU_ASSERT_FALSE(hg_decimal_parse("", UINT64_MAX, &value));
    CU_ASSERT_FALSE(hg_decimal_parse("1x", UINT64_MAX, &value));
    CU_ASSERT_FALSE(hg_decimal_parse("-1", UINT64_MAX, &value));
    CU_ASSERT_FALSE(hg_decimal_parse("7", 3, &value));

    CU_ASSERT_TRUE(hg_duration_parse("1min", &value));
    CU_ASSERT_EQUAL(value, UINT64_C(60000000000));
    CU_ASSERT_TRUE(hg_duration_parse("500ms", &value));
    CU_ASSERT_EQUAL(value, 500000000);
    CU_ASSERT_TRUE(hg_duration_parse("0", &value));
    CU_ASSERT_EQUAL(value, 0);
    CU_ASSERT_FALSE(hg_duration_parse("10 s", &value));
    CU_ASSERT_FALSE(hg_duration_parse("s", &value));
    CU_ASSERT_FALSE(hg_duration_parse("18446744073709551615d", &value));
}

static void test_segment_bytes(void)
{
    uint32_t bytes = 0;
    CU_ASSERT_TRUE(hg_segment_bytes_parse("16MB", &bytes));
    CU_ASSERT_EQUAL(bytes, 16 * MB);
    CU_ASSERT_TRUE(hg_segment_bytes_parse("1GB", &bytes));
    CU_ASSERT_EQUAL(bytes, 1024 * MB);
    CU_ASSERT_TRUE(hg_segment_bytes_parse("1024kB", &bytes));
    CU_ASSERT_EQUAL(bytes, MB);
    CU_ASSERT_TRUE(hg_segment_bytes_parse("1048576", &bytes));
    CU_ASSERT_FALSE(hg_segment_bytes_parse("2GB", &bytes));
    CU_ASSERT_FALSE(hg_segment_bytes_parse("512kB", &bytes));
    CU_ASSERT_FALSE(hg_segment_bytes_parse("17MB", &bytes));
    CU_ASSERT_FALSE(hg_segment_bytes_parse("16mb", &bytes));
    CU_ASSERT_FALSE(hg_segment_bytes_parse("", &bytes));
    CU_ASSERT_EQUAL(bytes, MB);
    CU_ASSERT_FALSE(hg_segment_bytes_valid(0));
}

static void check_name(uint32_t timeline, uint64_t lsn, uint32_t segment_bytes, const char *expected)
{
    char name[HG_SEGMENT_NAME_BYTES];
    uint32_t timeline_read = 0;
    uint64_t lsn_read = 0;
    CU_ASSERT_STRING_EQUAL(hg_segment_name(name, timeline, lsn, segment_bytes), expected);
    CU_ASSERT_TRUE(hg_segment_name_parse(expected, segment_bytes, &timeline_read, &lsn_read));
    CU_ASSERT_EQUAL(timeline_read, timeline);
    CU_ASSERT_EQUAL(lsn_read, hg_segment_start(lsn, segment_bytes));
}

static void test_names(void)
{
    check_name(1, 0x3000000, 16 * MB, "000000010000000000000003");
    check_name(1, 0x3FFFFFF, 16 * MB, "000000010000000000000003");
    check_name(1, UINT64_C(0xFF000000), 16 * MB, "0000000100000000000000FF");
    check_name(1, UINT64_C(0x100000000), 16 * MB, "000000010000000100000000");
    check_name(26, UINT64_C(0x16B374D848), 16 * MB, "0000001A00000016000000B3");
    check_name(1, 0x3000000, MB, "000000010000000000000030");
    check_name(1, UINT64_C(0xFFF00000), MB, "000000010000000000000FFF");
    check_name(1, UINT64_C(0x1FC000000), 64 * MB, "00000001000000010000003F");
    check_name(1, UINT64_C(0x1C0000000), 1024 * MB, "000000010000000100000003");

    static const char *const bad[] = {"",
                                      "00000001000000000000000",
                                      "0000000100000000000000030",
                                      "000000010000000000000003.partial",
                                      "00000001000000000000000g",
                                      "00000001000000000000000a",
                                      "000000000000000000000003",
                                      "000000010000000000000100",
                                      "00000002.history"};
    uint32_t timeline = 9;
    uint64_t lsn = 9;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_FALSE(hg_segment_name_parse(bad[i], 16 * MB, &timeline, &lsn));
    }
    CU_ASSERT_EQUAL(timeline, 9);
    CU_ASSERT_EQUAL(lsn, 9);
}

static void test_arithmetic(void)
{
    CU_ASSERT_EQUAL(hg_segment_start(0x3000001, 16 * MB), 0x3000000);
    CU_ASSERT_EQUAL(hg_segment_start_up(0x3000000, 16 * MB), 0x3000000);
    CU_ASSERT_EQUAL(hg_segment_start_up(0x3000001, 16 * MB), 0x4000000);
    CU_ASSERT_EQUAL(hg_segment_start_up(0x3000001, MB), 0x3100000);
    CU_ASSERT_EQUAL(hg_segment_start_up(UINT64_MAX - 5, MB), UINT64_MAX);
    CU_ASSERT_EQUAL(hg_segment_start_up(0, MB), 0);
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("postgres_lsn", NULL, NULL);
    CU_add_test(suite, "text of positions", test_lsn_text);
    CU_add_test(suite, "numbers and times", test_numbers);
    CU_add_test(suite, "segment sizes", test_segment_bytes);
    CU_add_test(suite, "segment names", test_names);
    CU_add_test(suite, "segment arithmetic", test_arithmetic);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
