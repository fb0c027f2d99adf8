/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/pacer.h"

#define TOKENS_PER_BYTE INT64_C(1000000000)

static void pacer_quantum(struct hg_pacer *pacer)
{
    uint64_t packet = pacer->packet_bytes;
    uint64_t quantum = pacer->rate_bytes_per_s / (HG_NS_PER_S / HG_PACER_QUANTUM_NS);
    uint64_t most = hg_min_u64(HG_PACER_QUANTUM_PACKETS_MAX * packet, HG_PACER_QUANTUM_BYTES_MAX);
    quantum = hg_min_u64(quantum, most);
    pacer->quantum_bytes = hg_max_u64(quantum, HG_PACER_QUANTUM_PACKETS_MIN * packet);
}

void hg_pacer_init(struct hg_pacer *pacer, uint64_t rate_bytes_per_s, uint32_t packet_bytes, uint64_t now_ns)
{
    hg_assert(packet_bytes > 0 && packet_bytes <= UINT16_MAX);
    memset(pacer, 0, sizeof(*pacer));
    pacer->rate_bytes_per_s = hg_min_u64(rate_bytes_per_s, HG_PACER_RATE_MAX);
    pacer->packet_bytes = packet_bytes;
    pacer->filled_ns = now_ns;
    pacer_quantum(pacer);
    pacer->tokens = (int64_t)pacer->quantum_bytes * TOKENS_PER_BYTE;
    pacer->tokens_unasked = pacer->tokens;
}

/* The most tokens that there may be now. */
static int64_t pacer_full(const struct hg_pacer *pacer, uint64_t now_ns)
{
    uint64_t full = pacer->quantum_bytes * (uint64_t)TOKENS_PER_BYTE;
    if (pacer->held_back) {
        uint64_t late_ns = now_ns - hg_min_u64(pacer->held_back_ns, now_ns);
        late_ns += hg_min_u64(pacer->behind_ns, late_ns / HG_PACER_CATCH_UP_DIVISOR);
        full = hg_max_u64(full, hg_min_u64(late_ns, HG_PACER_LATE_NS_MAX) * pacer->rate_bytes_per_s);
    }
    return (int64_t)full;
}

static void pacer_fill(struct hg_pacer *pacer, uint64_t now_ns)
{
    if (now_ns <= pacer->filled_ns) {
        return;
    }
    uint64_t elapsed_ns = now_ns - pacer->filled_ns;
    pacer->filled_ns = now_ns;
    if (pacer->rate_bytes_per_s == 0) {
        return;
    }
    int64_t full = pacer_full(pacer, now_ns), before = pacer->tokens;
    uint64_t caught_up_ns = hg_min_u64(pacer->behind_ns, elapsed_ns / HG_PACER_CATCH_UP_DIVISOR);
    elapsed_ns += caught_up_ns;
    pacer->behind_ns -= caught_up_ns;
    uint64_t missing = pacer->tokens < full ? (uint64_t)(full - pacer->tokens) : 0;
    uint64_t missing_ns = missing / pacer->rate_bytes_per_s + 1;
    if (elapsed_ns >= missing_ns) {
        pacer->tokens = full;
        pacer->behind_ns += elapsed_ns - missing_ns;
        pacer->behind_ns = pacer->held_back ? hg_min_u64(pacer->behind_ns, HG_PACER_BEHIND_NS_MAX) : 0;
    } else {
        pacer->tokens += (int64_t)(elapsed_ns * pacer->rate_bytes_per_s);
    }
    hg_assert(pacer->tokens <= full);
    int64_t unasked = pacer->tokens_unasked + (pacer->tokens - before) / 2;
    int64_t most = (int64_t)pacer->quantum_bytes * TOKENS_PER_BYTE;
    pacer->tokens_unasked = unasked < most ? unasked : most;
}

void hg_pacer_rate_set(struct hg_pacer *pacer, uint64_t rate_bytes_per_s, uint64_t now_ns)
{
    pacer_fill(pacer, now_ns);
    pacer->rate_bytes_per_s = hg_min_u64(rate_bytes_per_s, HG_PACER_RATE_MAX);
    pacer_quantum(pacer);
    int64_t full = pacer_full(pacer, now_ns);
    pacer->tokens = pacer->tokens > full ? full : pacer->tokens;
}

bool hg_pacer_ready(struct hg_pacer *pacer, uint64_t now_ns)
{
    pacer_fill(pacer, now_ns);
    bool ready = pacer->rate_bytes_per_s == 0 || pacer->tokens > 0;
    if (!ready && !pacer->held_back) {
        pacer->held_back_ns = now_ns;
    }
    pacer->held_back = !ready;
    return ready;
}

void hg_pacer_sent(struct hg_pacer *pacer, uint32_t bytes, uint64_t now_ns)
{
    if (pacer->rate_bytes_per_s == 0) {
        return;
    }
    pacer_fill(pacer, now_ns);
    pacer->tokens -= (int64_t)bytes * TOKENS_PER_BYTE;
}

void hg_pacer_sent_unasked(struct hg_pacer *pacer, uint32_t bytes, uint64_t now_ns)
{
    if (pacer->rate_bytes_per_s == 0) {
        return;
    }
    pacer_fill(pacer, now_ns);
    int64_t cost = (int64_t)bytes * TOKENS_PER_BYTE;
    cost = cost < pacer->tokens_unasked ? cost : pacer->tokens_unasked;
    pacer->tokens_unasked -= cost;
    pacer->tokens -= cost;
}

uint64_t hg_pacer_ready_ns(const struct hg_pacer *pacer)
{
    if (pacer->rate_bytes_per_s == 0 || pacer->tokens > 0) {
        return pacer->filled_ns;
    }
    uint64_t wait_ns = (uint64_t)-pacer->tokens / pacer->rate_bytes_per_s + 1;
    uint64_t caught_up_ns = hg_min_u64(pacer->behind_ns, wait_ns / (HG_PACER_CATCH_UP_DIVISOR + 1));
    return pacer->filled_ns + wait_ns - caught_up_ns;
}
