/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the peers share with each other and with nobody else.
 */
#ifndef HG_STREAM_PEERS_INTERNAL_H
#define HG_STREAM_PEERS_INTERNAL_H

#include "dataplane/stream/peers.h"
#include "dataplane/stream/writer.h"

/* Whom this node asked to send it a stream, and under which epoch. */
struct hg_peers_fill {
    uint64_t node, epoch;
};

#define HG_PEERS_ANSWERS_MAX                                                                                 \
    512u /* about streams of groups, that the control plane has not yet; then it asks again */

struct hg_peers {
    struct hg_peers_config config;
    uint32_t count;
    uint64_t receive_bytes_taken;         /* by all lanes */
    uint64_t configuration;               /* counts them */
    uint64_t now_ns;                      /* of the call we are in, for the lane's callbacks */
    void *trial;                          /* memory of an SA that first packets are tried under */
    struct hg_peer_session *session_last; /* that a packet was for: more of it follow */
    uint64_t opens_refused[HG_PEERS_OPENS_REFUSED];
    bool asked_due;                                  /* somebody waits for an answer about a group */
    struct hg_peer_asked asked;                      /* by this node's control plane */
    struct hg_peers_fill fills[HG_WIRE_ALIASES_MAX]; /* by stream slot */
    struct hg_control_tail answers[HG_PEERS_ANSWERS_MAX];
    uint64_t answer_head, answer_tail; /* put, taken */
    struct hg_peers_heal heal;
    struct hg_peer table[HG_PEERS_MAX];
};

/* Lane callbacks; ctx is a struct hg_peer_session. */
bool hg_peers_batch_next(void *ctx, struct hg_lane_batch *batch);
const uint8_t *hg_peers_batch_bytes(void *ctx, const struct hg_lane_batch *batch);
bool hg_peers_batch_gone(void *ctx, const struct hg_lane_batch *batch);
void hg_peers_batch_acked(void *ctx, const struct hg_lane_batch *batch);
int hg_peers_batch_received(void *ctx, uint32_t alias, const uint8_t *batch, uint32_t bytes);
void hg_peers_control_received(void *ctx, const struct hg_wire_control *frame);

/* Opens the lane to a worker of the node, once keys for it are here. NULL: no memory, or no such worker. */
struct hg_peer *hg_peers_lane_open(struct hg_peer *head, uint32_t worker, uint64_t now_ns);

/* Divides what one flow to a node would have among all lanes to it. Every 10 ms or so. */
void hg_peers_share(struct hg_peer *head, uint64_t now_ns);

/* Streams we send. */
void hg_peers_claim(struct hg_peer *peer, uint32_t slot, uint64_t lsn);
/* Finds what holds our log for this peer, and tells it when the log is full. */
void hg_peers_need(struct hg_peer *peer);
/* Tells a peer of this region what is committed of the streams that it gets, as far as it was not told. */
void hg_peers_report_committed(struct hg_peer *peer);
void hg_peers_open_streams(struct hg_peer *peer, uint64_t now_ns);
void hg_peers_answer_received(struct hg_peer_session *session, const struct hg_wire_stream_answer *answer);
void hg_peers_refuse_received(struct hg_peer_session *session, const struct hg_wire_stream_close *refuse);

/* Streams that are held back. The batch at `at` may not leave yet. */
void hg_peers_hold(struct hg_peer *peer, uint32_t slot, const struct hg_cursor *at,
                   const struct hg_batch_header *header);
void hg_peers_hold_end(struct hg_peer *peer, uint32_t slot);
/* More of the stream is committed. */
void hg_peers_held_committed(struct hg_peer *peer, uint32_t slot);
/* Whether the second cursor has something to look at. Sends it out, and ends its walk where it meets the
 * first. */
bool hg_peers_held_walks(struct hg_peer *peer);
/* The oldest write that may hold what the peer was not sent of the stream. */
uint64_t hg_peers_sequence_next(const struct hg_peer *peer, uint32_t slot);
void hg_peers_history_received(struct hg_peer_session *session, const struct hg_wire_stream_history *frame);
/* Tells peers that told their history what of it is ours, as far as the log was read. */
void hg_peers_cuts_advance(struct hg_peer *peer);
/* There is no such point in our log: the peer has other bytes, or needs what we no longer have. */
void hg_peers_cut_impossible(struct hg_peer *peer, uint32_t slot, uint64_t lsn, int rc);

/* peers_horizon.c: tells a peer that has a gap where our log begins; and is told. */
void hg_peers_horizon_send(struct hg_peer *peer, uint32_t slot);
void hg_peers_horizon_received(struct hg_peer_session *session, const struct hg_wire_stream_horizon *horizon);

/* Streams we take. */
/* Whether this opening of the alias was closed, or a newer one came: numbers wrap. */
static inline bool hg_peers_opening_is_over(const struct hg_peer_alias *pa, uint8_t opening)
{
    return (int8_t)(opening - pa->opening_min) < 0;
}
void hg_peers_open_received(struct hg_peer_session *session, const struct hg_wire_stream_open *open);
void hg_peers_answer_send(struct hg_peer_session *session, uint32_t alias, uint16_t status,
                          const struct hg_stream_state *s);
/* Whether a writer of this epoch must first hear what we have. */
bool hg_peers_join_is_due(const struct hg_stream_state *s, uint64_t epoch);
void hg_peers_join_begin(struct hg_peer_session *session, const struct hg_wire_stream_open *open,
                         uint32_t slot);
void hg_peers_joins_advance(struct hg_peer *peer); /* of a peer with a session */
/* All is done: the stream is open under this alias. */
void hg_peers_join_end(struct hg_peer_session *session, uint32_t alias);
void hg_peers_cut_received(struct hg_peer_session *session, const struct hg_wire_stream_cut *cut);
void hg_peers_close_received(struct hg_peer_session *session, const struct hg_wire_stream_close *close);
void hg_peers_report_durable(struct hg_peer *peer);
/* Asks the peer to open its streams of the group anew. */
void hg_peers_members_ask(struct hg_peer *peer, uint32_t group);
void hg_peers_retry(struct hg_peer *peer); /* of a peer with a session */

/* Repairs of a log (peers_heal.c). */
void hg_peers_repair_ask_received(struct hg_peer_session *session, const struct hg_wire_log_repair_ask *ask);
void hg_peers_repair_data_received(struct hg_peer_session *session,
                                   const struct hg_wire_log_repair_data *data);
/* Each tick: tells what became of repairs, asks for what is wanted, answers. */
void hg_peers_heal_turn(struct hg_peers *peers);

/* Groups (peers_group.c). */
void hg_peers_seal_received(struct hg_peer_session *session, const struct hg_wire_group_seal *seal);
void hg_peers_tail_received(struct hg_peer_session *session, const struct hg_wire_group_tail *frame);
void hg_peers_fill_received(struct hg_peer_session *session, const struct hg_wire_stream_fill *fill);
/* Whether this node's copy is filled for an epoch, `epoch` or a newer one, that it shall begin: until then
 * nobody writes it, and it writes for nobody. */
bool hg_peers_is_filled(const struct hg_peers *peers, uint32_t slot, uint64_t epoch);
/* Whether the node may open the stream here as its temporary sender: it was asked to, and the epoch has begun
 * nowhere here. */
bool hg_peers_is_fill(const struct hg_peers *peers, uint32_t slot, uint64_t node, uint64_t epoch);
/* Nobody but the node fills this copy: what it sends another one can't follow, nor be told as its own. */
void hg_peers_fill_only(struct hg_peers *peers, uint32_t slot, uint64_t node);
/* Whether this node is asked to send the peer what it has of the stream: under head->fill_epoch[slot]. */
bool hg_peers_fills(const struct hg_peer *peer, uint32_t slot);
/* The epoch under which the peer gets the stream: that one, or its writer's. */
uint64_t hg_peers_epoch_sent(const struct hg_peer *peer, uint32_t slot);

#endif
