/* SPDX-License-Identifier: Apache-2.0 */
#include "perf/replay.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t ring_bytes_choose(const struct hg_perf_data *data)
{
    uint64_t bytes = HG_CLIENT_APPEND_BYTES_DEFAULT;
    while (bytes < data->bytes_count && bytes < HG_PERF_RING_BYTES_MAX)
        bytes *= 2;
    return bytes;
}

/* Frames until one does not fit, a pad behind. */
static void ring_fill(struct hg_perf_replay *replay, const struct hg_perf_data *data, uint16_t attachment)
{
    struct hg_client_view *view = &replay->view;
    uint64_t lsn = HG_PERF_LSN_FIRST;
    uint64_t places_max = replay->ring.append_bytes / sizeof(struct hg_append_record);
    replay->places = replay->physical ? calloc(places_max, sizeof(replay->places[0])) : NULL;
    for (uint64_t i = 0;; i = (i + 1) % data->frame_count) {
        const struct hg_perf_frame *frame = &data->frames[i];
        struct hg_append_record record = {
            .op = replay->physical ? HG_OP_OPAQUE : HG_OP_INSERT,
            .lsn = replay->physical ? lsn : 0,
            .span = replay->physical ? frame->bytes : 1,
            .data_bytes = frame->bytes,
            .attachment = attachment,
        };
        uint64_t place = view->append_tail;
        if (hg_client_view_append(view, &record, NULL, data->bytes + frame->offset) != 0)
            break;
        if (replay->places != NULL)
            replay->places[replay->record_count] = place;
        replay->record_count++;
        replay->pass_bytes += frame->bytes;
        lsn += record.span;
    }
    replay->pass_lsns = replay->physical ? lsn - HG_PERF_LSN_FIRST : replay->record_count;
    uint64_t left = view->append_bytes - view->append_tail;
    struct hg_append_record pad = {.bytes = (uint32_t)left, .type = HG_APPEND_PAD};
    if (left > 0)
        memcpy(view->append + view->append_tail, &pad, 8);
    view->append_tail += left;
    hg_client_view_append_publish(view);
}

int hg_perf_replay_open(struct hg_perf_replay *replay, struct hg_perf_node *node,
                        const struct hg_perf_data *data, char *error, size_t error_bytes)
{
    struct hg_client_attach attach = {.flags = HG_CLIENT_ATTACH_APPEND};
    struct hg_client_answer answer;
    int memfd;
    memset(replay, 0, sizeof(*replay));
    replay->physical = data->kind == HG_STREAM_POSTGRES_PHYSICAL;
    int rc =
        hg_client_ring_create(&replay->ring, ring_bytes_choose(data), HG_CLIENT_RING_BYTES_MIN, 1, 1, &memfd);
    if (rc == 0) {
        rc = hg_client_view_map(&replay->view, memfd);
        close(memfd);
    }
    if (rc != 0) {
        snprintf(error, error_bytes, "no memory for a ring of %llu MB: %s",
                 (unsigned long long)(ring_bytes_choose(data) >> 20), strerror(-rc));
        return rc;
    }
    int client = hg_clients_open(node->worker->clients, &replay->ring, node->eventfd, "helio-perf", 1, 0);
    hg_assert(client >= 0);
    snprintf(attach.name, sizeof(attach.name), "perf");
    if (replay->physical) {
        attach.system_identifier = 1;
        attach.incarnation = 1;
        attach.lsn_unit_bytes = 16u << 20;
    }
    memset(&answer, 0, sizeof(answer));
    (void)hg_clients_attach(node->worker->clients, (uint32_t)client, &attach, &answer);
    if (answer.code != 0) {
        snprintf(error, error_bytes, "%s", answer.text);
        return -EINVAL;
    }
    hg_client_view_slot_attach(&replay->view, answer.slot, answer.attachment);
    ring_fill(replay, data, answer.attachment);
    return 0;
}

void hg_perf_replay_step(struct hg_perf_replay *replay)
{
    struct hg_client_view *view = &replay->view;
    uint64_t head = atomic_load_explicit(&view->dataplane->append_head, memory_order_acquire);
    uint64_t tail = head + view->append_bytes;
    if (tail == view->append_tail)
        return;
    while (replay->physical) {
        uint64_t next = replay->record_next + 1;
        uint64_t end =
            replay->pass_start + (next < replay->record_count ? replay->places[next] : view->append_bytes);
        if (head < end)
            break;
        uint8_t *lsn =
            view->append + replay->places[replay->record_next] + offsetof(struct hg_append_record, lsn);
        uint64_t value;
        memcpy(&value, lsn, sizeof(value));
        value += replay->pass_lsns;
        memcpy(lsn, &value, sizeof(value));
        replay->record_next = next;
        if (next == replay->record_count) {
            replay->record_next = 0;
            replay->pass_start += view->append_bytes;
        }
    }
    view->append_tail = tail;
    hg_client_view_append_publish(view);
}
