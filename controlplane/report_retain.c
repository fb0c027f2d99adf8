/* SPDX-License-Identifier: Apache-2.0
 *
 * `show retention`: who holds each log, how much of it, since when.
 */
#include "controlplane/json_text.h"
#include "controlplane/report.h"

static json_t *holder_report(const struct hg_status_log *log, const struct hg_status_holder *holder)
{
    static const char *const kinds[] = {"nobody", "peer", "consumer", "unconfigured"};
    json_t *object = json_object();
    uint64_t percent = log->capacity_bytes == 0 ? 0 : holder->bytes / ((log->capacity_bytes + 99) / 100);

    json_object_set_new(object, "log", hg_json_u64(log->id));
    json_object_set_new(object, "kind",
                        json_string(holder->kind < HG_COUNT(kinds) ? kinds[holder->kind] : "unknown"));
    json_object_set_new(object, "name", hg_json_text(holder->name));
    json_object_set_new(object, "stream", hg_json_text(holder->stream));
    json_object_set_new(object, "held_bytes", hg_json_u64(holder->bytes));
    json_object_set_new(object, "held_percent", hg_json_u64(percent));
    json_object_set_new(object, "age_ns", hg_json_u64(holder->age_ns));
    if (holder->limit_bytes != 0)
        json_object_set_new(object, "drop_behind_bytes", hg_json_u64(holder->limit_bytes));
    if (holder->limit_ns != 0)
        json_object_set_new(object, "drop_behind_ns", hg_json_u64(holder->limit_ns));
    json_object_set_new(object, "state", json_string(holder->let_go != 0 ? "let go" : "holds"));
    return object;
}

json_t *hg_report_retention(const struct hg_control_status *status)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < status->log_count; i++) {
        for (uint32_t k = 0; k < status->logs[i].holder_count; k++)
            json_array_append_new(array, holder_report(&status->logs[i], &status->logs[i].holders[k]));
    }
    return array;
}
