/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/cc.h"

static void fixed_window(struct hg_cc *cc, const struct hg_loss *loss)
{
    if (cc->rate_bytes_per_s == 0) {
        cc->cwnd_bytes = UINT64_MAX;
        return;
    }
    uint64_t span_ns = 2 * (loss->srtt_ns + 4 * loss->rttvar_ns);
    __extension__ unsigned __int128 bytes = (unsigned __int128)cc->rate_bytes_per_s * span_ns / HG_NS_PER_S;
    uint64_t window = bytes > UINT64_MAX / 2 ? UINT64_MAX / 2 : (uint64_t)bytes;
    cc->cwnd_bytes = hg_max_u64(window, HG_CC_FIXED_CWND_BYTES_MIN);
}

static void fixed_on_sent(struct hg_cc *cc, uint32_t bytes, uint64_t bytes_in_flight, uint64_t now_ns)
{
}

static void fixed_on_acked(struct hg_cc *cc, uint64_t bytes, const struct hg_loss *loss, uint64_t now_ns)
{
    fixed_window(cc, loss);
}

static void fixed_on_lost(struct hg_cc *cc, uint64_t bytes, const struct hg_loss *loss, uint64_t now_ns)
{
}

static const struct hg_cc_ops fixed_ops = {
    .name = "fixed",
    .on_sent = fixed_on_sent,
    .on_acked = fixed_on_acked,
    .on_lost = fixed_on_lost,
};

void hg_cc_fixed_init(struct hg_cc *cc, uint64_t rate_bytes_per_s, const struct hg_loss *loss)
{
    memset(cc, 0, sizeof(*cc));
    cc->ops = &fixed_ops;
    cc->rate_bytes_per_s = rate_bytes_per_s;
    fixed_window(cc, loss);
}
