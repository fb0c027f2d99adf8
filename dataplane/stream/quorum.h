/* SPDX-License-Identifier: Apache-2.0
 *
 * Which copies count for what is committed of a group (drivers/ipc/group_members.h has the rules): those of
 * its members, of both sets while they change, each once and only by its own present word. Pure; owning
 * worker only.
 */
#ifndef HG_STREAM_QUORUM_H
#define HG_STREAM_QUORUM_H

#include "dataplane/stream/streams.h"
#include "drivers/ipc/group_copies.h"

/* The members of a group as this worker knows its peers. */
struct hg_streams_voters {
    struct hg_members members;
    uint16_t region;                      /* of the group's origin */
    uint64_t self;                        /* this node */
    uint64_t nodes[HG_STREAMS_PEERS_MAX]; /* by peer; 0 = there is none */
    uint64_t counted;                     /* peers that are voters, a bit each */
};

/* Takes a configuration of the group. It counts from now on, and the log keeps its generation. A lower one
 * than the log keeps, one that can't be, and another one of the same generation are refused and counted:
 * what was known before stays, and where nothing was (this process never had it) nothing is committed.
 * *is_new: it is another generation than this process counted by. */
bool hg_streams_members_set(struct hg_streams *streams, uint32_t group,
                            const struct hg_streams_voters *wanted, bool *is_new);
/* Generation that counts; that is on the device as well; 0 = as the command file says. */
uint64_t hg_streams_members_generation(const struct hg_streams *streams, uint32_t group);
uint64_t hg_streams_members_durable(const struct hg_streams *streams, uint32_t group);
const struct hg_members *hg_streams_members(const struct hg_streams *streams, uint32_t group);
/* All that was ever committed of the streams that originate here is on w of each set that counts now. */
bool hg_streams_members_synced(const struct hg_streams *streams, uint32_t group);
/* The nodes of the peers, 0 = there is none, and this one; then, of a group, which logs of them count, this
 * node's own among them. `is_unknown`: nobody knows yet, so only what this node has counts, which is no
 * quorum. Until either is said all of them count. */
void hg_streams_nodes_set(struct hg_streams *streams, uint64_t self,
                          const uint64_t nodes[HG_STREAMS_PEERS_MAX]);
void hg_streams_copies_set(struct hg_streams *streams, uint32_t group, const struct hg_copies *copies,
                           bool is_unknown);
/* The newest epoch that the metastore has given the group, as far as the control plane has read; never less
 * than was said before. Nothing is committed under an older one: who is told of it may be a writer that
 * nobody could seal, and the logs that count now are named for another writer. */
void hg_streams_epoch_given(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* This log holds nothing of the group and has promised nothing, as a new one, and by the metastore it is not
 * the one to write it under the first epoch: other logs are named, or that epoch is over, or nobody could
 * read who is. A writer that lost its disk would give the first epoch a second history, so until a fail-over
 * or a record that names it no producer is taken. */
bool hg_streams_is_unnamed(const struct hg_streams *streams, uint32_t group);
/* The peer's copies, those that do not count yet too, have all that may have been committed when the peer's
 * log, or who counts, last became another one: of the streams that originate here and go to it; and all of
 * them go to it. */
bool hg_streams_copies_caught_up(const struct hg_streams *streams, uint32_t group, uint32_t peer);
bool hg_streams_members_caught_up(const struct hg_streams *streams, uint32_t group, uint32_t peer);
/* The peer's copy counts: by the group's members, or by the command file where it has none of its own. */
bool hg_streams_peer_counts(const struct hg_streams *streams, uint32_t group, uint32_t peer);
/* This node's copy counts. */
bool hg_streams_is_voter(const struct hg_streams *streams, uint32_t group);

/* Whether a node may open streams of the group and region under that generation here. Counted if not. */
enum hg_group_reason hg_streams_writer_check(struct hg_streams *streams, uint32_t group, uint16_t region,
                                             uint64_t generation, uint64_t node);
/* The peer is told of the stream what is committed: by the command file its members; where the group has
 * members of its own, whoever of its region gets it, for one that is no member any more has readers, too, and
 * its log would be held for ever by what they may not read. */
bool hg_streams_is_told(const struct hg_streams *streams, uint32_t slot, uint32_t peer);

#endif
