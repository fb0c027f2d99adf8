/* SPDX-License-Identifier: Apache-2.0
 *
 * Which worker of this node owns which stream. A stream whose batches are in a log belongs to that log's
 * worker, whatever the number of workers is now; one that no log knows goes where the configuration says,
 * else where a rendezvous hash of its id says. So a place is recorded with the stream's first record and
 * never recomputed. Pure; owned by housekeeping (in the simulator by the node), which tells workers in every
 * configuration.
 */
#ifndef HG_PLACEMENT_H
#define HG_PLACEMENT_H

#include "dataplane/transport/wire.h"
#include "drivers/ipc/control_state.h"

#define HG_PLACES_MAX 1024u /* streams of a log: HG_WORKER_STREAMS_MAX */

/* What the log of one worker holds; the worker fills it in (HG_LETTER_PLACES). */
struct hg_places {
    uint32_t count;
    uint32_t worker;
    struct {
        uint64_t stream;
        uint32_t move; /* how often it had moved when it came here */
        char name[HG_CONTROL_NAME_BYTES];
    } table[HG_PLACES_MAX];
};

struct hg_placement {
    uint32_t workers;
    struct hg_places *held[HG_WIRE_WORKERS_MAX]; /* of each worker; NULL = not known yet */
};

void hg_placement_init(struct hg_placement *placement, uint32_t workers);
/* Takes over what a log holds; the caller keeps the memory alive. */
void hg_placement_hold(struct hg_placement *placement, struct hg_places *places);
/* True when all logs were read back, so that places are known. */
bool hg_placement_known(const struct hg_placement *placement);
/* Where a new stream goes among so many workers: the same on every machine. */
uint32_t hg_placement_hash(uint64_t stream, uint32_t workers);
/* The worker whose log holds the stream, -1 = none. Of several, the one to which it moved last. */
int32_t hg_placement_held(const struct hg_placement *placement, uint64_t stream);
/* The same by name. */
int32_t hg_placement_held_name(const struct hg_placement *placement, const char *name);
/* The second worker whose log holds the stream as if it were the first to own it: a mistake that an operator
 * must settle. -1 = none. */
int32_t hg_placement_held_twice(const struct hg_placement *placement, uint64_t stream);
/* A worker whose log has a stream that moved to another one, and does not say so: the process died between
 * the two records. -1 = none is left. */
int32_t hg_placement_stale(const struct hg_placement *placement, uint64_t *stream);
/* The worker's log no longer has it. */
void hg_placement_forget(struct hg_placement *placement, uint32_t worker, uint64_t stream);
/* It moved to this worker: no other has it. */
void hg_placement_move(struct hg_placement *placement, uint32_t worker, const char *name, uint64_t stream,
                       uint32_t move);
/* Resolves `place` of every stream of a configuration to a worker + 1. Returns NULL, or the first stream that
 * can't be where the configuration wants it; that one is where it is or hashed. A stream that was moved stays
 * where it is, whatever the configuration says: that is about the first place. */
const struct hg_config_stream *hg_placement_resolve(const struct hg_placement *placement,
                                                    struct hg_control_config *config);
/* The workers get this configuration, which was resolved: what it names is where it says from now on, as if
 * the logs had been read back after it. All logs are known. */
void hg_placement_given(struct hg_placement *placement, const struct hg_control_config *config);

#endif
