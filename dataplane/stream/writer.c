/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/stream/writer.h"
#include "dataplane/stream/streams_internal.h"

/* The newest epoch of another node, or of this one, that wrote here or is to. */
static uint64_t epoch_newest(const struct hg_stream_state *s)
{
    return hg_max_u64(hg_history_last(&s->history).epoch, s->writer_epoch);
}

/* Up to this one the command file says who writes. */
static uint64_t epoch_configured(const struct hg_stream_state *s)
{
    return hg_max_u64(s->writer_configured.epoch, HG_EPOCH_FIRST);
}

bool hg_streams_writer_is_configured(const struct hg_stream_state *s, uint64_t epoch)
{
    return epoch <= epoch_configured(s);
}

bool hg_streams_writer_may(const struct hg_stream_state *s, uint64_t node, uint64_t epoch)
{
    if (hg_streams_writer_is_configured(s, epoch))
        return !s->writer_configured.is_local &&
               (s->writer_configured.node == 0 || s->writer_configured.node == node);
    if (s->origin_local) /* also where it took another node for the epoch's writer before it began it */
        return epoch > epoch_newest(s);
    return epoch != s->writer_epoch || s->writer_node == node;
}

void hg_streams_writer_set(struct hg_streams *streams, uint32_t slot, uint64_t node, uint64_t epoch)
{
    struct hg_stream_state *s = hg_streams_at(streams, slot);
    if (epoch <= epoch_configured(s) || epoch < s->writer_epoch)
        return;
    s->writer_epoch = epoch;
    s->writer_node = node;
    hg_streams_writer_look(streams, s);
}

void hg_streams_writer_look(struct hg_streams *streams, struct hg_stream_state *s)
{
    uint64_t begun = hg_streams_group_of(streams, s)->epoch_begun, newest = epoch_newest(s);
    bool was_local = s->origin_local;
    if (newest <= epoch_configured(s) && begun <= HG_EPOCH_FIRST) {
        s->origin_local = s->writer_configured.is_local;
        s->origin_node = s->writer_configured.node;
    } else {
        s->origin_local = begun > HG_EPOCH_FIRST && begun >= newest && s->region == streams->config.region;
        s->origin_node = s->origin_local || newest != s->writer_epoch ? 0 : s->writer_node;
    }
    if (s->origin_local)
        s->epoch = hg_max_u64(s->epoch, begun);
    if (s->origin_local == was_local)
        return;
    /* What members said under another writer is about another history. */
    memset(s->lsn_counted, 0, sizeof(s->lsn_counted));
    hg_streams_moved(streams, s);
    hg_streams_committed_move(streams, s);
}
