/* SPDX-License-Identifier: Apache-2.0
 *
 * The two bounded SPSC queues between a worker and the housekeeping of its process: letters of a fixed size,
 * copied in and out. The only way either touches the other's state. In production the two sides are threads;
 * in the simulator they take turns in one.
 */
#ifndef HG_MAILBOX_H
#define HG_MAILBOX_H

#include "dataplane/placement.h"
#include "dataplane/security/handshake.h"
#include "dataplane/stream/event.h"
#include "drivers/ipc/client_socket.h"
#include "drivers/ipc/control_state.h"

#include <stdatomic.h>
#include <string.h>

#define HG_MAILBOX_LETTERS 256u /* power of two */

enum hg_letter_type {
    /* worker -> housekeeping */
    HG_LETTER_EVENT = 1,
    HG_LETTER_HANDSHAKE_IN,     /* a handshake message came from this address */
    HG_LETTER_REKEY,            /* agree on new keys with this peer; `number`: enum hg_rekey */
    HG_LETTER_SPI_UNKNOWN,      /* data of an SPI that we don't hold came from this peer */
    HG_LETTER_CONFIG_DONE,      /* code, text in name; the config is housekeeping's again */
    HG_LETTER_CLIENT_ANSWER,    /* to an ATTACH */
    HG_LETTER_CLIENT_CLOSED,    /* the worker has let go of this client's memory */
    HG_LETTER_CLIENT_HANG_UP,   /* it broke the rules, or a stream of its moved and it attaches again */
    HG_LETTER_CONSUMER_REMOVED, /* code */
    HG_LETTER_STREAM_LEFT,      /* code, text: dataplane/move.h has these two and the four below */
    HG_LETTER_STREAM_ENTERED,   /* code */
    HG_LETTER_GROUP_DONE,       /* code, text: of a GROUP_SEAL, _OPEN, _BEGIN or _RELEASE */
    HG_LETTER_GROUP_TAIL,       /* body.tail: what a copy answered */
    HG_LETTER_ORPHAN,           /* `pointer`: struct hg_orphan_piece, lent until ORPHAN_DONE: write it */
    HG_LETTER_STREAM_ADOPTED,   /* code, text; -ENOENT: no such stream in this worker */
    HG_LETTER_STATUS_DONE,      /* the page is filled */
    HG_LETTER_PLACES_DONE,      /* the log is read back, and this is what it holds */
    HG_LETTER_LOG_GEOMETRY_DONE,
    HG_LETTER_LOG_GROWN, /* the log has its new size; `pointer` is housekeeping's again */
    /* housekeeping -> worker */
    HG_LETTER_CONFIG,        /* `pointer`: struct hg_control_config, lent until CONFIG_DONE */
    HG_LETTER_PORT,          /* `pointer`: struct hg_port, ready to be polled; body.network */
    HG_LETTER_HANDSHAKE_OUT, /* send this message to the peer */
    HG_LETTER_KEYS,          /* agreed with this peer */
    HG_LETTER_KEY_CHANGED,   /* the pre-shared key of this peer is another one */
    HG_LETTER_PEER_CLONED,   /* two processes live under this peer's identity */
    HG_LETTER_CLIENT_OPEN,   /* `pointer`: struct hg_client_ring, lent until CLIENT_CLOSED; `number`: its
                                doorbell */
    HG_LETTER_CLIENT_ATTACH,
    HG_LETTER_CLIENT_DETACH,
    HG_LETTER_CLIENT_CLOSE,
    HG_LETTER_CONSUMER_REMOVE,
    HG_LETTER_STREAM_LEAVE, /* `number`: the stream; `number2`: to whom; `pointer`: the transfer, lent */
    HG_LETTER_STREAM_ENTER,
    HG_LETTER_STREAM_STAY,
    HG_LETTER_STREAM_END,
    HG_LETTER_GROUP_SEAL, /* `number`: the group; `number2`: the epoch */
    HG_LETTER_GROUP_OPEN,
    HG_LETTER_GROUP_BEGIN,
    HG_LETTER_GROUP_RELEASE,
    HG_LETTER_GROUP_ASK,  /* likewise; body.target.node, 0 = this one. Not answered: GROUP_TAIL comes of it */
    HG_LETTER_GROUP_FILL, /* likewise; body.target.stream */
    HG_LETTER_GRANT,      /* `number`: the group; `number2`: the epoch; body.deadline_ns of CLOCK_BOOTTIME */
    HG_LETTER_ORPHAN_DONE,  /* code: 0, or -errno, and then nothing of that file counts */
    HG_LETTER_PLACES,       /* `pointer`: struct hg_places to fill, lent until PLACES_DONE */
    HG_LETTER_LOG_GEOMETRY, /* `pointer`: struct hg_log_geometry to fill, lent until LOG_GEOMETRY_DONE */
    HG_LETTER_LOG_GROW, /* `pointer`: struct hg_log_growth, lent until LOG_GROWN; the file is longer already
                         */
    HG_LETTER_STATUS,   /* `pointer`: struct hg_control_status to fill, lent until STATUS_DONE */
    HG_LETTER_STREAM_ADOPT, /* body.name: begins anew where its origin's log begins */
};

struct hg_letter {
    uint32_t type;   /* enum hg_letter_type */
    uint32_t peer;   /* index */
    uint32_t client; /* housekeeping's number of a client */
    int32_t code;
    uint64_t number;
    uint64_t number2;
    void *pointer;
    union {
        struct hg_event event;
        struct hg_handshake_keys keys;
        struct {
            uint32_t bytes;
            uint8_t data[HG_HANDSHAKE_BYTES_MAX];
        } handshake;
        struct hg_client_attach attach;
        struct hg_client_answer answer;
        struct hg_client_detach detach;
        struct hg_network network;
        uint64_t deadline_ns;
        char name[HG_NAME_BYTES];
        char text[HG_CONTROL_TEXT_BYTES];
        struct hg_control_target target;
        struct hg_control_tail tail;
    } body;
};

struct hg_mailbox {
    _Atomic uint64_t head HG_CACHE_ALIGNED; /* written by the reader */
    _Atomic uint64_t tail HG_CACHE_ALIGNED; /* written by the writer */
    uint64_t refused_count;                 /* the writer's: letters that found the box full */
    struct hg_letter letters[HG_MAILBOX_LETTERS];
};

/* Writer. Returns false, counted, when the box is full. */
static inline bool hg_mailbox_put(struct hg_mailbox *box, const struct hg_letter *letter)
{
    uint64_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&box->head, memory_order_acquire) == HG_MAILBOX_LETTERS) {
        box->refused_count++;
        return false;
    }
    box->letters[tail & (HG_MAILBOX_LETTERS - 1)] = *letter;
    atomic_store_explicit(&box->tail, tail + 1, memory_order_release);
    return true;
}

/* Reader. Returns false when it is empty. Leaves nothing behind in the box: it may have been keys. */
static inline bool hg_mailbox_take(struct hg_mailbox *box, struct hg_letter *letter)
{
    uint64_t head = atomic_load_explicit(&box->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&box->tail, memory_order_acquire))
        return false;
    struct hg_letter *place = &box->letters[head & (HG_MAILBOX_LETTERS - 1)];
    *letter = *place;
    explicit_bzero(place, sizeof(*place));
    atomic_store_explicit(&box->head, head + 1, memory_order_release);
    return true;
}

/* Writer: letters not taken yet. */
static inline uint32_t hg_mailbox_count(const struct hg_mailbox *box)
{
    return (uint32_t)(atomic_load_explicit(&box->tail, memory_order_relaxed) -
                      atomic_load_explicit(&box->head, memory_order_acquire));
}

static inline bool hg_mailbox_empty(struct hg_mailbox *box)
{
    return atomic_load_explicit(&box->head, memory_order_acquire) ==
           atomic_load_explicit(&box->tail, memory_order_acquire);
}

#endif
