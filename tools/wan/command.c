/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/wan/command.h"
#include "tools/wan/steer.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define WORD_BYTES_MAX   160
#define FRACTION_DIGITS  9
#define BUFFER_BYTES_MIN 256
#define BUFFER_BYTES_MAX HG_PORT_FRAME_BYTES_MAX
#define RING_LOG2_MAX    14

/* A cursor over the words of a line. `word` is the current one; empty at the end of the line. */
struct words {
    const char *line;
    const char *next;
    uint32_t column;
    bool too_long;
    char word[WORD_BYTES_MAX];
};

struct unit {
    const char *name;
    uint64_t factor;
};

__attribute__((format(printf, 3, 4))) static int fail(struct hg_wan_error *error, uint32_t column,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->column = column;
    vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static void words_next(struct words *words)
{
    while (*words->next == ' ' || *words->next == '\t' || *words->next == '\r' || *words->next == '\n')
        words->next++;
    words->column = (uint32_t)(words->next - words->line) + 1;
    size_t length = *words->next == '#' ? 0 : strcspn(words->next, " \t\r\n");
    words->too_long = length >= sizeof(words->word);
    size_t kept = words->too_long ? sizeof(words->word) - 1 : length;
    memcpy(words->word, words->next, kept);
    words->word[kept] = '\0';
    words->next += length;
}

static void words_begin(struct words *words, const char *line)
{
    words->line = line;
    words->next = line;
    words_next(words);
}

static int expected(const struct words *words, struct hg_wan_error *error, const char *what)
{
    if (words->word[0] == '\0')
        return fail(error, words->column, "expected %s, found the end of the line", what);
    return fail(error, words->column, "expected %s, found '%.60s'", what, words->word);
}

/* --- numbers --- */

/* Fixed-point decimal: value = digits.digits * factor(unit), exact or refused. */
static bool decimal_parse(const char *text, const struct unit *units, size_t unit_count, uint64_t *value)
{
    uint64_t whole = 0;
    uint64_t fraction = 0;
    uint64_t scale = 1;
    if (!isdigit((unsigned char)*text))
        return false;
    for (; isdigit((unsigned char)*text); text++) {
        if (whole > UINT64_MAX / 100)
            return false;
        whole = whole * 10 + (uint64_t)(*text - '0');
    }
    if (*text == '.') {
        text++;
        if (!isdigit((unsigned char)*text))
            return false;
        for (uint32_t digits = 0; isdigit((unsigned char)*text); text++, digits++) {
            if (digits == FRACTION_DIGITS)
                return false;
            fraction = fraction * 10 + (uint64_t)(*text - '0');
            scale *= 10;
        }
    }
    for (size_t i = 0; i < unit_count; i++) {
        uint64_t product;
        uint64_t part;
        if (strcmp(text, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(whole, units[i].factor, &product) ||
            __builtin_mul_overflow(fraction, units[i].factor, &part))
            return false;
        return !__builtin_add_overflow(product, part / scale, value);
    }
    return false;
}

bool hg_wan_parse_duration_ns(const char *text, uint64_t *duration_ns)
{
    static const struct unit units[] = {
        {"ns", 1}, {"us", HG_NS_PER_US}, {"ms", HG_NS_PER_MS}, {"s", HG_NS_PER_S}};
    return decimal_parse(text, units, HG_COUNT(units), duration_ns);
}

bool hg_wan_parse_loss_ppb(const char *text, uint64_t *loss_ppb)
{
    static const struct unit units[] = {{"%", HG_WAN_LOSS_ALL_PPB / 100}};
    return decimal_parse(text, units, HG_COUNT(units), loss_ppb) && *loss_ppb <= HG_WAN_LOSS_ALL_PPB;
}

bool hg_wan_parse_rate_bits(const char *text, uint64_t *rate_bits)
{
    static const struct unit units[] = {{"", 1}, {"k", 1000}, {"m", 1000000}, {"g", 1000000000}};
    return decimal_parse(text, units, HG_COUNT(units), rate_bits);
}

bool hg_wan_parse_queue_bytes(const char *text, uint64_t *queue_bytes)
{
    static const struct unit units[] = {{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}};
    return decimal_parse(text, units, HG_COUNT(units), queue_bytes);
}

static bool number_parse(const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
    static const struct unit units[] = {{"", 1}};
    if (strchr(text, '.') != NULL || !decimal_parse(text, units, HG_COUNT(units), value))
        return false;
    return *value >= low && *value <= high;
}

static bool mac_parse(const char *text, uint8_t mac[6])
{
    for (int i = 0; i < 6; i++, text += 2) {
        if (i > 0 && *text++ != ':')
            return false;
        if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]))
            return false;
        char digits[3] = {text[0], text[1], '\0'};
        mac[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    bool zero = (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]) == 0;
    return *text == '\0' && (mac[0] & 1) == 0 && !zero;
}

/* --- commands --- */

static int name_parse(struct words *words, const char *what, char *name, uint32_t *column,
                      struct hg_wan_error *error)
{
    bool good = words->word[0] != '\0' && strlen(words->word) < HG_WAN_NAME_BYTES_MAX && !words->too_long;
    for (const char *c = words->word; good && *c != '\0'; c++)
        good = isalnum((unsigned char)*c) || *c == '-' || *c == '_' || *c == '.';
    if (!good)
        return expected(words, error, what);
    snprintf(name, HG_WAN_NAME_BYTES_MAX, "%s", words->word);
    *column = words->column;
    words_next(words);
    return 0;
}

static int end_parse(struct words *words, struct hg_wan_error *error, const char *what)
{
    return words->word[0] == '\0' ? 0 : expected(words, error, what);
}

static int memif_value_parse(struct words *words, const char *keyword, struct hg_wan_command *command,
                             struct hg_wan_error *error)
{
    uint64_t value = 0;
    if (strcmp(keyword, "socket") == 0) {
        if (words->word[0] == '\0' || strlen(words->word) >= sizeof(command->socket) ||
            strchr(words->word, ',') != NULL)
            return expected(words, error, "the path of a socket, at most 107 bytes and without commas");
        snprintf(command->socket, sizeof(command->socket), "%.107s", words->word);
    } else if (strcmp(keyword, "id") == 0) {
        if (!number_parse(words->word, 0, UINT32_MAX, &value))
            return expected(words, error, "a number from 0 to 4294967295");
        command->memif_id = (uint32_t)value;
    } else if (strcmp(keyword, "bsize") == 0) {
        if (!number_parse(words->word, BUFFER_BYTES_MIN, BUFFER_BYTES_MAX, &value))
            return expected(words, error, "a buffer size from 256 to 9216 bytes");
        command->buffer_bytes = (uint32_t)value;
    } else if (strcmp(keyword, "queues") == 0) {
        if (!number_parse(words->word, 1, HG_WAN_QUEUES_MAX, &value))
            return expected(words, error,
                            "a number of queues from 1 to 16: one for each worker of the station");
        command->queues = (uint32_t)value;
    } else {
        if (!number_parse(words->word, 1, RING_LOG2_MAX, &value))
            return expected(words, error, "the ring size's logarithm, 1 to 14");
        command->ring_log2 = (uint32_t)value;
    }
    return 0;
}

/* What the kernel takes for a name, less what DPDK's device arguments or a shell would stumble over. */
static int iface_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    size_t length = strlen(words->word);
    bool good = length > 0 && length < sizeof(command->iface) && isalpha((unsigned char)words->word[0]);
    for (const char *c = words->word; good && *c != '\0'; c++)
        good = isalnum((unsigned char)*c) || *c == '-' || *c == '_';
    if (!good)
        return expected(words, error,
                        "a network interface to make: a letter, then letters, digits, '-', '_', "
                        "at most 15");
    snprintf(command->iface, sizeof(command->iface), "%.15s", words->word);
    return 0;
}

/* One keyword of `port add` and its value. */
static int port_option_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    char keyword[16];
    int rc = 0;
    bool tap = command->kind == HG_WAN_PORT_TAP;
    snprintf(keyword, sizeof(keyword), "%.15s", words->word);
    bool mac = strcmp(keyword, "mac") == 0;
    if (tap && !mac && strcmp(keyword, "iface") != 0)
        return expected(words, error, "iface or mac");
    if (!tap && !mac && strcmp(keyword, "socket") != 0 && strcmp(keyword, "id") != 0 &&
        strcmp(keyword, "bsize") != 0 && strcmp(keyword, "rsize") != 0 && strcmp(keyword, "queues") != 0)
        return expected(words, error, "socket, id, mac, bsize, rsize or queues");
    words_next(words);
    if (mac && !mac_parse(words->word, command->mac))
        return expected(words, error, "a unicast address such as 02:00:00:00:00:0a");
    if (!mac)
        rc = tap ? iface_parse(words, command, error) : memif_value_parse(words, keyword, command, error);
    words_next(words);
    return rc;
}

static int port_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    if (strcmp(words->word, "add") != 0)
        return expected(words, error, "add");
    words_next(words);
    command->verb = HG_WAN_VERB_PORT_ADD;
    command->buffer_bytes = 2048;
    command->ring_log2 = 10;
    command->queues = 1;
    int rc = name_parse(words, "a name for the port (letters, digits, '-', '_', '.')", command->name,
                        &command->name_column, error);
    if (rc != 0)
        return rc;
    bool tap = strcmp(words->word, "tap") == 0;
    if (!tap && strcmp(words->word, "memif") != 0)
        return expected(words, error, "memif or tap");
    command->kind = tap ? HG_WAN_PORT_TAP : HG_WAN_PORT_MEMIF;
    words_next(words);
    while (rc == 0 && words->word[0] != '\0')
        rc = port_option_parse(words, command, error);
    if (rc != 0)
        return rc;
    if (!tap && command->socket[0] == '\0')
        return expected(words, error, "socket PATH");
    if (tap && command->iface[0] == '\0')
        return expected(words, error, "iface NAME");
    if (command->mac[0] == 0 && memcmp(command->mac, command->mac + 1, 5) == 0)
        return expected(words, error, "mac ADDRESS");
    return 0;
}

/* The keywords of `link set`: where the value goes, how it is read, what is said of a wrong one, and the word
 * that may follow it. */
struct impairment_keyword {
    const char *name;
    bool (*parse)(const char *text, uint64_t *value); /* NULL = a number from low to high */
    uint64_t low;
    uint64_t high;
    size_t at; /* offset of a uint64_t */
    const char *expected;
    const char *flag;
    size_t flag_at; /* offset of a bool */
};

#define AT(field) offsetof(struct hg_wan_impairment, field)
static const struct impairment_keyword impairment_keywords[] = {
    {"delay", hg_wan_parse_duration_ns, 0, UINT64_MAX, AT(delay_ns), "a duration such as 40ms", NULL, 0},
    {"jitter", hg_wan_parse_duration_ns, 0, UINT64_MAX, AT(jitter_ns), "a duration such as 5ms", NULL, 0},
    {"loss", hg_wan_parse_loss_ppb, 0, UINT64_MAX, AT(loss_ppb), "a share such as 0.1%", NULL, 0},
    {"burst", NULL, 1, HG_WAN_BURST_FRAMES_MAX, AT(burst_count), "a mean number of frames, 1 to 100000", NULL,
     0},
    {"rate", hg_wan_parse_rate_bits, 1, UINT64_MAX, AT(rate_bits), "bits per second such as 100m or 1g", NULL,
     0},
    {"queue", hg_wan_parse_queue_bytes, 1, UINT64_MAX, AT(queue_bytes), "bytes such as 64k or 4m", NULL, 0},
    {"reorder", hg_wan_parse_loss_ppb, 0, UINT64_MAX, AT(reorder_ppb), "a share such as 1%", NULL, 0},
    {"late", hg_wan_parse_duration_ns, 0, UINT64_MAX, AT(late_ns), "a duration such as 5ms", NULL, 0},
    {"duplicate", hg_wan_parse_loss_ppb, 0, UINT64_MAX, AT(duplicate_ppb), "a share such as 0.1%", NULL, 0},
    {"corrupt", hg_wan_parse_loss_ppb, 0, UINT64_MAX, AT(corrupt_ppb), "a share such as 0.01%", "header",
     AT(corrupt_header)},
    {"paths", NULL, 1, HG_WAN_PATHS_MAX, AT(path_count), "a number of paths, 1 to 8", NULL, 0},
    {"skew", hg_wan_parse_duration_ns, 0, UINT64_MAX, AT(skew_ns), "a duration such as 3ms", NULL, 0},
    {"mtu", NULL, HG_WAN_MTU_BYTES_MIN, HG_WAN_MTU_BYTES_MAX, AT(mtu_bytes),
     "a packet size from 68 to 9198 bytes", "icmp", AT(mtu_icmp)},
};
#undef AT

static int spread_parse(struct words *words, struct hg_wan_impairment *impairment, struct hg_wan_error *error)
{
    impairment->path_by_flow = strcmp(words->word, "flow") == 0;
    if (!impairment->path_by_flow && strcmp(words->word, "packet") != 0)
        return expected(words, error, "packet or flow");
    words_next(words);
    return 0;
}

/* Bytes or time that wait. */
static int ecn_parse(struct words *words, struct hg_wan_impairment *impairment, struct hg_wan_error *error)
{
    impairment->ecn_bytes = 0;
    impairment->ecn_ns = 0;
    if (!hg_wan_parse_queue_bytes(words->word, &impairment->ecn_bytes) &&
        !hg_wan_parse_duration_ns(words->word, &impairment->ecn_ns))
        return expected(words, error, "bytes such as 64k, or a duration such as 5ms, that wait");
    if (impairment->ecn_bytes == 0 && impairment->ecn_ns == 0)
        return expected(words, error, "bytes or a duration above 0");
    words_next(words);
    return 0;
}

static int impairment_value_parse(struct words *words, const struct impairment_keyword *keyword,
                                  struct hg_wan_impairment *impairment, struct hg_wan_error *error)
{
    uint64_t value = 0;
    bool good = keyword->parse != NULL
                    ? keyword->parse(words->word, &value) && value >= keyword->low && value <= keyword->high
                    : number_parse(words->word, keyword->low, keyword->high, &value);
    if (!good)
        return expected(words, error, keyword->expected);
    memcpy((char *)impairment + keyword->at, &value, sizeof(value));
    words_next(words);
    if (keyword->flag != NULL && strcmp(words->word, keyword->flag) == 0) {
        bool set = true;
        memcpy((char *)impairment + keyword->flag_at, &set, sizeof(set));
        words_next(words);
    }
    return 0;
}

/* One keyword of `link set` and its value. */
static int impairment_parse(struct words *words, struct hg_wan_impairment *impairment,
                            struct hg_wan_error *error)
{
    char name[16];
    snprintf(name, sizeof(name), "%.15s", words->word);
    uint32_t column = words->column;
    words_next(words);
    if (strcmp(name, "spread") == 0)
        return spread_parse(words, impairment, error);
    if (strcmp(name, "ecn") == 0)
        return ecn_parse(words, impairment, error);
    for (size_t i = 0; i < HG_COUNT(impairment_keywords); i++) {
        if (strcmp(name, impairment_keywords[i].name) == 0)
            return impairment_value_parse(words, &impairment_keywords[i], impairment, error);
    }
    return fail(
        error, column,
        "expected delay, jitter, loss, burst, rate, queue, ecn, reorder, late, duplicate, corrupt, paths, "
        "skew, spread or mtu, found '%.15s'",
        name);
}

static int join_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    int rc = name_parse(words, "the port where the line to join begins", command->line[0],
                        &command->line_column[0], error);
    if (rc == 0)
        rc = name_parse(words, "the port where the line to join ends", command->line[1],
                        &command->line_column[1], error);
    if (rc != 0)
        return rc;
    if (strcmp(command->line[0], command->line[1]) == 0)
        return fail(error, command->line_column[1], "expected another port than '%s'", command->line[0]);
    if (strcmp(command->line[0], command->name) == 0 && strcmp(command->line[1], command->to) == 0)
        return fail(error, command->line_column[0], "expected another link than that from '%s' to '%s'",
                    command->name, command->to);
    return end_parse(words, error, "the end of the line");
}

static int link_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    if (strcmp(words->word, "set") == 0)
        command->verb = HG_WAN_VERB_LINK_SET;
    else if (strcmp(words->word, "join") == 0)
        command->verb = HG_WAN_VERB_LINK_JOIN;
    else if (strcmp(words->word, "cut") == 0)
        command->verb = HG_WAN_VERB_LINK_CUT;
    else if (strcmp(words->word, "restore") == 0)
        command->verb = HG_WAN_VERB_LINK_RESTORE;
    else
        return expected(words, error, "set, join, cut or restore");
    words_next(words);
    int rc = name_parse(words, "the port where the link begins", command->name, &command->name_column, error);
    if (rc == 0)
        rc = name_parse(words, "the port where the link ends", command->to, &command->to_column, error);
    if (rc == 0 && strcmp(command->name, command->to) == 0)
        return fail(error, command->to_column, "expected another port than '%s'", command->name);
    if (rc == 0 && command->verb == HG_WAN_VERB_LINK_JOIN)
        return join_parse(words, command, error);
    if (rc != 0 || command->verb != HG_WAN_VERB_LINK_SET)
        return rc != 0 ? rc : end_parse(words, error, "the end of the line");
    uint32_t column = words->column;
    while (rc == 0 && words->word[0] != '\0')
        rc = impairment_parse(words, &command->impairment, error);
    if (rc != 0)
        return rc;
    const char *problem = hg_wan_impairment_problem(&command->impairment);
    return problem == NULL ? 0 : fail(error, column, "expected %s", problem);
}

static int show_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    if (strcmp(words->word, "ports") == 0)
        command->verb = HG_WAN_VERB_SHOW_PORTS;
    else if (strcmp(words->word, "links") == 0)
        command->verb = HG_WAN_VERB_SHOW_LINKS;
    else
        return expected(words, error, "ports or links");
    words_next(words);
    return end_parse(words, error, "the end of the line");
}

static int seed_parse(struct words *words, struct hg_wan_command *command, struct hg_wan_error *error)
{
    command->verb = HG_WAN_VERB_SEED;
    if (!number_parse(words->word, 0, UINT64_MAX, &command->seed))
        return expected(words, error, "a number");
    words_next(words);
    return end_parse(words, error, "the end of the line");
}

int hg_wan_command_parse(const char *line, struct hg_wan_command *command, struct hg_wan_error *error)
{
    struct words words;
    char verb[16];
    memset(command, 0, sizeof(*command));
    memset(error, 0, sizeof(*error));
    words_begin(&words, line);
    if (words.word[0] == '\0')
        return 0;
    uint32_t column = words.column;
    snprintf(verb, sizeof(verb), "%.15s", words.word);
    words_next(&words);
    if (strcmp(verb, "port") == 0)
        return port_parse(&words, command, error);
    if (strcmp(verb, "link") == 0)
        return link_parse(&words, command, error);
    if (strcmp(verb, "show") == 0)
        return show_parse(&words, command, error);
    if (strcmp(verb, "seed") == 0)
        return seed_parse(&words, command, error);
    if (strcmp(verb, "quit") != 0)
        return fail(error, column, "expected port, link, show, seed or quit, found '%s'", verb);
    command->verb = HG_WAN_VERB_QUIT;
    return end_parse(&words, error, "the end of the line");
}

/* --- against what is declared --- */

static int declared_find(const struct hg_wan_declared *declared, const char *name)
{
    for (uint32_t i = 0; i < declared->count; i++) {
        if (strcmp(declared->ports[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static int port_check(const struct hg_wan_declared *declared, const struct hg_wan_command *command,
                      struct hg_wan_error *error)
{
    if (declared->count == HG_WAN_PORTS_MAX)
        return fail(error, 1, "no more than %d ports are possible", HG_WAN_PORTS_MAX);
    for (uint32_t i = 0; i < declared->count; i++) {
        if (strcmp(declared->ports[i].name, command->name) == 0)
            return fail(error, command->name_column, "expected a new name: there is a port '%s' already",
                        command->name);
        if (memcmp(declared->ports[i].mac, command->mac, 6) == 0)
            return fail(error, 0, "port '%s' has the address of port '%s'", command->name,
                        declared->ports[i].name);
        if (declared->ports[i].kind != command->kind)
            continue;
        if (command->kind == HG_WAN_PORT_TAP && strcmp(declared->ports[i].iface, command->iface) == 0)
            return fail(error, 0, "port '%s' has the interface of port '%s'", command->name,
                        declared->ports[i].name);
        if (command->kind == HG_WAN_PORT_MEMIF && strcmp(declared->ports[i].socket, command->socket) == 0 &&
            declared->ports[i].memif_id == command->memif_id)
            return fail(error, 0, "port '%s' has socket and id of port '%s': give it another id",
                        command->name, declared->ports[i].name);
    }
    return 0;
}

static int named_check(const struct hg_wan_declared *declared, const char *name, uint32_t column,
                       struct hg_wan_error *error)
{
    if (declared_find(declared, name) >= 0)
        return 0;
    return fail(error, column, "expected the name of a port, found '%s', which is none", name);
}

static int link_check(const struct hg_wan_declared *declared, const struct hg_wan_command *command,
                      struct hg_wan_error *error)
{
    int rc = named_check(declared, command->name, command->name_column, error);
    if (rc == 0)
        rc = named_check(declared, command->to, command->to_column, error);
    for (int i = 0; i < 2 && rc == 0 && command->verb == HG_WAN_VERB_LINK_JOIN; i++)
        rc = named_check(declared, command->line[i], command->line_column[i], error);
    return rc;
}

int hg_wan_command_check(const struct hg_wan_declared *declared, const struct hg_wan_command *command,
                         struct hg_wan_error *error)
{
    switch (command->verb) {
    case HG_WAN_VERB_PORT_ADD:
        return port_check(declared, command, error);
    case HG_WAN_VERB_LINK_SET:
    case HG_WAN_VERB_LINK_JOIN:
    case HG_WAN_VERB_LINK_CUT:
    case HG_WAN_VERB_LINK_RESTORE:
        return link_check(declared, command, error);
    default:
        return 0;
    }
}

void hg_wan_declared_add(struct hg_wan_declared *declared, const struct hg_wan_command *command)
{
    hg_assert(declared->count < HG_WAN_PORTS_MAX);
    uint32_t i = declared->count++;
    memcpy(declared->ports[i].name, command->name, sizeof(command->name));
    memcpy(declared->ports[i].mac, command->mac, sizeof(command->mac));
    declared->ports[i].kind = command->kind;
    memcpy(declared->ports[i].iface, command->iface, sizeof(command->iface));
    memcpy(declared->ports[i].socket, command->socket, sizeof(command->socket));
    declared->ports[i].memif_id = command->memif_id;
}
