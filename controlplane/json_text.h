/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of anybody as a JSON string: what is no UTF-8 becomes '?', so that a bad name never loses a whole
 * answer.
 */
#ifndef HG_CONTROLPLANE_JSON_TEXT_H
#define HG_CONTROLPLANE_JSON_TEXT_H

#include <jansson.h>
#include <stdint.h>

/* A new reference, never NULL but when out of memory. At most 1023 bytes when it needs repair. */
json_t *hg_json_text(const char *text);
/* Counters beyond 2^63-1 stay there: JSON integers are signed. */
json_t *hg_json_u64(uint64_t value);

#endif
