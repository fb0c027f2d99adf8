/* SPDX-License-Identifier: Apache-2.0
 *
 * What failover_model_test.c makes three or five nodes of: their logs and promises (failover_model_copy.c),
 * the writer among them (failover_model_writer.c), and who drives a fail-over (failover_model_driver.c). One
 * thread.
 */
#ifndef HG_TESTS_FAILOVER_MODEL_H
#define HG_TESTS_FAILOVER_MODEL_H

#include "controlplane/copies.h"
#include "controlplane/failover.h"
#include "dataplane/group/epoch.h"
#include "drivers/platform/random.h"

#ifndef NODES
#define NODES 3u /* or by the build */
#endif
#define W            (NODES / 2 + 1)
#define STREAMS      2u
#define ENTRIES_MAX  24u
#define MESSAGES_MAX (32 * NODES)
#define EPOCHS_MAX   64u
#define STEPS        2500u
#define STEP_NS      (20 * HG_NS_PER_MS)
#define NOT_BEGUN    UINT32_MAX

static_assert(HG_FAILOVER_EPOCH_MAX == HG_EPOCH_MAX, "a driver takes what logs promise");

extern const struct hg_metastore_key model_key;

struct entry {
    uint32_t epoch, value;
};

struct log { /* of one stream; entry i is at LSN i + 1 */
    uint32_t count;
    struct entry entries[ENTRIES_MAX];
    uint32_t start_count;
    struct hg_epoch_start starts[HG_EPOCH_STARTS_MAX];
};

struct node {
    struct hg_group group;
    uint64_t begun_disk, released_disk;
    struct log log[STREAMS], disk[STREAMS];
    uint32_t committed[STREAMS], committed_disk[STREAMS];
    uint32_t known[STREAMS]; /* to be committed: told of, or as a record of a life that had more says */
    bool is_unknown;
    uint32_t life, uuid;
    uint64_t answered, retired;
    uint64_t beginning[STREAMS];    /* epoch that begins there, not on the device yet */
    uint32_t there[STREAMS][NODES]; /* as a writer: what members said under its epoch */
    uint32_t seen[NODES];           /* whose log said so */
    uint32_t settle[STREAMS];       /* what a log that was made anew has to have before it counts */
    struct hg_copies copies;        /* that count, as last read; none after a start: nobody else's does */
    struct hg_failover driver;
};

enum type { ASK, ANSWER, REFUSED, FILL_ASK, FILL, BEGIN, RELEASE, RELEASED, LOG, ACK };

struct message {
    enum type type;
    uint32_t from, to, life; /* of who gets it */
    uint64_t epoch, epoch_promised;
    uint32_t stream, count, start, uuid;
    uint32_t oldest; /* FILL: what is before it is forgotten */
    struct log log;
    struct hg_failover_answer answer;
};

struct world {
    struct hg_random random;
    struct hg_metastore *store;
    uint64_t now_ns;
    bool is_healed;
    uint32_t asked[STREAMS]; /* once healed: nodes that were asked to fill a copy, by bits */
    uint32_t forgets;        /* node whose log let go of its oldest: it can't fill who lacks that */
    struct node nodes[NODES];
    struct message messages[MESSAGES_MAX];
    uint32_t message_count, value;
    struct log acknowledged[STREAMS];
    uint64_t acknowledged_by[EPOCHS_MAX];
    struct log begun[EPOCHS_MAX][STREAMS];
    uint64_t begun_by[EPOCHS_MAX][STREAMS];
    uint64_t opened_by[EPOCHS_MAX];
    uint32_t stood[EPOCHS_MAX][STREAMS]; /* nodes, by bits, that stood there and lost their disk since */
    uint32_t uuids;
    const char *violation;
};

/* How often a thing happened that a run is to bring about. */
extern struct model_sometimes {
    uint64_t done, lost, resumed, acknowledged, filled, cut, adopted, blocked, refused, crashes, store_failed,
        partial, wiped, counted, gaps, passed, known_above;
} model_sometimes;

/* ---- logs, and what is sent between nodes ---- */
uint32_t model_draw(struct world *world, uint32_t below);
bool model_chance(struct world *world, uint32_t one_in); /* of a fault */
void model_violate(struct world *world, const char *what);
void model_send(struct world *world, const struct message *message);
bool model_is_prefix(const struct log *prefix, uint32_t count, const struct log *log);
uint64_t model_epoch_last(const struct log *log);
void model_start_add(struct log *log, uint64_t epoch, uint64_t lsn);
uint64_t model_lsn_end(const struct log *log);
bool model_is_flushed(const struct node *node);
void model_flush(struct world *world, uint32_t n);
void model_crash(struct world *world, uint32_t n);
void model_reply(struct world *world, uint32_t from, const struct message *to, enum type type);
void model_copy_ask(struct world *world, uint32_t n, const struct message *message);
void model_copy_log(struct world *world, uint32_t n, const struct message *message);
void model_copy_fill_ask(struct world *world, uint32_t n, const struct message *message);

/* ---- the writer ---- */
void model_copy_begin(struct world *world, uint32_t n, const struct message *message);
void model_copy_release(struct world *world, uint32_t n, const struct message *message);
uint64_t model_id_of(uint32_t uuid);
void model_writer_hear(struct node *node, const struct message *message);
void model_writer_names(struct world *world, uint32_t n);
void model_writer_step(struct world *world, uint32_t n);

/* ---- the driver's shell ---- */
void model_wipe(struct world *world, uint32_t n);
void model_driver_step(struct world *world, uint32_t n);
void model_driver_start(struct world *world, uint32_t n);
void model_driver_hear(struct world *world, uint32_t n, const struct message *message);

#endif
