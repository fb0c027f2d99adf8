/* SPDX-License-Identifier: Apache-2.0
 *
 * The one grammar of command files, of `--check` and of helioctl: a table of commands, each a path of words
 * and positional values, then keyword arguments in any order. Pure: no file, no memory but the caller's.
 *
 * A line: words separated by blanks; "..." holds blanks; # to the end of the line is a comment. Columns count
 * from 1.
 */
#ifndef HG_CONTROLPLANE_GRAMMAR_H
#define HG_CONTROLPLANE_GRAMMAR_H

#include "drivers/platform/address.h"

#include <stdio.h>

#define HG_GRAMMAR_LINE_BYTES_MAX 2048 /* with its end */
#define HG_GRAMMAR_WORDS_MAX      64
#define HG_GRAMMAR_VALUES_MAX     40
#define HG_GRAMMAR_TEXT_BYTES     256
#define HG_GRAMMAR_ERROR_BYTES    512
#define HG_RATE_BITS_PER_S_MIN    UINT64_C(64000)
#define HG_RATE_BITS_PER_S_MAX    UINT64_C(1000000000000)

enum hg_value_kind {
    HG_VALUE_NAME,      /* 1..31 of letters, digits, '_', '-', '.', beginning with a letter or digit */
    HG_VALUE_ID,        /* 1 .. 2^63-1 */
    HG_VALUE_NUMBER,    /* 0 .. 2^32-1 */
    HG_VALUE_REGION,    /* 0..31 */
    HG_VALUE_GROUP,     /* 0..63 */
    HG_VALUE_PATH,      /* 1..255 bytes */
    HG_VALUE_SOCKET,    /* a path of a socket: 1..107 bytes, no comma */
    HG_VALUE_MAC,       /* of one station */
    HG_VALUE_ADDRESS,   /* IPv4 of one station */
    HG_VALUE_PREFIX,    /* IPv4/bits */
    HG_VALUE_MTU,       /* bytes of an IP packet: 576..9000 */
    HG_VALUE_VLAN,      /* 1 to 4094 */
    HG_VALUE_RATE,      /* bit/s, k m g are powers of 1000 */
    HG_VALUE_SIZE,      /* bytes, k m g are powers of 1024 */
    HG_VALUE_LIMIT,     /* a size, or 0 */
    HG_VALUE_INTERFACE, /* of the kernel: 1..15 bytes */
    HG_VALUE_PCI,       /* 0000:03:00.0 */
    HG_VALUE_CHOICE,    /* one of the argument's choices */
    HG_VALUE_FLAG,      /* keyword alone */
};

enum hg_command_id {
    HG_CMD_NODE_SET,
    HG_CMD_QUORUM_SET,
    HG_CMD_PORT_ADD_MEMIF,
    HG_CMD_PORT_ADD_PCI,
    HG_CMD_PORT_ADD_AF_PACKET,
    HG_CMD_PORT_ADD_TAP,
    HG_CMD_PORT_ADD_AF_XDP,
    HG_CMD_PORT_ADD_PCAP,
    HG_CMD_PEER_ADD,
    HG_CMD_LOG_ADD,
    HG_CMD_STREAM_ADD,
    HG_CMD_STREAM_REPLICATE,
    HG_CMD_CONSUMER_ADD,
    HG_CMD_SET_PEER,
    HG_CMD_SET_LOG,
    HG_CMD_SET_STREAM,
    HG_CMD_SET_CONSUMER,
    HG_CMD_SHOW,
    HG_CMD_PEER_REMOVE,
    HG_CMD_CONSUMER_REMOVE,
    HG_CMD_STREAM_MOVE,
    HG_CMD_LOG_GROW,
    HG_CMD_STREAM_ADOPT,
    HG_CMD_GROUP_SEAL,
    HG_CMD_GROUP_OPEN,
    HG_CMD_GROUP_MEMBERS_SHOW,
    HG_CMD_GROUP_MEMBERS_ADD,
    HG_CMD_GROUP_MEMBERS_REMOVE,
    HG_CMD_GROUP_MEMBERS_REPLACE,
    HG_CMD_GROUP_MEMBERS_LEARNER,
    HG_CMD_GROUP_MEMBERS_CANCEL,
    HG_CMD_GROUP_FAIL_OVER,
    HG_CMD_METASTORE_FILE,
    HG_CMD_GRANT,
    HG_CMD_STOP,
};

enum hg_command_context { HG_CONTEXT_FILE = 1, HG_CONTEXT_LIVE = 2 };

struct hg_grammar_argument { /* of the path: word, or label and kind; after it: keyword word, then label and
                                kind */
    const char *word;
    const char *label; /* as in help: "NAME" */
    enum hg_value_kind kind;
    bool required;       /* keyword arguments */
    bool repeated;       /* last of the path: one or more */
    const char *choices; /* HG_VALUE_CHOICE: "a|b" */
};

struct hg_grammar_command {
    enum hg_command_id id;
    unsigned contexts; /* enum hg_command_context, or-ed */
    struct hg_grammar_argument path[6];
    struct hg_grammar_argument arguments[18];
    const char *help;
};

struct hg_value {
    const struct hg_grammar_argument *argument;
    uint32_t column;
    uint32_t prefix_bits;
    uint64_t number; /* id, number, mtu, bits per second, bytes, index of the choice */
    struct hg_address address;
    uint8_t mac[6];
    char text[HG_GRAMMAR_TEXT_BYTES];
};

struct hg_command {
    const struct hg_grammar_command *grammar;
    uint32_t value_count;
    struct hg_value values[HG_GRAMMAR_VALUES_MAX];
};

struct hg_grammar_error {
    uint32_t column;
    char text[HG_GRAMMAR_ERROR_BYTES]; /* expected one of a, b, got "x" */
};

/* Parses one line without its end. 1 = a command, 0 = blank or comment, -1 = *error. `first_word` gets the
 * first word in any case that has one (for the caller's bookkeeping of what failed), else "". */
int hg_grammar_parse(const char *line, enum hg_command_context context, struct hg_command *command,
                     struct hg_grammar_error *error, char first_word[32]);
/* The value of a positional label or keyword; NULL when it was not given. */
const struct hg_value *hg_command_value(const struct hg_command *command, const char *label_or_keyword);
/* The table as text, one command a line with its help below. */
void hg_grammar_print(FILE *out, unsigned contexts);
/* Prints a word as a line needs it: quoted when it has blanks or '#'. */
void hg_grammar_word_print(FILE *out, const char *word);

#endif
