/* SPDX-License-Identifier: Apache-2.0
 *
 * The language of helio-wan: one command a line, in its file and on its socket. Pure: text in, a struct or an
 * error with a column out.
 *
 *   port add NAME memif socket PATH id N mac 02:00:00:00:00:0a [bsize 2048] [rsize 10]
 *   port add NAME tap iface hgtap0 mac 02:00:00:00:00:0a
 *   link set FROM TO [delay 40ms] [jitter 5ms] [loss 0.1%] [burst 8] [rate 1g] [queue 4m]
 *       [reorder 1% late 5ms] [duplicate 0.1%] [corrupt 0.01% [header]]
 *       [paths 2 skew 3ms [spread packet|flow]] [mtu 1400 [icmp]]
 *   link join FROM TO A B
 *   link cut FROM TO            link restore FROM TO
 *   show ports                  show links
 *   seed N                      quit
 */
#ifndef HG_WAN_COMMAND_H
#define HG_WAN_COMMAND_H

#include "tools/wan/switch.h"

#define HG_WAN_LINE_BYTES_MAX   1024
#define HG_WAN_SOCKET_BYTES_MAX 108 /* sun_path */
#define HG_WAN_IFACE_BYTES_MAX  16  /* IFNAMSIZ */
#define HG_WAN_ERROR_BYTES_MAX  256

enum hg_wan_verb {
    HG_WAN_VERB_NOTHING, /* an empty line or a comment */
    HG_WAN_VERB_PORT_ADD,
    HG_WAN_VERB_LINK_SET,
    HG_WAN_VERB_LINK_JOIN,
    HG_WAN_VERB_LINK_CUT,
    HG_WAN_VERB_LINK_RESTORE,
    HG_WAN_VERB_SHOW_PORTS,
    HG_WAN_VERB_SHOW_LINKS,
    HG_WAN_VERB_SEED,
    HG_WAN_VERB_QUIT
};

enum hg_wan_port_kind { HG_WAN_PORT_MEMIF, HG_WAN_PORT_TAP };

struct hg_wan_command {
    enum hg_wan_verb verb;
    char name[HG_WAN_NAME_BYTES_MAX]; /* the port to add, or where the link comes from */
    char to[HG_WAN_NAME_BYTES_MAX];
    char line[2][HG_WAN_NAME_BYTES_MAX]; /* joined: where the other link comes from and goes to */
    uint32_t name_column;                /* counted from 1 */
    uint32_t to_column;
    uint32_t line_column[2];
    enum hg_wan_port_kind kind;
    char iface[HG_WAN_IFACE_BYTES_MAX]; /* of a tap port */
    char socket[HG_WAN_SOCKET_BYTES_MAX];
    uint32_t memif_id;
    uint8_t mac[6];
    uint32_t buffer_bytes;
    uint32_t ring_log2;
    uint32_t queues; /* one for each worker of the station */
    struct hg_wan_impairment impairment;
    uint64_t seed;
};

struct hg_wan_error {
    uint32_t column; /* counted from 1; 0 = the whole line */
    char text[HG_WAN_ERROR_BYTES_MAX];
};

/* What has been declared so far, for checking names and what must be unique. */
struct hg_wan_declared {
    uint32_t count;
    struct {
        char name[HG_WAN_NAME_BYTES_MAX];
        uint8_t mac[6];
        enum hg_wan_port_kind kind;
        char iface[HG_WAN_IFACE_BYTES_MAX];
        char socket[HG_WAN_SOCKET_BYTES_MAX];
        uint32_t memif_id;
    } ports[HG_WAN_PORTS_MAX];
};

/* Returns 0, or -EINVAL with column and text ("expected ..., found '...'"). `line` may end in a newline. */
int hg_wan_command_parse(const char *line, struct hg_wan_command *command, struct hg_wan_error *error);

/* Checks a parsed command against what is declared: unknown port, name, address, socket or interface given
 * twice, too many ports. Returns 0 or -EINVAL. */
int hg_wan_command_check(const struct hg_wan_declared *declared, const struct hg_wan_command *command,
                         struct hg_wan_error *error);

/* Adds the port of a checked HG_WAN_VERB_PORT_ADD. */
void hg_wan_declared_add(struct hg_wan_declared *declared, const struct hg_wan_command *command);

/* A decimal number with a unit: "40ms", "1.5s", "250us"; "0.1%"; "1g" bits a second; "4m" bytes (1024s). The
 * whole text must be the number. Return false when it is not, or out of range. */
bool hg_wan_parse_duration_ns(const char *text, uint64_t *duration_ns);
bool hg_wan_parse_loss_ppb(const char *text, uint64_t *loss_ppb);
bool hg_wan_parse_rate_bits(const char *text, uint64_t *rate_bits);
bool hg_wan_parse_queue_bytes(const char *text, uint64_t *queue_bytes);

#endif
