/* SPDX-License-Identifier: Apache-2.0
 *
 * Which packet numbers of one SA were seen: the sliding window of RFC 4303 3.4.3 kept as RFC 6479 says (a
 * ring of words, cleared a word at a time), on 64-bit extended sequence numbers. Owned by the worker that
 * owns the SA.
 */
#ifndef HG_SECURITY_REPLAY_H
#define HG_SECURITY_REPLAY_H

#include "dataplane/security/esp.h"

/* One word more than the window, because the word that the newest number is in is only partly used. */
#define HG_REPLAY_WORDS (HG_ESP_REPLAY_PACKETS / 64 + 1)
static_assert(HG_ESP_REPLAY_PACKETS % 64 == 0, "the replay window is whole words");

struct hg_replay {
    uint64_t top; /* highest number marked; 0: none yet, and never a valid number */
    uint64_t seen[HG_REPLAY_WORDS];
};

void hg_replay_init(struct hg_replay *replay);

/* True if `number` is neither seen nor older than the last HG_ESP_REPLAY_PACKETS. Changes nothing. */
bool hg_replay_fresh(const struct hg_replay *replay, uint64_t number);

/* Marks a number that is fresh, once its packet is authentic. */
void hg_replay_mark(struct hg_replay *replay, uint64_t number);

/* The 64-bit number whose low half is `low`, nearest to the window (RFC 4303 A2.1); 0 when it would lie
 * before the first number there is. */
uint64_t hg_replay_extend(const struct hg_replay *replay, uint32_t low);

#endif
