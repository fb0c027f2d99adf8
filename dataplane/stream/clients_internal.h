/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the clients share with each other and with nobody else.
 */
#ifndef HG_STREAM_CLIENTS_INTERNAL_H
#define HG_STREAM_CLIENTS_INTERNAL_H

#include "dataplane/stream/clients.h"
#include "dataplane/stream/seal.h"

struct hg_clients {
    struct hg_clients_config config;
    struct hg_clients_entry table[HG_CLIENTS_MAX];
    uint32_t bound;      /* above every index in use: a turn looks no further */
    uint32_t take_first; /* who is asked first in the next turn */
    enum hg_client_why log_why;
    bool log_turned; /* since it was last published */
    uint64_t fault_counts[HG_CLIENT_FAULT_COUNT];
    uint64_t attach_counts[HG_ATTACH_REASON_COUNT];
    uint64_t dropped_count;
};

/* Its group is sealed: nobody writes it here. */
static inline bool hg_clients_is_deposed(const struct hg_clients *clients, const struct hg_stream_state *s)
{
    return hg_group_is_sealed(hg_streams_group(clients->config.streams, s->group));
}

void hg_clients_position_publish(struct hg_clients *clients, struct hg_client_ring *ring, uint32_t slot_index,
                                 struct hg_clients_slot *slot);

/* Ends the subscription by name, and returns true, when the log has forgotten what comes next: an idle stream
 * has no batch that would show it. */
bool hg_clients_gap_check(struct hg_clients *clients, struct hg_clients_slot *slot);

#endif
