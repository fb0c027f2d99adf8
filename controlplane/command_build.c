/* SPDX-License-Identifier: Apache-2.0
 *
 * From parsed commands to the wanted configuration, with every cross-check.
 */
#include "controlplane/command_file.h"

#define SUBJECT_PORT   1u
#define SUBJECT_PEER   2u
#define SUBJECT_STREAM 4u
#define SUBJECT_LOG    8u

#define QUORUM_NUMBERS                                                                                       \
    "a quorum has n 1, 3 or 5 and w from n / 2 + 1 to n, so that any two of them share a node; got n %.24s " \
    "w %.24s"

static bool quorum_numbers_check(uint64_t n, uint64_t w)
{
    return (n == 1 || n == 3 || n == 5) && w > n / 2 && w <= n;
}

static const char *const stream_kinds[] = {"key-value", "postgres-logical", "postgres-physical"};

const char *hg_config_stream_kind_text(uint32_t kind)
{
    return kind >= HG_CONFIG_STREAM_KEY_VALUE && kind <= HG_CONFIG_STREAM_POSTGRES_PHYSICAL
               ? stream_kinds[kind - 1]
               : "unknown";
}

static struct hg_place place_of(const struct hg_command_file *file, const struct hg_value *value)
{
    return (struct hg_place){.line = file->line_now, .column = value == NULL ? 1 : value->column};
}

static void copy_text(char *to, size_t bytes, const struct hg_value *value)
{
    hg_assert(strlen(value->text) < bytes);
    memset(to, 0, bytes);
    memcpy(to, value->text, strlen(value->text));
}

static const struct hg_value *need(const struct hg_command *command, const char *name)
{
    const struct hg_value *value = hg_command_value(command, name);

    hg_assert(value != NULL); /* the grammar says it is required */
    return value;
}

int hg_config_port_find(const struct hg_control_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->port_count; i++) {
        if (strcmp(config->ports[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

int hg_config_peer_find(const struct hg_control_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->peer_count; i++) {
        if (strcmp(config->peers[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

int hg_config_stream_find(const struct hg_control_config *config, const char *name)
{
    for (uint32_t i = 0; i < config->stream_count; i++) {
        if (strcmp(config->streams[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

/* What is used but not defined; silent when a line that may have defined it failed. */
static void unknown(struct hg_command_file *file, const struct hg_value *value, const char *subject,
                    uint32_t flag, const char *names, size_t stride, uint32_t count)
{
    char known[256] = "";
    size_t bytes = 0;

    if ((file->failed_subjects & flag) != 0)
        return;
    for (uint32_t i = 0; i < count && bytes < sizeof(known) - 40; i++)
        bytes += (size_t)snprintf(known + bytes, sizeof(known) - bytes, "%s%s", i == 0 ? "" : ", ",
                                  names + i * stride);
    if (count == 0)
        hg_command_file_error(file, place_of(file, value),
                              "there is no %s \"%s\"; add it above with '%s add'", subject, value->text,
                              subject);
    else
        hg_command_file_error(file, place_of(file, value),
                              "expected one of %s, got \"%s\"; a %s is added above its use", known,
                              value->text, subject);
}

static bool full(struct hg_command_file *file, const struct hg_command *command, uint32_t count, uint32_t max,
                 const char *subject)
{
    if (count < max)
        return false;
    hg_command_file_error(file, place_of(file, &command->values[0]), "more than %u %s", max, subject);
    return true;
}

static void duplicate(struct hg_command_file *file, const struct hg_value *value, const char *what,
                      const char *owner)
{
    hg_command_file_error(file, place_of(file, value), "%s %s is %s's already", what, value->text, owner);
}

static void build_node(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_config_node *node = &file->config.wanted.node;

    if (file->node_line != 0) {
        hg_command_file_error(file, place_of(file, &command->values[0]), "the node is set already in line %u",
                              file->node_line);
        return;
    }
    file->node_line = file->line_now;
    copy_text(node->name, sizeof(node->name), need(command, "NAME"));
    node->node = need(command, "id")->number;
    node->region = (uint16_t)need(command, "region")->number;
    node->cluster = need(command, "cluster")->number;
}

static void build_quorum(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *n = need(command, "n"), *w = need(command, "w"),
                          *dry_run = hg_command_value(command, "dry-run");

    if (dry_run != NULL)
        hg_command_file_error(file, place_of(file, dry_run),
                              "dry-run is for helioctl, not for a file (see --check)");
    if (file->quorum_place.line != 0) {
        hg_command_file_error(file, place_of(file, n), "the quorum is set already in line %u",
                              file->quorum_place.line);
        return;
    }
    file->quorum_place = place_of(file, n);
    if (!quorum_numbers_check(n->number, w->number)) {
        hg_command_file_error(file, place_of(file, n), QUORUM_NUMBERS, n->text, w->text);
        return;
    }
    config->quorum_n = (uint16_t)n->number;
    config->quorum_w = (uint16_t)w->number;
}

/* Every member gets every stream that originates here: what none but us has can't be committed. */
static bool quorum_stream_check(const struct hg_control_config *config, const struct hg_config_stream *stream,
                                char *error, size_t error_bytes)
{
    if (stream->region == config->node.region && stream->node == 0) {
        snprintf(error, error_bytes,
                 "stream %s: which node of region %u does it originate at? Give its line 'node N'",
                 stream->name, stream->region);
        return false;
    }
    for (uint32_t i = 0; i < config->peer_count && hg_config_stream_is_ours(config, stream); i++) {
        if (config->peers[i].region != config->node.region || config->peers[i].learner != 0 ||
            (stream->peers_mask >> i & 1) != 0)
            continue;
        snprintf(error, error_bytes,
                 "stream %s does not go to %s, which is of the quorum: stream replicate %s %s ...",
                 stream->name, config->peers[i].name, stream->name, config->peers[i].name);
        return false;
    }
    return true;
}

bool hg_command_quorum_check(const struct hg_control_config *config, uint64_t n, uint64_t w, char *error,
                             size_t error_bytes)
{
    char members[HG_GRAMMAR_ERROR_BYTES / 2];
    uint32_t count = 1;
    size_t bytes = (size_t)snprintf(members, sizeof(members), "this one");

    if (!quorum_numbers_check(n, w)) {
        char n_text[24], w_text[24];

        snprintf(n_text, sizeof(n_text), "%llu", (unsigned long long)n);
        snprintf(w_text, sizeof(w_text), "%llu", (unsigned long long)w);
        snprintf(error, error_bytes, QUORUM_NUMBERS, n_text, w_text);
        return false;
    }
    for (uint32_t i = 0; i < config->peer_count; i++) {
        if (config->peers[i].region != config->node.region || config->peers[i].learner != 0)
            continue;
        count++;
        if (bytes < sizeof(members) - HG_CONTROL_NAME_BYTES - 2)
            bytes +=
                (size_t)snprintf(members + bytes, sizeof(members) - bytes, ", %s", config->peers[i].name);
    }
    if (count != n) {
        snprintf(
            error, error_bytes,
            "a quorum with n %llu needs %llu nodes of region %u, here are %u: %s; add the others as peers "
            "of that region, or give the n that there is",
            (unsigned long long)n, (unsigned long long)n, config->node.region, count, members);
        return false;
    }
    for (uint32_t i = 0; n > 1 && i < config->stream_count; i++) {
        if (!quorum_stream_check(config, &config->streams[i], error, error_bytes))
            return false;
    }
    return true;
}

/* MACs and addresses are unique over our ports and the peers: the emulated switch and the peers rely on it.
 */
static void check_unique_station(struct hg_command_file *file, const struct hg_value *mac,
                                 const struct hg_value *address)
{
    const struct hg_control_config *config = &file->config.wanted;

    for (uint32_t i = 0; i < config->port_count; i++) {
        if (mac != NULL && memcmp(config->ports[i].mac, mac->mac, sizeof(mac->mac)) == 0)
            duplicate(file, mac, "MAC", config->ports[i].name);
        if (address != NULL && hg_address_equal(&config->ports[i].network.address, &address->address))
            duplicate(file, address, "address", config->ports[i].name);
    }
    for (uint32_t i = 0; i < config->peer_count; i++) {
        if (mac != NULL && memcmp(config->peers[i].mac, mac->mac, sizeof(mac->mac)) == 0)
            duplicate(file, mac, "MAC", config->peers[i].name);
        if (address != NULL && hg_address_equal(&config->peers[i].address, &address->address))
            duplicate(file, address, "address", config->peers[i].name);
    }
}

static int devargs_build(const struct hg_port_source *source, uint32_t index, uint32_t mtu_bytes,
                         char *devargs)
{
    /* A memif buffer holds one whole frame. */
    uint64_t buffer_bytes = hg_align_up(mtu_bytes + 64, 2048);
    int n = 0;

    switch (source->kind) {
    case HG_PORT_MEMIF:
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES,
                     "net_memif%u,role=%s,id=%u,socket=%s,socket-abstract=no,bsize=%u,rsize=10", index,
                     source->memif_listens ? "server" : "client", source->memif_id, source->target,
                     (uint32_t)buffer_bytes);
        break;
    case HG_PORT_PCI:
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES, "%s", source->target);
        break;
    case HG_PORT_AF_PACKET:
        /* A frame of its ring holds one of ours, its block four of them in whole pages. */
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES, "net_af_packet%u,iface=%s%s", index, source->target,
                     mtu_bytes <= 1500 ? "" : ",framesz=9216,blocksz=36864");
        break;
    case HG_PORT_TAP:
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES, "net_tap%u,iface=%s", index, source->target);
        break;
    case HG_PORT_AF_XDP:
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES, "net_af_xdp%u,iface=%s", index, source->target);
        break;
    case HG_PORT_PCAP:
        n = snprintf(devargs, HG_CONTROL_PATH_BYTES, "net_pcap%u,tx_pcap=%s", index, source->target);
        break;
    }
    return n < HG_CONTROL_PATH_BYTES ? 0 : -1;
}

static void gateway_take(struct hg_command_file *file, struct hg_network *network,
                         const struct hg_value *gateway)
{
    const struct hg_address *to = &gateway->address;
    bool on_link = hg_address_in_prefix(to, &network->address, network->prefix_bits) ||
                   (hg_address_is_link_local(to) && network->address.family == to->family);

    if (!hg_address_is_set(&network->address))
        hg_command_file_error(file, place_of(file, gateway),
                              "a gateway needs an address: address ADDRESS/LEN");
    else if (!on_link || hg_address_equal(to, &network->address))
        hg_command_file_error(file, place_of(file, gateway),
                              "the gateway %s is no other station of the port's own link", gateway->text);
    network->gateway = *to;
}

static void build_port(struct hg_command_file *file, const struct hg_command *command, enum hg_port_kind kind,
                       const char *target_name)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME"), *target = need(command, target_name);
    const struct hg_value *mac = hg_command_value(command, "mac"), *mtu = hg_command_value(command, "mtu");
    const struct hg_value *address = hg_command_value(command, "address"),
                          *gateway = hg_command_value(command, "gateway"),
                          *vlan = hg_command_value(command, "vlan"), *id = hg_command_value(command, "id");
    uint32_t index = config->port_count;
    struct hg_config_port port = {.mtu_bytes = mtu == NULL ? 1500 : (uint16_t)mtu->number};
    struct hg_port_source source = {.kind = kind, .memif_id = id == NULL ? 0 : (uint32_t)id->number};

    source.memif_listens = hg_command_value(command, "listen") != NULL;
    if (full(file, command, index, HG_CONTROL_PORTS_MAX, "ports"))
        return;
    if (hg_config_port_find(config, name->text) >= 0)
        duplicate(file, name, "port", "another line");
    check_unique_station(file, mac, address);
    for (uint32_t i = 0; i < index; i++) {
        const struct hg_port_source *other = &file->config.ports[i];

        if (other->kind == kind && other->memif_id == source.memif_id &&
            strcmp(other->target, target->text) == 0)
            duplicate(file, target, kind == HG_PORT_MEMIF ? "this id at socket" : "device",
                      config->ports[i].name);
    }
    copy_text(port.name, sizeof(port.name), name);
    copy_text(source.target, sizeof(source.target), target);
    source.place = place_of(file, target);
    if (mac != NULL)
        memcpy(port.mac, mac->mac, sizeof(port.mac));
    if (address != NULL) {
        port.network.address = address->address;
        port.network.prefix_bits = address->prefix_bits;
    }
    if (gateway != NULL)
        gateway_take(file, &port.network, gateway);
    if (vlan != NULL)
        port.network.vlan = (uint16_t)vlan->number;
    if (devargs_build(&source, index, port.mtu_bytes, port.devargs) < 0)
        hg_command_file_error(file, source.place, "%s is too long for a device's arguments", target->text);
    config->ports[index] = port;
    file->config.ports[index] = source;
    config->port_count++;
}

static bool within(const struct hg_value *value, uint64_t least, uint64_t most)
{
    return value == NULL || (value->number >= least && value->number <= most);
}

/* Returns the value that is out of range, and then changes nothing. */
static const struct hg_value *rekey_change(struct hg_config_peer *peer, const struct hg_command *command)
{
    const struct hg_value *packets = hg_command_value(command, "rekey-packets"),
                          *bytes = hg_command_value(command, "rekey-bytes"),
                          *seconds = hg_command_value(command, "rekey-seconds");

    if (!within(packets, HG_CONTROL_REKEY_PACKETS_MIN, HG_CONTROL_REKEY_PACKETS_MAX))
        return packets;
    if (!within(bytes, HG_CONTROL_REKEY_BYTES_MIN, HG_CONTROL_REKEY_BYTES_MAX))
        return bytes;
    if (!within(seconds, HG_CONTROL_REKEY_SECONDS_MIN, HG_CONTROL_REKEY_SECONDS_MAX))
        return seconds;
    peer->rekey_packets = packets != NULL ? packets->number : peer->rekey_packets;
    peer->rekey_bytes = bytes != NULL ? bytes->number : peer->rekey_bytes;
    peer->rekey_seconds = seconds != NULL ? seconds->number : peer->rekey_seconds;
    return NULL;
}

/* Whether packets have somewhere to go: on the link, behind the gateway, or to a MAC that is given. */
static bool is_routed(const struct hg_network *network, const struct hg_address *to)
{
    return hg_address_is_set(&network->gateway) || hg_address_is_link_local(to) ||
           hg_address_in_prefix(to, &network->address, network->prefix_bits);
}

static void check_reachable(struct hg_command_file *file, const struct hg_config_port *port,
                            const struct hg_value *port_name, const struct hg_value *address,
                            const struct hg_value *mac)
{
    if (!hg_address_is_set(&port->network.address))
        hg_command_file_error(file, place_of(file, port_name),
                              "port %s has no address; give it one: address ADDRESS/LEN", port->name);
    else if (port->network.address.family != address->address.family)
        hg_command_file_error(file, place_of(file, address),
                              "%s is IPv%u, the address of port %s is IPv%u: both must be of one kind",
                              address->text, address->address.family, port->name,
                              port->network.address.family);
    else if (mac == NULL && !is_routed(&port->network, &address->address))
        hg_command_file_error(file, place_of(file, address),
                              "%s is not on the link of port %s: give the port a gateway, or the peer a mac",
                              address->text, port->name);
}

static uint32_t fec_of(const struct hg_value *fec)
{
    return fec->number > HG_CONFIG_FEC_PARITIES_MAX ? HG_CONFIG_FEC_AUTO : (uint32_t)fec->number;
}

static void build_peer(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME"), *node = need(command, "node"),
                          *port = need(command, "port");
    const struct hg_value *mac = hg_command_value(command, "mac"), *address = need(command, "address");
    const struct hg_value *rate = hg_command_value(command, "rate"),
                          *credit = hg_command_value(command, "credit"),
                          *congestion = hg_command_value(command, "congestion"),
                          *fec = hg_command_value(command, "fec"), *ecn = hg_command_value(command, "ecn");
    struct hg_config_peer peer = {.node = node->number, .address = address->address};
    int port_index = hg_config_port_find(config, port->text);

    if (full(file, command, config->peer_count, HG_CONTROL_PEERS_MAX, "peers"))
        return;
    if (hg_config_peer_find(config, name->text) >= 0)
        duplicate(file, name, "peer", "another line");
    if (config->node.node == node->number)
        duplicate(file, node, "node", config->node.name);
    for (uint32_t i = 0; i < config->peer_count; i++) {
        if (config->peers[i].node == node->number)
            duplicate(file, node, "node", config->peers[i].name);
    }
    check_unique_station(file, mac, address);
    if (port_index < 0)
        unknown(file, port, "port", SUBJECT_PORT, config->ports[0].name, sizeof(config->ports[0]),
                config->port_count);
    else
        check_reachable(file, &config->ports[port_index], port, address, mac);
    if (credit != NULL && credit->number < HG_PEER_CREDIT_BYTES_MIN)
        hg_command_file_error(file, place_of(file, credit), "a credit is 1m or more, got \"%s\"",
                              credit->text);
    copy_text(peer.name, sizeof(peer.name), name);
    copy_text(peer.port, sizeof(peer.port), port);
    copy_text(peer.psk_path, sizeof(peer.psk_path), need(command, "key"));
    if (mac != NULL)
        memcpy(peer.mac, mac->mac, sizeof(peer.mac));
    peer.region = (uint16_t)need(command, "region")->number;
    peer.rate_bytes_per_s = rate == NULL ? 0 : rate->number / 8;
    peer.congestion = rate == NULL ? HG_CONFIG_CONGESTION_BBR : HG_CONFIG_CONGESTION_FIXED;
    if (congestion != NULL)
        peer.congestion = (uint32_t)congestion->number;
    if (peer.congestion == HG_CONFIG_CONGESTION_FIXED && rate == NULL)
        peer.rate_bytes_per_s = HG_RATE_DEFAULT_BYTES_PER_S;
    peer.fec = fec == NULL ? HG_CONFIG_FEC_AUTO : fec_of(fec);
    peer.ecn = ecn == NULL ? HG_CONFIG_ECN_ON : (uint32_t)ecn->number;
    peer.receive_bytes_max = credit == NULL ? 0 : credit->number;
    peer.learner = hg_command_value(command, "learner") != NULL;
    const struct hg_value *refused = rekey_change(&peer, command);
    if (refused != NULL)
        hg_command_file_error(file, place_of(file, refused), HG_COMMAND_REKEY_RANGE, refused->text);
    (void)hg_command_limit_change(command, "drop-behind", &peer.drop_behind_bytes, &peer.drop_behind_seconds);
    file->key_places[config->peer_count] = place_of(file, need(command, "key"));
    config->peers[config->peer_count++] = peer;
}

static void build_log(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *id = need(command, "ID"), *path = need(command, "path");
    const struct hg_value *memory = hg_command_value(command, "memory");
    const struct hg_value *scrub = hg_command_value(command, "scrub");
    const struct hg_value *flush = hg_command_value(command, "flush");
    struct hg_config_log log = {.id = (uint32_t)id->number,
                                .scrub_mbytes_per_s = scrub == NULL        ? 0
                                                      : scrub->number == 0 ? HG_CONFIG_SCRUB_OFF
                                                                           : (uint32_t)scrub->number,
                                .arena_bytes = memory == NULL ? 0 : memory->number,
                                .flush = flush == NULL ? HG_CONFIG_FLUSH_AUTO : (uint32_t)flush->number};

    if (full(file, command, config->log_count, HG_CONTROL_LOGS_MAX, "logs"))
        return;
    for (uint32_t i = 0; i < config->log_count; i++) {
        if (config->logs[i].id == log.id)
            hg_command_file_error(file, place_of(file, id), "log %u is added already", log.id);
        if (strcmp(config->logs[i].path, path->text) == 0)
            hg_command_file_error(file, place_of(file, path), "%s is log %u's already", path->text,
                                  config->logs[i].id);
    }
    if (memory != NULL && memory->number < HG_LOG_MEMORY_BYTES_MIN)
        hg_command_file_error(file, place_of(file, memory), "a log's memory is 8m or more, got \"%s\"",
                              memory->text);
    if (scrub != NULL && scrub->number > HG_CONFIG_SCRUB_MBYTES_MAX)
        hg_command_file_error(file, place_of(file, scrub), "scrub is 0 to %u MB/s, got \"%s\"",
                              HG_CONFIG_SCRUB_MBYTES_MAX, scrub->text);
    copy_text(log.path, sizeof(log.path), path);
    (void)hg_command_limit_change(command, "retain", &log.retain_bytes, &log.retain_seconds);
    file->log_places[config->log_count] = place_of(file, path);
    config->logs[config->log_count++] = log;
}

static void stream_node_take(struct hg_command_file *file, struct hg_config_stream *stream,
                             const struct hg_value *node)
{
    const struct hg_control_config *config = &file->config.wanted;
    bool known = config->node.node == node->number, right = known && config->node.region == stream->region;

    stream->node = node->number;
    for (uint32_t i = 0; i < config->peer_count && !known; i++) {
        known = config->peers[i].node == node->number;
        right = known && config->peers[i].region == stream->region;
    }
    bool named =
        known || stream->region == config->node.region; /* other regions may have nodes that are no peers */
    if (named && !right && file->node_line != 0 && (file->failed_subjects & SUBJECT_PEER) == 0)
        hg_command_file_error(
            file, place_of(file, node),
            "stream %s originates in region %u, and no node %s of it is here; set or add it above",
            stream->name, stream->region, node->text);
}

static void build_stream(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME"), *id = need(command, "id");
    const struct hg_value *group = hg_command_value(command, "group");
    const struct hg_value *compression = hg_command_value(command, "compression");
    const struct hg_value *worker = hg_command_value(command, "worker"),
                          *node = hg_command_value(command, "node");
    struct hg_config_stream stream = {.stream = id->number, .epoch = 1};

    if (full(file, command, config->stream_count, HG_CONTROL_STREAMS_MAX, "streams"))
        return;
    for (uint32_t i = 0; i < config->stream_count; i++) {
        if (strcmp(config->streams[i].name, name->text) == 0)
            duplicate(file, name, "stream", "another line");
        if (config->streams[i].stream == id->number)
            duplicate(file, id, "id", config->streams[i].name);
    }
    if (config->log_count == 0 && (file->failed_subjects & SUBJECT_LOG) == 0)
        hg_command_file_error(file, place_of(file, name),
                              "a stream needs a log; add one above with 'log add'");
    copy_text(stream.name, sizeof(stream.name), name);
    stream.kind = (uint16_t)(need(command, "kind")->number + HG_CONFIG_STREAM_KEY_VALUE);
    stream.region = (uint16_t)need(command, "region")->number;
    stream.group = group == NULL ? 0 : (uint32_t)group->number;
    if (node != NULL)
        stream_node_take(file, &stream, node);
    if (worker != NULL && worker->number >= config->log_count)
        hg_command_file_error(file, place_of(file, worker),
                              "there is no worker %s: each log above has one, numbered like it",
                              worker->text);
    stream.place = worker == NULL ? 0 : (uint32_t)worker->number + 1;
    /* choices are "lz4|off" */
    stream.compression = compression == NULL || compression->number == 0 ? HG_CONFIG_COMPRESSION_LZ4
                                                                         : HG_CONFIG_COMPRESSION_OFF;
    (void)hg_command_limit_change(command, "retain", &stream.retain_bytes, &stream.retain_seconds);
    config->streams[config->stream_count++] = stream;
}

static void build_replicate(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME");
    int index = hg_config_stream_find(config, name->text);
    struct hg_config_stream *stream;

    if (index < 0) {
        unknown(file, name, "stream", SUBJECT_STREAM, config->streams[0].name, sizeof(config->streams[0]),
                config->stream_count);
        return;
    }
    stream = &config->streams[index];
    if (file->node_line != 0 && stream->region != config->node.region)
        hg_command_file_error(
            file, place_of(file, name),
            "stream %s originates in region %u, this node is in region %u; its origin replicates it",
            name->text, stream->region, config->node.region);
    for (uint32_t i = 1; i < command->value_count; i++) {
        const struct hg_value *value = &command->values[i];
        int peer = hg_config_peer_find(config, value->text);

        if (peer < 0)
            unknown(file, value, "peer", SUBJECT_PEER, config->peers[0].name, sizeof(config->peers[0]),
                    config->peer_count);
        else if ((stream->peers_mask >> peer & 1) != 0)
            hg_command_file_error(file, place_of(file, value), "peer %s gets stream %s already", value->text,
                                  name->text);
        else if (__builtin_popcountll(stream->peers_mask) == HG_STATUS_STREAM_PEERS_MAX)
            hg_command_file_error(file, place_of(file, value), "a stream goes to at most %u peers",
                                  HG_STATUS_STREAM_PEERS_MAX);
        else
            stream->peers_mask |= UINT64_C(1) << peer;
    }
}

static void build_consumer(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME"), *stream = need(command, "stream");
    struct hg_config_consumer consumer = {{0}};

    if (full(file, command, config->consumer_count, HG_CONTROL_CONSUMERS_MAX, "consumers"))
        return;
    for (uint32_t i = 0; i < config->consumer_count; i++) {
        if (strcmp(config->consumers[i].name, name->text) == 0)
            duplicate(file, name, "consumer", "another line");
    }
    if (hg_config_stream_find(config, stream->text) < 0)
        unknown(file, stream, "stream", SUBJECT_STREAM, config->streams[0].name, sizeof(config->streams[0]),
                config->stream_count);
    copy_text(consumer.name, sizeof(consumer.name), name);
    copy_text(consumer.stream, sizeof(consumer.stream), stream);
    (void)hg_command_limit_change(command, "drop-behind", &consumer.drop_behind_bytes,
                                  &consumer.drop_behind_seconds);
    config->consumers[config->consumer_count++] = consumer;
}

static void build_metastore(struct hg_command_file *file, const struct hg_command *command)
{
    const struct hg_value *path = need(command, "PATH");

    if (file->config.metastore_path[0] != '\0')
        hg_command_file_error(file, place_of(file, path), "the metastore is %s already",
                              file->config.metastore_path);
    copy_text(file->config.metastore_path, sizeof(file->config.metastore_path), path);
}

static void build_grant(struct hg_command_file *file, const struct hg_command *command)
{
    const struct hg_value *length = need(command, "MS");

    if (file->grant_place.line != 0) {
        hg_command_file_error(file, place_of(file, length), "grants are set already in line %u",
                              file->grant_place.line);
        return;
    }
    file->grant_place = place_of(file, length);
    if (!within(length, HG_CONTROL_GRANT_MS_MIN, HG_CONTROL_GRANT_MS_MAX))
        hg_command_file_error(
            file, file->grant_place,
            "a write grant lasts %u to %u milliseconds, got \"%s\"; without the line none is needed",
            (unsigned)HG_CONTROL_GRANT_MS_MIN, (unsigned)HG_CONTROL_GRANT_MS_MAX, length->text);
    file->config.wanted.grant_ms = (uint32_t)length->number;
}

static void build_set_peer(struct hg_command_file *file, const struct hg_command *command)
{
    struct hg_control_config *config = &file->config.wanted;
    const struct hg_value *name = need(command, "NAME"), *dry_run = hg_command_value(command, "dry-run");
    int peer = hg_config_peer_find(config, name->text);

    if (dry_run != NULL)
        hg_command_file_error(file, place_of(file, dry_run),
                              "dry-run is for helioctl, not for a file (see --check)");
    if (peer < 0)
        unknown(file, name, "peer", SUBJECT_PEER, config->peers[0].name, sizeof(config->peers[0]),
                config->peer_count);
    else {
        char error[HG_GRAMMAR_ERROR_BYTES];
        if (!hg_command_peer_change(&config->peers[peer], command, error, sizeof(error)))
            hg_command_file_error(file, place_of(file, name), "%s", error);
    }
}

static void build_set_limit(struct hg_command_file *file, const struct hg_command *command)
{
    const struct hg_value *dry_run = hg_command_value(command, "dry-run");
    struct hg_command_limit limit;
    char error[HG_GRAMMAR_ERROR_BYTES];

    if (dry_run != NULL)
        hg_command_file_error(file, place_of(file, dry_run),
                              "dry-run is for helioctl, not for a file (see --check)");
    if (!hg_command_limit_find(&file->config.wanted, command, &limit, error, sizeof(error)))
        hg_command_file_error(file, place_of(file, &command->values[0]), "%s", error);
    else if (!hg_command_limit_change(command, limit.keyword, limit.bytes, limit.seconds))
        hg_command_file_error(file, place_of(file, &command->values[0]), "expected %s-bytes or %s-seconds",
                              limit.keyword, limit.keyword);
}

bool hg_command_peer_change(struct hg_config_peer *peer, const struct hg_command *command, char *error,
                            size_t error_bytes)
{
    const struct hg_value *name = need(command, "NAME"), *refused;
    const struct hg_value *rate = hg_command_value(command, "rate"),
                          *congestion = hg_command_value(command, "congestion"),
                          *fec = hg_command_value(command, "fec"), *ecn = hg_command_value(command, "ecn");

    bool rekey = hg_command_value(command, "rekey-packets") != NULL ||
                 hg_command_value(command, "rekey-bytes") != NULL ||
                 hg_command_value(command, "rekey-seconds") != NULL;
    bool limit = hg_command_value(command, "drop-behind-bytes") != NULL ||
                 hg_command_value(command, "drop-behind-seconds") != NULL;
    if (rate == NULL && congestion == NULL && fec == NULL && ecn == NULL && !rekey && !limit) {
        snprintf(error, error_bytes,
                 "expected rate, congestion, fec, ecn, rekey-... or drop-behind-... after \"%s\"",
                 name->text);
        return false;
    }
    refused = rekey_change(peer, command);
    if (refused != NULL) {
        snprintf(error, error_bytes, HG_COMMAND_REKEY_RANGE, refused->text);
        return false;
    }
    (void)hg_command_limit_change(command, "drop-behind", &peer->drop_behind_bytes,
                                  &peer->drop_behind_seconds);
    if (fec != NULL)
        peer->fec = fec_of(fec);
    if (ecn != NULL)
        peer->ecn = (uint32_t)ecn->number;
    if (rate != NULL)
        peer->rate_bytes_per_s = rate->number / 8;
    if (congestion != NULL)
        peer->congestion = (uint32_t)congestion->number;
    if (peer->congestion == HG_CONFIG_CONGESTION_FIXED && peer->rate_bytes_per_s == 0)
        peer->rate_bytes_per_s = HG_RATE_DEFAULT_BYTES_PER_S;
    return true;
}

const char *hg_config_congestion_text(uint32_t congestion)
{
    static const char *const names[] = {"fixed", "cubic", "bbr"};

    return congestion < HG_COUNT(names) ? names[congestion] : "unknown";
}

const char *hg_config_fec_text(uint32_t fec)
{
    static const char *const names[] = {"off", "1", "2", "3", "4", "5", "6", "7", "8"};

    return fec == HG_CONFIG_FEC_AUTO ? "auto" : fec < HG_COUNT(names) ? names[fec] : "unknown";
}

const char *hg_config_ecn_text(uint32_t ecn)
{
    static const char *const names[] = {"off", "on"};

    return ecn < HG_COUNT(names) ? names[ecn] : "unknown";
}

static void build_set(struct hg_command_file *file, const struct hg_command *command)
{
    if (command->grammar->id == HG_CMD_SET_PEER)
        build_set_peer(file, command);
    else
        build_set_limit(file, command);
}

void hg_command_build(struct hg_command_file *file, const struct hg_command *command)
{
    switch (command->grammar->id) {
    case HG_CMD_NODE_SET:
        build_node(file, command);
        break;
    case HG_CMD_QUORUM_SET:
        build_quorum(file, command);
        break;
    case HG_CMD_PORT_ADD_MEMIF:
        build_port(file, command, HG_PORT_MEMIF, "socket");
        break;
    case HG_CMD_PORT_ADD_PCI:
        build_port(file, command, HG_PORT_PCI, "PCI-ADDRESS");
        break;
    case HG_CMD_PORT_ADD_AF_PACKET:
        build_port(file, command, HG_PORT_AF_PACKET, "INTERFACE");
        break;
    case HG_CMD_PORT_ADD_TAP:
        build_port(file, command, HG_PORT_TAP, "INTERFACE");
        break;
    case HG_CMD_PORT_ADD_AF_XDP:
        build_port(file, command, HG_PORT_AF_XDP, "INTERFACE");
        break;
    case HG_CMD_PORT_ADD_PCAP:
        build_port(file, command, HG_PORT_PCAP, "FILE");
        break;
    case HG_CMD_PEER_ADD:
        build_peer(file, command);
        break;
    case HG_CMD_LOG_ADD:
        build_log(file, command);
        break;
    case HG_CMD_STREAM_ADD:
        build_stream(file, command);
        break;
    case HG_CMD_STREAM_REPLICATE:
        build_replicate(file, command);
        break;
    case HG_CMD_CONSUMER_ADD:
        build_consumer(file, command);
        break;
    case HG_CMD_METASTORE_FILE:
        build_metastore(file, command);
        break;
    case HG_CMD_GRANT:
        build_grant(file, command);
        break;
    case HG_CMD_SET_PEER:
    case HG_CMD_SET_LOG:
    case HG_CMD_SET_STREAM:
    case HG_CMD_SET_CONSUMER:
        build_set(file, command);
        break;
    default:
        hg_assert(false); /* not of a file's context */
    }
}
