/* SPDX-License-Identifier: Apache-2.0
 *
 * A group gets another writer, or the same one under a new epoch: the driver, on the node that shall write
 * next. Take an epoch in the metastore, seal the members, choose each stream's tail from what n - w + 1 of
 * them answer, fill this node's copy up to it, begin the epoch in its log, wait until w copies stand there
 * under it, open the epoch in the metastore, let producers write. Nothing here is safe because of its order
 * in time: logs refuse older epochs, the metastore gives an epoch to one node, and every step may be taken
 * again. So a driver may die anywhere. The same node goes on with its epoch from what the metastore and the
 * copies say; any other takes a higher one. It waits for no copy that says nothing while the others suffice,
 * and guesses nothing: what can't be decided stays sealed under a name until another copy answers.
 *
 * A pure core: what is heard is told to it, what is to be done is asked for; both may be lost, doubled or
 * come late. The caller owns the struct; nothing is allocated. One thread.
 */
#ifndef HG_CONTROLPLANE_FAILOVER_H
#define HG_CONTROLPLANE_FAILOVER_H

#include "controlplane/metastore.h"
#include "controlplane/tail.h"

#define HG_FAILOVER_STREAMS_MAX HG_CONTROL_STREAMS_MAX /* of one group */
#define HG_FAILOVER_EPOCH_FIRST 1u                     /* of a group that was never sealed */
#define HG_FAILOVER_EPOCH_MAX   INT64_MAX              /* no log promises a higher one */
#define HG_FAILOVER_ASK_NS      (300 * HG_NS_PER_MS)   /* a copy is asked again; also store and own log */
#define HG_FAILOVER_FILL_NS     HG_NS_PER_S            /* a copy is asked again to send its batches */
#define HG_FAILOVER_BLOCKED_NS  (2 * HG_NS_PER_S)      /* undecided for so long: it is said */
#define HG_FAILOVER_HUNG_NS     (3 * HG_NS_PER_S)      /* silent for so long: it sends us nothing */
#define HG_FAILOVER_ROUNDS_MAX  5u                     /* each doubles how long a source may bring nothing */
#define HG_FAILOVER_TEXT_BYTES  HG_CONTROL_TEXT_BYTES

#define HG_FAILOVER_STEPS(X)                                                                                 \
    X(IDLE, "idle")                                                                                          \
    X(READ, "asking the metastore who writes")                                                               \
    X(TAKE, "taking an epoch in the metastore")                                                              \
    X(SEAL, "sealing the members and choosing tails")                                                        \
    X(FILL, "filling this node's copy up to the tail")                                                       \
    X(BEGIN, "beginning the epoch in this node's log")                                                       \
    X(ADOPT, "bringing members to the tail")                                                                 \
    X(OPEN, "opening the epoch in the metastore")                                                            \
    X(RELEASE, "letting producers write")                                                                    \
    X(DONE, "done: this node writes")                                                                        \
    X(LOST, "over: another node, or `group seal` here, took a newer epoch")
enum hg_failover_step {
#define HG_X(name, text) HG_FAILOVER_##name,
    HG_FAILOVER_STEPS(HG_X)
#undef HG_X
        HG_FAILOVER_STEP_COUNT
};
const char *hg_failover_step_name(enum hg_failover_step step); /* "seal" */
const char *hg_failover_step_text(enum hg_failover_step step);

struct hg_failover_config {
    struct hg_metastore_key key;
    uint64_t node; /* this one */
    uint32_t n, w; /* the quorum: n members, of which w acknowledge; the record's members go before it */
    uint32_t member_count;
    uint64_t members[HG_TAIL_COPIES_MAX]; /* their nodes, this one included; at most n */
    /* While the record's members change: two quorums, and nothing is decided but by both. `n` and `w` are of
     * the one that is to be, of which this node is. Both name `members` by bits; `former_n` is 0 else. */
    uint32_t voters, former;
    uint32_t former_n, former_w;
};

/* What one copy answers about one stream, under the epoch that it was asked under and has promised. */
struct hg_failover_answer {
    uint64_t node;
    uint64_t epoch;
    uint32_t log, logs;   /* which of the node's logs, and how many it has */
    uint32_t streams;     /* that this log has of the group: so many answers are all of it */
    uint8_t log_uuid[16]; /* another one: another copy, and nothing of the former counts; in a seal it does
                             not count itself unless the record names it (drivers/ipc/group_copies.h) */
    uint64_t stream;      /* 0 where `streams` is 0 */
    char name[HG_CONTROL_NAME_BYTES];
    struct hg_tail_answer tail; /* copy and is_member are set here */
};

enum hg_failover_do {
    HG_FAILOVER_DO_READ,  /* the metastore: answer with hg_failover_record */
    HG_FAILOVER_DO_SWAP,  /* likewise: `revision`, `wanted` */
    HG_FAILOVER_DO_ASK,   /* SEAL `epoch` at `node` (also this one), and what its copy has; hg_failover_answer
                             for each stream, or hg_failover_refused */
    HG_FAILOVER_DO_FILL,  /* `node` sends this node what it has of `stream`, under `epoch` */
    HG_FAILOVER_DO_BEGIN, /* this node's logs: `epoch` begins where their streams end; they are opened at
                             peers under it. Producers wait. hg_failover_refused if it refuses */
    HG_FAILOVER_DO_RELEASE, /* this node's log: producers may write under `epoch`, if it began here.
                               hg_failover_released, or hg_failover_refused */
    HG_FAILOVER_DO_SAY,     /* an event: `severity`, `name`, `text` */
};

struct hg_failover_action {
    enum hg_failover_do what;
    uint64_t epoch;
    uint64_t node;
    uint64_t stream;
    uint64_t revision;
    struct hg_metastore_record wanted;
    uint32_t severity; /* enum hg_control_severity */
    const char *name;  /* a literal */
    char text[HG_FAILOVER_TEXT_BYTES];
};

struct hg_failover_copy { /* of one stream at one member */
    bool has;
    uint32_t log;
    uint64_t heard_ns;
    struct hg_tail_answer tail;
};

struct hg_failover_member {
    uint64_t ask_ns;   /* when it is asked again */
    uint64_t heard_ns; /* 0 = never under this epoch */
    uint32_t logs;
    struct {
        bool known;
        uint8_t uuid[16];
        uint32_t streams;
    } log[HG_CONTROL_LOGS_MAX];
};

struct hg_failover_stream {
    uint64_t stream;
    char name[HG_CONTROL_NAME_BYTES];
    uint64_t fill_ns; /* when its source is asked again */
    enum hg_tail_verdict verdict;
    struct hg_tail tail;
    uint32_t winner; /* member */
    uint32_t knows;  /* member that knows most to be committed */
    int32_t source;  /* member that can send it; -1 = none answers now */
    /* While this node's copy is filled: sources, by bits, that brought nothing, others go first; how often
     * all of them did; since when the present one brings nothing, and the end of this node's copy then. */
    uint32_t passed, rounds;
    int32_t fill_source;
    uint64_t fill_since_ns;
    struct hg_tail_answer fill_tail;
    struct hg_failover_copy copies[HG_TAIL_COPIES_MAX];
};

struct hg_failover {
    struct hg_failover_config config;
    enum hg_failover_step step;
    uint64_t epoch;      /* ours; 0 before it is taken */
    uint64_t epoch_over; /* up to this one none can be ours */
    bool is_taken;       /* by this driver, and this node's logs have been the same since */
    struct hg_metastore_record record;
    uint64_t writer_before; /* node that wrote until now, as the record said; 0 = not known */
    uint64_t sealed_ns;     /* when this driver saw that the record is sealed under its epoch */
    uint64_t due_ns;        /* the metastore or this node's log is asked again */
    uint64_t step_ns;
    char reason[HG_FAILOVER_TEXT_BYTES]; /* what it waits for; empty = nothing in particular */
    bool say_step;
    char blocked[HG_FAILOVER_TEXT_BYTES]; /* said last */
    bool is_full;                         /* the group has more streams than fit */
    struct hg_failover_member members[HG_TAIL_COPIES_MAX];
    uint32_t stream_count;
    struct hg_failover_stream streams[HG_FAILOVER_STREAMS_MAX];
};

/* NULL, or why these can't be driven (static text). */
const char *hg_failover_config_check(const struct hg_failover_config *config);
/* Who counts, where a record says it (generation above 0) and not the command file. Likewise; *config is as
 * it was then. */
const char *hg_failover_config_members(struct hg_failover_config *config, const struct hg_members *members);
/* Begins, or begins anew with nothing known: what was done is found out. The configuration is a good one. */
void hg_failover_start(struct hg_failover *failover, const struct hg_failover_config *config,
                       uint64_t now_ns);
/* Whether a fail-over to this node was left in the middle, as by a control plane that died: it is to be
 * started. `epoch_promised` and `is_open` are of this node's logs that have the group. A group that was
 * sealed by an order of its own stays as it is, and so does one whose epoch was not taken yet: nothing is
 * known of that. */
bool hg_failover_is_left(const struct hg_metastore_record *record, uint64_t node, uint64_t epoch_promised,
                         bool is_open);
/* Whether the record has this node as its writer under an epoch that its logs know nothing of: they were made
 * anew. Nothing goes on by itself, for what they had promised is gone; a fail-over is to be ordered. Not
 * while one is under way here. */
bool hg_failover_log_is_anew(const struct hg_metastore_record *record, uint64_t node,
                             uint64_t epoch_promised);
/* False: idle, done, or lost. */
bool hg_failover_is_under_way(const struct hg_failover *failover);

/* The next thing to do; ask until it says false, after each event and every 100 ms or so. */
bool hg_failover_next(struct hg_failover *failover, uint64_t now_ns, struct hg_failover_action *action);

/* ---- what is heard ---- */
/* What a READ or SWAP gave: the record as it is now. `rc`: 0; -ESTALE, it was another one; other -errno: not
 * known, it is read again. */
void hg_failover_record(struct hg_failover *failover, int rc, const struct hg_metastore_record *found,
                        uint64_t now_ns);
/* As the dataplane has it of a copy's answer that is no refusal; the stream has no name. */
void hg_failover_answer_of(const struct hg_control_tail *tail, struct hg_failover_answer *answer);
void hg_failover_answer(struct hg_failover *failover, const struct hg_failover_answer *answer,
                        uint64_t now_ns);
/* That copy refuses `epoch`: it has promised `epoch_promised`. */
void hg_failover_refused(struct hg_failover *failover, uint64_t node, uint64_t epoch, uint64_t epoch_promised,
                         uint64_t now_ns);
/* What that node said counts no more: two processes live under its identity, and nobody can tell which of
 * them said it. Not for this node. An epoch that has begun in this node's log is not taken back. */
void hg_failover_forget(struct hg_failover *failover, uint64_t node);
void hg_failover_released(struct hg_failover *failover, uint64_t epoch, uint64_t now_ns);

#endif
