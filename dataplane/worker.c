/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/worker.h"
#include "dataplane/stream/grants.h"
#include "dataplane/wal/log_heal.h"
#include "dataplane/worker_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- life ---- */

static void event_put(struct hg_event_sink *sink, const struct hg_event *event)
{
    struct hg_worker *worker = (struct hg_worker *)((char *)sink - offsetof(struct hg_worker, events));
    struct hg_letter letter;
    uint32_t suppressed;
    hg_assert(event->type < HG_EVENT_COUNT);
    if (!hg_event_limit_take(&worker->event_limits[event->type], worker->now_ns, &suppressed)) {
        worker->event_held[event->type] = *event;
        worker->events_suppressed++;
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_EVENT;
    letter.body.event = *event;
    letter.body.event.suppressed = suppressed;
    if (!hg_mailbox_put(worker->config.outbox, &letter))
        worker->events_dropped++;
}

/* The newest of those that were too many is said as soon as its kind may be said again: how things stand is
 * known when the flood is over. */
static void events_held_put(struct hg_worker *worker)
{
    for (uint32_t type = 0; type < HG_EVENT_COUNT; type++) {
        struct hg_event_limit *limit = &worker->event_limits[type];
        if (limit->suppressed == 0 || !hg_event_limit_allows(limit, worker->now_ns))
            continue;
        limit->suppressed--; /* it is said itself */
        event_put(&worker->events, &worker->event_held[type]);
    }
}

static bool link_handshake(void *ctx, uint32_t peer, const uint8_t *message, uint32_t bytes)
{
    struct hg_worker *worker = ctx;
    struct hg_letter letter;
    hg_assert(bytes <= sizeof(letter.body.handshake.data));
    /* Anybody can send these: they leave room for what only we say. */
    if (hg_mailbox_count(worker->config.outbox) >= HG_MAILBOX_LETTERS / 2)
        return false;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_HANDSHAKE_IN;
    letter.peer = peer;
    letter.body.handshake.bytes = bytes;
    memcpy(letter.body.handshake.data, message, bytes);
    return hg_mailbox_put(worker->config.outbox, &letter);
}

/* A lost letter is repeated by whoever asks: silence goes on, unknown SPIs keep coming. */
static void ask_rekey(void *ctx, uint32_t peer, enum hg_rekey why)
{
    struct hg_worker *worker = ctx;
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_REKEY;
    letter.peer = peer;
    letter.number = why;
    (void)hg_mailbox_put(worker->config.outbox, &letter);
}

static void link_spi_unknown(void *ctx, uint32_t peer)
{
    struct hg_worker *worker = ctx;
    struct hg_letter letter;
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_SPI_UNKNOWN;
    letter.peer = peer;
    (void)hg_mailbox_put(worker->config.outbox, &letter);
}

static int32_t stream_worker(void *ctx, uint64_t stream)
{
    const struct hg_worker *worker = ctx;
    for (uint32_t i = 0; i < worker->elsewhere_count; i++)
        if (worker->elsewhere[i].stream == stream)
            return (int32_t)worker->elsewhere[i].worker;
    return -1;
}

static void worker_parts_init(struct hg_worker *worker)
{
    const struct hg_worker_config *config = &worker->config;
    struct hg_peers_config peers = {
        .streams = worker->streams,
        .log = worker->log,
        .events = &worker->events,
        .streams_max = config->streams_max,
        .peers_max = config->peers_max,
        .packets_in_flight_max = config->packets_in_flight_max,
        .receive_bytes_total = config->receive_bytes_total,
        .receive_bytes_default = config->receive_bytes_default,
        .worker = (uint8_t)config->worker,
        .workers = (uint8_t)config->workers,
        .census = config->census,
        .rekey = ask_rekey,
        .stream_worker = stream_worker,
        .ctx = worker,
    };
    worker->peers = hg_peers_init(&peers);
    struct hg_clients_config clients = {
        .streams = worker->streams,
        .peers = worker->peers,
        .log = worker->log,
        .events = &worker->events,
        .region = config->region,
        .doorbell = config->doorbell,
        .ctx = config->ctx,
    };
    worker->clients = hg_clients_init(&clients);
    hg_link_init(&worker->link, worker->peers);
    worker->link.worker = config->worker;
    worker->link.workers = config->workers;
    worker->link.handover = config->handover;
    if (config->next_hops != NULL)
        worker->link.next_hops = config->next_hops;
    worker->link.events = &worker->events;
    worker->link.handshake = link_handshake;
    worker->link.spi_unknown = link_spi_unknown;
    worker->link.ctx = worker;
}

struct hg_worker *hg_worker_init(const struct hg_worker_config *config)
{
    hg_assert(config->streams_max <= HG_WORKER_STREAMS_MAX);
    struct hg_worker *worker = calloc(1, sizeof(*worker));
    hg_assert(worker != NULL);
    worker->config = *config;
    worker->config.workers = (uint32_t)hg_max_u64(config->workers, 1);
    hg_assert(config->worker < worker->config.workers && worker->config.workers <= HG_WIRE_WORKERS_MAX);
    hg_assert(worker->config.workers == 1 || config->handover != NULL);
    snprintf(worker->log_name, sizeof(worker->log_name), "%u", config->worker);
    worker->events.put = event_put;
    for (uint32_t i = 0; i < HG_CLIENTS_MAX; i++)
        worker->client_of[i] = -1;
    struct hg_streams_config streams = {
        .cluster = config->cluster,
        .region = config->region,
        .streams_max = config->streams_max,
        .batch_raw_bytes_max = config->batch_raw_bytes_max,
        .worker = config->worker,
        .clock = config->clock,
        .events = &worker->events,
    };
    worker->streams = hg_streams_init(&streams);
    struct hg_log_config log = {
        .disk = config->disk,
        .arena = config->log_arena,
        .arena_bytes = config->log_arena_bytes,
        .cluster = config->cluster,
        .scrub_bytes_per_s = config->log_scrub_bytes_per_s,
        .may_mark = config->log_may_mark,
        .ops = &hg_streams_log_ops,
        .ctx = worker->streams,
    };
    worker->log = hg_log_open(&log);
    if (worker->log == NULL) {
        hg_streams_free(worker->streams);
        free(worker);
        return NULL;
    }
    hg_streams_log_set(worker->streams, worker->log);
    worker_parts_init(worker);
    return worker;
}

void hg_worker_free(struct hg_worker *worker)
{
    hg_clients_free(worker->clients);
    hg_peers_free(worker->peers);
    hg_log_close(worker->log);
    hg_streams_free(worker->streams);
    free(worker);
}

/* ---- the duty cycle ---- */

/* Each write that the log was opened with although it is corrupt, by name. */
static void worker_marks_tell(struct hg_worker *worker, uint64_t marked)
{
    const struct hg_log_heal *heal = hg_log_heal_of(worker->log);
    for (uint32_t i = 0; i < heal->count && i < marked; i++)
        hg_event_put(&worker->events, HG_EVENT_log_marked, worker->log_name, heal->writes[i].sequence,
                     marked);
}

static void worker_log_state(struct hg_worker *worker)
{
    struct hg_log_stats stats;
    switch (hg_log_state(worker->log)) {
    case HG_LOG_RECOVERING:
        return;
    case HG_LOG_FAILED:
        if (worker->state != HG_WORKER_FAILED)
            hg_event_put(&worker->events, HG_EVENT_log_failed, worker->log_name, 0, 0);
        worker->state = HG_WORKER_FAILED;
        hg_clients_log_set(worker->clients, HG_CLIENT_WHY_LOG_FAILED);
        hg_clients_publish(worker->clients);
        return;
    case HG_LOG_READY:
        if (worker->state != HG_WORKER_RECOVERING)
            return;
        hg_streams_recovered(worker->streams);
        hg_log_stats_get(worker->log, &stats);
        bool broken = hg_streams_recovery_broken(worker->streams);
        hg_event_put(&worker->events, broken ? HG_EVENT_log_failed : HG_EVENT_log_ready, worker->log_name,
                     stats.recovered_writes, stats.discarded_writes);
        worker_marks_tell(worker, stats.marked_writes);
        worker->state = broken ? HG_WORKER_FAILED : HG_WORKER_RUNNING;
    }
}

/* Peers send in bulk: a single batch from them waits for nothing, and none where producers of our region may
 * wait for its flush here. */
static bool peers_hurry(const struct hg_worker *worker)
{
    return hg_log_open_bytes(worker->log) >= HG_WORKER_GATHER_TAKEN &&
           hg_streams_sealed_counts(worker->streams)[HG_SEALED_OK] != worker->closed_sealed_count &&
           !hg_streams_has_quorum(worker->streams);
}

/* Producers that have more than a turn takes, and peers that send at a high rate, would get a write and a
 * flush for each turn's share. */
static bool worker_gathers(const struct hg_worker *worker)
{
    bool producers_hurry = worker->taken.is_full && !worker->taken.is_blocked;
    return (producers_hurry || peers_hurry(worker)) &&
           hg_log_open_bytes(worker->log) < HG_WORKER_GATHER_BYTES &&
           worker->now_ns - worker->closed_ns < HG_WORKER_GATHER_NS;
}

/* Seals what is full or old; seals everything and closes the write when a write slot is free and no producer
 * has more at hand, so that an idle stream waits for nothing and a busy log gathers. */
static bool worker_seal(struct hg_worker *worker)
{
    bool all = hg_log_slot_free(worker->log) && !worker_gathers(worker);
    bool did =
        hg_streams_has_open(worker->streams) && hg_streams_seal(worker->streams, all, worker->now_ns) > 0;
    if (all && hg_log_wants_close(worker->log)) {
        hg_log_close_write(worker->log);
        worker->closed_ns = worker->now_ns;
        worker->closed_sealed_count = hg_streams_sealed_counts(worker->streams)[HG_SEALED_OK];
        did = true;
    }
    return did;
}

static bool worker_log(struct hg_worker *worker, uint64_t *deadline_ns)
{
    bool did = hg_log_turn(worker->log, worker->now_ns, deadline_ns);
    did |= hg_worker_growth_turn(worker);
    if (hg_streams_commit(worker->streams, worker->now_ns) || did) {
        hg_peers_log_moved(worker->peers, worker->now_ns);
        did = true;
    }
    return did;
}

/* A producer waits: what it appended is not taken, or it waits for what was, and that can't be sealed. */
bool hg_worker_producers_wait(const struct hg_worker *worker)
{
    uint64_t seal_ns = hg_streams_deadline_ns(worker->streams);
    return worker->taken.is_blocked ||
           (seal_ns < worker->now_ns && worker->now_ns - seal_ns >= HG_WORKER_RETAIN_NS);
}

static bool is_pressed(const struct hg_worker *worker, struct hg_log_stats *stats)
{
    hg_log_stats_get(worker->log, stats);
    return hg_worker_producers_wait(worker) && stats->segments_free <= stats->segments_kept;
}

static void worker_pressure(struct hg_worker *worker)
{
    struct hg_log_stats stats;
    worker->is_full = is_pressed(worker, &stats);
    if (worker->is_full == worker->pressure_told)
        return;
    worker->pressure_told = worker->is_full;
    hg_event_put(&worker->events, worker->is_full ? HG_EVENT_log_pressure : HG_EVENT_log_pressure_over,
                 worker->log_name, stats.segments_free, 0);
}

/* That it goes on, producers hear at once: they wait for it. */
static void worker_publish(struct hg_worker *worker)
{
    struct hg_log_stats stats;
    worker->is_full = worker->is_full && is_pressed(worker, &stats);
    hg_clients_log_set(worker->clients, worker->is_full ? HG_CLIENT_WHY_LOG_FULL : HG_CLIENT_WHY_NONE);
    hg_clients_publish(worker->clients);
}

/* Nothing becomes durable meanwhile, whether or not anybody waits for it. While the process was stopped
 * nobody looked: that time says nothing of the device, neither that it is stuck nor that it answers again. */
static void worker_device(struct hg_worker *worker)
{
    uint64_t since_ns = hg_log_pending_since_ns(worker->log);
    if (!worker->stuck_told)
        since_ns = hg_max_u64(since_ns, worker->late_ns);
    bool is_stuck = since_ns < worker->now_ns && worker->now_ns - since_ns >= HG_LOG_STUCK_NS;
    if (is_stuck == worker->stuck_told)
        return;
    if (is_stuck)
        worker->stuck_since_ns = since_ns;
    worker->stuck_told = is_stuck;
    hg_event_put(&worker->events, is_stuck ? HG_EVENT_disk_stuck : HG_EVENT_disk_stuck_over, worker->log_name,
                 (worker->now_ns - worker->stuck_since_ns) / HG_NS_PER_MS, 0);
}

static void worker_scrub(struct hg_worker *worker)
{
    struct hg_log_stats stats;
    hg_log_stats_get(worker->log, &stats);
    if (stats.scrub_corrupt == worker->scrub_told)
        return;
    worker->scrub_told = stats.scrub_corrupt;
    hg_event_put(&worker->events, HG_EVENT_scrub_corrupt, worker->log_name, stats.scrub_corrupt_sequence, 0);
}

static void worker_timers(struct hg_worker *worker)
{
    if (worker->now_ns - worker->tick_ns < HG_WORKER_TICK_NS)
        return;
    if (worker->now_ns - worker->tick_ns >= HG_WORKER_LATE_NS)
        worker->late_ns = worker->now_ns;
    worker->tick_ns = worker->now_ns;
    hg_peers_tick(worker->peers, worker->now_ns);
    events_held_put(worker);
    worker_device(worker);
    /* A blocked producer waits for nothing but this. */
    if (!worker->taken.is_blocked && worker->now_ns - worker->retain_ns < HG_WORKER_RETAIN_NS)
        return;
    worker->retain_ns = worker->now_ns;
    hg_streams_retain(worker->streams, worker->now_ns);
    worker_pressure(worker);
    worker_scrub(worker);
}

static bool worker_run(struct hg_worker *worker, uint64_t *deadline_ns)
{
    bool did = hg_link_receive(&worker->link, worker->now_ns) > 0;
    did |= worker_log(worker, deadline_ns);
    worker->taken = hg_clients_take(worker->clients, worker->now_ns);
    did |= worker->taken.bytes > 0;
    if (worker_seal(worker)) {
        uint64_t after_ns;
        /* To the device now, not a turn later. What this finds durable may leave in this turn, so the streams
         * must know it before a peer's word on it can come. */
        (void)worker_log(worker, &after_ns);
        *deadline_ns = hg_min_u64(*deadline_ns, after_ns);
        did = true;
    }
    worker_timers(worker);
    did |= hg_worker_stream_leaving(worker);
    did |= hg_worker_stream_adopting(worker);
    hg_peers_committed_moved(worker->peers);
    did |= hg_worker_group_turn(worker);
    did |= hg_worker_group_tails(worker);
    did |= hg_clients_deliver(worker->clients);
    worker_publish(worker);
    did |= hg_link_transmit(&worker->link, worker->now_ns) > 0;
    *deadline_ns = hg_min_u64(*deadline_ns, hg_link_deadline_ns(&worker->link, worker->now_ns));
    /* A batch that is due and still open waits for the log, which has its own events: no reason to spin. */
    uint64_t seal_ns = hg_streams_deadline_ns(worker->streams);
    if (seal_ns > worker->now_ns)
        *deadline_ns = hg_min_u64(*deadline_ns, seal_ns);
    if (worker_gathers(worker))
        *deadline_ns = hg_min_u64(*deadline_ns, worker->closed_ns + HG_WORKER_GATHER_NS);
    *deadline_ns = hg_min_u64(*deadline_ns, worker->tick_ns + HG_WORKER_TICK_NS);
    return did;
}

bool hg_worker_turn(struct hg_worker *worker, uint64_t *deadline_ns)
{
    worker->now_ns = worker->config.clock->now_ns(worker->config.clock);
    *deadline_ns = HG_TIME_NEVER;
    if (worker->state == HG_WORKER_RUNNING)
        hg_streams_grants_turn(worker->streams);
    bool did = hg_worker_letters(worker);
    if (worker->state == HG_WORKER_RUNNING)
        did |= worker_run(worker, deadline_ns);
    else if (worker->state == HG_WORKER_RECOVERING)
        did |= hg_log_turn(worker->log, worker->now_ns, deadline_ns);
    worker_log_state(worker);
    worker->turns_count++;
    worker->turns_idle_count += !did;
    return did;
}

bool hg_worker_sleep(struct hg_worker *worker)
{
    if (worker->state != HG_WORKER_RUNNING)
        return true;
    if (worker->unsent_used || worker->held_next < worker->held_count ||
        !hg_mailbox_empty(worker->config.inbox) || hg_link_handed_over(&worker->link))
        return false;
    return hg_clients_sleep(worker->clients);
}

void hg_worker_woken(struct hg_worker *worker)
{
    hg_clients_woken(worker->clients);
}
