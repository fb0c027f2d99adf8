/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/report.h"

#include "controlplane/command_file.h"
#include "controlplane/json_text.h"

static void text_set(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, hg_json_text(text));
}

static void number_set(json_t *object, const char *key, uint64_t number)
{
    json_object_set_new(object, key, hg_json_u64(number));
}

static void bool_set(json_t *object, const char *key, bool value)
{
    json_object_set_new(object, key, json_boolean(value));
}

static void word_set(json_t *object, const char *key, const char *const *words, size_t count, uint32_t index)
{
    text_set(object, key, index < count ? words[index] : "unknown");
}

static void mac_set(json_t *object, const char *key, const uint8_t mac[6])
{
    char text[24];

    snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
    text_set(object, key, text);
}

static void address_set(json_t *object, const char *key, const struct hg_address *address)
{
    char text[HG_ADDRESS_TEXT_BYTES];

    text_set(object, key, hg_address_text(address, text));
}

/* What is wanted but not in the status is shown too, as absent: a row never silently missing. */
static json_t *absent(const char *name, const char *state)
{
    json_t *object = json_object();

    text_set(object, "name", name);
    text_set(object, "state", state);
    return object;
}

static json_t *port_report(const struct hg_control_config *config, const struct hg_status_port *port)
{
    json_t *object = json_object();
    int wanted = hg_config_port_find(config, port->name);

    text_set(object, "name", port->name);
    text_set(object, "state", !port->opened ? "closed" : port->link_up ? "up" : "down");
    text_set(object, "driver", port->driver);
    mac_set(object, "mac", port->mac);
    if (wanted >= 0 && hg_address_is_set(&config->ports[wanted].network.address)) {
        address_set(object, "address", &config->ports[wanted].network.address);
        number_set(object, "mtu_bytes", config->ports[wanted].mtu_bytes);
    }
    number_set(object, "rx_packets", port->rx_packets);
    number_set(object, "rx_bytes", port->rx_bytes);
    number_set(object, "tx_packets", port->tx_packets);
    number_set(object, "tx_bytes", port->tx_bytes);
    number_set(object, "rx_missed", port->rx_missed);
    number_set(object, "tx_dropped", port->tx_dropped);
    number_set(object, "reconnects", port->reconnects);
    text_set(object, "problem", port->problem);
    return object;
}

json_t *hg_report_ports(const struct hg_control_config *config, const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->port_count; i++)
        json_array_append_new(array, port_report(config, &status->ports[i]));
    for (uint32_t i = 0; i < config->port_count; i++) {
        bool there = false;

        for (uint32_t k = 0; k < status->port_count; k++)
            there = there || strcmp(status->ports[k].name, config->ports[i].name) == 0;
        if (!there)
            json_array_append_new(array, absent(config->ports[i].name, "absent"));
    }
    return array;
}

static json_t *peer_report(const struct hg_control_config *config, const struct hg_control_status *status,
                           const struct hg_status_peer *peer)
{
    static const char *const states[] = {"down", "handshake", "up", "removed", "cloned"};
    json_t *object = json_object();
    int wanted = hg_config_peer_find(config, peer->name);
    char boot[24];

    text_set(object, "name", peer->name);
    word_set(object, "state", states, HG_COUNT(states), peer->state);
    if (peer->since_realtime_ns != 0 && status->realtime_ns >= peer->since_realtime_ns)
        number_set(object, "state_age_ns", status->realtime_ns - peer->since_realtime_ns);
    if (wanted >= 0) {
        number_set(object, "node", config->peers[wanted].node);
        number_set(object, "region", config->peers[wanted].region);
        address_set(object, "address", &config->peers[wanted].address);
        if (config->peers[wanted].rate_bytes_per_s != 0)
            number_set(object, "rate_wanted_bytes_per_s", config->peers[wanted].rate_bytes_per_s);
        text_set(object, "congestion_wanted", hg_config_congestion_text(config->peers[wanted].congestion));
        text_set(object, "fec_wanted", hg_config_fec_text(config->peers[wanted].fec));
        text_set(object, "ecn_wanted", hg_config_ecn_text(config->peers[wanted].ecn));
    }
    snprintf(boot, sizeof(boot), "%016llx", (unsigned long long)peer->boot);
    text_set(object, "boot", boot);
    number_set(object, "key_generation", peer->key_generation);
    number_set(object, "srtt_ns", peer->srtt_ns);
    number_set(object, "rttvar_ns", peer->rttvar_ns);
    number_set(object, "rtt_min_ns", peer->rtt_min_ns);
    if (peer->rate_bytes_per_s != 0)
        number_set(object, "rate_bytes_per_s", peer->rate_bytes_per_s);
    text_set(object, "congestion", peer->congestion);
    text_set(object, "congestion_state", peer->congestion_state);
    text_set(object, "ecn", peer->ecn);
    number_set(object, "probes_sent", peer->probes_sent);
    number_set(object, "ecn_sent", peer->ecn_sent);
    number_set(object, "ecn_marked_there", peer->ecn_marked_there);
    number_set(object, "ecn_marked", peer->ecn_marked);
    number_set(object, "ecn_failed", peer->ecn_failed);
    text_set(object, "fec", peer->fec);
    number_set(object, "loss_ppb", peer->loss_ppb);
    number_set(object, "fec_groups", peer->fec_groups);
    number_set(object, "fec_parity_sent", peer->fec_parity_sent);
    number_set(object, "fec_recovered_there", peer->fec_recovered_there);
    number_set(object, "fec_recovered", peer->fec_recovered);
    number_set(object, "fec_unrecoverable", peer->fec_unrecoverable);
    if (peer->cwnd_bytes != UINT64_MAX)
        number_set(object, "cwnd_bytes", peer->cwnd_bytes);
    number_set(object, "pacing_bytes_per_s", peer->pacing_bytes_per_s);
    number_set(object, "delivery_bytes_per_s", peer->delivery_bytes_per_s);
    number_set(object, "path_mtu_bytes", peer->path_mtu_bytes);
    number_set(object, "bytes_in_flight", peer->bytes_in_flight);
    number_set(object, "credit_bytes_left", peer->credit_bytes_left);
    number_set(object, "credit_bytes_given", peer->credit_bytes_given);
    number_set(object, "data_bytes_sent", peer->data_bytes_sent);
    number_set(object, "data_bytes_resent", peer->data_bytes_resent);
    number_set(object, "data_bytes_received", peer->data_bytes_received);
    number_set(object, "packets_sent", peer->packets_sent);
    number_set(object, "packets_received", peer->packets_received);
    number_set(object, "packets_lost", peer->packets_lost);
    number_set(object, "handshakes", peer->handshakes);
    text_set(object, "problem", peer->problem);
    return object;
}

json_t *hg_report_peers(const struct hg_control_config *config, const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->peer_count; i++)
        if (status->peers[i].state != HG_PEER_REMOVED)
            json_array_append_new(array, peer_report(config, status, &status->peers[i]));
    for (uint32_t i = 0; i < config->peer_count; i++) {
        bool there = false;

        for (uint32_t k = 0; k < status->peer_count; k++)
            there = there || strcmp(status->peers[k].name, config->peers[i].name) == 0;
        if (!there)
            json_array_append_new(array, absent(config->peers[i].name, "absent"));
    }
    return array;
}

json_t *hg_report_lanes(const struct hg_control_status *status)
{
    static const char *const states[] = {"down", "handshake", "up", "removed", "cloned"};
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->lane_count; i++) {
        const struct hg_status_lane *lane = &status->lanes[i];
        json_t *object = json_object();

        text_set(object, "peer", status->peers[lane->peer].name);
        number_set(object, "worker", lane->worker);
        number_set(object, "worker_remote", lane->worker_remote);
        word_set(object, "state", states, HG_COUNT(states), lane->state);
        number_set(object, "key_generation", lane->key_generation);
        text_set(object, "ecn", lane->ecn);
        number_set(object, "ecn_marked_there", lane->ecn_marked_there);
        number_set(object, "share_per_mille", lane->share_per_mille);
        number_set(object, "srtt_ns", lane->srtt_ns);
        number_set(object, "rttvar_ns", lane->rttvar_ns);
        number_set(object, "rtt_min_ns", lane->rtt_min_ns);
        number_set(object, "bytes_in_flight", lane->bytes_in_flight);
        number_set(object, "credit_bytes_left", lane->credit_bytes_left);
        number_set(object, "credit_bytes_given", lane->credit_bytes_given);
        number_set(object, "data_bytes_sent", lane->data_bytes_sent);
        number_set(object, "data_bytes_resent", lane->data_bytes_resent);
        number_set(object, "data_bytes_received", lane->data_bytes_received);
        number_set(object, "packets_sent", lane->packets_sent);
        number_set(object, "packets_received", lane->packets_received);
        number_set(object, "packets_lost", lane->packets_lost);
        json_array_append_new(array, object);
    }
    return array;
}

static void place_set(json_t *object, const char *key, int32_t place)
{
    if (place >= 0)
        number_set(object, key, (uint64_t)place);
}

static json_t *streams_of_worker(const struct hg_control_status *status, uint32_t worker)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->stream_count; i++) {
        if (status->streams[i].worker == worker)
            json_array_append_new(array, hg_json_text(status->streams[i].name));
    }
    return array;
}

json_t *hg_report_placement(const struct hg_control_status *status)
{
    static const char *const states[] = {"recovering", "running", "failed"};
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->worker_count; i++) {
        const struct hg_status_worker *worker = &status->workers[i];
        json_t *object = json_object();

        number_set(object, "worker", i);
        word_set(object, "state", states, HG_COUNT(states), worker->state);
        number_set(object, "lcore", worker->lcore);
        place_set(object, "cpu", worker->cpu);
        place_set(object, "core", worker->core);
        place_set(object, "numa_node", worker->numa_node);
        number_set(object, "port_queue", i);
        if (i < status->log_count)
            text_set(object, "log", status->logs[i].path);
        number_set(object, "stream_count", worker->streams);
        number_set(object, "turns", worker->turns);
        number_set(object, "turns_idle", worker->turns_idle);
        number_set(object, "rx_handed_over", worker->rx_handed_over);
        number_set(object, "rx_taken_over", worker->rx_taken_over);
        json_object_set_new(object, "streams", streams_of_worker(status, i));
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *stream_peer_report(const struct hg_control_status *status,
                                  const struct hg_status_stream *stream,
                                  const struct hg_status_stream_peer *peer)
{
    static const char *const states[] = {"closed", "opening", "streaming", "refused", "diverged", "gap"};
    json_t *object = json_object();

    text_set(object, "stream", stream->name);
    text_set(object, "kind", hg_config_stream_kind_text(stream->kind));
    text_set(object, "peer", status->peers[peer->peer].name);
    word_set(object, "state", states, HG_COUNT(states), peer->state);
    number_set(object, "lsn_sent", peer->lsn_sent);
    number_set(object, "lsn_durable", peer->lsn_durable);
    number_set(object, "lag_bytes", peer->lag_bytes);
    number_set(object, "lag_ns", peer->lag_ns);
    return object;
}

#define STREAM_PEER_STREAMING 2 /* as in struct hg_status_stream_peer */

static bool node_takes(const struct hg_status_peer *to, const struct hg_status_stream_peer *peer)
{
    return to->state == HG_PEER_UP && peer->state == STREAM_PEER_STREAMING;
}

/* Of the set, how many take the stream now: this node and peers. */
static uint32_t takers(const struct hg_members_set *set, const struct hg_control_config *config,
                       const struct hg_control_status *status, const struct hg_status_stream *stream)
{
    uint32_t there = hg_members_set_has(set, config->node.node);

    for (uint32_t i = 0; i < stream->peer_count; i++) {
        const struct hg_status_peer *to = &status->peers[stream->peers[i].peer];
        int wanted = hg_config_peer_find(config, to->name);

        there += wanted >= 0 && hg_members_set_has(set, config->peers[wanted].node) &&
                 node_takes(to, &stream->peers[i]);
    }
    return there;
}

/* "2/3 w2, lacks c": the members that take the stream now, and those that lack some of what is committed,
 * can't be reached, or have a log made anew that does not count yet. While two sets count: "2/3 w2 and 3/3
 * w2". */
static void quorum_set(json_t *object, const struct hg_control_config *config,
                       const struct hg_control_status *status, const struct hg_status_stream *stream)
{
    struct hg_members members = hg_config_members(config, stream->group);
    json_t *lacks = json_array();
    char text[HG_CONTROL_TEXT_BYTES], names[HG_CONTROL_TEXT_BYTES / 2] = "", former[48] = "";
    uint32_t there = takers(&members.set, config, status, stream);
    bool lost = there < members.set.w;

    for (uint32_t i = 0; i < stream->peer_count; i++) {
        const struct hg_status_peer *to = &status->peers[stream->peers[i].peer];
        int wanted = hg_config_peer_find(config, to->name);

        if (wanted < 0 || !hg_members_is_voter(&members, config->peers[wanted].node))
            continue;
        if (node_takes(to, &stream->peers[i]) && stream->peers[i].lsn_durable >= stream->lsn_committed &&
            hg_config_copy_counts(config, stream->group, config->peers[wanted].node, stream->peers[i].copy))
            continue;
        json_array_append_new(lacks, hg_json_text(to->name));
        size_t put = strlen(names);
        snprintf(names + put, sizeof(names) - put, "%s%s", put == 0 ? ", lacks " : " ", to->name);
    }
    if (members.phase == HG_MEMBERS_JOINT) {
        uint32_t there_before = takers(&members.other, config, status, stream);

        snprintf(former, sizeof(former), " and %u/%u w%u", there_before, members.other.count,
                 members.other.w);
        lost |= there_before < members.other.w;
    }
    snprintf(text, sizeof(text), "%u/%u w%u%s%s", there, members.set.count, members.set.w, former, names);
    text_set(object, "quorum", text);
    json_object_set_new(object, "quorum_lacks", lacks);
    text_set(object, "state", lost ? "no-quorum" : "open");
}

static json_t *stream_report(const struct hg_control_config *config, const struct hg_control_status *status,
                             const struct hg_status_stream *stream)
{
    json_t *object = json_object(), *peers = json_array();

    text_set(object, "name", stream->name);
    text_set(object, "state", "open");
    if (stream->writes != 0 && hg_config_members(config, stream->group).set.count > 1)
        quorum_set(object, config, status, stream);
    number_set(object, "id", stream->stream);
    number_set(object, "worker", stream->worker);
    text_set(object, "kind", hg_config_stream_kind_text(stream->kind));
    number_set(object, "region", stream->region);
    number_set(object, "incarnation", stream->incarnation);
    number_set(object, "epoch", stream->epoch);
    number_set(object, "system_identifier", stream->system_identifier);
    number_set(object, "lsn_horizon", stream->lsn_horizon);
    number_set(object, "lsn_oldest", stream->lsn_oldest);
    number_set(object, "lsn_end", stream->lsn_end);
    number_set(object, "lsn_durable", stream->lsn_durable);
    number_set(object, "lsn_committed", stream->lsn_committed);
    number_set(object, "frames", stream->frames);
    number_set(object, "batches", stream->batches);
    number_set(object, "raw_bytes", stream->raw_bytes);
    number_set(object, "stored_bytes", stream->stored_bytes);
    number_set(object, "clients", stream->clients);
    for (uint32_t i = 0; i < stream->peer_count; i++)
        json_array_append_new(peers, stream_peer_report(status, stream, &stream->peers[i]));
    json_object_set_new(object, "peers", peers);
    return object;
}

json_t *hg_report_streams(const struct hg_control_config *config, const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->stream_count; i++)
        json_array_append_new(array, stream_report(config, status, &status->streams[i]));
    for (uint32_t i = 0; i < config->stream_count; i++) {
        bool there = false;

        for (uint32_t k = 0; k < status->stream_count; k++)
            there = there || strcmp(status->streams[k].name, config->streams[i].name) == 0;
        if (!there)
            json_array_append_new(array, absent(config->streams[i].name, "absent"));
    }
    return array;
}

json_t *hg_report_lag(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->stream_count; i++) {
        for (uint32_t k = 0; k < status->streams[i].peer_count; k++)
            json_array_append_new(
                array, stream_peer_report(status, &status->streams[i], &status->streams[i].peers[k]));
    }
    return array;
}

static json_t *log_report(const struct hg_status_log *log)
{
    static const char *const states[] = {"recovering", "ready", "failed"};
    static const char *const flush_words[] = {"unknown", "group", "dsync"};
    static const char *const pressures[] = {"none", "disk is slower than producers",
                                            "segments are held back"};
    json_t *object = json_object();

    number_set(object, "id", log->id);
    text_set(object, "path", log->path);
    word_set(object, "state", states, HG_COUNT(states), log->state);
    number_set(object, "recovery_percent", log->recovery_percent);
    word_set(object, "pressure", pressures, HG_COUNT(pressures), log->pressure);
    number_set(object, "size_bytes", log->size_bytes);
    number_set(object, "segment_bytes", log->segment_bytes);
    number_set(object, "segments_free", log->segments_free);
    number_set(object, "segment_count", log->segment_count);
    number_set(object, "next_sequence", log->next_sequence);
    number_set(object, "durable_sequence", log->durable_sequence);
    number_set(object, "tail_sequence", log->tail_sequence);
    number_set(object, "writes", log->writes);
    number_set(object, "flushes", log->flushes);
    number_set(object, "batches", log->batches);
    number_set(object, "payload_bytes", log->payload_bytes);
    number_set(object, "written_bytes", log->written_bytes);
    number_set(object, "reads", log->reads);
    number_set(object, "read_bytes", log->read_bytes);
    number_set(object, "walked_bytes", log->walked_bytes);
    number_set(object, "writes_again", log->writes_again);
    number_set(object, "reads_again", log->reads_again);
    number_set(object, "unreadable_blocks", log->unreadable_blocks);
    number_set(object, "corrupt_writes", log->corrupt_writes);
    number_set(object, "scrub_bytes_per_s", log->scrub_bytes_per_s);
    number_set(object, "scrub_bytes", log->scrub_bytes);
    number_set(object, "scrub_percent", log->scrub_percent);
    number_set(object, "grow_percent", log->grow_percent);
    number_set(object, "scrub_passes", log->scrub_passes);
    number_set(object, "scrub_pass_age_ns", log->scrub_pass_age_ns);
    number_set(object, "scrub_corrupt", log->scrub_corrupt);
    number_set(object, "scrub_corrupt_sequence", log->scrub_corrupt_sequence);
    number_set(object, "repairs", log->repairs);
    number_set(object, "corrupt_left", log->corrupt_left);
    number_set(object, "repair_sequence", log->repair_sequence);
    number_set(object, "repair_failed", log->repair_failed);
    text_set(object, "repair_failed_why", log->repair_failed_why);
    number_set(object, "losses", log->losses);
    number_set(object, "lost_writes", log->lost_writes);
    word_set(object, "flush", flush_words, HG_COUNT(flush_words), log->flush);
    number_set(object, "flush_ns_last", log->flush_ns_last);
    number_set(object, "flush_ns_max", log->flush_ns_max);
    number_set(object, "durable_ns_p99", log->durable_ns_p99);
    number_set(object, "restarts", log->restarts);
    bool_set(object, "buffers_registered", log->registered != 0);
    number_set(object, "capacity_bytes", log->capacity_bytes);
    number_set(object, "held_bytes", log->held_bytes);
    number_set(object, "held_percent",
               log->capacity_bytes == 0 ? 0 : log->held_bytes / ((log->capacity_bytes + 99) / 100));
    number_set(object, "alarm_percent", log->alarm_percent);
    number_set(object, "fill_bytes_per_s", log->fill_bytes_per_s);
    if (log->full_ns != UINT64_MAX)
        number_set(object, "full_ns", log->full_ns);
    text_set(object, "held_by", log->holder_count == 0 ? "" : log->holders[0].name);
    bool_set(object, "refuses_peers", log->refuses_peers != 0);
    text_set(object, "message", log->message);
    return object;
}

json_t *hg_report_log(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->log_count; i++)
        json_array_append_new(array, log_report(&status->logs[i]));
    return array;
}

json_t *hg_report_clients(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->client_count; i++) {
        const struct hg_status_client *client = &status->clients[i];
        json_t *object = json_object();

        text_set(object, "name", client->name);
        number_set(object, "pid", client->pid);
        number_set(object, "uid", client->uid);
        number_set(object, "streams", client->streams);
        number_set(object, "append_bytes", client->append_bytes);
        number_set(object, "deliver_bytes", client->deliver_bytes);
        json_array_append_new(array, object);
    }
    return array;
}

json_t *hg_report_sessions(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->session_count; i++) {
        const struct hg_status_session *session = &status->sessions[i];
        json_t *object = json_object();
        text_set(object, "stream", session->stream);
        number_set(object, "log", session->log);
        number_set(object, "client", session->client);
        number_set(object, "sequence_first", session->sequence_first);
        number_set(object, "sequence", session->sequence_last);
        number_set(object, "lsn", session->lsn_last);
        text_set(object, "evicted", session->is_evicting != 0 ? "some" : "none");
        json_array_append_new(array, object);
    }
    return array;
}

json_t *hg_report_consumers(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->consumer_count; i++) {
        const struct hg_status_consumer *consumer = &status->consumers[i];
        json_t *object = json_object();
        uint32_t kind = 0;

        for (uint32_t k = 0; k < status->stream_count; k++) {
            if (strcmp(status->streams[k].name, consumer->stream) == 0)
                kind = status->streams[k].kind;
        }
        text_set(object, "name", consumer->name);
        text_set(object, "stream", consumer->stream);
        text_set(object, "kind", hg_config_stream_kind_text(kind));
        number_set(object, "lsn", consumer->lsn);
        text_set(object, "state", consumer->attached != 0 ? "attached" : "away");
        json_array_append_new(array, object);
    }
    return array;
}

json_t *hg_report_drops(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->drop_count; i++) {
        json_t *object = json_object();

        text_set(object, "where", status->drops[i].where);
        text_set(object, "name", status->drops[i].name);
        number_set(object, "count", status->drops[i].count);
        json_array_append_new(array, object);
    }
    return array;
}
