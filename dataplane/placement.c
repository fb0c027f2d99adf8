/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/placement.h"

void hg_placement_init(struct hg_placement *placement, uint32_t workers)
{
    hg_assert(workers >= 1 && workers <= HG_WIRE_WORKERS_MAX);
    memset(placement, 0, sizeof(*placement));
    placement->workers = workers;
}

void hg_placement_hold(struct hg_placement *placement, struct hg_places *places)
{
    hg_assert(places->worker < placement->workers && places->count <= HG_PLACES_MAX);
    placement->held[places->worker] = places;
}

bool hg_placement_known(const struct hg_placement *placement)
{
    for (uint32_t worker = 0; worker < placement->workers; worker++)
        if (placement->held[worker] == NULL)
            return false;
    return placement->workers > 0;
}

/* SplitMix64's finish: every bit of the stream's id and the worker's number moves every bit of the weight. */
static uint64_t weight_of(uint64_t stream, uint32_t worker)
{
    uint64_t h = stream + (worker + 1) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    return h ^ (h >> 31);
}

uint32_t hg_placement_hash(uint64_t stream, uint32_t workers)
{
    uint32_t best = 0;
    for (uint32_t worker = 1; worker < workers; worker++)
        if (weight_of(stream, worker) > weight_of(stream, best))
            best = worker;
    return best;
}

/* Its entry in the worker's log, -1 = none. */
static int32_t entry_of(const struct hg_placement *placement, uint32_t worker, uint64_t stream)
{
    const struct hg_places *places = placement->held[worker];
    for (uint32_t i = 0; places != NULL && i < places->count; i++)
        if (places->table[i].stream == stream)
            return (int32_t)i;
    return -1;
}

static uint32_t move_of(const struct hg_placement *placement, uint32_t worker, uint64_t stream)
{
    return placement->held[worker]->table[entry_of(placement, worker, stream)].move;
}

int32_t hg_placement_held(const struct hg_placement *placement, uint64_t stream)
{
    int32_t best = -1;
    for (uint32_t worker = 0; worker < placement->workers; worker++)
        if (entry_of(placement, worker, stream) >= 0 &&
            (best < 0 || move_of(placement, worker, stream) > move_of(placement, (uint32_t)best, stream)))
            best = (int32_t)worker;
    return best;
}

int32_t hg_placement_held_twice(const struct hg_placement *placement, uint64_t stream)
{
    int32_t best = hg_placement_held(placement, stream);
    for (int32_t worker = best + 1; best >= 0 && worker < (int32_t)placement->workers; worker++)
        if (entry_of(placement, (uint32_t)worker, stream) >= 0 &&
            move_of(placement, (uint32_t)worker, stream) == move_of(placement, (uint32_t)best, stream))
            return worker;
    return -1;
}

int32_t hg_placement_stale(const struct hg_placement *placement, uint64_t *stream)
{
    for (uint32_t worker = 0; worker < placement->workers; worker++) {
        const struct hg_places *places = placement->held[worker];
        for (uint32_t i = 0; places != NULL && i < places->count; i++) {
            int32_t best = hg_placement_held(placement, places->table[i].stream);
            if (places->table[i].move == move_of(placement, (uint32_t)best, places->table[i].stream))
                continue;
            *stream = places->table[i].stream;
            return (int32_t)worker;
        }
    }
    return -1;
}

void hg_placement_forget(struct hg_placement *placement, uint32_t worker, uint64_t stream)
{
    hg_assert(worker < placement->workers);
    int32_t entry = entry_of(placement, worker, stream);
    if (entry < 0)
        return;
    struct hg_places *places = placement->held[worker];
    places->table[entry] = places->table[--places->count];
}

static void entry_add(struct hg_places *places, const char *name, uint64_t stream, uint32_t move)
{
    hg_assert(places->count < HG_PLACES_MAX);
    places->table[places->count].stream = stream;
    places->table[places->count].move = move;
    memset(places->table[places->count].name, 0, sizeof(places->table[0].name));
    memcpy(places->table[places->count++].name, name, strnlen(name, sizeof(places->table[0].name) - 1));
}

void hg_placement_move(struct hg_placement *placement, uint32_t worker, const char *name, uint64_t stream,
                       uint32_t move)
{
    hg_assert(worker < placement->workers);
    for (uint32_t i = 0; i < placement->workers; i++)
        hg_placement_forget(placement, i, stream);
    entry_add(placement->held[worker], name, stream, move);
}

void hg_placement_given(struct hg_placement *placement, const struct hg_control_config *config)
{
    for (uint32_t i = 0; i < config->stream_count; i++) {
        const struct hg_config_stream *stream = &config->streams[i];
        hg_assert(stream->place >= 1 && stream->place <= placement->workers);
        struct hg_places *places = placement->held[stream->place - 1];
        if (hg_placement_held(placement, stream->stream) < 0 && places->count < HG_PLACES_MAX)
            entry_add(places, stream->name, stream->stream, 0);
    }
}

int32_t hg_placement_held_name(const struct hg_placement *placement, const char *name)
{
    for (uint32_t worker = 0; worker < placement->workers; worker++) {
        const struct hg_places *places = placement->held[worker];
        for (uint32_t i = 0; places != NULL && i < places->count; i++)
            if (strncmp(places->table[i].name, name, sizeof(places->table[i].name)) == 0)
                return hg_placement_held(placement, places->table[i].stream);
    }
    return -1;
}

const struct hg_config_stream *hg_placement_resolve(const struct hg_placement *placement,
                                                    struct hg_control_config *config)
{
    const struct hg_config_stream *refused = NULL;
    for (uint32_t i = 0; i < config->stream_count; i++) {
        struct hg_config_stream *stream = &config->streams[i];
        int32_t held = hg_placement_held(placement, stream->stream);
        uint32_t place =
            held >= 0 ? (uint32_t)held + 1 : hg_placement_hash(stream->stream, placement->workers) + 1;
        bool has_moved = held >= 0 && move_of(placement, (uint32_t)held, stream->stream) > 0;
        bool fits = stream->place <= placement->workers && (held < 0 || stream->place == place || has_moved);
        if (stream->place != 0 && !fits && refused == NULL)
            refused = stream;
        if (stream->place == 0 || !fits || has_moved)
            stream->place = place;
    }
    return refused;
}
