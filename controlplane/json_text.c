/* SPDX-License-Identifier: Apache-2.0 */
#include "controlplane/json_text.h"

#include <stdio.h>

json_t *hg_json_text(const char *text)
{
    json_t *string = json_string(text);
    char repaired[1024];

    if (string != NULL)
        return string;
    snprintf(repaired, sizeof(repaired), "%s", text);
    for (char *at = repaired; *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    }
    return json_string(repaired);
}

json_t *hg_json_u64(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}
