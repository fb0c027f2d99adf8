/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-perf commits: a producer over libheliograph, for a dataplane that runs, which always has so many
 * entries waiting to be committed: how many are in a second, and how long each of them took, from its append
 * until this process knows. At a pace each entry has its time, and its wait begins then even where it was
 * taken later, so that a stall counts for all that it held up.
 */
#include "drivers/client/heliograph.h"
#include "drivers/clock/clock.h"
#include "perf/perf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WAITERS_MAX   4096u /* power of two */
#define SAMPLES_MAX   (1u << 22)
#define APPENDS_MAX   64u
#define DEADLINE_NS   (30 * HG_NS_PER_S)
#define WARM_NS       (300 * HG_NS_PER_MS)
#define RING_BYTES    (64u << 20)
#define ENTRY_BYTES   128u
#define WAITERS       16u
#define WAITING_BYTES (RING_BYTES / 4) /* of entries, so that none waits for room in the ring */

struct commits {
    const struct hg_perf_options *options;
    struct hg_client *client;
    struct hg_stream *stream;
    struct hg_clock *clock;
    uint32_t entry_bytes, waiters;
    uint8_t *data;
    uint64_t lsn_begin;
    uint64_t taken, done;
    uint64_t begun_ns[WAITERS_MAX];
    uint64_t pace_begin_ns;
    /* Of those that were committed in the time that counts. */
    uint64_t count_begin_ns, count_end_ns, counted;
    uint32_t sample_count;
    uint32_t samples_ns[SAMPLES_MAX];
};

static int attach(struct commits *commits)
{
    struct hg_stream_options stream = {.append = true, .append_ring_bytes = RING_BYTES};
    uint64_t deadline_ns = commits->clock->now_ns(commits->clock) + DEADLINE_NS;
    commits->client = hg_client_open(commits->options->run, "helio-perf");
    if (commits->client == NULL)
        return HG_E_INVALID;
    int rc =
        hg_stream_attach(commits->client, commits->options->stream, &stream, &commits->stream, deadline_ns);
    if (rc == 0)
        commits->lsn_begin = hg_stream_append_end(commits->stream);
    return rc;
}

/* When this entry's time comes; without a pace it always has. */
static uint64_t due_ns(const struct commits *commits, uint64_t entry)
{
    uint32_t pace_per_s = commits->options->pace_per_s;
    return pace_per_s == 0 ? 0 : commits->pace_begin_ns + entry * HG_NS_PER_S / pace_per_s;
}

/* How many may be appended now. */
static uint32_t room(const struct commits *commits, uint64_t now_ns)
{
    uint64_t waiters = commits->waiters - (commits->taken - commits->done), count = 0;
    while (count < hg_min_u64(waiters, APPENDS_MAX) && due_ns(commits, commits->taken + count) <= now_ns)
        count++;
    return (uint32_t)count;
}

/* As many as may wait, and are due. */
static int fill(struct commits *commits)
{
    struct hg_entry entries[APPENDS_MAX];
    uint64_t now_ns = commits->clock->now_ns(commits->clock);
    uint32_t count;
    memset(entries, 0, sizeof(entries));
    for (; (count = room(commits, now_ns)) > 0; now_ns = commits->clock->now_ns(commits->clock)) {
        for (uint32_t i = 0; i < count; i++) {
            entries[i] = (struct hg_entry){
                .op = HG_OP_INSERT, .span = 1, .data_bytes = commits->entry_bytes, .data = commits->data};
            uint64_t begun_ns = due_ns(commits, commits->taken + i);
            commits->begun_ns[(commits->taken + i) % WAITERS_MAX] = begun_ns != 0 ? begun_ns : now_ns;
        }
        int taken = hg_stream_append(commits->stream, entries, count, now_ns + DEADLINE_NS);
        if (taken < 0)
            return taken;
        commits->taken += (uint64_t)taken;
    }
    return 0;
}

static void committed_note(struct commits *commits)
{
    uint64_t committed = hg_stream_committed_end(commits->stream);
    uint64_t now_ns = commits->clock->now_ns(commits->clock);
    bool counts = now_ns >= commits->count_begin_ns && now_ns < commits->count_end_ns;
    for (; commits->done < commits->taken && commits->lsn_begin + commits->done < committed;
         commits->done++) {
        uint64_t took_ns = now_ns - commits->begun_ns[commits->done % WAITERS_MAX];
        commits->counted += counts;
        if (counts && commits->sample_count < SAMPLES_MAX)
            commits->samples_ns[commits->sample_count++] = (uint32_t)hg_min_u64(took_ns, UINT32_MAX);
    }
}

/* Until the oldest that waits is committed, or the next one is due. */
static int wait_next(struct commits *commits, uint64_t now_ns)
{
    uint64_t due = due_ns(commits, commits->taken);
    uint64_t deadline_ns = hg_min_u64(due != 0 ? due : UINT64_MAX, now_ns + DEADLINE_NS);
    if (commits->done == commits->taken && deadline_ns > now_ns) {
        struct timespec pause = {.tv_sec = (time_t)((deadline_ns - now_ns) / HG_NS_PER_S),
                                 .tv_nsec = (long)((deadline_ns - now_ns) % HG_NS_PER_S)};
        nanosleep(&pause, NULL);
        return 0;
    }
    bool is_paced = due != 0 && commits->taken - commits->done < commits->waiters;
    int rc = hg_stream_wait(commits->stream, HG_WHERE_COMMITTED, 0, commits->lsn_begin + commits->done + 1,
                            is_paced ? deadline_ns : now_ns + DEADLINE_NS);
    return is_paced && rc == HG_E_TIMEOUT ? 0 : rc;
}

static int run(struct commits *commits)
{
    uint64_t now_ns = commits->clock->now_ns(commits->clock);
    commits->pace_begin_ns = now_ns;
    commits->count_begin_ns = now_ns + WARM_NS;
    commits->count_end_ns = commits->count_begin_ns + (uint64_t)(commits->options->seconds * 1e9);
    int rc = 0;
    while (rc == 0 && (now_ns < commits->count_end_ns || commits->done < commits->taken)) {
        if (now_ns < commits->count_end_ns)
            rc = fill(commits);
        if (rc == 0)
            rc = wait_next(commits, now_ns);
        if (rc == 0)
            committed_note(commits);
        now_ns = commits->clock->now_ns(commits->clock);
    }
    return rc;
}

static int sample_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void report_add(struct commits *commits, struct hg_perf_report *report)
{
    uint32_t count = commits->sample_count;
    double seconds = (double)(commits->count_end_ns - commits->count_begin_ns) / 1e9;
    qsort(commits->samples_ns, count, sizeof(commits->samples_ns[0]), sample_compare);
    hg_perf_report_add(report, (double)commits->counted / seconds, "commits_per_s/bytes=%u/waiters=%u",
                       commits->entry_bytes, commits->waiters);
    for (uint32_t share = 50; share <= 99; share += 49)
        hg_perf_report_add(
            report, count == 0 ? 0 : commits->samples_ns[(uint64_t)(count - 1) * share / 100] / 1e3,
            "commit_us/p%u/bytes=%u/waiters=%u", share, commits->entry_bytes, commits->waiters);
    hg_perf_report_add(report, (double)commits->done, "commits/bytes=%u/waiters=%u", commits->entry_bytes,
                       commits->waiters);
}

int hg_perf_commits(const struct hg_perf_options *options, struct hg_perf_report *report)
{
    static struct commits commits;
    commits.options = options;
    commits.clock = hg_clock_tsc();
    commits.entry_bytes = options->entry_bytes != 0 ? options->entry_bytes : ENTRY_BYTES;
    commits.waiters = options->waiters != 0 ? options->waiters : WAITERS;
    if (options->run == NULL || options->stream == NULL || commits.waiters > WAITERS_MAX ||
        (uint64_t)commits.entry_bytes * commits.waiters > WAITING_BYTES) {
        fprintf(
            stderr,
            "helio-perf: commits needs --run and --stream; at most %u --waiters, with %u MiB of entries\n",
            WAITERS_MAX, WAITING_BYTES >> 20);
        return -EINVAL;
    }
    commits.data = malloc(commits.entry_bytes);
    hg_assert(commits.data != NULL);
    for (uint32_t i = 0; i < commits.entry_bytes; i++)
        commits.data[i] = (uint8_t)commits.clock->random_u64(commits.clock);
    int rc = attach(&commits);
    if (rc == 0)
        rc = run(&commits);
    if (rc == 0)
        report_add(&commits, report);
    else
        fprintf(stderr, "helio-perf: %s: %s (%s)\n", options->stream,
                commits.client != NULL ? hg_client_error(commits.client) : "no memory", hg_error_name(rc));
    if (commits.client != NULL)
        hg_client_close(commits.client);
    free(commits.data);
    return rc == 0 ? 0 : -EIO;
}
