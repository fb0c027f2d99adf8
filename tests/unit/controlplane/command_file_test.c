/* SPDX-License-Identifier: Apache-2.0
 *
 * Command files: what is right, every error with its line and column, and configuration -> file ->
 * configuration.
 */
#include "controlplane/command_file.h"
#include "controlplane/grammar_value.h"
#include "dataplane/wal/format.h"
#include "drivers/ipc/control_ring.h"

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The control plane never includes the log's numbers; here is where the two are held together. */
static_assert((int)HG_CONFIG_STREAM_KEY_VALUE == (int)HG_STREAM_KEY_VALUE, "stream kind");
static_assert((int)HG_CONFIG_STREAM_POSTGRES_LOGICAL == (int)HG_STREAM_POSTGRES_LOGICAL, "stream kind");
static_assert((int)HG_CONFIG_STREAM_POSTGRES_PHYSICAL == (int)HG_STREAM_POSTGRES_PHYSICAL, "stream kind");
static_assert((int)HG_CONFIG_COMPRESSION_OFF == (int)HG_CODEC_NONE, "codec");
static_assert((int)HG_CONFIG_COMPRESSION_LZ4 == (int)HG_CODEC_LZ4, "codec");
static_assert(HG_CONTROL_NAME_BYTES == HG_NAME_BYTES, "names");

#define NODE   "node set a1 id 1 region 1 cluster 7\n"
#define PORT   "port add w memif socket /run/x id 0 mac 02:00:00:00:00:0a address 10.0.0.1/24\n"
#define PEER   "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w key /k\n"
#define LOG    "log add 0 path /log\n"
#define STREAM "stream add s id 1 kind key-value region 1\n"
#define PEER_C "peer add c node 3 region 2 address 10.0.0.3 mac 02:00:00:00:00:0d port w key /k\n"
#define ALL    NODE PORT PEER LOG STREAM
#define QUORUM_PEERS                                                                                         \
    "peer add d node 4 region 1 address 10.0.0.4 mac 02:00:00:00:00:1a port w key /k\n"                      \
    "peer add e node 5 region 1 address 10.0.0.5 mac 02:00:00:00:00:1b port w key /k\n"
#define QUORUM_STREAM "stream add q id 1 kind key-value region 1 node 1\n"

static struct hg_command_file *file, *again;

static bool parse(const char *text)
{
    return hg_command_file_parse(file, "f", text, strlen(text));
}

static void test_values(void)
{
    const struct hg_control_config *c = &file->config.wanted;

    CU_ASSERT(parse("# all of it\n\n  " NODE PORT "port add n pci 0000:03:00.0 address 10.1.0.1/16 mtu 9000\n"
                    "port add k af_packet eth0 mac 02:00:00:00:00:0c\n"
                    "port add t tap tap0 address fd00::1/64 gateway fe80::9 vlan 12\n"
                    "port add l memif listen mac 02:00:00:00:00:1d id 1 socket /run/l\n"
                    "port add d af_xdp eth1\nport add c pcap /run/c.pcap\n"
                    "port add j af_packet eth2 mtu 9000\n"
                    "peer add b rate 800m credit 32m key \"/with blank#\" port w mac 02:00:00:00:00:0b "
                    "address 10.0.0.2 region 2 node 2 # any order\r\n" PEER_C
                    "log add 3 path /log memory 256m scrub 12 flush dsync\n"
                    "stream add s id 5 kind postgres-physical region 1 group 2 compression off\n"
                    "stream replicate s b c\nconsumer add arch stream s\nset peer c rate 400m\n"));
    hg_command_file_errors_print(file, stdout);
    CU_ASSERT_EQUAL(file->command_count, 16);
    CU_ASSERT_STRING_EQUAL(c->node.name, "a1");
    CU_ASSERT(c->node.cluster == 7 && c->node.node == 1 && c->node.region == 1);
    CU_ASSERT_EQUAL(c->port_count, 8);
    CU_ASSERT_STRING_EQUAL(c->ports[5].devargs, "net_af_xdp5,iface=eth1");
    CU_ASSERT_STRING_EQUAL(c->ports[6].devargs, "net_pcap6,tx_pcap=/run/c.pcap");
    CU_ASSERT_STRING_EQUAL(c->ports[7].devargs, "net_af_packet7,iface=eth2,framesz=9216,blocksz=36864");
    CU_ASSERT_STRING_EQUAL(
        c->ports[0].devargs,
        "net_memif0,role=client,id=0,socket=/run/x,socket-abstract=no,bsize=2048,rsize=10");
    CU_ASSERT(c->ports[0].mac[5] == 0x0a && c->ports[0].network.prefix_bits == 24 &&
              c->ports[0].mtu_bytes == 1500);
    CU_ASSERT_STRING_EQUAL(c->ports[1].devargs, "0000:03:00.0");
    CU_ASSERT_STRING_EQUAL(c->ports[2].devargs, "net_af_packet2,iface=eth0");
    CU_ASSERT_STRING_EQUAL(c->ports[3].devargs, "net_tap3,iface=tap0");
    CU_ASSERT_STRING_EQUAL(
        c->ports[4].devargs,
        "net_memif4,role=server,id=1,socket=/run/l,socket-abstract=no,bsize=2048,rsize=10");
    CU_ASSERT(c->ports[3].network.address.family == HG_FAMILY_IPV6);
    CU_ASSERT(c->ports[3].network.prefix_bits == 64 && c->ports[3].network.vlan == 12);
    CU_ASSERT_EQUAL(c->peer_count, 2);
    CU_ASSERT_EQUAL(c->peers[0].rate_bytes_per_s, 100000000);
    CU_ASSERT_EQUAL(c->peers[0].receive_bytes_max, 32 << 20);
    CU_ASSERT_STRING_EQUAL(c->peers[0].psk_path, "/with blank#");
    CU_ASSERT_EQUAL(c->peers[1].rate_bytes_per_s, 50000000);
    CU_ASSERT(c->logs[0].id == 3 && c->logs[0].arena_bytes == 256 << 20);
    CU_ASSERT(c->logs[0].scrub_mbytes_per_s == 12 && c->logs[0].flush == HG_CONFIG_FLUSH_DSYNC);
    CU_ASSERT(c->streams[0].stream == 5 && c->streams[0].group == 2 && c->streams[0].epoch == 1);
    CU_ASSERT(c->streams[0].peers_mask == 3 && c->streams[0].compression == HG_CONFIG_COMPRESSION_OFF);
    CU_ASSERT_EQUAL(c->streams[0].kind, HG_CONFIG_STREAM_POSTGRES_PHYSICAL);
    CU_ASSERT_STRING_EQUAL(c->consumers[0].stream, "s");
    CU_ASSERT_PTR_NULL(hg_control_config_bounds(c));
}

static void test_round_trip(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    test_values();
    hg_command_config_print(&file->config, out);
    fclose(out);
    CU_ASSERT(hg_command_file_parse(again, "g", text, bytes));
    hg_command_file_errors_print(again, stdout);
    CU_ASSERT_EQUAL(memcmp(&again->config.wanted, &file->config.wanted, sizeof(file->config.wanted)), 0);
    free(text);
}

/* One file, one error: its line, its column, what it says. */
static const struct {
    const char *text;
    uint32_t line, column;
    const char *says;
} wrong[] = {
    {"", 1, 1, "expected node set, got end of file"},
    {NODE "prot add x\n", 2, 1,
     "expected one of node, quorum, port, peer, log, stream, consumer, metastore, grant, set, got \"prot\""},
    {NODE "  port\n", 2, 7, "expected add, got end of line"},
    {NODE "port del x\n", 2, 6, "expected add, got \"del\""},
    {NODE "port add -x memif\n", 2, 10, "expected a name"},
    {NODE "port add x\n", 2, 11, "expected one of memif, pci, af_packet, tap, af_xdp, pcap, got end of line"},
    {NODE "port add x vhost\n", 2, 12,
     "expected one of memif, pci, af_packet, tap, af_xdp, pcap, got \"vhost\""},
    {NODE "port add x memif sock /a\n", 2, 18,
     "expected one of socket, id, mac, address, gateway, vlan, mtu, listen, got \"sock\""},
    {NODE "port add x memif socket /a id 0\n", 2, 32, "expected mac, got end of line"},
    {NODE "port add x memif socket /a,b id 0\n", 2, 25, "expected the path of a socket"},
    {NODE "port add x memif socket /a id z\n", 2, 31, "expected a number, got \"z\""},
    {NODE "port add x memif id 1 id 2\n", 2, 23,
     "expected one of socket, mac, address, gateway, vlan, mtu, listen, got \"id\""},
    {NODE "port add x pci 3:0.0\n", 2, 16, "expected a PCI address"},
    {NODE "port add x tap t mac 01:00:00:00:00:01\n", 2, 22, "expected the MAC address of a station"},
    {NODE "port add x tap t mac 00:00:00:00:00:00\n", 2, 22, "expected the MAC address"},
    {NODE "port add x tap t mac 02:00:00:00:00\n", 2, 22, "expected the MAC address"},
    {NODE "port add x tap t address 10.0.0.1\n", 2, 26, "expected an IP address with its prefix length"},
    {NODE "port add x tap t address 10.0.0.1/33\n", 2, 26, "expected an IP address"},
    {NODE "port add x tap t address 239.0.0.1/8\n", 2, 26, "expected an IP address"},
    {NODE "port add x tap t mtu 100\n", 2, 22, "expected a number of bytes (576 to 9000)"},
    {NODE "port add x tap interface-too-long\n", 2, 16, "expected the name of an interface"},
    {NODE "port add x tap t\nport add x tap u\n", 3, 10, "port x is another line's already"},
    {NODE "port add x tap t\nport add y tap t\n", 3, 16, "device t is x's already"},
    {NODE PORT "port add y tap t mac 02:00:00:00:00:0a\n", 3, 22, "MAC 02:00:00:00:00:0a is w's already"},
    {NODE PORT "port add y tap t address 10.0.0.1/8\n", 3, 26, "address 10.0.0.1/8 is w's already"},
    {NODE NODE, 2, 10, "the node is set already in line 1"},
    {"node set a id 0 region 1 cluster 1\n", 1, 15, "expected a number from 1, got \"0\""},
    {"node set a id 1 region 32 cluster 1\n", 1, 24, "expected a region number (0 to 31)"},
    {"node set a id 1 region 1 cluster 99999999999999999999\n", 1, 34, "expected a number from 1"},
    {"node set a id 1 region\n", 1, 23, "expected a region number (0 to 31), got end of line"},
    {"node set a id 1 region 1 cluster 1 x\n", 1, 36, "expected end of line, got \"x\""},
    {NODE PORT "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port v key /k\n", 3, 72,
     "expected one of w, got \"v\""},
    {NODE "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port v key /k\n", 2, 72,
     "there is no port \"v\"; add it above with 'port add'"},
    {NODE "port add v tap t\n"
          "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port v key /k\n",
     3, 72, "port v has no address"},
    {NODE PORT "peer add b node 1 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w key /k\n", 3, 17,
     "node 1 is a1's already"},
    {NODE PORT PEER "peer add b node 3 region 2 address 10.0.0.3 mac 02:00:00:00:00:0c port w key /k\n", 4,
     10, "peer b is another line's already"},
    {NODE PORT PEER "peer add c node 2 region 2 address 10.0.0.3 mac 02:00:00:00:00:0c port w key /k\n", 4,
     17, "node 2 is b's already"},
    {NODE PORT PEER "peer add c node 3 region 2 address 10.0.0.2 mac 02:00:00:00:00:0c port w key /k\n", 4,
     36, "address 10.0.0.2 is b's already"},
    {NODE PORT PEER "peer add c node 3 region 2 address 10.0.0.3 mac 02:00:00:00:00:0a port w key /k\n", 4,
     49, "MAC 02:00:00:00:00:0a is w's already"},
    {NODE PORT "peer add b node 2 region 2 address 127.0.0.1 mac 02:00:00:00:00:0b port w key /k\n", 3, 36,
     "expected the IP address of a station"},
    {NODE PORT "peer add b node 2 region 2 address fd00::2 mac 02:00:00:00:00:0b port w key /k\n", 3, 36,
     "fd00::2 is IPv6, the address of port w is IPv4: both must be of one kind"},
    {NODE "port add x tap t address fd00::1/129\n", 2, 26, "expected an IP address with its prefix length"},
    {NODE "port add x tap t gateway 10.0.0.9\n", 2, 26, "a gateway needs an address"},
    {NODE "port add x tap t address 10.0.0.1/24 gateway 10.0.1.9\n", 2, 46,
     "the gateway 10.0.1.9 is no other station"},
    {NODE "port add x tap t address 10.0.0.1/24 gateway 10.0.0.1\n", 2, 46,
     "the gateway 10.0.0.1 is no other station"},
    {NODE "port add x tap t address 10.0.0.1/24 gateway fe80::1\n", 2, 46,
     "the gateway fe80::1 is no other station"},
    {NODE PORT "peer add b node 2 region 2 address 10.0.1.2 port w key /k\n", 3, 36,
     "10.0.1.2 is not on the link of port w: give the port a gateway, or the peer a mac"},
    {NODE "port add x tap t address ff02::1/64\n", 2, 26, "expected an IP address with its prefix length"},
    {NODE "port add x tap t vlan 4095\n", 2, 23, "expected the number of a VLAN (1 to 4094), got \"4095\""},
    {NODE PORT "peer add b rate 1.5m\n", 3, 17, "expected a rate in bit/s"},
    {NODE PORT "peer add b rate 63999\n", 3, 17, "expected a rate in bit/s"},
    {NODE PORT "peer add b rate 64001\n", 3, 17, "expected a rate in bit/s"},
    {NODE PORT "peer add b rate 2t\n", 3, 17, "expected a rate in bit/s"},
    {NODE PORT "peer add b credit 5x\n", 3, 19, "expected a size in bytes"},
    {NODE "log add x path /l\n", 2, 9, "expected a number, got \"x\""},
    {NODE "log add 0\n", 2, 10, "expected path, got end of line"},
    {NODE LOG "log add 0 path /m\n", 3, 9, "log 0 is added already"},
    {NODE LOG "log add 1 path /log\n", 3, 16, "/log is log 0's already"},
    {NODE "log add 1 path /log memory 1m\n", 2, 28, "a log's memory is 8m or more"},
    {NODE "log add 0 path /log flush often\n", 2, 27, "expected one of auto, group, dsync, got \"often\""},
    {NODE "log add 0 path /log scrub 10001\n", 2, 27, "scrub is 0 to 10000 MB/s, got \"10001\""},
    {NODE "log add 0 path /l0\n"
          "log add 1 path /l1\n"
          "log add 2 path /l2\n"
          "log add 3 path /l3\n"
          "log add 4 path /l4\n"
          "log add 5 path /l5\n"
          "log add 6 path /l6\n"
          "log add 7 path /l7\n"
          "log add 8 path /l8\n"
          "log add 9 path /l9\n"
          "log add 10 path /l10\n"
          "log add 11 path /l11\n"
          "log add 12 path /l12\n"
          "log add 13 path /l13\n"
          "log add 14 path /l14\n"
          "log add 15 path /l15\n"
          "log add 16 path /l16\n",
     18, 9, "more than 16 logs"},
    {NODE STREAM, 2, 12, "a stream needs a log"},
    {NODE LOG STREAM "stream add s id 2 kind key-value region 1\n", 4, 12,
     "stream s is another line's already"},
    {NODE LOG STREAM "stream add t id 1 kind key-value region 1\n", 4, 17, "id 1 is s's already"},
    {NODE LOG "stream add t id 1 kind mysql region 1\n", 3, 24,
     "expected one of key-value, postgres-logical, postgres-physical, got \"mysql\""},
    {NODE LOG "stream add t id 1 kind key-value region 1 compression zstd\n", 3, 55,
     "expected one of lz4, off"},
    {NODE LOG "stream add t id 1 kind key-value region 1 group 64\n", 3, 49, "expected a group number"},
    {ALL "stream replicate t b\n", 6, 18, "expected one of s, got \"t\""},
    {ALL "stream replicate s\n", 6, 19, "expected PEER, got end of line"},
    {ALL "stream replicate s x\n", 6, 20, "expected one of b, got \"x\""},
    {ALL "stream replicate s b b\n", 6, 22, "peer b gets stream s already"},
    {NODE PORT PEER LOG "stream add s id 1 kind key-value region 2\nstream replicate s b\n", 6, 18,
     "stream s originates in region 2"},
    {ALL "consumer add x stream t\n", 6, 23, "expected one of s, got \"t\""},
    {ALL "consumer add x stream s\nconsumer add x stream s\n", 7, 14, "consumer x is another line's already"},
    {ALL "set peer b rate\n", 6, 16, "expected a rate in bit/s"},
    {ALL "set peer c rate 1g\n", 6, 10, "expected one of b, got \"c\""},
    {ALL "set peer b mtu 1500\n", 6, 12,
     "expected one of rate, congestion, fec, ecn, rekey-packets, rekey-bytes, rekey-seconds, "
     "drop-behind-bytes, drop-behind-seconds, dry-run, got "
     "\"mtu\""},
    {ALL "set peer b congestion reno\n", 6, 23, "expected one of fixed, cubic, bbr"},
    {ALL "set peer b fec 9\n", 6, 16, "expected one of off, 1, 2, 3, 4, 5, 6, 7, 8, auto"},
    {ALL "set peer b fec 0\n", 6, 16, "expected one of off, 1, 2"},
    {ALL "set peer b ecn maybe\n", 6, 16, "expected one of off, on"},
    {ALL "set peer b\n", 6, 10, "expected rate, congestion, fec, ecn, rekey-... or drop-behind-..."},
    {ALL "set log 1 retain-bytes 1g\n", 6, 9, "the command file has no log \"1\""},
    {ALL "set stream x retain-bytes 1g\n", 6, 12, "the command file has no stream \"x\""},
    {ALL "set consumer x drop-behind-bytes 1g\n", 6, 14, "the command file has no consumer \"x\""},
    {ALL "set stream s\n", 6, 12, "expected retain-bytes or retain-seconds"},
    {ALL "set stream s retain-bytes 1g dry-run\n", 6, 30, "dry-run is for helioctl"},
    {ALL "set stream s drop-behind-bytes 1g\n", 6, 14, "expected one of retain-bytes, retain-seconds"},
    {ALL "set stream s retain-bytes 1x\n", 6, 27,
     "expected a size in bytes (32m is 32 times 1024 times 1024), or 0"},
    {ALL "set peer b rekey-packets 255\n", 6, 10, "keys are renewed after 256 to 134217728 packets"},
    {ALL "set peer b rekey-packets 134217729\n", 6, 10, "keys are renewed after"},
    {ALL "set peer b rekey-bytes 100k\n", 6, 10, "keys are renewed after"},
    {ALL "set peer b rekey-seconds 3601\n", 6, 10, "keys are renewed after"},
    {ALL "set peer b rekey-seconds x\n", 6, 26, "expected a number"},
    {NODE PORT "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w key /k "
               "rekey-bytes 129g\n",
     3, 93, "keys are renewed after"},
    {ALL "set node 1\n", 6, 5, "expected one of peer, log, stream, consumer, got \"node\""},
    {ALL "set peer b rate 1g dry-run\n", 6, 20, "dry-run is for helioctl"},
    {ALL QUORUM_PEERS "quorum set n 3 w 2\n", 8, 14,
     "stream s: which node of region 1 does it originate at?"},
    {NODE "quorum set n 2 w 2\n", 2, 14, "a quorum has n 1, 3 or 5 and w from n / 2 + 1 to n"},
    {NODE "quorum set n 3 w 1\n", 2, 14, "a quorum has n 1, 3 or 5"},
    {NODE "quorum set n 3 w 4\n", 2, 14, "a quorum has n 1, 3 or 5"},
    {NODE "quorum set n 3\n", 2, 15, "expected w"},
    {NODE "quorum set n 1 w 1\nquorum set n 1 w 1\n", 3, 14, "the quorum is set already in line 2"},
    {NODE "quorum set n 1 w 1 dry-run\n", 2, 20, "dry-run is for helioctl"},
    {ALL "quorum set n 3 w 2\n", 6, 14, "a quorum with n 3 needs 3 nodes of region 1, here are 1: this one;"},
    {NODE PORT PEER LOG QUORUM_PEERS "quorum set n 1 w 1\n", 7, 14,
     "a quorum with n 1 needs 1 nodes of region 1, here are 3: this one, d, e;"},
    {NODE PORT PEER LOG QUORUM_PEERS QUORUM_STREAM "stream replicate q b d\nquorum set n 3 w 2\n", 9, 14,
     "stream q does not go to e, which is of the quorum: stream replicate q e ..."},
    {NODE PORT PEER LOG "stream add q id 1 kind key-value region 1 node 9\n", 5, 48,
     "stream q originates in region 1, and no node 9 of it is here"},
    {NODE PORT PEER LOG "stream add q id 1 kind key-value region 1 node 2\n", 5, 48,
     "stream q originates in region 1, and no node 2 of it is here"},
    {ALL "show peers\n", 6, 1, "expected one of node"},
    {NODE "log add 0 path \"/x\n", 2, 16, "expected a closing \""},
    {NODE "log add 0 path \"/x\"y\n", 2, 20, "expected a blank after the closing \""},
    {NODE "log add 0 path \"\"\n", 2, 16, "expected a path"},
    {NODE "log \001\n", 2, 5, "unprintable byte 0x01"},
};

static void test_errors(void)
{
    for (size_t i = 0; i < HG_COUNT(wrong); i++) {
        bool ok = parse(wrong[i].text), as_said;
        const struct hg_command_error *e = &file->errors[0];

        as_said = !ok && file->error_count == 1 && e->place.line == wrong[i].line &&
                  e->place.column == wrong[i].column &&
                  strncmp(e->text, wrong[i].says, strlen(wrong[i].says)) == 0;
        CU_ASSERT(as_said);
        if (!as_said) {
            printf("\n  %s  expected %u:%u: %s\n", wrong[i].text, wrong[i].line, wrong[i].column,
                   wrong[i].says);
            hg_command_file_errors_print(file, stdout);
        }
    }
}

static void test_all_errors_none_following(void)
{
    /* Three wrong lines give three errors: what uses what they would have defined is not wrong too. */
    CU_ASSERT_FALSE(
        parse(NODE "port add w memif\n" PEER "prot\nlog add x\n" STREAM "stream replicate s q\n"));
    CU_ASSERT_EQUAL(file->error_count, 3);
    CU_ASSERT_EQUAL(file->errors[2].place.line, 5);
    /* A great many errors stay bounded. */
    static char many[8192];

    for (size_t i = 0; i + 2 < sizeof(many); i += 2)
        memcpy(many + i, "x\n", 3);
    CU_ASSERT_FALSE(parse(many));
    CU_ASSERT_EQUAL(file->error_count, HG_COMMAND_FILE_ERRORS_MAX);
    CU_ASSERT_STRING_EQUAL(file->errors[HG_COMMAND_FILE_ERRORS_MAX - 1].text,
                           "too many errors; the rest is not looked at");
}

static void test_hostile_text(void)
{
    static char text[HG_GRAMMAR_LINE_BYTES_MAX + 100];

    memset(text, 'x', sizeof(text) - 1);
    CU_ASSERT_FALSE(parse(text));
    CU_ASSERT(strstr(file->errors[0].text, "longer than") != NULL);
    memset(text, ' ', sizeof(text) - 1);
    for (int i = 0; i < 200; i++)
        memcpy(text + 2 * i, "a ", 2);
    CU_ASSERT_FALSE(parse(text));
    CU_ASSERT_FALSE(hg_command_file_parse(file, "f", NODE "a\0b\n", sizeof(NODE) + 3));
    CU_ASSERT_EQUAL(file->errors[0].place.column, 2);
    CU_ASSERT_FALSE(parse("\xff\xfe\n"));
    json_t *json = hg_command_file_json(file);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    CU_ASSERT(json_is_false(json_object_get(json, "ok")));
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json, "errors")), 2);
    json_decref(json);
    CU_ASSERT(parse(NODE "log add 0 path /no-newline-at-end"));
}

static void test_paths(void)
{
    char directory[] = "/tmp/heliograph-test-XXXXXX", path[128], text[1024];
    FILE *key;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/key", directory);
    snprintf(text, sizeof(text),
             NODE "port add w memif socket %s/no/x id 0 mac 02:00:00:00:00:0a address 10.0.0.1/24\n"
                  "peer add b node 2 region 2 address 10.0.0.2 mac 02:00:00:00:00:0b port w key %s\n"
                  "log add 0 path %s/no/log\n",
             directory, path, directory);
    CU_ASSERT(parse(text));
    CU_ASSERT_FALSE(hg_command_file_check_paths(file));
    CU_ASSERT_EQUAL(file->error_count, 3);
    key = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(key);
    fclose(key);
    CU_ASSERT_EQUAL(chmod(path, 0644), 0);
    parse(text);
    hg_command_file_check_paths(file);
    CU_ASSERT(strstr(file->errors[1].text, "mode 0644") != NULL);
    CU_ASSERT_EQUAL(file->errors[1].place.line, 3);
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
    snprintf(text + strlen(text) + 1, 64, "%s/no", directory);
    CU_ASSERT_EQUAL(mkdir(text + strlen(text) + 1, 0700), 0);
    CU_ASSERT(parse(text));
    CU_ASSERT(hg_command_file_check_paths(file));
    rmdir(text + strlen(text) + 1);
    unlink(path);
    rmdir(directory);
    CU_ASSERT_FALSE(hg_command_file_load(file, path));
    CU_ASSERT_EQUAL(file->errors[0].place.line, 0);
}

static char *config_printed(void)
{
    char *printed = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&printed, &bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    hg_command_config_print(&file->config, out);
    fclose(out);
    return printed;
}

/* Parses a peer's line with `says` at its end and the line `set` after it. Returns the configuration as
 * printed; the caller frees it. */
static char *peer_parse(const char *says, const char *set)
{
    char text[1024];
    snprintf(text, sizeof(text),
             NODE PORT "peer add b node 2 region 2 address 10.0.0.2 mac "
                       "02:00:00:00:00:0b port w key /k%s\n%s",
             says, set);
    CU_ASSERT_FATAL(parse(text));
    return config_printed();
}

/* How much parity a peer gets by what its lines say; printing it gives the same again. */
static void test_fec(void)
{
    static const struct {
        const char *says, *set;
        uint32_t fec;
    } cases[] = {
        {"", "", HG_CONFIG_FEC_AUTO},
        {" fec auto", "", HG_CONFIG_FEC_AUTO},
        {" fec off", "", HG_CONFIG_FEC_OFF},
        {" fec 1", "", 1},
        {" fec 8", "", 8},
        {" fec 8", "set peer b fec auto\n", HG_CONFIG_FEC_AUTO},
        {"", "set peer b fec 3\n", 3},
        {" fec off", "set peer b rate 80m\n", HG_CONFIG_FEC_OFF},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        char *printed = peer_parse(cases[i].says, cases[i].set);
        CU_ASSERT_EQUAL(file->config.wanted.peers[0].fec, cases[i].fec);
        CU_ASSERT_FATAL(parse(printed));
        CU_ASSERT_EQUAL(file->config.wanted.peers[0].fec, cases[i].fec);
        free(printed);
    }
}

/* Whether packets to a peer are marked; likewise. */
static void test_ecn(void)
{
    static const struct {
        const char *says, *set;
        uint32_t ecn;
    } cases[] = {
        {"", "", HG_CONFIG_ECN_ON},
        {" ecn on", "", HG_CONFIG_ECN_ON},
        {" ecn off", "", HG_CONFIG_ECN_OFF},
        {" ecn off", "set peer b ecn on\n", HG_CONFIG_ECN_ON},
        {"", "set peer b ecn off\n", HG_CONFIG_ECN_OFF},
        {" ecn off", "set peer b rate 80m\n", HG_CONFIG_ECN_OFF},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        char *printed = peer_parse(cases[i].says, cases[i].set);
        CU_ASSERT_EQUAL(file->config.wanted.peers[0].ecn, cases[i].ecn);
        CU_ASSERT_FATAL(parse(printed));
        CU_ASSERT_EQUAL(file->config.wanted.peers[0].ecn, cases[i].ecn);
        free(printed);
    }
}

/* Which controller and rate a peer gets by what its lines say; printing it gives the same again. */
static void test_congestion(void)
{
    static const struct {
        const char *says, *set;
        uint32_t congestion;
        uint64_t rate_bytes_per_s;
    } cases[] = {
        {" rate 80m", "", HG_CONFIG_CONGESTION_FIXED, 10000000},
        {"", "", HG_CONFIG_CONGESTION_BBR, 0},
        {" congestion bbr", "", HG_CONFIG_CONGESTION_BBR, 0},
        {" congestion cubic rate 80m", "", HG_CONFIG_CONGESTION_CUBIC, 10000000},
        {" congestion fixed", "", HG_CONFIG_CONGESTION_FIXED, HG_RATE_DEFAULT_BYTES_PER_S},
        {" rate 80m", "set peer b congestion bbr\n", HG_CONFIG_CONGESTION_BBR, 10000000},
        {"", "set peer b rate 80m\n", HG_CONFIG_CONGESTION_BBR, 10000000},
        {"", "set peer b congestion fixed\n", HG_CONFIG_CONGESTION_FIXED, HG_RATE_DEFAULT_BYTES_PER_S},
        {" congestion bbr", "set peer b rate 80m congestion fixed\n", HG_CONFIG_CONGESTION_FIXED, 10000000},
    };
    for (size_t i = 0; i < HG_COUNT(cases); i++) {
        char *printed = peer_parse(cases[i].says, cases[i].set);
        for (int round = 0; round < 2; round++) {
            CU_ASSERT_EQUAL(file->config.wanted.peers[0].congestion, cases[i].congestion);
            CU_ASSERT_EQUAL(file->config.wanted.peers[0].rate_bytes_per_s, cases[i].rate_bytes_per_s);
            CU_ASSERT_FATAL(parse(printed));
        }
        free(printed);
    }
}

static bool print_again(void)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    hg_command_config_print(&file->config, out);
    fclose(out);
    bool right = hg_command_file_parse(again, "f", text, bytes);
    free(text);
    return right;
}

static void test_retention(void)
{
    CU_ASSERT_FATAL(parse(NODE PORT
                          "peer add b node 2 region 2 address 10.0.0.2 port w key /k drop-behind-bytes 3g\n"
                          "log add 0 path /log retain-seconds 3600\n"
                          "stream add s id 1 kind key-value region 1 retain-bytes 5m retain-seconds 7\n"
                          "consumer add c stream s drop-behind-seconds 60\n"
                          "set log 0 retain-bytes 7g\nset stream s retain-seconds 0\n"
                          "set consumer c drop-behind-bytes 1g drop-behind-seconds 0\n"
                          "set peer b drop-behind-seconds 86400\n"));
    CU_ASSERT_FATAL(print_again());
    for (int i = 0; i < 2; i++) {
        const struct hg_control_config *c = &(i == 0 ? file : again)->config.wanted;

        CU_ASSERT_EQUAL(c->peers[0].drop_behind_bytes, UINT64_C(3) << 30);
        CU_ASSERT_EQUAL(c->peers[0].drop_behind_seconds, 86400);
        CU_ASSERT_EQUAL(c->logs[0].retain_bytes, UINT64_C(7) << 30);
        CU_ASSERT_EQUAL(c->logs[0].retain_seconds, 3600);
        CU_ASSERT_EQUAL(c->streams[0].retain_bytes, 5u << 20);
        CU_ASSERT_EQUAL(c->streams[0].retain_seconds, 0);
        CU_ASSERT_EQUAL(c->consumers[0].drop_behind_bytes, 1u << 30);
        CU_ASSERT_EQUAL(c->consumers[0].drop_behind_seconds, 0);
    }
}

static void test_rekey(void)
{
    const struct hg_config_peer *peer = &file->config.wanted.peers[0];
    CU_ASSERT_FATAL(parse(ALL "set peer b rekey-packets 1000 rekey-bytes 3m\nset peer b rekey-seconds 60\n"));
    char *printed = config_printed();
    for (int round = 0; round < 2; round++) {
        CU_ASSERT_EQUAL(peer->rekey_packets, 1000);
        CU_ASSERT_EQUAL(peer->rekey_bytes, 3u << 20);
        CU_ASSERT_EQUAL(peer->rekey_seconds, 60);
        CU_ASSERT_FATAL(parse(printed));
    }
    free(printed);
}

static void test_quorum(void)
{
    const struct hg_control_config *c = &file->config.wanted;
    char error[HG_GRAMMAR_ERROR_BYTES];
    CU_ASSERT_FATAL(parse(NODE "quorum set n 3 w 2\n" PORT PEER LOG QUORUM_PEERS QUORUM_STREAM
                               "stream replicate q b d e\n"));
    char *printed = config_printed();
    for (int round = 0; round < 2; round++) {
        CU_ASSERT(c->quorum_n == 3 && c->quorum_w == 2);
        CU_ASSERT_EQUAL(c->streams[0].node, 1);
        CU_ASSERT_FATAL(parse(printed));
    }
    free(printed);
    CU_ASSERT(hg_command_quorum_check(c, 3, 3, error, sizeof(error)));
    CU_ASSERT_FALSE(hg_command_quorum_check(c, 5, 3, error, sizeof(error)));
    CU_ASSERT_FALSE(hg_command_quorum_check(c, 3, 1, error, sizeof(error)));
}

static void test_changes(void)
{
    CU_ASSERT(parse(ALL "consumer add x stream s\nconsumer add y stream s\n"));
    CU_ASSERT_FALSE(hg_command_config_consumer_remove(&file->config, "x", "another"));
    CU_ASSERT(hg_command_config_consumer_remove(&file->config, "x", "s"));
    CU_ASSERT_FALSE(hg_command_config_consumer_remove(&file->config, "x", "s"));
    CU_ASSERT_EQUAL(file->config.wanted.consumer_count, 1);
    CU_ASSERT_STRING_EQUAL(file->config.wanted.consumers[0].name, "y");
}

/* The streams go on naming the other peers by their places, which move. */
static void test_peer_removed(void)
{
    struct hg_command_config *config = calloc(1, sizeof(*config));
    struct hg_control_config *wanted = &config->wanted;

    wanted->peer_count = HG_CONTROL_PEERS_MAX;
    for (uint32_t i = 0; i < wanted->peer_count; i++)
        snprintf(wanted->peers[i].name, sizeof(wanted->peers[i].name), "p%u", i);
    wanted->stream_count = 3;
    wanted->streams[0].peers_mask = 0x7;
    wanted->streams[1].peers_mask = UINT64_C(1) << (HG_CONTROL_PEERS_MAX - 1) | 1;
    wanted->streams[2].peers_mask = 0x2;
    CU_ASSERT_FALSE(hg_command_config_peer_remove(config, "p99"));
    CU_ASSERT_TRUE(hg_command_config_peer_remove(config, "p1"));
    CU_ASSERT_EQUAL(wanted->peer_count, HG_CONTROL_PEERS_MAX - 1);
    CU_ASSERT_STRING_EQUAL(wanted->peers[0].name, "p0");
    CU_ASSERT_STRING_EQUAL(wanted->peers[1].name, "p2");
    CU_ASSERT_EQUAL(wanted->peers[HG_CONTROL_PEERS_MAX - 1].name[0], '\0');
    CU_ASSERT_EQUAL(wanted->streams[0].peers_mask, 0x3);
    CU_ASSERT_EQUAL(wanted->streams[1].peers_mask, UINT64_C(1) << (HG_CONTROL_PEERS_MAX - 2) | 1);
    CU_ASSERT_EQUAL(wanted->streams[2].peers_mask, 0);
    while (wanted->peer_count > 0)
        CU_ASSERT_TRUE_FATAL(
            hg_command_config_peer_remove(config, wanted->peers[wanted->peer_count - 1].name));
    CU_ASSERT_EQUAL(wanted->streams[0].peers_mask | wanted->streams[1].peers_mask, 0);
    free(config);
}

static void test_number_format(void)
{
    char text[32];

    hg_grammar_number_format(800000000, 1000, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "800m");
    hg_grammar_number_format(1500, 1024, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "1500");
    hg_grammar_number_format(UINT64_C(3) << 30, 1024, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "3g");
    hg_grammar_number_format(0, 1024, text, sizeof(text));
    CU_ASSERT_STRING_EQUAL(text, "0");
}

int main(void)
{
    CU_TestInfo tests[] = {{"values", test_values},
                           {"round trip", test_round_trip},
                           {"a peer that is removed", test_peer_removed},
                           {"errors", test_errors},
                           {"all errors, none that follow", test_all_errors_none_following},
                           {"hostile text", test_hostile_text},
                           {"paths", test_paths},
                           {"congestion", test_congestion},
                           {"fec", test_fec},
                           {"ecn", test_ecn},
                           {"quorum", test_quorum},
                           {"rekey", test_rekey},
                           {"retention", test_retention},
                           {"changes", test_changes},
                           {"number format", test_number_format},
                           CU_TEST_INFO_NULL};
    CU_SuiteInfo suites[] = {{"command_file", NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};
    unsigned failures;

    file = calloc(1, sizeof(*file));
    again = calloc(1, sizeof(*again));
    hg_assert(file != NULL && again != NULL);
    CU_initialize_registry();
    CU_register_suites(suites);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    free(file);
    free(again);
    return failures != 0;
}
