/* SPDX-License-Identifier: Apache-2.0
 *
 * A log's file or device, read past the page cache where that is possible: what is on the device counts, and
 * what a dataplane wrote with O_DIRECT a moment ago. And what the commands that read logs say alike.
 */
#ifndef HG_TOOLS_LOG_IMAGE_H
#define HG_TOOLS_LOG_IMAGE_H

#include "dataplane/wal/log_audit.h"

struct image {
    const char *path;
    int fd;
    uint64_t size_bytes;
    uint64_t begin_ns;
    uint64_t shown_ns; /* progress; 0 = not yet */
};

/* False after saying why. */
bool image_open(struct image *image, const char *path);
void image_close(struct image *image);

/* Opens it anew for writing, where nobody else has it open. False after saying why. */
bool image_lock(struct image *image);
/* For struct hg_log_loss_ops, after image_lock; ctx as below. */
int image_write(void *ctx, const void *data, uint32_t bytes, uint64_t offset);
int image_flush(void *ctx);

/* For struct hg_log_audit_ops; ctx must begin with a struct image. */
int image_read(void *ctx, void *data, uint32_t bytes, uint64_t offset);
void image_pause(void *ctx);
void image_progress(void *ctx, uint64_t bytes, uint64_t bytes_total);
/* Ends the line of progress, if there is one. */
void image_progress_end(struct image *image);

void hex_print(const uint8_t *bytes, size_t count);
void json_string_print(const char *text);
/* One line or one object, without what comes after it. */
void finding_print(const struct hg_log_finding *finding, bool is_json);
const char *severity_text(enum hg_log_severity severity);
const char *end_text(enum hg_log_end end);
const char *outcome_text(enum hg_log_outcome outcome);
/* Of enum log_exit, by the worst finding. */
int exit_of(const struct hg_log_audit_result *result);

#endif
