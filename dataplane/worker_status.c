/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's part of the status page: positions, peers, log, clients, and every drop by its name.
 */
#include "dataplane/worker_internal.h"

#include <stdio.h>

static void status_drop(struct hg_control_status *status, const char *where, const char *name, uint64_t count)
{
    if (status->drop_count == HG_CONTROL_DROPS_MAX || count == 0)
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
    for (uint32_t i = 1; i < HG_ESP_REASON_COUNT; i++)
        status_drop(status, "link", esp_names[i], worker->link.esp_counts[i]);
    for (uint32_t i = 1; i < HG_ENCAPSULATION_REASON_COUNT; i++)
        status_drop(status, "link", outer_names[i], worker->link.encapsulation_counts[i]);
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
    for (uint32_t i = 1; i < HG_CLIENT_FAULT_COUNT; i++)
        status_drop(status, "clients", hg_client_fault_name(i), hg_clients_fault_counts(worker->clients)[i]);
    status_drop(status, "clients", "entries_after_refusal", hg_clients_dropped_count(worker->clients));
    status_drop(status, "worker", "events_lost", worker->events_dropped);
    status_drop(status, "worker", "events_suppressed", worker->events_suppressed);
}

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
    out->cwnd_bytes = totals.cwnd_bytes;
    out->pacing_bytes_per_s = totals.pacing_bytes_per_s;
    out->delivery_bytes_per_s = totals.delivery_bytes_per_s;
    out->path_mtu_bytes = totals.path_mtu_bytes;
    out->bytes_in_flight = totals.bytes_in_flight;
    out->credit_bytes_left = totals.credit_bytes_left;
    out->data_bytes_sent = totals.data_bytes_sent;
    out->data_bytes_resent = totals.data_bytes_resent;
    out->data_bytes_received = totals.data_bytes_received;
    out->packets_sent = totals.packets_sent;
    out->packets_received = totals.packets_received;
    out->packets_lost = totals.packets_lost;
    status_lane_drops(status, peer->name, &totals);
    if (peer->current < 0)
        return;
    out->key_generation = hg_keyring_generation(&peer->sessions[peer->current].keyring);
    out->boot = peer->sessions[peer->current].boot_remote;
}

static void status_stream(struct hg_worker *worker, uint32_t slot, struct hg_control_status *status)
{
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    struct hg_status_stream *out = &status->streams[status->stream_count++];
    memcpy(out->name, s->name, sizeof(out->name));
    out->stream = s->stream;
    out->kind = s->kind;
    out->region = s->region;
    out->incarnation = s->incarnation;
    out->epoch = s->epoch;
    out->system_identifier = s->system_identifier;
    out->lsn_oldest = hg_streams_lsn_oldest(worker->streams, slot);
    out->lsn_end = s->lsn_taken;
    out->lsn_durable = s->lsn_durable;
    out->frames = s->frames_count;
    out->batches = s->batches_count;
    out->raw_bytes = s->raw_bytes;
    out->stored_bytes = s->stored_bytes;
    for (uint32_t i = 0; i < hg_peers_count(worker->peers) && out->peer_count < HG_STATUS_STREAM_PEERS_MAX;
         i++) {
        if (!s->origin_local || (s->peers_mask & (UINT64_C(1) << i)) == 0)
            continue;
        const struct hg_peer *to = hg_peers_at(worker->peers, i);
        static const struct hg_peer_stream none = {.state = HG_PEER_STREAM_CLOSED};
        const struct hg_peer_stream *ps = to->used ? &to->streams[slot] : &none;
        struct hg_status_stream_peer *peer = &out->peers[out->peer_count++];
        peer->peer = i;
        peer->state = ps->state;
        peer->lsn_sent = ps->lsn_next;
        peer->lsn_durable = s->lsn_peer[i];
        uint64_t lsn_there = hg_max_u64(s->lsn_peer[i], s->lsn_begin);
        peer->lag_bytes = s->lsn_durable > lsn_there ? s->lsn_durable - lsn_there : 0;
        peer->lag_ns = hg_marks_age_ns(&s->marks, s->lsn_peer[i], worker->now_ns);
    }
}

static void status_log(struct hg_worker *worker, struct hg_control_status *status)
{
    struct hg_log_stats stats;
    struct hg_status_log *out = &status->logs[status->log_count++];
    hg_log_stats_get(worker->log, &stats);
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
    out->flush_ns_last = stats.flush_ns_last;
    out->flush_ns_max = stats.flush_ns_max;
    out->restarts = hg_log_restarts(worker->log);
    out->recovery_percent = hg_log_recovery_percent(worker->log);
    out->pressure = worker->pressure_told ? HG_LOG_PRESSURE_SEGMENTS : HG_LOG_PRESSURE_NONE;
    snprintf(out->message, sizeof(out->message), "%s", hg_log_message(worker->log));
}

static void status_clients(struct hg_worker *worker, struct hg_control_status *status)
{
    for (uint32_t i = 0; i < HG_CLIENTS_MAX; i++) {
        const struct hg_clients_entry *client = hg_clients_at(worker->clients, i);
        if (client == NULL)
            continue;
        struct hg_status_client *out = &status->clients[status->client_count++];
        memcpy(out->name, client->name, sizeof(out->name));
        out->pid = client->pid;
        out->uid = client->uid;
        out->append_bytes = client->append_bytes;
        out->deliver_bytes = client->deliver_bytes;
        for (uint32_t j = 0; j < HG_CLIENT_SLOTS; j++) {
            const struct hg_clients_slot *slot = &client->slots[j];
            out->streams += slot->used;
            if (slot->used && slot->stream < status->stream_count)
                status->streams[slot->stream].clients++;
        }
    }
    for (uint32_t i = 0; i < HG_LOG_CONSUMERS_MAX; i++) {
        const struct hg_consumer_state *consumer = hg_streams_consumer_at(worker->streams, i);
        if (consumer == NULL)
            continue;
        struct hg_status_consumer *out = &status->consumers[status->consumer_count++];
        memcpy(out->name, consumer->name, sizeof(out->name));
        memcpy(out->stream, hg_streams_at(worker->streams, consumer->slot)->name, sizeof(out->stream));
        out->lsn = consumer->lsn;
        out->attached = consumer->attached_count;
    }
}

void hg_worker_status(struct hg_worker *worker, struct hg_control_status *status)
{
    struct hg_clock *clock = worker->config.clock;
    status->realtime_ns = clock->realtime_ns(clock);
    status->turns = worker->turns_count;
    status->turns_idle = worker->turns_idle_count;
    status->peer_count = 0;
    status->log_count = 0;
    status->stream_count = 0;
    status->client_count = 0;
    status->consumer_count = 0;
    status->drop_count = 0;
    memset(status->peers, 0, sizeof(status->peers));
    memset(status->logs, 0, sizeof(status->logs));
    memset(status->streams, 0, sizeof(status->streams));
    memset(status->clients, 0, sizeof(status->clients));
    memset(status->consumers, 0, sizeof(status->consumers));
    memset(status->drops, 0, sizeof(status->drops));
    status_log(worker, status);
    for (uint32_t i = 0; i < hg_peers_count(worker->peers); i++)
        status_peer(worker, i, status);
    for (uint32_t i = 0; i < hg_streams_count(worker->streams) && i < HG_CONTROL_STREAMS_MAX; i++)
        status_stream(worker, i, status);
    status_clients(worker, status);
    status_drops(worker, status);
}
