/* SPDX-License-Identifier: Apache-2.0
 *
 * Orphan files: the batches that were cut off a copy of a stream, byte for byte as they lay in its log,
 * behind a header that says whose they are (docs/disk-format.md, Orphan files). A file is complete when it
 * has its name: it is written as NAME.part, flushed, renamed, and its directory flushed, all before anything
 * is cut. NAME.cut is made beside it afterwards; without it the cut may never have happened, and the batches
 * be in the stream. Pure.
 */
#ifndef HG_WAL_ORPHAN_H
#define HG_WAL_ORPHAN_H

#include "dataplane/wal/batch.h"

#define HG_ORPHAN_MAGIC      0x4f474c48u /* "HLGO" */
#define HG_ORPHAN_VERSION    1u
#define HG_ORPHAN_NAME_BYTES 128u
#define HG_ORPHAN_SUFFIX     ".orphan"
#define HG_ORPHAN_PART       ".part"     /* behind the name, while it is being written */
#define HG_ORPHAN_CUT        ".cut"      /* behind the name: empty, and says that the cut is in the log */
#define HG_ORPHAN_RESUBMIT   ".resubmit" /* behind the name: helioctl's note of where its entries went */

/* Followed by `batches_bytes` bytes of batches, one right behind the other, up to the end of the file. */
struct hg_orphan_header {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes; /* sizeof of this */
    uint64_t cluster;
    uint8_t log_uuid[16]; /* of the copy */
    uint64_t stream;
    uint32_t incarnation;
    uint32_t group;
    uint16_t region; /* of origin */
    uint16_t kind;
    uint32_t lsn_unit_bytes;
    uint64_t system_identifier;
    uint64_t epoch_cut;    /* of the writer for whose sake it was cut */
    uint64_t epoch_common; /* newest epoch that the copy and that writer both had; 0 = none */
    uint64_t lsn_first;    /* of the first batch: there the copy was cut */
    uint64_t lsn_end;      /* of the last, exclusive */
    uint64_t lsn_floor;    /* all below was known to be committed; <= lsn_first */
    uint64_t realtime_ns;  /* when */
    uint64_t batch_count;
    uint64_t batches_bytes;
    uint8_t chain_previous[16]; /* of the first batch */
    uint8_t chain[16];          /* of the last */
    char name[HG_NAME_BYTES];   /* of the stream */
    uint8_t reserved[512 - 192 - 4];
    uint32_t crc32c; /* of the 508 bytes before it */
};
static_assert(sizeof(struct hg_orphan_header) == 512, "orphan header");
static_assert(offsetof(struct hg_orphan_header, name) == 160, "orphan header");
static_assert(offsetof(struct hg_orphan_header, crc32c) == 508, "orphan header");

/* Why a file is no orphan, or not a whole one. */
#define HG_ORPHAN_REASONS(X)                                                                                 \
    X(OK, "whole")                                                                                           \
    X(FOREIGN, "not an orphan file")                                                                         \
    X(OTHER, "of another version: use the newest helioctl")                                                  \
    X(HEADER, "its header is damaged")                                                                       \
    X(SHORT, "it was cut short, or something was added")                                                     \
    X(BATCH, "a batch in it is damaged")                                                                     \
    X(CHAIN, "its batches do not follow from each other")
enum hg_orphan_reason {
#define HG_X(name, text) HG_ORPHAN_##name,
    HG_ORPHAN_REASONS(HG_X)
#undef HG_X
        HG_ORPHAN_REASON_COUNT
};
const char *hg_orphan_reason_text(enum hg_orphan_reason reason);

/* NAME-INCARNATION-EPOCH-LSN.orphan; nothing in it leaves a directory. */
void hg_orphan_name(const struct hg_orphan_header *header, char name[HG_ORPHAN_NAME_BYTES]);
/* True for what hg_orphan_name may give. */
bool hg_orphan_name_is_valid(const char *name);
/* Tells orphans of one name from each other, in the log too. */
static inline uint64_t hg_orphan_chain_head(const struct hg_orphan_header *header)
{
    uint64_t head;
    memcpy(&head, header->chain, sizeof(head));
    return head;
}
void hg_orphan_seal(struct hg_orphan_header *header);
/* `file_bytes`: of the whole file. */
enum hg_orphan_reason hg_orphan_check_header(const struct hg_orphan_header *header, uint64_t file_bytes);

/* Checks the batches, given one after the other. */
struct hg_orphan_walk {
    const struct hg_orphan_header *header;
    uint64_t lsn;
    uint64_t batch_count;
    uint8_t chain[16];
};
void hg_orphan_walk_init(struct hg_orphan_walk *walk, const struct hg_orphan_header *header);
/* The batch at `batch`, of which `bytes_left` bytes of the file are left. */
enum hg_orphan_reason hg_orphan_walk_batch(struct hg_orphan_walk *walk, const void *batch,
                                           uint64_t bytes_left);
enum hg_orphan_reason hg_orphan_walk_end(const struct hg_orphan_walk *walk);

#endif
