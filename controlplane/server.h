/* SPDX-License-Identifier: Apache-2.0
 *
 * The control plane as one object on one libuv loop, one thread: the wanted configuration, the link to the
 * dataplane (link.c), the socket for helioctl (api.c).
 */
#ifndef HG_CONTROLPLANE_SERVER_H
#define HG_CONTROLPLANE_SERVER_H

#include "controlplane/command_file.h"
#include "controlplane/events.h"
#include "controlplane/failover.h"
#include "controlplane/failover_reach.h"
#include "controlplane/grant.h"
#include "controlplane/metastore.h"
#include "drivers/ipc/control_socket.h"

#include <uv.h>

#define HG_API_CONNECTIONS_MAX 32
/* A connection that says nothing for so long is closed. */
#define HG_API_IDLE_NS (10 * HG_NS_PER_S)
/* The dataplane answers within this, or the change is taken back. */
#define HG_API_RESULT_NS   (5 * HG_NS_PER_S)
#define HG_LINK_RETRY_NS   (200 * HG_NS_PER_MS)
#define HG_LINK_WELCOME_NS (2 * HG_NS_PER_S)
/* A refused configuration is tried again: what stood in its way (a missing log, a key, a port) may be gone.
 */
#define HG_LINK_APPLY_AGAIN_NS (2 * HG_NS_PER_S)

/* Exit codes of helioctl, in every answer as "code". */
enum hg_api_code {
    HG_API_OK = 0,
    HG_API_REFUSED = 1,
    HG_API_USAGE = 2,
    HG_API_NO_CONTROL = 3,
    HG_API_NO_DATAPLANE = 4,
};

enum hg_link_state { HG_LINK_DOWN, HG_LINK_WELCOME, HG_LINK_UP };

struct hg_link {
    enum hg_link_state state;
    int socket;
    bool stuck; /* its heart does not beat */
    uint64_t retry_ns, deadline_ns;
    char problem[HG_CONTROL_TEXT_BYTES]; /* said already; empty = none */
    struct hg_control_ring ring;
    uint64_t generation;                 /* of the config page written last, on this boot */
    uint64_t request_apply;              /* 0 = no APPLY under way */
    bool apply_is_due;                   /* the ring had no room for it */
    uint64_t generation_refused;         /* 0 = none */
    uint64_t apply_again_ns;             /* while refused: when it is tried again */
    char refusal[HG_CONTROL_TEXT_BYTES]; /* said already; empty = none */
    uint64_t event_request_last;         /* redelivered events are told by it */
    uint64_t event_generation_last;
    uint64_t attached_count;
    uint64_t poisoned_count;
    uv_poll_t socket_poll, doorbell_poll;
    uint32_t polls_open; /* closes still under way */
};

struct hg_api_connection {
    bool used;
    bool answered;
    struct hg_server *server;
    uv_pipe_t pipe;
    uv_write_t write;
    uv_buf_t answer;
    uint64_t opened_ns;
    size_t line_bytes;
    char line[HG_GRAMMAR_LINE_BYTES_MAX];
};

struct hg_change {    /* one at a time: what the dataplane has been asked for and who waits for the answer */
    uint64_t request; /* 0 = none */
    bool is_config;
    bool is_asked_only; /* nothing changes: no event */
    int32_t group;      /* that is sealed or opened; -1 = none: its tails are part of the answer */
    uint64_t deadline_ns;
    struct hg_api_connection *connection; /* NULL: it left */
    char what[HG_GRAMMAR_ERROR_BYTES];    /* "": what the dataplane answers */
    struct hg_command_config before;
};

struct hg_grants_kept { /* write grants of the groups that this node writes */
    struct hg_granting groups[HG_CONTROL_GROUPS_MAX];
    uint32_t next; /* to look at first */
    struct hg_control_grants page;
    bool page_due;
    uint64_t page_attached;                /* link.attached_count when the page was last written */
    char problem[HG_METASTORE_TEXT_BYTES]; /* said already; empty = none */
};

#define HG_FAILOVERS_MAX         8u   /* groups that this node takes over at a time */
#define HG_FAILOVER_ACTIONS_TICK 512u /* of each in a turn of the loop */
struct hg_failover_run {
    struct hg_failover core;
    uint64_t request; /* to begin or to release, that the dataplane has not answered; 0 = none */
    uint64_t request_ns;
    bool releases;
    bool unknown_said;   /* that it waits since then: */
    uint64_t unknown_ns; /* logs of this node don't count by the record's members; 0 = they do */
    char problem[HG_METASTORE_TEXT_BYTES]; /* of the metastore, said already */
};

/* A group whose writer this node is by the record alone. */
struct hg_failover_anew {
    uint64_t epoch; /* of the record; 0 = it is none */
    uint64_t since_ns;
    bool is_said;
};

struct hg_server {
    uv_loop_t loop;
    char run[HG_CONTROL_PATH_BYTES];
    char socket_path[HG_CONTROL_PATH_BYTES + 32]; /* of the dataplane */
    char api_path[HG_CONTROL_PATH_BYTES + 32];
    int lock;
    uint64_t started_ns;
    struct hg_command_file *file;
    struct hg_command_config *config; /* in *file */
    struct hg_events events;
    struct hg_link link;
    struct hg_control_status status;
    uint64_t status_generation; /* 0 = never seen one */
    uint64_t change_generation; /* of the last page seen before the last change ended */
    struct hg_change change;
    struct hg_metastore *metastore;
    uint64_t members_ns;  /* when members of groups are looked at again */
    uint64_t left_ns;     /* likewise fail-overs that were left in the middle */
    uint64_t left_looked; /* groups of which it is known since the start: bits */
    /* Logs that were said not to count, by group and place among the peers of the region. */
    uint64_t copies_said[HG_CONTROL_GROUPS_MAX][HG_COPIES_NODES_MAX];
    struct hg_failover_anew anew[HG_CONTROL_GROUPS_MAX];
    struct hg_failover_run *failovers[HG_FAILOVERS_MAX]; /* NULL = none was ever there */
    struct hg_grants_kept grants;
    struct hg_api_connection connections[HG_API_CONNECTIONS_MAX];
    uv_pipe_t api;
    uv_timer_t tick;
    uv_signal_t sigterm, sigint;
    bool stopping;
};

/* The record of a group of our own region. */
static inline struct hg_metastore_key hg_server_group_key(const struct hg_server *server, uint32_t group)
{
    const struct hg_config_node *node = &server->config->wanted.node;

    return (struct hg_metastore_key){.cluster = node->cluster, .region = node->region, .group = group};
}

/* ---- link.c: the dataplane ---- */
void hg_link_init(struct hg_server *server);
/* Every HG_CONTROL_POLL_NS: attaches, beats, receives, looks whether the dataplane lives. */
void hg_link_tick(struct hg_server *server, uint64_t now_ns);
/* Hangs up; the next tick attaches anew. */
void hg_link_down(struct hg_server *server, const char *why);
bool hg_link_usable(const struct hg_server *server);
/* Brings server->status up to date if a new page can be read. */
void hg_link_status_read(struct hg_server *server);
/* Writes the wanted configuration and posts APPLY. Its request, or 0 when the ring is full or broken. */
uint64_t hg_link_apply(struct hg_server *server);
/* Posts a command. Its request, or 0. */
uint64_t hg_link_command(struct hg_server *server, enum hg_control_command command, const char *name,
                         uint32_t number);

/* The same about a group. */
uint64_t hg_link_group(struct hg_server *server, enum hg_control_command command, uint32_t group,
                       uint64_t epoch);

/* ---- granting.c: write grants, each tick ---- */
void hg_grants_tick(struct hg_server *server);

/* The same with whom and what it is about. */
uint64_t hg_link_target(struct hg_server *server, enum hg_control_command command, uint32_t group,
                        uint64_t epoch, const struct hg_control_target *target);

/* ---- failover_run.c: groups that this node takes over ---- */
/* False: this node can't take the group over, and text says why and what to do. */
bool hg_failover_run_check(const struct hg_server *server, uint32_t group, char *text, size_t text_bytes);
/* Whom of the members that `record` (the metastore's) or the command file names this node hears now. NULL, or
 * why this node can't take the group over. */
const char *hg_failover_run_reach(const struct hg_server *server, uint32_t group,
                                  const struct hg_metastore_record *record, struct hg_failover_reach *reach);
/* 0; -EALREADY: it is under way; -EBUSY: too many are. */
int hg_failover_run_start(struct hg_server *server, uint32_t group, uint64_t now_ns);
/* The group's newest one, or NULL. */
const struct hg_failover *hg_failover_run_of(const struct hg_server *server, uint32_t group);
/* What the fail-over of the group waits for, empty = nothing: the core's reason, or that of its shell. */
const char *hg_failover_run_reason(const struct hg_server *server, uint32_t group);
/* Once after the start, as soon as metastore and dataplane say what there is of each group: goes on with the
 * fail-overs to this node that a control plane before left in the middle. */
void hg_failover_run_left(struct hg_server *server, uint64_t now_ns);
/* Says that nobody writes the group, whose record is this one now, where that is so for a while by the status
 * page that was read last. */
void hg_failover_run_anew(struct hg_server *server, uint32_t group, const struct hg_metastore_record *record,
                          uint64_t now_ns);
void hg_failover_run_tick(struct hg_server *server, uint64_t now_ns);
void hg_failover_run_result(struct hg_server *server, uint64_t request, int32_t code, uint64_t now_ns);
void hg_failover_run_tail(struct hg_server *server, const struct hg_control_tail *tail, uint64_t now_ns);
void hg_failover_run_close(struct hg_server *server);

/* ---- api.c: helioctl ---- */
/* Listens. 0 or a libuv error. */
int hg_api_open(struct hg_server *server);
void hg_api_tick(struct hg_server *server, uint64_t now_ns);
/* The dataplane answered the change under way. */
void hg_api_result(struct hg_server *server, int32_t code, const char *text);
/* The dataplane went away with a change under way. */
void hg_api_link_lost(struct hg_server *server);
void hg_api_close(struct hg_server *server);

/* ---- answer.c: one request line to one JSON answer ---- */
/* NULL: the answer comes later, through hg_api_result(). */
json_t *hg_answer(struct hg_server *server, struct hg_api_connection *connection, const char *line);
/* What was done, or would be. */
json_t *hg_answer_done(const char *text);
/* NULL, or why no change can be made at the moment. */
json_t *hg_answer_not_now(const struct hg_server *server);
/* Why `what` is not set: because only that was asked (dry-run), or as above; NULL = it can be. */
json_t *hg_answer_not_set(const struct hg_server *server, const struct hg_command *command, const char *what);
/* The change is asked for with this request, 0 where that failed; its answer is the dataplane's. */
json_t *hg_answer_change(struct hg_server *server, struct hg_api_connection *connection, uint64_t request,
                         bool is_config, const char *what);
/* answer_retain.c */
json_t *hg_answer_adopt(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command);
json_t *hg_answer_limit(struct hg_server *server, struct hg_api_connection *connection,
                        const struct hg_command *command);
/* answer_group.c */
json_t *hg_answer_group_seal(struct hg_server *server, struct hg_api_connection *connection,
                             const struct hg_command *command);
json_t *hg_answer_group_open(struct hg_server *server, struct hg_api_connection *connection,
                             const struct hg_command *command);
/* Groups as the dataplane shows them, and how far their fail-overs are; group < 0: all. */
json_t *hg_answer_groups(struct hg_server *server, int32_t group);
json_t *hg_answer_group_fail_over(struct hg_server *server, const struct hg_command *command);
json_t *hg_answer_error(enum hg_api_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- answer_members.c: who keeps the copies of a group ---- */
/* Reads what the metastore says of the groups of our region, gives it to the dataplane where it is new, and
 * takes the next step of a change where this node writes. Does something every half second. */
void hg_members_tick(struct hg_server *server, uint64_t now_ns);
/* ---- copies_run.c: which logs of a group that this node writes count ---- */
/* `record` is what the metastore has of the group now. */
void hg_copies_tick(struct hg_server *server, uint32_t group, const struct hg_metastore_key *key,
                    const struct hg_metastore_record *record);
/* Why a stream of the group may not move to another log now; NULL: as far as the metastore goes, it may. */
const char *hg_copies_move_refusal(struct hg_server *server, uint32_t group);

json_t *hg_answer_group_members(struct hg_server *server, const struct hg_command *command);

#endif
