/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/lsn.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "drivers/platform/platform.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

/* Takes 1 to 8 hex digits; returns the first character after them, NULL when there are none or too many. */
static const char *hex_u32(const char *text, uint32_t *value)
{
    uint64_t sum = 0;
    int digits = 0;
    while (hex_digit(text[digits]) >= 0) {
        sum = sum * 16 + (uint64_t)hex_digit(text[digits]);
        digits++;
        if (digits > 8) {
            return NULL;
        }
    }
    *value = (uint32_t)sum;
    return digits == 0 ? NULL : text + digits;
}

bool hg_lsn_parse(const char *text, uint64_t *lsn)
{
    uint32_t high, low;
    const char *rest = hex_u32(text, &high);
    if (rest == NULL || *rest != '/') {
        return false;
    }
    rest = hex_u32(rest + 1, &low);
    if (rest == NULL || *rest != '\0') {
        return false;
    }
    *lsn = (uint64_t)high << 32 | low;
    return true;
}

char *hg_lsn_format(char text[HG_LSN_TEXT_BYTES], uint64_t lsn)
{
    snprintf(text, HG_LSN_TEXT_BYTES, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
    return text;
}

/* Takes decimal digits up to `max`; returns what follows, NULL when there is no number or it is too large. */
static const char *decimal(const char *text, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (digit > max || sum > (max - digit) / 10) {
            return NULL;
        }
        sum = sum * 10 + digit;
    }
    if (at == text) {
        return NULL;
    }
    *value = sum;
    return at;
}

bool hg_decimal_parse(const char *text, uint64_t max, uint64_t *value)
{
    uint64_t number;
    const char *rest = decimal(text, max, &number);
    if (rest == NULL || *rest != '\0') {
        return false;
    }
    *value = number;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static bool quantity_parse(const char *text, const struct unit *units, size_t count, uint64_t *value)
{
    uint64_t number;
    const char *rest = decimal(text, UINT64_MAX, &number);
    if (rest == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i].name) == 0) {
            if (number > UINT64_MAX / units[i].factor) {
                return false;
            }
            *value = number * units[i].factor;
            return true;
        }
    }
    return false;
}

bool hg_segment_bytes_valid(uint64_t bytes)
{
    return bytes >= HG_SEGMENT_BYTES_MIN && bytes <= HG_SEGMENT_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

bool hg_segment_bytes_parse(const char *text, uint32_t *bytes)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"kB", UINT64_C(1) << 10}, {"MB", UINT64_C(1) << 20}, {"GB", UINT64_C(1) << 30}};
    uint64_t value;
    if (!quantity_parse(text, units, HG_COUNT(units), &value) || !hg_segment_bytes_valid(value)) {
        return false;
    }
    *bytes = (uint32_t)value;
    return true;
}

bool hg_duration_parse(const char *text, uint64_t *duration_ns)
{
    static const struct unit units[] = {
        {"", HG_NS_PER_MS},        {"us", HG_NS_PER_US},      {"ms", HG_NS_PER_MS},      {"s", HG_NS_PER_S},
        {"min", 60 * HG_NS_PER_S}, {"h", 3600 * HG_NS_PER_S}, {"d", 86400 * HG_NS_PER_S}};
    return quantity_parse(text, units, HG_COUNT(units), duration_ns);
}

uint64_t hg_segment_start(uint64_t lsn, uint32_t segment_bytes)
{
    hg_assert(hg_segment_bytes_valid(segment_bytes));
    return lsn & ~((uint64_t)segment_bytes - 1);
}

uint64_t hg_segment_start_up(uint64_t lsn, uint32_t segment_bytes)
{
    uint64_t start = hg_segment_start(lsn, segment_bytes);
    if (start == lsn) {
        return lsn;
    }
    return start > UINT64_MAX - segment_bytes ? UINT64_MAX : start + segment_bytes;
}

char *hg_segment_name(char name[HG_SEGMENT_NAME_BYTES], uint32_t timeline, uint64_t lsn,
                      uint32_t segment_bytes)
{
    hg_assert(hg_segment_bytes_valid(segment_bytes));
    uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    uint64_t number = lsn / segment_bytes;
    snprintf(name, HG_SEGMENT_NAME_BYTES, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline,
             (uint32_t)(number / per_id), (uint32_t)(number % per_id));
    return name;
}

bool hg_segment_name_parse(const char *name, uint32_t segment_bytes, uint32_t *timeline, uint64_t *lsn)
{
    hg_assert(hg_segment_bytes_valid(segment_bytes));
    uint32_t part[3];
    for (int i = 0; i < 3; i++) {
        char digits[9];
        for (int j = 0; j < 8; j++) {
            char c = name[i * 8 + j];
            if (hex_digit(c) < 0 || (c >= 'a' && c <= 'f')) {
                return false;
            }
            digits[j] = c;
        }
        digits[8] = '\0';
        hg_assert(hex_u32(digits, &part[i]) != NULL);
    }
    uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    if (name[24] != '\0' || part[2] >= per_id || part[0] == 0) {
        return false;
    }
    *timeline = part[0];
    *lsn = (uint64_t)part[1] << 32 | (uint64_t)part[2] * segment_bytes;
    return true;
}
