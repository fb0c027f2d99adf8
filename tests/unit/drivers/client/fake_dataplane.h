/* SPDX-License-Identifier: Apache-2.0
 *
 * A dataplane for the tests of libheliograph: a thread with the real socket, rings and sealed batches, one
 * worker, and a log in memory that outlives it. What is appended is durable at once, unless held.
 */
#ifndef HG_FAKE_DATAPLANE_H
#define HG_FAKE_DATAPLANE_H

#include "dataplane/wal/batch.h"
#include "drivers/ipc/client_socket.h"

#include <pthread.h>

#define FAKE_STREAMS_MAX 4
#define FAKE_CLIENTS_MAX 4
#define FAKE_BATCHES_MAX 8192

struct fake_batch {
    uint8_t *bytes;
    uint32_t size_bytes;
    uint64_t lsn_first, lsn_end;
};

/* Outlives the dataplane, as a disk does. */
struct fake_stream {
    char name[HG_NAME_BYTES];
    uint64_t stream;
    uint16_t kind;
    struct fake_batch batches[FAKE_BATCHES_MAX];
    uint32_t batch_count;   /* sealed */
    uint32_t durable_count; /* of them durable */
    uint32_t oldest;        /* first that can be read */
    uint64_t lsn_end;
    uint8_t chain[16];
    uint64_t acknowledged; /* last seen of the consumer */
};

struct fake_slot {
    struct fake_stream *stream;
    uint16_t attachment;
    uint32_t flags;
    uint64_t lsn_from;
    uint32_t next; /* batch to deliver */
    bool refused;
};

struct fake_client {
    int socket; /* -1 = free */
    bool greeted;
    bool has_memory;
    struct hg_client_ring ring;
    int doorbell_worker, doorbell_client;
    struct fake_slot slots[HG_CLIENT_SLOTS];
};

struct fake_dataplane {
    char run_dir[64];
    struct fake_stream streams[FAKE_STREAMS_MAX];
    uint32_t stream_count;
    uint64_t boot;
    struct hg_client_listener listener;
    struct fake_client clients[FAKE_CLIENTS_MAX];
    int stop; /* eventfd */
    pthread_t thread;
    bool running;
    pthread_mutex_t mutex; /* held by the thread but while it polls; the test takes it to look or to change */
    /* what the test may ask for */
    bool hold_consume;     /* take nothing from append rings */
    bool hold_durable;     /* nothing more becomes durable */
    int32_t refuse_code;   /* refuse the next entry */
    int32_t depose_code;   /* take the stream from the next producer that is attached */
    bool corrupt_next;     /* flip a bit in the next batch delivered */
    uint32_t not_ready;    /* so many attaches are answered NOT_READY */
    uint32_t writable_why; /* not 0: not writable */
    /* what it counted */
    uint64_t entries_taken, entries_stale, faults, attaches, memories;
    uint8_t *raw;
    void *lz4_state;
};

struct fake_dataplane *fake_create(void);
struct fake_stream *fake_stream_add(struct fake_dataplane *fake, const char *name, uint64_t stream,
                                    uint16_t kind, uint64_t lsn_end);
void fake_start(struct fake_dataplane *fake);
/* As kill -9: descriptors and memory vanish, what was not durable is lost. */
void fake_kill(struct fake_dataplane *fake);
void fake_destroy(struct fake_dataplane *fake);

#endif
