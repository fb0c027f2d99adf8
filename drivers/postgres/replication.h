/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages and commands of PostgreSQL's streaming replication protocol. Pure; any thread. Parsing trusts
 * no length; a parsed message points into the bytes it was parsed from.
 */
#ifndef HG_POSTGRES_REPLICATION_H
#define HG_POSTGRES_REPLICATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HG_REPLICATION_DATA_HEADER_BYTES 25
#define HG_REPLICATION_KEEPALIVE_BYTES   18
#define HG_REPLICATION_STATUS_BYTES      34
#define HG_REPLICATION_DATA_BYTES_MAX                                                                        \
    (UINT32_C(1) << 20) /* the largest frame; stock servers send <= 128 KiB */
#define HG_REPLICATION_COMMAND_BYTES 256
#define HG_SLOT_NAME_BYTES_MAX       63

enum hg_replication_parse {
    HG_PARSE_OK,
    HG_PARSE_EMPTY,           /* no bytes, or WAL data without data */
    HG_PARSE_UNKNOWN_TYPE,    /* neither 'w' nor 'k' */
    HG_PARSE_TRUNCATED,       /* shorter than its header */
    HG_PARSE_TRAILING,        /* a keepalive longer than a keepalive */
    HG_PARSE_TOO_LARGE,       /* WAL data over 1 MiB */
    HG_PARSE_POSITION_INVALID /* begins at 0 or runs over the end of the LSN space */
};
const char *hg_replication_parse_text(enum hg_replication_parse result);

struct hg_replication_message {
    bool is_data; /* else a keepalive */
    bool reply_requested;
    uint64_t lsn;     /* data: of its first byte */
    uint64_t lsn_end; /* of the server's WAL when it was sent */
    const uint8_t *data;
    uint32_t data_bytes;
};
enum hg_replication_parse hg_replication_parse(const void *bytes, size_t size,
                                               struct hg_replication_message *message);

/* Standby status update: one position for write, flush and apply; 0 = nothing is promised yet. `time_us`
 * counts from 2000-01-01 UTC. */
void hg_replication_status_build(uint8_t message[HG_REPLICATION_STATUS_BYTES], uint64_t lsn, int64_t time_us,
                                 bool reply_requested);

/* Lower-case letters, digits, underscore, 1 to 63: what PostgreSQL allows, and so safe inside a command. */
bool hg_slot_name_valid(const char *slot);

#endif
