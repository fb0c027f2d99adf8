/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/light.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SLOTS(n) ((n) & (HG_PERF_LIGHT_SAMPLES_MAX - 1))

static void record_append(struct hg_perf_light *light)
{
    const struct hg_perf_frame *frame = &light->data->frames[light->sent % light->data->frame_count];
    struct hg_append_record record = {
        .op = HG_OP_INSERT, .span = 1, .data_bytes = frame->bytes, .attachment = light->attachment};
    uint64_t sent = light->sent;
    light->sent_ns[SLOTS(sent)] = light->clock->now_ns(light->clock);
    if (hg_client_view_append(&light->view, &record, NULL, light->data->bytes + frame->offset) != 0)
        return; /* a full ring: far more than light load; the next one tries again */
    light->sent = sent + 1;
    hg_client_view_append_publish(&light->view);
    if (hg_client_view_doorbell_needed(&light->view))
        eventfd_write(light->eventfd, 1);
}

static void *light_run(void *ctx)
{
    struct hg_perf_light *light = ctx;
    struct timespec gap = {.tv_sec = (time_t)(light->gap_ns / HG_NS_PER_S),
                           .tv_nsec = (long)(light->gap_ns % HG_NS_PER_S)};
    while (!light->stop) {
        nanosleep(&gap, NULL);
        if (light->sent - light->acked < HG_PERF_LIGHT_SAMPLES_MAX)
            record_append(light);
    }
    return NULL;
}

int hg_perf_light_open(struct hg_perf_light *light, struct hg_perf_node *node,
                       const struct hg_perf_data *data, uint64_t gap_ns,
                       struct hg_perf_light_samples *samples, char *error, size_t error_bytes)
{
    struct hg_client_attach attach = {.flags = HG_CLIENT_ATTACH_APPEND};
    struct hg_client_answer answer;
    int memfd;
    hg_assert(data->kind == HG_STREAM_KEY_VALUE);
    light->data = data;
    light->samples = samples;
    light->clock = node->clock;
    light->eventfd = node->eventfd;
    light->gap_ns = gap_ns;
    int rc = hg_client_ring_create(&light->ring, HG_CLIENT_APPEND_BYTES_DEFAULT, HG_CLIENT_RING_BYTES_MIN, 1,
                                   1, &memfd);
    if (rc == 0) {
        rc = hg_client_view_map(&light->view, memfd);
        close(memfd);
    }
    if (rc != 0) {
        snprintf(error, error_bytes, "no memory for a ring: %s", strerror(-rc));
        return rc;
    }
    int client = hg_clients_open(node->worker->clients, &light->ring, node->eventfd, "helio-perf", 1, 0);
    hg_assert(client >= 0);
    snprintf(attach.name, sizeof(attach.name), "perf");
    memset(&answer, 0, sizeof(answer));
    (void)hg_clients_attach(node->worker->clients, (uint32_t)client, &attach, &answer);
    if (answer.code != 0) {
        snprintf(error, error_bytes, "%s", answer.text);
        return -EINVAL;
    }
    hg_client_view_slot_attach(&light->view, answer.slot, answer.attachment);
    light->attachment = answer.attachment;
    rc = pthread_create(&light->thread, NULL, light_run, light);
    if (rc != 0)
        snprintf(error, error_bytes, "no thread: %s", strerror(rc));
    return -rc;
}

void hg_perf_light_step(struct hg_perf_light *light, struct hg_perf_node *node)
{
    const struct hg_stream_state *stream = hg_streams_at(node->worker->streams, 0);
    uint64_t now_ns = light->clock->now_ns(light->clock);
    while (stream->lsn_begin != 0 && stream->lsn_begin + light->acked < stream->lsn_peer[0]) {
        uint32_t count = light->samples->count;
        if (count < HG_PERF_LIGHT_SAMPLES_MAX) {
            light->samples->latency_us[count] =
                (uint32_t)hg_min_u64((now_ns - light->sent_ns[SLOTS(light->acked)]) / 1000, UINT32_MAX);
            light->samples->count = count + 1;
        }
        light->acked++;
    }
}

void hg_perf_light_close(struct hg_perf_light *light)
{
    light->stop = true;
    (void)pthread_join(light->thread, NULL);
}
