/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/grammar_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

static bool digits_parse(const char *text, uint64_t max, uint64_t *number)
{
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *number <= max;
}

/* 400m: digits and a unit, in powers of `base`. No fractions: 1.5m is 1500k. */
static bool unit_parse(const char *text, uint64_t base, uint64_t *number)
{
    static const char units[] = "kmgt";
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno != 0)
        return false;
    if (*end != '\0') {
        const char *unit = strchr(units, tolower((unsigned char)*end));

        if (unit == NULL || end[1] != '\0')
            return false;
        for (const char *u = units; u <= unit; u++) {
            if (*number > UINT64_MAX / base)
                return false;
            *number *= base;
        }
    }
    return *number <= INT64_MAX;
}

static bool name_valid(const char *text, size_t bytes_max)
{
    static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t bytes = strlen(text);

    return bytes > 0 && bytes < bytes_max && strspn(text, characters) == bytes &&
           isalnum((unsigned char)text[0]);
}

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, tolower((unsigned char)c));

    return at == NULL ? -1 : (int)(at - digits);
}

/* A station's address: not the null address, not a group's. */
static bool mac_parse(const char *text, uint8_t mac[6])
{
    static const uint8_t none[6];

    for (int i = 0; i < 6; i++) {
        int high = hex(text[3 * i]), low = high < 0 ? -1 : hex(text[3 * i + 1]);

        if (low < 0 || text[3 * i + 2] != (i < 5 ? ':' : '\0'))
            return false;
        mac[i] = (uint8_t)(high << 4 | low);
    }
    return (mac[0] & 1) == 0 && memcmp(mac, none, sizeof(none)) != 0;
}

static bool prefix_parse(const char *text, struct hg_address *address, uint32_t *prefix_bits)
{
    const char *slash = strchr(text, '/');
    char part[HG_ADDRESS_TEXT_BYTES];
    struct hg_address parsed;
    uint64_t bits;

    if (slash == NULL || (size_t)(slash - text) >= sizeof(part))
        return false;
    memcpy(part, text, (size_t)(slash - text));
    part[slash - text] = '\0';
    if (!hg_address_parse(part, &parsed) || !digits_parse(slash + 1, hg_address_bits(&parsed), &bits) ||
        bits == 0)
        return false;
    *address = parsed;
    *prefix_bits = (uint32_t)bits;
    return true;
}

static bool pci_valid(const char *text)
{
    static const char form[] = "xxxx:xx:xx.x";
    size_t i = 0;

    for (; form[i] != '\0'; i++) {
        if (form[i] == 'x' ? hex(text[i]) < 0 : text[i] != form[i])
            return false;
    }
    return text[i] == '\0';
}

bool hg_grammar_choice(const char *choices, uint32_t i, char *choice, size_t bytes)
{
    for (; i > 0; i--) {
        choices = strchr(choices, '|');
        if (choices == NULL)
            return false;
        choices++;
    }
    snprintf(choice, bytes, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static bool choice_parse(const char *choices, const char *text, uint64_t *index)
{
    char choice[32];

    for (uint32_t i = 0; hg_grammar_choice(choices, i, choice, sizeof(choice)); i++) {
        if (strcmp(choice, text) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

bool hg_grammar_value_parse(const struct hg_grammar_argument *argument, const char *text,
                            struct hg_value *value)
{
    size_t bytes = strlen(text);

    if (bytes == 0 || bytes >= sizeof(value->text))
        return false;
    memcpy(value->text, text, bytes + 1);
    switch (argument->kind) {
    case HG_VALUE_NAME:
        return name_valid(text, 32);
    case HG_VALUE_ID:
        return digits_parse(text, INT64_MAX, &value->number) && value->number > 0;
    case HG_VALUE_NUMBER:
        return digits_parse(text, UINT32_MAX, &value->number);
    case HG_VALUE_REGION:
        return digits_parse(text, 31, &value->number);
    case HG_VALUE_GROUP:
        return digits_parse(text, 63, &value->number);
    case HG_VALUE_PATH:
        return strchr(text, '"') == NULL;
    case HG_VALUE_SOCKET:
        return bytes < 108 && strpbrk(text, ",\"") == NULL;
    case HG_VALUE_MAC:
        return mac_parse(text, value->mac);
    case HG_VALUE_ADDRESS:
        return hg_address_parse(text, &value->address);
    case HG_VALUE_PREFIX:
        return prefix_parse(text, &value->address, &value->prefix_bits);
    case HG_VALUE_MTU:
        return digits_parse(text, 9000, &value->number) && value->number >= 576;
    case HG_VALUE_VLAN:
        return digits_parse(text, HG_VLAN_MAX, &value->number) && value->number >= 1;
    case HG_VALUE_RATE:
        return unit_parse(text, 1000, &value->number) && value->number >= HG_RATE_BITS_PER_S_MIN &&
               value->number <= HG_RATE_BITS_PER_S_MAX && value->number % 8 == 0;
    case HG_VALUE_SIZE:
        return unit_parse(text, 1024, &value->number) && value->number > 0;
    case HG_VALUE_LIMIT:
        return unit_parse(text, 1024, &value->number);
    case HG_VALUE_INTERFACE:
        return name_valid(text, 16);
    case HG_VALUE_PCI:
        return pci_valid(text);
    case HG_VALUE_CHOICE:
        return choice_parse(argument->choices, text, &value->number);
    case HG_VALUE_FLAG:
        break;
    }
    return false;
}

const char *hg_grammar_kind_text(enum hg_value_kind kind)
{
    static const char *const texts[] = {
        [HG_VALUE_NAME] = "a name (1 to 31 letters, digits, '_', '-' or '.')",
        [HG_VALUE_ID] = "a number from 1",
        [HG_VALUE_NUMBER] = "a number",
        [HG_VALUE_REGION] = "a region number (0 to 31)",
        [HG_VALUE_GROUP] = "a group number (0 to 63)",
        [HG_VALUE_PATH] = "a path (1 to 255 bytes)",
        [HG_VALUE_SOCKET] = "the path of a socket (1 to 107 bytes without a comma)",
        [HG_VALUE_MAC] = "the MAC address of a station (02:00:00:00:00:0a)",
        [HG_VALUE_ADDRESS] = "the IP address of a station (10.0.0.2 or fd00::2)",
        [HG_VALUE_PREFIX] = "an IP address with its prefix length (10.0.0.1/24 or fd00::1/64)",
        [HG_VALUE_MTU] = "a number of bytes (576 to 9000)",
        [HG_VALUE_VLAN] = "the number of a VLAN (1 to 4094)",
        [HG_VALUE_RATE] = "a rate in bit/s (64k to 1t; 400m is 400 million bits per second)",
        [HG_VALUE_SIZE] = "a size in bytes (32m is 32 times 1024 times 1024)",
        [HG_VALUE_LIMIT] = "a size in bytes (32m is 32 times 1024 times 1024), or 0 for none",
        [HG_VALUE_INTERFACE] = "the name of an interface (1 to 15 letters, digits, '_', '-' or '.')",
        [HG_VALUE_PCI] = "a PCI address (0000:03:00.0)",
        [HG_VALUE_CHOICE] = "a word",
        [HG_VALUE_FLAG] = "nothing",
    };

    return texts[kind];
}

void hg_grammar_number_format(uint64_t number, uint64_t base, char *text, size_t bytes)
{
    static const char *const units[] = {"", "k", "m", "g", "t"};
    uint32_t unit = 0;

    while (number != 0 && number % base == 0 && unit + 1 < HG_COUNT(units)) {
        number /= base;
        unit++;
    }
    snprintf(text, bytes, "%llu%s", (unsigned long long)number, units[unit]);
}
