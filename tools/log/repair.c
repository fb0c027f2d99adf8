/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log repair: durable writes that are corrupt, from what the logs of other nodes have of them.
 */
#include "dataplane/wal/log_repair.h"
#include "tools/log/commands.h"
#include "tools/log/image.h"

#include <stdio.h>

static void repaired_print(const struct repair_options *options, const struct hg_log_repair_facts *facts)
{
    const char *what = options->is_dry_run ? "can be repaired" : "is repaired";
    if (options->is_json) {
        printf("{\"path\": ");
        json_string_print(options->path);
        printf(", \"repaired\": %s, \"write\": %llu, \"write_last\": %llu, \"batches_left\": %u, "
               "\"batches_taken\": %u, \"whole\": %s, \"copy\": %llu}\n",
               options->is_dry_run ? "false" : "true", (unsigned long long)facts->damage.sequence,
               (unsigned long long)facts->damage.sequence_last, facts->batches_left, facts->batches_taken,
               facts->is_proved ? "true" : "false", (unsigned long long)facts->copy_sequence);
        return;
    }
    if (facts->damage.sequence_last > facts->damage.sequence)
        printf("writes %llu to %llu", (unsigned long long)facts->damage.sequence,
               (unsigned long long)facts->damage.sequence_last);
    else
        printf("write %llu", (unsigned long long)facts->damage.sequence);
    printf(" %s: %u batches were left, %u are from the other logs; %s: in write %llu\n", what,
           facts->batches_left, facts->batches_taken,
           facts->is_proved ? "every byte is as it was"
                            : "by the chains of its streams, without what local records it had",
           (unsigned long long)facts->copy_sequence);
}

/* 0 = one was repaired, or could be; else of enum log_exit, and said why. */
static int repair_one(struct image *image, const struct repair_options *options, bool is_first, bool *is_over)
{
    static const struct hg_log_loss_ops ops = {
        .read = image_read, .write = image_write, .flush = image_flush};
    struct hg_log_repair_facts facts;
    const char *why;
    struct hg_log_repair *repair =
        hg_log_repair_begin(&ops, image, image->size_bytes, options->sequence, &why);
    *is_over = repair == NULL && !is_first;
    if (*is_over)
        return LOG_EXIT_FINE;
    for (uint32_t i = 0; i < options->from_count && repair != NULL; i++) {
        struct image from;
        if (image_open(&from, options->from[i])) {
            hg_log_repair_take(repair, image_read, &from, from.size_bytes);
            image_close(&from);
        }
    }
    if (repair != NULL)
        why = hg_log_repair_problem(repair, &facts);
    int rc = why == NULL && !options->is_dry_run ? hg_log_repair_write(repair) : 0;
    if (why != NULL)
        fprintf(stderr, "helio-log: %s: nothing was changed: %s\n", options->path, why);
    else if (rc != 0)
        fprintf(stderr, "helio-log: cannot write to %s: %s; repair it again\n", options->path, strerror(-rc));
    else
        repaired_print(options, &facts);
    if (repair != NULL)
        hg_log_repair_free(repair);
    return why != NULL ? LOG_EXIT_DAMAGED : rc != 0 ? LOG_EXIT_UNREADABLE : LOG_EXIT_FINE;
}

int repair_run(const struct repair_options *options)
{
    struct image image;
    bool is_over = false;
    if (!image_open(&image, options->path))
        return LOG_EXIT_UNREADABLE;
    int rc = image_lock(&image) ? repair_one(&image, options, true, &is_over) : LOG_EXIT_UNREADABLE;
    while (rc == LOG_EXIT_FINE && !is_over && options->sequence == 0 && !options->is_dry_run)
        rc = repair_one(&image, options, false, &is_over);
    image_close(&image);
    return rc;
}
