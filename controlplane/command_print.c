/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration as a command file: parsed again it gives the same configuration.
 */
#include "controlplane/command_file.h"
#include "controlplane/grammar_value.h"

static void mac_print(FILE *out, const uint8_t mac[6])
{
    fprintf(out, " mac %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static void address_print(FILE *out, const char *keyword, const struct hg_address *address)
{
    char text[HG_ADDRESS_TEXT_BYTES];

    fprintf(out, " %s %s", keyword, hg_address_text(address, text));
}

static void number_print(FILE *out, const char *keyword, uint64_t number, uint64_t base)
{
    char text[32];

    hg_grammar_number_format(number, base, text, sizeof(text));
    fprintf(out, " %s %s", keyword, text);
}

static void word_print(FILE *out, const char *keyword, const char *word)
{
    fprintf(out, " %s ", keyword);
    hg_grammar_word_print(out, word);
}

static void port_print(FILE *out, const struct hg_config_port *port, const struct hg_port_source *source)
{
    static const uint8_t none[6];
    static const char *const kinds[] = {"memif", "pci", "af_packet", "tap", "af_xdp", "pcap"};

    fprintf(out, "port add %s %s", port->name, kinds[source->kind]);
    if (source->kind == HG_PORT_MEMIF) {
        word_print(out, "socket", source->target);
        fprintf(out, " id %u", source->memif_id);
    } else {
        fprintf(out, " ");
        hg_grammar_word_print(out, source->target);
    }
    if (memcmp(port->mac, none, sizeof(none)) != 0)
        mac_print(out, port->mac);
    if (hg_address_is_set(&port->network.address)) {
        address_print(out, "address", &port->network.address);
        fprintf(out, "/%u", port->network.prefix_bits);
    }
    if (hg_address_is_set(&port->network.gateway))
        address_print(out, "gateway", &port->network.gateway);
    if (port->network.vlan != 0)
        fprintf(out, " vlan %u", port->network.vlan);
    fprintf(out, " mtu %u%s\n", port->mtu_bytes, source->memif_listens ? " listen" : "");
}

static void peer_print(FILE *out, const struct hg_config_peer *peer)
{
    static const uint8_t none[6];

    fprintf(out, "peer add %s node %llu region %u", peer->name, (unsigned long long)peer->node, peer->region);
    address_print(out, "address", &peer->address);
    if (memcmp(peer->mac, none, sizeof(none)) != 0)
        mac_print(out, peer->mac);
    fprintf(out, " port %s", peer->port);
    word_print(out, "key", peer->psk_path);
    if (peer->rate_bytes_per_s != 0)
        number_print(out, "rate", peer->rate_bytes_per_s * 8, 1000);
    fprintf(out, " congestion %s", hg_config_congestion_text(peer->congestion));
    if (peer->fec != HG_CONFIG_FEC_AUTO)
        fprintf(out, " fec %s", hg_config_fec_text(peer->fec));
    if (peer->ecn != HG_CONFIG_ECN_ON)
        fprintf(out, " ecn %s", hg_config_ecn_text(peer->ecn));
    if (peer->receive_bytes_max != 0)
        number_print(out, "credit", peer->receive_bytes_max, 1024);
    if (peer->learner != 0)
        fprintf(out, " learner");
    if (peer->rekey_packets != 0)
        fprintf(out, " rekey-packets %llu", (unsigned long long)peer->rekey_packets);
    if (peer->rekey_bytes != 0)
        number_print(out, "rekey-bytes", peer->rekey_bytes, 1024);
    if (peer->rekey_seconds != 0)
        fprintf(out, " rekey-seconds %llu", (unsigned long long)peer->rekey_seconds);
    hg_command_limit_print(out, "drop-behind", peer->drop_behind_bytes, peer->drop_behind_seconds);
    fprintf(out, "\n");
}

static void stream_print(FILE *out, const struct hg_control_config *config,
                         const struct hg_config_stream *stream)
{
    fprintf(out, "stream add %s id %llu kind %s region %u group %u compression %s", stream->name,
            (unsigned long long)stream->stream, hg_config_stream_kind_text(stream->kind), stream->region,
            stream->group, stream->compression == HG_CONFIG_COMPRESSION_LZ4 ? "lz4" : "off");
    if (stream->node != 0)
        fprintf(out, " node %llu", (unsigned long long)stream->node);
    if (stream->place != 0)
        fprintf(out, " worker %u", stream->place - 1);
    hg_command_limit_print(out, "retain", stream->retain_bytes, stream->retain_seconds);
    fprintf(out, "\n");
    if (stream->peers_mask == 0)
        return;
    fprintf(out, "stream replicate %s", stream->name);
    for (uint32_t i = 0; i < config->peer_count; i++) {
        if ((stream->peers_mask >> i & 1) != 0)
            fprintf(out, " %s", config->peers[i].name);
    }
    fprintf(out, "\n");
}

void hg_command_config_print(const struct hg_command_config *config, FILE *out)
{
    const struct hg_control_config *wanted = &config->wanted;

    fprintf(out, "node set %s id %llu region %u cluster %llu\n", wanted->node.name,
            (unsigned long long)wanted->node.node, wanted->node.region,
            (unsigned long long)wanted->node.cluster);
    if (wanted->quorum_n != 0)
        fprintf(out, "quorum set n %u w %u\n", wanted->quorum_n, wanted->quorum_w);
    for (uint32_t i = 0; i < wanted->port_count; i++)
        port_print(out, &wanted->ports[i], &config->ports[i]);
    for (uint32_t i = 0; i < wanted->peer_count; i++)
        peer_print(out, &wanted->peers[i]);
    for (uint32_t i = 0; i < wanted->log_count; i++) {
        fprintf(out, "log add %u", wanted->logs[i].id);
        word_print(out, "path", wanted->logs[i].path);
        if (wanted->logs[i].arena_bytes != 0)
            number_print(out, "memory", wanted->logs[i].arena_bytes, 1024);
        if (wanted->logs[i].scrub_mbytes_per_s != 0)
            fprintf(out, " scrub %u",
                    wanted->logs[i].scrub_mbytes_per_s == HG_CONFIG_SCRUB_OFF
                        ? 0
                        : wanted->logs[i].scrub_mbytes_per_s);
        if (wanted->logs[i].flush != HG_CONFIG_FLUSH_AUTO)
            fprintf(out, " flush %s", wanted->logs[i].flush == HG_CONFIG_FLUSH_GROUP ? "group" : "dsync");
        hg_command_limit_print(out, "retain", wanted->logs[i].retain_bytes, wanted->logs[i].retain_seconds);
        fprintf(out, "\n");
    }
    for (uint32_t i = 0; i < wanted->stream_count; i++)
        stream_print(out, wanted, &wanted->streams[i]);
    for (uint32_t i = 0; i < wanted->consumer_count; i++) {
        const struct hg_config_consumer *consumer = &wanted->consumers[i];

        fprintf(out, "consumer add %s stream %s", consumer->name, consumer->stream);
        hg_command_limit_print(out, "drop-behind", consumer->drop_behind_bytes,
                               consumer->drop_behind_seconds);
        fprintf(out, "\n");
    }
    if (config->metastore_path[0] != '\0') {
        fprintf(out, "metastore");
        word_print(out, "file", config->metastore_path);
        fprintf(out, "\n");
    }
    if (wanted->grant_ms != 0)
        fprintf(out, "grant %u\n", wanted->grant_ms);
}
