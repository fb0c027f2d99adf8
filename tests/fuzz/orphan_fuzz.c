/* SPDX-License-Identifier: Apache-2.0
 *
 * An orphan file from anywhere, as helioctl reads one: the header, and batch for batch as far as each is
 * sound. The first byte says whether the checksum of the header is made right, the second byte likewise of
 * the first batch, and how much of the file is missing. What is found whole is what the header says, and has
 * a name that leaves no directory.
 */
#include "dataplane/wal/orphan.h"
#include "tests/fuzz/input.h"

#include <stdlib.h>

#define FILE_BYTES_MAX (64u << 10)

static void batch_seal(uint8_t *bytes, size_t count)
{
    struct hg_batch_header header;
    if (count < sizeof(header))
        return;
    memcpy(&header, bytes, sizeof(header));
    header.crc32c = hg_crc32c(0, &header, offsetof(struct hg_batch_header, crc32c));
    memcpy(bytes, &header, sizeof(header));
}

static enum hg_orphan_reason walk(const struct hg_orphan_header *header, const uint8_t *batches,
                                  uint64_t bytes)
{
    struct hg_orphan_walk walk;
    hg_orphan_walk_init(&walk, header);
    while (bytes > 0) {
        uint64_t lsn = walk.lsn;
        enum hg_orphan_reason reason = hg_orphan_walk_batch(&walk, batches, bytes);
        if (reason != HG_ORPHAN_OK)
            return reason;
        uint32_t batch_bytes = hg_batch_bytes((const struct hg_batch_header *)(const void *)batches);
        hg_assert(batch_bytes > 0 && batch_bytes <= bytes && walk.lsn > lsn);
        batches += batch_bytes;
        bytes -= batch_bytes;
    }
    return hg_orphan_walk_end(&walk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint64_t fix = take(&input, 1), missing = take(&input, 1);
    struct hg_orphan_header header;
    char name[HG_ORPHAN_NAME_BYTES];
    if (input.bytes_left < sizeof(header) || input.bytes_left > FILE_BYTES_MAX)
        return 0;
    memcpy(&header, input.at, sizeof(header));
    size_t bytes = input.bytes_left - sizeof(header);
    uint8_t *batches = aligned_alloc(HG_BATCH_ALIGN_BYTES, hg_align_up(bytes + 1, HG_BATCH_ALIGN_BYTES));
    hg_assert(batches != NULL);
    memcpy(batches, input.at + sizeof(header), bytes);
    if (fix & 1)
        hg_orphan_seal(&header);
    if (fix & 2)
        batch_seal(batches, bytes);
    uint64_t file_bytes = input.bytes_left - (fix & 4 ? 0 : hg_min_u64(missing, bytes));
    enum hg_orphan_reason reason = hg_orphan_check_header(&header, file_bytes);
    if (reason == HG_ORPHAN_OK) {
        hg_assert(header.batches_bytes <= bytes);
        hg_orphan_name(&header, name);
        hg_assert(hg_orphan_name_is_valid(name) && strchr(name, '/') == NULL && name[0] != '.');
        reason = walk(&header, batches, header.batches_bytes);
    }
    hg_assert(hg_orphan_reason_text(reason)[0] != '\0');
    (void)hg_orphan_name_is_valid(memchr(data, 0, size) != NULL ? (const char *)data : "");
    free(batches);
    return 0;
}
