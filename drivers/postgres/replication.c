/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/replication.h"

#include <string.h>

#include "drivers/platform/platform.h"

static uint64_t load_be64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return __builtin_bswap64(value);
}

static void store_be64(uint8_t *bytes, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(bytes, &value, sizeof(value));
}

const char *hg_replication_parse_text(enum hg_replication_parse result)
{
    switch (result) {
    case HG_PARSE_OK:
        return "ok";
    case HG_PARSE_EMPTY:
        return "an empty message";
    case HG_PARSE_UNKNOWN_TYPE:
        return "a message of unknown type";
    case HG_PARSE_TRUNCATED:
        return "a message shorter than its header";
    case HG_PARSE_TRAILING:
        return "a keepalive with trailing bytes";
    case HG_PARSE_TOO_LARGE:
        return "a WAL message over 1 MiB";
    case HG_PARSE_POSITION_INVALID:
        return "a WAL message at an impossible position";
    }
    return "an unknown defect";
}

static enum hg_replication_parse data_parse(const uint8_t *at, size_t size,
                                            struct hg_replication_message *message)
{
    if (size < HG_REPLICATION_DATA_HEADER_BYTES) {
        return HG_PARSE_TRUNCATED;
    }
    size_t data_bytes = size - HG_REPLICATION_DATA_HEADER_BYTES;
    if (data_bytes == 0) {
        return HG_PARSE_EMPTY;
    }
    if (data_bytes > HG_REPLICATION_DATA_BYTES_MAX) {
        return HG_PARSE_TOO_LARGE;
    }
    uint64_t lsn = load_be64(at + 1);
    if (lsn == 0 || lsn > UINT64_MAX - data_bytes) {
        return HG_PARSE_POSITION_INVALID;
    }
    message->is_data = true;
    message->lsn = lsn;
    message->lsn_end = load_be64(at + 9);
    message->data = at + HG_REPLICATION_DATA_HEADER_BYTES;
    message->data_bytes = (uint32_t)data_bytes;
    return HG_PARSE_OK;
}

enum hg_replication_parse hg_replication_parse(const void *bytes, size_t size,
                                               struct hg_replication_message *message)
{
    const uint8_t *at = bytes;
    memset(message, 0, sizeof(*message));
    if (size == 0) {
        return HG_PARSE_EMPTY;
    }
    if (at[0] == 'w') {
        return data_parse(at, size, message);
    }
    if (at[0] != 'k') {
        return HG_PARSE_UNKNOWN_TYPE;
    }
    if (size < HG_REPLICATION_KEEPALIVE_BYTES) {
        return HG_PARSE_TRUNCATED;
    }
    if (size > HG_REPLICATION_KEEPALIVE_BYTES) {
        return HG_PARSE_TRAILING;
    }
    message->lsn_end = load_be64(at + 1);
    message->reply_requested = at[17] != 0;
    return HG_PARSE_OK;
}

void hg_replication_status_build(uint8_t message[HG_REPLICATION_STATUS_BYTES], uint64_t lsn, int64_t time_us,
                                 bool reply_requested)
{
    message[0] = 'r';
    store_be64(message + 1, lsn);
    store_be64(message + 9, lsn);
    store_be64(message + 17, lsn);
    store_be64(message + 25, (uint64_t)time_us);
    message[33] = reply_requested ? 1 : 0;
}

bool hg_slot_name_valid(const char *slot)
{
    size_t length = strlen(slot);
    if (length == 0 || length > HG_SLOT_NAME_BYTES_MAX) {
        return false;
    }
    return strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}
