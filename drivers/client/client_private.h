/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of libheliograph share. Nothing here is exported.
 *
 * A client has one socket and, per worker of the dataplane that owns one of its streams, one link: a mapped
 * memory and two doorbells. When the dataplane goes away everything of it is let go at once; each stream
 * keeps its last position, reports HG_E_CLOSED once, and attaches again in the next call that may wait.
 */
#ifndef HG_CLIENT_PRIVATE_H
#define HG_CLIENT_PRIVATE_H

#include "dataplane/wal/batch.h"
#include "drivers/client/heliograph.h"
#include "drivers/ipc/client_socket.h"

struct client_link {
    bool used;
    struct hg_client_view view;
    int doorbell_worker; /* we write it */
    int doorbell_client; /* the worker writes it */
};

/* A delivered batch, taken out of the ring: so one unread stream never holds up another. Bounded by the
 * credit. */
struct client_batch {
    struct client_batch *next;
    uint32_t bytes;
    uint32_t record_bytes; /* to release */
    uint64_t reserved[2];  /* what follows stays 16-byte aligned */
    uint8_t content[];
};
static_assert(sizeof(struct client_batch) % 16 == 0, "batches are read in place");

struct client_reader {
    uint64_t lsn_read; /* frames that end at or below are not delivered; 0 = nothing known yet */
    uint32_t incarnation;
    struct client_batch *first, *last; /* delivered, not opened */
    int error;                         /* HG_E_ the dataplane sent after them; 0 = none */
    uint64_t error_lsn;
    struct client_batch *open; /* the batch being walked */
    uint8_t *raw;              /* its frames, when they were compressed */
    const uint8_t *frames;
    uint32_t frames_bytes, frames_offset, frames_left;
    uint64_t hlc_base;
    uint64_t lsn_frame; /* where the next frame must begin */
    uint64_t lsn_end;   /* of the open batch */
    bool chain_known;
    uint8_t chain[16]; /* of the batch before */
};

struct hg_stream {
    struct hg_client *client;
    struct hg_stream *next;
    char name[HG_CLIENT_NAME_BYTES];
    char consumer[HG_CLIENT_NAME_BYTES];
    struct hg_stream_options options;
    bool attached;
    int report; /* HG_E_ to be returned once; 0 = none */
    struct client_link *link;
    struct hg_client_answer facts;      /* of the last attachment */
    struct hg_client_position position; /* as last seen: holds while there is no dataplane */
    uint64_t lsn_append;                /* where the next append must begin; 0 = anywhere */
    int append_error;                   /* HG_E_ with which the dataplane refused an entry; 0 = none */
    uint64_t append_error_lsn;
    uint64_t lsn_acknowledged;
    struct client_reader reader;
};

struct hg_client {
    char path[108]; /* of the socket */
    char name[HG_CLIENT_NAME_BYTES];
    int problem; /* HG_E_INVALID when the name or path can't be used; 0 = fine */
    int socket;  /* -1 = not connected */
    int greeted; /* said HELLO, whose answer no caller has waited long enough for; -1 = none */
    int epoll;
    uint64_t boot;
    uint64_t request; /* of the last ATTACH */
    bool request_waiting;
    bool request_answered;
    struct hg_client_answer answer;
    uint32_t calls;
    struct hg_stream *streams;
    struct client_link links[HG_CLIENT_WORKERS_MAX];
    char error[320];
};

/* Sets the sentence and returns the code. */
int client_fail(struct hg_client *client, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
uint64_t client_now_ns(void);

/* client_attach.c: connecting, attaching, losing. Codes are HG_E_. */
int client_connect(struct hg_client *client, uint64_t deadline_ns);
/* Connects and attaches when need be. Doesn't look at stream->report. */
int client_stream_attach(struct hg_stream *stream, uint64_t deadline_ns);
/* Lets go of everything of the dataplane; streams will report `code` once. */
void client_lost(struct hg_client *client, int code);
/* Gives the slot back; the stream attaches again in its next call that may wait. */
void client_stream_release(struct hg_stream *stream);
/* Takes what the socket has. Notices a hang-up. */
void client_socket_take(struct hg_client *client);
/* Now and then (`often`: more so) looks whether the dataplane is still there. */
void client_check(struct hg_client *client, bool often);

/* client_link.c: moving records. */
void client_link_close(struct client_link *link);
/* Publishes what was appended, acknowledged and released; rings when the worker sleeps. */
void client_link_flush(struct client_link *link);
/* Sorts delivered records into the streams' queues. False: the dataplane breaks the rules, everything was let
 * go. */
bool client_link_pump(struct hg_client *client, struct client_link *link);
/* Sleeps until the worker has news since hg_client_view_seen, the socket moves, or the deadline. */
void client_link_wait(struct hg_client *client, struct client_link *link, uint64_t deadline_ns);
void client_doorbell_drain(struct client_link *link);
void client_reader_clear(struct client_reader *reader);

/* What every call on a stream begins with: reports what is to be reported, attaches when need be (only when
 * the deadline allows waiting), sorts what was delivered. 0 = attached. */
int client_stream_enter(struct hg_stream *stream, uint64_t deadline_ns);
/* HG_E_WOULD_BLOCK or HG_E_TIMEOUT when the deadline is over, else 0. */
int client_deadline(struct hg_client *client, const char *stream, const char *what, uint64_t deadline_ns);

#endif
