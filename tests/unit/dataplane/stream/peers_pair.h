/* SPDX-License-Identifier: Apache-2.0
 *
 * Two nodes' peers over two real logs, joined by passing inner packets from lane to lane, for the tests of
 * peers.
 */
#ifndef HG_PEERS_PAIR_H
#define HG_PEERS_PAIR_H

#include "dataplane/stream/peers.h"
#include "stream_node.h"

#define KV       HG_STREAM_KEY_VALUE
#define PHYSICAL HG_STREAM_POSTGRES_PHYSICAL

struct site {
    struct stream_node node; /* first: see rekey in peers_pair.c */
    struct hg_peers *peers;
    struct site *other;
    uint64_t tick_ns;
    uint32_t rekeys; /* asked for */
    enum hg_rekey rekey_why;
    bool cut;     /* what it sends is lost */
    bool gathers; /* its log's open write stays open for more */
};

extern struct site *const a, *const b; /* of region 1 and region 2, nodes 1 and 2 */
extern bool one_region;                /* both are of region 1; set before they are made */
extern uint32_t key_generation;        /* of the newest keys */
extern uint32_t lane_generation;       /* of those with which the lanes began */

/* Makes both sites, each configured with the other, without keys. */
void sites_make(void);
void sites_free(void);
/* The same with keys and the stream "one" (id 11, key/value) from a to b. Returns its slot, on both. */
uint32_t sites_joined(void);
void site_make(struct site *site, struct site *other, uint16_t region, uint32_t streams_max);
/* Its peers anew, as after a start. */
void site_peers_make(struct site *site, uint32_t streams_max);
void site_free(struct site *site);
struct hg_config_peer peer_config(uint16_t region);

struct hg_peer *peer_of(const struct site *site);
struct hg_stream_state *stream(const struct site *site, uint32_t slot);
const struct hg_peer_stream *sending(const struct site *site, uint32_t slot);
/* Both sides agreed on keys for new lanes; on newer ones for those in use; or one side did. */
void keys(void);
void keys_renew(void);
void keys_one(struct site *site, uint32_t spi_tx, uint32_t spi_rx);
/* What the site's lanes have to send is received by the other, unless it is cut off. */
void packets_pass(struct site *site);
/* One turn: the log, timers that are due, packets. */
void site_turn(struct site *site);
/* Turns of both until so much time has passed. */
void run(uint64_t ns);
/* Time passes with nothing under way but timers. */
void idle(uint64_t ns);
void append(struct site *site, uint32_t slot, uint32_t count, uint32_t bytes);
uint32_t configure(struct site *site, const char *name, uint64_t id, uint16_t kind, uint16_t origin);
/* How a site of region 1 is told of the stream "one": it writes it, or the other one does. */
struct hg_config_stream config_of_one(const struct site *site, bool here);

#endif
