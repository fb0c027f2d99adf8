/* SPDX-License-Identifier: Apache-2.0
 *
 * The pre-shared keys of peers: read when a configuration is applied and when their file changes, wiped when
 * their peer is gone.
 */
#include "dataplane/housekeeping.h"
#include "drivers/psk/psk.h"

#include <openssl/crypto.h>

/* The worker numbers peers in the order in which it first hears of them; so do we. */
static int32_t peer_number(struct hg_housekeeping *hk, uint64_t node)
{
    for (uint32_t i = 0; i < hk->peer_count; i++)
        if (hk->peer_nodes[i] == node)
            return (int32_t)i;
    if (hk->peer_count == HG_CONTROL_PEERS_MAX)
        return -1;
    hk->peer_nodes[hk->peer_count] = node;
    return (int32_t)hk->peer_count++;
}

/* Reads the file. A key that can't be read leaves things as they are: it may be just being written. */
static bool key_read(struct hg_housekeeping *hk, uint32_t number)
{
    struct hg_handshake_config config;
    struct hg_key_file *file = &hk->key_files[number];
    char *problem = hk->peer_problems[number];
    memset(&config, 0, sizeof(config));
    config.cluster = hk->identity.cluster;
    config.node_local = hk->identity.node;
    config.node_remote = file->peer.node;
    config.boot_local = hk->node->boot;
    config.workers_local = (uint8_t)hk->node->worker_count;
    memset(&file->stat, 0, sizeof(file->stat));
    if (stat(file->peer.psk_path, &file->stat) != 0)
        memset(&file->stat, 0, sizeof(file->stat));
    bool read = hg_psk_load(file->peer.psk_path, config.psk, problem, HG_CONTROL_TEXT_BYTES) == 0;
    if (read) {
        problem[0] = '\0';
        if (!hg_exchange_peer(&hk->exchange, number, &config, hk->now_ns))
            memset(&file->stat, 0, sizeof(file->stat)); /* the next look reads it again */
    } else {
        hg_housekeeping_refusal(hk, "peer_key_refused", problem);
    }
    OPENSSL_cleanse(&config, sizeof(config));
    return read;
}

const struct hg_config_peer *hg_housekeeping_keys_apply(struct hg_housekeeping *hk, const char **problem)
{
    const struct hg_config_peer *refused = NULL;
    bool named[HG_CONTROL_PEERS_MAX] = {false};
    for (uint32_t i = 0; i < hk->applied->peer_count; i++) {
        int32_t number = peer_number(hk, hk->applied->peers[i].node);
        if (number < 0)
            continue;
        named[number] = true;
        hk->key_files[number].configured = true;
        hk->key_files[number].peer = hk->applied->peers[i];
        if (key_read(hk, (uint32_t)number) || refused != NULL)
            continue;
        refused = &hk->applied->peers[i];
        *problem = hk->peer_problems[number];
    }
    for (uint32_t i = 0; i < hk->peer_count; i++) {
        if (named[i])
            continue;
        hg_exchange_peer_end(&hk->exchange, i);
        memset(&hk->key_files[i], 0, sizeof(hk->key_files[i]));
        hk->peer_problems[i][0] = '\0';
    }
    return refused;
}

static bool key_file_changed(const struct hg_key_file *file)
{
    struct stat now;
    if (stat(file->peer.psk_path, &now) != 0)
        return false; /* gone, or being replaced: the key in use stays */
    const struct stat *then = &file->stat;
    return now.st_ino != then->st_ino || now.st_size != then->st_size || now.st_mode != then->st_mode ||
           now.st_ctim.tv_sec != then->st_ctim.tv_sec || now.st_ctim.tv_nsec != then->st_ctim.tv_nsec;
}

void hg_housekeeping_keys_tick(struct hg_housekeeping *hk)
{
    if (hk->apply_pending || hk->now_ns - hk->keys_ns < HG_HOUSEKEEPING_KEYS_NS)
        return;
    hk->keys_ns = hk->now_ns;
    for (uint32_t i = 0; i < hk->peer_count; i++)
        if (hk->key_files[i].configured && key_file_changed(&hk->key_files[i]))
            (void)key_read(hk, i);
}
