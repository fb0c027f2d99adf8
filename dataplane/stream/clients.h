/* SPDX-License-Identifier: Apache-2.0
 *
 * The clients of one worker: takes entries from their append rings into streams, delivers sealed batches of
 * the streams they read, publishes positions. Sockets and descriptors are housekeeping's business. Owning
 * worker only.
 */
#ifndef HG_STREAM_CLIENTS_H
#define HG_STREAM_CLIENTS_H

#include "dataplane/stream/peers.h"
#include "drivers/ipc/client_socket.h"

#define HG_CLIENTS_MAX          HG_CONTROL_CLIENTS_MAX
#define HG_CLIENTS_ENTRIES_TURN 4096u /* taken from one client in a turn, so that others get theirs */
/* Taken in a turn from all clients together. Less than a session sends in a turn (HG_LINK_PACKETS_TURN): a
 * log that grows faster than it is sent ends in reads from disk and back-pressure. */
#define HG_CLIENTS_BYTES_TURN   (256u << 10)
#define HG_CLIENTS_DELIVER_TURN 256u /* batches to one client in a turn */

/* What a client was last told of what is acknowledged: it stands while there is no write grant, and for good
 * once its stream was taken from it, for other entries may come under the same LSNs. */
struct hg_clients_told {
    uint64_t lsn_durable;
    uint64_t lsn_committed;
    uint64_t lsn_durable_region[HG_CLIENT_REGIONS];
};

/* Told once, when the deliver ring has room. */
struct hg_clients_error {
    int32_t code; /* 0 = none */
    uint64_t lsn;
};

struct hg_clients_slot {
    bool used;
    bool append;
    bool subscribe;
    bool refused; /* an append was refused: what follows of this attachment is dropped */
    bool deposed; /* the stream has, or will have, another writer */
    uint16_t attachment;
    uint32_t stream; /* slot in the stream table */
    int32_t consumer;
    struct hg_cursor cursor;
    uint64_t walk_from; /* the write that the cursor was put at; 0 = met the stream since */
    uint64_t lsn_next;  /* to deliver; 0 = whatever comes first */
    bool started;       /* something was delivered: from there on without a gap */
    struct hg_clients_error append_error, read_error;
    uint64_t lsn_refused; /* with `refused`: it appended what is below, and is told of no more */
    struct hg_clients_told told;
};

struct hg_clients_entry {
    bool used;
    bool poisoned;
    bool dismissed;    /* a stream of its moved */
    bool hang_up_told; /* to housekeeping, for either: it closes it */
    char name[HG_NAME_BYTES];
    uint32_t pid;
    uint32_t uid;
    int doorbell;                /* the client's eventfd */
    struct hg_client_ring *ring; /* housekeeping's memory, lent until hg_clients_close */
    struct hg_clients_slot slots[HG_CLIENT_SLOTS];
    uint32_t slots_bound; /* above every slot in use */
    uint64_t append_bytes;
    uint64_t deliver_bytes;
};

struct hg_clients_config {
    struct hg_streams *streams;
    struct hg_peers *peers;
    struct hg_log *log;
    struct hg_event_sink *events;
    uint16_t region;
    /* The client sleeps and has news: ring its doorbell. */
    void (*doorbell)(void *ctx, int doorbell);
    void *ctx;
};

struct hg_clients;

struct hg_clients *hg_clients_init(const struct hg_clients_config *config);
void hg_clients_free(struct hg_clients *clients);

/* A client with its memory. Returns its index, or -ENOSPC. */
int hg_clients_open(struct hg_clients *clients, struct hg_client_ring *ring, int doorbell, const char *name,
                    uint32_t pid, uint32_t uid);
/* Forgets it; its ring is the caller's again. */
void hg_clients_close(struct hg_clients *clients, uint32_t client);
/* Handles an ATTACH: fills the answer (its head, worker and flags are the caller's). Returns the write of the
 * log that must be durable before the answer is given, 0 = none: it may have registered a consumer. */
uint64_t hg_clients_attach(struct hg_clients *clients, uint32_t client, const struct hg_client_attach *attach,
                           struct hg_client_answer *answer);
void hg_clients_detach(struct hg_clients *clients, uint32_t client, uint32_t slot, uint16_t attachment);
/* Whether housekeeping is to hang up on the client, and was not told so yet. */
bool hg_clients_hang_up_due(const struct hg_clients *clients, uint32_t client);
void hg_clients_hang_up_told(struct hg_clients *clients, uint32_t client);
/* The stream moves to another worker: the first client that has not yet read what it subscribed to, NULL =
 * none. */
const char *hg_clients_unread(struct hg_clients *clients, uint32_t stream);
/* The stream's group was sealed: its producers are told that what is not durable was not taken, and where the
 * log ends. */
void hg_clients_depose(struct hg_clients *clients, uint32_t stream);
/* Ends what is attached to the stream; its clients are `dismissed`. What they had appended and was not taken
 * is theirs to append again, as after the end of a dataplane. */
void hg_clients_dismiss(struct hg_clients *clients, uint32_t stream);
const struct hg_clients_entry *hg_clients_at(const struct hg_clients *clients,
                                             uint32_t client); /* NULL = unused */
uint32_t hg_clients_bound(const struct hg_clients *clients);   /* above every index in use */

/* What a turn took from the append rings. */
struct hg_clients_taken {
    uint64_t bytes;
    bool is_full;    /* the turn's share was used up: more may wait in the rings */
    bool is_blocked; /* the log takes nothing now */
};
/* What the log of this worker does to its producers: HG_CLIENT_WHY_LOG_FULL, _LOG_FAILED, or _NONE. The next
 * hg_clients_publish tells it to all of them when it is another than before. */
void hg_clients_log_set(struct hg_clients *clients, enum hg_client_why why);
struct hg_clients_taken hg_clients_take(struct hg_clients *clients, uint64_t now_ns);
/* Delivers batches and errors. Returns true when it delivered any. */
bool hg_clients_deliver(struct hg_clients *clients);
/* Publishes what moved, then rings doorbells. Once a turn, last. Durable and committed positions of a stream
 * that needs a write grant stay as they were told while there is none: the clock is read for each. */
void hg_clients_publish(struct hg_clients *clients);
/* Before the worker sleeps: true = it may; false = there is news, turn again (nothing needs undoing). */
bool hg_clients_sleep(struct hg_clients *clients);
void hg_clients_woken(struct hg_clients *clients);

/* Why attaching was refused: name, HG_E_ code of the answer, what was asked for. */
#define HG_ATTACH_REASONS(X)                                                                                 \
    X(OK, 0, "fine")                                                                                         \
    X(UNKNOWN, HG_E_UNKNOWN, "a stream that is not configured here")                                         \
    X(MOVING, HG_E_NOT_READY, "a stream on its way to another worker")                                       \
    X(CLOSING, HG_E_NOT_READY, "anything, on a connection that is about to be closed")                       \
    X(SLOTS, HG_E_INVALID, "more streams than a client may have")                                            \
    X(OTHER_NODE, HG_E_NOT_LEADER, "to produce what another node of the region writes")                      \
    X(OTHER_REGION, HG_E_NOT_LEADER, "to produce what another region writes")                                \
    X(SEALED, HG_E_READ_ONLY, "to produce in a group that is sealed")                                        \
    X(UNNAMED, HG_E_NOT_READY, "to produce in a group that this log, which is empty, is not known to write") \
    X(GRANT, HG_E_NOT_READY, "to produce before the first write grant")                                      \
    X(GRANT_ENDED, HG_E_READ_ONLY, "to produce after the last write grant ran out")                          \
    X(PRODUCER, HG_E_NOT_READY, "to produce what somebody produces already")                                 \
    X(SYSTEM, HG_E_SYSTEM, "a stream of another PostgreSQL system")                                          \
    X(TIMELINE, HG_E_INVALID, "a stream of another timeline")                                                \
    X(NO_ROOM, HG_E_NOT_READY, "whose stream it is could not be recorded: the log takes nothing now")        \
    X(CONSUMER_HELD, HG_E_NOT_READY, "a consumer that another client holds")                                 \
    X(CONSUMER, HG_E_INVALID, "a consumer that can't be registered")
enum hg_attach_reason {
#define HG_X(name, code, text) HG_ATTACH_##name,
    HG_ATTACH_REASONS(HG_X)
#undef HG_X
        HG_ATTACH_REASON_COUNT
};
const char *hg_attach_reason_name(uint32_t reason); /* in `show drops` */
/* By enum hg_attach_reason. */
const uint64_t *hg_clients_attach_counts(const struct hg_clients *clients);

/* Entries and records refused, by name: enum hg_client_fault. */
const uint64_t *hg_clients_fault_counts(const struct hg_clients *clients);
uint64_t
hg_clients_dropped_count(const struct hg_clients *clients); /* entries of refused or old attachments */

#endif
