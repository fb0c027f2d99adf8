/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's side of key agreement: one handshake a peer, driven by the letters that the worker sends and
 * by time. Pure; in production on the housekeeping thread, in the simulator on the node.
 */
#ifndef HG_EXCHANGE_H
#define HG_EXCHANGE_H

#include "dataplane/mailbox.h"
#include "drivers/clock/clock.h"

#define HG_EXCHANGE_MESSAGES_TICK 8u /* of one peer, in one call */

struct hg_exchange {
    struct hg_clock *clock;
    uint32_t workers;
    struct hg_mailbox *to_workers[HG_WIRE_WORKERS_MAX];
    uint32_t peer_count;
    bool used[HG_CONTROL_PEERS_MAX];
    bool cloned_due[HG_CONTROL_PEERS_MAX]; /* the workers were not told yet: a mailbox was full */
    struct hg_handshake handshakes[HG_CONTROL_PEERS_MAX];
};

/* Two processes that live under one identity (dataplane/security/handshake.h): every worker gets PEER_CLONED,
 * and then no keys of that peer until one of them is gone. Another pre-shared key begins anew here too. */

/* Worker 0 sends and receives handshakes; every worker gets the keys of its lanes. */
void hg_exchange_init(struct hg_exchange *exchange, struct hg_clock *clock,
                      struct hg_mailbox *const *to_workers, uint32_t workers);
/* Begins agreeing with a peer (its index in the workers). A peer that is known already keeps its exchange, or
 * begins anew when its pre-shared key is another one, which the workers are told.
 * False: a worker's mailbox is full and all is as it was; ask again. */
bool hg_exchange_peer(struct hg_exchange *exchange, uint32_t peer, const struct hg_handshake_config *config,
                      uint64_t now_ns);
/* Ends it; its keys are wiped. */
void hg_exchange_peer_end(struct hg_exchange *exchange, uint32_t peer);
/* HANDSHAKE_IN, REKEY and SPI_UNKNOWN. */
void hg_exchange_letter(struct hg_exchange *exchange, const struct hg_letter *letter, uint64_t now_ns);
/* Timers. Returns when to call again. */
uint64_t hg_exchange_tick(struct hg_exchange *exchange, uint64_t now_ns);
void hg_exchange_wipe(struct hg_exchange *exchange);

#endif
