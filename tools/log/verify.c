/* SPDX-License-Identifier: Apache-2.0
 *
 * helio-log verify: every block of a log judged, every damage named.
 */
#include "tools/log/commands.h"
#include "tools/log/image.h"

#include <stdio.h>

struct verify {
    struct image image; /* first: image_read and the others get this */
    bool is_json;
    uint64_t findings;
};

static void finding_take(void *ctx, const struct hg_log_finding *finding)
{
    struct verify *verify = ctx;
    if (verify->is_json)
        printf("%s\n  ", verify->findings == 0 ? "" : ",");
    finding_print(finding, verify->is_json);
    if (!verify->is_json)
        putchar('\n');
    verify->findings++;
}

static const char *verdict_text(const struct hg_log_audit_result *result)
{
    for (int severity = HG_LOG_SEVERITY_COUNT - 1; severity > 0; severity--)
        if (result->findings[severity] > 0)
            return severity_text((enum hg_log_severity)severity);
    return severity_text(HG_LOG_SEVERITY_NONE);
}

static void result_print_json(const struct hg_log_audit_result *result)
{
    printf("], \"verdict\": \"%s\", \"start\": \"%s\", \"write_first\": %llu, \"write_next\": %llu, "
           "\"segment_next\": %llu, \"offset_next\": %u, \"durable_sequence_min\": %llu, \"writes\": %llu, "
           "\"batches\": %llu, \"payload_bytes\": %llu, \"discarded_writes\": %llu, \"ring_missing\": %u, "
           "\"changed\": %llu, \"recycled_writes\": %llu, \"read_bytes\": %llu, \"losses\": %llu, "
           "\"lost_writes\": %llu, \"end\": \"%s\"}\n",
           verdict_text(result), outcome_text(result->outcome), (unsigned long long)result->sequence_first,
           (unsigned long long)result->sequence_next, (unsigned long long)result->segment_next,
           result->offset_next, (unsigned long long)result->durable, (unsigned long long)result->writes,
           (unsigned long long)result->batches, (unsigned long long)result->payload_bytes,
           (unsigned long long)result->discarded_writes, result->ring_missing,
           (unsigned long long)result->changed, (unsigned long long)result->recycled_writes,
           (unsigned long long)result->read_bytes, (unsigned long long)result->superblock.holes.losses,
           (unsigned long long)result->superblock.holes.lost_writes, end_text(result->end));
}

static void result_print(const char *path, const struct hg_log_audit_result *result)
{
    printf(
        "writes %llu to %llu: %llu whole, %llu batches, %llu bytes of payload; durable up to %llu at least\n",
        (unsigned long long)result->sequence_first, (unsigned long long)(result->sequence_next - 1),
        (unsigned long long)result->writes, (unsigned long long)result->batches,
        (unsigned long long)result->payload_bytes, (unsigned long long)result->durable);
    printf("end: at segment %llu offset %u, where write %llu would be: %s\n",
           (unsigned long long)result->segment_next, result->offset_next,
           (unsigned long long)result->sequence_next, end_text(result->end));
    if (result->superblock.holes.losses > 0)
        printf("accepted losses in the life of this log: %llu, of %llu writes\n",
               (unsigned long long)result->superblock.holes.losses,
               (unsigned long long)result->superblock.holes.lost_writes);
    if (result->discarded_writes > 0)
        printf("%llu whole writes behind the end: never acknowledged, a start discards them\n",
               (unsigned long long)result->discarded_writes);
    if (result->ring_missing > 0)
        printf("%u copies of headers are not in the ring yet: a start adds them\n", result->ring_missing);
    if (result->changed > 0 || result->recycled_writes > 0)
        printf(
            "changed while it was read: %llu blocks and writes were fine the second time, %llu writes were "
            "recycled by the dataplane\n",
            (unsigned long long)result->changed, (unsigned long long)result->recycled_writes);
    printf("%s: %s; a start %s\n", path, verdict_text(result), outcome_text(result->outcome));
}

int verify_run(const char *path, bool is_json)
{
    static const struct hg_log_audit_ops ops = {
        .read = image_read, .pause = image_pause, .finding = finding_take, .progress = image_progress};
    struct verify verify = {.is_json = is_json};
    struct hg_log_audit_result result;
    if (!image_open(&verify.image, path))
        return LOG_EXIT_UNREADABLE;
    if (is_json) {
        printf("{\"path\": ");
        json_string_print(path);
        printf(", \"findings\": [");
    }
    struct hg_log_audit_config config = {
        .ops = &ops, .ctx = &verify, .size_bytes = verify.image.size_bytes, .has_frames = true};
    hg_log_audit(&config, &result);
    image_progress_end(&verify.image);
    image_close(&verify.image);
    if (is_json)
        result_print_json(&result);
    else if (result.end != HG_LOG_END_NEVER)
        result_print(path, &result);
    else
        printf("%s: %s; a start %s\n", path, verdict_text(&result), outcome_text(result.outcome));
    return exit_of(&result);
}
