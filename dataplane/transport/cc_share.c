/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/cc_share.h"
#include "dataplane/transport/cc_constants.h"

__extension__ typedef unsigned __int128 wide;

/* Words: weight and estimate; kind, counts and what is wanted; congestion. */
#define ESTIMATE_BITS 48u
#define ESTIMATE_MAX  ((UINT64_C(1) << ESTIMATE_BITS) - 1)
#define WANTED_BITS   40u
#define WANTED_MAX    ((UINT64_C(1) << WANTED_BITS) - 1)

/* What all lanes have, where `weight` of them has so much. */
static uint64_t whole_of(uint64_t part, uint64_t weight)
{
    return weight == 0 ? 0 : (uint64_t)((wide)part * HG_CC_SHARE_WHOLE / weight);
}

static uint64_t part_of(uint64_t whole, uint64_t weight)
{
    return (uint64_t)((wide)whole * weight / HG_CC_SHARE_WHOLE);
}

static void lane_delivers(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view)
{
    uint64_t span_ns = view->now_ns - lane->delivered_ns;
    bool anew = lane->delivered_ns == 0 || view->delivered_bytes < lane->delivered_bytes;
    if (!anew && span_ns < HG_CC_SHARE_USE_NS) {
        return;
    }
    lane->delivered_bytes_per_s =
        anew ? 0 : hg_delivery_rate(view->delivered_bytes - lane->delivered_bytes, span_ns);
    lane->delivered_bytes = view->delivered_bytes;
    lane->delivered_ns = view->now_ns;
}

void hg_cc_share_look(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view)
{
    lane_delivers(lane, view);
    if (view->estimate == 0 || view->kind != lane->part.kind) {
        lane->weight = 0;
        lane->whole = 0;
    }
    lane->part = (struct hg_cc_share_part){.congestion = view->congestion, .kind = view->kind};
    if (!view->active) {
        return;
    }
    if (view->limited) {
        lane->part.limited_count = 1;
        lane->part.wanted_bytes_per_s =
            hg_min_u64(lane->delivered_bytes_per_s, WANTED_MAX / 2) * HG_CC_SHARE_WANTED / HG_CC_PER_MILLE;
        return;
    }
    lane->part.busy_count = 1;
    lane->part.weight = lane->weight;
    lane->part.estimate = lane->weight == 0 ? 0 : hg_min_u64(view->estimate, ESTIMATE_MAX);
}

void hg_cc_share_add(struct hg_cc_share_part *sum, const struct hg_cc_share_part *part)
{
    if (part->kind != sum->kind) {
        return;
    }
    sum->estimate += part->estimate;
    sum->weight += part->weight;
    sum->wanted_bytes_per_s += part->wanted_bytes_per_s;
    sum->congestion = hg_max_u64(sum->congestion, part->congestion);
    sum->busy_count += part->busy_count;
    sum->limited_count += part->limited_count;
}

void hg_cc_share_pack(const struct hg_cc_share_part *part, uint64_t words[HG_CC_SHARE_WORDS])
{
    uint64_t estimate = hg_min_u64(part->estimate, ESTIMATE_MAX);
    uint64_t wanted = hg_min_u64(part->wanted_bytes_per_s, WANTED_MAX);
    uint64_t busy = hg_min_u64(part->busy_count, UINT8_MAX);
    uint64_t limited = hg_min_u64(part->limited_count, UINT8_MAX);
    words[0] = hg_min_u64(part->weight, UINT16_MAX) << ESTIMATE_BITS | estimate;
    words[1] = wanted << 24 | limited << 16 | busy << 8 | part->kind;
    words[2] = part->congestion;
}

struct hg_cc_share_part hg_cc_share_unpack(const uint64_t words[HG_CC_SHARE_WORDS])
{
    return (struct hg_cc_share_part){.estimate = words[0] & ESTIMATE_MAX,
                                     .weight = words[0] >> ESTIMATE_BITS,
                                     .wanted_bytes_per_s = words[1] >> 24,
                                     .congestion = words[2],
                                     .busy_count = words[1] >> 8 & UINT8_MAX,
                                     .limited_count = words[1] >> 16 & UINT8_MAX,
                                     .kind = (uint8_t)words[1]};
}

/* What the lane has, or would have if it had data without end: busy lanes share what is left by those that
 * lack some. None of those has more than it would have as a busy one. */
static uint64_t lane_weight(const struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view,
                            const struct hg_cc_share_part *others)
{
    uint64_t busy = 1 + others->busy_count, all = busy + others->limited_count;
    uint64_t whole_bytes_per_s = whole_of(view->estimate_bytes_per_s, lane->weight);
    uint64_t wanted = HG_CC_SHARE_WHOLE;
    if (whole_bytes_per_s > others->wanted_bytes_per_s) {
        wanted = (uint64_t)((wide)others->wanted_bytes_per_s * HG_CC_SHARE_WHOLE / whole_bytes_per_s);
    }
    uint64_t left = hg_max_u64(HG_CC_SHARE_WHOLE - wanted, HG_CC_SHARE_WHOLE * busy / all);
    return hg_max_u64(left / busy, HG_CC_SHARE_WEIGHT_MIN);
}

static void lane_rises(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view, uint64_t whole)
{
    lane->whole = whole;
    lane->rise_end_ns = view->now_ns + hg_max_u64(HG_CC_SHARE_RISE_NS, HG_CC_SHARE_RISE_RTTS * view->srtt_ns);
}

/* The estimate of a lane that rises is for as much of the whole as it has found, until that is its part, or
 * there is no more to be found. */
static void lane_rose(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view, uint64_t weight)
{
    lane->weight = (uint64_t)((wide)view->estimate * HG_CC_SHARE_WHOLE / lane->whole);
    if (lane->weight >= weight - weight / HG_CC_SHARE_STEP || view->now_ns >= lane->rise_end_ns) {
        lane->whole = 0;
        lane->weight = weight;
    }
}

/* The lane knows nothing yet: what the others know is the most that it looks for. */
static void tell_beginner(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view,
                          const struct hg_cc_share_part *others, struct hg_cc_told *told)
{
    lane_rises(lane, view, whole_of(others->estimate, others->weight));
    told->target = part_of(lane->whole, told->weight);
}

/* What is lost is given up at once, so that who it goes to has room; what is won is looked for. */
static void tell_change(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view,
                        struct hg_cc_told *told)
{
    uint64_t weight = told->weight, step = lane->weight / HG_CC_SHARE_STEP;
    if (weight + step < lane->weight) {
        told->scale = weight * HG_CC_SHARE_WHOLE / lane->weight;
        lane->weight = weight;
        lane->whole = 0;
    } else if (weight > lane->weight + step && lane->whole == 0) {
        lane_rises(lane, view, whole_of(view->estimate, lane->weight));
        told->rises = true;
    }
    told->target = part_of(lane->whole, weight);
}

struct hg_cc_told hg_cc_share_tell(struct hg_cc_share_lane *lane, const struct hg_cc_share_view *view,
                                   const struct hg_cc_share_part *others)
{
    struct hg_cc_told told = {.now_ns = view->now_ns,
                              .weight = lane_weight(lane, view, others),
                              .scale = HG_CC_SHARE_WHOLE,
                              .others_count = others->busy_count + others->limited_count};
    if (others->congestion > lane->congestion) {
        told.congestion = others->congestion;
        lane->congestion = others->congestion;
    }
    if (view->estimate == 0) {
        tell_beginner(lane, view, others, &told);
        return told;
    }
    if (lane->whole != 0) {
        lane_rose(lane, view, told.weight);
    } else if (lane->weight == 0) {
        lane->weight = told.weight;
    }
    tell_change(lane, view, &told);
    if (told.others_count > 0 && lane->part.busy_count > 0 && told.scale == HG_CC_SHARE_WHOLE) {
        told.whole = whole_of(others->estimate + view->estimate, others->weight + lane->weight);
    }
    return told;
}
