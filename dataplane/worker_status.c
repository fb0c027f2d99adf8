/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's part of the status page: positions, peers, lanes, log, clients, and every drop by its name.
 * Workers fill the page one after the other: worker 0 begins it, the others add to what is there.
 */
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/stream/seal.h"
#include "dataplane/stream/tail.h"
#include "dataplane/worker_internal.h"

#include <stdio.h>

static void status_drop(struct hg_control_status *status, const char *where, const char *name, uint64_t count)
{
    if (count == 0)
        return;
    for (uint32_t i = 0; i < status->drop_count; i++)
        if (strncmp(status->drops[i].where, where, sizeof(status->drops[i].where)) == 0 &&
            strncmp(status->drops[i].name, name, sizeof(status->drops[i].name)) == 0) {
            status->drops[i].count += count; /* another worker's */
            return;
        }
    if (status->drop_count == HG_CONTROL_DROPS_MAX)
        return;
    struct hg_status_drop *drop = &status->drops[status->drop_count++];
    snprintf(drop->where, sizeof(drop->where), "%s", where);
    snprintf(drop->name, sizeof(drop->name), "%s", name);
    drop->count = count;
}

static void status_lane_drops(struct hg_control_status *status, const char *peer,
                              const struct hg_lane_stats *lane)
{
    char where[HG_CONTROL_NAME_BYTES];
    snprintf(where, sizeof(where), "lane %.24s", peer);
#define HG_X(name, text)                                                                                     \
    if (strncmp(#name, "drop_", 5) == 0)                                                                     \
        status_drop(status, where, #name, lane->name);
    HG_LANE_COUNTERS(HG_X)
#undef HG_X
}

static void status_drops(struct hg_worker *worker, struct hg_control_status *status)
{
    static const char *const esp_names[] = {
#define HG_X(name, text) "esp_" #name,
        HG_ESP_REASONS(HG_X)
#undef HG_X
    };
    static const char *const outer_names[] = {
#define X(name, text) "outer_" #name,
        HG_ENCAPSULATION_REASONS(X)
#undef X
    };
    static const char *const append_names[] = {
#define HG_X(name, text) "append_" #name,
        HG_APPEND_REASONS(HG_X)
#undef HG_X
    };
    static const char *const sealed_names[] = {
#define HG_X(name, text) "sealed_" #name,
        HG_SEALED_REASONS(HG_X)
#undef HG_X
    };
    static const char *const open_names[HG_PEERS_OPENS_REFUSED] = {
        [HG_WIRE_REFUSED_UNKNOWN] = "open_UNKNOWN", [HG_WIRE_REFUSED_SYSTEM] = "open_SYSTEM",
        [HG_WIRE_REFUSED_EPOCH] = "open_EPOCH",     [HG_WIRE_REFUSED_INCARNATION] = "open_INCARNATION",
        [HG_WIRE_REFUSED_LIMIT] = "open_LIMIT",
    };
    for (uint32_t i = 1; i < HG_ESP_REASON_COUNT; i++)
        status_drop(status, "link", esp_names[i], worker->link.esp_counts[i]);
    for (uint32_t i = 1; i < HG_ENCAPSULATION_REASON_COUNT; i++)
        if (i != HG_ENCAPSULATION_NEIGHBOUR)
            status_drop(status, "link", outer_names[i], worker->link.encapsulation_counts[i]);
#define HG_X(name, text)                                                                                     \
    if (strncmp(#name, "drop_", 5) == 0)                                                                     \
        status_drop(status, "neighbours", #name, worker->link.neighbours.counters.name);
    HG_NEIGHBOUR_COUNTERS(HG_X)
#undef HG_X
#define HG_X(name, text)                                                                                     \
    if (strncmp(#name, "drop_", 5) == 0 || strncmp(#name, "tx_no", 5) == 0 ||                                \
        strncmp(#name, "tx_ex", 5) == 0)                                                                     \
        status_drop(status, "link", #name, worker->link.counters.name);
    HG_LINK_COUNTERS(HG_X)
#undef HG_X
    /* WOULD_BLOCK is back-pressure, not a drop: the entry stays where it is. */
    for (uint32_t i = HG_APPEND_WOULD_BLOCK + 1; i < HG_APPEND_REASON_COUNT; i++)
        status_drop(status, "streams", append_names[i], hg_streams_append_counts(worker->streams)[i]);
    for (uint32_t i = HG_SEALED_WOULD_BLOCK + 1; i < HG_SEALED_REASON_COUNT; i++)
        status_drop(status, "streams", sealed_names[i], hg_streams_sealed_counts(worker->streams)[i]);
    /* What appends and batches are refused for by their group is counted as those are. */
    for (uint32_t i = HG_GROUP_batch_epoch; i < HG_GROUP_REASON_COUNT; i++)
        status_drop(status, "groups", hg_group_reason_name(i), hg_streams_group_counts(worker->streams)[i]);
    for (uint32_t i = 1; i < HG_GRANT_REASON_COUNT; i++)
        status_drop(status, "streams", hg_grant_reason_name(i), hg_streams_grant_counts(worker->streams)[i]);
    for (uint32_t i = HG_WIRE_REFUSED_UNKNOWN; i < HG_PEERS_OPENS_REFUSED; i++)
        status_drop(status, "streams", open_names[i], hg_peers_opens_refused(worker->peers)[i]);
    for (uint32_t i = 1; i < HG_CLIENT_FAULT_COUNT; i++)
        status_drop(status, "clients", hg_client_fault_name(i), hg_clients_fault_counts(worker->clients)[i]);
    for (uint32_t i = HG_LOG_HEAL_local_records; i < HG_LOG_HEAL_COUNT; i++)
        status_drop(status, "repair", hg_log_heal_name(i), hg_log_heal_of(worker->log)->counts[i]);
    for (uint32_t i = HG_PEERS_HEAL_timeout; i < HG_PEERS_HEAL_COUNT; i++)
        if (i != HG_PEERS_HEAL_given)
            status_drop(status, "repair", hg_peers_heal_name(i), hg_peers_heal_of(worker->peers)->counts[i]);
    for (uint32_t i = HG_ATTACH_OK + 1; i < HG_ATTACH_REASON_COUNT; i++)
        status_drop(status, "clients", hg_attach_reason_name(i),
                    hg_clients_attach_counts(worker->clients)[i]);
    status_drop(status, "clients", "entries_after_refusal", hg_clients_dropped_count(worker->clients));
    status_drop(status, "retention", "holders_let_go", hg_streams_retention(worker->streams)->let_go_count);
    status_drop(status, "worker", "events_lost", worker->events_dropped);
    status_drop(status, "worker", "events_suppressed", worker->events_suppressed);
}

static void status_lane(struct hg_worker *worker, const struct hg_peer *peer,
                        const struct hg_lane_stats *stats, struct hg_control_status *status)
{
    if (status->lane_count == HG_CONTROL_LANES_MAX) {
        status->lanes_not_shown++;
        return;
    }
    struct hg_status_lane *out = &status->lanes[status->lane_count++];
    memset(out, 0, sizeof(*out));
    out->peer = peer->index;
    out->worker = (uint16_t)worker->config.worker;
    out->worker_remote = peer->worker_remote;
    out->state = peer->state;
    out->key_generation = peer->current >= 0 ? peer->sessions[peer->current].generation : 0;
    snprintf(out->ecn, sizeof(out->ecn), "%s", stats->ecn != NULL ? stats->ecn : "");
    out->ecn_marked_there = stats->ecn_marked_there;
    out->share_per_mille = stats->share_per_mille;
    out->srtt_ns = stats->srtt_ns;
    out->rttvar_ns = stats->rttvar_ns;
    out->rtt_min_ns = stats->rtt_min_ns;
    out->bytes_in_flight = stats->bytes_in_flight;
    out->credit_bytes_left = stats->credit_bytes_left;
    out->credit_bytes_given = stats->credit_bytes_given;
    out->data_bytes_sent = stats->data_bytes_sent;
    out->data_bytes_resent = stats->data_bytes_resent;
    out->data_bytes_received = stats->data_bytes_received;
    out->packets_sent = stats->packets_sent;
    out->packets_received = stats->packets_received;
    out->packets_lost = stats->packets_lost;
}

/* What lanes add up to. */
static void status_peer_add(struct hg_status_peer *out, const struct hg_lane_stats *stats)
{
    if (out->cwnd_bytes != UINT64_MAX && stats->cwnd_bytes != UINT64_MAX)
        out->cwnd_bytes += stats->cwnd_bytes;
    out->pacing_bytes_per_s += stats->pacing_bytes_per_s;
    out->delivery_bytes_per_s += stats->delivery_bytes_per_s;
    out->bytes_in_flight += stats->bytes_in_flight;
    out->credit_bytes_left += stats->credit_bytes_left;
    out->credit_bytes_given += stats->credit_bytes_given;
    out->data_bytes_sent += stats->data_bytes_sent;
    out->data_bytes_resent += stats->data_bytes_resent;
    out->data_bytes_received += stats->data_bytes_received;
    out->packets_sent += stats->packets_sent;
    out->packets_received += stats->packets_received;
    out->packets_lost += stats->packets_lost;
    out->ecn_sent += stats->ecn_sent;
    out->probes_sent += stats->probes_sent;
    out->ecn_marked_there += stats->ecn_marked_there;
    out->ecn_marked += stats->ecn_marked;
    out->ecn_failed += stats->ecn_failed;
    out->fec_groups += stats->fec_groups;
    out->fec_parity_sent += stats->fec_parity_sent;
    out->fec_recovered_there += stats->fec_recovered_there;
    out->fec_recovered += stats->fec_recovered;
    out->fec_unrecoverable += stats->fec_unrecoverable;
}

static void status_lanes(struct hg_worker *worker, struct hg_control_status *status)
{
    for (struct hg_peer *lane = hg_peers_next(worker->peers, NULL); lane != NULL;
         lane = hg_peers_next(worker->peers, lane)) {
        struct hg_lane_stats stats;
        if (lane->index >= status->peer_count)
            continue; /* worker 0 has a configuration to take that has this one */
        hg_peers_totals(lane, &stats);
        if (!lane->removed)
            status_lane(worker, lane, &stats, status);
        status_lane_drops(status, lane->head->name, &stats);
        if (worker->config.worker > 0 || lane != lane->head) /* else it began the row */
            status_peer_add(&status->peers[lane->index], &stats);
    }
}

/* Times, state and keys of a peer are those of the first worker's lane that is always kept. */
static void status_peer(struct hg_worker *worker, uint32_t index, struct hg_control_status *status)
{
    const struct hg_peer *peer = hg_peers_at(worker->peers, index);
    struct hg_status_peer *out = &status->peers[status->peer_count++];
    memcpy(out->name, peer->name, sizeof(out->name));
    out->state = peer->state;
    out->since_realtime_ns = status->realtime_ns - (worker->now_ns - peer->state_since_ns);
    out->rate_bytes_per_s = peer->rate_bytes_per_s;
    out->handshakes = peer->handshakes_count;
    struct hg_lane_stats totals;
    hg_peers_totals(peer, &totals);
    out->srtt_ns = totals.srtt_ns;
    out->rttvar_ns = totals.rttvar_ns;
    out->rtt_min_ns = totals.rtt_min_ns;
    if (totals.congestion != NULL) {
        snprintf(out->congestion, sizeof(out->congestion), "%s", totals.congestion);
        snprintf(out->congestion_state, sizeof(out->congestion_state), "%s", totals.congestion_state);
    }
    if (totals.ecn != NULL)
        snprintf(out->ecn, sizeof(out->ecn), "%s", totals.ecn);
    out->ecn_sent = totals.ecn_sent;
    out->probes_sent = totals.probes_sent;
    out->ecn_marked_there = totals.ecn_marked_there;
    out->ecn_marked = totals.ecn_marked;
    out->ecn_failed = totals.ecn_failed;
    if (totals.fec != NULL)
        snprintf(out->fec, sizeof(out->fec), "%s", totals.fec);
    out->loss_ppb = totals.loss_ppb;
    out->fec_groups = totals.fec_groups;
    out->fec_parity_sent = totals.fec_parity_sent;
    out->fec_recovered_there = totals.fec_recovered_there;
    out->fec_recovered = totals.fec_recovered;
    out->fec_unrecoverable = totals.fec_unrecoverable;
    out->cwnd_bytes = totals.cwnd_bytes;
    out->pacing_bytes_per_s = totals.pacing_bytes_per_s;
    out->delivery_bytes_per_s = totals.delivery_bytes_per_s;
    out->path_mtu_bytes = totals.path_mtu_bytes;
    out->bytes_in_flight = totals.bytes_in_flight;
    out->credit_bytes_left = totals.credit_bytes_left;
    out->credit_bytes_given = totals.credit_bytes_given;
    out->data_bytes_sent = totals.data_bytes_sent;
    out->data_bytes_resent = totals.data_bytes_resent;
    out->data_bytes_received = totals.data_bytes_received;
    out->packets_sent = totals.packets_sent;
    out->packets_received = totals.packets_received;
    out->packets_lost = totals.packets_lost;
    if (peer->current < 0)
        return;
    out->key_generation = hg_keyring_generation(&peer->sessions[peer->current].keyring);
    out->boot = peer->sessions[peer->current].boot_remote;
}

/* Peers that get it, a bit each. Where there are more than are shown, those whose copies count come before
 * the others: the control plane names the logs that count by what is shown. */
static uint64_t peers_shown(const struct hg_worker *worker, const struct hg_stream_state *s,
                            const struct hg_control_status *status)
{
    static_assert(HG_STATUS_STREAM_PEERS_MAX >= HG_MEMBERS_MAX, "of two sets that differ by one node");
    uint64_t counting = 0, shown = s->origin_local ? s->peers_mask : 0;
    shown &= (UINT64_C(1) << hg_min_u64(hg_peers_count(worker->peers), status->peer_count)) - 1;
    for (uint32_t i = 0; i < hg_peers_count(worker->peers); i++)
        counting |= (uint64_t)hg_streams_peer_counts(worker->streams, s->group, i) << i;
    while (__builtin_popcountll(shown) > HG_STATUS_STREAM_PEERS_MAX) {
        uint64_t least = (shown & ~counting) != 0 ? shown & ~counting : shown;
        shown &= ~(UINT64_C(1) << (63 - __builtin_clzll(least)));
    }
    return shown;
}

static void stream_peers(struct hg_worker *worker, uint32_t slot, uint64_t shown,
                         struct hg_status_stream *out)
{
    static const struct hg_peer_stream none = {.state = HG_PEER_STREAM_CLOSED};
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    for (; shown != 0; shown &= shown - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(shown);
        const struct hg_peer *to = hg_peers_lane_of(hg_peers_at(worker->peers, i), slot);
        const struct hg_peer_stream *ps = to != NULL && to->used ? &to->streams[slot] : &none;
        struct hg_status_stream_peer *peer = &out->peers[out->peer_count++];
        peer->peer = i;
        peer->state = ps->state;
        peer->lsn_sent = ps->lsn_next;
        peer->lsn_durable = s->lsn_peer[i];
        uint64_t lsn_there = hg_max_u64(s->lsn_peer[i], s->lsn_begin);
        peer->lag_bytes = s->lsn_durable > lsn_there ? s->lsn_durable - lsn_there : 0;
        peer->lag_ns = hg_marks_age_ns(&s->marks, s->lsn_peer[i], worker->now_ns);
        peer->copy = s->copy_peer[i];
    }
}

static void status_stream(struct hg_worker *worker, uint32_t slot, struct hg_control_status *status)
{
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    struct hg_status_stream *out = &status->streams[status->stream_count++];
    memcpy(out->name, s->name, sizeof(out->name));
    out->stream = s->stream;
    out->worker = worker->config.worker;
    out->kind = s->kind;
    out->region = s->region;
    out->incarnation = s->incarnation;
    out->epoch = s->epoch;
    out->system_identifier = s->system_identifier;
    out->lsn_oldest = hg_streams_lsn_oldest(worker->streams, slot);
    out->lsn_end = s->lsn_taken;
    out->lsn_durable = s->lsn_durable;
    out->lsn_committed = s->lsn_committed;
    out->group = s->group;
    out->writes = s->origin_local;
    out->tail_unknown =
        s->tail_unknown + (hg_streams_tail(worker->streams, s) == HG_STREAMS_TAIL_LOST ? 1u : 0u);
    memcpy(out->chain, s->chain_durable, sizeof(out->chain));
    out->epoch_count = s->history.count;
    memcpy(out->epochs, s->history.starts, s->history.count * sizeof(out->epochs[0]));
    out->lsn_horizon = s->horizon.lsn > s->lsn_durable ? s->horizon.lsn : 0;
    out->horizon_peer = s->horizon.peer;
    out->frames = s->frames_count;
    out->batches = s->batches_count;
    out->raw_bytes = s->raw_bytes;
    out->stored_bytes = s->stored_bytes;
    stream_peers(worker, slot, peers_shown(worker, s, status), out);
}

static void status_holder(struct hg_worker *worker, const struct hg_holder *holder,
                          struct hg_status_holder *out)
{
    const struct hg_retention *retention = hg_streams_retention(worker->streams);
    const struct hg_retention_limit *limit = NULL;
    const char *name = "";
    out->kind = holder->kind;
    out->let_go = holder->let_go;
    out->bytes = holder->bytes;
    out->age_ns = holder->age_ns;
    memcpy(out->stream, hg_streams_at(worker->streams, holder->slot)->name, sizeof(out->stream));
    if (holder->kind == HG_HOLDER_PEER) {
        limit = &retention->peers[holder->index].limit;
        name = retention->peers[holder->index].name;
    } else if (holder->kind == HG_HOLDER_CONSUMER) {
        const struct hg_consumer_state *consumer = hg_streams_consumer_at(worker->streams, holder->index);
        limit = consumer == NULL ? NULL : &consumer->limit;
        name = consumer == NULL ? "" : consumer->name;
    }
    snprintf(out->name, sizeof(out->name), "%.31s", name);
    out->limit_bytes = limit == NULL ? 0 : limit->bytes;
    out->limit_ns = limit == NULL ? 0 : limit->ns;
}

static void status_retention(struct hg_worker *worker, struct hg_status_log *out)
{
    const struct hg_retention *retention = hg_streams_retention(worker->streams);
    static_assert(HG_STATUS_HOLDERS_MAX == HG_RETENTION_HOLDERS_MAX, "all are shown");
    out->capacity_bytes = retention->capacity_bytes;
    out->held_bytes = retention->held_bytes;
    out->fill_bytes_per_s = hg_budget_bytes_per_s(&retention->budget);
    out->full_ns = retention->full_ns;
    out->alarm_percent = retention->level;
    out->refuses_peers = retention->refused_told;
    out->alarms = retention->alarm_count;
    out->let_go = retention->let_go_count;
    out->refused = retention->refused_seen;
    out->holder_count = retention->holder_count;
    for (uint32_t i = 0; i < retention->holder_count; i++)
        status_holder(worker, &retention->holders[i], &out->holders[i]);
}

static void status_repair(const struct hg_worker *worker, struct hg_status_log *out)
{
    const struct hg_log_heal *heal = hg_log_heal_of(worker->log);
    out->corrupt_left = hg_log_heal_left(worker->log);
    out->repair_sequence = heal->state == HG_LOG_HEAL_IDLE ? 0 : heal->sequence;
    for (uint32_t i = 0; i < heal->count; i++) {
        if (heal->writes[i].tries == 0 || heal->writes[i].sequence < out->repair_failed)
            continue;
        out->repair_failed = heal->writes[i].sequence;
        snprintf(out->repair_failed_why, sizeof(out->repair_failed_why), "%s",
                 hg_log_heal_name(heal->writes[i].reason));
    }
}

static enum hg_log_pressure pressure_of(const struct hg_worker *worker)
{
    if (worker->pressure_told)
        return HG_LOG_PRESSURE_SEGMENTS;
    return hg_worker_producers_wait(worker) && hg_streams_device_is_behind(worker->streams)
               ? HG_LOG_PRESSURE_ARENA
               : HG_LOG_PRESSURE_NONE;
}

static void status_log(struct hg_worker *worker, struct hg_control_status *status)
{
    struct hg_log_stats stats;
    struct hg_status_log *out = &status->logs[status->log_count++];
    hg_log_stats_get(worker->log, &stats);
    out->id = worker->config.worker;
    out->state = hg_log_state(worker->log);
    out->segments_free = stats.segments_free;
    out->segment_count = stats.segment_count;
    out->segment_bytes = stats.segment_bytes;
    out->next_sequence = hg_log_next_sequence(worker->log);
    out->durable_sequence = hg_log_durable_sequence(worker->log);
    out->tail_sequence = hg_log_tail_sequence(worker->log);
    out->writes = stats.writes;
    out->flushes = stats.flushes;
    out->batches = stats.batches;
    out->payload_bytes = stats.payload_bytes;
    out->written_bytes = stats.written_bytes;
    out->reads = stats.reads;
    out->read_bytes = stats.read_bytes;
    out->walked_bytes = stats.walked_bytes;
    out->writes_again = stats.writes_again;
    out->reads_again = stats.reads_again;
    out->unreadable_blocks = stats.unreadable_blocks;
    out->corrupt_writes = stats.corrupt_writes;
    out->scrub_bytes_per_s = stats.scrub_bytes_per_s;
    out->scrub_bytes = stats.scrub_bytes;
    out->scrub_passes = stats.scrub_passes;
    out->scrub_pass_age_ns = stats.scrub_passes == 0 ? 0 : worker->now_ns - stats.scrub_pass_end_ns;
    out->scrub_corrupt = stats.scrub_corrupt;
    out->scrub_corrupt_sequence = stats.scrub_corrupt_sequence;
    out->scrub_percent = stats.scrub_percent;
    out->repairs = stats.repairs;
    status_repair(worker, out);
    out->losses = stats.losses;
    out->lost_writes = stats.lost_writes;
    out->flush = worker->config.disk->is_dsync ? HG_CONFIG_FLUSH_DSYNC : HG_CONFIG_FLUSH_GROUP;
    out->flush_ns_last = stats.flush_ns_last;
    out->flush_ns_max = stats.flush_ns_max;
    out->durable_ns_p99 = stats.durable_ns_p99;
    out->restarts = hg_log_restarts(worker->log);
    out->recovery_percent = hg_log_recovery_percent(worker->log);
    out->pressure = pressure_of(worker);
    snprintf(out->message, sizeof(out->message), "%s", hg_log_message(worker->log));
    status_retention(worker, out);
}

/* A client has a memory at each worker that owns one of its streams: one row all the same. */
static struct hg_status_client *status_client(struct hg_control_status *status, const char *name,
                                              uint32_t pid)
{
    for (uint32_t i = 0; i < status->client_count; i++)
        if (status->clients[i].pid == pid && strncmp(status->clients[i].name, name, HG_NAME_BYTES) == 0)
            return &status->clients[i];
    return status->client_count < HG_CONTROL_CLIENTS_MAX ? &status->clients[status->client_count++] : NULL;
}

/* From `stream_first` on are this worker's, in the order of their slots, but for those that left. */
static struct hg_status_stream *status_stream_of(struct hg_control_status *status, uint32_t stream_first,
                                                 uint64_t stream)
{
    for (uint32_t i = stream_first; i < status->stream_count; i++)
        if (status->streams[i].stream == stream)
            return &status->streams[i];
    return NULL;
}

static void status_clients(struct hg_worker *worker, uint32_t stream_first, struct hg_control_status *status)
{
    for (uint32_t i = 0; i < HG_CLIENTS_MAX; i++) {
        const struct hg_clients_entry *client = hg_clients_at(worker->clients, i);
        if (client == NULL)
            continue;
        struct hg_status_client *out = worker->config.worker > 0
                                           ? status_client(status, client->name, client->pid)
                                           : &status->clients[status->client_count++];
        if (out == NULL)
            continue;
        memcpy(out->name, client->name, sizeof(out->name));
        out->pid = client->pid;
        out->uid = client->uid;
        out->append_bytes += client->append_bytes;
        out->deliver_bytes += client->deliver_bytes;
        for (uint32_t j = 0; j < HG_CLIENT_SLOTS; j++) {
            const struct hg_clients_slot *slot = &client->slots[j];
            if (!slot->used)
                continue;
            struct hg_status_stream *stream =
                status_stream_of(status, stream_first, hg_streams_at(worker->streams, slot->stream)->stream);
            out->streams++;
            if (stream != NULL)
                stream->clients++;
        }
    }
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        const struct hg_consumer_state *consumer = hg_streams_consumer_at(worker->streams, i);
        if (consumer == NULL)
            continue;
        if (status->consumer_count == HG_CONTROL_CONSUMERS_MAX)
            break;
        struct hg_status_consumer *out = &status->consumers[status->consumer_count++];
        memcpy(out->name, consumer->name, sizeof(out->name));
        memcpy(out->stream, hg_streams_at(worker->streams, consumer->slot)->name, sizeof(out->stream));
        out->lsn = consumer->lsn;
        out->attached = consumer->attached_count;
    }
}

/* A log may know more than find room besides those of other logs: the last used ones are shown. */
static void status_sessions(struct hg_worker *worker, struct hg_control_status *status)
{
    const struct hg_session *session = NULL;
    uint64_t most = HG_CONTROL_SESSIONS_MAX / hg_max_u64(worker->config.workers, 1);
    for (; most > 0 && (session = hg_streams_session_older(worker->streams, session)) != NULL; most--) {
        struct hg_status_session *out = &status->sessions[status->session_count++];
        int32_t slot = hg_streams_find(worker->streams, session->stream);
        const struct hg_session_run *last = &session->runs[session->run_count - 1];
        memset(out, 0, sizeof(*out));
        if (slot >= 0) {
            const struct hg_stream_state *s = hg_streams_at(worker->streams, (uint32_t)slot);
            memcpy(out->stream, s->name, sizeof(out->stream));
            out->is_evicting = s->sessions_evicted;
        }
        out->client = session->client;
        out->sequence_first = session->runs[0].sequence;
        out->sequence_last = last->sequence + last->count - 1;
        out->lsn_last = last->lsn + last->count - 1;
        out->log = worker->config.worker;
    }
}

static void status_worker(struct hg_worker *worker, struct hg_control_status *status)
{
    struct hg_status_worker *out = &status->workers[status->worker_count++];
    for (uint32_t i = 0; i < hg_streams_count(worker->streams); i++)
        out->streams += !hg_streams_at(worker->streams, i)->ended;
    out->state = worker->state;
    out->turns = worker->turns_count;
    out->turns_idle = worker->turns_idle_count;
    out->rx_handed_over = worker->link.counters.rx_handed_over;
    out->rx_taken_over = worker->link.counters.rx_taken_over;
    status->turns += worker->turns_count;
    status->turns_idle += worker->turns_idle_count;
}

static void status_begin(struct hg_worker *worker, struct hg_control_status *status)
{
    struct hg_clock *clock = worker->config.clock;
    memset(status, 0, sizeof(*status));
    status->realtime_ns = clock->realtime_ns(clock);
    for (uint32_t i = 0; i < hg_peers_count(worker->peers); i++)
        status_peer(worker, i, status);
}

void hg_worker_status(struct hg_worker *worker, struct hg_control_status *status)
{
    if (worker->config.worker == 0)
        status_begin(worker, status);
    hg_assert(status->worker_count == worker->config.worker && status->worker_count < HG_CONTROL_LOGS_MAX);
    uint32_t stream_first = status->stream_count;
    status_worker(worker, status);
    status_log(worker, status);
    status_lanes(worker, status);
    for (uint32_t i = 0;
         i < hg_streams_count(worker->streams) && status->stream_count < HG_CONTROL_STREAMS_MAX; i++)
        if (!hg_streams_at(worker->streams, i)->ended)
            status_stream(worker, i, status);
    hg_worker_group_status(worker, status);
    status_clients(worker, stream_first, status);
    status_sessions(worker, status);
    status_drops(worker, status);
}
