/* SPDX-License-Identifier: Apache-2.0
 *
 * The housekeeping thread of a dataplane, shared by its files: the loop (housekeeping.c), the control plane's
 * wishes (housekeeping_config.c) and clients' sockets (housekeeping_clients.c). Only that thread touches any
 * of it.
 */
#ifndef HG_HOUSEKEEPING_H
#define HG_HOUSEKEEPING_H

#include "dataplane/exchange.h"
#include "dataplane/move.h"
#include "dataplane/node.h"
#include "drivers/ipc/control_ring.h"
#include "drivers/ipc/control_socket.h"
#include "drivers/net/port_set.h"
#include "drivers/net/telemetry.h"

#include <sys/stat.h>

#define HG_HOUSEKEEPING_CONNECTIONS_MAX HG_CONTROL_CLIENTS_MAX
#define HG_HOUSEKEEPING_STATUS_NS       (100 * HG_NS_PER_MS)
#define HG_HOUSEKEEPING_PORT_NS         (10 * HG_NS_PER_MS)
#define HG_HOUSEKEEPING_SLEEP_NS_MAX    (5 * HG_NS_PER_MS)
#define HG_HOUSEKEEPING_HELLO_NS_MAX    (5 * HG_NS_PER_S) /* a connection that says nothing is closed */
#define HG_HOUSEKEEPING_REFUSALS_MAX    8
#define HG_HOUSEKEEPING_KINDS_MAX       16 /* of events that housekeeping says itself */
#define HG_HOUSEKEEPING_ACCEPT_AGAIN_NS                                                                      \
    (250 * HG_NS_PER_MS)                           /* when there was no descriptor for a connection */
#define HG_HOUSEKEEPING_KEYS_NS        HG_NS_PER_S /* between two looks at the key files */
#define HG_HOUSEKEEPING_START_AGAIN_NS HG_NS_PER_S /* a log that could not be opened is tried again */

/* The memory of a client at one worker, which has it until CLIENT_CLOSED. */
struct hg_connection_link {
    bool close_sent; /* CLIENT_CLOSE is on its way; CLIENT_CLOSED frees it */
    bool memory_sent;
    struct hg_client_ring ring;
    int memfd;
    int doorbell;
};

struct hg_connection {
    int socket; /* -1 = free */
    bool known; /* said HELLO */
    bool closing;
    uint64_t since_ns;
    char name[HG_CLIENT_NAME_BYTES];
    struct hg_client_peer peer;
    struct hg_connection_link *links[HG_NODE_WORKERS_MAX]; /* NULL = none of its streams is there */
};

/* The file of a peer's pre-shared key, as it was when it was last read. */
struct hg_key_file {
    bool configured;
    struct hg_config_peer peer;
    struct stat stat; /* zero: it was not there */
};

struct hg_housekeeping {
    struct hg_node *node;
    struct hg_exchange exchange;
    uint64_t now_ns;

    /* control plane */
    struct hg_control_ring ring;
    bool ring_made;
    struct hg_control_message result;  /* an answer that the ring had no room for, to: */
    uint64_t result_request;           /* 0 = there is none */
    int control_socket;                /* -1 = none */
    struct hg_control_config config;   /* newest page read */
    struct hg_control_config *applied; /* with places; lent to the workers while apply_pending */
    bool apply_pending;
    bool apply_waits_start;
    bool apply_waits_places;
    uint32_t apply_workers; /* that still have it */
    uint64_t apply_request;
    uint64_t apply_generation;
    uint64_t applied_generation;
    int32_t apply_code; /* first thing that went wrong before the worker's part */
    char apply_text[HG_CONTROL_TEXT_BYTES];
    /* Refusals said since the last configuration that was taken whole: APPLY is tried again and again. */
    uint32_t refusal_count;
    char refusals[HG_HOUSEKEEPING_REFUSALS_MAX][HG_CONTROL_TEXT_BYTES];
    uint64_t command_request;
    uint32_t command_workers; /* that have not yet answered */
    uint32_t command_pages;   /* status pages to be published before the answer to a group's order */
    struct hg_letter command_answer;
    struct hg_move move; /* while command_request is one to move a stream */
    bool move_ends;      /* its last letter went; what follows waits for room */
    bool move_spreads;   /* the workers are getting the configuration with the new place */
    uint64_t events_unsent;
    uint64_t events_suppressed;
    uint64_t tails_unsent; /* answers of copies that the ring had no room for */
    struct {
        const char *name; /* NULL = free */
        struct hg_event_limit limit;
    } kinds[HG_HOUSEKEEPING_KINDS_MAX];

    /* identity, ports, peers */
    bool starting; /* the logs are being opened */
    uint64_t start_again_ns;
    bool started;
    struct hg_config_node identity;
    uint32_t log_count;
    struct hg_config_log logs[HG_CONTROL_LOGS_MAX];
    struct hg_placement placement;
    struct hg_places *places[HG_NODE_WORKERS_MAX]; /* lent until PLACES_DONE */
    bool places_asked;
    bool placed; /* all logs are read back: it is known whose each stream is */
    bool port_open;
    bool port_was_up;
    struct hg_port_set port;
    struct hg_config_port port_config;
    char port_problem[HG_CONTROL_TEXT_BYTES];
    uint64_t port_maintain_ns;
    uint32_t peer_count; /* in the worker's order */
    uint64_t peer_nodes[HG_CONTROL_PEERS_MAX];
    struct hg_key_file key_files[HG_CONTROL_PEERS_MAX];
    uint64_t keys_ns; /* when they were last looked at */
    char peer_problems[HG_CONTROL_PEERS_MAX][HG_CONTROL_TEXT_BYTES];

    struct hg_log_growing *growing; /* a log that gets longer; NULL = none */

    struct hg_control_grants grants; /* as the workers have them */
    uint64_t grants_generation;      /* of the page that they are from */

    /* status page: lent to the workers, one after the other, while status_lent */
    struct hg_control_status *status;
    bool status_lent;
    uint32_t status_worker; /* who has it, or is to have it */
    uint64_t status_ns;

    struct { /* answers that found a worker's box full */
        bool used;
        int32_t code;
    } orphans[HG_NODE_WORKERS_MAX];

    uint64_t accept_again_ns; /* the listener is not watched until then */
    uint64_t accept_failed_count;
    struct hg_connection connections[HG_HOUSEKEEPING_CONNECTIONS_MAX];
};

/* housekeeping.c: one line on stderr, "time severity name text", and an EVENT to the control plane; not more
 * of one name than hg_event_limit_take allows. `name` is a literal. */
void hg_housekeeping_say(struct hg_housekeeping *hk, uint32_t severity, const char *name, const char *text);
/* Puts a letter to a worker; true when it went. */
bool hg_housekeeping_put(struct hg_housekeeping *hk, uint32_t worker, const struct hg_letter *letter);
/* True when every worker's box has room for a letter; we alone put any. */
bool hg_housekeeping_room(const struct hg_housekeeping *hk);

/* housekeeping_config.c */
void hg_housekeeping_control(struct hg_housekeeping *hk); /* messages of the control ring */
void hg_housekeeping_config_done(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_command_done(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_command_end(struct hg_housekeeping *hk, int32_t code, const char *text);
/* Gives every worker hk->applied; there is room. */
void hg_housekeeping_config_give(struct hg_housekeeping *hk);
void hg_housekeeping_start_poll(struct hg_housekeeping *hk); /* whether the logs were opened, and read back */
void hg_housekeeping_places_done(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_start_saved(struct hg_housekeeping *hk); /* from node.state, without a control plane */

/* An error that stands in the way of the configuration; once in the same words. */
void hg_housekeeping_refusal(struct hg_housekeeping *hk, const char *name, const char *text);

/* housekeeping_keys.c: pre-shared keys of peers */
/* Begins and ends key agreement as the applied configuration wants it. Returns NULL, or the peer whose key
 * can't be read, *problem says why. */
const struct hg_config_peer *hg_housekeeping_keys_apply(struct hg_housekeeping *hk, const char **problem);
/* Looks now and then whether a key file is another one. */
void hg_housekeeping_keys_tick(struct hg_housekeeping *hk);

/* housekeeping_move.c: one stream at a time, as there is one command at a time */
/* Returns 0, or a code and why it does not begin. */
int hg_housekeeping_move_begin(struct hg_housekeeping *hk, const struct hg_control_message *message,
                               char text[HG_CONTROL_TEXT_BYTES]);
void hg_housekeeping_move_letter(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_move_tick(struct hg_housekeeping *hk);
void hg_housekeeping_move_spread(struct hg_housekeeping *hk); /* every worker has the configuration */

/* housekeeping_group.c: an order about a group, to every worker; the answer follows the status page that
 * shows what they did */
void hg_housekeeping_adopt_begin(struct hg_housekeeping *hk, const struct hg_control_message *message);
void hg_housekeeping_adopt_letter(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_group_begin(struct hg_housekeeping *hk, const struct hg_control_message *message);
void hg_housekeeping_group_letter(struct hg_housekeeping *hk, const struct hg_letter *letter);
void hg_housekeeping_group_published(struct hg_housekeeping *hk);
/* A copy's answer, for the control plane. */
void hg_housekeeping_group_tail(struct hg_housekeeping *hk, const struct hg_letter *letter);

/* housekeeping_grow.c: one log at a time gets longer, by a thread of its own that writes the zeros; the
 * command is answered when that begins */
void hg_housekeeping_grow_begin(struct hg_housekeeping *hk, const struct hg_control_message *message);
void hg_housekeeping_grow_letter(struct hg_housekeeping *hk, uint32_t worker, const struct hg_letter *letter);
void hg_housekeeping_grow_tick(struct hg_housekeeping *hk);
/* Of this log, 1 to 100; 0 = none is under way. */
uint32_t hg_housekeeping_grow_percent(const struct hg_housekeeping *hk, uint32_t worker);

/* housekeeping_grant.c: write grants, from the control plane's page to every worker */
void hg_housekeeping_grants_tick(struct hg_housekeeping *hk);

/* housekeeping_orphan.c: what is cut off copies of streams goes into files */
void hg_housekeeping_orphan_letter(struct hg_housekeeping *hk, uint32_t worker,
                                   const struct hg_letter *letter);
void hg_housekeeping_orphan_tick(struct hg_housekeeping *hk);

/* housekeeping_clients.c */
void hg_housekeeping_accept(struct hg_housekeeping *hk);
/* The listener to watch; -1 while there are no descriptors for who would come. */
int hg_housekeeping_accept_socket(const struct hg_housekeeping *hk);
void hg_housekeeping_connection(struct hg_housekeeping *hk, uint32_t i); /* it is readable or hung up */
void hg_housekeeping_connections_tick(struct hg_housekeeping *hk);
void hg_housekeeping_client_letter(struct hg_housekeeping *hk, uint32_t worker,
                                   const struct hg_letter *letter);
/* True when nothing can be asked of it now: its stream's worker isn't known before the logs are read back.
 * That it hung up is still to be told. */
bool hg_housekeeping_connection_waits(const struct hg_housekeeping *hk, uint32_t i);

#endif
