/* SPDX-License-Identifier: Apache-2.0
 *
 * The control ring: one shared region between a dataplane and its control plane. Two single-producer rings of
 * fixed cells, a full-state page each way, generation and heartbeat words. It is a cache of intent: truth is
 * on disk before it is visible here, so either side may die at any instruction and the whole region may be
 * thrown away at any time.
 *
 * The dataplane creates the region (a new boot each time it starts, or when the region was poisoned) and
 * passes {memfd, doorbell of the dataplane, doorbell of the control plane} over its socket. Nothing in the
 * region is trusted: every read is copied to private memory first and validated after. A violation poisons
 * the region: every later call returns -EBADMSG, the counter says why, and the dataplane makes a new one.
 *
 * Redelivery: a message is given again when the consumer died before hg_control_ring_done(). Act by
 * (generation, request), which never repeat within a boot. A request (APPLY, COMMAND) or RESULT of a
 * generation of the sender that has ended is dropped and counted, an EVENT is still delivered: a restarted
 * sender says everything again.
 *
 * One handle belongs to one thread. Nothing here blocks; nothing but create/attach/close/doorbell makes a
 * system call.
 *
 * The dataplane:                                        The control plane:
 *   create(&ring, cells, boot)                            attach(&ring, fds)  (fds from the socket)
 *   on each control connection: if (must_recreate)        page_write(config) -> g; send(APPLY of g)
 *     close + create; send the three fds                  receive ... done: RESULT, EVENT
 *   each poll: receive -> APPLY: page_read(config),       beat, page_read(status), peer_alive
 *     act, send RESULT with its request; done
 *   10 times a second: page_write(status), beat
 */
#ifndef HG_IPC_CONTROL_RING_H
#define HG_IPC_CONTROL_RING_H

#include "drivers/ipc/control_state.h"

#define HG_CONTROL_RING_CELLS     256u /* of each ring in production */
#define HG_CONTROL_RING_CELLS_MIN 4u
#define HG_CONTROL_RING_CELLS_MAX 4096u
#define HG_CONTROL_RING_FDS       3 /* memfd, doorbell of the dataplane, doorbell of the control plane */
#define HG_CONTROL_BEAT_NS        (100 * HG_NS_PER_MS)  /* beat at least this often */
#define HG_CONTROL_DEAD_NS        (2000 * HG_NS_PER_MS) /* no beat for so long: treat the peer as stuck */
#define HG_CONTROL_POLL_NS        (10 * HG_NS_PER_MS)   /* a lost doorbell costs no more than this */

enum hg_control_side { HG_SIDE_CONTROL, HG_SIDE_DATAPLANE };

/* Why a region is poisoned (poison_*), what was dropped (drop_*), and what was done. */
#define HG_CONTROL_RING_COUNTERS(X)                                                                          \
    X(sent, "messages sent")                                                                                 \
    X(received, "messages received")                                                                         \
    X(refused_full, "messages not sent because the ring is full")                                            \
    X(drop_stale, "requests and results of an ended generation of the sender")                               \
    X(page_retry, "page reads that met a writer")                                                            \
    X(poison_header, "header: magic, size, cells or boot changed")                                           \
    X(poison_head, "the consumer's index is out of range")                                                   \
    X(poison_sequence, "a cell's sequence is neither of this lap nor of the last")                           \
    X(poison_crc, "a published cell's checksum is wrong")                                                    \
    X(poison_generation, "a generation is from the future or out of range")                                  \
    X(poison_type, "a message of an unknown type, or one this side never gets")                              \
    X(poison_text, "a name or text without an end")                                                          \
    X(poison_page_crc, "a complete page's checksum or size is wrong")                                        \
    X(poison_page_content, "a complete page holds counts or names out of bounds")

enum hg_control_ring_counter {
#define HG_X(name, text) HG_CONTROL_RING_##name,
    HG_CONTROL_RING_COUNTERS(HG_X)
#undef HG_X
        HG_CONTROL_RING_COUNTER_COUNT
};

struct hg_control_region; /* the shared memory; its layout is in control_ring.c */

struct hg_control_page_writer {
    uint64_t sequence;
    uint64_t generation;
};

struct hg_control_ring {
    struct hg_control_region *region;
    size_t region_bytes;
    enum hg_control_side side;
    uint32_t cells;
    uint64_t boot;
    uint64_t generation;    /* of this side, 1.. within the boot */
    uint64_t request_last;  /* newest request id given out */
    uint64_t send_position; /* private truth; the region only has cells */
    uint64_t receive_position;
    struct hg_control_page_writer page;   /* of the page this side writes */
    struct hg_control_page_writer grants; /* the control plane's second page */
    uint64_t peer_beat;
    uint64_t peer_beat_seen_ns; /* when it last changed */
    bool peer_beat_known;
    bool poisoned;
    enum hg_control_ring_counter poison; /* why */
    bool mapped;                         /* close() unmaps */
    int fds[HG_CONTROL_RING_FDS];        /* -1 without */
    uint64_t counters[HG_CONTROL_RING_COUNTER_COUNT];
};

struct hg_control_received {
    uint64_t generation; /* of the sender */
    uint64_t request;
    struct hg_control_message message;
};

/* ---- the region in memory (pure) ---- */
/* Bytes of a region with `cells` cells a ring (a power of two within the limits). */
size_t hg_control_region_bytes(uint32_t cells);
/* Makes an empty region in zeroed memory, aligned to 64. */
void hg_control_region_format(void *memory, uint32_t cells, uint64_t boot);
/* Opens a side on a region of `bytes` bytes: checks it, raises this side's generation. 0, or
 * -EPROTO: no region of this version of the software (the two programs differ); -EBADMSG: damaged or
 * poisoned. The counters of *ring begin at zero. */
int hg_control_ring_open(struct hg_control_ring *ring, void *memory, size_t bytes, enum hg_control_side side);

/* ---- the region as a file descriptor ---- */
/* Dataplane: a sealed memfd, two eventfds, mapped and opened. `boot` is random and not 0. 0 or -errno. */
int hg_control_ring_create(struct hg_control_ring *ring, uint32_t cells, uint64_t boot);
/* Control plane: takes the three descriptors over (also when it fails: they are closed). 0, -errno, or as
 * open. */
int hg_control_ring_attach(struct hg_control_ring *ring, const int fds[HG_CONTROL_RING_FDS]);
/* Unmaps and closes what create or attach made; a closed or zeroed handle is fine. The peer keeps its
 * mapping. */
void hg_control_ring_close(struct hg_control_ring *ring);
/* Wakes the peer: after send, from a thread that may make a system call. A lost doorbell costs
 * HG_CONTROL_POLL_NS. */
void hg_control_ring_doorbell(struct hg_control_ring *ring);
/* The descriptor this side polls for reading; drain it with hg_control_ring_doorbell_clear(). -1 without. */
int hg_control_ring_doorbell_fd(const struct hg_control_ring *ring);
void hg_control_ring_doorbell_clear(struct hg_control_ring *ring);

/* ---- messages ---- */
/* A new request id: (generation << 32 | count), never given twice within a boot. */
uint64_t hg_control_ring_request(struct hg_control_ring *ring);
/* Publishes one message. `request` is a new id, or for RESULT that of what is answered. 0, -EAGAIN when the
 * peer has not yet taken `cells` messages (try again later; nothing is overwritten), -EBADMSG when poisoned.
 * The message's name and text must end within their arrays. */
int hg_control_ring_send(struct hg_control_ring *ring, uint64_t request,
                         const struct hg_control_message *message);
/* Copies and validates the next message. 1 = *received is it: act, then hg_control_ring_done(); without done
 * it is given again. 0 = none. -EBADMSG = poisoned. */
int hg_control_ring_receive(struct hg_control_ring *ring, struct hg_control_received *received);
void hg_control_ring_done(struct hg_control_ring *ring);

/* ---- pages ---- */
/* The control plane writes config, the dataplane status. Returns the page's new generation, or 0 when
 * poisoned. */
uint64_t hg_control_ring_config_write(struct hg_control_ring *ring, const struct hg_control_config *config);
uint64_t hg_control_ring_status_write(struct hg_control_ring *ring, const struct hg_control_status *status);
/* The newest complete page. 0; -ENODATA: none was ever written; -EAGAIN: a write is under way (or its writer
 * died in it: the restarted writer will write again), keep what you have; -EBADMSG: poisoned. Bounded
 * retries. *page changes only when 0 is returned, and then its counts, names and texts are within bounds. */
int hg_control_ring_config_read(struct hg_control_ring *ring, struct hg_control_config *page,
                                uint64_t *generation);
int hg_control_ring_status_read(struct hg_control_ring *ring, struct hg_control_status *page,
                                uint64_t *generation);
/* Write grants, control plane to dataplane: the same rules. */
uint64_t hg_control_ring_grants_write(struct hg_control_ring *ring, const struct hg_control_grants *grants);
int hg_control_ring_grants_read(struct hg_control_ring *ring, struct hg_control_grants *page,
                                uint64_t *generation);

/* ---- life ---- */
void hg_control_ring_beat(struct hg_control_ring *ring);
/* False when the peer's beat has not changed for timeout_ns of this side's clock (true until then). Combine
 * with the socket: its end is the death of the peer, this is its being stuck. */
bool hg_control_ring_peer_alive(struct hg_control_ring *ring, uint64_t now_ns, uint64_t timeout_ns);
/* Generation of the other side: 0 = never attached; a change = it restarted: say everything again. */
uint64_t hg_control_ring_peer_generation(const struct hg_control_ring *ring);
/* True when this side or the peer found the region damaged: the dataplane closes it and creates another. */
bool hg_control_ring_must_recreate(const struct hg_control_ring *ring);
const char *hg_control_ring_counter_name(enum hg_control_ring_counter counter);
const char *hg_control_ring_counter_text(enum hg_control_ring_counter counter);

/* ---- contents of pages (control_state.c) ---- */
/* NULL, or what is out of bounds ("port_count", "peers.name"); static text. */
const char *hg_control_config_bounds(const struct hg_control_config *config);
const char *hg_control_status_bounds(const struct hg_control_status *status);

#ifdef HG_CONTROL_RING_STEPS
/* Test builds: called after every access to shared memory, so that a test can stop a side between any two. */
void hg_control_ring_step(void);
#endif

#endif
