/* SPDX-License-Identifier: Apache-2.0
 *
 * The metastore's file, with anything in it, under a checksum that is right when the input begins with an odd
 * byte. Whatever is taken from it has the bounds that everybody relies on, and is the same when it was
 * written and read again.
 *
 * The source itself is included: no file is needed for each input.
 */
#include "controlplane/metastore_file.c"

static void rows_check(const struct file *file)
{
    for (uint32_t i = 0; i < file->count; i++) {
        const struct hg_metastore_record *record = &file->rows[i].record;
        hg_assert(record->revision != 0);
        hg_assert(record->state == HG_METASTORE_OPEN || record->state == HG_METASTORE_SEALING);
        hg_assert(record->members.set.count <= HG_MEMBERS_MAX &&
                  record->members.other.count <= HG_MEMBERS_MAX &&
                  record->members.learner_count <= HG_LEARNERS_MAX);
        hg_assert(record->members.generation == 0 || hg_members_check(&record->members) == HG_MEMBERS_OK);
    }
}

/* What it would write of this is read as the same. */
static void round_trip(const struct file *file)
{
    static struct file again;
    again = *file;
    memset(again.text, 0, sizeof(again.text));
    size_t bytes = text_print(&again);
    memset(again.rows, 0, sizeof(again.rows));
    hg_assert(text_parse(&again, bytes) == 0);
    hg_assert(again.count == file->count && again.revision == file->revision);
    for (uint32_t i = 0; i < file->count; i++) {
        const struct row *was = &file->rows[i], *is = &again.rows[i];
        hg_assert(memcmp(&is->key, &was->key, sizeof(is->key)) == 0 &&
                  is->record.state == was->record.state && is->record.epoch == was->record.epoch &&
                  is->record.node == was->record.node && is->record.revision == was->record.revision &&
                  is->record.grant_ms == was->record.grant_ms);
        hg_assert(is->record.members.generation == was->record.members.generation);
        hg_assert(was->record.members.generation == 0 ||
                  memcmp(&is->record.members, &was->record.members, sizeof(is->record.members)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file file;
    if (size < 1 || size - 1 > sizeof(file.text) - 32)
        return 0;
    size_t bytes = size - 1;
    snprintf(file.path, sizeof(file.path), "fuzz");
    memcpy(file.text, data + 1, bytes);
    if (data[0] & 1)
        bytes +=
            (size_t)snprintf(file.text + bytes, 32, "crc32c %08" PRIx32 "\n", hg_crc32c(0, file.text, bytes));
    if (text_parse(&file, bytes) != 0) {
        hg_assert(file.store.problem[0] != '\0');
        return 0;
    }
    rows_check(&file);
    round_trip(&file);
    return 0;
}
