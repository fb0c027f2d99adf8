/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/transport/delivery.h"

__extension__ typedef unsigned __int128 wide;

uint64_t hg_delivery_rate(uint64_t bytes, uint64_t ns)
{
    return ns == 0 ? 0 : (uint64_t)((wide)bytes * HG_NS_PER_S / ns);
}

uint64_t hg_delivery_bytes(uint64_t rate_bytes_per_s, uint64_t ns)
{
    wide bytes = (wide)rate_bytes_per_s * ns / HG_NS_PER_S;
    return bytes > UINT64_MAX / 4 ? UINT64_MAX / 4 : (uint64_t)bytes;
}

void hg_delivery_init(struct hg_delivery *delivery, uint64_t now_ns)
{
    memset(delivery, 0, sizeof(*delivery));
    delivery->delivered_ns = now_ns;
    delivery->first_sent_ns = now_ns;
}

void hg_delivery_sent(struct hg_delivery *delivery, struct hg_sent_sample *sample, uint32_t bytes,
                      uint64_t in_flight_bytes, uint64_t now_ns)
{
    if (in_flight_bytes == 0) {
        delivery->first_sent_ns = now_ns;
        delivery->delivered_ns = now_ns;
    }
    uint64_t elapsed_ns = now_ns - hg_min_u64(delivery->first_sent_ns, now_ns);
    *sample = (struct hg_sent_sample){
        .delivered_bytes = delivery->delivered_bytes,
        .delivered_ns = delivery->delivered_ns,
        .send_elapsed_ns = (uint32_t)hg_min_u64(elapsed_ns, UINT32_MAX),
        .lost_bytes = (uint32_t)delivery->lost_bytes,
        .in_flight_bytes = (uint32_t)hg_min_u64(in_flight_bytes + bytes, HG_SENT_IN_FLIGHT_BYTES_MAX),
        .limited = hg_delivery_is_limited(delivery),
        .ordinal = ++delivery->ordinal,
    };
}

void hg_delivery_acked(struct hg_delivery *delivery, const struct hg_sent_packet *packet,
                       const struct hg_sent_sample *sample, uint64_t now_ns)
{
    delivery->delivered_bytes += packet->bytes;
    delivery->delivered_ns = now_ns;
    delivery->acked_bytes += packet->bytes;
    /* The newest: ordinals wrap, and those in one ack are close together. */
    if (!delivery->fresh || (int32_t)(sample->ordinal - delivery->newest.ordinal) > 0) {
        delivery->newest = *sample;
        delivery->newest_sent_ns = packet->sent_ns;
        delivery->first_sent_ns = packet->sent_ns;
    }
    delivery->fresh = true;
}

void hg_delivery_lost(struct hg_delivery *delivery, uint32_t bytes)
{
    delivery->lost_bytes += bytes;
}

struct hg_delivery_sample hg_delivery_sample(struct hg_delivery *delivery, uint64_t rtt_min_ns)
{
    struct hg_delivery_sample sample = {0};
    if (!delivery->fresh) {
        return sample;
    }
    const struct hg_sent_sample *newest = &delivery->newest;
    sample.bytes = delivery->delivered_bytes - newest->delivered_bytes;
    sample.prior_bytes = newest->delivered_bytes;
    sample.in_flight_bytes = newest->in_flight_bytes;
    sample.lost_bytes = (uint32_t)((uint32_t)delivery->lost_bytes - newest->lost_bytes);
    sample.limited = newest->limited;
    uint64_t ack_elapsed_ns = delivery->delivered_ns - newest->delivered_ns;
    uint64_t interval_ns = hg_max_u64(newest->send_elapsed_ns, ack_elapsed_ns);
    if (interval_ns > 0 && interval_ns >= rtt_min_ns) {
        sample.rate_bytes_per_s = hg_delivery_rate(sample.bytes, interval_ns);
    }
    delivery->fresh = false;
    delivery->acked_bytes = 0;
    return sample;
}

void hg_delivery_limited(struct hg_delivery *delivery, uint64_t in_flight_bytes)
{
    delivery->limited_end = delivery->delivered_bytes + hg_max_u64(in_flight_bytes, 1);
}

void hg_delivery_cwnd_limited(struct hg_delivery *delivery, uint64_t in_flight_bytes)
{
    delivery->cwnd_end = delivery->delivered_bytes + hg_max_u64(in_flight_bytes, 1);
}
