/* SPDX-License-Identifier: Apache-2.0
 *
 * libheliograph: how a program appends to a stream and reads streams, over shared memory with the dataplane
 * of its own node. No DPDK needed.
 *
 * Threads: a client and its streams belong to one thread at a time. Every call that may wait takes a deadline
 * in CLOCK_MONOTONIC nanoseconds (0 = don't wait, HG_FOREVER = wait). Every call returns 0 (or a count) or
 * one negative HG_E_ code; hg_client_error() has the sentence for a person. If the dataplane dies, calls
 * return HG_E_CLOSED once; the client re-attaches by itself inside the next waiting call, and
 * hg_stream_durable_end() then says where to go on appending from: what was appended beyond it must be
 * appended again.
 *
 * Positions are LSNs, always an exclusive end. An acknowledgement is a position, never a message.
 */
#ifndef HELIOGRAPH_H
#define HELIOGRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HG_FOREVER UINT64_MAX

enum hg_error {
    HG_E_OK = 0,
    HG_E_CLOSED = -1, /* no dataplane: it died or was stopped; re-attaching */
    /* Attaching: the dataplane recovers its log, the stream is not configured yet, what was appended before
     * is not durable yet, or the stream was taken from us meanwhile. */
    HG_E_NOT_READY = -2,
    HG_E_NOT_LEADER = -3,  /* the stream is written elsewhere, or its group was sealed */
    HG_E_TIMEOUT = -4,     /* the deadline passed */
    HG_E_WOULD_BLOCK = -5, /* the ring or the log is full: a peer or consumer is behind */
    HG_E_READ_ONLY = -6,   /* not writable now; hg_stream_status says why */
    HG_E_GAP = -7,       /* the LSN asked for is older than what the log keeps, or an append leaves a hole */
    HG_E_OVERLAP = -8,   /* an append begins before the stream's end */
    HG_E_INVALID = -9,   /* an argument is out of its limits */
    HG_E_UNKNOWN = -10,  /* no stream of this name */
    HG_E_SYSTEM = -11,   /* another PostgreSQL cluster than this stream belongs to */
    HG_E_CORRUPT = -12,  /* bytes that fail their checks; never delivered */
    HG_E_PROTOCOL = -13, /* the other side does not speak this version */
    /* Of entries with a client_id. The stream attaches again in the next call that may wait. */
    HG_E_DUPLICATE = -14, /* it is in the stream already; hg_stream_append_once says where */
    HG_E_SESSION_OLD =
        -15, /* below what is known of the client: it was appended or left out, nobody knows where */
    HG_E_SESSION_EVICTED = -16, /* a retry of a client that was forgotten: it may be in the stream; read it,
                                   or go on under another client_id */
};
const char *hg_error_name(int code); /* "gap" */

struct hg_client;
struct hg_stream;

/* `run_dir` is the dataplane's --run directory. `name` says who we are in `helioctl show clients` (< 32
 * bytes). Returns NULL only when out of memory: an absent dataplane shows in the first call that needs it. */
struct hg_client *hg_client_open(const char *run_dir, const char *name);
void hg_client_close(struct hg_client *client);
/* The last error of this client as a sentence: what happened, to what, what to do. */
const char *hg_client_error(const struct hg_client *client);
/* Descriptor to poll for POLLIN in the caller's own loop: readable when positions moved or batches arrived
 * while the client slept (hg_client_sleep). -1 when not attached. */
int hg_client_fd(const struct hg_client *client);
/* Says that the caller goes to sleep on hg_client_fd. Returns false when there is news already: don't sleep.
 */
bool hg_client_sleep(struct hg_client *client);
/* Clears the descriptor after waking. Cheap; reconnects when the dataplane was gone (deadline as everywhere).
 */
int hg_client_wake(struct hg_client *client, uint64_t deadline_ns);

/* ---- attaching ---- */
struct hg_stream_options {
    bool append;       /* we are its one producer */
    bool subscribe;    /* we read it */
    uint64_t lsn_from; /* subscribe: deliver frames whose end is above this; 0 = from the consumer's saved
                          position, or the oldest kept when it has none */
    const char
        *consumer; /* subscribe: a registered name, whose position the log keeps and honours; NULL = none */
    uint64_t system_identifier; /* physical: of the PostgreSQL cluster; 0 = don't care */
    uint32_t lsn_unit_bytes;    /* physical: wal_segment_size, 0 = don't care */
    uint32_t incarnation;       /* physical: timeline; else 1; 0 = whatever it is */
    uint32_t append_ring_bytes; /* 0 = 16 MiB */
};

/* Attaches a stream by its configured name. Waits until the dataplane is there, has recovered, and knows the
 * stream. */
int hg_stream_attach(struct hg_client *client, const char *name, const struct hg_stream_options *options,
                     struct hg_stream **stream, uint64_t deadline_ns);
void hg_stream_detach(struct hg_stream *stream);

struct hg_stream_status {
    uint64_t stream;
    uint32_t incarnation;
    uint32_t kind; /* 1 key/value, 2 PostgreSQL logical, 3 PostgreSQL physical */
    uint64_t epoch;
    uint64_t system_identifier; /* 0 = the stream is still empty and belongs to nobody */
    uint32_t lsn_unit_bytes;
    uint64_t lsn_oldest;             /* that can still be read, or a little before it; 0 = empty */
    uint64_t lsn_consumed;           /* taken from our append ring */
    uint64_t lsn_durable;            /* on the local device */
    uint64_t lsn_committed;          /* in the region's quorum */
    uint64_t lsn_durable_region[32]; /* by region number; 0 = unknown */
    /* Appends are taken now. Where they are not, `writable_why` is a sentence that says why, never NULL.
     * While the log is full, or its end is not known yet, hg_stream_append waits and refuses nothing; when
     * the log has failed it gives HG_E_CLOSED, for all other reasons HG_E_READ_ONLY or HG_E_NOT_LEADER. */
    bool writable;
    const char *writable_why;
};
int hg_stream_status_get(struct hg_stream *stream, struct hg_stream_status *status);
/* lsn_durable of the status alone. */
uint64_t hg_stream_durable_end(struct hg_stream *stream);
/* lsn_committed of the status alone: the hot path of acknowledging. */
uint64_t hg_stream_committed_end(struct hg_stream *stream);

/* ---- appending ---- */
struct hg_entry {
    uint64_t lsn;        /* key/value, logical: 0 = the next; physical: WAL position of the first byte */
    uint32_t span;       /* key/value, logical: 1; physical: bytes of WAL */
    uint8_t op;          /* 1 insert 2 update 3 delete 4 commit 5 abort 6 schema 7 opaque */
    bool continues;      /* more of this entry follows in the next one */
    uint16_t key_bytes;  /* <= 4096 */
    uint32_t data_bytes; /* <= 1 MiB */
    uint32_t table_id;
    uint64_t transaction_id;
    uint64_t hlc; /* highest stamp seen; read: its stamp */
    /* Exactly-once retries: who appends, and its number for the entry; the numbers of new entries rise. 0 =
     * none. */
    uint64_t client_id;
    uint64_t client_sequence;
    bool again; /* it may have been appended before, by us or an earlier process, here or at another node */
    const void *key;
    const void *data; /* read: valid until the next hg_stream_read or hg_stream_detach */
};

/* Copies the entries into the append ring, all or as many as fit until the deadline. Returns how many were
 * taken (may be less than count only on HG_E_TIMEOUT/WOULD_BLOCK with some taken) or a negative code when
 * none was. Taken is not durable: wait, or watch hg_stream_durable_end(). */
int hg_stream_append(struct hg_stream *stream, const struct hg_entry *entries, uint32_t count,
                     uint64_t deadline_ns);

/* Appends an entry of a client (client_id, client_sequence) unless the stream has it, also where an earlier
 * process, or this one before the dataplane died or another node took over, sent it and never heard. Returns
 * 0 with *lsn = where it is, or HG_E_SESSION_OLD, HG_E_SESSION_EVICTED or any other code. It is safe from
 * *lsn + span being durable on, as any entry; a retry of one that is not durable yet has the same answer.
 * What was appended with hg_stream_append and not taken yet is taken first. */
int hg_stream_append_once(struct hg_stream *stream, const struct hg_entry *entry, uint64_t *lsn,
                          uint64_t deadline_ns);

/* Exclusive end of what append has taken: what to wait for. 0 = a physical stream that is still empty. After
 * an error of append (or HG_E_CLOSED) it says where the next entry must begin only once the stream is
 * attached again. */
uint64_t hg_stream_append_end(const struct hg_stream *stream);

enum hg_where { HG_WHERE_CONSUMED, HG_WHERE_DURABLE, HG_WHERE_COMMITTED, HG_WHERE_REGION };
/* Waits until the position reaches lsn there (`region` only with HG_WHERE_REGION). Where an entry of this
 * stream was refused it says that instead, once, also when the position is reached: LSNs from the refused one
 * on are not those entries. */
int hg_stream_wait(struct hg_stream *stream, enum hg_where where, uint32_t region, uint64_t lsn,
                   uint64_t deadline_ns);

/* ---- reading ---- */
/* The next entry, in LSN order, durable where we are and committed in its region. Returns 1 with an entry, or
 * a negative code (TIMEOUT/WOULD_BLOCK: nothing yet). The library verifies and decompresses. */
int hg_stream_read(struct hg_stream *stream, struct hg_entry *entry, uint64_t deadline_ns);
/* A registered consumer says how far it is done for good (its own files are synced). The log may forget what
 * is below. Idempotent, cheap, never waits. */
int hg_stream_acknowledge(struct hg_stream *stream, uint64_t lsn);

#endif
