/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf feed: a producer over libheliograph, for a dataplane that runs: as much WAL as it is told.
 */
#include "drivers/client/heliograph.h"
#include "drivers/clock/clock.h"
#include "perf/perf.h"

#include <errno.h>
#include <stdio.h>

#define ENTRIES     64u
#define DEADLINE_NS (120 * HG_NS_PER_S)
#define DATA_BYTES  (1u << 30)
#define LSN_FIRST   (16u << 20)

struct feed {
    struct hg_client *client;
    struct hg_stream *stream;
    struct hg_clock *clock;
    bool physical;
    uint64_t lsn;
    uint64_t frame;
    uint64_t fed_bytes;
};

static int feed_append(struct feed *feed, const struct hg_perf_data *data, uint64_t bytes_max)
{
    struct hg_entry entries[ENTRIES];
    uint32_t count = 0;
    uint64_t bytes = 0, lsn = feed->lsn;
    memset(entries, 0, sizeof(entries));
    while (count < ENTRIES && feed->fed_bytes + bytes < bytes_max) {
        const struct hg_perf_frame *frame = &data->frames[(feed->frame + count) % data->frame_count];
        struct hg_entry *entry = &entries[count++];
        entry->op = feed->physical ? HG_OP_OPAQUE : HG_OP_INSERT;
        entry->lsn = feed->physical ? lsn : 0;
        entry->span = feed->physical ? frame->bytes : 1;
        entry->data_bytes = frame->bytes;
        entry->data = data->bytes + frame->offset;
        lsn += entry->span;
        bytes += frame->bytes;
    }
    int taken =
        hg_stream_append(feed->stream, entries, count, feed->clock->now_ns(feed->clock) + DEADLINE_NS);
    for (int i = 0; i < taken; i++) {
        feed->lsn += entries[i].span;
        feed->fed_bytes += entries[i].data_bytes;
    }
    feed->frame += taken > 0 ? (uint64_t)taken : 0;
    return taken;
}

static int feed_attach(struct feed *feed, const struct hg_perf_options *options,
                       const struct hg_perf_data *data)
{
    struct hg_stream_options stream = {.append = true};
    struct hg_stream_status status;
    feed->clock = hg_clock_tsc();
    feed->physical = data->kind == HG_STREAM_POSTGRES_PHYSICAL;
    if (feed->physical) {
        stream.system_identifier = 1;
        stream.lsn_unit_bytes = 16u << 20;
        stream.incarnation = 1;
    }
    feed->client = hg_client_open(options->run, "helio-perf");
    if (feed->client == NULL)
        return -ENOMEM;
    int rc = hg_stream_attach(feed->client, options->stream, &stream, &feed->stream,
                              feed->clock->now_ns(feed->clock) + DEADLINE_NS);
    if (rc == 0)
        rc = hg_stream_status_get(feed->stream, &status);
    feed->lsn = hg_stream_append_end(feed->stream);
    if (feed->physical && feed->lsn == 0)
        feed->lsn = LSN_FIRST;
    return rc;
}

static int feed_data(const struct hg_perf_options *options, const struct hg_perf_data *data,
                     struct hg_perf_report *report)
{
    struct feed feed = {0};
    int rc = feed_attach(&feed, options, data);
    uint64_t begin_ns = feed.clock->now_ns(feed.clock);
    while (rc >= 0 && feed.fed_bytes < options->feed_bytes)
        rc = feed_append(&feed, data, options->feed_bytes);
    if (rc >= 0)
        rc = hg_stream_wait(feed.stream, HG_WHERE_DURABLE, 0, hg_stream_append_end(feed.stream),
                            feed.clock->now_ns(feed.clock) + DEADLINE_NS);
    double seconds = (double)(feed.clock->now_ns(feed.clock) - begin_ns) / 1e9;
    if (rc < 0)
        fprintf(stderr, "helio-perf: %s: %s (%s)\n", options->stream, hg_client_error(feed.client),
                hg_error_name(rc));
    hg_perf_report_add(report, (double)feed.fed_bytes, "fed_bytes/data=%s", data->name);
    hg_perf_report_add(report, (double)feed.fed_bytes / seconds, "fed_bytes_per_s/data=%s", data->name);
    hg_perf_report_add(report, (double)hg_stream_append_end(feed.stream), "lsn_end/data=%s", data->name);
    hg_client_close(feed.client);
    return rc < 0 ? -EIO : 0;
}

int hg_perf_feed(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    if (options->run == NULL || options->stream == NULL || strcmp(options->data, "all") == 0) {
        fprintf(stderr, "helio-perf: feed needs --run, --stream and one --data\n");
        return -EINVAL;
    }
    return hg_perf_each_data(options, DATA_BYTES, report, feed_data);
}
