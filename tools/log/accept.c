/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log accept-loss: an operator's word that a durable write which is corrupt may be gone. Finds it by an
 * audit, so that nothing else can be named, and says what is lost before and after.
 */
#include "dataplane/wal/log_hole.h"
#include "dataplane/wal/log_loss.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"

#include <errno.h>
#include <stdio.h>

struct accept {
    struct image image; /* first: image_read and the others get this */
    const struct accept_options *options;
    struct hg_log_finding damage; /* the newest that could be accepted, or not and why */
    struct hg_log_finding chosen;
    bool has_damage, has_chosen, is_accepted;
    uint64_t findings;
};

static bool is_write_damaged(enum hg_log_finding_kind kind)
{
    return kind == HG_LOG_FINDING_CORRUPT || kind == HG_LOG_FINDING_LOST || kind == HG_LOG_FINDING_FORK ||
           kind == HG_LOG_FINDING_UNREADABLE;
}

static bool is_asked_for(const struct accept *accept, const struct hg_log_finding *finding)
{
    const struct accept_options *options = accept->options;
    if (options->sequence != 0)
        return (is_write_damaged(finding->kind) || finding->kind == HG_LOG_FINDING_LOSS) &&
               options->sequence >= finding->sequence && options->sequence <= finding->sequence_last;
    return accept->has_damage && options->stream != 0 && finding->stream == options->stream &&
           options->lsn >= finding->lsn_first && options->lsn < finding->lsn_end &&
           (finding->kind == HG_LOG_FINDING_HOLE || finding->kind == HG_LOG_FINDING_BATCH ||
            finding->kind == HG_LOG_FINDING_BEGINS_ANEW);
}

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    struct accept *accept = ctx;
    if (is_write_damaged(finding->kind) || finding->kind == HG_LOG_FINDING_LOSS) {
        accept->damage = *finding;
        accept->has_damage = finding->sequence != 0;
    }
    if (!accept->has_chosen && is_asked_for(accept, finding)) {
        accept->chosen = accept->damage;
        accept->has_chosen = true;
    }
    if (hg_log_finding_severity(finding->kind) == HG_LOG_SEVERITY_WORN)
        return;
    accept->findings++;
    if (!accept->options->is_json) {
        finding_print(finding, false);
        putchar('\n');
    }
}

static void audit_run(struct accept *accept, struct hg_log_audit_result *result)
{
    static const struct hg_log_audit_ops ops = {
        .read = image_read, .finding = finding_take, .progress = image_progress};
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = accept, .size_bytes = accept->image.size_bytes, .has_frames = true};
    accept->findings = 0;
    hg_log_audit(&config, result);
}

/* NULL, or why nothing is accepted. *hole is what will be. */
static const char *refusal(struct accept *accept, const struct hg_log_audit_result *result,
                           struct hg_log_hole *hole)
{
    if (result->end == HG_LOG_END_NEVER || result->outcome == HG_LOG_OUTCOME_UNUSABLE)
        return "the log has no superblock to work with";
    if (!accept->has_chosen)
        return accept->has_damage ? "what was named is not damaged (what is, is above)"
                                  : "nothing in it is corrupt, so there is no loss to accept";
    if (accept->chosen.kind == HG_LOG_FINDING_LOSS) {
        accept->is_accepted = true;
        const struct hg_log_hole *there = hg_log_hole_of(&result->superblock.holes, accept->chosen.sequence);
        *hole = *there;
        return NULL;
    }
    return hg_log_loss_of(&accept->chosen, hole);
}

static int accept_write(struct accept *accept, const struct hg_log_hole *hole)
{
    static const struct hg_log_loss_ops ops = {
        .read = image_read, .write = image_write, .flush = image_flush};
    int rc = hg_log_loss_accept(&ops, accept, hole);
    if (rc >= 0)
        return LOG_EXIT_FINE;
    fprintf(stderr, "helio-log: cannot write the loss down in %s: %s\n", accept->image.path,
            rc == -ENOSPC ? "its superblock has no room for another one: take this node's log anew"
                          : strerror(-rc));
    return rc == -ENOSPC ? LOG_EXIT_DAMAGED : LOG_EXIT_UNREADABLE;
}

static void loss_print(const struct accept *accept, const struct hg_log_hole *hole,
                       const struct hg_log_audit_result *result)
{
    const struct accept_options *options = accept->options;
    const char *what = accept->is_accepted   ? "was accepted already"
                       : options->is_dry_run ? "would be accepted"
                                             : "is accepted";
    if (!options->is_json) {
        printf("%s: the loss of writes %llu to %llu %s; a start %s\n", options->path,
               (unsigned long long)hole->sequence_first, (unsigned long long)hole->sequence_last, what,
               options->is_dry_run && !accept->is_accepted ? "would go on behind it"
                                                           : outcome_text(result->outcome));
        if (options->is_dry_run && hole->next_offset == 0 && hole->next_segment == result->segment_next)
            printf("nothing comes behind it: which entries of which streams were in it is not known here\n");
        return;
    }
    printf("{\"path\": ");
    json_string_print(options->path);
    printf(", \"accepted\": %s, \"was_accepted\": %s, \"write\": %llu, \"write_last\": %llu, \"start\": "
           "\"%s\"}\n",
           options->is_dry_run && !accept->is_accepted ? "false" : "true",
           accept->is_accepted ? "true" : "false", (unsigned long long)hole->sequence_first,
           (unsigned long long)hole->sequence_last, outcome_text(result->outcome));
}

static int accept_locked(struct accept *accept)
{
    struct hg_log_audit_result result;
    struct hg_log_hole hole;
    audit_run(accept, &result);
    image_progress_end(&accept->image);
    const char *why = refusal(accept, &result, &hole);
    if (why != NULL) {
        fprintf(stderr, "helio-log: %s: nothing was accepted or changed: %s\n", accept->options->path, why);
        return LOG_EXIT_DAMAGED;
    }
    if (!accept->options->is_dry_run) {
        int rc = accept_write(accept, &hole);
        if (rc != LOG_EXIT_FINE)
            return rc;
        if (!accept->options->is_json)
            printf("and now:\n");
        audit_run(accept, &result);
    }
    loss_print(accept, &hole, &result);
    return LOG_EXIT_FINE;
}

int accept_run(const struct accept_options *options)
{
    struct accept accept = {.options = options};
    if (!image_open(&accept.image, options->path))
        return LOG_EXIT_UNREADABLE;
    int rc = image_lock(&accept.image) ? accept_locked(&accept) : LOG_EXIT_UNREADABLE;
    image_close(&accept.image);
    return rc;
}
