/* SPDX-License-Identifier: Apache-2.0
 *
 * helioctl orphan ...: what was cut off copies of streams (docs/operations.md, Orphans). Works on the files
 * in RUN/orphan, with or without a control plane; only resubmit needs the dataplane.
 */
#ifndef HG_HELIOCTL_ORPHAN_H
#define HG_HELIOCTL_ORPHAN_H

#include "dataplane/wal/orphan.h"

#include <jansson.h>

#define ORPHAN_EXIT_DONE    0
#define ORPHAN_EXIT_REFUSED 1
#define ORPHAN_EXIT_USAGE   2

/* True when the command line is one of ours: its first word is `orphan`. */
bool orphan_is_meant(int argc, char **argv);
int orphan_run(int argc, char **argv);

/* ---- between orphan.c, which knows files, and orphan_resubmit.c ---- */
struct orphan_file {
    int directory; /* RUN/orphan */
    int fd;
    const char *run;
    char name[HG_ORPHAN_NAME_BYTES];
    uint64_t bytes;
    struct hg_orphan_header header;
    enum hg_orphan_reason reason; /* of the header at first; of all once it was walked */
};

struct orphan_answer {
    bool json;
    bool dry_run;
    bool yes;             /* discard */
    bool not_returned;    /* resubmit: no fail-over brought its entries back */
    bool not_resubmitted; /* resubmit: it never was before, from any copy of the file */
    json_t *data;
    char error[512];
};
/* Says why in answer->error; returns ORPHAN_EXIT_REFUSED. */
int __attribute__((format(printf, 2, 3)))
orphan_refuse(struct orphan_answer *answer, const char *format, ...);

/* Opens RUN/orphan/NAME, never through a link. False, and said why. */
bool orphan_open(struct orphan_file *file, const char *run, const char *name, struct orphan_answer *answer);
void orphan_close(struct orphan_file *file);
/* Whether the log has recorded the cut. Else what is in the file may be in the stream as well. */
bool orphan_is_recorded(const struct orphan_file *file);
/* The batch at *offset, verified, and *offset behind it. NULL: the end, or file->reason says what is wrong.
 * Valid until the next call. */
const struct hg_batch_header *orphan_batch_next(struct orphan_file *file, struct hg_orphan_walk *walk,
                                                uint64_t *offset);
/* Small files beside an orphan: NAME and what they are. Written whole, flushed, under their name. 0 or
 * -errno. */
int orphan_note_write(const struct orphan_file *file, const char *suffix, const json_t *note);
/* 0, and *note NULL where there is none; -errno, -EBADMSG when it is damaged: it is not known what it says.
 */
int orphan_note_read(const struct orphan_file *file, const char *suffix, json_t **note);

/* Appends the entries to `stream` (NULL: the one they are of) as new ones, but for those that it has. */
int orphan_resubmit(struct orphan_file *file, const char *stream, struct orphan_answer *answer);

#endif
