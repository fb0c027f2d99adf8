/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/metastore.h"
#include "controlplane/grant.h"

#include <errno.h>
#include <stdio.h>

static int taken(const struct hg_metastore_key *key, const struct hg_metastore_record *found,
                 char text[HG_METASTORE_TEXT_BYTES])
{
    snprintf(text, HG_METASTORE_TEXT_BYTES,
             "group %u of region %u is %s under epoch %llu by node %llu (revision %llu): take a higher epoch",
             key->group, key->region, found->state == HG_METASTORE_OPEN ? "open" : "sealed",
             (unsigned long long)found->epoch, (unsigned long long)found->node,
             (unsigned long long)found->revision);
    return -EEXIST;
}

/* It has yet to choose tails and to fill copies: who opens its epoch before drops what was acknowledged. */
static int driven(const struct hg_metastore_key *key, const struct hg_metastore_record *found,
                  char text[HG_METASTORE_TEXT_BYTES])
{
    snprintf(text, HG_METASTORE_TEXT_BYTES,
             "group %u of region %u: a fail-over of node %llu drives epoch %llu: wait for it (`show groups` "
             "there), or `group seal %u epoch ...` with a higher one first",
             key->group, key->region, (unsigned long long)found->node, (unsigned long long)found->epoch,
             key->group);
    return -EEXIST;
}

static int failed(const struct hg_metastore *store, int rc, char text[HG_METASTORE_TEXT_BYTES])
{
    snprintf(text, HG_METASTORE_TEXT_BYTES, "%s", store->problem);
    return rc;
}

/* Lost to somebody else, or to ourselves a moment ago: what is there decides. */
static int seal_judge(const struct hg_metastore_key *key, const struct hg_metastore_record *found,
                      uint64_t epoch, char text[HG_METASTORE_TEXT_BYTES])
{
    if (found->epoch > epoch || (found->epoch == epoch && found->state == HG_METASTORE_OPEN))
        return taken(key, found, text);
    return found->epoch == epoch ? 0 : -EAGAIN;
}

int hg_metastore_seal(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t epoch,
                      uint64_t node, char text[HG_METASTORE_TEXT_BYTES])
{
    struct hg_metastore_record wanted, found;
    int rc = store->read(store, key, &found);

    while (rc == 0 || rc == -ESTALE) {
        int verdict = seal_judge(key, &found, epoch, text);

        if (verdict != -EAGAIN)
            return verdict;
        wanted = found;
        wanted.epoch = epoch;
        wanted.node = node;
        wanted.state = HG_METASTORE_SEALING;
        wanted.failover = 0; /* by an order of its own: it waits for the next one */
        rc = store->swap(store, key, found.revision, &wanted, &found);
        if (rc == 0)
            return 0;
    }
    return failed(store, rc, text);
}

int hg_metastore_begin(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t epoch,
                       uint64_t node, char text[HG_METASTORE_TEXT_BYTES])
{
    struct hg_metastore_record wanted, found;
    int rc = store->read(store, key, &found);

    while (rc == 0 || rc == -ESTALE) {
        if (found.epoch == epoch && found.state == HG_METASTORE_OPEN && found.node == node)
            return 0; /* again */
        if (found.epoch > epoch || (found.epoch == epoch && found.state == HG_METASTORE_OPEN))
            return taken(key, &found, text);
        if (found.epoch < epoch) {
            snprintf(text, HG_METASTORE_TEXT_BYTES,
                     "group %u of region %u was not sealed for epoch %llu: `group seal %u epoch %llu` first",
                     key->group, key->region, (unsigned long long)epoch, key->group,
                     (unsigned long long)epoch);
            return -ENOENT;
        }
        if (found.failover != 0)
            return driven(key, &found, text);
        wanted = found;
        wanted.node = node;
        wanted.state = HG_METASTORE_OPEN;
        wanted.failover = 0;
        rc = store->swap(store, key, found.revision, &wanted, &found);
        if (rc == 0)
            return 0;
    }
    return failed(store, rc, text);
}

void hg_metastore_record_first(struct hg_metastore_record *record, uint64_t node)
{
    if (record->state != HG_METASTORE_NONE)
        return;
    record->epoch = 1;
    record->node = node;
    record->state = HG_METASTORE_OPEN;
}

/* Whether the record that there is may be renewed. */
static int grant_judge(const struct hg_metastore_key *key, const struct hg_metastore_record *found,
                       uint64_t node, bool may_make, char text[HG_METASTORE_TEXT_BYTES])
{
    if (found->state == HG_METASTORE_NONE && !may_make) {
        snprintf(text, HG_METASTORE_TEXT_BYTES,
                 "group %u of region %u has been sealed before, and the metastore knows nothing of it: has "
                 "it been replaced? Seal and open the group with a higher epoch",
                 key->group, key->region);
        return -ENOENT;
    }
    if (found->state == HG_METASTORE_NONE || (found->state == HG_METASTORE_OPEN && found->node == node))
        return 0;
    snprintf(text, HG_METASTORE_TEXT_BYTES,
             "no write grant for node %llu: group %u of region %u is %s under epoch %llu by node %llu",
             (unsigned long long)node, key->group, key->region,
             found->state == HG_METASTORE_OPEN ? "open" : "sealed", (unsigned long long)found->epoch,
             (unsigned long long)found->node);
    return -EPERM;
}

int hg_metastore_grant(struct hg_metastore *store, const struct hg_metastore_key *key, uint64_t node,
                       uint32_t grant_ms, uint64_t held_ns, bool may_make, struct hg_metastore_record *record,
                       char text[HG_METASTORE_TEXT_BYTES])
{
    struct hg_metastore_record found;
    int rc = store->read(store, key, &found);

    while (rc == 0 || rc == -ESTALE) {
        int verdict = grant_judge(key, &found, node, may_make, text);

        if (verdict != 0)
            return verdict;
        struct hg_metastore_record wanted = found;

        hg_metastore_record_first(&wanted, node);
        wanted.grant_ms = hg_grant_written_ms(grant_ms, found.grant_ms, held_ns);
        rc = store->swap(store, key, found.revision, &wanted, &found);
        if (rc == 0) {
            *record = found;
            return 0;
        }
    }
    return failed(store, rc, text);
}
