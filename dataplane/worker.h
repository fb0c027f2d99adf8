/* SPDX-License-Identifier: Apache-2.0
 *
 * One worker: its port, its log, its streams, its peers and clients, run to completion by hg_worker_turn(). A
 * pure core over the driver interfaces: the same object code on a pinned core and in the simulator.
 * Everything from outside comes by letters (dataplane/mailbox.h). One thread.
 */
#ifndef HG_WORKER_H
#define HG_WORKER_H

#include "dataplane/link.h"
#include "dataplane/mailbox.h"
#include "dataplane/stream/clients.h"
#include "drivers/clock/clock.h"

#define HG_WORKER_TICK_NS         (10 * HG_NS_PER_MS)
#define HG_WORKER_LATE_NS         (HG_LOG_STUCK_NS / 4) /* a tick so late: the process did not run */
#define HG_WORKER_GATHER_NS       HG_NS_PER_MS          /* what producers and peers in a hurry wait at most */
#define HG_WORKER_GATHER_BYTES    (256u << 10)          /* sealed: a write worth its flush */
#define HG_WORKER_GATHER_TAKEN    (32u << 10) /* with so much from peers in the open write more is coming */
#define HG_WORKER_RETAIN_NS       (100 * HG_NS_PER_MS)
#define HG_WORKER_LETTERS_TURN    16u
#define HG_WORKER_LATER_MAX       64u /* then no further letter is read until the log has moved */
#define HG_WORKER_STREAMS_MAX     HG_WIRE_ALIASES_MAX
#define HG_WORKER_LOG_ARENA_BYTES (256u << 20)
static_assert(HG_WORKER_LATE_NS >= 10 * HG_WORKER_TICK_NS, "a busy machine is not late");

struct hg_worker_config {
    uint32_t worker;                /* this one, and of its log: log i is worker i's */
    uint32_t workers;               /* of this node; 0 counts as 1 */
    struct hg_next_hops *next_hops; /* of the node, for all workers; NULL with one */
    struct hg_handover *handover;   /* of all workers, workers * workers; NULL with one */
    struct hg_peers_census *census; /* of all workers; NULL with one */
    struct hg_clock *clock;
    struct hg_disk *disk; /* of its log */
    void *log_arena;      /* HG_LOG_BLOCK_BYTES aligned */
    uint64_t log_arena_bytes;
    uint64_t log_scrub_bytes_per_s; /* 0 = off */
    bool log_may_mark;              /* other nodes may have what is corrupt in it: see hg_log_config */
    uint64_t cluster;
    uint16_t region;
    uint32_t streams_max;           /* <= HG_WORKER_STREAMS_MAX */
    uint32_t peers_max;             /* <= HG_PEERS_MAX */
    uint32_t packets_in_flight_max; /* power of two; 0 = by each peer's rate */
    uint64_t receive_bytes_total;   /* of all lanes' receive memory; 0 = no limit */
    uint32_t batch_raw_bytes_max;   /* of batches that originate here; 0 = the format's limits */
    uint64_t receive_bytes_default; /* credit to each peer; 0 = default */
    struct hg_mailbox *inbox;       /* from housekeeping */
    struct hg_mailbox *outbox;      /* to housekeeping */
    void (*doorbell)(void *ctx, int doorbell);
    void *ctx;
};

enum hg_worker_state {
    HG_WORKER_RECOVERING,
    HG_WORKER_RUNNING,
    HG_WORKER_FAILED, /* the log failed: exit; the next process reads the disk anew */
};

struct hg_worker {
    struct hg_worker_config config;
    enum hg_worker_state state;
    struct hg_event_sink events;
    uint64_t events_dropped;
    uint64_t events_suppressed;
    struct hg_event_limit event_limits[HG_EVENT_COUNT];
    struct hg_event event_held[HG_EVENT_COUNT]; /* the newest one of its kind that was suppressed */
    char log_name[12];                          /* its number, for events */
    struct hg_log *log;
    struct hg_log_growth *growth; /* housekeeping's, lent while the log gets longer */
    struct hg_streams *streams;
    struct hg_peers *peers;
    struct hg_clients *clients;
    struct hg_link link;
    int32_t client_of[HG_CLIENTS_MAX]; /* housekeeping's number -> index in clients, -1 = none */
    uint32_t number_of[HG_CLIENTS_MAX];
    struct hg_clients_taken taken; /* in this turn */
    uint64_t closed_ns;            /* when a write was last closed to let its entries go */
    uint64_t closed_sealed_count;  /* batches taken from peers by then */
    bool pressure_told;
    uint64_t stuck_since_ns; /* the oldest write or flush, when it was last said that the device is stuck */
    uint64_t late_ns;        /* when a tick last came late */
    bool stuck_told;
    bool is_full;            /* as producers are told: begins as the event does, ends at once */
    uint64_t scrub_told;     /* corrupt writes that scrub had found when it was last said */
    struct hg_letter unsent; /* an answer that found the outbox full */
    bool unsent_used;
    struct { /* answers about what the log does not yet have on its device, oldest first */
        struct hg_letter letter;
        uint64_t sequence;
    } later[HG_WORKER_LATER_MAX];
    uint32_t later_count;
    struct hg_letter held[HG_MAILBOX_LETTERS]; /* came before the log was read back */
    uint32_t held_count;
    uint32_t held_next;
    struct { /* streams of this node that other workers own */
        uint64_t stream;
        uint32_t worker;
    } elsewhere[HG_CONTROL_STREAMS_MAX];
    uint32_t adopt_slot;     /* of the stream that begins anew */
    uint64_t adopt_sequence; /* the write that must be durable for it; 0 = none does */
    uint32_t elsewhere_count;
    struct {                                 /* the stream that is to move to another worker */
        struct hg_stream_transfer *transfer; /* housekeeping's, to be filled; NULL = none */
        uint32_t slot;
        uint64_t deadline_ns;
    } leaving;
    struct {           /* the group that is to be sealed or opened; answered when the device has it */
        uint32_t type; /* enum hg_letter_type; 0 = none */
        uint32_t group;
        uint64_t epoch;
        bool is_again;        /* that epoch had begun before it came */
        uint64_t deadline_ns; /* until when a log that takes no records is waited for */
    } order;
    uint64_t tick_ns;
    uint64_t retain_ns;
    uint64_t now_ns;
    uint64_t turns_count;
    uint64_t turns_idle_count;
};

/* Starts recovery of the log. Allocates all memory but the peers'. NULL = the arena is too small. */
struct hg_worker *hg_worker_init(const struct hg_worker_config *config);
void hg_worker_free(struct hg_worker *worker);

/* One duty cycle. Returns true when it did anything. *deadline_ns = when it must be called again without an
 * event. */
bool hg_worker_turn(struct hg_worker *worker, uint64_t *deadline_ns);

/* Before sleeping: true = it may sleep until its deadline or a doorbell; hg_worker_woken afterwards. */
bool hg_worker_sleep(struct hg_worker *worker);
void hg_worker_woken(struct hg_worker *worker);

/* Fills the worker's part of the status page. Owning thread. */
void hg_worker_status(struct hg_worker *worker, struct hg_control_status *status);

#endif
