/* SPDX-License-Identifier: Apache-2.0
 *
 * A metastore in memory, for tests.
 */
#include "controlplane/metastore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory {
    struct hg_metastore store; /* first */
    uint64_t revision;
    uint32_t count;
    struct {
        struct hg_metastore_key key;
        struct hg_metastore_record record;
    } rows[HG_METASTORE_RECORDS_MAX];
};

static struct hg_metastore_record *record_of(struct memory *memory, const struct hg_metastore_key *key)
{
    for (uint32_t i = 0; i < memory->count; i++)
        if (memcmp(&memory->rows[i].key, key, sizeof(*key)) == 0)
            return &memory->rows[i].record;
    return NULL;
}

static int memory_read(struct hg_metastore *store, const struct hg_metastore_key *key,
                       struct hg_metastore_record *found)
{
    const struct hg_metastore_record *record = record_of((struct memory *)store, key);

    *found = record != NULL ? *record : (struct hg_metastore_record){0};
    return 0;
}

static int memory_swap(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t revision,
                       const struct hg_metastore_record *wanted, struct hg_metastore_record *found)
{
    struct memory *memory = (struct memory *)store;
    struct hg_metastore_record *record = record_of(memory, key);

    (void)memory_read(store, key, found);
    if (found->revision != revision)
        return -ESTALE;
    if (record == NULL && memory->count == HG_METASTORE_RECORDS_MAX) {
        snprintf(store->problem, sizeof(store->problem), "the metastore is full: %u groups",
                 HG_METASTORE_RECORDS_MAX);
        return -ENOSPC;
    }
    if (record == NULL) {
        memory->rows[memory->count].key = *key;
        record = &memory->rows[memory->count++].record;
    }
    *record = *wanted;
    record->revision = ++memory->revision;
    *found = *record;
    return 0;
}

static void memory_close(struct hg_metastore *store)
{
    free(store);
}

struct hg_metastore *hg_metastore_memory_open(void)
{
    struct memory *memory = calloc(1, sizeof(*memory));

    hg_assert(memory != NULL);
    memory->store = (struct hg_metastore){memory_read, memory_swap, memory_close, ""};
    return &memory->store;
}
