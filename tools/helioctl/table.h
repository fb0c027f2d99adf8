/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of the control plane's answers: which columns, in which form. Aligned, human units, states as words.
 */
#ifndef HG_HELIOCTL_TABLE_H
#define HG_HELIOCTL_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Prints what `view` ("peers") of the answer's data holds. `all`: zero drops too. */
void hg_table_print(FILE *out, const char *view, const json_t *data, bool all);

/* "1.5 GB", "412 B"; powers of 1000. */
void hg_table_bytes_format(double bytes, char *text, size_t text_bytes);
/* "80.2 ms", "12 us", "3.4 s", "2 h 3 min". */
void hg_table_ns_format(double ns, char *text, size_t text_bytes);

#endif
