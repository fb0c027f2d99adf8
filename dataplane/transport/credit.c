/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/credit.h"

void hg_credit_init(struct hg_credit *credit, uint64_t bytes_min, uint64_t bytes_max, uint64_t now_ns)
{
    hg_assert(bytes_min <= bytes_max);
    memset(credit, 0, sizeof(*credit));
    credit->bytes_min = bytes_min;
    credit->bytes_max = bytes_max;
    credit->bytes = bytes_min;
    credit->round_ns = now_ns;
    credit->fall_ns = now_ns + HG_CREDIT_FALL_NS;
}

uint64_t hg_credit_given(const struct hg_credit *credit, uint64_t whole_bytes, uint64_t free_bytes)
{
    uint64_t left = credit->bytes > whole_bytes ? credit->bytes - whole_bytes : 0;
    return hg_min_u64(hg_max_u64(left, HG_CREDIT_KEPT_BYTES), free_bytes);
}

uint64_t hg_credit_wanted(uint64_t bytes, uint64_t span_ns, uint64_t rtt_ns, uint64_t durable_ns)
{
    hg_assert(span_ns > 0);
    uint64_t held_ns = HG_CREDIT_FLIGHTS * hg_min_u64(rtt_ns, HG_CREDIT_HELD_NS_MAX) +
                       2 * hg_min_u64(durable_ns, HG_CREDIT_HELD_NS_MAX);
    unsigned __int128 wanted =
        (unsigned __int128)bytes * hg_max_u64(held_ns, 2 * HG_CREDIT_ROUND_NS_MIN) / span_ns;
    return wanted < UINT64_MAX ? (uint64_t)wanted : UINT64_MAX;
}

void hg_credit_taken(struct hg_credit *credit, uint64_t bytes, uint64_t rtt_ns, uint64_t durable_ns,
                     uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - credit->round_ns;
    uint64_t round_ns = hg_max_u64(rtt_ns, hg_min_u64(rtt_ns + durable_ns, HG_CREDIT_ROUND_NS_MAX));
    if (passed_ns < hg_max_u64(round_ns, HG_CREDIT_ROUND_NS_MIN)) {
        credit->taken_bytes += bytes;
        return;
    }
    uint64_t wanted = hg_credit_wanted(credit->taken_bytes, passed_ns, rtt_ns, durable_ns);
    if (wanted > credit->bytes) {
        credit->bytes = hg_min_u64(wanted, credit->bytes_max);
        credit->fall_ns = now_ns + HG_CREDIT_FALL_NS;
    } else if (wanted < credit->bytes / 4 && now_ns >= credit->fall_ns) {
        credit->bytes = hg_max_u64(credit->bytes - credit->bytes / 8, credit->bytes_min);
        credit->fall_ns = now_ns + HG_CREDIT_FALL_NS;
    }
    credit->taken_bytes = bytes;
    credit->round_ns = now_ns;
}
