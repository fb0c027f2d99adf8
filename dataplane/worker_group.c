/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's part in sealing and opening a group: one order at a time, answered when the device has it.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/follow.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/worker_internal.h"

#include <errno.h>
#include <stdio.h>

#define ORDER_NS_MAX    (3 * HG_NS_PER_S) /* less than the control plane waits for an answer */
#define TAILS_TURN      64u               /* to housekeeping, which has other letters too */
#define TAILS_ROOM_KEPT (HG_MAILBOX_LETTERS / 2)

static void answer(struct hg_worker *worker, int32_t code, const char *text)
{
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_GROUP_DONE;
    letter.code = code;
    snprintf(letter.body.text, sizeof(letter.body.text), "%s", text);
    worker->order.type = 0;
    hg_worker_answer(worker, &letter);
}

static void refused(struct hg_worker *worker, enum hg_group_reason reason)
{
    char text[HG_CONTROL_TEXT_BYTES];
    snprintf(text, sizeof(text), "the log of worker %u has group %u with epoch %llu promised: it refuses %s",
             worker->config.worker, worker->order.group,
             worker->order.group < HG_GROUPS_MAX
                 ? (unsigned long long)hg_streams_group(worker->streams, worker->order.group)->epoch_wanted
                 : 0ull,
             hg_group_reason_text(reason));
    answer(worker, -EPERM, text);
}

static bool is_member(struct hg_worker *worker, uint32_t slot)
{
    const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
    return s->kind != 0 && !s->ended && s->group == worker->order.group;
}

static void event_say(struct hg_worker *worker, enum hg_event_type type)
{
    char group[12];
    snprintf(group, sizeof(group), "%u", worker->order.group);
    hg_event_put(&worker->events, type, group, worker->order.epoch, 0);
}

/* True when it is answered. */
static bool seal_turn(struct hg_worker *worker)
{
    if (hg_group_fence(hg_streams_group(worker->streams, worker->order.group)) > worker->order.epoch) {
        /* A peer's seal came meanwhile: this epoch will never be what is promised. */
        hg_streams_group_refused(worker->streams, HG_GROUP_seal_epoch);
        refused(worker, HG_GROUP_seal_epoch);
        return true;
    }
    if (!hg_streams_group_sealed(worker->streams, worker->order.group, worker->order.epoch))
        return false;
    event_say(worker, HG_EVENT_group_sealed);
    answer(worker, 0, "");
    return true;
}

/* It is on the device: peers get the streams as opened anew under it. */
static void begun(struct hg_worker *worker)
{
    for (uint32_t slot = 0; slot < hg_streams_count(worker->streams); slot++)
        if (is_member(worker, slot)) {
            hg_peers_stream_begun(worker->peers, slot);
            hg_peers_stream_epoch(worker->peers, slot);
        }
}

static void opened(struct hg_worker *worker)
{
    if (worker->order.type == HG_LETTER_GROUP_OPEN)
        begun(worker);
    event_say(worker, HG_EVENT_group_open);
    answer(worker, 0, "");
}

static enum hg_group_reason open_step(struct hg_worker *worker)
{
    uint32_t group = worker->order.group;
    uint64_t epoch = worker->order.epoch;
    switch (worker->order.type) {
    case HG_LETTER_GROUP_BEGIN:
        return hg_streams_group_begin(worker->streams, group, epoch);
    case HG_LETTER_GROUP_RELEASE:
        return hg_streams_group_release(worker->streams, group, epoch);
    default:
        return hg_streams_group_open(worker->streams, group, epoch);
    }
}

/* Again each turn while the log takes no records. */
static void open_begin(struct hg_worker *worker)
{
    enum hg_group_reason reason = open_step(worker);
    if (reason == HG_GROUP_WOULD_BLOCK && worker->now_ns >= worker->order.deadline_ns)
        answer(worker, -EAGAIN, "the log takes no records now: see helioctl show log, and try again");
    else if (reason != HG_GROUP_OK && reason != HG_GROUP_WOULD_BLOCK)
        refused(worker, reason);
}

static void seal_begin(struct hg_worker *worker)
{
    enum hg_group_reason reason =
        hg_streams_group_seal(worker->streams, worker->order.group, worker->order.epoch);
    if (reason != HG_GROUP_OK)
        refused(worker, reason);
}

static void group_order(struct hg_worker *worker, const struct hg_letter *letter)
{
    hg_assert(worker->order.type == 0); /* housekeeping waits for an answer */
    worker->order.type = letter->type;
    worker->order.group = (uint32_t)letter->number;
    worker->order.epoch = letter->number2;
    worker->order.deadline_ns = worker->now_ns + ORDER_NS_MAX;
    worker->order.is_again =
        worker->order.group < HG_GROUPS_MAX &&
        hg_streams_group_begun(worker->streams, worker->order.group, worker->order.epoch);
    if (letter->type == HG_LETTER_GROUP_SEAL)
        seal_begin(worker);
    else
        open_begin(worker);
}

static void deposed_tell(struct hg_worker *worker)
{
    uint64_t groups = hg_streams_groups_deposed(worker->streams);
    for (uint32_t slot = 0; groups != 0 && slot < hg_streams_count(worker->streams); slot++) {
        const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
        if (s->kind != 0 && !s->ended && (groups & UINT64_C(1) << s->group) != 0)
            hg_clients_depose(worker->clients, slot);
    }
}

static void group_ask(struct hg_worker *worker, const struct hg_letter *letter)
{
    const struct hg_control_target *target = &letter->body.target;
    if (letter->type == HG_LETTER_GROUP_ASK) /* one that is no peer answers nothing: its asker sees that */
        (void)hg_peers_group_ask(worker->peers, target->node, (uint32_t)letter->number, letter->number2);
    else
        (void)hg_peers_fill_ask(worker->peers, target->node, target->stream, letter->number2);
}

void hg_worker_group_letter(struct hg_worker *worker, const struct hg_letter *letter)
{
    switch (letter->type) {
    case HG_LETTER_GROUP_ASK:
    case HG_LETTER_GROUP_FILL:
        group_ask(worker, letter);
        break;
    case HG_LETTER_GROUP_SEAL:
    case HG_LETTER_GROUP_OPEN:
    case HG_LETTER_GROUP_BEGIN:
    case HG_LETTER_GROUP_RELEASE:
        group_order(worker, letter);
        break;
    default:
        hg_assert(!"a letter of an unknown type");
    }
}

/* A full outbox: in one of the next turns. */
static void orphan_lend(struct hg_worker *worker)
{
    struct hg_letter letter;
    if (hg_mailbox_count(worker->config.outbox) >= HG_MAILBOX_LETTERS / 2)
        return;
    const struct hg_orphan_piece *piece = hg_streams_orphan_due(worker->streams, worker->now_ns);
    if (piece == NULL)
        return;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_ORPHAN;
    letter.pointer = (void *)(uintptr_t)piece;
    hg_assert(hg_mailbox_put(worker->config.outbox, &letter));
}

bool hg_worker_group_turn(struct hg_worker *worker)
{
    deposed_tell(worker);
    orphan_lend(worker);
    uint32_t group = worker->order.group;
    uint64_t epoch = worker->order.epoch;
    if (worker->order.type == 0 || worker->unsent_used)
        return false;
    if (worker->order.type == HG_LETTER_GROUP_SEAL)
        return seal_turn(worker);
    const struct hg_group *state = hg_streams_group(worker->streams, group);
    if (worker->order.type == HG_LETTER_GROUP_BEGIN) {
        if (state->epoch_begun != epoch) {
            open_begin(worker);
        } else if (hg_streams_group_begun(worker->streams, group, epoch)) {
            if (!worker->order.is_again) {
                begun(worker);
                event_say(worker, HG_EVENT_group_begun);
            }
            answer(worker, 0, "");
        }
    } else if (state->epoch_released != epoch) {
        open_begin(worker);
    } else if (hg_streams_group_opened(worker->streams, group, epoch)) {
        opened(worker);
    }
    return worker->order.type == 0;
}

bool hg_worker_group_tails(struct hg_worker *worker)
{
    struct hg_letter letter;
    uint32_t count = 0;
    hg_peers_groups_turn(worker->peers);
    while (count < TAILS_TURN && hg_mailbox_count(worker->config.outbox) < TAILS_ROOM_KEPT) {
        memset(&letter, 0, sizeof(letter));
        letter.type = HG_LETTER_GROUP_TAIL;
        if (!hg_peers_group_answer(worker->peers, &letter.body.tail))
            break;
        hg_assert(hg_mailbox_put(worker->config.outbox, &letter)); /* there is room, and we alone put any */
        count++;
    }
    return count > 0;
}

static uint32_t state_of(const struct hg_worker *worker, uint32_t number)
{
    const struct hg_group *group = hg_streams_group(worker->streams, number);
    if (group->epoch_wanted != group->epoch_promised)
        return HG_STATUS_GROUP_SEALING;
    if (group->epoch_begun != group->epoch_started || group->epoch_released != group->epoch_open)
        return HG_STATUS_GROUP_OPENING;
    if (hg_group_is_sealed(group))
        return HG_STATUS_GROUP_SEALED;
    return hg_streams_is_unnamed(worker->streams, number) ? HG_STATUS_GROUP_UNNAMED : HG_STATUS_GROUP_OPEN;
}

static void members_status(struct hg_worker *worker, uint32_t group, struct hg_status_group *out)
{
    out->members_generation = hg_streams_members_durable(worker->streams, group);
    out->members_synced = hg_streams_members_synced(worker->streams, group);
    out->members_voter = hg_streams_is_voter(worker->streams, group);
    for (uint32_t peer = 0; peer < hg_peers_count(worker->peers); peer++) {
        out->members_caught_up |= (uint64_t)hg_streams_members_caught_up(worker->streams, group, peer)
                                  << peer;
        out->copies_caught_up |= (uint64_t)hg_streams_copies_caught_up(worker->streams, group, peer) << peer;
    }
}

static void grant_status(const struct hg_worker *worker, uint32_t number, uint64_t regions,
                         struct hg_status_group *out)
{
    bool writes = (regions >> (worker->config.region & 63) & 1) != 0;
    if (!writes || !hg_streams_grants_required(worker->streams))
        return;
    out->grant_left_ns = hg_streams_grant_left_ns(worker->streams, number);
    out->grant_state = out->grant_left_ns > 0                                     ? HG_STATUS_GRANT_HELD
                       : hg_streams_grant_of(worker->streams, number)->epoch == 0 ? HG_STATUS_GRANT_AWAITED
                                                                                  : HG_STATUS_GRANT_LAPSED;
}

void hg_worker_group_status(struct hg_worker *worker, struct hg_control_status *status)
{
    uint32_t streams[HG_GROUPS_MAX] = {0};
    uint64_t regions[HG_GROUPS_MAX] = {0};
    if (worker->state != HG_WORKER_RUNNING)
        return; /* what it promised is not read back yet */
    for (uint32_t slot = 0; slot < hg_streams_count(worker->streams); slot++) {
        const struct hg_stream_state *s = hg_streams_at(worker->streams, slot);
        if (s->kind == 0 || s->ended)
            continue;
        streams[s->group]++;
        regions[s->group] |= UINT64_C(1) << (s->region & 63);
    }
    for (uint32_t number = 0; number < HG_GROUPS_MAX; number++) {
        const struct hg_group *group = hg_streams_group(worker->streams, number);
        if (streams[number] == 0 && group->epoch_promised == 0)
            continue;
        if (status->group_count == HG_STATUS_GROUPS_MAX) {
            status->groups_not_shown++;
            continue;
        }
        struct hg_status_group *out = &status->groups[status->group_count++];
        memset(out, 0, sizeof(*out));
        out->worker = worker->config.worker;
        out->group = number;
        out->state = state_of(worker, number);
        out->streams = streams[number];
        out->regions = regions[number];
        out->epoch_open = group->epoch_open;
        out->epoch_promised = group->epoch_promised;
        out->corrupt_writes = hg_log_heal_left(worker->log);
        members_status(worker, number, out);
        grant_status(worker, number, regions[number], out);
        memcpy(out->log_uuid, hg_log_uuid(worker->log), sizeof(out->log_uuid));
    }
}
