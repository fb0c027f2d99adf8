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

void hg_credit_taken(struct hg_credit *credit, uint64_t bytes, uint64_t rtt_ns, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - credit->round_ns;
    uint64_t round_ns = hg_max_u64(rtt_ns, HG_CREDIT_ROUND_NS_MIN);
    if (passed_ns < round_ns) {
        credit->taken_bytes += bytes;
        return;
    }
    /* What is taken after a pause tells nothing of a round trip. */
    uint64_t wanted = passed_ns < 2 * round_ns ? 2 * credit->taken_bytes : 0;
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
