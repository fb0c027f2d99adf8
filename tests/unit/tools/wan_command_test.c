/* SPDX-License-Identifier: Apache-2.0
 *
 * The command language: every command once, every number, and that an error names its column and what was
 * expected.
 */
#include "tools/wan/command.h"

#include <CUnit/Basic.h>
#include <errno.h>

static struct hg_wan_command command;
static struct hg_wan_error error;

static bool parses(const char *line)
{
    return hg_wan_command_parse(line, &command, &error) == 0;
}

static bool fails(const char *line, uint32_t column, const char *text)
{
    return hg_wan_command_parse(line, &command, &error) == -EINVAL && error.column == column &&
           strstr(error.text, text) != NULL;
}

static void test_commands(void)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 0x0a};
    CU_ASSERT_TRUE(parses("") && command.verb == HG_WAN_VERB_NOTHING);
    CU_ASSERT_TRUE(parses("  # a comment\n") && command.verb == HG_WAN_VERB_NOTHING);
    CU_ASSERT_TRUE(parses("port add a memif socket /run/w/a.sock id 3 mac 02:00:00:00:00:0a\n"));
    CU_ASSERT_EQUAL(command.verb, HG_WAN_VERB_PORT_ADD);
    CU_ASSERT_STRING_EQUAL(command.name, "a");
    CU_ASSERT_STRING_EQUAL(command.socket, "/run/w/a.sock");
    CU_ASSERT_EQUAL(command.memif_id, 3);
    CU_ASSERT_EQUAL(command.buffer_bytes, 2048);
    CU_ASSERT_EQUAL(command.ring_log2, 10);
    CU_ASSERT_EQUAL(command.queues, 1);
    CU_ASSERT_TRUE(parses("port add a memif socket a id 3 mac 02:00:00:00:00:0a queues 4") &&
                   command.queues == 4);
    CU_ASSERT_TRUE(fails("port add a memif socket a queues 17", 34, "from 1 to 16"));
    CU_ASSERT_TRUE(parses("port add a memif socket /run/w/a.sock id 3 mac 02:00:00:00:00:0a\n"));
    CU_ASSERT_EQUAL(memcmp(command.mac, mac, 6), 0);
    CU_ASSERT_TRUE(parses("port add b memif mac 02:00:00:00:00:0B socket b rsize 9 bsize 9216 # id 0"));
    CU_ASSERT_EQUAL(command.buffer_bytes, 9216);
    CU_ASSERT_EQUAL(command.ring_log2, 9);
    CU_ASSERT_TRUE(parses("link set a b delay 40ms jitter 5ms loss 0.1% burst 8 rate 1g queue 4m"));
    CU_ASSERT_EQUAL(command.verb, HG_WAN_VERB_LINK_SET);
    CU_ASSERT_STRING_EQUAL(command.name, "a");
    CU_ASSERT_STRING_EQUAL(command.to, "b");
    CU_ASSERT_EQUAL(command.impairment.delay_ns, 40 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(command.impairment.jitter_ns, 5 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(command.impairment.loss_ppb, 1000000);
    CU_ASSERT_EQUAL(command.impairment.burst_count, 8);
    CU_ASSERT_EQUAL(command.impairment.rate_bits, 1000000000);
    CU_ASSERT_EQUAL(command.impairment.queue_bytes, 4 << 20);
    CU_ASSERT_TRUE(
        parses("link set a b reorder 1% late 5ms duplicate 0.1% corrupt 0.01% paths 3 skew 2ms mtu 1400"));
    CU_ASSERT_EQUAL(command.impairment.reorder_ppb, 10000000);
    CU_ASSERT_EQUAL(command.impairment.late_ns, 5 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(command.impairment.duplicate_ppb, 1000000);
    CU_ASSERT_EQUAL(command.impairment.corrupt_ppb, 100000);
    CU_ASSERT_EQUAL(command.impairment.path_count, 3);
    CU_ASSERT_EQUAL(command.impairment.skew_ns, 2 * HG_NS_PER_MS);
    CU_ASSERT_EQUAL(command.impairment.mtu_bytes, 1400);
    CU_ASSERT_FALSE(command.impairment.corrupt_header || command.impairment.path_by_flow ||
                    command.impairment.mtu_icmp);
    CU_ASSERT_TRUE(parses("link set a b mtu 1280 icmp corrupt 1% header paths 2 spread flow skew 1us"));
    CU_ASSERT_TRUE(command.impairment.corrupt_header && command.impairment.path_by_flow &&
                   command.impairment.mtu_icmp);
    CU_ASSERT_EQUAL(command.impairment.skew_ns, 1000);
    CU_ASSERT_TRUE(parses("port add t tap iface hgtap0 mac 02:00:00:00:00:0c"));
    CU_ASSERT_EQUAL(command.kind, HG_WAN_PORT_TAP);
    CU_ASSERT_STRING_EQUAL(command.iface, "hgtap0");
    CU_ASSERT_EQUAL(command.mac[5], 0x0c);
    CU_ASSERT_TRUE(parses("link set a b") && command.impairment.delay_ns == 0);
    CU_ASSERT_TRUE(parses("link cut a b") && command.verb == HG_WAN_VERB_LINK_CUT);
    CU_ASSERT_TRUE(parses("link join c d a b") && command.verb == HG_WAN_VERB_LINK_JOIN);
    CU_ASSERT_STRING_EQUAL(command.name, "c");
    CU_ASSERT_STRING_EQUAL(command.to, "d");
    CU_ASSERT_STRING_EQUAL(command.line[0], "a");
    CU_ASSERT_STRING_EQUAL(command.line[1], "b");
    CU_ASSERT_TRUE(parses("link restore a b") && command.verb == HG_WAN_VERB_LINK_RESTORE);
    CU_ASSERT_TRUE(parses("show ports") && command.verb == HG_WAN_VERB_SHOW_PORTS);
    CU_ASSERT_TRUE(parses("\tshow links") && command.verb == HG_WAN_VERB_SHOW_LINKS);
    CU_ASSERT_TRUE(parses("seed 7") && command.verb == HG_WAN_VERB_SEED && command.seed == 7);
    CU_ASSERT_TRUE(parses("quit") && command.verb == HG_WAN_VERB_QUIT);
}

static void test_numbers(void)
{
    uint64_t value = 0;
    CU_ASSERT_TRUE(hg_wan_parse_duration_ns("1.5s", &value) && value == 1500 * HG_NS_PER_MS);
    CU_ASSERT_TRUE(hg_wan_parse_duration_ns("250us", &value) && value == 250000);
    CU_ASSERT_TRUE(hg_wan_parse_duration_ns("7ns", &value) && value == 7);
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("7", &value));
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("ms", &value));
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("-1ms", &value));
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("1.ms", &value));
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("1 ms", &value));
    CU_ASSERT_FALSE(hg_wan_parse_duration_ns("99999999999999999999s", &value));
    CU_ASSERT_TRUE(hg_wan_parse_loss_ppb("100%", &value) && value == HG_WAN_LOSS_ALL_PPB);
    CU_ASSERT_TRUE(hg_wan_parse_loss_ppb("0.0001%", &value) && value == 1000);
    CU_ASSERT_FALSE(hg_wan_parse_loss_ppb("100.1%", &value));
    CU_ASSERT_FALSE(hg_wan_parse_loss_ppb("0.1", &value));
    CU_ASSERT_TRUE(hg_wan_parse_rate_bits("2.5g", &value) && value == 2500000000);
    CU_ASSERT_TRUE(hg_wan_parse_rate_bits("64k", &value) && value == 64000);
    CU_ASSERT_TRUE(hg_wan_parse_queue_bytes("64k", &value) && value == 65536);
    CU_ASSERT_FALSE(hg_wan_parse_queue_bytes("64kb", &value));
}

static void test_ecn(void)
{
    CU_ASSERT_TRUE(parses("link set a b rate 1g ecn 64k") && command.impairment.ecn_bytes == 64 << 10 &&
                   command.impairment.ecn_ns == 0);
    CU_ASSERT_TRUE(parses("link set a b rate 1g ecn 1.5ms") && command.impairment.ecn_bytes == 0 &&
                   command.impairment.ecn_ns == 1500000);
    CU_ASSERT_TRUE(fails("link set a b rate 1g ecn 0", 26, "above 0"));
    CU_ASSERT_TRUE(fails("link set a b rate 1g ecn 5%", 26, "bytes such as 64k, or a duration"));
    CU_ASSERT_TRUE(fails("link set a b ecn 5ms", 14, "rate together"));
}

static void test_errors(void)
{
    CU_ASSERT_TRUE(fails("prot add", 1, "expected port, link, show, seed or quit, found 'prot'"));
    CU_ASSERT_TRUE(fails("port del a", 6, "expected add"));
    CU_ASSERT_TRUE(fails("port add a tun", 12, "expected memif or tap, found 'tun'"));
    CU_ASSERT_TRUE(fails("port add a tap", 15, "expected iface NAME, found the end of the line"));
    CU_ASSERT_TRUE(fails("port add a tap iface h0", 24, "expected mac"));
    CU_ASSERT_TRUE(fails("port add a tap iface", 21, "network interface"));
    CU_ASSERT_TRUE(fails("port add a tap iface sixteen-letters0", 22, "at most 15"));
    CU_ASSERT_TRUE(fails("port add a tap iface h,0", 22, "network interface"));
    CU_ASSERT_TRUE(fails("port add a tap iface 0h", 22, "network interface"));
    CU_ASSERT_TRUE(fails("port add a tap socket s", 16, "expected iface or mac, found 'socket'"));
    CU_ASSERT_TRUE(fails("port add a memif iface h0", 18, "expected socket, id, mac"));
    CU_ASSERT_TRUE(fails("port add a/b memif", 10, "name"));
    CU_ASSERT_TRUE(fails("port add a memif socket", 24, "found the end of the line"));
    CU_ASSERT_TRUE(fails("port add a memif socket s", 26, "expected mac"));
    CU_ASSERT_TRUE(fails("port add a memif mac 02:00:00:00:00:01", 39, "expected socket"));
    CU_ASSERT_TRUE(fails("port add a memif socket a,b", 25, "commas"));
    CU_ASSERT_TRUE(fails("port add a memif socket s mac 01:00:00:00:00:0a", 31, "unicast"));
    CU_ASSERT_TRUE(fails("port add a memif socket s mac 02:00:00:00:00", 31, "unicast"));
    CU_ASSERT_TRUE(fails("port add a memif socket s mac 00:00:00:00:00:00", 31, "unicast"));
    CU_ASSERT_TRUE(fails("port add a memif bsize 100", 24, "256 to 9216"));
    CU_ASSERT_TRUE(fails("port add a memif rsize 15", 24, "1 to 14"));
    CU_ASSERT_TRUE(fails("port add a memif id 1.5", 21, "number"));
    CU_ASSERT_TRUE(
        fails("port add a memif colour red", 18, "expected socket, id, mac, bsize, rsize or queues"));
    CU_ASSERT_TRUE(fails("link set a a delay 1ms", 12, "another port"));
    CU_ASSERT_TRUE(fails("link set a b delay 40", 20, "duration"));
    CU_ASSERT_TRUE(fails("link set a b delay", 19, "end of the line"));
    CU_ASSERT_TRUE(fails("link set a b speed 1g", 14, "paths, skew, spread or mtu, found 'speed'"));
    CU_ASSERT_TRUE(fails("link set a b loss 0.1", 19, "0.1%"));
    CU_ASSERT_TRUE(fails("link set a b jitter 1ms", 14, "jitter no longer than the delay"));
    CU_ASSERT_TRUE(fails("link set a b burst 0", 20, "1 to 100000"));
    CU_ASSERT_TRUE(fails("link set a b reorder 1", 22, "1%"));
    CU_ASSERT_TRUE(fails("link set a b reorder 1%", 14, "'late' time together with the reorder"));
    CU_ASSERT_TRUE(fails("link set a b late 1ms", 14, "a reorder together"));
    CU_ASSERT_TRUE(fails("link set a b reorder 1% late 5", 30, "duration"));
    CU_ASSERT_TRUE(fails("link set a b duplicate 101%", 24, "0.1%"));
    CU_ASSERT_TRUE(fails("link set a b corrupt header", 22, "0.01%, found 'header'"));
    CU_ASSERT_TRUE(fails("link set a b corrupt 1% headers", 25, "found 'headers'"));
    CU_ASSERT_TRUE(fails("link set a b paths 9 skew 1ms", 20, "1 to 8"));
    CU_ASSERT_TRUE(fails("link set a b paths 2", 14, "skew together"));
    CU_ASSERT_TRUE(fails("link set a b paths 2 skew 1ms spread 3", 38, "packet or flow"));
    CU_ASSERT_TRUE(fails("link set a b spread flow", 14, "2 paths or more"));
    CU_ASSERT_TRUE(fails("link set a b mtu 67", 18, "68 to 9198"));
    CU_ASSERT_TRUE(fails("link set a b mtu icmp", 18, "packet size"));
    CU_ASSERT_TRUE(fails("link set a b rate 0", 19, "bits per second"));
    CU_ASSERT_TRUE(fails("link set a b rate 1g queue 0", 28, "64k or 4m"));
    CU_ASSERT_TRUE(fails("link cut a b now", 14, "end of the line, found 'now'"));
    CU_ASSERT_TRUE(fails("link break a b", 6, "set, join, cut or restore"));
    CU_ASSERT_TRUE(fails("link join c d a", 16, "the line to join ends"));
    CU_ASSERT_TRUE(fails("link join c d a a", 17, "another port than 'a'"));
    CU_ASSERT_TRUE(fails("link join c d c d", 15, "another link than that from 'c' to 'd'"));
    CU_ASSERT_TRUE(fails("link join c d a b now", 19, "end of the line"));
    CU_ASSERT_TRUE(fails("show all", 6, "ports or links"));
    CU_ASSERT_TRUE(fails("seed x", 6, "number"));
    CU_ASSERT_TRUE(fails("quit now", 6, "end of the line"));
    /* Longer than any word may be: cut short in the message, never in a buffer. */
    char line[600];
    memset(line, 'x', sizeof(line));
    memcpy(line, "port add ", 9);
    line[sizeof(line) - 1] = '\0';
    CU_ASSERT_TRUE(fails(line, 10, "name"));
    memcpy(line, "port add a memif socket ", 24);
    CU_ASSERT_TRUE(fails(line, 25, "107"));
    memset(line, 'y', 32);
    CU_ASSERT_TRUE(fails(line, 1, "found 'yyyy"));
}

static void declare(struct hg_wan_declared *declared, const char *line)
{
    CU_ASSERT_TRUE_FATAL(parses(line));
    CU_ASSERT_EQUAL(hg_wan_command_check(declared, &command, &error), 0);
    hg_wan_declared_add(declared, &command);
}

static bool refused(const struct hg_wan_declared *declared, const char *line, uint32_t column,
                    const char *text)
{
    return parses(line) && hg_wan_command_check(declared, &command, &error) == -EINVAL &&
           error.column == column && strstr(error.text, text) != NULL;
}

static void test_declared(void)
{
    static struct hg_wan_declared declared;
    declare(&declared, "port add a memif socket s id 0 mac 02:00:00:00:00:01");
    declare(&declared, "port add b memif socket s id 1 mac 02:00:00:00:00:02");
    CU_ASSERT_TRUE(
        refused(&declared, "port add a memif socket s id 2 mac 02:00:00:00:00:03", 10, "new name"));
    CU_ASSERT_TRUE(
        refused(&declared, "port add c memif socket s id 2 mac 02:00:00:00:00:02", 0, "address of port 'b'"));
    CU_ASSERT_TRUE(
        refused(&declared, "port add c memif socket s id 1 mac 02:00:00:00:00:03", 0, "another id"));
    CU_ASSERT_TRUE(refused(&declared, "link cut a c", 12, "'c'"));
    CU_ASSERT_TRUE(refused(&declared, "link cut c a", 10, "'c'"));
    CU_ASSERT_TRUE(refused(&declared, "link join a b b c", 17, "'c'"));
    CU_ASSERT_TRUE(parses("link cut b a") && hg_wan_command_check(&declared, &command, &error) == 0);
    declare(&declared, "port add t tap iface hgtap0 mac 02:00:00:00:00:04");
    declare(&declared, "port add u tap iface hgtap1 mac 02:00:00:00:00:05");
    CU_ASSERT_TRUE(
        refused(&declared, "port add c tap iface hgtap1 mac 02:00:00:00:00:06", 0, "interface of port 'u'"));
    for (int i = 4; i < HG_WAN_PORTS_MAX; i++) {
        char line[100];
        snprintf(line, sizeof(line), "port add p%d memif socket s id %d mac 02:00:00:00:01:%02x", i, i, i);
        declare(&declared, line);
    }
    CU_ASSERT_TRUE(
        refused(&declared, "port add z memif socket z mac 02:00:00:00:02:03", 1, "no more than 16"));
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("wan_command", NULL, NULL);
    CU_add_test(suite, "every command", test_commands);
    CU_add_test(suite, "numbers and units", test_numbers);
    CU_add_test(suite, "marks", test_ecn);
    CU_add_test(suite, "errors name column and what was expected", test_errors);
    CU_add_test(suite, "names, addresses, sockets", test_declared);
    CU_basic_set_mode(CU_BRM_NORMAL);
    CU_basic_run_tests();
    unsigned int failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures == 0 ? 0 : 1;
}
