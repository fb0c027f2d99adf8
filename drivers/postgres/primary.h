/* SPDX-License-Identifier: Apache-2.0
 *
 * A replication connection to a PostgreSQL primary, over libpq and never blocking longer than its deadlines.
 * Only this file knows libpq. TLS, SCRAM, .pgpass and hosts are libpq's, by the conninfo. One thread.
 *
 * Functions that answer with an outcome leave a sentence in primary->error when it isn't OK. A stop request
 * (stop.h) ends every wait with PRIMARY_ERROR.
 */
#ifndef HG_POSTGRES_PRIMARY_H
#define HG_POSTGRES_PRIMARY_H

#include <stdbool.h>
#include <stdint.h>

#include "drivers/postgres/receive.h"

#define HG_PRIMARY_ERROR_BYTES 1024

struct pg_conn;

struct hg_primary {
    struct pg_conn *connection; /* NULL = not connected */
    bool flush_pending;
    bool tls;
    uint32_t timeline_next; /* after TIMELINE_SWITCH; 0 = it didn't say */
    uint64_t lsn_switch;
    char error[HG_PRIMARY_ERROR_BYTES];
};

/* True when libpq understands the conninfo; else the reason is in `error`. */
bool hg_primary_conninfo_valid(const char *conninfo, char *error, uint32_t error_bytes);

enum hg_receive_outcome hg_primary_connect(struct hg_primary *primary, const char *conninfo);
void hg_primary_close(struct hg_primary *primary);
/* IDENTIFY_SYSTEM and two SHOW: all facts but the slot's. Changes nothing on the primary. */
enum hg_receive_outcome hg_primary_identify(struct hg_primary *primary, struct hg_primary_facts *facts);
/* Finds the physical slot or creates it, reserving WAL; facts->slot_lsn. */
enum hg_receive_outcome hg_primary_slot(struct hg_primary *primary, const char *slot,
                                        struct hg_primary_facts *facts, bool *created);
enum hg_receive_outcome hg_primary_start(struct hg_primary *primary, const char *slot, uint64_t lsn,
                                         uint32_t timeline);

/* One message of the stream: its size (free it with hg_primary_message_free), 0 = none yet, -1 = the
 * stream ended: hg_primary_ended says why. */
int hg_primary_read(struct hg_primary *primary, char **message);
void hg_primary_message_free(char *message);
/* Takes what the socket has. */
void hg_primary_consume(struct hg_primary *primary);
enum hg_receive_outcome hg_primary_ended(struct hg_primary *primary);
/* 1 = sent or queued, 0 = no room now, -1 = the connection is gone. */
int hg_primary_send(struct hg_primary *primary, const uint8_t *message, uint32_t bytes);
/* Pushes queued bytes; false when the connection is gone. */
bool hg_primary_flush(struct hg_primary *primary);
int hg_primary_fd(const struct hg_primary *primary);
/* "host port", for messages; valid until the connection closes. */
const char *hg_primary_host(const struct hg_primary *primary);
const char *hg_primary_port(const struct hg_primary *primary);

#endif
