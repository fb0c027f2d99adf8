/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/grammar.h"

#include "controlplane/grammar_value.h"

#include <ctype.h>
#include <stdarg.h>

#define WORD(text)                                                                                           \
    {                                                                                                        \
        .word = text                                                                                         \
    }
#define VALUE(name, type)                                                                                    \
    {                                                                                                        \
        .label = name, .kind = HG_VALUE_##type                                                               \
    }
#define VALUES(name, type)                                                                                   \
    {                                                                                                        \
        .label = name, .kind = HG_VALUE_##type, .repeated = true                                             \
    }
#define ONE_OF(name, list)                                                                                   \
    {                                                                                                        \
        .label = name, .kind = HG_VALUE_CHOICE, .choices = list                                              \
    }
#define NEED(keyword, name, type)                                                                            \
    {                                                                                                        \
        .word = keyword, .label = name, .kind = HG_VALUE_##type, .required = true                            \
    }
#define MAY(keyword, name, type)                                                                             \
    {                                                                                                        \
        .word = keyword, .label = name, .kind = HG_VALUE_##type                                              \
    }
#define NEED_ONE_OF(keyword, list)                                                                           \
    {                                                                                                        \
        .word = keyword, .kind = HG_VALUE_CHOICE, .required = true, .choices = list                          \
    }
#define MAY_ONE_OF(keyword, list)                                                                            \
    {                                                                                                        \
        .word = keyword, .kind = HG_VALUE_CHOICE, .choices = list                                            \
    }
#define FLAG(keyword)                                                                                        \
    {                                                                                                        \
        .word = keyword, .kind = HG_VALUE_FLAG                                                               \
    }

#define PORT_NETWORK                                                                                         \
    MAY("address", "ADDRESS/LEN", PREFIX), MAY("gateway", "ADDRESS", ADDRESS), MAY("vlan", "N", VLAN),       \
        MAY("mtu", "BYTES", MTU)
#define PORT_REST MAY("mac", "MAC", MAC), PORT_NETWORK

/* In the order of enum hg_config_congestion. */
#define CONGESTION "fixed|cubic|bbr"
/* A word's place is its number of parities; the last one is HG_CONFIG_FEC_AUTO. */
#define FEC "off|1|2|3|4|5|6|7|8|auto"
#define ECN "off|on"
#define REKEY                                                                                                \
    MAY("rekey-packets", "N", NUMBER), MAY("rekey-bytes", "SIZE", SIZE), MAY("rekey-seconds", "N", NUMBER)

#define RETAIN      MAY("retain-bytes", "SIZE", LIMIT), MAY("retain-seconds", "N", NUMBER)
#define DROP_BEHIND MAY("drop-behind-bytes", "SIZE", LIMIT), MAY("drop-behind-seconds", "N", NUMBER)

static const struct hg_grammar_command commands[] = {
    {HG_CMD_NODE_SET,
     HG_CONTEXT_FILE,
     {WORD("node"), WORD("set"), VALUE("NAME", NAME)},
     {NEED("id", "N", ID), NEED("region", "N", REGION), NEED("cluster", "N", ID)},
     "who this node is: its number in the cluster, the number of its region, the number of the cluster"},
    {HG_CMD_QUORUM_SET,
     HG_CONTEXT_FILE | HG_CONTEXT_LIVE,
     {WORD("quorum"), WORD("set")},
     {NEED("n", "N", NUMBER), NEED("w", "N", NUMBER), FLAG("dry-run")},
     "the quorum of our region: of its n nodes, we and the peers of the region, w have on their disks what "
     "is acknowledged and may leave the region; n is 1, 3 or 5, w more than half of it"},
    {HG_CMD_PORT_ADD_MEMIF,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("memif")},
     {NEED("socket", "PATH", SOCKET), NEED("id", "N", NUMBER), NEED("mac", "MAC", MAC), PORT_NETWORK,
      FLAG("listen")},
     "a shared-memory port; we are the client, the server (helio-wan) listens on PATH; with `listen` we are "
     "the "
     "server, for another node of this machine"},
    {HG_CMD_PORT_ADD_PCI,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("pci"), VALUE("PCI-ADDRESS", PCI)},
     {PORT_REST},
     "a network card bound to a DPDK driver; its own MAC unless one is given"},
    {HG_CMD_PORT_ADD_AF_PACKET,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("af_packet"), VALUE("INTERFACE", INTERFACE)},
     {PORT_REST},
     "a kernel interface through AF_PACKET"},
    {HG_CMD_PORT_ADD_TAP,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("tap"), VALUE("INTERFACE", INTERFACE)},
     {PORT_REST},
     "a TAP interface that the dataplane creates"},
    {HG_CMD_PORT_ADD_AF_XDP,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("af_xdp"), VALUE("INTERFACE", INTERFACE)},
     {PORT_REST},
     "a kernel interface through AF_XDP: faster than AF_PACKET; nothing of it reaches the kernel any more"},
    {HG_CMD_PORT_ADD_PCAP,
     HG_CONTEXT_FILE,
     {WORD("port"), WORD("add"), VALUE("NAME", NAME), WORD("pcap"), VALUE("FILE", SOCKET)},
     {PORT_REST},
     "writes what it would send into a capture FILE and receives nothing: to look at packets"},
    {HG_CMD_PEER_ADD,
     HG_CONTEXT_FILE,
     {WORD("peer"), WORD("add"), VALUE("NAME", NAME)},
     {NEED("node", "N", ID), NEED("region", "N", REGION), NEED("address", "ADDRESS", ADDRESS),
      MAY("mac", "MAC", MAC), NEED("port", "PORT", NAME), NEED("key", "FILE", PATH),
      MAY("rate", "RATE", RATE), MAY_ONE_OF("congestion", CONGESTION), MAY_ONE_OF("fec", FEC),
      MAY_ONE_OF("ecn", ECN), MAY("credit", "SIZE", SIZE), REKEY, DROP_BEHIND, FLAG("learner")},
     "another node, reached through PORT; FILE (mode 0600) holds the shared key; with RATE in bit/s it is "
     "sent to at that rate (`fixed`), without one at what the path carries (`bbr`); for bbr and cubic RATE "
     "is "
     "the most; `fec`: parity against losses, `auto` where it saves time; `ecn`: packets are marked so that "
     "full queues mark them instead "
     "of dropping them; SIZE it may have under way to us; "
     "`rekey-...`: after how much its keys are renewed; `drop-behind-...`: it holds no more of our logs than "
     "that; `learner`: a node of our region that is no member of its quorum until `group members` makes it "
     "one"},
    {HG_CMD_LOG_ADD,
     HG_CONTEXT_FILE,
     {WORD("log"), WORD("add"), VALUE("ID", NUMBER)},
     {NEED("path", "FILE", PATH), MAY("memory", "SIZE", SIZE), MAY("scrub", "N", NUMBER),
      MAY_ONE_OF("flush", "auto|group|dsync"), RETAIN},
     "a log of this node and the memory for writes under way; `scrub`: how many MB/s of what is in it are "
     "read to see whether they are whole, 0 for none; `flush`: whether a flush covers many writes (`group`), "
     "each write is made durable by itself (`dsync`), or the device is asked; `retain-...`: what it keeps "
     "at least for readers that may come, as far as there is room"},
    {HG_CMD_STREAM_ADD,
     HG_CONTEXT_FILE,
     {WORD("stream"), WORD("add"), VALUE("NAME", NAME)},
     {NEED("id", "N", ID), NEED_ONE_OF("kind", "key-value|postgres-logical|postgres-physical"),
      NEED("region", "N", REGION), MAY("node", "N", ID), MAY("group", "N", GROUP),
      MAY_ONE_OF("compression", "lz4|off"), MAY("worker", "N", NUMBER), RETAIN},
     "a stream, with the number it has everywhere, the region it originates in, and the node of that region "
     "where the region has a quorum; a new one goes into log N, or where a hash of its number says"},
    {HG_CMD_STREAM_REPLICATE,
     HG_CONTEXT_FILE,
     {WORD("stream"), WORD("replicate"), VALUE("NAME", NAME), VALUES("PEER", NAME)},
     {{0}},
     "the peers that get a stream of our region"},
    {HG_CMD_CONSUMER_ADD,
     HG_CONTEXT_FILE,
     {WORD("consumer"), WORD("add"), VALUE("NAME", NAME)},
     {NEED("stream", "STREAM", NAME), DROP_BEHIND},
     "a registered consumer: the log keeps what it has not yet passed; with `drop-behind-...` no more than "
     "that "
     "of it"},
    {HG_CMD_METASTORE_FILE,
     HG_CONTEXT_FILE,
     {WORD("metastore"), WORD("file"), VALUE("PATH", PATH)},
     {{0}},
     "where the epochs of groups are agreed on, for nodes that share a file system; else `metastore` in the "
     "run "
     "directory"},
    {HG_CMD_GRANT,
     HG_CONTEXT_FILE,
     {WORD("grant"), VALUE("MS", NUMBER)},
     {{0}},
     "this node's groups are written only under a write grant of so many milliseconds, which the metastore "
     "renews "
     "three times as often: without its control plane, or a metastore, the node is read-only when it ends"},
    {HG_CMD_SET_PEER,
     HG_CONTEXT_FILE | HG_CONTEXT_LIVE,
     {WORD("set"), WORD("peer"), VALUE("NAME", NAME)},
     {MAY("rate", "RATE", RATE), MAY_ONE_OF("congestion", CONGESTION), MAY_ONE_OF("fec", FEC),
      MAY_ONE_OF("ecn", ECN), REKEY, DROP_BEHIND, FLAG("dry-run")},
     "the rate towards a peer, how it is found, how much parity it is sent, whether its packets are "
     "ECN-capable, after how much its keys are renewed, how much of our logs it may hold; at once"},
    {HG_CMD_SET_LOG,
     HG_CONTEXT_FILE | HG_CONTEXT_LIVE,
     {WORD("set"), WORD("log"), VALUE("ID", NUMBER)},
     {RETAIN, FLAG("dry-run")},
     "what a log keeps at least when nobody needs it, as far as there is room; 0 ends it"},
    {HG_CMD_SET_STREAM,
     HG_CONTEXT_FILE | HG_CONTEXT_LIVE,
     {WORD("set"), WORD("stream"), VALUE("NAME", NAME)},
     {RETAIN, FLAG("dry-run")},
     "what the log keeps at least of a stream when nobody needs it, as far as there is room; 0 ends it"},
    {HG_CMD_SET_CONSUMER,
     HG_CONTEXT_FILE | HG_CONTEXT_LIVE,
     {WORD("set"), WORD("consumer"), VALUE("NAME", NAME)},
     {DROP_BEHIND, FLAG("dry-run")},
     "how much of the log a consumer of the command file may hold; 0 = all of it"},
    {HG_CMD_SHOW,
     HG_CONTEXT_LIVE,
     {WORD("show"), ONE_OF("WHAT", "node|ports|peers|lanes|streams|groups|tails|placement|lag|log|retention|"
                                   "clients|consumers|sessions|drops|events|config|all")},
     {{0}},
     "what is"},
    {HG_CMD_PEER_REMOVE,
     HG_CONTEXT_LIVE,
     {WORD("peer"), WORD("remove"), VALUE("NAME", NAME)},
     {FLAG("dry-run")},
     "ends the session with a peer and wipes its keys; no stream goes to it any more"},
    {HG_CMD_CONSUMER_REMOVE,
     HG_CONTEXT_LIVE,
     {WORD("consumer"), WORD("remove"), VALUE("NAME", NAME)},
     {MAY("stream", "NAME", NAME), FLAG("dry-run")},
     "forgets a registered consumer and its position: the log no longer keeps anything for it; `stream` when "
     "several streams have one of that name"},
    {HG_CMD_STREAM_MOVE,
     HG_CONTEXT_LIVE,
     {WORD("stream"), WORD("move"), VALUE("NAME", NAME)},
     {NEED("worker", "N", NUMBER), FLAG("dry-run")},
     "moves a stream to another worker and its log: appends wait until peers and consumers have all of it, 3 "
     "s "
     "at most; else it stays"},
    {HG_CMD_LOG_GROW,
     HG_CONTEXT_LIVE,
     {WORD("log"), WORD("grow"), VALUE("ID", NUMBER), VALUE("SIZE", SIZE)},
     {FLAG("dry-run")},
     "makes the file of a log SIZE long while it is in use: zeros are written first, then it has more "
     "segments; 'show "
     "log' says how far it is"},
    {HG_CMD_STREAM_ADOPT,
     HG_CONTEXT_LIVE,
     {WORD("stream"), WORD("adopt"), VALUE("NAME", NAME)},
     {MAY("peer", "PEER", NAME), FLAG("dry-run")},
     "has a stream that ends here before its origin's log begins go on where that begins; what is between "
     "must "
     "be there from a backup, or is done without: readers from before are told of the gap; `peer`: only if "
     "it "
     "is that one who says so"},
    {HG_CMD_GROUP_SEAL,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("seal"), VALUE("GROUP", GROUP)},
     {NEED("epoch", "E", ID), FLAG("dry-run")},
     "promises epoch E in every log that has the group: nothing of an older one is taken any more, its "
     "producers "
     "are refused; answers where each of its streams ends"},
    {HG_CMD_GROUP_OPEN,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("open"), VALUE("GROUP", GROUP)},
     {NEED("epoch", "E", ID), FLAG("dry-run")},
     "begins the epoch that was sealed for: this node's producers may write the group again"},
    {HG_CMD_GROUP_MEMBERS_SHOW,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("show")},
     {{0}},
     "who keeps the copies of a group, how many of them acknowledge, and how far a change of them is"},
    {HG_CMD_GROUP_MEMBERS_ADD,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("add"), VALUE("NODE", NAME)},
     {FLAG("dry-run")},
     "makes a node a member: it copies the log first, then counts beside the others, then the change is "
     "done"},
    {HG_CMD_GROUP_MEMBERS_REMOVE,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("remove"), VALUE("NODE", NAME)},
     {FLAG("dry-run")},
     "takes a member, or a learner, out: once what is committed is with enough of the others"},
    {HG_CMD_GROUP_MEMBERS_REPLACE,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("replace"), VALUE("NODE", NAME),
      VALUE("NEW", NAME)},
     {FLAG("dry-run")},
     "puts node NEW in the place of a member, which may be dead: as add and remove in one change"},
    {HG_CMD_GROUP_MEMBERS_LEARNER,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("learner"), VALUE("NODE", NAME)},
     {FLAG("dry-run")},
     "makes a node a learner: it gets everything and counts for nothing"},
    {HG_CMD_GROUP_MEMBERS_CANCEL,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("members"), VALUE("GROUP", GROUP), WORD("cancel")},
     {FLAG("dry-run")},
     "gives up a change whose new member has not caught up: it stays a learner"},
    {HG_CMD_GROUP_FAIL_OVER,
     HG_CONTEXT_LIVE,
     {WORD("group"), WORD("fail-over"), VALUE("GROUP", GROUP)},
     {FLAG("force"), FLAG("dry-run")},
     "makes this node the writer of the group: seals it at the members of the quorum, takes what they have, "
     "and opens it under a new epoch; `show groups` says how far it is. Refused where too few of them are up "
     "from here to seal it: force goes on all the same, and the group stays sealed until they are"},
    {HG_CMD_STOP,
     HG_CONTEXT_LIVE,
     {WORD("stop"), WORD("dataplane")},
     {FLAG("dry-run")},
     "asks the dataplane to end in order"},
};

struct word {
    const char *text;
    uint32_t column;
};

struct line {
    char bytes[HG_GRAMMAR_LINE_BYTES_MAX];
    struct word words[HG_GRAMMAR_WORDS_MAX];
    uint32_t word_count;
    uint32_t column_end; /* where one more word would stand */
};

static int fail(struct hg_grammar_error *error, uint32_t column, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct hg_grammar_error *error, uint32_t column, const char *format, ...)
{
    va_list arguments;

    error->column = column;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return -1;
}

/* Splits the line in place. 0, or -1 with *error. */
static int split(struct line *line, const char *text, struct hg_grammar_error *error)
{
    size_t bytes = strlen(text), at = 0;

    line->word_count = 0;
    line->column_end = 1;
    if (bytes >= sizeof(line->bytes))
        return fail(error, HG_GRAMMAR_LINE_BYTES_MAX, "the line is longer than %d bytes",
                    HG_GRAMMAR_LINE_BYTES_MAX - 1);
    memcpy(line->bytes, text, bytes + 1);
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)text[i];

        if ((byte < ' ' && byte != '\t' && byte != '\r') || byte == 0x7f)
            return fail(error, (uint32_t)i + 1, "unprintable byte 0x%02x; a command file is plain text",
                        byte);
    }
    for (;;) {
        bool quoted;
        size_t begin, length;

        at += strspn(text + at, " \t\r");
        if (text[at] == '\0' || text[at] == '#')
            return 0;
        if (line->word_count == HG_GRAMMAR_WORDS_MAX)
            return fail(error, (uint32_t)at + 1, "more than %d words", HG_GRAMMAR_WORDS_MAX);
        quoted = text[at] == '"';
        begin = at + quoted;
        length = strcspn(text + begin, quoted ? "\"" : " \t\r");
        if (quoted && text[begin + length] != '"')
            return fail(error, (uint32_t)at + 1, "expected a closing \", got end of line");
        line->words[line->word_count++] =
            (struct word){.text = line->bytes + begin, .column = (uint32_t)at + 1};
        at = begin + length + quoted;
        line->column_end = (uint32_t)at + 1;
        if (quoted && text[at] != '\0' && strchr(" \t\r", text[at]) == NULL)
            return fail(error, (uint32_t)at + 1, "expected a blank after the closing \"");
        line->bytes[begin + length] = '\0';
    }
}

/* ---- expected ... got ... ---- */
struct expected {
    char text[HG_GRAMMAR_ERROR_BYTES - 96];
    size_t bytes;
    uint32_t count;
};

static void expect(struct expected *expected, const char *what)
{
    size_t length = strlen(what);

    for (const char *at = expected->text; (at = strstr(at, what)) != NULL; at++) {
        bool starts = at == expected->text || at[-1] == ' ', ends = at[length] == '\0' || at[length] == ',';

        if (starts && ends)
            return;
    }
    if (expected->bytes + length + 3 > sizeof(expected->text))
        return;
    expected->bytes +=
        (size_t)snprintf(expected->text + expected->bytes, sizeof(expected->text) - expected->bytes, "%s%s",
                         expected->count == 0 ? "" : ", ", what);
    expected->count++;
}

static int fail_expected(struct hg_grammar_error *error, const struct line *line, uint32_t index,
                         const struct expected *expected)
{
    const char *many = expected->count > 1 ? "one of " : "";

    if (index < line->word_count)
        return fail(error, line->words[index].column, "expected %s%s, got \"%.64s\"", many, expected->text,
                    line->words[index].text);
    return fail(error, line->column_end, "expected %s%s, got end of line", many, expected->text);
}

/* ---- matching ---- */
static uint32_t path_length(const struct hg_grammar_command *command)
{
    uint32_t n = 0;

    while (n < HG_COUNT(command->path) && (command->path[n].word != NULL || command->path[n].label != NULL))
        n++;
    return n;
}

static bool path_matches(const struct hg_grammar_command *command, const struct line *line, uint32_t words)
{
    for (uint32_t i = 0; i < words; i++) {
        if (i >= path_length(command))
            return false;
        if (command->path[i].word != NULL && strcmp(command->path[i].word, line->words[i].text) != 0)
            return false;
    }
    return true;
}

/* The only command whose path the line begins with; NULL with *error at the first word that fits none. */
static const struct hg_grammar_command *find(const struct line *line, unsigned context,
                                             struct hg_grammar_error *error)
{
    for (uint32_t depth = 1;; depth++) {
        const struct hg_grammar_command *found = NULL;
        struct expected expected = {0};

        for (size_t i = 0; i < HG_COUNT(commands); i++) {
            const struct hg_grammar_command *command = &commands[i];

            if ((command->contexts & context) == 0 || depth > path_length(command) ||
                !path_matches(command, line, depth - 1 < line->word_count ? depth - 1 : line->word_count))
                continue;
            if (depth <= line->word_count && path_matches(command, line, depth))
                found = command;
            const struct hg_grammar_argument *next = &command->path[depth - 1];

            expect(&expected, next->word != NULL ? next->word : next->label);
        }
        if (found == NULL) {
            fail_expected(error, line, depth - 1, &expected);
            return NULL;
        }
        if (depth == path_length(found))
            return found;
    }
}

static int take_value(struct hg_command *command, const struct hg_grammar_argument *argument,
                      const struct line *line, uint32_t index, struct hg_grammar_error *error)
{
    struct hg_value *value = &command->values[command->value_count];
    struct expected expected = {0};

    if (command->value_count == HG_GRAMMAR_VALUES_MAX)
        return fail(error, line->words[index].column, "more than %d values", HG_GRAMMAR_VALUES_MAX);
    memset(value, 0, sizeof(*value));
    value->argument = argument;
    value->column = line->words[index < line->word_count ? index : line->word_count - 1].column;
    if (argument->kind != HG_VALUE_FLAG &&
        (index >= line->word_count || !hg_grammar_value_parse(argument, line->words[index].text, value))) {
        if (argument->kind == HG_VALUE_CHOICE) {
            char choice[32];

            for (uint32_t i = 0; hg_grammar_choice(argument->choices, i, choice, sizeof(choice)); i++)
                expect(&expected, choice);
        } else {
            expect(&expected, hg_grammar_kind_text(argument->kind));
        }
        return fail_expected(error, line, index, &expected);
    }
    command->value_count++;
    return 0;
}

static uint32_t argument_count(const struct hg_grammar_command *grammar)
{
    uint32_t n = 0;

    while (n < HG_COUNT(grammar->arguments) && grammar->arguments[n].word != NULL)
        n++;
    return n;
}

static int take_arguments(struct hg_command *command, const struct line *line, uint32_t index,
                          struct hg_grammar_error *error)
{
    const struct hg_grammar_command *grammar = command->grammar;
    uint32_t count = argument_count(grammar), given = 0;

    while (index < line->word_count) {
        struct expected expected = {0};
        uint32_t i = 0;

        while (i < count &&
               ((given >> i & 1) != 0 || strcmp(grammar->arguments[i].word, line->words[index].text) != 0))
            i++;
        if (i == count) {
            for (i = 0; i < count; i++) {
                if ((given >> i & 1) == 0)
                    expect(&expected, grammar->arguments[i].word);
            }
            if (expected.count == 0)
                expect(&expected, "end of line");
            return fail_expected(error, line, index, &expected);
        }
        given |= 1u << i;
        index++;
        if (take_value(command, &grammar->arguments[i], line, index, error) < 0)
            return -1;
        index += grammar->arguments[i].kind != HG_VALUE_FLAG;
    }
    struct expected missing = {0};

    for (uint32_t i = 0; i < count; i++) {
        if (grammar->arguments[i].required && (given >> i & 1) == 0)
            expect(&missing, grammar->arguments[i].word);
    }
    return missing.count == 0 ? 1 : fail_expected(error, line, index, &missing);
}

int hg_grammar_parse(const char *text, enum hg_command_context context, struct hg_command *command,
                     struct hg_grammar_error *error, char first_word[32])
{
    struct line line;
    uint32_t length;

    command->value_count = 0;
    first_word[0] = '\0';
    if (split(&line, text, error) < 0)
        return -1;
    if (line.word_count == 0)
        return 0;
    snprintf(first_word, 32, "%.31s", line.words[0].text);
    command->grammar = find(&line, context, error);
    if (command->grammar == NULL)
        return -1;
    length = path_length(command->grammar);
    for (uint32_t i = 0; i < length; i++) {
        const struct hg_grammar_argument *argument = &command->grammar->path[i];
        uint32_t last = argument->repeated ? line.word_count : i + 1;

        for (uint32_t k = i; argument->word == NULL && k < last; k++) {
            if (take_value(command, argument, &line, k, error) < 0)
                return -1;
        }
        if (argument->repeated)
            return 1;
    }
    return take_arguments(command, &line, length, error);
}

const struct hg_value *hg_command_value(const struct hg_command *command, const char *name)
{
    for (uint32_t i = 0; i < command->value_count; i++) {
        const struct hg_grammar_argument *argument = command->values[i].argument;

        if (strcmp(argument->word != NULL ? argument->word : argument->label, name) == 0)
            return &command->values[i];
    }
    return NULL;
}

/* ---- help ---- */
static void argument_print(FILE *out, const struct hg_grammar_argument *argument)
{
    bool optional = argument->word != NULL && !argument->required;

    fprintf(out, " %s%s%s", optional ? "[" : "", argument->word == NULL ? "" : argument->word,
            argument->word != NULL && argument->kind != HG_VALUE_FLAG ? " " : "");
    if (argument->kind == HG_VALUE_CHOICE)
        fprintf(out, "(%s)", argument->choices);
    else if (argument->label != NULL)
        fprintf(out, "%s%s", argument->label, argument->repeated ? "..." : "");
    fprintf(out, "%s", optional ? "]" : "");
}

void hg_grammar_print(FILE *out, unsigned contexts)
{
    for (size_t i = 0; i < HG_COUNT(commands); i++) {
        const struct hg_grammar_command *command = &commands[i];

        if ((command->contexts & contexts) == 0)
            continue;
        fprintf(out, " ");
        for (uint32_t k = 0; k < path_length(command); k++) {
            if (command->path[k].word != NULL)
                fprintf(out, " %s", command->path[k].word);
            else
                argument_print(out, &command->path[k]);
        }
        for (uint32_t k = 0; k < argument_count(command); k++)
            argument_print(out, &command->arguments[k]);
        fprintf(out, "\n      %s\n", command->help);
    }
}

void hg_grammar_word_print(FILE *out, const char *word)
{
    bool quoted = word[0] == '\0' || word[strcspn(word, " \t\r#")] != '\0';

    fprintf(out, quoted ? "\"%s\"" : "%s", word);
}
