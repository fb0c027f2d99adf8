/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/cc.h"

void hg_cc_init(struct hg_cc *cc, enum hg_cc_kind kind, uint64_t rate_bytes_per_s, uint32_t packet_bytes,
                const struct hg_loss *loss, uint64_t now_ns)
{
    memset(cc, 0, sizeof(*cc));
    cc->packet_bytes = packet_bytes;
    cc->weight = HG_CC_SHARE_WHOLE;
    switch (kind) {
    case HG_CC_CUBIC:
        hg_cc_cubic_init(cc, rate_bytes_per_s, loss);
        return;
    case HG_CC_BBR:
        hg_cc_bbr_init(cc, rate_bytes_per_s, loss, now_ns);
        return;
    default:
        hg_cc_fixed_init(cc, rate_bytes_per_s, loss);
        return;
    }
}
