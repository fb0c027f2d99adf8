/* SPDX-License-Identifier: Apache-2.0
 *
 * What housekeeping asks of a worker: configuration, ports, keys, clients.
 */
#include "dataplane/stream/cut.h"
#include "dataplane/stream/grants.h"
#include "dataplane/stream/quorum.h"
#include "dataplane/worker_internal.h"
#include "drivers/client/heliograph.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* An answer must not be lost: when the outbox is full it waits, and no further letter is read until it is
 * gone. */
void hg_worker_answer(struct hg_worker *worker, const struct hg_letter *letter)
{
    hg_assert(!worker->unsent_used);
    if (!hg_mailbox_put(worker->config.outbox, letter)) {
        worker->unsent = *letter;
        worker->unsent_used = true;
    }
}

/* An answer to be given once the log has write `sequence` on its device. */
void hg_worker_answer_later(struct hg_worker *worker, const struct hg_letter *letter, uint64_t sequence)
{
    if (sequence <= hg_log_durable_sequence(worker->log)) {
        hg_worker_answer(worker, letter);
        return;
    }
    hg_assert(worker->later_count < HG_WORKER_LATER_MAX);
    worker->later[worker->later_count].letter = *letter;
    worker->later[worker->later_count++].sequence = sequence;
}

static bool later_put(struct hg_worker *worker)
{
    uint32_t kept = 0, count = worker->later_count;
    for (uint32_t i = 0; i < count; i++) {
        bool due = worker->later[i].sequence <= hg_log_durable_sequence(worker->log) && !worker->unsent_used;
        if (due)
            hg_worker_answer(worker, &worker->later[i].letter);
        else
            worker->later[kept++] = worker->later[i];
    }
    worker->later_count = kept;
    return kept < count;
}

/* The client is gone, and another one will have its number. */
static void later_forget(struct hg_worker *worker, uint32_t client)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->later_count; i++)
        if (worker->later[i].letter.type != HG_LETTER_CLIENT_ANSWER ||
            worker->later[i].letter.client != client)
            worker->later[kept++] = worker->later[i];
    worker->later_count = kept;
}

/* ---- configuration ---- */

/* What other workers own is not configured here: only who does is remembered. */
static bool stream_is_here(struct hg_worker *worker, const struct hg_config_stream *stream)
{
    if (worker->config.workers == 1 || stream->place == worker->config.worker + 1)
        return true;
    hg_assert(stream->place >= 1 && stream->place <= worker->config.workers); /* housekeeping resolved it */
    worker->elsewhere[worker->elsewhere_count].stream = stream->stream;
    worker->elsewhere[worker->elsewhere_count++].worker = stream->place - 1;
    return false;
}

static bool consumer_is_elsewhere(const struct hg_worker *worker, const struct hg_control_config *config,
                                  const struct hg_config_consumer *consumer)
{
    for (uint32_t i = 0; i < config->stream_count && worker->config.workers > 1; i++)
        if (strncmp(config->streams[i].name, consumer->stream, sizeof(consumer->stream)) == 0)
            return config->streams[i].place != worker->config.worker + 1;
    return false;
}

/* The command file numbers peers by their order; here they have the place they first got. */
static uint64_t peers_mask_here(const struct hg_worker *worker, const struct hg_control_config *config,
                                uint64_t mask)
{
    uint64_t here = 0;
    for (uint32_t i = 0; i < config->peer_count; i++) {
        int32_t peer = mask & (UINT64_C(1) << i) ? hg_peers_find(worker->peers, config->peers[i].node) : -1;
        if (peer >= 0)
            here |= UINT64_C(1) << peer;
    }
    return here;
}

/* The peers of this node's region, but for those that are to become members later. */
static uint64_t quorum_members(const struct hg_worker *worker, const struct hg_control_config *config)
{
    uint64_t members = 0;
    for (uint32_t i = 0; i < config->peer_count; i++)
        if (config->peers[i].region == config->node.region && config->peers[i].learner == 0)
            members |= peers_mask_here(worker, config, UINT64_C(1) << i);
    return members;
}

static int quorum_apply(struct hg_worker *worker, const struct hg_control_config *config, char *text,
                        size_t text_bytes)
{
    uint32_t n = config->quorum_n, w = config->quorum_w;
    uint64_t members = quorum_members(worker, config);
    bool is_right = n == 0 || (n == 1u + (uint32_t)__builtin_popcountll(members) && w > n / 2 && w <= n);
    hg_streams_quorum_set(worker->streams, members, !is_right ? HG_STREAMS_QUORUM_NEVER : n == 0 ? 1 : w);
    if (!is_right)
        snprintf(text, text_bytes,
                 "the quorum can't be %u of %u: the region has %d nodes here; nothing is committed until it "
                 "is set right",
                 w, n, 1 + __builtin_popcountll(members));
    return is_right ? 0 : -EINVAL;
}

static void voters_of(const struct hg_worker *worker, const struct hg_control_config *config,
                      const struct hg_members *members, struct hg_streams_voters *voters)
{
    memset(voters, 0, sizeof(*voters));
    voters->members = *members;
    voters->self = config->node.node;
    for (uint32_t i = 0; i < config->peer_count; i++) {
        const struct hg_config_peer *peer = &config->peers[i];
        int32_t here = hg_peers_find(worker->peers, peer->node);
        if (here < 0 || peer->region != config->node.region || !hg_members_has(members, peer->node))
            continue;
        voters->nodes[here] = peer->node;
        voters->counted |= (uint64_t)hg_members_is_voter(members, peer->node) << here;
    }
}

static void nodes_apply(struct hg_worker *worker, const struct hg_control_config *config)
{
    uint64_t nodes[HG_STREAMS_PEERS_MAX] = {0};
    for (uint32_t i = 0; i < config->peer_count; i++) {
        int32_t here = hg_peers_find(worker->peers, config->peers[i].node);
        if (here >= 0)
            nodes[here] = config->peers[i].node;
    }
    hg_streams_nodes_set(worker->streams, config->node.node, nodes);
}

/* Groups of which the metastore says something. One that is not named any more keeps what it had. */
static int groups_apply(struct hg_worker *worker, const struct hg_control_config *config, char *text,
                        size_t text_bytes)
{
    struct hg_streams_voters voters;
    bool is_new;
    int result = 0;
    nodes_apply(worker, config);
    for (uint32_t i = 0; i < config->group_count && i < HG_CONTROL_GROUPS_MAX; i++) {
        const struct hg_config_group *group = &config->groups[i];
        bool fits = group->group < HG_GROUPS_MAX && group->members.learner_count <= HG_LEARNERS_MAX &&
                    group->members.set.count <= HG_MEMBERS_MAX &&
                    group->members.other.count <= HG_MEMBERS_MAX;
        if (fits)
            hg_streams_epoch_given(worker->streams, group->group, group->epoch);
        if (fits && hg_copies_check(&group->copies))
            hg_streams_copies_set(worker->streams, group->group, &group->copies, group->copies_unknown != 0);
        if (fits && group->members.generation == 0) /* as the command file says */
            continue;
        if (fits)
            voters_of(worker, config, &group->members, &voters);
        if (fits && hg_streams_members_set(worker->streams, group->group, &voters, &is_new)) {
            if (is_new)
                hg_peers_members_new(worker->peers, group->group);
            continue;
        }
        result = -ESTALE;
        snprintf(text, text_bytes,
                 "group %u: members of generation %llu are refused, those of %llu hold: they are older, or "
                 "can't be",
                 group->group, (unsigned long long)group->members.generation,
                 fits ? (unsigned long long)hg_log_members_wanted(worker->log, group->group) : 0ull);
    }
    return result;
}

static uint16_t mtu_of(const struct hg_control_config *config, const struct hg_config_peer *peer)
{
    for (uint32_t i = 0; i < config->port_count; i++)
        if (strncmp(config->ports[i].name, peer->port, HG_CONTROL_NAME_BYTES) == 0 &&
            config->ports[i].mtu_bytes != 0)
            return config->ports[i].mtu_bytes;
    return 1500;
}

static int peers_apply(struct hg_worker *worker, const struct hg_control_config *config, char *text,
                       size_t text_bytes)
{
    int result = 0;
    hg_peers_configure_begin(worker->peers);
    for (uint32_t i = 0; i < config->peer_count; i++) {
        const struct hg_config_peer *peer = &config->peers[i];
        int rc = hg_peers_configure(worker->peers, peer, mtu_of(config, peer), worker->now_ns);
        struct hg_retention_limit limit = {.bytes = peer->drop_behind_bytes,
                                           .ns = peer->drop_behind_seconds * HG_NS_PER_S};
        int32_t index = hg_peers_find(worker->peers, peer->node);
        if (index >= 0)
            hg_streams_peer_limit(worker->streams, (uint32_t)index, peer->name, &limit);
        if (rc >= 0)
            continue;
        result = rc;
        if (rc == -ENOSPC)
            snprintf(text, text_bytes, "peer %s: the worker takes %u peers at most", peer->name,
                     worker->config.peers_max);
        else if (rc == -ENOMEM)
            snprintf(text, text_bytes, "peer %s: no memory for its credit, twice: give it less", peer->name);
        else
            snprintf(text, text_bytes, "peer %s: an MTU is %u to %u bytes, its credit %llu MB at most",
                     peer->name, HG_PEER_MTU_BYTES_MIN, HG_PEER_MTU_BYTES_MAX,
                     (unsigned long long)(HG_PEER_RECEIVE_BYTES_MAX >> 20));
    }
    hg_peers_configure_end(worker->peers, worker->now_ns);
    return result;
}

static int streams_apply(struct hg_worker *worker, const struct hg_control_config *config, char *text,
                         size_t text_bytes)
{
    int result = 0;
    hg_streams_configure_begin(worker->streams);
    worker->elsewhere_count = 0;
    for (uint32_t i = 0; i < config->stream_count; i++) {
        struct hg_config_stream stream = config->streams[i];
        if (!stream_is_here(worker, &stream))
            continue;
        stream.peers_mask = peers_mask_here(worker, config, stream.peers_mask);
        if (stream.node == config->node.node)
            stream.node = 0;
        int rc = hg_streams_configure(worker->streams, &stream);
        if (rc != 0) {
            result = rc;
            snprintf(text, text_bytes, "stream %s: %s", stream.name,
                     rc == -EEXIST   ? "its kind, region or group contradicts what the log has of this id"
                     : rc == -EINVAL ? "groups are numbered from 0 to 63"
                     : rc == -ESTALE
                         ? "it moved to another log of this node, which is not here: bring that back"
                         : "too many streams for one worker");
        }
    }
    hg_streams_configure_end(worker->streams);
    return result;
}

static void consumer_refused(struct hg_worker *worker, const struct hg_config_consumer *consumer,
                             int32_t slot, char *text, size_t text_bytes)
{
    int32_t found = hg_streams_consumer_find(worker->streams, consumer->name);
    if (slot < 0) {
        snprintf(text, text_bytes, "consumer %s: stream %s is unknown", consumer->name, consumer->stream);
        return;
    }
    if (found < 0) {
        snprintf(text, text_bytes, "consumer %s: there are too many, or the log is full", consumer->name);
        return;
    }
    uint32_t slot_of = hg_streams_consumer_at(worker->streams, (uint32_t)found)->slot;
    const struct hg_stream_state *of = hg_streams_at(worker->streams, slot_of);
    snprintf(
        text, text_bytes,
        "consumer %s is of the stream %.31s with id %llu and holds the log for it: 'consumer remove' ends "
        "that; then it can begin on id %llu",
        consumer->name, of->name, (unsigned long long)of->stream,
        (unsigned long long)hg_streams_at(worker->streams, (uint32_t)slot)->stream);
}

static int config_apply(struct hg_worker *worker, const struct hg_control_config *config, char *text,
                        size_t text_bytes)
{
    text[0] = '\0';
    int result = peers_apply(worker, config, text, text_bytes);
    int rc = quorum_apply(worker, config, text, text_bytes);
    result = rc != 0 ? rc : result;
    rc = groups_apply(worker, config, text, text_bytes);
    result = rc != 0 ? rc : result;
    hg_streams_grants_require(worker->streams, config->grant_ms != 0);
    rc = streams_apply(worker, config, text, text_bytes);
    result = rc != 0 ? rc : result;
    if (worker->config.worker < config->log_count) {
        const struct hg_config_log *log = &config->logs[worker->config.worker];
        struct hg_retention_limit keep = {.bytes = log->retain_bytes,
                                          .ns = log->retain_seconds * HG_NS_PER_S};
        hg_streams_log_keep(worker->streams, &keep);
    }
    for (uint32_t i = 0; i < config->consumer_count; i++) {
        const struct hg_config_consumer *consumer = &config->consumers[i];
        if (consumer_is_elsewhere(worker, config, consumer))
            continue;
        int32_t slot = hg_streams_find_name(worker->streams, consumer->stream);
        struct hg_retention_limit limit = {.bytes = consumer->drop_behind_bytes,
                                           .ns = consumer->drop_behind_seconds * HG_NS_PER_S};
        if (slot < 0 || hg_streams_consumer_add(worker->streams, consumer->name, (uint32_t)slot) < 0) {
            result = -EINVAL;
            consumer_refused(worker, consumer, slot, text, text_bytes);
        }
        hg_streams_consumer_limit(worker->streams, consumer->name, &limit);
    }
    return result;
}

static void letter_config(struct hg_worker *worker, struct hg_letter *letter)
{
    const struct hg_control_config *config = letter->pointer;
    struct hg_letter answer = *letter;
    answer.type = HG_LETTER_CONFIG_DONE;
    answer.code = config_apply(worker, config, answer.body.text, sizeof(answer.body.text));
    uint64_t sequence = 0;
    for (uint32_t i = 0; i < config->consumer_count; i++) {
        int32_t consumer = hg_streams_consumer_find(worker->streams, config->consumers[i].name);
        if (consumer >= 0)
            sequence =
                hg_max_u64(sequence, hg_streams_consumer_at(worker->streams, (uint32_t)consumer)->sequence);
    }
    hg_worker_answer_later(worker, &answer, sequence);
}

/* ---- clients ---- */

static void letter_client_open(struct hg_worker *worker, const struct hg_letter *letter)
{
    hg_assert(letter->client < HG_CLIENTS_MAX && worker->client_of[letter->client] < 0);
    int client = hg_clients_open(worker->clients, letter->pointer, (int)letter->number, letter->body.name,
                                 (uint32_t)letter->number2, (uint32_t)letter->code);
    hg_assert(client >= 0); /* both sides have the same number of places */
    worker->client_of[letter->client] = client;
    worker->number_of[client] = letter->client;
}

static void letter_client_attach(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer;
    int32_t client = letter->client < HG_CLIENTS_MAX ? worker->client_of[letter->client] : -1;
    hg_assert(client >= 0);
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_CLIENT_ANSWER;
    answer.client = letter->client;
    answer.body.answer.worker = (uint16_t)worker->config.worker;
    uint64_t sequence =
        hg_clients_attach(worker->clients, (uint32_t)client, &letter->body.attach, &answer.body.answer);
    hg_worker_answer_later(worker, &answer, sequence);
}

static void letter_client_close(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer;
    int32_t client = letter->client < HG_CLIENTS_MAX ? worker->client_of[letter->client] : -1;
    hg_assert(client >= 0);
    hg_clients_close(worker->clients, (uint32_t)client);
    later_forget(worker, letter->client);
    worker->client_of[letter->client] = -1;
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_CLIENT_CLOSED;
    answer.client = letter->client;
    hg_worker_answer(worker, &answer);
}

/* ---- dispatch ---- */

static void letter_consumer_remove(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer = *letter;
    answer.type = HG_LETTER_CONSUMER_REMOVED;
    uint64_t sequence;
    answer.code = hg_streams_consumer_remove(worker->streams, letter->body.name, &sequence);
    hg_worker_answer_later(worker, &answer, sequence);
}

static void letter_places(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer = *letter;
    struct hg_places *places = letter->pointer;
    places->worker = worker->config.worker;
    places->count = 0;
    for (uint32_t i = 0; i < hg_streams_count(worker->streams) && i < HG_PLACES_MAX; i++) {
        const struct hg_stream_state *s = hg_streams_at(worker->streams, i);
        if (s->ended)
            continue;
        places->table[places->count].stream = s->stream;
        places->table[places->count].move = s->move;
        memcpy(places->table[places->count++].name, s->name, sizeof(s->name));
    }
    answer.type = HG_LETTER_PLACES_DONE;
    hg_worker_answer(worker, &answer);
}

static void letter_status(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer = *letter;
    hg_worker_status(worker, letter->pointer);
    answer.type = HG_LETTER_STATUS_DONE;
    hg_worker_answer(worker, &answer);
}

static void letter_log_geometry(struct hg_worker *worker, const struct hg_letter *letter)
{
    struct hg_letter answer = *letter;
    hg_log_geometry_get(worker->log, letter->pointer);
    answer.type = HG_LETTER_LOG_GEOMETRY_DONE;
    hg_worker_answer(worker, &answer);
}

/* One at a time: housekeeping sees to that. */
static void letter_log_grow(struct hg_worker *worker, const struct hg_letter *letter)
{
    worker->growth = letter->pointer;
    hg_log_grow(worker->log, worker->growth);
}

bool hg_worker_growth_turn(struct hg_worker *worker)
{
    struct hg_letter answer;
    if (worker->growth == NULL || worker->unsent_used || hg_log_is_growing(worker->log))
        return false;
    memset(&answer, 0, sizeof(answer));
    answer.type = HG_LETTER_LOG_GROWN;
    answer.pointer = worker->growth;
    worker->growth = NULL;
    hg_worker_answer(worker, &answer);
    return true;
}

/* About who owns a stream, and who writes a group. */
static void letter_owner(struct hg_worker *worker, const struct hg_letter *letter)
{
    switch (letter->type) {
    case HG_LETTER_STREAM_LEAVE:
        hg_worker_stream_leave(worker, letter);
        break;
    case HG_LETTER_STREAM_ENTER:
        hg_worker_stream_enter(worker, letter);
        break;
    case HG_LETTER_STREAM_STAY:
        hg_worker_stream_stay(worker, letter);
        break;
    case HG_LETTER_STREAM_END:
        hg_worker_stream_end(worker, letter);
        break;
    case HG_LETTER_ORPHAN_DONE:
        hg_streams_orphan_written(worker->streams, letter->code, worker->now_ns);
        break;
    case HG_LETTER_GRANT:
        (void)hg_streams_grant(worker->streams, (uint32_t)letter->number, letter->number2,
                               letter->body.deadline_ns);
        break;
    default:
        hg_worker_group_letter(worker, letter);
    }
}

static void letter_port(struct hg_worker *worker, const struct hg_letter *letter)
{
    worker->link.port = letter->pointer;
    worker->link.network = letter->body.network;
    worker->link.neighbours_up = false;
}

static void letter_handle(struct hg_worker *worker, struct hg_letter *letter)
{
    int32_t client = letter->client < HG_CLIENTS_MAX ? worker->client_of[letter->client] : -1;
    switch (letter->type) {
    case HG_LETTER_CONFIG:
        letter_config(worker, letter);
        break;
    case HG_LETTER_PORT:
        letter_port(worker, letter);
        break;
    case HG_LETTER_HANDSHAKE_OUT:
        if (letter->peer < hg_peers_count(worker->peers))
            hg_link_handshake_send(&worker->link, letter->peer, letter->body.handshake.data,
                                   letter->body.handshake.bytes);
        break;
    case HG_LETTER_KEYS:
        if (letter->peer < hg_peers_count(worker->peers))
            hg_peers_keys(worker->peers, letter->peer, &letter->body.keys, worker->now_ns);
        break;
    case HG_LETTER_KEY_CHANGED:
        if (letter->peer < hg_peers_count(worker->peers))
            hg_peers_key_changed(worker->peers, letter->peer, worker->now_ns);
        break;
    case HG_LETTER_PEER_CLONED:
        if (letter->peer < hg_peers_count(worker->peers))
            hg_peers_cloned(worker->peers, letter->peer, worker->now_ns);
        break;
    case HG_LETTER_CLIENT_OPEN:
        letter_client_open(worker, letter);
        break;
    case HG_LETTER_CLIENT_ATTACH:
        letter_client_attach(worker, letter);
        break;
    case HG_LETTER_CLIENT_DETACH:
        if (client >= 0 && letter->body.detach.slot < HG_CLIENT_SLOTS)
            hg_clients_detach(worker->clients, (uint32_t)client, letter->body.detach.slot,
                              letter->body.detach.attachment);
        break;
    case HG_LETTER_CLIENT_CLOSE:
        letter_client_close(worker, letter);
        break;
    case HG_LETTER_PLACES:
        letter_places(worker, letter);
        break;
    case HG_LETTER_STATUS:
        letter_status(worker, letter);
        break;
    case HG_LETTER_CONSUMER_REMOVE:
        letter_consumer_remove(worker, letter);
        break;
    case HG_LETTER_LOG_GEOMETRY:
        letter_log_geometry(worker, letter);
        break;
    case HG_LETTER_LOG_GROW:
        letter_log_grow(worker, letter);
        break;
    case HG_LETTER_STREAM_ADOPT:
        hg_worker_stream_adopt(worker, letter);
        break;
    default:
        letter_owner(worker, letter);
    }
}

static void clients_hang_up(struct hg_worker *worker)
{
    for (uint32_t i = 0; i < hg_clients_bound(worker->clients); i++) {
        struct hg_letter letter;
        if (!hg_clients_hang_up_due(worker->clients, i))
            continue;
        memset(&letter, 0, sizeof(letter));
        letter.type = HG_LETTER_CLIENT_HANG_UP;
        letter.client = worker->number_of[i];
        if (!hg_mailbox_put(worker->config.outbox, &letter))
            return;
        hg_clients_hang_up_told(worker->clients, i);
    }
}

/* Until the log is read back there is nothing to say about streams: letters wait, and only the status is
 * told. */
static bool letter_next_early(struct hg_worker *worker, struct hg_letter *letter)
{
    while (worker->held_count < HG_MAILBOX_LETTERS && hg_mailbox_take(worker->config.inbox, letter)) {
        if (letter->type == HG_LETTER_STATUS)
            return true;
        worker->held[worker->held_count++] = *letter;
    }
    return false;
}

static bool letter_next(struct hg_worker *worker, struct hg_letter *letter)
{
    if (worker->state != HG_WORKER_RUNNING)
        return letter_next_early(worker, letter);
    if (worker->held_next == worker->held_count)
        return hg_mailbox_take(worker->config.inbox, letter);
    struct hg_letter *held = &worker->held[worker->held_next++];
    *letter = *held;
    explicit_bzero(held, sizeof(*held));
    return true;
}

bool hg_worker_letters(struct hg_worker *worker)
{
    struct hg_letter letter = {.type = 0};
    bool any = false;
    if (worker->unsent_used) {
        if (!hg_mailbox_put(worker->config.outbox, &worker->unsent))
            return false;
        worker->unsent_used = false;
    }
    if (worker->later_count > 0)
        any = later_put(worker);
    clients_hang_up(worker);
    for (uint32_t i = 0;
         i < HG_WORKER_LETTERS_TURN && !worker->unsent_used && worker->later_count < HG_WORKER_LATER_MAX;
         i++) {
        if (!letter_next(worker, &letter))
            break;
        letter_handle(worker, &letter);
        any = true;
    }
    if (any)
        explicit_bzero(&letter, sizeof(letter)); /* it may have brought keys */
    return any;
}
