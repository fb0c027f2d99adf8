/* SPDX-License-Identifier: Apache-2.0
 *
 * Bounds of the two state pages: what every reader may rely on after it copied one.
 */
#include "drivers/ipc/control_ring.h"

#define ENDED(array)               (memchr((array), '\0', sizeof(array)) != NULL)
#define WITHIN(page, count, array) ((page)->count <= HG_COUNT((page)->array))

static bool family_known(const struct hg_address *address)
{
    return !hg_address_is_set(address) || hg_address_bits(address) != 0;
}

static const char *config_items(const struct hg_control_config *config)
{
    for (uint32_t i = 0; i < config->port_count; i++) {
        if (!ENDED(config->ports[i].name) || !ENDED(config->ports[i].devargs))
            return "ports";
        const struct hg_network *network = &config->ports[i].network;
        if (!family_known(&network->address) || !family_known(&network->gateway))
            return "ports.network";
        if (network->prefix_bits > hg_address_bits(&network->address))
            return "ports.network.prefix_bits";
        if (network->vlan > HG_VLAN_MAX)
            return "ports.network.vlan";
    }
    for (uint32_t i = 0; i < config->peer_count; i++) {
        const struct hg_config_peer *peer = &config->peers[i];

        if (!ENDED(peer->name) || !ENDED(peer->port) || !ENDED(peer->psk_path))
            return "peers";
        if (!family_known(&peer->address))
            return "peers.address";
    }
    for (uint32_t i = 0; i < config->log_count; i++) {
        if (!ENDED(config->logs[i].path))
            return "logs";
    }
    for (uint32_t i = 0; i < config->stream_count; i++) {
        if (!ENDED(config->streams[i].name))
            return "streams";
        if ((config->streams[i].peers_mask >> 1) >> (config->peer_count == 0 ? 0 : config->peer_count - 1) !=
                0 ||
            (config->peer_count == 0 && config->streams[i].peers_mask != 0))
            return "streams.peers_mask";
    }
    for (uint32_t i = 0; i < config->consumer_count; i++) {
        if (!ENDED(config->consumers[i].name) || !ENDED(config->consumers[i].stream))
            return "consumers";
    }
    return NULL;
}

const char *hg_control_config_bounds(const struct hg_control_config *config)
{
    if (!ENDED(config->node.name))
        return "node.name";
    if (!WITHIN(config, port_count, ports))
        return "port_count";
    if (!WITHIN(config, peer_count, peers))
        return "peer_count";
    if (!WITHIN(config, log_count, logs))
        return "log_count";
    if (!WITHIN(config, stream_count, streams))
        return "stream_count";
    if (!WITHIN(config, consumer_count, consumers))
        return "consumer_count";
    return config_items(config);
}

static const char *status_streams(const struct hg_control_status *status)
{
    for (uint32_t i = 0; i < status->stream_count; i++) {
        const struct hg_status_stream *stream = &status->streams[i];

        if (!ENDED(stream->name))
            return "streams.name";
        if (stream->peer_count > HG_STATUS_STREAM_PEERS_MAX)
            return "streams.peer_count";
        if (stream->epoch_count > HG_EPOCH_STARTS_MAX)
            return "streams.epoch_count";
        for (uint32_t k = 0; k < stream->peer_count; k++) {
            if (stream->peers[k].peer >= status->peer_count)
                return "streams.peers.peer";
        }
    }
    return NULL;
}

static const char *status_items(const struct hg_control_status *status)
{
    for (uint32_t i = 0; i < status->lane_count; i++) {
        if (status->lanes[i].peer >= status->peer_count)
            return "lanes.peer";
    }
    for (uint32_t i = 0; i < status->port_count; i++) {
        const struct hg_status_port *port = &status->ports[i];

        if (!ENDED(port->name) || !ENDED(port->driver) || !ENDED(port->problem))
            return "ports";
    }
    for (uint32_t i = 0; i < status->peer_count; i++) {
        if (!ENDED(status->peers[i].name) || !ENDED(status->peers[i].problem))
            return "peers";
    }
    for (uint32_t i = 0; i < status->log_count; i++) {
        const struct hg_status_log *log = &status->logs[i];

        if (!ENDED(log->path) || !ENDED(log->message))
            return "logs";
        if (!WITHIN(log, holder_count, holders))
            return "logs.holder_count";
        for (uint32_t k = 0; k < log->holder_count; k++) {
            if (!ENDED(log->holders[k].name) || !ENDED(log->holders[k].stream))
                return "logs.holders";
        }
    }
    for (uint32_t i = 0; i < status->client_count; i++) {
        if (!ENDED(status->clients[i].name))
            return "clients";
    }
    for (uint32_t i = 0; i < status->consumer_count; i++) {
        if (!ENDED(status->consumers[i].name) || !ENDED(status->consumers[i].stream))
            return "consumers";
    }
    for (uint32_t i = 0; i < status->drop_count; i++) {
        if (!ENDED(status->drops[i].where) || !ENDED(status->drops[i].name))
            return "drops";
    }
    return status_streams(status);
}

const char *hg_control_status_bounds(const struct hg_control_status *status)
{
    if (!WITHIN(status, port_count, ports))
        return "port_count";
    if (!WITHIN(status, peer_count, peers))
        return "peer_count";
    if (!WITHIN(status, log_count, logs))
        return "log_count";
    if (!WITHIN(status, worker_count, workers))
        return "worker_count";
    if (!WITHIN(status, lane_count, lanes))
        return "lane_count";
    if (!WITHIN(status, stream_count, streams))
        return "stream_count";
    if (!WITHIN(status, group_count, groups))
        return "group_count";
    if (!WITHIN(status, client_count, clients))
        return "client_count";
    if (!WITHIN(status, consumer_count, consumers))
        return "consumer_count";
    if (!WITHIN(status, drop_count, drops))
        return "drop_count";
    return status_items(status);
}
