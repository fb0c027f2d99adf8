/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/log/image.h"
#include "drivers/clock/clock.h"
#include "tools/log/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_NS          (20 * HG_NS_PER_MS)
#define PROGRESS_AFTER_NS (2 * HG_NS_PER_S)
#define PROGRESS_EACH_NS  (HG_NS_PER_S / 2)

static uint64_t now_ns(void)
{
    struct hg_clock *clock = hg_clock_tsc();
    return clock->now_ns(clock);
}

bool image_open(struct image *image, const char *path)
{
    struct stat status;
    *image = (struct image){.path = path, .begin_ns = now_ns()};
    image->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (image->fd < 0 && errno == EINVAL)
        image->fd = open(path, O_RDONLY | O_CLOEXEC); /* a file system without O_DIRECT */
    int error = image->fd < 0 || fstat(image->fd, &status) != 0 ? errno : 0;
    if (error == 0 && S_ISDIR(status.st_mode))
        error = EISDIR;
    off_t bytes = error == 0 ? lseek(image->fd, 0, SEEK_END) : -1; /* of a device too */
    if (error == 0 && bytes < 0)
        error = errno;
    image->size_bytes = bytes < 0 ? 0 : (uint64_t)bytes;
    if (error == 0)
        return true;
    fprintf(stderr, "helio-log: cannot open %s: %s\n", path, strerror(error));
    if (image->fd >= 0)
        close(image->fd);
    return false;
}

void image_close(struct image *image)
{
    close(image->fd);
}

int image_read(void *ctx, void *data, uint32_t bytes, uint64_t offset)
{
    const struct image *image = ctx;
    for (uint32_t done = 0; done < bytes;) {
        ssize_t count = pread(image->fd, (uint8_t *)data + done, bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -EIO; /* it became shorter */
        done += (uint32_t)count;
    }
    return 0;
}

int image_write(void *ctx, const void *data, uint32_t bytes, uint64_t offset)
{
    const struct image *image = ctx;
    for (uint32_t done = 0; done < bytes;) {
        ssize_t count = pwrite(image->fd, (const uint8_t *)data + done, bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? -errno : -EIO;
        done += (uint32_t)count;
    }
    return 0;
}

int image_flush(void *ctx)
{
    const struct image *image = ctx;
    return fsync(image->fd) == 0 ? 0 : -errno;
}

bool image_lock(struct image *image)
{
    int fd = open(image->path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0 && errno == EINVAL)
        fd = open(image->path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        close(image->fd);
        image->fd = fd;
        return true;
    }
    fprintf(stderr, "helio-log: cannot %s %s: %s\n", fd < 0 ? "write to" : "lock", image->path,
            fd >= 0 && errno == EWOULDBLOCK ? "a dataplane has it open; stop that first" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

void image_pause(void *ctx)
{
    struct timespec pause = {.tv_nsec = PAUSE_NS};
    (void)ctx;
    nanosleep(&pause, NULL);
}

void image_progress(void *ctx, uint64_t bytes, uint64_t bytes_total)
{
    struct image *image = ctx;
    uint64_t now = now_ns();
    if (now - image->begin_ns < PROGRESS_AFTER_NS || now - image->shown_ns < PROGRESS_EACH_NS)
        return;
    image->shown_ns = now;
    fprintf(stderr, "\rread %llu of about %llu MiB, %llu MiB/s ", (unsigned long long)(bytes >> 20),
            (unsigned long long)(bytes_total >> 20),
            (unsigned long long)((unsigned __int128)bytes * HG_NS_PER_S / (now - image->begin_ns) >> 20));
}

void image_progress_end(struct image *image)
{
    if (image->shown_ns != 0)
        fputc('\n', stderr);
}

/* ---- words ---- */

void hex_print(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
}

void json_string_print(const char *text)
{
    putchar('"');
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned char)*text);
        else
            putchar(*text);
    }
    putchar('"');
}

const char *severity_text(enum hg_log_severity severity)
{
    static const char *const texts[HG_LOG_SEVERITY_COUNT] = {[HG_LOG_SEVERITY_NONE] = "fine",
                                                             [HG_LOG_SEVERITY_WORN] = "worn",
                                                             [HG_LOG_SEVERITY_UNREADABLE] = "unreadable",
                                                             [HG_LOG_SEVERITY_DAMAGED] = "damaged"};
    return texts[severity];
}

const char *end_text(enum hg_log_end end)
{
    switch (end) {
    case HG_LOG_END_NOTHING:
        return "nothing whole lies there: zeros, or a write that was never acknowledged";
    case HG_LOG_END_OLDER:
        return "a block of an earlier cycle or life lies there";
    case HG_LOG_END_FULL:
        return "the log is full";
    case HG_LOG_END_LIVE:
        return "the log is being written: what came later was not read";
    case HG_LOG_END_DAMAGE:
        return "nothing whole was found behind the damage";
    case HG_LOG_END_NEVER:
        break;
    }
    return "without a superblock it has no beginning";
}

const char *outcome_text(enum hg_log_outcome outcome)
{
    switch (outcome) {
    case HG_LOG_OUTCOME_OPENS:
        return "opens it";
    case HG_LOG_OUTCOME_CORRUPT:
        return "refuses it as corrupt, exit 4";
    case HG_LOG_OUTCOME_UNUSABLE:
        return "refuses it as unusable, exit 4";
    case HG_LOG_OUTCOME_UNREADABLE:
        break;
    }
    return "may end with an error of the device, exit 3";
}

int exit_of(const struct hg_log_audit_result *result)
{
    if (result->findings[HG_LOG_SEVERITY_DAMAGED] > 0)
        return LOG_EXIT_DAMAGED;
    if (result->findings[HG_LOG_SEVERITY_UNREADABLE] > 0)
        return LOG_EXIT_UNREADABLE;
    return result->findings[HG_LOG_SEVERITY_WORN] > 0 ? LOG_EXIT_WORN : LOG_EXIT_FINE;
}

/* ---- findings ---- */

static const char *finding_severity_text(const struct hg_log_finding *finding)
{
    enum hg_log_severity severity = hg_log_finding_severity(finding->kind);
    if (finding->kind == HG_LOG_FINDING_REPAIRED || finding->kind == HG_LOG_FINDING_REPAIRED_BATCHES)
        return "repaired";
    return severity == HG_LOG_SEVERITY_NONE ? "accepted" : severity_text(severity);
}

static bool finding_has_stream(const struct hg_log_finding *finding)
{
    return finding->stream != 0;
}

static void finding_print_json(const struct hg_log_finding *finding)
{
    printf("{\"finding\": \"");
    for (const char *at = hg_log_finding_name(finding->kind); *at != 0; at++)
        putchar(*at == '_' ? '_' : *at | 0x20);
    printf("\", \"severity\": \"%s\", \"file_offset\": %llu", finding_severity_text(finding),
           (unsigned long long)finding->file_offset);
    if (finding->bytes != 0)
        printf(", \"bytes\": %llu", (unsigned long long)finding->bytes);
    if (finding->kind == HG_LOG_FINDING_SUPERBLOCK_COPY)
        printf(", \"copy\": %u", finding->index);
    if (finding->kind == HG_LOG_FINDING_RING_BLOCK || finding->kind == HG_LOG_FINDING_RING_DIFFERS)
        printf(", \"ring_block\": %u", finding->index);
    if (finding->sequence != 0)
        printf(", \"write\": %llu, \"write_last\": %llu, \"segment\": %llu, \"segment_offset\": %u",
               (unsigned long long)finding->sequence, (unsigned long long)finding->sequence_last,
               (unsigned long long)finding->segment, finding->segment_offset);
    if (finding->sequence != 0 && finding->payload_first <= finding->payload_last)
        printf(", \"payload_block_first\": %u, \"payload_block_last\": %u", finding->payload_first,
               finding->payload_last);
    if (finding_has_stream(finding))
        printf(", \"stream\": %llu, \"lsn_first\": %llu, \"lsn_end\": %llu",
               (unsigned long long)finding->stream, (unsigned long long)finding->lsn_first,
               (unsigned long long)finding->lsn_end);
    printf(", \"text\": \"%s\"", hg_log_finding_text(finding->kind));
    if (finding->reason != HG_BATCH_REASON_OK)
        printf(", \"reason\": \"%s\"", hg_batch_reason_text(finding->reason));
    if (finding->error != 0)
        printf(", \"error\": \"%s\"", strerror(-finding->error));
    putchar('}');
}

void finding_print(const struct hg_log_finding *finding, bool is_json)
{
    if (is_json) {
        finding_print_json(finding);
        return;
    }
    printf("%s: ", finding_severity_text(finding));
    if (finding->kind == HG_LOG_FINDING_SUPERBLOCK_COPY)
        printf("superblock %u, ", finding->index);
    if (finding->kind == HG_LOG_FINDING_RING_BLOCK || finding->kind == HG_LOG_FINDING_RING_DIFFERS)
        printf("header ring block %u, ", finding->index);
    if (finding->sequence_last > finding->sequence)
        printf("writes %llu to %llu, ", (unsigned long long)finding->sequence,
               (unsigned long long)finding->sequence_last);
    else if (finding->sequence != 0)
        printf("write %llu, ", (unsigned long long)finding->sequence);
    if (finding->sequence != 0)
        printf("segment %llu offset %u, ", (unsigned long long)finding->segment, finding->segment_offset);
    printf("byte %llu of the file", (unsigned long long)finding->file_offset);
    if (finding->bytes != 0)
        printf(" (%llu bytes)", (unsigned long long)finding->bytes);
    printf(": %s", hg_log_finding_text(finding->kind));
    if (finding->sequence != 0 && finding->payload_first <= finding->payload_last)
        printf("; payload blocks %u to %u fail", finding->payload_first, finding->payload_last);
    if (finding->reason != HG_BATCH_REASON_OK)
        printf(" (%s)", hg_batch_reason_text(finding->reason));
    if (finding_has_stream(finding))
        printf("; stream %llu lsn [%llu, %llu)", (unsigned long long)finding->stream,
               (unsigned long long)finding->lsn_first, (unsigned long long)finding->lsn_end);
    if (finding->error != 0)
        printf(": %s", strerror(-finding->error));
}
