/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/security/replay.h"

void hg_replay_init(struct hg_replay *replay)
{
    memset(replay, 0, sizeof(*replay));
}

static uint64_t *word_of(struct hg_replay *replay, uint64_t number)
{
    return &replay->seen[(number / 64) % HG_REPLAY_WORDS];
}

bool hg_replay_fresh(const struct hg_replay *replay, uint64_t number)
{
    if (number == 0)
        return false;
    if (number > replay->top)
        return true;
    if (replay->top - number >= HG_ESP_REPLAY_PACKETS)
        return false;
    return (replay->seen[(number / 64) % HG_REPLAY_WORDS] >> (number % 64) & 1) == 0;
}

void hg_replay_mark(struct hg_replay *replay, uint64_t number)
{
    hg_assert(hg_replay_fresh(replay, number));
    if (number > replay->top) {
        uint64_t words = hg_min_u64(number / 64 - replay->top / 64, HG_REPLAY_WORDS);
        for (uint64_t i = 0; i < words; i++)
            *word_of(replay, number - i * 64) = 0;
        replay->top = number;
    }
    *word_of(replay, number) |= UINT64_C(1) << (number % 64);
}

uint64_t hg_replay_extend(const struct hg_replay *replay, uint32_t low)
{
    uint32_t top_high = (uint32_t)(replay->top >> 32);
    uint32_t top_low = (uint32_t)replay->top;
    uint32_t bottom_low =
        top_low - (HG_ESP_REPLAY_PACKETS - 1); /* may wrap: then the window spans two halves */

    if (top_low >= HG_ESP_REPLAY_PACKETS - 1) {
        if (low >= bottom_low)
            return (uint64_t)top_high << 32 | low;
        return top_high == UINT32_MAX ? 0 : (uint64_t)(top_high + 1) << 32 | low;
    }
    if (low < bottom_low)
        return (uint64_t)top_high << 32 | low;
    return top_high == 0 ? 0 : (uint64_t)(top_high - 1) << 32 | low;
}
