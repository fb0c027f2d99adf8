/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/wal/orphan.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *hg_orphan_reason_text(enum hg_orphan_reason reason)
{
    static const char *const texts[] = {
#define HG_X(name, text) text,
        HG_ORPHAN_REASONS(HG_X)
#undef HG_X
    };
    return reason < HG_ORPHAN_REASON_COUNT ? texts[reason] : "unknown";
}

static bool is_plain(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

void hg_orphan_name(const struct hg_orphan_header *header, char name[HG_ORPHAN_NAME_BYTES])
{
    snprintf(name, HG_ORPHAN_NAME_BYTES, "%.*s-%u-%llu-%llu" HG_ORPHAN_SUFFIX, HG_NAME_BYTES - 1,
             header->name, header->incarnation, (unsigned long long)header->epoch_cut,
             (unsigned long long)header->lsn_first);
    for (char *at = name; *at != '\0'; at++)
        if (!is_plain(*at) || (at == name && !isalnum((unsigned char)*at)))
            *at = '_';
}

bool hg_orphan_name_is_valid(const char *name)
{
    size_t bytes = strnlen(name, HG_ORPHAN_NAME_BYTES), suffix = sizeof(HG_ORPHAN_SUFFIX) - 1;
    if (bytes <= suffix || bytes >= HG_ORPHAN_NAME_BYTES || name[0] == '.' || name[0] == '-' ||
        strcmp(name + bytes - suffix, HG_ORPHAN_SUFFIX) != 0)
        return false;
    for (size_t i = 0; i < bytes; i++)
        if (!is_plain(name[i]))
            return false;
    return true;
}

void hg_orphan_seal(struct hg_orphan_header *header)
{
    header->magic = HG_ORPHAN_MAGIC;
    header->version = HG_ORPHAN_VERSION;
    header->header_bytes = sizeof(*header);
    header->crc32c = hg_crc32c(0, header, offsetof(struct hg_orphan_header, crc32c));
}

enum hg_orphan_reason hg_orphan_check_header(const struct hg_orphan_header *header, uint64_t file_bytes)
{
    if (header->magic != HG_ORPHAN_MAGIC)
        return HG_ORPHAN_FOREIGN;
    if (header->version != HG_ORPHAN_VERSION || header->header_bytes != sizeof(*header))
        return HG_ORPHAN_OTHER;
    if (header->crc32c != hg_crc32c(0, header, offsetof(struct hg_orphan_header, crc32c)) ||
        memchr(header->name, 0, sizeof(header->name)) == NULL || header->lsn_end <= header->lsn_first ||
        header->batch_count == 0)
        return HG_ORPHAN_HEADER;
    return header->batches_bytes == file_bytes - sizeof(*header) ? HG_ORPHAN_OK : HG_ORPHAN_SHORT;
}

void hg_orphan_walk_init(struct hg_orphan_walk *walk, const struct hg_orphan_header *header)
{
    memset(walk, 0, sizeof(*walk));
    walk->header = header;
    walk->lsn = header->lsn_first;
    memcpy(walk->chain, header->chain_previous, sizeof(walk->chain));
}

enum hg_orphan_reason hg_orphan_walk_batch(struct hg_orphan_walk *walk, const void *batch,
                                           uint64_t bytes_left)
{
    const struct hg_batch_header *header = batch;
    uint32_t bytes = (uint32_t)hg_min_u64(bytes_left, HG_BATCH_BYTES_MAX);
    if (hg_batch_verify(batch, bytes) != HG_BATCH_REASON_OK || (header->flags & HG_BATCH_LOCAL) != 0)
        return HG_ORPHAN_BATCH;
    if (header->stream != walk->header->stream || header->lsn_first != walk->lsn ||
        memcmp(header->chain_previous, walk->chain, sizeof(walk->chain)) != 0)
        return HG_ORPHAN_CHAIN;
    walk->lsn = header->lsn_end;
    walk->batch_count++;
    memcpy(walk->chain, header->chain, sizeof(walk->chain));
    return HG_ORPHAN_OK;
}

enum hg_orphan_reason hg_orphan_walk_end(const struct hg_orphan_walk *walk)
{
    bool is_whole = walk->lsn == walk->header->lsn_end && walk->batch_count == walk->header->batch_count &&
                    memcmp(walk->chain, walk->header->chain, sizeof(walk->chain)) == 0;
    return is_whole ? HG_ORPHAN_OK : HG_ORPHAN_CHAIN;
}
