/* SPDX-License-Identifier: Apache-2.0 */
#include "orphan_directory.h"

static struct orphan_directory_file *file_of(struct orphan_directory *directory, const char *name)
{
    for (uint32_t i = 0; i < directory->count; i++)
        if (strcmp(directory->files[i].name, name) == 0)
            return &directory->files[i];
    CU_ASSERT_FATAL(directory->count < ORPHAN_DIRECTORY_FILES_MAX);
    struct orphan_directory_file *file = &directory->files[directory->count++];
    snprintf(file->name, HG_ORPHAN_NAME_BYTES, "%s", name);
    file->data = malloc(8u << 20);
    return file;
}

void orphan_directory_empty(struct orphan_directory *directory)
{
    for (uint32_t i = 0; i < directory->count; i++)
        free(directory->files[i].data);
    memset(directory, 0, sizeof(*directory));
}

void orphan_directory_turn(struct orphan_directory *directory, struct site *site)
{
    const struct hg_orphan_piece *piece = hg_streams_orphan_due(site->node.streams, site->node.now_ns);
    if (piece == NULL)
        return;
    CU_ASSERT_TRUE(hg_orphan_name_is_valid(piece->name));
    CU_ASSERT_PTR_NULL(hg_streams_orphan_due(site->node.streams, site->node.now_ns)); /* lent once */
    if (directory->failures > 0) {
        directory->failures--;
        hg_streams_orphan_written(site->node.streams, -ENOSPC, site->node.now_ns);
        return;
    }
    struct orphan_directory_file *file = file_of(directory, piece->name);
    if (piece->is_recorded) {
        CU_ASSERT(file->whole);
        CU_ASSERT_EQUAL(piece->chain_head, hg_orphan_chain_head((const struct hg_orphan_header *)file->data));
        file->recorded |= !directory->notes_fail;
        hg_streams_orphan_written(site->node.streams, directory->notes_fail ? -EIO : 0, site->node.now_ns);
        return;
    }
    CU_ASSERT(piece->is_first == (piece->offset == sizeof(piece->header)));
    CU_ASSERT(piece->is_first || piece->offset == file->bytes);
    memcpy(file->data + piece->offset, piece->data, piece->bytes);
    file->bytes = piece->offset + piece->bytes;
    file->whole = piece->is_last;
    if (piece->is_last)
        memcpy(file->data, &piece->header, sizeof(piece->header));
    directory->pieces++;
    hg_streams_orphan_written(site->node.streams, 0, site->node.now_ns);
}
