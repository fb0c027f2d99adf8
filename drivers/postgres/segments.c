/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/postgres/segments.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "drivers/platform/platform.h"

const char *hg_segments_outcome_name(enum hg_segments_outcome outcome)
{
    switch (outcome) {
    case HG_SEGMENTS_OK:
        return "ok";
    case HG_SEGMENTS_RETRY:
        return "no_space";
    case HG_SEGMENTS_RESTART:
        return "no_space_at_fsync";
    case HG_SEGMENTS_GAP:
        return "gap";
    case HG_SEGMENTS_DIFFERENT:
        return "segment_different";
    case HG_SEGMENTS_SIZE:
        return "segment_size";
    case HG_SEGMENTS_POSITION:
        return "position_invalid";
    case HG_SEGMENTS_FAILED:
        return "directory_failed";
    }
    return "unknown";
}

void hg_segments_init(struct hg_segments *segments, const struct hg_segment_files *files, uint32_t timeline,
                      uint32_t segment_bytes, uint64_t lsn_newest)
{
    hg_assert(hg_segment_bytes_valid(segment_bytes));
    hg_assert(timeline != 0);
    hg_assert(hg_segment_start(lsn_newest, segment_bytes) == lsn_newest);
    memset(segments, 0, sizeof(*segments));
    segments->files = *files;
    segments->timeline = timeline;
    segments->segment_bytes = segment_bytes;
    segments->lsn_newest = lsn_newest;
    segments->step = HG_SEGMENTS_STEP_START;
}

void hg_segments_close(struct hg_segments *segments)
{
    if (segments->file_open) {
        segments->files.close(segments->files.context);
        segments->file_open = false;
    }
}

static enum hg_segments_outcome failed(struct hg_segments *segments, const char *step, int64_t error)
{
    hg_assert(error < 0);
    segments->error_number = (int)-error;
    segments->error_step = step;
    bool no_space = error == -ENOSPC || error == -EDQUOT;
    if (!no_space) {
        return HG_SEGMENTS_FAILED;
    }
    if (segments->step != HG_SEGMENTS_STEP_SYNC) {
        return HG_SEGMENTS_RETRY;
    }
    /* After a failed fsync the kernel may call lost pages clean: they must be written again, not synced
     * again. What is only compared isn't written again, so there nothing would bring it back. */
    return segments->verifying ? HG_SEGMENTS_FAILED : HG_SEGMENTS_RESTART;
}

/* Where to begin: the stream is delivered from the first frame that ends above the saved position, and saved
 * positions are segment starts, so it is the first one at or above the first frame's beginning. */
static enum hg_segments_outcome begin(struct hg_segments *segments, uint64_t lsn, uint64_t lsn_end)
{
    uint64_t start = hg_segment_start_up(lsn, segments->segment_bytes);
    if (start == UINT64_MAX) {
        return HG_SEGMENTS_POSITION;
    }
    if (segments->lsn_newest != 0 && start > segments->lsn_newest) {
        segments->lsn_error = segments->lsn_newest;
        return HG_SEGMENTS_GAP;
    }
    segments->began_mid_segment = start >= lsn_end && segments->lsn_newest < start;
    segments->lsn_start = start;
    segments->lsn_next = start;
    segments->lsn_completed = start;
    segments->step = HG_SEGMENTS_STEP_OPEN;
    return HG_SEGMENTS_OK;
}

static enum hg_segments_outcome open_segment(struct hg_segments *segments)
{
    void *context = segments->files.context;
    hg_assert(!segments->file_open);
    hg_assert(hg_segment_start(segments->lsn_next, segments->segment_bytes) == segments->lsn_next);
    hg_segment_name(segments->name, segments->timeline, segments->lsn_next, segments->segment_bytes);
    int64_t size = segments->files.size(context, segments->name);
    if (size < 0 && size != -ENOENT) {
        return failed(segments, "look at", size);
    }
    if (size >= 0 && (uint64_t)size != segments->segment_bytes) {
        return HG_SEGMENTS_SIZE;
    }
    segments->verifying = size >= 0;
    snprintf(segments->file, sizeof(segments->file), "%s%s", segments->name,
             segments->verifying ? "" : ".partial");
    int rc = segments->files.open(context, segments->file, segments->segment_bytes, !segments->verifying);
    if (rc < 0) {
        return failed(segments, "open", rc);
    }
    segments->file_open = true;
    segments->step = segments->verifying ? HG_SEGMENTS_STEP_COMPARE : HG_SEGMENTS_STEP_WRITE;
    return HG_SEGMENTS_OK;
}

static enum hg_segments_outcome compare(struct hg_segments *segments, uint64_t offset, const uint8_t *data,
                                        uint32_t bytes)
{
    for (uint32_t done = 0; done < bytes;) {
        uint32_t count = (uint32_t)hg_min_u64(bytes - done, HG_SEGMENTS_COMPARE_BYTES);
        int rc = segments->files.read(segments->files.context, offset + done, segments->compare, count);
        if (rc < 0) {
            return failed(segments, "read", rc);
        }
        if (memcmp(segments->compare, data + done, count) != 0) {
            uint32_t same = 0;
            while (segments->compare[same] == data[done + same]) {
                same++;
            }
            segments->lsn_error = segments->lsn_next + done + same;
            return HG_SEGMENTS_DIFFERENT;
        }
        done += count;
    }
    return HG_SEGMENTS_OK;
}

static enum hg_segments_outcome put(struct hg_segments *segments, const uint8_t *data, uint32_t bytes)
{
    uint64_t offset = segments->lsn_next & (segments->segment_bytes - 1);
    hg_assert(segments->file_open);
    hg_assert(offset + bytes <= segments->segment_bytes);
    if (segments->step == HG_SEGMENTS_STEP_COMPARE) {
        enum hg_segments_outcome outcome = compare(segments, offset, data, bytes);
        if (outcome != HG_SEGMENTS_OK) {
            return outcome;
        }
    } else {
        hg_assert(segments->step == HG_SEGMENTS_STEP_WRITE);
        int rc = segments->files.write(segments->files.context, offset, data, bytes);
        if (rc < 0) {
            return failed(segments, "write", rc);
        }
    }
    segments->lsn_next += bytes;
    if (offset + bytes == segments->segment_bytes) {
        segments->step = HG_SEGMENTS_STEP_SYNC;
    }
    return HG_SEGMENTS_OK;
}

/* fsync, rename, fsync of the directory: each step is left only when it succeeded, so a retry repeats just
 * it. */
static enum hg_segments_outcome finish(struct hg_segments *segments)
{
    void *context = segments->files.context;
    int rc;
    if (segments->step == HG_SEGMENTS_STEP_SYNC) {
        rc = segments->files.sync(context);
        if (rc < 0) {
            return failed(segments, "fsync", rc);
        }
        hg_segments_close(segments);
        /* A name that was there already may not have reached the disk before we were killed: sync it again.
         */
        segments->step = segments->verifying ? HG_SEGMENTS_STEP_SYNC_DIRECTORY : HG_SEGMENTS_STEP_RENAME;
    }
    if (segments->step == HG_SEGMENTS_STEP_RENAME) {
        rc = segments->files.rename(context, segments->file, segments->name);
        if (rc < 0) {
            return failed(segments, "rename", rc);
        }
        segments->step = HG_SEGMENTS_STEP_SYNC_DIRECTORY;
    }
    hg_assert(segments->step == HG_SEGMENTS_STEP_SYNC_DIRECTORY);
    rc = segments->files.sync_directory(context);
    if (rc < 0) {
        return failed(segments, "fsync of the directory", rc);
    }
    hg_assert(segments->lsn_next == segments->lsn_completed + segments->segment_bytes);
    struct hg_segment_done done = {segments->name, segments->lsn_completed, segments->lsn_next,
                                   segments->verifying};
    segments->lsn_completed = segments->lsn_next;
    segments->step = HG_SEGMENTS_STEP_OPEN;
    segments->files.completed(context, &done);
    return HG_SEGMENTS_OK;
}

/* Goes on with what a RETRY left undone. */
static enum hg_segments_outcome settle(struct hg_segments *segments)
{
    return segments->step >= HG_SEGMENTS_STEP_SYNC ? finish(segments) : HG_SEGMENTS_OK;
}

enum hg_segments_outcome hg_segments_push(struct hg_segments *segments, uint64_t lsn, const void *data,
                                          uint32_t bytes)
{
    const uint8_t *at = data;
    if (lsn == 0 || lsn > UINT64_MAX - bytes) {
        return HG_SEGMENTS_POSITION;
    }
    enum hg_segments_outcome outcome =
        segments->step == HG_SEGMENTS_STEP_START ? begin(segments, lsn, lsn + bytes) : settle(segments);
    uint64_t lsn_end = lsn + bytes;
    while (outcome == HG_SEGMENTS_OK && lsn_end > segments->lsn_next) {
        if (lsn > segments->lsn_next) {
            segments->lsn_error = segments->lsn_next;
            return HG_SEGMENTS_GAP;
        }
        if (segments->step == HG_SEGMENTS_STEP_OPEN) {
            outcome = open_segment(segments);
            continue;
        }
        uint64_t room = segments->segment_bytes - (segments->lsn_next & (segments->segment_bytes - 1));
        uint32_t count = (uint32_t)hg_min_u64(room, lsn_end - segments->lsn_next);
        outcome = put(segments, at + (segments->lsn_next - lsn), count);
        if (outcome == HG_SEGMENTS_OK) {
            outcome = settle(segments);
        }
    }
    return outcome;
}
