/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/platform/address.h"
#include <CUnit/Basic.h>

static struct hg_address parsed(const char *text)
{
    struct hg_address address = {0};
    CU_ASSERT(hg_address_parse(text, &address));
    return address;
}

static void test_parse(void)
{
    static const char *const refused[] = {
        "",   "10.0.0", "10.0.0.256", "0.0.0.1",         "127.0.0.1", "224.0.0.1", "255.255.255.255",
        "::", "::1",    "ff02::1",    "::ffff:10.0.0.1", "fd00::g",   "10.0.0.1 ", "fe80::1%2"};
    static const char *const stations[] = {"10.0.0.1", "223.255.255.254", "fd00::1", "fe80::1",
                                           "2001:db8::ff"};
    char text[HG_ADDRESS_TEXT_BYTES];
    for (uint32_t i = 0; i < HG_COUNT(refused); i++) {
        struct hg_address address = {0};
        CU_ASSERT(!hg_address_parse(refused[i], &address));
        CU_ASSERT(!hg_address_is_set(&address));
    }
    for (uint32_t i = 0; i < HG_COUNT(stations); i++) {
        struct hg_address address = parsed(stations[i]);
        CU_ASSERT_STRING_EQUAL(hg_address_text(&address, text), stations[i]);
        CU_ASSERT(address.family == (i < 2 ? HG_FAMILY_IPV4 : HG_FAMILY_IPV6));
        CU_ASSERT(hg_address_is_link_local(&address) == (i == 3));
    }
    struct hg_address none = {0}, four = hg_address_ipv4(0x0a000001), same = parsed("10.0.0.1");
    CU_ASSERT_STRING_EQUAL(hg_address_text(&none, text), "-");
    CU_ASSERT(hg_address_equal(&four, &same));
}

static void test_prefix(void)
{
    static const struct {
        const char *address, *prefix;
        uint32_t bits;
        bool in;
    } cases[] = {
        {"10.0.0.7", "10.0.0.1", 24, true},         {"10.0.1.7", "10.0.0.1", 24, false},
        {"10.0.0.127", "10.0.0.1", 25, true},       {"10.0.0.128", "10.0.0.1", 25, false},
        {"10.0.0.2", "10.0.0.1", 32, false},        {"10.0.0.1", "10.0.0.1", 32, true},
        {"10.0.0.1", "10.0.0.1", 33, false},        {"11.0.0.1", "10.0.0.1", 0, true},
        {"fd00::2", "fd00::1", 64, true},           {"fd00:0:0:1::2", "fd00::1", 64, false},
        {"fd00:0:0:1::2", "fd00::1", 63, true},     {"fd00::2", "10.0.0.1", 0, false},
        {"fd00::1:0:2", "fd00::1:0:1", 127, false},
    };
    for (uint32_t i = 0; i < HG_COUNT(cases); i++) {
        struct hg_address address = parsed(cases[i].address), prefix = parsed(cases[i].prefix);
        CU_ASSERT(hg_address_in_prefix(&address, &prefix, cases[i].bits) == cases[i].in);
    }
}

int main(void)
{
    CU_initialize_registry();
    CU_pSuite suite = CU_add_suite("address", NULL, NULL);
    CU_add_test(suite, "parse", test_parse);
    CU_add_test(suite, "prefix", test_prefix);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures > 0;
}
