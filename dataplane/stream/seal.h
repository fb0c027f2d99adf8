/* SPDX-License-Identifier: Apache-2.0
 *
 * Sealing and opening the groups of one log (dataplane/group/epoch.h has the rules): what happens to streams,
 * and when the device has it. Pure; owning worker only.
 */
#ifndef HG_STREAM_SEAL_H
#define HG_STREAM_SEAL_H

#include "dataplane/stream/streams.h"

/* SEAL: from this call on no producer of the group and no writer of an older epoch is taken. What was not yet
 * sealed into the log is dropped: none of it was acknowledged, and who appended it is told
 * (hg_clients_depose). OK also when it was done before. Refusals are counted. */
enum hg_group_reason hg_streams_group_seal(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* True once that may be answered: the promise is on the device, and so is all that the log had of the group.
 * From then on the tails of its streams, as hg_stream_state has them, are what they are under every older
 * epoch. */
bool hg_streams_group_sealed(const struct hg_streams *streams, uint32_t group, uint64_t epoch);

/* Begins the epoch, which must be promised: each stream's start is recorded where it ends, then the group's.
 * Producers wait. WOULD_BLOCK: the log takes no records now; what it took stands, so try again. Fine
 * also when it began already, unless a stream came between that and its release: a higher one is to begin.
 * Refusals are counted. */
enum hg_group_reason hg_streams_group_begin(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* True once the records are on the device: peers may be opened under it. */
bool hg_streams_group_begun(const struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* Lets producers in under the epoch that began here; also after a restart they come in only where that was
 * recorded. Results as above. */
enum hg_group_reason hg_streams_group_release(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* Both. */
enum hg_group_reason hg_streams_group_open(struct hg_streams *streams, uint32_t group, uint64_t epoch);
/* True once that is on the device; producers may write. */
bool hg_streams_group_opened(const struct hg_streams *streams, uint32_t group, uint64_t epoch);

/* Counts a refusal that somebody else decided. */
void hg_streams_group_refused(struct hg_streams *streams, enum hg_group_reason reason);
const struct hg_group *hg_streams_group(const struct hg_streams *streams, uint32_t group);
const uint64_t *hg_streams_group_counts(const struct hg_streams *streams); /* by enum hg_group_reason */

#endif
