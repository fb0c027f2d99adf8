/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the epochs of groups are agreed on: one record a group, changed by compare-and-swap alone. So of two
 * who seal or open the same group one wins, and the other learns who. What a record says is only about who
 * may go on; what was promised is in the logs, and they refuse whatever this says.
 *
 * A store: in a file, for nodes that share a file system (a trial on one host); in memory, for tests. One
 * thread.
 */
#ifndef HG_CONTROLPLANE_METASTORE_H
#define HG_CONTROLPLANE_METASTORE_H

#include "drivers/ipc/group_copies.h"

#define HG_METASTORE_RECORDS_MAX 2048u /* groups of all regions */
#define HG_METASTORE_TEXT_BYTES  512

enum hg_metastore_state {
    HG_METASTORE_NONE,    /* the group was never sealed */
    HG_METASTORE_SEALING, /* nobody writes; `epoch` is promised in its logs, or on its way there */
    HG_METASTORE_OPEN,    /* `node` writes under `epoch`, or is on its way to */
};

struct hg_metastore_key {
    uint64_t cluster;
    uint32_t region; /* of origin */
    uint32_t group;
};

struct hg_metastore_record {
    uint64_t revision; /* of the store, by the write that made it; 0 = there is none */
    uint64_t epoch;
    uint64_t node;  /* who wrote it */
    uint32_t state; /* enum hg_metastore_state */
    /* For so long from this write on `node` may take it that it writes the group; of SEALING: had the one
     * that was sealed, for whoever opens next. 0 = it has no write grant. */
    uint32_t grant_ms;
    uint32_t failover; /* 1: a fail-over took `epoch`; `node` goes on with it by itself after a start */
    struct hg_members members; /* generation 0: as the command files say */
    struct hg_copies copies;   /* the logs that count; none: nobody said so far */
};

struct hg_metastore {
    /* *found = what is there now. 0, or -errno: it can't be read, `problem` says why. */
    int (*read)(struct hg_metastore *store, const struct hg_metastore_key *key,
                struct hg_metastore_record *found);
    /* Writes *wanted if the record still has this revision. 0: *found = it, with its revision. -ESTALE:
     * *found = what is there instead. Other -errno, and `problem`: it may have been written or not; read
     * again. */
    int (*swap)(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t revision,
                const struct hg_metastore_record *wanted, struct hg_metastore_record *found);
    void (*close)(struct hg_metastore *store);
    char problem[HG_METASTORE_TEXT_BYTES];
};

/* Of one file, made with its first record. Opens nothing yet: a damaged file is told when it is read. */
struct hg_metastore *hg_metastore_file_open(const char *path);
struct hg_metastore *hg_metastore_memory_open(void);

/* The steps of a fail-over that are the store's. 0, or -errno with why in text: -EEXIST = somebody has this
 * epoch or a newer one, or a fail-over, which opens it by itself; -ENOENT = it was not sealed for this epoch.
 * Each may be taken again. */
int hg_metastore_seal(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t epoch,
                      uint64_t node, char text[HG_METASTORE_TEXT_BYTES]);
int hg_metastore_begin(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t epoch,
                       uint64_t node, char text[HG_METASTORE_TEXT_BYTES]);
/* Of a group that was never sealed: open from its beginning, by `node` that writes it. A record that says
 * more than NONE stays as it is. */
void hg_metastore_record_first(struct hg_metastore_record *record, uint64_t node);
/* Renews the write grant of a group that `node` writes: the record, as it is, is written anew with grant_ms
 * (or what hg_grant_written_ms says, by `held_ns`), and *record is that. Where there is none and `may_make`,
 * it is made: open under epoch 1. -EPERM: the group is sealed, or another node's. -ENOENT: there is none, and
 * none may be made, for the logs have been sealed before. Other -errno: it may have been written or not; that
 * is no grant. */
int hg_metastore_grant(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t node,
                       uint32_t grant_ms, uint64_t held_ns, bool may_make, struct hg_metastore_record *record,
                       char text[HG_METASTORE_TEXT_BYTES]);

#endif
