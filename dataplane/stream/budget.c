/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a log fills and how full what is held makes it.
 */
#include "dataplane/stream/retention.h"

static const uint32_t levels[] = {50, 75, 90};

#define LEVEL_BACK 5u /* percent below a level that end it */

const char *hg_holder_text(uint32_t kind)
{
    static const char *const texts[] = {"nobody", "peer", "consumer", "unconfigured stream"};
    return kind < HG_COUNT(texts) ? texts[kind] : "unknown";
}

void hg_budget_sample(struct hg_budget *budget, uint64_t now_ns, uint64_t appended_bytes)
{
    uint64_t last = (budget->count - 1) % HG_BUDGET_SAMPLES;
    if (budget->count > 0 && now_ns - budget->samples[last].ns < HG_BUDGET_SAMPLE_NS)
        return;
    hg_assert(budget->count == 0 || appended_bytes >= budget->samples[last].bytes);
    budget->samples[budget->count % HG_BUDGET_SAMPLES].ns = now_ns;
    budget->samples[budget->count % HG_BUDGET_SAMPLES].bytes = appended_bytes;
    budget->count++;
}

uint64_t hg_budget_bytes_per_s(const struct hg_budget *budget)
{
    if (budget->count < 2)
        return 0;
    uint64_t first = budget->count <= HG_BUDGET_SAMPLES ? 0 : budget->count % HG_BUDGET_SAMPLES;
    uint64_t last = (budget->count - 1) % HG_BUDGET_SAMPLES;
    uint64_t ms = (budget->samples[last].ns - budget->samples[first].ns) / HG_NS_PER_MS;
    return (budget->samples[last].bytes - budget->samples[first].bytes) * 1000 / hg_max_u64(ms, 1);
}

uint64_t hg_budget_full_ns(const struct hg_budget *budget, uint64_t held_bytes, uint64_t capacity_bytes)
{
    uint64_t rate = hg_budget_bytes_per_s(budget);
    if (rate == 0)
        return HG_TIME_NEVER;
    uint64_t left = capacity_bytes > held_bytes ? capacity_bytes - held_bytes : 0;
    return left / rate * HG_NS_PER_S + left % rate * HG_NS_PER_S / rate;
}

uint32_t hg_budget_level(uint32_t level, uint64_t held_bytes, uint64_t capacity_bytes)
{
    uint32_t now = 0;
    uint64_t percent = capacity_bytes == 0 ? 0 : held_bytes / ((capacity_bytes + 99) / 100);
    for (uint32_t i = 0; i < HG_COUNT(levels); i++)
        if (percent >= levels[i] || (level >= levels[i] && percent + LEVEL_BACK >= levels[i]))
            now = levels[i];
    return now;
}
