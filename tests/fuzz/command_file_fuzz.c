/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a command file: never a crash; every error has a place within the file; what passes keeps its
 * bounds and comes back the same when it is written down and read again.
 */
#include "controlplane/command_file.h"

#include "drivers/ipc/control_ring.h"

#include <stdlib.h>

static void round_trip(const struct hg_command_file *file, struct hg_command_file *again)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    hg_assert(out != NULL);
    hg_command_config_print(&file->config, out);
    fclose(out);
    hg_assert(hg_command_file_parse(again, "again", text, bytes));
    hg_assert(memcmp(&again->config.wanted, &file->config.wanted, sizeof(file->config.wanted)) == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct hg_command_file file, again;
    json_t *json;

    if (hg_command_file_parse(&file, "fuzz", (const char *)data, bytes)) {
        hg_assert(hg_control_config_bounds(&file.config.wanted) == NULL);
        round_trip(&file, &again);
        return 0;
    }
    hg_assert(file.error_count > 0 && file.error_count <= HG_COMMAND_FILE_ERRORS_MAX);
    for (uint32_t i = 0; i < file.error_count; i++) {
        hg_assert(file.errors[i].place.line >= 1 && file.errors[i].place.line <= bytes + 1);
        hg_assert(file.errors[i].place.column >= 1 &&
                  file.errors[i].place.column <= HG_GRAMMAR_LINE_BYTES_MAX);
        hg_assert(file.errors[i].text[0] != '\0');
    }
    json = hg_command_file_json(&file);
    hg_assert(json != NULL);
    json_decref(json);
    return 0;
}
