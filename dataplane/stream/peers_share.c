/* SPDX-License-Identifier: Apache-2.0
 *
 * The lanes to one peer, of all workers of this node, share what one flow would have: a configured rate, or
 * what the controllers find. Workers tell each other in words that one writes and the others read.
 */
#include "dataplane/stream/peers_internal.h"
#include "dataplane/transport/cc.h"

static struct hg_lane *share_lane(const struct hg_peer *lane)
{
    return lane->current < 0 ? NULL : lane->sessions[lane->current].lane;
}

static bool share_active(struct hg_peer *lane, uint64_t now_ns)
{
    if (lane->current < 0)
        return false;
    const struct hg_lane_stats *stats = hg_lane_stats(share_lane(lane));
    uint64_t bytes = stats->data_bytes_sent + stats->data_bytes_resent;
    if (bytes != lane->data_bytes_seen)
        lane->active_until_ns = now_ns + HG_PEER_ACTIVE_NS;
    lane->data_bytes_seen = bytes;
    return now_ns < lane->active_until_ns;
}

/* Each lane that sends has the same part of the peer's rate. One that does not may begin with the part that
 * it would have then. */
static void share_rate(struct hg_peer *head, uint32_t active, uint64_t now_ns)
{
    const struct hg_peers_config *config = &head->peers->config;
    for (uint32_t worker = 0; config->census != NULL && worker < config->workers; worker++)
        if (worker != config->worker)
            active += atomic_load_explicit(&config->census[worker].lanes[head->index], memory_order_relaxed);
    for (struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next) {
        uint32_t lanes = active + (now_ns >= lane->active_until_ns);
        if (lane->current >= 0)
            hg_lane_share_set(share_lane(lane), hg_max_u64(head->rate_bytes_per_s / lanes, 1));
    }
}

static void share_publish(const struct hg_peer *head, uint32_t active, const struct hg_cc_share_part *part)
{
    const struct hg_peers_config *config = &head->peers->config;
    struct hg_peers_census *census = &config->census[config->worker];
    uint64_t words[HG_CC_SHARE_WORDS];
    hg_cc_share_pack(part, words);
    atomic_store_explicit(&census->lanes[head->index], (uint8_t)hg_min_u64(active, UINT8_MAX),
                          memory_order_relaxed);
    for (uint32_t i = 0; i < HG_CC_SHARE_WORDS; i++)
        atomic_store_explicit(&census->parts[head->index][i], words[i], memory_order_relaxed);
}

/* What the lanes of the other workers are. */
static void share_read(const struct hg_peer *head, struct hg_cc_share_part *sum)
{
    const struct hg_peers_config *config = &head->peers->config;
    for (uint32_t worker = 0; config->census != NULL && worker < config->workers; worker++) {
        uint64_t words[HG_CC_SHARE_WORDS];
        if (worker == config->worker)
            continue;
        for (uint32_t i = 0; i < HG_CC_SHARE_WORDS; i++)
            words[i] =
                atomic_load_explicit(&config->census[worker].parts[head->index][i], memory_order_relaxed);
        const struct hg_cc_share_part part = hg_cc_share_unpack(words);
        hg_cc_share_add(sum, &part);
    }
}

/* `elsewhere`: of other workers. */
static void share_tell(struct hg_peer *head, const struct hg_cc_share_part *elsewhere, uint64_t now_ns)
{
    for (struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next) {
        if (lane->current < 0)
            continue;
        struct hg_cc_share_part others = *elsewhere;
        for (const struct hg_peer *other = head; other != NULL; other = other->lane_next)
            if (other != lane)
                hg_cc_share_add(&others, &other->share.part);
        struct hg_cc_share_view view;
        hg_lane_share_view(share_lane(lane), now_ns, &view);
        const struct hg_cc_told told = hg_cc_share_tell(&lane->share, &view, &others);
        hg_lane_share_tell(share_lane(lane), &told);
    }
}

void hg_peers_share(struct hg_peer *head, uint64_t now_ns)
{
    struct hg_cc_share_part sum = {.kind = head->congestion}, elsewhere = sum;
    uint32_t active = 0;
    for (struct hg_peer *lane = head; lane != NULL; lane = lane->lane_next) {
        struct hg_cc_share_view view = {.now_ns = now_ns, .kind = head->congestion};
        bool sends = share_active(lane, now_ns);
        if (lane->current >= 0)
            hg_lane_share_view(share_lane(lane), now_ns, &view);
        view.active = sends;
        hg_cc_share_look(&lane->share, &view);
        hg_cc_share_add(&sum, &lane->share.part);
        active += sends;
    }
    if (head->peers->config.census != NULL)
        share_publish(head, active, &sum);
    share_rate(head, active, now_ns);
    share_read(head, &elsewhere);
    share_tell(head, &elsewhere, now_ns);
}
