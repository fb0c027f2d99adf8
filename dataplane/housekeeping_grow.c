/* SPDX-License-Identifier: Apache-2.0
 *
 * Housekeeping's part in making a log longer: the worker says what its log is; a thread writes the zeros
 * behind it, for that blocks; then the worker gets the memory for the longer log, and gives it back when it
 * has its new size.
 */
#include "dataplane/housekeeping.h"
#include "dataplane/wal/log.h"
#include "drivers/disk/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum growing_phase {
    GROWING_ASKED,   /* the worker, for its geometry */
    GROWING_WRITTEN, /* zeros, by the thread */
    GROWING_GIVEN,   /* to the worker */
};

struct hg_log_growing {
    enum growing_phase phase;
    uint32_t worker;
    bool is_check;
    uint64_t bytes_wanted;
    struct hg_log_geometry geometry; /* lent to the worker while ASKED */
    uint32_t segment_count;
    uint64_t used_bytes, bytes; /* of the file: of the log now, and then */
    struct hg_log_growth *growth;
    struct hg_clock *clock;
    int wake_fd;
    char path[HG_CONTROL_PATH_BYTES];
    /* The thread's, until it is_over. */
    uint64_t written_ns;
    _Atomic uint64_t done_bytes;
    _Atomic bool is_over;
    int result;
    char error[HG_CONTROL_TEXT_BYTES];
};

static void forget(struct hg_housekeeping *hk)
{
    hg_log_growth_free(hk->growing->growth);
    free(hk->growing);
    hk->growing = NULL;
}

/* ---- the thread ---- */

/* It pauses as long as it wrote: half of the device stays with those who append. */
static void written(void *arg, uint64_t bytes_done)
{
    struct hg_log_growing *growing = arg;
    uint64_t now_ns = growing->clock->now_ns(growing->clock), took_ns = now_ns - growing->written_ns;
    struct timespec pause = {.tv_sec = (time_t)(took_ns / HG_NS_PER_S),
                             .tv_nsec = (long)(took_ns % HG_NS_PER_S)};
    atomic_store(&growing->done_bytes, bytes_done);
    (void)nanosleep(&pause, NULL);
    growing->written_ns = growing->clock->now_ns(growing->clock);
}

static void *zeros_run(void *arg)
{
    struct hg_log_growing *growing = arg;
    int wake_fd = growing->wake_fd;
    growing->written_ns = growing->clock->now_ns(growing->clock);
    growing->result = hg_disk_file_extend(growing->path, growing->used_bytes, growing->bytes, written,
                                          growing, growing->error, sizeof(growing->error));
    atomic_store(&growing->is_over, true); /* from here on it is housekeeping's */
    eventfd_write(wake_fd, 1);
    return NULL;
}

static int thread_start(struct hg_log_growing *growing)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, zeros_run, growing);
    return rc == 0 ? -pthread_detach(thread) : -rc;
}

/* ---- the command ---- */

void hg_housekeeping_grow_begin(struct hg_housekeeping *hk, const struct hg_control_message *message)
{
    struct hg_letter letter;
    char text[HG_CONTROL_TEXT_BYTES];
    if (!hk->started || !hk->placed || !hg_housekeeping_room(hk)) {
        hg_housekeeping_command_end(hk, -EAGAIN, "the logs are not read back yet: try again");
        return;
    }
    if (message->number >= hk->log_count) {
        hg_housekeeping_command_end(hk, -ENOENT, "there is no such log; see 'show log'");
        return;
    }
    if (hk->growing != NULL) {
        snprintf(text, sizeof(text),
                 "log %u is getting longer, and that is one at a time: 'show log' says how far it is",
                 hk->growing->worker);
        hg_housekeeping_command_end(hk, -EBUSY, text);
        return;
    }
    hk->growing = calloc(1, sizeof(*hk->growing));
    hg_assert(hk->growing != NULL);
    hk->growing->worker = message->number;
    hk->growing->is_check = message->command == HG_COMMAND_LOG_GROW_CHECK;
    hk->growing->bytes_wanted = message->epoch;
    hk->growing->clock = hk->node->clock;
    hk->growing->wake_fd = hk->node->housekeeping_eventfd;
    memcpy(hk->growing->path, hk->logs[message->number].path, sizeof(hk->growing->path));
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_LOG_GEOMETRY;
    letter.pointer = &hk->growing->geometry;
    hg_assert(hg_housekeeping_put(hk, message->number, &letter));
}

/* NULL, or why it does not become longer. */
static const char *problem(struct hg_log_growing *growing)
{
    struct hg_log_geometry longer = growing->geometry;
    if (hg_log_grow_problem(&growing->geometry, growing->bytes_wanted, &growing->segment_count,
                            growing->error, sizeof(growing->error)) != NULL)
        return growing->error;
    longer.segment_count = growing->segment_count;
    growing->used_bytes = hg_log_file_bytes(&growing->geometry);
    growing->bytes = hg_log_file_bytes(&longer);
    if (hg_disk_file_extend_check(growing->path, growing->bytes, growing->error, sizeof(growing->error)) != 0)
        return growing->error;
    if (growing->is_check)
        return NULL;
    growing->growth = hg_log_growth_create(&growing->geometry, growing->segment_count);
    if (growing->growth == NULL)
        return "there is no memory for the places of its writes";
    return thread_start(growing) != 0 ? "no thread can be started to write the zeros: try again" : NULL;
}

static void geometry_take(struct hg_housekeeping *hk)
{
    struct hg_log_growing *growing = hk->growing;
    char text[HG_CONTROL_TEXT_BYTES];
    const char *why = problem(growing);
    if (why != NULL) {
        snprintf(text, sizeof(text), "nothing was changed: %.160s", why);
        hg_housekeeping_command_end(hk, -EINVAL, text);
        forget(hk);
        return;
    }
    snprintf(text, sizeof(text), "log %u %s from %u to %u segments, %llu MiB%s", growing->worker,
             growing->is_check ? "would grow" : "grows", growing->geometry.segment_count,
             growing->segment_count, (unsigned long long)(growing->bytes >> 20),
             growing->is_check ? "" : "; 'show log' says how far it is, an event that it is done");
    hg_housekeeping_command_end(hk, 0, text);
    if (growing->is_check)
        forget(hk);
    else
        growing->phase = GROWING_WRITTEN;
}

static void grown(struct hg_housekeeping *hk)
{
    struct hg_log_growing *growing = hk->growing;
    char text[HG_CONTROL_TEXT_BYTES];
    hk->node->workers[growing->worker].log_size_bytes = growing->bytes;
    snprintf(text, sizeof(text), "log %u has %u segments now (before: %u), %llu MiB", growing->worker,
             growing->segment_count, growing->geometry.segment_count,
             (unsigned long long)(growing->bytes >> 20));
    hg_housekeeping_say(hk, HG_SEVERITY_INFO, "log_grown", text);
    forget(hk);
}

void hg_housekeeping_grow_letter(struct hg_housekeeping *hk, uint32_t worker, const struct hg_letter *letter)
{
    hg_assert(hk->growing != NULL && hk->growing->worker == worker);
    if (letter->type == HG_LETTER_LOG_GEOMETRY_DONE)
        geometry_take(hk);
    else
        grown(hk);
}

void hg_housekeeping_grow_tick(struct hg_housekeeping *hk)
{
    struct hg_log_growing *growing = hk->growing;
    struct hg_letter letter;
    char text[HG_CONTROL_TEXT_BYTES];
    if (growing == NULL || growing->phase != GROWING_WRITTEN || !atomic_load(&growing->is_over))
        return;
    if (growing->result != 0) {
        snprintf(text, sizeof(text), "log %u keeps its size: %.150s", growing->worker, growing->error);
        hg_housekeeping_say(hk, HG_SEVERITY_ERROR, "log_grow_failed", text);
        forget(hk);
        return;
    }
    memset(&letter, 0, sizeof(letter));
    letter.type = HG_LETTER_LOG_GROW;
    letter.pointer = growing->growth;
    if (hg_housekeeping_put(hk, growing->worker, &letter))
        growing->phase = GROWING_GIVEN;
}

uint32_t hg_housekeeping_grow_percent(const struct hg_housekeeping *hk, uint32_t worker)
{
    const struct hg_log_growing *growing = hk->growing;
    if (growing == NULL || growing->worker != worker || growing->phase == GROWING_ASKED)
        return 0;
    uint64_t done_bytes = atomic_load(&growing->done_bytes);
    return (uint32_t)hg_max_u64(1, done_bytes * 100 / (growing->bytes - growing->used_bytes));
}
